"""The one place that touches TransformerLens: GPT-2 in through a `TransformerBridge`.

TransformerLens takes seconds to import and its compatibility mode peaks at five times the weights,
so it is imported only when a model comes through it, its raw weights are taken over without a copy,
and it is let go again. Its import and its boot also change global state (log levels, warning
filters) and draw progress bars; all that is undone or kept quiet here.

The tensors that come out are transformers' own: copy-on-write maps of the cached file. Writing to
them never reaches the file; the cache, in turn, never rewrites a file in place.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.core import GPTConfig, RunError
from interp.core.errors import InputError
from interp.loading.hf_config import GPT2Fields, config_from_gpt2

# Numbers that are zero up to float32 rounding; weights themselves are of order 0.01 to 10.
_ROUNDING = 1e-5


def is_bridge(model: Any) -> bool:
    """Whether an object is a TransformerLens bridge; does not import TransformerLens."""
    return any(
        cls.__name__ == "TransformerBridge" and cls.__module__.startswith("transformer_lens")
        for cls in type(model).__mro__
    )


def boot(directory: Path, dtype: torch.dtype) -> Any:
    """A raw `TransformerBridge` around the model in a Hugging Face directory, on the CPU.

    A directory needs no network, and the hub is switched off all the same until the call returns.

    Raises:
        RunError: TransformerLens is missing, is not 4.3 or later, or failed.
    """
    with _offline(), _quiet():
        try:
            from transformer_lens import TransformerBridge
        except ImportError as error:
            raise RunError(
                f"TransformerLens 4.3 or later is needed to load this model ({error}); install "
                "'transformer-lens>=4.3,<5', or pass the model's directory in place of its name."
            ) from error
        try:
            return TransformerBridge.boot_transformers(str(directory), device="cpu", dtype=dtype)
        except (RuntimeError, ValueError, OSError, KeyError, ImportError) as error:
            raise RunError(
                f"TransformerLens {version('transformer-lens')} could not load {directory}: {error}"
            ) from error


def bridge_config(bridge: Any) -> GPT2Fields:
    """What the bridge's Hugging Face config says.

    Raises:
        InputError: the bridge does not hold a GPT-2.
    """
    architecture = getattr(bridge.cfg, "architecture", None)
    if architecture != "GPT2LMHeadModel":
        raise InputError(
            f"The TransformerBridge holds a {architecture}, but only GPT2LMHeadModel can be taken "
            "over."
        )
    values = bridge.original_model.config.to_dict()
    # Defaults that transformers spells out; the attention kernel is not part of the model.
    values = {name: value for name, value in values.items() if not name.startswith("_")}
    return config_from_gpt2(values, f"the config of the bridge {bridge.cfg.model_name!r}")


def bridge_parameters(bridge: Any, config: GPTConfig) -> tuple[GPTConfig, dict[str, Tensor]]:
    """The bridge's weights under our names; no copies where its storage has our layout.

    Args:
        bridge: raw or after `enable_compatibility_mode`.
        config: the config of the checkpoint behind it.

    Returns:
        The config as the weights call for it (processing unties the unembedding and gives it a
        bias), and the tensors, detached.
    """
    theirs = {name: tensor.detach() for name, tensor in bridge.tl_parameters().items()}
    ours = {
        "embed.W_E": theirs["embed.W_E"],
        "pos_embed.W_pos": theirs["pos_embed.W_pos"],
        "ln_final.w": theirs["ln_final.w"],
        "ln_final.b": theirs["ln_final.b"],
    }
    for layer in range(config.n_layers):
        block = f"blocks.{layer}."
        ours |= _attention(bridge, theirs, layer)
        for name in ("ln1.w", "ln1.b", "ln2.w", "ln2.b"):
            ours[block + name] = theirs[block + name]
        for name in ("mlp.W_in", "mlp.b_in", "mlp.W_out", "mlp.b_out"):
            ours[block + name] = theirs[block + name]
    head, bias = theirs["unembed.W_U"], theirs["unembed.b_U"]
    tied = head.untyped_storage().data_ptr() == theirs["embed.W_E"].untyped_storage().data_ptr()
    has_bias = bool(bias.any())
    if not tied:
        ours["unembed.W_U"] = head
    if has_bias:
        ours["unembed.b_U"] = bias
    return _changed(config, tied=tied, unembed_bias=has_bias), ours


def _attention(bridge: Any, theirs: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    name = f"blocks.{layer}.attn."
    heads = [theirs[f"{name}W_{part}"] for part in "QKV"]
    biases = [theirs[f"{name}b_{part}"] for part in "QKV"]
    fused = _fused(bridge, layer)
    # Raw bridges show q, k and v as views of GPT-2's one matrix; processing gives them storage of
    # their own and leaves a stale fused matrix behind.
    if fused is not None and all(_shares_storage(head, fused[0]) for head in heads):
        weight, bias = fused
    else:
        # [head d_model d_head] side by side: columns q|k|v, each head by head.
        flat = [head.permute(1, 0, 2).flatten(1) for head in heads]
        weight, bias = torch.cat(flat, dim=1), torch.cat([b.flatten() for b in biases])
    return {
        f"{name}W_QKV": weight,
        f"{name}b_QKV": bias,
        f"{name}W_O_flat": theirs[f"{name}W_O"].flatten(0, 1),
        f"{name}b_O": theirs[f"{name}b_O"],
    }


def _fused(bridge: Any, layer: int) -> tuple[Tensor, Tensor] | None:
    try:
        linear = bridge.blocks[layer].attn.qkv.original_component
        return linear.weight.detach(), linear.bias.detach()
    except AttributeError:
        return None


def _shares_storage(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _changed(config: GPTConfig, **changes: Any) -> GPTConfig:
    return GPTConfig.from_dict(config.to_dict() | changes)


def processing_of(bridge: Any, parameters: dict[str, Tensor]) -> tuple[str, ...]:
    """Which of TransformerLens's weight transformations a bridge went through.

    The bridge remembers only that it was processed; which steps were taken is read off the weights,
    up to float32 rounding (TransformerLens processes every model in float32).
    """
    if not getattr(bridge, "_weights_processed", False):
        return ()
    norms = [n for n in parameters if ".ln" in n or n.startswith("ln_final")]
    neutral = {name: 1.0 if name.endswith(".w") else 0.0 for name in norms}
    writing = [n for n in parameters if n.endswith(("W_E", "W_pos", "W_O_flat", "W_out"))]
    head = parameters.get("unembed.W_U")
    values = [b.chunk(3)[2] for n, b in parameters.items() if n.endswith("b_QKV")]
    found = {
        "fold_ln": all(bool((parameters[n] == value).all()) for n, value in neutral.items()),
        "center_writing_weights": all(_is_zero(parameters[n].mean(-1)) for n in writing),
        "center_unembed": head is not None and _is_zero(head.mean(-1)),
        "fold_value_biases": all(not bool(bias.any()) for bias in values),
    }
    return tuple(name for name, applies in found.items() if applies)


def _is_zero(values: Tensor) -> bool:
    return float(values.abs().max()) < _ROUNDING


@contextmanager
def _offline() -> Iterator[None]:
    """The hub switched off for this call, as HF_HUB_OFFLINE=1 would; put back afterwards."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, warnings or log lines; the user's own settings are put back afterwards."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging as hf_logging

    # transformers' switch moves the hub's along with its own.
    bars, hub_bars = hf_logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    loggers = [logging.getLogger(name) for name in ("transformers", "transformer_lens")]
    levels = [logger.level for logger in loggers]
    root_level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if bars:
            hf_logging.disable_progress_bar()
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(root_level)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if bars:
                hf_logging.enable_progress_bar()
                if not hub_bars:
                    disable_progress_bars()
