"""Files that others wrote: what cannot be read is one sentence, whatever is in them."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from interp.core.errors import InputError

_DEEPEST = 64  # what is read here needs a dozen; Python itself gives up at some hundreds
_LONGEST = 80


def regular_file(path: str | Path) -> Path:
    """The path, if a file lies there that has an end; links are followed.

    Raises:
        InputError: nothing is there, or a folder, a pipe or a device.
    """
    path, name = Path(path), brief_name(path)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in its name
        raise InputError(f"{name!r} is no name of a file: {error}") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise InputError(f"{name} cannot be read: it is {kind}, but a file was expected")
    return path


def expanded(path: str | Path) -> Path:
    """The path with `~` spelt out.

    Raises:
        InputError: `~name` of nobody.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        name = brief_name(path)
        raise InputError(f"{name} begins with ~, but no such user has a home here") from None


def read_text(path: str | Path) -> str:
    """A file of UTF-8 text, with or without a byte order mark, its line ends as Python has them.

    Raises:
        InputError: it cannot be read, or is no such text.
    """
    try:
        return regular_file(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text: byte {error.start} cannot be read") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def read_json(path: str | Path) -> Any:
    """What a file of JSON says.

    Raises:
        InputError: it cannot be read, or is no such file; see `parse_json`.
    """
    try:
        content = regular_file(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return parse_json(content, str(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """What a JSON text says.

    Args:
        text: the JSON; bytes in UTF-8, 16 or 32.
        where: where it stands, for messages.

    Raises:
        InputError: it is none, is nested deeper than anything that is read here, holds a number of
            thousands of digits, or gives one name two values.
    """
    try:
        found = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{where}: no JSON: {error.msg} ({at}); is it cut short?") from None
    except RecursionError:
        raise InputError(f"{where}: no JSON: it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where}: no JSON: {error}") from None
    if _depth(found) > _DEEPEST:
        raise InputError(f"{where}: no JSON: it is nested more than {_DEEPEST} deep")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for name, value in pairs:
            if value != found[name]:
                raise ValueError(f"{brief(name)} stands twice in one object; which one is meant?")
    return found


def _depth(values: Any) -> int:
    """Levels of lists and objects, one inside the other."""
    level, depth = [values], 0
    while depth <= _DEEPEST and (level := [one for one in level if isinstance(one, dict | list)]):
        parts = (one.values() if isinstance(one, dict) else one for one in level)
        level, depth = [inner for part in parts for inner in part], depth + 1
    return depth


def brief(value: Any) -> str:
    """A value as Python writes it, cut to a length that a sentence can bear."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def brief_name(path: str | Path) -> str:
    """A path, without the middle of one that no file system would take."""
    text = str(path)
    return text if len(text) <= 4 * _LONGEST else f"{text[:_LONGEST]}...{text[-_LONGEST:]}"


def is_text(value: Any) -> bool:
    """Whether a value is text that can be written: JSON can spell halves of characters."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
