"""Does a probability of 0.8 come true in 8 of 10 cases, and does a temperature mend it?

The unit of replication is the prompt: positions of one prompt are resampled together.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.special
from jaxtyping import Bool, Float, Int

from interp.core.errors import InputError
from interp.measures.statistics import bootstrap_interval
from interp.measures.temperature import check_temperature, entropy_and_slope, log_softmax_at

if TYPE_CHECKING:
    from interp.corpus import Language

N_BINS = 15  # as in Guo et al. 2017
EDT_BASE = 0.8  # Zhang et al. 2024 fix it
COLDEST = 0.01  # an adaptive temperature goes no lower; it would reach 0 where nothing is open
_N_RESAMPLES = 1000
_TAILS = (0.025, 0.975)


def language_conditionals(
    language: "Language", windows: Int[np.ndarray, "window pos"]
) -> Float[np.ndarray, "window target d_vocab"]:
    """Exact probability of every next token after every prefix of each window.

    Args:
        language: the small language.
        windows: `<bos>` first; possible in the language.

    Returns:
        `[:, t]` is the distribution after tokens 0 to t; the last token is only a target.

    Cost: about 0.2 ms a position.
    """
    probs = np.zeros((*windows[:, 1:].shape, len(language.vocab)))
    ids = {word: i for i, word in enumerate(language.vocab)}
    for row, window in enumerate(windows):
        at = language.filter(window[:1])
        for place, token in enumerate(window[1:]):
            for word, prob in at.distribution().items():
                probs[row, place, ids[word]] += prob
            at.advance(language.vocab[token])
    return probs


def top_confidence(
    logits: Float[np.ndarray, "row d_vocab"],
    targets: Int[np.ndarray, " row"],
    temperature: float = 1.0,
    truth: Float[np.ndarray, "row d_vocab"] | None = None,
) -> pd.DataFrame:
    """Probability of the model's best token, and whether it came.

    Returns:
        One row per row: `confidence`, `correct` (0 or 1), and with `truth` also `true_probability`
        of the model's best token.

    Raises:
        InputError: a temperature that is not above 0.
    """
    log_probs = log_softmax_at(logits, temperature)
    best = logits.argmax(axis=1)
    rows = np.arange(len(logits))
    frame = pd.DataFrame(
        {"confidence": np.exp(log_probs[rows, best]), "correct": (best == targets).astype(float)}
    )
    if truth is not None:
        frame["true_probability"] = truth[rows, best]
    return frame


def reliability(
    confidence: Float[np.ndarray, " row"],
    outcome: Float[np.ndarray, " row"],
    unit: Int[np.ndarray, " row"],
    n_bins: int = N_BINS,
    seed: int = 0,
) -> pd.DataFrame:
    """The reliability diagram: how often predictions of each confidence come true.

    Args:
        confidence: probability given to the predicted token.
        outcome: 1 where it came and 0 where not, or its true probability.
        unit: prompt of each row, 0 to n − 1.
        n_bins: bins of equal width; the upper end belongs to a bin, as in Guo et al.
        seed: of the resamples.

    Returns:
        One row per bin that holds something: `bin`, `confidence`, `came_true` (means), `ci_low`,
        `ci_high` (95 % of `came_true`, resampling prompts), `null_low`, `null_high` (95 % of what
        it would be if every confidence were right), `rows`.

    Raises:
        InputError: no rows, or a confidence outside 0 to 1.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    member = _members(confidence, n_bins)
    conf, came, count = (_by_unit(x, member, unit) for x in (confidence, outcome, 1.0))
    weights = _resample_weights(len(count), seed)
    with np.errstate(invalid="ignore"):
        resampled = (weights @ came) / (weights @ count)
    simulated = _simulated(confidence, seed + 1) @ member / np.maximum(member.sum(axis=0), 1)
    kept = count.sum(axis=0) > 0
    low, high = np.nanquantile(resampled[:, kept], _TAILS, axis=0)
    null_low, null_high = np.quantile(simulated[:, kept], _TAILS, axis=0)
    total = count.sum(axis=0)[kept]
    return pd.DataFrame(
        {
            "bin": np.flatnonzero(kept),
            "confidence": conf.sum(axis=0)[kept] / total,
            "came_true": came.sum(axis=0)[kept] / total,
            "ci_low": low,
            "ci_high": high,
            "null_low": null_low,
            "null_high": null_high,
            "rows": total.astype(int),
        }
    )


