"""Directions on planted embeddings, whose formulas are known, and against other code."""

import numpy as np
import pytest
import scipy.stats
from oracles.embeddings import planted
from sklearn.decomposition import PCA

from interp.core.errors import InputError
from interp.measures import directions, pair_scores
from interp.measures.directions import consistency, direction_scores, null_draws, pc1_share

D, N_WORDS = 31, 211


@pytest.mark.parametrize("eta", [0.3, 0.7, 1.3])
@pytest.mark.parametrize("width", [97, 211, 503])
@pytest.mark.parametrize("seed", [11, 12])
def test_the_planted_direction_follows_the_closed_formulas(width, eta, seed):
    """E cos(diff, diff') = 4/(4 + 2η²); E cos(ĝ, g) = 1/√(1 + 2η²/(4n))."""
    n = 40
    vectors, ids, g = planted(n, width, eta, seed)
    expected = 4 / (4 + 2 * eta**2)
    pairs = vectors[ids]
    value = pair_scores(pairs)["consistency"]
    # Between pairs, z . z' has standard deviation η²/√d and g . z one of η/√d.
    noise = (2 * eta**2 / np.sqrt(n) + 4 * eta) / (4 + 2 * eta**2) / np.sqrt(width * n)
    assert abs(value - expected) < 4 * noise + 4 * eta**2 / width
    along = directions.mean_direction(pairs) @ g
    assert along == pytest.approx(1 / np.sqrt(1 + 2 * eta**2 / (4 * n)), abs=8 * noise + 0.004)
    assert pair_scores(pairs)["order_accuracy"] == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_covers_the_planted_consistency(seed):
    vectors, ids, _ = planted(24, 173, 1.0, seed, n_words=60)
    frame = direction_scores(vectors, ids, np.arange(48, 108), 20, seed).set_index("score")
    row = frame.loc["consistency"]
    slack = 0.02  # the 95 % interval misses one time in twenty
    assert row["ci_low"] - slack < 4 / (4 + 2) < row["ci_high"] + slack
    assert 0 < row["ci_high"] - row["ci_low"] < 0.2


def test_the_interval_is_a_jackknife_over_pairs():
    """Efron & Tibshirani 1993, chapter 11: se² = (n − 1)/n Σ (θ₍ᵢ₎ − θ̄)²."""
    vectors, ids, _ = planted(9, 61, 1.2, 3, n_words=40)
    frame = direction_scores(vectors, ids, np.arange(18, 58), 5, 0).set_index("score")
    values = []
    for left in range(9):
        pairs = vectors[[pair for i, pair in enumerate(ids) if i != left]]
        d = pairs[:, 1] - pairs[:, 0]
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        values.append((d @ d.T)[np.triu_indices(8, 1)].mean())
    se = np.sqrt(8 / 9 * sum((v - sum(values) / 9) ** 2 for v in values))
    row = frame.loc["consistency"]
    assert row["value"] - row["ci_low"] == pytest.approx(1.96 * se, rel=1e-6)
    assert row["ci_high"] - row["value"] == pytest.approx(1.96 * se, rel=1e-6)


def test_consistency_is_a_mean_over_pairs_of_pairs():
    differences = np.random.default_rng(0).standard_normal((7, D))
    total, count = 0.0, 0
    for i in range(7):
        for j in range(7):
            if i != j:
                a, b = differences[i], differences[j]
                total += a @ b / np.sqrt((a @ a) * (b @ b))
                count += 1
    assert abs(consistency(differences) - total / count) < 1e-12
    assert consistency(np.tile(differences[:1], (5, 1))) == pytest.approx(1, abs=1e-12)


def test_pc1_share_is_that_of_pairs_centred_on_their_middle():
    """sklearn's PCA of {±d/2}, whose mean is 0 (Bolukbasi et al. 2016)."""
    differences = np.random.default_rng(1).standard_normal((5, D))
    both = np.concatenate([differences / 2, -differences / 2])
    expected = PCA(n_components=1, svd_solver="full").fit(both).explained_variance_ratio_[0]
    assert abs(pc1_share(differences) - expected) < 1e-12
    assert 1 / 5 <= pc1_share(differences) <= 1


def test_many_draws_at_once_are_the_same_as_one_by_one():
    vectors = np.random.default_rng(2).standard_normal((N_WORDS, D))
    ids = np.arange(22).reshape(11, 2)
    drawn = directions.null_scores(vectors, ids, np.arange(N_WORDS), "random", 70, seed=5)
    draw = null_draws(ids, np.arange(N_WORDS), "random", seed=5)
    for i in range(70):
        alone = pair_scores(vectors[draw()])
        for score, value in alone.items():
            assert drawn[score][i] == pytest.approx(value, abs=1e-10), score


