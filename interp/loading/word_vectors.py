"""Word vectors in and out of files that other tools read.

gensim's `KeyedVectors` are read and written in the word2vec formats, text and binary, which it
loads with `load_word2vec_format` (its own `.save` is a pickle, which is never opened here). For the
TensorBoard projector and for Parquet there are exports.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float

from interp.core.errors import InputError
from interp.core.reading import regular_file

MOST_PROJECTED = 10_000  # rows that the projector shows at a tolerable speed


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors.

    Attributes:
        words: one text per row; each once.
        vectors: float32 or float64.
    """

    words: list[str]
    vectors: Float[np.ndarray, "word d_model"]

    def __post_init__(self) -> None:
        if len(self.words) != len(self.vectors):
            raise InputError(f"{len(self.words)} words came with {len(self.vectors)} vectors")
        if len(set(self.words)) != len(self.words):
            seen: set[str] = set()
            twice = next(w for w in self.words if w in seen or seen.add(w))
            raise InputError(f"the word {twice!r:.80} comes twice; which vector is meant?")


def token_words(tokenizer: Any) -> list[str]:
    """A spelling of every token that holds no white space and is different for each.

    GPT-2's own spelling writes the space before a word as Ġ; the small language has plain words.
    """
    vocab = tokenizer.vocab
    if not isinstance(vocab, dict):
        return list(vocab)
    by_id = {token: text for text, token in vocab.items()}
    return [by_id.get(token, f"<{token}>") for token in range(tokenizer.vocab_size)]


def read_word2vec(path: str | Path, binary: bool | None = None) -> WordVectors:
    """Vectors in word2vec's text or binary format.

    Args:
        path: the file.
        binary: which of the two; by default binary if the name ends in ".bin".

    Raises:
        InputError: the file cannot be read, its first line is not "words width", or a line or
            record is damaged; the line (or word) is named.

    Cost: memory of the vectors, float32.
    """
    path = regular_file(path)
    binary = path.suffix == ".bin" if binary is None else binary
    try:
        with path.open("rb") as file:
            n_words, width = _header(path, file.readline())
            read = _read_binary if binary else _read_text
            return read(path, file, n_words, width)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _header(path: Path, line: bytes) -> tuple[int, int]:
    if not line.strip():
        raise InputError(f"{path} is empty")
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() and len(part) < 20 for part in parts):
        raise InputError(
            f"{path}, line 1: a word2vec file begins with the number of words and their width, "
            f"but {line[:40]!r} came; is it GloVe's format, which lacks this line?"
        )
    n_words, width = map(int, parts)
    if n_words < 1 or width < 1:
        raise InputError(f"{path}, line 1: {n_words} words of width {width} hold nothing")
    size = path.stat().st_size
    if n_words * width > size:  # every number takes a byte at least
        raise InputError(
            f"{path}, line 1 announces {n_words} words of width {width}, more than the file's "
            f"{size} bytes can hold; is it cut off?"
        )
    return n_words, width


def _read_text(path: Path, file: BinaryIO, n_words: int, width: int) -> WordVectors:
    words, vectors = [], np.empty((n_words, width), dtype=np.float32)
    for row in range(n_words):
        line = file.readline()
        if not line.strip():
            raise InputError(f"{path} ends after {row} of {n_words} words")
        parts = line.decode("utf-8", errors="replace").rstrip().split(" ")
        if len(parts) != width + 1:
            raise InputError(
                f"{path}, line {row + 2}: expected a word and {width} numbers, but "
                f"{len(parts) - 1} came after {parts[0]!r:.80}"
            )
        try:
            with np.errstate(over="ignore"):  # it is infinite then, which `_check_finite` says
                vectors[row] = [float(number) for number in parts[1:]]
        except ValueError:
            raise InputError(
                f"{path}, line {row + 2}: the vector of {parts[0]!r:.80} holds what is no number"
            ) from None
        words.append(parts[0])
    _check_finite(path, words, vectors)
    return WordVectors(words, vectors)


def _read_binary(path: Path, file: BinaryIO, n_words: int, width: int) -> WordVectors:
    words, vectors = [], np.empty((n_words, width), dtype=np.float32)
    for row in range(n_words):
        letters = bytearray()
        while (letter := file.read(1)) not in (b" ", b""):
            if letter != b"\n":  # some writers end each vector with a line break
                letters += letter
            if len(letters) > 10_000:
                raise InputError(f"{path}: word {row + 1} has no end; is the file text?")
        numbers = file.read(4 * width)
        if len(numbers) < 4 * width:
            raise InputError(f"{path} ends after {row} of {n_words} words")
        vectors[row] = np.frombuffer(numbers, dtype="<f4")
        words.append(letters.decode("utf-8", errors="replace"))
    _check_finite(path, words, vectors)
    return WordVectors(words, vectors)


