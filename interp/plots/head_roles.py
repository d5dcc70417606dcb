"""Figures of head roles, from the frame of `interp.measures.head_role_scores`."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from interp.plots.labels import head_label, role_label
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

_MARKERS = ("s", "^", "D", "v", "P", "X")  # the circle is the control's
_MOST_ANNOTATED = 8  # layers or heads per layer; above, only cells of interest carry their number


def role_heatmap(
    frame: pd.DataFrame, ax: Axes | None = None, bar: bool = True, least: float = 0.1
) -> Figure:
    """Contrast of one role for every head: layers down, heads across, confirmed heads framed.

    Args:
        frame: one row per head: `layer`, `head`, `contrast`, `confirmed`, and `role` for the title.
        ax: where to draw; a new figure by default.
        bar: draw the colour bar.
        least: smallest effect of interest; smaller numbers are left out of crowded grids.
    """
    table = frame.pivot(index="layer", columns="head", values="contrast")
    n_layers, n_heads = table.shape
    crowded = max(n_layers, n_heads) > _MOST_ANNOTATED
    shown = table.map(lambda value: _number(value) if value >= least or not crowded else "")
    with figure_style():
        made, ax = axes_of(ax, 1.5 + 0.5 * n_heads, 1.2 + 0.4 * n_layers)
        sns.heatmap(
            table,
            ax=ax,
            vmin=0,
            vmax=1,
            cmap=WEIGHTS,
            annot=shown if max(n_layers, n_heads) <= 2 * _MOST_ANNOTATED else None,
            fmt="",
            annot_kws={"size": 6.5 if crowded else 9},
            square=True,
            linewidths=0.5,
            linecolor="white",
            cbar=bar,
            cbar_kws={"label": "contrast (attention probability)", "shrink": 0.8},
            xticklabels=[f"H{head}" for head in table.columns],
            yticklabels=[f"L{layer}" for layer in table.index],
        )
        for row in frame[frame["confirmed"]].itertuples():
            place = (list(table.columns).index(row.head), list(table.index).index(row.layer))
            ax.add_patch(
                Rectangle(place, 1, 1, fill=False, edgecolor=OKABE_ITO[1], linewidth=2.2, zorder=3)
            )
        ax.tick_params(length=0, labelrotation=0, labelsize=7 if crowded else 9)
        ax.set(xlabel="", ylabel="", title=role_label(frame["role"].iloc[0]))
        plain_text(made)
    return made


def role_heatmaps(frame: pd.DataFrame, least: float = 0.1) -> Figure:
    """One `role_heatmap` per role, on one colour scale.

    Args:
        frame: one row per role and head.
        least: as in `role_heatmap`.
    """
    roles = list(dict.fromkeys(frame["role"]))
    n_layers, n_heads = frame["layer"].nunique(), frame["head"].nunique()
    n_columns = min(len(roles), 4 if n_heads <= 4 else 2)
    n_rows = -(-len(roles) // n_columns)
    width = 9.0
    tile = (width - 1.2) / n_columns
    height = max(2.8, n_rows * (tile * n_layers / n_heads + 0.55) + 0.35)
    with figure_style():
        made = figure(width, min(height, 14))
        grid = made.subplots(n_rows, n_columns, squeeze=False)
        for ax, role in zip(grid.flat, roles, strict=False):
            role_heatmap(frame[frame["role"] == role], ax=ax, bar=False, least=least)
        for ax in grid.flat[len(roles) :]:
            ax.remove()
        scale = made.colorbar(
            _scale(),
            ax=list(grid.flat[: len(roles)]),
            aspect=12 * n_rows,
            shrink=1 / n_rows,
            anchor=(0, 1),
            pad=0.02,
            extend="min",
        )
        scale.set_label("score − control\n(attention probability)")
        frame_key = Line2D([], [], marker="s", ls="", mfc="none", mec=OKABE_ITO[1], mew=2.2, ms=9)
        made.legend([frame_key], ["role confirmed"], loc="outside lower center", frameon=False)
        plain_text(made)
    return made


def score_and_control(frame: pd.DataFrame, least: float = 0.1, ax: Axes | None = None) -> Figure:
    """For each head: score, its control, and the interval of the difference between them.

    Args:
        frame: rows to draw, in drawing order: `role`, `layer`, `head`, `score`, `control`,
            `ci_low`, `ci_high`, `confirmed`.
        least: smallest effect of interest, drawn as a tick that the interval has to clear.
        ax: where to draw; a new figure by default.
    """
    roles = list(dict.fromkeys(frame["role"]))
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.0, 1.6 + 0.27 * len(frame))
        for place, row in enumerate(frame.itertuples()):
            colour, marker = _look(roles.index(row.role))
            ax.plot([row.control, row.score], [place, place], color=colour, lw=1.2, zorder=2)
            ends = [row.control + row.ci_low, row.control + row.ci_high]
            ax.plot(ends, [place, place], color=colour, lw=7, alpha=0.4, zorder=2)
            ax.plot(row.control, place, "o", mfc="white", mec=MUTED, mew=1.4, ms=7, zorder=3)
            ax.plot(row.control + least, place, "|", color=INK, ms=11, mew=1.4, zorder=3)
            face = colour if row.confirmed else "white"
            ax.plot(row.score, place, marker, mfc=face, mec=colour, mew=1.6, ms=8, zorder=4)
        labels = [
            f"{role_label(r.role)}  {head_label(r.layer, r.head)}" for r in frame.itertuples()
        ]
        ax.set_yticks(range(len(frame)), labels)
        ax.set(xlim=(-0.02, 1.02), ylim=(len(frame) - 0.4, -0.6))
        ax.set_xlabel("attention on the role's target (probability)")
        ax.grid(axis="y", visible=False)
        _separate_roles(ax, frame["role"].tolist())
        keys = {
            "control": Line2D([], [], marker="o", ls="", mfc="white", mec=MUTED, mew=1.4),
            "score, role confirmed": Line2D([], [], marker="s", ls="", color=INK),
            "score, not confirmed": Line2D([], [], marker="s", ls="", mfc="white", mec=INK),
            "95 % interval of score − control": Line2D([], [], lw=7, color=INK, alpha=0.4),
            f"control + {least:g}, the smallest effect of interest": Line2D(
                [], [], marker="|", ls="", color=INK, ms=11, mew=1.4
            ),
        }
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def role_by_prompts(frame: pd.DataFrame, least: float = 0.1, ax: Axes | None = None) -> Figure:
    """Contrast on one kind of prompts against contrast on another, one point per head and role.

    Args:
        frame: one row per head and role: `role`, `layer`, `head`, and two contrast columns, the
            last two, named after the prompts.
        least: points beyond it on either axis carry the head's name.
        ax: where to draw; a new figure by default.
    """
    roles = list(dict.fromkeys(frame["role"]))
    across, up = frame.columns[-2:]
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 7.0, 5.6)
        values = frame[[across, up]].to_numpy()
        low, high = min(-0.05, values.min() - 0.03), max(0.3, values.max() + 0.05)
        ax.plot([low, high], [low, high], color=MUTED, lw=1, ls="--", zorder=1)
        for number, role in enumerate(roles):
            colour, marker = _look(number)
            rows = frame[frame["role"] == role]
            ax.plot(
                rows[across],
                rows[up],
                marker,
                color=colour,
                ms=7,
                mec="white",
                mew=0.7,
                label=role_label(role),
                zorder=3,
            )
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        name_points(ax, frame, across, up, least)
        ax.set_xlabel(f"contrast on {across}")
        ax.set_ylabel(f"contrast on {up}")
        made.legend(loc="outside right upper", frameon=False, title="role")
        plain_text(made)
    return made


def name_points(ax: Axes, rows: pd.DataFrame, across: str, up: str, least: float) -> None:
    """Head names beside points beyond `least`, strongest first.

    A name stands right or left of its point, wherever it covers no point and no name; where both
    sides are taken it is left out (the table has it).
    """
    low, high = ax.get_xlim()
    places = (rows[[across, up]].to_numpy() - low) / (high - low)  # shares of the axes
    width, height = 0.09, 0.03
    boxes = [(x - 0.015, y - height / 2, x + 0.015, y + height / 2) for x, y in places]
    for number in np.argsort(-places.max(axis=1), kind="stable"):
        if rows.iloc[number][[across, up]].max() < least:
            break
        x, y = places[number]
        for side in (1, -1):
            start = x + 0.018 if side > 0 else x - 0.018 - width
            box = (start, y - height / 2, start + width, y + height / 2)
            if box[2] > 1 or any(_overlap(box, other) for other in boxes):
                continue
            boxes.append(box)
            row = rows.iloc[number]
            ax.annotate(
                head_label(int(row["layer"]), int(row["head"])),
                (row[across], row[up]),
                xytext=(7 * side, -3),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                fontsize=8,
            )
            break


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return bool(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def _separate_roles(ax: Axes, roles: list[str]) -> None:
    for place in range(1, len(roles)):
        if roles[place] != roles[place - 1]:
            ax.axhline(place - 0.5, color=MUTED, lw=0.6)


def _look(number: int) -> tuple[str, str]:
    return OKABE_ITO[number % len(OKABE_ITO)], _MARKERS[number % len(_MARKERS)]


def _scale():
    from matplotlib.cm import ScalarMappable

    return ScalarMappable(Normalize(0, 1), WEIGHTS)


def _number(value: float) -> str:
    """Two decimals without the leading zero; -0.00 is 0."""
    rounded = np.round(value, 2) + 0.0
    return f"{rounded:.2f}".replace("0.", ".", 1).replace("-", "−")
