"""Oracle: the language's exact probabilities, and properties counted by hand."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from interp.core.errors import InputError
from interp.corpus import Language, prompts
from interp.corpus import lexicon as lex

TRAINED = {
    "agreement": lambda n: prompts.agreement(n),
    "agreement 1": lambda n: prompts.agreement(n, attractors=1),
    "agreement 2 same": lambda n: prompts.agreement(n, attractors=2, conflicting=False),
    "agreement 3": lambda n: prompts.agreement(n, attractors=3),
    "temper": lambda n: prompts.temper(n, attractors=1),
    "synonyms": lambda n: prompts.synonyms(n),
    "subject": lambda n: prompts.pronoun(n),
    "possessive": lambda n: prompts.pronoun(n, form="possessive", distractor=True),
    "reflexive": lambda n: prompts.reflexive(n, distractor=False),
    "sense": lambda n: prompts.sense(n),
    "sense far": lambda n: prompts.sense(n, distances=(9, 11, 12), distractor=True),
    "facts": lambda n: prompts.facts(n, context=1),
    "two hop": lambda n: prompts.two_hop(n, context=2),
    "countries": lambda n: prompts.countries(n, context=1),
    "indirect 2": lambda n: prompts.indirect_objects(n, extra="receiver"),
    "indirect 3": lambda n: prompts.indirect_objects(n, n_names=3),
}
HELD_OUT = {
    "facts": lambda n: prompts.facts(n, held_out=True, context=1),
    "two hop": lambda n: prompts.two_hop(n, held_out=True, context=1),
}


@pytest.fixture(scope="module")
def language():
    return Language()


def exact(pairs, language):
    return np.stack([language.next_token_distribution(pair.prompt_ids) for pair in pairs])


@pytest.mark.parametrize("name", TRAINED)
def test_the_language_itself_gets_every_pair_right(language, name):
    pairs = TRAINED[name](41)
    assert len(pairs) == len({pair.prompt_ids for pair in pairs}) == 41
    probs = exact(pairs, language)
    assert prompts.accuracy(pairs, probs) == 1.0
    for pair, row in zip(pairs, probs, strict=True):
        assert row[list(pair.rival_ids)].sum() < 1e-4  # impossible, but for random blocks
        assert row[list(pair.correct_ids)].min() > 1e-3
        assert pair.prompt_ids[0] == language.tokenizer.bos_id
    cells = Counter(pair.meta["cell"] for pair in pairs)
    assert max(cells.values()) - min(cells.values()) <= 1


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_answers_hold_only_in_the_open_language(language, name):
    pairs = HELD_OUT[name](62)
    assert prompts.accuracy(pairs, exact(pairs, Language(held_out=True))) == 1.0
    for pair in pairs:
        assert pair.meta["held_out"]
        ids = pair.prompt_ids[pair.meta["sentence_start"] :]
        text = language.tokenizer.decode([*ids, pair.correct_ids[0]])
        assert language.recognise(text) is None


def test_what_the_metadata_say_is_so(language):
    for pair in prompts.agreement(23, attractors=2):
        words = language.tokenizer.str_tokens(pair.prompt_ids)
        other = {"sg": 1, "pl": 0}[pair.meta["number"]]
        forms = [pair_[other] for synonyms in lex.SYNONYMS for pair_ in synonyms]
        assert sum(word in forms for word in words) == 2  # both attractors, not the head
        assert words[len(words) - pair.meta["distance"]] not in forms
    for pair in prompts.sense(23, distances=(7,), context=1):
        words = language.tokenizer.str_tokens(pair.prompt_ids)
        assert words[-1] == pair.meta["word"]
        assert words[-8] in lex.TOPIC_CUES[pair.meta["topic"]]
    for pair in prompts.indirect_objects(23, extra="receiver"):
        words = language.tokenizer.str_tokens(pair.prompt_ids)
        receiver, giver = (language.vocab[ids[0]] for ids in (pair.correct_ids, pair.rival_ids))
        assert words.count(receiver) == words.count(giver) == 2  # counting names does not help


def test_context_sentences_are_whole_and_give_nothing_away(language):
    for pair in prompts.facts(31, held_out=True, context=2):
        start = pair.meta["sentence_start"]
        words = language.tokenizer.str_tokens(pair.prompt_ids)
        assert words[1:start].count(".") == 2 and words[start - 1] == "."
        secret = {pair.meta["entity"], *lex.CITIES}
        assert not secret & set(words[1:start])


def test_seeds_are_independent_and_repeatable():
    one, two, three = (prompts.agreement(11, seed) for seed in (0, 0, 1))
    assert one == two
    assert {p.prompt_ids for p in one} != {p.prompt_ids for p in three}


def test_shallow_models_fail_where_they_should():
    counts = prompts.ngram_counts(150_000)
    for order in (1, 2):
        assert prompts.ngram_accuracy(prompts.pronoun(60), counts, order) == pytest.approx(0.5)
    simple, across = prompts.agreement(60), prompts.agreement(60, attractors=1)
    assert prompts.ngram_accuracy(simple, counts, 2) > 0.95
    assert prompts.ngram_accuracy(across, counts, 2) < 0.05  # the nearest noun misleads
    assert prompts.ngram_accuracy(prompts.sense(60), counts, 2) < 0.6


def test_ngram_counts_match_a_loop():
    counts = prompts.ngram_counts(1900, seed=3, n_ctx=19)
    windows = Language().batch(3, 100, 20, namespace="ngrams").tolist()
    singles, doubles = Counter(), Counter()
    for row in windows:
        singles.update(row[1:])
        doubles.update(pairwise(row))
    assert {i: c for i, c in enumerate(counts.unigram.tolist()) if c} == dict(singles)
    rows, columns = np.nonzero(counts.bigram)
    found = {
        (r, c): counts.bigram[r, c] for r, c in zip(rows.tolist(), columns.tolist(), strict=True)
    }
    assert found == dict(doubles)


def test_accuracy_by_hand():
    pairs = [
        prompts.MinimalPair((0,), (2,), (3, 4), "toy"),
        prompts.MinimalPair((0,), (2,), (3,), "toy"),
        prompts.MinimalPair((0,), (5,), (3, 4), "toy"),
    ]
    probs = np.array([[0.0, 0, 0.4, 0.3, 0.3, 0], [0, 0, 0.5, 0.5, 0, 0], [0, 0, 0, 0.1, 0.1, 0.3]])
    assert prompts.accuracy(pairs, probs) == pytest.approx((0 + 0.5 + 1) / 3)
    assert prompts.accuracy(pairs, probs, rule="best") == pytest.approx((1 + 0.5 + 1) / 3)


def test_repeated_blocks_and_their_control(language):
    blocks = prompts.repeated_blocks(13, k=12, seed=2, partial=5)
    assert blocks.tokens.shape == blocks.control.shape == (13, 30)
    for row, other in zip(blocks.tokens.tolist(), blocks.control.tolist(), strict=True):
        assert row[0] == other[0] == language.tokenizer.bos_id
        assert row[1:13] == row[13:25] == other[13:25]
        assert row[25:] == other[25:] == row[1:6]
        assert len(set(row[1:13])) == 12 and not set(row[1:13]) & set(other[1:13])
        assert min(row[1:]) >= 2
    losses = -np.stack([language.log_probs(row) for row in blocks.tokens])
    assert losses[:, :12].mean() > 6.0
    assert losses[:, blocks.second.start - 1 : blocks.second.stop - 1].max() < 1e-6
    # By hand: after 4 of 4..12 words, 1 of 9 lengths begins again (or the word is new).
    short = prompts.repeated_blocks(13, k=4, seed=2)
    first = [-language.log_probs(row)[4] for row in short.tokens]
    assert np.median(first) == pytest.approx(np.log(9), abs=0.05)


def test_word_lists():
    quadruples = prompts.analogy_quadruples()
    assert len(quadruples) == 14 * 13 and ("man", "woman", "king", "queen") in quadruples
    assert ("rabbit", "bunny") in prompts.synonym_pairs()
    lists = prompts.bias_lists()
    assert {lists.male_share[w] for w in lists.male_occupations} == {0.8}
    assert {lists.male_share[w] for w in lists.female_occupations} == {0.2}
    assert len(lex.GENDER_PAIRS) == len(lex.NEUTRAL_PAIRS) == 14


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prompts.agreement(5, attractors=4), "0 to 3 attractors"),
        (lambda: prompts.facts(100, held_out=True), "only 14 different prompts.*context=1"),
        (lambda: prompts.facts(5, templates=("poem",)), "templates must be among"),
        (lambda: prompts.pronoun(5, form="object"), "form is subject"),
        (lambda: prompts.sense(5, distances=(1,)), "2 to 12"),
        (lambda: prompts.indirect_objects(5, n_names=4), "n_names is 2 or 3"),
        (lambda: prompts.repeated_blocks(5, k=300), "k runs from 1 to 269"),
        (lambda: prompts.agreement(0), "n counts prompts"),
    ],
)
def test_wrong_calls_say_what_is_wrong(call, message, monkeypatch):
    monkeypatch.setattr(prompts, "PATIENCE", 1000)
    with pytest.raises(InputError, match=message):
        call()
