"""Oracles: `nn.Transformer` with the same weights, one head as a NumPy loop, sums by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles.tiny import LOUD
from oracles.torch_transformer import torch_logits

from interp.core import (
    EncoderDecoderConfig,
    HookedEncoderDecoder,
    HookedGPT,
    InputError,
    open_cache,
)

# A distinct prime for every axis; PyTorch wants d_model = n_heads * d_head.
SHAPE = {
    "n_encoder_layers": 2,
    "n_decoder_layers": 3,
    "n_heads": 5,
    "d_model": 35,
    "d_mlp": 29,
    "n_ctx": 19,
    "d_vocab_source": 31,
    "d_vocab_target": 37,
}
BATCH, SOURCE, TARGET = 2, 13, 11
CROSS = "decoder.blocks.1.cross_attn"


def tiny(dtype=torch.float64, seed=0, **changes):
    """A loud random model whose norms and biases are random too."""
    config = EncoderDecoderConfig(**(SHAPE | changes))
    model = HookedEncoderDecoder(config, dtype=dtype, seed=seed, init=LOUD)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.split(".")[-1].startswith("b") or name.endswith(".w"):
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=dtype)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture(scope="module")
def tokens():
    generator = torch.Generator().manual_seed(3)
    source = torch.randint(0, SHAPE["d_vocab_source"], (BATCH, SOURCE), generator=generator)
    target = torch.randint(0, SHAPE["d_vocab_target"], (BATCH, TARGET + 1), generator=generator)
    return source, target


@pytest.fixture(scope="module")
def cache(model, tokens):
    source, target = tokens
    return model.run_with_cache(source, target[:, :-1], lambda name: True)[1]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_loss_is_that_of_pytorchs_own_transformer(tokens, dtype, tolerance):
    """The bar: 1e-5; in float64 1e-10 for every single token."""
    model, (source, target) = tiny(dtype), tokens
    theirs = torch_logits(model, source, target[:, :-1])
    losses = F.cross_entropy(theirs.flatten(0, 1), target[:, 1:].flatten(), reduction="none")
    assert abs(float(model.loss(source, target) - losses.mean())) <= tolerance
    per_token = model.loss(source, target, per_token=True).flatten()
    assert float((per_token - losses).abs().max()) <= 20 * tolerance
    assert losses.mean() > 1  # loud weights: nothing agrees by being small


@pytest.mark.parametrize("side", ["right", "left"])
def test_pads_of_the_source_change_nothing(model, tokens, side):
    source, target = tokens
    short = torch.ones_like(source, dtype=torch.bool)
    short[1, -4:] = False
    if side == "left":
        short, source = short.flip(1), source.roll(4, 1)
    ours = model(source, target[:, :-1], source_mask=short)
    theirs = torch_logits(model, source, target[:, :-1], short)
    assert float((ours - theirs).abs().max()) < 1e-9
    alone = model(source[1:, short[1]], target[1:, :-1])
    assert float((ours[1:] - alone).abs().max()) < 1e-9
    assert float((ours - model(source, target[:, :-1])).abs().max()) > 1e-3


def test_a_cross_pattern_is_the_softmax_of_decoder_queries_and_encoder_keys(model, cache):
    """One head by hand: queries from the decoder's stream, keys from the memory, over sqrt(7)."""
    block, head = model.decoder.blocks[1], 3
    ln = block.ln2
    stream = cache["decoder.blocks.1.hook_resid_mid"].numpy()
    memory = cache["encoder.hook_memory"].numpy()
    w = {name: getattr(block.cross_attn, name)[head].numpy() for name in ("W_Q", "W_K", "W_V")}
    b = {name: getattr(block.cross_attn, name)[head].numpy() for name in ("b_Q", "b_K", "b_V")}
    pattern = cache[f"{CROSS}.hook_pattern"]
    assert pattern.shape == (BATCH, SHAPE["n_heads"], TARGET, SOURCE)
    for row, place in ((0, 0), (1, 7)):
        x = stream[row, place]
        normal = (x - x.mean()) / np.sqrt(x.var() + model.config.eps)
        query = (normal * ln.w.numpy() + ln.b.numpy()) @ w["W_Q"] + b["b_Q"]
        scores = [query @ (one @ w["W_K"] + b["b_K"]) / np.sqrt(7) for one in memory[row]]
        weights = np.exp(scores) / np.exp(scores).sum()
        assert np.abs(pattern[row, head, place].numpy() - weights).max() < 1e-12
        mixed = sum(
            weight * (one @ w["W_V"] + b["b_V"])
            for weight, one in zip(weights, memory[row], strict=True)
        )
        assert np.abs(cache[f"{CROSS}.hook_z"][row, place, head].numpy() - mixed).max() < 1e-12


