"""Oracle: the same run with everything in memory; the files as safetensors reads them."""

import gc
import json
import os

import pytest
import torch
from oracles.tiny import PRIMES, tiny_model
from safetensors import safe_open

from interp.core import InputError, RunError, open_cache

N, POS = 7, 11


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, PRIMES["d_vocab"], (N, POS), generator=generator)


def assert_same(stored, cache, names, rows=slice(None)):
    for name in names:
        torch.testing.assert_close(stored[name], cache[name][rows], rtol=0, atol=1e-12)


def test_everything_comes_back_from_files_of_several_batches(model, tokens, tmp_path):
    logits, stored = model.run_with_cache(tokens, to=tmp_path / "c", batch_size=3)
    _, cache = model.run_with_cache(tokens)
    assert logits is None
    assert set(stored) == {*cache, "tokens"}
    assert_same(stored, cache, cache)
    assert torch.equal(stored["tokens"], tokens)
    assert torch.equal(stored["pattern", 2], stored["blocks.2.attn.hook_pattern"])
    files = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert files == ["000000.safetensors", "000001.safetensors", "000002.safetensors", "index.json"]


def test_any_reader_of_safetensors_can_read_them(model, tokens, tmp_path):
    model.run_with_cache(tokens, ["hook_embed"], to=tmp_path / "c", batch_size=4)
    with safe_open(tmp_path / "c" / "000001.safetensors", framework="pt") as file:
        assert set(file.keys()) == {"tokens", "hook_embed"}
        assert torch.equal(file.get_tensor("hook_embed"), model.W_E[tokens[4:]])


@pytest.mark.parametrize(("start", "stop"), [(0, 7), (2, 3), (2, 5), (5, 7), (3, 6)])
def test_a_range_of_prompts(model, tokens, tmp_path, start, stop):
    names = ["blocks.1.hook_resid_post", "blocks.0.attn.hook_pattern"]
    _, stored = model.run_with_cache(tokens, names, to=tmp_path / "c", batch_size=3)
    _, cache = model.run_with_cache(tokens, names)
    rows = slice(start, stop)
    part = stored.prompts(start, stop)
    assert_same(part, cache, names, rows)
    found = stored.read("resid_post", 1, prompts=rows)
    torch.testing.assert_close(found, cache[names[0]][rows], rtol=0, atol=1e-12)
    assert part.stack("resid_post").shape == (1, stop - start, POS, PRIMES["d_model"])


def test_text_pads_positions_masks_and_logits(model, tokens, tmp_path):
    real = torch.ones(N, POS, dtype=torch.bool)
    real[1, :4] = real[6, :2] = False
    how = {"attention_mask": real, "mask": "window:3"}
    _, stored = model.run_with_cache(
        tokens, pos=[-1, 2], to=tmp_path / "c", batch_size=2, return_type="logits", **how
    )
    logits, cache = model.run_with_cache(tokens, pos=[-1, 2], return_type="logits", **how)
    assert_same(stored, cache, cache)
    assert torch.equal(stored["attention_mask"], real)
    torch.testing.assert_close(stored["logits"], logits, rtol=0, atol=1e-12)


def test_bfloat16_and_the_deepest_layer_alone(tokens, tmp_path):
    model = tiny_model(dtype=torch.bfloat16)
    seen = []
    with model.hooks([("blocks.2.hook_resid_pre", lambda value, hook: seen.append(1))]):
        _, stored = model.run_with_cache(tokens, "blocks.1.hook_mlp_out", to=tmp_path / "c")
    _, cache = model.run_with_cache(tokens, "blocks.1.hook_mlp_out")
    assert not seen  # the pass stopped before layer 2
    assert torch.equal(stored["mlp_out", 1], cache["mlp_out", 1])
    assert stored["mlp_out", 1].dtype == torch.bfloat16


def test_what_the_model_shares_is_written_once(model, tokens, tmp_path):
    names = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_pre"]
    _, stored = model.run_with_cache(tokens, names, to=tmp_path / "c")
    assert torch.equal(stored[names[0]], stored[names[1]])
    size = os.path.getsize(tmp_path / "c" / "000000.safetensors")
    assert size < 1.5 * stored[names[0]].nbytes + 4000


