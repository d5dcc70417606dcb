"""Live bridges: whatever weights they have now are the weights we get."""

import json
import subprocess
import sys

import pytest
import torch

from interp.core import InputError
from interp.loading import load_model

from .conftest import write_tiny, write_word_tokenizer


def boot(directory, **options):
    from transformer_lens import TransformerBridge

    return TransformerBridge.boot_transformers(str(directory), device="cpu", **options)


@pytest.fixture
def bridge(tiny_source):
    return boot(tiny_source)


@torch.no_grad()
def log_probs(model, tokens):
    return model(tokens).log_softmax(-1)


def test_a_raw_bridge_gives_the_checkpoint(bridge, tiny_source, tokens):
    model = load_model(bridge)
    from_files = load_model(tiny_source)
    assert torch.equal(model(tokens), from_files(tokens))
    assert model.processing == ()
    assert model.config == from_files.config
    facts = model.provenance
    assert (facts["source"], facts["bridge"]) == ("bridge", str(tiny_source))
    assert facts["weights_sha256"] == from_files.provenance["weights_sha256"]
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_its_tokenizer_comes_along(bridge):
    tokenizer = load_model(bridge).tokenizer
    assert tokenizer.encode("w3 w4") == [0, 3, 4] == bridge.to_tokens("w3 w4")[0].tolist()
    assert (tokenizer.bos_id, tokenizer.pad_id) == (0, 1)


def test_weights_are_copied(bridge, tokens):
    """Compared with numbers that were taken before anything was edited."""
    model = load_model(bridge)
    ours, theirs = model(tokens).clone(), bridge(tokens).detach().clone()
    with torch.no_grad():
        model.embed.W_E.mul_(2)
        model.blocks[1].attn.W_Q.zero_()
    assert torch.equal(bridge(tokens), theirs)
    again = load_model(bridge)
    with torch.no_grad():
        bridge.blocks[1].attn.W_Q.zero_()
        bridge.W_E.mul_(2)
    assert torch.equal(again(tokens), ours)
    assert not torch.equal(bridge(tokens), theirs)


def test_an_edit_of_the_bridge_is_taken_over(bridge, tokens):
    with torch.no_grad():
        bridge.blocks[1].attn.W_V[2].mul_(3)
        bridge.blocks[2].mlp.W_in.mul_(0.5)
    torch.testing.assert_close(log_probs(load_model(bridge), tokens), log_probs(bridge, tokens))


@pytest.mark.parametrize(
    ("switched_off", "expected"),
    [
        (None, ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")),
        ("fold_ln", ("center_writing_weights", "center_unembed", "fold_value_biases")),
        ("center_writing_weights", ("fold_ln", "center_unembed", "fold_value_biases")),
        ("center_unembed", ("fold_ln", "center_writing_weights", "fold_value_biases")),
        ("fold_value_biases", ("fold_ln", "center_writing_weights", "center_unembed")),
    ],
)
def test_processed_weights_are_taken_as_they_are_and_recorded(
    bridge, tiny_source, tokens, switched_off, expected
):
    bridge.enable_compatibility_mode(**({switched_off: False} if switched_off else {}))
    model = load_model(bridge)
    assert model.processing == expected
    assert model.provenance["processing"] == list(expected)
    torch.testing.assert_close(model(tokens), bridge(tokens), atol=1e-4, rtol=0)
    raw = log_probs(load_model(tiny_source), tokens)
    torch.testing.assert_close(log_probs(model, tokens), raw, atol=1e-4, rtol=0)
    torch.testing.assert_close(model.W_Q, bridge.W_Q.detach())
    torch.testing.assert_close(model.b_V, bridge.b_V.detach())
    torch.testing.assert_close(model.W_U, bridge.W_U.detach())


def test_compatibility_mode_without_processing_changes_nothing(bridge, tiny_source, tokens):
    bridge.enable_compatibility_mode(no_processing=True)
    model = load_model(bridge)
    assert model.processing == ()
    assert torch.equal(model(tokens), load_model(tiny_source)(tokens))


def test_an_untied_bridge(tmp_path, tokens):
    write_tiny(tmp_path / "untied", tie_word_embeddings=False)
    write_word_tokenizer(tmp_path / "untied")
    model = load_model(boot(tmp_path / "untied"))
    assert not model.config.tied
    assert torch.equal(model(tokens), load_model(tmp_path / "untied")(tokens))


def test_dtype_and_name(bridge, tiny_source, tokens):
    model = load_model(bridge, dtype=torch.float64)
    assert torch.equal(model(tokens), load_model(tiny_source, dtype=torch.float64)(tokens))
    assert model.name == "tiny"


def test_numbers_that_are_not_finite_are_named(bridge):
    with torch.no_grad():
        bridge.blocks[2].mlp.W_out[3, 5] = torch.nan
    with pytest.raises(InputError, match=r"blocks\.2\.mlp\.W_out"):
        load_model(bridge)


def test_a_bridge_of_another_architecture_is_refused_by_name(tmp_path):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=211, hidden_size=22, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=31, max_position_embeddings=37,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(tmp_path)
    write_word_tokenizer(tmp_path)
    with pytest.raises(InputError, match="GPTNeoXForCausalLM"):
        load_model(boot(tmp_path))


def test_a_config_that_the_library_refuses_is_refused_in_a_bridge_too(tiny):
    path = tiny / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"activation_function": "silu"}))
    with pytest.raises(InputError, match="activation_function='silu'"):
        load_model(boot(tiny))


def test_without_transformer_lens_the_message_says_what_is_needed(tiny_source, tmp_path):
    """A module of that name that cannot be imported stands in for one that is not installed."""
    code = (
        "import sys; sys.modules['transformer_lens'] = None\n"
        "import torch; from pathlib import Path\n"
        "from interp.loading.transformerlens import boot\n"
        "from interp.core.errors import RunError\n"
        f"try: boot(Path({str(tiny_source)!r}), torch.float32)\n"
        "except RunError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "transformer-lens>=4.3,<5" in done.stdout
