"""Shares against ablations, on hooked runs and on planted heads that erase each other."""

import numpy as np
import pytest
import torch
from oracles.tiny import tiny_model, tiny_tokens

from interp import planted
from interp.core import InputError
from interp.measures.attribution import direct_attribution
from interp.measures.erasure import _compared, attribution_against_ablation

TARGET, CONTRAST, POS = torch.tensor([3, 5, 9]), torch.tensor([7, 8, 1]), 5


@pytest.mark.parametrize("changes", [{}, {"norm": "none"}, {"mask": "none"}], ids=str)
@pytest.mark.parametrize("replacement", ["zero", "mean"])
def test_ablations_equal_hooked_runs_and_shares_the_attribution_of_what_is_removed(
    changes, replacement
):
    model, tokens = tiny_model(**changes), tiny_tokens(3, 7)
    heads = [(0, 3), (2, 1)]
    frame = attribution_against_ablation(
        model, tokens, TARGET, CONTRAST, POS, replacement=replacement, heads=heads
    ).set_index(["layer", "head"])
    row = torch.arange(3)
    shares = direct_attribution(model, tokens, TARGET, CONTRAST, POS)
    shares = shares[shares["component"] == "head"].set_index(["layer", "head"])

    def difference(hooks):
        logits = model.run_with_hooks(tokens, hooks)[:, POS]
        return logits[row, TARGET] - logits[row, CONTRAST]

    for layer, head in heads:

        def hook(z, _, head=head):
            z[:, :, head] = z[:, :, head].mean(0) if replacement == "mean" else 0
            return z

        lost = difference([]) - difference([(f"blocks.{layer}.attn.hook_z", hook)])
        found = frame.loc[(layer, head)]
        assert found["ablation"] == pytest.approx(lost.mean().item(), abs=1e-10)
        if replacement == "zero":
            share = shares.loc[[(layer, head)], "contribution"].mean()
            assert found["attribution"] == pytest.approx(share, abs=1e-10)
        elif "norm" in changes and layer == 2:  # linear from here on, but for the MLP
            assert abs(found["attribution"]) > 0.1
    assert frame["ci_low"].isna().all() and set(frame["n"]) == {3}


def test_where_nothing_reads_a_head_its_share_is_its_effect():
    model, tokens = tiny_model(norm="none", d_mlp=0), tiny_tokens(3, 7)
    for replacement in ("zero", "mean"):
        frame = attribution_against_ablation(
            model, tokens, TARGET, None, POS, replacement=replacement
        )
        last = frame[frame["layer"] == 2]
        assert last["attribution"].abs().max() > 0.1
        assert last["difference"].abs().max() < 1e-10 and set(last["verdict"]) == {"agree"}
        assert frame.loc[frame["layer"] < 2, "disagrees"].any()


@pytest.mark.parametrize("tiers", ["", "BC"])
def test_the_planted_writer_is_flagged_and_its_eraser_is_not(tiers):
    made = planted.plant("erasure_pair")
    made = planted.hide(made, tiers) if tiers else made
    prompts = made.prompts("erasure_pair:random")
    pos = int((prompts.answers >= 0).all(0).nonzero()[-1])
    frame = attribution_against_ablation(
        made.model, prompts.tokens, prompts.answers[:, pos], prompts.rivals[:, pos], pos
    ).set_index(["layer", "head"])
    parts = {answer.part: answer.at for answer in made.key.heads}
    writer, eraser = (frame.loc[parts[part]] for part in ("writer", "eraser"))
    near = 0.01 if not tiers else 0.3
    assert writer["attribution"] == pytest.approx(4, abs=near)
    assert writer["ablation"] == pytest.approx(0, abs=near)
    assert writer["disagrees"] and writer["verdict"] == "erased"
    assert writer["ci_low"] > 3 and writer["n"] == len(prompts)
    assert eraser["attribution"] == pytest.approx(-4, abs=near)
    assert not frame.drop([parts["writer"]])["disagrees"].any() or tiers


def test_a_head_that_works_through_another_is_called_indirect():
    made = planted.plant("induction_k")
    prompts = made.prompts("induction_k:repeated_7")
    pos = int((prompts.answers >= 0).all(0).nonzero()[-1])
    frame = attribution_against_ablation(
        made.model, prompts.tokens, prompts.answers[:, pos], prompts.rivals[:, pos], pos
    ).set_index(["layer", "head"])
    verdicts = frame["verdict"]
    assert verdicts[0, 0] == "indirect" and frame["ablation"][0, 0] > 3
    assert abs(frame["attribution"][0, 0]) < 0.1
    assert verdicts[1, 0] == "agree" and frame["ablation"][1, 0] > 3


def test_a_planted_copy_head_does_what_its_share_says_and_nothing_else_does_anything():
    made = planted.plant("copy")
    prompts = made.prompts("copy:random")
    pos = int((prompts.answers >= 0).all(0).nonzero()[-1])
    frame = attribution_against_ablation(
        made.model, prompts.tokens, prompts.answers[:, pos], prompts.rivals[:, pos], pos
    ).set_index(["layer", "head"])
    (copier,) = [answer.at for answer in made.key.heads if answer.effect]
    assert frame.loc[copier, "ablation"] > 3
    assert frame["difference"].abs().max() < 1e-6 and not frame["disagrees"].any()
    assert frame.drop(copier)[["attribution", "ablation"]].abs().max(axis=None) < 1e-9


def test_the_limit_decides_and_an_interval_around_zero_acquits():
    model, tokens = tiny_model(), tiny_tokens(3, 7)
    frame = attribution_against_ablation(model, tokens, TARGET, CONTRAST, POS, limit=0.5)
    big = frame["difference"].abs() > 0.5
    assert (frame["disagrees"] == big).all() and 0 < big.sum() < len(frame)
    opposite = frame["verdict"] == "opposite"
    signs = np.sign(frame["attribution"] * frame["ablation"])
    assert (signs[opposite] < 0).all()
    many = tiny_tokens(8, 7, seed=4)
    frame = attribution_against_ablation(model, many, 3, 7, POS, limit=0.0)
    straddles = (frame["ci_low"] < 0) & (frame["ci_high"] > 0)
    assert straddles.any() and not frame.loc[straddles, "disagrees"].any()
    assert frame.loc[~straddles, "disagrees"].all()


def test_verdicts_by_hand():
    shares = np.array([[2.0], [0.1], [1.0], [1.0], [-3.0]])
    effects = np.array([[0.0], [1.5], [-1.0], [0.8], [-1.0]])
    frame = _compared(shares, effects, 0.5, np.arange(1), seed=0)
    assert frame["verdict"].tolist() == ["erased", "indirect", "opposite", "agree", "erased"]
    assert frame["difference"].tolist() == pytest.approx([2, -1.4, 2, 0.2, -2])


@pytest.mark.parametrize(
    ("n", "arguments", "said"),
    [
        (2, {"replacement": "noise"}, "'noise' is no replacement"),
        (1, {"replacement": "mean"}, "mean over a single prompt"),
        (2, {"heads": [(0, 5)]}, "L0H5 does not exist"),
    ],
)
def test_wrong_calls_are_answered_in_a_sentence(n, arguments, said):
    with pytest.raises(InputError, match=said):
        attribution_against_ablation(tiny_model(), tiny_tokens(n, 7), 3, 7, POS, **arguments)
