"""Figures of attention patterns, from the frames of `interp.measures.patterns`."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.plots.labels import head_label
from interp.plots.style import (
    WEIGHTS,
    axes_of,
    figure,
    figure_style,
    plain_text,
)

_MOST_LABELLED = 24  # heads; above, the axes carry layers only


def pattern_mosaic(cells: pd.DataFrame, values: dict[str, str]) -> Figure:
    """Every head's pattern as a tile, layers down and heads across, one panel per value.

    All tiles of a panel are one image: one axes per head would take minutes for a large model.

    Args:
        cells: `layer`, `head`, `query_pos`, `key_pos` and the columns to draw; pairs without a row
            are blank (the causal mask).
        values: title of each panel by its column.
    """
    n_layers, n_heads, n_pos = (int(cells[c].max()) + 1 for c in ("layer", "head", "query_pos"))
    width = 9.0
    with figure_style():
        made = figure(width, (width - 1) / len(values) * n_layers / n_heads + 1.1)
        grid = made.subplots(1, len(values), squeeze=False)[0]
        for ax, (column, title) in zip(grid, values.items(), strict=True):
            picture = _mosaic(cells, column, n_layers, n_heads, n_pos)
            sns.heatmap(
                picture,
                ax=ax,
                vmin=0,
                vmax=1,
                cmap=WEIGHTS,
                cbar=False,
                square=True,
                rasterized=True,
                mask=np.isnan(picture),
                xticklabels=False,
                yticklabels=False,
            )
            ax.set_facecolor("white")
            middles = np.arange(max(n_layers, n_heads)) * (n_pos + 1) + n_pos / 2
            ax.set_xticks(middles[:n_heads], [f"H{head}" for head in range(n_heads)])
            ax.set_yticks(middles[:n_layers], [f"L{layer}" for layer in range(n_layers)])
            ax.tick_params(length=0, labelsize=9 if n_heads <= 8 else 7, labelrotation=0)
            ax.set(title=title, xlabel="in each tile: key →", ylabel="in each tile: query ↓")
        bar = made.colorbar(grid[0].collections[0], ax=list(grid), pad=0.02, aspect=25, shrink=0.8)
        bar.set_label("share of the query's row (0 to 1)")
        plain_text(made)
    return made


def _mosaic(
    cells: pd.DataFrame, column: str, n_layers: int, n_heads: int, n_pos: int
) -> np.ndarray:
    """One image with a blank line between tiles."""
    step = n_pos + 1
    picture = np.full((n_layers * step - 1, n_heads * step - 1), np.nan)
    row = cells["layer"] * step + cells["query_pos"]
    picture[row, cells["head"] * step + cells["key_pos"]] = cells[column]
    return picture


def divergence_matrix(pairs: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Divergence between the patterns of any two heads; the diagonal is one head on two prompts.

    Args:
        pairs: `layer_a`, `head_a`, `layer_b`, `head_b`, `js_nats`.
        ax: where to draw; a new figure by default.
    """
    n_heads = pairs["head_a"].max() + 1
    a, b = (pairs[f"layer_{side}"] * n_heads + pairs[f"head_{side}"] for side in "ab")
    table = pairs.assign(a=a, b=b).pivot(index="a", columns="b", values="js_nats")
    labels = [head_label(*divmod(number, n_heads)) for number in table.index]
    few = len(labels) <= _MOST_LABELLED
    with figure_style():
        made, ax = axes_of(ax, 7.2, 6.2)
        sns.heatmap(
            table,
            ax=ax,
            vmin=0,
            vmax=np.log(2),
            cmap=WEIGHTS,
            square=True,
            rasterized=True,
            xticklabels=labels if few else False,
            yticklabels=labels if few else False,
            cbar_kws={"label": "Jensen-Shannon divergence (nats; ln 2 = 0.69: disjoint)"},
        )
        if not few:
            starts = np.arange(0, len(labels), n_heads) + n_heads / 2
            names = [f"L{layer}" for layer in range(len(starts))]
            ax.set_xticks(starts, names)
            ax.set_yticks(starts, names)
        for edge in range(n_heads, len(labels), n_heads):
            ax.axhline(edge, color="white", lw=1)
            ax.axvline(edge, color="white", lw=1)
        ax.tick_params(length=0, labelsize=8)
        ax.tick_params(axis="x", labelrotation=90 if few else 0)
        ax.set(xlabel="", ylabel="")
        plain_text(made)
    return made


def _power_of_ten(value: float) -> str:
    """10⁻⁶ in plain characters: figures read no text as mathematics."""
    exponent = str(round(np.log10(value)))
    return "10" + exponent.translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
