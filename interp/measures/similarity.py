"""Do vectors rank pairs of words as people (or a grammar) do, and do they tell word classes?"""

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from interp.core.errors import InputError
from interp.learning.evaluation import wilson_interval
from interp.measures.embeddings import centred, unit_rows

FEWEST = 5  # rated pairs
N_DRAWS = 999


def similarity_correlation(
    vectors: Float[np.ndarray, "word d_model"],
    first: Int[np.ndarray, " pair"],
    second: Int[np.ndarray, " pair"],
    ratings: Float[np.ndarray, " pair"],
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> dict[str, float | int]:
    """Spearman's rank correlation between cosines and ratings.

    Args:
        vectors: one row per word, in the geometry that is wanted.
        first: row of each pair's first word.
        second: row of its second word.
        ratings: how similar the words are said to be, on any scale.
        n_draws: bootstrap resamples, and permutations.
        seed: of both.

    Returns:
        `rho`, `ci_low`, `ci_high` (95 %, bootstrap over pairs), `p` (one-sided, ratings permuted),
        `null_high` (97.5 % of permuted ratings), `n` (pairs).

    Raises:
        InputError: fewer than 5 pairs, or all ratings are equal.
    """
    if len(ratings) < FEWEST:
        raise InputError(f"{len(ratings)} rated pairs came; a correlation needs at least {FEWEST}")
    if np.ptp(ratings) == 0:
        raise InputError(f"all {len(ratings)} ratings are {ratings[0]:g}; they rank nothing")
    one, other = (unit_rows(vectors[ids].astype(np.float64)) for ids in (first, second))
    cosines = (one * other).sum(axis=1)
    rng = np.random.default_rng(seed)
    rho = float(_spearman(cosines[None], ratings[None])[0])
    rows = rng.integers(0, len(ratings), (n_draws, len(ratings)))
    boot = _spearman(cosines[rows], ratings[rows])
    permuted = rng.permuted(np.tile(ratings, (n_draws, 1)), axis=1)
    null = _spearman(np.broadcast_to(cosines, permuted.shape), permuted)
    return {
        "rho": rho,
        "ci_low": min(rho, float(np.nanquantile(boot, 0.025))),
        "ci_high": max(rho, float(np.nanquantile(boot, 0.975))),
        "p": float((1 + (null >= rho - 1e-12).sum()) / (1 + n_draws)),
        "null_high": float(np.quantile(null, 0.975)),
        "n": len(ratings),
    }


def _spearman(
    a: Float[np.ndarray, "draw pair"], b: Float[np.ndarray, "draw pair"]
) -> Float[np.ndarray, " draw"]:
    """Correlation of ranks, row by row; NaN where a resample has one rank only."""
    ranks = [scipy.stats.rankdata(x, axis=1) for x in (a, b)]
    x, y = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), size, out=np.full(len(x), np.nan), where=size > 0)


def class_probe(
    vectors: Float[np.ndarray, "word d_model"],
    labels: Int[np.ndarray, " word"],
    n_folds: int = 5,
    n_controls: int = 50,
    seed: int = 0,
) -> dict[str, float | int]:
    """Can a word's class be told from its vector, for words that the probe has not seen?

    Each word goes to the class whose mean direction is nearest by cosine; means are taken over the
    other folds. The control task gives the same labels to words at random.

    Args:
        vectors: one row per word.
        labels: class numbers; classes with fewer than 2 words cannot be right.
        n_folds: parts of the words; each is predicted from the others.
        n_controls: shuffles of the labels.
        seed: of folds and shuffles.

    Returns:
        `accuracy`, `ci_low`, `ci_high` (Wilson, over words), `control` (mean accuracy of the
        control task), `control_low`, `control_high` (95 %), `largest_class` (share of the commonest
        class), `n` (words), `n_classes`.

    Raises:
        InputError: fewer words than folds, or one class only.

    Source: the control task after Hewitt & Liang 2019, arXiv:1909.03368.
    """
    n_classes = len(np.unique(labels))
    if len(labels) < n_folds or n_classes < 2:
        raise InputError(
            f"a probe needs at least {n_folds} words in 2 classes; {len(labels)} words in "
            f"{n_classes} came"
        )
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(len(labels)) % n_folds)
    unit = unit_rows(centred(vectors.astype(np.float64)))
    accuracy = _accuracy(unit, labels, fold)
    control = [_accuracy(unit, rng.permutation(labels), fold) for _ in range(n_controls)]
    low, high = wilson_interval(accuracy, len(labels))
    return {
        "accuracy": accuracy,
        "ci_low": low,
        "ci_high": high,
        "control": float(np.mean(control)),
        "control_low": float(np.quantile(control, 0.025)),
        "control_high": float(np.quantile(control, 0.975)),
        "largest_class": float(np.unique(labels, return_counts=True)[1].max() / len(labels)),
        "n": len(labels),
        "n_classes": n_classes,
    }


def _accuracy(unit: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> float:
    classes, labels = np.unique(labels, return_inverse=True)
    member = np.eye(len(classes))[labels]
    right = 0
    for one in np.unique(fold):
        seen = fold != one
        means = unit_rows(member[seen].T @ unit[seen])
        right += int(((unit[~seen] @ means.T).argmax(axis=1) == labels[~seen]).sum())
    return right / len(labels)
