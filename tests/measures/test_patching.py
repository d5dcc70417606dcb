"""Patching sweeps against one hooked forward pass per cell, in float64."""

import numpy as np
import pytest
import scipy.stats
import torch
from oracles.tiny import PRIMES, tiny_model, tiny_tokens

from interp.core import InputError
from interp.measures import patching
from interp.measures.patching import Pairs, answer_logprob, kl_to, logit_diff
from interp.measures.resampling import resample_weights

CORRECT, INCORRECT = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
VARIANTS = [{}, {"mask": "none"}, {"mask": "window:3"}, {"norm": "none"}, {"d_mlp": 0}]


def make_pairs(first=2):
    """Three prompts of seven tokens; one of them differs one position earlier."""
    clean = tiny_tokens(3, 7)
    corrupted = clean.clone()
    corrupted[:, first : first + 2] = (corrupted[:, first : first + 2] + 1) % PRIMES["d_vocab"]
    corrupted[0, first - 1] = (corrupted[0, first - 1] + 3) % PRIMES["d_vocab"]
    return Pairs(clean, corrupted)


def one_forward(model, pairs, direction, name, change, pos):
    """Mean logit difference of a hooked run; `change` writes other values into the activation."""
    base, source = pairs.corrupted, pairs.clean
    if direction == "noise":
        base, source = source, base
    _, cache = model.run_with_cache(source)

    def hook(activation, point):
        change(activation, cache[point.name])
        return activation

    logits = model.run_with_hooks(base, [(name, hook)])
    row = torch.arange(len(base))
    return (logits[row, pos, CORRECT] - logits[row, pos, INCORRECT]).mean().item()


def close(found, expected):
    return found == pytest.approx(expected, abs=1e-10, rel=1e-10)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize(("direction", "pos"), [("denoise", 6), ("noise", 4)])
def test_residual_patches_equal_a_forward_pass_for_each_cell(changes, direction, pos):
    model, pairs = tiny_model(**changes), make_pairs()
    for site in patching.RESIDUAL_SITES:
        if model.config.attn_only and site in ("resid_mid", "mlp_out"):
            continue
        frame = patching.patch_residual(
            model,
            pairs,
            [logit_diff(CORRECT, INCORRECT, pos)],
            site=site,
            direction=direction,
            memory_mib=0.02,  # several chunks
        )
        assert len(frame) == 3 * 7
        for row in frame.itertuples():

            def change(activation, other, at=row.pos):
                activation[:, at] = other[:, at]

            name = f"blocks.{row.layer}.hook_{site}"
            assert close(row.value, one_forward(model, pairs, direction, name, change, pos))


@pytest.mark.parametrize("changes", VARIANTS[:3], ids=str)
@pytest.mark.parametrize("by_position", [False, True])
@pytest.mark.parametrize("site", patching.HEAD_SITES)
def test_head_patches_equal_a_forward_pass_for_each_cell(changes, by_position, site):
    model, pairs = tiny_model(**changes), make_pairs()
    heads = [(0, 1), (1, 4), (2, 0), (2, 3)]
    frame = patching.patch_heads(
        model,
        pairs,
        [logit_diff(CORRECT, INCORRECT, 5)],
        site=site,
        heads=heads,
        by_position=by_position,
    )
    assert len(frame) == len(heads) * (7 if by_position else 1)
    for row in frame.itertuples():
        at = row.pos if by_position else slice(None)

        def change(activation, other, head=row.head, at=at):
            index = (slice(None), head, at) if site == "pattern" else (slice(None), at, head)
            activation[index] = other[index]

        name = f"blocks.{row.layer}.attn.hook_{site}"
        assert close(row.value, one_forward(model, pairs, "denoise", name, change, 5))


