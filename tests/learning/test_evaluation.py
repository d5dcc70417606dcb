import math
from dataclasses import dataclass, replace

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from interp.core import GPTConfig, HookedGPT, InitScales, InputError
from interp.corpus import Language, TriggerTask
from interp.corpus.prompts import MinimalPair, NgramCounts, RepeatedBlocks
from interp.learning import RECIPES, Suite, evaluate, evaluation_table, shallowest_control
from interp.learning.evaluation import (
    REPEATS,
    ModelPredictions,
    NgramPredictions,
    TriggerEvaluation,
    analogies,
    as_dict,
    embedding_metrics,
    leave_one_out_direction,
    wilson_interval,
)


@dataclass(frozen=True)
class Oracle:
    """The best possible model: it knows the grammar."""

    language: Language

    def losses(self, tokens):
        return np.stack([-self.language.log_probs(row) for row in tokens])

    def probabilities(self, rows):
        return np.stack([self.language.next_token_distribution(row) for row in rows])


@pytest.fixture(scope="module")
def language() -> Language:
    return Language()


@pytest.fixture(scope="module")
def suite(language) -> Suite:
    # Type checks make sampling ten times as slow, and the corpus's own tests run with them.
    jaxtyping.config.update("jaxtyping_disable", True)
    sampled = Suite.sample(language, n=26, seed=3)
    jaxtyping.config.update("jaxtyping_disable", False)
    return sampled


def test_the_best_possible_model_does_everything_that_the_language_decides(language, suite):
    """Oracle: the grammar itself; with the facts that training never shows it is another one."""
    shown = {name: pairs for name, pairs in suite.pairs.items() if not name.endswith("held_out")}
    with np.errstate(invalid="ignore"):  # the spread of infinite losses
        values = as_dict(replace(suite, pairs=shown).run(Oracle(language)))
    assert values["loss_gap"] == 0
    assert values["loss"] == values["best_loss"] > 1
    assert {values[name] for name in shown} == {1}
    assert values["repeat_loss_first"] > 5
    assert values["repeat_loss_control"] == np.inf  # the grammar repeats every block
    assert values["repeat_loss_second"] < 0.7
    assert values["long_repeat_loss_second"] == np.inf  # longer than any block of the language
    hidden = {name: pairs for name, pairs in suite.pairs.items() if name not in shown}
    with np.errstate(invalid="ignore"):
        values = as_dict(replace(suite, pairs=hidden).run(Oracle(Language(held_out=True))))
    assert {values[name] for name in hidden} == {1}
    assert len(hidden) == 2


def test_a_model_without_weights_knows_nothing(language, suite):
    config = replace(RECIPES["small"].config, n_layers=1)
    zero = HookedGPT(config, init=InitScales(0.0, 0.0, 0.0, 0.0, 0.0)).eval()
    values = as_dict(suite.run(ModelPredictions(zero)))
    copies = [f"{name}_{copy}" for name in REPEATS for copy in ("first", "second", "control")]
    for name in ("loss", *copies):
        assert values[name] == pytest.approx(math.log(config.d_vocab), rel=1e-6)
    assert values["loss_gap"] == pytest.approx(values["loss"] - values["best_loss"], rel=1e-9)
    # One right word against one wrong one is a tie, one against eleven is lost.
    assert values["pronoun"] == values["agreement"] == values["indirect_objects"] == 0.5
    assert values["facts"] == values["temper"] == values["indirect_objects_3_names"] == 0


@dataclass(frozen=True)
class Table:
    """Predictions by hand: the last token of the prompt picks a row."""

    rows: np.ndarray

    def losses(self, tokens):
        return -np.log(self.rows[tokens[:, :-1], tokens[:, 1:]])

    def probabilities(self, rows):
        return self.rows[[row[-1] for row in rows]]


