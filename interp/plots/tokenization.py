"""Figures of tokenization: texts in pieces, pieces per word, merges."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from interp.plots.labels import visible_token
from interp.plots.style import INK, MUTED, OKABE_ITO, axes_of, figure, figure_style, plain_text

BLUE, RED, GREEN = OKABE_ITO[:3]
_TINTS = ("#cfe3f1", "#f6dcc4")  # neighbours differ; the colours mean nothing else
_LINE = 84  # characters


def token_boxes(frame: pd.DataFrame) -> Figure:
    """Texts as rows of boxes, a box for each token.

    Args:
        frame: `reader` (who cuts), `text`, `place` (−1: it cannot be cut), `piece`, `token`.
    """
    rows = list(frame.groupby(["reader", "text"], sort=False))
    with figure_style("white"):
        made = figure(9.4, 0.3 + 0.62 * len(rows))
        ax = made.subplots()
        ax.set(xlim=(0, _LINE), ylim=(len(rows), 0))
        ax.axis("off")
        for y, ((reader, text), group) in enumerate(rows):
            ax.text(0, y + 0.2, f"{reader}: “{text}”", fontsize=9, color=MUTED, va="center")
            if (group["place"] < 0).any():
                ax.text(0, y + 0.66, "— not in the vocabulary —", fontsize=9.5, va="center",
                        color=INK, style="italic")  # fmt: skip
                continue
            _boxes(ax, group, y)
        plain_text(made)
    return made


def _boxes(ax: Axes, group: pd.DataFrame, y: int) -> None:
    x = 0.0
    for number, row in enumerate(group.itertuples()):
        shown = visible_token(row.piece, 14)
        label = shown if row.token < 0 else f"{shown}  {row.token}"
        width = len(label) + 1.4
        if x + width > _LINE:
            ax.text(x, y + 0.66, "…", fontsize=10, va="center")
            break
        ax.add_patch(Rectangle((x, y + 0.4), width, 0.54, color=_TINTS[number % 2], lw=0))
        ax.text(x + width / 2, y + 0.67, label, fontsize=8.5, family="monospace", va="center",
                ha="center")  # fmt: skip
        x += width + 0.4


def pieces_by_group(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Tokens per word by group of words, beside its bytes.

    Args:
        frame: `group`, `pieces`, `ci_low`, `ci_high`, `bytes` (means), `known_share`; pieces are
            NaN where no word of a group is known.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.6, 1.7 + 0.42 * len(frame))
        places = np.arange(len(frame))
        ax.plot(frame["bytes"], places, "D", mfc="white", mec=RED, mew=1.6, ms=7,
                label="bytes (no merges)")  # fmt: skip
        ax.hlines(places, frame["ci_low"], frame["ci_high"], color=BLUE, lw=7, alpha=0.3,
                  label="95 % interval over words")  # fmt: skip
        ax.plot(frame["pieces"], places, "o", color=BLUE, ms=7, label="tokens")
        for place, row in zip(places, frame.itertuples(), strict=True):
            if row.known_share < 1:
                ax.text(row.bytes + 0.25, place, f"{1 - row.known_share:.0%} not in the vocabulary",
                        va="center", fontsize=8.5, color=INK)  # fmt: skip
        ax.axvline(1, color=MUTED, lw=1, ls="--", label="one token per word")
        ax.set_yticks(places, frame["group"])
        ax.set_ylim(len(frame) - 0.4, -0.6)
        ax.set_xlim(0, float(frame["bytes"].max()) * 1.5)
        ax.set_xlabel("tokens per word (mean)")
        ax.grid(axis="y", visible=False)
        made.legend(loc="outside lower center", ncols=4, frameon=False)
        plain_text(made)
    return made


def merge_curves(curves: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """Bytes per token after each merge, and one word through the merges.

    Args:
        curves: `merges`, and the mean bytes per token on held-out text after `trained`, `shuffled`
            (learned from the same letters in random order) and `random` merges.
        steps: `merges`, `pieces` of one word, as text.
    """
    looks = {
        "trained": (BLUE, "-", "learned from the text"),
        "shuffled": (GREEN, "-.", "learned from shuffled letters"),
        "random": (RED, "--", "any pair that occurs"),
    }
    with figure_style("whitegrid"):
        made = figure(9.4, 4.3)
        left, right = made.subplots(1, 2, width_ratios=(1.1, 1))
        for column, (colour, line, name) in looks.items():
            left.plot(curves["merges"], curves[column], line, color=colour, lw=2, label=name)
        left.set(xlabel="merges made", ylabel="bytes per token, held-out text")
        left.legend(frameon=True)
        right.axis("off")
        shown = (
            steps
            if len(steps) <= 10
            else steps.iloc[[*range(5), *range(len(steps) - 5, len(steps))]]
        )
        right.set(xlim=(0, 1), ylim=(len(shown) + 0.2, -1))
        right.text(0, -0.55, "merges", fontsize=9.5, weight="bold", va="center")
        right.text(0.2, -0.55, "pieces of one word", fontsize=9.5, weight="bold", va="center")
        for y, row in enumerate(shown.itertuples()):
            right.text(0.1, y, str(row.merges), fontsize=9, va="center", ha="right")
            pieces = " ".join(visible_token(p, 16) for p in row.pieces.split(" | "))
            right.text(0.2, y, pieces, fontsize=9.5, family="monospace", va="center")
        plain_text(made)
    return made


def twin_cosines(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Cosine of a word's two embeddings, with and without the space, beside that of other words.

    Args:
        frame: `cosine`, `other_cosine`, one row per word.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.4, 3.6)
        both = frame[["cosine", "other_cosine"]].to_numpy()
        edges = np.linspace(min(-0.1, both.min()), max(1.0, both.max()), 41)
        ax.hist(frame["other_cosine"], edges, color=MUTED, alpha=0.5, label="with another word",
                hatch="//", edgecolor="white")  # fmt: skip
        ax.hist(frame["cosine"], edges, color=BLUE, alpha=0.8, label="with its own spaced form")
        ax.set(xlabel="cosine of the embeddings (uncentred)", ylabel="words")
        ax.legend(frameon=True)
        plain_text(made)
    return made
