"""Sweeps from files and into folders that are not as they were, by the command itself.

A wrong file ends with one sentence and writes nothing; a damaged folder is put right; nothing is
written or removed through links; a full disk keeps what is done.
"""

import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from oracles.damage import (
    NOT_JSON,
    as_json,
    broken,
    changed_values,
    contents,
    full_disk,
    looks_whole,
    no_files,
    refused,
    refused_by_command,
    untouched,
)

from interp import cli
from interp.core import InputError
from interp.scaling import Dataset, read_table
from interp.scaling.cells import Cell, ModelFacts
from interp.scaling.frames import notes_of, to_parquet
from interp.scaling.sweep_file import configured, read_sweep
from studies._sweep_measures import MEASURES

pytestmark = pytest.mark.usefixtures("no_type_checks")

SWEEP = """models = ["small", "random:small"]
studies = ["head_roles"]
measures = ["surprisal", "patch_heads"]
prompts = ["a.csv"]
seeds = [0, 1]
dtype = "float32"
prompts_per_cell = 10
[options]
quick = true
[options.patch_heads]
site = "q"
"""
ONE = 'models = ["small"]\nmeasures = ["surprisal"]\nprompts = ["{}"]\n'


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.csv").write_text("prompt\nthe calm creature\n")
    (tmp_path / "sweep.toml").write_text(ONE.format("a.csv"))
    return tmp_path


def sweep(folder, *words):
    file, out = folder / "sweep.toml", folder / "out"
    return cli.main(["sweep", str(file), "--out", str(out), "--device", "cpu", *words])


# ---------------------------------------------------------------------------------- the file


def test_a_damaged_sweep_toml(tmp_path):
    path = tmp_path / "sweep.toml"

    def whole_read():
        found = read_sweep(path, ("head_roles",), tuple(MEASURES))
        for name in found.measures:
            configured(path, found, name, MEASURES[name].config)

    path.write_text(SWEEP)
    assert refused(whole_read) is None
    refusals = 0
    for content in (*broken(SWEEP.encode(), 150, seed=14), *NOT_JSON):
        path.write_bytes(content)
        refusals += refused(whole_read) is not None
    assert refusals > 75


@pytest.mark.parametrize(
    "text",
    [
        f"x = {'9' * 5_000}",
        "x = " + "[" * 3_000,
        ONE.format("a\\u0000.csv"),
        ONE.format("x" * 5_000 + ".csv"),
        ONE.format("../" * 50 + "nothing.csv"),
        ONE.format("/dev/zero"),
        ONE.format("a.csv.gz"),
        ONE.format("a.pkl"),
        'models = ["random:~nobody/x"]\nstudies = ["head_roles"]',
        f'models = ["random:{"x" * 5_000}"]\nstudies = ["head_roles"]',
        'models = ["sm\\u0000all"]\nstudies = ["head_roles"]',
        'models = ["../../../etc"]\nstudies = ["head_roles"]',
        f'"{"k" * 5_000}" = 1',
        f'models = ["small"]\nstudies = ["head_roles"]\n[options."{"k" * 5_000}"]',
    ],
)
def test_a_wrong_file_is_one_sentence_and_writes_nothing(folder, capsys, text):
    (folder / "sweep.toml").write_text(text)
    with untouched(folder):
        sentence = refused_by_command(
            capsys, "sweep", folder / "sweep.toml", "--out", folder / "out", "--device", "cpu"
        )
    assert len(sentence) < 1_000


def test_a_list_of_a_hundred_thousand_seeds_is_read_at_once(folder):
    """Looking for one that comes twice must not take their number squared."""
    seeds = ", ".join(map(str, range(100_000)))
    (folder / "sweep.toml").write_text(f"{ONE.format('a.csv')}seeds = [{seeds}, 7]\n")
    with pytest.raises(InputError, match="seeds names 7 twice"):
        read_sweep(folder / "sweep.toml", (), ("surprisal",))


def test_things_that_are_no_files(folder, capsys):
    for path in no_files(folder):
        words = ("sweep", path, "--out", folder / "out")
        assert "cannot be read" in refused_by_command(capsys, *words)
        (folder / "b.csv").unlink(missing_ok=True)
        (folder / "b.csv").symlink_to(path)
        (folder / "sweep.toml").write_text(ONE.format("b.csv"))
        refused_by_command(capsys, "sweep", folder / "sweep.toml", "--out", folder / "out")
    assert not (folder / "out").exists()


