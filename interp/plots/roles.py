"""Figures of all roles at once: the atlas, the plane of role and effect, pruning, seeds."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from interp.plots.head_roles import name_points
from interp.plots.labels import head_label, role_label
from interp.plots.style import (
    INK,
    MUTED,
    OKABE_ITO,
    WEIGHTS,
    axes_of,
    figure_style,
    plain_text,
)

_MOST_NAMED = 32  # heads along an axis; above, layers only
_STRONGEST = 5.0  # times the smallest effect; the colour scale ends there
_LOOK = {
    "role": (OKABE_ITO[0], "o"),
    "redundant or backup": (OKABE_ITO[5], "s"),
    "hidden": (OKABE_ITO[1], "^"),
    "irrelevant": (MUTED, "D"),
}


def role_atlas(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """All heads across, all roles down; a dot where the head holds the role.

    Args:
        frame: one row per role and head: `role`, `layer`, `head`, `strength` (contrast in units of
            the smallest effect of interest), `label`.
        ax: where to draw; a new figure by default.
    """
    roles = list(dict.fromkeys(frame["role"]))
    n_heads = int(frame["head"].max()) + 1
    column = frame["layer"] * n_heads + frame["head"]
    table = frame.assign(column=column).pivot(index="role", columns="column", values="strength")
    table = table.reindex(roles)
    few = table.shape[1] <= _MOST_NAMED
    with figure_style():
        made, ax = axes_of(ax, 9.4, 1.8 + 0.32 * len(roles))
        sns.heatmap(
            table,
            ax=ax,
            vmin=0,
            vmax=_STRONGEST,
            cmap=WEIGHTS,
            linewidths=0.5 if few else 0,
            linecolor="white",
            rasterized=not few,
            cbar_kws={"label": "contrast / smallest effect", "extend": "both"},
            xticklabels=[head_label(*divmod(c, n_heads)) for c in table.columns] if few else False,
            yticklabels=[role_label(role) for role in roles],
        )
        held = frame[frame["label"]]
        across = [list(table.columns).index(la * n_heads + h) + 0.5 for la, h in
                  zip(held["layer"], held["head"], strict=True)]  # fmt: skip
        down = [roles.index(role) + 0.5 for role in held["role"]]
        ax.plot(across, down, "o", color="white", mec=OKABE_ITO[1], mew=2, ms=8 if few else 5)
        if not few:
            starts = np.arange(0, table.shape[1], n_heads)
            ax.set_xticks(
                starts + n_heads / 2, [f"L{layer}" for layer in range(len(starts))], rotation=0
            )
        for edge in range(n_heads, table.shape[1], n_heads):
            ax.axvline(edge, color="white", lw=2.5)
        ax.tick_params(length=0)
        ax.set(xlabel="", ylabel="")
        key = Line2D([], [], marker="o", ls="", color="white", mec=OKABE_ITO[1], mew=2, ms=8)
        made.legend([key], ["the head holds the role"], loc="outside lower center", frameon=False)
        plain_text(made)
    return made


def role_and_effect(heads: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Role strength across, effect of ablation up: the four quadrants.

    Args:
        heads: one row per head: `layer`, `head`, `strength`, `effect` (both in units of the
            smallest effect of interest), `quadrant`, `certain` (False: a hollow point, beyond a
            line without having passed its tests).
        ax: where to draw; a new figure by default.
    """
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 8.4, 5.8)
        keys = {}
        for name, (colour, marker) in _LOOK.items():
            rows = heads[heads["quadrant"] == name]
            for sure, face in ((True, colour), (False, "white")):
                of = rows[rows["certain"] == sure]
                ax.plot(of["strength"], of["effect"], marker, color=colour, mfc=face, mew=1.6,
                        ms=8, ls="", zorder=3)  # fmt: skip
            keys[f"{name} ({len(rows)})"] = Line2D([], [], marker=marker, ls="", color=colour, ms=8)
        if not heads["certain"].all():
            unsure = Line2D([], [], marker="^", ls="", mfc="white", mec=INK, mew=1.6, ms=8)
            keys[f"beyond a line, but not certain ({int((~heads['certain']).sum())})"] = unsure
        ax.set_xscale("symlog", linthresh=1)
        ax.set_yscale("symlog", linthresh=1)
        plain = "{:g}".format
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(lambda value, place: plain(value).replace("-", "−"))
        right = max(10.0, 1.6 * float(heads["strength"].max()))
        top = max(10.0, 2.5 * float(heads["effect"].max()))
        left = min(-0.3, 1.2 * float(heads["strength"].min()))
        low = min(-0.6, 1.2 * float(heads["effect"].min()))
        ax.set(xlim=(left, right), ylim=(low, top))
        ax.axvline(1, color=INK, lw=1.2)
        ax.axhline(1, color=INK, lw=1.2)
        for text, x, y, ha, va in (
            ("role", 0.99, 0.98, "right", "top"),
            ("hidden", 0.01, 0.98, "left", "top"),
            ("redundant or backup", 0.99, 0.02, "right", "bottom"),
            ("irrelevant", 0.01, 0.02, "left", "bottom"),
        ):
            ax.text(x, y, text, transform=ax.transAxes, ha=ha, va=va, color=MUTED, fontsize=11)
        name_points(ax, heads, "strength", "effect", 1.0)
        ax.set_xlabel("strongest role: contrast / smallest effect")
        ax.set_ylabel("ablation: effect / smallest effect")
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def pruning_dots(frame: pd.DataFrame, least: float, ax: Axes | None = None) -> Figure:
    """Loss gained by pruning a set of heads, three ablations, beside random sets of equal size.

    Args:
        frame: `ablation`, `set` ("chosen" or "random"), `gain_nats`, `ci_low`, `ci_high` (for the
            chosen set).
        least: smallest effect of interest, a line.
        ax: where to draw; a new figure by default.
    """
    kinds = list(dict.fromkeys(frame["ablation"]))
    with figure_style("whitegrid"):
        made, ax = axes_of(ax, 9.0, 1.5 + 0.5 * len(kinds))
        for place, kind in enumerate(kinds):
            rows = frame[frame["ablation"] == kind]
            others, chosen = rows[rows["set"] == "random"], rows[rows["set"] == "chosen"]
            ax.plot(others["gain_nats"], [place] * len(others), "o", mfc="none", mec=MUTED, ms=7)
            ends = [chosen["ci_low"].iloc[0], chosen["ci_high"].iloc[0]]
            ax.plot(ends, [place] * 2, color=OKABE_ITO[0], lw=6, alpha=0.35)
            ax.plot(chosen["gain_nats"], [place], "D", color=OKABE_ITO[0], ms=8)
        ax.axvline(least, color=INK, lw=1.2, ls="--")
        ax.set_xscale("symlog", linthresh=0.1)
        ax.set_xlim(right=1.3 * max(ax.get_xlim()[1], float(frame["gain_nats"].max())))
        ax.xaxis.set_major_formatter(lambda value, place: f"{value:g}".replace("-", "−"))
        ax.set_yticks(range(len(kinds)), kinds)
        ax.set_ylim(len(kinds) - 0.4, -0.6)
        ax.set_xlabel("loss gained, nats per token")
        keys = {
            "heads chosen by their effect, 95 % interval": Line2D(
                [], [], marker="D", lw=6, color=OKABE_ITO[0], alpha=0.7
            ),
            "as many heads at random": Line2D([], [], marker="o", ls="", mfc="none", mec=MUTED),
            f"{least:g} nats": Line2D([], [], lw=1.2, ls="--", color=INK),
        }
        made.legend(keys.values(), keys.keys(), loc="outside lower center", ncols=3, frameon=False)
        plain_text(made)
    return made


