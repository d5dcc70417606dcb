"""Tables as text: the same strings in the CSV and in the page."""

import csv
import io
import math
import unicodedata
from typing import Any

import pandas as pd

_DIGITS = 6  # significant; more would be rounding noise that differs between machines


def safe_text(text: str) -> str:
    """Text in which characters without a shape of their own are spelt out as codes.

    Control characters, direction marks and halves of surrogate pairs could end a file, reorder a
    line or not be encodable at all; line breaks and tabs are kept.
    """
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in _NO_SHAPE else _code(c) for c in text
    )


def _code(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


_NO_SHAPE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def cell_text(value: Any) -> str:
    """A value as it stands in the CSV; numbers with six significant digits, no value as ''."""
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, str):
        return safe_text(value)
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return "true" if value else "false"
    if isinstance(value, float) or type(value).__name__.startswith("float"):
        return "" if math.isnan(value) else f"{float(value) + 0.0:.{_DIGITS}g}"
    return str(value)


def shown_text(value: Any, column: str) -> str:
    """A value as it stands in the page, rounded for reading."""
    text = cell_text(value)
    if text == "":
        return "–"
    if text in ("true", "false"):
        return "yes" if text == "true" else "no"
    if not (isinstance(value, float) or type(value).__name__.startswith("float")):
        return text
    number = float(value)
    if column in ("p", "q") and number < 0.001:
        return "< 0.001"
    if number != 0 and not 0.001 <= abs(number) < 1e7:
        return f"{number:.1e}".replace("-", "−")
    return f"{number:.3f}".replace("-", "−")


def brief_number(value: float | None) -> str:
    """A finding's number in three significant digits; whole numbers as such."""
    if value is None:
        return "–"
    text = f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−")


def cell_texts(frame: pd.DataFrame) -> list[list[str]]:
    """The rows as they stand in the CSV."""
    columns = [frame[name].tolist() for name in frame.columns]
    return [[cell_text(value) for value in row] for row in zip(*columns, strict=True)]


def csv_text(frame: pd.DataFrame) -> str:
    """The frame as CSV with a header line; lines end in a plain line feed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(safe_text(str(name)) for name in frame.columns)
    writer.writerows(cell_texts(frame))
    return buffer.getvalue()
