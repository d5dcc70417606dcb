"""Circuit tests on planted circuits, whose answer is known, and against arithmetic by hand."""

from itertools import combinations
from math import comb, exp, log

import numpy as np
import pandas as pd
import pytest
import torch
from oracles.tiny import tiny_model, tiny_tokens

from interp.core import InputError
from interp.measures import circuit_curves, circuit_tests
from interp.measures.ablating import MLP, SetAblation
from interp.measures.patching import answer_logprob, logit_diff
from interp.measures.resampling import resample_weights
from interp.planted import make_prompts, plant

FAST = {"n_random": 9, "n_resamples": 49}


def repeats_run(name, metric="logit_diff", ablation="zero", n=8):
    """Random tokens twice; asked is a token of the second showing."""
    subject = plant(name)
    family = next(f for f in subject.key.families if f.endswith("repeated_7"))
    tokens = make_prompts(subject.key, family, n).tokens
    period, pos = 7, tokens.shape[1] - 3
    correct, incorrect = tokens[:, pos + 1], tokens[:, pos - 1]
    assert (correct == tokens[:, pos + 1 - period]).all() and (correct != incorrect).all()
    make = logit_diff(correct, incorrect, pos) if metric == "logit_diff" else None
    make = make or answer_logprob(correct, pos)
    return subject, SetAblation(subject.model, tokens[:, : pos + 1], [make], ablation=ablation)


def facts_run():
    subject = plant("fact_memory")
    prompts = make_prompts(subject.key, "fact_memory:relation_0", 12)
    answers, rivals = prompts.answers[:, -1], prompts.rivals[:, -1]
    metric = logit_diff(answers, rivals, prompts.tokens.shape[1] - 1)
    return subject, SetAblation(subject.model, prompts.tokens, [metric], ablation="zero")


def test_the_induction_pair_passes_every_test():
    subject, run = repeats_run("induction_k")
    circuit = [*subject.key.with_role("previous_token"), *subject.key.with_role("induction")]
    faithful = circuit_tests.circuit_faithfulness(run, circuit, **FAST).iloc[0]
    assert faithful["faithfulness"] == pytest.approx(1, abs=1e-6)
    assert faithful["whole"] == pytest.approx(8, abs=0.1)  # the unembedding multiplies by 8
    complete = circuit_tests.circuit_completeness(run, circuit, **FAST)
    assert complete["incompleteness"].max() < 1e-6
    minimal = circuit_tests.circuit_minimality(run, circuit, **FAST)
    assert minimal["share"].to_numpy() == pytest.approx(1, abs=0.01)


def test_completeness_flags_a_missing_redundant_head_of_a_faithful_circuit():
    """One of two heads with half the work each: enough for the right answer, but not all of it."""
    subject, run = repeats_run("redundant_pair", metric="logprob")
    (previous,) = subject.key.with_role("previous_token")
    one, other = subject.key.with_role("induction")
    short = circuit_tests.circuit_faithfulness(run, [previous, one], **FAST).iloc[0]
    # Margins of 8, 4 and 0 logits over 31 other words.
    whole, half, none = (-log(1 + 31 * exp(-margin)) for margin in (8, 4, 0))
    kept = (half - none) / (whole - none)
    assert short["faithfulness"] == pytest.approx(kept, abs=0.001) and kept > 0.87
    found = circuit_tests.circuit_completeness(run, [previous, one], **FAST)
    worst = found[found["worst"]].iloc[0]
    # Without its one head the circuit guesses, while the model has the other head.
    assert worst["subset"] == f"L{one[0]}H{one[1]}"
    assert worst["circuit_without"] == pytest.approx(none, abs=0.001)
    assert worst["model_without"] == pytest.approx(half, abs=0.005)
    assert worst["share"] == pytest.approx(kept, abs=0.005)
    assert worst["ci_low"] > 3 and worst["n"] == 4
    whole = circuit_tests.circuit_completeness(run, [previous, one, other], **FAST)
    assert whole["incompleteness"].max() < 1e-6


