"""Proof that the shapes in the signatures are checked while the tests run, and only then."""

import subprocess
import sys

import jaxtyping
import pytest
import torch
from oracles.tiny import tiny_model

from interp.core.masks import window_mask


def test_a_wrong_shape_is_caught():
    attn = tiny_model().blocks[0].attn
    q, kv = torch.zeros(2, 3, 5, 7).double(), torch.zeros(2, 3, 5, 11).double()
    with pytest.raises(jaxtyping.TypeCheckError):
        attn._scores(q, kv)  # d_head differs
    with pytest.raises(jaxtyping.TypeCheckError):
        tiny_model()(torch.zeros(2, 3, 5, 7, dtype=torch.long))
    with pytest.raises(jaxtyping.TypeCheckError):
        window_mask(3, width="two")


def test_users_pay_nothing_for_it():
    code = (
        "from interp.core.masks import window_mask\n"
        "assert not hasattr(window_mask, '__wrapped__')\n"
        "import sys; assert 'beartype' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
