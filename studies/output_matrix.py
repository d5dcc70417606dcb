"""What does the output matrix do with what the heads found?

The lectures draw one output matrix behind all heads. Here it is taken apart into the heads' own
parts, which add up: how far they write to the same directions, whether their rows mean anything by
themselves, and how few directions, bits and numbers the model can do with.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interp import measures, plots
from interp.reporting import StudyResult, Table
from studies import StudyConfig, _prompts, provenance, questions

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT

NAME = "output_matrix"
MIN_LOSS = 0.05  # nats; declared beforehand: the loss that a simpler matrix may cost
LARGE = 20_000_000  # parameters; above, a quick look takes fewer windows
MOST_WORDS = 2048  # among which the words of a row are sought
MOST_PRINTED = 120  # rows of a table in the page
N_CHECKED = 4  # windows for the identities
SHARES = (0.125, 0.25, 0.5)
QUICK_SHARES = (0.25, 0.5)


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    n_windows: int = 24
    """Windows of text on which losses are measured; as many others fit the projections."""


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Takes the output matrix apart; claims 100 and 107 to 111.

    Args:
        model: any HookedGPT.
        config: the options.
        progress: called with what is being done, how much of it is done, and how much there is.
    """
    from studies import _circuit_checks, _output_figures, _output_findings

    config = _sized(model, config)
    windows, prompts = _circuit_checks.text_of(model, 2 * config.n_windows, config.seed)
    fit, test = windows[: config.n_windows], windows[config.n_windows :]
    tables = _identity_tables(model, test)
    tables |= _overlap_tables(model, config)
    tables |= _row_tables(model, config)
    tables |= _rank_tables(model, fit, test, config, progress)
    tables |= _storage_tables(model, test, config, progress)
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=_output_figures.headline(tables),
        tables=tables,
        figures=_output_figures.draw(tables, model.config.n_heads),
        findings=_output_findings.conclude(tables),
        provenance=provenance(
            NAME,
            model,
            config,
            prompts=prompts.description,
            prompts_sha256=_prompts.fingerprint(prompts),
            norm="centring and weight folded into reading weights; scales left out",
            smallest_effect_of_interest=f"{MIN_LOSS} nats; gap {measures.MIN_GAP} of the largest "
            "singular value",
        ),
    )


def _sized(model: "HookedGPT", config: Config) -> Config:
    few = 4 if model.n_params > LARGE else 6
    n = min(config.n_windows, few) if config.quick else config.n_windows
    return replace(config, n_windows=max(2, n if config.limit is None else min(n, config.limit)))


# ----------------------------------------------------------------------------- identities (100)


def _identity_tables(model: "HookedGPT", test: np.ndarray) -> dict[str, Table]:
    from studies._circuit_checks import TOLERANCE, mask_fill_checks, output_checks, overview

    checks, fills = output_checks(model, test[:N_CHECKED]), mask_fill_checks()
    config = model.config
    half = fills.set_index("dtype").loc["float16"]
    row = {
        "sum": checks["deviation"].iloc[1],
        "output": checks["deviation"].iloc[0],
        "tolerance": TOLERANCE,
        "n": N_CHECKED,
        "rows": config.n_heads * config.d_head,
        "columns": config.d_model,
        "n_heads": config.n_heads,
        "d_head": config.d_head,
        "fits": int(fills["fits"].sum()),
        "n_dtypes": len(fills),
        "half_lowest": half["lowest"],
        "half_says": half["notes"],
        "all_masked_weight": fills["all_masked_weight"].iloc[0],
    }
    return {
        "identities": Table(checks, "Largest difference over the largest value, in float64"),
        "mask_fill": Table(
            fills,
            "Filling masked scores with −1e9, as the notes' code does: weight that leaks to masked "
            "keys, and weight of each key where all three are masked",
        ),
        "identity": overview(row, "The output matrix of a layer, and the two ways to apply it"),
    }


# ------------------------------------------------------------------------------- overlap (109)


