"""Figures of singular values and of what their directions say."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from interp.plots.labels import head_label, power_of_ten
from interp.plots.style import (
    INK,
    MUTED,
    OKABE_ITO,
    axes_of,
    figure,
    figure_style,
    plain_text,
)

_STYLES = (("-", OKABE_ITO[0]), ("--", OKABE_ITO[1]), (":", INK))


def spectrum_lines(spectra: dict[str, pd.DataFrame], rank: int) -> Figure:
    """Singular values of all heads' circuits, largest first, beside those of the nulls.

    Args:
        spectra: by name, the model first: `circuit`, `layer`, `head`, `index`, and `share` (of the
            circuit's squared norm).
        rank: the rank that a head cannot exceed, a line.
    """
    circuits = ("QK", "OV")
    with figure_style("whitegrid"):
        made = figure(9.4, 4.3)
        grid = made.subplots(1, 2, sharey=True)
        for ax, circuit in zip(grid, circuits, strict=True):
            for (name, frame), (line, color) in zip(spectra.items(), _STYLES, strict=False):
                by_index = frame[frame["circuit"] == circuit].groupby("index")["share"]
                middle, low, high = by_index.median(), by_index.min(), by_index.max()
                x = middle.index + 1
                ax.plot(x, middle, line, color=color, lw=2, label=name)
                ax.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
            ax.axvline(rank, color=MUTED, lw=1.2, ls="-.")
            ax.annotate(
                f"d_head = {rank}", (rank, 0.97), xycoords=("data", "axes fraction"), fontsize=9,
                xytext=(-4, 0), textcoords="offset points", ha="right", va="top", color=MUTED,
            )  # fmt: skip
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(lambda value, place: power_of_ten(value))
            top = float(spectra[next(iter(spectra))]["share"].max())
            ax.set_ylim(max(1e-6, top * 1e-5), 1.2)
            ax.set(title=f"{circuit} circuit", xlabel="singular value, the largest first")
        grid[0].set_ylabel("share of the squared norm (logarithmic)")
        handles, labels = grid[0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def stability_by_gap(frame: pd.DataFrame, least: float, ax: Axes | None = None) -> Figure:
    """How far singular directions turn under noise, against the gap to their neighbours.

    Args:
        frame: `gap` (share of the largest value), `degrees`.
        least: smallest gap with which a direction is read out, a line.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.6, 4.2)
        apart = frame["gap"] >= least
        for chosen, marker, color, name in (
            (~apart, "x", OKABE_ITO[1], "not separated"),
            (apart, "o", OKABE_ITO[0], "separated"),
        ):
            rows = frame[chosen]
            ax.plot(
                rows["gap"].clip(lower=1e-4), rows["degrees"].clip(lower=1e-2), marker, ls="",
                color=color, ms=4.5, alpha=0.6, mew=1.2, label=name,
            )  # fmt: skip
        ax.axvline(least, color=INK, lw=1.2, ls="--", label=f"smallest gap of interest, {least:g}")
        ax.set(xscale="log", yscale="log", ylim=(1e-2, 120))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(lambda value, place: f"{value:g}")
        ax.set_xlabel("gap to the nearest singular value, as a share of the largest (logarithmic)")
        ax.set_ylabel("turn under 1 % noise, degrees")
        made.legend(loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def coherence_dots(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Coherence of each direction's words beside random directions of the same head.

    Args:
        frame: in drawing order: `layer`, `head`, `index`, `coherence`, `null`, `null_high`, `q`.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.0, 1.5 + 0.25 * len(frame))
        for place, row in enumerate(frame.itertuples()):
            ax.plot([row.null, row.null_high], [place] * 2, color=MUTED, lw=5, alpha=0.45)
            held = row.q < 0.05
            ax.plot(
                row.coherence, place, "o" if held else "s", ms=7, mew=1.5, mec=OKABE_ITO[0],
                mfc=OKABE_ITO[0] if held else "white",
            )  # fmt: skip
        names = [f"{head_label(r.layer, r.head)}, {r.index + 1}." for r in frame.itertuples()]
        ax.set_yticks(np.arange(len(frame)), names)
        ax.set_ylim(len(frame) - 0.4, -0.6)
        ax.set_xlabel("coherence of the ten words (mean cosine of their contexts)")
        ax.grid(axis="y", visible=False)
        keys = {
            "q < 0.05": Line2D([], [], marker="o", ls="", color=OKABE_ITO[0]),
            "not more than chance": Line2D(
                [], [], marker="s", ls="", mfc="white", mec=OKABE_ITO[0]
            ),
            "random directions of the head, mean to 97.5 %": Line2D(
                [], [], lw=5, color=MUTED, alpha=0.45
            ),
        }
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made