@pytest.mark.parametrize("names", [None, lambda name: "cross_attn" in name, "encoder.hook_memory"])
@pytest.mark.parametrize("pads", [False, True])
def test_a_cache_on_disk_is_the_one_in_memory(model, tmp_path, names, pads):
    """Seven rows in files of three; the last is not full."""
    generator = torch.Generator().manual_seed(4)
    source = torch.randint(0, SHAPE["d_vocab_source"], (7, SOURCE), generator=generator)
    target = torch.randint(0, SHAPE["d_vocab_target"], (7, TARGET), generator=generator)
    how = {"source_mask": torch.arange(SOURCE) < torch.arange(7)[:, None] + 5} if pads else {}
    logits, cache = model.run_with_cache(source, target, names, **how)
    kept = {"to": tmp_path / "c", "batch_size": 3}
    nothing, stored = model.run_with_cache(source, target, names, **kept, **how)
    assert nothing is None
    assert len(list((tmp_path / "c").glob("*.safetensors"))) == 3
    assert set(stored) == {*cache, "source", "target", "logits", *how}
    for name in cache:
        torch.testing.assert_close(stored[name], cache[name], rtol=0, atol=1e-11)
        part = stored.prompts(2, 5)[name]
        torch.testing.assert_close(part, cache[name][2:5], rtol=0, atol=1e-11)
    torch.testing.assert_close(stored["logits"], logits, rtol=0, atol=1e-11)
    assert torch.equal(stored["source"], source) and torch.equal(stored["target"], target)
    assert not pads or torch.equal(stored["source_mask"], how["source_mask"])
    assert open_cache(tmp_path / "c").facts["config"] == model.config.to_dict()


def test_sources_and_targets_on_disk_must_belong_together(model, tokens, tmp_path, no_type_checks):
    source, target = tokens
    for rows in (source[:1], source[:0]):
        with pytest.raises(InputError, match="as many rows, but source"):
            model.run_with_cache(rows, target[: len(rows) * 2], to=tmp_path / "c")
    with pytest.raises(InputError, match="at least one True"):
        no_mask = torch.zeros_like(source, dtype=torch.bool)
        model.run_with_cache(source, target[:, :-1], to=tmp_path / "c", source_mask=no_mask)
    with pytest.raises(InputError, match="no cache was written"):
        open_cache(tmp_path / "c")


def test_nothing_masks_the_source(cache):
    for layer in range(3):
        pattern = cache[f"decoder.blocks.{layer}.cross_attn.hook_pattern"]
        assert bool((pattern > 0).all())
        assert float((pattern.sum(-1) - 1).abs().max()) < 1e-12
        scores = cache[f"decoder.blocks.{layer}.cross_attn.hook_attn_scores"]
        assert bool(torch.isfinite(scores).all())
    for layer in range(2):
        assert bool((cache[f"encoder.blocks.{layer}.attn.hook_pattern"] > 0).all())
    own = cache["decoder.blocks.0.attn.hook_pattern"]
    earlier = torch.ones(TARGET, TARGET, dtype=torch.bool).tril()
    assert torch.equal(own > 0, earlier.expand_as(own))


def test_who_reaches_whom(model, tokens):
    """A source token reaches everything; a target token nothing before it, exactly."""
    source, target = tokens[0][:1], tokens[1][:1, :-1]
    memory, logits = model.encode(source), model(source, target)
    for place in range(SOURCE):
        other = source.clone()
        other[0, place] = (other[0, place] + 1) % SHAPE["d_vocab_source"]
        assert bool(((model.encode(other) - memory).abs().amax(-1) > 0).all())
        assert bool(((model(other, target) - logits).abs().amax(-1) > 0).all())
    for place in range(TARGET):
        other = target.clone()
        other[0, place] = (other[0, place] + 1) % SHAPE["d_vocab_target"]
        change = (model(source, other) - logits)[0].abs().amax(-1)
        assert bool((change[:place] == 0).all()) and bool((change[place:] > 0).all())


