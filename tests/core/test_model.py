"""The forward pass against a NumPy GPT, and the ways of running a part of it."""

import copy

import numpy as np
import pytest
import torch
from oracles import numpy_gpt
from oracles.numpy_gpt import allowed_by, close
from oracles.tiny import BATCH, POS, PRIMES, tiny_model, tiny_tokens

from interp.core import GPTConfig, HookedGPT, InputError

VARIANTS = {
    "gpt2": {},
    "post-norm": {"norm": "post"},
    "no norm": {"norm": "none"},
    "sinusoidal": {"positions": "sinusoidal", "d_model": 26},
    "no positions": {"positions": "none"},
    "exact gelu": {"activation": "gelu"},
    "relu": {"activation": "relu"},
    "no residual addition": {"residual": False},
    "no residual addition, post-norm": {"residual": False, "norm": "post"},
    "untied with bias": {"tied": False, "unembed_bias": True},
    "attention only": {"d_mlp": 0},
    "attention only, post-norm": {"d_mlp": 0, "norm": "post"},
    "unscaled": {"attn_scale": False},
    "inverse layer": {"scale_by_inverse_layer": True},
    "eps": {"eps": 0.1},
    "bidirectional": {"mask": "none"},
    "window": {"mask": "window:3+1"},
    "prefix": {"mask": "prefix:4"},
    "per layer and head": {
        "mask": ("causal", "none", ("window:2", "causal", "none", "prefix:6", "window:1+2"))
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_activation_equals_the_numpy_gpt(variant):
    """Oracle: tests/oracles/numpy_gpt.py, written as loops from the papers."""
    model, tokens = tiny_model(**VARIANTS[variant]), tiny_tokens()
    names = model.hook_names
    logits, cache = model.run_with_cache(tokens, names, return_type="logits")
    for row in range(BATCH):
        expected = numpy_gpt.activations(model, tokens[row].tolist(), allowed_by(model.config.mask))
        assert close(logits[row].numpy(), expected.pop("logits"))
        assert set(expected) == set(names)
        for name in names:
            ours = cache[name][row].numpy()
            assert ours.shape == expected[name].shape, name
            finite = np.isfinite(expected[name])
            assert (np.isfinite(ours) == finite).all(), name
            assert close(ours[finite], expected[name][finite]), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_fused_path_equals_the_explicit_one(variant):
    model, tokens = tiny_model(**VARIANTS[variant]), tiny_tokens()
    looked_at = model.run_with_hooks(
        tokens, [(lambda name: name.endswith("hook_pattern"), lambda value, hook: None)]
    )
    with_results, _ = model.run_with_cache(
        tokens, lambda name: name.endswith("hook_result"), return_type="logits"
    )
    everything = model.run_with_hooks(tokens, [(lambda name: True, lambda value, hook: None)])
    assert close(looked_at.numpy(), model(tokens).numpy())
    assert close(everything.numpy(), model(tokens).numpy())
    assert close(with_results.numpy(), model(tokens).numpy())


def test_hooked_norms_equal_the_numpy_gpt():
    """A hook on the scale takes the norm apart; with a large eps every step of it matters."""
    model, tokens = tiny_model(eps=0.3), tiny_tokens()
    seen = {}

    def keep(value, hook):
        seen[hook.name] = value

    model.run_with_hooks(tokens, [(lambda name: ".ln" in name or "ln_f" in name, keep)])
    expected = numpy_gpt.activations(model, tokens[1].tolist())
    assert len(seen) == 14
    for name, value in seen.items():
        assert close(value[1].numpy(), expected[name]), name


def test_weight_views_and_stacks_follow_the_names(model):
    """Oracle: column arithmetic on the stored matrices."""
    heads, width = PRIMES["n_heads"], PRIMES["d_head"]
    for layer, head in [(0, 0), (1, 3), (2, 4)]:
        attn = model.blocks[layer].attn
        for which, name in enumerate(("Q", "K", "V")):
            columns = slice((which * heads + head) * width, (which * heads + head + 1) * width)
            weight, bias = getattr(model, f"W_{name}"), getattr(model, f"b_{name}")
            assert torch.equal(weight[layer, head], attn.W_QKV[:, columns])
            assert torch.equal(bias[layer, head], attn.b_QKV[columns])
        rows = slice(head * width, (head + 1) * width)
        assert torch.equal(model.W_O[layer, head], attn.W_O_flat[rows])
    assert model.W_U.data_ptr() == model.W_E.data_ptr()
    assert model.W_in.shape == (3, 23, 29)
    assert model.b_U.shape == (31,)


def test_writing_to_a_head_view_changes_the_model(model, tokens):
    before = model(tokens)
    model.blocks[1].attn.W_V[2] = 0.0
    assert not model.blocks[1].attn.W_QKV[:, (2 * 5 + 2) * 7 : (2 * 5 + 3) * 7].any()
    assert (model(tokens) - before).abs().max() > 1e-3


def test_parameter_count_of_the_shipped_shape_by_hand():
    config = GPTConfig(n_layers=4, d_model=128, n_heads=4, n_ctx=64, d_vocab=446)
    attention = 128 * 384 + 384 + 128 * 128 + 128
    mlp = 128 * 512 + 512 + 512 * 128 + 128
    by_hand = 4 * (attention + mlp + 4 * 128) + 2 * 128 + (446 + 64) * 128
    assert HookedGPT(config).n_params == by_hand == 858_624


def test_init_is_the_stated_scale_and_seeded():
    config = GPTConfig(n_layers=2, d_model=64, n_heads=4, n_ctx=128, d_vocab=512)
    one, same, other = (HookedGPT(config, seed=s) for s in (3, 3, 4))
    assert torch.equal(one.W_E, same.W_E)
    assert not torch.equal(one.W_E, other.W_E)
    assert one.W_E.std().item() == pytest.approx(0.02, rel=0.02)
    assert one.W_out.std().item() == pytest.approx(0.02 / 2, rel=0.02)
    assert one.W_O.std().item() == pytest.approx(0.02 / 2, rel=0.04)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_stopping_and_starting_again_is_the_whole_run(model, tokens, layer):
    resid = model(tokens, stop_at_layer=layer)
    assert torch.equal(model(resid, start_at_layer=layer), model(tokens))


def test_starting_late_does_not_run_the_earlier_blocks(model, tokens):
    """Poisoned early blocks would show; and they raise if they are called."""
    resid, expected = model(tokens, stop_at_layer=2), model(tokens)

    def refuse(*_):
        raise AssertionError("an earlier block ran")

    for layer in (0, 1):
        model.blocks[layer].register_forward_pre_hook(refuse)
    assert torch.equal(model(resid, start_at_layer=2), expected)


def test_logits_at_are_those_positions(model, tokens):
    everything = model(tokens)
    for asked, kept in ((-1, [POS - 1]), (slice(2, 5), [2, 3, 4]), ([0, 7], [0, 7])):
        assert (model(tokens, logits_at=asked) - everything[:, kept]).abs().max() < 1e-13


def test_runs_of_a_mask_given_per_call(model, tokens):
    window = torch.ones(POS, POS, dtype=torch.bool).tril().triu(-2)
    assert torch.equal(model(tokens, mask=window), model(tokens, mask="window:3"))
    per_head = torch.stack([window] * 4 + [torch.ones(POS, POS, dtype=torch.bool).tril()])
    expected = numpy_gpt.activations(
        model,
        tokens[1].tolist(),
        lambda layer, head, q, k: k <= q and (layer != 1 or head == 4 or q - k < 3),
    )["logits"]
    ours = model(tokens, mask={1: per_head})[1].numpy()
    assert np.abs(ours - expected).max() < 1e-10


def test_no_causal_leak_and_a_leak_without_mask(model, tokens):
    """Changing token j moves no logit before j: exactly 0. Without mask it does: the control."""
    changed = tokens.clone()
    changed[:, 6] = (changed[:, 6] + 1) % PRIMES["d_vocab"]
    moved = (model(changed) - model(tokens)).abs().amax((0, 2))
    assert moved[:6].max() == 0
    assert moved[6:].min() > 0
    leaking = (model(changed, mask="none") - model(tokens, mask="none")).abs().amax((0, 2))
    assert leaking[:6].min() > 0


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("mask", ["causal", "none", "window:2", "window:2+2"])
def test_a_padded_row_equals_the_row_alone(model, side, mask):
    rows = [tiny_tokens(1, n, seed=n)[0] for n in (11, 7, 3)]
    padded = torch.zeros(3, 11, dtype=torch.long)
    real = torch.zeros(3, 11, dtype=torch.bool)
    for i, row in enumerate(rows):
        where = slice(11 - len(row), 11) if side == "left" else slice(0, len(row))
        padded[i, where], real[i, where] = row, True
    together = model(padded, attention_mask=real, mask=mask)
    assert torch.isfinite(together).all()
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(3)]
    _, cache = model.run_with_cache(padded, names, attention_mask=real, mask=mask)
    for pattern in cache.values():  # also at pads, whose every key may be a pad
        assert (pattern.sum(-1) - 1).abs().max() < 1e-12
        assert not pattern[2][:, real[2]][:, :, ~real[2]].any()
    losses = model.loss(padded, attention_mask=real, per_token=True, mask=mask)
    alone = [model.loss(row, per_token=True, mask=mask)[0] for row in rows]
    for i, row in enumerate(rows):
        assert (together[i][real[i]] - model(row, mask=mask)[0]).abs().max() < 1e-12
        counted = (real[i, 1:] & real[i, :-1]) if mask != "none" else None
        if counted is not None:
            assert (losses[i][counted] - alone[i]).abs().max() < 1e-12
            assert not losses[i][~counted].any()
    if mask != "none":
        mean = model.loss(padded, attention_mask=real, mask=mask)
        assert mean.item() == pytest.approx(torch.cat(alone).mean().item(), abs=1e-12)


def test_loss_is_minus_the_mean_log_probability(model, tokens):
    """Oracle: the definition in NumPy."""
    logits = model(tokens).numpy()
    total = []
    for row in range(BATCH):
        for pos in range(POS - 1):
            scores = logits[row, pos]
            total.append(np.log(np.exp(scores).sum()) - scores[tokens[row, pos + 1]])
    assert model.loss(tokens).item() == pytest.approx(np.mean(total), abs=1e-10)


def test_loss_takes_one_token_more_than_the_context(model):
    model.loss(tiny_tokens(2, 20))
    with pytest.raises(InputError, match="20 tokens"):
        model.loss(tiny_tokens(2, 21))


def test_dtypes_and_copies(tokens):
    double = tiny_model()
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 1.5)):
        low = copy.deepcopy(double).to(dtype)
        logits, cache = low.run_with_cache(tokens)
        assert logits.dtype == dtype
        assert {value.dtype for value in cache.values()} <= {dtype, torch.float32}
        assert (logits.double() - double(tokens)).abs().max() < tolerance


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_cuda_equals_cpu(tokens):
    model = tiny_model()
    on_gpu = copy.deepcopy(model).cuda()
    logits, cache = on_gpu.run_with_cache(tokens.cuda())
    assert (logits.cpu() - model(tokens)).abs().max() < 1e-10
    assert all(value.is_cuda for value in cache.values())