def calibration_error(
    confidence: Float[np.ndarray, " row"],
    outcome: Float[np.ndarray, " row"],
    unit: Int[np.ndarray, " row"],
    n_bins: int = N_BINS,
    seed: int = 0,
) -> dict[str, float]:
    """Expected calibration error: mean distance of confidence and outcome over bins.

    It is above 0 even for a perfect model, because outcomes are drawn; `null` says how far.

    Args:
        confidence: as in `reliability`.
        outcome: as in `reliability`; true probabilities give the exact error, whose null is 0.
        unit: as in `reliability`.
        n_bins: as in `reliability`.
        seed: of resamples and simulations.

    Returns:
        `ece`; `ci_low`, `ci_high` (95 %, basic bootstrap over prompts, which takes off the upward
        bias of resampled errors; widened to hold the estimate, and down to 0 where a perfect model
        would show as much); `null`, `null_high` (mean and 97.5 % point if every confidence were
        right); `n` (prompts).

    Raises:
        InputError: no rows, or a confidence outside 0 to 1.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    member = _members(confidence, n_bins)
    gap = _by_unit(confidence - outcome, member, unit)
    size = _by_unit(1.0, member, unit).sum(axis=1)
    ece = np.abs(gap.sum(axis=0)).sum() / size.sum()
    weights = _resample_weights(len(gap), seed)
    resampled = np.abs(weights @ gap).sum(axis=1) / (weights @ size)
    low, high = 2 * ece - np.quantile(resampled, _TAILS)[::-1]
    null = null_high = 0.0
    if np.isin(outcome, (0.0, 1.0)).all():
        drawn = _simulated(confidence, seed + 1)
        errors = np.abs((confidence - drawn) @ member).sum(axis=1) / len(confidence)
        null, null_high = errors.mean(), np.quantile(errors, _TAILS[1])
    low = 0.0 if ece <= null_high else max(0.0, min(low, ece))
    values = (ece, low, max(high, ece), null, null_high, len(gap))
    names = ("ece", "ci_low", "ci_high", "null", "null_high", "n")
    return dict(zip(names, map(float, values), strict=True))


def calibration_gain(
    before: Float[np.ndarray, " row"],
    after: Float[np.ndarray, " row"],
    outcome: Float[np.ndarray, " row"],
    unit: Int[np.ndarray, " row"],
    n_bins: int = N_BINS,
    seed: int = 0,
) -> dict[str, float]:
    """How much of the calibration error another set of confidences takes away.

    Args:
        before: confidences; the other arguments as in `calibration_error`.
        after: confidences for the same rows, of a changed temperature for instance.
        outcome: as in `calibration_error`.
        unit: as in `calibration_error`.
        n_bins: as in `calibration_error`.
        seed: of the resamples.

    Returns:
        `gain` (error before minus error after), `ci_low`, `ci_high` (95 % percentile, resampling
        prompts, the same for both), `n` (prompts).
    """
    size = _by_unit(1.0, np.ones((len(unit), 1)), unit)[:, 0]
    weights = np.vstack([np.ones(len(size)), _resample_weights(len(size), seed)])
    errors = []
    for confidence in (before, after):
        gap = _by_unit(confidence - outcome, _members(confidence, n_bins), unit)
        errors.append(np.abs(weights @ gap).sum(axis=1) / (weights @ size))
    gain = errors[0] - errors[1]
    low, high = np.quantile(gain[1:], _TAILS)
    return {"gain": gain[0], "ci_low": low, "ci_high": high, "n": float(len(size))}


def _members(confidence: np.ndarray, n_bins: int) -> Float[np.ndarray, "row bin"]:
    if not len(confidence):
        raise InputError("calibration needs at least one prediction, but none came")
    if not ((confidence >= 0) & (confidence <= 1 + 1e-9)).all():
        raise InputError("a confidence is a probability, from 0 to 1; were logits passed?")
    place = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    return (place[:, None] == np.arange(n_bins)).astype(float)


def _by_unit(values: np.ndarray | float, member: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Sum of the values of each unit in each bin."""
    sums = np.zeros((int(unit.max()) + 1, member.shape[1]))
    np.add.at(sums, unit, np.broadcast_to(values, len(unit))[:, None] * member)
    return sums


def _resample_weights(n_units: int, seed: int) -> Float[np.ndarray, "resample unit"]:
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_units, np.full(n_units, 1 / n_units), _N_RESAMPLES).astype(float)


def _simulated(confidence: np.ndarray, seed: int, n: int = 400) -> np.ndarray:
    """Outcomes as they would be drawn if every confidence were right."""
    rng = np.random.default_rng(seed)
    return (rng.random((n, len(confidence)), dtype=np.float32) < confidence).astype(float)


