"""Any model goes to disk and comes back the same; any text goes to ids and comes back."""

import tempfile
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.strategies import bounded, models, tokens_for
from oracles.tiny import tiny_model

from interp.core import InputError
from interp.core.processing import center_unembed, fold_value_biases
from interp.corpus.tokenizer import WordTokenizer
from interp.loading import load_model, save, weights_hash
from interp.loading.tokenizer import TextTokenizer

from .conftest import GPT2_TOKENIZER, needs_gpt2_tokenizer

WORDS = ["a", "creature", "roams", ".", ",", "'", "naïve", "x1"]


@cache
def gpt2():
    return TextTokenizer.from_directory(GPT2_TOKENIZER, gpt2=True)


@bounded(15)
@given(st.data())
def test_any_model_comes_back_the_same(data):
    """Half of them are GPT-2's but for one thing, which its format may have no word for."""
    fixed = {}
    if data.draw(st.booleans()):
        fixed = {"norm": "pre", "positions": "learned", "mask": "causal", "residual": True,
                 "unembed_bias": False, "d_mlp": 13, "n_heads": 2, "d_head": 2,
                 "d_model": 4}  # fmt: skip
        other = {"unembed_bias": True, "residual": False, "d_mlp": 0, "d_head": 1, "norm": "post"}
        name = data.draw(st.sampled_from(sorted(other)))
        fixed[name] = other[name]
    model = data.draw(models(**fixed))
    for step in data.draw(
        st.lists(st.sampled_from([center_unembed, fold_value_biases]), max_size=2)
    ):
        model = step(model)
    model.name = data.draw(st.text(max_size=5))
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
    model = model.to(dtype)
    tokens = data.draw(tokens_for(model))
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / "saved")
        again = load_model(Path(folder) / "saved", dtype=dtype)
        wide = load_model(Path(folder) / "saved", dtype=torch.float64)
    assert again.config == model.config
    assert (again.name, again.processing) == (model.name, model.processing)
    assert weights_hash(again) == weights_hash(model)
    assert again.provenance["stored_dtype"] == {8: "F64", 4: "F32", 2: "BF16"}[dtype.itemsize]
    assert torch.equal(again(tokens), model(tokens))
    if model.config.positions != "sinusoidal":  # no weights: they are as exact as the dtype allows
        assert torch.equal(wide(tokens), model.double()(tokens))


@bounded(10)
@given(st.data())
def test_transformers_reads_any_model_that_gpt2_can_be(data):
    from transformers import GPT2LMHeadModel
    from transformers.utils import logging

    heads, width = data.draw(st.sampled_from([1, 2, 3])), data.draw(st.sampled_from([1, 2, 5]))
    model = data.draw(
        models(
            n_heads=heads, d_head=width, d_model=heads * width, norm="pre", positions="learned",
            mask="causal", unembed_bias=False, residual=True,
            d_mlp=data.draw(st.sampled_from([1, 13])),
        )
    )  # fmt: skip
    tokens = data.draw(tokens_for(model))
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / "saved")
        theirs = GPT2LMHeadModel.from_pretrained(Path(folder) / "saved").eval()
    logging.enable_progress_bar()
    with torch.no_grad():
        assert (theirs(tokens).logits - model(tokens)).abs().max() < 1e-10


@needs_gpt2_tokenizer
@bounded(100)
@given(st.text(max_size=30) | st.text("<|endoft>x\n ' ", max_size=30), st.booleans())
def test_any_text_comes_back_from_gpt2_s_ids(text, bos):
    ids = gpt2().encode(text, bos=bos)
    assert gpt2().decode(ids) == "<|endoftext|>" * bos + text
    assert all(0 <= i < gpt2().vocab_size for i in ids)
    assert bos is False or ids == [gpt2().bos_id, *gpt2().encode(text, bos=False)]
    assert "".join(gpt2().str_tokens(ids)) == gpt2().decode(ids) or "�" in "".join(
        gpt2().str_tokens(ids)
    )


@bounded(80)
@given(st.lists(st.sampled_from(["<bos>", "<pad>", *WORDS]), max_size=8), st.data())
def test_words_come_back_whatever_stands_between_them(words, data):
    tokenizer = WordTokenizer(WORDS)
    text = "".join(
        data.draw(st.sampled_from(["", " ", "\n", "  "])) + " " + data.draw(st.sampled_from(
            [word, word.upper()])) for word in words
    )  # fmt: skip
    if any(f"<{mark}>".upper() in text for mark in ("bos", "pad")):
        with pytest.raises(InputError, match="small model's language"):
            tokenizer.encode(text)
        return
    ids = tokenizer.encode(text, bos=False)
    assert tokenizer.str_tokens(ids) == words and tokenizer.encode(text) == [0, *ids]
    assert tokenizer.encode(tokenizer.decode(ids), bos=False) == ids


@bounded(40)
@given(st.text(max_size=12))
def test_the_words_of_the_language_or_one_sentence(text):
    tokenizer = WordTokenizer(WORDS)
    try:
        ids = tokenizer.encode(text)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert tokenizer.encode(tokenizer.decode(ids), bos=False) == ids


@bounded(20)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join), min_size=1, max_size=4),
    st.booleans(),
)
def test_several_texts_are_padded_on_the_left(texts, bos):
    """Oracle: the texts one by one, and the logits of each alone."""
    tokenizer = WordTokenizer(WORDS)
    model = tiny_model(d_vocab=tokenizer.vocab_size, n_layers=1)
    model.tokenizer = tokenizer
    tokens, real = model.to_tokens(texts, bos=bos)
    rows = [tokenizer.encode(text, bos=bos) for text in texts]
    longest = max(map(len, rows))
    assert tokens.shape == (len(texts), longest)
    assert (real is None) == (len({len(row) for row in rows}) == 1)
    for row, ids in enumerate(rows):
        n_pads = longest - len(ids)
        assert tokens[row].tolist() == [tokenizer.pad_id] * n_pads + ids
        assert real is None or real[row].tolist() == [False] * n_pads + [True] * len(ids)
    if bos:
        logits = model(texts)
        for row, text in enumerate(texts):
            alone = model(text)[0]
            assert (logits[row, -len(alone) :] - alone).abs().max() < 1e-12
