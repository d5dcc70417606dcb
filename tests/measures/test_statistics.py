import numpy as np
import pytest
import scipy.stats

from interp.core import InputError
from interp.measures import bootstrap_interval, false_discovery_q, paired_contrast, sign_flip_p
from interp.measures.statistics import MIN_UNITS


def scipy_p(differences, n_resamples):
    zeros = np.zeros_like(differences)
    return scipy.stats.permutation_test(
        (differences, zeros),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        alternative="greater",
        n_resamples=n_resamples,
        axis=0,
        vectorized=True,
        rng=np.random.default_rng(1),
    ).pvalue


def test_all_sign_patterns_agree_with_scipy_exactly():
    differences = np.random.default_rng(0).normal(0.3, 1, (11, 5))
    assert sign_flip_p(differences) == pytest.approx(scipy_p(differences, np.inf), abs=1e-12)


def test_ties_count_against_the_finding():
    """Oracle: the same numbers times 10, which are whole, so that equal sums are equal."""
    whole = np.array([1, 2, -3, 7, 1, 2, -3, 4])[:, None]
    differences = np.array([0.1, 0.2, -0.3, 0.7, 0.1, 0.2, -0.3, 0.4])[:, None]
    sums = (1 - 2 * ((np.arange(2**8)[:, None] >> np.arange(8)) & 1)) @ whole
    assert sign_flip_p(differences) == (sums >= whole.sum()).mean()


def test_sampled_sign_patterns_agree_with_scipy_within_their_noise():
    differences = np.random.default_rng(0).normal(0.15, 1, (37, 3))
    ours, theirs = sign_flip_p(differences, 20_000), scipy_p(differences, 20_000)
    noise = np.sqrt(2 * theirs * (1 - theirs) / 20_000)
    assert np.all(np.abs(ours - theirs) < 4 * noise)


def test_a_sampled_p_value_is_never_0():
    differences = np.full((41, 1), 5.0) + np.random.default_rng(0).normal(size=(41, 1))
    assert sign_flip_p(differences, 999) == pytest.approx(1 / 1000)


def test_the_smallest_exact_p_value_is_one_pattern_of_all():
    assert sign_flip_p(np.ones((7, 1))) == pytest.approx(1 / 2**7)


def test_p_values_are_uniform_under_the_null():
    """3,000 heads whose scores and controls come from the same distribution, skewed at that."""
    rng = np.random.default_rng(3)
    differences = rng.gamma(0.5, 1, (29, 3000)) - rng.gamma(0.5, 1, (29, 3000))
    p = sign_flip_p(differences, 2000)
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.012)


def test_the_test_is_one_sided():
    differences = np.random.default_rng(0).normal(-1, 0.1, (31, 1))
    assert sign_flip_p(differences) > 0.99


def test_the_interval_is_scipys_bca_interval():
    values = np.random.default_rng(0).gamma(1, 1, (43, 3))
    low, high = bootstrap_interval(values, n_resamples=1999, seed=5)
    for column in range(3):
        theirs = scipy.stats.bootstrap(
            (values[:, column],), np.mean, n_resamples=1999, rng=np.random.default_rng(5)
        ).confidence_interval
        assert low[column] == pytest.approx(theirs.low, abs=1e-12)
        assert high[column] == pytest.approx(theirs.high, abs=1e-12)


def test_intervals_cover_the_mean_about_95_times_in_100():
    values = np.random.default_rng(1).normal(0.4, 1, (47, 400))
    low, high = bootstrap_interval(values, n_resamples=799)
    assert ((low <= 0.4) & (high >= 0.4)).mean() == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize(
    "column", [np.full(13, 0.7), np.r_[np.zeros(12), 1e-9], np.r_[np.zeros(12), 1.0]]
)
def test_intervals_exist_where_bca_does_not(column):
    low, high = bootstrap_interval(column[:, None], n_resamples=199)
    assert np.isfinite([low, high]).all()
    assert low <= column.mean() <= high


