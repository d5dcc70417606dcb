"""Saliency against finite differences, autograd and runs with replaced embeddings."""

import numpy as np
import pytest
import torch
from oracles.tiny import tiny_model, tiny_tokens

from interp import planted
from interp.core import InputError
from interp.measures.saliency import token_saliency

TARGET, CONTRAST, POS = torch.tensor([3, 5]), torch.tensor([7, 8]), 5


def small_model(**changes):
    return tiny_model(n_layers=2, **changes)


def measure(model, stream, prompt, contrast=True):
    logits = model(stream[None], start_at_layer=0)[0, POS]
    return logits[TARGET[prompt]] - (logits[CONTRAST[prompt]] if contrast else 0)


def start_and_change(model, tokens, prompt, baseline):
    start = model.W_E[tokens[prompt]] + model.W_pos[: tokens.shape[1]]
    other = {"mean": model.W_E.mean(0), "zero": 0 * model.W_E[0]}
    other = model.W_E[baseline[prompt]] if torch.is_tensor(baseline) else other[baseline]
    return start, model.W_E[tokens[prompt]] - other


@pytest.mark.parametrize("baseline", ["mean", "zero", tiny_tokens(2, 7, seed=3)], ids=str)
def test_each_column_is_what_its_definition_says(baseline):
    model, tokens = small_model(), tiny_tokens(2, 7)
    frame = token_saliency(
        model, tokens, TARGET, CONTRAST, POS, baseline=baseline, steps=5, batch_size=5
    )
    assert frame["token"].tolist() == tokens.flatten().tolist()
    for prompt in range(2):
        start, change = start_and_change(model, tokens, prompt, baseline)
        whole, nothing = measure(model, start, prompt), measure(model, start - change, prompt)
        own = frame[frame["prompt"] == prompt].set_index("pos")
        assert own["metric"].tolist() == pytest.approx([whole.item()] * 7, abs=1e-10)
        assert own["metric_baseline"].tolist() == pytest.approx([nothing.item()] * 7, abs=1e-10)
        step = 1e-6
        for pos in range(7):
            one = torch.zeros_like(change)
            one[pos] = change[pos]
            ablated = whole - measure(model, start - one, prompt)
            assert own["ablation"][pos] == pytest.approx(ablated.item(), abs=1e-10)
            slope = [measure(model, start + sign * step * one, prompt) for sign in (1, -1)]
            expected = ((slope[0] - slope[1]) / (2 * step)).item()
            assert own["gradient_times_input"][pos] == pytest.approx(expected, abs=1e-5)

        middles = []
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            stream = (start - (1 - share) * change).requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(measure(model, stream, prompt), stream)
            middles.append((gradient * change).sum(-1).numpy())
        found = own["integrated_gradients"]
        np.testing.assert_allclose(found, np.mean(middles, 0), atol=1e-10)
        assert (own.loc[POS + 1 :, ["gradient_times_input", "ablation"]].abs() < 1e-12).all(
            axis=None
        )


def test_integrated_gradients_come_to_the_whole_difference_with_more_steps():
    model, tokens = small_model(), tiny_tokens(2, 7)
    misses = []
    for steps in (4, 32, 256):
        frame = token_saliency(model, tokens, TARGET, CONTRAST, POS, steps=steps)
        by_prompt = frame.groupby("prompt")
        whole = by_prompt["metric"].first() - by_prompt["metric_baseline"].first()
        misses.append((by_prompt["integrated_gradients"].sum() - whole).abs().max())
    assert misses[2] < 0.01 < misses[1] < misses[0]
    assert whole.abs().min() > 1


def test_without_a_contrast_it_is_the_target_s_logit():
    model, tokens = small_model(norm="none", d_mlp=0), tiny_tokens(2, 7)
    frame = token_saliency(model, tokens, TARGET, None, POS, steps=2)
    start, _ = start_and_change(model, tokens, 1, "mean")
    expected = measure(model, start, 1, contrast=False).item()
    assert frame.loc[frame["prompt"] == 1, "metric"].iloc[0] == pytest.approx(expected, abs=1e-10)


def test_a_planted_fact_hangs_on_its_subject():
    made = planted.plant("fact_memory")
    prompts = made.prompts(next(iter(made.key.families)))
    frame = token_saliency(
        made.model, prompts.tokens, prompts.answers[:, -1], prompts.rivals[:, -1],
        baseline=prompts.corrupted, steps=4,
    )  # fmt: skip
    subject = frame["pos"].to_numpy() == np.repeat(prompts.marks["subject"].numpy(), 6)
    assert frame.loc[subject, "ablation"].min() > 1
    assert frame.loc[~subject, ["ablation", "integrated_gradients"]].abs().max(axis=None) < 1e-9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"baseline": "noise"}, "'noise' is no baseline"),
        ({"baseline": tiny_tokens(2, 5)}, "the baseline has shape"),
        ({"steps": 0}, "need at least one"),
    ],
)
def test_wrong_calls_are_answered_in_a_sentence(arguments, said, no_type_checks):
    with pytest.raises(InputError, match=said):
        token_saliency(small_model(), tiny_tokens(2, 7), TARGET, CONTRAST, POS, **arguments)
