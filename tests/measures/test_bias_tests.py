from itertools import combinations

import numpy as np
import pytest
import scipy.stats

from interp.core.errors import InputError
from interp.measures import bias_tests, ripa, weat

D = 29


def lists(seed=0, lean=0.0, sizes=(5, 5, 7, 6)):
    """X, Y, A, B; X leans to A and Y to B by `lean`."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, D))
    X, Y, A, B = (rng.standard_normal((n, D)) for n in sizes)
    return X + lean * (a - b), Y - lean * (a - b), A + 2 * a, B + 2 * b


def cosine(u, v):
    return u @ v / np.sqrt((u @ u) * (v @ v))


def association(w, A, B):
    return np.mean([cosine(w, a) for a in A]) - np.mean([cosine(w, b) for b in B])


def test_effect_size_and_p_are_those_of_the_definition():
    X, Y, A, B = lists(1, 0.2)
    found = weat(X, Y, A, B)
    s = np.array([association(w, A, B) for w in [*X, *Y]])
    expected = (s[:5].mean() - s[5:].mean()) / s.std(ddof=1)
    assert found["effect_size"] == pytest.approx(expected, abs=1e-10)
    reached, count = 0, 0
    for some in combinations(range(10), 5):
        others = [i for i in range(10) if i not in some]
        count += 1
        reached += s[list(some)].mean() - s[others].mean() >= s[:5].mean() - s[5:].mean() - 1e-12
    assert (found["p"], found["n_partitions"], found["exact"]) == (reached / count, 252, True)
    assert found["n"] == 10
    assert found["ci_low"] <= expected <= found["ci_high"]


def test_permutation_p_is_that_of_scipy():
    X, Y, A, B = lists(2, 0.1, (6, 4, 5, 5))
    s = bias_tests.associations(np.concatenate([X, Y]), A, B)
    result = scipy.stats.permutation_test(
        (s[:6], s[6:]), lambda x, y: x.mean() - y.mean(), alternative="greater",
        permutation_type="independent", n_resamples=np.inf,
    )  # fmt: skip
    assert weat(X, Y, A, B)["p"] == pytest.approx(result.pvalue)


def test_drawn_partitions_come_near_the_exact_p():
    X, Y, A, B = lists(3, 0.1, (7, 7, 5, 5))
    exact, drawn = weat(X, Y, A, B), weat(X, Y, A, B, most_partitions=2000)
    assert not drawn["exact"] and drawn["n_partitions"] == 2000
    assert drawn["p"] == pytest.approx(exact["p"], abs=0.03) and drawn["p"] >= 1 / 2001
    assert drawn["effect_size"] == exact["effect_size"]


def test_the_largest_lean_has_the_least_p():
    X, Y, A, B = lists(4, 3.0)
    assert weat(X, Y, A, B)["p"] == 1 / 252
    assert weat(Y, X, A, B)["p"] == 1.0
    assert weat(X, Y, A, B)["effect_size"] == pytest.approx(-weat(Y, X, A, B)["effect_size"])
    assert weat(X, Y, A, B)["effect_size"] > 1.5


def test_without_a_lean_p_is_uniform():
    p = [weat(*lists(seed))["p"] for seed in range(60)]
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001


def test_equal_words_have_no_effect():
    X = np.ones((4, D))
    found = weat(X, X, *lists(5)[2:])
    assert (found["effect_size"], found["p"]) == (0.0, 1.0)
    assert np.isfinite([found["ci_low"], found["ci_high"]]).all()


@pytest.mark.parametrize(("short", "name"), [(0, "X"), (1, "Y"), (2, "A"), (3, "B")])
def test_lists_of_one_word_are_refused(short, name):
    four = list(lists())
    four[short] = four[short][:1]
    with pytest.raises(InputError, match=f"list {name} of the association test has 1 words"):
        weat(*four)


def test_ripa_is_the_inner_product_with_the_relation():
    rng = np.random.default_rng(6)
    g = np.zeros(D)
    g[3] = 1.0
    base = rng.standard_normal((9, D))
    pairs = np.stack([base - g, base + g], axis=1)
    words = rng.standard_normal((4, D))
    found = ripa(words, pairs)
    assert found["ripa"].to_numpy() == pytest.approx(words[:, 3], abs=1e-10)
    # All differences are 2 g, so resampling pairs changes nothing.
    assert found["ci_low"].to_numpy() == pytest.approx(words[:, 3], abs=1e-10)


def test_the_relation_vector_is_the_first_component_on_the_side_of_the_mean():
    differences = np.random.default_rng(7).standard_normal((6, D)) + 1.0
    found = bias_tests.relation_vector(differences)
    _, _, axes = np.linalg.svd(differences)
    assert abs(abs(found @ axes[0]) - 1) < 1e-10
    assert found @ differences.mean(axis=0) > 0
    assert bias_tests.relation_vector(-differences) == pytest.approx(-found)


def test_one_pair_gives_no_relation_vector_with_an_interval():
    with pytest.raises(InputError, match="at least 2 pairs, but 1 came"):
        ripa(np.eye(3), np.zeros((1, 2, 3)))


def test_a_drawn_p_is_never_zero():
    """None of 500 random partitions of 184,756 is the one that leans most: (0 + 1) / (500 + 1)."""
    X, Y, A, B = lists(8, 4.0, (10, 10, 5, 5))
    assert weat(X, Y, A, B, most_partitions=500)["p"] == 1 / 501
