import numpy as np
import pytest
import torch
from oracles.tiny import PRIMES, tiny_model

from interp import measures
from interp.measures import spectra
from interp.measures.circuits import HeadWeights, head_weights


def one_head(values, d_model=6):
    """A head whose OV circuit has these singular values, on the stream's axes."""
    k = len(values)
    eye = torch.eye(d_model, dtype=torch.float64)[:, :k]
    W_V = (eye * torch.tensor(values, dtype=torch.float64))[None, None]
    return HeadWeights(eye[None, None], eye[None, None], W_V, eye.T[None, None])


def test_ranks_by_hand():
    """Squares 16, 4, 4, 1: shares .64, .16, .16, .04."""
    weights = one_head([4.0, 2.0, 2.0, 1.0])
    row = measures.rank_table(weights).set_index("circuit").loc["OV"]
    share = np.array([0.64, 0.16, 0.16, 0.04])
    assert row["norm"] == pytest.approx(5)
    assert row["rank"] == 4
    assert row["stable_rank"] == pytest.approx(25 / 16)
    assert row["effective_rank"] == pytest.approx(np.prod(share**-share))
    assert row["rank_90"] == 3
    # Squares 16, 4, 4, 2.25 of 26.25: three hold 91 %, not 95.
    uneven = measures.rank_table(one_head([4.0, 2.0, 2.0, 1.5])).set_index("circuit").loc["OV"]
    assert uneven["rank_90"] == 3
    qk = measures.rank_table(weights).set_index("circuit").loc["QK"]
    assert (qk["stable_rank"], qk["effective_rank"]) == (pytest.approx(4), pytest.approx(4))
    assert qk["rank_90"] == 4


def test_a_circuit_of_zeros_has_no_rank():
    row = measures.rank_table(one_head([0.0, 0.0])).set_index("circuit").loc["OV"]
    assert (row[["norm", "rank", "stable_rank", "effective_rank", "rank_90"]] == 0).all()


def test_gaps_by_hand():
    frame = measures.spectrum_table(one_head([4.0, 2.0, 1.9, 1.0]))
    found = frame[frame["circuit"] == "OV"]["gap"]
    np.testing.assert_allclose(found, [0.5, 0.025, 0.025, 0.225], atol=1e-12)


def test_stacked_output_is_ranked_as_a_whole():
    model = tiny_model()
    frame = measures.stacked_output_rank(model.W_O)
    values = np.linalg.svd(model.W_O[1].flatten(0, 1).numpy(), compute_uv=False)
    row = frame.set_index("layer").loc[1]
    assert row["norm"] == pytest.approx(np.sqrt((values**2).sum()))
    assert row["stable_rank"] == pytest.approx((values**2).sum() / values[0] ** 2)
    assert row["rank"] == min(PRIMES["n_heads"] * PRIMES["d_head"], PRIMES["d_model"])


def test_shuffling_keeps_the_numbers_of_each_head():
    weights = head_weights(tiny_model())
    mixed = measures.shuffled_weights(weights, seed=3)
    for own, other in zip(weights, mixed, strict=True):
        assert not torch.equal(own, other)
        torch.testing.assert_close(
            own.flatten(-2).sort(-1).values, other.flatten(-2).sort(-1).values
        )


def test_noise_turns_close_directions_and_not_separated_ones():
    frame = measures.singular_stability(one_head([4.0, 2.0, 1.999, 0.5], d_model=20), seed=1)
    degrees = frame.set_index("index")["degrees"]
    assert degrees[0] < 2 and degrees[3] < 5
    assert degrees[1] > 10 and degrees[2] > 10
    still = measures.singular_stability(one_head([4.0, 2.0, 1.0]), noise=0.0)
    assert (still["degrees"] < 1e-5).all()


def planted_direction():
    """A model one of whose heads writes along the sum of five words' unembeddings."""
    model = tiny_model(norm="none", d_vocab=61, d_model=53)
    words = torch.tensor([7, 11, 13, 17, 19, 23, 29, 31, 37, 41])
    direction = model.W_U[:, words].sum(1)
    with torch.no_grad():
        attn = model.blocks[1].attn
        attn.W_O[2, 0] = 50 * direction / direction.norm()
    features = np.random.default_rng(0).normal(size=(61, 40))
    features[words] += 4 * np.random.default_rng(1).normal(size=40)
    return model, words.tolist(), features


def test_a_planted_theme_is_read_and_random_ones_are_not():
    model, words, features = planted_direction()
    frame = measures.singular_readout(model, features, np.arange(61), n_random=199)
    top = frame.sort_values("coherence", ascending=False).iloc[0]
    assert (top["layer"], top["head"], top["index"]) == (1, 2, 0)
    assert len(set(top["words"]) & set(words)) >= 8
    # Random directions of this head share its one strong direction, so p is not asked for here.
    assert top["coherence"] > top["null"] + 0.1
    assert frame.loc[frame["head"] != 2, "q"].min() > 0.05
    assert (frame["gap"] >= measures.MIN_GAP).all()


def test_both_ways_to_compare_words_agree(monkeypatch):
    model, _, features = planted_direction()
    options = {"n_random": 9, "heads": [(1, 2)]}
    few = measures.singular_readout(model, features, np.arange(61), **options)
    monkeypatch.setattr(spectra, "MOST_ALIKE", 5)
    many = measures.singular_readout(model, features, np.arange(61), **options)
    np.testing.assert_allclose(few["coherence"], many["coherence"], atol=1e-12)
    by_hand = features[list(few["words"].iloc[0])]
    by_hand = by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True)
    cosines = (by_hand @ by_hand.T)[~np.eye(len(by_hand), dtype=bool)]
    assert few["coherence"].iloc[0] == pytest.approx(cosines.mean())


def test_rows_change_with_the_basis_and_directions_do_not():
    model = tiny_model(d_vocab=101)
    other = measures.with_gauge(model, 4, orthogonal=True)
    frame = measures.row_readout(model, other, np.arange(101))
    assert frame["same_row"].mean() < 0.5
    assert frame["same_direction"].min() == 1.0
    assert frame["null"].iloc[0] == pytest.approx(10 / 101)
    same = measures.row_readout(model, model, np.arange(101))
    assert same["same_row"].min() == 1.0