def test_a_prompt_file_of_a_hostile_name_stays_in_the_folder(folder, capsys):
    for number, name in enumerate(("<img src=x onerror=alert(1)>.csv", "..csv", "a\nb.csv")):
        (folder / name).write_text(f"prompt\nthe calm creature{' .' * number}\n")
    (folder / "sweep.toml").write_text(
        'models = ["small"]\nmeasures = ["surprisal"]\n'
        'prompts = ["<img src=x onerror=alert(1)>.csv", "..csv", "a\\nb.csv"]\n'
    )
    before = set(contents(folder))
    assert sweep(folder) == 0
    written = {name for name in set(contents(folder)) - before if not name.startswith("out")}
    assert not written
    cells = [path.name for path in (folder / "out" / "cells").iterdir()]
    assert len(cells) == 3
    assert not any(set(name) & set("<>\n /") for name in cells)


# --------------------------------------------------------------------------------- the folder


@pytest.mark.parametrize("name", ["_sweep.json", "_log.jsonl", "_cells.jsonl"])
def test_damaged_notes_cost_nothing(folder, capsys, name):
    """What is done stays done; the notes are written again."""
    assert sweep(folder) == 0
    path = folder / "out" / name
    whole, cells = path.read_bytes(), contents(folder / "out" / "cells")
    assert name == "_log.jsonl" or json.loads(whole)
    long = b'{"cell": "x", "status": "done", "seconds": ' + b"9" * 400 + b"}"
    odd = [*broken(whole, 8, seed=15), b"\xff", b"[" * 9_999, b"[]", long,
           b'{"software": [1]}', b'{"software": null}',
           b'{"cell": ["x"], "status": "done", "seconds": NaN}\n3']  # fmt: skip
    for content in odd:
        path.write_bytes(content)
        dataset = Dataset(folder / "out", look_only=True)
        assert all(np.isfinite(taken) for taken in dataset.seconds().values())
        assert isinstance(dataset.described().get("software", {}), dict)
    assert sweep(folder) == 0
    assert contents(folder / "out" / "cells") == cells
    assert "Traceback" not in capsys.readouterr().err


def cell(name="oracle"):
    model = ModelFacts("small", None, "0" * 64, 3)
    return Cell("measure", name, {}, model, None, software={"interp": "1"})


def frame(n=5):
    values = np.arange(n) / 3
    return pd.DataFrame({"layer": range(n), "word": [f"w{i}" for i in range(n)], "value": values,
                         "odd": [{"a": i} for i in range(n)]})  # fmt: skip


@pytest.fixture
def done(tmp_path):
    """A sweep's folder with one cell, and the cell's file."""
    path = tmp_path / "out" / "cells" / f"{cell().id}.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(to_parquet(cell(), "cpu", {"rows": frame(), "none": frame(0)}))
    (tmp_path / "out" / "_sweep.json").write_text("{}")
    return tmp_path / "out", path


