"""The folder of a sweep: what is done stays done, whatever happens to the process.

    out/cells/*.parquet       one file per cell, whole or not there; `pandas.read_parquet(out)`
    out/_sweep.json           what was asked, on which models
    out/_cells.jsonl          every cell with its inputs and what became of it
    out/_log.jsonl            how long each cell took, as it went
    out/_failed/, _left_out/  the sentence of each cell without a result

Names that begin with an underscore or a dot are no data for pyarrow, pandas, DuckDB's globs and
Spark.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from interp.core.errors import InputError, RunError
from interp.core.reading import expanded, parse_json, read_json
from interp.reporting.files import write_file
from interp.scaling.cells import Cell, Outcome, Status
from interp.scaling.frames import notes_of

_MARK = "_sweep.json"
_OURS = ("cells", "_failed", "_left_out", "_lock", "_log.jsonl", "_cells.jsonl", "_sweep.json")
_LONGEST_S = 1e9  # of a cell: thirty years
_FOLDERS = {"failed": "_failed", "left out": "_left_out"}


class Dataset:
    """A sweep's folder, open for this process alone.

    Args:
        out: the folder; made if it is not there.
        look_only: change nothing, lock nothing, and take a missing folder for an empty one.

    Raises:
        InputError: the folder holds something else, or another process writes to it.
        RunError: the disk refuses.
    """

    def __init__(self, out: str | Path, look_only: bool = False) -> None:
        self.out = expanded(out)
        if self.out.exists() and not self.out.is_dir():
            raise InputError(f"{self.out} is a file; --out names a folder")
        there = sorted(p.name for p in self.out.iterdir()) if self.out.exists() else []
        foreign = [name for name in there if name not in _OURS and not name.startswith(".")]
        if foreign and _MARK not in there:
            raise InputError(
                f"{self.out} holds {foreign[0]} and is no folder of a sweep; give another --out"
            )
        for path in (self.out / name for name in _OURS):
            kind = "file" if path.suffix or path.name == "_lock" else "folder"
            if path.is_symlink() or (path.exists() and path.is_file() != (kind == "file")):
                raise InputError(f"{path} is a link, or no {kind} as in every sweep; remove it")
        self._lock: Any = None
        if look_only:
            return
        with _disk(self.out):
            for folder in ("cells", *_FOLDERS.values()):
                (self.out / folder).mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.out)
            # Nobody else writes here, so these are what a killed run left behind.
            ours = [self.out / folder for folder in ("cells", *_FOLDERS.values())]
            leftovers = [path for folder in ours for path in folder.glob(".*")]
            for leftover in [*leftovers, *self.out.glob("._*")]:
                if leftover.is_symlink() or not leftover.is_dir():
                    leftover.unlink(missing_ok=True)

    def close(self) -> None:
        """Let others write here."""
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> "Dataset":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, cell: str) -> Path:
        """The file of a cell's result."""
        return self.out / "cells" / f"{cell}.parquet"

    def status(self, cell: str) -> Status | None:
        """What became of a cell; None if it must be done (a damaged file counts as none)."""
        path = self.path(cell)
        if path.is_file():
            with contextlib.suppress(InputError):
                if notes_of(path)["cell"] == cell:
                    return "done"
        for status, folder in _FOLDERS.items():
            if (self.out / folder / f"{cell}.txt").is_file():
                return status
        return None

    def sentence(self, cell: str) -> str:
        """Why a cell has no result; "" if it has one or was never tried."""
        for folder in _FOLDERS.values():
            path = self.out / folder / f"{cell}.txt"
            if path.is_file():
                return path.read_text(encoding="utf-8", errors="replace").strip()
        return ""

    def store(self, outcome: Outcome) -> None:
        """Keeps what became of a cell.

        Raises:
            RunError: the disk refuses; what was stored before is whole.
        """
        with _disk(self.out):
            for folder in _FOLDERS.values():
                (self.out / folder / f"{outcome.cell}.txt").unlink(missing_ok=True)
            if outcome.status == "done":
                write_file(self.path(outcome.cell), outcome.parquet)
            else:
                folder = self.out / _FOLDERS[outcome.status]
                write_file(folder / f"{outcome.cell}.txt", outcome.sentence + "\n")
            line = {
                "cell": outcome.cell,
                "status": outcome.status,
                "seconds": round(outcome.seconds, 3),
            }
            with (self.out / "_log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")

    def seconds(self) -> dict[str, float]:
        """How long each cell that is done took."""
        path, found = self.out / "_log.jsonl", {}
        text = path.read_bytes().decode(errors="replace") if path.is_file() else ""
        for line in text.splitlines():
            with contextlib.suppress(InputError, KeyError, TypeError):  # a torn line
                entry = parse_json(line, str(path))
                if entry["status"] == "done" and 0 <= entry["seconds"] < _LONGEST_S:
                    found[entry["cell"]] = float(entry["seconds"])
        return found

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Says what was asked, in `_sweep.json`."""
        with _disk(self.out):
            write_file(self.out / _MARK, json.dumps(facts, indent=1, sort_keys=True) + "\n")

    def described(self) -> dict[str, Any]:
        """What `describe` wrote last; empty if nothing can be read."""
        with contextlib.suppress(InputError):
            found = read_json(self.out / _MARK)
            if isinstance(found, dict) and isinstance(found.get("software", {}), dict):
                return found
        return {}

    def list_cells(self, cells: Iterable[Cell]) -> None:
        """Writes `_cells.jsonl`: every cell, its inputs, its status and sentence."""

        def lines() -> Iterator[str]:
            for cell in cells:
                status = self.status(cell.id)
                facts = {"cell": cell.id, "status": status or "to do"} | cell.facts()
                if status not in (None, "done"):
                    facts["sentence"] = self.sentence(cell.id)
                yield json.dumps(facts, sort_keys=True) + "\n"

        new = self.out / "._cells.new"
        with _disk(self.out):
            with new.open("w", encoding="utf-8") as file:
                file.writelines(lines())
            os.replace(new, self.out / "_cells.jsonl")


@contextlib.contextmanager
def _disk(out: Path) -> Iterator[None]:
    """An error of the disk as one sentence."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{out} cannot be written: {error.strerror or error}; what is done is kept, and the "
            "same command goes on from there"
        ) from error


def _locked(out: Path) -> Any:
    """An open file that no other process can lock until this one closes it or ends."""
    file = (out / "_lock").open("w")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # no such locks on this system
        pass
    except BlockingIOError:
        file.close()
        raise InputError(
            f"another sweep is writing to {out}; wait for it or give another --out"
        ) from None
    except OSError:  # a file system without locks
        pass
    return file
