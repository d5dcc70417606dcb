"""Whatever is wrong with a checkpoint's files, the answer is one InputError, before any compute."""

import json
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from interp.core import InputError
from interp.loading import load_model

from .conftest import write_tiny

QKV = "transformer.h.1.attn.c_attn.weight"


def change_tensors(directory, change):
    path = directory / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def refusal(directory, **options):
    with pytest.raises(InputError) as caught:
        load_model(directory, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_tensor_is_named(tiny):
    change_tensors(tiny, lambda tensors: tensors.pop(QKV))
    assert QKV in refusal(tiny)


def test_an_unexpected_tensor_is_named(tiny):
    change_tensors(tiny, lambda tensors: tensors.update(extra=torch.zeros(2)))
    assert "transformer.extra" in refusal(tiny)


def test_cross_attention_weights_are_not_ignored(tiny):
    name = "transformer.h.0.crossattention.c_attn.weight"
    change_tensors(tiny, lambda tensors: tensors.update({name: torch.zeros(55, 110)}))
    assert name in refusal(tiny)


@pytest.mark.parametrize("shape", [(165, 55), (55, 164), (55,), (55, 165, 1), (0,)])
def test_a_wrong_shape_is_named_with_both_shapes(tiny, shape):
    change_tensors(tiny, lambda tensors: tensors.update({QKV: torch.zeros(shape)}))
    message = refusal(tiny)
    assert QKV in message
    assert str(list(shape)) in message
    assert "[55, 165]" in message


@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.int8, torch.bool, torch.uint8, torch.float8_e4m3fn]
)
def test_a_wrong_kind_of_number_is_named(tiny, dtype):
    change_tensors(tiny, lambda tensors: tensors.update({QKV: tensors[QKV].to(dtype)}))
    assert QKV in refusal(tiny)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", [QKV, "transformer.ln_f.bias", "transformer.wte.weight"])
def test_numbers_that_are_not_finite_are_named(tiny, value, name):
    change_tensors(tiny, lambda tensors: tensors[name].view(-1)[-1:].fill_(value))
    message = refusal(tiny)
    assert name in message
    assert "not finite" in message


def test_a_number_too_large_for_the_dtype_is_named(tiny):
    def overflow(tensors):
        tensors[QKV] = tensors[QKV].double()
        tensors[QKV][3, 5] = 1e300

    change_tensors(tiny, overflow)
    assert "not finite" in refusal(tiny)
    assert load_model(tiny, dtype=torch.float64).W_Q.max() == 1e300


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_layer", 2), ("n_layer", 4), ("n_layer", 10**9), ("n_embd", 60), ("n_embd", 10**12 * 5),
     ("vocab_size", 210), ("n_positions", 38), ("n_inner", 103), ("n_inner", None)],
)  # fmt: skip
def test_a_config_of_another_model_is_noticed_in_the_header(tiny, field, value):
    path = tiny / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    assert "config.json" in refusal(tiny)


def test_upcast_attention_is_refused_where_it_would_be_ignored(tmp_path):
    write_tiny(tmp_path / "upcast", reorder_and_upcast_attn=True)
    load_model(tmp_path / "upcast")
    assert "reorder_and_upcast_attn" in refusal(tmp_path / "upcast", dtype=torch.bfloat16)


def test_a_pickle_is_never_opened(tiny):
    """The file would write a marker if anything unpickled it."""
    marker = tiny / "opened"

    class Trap:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    import pickle

    (tiny / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt"):
        (tiny / name).write_bytes(pickle.dumps(Trap()))
    message = refusal(tiny)
    assert "pytorch_model.bin" in message
    assert "safetensors" in message
    assert not marker.exists()


def test_a_pickle_under_the_right_name_is_not_opened_either(tiny):
    import pickle

    (tiny / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    assert "not a whole safetensors file" in refusal(tiny)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(tiny, missing):
    (tiny / missing).unlink()
    assert missing in refusal(tiny)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_directory_in_place_of_a_file_is_noticed(tiny, name):
    (tiny / name).unlink()
    (tiny / name).mkdir()
    if name == "tokenizer.json":
        assert load_model(tiny).tokenizer is None
    else:
        assert name in refusal(tiny)


@pytest.mark.parametrize("cut", [0, 4, 8, 9, 100, 2000, 5000, 100_000, -1])
def test_a_truncated_weight_file_is_noticed(tiny, cut):
    path = tiny / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    assert "model.safetensors" in refusal(tiny)


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**30, 2**40, 2**63, 2**64 - 1])
def test_a_header_of_an_impossible_size_is_noticed(tiny, size):
    path = tiny / "model.safetensors"
    path.write_bytes(struct.pack("<Q", size) + path.read_bytes()[8:])
    assert "model.safetensors" in refusal(tiny)


