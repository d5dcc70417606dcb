"""Pairs of prompts from files: CSV or JSON Lines, with every error naming its line.

A row has `clean` and `corrupted` (two versions of a prompt), `correct` and `incorrect` (what should
follow the clean version, and what it is compared with), and may have `unit` (what was drawn
independently, a template for instance).
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from interp.core.errors import InputError
from interp.core.reading import brief, brief_name, is_text, parse_json, read_text

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
    rows_of = rows_reader(path)
    lines = io.StringIO(read_text(path), newline="\n")
    found = [pair_of(path, line, row) for line, row in rows_of(path, lines, check_pair_names)]
    if not found:
        raise InputError(f"{path} holds no prompts; expected rows with {', '.join(NEEDED)}")
    return found


CheckNames = Callable[[str | Path, int, list[str]], None]
Rows = Iterator[tuple[int, dict[str, Any]]]


def rows_reader(path: str | Path) -> Callable[[str | Path, Iterable[str], CheckNames], Rows]:
    """What turns the lines of such a file into numbered rows, by the end of its name.

    Raises:
        InputError: neither `.csv` nor `.jsonl`.
    """
    rows_of = {".csv": _csv_rows, ".jsonl": _json_rows}.get(Path(path).suffix.lower())
    if rows_of is None:
        raise InputError(
            f"{brief_name(path)} is neither a .csv nor a .jsonl file; pairs are read from these"
        )
    return rows_of


def _csv_rows(path: str | Path, lines: Iterable[str], check: CheckNames) -> Rows:
    reader = csv.reader(lines, strict=True)
    names: list[str] | None = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if names is None:
                names = [cell.strip().lower() for cell in row]
                check(path, reader.line_num, names)
                continue
            if len(row) != len(names):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(row)} columns, but the first line names "
                    f"{len(names)}; a text with a comma in it stands between double quotes"
                )
            yield reader.line_num, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _json_rows(path: str | Path, lines: Iterable[str], check: CheckNames) -> Rows:
    for line, content in enumerate(lines, start=1):
        if not content.strip():
            continue
        row = parse_json(content, f"{path}, line {line}")
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {line}: expected an object with {', '.join(NEEDED)}")
        check(path, line, list(row))
        yield line, row


def check_pair_names(path: str | Path, line: int, names: list[str]) -> None:
    """The columns of pairs: the needed ones, each once, and no others.

    Raises:
        InputError: one is missing, unknown or there twice.
    """
    missing = [name for name in NEEDED if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    if missing:
        raise InputError(
            f"{path}, line {line}: no column is called {', '.join(missing)}; there are "
            f"{said(names)}"
        )
    if unknown or len(set(names)) != len(names):
        raise InputError(
            f"{path}, line {line}: columns are {', '.join(COLUMNS)}, each once, but "
            f"{said(names)} came"
        )


def said(names: list[str]) -> str:
    """Names of columns in a sentence, cut where a file has no end of them."""
    text = ", ".join(names)
    return text if len(text) <= 200 else f"{text[:197]}..."


def pair_of(path: str | Path, line: int, row: dict[str, Any]) -> PromptPair:
    """A row as a pair.

    Raises:
        InputError: a cell is no text, an answer is there twice, or both versions are the same.
    """
    cells = [text_of(path, line, row, name) for name in NEEDED]
    if row["correct"] == row["incorrect"]:
        raise InputError(
            f"{path}, line {line}: {brief(row['correct'])} is both the correct and the incorrect "
            "answer"
        )
    if row["clean"] == row["corrupted"]:
        raise InputError(f"{path}, line {line}: both versions of the prompt are the same")
    return PromptPair(*cells, unit_of(path, line, row), line)


def text_of(path: str | Path, line: int, row: dict[str, Any], name: str) -> str:
    """A cell that must hold a text.

    Raises:
        InputError: it holds another value, nothing but space, or half a character, which JSON can
            spell and nothing can read.
    """
    value = row[name]
    if not is_text(value) or not value.strip():
        raise InputError(f"{path}, line {line}: {name} is {brief(value)}, not a text")
    return value


def unit_of(path: str | Path, line: int, row: dict[str, Any]) -> str:
    """What a row says of its unit; the line, if it says nothing.

    Raises:
        InputError: it is neither a text nor a number.
    """
    value = "" if row.get("unit") is None else row["unit"]
    if not isinstance(value, int | float) and not is_text(value):
        raise InputError(
            f"{path}, line {line}: unit is {brief(value)}, neither a text nor a number"
        )
    return str(value).strip() or f"line {line}"
