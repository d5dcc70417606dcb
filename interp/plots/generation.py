"""Figures of generation: the strip of steps, surprisal, samplers, temperature, beams."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullLocator

from interp.plots.labels import visible_token
from interp.plots.style import (
    INK,
    MUTED,
    OKABE_ITO,
    axes_of,
    figure,
    figure_style,
    plain_text,
)

BLUE, RED, GREEN = OKABE_ITO[:3]
_PER_ROW = 4
_LINE = 78  # characters of coloured text in a line


def step_strip(candidates: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """What could have come at each step, and what was drawn.

    Args:
        candidates: `step`, `rank`, `piece`, `probability`, `chosen`.
        steps: `step`, `piece`, `probability`, `rank`.
    """
    rows = -(-len(steps) // _PER_ROW)
    deepest = int(candidates.groupby("step").size().max())
    with figure_style("whitegrid"):
        made = figure(9.4, 0.5 + rows * (0.62 + 0.23 * deepest))
        grid = made.subplots(rows, _PER_ROW, squeeze=False).ravel()
        for ax, step in zip(grid, steps.itertuples(), strict=False):
            group = candidates[candidates["step"] == step.step]
            places = np.arange(len(group))
            colours = [RED if chosen else BLUE for chosen in group["chosen"]]
            bars = ax.barh(places, group["probability"], color=colours, height=0.72)
            for bar, chosen in zip(bars, group["chosen"], strict=True):
                bar.set_hatch("////" if chosen else None)
                bar.set_edgecolor("white")
            names = [
                f"{'▶ ' if row.chosen else ''}{visible_token(row.piece, 12)}"
                for row in group.itertuples()
            ]
            ax.set_yticks(places, names, fontsize=8.5)
            ax.set(xlim=(0, 1), ylim=(deepest - 0.4, -0.6))
            ax.xaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
            ax.tick_params(axis="x", labelsize=8)
            ax.grid(axis="y", visible=False)
            ax.set_title(f"{step.step}: p = {step.probability:.2f}, rank {step.rank}", fontsize=9.5)
        for ax in grid[len(steps) :]:
            ax.remove()
        made.supxlabel("probability; ▶ and stripes mark the token that was drawn", fontsize=10)
        plain_text(made)
    return made


def surprisal_text(frame: pd.DataFrame, most: float) -> Figure:
    """Texts whose tokens are coloured by how surprised the model is.

    Args:
        frame: one row per token: `text` (a title), `piece`, `surprisal_nats` (NaN for tokens that
            were given).
        most: surprisal at the end of the colour scale, nats.
    """
    texts = {name: _lines(group) for name, group in frame.groupby("text", sort=False)}
    n_lines = sum(len(lines) for lines in texts.values()) + 1.5 * len(texts)
    scale = ScalarMappable(Normalize(0, most), "viridis_r")
    with figure_style("white"):
        made = figure(9.4, 0.9 + 0.27 * n_lines)
        ax = made.subplots()
        ax.set(xlim=(0, _LINE), ylim=(n_lines, 0))
        ax.axis("off")
        y = 0.0
        for name, lines in texts.items():
            ax.text(0, y + 0.6, name, va="center", fontsize=10, weight="bold")
            y += 1
            for line in lines:
                _coloured_line(ax, line, y, scale)
                y += 1
            y += 0.5
        bar = made.colorbar(scale, ax=ax, orientation="horizontal", aspect=50, pad=0.01, shrink=0.7)
        bar.set_label("surprisal (nats); grey: given")
        plain_text(made)
    return made


def _lines(group: pd.DataFrame) -> list[list[tuple[str, float]]]:
    lines: list[list[tuple[str, float]]] = [[]]
    used = 0.0
    for piece, surprisal in zip(group["piece"], group["surprisal_nats"], strict=True):
        shown = visible_token(piece, 18)
        width = len(shown) + 1.4
        if used + width > _LINE and lines[-1]:
            lines.append([])
            used = 0.0
        lines[-1].append((shown, surprisal))
        used += width
    return lines


def _coloured_line(
    ax: Axes, line: list[tuple[str, float]], y: float, scale: ScalarMappable
) -> None:
    x = 0.0
    for piece, surprisal in line:
        given = np.isnan(surprisal)
        colour = (0.9, 0.9, 0.9, 1.0) if given else scale.to_rgba(surprisal)
        light = given or np.dot(colour[:3], (0.299, 0.587, 0.114)) > 0.5
        width = len(piece) + 1.0
        ax.add_patch(Rectangle((x, y + 0.06), width, 0.88, color=colour, lw=0))
        ax.text(
            x + width / 2, y + 0.52, piece, va="center", ha="center", fontsize=8.5,
            family="monospace", color=INK if light else "white",
        )  # fmt: skip
        x += width + 0.4


def sampler_panels(frequencies: pd.DataFrame, checks: pd.DataFrame, most: int = 15) -> Figure:
    """Drawn frequencies against probabilities, and the distance of each sampler.

    Args:
        frequencies: `rule`, `token`, `probability`, `frequency`, `low`, `high`; one rule is drawn.
        checks: one row per rule: `rule`, `tv`, `expected_tv`, `tv_high`, `p`.
        most: tokens shown on the left.
    """
    rows = frequencies.head(most)
    with figure_style("whitegrid"):
        made = figure(9.4, 4.4)
        left, right = made.subplots(1, 2)
        places = np.arange(len(rows))
        left.vlines(places, rows["low"], rows["high"], color=MUTED, alpha=0.5, lw=8,
                    label="95 % of right samplers")  # fmt: skip
        left.plot(places, rows["frequency"], "o", color=BLUE, ms=5, label="drawn")
        left.set_xticks(
            places, [visible_token(p, 10) for p in rows["piece"]], rotation=90, fontsize=8.5
        )
        left.set(ylabel="share of draws", title="One prompt, plain sampling", ylim=(0, None))
        left.grid(axis="x", visible=False)
        places = np.arange(len(checks))
        right.hlines(places, 0, checks["tv_high"], color=MUTED, alpha=0.4, lw=9,
                     label="97.5 % of right samplers (right)")  # fmt: skip
        right.plot(
            checks["expected_tv"], places, "|", color=INK, ms=14, mew=2, label="expected (right)"
        )
        right.plot(checks["tv"], places, "o", color=BLUE, ms=6, label="drawn")
        right.set_yticks(places, checks["rule"])
        right.set_ylim(len(checks) - 0.4, -0.6)
        right.set(xlabel="total variation, mean over prompts", title="All samplers")
        right.set_xlim(0, float(checks["tv_high"].max()) * 1.25)
        right.grid(axis="y", visible=False)
        handles, labels = left.get_legend_handles_labels()
        more, names = right.get_legend_handles_labels()
        made.legend(
            [*handles, *more[:2]], [*labels, *names[:2]], loc="outside lower center", ncols=4,
            frameon=False,
        )  # fmt: skip
        plain_text(made)
    return made


def temperature_sweep(frame: pd.DataFrame, panels: Sequence[tuple[str, str]]) -> Figure:
    """Measures of generated text over the temperature, each with its band and references.

    Args:
        frame: one row per temperature and measure: `measure`, `temperature`, `mean`, `ci_low`,
            `ci_high`, `text` and `unigram` (the same measure on real text and on random words; NaN
            where there is none).
        panels: measure and title of each panel.
    """
    columns = 3
    rows = -(-len(panels) // columns)
    with figure_style("whitegrid"):
        made = figure(9.4, 0.7 + 2.5 * rows)
        grid = made.subplots(rows, columns, squeeze=False).ravel()
        for ax, (measure, title) in zip(grid, panels, strict=False):
            rows_of = frame[frame["measure"] == measure]
            t = rows_of["temperature"]
            ax.fill_between(t, rows_of["ci_low"], rows_of["ci_high"], color=BLUE, alpha=0.25,
                            label="95 % interval over seeds")  # fmt: skip
            ax.plot(t, rows_of["mean"], "o-", color=BLUE, ms=4, label="the model")
            for column, colour, line, name in (
                ("text", GREEN, "-.", "real text"),
                ("unigram", RED, "--", "random words (unigram)"),
            ):
                if rows_of[column].notna().any():
                    ax.axhline(rows_of[column].iloc[0], color=colour, ls=line, lw=1.5, label=name)
            ax.set_title(title, fontsize=10)
            ax.xaxis.set_minor_locator(NullLocator())
            ax.tick_params(labelsize=8.5)
        for ax in grid[len(panels) :]:
            ax.remove()
        for ax in grid[max(0, len(panels) - columns) : len(panels)]:
            ax.set_xlabel("temperature")
        handles, labels = grid[0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        plain_text(made)
    return made


def beam_panels(widths: pd.DataFrame, temperatures: pd.DataFrame) -> Figure:
    """How often a beam finds the best continuation, and whether a temperature changes which it is.

    Args:
        widths: `width`, `found`, `ci_low`, `ci_high` (shares of prompts).
        temperatures: `temperature`, `same`, `ci_low`, `ci_high` (shares of prompts).
    """
    with figure_style("whitegrid"):
        made = figure(9.4, 3.9)
        left, right = made.subplots(1, 2, sharey=True)
        for ax, frame, x, y in (
            (left, widths, "width", "found"),
            (right, temperatures, "temperature", "same"),
        ):
            places = np.arange(len(frame))
            ax.vlines(places, frame["ci_low"], frame["ci_high"], color=BLUE, lw=7, alpha=0.3,
                      label="95 % interval over prompts")  # fmt: skip
            ax.plot(places, frame[y], "o-", color=BLUE, ms=6, label="share of prompts")
            ax.set_xticks(places, [f"{value:g}" for value in frame[x]])
            ax.set_ylim(-0.04, 1.06)
        names = ["1\ngreedy" if w == 1 else f"{w:g}" for w in widths["width"]]
        left.set_xticks(np.arange(len(widths)), names)
        left.set(xlabel="beams", ylabel="share of prompts")
        left.set_title("finds the best continuation there is", fontsize=10)
        right.axhline(1, color=INK, ls="--", lw=1.2, label="temperature plays no part")
        right.set_xlabel("temperature of every step")
        right.set_title("the best continuation is that of T = 1", fontsize=10)
        handles, labels = right.get_legend_handles_labels()
        made.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def identity_pairs(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Deviations of identities beside those of wrong ones, on a logarithmic axis.

    Args:
        frame: `formula`, `deviation`, `wrong_deviation`, `tolerance`.
        ax: where to draw; a new figure by default.
    """
    floor = 1e-17
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.0, 1.5 + 0.5 * len(frame))
        places = np.arange(len(frame))
        ax.plot(frame["deviation"].clip(lower=floor), places, "o", color=BLUE, ms=9,
                label="as it should be")  # fmt: skip
        ax.plot(frame["wrong_deviation"].clip(lower=floor), places, "s", mfc="white", mec=RED,
                mew=1.8, ms=8, label="the wrong way (see the table)")  # fmt: skip
        ax.vlines(frame["tolerance"], places - 0.3, places + 0.3, color=INK, lw=1.6, ls="--",
                  label="tolerance for rounding")  # fmt: skip
        ax.set_xscale("log")
        exponents = range(-16, 3, 3)
        ax.set_xlim(floor / 3, 1e3)
        ax.xaxis.set_major_locator(FixedLocator([10.0**e for e in exponents]))
        ax.xaxis.set_minor_locator(NullLocator())
        sup = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
        ax.set_xticks(
            [10.0**e for e in exponents], ["10" + str(e).translate(sup) for e in exponents]
        )
        ax.set_yticks(places, frame["formula"])
        ax.set_ylim(len(frame) - 0.4, -0.6)
        ax.set_xlabel("largest deviation (logarithmic)")
        ax.grid(axis="y", visible=False)
        made.legend(loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made
