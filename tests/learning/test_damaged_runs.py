"""Folders of trainings that are not as they were: the run goes on as it would, or one sentence says
why not; nothing is written through links, and a full disk costs nothing.
"""

import json
from dataclasses import replace

import pandas as pd
import pytest
import safetensors.torch
import torch
from oracles.damage import (
    NOT_JSON,
    as_json,
    broken,
    changed_values,
    full_disk,
    looks_whole,
    no_files,
    refused,
    refused_by_command,
    untouched,
)
from safetensors import safe_open

from interp import cli
from interp.core import InputError, RunError
from interp.learning import train, train_suite
from interp.learning.checkpoints import (
    Checkpoint,
    checkpoint_path,
    checkpoint_paths,
    read_checkpoint,
    write_checkpoint,
)
from interp.learning.run_log import RunLog, read_log
from interp.learning.trainer import Run
from interp.loading import load_model

# As users have it: without the checks of types that only the tests install.
pytestmark = pytest.mark.usefixtures("no_type_checks")


@pytest.fixture
def short(micro):
    """Twelve steps, with checkpoints after the sixth and the last."""
    return replace(micro, n_steps=12, checkpoint_every=6)


@pytest.fixture
def trained(short, tmp_path):
    folder = tmp_path / "run"
    train(short, folder)
    return folder


def test_damaged_bytes_of_a_checkpoint_are_noticed(trained, tmp_path):
    """Except where the bytes say the same: then it is the checkpoint that was saved."""
    path = checkpoint_paths(trained / "checkpoints")[-1]
    whole, expected = path.read_bytes(), read_checkpoint(path)
    for content in (*broken(whole, 100, seed=9), *broken(whole, 100, seed=10, reach=3_000)):
        path.write_bytes(content)
        found = []
        if refused(lambda found=found: found.append(read_checkpoint(path))) is None:
            assert (found[0].step, found[0].facts) == (expected.step, expected.facts)
            for name, tensor in expected.tensors.items():
                assert torch.equal(found[0].tensors[name], tensor)


def test_facts_of_other_kinds_are_refused(trained, short):
    """The hash is right: such a file was written so."""
    path = checkpoint_paths(trained / "checkpoints")[-1]
    whole = read_checkpoint(path)
    for values in changed_values(whole.facts, 60, seed=11):
        if not isinstance(values, dict):
            continue
        write_checkpoint(path.parent, Checkpoint(whole.step, whole.tensors, values))
        refused(lambda: load_model(path))
        refused(lambda: Run(short, trained, True, None, None))


@pytest.mark.parametrize("header", ["", "[", "3", "{}", '{"facts": 3}', '{"facts": "\\ud800"}',
                                    '{"facts": "3", "sha256": "x"}', "[" * 9_999])  # fmt: skip
def test_a_header_that_is_none_is_refused(tmp_path, header):
    path = checkpoint_path(tmp_path, 3)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, {"checkpoint": header})
    assert str(path) in refused(lambda: read_checkpoint(path))


@pytest.mark.parametrize("facts", ["3", "[]", "{}", '{"step": "3"}', '{"step": -1}', "[" * 9_999])
def test_facts_without_a_step_are_refused(tmp_path, facts):
    from interp.learning.checkpoints import _fingerprint

    tensors = {"a": torch.zeros(2)}
    header = json.dumps({"facts": facts, "sha256": _fingerprint(tensors, facts)})
    path = checkpoint_path(tmp_path, 3)
    safetensors.torch.save_file(tensors, path, {"checkpoint": header})
    assert str(path) in refused(lambda: read_checkpoint(path))


@pytest.mark.parametrize(
    "tensor",
    [
        None,
        torch.zeros(1),
        torch.zeros(3, 7),
        torch.zeros(10, 13, dtype=torch.int64),
        torch.zeros(0),
    ],
)
@pytest.mark.parametrize("name", ["model.embed.W_E", "optimizer.embed.W_E.exp_avg", "rng"])
def test_tensors_of_another_shape_or_kind_are_refused(trained, short, name, tensor):
    """A tensor of one number would spread over all weights without a word."""
    path = checkpoint_paths(trained / "checkpoints")[-1]
    whole = read_checkpoint(path)
    tensors = {key: value for key, value in whole.tensors.items() if key != name}
    tensors |= {} if tensor is None else {name: tensor}
    write_checkpoint(path.parent, Checkpoint(whole.step, tensors, whole.facts))
    with pytest.raises(InputError, match=f"does not fit this run .{name}"):
        train(short, trained)


