import numpy as np
import pytest
import scipy.stats

from interp.core.errors import InputError
from interp.measures import class_probe, similarity_correlation

D = 23


def test_rho_is_that_of_scipy_and_the_interval_covers_it():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, D))
    first, second = rng.integers(0, 80, (2, 60))
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosines = (unit[first] * unit[second]).sum(axis=1)
    ratings = np.round(cosines * 3 + 0.4 * rng.standard_normal(60))  # with ties
    found = similarity_correlation(X, first, second, ratings)
    assert found["rho"] == pytest.approx(scipy.stats.spearmanr(cosines, ratings).statistic)
    reference = scipy.stats.bootstrap(
        (cosines, ratings), lambda a, b: scipy.stats.spearmanr(a, b).statistic, paired=True,
        vectorized=False, n_resamples=500, method="percentile", rng=rng,
    ).confidence_interval  # fmt: skip
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(tuple(reference), abs=0.05)
    assert found["p"] == 1 / 1000 and found["n"] == 60
    assert 0.1 < found["null_high"] < 0.4  # 1.96/√59 is 0.26


def test_unrelated_ratings_have_uniform_p():
    p = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X, (first, second) = rng.standard_normal((50, D)), rng.integers(0, 50, (2, 30))
        p.append(similarity_correlation(X, first, second, rng.standard_normal(30), 99, seed)["p"])
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001


def test_ratings_that_rank_nothing_are_refused():
    X, ids = np.eye(9), np.arange(6)
    with pytest.raises(InputError, match="4 rated pairs came; a correlation needs at least 5"):
        similarity_correlation(X, ids[:4], ids[1:5], np.arange(4.0))
    with pytest.raises(InputError, match="all 6 ratings are 2; they rank nothing"):
        similarity_correlation(X, ids, ids, np.full(6, 2.0))


def clustered(seed, n_classes=4, per_class=15, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_classes), per_class)
    return 4 * rng.standard_normal((n_classes, D))[labels] + noise * rng.standard_normal(
        (len(labels), D)
    ), labels


def test_the_probe_tells_classes_that_are_there():
    X, labels = clustered(1)
    found = class_probe(X, labels)
    assert found["accuracy"] == 1.0
    assert found["control"] == pytest.approx(1 / 4, abs=0.08)
    assert (found["n"], found["n_classes"], found["largest_class"]) == (60, 4, 0.25)
    assert found["ci_low"] > found["control_high"]


def test_the_probe_does_not_tell_classes_that_are_not():
    rng = np.random.default_rng(2)
    accuracy = [
        class_probe(rng.standard_normal((60, D)), np.arange(60) % 3, n_controls=2)["accuracy"]
        for _ in range(20)
    ]
    assert np.mean(accuracy) == pytest.approx(1 / 3, abs=0.06)


def test_each_word_is_predicted_from_others_only():
    """A class of two words is told only where both fall into different folds; one, never."""
    X, labels = clustered(3, 2, 10)
    labels = labels.copy()
    labels[0] = 7  # the only word of its class, and right would be memory
    found = class_probe(X, labels, n_folds=5)
    assert found["accuracy"] == pytest.approx(19 / 20)


def test_folds_of_a_probe_match_sklearn():
    from sklearn.neighbors import KNeighborsClassifier

    X, labels = clustered(4, 3, 20, noise=8.0)
    unit = X - X.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    fold = np.random.default_rng(0).permutation(np.arange(60) % 5)
    right = 0
    for one in range(5):
        means = np.stack([unit[(fold != one) & (labels == c)].mean(axis=0) for c in range(3)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        # For unit means, the nearest centre by distance is the nearest by cosine.
        centres = KNeighborsClassifier(1).fit(means, np.arange(3))
        right += (centres.predict(unit[fold == one]) == labels[fold == one]).sum()
    assert class_probe(X, labels)["accuracy"] == pytest.approx(right / 60)


def test_bad_probes():
    with pytest.raises(InputError, match="at least 5 words in 2 classes; 3 words in 2 came"):
        class_probe(np.eye(3), np.array([0, 1, 1]))
    with pytest.raises(InputError, match="9 words in 1 came"):
        class_probe(np.eye(9), np.zeros(9, int))
