"""Figures of scores beside their controls, and of roles on two kinds of prompts."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from interp.plots.labels import head_label, role_label
from interp.plots.style import (
    INK,
    MUTED,
    OKABE_ITO,
    axes_of,
    figure_style,
    plain_text,
)

_MARKERS = ("s", "^", "D", "v", "P", "X")  # the circle is the control's


def score_and_control(
    frame: pd.DataFrame,
    least: float | None = None,
    ax: Axes | None = None,
    xlabel: str = "attention on the role's target (probability)",
) -> Figure:
    """For each head: score, its control, and the interval of the difference between them.

    Args:
        frame: rows to draw, in drawing order: `role`, `layer`, `head`, `score`, `control`,
            `ci_low`, `ci_high`, `confirmed`.
        least: smallest effect of interest, drawn as a tick that the interval has to clear; by
            default the frame's column `smallest_effect`.
        ax: where to draw; a new figure by default.
        xlabel: what a score is.
    """
    frame = frame if least is None else frame.assign(smallest_effect=least)
    constant = frame["smallest_effect"].nunique() == 1
    said = f"control + {frame['smallest_effect'].iloc[0]:g}" if constant else "control +"
    roles = list(dict.fromkeys(frame["role"]))
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.0, 1.6 + 0.27 * len(frame))
        several = len(frame) > len(roles)
        for place, row in enumerate(frame.itertuples()):
            # One row for each role: their names tell them apart, and colours need not.
            colour, marker = _look(roles.index(row.role) if several else 0)
            ax.plot([row.control, row.score], [place, place], color=colour, lw=1.2, zorder=2)
            ends = [row.control + row.ci_low, row.control + row.ci_high]
            ax.plot(ends, [place, place], color=colour, lw=7, alpha=0.4, zorder=2)
            ax.plot(row.control, place, "o", mfc="white", mec=MUTED, mew=1.4, ms=7, zorder=3)
            ax.plot(
                row.control + row.smallest_effect, place, "|", color=INK, ms=11, mew=1.4, zorder=3
            )
            face = colour if row.confirmed else "white"
            ax.plot(row.score, place, marker, mfc=face, mec=colour, mew=1.6, ms=8, zorder=4)
        labels = [
            f"{role_label(r.role)}  {head_label(r.layer, r.head)}" for r in frame.itertuples()
        ]
        ax.set_yticks(range(len(frame)), labels)
        ax.set(xlim=(-0.02, 1.02), ylim=(len(frame) - 0.4, -0.6))
        ax.set_xlabel(xlabel)
        ax.grid(axis="y", visible=False)
        if several:
            _separate_roles(ax, frame["role"].tolist())
        keys = {
            "control": Line2D([], [], marker="o", ls="", mfc="white", mec=MUTED, mew=1.4),
            "score, role confirmed": Line2D([], [], marker="s", ls="", color=INK),
            "score, not confirmed": Line2D([], [], marker="s", ls="", mfc="white", mec=INK),
            "95 % interval of score − control": Line2D([], [], lw=7, color=INK, alpha=0.4),
            f"{said}{',' * constant} the smallest effect of interest": Line2D(
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
    on_screen = ax.transData.transform(rows[[across, up]].to_numpy(dtype=float))
    places = ax.transAxes.inverted().transform(on_screen)  # shares of the axes, on any scale
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
