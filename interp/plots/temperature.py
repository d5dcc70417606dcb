"""Figures of the temperature softmax: sharpness, failures, calibration, adaptive rules."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from interp.plots.labels import visible_token
from interp.plots.style import INK, MUTED, OKABE_ITO, axes_of, figure, figure_style, plain_text

BLUE, RED, GREEN = OKABE_ITO[:3]


def probabilities_by_temperature(frame: pd.DataFrame) -> Figure:
    """The likeliest tokens of one distribution, a panel of bars for each temperature.

    Args:
        frame: `temperature`, `rank`, `piece`, `probability`; the same tokens at each temperature.
    """
    groups = list(frame.groupby("temperature"))
    with figure_style("whitegrid"):
        made = figure(9.4, 1.4 + 0.26 * frame["rank"].max())
        grid = made.subplots(1, len(groups), sharey=True, squeeze=False)[0]
        for ax, (temperature, group) in zip(grid, groups, strict=True):
            ax.barh(group["rank"], group["probability"], color=BLUE, height=0.72)
            for row in group.itertuples():
                text = f"{row.probability:.2f}" if row.probability >= 0.005 else "<.01"
                inside = row.probability > 0.6
                ax.text(
                    row.probability - 0.03 if inside else row.probability + 0.03, row.rank, text,
                    va="center", ha="right" if inside else "left", fontsize=8,
                    color="white" if inside else INK,
                )  # fmt: skip
            ax.set(title=f"T = {temperature:g}", xlim=(0, 1.02))
            ax.xaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
            ax.grid(axis="y", visible=False)
        first = groups[0][1]
        grid[0].set_yticks(first["rank"], [visible_token(p, 16) for p in first["piece"]])
        grid[0].invert_yaxis()
        made.supxlabel("probability of the next token", fontsize=10)
        plain_text(made)
    return made


def entropy_curve(frame: pd.DataFrame, ceiling: float, ax: Axes | None = None) -> Figure:
    """Entropy against temperature, with its limits.

    Args:
        frame: `temperature`, `entropy_nats`, `ci_low`, `ci_high`, `random_entropy` (nats).
        ceiling: entropy of a uniform distribution.
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.4, 4.4)
        ax.axhline(ceiling, color=INK, lw=1.2, ls=":", label="all tokens alike (T → ∞)")
        ax.plot(
            frame["temperature"], frame["random_entropy"], "s--", color=MUTED, ms=5, mfc="white",
            label="random weights",
        )  # fmt: skip
        ax.fill_between(
            frame["temperature"], frame["ci_low"], frame["ci_high"], color=BLUE, alpha=0.25,
            label="95 % interval over prompts",
        )  # fmt: skip
        ax.plot(frame["temperature"], frame["entropy_nats"], "o-", color=BLUE, label="the model")
        ax.axvline(1, color=MUTED, lw=1)
        _log_temperatures(ax, frame["temperature"])
        ax.set(xlabel="temperature (logarithmic)", ylabel="entropy of the next token (nats)")
        ax.set_ylim(-0.15, ceiling * 1.06)
        made.legend(loc="outside lower center", ncols=2, frameon=False)
        plain_text(made)
    return made


