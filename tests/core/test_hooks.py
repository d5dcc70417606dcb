"""Hooks and caches: what they see, what they change, and what never changes."""

import copy

import pytest
import torch
from oracles.tiny import POS, tiny_model, tiny_tokens

from interp.core import ActivationCache, InputError, KVCache, hook_name


def test_a_hook_reads_and_replaces(model, tokens):
    """Zeroing the last block's writes leaves the stream that entered it."""
    seen = []

    def zero(value, hook):
        seen.append((hook.name, value.shape))
        return torch.zeros_like(value)

    names = ["blocks.2.hook_attn_out", "blocks.2.hook_mlp_out"]
    out = model.run_with_hooks(tokens, [(name, zero) for name in names])
    assert seen == [(name, (2, POS, 23)) for name in names]
    assert (out - model.logits(model(tokens, stop_at_layer=2))).abs().max() < 1e-12


def test_every_point_reaches_the_output(model, tokens):
    """A hook that shifts one entry changes the logits, wherever it sits."""
    plain = model(tokens)
    for name in model.hook_names:
        # One entry only: the same shift of every key, or of a whole row of scores, changes nothing.
        def shift(value, hook):
            if hook.name.endswith(("scores", "scores_raw", "pattern")):
                value[..., 1, 0] += 1.5
            else:
                value[:, 1, ..., 0] += 1.5

        moved = (model.run_with_hooks(tokens, [(name, shift)]) - plain).abs().max()
        assert moved > 1e-4, name


def test_predicates_and_order_of_nested_hooks(model, tokens):
    order = []

    def note(label):
        return lambda value, hook: order.append((label, hook.name))

    name = "blocks.1.hook_resid_mid"
    with model.hooks([(lambda n: n.endswith("hook_resid_mid"), note("outer"))]):
        with model.hooks([(name, note("inner"))]):
            model(tokens)
        assert ("inner", name) in order
        assert order.index(("outer", name)) < order.index(("inner", name))
        order.clear()
        model(tokens)
        assert order == [("outer", f"blocks.{layer}.hook_resid_mid") for layer in range(3)]
    order.clear()
    model(tokens)
    assert order == []


@pytest.mark.parametrize("kind", ["hook", "forward", "cache"])
def test_hooks_are_gone_after_an_exception(model, tokens, kind):
    def fail(value, hook):
        raise RuntimeError("on purpose")

    plain = model(tokens)
    name = "blocks.1.attn.hook_pattern"
    with pytest.raises(RuntimeError, match="on purpose"):
        if kind == "hook":
            model.run_with_hooks(tokens, [(name, fail)])
        elif kind == "forward":
            with model.hooks([(name, lambda value, hook: value * 0)]):
                raise RuntimeError("on purpose")
        else:
            with model.hooks([(name, fail)]):
                model.run_with_cache(tokens)
    assert torch.equal(model(tokens), plain)
    assert not any(point.active for point in model._points.values())


def test_a_misspelt_hook_sets_none_of_the_others(model):
    good = ("blocks.0.hook_resid_pre", lambda value, hook: value * 0)
    with (
        pytest.raises(InputError, match=r"nearest are blocks\.0\.hook_resid_post"),
        model.hooks([good, ("blocks.0.hook_resid_pots", good[1])]),
    ):
        pass
    assert not model._points[good[0]].active


MISSPELT = {
    "blocks.1.attn.hook_patern": "blocks.1.attn.hook_pattern",
    "block.2.hook_resid_pre": "blocks.2.hook_resid_pre",
    "blocks.0.attn.hook_attn_score": "blocks.0.attn.hook_attn_scores",
    "blocks.9.hook_mlp_out": r"layers 0 to 2",
    "ln_final.hook_norm": "ln_final.hook_normalized",
}


@pytest.mark.parametrize("name", MISSPELT)
@pytest.mark.parametrize("way", ["hook", "cache", "list"])
def test_a_misspelt_name_is_an_error_that_names_the_nearest(model, tokens, name, way):
    with pytest.raises(InputError, match=MISSPELT[name]):
        if way == "hook":
            model.run_with_hooks(tokens, [(name, lambda value, hook: None)])
        else:
            model.run_with_cache(tokens, name if way == "cache" else ["hook_embed", name])


