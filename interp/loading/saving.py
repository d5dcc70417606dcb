"""A model as files: Hugging Face's GPT-2 format where it can express the model, else our own."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from interp.core import HookedGPT
from interp.core.errors import InputError, RunError
from interp.core.reading import expanded
from interp.loading.hf_config import config_to_gpt2, inexpressible_in_gpt2, read_json
from interp.loading.load import OWN_FORMAT
from interp.loading.tokenizer import WORDS_MARK
from interp.loading.weights import SINGLE, check_finite, gpt2_name
from interp.loading.writing import save_tensors

# What `save` writes; a directory that holds anything else is not replaced.
_WRITTEN = {SINGLE, "config.json", "generation_config.json", "tokenizer.json",
            "tokenizer_config.json"}  # fmt: skip


def save(model: HookedGPT, directory: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model and its tokenizer to a directory.

    A model that GPT-2's format can express is written in that format: transformers'
    `GPT2LMHeadModel` and `AutoTokenizer` and TransformerLens load it. Any other (post-norm, no or
    sinusoidal positions, another mask, attention only, an unembedding bias) is written as
    "interp-gpt": our config and our parameter names, in the same kinds of file. `load_model` reads
    both. The directory appears whole or not at all.

    Args:
        model: any model; its dtype is kept.
        directory: created; its parents too.
        overwrite: replace a directory that `save` wrote earlier.

    Returns:
        The directory.

    Raises:
        InputError: the directory exists, or holds files that `save` did not write, or a weight is
            not finite.
        RunError: the disk refuses.
    """
    target = expanded(directory)
    _check_target(target, overwrite)
    for name, parameter in model.named_parameters():
        check_finite(name, parameter.detach(), f"the model {model.name!r}")
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        _write(model, temporary)
        temporary.chmod(0o755)  # mkdtemp's default locks out everybody else
        _move_into_place(temporary, target)
    except OSError as error:
        raise RunError(f"Could not save to {target}: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise InputError(f"{target} exists and is no directory; choose another place.")
    held = {path.name for path in target.iterdir()}
    if held and not overwrite:
        raise InputError(f"{target} exists already; pass overwrite=True to replace the model.")
    foreign = sorted(held - _WRITTEN)
    if foreign:
        raise InputError(
            f"{target} holds {foreign[0]}, which a saved model does not; it is not replaced."
        )


def _write(model: HookedGPT, folder: Path) -> None:
    own = inexpressible_in_gpt2(model.config) is not None
    _write_json(folder / "config.json", _own_config(model) if own else _gpt2_config(model))
    save_tensors(_tensors(model, own), folder / SINGLE)
    if model.tokenizer is not None:
        model.tokenizer.save(folder)
        _mark_words(model.tokenizer, folder / "tokenizer_config.json")
    if not own:
        _write_json(folder / "generation_config.json", _token_ids(model))
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _mark_words(tokenizer: Any, path: Path) -> None:
    """Record which tokenizer wrote the files, so that the same one reads them."""
    if type(tokenizer).__name__ == WORDS_MARK["interp_tokenizer"]:
        _write_json(path, read_json(path) | WORDS_MARK)


def _tensors(model: HookedGPT, own: bool) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in model.named_parameters():
        tensor = parameter.detach().cpu()
        if not own and name == "unembed.W_U":
            tensor = tensor.T
        tensors[name if own else gpt2_name(name)] = tensor.contiguous()
    return tensors


def _gpt2_config(model: HookedGPT) -> dict[str, Any]:
    return config_to_gpt2(model.config) | _token_ids(model) | _facts(model)


def _own_config(model: HookedGPT) -> dict[str, Any]:
    described = model.config.to_dict()
    return {"model_type": OWN_FORMAT, "config": described} | _token_ids(model) | _facts(model)


def _facts(model: HookedGPT) -> dict[str, Any]:
    """What neither format has a field for; transformers keeps it and ignores it."""
    notes: dict[str, Any] = {"name": model.name, "processing": list(model.processing)}
    training = model.provenance.get("training") or {
        key: model.provenance[key]
        for key in ("recipe", "steps", "tokens")
        if key in model.provenance
    }
    if training:
        notes["training"] = training
    return {"dtype": str(model.embed.W_E.dtype).removeprefix("torch."), "interp": notes}


def _token_ids(model: HookedGPT) -> dict[str, int | None]:
    """Spelt out even where there are none: transformers' defaults are GPT-2's ids."""
    bos = getattr(model.tokenizer, "bos_id", None)
    pad = getattr(model.tokenizer, "pad_id", None)
    # A window's end is its next beginning, in GPT-2 and in the shipped models alike.
    eos = getattr(model.tokenizer, "eos_id", bos)
    return {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")


def _move_into_place(temporary: Path, target: Path) -> None:
    if not target.exists():
        os.rename(temporary, target)
        return
    # Two renames: at every moment either the old directory or the new one is whole on disk.
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    os.rename(target, old / target.name)
    try:
        os.rename(temporary, target)
    except OSError:
        os.rename(old / target.name, target)
        old.rmdir()
        raise
    shutil.rmtree(old)
