"""Predict, sample, append, repeat: each step, and the sampler held against its softmax."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.stats
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core.errors import InputError
from interp.core.generation import Sampling, draw, generate

if TYPE_CHECKING:
    from interp.core import HookedGPT

LEAST_EXPECTED = 5.0  # draws in a cell of the chi-square (Cochran 1954)
_N_SIMULATED, _FEW, _MANY_TOKENS = 200, 40, 10_000  # many tokens vary little together


@torch.no_grad()
def surprisals(model: "HookedGPT", tokens: Int[Tensor, " pos"]) -> pd.DataFrame:
    """How surprised the model is by each token of a text, at temperature 1.

    Args:
        model: the model.
        tokens: one text; its first token is not predicted by anything.

    Returns:
        One row per token after the first: `pos`, `token`, `surprisal_nats` (−log probability),
        `probability`, `rank` (1 = the model's best; of equals the lower id first), `entropy_nats`
        (the surprisal to expect there).

    Raises:
        InputError: fewer than 2 tokens.

    Cost: one pass.
    """
    if len(tokens) < 2:
        raise InputError(f"a surprisal needs a token before it, but {len(tokens)} token came")
    log_probs = model(tokens[None, :-1])[0].double().log_softmax(-1)
    targets = tokens[1:, None]
    own = log_probs.gather(-1, targets)
    ids = torch.arange(log_probs.shape[1], device=tokens.device)
    ahead = (log_probs > own) | ((log_probs == own) & (ids < targets))
    return pd.DataFrame(
        {
            "pos": np.arange(1, len(tokens)),
            "token": tokens[1:].cpu().numpy(),
            "surprisal_nats": -own[:, 0].cpu().numpy(),
            "probability": own[:, 0].exp().cpu().numpy(),
            "rank": 1 + ahead.sum(-1).cpu().numpy(),
            "entropy_nats": torch.special.entr(log_probs.exp()).sum(-1).cpu().numpy(),
        }
    )


@torch.no_grad()
def generation_steps(
    model: "HookedGPT", prompt: Int[Tensor, " pos"], n_steps: int, top: int, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The strip of steps: what could have come next, and what was drawn.

    Args:
        model: the model.
        prompt: where it starts.
        n_steps: tokens to add, drawn at temperature 1.
        top: candidates shown at each step.
        seed: of the draws.

    Returns:
        Steps, one row each: `step` (from 1), `token`, `probability`, `rank`, `surprisal_nats`,
        `entropy_nats`. Candidates, one row per step and rank up to `top`, and one more for a drawn
        token that is not among them: `step`, `rank`, `token`, `probability`, `chosen`.

    Raises:
        InputError: as `interp.core.generation.generate`.
    """
    made = generate(model, prompt, n_steps, seed=seed).tokens[0]
    steps = surprisals(model, made).iloc[len(prompt) - 1 :].reset_index(drop=True)
    steps.insert(0, "step", np.arange(1, n_steps + 1))
    probs = model(made[None, :-1])[0, len(prompt) - 1 :].double().softmax(-1)
    order = probs.argsort(dim=-1, descending=True, stable=True)[:, :top]
    rows = []
    for row, best in zip(steps.itertuples(), order.tolist(), strict=True):
        shown = [*enumerate(best, 1)]
        shown += [] if row.token in best else [(row.rank, row.token)]
        rows += [
            (row.step, rank, token, float(probs[row.step - 1, token]), token == row.token)
            for rank, token in shown
        ]
    columns = ["step", "rank", "token", "probability", "chosen"]
    return steps.drop(columns="pos"), pd.DataFrame(rows, columns=columns)


def sampler_check(
    logits: Float[Tensor, "prompt d_vocab"],
    rules: Mapping[str, Sampling],
    n_draws: int = 10_000,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draws of each sampler against the distribution that it is meant to follow.

    Args:
        logits: one next-token distribution per prompt.
        rules: samplers by name.
        n_draws: from each distribution, by the function that `generate` draws with.
        seed: of draws and simulations.

    Returns:
        Checks, one row per rule and prompt: `rule`, `prompt`, `kept` (tokens with probability),
        `outside` (draws of others), `tv` (total variation between frequencies and probabilities),
        `expected_tv` (its exact mean for a right sampler, from the binomial mean deviation),
        `tv_high` (97.5 % point, simulated), `chi2`, `df`, `p`, `n` (draws). Frequencies of the
        first prompt, one row per rule and token drawn or possible: `rule`, `token`, `probability`,
        `frequency`, `low`, `high` (central 95 % of a right sampler's frequency, binomial).

    Cost: `rule * prompt * n_draws * log(d_vocab)` and as many simulated draws up to 200 times over.

    Source: chi-square with no cell expected fewer than 5 times, Cochran 1954; mean deviation of a
    binomial, De Moivre 1730.
    """
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    checks, frequencies = [], []
    for rule, sampling in rules.items():
        log_probs = sampling.log_probs(logits.cpu().double())
        uniform = torch.rand(
            len(logits), n_draws, dtype=torch.float64, generator=generator
        )  # as `generate` draws: one number per token
        drawn = draw(log_probs, uniform).numpy()
        for prompt, probs in enumerate(log_probs.exp().numpy()):
            counts = np.bincount(drawn[prompt], minlength=len(probs))
            checks.append({"rule": rule, "prompt": prompt} | _goodness(counts, probs, rng))
            if prompt == 0:
                frequencies.append(_frequencies(counts, probs).assign(rule=rule))
    return pd.DataFrame(checks), pd.concat(frequencies, ignore_index=True)


def _goodness(counts: np.ndarray, probs: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    n, kept = int(counts.sum()), probs > 0
    p = probs[kept] / probs[kept].sum()
    simulated = rng.multinomial(n, p, _FEW if len(p) > _MANY_TOKENS else _N_SIMULATED) / n
    chi2, df, p_value = chi_square(counts[kept], p)
    return {
        "kept": int(kept.sum()),
        "outside": int(counts[~kept].sum()),
        "tv": 0.5 * np.abs(counts / n - probs).sum(),
        "expected_tv": 0.5 * binomial_mean_deviation(n, p).sum() / n,
        "tv_high": np.quantile(0.5 * np.abs(simulated - p).sum(axis=1), 0.975),
        "chi2": chi2,
        "df": df,
        "p": p_value,
        "n": n,
    }


def chi_square(
    counts: Int[np.ndarray, " token"], probs: Float[np.ndarray, " token"]
) -> tuple[float, int, float]:
    """Chi-square of counts against probabilities; statistic, degrees of freedom, p.

    Tokens expected fewer than 5 times are joined, the rarer with the rarest, until each cell is
    expected that often. With a single cell left there is nothing to test: 0, 0 and p = 1.
    """
    n = counts.sum()
    order = np.argsort(probs, kind="stable")
    # A cell closes as soon as it is expected often enough; what is left over joins the last one.
    cell, cells, filled = 0, np.zeros(len(probs), dtype=int), 0.0
    for place, expected in enumerate(n * probs[order]):
        cells[place] = cell
        filled += expected
        if filled >= LEAST_EXPECTED:
            cell, filled = cell + 1, 0.0
    cells = np.minimum(cells, max(cell - 1, 0))
    seen = np.bincount(cells, weights=counts[order])
    expected = np.bincount(cells, weights=n * probs[order])
    if len(expected) < 2:
        return 0.0, 0, 1.0
    result = scipy.stats.chisquare(seen, expected * n / expected.sum())
    return float(result.statistic), len(expected) - 1, float(result.pvalue)


def binomial_mean_deviation(
    n: int, probs: Float[np.ndarray, " token"]
) -> Float[np.ndarray, " token"]:
    """E|X − np| of binomial counts X, exactly (De Moivre): 2 ν (1 − p) P(X = ν), ν = ⌊np⌋ + 1."""
    top = np.floor(n * probs) + 1
    inside = 2 * top * (1 - probs) * scipy.stats.binom.pmf(top, n, probs)
    return np.where(probs < 1, inside, 0.0)


def _frequencies(counts: np.ndarray, probs: np.ndarray) -> pd.DataFrame:
    n = int(counts.sum())
    rows = np.flatnonzero((counts > 0) | (probs > 0))
    rows = rows[np.argsort(-probs[rows], kind="stable")]
    low, high = scipy.stats.binom.interval(0.95, n, probs[rows].clip(max=1.0))
    return pd.DataFrame(
        {
            "token": rows,
            "probability": probs[rows],
            "frequency": counts[rows] / n,
            "low": low / n,
            "high": high / n,
        }
    )


def pooled_chi_square(checks: pd.DataFrame) -> pd.DataFrame:
    """The chi-squares of all prompts of a rule as one: independent draws, so they add.

    Returns:
        One row per rule: `rule`, `tv`, `expected_tv`, `tv_high` (means over prompts), `outside`
        (draws), `kept` (mean tokens), `chi2`, `df`, `p`, `prompts`, `draws`.
    """
    grouped = checks.groupby("rule", sort=False)
    frame = grouped[["tv", "expected_tv", "tv_high", "kept"]].mean()
    frame[["outside", "chi2", "df"]] = grouped[["outside", "chi2", "df"]].sum()
    tests = frame["df"].clip(lower=1)
    frame["p"] = np.where(frame["df"] > 0, scipy.stats.chi2.sf(frame["chi2"], tests), 1.0)
    frame["prompts"] = grouped.size()
    frame["draws"] = grouped["n"].sum()
    return frame.reset_index()


def filter_check(
    logits: Float[np.ndarray, "prompt d_vocab"],
    top_ks: Sequence[int],
    top_ps: Sequence[float],
    min_ps: Sequence[float],
) -> pd.DataFrame:
    """Which tokens the filters keep, against the definitions written as a loop.

    Top-k keeps the k likeliest. The nucleus is the smallest set of likeliest tokens whose
    probability reaches p. Min-p keeps what is at least that share as likely as the likeliest.

    Returns:
        One row per rule and prompt: `rule` ("top-k", "nucleus", "min-p"), `setting`, `prompt`,
        `kept` (tokens), `defined` (tokens by the loop), `same` (the same set), `wrong_same` (it is
        also the set of a wrong definition: one token more, or for the nucleus the largest set
        *below* p).

    Raises:
        InputError: k below 1, p or min-p outside (0, 1].

    Source: Fan et al. 2018, arXiv:1805.04833; Holtzman et al. 2019, arXiv:1904.09751; Nguyen et al.
    2024, arXiv:2407.01082.
    """
    settings = [("top-k", k, Sampling(top_k=k)) for k in top_ks]
    settings += [("nucleus", p, Sampling(top_p=p)) for p in top_ps]
    settings += [("min-p", p, Sampling(min_p=p)) for p in min_ps]
    rows = []
    for rule, setting, sampling in settings:
        kept = (sampling.log_probs(torch.from_numpy(logits).double()) > -torch.inf).numpy()
        for prompt, row in enumerate(logits):
            order = np.argsort(-row, kind="stable")
            size, wrong = _defined_size(rule, setting, row[order])
            ours = set(np.flatnonzero(kept[prompt]).tolist())
            rows.append(
                {
                    "rule": rule,
                    "setting": float(setting),
                    "prompt": prompt,
                    "kept": len(ours),
                    "defined": size,
                    "same": ours == set(order[:size].tolist()),
                    "wrong_same": ours == set(order[:wrong].tolist()),
                }
            )
    return pd.DataFrame(rows)


def _defined_size(rule: str, setting: int | float, falling: np.ndarray) -> tuple[int, int]:
    """How many of the likeliest tokens stay, by the definition and by a wrong one."""
    probs = np.exp(falling.astype(float) - falling[0])
    probs /= probs.sum()
    if rule == "top-k":
        size = min(int(setting), len(probs))
        return size, size + 1
    if rule == "min-p":
        size = int((probs >= setting * probs[0]).sum())
        return size, size + 1
    if setting == 1:
        return len(probs), len(probs) - 1
    mass, size = 0.0, 0
    while mass < setting - 1e-9 and size < len(probs):
        mass += probs[size]
        size += 1
    return size, size - 1