def _overlap_tables(model: "HookedGPT", config: Config) -> dict[str, Table]:
    import pandas as pd

    from studies._circuit_checks import overview

    random_init = _prompts.with_random_weights(model, config.seed)
    pairs, random = (measures.write_overlap(m) for m in (model, random_init))
    rows = []
    for name, frame in (("model", pairs), ("random weights", random)):
        same = frame["layer"] == frame["other_layer"]
        for where, chosen in (("same layer", same), ("different layers", ~same)):
            if chosen.any():
                rows.append((name, where, *_overlap_row(frame[chosen], config.seed)))
    columns = ["weights", "pairs", "overlap", "ci_low", "ci_high", "null", "times_chance", "n"]
    groups = pd.DataFrame(rows, columns=columns)
    ranks = [measures.stacked_output_rank(m.W_O) for m in (model, random_init)]
    stacked = ranks[0].assign(random_init=ranks[1]["effective_rank"])
    pairs = pairs.assign(times_chance=_ratio(pairs["overlap"], pairs["null"]))
    top = pairs.sort_values("z", ascending=False, kind="stable", ignore_index=True)
    first = top.iloc[0]
    row = {
        "top_pair": " and ".join(
            plots.head_label(int(first[a]), int(first[b]))
            for a, b in (("layer", "head"), ("other_layer", "other_head"))
        ),
        "top_overlap": first["overlap"],
        "top_null": first["null"],
        "top_z": first["z"],
        "beyond": int((pairs["z"].abs() > 4).sum()),
        "beyond_random": int((random["z"].abs() > 4).sum()),
        "n_pairs": len(pairs),
        "effective_rank": stacked["effective_rank"].mean(),
        "effective_rank_random": stacked["random_init"].mean(),
        "rank": int(stacked["rank"].min()),
    }
    shown = len(top) <= MOST_PRINTED
    return {
        "overlap": Table(
            groups,
            "Mean squared cosine between the subspaces that two heads write to, over pairs; null "
            "k/d; 95 % interval over pairs",
        ),
        "pairs": Table(top, "The same pair by pair, farthest from chance first", in_page=shown),
        "stacked": Table(
            stacked, "Rank of the whole output matrix, by layer; effective rank with random weights"
        ),
        "overlap_total": overview(row, "The pair farthest above chance; pairs 4 SD from it"),
    }


def _overlap_row(frame: "pd.DataFrame", seed: int) -> tuple:
    values = frame["overlap"].to_numpy()
    low, high = measures.bootstrap_interval(values[:, None], 499, seed)
    null = frame["null"].mean()
    ratio = float(_ratio(values.mean(), null))
    return values.mean(), low[0], high[0], null, ratio, len(values)


def _ratio(values: Any, null: Any) -> Any:
    return np.divide(values, np.maximum(null, 1e-12))


# ---------------------------------------------------------------------------------- rows (110)


def _row_tables(model: "HookedGPT", config: Config) -> dict[str, Table]:
    from studies._circuit_checks import overview, words_of

    words = words_of(model)
    if len(words) > MOST_WORDS:
        words = np.sort(np.random.default_rng(config.seed).permutation(words)[:MOST_WORDS])
    other = measures.with_gauge(model, config.seed, orthogonal=True)
    rows = measures.row_readout(model, other, words)
    weights = _few_layers(measures.head_weights(model))
    stability = measures.singular_stability(weights, seed=config.seed)
    apart = stability["gap"] >= measures.MIN_GAP
    low, high = measures.bootstrap_interval(rows[["same_row"]].to_numpy(), 499, config.seed)
    row = {
        "same_row": rows["same_row"].mean(),
        "ci_low": low[0],
        "ci_high": high[0],
        "same_direction": rows["same_direction"].mean(),
        "null": rows["null"].iloc[0],
        "n": len(rows),
        "n_words": len(words),
        "n_directions": len(stability),
        "n_apart": int(apart.sum()),
        "median_apart": stability.loc[apart, "degrees"].median() if apart.any() else np.nan,
        "median_close": stability.loc[~apart, "degrees"].median() if (~apart).any() else np.nan,
        "worst_apart": stability.loc[apart, "degrees"].max() if apart.any() else np.nan,
        "worst_close": stability.loc[~apart, "degrees"].max() if (~apart).any() else np.nan,
    }
    return {
        "rows": Table(
            rows,
            "Share of the ten words of a row of W_O (and of the head's largest direction) that "
            "stay when the head's basis is turned",
            in_page=len(rows) <= MOST_PRINTED,
        ),
        "stability": Table(
            stability,
            "Singular directions that heads write along: gap to the neighbours, and how far they "
            "turn under 1 % noise",
            in_page=False,
        ),
        "row": overview(row, "Rows against directions: means over heads, angles in degrees"),
    }


