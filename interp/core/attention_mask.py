"""From the config's mask, a run's own mask, pads and cached tokens to what each layer applies."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.core.cache import KVCache
from interp.core.config import GPTConfig
from interp.core.errors import InputError
from interp.core.masks import check_mask_spec, mask_from_spec

MaskSource = str | Tensor | tuple


@dataclass(frozen=True)
class AttentionMask:
    """One layer's mask in the form that the fused kernel likes best.

    Attributes:
        allowed: True where attention may go, broadcastable to `batch head query_pos key_pos`;
            None when everything may, or when `is_causal` says it all.
        is_causal: plain causal attention over as many keys as queries.
    """

    allowed: Bool[Tensor, "..."] | None
    is_causal: bool

    def forbidden(
        self, n_queries: int, n_keys: int, device: torch.device
    ) -> Bool[Tensor, "..."] | None:
        """True where attention may not go; None when everything may be attended to."""
        if self.is_causal:
            return ~mask_from_spec("causal", n_keys)[n_keys - n_queries :].to(device)
        return None if self.allowed is None else ~self.allowed


def attention_masks(
    config: GPTConfig,
    mask: str | Tensor | dict[int, str | Tensor] | None,
    attention_mask: Bool[Tensor, "batch pos"] | None,
    kv_cache: KVCache | None,
    batch: int,
    n_new: int,
    device: torch.device,
) -> tuple[list[AttentionMask], Int[Tensor, "row pos"], Bool[Tensor, "batch key_pos"] | None]:
    """What each layer may attend to, which positions the new tokens hold, and the real tokens.

    Raises:
        InputError: shapes that do not fit, a layer that does not exist, a query without a key.
    """
    before = 0 if kv_cache is None else kv_cache.length
    real = _real_tokens(attention_mask, kv_cache, batch, n_new, device)
    sources = _per_layer(config, mask)
    built: dict[object, AttentionMask] = {}
    masks = []
    for source in sources:
        key = id(source) if isinstance(source, Tensor) else source
        if key not in built:
            built[key] = _layer_mask(source, config.n_heads, before, n_new, real, device)
        masks.append(built[key])
    return masks, _positions(real, before, n_new, device), real


def _per_layer(config: GPTConfig, mask: object) -> list[MaskSource]:
    own = config.mask
    sources = [own] * config.n_layers if isinstance(own, str) else list(own)
    if mask is None:
        return sources
    for given in mask.values() if isinstance(mask, dict) else [mask]:
        if not isinstance(given, Tensor):
            check_mask_spec(given)
    if not isinstance(mask, dict):
        return [mask] * config.n_layers
    for layer in mask:
        if layer not in range(config.n_layers):
            raise InputError(f"mask names layer {layer}, but layers run to {config.n_layers - 1}.")
    return [mask.get(layer, source) for layer, source in enumerate(sources)]


def _layer_mask(
    source: MaskSource,
    n_heads: int,
    before: int,
    n_new: int,
    real: Tensor | None,
    device: torch.device,
) -> AttentionMask:
    n_keys = before + n_new
    if real is None and isinstance(source, str):
        # A single causal query may see every key, which needs no mask at all.
        if source == "none" or (source == "causal" and n_new == 1):
            return AttentionMask(None, is_causal=False)
        if source == "causal" and before == 0:
            return AttentionMask(None, is_causal=True)
    whole = _matrix(source, n_heads, n_keys).to(device)
    allowed = whole[..., before:, :]
    if not allowed.any(-1).all():
        row = int((~allowed.any(-1)).nonzero()[0, -1]) + before
        raise InputError(f"The mask lets query {row} attend to nothing; allow at least one key.")
    if allowed.ndim == 3:
        allowed = allowed[None]
    if real is not None:
        if not isinstance(source, Tensor):
            allowed = _by_position(whole, real, n_new)
        allowed = (allowed if allowed.ndim == 4 else allowed[None, None]) & real[:, None, None, :]
        # A query whose every key is a pad (a pad itself, or a mask narrower than the padding)
        # would divide zero by zero; it attends to itself, which nobody reads.
        itself = torch.eye(n_keys, dtype=torch.bool, device=device)[before:]
        allowed = allowed | (itself & ~allowed.any(-1, keepdim=True))
    # A cache forms its patterns when they are read; the caller may write to a matrix before.
    return AttentionMask(allowed.clone() if isinstance(source, Tensor) else allowed, False)


def _by_position(
    whole: Bool[Tensor, "*head pos pos"], real: Bool[Tensor, "batch key_pos"], n_new: int
) -> Bool[Tensor, "batch _head query_pos key_pos"]:
    """What a spec allows, counted in real tokens: a sink is a text's first token, not a pad."""
    counted = _counted(real)
    query, key = counted[:, -n_new:, None], counted[:, None, :]
    allowed = whole[..., query.clamp(min=0), key.clamp(min=0)]
    allowed = allowed[:, None] if whole.ndim == 2 else allowed.transpose(0, 1)
    return allowed & (query >= 0)[:, None]


def _matrix(source: MaskSource, n_heads: int, n_keys: int) -> Tensor:
    if isinstance(source, str):
        return mask_from_spec(source, n_keys)
    if isinstance(source, tuple):
        return torch.stack([mask_from_spec(spec, n_keys) for spec in source])
    if not isinstance(source, Tensor):
        check_mask_spec(source)
    square = source.shape[-2:] == (n_keys, n_keys)
    heads = source.ndim == 2 or (source.ndim == 3 and source.shape[0] == n_heads)
    if source.dtype != torch.bool or not (square and heads):
        raise InputError(
            f"The mask is {source.dtype} of shape {tuple(source.shape)}; expected bool of shape "
            f"({n_keys}, {n_keys}) or ({n_heads}, {n_keys}, {n_keys}): query_pos, key_pos."
        )
    return source


def _real_tokens(
    attention_mask: Tensor | None,
    kv_cache: KVCache | None,
    batch: int,
    n_new: int,
    device: torch.device,
) -> Tensor | None:
    """Which of all tokens, cached ones first, are real; None if all are."""
    if attention_mask is not None:
        if attention_mask.shape != (batch, n_new):
            raise InputError(
                f"attention_mask has shape {tuple(attention_mask.shape)}, but the tokens have "
                f"({batch}, {n_new}); with a key-value cache it covers the new tokens only."
            )
        if not (attention_mask.dtype == torch.bool or ((attention_mask | 1) == 1).all()):
            raise InputError("attention_mask must hold True and False (or 1 and 0) only.")
        attention_mask = attention_mask.to(device=device, dtype=torch.bool)
        if attention_mask.all():
            attention_mask = None  # the fused kernel's causal path is faster without a matrix
    past = None if kv_cache is None else kv_cache.attention_mask
    if attention_mask is None and past is None:
        return None
    n_past = 0 if kv_cache is None else kv_cache.length
    if past is None:
        past = torch.ones(batch, n_past, dtype=torch.bool, device=device)
    if attention_mask is None:
        attention_mask = torch.ones(batch, n_new, dtype=torch.bool, device=device)
    return torch.cat([past, attention_mask], dim=1)


def _counted(real: Bool[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
    """How many real tokens came before each token; -1 at pads on the left."""
    return real.long().cumsum(1) - 1


def _positions(
    real: Tensor | None, before: int, n_new: int, device: torch.device
) -> Int[Tensor, "row pos"]:
    """Row of `W_pos` for each new token: how many real tokens came before it."""
    if real is None:
        return torch.arange(before, before + n_new, device=device)[None]
    return _counted(real).clamp(min=0)[:, -n_new:]
