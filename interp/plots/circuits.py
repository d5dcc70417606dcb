"""Figures of circuits: copying, composition, shared subspaces, and what simpler matrices cost."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from interp.plots.labels import head_label
from interp.plots.style import (
    INK,
    MUTED,
    OKABE_ITO,
    WEIGHTS,
    axes_of,
    figure,
    figure_style,
    plain_text,
)

_LABELS = {
    "copying": ("o", OKABE_ITO[0]),
    "anti-copying": ("v", OKABE_ITO[1]),
    "successor": ("^", OKABE_ITO[2]),
    "eigenvalues only": ("D", OKABE_ITO[3]),
    "none": ("x", MUTED),
}
_MOST_NAMED = 24
_METHODS = {
    ("weights", "stacked"): ("o", "-", OKABE_ITO[0]),
    ("weights", "per head"): ("o", "--", OKABE_ITO[4]),
    ("activations", "stacked"): ("s", "-", OKABE_ITO[2]),
    ("activations", "per head"): ("s", "--", OKABE_ITO[5]),
    ("random", "stacked"): ("x", ":", MUTED),
}
_NEAR_ZERO = 1e-3  # nats; smaller losses are drawn in a straight strip


def copying_scatter(panels: dict[str, pd.DataFrame], names: dict[str, Sequence[str]]) -> Figure:
    """Eigenvalue score against the share of tokens that a head really copies.

    Args:
        panels: by title: `eigenvalue_score`, `eigenvalue_score_null_low`,
            `eigenvalue_score_null_high`, `top1`, `label`.
        names: by title, what each row is called; "" for none.
    """
    with figure_style("whitegrid"):
        made = figure(9.4, 4.9)
        grid = made.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for ax, (title, frame) in zip(grid, panels.items(), strict=True):
            low = float(frame["eigenvalue_score_null_low"].min())
            high = float(frame["eigenvalue_score_null_high"].max())
            ax.axvspan(low, high, color=MUTED, alpha=0.2, lw=0)
            ax.axhline(0.5, color=INK, lw=1, ls="--")
            for label, (marker, color) in _LABELS.items():
                rows = frame[frame["label"] == label]
                ax.plot(
                    rows["eigenvalue_score"], rows["top1"], marker, color=color, ms=8, mew=1.6,
                    alpha=0.9,
                )  # fmt: skip
            _name_apart(ax, frame, names[title])
            ax.set(title=title, xlabel="eigenvalue score Σλ / Σ|λ|", xlim=(-1.14, 1.14))
            ax.set_ylim(-0.06, 1.12)
        grid[0].set_ylabel("share of words whose own logit comes first")
        keys = {
            label: Line2D([], [], marker=marker, ls="", color=color, ms=7, mew=1.6)
            for label, (marker, color) in _LABELS.items()
        }
        keys["random circuits, 95 %"] = Line2D([], [], lw=8, color=MUTED, alpha=0.3)
        keys["half of the words"] = Line2D([], [], lw=1, ls="--", color=INK)
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=4, frameon=False)
        plain_text(made)
    return made


def _name_apart(ax: Axes, frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Names beside points, pushed up where they would meet."""
    points = [
        (x, y, name)
        for x, y, name in zip(frame["eigenvalue_score"], frame["top1"], names, strict=True)
        if name
    ]
    placed: list[tuple[float, float]] = []
    for x, y, name in sorted(points, key=lambda p: (p[1], p[0]))[:_MOST_NAMED]:
        right = x < 0.45
        at_x, at_y = x + (0.06 if right else -0.06), y
        while any(abs(at_x - px) < 0.5 and abs(at_y - py) < 0.052 for px, py in placed):
            at_y += 0.053
        placed.append((at_x, at_y))
        ax.annotate(
            name, (x, y), xytext=(at_x, at_y), fontsize=8, va="center",
            ha="left" if right else "right",
            arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.5},
        )  # fmt: skip


