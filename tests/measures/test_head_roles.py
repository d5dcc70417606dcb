import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from interp.core import GPTConfig, HookedGPT, InputError
from interp.measures import (
    MIN_EFFECT,
    ROLES,
    PromptSet,
    confirmed_roles,
    duplicate_token_scores,
    first_token_scores,
    head_metrics,
    head_role_scores,
    induction_scores,
    ordinary_tokens,
    previous_token_scores,
    random_token_prompts,
    role_summary,
    text_prompts,
)
from interp.measures.head_roles import RoleValues, role_values
from interp.measures.stimuli import PromptBatch

LAYERS, PROMPTS, HEADS, POSITIONS = 2, 7, 3, 11


def random_pattern(n_layers=LAYERS, n_prompts=PROMPTS, n_heads=HEADS, n_pos=POSITIONS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n_layers, n_prompts, n_heads, n_pos, n_pos, generator=generator).double()
    causal = torch.ones(n_pos, n_pos).tril().bool()
    return scores.masked_fill(~causal, -torch.inf).softmax(dim=-1)


def pattern_at(lag=None, key=None, n_prompts=PROMPTS, n_pos=POSITIONS):
    """All attention a fixed distance back, or on one key; on itself where that is not possible."""
    pattern = torch.zeros(1, n_prompts, 1, n_pos, n_pos).double()
    for query in range(n_pos):
        target = query - lag if lag is not None else key
        pattern[..., query, target if 0 <= target <= query else query] = 1
    return pattern


def by_head(frame, layer, head):
    return frame[(frame["layer"] == layer) & (frame["head"] == head)].iloc[0]


# ------------------------------------------------------------- against counts by hand


def test_previous_token_scores_match_a_count_by_hand():
    """Oracle: the definition as loops, with no shared code."""
    pattern = random_pattern()
    frame = previous_token_scores(pattern)
    assert len(frame) == LAYERS * HEADS
    for row in frame.itertuples():
        scores, controls = [], []
        for prompt in pattern[row.layer, :, row.head].numpy():
            queries = range(3, POSITIONS)
            scores.append(np.mean([prompt[i, i - 1] for i in queries]))
            far = [[prompt[i, i - lag] for lag in range(2, 9) if i - lag >= 1] for i in queries]
            controls.append(np.mean([np.mean(values) for values in far]))
        assert row.score == pytest.approx(np.mean(scores), abs=1e-12)
        assert row.control == pytest.approx(np.mean(controls), abs=1e-12)
        assert row.contrast == pytest.approx(np.mean(scores) - np.mean(controls), abs=1e-12)
        assert row.n == PROMPTS


def test_first_token_scores_match_a_count_by_hand():
    pattern = random_pattern()
    for row in first_token_scores(pattern).itertuples():
        prompts = pattern[row.layer, :, row.head].numpy()
        score = np.mean([[prompt[i, 0] for i in range(6, POSITIONS)] for prompt in prompts])
        control = np.mean(
            [
                [prompt[i, k] for i in range(6, POSITIONS) for k in (1, 2, 3, 4)]
                for prompt in prompts
            ]
        )
        assert row.score == pytest.approx(score, abs=1e-12)
        assert row.control == pytest.approx(control, abs=1e-12)


def repeating_tokens():
    """Tokens of an alphabet of five: many repeats, of different number in each prompt."""
    return torch.tensor(np.random.default_rng(5).integers(0, 5, (PROMPTS, POSITIONS)))


@pytest.mark.parametrize("offset, measure", [(0, duplicate_token_scores), (1, induction_scores)])
def test_repeat_scores_match_a_count_by_hand(offset, measure):
    """Duplicate token looks at earlier occurrences, induction one further, never at the query."""
    pattern, control_pattern = random_pattern(seed=1), random_pattern(seed=2)
    tokens = repeating_tokens()
    frame = measure(pattern, control_pattern, tokens)
    for row in frame.itertuples():
        means = {"score": [], "control": []}
        for name, side in (("score", pattern), ("control", control_pattern)):
            for b in range(PROMPTS):
                per_query = []
                for i in range(POSITIONS):
                    keys = [j + offset for j in range(i) if tokens[b, j] == tokens[b, i]]
                    keys = [k for k in keys if k < i]
                    if keys:  # a query without a target does not count
                        per_query.append(sum(side[row.layer, b, row.head, i, k] for k in keys))
                means[name].append(np.mean(per_query))
        assert row.score == pytest.approx(np.mean(means["score"]), abs=1e-12)
        assert row.control == pytest.approx(np.mean(means["control"]), abs=1e-12)


