"""Tables of any shape in one Parquet schema, and back.

One row is one value: the provenance of its cell, the table and row it stands in, whole-number keys
that all measures share (prompt, layer, head, positions), the name of its column, and the value as
`number` or `text`. So every file of a sweep has the same columns, one call reads them all, and
repeated values cost next to nothing (dictionaries, run lengths, compression).

    pandas.read_parquet("sweep")
    duckdb: SELECT model, layer, head, avg(number) FROM 'sweep/cells/*.parquet' WHERE ...
    interp.scaling.read_table("sweep", "head_roles", "heads")   # the table as the study made it
"""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from interp.core.errors import InputError
from interp.core.reading import is_text, parse_json, regular_file
from interp.loading.parquet_files import opened, shared_texts

if TYPE_CHECKING:
    from interp.scaling.cells import Cell

KEYS = {
    "prompt": pa.int64(),
    "layer": pa.int32(),
    "head": pa.int32(),
    "pos": pa.int32(),
    "query_pos": pa.int32(),
    "key_pos": pa.int32(),
}
_WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        *((name, _WORD) for name in ("cell", "kind", "name", "model", "weights", "dtype")),
        ("device", _WORD),
        ("seed", pa.int64()),
        *((name, _WORD) for name in ("prompts", "prompts_sha256", "options")),
        *((name, _WORD) for name in ("interp", "torch", "code")),
        ("table", _WORD),
        ("row", pa.int64()),
        *KEYS.items(),
        ("column", _WORD),
        ("number", pa.float64()),
        ("text", pa.string()),
    ]
)
PROVENANCE = SCHEMA.names[: SCHEMA.names.index("table")]
_NOTE = b"interp"


def to_parquet(cell: "Cell", device: str, tables: Mapping[str, pd.DataFrame]) -> bytes:
    """The tables of a cell as one Parquet file; equal tables give equal bytes.

    Whole numbers beyond 2**53 lose digits; what is neither number nor text becomes JSON.

    Cost: memory of the tables once more.
    """
    notes: dict[str, Any] = {"cell": cell.id, "facts": cell.facts(), "tables": {}}
    parts = []
    for name, frame in tables.items():
        part, notes["tables"][name] = _melted(name, frame)
        parts.extend(part)
    constant = _provenance(cell, device)
    whole = pa.concat_tables([_with(constant, part) for part in parts] or [SCHEMA.empty_table()])
    whole = whole.combine_chunks().unify_dictionaries()
    sink = io.BytesIO()
    metadata = {_NOTE: json.dumps(notes, sort_keys=True).encode()}
    pq.write_table(
        whole.replace_schema_metadata(metadata), sink, compression="zstd", write_page_checksum=True
    )
    return sink.getvalue()


def notes_of(file: Path | pq.ParquetFile) -> dict[str, Any]:
    """What a file of a sweep says about itself: its cell, the cell's facts, its tables.

    Raises:
        InputError: it is no such file, or damaged.
    """
    try:
        if isinstance(file, Path):
            regular_file(file)
        schema = pq.read_schema(file) if isinstance(file, Path) else file.schema_arrow
        notes = parse_json((schema.metadata or {})[_NOTE], str(file))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise _damaged(file, type(error).__name__) from None
    if not isinstance(notes, dict) or not is_text(notes.get("cell")):
        raise _damaged(file, "it names no cell")
    facts, tables = notes.get("facts"), notes.get("tables")
    if not isinstance(facts, dict) or not is_text(facts.get("name")):
        raise _damaged(file, "it names no study or measure")
    if not isinstance(tables, dict) or not all(map(_is_shape, tables.values())):
        raise _damaged(file, "it does not say what its tables look like")
    return notes


def _is_shape(shape: Any) -> bool:
    """Whether this tells of a table: its columns, each of a kind, and which are keys."""
    if not isinstance(shape, dict) or type(shape.get("rows")) is not int or shape["rows"] < 0:
        return False
    columns, keys, kinds = (shape.get(name) for name in ("columns", "keys", "kinds"))
    if not isinstance(columns, list) or not isinstance(keys, list) or not isinstance(kinds, dict):
        return False
    named = all(map(is_text, [*columns, *keys, *kinds.values()]))
    return named and set(keys) <= KEYS.keys() and set(keys) <= set(columns) == kinds.keys()


