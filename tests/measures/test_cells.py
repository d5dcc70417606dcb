"""Cells of roles on written patterns, against loops that share no code with them."""

import numpy as np
import pytest
import torch

from interp.core import GPTConfig, HookedGPT
from interp.measures import (
    REGISTRY,
    Scene,
    detect_roles,
    head_metrics,
    labels,
    ordinary_tokens,
    random_token_prompts,
    role_summary,
    suite_of,
)
from interp.measures.cells import match_cells

PROMPTS, POSITIONS = 7, 11
CPU = torch.device("cpu")


def random_pattern(seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(PROMPTS, POSITIONS, POSITIONS, generator=generator).double()
    causal = torch.ones(POSITIONS, POSITIONS).tril().bool()
    return scores.masked_fill(~causal, -torch.inf).softmax(dim=-1)


def repeating_tokens():
    """Tokens of an alphabet of five: many repeats, of different number in each prompt."""
    return np.random.default_rng(5).integers(0, 5, (PROMPTS, POSITIONS))


def repeat_scene(tokens, queries=None):
    queries = np.ones(tokens.shape, bool) if queries is None else queries
    return Scene({"prompt": tokens, "control": tokens}, np.arange(len(tokens)), queries=queries)


@pytest.mark.parametrize("offset", [-2, 0, 1, 3])
def test_repeats_match_a_count_by_hand(offset):
    """All earlier occurrences count, never the query or what comes later."""
    pattern, tokens = random_pattern().numpy(), repeating_tokens()
    found = match_cells(offset)(repeat_scene(tokens), CPU)
    scores = (found.target.weights.numpy() * pattern).sum((1, 2))
    for b in range(PROMPTS):
        per_query = []
        for i in range(POSITIONS):
            keys = [j + offset for j in range(i) if tokens[b, j] == tokens[b, i]]
            keys = [k for k in keys if (0 if offset >= 0 else 1) <= k < i]
            if keys:  # a query without a target does not count
                per_query.append(sum(pattern[b, i, k] for k in keys))
        assert scores[b] == pytest.approx(np.mean(per_query), abs=1e-12)
    assert torch.equal(found.target.weights, found.control.weights)
    assert (found.target.version, found.control.version) == ("prompt", "control")


def test_only_the_queries_asked_for_count():
    tokens = repeating_tokens()
    tokens[:, 4], tokens[:, 9] = 77, 77
    queries = np.zeros(tokens.shape, bool)
    queries[:, 9] = True
    weights = match_cells(1)(repeat_scene(tokens, queries), CPU).target.weights
    assert (weights[:, 9, 5] == 1).all() and weights.sum() == PROMPTS


def test_prompts_without_a_repeat_are_not_defined():
    tokens = repeating_tokens()
    tokens[3] = np.arange(100, 100 + POSITIONS)
    defined = REGISTRY["duplicate_token"].cells(repeat_scene(tokens), CPU).defined
    assert defined.tolist() == [row != 3 for row in range(PROMPTS)]


def test_first_token_matches_a_count_by_hand():
    """Position 0 of ordinary prompts against positions 1 to 4, queries from 6 on."""
    pattern = random_pattern().numpy()
    scene = Scene({"text": repeating_tokens()}, np.arange(PROMPTS), plain="text")
    found = REGISTRY["first_token"].cells(scene, CPU)
    for b in range(PROMPTS):
        queries = range(6, POSITIONS)
        score = np.mean([pattern[b, i, 0] for i in queries])
        control = np.mean([pattern[b, i, k] for i in queries for k in (1, 2, 3, 4)])
        of_prompt = pattern[b] * found.target.weights[b].numpy()
        assert of_prompt.sum() == pytest.approx(score, abs=1e-12)
        of_control = pattern[b] * found.control.weights[b].numpy()
        assert of_control.sum() == pytest.approx(control, abs=1e-12)


@pytest.mark.parametrize("role", ["previous_token", "current_token", "first_token", "local"])
def test_even_attention_is_no_role(role):
    """A head that looks everywhere alike has the score that its control has."""
    even = torch.ones(POSITIONS, POSITIONS).tril().double()
    even = even / even.sum(dim=-1, keepdim=True)
    scene = Scene({"text": repeating_tokens()}, np.arange(PROMPTS), plain="text")
    found = REGISTRY[role].cells(scene, CPU)
    sides = [(even * side.weights[0]).sum() for side in (found.target, found.control)]
    assert sides[0].item() == pytest.approx(sides[1].item(), abs=1e-15)


@pytest.mark.parametrize("role", ["previous_token", "local", "first_token", "induction"])
def test_prompts_that_are_too_short_have_no_cells(role):
    """One token: no query has a target."""
    scene = Scene({"prompt": np.zeros((6, 1), int)}, np.arange(6), "prompt", np.ones((6, 1), bool))
    assert not REGISTRY[role].cells(scene, CPU).defined.any()


# ------------------------------------------------------------------------- a whole model


class Written(HookedGPT):
    """A model whose patterns are written by hand: one role per head."""

    def __init__(self, n_ctx=33, d_vocab=60):
        config = GPTConfig(n_layers=1, d_model=20, n_heads=5, n_ctx=n_ctx, d_vocab=d_vocab)
        super().__init__(config)
        self.requires_grad_(False).eval()

    def run_with_hooks(self, tokens, fwd_hooks=(), bwd_hooks=(), **forward):
        pattern = torch.zeros(len(tokens), 5, tokens.shape[1], tokens.shape[1])
        for b, row in enumerate(tokens.tolist()):
            for i in range(len(row)):
                earlier = [j for j in range(i) if row[j] == row[i]]
                after = [j + 1 for j in earlier if j + 1 < i]
                pattern[b, 0, i, max(i - 1, 0)] = 1
                pattern[b, 1, i, earlier[-1] if earlier else 0] = 1
                pattern[b, 2, i, after[-1] if after else i] = 1
                pattern[b, 3, i, 0] = 1
                pattern[b, 4, i, max(i - 15, 0)] = 1  # the lag decoy of period 16
        for name, hook in fwd_hooks:
            assert name == "blocks.0.attn.hook_pattern"
            hook(pattern, None)
        return pattern


ATTENTION = ("previous_token", "duplicate_token", "first_token")


def test_written_patterns_get_each_role_once_and_the_decoy_none():
    prompts = random_token_prompts(np.arange(1, 60), 42, n_ctx=33, bos_id=0)
    frame = detect_roles(
        Written(), [suite_of(prompts)], roles=ATTENTION, n_permutations=2000, n_resamples=99
    )
    found = sorted((row.head, row.role) for row in labels(frame).itertuples())
    assert found == [
        (0, "previous_token"),
        (1, "duplicate_token"),
        # On tokens without a repeat the duplicate head rests on the first one, and that is a role.
        (1, "first_token"),
        (3, "first_token"),
        # Within 16 tokens of the beginning the decoy has nowhere else to go.
        (4, "first_token"),
    ]


def test_a_summary_names_the_best_head_of_each_role():
    prompts = random_token_prompts(np.arange(1, 60), 42, n_ctx=33, bos_id=0)
    options = {"roles": ATTENTION, "n_permutations": 2000, "n_resamples": 99}
    frame = detect_roles(Written(), [suite_of(prompts)], **options)
    shown = frame["contrast"].where(frame["role"] == "previous_token", 0)
    random = frame.assign(contrast=shown / 4, label=False)
    table = role_summary(frame, random).set_index("role")
    assert list(table.index) == ["previous_token", "duplicate_token", "first_token"]
    assert table["head"].to_dict() == {
        "previous_token": 0, "duplicate_token": 1, "first_token": 1,
    }  # fmt: skip
    assert table["n_labelled"].tolist() == [1, 1, 3]
    assert (table["n_labelled_random_init"] == 0).all() and (table["n_heads"] == 5).all()
    previous = table.loc["previous_token"]
    assert (previous["score"], previous["contrast"]) == pytest.approx((1, 1), abs=1e-6)
    assert previous["strength"] == pytest.approx(10, abs=1e-5)  # the smallest effect is 0.1
    assert previous["strength_random_init"] == pytest.approx(2.5, abs=1e-5)


# ------------------------------------------------------------------------ training metrics


def test_head_metrics_of_written_patterns():
    found = head_metrics(Written(), n_prompts=12)
    expected = {"best_previous_token": 1.0, "best_induction_contrast": 1.0}
    assert found == pytest.approx(expected, abs=1e-6)


def test_head_metrics_are_the_means_of_a_count_by_hand():
    config = GPTConfig(n_layers=2, d_model=15, n_heads=3, n_ctx=23, d_vocab=37)
    model = HookedGPT(config, seed=0, dtype=torch.float64).requires_grad_(False).eval()
    prompts = random_token_prompts(ordinary_tokens(model, 0), 48, 23, 0, 0)
    previous, repeats = [], []
    for batch in prompts.batches:
        _, cache = model.run_with_cache(torch.tensor(batch.control))
        control = cache.stack("pattern").numpy()
        _, cache = model.run_with_cache(torch.tensor(batch.tokens))
        repeat, n_pos = cache.stack("pattern").numpy(), batch.tokens.shape[1]
        period = (n_pos - 1) // 2
        for b in range(len(batch)):
            previous.append(np.mean([control[:, b, :, i, i - 1] for i in range(3, n_pos)], 0))
            places = [(i, i - period + 1) for i in range(1 + period, n_pos)]
            repeats.append(np.mean([(repeat - control)[:, b, :, i, k] for i, k in places], 0))
    found = head_metrics(model)
    assert found["best_previous_token"] == pytest.approx(np.mean(previous, 0).max(), abs=1e-12)
    assert found["best_induction_contrast"] == pytest.approx(np.mean(repeats, 0).max(), abs=1e-12)
    assert head_metrics(model) == found


def test_special_tokens_are_not_ordinary():
    model = Written()
    assert ordinary_tokens(model, bos_id=3).tolist() == [i for i in range(60) if i != 3]
