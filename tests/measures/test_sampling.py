"""Samplers, steps, searches and identities against loops, SciPy and exhaustive enumeration."""

import itertools

import numpy as np
import pytest
import torch
from oracles.tiny import tiny_model, tiny_tokens
from scipy import stats

from interp import measures
from interp.core import InputError
from interp.core.generation import Sampling, draw
from interp.measures import sampling

LOGITS = 2 * torch.randn(3, 23, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


# --- draws ---


def test_draws_invert_the_cumulative_distribution():
    """By hand: 0.2, 0.5, 0.3 with the middle one removed."""
    log_probs = torch.tensor([[0.2, 0.5, 0.3], [0.4, 0.0, 0.6]], dtype=torch.float64).log()
    uniform = torch.tensor([[0.0, 0.19, 0.21, 0.69, 0.71, 1 - 1e-16]] * 2, dtype=torch.float64)
    assert draw(log_probs, uniform).tolist() == [[0, 0, 1, 1, 2, 2], [0, 0, 0, 2, 2, 2]]


def test_a_right_sampler_passes_and_a_wrong_one_fails():
    rules = {"plain": Sampling(), "cold": Sampling(0.6), "top-k": Sampling(top_k=4)}
    checks, frequencies = measures.sampler_check(LOGITS, rules, 4000, seed=3)
    assert len(checks) == 9
    assert (checks["outside"] == 0).all()
    pooled = measures.pooled_chi_square(checks).set_index("rule")
    assert (pooled["p"] > 0.01).all()
    assert (checks["tv"] < 2 * checks["expected_tv"]).all()
    assert checks.set_index("rule")["kept"]["top-k"].tolist() == [4] * 3
    assert pooled["draws"].tolist() == [12_000] * 3
    cold = frequencies[frequencies["rule"] == "cold"].set_index("token")
    plain = Sampling().log_probs(LOGITS[:1]).exp()[0].numpy()
    counts = (cold["frequency"].reindex(range(23)).fillna(0) * 4000).round().astype(int)
    assert measures.chi_square(counts.to_numpy(), plain)[2] < 1e-6
    inside = frequencies["frequency"].between(frequencies["low"], frequencies["high"])
    assert inside.mean() > 0.85


def test_frequencies_are_shares_of_the_draws_in_order_of_probability():
    _, frequencies = measures.sampler_check(LOGITS, {"plain": Sampling()}, 500, seed=1)
    assert frequencies["frequency"].sum() == pytest.approx(1)
    assert frequencies["probability"].is_monotonic_decreasing
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(3, 500, dtype=torch.float64, generator=generator)
    drawn = draw(Sampling().log_probs(LOGITS), uniform)[0].numpy()
    top = frequencies.iloc[0]
    assert top["frequency"] == np.mean(drawn == top["token"])


@pytest.mark.parametrize(("n", "p"), [(10, 0.3), (7, 0.001), (50, 0.98), (40, 0.25), (9, 1.0)])
def test_the_mean_deviation_of_a_binomial(n, p):
    """Oracle: the sum over all counts."""
    k = np.arange(n + 1)
    expected = (np.abs(k - n * p) * stats.binom.pmf(k, n, p)).sum()
    assert measures.binomial_mean_deviation(n, np.array([p]))[0] == pytest.approx(expected)


def test_expected_total_variation_is_the_mean_over_samples():
    checks, _ = measures.sampler_check(LOGITS, {"plain": Sampling()}, 300)
    probs = LOGITS.softmax(-1).numpy()
    rng = np.random.default_rng(0)
    for row in checks.itertuples():
        counts = rng.multinomial(300, probs[row.prompt], 2000) / 300
        distances = 0.5 * np.abs(counts - probs[row.prompt]).sum(axis=1)
        assert row.expected_tv == pytest.approx(distances.mean(), rel=0.02)
        assert row.tv_high == pytest.approx(np.quantile(distances, 0.975), rel=0.12)


def test_chi_square_equals_scipy_where_nothing_is_rare():
    counts, probs = np.array([30, 50, 20]), np.array([0.25, 0.5, 0.25])
    expected = stats.chisquare(counts, 100 * probs)
    assert measures.chi_square(counts, probs) == pytest.approx(
        (expected.statistic, 2, expected.pvalue)
    )


def test_rare_tokens_are_joined_from_the_rarest_on():
    """By hand, 100 draws: 1 + 2 + 3 is expected 6 times, 4 joins 20, 70 stands alone."""
    probs = np.array([0.70, 0.01, 0.04, 0.02, 0.03, 0.20])
    counts = np.array([64, 2, 3, 3, 4, 24])
    expected = stats.chisquare([9, 27, 64], [6, 24, 70])
    assert measures.chi_square(counts, probs) == pytest.approx(
        (expected.statistic, 2, expected.pvalue)
    )
    # What is left over at the end joins the last cell; a single cell tests nothing.
    assert measures.chi_square(np.array([3, 1]), np.array([0.5, 0.5])) == (0.0, 0, 1.0)
    assert measures.chi_square(np.array([10]), np.array([1.0])) == (0.0, 0, 1.0)


def test_p_values_of_a_right_sampler_are_uniform():
    rng = np.random.default_rng(4)
    probs = LOGITS[0].softmax(-1).numpy()
    p = [measures.chi_square(rng.multinomial(400, probs), probs)[2] for _ in range(300)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_chi_squares_of_prompts_add():
    checks, _ = measures.sampler_check(LOGITS, {"a": Sampling()}, 700)
    (row,) = measures.pooled_chi_square(checks).itertuples()
    assert row.chi2 == pytest.approx(checks["chi2"].sum())
    assert row.p == pytest.approx(stats.chi2.sf(checks["chi2"].sum(), checks["df"].sum()))
    assert row.tv == pytest.approx(checks["tv"].mean())
    assert (row.prompts, row.draws) == (3, 2100)


def test_filters_are_those_of_their_definitions():
    frame = measures.filter_check(LOGITS.numpy(), (1, 3, 99), (0.2, 0.9, 1.0), (0.1, 1.0))
    assert len(frame) == 24
    assert frame["same"].all()
    by = frame.set_index(["rule", "setting", "prompt"])
    assert by.loc[("top-k", 1.0, 2), "kept"] == 1
    assert by.loc[("top-k", 99.0, 2), "kept"] == 23
    assert by.loc[("nucleus", 1.0, 0), "kept"] == 23
    assert by.loc[("min-p", 1.0, 1), "kept"] == 1
    probs = np.sort(LOGITS[1].softmax(-1).numpy())[::-1]
    assert by.loc[("nucleus", 0.9, 1), "kept"] == np.searchsorted(probs.cumsum(), 0.9) + 1
    assert by.loc[("min-p", 0.1, 1), "kept"] == (probs >= 0.1 * probs[0]).sum()
    assert (frame["defined"] == frame["kept"]).all()
    assert not frame["wrong_same"].loc[frame["setting"] != 99].any()


@pytest.mark.parametrize(
    ("k", "p", "m", "message"),
    [
        (0, 1.0, 1.0, "top_k"),
        (1, 0.0, 1.0, "top_p"),
        (1, 1.1, 1.0, "top_p"),
        (1, 1.0, 0.0, "min_p"),
    ],
)
def test_settings_that_are_none_are_one_clear_error(k, p, m, message):
    with pytest.raises(InputError, match=message):
        measures.filter_check(LOGITS.numpy(), (k,), (p,), (m,))


# --- steps ---


def test_surprisals_are_the_models_losses(model):
    tokens = tiny_tokens(1, 9)[0]
    frame = measures.surprisals(model, tokens)
    losses = model.loss(tokens, per_token=True)[0]
    assert frame["surprisal_nats"].tolist() == pytest.approx(losses.tolist())
    assert frame["token"].tolist() == tokens[1:].tolist()
    probs = model(tokens[None])[0].softmax(-1)
    for row in frame.itertuples():
        own = probs[row.pos - 1]
        assert row.rank == 1 + int((own > own[row.token]).sum())
        assert row.probability == pytest.approx(own[row.token].item())
        assert row.entropy_nats == pytest.approx(stats.entropy(own.numpy()))
    with pytest.raises(InputError, match="1 token"):
        measures.surprisals(model, tokens[:1])


def test_of_equal_tokens_the_lower_id_ranks_first(model):
    even = tiny_model()
    even.unembed.b_U.data.zero_() if even.config.unembed_bias else None
    even.embed.W_E.data.zero_()
    tokens = torch.tensor([3, 7, 0])
    assert measures.surprisals(even, tokens)["rank"].tolist() == [8, 1]


def test_the_strip_of_steps(model):
    prompt = tiny_tokens(1, 4)[0]
    steps, candidates = measures.generation_steps(model, prompt, 6, 3, seed=9)
    made = model.generate(prompt, 6, seed=9).tokens[0]
    assert steps["token"].tolist() == made[4:].tolist()
    assert steps["step"].tolist() == [1, 2, 3, 4, 5, 6]
    for row in steps.itertuples():
        probs = model(made[: 3 + row.step])[0, -1].softmax(-1)  # the prompt and earlier steps
        shown = candidates[candidates["step"] == row.step]
        best = probs.argsort(descending=True)[:3].tolist()
        assert shown["token"].tolist()[:3] == best
        assert len(shown) == (3 if row.token in best else 4)
        assert shown.loc[shown["chosen"], "token"].tolist() == [row.token]
        assert shown.loc[shown["chosen"], "rank"].tolist() == [row.rank]
        assert row.probability == pytest.approx(probs[row.token].item())
        assert shown["probability"].tolist() == pytest.approx(
            probs[shown["token"].to_numpy()].tolist()
        )
    assert (steps["rank"] > 3).any(), "no drawn token lies outside the shown ones"


# --- identities ---


def test_identities_hold_in_float64_and_wrong_ones_do_not(model):
    frame = measures.generation_identities(model, tiny_tokens(2, 9))
    assert (frame["deviation"] < 1e-10).all()
    assert (frame["wrong_deviation"] > 0.01).all()
    assert frame["precision"].tolist() == ["float64"] * 5
    assert frame["own_deviation"].tolist() == frame["deviation"].tolist()
    assert frame["n"].tolist() == [2, 2, 15, 2, 3]
    assert frame["deviation"].tolist()[3:] == [0, 0]  # no path, not a small effect
    without = measures.generation_identities(tiny_model(d_mlp=0), tiny_tokens(2, 9))
    assert len(without) == 4


def test_wrong_ways_are_what_they_are_called(model):
    """Oracles: each computed here, position by position."""
    tokens = tiny_tokens(1, 7)
    wrong = measures.generation_identities(model, tokens)["wrong_deviation"]
    whole = model(tokens)
    alone = torch.stack([model(tokens[:, i : i + 1])[0, 0] for i in range(7)])
    assert wrong[0] == pytest.approx((alone - whole[0]).abs().max().item())
    seeing = model.loss(tokens, per_token=True, mask="none")
    assert wrong[1] == pytest.approx(
        (seeing - model.loss(tokens, per_token=True)).abs().max().item()
    )
    other = tokens.clone()
    other[0, 3] = (tokens[0, 3] + 1) % model.config.d_vocab
    leak = (model(tokens, mask="none") - model(other, mask="none"))[0, :3]
    assert wrong[3] == pytest.approx(leak.abs().max().item())


def test_an_mlp_that_mixed_positions_would_be_noticed(model, monkeypatch):
    mlp = type(model.blocks[0].mlp)
    alone = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda self, x: alone(self, x + x.mean(1, keepdim=True)))
    frame = measures.generation_identities(model, tiny_tokens(2, 9))
    assert frame["deviation"][4] > 0.01


def test_a_model_in_its_own_precision_is_checked_in_both():
    model = tiny_model(dtype=torch.float32)
    frame = measures.generation_identities(model, tiny_tokens(2, 5))
    assert (frame["deviation"] < 1e-10).all() and set(frame["tolerance"]) == {1e-10}
    assert (frame["own_deviation"] > 1e-9).any() and (frame["own_deviation"] < 1e-4).all()
    assert model.W_E.dtype == torch.float32
    with pytest.raises(InputError, match="3 tokens"):
        measures.generation_identities(model, tiny_tokens(2, 2))


# --- search ---


def exhaustive(model, prompt, depth, temperature=1.0):
    """The best of all continuations, each scored by one pass over all of it."""
    paths = torch.tensor(list(itertools.product(range(11), repeat=depth)))
    read = torch.cat([prompt.expand(len(paths), -1), paths], 1)
    log_probs = (model(read)[:, len(prompt) - 1 : -1] / temperature).log_softmax(-1)
    scores = log_probs.gather(-1, paths[:, :, None])[:, :, 0].sum(1)
    return paths[scores.argmax()].tolist(), scores.max().item()


@pytest.fixture(scope="module")
def narrow():
    return tiny_model(d_vocab=11)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_best_continuation_is_that_of_exhaustive_search(narrow, temperature):
    for seed in range(4):
        prompt = tiny_tokens(1, 3, d_vocab=11, seed=seed)[0]
        path, score = exhaustive(narrow, prompt, 3, temperature)
        found = measures.best_continuation(narrow, prompt, 3, temperature)
        assert found[0] == path
        assert found[1] == pytest.approx(score, abs=1e-9)


def test_a_search_that_would_read_too_much_says_so(narrow):
    prompt = tiny_tokens(1, 3, d_vocab=11)[0]
    assert measures.best_continuation(narrow, prompt, 3, 50.0, max_reads=20) is None
    assert measures.best_continuation(narrow, prompt, 3, 50.0) is not None
    with pytest.raises(InputError, match="depth"):
        measures.best_continuation(narrow, prompt, 0)


def test_beams_beside_the_best_continuation(narrow):
    prompts = tiny_tokens(5, 3, d_vocab=11, seed=6)
    frame = measures.beam_comparison(narrow, prompts, 3, (1, 2, 121))
    assert len(frame) == 15
    for number, prompt in enumerate(prompts):
        path, score = exhaustive(narrow, prompt, 3)
        of_prompt = frame[frame["prompt"] == number].set_index("width")
        assert of_prompt["exact_log_prob"].tolist() == pytest.approx([score] * 3)
        assert of_prompt["found"][121] and of_prompt["gap_nats"][121] == pytest.approx(0, abs=1e-9)
        greedy = narrow.generate(prompt, 3, temperature=0).new_tokens[0]
        assert of_prompt["found"][1] == (greedy == path)
        read = torch.cat([prompt, torch.tensor(greedy)])
        losses = narrow.loss(read, per_token=True)[0, 2:]
        assert of_prompt["log_prob"][1] == pytest.approx(-losses.sum().item())
        assert (of_prompt["gap_nats"] > -1e-9).all()
    assert not measures.beam_comparison(narrow, prompts, 3, (1,), max_reads=1).size


def test_a_temperature_can_change_which_continuation_is_best(narrow):
    prompts = tiny_tokens(8, 3, d_vocab=11, seed=6)
    frame = measures.beam_temperature(narrow, prompts, 2, (0.2, 1.0, 5.0))
    assert frame["searched"].all()
    assert frame.loc[frame["temperature"] == 1.0, "same"].all()
    assert not frame["same"].all()
    for row in frame.itertuples():
        prompt = prompts[row.prompt]
        plain, other = (exhaustive(narrow, prompt, 2, t)[0] for t in (1.0, row.temperature))
        assert row.same == (plain == other)
        assert row.same_first == (plain[0] == other[0])
    lost = measures.beam_temperature(narrow, prompts[:1], 2, (0.2,), max_reads=1)
    assert not lost["searched"].any() and not lost["same"].any()


def test_beams_as_wide_as_the_vocabulary_lose_nothing(model):
    deviation, missing = measures.wide_beam_deviation(model, tiny_tokens(1, 4)[0])
    assert deviation < 1e-10 and missing == 0


def test_draws_of_removed_tokens_are_counted():
    found = sampling._goodness(
        np.array([5, 2, 3]), np.array([0.5, 0.0, 0.5]), np.random.default_rng(0)
    )
    assert (found["outside"], found["kept"], found["n"]) == (2, 2, 10)
    assert found["tv"] == pytest.approx(0.2)
