"""Attention patterns as probabilities: do rows sum to 1, do heads differ, is weight also use?"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError, hook_name

Tokens = Int[np.ndarray, "prompt pos"]


@torch.no_grad()
def pattern_sums(model: HookedGPT, tokens: Tokens, batch_size: int = 32) -> pd.DataFrame:
    """How far the rows of every head's pattern are from summing to 1, and how far the columns.

    Returns:
        One row per layer: `layer`, `row_deviation` (largest |sum over keys − 1|),
        `column_deviation` (mean |sum over queries − 1|: the control, since softmax along the other
        axis would make this one 0), `smallest`, `largest` (weights), `n_rows`.
    """
    n_layers = model.config.n_layers
    parts: list[dict[str, float]] = []

    def look(layer: int) -> Callable[[Tensor, object], None]:
        def hook(pattern: Tensor, point: object) -> None:
            rows, columns = (pattern.cpu().double().sum(dim=axis) for axis in (-1, -2))
            parts.append(
                {
                    "layer": layer,
                    "row_deviation": (rows - 1).abs().max().item(),
                    "column_deviation": (columns - 1).abs().sum().item(),
                    "smallest": pattern.min().item(),
                    "largest": pattern.max().item(),
                    "n_rows": rows.numel(),
                }
            )

        return hook

    hooks = [(hook_name("pattern", layer), look(layer)) for layer in range(n_layers)]
    for start in range(0, len(tokens), batch_size):
        rows = torch.as_tensor(tokens[start : start + batch_size], device=model.W_E.device)
        model.run_with_hooks(rows, hooks, stop_at_layer=n_layers)
    by_layer = pd.DataFrame(parts).groupby("layer")
    frame = by_layer.agg(
        row_deviation=("row_deviation", "max"),
        column_deviation=("column_deviation", "sum"),
        smallest=("smallest", "min"),
        largest=("largest", "max"),
        n_rows=("n_rows", "sum"),
    ).reset_index()
    # A pattern has as many columns as rows; batches may differ in size.
    return frame.assign(column_deviation=frame["column_deviation"] / frame["n_rows"])


def js_nats(
    p: Float[Tensor, "*batch key_pos"], q: Float[Tensor, "*batch key_pos"]
) -> Float[Tensor, "*batch"]:
    """Jensen-Shannon divergence of two attention rows, from 0 (equal) to ln 2 (disjoint), in nats.

    The mean of KL(p ‖ m) and KL(q ‖ m) with m = (p + q) / 2, as the entropy of the mixture minus
    the mean entropy; symmetric.
    """
    mean_entropy = (_entropy(p) + _entropy(q)) / 2
    return (_entropy((p + q) / 2) - mean_entropy).clamp(min=0)


def _entropy(p: Tensor) -> Tensor:
    return -torch.special.xlogy(p, p).sum(dim=-1)


class Divergence(NamedTuple):
    """How much patterns differ.

    Attributes:
        pairs: one row per pair of heads, each with itself included: `layer_a`, `head_a`,
            `layer_b`, `head_b`, `js_nats`; for a head with itself, between two prompts.
        units: one row per pair of prompts: `two_heads_nats` (mean over pairs of heads, on the same
            prompt), `one_head_nats` (mean over heads, between the two prompts).
    """

    pairs: pd.DataFrame
    units: pd.DataFrame


@torch.no_grad()
def pattern_divergence(model: HookedGPT, tokens: Tokens, n_pairs: int = 12) -> Divergence:
    """Divergence of any two heads on one prompt, beside that of one head between two prompts.

    Rows are compared query by query from the second query on (the first one has no choice) and
    averaged.

    Args:
        model: any HookedGPT.
        tokens: prompts of one length; two are used for each pair.
        n_pairs: pairs of prompts, at most.

    Raises:
        InputError: fewer than two prompts, or prompts of a single token.

    Cost: `n_pairs * n_heads**2 * n_pos**2` logarithms, heads counted over all layers.
    """
    n_pairs = min(n_pairs, len(tokens) // 2)
    if n_pairs < 1 or tokens.shape[1] < 2:
        raise InputError(
            "patterns are compared between two prompts of at least two tokens, but the tokens are "
            f"{tokens.shape} (prompt, position)"
        )
    n_layers, n_heads = model.config.n_layers, model.config.n_heads
    n_all = n_layers * n_heads
    between, within = torch.zeros(n_all, n_all).double(), torch.zeros(n_all).double()
    units = []
    for pair in range(n_pairs):
        patterns = _all_patterns(model, tokens[2 * pair : 2 * pair + 2])
        self_js = js_nats(patterns[0], patterns[1]).mean(dim=-1)
        pair_js = torch.stack([_between_heads(one) for one in patterns]).mean(dim=0)
        within += self_js / n_pairs
        between += pair_js / n_pairs
        others = pair_js.sum() / max(n_all * (n_all - 1), 1)
        units.append({"two_heads_nats": others.item(), "one_head_nats": self_js.mean().item()})
    matrix = (between + torch.diag(within)).numpy()
    a, b = np.divmod(np.arange(n_all * n_all), n_all)
    pairs = {
        "layer_a": a // n_heads,
        "head_a": a % n_heads,
        "layer_b": b // n_heads,
        "head_b": b % n_heads,
        "js_nats": matrix.ravel(),
    }
    return Divergence(pd.DataFrame(pairs), pd.DataFrame(units))


def _all_patterns(
    model: HookedGPT, tokens: Tokens
) -> Float[Tensor, "prompt head query_pos key_pos"]:
    """Patterns of all heads of all layers, from the second query on, on the CPU in float64."""
    rows = torch.as_tensor(tokens, device=model.W_E.device)
    _, cache = model.run_with_cache(rows, lambda name: name.endswith("attn.hook_pattern"))
    return torch.cat([cache[name] for name in cache], dim=1)[:, :, 1:].cpu().double()


def _between_heads(
    pattern: Float[Tensor, "head query_pos key_pos"],
) -> Float[Tensor, "head other_head"]:
    """Mean divergence over queries of every head with every other; one head at a time in memory."""
    entropy = _entropy(pattern)
    divergence = torch.zeros(len(pattern), len(pattern), dtype=pattern.dtype)
    for one in range(len(pattern) - 1):
        mixture = _entropy((pattern[one + 1 :] + pattern[one]) / 2)
        rows = (mixture - (entropy[one + 1 :] + entropy[one]) / 2).clamp(min=0)
        divergence[one, one + 1 :] = rows.mean(dim=-1)
    return divergence + divergence.T


class WeightAndUse(NamedTuple):
    """Attention weights beside what they carry.

    Attributes:
        cells: one row per head and allowed pair of positions: `layer`, `head`, `query_pos`,
            `key_pos`, `weight` (attention), `use` (share of the norms written from that position).
        heads: one row per head: `layer`, `head`, `first_token_weight`, `first_token_use` (mean
            over queries), `moved` (share of the row that differs between weight and use: their
            total variation distance, averaged over queries; 1 for a head that writes nothing).
    """

    cells: pd.DataFrame
    heads: pd.DataFrame


@torch.no_grad()
def weight_and_use(model: HookedGPT, tokens: Int[np.ndarray, " pos"]) -> WeightAndUse:
    """Each head's pattern on one prompt, as weights and weighted by the size of what is written.

    A head writes `sum_j A[i, j] v_j W_O`; `use` is the share of ‖A[i, j] v_j W_O‖ in row i.

    Raises:
        InputError: a prompt of a single token, which has nothing to attend to but itself.

    Source: Kobayashi et al. 2020, arXiv:2004.10102 (norm-weighted attention).
    """
    if len(tokens) < 2:
        raise InputError("weight and use need a prompt of at least two tokens")
    layers = range(model.config.n_layers)
    names = [hook_name(short, layer) for short in ("pattern", "v") for layer in layers]
    rows = torch.as_tensor(tokens, device=model.W_E.device)[None]
    _, cache = model.run_with_cache(rows, names)
    cells, heads = [], []
    for layer in layers:
        sides = cache["pattern", layer][0], cache["v", layer][0], model.blocks[layer].attn.W_O
        weight, value, W_O = (side.cpu().double() for side in sides)
        use = _shares_written(weight, value, W_O)
        writes = use.sum(dim=-1) > 0
        moved = torch.where(writes, (weight - use).abs().sum(dim=-1) / 2, 1.0)
        cells.append(_cell_rows(layer, weight.numpy(), use.numpy()))
        heads.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "head": np.arange(len(weight)),
                    "first_token_weight": weight[:, 1:, 0].mean(dim=-1).numpy(),
                    "first_token_use": use[:, 1:, 0].mean(dim=-1).numpy(),
                    "moved": moved[:, 1:].mean(dim=-1).numpy(),
                }
            )
        )
    return WeightAndUse(*(pd.concat(parts, ignore_index=True) for parts in (cells, heads)))


def _shares_written(
    weight: Float[Tensor, "head query_pos key_pos"],
    value: Float[Tensor, "key_pos head d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
) -> Float[Tensor, "head query_pos key_pos"]:
    """Each key's share of the norms written at a query; 0 in a row where nothing is written."""
    written = einsum(value, W_O, "key head d_head, head d_head d_model -> head key d_model")
    carried = weight * written.norm(dim=-1)[:, None, :]
    total = carried.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, carried / total.clamp(min=1e-300), 0.0)


