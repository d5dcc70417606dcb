"""Names that are known, random twins of known shapes, and the hash of weights."""

import hashlib
import subprocess
import sys

import pytest
import torch

from interp.core import GPTConfig, HookedGPT
from interp.loading import load_model, model_names, save, weights_hash
from interp.loading.names import FAMILY, family_name, shipped_names

from .conftest import put_into_cache, write_tiny


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("gpt2", "gpt2"),
        ("gpt2-small", "gpt2"),
        ("openai-community/gpt2", "gpt2"),
        ("openai-community/gpt2-xl", "gpt2-xl"),
        ("distilbert/distilgpt2", "distilgpt2"),
        ("gpt2-huge", None),
        ("GPT2", None),
        ("small", None),
    ],
)
def test_spellings_of_the_published_models(spelling, name):
    assert family_name(spelling) == name


@pytest.mark.parametrize(
    ("name", "millions"),
    [("gpt2", 124.439808), ("gpt2-medium", 354.823168), ("gpt2-large", 774.030080),
     ("gpt2-xl", 1557.611200), ("distilgpt2", 81.912576)],
)  # fmt: skip
def test_the_shapes_have_the_published_numbers_of_parameters(name, millions):
    """Radford et al. 2019 as distributed; Sanh et al. 2019 for DistilGPT2."""
    shape = FAMILY[name]
    with torch.device("meta"):
        model = HookedGPT(
            GPTConfig(shape.n_layers, shape.d_model, shape.n_heads, 1024, 50257),
            init=None,
            device="meta",
        )
    assert model.n_params == round(millions * 1e6)
    # float32, and the file's header beside it
    assert shape.download_mb == pytest.approx(model.n_params * 4 / 1e6, rel=0.11)


def test_listing_imports_no_torch():
    code = (
        "import sys; from interp.loading import model_names; "
        "print(*model_names()); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*shipped_names(), *FAMILY]
    assert set(FAMILY) <= set(model_names())


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_models_load_offline(name, no_network):
    model = load_model(name)
    assert (model.name, model.provenance["source"]) == (name, "shipped")
    assert model(torch.tensor([[0, 5, 6]])).shape == (1, 3, model.config.d_vocab)
    if model.tokenizer is not None:  # the trigger task has tokens, but no words for them
        assert model.tokenizer.bos_id == 0
        text = model.tokenizer.decode([5, 6])
        assert model.tokenizer.encode(text, bos=False) == [5, 6]


class TestRandom:
    def test_a_published_shape_needs_no_network(self, hf_home, no_network):
        model = load_model("random:distilgpt2")
        assert model.n_params == 81_912_576
        assert model.name == "random-distilgpt2"
        assert (model.provenance["source"], model.provenance["seed"]) == ("random", 0)
        assert model.tokenizer is None
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())

    def test_the_cached_tokenizer_comes_along(self, tmp_path, hf_home, no_network, monkeypatch):
        from interp.loading import names

        small = names.GPT2Shape(2, 22, 2, ("gpt2", "openai-community/gpt2"), 1)
        monkeypatch.setitem(FAMILY, "gpt2", small)
        write_tiny(tmp_path / "x")
        (tmp_path / "x" / "vocab.json").write_text('{"<|endoftext|>": 0, "a": 1}')
        (tmp_path / "x" / "merges.txt").write_text("#version: 0.2\n")
        put_into_cache(hf_home, "openai-community/gpt2", tmp_path / "x")
        assert load_model("random:gpt2").tokenizer.encode("aa") == [0, 1, 1]

    def test_the_seed_decides(self, tiny_source):
        name = f"random:{tiny_source}"
        first, again, other = (load_model(name, seed=seed) for seed in (0, 0, 1))
        assert weights_hash(first) == weights_hash(again) != weights_hash(other)
        assert first.config == load_model(tiny_source).config
        assert first.tokenizer.encode("w3") == [0, 3]

    def test_the_weights_are_gpt2_s_initial_ones(self, tiny_source):
        """Radford et al. 2019: 0.02, and 0.02 / sqrt(2 * 3 layers) where the stream is written."""
        model = load_model(f"random:{tiny_source}")
        assert float(model.W_E.std()) == pytest.approx(0.02, rel=0.05)
        assert float(model.W_out.std()) == pytest.approx(0.02 / 6**0.5, rel=0.05)
        assert float(model.b_in.abs().max()) == 0.0

    def test_our_own_format_has_random_twins_too(self, tmp_path):
        save(HookedGPT(GPTConfig(2, 22, 2, 13, 31, mask="none")), tmp_path / "own")
        assert load_model(f"random:{tmp_path / 'own'}").config.mask == "none"


class TestHash:
    def model(self, **options):
        return HookedGPT(GPTConfig(2, 22, 2, 13, 31), seed=7, **options)

    def test_it_is_the_sha256_of_names_types_shapes_and_bytes(self):
        """Oracle: the definition, spelt out with NumPy."""
        model = self.model()
        total = hashlib.sha256()
        for name, parameter in sorted(model.named_parameters()):
            values = hashlib.sha256(parameter.detach().numpy().tobytes()).hexdigest()
            shape = tuple(parameter.shape)
            total.update(f"{name} torch.float32 {shape} {values}\n".encode())
        assert weights_hash(model) == total.hexdigest()

    def test_it_sees_one_changed_bit_a_cast_and_a_moved_number(self):
        model = self.model()
        seen = {weights_hash(model)}
        with torch.no_grad():
            model.blocks[1].ln2.b[3] = 1e-45
        seen.add(weights_hash(model))
        with torch.no_grad():
            model.blocks[1].ln2.b[3], model.blocks[1].ln2.b[4] = 0.0, 1e-45
        seen.add(weights_hash(model))
        seen.add(weights_hash(model.double()))
        assert len(seen) == 4

    def test_it_does_not_see_the_memory_layout(self):
        model = HookedGPT(GPTConfig(2, 22, 2, 13, 31, tied=False), seed=7)
        before = weights_hash(model)
        model.unembed.W_U.data = model.unembed.W_U.data.T.contiguous().T
        assert not model.unembed.W_U.is_contiguous()
        assert weights_hash(model) == before

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
    def test_it_does_not_see_the_device(self):
        assert weights_hash(self.model(device="cuda")) == weights_hash(self.model())