def test_a_rigged_table_gives_the_accuracies_and_losses_counted_by_hand():
    table = Table(
        np.array(
            [
                [0.10, 0.20, 0.30, 0.40],
                [0.25, 0.25, 0.25, 0.25],
                [0.05, 0.60, 0.30, 0.05],
            ]
        )
    )

    def pair(last, correct, rival):
        return MinimalPair((0, last), correct, rival, "by hand")

    pairs = {
        "three_of_five": [
            pair(0, (3,), (2,)),  # .4 > .3
            pair(0, (1, 2), (3,)),  # .5 > .4
            pair(0, (1,), (3,)),  # .2 < .4
            pair(2, (1,), (2, 0)),  # .6 > .35
            pair(2, (0,), (1, 2)),  # .05 < .9
        ],
        "a_tie": [pair(1, (0,), (1,))],
        "two_of_three": [pair(0, (0,), (3,)), pair(2, (1,), (3,)), pair(2, (2,), (3,))],
    }
    windows = np.array([[0, 1, 2], [0, 2, 1]])
    best = np.zeros((2, 2))
    blocks = RepeatedBlocks(
        np.array([[0, 1, 2, 1, 2], [0, 2, 1, 2, 1]]),
        np.array([[0, 1, 1, 1, 2], [0, 2, 2, 2, 1]]),
        slice(1, 3),
        slice(3, 5),
    )
    frame = Suite(pairs, windows, best, {"repeat_loss": blocks}).run(table)
    values = as_dict(frame)
    assert values["three_of_five"] == pytest.approx(3 / 5)
    assert values["a_tie"] == 0.5
    assert values["two_of_three"] == pytest.approx(2 / 3)
    log = {k: -math.log(k) for k in (0.2, 0.25, 0.3, 0.6)}
    window_means = [(log[0.2] + log[0.25]) / 2, (log[0.3] + log[0.6]) / 2]
    assert values["loss"] == values["loss_gap"] == pytest.approx(sum(window_means) / 2)
    first = (log[0.2] + log[0.25] + log[0.3] + log[0.6]) / 4
    second = (log[0.6] + log[0.25] + log[0.25] + log[0.6]) / 4
    # The control's second block follows 1 and 2, with 1 2 and 2 1: .25 .25 and .3 .6.
    control = (2 * log[0.25] + log[0.3] + log[0.6]) / 4
    assert values["repeat_loss_first"] == pytest.approx(first)
    assert values["repeat_loss_second"] == pytest.approx(second)
    assert values["repeat_loss_control"] == pytest.approx(control)
    row = frame.set_index("metric").loc["loss"]
    error = np.std(window_means, ddof=1) / math.sqrt(2)
    assert row["n"] == 2
    assert row["ci_high"] - row["value"] == pytest.approx(1.96 * error, rel=1e-4)
    shares = frame[frame["unit"] == "share"].set_index("metric")
    assert shares["n"].tolist() == [5, 1, 3]


def test_rows_of_many_lengths_give_what_they_give_alone():
    config = GPTConfig(n_layers=2, d_model=12, n_heads=3, n_ctx=9, d_vocab=11)
    model = HookedGPT(config, init=InitScales(token=0.5, position=0.5, qkv=0.3)).eval()
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 11, rng.integers(1, 10)).tolist() for _ in range(301)]
    together = ModelPredictions(model).probabilities(rows)
    for row, probs in zip(rows, together, strict=True):
        alone = model(torch.tensor(row))[0, -1].double().softmax(-1)
        np.testing.assert_allclose(probs, alone.detach().numpy(), atol=1e-6)
    tokens = rng.integers(0, 11, (133, 10))
    losses = ModelPredictions(model).losses(tokens)
    assert losses.shape == (133, 9)
    for row, expected in zip(tokens[::7], losses[::7], strict=True):
        log_probs = model(torch.tensor(row[:-1]))[0].double().log_softmax(-1)
        by_hand = [-log_probs[i, row[i + 1]].item() for i in range(9)]
        np.testing.assert_allclose(expected, by_hand, atol=1e-5)


