"""GPT-2's config.json and our config, each from the other.

Every field of Hugging Face's GPT-2 that changes a result is honoured or refused by name. A field
that GPT-2's code never reads cannot change a result; those that are not known to be harmless are
listed in the model's provenance.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp.core import reading
from interp.core.config import GPTConfig
from interp.core.errors import InputError
from interp.core.reading import brief

_ARCHITECTURES = ("GPT2LMHeadModel", "GPT2Model")

# Names of one function: the tanh approximations of GELU differ in rounding only.
_ACTIVATIONS = {
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_python_tanh": "gelu_new",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "relu": "relu",
}

# Hugging Face accepts both spellings in a config.json.
_SPELLINGS = {
    "n_embd": "hidden_size",
    "n_positions": "max_position_embeddings",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
}

# GPT2Config's defaults for what a config.json may leave out.
_DEFAULTS = {
    "n_inner": None,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "tie_word_embeddings": True,
    "add_cross_attention": False,
}

# Values other than these change the result in ways that this library does not compute.
_REFUSED_UNLESS: dict[str, tuple[Any, str]] = {
    "add_cross_attention": (False, "cross-attention needs a second model to attend to"),
    "is_encoder_decoder": (False, "GPT-2 here is a decoder alone"),
    "is_causal": (True, "Hugging Face's eager and sdpa attention disagree about it"),
    "pruned_heads": ({}, "heads were removed from the weights"),
    "quantization_config": (None, "the weights are quantised; save them unquantised first"),
    "auto_map": (None, "the model runs code of its own"),
}

# Read by training, generation or classification heads, or not at all.
_HARMLESS = {
    "_name_or_path", "architectures", "attn_pdrop", "bos_token_id", "chunk_size_feed_forward",
    "decoder_start_token_id", "dtype", "embd_pdrop", "eos_token_id", "finetuning_task",
    "gradient_checkpointing", "id2label", "initializer_range", "interp", "is_decoder", "label2id",
    "model_type", "n_ctx", "num_labels", "output_attentions", "output_hidden_states", "output_past",
    "pad_token_id", "prefix", "problem_type", "resid_pdrop", "return_dict", "sep_token_id",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
    "summary_use_proj", "task_specific_params", "tokenizer_class", "torch_dtype",
    "transformers_version", "use_bfloat16", "use_cache", "vocab_size",
}  # fmt: skip


@dataclass(frozen=True)
class GPT2Fields:
    """What a GPT-2 config.json says.

    Attributes:
        config: the model that it describes.
        upcast_attention: attention in float32 whatever the weights are; a float32 model does that
            anyway, a bfloat16 one is refused.
        unused: fields that GPT-2's code does not read and that are not known to be harmless.
    """

    config: GPTConfig
    upcast_attention: bool
    unused: tuple[str, ...]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InputError: there is no such file, or it holds anything but a JSON object.
    """
    if not path.is_file():
        raise InputError(f"There is no {path.name} in {path.parent}.")
    values = reading.read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a JSON object, but it holds a {type(values).__name__}.")
    return values


def config_from_gpt2(values: Mapping[str, Any], where: str) -> GPT2Fields:
    """Our config from the fields of a GPT-2 config.json.

    Args:
        values: the fields.
        where: the file's name, for messages.

    Raises:
        InputError: another architecture, a field that is refused, missing or of the wrong kind.
    """
    _check_architecture(values, where)
    for name, (neutral, why) in _REFUSED_UNLESS.items():
        value = values.get(name, neutral)
        if value is not None and value != neutral:
            raise InputError(f"{where} sets {name}={brief(value)}, which is not supported: {why}.")
    read = _Reader(values, where)
    heads, width = read.size("n_head"), read.size("n_embd")
    if width % heads:
        raise InputError(f"{where}: n_embd={width} is not a multiple of n_head={heads}.")
    config = GPTConfig(
        n_layers=read.size("n_layer"),
        d_model=width,
        n_heads=heads,
        n_ctx=read.size("n_positions"),
        d_vocab=read.size("vocab_size"),
        d_mlp=None if values.get("n_inner") is None else read.size("n_inner"),
        activation=read.activation(),
        tied=read.flag("tie_word_embeddings"),
        eps=read.epsilon(),
        attn_scale=read.flag("scale_attn_weights"),
        scale_by_inverse_layer=read.flag("scale_attn_by_inverse_layer_idx"),
    )
    known = _HARMLESS | set(_DEFAULTS) | set(_REFUSED_UNLESS) | set(_SPELLINGS)
    unused = tuple(sorted(set(values) - known - set(_SPELLINGS.values())))
    return GPT2Fields(config, read.flag("reorder_and_upcast_attn"), unused)


