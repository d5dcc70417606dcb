"""Files of prompts, row by row: plain prompts or pairs, CSV or JSON Lines, however long.

A file with a column `prompt` (and, if you like, `unit`) holds plain prompts; one with the columns
of `interp.loading.prompt_pairs` holds pairs.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from interp.core.errors import InputError
from interp.core.reading import regular_file
from interp.loading.prompt_pairs import (
    NEEDED,
    PromptPair,
    check_pair_names,
    pair_of,
    rows_reader,
    said,
    text_of,
    unit_of,
)


class Prompt(NamedTuple):
    """A plain prompt; `unit` says what was drawn independently, the prompt itself by default."""

    prompt: str
    unit: str
    line: int


def iter_prompts(path: str | Path) -> Iterator[Prompt | PromptPair]:
    """The prompts of a file, all of one kind, read as they are asked for.

    Raises:
        InputError: another kind of file, one that cannot be read or holds nothing, a column that is
            missing or unknown, or an empty cell; the line is named.

    Cost: memory of one row.
    """
    rows_of, kind = rows_reader(path), None
    newline = "" if Path(path).suffix.lower() == ".csv" else "\n"
    try:
        with regular_file(path).open(encoding="utf-8-sig", newline=newline) as file:
            for line, row in rows_of(path, _decoded(path, file), _check_names):
                found = pair_of(path, line, row) if "clean" in row else _prompt(path, line, row)
                kind = kind or type(found)
                if type(found) is not kind:
                    raise InputError(
                        f"{path}, line {line}: a file holds plain prompts or pairs, not both"
                    )
                yield found
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if kind is None:
        raise InputError(
            f"{path} holds no prompts; expected rows with prompt, or with {', '.join(NEEDED)}"
        )


def _decoded(path: str | Path, file: Iterable[str]) -> Iterator[str]:
    line = 0
    try:
        for line, text in enumerate(file, start=1):  # noqa: B007
            yield text
    except UnicodeDecodeError:
        raise InputError(f"{path} is no UTF-8 text after line {line}") from None


def _check_names(path: str | Path, line: int, names: list[str]) -> None:
    if "prompt" not in names:
        check_pair_names(path, line, names)
        return
    unknown = [name for name in names if name not in ("prompt", "unit")]
    if unknown or len(set(names)) != len(names):
        raise InputError(
            f"{path}, line {line}: a file of plain prompts has the columns prompt and unit, each "
            f"once, but {said(names)} came"
        )


def _prompt(path: str | Path, line: int, row: dict[str, Any]) -> Prompt:
    return Prompt(text_of(path, line, row, "prompt"), unit_of(path, line, row), line)
