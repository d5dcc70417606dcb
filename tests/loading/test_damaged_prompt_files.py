"""Prompts, pairs, word lists, vectors, lenses and translators from files that are not as they were.

What a reader gives back is checked for sense; everything else is one sentence, naming the file.
"""

import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from oracles.damage import (
    NOT_JSON,
    as_json,
    broken,
    changed_values,
    full_disk,
    looks_whole,
    no_files,
    refused,
    untouched,
)
from oracles.tiny import tiny_model
from safetensors.torch import load_file, save_file

from interp.core import InputError, RunError
from interp.loading import (
    load_lens,
    load_translator,
    read_analogies,
    read_pairs,
    read_parquet,
    read_rated_pairs,
    read_word2vec,
    save_lens,
    write_parquet,
    write_word2vec,
)
from interp.loading.prompt_files import iter_prompts
from interp.loading.prompt_pairs import read_prompt_pairs
from interp.loading.translators import FOLDER, save_translator
from interp.loading.word_vectors import WordVectors

# As users have it: without the checks of types that only the tests install.
pytestmark = pytest.mark.usefixtures("no_type_checks")

PAIR = {"clean": "the “calm”", "corrupted": "the shy", "correct": "king", "incorrect": "queen"}
VECTORS = WordVectors(["the", "한", "z"], np.arange(15, dtype=np.float32).reshape(3, 5) / 7)


def prompts(path):
    return list(iter_prompts(path))


TEXTS = {
    "pairs.csv": (read_prompt_pairs, 'clean,corrupted,correct,incorrect,unit\n'
                  '"the ""calm"", one",the shy one,king,queen,a\nb,c,d,e,\n'),
    "pairs.jsonl": (read_prompt_pairs, f"{json.dumps(PAIR)}\n{json.dumps(PAIR | {'unit': 3})}\n"),
    "plain.csv": (prompts, "prompt,unit\nthe calm creature,1\n\"a\nb\",2\n"),
    "plain.jsonl": (prompts, '{"prompt": "the calm creature"}\n{"prompt": "a", "unit": "u"}\n'),
    "analogies.txt": (read_analogies, ": royal\nking queen man woman\n: grammar\na b c d\n"),
    "words.csv": (read_pairs, "relation,first,second\nr,king,queen\nr,man,woman\n"),
    "ratings.tsv": (read_rated_pairs, "word1\tword2\tscore\nking\tqueen\t8.5\na\tb\t1\n"),
    "vectors.txt": (read_word2vec, "3 2\nthe 0.5 1\na -1e-3 2\nz 0 0\n"),
}  # fmt: skip
BINARY = {
    "vectors.bin": (read_word2vec, write_word2vec),
    "vectors.parquet": (read_parquet, write_parquet),
}


def makes_sense(found):
    """Rows of whole texts and finite numbers."""
    if isinstance(found, WordVectors):
        assert len(found.words) == len(found.vectors)
        assert np.isfinite(found.vectors).all()
        return
    assert found
    for row in found:
        for cell in row:
            assert isinstance(cell, str | int | float)
            assert not isinstance(cell, float) or math.isfinite(cell)
            str(cell).encode()


def check(path, read):
    found = []
    sentence = refused(lambda: found.append(read(path)))
    if sentence is None:
        makes_sense(found[0])
    else:
        assert path.name in sentence or "comes twice" in sentence
    return sentence


@pytest.mark.parametrize("name", TEXTS)
def test_damaged_texts(tmp_path, name):
    read, text = TEXTS[name]
    path, whole = tmp_path / name, text.encode()
    path.write_bytes(whole)
    assert check(path, read) is None
    refusals = 0
    for content in (*broken(whole, 110, seed=5), *NOT_JSON, text.encode("utf-16"), whole * 2):
        path.write_bytes(content)
        refusals += check(path, read) is not None
    assert refusals > 30


