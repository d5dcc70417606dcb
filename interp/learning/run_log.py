"""The training log: a CSV that never doubles and never loses a row it has promised."""

import csv
import io
import os
import re
from pathlib import Path

import pandas as pd

from interp.core.errors import InputError, RunError
from interp.core.reading import brief, read_text
from interp.learning.files import write_whole

_STEP = re.compile("[0-9]{1,18}")


def read_log(path: Path) -> pd.DataFrame:
    """A finished log as a frame.

    Raises:
        InputError: the file is missing or damaged.
    """
    text = read_text(path)
    try:
        frame = pd.read_csv(io.StringIO(text))
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is no log of a training: {reason}") from None
    if not {"step", "train_loss", "seconds"} <= set(frame) or not len(frame):
        raise InputError(f"{path} is no log of a training: a column or all rows are missing")
    if not all(map(pd.api.types.is_numeric_dtype, frame.dtypes)):
        raise InputError(f"{path} is no log of a training: a column holds what is no number")
    return frame


class RunLog:
    """Appends rows to a CSV; each row is whole on disk before the next step begins.

    Floats are written with as many digits as give the same float back, so two runs that
    computed the same have the same text; only the column `seconds` differs between them.
    """

    def __init__(self, path: Path, columns: list[str], resume_at: int | None) -> None:
        """Open the log.

        Args:
            path: the CSV file.
            columns: names in order; the first is `step`.
            resume_at: None starts a new log in place of any earlier one. A step goes on
                with the log that is there and drops the rows after that step, and the
                unfinished last row of a killed run.

        Raises:
            InputError: if the log that is there has other columns.
            RunError: if the log that is there is missing, or the disk refuses.
        """
        self.path, self.columns = path, columns
        rows = [] if resume_at is None else self._rows_until(resume_at)
        write_whole(path, self._text([columns, *rows]).encode())

    def append(self, row: dict[str, float | int | None]) -> None:
        """Add one row; a column that `row` does not name stays empty.

        Raises:
            RunError: if the disk refuses.
        """
        text = self._text([[_spelt(row.get(column)) for column in self.columns]])
        try:
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"could not append to {self.path}: {error.strerror or error}") from error

    def _rows_until(self, last_step: int) -> list[list[str]]:
        try:
            text = read_text(self.path)
            whole_lines = text[: text.rfind("\n") + 1]
            header, *rows = list(csv.reader(io.StringIO(whole_lines), strict=True)) or [[]]
        except (InputError, csv.Error) as error:
            raise RunError(
                f"the run has a checkpoint at step {last_step}, but its log cannot be read "
                f"({error}); start again with resume=False"
            ) from error
        if header != self.columns:
            differing = sorted(set(header) ^ set(self.columns))
            raise InputError(
                f"{self.path} has other columns than this call would write (they differ in "
                f"{', '.join(differing)[:200] or 'their order'}); were the extra metrics changed?"
            )
        for number, row in enumerate(rows, start=2):
            if len(row) != len(header) or not _STEP.fullmatch(row[0]):
                raise RunError(
                    f"{self.path}, line {number} is no row of the log ({brief(row)}); start again "
                    "with resume=False"
                )
        return [row for row in rows if int(row[0]) <= last_step]

    @staticmethod
    def _text(rows: list[list[str]]) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(rows)
        return buffer.getvalue()


def _spelt(value: float | int | None) -> str:
    return "" if value is None else repr(value)
