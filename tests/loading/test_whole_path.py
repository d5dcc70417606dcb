"""GPT-2 small's exact shape and real tokenizer, as the published model arrives."""

import os
import subprocess
import sys

import pytest
import torch

from interp.loading import load_model

from .conftest import GPT2_TOKENIZER, needs_gpt2_tokenizer


@needs_gpt2_tokenizer
def test_gpt2_from_a_hand_made_cache(tmp_path, hf_home, no_network):
    """A random checkpoint, written by transformers, cached as `gpt2`, through TransformerLens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    snapshot = hf_home / "hub" / "models--gpt2" / "snapshots" / ("0" * 40)
    (hf_home / "hub" / "models--gpt2" / "refs").mkdir(parents=True)
    (hf_home / "hub" / "models--gpt2" / "refs" / "main").write_text("0" * 40)
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config()).eval()
    theirs.save_pretrained(snapshot)
    for name in ("vocab.json", "merges.txt"):
        (snapshot / name).write_bytes((GPT2_TOKENIZER / name).read_bytes())

    model = load_model("gpt2")

    assert model.n_params == 124_439_808
    assert model.tokenizer.encode("Hello, world!") == [50256, 15496, 11, 995, 0]
    tokens, _ = model.to_tokens("The Eiffel tower is in the city of")
    with torch.no_grad():
        expected = theirs(tokens).logits
    torch.testing.assert_close(model(tokens), expected, atol=2e-5, rtol=0)
    from_directory = load_model(snapshot)
    for key in ("weights_sha256", "bos_policy", "dtype"):
        assert from_directory.provenance[key] == model.provenance[key]
    memory = _peak_over_weights(snapshot)
    if memory is not None:
        assert memory < 1.3


def _peak_over_weights(snapshot):
    """Peak memory of a load from the directory, over the weights; None where it is not told."""
    if not os.path.exists("/proc/self/clear_refs"):
        return None
    code = f"""
import torch
from interp.loading.load import load_model
def memory(field):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024
open("/proc/self/clear_refs", "w").write("5")
before = memory("VmRSS")
model = load_model({str(snapshot)!r})
print((memory("VmHWM") - before) / sum(p.numel() * 4 for p in model.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode and "clear_refs" in done.stderr:
        pytest.skip("this machine does not let a process reset its peak memory")
    assert done.returncode == 0, done.stderr
    return float(done.stdout)
