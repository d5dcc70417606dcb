"""Direct attribution against a NumPy GPT that forms every head's and every neuron's vector."""

import numpy as np
import pytest
import torch
from oracles.numpy_gpt import activations, array
from oracles.tiny import tiny_model, tiny_tokens

from interp import planted
from interp.core import InputError
from interp.measures.attribution import (
    direct_attribution,
    head_projections,
    source_attribution,
    waterfall,
)
from interp.measures.logit_differences import logit_directions

TARGET, CONTRAST = torch.tensor([3, 3]), torch.tensor([7, 8])
KEYS = ["component", "layer", "head", "neuron"]
VARIANTS = [
    {},
    {"norm": "none", "positions": "none"},
    {"d_mlp": 0},
    {"tied": False, "unembed_bias": True, "mask": "window:4"},
    {"activation": "relu", "positions": "sinusoidal", "d_model": 24},
]


def by_hand(model, tokens, target, contrast, pos):
    """Every component's vector, normed with the run's mean and scale, against the unembedding."""
    config = model.config
    allowed = None
    if config.mask == "window:4":
        allowed = lambda layer, head, query, key: query - 4 < key <= query  # noqa: E731
    acts = activations(model, tokens, allowed)
    weights = {name: array(value) for name, value in model.state_dict().items()}
    W_U = array(model.W_U)
    read = W_U[:, target] - (0 if contrast is None else W_U[:, contrast])

    def share(vector):
        if config.norm == "none":
            return vector @ read
        normed = (vector - vector.mean()) / acts["ln_final.hook_scale"][pos, 0]
        return (normed * weights["ln_final.w"]) @ read

    found = {("embed", -1, -1, -1): share(acts["hook_embed"][pos])}
    if config.positions != "none":
        found["pos_embed", -1, -1, -1] = share(acts["hook_pos_embed"][pos])
    for layer in range(config.n_layers):
        name = f"blocks.{layer}"
        for head in range(config.n_heads):
            found["head", layer, head, -1] = share(acts[f"{name}.attn.hook_result"][pos, head])
        found["attn_bias", layer, -1, -1] = share(weights[f"{name}.attn.b_O"])
        if config.d_mlp:
            for neuron, size in enumerate(acts[f"{name}.mlp.hook_post"][pos]):
                vector = size * weights[f"{name}.mlp.W_out"][neuron]
                found["neuron", layer, -1, neuron] = share(vector)
            found["mlp_bias", layer, -1, -1] = share(weights[f"{name}.mlp.b_out"])
    if config.norm == "pre":
        found["norm_bias", config.n_layers, -1, -1] = weights["ln_final.b"] @ read
    if config.unembed_bias:
        bias = weights["unembed.b_U"]
        found["unembed_bias", config.n_layers, -1, -1] = bias[target] - (
            0 if contrast is None else bias[contrast]
        )
    logits = acts["logits"][pos]
    return found, logits[target] - (0 if contrast is None else logits[contrast])


def close(found, expected):
    return found == pytest.approx(expected, abs=1e-10, rel=1e-10)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("contrast", [CONTRAST, None], ids=["contrast", "target alone"])
def test_every_component_has_its_share_and_the_shares_sum_to_the_logits(changes, contrast):
    model, tokens = tiny_model(**changes), tiny_tokens()
    frame = direct_attribution(model, tokens, TARGET, contrast, 6)
    for prompt in range(2):
        rival = None if contrast is None else int(contrast[prompt])
        expected, total = by_hand(model, tokens[prompt].tolist(), 3, rival, 6)
        own = frame[frame["prompt"] == prompt]
        assert close(own["contribution"].sum(), total)
        assert own["logit_diff"].tolist() == pytest.approx([total] * len(own), abs=1e-10)
        found = own.set_index(KEYS)["contribution"]
        neurons = {key: value for key, value in expected.items() if key[0] == "neuron"}
        for layer in range(model.config.n_layers if neurons else 0):
            whole = sum(value for key, value in neurons.items() if key[1] == layer)
            assert close(found["mlp", layer, -1, -1], whole)
        single = {key: value for key, value in expected.items() if key[0] != "neuron"}
        assert len(found) == len(single) + bool(neurons) * model.config.n_layers
        for key, value in single.items():
            assert close(found[key], value), key


def test_the_largest_neurons_have_rows_and_the_rest_of_their_layer_has_one():
    model, tokens = tiny_model(), tiny_tokens()
    frame = direct_attribution(model, tokens, TARGET, CONTRAST, n_neurons=5)
    whole = direct_attribution(model, tokens, TARGET, CONTRAST)
    for prompt in range(2):
        expected, total = by_hand(model, tokens[prompt].tolist(), 3, int(CONTRAST[prompt]), 10)
        neurons = {k: v for k, v in expected.items() if k[0] == "neuron"}
        largest = sorted(neurons, key=lambda key: -abs(neurons[key]))[:5]
        own = frame[frame["prompt"] == prompt]
        found = own.set_index(KEYS)["contribution"]
        assert {key for key in found.index if key[0] == "neuron"} == set(largest)
        for key in largest:
            assert close(found[key], neurons[key])
        assert close(own["contribution"].sum(), total)
        layers = {key[1] for key in largest}
        for layer in range(3):
            of_layer = [found[key] for key in largest if key[1] == layer]
            rest = found["mlp_rest" if layer in layers else "mlp", layer, -1, -1]
            mlps = whole[(whole["prompt"] == prompt) & (whole["component"] == "mlp")]
            assert close(rest + sum(of_layer), mlps.set_index("layer")["contribution"][layer])
        assert own["layer"].tolist() == sorted(own["layer"])  # in the order of writing


