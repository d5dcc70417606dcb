"""Fields of config.json: honoured as transformers does, or refused by name."""

import dataclasses

import pytest
from transformers import GPT2Config

from interp.core import GPTConfig, InputError
from interp.loading.hf_config import config_from_gpt2, config_to_gpt2, inexpressible_in_gpt2

PLAIN = {"model_type": "gpt2", "n_layer": 3, "n_head": 5, "n_embd": 55, "n_positions": 37,
         "vocab_size": 211}  # fmt: skip


def read(**fields):
    return config_from_gpt2(PLAIN | fields, "config.json").config


def test_the_defaults_are_those_of_transformers():
    """Oracle: what GPT2Config fills in for the fields that a config.json leaves out."""
    theirs = GPT2Config().to_dict()
    sizes = {name: theirs[name] for name in ("n_layer", "n_head", "n_embd", "n_positions")}
    ours = config_from_gpt2({"model_type": "gpt2", "vocab_size": 50257} | sizes, "x").config
    assert ours == config_from_gpt2(theirs, "x").config
    assert ours == GPTConfig(12, 768, 12, 1024, 50257)


def test_a_full_config_of_transformers_leaves_no_field_unread():
    assert config_from_gpt2(GPT2Config().to_dict(), "x").unused == ()


@pytest.mark.parametrize(
    ("field", "value", "ours"),
    [
        ("n_inner", 101, {"d_mlp": 101}),
        ("n_inner", None, {"d_mlp": 220}),
        ("activation_function", "gelu", {"activation": "gelu"}),
        ("activation_function", "relu", {"activation": "relu"}),
        ("activation_function", "gelu_pytorch_tanh", {"activation": "gelu_new"}),
        ("layer_norm_epsilon", 0.25, {"eps": 0.25}),
        ("scale_attn_weights", False, {"attn_scale": False}),
        ("scale_attn_by_inverse_layer_idx", True, {"scale_by_inverse_layer": True}),
        ("tie_word_embeddings", False, {"tied": False}),
    ],
)
def test_fields_that_change_the_result_are_honoured(field, value, ours):
    assert read(**{field: value}) == dataclasses.replace(read(), **ours)


def test_upcast_attention_is_noted():
    assert config_from_gpt2(PLAIN | {"reorder_and_upcast_attn": True}, "x").upcast_attention


def test_the_newer_spellings_mean_the_same():
    newer = {"model_type": "gpt2", "num_hidden_layers": 3, "num_attention_heads": 5,
             "hidden_size": 55, "max_position_embeddings": 37, "vocab_size": 211}  # fmt: skip
    assert config_from_gpt2(newer, "x").config == read()
    with pytest.raises(InputError, match="n_embd=55 and hidden_size=56"):
        read(hidden_size=56)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("add_cross_attention", True),
        ("is_encoder_decoder", True),
        ("is_causal", False),
        ("pruned_heads", {"0": [1]}),
        ("quantization_config", {"load_in_8bit": True}),
        ("auto_map", {"AutoModel": "code.Model"}),
        ("activation_function", "silu"),
        ("activation_function", "quick_gelu"),
        ("activation_function", None),
        ("layer_norm_epsilon", 0),
        ("layer_norm_epsilon", -1e-5),
        ("layer_norm_epsilon", float("nan")),
        ("layer_norm_epsilon", float("inf")),
        ("layer_norm_epsilon", "1e-5"),
        ("layer_norm_epsilon", True),
        ("scale_attn_weights", 1),
        ("scale_attn_by_inverse_layer_idx", "yes"),
        ("reorder_and_upcast_attn", 0),
        ("tie_word_embeddings", "true"),
        ("n_layer", 0),
        ("n_layer", -3),
        ("n_layer", 3.0),
        ("n_layer", "3"),
        ("n_layer", True),
        ("n_head", [5]),
        ("n_embd", 0),
        ("n_positions", {}),
        ("vocab_size", -1),
        ("n_inner", 0),
        ("n_inner", 10.5),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(field, value):
    with pytest.raises(InputError, match=field):
        read(**{field: value})


@pytest.mark.parametrize("field", ["n_layer", "n_head", "n_embd", "n_positions", "vocab_size"])
def test_a_missing_size_is_named(field):
    values = {name: value for name, value in PLAIN.items() if name != field}
    with pytest.raises(InputError, match=field):
        config_from_gpt2(values, "config.json")


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(InputError, match="n_embd=55 is not a multiple of n_head=7"):
        read(n_head=7)


@pytest.mark.parametrize("kind", ["llama", "gpt_neo", "openai-gpt", None, 3, ""])
def test_other_architectures_are_refused_by_name(kind):
    with pytest.raises(InputError, match=str(kind) if kind else "only GPT-2"):
        config_from_gpt2(PLAIN | {"model_type": kind}, "config.json")


def test_other_heads_are_refused_by_name():
    with pytest.raises(InputError, match="GPT2ForSequenceClassification"):
        read(architectures=["GPT2ForSequenceClassification"])
    assert read(architectures=["GPT2Model"]) == read(architectures=None) == read()


@pytest.mark.parametrize(
    "config",
    [
        GPTConfig(3, 55, 5, 37, 211),
        GPTConfig(3, 55, 5, 37, 211, d_mlp=101, activation="gelu", tied=False, eps=0.25),
        GPTConfig(3, 55, 5, 37, 211, attn_scale=False, scale_by_inverse_layer=True),
    ],
)
def test_what_is_written_is_read_back(config):
    assert inexpressible_in_gpt2(config) is None
    written = config_to_gpt2(config)
    assert config_from_gpt2(written, "x").config == config
    # And transformers understands every field of it.
    assert GPT2Config(**written).to_dict().items() >= written.items()


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "post"},
        {"norm": "none"},
        {"positions": "none"},
        {"mask": "none"},
        {"mask": "window:8"},
        {"mask": ("causal", "none", "causal")},
        {"d_mlp": 0},
        {"unembed_bias": True},
        {"d_head": 7},
    ],
)
def test_what_gpt2_has_no_word_for_is_noticed(change):
    config = dataclasses.replace(GPTConfig(3, 55, 5, 37, 211), **change)
    assert inexpressible_in_gpt2(config) is not None
