"""What must hold before anything is computed; each check raises one clear InputError."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from interp.core.config import GPTConfig
from interp.core.errors import InputError

if TYPE_CHECKING:
    from interp.core.cache import KVCache


def check_tokens(
    tokens: Tensor, config: GPTConfig, kv_cache: "KVCache | None", device: torch.device
) -> None:
    """Token ids of a shape, kind, range and length that the model can take.

    Cost: one pass over the ids (and, on a GPU, one wait for the result).
    """
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool:
        raise InputError(
            f"Tokens must be whole numbers of shape [batch pos], but {tokens.dtype} of shape "
            f"{tuple(tokens.shape)} came; was a residual stream passed without start_at_layer?"
        )
    if tokens.device != device:
        raise InputError(f"Tokens are on {tokens.device}, but the model is on {device}.")
    if tokens.numel() == 0:
        raise InputError(
            f"The prompt is empty (shape {tuple(tokens.shape)}); give at least one token."
        )
    seen = 0 if kv_cache is None else kv_cache.length
    if kv_cache is not None and kv_cache.batch not in (None, tokens.shape[0]) and seen:
        raise InputError(
            f"The key-value cache holds {kv_cache.batch} rows, but {tokens.shape[0]} came."
        )
    if seen + tokens.shape[1] > config.n_ctx:
        before = f" after {seen} cached ones" if seen else ""
        raise InputError(
            f"The prompt has {tokens.shape[1]} tokens{before}, but the model's context ends at "
            f"n_ctx={config.n_ctx}; shorten it."
        )
    low, high = (int(bound) for bound in tokens.aminmax())
    if low < 0 or high >= config.d_vocab:
        raise InputError(
            f"Token id {low if low < 0 else high} is outside the vocabulary (0 to "
            f"{config.d_vocab - 1}); was the text encoded with another model's tokenizer?"
        )


def check_residual(resid: Tensor, config: GPTConfig, weight: Tensor) -> None:
    """A residual stream that can enter a layer."""
    fits = resid.ndim == 3 and resid.shape[-1] == config.d_model and resid.is_floating_point()
    if not fits:
        raise InputError(
            f"start_at_layer needs the residual stream, [batch pos {config.d_model}], but "
            f"{resid.dtype} of shape {tuple(resid.shape)} came; were tokens passed?"
        )
    if resid.numel() == 0 or resid.shape[1] > config.n_ctx:
        raise InputError(
            f"The residual stream has {resid.shape[1]} positions; expected 1 to "
            f"n_ctx={config.n_ctx}."
        )
    if resid.dtype != weight.dtype or resid.device != weight.device:
        raise InputError(
            f"The residual stream is {resid.dtype} on {resid.device}, but the weights are "
            f"{weight.dtype} on {weight.device}."
        )


def weight_versions(model: nn.Module) -> tuple | None:
    """Changes whenever a weight is replaced or written to; None if PyTorch does not count.

    Writes through `.data` escape the count.
    """
    parameters = list(model.parameters())
    if any(p.is_inference() for p in parameters):
        return None
    return tuple((p.data_ptr(), p._version) for p in parameters)


@torch.no_grad()
def check_weights(model: nn.Module) -> None:
    """Every weight is finite.

    Cost: one pass over the weights; `HookedGPT` calls it when `weight_versions` moved.
    """
    for name, parameter in model.named_parameters():
        # A sum meets every NaN and infinity; only a suspicious one is looked at entry by entry.
        if not torch.isfinite(parameter.sum()):
            bad = int((~torch.isfinite(parameter)).sum())
            if bad:
                raise InputError(
                    f"The weight {name} has {bad} of {parameter.numel()} entries that are not "
                    "finite (NaN or infinity); is the checkpoint damaged, or did training diverge?"
                )
