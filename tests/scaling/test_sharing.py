"""Oracle: the model that went in, and the memory it lies in.

Pools of processes carry their arguments by pickle, as Ray does its objects, so packed models take
that way here; no file is ever read with it.
"""

import pickle

import numpy as np
import pytest
import torch
from oracles.tiny import tiny_model, tiny_tokens

from interp.loading import load_model, weights_hash
from interp.scaling.sharing import pack, unpack


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_model_comes_back_with_the_same_logits(dtype):
    model = tiny_model(dtype=dtype)
    model.name, model.processing = "tiny", ("fold_ln",)
    back = unpack(pickle.loads(pickle.dumps(pack(model))))
    assert torch.equal(back(tiny_tokens()), model(tiny_tokens()))
    assert weights_hash(back) == weights_hash(model)
    assert (back.name, back.processing) == ("tiny", ("fold_ln",))
    assert not back.training and not any(p.requires_grad for p in back.parameters())


def test_a_shipped_model_keeps_its_tokenizer_and_provenance():
    model = load_model("small")
    back = unpack(pickle.loads(pickle.dumps(pack(model))))
    assert back.tokenizer.encode("the king was") == model.tokenizer.encode("the king was")
    assert back.provenance == model.provenance


def test_nothing_is_copied_on_the_way_in_or_out():
    model = tiny_model(dtype=torch.float32)
    packed = pack(model)
    for array in packed.arrays.values():
        array.flags.writeable = False  # as Ray hands them out
    back = unpack(packed)
    for name, parameter in back.named_parameters():
        assert parameter.data_ptr() == packed.arrays[name].ctypes.data
        assert np.shares_memory(parameter.numpy(), packed.arrays[name])
    back(tiny_tokens())