def test_each_of_a_redundant_pair_halves_the_logit_and_is_needed():
    subject, run = repeats_run("redundant_pair")
    (previous,) = subject.key.with_role("previous_token")
    pair = subject.key.with_role("induction")
    intact = run.intact[0].mean()
    single = run.knocked_out([[head] for head in pair])[0].mean(1)
    assert single / intact == pytest.approx(0.5, abs=0.01)
    assert run.knocked_out([pair])[0].mean() == pytest.approx(0, abs=0.01)
    frame = circuit_tests.circuit_minimality(run, [previous, *pair], **FAST)
    by_head = frame.set_index("component")
    for layer, head in pair:
        row = by_head.loc[f"L{layer}H{head}"]
        assert row["share"] == pytest.approx(0.5, abs=0.01)
        assert row["null_95"] < 1e-6 and row["p"] == pytest.approx(1 / 2)  # one outsider
    assert by_head.loc[f"L{previous[0]}H{previous[1]}", "share"] == pytest.approx(1, abs=0.01)


def test_a_member_that_does_nothing_is_not_minimal():
    subject, run = facts_run()
    (relation, other) = subject.key.with_role("fact_recall")
    circuit = [(0, MLP), relation, other]
    frame = circuit_tests.circuit_minimality(run, circuit, **FAST).set_index("component")
    assert frame.loc[f"L{relation[0]}H{relation[1]}", "share"] == pytest.approx(1, abs=0.01)
    assert frame.loc["L0MLP", "share"] == pytest.approx(1, abs=0.01)
    idle = frame.loc[f"L{other[0]}H{other[1]}"]
    assert idle["share"] < 0.01 and idle["p"] > 0.2
    enough = circuit_tests.circuit_faithfulness(run, [(0, MLP), relation], **FAST).iloc[0]
    assert enough["faithfulness"] == pytest.approx(1, abs=0.01)
    # Of 15 pairs of components one is the circuit, and every other keeps nothing.
    assert enough["null_mean"] < 0.5 and enough["p"] < 0.5
    useless = circuit_tests.circuit_faithfulness(run, [(0, 0), other], **FAST).iloc[0]
    assert useless["faithfulness"] == pytest.approx(0, abs=0.01) and useless["p"] == 1


def test_the_curve_of_the_right_ranking_by_hand():
    """Two components of six do everything: nothing is kept by one, everything by two or more."""
    subject, run = facts_run()
    (relation, _) = subject.key.with_role("fact_recall")
    first = [(0, MLP), relation]
    ranking = first + [c for c in run.components if c not in first]
    assert len(ranking) == 6
    shares = [0.0, 1 / 6, 2 / 6, 0.5]
    curve, scores = circuit_curves.circuit_curve(run, ranking, shares=shares, **FAST)
    assert curve["size"].tolist() == [0, 1, 2, 3, 6]
    assert curve["faithfulness"].to_numpy() == pytest.approx([0, 0, 1, 1, 1], abs=0.01)
    by_score = scores.set_index("score")
    # A step between 1/6 and 2/6, halved by the trapezoid: 1/6 + 1/12 is missing.
    assert by_score.loc["CPR", "value"] == pytest.approx(0.75, abs=0.01)
    assert by_score.loc["CMD", "value"] == pytest.approx(0.25, abs=0.01)
    backwards = circuit_curves.circuit_curve(run, ranking[::-1], shares=shares, **FAST)[1]
    backwards = backwards.set_index("score")
    assert backwards.loc["CPR", "value"] < 0.3 and backwards.loc["CPR", "p"] > 0.5
    assert scores["p"].max() < 0.5 and backwards.loc["CMD", "p"] > 0.5
    assert by_score.loc["CPR", "value"] >= by_score.loc["CPR", "null_high"] - 0.01
    assert by_score.loc["CMD", "value"] <= by_score.loc["CMD", "null_low"] + 0.01


def tiny_run(n=6, ablation="mean"):
    row = torch.arange(n)
    metric = logit_diff(row + 1, row + 11, 5)
    units = np.array([0, 1, 1, 2, 3, 4])
    return SetAblation(
        tiny_model(), tiny_tokens(n, 6), [metric], ablation=ablation, units=units[:n]
    )