def test_a_model_of_numbers_that_are_not_finite_is_refused(trained):
    path = checkpoint_paths(trained / "checkpoints")[-1]
    whole = read_checkpoint(path)
    whole.tensors["model.embed.W_E"][0, 0] = float("nan")
    write_checkpoint(path.parent, whole)
    with pytest.raises(InputError, match="not finite"):
        load_model(path)


def test_a_damaged_log(trained, short):
    path = trained / "log.csv"
    whole = path.read_bytes()
    columns = whole.decode().partition("\n")[0].split(",")
    for content in (*broken(whole, 70, seed=12), *NOT_JSON):
        path.write_bytes(content)
        refused(lambda: RunLog(path, columns, resume_at=6))
        path.write_bytes(content)
        refused(lambda: read_log(path))
    path.write_bytes(whole)
    RunLog(path, columns, resume_at=12)
    assert path.read_bytes() == whole
    pd.testing.assert_frame_equal(read_log(path), pd.read_csv(path))


def test_what_is_no_file_is_not_waited_for(tmp_path):
    for path in no_files(tmp_path):
        assert refused(lambda path=path: read_checkpoint(path))
        assert refused(lambda path=path: read_log(path))
        assert refused(lambda path=path: train_suite.read_outcome(path))
        with pytest.raises(RunError, match="its log cannot be read"):
            RunLog(path, ["step"], resume_at=3)


def test_a_damaged_outcome(tmp_path):
    run = train_suite.suite_runs(("trigger_depth",), 1)[0]
    path = tmp_path / run.name / train_suite.OUTCOME
    path.parent.mkdir(parents=True)
    whole = {"recipe": {}, "outcome": "finished", "detail": "", "steps": 3}
    for content in (*NOT_JSON, *map(as_json, changed_values(whole, 40, seed=13))):
        path.write_bytes(content)
        assert refused(lambda: train_suite.train_run(run, tmp_path)) is not None


# -------------------------------------------------------------------------- links, full disks


def test_nothing_is_written_or_removed_through_a_link(trained, short, tmp_path):
    mine = tmp_path / "mine"
    (mine / "checkpoints").mkdir(parents=True)
    checkpoint_path(mine / "checkpoints", 99).write_bytes(b"precious")
    (mine / "log.csv").write_text("precious")
    run = tmp_path / "other"
    run.mkdir()
    (run / "checkpoints").symlink_to(mine / "checkpoints")
    with untouched(mine), pytest.raises(InputError, match="checkpoints is a link"):
        train(short, run, resume=False)
    (run / "checkpoints").unlink()
    for name in ("log.csv", ".log.csv.part"):
        (run / name).symlink_to(mine / "log.csv")
    with untouched(mine):
        train(short, run, resume=False)
    assert not (run / "log.csv").is_symlink()


@pytest.mark.parametrize("n_bytes", [0, 200, 2_000, 20_000])
def test_a_full_disk_keeps_what_there_is_and_nothing_half(short, tmp_path, n_bytes):
    whole = tmp_path / "whole"
    train(short, whole)
    with full_disk(n_bytes), pytest.raises(RunError):
        train(short, tmp_path / "run")
    assert not looks_whole(tmp_path / "run")
    train(short, tmp_path / "run")
    both = (checkpoint_paths(out / "checkpoints") for out in (whole, tmp_path / "run"))
    for one, other in zip(*both, strict=True):
        with safe_open(one, "pt") as a, safe_open(other, "pt") as b:
            for name in a.keys():  # noqa: SIM118
                assert torch.equal(a.get_tensor(name), b.get_tensor(name))


def test_a_full_disk_by_command(tmp_path, capsys):
    words = ("train", "trigger", "--steps", "4", "--out", tmp_path / "run")
    with full_disk(100_000):
        assert "could not write" in refused_by_command(capsys, *words)
    assert not looks_whole(tmp_path)
    with full_disk(5_000_000):
        assert cli.main([str(word) for word in words]) == 0
    assert load_model(tmp_path / "run").name == "trigger"
    # The finished model alone does not fit: the checkpoint and the log stay.
    (tmp_path / "run" / "final" / "notes.txt").write_text("mine")
    assert "notes.txt" in refused_by_command(capsys, *words)
