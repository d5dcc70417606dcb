import csv
import errno
import os

import pytest

from interp.core import InputError, RunError
from interp.learning.run_log import RunLog

COLUMNS = ["step", "loss", "accuracy"]


def rows(path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_rows_hold_every_digit_and_gaps_stay_empty(tmp_path):
    log = RunLog(tmp_path / "log.csv", COLUMNS, resume_at=None)
    log.append({"step": 0, "accuracy": 0.1 + 0.2})
    log.append({"step": 5, "loss": 1e-7, "accuracy": None})
    assert rows(log.path) == [COLUMNS, ["0", "", "0.30000000000000004"], ["5", "1e-07", ""]]


def test_resuming_drops_later_rows_and_a_torn_one(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss,accuracy\n0,3.0,\n5,2.0,0.5\n10,1.0,\n15,0.")
    log = RunLog(path, COLUMNS, resume_at=5)
    log.append({"step": 10, "loss": 1.5})
    assert rows(path) == [COLUMNS, ["0", "3.0", ""], ["5", "2.0", "0.5"], ["10", "1.5", ""]]


def test_a_torn_row_does_not_pass_for_a_smaller_number(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss,accuracy\n0,3.0,\n5,2.")
    RunLog(path, COLUMNS, resume_at=5)
    assert rows(path) == [COLUMNS, ["0", "3.0", ""]]


def test_a_new_log_replaces_the_old_one(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("something else\n")
    RunLog(path, COLUMNS, resume_at=None)
    assert rows(path) == [COLUMNS]


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss,precision\n0,1.0,\n")
    with pytest.raises(InputError, match="accuracy, precision"):
        RunLog(path, COLUMNS, resume_at=5)
    assert rows(path)[0] == ["step", "loss", "precision"]


def test_a_missing_log_and_a_full_disk_say_so(tmp_path, monkeypatch):
    with pytest.raises(RunError, match="cannot be read"):
        RunLog(tmp_path / "absent.csv", COLUMNS, resume_at=5)
    log = RunLog(tmp_path / "log.csv", COLUMNS, resume_at=None)

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RunError, match="No space left on device"):
        log.append({"step": 0})