def test_memory_does_not_grow_with_the_prompts(tmp_path):
    """Bytes of live tensors, looked at whenever one is written."""
    import interp.core.stored_cache as module

    model = tiny_model(dtype=torch.float32)
    most, add = [0], module._Shard.add

    def live():
        held = {}
        for thing in gc.get_objects():
            if type(thing) in (torch.Tensor, torch.nn.Parameter):
                held[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
        return sum(held.values())

    def watched(self, name, value):
        if name in ("blocks.2.attn.hook_pattern", "ln_final.hook_normalized"):
            most[0] = max(most[0], live())
        add(self, name, value)

    peaks = []
    for n in (5, 20):
        before, most[0] = live(), 0
        tokens = torch.randint(0, PRIMES["d_vocab"], (n, 19))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module._Shard, "add", watched)
            _, stored = model.run_with_cache(tokens, to=tmp_path / str(n), batch_size=5)
        peaks.append(most[0] - before - tokens.nbytes)
    one_batch = sum(stored.read(name, prompts=slice(0, 5)).nbytes for name in stored)
    assert peaks[1] <= peaks[0] * 1.05
    assert peaks[1] < one_batch / 4


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-3], "000001.safetensors has [0-9]+ bytes, but"),
        (lambda data: data[:-3] + b"abc", "000001.safetensors changed since it was written"),
        (lambda data: data[:40] + b"\0" + data[41:], "000001.safetensors changed since"),
        (None, "000001.safetensors is missing"),
    ],
)
def test_a_damaged_file_is_named(model, tokens, tmp_path, damage, says):
    names = ["hook_embed", "blocks.0.hook_resid_post"]
    model.run_with_cache(tokens, names, to=tmp_path / "c", batch_size=4)
    path = tmp_path / "c" / "000001.safetensors"
    data = path.read_bytes()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage(data))
    with pytest.raises(InputError, match=says):
        stored = open_cache(tmp_path / "c")
        stored[names[1]]


def test_a_run_that_did_not_end_is_no_cache_and_can_be_run_again(model, tokens, tmp_path):
    def stop(value, hook):
        if len(list((tmp_path / "c").iterdir())) > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), model.hooks([("blocks.1.hook_attn_out", stop)]):
        model.run_with_cache(tokens, to=tmp_path / "c", batch_size=2)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["000000.safetensors"]
    with pytest.raises(InputError, match="the run that wrote it did not end"):
        open_cache(tmp_path / "c")
    _, stored = model.run_with_cache(tokens, "hook_embed", to=tmp_path / "c", batch_size=2)
    assert torch.equal(stored["hook_embed"], model.W_E[tokens])


def test_a_full_disk_leaves_nothing_behind(model, tokens, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        model.run_with_cache(tokens, to=tmp_path / "c")
    assert not list((tmp_path / "c").iterdir())


def test_a_folder_with_other_things_is_left_alone(model, tokens, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"holds thesis\.tex"):
        model.run_with_cache(tokens, to=tmp_path)
    model.run_with_cache(tokens, "hook_embed", to=tmp_path / "c")
    with pytest.raises(InputError, match="holds a cache already"):
        model.run_with_cache(tokens, to=tmp_path / "c")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"n_prompts": 8},
        {"shards": []},
        {"shards": [{"file": "../x", "start": 0, "stop": 7, "bytes": 3, "head_sha256": ""}]},
        {"shards": 3},
    ],
)
def test_an_index_that_lies_is_refused(model, tokens, tmp_path, change):
    model.run_with_cache(tokens, "hook_embed", to=tmp_path / "c")
    path = tmp_path / "c" / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="is no index of a cache"):
        open_cache(tmp_path / "c")


def test_wrong_calls_are_one_sentence(model, tokens, tmp_path):
    _, stored = model.run_with_cache(tokens, "hook_embed", to=tmp_path / "c")
    with pytest.raises(InputError, match=r"'blocks\.0\.attn\.hook_z' is not in"):
        stored["z", 0]
    with pytest.raises(InputError, match="names no prompts"):
        stored.read("hook_embed", prompts=slice(9, 12))
    with pytest.raises(InputError, match="no cache was written there"):
        open_cache(tmp_path)
    with pytest.raises(InputError, match="batch_size starts at 1"):
        model.run_with_cache(tokens, to=tmp_path / "d", batch_size=0)
    with pytest.raises(InputError, match="stop_at_layer was given with `to`"):
        model.run_with_cache(tokens, to=tmp_path / "d", stop_at_layer=1)
    assert not (tmp_path / "d").exists()