def _few_layers(weights: "measures.HeadWeights") -> "measures.HeadWeights":
    """All heads of small models; of large ones those of three layers, for time."""
    n_layers, n_heads, d_model, _ = weights.W_V.shape
    if n_layers * n_heads * d_model <= 10_000:
        return weights
    layers = sorted({0, n_layers // 2, n_layers - 1})
    return measures.HeadWeights(*(part[layers] for part in weights))


# ----------------------------------------------------------------------------- ranks, bits (111)


def _rank_tables(
    model: "HookedGPT", fit: np.ndarray, test: np.ndarray, config: Config, progress: Any
) -> dict[str, Table]:
    from studies._circuit_checks import overview

    shares = QUICK_SHARES if config.quick else SHARES
    losses = measures.low_rank_losses(
        model, fit, test, shares=shares, seed=config.seed, progress=progress
    )
    of_output = losses[losses["weight"] == "W_O"]
    row = {"full": model.config.n_heads * model.config.d_head, "n": len(test)}
    least = of_output["rank"].min()
    for name, (method, layout) in {
        "weights": ("weights", "stacked"),
        "activations": ("activations", "stacked"),
        "per_head": ("activations", "per head"),
        "random": ("random", "stacked"),
    }.items():
        rows = of_output[(of_output["method"] == method) & (of_output["layout"] == layout)]
        rows = rows.sort_values("rank")
        enough = rows.loc[rows["ci_high"] <= MIN_LOSS, "rank"]
        row[f"{name}_rank"] = int(enough.min()) if len(enough) else row["full"]
        at = rows[rows["rank"] == least].iloc[0]
        row |= {f"{name}_delta": at["delta"], f"{name}_low": at["ci_low"]}
        row |= {f"{name}_high": at["ci_high"]}
    row |= {"least": int(least), "share": least / row["full"], "loss": MIN_LOSS}
    return {
        "ranks": Table(
            losses,
            "Loss added (nats, mean over windows) when all layers keep so many directions of W_O "
            "or W_V; 95 % interval over windows",
        ),
        "rank_total": overview(
            row,
            f"W_O: fewest directions tried with at most {MIN_LOSS} nats added (upper end of the "
            "interval), and the loss added with the fewest",
        ),
    }


def _storage_tables(
    model: "HookedGPT", test: np.ndarray, config: Config, progress: Any
) -> dict[str, Table]:
    from studies._circuit_checks import overview

    bits, pruned = ((3, 4), (0.5,)) if config.quick else ((2, 3, 4), (0.5, 0.75))
    losses = measures.storage_losses(
        model, test, bits=bits, pruned=pruned, seed=config.seed, progress=progress
    )
    of_output = losses[losses["weight"] == "W_O"].set_index(["change", "amount"])["delta"]
    few, many = float(min(bits)), float(max(pruned))
    row = {
        "bits": int(few),
        "rounded": of_output["rounded", few],
        "noise": of_output["noise of the same length", few],
        "share": many,
        "smallest": of_output["smallest to 0", many],
        "any": of_output["random to 0", many],
        "n": len(test),
    }
    return {
        "storage": Table(
            losses,
            "Loss added (nats) when numbers of W_O or W_V are rounded row by row, or set to 0; "
            "these depend on the basis in which a head is stored",
        ),
        "storage_total": overview(row, "W_O: the fewest bits and the most zeros that were tried"),
    }
