import math

import numpy as np
import pytest

from interp.core.errors import InputError
from interp.measures import cooccurrence, ppmi_svd

TOKENS = np.array([[0, 1, 2, 1, 3], [4, 0, 1, 1, 2]])


def test_counts_are_those_of_a_loop():
    counts = np.zeros((6, 6))
    for row in TOKENS:
        for i, word in enumerate(row):
            for j, context in enumerate(row):
                if i != j and abs(i - j) <= 2:
                    counts[word, context] += 1
    assert (cooccurrence.cooccurrence_counts(TOKENS, 6, window=2) == counts).all()


def test_ppmi_by_hand():
    counts = np.array([[0.0, 3, 1], [3, 0, 0], [1, 0, 0]])
    found = cooccurrence.ppmi(counts)
    powers = [4**0.75, 3**0.75, 1.0]
    for w in range(3):
        for c in range(3):
            if counts[w, c] == 0:
                assert found[w, c] == 0
                continue
            expected = counts[w].sum() / 8 * powers[c] / sum(powers)
            assert found[w, c] == pytest.approx(max(0, math.log(counts[w, c] / 8 / expected)))


def test_words_that_avoid_each_other_count_as_strangers():
    """ln(1/22 / (11/22 · p)) is below 0 for the rare pair of two common words."""
    counts = np.array([[10.0, 1], [1, 10]])
    found = cooccurrence.ppmi(counts)
    assert found[0, 1] == found[1, 0] == 0 < math.log(10 / 22 / (1 / 4)) - 1e-9
    assert found[0, 0] == pytest.approx(math.log(10 / 22 / (1 / 4)))


def test_vectors_rebuild_the_matrix():
    """U√S of a symmetric positive matrix times itself is the matrix; else the nearest of rank k."""
    made = ppmi_svd(TOKENS, 6, 6, window=2)
    matrix = cooccurrence.ppmi(cooccurrence.cooccurrence_counts(TOKENS, 6, 2))
    assert np.linalg.norm(made @ made.T, "nuc") == pytest.approx(np.linalg.norm(matrix, "nuc"))
    assert (made[5] == 0).all()  # a word that never occurs
    two = ppmi_svd(TOKENS, 6, 2, window=2)
    assert two.shape == (6, 2)
    lengths = np.linalg.svd(matrix, compute_uv=False)[:2]
    assert (two**2).sum(axis=0) == pytest.approx(lengths)


def test_more_dimensions_than_words_are_zeros():
    made = ppmi_svd(TOKENS, 6, 9)
    assert made.shape == (6, 9) and (made[:, 6:] == 0).all()


def test_words_of_equal_contexts_are_neighbours():
    rng = np.random.default_rng(0)
    # Words 0 and 1 stand beside 2 to 5, words 10 and 11 beside 12 to 15.
    sentences = [
        [rng.integers(2, 6), group * 10 + rng.integers(0, 2), rng.integers(2, 6)]
        if group == 0
        else [rng.integers(12, 16), 10 + rng.integers(0, 2), rng.integers(12, 16)]
        for group in rng.integers(0, 2, 4000)
    ]
    made = ppmi_svd(np.array(sentences), 16, 8, window=2)
    unit = made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
    assert unit[0] @ unit[1] > 0.9 and unit[10] @ unit[11] > 0.9
    assert abs(unit[0] @ unit[10]) < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ppmi_svd(TOKENS, 4, 2), "run from 0 to 4, but there are 4 words"),
        (lambda: ppmi_svd(TOKENS, 30_000, 2), "30000 by 30000 words is too large"),
        (lambda: ppmi_svd(np.zeros((3, 1), int), 4, 2), "no co-occurrences to count"),
    ],
)
def test_bad_texts(call, message):
    with pytest.raises(InputError, match=message):
        call()
