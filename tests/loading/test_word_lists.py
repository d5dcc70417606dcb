import pytest

from interp.core.errors import InputError
from interp.loading.word_lists import (
    Analogy,
    RatedPair,
    WordPair,
    read_analogies,
    read_pairs,
    read_rated_pairs,
    write_analogies,
)


@pytest.fixture
def file(tmp_path):
    def write(text, name="list.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_analogies_in_googles_format(file):
    path = file(
        ": capital-common-countries\nAthens Greece Baghdad Iraq\n\nAthens Greece Bern Switzerland\n"
        ": family\nboy girl brother sister\n"
    )
    found = read_analogies(path)
    assert found == [
        Analogy("capital-common-countries", "Athens", "Greece", "Baghdad", "Iraq"),
        Analogy("capital-common-countries", "Athens", "Greece", "Bern", "Switzerland"),
        Analogy("family", "boy", "girl", "brother", "sister"),
    ]
    write_analogies(found, path)
    assert path.read_text() == (
        ": capital-common-countries\nAthens Greece Baghdad Iraq\nAthens Greece Bern Switzerland\n"
        ": family\nboy girl brother sister\n"
    )
    assert read_analogies(path) == found


def test_analogies_that_gensim_reads(file):
    """gensim's own reader, where it is installed; its rules: ':' and four words, no case."""
    gensim = pytest.importorskip("gensim")
    import numpy as np

    path = file("")
    write_analogies([Analogy("x", "a", "b", "c", "d")], path)
    keyed = gensim.models.KeyedVectors(2)
    keyed.add_vectors(["a", "b", "c", "d"], np.eye(4, 2, dtype=np.float32))
    _, sections = keyed.evaluate_word_analogies(str(path))
    assert sections[0]["section"] == "x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list.csv is empty"),
        ("  \n\n", "list.csv is empty"),
        (": family\n", "holds no analogies"),
        (": family\nboy girl brother sister\nboy girl brother\n", "line 3: .* but 3 came"),
        ("boy girl brother sister uncle\n", "line 1: .* but 5 came: 'boy girl"),
        (":\nboy girl brother sister\n", "line 1: a category has no name"),
        (b"caf\xe9 a b c\n", "is no UTF-8 text: byte 3"),
    ],
)
def test_bad_analogy_files(file, text, message):
    with pytest.raises(InputError, match=message):
        read_analogies(file(text))


def test_a_missing_file_is_one_sentence(tmp_path):
    for read in (read_analogies, read_pairs, read_rated_pairs):
        with pytest.raises(InputError, match=r"none\.csv cannot be read: No such file"):
            read(tmp_path / "none.csv")


@pytest.mark.parametrize("word", ["", "two words", ":x", "a\nb"])
def test_words_that_the_format_cannot_hold(tmp_path, word):
    with pytest.raises(InputError, match="cannot stand in a file of words"):
        write_analogies([Analogy("x", "a", word, "c", "d")], tmp_path / "x.txt")
    with pytest.raises(InputError, match="is no name for a category"):
        write_analogies([Analogy(" ", "a", "b", "c", "d")], tmp_path / "x.txt")


@pytest.mark.parametrize(
    "text",
    [
        "relation,first,second\nsize,big,bigger\nsize,small,smaller\n",
        "second,first,relation\nbigger,big,size\nsmaller,small,size\n",
        "\ufeffrelation,first,second\r\nsize,big,bigger\r\n\r\nsize,small,smaller\r\n",
        "size,big,bigger\n# a remark\nsize, small ,smaller\n",
        'relation\tfirst\tsecond\nsize\t"big"\tbigger\nsize\tsmall\tsmaller\n',
        "first,second\nbig,bigger\nsmall,smaller\n",
        "big,bigger\nsmall,smaller\n",
    ],
)
def test_pairs(file, text):
    found = read_pairs(file(text, "size.csv"))
    assert found == [WordPair("size", "big", "bigger"), WordPair("size", "small", "smaller")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing\n", "holds only comments"),
        ("relation,first,second\n", "holds no word pairs"),
        ("size,big,bigger\nx\n", "line 2: .* but 1 columns came"),
        ("size,big,bigger\nsize,a,b,c\n", "line 2: .* but 4 columns came"),
        ("relation,first,second\nsize,big\n", "line 2: 2 columns, but the first line names 3"),
        ("size,big,bigger\n\nsize,small\n", "line 3: 2 columns, but line 1 has 3"),
        ("big,bigger\nsize,a,b\n", "line 2: 3 columns, but line 1 has 2"),
        ("size,big,\n", "line 1: second is empty"),
        ("size,,bigger\n", "line 1: first is empty"),
        ("size,big,bigger\nx,a,b\nsize,big,bigger\n", "line 3: .* already stands in line 1"),
        ('size,big,"bigger\n', "line 1: "),
    ],
)
def test_bad_pair_files(file, text, message):
    with pytest.raises(InputError, match=message):
        read_pairs(file(text))


@pytest.mark.parametrize(
    "text",
    [
        "cat,dog,7.5\nsun,sky,2\n",
        "Word 1,Word 2,Human (mean)\ncat,dog,7.5\nsun,sky,2\n",
        "word1\tword2\tPOS\tSimLex999\ncat\tdog\tN\t7.5\nsun\tsky\tN\t2\n",
        "w,v,how alike\ncat,dog,7.5\nsun,sky,2\n",
        "cat\tdog\t7.5\nsun\tsky\t2\n",
    ],
)
def test_rated_pairs(file, text):
    assert read_rated_pairs(file(text)) == [
        RatedPair("cat", "dog", 7.5),
        RatedPair("sun", "sky", 2.0),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("word1,word2,score\n", "holds no rated pairs"),
        ("cat,dog,7\nsun,sky,high\n", "line 2: the rating 'high' is no number"),
        ("cat,dog,7\nsun,sky\n", "line 2: expected two words and a rating, but 2 columns"),
        ("cat,dog,nan\n", "line 1: the rating is nan"),
        ("cat,,3\n", "line 1: second is empty"),
        ("word1,word2\ncat,dog\n", "line 1: no column is called rating"),
    ],
)
def test_bad_rating_files(file, text, message):
    with pytest.raises(InputError, match=message):
        read_rated_pairs(file(text))