def nll_by_temperature(
    logits: Float[np.ndarray, "row d_vocab"],
    targets: Int[np.ndarray, " row"],
    unit: Int[np.ndarray, " row"],
    temperatures: Sequence[float],
    truth: Float[np.ndarray, "row d_vocab"] | None = None,
) -> pd.DataFrame:
    """Loss of each prompt at each temperature.

    Args:
        logits: of every scored position.
        targets: the token that came.
        unit: prompt of each row.
        temperatures: each above 0.
        truth: exact next-token probabilities, where they are known.

    Returns:
        One row per prompt and temperature: `prompt`, `temperature`, `nll_nats` (mean over the
        prompt's positions), and with `truth` also `expected_nll_nats` (mean over what could have
        come) and `entropy_floor_nats` (the least any model can reach there).

    Raises:
        InputError: a temperature that is not above 0.
    """
    rows = np.arange(len(logits))
    parts = []
    for temperature in temperatures:
        log_probs = log_softmax_at(logits, temperature)
        frame = pd.DataFrame({"prompt": unit, "nll_nats": -log_probs[rows, targets]})
        if truth is not None:
            frame["expected_nll_nats"] = -(truth * log_probs).sum(axis=1)
            frame["entropy_floor_nats"] = scipy.special.entr(truth).sum(axis=1)
        means = frame.groupby("prompt", as_index=False).mean()
        means.insert(1, "temperature", float(temperature))
        parts.append(means)
    return pd.concat(parts, ignore_index=True)


def best_temperature(
    nll: Float[np.ndarray, "unit temperature"], temperatures: Sequence[float], seed: int = 0
) -> dict[str, float]:
    """Temperature of least loss, between the tried ones by a parabola in log T.

    Returns:
        `temperature`; `ci_low`, `ci_high` (95 % percentile, resampling prompts); `gain_nats` (loss
        at T = 1 minus the least loss, at tried temperatures; T = 1 must be tried); `at_edge` (1 if
        the least loss is at an end of the range, so that it may lie beyond); `n`.

    Raises:
        InputError: fewer than 3 temperatures, or T = 1 is missing.
    """
    temperatures = np.asarray(temperatures, dtype=float)
    check_temperature(temperatures)
    if len(temperatures) < 3 or 1.0 not in temperatures:
        raise InputError("at least 3 temperatures must be tried, and 1 must be one of them")
    mean = nll.mean(axis=0)
    weights = _resample_weights(len(nll), seed)
    resampled = [_lowest(curve, temperatures) for curve in weights @ nll]
    low, high = np.quantile(resampled, _TAILS)
    return {
        "temperature": _lowest(mean, temperatures),
        "ci_low": float(low),
        "ci_high": float(high),
        "gain_nats": float(mean[temperatures == 1.0][0] - mean.min()),
        "at_edge": float(mean.argmin() in (0, len(mean) - 1)),
        "n": float(len(nll)),
    }


def _lowest(curve: np.ndarray, temperatures: np.ndarray) -> float:
    at = int(curve.argmin())
    if at in (0, len(curve) - 1):
        return float(temperatures[at])
    places = np.log(temperatures[at - 1 : at + 2])
    bend, slope, _ = np.polyfit(places, curve[at - 1 : at + 2], 2)
    return float(np.exp(np.clip(-slope / (2 * bend), places[0], places[2])))


def edt_temperature(
    entropy: Float[np.ndarray, " row"], theta: float, base: float = 1.0
) -> Float[np.ndarray, " row"]:
    """Temperature that falls where the model is sure: base · 0.8^(θ / entropy), at least 0.01.

    Args:
        entropy: of the model's distribution at T = 1, in nats.
        theta: how strongly; 0 is the fixed temperature `base`.
        base: the temperature where everything is open.

    Raises:
        InputError: a base that is not above 0, or a negative theta.

    Source: Zhang et al. 2024, arXiv:2403.14541; the floor is ours.
    """
    check_temperature(base)
    if theta < 0:
        raise InputError(f"theta must be 0 or more, but it is {theta}")
    exponent = theta / np.maximum(entropy, 1e-12)
    return np.maximum(base * EDT_BASE**exponent, COLDEST)


def matched_scale(
    logits: Float[np.ndarray, "row d_vocab"], shape: Float[np.ndarray, " row"], entropy: float
) -> float:
    """The factor c for which the temperatures c · shape have this mean entropy.

    To 1e-8 nats, by Newton's method on log c, kept inside a bracket; the slope is Var(logits) / T³.

    Raises:
        InputError: no temperature reaches the entropy.

    Cost: some ten passes over the logits.
    """
    low, high, log_scale = np.log(1e-4), np.log(1e4), 0.0
    for _ in range(60):
        temperatures = np.exp(log_scale) * shape
        reached, slope = entropy_and_slope(logits, temperatures)
        miss = reached.mean() - entropy
        if abs(miss) < 1e-8:
            return float(np.exp(log_scale))
        low, high = (low, log_scale) if miss > 0 else (log_scale, high)
        step = log_scale - miss / max((slope * temperatures).mean(), 1e-12)
        log_scale = step if low < step < high else (low + high) / 2
    raise InputError(f"no temperature gives a mean entropy of {entropy:.4f} nats on these rows")


