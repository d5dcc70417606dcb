"""`sweep.toml`: which models, studies, measures, prompts and seeds make up a sweep.

models = ["small", "small-s1", "random:small"]
studies = ["head_roles"]
measures = ["logit_diff", "patch_heads"]
prompts = ["pairs.csv"]        # for the measures; paths start where sweep.toml lies
seeds = [0, 1, 2]
dtype = "float32"
prompts_per_cell = 1000

[options]                      # of every study and measure that has it
quick = true

[options.patch_heads]          # of one
site = "q"
"""

import dataclasses
import tomllib
import typing
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

from interp.core.errors import InputError
from interp.core.reading import read_text, regular_file

DTYPES = ("float32", "float64", "bfloat16")
_LARGEST_FILE = 2**20  # bytes; a sweep is described in a page


@dataclass(frozen=True)
class SweepFile:
    """What a `sweep.toml` asks for.

    Attributes:
        models: names or folders that `load_model` takes.
        studies: names of studies.
        measures: names of measures, which read `prompts`.
        prompts: files of prompts.
        seeds: each study, and each measure that draws, runs once for each.
        dtype: number format of weights and activations.
        prompts_per_cell: a longer file is cut into cells of so many prompts.
        options: of every study and measure that has them, under ""; of one, under its name.
    """

    models: tuple[str, ...]
    studies: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    prompts: tuple[Path, ...] = ()
    seeds: tuple[int, ...] = (0,)
    dtype: str = "float32"
    prompts_per_cell: int = 1000
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_sweep(path: str | Path, studies: Collection[str], measures: Collection[str]) -> SweepFile:
    """Reads and checks a `sweep.toml`.

    Args:
        path: the file.
        studies: names of those that exist.
        measures: names of those that exist.

    Raises:
        InputError: the file cannot be read, holds an unknown key or name (the nearest are named), a
            value of another type, an empty list, or a combination that runs nothing.
    """
    path = Path(path)
    values = _parsed(path)
    known = [f.name for f in dataclasses.fields(SweepFile)]
    for key in values:
        if key not in known:
            raise InputError(f"{path} has an unknown key {key!r:.80}; {_near(key, known)}")
    models = _texts(path, values, "models")
    if not models:
        raise InputError(f"{path} names no models; for instance: models = ['small']")
    found = SweepFile(
        models=models,
        studies=_names(path, values, "studies", studies),
        measures=_names(path, values, "measures", measures),
        prompts=tuple(path.parent / name for name in _texts(path, values, "prompts")),
        seeds=_seeds(path, values),
        dtype=_dtype(path, values),
        prompts_per_cell=_whole(path, values, "prompts_per_cell", 1000),
        options=_options(path, values),
    )
    _check_whole(path, found)
    return found


def _parsed(path: Path) -> dict[str, Any]:
    if regular_file(path).stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path} is larger than {_LARGEST_FILE} bytes; is it a sweep.toml?")
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except ValueError as error:  # a whole number of thousands of digits is one too
        raise InputError(f"{path} is no TOML: {error}") from None
    except RecursionError:
        raise InputError(f"{path} is no TOML: it is nested too deeply") from None


