"""Byte-pair encoding against the tokenizers library, GPT-2's tokenizer against known ids."""

import json
from pathlib import Path

import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from interp import measures
from interp.core import InputError
from interp.corpus import Language
from interp.loading.tokenizer import TextTokenizer
from interp.measures import tokenization

FOLDERS = [p / "shared" / "gpt2-tokenizer" for p in Path(__file__).parents[1:5]]
GPT2 = next((folder for folder in FOLDERS if (folder / "merges.txt").is_file()), None)
needs_gpt2 = pytest.mark.skipif(GPT2 is None, reason="GPT-2's tokenizer files are not here")

TEXTS = {
    "plain": "low lower lowest new newer newest wide wider widest low low new\n" * 3,
    "marks": "It's 9:30, isn't it? He said: \"we'll go at 10\" -- and we'd gone...  Twice!\n" * 4,
    "foreign": "Die Straße ist größer, die Größe groß. naïve café 안녕 안녕하세요 안녕\n" * 3,
    "spaces": "a  b   c\n\n  a b\tc  a b \n" * 4,
    "ties": "ab cd ef ab cd ef gh gh ij ij",
    "repeats": "aaaa aaa aa aaaaa banana bananas",
    "under_score": "snake_case is_not snake_case __init__ x_1 x_2 x_1",
}


