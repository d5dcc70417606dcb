"""What is saved is read back here, in transformers and in TransformerLens."""

import json
import os

import pytest
import torch
from safetensors import SafetensorError, safe_open

from interp.core import GPTConfig, HookedGPT, InputError, RunError
from interp.core.processing import center_writing_weights, fold_ln
from interp.loading import load_model, save, weights_hash

from .conftest import GPT2_TOKENIZER, needs_gpt2_tokenizer

SIZES = {"n_layers": 3, "d_model": 55, "n_heads": 5, "n_ctx": 37, "d_vocab": 211, "d_mlp": 101}
TINY = GPTConfig(**SIZES)


def random_model(**changes):
    """Every parameter random, so that none can be lost unnoticed."""
    config = GPTConfig(**(SIZES | changes))
    model = HookedGPT(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    model.name = "random-tiny"
    return model.eval()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": False},
        {"activation": "relu", "eps": 0.25, "scale_by_inverse_layer": True},
        {"activation": "gelu", "d_mlp": 220, "attn_scale": False},
    ],
)
def test_transformers_computes_the_same(tmp_path, tokens, changes):
    from transformers import GPT2LMHeadModel

    model = random_model(**changes).double()
    save(model, tmp_path / "saved")
    theirs, report = GPT2LMHeadModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.dtype == torch.float64
    torch.testing.assert_close(theirs.eval()(tokens).logits, model(tokens), atol=1e-10, rtol=0)


