"""Figures of one prompt taken apart, and of patching: who writes the answer, and where it changes.

Signed values have a colour scale that is even around 0; what the whole prompt changes stands as a
mark on its bar.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.plots.labels import power_of_ten, visible_token
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

_SIGNED = "vlag"
_MOST_PRINTED = 150  # cells that carry their number
_LOOKS = {
    "target": (OKABE_ITO[0], "o", "target"),
    "contrast": (OKABE_ITO[1], "s", "contrast"),
    "": (MUTED, "^", "other tokens"),
}


def next_tokens(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """The likeliest next tokens, the two asked about among them.

    Args:
        frame: `token`, `probability`, `without_prompt` (the same after the first token alone),
            `asked` ("target", "contrast" or "").
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.4, 1.5 + 0.28 * len(frame))
        places = np.arange(len(frame))
        ax.hlines(places, frame["without_prompt"], frame["probability"], color=NO_VALUE, lw=2)
        for asked, rows in frame.groupby("asked", sort=False):
            colour, mark, label = _LOOKS[asked]
            ax.plot(rows["probability"], places[frame["asked"] == asked], mark, color=colour,
                    ms=8, label=label)  # fmt: skip
        ax.plot(frame["without_prompt"], places, "D", ms=5, mfc="white", mec=INK, ls="",
                label="without the prompt")  # fmt: skip
        for place, value in zip(places, frame["probability"], strict=True):
            text = f"{value:.3f}" if value >= 0.0005 else f"{value:.0e}"
            ax.annotate(text, (1.3, place), va="center", fontsize=8.5, annotation_clip=False)
        ax.set_yticks(places, [visible_token(token, 18) for token in frame["token"]])
        ax.set_xscale("log")
        low = frame[["probability", "without_prompt"]].to_numpy().min()
        ax.set_xlim(max(low / 2, 1e-12), 1.15)
        ax.set_xlabel("probability of the next token (logarithmic)")
        powers = range(0, -13, -1)
        ticks = [p for p in powers if 10.0**p >= max(low / 2, 1e-12)]
        ticks = ticks[:: max(1, len(ticks) // 6)]
        ax.set_xticks([10.0**p for p in ticks], [power_of_ten(10.0**p) for p in ticks])
        ax.minorticks_off()
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        made.legend(loc="outside lower center", ncols=4, frameon=False)
        plain_text(made)
    return made


def lens_reading(cells: pd.DataFrame, ends: pd.DataFrame, tokens: Sequence[str]) -> Figure:
    """What would be answered at each depth and position, and how far it favours the target.

    Args:
        cells: `row` (0 for the embedding), `label`, `pos`, `top_token`, `probability` (of it).
        ends: `row`, `label`, `difference_nats` (target minus contrast at the end) and
            `shuffled_nats` (the same for unembeddings dealt out anew).
        tokens: the prompt.
    """
    table = cells.pivot(index="row", columns="pos", values="probability")
    words = cells.pivot(index="row", columns="pos", values="top_token")
    n_rows, n_pos = table.shape
    few = n_rows * n_pos <= _MOST_PRINTED * 3 and n_pos <= 18
    with figure_style():
        made = figure(9.4, 1.9 + 0.27 * n_rows)
        left, right = made.subplots(1, 2, width_ratios=(3.2, 1))
        shown = np.array([[visible_token(str(w), 7) for w in row] for row in words.to_numpy()])
        sns.heatmap(
            table, ax=left, vmin=0, vmax=1, cmap=WEIGHTS, annot=shown if few else None, fmt="",
            annot_kws={"size": 8 if n_pos <= 12 else 6.5}, xticklabels=False, yticklabels=False,
            cbar_kws={"label": "probability of the best token", "shrink": 0.8, "pad": 0.01},
            rasterized=True,
        )  # fmt: skip
        labels = cells.drop_duplicates("row").sort_values("row")["label"].tolist()
        left.set_yticks(np.arange(n_rows) + 0.5, labels)
        left.set_xticks(np.arange(n_pos) + 0.5, [visible_token(t, 10) for t in tokens])
        left.tick_params(length=0, labelsize=8)
        left.tick_params(axis="x", labelrotation=90)
        left.invert_yaxis()
        left.set(xlabel="", ylabel="depth", title="best token at each depth")
        right.axvline(0, color=INK, lw=1)
        right.plot(ends["difference_nats"], ends["row"], "o-", color=OKABE_ITO[0], ms=5,
                   label="target − contrast")  # fmt: skip
        right.plot(ends["shuffled_nats"], ends["row"], "D--", color=MUTED, mfc="white", ms=4.5,
                   label="shuffled unembedding")  # fmt: skip
        right.set_yticks([])
        right.set_ylim(-0.5, n_rows - 0.5)
        right.set(xlabel="log-probability\ndifference (nats)", title="at the end")
        made.legend(loc="outside lower right", ncols=2, frameon=False)
        plain_text(made)
    return made


def waterfall(frame: pd.DataFrame, total: float, names: tuple[str, str]) -> Figure:
    """Contributions that add up to a logit difference, one below the other.

    Args:
        frame: `part`, `contribution`, `corrupted` (the same part in the other version of the
            prompt; NaN without one), in the order to draw; they sum to `total`.
        total: the logit difference.
        names: target and contrast.
    """
    ends = frame["contribution"].cumsum().to_numpy()
    starts = ends - frame["contribution"].to_numpy()
    places = np.arange(len(frame))
    up = frame["contribution"].to_numpy() >= 0
    with figure_style("whitegrid"):
        made = figure(9.0, 1.8 + 0.27 * len(frame))
        ax = made.subplots()
        for side, colour, hatch, label in (
            (up, OKABE_ITO[0], "", f"favours {visible_token(names[0], 14)}"),
            (~up, OKABE_ITO[1], "//", f"favours {visible_token(names[1], 14)}"),
        ):
            ax.barh(places[side], (ends - starts)[side], left=starts[side], color=colour,
                    hatch=hatch, edgecolor="white", height=0.72, label=label)  # fmt: skip
        if frame["corrupted"].notna().any():
            ax.plot(starts + frame["corrupted"], places, "D", ms=4.5, mfc="white", mec=INK, ls="",
                    label="its end in the corrupted prompt")  # fmt: skip
        reach = max(ends.max(), starts.max()) - min(ends.min(), starts.min(), 0)
        for place, start, end in zip(places, starts, ends, strict=True):
            ax.text(max(start, end) + 0.015 * reach, place, f"{end - start:+.2f}".replace("-", "−"),
                    va="center", fontsize=8.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip
        ax.axvline(total, color=INK, lw=1.2, ls="--", label=f"logit difference, {total:.2f}")
        ax.axvline(0, color=INK, lw=1)
        ax.set_yticks(places, frame["part"])
        ax.set_ylim(len(frame) - 0.5, -0.5)
        ax.margins(x=0.13)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("logits, added up from above")
        made.legend(loc="outside lower center", ncols=2, frameon=False)
        plain_text(made)
    return made


def effect_grids(
    panels: Mapping[str, pd.DataFrame], ends: Mapping[str, float], axes: tuple[str, str]
) -> Figure:
    """What patches do, a grid for each kind of patch, on one colour scale.

    Args:
        panels: title to a table of effects (logits); its index and columns name the cells.
        ends: named values that the colour bar marks, such as the whole effect.
        axes: what rows and columns are.
    """
    largest = max(float(np.nanmax(np.abs(table.to_numpy()))) for table in panels.values())
    reach = max([largest, *map(abs, ends.values()), 1e-9])
    rows, columns = next(iter(panels.values())).shape
    beside = len(panels) > 1 and columns <= 14
    with figure_style():
        height = max(2.2, 0.3 * rows + 1.4)
        shape = (1, len(panels)) if beside else (len(panels), 1)
        made = figure(9.4, (height if beside else height * len(panels)) + 0.5)
        grid = np.atleast_1d(made.subplots(*shape)).ravel()
        for number, (ax, (title, table)) in enumerate(zip(grid, panels.items(), strict=True)):
            _effects(ax, table, reach, beside)
            ax.set_title(title)
            ax.set_xlabel(axes[1] if beside or number == len(panels) - 1 else "")
            ax.set_ylabel(axes[0] if not beside or not number else "")
        bar = made.colorbar(grid[0].collections[0], ax=list(grid), pad=0.02, aspect=25)
        bar.set_label("effect on the logit difference (logits)")
        for name, value in ends.items():
            bar.ax.axhline(value, color=INK, lw=1.5)
            bar.ax.annotate(name, (0, value), xytext=(-3, 0), textcoords="offset points",
                            ha="right", va="center", fontsize=8, xycoords=("axes fraction", "data"),
                            rotation=90)  # fmt: skip
        plain_text(made)
    return made


def _effects(ax: Axes, table: pd.DataFrame, reach: float, beside: bool) -> None:
    n_rows, n_columns = table.shape
    printed = n_rows * n_columns <= _MOST_PRINTED and n_columns <= (8 if beside else 16)
    texts = [[f"{x:.1f}".replace("-", "−") for x in row] for row in table.to_numpy()]
    texts = [["" if x in ("0.0", "−0.0", "nan") else x for x in row] for row in texts]
    sns.heatmap(
        table, ax=ax, cmap=_SIGNED, vmin=-reach, vmax=reach, center=0, cbar=False, fmt="",
        annot=np.array(texts) if printed else None, annot_kws={"size": 8},
        linewidths=0.5, linecolor="white", xticklabels=False, yticklabels=False,
    )  # fmt: skip
    ax.set_xticks(np.arange(n_columns) + 0.5, [visible_token(str(c), 12) for c in table.columns])
    ax.set_yticks(np.arange(n_rows) + 0.5, list(table.index))
    ax.tick_params(length=0, labelsize=8)
    ax.tick_params(axis="x", labelrotation=90 if max(map(len, map(str, table.columns))) > 3 else 0)
    ax.tick_params(axis="y", labelrotation=0)


def head_effects(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Effects of some heads in several ways, each with its interval.

    Args:
        frame: `name` (of the head), `way`, `effect`, `ci_low`, `ci_high` (logits), `null`: whether
            the head is one of those drawn at random for comparison.
        ax: where to draw; a new figure by default.
    """
    names, ways = list(dict.fromkeys(frame["name"])), list(dict.fromkeys(frame["way"]))
    marks = ("o", "s", "^", "D", "v", "P")
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.6, 1.7 + (0.1 * len(ways) + 0.12) * len(names))
        for number, way in enumerate(ways):
            rows = frame[frame["way"] == way]
            shift = (number - (len(ways) - 1) / 2) * 0.78 / len(ways)
            places = np.array([names.index(name) for name in rows["name"]]) + shift
            spread = np.abs(rows[["ci_low", "ci_high"]].sub(rows["effect"], axis=0)).T.to_numpy()
            colour = OKABE_ITO[number]
            ax.errorbar(
                rows["effect"], places, xerr=spread, fmt=marks[number], color=colour, ms=5.5,
                lw=1.2, label=way,
            )  # fmt: skip
            of_null = rows["null"].to_numpy()
            ax.plot(rows["effect"][of_null], places[of_null], marks[number], ms=5.5, mfc="white",
                    mec=colour, zorder=4)  # fmt: skip
        first_null = [i for i, name in enumerate(names)
                      if frame.loc[frame["name"] == name, "null"].any()]  # fmt: skip
        if first_null:
            ax.axhspan(min(first_null) - 0.5, len(names) - 0.5, color=NO_VALUE, alpha=0.45, lw=0)
        ax.axvline(0, color=INK, lw=1)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("effect on the logit difference (logits), with 95 % interval")
        made.legend(loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made