@pytest.mark.parametrize("name", BINARY)
def test_damaged_vectors(tmp_path, name):
    read, write = BINARY[name]
    path = tmp_path / name
    write(VECTORS, path)
    whole = path.read_bytes()
    assert check(path, read) is None
    for content in broken(whole, 150, seed=6):
        path.write_bytes(content)
        check(path, read)


@pytest.mark.parametrize("name", [*TEXTS, *BINARY])
def test_things_that_are_no_files(tmp_path, name):
    read = (TEXTS | BINARY)[name][0]
    for thing in no_files(tmp_path):
        link = tmp_path / name
        link.symlink_to(thing)
        assert check(link, read) is not None
        link.unlink()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"prompt": "the \\ud800 king"}', "line 1: prompt is 'the \\ud800 king', not a text"),
        ('{"prompt": "a", "prompt": "b"}', "line 1: no JSON: 'prompt' stands twice"),
        ('{"prompt": "a", "unit": ["b"]}', "line 1: unit is ['b'], neither a text nor a number"),
        ('{"prompt": "a", "unit": "\\udfff"}', "line 1: unit is '\\udfff', neither"),
        ('{"prompt": ' + "9" * 5_000 + "}", "line 1: no JSON: Exceeds the limit"),
        # How deep Python itself reads depends on its version.
        ('{"prompt": ' + "[" * 5_000 + "]" * 5_000 + "}", "line 1: no JSON: it is nested "),
        ('{"prompt": NaN}', "line 1: prompt is nan, not a text"),
        ("\x00", "line 1: no JSON"),
    ],
)
def test_rows_that_json_can_spell_and_nothing_can_read(tmp_path, row, says):
    path = tmp_path / "p.jsonl"
    path.write_text(row)
    assert says in check(path, prompts)


def test_long_cells_and_many_columns_make_short_sentences(tmp_path):
    path = tmp_path / "p.csv"
    for text in ("prompt\n" + "x" * 200_000, ",".join(f"c{i}" for i in range(50_000)) + "\n1"):
        path.write_text(text)
        assert len(check(path, prompts)) < 600


@pytest.mark.parametrize("number", ["nan", "inf", "1e39"])
def test_vectors_are_finite(tmp_path, number):
    path = tmp_path / "v.txt"
    path.write_text(f"1 2\nthe 0.5 {number}\n")
    with pytest.raises(InputError, match="the vector of 'the' holds a number that is not finite"):
        read_word2vec(path)
    nan = WordVectors(
        ["the"], np.array([[1, np.inf if number == "1e39" else float(number)]], np.float32)
    )
    for name, (read, write) in BINARY.items():
        write(nan, tmp_path / name)
        with pytest.raises(InputError, match="not finite"):
            read(tmp_path / name)


def test_a_header_of_thousands_of_digits(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("9" * 5_000 + " 2\nthe 1 2\n")
    with pytest.raises(InputError, match="begins with the number of words"):
        read_word2vec(path)


@pytest.mark.parametrize(
    "table",
    [
        {"word": ["a"], "vector": [[1.0, 2.0]]},  # lists of any length
        {"word": ["a"], "vector": [1.0]},
        {"word": [1], "vector": pa.array([[1.0]], pa.list_(pa.float32(), 1))},
        {"word": ["a"], "vector": pa.array([["x"]], pa.list_(pa.string(), 1))},
        {"word": [None], "vector": pa.array([[1.0]], pa.list_(pa.float32(), 1))},
        {"word": ["a", "b"], "vector": pa.array([[1.0], None], pa.list_(pa.float32(), 1))},
        {"word": ["a"]},
    ],
)
def test_parquet_of_other_kinds(tmp_path, table):
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table(table), path)
    assert check(path, read_parquet) is not None


