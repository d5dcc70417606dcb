import pytest
from oracles.tiny import PRIMES, tiny_model

from interp import measures
from interp.core import GPTConfig, HookedGPT

SHAPES = [
    {},
    {"tied": False},
    {"tied": False, "unembed_bias": True},
    {"norm": "post"},
    {"norm": "none", "positions": "none"},
    {"positions": "sinusoidal", "d_model": 22},
    {"d_mlp": 0},
    {"d_mlp": 0, "norm": "post"},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_closed_form_is_what_the_model_holds(shape):
    """Every axis is another prime, so no wrong product can agree."""
    model = HookedGPT(GPTConfig(**(PRIMES | shape)), init=None)
    ledger = measures.parameter_ledger(model.config)
    live = measures.live_parameters(model)
    assert (
        ledger["count"].sum() == live["count"].sum() == sum(p.numel() for p in model.parameters())
    )
    ours, theirs = (f.groupby("group")["count"].sum() for f in (ledger, live))
    assert ours[ours > 0].to_dict() == theirs[theirs > 0].to_dict()
    steps = measures.notes_count(model.config)
    assert steps["count"].sum() == ledger["count"].sum()


def test_a_shared_storage_counts_once():
    model = HookedGPT(GPTConfig(**PRIMES | {"tied": False}), init=None)
    model.unembed.W_U.data = model.embed.W_E.data.T
    live = measures.live_parameters(model)
    (shared,) = live[live["same_as"] != ""].itertuples()
    assert (shared.name, shared.same_as) == ("unembed.W_U", "embed.W_E")
    assert live["count"].sum() == sum(p.numel() for p in model.parameters()) - 31 * 23


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("GPT-2 small", 124_439_808),
        ("GPT-2 medium", 354_823_168),
        ("GPT-2 large", 774_030_080),
        ("GPT-2 XL", 1_557_611_200),
    ],
)
def test_gpt2_in_four_sizes(name, published):
    assert measures.parameter_ledger(measures.GPT2_SHAPES[name])["count"].sum() == published


def test_gpt2_is_what_transformers_builds():
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        built = GPT2LMHeadModel(GPT2Config())
    assert measures.parameter_ledger(measures.GPT2_SHAPES["GPT-2 small"])["count"].sum() == sum(
        p.numel() for p in built.parameters()
    )


def test_gpt3_as_the_video_counts_it():
    ledger = measures.gpt3_ledger()
    assert ledger["count"].sum() == 175_181_291_520
    assert ledger["copies"].sum() == 27_938
    by_name = ledger.set_index("name")["count"]
    assert by_name["W_E"] == by_name["W_U"] == 617_558_016
    assert by_name[["W_Q", "W_K", "W_V", "W_O"]].sum() == 57_982_058_496


def test_the_notes_wrong_count_is_made_again():
    steps = measures.notes_count(measures.GPT2_SHAPES["GPT-2 small"])
    noted = steps[steps["step"] == "notes"]
    by_group = noted.groupby("group")["count"].sum()
    assert by_group.to_dict() == {"attention": 1_778_688, "MLP": 35_426_304}
    assert noted["count"].sum() == 37_204_992
    right = steps.groupby("group")["count"].sum()
    assert (right["attention"], right["MLP"]) == (28_348_416, 56_669_184)


def test_conventions_of_others():
    counts = measures.conventions(measures.GPT2_SHAPES["GPT-2 small"])["count"].tolist()
    assert counts == [124_439_808, 163_037_184, 84_934_656, 123_653_376]


def test_costs_are_those_of_a_counted_pass():
    """Oracle: PyTorch's own counter of floating-point operations, on the explicit attention."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = tiny_model(dtype=torch.float32)
    n = 17
    with (
        FlopCounterMode(display=False) as counter,
        model.hooks([(lambda name: name.endswith("hook_pattern"), lambda pattern, hook: pattern)]),
    ):
        model(torch.zeros(1, n, dtype=torch.long))
    cost = measures.per_token_costs(model.config, [n]).iloc[0]
    assert counter.get_total_flops() == n * cost["total"]


def test_a_cache_of_keys_and_values_has_that_size():
    cost = measures.per_token_costs(GPTConfig(**PRIMES), [11]).iloc[0]
    assert cost["kv_cache_bytes"] == 2 * 3 * 5 * 7 * 11 * 4
    assert cost["score_bytes"] == 5 * 11 * 11 * 4


def test_sweeps_change_one_axis():
    shape = GPTConfig(**PRIMES | {"d_model": 24, "d_head": None, "n_heads": 4})
    heads = measures.shape_sweep(shape, "n_heads", [1, 2, 4])
    assert heads["parameters"].nunique() == 1 and heads["projections"].nunique() == 1
    assert heads["d_head"].tolist() == [24, 12, 6]
    assert (heads["score_bytes"] / heads["score_bytes"].iloc[0]).tolist() == [1, 2, 4]
    layers = measures.shape_sweep(shape, "n_layers", [1, 3, 5])
    steps = layers["parameters"].diff().dropna()
    assert steps.iloc[0] == steps.iloc[1] > 0
