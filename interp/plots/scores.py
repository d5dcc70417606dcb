"""Figures of what one head's attention looks like, is made of, and does."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from interp.plots.head_roles import name_points
from interp.plots.labels import head_label, visible_token
from interp.plots.style import (
    INK,
    MUTED,
    NO_VALUE,
    OKABE_ITO,
    WEIGHTS,
    axes_of,
    figure,
    figure_style,
    plain_text,
)

_MOST_PRINTED = 14  # tokens; above, cells carry no numbers
_MOST_TOKENS = 40  # above, axes carry no tokens
_MOST_NAMED = 10  # points of a scatter that carry their head's name
# Colour and hatch of the terms of a score, in order; the last one for any further.
_SPLIT_LOOKS = (
    (OKABE_ITO[0], ""),
    (OKABE_ITO[1], "//"),
    (OKABE_ITO[2], "--"),
    (OKABE_ITO[3], "\\\\"),
    (OKABE_ITO[5], "xx"),
    (OKABE_ITO[4], "++"),
)
_SUMMED_LOOKS = {"all other pairs": (NO_VALUE, ""), "bias of the keys": (MUTED, "||")}


class Panel(NamedTuple):
    """One matrix of `token_matrices`.

    Attributes:
        title: above it.
        cells: `query_pos`, `key_pos`, and the column to draw; pairs without a row are blank.
        column: of `cells`, from 0 to 1.
        tokens: texts along both sides.
    """

    title: str
    cells: pd.DataFrame
    column: str
    tokens: Sequence[str]


def token_matrices(panels: Sequence[Panel], label: str) -> Figure:
    """Matrices over the tokens of a prompt, queries down and keys across, on one colour scale.

    Args:
        panels: side by side.
        label: of the colour bar.
    """
    with figure_style():
        made = figure(9.4, 1.3 + 8.0 / len(panels))
        grid = made.subplots(1, len(panels), squeeze=False)[0]
        for number, (ax, panel) in enumerate(zip(grid, panels, strict=True)):
            same = number and list(panel.tokens) == list(panels[number - 1].tokens)
            _token_matrix(ax, panel, 8.0 / len(panels), not same)
        bar = made.colorbar(grid[0].collections[0], ax=list(grid), pad=0.02, aspect=25, shrink=0.7)
        bar.set_label(label)
        plain_text(made)
    return made


def _token_matrix(ax: Axes, panel: Panel, inches: float, named: bool) -> None:
    n = len(panel.tokens)
    table = np.full((n, n), np.nan)
    table[panel.cells["query_pos"], panel.cells["key_pos"]] = panel.cells[panel.column]
    printed = np.array([["" if not x >= 0.05 else f"{x:.2f}"[-3:] for x in row] for row in table])
    printed[table >= 0.995] = "1"
    labels = [visible_token(token, 12) for token in panel.tokens] if n <= _MOST_TOKENS else []
    sns.heatmap(
        table,
        ax=ax,
        vmin=0,
        vmax=1,
        cmap=WEIGHTS,
        mask=np.isnan(table),
        annot=printed if n <= _MOST_PRINTED else None,
        fmt="",
        annot_kws={"size": min(9.0, 25 * inches / n)},
        square=True,
        linewidths=0.5 if n <= _MOST_TOKENS else 0,
        linecolor="white",
        cbar=False,
        rasterized=n > _MOST_TOKENS,
        xticklabels=False,
        yticklabels=False,
    )
    if labels:  # set here: seaborn would draw the figure to see whether they overlap
        places = np.arange(n) + 0.5
        ax.set_xticks(places, labels)
        ax.set_yticks(places, labels if named else [""] * n)
    ax.set_facecolor("white")
    ax.tick_params(length=0, labelsize=8)
    ax.tick_params(axis="x", labelrotation=90)
    ax.tick_params(axis="y", labelrotation=0)
    ax.set(title=panel.title, xlabel="key →", ylabel="query ↓" if named else "")


def score_split(parts: pd.DataFrame, totals: pd.DataFrame) -> Figure:
    """Scores of one query's keys as sums of terms, one panel for each model.

    Args:
        parts: `title` (of the panel), `query`, `key_pos`, `key` (texts), `source`, `term` (share
            of the score, no unit).
        totals: `title`, `key_pos`, `score` (what the terms of a key sum to), `weight` (attention).
    """
    titles = list(dict.fromkeys(totals["title"]))
    most = totals["title"].value_counts().max()
    with figure_style("whitegrid"):
        made = figure(9.4, 2.9 + 0.3 * most)
        grid = made.subplots(1, len(titles), squeeze=False)[0]
        for ax, title in zip(grid, titles, strict=True):
            of_panel = [frame[frame["title"] == title] for frame in (parts, totals)]
            _split_panel(ax, *of_panel)
            ax.set_title(f"{title}\nquery “{visible_token(of_panel[0]['query'].iloc[0], 12)}”")
        plain_text(made)
    return made


def _split_panel(ax: Axes, parts: pd.DataFrame, totals: pd.DataFrame) -> None:
    """Terms above 0 are stacked to the right, terms below 0 to the left."""
    place_of = {key: place for place, key in enumerate(totals["key_pos"])}
    ends = {side: np.zeros(len(place_of)) for side in ("left", "right")}
    for number, source in enumerate(dict.fromkeys(parts["source"])):
        rows = parts[parts["source"] == source]
        places = rows["key_pos"].map(place_of).to_numpy()
        terms = rows["term"].to_numpy()
        start = np.where(terms < 0, ends["left"][places], ends["right"][places])
        of_pairs = _SPLIT_LOOKS[min(number, len(_SPLIT_LOOKS) - 1)]
        colour, hatch = _SUMMED_LOOKS.get(source, of_pairs)
        ax.barh(
            places, terms, left=start, height=0.68, color=colour, hatch=hatch, edgecolor="white",
            lw=0.4, label=source, zorder=2,
        )  # fmt: skip
        for side, below in (("left", True), ("right", False)):
            chosen = (terms < 0) == below
            ends[side][places[chosen]] += terms[chosen]
    ax.plot(
        totals["score"], range(len(totals)), "D", ms=5.5, mfc="white", mec=INK, mew=1.3, ls="",
        label="score, their sum", zorder=4,
    )  # fmt: skip
    ax.axvline(0, color=INK, lw=1)
    labels = [
        f"{visible_token(row.key, 10)}  {row.weight:.2f}" for row in totals.itertuples(index=False)
    ]
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.tick_params(labelsize=8.5)
    ax.set(xlabel="score (no unit)", ylabel="key, and its attention")
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.19), frameon=False, fontsize=8.5)


def words_or_places(heads: pd.DataFrame, random: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """How much of each head's pattern the words decide, and how much the positions.

    Args:
        heads: one row per head: `layer`, `head`, `between_prompts`, `positional_r2` (shares of the
            variance).
        random: the same for random weights.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 7.4, 5.4)
        ax.plot([0, 1], [1, 0], color=MUTED, lw=1, ls="--", zorder=1)
        ax.plot(
            random["positional_r2"], random["between_prompts"], "o", mfc="none", mec=MUTED, ms=6,
            label="random weights",
        )  # fmt: skip
        layers = sorted(heads["layer"].unique())
        points = ax.scatter(
            heads["positional_r2"], heads["between_prompts"], c=heads["layer"], cmap=WEIGHTS,
            vmin=0, vmax=max(1, layers[-1]), s=52, edgecolor="white", zorder=3,
            label="the model's heads",
        )  # fmt: skip
        few = heads if len(heads) <= 2 * _MOST_NAMED else _extremes(heads)
        ax.set(xlim=(-0.03, 1.05), ylim=(-0.03, 1.05))
        name_points(ax, few, "positional_r2", "between_prompts", -1.0)
        ax.set_xlabel("share explained by distance and by “key is position 0”")
        ax.set_ylabel("share that differs between prompts (words)")
        bar = made.colorbar(points, ax=ax, label="layer", shrink=0.8)
        bar.set_ticks(layers if len(layers) <= 12 else layers[:: len(layers) // 6])
        made.legend(loc="outside lower center", ncols=2, frameon=False)
        plain_text(made)
    return made


def _extremes(heads: pd.DataFrame) -> pd.DataFrame:
    half = _MOST_NAMED // 2
    ends = [
        heads.nlargest(half, "positional_r2").index,
        heads.nlargest(half, "between_prompts").index,
    ]
    return heads.loc[ends[0].union(ends[1])]


def interval_dots(frame: pd.DataFrame, least: float, label: str, ax: Axes | None = None) -> Figure:
    """Heads with an interval each, in the order given.

    Args:
        frame: `layer`, `head`, `contrast`, `ci_low`, `ci_high`, `confirmed`.
        least: smallest effect of interest, a line.
        label: of the axis.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.0, 1.6 + 0.27 * len(frame))
        for place, row in enumerate(frame.itertuples()):
            ax.plot([row.ci_low, row.ci_high], [place] * 2, color=OKABE_ITO[0], lw=6, alpha=0.35)
            face = OKABE_ITO[0] if row.confirmed else "white"
            ax.plot(row.contrast, place, "o", mfc=face, mec=OKABE_ITO[0], mew=1.6, ms=7)
        ax.axvline(0, color=MUTED, lw=1, ls="--")
        ax.axvline(least, color=INK, lw=1.2)
        names = [head_label(row.layer, row.head) for row in frame.itertuples()]
        ax.set_yticks(range(len(frame)), names)
        ax.set_ylim(len(frame) - 0.4, -0.6)
        ax.set_xlabel(label)
        ax.grid(axis="y", visible=False)
        keys = {
            "confirmed": Line2D([], [], marker="o", ls="", color=OKABE_ITO[0]),
            "not confirmed": Line2D([], [], marker="o", ls="", mfc="white", mec=OKABE_ITO[0]),
            "95 % interval": Line2D([], [], lw=6, color=OKABE_ITO[0], alpha=0.35),
            "no difference": Line2D([], [], lw=1, ls="--", color=MUTED),
            f"smallest effect of interest, {least:g}": Line2D([], [], lw=1.2, color=INK),
        }
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def deviations(frame: pd.DataFrame, tolerance: float, ax: Axes | None = None) -> Figure:
    """How far the model is from what a formula says, one row per formula, on a logarithmic axis.

    Args:
        frame: `formula`, `deviation` (0 or more).
        tolerance: what rounding may do, a line.
        ax: where to draw; a new figure by default.
    """
    floor = 1e-17  # an exact identity has no place on a logarithmic axis
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.0, 1.5 + 0.4 * len(frame))
        for place, row in enumerate(frame.itertuples()):
            exact = row.deviation <= tolerance
            ax.plot(
                max(row.deviation, floor), place, "o" if exact else "s",
                color=OKABE_ITO[0] if exact else OKABE_ITO[1], ms=9,
            )  # fmt: skip
        ax.axvline(tolerance, color=INK, lw=1.2, ls="--")
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, place: _power_of_ten(value))
        ax.set_xlim(floor / 3, 10)
        ax.set_yticks(range(len(frame)), frame["formula"])
        ax.set_ylim(len(frame) - 0.4, -0.6)
        ax.set_xlabel("deviation from the model (logarithmic)")
        keys = {
            "the same": Line2D([], [], marker="o", ls="", color=OKABE_ITO[0], ms=8),
            "different": Line2D([], [], marker="s", ls="", color=OKABE_ITO[1], ms=8),
            "tolerance for rounding": Line2D([], [], lw=1.2, ls="--", color=INK),
        }
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def _power_of_ten(value: float) -> str:
    exponent = str(round(np.log10(value)))
    return "10" + exponent.translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
