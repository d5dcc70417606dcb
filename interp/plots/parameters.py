"""Figures of counts and costs: areas to scale, steps between two counts, heads and context."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from interp.plots.labels import power_of_ten
from interp.plots.style import (
    INK,
    MUTED,
    OKABE_ITO,
    axes_of,
    figure,
    figure_style,
    plain_text,
)

GROUPS = {
    "attention": (OKABE_ITO[0], ""),
    "MLP": (OKABE_ITO[1], "//"),
    "embedding": (OKABE_ITO[2], "\\\\"),
    "norms": (OKABE_ITO[3], "xx"),
}
_PARTS = {
    "projections": ("o", OKABE_ITO[0]),
    "scores": ("s", OKABE_ITO[1]),
    "mlp": ("^", OKABE_ITO[2]),
    "unembedding": ("D", OKABE_ITO[3]),
}
_NAMED_AREA = 0.008  # share of the largest square below which a part carries no name


def parameter_rectangles(items: pd.DataFrame) -> Figure:
    """Models as squares whose areas are to one scale, divided by group and kind of tensor.

    Args:
        items: `model`, `group`, `name`, `count`, in drawing order.
    """
    totals = items.groupby("model", sort=False)["count"].sum()
    side = (totals / totals.max()) ** 0.5
    gap = 0.08
    with figure_style("white"):
        made = figure(9.4, 5.4)
        ax = made.add_subplot()
        left = 0.0
        for model, width in side.items():
            parts = items[items["model"] == model]
            _square(ax, parts, left, float(width))
            ax.annotate(
                f"{model}\n{totals[model]:,}", (left + width / 2, width), xytext=(0, 4),
                textcoords="offset points", ha="center", va="bottom", fontsize=9,
            )  # fmt: skip
            left += max(float(width), 0.3) + gap
        ax.set(xlim=(-0.12, left), ylim=(-0.02, 1.14))
        ax.set_aspect("equal")
        ax.axis("off")
        keys = [
            Patch(facecolor=color, hatch=hatch, edgecolor="white", label=group)
            for group, (color, hatch) in GROUPS.items()
        ]
        made.legend(handles=keys, loc="outside lower center", ncols=4, frameon=False)
        plain_text(made)
    return made


def _square(ax: Axes, parts: pd.DataFrame, left: float, size: float) -> None:
    """Columns by group, each divided by kind, from the bottom up."""
    total, x = parts["count"].sum(), left
    for group, members in parts.groupby("group", sort=False):
        color, hatch = GROUPS[group]
        width = size * members["count"].sum() / total
        y = 0.0
        for row in members.rename(columns={"count": "numbers"}).itertuples():
            height = size * row.numbers / members["count"].sum() if width else 0.0
            ax.add_patch(
                Rectangle(
                    (x, y), width, height, facecolor=color, edgecolor="white", lw=0.8, hatch=hatch,
                    alpha=0.85,
                )
            )  # fmt: skip
            if width * height > _NAMED_AREA and width > 0.09 and height > 0.04:
                ax.text(
                    x + width / 2, y + height / 2, row.name, ha="center", va="center", fontsize=8.5,
                    color=INK, bbox={"facecolor": "white", "alpha": 0.85, "lw": 0, "pad": 1.2},
                )  # fmt: skip
            y += height
        x += width


def count_steps(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """From one count to another, a term at a time.

    Args:
        frame: in order: `step`, `group`, `term`, `count`, and `before`, the sum of those above.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.4, 1.6 + 0.33 * len(frame))
        total = float(frame["count"].sum())
        renamed = frame.rename(columns={"count": "numbers"})  # tuples have a method of that name
        for place, row in enumerate(renamed.itertuples()):
            color, hatch = GROUPS[row.group]
            ax.barh(
                place, row.numbers, left=row.before, color=color, hatch=hatch, edgecolor="white",
                height=0.72, alpha=1.0 if row.step == "missing" else 0.45,
            )  # fmt: skip
            end = row.before + row.numbers
            right = end < 0.8 * total
            ax.annotate(
                f"{row.numbers:,}", (end if right else row.before, place),
                xytext=(4 if right else -4, 0), textcoords="offset points", va="center", fontsize=8,
                ha="left" if right else "right",
            )  # fmt: skip
        ax.set_yticks(range(len(frame)), [f"{r.step}: {r.term}" for r in frame.itertuples()])
        ax.tick_params(axis="y", labelsize=8.5)
        ax.set_ylim(len(frame) - 0.4, -0.6)
        ax.set_xlim(0, total * 1.03)
        ax.xaxis.set_major_formatter(lambda value, place: f"{value / 1e6:g} M")
        ax.set_xlabel("parameters, summed from the top")
        ax.grid(axis="y", visible=False)
        keys = [
            Patch(facecolor=color, hatch=hatch, edgecolor="white", label=group)
            for group, (color, hatch) in GROUPS.items()
        ]
        keys.append(Patch(facecolor=MUTED, alpha=0.45, label="pale: counted in the notes"))
        made.legend(handles=keys, loc="outside lower center", ncols=5, frameon=False)
        plain_text(made)
    return made


