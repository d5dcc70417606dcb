"""What an attention score is made of, checked on a model: biases, norm, scale, classes, cells.

Identities are checked in float64 from the stream that the model itself computed, layer by layer.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.stats
import torch

from interp import measures
from interp.core import hook_name

if TYPE_CHECKING:
    from interp.core import HookedGPT
    from studies._adjectives import Words

MOST_CELLS = 48  # runs of a prompt at a time


@torch.no_grad()
def identities(model: "HookedGPT", tokens: np.ndarray) -> pd.DataFrame:
    """How well the textbook's formula gives the model's own queries and outputs, layer by layer.

    Returns:
        One row per layer. Largest differences over the largest value: `query` (queries from the
        normed stream with bias, against the model's), `output` (mixed values against PyTorch's
        `scaled_dot_product_attention`). `query_plain`: ‖W_Q x − q‖ / ‖q‖, without norm and bias.
        `without_key_bias`: largest change of a weight when the key bias is taken out. `unscaled`:
        share of the attention that moves when scores are not divided by √d_head. Entropies of the
        pattern over their causal maximum: `entropy`, `entropy_unscaled`.
    """
    rows = torch.as_tensor(tokens, device=model.W_E.device)
    layers = range(model.config.n_layers)
    shorts = ("resid_pre", "q", "k", "v", "z", "attn_scores", "pattern")
    names = [hook_name(short, layer) for layer in layers for short in shorts]
    if model.config.norm == "pre":
        names += [hook_name("normalized", layer, "ln1") for layer in layers]
    _, cache = model.run_with_cache(rows, names)
    found = []
    for layer in layers:
        block = model.blocks[layer]
        W_Q, b_Q, b_K = (w.double() for w in (block.attn.W_Q, block.attn.b_Q, block.attn.b_K))
        q, k, v, z, pattern = (
            cache[short, layer].double() for short in ("q", "k", "v", "z", "pattern")
        )
        stream = normed = cache["resid_pre", layer].double()
        if model.config.norm == "pre":
            normed = cache["normalized", layer, "ln1"].double() * block.ln1.w + block.ln1.b
        rebuilt = torch.einsum("bpd,hde->bphe", normed, W_Q) + b_Q
        plain = torch.einsum("bpd,hde->bphe", stream, W_Q)
        allowed = torch.isfinite(cache["attn_scores", layer])
        by_head = [side.transpose(1, 2) for side in (q, k, v)]
        output = torch.nn.functional.scaled_dot_product_attention(*by_head, attn_mask=allowed)

        def softmax(keys, queries=q, seen=allowed, scale=block.attn.scale):
            scores = torch.einsum("bqhe,bkhe->bhqk", queries, keys) * scale
            return scores.masked_fill(~seen, -torch.inf).softmax(-1)

        unscaled = softmax(k, scale=1.0)
        found.append(
            {
                "layer": layer,
                "query": _relative(rebuilt, q),
                "query_plain": float((plain - q).norm() / q.norm().clamp(min=1e-300)),
                "output": _relative(output.transpose(1, 2), z),
                "without_key_bias": float((softmax(k - b_K) - softmax(k)).abs().max()),
                "unscaled": float((unscaled - pattern).abs().sum(-1).mean() / 2),
                "entropy": _entropy(pattern, allowed),
                "entropy_unscaled": _entropy(unscaled, allowed),
            }
        )
    return pd.DataFrame(found)


def _relative(made: torch.Tensor, own: torch.Tensor) -> float:
    return float((made - own).abs().max() / own.abs().max().clamp(min=1e-300))


def _entropy(pattern: torch.Tensor, allowed: torch.Tensor) -> float:
    """Mean over queries with a choice, as a share of the largest possible."""
    entropy = -torch.special.xlogy(pattern, pattern).sum(-1)
    n_keys = allowed.sum(-1).expand_as(entropy)
    chooses = n_keys > 1
    return float((entropy / n_keys.clamp(min=2).log())[chooses].mean())


@torch.no_grad()
def without_bias(model: "HookedGPT", tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Patterns of the whole model with all query biases, or all key biases, taken out.

    Returns:
        By side ("intact", "query", "key"): `first` [prompt layer], attention on position 0, mean
        over heads and queries from the second on; `query_moved` and `key_moved` [prompt layer]:
        share of the attention that moves when that bias is taken out.
    """
    rows = torch.as_tensor(tokens, device=model.W_E.device)
    layers = range(model.config.n_layers)
    names = [hook_name("pattern", layer) for layer in layers]

    def patterns(short: str | None) -> list[torch.Tensor]:
        def taken_out(layer: int):
            bias = getattr(model.blocks[layer].attn, {"q": "b_Q", "k": "b_K"}[short])
            return lambda value, point: value - bias

        hooks = [] if short is None else [(hook_name(short, la), taken_out(la)) for la in layers]
        with model.hooks(fwd_hooks=hooks):
            _, cache = model.run_with_cache(rows, names)
        return [cache["pattern", layer][:, :, 1:].double() for layer in layers]

    intact, found = patterns(None), {}
    for side, short in (("intact", None), ("query", "q"), ("key", "k")):
        changed = intact if short is None else patterns(short)
        found[side] = _by_layer([one[..., 0].mean((1, 2)) for one in changed])
        if short is not None:
            moved = [
                (a - b).abs().sum(-1).mean((1, 2)) / 2 for a, b in zip(intact, changed, strict=True)
            ]
            found[f"{side}_moved"] = _by_layer(moved)
    return found


