import struct

import numpy as np
import pyarrow.parquet as pq
import pytest

from interp.core.errors import InputError
from interp.corpus import WordTokenizer
from interp.loading.word_vectors import (
    WordVectors,
    read_parquet,
    read_word2vec,
    token_words,
    write_parquet,
    write_projector,
    write_word2vec,
)

WORDS = ["king", "Ġqueen", "café", "日本", "x"]


def some(seed=0, width=7):
    drawn = np.random.default_rng(seed).standard_normal((5, width)).astype(np.float32)
    return WordVectors(WORDS, drawn)


@pytest.mark.parametrize("name", ["v.txt", "v.bin"])
def test_what_is_written_is_read_again_exactly(tmp_path, name):
    write_word2vec(some(), tmp_path / name)
    found = read_word2vec(tmp_path / name)
    assert found.words == WORDS
    assert (found.vectors == some().vectors).all()  # nine digits are float32


def test_the_bytes_are_those_of_the_format(tmp_path):
    """Written out by hand: header, then word, space, numbers."""
    given = WordVectors(["a", "bé"], np.array([[1.0, -2.5], [0.1, 3.0]], dtype=np.float32))
    write_word2vec(given, tmp_path / "v.txt")
    assert (tmp_path / "v.txt").read_text() == "2 2\na 1 -2.5\nbé 0.100000001 3\n"
    write_word2vec(given, tmp_path / "v.bin")
    assert (tmp_path / "v.bin").read_bytes() == (
        b"2 2\na " + struct.pack("<2f", 1, -2.5) + b"\nb\xc3\xa9 " + struct.pack("<2f", 0.1, 3)
        + b"\n"
    )  # fmt: skip


def test_binary_without_line_breaks_is_read_too(tmp_path):
    path = tmp_path / "v.vec"
    path.write_bytes(b"2 1\na " + struct.pack("<f", 5) + b"b " + struct.pack("<f", 6))
    found = read_word2vec(path, binary=True)
    assert found.words == ["a", "b"] and found.vectors.ravel().tolist() == [5, 6]


def test_gensim_reads_and_writes_the_same(tmp_path):
    gensim = pytest.importorskip("gensim")
    for name, binary in (("v.txt", False), ("v.bin", True)):
        write_word2vec(some(), tmp_path / name)
        keyed = gensim.models.KeyedVectors.load_word2vec_format(tmp_path / name, binary=binary)
        assert keyed.index_to_key == WORDS and (keyed.vectors == some().vectors).all()
        keyed.save_word2vec_format(tmp_path / f"of gensim {name}", binary=binary)
        found = read_word2vec(tmp_path / f"of gensim {name}", binary=binary)
        assert found.words == WORDS
        assert found.vectors == pytest.approx(some().vectors, abs=1e-7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a 1 2\nb 3 4\n", r"line 1: .* is it GloVe's format"),
        (b"0 2\n", "line 1: 0 words of width 2 hold nothing"),
        (b"99999999 300\na 1\n", "line 1 announces 99999999 words of width 300, more than"),
        (b"2 2\na 1 2\n", "ends after 1 of 2 words"),
        (b"2 2\na 1 2\nb 3\n", "line 3: expected a word and 2 numbers, but 1 came after 'b'"),
        (b"2 2\na 1 2\nb 3 x\n", "line 3: the vector of 'b' holds what is no number"),
        (b"2 2\na 1 2\na 3 4\n", "the word 'a' comes twice"),
    ],
)
def test_damaged_text_files(tmp_path, content, message):
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_word2vec(path)


def test_damaged_binary_files(tmp_path):
    path = tmp_path / "v.bin"
    path.write_bytes(b"2 2\na " + struct.pack("<2f", 1, 2) + b"\nb 1234")
    with pytest.raises(InputError, match="ends after 1 of 2 words"):
        read_word2vec(path)
    path.write_bytes(b"1 2\n" + b"x" * 20_000)
    with pytest.raises(InputError, match="word 1 has no end; is the file text"):
        read_word2vec(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_word2vec(tmp_path / "none.bin")


@pytest.mark.parametrize("word", ["", "two words", " x", "a\n", "tab\tbed"])
def test_words_that_the_format_cannot_hold(tmp_path, word):
    with pytest.raises(InputError, match="cannot be written in word2vec's format"):
        write_word2vec(WordVectors([word], np.ones((1, 2))), tmp_path / "v.txt")


def test_words_and_vectors_must_belong_together():
    with pytest.raises(InputError, match="5 words came with 4 vectors"):
        WordVectors(WORDS, np.ones((4, 2)))
    with pytest.raises(InputError, match="'b' comes twice"):
        WordVectors(["a", "b", "b", "a"], np.ones((4, 2)))


def test_the_projector_gets_one_row_per_word(tmp_path):
    given = WordVectors(["a b", "tab\tbed", "\n"], np.array([[1.0, 2], [3, 4], [5, 6.25]]))
    vectors, metadata = write_projector(given, tmp_path / "new")
    assert vectors.read_text() == "1\t2\n3\t4\n5\t6.25\n"
    assert metadata.read_text() == "a b\ntab⇥bed\n⏎\n"  # no header with one column
    _, metadata = write_projector(given, tmp_path, {"rank": [1, 2, 3]})
    assert metadata.read_text() == "word\trank\na b\t1\ntab⇥bed\t2\n⏎\t3\n"
    with pytest.raises(InputError, match="column 'rank' has 2 rows, not 3"):
        write_projector(given, tmp_path, {"rank": [1, 2]})


def test_parquet_holds_words_vectors_and_columns(tmp_path):
    path = tmp_path / "v.parquet"
    write_parquet(some(), path, {"rank": range(5)})
    table = pq.read_table(path).to_pydict()  # as any other reader sees it
    assert table["word"] == WORDS and table["rank"] == [0, 1, 2, 3, 4]
    assert np.array(table["vector"], dtype=np.float32).tolist() == some().vectors.tolist()
    found = read_parquet(path)
    assert found.words == WORDS and (found.vectors == some().vectors).all()
    with pytest.raises(InputError, match="column 'rank' has 1 rows, not 5"):
        write_parquet(some(), path, {"rank": [1]})
    path.write_text("no")
    with pytest.raises(InputError, match="is no Parquet file of word vectors"):
        read_parquet(path)


def test_every_token_has_a_spelling_of_its_own():
    assert token_words(WordTokenizer(["a", "b"])) == ["<bos>", "<pad>", "a", "b"]

    class Bytes:
        vocab = {"Ġking": 1, "king": 0}  # noqa: RUF012
        vocab_size = 3

    assert token_words(Bytes()) == ["king", "Ġking", "<2>"]
