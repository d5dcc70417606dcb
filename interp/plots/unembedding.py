"""Figures of what the unembedding is, knows, costs and cannot say."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.plots.labels import power_of_ten, visible_token
from interp.plots.style import INK, MUTED, OKABE_ITO, axes_of, figure, figure_style, plain_text

_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
_LEAST = 1e-17  # what rounding leaves has no place on a logarithmic axis


def bias_scatter(points: pd.DataFrame, correlations: pd.DataFrame, label: str) -> Figure:
    """Bias and length of each token's vector against its frequency, side by side.

    Args:
        points: `token`, `frequency` (a logarithm), `bias`, `length`.
        correlations: `of` ("bias", "length"), `rho`, `null_low`, `null_high`, printed above.
        label: of the frequency.
    """
    with figure_style("whitegrid"):
        made = figure(9.0, 4.0)
        for ax, name, title, marker in zip(
            made.subplots(1, 2),
            ("bias", "length"),
            ("bias after folding (logits)", "length of its column of W_U"),
            _MARKERS,
            strict=False,
        ):
            ax.scatter(
                points["frequency"], points[name], s=12, alpha=0.5, color=OKABE_ITO[0],
                marker=marker, lw=0,
            )  # fmt: skip
            ax.set(xlabel=label, ylabel=title)
            row = correlations.set_index("of").loc[name]
            shuffled = f"{row['null_low']:.2f} to {row['null_high']:.2f}"
            said = f"rank correlation {row['rho']:.2f}\nshuffled vocabularies {shuffled}"
            ax.set_title(said.replace("-", "−"), fontsize=10, loc="left")
            # The rarest and the most frequent tokens tell the reader which end is which.
            for row in (points.loc[points[column].idxmax()] for column in ("frequency", name)):
                text = f"“{visible_token(row['token'], 14)}”"
                right = row["frequency"] > points["frequency"].median()
                ax.annotate(
                    text, (row["frequency"], row[name]), fontsize=8.5,
                    xytext=(-4 if right else 4, 4), textcoords="offset points",
                    ha="right" if right else "left",
                )  # fmt: skip
            ax.margins(y=0.12)
        plain_text(made)
    return made


def path_dots(frame: pd.DataFrame) -> Figure:
    """What each direct path knows of the next token, and whether it knows the order of pairs.

    Args:
        frame: `path`, `gain_nats`, `ci_low`, `ci_high`, `order`, `order_low`, `order_high`, and
            `random_gain_nats`, `random_order` for random weights.
    """
    with figure_style("whitegrid"):
        made = figure(9.2, 1.6 + 0.42 * len(frame))
        left, right = made.subplots(1, 2, sharey=True)
        sides = (
            (left, "gain_nats", "ci_low", "ci_high", "nats per token above frequencies", 0.0),
            (right, "order", "order_low", "order_high", "share of pairs in the right order", 0.5),
        )
        places = range(len(frame))
        for ax, value, low, high, label, chance in sides:
            ax.axvline(chance, color=INK, lw=1)
            ax.hlines(places, frame[low], frame[high], color=OKABE_ITO[0], lw=6, alpha=0.35)
            ax.plot(
                frame[value], places, "o", color=OKABE_ITO[0], ms=7,
                label="the model, 95 % interval",
            )  # fmt: skip
            ax.plot(
                frame[f"random_{value}"], places, "x", color=MUTED, ms=8, mew=1.6,
                label="random weights",
            )  # fmt: skip
            ax.set_xlabel(label)
            ax.grid(axis="y", visible=False)
        right.set_xlim(0.4, 1.03)
        left.set_yticks(list(places), frame["path"])
        left.set_ylim(len(frame) - 0.5, -0.5)
        handles, names = left.get_legend_handles_labels()
        made.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
        plain_text(made)
    return made


def rounding_dots(frame: pd.DataFrame) -> Figure:
    """Rounded unembeddings against noise of equal length: divergence, first choices, loss.

    Args:
        frame: `bits`, `kind` ("rounded", "noise"), and `kl_nats`, `top1`, `cost_nats`, each with
            `_low` and `_high`.
    """
    labels = {
        "kl_nats": "KL to the model (nats)",
        "top1": "same first choice (share)",
        "cost_nats": "loss it costs (nats per token)",
    }
    bits = sorted(set(frame["bits"]), reverse=True)
    with figure_style("whitegrid"):
        made = figure(9.2, 3.6)
        grid = made.subplots(1, len(labels))
        for ax, (name, label) in zip(grid, labels.items(), strict=True):
            for shift, (kind, marker, colour) in zip(
                (-0.12, 0.12),
                (("rounded", "o", OKABE_ITO[0]), ("noise", "s", OKABE_ITO[1])),
                strict=True,
            ):
                rows = frame[frame["kind"] == kind].set_index("bits").loc[bits]
                at = np.arange(len(bits)) + shift
                ax.vlines(
                    at, rows[f"{name}_low"], rows[f"{name}_high"], color=colour, lw=5, alpha=0.35
                )
                ax.plot(at, rows[name], marker, color=colour, ms=7, label=_KINDS[kind], ls="none")
            ax.set_xticks(range(len(bits)), [f"{b} bits" for b in bits])
            ax.set_xlim(-0.5, len(bits) - 0.5)
            ax.set_title(label, fontsize=10)
            if name == "kl_nats" and (frame["kl_nats"] > 0).all():
                ax.set_yscale("log")
                ax.yaxis.set_major_formatter(lambda value, _: power_of_ten(value))
                ax.yaxis.set_minor_formatter(lambda value, _: "")
            if name == "cost_nats":
                ax.axhline(0, color=INK, lw=0.8)
        handles, names = grid[0].get_legend_handles_labels()
        made.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
        plain_text(made)
    return made


_KINDS = {"rounded": "rounded, 95 % interval", "noise": "Gaussian noise of equal length"}


def loss_ladder(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Losses of the model, of what is simpler and of its damaged readouts, the worst on top.

    Args:
        frame: `of`, `loss`, `ci_low`, `ci_high` (nats per token), `perplexity`.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.0, 1.3 + 0.42 * len(frame))
        for place, row in enumerate(frame.itertuples()):
            kind = 0 if row.of == "the model" else 2 if row.of.startswith("exact") else 1
            ax.hlines(place, row.ci_low, row.ci_high, color=OKABE_ITO[kind], lw=6, alpha=0.35)
            ax.plot(row.loss, place, _MARKERS[kind], color=OKABE_ITO[kind], ms=8)
            ax.annotate(
                f"perplexity {row.perplexity:.4g}", (row.ci_high, place), xytext=(8, 0),
                textcoords="offset points", va="center", fontsize=8.5,
            )  # fmt: skip
        ax.set_yticks(range(len(frame)), frame["of"])
        ax.set_ylim(len(frame) - 0.5, -0.5)
        ax.set_xlim(0, frame["ci_high"].max() * 1.2)
        ax.set_xlabel("loss (nats per token), band: 95 % interval over prompts")
        ax.grid(axis="y", visible=False)
        plain_text(made)
    return made


def cost_curves(curve: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Share of the forward pass that the unembedding takes, by size of the vocabulary.

    Args:
        curve: `model`, `d_vocab`, `share`, `own` (the model's own vocabulary).
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.6, 4.4)
        for number, (name, rows) in enumerate(curve.groupby("model", sort=False)):
            colour = OKABE_ITO[number % len(OKABE_ITO)]
            marker = _MARKERS[number % len(_MARKERS)]
            ax.plot(rows["d_vocab"], rows["share"], color=colour, ls=_DASHES[number % len(_DASHES)])
            own = rows[rows["own"]].iloc[0]
            label = f"{visible_token(name, 30)}: {own['share']:.0%} at {own['d_vocab']:,}"
            ax.plot(
                own["d_vocab"], own["share"], marker, color=colour, ms=9, mec="white", label=label
            )
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        ax.set_ylim(0, 1)
        ax.set_xlabel("tokens in the vocabulary")
        ax.set_ylabel("share of the operations, short context")
        ax.legend(loc="upper left", frameon=True)
        plain_text(made)
    return made


def centred_spectra(frame: pd.DataFrame, bound: int, ax: Axes | None = None) -> Figure:
    """Singular values of tables of log-probabilities, with the rank that the width allows.

    Args:
        frame: `of`, `index`, `value` (over the largest).
        bound: the largest possible rank.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.6, 4.2)
        for number, (name, rows) in enumerate(frame.groupby("of", sort=False)):
            ax.plot(
                rows["index"], rows["value"].clip(lower=_LEAST), color=OKABE_ITO[number],
                ls=_DASHES[number], marker=_MARKERS[number], markevery=max(1, len(rows) // 9),
                ms=6, label=name,
            )  # fmt: skip
        ax.axvline(bound, color=INK, lw=1.2, ls="--", label=f"width + 1 = {bound}")
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(lambda value, _: power_of_ten(value))
        ax.set_xlabel("singular value, largest first")
        ax.set_ylabel("over the largest")
        made.legend(loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def lens_trust(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """How far the reading of each layer is from the model's answer, and from nonsense.

    Args:
        frame: one row per layer: `layer`, `kl_nats`, `ci_low`, `ci_high`; `shuffled_kl`,
            `shuffled_low`, `shuffled_high`; `never_looks_kl`.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.4, 4.3)
        layers = frame["layer"]
        ax.fill_between(
            layers, frame["ci_low"], frame["ci_high"], color=OKABE_ITO[0], alpha=0.25, lw=0
        )
        ax.plot(
            layers,
            frame["kl_nats"],
            color=OKABE_ITO[0],
            marker="o",
            label="read by the unembedding",
        )
        ax.fill_between(
            layers, frame["shuffled_low"], frame["shuffled_high"], color=MUTED, alpha=0.25, lw=0
        )
        ax.plot(
            layers, frame["shuffled_kl"], color=MUTED, marker="x", ls="--",
            label="its tokens shuffled",
        )  # fmt: skip
        ax.axhline(
            frame["never_looks_kl"].iloc[0],
            color=OKABE_ITO[2],
            ls="-.",
            label="a guess that never looks at the vector",
        )
        ax.set_ylim(bottom=0)
        ax.set_xticks(list(layers)[:: -(-len(layers) // 13)])
        ax.set_xlabel("layer whose vector is read")
        ax.set_ylabel("KL(model ‖ reading), nats")
        made.legend(loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made