def _by_layer(values: list[torch.Tensor]) -> np.ndarray:
    return torch.stack(values, 1).cpu().numpy()


@torch.no_grad()
def class_scores(
    model: "HookedGPT", words: "Words", n_permutations: int, n_resamples: int, seed: int
) -> pd.DataFrame:
    """Whether nouns score adjectives above other words, from the weights alone.

    Each word is what the model holds of it without context: its embedding, and from layer 1 on
    what the first MLP adds. p is the share of relabellings of the key words (which of them are
    adjectives) whose difference reaches the observed one; the interval resamples words of both
    classes.

    Returns:
        One row per head: `layer`, `head`, `adjectives`, `others` (mean scores), `contrast`,
        `ci_low`, `ci_high`, `p`, `q` (Benjamini-Hochberg over heads), `n` (key words).
    """
    keys = [*words.adjectives, *words.others]
    n_adjectives, n = len(words.adjectives), len(keys)
    scores = np.stack(
        [
            (query @ key.transpose(1, 2) * model.blocks[layer].attn.scale).mean(1).cpu().numpy()
            for layer in range(model.config.n_layers)
            for query, key in [_without_context(model, layer, words.nouns, keys)]
        ]
    ).reshape(-1, n)
    rng = np.random.default_rng(seed)

    def difference(weights: np.ndarray) -> np.ndarray:
        return weights @ scores.T

    observed = difference(_class_weights(np.arange(n)[None], n_adjectives))[0]
    orders = rng.permuted(np.tile(np.arange(n), (n_permutations, 1)), axis=1)
    reached = (difference(_class_weights(orders, n_adjectives)) >= observed - 1e-12).sum(0)
    drawn = np.concatenate(
        [
            rng.integers(0, n_adjectives, (n_resamples, n_adjectives)),
            rng.integers(n_adjectives, n, (n_resamples, n - n_adjectives)),
        ],
        axis=1,
    )
    low, high = np.quantile(difference(_class_weights(drawn, n_adjectives)), [0.025, 0.975], axis=0)
    layer, head = np.divmod(np.arange(len(scores)), model.config.n_heads)
    p = (reached + 1) / (n_permutations + 1)
    return pd.DataFrame(
        {
            "layer": layer,
            "head": head,
            "adjectives": scores[:, :n_adjectives].mean(1),
            "others": scores[:, n_adjectives:].mean(1),
            "contrast": observed,
            "ci_low": low,
            "ci_high": high,
            "p": p,
            "q": measures.false_discovery_q(p),
            "n": n,
        }
    )


def _class_weights(orders: np.ndarray, n_adjectives: int) -> np.ndarray:
    """Mean over the first words of each order minus mean over the rest, as weights on words."""
    n = orders.shape[1]
    weights = np.zeros((len(orders), n))
    row = np.arange(len(orders))[:, None]
    np.add.at(weights, (row, orders[:, :n_adjectives]), 1 / n_adjectives)
    np.add.at(weights, (row, orders[:, n_adjectives:]), -1 / (n - n_adjectives))
    return weights


