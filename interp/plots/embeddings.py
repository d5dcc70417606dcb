"""Figures of the embedding's geometry: directions, analogies, steering, cosines, positions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from interp.plots.labels import visible_token
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

SIGNED = "RdBu_r"  # for values of either sign, white at 0
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_MOST_NAMED = 20  # pairs along a matrix


def words_on_a_line(
    points: pd.DataFrame, band: float, label: str, ax: Axes | None = None
) -> Figure:
    """Words along a direction, a row per pair, with the band in which random directions put them.

    Args:
        points: `word`, `value`, `group` ("first" or "second"), `pair` (number).
        band: half width of the null's band around 0.
        label: of the axis.
        ax: where to draw; a new figure by default.
    """
    n_pairs = points["pair"].nunique()
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.0, 1.7 + 0.3 * n_pairs)
        ax.axvspan(-band, band, color=NO_VALUE, zorder=0)
        ax.axvline(0, color=MUTED, lw=1, ls="--")
        order = points.groupby("pair")["value"].mean().sort_values().index
        row_of = {pair: row for row, pair in enumerate(order)}
        reach = max(points["value"].abs().max(), band) * 1.32
        for point in points.itertuples():
            second = point.group == "second"
            row, colour = row_of[point.pair], OKABE_ITO[1 if second else 0]
            ax.plot(point.value, row, "s" if second else "o", color=colour, ms=7)
            other = points[(points["pair"] == point.pair) & (points["group"] != point.group)]
            right = point.value >= other["value"].iloc[0]
            ax.annotate(
                visible_token(point.word), (point.value, row), xytext=(7 if right else -7, 0),
                textcoords="offset points", ha="left" if right else "right", va="center",
                fontsize=9,
            )  # fmt: skip
        for pair, some in points.groupby("pair"):
            ax.plot(some["value"], [row_of[pair]] * len(some), color=MUTED, lw=0.8, zorder=1)
        ax.set(xlim=(-reach, reach), ylim=(n_pairs - 0.4, -0.6), yticks=[], xlabel=label)
        ax.grid(axis="y", visible=False)
        keys = {
            "first word of the pair": Line2D([], [], marker="o", ls="", color=OKABE_ITO[0]),
            "second word": Line2D([], [], marker="s", ls="", color=OKABE_ITO[1]),
            "95 % of words on random directions": Patch(color=NO_VALUE),
        }
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def relation_dots(relations: pd.DataFrame, cosines: pd.DataFrame) -> Figure:
    """Each relation's consistency beside its nulls; below, the first relation pair by pair.

    Args:
        relations: `relation`, `consistency`, `ci_low`, `ci_high`, `mismatched`, `shuffled`,
            `random`, `random_weights`.
        cosines: `pair`, `other`, `i`, `j`, `cosine`, `mismatched`.
    """
    nulls = {
        "mismatched": ("mismatched pairs", "s"),
        "shuffled": ("shuffled pairs", "D"),
        "random": ("random pairs", "^"),
        "random_weights": ("random weights", "v"),
    }
    with figure_style("whitegrid"):
        made = figure(9.2, 1.4 + 0.32 * len(relations) + 4.3)
        rows = made.subplots(2, 1, height_ratios=[1.0 + 0.32 * len(relations), 4.3])
        spec = rows[1].get_subplotspec()
        rows[1].remove()
        top, below = rows[0], spec.subgridspec(1, 2).subplots()
        _consistency(top, relations, nulls)
        _pair_matrices(made, list(below), cosines)
        plain_text(made)
    return made


def _consistency(ax: Axes, relations: pd.DataFrame, nulls: dict[str, tuple[str, str]]) -> None:
    places = np.arange(len(relations))
    for colour, (column, (name, marker)) in zip(OKABE_ITO[1:], nulls.items(), strict=False):
        ax.plot(relations[column], places, marker, mfc="none", mec=colour, mew=1.4, ms=6.5, ls="",
                label=name)  # fmt: skip
    spread = [relations["consistency"] - relations["ci_low"],
              relations["ci_high"] - relations["consistency"]]  # fmt: skip
    ax.errorbar(relations["consistency"], places, xerr=[s.clip(lower=0) for s in spread], fmt="o",
                color=OKABE_ITO[0], ms=6, capsize=2, label="the relation")  # fmt: skip
    ax.set_yticks(places, relations["relation"])
    ax.set(ylim=(len(relations) - 0.5, -0.6))
    ax.set_xlabel("mean cosine between the differences of two pairs (1: parallel)")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, frameon=False,
              columnspacing=1.0, handletextpad=0.3)  # fmt: skip


def _pair_matrices(made: Figure, axes: Sequence[Axes], cosines: pd.DataFrame) -> None:
    names = cosines.drop_duplicates("i").sort_values("i")["pair"]
    few = len(names) <= _MOST_NAMED
    for place, (ax, column, title) in enumerate(
        zip(axes, ("cosine", "mismatched"), ("as they are", "partners mixed up"), strict=True)
    ):
        table = cosines.pivot(index="i", columns="j", values=column).to_numpy()
        sns.heatmap(table, ax=ax, vmin=-1, vmax=1, cmap=SIGNED, square=True, cbar=False,
                    xticklabels=False, yticklabels=False)  # fmt: skip
        if few and place == 0:
            ax.set_yticks(np.arange(len(names)) + 0.5, names, rotation=0, fontsize=8)
        ax.tick_params(length=0)
        ax.set(title=title, xlabel="the same pairs, in this order →", ylabel="")
        ax.set_facecolor(NO_VALUE)
    bar = made.colorbar(axes[0].collections[0], ax=list(axes), pad=0.02, aspect=25, shrink=0.9)
    bar.set_label("cosine between two differences")


def analogy_dots(analogies: pd.DataFrame, method: str, ax: Axes | None = None) -> Figure:
    """Top-1 shares of each relation, asked four ways.

    Args:
        analogies: `relation`, `method`, `way`, `top_1`, `top_1_low`, `top_1_high`.
        method: of the rows to draw.
        ax: where to draw; a new figure by default.
    """
    ways = {
        "excluded": "a, b, c struck out (the usual way)",
        "included": "a, b, c may answer",
        "nearest": "nearest word to c, no offset",
        "offset": "offset alone, without c",
    }
    some = analogies[analogies["method"] == method]
    relations = list(dict.fromkeys(some["relation"]))
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.0, 1.7 + 0.5 * len(relations))
        for place, (way, name) in enumerate(ways.items()):
            rows = some[some["way"] == way].set_index("relation").loc[relations]
            y = np.arange(len(relations)) + (place - 1.5) * 0.19
            spread = [rows["top_1"] - rows["top_1_low"], rows["top_1_high"] - rows["top_1"]]
            ax.errorbar(
                rows["top_1"], y, xerr=[np.clip(s, 0, None) for s in spread],
                fmt=_MARKERS[place], color=OKABE_ITO[place], ms=6, capsize=2, lw=1.2, label=name,
                mfc=OKABE_ITO[place] if place == 0 else "white",
            )  # fmt: skip
        ax.set_yticks(np.arange(len(relations)), relations)
        ax.set(ylim=(len(relations) - 0.5, -0.5), xlim=(-0.03, 1.03))
        ax.set_xlabel("share of questions whose answer comes first (95 % interval over pairs)")
        ax.grid(axis="y", visible=False)
        made.legend(loc="outside lower center", ncols=2, frameon=False)
        plain_text(made)
    return made


def parallelogram(points: pd.DataFrame, numbers: pd.Series, illusion: pd.DataFrame) -> Figure:
    """Four words in their plane, and how parallel pairs look in planes and are in space.

    Args:
        points: `word`, `x`, `y`: a, b, c, d in this order.
        numbers: `cosine_plane`, `cosine`, `shown`.
        illusion: `kind`, `n_pairs`, `plane`, `space`, with `_low` and `_high`.
    """
    with figure_style("whitegrid"):
        made = figure(9.4, 4.5)
        left, right = made.subplots(1, 2, width_ratios=[1, 1.15])
        places = points[["x", "y"]].to_numpy()
        for start, end, colour in ((0, 1, OKABE_ITO[0]), (2, 3, OKABE_ITO[1])):
            left.annotate("", places[end], places[start],
                          arrowprops={"arrowstyle": "->", "color": colour, "lw": 2})  # fmt: skip
        middle = places.mean(axis=0)
        for word, (x, y) in zip(points["word"], places, strict=True):
            left.plot(x, y, "o", color=INK, ms=5)
            left.annotate(visible_token(word), (x, y), xytext=(0, 8 if y >= middle[1] else -15),
                          textcoords="offset points", ha="center")  # fmt: skip
        span = np.ptp(places, axis=0).max() * 0.62
        left.set(xlim=(middle[0] - span, middle[0] + span), ylim=(middle[1] - span,
                 middle[1] + span), aspect="equal")  # fmt: skip
        left.set_xlabel("first principal component of the four words")
        left.set_ylabel("second")
        left.set_title(
            f"cosine {numbers['cosine_plane']:.2f} as drawn, {numbers['cosine']:.2f} in space"
        )
        _illusion(right, illusion)
        plain_text(made)
    return made


def _illusion(ax: Axes, illusion: pd.DataFrame) -> None:
    kinds = [k for k in ("related", "mismatched", "random", "random weights")
             if k in set(illusion["kind"])]  # fmt: skip
    for colour, marker, kind in zip(OKABE_ITO, _MARKERS, kinds, strict=False):
        some = illusion[illusion["kind"] == kind].sort_values("n_pairs")
        ax.plot(some["n_pairs"], some["plane"], ls="--", marker=marker, mfc="white", color=colour)
        ax.plot(some["n_pairs"], some["space"], ls="-", marker=marker, color=colour)
        if kind == "random":
            ax.fill_between(some["n_pairs"], some["space_low"], some["space_high"], color=colour,
                            alpha=0.15, lw=0)  # fmt: skip
            ax.fill_between(some["n_pairs"], some["plane_low"], some["plane_high"], color=colour,
                            alpha=0.15, lw=0)  # fmt: skip
    ax.set(ylim=(0, 1.04), xlabel="number of pairs drawn", ylabel="mean |cosine| of differences")
    keys = {
        {"related": "pairs of the relation", "mismatched": "partners mixed up",
         "random": "random pairs (95 %)", "random weights": "random weights"}[kind]:
        Line2D([], [], marker=marker, color=colour, ls="-")
        for colour, marker, kind in zip(OKABE_ITO, _MARKERS, kinds, strict=False)
    }  # fmt: skip
    keys |= {
        "dashed: in the best plane": Line2D([], [], ls="--", color=INK),
        "solid: in space": Line2D([], [], ls="-", color=INK),
    }
    ax.legend(keys.values(), keys.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.17),
              ncols=2, frameon=False)  # fmt: skip


def steering_curves(steering: pd.DataFrame, random: str) -> Figure:
    """Effect of steering by alpha, and all directions against all readouts at alpha = 1.

    Args:
        steering: `readout`, `direction`, `alpha`, `moved`, `ci_low`, `ci_high`, `swap`, `share`.
        random: name of the random direction.
    """
    readouts = list(dict.fromkeys(steering["readout"]))
    with figure_style("whitegrid"):
        made = figure(9.4, 4.3)
        axes = made.subplots(1, len(readouts) + 1, width_ratios=[1] * len(readouts) + [1.2])
        for ax, readout in zip(axes, readouts, strict=False):
            _alpha_sweep(ax, steering[steering["readout"] == readout], readout, random)
        axes[0].set_ylabel("readout moved (logits)")
        _specificity(axes[-1], steering[steering["alpha"] == 1.0], random)
        keys = {
            "own direction, 95 % over pairs": Line2D([], [], marker="o", color=OKABE_ITO[0]),
            "random, equally long (95 %)": Line2D([], [], marker="^", ls="--", color=OKABE_ITO[1]),
            "the word itself swapped": Line2D([], [], ls=":", color=INK),
        }
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def _alpha_sweep(ax: Axes, some: pd.DataFrame, readout: str, random: str) -> None:
    for name, colour, marker, line in (
        (readout, OKABE_ITO[0], "o", "-"),
        (random, OKABE_ITO[1], "^", "--"),
    ):
        rows = some[some["direction"] == name].sort_values("alpha")
        ax.plot(rows["alpha"], rows["moved"], marker=marker, color=colour, ls=line)
        ax.fill_between(rows["alpha"], rows["ci_low"], rows["ci_high"], color=colour, alpha=0.2)
    ax.axhline(some["swap"].iloc[0], color=INK, ls=":", lw=1.4)
    ax.axhline(0, color=MUTED, lw=0.8)
    ax.set(title=readout, xlabel="alpha (mean differences)")


def _specificity(ax: Axes, at_one: pd.DataFrame, random: str) -> None:
    order = [d for d in dict.fromkeys(at_one["direction"]) if d != random] + [random]
    table = at_one.pivot(index="direction", columns="readout", values="share").loc[order]
    bound = max(1.0, float(table.abs().to_numpy().max()))
    sns.heatmap(table, ax=ax, vmin=-bound, vmax=bound, cmap=SIGNED, annot=table.map(_signed),
                fmt="",
                annot_kws={"size": 8.5}, linewidths=0.5, linecolor="white",
                cbar_kws={"label": "share of the swap's effect"})  # fmt: skip
    ax.set(xlabel="readout", ylabel="", title="at alpha = 1")
    ax.tick_params(length=0, labelrotation=0, labelsize=8)
    ax.tick_params(axis="x", labelrotation=20)


def _signed(value: float) -> str:
    shown = f"{value:.2f}"
    return "0" if float(shown) == 0 else shown.replace("-", "−")


def cosine_histograms(histogram: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Cosines of random pairs of words, beside N(0, 1/d).

    Args:
        histogram: `geometry`, `cosine`, `density`, `expected`.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.0, 3.9)
        shown = [g for g in ("plain", "centred", "all but the top", "causal", "random weights")
                 if g in set(histogram["geometry"])]  # fmt: skip
        lines = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
        for colour, line, geometry in zip(OKABE_ITO, lines, shown, strict=False):
            some = histogram[histogram["geometry"] == geometry]
            ax.plot(some["cosine"], some["density"], ls=line, lw=1.8, color=colour, label=geometry)
        first = histogram[histogram["geometry"] == shown[0]]
        ax.fill_between(first["cosine"], first["expected"], color=NO_VALUE, zorder=0,
                        label="N(0, 1/d): directions at random")  # fmt: skip
        ax.set(xlim=(-1, 1), xlabel="cosine between two words", ylabel="density")
        ax.set_ylim(bottom=0)
        ax.legend(frameon=False, loc="upper left")
        plain_text(made)
    return made


def position_shapes(places: pd.DataFrame, components: pd.DataFrame) -> Figure:
    """Positions along their largest components, and how much variance each holds.

    Args:
        places: `position`, `pc1` ....
        components: `component`, `share`, and `share_random_walk`, `share_normal_numbers` with
            `_low` and `_high`.
    """
    with figure_style("whitegrid"):
        made = figure(9.4, 4.2)
        left, middle, right = made.subplots(1, 3, width_ratios=[1.25, 1, 1.05])
        for colour, line, column in zip(OKABE_ITO, ("-", "--", "-."), ("pc1", "pc2", "pc3"),
                                        strict=False):  # fmt: skip
            if column in places:
                left.plot(places["position"], places[column], color=colour, ls=line,
                          label=f"component {column[2:]}")  # fmt: skip
        left.set(xlabel="position", ylabel="place along the component (no unit)")
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, frameon=False)
        points = middle.scatter(places["pc1"], places["pc2"], c=places["position"], cmap=WEIGHTS,
                                s=14, zorder=3)  # fmt: skip
        middle.plot(places["pc1"], places["pc2"], color=MUTED, lw=0.6)
        middle.set(xlabel="component 1", ylabel="component 2")
        made.colorbar(points, ax=middle, label="position", location="top", aspect=25)
        _shares(right, components)
        plain_text(made)
    return made


def _shares(ax: Axes, components: pd.DataFrame) -> None:
    ax.plot(components["component"], components["share"], "o-", color=OKABE_ITO[0],
            label="the model")  # fmt: skip
    for colour, marker, null in (
        (OKABE_ITO[1], "^", "random_walk"),
        (OKABE_ITO[2], "s", "normal_numbers"),
    ):
        column = f"share_{null}"
        ax.plot(components["component"], components[column], marker=marker, ls="--", color=colour,
                mfc="white", label=null.replace("_", " "))  # fmt: skip
        ax.fill_between(components["component"], components[f"{column}_low"],
                        components[f"{column}_high"], color=colour, alpha=0.2, lw=0)  # fmt: skip
    ax.set(xlabel="component", ylabel="share of the variance", ylim=(0, None))
    ax.set_xticks(components["component"])
    ax.legend(loc="upper right", frameon=False)


def lag_and_overlap(heads: pd.DataFrame, overlap: pd.DataFrame) -> Figure:
    """How lag-like the position scores are, and how much words and positions share directions.

    Args:
        heads: `name`, `lag_share`, `lag_share_random_walk` and `lag_share_shuffled_rows` with
            `_low` and `_high`.
        overlap: `weights`, `overlap`, `ci_low`, `ci_high`, `expected`, `null_low`, `null_high`.
    """
    with figure_style("whitegrid"):
        made = figure(9.4, max(3.4, 1.6 + 0.34 * len(heads)))
        left, right = made.subplots(1, 2, width_ratios=[1.25, 1])
        rows = np.arange(len(heads))
        for colour, marker, null in (
            (OKABE_ITO[1], "^", "random_walk"),
            (OKABE_ITO[2], "s", "shuffled_rows"),
        ):
            column = f"lag_share_{null}"
            spread = [heads[column] - heads[f"{column}_low"], heads[f"{column}_high"]
                      - heads[column]]  # fmt: skip
            left.errorbar(heads[column], rows, xerr=[s.clip(lower=0) for s in spread], fmt=marker,
                          color=colour, mfc="white", capsize=2,
                          label=f"{null.replace('_', ' ')} (95 %)")  # fmt: skip
        left.plot(heads["lag_share"], rows, "o", color=OKABE_ITO[0], ms=7, label="the model")
        left.set_yticks(rows, heads["name"])
        left.set(xlim=(-0.03, 1.03), ylim=(len(heads) - 0.5, -0.5))
        left.set_xlabel("share of score variance that distance explains")
        left.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2, frameon=False)
        _overlaps(right, overlap)
        plain_text(made)
    return made


def _overlaps(ax: Axes, overlap: pd.DataFrame) -> None:
    for row, one in enumerate(overlap.itertuples()):
        ax.plot([one.null_low, one.null_high], [row, row], lw=9, color=NO_VALUE,
                solid_capstyle="butt")  # fmt: skip
        ax.plot(one.expected, row, "|", color=INK, ms=14, mew=1.6)
        ax.errorbar(one.overlap, row, xerr=[[max(one.overlap - one.ci_low, 0)],
                    [max(one.ci_high - one.overlap, 0)]], fmt="o", color=OKABE_ITO[0], ms=7,
                    capsize=3)  # fmt: skip
    ax.set_yticks(range(len(overlap)), overlap["weights"])
    ax.set(ylim=(len(overlap) - 0.4, -0.6), xlim=(0, None))
    ax.set_xlabel("mean cos² between word and position axes")
    keys = {
        "words against positions, 95 %": Line2D([], [], marker="o", ls="", color=OKABE_ITO[0]),
        "random subspaces, 95 %": Patch(color=NO_VALUE),
        "k/d": Line2D([], [], marker="|", ls="", color=INK, ms=12, mew=1.6),
    }
    ax.legend(keys.values(), keys.keys(), loc="upper center", bbox_to_anchor=(0.45, -0.16),
              ncols=2, frameon=False)  # fmt: skip