def softmax_breaks(frame: pd.DataFrame) -> Figure:
    """Share of distributions for which the notes' softmax gives no number.

    Args:
        frame: `level`, `precision`, `temperature`, `nan_share`, `stable_nan_share`.
    """
    levels = list(dict.fromkeys(frame["level"]))
    looks = {"float32": (RED, "o", "-"), "float64": (BLUE, "s", "--")}
    with figure_style("whitegrid"):
        made = figure(9.4, 3.9)
        grid = made.subplots(1, len(levels), sharey=True, squeeze=False)[0]
        for ax, level in zip(grid, levels, strict=True):
            of_level = frame[frame["level"] == level]
            for precision, group in of_level.groupby("precision"):
                colour, marker, line = looks[precision]
                ax.plot(
                    group["temperature"], group["nan_share"], line, marker=marker, color=colour,
                    ms=6, label=f"the notes' formula, {precision}",
                )  # fmt: skip
            stable = of_level.groupby("temperature")["stable_nan_share"].max()
            ax.plot(
                stable.index, stable, "-", marker="x", color=GREEN, ms=5, label="stable softmax",
            )  # fmt: skip
            _log_temperatures(ax, of_level["temperature"], 4)
            ax.set(title=level, xlabel="temperature", ylim=(-0.05, 1.05))
        grid[0].set_ylabel("share of distributions\nthat become NaN")
        handles, labels = grid[0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def calibration_panels(reliability: pd.DataFrame, nll: pd.DataFrame, best: float) -> Figure:
    """The reliability diagram, and the loss at each temperature.

    Args:
        reliability: `confidence`, `came_true`, `ci_low`, `ci_high`, `null_low`, `null_high`.
        nll: `temperature`, `nll_nats`, `ci_low`, `ci_high`, and where the truth is known
            `expected_nll_nats` and `entropy_floor_nats`.
        best: temperature of the least loss.
    """
    with figure_style("whitegrid"):
        made = figure(9.4, 4.7)
        left, right = made.subplots(1, 2)
        _reliability(left, reliability)
        right.fill_between(
            nll["temperature"], nll["ci_low"], nll["ci_high"], color=BLUE, alpha=0.2, lw=0
        )
        right.plot(nll["temperature"], nll["nll_nats"], "o-", color=BLUE, ms=4, label="on the text")
        if "expected_nll_nats" in nll:
            right.plot(
                nll["temperature"], nll["expected_nll_nats"], "--", color=RED, lw=1.6,
                label="expected, exact",
            )  # fmt: skip
            right.axhline(
                nll["entropy_floor_nats"].iloc[0], color=INK, ls=":", lw=1.4,
                label="least possible (entropy)",
            )  # fmt: skip
        right.axvline(best, color=GREEN, lw=1.6, ls="-.", label=f"least loss, T = {best:.2f}")
        _log_temperatures(right, nll["temperature"])
        low = min(nll["nll_nats"].min(), nll.get("entropy_floor_nats", nll["nll_nats"]).min())
        high = np.interp(0.45, nll["temperature"], nll["nll_nats"])
        right.set_ylim(low - 0.05 * (high - low) - 0.02, max(high, low + 0.1))
        right.set(xlabel="temperature (logarithmic)", ylabel="loss (nats per token)")
        right.set_title("Loss")
        right.legend(frameon=True, fontsize=8.5, loc="upper center")
        plain_text(made)
    return made


def _reliability(ax: Axes, frame: pd.DataFrame) -> None:
    ax.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--", label="every confidence right")
    ax.vlines(
        frame["confidence"], frame["null_low"], frame["null_high"], color=MUTED, alpha=0.45, lw=7,
        label="95 % by chance, if right",
    )  # fmt: skip
    spread = [frame["came_true"] - frame["ci_low"], frame["ci_high"] - frame["came_true"]]
    ax.errorbar(
        frame["confidence"], frame["came_true"], yerr=[side.clip(lower=0) for side in spread],
        fmt="o", color=BLUE, ms=5, capsize=2, label="the model, 95 % interval",
    )  # fmt: skip
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title="Confidence")
    ax.set(xlabel="probability of the predicted token", ylabel="share that came true")
    ax.legend(frameon=True, fontsize=8.5, loc="upper left")


def adaptive_gains(frame: pd.DataFrame, label: str) -> Figure:
    """What a rule gains over a fixed temperature of the same mean entropy, a panel per rule.

    Args:
        frame: `theta`, `rule` ("adaptive", "shuffled"), `gain`, `ci_low`, `ci_high`,
            `entropy_nats`.
        label: what is gained.
    """
    titles = {
        "adaptive": ("temperature follows the entropy", BLUE, "o"),
        "shuffled": ("the same temperatures, shuffled", RED, "s"),
    }
    thetas = sorted(frame["theta"].unique())
    entropies = frame.groupby("theta")["entropy_nats"].first()
    with figure_style("whitegrid"):
        made = figure(9.4, 2.1 + 0.5 * len(thetas))
        grid = made.subplots(1, 2, sharey=True)
        for ax, (rule, (title, colour, marker)) in zip(grid, titles.items(), strict=True):
            rows = frame[frame["rule"] == rule]
            places = [thetas.index(theta) for theta in rows["theta"]]
            ax.hlines(
                places, rows["ci_low"], rows["ci_high"], color=colour, lw=7, alpha=0.3,
                label="95 % interval",
            )  # fmt: skip
            ax.plot(rows["gain"], places, marker, color=colour, ms=7, label="gain")
            ax.axvline(0, color=INK, lw=1.2, ls="--", label="no better than a fixed temperature")
            ax.set_title(title)
            ax.xaxis.set_major_locator(MaxNLocator(5))
            ax.grid(axis="y", visible=False)
        names = [f"θ = {theta:g}\n({entropies[theta]:.2f} nats open)" for theta in thetas]
        grid[0].set_yticks(range(len(thetas)), names)
        grid[0].set_ylim(len(thetas) - 0.5, -0.5)
        for ax in grid:
            ax.set_xlabel(f"gain: {label}", fontsize=9)
        handles, labels = grid[0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def _log_temperatures(ax: Axes, temperatures: pd.Series, most: int = 9) -> None:
    ax.set_xscale("log")
    values = np.array(sorted(set(temperatures)))
    nice = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 100) if t in values]
    nice = nice if len(nice) > 1 else list(values)
    shown = nice if len(nice) <= most else nice[:: -(-len(nice) // most)]
    ax.xaxis.set_major_locator(FixedLocator(shown))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(shown, [f"{t:g}" for t in shown])