def direct_path(model, pairs, sender, target, component, pos):
    """One direct path by hand: the receiver alone sees the sender's other output."""
    layer, head = sender
    to_layer, to_head = target
    _, clean = model.run_with_cache(pairs.clean)
    _, own = model.run_with_cache(pairs.corrupted)
    sent = (clean["z", layer] - own["z", layer])[:, :, head] @ model.blocks[layer].attn.W_O[head]
    if to_layer == model.config.n_layers:
        logits = model.logits(own["resid_post", to_layer - 1] + sent)
    elif to_head < 0:
        block = model.blocks[to_layer]
        out = block.mlp(block.ln2(own["resid_mid", to_layer] + sent))
        hooks = [(f"blocks.{to_layer}.hook_mlp_out", lambda *_: out)]
        logits = model.run_with_hooks(pairs.corrupted, hooks)
    else:
        block = model.blocks[to_layer]
        q, k, v = block.attn.queries_keys_values(block.ln1(own["resid_pre", to_layer] + sent))
        read = {"q": q, "k": k, "v": v}[component]

        def receive(activation, _):
            activation[:, :, to_head] = read[:, :, to_head]
            return activation

        hooks = [(f"blocks.{to_layer}.attn.hook_{component}", receive)]
        logits = model.run_with_hooks(pairs.corrupted, hooks)
    row = torch.arange(len(logits))
    return (logits[row, pos, CORRECT] - logits[row, pos, INCORRECT]).mean().item()


@pytest.mark.parametrize(
    ("receivers", "component", "n_paths"),
    [(None, "q", 75), (None, "k", 75), (None, "v", 75), ("mlp", "q", 30), ("logits", "q", 15)],
)
def test_path_patches_change_what_the_receiver_reads_and_nothing_else(
    receivers, component, n_paths
):
    model, pairs = tiny_model(), make_pairs()
    metrics = [logit_diff(CORRECT, INCORRECT, 6)]
    frame = patching.patch_paths(
        model, pairs, metrics, receivers=receivers, component=component, memory_mib=0.2
    )
    assert len(frame) == n_paths
    for row in frame.itertuples():
        target = (row.to_layer, row.to_head)
        expected = direct_path(model, pairs, (row.layer, row.head), target, component, 6)
        assert close(row.value, expected)


def test_several_metrics_share_a_sweep_and_only_read_positions_count():
    model, pairs = tiny_model(), make_pairs()
    reference = model(pairs.corrupted)[:, 3]
    metrics = [
        logit_diff(CORRECT, INCORRECT, 6),
        answer_logprob(CORRECT, 6),
        kl_to(reference, 3),
    ]
    frame = patching.patch_residual(model, pairs, metrics, layers=[1])
    by_metric = {name: part.set_index("pos") for name, part in frame.groupby("metric")}
    assert set(by_metric) == {"logit_diff", "answer_logprob", "kl_nats"}
    # A patch behind the position that is read, or before the prompts differ, changes nothing.
    assert by_metric["kl_nats"].loc[[0, 4, 5, 6], "value"].abs().max() < 1e-12
    assert by_metric["kl_nats"].loc[2, "value"] > 1e-3
    _, cache = model.run_with_cache(pairs.clean)

    def hook(activation, point):
        activation[:, 2] = cache[point.name][:, 2]
        return activation

    logits = model.run_with_hooks(pairs.corrupted, [("blocks.1.hook_resid_pre", hook)])
    row = torch.arange(3)
    expected = logits[:, 6].log_softmax(-1)[row, CORRECT].mean().item()
    assert close(by_metric["answer_logprob"].loc[2, "value"], expected)
    p, q = reference.log_softmax(-1), logits[:, 3].log_softmax(-1)
    assert close(by_metric["kl_nats"].loc[2, "value"], (p.exp() * (p - q)).sum(-1).mean().item())


