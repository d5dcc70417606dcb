"""The shipped translators: encoder-decoders in and out of files."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from interp.core import EncoderDecoderConfig, HookedEncoderDecoder, InputError, RunError
from interp.core.reading import is_text
from interp.corpus import WordTokenizer
from interp.corpus.tokenizer import BOS, PAD
from interp.loading.hf_config import read_json
from interp.loading.names import SHIPPED_FOLDER, TRANSLATOR
from interp.loading.provenance import weights_hash
from interp.loading.weights import check_finite, check_sizes
from interp.loading.writing import save_tensors

FOLDER = SHIPPED_FOLDER / TRANSLATOR
DESCRIPTION = "translator.json"


def load_translator(
    seed: int = 0, *, dtype: torch.dtype = torch.float32, folder: str | Path = FOLDER
) -> HookedEncoderDecoder:
    """A translator with both tokenizers; frozen, in eval mode.

    Args:
        seed: which of the shipped ones: 0, 1 or 2.
        dtype: float32 or float64; the stored weights are cast.
        folder: where they lie; those that ship with the package by default.

    Raises:
        InputError: there is none of that seed, or the files are damaged.
    """
    folder = Path(folder)
    described = read_json(folder / DESCRIPTION)
    path = folder / f"seed{seed}.safetensors"
    if not path.is_file():
        found = sorted(file.stem.removeprefix("seed") for file in folder.glob("seed*.safetensors"))
        raise InputError(f"There is no translator of seed {seed}; there are: {', '.join(found)}.")
    config = _checked(described, folder / DESCRIPTION)
    try:
        tensors = load_file(path)
        shapes = [tensor.shape for tensor in tensors.values()]
        for stack in (config.encoder, config.decoder):
            check_sizes(stack, shapes, str(folder / DESCRIPTION))
        model = HookedEncoderDecoder(config, dtype=dtype, init=None)
        with torch.no_grad():
            model.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()})
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} does not hold this translator: {reason}") from None
    for name, parameter in model.named_parameters():
        check_finite(name, parameter.detach(), str(path))
    model.source_tokenizer = WordTokenizer(described["source_words"])
    model.target_tokenizer = WordTokenizer(described["target_words"])
    model.name = TRANSLATOR if seed == 0 else f"{TRANSLATOR}-s{seed}"
    model.requires_grad_(False).eval()
    model.provenance = {"source": "shipped", "weights_sha256": weights_hash(model)}
    return model


def _checked(described: dict[str, Any], path: Path) -> EncoderDecoderConfig:
    """The shape, which the words must have as well."""
    if not isinstance(described.get("config"), dict):
        raise InputError(f"{path} has no 'config' with the translator's shape.")
    config = EncoderDecoderConfig.from_dict(described["config"])
    sizes = {"source_words": config.d_vocab_source, "target_words": config.d_vocab_target}
    for name, size in sizes.items():
        words = described.get(name)
        if not isinstance(words, list) or not all(map(is_text, words)):
            raise InputError(f"{path} has no {name}, a list of texts.")
        if len({*words, BOS, PAD}) != size or len(words) != size - 2:
            raise InputError(f"{path}: {name} are {len(words)}, each once, of {size - 2}.")
    return config


def save_translator(model: HookedEncoderDecoder, folder: str | Path, seed: int) -> Path:
    """Writes a translator's weights, and what all seeds share: shape and vocabularies.

    Raises:
        RunError: the disk refuses.
    """
    folder = Path(folder)
    described = {
        "config": model.config.to_dict(),
        "source_words": model.source_tokenizer.vocab[2:],
        "target_words": model.target_tokenizer.vocab[2:],
    }
    path = folder / f"seed{seed}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(described, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        (folder / DESCRIPTION).write_text(text, encoding="utf-8")
        tensors = {name: p.detach().contiguous() for name, p in model.named_parameters()}
        save_tensors(tensors, path)
    except OSError as error:
        raise RunError(f"Could not save to {folder}: {error.strerror or error}.") from error
    return path