def _texts(path: Path, values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of texts, each once; empty only where the key is left out."""
    if key not in values:
        return ()
    found = values[key]
    if not isinstance(found, list) or not all(isinstance(v, str) and v.strip() for v in found):
        raise InputError(f"{path}: {key} must be a list of texts, not {found!r:.80}")
    if not found:
        raise InputError(f"{path}: {key} is an empty list; name at least one or leave the key out")
    _each_once(path, key, found)
    return tuple(found)


def _each_once(path: Path, key: str, found: list[Any]) -> None:
    twice = next((entry for entry, n in Counter(found).items() if n > 1), None)
    if twice is not None:
        raise InputError(f"{path}: {key} names {twice!r:.80} twice")


def _names(
    path: Path, values: Mapping[str, Any], key: str, known: Collection[str]
) -> tuple[str, ...]:
    found = _texts(path, values, key)
    for name in found:
        if name not in known:
            raise InputError(
                f"{path}: {key} names {name!r:.80}, which is none; {_near(name, known)}"
            )
    return found


def _seeds(path: Path, values: Mapping[str, Any]) -> tuple[int, ...]:
    found = values.get("seeds", [0])
    whole = isinstance(found, list) and all(type(v) is int and 0 <= v < 2**31 for v in found)
    if not whole:
        raise InputError(f"{path}: seeds must be a list of whole numbers from 0, not {found!r:.80}")
    if not found:
        raise InputError(f"{path}: seeds is an empty list; name at least one or leave the key out")
    _each_once(path, "seeds", found)
    return tuple(found)


def _dtype(path: Path, values: Mapping[str, Any]) -> str:
    found = values.get("dtype", "float32")
    if found not in DTYPES:
        raise InputError(f"{path}: dtype must be one of {', '.join(DTYPES)}, not {found!r:.80}")
    return found


def _whole(path: Path, values: Mapping[str, Any], key: str, default: int) -> int:
    found = values.get(key, default)
    if type(found) is not int or found < 1:
        raise InputError(f"{path}: {key} must be a whole number from 1, not {found!r:.80}")
    return found


def _options(path: Path, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Options of all under "", those of one under its name."""
    found = values.get("options", {})
    if not isinstance(found, dict):
        raise InputError(f"{path}: options must be a table, [options], not {found!r:.80}")
    of_one = {name: value for name, value in found.items() if isinstance(value, dict)}
    return {"": {k: v for k, v in found.items() if k not in of_one}} | of_one


def _check_whole(path: Path, sweep: SweepFile) -> None:
    if not sweep.studies and not sweep.measures:
        raise InputError(f"{path} names neither studies nor measures, so there is nothing to run")
    if sweep.measures and not sweep.prompts:
        raise InputError(f"{path} names measures but no prompts; measures read files of prompts")
    if sweep.prompts and not sweep.measures:
        raise InputError(f"{path} names prompts but no measures; studies have prompts of their own")
    named = (*sweep.studies, *sweep.measures)
    for name in sweep.options:
        if name and name not in named:
            raise InputError(
                f"{path}: [options.{name:.80}] belongs to no study or measure of this sweep; "
                f"{_near(name, named)}"
            )


def _near(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, list(known), n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are: {', '.join(known)}"


# ------------------------------------------------------------------------------------ options


def configured(path: Path, sweep: SweepFile, name: str, config: type, **given: Any) -> Any:
    """The `Config` of one study or measure, from the options for all and those for it.

    Args:
        path: of the sweep, for messages.
        sweep: what it says.
        name: of the study or measure.
        config: its dataclass of options.
        **given: fields that the sweep sets itself, such as the seed.

    Raises:
        InputError: an option that it has not, or of another type.
    """
    own, hints = sweep.options.get(name, {}), typing.get_type_hints(config)
    fields = [f.name for f in dataclasses.fields(config)]
    options = {key: value for key, value in sweep.options.get("", {}).items() if key in fields}
    for key in own:
        if key in given:
            raise InputError(f"{path}: {key} of {name} is set by the sweep itself ({key}s)")
        if key not in fields:
            raise InputError(f"{path}: {name} has no option {key!r:.80}; {_near(key, fields)}")
    values = {key: value for key, value in (options | own).items() if key not in given}
    for key, value in values.items():
        values[key] = _as(hints[key], value)
        if values[key] is _NO:
            raise InputError(
                f"{path}: option {key} of {name} must be {_said(hints[key])}, not {value!r:.80}"
            )
    try:
        return config(**values, **{key: v for key, v in given.items() if key in fields})
    except InputError as error:
        raise InputError(f"{path}: {name}: {error}") from None


def check_common_options(path: Path, sweep: SweepFile, configs: Collection[type]) -> None:
    """An option for all must be an option of at least one.

    Raises:
        InputError: none has it; the nearest are named.
    """
    known = sorted({field.name for config in configs for field in dataclasses.fields(config)})
    for key in sweep.options.get("", {}):
        if key == "seed":
            raise InputError(f"{path}: the seed is no option here; name seeds = [...] instead")
        if key not in known:
            raise InputError(
                f"{path}: no study or measure of this sweep has an option {key!r:.80}; "
                f"{_near(key, known)}"
            )


_NO = object()


def _as(hint: Any, value: Any) -> Any:
    """The value in the type that a field has; `_NO` if it does not fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        fitting = (_as(one, value) for one in arguments if one is not NoneType)
        return next((found for found in fitting if found is not _NO), _NO)
    if origin is Literal:
        return value if value in arguments else _NO
    if origin is tuple and isinstance(value, list):
        entries = tuple(_as(arguments[0], entry) for entry in value)
        return _NO if any(entry is _NO for entry in entries) else entries
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    return value if hint in (bool, int, float, str) and type(value) is hint else _NO


def _said(hint: Any) -> str:
    """A type in words."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    arguments = [one for one in typing.get_args(hint) if one not in (NoneType, Ellipsis)]
    if typing.get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if typing.get_origin(hint) is tuple:
        return f"a list ({_said(arguments[0])} each)"
    if arguments:
        return " or ".join(_said(one) for one in arguments)
    return words.get(hint, "a path")
