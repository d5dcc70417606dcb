"""Masks that see less than a causal one, laid over trained weights, and what they cost.

Windows, every other key, the first keys, keys at random: boolean matrices `query_pos key_pos`,
True where attention may go, as in `interp.core.masks`. Masks that leave a query the same number of
keys are compared with each other; keys at random are the null.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.core.masks import causal_mask
from interp.measures.statistics import bootstrap_interval

if TYPE_CHECKING:
    from interp.core import HookedGPT

Tokens = Int[np.ndarray, "prompt pos"]
Losses = Float[np.ndarray, "prompt target_pos"]


def dilated_mask(n_pos: int, n_keys: int, step: int) -> Bool[Tensor, "query_pos key_pos"]:
    """Itself and every `step`-th position before it, `n_keys` at most.

    Source: the dilated window of Beltagy et al. 2020, arXiv:2004.05150.
    """
    back = torch.arange(n_pos)[:, None] - torch.arange(n_pos)
    return (back >= 0) & (back % step == 0) & (back < n_keys * step)


def first_keys_mask(n_pos: int, n_keys: int) -> Bool[Tensor, "query_pos key_pos"]:
    """Itself and the first positions, `n_keys` at most: nothing recent."""
    first = torch.arange(n_pos) < n_keys - 1
    return causal_mask(n_pos) & (first | torch.eye(n_pos, dtype=torch.bool))


def random_mask(
    like: Bool[Tensor, "query_pos key_pos"], seed: int = 0
) -> Bool[Tensor, "query_pos key_pos"]:
    """As many keys for each query as in `like`, drawn from those not behind it; it keeps itself."""
    rng = np.random.default_rng(seed)
    drawn = torch.eye(len(like), dtype=torch.bool)
    for query, count in enumerate(like.sum(-1).tolist()):
        others = rng.choice(query, count - 1, replace=False) if count > 1 else []
        drawn[query, torch.as_tensor(np.asarray(others, dtype=int))] = True
    return drawn


@torch.no_grad()
def losses_under(
    model: "HookedGPT", tokens: Tokens, masks: Mapping[str, Any], batch_size: int = 32
) -> dict[str, Losses]:
    """Loss of every next token (nats) under each mask, in place of the model's own.

    Args:
        model: any HookedGPT.
        tokens: prompts of one length.
        masks: by name, as the argument `mask` of the model, for prompts without their last token;
            None for the model's own.
        batch_size: prompts in one pass.

    Cost: one pass over the prompts for each mask.
    """
    rows = torch.as_tensor(tokens, device=model.W_E.device)
    return {
        name: np.concatenate(
            [
                model.loss(rows[start : start + batch_size], per_token=True, mask=mask)
                .double().cpu().numpy()
                for start in range(0, len(rows), batch_size)
            ]
        )
        for name, mask in masks.items()
    }  # fmt: skip


def loss_changes(
    losses: Mapping[str, Losses], usual: Losses, since: int = 0, seed: int = 0
) -> pd.DataFrame:
    """What each mask costs: the loss above the usual one, over the positions from `since` on.

    Returns:
        One row per mask: `mask`, `loss`, `extra`, `ci_low`, `ci_high` (95 % of `extra`, over
        prompts), `n` (prompts).
    """
    extra = np.stack([(one - usual)[:, since:].mean(1) for one in losses.values()], axis=1)
    low, high = bootstrap_interval(extra, seed=seed)
    return pd.DataFrame(
        {
            "mask": list(losses),
            "loss": [one[:, since:].mean() for one in losses.values()],
            "extra": extra.mean(0),
            "ci_low": low,
            "ci_high": high,
            "n": len(usual),
        }
    )


def loss_by_position(losses: Mapping[str, Losses], n_bins: int = 8, seed: int = 0) -> pd.DataFrame:
    """Mean loss in stretches of neighbouring positions.

    Args:
        losses: by mask.
        n_bins: stretches, of equal length but for one position.
        seed: of the intervals.

    Returns:
        `mask`, `first`, `last`, `position` (the positions of a stretch, and their middle; a
        position is that of the token that predicts), `loss`, `ci_low`, `ci_high` (95 %, over
        prompts).
    """
    parts = []
    for name, values in losses.items():
        bins = np.array_split(np.arange(values.shape[1]), min(n_bins, values.shape[1]))
        means = np.stack([values[:, places].mean(1) for places in bins], axis=1)
        low, high = bootstrap_interval(means, seed=seed)
        ends = np.array([(places[0], places[-1]) for places in bins])
        columns = {"first": ends[:, 0], "last": ends[:, 1], "position": ends.mean(1)}
        columns |= {"loss": means.mean(0), "ci_low": low, "ci_high": high}
        parts.append(pd.DataFrame({"mask": name} | columns))
    return pd.concat(parts, ignore_index=True)


@torch.no_grad()
def head_masks(
    model: "HookedGPT",
    tokens: Tokens,
    masks: Mapping[str, Bool[Tensor, "query_pos key_pos"]],
    since: int = 0,
    by_head: bool = True,
    batch_size: int = 32,
    seed: int = 0,
) -> pd.DataFrame:
    """What a mask costs when a single head, or a single layer, has it; all others stay causal.

    Returns:
        `layer`, `head` (−1 for the whole layer), and the columns of `loss_changes`.

    Cost: for each mask one pass per layer and, with `by_head`, one per head.
    """
    config = model.config
    usual = losses_under(model, tokens, {"": None}, batch_size)[""]
    causal = causal_mask(tokens.shape[1] - 1)
    parts = []
    for layer in range(config.n_layers):
        for head in range(-1, config.n_heads if by_head else 0):
            chosen = {}
            for name, mask in masks.items():
                of_heads = causal.repeat(config.n_heads, 1, 1)
                of_heads[slice(None) if head < 0 else head] = mask
                chosen[name] = {layer: of_heads}
            frame = loss_changes(
                losses_under(model, tokens, chosen, batch_size), usual, since, seed
            )
            parts.append(frame.assign(layer=layer, head=head))
    return pd.concat(parts, ignore_index=True)
