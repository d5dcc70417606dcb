"""The mistakes that a GPT library is likely to make, each made on purpose: which test notices?

A mutant is one replacement in a copy of the package. Its named test must pass before the mutation
and fail, by an assertion of its own, after it.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("interp", "studies", "tests", "pyproject.toml")


class Mutant(NamedTuple):
    """A mistake: where, what stands there, what is put in its place, and who must notice."""

    file: str
    before: str
    after: str
    test: str


MODEL, MASKS = "interp/core/model.py", "interp/core/masks.py"
PADDED, GENERATION = "interp/core/attention_mask.py", "interp/core/generation.py"
FORWARD = "tests/core/test_model.py::test_every_activation_equals_the_numpy_gpt[gpt2]"
FUSED = "tests/core/test_model.py::test_the_fused_path_equals_the_explicit_one[gpt2]"
MUTANTS = {
    "mask one position late": Mutant(MASKS, ".tril()", ".tril(1)", FUSED),
    "mask transposed": Mutant(MASKS, ".tril()", ".triu()", FUSED),
    "mask with 0 in place of minus infinity": Mutant(
        MODEL, "masked_fill(forbidden, -torch.inf)", "masked_fill(forbidden, 0.0)", FUSED
    ),
    "mask without the token itself": Mutant(
        MASKS, ".tril()", ".tril(-1) | torch.eye(n_pos, dtype=torch.bool)[:, :1]", FORWARD
    ),
    "softmax over queries": Mutant(
        MODEL, "pattern = Deferred(lambda: masked().softmax(-1))",
        "pattern = Deferred(lambda: masked().softmax(-2))", FORWARD,
    ),
    "no final norm": Mutant(MODEL, "resid = self.ln_final(resid)", "resid = resid", FORWARD),
    "exact GELU for the approximation": Mutant(
        MODEL, 'F.gelu(x, approximate="tanh")', "F.gelu(x)", FORWARD
    ),
    "no square root of d_head": Mutant(
        MODEL, "(config.d_head**-0.5 if", "(config.d_head**-1.0 if", FORWARD
    ),
    "queries and keys swapped": Mutant(
        MODEL, "z = F.scaled_dot_product_attention(\n            q, k, v,",
        "z = F.scaled_dot_product_attention(\n            k, q, v,", FORWARD,
    ),
    "induction one position off": Mutant(
        "interp/measures/roles.py", "cells=match_cells(1)", "cells=match_cells(2)",
        "tests/measures/test_detectors.py::test_repeats_and_offsets_match_a_count_by_hand",
    ),
    "heads in no order": Mutant(
        "interp/measures/detectors.py",
        'strength.sort_values(ascending=False, kind="stable").index', "strength.index",
        "tests/measures/test_detectors.py::test_labels_come_strongest_first",
    ),
    "hooks that stay after an exception": Mutant(
        "interp/core/hooked.py", "        finally:\n            for hooks, fn in found:",
        "        except KeyboardInterrupt:\n            raise\n        else:\n"
        "            for hooks, fn in found:",
        "tests/core/test_hooks.py::test_hooks_are_gone_after_an_exception[forward]",
    ),
    "sink tokens that are pads": Mutant(
        PADDED, "        if not isinstance(source, Tensor):\n            allowed = _by_pos",
        "        if False:\n            allowed = _by_pos",
        "tests/core/test_model.py::test_a_padded_row_equals_the_row_alone[window:2+2-left]",
    ),
    "nucleus without the token that reaches p": Mutant(
        GENERATION, "kept = mass_before < top_p - 1e-9",
        "kept = mass_before + sorted_probs < top_p + 1e-9",
        "tests/core/test_generation.py::"
        "test_filters_and_their_combination_equal_hugging_face[0.5-None-0.9-None]",
    ),
    "one seed for all rows": Mutant(
        GENERATION, "[seed + r for r in range(batch)]", "[seed for r in range(batch)]",
        "tests/core/test_generation.py::test_a_batch_equals_its_rows_one_by_one[sampled]",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A tree of its own, in which files can be broken."""
    folder = tmp_path_factory.mktemp("mutants")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            hidden = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(source, folder / name, ignore=hidden)
        else:
            shutil.copy(source, folder / name)
    return folder


def run(folder, *tests):
    """Runs tests of the copy, on the package of the copy."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_named_tests_pass_on_the_package_as_it_is(copy):
    done = run(copy, *sorted({mutant.test for mutant in MUTANTS.values()}))
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_noticed(copy, name):
    mutant = MUTANTS[name]
    file = copy / mutant.file
    whole = file.read_text()
    assert whole.count(mutant.before) == 1, f"{mutant.file} has changed: name the place anew"
    try:
        file.write_text(whole.replace(mutant.before, mutant.after))
        done = run(copy, mutant.test)
    finally:
        file.write_text(whole)
    assert done.returncode == 1, f"{mutant.test} did not notice: {done.stdout[-3000:]}"
    assert "AssertionError" in done.stdout, done.stdout[-3000:]