def test_recovered_fractions_run_from_corrupted_to_clean_in_both_directions():
    model, pairs = tiny_model(), make_pairs(first=1)
    metrics = [logit_diff(CORRECT, INCORRECT, 6)]
    # Both prompts end alike, so the whole last layer's stream at the end is the whole answer.
    for direction, at_the_end in (("denoise", 1.0), ("noise", 0.0)):
        frame = patching.patch_residual(
            model, pairs, metrics, site="resid_post", direction=direction, layers=[2]
        ).set_index("pos")
        assert close(frame.loc[6, "recovered_fraction"], at_the_end)
        assert close(frame.loc[5, "recovered_fraction"], 1.0 - at_the_end)
        assert frame.loc[5, "effect"] == 0
        assert frame["ci_low"].isna().all()  # three prompts give no interval


def test_intervals_are_those_of_scipy_s_percentile_bootstrap():
    rng = np.random.default_rng(3)
    values, start = rng.normal(size=(2, 40)), rng.normal(size=40)
    zero, one = np.zeros(40), np.ones(40)
    frame = patching.effects_frame(values, start, one, zero, units=np.arange(40), n_resamples=9999)
    for row, of_cell in zip(frame.itertuples(), values - start, strict=True):
        expected = scipy.stats.bootstrap(
            (of_cell,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(0)
        ).confidence_interval
        assert [row.ci_low, row.ci_high] == pytest.approx([*expected], abs=0.02)
        assert row.effect == pytest.approx(of_cell.mean())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("clean", [0.12, 0.1])
def test_runs_that_hardly_differ_give_effects_but_no_fractions(clean):
    values = np.array([[0.30, 0.34], [0.1, 0.1]])
    frame = patching.effects_frame(
        values,
        start=np.array([0.1, 0.1]),
        clean=np.array([clean, clean]),
        corrupted=np.array([0.1, 0.1]),
        units=np.arange(2),
    )
    assert frame["effect"].tolist() == pytest.approx([0.22, 0.0])
    assert frame["recovered_fraction"].isna().all()


def test_resampled_units_bring_all_their_prompts():
    weights = resample_weights(np.array(["a", "b", "a", "c"]), 4000, seed=1)
    assert weights.sum(1) == pytest.approx(np.ones(4000))
    assert (weights[:, 0] == weights[:, 2]).all()
    # Of 3 units drawn with replacement, a given one is missing with probability (2/3)^3.
    assert (weights[:, 1] == 0).mean() == pytest.approx((2 / 3) ** 3, abs=0.03)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m, p, k: patching.patch_residual(m, p, k, site="resid"), "no site"),
        (lambda m, p, k: patching.patch_residual(m, p, k, layers=[3]), "layer 3 does not exist"),
        (lambda m, p, k: patching.patch_residual(m, p, k, positions=[7]), "position 7"),
        (lambda m, p, k: patching.patch_residual(m, p, k, direction="up"), "denoise"),
        (lambda m, p, k: patching.patch_heads(m, p, k, heads=[(0, 5)]), "L0H5 does not exist"),
        (lambda m, p, k: patching.patch_heads(m, p, k, site="result"), "no part of a head"),
        (lambda m, p, k: patching.patch_paths(m, p, k, component="z"), "q, k or v"),
        (lambda m, p, k: patching.patch_paths(m, p, k, receivers=[(0, 1)]), "no sender lies"),
    ],
)
def test_wrong_calls_get_one_clear_sentence(no_type_checks, call, says):
    with pytest.raises(InputError, match=says):
        call(tiny_model(), make_pairs(), [logit_diff(CORRECT, INCORRECT, 6)])


def test_pairs_must_correspond_and_differ():
    tokens = tiny_tokens(3, 7)
    with pytest.raises(InputError, match="equally long"):
        Pairs(tokens, tokens[:, :6])
    other = tokens.clone()
    other[:2, 3] += 1
    with pytest.raises(InputError, match="prompt 2 is the same"):
        Pairs(tokens, other)
    with pytest.raises(InputError, match="norm='post'"):
        patching.patch_residual(
            tiny_model(norm="post"), make_pairs(), [logit_diff(CORRECT, INCORRECT, 6)]
        )