@torch.no_grad()
def attention_states(
    model: HookedGPT, tokens: Int[np.ndarray, " pos"]
) -> dict[str, Float[np.ndarray, "layer head query_pos key_pos"]]:
    """What every head's pattern is made through, step by step, on one prompt.

    Returns:
        "weight" (after the softmax), "raw score" (before the mask, no unit), "masked score" (-inf
        where the mask forbids), "norm-weighted" (share of the norms written, as `weight_and_use`).

    Cost: `n_layers * n_heads * n_pos**2` numbers for each state.
    """
    layers = range(model.config.n_layers)
    shorts = {"weight": "pattern", "raw score": "attn_scores_raw", "masked score": "attn_scores"}
    names = [hook_name(short, layer) for short in (*shorts.values(), "v") for layer in layers]
    rows = torch.as_tensor(tokens, device=model.W_E.device)[None]
    _, cache = model.run_with_cache(rows, names)
    states = {
        state: np.stack([cache[short, layer][0].cpu().double().numpy() for layer in layers])
        for state, short in shorts.items()
    }
    use = [
        _shares_written(
            *(side.cpu().double() for side in (cache["pattern", layer][0], cache["v", layer][0],
                                               model.blocks[layer].attn.W_O))
        ).numpy()
        for layer in layers
    ]  # fmt: skip
    return states | {"norm-weighted": np.stack(use)}


def _cell_rows(layer: int, weight: np.ndarray, use: np.ndarray) -> pd.DataFrame:
    head, query, key = np.indices(weight.shape).reshape(3, -1)
    kept = key <= query
    if (weight.reshape(-1)[~kept] > 0).any():  # not a causal model: every pair is allowed
        kept = np.ones_like(kept)
    columns = {"layer": layer, "head": head, "query_pos": query, "key_pos": key}
    frame = pd.DataFrame(columns | {"weight": weight.ravel(), "use": use.ravel()})
    return frame[kept]
