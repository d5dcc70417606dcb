"""What a paired difference is worth: interval, permutation p-value, correction for many heads.

The unit of replication is the prompt (a row here), never the token: positions of one prompt are
correlated. All heads are tested on the same sign flips and resamples, so their correlation stays.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.stats
from jaxtyping import Float, Int

from interp.core.errors import InputError

MIN_UNITS = 6  # with fewer, no sign-flip p-value can fall below 0.05 after correction
N_PERMUTATIONS = 5000
N_RESAMPLES = 1999
LEVEL = 0.95
_CHUNK = 512  # sign patterns or resamples held at a time


def sign_flip_p(
    differences: Float[np.ndarray, "unit column"],
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
) -> Float[np.ndarray, " column"]:
    """One-sided p-values of "the mean difference is at most 0", by flipping signs.

    If score and control were exchangeable within a prompt, every difference could as well have had
    the other sign. The p-value is the share of sign patterns whose mean reaches the observed one.
    With few units all patterns are tried; else a random sample of them is, and the observed one
    counts as one of the sample: (b + 1) / (B + 1), which is never 0.

    Args:
        differences: score minus control, one row per unit.
        n_permutations: random sign patterns, at most; 10 / alpha or more.
        seed: of the sign patterns.

    Cost: `n_permutations * unit * column` multiplications, as one matrix product per chunk.

    Source: the paired case of `scipy.stats.permutation_test` (`permutation_type="samples"`,
    `alternative="greater"`), which needs a hundred times as long for all heads of a model.
    """
    n_units = len(differences)
    observed = differences.sum(axis=0)
    # Sums that differ only by rounding are ties, and ties count against the finding.
    bar = observed - 1e-12 * np.abs(differences).sum(axis=0)
    exact = 2**n_units <= n_permutations
    n_drawn = 2**n_units if exact else n_permutations
    rng = np.random.default_rng(seed)
    reached = np.zeros(differences.shape[1])
    for start in range(0, n_drawn, _CHUNK):
        stop = min(start + _CHUNK, n_drawn)
        if exact:
            flips = (np.arange(start, stop)[:, None] >> np.arange(n_units)) & 1
        else:
            flips = rng.integers(0, 2, (stop - start, n_units))
        reached += ((1.0 - 2.0 * flips) @ differences >= bar).sum(axis=0)
    return reached / n_drawn if exact else (reached + 1) / (n_drawn + 1)


def max_t_p(
    blocks: Sequence[Float[np.ndarray, "_unit _column"]],
    groups: Sequence[tuple[int, Int[np.ndarray, " _unit"]]] | None = None,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
) -> list[Float[np.ndarray, " _column"]]:
    """Sign-flip p-values corrected for all columns of all blocks at once: single-step max-T.

    The statistic of a column is `sum(d) / sqrt(sum(d**2))`, a rank-equivalent of Student's t that
    exists when all differences are equal. A column's p-value is the share of sign patterns in
    which the largest statistic of *any* column reaches the column's own, so a single false
    rejection in the whole family has probability alpha at most, however the columns depend.

    Args:
        blocks: differences, one block for each role and kind of prompts.
        groups: for each block the kind of prompts, as a number, and its units: the same unit of
            the same kind has the same sign in all blocks. By default blocks share their rows.
        n_permutations: random sign patterns.
        seed: of the sign patterns.

    Cost: as `sign_flip_p`.

    Source: Westfall & Young 1993, single step.
    """
    if groups is None:
        groups = [(0, np.arange(len(block))) for block in blocks]
    n_units: dict[int, int] = {}
    for kind, units in groups:
        n_units[kind] = max(n_units.get(kind, 0), int(units.max(initial=-1)) + 1)
    sizes = [np.sqrt((block**2).sum(axis=0)) for block in blocks]
    scaled = [
        np.divide(block, size, out=np.zeros_like(block), where=size > 0)
        for block, size in zip(blocks, sizes, strict=True)
    ]
    rng = np.random.default_rng(seed)
    largest = np.empty(n_permutations)
    for start in range(0, n_permutations, _CHUNK):
        rows = slice(start, min(start + _CHUNK, n_permutations))
        n_rows = rows.stop - rows.start
        # Sorted, so that the draw does not depend on the order of the blocks.
        signs = {
            kind: 1.0 - 2.0 * rng.integers(0, 2, (n_rows, n)) for kind, n in sorted(n_units.items())
        }
        tops = [
            (signs[kind][:, units] @ block).max(axis=1)
            for block, (kind, units) in zip(scaled, groups, strict=True)
            if block.shape[1]
        ]
        largest[rows] = np.max(tops, axis=0) if tops else -np.inf
    largest.sort()
    adjusted = []
    for block in scaled:
        # Sums that differ only by rounding are ties, and ties count against the finding.
        reached = n_permutations - np.searchsorted(largest, block.sum(axis=0) - 1e-9)
        adjusted.append((reached + 1) / (n_permutations + 1))
    return adjusted


def bootstrap_interval(
    values: Float[np.ndarray, "unit column"], n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """95 % interval of each column's mean: BCa bootstrap over the units, never NaN.

    Where the bias correction does not exist (all units equal, or all resamples on one side of the
    mean), the interval is the percentile one, which is the value itself when all units are equal.

    Cost: `n_resamples * unit * column` gathered numbers, a chunk at a time.

    Source: Efron 1987 through `scipy.stats.bootstrap`.
    """
    low, high = values.mean(axis=0), values.mean(axis=0)
    varies = np.ptp(values, axis=0) > 0
    if not varies.any():
        return low, high
    with warnings.catch_warnings():
        # SciPy warns where BCa does not exist; the fallback below handles it.
        warnings.simplefilter("ignore")
        result = scipy.stats.bootstrap(
            (_summed_exactly(values[:, varies]),),
            np.mean,
            n_resamples=n_resamples,
            batch=_CHUNK // 4,
            axis=0,
            confidence_level=LEVEL,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    percentile = np.quantile(result.bootstrap_distribution, tails, axis=-1)
    interval = (result.confidence_interval.low, result.confidence_interval.high)
    for bound, from_bca, fallback in zip((low, high), interval, percentile, strict=True):
        bound[varies] = np.where(np.isfinite(from_bca), from_bca, fallback)
    return low, high


def _summed_exactly(values: Float[np.ndarray, "unit column"]) -> Float[np.ndarray, "unit column"]:
    """The values, rounded so that their sums do not depend on the order.

    A resample that holds each unit once ties with the observed mean. BCa counts such ties, which
    are many where units are few, and rounding in the sums must not decide on which side they fall.
    """
    largest = np.abs(values).max(axis=0).astype(float)
    if not np.isfinite(largest).all():
        return values
    step = np.exp2(np.floor(np.log2(largest, where=largest > 0, out=np.zeros_like(largest))) - 44)
    return np.round(values / step) * step


def false_discovery_q(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Benjamini-Hochberg q-values over the whole family that was searched."""
    return scipy.stats.false_discovery_control(p) if len(p) else p


def paired_contrast(
    score: Float[np.ndarray, "unit column"],
    control: Float[np.ndarray, "unit column"],
    n_permutations: int = N_PERMUTATIONS,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Score against its matched control, one row per column.

    Returns:
        `score`, `control`, `contrast` (means over units), `ci_low`, `ci_high` (95 %, of the
        contrast), `p` (one-sided, contrast above 0), `n` (units).

    Raises:
        InputError: fewer than 6 units: no interval and no p-value would mean anything.
    """
    if len(score) < MIN_UNITS:
        raise InputError(
            f"statistics need at least {MIN_UNITS} prompts (or templates), but {len(score)} came; "
            "raise the number of prompts or the limit"
        )
    difference = score - control
    low, high = bootstrap_interval(difference, n_resamples, seed)
    return pd.DataFrame(
        {
            "score": score.mean(axis=0),
            "control": control.mean(axis=0),
            "contrast": difference.mean(axis=0),
            "ci_low": low,
            "ci_high": high,
            "p": sign_flip_p(difference, n_permutations, seed),
            "n": len(score),
        }
    )
