"""Any cache of any model: what it holds, what it must obey, and that nothing changes it."""

import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.numpy_gpt import allowed_by, close
from oracles.strategies import bounded, mask_specs, models, some_of, tokens_for

from interp.core import InputError, KVCache, open_cache
from interp.core.model import position_axis

# Masks under which no position sees a later one.
BACKWARD = mask_specs().filter(lambda spec: spec != "none" and not spec.startswith("prefix"))


def same(ours, expected):
    """Equal to rounding, -inf included."""
    finite = torch.isfinite(expected)
    assert ours.shape == expected.shape
    assert torch.equal(torch.isfinite(ours), finite)
    return not finite.any() or close(ours[finite].numpy(), expected[finite].numpy())


def one_of_the_ways(data, names):
    """The same names as a list, a predicate, or a list of both."""
    way = data.draw(st.sampled_from(["list", "predicate", "both"]))
    if way == "list":
        return names
    picked = set(names)
    return picked.__contains__ if way == "predicate" else [names[0], picked.__contains__]


@bounded(25)
@given(st.data())
def test_some_names_give_the_entries_of_the_whole_and_run_no_further(data):
    model = data.draw(models())
    tokens = data.draw(tokens_for(model))
    names = data.draw(some_of(model.hook_names))
    _, whole = model.run_with_cache(tokens, model.hook_names)
    ran = []
    for layer, block in enumerate(model.blocks):
        block.register_forward_pre_hook(lambda *_, layer=layer: ran.append(layer))
    logits, cache = model.run_with_cache(tokens, one_of_the_ways(data, names))
    assert list(cache) == [name for name in model.hook_names if name in names]
    assert all(same(cache[name], whole[name]) for name in names)
    layers = [int(name.split(".")[1]) for name in names if name.startswith("blocks.")]
    final = any(name.startswith("ln_final") for name in names)
    depth = model.config.n_layers if final else max(layers, default=-1) + 1
    assert ran == list(range(depth)) and (logits is not None) == final


@bounded(20)
@given(st.data())
def test_a_part_of_the_layers_records_what_it_reaches(data):
    """Oracle: the cache of the whole run, and the layer in each name."""
    model = data.draw(models())
    tokens = data.draw(tokens_for(model))
    start = data.draw(st.integers(0, model.config.n_layers - 1))
    stop = data.draw(st.integers(start + 1, model.config.n_layers))
    _, whole = model.run_with_cache(tokens, model.hook_names)
    stream = model(tokens, stop_at_layer=start)
    part = {"start_at_layer": start, "stop_at_layer": stop}
    for names in (None, lambda name: name.endswith(("resid_pre", "scale", "hook_z"))):
        end, cache = model.run_with_cache(stream, names, **part)
        inside = [f"blocks.{layer}." for layer in range(start, stop)]
        _, all_of_them = model.run_with_cache(tokens, names)
        assert list(cache) == [n for n in all_of_them if n.startswith(tuple(inside))]
        assert all(same(cache[name], whole[name]) for name in cache)
        assert torch.equal(end, model(tokens, stop_at_layer=stop))
    outside = [n for n in model.hook_names if not n.startswith(tuple(inside))]
    with pytest.raises(InputError, match="never reached"):
        model.run_with_cache(stream, data.draw(st.sampled_from(outside)), **part)


@bounded(20)
@given(st.data())
def test_the_parts_add_up(data):
    model = data.draw(models())
    config = model.config
    tokens = data.draw(tokens_for(model))
    _, cache = model.run_with_cache(tokens, model.hook_names)
    allowed = allowed_by(config.mask)
    n_pos = tokens.shape[1]
    for layer, block in enumerate(model.blocks):
        last = "resid_post" if config.attn_only else "resid_mid"
        if config.norm != "post" and config.residual:
            assert same(cache["resid_pre", layer] + cache["attn_out", layer], cache[last, layer])
            if not config.attn_only:
                total = cache["resid_mid", layer] + cache["mlp_out", layer]
                assert same(total, cache["resid_post", layer])
        if layer:
            assert torch.equal(cache["resid_pre", layer], cache["resid_post", layer - 1])
        heads = cache["result", layer].sum(2) + block.attn.b_O
        assert same(heads, cache["attn_out", layer])
        pattern = cache["pattern", layer]
        assert same(pattern @ cache["v", layer].transpose(1, 2), cache["z", layer].transpose(1, 2))
        assert (pattern.sum(-1) - 1).abs().max() < 1e-12 and pattern.min() >= 0
        for head in range(config.n_heads):
            for query in range(n_pos):
                for key in range(n_pos):
                    score = cache["attn_scores", layer][:, head, query, key]
                    if allowed(layer, head, query, key):
                        raw = cache["attn_scores_raw", layer][:, head, query, key]
                        assert torch.equal(score, raw)
                    else:
                        assert (score == -torch.inf).all()
                        assert not pattern[:, head, query, key].any()


@bounded(30)
@given(st.data())
def test_nothing_that_goes_in_or_comes_out_is_held(data):
    """Tokens, masks, stream and result are overwritten before the cache is read."""
    model = data.draw(models())
    tokens = data.draw(tokens_for(model))
    n_pos = tokens.shape[1]
    how = {}
    if data.draw(st.booleans()):
        how["mask"] = torch.ones(n_pos, n_pos, dtype=torch.bool).tril()
    if data.draw(st.booleans()):
        how["attention_mask"] = torch.arange(n_pos).expand_as(tokens) >= n_pos // 2
    into = tokens
    if data.draw(st.booleans()):
        how["start_at_layer"] = 0
        into = model(tokens, stop_at_layer=0)
    if data.draw(st.booleans()):
        how["stop_at_layer"] = model.config.n_layers
    _, expected = model.run_with_cache(into, **how)
    expected = {name: value.clone() for name, value in expected.items()}
    given_away = {name: value.clone() if isinstance(value, torch.Tensor) else value
                  for name, value in how.items()}  # fmt: skip
    mine = into.clone()
    out, cache = model.run_with_cache(mine, **given_away)
    for tensor in (mine, out, *given_away.values()):
        if isinstance(tensor, torch.Tensor):
            tensor.fill_(1)
    for name, value in expected.items():
        assert torch.equal(cache[name], value), name