def test_impossible_names(tokens):
    with pytest.raises(InputError, match="no hook point"):
        tiny_model(d_mlp=0).run_with_cache(tokens, "blocks.0.mlp.hook_pre")
    with pytest.raises(InputError, match="no hook point"):
        tiny_model(norm="none").run_with_cache(tokens, "ln_final.hook_scale")
    with pytest.raises(InputError, match="accepts none"):
        tiny_model().run_with_cache(tokens, lambda name: False)
    with pytest.raises(InputError, match="never reached"):
        tiny_model().run_with_cache(tokens, "blocks.2.hook_mlp_out", stop_at_layer=1)
    with pytest.raises(InputError, match="never reached"):
        resid = tiny_model()(tokens, stop_at_layer=2)
        tiny_model().run_with_hooks(
            resid, [("blocks.1.hook_mlp_out", lambda v, hook: None)], start_at_layer=2
        )


def test_a_hook_that_is_no_function_sets_none_of_the_others(model, tokens, no_type_checks):
    hooks = [("hook_embed", lambda value, hook: value * 0), ("hook_embed", "zero")]
    with pytest.raises(InputError, match="The hook on hook_embed is a str"):
        model.run_with_hooks(tokens, hooks)
    assert not model._points["hook_embed"].active


def test_a_hook_that_returns_nonsense(model, tokens):
    for value, message in ((torch.zeros(3), r"shape \(3,\)"), ("text", "returned str")):
        with pytest.raises(InputError, match=message):
            model.run_with_hooks(tokens, [("hook_embed", lambda v, hook, value=value: value)])


def test_cached_tensors_never_change(model, tokens):
    """Every point is written to in place by a later hook, and everything is kept by hooks and
    written to after the run; the cache stays what the run computed."""
    kept = []

    def spoil_in_place(value, hook):
        kept.append(value)
        value.mul_(0.5).add_(1.0)

    everything = [(lambda name: True, spoil_in_place)]
    with model.hooks(everything):
        _, cache = model.run_with_cache(tokens, model.hook_names)
        recorded = {name: value.clone() for name, value in cache.items()}
    assert len(kept) == len(model.hook_names)
    for value in kept:
        value.fill_(1e6)
    for name, value in recorded.items():
        assert torch.equal(cache[name], value), name
    # The identity that aliasing breaks in a cache of live tensors.
    later = [("blocks.1.hook_resid_pre", lambda value, hook: value.zero_())]
    with model.hooks(later):
        _, cache = model.run_with_cache(tokens)
    sum_of_parts = cache["resid_mid", 0] + cache["mlp_out", 0]
    assert torch.equal(cache["resid_post", 0], sum_of_parts)
    assert not cache["resid_pre", 1].any()


def test_weights_never_change_through_a_hook(model, tokens):
    before = copy.deepcopy(model.state_dict())
    with model.hooks([(lambda name: True, lambda value, hook: value.zero_())]):
        model(tokens)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_cache_does_not_follow_the_weights(model, tokens):
    _, cache = model.run_with_cache(tokens, model.hook_names)
    _, same = model.run_with_cache(tokens, model.hook_names)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(torch.equal(cache[name], same[name]) for name in cache)


def test_the_names_decide_what_is_recorded_and_how_far_the_run_goes(model, tokens):
    _, everything = model.run_with_cache(tokens)
    assert set(everything) == {n for n in model.hook_names if not n.endswith("hook_result")}
    ran = []
    for layer, block in enumerate(model.blocks):
        block.register_forward_pre_hook(lambda *_, layer=layer: ran.append(layer))
    for names, deepest in (
        ("hook_pos_embed", -1),
        ("blocks.1.attn.hook_pattern", 1),
        (["blocks.0.hook_mlp_out", "blocks.1.attn.hook_q"], 1),
        (lambda name: name.endswith("hook_resid_post"), 2),
        (["hook_embed", lambda name: ".0.mlp" in name], 0),
    ):
        ran.clear()
        logits, cache = model.run_with_cache(tokens, names)
        assert logits is None
        assert ran == list(range(deepest + 1))
        for name, value in cache.items():
            assert (value - everything[name]).abs().max() < 1e-13
    logits, cache = model.run_with_cache(tokens, "hook_embed", return_type="logits")
    assert torch.equal(logits, model(tokens)) and len(cache) == 1
    logits, cache = model.run_with_cache(tokens, "ln_final.hook_scale")
    assert (logits - model(tokens)).abs().max() < 1e-12
    assert model.run_with_cache(tokens, return_type=None)[0] is None


