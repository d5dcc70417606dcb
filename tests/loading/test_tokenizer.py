"""Text to ids and back; the oracles are transformers' tokenizers on the same files."""

import json
import shutil

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from interp.core import InputError
from interp.loading.tokenizer import TextTokenizer, read_tokenizer

from .conftest import GPT2_TOKENIZER, needs_gpt2_tokenizer, write_word_tokenizer

TRICKY = [
    "",
    " ",
    "    ",
    "\n",
    "\n\n\t \r\n",
    "Hello, world!",
    " Hello, world!",
    "Hello,  world !",
    "don't can't I'LL we've",
    "naïve café — “quotes” … ﬁ ligature",
    "日本語のテキスト 한국어 עברית العربية",
    "emoji 😀 family 👨‍👩‍👧‍👦 flag 🇨🇭",
    "e\u0301 combining, zero\u200bwidth, nbsp\u00a0here",
    "a\x00b control\x07",
    "price: $1,234.56 (−7%) 1e-5 0x1F",
    "def f(x):\n    return x ** 2  # comment",
    "<|endoftext|>",
    "one<|endoftext|>two <|endoftext|> three",
    "<|endoftext",
    "x" * 1000,
    " SolidGoldMagikarp",
]


@pytest.fixture(scope="module")
def real():
    return TextTokenizer.from_directory(GPT2_TOKENIZER, gpt2=True)


@pytest.fixture(scope="module")
def theirs():
    from transformers import GPT2Tokenizer

    return GPT2Tokenizer(
        vocab=str(GPT2_TOKENIZER / "vocab.json"), merges=str(GPT2_TOKENIZER / "merges.txt")
    )


@needs_gpt2_tokenizer
class TestRealGPT2:
    def test_a_known_text_has_the_known_ids(self, real):
        assert real.encode("Hello, world!", bos=False) == [15496, 11, 995, 0]
        assert real.encode("Hello, world!") == [50256, 15496, 11, 995, 0]
        assert real.str_tokens([50256, 15496, 11, 995, 0]) == [
            "<|endoftext|>", "Hello", ",", " world", "!"]  # fmt: skip

    def test_special_ids_and_size(self, real):
        assert (real.bos_id, real.eos_id, real.pad_id, real.vocab_size) == (
            50256, 50256, 50256, 50257)  # fmt: skip
        assert "<|endoftext|>" in real.bos_policy

    @pytest.mark.parametrize("text", TRICKY)
    def test_ids_are_those_of_transformers(self, real, theirs, text):
        assert real.encode(text, bos=False) == theirs(text)["input_ids"]

    @pytest.mark.parametrize("text", TRICKY)
    def test_every_text_comes_back(self, real, text):
        assert real.decode(real.encode(text, bos=False)) == text

    def test_every_token_reads_as_in_transformers(self, real, theirs):
        ids = list(range(50257))
        assert real.str_tokens(ids) == [theirs.decode([token]) for token in ids]

    def test_a_lone_surrogate_is_an_input_error(self, real):
        with pytest.raises(InputError, match="cannot be encoded"):
            real.encode("\ud800")

    def test_what_is_saved_loads_in_transformers_and_here(self, real, tmp_path):
        from transformers import AutoTokenizer

        real.save(tmp_path)
        theirs = AutoTokenizer.from_pretrained(tmp_path)
        ours = TextTokenizer.from_directory(tmp_path, gpt2=True)
        for text in TRICKY:
            expected = real.encode(text, bos=False)
            assert theirs(text)["input_ids"] == expected
            assert ours.encode(text, bos=False) == expected
        assert (theirs.bos_token_id, theirs.eos_token_id) == (50256, 50256)
        assert ours.bos_policy == real.bos_policy

    def test_a_padded_vocabulary_s_spare_ids_are_shown(self, real):
        assert real.decode([15496, 50300, 995]) == "Hello<50300> world"
        with pytest.raises(InputError, match="-1"):
            real.decode([-1])

    def test_add_prefix_space_is_honoured(self, tmp_path):
        from transformers import AutoTokenizer, GPT2Tokenizer

        files = {"vocab": "vocab.json", "merges": "merges.txt"}
        paths = {key: str(GPT2_TOKENIZER / name) for key, name in files.items()}
        GPT2Tokenizer(**paths, add_prefix_space=True).save_pretrained(tmp_path)
        theirs = AutoTokenizer.from_pretrained(tmp_path)
        ours = TextTokenizer.from_directory(tmp_path, gpt2=True)
        assert ours.encode("Hello", bos=False) == theirs("Hello")["input_ids"] == [18435]


def test_one_bos_is_prepended_unless_switched_off(tmp_path):
    write_word_tokenizer(tmp_path)
    tokenizer = TextTokenizer.from_directory(tmp_path, gpt2=True)
    assert tokenizer.encode("w3 w4") == [0, 3, 4]
    assert tokenizer.encode("w3 w4", bos=False) == [3, 4]
    assert tokenizer.encode("") == [0]
    assert tokenizer.encode("", bos=False) == []
    assert tokenizer.pad_id == 1


def test_an_unknown_word_is_named_with_its_neighbours(tmp_path):
    write_word_tokenizer(tmp_path)
    tokenizer = TextTokenizer.from_directory(tmp_path, gpt2=True)
    with pytest.raises(InputError, match=r"'w1234' is not in .* near it are .*w123"):
        tokenizer.encode("w3 w1234")
    assert tokenizer.encode("w3 <unk>", bos=False) == [3, 210]


