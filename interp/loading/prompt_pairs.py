"""Pairs of prompts from files: CSV or JSON Lines, with every error naming its line.

A row has `clean` and `corrupted` (two versions of a prompt), `correct` and `incorrect` (what should
follow the clean version, and what it is compared with), and may have `unit` (what was drawn
independently, a template for instance).
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from interp.core.errors import InputError

NEEDED = ("clean", "corrupted", "correct", "incorrect")
COLUMNS = (*NEEDED, "unit")


class PromptPair(NamedTuple):
    """Two versions of a prompt, with what follows.

    Spaces count: for most tokenizers " Mary" and "Mary" are different tokens.
    """

    clean: str
    corrupted: str
    correct: str
    incorrect: str
    unit: str
    line: int


def read_prompt_pairs(path: str | Path) -> list[PromptPair]:
    """Reads pairs from a `.csv` file with a first line of names, or from `.jsonl`.

    A row without `unit` is a unit of its own.

    Raises:
        InputError: another kind of file, one that cannot be read or is empty, a column that is
            missing or unknown, an empty cell, or the same answer twice; the line is named.
    """
    kinds = {".csv": _csv_rows, ".jsonl": _json_rows}
    rows_of = kinds.get(Path(path).suffix.lower())
    if rows_of is None:
        raise InputError(f"{path} is neither a .csv nor a .jsonl file; pairs are read from these")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text: byte {error.start} cannot be read") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    found = [_pair(path, line, row) for line, row in rows_of(path, text)]
    if not found:
        raise InputError(f"{path} holds no prompts; expected rows with {', '.join(NEEDED)}")
    return found


def _csv_rows(path: str | Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text), strict=True)
    names: list[str] | None = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if names is None:
                names = [cell.strip().lower() for cell in row]
                _check_names(path, reader.line_num, names)
                continue
            if len(row) != len(names):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(row)} columns, but the first line names "
                    f"{len(names)}; a text with a comma in it stands between double quotes"
                )
            yield reader.line_num, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _json_rows(path: str | Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {line}: no JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {line}: expected an object with {', '.join(NEEDED)}")
        _check_names(path, line, list(row))
        yield line, row


def _check_names(path: str | Path, line: int, names: list[str]) -> None:
    missing = [name for name in NEEDED if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    if missing:
        raise InputError(
            f"{path}, line {line}: no column is called {', '.join(missing)}; there are "
            f"{', '.join(names)}"
        )
    if unknown or len(set(names)) != len(names):
        raise InputError(
            f"{path}, line {line}: columns are {', '.join(COLUMNS)}, each once, but "
            f"{', '.join(names)} came"
        )


def _pair(path: str | Path, line: int, row: dict[str, Any]) -> PromptPair:
    for name in NEEDED:
        if not isinstance(row[name], str) or not row[name].strip():
            raise InputError(f"{path}, line {line}: {name} is {row[name]!r}, not a text")
    if row["correct"] == row["incorrect"]:
        raise InputError(
            f"{path}, line {line}: {row['correct']!r} is both the correct and the incorrect answer"
        )
    if row["clean"] == row["corrupted"]:
        raise InputError(f"{path}, line {line}: both versions of the prompt are the same")
    unit = str(row.get("unit") or "").strip() or f"line {line}"
    return PromptPair(*(row[name] for name in NEEDED), unit, line)