def _damaged(file: Any, why: str) -> InputError:
    return InputError(f"{file} is no whole file of a sweep ({why})")


def read_table(out: str | Path, name: str, table: str | None = None) -> pd.DataFrame:
    """A table of one study or measure, of all cells, as it was made.

    Args:
        out: the folder of a sweep.
        name: the study or measure.
        table: which of its tables; may be left out where there is only one.

    Returns:
        The rows of every cell under each other, with the columns `model`, `seed`, `prompts` and
        `cell` in front; where the table itself has one of these, that of the sweep is called
        `sweep_model`, ... .

    Raises:
        InputError: no such study, measure or table in this folder.

    Cost: memory of that table; only its rows are read.
    """
    found, names = [], set()
    for path in sorted((Path(out) / "cells").glob("*.parquet")):
        notes = notes_of(path)
        if notes["facts"]["name"] != name:
            continue
        names |= set(notes["tables"])
        wanted = table or (next(iter(notes["tables"])) if len(notes["tables"]) == 1 else None)
        if wanted in notes["tables"]:
            found.append(_restored(path, wanted, notes["tables"][wanted]))
    if not found:
        there = f"its tables are {', '.join(sorted(names))}" if names else "nothing is done of it"
        what = repr(name) if table is None else f"{name!r}, {table!r}"
        raise InputError(f"{out} has no single table {what}; {there}")
    return pd.concat(found, ignore_index=True)


# ------------------------------------------------------------------------------------ writing


def _provenance(cell: "Cell", device: str) -> dict[str, Any]:
    block = cell.prompts
    return {
        "cell": cell.id,
        "kind": cell.kind,
        "name": cell.name,
        "model": cell.model.name,
        "weights": cell.model.weights,
        "dtype": cell.dtype,
        "device": device,
        "seed": cell.seed,
        "prompts": None if block is None else block.file,
        "prompts_sha256": None if block is None else block.sha256,
        "options": json.dumps(cell.facts()["options"], sort_keys=True),
        "interp": cell.software.get("interp"),
        "torch": cell.software.get("torch"),
        "code": cell.software.get("code"),
    }


def _with(constant: Mapping[str, Any], part: pa.Table) -> pa.Table:
    """A part with the provenance of its cell in every row."""
    columns = []
    for field in SCHEMA:
        if field.name in constant:
            value = pa.scalar(constant[field.name], type=_plain(field.type))
            column = pa.repeat(value, len(part))
            columns.append(column.dictionary_encode() if field.type == _WORD else column)
        else:
            columns.append(part[field.name])
    return pa.table(columns, schema=SCHEMA)


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.string() if kind == _WORD else kind


def _melted(name: str, frame: pd.DataFrame) -> tuple[list[pa.Table], dict[str, Any]]:
    """One part per column that is no key, and how to put the frame together again."""
    frame = frame.rename(columns=str).reset_index(drop=True)
    keys = [key for key in KEYS if key in frame and _is_whole(frame[key])]
    others = [column for column in frame.columns if column not in keys]
    shape = {"columns": list(frame.columns), "keys": keys, "rows": len(frame)}
    shape["kinds"] = {key: str(frame[key].dtype) for key in keys}
    parts = []
    for column in others or [""]:
        values = frame[column] if column else pd.Series(np.full(len(frame), np.nan))
        number, text, kind = _values(values)
        if column:
            shape["kinds"][column] = kind
        parts.append(_part(name, frame, keys, column, number, text))
    return parts, shape


def _part(
    name: str, frame: pd.DataFrame, keys: list[str], column: str, number: pa.Array, text: pa.Array
) -> pa.Table:
    n = len(frame)
    held: dict[str, Any] = {
        "table": pa.repeat(name, n).dictionary_encode(),
        "row": pa.array(np.arange(n)),
        "column": pa.repeat(column, n).dictionary_encode(),
        "number": number,
        "text": text,
    }
    for key, kind in KEYS.items():
        held[key] = pa.array(frame[key].to_numpy()).cast(kind) if key in keys else pa.nulls(n, kind)
    return pa.table(held)


