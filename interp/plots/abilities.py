"""Abilities and losses of a model beside those of simpler ones."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.plots.style import INK, MUTED, OKABE_ITO, axes_of, figure_style

_MARKERS = ("v", "s", "D")  # controls, the shallowest first; a second channel beside colour
_ROW_INCHES = 0.27


def ability_dots(scores: pd.DataFrame, controls: Sequence[str], ax: Axes | None = None) -> Figure:
    """Accuracy of a model and its controls, one row per ability.

    Args:
        scores: `label`, `value`, `ci_low`, `ci_high` (share right), and a column per control.
        controls: names of those columns, the shallowest first.
        ax: where to draw; a new figure if None.
    """
    with figure_style():
        made, ax = _dots(scores, controls, ax)
        ax.set_xlim(-0.03, 1.03)
        ax.set_xlabel("share right")
    return made


def loss_dots(scores: pd.DataFrame, controls: Sequence[str], ax: Axes | None = None) -> Figure:
    """Loss of a model and its controls, one row per kind of text; arguments as `ability_dots`."""
    with figure_style():
        made, ax = _dots(scores, controls, ax)
        ax.set_xlim(left=0)
        ax.set_xlabel("nats per token")
    return made


def _dots(scores: pd.DataFrame, controls: Sequence[str], ax: Axes | None) -> tuple[Figure, Axes]:
    made, ax = axes_of(ax, 9, 1.3 + _ROW_INCHES * len(scores))
    rows = range(len(scores))
    for name, colour, marker in zip(controls, OKABE_ITO[1:], _MARKERS, strict=False):
        ax.plot(
            scores[name],
            rows,
            linestyle="none",
            marker=marker,
            markersize=6,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=1.4,
            label=name,
        )
    spread = [scores["value"] - scores["ci_low"], scores["ci_high"] - scores["value"]]
    ax.errorbar(
        scores["value"],
        rows,
        xerr=[side.clip(lower=0) for side in spread],
        fmt="o",
        color=OKABE_ITO[0],
        markersize=5,
        capsize=2,
        label="the model, 95 % interval",
    )
    ax.set_yticks(list(rows), scores["label"])
    ax.set_ylim(len(scores) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.grid(axis="y", color=MUTED, alpha=0.2, linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
    return made, ax