def test_ngram_predictions_by_hand():
    counts = NgramCounts(np.array([2, 1, 5]), np.array([[0, 1, 0], [0, 0, 3], [2, 0, 2]]))
    tokens, smooth = np.array([[0, 1, 2, 2]]), 0.01
    p = [(5 + smooth) / 8.03, (1 + smooth) / 8.03]
    unigram = [[-math.log(p[1]), -math.log(p[0]), -math.log(p[0])]]
    np.testing.assert_allclose(NgramPredictions(counts, 1).losses(tokens), unigram)
    q = [1.01 / 1.03, 3.01 / 3.03, 2.01 / 4.03]
    np.testing.assert_allclose(NgramPredictions(counts, 2).losses(tokens), -np.log([q]))
    after_two = [2.01 / 4.03, 0.01 / 4.03, 2.01 / 4.03]
    probs = NgramPredictions(counts, 2).probabilities([(0, 1), (2,)])
    np.testing.assert_allclose(probs[1], after_two)
    with pytest.raises(InputError, match="order=3"):
        NgramPredictions(counts, 3)


def test_evaluation_prompts_are_fresh_and_repeatable(language, suite, no_type_checks):
    again = Suite.sample(language, n=26, seed=3)
    assert again.pairs == suite.pairs
    np.testing.assert_array_equal(again.windows, suite.windows)
    trained = {tuple(row) for step in range(30) for row in language.batch(
        np.random.default_rng([0, step]), 32, 65)}  # fmt: skip
    assert not trained & {tuple(row) for row in suite.windows}
    with pytest.raises(InputError, match="n=1"):
        Suite.sample(language, n=1)


def test_evaluate_is_the_table_and_refuses_other_vocabularies(language, no_type_checks):
    model = HookedGPT(replace(RECIPES["small"].config, n_layers=1, d_mlp=0)).eval()
    table = evaluation_table(model, language, n=13)
    assert table["metric"].is_unique
    assert (table["ci_low"] <= table["value"]).all()
    assert (table["value"] <= table["ci_high"]).all()
    assert evaluate(model, language, n=13) == as_dict(table)
    other = HookedGPT(GPTConfig(n_layers=1, d_model=4, n_heads=1, n_ctx=8, d_vocab=7))
    with pytest.raises(InputError, match="d_vocab=7"):
        evaluate(other, language)


def test_a_leave_one_out_direction_by_hand():
    """Three pairs differ along x, with y unrelated; the fourth is the wrong way round."""
    offset = np.array([100.0, -7.0])
    pairs = np.array(
        [[[1, 5], [-1, 5]], [[2, -3], [-2, -3]], [[1, 0], [-1, 0]], [[-1, 1], [1, 1]]], dtype=float
    )
    members, within = leave_one_out_direction(pairs + offset)
    np.testing.assert_array_equal(members, [[1, 1], [1, 1], [1, 1], [0, 0]])
    np.testing.assert_array_equal(within, [1, 1, 1, 0])
    # Both members of a pair on one side: in the right order, but one of them misplaced.
    pairs[2] = [[3, 0], [2, 0]]
    members, within = leave_one_out_direction(pairs[:3])
    np.testing.assert_array_equal(members[2], [1, 0])
    assert within[2] == 1


def test_analogies_by_hand():
    """Gender along y, role along x and z; king and queen are nearest to each other in one case."""
    man, woman, king, queen, apple = range(5)
    W_E = np.array(
        [[1, 0.9, 0], [1, -0.9, 0], [0, 0.9, 1], [0, -0.9, 1], [0.1, 0.0, -1]], dtype=float
    )
    quadruple = np.array([[man, woman, king, queen]])
    found = analogies(W_E, quadruple, np.arange(5))
    assert {name: right.tolist() for name, right in found.items()} == {
        "analogy": [1.0],
        "analogy_all_words": [1.0],
        "analogy_nearest": [1.0],
    }
    # A small offset between long vectors: c itself stays the nearest, and excluding it, the
    # nearest of the rest is right with and without the offset.
    weak = W_E * [1, 0.1, 1]
    weak_offset = analogies(weak * [1, 1, 3], quadruple, np.arange(5))
    assert weak_offset["analogy"].tolist() == weak_offset["analogy_nearest"].tolist() == [1.0]
    # Another word lies nearer to king than queen does, but not in the direction of the offset.
    W_E[apple] = [0, 0.8, 1]
    found = analogies(W_E, quadruple, np.arange(5))
    assert (found["analogy"][0], found["analogy_nearest"][0]) == (1.0, 0.0)
    # A word that is not among the candidates is never the answer.
    assert analogies(W_E, quadruple, np.array([man, woman, king, apple]))["analogy"][0] == 0


