"""Figures of what context does to a word's vector, layer by layer."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.plots.labels import visible_token
from interp.plots.style import INK, MUTED, OKABE_ITO, axes_of, figure, figure_style, plain_text

_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
_RANDOM = {"color": MUTED, "ls": "--", "marker": "x", "ms": 6, "label": "random weights"}


def similarity_by_layer(frame: pd.DataFrame) -> Figure:
    """Self-similarity and its baseline on the left, their difference on the right.

    Args:
        frame: one row per layer: `layer`, `self_similarity`, `baseline`, `adjusted`, `ci_low`,
            `ci_high` (of `adjusted`), and the same names with `random_` in front.
    """
    with figure_style("whitegrid"):
        made = figure(9.0, 3.9)
        left, right = made.subplots(1, 2)
        layers = frame["layer"]
        for name, colour, marker, label in (
            ("self_similarity", OKABE_ITO[0], "o", "uses of one word"),
            ("baseline", OKABE_ITO[1], "s", "uses of different words (baseline)"),
        ):
            left.plot(layers, frame[name], color=colour, marker=marker, label=label)
            left.plot(
                layers, frame[f"random_{name}"], color=colour, marker=marker, mfc="white", ls="--",
                lw=1, ms=5, label=f"{label}, random weights",
            )  # fmt: skip
        _band(right, frame, "", OKABE_ITO[0])
        right.plot(layers, frame["adjusted"], color=OKABE_ITO[0], marker="o", label="difference")
        _band(right, frame, "random_", MUTED)
        right.plot(layers, frame["random_adjusted"], **_RANDOM)
        left.set(xlabel="layer", ylabel="mean cosine", title="as measured")
        right.set(xlabel="layer", ylabel="difference of mean cosines", title="minus the baseline")
        right.set_ylim(bottom=min(0.0, right.get_ylim()[0]))
        for ax in (left, right):
            _layer_axis(ax, layers)
            ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8.5)
        plain_text(made)
    return made


def senses_by_layer(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """How often a use lies nearer to uses of its own sense, by layer, with three controls.

    Args:
        frame: one row per layer: `layer`, `auc`, `ci_low`, `ci_high`; the same names with
            `random_` and with `halves_` (groups of one sense; may be missing) in front; `bag` (no
            model, the same in each row).
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.4, 4.4)
        layers = frame["layer"]
        _band(ax, frame, "", OKABE_ITO[0])
        ax.plot(layers, frame["auc"], color=OKABE_ITO[0], marker="o", lw=2, label="the model")
        if frame["halves_auc"].notna().all():
            ax.plot(
                layers, frame["halves_auc"], color=OKABE_ITO[1], marker="s", ls=":",
                label="groups of cues with one sense",
            )  # fmt: skip
        _band(ax, frame, "random_", MUTED)
        ax.plot(layers, frame["random_auc"], **_RANDOM)
        ax.axhline(
            frame["bag"].iloc[0], color=OKABE_ITO[2], ls="-.", label="the words before, no model"
        )
        ax.axhline(0.5, color=INK, lw=0.8, label="chance")
        ax.set(xlabel="layer", ylabel="share of comparisons won by the sense")
        ax.set_ylim(min(0.35, frame["auc"].min() - 0.05), 1.03)
        _layer_axis(ax, layers)
        made.legend(loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def sense_profiles(frame: pd.DataFrame) -> Figure:
    """Cosine of the lectures' phrases to each sense, a row of panels per word.

    Args:
        frame: `word`, `example`, `sense`, `layer`, `cosine`, `ci_low`, `ci_high`; `meant` (is this
            the sense that is meant), `random_cosine` (for random weights; drawn where meant).
    """
    words = list(dict.fromkeys(frame["word"]))
    by_word = {w: list(dict.fromkeys(frame.loc[frame["word"] == w, "example"])) for w in words}
    wide = max(map(len, by_word.values()))
    with figure_style("whitegrid"):
        made = figure(9.2, 1.0 + 2.6 * len(words))
        parts = made.subfigures(len(words), 1, squeeze=False)[:, 0]
        for part, word in zip(parts, words, strict=True):
            of_word = frame[frame["word"] == word]
            row = part.subplots(1, wide, sharey=True, squeeze=False)[0]
            senses = list(dict.fromkeys(of_word["sense"]))
            for ax, example in zip(row, by_word[word], strict=False):
                _profile(ax, of_word[of_word["example"] == example], senses)
                ax.set_title(f"“{visible_words(example)}”", fontsize=10)
            for ax in row[len(by_word[word]) :]:
                ax.set_axis_off()
            row[0].set_ylabel(f"cosine to a sense of “{word}”", fontsize=9)
            handles, names = row[0].get_legend_handles_labels()
            part.legend(
                handles, names, loc="outside lower center", ncols=len(names), frameon=False,
                fontsize=8.5,
            )  # fmt: skip
        plain_text(made)
    return made


def visible_words(text: str) -> str:
    """A phrase for a title: cut when long, safe to draw."""
    return visible_token(text, 34).replace("·", " ")


def _profile(ax: Axes, rows: pd.DataFrame, senses: Sequence[str]) -> None:
    ax.axhline(0, color=INK, lw=0.8)
    for sense, colour, marker, dash in zip(senses, OKABE_ITO, _MARKERS, _DASHES, strict=False):
        of_sense = rows[rows["sense"] == sense]
        ax.fill_between(
            of_sense["layer"], of_sense["ci_low"], of_sense["ci_high"], color=colour, alpha=0.18,
            lw=0,
        )  # fmt: skip
        ax.plot(
            of_sense["layer"], of_sense["cosine"], color=colour, marker=marker, ms=4.5, ls=dash,
            label=visible_words(sense),
        )  # fmt: skip
    meant = rows[rows["meant"]]
    control = _RANDOM | {"label": "random weights, the sense that is meant"}
    ax.plot(meant["layer"], meant["random_cosine"], **control)
    ax.set_ylim(-1.05, 1.05)
    ax.set_xlabel("layer")
    _layer_axis(ax, rows["layer"])


def sense_pictures(points: pd.DataFrame, facts: pd.DataFrame) -> Figure:
    """PCA and t-SNE of the same vectors, with the cosines before projection printed above.

    Args:
        points: `of` (which model), `method`, `label`, `x`, `y`.
        facts: `of`, `method`, `cosine_same`, `cosine_different`, `nearest_same`,
            `nearest_same_picture`, `kept`.
    """
    models, methods = (list(dict.fromkeys(points[name])) for name in ("of", "method"))
    labels = list(dict.fromkeys(points["label"]))
    with figure_style():
        made = figure(9.0, 0.7 + 3.7 * len(models))
        grid = made.subplots(len(models), len(methods), squeeze=False)
        for row, of in zip(grid, models, strict=True):
            for ax, method in zip(row, methods, strict=True):
                here = points[(points["of"] == of) & (points["method"] == method)]
                fact = facts[(facts["of"] == of) & (facts["method"] == method)].iloc[0]
                for label, colour, marker in zip(labels, OKABE_ITO, _MARKERS, strict=False):
                    some = here[here["label"] == label]
                    ax.scatter(
                        some["x"], some["y"], color=colour, marker=marker, s=28, alpha=0.8,
                        edgecolor="white", lw=0.5, label=visible_words(label),
                    )  # fmt: skip
                ax.set_title(_picture_title(of, method, fact), fontsize=9, loc="left")
                ax.set(xticks=[], yticks=[])
                ax.set_xlabel(
                    "first direction" if method == "PCA" else "no unit, distances are bent",
                    fontsize=9,
                )
                ax.set_ylabel("second direction" if method == "PCA" else "", fontsize=9)
        handles, names = grid[0][0].get_legend_handles_labels()
        made.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
        plain_text(made)
    return made


def _picture_title(of: str, method: str, fact: pd.Series) -> str:
    kept = "" if method != "PCA" else f", {fact['kept']:.0%} of the variance"
    return (
        (
            f"{method}, {of}{kept}\n"
            f"cosine before projection: same sense {fact['cosine_same']:.2f}, "
            f"different {fact['cosine_different']:.2f}\n"
            f"nearest has the same sense: {fact['nearest_same']:.2f}; "
            f"in the picture {fact['nearest_same_picture']:.2f}"
        )
        .replace("-", "−")
        .replace("t−SNE", "t-SNE")
    )


def cue_changes(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """How far the word's vector moves when a cue is exchanged, before the word or after it.

    Args:
        frame: `kind` ("before", "same sense", "after"), `layer`, `change`, `ci_low`, `ci_high`.
        ax: where to draw; a new figure by default.
    """
    styles = {
        "before": ("o", "-", "cue before the word, another sense"),
        "same sense": ("s", "--", "cue before the word, same sense"),
        "after": ("D", ":", "cue after the word, another sense (exactly 0 under a causal mask)"),
    }
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.4, 4.2)
        for (kind, (marker, dash, label)), colour in zip(styles.items(), OKABE_ITO, strict=False):
            rows = frame[frame["kind"] == kind]
            ax.fill_between(
                rows["layer"], rows["ci_low"], rows["ci_high"], color=colour, alpha=0.2, lw=0
            )
            ax.plot(
                rows["layer"], rows["change"], color=colour, marker=marker, ls=dash, label=label
            )
        ax.set(xlabel="layer", ylabel="change of the word's vector, share of its length")
        _layer_axis(ax, frame["layer"])
        made.legend(loc="outside lower center", ncols=1, frameon=False)
        plain_text(made)
    return made


def _band(ax: Axes, frame: pd.DataFrame, prefix: str, colour: str) -> None:
    low, high = frame[f"{prefix}ci_low"], frame[f"{prefix}ci_high"]
    ax.fill_between(frame["layer"], low, high, color=colour, alpha=0.2, lw=0)


def _layer_axis(ax: Axes, layers: pd.Series) -> None:
    marks = sorted(set(layers))
    step = -(-len(marks) // 13)
    ax.set_xticks(marks[::step])
