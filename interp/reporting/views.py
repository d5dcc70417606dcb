"""What the viewer can show in place of a static picture: data only, made from frames and arrays.

Each function makes one kind of view for `FigurePart.view`. The static picture stays complete
without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class View:
    """Data of an explorable figure.

    Attributes:
        kind: which part of the viewer shows it.
        data: strings, numbers, lists and mappings of these.
        arrays: large arrays by name, packed into the page apart from `data`.
    """

    kind: str
    data: dict[str, Any]
    arrays: dict[str, np.ndarray]


def attention(
    tokens: Sequence[str],
    states: Mapping[str, np.ndarray],
    roles: Mapping[str, str] | None = None,
) -> View:
    """Atlas of all heads, one head at a time, and the tokens lit by attention.

    Args:
        tokens: the prompt's tokens.
        states: arrays `[layer head query_pos key_pos]` by name of the state, the weight first:
            "weight" (rows sum to 1), and where wanted "raw score", "masked score",
            "norm-weighted".
        roles: role of a head by label ("L1H2"), where it has one.
    """
    data = {"tokens": list(tokens), "states": list(states), "roles": dict(roles or {})}
    return View("attention", data, dict(states))


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
    """
    arrays = dict(values)
    for token, of_token in (pinned or {}).items():
        arrays |= {f"{name} of {token}": array for name, array in of_token.items()}
    data = {
        "tokens": list(tokens),
        "layers": list(layers),
        "top_tokens": [list(row) for row in top_tokens],
        "values": list(values),
        "pinned": {token: list(of_token) for token, of_token in (pinned or {}).items()},
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
        terms: `[source query_pos key_pos]`, in units of the score; they sum to the score.
        title: the head.
    """
    data = {
        "query_tokens": list(query_tokens),
        "key_tokens": list(key_tokens),
        "sources": list(sources),
        "title": title,
    }
    return View("score_terms", data, {"terms": terms})


def temperature(prompt: Sequence[str], tokens: Sequence[str], logits: np.ndarray) -> View:
    """Sliders for temperature, top-k and top-p on real logits.

    Args:
        prompt: the prompt's tokens.
        tokens: all tokens of the vocabulary, or the best ones.
        logits: `[d_vocab]` or those of the tokens given, in the same order.
    """
    return View("temperature", {"prompt": list(prompt), "tokens": list(tokens)}, {"logits": logits})


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
    """
    data = {"points": _columns(points, "word", "x", "y", "group")}
    return View("plane", data | {"arrows": [list(a) for a in arrows], "axes": list(axes)}, {})


def rectangles(items: pd.DataFrame, unit: str) -> View:
    """Areas to scale.

    Args:
        items: columns `model`, `group`, `name`, `count`, `formula`, `shape`.
        unit: what is counted.
    """
    columns = ("model", "group", "name", "count", "formula", "shape")
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
    """
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
    """
    data = {
        "nodes": _columns(nodes, "name", "layer", "place"),
        "edges": _columns(edges, "source", "target", "weight"),
        "unit": unit,
    }
    return View("flow", data, {})


def _columns(frame: pd.DataFrame, *names: str) -> dict[str, list[Any]]:
    return {name: frame[name].tolist() for name in names}
