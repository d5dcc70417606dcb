"""Views as text inside a page: one JSON per view, each large array once, one script for all.

Arrays are numbers of a fixed size, least significant bytes first, all first bytes before all second
bytes (which compresses better), through gzip without a date and base64. What is above the diagonal
is left out where nothing is there.
"""

import base64
import gzip
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from interp.reporting.scripts import compact, compact_style
from interp.reporting.views import View

_SOURCES = Path(__file__).parent / "templates" / "viewer"
# In this order they become one script: what all views use, those of the page, the start.
_BEFORE, _AFTER = ("base", "colours", "picking", "charts"), ("start",)
_OF_KIND = {
    "attention": "attention",
    "score_terms": "scores",
    "lens": "tables",
    "grid": "tables",
    "temperature": "temperature",
    "number_line": "points",
    "plane": "points",
    "rectangles": "rectangles",
    "flow": "flow",
}
_KINDS_IN_START = re.compile(r"const KINDS = \{ (.*?) \};")


@dataclass(frozen=True)
class Packed:
    """Views of a page, ready for its template.

    Attributes:
        views: JSON by figure.
        arrays: base64 by id; an array that several figures share is there once.
    """

    views: dict[str, Markup]
    arrays: dict[str, Markup]


def pack(views: Mapping[str, View]) -> Packed:
    """Views by figure as text that cannot end its element."""
    texts, arrays = {}, {}
    for figure, view in views.items():
        described = {}
        for name, array in view.arrays.items():
            description, content = _encoded(array, view.decimals.get(name))
            described[name] = description
            arrays[description["id"]] = content
        content = {"kind": view.kind, "data": view.data, "arrays": described}
        texts[figure] = Markup(json_text(content))
    return Packed(texts, arrays)


def json_text(content: Any) -> str:
    """JSON in plain ASCII, without the one character that could end a script element."""
    text = json.dumps(_finite(content), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _finite(content: Any) -> Any:
    """Numbers that JSON does not know become null."""
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _encoded(array: np.ndarray, decimals: int | None) -> tuple[dict[str, Any], Markup]:
    values = np.asarray(array, dtype=np.float64)
    lower = _only_below_the_diagonal(values)
    kept = values[..., *np.tril_indices(values.shape[-1])] if lower else values
    numbers = kept.astype("<f4") if decimals is None else _whole(kept * 10.0**decimals)
    planes = numbers.reshape(-1).view(np.uint8).reshape(-1, numbers.itemsize).T
    packed = gzip.compress(planes.tobytes(), mtime=0)
    description = {"type": numbers.dtype.str[1:], "shape": list(values.shape)}
    if lower:
        description["lower"] = True
    if decimals is not None:
        description["decimals"] = decimals
    key = json.dumps(description).encode() + packed
    description["id"] = "array-" + hashlib.sha256(key).hexdigest()[:12]
    return description, Markup(base64.b64encode(packed).decode())


def _only_below_the_diagonal(values: np.ndarray) -> bool:
    if values.ndim < 2 or values.shape[-1] != values.shape[-2] or values.shape[-1] < 2:
        return False
    return bool(np.isnan(values[..., *np.triu_indices(values.shape[-1], 1)]).all())


def _whole(scaled: np.ndarray) -> np.ndarray:
    """Whole numbers of the smallest size; the lowest stands for no value."""
    whole = np.round(scaled)
    largest = np.nanmax(np.abs(whole), initial=0.0)
    kind = np.dtype("<i2" if largest <= 32767 else "<i4")
    return np.where(np.isnan(whole), np.iinfo(kind).min, whole).astype(kind)


class Viewer:
    """The one script of a page in a language, its style, and what lets it run.

    Args:
        lang: the page's language.
        kinds: of the page's views; the script knows no others.
    """

    def __init__(self, lang: str, kinds: frozenset[str]) -> None:
        shown = dict.fromkeys(file for kind, file in _OF_KIND.items() if kind in kinds)
        parts = [f"words.{lang}", *_BEFORE, *shown, *_AFTER]
        source = "".join((_SOURCES / f"{name}.js").read_text(encoding="utf-8") for name in parts)
        source = _KINDS_IN_START.sub(lambda found: _only(found, kinds), source)
        self.script = Markup('(()=>{"use strict";\n' + compact(source) + "\n})();\n")
        digest = hashlib.sha256(self.script.encode()).digest()
        # The hash of the script: a browser runs this one and no other.
        self.policy = Markup(f"'sha256-{base64.b64encode(digest).decode()}'")
        style = (_SOURCES.parent / "viewer.css").read_text(encoding="utf-8")
        self.style = Markup(compact_style(style))


def _only(found: re.Match[str], kinds: frozenset[str]) -> str:
    entries = [one for one in found[1].split(", ") if one.partition(":")[0] in kinds]
    return f"const KINDS = {{ {', '.join(entries)} }};"


@cache
def viewer(lang: str, kinds: frozenset[str] = frozenset(_OF_KIND)) -> Viewer:
    """The viewer in a language, English where there are no words in it."""
    return Viewer(lang if (_SOURCES / f"words.{lang}.js").exists() else "en", kinds)
