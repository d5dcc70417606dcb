"""How much growing circuits keep, and whether other prompts would have given the same circuit.

The curve takes components in the order of a ranking and keeps more and more of them: CPR and CMD
after Mueller et al. 2025 (MIB, arXiv:2504.13151). Stability compares the circuits that are found on
bootstrap resamples, after Méloux et al. 2025 (arXiv:2510.00845).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.stats
from jaxtyping import Bool, Float

from interp.core import InputError
from interp.measures.ablating import Component, SetAblation, component_name
from interp.measures.circuit_tests import INTERVAL, N_RANDOM, about, checked
from interp.measures.effects import MIN_DIFFERENCE
from interp.measures.resampling import resample_weights
from interp.measures.statistics import N_RESAMPLES

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # sizes of the curve, after MIB; with none and all


def circuit_curve(
    run: SetAblation,
    ranking: Sequence[Component],
    *,
    shares: Sequence[float] = SHARES,
    n_random: int = N_RANDOM,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What circuits of growing size keep, if components join in the order of a ranking.

    Args:
        run: the ablation, with one metric.
        ranking: all components, the most important first.
        shares: sizes as shares of all components (at least one); none and all are added.
        n_random: random rankings.
        n_resamples: bootstrap resamples of the units.
        seed: of both.

    Returns:
        The curve, one row per size: `size`, `share`, `value` (F), `faithfulness` with `ci_low`,
        `ci_high`, and of random rankings `null_low`, `null_mean`, `null_high` (95 % of them).

        Its scores, one row each: `score`, `value`, `ci_low`, `ci_high`, `null_low`, `null_mean`,
        `null_high`, `p` (a random ranking does as well, add-one), `n` (units). CPR is the area
        under the faithfulness against the share (larger is better, above 1 possible), CMD the area
        between it and 1 (0 is best, however the behaviour is exceeded or missed). Both by the
        trapezoidal rule from no component to all, CMD on the corners of the broken line.

    Raises:
        InputError: more than one metric, a ranking that is no ordering of all components, a share
            outside 0 to 1, or a metric that hardly differs between the model and nothing.

    Cost: `(n_random + 1) * len(shares)` runs.
    """
    checked(run, ranking)
    total = len(run.components)
    if len(ranking) != total or set(ranking) != set(run.components):
        raise InputError(
            f"a ranking orders all {total} components, each once; {len(ranking)} came, "
            f"{len(set(ranking))} of them different"
        )
    if any(not 0 <= share <= 1 for share in shares):
        raise InputError(f"shares of the components lie between 0 and 1, not {list(shares)}")
    sizes = sorted({0, total, *(max(1, round(share * total)) for share in shares)})
    rng = np.random.default_rng(seed)
    orders = [list(ranking)]
    orders += [[run.components[i] for i in rng.permutation(total)] for _ in range(n_random)]
    kept = run.kept([order[:size] for order in orders for size in sizes])[0]
    kept = kept.reshape(len(orders), len(sizes), -1)
    whole, empty = run.intact[0], kept[0, 0]
    if abs((whole - empty).mean()) < MIN_DIFFERENCE:
        raise InputError(
            f"with nothing kept, {run.metrics[0].name} is {empty.mean():.3g}, with everything "
            f"{whole.mean():.3g}: there is no behaviour that a circuit could keep"
        )
    weights = resample_weights(run.units, n_resamples, seed)
    share = np.array(sizes) / total
    shown = (kept - empty).mean(-1) / (whole - empty).mean()
    drawn = ((kept[0] - empty) @ weights.T / (weights @ (whole - empty))).T
    low, high = np.quantile(drawn, INTERVAL, axis=0)
    null = shown[1:] if n_random else np.full((1, len(sizes)), np.nan)
    null_low, null_high = np.quantile(null, INTERVAL, axis=0)
    columns = about(run)
    values, n_units = kept[0].mean(-1), len(np.unique(run.units))
    curve = pd.DataFrame(
        {**columns, "size": sizes, "share": share, "value": values, "faithfulness": shown[0],
         "ci_low": low, "ci_high": high, "null_low": null_low, "null_mean": null.mean(0),
         "null_high": null_high, "n": n_units}
    )  # fmt: skip
    rows = []
    for name, sign in (("CPR", 1.0), ("CMD", -1.0)):
        of_ranking, of_null, of_drawn = (_area(name, share, y) for y in (shown[:1], null, drawn))
        low, high = np.quantile(of_drawn, INTERVAL)
        null_low, null_high = np.quantile(of_null, INTERVAL)
        p = (1 + (sign * of_null >= sign * of_ranking[0]).sum()) / (1 + n_random)
        rows.append({**columns, "score": name, "value": of_ranking[0], "ci_low": low,
                     "ci_high": high, "null_low": null_low, "null_mean": of_null.mean(),
                     "null_high": null_high, "p": p if n_random else np.nan,
                     "n": n_units})  # fmt: skip
    return curve, pd.DataFrame(rows)


