"""Oracle: probabilities worked out by hand, and sums over every sentence of toy grammars."""

import itertools
import math
import random
from collections import Counter

import pytest

from interp.core.errors import InputError
from interp.corpus.grammar import (
    END,
    Arc,
    Draw,
    End,
    Filter,
    Fork,
    Pool,
    best_derivation,
    note,
    parse_steps,
    rule,
    sample,
    sample_words,
)

W = note("word")


# Toy 1: two hidden sentence types that begin alike.
#   x (.6): a, then b (.3) or c (.7);   y (.4): a b
@rule
def toy_start(memory):
    return [Fork(0.6, "x", toy_x(0)), Fork(0.4, "y", toy_y(0))]


@rule
def toy_x(i):
    if i == 0:
        return [Arc(1.0, "a", note("word", mark="first"), toy_x(1))]
    return [Arc(0.3, "b", W, END), Arc(0.7, "c", note("word", determined_by=("first",)), END)]


@rule
def toy_y(i):
    return [Arc(1.0, "a", W, toy_y(1))] if i == 0 else [Arc(1.0, "b", W, END)]


# Toy 2: a block of one or two distinct words of {p, q, r}, said twice, then a stop. The stop
# counts how often it was said (once, then forever twice), which is the memory.
POOL = Pool(("p", "q", "r"))


@rule(cached=False)
def block_start(memory):
    return [Fork(1.0, "block", block(memory, ()))]


@rule(cached=False)
def block(memory, words):
    again = (0.0, 0.25, 1.0)[len(words)]
    return [
        Draw(1 - again, POOL, words, W, lambda word: block(memory, (*words, word))),
        Fork(again, None, copy(memory, words, 0)),
    ]


@rule(cached=False)
def copy(memory, words, i):
    if i == len(words):
        return [Arc(1.0, "stop" if memory == () else "STOP", W, End("later"))]
    return [Arc(1.0, words[i], W, copy(memory, words, i + 1))]


def block_sentences():
    """Every first sentence of toy 2 with its probability, by hand."""
    sentences = {(w, w, "stop"): 1 / 3 * 0.25 for w in POOL}
    for one, two in itertools.permutations(POOL, 2):
        sentences[one, two, one, two, "stop"] = 1 / 3 * 0.75 * 1 / 2
    return sentences


def test_filter_sums_over_hidden_types():
    at = Filter(toy_start)
    assert at.distribution() == pytest.approx({"a": 1.0})
    assert at.advance("a") == pytest.approx(0.0)
    # P(b) = .6 * .3 + .4, P(c) = .6 * .7
    assert at.distribution() == pytest.approx({"b": 0.58, "c": 0.42})
    assert at.advance("b") == pytest.approx(math.log(0.58))
    assert at.distribution() == pytest.approx({"a": 1.0})  # the next sentence


def test_filter_posterior_lets_the_second_sentence_start_afresh():
    at = Filter(toy_start)
    log_prob = sum(at.advance(word) for word in ["a", "c", "a", "b"])
    assert log_prob == pytest.approx(math.log(0.42 * 0.58))


def test_impossible_words_have_no_probability():
    at = Filter(toy_start)
    assert at.advance("b") == -math.inf
    assert at.advance("a") == -math.inf
    assert at.distribution() == {}


def test_filter_matches_a_sum_over_every_sentence():
    sentences = block_sentences()
    assert sum(sentences.values()) == pytest.approx(1.0)
    prefixes = {s[:i] for s in sentences for i in range(len(s))}
    for prefix in prefixes:
        at = Filter(block_start)
        so_far = sum(at.advance(word) for word in prefix)
        mass = {s: p for s, p in sentences.items() if s[: len(prefix)] == prefix}
        assert math.exp(so_far) == pytest.approx(sum(mass.values()))
        expected = Counter()
        for s, p in mass.items():
            expected[s[len(prefix)]] += p / sum(mass.values())
        assert at.distribution() == pytest.approx(dict(expected))


def test_equal_states_are_merged():
    at = Filter(block_start)
    for word in ["p", "p", "stop"]:
        at.advance(word)
    assert len(at.weights) == 1


def test_memory_outlasts_the_sentence():
    at = Filter(block_start)
    for word in ["p", "p", "stop", "q", "q"]:
        at.advance(word)
    assert at.distribution() == pytest.approx({"STOP": 1.0})


@pytest.mark.parametrize("start", [toy_start, block_start])
def test_sampled_words_have_the_probabilities_of_the_filter(start):
    rng = random.Random(7)
    n = 6000
    firsts = Counter(tuple(step.word for step in sample(start, rng)) for _ in range(n))
    for sentence, count in firsts.items():
        at = Filter(start)
        p = math.exp(sum(at.advance(word) for word in sentence))
        assert abs(count - n * p) < 4.5 * math.sqrt(n * p * (1 - p)) + 1e-9


def test_both_samplers_say_the_same_words():
    steps = sample(block_start, random.Random(3), 211)
    assert [step.word for step in steps] == sample_words(block_start, random.Random(3), 211)


def test_trace_is_the_probability_of_the_derivation():
    for seed in range(20):
        steps = sample(toy_start, random.Random(seed))
        got = sum(step.log_prob for step in steps)
        by_hand = {"x": {"b": 0.6 * 0.3, "c": 0.6 * 0.7}, "y": {"b": 0.4}}
        assert got == pytest.approx(math.log(by_hand[steps[0].labels[0]][steps[1].word]))


def test_best_derivation_picks_the_likelier_type():
    # "a b": .4 as y against .18 as x
    steps = best_derivation(toy_start(()), ["a", "b"])
    assert parse_steps(steps).kind == "y"
    assert sum(step.log_prob for step in steps) == pytest.approx(math.log(0.4))
    assert parse_steps(best_derivation(toy_start(()), ["a", "c"])).words[1].determined_by == (0,)


@pytest.mark.parametrize("words", [["a"], ["a", "b", "a"], ["b"], [], ["a", "z"]])
def test_what_is_no_sentence_has_no_derivation(words):
    assert best_derivation(toy_start(()), words) is None


def test_choices_that_do_not_sum_to_one_are_refused():
    @rule
    def leaky(memory):
        return [Arc(0.5, "a", W, END), Arc(0.4, "b", W, END)]

    with pytest.raises(AssertionError, match=r"sum to 0\.9"):
        sample(leaky, random.Random(0))


def test_empty_parse_is_refused():
    with pytest.raises(InputError, match="at least one word"):
        parse_steps([])
