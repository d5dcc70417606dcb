"""Any cell of any sweep on any model is one hooked run of that model, under any mask."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.strategies import SEEDS, bounded, models, tokens_for

from interp.measures import patching
from interp.measures.pairs import Pairs

LINEAR = st.sampled_from(["pre", "none"])


@st.composite
def setups(draw, **fixed):
    """A model whose stream is a sum, prompts that differ somewhere, answers and where."""
    model = draw(models(norm=draw(LINEAR), residual=True, **fixed))
    vocab = model.config.d_vocab
    clean = draw(tokens_for(model, pos=(2, 6)))
    n, n_pos = clean.shape
    differs = np.random.default_rng(draw(SEEDS)).random((n, n_pos)) < 0.4
    differs[np.arange(n), draw(st.integers(0, n_pos - 1))] = True
    corrupted = (clean + torch.from_numpy(differs)) % vocab
    if draw(st.booleans()):
        clean, corrupted = corrupted, clean
    correct, incorrect = (
        torch.randint(vocab, (n,), generator=torch.Generator().manual_seed(draw(SEEDS)))
        for _ in range(2)
    )
    at = draw(st.integers(0, n_pos - 1))
    return model, (clean, corrupted), (correct, incorrect, at)


def value(logits, answers):
    """The logit difference of each prompt."""
    correct, incorrect, at = answers
    row = torch.arange(len(logits))
    return logits[row, at, correct] - logits[row, at, incorrect]


def runs(prompts, direction):
    """The prompts that are patched, and those that the patch comes from."""
    return prompts[::-1] if direction == "denoise" else prompts


def some_rows(data, frame):
    """A few rows, anywhere."""
    places = data.draw(st.lists(st.integers(0, len(frame) - 1), min_size=1, max_size=4))
    return frame.iloc[places].itertuples()


def close(found, expected, scale):
    """Without norms logits grow to thousands, and rounding with them."""
    return abs(found - float(expected)) < 1e-9 * max(1.0, float(scale))


DIRECTIONS = st.sampled_from(["denoise", "noise"])


@bounded(25)
@given(st.data())
def test_any_residual_cell_is_one_hooked_run(data):
    model, prompts, answers = data.draw(setups())
    sites = [s for s in patching.RESIDUAL_SITES
             if not model.config.attn_only or s not in ("resid_mid", "mlp_out")]  # fmt: skip
    site, direction = data.draw(st.sampled_from(sites)), data.draw(DIRECTIONS)
    base, source = runs(prompts, direction)
    frame = patching.patch_residual(
        model, Pairs(*prompts), [patching.logit_diff(*answers)], site=site, direction=direction,
        per_prompt=True, memory_mib=data.draw(st.sampled_from([0.001, 256.0])),
    )  # fmt: skip
    logits, cache = model.run_with_cache(source)
    assert len(frame) == model.config.n_layers * base.numel()
    for row in some_rows(data, frame):
        name = f"blocks.{row.layer}.hook_{site}"

        def put(activation, hook, name=name, pos=row.pos):
            activation[:, pos] = cache[name][:, pos]

        expected = value(model.run_with_hooks(base, [(name, put)]), answers)[row.prompt]
        assert close(row.value, expected, logits.abs().max())
        own = value(model(base), answers)[row.prompt]
        assert close(row.effect, expected - own, logits.abs().max())


@bounded(25)
@given(st.data())
def test_any_head_cell_is_one_hooked_run(data):
    fixed = {}
    if data.draw(st.booleans()):  # each head its own mask
        one = st.sampled_from(["causal", "window:1", "window:2+1", "none", "prefix:3"])
        n_layers, n_heads = data.draw(st.integers(1, 2)), data.draw(st.integers(2, 3))
        mask = tuple(tuple(data.draw(one) for _ in range(n_heads)) for _ in range(n_layers))
        fixed = {"n_layers": n_layers, "n_heads": n_heads, "mask": mask}
    model, prompts, answers = data.draw(setups(**fixed))
    site, direction = data.draw(st.sampled_from(patching.HEAD_SITES)), data.draw(DIRECTIONS)
    by_position = data.draw(st.booleans())
    by_source = site == "pattern" and data.draw(st.booleans())
    base, source = runs(prompts, direction)
    frame = patching.patch_heads(
        model, Pairs(*prompts), [patching.logit_diff(*answers)], site=site, direction=direction,
        by_position=by_position, by_source=by_source, per_prompt=True,
    )  # fmt: skip
    logits, cache = model.run_with_cache(source)
    places = base.shape[1] ** (by_position + by_source)
    assert len(frame) == model.config.n_layers * model.config.n_heads * places * len(base)
    for row in some_rows(data, frame):
        name = f"blocks.{row.layer}.attn.hook_{site}"
        pos = row.pos if by_position else slice(None)
        index = (slice(None), pos, row.head)
        if site == "pattern":
            index = (slice(None), row.head, pos, row.key_pos if by_source else slice(None))

        def put(activation, hook, name=name, index=index):
            activation[index] = cache[name][index]

        expected = value(model.run_with_hooks(base, [(name, put)]), answers)[row.prompt]
        assert close(row.value, expected, logits.abs().max())


@bounded(25)
@given(st.data())
def test_any_path_is_one_hooked_run_in_which_the_receiver_alone_reads_something_else(data):
    """The receiver's input is the run's own stream plus what the sender's other output adds."""
    model, prompts, answers = data.draw(setups(n_layers=data.draw(st.integers(2, 3))))
    config, component = model.config, data.draw(st.sampled_from(patching.INPUTS))
    kinds = [None, "logits"] + ["mlp"] * (not config.attn_only)
    receivers, direction = data.draw(st.sampled_from(kinds)), data.draw(DIRECTIONS)
    base, source = runs(prompts, direction)
    frame = patching.patch_paths(
        model,
        Pairs(*prompts),
        [patching.logit_diff(*answers)],
        receivers=receivers,
        component=component,
        direction=direction,
        per_prompt=True,
    )
    logits, other = model.run_with_cache(source)
    _, own = model.run_with_cache(base)
    for row in some_rows(data, frame):
        z = (other["z", row.layer] - own["z", row.layer])[:, :, row.head]
        sent = z @ model.blocks[row.layer].attn.W_O[row.head]
        if receivers == "logits":
            patched = model.logits(own["resid_post", config.n_layers - 1] + sent)
        else:
            block = model.blocks[row.to_layer]
            part, norm = (block.mlp, "ln2") if receivers == "mlp" else (block.attn, "ln1")
            into = "resid_mid" if receivers == "mlp" else "resid_pre"
            read = own[into, row.to_layer] + sent
            read = getattr(block, norm)(read) if config.norm == "pre" else read
            if receivers == "mlp":
                name, seen, index = f"blocks.{row.to_layer}.hook_mlp_out", part(read), ...
            else:
                weight, bias = (getattr(part, f"{kind}_{component.upper()}") for kind in "Wb")
                name, index = (
                    f"blocks.{row.to_layer}.attn.hook_{component}",
                    np.s_[:, :, row.to_head],
                )
                seen = torch.einsum("bpd,hde->bphe", read, weight)[index] + bias[row.to_head]

            def put(activation, hook, index=index, seen=seen):
                activation[index] = seen

            patched = model.run_with_hooks(base, [(name, put)])
        assert close(row.value, value(patched, answers)[row.prompt], logits.abs().max())