def costs_by_context(
    frame: pd.DataFrame, marks: dict[str, float], ax: Axes | None = None
) -> Figure:
    """Operations per token against the length of the context, by part.

    Args:
        frame: `context`, and operations per token in `projections`, `scores`, `mlp`,
            `unembedding`.
        marks: contexts that carry a name, as vertical lines.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.6, 4.4)
        for part, (marker, color) in _PARTS.items():
            ax.plot(frame["context"], frame[part], marker=marker, color=color, label=part)
        for number, (name, context) in enumerate(marks.items()):
            ax.axvline(context, color=INK, lw=1.1, ls=("--", ":")[number % 2], label=name)
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(lambda value, place: power_of_ten(value))
        ax.set_xlabel("context, tokens (logarithmic)")
        ax.set_ylabel("operations per token (logarithmic)")
        made.legend(loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def head_sweep(frame: pd.DataFrame, own: int) -> Figure:
    """What changes with the number of heads and what does not, as multiples of one head.

    Args:
        frame: `value` (heads), and relative to one head `parameters`, `projections`, `scores`,
            `score_bytes`, `d_head`.
        own: the model's heads, a line.
    """
    styles = {
        "parameters": ("o", "-", OKABE_ITO[0], "parameters"),
        "projections": ("s", "--", OKABE_ITO[4], "operations of the projections"),
        "scores": ("^", ":", OKABE_ITO[2], "operations of the scores"),
        "score_bytes": ("D", "-", OKABE_ITO[1], "memory of the scores"),
        "d_head": ("v", "-.", OKABE_ITO[3], "rank that W_QK can have"),
    }
    with figure_style("whitegrid"):
        made = figure(8.6, 4.4)
        ax = made.add_subplot()
        for column, (marker, line, color, name) in styles.items():
            ax.plot(
                frame["value"], frame[column], line, marker=marker, color=color, label=name, ms=7,
                alpha=0.9,
            )  # fmt: skip
        ax.axvline(own, color=MUTED, lw=1.1, ls="--", label="this model")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        ax.set_xticks(frame["value"], frame["value"])
        ax.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
        ax.set_xlabel("heads per layer, at the same d_model")
        ax.set_ylabel("multiple of one head (logarithmic)")
        made.legend(loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def recorded_by_heads(runs: pd.DataFrame, panels: Sequence[tuple[str, str]]) -> Figure:
    """Recorded trainings with different numbers of heads, every seed a point.

    Args:
        runs: `n_heads`, `seed`, and a column for each panel.
        panels: column and axis label.
    """
    markers = "os^Dv"
    seeds = sorted(runs["seed"].unique())
    with figure_style("whitegrid"):
        made = figure(9.4, 3.9)
        grid = made.subplots(1, len(panels), squeeze=False)[0]
        for ax, (column, label) in zip(grid, panels, strict=True):
            middle = runs.groupby("n_heads")[column].mean()
            ax.plot(middle.index, middle, color=MUTED, lw=1.5)
            for number, seed in enumerate(seeds):
                rows = runs[runs["seed"] == seed]
                ax.plot(
                    rows["n_heads"], rows[column], markers[number % len(markers)], ls="",
                    color=OKABE_ITO[number], ms=7, mec="white",
                )  # fmt: skip
            ax.set_xscale("log", base=2)
            heads = sorted(runs["n_heads"].unique())
            ax.set_xticks(heads, heads)
            ax.set(xlabel="heads per layer", ylabel=label)
        keys = {
            f"seed {seed}": Line2D(
                [], [], marker=markers[number % len(markers)], ls="", color=OKABE_ITO[number]
            )
            for number, seed in enumerate(seeds)
        }
        keys["mean over seeds"] = Line2D([], [], color=MUTED, lw=1.5)
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=5, frameon=False)
        plain_text(made)
    return made


def stream_growth(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Size of the residual stream after every block at initialisation, with and without scaling.

    Args:
        frame: `init`, `depth` (blocks done), `rms`, `low`, `high` (over seeds).
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 7.6, 4.0)
        styles = (("o", "-", OKABE_ITO[0]), ("s", "--", OKABE_ITO[1]))
        for (name, rows), (marker, line, color) in zip(
            frame.groupby("init", sort=False), styles, strict=False
        ):
            ax.plot(rows["depth"], rows["rms"], line, marker=marker, color=color, label=name)
            ax.fill_between(rows["depth"], rows["low"], rows["high"], color=color, alpha=0.15, lw=0)
        ax.set_xlabel("blocks done")
        ax.set_ylabel("root mean square of the stream")
        ax.set_ylim(bottom=0)
        made.legend(loc="outside lower center", ncols=2, frameon=False)
        plain_text(made)
    return made