def test_a_head_s_share_splits_by_source_position_as_a_loop_over_keys_says():
    model, tokens = tiny_model(), tiny_tokens()
    pos, heads = 8, [(0, 4), (2, 1)]
    frame = source_attribution(model, tokens, TARGET, CONTRAST, pos, heads=heads)
    assert len(frame) == 2 * 2 * 11
    for prompt in range(2):
        acts = activations(model, tokens[prompt].tolist())
        read = array(model.W_U)[:, 3] - array(model.W_U)[:, int(CONTRAST[prompt])]
        for layer, head in heads:
            name = f"blocks.{layer}.attn"
            W_O = array(model.blocks[layer].attn.W_O[head])
            own = frame[(frame["prompt"] == prompt) & (frame["layer"] == layer)]
            for row in own.itertuples():
                brought = acts[f"{name}.hook_v"][row.key_pos, head] @ W_O
                normed = (brought - brought.mean()) / acts["ln_final.hook_scale"][pos, 0]
                value = (normed * array(model.ln_final.w)) @ read
                attention = acts[f"{name}.hook_pattern"][head, pos, row.key_pos]
                assert close(row.value, value) and close(row.attention, attention)
                assert close(row.contribution, attention * value)
                assert row.token == tokens[prompt, row.key_pos]


def test_head_projections_are_the_heads_outputs_along_the_directions():
    model, tokens = tiny_model(), tiny_tokens()
    directions = logit_directions(model, torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6]))
    names = [f"blocks.{layer}.attn.hook_{s}" for layer in range(3) for s in ("z", "result")]
    _, cache = model.run_with_cache(tokens, names)
    found = head_projections(model, cache, directions)
    assert found.shape == (3, 2, 11, 5, 3)
    results = array(cache.stack("result"))
    np.testing.assert_allclose(array(found), results @ array(directions).T, atol=1e-12)


def test_planted_heads_have_the_shares_of_their_answer_key():
    n_facts = 0
    for name in ("erasure_pair", "name_mover", "agreement", "bias_sink"):
        made = planted.plant(name)
        key_facts = [f for f in made.key.facts if isinstance(f, planted.AttributionFact)]
        n_facts += len(key_facts)
        for fact in key_facts:
            prompts = made.prompts(fact.prompts)
            shares = []
            asked = (prompts.answers >= 0).nonzero()[:12]
            for row, pos in asked.tolist():
                target, contrast = int(prompts.answers[row, pos]), int(prompts.rivals[row, pos])
                frame = direct_attribution(made.model, prompts.tokens[row], target, contrast, pos)
                heads = frame[frame["component"] == "head"].set_index(["layer", "head"])
                shares.append(heads["contribution"][fact.head])
            assert np.mean(shares) == pytest.approx(fact.value, abs=fact.tolerance)
    assert n_facts >= 4


def test_a_waterfall_keeps_the_largest_parts_and_ends_at_the_mean_logit_difference():
    model, tokens = tiny_model(), tiny_tokens()
    for n_neurons in (0, 4):
        frame = direct_attribution(model, tokens, TARGET, CONTRAST, n_neurons=n_neurons)
        bars = waterfall(frame, 6)
        assert len(bars) == 7 and bars["component"].iloc[-1] == "remainder"
        means = frame.groupby(KEYS)["contribution"].sum() / 2
        largest = means.loc[means.abs().sort_values().index[-6:]]
        assert bars["layer"][:6].is_monotonic_increasing
        for row in bars[:6].itertuples():
            key = (row.component, row.layer, row.head, row.neuron)
            assert close(row.contribution, largest[key])
        assert bars["n_parts"].sum() == len(means)
        logits = model(tokens)[:, -1]
        truth = (logits[[0, 1], TARGET] - logits[[0, 1], CONTRAST]).mean().item()
        assert close(bars["end"].iloc[-1], truth) and close(bars["logit_diff"][0], truth)
        assert bars["start"][0] == pytest.approx(0, abs=1e-12)
        np.testing.assert_allclose(bars["start"][1:], bars["end"][:-1], atol=1e-12)
    with pytest.raises(InputError, match="at least one part"):
        waterfall(frame, 0)


def test_weights_that_ask_for_gradients_and_half_precision_are_read_too():
    model, tokens = tiny_model(torch.float32), tiny_tokens()
    expected = direct_attribution(model, tokens, 3, 7)["contribution"]
    model.requires_grad_(True)
    found = direct_attribution(model, tokens, 3, 7)["contribution"]
    assert found.tolist() == expected.tolist()
    source_attribution(model, tokens, 3, 7)
    half = direct_attribution(model.to(torch.bfloat16), tokens, 3, 7)["contribution"]
    assert np.corrcoef(half, expected)[0, 1] > 0.99


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"position": 11}, "position 11 does not exist; the prompts have 11 tokens"),
        ({"target": 31}, "target token 31 does not exist"),
        ({"contrast": -1}, "contrast token -1 does not exist"),
        ({"target": torch.tensor([1, 2, 3])}, "3 target tokens came for 2 prompts"),
        ({"contrast": 3}, "same token"),
        ({"changes": {"norm": "post"}}, "normalises after each sum"),
    ],
)
def test_wrong_calls_are_answered_in_a_sentence(call, said, no_type_checks):
    model = tiny_model(**call.pop("changes", {}))
    arguments = {"target": 3, "contrast": 7, **call}
    with pytest.raises(InputError, match=said):
        direct_attribution(model, tiny_tokens(), **arguments)
    if call == {"position": 11}:
        with pytest.raises(InputError, match="L3H0 does not exist"):
            source_attribution(model, tiny_tokens(), 3, 7, heads=[(3, 0)])
