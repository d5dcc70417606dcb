"""benchmarks/parity.py on tiny shapes: every row keeps its limit, and would notice a mistake."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from interp.loading import load_model

_PATH = Path(__file__).parents[2] / "benchmarks" / "parity.py"
_SPEC = importlib.util.spec_from_file_location("benchmarks_parity", _PATH)
parity = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(parity)

CASES = {case.variant: case for case in parity.tiny_cases()}
SHARED_WITH_TRANSFORMERLENS = {
    "hook_embed", "hook_pos_embed", "hook_resid_pre", "hook_resid_mid", "hook_resid_post",
    "ln1.hook_scale", "ln1.hook_normalized", "ln2.hook_scale", "ln2.hook_normalized",
    "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_attn_scores", "attn.hook_pattern",
    "attn.hook_z", "attn.hook_result", "hook_attn_out", "mlp.hook_pre", "mlp.hook_post",
    "hook_mlp_out", "ln_final.hook_scale", "ln_final.hook_normalized", "ln_final.hook_out",
    "logits",
}  # fmt: skip


@pytest.fixture(scope="module", params=list(CASES))
def checkpoint(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("parity")
    parity.write_checkpoint(CASES[request.param], directory)
    return CASES[request.param], directory


@pytest.mark.parametrize("peer", list(parity.PEERS))
def test_every_shared_quantity_keeps_the_limits(checkpoint, peer):
    case, directory = checkpoint
    frame = parity.compare(case, directory, peer)
    # test_transformer_lens_does_ignore_what_the_table_excuses is about the rows with a note.
    beyond = frame[~parity.within_limits(frame) & (frame.note == "")]
    assert beyond.empty, beyond.to_string()


def test_nothing_that_is_shared_is_left_out(tmp_path):
    case = CASES["default"]
    parity.write_checkpoint(case, tmp_path)
    compared = {peer: set(parity.compare(case, tmp_path, peer).quantity) for peer in parity.PEERS}
    assert compared["transformer_lens"] == SHARED_WITH_TRANSFORMERLENS
    states = {"logits", "hook_resid_pre", "ln_final.hook_out"}
    assert compared["transformers sdpa"] == states
    assert compared["transformers eager"] == states | {"attn.hook_pattern"}
    # Whatever a model of ours records is compared, but for the scores before the mask.
    ours = {parity._kind(name) for name in load_model(tmp_path).hook_names}
    assert ours - SHARED_WITH_TRANSFORMERLENS == {"attn.hook_attn_scores_raw"}


def test_attention_is_far_from_uniform(tmp_path):
    case = CASES["default"]
    parity.write_checkpoint(case, tmp_path)
    assert parity.attention_sharpness(tmp_path, parity.tokens_of(case)) < 0.6


def test_transformer_lens_does_ignore_what_the_table_excuses(tmp_path):
    """TransformerLens on a checkpoint and on its twin without the field gives the same numbers."""
    case = CASES["scale_attn_weights=false"]
    parity.write_checkpoint(case, tmp_path / "with")
    parity.write_checkpoint(
        replace(case, fields=case.fields | {"scale_attn_weights": True}), tmp_path / "without"
    )
    tokens = parity.tokens_of(case)
    logits = {
        (peer, side): parity.PEERS[peer](tmp_path / side, tokens, torch.float64)["logits"]
        for peer in ("transformer_lens", "transformers eager")
        for side in ("with", "without")
    }
    assert torch.equal(logits["transformer_lens", "with"], logits["transformer_lens", "without"])
    theirs = logits["transformers eager", "with"]
    assert not torch.allclose(theirs, logits["transformers eager", "without"], atol=0.1)
    assert torch.allclose(load_model(tmp_path / "with", dtype=torch.float64)(tokens), theirs)


@pytest.mark.parametrize("parameter", ["W_QKV", "b_QKV", "W_O_flat", "b_O"])
def test_a_small_mistake_in_one_head_would_be_noticed(tmp_path, monkeypatch, parameter):
    case = CASES["default"]
    parity.write_checkpoint(case, tmp_path)

    def slightly_wrong(directory, dtype):
        model = load_model(directory, dtype=dtype)
        getattr(model.blocks[2].attn, parameter).view(-1)[5:9] *= 1 + 1e-4
        return model

    monkeypatch.setattr(parity, "load_model", slightly_wrong)
    frame = parity.compare(case, tmp_path, "transformers sdpa")
    exact_logits = frame[(frame.quantity == "logits") & (frame.dtype == "float64")]
    assert not parity.within_limits(exact_logits).any()
