"""Ablations of sets against one hooked forward pass for each set, in float64."""

import numpy as np
import pytest
import torch
from oracles.tiny import tiny_model, tiny_tokens

from interp.core import InputError
from interp.measures import ablating
from interp.measures.ablating import MLP, SetAblation, ablate_sets, another_prompt
from interp.measures.patching import answer_logprob, logit_diff

N, POS = 4, 7
CORRECT, INCORRECT = torch.tensor([1, 2, 3, 7]), torch.tensor([4, 5, 6, 8])
SETS = [
    [(2, 1)],
    [(0, 3), (0, 4), (2, 0)],
    [(1, h) for h in range(5)],
    [(1, 0), (2, 2)],
    [],
    [(2, h) for h in range(5)],
]
MLP_SETS = [[(0, MLP)], [(1, 2), (1, MLP), (2, MLP)], [(0, h) for h in range(5)] + [(1, MLP)]]
VARIANTS = [{}, {"mask": "none"}, {"mask": "window:3"}, {"norm": "none"}, {"d_mlp": 0}]


def whole_run(model, tokens, values, components, pos):
    """Logit differences of a run from the tokens on, with values given for what is ablated."""

    def hook(head):
        def replace(activation, point):
            if head == MLP:
                return values[point.name]
            activation[:, :, head] = values[point.name][:, :, head]
            return activation

        return replace

    names = {c: f"blocks.{c[0]}." + ("hook_mlp_out" if c[1] == MLP else "attn.hook_z")
             for c in components}  # fmt: skip
    logits = model.run_with_hooks(tokens, [(names[c], hook(c[1])) for c in components])
    row = torch.arange(len(tokens))
    return (logits[row, pos, CORRECT] - logits[row, pos, INCORRECT]).numpy()


def ablated_values(model, ablation, reference, giver):
    """Each activation's replacement, by a loop over prompts."""
    _, cache = model.run_with_cache(reference)
    found = {}
    for name in cache:
        if not name.endswith(("hook_z", "hook_mlp_out")):
            continue
        own = cache[name]
        rows = {
            "zero": [torch.zeros_like(own[0])] * N,
            "mean": [sum(own[i] for i in range(len(own))) / len(own)] * N,
            "resample": [own[giver[i]] for i in range(N)],
        }[ablation]
        found[name] = torch.stack(rows)
    return found


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("ablation", ["zero", "mean", "resample"])
def test_sets_equal_a_forward_pass_for_each(changes, ablation):
    model, tokens = tiny_model(**changes), tiny_tokens(N, POS)
    sets = SETS if model.config.attn_only else SETS + MLP_SETS
    metrics = [answer_logprob(CORRECT, 6), logit_diff(CORRECT, INCORRECT, 4)]
    run = SetAblation(model, tokens, metrics, ablation=ablation, memory_mib=0.05)
    assert 1 <= run._at_once() < len(sets)  # several chunks
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0)).tolist()
    giver = {order[i]: order[i - 1] for i in range(N)}
    values = ablated_values(model, ablation, tokens, giver)
    everything = [(layer, h) for layer in range(3) for h in range(5)]
    if not model.config.attn_only:
        everything += [(layer, MLP) for layer in range(3)]
    out, kept = run.knocked_out(sets)[1], run.kept(sets)[1]
    together = SetAblation(model, tokens, metrics, ablation=ablation)  # all sets in one chunk
    assert together.knocked_out(sets)[1] == pytest.approx(out, abs=1e-12)
    for number, components in enumerate(sets):
        expected = whole_run(model, tokens, values, components, 4)
        assert out[number] == pytest.approx(expected, abs=1e-10)
        rest = [c for c in everything if c not in components]
        expected = whole_run(model, tokens, values, rest, 4)
        assert kept[number] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("ablation", ["mean", "resample"])
def test_values_come_from_the_reference_prompts(ablation):
    model, tokens = tiny_model(), tiny_tokens(N, POS)
    reference = tiny_tokens(N, POS, seed=5)
    run = SetAblation(model, tokens, [logit_diff(CORRECT, INCORRECT, 6)], ablation=ablation,
                      reference=reference)  # fmt: skip
    values = ablated_values(model, ablation, reference, range(N))
    for components in (SETS[1], MLP_SETS[1]):
        expected = whole_run(model, tokens, values, components, 6)
        assert run.knocked_out([components])[0, 0] == pytest.approx(expected, abs=1e-10)


