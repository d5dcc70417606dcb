import numpy as np
import pytest

from interp.core import InputError
from interp.measures import random_token_prompts, text_prompts


def test_random_prompts_repeat_and_controls_do_not():
    prompts = random_token_prompts(np.arange(3, 103), 31, n_ctx=41, bos_id=2, seed=7)
    assert sum(map(len, prompts.batches)) == 31
    assert [batch.tokens.shape[1] for batch in prompts.batches] == [21, 31, 41]
    for batch in prompts.batches:
        period = (batch.tokens.shape[1] - 1) // 2
        for tokens, control, queries in zip(
            batch.tokens, batch.control, batch.queries, strict=True
        ):
            assert tokens[0] == control[0] == 2
            first, second = tokens[1 : 1 + period], tokens[1 + period :]
            assert first.tolist() == second.tolist()
            assert len(set(first)) == period
            assert control[1 + period :].tolist() == second.tolist()
            assert not set(control[1 : 1 + period]) & set(second)
            assert len(set(control)) == len(control)
            assert queries.tolist() == [False] * (1 + period) + [True] * period


def test_units_are_the_prompts():
    prompts = random_token_prompts(np.arange(50), 13, n_ctx=20)
    assert prompts.n_units == 13


def test_same_seed_same_prompts():
    a, b, c = (random_token_prompts(np.arange(50), 9, n_ctx=20, seed=seed) for seed in (1, 1, 2))
    assert (a.batches[0].tokens == b.batches[0].tokens).all()
    assert (a.batches[0].tokens != c.batches[0].tokens).any()


@pytest.mark.parametrize("n_ctx, n_vocab", [(8, 100), (64, 7)])
def test_no_room_for_a_repeat_is_an_error(n_ctx, n_vocab):
    with pytest.raises(InputError, match="a repeat of 4 tokens needs"):
        random_token_prompts(np.arange(n_vocab), 10, n_ctx, bos_id=0)


def test_text_prompts_break_the_rarest_repeat_and_nothing_else():
    windows = np.array(
        [
            [0, 5, 1, 7, 5, 1, 8, 9],  # 5 and 1 repeat; over all windows 5 is rarer
            [0, 6, 2, 6, 3, 6, 4, 6],  # 6 is the only repeat
            [0, 1, 2, 3, 4, 7, 8, 9],  # nothing repeats
            [0, 3, 3, 2, 9, 8, 6, 1],  # 3 repeats, but at once
        ]
    )
    (batch,) = text_prompts([windows], special=[0]).batches
    assert (batch.tokens == windows).all()
    assert [np.flatnonzero(row).tolist() for row in batch.queries] == [[4], [7], [], []]
    # Each takes the other's token.
    assert batch.control[0].tolist() == [0, 6, 1, 7, 5, 1, 8, 9]
    assert batch.control[1].tolist() == [0, 5, 2, 5, 3, 5, 4, 6]
    assert (batch.control[2:] == windows[2:]).all()


def test_text_controls_keep_the_distribution_of_replaced_tokens():
    """Over many windows, what stands at the replaced places is what stood there before."""
    rng = np.random.default_rng(0)
    windows = np.array([rng.permutation(np.arange(1, 40)) for _ in range(3000)])
    windows[:, 20] = windows[:, 5]
    (batch,) = text_prompts([windows], seed=1).batches
    assert batch.queries.any(axis=1).mean() > 0.99
    assert (batch.queries.argmax(axis=1)[batch.queries.any(axis=1)] == 20).all()
    before = np.bincount(batch.tokens[:, 5], minlength=40)
    after = np.bincount(batch.control[:, 5], minlength=40)
    assert np.abs(before - after).max() < 6 * np.sqrt(3000 / 39)
    unchanged = np.delete(batch.control, 5, axis=1) == np.delete(windows, 5, axis=1)
    assert unchanged.all()


def test_templates_are_units():
    windows = [np.arange(12).reshape(2, 6), np.arange(12, 33).reshape(3, 7)]
    prompts = text_prompts(windows, units=[np.array([4, 5]), np.array([5, 4, 6])])
    assert prompts.n_units == 3


def test_a_window_that_holds_every_replacement_has_no_query():
    """A replacement that stands elsewhere in the window would make a new repeat."""
    windows = np.array([[5, 6, 7, 5], [6, 1, 2, 6]])
    (batch,) = text_prompts([windows]).batches
    assert batch.queries.tolist() == [[False] * 4, [False] * 3 + [True]]
    assert batch.control.tolist() == [[5, 6, 7, 5], [5, 1, 2, 6]]