def library(text, n_merges):
    """Merges that the library learns from the same text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = {c for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text) for c in word}
    trainer = trainers.BpeTrainer(
        vocab_size=len(letters) + n_merges, min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer, [tuple(p) for p in json.loads(tokenizer.to_str())["model"]["merges"]]


@pytest.mark.parametrize("name", TEXTS)
def test_merges_are_those_of_the_library(name):
    tokenizer, expected = library(TEXTS[name], 40)
    frame = measures.train_bpe(TEXTS[name], 40)
    merges = list(zip(frame["left"], frame["right"], strict=True))
    assert merges == expected
    encoding = tokenizer.encode(TEXTS[name])
    assert frame["tokens"].iloc[-1] == len(encoding.ids)
    words = [w for w, _ in tokenizer.pre_tokenizer.pre_tokenize_str(TEXTS[name])]
    ours = [piece for word in words for piece in measures.bpe_pieces(merges, word)]
    assert ours == encoding.tokens


def test_merges_of_the_language_are_those_of_the_library():
    language = Language()
    windows = language.batch(0, 12, 60, namespace="test")
    text = "\n".join(language.tokenizer.decode(row[1:].tolist()) for row in windows)
    frame = measures.train_bpe(text, 80)
    assert list(zip(frame["left"], frame["right"], strict=True)) == library(text, 80)[1]


def test_the_first_merges_by_hand():
    """Sennrich's example: "es" 9 times, "est" 9 times; here with our order of ties."""
    text = " ".join(["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3)
    frame = measures.train_bpe(text, 3)
    assert frame["piece"].iloc[0] == "es" and frame["count"].iloc[0] == 9
    assert frame["piece"].iloc[1] == "est" and frame["count"].iloc[1] == 9
    n_bytes = len(text)
    assert frame["tokens"].tolist()[:2] == [n_bytes - 9, n_bytes - 18]
    assert frame["bytes_per_token"].iloc[1] == pytest.approx(n_bytes / (n_bytes - 18))
    assert frame["step"].tolist() == [1, 2, 3]
    assert frame["readable"].tolist()[0] == "es"


def test_training_stops_where_nothing_comes_twice():
    assert len(measures.train_bpe("abcd", 5)) == 0
    assert measures.train_bpe("ab ab", 9)["piece"].tolist() == ["ab"]


@pytest.mark.parametrize(("text", "n"), [("", 3), (" \n", 3), ("ab ab", 0)])
def test_nothing_to_learn_is_one_clear_error(text, n):
    with pytest.raises(InputError, match="at least 1 merge"):
        measures.train_bpe(text, n)


def test_byte_characters_are_those_of_the_library():
    characters = tokenization.byte_characters()
    assert sorted(characters) == list(range(256)) and len(set(characters.values())) == 256
    assert set(characters.values()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert characters[ord(" ")] == "Ġ" and characters[ord("\n")] == "Ċ" and characters[65] == "A"
    assert tokenization.readable("ĠcafÃ©") == " café"
    assert tokenization.readable("Ã") == "<C3>"


def test_compression_counts_the_tokens_of_another_text():
    frame = measures.train_bpe(TEXTS["plain"], 12)
    merges = list(zip(frame["left"], frame["right"], strict=True))
    other = "newer lows widen low"
    curve = measures.compression(other, merges)
    assert curve["merges"].tolist() == list(range(13))
    assert curve["tokens"].iloc[0] == len(other)
    for n in (1, 5, 12):
        pieces = [
            p for w in measures.word_counts(other) for p in measures.bpe_pieces(merges[:n], w)
        ]
        assert curve["tokens"].iloc[n] == len(pieces)
        assert curve["bytes_per_token"].iloc[n] == pytest.approx(len(other) / len(pieces))
    own = measures.compression(TEXTS["plain"], merges)["tokens"]
    assert own.tolist()[1:] == frame["tokens"].tolist()


def test_random_merges_are_merges_and_do_worse():
    text = TEXTS["plain"]
    drawn = measures.random_merges(text, 10, seed=3)
    assert len(drawn) == 10 and drawn == measures.random_merges(text, 10, seed=3)
    assert drawn != measures.random_merges(text, 10, seed=4)
    tokens = measures.compression(text, drawn)["tokens"]
    assert (tokens.diff().dropna() < 0).all()  # every pair occurs when it is drawn
    assert tokens.iloc[-1] > measures.train_bpe(text, 10)["tokens"].iloc[-1]
    assert len(measures.random_merges("ab", 5)) == 1


def test_a_word_through_the_merges():
    merges = [("e", "s"), ("es", "t"), ("x", "y"), ("w", "est")]
    steps = measures.bpe_steps(merges, "Ġnewest")
    assert steps["merges"].tolist() == [0, 1, 2, 4]
    assert steps["pieces"].iloc[-1] == "  | n | e | west"
    assert steps["n"].tolist() == [7, 6, 5, 4]


def test_words_after_a_space():
    merges = [("Ġ", "n"), ("e", "w"), ("Ġn", "ew")]
    frame = measures.bpe_words(merges, ["new", "newer", "few", "né"])
    assert frame["pieces"].tolist() == [1, 3, 3, 3]
    assert frame["space_joined"].tolist() == [True, True, False, True]
    assert frame["bytes"].tolist() == [4, 6, 4, 4]


# --- real tokenizers ---


@pytest.fixture(scope="module")
def gpt2():
    return TextTokenizer.from_directory(GPT2, gpt2=True)


@needs_gpt2
def test_hello_world(gpt2):
    frame = measures.pieces(gpt2, ["Hello, world!", "world"])
    lecture = frame[frame["text"] == "Hello, world!"]
    assert lecture["token"].tolist() == [15496, 11, 995, 0]
    assert lecture["piece"].tolist() == ["Hello", ",", " world", "!"]
    assert lecture["starts_with_space"].tolist() == [False, False, True, False]
    assert 995 not in frame.loc[frame["text"] == "world", "token"].tolist()


@needs_gpt2
def test_pieces_per_word_are_those_of_transformers(gpt2):
    reference = transformers.GPT2Tokenizer(
        vocab=str(GPT2 / "vocab.json"), merges=str(GPT2 / "merges.txt")
    )
    words = ["the", "photosynthesis", "blorfing", "안녕", "🐈", "1984"]
    frame = measures.pieces_per_word(gpt2, {"a": words[:3], "b": words[3:]})
    for row in frame.itertuples():
        assert row.pieces == len(reference(row.word)["input_ids"])
        assert row.pieces_after_space == len(reference(f" {row.word}")["input_ids"])
        assert row.bytes == len(row.word.encode()) and row.characters == len(row.word)
        assert row.round_trip and row.known
    joined = frame.set_index("word")["space_joined"]
    assert joined["the"] and joined["1984"]
    assert frame["group"].tolist() == ["a"] * 3 + ["b"] * 3


@needs_gpt2
def test_twins_are_the_two_forms_of_a_word(gpt2):
    W_E = np.random.default_rng(0).standard_normal((50257, 3))
    words = ["world", "house", "photosynthesis", "river", "world"]
    frame = measures.space_twins(gpt2, W_E, words).set_index("word")
    assert sorted(frame.index) == ["house", "river", "world"]
    assert (frame.loc["world", "token"], frame.loc["world", "token_after_space"]) == (6894, 995)
    a, b = W_E[6894], W_E[995]
    assert frame.loc["world", "cosine"] == pytest.approx(
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    )
    others = [W_E[frame.loc[w, "token_after_space"]] for w in ("house", "river")]
    cosines = [a @ o / np.linalg.norm(a) / np.linalg.norm(o) for o in others]
    assert min(abs(frame.loc["world", "other_cosine"] - c) for c in cosines) < 1e-12
    assert measures.space_twins(gpt2, W_E, ["world"])["other_cosine"].isna().all()


@needs_gpt2
def test_our_encoding_with_gpt2s_merges_is_gpt2s(gpt2):
    lines = (GPT2 / "merges.txt").read_text("utf-8").splitlines()[1:2001]
    merges = [tuple(line.split(" ")) for line in lines]
    whole = Tokenizer(models.BPE(
        vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
        | {"".join(m): 256 + i for i, m in enumerate(merges)},
        merges=merges,
    ))  # fmt: skip
    for word in ("Ġthe", "Ġinternational", "Ġquestions", "Hello"):
        expected = [token.value for token in whole.model.tokenize(word)]
        assert measures.bpe_pieces(merges, word) == expected


def test_words_that_are_not_in_the_vocabulary_are_reported():
    tokenizer = Language().tokenizer
    frame = measures.pieces(tokenizer, ["the tower .", "Hello, world!"])
    assert frame["place"].tolist() == [0, 1, 2, -1]
    assert "hello" in frame["error"].iloc[-1] and not frame["error"].iloc[0]
    words = measures.pieces_per_word(tokenizer, {"x": ["tower", "blorfing"]})
    assert words["known"].tolist() == [True, False]
    assert words["pieces"].iloc[0] == 1 and np.isnan(words["pieces"].iloc[1])
    assert not words["space_joined"].any()
    assert not len(measures.space_twins(tokenizer, np.ones((540, 3)), ["tower", "the", "nope"]))