def test_transformers_saves_the_same_file(tmp_path):
    """Oracle: GPT2LMHeadModel.save_pretrained on the same weights."""
    from transformers import GPT2LMHeadModel

    save(random_model(), tmp_path / "ours")
    GPT2LMHeadModel.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    contents = []
    for side in ("ours", "theirs"):
        with safe_open(tmp_path / side / "model.safetensors", "pt") as file:
            contents.append(({n: file.get_tensor(n) for n in file.keys()}, file.metadata()))  # noqa: SIM118
    (ours, our_notes), (theirs, their_notes) = contents
    assert our_notes == their_notes == {"format": "pt"}
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_comes_back_bit_for_bit(tmp_path, dtype):
    model = random_model().to(dtype)
    save(model, tmp_path / "saved")
    again = load_model(tmp_path / "saved", dtype=dtype)
    assert weights_hash(again) == weights_hash(model)
    assert (again.config, again.name) == (model.config, "random-tiny")
    # And the same model gives the same bytes.
    save(again, tmp_path / "again")
    for path in (tmp_path / "saved").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "post"},
        {"norm": "none"},
        {"positions": "none"},
        {"positions": "sinusoidal", "d_model": 60},
        {"mask": "none"},
        {"mask": ("causal", "window:8+1", ("none", "causal", "prefix:5", "causal", "window:3"))},
        {"d_mlp": 0},
        {"unembed_bias": True, "tied": False},
        {"d_head": 7},
    ],
)
def test_what_gpt2_cannot_express_is_saved_in_our_own_format(tmp_path, tokens, changes):
    model = random_model(**changes)
    save(model, tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["model_type"] == "interp-gpt"
    again = load_model(tmp_path / "saved")
    assert again.config == model.config
    assert torch.equal(again(tokens), model(tokens))


def test_processing_is_kept(tmp_path, tokens):
    model = center_writing_weights(fold_ln(random_model()))
    save(model, tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    assert again.processing == model.processing == ("fold_ln", "center_writing_weights")
    assert again.provenance["processing"] == ["fold_ln", "center_writing_weights"]
    assert torch.equal(again(tokens), model(tokens))


def test_a_loaded_checkpoint_goes_round(tiny_source, tmp_path, tokens):
    """transformers -> here -> TransformerLens and transformers' tokenizer."""
    from transformer_lens import TransformerBridge
    from transformers import AutoTokenizer

    model = load_model(tiny_source)
    save(model, tmp_path / "saved")
    bridge = TransformerBridge.boot_transformers(str(tmp_path / "saved"), device="cpu")
    torch.testing.assert_close(bridge(tokens).detach(), model(tokens), atol=1e-4, rtol=0)
    assert bridge.to_tokens("w3 w4")[0].tolist() == model.tokenizer.encode("w3 w4")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert theirs("w3 w4")["input_ids"] == [3, 4]
    assert (theirs.bos_token_id, theirs.pad_token_id) == (0, 1)


def test_the_language_s_own_tokenizer_goes_round(tmp_path):
    from transformer_lens import TransformerBridge
    from transformers import AutoTokenizer

    from interp.corpus.tokenizer import WordTokenizer

    # TransformerLens asks every tokenizer for "a" when it boots.
    words = ["a", *(f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(208))]
    tokenizer = WordTokenizer(words)
    model = random_model()
    model.tokenizer = tokenizer
    save(model, tmp_path / "saved")
    again = load_model(tmp_path / "saved").tokenizer
    assert type(again) is WordTokenizer
    assert again.encode("wab waa") == tokenizer.encode("wab waa") == [0, 4, 3]
    assert AutoTokenizer.from_pretrained(tmp_path / "saved")("wab waa")["input_ids"] == [0, 4, 3]
    bridge = TransformerBridge.boot_transformers(str(tmp_path / "saved"), device="cpu")
    assert bridge.to_tokens("wab waa")[0].tolist() == [0, 4, 3]
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (config["bos_token_id"], config["pad_token_id"]) == (0, 1)


@needs_gpt2_tokenizer
def test_gpt2_s_tokenizer_goes_round_with_the_model(tmp_path):
    from transformers import AutoTokenizer

    from interp.loading import TextTokenizer

    model = random_model(d_vocab=50257, d_model=5)
    model.tokenizer = TextTokenizer.from_directory(GPT2_TOKENIZER, gpt2=True)
    save(model, tmp_path / "saved")
    again = load_model(tmp_path / "saved").tokenizer
    assert again.encode("Hello, world!") == [50256, 15496, 11, 995, 0]
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert theirs("Hello, world!")["input_ids"] == [15496, 11, 995, 0]
    written = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert written["eos_token_id"] == 50256


def test_an_existing_model_is_not_overwritten_unasked(tmp_path):
    first, second = random_model(), random_model(activation="relu")
    save(first, tmp_path / "saved")
    with pytest.raises(InputError, match="overwrite=True"):
        save(second, tmp_path / "saved")
    assert load_model(tmp_path / "saved").config == first.config
    save(second, tmp_path / "saved", overwrite=True)
    assert load_model(tmp_path / "saved").config == second.config
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_an_empty_directory_may_be_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    save(random_model(), tmp_path / "empty")
    assert load_model(tmp_path / "empty").config == TINY


def test_a_directory_with_other_things_is_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        save(random_model(), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    with pytest.raises(InputError, match="no directory"):
        save(random_model(), tmp_path / "thesis.tex", overwrite=True)


# safetensors has an error of its own for a disk that refuses.
@pytest.mark.parametrize("error", [OSError(28, "No space left"), SafetensorError("No space left")])
@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_the_old_model_whole(tmp_path, monkeypatch, existing, error):
    if existing:
        save(random_model(), tmp_path / "saved")

    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr("interp.loading.writing.save_file", full)
    with pytest.raises(RunError, match="No space left"):
        save(random_model(activation="relu"), tmp_path / "saved", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == (["saved"] if existing else [])
    if existing:
        assert load_model(tmp_path / "saved").config == TINY


def test_a_failed_move_puts_the_old_model_back(tmp_path, monkeypatch):
    save(random_model(), tmp_path / "saved")
    rename, calls = os.rename, []

    def fail_second(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_second)
    with pytest.raises(RunError, match="Input/output"):
        save(random_model(activation="relu"), tmp_path / "saved", overwrite=True)
    assert load_model(tmp_path / "saved").config == TINY
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = random_model()
    with torch.no_grad():
        model.blocks[1].mlp.b_in[3] = torch.inf
    with pytest.raises(InputError, match=r"blocks\.1\.mlp\.b_in"):
        save(model, tmp_path / "saved")
    assert not any(tmp_path.iterdir())