@bounded(8)
@given(st.data())
def test_noising_is_denoising_of_the_pairs_turned_round(data):
    model, prompts, answers = data.draw(setups())
    pairs, turned = Pairs(*prompts), Pairs(*prompts[::-1])
    site = data.draw(st.sampled_from(patching.HEAD_SITES))
    for sweep, how in ((patching.patch_residual, {}), (patching.patch_heads, {"site": site})):
        noise = sweep(
            model, pairs, [patching.logit_diff(*answers)], direction="noise", per_prompt=True, **how
        )
        denoise = sweep(
            model,
            turned,
            [patching.logit_diff(*answers)],
            direction="denoise",
            per_prompt=True,
            **how,
        )
        assert np.array_equal(noise["value"], denoise["value"])
        assert np.array_equal(noise["effect"], denoise["effect"])


@bounded(15)
@given(st.data())
def test_what_cannot_matter_does_not_and_what_is_all_brings_all(data):
    """Pairs that differ at one position: there, the first stream is the other run. Where both runs
    are the same (by a causal mask, before that position), a patch has no effect at all."""
    model, (clean, _), answers = data.draw(setups(mask="causal"))
    at = data.draw(st.integers(0, clean.shape[1] - 1))
    corrupted = clean.clone()
    corrupted[:, at] = (corrupted[:, at] + 1) % model.config.d_vocab
    pairs, direction = Pairs(clean, corrupted), data.draw(DIRECTIONS)
    how = {"direction": direction, "per_prompt": True}
    _, source = runs((clean, corrupted), direction)
    frame = patching.patch_residual(model, pairs, [patching.logit_diff(*answers)], **how)
    first = frame.query(f"layer == 0 and pos == {at}")
    for found, expected in zip(first["value"], value(model(source), answers), strict=True):
        assert close(found, expected, model(source).abs().max())
    heads = patching.patch_heads(
        model, pairs, [patching.logit_diff(*answers)], by_position=True, **how
    )
    for sweep in (frame, heads):
        outside = (sweep["pos"] < at) | (sweep["pos"] > answers[-1])
        assert (sweep.loc[outside, "effect"] == 0).all()