@bounded(15)
@given(st.data())
def test_rows_do_not_know_of_each_other(data):
    """A batch in another order, or in parts, gives the same rows."""
    model = data.draw(models())
    tokens = data.draw(tokens_for(model, batch=(2, 5)))
    logits, cache = model.run_with_cache(tokens, model.hook_names, return_type="logits")
    order = data.draw(st.permutations(range(len(tokens))))
    cut = data.draw(st.integers(1, len(tokens) - 1))
    for rows in (order, order[:cut], order[cut:]):
        some, part = model.run_with_cache(tokens[rows], model.hook_names, return_type="logits")
        assert same(some, logits[rows])
        assert all(same(part[name], cache[name][rows]) for name in part)


@bounded(30)
@given(st.data())
def test_pads_anywhere_leave_the_real_tokens_what_they_are_alone(data):
    """Any number of pads in any places; a spec's window, sinks and prefix count real tokens."""
    model = data.draw(models())
    n_pos = data.draw(st.integers(1, 7))
    real = data.draw(st.lists(st.booleans(), min_size=n_pos, max_size=n_pos).filter(any))
    real = torch.tensor([real, [True] * n_pos])
    tokens = data.draw(tokens_for(model, batch=(2, 2), pos=(n_pos, n_pos)))
    logits, cache = model.run_with_cache(
        tokens, model.hook_names, return_type="logits", attention_mask=real
    )
    assert torch.isfinite(logits).all()
    for row in range(2):
        places = real[row].nonzero()[:, 0]
        alone, own = model.run_with_cache(
            tokens[row, places], model.hook_names, return_type="logits"
        )
        assert same(logits[row, places], alone[0])
        for name in own:
            axis = position_axis(name)
            entry = cache[name][row].index_select(axis - 1, places)
            if axis == 2:
                to_pads = entry[..., ~real[row]]
                if not name.endswith("raw"):
                    assert (to_pads == (0.0 if name.endswith("pattern") else -torch.inf)).all()
                entry = entry[..., places]
            assert same(entry, own[name][0]), name


@bounded(30)
@given(st.data())
def test_a_key_value_cache_filled_in_any_steps_gives_one_pass(data):
    """With pads on the left, under any mask that looks back only; a branch gets copies."""
    model = data.draw(models(BACKWARD))
    tokens = data.draw(tokens_for(model, pos=(2, 7)))
    batch, n_pos = tokens.shape
    pads = torch.tensor(
        data.draw(st.lists(st.integers(0, n_pos - 1), min_size=batch, max_size=batch))
    )
    real = torch.arange(n_pos) >= pads[:, None]
    cuts = sorted({0, n_pos, *data.draw(st.lists(st.integers(1, n_pos - 1), max_size=3))})
    whole = model(tokens, attention_mask=real)
    kv_cache, parts = KVCache(model), []
    for start, stop in pairwise(cuts):
        rows = data.draw(st.permutations(range(batch)))
        branch = kv_cache.select(rows)
        new = {"attention_mask": real[:, start:stop]}
        parts.append(model(tokens[:, start:stop], kv_cache=kv_cache, **new))
        if start:
            new = {"attention_mask": real[rows, start:stop]}
            again = model(tokens[rows, start:stop], kv_cache=branch, **new)
            assert same(again, parts[-1][rows])
    assert kv_cache.length == n_pos
    assert same(torch.cat(parts, 1)[real], whole[real])


@bounded(20)
@given(st.data())
def test_a_stored_cache_is_the_one_in_memory(data):
    model = data.draw(models())
    tokens = data.draw(tokens_for(model, batch=(1, 5)))
    n, n_pos = tokens.shape
    names = one_of_the_ways(data, data.draw(some_of(model.hook_names)))
    real = torch.arange(n_pos) >= torch.arange(n)[:, None] % n_pos
    how = {
        "pos": data.draw(st.none() | st.integers(-n_pos, n_pos - 1)),
        "return_type": data.draw(st.sampled_from(["auto", "logits"])),
        "attention_mask": data.draw(st.sampled_from([None, real])),
    }
    logits, cache = model.run_with_cache(tokens, names, **how)
    with tempfile.TemporaryDirectory() as folder:
        size = data.draw(st.integers(1, 6))
        model.run_with_cache(tokens, names, to=Path(folder) / "c", batch_size=size, **how)
        stored = open_cache(Path(folder) / "c")
        start = data.draw(st.integers(0, n - 1))
        stop = data.draw(st.integers(start + 1, n))
        some = stored.prompts(start, stop)
        assert set(some) == set(cache)
        for name in cache:
            assert same(stored[name], cache[name])
            assert same(some[name], cache[name][start:stop])
        assert torch.equal(stored["tokens"], tokens)
        if how["return_type"] == "logits":
            assert same(stored.read("logits", prompts=slice(start, stop)), logits[start:stop])
        assert ("attention_mask" in stored) == (how["attention_mask"] is not None)
