"""No pickle is ever opened: a file that can run code when it is read is refused by its name."""

import ast
import os
import pickle
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.damage import refused_by_command, untouched

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "interp").rglob("*.py"), *(ROOT / "studies").rglob("*.py")])
# Modules that open pickles, or carry them; `ray` is told apart in `interp.scaling.sharing`.
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"torch.load", "np.load", "numpy.load", "pd.read_pickle", "pandas.read_pickle",
         "torch.jit.load", "torch.hub.load", "sklearn.externals", "yaml.load"}  # fmt: skip


def opens_pickles(tree):
    """What of a module can open a pickle."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module] * ((node.module or "").split(".")[0] in MODULES)
            yield from (f"{node.module}.{a.name}" for a in node.names
                        if f"{node.module}.{a.name}" in CALLS)  # fmt: skip
        elif isinstance(node, ast.Attribute):
            yield from [ast.unparse(node)] * (ast.unparse(node) in CALLS)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield "allow_pickle"


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from joblib import load", "torch.load(p)", "x = np.load", "import dill as d",
     "from torch import load", "f(a, allow_pickle=True)", "pd.read_pickle(p)"],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(code):
    assert list(opens_pickles(ast.parse(code)))


def test_no_module_opens_a_pickle():
    assert len(FILES) > 100
    suspects = {path: path.read_text("utf-8") for path in FILES}
    found = {
        str(path.relative_to(ROOT)): list(opens_pickles(ast.parse(text)))
        for path, text in suspects.items()
        if re.search(r"pickle|joblib|dill|shelve|marshal|[. ]load\b|externals", text)
    }
    assert len(found) > 10  # there are loads of many kinds
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.fixture
def in_time():
    """Opening a pipe that nobody writes to waits for ever: then the test fails."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "pytorch_model.bin.index.json"])
def test_a_folder_with_a_pickle_alone_is_refused_unopened(tmp_path, capsys, in_time, name):
    (tmp_path / "config.json").write_text(
        '{"model_type": "gpt2", "n_layer": 1, "n_head": 1, "n_embd": 2, "n_positions": 3,'
        ' "vocab_size": 5}'
    )
    os.mkfifo(tmp_path / name)
    sentence = refused_by_command(capsys, "generate", "-m", tmp_path, "hello")
    assert name in sentence
    assert "is a pickle" in sentence


def test_weights_in_other_formats_are_refused_unopened(tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    for name in ("model.bin", "model.pt", "model.pkl", "model.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.pth")
    np.savez(tmp_path / "model.npz", a=np.array([Trap()], dtype=object))
    with untouched(tmp_path):
        for path in sorted(tmp_path.iterdir()):
            assert "safetensors" in refused_by_command(capsys, "generate", "-m", path, "hello")
        refused_by_command(capsys, "sweep", path, "--out", tmp_path / "out")
        refused_by_command(capsys, "compare", path, path, "--out", tmp_path / "out")
