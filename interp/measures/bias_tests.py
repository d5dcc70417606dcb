"""Do word lists lean towards one side of a pair of concepts, such as jobs towards men or women?"""

from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.core.errors import InputError
from interp.measures.embeddings import unit_rows

MOST_PARTITIONS = 200_000  # above, partitions are drawn instead of counted
N_BOOT = 1000

Vectors = Float[np.ndarray, "word d_model"]


def associations(
    targets: Float[np.ndarray, "target d_model"],
    one: Float[np.ndarray, "_one d_model"],
    other: Float[np.ndarray, "_other d_model"],
) -> Float[np.ndarray, " target"]:
    """Mean cosine of each target with one list of attributes minus that with the other."""
    unit = unit_rows(targets)
    return (unit @ unit_rows(one).T).mean(axis=1) - (unit @ unit_rows(other).T).mean(axis=1)


def weat(
    targets_x: Vectors,
    targets_y: Float[np.ndarray, "_y d_model"],
    attributes_a: Float[np.ndarray, "_a d_model"],
    attributes_b: Float[np.ndarray, "_b d_model"],
    most_partitions: int = MOST_PARTITIONS,
    seed: int = 0,
) -> dict[str, float | int | bool]:
    """Word-Embedding Association Test: do X lean towards A, and Y towards B?

    Args:
        targets_x: vectors of the first target list (one row per word).
        targets_y: of the second.
        attributes_a: of the attributes that X is said to lean to.
        attributes_b: of the others.
        most_partitions: partitions of the targets counted; above, as many are drawn.
        seed: of drawn partitions and of the bootstrap.

    Returns:
        `effect_size` (d: difference of the mean associations over their standard deviation in both
        lists together; 2 at most for lists of equal size, up to n/(n−1)), `ci_low`, `ci_high`
        (95 %, bootstrap over the targets of each list), `p` (one-sided: share of all partitions of
        the targets into lists of these sizes that differ as much; add one if drawn),
        `null_low`, `null_high` (95 % band of d over the partitions), `n_partitions`, `exact`, `n`
        (targets).

    Raises:
        InputError: a list has fewer than 2 words.

    Source: Caliskan et al. 2017, arXiv:1608.07187.
    """
    lists = {"X": targets_x, "Y": targets_y, "A": attributes_a, "B": attributes_b}
    for name, words in lists.items():
        if len(words) < 2:
            raise InputError(f"list {name} of the association test has {len(words)} words; 2 is "
                             "the least")  # fmt: skip
    s = associations(np.concatenate([targets_x, targets_y]), attributes_a, attributes_b)
    n_x, n = len(targets_x), len(s)
    spread = s.std(ddof=1)
    difference = s[:n_x].mean() - s[n_x:].mean()
    effect = difference / spread if spread > 0 else 0.0
    exact = comb(n, n_x) <= most_partitions
    rng = np.random.default_rng(seed)
    sums = _partition_sums(s, n_x, exact, most_partitions, rng)
    null = sums / n_x - (s.sum() - sums) / (n - n_x)
    # Sums that differ only by rounding are ties, and ties count against the finding.
    reached = int((null >= difference - 1e-12 * (1 + abs(difference))).sum())
    low, high = _effect_interval(s[:n_x], s[n_x:], rng)
    scale = spread if spread > 0 else 1.0
    return {
        "effect_size": float(effect),
        "ci_low": min(low, float(effect)),
        "ci_high": max(high, float(effect)),
        "p": reached / len(null) if exact else (reached + 1) / (len(null) + 1),
        "null_low": float(np.quantile(null / scale, 0.025)),
        "null_high": float(np.quantile(null / scale, 0.975)),
        "n_partitions": len(null),
        "exact": exact,
        "n": n,
    }


def _partition_sums(
    s: np.ndarray, n_x: int, exact: bool, most: int, rng: np.random.Generator
) -> Float[np.ndarray, " partition"]:
    """Sum over the first list, for every partition or for drawn ones."""
    if exact:
        chosen = np.array(list(combinations(range(len(s)), n_x)))
        return s[chosen].sum(axis=1)
    n_drawn = min(most, 20_000)
    return np.array([rng.permutation(s)[:n_x].sum() for _ in range(n_drawn)])


def _effect_interval(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    xs, ys = (part[rng.integers(0, len(part), (N_BOOT, len(part)))] for part in (x, y))
    spread = np.concatenate([xs, ys], axis=1).std(axis=1, ddof=1)
    some = spread > 0
    if not some.any():
        return 0.0, 0.0
    effects = (xs.mean(axis=1) - ys.mean(axis=1))[some] / spread[some]
    return float(np.quantile(effects, 0.025)), float(np.quantile(effects, 0.975))


def ripa(
    words: Vectors, pairs: Float[np.ndarray, "pair 2 d_model"], n_boot: int = N_BOOT, seed: int = 0
) -> pd.DataFrame:
    """Relational inner product association: how far each word lies along a relation.

    Args:
        words: one row per word, not normalised.
        pairs: first and second words of the relation; a word with a positive value leans to the
            second ones.
        n_boot: bootstrap resamples of the pairs.
        seed: of the resamples.

    Returns:
        One row per word, in order: `ripa` (inner product with the relation vector, the first
        principal component of the differences, of length 1), `ci_low`, `ci_high` (95 %, over
        pairs).

    Raises:
        InputError: fewer than 2 pairs.

    Source: Ethayarajh et al. 2019, arXiv:1908.06361.
    """
    if len(pairs) < 2:
        raise InputError(f"a relation vector needs at least 2 pairs, but {len(pairs)} came")
    differences = pairs[:, 1] - pairs[:, 0]
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(pairs), (n_boot, len(pairs)))
    drawn = np.stack([words @ relation_vector(differences[row]) for row in rows])
    value = words @ relation_vector(differences)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return pd.DataFrame(
        {"ripa": value, "ci_low": np.minimum(low, value), "ci_high": np.maximum(high, value)}
    )


def relation_vector(
    differences: Float[np.ndarray, "pair d_model"],
) -> Float[np.ndarray, " d_model"]:
    """First principal axis of the differences through the origin, on the side of their mean."""
    _, axes = np.linalg.eigh(differences @ differences.T)
    first = differences.T @ axes[:, -1]
    first = unit_rows(first)
    return first if first @ differences.mean(axis=0) >= 0 else -first