def test_rounding_does_not_move_an_interval_of_few_units():
    """With 7 units, resamples that hold each once tie with the mean, and BCa counts ties."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(7, 41))
    noisy = values * (1 + 1e-7 * rng.normal(size=values.shape))
    for one, other in zip(bootstrap_interval(values), bootstrap_interval(noisy), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_benjamini_hochberg_by_hand():
    """p sorted .01 .02 .03 .40: q = .01*4/1, .02*4/2, .03*4/3, .40 and the running minimum."""
    q = false_discovery_q(np.array([0.03, 0.40, 0.01, 0.02]))
    assert q == pytest.approx([0.04, 0.40, 0.04, 0.04])


def test_paired_contrast_reports_both_sides():
    rng = np.random.default_rng(0)
    score, control = rng.random((17, 2)), rng.random((17, 2))
    frame = paired_contrast(score, control, n_permutations=99, n_resamples=99)
    assert frame["score"].tolist() == pytest.approx([sum(score[:, i]) / 17 for i in (0, 1)])
    assert frame["contrast"].tolist() == pytest.approx(
        [sum(score[:, i] - control[:, i]) / 17 for i in (0, 1)]
    )
    assert (frame["n"] == 17).all()
    assert not frame.isna().any().any()


def test_too_few_units_are_refused():
    few = np.ones((MIN_UNITS - 1, 1))
    with pytest.raises(InputError, match=f"at least {MIN_UNITS} prompts"):
        paired_contrast(few, few)


def test_max_t_is_the_share_of_sign_patterns_whose_largest_statistic_reaches_it():
    """Oracle: all sign patterns by enumeration, one Python loop per column."""
    from itertools import product

    from interp.measures.statistics import max_t_p

    rng = np.random.default_rng(0)
    blocks = [rng.normal(0.6, 1, (7, 3)), rng.normal(0.1, 1, (7, 2))]
    columns = np.hstack(blocks).T
    largest = []
    for signs in product((1, -1), repeat=7):
        largest.append(max(np.dot(signs, c) / np.sqrt(np.dot(c, c)) for c in columns))
    expected = [np.mean([t >= c.sum() / np.sqrt(c @ c) - 1e-9 for t in largest]) for c in columns]
    found = np.concatenate(max_t_p(blocks, n_permutations=20_000, seed=1))
    assert np.allclose(found, expected, atol=0.015)
    assert (found >= 1 / 20_001).all()


def test_max_t_holds_the_family_wise_error():
    """Twenty correlated columns without any effect: one of 20 families has a rejection."""
    from interp.measures.statistics import max_t_p

    rng = np.random.default_rng(1)
    hits = 0
    for family in range(300):
        shared = rng.normal(size=(12, 1))
        noise = shared + rng.normal(size=(12, 20))
        hits += np.concatenate(max_t_p([noise], n_permutations=400, seed=family)).min() < 0.05
    assert 0.02 < hits / 300 < 0.09


def test_max_t_of_units_that_two_kinds_do_not_share():
    """A unit has the same sign wherever it occurs; kinds of prompts have signs of their own."""
    from interp.measures.statistics import max_t_p

    values = np.random.default_rng(2).normal(0.5, 1, (9, 1))
    units = np.arange(9)
    alone = max_t_p([values], n_permutations=4000, seed=3)[0]
    twice = max_t_p([values, values], [(0, units), (0, units)], 4000, 3)[0]
    apart = max_t_p([values, values], [(0, units), (1, units)], 4000, 3)[0]
    assert twice == pytest.approx(alone) and apart > 1.3 * alone


def test_max_t_of_nothing_is_1():
    from interp.measures.statistics import max_t_p

    assert max_t_p([np.zeros((8, 3))], n_permutations=50)[0].tolist() == [1, 1, 1]


def test_a_max_t_p_value_is_never_0():
    from interp.measures.statistics import max_t_p

    assert max_t_p([np.ones((40, 1))], n_permutations=99)[0].tolist() == [1 / 100]