def test_the_stream_is_the_sum_of_what_is_written(cache):
    for layer in range(3):
        at = lambda short, layer=layer: cache[f"decoder.blocks.{layer}.hook_{short}"]  # noqa: E731
        assert torch.allclose(at("resid_pre") + at("attn_out"), at("resid_mid"), atol=1e-12)
        both = at("resid_mid") + at("cross_attn_out")
        assert torch.allclose(both, at("resid_mid_cross"), atol=1e-12)
        after = at("resid_mid_cross") + at("mlp_out")
        assert torch.allclose(after, at("resid_post"), atol=1e-12)


def test_heads_sum_to_what_cross_attention_writes(model, cache):
    summed = cache[f"{CROSS}.hook_result"].sum(2) + model.decoder.blocks[1].cross_attn.b_O
    written = cache["decoder.blocks.1.hook_cross_attn_out"]
    assert float((summed - written).abs().max()) < 1e-12


def test_every_hook_point_is_reached_in_the_order_of_its_name(model, cache):
    assert list(cache) == model.hook_names
    assert len(set(model.hook_names)) == len(model.hook_names)
    sides = [name.split(".")[0] for name in model.hook_names]
    assert sides == sorted(sides, reverse=True)  # the encoder first
    assert {f"{CROSS}.hook_{s}" for s in ("q", "k", "v", "attn_scores", "z")} <= set(cache)


def test_a_hook_on_keys_from_elsewhere_changes_the_pattern_and_goes_away(model, tokens):
    source, target = tokens[0], tokens[1][:, :-1]
    before = model(source, target)

    def equal_keys(k, hook):
        return k[:, :1].expand_as(k)

    seen = {}
    name = f"{CROSS}.hook_pattern"
    hooks = [(f"{CROSS}.hook_k", equal_keys), (name, lambda p, hook: seen.update({hook.name: p}))]
    changed = model.run_with_hooks(source, target, hooks)
    assert float((seen[name] - 1 / SOURCE).abs().max()) < 1e-12  # equal keys, equal weights
    assert float((changed - before).abs().max()) > 1e-6
    assert torch.equal(model(source, target), before)


def test_decoding_from_another_memory_is_translating_its_source(model, tokens):
    source, target = tokens[0], tokens[1][:, :-1]
    swapped = model.encode(source.flip(0))
    assert torch.equal(model.decode(target, swapped), model(source.flip(0), target))


def test_greedy_writes_the_likeliest_word_each_time(model, tokens):
    source = tokens[0]
    written = model.greedy(source, bos_id=0, max_new_tokens=5)
    target = torch.zeros(BATCH, 1, dtype=torch.long)
    for _ in range(5):
        best = model(source, target)[:, -1].argmax(-1)
        target = torch.cat([target, best[:, None]], 1)
    assert torch.equal(written, target[:, 1:])


def test_the_same_seed_gives_the_same_weights():
    one, two, other = (
        HookedEncoderDecoder(EncoderDecoderConfig(**SHAPE), seed=s) for s in (0, 0, 1)
    )
    for (name, a), b, c in zip(
        one.named_parameters(), two.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(a, b)
        assert a.ndim == 1 or not torch.equal(a, c), name
        assert bool(torch.isfinite(a).all())


def test_a_config_survives_json():
    config = EncoderDecoderConfig(**SHAPE)
    assert EncoderDecoderConfig.from_dict(config.to_dict()) == config
    assert config.d_head == 7 and not isinstance(tiny(), HookedGPT)
    with pytest.raises(InputError, match="does not fit"):
        EncoderDecoderConfig.from_dict({"n_layers": 2})
    with pytest.raises(InputError, match="n_heads"):
        EncoderDecoderConfig(**(SHAPE | {"n_heads": 0}))


def test_calls_that_do_not_fit_are_told_in_one_sentence(model, tokens, no_type_checks):
    source, target = tokens
    with pytest.raises(InputError, match="2 rows, but the memory 1"):
        model.decode(target, model.encode(source[:1]))
    with pytest.raises(InputError, match="at least one True"):
        model(source, target, source_mask=torch.zeros_like(source, dtype=torch.bool))
    with pytest.raises(InputError, match="n_ctx=19"):
        model(source, torch.zeros(BATCH, 20, dtype=torch.long))
    with pytest.raises(InputError, match="outside the vocabulary"):
        model(source + 30, target)
    with pytest.raises(InputError, match=r"cross_attn\.hook_pattern"):
        model.run_with_cache(source, target, "decoder.blocks.1.cross_attn.pattern")
    with pytest.raises(InputError, match="no tokenizers"):
        model.translate("the dog")