def test_scores_are_told_on_the_units_that_were_not_searched():
    run = tiny_run()
    circuit = [(0, 1), (1, MLP), (2, 3)]
    frame = circuit_tests.circuit_completeness(run, circuit, **FAST)
    names = np.unique(run.units)
    searched = np.isin(run.units, np.random.default_rng(0).permutation(names)[:2])
    everything = set(run.components)
    by_subset = frame.set_index("subset")
    for subset in ({(0, 1)}, set(), {(0, 1), (1, MLP), (2, 3)}):
        name = " ".join(f"L{layer}{'MLP' if h == MLP else f'H{h}'}" for layer, h in sorted(subset))
        row = by_subset.loc[name]
        out = everything - (set(circuit) - subset)
        difference = run.knocked_out([out])[0, 0] - run.knocked_out([subset])[0, 0]
        sign = np.sign(difference[searched].mean())
        assert row["incompleteness"] == pytest.approx(sign * difference[~searched].mean())
        assert row["searched"] == pytest.approx(abs(difference[searched].mean()))
        assert row["n"] == 3
    assert frame["worst"].sum() == 1
    assert frame.loc[frame["worst"], "searched"].item() == frame["searched"].max()
    assert not frame["subset"].duplicated().any()


def test_greedy_subsets_grow_by_the_member_that_matters_most():
    run = tiny_run()
    circuit = [(0, 1), (0, 4), (1, MLP), (2, 3)]
    names = np.random.default_rng(0).permutation(np.unique(run.units))[:2]
    searched = np.isin(run.units, names)

    def score(subset):
        kept = run.kept([set(circuit) - subset])[0, 0]
        return abs((kept - run.knocked_out([subset])[0, 0])[searched].mean())

    grown = set()
    for _ in range(2):
        grown |= {max((c for c in circuit if c not in grown), key=lambda c: score(grown | {c}))}
    frame = circuit_tests.circuit_completeness(run, circuit, n_random=0, n_greedy=2)
    greedy = frame[(frame["search"] == "greedy") & (frame["size"] == 2)]
    assert greedy["searched"].item() == pytest.approx(score(grown))


def test_intervals_and_ratios_are_those_of_means():
    run = tiny_run()
    circuit = [(0, 1), (1, MLP), (2, 3), (2, MLP)]
    row = circuit_tests.circuit_faithfulness(run, circuit, **FAST).iloc[0]
    kept, empty = run.kept([circuit, []])[0].mean(1)
    whole = run.intact[0].mean()
    assert row["faithfulness"] == pytest.approx((kept - empty) / (whole - empty))
    assert row["gap"] == pytest.approx(whole - kept) and row["n"] == 5
    assert row["gap_low"] <= row["gap"] <= row["gap_high"]
    assert row["ci_low"] <= row["faithfulness"] <= row["ci_high"]


def test_areas_of_a_curve_beyond_one_by_hand():
    """Rankings of a random model: what they keep is more than the whole, or less than nothing."""
    run = tiny_run()
    ranking = run.components[::-1]
    curve, scores = circuit_curves.circuit_curve(run, ranking, shares=[0.3, 0.6], **FAST)
    kept = [run.kept([ranking[:size]])[0, 0].mean() for size in (0, 5, 11, 18)]
    kept = [(value - kept[0]) / (kept[-1] - kept[0]) for value in kept]
    assert curve["faithfulness"].to_numpy() == pytest.approx(kept)
    assert max(kept) > 1.1 and min(kept) < -0.1
    area, missed = 0.0, 0.0
    for i, width in enumerate((5, 6, 7)):
        area += width / 18 * (kept[i] + kept[i + 1]) / 2
        missed += width / 18 * (abs(1 - kept[i]) + abs(1 - kept[i + 1])) / 2
    assert scores["score"].tolist() == ["CPR", "CMD"]
    assert scores["value"].to_numpy() == pytest.approx([area, missed])