@pytest.mark.parametrize("pos", [4, -1, slice(2, 7), slice(None, None, 3), [0, 5, -2]])
def test_a_position_slice_keeps_those_positions(model, tokens, pos):
    kept = [pos] if isinstance(pos, int) else pos
    _, whole = model.run_with_cache(tokens, model.hook_names)
    _, cut = model.run_with_cache(tokens, model.hook_names, pos=pos)
    for name in whole:
        scores = name.endswith(("scores", "scores_raw", "pattern"))
        assert torch.equal(cut[name], whole[name][:, :, kept] if scores else whole[name][:, kept])
    with pytest.raises(InputError, match="0 to 10"):
        model.run_with_cache(tokens, pos=11)


def test_short_names_and_stacks(model, tokens):
    _, cache = model.run_with_cache(tokens)
    assert cache["pattern", 1] is cache["blocks.1.attn.hook_pattern"]
    assert cache["normalized", 2, "ln2"] is cache["blocks.2.ln2.hook_normalized"]
    assert cache["scale"] is cache["ln_final.hook_scale"]
    assert ("post", 0) in cache and "hook_embed" in cache and "nothing" not in cache
    assert cache.stack("attn_scores").shape == (3, 2, 5, POS, POS)
    assert torch.equal(cache.stack("pre")[2], cache["pre", 2])
    assert cache.get("blocks.0.attn.hook_result") is None
    with pytest.raises(KeyError, match="was not recorded"):
        cache["result", 0]
    for name in ("pattern", ("scale", 1), "patern"):
        with pytest.raises(InputError):
            hook_name(*name) if isinstance(name, tuple) else hook_name(name)


def test_recorded_attention_is_formed_once_and_held_weakly(model, tokens):
    _, cache = model.run_with_cache(tokens)
    pattern = cache["pattern", 0]
    assert cache["pattern", 0] is pattern
    assert (pattern.sum(-1) - 1).abs().max() < 1e-12
    assert torch.equal(cache["attn_scores", 0].softmax(-1), pattern)


def test_gradients_of_activations_with_frozen_weights(model, tokens):
    """Oracle: finite differences."""
    grads = {}

    def loss_of(shift, name):
        def add(value, hook):
            value[0, 3, 1] += shift

        return model.run_with_hooks(tokens, [(name, add)]).pow(2).sum()

    for name in ("hook_embed", "blocks.1.hook_mlp_out", "blocks.2.attn.hook_z"):
        where = (0, 3, 1, 2) if name.endswith("_z") else (0, 3, 1)
        out = model.run_with_hooks(
            tokens, bwd_hooks=[(name, lambda grad, hook: grads.update({hook.name: grad}))]
        )
        out.pow(2).sum().backward()
        if name.endswith("_z"):
            continue
        step = 1e-5
        by_difference = (loss_of(step, name) - loss_of(-step, name)) / (2 * step)
        assert grads[name][where].item() == pytest.approx(by_difference.item(), rel=1e-6)
    assert grads["blocks.2.attn.hook_z"].shape == (2, POS, 5, 7)
    with torch.no_grad(), pytest.raises(InputError, match="enable_grad"):
        model.run_with_hooks(tokens, bwd_hooks=[("hook_embed", lambda grad, hook: None)])


