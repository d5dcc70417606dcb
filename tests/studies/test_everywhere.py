"""Where and how a study runs does not change what it says: device, batch size, precision.

Oracle: the same study on the CPU, in one batch, in float64. The model is tiny and untrained, so
what the studies find about it means nothing; the small language makes all of them applicable.
"""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from oracles.pretend_gpu import pretended_gpu, to_pretended

import studies
from interp.core import GPTConfig, HookedGPT
from interp.corpus import Language

# The pretended GPU takes several times as long, so only those with measures of their own are here;
# what the others share is in test_devices.
ON_A_GPU = (
    "causal_mask", "output_matrix", "parameter_count", "positional_embeddings", "senses",
    "temperature",
)  # fmt: skip
IN_HALF_PRECISION = (
    "attention_pattern", "indirect_objects", "output_matrix", "parameter_count",
    "positional_embeddings", "qk_ov_circuits", "senses", "temperature",
)  # fmt: skip
ROOT = Path(studies.__file__).parents[1]
PROMPTS = {"attention_pattern": 40}  # below, some roles have no prompts


def tiny(dtype=torch.float64):
    language = Language()
    model = HookedGPT(GPTConfig(2, 8, 2, 64, len(language.vocab)), seed=0)
    model.tokenizer, model.name = language.tokenizer, "tiny"
    return model.requires_grad_(False).eval().to(dtype)


def found(name, model, **options):
    study = studies.load(name)
    config = study.Config(quick=True, limit=PROMPTS.get(name, 12), **options)
    return study.run(model, config)


@pytest.mark.parametrize("name", ON_A_GPU)
def test_a_gpu_and_small_batches_give_the_same_tables(name):
    """Exact but for rounding, which only float32 would show: below 1e-4 of a value there."""
    here = found(name, tiny())
    with pretended_gpu():
        there = found(name, to_pretended(tiny()), batch_size=5)
    assert list(there.tables) == list(here.tables)
    for title, table in here.tables.items():
        other = there.tables[title].frame
        pd.testing.assert_frame_equal(
            other, table.frame, check_exact=False, rtol=1e-7, atol=1e-9, obj=title
        )
    assert [f.verdict for f in there.findings] == [f.verdict for f in here.findings]


@pytest.mark.parametrize("name", IN_HALF_PRECISION)
def test_half_precision_runs_and_is_reported(name):
    """NumPy has no bfloat16, and PyTorch decomposes nothing in it."""
    result = found(name, tiny(torch.bfloat16))
    assert result.provenance["dtype"] == "bfloat16"
    assert result.headline.text(result.tables)


def test_another_process_writes_the_same_bytes(tmp_path):
    """Draws, samples and sets: with other hashes of text, and on two threads."""
    program = (
        "import sys; from interp import cli\n"
        "words = ['run', 'temperature', '--quick', '--limit', '24', '--out', sys.argv[1]]\n"
        "assert cli.main(words) == 0\n"
    )
    written = []
    for name, seed, threads in (("a", "1", "1"), ("b", "2", "2")):
        env = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads}
        out = tmp_path / name
        subprocess.run([sys.executable, "-c", program, out], check=True, cwd=ROOT, env=env)
        files = [path for path in out.rglob("*") if path.is_file()]
        kept = [path for path in files if path.name != "provenance.json"]  # which holds the time
        written.append({path.relative_to(out): path.read_bytes() for path in kept})
    assert written[0] == written[1] and len(written[0]) > 20