def composition_dots(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """The strongest pairs of heads: composition against chance, and the overlap of subspaces.

    Args:
        frame: in drawing order: `kind`, `source_layer`, `source_head`, `layer`, `head`,
            `times_chance`, `null_high` (97.5 % of a rotated pair), `overlap`, `overlap_null`.
        ax: where to draw the scores; a new figure with both panels by default.
    """
    kinds = {"Q": ("o", OKABE_ITO[0]), "K": ("s", OKABE_ITO[1]), "V": ("^", OKABE_ITO[2])}
    with figure_style("whitegrid"):
        if ax is None:
            made = figure(9.4, 1.7 + 0.26 * len(frame))
            grid = made.subplots(1, 2, sharey=True)
        else:
            made, grid = ax.get_figure(root=True), [ax]
        for place, row in enumerate(frame.itertuples()):
            marker, color = kinds[row.kind]
            panels = (
                (row.times_chance, 1.0, row.null_high),
                (row.overlap, row.overlap_null, row.overlap_null),
            )
            for panel, (value, low, high) in zip(grid, panels, strict=False):
                panel.plot([low, high], [place] * 2, color=MUTED, lw=6, alpha=0.4)
                panel.plot(low, place, "|", color=MUTED, ms=11, mew=1.5)
                panel.plot(value, place, marker, color=color, ms=7.5)
        labels = [
            f"{head_label(r.source_layer, r.source_head)} → {head_label(r.layer, r.head)}, {r.kind}"
            for r in frame.itertuples()
        ]
        grid[0].set_yticks(range(len(frame)), labels)
        grid[0].set_ylim(len(frame) - 0.4, -0.6)
        grid[0].set_xlabel("score × √d_model (1 = turned at random)")
        if len(grid) > 1:
            grid[1].set_xlabel("overlap of the top subspaces (mean cos²)")
            grid[1].set_xlim(0, 1.02)
        for panel in grid:
            panel.grid(axis="y", visible=False)
        keys = {
            f"read by {kind}": Line2D([], [], marker=marker, ls="", color=color)
            for kind, (marker, color) in kinds.items()
        }
        keys["random rotation: mean, and up to 97.5 %"] = Line2D(
            [], [], lw=6, color=MUTED, alpha=0.4
        )
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=4, frameon=False)
        plain_text(made)
    return made