def test_the_embedding_of_a_planted_model(language):
    """Planted: role vectors at random, plus or minus one gender vector."""
    from interp.corpus import lexicon

    model = HookedGPT(RECIPES["small-1l"].config, init=InitScales(token=1.0, position=0.0))
    ids, generator = language.tokenizer.ids, torch.Generator().manual_seed(0)
    gender = 4 * torch.randn(128, generator=generator)
    with torch.no_grad():
        for man, woman in lexicon.GENDER_PAIRS:
            role = 3 * torch.randn(128, generator=generator)
            model.embed.W_E[ids[man]], model.embed.W_E[ids[woman]] = role + gender, role - gender
    values = as_dict(embedding_metrics(model))
    assert values["gender_direction"] == values["gender_direction_within_pair"] == 1
    assert values["analogy"] == values["analogy_all_words"] == 1
    # The strong gender vector makes all men neighbours, so the offset did the work.
    assert values["analogy_nearest"] == 0
    assert 0.2 < values["neutral_direction"] < 0.8


def test_trigger_losses_of_a_model_that_knows_nothing():
    config = replace(RECIPES["trigger"].config, n_layers=1)
    zero = HookedGPT(config, init=InitScales(0.0, 0.0, 0.0, 0.0, 0.0)).eval()
    values = TriggerEvaluation(TriggerTask(), n=31)(zero)
    assert values["predictable_loss"] == pytest.approx(math.log(64))
    assert values["other_loss"] == pytest.approx(math.log(64))
    # Logits all alike: the first token, <bos>, which is never right.
    assert values["predictable_accuracy"] == 0


def test_trigger_losses_split_where_the_task_says(no_type_checks):
    """Oracle: a bigram of the window so far, which is right wherever the task is predictable."""

    class Remembers:
        W_E = torch.zeros(1)

        def __call__(self, tokens):
            logits = torch.zeros(*tokens.shape, 64)
            for b, row in enumerate(tokens.tolist()):
                follower = {}
                for i, token in enumerate(row):
                    if token in follower:
                        logits[b, i, follower[token]] = 20.0
                    if i:
                        follower[row[i - 1]] = token
            return logits

    evaluation = TriggerEvaluation(TriggerTask(), n=29)
    values = evaluation(Remembers())
    assert values["predictable_accuracy"] > 0.95
    assert values["other_loss"] > math.log(64)


@pytest.mark.parametrize(("k", "n"), [(0, 7), (7, 7), (3, 11), (97, 100), (500, 501)])
def test_wilson_intervals_against_scipy(k, n):
    expected = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    assert wilson_interval(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_shallowest_control_that_does_as_well():
    def table(**values):
        rows = [
            (m, v, "nats" if better == "lower" else "share", better, 10, low, high)
            for m, (v, better, low, high) in values.items()
        ]
        return pd.DataFrame(
            rows, columns=["metric", "value", "unit", "better", "n", "ci_low", "ci_high"]
        )

    model = table(
        acc=(0.97, "higher", 0.93, 0.99),
        hard=(0.9, "higher", 0.85, 0.95),
        loss=(1.7, "lower", 1.6, 1.8),
        own=(1.0, "higher", 0.9, 1.0),
        reference=(0.5, "", 0.1, 0.9),
    )
    bigram = table(
        acc=(0.94, "higher", 0, 1),
        hard=(0.5, "higher", 0, 1),
        loss=(2.0, "lower", 0, 9),
        reference=(0.5, "", 0, 1),
    )
    one_layer = table(
        acc=(1.0, "higher", 0, 1), hard=(0.8, "higher", 0, 1), loss=(1.79, "lower", 0, 9)
    )
    found = shallowest_control(model, {"bigram": bigram, "one layer": one_layer})
    assert found.to_dict() == {
        "acc": "bigram",
        "hard": "",
        "loss": "one layer",
        "own": "",
        "reference": "",
    }
