"""Any set of hooks on any model: what they may change, when they run, and that they go away."""

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.numpy_gpt import close
from oracles.strategies import bounded, models, some_of, tokens_for
from oracles.tiny import tiny_model, tiny_tokens

from interp.core import InputError

IDLE = {
    "returns nothing": lambda value, hook: None,
    "returns its value": lambda value, hook: value,
    "returns a copy": lambda value, hook: value.clone(),
    "writes the same": lambda value, hook: value.copy_(value.clone()),
}


def silent(model):
    """Whether nobody listens anywhere."""
    return not any(point.active for point in model._points.values())


@bounded(20)
@given(st.data())
def test_hooks_that_leave_values_alone_change_nothing(data):
    model = data.draw(models())
    tokens = data.draw(tokens_for(model))
    names = data.draw(some_of(model.hook_names))
    hooks = [(name, IDLE[data.draw(st.sampled_from(sorted(IDLE)))]) for name in names]
    plain, everything = model.run_with_cache(tokens, model.hook_names, return_type="logits")
    with model.hooks(hooks):
        again, cache = model.run_with_cache(tokens, model.hook_names, return_type="logits")
    assert close(again.numpy(), plain.numpy())
    for name in model.hook_names:
        ours, before = cache[name], everything[name]
        assert torch.equal(torch.isfinite(ours), torch.isfinite(before))
        finite = torch.isfinite(before)
        assert close(ours[finite].numpy(), before[finite].numpy()), name
    assert silent(model)


@bounded(25)
@given(st.data())
def test_hooks_run_in_the_order_of_the_pass_and_of_their_adding(data):
    """Oracle: the points in the order of their names, and for each the hooks as they were added."""
    model = data.draw(models())
    added = data.draw(st.lists(st.sampled_from(model.hook_names), min_size=1, max_size=6))
    met = []
    hooks = [
        (name, lambda value, hook, number=number: met.append((hook.name, number)))
        for number, name in enumerate(added)
    ]
    cut = data.draw(st.integers(0, len(hooks)))
    with model.hooks(hooks[:cut]), model.hooks(hooks[cut:]):
        model(data.draw(tokens_for(model)))
    expected = [(n, number) for n in model.hook_names for number, a in enumerate(added) if a == n]
    assert met == expected


@bounded(30)
@given(st.data())
def test_blocks_that_open_and_close_in_any_order_take_their_own_hooks_off(data):
    """Oracle: a list of the blocks that are open."""
    model, tokens, name = tiny_model(n_layers=1), tiny_tokens(1, 2), "blocks.0.hook_resid_mid"
    met, still_open = [], []
    shared = lambda value, hook: met.append("shared")  # noqa: E731
    for number in range(data.draw(st.integers(1, 7))):
        if still_open and data.draw(st.booleans()):
            block, _ = still_open.pop(data.draw(st.integers(0, len(still_open) - 1)))
            block.__exit__(None, None, None)
        else:
            own = lambda value, hook, number=number: met.append(number)  # noqa: E731
            fn, label = data.draw(st.sampled_from([(own, number), (shared, "shared")]))
            still_open.append((model.hooks([(name, fn)]), label))
            still_open[-1][0].__enter__()
        met.clear()
        model(tokens)
        assert met == [label for _, label in still_open]


@bounded(30)
@given(st.data())
def test_nothing_is_left_after_an_exception_at_any_point(data):
    model = data.draw(models())
    tokens = data.draw(tokens_for(model))
    plain = model(tokens)
    bad = data.draw(st.sampled_from(model.hook_names))

    def fail(value, hook):
        raise ZeroDivisionError

    others = [(name, IDLE["returns a copy"]) for name in data.draw(some_of(model.hook_names))]
    outer = [(data.draw(st.sampled_from(model.hook_names)), lambda value, hook: value * 2)]
    with model.hooks(outer) if data.draw(st.booleans()) else nullcontext() as around:
        before = [len(point.forward_hooks) for point in model._points.values()]
        with pytest.raises(ZeroDivisionError):
            if data.draw(st.booleans()):
                model.run_with_hooks(tokens, [*others, (bad, fail)])
            else:
                with model.hooks([*others, (bad, fail)]):
                    model.run_with_cache(tokens, model.hook_names)
        assert [len(point.forward_hooks) for point in model._points.values()] == before
        assert around is None or not torch.equal(model(tokens), plain) or plain.std() == 0
    assert silent(model) and torch.equal(model(tokens), plain)