def test_what_a_member_loses_by_hand():
    """Of two members, with K empty or the other one, on the half that was not searched."""
    run = tiny_run()
    one, other = (0, 1), (2, 3)
    names = np.random.default_rng(0).permutation(np.unique(run.units))[:2]
    searched = np.isin(run.units, names)
    both, alone, rest, none = run.kept([[one, other], [one], [other], []])[0]
    losses = {"": both - rest, "L2H3": alone - none}
    subset = max(losses, key=lambda k: abs(losses[k][searched].mean()))
    sign = np.sign(losses[subset][searched].mean())
    row = circuit_tests.circuit_minimality(run, [one, other], **FAST).set_index("component")
    assert row.loc["L0H1", "subset"] == subset
    assert row.loc["L0H1", "minimality"] == pytest.approx(sign * losses[subset][~searched].mean())


def test_jaccard_of_resampled_circuits_by_hand():
    rng = np.random.default_rng(3)
    scores, units = rng.standard_normal((5, 6)), np.array([0, 0, 1, 2, 2, 3])
    row, _ = circuit_curves.circuit_stability(
        scores, [(0, h) for h in range(5)], 2, units, n_resamples=7, seed=4
    )
    found = []
    for weights in resample_weights(units, 7, 4):
        means = [abs(sum(w * x for w, x in zip(weights, of, strict=True))) for of in scores]
        found.append(set(sorted(range(5), key=lambda c: -means[c])[:2]))
    shares = [len(a & b) / len(a | b) for a, b in combinations(found, 2)]
    assert row["jaccard"].item() == pytest.approx(np.mean(shares))
    assert 0.2 < row["jaccard"].item() < 1


def test_stability_of_clear_and_of_tied_rankings():
    components = [(0, h) for h in range(7)]
    rng = np.random.default_rng(0)
    clear = np.array([9.0, -8, 7, 0, 0, 0, 0])[:, None] + 0.1 * rng.standard_normal((7, 20))
    row, members = circuit_curves.circuit_stability(clear, components, 3)
    assert row["jaccard"].item() == 1 and row["low"].item() == 1
    assert members["chosen"].tolist() == [True] * 3 + [False] * 4
    assert members["share"].tolist() == [1.0] * 3 + [0.0] * 4
    # Two random sets of 3 of 7 share k with probability C(3,k) C(4,3-k) / C(7,3).
    expected = sum(comb(3, k) * comb(4, 3 - k) / comb(7, 3) * k / (6 - k) for k in range(4))
    assert row["null_mean"].item() == pytest.approx(expected)
    noise = rng.standard_normal((7, 20))
    unstable, _ = circuit_curves.circuit_stability(noise, components, 3)
    assert unstable["jaccard"].item() < 0.9
    # One unit holds all prompts: every resample is the same.
    same, _ = circuit_curves.circuit_stability(noise, components, 3, units=np.zeros(20))
    assert same["jaccard"].item() == 1 and same["n"].item() == 1


def test_chunks_change_nothing():
    frames = []
    for memory in (256, 1e-9):
        run = tiny_run()
        run.memory_mib = memory
        frames.append(circuit_tests.circuit_minimality(run, [(0, 1), (2, 3)], **FAST))
    pd.testing.assert_frame_equal(*frames, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda r: circuit_tests.circuit_faithfulness(r, []), "empty"),
        (lambda r: circuit_tests.circuit_completeness(r, [(9, 0)]), "does not exist"),
        (lambda r: circuit_curves.circuit_curve(r, r.components[1:]), "orders all 18"),
        (lambda r: circuit_curves.circuit_curve(r, r.components, shares=[1.5]), "between 0 and 1"),
        (lambda r: circuit_curves.circuit_stability(np.ones((3, 4)), [(0, 1)], 1), "1 components"),
        (lambda r: circuit_curves.circuit_stability(np.ones((1, 4)), [(0, 1)], 1), "no choice"),
    ],
)
def test_wrong_calls_get_one_clear_sentence(call, says):
    with pytest.raises(InputError, match=says):
        call(tiny_run())


def test_runs_that_cannot_be_halved_or_read_two_metrics_are_refused():
    run = tiny_run()
    run.units = np.zeros(6)
    with pytest.raises(InputError, match="single unit"):
        circuit_tests.circuit_minimality(run, [(0, 1)])
    run.metrics = run.metrics * 2
    with pytest.raises(InputError, match="one metric"):
        circuit_tests.circuit_faithfulness(run, [(0, 1)])
