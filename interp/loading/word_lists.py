"""Word lists from files: analogies in Google's format, word pairs and rated pairs as CSV.

Every error names the file and the line.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from interp.core.errors import InputError
from interp.core.reading import read_text


class Analogy(NamedTuple):
    """a : b = c : d, of one category."""

    category: str
    a: str
    b: str
    c: str
    d: str


class WordPair(NamedTuple):
    """Two words of a relation; all its pairs differ in the same way, in the same order."""

    relation: str
    first: str
    second: str


class RatedPair(NamedTuple):
    """Two words and how similar people find them."""

    first: str
    second: str
    rating: float


def read_analogies(path: str | Path) -> list[Analogy]:
    """Google's format: a line ": category", then lines of four words; empty lines are skipped.

    Raises:
        InputError: the file cannot be read, is empty, or a line has another number of words.
    """
    category, found = "", []
    for number, line in _lines(path):
        if line.startswith(":"):
            category = line[1:].strip()
            if not category:
                raise InputError(f"{path}, line {number}: a category has no name after ':'")
            continue
        words = line.split()
        if not words:
            continue
        if len(words) != 4:
            raise InputError(
                f"{path}, line {number}: an analogy is four words (a b c d), but {len(words)} "
                f"came: {line.strip()[:60]!r}"
            )
        found.append(Analogy(category, *words))
    if not found:
        raise InputError(f"{path} holds no analogies; expected lines of four words")
    return found


def write_analogies(analogies: Iterable[Analogy], path: str | Path) -> None:
    """Google's format, categories in the order in which they come.

    Raises:
        InputError: a word or category cannot be written: it is empty, or holds white space.
    """
    lines, category = [], None
    for analogy in analogies:
        if analogy.category != category:
            category = analogy.category
            if not category.strip() or "\n" in category:
                raise InputError(f"{category!r} is no name for a category")
            lines.append(f": {category}")
        for word in analogy[1:]:
            if not word or word.split() != [word] or word.startswith(":"):
                raise InputError(f"{word!r} cannot stand in a file of words between spaces")
        lines.append(" ".join(analogy[1:]))
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_pairs(path: str | Path) -> list[WordPair]:
    """A CSV file with the columns `relation`, `first`, `second`, or two words a line.

    The first line may name the columns, in any order. Without names, three columns are relation,
    first and second, and two are first and second, of a relation named after the file.

    Raises:
        InputError: the file cannot be read, is empty, a line has another number of columns or an
            empty word, or a pair comes twice.
    """
    rows, names = _table(path, ("relation", "first", "second"))
    pairs: dict[WordPair, int] = {}
    for number, row in rows:
        if names is None and len(row) not in (2, 3):
            raise InputError(
                f"{path}, line {number}: a pair is relation,first,second or first,second, but "
                f"{len(row)} columns came"
            )
        if names is None and len(row) != len(rows[0][1]):
            raise InputError(
                f"{path}, line {number}: {len(row)} columns, but line {rows[0][0]} has "
                f"{len(rows[0][1])}; is a relation or a word missing?"
            )
        columns = names or ("relation", "first", "second")[3 - len(row) :]
        values = {"relation": Path(path).stem} | dict(zip(columns, row, strict=True))
        pair = WordPair(*(values.get(name, "") for name in WordPair._fields))
        _no_gaps(path, number, pair._asdict())
        if pair in pairs:
            raise InputError(
                f"{path}, line {number}: the pair {pair.first!r:.80}, {pair.second!r:.80} "
                f"already stands in line {pairs[pair]}"
            )
        pairs[pair] = number
    if not pairs:
        raise InputError(f"{path} holds no word pairs; expected lines relation,first,second")
    return list(pairs)


def read_rated_pairs(path: str | Path) -> list[RatedPair]:
    """A word-similarity file: two words and a number a line, separated by commas or tabs.

    The usual files (WordSim-353, SimLex-999) have a first line of names and sometimes more
    columns: words come first, then the rating, unless columns are named `word1`/`first`,
    `word2`/`second` and `rating`/`score`/`similarity`/`human (mean)`/`simlex999`.

    Raises:
        InputError: the file cannot be read, is empty, or a rating is no number.
    """
    aliases = {
        **dict.fromkeys(("word1", "word 1", "first"), "first"),
        **dict.fromkeys(("word2", "word 2", "second"), "second"),
        **dict.fromkeys(
            ("rating", "score", "similarity", "human (mean)", "simlex999", "mean"), "rating"
        ),
    }
    rows, names = _table(path, ("first", "second", "rating"), aliases)
    found = []
    for number, row in rows:
        if len(row) < 3:
            raise InputError(
                f"{path}, line {number}: expected two words and a rating, but {len(row)} columns "
                "came"
            )
        values = dict(zip(names or ("first", "second", "rating"), row, strict=False))
        _no_gaps(path, number, values)
        try:
            rating = float(values["rating"])
        except ValueError:
            raise InputError(
                f"{path}, line {number}: the rating {values['rating']!r:.80} is no number"
            ) from None
        if rating != rating or rating in (float("inf"), float("-inf")):
            raise InputError(f"{path}, line {number}: the rating is {rating}, not a finite number")
        found.append(RatedPair(values["first"], values["second"], rating))
    if not found:
        raise InputError(f"{path} holds no rated pairs; expected lines word,word,rating")
    return found


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path} is empty")
    yield from enumerate(text.splitlines(), start=1)


def _table(
    path: str | Path, known: tuple[str, ...], aliases: dict[str, str] | None = None
) -> tuple[list[tuple[int, list[str]]], list[str] | None]:
    """Rows with their line numbers, and the columns' names where the first line gives them."""
    lines = [(number, line) for number, line in _lines(path) if line.strip()]
    separator = "\t" if "\t" in lines[0][1] else ","
    rows = []
    for number, line in lines:
        if line.lstrip().startswith("#"):
            continue
        try:
            cells = next(csv.reader([line], delimiter=separator, strict=True))
        except csv.Error as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        rows.append((number, [cell.strip() for cell in cells]))
    if not rows:
        raise InputError(f"{path} holds only comments")
    as_names = [(aliases or {}).get(cell.lower(), cell.lower()) for cell in rows[0][1]]
    if not set(as_names) >= {"first", "second"}:
        if aliases and len(rows[0][1]) >= 3 and not _is_number(rows[0][1][2]):
            rows = rows[1:]  # names that say nothing to us: words first, then the rating
        return rows, None
    missing = set(known) - set(as_names) - {"relation"}
    if missing:
        raise InputError(
            f"{path}, line {rows[0][0]}: no column is called {', '.join(sorted(missing))}; there "
            f"are {', '.join(rows[0][1])[:200]}"
        )
    for number, row in rows[1:]:
        if len(row) != len(as_names):
            raise InputError(
                f"{path}, line {number}: {len(row)} columns, but the first line names "
                f"{len(as_names)}"
            )
    return rows[1:], as_names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _no_gaps(path: str | Path, number: int, values: dict[str, str]) -> None:
    for name, value in values.items():
        if name in ("relation", "first", "second", "rating") and not value:
            raise InputError(f"{path}, line {number}: {name} is empty")