def _is_whole(values: pd.Series) -> bool:
    whole = pd.api.types.is_integer_dtype(values.dtype) and not values.isna().any()
    return whole and bool((values.abs() < 2**31).all())


def _values(values: pd.Series) -> tuple[pa.Array, pa.Array, str]:
    """A column as numbers or as text, and what it was."""
    n, kind = len(values), str(values.dtype)
    if pd.api.types.is_bool_dtype(values.dtype) or pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.astype("float64").to_numpy(na_value=np.nan)
        return pa.array(numbers), pa.nulls(n, pa.string()), kind
    entries = [None if _missing(value) else value for value in values]
    if all(value is None for value in entries):
        return pa.nulls(n, pa.float64()), pa.nulls(n, pa.string()), "float64"
    if all(value is None or isinstance(value, str) for value in entries):
        return pa.nulls(n, pa.float64()), pa.array(entries, pa.string()), "text"
    texts = [None if value is None else json.dumps(_plain_value(value)) for value in entries]
    return pa.nulls(n, pa.float64()), pa.array(texts, pa.string()), "json"


def _missing(value: Any) -> bool:
    return value is None or (np.ndim(value) == 0 and bool(pd.isna(value)))


def _plain_value(value: Any) -> Any:
    """NumPy values, sets and the like as what JSON knows."""
    if isinstance(value, np.generic | np.ndarray):
        return _plain_value(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain_value(entry) for key, entry in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain_value(entry) for entry in value)
    if isinstance(value, list | tuple):
        return [_plain_value(entry) for entry in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


# ------------------------------------------------------------------------------------ reading


def _restored(path: Path, table: str, shape: Mapping[str, Any]) -> pd.DataFrame:
    """One table of one cell, in its own columns and kinds."""
    wanted = ["cell", "model", "seed", "prompts", "row", *shape["keys"], "column", "number", "text"]
    try:
        opened(path).close()  # tells a file that would burst
        read = pq.read_table(
            path,
            columns=wanted,
            filters=[("table", "==", table)],
            read_dictionary=["text"],
            page_checksum_verification=True,
        )
    except (OSError, pa.ArrowException, KeyError) as error:
        raise _damaged(path, type(error).__name__) from None
    n = shape["rows"]
    others = [column for column in shape["columns"] if column not in shape["keys"]] or [""]
    held = [read["column"][at].as_py() for at in range(0, len(read), n or 1)]
    if len(read) != n * len(others) or held != others[: len(held)]:
        raise _damaged(path, f"its table {table} has other columns or rows than it says")
    try:
        return _frame(read, shape)
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise _damaged(path, f"{table}: {type(error).__name__}") from None


def _frame(read: pa.Table, shape: Mapping[str, Any]) -> pd.DataFrame:
    n = shape["rows"]
    columns: dict[str, Any] = {}
    for key in shape["keys"]:
        columns[key] = read[key].slice(0, n).to_numpy().astype(shape["kinds"][key].lower())
    for column, values in _pieces(read, n):
        if column:
            columns[column] = _as_it_was(values, shape["kinds"][column])
    none: list[Any] = []  # a table without rows still has its columns
    frame = pd.DataFrame({column: columns.get(column, none) for column in shape["columns"]})
    for place, name in enumerate(("model", "seed", "prompts", "cell")):
        value = read[name][0].as_py() if n else None
        frame.insert(place, f"sweep_{name}" if name in columns else name, value)
    return frame


def _pieces(read: pa.Table, n: int) -> Iterator[tuple[str, pa.Table]]:
    """Columns lie under each other, each as long as the table."""
    for start in range(0, len(read), n or 1):
        piece = read.slice(start, n)
        yield piece["column"][0].as_py(), piece


def _as_it_was(piece: pa.Table, kind: str) -> Any:
    if kind == "text":
        return pd.array(shared_texts(piece["text"]), dtype="str")
    if kind == "json":
        texts = shared_texts(piece["text"])
        return [None if text is None else json.loads(text) for text in texts]
    numbers = pd.Series(piece["number"].to_numpy(zero_copy_only=False))
    if kind.startswith(("Int", "UInt", "boolean")):  # pandas' kinds that know missing values
        return numbers.astype("Float64").astype(kind)
    return numbers.astype(kind)
