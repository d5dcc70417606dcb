"""Parquet files that others wrote: whole, and not much larger inside than outside."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interp.core.errors import InputError
from interp.core.reading import regular_file

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# A row number in each row keeps honest tables below ten, however often values repeat.
_MOST_PER_BYTE = 100
_ALWAYS_FINE = 2**22  # bytes, and rows


def opened(path: str | Path, texts: Sequence[str] = ()) -> "pq.ParquetFile":
    """A Parquet file whose contents are announced to be of a size that can be meant.

    Compression and repeated values can make terabytes of a few thousand bytes.

    Args:
        path: the file.
        texts: columns that are read as `shared_texts` takes them.

    Raises:
        InputError: there is no such file, or it announces a hundred times its own size.
        OSError: it is no Parquet file; or `pyarrow.ArrowException`.

    Cost: reads the file's description, which lies at its end.
    """
    import pyarrow.parquet as pq

    size = regular_file(path).stat().st_size
    file = pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=list(texts))
    held = file.metadata
    n_bytes = sum(held.row_group(i).total_byte_size for i in range(held.num_row_groups))
    for n, what in ((n_bytes, "bytes"), (held.num_rows, "rows")):
        if n > max(_ALWAYS_FINE, _MOST_PER_BYTE * size):
            file.close()
            raise InputError(
                f"{path} has {size} bytes, but announces {n} {what}; it is not opened further"
            )
    return file


def shared_texts(column: "pa.ChunkedArray") -> list[str | None]:
    """The texts of a dictionary column; equal ones are one object, however long and often."""
    found: list[str | None] = []
    for chunk in column.chunks:
        texts = chunk.dictionary.to_pylist()
        found += [None if at is None else texts[at] for at in chunk.indices.to_pylist()]
    return found
