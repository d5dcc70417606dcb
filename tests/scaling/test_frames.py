"""Oracle: the frames that went in, and readers that know nothing of this library."""

import json

import numpy as np
import pandas as pd
import pyarrow.dataset
import pytest

from interp.core.errors import InputError
from interp.scaling.cells import Cell, ModelFacts, Outcome, PromptBlock
from interp.scaling.dataset import Dataset
from interp.scaling.frames import KEYS, notes_of, read_table, to_parquet

MODEL = ModelFacts("small", None, "ab" * 32, 7)
BLOCK = PromptBlock("pairs.csv", 5, (("a", "line 1", 1), ("b", "line 2", 2)))
FRAMES = {
    "heads": pd.DataFrame(
        {
            "layer": [0, 0, 1],
            "head": [0, 1, 0],
            "score": [0.25, np.nan, -1.5],
            "holds": [True, False, True],
            "n": np.array([3, 2, 2**40], dtype=np.int64),
            "name": ["a", None, "한국어"],
            "count": pd.array([1, None, 3], dtype="Int64"),
            "nested": [[1, 2], {"a": np.float64(0.5)}, None],
            "nothing": [None, None, None],
        }
    ),
    "keys_alone": pd.DataFrame({"layer": [4, 7], "pos": [0, 1]}),
    "words_as_keys": pd.DataFrame({"layer": ["embed", "L0"], "value": [1, 2]}),
    "empty": pd.DataFrame({"layer": pd.Series([], dtype=int), "score": pd.Series([], dtype=float)}),
}


def cell(seed=3, prompts=None, name="study"):
    return Cell("study", name, {"quick": True}, MODEL, seed, prompts, software={"interp": "9"})


@pytest.fixture
def folder(tmp_path):
    with Dataset(tmp_path / "sweep") as dataset:
        dataset.describe({})
        for one in (cell(3), cell(4, BLOCK)):
            dataset.store(Outcome(one.id, "done", to_parquet(one, "cpu", FRAMES)))
    return tmp_path / "sweep"


def test_every_reader_sees_one_table_of_all_cells(folder):
    by_pandas = pd.read_parquet(folder)
    by_arrow = pyarrow.dataset.dataset(folder).to_table()
    # Columns that are no keys: 7 x 3 rows, one stand-in row x 2, two x 2, none; twice.
    assert len(by_pandas) == len(by_arrow) == 2 * (7 * 3 + 2 + 2 * 2)
    assert set(by_pandas["seed"]) == {3, 4}
    row = by_pandas.query("seed == 4 and table == 'heads' and column == 'score' and row == 2")
    assert row[["layer", "head", "number", "model", "prompts"]].to_numpy().tolist() == [
        [1, 0, -1.5, "small", "pairs.csv"]
    ]
    assert row["cell"].item() == cell(4, BLOCK).id
    assert row["prompts_sha256"].item() == BLOCK.sha256
    assert json.loads(row["options"].item()) == {"quick": True}


def test_a_table_comes_back_as_it_was(folder):
    for name, frame in FRAMES.items():
        back = read_table(folder, "study", name)
        if not len(frame):
            assert list(back)[4:] == list(frame)
            continue
        of_first = back[back["seed"] == 3].drop(columns=["model", "seed", "prompts", "cell"])
        expected = frame.copy()
        if "nested" in frame:
            expected["nested"] = [[1, 2], {"a": 0.5}, None]
            expected["nothing"] = np.nan
        pd.testing.assert_frame_equal(of_first.reset_index(drop=True), expected)


def test_equal_tables_are_equal_bytes():
    assert to_parquet(cell(), "cpu", FRAMES) == to_parquet(cell(), "cpu", FRAMES)
    assert to_parquet(cell(), "cpu", FRAMES) != to_parquet(cell(5), "cpu", FRAMES)


def test_a_table_that_is_not_there_is_named(folder):
    with pytest.raises(InputError, match=r"its tables are .*heads"):
        read_table(folder, "study", "tails")
    with pytest.raises(InputError, match=r"its tables are .*heads"):
        read_table(folder, "study")
    with pytest.raises(InputError, match="nothing is done of it"):
        read_table(folder, "other", "heads")


def test_an_id_changes_with_every_input_and_with_nothing_else():
    base = cell(4, BLOCK)
    other_rows = PromptBlock("pairs.csv", 5, (("a", "line 1", 1), ("c", "line 2", 2)))
    other_lines = PromptBlock("pairs.csv", 5, (("a", "line 1", 8), ("b", "line 2", 9)))
    changed = [
        cell(5, BLOCK),
        cell(4, other_rows),
        cell(4, BLOCK, name="other"),
        Cell("study", "study", {"quick": False}, MODEL, 4, BLOCK, software={"interp": "9"}),
        Cell("study", "study", {"quick": True}, MODEL, 4, BLOCK, software={"interp": "10"}),
        Cell("study", "study", {"quick": True}, MODEL, 4, BLOCK, "float64", {"interp": "9"}),
        Cell("study", "study", {"quick": True}, ModelFacts("small", None, "cd" * 32, 7), 4, BLOCK,
             software={"interp": "9"}),
    ]  # fmt: skip
    assert len({base.id, *(one.id for one in changed)}) == len(changed) + 1
    faster = Cell("study", "study", {"quick": True, "batch_size": 3}, MODEL, 4, other_lines,
                  software={"interp": "9", "code": "x"})  # fmt: skip
    assert faster.id == base.id


def test_a_name_cannot_lead_out_of_the_folder():
    model = ModelFacts("../../etc/passwd", None, "ab" * 32, 7)
    block = PromptBlock("../x.csv", 0, BLOCK.rows)
    name = Cell("study", "study", {}, model, 0, block).id
    assert "/" not in name and not name.startswith(".")
    assert len(name) < 240


def test_a_damaged_file_is_named(folder):
    path = next((folder / "cells").iterdir())
    assert notes_of(path)["tables"].keys() == FRAMES.keys()
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="no whole file of a sweep"):
        notes_of(path)
    assert set(KEYS) >= {"prompt", "layer", "head"}