@bounded(25)
@given(st.data())
def test_writing_in_place_is_returning_and_reaches_no_recorded_entry(data):
    """What a hook writes in place changes what follows, as if it had been returned; what was
    recorded before it, and at it, stays."""
    model = data.draw(models())
    tokens = data.draw(tokens_for(model))
    name = data.draw(st.sampled_from(model.hook_names))
    _, plain = model.run_with_cache(tokens, model.hook_names)

    def write(value, hook):
        value.mul_(0.3).add_(0.1)

    kept = []
    with model.hooks([(name, lambda value, hook: 0.3 * value + 0.1)]):
        returned, expected = model.run_with_cache(tokens, model.hook_names, return_type="logits")
    with model.hooks([(name, write), (name, lambda value, hook: kept.append(value))]):
        written, cache = model.run_with_cache(tokens, model.hook_names, return_type="logits")
    kept[0].fill_(1e6)
    assert torch.equal(written, returned)
    at = model.hook_names.index(name)
    for place, point in enumerate(model.hook_names):
        assert torch.equal(cache[point], expected[point]), point
        if place <= at:
            changed = 0.3 * plain[point] + 0.1 if point == name else plain[point]
            here, there = (torch.nan_to_num(v, neginf=0.0) for v in (cache[point], changed))
            assert close(here.numpy(), there.numpy()), point


@bounded(15)
@given(st.data())
def test_replacing_the_stream_is_running_from_there(data):
    model = data.draw(models())
    tokens = data.draw(tokens_for(model))
    layer = data.draw(st.integers(0, model.config.n_layers - 1))
    generator = torch.Generator().manual_seed(layer)
    stream = torch.randn(*tokens.shape, model.config.d_model, generator=generator).double()
    hooked = model.run_with_hooks(tokens, [(f"blocks.{layer}.hook_resid_pre", lambda *_: stream)])
    assert torch.equal(hooked, model(stream, start_at_layer=layer))


@st.composite
def misspelt(draw, names):
    """A hook name with a letter lost, doubled or in the wrong place."""
    name = draw(st.sampled_from(names))
    at = draw(st.integers(0, len(name) - 2))
    how = draw(st.sampled_from(["lost", "doubled", "swapped"]))
    if how == "swapped":
        return name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    return name[:at] + name[at + 1 :] if how == "lost" else name[: at + 1] + name[at:]


@bounded(40)
@given(st.data())
def test_a_slip_of_the_pen_names_near_names_and_sets_nothing(data):
    model, tokens = tiny_model(n_layers=2), tiny_tokens(1, 2)
    wrong = data.draw(misspelt(model.hook_names))
    if wrong in model.hook_names:  # two equal letters changed places, or attn_scores lost an s
        return
    hooks = [(name, IDLE["returns nothing"]) for name in data.draw(some_of(model.hook_names))]
    hooks.insert(data.draw(st.integers(0, len(hooks))), (wrong, IDLE["returns nothing"]))
    with pytest.raises(InputError) as error:
        model.run_with_hooks(tokens, hooks)
    told = str(error.value)
    assert repr(wrong) in told and "\n" not in told
    assert any(name in told.split("nearest are")[1] for name in model.hook_names)
    with pytest.raises(InputError, match="nearest are"):
        model.run_with_cache(tokens, ["hook_embed", wrong])
    assert silent(model)