def overlap_matrix(frame: pd.DataFrame, n_heads: int, ax: Axes | None = None) -> Figure:
    """Overlap of what heads write to, all pairs, in units of chance.

    Args:
        frame: `layer`, `head`, `other_layer`, `other_head`, `times_chance`.
        n_heads: heads per layer.
        ax: where to draw; a new figure by default.
    """
    one = frame["layer"] * n_heads + frame["head"]
    other = frame["other_layer"] * n_heads + frame["other_head"]
    n = int(other.max()) + 1
    table = np.full((n, n), np.nan)
    table[one, other] = table[other, one] = frame["times_chance"]
    names = [head_label(place // n_heads, place % n_heads) for place in range(n)]
    shown = names if n <= 40 else False
    with figure_style():
        made, ax = axes_of(ax, 7.6, 6.4)
        sns.heatmap(
            table, ax=ax, cmap=WEIGHTS, square=True, rasterized=n > 40,
            vmin=0, xticklabels=shown, yticklabels=shown,
            cbar_kws={"label": "overlap / chance (1 = random subspaces)", "shrink": 0.8},
        )  # fmt: skip
        ax.set_facecolor("#d9d9d9")
        for edge in range(n_heads, n, n_heads):
            ax.axhline(edge, color="white", lw=1.2)
            ax.axvline(edge, color="white", lw=1.2)
        ax.tick_params(length=0, labelsize=8)
        ax.tick_params(axis="x", labelrotation=90)
        ax.tick_params(axis="y", labelrotation=0)
        ax.set(xlabel="head" if shown else "heads, layer by layer", ylabel="head")
        plain_text(made)
    return made


def loss_by_rank(frame: pd.DataFrame, least: float) -> Figure:
    """Loss added when `W_O` or `W_V` keeps few directions.

    Args:
        frame: `weight`, `method`, `layout`, `rank`, `delta`, `ci_low`, `ci_high` (nats).
        least: smallest loss of interest, a line.
    """
    with figure_style("whitegrid"):
        made = figure(9.4, 4.6)
        grid = made.subplots(1, 2, sharey=True)
        for ax, weight in zip(grid, ("W_O", "W_V"), strict=True):
            for (method, layout), (marker, line, color) in _METHODS.items():
                rows = frame[
                    (frame["weight"] == weight)
                    & (frame["method"] == method)
                    & (frame["layout"] == layout)
                ].sort_values("rank")
                name = f"{method}, {layout}"
                ax.plot(rows["rank"], rows["delta"], line, marker=marker, color=color, label=name)
                ax.fill_between(
                    rows["rank"], rows["ci_low"], rows["ci_high"], color=color, alpha=0.15, lw=0
                )
            ax.axhline(least, color=INK, lw=1, ls="-.", label=f"{least:g} nats")
            _loss_axis(ax, frame)
            ax.set_xscale("log", base=2)
            ax.set_xticks(sorted(frame["rank"].unique()), sorted(frame["rank"].unique()))
            ax.set(title=weight, xlabel="directions kept per layer")
            ax.tick_params(axis="x", which="minor", bottom=False)
        grid[0].set_ylabel("loss added, nats")
        handles, labels = grid[0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def loss_by_storage(frame: pd.DataFrame, least: float) -> Figure:
    """Loss added when the numbers of `W_O` or `W_V` are rounded, or partly set to 0.

    Args:
        frame: `weight`, `change`, `amount`, `delta`, `ci_low`, `ci_high` (nats).
        least: smallest loss of interest, a line.
    """
    panels = (
        (("rounded", "noise of the same length"), "bits per number"),
        (("smallest to 0", "random to 0"), "share of the numbers set to 0"),
    )
    weights = {"W_O": ("o", OKABE_ITO[0]), "W_V": ("s", OKABE_ITO[1])}
    with figure_style("whitegrid"):
        made = figure(9.4, 4.4)
        grid = made.subplots(1, 2, sharey=True)
        for ax, (changes, label) in zip(grid, panels, strict=True):
            for weight, (marker, color) in weights.items():
                for change, line in zip(changes, ("-", ":"), strict=True):
                    rows = frame[(frame["weight"] == weight) & (frame["change"] == change)]
                    rows = rows.sort_values("amount")
                    face = color if line == "-" else "white"
                    ax.plot(
                        rows["amount"], rows["delta"], line, marker=marker, color=color, mfc=face
                    )
                    ax.fill_between(
                        rows["amount"], rows["ci_low"], rows["ci_high"], color=color, alpha=0.12,
                        lw=0,
                    )  # fmt: skip
            ax.axhline(least, color=INK, lw=1, ls="-.")
            _loss_axis(ax, frame)
            amounts = sorted(frame.loc[frame["change"].isin(changes), "amount"].unique())
            ax.set_xticks(amounts, [f"{amount:g}" for amount in amounts])
            ax.set_xlabel(label)
        grid[0].set_ylabel("loss added, nats")
        keys = {
            weight: Line2D([], [], marker=marker, color=color)
            for weight, (marker, color) in weights.items()
        }
        keys["by size of the numbers"] = Line2D([], [], color=MUTED)
        keys["control: noise as long, or any numbers"] = Line2D([], [], color=MUTED, ls=":")
        keys[f"{least:g} nats"] = Line2D([], [], color=INK, lw=1, ls="-.")
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def _loss_axis(ax: Axes, frame: pd.DataFrame) -> None:
    ax.set_yscale("symlog", linthresh=_NEAR_ZERO * 10)
    top = max(float(frame["ci_high"].max()), 0.02)
    ax.set_ylim(min(-0.01, float(frame["ci_low"].min())), 1.5 * top)
    ticks = [t for t in (0.0, 0.01, 0.1, 1.0, 10.0) if t <= 1.5 * top]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.axhline(0, color=MUTED, lw=1)
