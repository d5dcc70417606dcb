"""Folding and centring: other weights, the same log-probabilities, exactly."""

from itertools import permutations

import pytest
import torch
from oracles.tiny import tiny_model

from interp.core import InputError
from interp.core.processing import (
    center_unembed,
    center_writing_weights,
    fold_ln,
    fold_value_biases,
)

STEPS = (fold_ln, center_writing_weights, center_unembed, fold_value_biases)
VARIANTS = {
    "gpt2": {},
    "untied": {"tied": False, "unembed_bias": True},
    "attention only": {"d_mlp": 0},
    "no positions": {"positions": "none"},
    "windowed": {"mask": "window:3"},
}


def log_probs(model, tokens):
    return model(tokens).log_softmax(-1)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("step", STEPS)
def test_each_step_keeps_the_log_probabilities(step, variant, tokens):
    model = tiny_model(**VARIANTS[variant])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    processed = step(model)
    assert (log_probs(processed, tokens) - log_probs(model, tokens)).abs().max() < 1e-10
    assert processed.processing == (step.__name__,)
    assert model.processing == ()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    own = {p.data_ptr() for p in processed.parameters()}
    assert own.isdisjoint(p.data_ptr() for p in model.parameters())


@pytest.mark.parametrize(
    "order", list(permutations(STEPS)), ids=lambda o: ",".join(s.__name__ for s in o)
)
def test_all_steps_in_any_order(model, tokens, order):
    processed = model
    for step in order:
        processed = step(processed)
    assert (log_probs(processed, tokens) - log_probs(model, tokens)).abs().max() < 1e-10
    assert processed.processing == tuple(step.__name__ for step in order)


def test_what_each_step_promises(model, tokens):
    folded = fold_ln(model)
    for name, value in folded.state_dict().items():
        if ".ln" in name or name.startswith("ln_final"):
            assert torch.equal(value, torch.ones_like(value) * (1.0 if name.endswith("w") else 0.0))
    for weight in (folded.W_Q, folded.W_K, folded.W_V, folded.W_in, folded.W_U):
        assert weight.mean(-2).abs().max() < 1e-14
    assert not folded.config.tied and folded.config.unembed_bias
    assert (folded(tokens) - model(tokens)).abs().max() < 1e-10

    centered = center_writing_weights(model)
    for weight in (centered.W_E, centered.W_pos, centered.W_O, centered.b_O, centered.W_out):
        assert weight.mean(-1).abs().max() < 1e-14
    assert torch.equal(centered.W_U, model.W_U)
    assert centered(tokens, stop_at_layer=2).mean(-1).abs().max() < 1e-13

    shifted = center_unembed(folded)
    assert shifted(tokens).mean(-1).abs().max() < 1e-12
    moved = shifted(tokens) - folded(tokens)
    assert (moved - moved[..., :1]).abs().max() < 1e-12
    assert moved.abs().max() > 1e-3

    values = fold_value_biases(model)
    assert not values.b_V.any()
    by_hand = model.b_O[1] + sum(model.b_V[1, h] @ model.W_O[1, h] for h in range(5))
    assert (values.b_O[1] - by_hand).abs().max() < 1e-13


def test_what_cannot_be_processed_is_refused():
    for step in (fold_ln, center_writing_weights):
        for norm in ("post", "none"):
            with pytest.raises(InputError, match=f"norm='{norm}'"):
                step(tiny_model(norm=norm))
    with pytest.raises(InputError, match="Sinusoidal"):
        center_writing_weights(tiny_model(positions="sinusoidal", d_model=26))
