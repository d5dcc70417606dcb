"""Variety, grammar and random words against counts by hand and the grammar itself."""

import numpy as np
import pytest
import torch
from oracles.tiny import tiny_model, tiny_tokens

from interp import measures
from interp.core import InputError
from interp.corpus import Language

LANGUAGE = Language()


def ids(text, bos=True):
    return LANGUAGE.tokenizer.encode(text, bos=bos)


def test_variety_by_hand():
    frame = measures.variety([[1, 2, 1, 2, 1, 2, 3, 4], [5, 6, 7, 8, 5, 6, 7, 8]])
    first, second = frame.itertuples()
    assert first.distinct_1 == 4 / 8  # 1 2 3 4
    assert first.distinct_2 == 4 / 7  # 12 21 23 34
    assert first.distinct_3 == 4 / 6  # 121 212 123 234
    assert first.repeated_4 == pytest.approx(1 / 5)  # 1212 comes twice
    assert second.repeated_4 == pytest.approx(1 / 5)
    assert (first.seed, second.seed) == (0, 1)


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ([9, 4, 4, 4], 1),
        ([9, 4, 4, 7], 0),
        ([0, 1, 2, 1, 2, 1, 2], 1),
        ([1, 2, 1, 2, 3, 1, 2], 0),
        ([*range(20), *(list(range(50, 58)) * 3)], 1),
        ([*range(20), *(list(range(50, 59)) * 3)], 0),
        ([*range(20), *(list(range(50, 58)) * 2)], 0),
    ],
)
def test_loops(text, loops):
    assert measures.variety([text])["loop"].tolist() == [loops]


@pytest.mark.parametrize("texts", [[[1, 2, 3]], [[1, 2, 3, 4], [1, 2, 3, 4, 5]]])
def test_texts_that_cannot_be_compared_are_one_clear_error(texts):
    with pytest.raises(InputError, match="one length of at least 4"):
        measures.variety(texts)


def test_grammar_by_hand():
    right, wrong = "the eiffel tower stands in paris .", "tower the paris eiffel in stands ."
    frame = measures.grammatical_sentences(
        LANGUAGE,
        [
            ids(f"{right} {wrong} {right} the tower"),
            ids(f"{wrong}", bos=False),
            ids("the tower"),
            ids(". ."),
            [*ids(right, bos=False), LANGUAGE.tokenizer.bos_id, *ids(right, bos=False)],
        ],
    )
    assert frame["sentences"].tolist() == [3, 1, 0, 2, 2]
    assert frame["grammatical"].tolist() == [2, 0, 0, 0, 1]
    assert frame["said_before"].tolist() == [1, 0, 0, 1, 0]
    assert frame["seed"].tolist() == [0, 1, 2, 3, 4]


def test_the_language_is_wholly_grammatical_and_random_words_are_not():
    windows = LANGUAGE.batch(5, 12, 64, namespace="test")
    real = measures.grammatical_sentences(LANGUAGE, windows.tolist())
    assert real["sentences"].sum() > 30
    # A text may end inside a block of random words that holds a full stop.
    assert real["grammatical"].sum() >= real["sentences"].sum() - 1
    counts = np.bincount(windows[:, 1:].ravel(), minlength=len(LANGUAGE.vocab)).astype(float)
    drawn = measures.unigram_texts(counts, 40, 64, seed=2)
    random = measures.grammatical_sentences(LANGUAGE, drawn.tolist())
    assert random["sentences"].sum() > 100
    assert random["grammatical"].sum() < 0.03 * random["sentences"].sum()


def test_a_full_stop_may_be_one_of_the_repeated_words():
    block = "tower . paris grove mole"
    frame = measures.grammatical_sentences(
        LANGUAGE, [ids(f"{block} {block} . {block}"), ids(f"{block} tower . grove paris mole .")]
    )
    assert frame["grammatical"].tolist()[0] == 1
    assert frame["grammatical"].tolist()[1] == 0


def test_random_words_follow_their_counts():
    drawn = measures.unigram_texts(np.array([0.0, 3.0, 1.0]), 50, 80, seed=1)
    assert drawn.shape == (50, 80)
    assert (drawn == 0).sum() == 0
    assert np.mean(drawn == 1) == pytest.approx(0.75, abs=0.03)
    assert (
        measures.unigram_texts(np.ones(3), 2, 9, 1) == measures.unigram_texts(np.ones(3), 2, 9, 1)
    ).all()


def test_texts_at_each_temperature_continue_the_same_prompts():
    model, prompts = tiny_model(), tiny_tokens(3, 4)
    texts = measures.temperature_texts(model, prompts, (0, 0.7), 6, seed=5)
    assert list(texts) == [0.0, 0.7]
    for temperature, tokens in texts.items():
        assert torch.equal(tokens[:, :4], prompts)
        expected = model.generate(prompts, 6, temperature=temperature, seed=5).tokens
        assert torch.equal(tokens, expected)
    tokens = texts[0.7]
    losses = model.loss(tokens, per_token=True)
    ours = measures.mean_surprisals(model, tokens, 4)
    assert ours.tolist() == pytest.approx(losses[:, 3:].mean(1).tolist())
    assert measures.mean_surprisals(model, tokens, 1).tolist() == pytest.approx(
        losses.mean(1).tolist()
    )


def test_the_share_is_weighted_by_its_whole():
    parts, wholes = np.array([1.0, 4.0, 0.0, 3.0]), np.array([2.0, 8.0, 1.0, 3.0])
    share, low, high = measures.share_with_interval(parts, wholes)
    assert share == pytest.approx(8 / 14)
    assert 0 <= low < share < high <= 1
    assert measures.share_with_interval(wholes, wholes) == pytest.approx((1, 1, 1))
    assert np.isnan(measures.share_with_interval(np.zeros(2), np.zeros(2))).all()
