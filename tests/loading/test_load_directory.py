"""Directories in Hugging Face's format; the oracle is transformers on the same files."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from interp.core import InputError
from interp.loading import load_model

from .conftest import TINY, write_tiny


def rewrite(directory, change):
    """Apply `change` to the tensors of a checkpoint."""
    path = directory / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(change(tensors), path, metadata={"format": "pt"})


def edit_config(directory, **fields):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_logits_are_those_of_transformers(tiny, tokens):
    theirs = GPT2LMHeadModel.from_pretrained(tiny, dtype=torch.float64).eval()
    ours = load_model(tiny, dtype=torch.float64)
    torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-10, rtol=0)


def test_the_model_is_frozen_and_in_eval_mode(tiny):
    model = load_model(str(tiny))
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_neither_transformers_nor_transformer_lens_is_imported(tiny):
    code = (
        "import sys; from interp.loading import load_model; "
        f"model = load_model({str(tiny)!r}); model('w3 w4'); "
        "heavy = {'transformers', 'transformer_lens', 'huggingface_hub', 'pandas', 'matplotlib'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_names_come_from_the_directory_and_from_what_was_saved(tiny):
    assert load_model(tiny).name == "tiny"
    edit_config(tiny, interp={"name": "my-model", "processing": ["fold_ln"]})
    model = load_model(tiny)
    assert (model.name, model.processing) == ("my-model", ("fold_ln",))


def test_provenance_says_where_the_weights_came_from(tiny):
    edit_config(tiny, my_own_note=3)
    provenance = load_model(tiny).provenance
    assert provenance["source"] == "directory"
    assert provenance["path"] == str(tiny)
    assert provenance["stored_dtype"] == "F32"
    assert provenance["unused_config_fields"] == ["my_own_note"]
    assert len(provenance["weights_sha256"]) == 64
    assert "<bos>" in provenance["bos_policy"]
    assert json.loads(json.dumps(provenance)) == provenance


@pytest.mark.parametrize("stored", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("asked", [torch.float32, torch.float64, torch.bfloat16])
def test_stored_weights_are_cast_once(tiny, tokens, stored, asked):
    rewrite(tiny, lambda tensors: {name: t.to(stored) for name, t in tensors.items()})
    model = load_model(tiny, dtype=asked)
    expected = load_file(tiny / "model.safetensors")["transformer.wpe.weight"].to(asked)
    assert torch.equal(model.W_pos, expected)
    assert model(tokens).dtype == asked


def test_names_without_prefix_and_mask_buffers_are_known(tiny, tokens):
    """The published GPT-2 has bare names and carries its causal masks along."""
    expected = load_model(tiny)(tokens)

    def as_published(tensors):
        bare = {name.removeprefix("transformer."): t for name, t in tensors.items()}
        masks = {f"h.{layer}.attn.bias": torch.ones(1, 1, 37, 37).tril() for layer in range(3)}
        return bare | masks | {"h.0.attn.masked_bias": torch.tensor(-1e4)}

    rewrite(tiny, as_published)
    assert torch.equal(load_model(tiny)(tokens), expected)


def test_shards_are_put_together(tiny, tokens):
    expected = load_model(tiny)(tokens)
    theirs = GPT2LMHeadModel.from_pretrained(tiny)
    (tiny / "model.safetensors").unlink()
    theirs.save_pretrained(tiny, max_shard_size="100KB")
    assert len(list(tiny.glob("model-*.safetensors"))) > 2
    assert torch.equal(load_model(tiny)(tokens), expected)


def test_a_tied_checkpoint_may_hold_its_matrix_twice_or_under_the_other_name(tiny, tokens):
    expected = load_model(tiny)(tokens)
    wte = "transformer.wte.weight"
    rewrite(tiny, lambda tensors: tensors | {"lm_head.weight": tensors[wte].clone()})
    assert torch.equal(load_model(tiny)(tokens), expected)
    rewrite(tiny, lambda tensors: {name: t for name, t in tensors.items() if name != wte})
    model = load_model(tiny)
    assert torch.equal(model(tokens), expected)
    assert model.config.tied


def test_a_tie_that_the_numbers_contradict_is_refused(tiny):
    rewrite(
        tiny, lambda tensors: tensors | {"lm_head.weight": tensors["transformer.wte.weight"] + 1}
    )
    with pytest.raises(InputError, match="tie_word_embeddings"):
        load_model(tiny)


def test_untied_weights_match_transformers(tmp_path, tokens):
    theirs = write_tiny(tmp_path / "untied", tie_word_embeddings=False).double()
    model = load_model(tmp_path / "untied", dtype=torch.float64)
    assert not model.config.tied
    torch.testing.assert_close(model(tokens), theirs(tokens).logits, atol=1e-10, rtol=0)


def test_the_file_may_change_or_vanish_afterwards(tiny, tokens):
    model = load_model(tiny)
    expected = model(tokens)
    path = tiny / "model.safetensors"
    with open(path, "r+b") as file:
        file.seek(5000)
        file.write(b"\xff" * 100_000)
        file.truncate(120_000)
    assert torch.equal(model(tokens), expected)


def test_the_model_may_be_edited_in_place(tiny):
    model = load_model(tiny)
    with torch.no_grad():
        model.blocks[0].attn.W_Q.zero_()
    assert float(model.W_Q[0].abs().max()) == 0.0
    assert float(load_model(tiny).W_Q[0].abs().max()) > 0.0


def test_a_directory_without_a_tokenizer_takes_ids_only(tmp_path, tokens):
    write_tiny(tmp_path / "bare")
    model = load_model(tmp_path / "bare")
    assert model.tokenizer is None
    assert model(tokens).shape == (7, 31, 211)
    with pytest.raises(InputError, match="tokenizer"):
        model("w3 w4")


def test_a_tokenizer_larger_than_the_model_is_refused(tiny):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    tokenizer.add_tokens(["one-too-many"])
    tokenizer.save(str(tiny / "tokenizer.json"))
    with pytest.raises(InputError, match="212 tokens"):
        load_model(tiny)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gpt3", "gpt2"),
        ("gpt2-smal", "gpt2-small"),
        ("", "no model"),
        ("./nowhere", "no model"),
        ("../nowhere", "no model"),
        ("/nowhere/at/all", "no model"),
        ("~no-such-user/x", "no model"),
        ("gpt2\0", "no model"),
        ("g" * 5000, "no model"),
        ("owner/name/more", "no model"),
        ("owner/..", "no model"),
        ("random:gpt5", "no known shape"),
        ("random:", "no known shape"),
    ],
)
def test_unknown_names_say_what_is_known(name, says, no_network):
    with pytest.raises(InputError, match=says):
        load_model(name)


@pytest.mark.parametrize("name", [None, 3, b"gpt2", ["gpt2"], object()])
def test_other_things_are_no_models(name):
    with pytest.raises(InputError, match="TransformerBridge"):
        load_model(name)


def test_a_file_is_no_directory(tiny):
    with pytest.raises(InputError, match="is no directory"):
        load_model(tiny / "config.json")
    with pytest.raises(InputError, match="does not exist"):
        load_model(tiny / "nothing")


def test_wrong_device_dtype_and_revision_are_named(tiny):
    with pytest.raises(InputError, match="not a device"):
        load_model(tiny, device="abacus")
    with pytest.raises(InputError, match="float16"):
        load_model(tiny, dtype=torch.float16)
    with pytest.raises(InputError, match="int64"):
        load_model(tiny, dtype=torch.int64)
    with pytest.raises(InputError, match="revision"):
        load_model(tiny, revision="main")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU"):
            load_model(tiny, device="cuda")
    assert load_model(tiny, device="auto").embed.W_E.device.type in ("cpu", "cuda")


def test_the_config_s_sizes_reach_the_model(tiny):
    config = load_model(tiny).config
    sizes = (config.n_layers, config.n_heads, config.d_head, config.d_mlp, config.n_ctx)
    assert sizes == (TINY["n_layer"], TINY["n_head"], 11, TINY["n_inner"], TINY["n_positions"])