def _without_context(
    model: "HookedGPT", layer: int, nouns: tuple[int, ...], keys: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries of nouns and keys of words, `[head word d_head]`, in float64."""
    block, first = model.blocks[layer], model.blocks[0]
    normed = model.config.norm == "pre"
    sides = []
    for ids, weight, bias in (
        (nouns, block.attn.W_Q, block.attn.b_Q), (list(keys), block.attn.W_K, block.attn.b_K)
    ):  # fmt: skip
        stream = model.W_E[list(ids)][None]
        if layer and not model.config.attn_only:
            stream = stream + first.mlp(first.ln2(stream) if normed else stream)
        stream = (block.ln1(stream) if normed else stream)[0].double()
        sides.append(torch.einsum("wd,hde->hwe", stream, weight.double()) + bias.double()[:, None])
    return sides[0], sides[1]


@torch.no_grad()
def cell_effects(model: "HookedGPT", tokens: np.ndarray, layer: int, head: int) -> pd.DataFrame:
    """What each cell of a pattern does: the next-token distribution with that cell's share gone.

    From the head's mixed value at a query, `A[query, key] v[key]` is taken away; the other weights
    stay as they are.

    Returns:
        One row per cell that may be attended to: `query_pos`, `key_pos`, `weight`, `use` (as
        `measures.weight_and_use`), `effect_nats` (KL(intact ‖ without) at the query).
    """
    cells = measures.weight_and_use(model, tokens).cells
    cells = cells[(cells["layer"] == layer) & (cells["head"] == head)].reset_index(drop=True)
    rows = torch.as_tensor(tokens, device=model.W_E.device)[None]
    names = [hook_name(short, layer) for short in ("resid_pre", "v", "pattern")]
    logits, cache = model.run_with_cache(rows, names, return_type="logits")
    intact = logits[0].double().log_softmax(-1)
    v, pattern = cache["v", layer][0, :, head], cache["pattern", layer][0, head]
    effects = []
    for start in range(0, len(cells), MOST_CELLS):
        some = cells.iloc[start : start + MOST_CELLS]
        at = torch.arange(len(some))
        query, key = (torch.tensor(some[c].tolist()) for c in ("query_pos", "key_pos"))

        def take(z, point, at=at, query=query, key=key):
            z = z.clone()
            z[at, query, head] -= pattern[query, key][:, None] * v[key]
            return z

        with model.hooks(fwd_hooks=[(hook_name("z", layer), take)]):
            resid = cache["resid_pre", layer].expand(len(some), -1, -1)
            changed = model(resid, start_at_layer=layer)[at, query].double().log_softmax(-1)
        before = intact[query]
        effects.append((before.exp() * (before - changed)).sum(-1).clamp(min=0).cpu().numpy())
    cells["effect_nats"] = np.concatenate(effects)
    return cells[["query_pos", "key_pos", "weight", "use", "effect_nats"]]


def rank_agreement(cells: pd.DataFrame) -> tuple[float, float]:
    """Spearman's correlation of weight and of use with effect, over queries with a choice.

    0 where one side does not vary: it then orders nothing.
    """
    chosen = cells[cells["query_pos"] > 0]
    effect = scipy.stats.rankdata(chosen["effect_nats"].round(12))
    found = []
    for side in ("weight", "use"):
        ranks = scipy.stats.rankdata(chosen[side].round(12))
        varies = len(chosen) > 2 and np.ptp(ranks) > 0 and np.ptp(effect) > 0
        found.append(float(np.corrcoef(ranks, effect)[0, 1]) if varies else 0.0)
    return found[0], found[1]


def top_agreement(cells: pd.DataFrame) -> dict[str, float]:
    """How often the key attended to most is the key that matters most.

    Returns:
        `top` (share of queries with a choice and an effect), `top_by_chance` (the same for a key
        drawn at random).
    """
    chosen = cells[cells["query_pos"] > 0]
    hits, chance = [], []
    for _, row in chosen.groupby("query_pos"):
        if row["effect_nats"].max() <= 0:
            continue
        hits.append(row["weight"].idxmax() == row["effect_nats"].idxmax())
        chance.append(1 / len(row))
    if not hits:
        return {"top": 0.0, "top_by_chance": 0.0}
    return {"top": float(np.mean(hits)), "top_by_chance": float(np.mean(chance))}