def _area(
    score: str, share: Float[np.ndarray, " size"], faithfulness: Float[np.ndarray, "curve size"]
) -> Float[np.ndarray, " curve"]:
    heights = faithfulness if score == "CPR" else np.abs(1 - faithfulness)
    return np.trapezoid(heights, share, axis=1)


def circuit_stability(
    scores: Float[np.ndarray, "component prompt"],
    components: Sequence[Component],
    size: int,
    units: np.ndarray | None = None,
    *,
    n_resamples: int = 99,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Whether the same circuit is found on resampled prompts.

    On each bootstrap resample of the units, the circuit is the `size` components with the largest
    absolute mean score.

    Args:
        scores: of each component on each prompt, such as the effect of its ablation.
        components: of the rows.
        size: of the circuits.
        units: what was drawn independently; each prompt by default.
        n_resamples: resamples; all pairs of their circuits are compared.
        seed: of the resamples.

    Returns:
        One row: `size`, `jaccard` (mean over pairs: shared members over all members of the two),
        `low`, `high` (95 % of pairs), `null_mean` (expected of two random sets of that size, from
        the hypergeometric distribution), `null_95`, `n` (units).

        One row per component: `component`, `layer`, `head`, `score` (mean over all prompts),
        `chosen` (in the circuit of all prompts), `share` (of resamples that chose it).

    Raises:
        InputError: numbers that do not fit together, or a size that leaves nothing out.
    """
    n_components, n_prompts = scores.shape
    if len(components) != n_components or (units is not None and len(units) != n_prompts):
        raise InputError(
            f"scores have {n_components} rows and {n_prompts} columns, but {len(components)} "
            f"components and {n_prompts if units is None else len(units)} units came"
        )
    if not 0 < size < n_components:
        raise InputError(f"a circuit of {size} of {n_components} components leaves no choice")
    units = np.arange(n_prompts) if units is None else np.asarray(units)
    weights = resample_weights(units, n_resamples, seed)
    found = _largest(np.abs(weights @ scores.T), size)
    shared = (found.astype(int) @ found.T.astype(int))[np.triu_indices(n_resamples, 1)]
    jaccard = shared / (2 * size - shared)
    overlap = scipy.stats.hypergeom(n_components, size, size)
    possible = np.arange(size + 1)
    of_possible = possible / (2 * size - possible)
    row = {"size": size, "jaccard": jaccard.mean()}
    row["low"], row["high"] = np.quantile(jaccard, INTERVAL)
    row["null_mean"] = (overlap.pmf(possible) * of_possible).sum()
    row["null_95"] = of_possible[int(overlap.ppf(0.95))]
    row["n"] = len(np.unique(units))
    members = pd.DataFrame(
        {
            "component": [component_name(c) for c in components],
            "layer": [layer for layer, _ in components],
            "head": [head for _, head in components],
            "score": scores.mean(1),
            "chosen": _largest(np.abs(scores.mean(1))[None], size)[0],
            "share": found.mean(0),
        }
    )
    return pd.DataFrame([row]), members


def _largest(
    scores: Float[np.ndarray, "draw component"], size: int
) -> Bool[np.ndarray, "draw component"]:
    found = np.zeros(scores.shape, bool)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :size]
    np.put_along_axis(found, order, True, axis=1)
    return found