def roles_by_seed(frame: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Roles down, training seeds across; each square has the number of heads and the best one.

    Args:
        frame: `role`, `model`, `n_labelled`, `best`, `strength`.
        ax: where to draw; a new figure by default.
    """
    roles, models = (list(dict.fromkeys(frame[name])) for name in ("role", "model"))
    table, text = (
        frame.assign(
            text=[f"{n}  ({best})" for n, best in zip(frame["n_labelled"], frame["best"],
                                                      strict=True)]
        ).pivot(index="role", columns="model", values=value).reindex(index=roles, columns=models)
        for value in ("strength", "text")
    )  # fmt: skip
    with figure_style():
        made, ax = axes_of(ax, 3.4 + 1.5 * len(models), 1.2 + 0.34 * len(roles))
        sns.heatmap(
            table,
            ax=ax,
            vmin=0,
            vmax=_STRONGEST,
            cmap=WEIGHTS,
            annot=text,
            fmt="",
            annot_kws={"size": 8.5},
            linewidths=0.5,
            linecolor="white",
            cbar_kws={"label": "best contrast / smallest effect", "extend": "both"},
            yticklabels=[role_label(role) for role in roles],
        )
        ax.tick_params(length=0, labelrotation=0)
        ax.set(xlabel="", ylabel="")
        plain_text(made)
    return made