def test_no_score_depends_on_the_basis_or_the_scale():
    vectors, ids, _ = planted(9, D, 0.8, 3)
    basis = scipy.stats.ortho_group.rvs(D, random_state=0)
    before, after = pair_scores(vectors[ids]), pair_scores(7.0 * vectors[ids] @ basis + 2.0)
    for score, value in before.items():
        assert after[score] == pytest.approx(value, abs=1e-10), score


def test_mismatched_pairs_keep_the_words_and_never_the_partner():
    ids = np.arange(22).reshape(11, 2)
    draw = null_draws(ids, np.arange(40), "mismatched", seed=1)
    seen = set()
    for _ in range(200):
        drawn = draw()
        assert (drawn[:, 0] == ids[:, 0]).all()
        assert sorted(drawn[:, 1]) == sorted(ids[:, 1])
        assert (drawn[:, 1] != ids[:, 1]).all()
        seen.add(tuple(drawn[:, 1]))
    assert len(seen) > 150


def test_shuffled_pairs_swap_members_about_half_the_time():
    ids = np.arange(26).reshape(13, 2)
    draw = null_draws(ids, np.arange(40), "shuffled", seed=2)
    swapped = []
    for _ in range(300):
        drawn = draw()
        assert (np.sort(drawn, axis=1) == ids).all()
        swapped.append((drawn[:, 0] != ids[:, 0]).mean())
    assert np.mean(swapped) == pytest.approx(0.5, abs=0.03)


def test_random_pairs_have_the_frequency_of_the_words_and_are_others():
    order = np.random.default_rng(0).permutation(N_WORDS)
    ids = order[[0, 1, 100, 101, 208, 209]].reshape(3, 2)
    draw = null_draws(ids, order, "random", seed=3)
    rank = np.argsort(order)
    for _ in range(100):
        drawn = draw()
        assert not np.isin(drawn, ids).any()
        assert len(np.unique(drawn)) == drawn.size  # no word in two pairs
        assert (np.abs(rank[drawn] - rank[ids]) <= 2 * directions.NEIGHBOURHOOD).all()
        # The most frequent words stay among the frequent ones, the rarest among the rare.
        assert rank[drawn[0]].max() < 60 and rank[drawn[2]].min() > 150


def test_random_pairs_of_few_words_still_have_two_words_each():
    ids = np.arange(20).reshape(10, 2)
    draw = null_draws(ids, np.arange(23), "random", seed=4)  # three words for twenty places
    for _ in range(50):
        drawn = draw()
        assert (drawn[:, 0] != drawn[:, 1]).all() and set(np.unique(drawn)) <= {20, 21, 22}


def test_an_unknown_null_is_an_error():
    with pytest.raises(InputError, match="there are: mismatched, shuffled, random"):
        null_draws(np.arange(6).reshape(3, 2), np.arange(9), "rotated")
    with pytest.raises(InputError, match="1 words are in no pair"):
        null_draws(np.arange(6).reshape(3, 2), np.arange(7), "random")


def test_scores_beside_their_nulls():
    vectors, ids, _ = planted(12, 101, 0.6, 4, n_words=150)
    frame = direction_scores(vectors, ids, np.arange(24, 174), 99, 0).set_index("score")
    assert frame.loc["consistency", "value"] > 0.8
    for null in directions.NULLS:
        assert frame.loc["consistency", f"{null}_p"] == pytest.approx(1 / 100)
        assert frame.loc["consistency", f"{null}_high"] < 0.6
    # Mixed-up partners keep g but lose the shared part: (4 + 0) / (4 + 2·9 + 2η²) about.
    assert frame.loc["consistency", "mismatched"] == pytest.approx(4 / 22.7, abs=0.12)
    assert frame.loc["order_accuracy", "shuffled"] == pytest.approx(0.5, abs=0.1)
    assert frame.loc["held_out_accuracy", "value"] == 1.0
    assert (frame["n"] == 12).all()


def test_without_a_relation_nothing_is_found():
    """p-values of unrelated pairs are spread out, and the held-out accuracy is chance."""
    p, accuracy = [], []
    for seed in range(16):
        vectors = np.random.default_rng(seed).standard_normal((120, 53))
        frame = direction_scores(
            vectors, np.arange(16).reshape(8, 2), np.arange(16, 120), 39, seed
        ).set_index("score")
        p.append(frame.loc["consistency", "random_p"])
        accuracy.append(frame.loc["held_out_accuracy", "value"])
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001
    assert np.mean(accuracy) == pytest.approx(0.5, abs=0.12)