BAD_CALLS = {
    "an empty prompt": (lambda m: m(torch.zeros(1, 0, dtype=torch.long)), "empty"),
    "no rows": (lambda m: m(torch.zeros(0, 3, dtype=torch.long)), "empty"),
    "too long": (lambda m: m(tiny_tokens(1, 20)), r"20 tokens.*n_ctx=19"),
    "an id too large": (lambda m: m(torch.tensor([[3, 31]])), r"id 31.*0 to 30"),
    "a negative id": (lambda m: m(torch.tensor([[-1, 3]])), "id -1"),
    "numbers with a point": (lambda m: m(torch.zeros(1, 3)), "whole numbers"),
    "text without tokenizer": (lambda m: m("the king"), "no tokenizer"),
    "a layer too far": (lambda m: m(tiny_tokens(), stop_at_layer=4), "0 to 3"),
    "start behind stop": (
        lambda m: m(torch.zeros(1, 2, 23).double(), start_at_layer=2, stop_at_layer=1),
        "behind",
    ),
    "tokens where the stream belongs": (lambda m: m(tiny_tokens(), start_at_layer=1), "residual"),
    "a mask that is none": (lambda m: m(tiny_tokens(), mask="diagonal"), "'diagonal'"),
    "a mask of the wrong size": (
        lambda m: m(tiny_tokens(), mask=torch.ones(3, 3).bool()),
        "11, 11",
    ),
    "a mask that shuts a query off": (
        lambda m: m(tiny_tokens(), mask=torch.ones(11, 11).bool().tril(-1)),
        "query 0",
    ),
    "a mask for a layer that is not": (lambda m: m(tiny_tokens(), mask={7: "none"}), "layer 7"),
    "a padding mask of another shape": (
        lambda m: m(tiny_tokens(), attention_mask=torch.ones(2, 3).bool()),
        r"\(2, 11\)",
    ),
    "a position that is not": (lambda m: m(tiny_tokens(), logits_at=11), "0 to 10"),
    "a loss of one token": (lambda m: m.loss(torch.tensor([3])), "1 came"),
    "a loss of pads only": (
        lambda m: m.loss(tiny_tokens(), attention_mask=torch.zeros(2, 11).bool()),
        "pad",
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_one_clear_error(model, case, no_type_checks):
    call, message = BAD_CALLS[case]
    with pytest.raises(InputError, match=message):
        call(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named_before_any_compute(model, tokens, value):
    model(tokens)
    model.blocks[1].mlp.W_in[3, 5] = value
    model.blocks[0].register_forward_pre_hook(lambda *_: pytest.fail("computed before the check"))
    with pytest.raises(InputError, match=r"blocks\.1\.mlp\.W_in has 1 of 667"):
        model(tokens)


BAD_CONFIGS = {
    "heads that do not divide": ({"d_head": None}, "multiple of n_heads"),
    "no layers": ({"n_layers": 0}, "n_layers"),
    "an unknown norm": ({"norm": "rms"}, "'rms'.*pre, post, none"),
    "an unknown activation": ({"activation": "silu"}, "'silu'"),
    "a mask that is none": ({"mask": "window:0"}, "window:0"),
    "too few masks": ({"mask": ("causal",)}, "1 entries"),
    "too few head masks": ({"mask": ("causal", ("none",), "none")}, "heads of layer 1"),
    "an odd width for sinusoids": ({"positions": "sinusoidal"}, "odd"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_bad_configs_are_named(case, no_type_checks):
    changes, message = BAD_CONFIGS[case]
    with pytest.raises(InputError, match=message):
        GPTConfig(**(PRIMES | changes))


def test_a_config_survives_json():
    import json

    config = GPTConfig(**PRIMES, mask=("causal", "none", ("window:2",) * 5))
    assert GPTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(InputError, match="n_layer"):
        GPTConfig.from_dict({"n_layer": 3})