def test_a_mean_over_more_reference_prompts_than_prompts():
    model, tokens = tiny_model(), tiny_tokens(N, POS)
    reference = tiny_tokens(11, POS, seed=5)
    run = SetAblation(model, tokens, [logit_diff(CORRECT, INCORRECT, 6)], reference=reference)
    values = ablated_values(model, "mean", reference, range(N))
    expected = whole_run(model, tokens, values, SETS[1], 6)
    assert run.knocked_out([SETS[1]])[0, 0] == pytest.approx(expected, abs=1e-10)


def test_frames_give_means_with_intervals_or_single_prompts():
    model, tokens = tiny_model(), tiny_tokens(N, POS)
    metrics = [logit_diff(CORRECT, INCORRECT, 6), answer_logprob(CORRECT, 6)]
    units = np.array(["a", "b", "b", "c"])
    frame = ablate_sets(model, tokens, metrics, units=units)
    assert len(frame) == 3 * 2 * 18 and set(frame["n"]) == {3}
    assert {"L0H0", "L2MLP"} < set(frame["components"])
    assert ((frame["ci_low"] <= frame["effect"]) & (frame["effect"] <= frame["ci_high"])).all()
    single = ablate_sets(model, tokens, metrics, units=units, per_prompt=True)
    keys = ["ablation", "metric", "set"]
    means = single.groupby(keys)[["value", "effect"]].mean()
    means = means.loc[list(frame[keys].itertuples(index=False, name=None))]
    for column in ("value", "effect"):
        assert frame[column].to_numpy() == pytest.approx(means[column].to_numpy())
    # By hand: head 2 of layer 1 silenced, prompt 3.
    values = {"blocks.1.attn.hook_z": torch.zeros(N, POS, 5, 7, dtype=torch.float64)}
    expected = whole_run(model, tokens, values, [(1, 2)], 6)[3]
    row = single[
        (single["ablation"] == "zero")
        & (single["metric"] == "logit_diff")
        & (single["components"] == "L1H2")
        & (single["prompt"] == 3)
    ]
    assert row["value"].item() == pytest.approx(expected, abs=1e-10)
    intact = model(tokens)[3, 6]
    assert row["effect"].item() == pytest.approx(expected - (intact[7] - intact[8]).item())
    kept = ablate_sets(model, tokens, metrics, [ablating.all_components(model)], mode="keep")
    assert kept["effect"].abs().max() < 1e-10 and set(kept["size"]) == {18}


def test_no_prompt_gets_its_own_values():
    for n in (2, 3, 17):
        for seed in range(5):
            other = another_prompt(n, seed)
            assert sorted(other.tolist()) == list(range(n))
            assert (other != torch.arange(n)).all()


def test_a_set_that_was_asked_for_is_not_run_again(monkeypatch):
    model, tokens = tiny_model(), tiny_tokens(N, POS)
    run = SetAblation(model, tokens, [logit_diff(CORRECT, INCORRECT, 6)], ablation="zero")
    before = run.knocked_out([[(1, 1), (0, 2)]])
    monkeypatch.setattr(run, "_walk", None)
    assert (run.knocked_out([[(0, 2), (1, 1), (1, 1)], []])[:, :1] == before).all()


METRICS = [logit_diff(CORRECT, INCORRECT, 6)]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m, t: ablate_sets(m, t, METRICS, [[(0, 5)]]), "component .0, 5. does not exist"),
        (lambda m, t: SetAblation(m, t, METRICS).kept([[(3, 0)]]), "component .3, 0. does not"),
        (lambda m, t: ablate_sets(m, t, METRICS, ablations=["noise"]), "no ablation"),
        (lambda m, t: ablate_sets(m, t, METRICS, mode="both"), "neither"),
        (lambda m, t: SetAblation(m, t[:1], METRICS), "only one"),
        (lambda m, t: SetAblation(m, t, METRICS, reference=t[:, :4]), "equally long"),
        (
            lambda m, t: SetAblation(m, t, METRICS, ablation="resample", reference=t[:3]),
            "3 reference prompts came for 4",
        ),
        (lambda m, t: SetAblation(m, t, METRICS, units=np.arange(3)), "3 units"),
        (lambda m, t: SetAblation(m, t[:, :5], METRICS), "position 6 does not exist"),
    ],
)
def test_wrong_calls_get_one_clear_sentence(no_type_checks, call, says):
    with pytest.raises(InputError, match=says):
        call(tiny_model(), tiny_tokens(N, POS))
