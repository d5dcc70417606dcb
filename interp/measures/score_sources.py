"""Why this score? An attention score, split by what query and key were made of.

A query is linear in the residual stream once the norm's scale is held at its value, and the stream
is a sum of what was written to it: token and position, every earlier head and MLP, biases. So is a
key. Their product is a sum over pairs of sources, exactly.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError, hook_name
from interp.measures.detectors import head_columns
from interp.measures.factored import widened

TOKEN, POSITION, BIAS = "token", "position", "bias"
REST, KEY_BIAS = "all other pairs", "bias of the keys"


@torch.no_grad()
def attention_pattern(
    model: HookedGPT,
    tokens: Int[np.ndarray, " pos"] | Int[Tensor, " pos"] | str,
    layer: int,
    head: int,
    queries: list[int] | None = None,
) -> pd.DataFrame:
    """Each score of a head on one prompt, as a sum over pairs of sources.

    Sources are "token" and "position" (embeddings), "L0H1" (an earlier head, without biases),
    "MLP0", "bias" (what the earlier layers' output biases wrote, the norm's bias, and the head's
    own query or key bias). A term that does not depend on the key changes no pattern: softmax takes
    it out. That is the case of every term whose key source is the head's own key bias.

    Args:
        model: any HookedGPT with norm "pre" or "none".
        tokens: one prompt; text if the model has a tokenizer.
        layer: of the head.
        head: the head.
        queries: positions; all by default.

    Returns:
        One row per query, key not after it, and pair of sources: `query_pos`, `key_pos`,
        `query_source`, `key_source`, `term` (the score's share, no unit), and, the same for all
        terms of a pair of positions, `score` (before the mask) and `weight` (attention).

    Raises:
        InputError: a head or a position that does not exist, several prompts, or norm "post",
            where the stream is no sum.

    Cost: `n_queries * n_pos * (number of sources)**2` products of width `d_head`. Exact: the terms
    sum to the score up to rounding.

    Source: the path expansion of Elhage et al. 2021, with the norm's scale held at its value.
    """
    parts = _parts(model, tokens, layer, head)
    queries = list(range(parts.n_pos)) if queries is None else list(queries)
    _require_positions(queries, parts.n_pos)
    terms = torch.einsum("aqe,bke->abqk", parts.q[:, queries], parts.k) * parts.scale
    return _rows(terms, parts.score[queries], parts.weight[queries], parts.names, queries)


class SplitScores(NamedTuple):
    """The scores of a head as sums of a few terms.

    Attributes:
        sources: names of the terms: pairs such as "token × position" (query's source, key's
            source), then "all other pairs" and "bias of the keys".
        terms: their shares of each score; they sum to it. NaN where a key may not be attended to.
        score: before the mask, as the forward pass computes it; NaN likewise.
        weight: attention.
    """

    sources: list[str]
    terms: Float[np.ndarray, "source query_pos key_pos"]
    score: Float[np.ndarray, "query_pos key_pos"]
    weight: Float[np.ndarray, "query_pos key_pos"]


@torch.no_grad()
def split_scores(
    model: HookedGPT,
    tokens: Int[np.ndarray, " pos"] | Int[Tensor, " pos"] | str,
    layer: int,
    head: int,
    query: int,
    most: int = 5,
) -> SplitScores:
    """All scores of a head on one prompt, each split into the pairs of sources that matter.

    Pairs matter if their terms differ between the keys of one query, since what is equal for all
    keys changes no attention. Terms whose key source is "bias" are summed: they are equal for all
    keys, but for the scale of the norm.

    Args:
        model: any HookedGPT with norm "pre" or "none".
        tokens: one prompt; text if the model has a tokenizer.
        layer: of the head.
        head: the head.
        query: position whose keys choose the pairs.
        most: pairs, at most; those without any part in the scores are left out.

    Raises:
        InputError: as `attention_pattern`.

    Cost: `n_pos * (number of sources)**2` products of width `d_head` for the choice, then
    `most * n_pos**2`.
    """
    parts = _parts(model, tokens, layer, head)
    _require_positions([query], parts.n_pos)
    allowed = (parts.weight > 0) | torch.ones_like(parts.weight).tril().bool()
    keys = allowed[query]
    of_query = torch.einsum("ae,bke->abk", parts.q[:, query], parts.k[:, keys]) * parts.scale
    bias = parts.names.index(BIAS)
    spread = of_query.amax(-1) - of_query.amin(-1) if keys.sum() > 1 else of_query[..., 0].abs()
    spread[:, bias] = 0.0  # has a term of its own
    order = spread.flatten().argsort(descending=True, stable=True)[:most].tolist()
    pairs = [divmod(at, len(parts.names)) for at in order]
    least = 1e-12 * max(1.0, float(of_query.abs().max()))
    pairs = [pair for pair in pairs if spread[pair] > least]
    terms = [parts.scale * parts.q[a] @ parts.k[b].T for a, b in pairs]
    of_bias = parts.scale * parts.q.sum(0) @ parts.k[bias].T
    whole = parts.scale * parts.q.sum(0) @ parts.k.sum(0).T
    terms += [whole - of_bias - sum(terms), of_bias]
    names = [f"{parts.names[a]} × {parts.names[b]}" for a, b in pairs]
    arrays = [
        torch.where(allowed, side.double(), torch.nan).cpu().numpy()
        for side in (torch.stack(terms), parts.score)
    ]
    return SplitScores([*names, REST, KEY_BIAS], *arrays, parts.weight.double().cpu().numpy())


class _Parts(NamedTuple):
    """A head's queries and keys, source by source."""

    names: list[str]
    q: Float[Tensor, "source pos d_head"]
    k: Float[Tensor, "source pos d_head"]
    scale: float
    score: Float[Tensor, "pos pos"]
    weight: Float[Tensor, "pos pos"]

    @property
    def n_pos(self) -> int:
        return self.q.shape[1]


def _parts(model: HookedGPT, tokens: object, layer: int, head: int) -> _Parts:
    if not model.config.stream_is_sum:
        raise InputError("with norm='post' the stream is normed anew in each layer: it is no sum")
    head_columns(model, [(layer, head)])
    rows = _one_prompt(model, tokens)
    names, parts, cache = stream_sources(model, rows, layer)
    attn = model.blocks[layer].attn
    return _Parts(
        names,
        _through(model, parts, cache, layer, attn.W_Q[head], attn.b_Q[head]),
        _through(model, parts, cache, layer, attn.W_K[head], attn.b_K[head]),
        attn.scale,
        widened(cache["attn_scores_raw", layer][0, head]),
        widened(cache["pattern", layer][0, head]),
    )


def _require_positions(positions: list[int], n_pos: int) -> None:
    for position in positions:
        if not 0 <= position < n_pos:
            raise InputError(f"there is no position {position}: the prompt has 0 to {n_pos - 1}")


def _one_prompt(model: HookedGPT, tokens: object) -> Int[Tensor, "1 pos"]:
    if isinstance(tokens, str):
        return model.to_tokens(tokens)[0]
    rows = torch.as_tensor(tokens, device=model.W_E.device)
    if rows.ndim != 1 or not len(rows):
        raise InputError(
            f"a score is split on one prompt, [pos], but tokens of shape {tuple(rows.shape)} came"
        )
    return rows[None]


@torch.no_grad()
def stream_sources(
    model: HookedGPT, tokens: Int[Tensor, "1 pos"], layer: int
) -> tuple[list[str], Float[Tensor, "source pos d_model"], object]:
    """What the stream before a layer is the sum of, and the run's cache.

    Value biases count as biases: they pass a head whatever it attends to.
    """
    names = [hook_name("hook_embed")]
    if model.config.positions != "none":
        names.append(hook_name("hook_pos_embed"))
    for earlier in range(layer):
        names += [hook_name(short, earlier) for short in ("v", "pattern")]
        if not model.config.attn_only:
            names.append(hook_name("mlp_out", earlier))
    names += [hook_name(short, layer) for short in ("resid_pre", "attn_scores_raw", "pattern")]
    if model.config.norm == "pre":
        names.append(hook_name("scale", layer, "ln1"))
    _, cache = model.run_with_cache(tokens, names)
    found = {TOKEN: cache["hook_embed"][0]}
    bias = torch.zeros_like(found[TOKEN])
    if model.config.positions != "none":
        found[POSITION] = cache["hook_pos_embed"][0]
    for earlier in range(layer):
        attn = model.blocks[earlier].attn
        values = cache["v", earlier][0] - attn.b_V
        mixed = torch.einsum("hqk,khe->hqe", cache["pattern", earlier][0], values)
        written = torch.einsum("hqe,hed->hqd", mixed, attn.W_O)
        found |= {f"L{earlier}H{h}": of_head for h, of_head in enumerate(written)}
        bias = bias + attn.b_O + torch.einsum("he,hed->d", attn.b_V, attn.W_O)
        if not model.config.attn_only:
            b_out = model.blocks[earlier].mlp.b_out
            found[f"MLP{earlier}"] = cache["mlp_out", earlier][0] - b_out
            bias = bias + b_out
    found[BIAS] = bias
    return list(found), torch.stack(list(found.values())), cache


def _through(
    model: HookedGPT,
    parts: Float[Tensor, "source pos d_model"],
    cache: object,
    layer: int,
    weight: Float[Tensor, "d_model d_head"],
    bias: Float[Tensor, " d_head"],
) -> Float[Tensor, "source pos d_head"]:
    """Each source's share of the queries (or keys); the last source is the biases."""
    shift, parts, weight = 0.0, widened(parts), widened(weight)
    if model.config.norm == "pre":
        ln1 = model.blocks[layer].ln1
        parts = parts - parts.mean(-1, keepdim=True)
        parts = parts / cache["scale", layer, "ln1"][0] * ln1.w
        shift = widened(ln1.b) @ weight
    shares = parts @ weight
    shares[-1] = shares[-1] + shift + bias
    return shares


def _rows(
    terms: Float[Tensor, "source other_source query_pos key_pos"],
    score: Float[Tensor, "query_pos key_pos"],
    weight: Float[Tensor, "query_pos key_pos"],
    names: list[str],
    queries: list[int],
) -> pd.DataFrame:
    a, b, q, k = np.indices(tuple(terms.shape)).reshape(4, -1)
    position = np.array(queries)[q]
    # Later keys count only where they are allowed (models without a causal mask).
    kept = (k <= position) | (weight.cpu().numpy()[q, k] > 0)
    a, b, q, k, position = (axis[kept] for axis in (a, b, q, k, position))
    label = np.array(names)
    return pd.DataFrame(
        {
            "query_pos": position,
            "key_pos": k,
            "query_source": label[a],
            "key_source": label[b],
            "term": terms.double().cpu().numpy()[a, b, q, k],
            "score": score.double().cpu().numpy()[q, k],
            "weight": weight.double().cpu().numpy()[q, k],
        }
    )


def sources_of_preference(terms: pd.DataFrame, query: int, key: int, other: int) -> pd.DataFrame:
    """Why one key scores above another for a query: the difference, by pair of sources.

    What does not depend on the key drops out. Largest first.

    Args:
        terms: of `attention_pattern`.
        query: position.
        key: position.
        other: position.

    Returns:
        `query_source`, `key_source`, `difference`; their sum is the difference of the scores.

    Raises:
        InputError: a pair of positions that `terms` does not hold.
    """
    sides = []
    for at in (key, other):
        rows = terms[(terms["query_pos"] == query) & (terms["key_pos"] == at)]
        if rows.empty:
            raise InputError(f"the terms hold no score of query {query} and key {at}")
        sides.append(rows.set_index(["query_source", "key_source"])["term"])
    difference = (sides[0] - sides[1]).rename("difference").reset_index()
    order = difference["difference"].abs().sort_values(ascending=False, kind="stable").index
    return difference.loc[order].reset_index(drop=True)