def test_a_backward_hook_can_stop_the_gradient(model, tokens):
    """Points on one tensor run in backward order, so the later one can cut the earlier one off."""
    met = {}
    hooks = [
        ("blocks.0.hook_resid_post", lambda grad, hook: met.update({hook.name: grad})),
        ("blocks.1.hook_resid_pre", lambda grad, hook: torch.zeros_like(grad)),
    ]
    model.run_with_hooks(tokens, bwd_hooks=hooks).sum().backward()
    assert not met["blocks.0.hook_resid_post"].any()


def test_per_head_results_sum_to_the_attention_output(model, tokens):
    _, cache = model.run_with_cache(tokens, ["blocks.1.attn.hook_result", "blocks.1.hook_attn_out"])
    total = cache["result", 1].sum(2) + model.blocks[1].attn.b_O
    assert (total - cache["attn_out", 1]).abs().max() < 1e-12


@pytest.mark.parametrize(
    "mask", ["causal", "window:3+1", ("causal", ("window:2",) * 5, "window:4")]
)
@pytest.mark.parametrize("split", [[11], [7, 4], [1] * 11, [3, 1, 5, 2]])
def test_the_key_value_cache_changes_nothing(tokens, mask, split):
    model = tiny_model(mask=mask)
    kv_cache = KVCache(model)
    parts = [model(part, kv_cache=kv_cache) for part in tokens.split(split, dim=1)]
    assert (torch.cat(parts, 1) - model(tokens)).abs().max() < 1e-12
    assert kv_cache.length == POS


def test_a_ragged_batch_goes_on_from_its_key_value_cache(model):
    rows = [tiny_tokens(1, n, seed=n)[0] for n in (9, 4)]
    padded = torch.stack([rows[0], torch.cat([torch.zeros(5, dtype=torch.long), rows[1]])])
    real = torch.arange(9) >= torch.tensor([[0], [5]])
    new = tiny_tokens(2, 3, seed=5)
    kv_cache = KVCache(model)
    model(padded, attention_mask=real, kv_cache=kv_cache)
    first = model(new[:, :1], kv_cache=kv_cache)
    rest = model(new[:, 1:], kv_cache=kv_cache)
    for i, row in enumerate(rows):
        alone = model(torch.cat([row, new[i]]))[0, len(row) :]
        assert (torch.cat([first, rest], 1)[i] - alone).abs().max() < 1e-12
    branches = kv_cache.select([1, 1, 0])
    again = model(new[[0, 1, 1], :1], kv_cache=branches)
    alone = model(torch.cat([rows[1], new[1], new[0, :1]]))[0, -1]
    assert (again[0, 0] - alone).abs().max() < 1e-12
    assert kv_cache.length == 12


def test_a_failed_pass_leaves_the_key_value_cache_usable(model, tokens):
    def fail(value, hook):
        raise RuntimeError("on purpose")

    kv_cache = KVCache(model)
    for start in (0, 5):
        with pytest.raises(RuntimeError, match="on purpose"):
            model.run_with_hooks(
                tokens[:1, start : start + 3], [("blocks.2.hook_attn_out", fail)], kv_cache=kv_cache
            ) if start == 0 else model.run_with_hooks(
                tokens[:, 5:8], [("blocks.2.hook_attn_out", fail)], kv_cache=kv_cache
            )
        if start == 0:
            first = model(tokens[:, :5], kv_cache=kv_cache)
    rest = model(tokens[:, 5:], kv_cache=kv_cache)
    assert (torch.cat([first, rest], 1) - model(tokens)).abs().max() < 1e-12


def test_key_value_cache_errors(model, tokens):
    kv_cache = KVCache(model)
    model(tokens, kv_cache=kv_cache)
    with pytest.raises(InputError, match="9 tokens after 11 cached ones"):
        model(tiny_tokens(2, 9), kv_cache=kv_cache)
    with pytest.raises(InputError, match="2 rows, but 3"):
        model(tiny_tokens(3, 2), kv_cache=kv_cache)
    with pytest.raises(InputError, match="every layer"):
        model(tokens, kv_cache=KVCache(model), stop_at_layer=1)


def test_a_cache_shows_itself(model, tokens):
    _, cache = model.run_with_cache(tokens)
    assert isinstance(cache, ActivationCache)
    assert repr(cache).startswith(f"ActivationCache({len(cache)} activations, 0.")