def test_a_damaged_cell_is_done_again_or_gives_what_it_held(done):
    out, path = done
    whole, expected = path.read_bytes(), read_table(out, "oracle", "rows")
    assert Dataset(out, look_only=True).status(cell().id) == "done"
    noticed = 0
    for content in broken(whole, 120, seed=16):
        path.write_bytes(content)
        Dataset(out, look_only=True).status(cell().id)
        found = []
        if refused(lambda found=found: found.append(read_table(out, "oracle", "rows"))) is None:
            pd.testing.assert_frame_equal(found[0], expected)
        else:
            noticed += 1
    assert noticed > 75
    path.write_bytes(whole[: len(whole) // 2])
    assert Dataset(out, look_only=True).status(cell().id) is None


def test_notes_of_other_kinds_are_refused(done):
    out, path = done
    table, notes = pq.read_table(path), notes_of(path)
    for values in (3, [], "x", *changed_values(notes, 80, seed=17)):
        metadata = {b"interp": as_json(values)}
        pq.write_table(table.replace_schema_metadata(metadata), path)
        Dataset(out, look_only=True).status(cell().id)
        refused(lambda: read_table(out, "oracle", "rows"))
    pq.write_table(table.replace_schema_metadata({b"interp": as_json(notes)}), path)
    assert len(read_table(out, "oracle", "rows")) == 5


@pytest.mark.parametrize(
    "changes",
    [{"rows": 3}, {"rows": 15}, {"columns": ["layer", "value", "word", "odd"]},
     {"columns": ["word", "value", "odd"], "keys": []}],
)  # fmt: skip
def test_a_table_that_is_not_as_its_notes_say_is_no_other_table(done, changes):
    out, path = done
    table, notes = pq.read_table(path), notes_of(path)
    shape = notes["tables"]["rows"]
    shape |= changes
    shape["kinds"] = {name: shape["kinds"][name] for name in shape["columns"]}
    pq.write_table(table.replace_schema_metadata({b"interp": as_json(notes)}), path)
    found = []
    if refused(lambda: found.append(read_table(out, "oracle", "rows"))) is None:
        assert changes["columns"] == ["word", "value", "odd"]  # a key may be left out
        assert found[0]["word"].tolist() == frame()["word"].tolist()


def test_a_cell_that_would_burst_is_not_opened(done):
    """Six million rows in some thousand bytes, under the notes of five."""
    out, path = done
    notes, n = notes_of(path), 6_000_000
    words = {name: pa.repeat("x", n).dictionary_encode() for name in ("table", "column")}
    bomb = pa.table(words).replace_schema_metadata({b"interp": as_json(notes)})
    pq.write_table(bomb, path)
    assert path.stat().st_size < 40_000
    with pytest.raises(InputError, match=f"announces {n} rows"):
        read_table(out, "oracle", "rows")


# -------------------------------------------------------------------------- links, full disks


@pytest.mark.parametrize("name", ["cells", "_failed", "_lock", "_log.jsonl", "_sweep.json"])
def test_a_folder_with_links_is_not_written_to(folder, capsys, name):
    mine, out = folder / "mine", folder / "out"
    (mine / "cells").mkdir(parents=True)
    (mine / "cells" / ".precious").write_text("years")
    (mine / "file").write_text("years")
    out.mkdir()
    (out / "_sweep.json").write_text("{}")
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(mine / ("file" if "." in name or name == "_lock" else "cells"))
    with untouched(folder):
        words = ("sweep", folder / "sweep.toml", "--out", out, "--device", "cpu")
        assert f"{name} is a link" in refused_by_command(capsys, *words)


def test_hidden_files_of_others_are_not_removed(folder):
    """Leftovers are looked for where the sweep writes, and nowhere else."""
    out, mine = folder / "out", folder / "mine"
    assert sweep(folder) == 0
    (out / "notes").mkdir()
    mine.mkdir()
    for place in (mine, out / "notes"):
        (place / ".bashrc").write_text("years")
    (out / "link").symlink_to(mine)
    (out / "cells" / ".half.parquet.x1").write_bytes(b"half")
    with untouched(mine), untouched(out / "notes"):
        assert sweep(folder) == 0
    assert not (out / "cells" / ".half.parquet.x1").exists()


def test_an_out_that_is_a_link_to_a_folder_is_that_folder(folder):
    (folder / "big-disk").mkdir()
    (folder / "out").symlink_to(folder / "big-disk")
    assert sweep(folder) == 0
    assert len(list((folder / "big-disk" / "cells").iterdir())) == 1


@pytest.mark.parametrize("name", ["_lock", "_log.jsonl"])
def test_a_folder_or_a_pipe_in_the_place_of_a_file(folder, capsys, name):
    assert sweep(folder) == 0
    path, words = folder / "out" / name, ("sweep", folder / "sweep.toml", "--out", folder / "out")
    path.unlink()
    path.mkdir()
    refused_by_command(capsys, *words)
    path.rmdir()
    os.mkfifo(path)
    refused_by_command(capsys, *words)


@pytest.mark.parametrize("n_bytes", [0, 300, 4_000])
def test_a_full_disk_keeps_what_is_done(folder, capsys, n_bytes):
    words = ("sweep", folder / "sweep.toml", "--out", folder / "out", "--device", "cpu")
    with full_disk(n_bytes):
        assert "cannot be written" in refused_by_command(capsys, *words)
    assert not looks_whole(folder / "out")
    assert sweep(folder) == 0
    assert len(list((folder / "out" / "cells").glob("*.parquet"))) == 1


def test_an_out_that_nobody_has(folder, capsys):
    words = ("sweep", folder / "sweep.toml", "--device", "cpu", "--out")
    assert "no such user" in refused_by_command(capsys, *words, "~nobody-of-this-name/x")
    with untouched(folder):
        refused_by_command(capsys, *words, folder / "a.csv")
        refused_by_command(capsys, *words, folder / "a.csv" / "x")