def test_only_the_queries_asked_for_count():
    pattern, tokens = random_pattern(), repeating_tokens()
    tokens[:, 4], tokens[:, 9] = 77, 77
    queries = torch.zeros(PROMPTS, POSITIONS, dtype=torch.bool)
    queries[:, 9] = True
    frame = induction_scores(pattern, pattern, tokens, queries)
    expected = pattern[:, :, :, 9, 5].mean(dim=1)
    for row in frame.itertuples():
        assert row.score == pytest.approx(expected[row.layer, row.head].item(), abs=1e-12)
        assert row.contrast == 0


def test_prompts_without_a_repeat_do_not_count():
    tokens = repeating_tokens()
    tokens[3] = torch.arange(100, 100 + POSITIONS)
    frame = duplicate_token_scores(random_pattern(), random_pattern(), tokens)
    assert (frame["n"] == PROMPTS - 1).all()
    assert not frame.isna().any().any()


# ---------------------------------------------------------------- planted patterns, decoys


def test_a_perfect_previous_token_pattern_scores_1():
    row = by_head(previous_token_scores(pattern_at(lag=1)), 0, 0)
    assert (row["score"], row["control"], row["contrast"]) == (1, 0, 1)
    assert (row["ci_low"], row["ci_high"]) == (1, 1)
    assert row["p"] == pytest.approx(2.0**-PROMPTS)


def test_a_perfect_first_token_pattern_scores_1():
    row = by_head(first_token_scores(pattern_at(key=0)), 0, 0)
    assert (row["score"], row["control"]) == (1, 0)


@pytest.mark.parametrize("lag", [2, 3, 5])
def test_other_lags_are_no_previous_token_heads(lag):
    row = by_head(previous_token_scores(pattern_at(lag=lag)), 0, 0)
    assert row["score"] == 0
    assert row["contrast"] < 0


def test_even_attention_is_no_role():
    """A head that looks everywhere alike has the score that its control has."""
    even = torch.ones(POSITIONS, POSITIONS).tril().double()
    pattern = (even / even.sum(dim=-1, keepdim=True)).expand(1, PROMPTS, 1, -1, -1)
    for frame in (previous_token_scores(pattern), first_token_scores(pattern)):
        assert frame["contrast"].item() == pytest.approx(0, abs=1e-15)


def test_a_lag_decoy_fools_the_naive_induction_score_but_not_the_contrast():
    """At period 5 a head that always looks 4 back hits every target: score 1, contrast 0."""
    prompts = random_token_prompts(np.arange(1, 40), PROMPTS, n_ctx=11, bos_id=0)
    batch = prompts.batches[-1]
    assert batch.tokens.shape == (len(batch), 11)
    tokens = torch.tensor(np.repeat(batch.tokens[:1], PROMPTS, axis=0))
    queries = torch.tensor(np.repeat(batch.queries[:1], PROMPTS, axis=0))
    decoy = pattern_at(lag=4)
    row = by_head(induction_scores(decoy, decoy, tokens, queries), 0, 0)
    assert row["score"] == 1
    assert row["contrast"] == 0
    assert row["p"] == 1


# ------------------------------------------------------------------------- a whole model


class Planted(HookedGPT):
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


def test_a_planted_model_gets_each_role_once_and_the_decoy_none():
    model = Planted()
    prompts = random_token_prompts(np.arange(1, 60), 42, n_ctx=33, bos_id=0)
    frame = head_role_scores(model, [prompts], n_permutations=200, n_resamples=99)
    held = confirmed_roles(frame)
    found = sorted(zip(held["head"], held["role"], strict=True))
    assert found == [
        (0, "previous_token"),
        (1, "duplicate_token"),
        # On tokens without a repeat the duplicate head rests on the first one, and that is a role.
        (1, "first_token"),
        (2, "induction"),
        (3, "first_token"),
        # Within 16 tokens of the beginning the decoy has nowhere else to go.
        (4, "first_token"),
    ]
    decoy = frame[(frame["head"] == 4) & (frame["role"] == "induction")].iloc[0]
    assert decoy["score"] > 0.2
    assert decoy["contrast"] == pytest.approx(0, abs=1e-12)
    assert frame["q"].tolist() == pytest.approx(
        scipy.stats.false_discovery_control(frame["p"]).tolist()
    )


def tiny_model(seed=0, dtype=torch.float64):
    config = GPTConfig(n_layers=2, d_model=15, n_heads=3, n_ctx=23, d_vocab=37)
    return HookedGPT(config, seed=seed, dtype=dtype).requires_grad_(False).eval()