def test_truncation_and_padding_in_the_file_are_not_applied(tmp_path):
    """Oracle: the id of each word is its number."""
    write_word_tokenizer(tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.enable_truncation(3)
    backend.enable_padding(length=50)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer.from_directory(tmp_path, gpt2=True)
    text = " ".join(f"w{i}" for i in range(2, 12))
    assert tokenizer.encode(text, bos=False) == list(range(2, 12))


def test_a_byte_level_vocabulary_with_gaps_does_not_drop_letters(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    tokenizer = TextTokenizer.from_directory(tmp_path, gpt2=True)
    assert tokenizer.bos_id is None
    assert tokenizer.encode("abba") == [2, 1, 0]
    with pytest.raises(InputError, match="cannot be spelt"):
        tokenizer.encode("abc")


def test_the_model_config_s_bos_serves_when_the_files_name_none(tmp_path):
    write_word_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert TextTokenizer.from_directory(tmp_path, gpt2=True).bos_id is None
    assert TextTokenizer.from_directory(tmp_path, gpt2=True, bos_id=0).encode("w3") == [0, 3]
    for outside in (-1, 10**30, 211):
        assert TextTokenizer.from_directory(tmp_path, gpt2=True, bos_id=outside).bos_id is None


def test_no_files_no_tokenizer(tmp_path):
    assert TextTokenizer.from_directory(tmp_path, gpt2=True) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b""),
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\xff\xfe\x00"),
        ("tokenizer.json", b"[" * 100_000),
        ("tokenizer.json", b'{"version": "1.0", "model": {"type": "NoSuchModel"}}'),
        ("tokenizer_config.json", b"not json"),
        ("special_tokens_map.json", b'"text"'),
    ],
)
def test_damaged_files_are_input_errors(tmp_path, name, content):
    write_word_tokenizer(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        TextTokenizer.from_directory(tmp_path, gpt2=True)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_tokenizer_file_is_an_input_error(tmp_path, cut):
    write_word_tokenizer(tmp_path)
    content = (tmp_path / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(InputError, match="cut short"):
        TextTokenizer.from_directory(tmp_path, gpt2=True)


@pytest.mark.parametrize(
    ("vocab", "merges", "says"),
    [
        ({"a": 0, "b": 1}, "#version: 0.2\na c\n", "make no tokenizer"),
        ({"a": 0, "b": 1}, "#version: 0.2\nabc\n", "make no tokenizer"),
        ({"a": "0"}, "#version: 0.2\n", "whole numbers"),
        ({"a": -1}, "#version: 0.2\n", "whole numbers"),
        ({"a": 0, "b": 0}, "#version: 0.2\n", "one id to several"),
    ],
)
def test_damaged_vocab_and_merges_are_input_errors(tmp_path, vocab, merges, says):
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(InputError, match=says):
        TextTokenizer.from_directory(tmp_path, gpt2=True)


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_half_a_pair_is_named(tmp_path, missing):
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=f"no {missing}"):
        TextTokenizer.from_directory(tmp_path, gpt2=True)


@pytest.mark.parametrize("odd", [3, ["<bos>"], {"content": 7}, {}, None, "no such token"])
def test_an_odd_bos_token_is_no_bos_token(tmp_path, odd):
    write_word_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": odd}))
    assert TextTokenizer.from_directory(tmp_path, gpt2=True).bos_id is None


def test_special_tokens_may_be_objects(tmp_path):
    write_word_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": {"content": "w5", "lstrip": 0}}')
    assert TextTokenizer.from_directory(tmp_path, gpt2=True).bos_id == 5


class TestWordTokenizer:
    @pytest.fixture
    def directory(self, tmp_path):
        from interp.corpus.tokenizer import WordTokenizer

        WordTokenizer(["a", "creature", "roams", "."]).save(tmp_path)
        settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
        settings["interp_tokenizer"] = "WordTokenizer"
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        return tmp_path

    def test_it_is_recognised(self, directory):
        tokenizer = read_tokenizer(directory, gpt2=True, bos_id=0)
        assert type(tokenizer).__name__ == "WordTokenizer"
        assert tokenizer.encode("A creature roams.") == [0, 2, 3, 4, 5]

    def test_without_the_mark_the_general_one_gives_the_same_ids(self, directory):
        (directory / "tokenizer_config.json").write_text('{"bos_token": "<bos>"}')
        tokenizer = read_tokenizer(directory, gpt2=True, bos_id=0)
        assert isinstance(tokenizer, TextTokenizer)
        assert tokenizer.encode("A creature roams.") == [0, 2, 3, 4, 5]
        with pytest.raises(InputError, match=r"'creatures' is not in .* near it are creature"):
            tokenizer.encode("creatures")

    def test_an_edited_vocabulary_is_noticed(self, directory):
        path = directory / "tokenizer.json"
        path.write_text(path.read_text().replace('"creature":3', '"creature":77').replace(
            '"creature": 3', '"creature": 77'))  # fmt: skip
        with pytest.raises(InputError, match="edited"):
            read_tokenizer(directory, gpt2=True, bos_id=0)

    def test_a_mark_on_other_files_is_noticed(self, directory):
        shutil.copy(directory / "tokenizer_config.json", directory / "kept")
        backend = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        backend.save(str(directory / "tokenizer.json"))
        with pytest.raises(InputError, match="word tokenizer"):
            read_tokenizer(directory, gpt2=True, bos_id=0)
