"""Oracle: a loop over single windows that knows only the description of the task."""

import numpy as np
import pytest
from scipy import stats

from interp.core.errors import InputError
from interp.corpus import TriggerTask


def test_predictable_tokens_repeat_what_followed_before():
    tokens, predictable = TriggerTask().batch(1, 300, 33)
    for row, mask in zip(tokens, predictable, strict=True):
        for pos in np.flatnonzero(mask):
            trigger = row[pos - 1]
            earlier = [p for p in range(1, pos - 1) if row[p] == trigger]
            assert earlier, "a value cannot be known before its trigger was seen"
            # A trigger is never filler or value, so all its occurrences have the same follower.
            assert {row[p + 1] for p in earlier} == {row[pos]}
            following = [p for p in range(pos, len(row) - 1) if row[p] == trigger]
            assert all(mask[p + 1] and row[p + 1] == row[pos] for p in following)


def test_number_of_triggers_and_how_often_they_fire():
    """Positions alternate freely: with chance p a trigger and then a value, else one filler.

    Hence values take the share p / (1 + p) of all positions in the long run.
    """
    task = TriggerTask(d_vocab=67, trigger_chance=0.45)
    tokens, predictable = task.batch(2, 400, 1001)
    counts = []
    for row, mask in zip(tokens, predictable, strict=True):
        counts.append(len(set(row[np.flatnonzero(mask) - 1].tolist())))
    observed = [counts.count(n) for n in (2, 3, 4, 5)]
    assert sum(observed) == 400
    assert stats.chisquare(observed).pvalue > 1e-4
    assert predictable.mean() == pytest.approx(0.45 / 1.45, abs=0.01)
    assert (tokens[:, 0] == 0).all() and tokens[:, 1:].min() == 1 and tokens.max() == 66


def test_unpredictable_tokens_are_spread_over_the_vocabulary():
    tokens, predictable = TriggerTask().batch(3, 2000, 33)
    counts = np.bincount(tokens[:, 1:][~predictable[:, 1:]], minlength=64)[1:]
    assert counts.min() > 0.8 * counts.mean() and counts.max() < 1.2 * counts.mean()


def test_same_seed_same_batch():
    one, two, three = (TriggerTask().batch(seed, 5, 33) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.tokens, two.tokens)
    assert (one.tokens != three.tokens).any()


def test_wrong_sizes_are_refused():
    with pytest.raises(InputError, match="batch_size=0"):
        TriggerTask().batch(0, 0, 33)
    with pytest.raises(InputError, match="n_triggers"):
        TriggerTask(d_vocab=7).batch(0, 2, 33)