def test_one_pair_only_is_an_error():
    with pytest.raises(InputError, match="1 pairs came; a direction"):
        direction_scores(np.eye(4), np.array([[0, 1]]), np.arange(4))


def test_places_on_a_direction_by_hand():
    vectors = np.array([[0.0, 0], [2, 0], [0, 1], [2, 1], [0, 5], [6, 5]])
    places = directions.along_direction(vectors, np.array([[0, 1], [2, 3], [4, 5]]))
    # The third pair's others: middle (1, 1/2), step (1, 0).
    assert places[2] == pytest.approx([-1, 5])
    # The first pair's others: middle (2, 3), step (2, 0).
    assert places[0] == pytest.approx([-1, 0])


def test_the_band_of_random_directions_holds_95_percent():
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((400, 67))
    ids = np.arange(20).reshape(10, 2)
    band = directions.random_direction_band(vectors, ids, np.arange(400), 500)
    step = np.linalg.norm((vectors[ids[:, 1]] - vectors[ids[:, 0]]).mean(0)) / 2
    # Words of unit normal numbers lie on any direction as a unit normal number.
    assert band * step == pytest.approx(1.96, abs=0.25)


def test_directions_against_each_other():
    one, ids, g = planted(10, 89, 0.1, 1)
    other, _, h = planted(10, 89, 0.1, 2)
    vectors = np.concatenate([one, other])
    frame = directions.direction_cosines(vectors, {"one": ids, "other": ids + 20})
    value = frame.set_index(["relation", "other"])["cosine"]
    assert value["one", "other"] == pytest.approx(g @ h, abs=0.02)
    assert value["one", "other"] == value["other", "one"]
    assert value["one", "one"] > 0.99


def test_the_parallelogram_keeps_what_a_plane_can_show():
    quad = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [1, 2, 0]])
    drawn = directions.parallelogram(quad)
    assert drawn["cosine"] == pytest.approx(1) and drawn["cosine_plane"] == pytest.approx(1)
    assert drawn["shown"] == pytest.approx(1)
    distances = np.linalg.norm(drawn["places"][:, None] - drawn["places"][None], axis=2)
    assert distances == pytest.approx(np.linalg.norm(quad[:, None] - quad[None], axis=2))
    tilted = quad.copy()
    tilted[3, 2] = 1.0  # d - c = (1, 0, 1), at 45 degrees to b - a = (1, 0, 0)
    drawn = directions.parallelogram(tilted)
    assert drawn["cosine"] == pytest.approx(np.sqrt(0.5))
    assert drawn["cosine_plane"] > drawn["cosine"] and 0 < drawn["shown"] < 1


def test_a_plane_makes_unrelated_pairs_look_parallel():
    vectors, ids, _ = planted(12, 151, 0.5, 8, n_words=200)
    frame = directions.plane_illusion(vectors, ids, np.arange(24, 224), (2, 5, 99), n_draws=60)
    assert set(frame["n_pairs"]) == {2, 5}  # 99 pairs do not exist
    value = frame.set_index(["kind", "n_pairs"])
    assert value.loc[("related", 5), "space"] == pytest.approx(4 / 4.5, abs=0.06)
    assert value.loc[("random", 5), "plane"] > 3 * value.loc[("random", 5), "space"]
    # In 151 dimensions |cosine| of two random differences is √(2/(π d)) on average.
    assert value.loc[("random", 5), "space"] == pytest.approx(np.sqrt(2 / (np.pi * 151)), rel=0.25)
    assert value.loc[("random", 2), "pc1_share"] == pytest.approx(0.53, abs=0.04)
    random = value.loc[("random", 5)]
    assert random["plane_low"] < random["plane_mean_low"] < random["plane"]
    assert random["plane"] < random["plane_mean_high"] < random["plane_high"]


def test_the_plane_is_that_of_the_words():
    """sklearn's PCA of the words, one draw."""
    pairs = np.random.default_rng(9).standard_normal((4, 2, D))
    places = PCA(2, svd_solver="full").fit_transform(pairs.reshape(8, D)).reshape(4, 2, 2)
    differences = places[:, 1] - places[:, 0]
    unit = differences / np.linalg.norm(differences, axis=1, keepdims=True)
    expected = np.abs((unit @ unit.T)[np.triu_indices(4, 1)]).mean()
    assert directions._looks(pairs[None])[0, 0] == pytest.approx(expected, abs=1e-10)
