"""What the viewer can show in place of a static picture: data only, made from frames and arrays.

Each function makes one kind of view for `FigurePart.view`. The static picture stays complete
without it.

How it stands in a page (`packing.py`): strings and small numbers as JSON in ASCII without "<"; each
array once, whichever figures share it, as gzip in base64. Attention is kept in whole multiples of
the last digit shown, four digits up to 64 tokens and three beyond, so that numbers are those of the
tables; terms of a score likewise above 100,000 of them; all other numbers in 32 bits. Where nothing
stands above the diagonal, nothing is stored there. Of a vocabulary all logits are kept, but only
the names of the best 256.

Sizes, measured on softmax rows with normal scores (a page with one small picture, everything
included): weights of 144 heads 0.22 MB for 32 tokens, 1.1 MB for 128. Packed by themselves for 32
tokens: weights 0.13 MB, weights by norm 0.14 MB, masked scores 0.17 MB, raw scores (both sides of
the diagonal) 0.33 MB. The viewer's script is below 60 kB in each language. The
144 heads of 128 tokens can be used 0.8 s after the page is asked for, on two busy cores.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from interp.core.errors import InputError

_EXACT_UP_TO = 64  # tokens; longer prompts lose the last digit of each weight
_NAMED_TOKENS = 256  # of a vocabulary; names of all would outweigh their logits
_MANY_TERMS = 100_000


@dataclass(frozen=True)
class View:
    """Data of an explorable figure.

    Attributes:
        kind: which part of the viewer shows it.
        data: strings, numbers, lists and mappings of these.
        arrays: large arrays by name, packed into the page apart from `data`; NaN is no value.
        decimals: digits after the point of an array's numbers, where these are enough; numbers of
            other arrays have the precision of 32 bits.
    """

    kind: str
    data: dict[str, Any]
    arrays: dict[str, np.ndarray]
    decimals: dict[str, int] = field(default_factory=dict)


def attention(
    tokens: Sequence[str],
    states: Mapping[str, np.ndarray],
    roles: Mapping[str, str] | None = None,
) -> View:
    """Atlas of all heads, one head at a time, and the tokens lit by attention.

    Cells that a mask forbids have no value: those where "masked score" is infinite, else those
    above the diagonal if nothing is there.

    Args:
        tokens: the prompt's tokens.
        states: arrays `[layer head query_pos key_pos]` by name of the state, the weight first:
            "weight" (rows sum to 1), and where wanted "raw score", "masked score",
            "norm-weighted".
        roles: role of a head by label ("L1H2"), where it has one.

    Raises:
        InputError: arrays of different shapes, or not of these tokens.
    """
    n = len(tokens)
    arrays = {name: _numbers(array) for name, array in states.items()}
    if not arrays:
        raise InputError("a view of attention needs at least one state, such as 'weight'")
    shape = (*next(iter(arrays.values())).shape[:2], n, n)
    for name, array in arrays.items():
        _expect(array, shape, f"the state {name!r} of {n} tokens")
    masked = _masked(arrays)
    for name, array in arrays.items():
        if name != "raw score":
            array[masked] = np.nan
    data = {"tokens": list(tokens), "states": list(states), "roles": dict(roles or {})}
    return View("attention", data, arrays, {name: _digits(name, arrays[name]) for name in arrays})


def _masked(arrays: dict[str, np.ndarray]) -> np.ndarray:
    if "masked score" in arrays:
        return ~np.isfinite(arrays["masked score"])
    first = next(iter(arrays.values()))
    later = np.triu(np.ones(first.shape[-2:], bool), 1)
    return np.broadcast_to(later & ~np.any(np.nan_to_num(first[..., later]) != 0), first.shape)


def _digits(name: str, array: np.ndarray) -> int:
    """Four digits in all for the largest value; one less where there are many."""
    fewer = array.shape[-1] > _EXACT_UP_TO
    largest = 1.0 if name == "weight" else np.max(np.abs(array[np.isfinite(array)]), initial=0.0)
    before_point = math.floor(math.log10(largest)) + 1 if largest > 0 else 1
    return max(0, min(6, 5 - before_point - fewer))


def lens(
    tokens: Sequence[str],
    layers: Sequence[str],
    top_tokens: Sequence[Sequence[str]],
    values: Mapping[str, np.ndarray],
    pinned: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> View:
    """Table of layers and positions with the token read off in each cell.

    Args:
        tokens: the prompt's tokens.
        layers: names of the rows, the embedding first.
        top_tokens: best token by layer and position.
        values: arrays `[layer pos]` by name: "probability", "entropy_nats", "kl_nats", ...
        pinned: the same by token, for tokens that can be pinned: "probability", "rank".

    Raises:
        InputError: arrays or top tokens that are not one per layer and position.
    """
    shape = (len(layers), len(tokens))
    arrays = {name: _numbers(array) for name, array in values.items()}
    for token, of_token in (pinned or {}).items():
        arrays |= {f"{name} of {token}": _numbers(array) for name, array in of_token.items()}
    for name, array in arrays.items():
        _expect(array, shape, f"{name!r} of a lens with {shape[0]} layers and {shape[1]} tokens")
    if [len(row) for row in top_tokens] != [shape[1]] * shape[0]:
        raise InputError(f"a lens of shape {shape} needs one top token per layer and position")
    data = {
        "tokens": list(tokens),
        "layers": list(layers),
        "top_tokens": [list(row) for row in top_tokens],
        "values": list(values),
        "pinned": [[token, list(of_token)] for token, of_token in (pinned or {}).items()],
    }
    return View("lens", data, arrays)


def score_terms(
    query_tokens: Sequence[str],
    key_tokens: Sequence[str],
    sources: Sequence[str],
    terms: np.ndarray,
    title: str,
) -> View:
    """Why a head attends: its scores as sums of terms by source.

    Args:
        query_tokens: tokens of the queries.
        key_tokens: tokens of the keys.
        sources: names of the terms.
        terms: `[source query_pos key_pos]`, in units of the score; they sum to the score. NaN or
            infinite where a pair has no score.
        title: the head.

    Raises:
        InputError: terms that are not one per source, query and key.
    """
    terms = _numbers(terms)
    _expect(terms, (len(sources), len(query_tokens), len(key_tokens)), "the terms of a score")
    terms[~np.isfinite(terms)] = np.nan
    data = {
        "query_tokens": list(query_tokens),
        "key_tokens": list(key_tokens),
        "sources": list(sources),
        "title": title,
    }
    decimals = {"terms": 3} if terms.size > _MANY_TERMS else {}
    return View("score_terms", data, {"terms": terms, "total": terms.sum(axis=0)}, decimals)


def temperature(prompt: Sequence[str], tokens: Sequence[str], logits: np.ndarray) -> View:
    """Sliders for temperature, top-k and top-p on real logits.

    Args:
        prompt: the prompt's tokens.
        tokens: all tokens of the vocabulary, or the best ones.
        logits: `[d_vocab]` or those of the tokens given, in the same order.

    Raises:
        InputError: not one finite logit per token.
    """
    logits = _numbers(logits)
    _expect(logits, (len(tokens),), "the logits")
    if not len(logits) or not np.isfinite(logits).all():
        raise InputError("temperature needs at least one logit, and only finite ones")
    # Sorted in the page's own precision, so that equal numbers keep the order of the vocabulary.
    order = np.argsort(-logits.astype(np.float32), kind="stable")
    data = {
        "prompt": list(prompt),
        "tokens": [tokens[i] for i in order[:_NAMED_TOKENS]],
        "ids": order.tolist()[:_NAMED_TOKENS],
    }
    return View("temperature", data, {"logits": logits[order]})


def number_line(
    points: pd.DataFrame, axis: str, null_low: float | None = None, null_high: float | None = None
) -> View:
    """Words on a line.

    Args:
        points: columns `word`, `value`, `group`.
        axis: what the line measures, with its unit.
        null_low: lower end of the band of the null.
        null_high: upper end.
    """
    data = {"points": _columns(points, "word", "value", "group"), "axis": axis}
    return View("number_line", data | {"null_low": null_low, "null_high": null_high}, {})


def plane(points: pd.DataFrame, arrows: Sequence[tuple[str, str]], axes: tuple[str, str]) -> View:
    """Words in a plane, with arrows between some.

    Args:
        points: columns `word`, `x`, `y`, `group`.
        arrows: pairs of words.
        axes: what the two directions are.

    Raises:
        InputError: an arrow from or to a word that has no point.
    """
    data = {"points": _columns(points, "word", "x", "y", "group")}
    _expect_known([word for arrow in arrows for word in arrow], points["word"], "arrow", "point")
    return View("plane", data | {"arrows": [list(a) for a in arrows], "axes": list(axes)}, {})


def rectangles(items: pd.DataFrame, unit: str) -> View:
    """Areas to scale.

    Args:
        items: columns `model`, `group`, `name`, `count`, `formula`, `shape`.
        unit: what is counted.

    Raises:
        InputError: a count below 0.
    """
    columns = ("model", "group", "name", "count", "formula", "shape")
    if (items["count"] < 0).any():
        raise InputError(f"an area cannot be negative; the least count is {items['count'].min()}")
    return View("rectangles", {"items": _columns(items, *columns), "unit": unit}, {})


def grid(
    rows: Sequence[str],
    columns: Sequence[str],
    values: np.ndarray,
    unit: str,
    ends: Mapping[str, float],
    axes: tuple[str, str] = ("layer", "position"),
) -> View:
    """A grid of signed effects, such as those of patching.

    Args:
        rows: names of the rows.
        columns: names of the columns, tokens for instance.
        values: `[row column]`.
        unit: of the values.
        ends: named values that the colour bar marks: "clean" and "corrupted".
        axes: what rows and columns are.

    Raises:
        InputError: values that are not one per row and column.
    """
    values = _numbers(values)
    _expect(values, (len(rows), len(columns)), "the values of a grid")
    data = {
        "rows": list(rows),
        "columns": list(columns),
        "unit": unit,
        "ends": {name: float(value) for name, value in ends.items()},
        "axes": list(axes),
    }
    return View("grid", data, {"values": values})


def flow(nodes: pd.DataFrame, edges: pd.DataFrame, unit: str) -> View:
    """A graph of components whose weak edges a threshold hides.

    Args:
        nodes: columns `name`, `layer` (its rank upwards), `place` (its rank across).
        edges: columns `source`, `target`, `weight`.
        unit: of the weights.

    Raises:
        InputError: an edge from or to a node that is not there.
    """
    ends = [*edges["source"], *edges["target"]]
    _expect_known(ends, nodes["name"], "edge", "node")
    data = {
        "nodes": _columns(nodes, "name", "layer", "place"),
        "edges": _columns(edges, "source", "target", "weight"),
        "unit": unit,
    }
    return View("flow", data, {})


def _numbers(array: np.ndarray) -> np.ndarray:
    """A copy in 64 bits."""
    return np.array(array, dtype=np.float64)


def _expect(array: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    if array.shape != shape:
        raise InputError(f"{what}: shape {array.shape} came, {shape} was expected")


def _expect_known(names: Sequence[str], known: pd.Series, end: str, thing: str) -> None:
    unknown = set(names) - set(known)
    if unknown:
        raise InputError(f"an {end} names {sorted(unknown)[0]!r}, but no {thing} is called so")


def _columns(frame: pd.DataFrame, *names: str) -> dict[str, list[Any]]:
    return {name: frame[name].tolist() for name in names}
