"""Analogies against loops over words, planted laws and cases worked out by hand."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from oracles.embeddings import planted

from interp.core.errors import InputError
from interp.learning import evaluation
from interp.measures import (
    all_questions,
    analogies,
    analogy_accuracy,
    analogy_answers,
    analogy_ranks,
)

V, D = 53, 17


def vectors(seed=0, n=V):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, D)))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def score_by_definition(matrix, method, way, question, pairs):
    """One number per word, from the papers' formulas, word by word."""
    W = unit(matrix.numpy())
    a, b, c = (W[i] for i in question[:3])
    scores = np.empty(len(W))
    for w, word in enumerate(W):
        cos = {name: float(word @ x) for name, x in (("a", a), ("b", b), ("c", c))}
        if way == "nearest":
            scores[w] = cos["c"]
        elif method == "3CosMul":
            shifted = {name: (1 + value) / 2 for name, value in cos.items()}
            ratio = shifted["b"] / (shifted["a"] + 0.001)
            scores[w] = ratio if way == "offset" else ratio * shifted["c"]
        else:
            offset = b - a
            if method == "mean difference":
                others = [(x, y) for x, y in pairs
                          if (x, y) not in {tuple(question[:2]), tuple(question[2:])}]  # fmt: skip
                offset = np.mean([W[y] - W[x] for x, y in others], axis=0)
            scores[w] = float(word @ (offset if way == "offset" else offset + c))
    return scores


@pytest.mark.parametrize("method", analogies.METHODS)
@pytest.mark.parametrize("way", analogies.WAYS)
def test_ranks_are_those_of_a_loop_over_words(method, way):
    matrix, pairs = vectors(), np.arange(14).reshape(7, 2)
    asked = all_questions(pairs)
    found = analogy_ranks(matrix, asked, (method,), (way,), left_out=np.array([20, 21]))
    for row in found.itertuples():
        question = asked[row.question]
        every = [tuple(pair) for pair in pairs.tolist()]
        scores = score_by_definition(matrix, method, way, question, every)
        banned = [20, 21] + ([] if way == "included" else question[:3].tolist())
        scores[banned] = -np.inf
        order = np.argsort(-scores, kind="stable")
        assert row.answer == order[0]
        assert row.rank == 1 + int(np.flatnonzero(order == question[3])[0])


def test_the_usual_answers_are_those_of_the_training_evaluation():
    """`interp.learning` asks the same questions in its own way."""
    matrix = vectors(3)
    asked = all_questions(np.arange(10).reshape(5, 2))
    expected = evaluation.analogies(matrix.numpy(), asked, np.arange(V))
    found = analogy_ranks(matrix, asked, ("3CosAdd",))
    for name, way in (
        ("analogy", "excluded"),
        ("analogy_all_words", "included"),
        ("analogy_nearest", "nearest"),
    ):
        right = found[found["way"] == way]["rank"].to_numpy() == 1
        assert (right == expected[name].astype(bool)).all()


def test_order_of_rows_and_chunks_do_not_matter(monkeypatch):
    matrix, asked = vectors(1), all_questions(np.arange(12).reshape(6, 2))
    whole = analogy_ranks(matrix, asked)
    assert whole["question"].tolist() == list(range(30)) * 12
    monkeypatch.setattr(analogies, "_WORDS_AT_ONCE", 5)
    monkeypatch.setattr(analogies, "_CELLS_AT_ONCE", 3 * V)
    parts = analogy_ranks(matrix, asked)
    assert (parts[["answer", "rank"]] == whole[["answer", "rank"]]).all(axis=None)


def test_equal_scores_count_against_the_answer():
    matrix = torch.tensor([[1.0, 0], [0, 1], [1, 1], [2, 1], [2, 1]])
    # The nearest words to c (row 2) are rows 3 and 4, which are one vector.
    found = analogy_ranks(matrix, np.array([[0, 1, 2, 3]]), ("3CosAdd",), ("nearest",))
    assert found["rank"].item() == 2


def test_a_struck_out_word_cannot_be_the_answer():
    found = analogy_ranks(vectors(), np.array([[0, 1, 2, 0]]), ("3CosAdd",), ("excluded",))
    assert found["rank"].item() == V and found["answer"].item() not in (0, 1, 2)


def test_a_zero_vector_is_no_trouble():
    matrix = vectors()
    matrix[7] = 0
    found = analogy_ranks(matrix, all_questions(np.arange(6).reshape(3, 2)))
    assert np.isfinite(found["rank"]).all() and (found["rank"] >= 1).all()


@pytest.mark.parametrize(("eta", "width"), [(0.4, 149), (0.9, 307)])
@pytest.mark.parametrize("seed", [21, 22])
def test_planted_rates_match_the_noise_law(eta, width, seed):
    """male = base − g + z, female = base + g + z′, base 3; t = b − a + c is the target.

    Squared distances of t, in closed form, up to noise of 1/√d: to the answer d
    |z′_a − z_a + z_c − z′_d|² = 4η², to c itself |2g + z′_a − z_a|² = 4 + 2η², to other words at
    least |base − base′|² = 18. So the answer comes first without striking out where
    4η² < 4 + 2η², and always with it, at these η.
    """
    W, ids, _ = planted(15, width, eta, seed)
    asked = all_questions(ids)
    found = analogy_accuracy(
        analogy_ranks(torch.from_numpy(W), asked, ("3CosAdd",)), len(ids)
    ).set_index("way")
    inclusive = 1.0 if 4 * eta**2 < 4 + 2 * eta**2 else 0.0
    assert found.loc["excluded", "top_1"] == 1.0
    assert found.loc["included", "top_1"] == pytest.approx(inclusive, abs=0.05)
    # Without an offset: c's partner shares its base, all others nothing.
    assert found.loc["nearest", "top_1"] == 1.0
    assert found.loc["offset", "top_1"] < 0.2