def adaptive_comparison(
    logits: Float[np.ndarray, "row d_vocab"],
    targets: Int[np.ndarray, " row"],
    unit: Int[np.ndarray, " row"],
    thetas: Sequence[float],
    base: float = 1.0,
    possible: Bool[np.ndarray, "row d_vocab"] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Entropy-adaptive temperature, a fixed one and a shuffled one, all of the same mean entropy.

    Whoever lowers the temperature gets fewer wrong words, so rules are compared where they leave
    equally much open. The shuffled rule uses the adaptive rule's own temperatures at random
    positions, rescaled to the same mean entropy.

    Args:
        logits: of every scored position.
        targets: the token that came.
        unit: prompt of each row.
        thetas: strengths of the adaptive rule.
        base: its temperature where everything is open.
        possible: tokens that may come, where that is known.
        seed: of the shuffle.

    Returns:
        One row per prompt, theta and rule ("adaptive", "fixed", "shuffled"): `prompt`, `theta`,
        `rule`, `entropy_nats`, `temperature` (mean), `hit` (probability of the token that came),
        `nll_nats`, and with `possible` also `impossible` (probability of tokens that cannot come).

    Cost: some thirty passes over the logits for each theta.
    """
    rng = np.random.default_rng(seed)
    open_now = entropy_and_slope(logits, 1.0)[0]
    parts = []
    for theta in thetas:
        adaptive = edt_temperature(open_now, theta, base)
        entropy = float(entropy_and_slope(logits, adaptive)[0].mean())
        shuffled = rng.permutation(adaptive)
        fixed = np.ones(len(logits))
        rules = {
            "adaptive": adaptive,
            "fixed": matched_scale(logits, fixed, entropy) * fixed,
            "shuffled": matched_scale(logits, shuffled, entropy) * shuffled,
        }
        for rule, temperatures in rules.items():
            frame = _scored(logits, targets, temperatures, possible).assign(prompt=unit)
            means = frame.groupby("prompt", as_index=False).mean()
            parts.append(means.assign(theta=float(theta), rule=rule))
    columns = ["prompt", "theta", "rule"]
    both = pd.concat(parts, ignore_index=True)
    return both[columns + [c for c in both.columns if c not in columns]]


def _scored(
    logits: np.ndarray,
    targets: np.ndarray,
    temperatures: np.ndarray,
    possible: np.ndarray | None,
) -> pd.DataFrame:
    log_probs = log_softmax_at(logits, temperatures)
    came = log_probs[np.arange(len(logits)), targets]
    probs = np.exp(log_probs)
    frame = {
        "entropy_nats": scipy.special.entr(probs).sum(axis=1),
        "temperature": temperatures,
        "hit": np.exp(came),
        "nll_nats": -came,
    }
    if possible is not None:
        frame["impossible"] = (probs * ~possible).sum(axis=1)
    return pd.DataFrame(frame)


def adaptive_gain(comparison: pd.DataFrame, column: str, seed: int = 0) -> pd.DataFrame:
    """What the adaptive rule and the shuffled one gain over the fixed temperature.

    Args:
        comparison: from `adaptive_comparison`.
        column: "impossible" or "nll_nats" (less is better), or "hit" (more is better).
        seed: of the resamples.

    Returns:
        One row per theta and rule: `theta`, `rule`, `entropy_nats`, `value`, `fixed` (means over
        prompts), `gain` (above 0 where the rule is better), `ci_low`, `ci_high` (95 %, over
        prompts), `n`.
    """
    sign = 1.0 if column == "hit" else -1.0
    rows = []
    for theta, group in comparison.groupby("theta"):
        wide = group.pivot(index="prompt", columns="rule", values=column)
        entropy = group.loc[group["rule"] == "fixed", "entropy_nats"].mean()
        for rule in ("adaptive", "shuffled"):
            gain = sign * (wide[rule] - wide["fixed"]).to_numpy()
            (low,), (high,) = bootstrap_interval(gain[:, None], seed=seed)
            rows.append(
                {
                    "theta": theta,
                    "rule": rule,
                    "entropy_nats": entropy,
                    "value": wide[rule].mean(),
                    "fixed": wide["fixed"].mean(),
                    "gain": gain.mean(),
                    "ci_low": low,
                    "ci_high": high,
                    "n": len(gain),
                }
            )
    return pd.DataFrame(rows)
