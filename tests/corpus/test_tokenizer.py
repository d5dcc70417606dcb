"""Oracle: transformers' AutoTokenizer, and ids looked up by hand."""

import pytest
from tokenizers import Tokenizer

from interp.core.errors import InputError
from interp.corpus import Language, WordTokenizer

TEXT = "The king wore his crown, the QUEEN saw herself."


@pytest.fixture(scope="module")
def tokenizer():
    return Language().tokenizer


def test_text_becomes_words_and_punctuation(tokenizer):
    ids = tokenizer.encode(TEXT)
    assert tokenizer.str_tokens(ids) == [
        "<bos>", "the", "king", "wore", "his", "crown", ",", "the", "queen", "saw", "herself", ".",
    ]  # fmt: skip
    assert (tokenizer.bos_id, tokenizer.pad_id) == (0, 1)
    assert tokenizer.encode(TEXT, bos=False) == ids[1:]


def test_decode_and_encode_are_inverse(tokenizer):
    ids = list(range(tokenizer.vocab_size))
    assert tokenizer.encode(tokenizer.decode(ids), bos=False) == ids


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the quene saw", r"'quene' is not among the 538 words.*queen"),
        ("the xyzzy saw", r"'xyzzy' is not among"),
        ("the king!", r"'!' is not among"),
        ("<unk>", "is not among"),
    ],
)
def test_unknown_words_are_refused_with_the_nearest(tokenizer, text, message):
    with pytest.raises(InputError, match=message):
        tokenizer.encode(text)


def test_ids_outside_the_vocabulary_are_refused(tokenizer):
    for wrong in (-1, tokenizer.vocab_size):
        with pytest.raises(InputError, match="outside"):
            tokenizer.decode([wrong])


def test_auto_tokenizer_gives_the_same_ids(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    batch = Language().batch(9, 5, 65)
    for row in batch.tolist():
        text = tokenizer.decode(row[1:])
        assert theirs(text)["input_ids"] == row == tokenizer.encode(text)
        assert theirs.decode(row) == tokenizer.decode(row)
    assert theirs(TEXT)["input_ids"] == tokenizer.encode(TEXT)
    assert (theirs.bos_token_id, theirs.pad_token_id) == (tokenizer.bos_id, tokenizer.pad_id)
    assert len(theirs) == tokenizer.vocab_size
    assert theirs.unk_token is None


def test_saved_file_knows_its_special_tokens(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    raw = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "<bos> the king <pad>"
    assert raw.encode(text, add_special_tokens=False).ids == tokenizer.encode(text, bos=False)
    assert raw.decode(tokenizer.encode("the king"), skip_special_tokens=True) == "the king"


def test_saved_tokenizer_loads_again(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "deep" / "folder")
    again = WordTokenizer.load(tmp_path / "deep" / "folder")
    assert again.vocab == tokenizer.vocab