def test_streaming_gives_the_scores_of_the_whole_pattern():
    """Oracle: the pattern-level functions on the cached pattern, all prompts at once."""
    model = tiny_model()
    prompts = random_token_prompts(np.arange(1, 37), 14, n_ctx=11, bos_id=0)
    prompts = PromptSet("one period", prompts.batches[-1:], plain="control")
    batch = prompts.batches[0]
    sides = []
    for tokens in (batch.tokens, batch.control):
        _, cache = model.run_with_cache(torch.tensor(tokens))
        sides.append(cache.stack("pattern"))
    pattern, control = sides
    values = role_values(model, prompts, batch_size=4)
    n = len(batch)
    many = torch.arange(n).repeat(6)[:30]  # the frame functions want six prompts or more
    expected = {
        "previous_token": previous_token_scores(control[:, many]),
        "first_token": first_token_scores(control[:, many]),
        "duplicate_token": duplicate_token_scores(
            pattern[:, many], control[:, many], batch.tokens[many], batch.queries[many]
        ),
        "induction": induction_scores(
            pattern[:, many], control[:, many], batch.tokens[many], batch.queries[many]
        ),
    }
    assert list(values) == list(ROLES)
    for role, frame in expected.items():
        score, of_control = (
            side[many.numpy()].mean(axis=0).ravel()
            for side in (values[role].score, values[role].control)
        )
        assert score == pytest.approx(frame["score"].to_numpy(), abs=1e-12)
        assert of_control == pytest.approx(frame["control"].to_numpy(), abs=1e-12)


def test_batch_size_changes_nothing():
    prompts = random_token_prompts(np.arange(1, 37), 26, n_ctx=23, bos_id=0)
    options = {"n_permutations": 50, "n_resamples": 50}
    one, other = (
        head_role_scores(tiny_model(), [prompts], batch_size=size, **options) for size in (3, 64)
    )
    pd.testing.assert_frame_equal(one, other, rtol=1e-9)


def test_random_weights_hold_no_role():
    prompts = random_token_prompts(np.arange(1, 37), 48, n_ctx=23, bos_id=0)
    frame = head_role_scores(tiny_model(), [prompts], n_permutations=200, n_resamples=99)
    assert not frame["confirmed"].any()
    assert not frame.isna().any().any()


def test_the_last_kind_of_prompts_decides():
    model = Planted()
    random = random_token_prompts(np.arange(1, 60), 24, n_ctx=33, bos_id=0)
    no_repeats = np.array([np.random.default_rng(i).permutation(59)[:20] + 1 for i in range(24)])
    text = text_prompts([no_repeats])
    frame = head_role_scores(model, [random, text], n_permutations=50, n_resamples=50)
    deciding = frame[frame["decisive"]].groupby("role")["prompts"].unique().map(list).to_dict()
    assert deciding == {
        "previous_token": ["text"],
        "first_token": ["text"],
        # Nothing repeats in the text: the role is not defined there, and has no rows.
        "duplicate_token": ["random tokens"],
        "induction": ["random tokens"],
    }


def test_prompts_of_one_template_count_once():
    """Two templates' prompts are averaged before they are compared with others."""
    tokens = np.array([np.random.default_rng(i).permutation(36)[:9] + 1 for i in range(5)])
    queries = np.zeros_like(tokens, bool)
    batch = PromptBatch(tokens, tokens, queries, unit=np.array([0, 1, 0, 0, 1]))
    apart = PromptBatch(tokens, tokens, queries, unit=np.arange(5))
    model = tiny_model()
    together, single = (
        role_values(model, PromptSet("x", (one,)))["first_token"].score for one in (batch, apart)
    )
    assert together.shape == (2, 2, 3)
    assert together[0] == pytest.approx(single[[0, 2, 3]].mean(axis=0))
    assert together[1] == pytest.approx(single[[1, 4]].mean(axis=0))


def test_discovery_and_confirmation_halves_do_not_share_prompts():
    """A head whose role is on half of the prompts only has different contrasts in the halves."""
    prompts = random_token_prompts(np.arange(1, 37), 40, n_ctx=23, bos_id=0)
    frame = head_role_scores(tiny_model(), [prompts], n_permutations=50, n_resamples=50)
    assert (frame["n"] == 20).all()
    assert (frame["contrast"] != frame["contrast_discovery"]).all()


def test_a_role_needs_size_certainty_and_significance(monkeypatch):
    """Four heads: clear; large on average but unsure; sure but small; noise."""
    rng = np.random.default_rng(0)
    contrast = np.stack(
        [
            0.5 + 0.01 * rng.random(48),
            np.tile([0.0, 0.28], 24),
            0.05 + 0.001 * rng.random(48),
            rng.normal(0, 0.3, 48),
        ],
        axis=-1,
    ).reshape(48, 2, 2)
    values = RoleValues(contrast + 0.2, np.full_like(contrast, 0.2))
    monkeypatch.setattr(
        "interp.measures.head_roles.role_values", lambda *_, **__: {"induction": values}
    )
    prompts = random_token_prompts(np.arange(1, 37), 48, n_ctx=23, bos_id=0)
    frame = head_role_scores(tiny_model(), [prompts], n_permutations=500, n_resamples=500)
    assert (frame["q"] < 0.05).tolist() == [True, True, True, False]
    assert (frame["contrast_discovery"] > 0.1).tolist()[:3] == [True, True, False]
    assert frame["confirmed"].tolist() == [True, False, False, False]


