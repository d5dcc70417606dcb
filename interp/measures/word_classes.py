"""Two ways to judge word vectors: do classes lie together, and can a task be read off them?

The first (intrinsic) asks the vectors themselves, the second (extrinsic) a linear probe that has to
sort words it was not trained on. A probe can learn anything about words it has seen, so its control
is a task without sense: words sorted into classes of the same sizes at random.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.core import InputError
from interp.measures.statistics import N_RESAMPLES, bootstrap_interval

RIDGE = 0.1  # share of the mean squared singular value; keeps the probe from fitting every word


def class_judgements(
    vectors: Float[np.ndarray, "word d_model"],
    classes: list[str],
    n_controls: int = 199,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Intrinsic and extrinsic scores of word vectors, each against random classes.

    Args:
        vectors: one per word; their mean is subtracted.
        classes: the class of each word; two words at least in each.
        n_controls: random sortings of the words into classes of the same sizes.
        n_resamples: bootstrap resamples, over words.
        seed: of both.

    Returns:
        Two rows: `measure` ("intrinsic": share of comparisons in which a word of the same class has
        the larger cosine than a word of another, chance 0.5; "extrinsic": share of left-out words
        that a linear probe sorts right), `value`, `ci_low`, `ci_high` (95 %, over words), `control`
        (mean over random classes), `control_high` (their 95 % quantile), `selectivity` (value −
        control), `p` (share of random classes that do as well, the true ones counted in),
        `n_words`, `n_classes`.

    Raises:
        InputError: a class of one word, or a single class.

    Cost: time and memory of `word**2 * (n_controls + d_model)`.

    Source: the control task of Hewitt & Liang 2019, arXiv:1909.03368, made for words that the probe
    has not seen; the probe is least squares with a ridge, its left-out predictions in closed form.
    """
    names, label, sizes = np.unique(np.array(classes), return_inverse=True, return_counts=True)
    if len(label) != len(vectors) or len(names) < 2 or sizes.min() < 2:
        raise InputError(
            f"{len(vectors)} vectors and {len(label)} labels in {len(names)} classes of "
            f"{sizes.min(initial=0)} words or more came; there must be 2 classes of 2 words at "
            "least, and one label per vector"
        )
    centred = vectors - vectors.mean(axis=0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    cosines, hat = unit @ unit.T, _hat(centred)
    rng = np.random.default_rng(seed)
    labels = [label, *(rng.permutation(label) for _ in range(n_controls))]
    rows = []
    for measure, score in (
        ("intrinsic", lambda of: _nearer(cosines, of)),
        ("extrinsic", lambda of: _sorted_right(hat, of, len(names))),
    ):
        by_word = score(labels[0])
        controls = np.array([score(of).mean() for of in labels[1:]])
        low, high = bootstrap_interval(by_word[:, None], n_resamples, seed)
        value = by_word.mean()
        rows.append(
            {
                "measure": measure,
                "value": value,
                "ci_low": low[0],
                "ci_high": high[0],
                "control": controls.mean(),
                "control_high": np.quantile(controls, 0.95),
                "selectivity": value - controls.mean(),
                "p": (1 + (controls >= value - 1e-12).sum()) / (1 + n_controls),
                "n_words": len(label),
                "n_classes": len(names),
            }
        )
    return pd.DataFrame(rows)


def _nearer(cosines: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Per word: share of (same class, other class) comparisons that the same class wins."""
    won = np.empty(len(label))
    for i, row in enumerate(cosines):
        same = label == label[i]
        same[i] = False
        others = np.sort(row[label != label[i]])
        below = np.searchsorted(others, row[same], side="left")
        not_above = np.searchsorted(others, row[same], side="right")
        won[i] = (below + not_above).sum() / (2 * same.sum() * len(others))
    return won


def _hat(centred: np.ndarray) -> np.ndarray:
    """What ridge regression with an intercept makes of any targets, on the words themselves."""
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    ridge = RIDGE * (s**2).mean()
    shrunk = np.divide(s**2, s**2 + ridge, out=np.zeros_like(s), where=s > 0)
    return (u * shrunk) @ u.T + 1 / len(centred)


def _sorted_right(hat: np.ndarray, label: np.ndarray, n_classes: int) -> np.ndarray:
    """Per word 1 if the probe that never saw it finds its class; ties count as wrong."""
    targets = np.eye(n_classes)[label]
    own = np.diag(hat)[:, None]
    # The prediction for a word left out, without fitting again (Allen 1974, PRESS).
    left_out = (hat @ targets - own * targets) / np.maximum(1 - own, 1e-12)
    right = left_out[np.arange(len(label)), label]
    left_out[np.arange(len(label)), label] = -np.inf
    return (right > left_out.max(axis=1) + 1e-12).astype(float)