def test_overlapping_and_outlying_tensors_are_noticed(tiny):
    path = tiny / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    for offsets in ([0, 10**15], [-8, 0], [5, 3], header["transformer.wpe.weight"]["data_offsets"]):
        changed = json.dumps(header | {QKV: header[QKV] | {"data_offsets": offsets}}).encode()
        path.write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + length :])
        assert "model.safetensors" in refusal(tiny)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'"gpt2"', b"3", b"\xff\xfe", b"\x00" * 100, b"[" * 100_000,
     b'{"model_type": "gpt2"', b"{}", b'{"model_type": ["gpt2"]}', b'{"model_type": "gpt2"}',
     b'{"model_type": "interp-gpt"}', b'{"model_type": "interp-gpt", "config": 3}',
     b'{"model_type": "interp-gpt", "config": {}}',
     b'{"model_type": "interp-gpt", "config": {"n_layers": "3"}}'],
)  # fmt: skip
def test_a_config_that_is_none_is_noticed(tiny, content):
    (tiny / "config.json").write_bytes(content)
    assert "onfig" in refusal(tiny)


@pytest.mark.parametrize("processing", [3, "fold_ln", [3], {"a": 1}])
def test_odd_notes_of_ours_are_noticed(tiny, processing):
    path = tiny / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"interp": {"processing": processing}})
    )
    assert "processing" in refusal(tiny)


class TestIndex:
    """model.safetensors.index.json must not lead outside its directory."""

    def with_index(self, directory, weight_map):
        (directory / "model.safetensors").rename(directory / "shard.safetensors")
        index = directory / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    @pytest.mark.parametrize(
        "target",
        ["../secret.safetensors", "/etc/passwd", "/tmp/x.safetensors", "sub/shard.safetensors",
         "shard.bin", "..", "", 3, None, ["shard.safetensors"], "shard.safetensors/"],
    )  # fmt: skip
    def test_a_path_is_refused(self, tiny, target):
        (tiny.parent / "secret.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
        self.with_index(tiny, {QKV: target})
        assert "same directory" in refusal(tiny)

    @pytest.mark.parametrize("weight_map", [None, {}, [], "shard.safetensors"])
    def test_a_map_that_is_none_is_refused(self, tiny, weight_map):
        self.with_index(tiny, weight_map)
        assert "weight_map" in refusal(tiny)

    def test_a_missing_shard_is_named(self, tiny):
        self.with_index(tiny, {QKV: "shard.safetensors", "x": "shard-2.safetensors"})
        assert "shard-2.safetensors" in refusal(tiny)

    def test_a_broken_promise_is_named(self, tiny):
        self.with_index(tiny, {QKV: "shard.safetensors", "promised": "shard.safetensors"})
        assert "promised" in refusal(tiny)

    def test_a_tensor_in_two_shards_is_named(self, tiny):
        content = (tiny / "model.safetensors").read_bytes()
        (tiny / "copy.safetensors").write_bytes(content)
        self.with_index(tiny, {QKV: "shard.safetensors", "x": "copy.safetensors"})
        assert "is in both" in refusal(tiny)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_few_changed_bytes_give_a_model_or_an_input_error(tiny, data):
    """Nothing else: no other exception, no crash, no model with other shapes."""
    name = data.draw(st.sampled_from(["config.json", "model.safetensors", "tokenizer.json"]))
    path = tiny / name
    original = path.read_bytes()
    changed = bytearray(original)
    # Of the weights, the header: a changed number is a valid number.
    reach = min(len(changed), 4000)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, reach - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(changed))
    try:
        model = load_model(tiny)
    except InputError:
        return
    finally:
        path.write_bytes(original)
    assert model(torch.tensor([[1, 2, 3]])).shape == (1, 3, 211)