def test_selection_alone_does_not_confirm():
    frame = pd.DataFrame(
        {
            "decisive": [True, True, False],
            "confirmed": [True, False, True],
            "contrast": [0.2, 0.9, 0.9],
        }
    )
    assert confirmed_roles(frame)["contrast"].tolist() == [0.2]


def test_role_summary_takes_the_best_head_of_the_decisive_rows():
    columns = ["score", "control", "ci_low", "ci_high", "contrast_discovery", "q", "n"]
    rows = [
        ("random tokens", 0, 0, 0.9, False, True),
        ("text", 0, 1, 0.3, True, True),
        ("text", 1, 0, 0.5, True, False),
    ]
    frame = pd.DataFrame(
        [
            {"prompts": p, "role": "induction", "layer": layer, "head": head, "contrast": c}
            | {"decisive": decisive, "confirmed": confirmed}
            | dict.fromkeys(columns, 0.25)
            for p, layer, head, c, decisive, confirmed in rows
        ]
    )
    summary = role_summary(frame, frame.assign(contrast=frame["contrast"] / 10, confirmed=False))
    row = summary.iloc[0]
    assert len(summary) == 1
    assert (row["role"], row["prompts"], row["best"]) == ("induction", "text", "L1H0")
    assert (row["n_heads"], row["n_confirmed"], row["n_confirmed_random_init"]) == (2, 1, 0)
    assert (row["contrast"], row["contrast_random_init"]) == (0.5, pytest.approx(0.05))


# ------------------------------------------------------------------------ training metrics


def test_head_metrics_of_a_planted_model():
    found = head_metrics(Planted(), n_prompts=12)
    expected = {"best_previous_token": 1.0, "best_induction_contrast": 1.0}
    assert found == pytest.approx(expected, abs=1e-6)


def test_head_metrics_are_the_same_at_every_call():
    assert head_metrics(tiny_model()) == head_metrics(tiny_model())


def test_special_tokens_are_not_ordinary():
    model = tiny_model()
    assert ordinary_tokens(model, bos_id=3).tolist() == [i for i in range(37) if i != 3]


# ------------------------------------------------------------------------------- bad input


def test_one_token_is_refused():
    with pytest.raises(InputError, match="no query has a target for previous token"):
        previous_token_scores(random_pattern(n_pos=1))
    with pytest.raises(InputError, match="a prompt needs at least 7 tokens"):
        first_token_scores(random_pattern(n_pos=6))


def test_no_repeat_is_refused():
    tokens = torch.arange(PROMPTS * POSITIONS).reshape(PROMPTS, POSITIONS)
    with pytest.raises(InputError, match="the prompts repeat no token"):
        induction_scores(random_pattern(), random_pattern(), tokens)


def test_all_bos_is_no_nan():
    tokens = torch.zeros(PROMPTS, POSITIONS, dtype=torch.long)
    frame = duplicate_token_scores(random_pattern(), random_pattern(), tokens)
    assert not frame.isna().any().any()
    queries = torch.zeros_like(tokens, dtype=torch.bool)
    with pytest.raises(InputError, match="the prompts repeat no token"):
        duplicate_token_scores(random_pattern(), random_pattern(), tokens, queries)


def test_tokens_of_another_run_are_refused():
    with pytest.raises(InputError, match="were they of another run, or without BOS"):
        induction_scores(random_pattern(), random_pattern(), repeating_tokens()[:, 1:])


def test_a_control_of_another_length_is_refused(no_type_checks):
    with pytest.raises(InputError, match="a control prompt has the length of its prompt"):
        induction_scores(random_pattern(), random_pattern(n_pos=9), repeating_tokens())


def test_scores_instead_of_a_pattern_are_refused():
    with pytest.raises(InputError, match="were scores passed instead of hook_pattern"):
        previous_token_scores(random_pattern().log())
    broken = random_pattern()
    broken[0, 0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="no probabilities"):
        previous_token_scores(broken)


def test_a_pattern_of_one_step_is_refused():
    with pytest.raises(InputError, match="square pattern of a whole prompt"):
        previous_token_scores(random_pattern()[..., -2:, :])


def test_too_few_prompts_are_refused():
    prompts = random_token_prompts(np.arange(1, 37), 9, n_ctx=23, bos_id=0)
    with pytest.raises(InputError, match="at least six prompts of each half"):
        head_role_scores(tiny_model(), [prompts])


def test_the_smallest_effect_is_the_declared_one():
    assert MIN_EFFECT == 0.1