def _check_finite(path: Path, words: list[str], vectors: Float[np.ndarray, "word d_model"]) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise InputError(
            f"{path}: the vector of {words[bad[0]]!r:.80} holds a number that is not finite (NaN, "
            "infinity, or too large for float32)"
        )


def write_word2vec(given: WordVectors, path: str | Path, binary: bool | None = None) -> None:
    """Vectors in word2vec's format, which gensim's `KeyedVectors.load_word2vec_format` reads.

    Args:
        given: no word may be empty or hold white space: the format has no way to write it.
        path: the file.
        binary: as `read_word2vec`. Numbers are float32 there, and nine digits in text, which is
            float32 exactly.

    Raises:
        InputError: a word cannot be written.
    """
    path = Path(path)
    binary = path.suffix == ".bin" if binary is None else binary
    for word in given.words:
        if not word or word.split() != [word]:
            raise InputError(
                f"{word!r} cannot be written in word2vec's format, in which words end at a space"
            )
    n_words, width = given.vectors.shape
    with path.open("wb") as file:
        file.write(f"{n_words} {width}\n".encode())
        for word, vector in zip(given.words, given.vectors.astype("<f4"), strict=True):
            file.write(word.encode() + b" ")
            if binary:
                file.write(struct.pack(f"<{width}f", *vector) + b"\n")
            else:
                file.write(" ".join(f"{x:.9g}" for x in vector).encode() + b"\n")


def write_projector(
    given: WordVectors, directory: str | Path, columns: dict[str, Sequence[Any]] | None = None
) -> tuple[Path, Path]:
    """`vectors.tsv` and `metadata.tsv` for the TensorBoard projector.

    Args:
        given: more than 10,000 rows are slow to look at.
        directory: made if it does not exist.
        columns: more facts about each word, by name.

    Returns:
        The two files. With one column the metadata has no header, as the projector wants it.

    Raises:
        InputError: a column has another number of rows.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    columns = {"word": given.words, **(columns or {})}
    for name, values in columns.items():
        if len(values) != len(given.words):
            raise InputError(f"column {name!r} has {len(values)} rows, not {len(given.words)}")
    vectors, metadata = directory / "vectors.tsv", directory / "metadata.tsv"
    rows = ("\t".join(f"{x:.6g}" for x in vector) + "\n" for vector in given.vectors)
    with vectors.open("w", encoding="utf-8") as file:
        file.writelines(rows)
    with metadata.open("w", encoding="utf-8") as file:
        if len(columns) > 1:
            file.write("\t".join(columns) + "\n")
        for values in zip(*columns.values(), strict=True):
            file.write("\t".join(_one_line(value) for value in values) + "\n")
    return vectors, metadata


def _one_line(value: Any) -> str:
    text = str(value).replace("\t", "⇥").replace("\n", "⏎").replace("\r", "⏎")
    return text if text.strip() else "·" * max(len(text), 1)


def write_parquet(
    given: WordVectors, path: str | Path, columns: dict[str, Sequence[Any]] | None = None
) -> None:
    """A Parquet file with `word`, `vector` (a list of numbers per row) and more columns.

    Raises:
        InputError: a column has another number of rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(np.ascontiguousarray(given.vectors).ravel())
    vectors = pa.FixedSizeListArray.from_arrays(flat, given.vectors.shape[1])
    table: dict[str, Any] = {"word": given.words, "vector": vectors}
    for name, values in (columns or {}).items():
        if len(values) != len(given.words):
            raise InputError(f"column {name!r} has {len(values)} rows, not {len(given.words)}")
        table[name] = list(values)
    pq.write_table(pa.table(table), Path(path))


def read_parquet(path: str | Path) -> WordVectors:
    """What `write_parquet` wrote.

    Raises:
        InputError: the file is no Parquet, or lacks the columns.
    """
    import pyarrow as pa

    from interp.loading.parquet_files import opened, shared_texts

    try:
        with opened(path, texts=["word"]) as file:
            table = file.read(columns=["word", "vector"])
        kind = table.schema.field("vector").type
        words = shared_texts(table["word"])
    except (OSError, pa.ArrowException, AttributeError, KeyError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no Parquet file of word vectors: {reason}") from None
    vectors = table["vector"].combine_chunks()
    if not pa.types.is_fixed_size_list(kind) or not pa.types.is_floating(kind.value_type):
        raise InputError(f"{path}: the column vector holds {kind}, not lists of as many numbers")
    if vectors.null_count or vectors.values.null_count or None in words:
        raise InputError(f"{path} has words without a vector, or vectors without a word or number")
    numbers = vectors.values.to_numpy(zero_copy_only=False).reshape(len(words), kind.list_size)
    _check_finite(Path(path), words, numbers)
    return WordVectors(words, numbers)