def test_the_inputs_win_where_the_noise_is_large():
    """4η² > 4 + 2η² from η = √2 on: c itself is nearest then (RIGOUR C2, METHODS B1)."""
    rates = {}
    for eta in (1.0, 2.2):
        W, ids, _ = planted(15, 401, eta, 5)
        ranks = analogy_ranks(torch.from_numpy(W), all_questions(ids), ("3CosAdd",))
        rates[eta] = analogy_accuracy(ranks, 15).set_index("way")["top_1"]
    assert rates[1.0]["included"] > 0.95
    assert rates[2.2]["included"] < 0.05 and rates[2.2]["excluded"] > 0.95


def test_a_mean_difference_keeps_the_noise_of_two_words_only():
    """|t − d|² = 2η² and |t − c|² = 4: the same threshold, η = √2, with half the noise."""
    rates = {}
    for eta in (1.1, 1.8):
        W, ids, _ = planted(20, 401, eta, 6)
        ranks = analogy_ranks(torch.from_numpy(W), all_questions(ids), ("mean difference",))
        rates[eta] = analogy_accuracy(ranks, 20).set_index("way")["top_1"]
    assert rates[1.1]["included"] > 0.9 and rates[1.8]["included"] < 0.1
    assert rates[1.8]["excluded"] == 1.0


def test_accuracy_by_hand():
    ranks = analogy_ranks(vectors(), all_questions(np.arange(6).reshape(3, 2)), ("3CosAdd",),
                          ("excluded",))  # fmt: skip
    ranks["rank"] = [1, 1, 4, 7, 11, 1]
    row = analogy_accuracy(ranks, 3).iloc[0]
    assert (row["top_1"], row["top_5"], row["top_10"]) == (3 / 6, 4 / 6, 5 / 6)
    assert (row["n_questions"], row["n_pairs"], row["median_rank"]) == (6, 3, 2.5)
    # Wilson's interval is one of SciPy's for whole counts; here 6 of 12 as 3 of 6.
    wilson = scipy.stats.binomtest(6, 12).proportion_ci(method="wilson")
    twelve = analogy_accuracy(ranks, 12).iloc[0]
    assert (twelve["top_1_low"], twelve["top_1_high"]) == pytest.approx(
        (wilson.low, wilson.high), abs=1e-6
    )


def test_answers_are_ranked_cosines():
    matrix = vectors(4)
    asked = np.array([[0, 1, 2], [3, 4, 5]])
    found = analogy_answers(matrix, asked, 6, left_out=np.array([9]))
    W = unit(matrix.numpy())
    for number, (a, b, c) in enumerate(asked):
        target = unit(W[b] - W[a] + W[c])
        cosines = W @ target
        cosines[[a, b, c, 9]] = -np.inf
        rows = found[found["question"] == number]
        assert rows["word"].tolist() == np.argsort(-cosines)[:6].tolist()
        assert rows["score"].to_numpy() == pytest.approx(np.sort(cosines)[::-1][:6], abs=1e-10)
        assert rows["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    everything = analogy_answers(matrix, asked, 6, include=True)
    assert everything["score"].iloc[0] >= found["score"].iloc[0]
    assert set(everything[everything["question"] == 0]["word"]) & {0, 1, 2}


def test_half_precision_is_widened_before_cosines_tie():
    """bfloat16 vectors are float32 vectors with fewer digits: the same answers, no ties."""
    coarse, asked = vectors().bfloat16(), np.array([[0, 1, 2], [5, 3, 7]])
    fine = analogy_answers(coarse.float(), asked, 9)
    pd.testing.assert_frame_equal(analogy_answers(coarse, asked, 9), fine)
    questions = all_questions(np.arange(8).reshape(4, 2))
    expected = analogy_ranks(coarse.float(), questions)
    pd.testing.assert_frame_equal(analogy_ranks(coarse, questions), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: analogy_ranks(vectors(), np.empty((0, 4), int)), "no analogy came"),
        (lambda: analogy_ranks(vectors(), np.array([[0, 1, 2, V]])), "name rows 0 to 53, but"),
        (lambda: analogy_ranks(vectors(), np.array([[0, 1, 2, -1]])), "name rows -1 to 2"),
        (
            lambda: analogy_ranks(vectors(), np.array([[0, 1, 2, 3]]), ("3CosDiv",)),
            "method '3CosDiv' is none of 3CosAdd",
        ),
        (
            lambda: analogy_ranks(vectors(), np.array([[0, 1, 2, 3]]), ("3CosAdd",), ("all",)),
            "way 'all' is none of excluded",
        ),
        (
            lambda: analogy_ranks(vectors(), np.array([[0, 1, 2, 3]]), ("mean difference",)),
            "at least 3 pairs; there are 2",
        ),
        (lambda: analogy_answers(vectors(), np.array([[0, 1, 2]]), 51), "51 answers were asked"),
        (lambda: all_questions(np.array([[0, 1]])), "an analogy needs two pairs, but 1 came"),
    ],
)
def test_bad_questions_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
