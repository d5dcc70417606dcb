"""Any model that a config can describe: against the NumPy GPT, in parts, and in other weights."""

import json

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import numpy_gpt
from oracles.numpy_gpt import allowed_by, close
from oracles.strategies import bounded, models, shapes, tokens_for

from interp.core import GPTConfig
from interp.core.processing import (
    center_unembed,
    center_writing_weights,
    fold_ln,
    fold_value_biases,
)


@bounded(30)
@given(st.data())
def test_any_model_equals_the_numpy_gpt_fused_and_explicit(data):
    """Oracle: tests/oracles/numpy_gpt.py, every activation of every variant."""
    model = data.draw(models())
    tokens = data.draw(tokens_for(model, batch=(1, 2), pos=(1, 5)))
    fused, cache = model.run_with_cache(tokens, model.hook_names, return_type="logits")
    explicit = model.run_with_hooks(tokens, [(lambda name: True, lambda value, hook: None)])
    for row, ids in enumerate(tokens.tolist()):
        expected = numpy_gpt.activations(model, ids, allowed_by(model.config.mask))
        logits = expected.pop("logits")
        assert np.isfinite(logits).all()
        for ours in (model(tokens), fused, explicit):
            assert close(ours[row].numpy(), logits)
        assert set(cache) == set(expected)
        for name, value in expected.items():
            finite = np.isfinite(value)
            ours = cache[name][row].numpy()
            assert (np.isfinite(ours) == finite).all(), name
            assert close(ours[finite], value[finite]), name


@bounded(25)
@given(st.data())
def test_any_run_may_stop_and_go_on_at_any_layer(data):
    model = data.draw(models())
    tokens = data.draw(tokens_for(model))
    layers = data.draw(st.lists(st.integers(0, model.config.n_layers), max_size=3).map(sorted))
    stream, start = tokens, None
    for layer in layers:
        stream, start = model(stream, start_at_layer=start, stop_at_layer=layer), layer
    assert torch.equal(model(stream, start_at_layer=start), model(tokens))


@bounded(40)
@given(shapes())
def test_any_config_survives_json(fields):
    config = GPTConfig(**fields)
    assert GPTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@bounded(25)
@given(st.data())
def test_foldings_in_any_order_keep_the_log_probabilities(data):
    """Also twice, and of the models for which only some of them are defined."""
    model = data.draw(models())
    config = model.config
    steps = [center_unembed, fold_value_biases]
    steps += [fold_ln] if config.norm == "pre" else []
    steps += (
        [center_writing_weights] if fold_ln in steps and config.positions != "sinusoidal" else []
    )
    order = data.draw(st.lists(st.sampled_from(steps), min_size=1, max_size=5))
    tokens, processed = data.draw(tokens_for(model)), model
    before = model(tokens).log_softmax(-1)
    for step in order:
        processed = step(processed)
    moved = (processed(tokens).log_softmax(-1) - before).abs().max()
    assert moved < 1e-10 * max(1.0, before.abs().max())
    assert processed.processing == tuple(step.__name__ for step in order)