def _check_architecture(values: Mapping[str, Any], where: str) -> None:
    kind, classes = values.get("model_type"), values.get("architectures") or []
    if kind != "gpt2":
        raise InputError(
            f"{where} describes a model of type {brief(kind)}, but only GPT-2 (model_type 'gpt2') "
            "and this library's own format ('interp-gpt') can be loaded."
        )
    if not isinstance(classes, list) or any(name not in _ARCHITECTURES for name in classes):
        raise InputError(
            f"{where} names the architecture {brief(classes)}; expected "
            f"{' or '.join(_ARCHITECTURES)}: other heads than the language model's are not loaded."
        )


class _Reader:
    """Typed access to a config's fields; every error names the field and the file."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where

    def size(self, name: str) -> int:
        spelling = _SPELLINGS.get(name, name)
        value = self.values.get(name, self.values.get(spelling))
        if spelling in self.values and self.values[spelling] != value:
            raise InputError(
                f"{self.where} says {name}={brief(value)} and "
                f"{spelling}={brief(self.values[spelling])}, which mean the same; remove one."
            )
        if value is None:
            raise InputError(f"{self.where} does not say {name}; is it a GPT-2's config?")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong(name, value, "a whole number of at least 1")
        return value

    def flag(self, name: str) -> bool:
        value = self.values.get(name, _DEFAULTS[name])
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def epsilon(self) -> float:
        name = "layer_norm_epsilon"
        value = self.values.get(name, _DEFAULTS[name])
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Whole numbers of JSON may be too long for a float, so nothing is converted before this.
        if not is_number or not 0 < value <= sys.float_info.max:
            raise self._wrong(name, value, "a number above 0")
        return float(value)

    def activation(self) -> str:
        name = "activation_function"
        value = self.values.get(name, _DEFAULTS[name])
        if not isinstance(value, str) or value not in _ACTIVATIONS:
            raise self._wrong(name, value, f"one of {', '.join(_ACTIVATIONS)}")
        return _ACTIVATIONS[value]

    def _wrong(self, name: str, value: Any, expected: str) -> InputError:
        return InputError(f"{self.where} sets {name}={brief(value)}; expected {expected}.")


def inexpressible_in_gpt2(config: GPTConfig) -> str | None:
    """What of a config GPT-2's format has no word for; None if it has one for everything."""
    reasons = {
        f"norm={config.norm!r}": config.norm != "pre",
        f"positions={config.positions!r}": config.positions != "learned",
        f"mask={config.mask!r}": config.mask != "causal",
        "attention-only blocks": config.attn_only,
        "blocks that do not add to the stream": not config.residual,
        "an unembedding bias": config.unembed_bias,
        "heads that do not fill d_model": config.d_head * config.n_heads != config.d_model,
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def config_to_gpt2(config: GPTConfig) -> dict[str, Any]:
    """The fields of a GPT-2 config.json; only for a config that it can express."""
    return {
        "activation_function": config.activation,
        "add_cross_attention": False,
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "initializer_range": 0.02,
        "layer_norm_epsilon": config.eps,
        "model_type": "gpt2",
        "n_embd": config.d_model,
        "n_head": config.n_heads,
        "n_inner": None if config.d_mlp == 4 * config.d_model else config.d_mlp,
        "n_layer": config.n_layers,
        "n_positions": config.n_ctx,
        "reorder_and_upcast_attn": False,
        "resid_pdrop": 0.0,
        "scale_attn_by_inverse_layer_idx": config.scale_by_inverse_layer,
        "scale_attn_weights": config.attn_scale,
        "tie_word_embeddings": config.tied,
        "use_cache": True,
        "vocab_size": config.d_vocab,
    }
