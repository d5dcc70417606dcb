"""Steering against edited embeddings: what is added at a word is what the word then is."""

import numpy as np
import pytest
import torch
from oracles.tiny import PRIMES, tiny_model

from interp.core.errors import InputError
from interp.measures.steering import Move, SteeringReadout, random_directions, steer

D = PRIMES["d_model"]


def readout(**changes):
    rng = np.random.default_rng(0)
    tokens = rng.integers(10, 31, (7, 5))
    swapped = tokens.copy()
    tokens[:, 2], swapped[:, 2] = np.arange(7), np.arange(7)[::-1] + 1
    sign = np.array([1, 1, 1, 1, -1, -1, -1])
    values = dict(concept="x", tokens=tokens, swapped=swapped, at=2, up=(20, 21, 22), down=(23, 24),
                  sign=sign, pair=np.array([0, 1, 2, 3, 0, 1, 2]))  # fmt: skip
    return SteeringReadout(**(values | changes))


def log_softmax(x):
    x = x - x.max()
    return x - np.log(np.exp(x).sum())


def kl(before, after, keep):
    p, q = log_softmax(before[keep]), log_softmax(after[keep])
    return float((np.exp(p) * (p - q)).sum())


def test_every_column_is_what_an_edited_embedding_gives():
    model, asked = tiny_model(), readout()
    added = np.random.default_rng(1).standard_normal((7, D))
    found = steer(model, asked, [Move("x", added, (0.5, 2.0), draw=3)], batch_size=3)
    assert len(found) == 14 and (found["direction"] == "x").all() and (found["draw"] == 3).all()
    rest = [i for i in range(31) if i not in (20, 21, 22, 23, 24)]

    for row in found.itertuples():
        i = row.prompt
        before = _last(model, asked.tokens[i], None)
        vector = row.alpha * asked.sign[i] * added[i]
        after = _last(model, asked.tokens[i], (2, vector))
        partner = _last(model, asked.swapped[i], None)

        def gap(logits):
            return logits[[20, 21, 22]].mean() - logits[[23, 24]].mean()

        assert row.moved == pytest.approx((gap(after) - gap(before)) * asked.sign[i], abs=1e-10)
        assert row.swap == pytest.approx((gap(partner) - gap(before)) * asked.sign[i], abs=1e-10)
        assert row.kl_nats == pytest.approx(kl(before, after, list(range(31))), abs=1e-10)
        assert row.side_kl_nats == pytest.approx(kl(before, after, rest), abs=1e-10)
        assert row.pair == asked.pair[i]


def _last(model, tokens, edit):
    """Logits after the last token, with something added to the stream where the word enters it."""

    def add(value, hook):
        value[0, edit[0]] += torch.from_numpy(edit[1])
        return value

    hooks = [] if edit is None else [("blocks.0.hook_resid_pre", add)]
    return model.run_with_hooks(torch.from_numpy(tokens)[None], hooks)[0, -1].numpy()


def test_nothing_added_changes_nothing_and_the_difference_swaps_the_word():
    """Adding the partner's embedding minus the word's is swapping the word."""
    model, asked = tiny_model(), readout()
    W_E = model.W_E.numpy()
    to_partner = W_E[asked.swapped[:, 2]] - W_E[asked.tokens[:, 2]]
    found = steer(
        model, asked,
        [Move("none", 0 * to_partner, (1.0,)),
         Move("partner", to_partner * asked.sign[:, None], (1.0,))],
    )  # fmt: skip
    none, partner = (found[found["direction"] == name] for name in ("none", "partner"))
    assert np.abs(none[["moved", "kl_nats", "side_kl_nats"]].to_numpy()).max() < 1e-12
    assert partner["moved"].to_numpy() == pytest.approx(partner["swap"].to_numpy(), abs=1e-10)
    assert partner["swap"].abs().min() > 1e-4


def test_a_position_outside_the_prompts_is_an_error():
    with pytest.raises(InputError, match="position 5 is outside the prompts of 5 tokens"):
        steer(tiny_model(), readout(at=5), [Move("x", np.zeros((7, D)), (1.0,))])


def test_random_directions_have_length_one_and_no_preference():
    found = random_directions(31, 400, seed=1)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(400))
    assert np.abs(found.mean(axis=0)).max() < 4 / np.sqrt(31 * 400)
    assert not (random_directions(31, 1, 2) == random_directions(31, 1, 3)).any()