def test_parquet_that_would_burst_is_not_opened(tmp_path):
    """Millions of rows, or megabytes of text, in some thousand bytes."""
    path = tmp_path / "v.parquet"
    n = 6_000_000
    pq.write_table(pa.table({"word": pa.repeat("a", n).dictionary_encode()}), path)
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match=f"announces {n} rows"):
        read_parquet(path)
    long = pa.table({"word": ["a" * 50_000_000]})
    pq.write_table(long, path, compression="zstd", use_dictionary=False)
    with pytest.raises(InputError, match=r"announces 500000\d\d bytes"):
        read_parquet(path)


# ------------------------------------------------------------------------------------- lenses


@pytest.fixture(scope="module")
def lens(tmp_path_factory):
    model = tiny_model()
    path = tmp_path_factory.mktemp("lens") / "lens.safetensors"
    generator = torch.Generator().manual_seed(0)
    change, shift = (torch.randn(shape, generator=generator) for shape in ((2, 23, 23), (2, 23)))
    save_lens(path, model, "tuned lens", [0, 2], change, shift)
    return model, path, {"change": change, "shift": shift}


def test_a_damaged_lens(lens, tmp_path):
    model, path, tensors = lens
    other = tmp_path / path.name
    for content in broken(path.read_bytes(), 100, seed=7, reach=700):
        other.write_bytes(content)
        found = []
        if refused(lambda found=found: found.append(load_lens(other, model))) is None:
            assert [found[0][name].shape for name in tensors] == [(2, 23, 23), (2, 23)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"depths": "0,x"}, "which are no numbers"),
        ({"depths": "9" * 5_000}, "which are no numbers"),
        ({"depths": "0"}, "need numbers of"),
        ({"change": torch.zeros(2, 23, 22)}, "need numbers of"),
        ({"shift": torch.zeros(2, 23, dtype=torch.int64)}, "need numbers of"),
        ({"shift": torch.full((2, 23), float("nan"))}, "not finite"),
        ({"extra": torch.zeros(3)}, "no lens has these"),
    ],
)
def test_a_lens_that_does_not_fit(lens, tmp_path, changes, says):
    from safetensors import safe_open

    model, path, tensors = lens
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    metadata |= {key: value for key, value in changes.items() if isinstance(value, str)}
    tensors = tensors | {k: v for k, v in changes.items() if not isinstance(v, str)}
    save_file(tensors, tmp_path / "l.safetensors", metadata)
    assert says in refused(lambda: load_lens(tmp_path / "l.safetensors", model))


# -------------------------------------------------------------------------------- translators


@pytest.fixture
def translator(tmp_path):
    for name in ("translator.json", "seed0.safetensors"):
        shutil.copy(FOLDER / name, tmp_path)
    return tmp_path


def test_a_damaged_translator(translator):
    path = translator / "translator.json"
    whole = json.loads(path.read_text())
    for values in changed_values(whole, 40, seed=8):
        path.write_bytes(as_json(values))
        refused(lambda: load_translator(folder=translator))
    for name in ("config", "source_words"):
        path.write_bytes(as_json(whole | {name: 3}))
        assert name in refused(lambda: load_translator(folder=translator))
    path.write_bytes(as_json(whole | {"source_words": whole["source_words"][:-1]}))
    assert "source_words" in refused(lambda: load_translator(folder=translator))


def test_a_translator_with_a_number_that_is_none(translator):
    path = translator / "seed0.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, path)
    assert "not finite" in refused(lambda: load_translator(folder=translator))


# --------------------------------------------------------------------------------- full disks


def test_a_full_disk_leaves_no_half_file(lens, tmp_path):
    model, _, tensors = lens
    translator = load_translator()
    with full_disk(2_500), untouched(tmp_path):
        with pytest.raises(RunError, match="Could not save the lens"):
            save_lens(tmp_path / "l.safetensors", model, "x", [0, 2], **tensors)
        (tmp_path / "t").mkdir()
        with pytest.raises(RunError, match="Could not save to"):
            save_translator(translator, tmp_path / "t", 0)
        shutil.rmtree(tmp_path / "t")
    assert not looks_whole(tmp_path)
