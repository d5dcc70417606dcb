"""What dividing the logits by a temperature does to a distribution, and when the arithmetic breaks.

All in float64 unless a function is about another precision. Rows are independent distributions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.special
from jaxtyping import Float

from interp.core.errors import InputError

Logits = Float[np.ndarray, "row d_vocab"]

NEAR_ZERO, NEAR_INFINITY = 1e-4, 1e6  # temperatures at which the limits are looked at
OVERFLOW = {"float32": 88.72, "float64": 709.78}  # largest x with a finite exp(x)
UNDERFLOW = {"float32": -103.97, "float64": -745.13}  # below, exp(x) is 0
_COMPLEX_STEP = 1e-30


def check_temperature(temperature: float | Float[np.ndarray, "..."]) -> None:
    """Raise InputError unless every temperature is above 0 and finite.

    At 0 the formula divides by 0; greedy choice has its own branch in `interp.core.generation`.
    """
    values = np.atleast_1d(np.asarray(temperature, dtype=float))
    wrong = values[~((values > 0) & np.isfinite(values))]
    if len(wrong):
        raise InputError(
            f"a temperature must be above 0 and finite, but {wrong[0]:g} came; for the most likely "
            "token alone, generate with temperature 0"
        )


def log_softmax_at(
    logits: Logits, temperature: float | Float[np.ndarray, " row"]
) -> Float[np.ndarray, "row d_vocab"]:
    """Logarithm of softmax(logits / T), stable at every T > 0.

    Args:
        logits: one distribution per row.
        temperature: T, one for all rows or one for each.

    Raises:
        InputError: a temperature that is not above 0.

    Cost: one exponential per entry; three arrays of the size of `logits`.
    """
    check_temperature(temperature)
    scale = np.asarray(temperature, dtype=float).reshape(-1, 1)
    # The maximum is taken away before the division: no temperature can overflow, 0 is reached.
    scaled = (logits.astype(float) - logits.max(axis=1, keepdims=True)) / scale
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


def entropy_and_slope(
    logits: Logits, temperature: float | Float[np.ndarray, " row"]
) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    """Entropy of softmax(logits / T) in nats, and its derivative dH/dT = Var_p(logits) / T³.

    The derivative: with β = 1/T and F = log Σ exp(βz), H = F − β F′, so dH/dβ = −β F″ and F″ is
    the variance of the logits under p; dβ/dT = −1/T² gives the rest. It is never negative.

    Cost: as `log_softmax_at`.
    """
    log_probs = log_softmax_at(logits, temperature)
    probs = np.exp(log_probs)
    # A probability that underflowed to 0 contributes nothing.
    entropy = -(probs * np.where(probs > 0, log_probs, 0.0)).sum(axis=1)
    centred = logits - (probs * logits).sum(axis=1, keepdims=True)
    variance = (probs * centred**2).sum(axis=1)
    return entropy, variance / np.broadcast_to(np.asarray(temperature, float) ** 3, len(logits))


def temperature_sweep(logits: Logits, temperatures: Sequence[float]) -> pd.DataFrame:
    """How sharp the distributions are at each temperature.

    Returns:
        One row per distribution and temperature: `prompt`, `temperature`, `entropy_nats`,
        `effective_choices` (exp of the entropy: as many equally likely tokens have it),
        `top_probability`, `entropy_slope` (dH/dT, nats).

    Raises:
        InputError: a temperature that is not above 0.
    """
    parts = []
    for temperature in temperatures:
        entropy, slope = entropy_and_slope(logits, temperature)
        parts.append(
            pd.DataFrame(
                {
                    "prompt": np.arange(len(logits)),
                    "temperature": float(temperature),
                    "entropy_nats": entropy,
                    "effective_choices": np.exp(entropy),
                    "top_probability": np.exp(log_softmax_at(logits, temperature).max(axis=1)),
                    "entropy_slope": slope,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def top_tokens_at(
    logits: Float[np.ndarray, " d_vocab"], temperatures: Sequence[float], top: int
) -> pd.DataFrame:
    """The likeliest tokens of one distribution at each temperature.

    Returns:
        One row per temperature and token: `temperature`, `rank` (from 1; the same at every
        temperature), `token`, `logit`, `probability`.
    """
    best = np.argsort(-logits, kind="stable")[:top]
    parts = [
        pd.DataFrame(
            {
                "temperature": float(temperature),
                "rank": np.arange(1, len(best) + 1),
                "token": best,
                "logit": logits[best].astype(float),
                "probability": np.exp(log_softmax_at(logits[None], temperature)[0, best]),
            }
        )
        for temperature in temperatures
    ]
    return pd.concat(parts, ignore_index=True)


class _Statement(NamedTuple):
    name: str
    deviation: np.ndarray
    wrong: np.ndarray
    wrong_name: str


def temperature_laws(logits: Logits, temperatures: Sequence[float]) -> pd.DataFrame:
    """How far the temperature softmax is from what is said of it, each beside a wrong statement.

    The wrong statement shows that the check could have failed.

    Args:
        logits: one distribution per row, finite.
        temperatures: where formula and derivative are compared.

    Returns:
        One row per statement: `law`, `deviation` (largest over rows and temperatures; absolute in
        probability, relative to 1 + |slope| for the derivative), `wrong_law`, `wrong_deviation`
        (the same of the wrong statement), `n` (rows).

    Raises:
        InputError: a temperature that is not above 0.

    Cost: some ten exponentials per entry and temperature.
    """
    logits = logits.astype(float)
    sharp = [t for t in temperatures if t != 1] or [2.0]
    statements = [
        _formula(logits, sharp),
        _slope(logits, sharp),
        _at_one(logits, sharp),
        _towards_zero(logits),
        _towards_infinity(logits),
    ]
    return pd.DataFrame(
        {
            "law": s.name,
            "deviation": s.deviation.max(),
            "wrong_law": s.wrong_name,
            "wrong_deviation": s.wrong.max(),
            "n": len(logits),
        }
        for s in statements
    )


def _formula(logits: np.ndarray, temperatures: Sequence[float]) -> _Statement:
    """Against SciPy's softmax of the divided logits; wrong: logits times T."""
    ours = [np.exp(log_softmax_at(logits, t)) for t in temperatures]
    right = [scipy.special.softmax(logits / t, axis=1) for t in temperatures]
    wrong = [scipy.special.softmax(logits * t, axis=1) for t in temperatures]
    return _Statement(
        "softmax(logits / T)", _largest(ours, right), _largest(ours, wrong), "softmax(logits · T)"
    )


def _slope(logits: np.ndarray, temperatures: Sequence[float]) -> _Statement:
    """Against a complex-step derivative, which is exact to rounding; wrong: T² in place of T³."""
    deviations, wrong = [], []
    for temperature in temperatures:
        slope = entropy_and_slope(logits, temperature)[1]
        exact = _complex_step_slope(logits, temperature)
        deviations.append(np.abs(slope - exact) / (1 + np.abs(exact)))
        wrong.append(np.abs(slope * temperature - exact) / (1 + np.abs(exact)))
    return _Statement(
        "dH/dT = Var(logits) / T³",
        np.max(deviations, axis=0),
        np.max(wrong, axis=0),
        "dH/dT = Var(logits) / T²",
    )


def _complex_step_slope(logits: np.ndarray, temperature: float) -> np.ndarray:
    """dH/dT as Im H(T + ih) / h, from the definition of the entropy; no difference is taken."""
    centred = logits - logits.max(axis=1, keepdims=True)
    scaled = centred / (temperature + 1j * _COMPLEX_STEP)
    weights = np.exp(scaled)
    total = weights.sum(axis=1, keepdims=True)
    entropy = -(weights / total * (scaled - np.log(total))).sum(axis=1)
    return entropy.imag / _COMPLEX_STEP


def _at_one(logits: np.ndarray, temperatures: Sequence[float]) -> _Statement:
    plain = [scipy.special.softmax(logits, axis=1)]
    others = [_largest([np.exp(log_softmax_at(logits, t))], plain) for t in temperatures]
    return _Statement(
        "T = 1 changes nothing",
        _largest([np.exp(log_softmax_at(logits, 1.0))], plain),
        np.max(others, axis=0),
        "another T changes nothing",
    )


def _towards_zero(logits: np.ndarray) -> _Statement:
    """Uniform over the largest logits; a runner-up too close for `NEAR_ZERO` gets a smaller T."""
    largest = logits.max(axis=1, keepdims=True)
    winners = logits == largest
    gap = largest[:, 0] - np.where(winners, -np.inf, logits).max(axis=1)
    temperature = np.minimum(NEAR_ZERO, gap / 50)
    limit = winners / winners.sum(axis=1, keepdims=True)
    reached = np.exp(log_softmax_at(logits, np.where(np.isfinite(temperature), temperature, 1.0)))
    plain = scipy.special.softmax(logits, axis=1)
    return _Statement(
        "T → 0: the largest logits share everything",
        _largest([reached], [limit]),
        _largest([plain], [limit]),
        "already so at T = 1",
    )


def _towards_infinity(logits: np.ndarray) -> _Statement:
    """Total variation from uniform at `NEAR_INFINITY`; it is at most range / T."""
    uniform = np.full_like(logits, 1 / logits.shape[1])
    near = np.exp(log_softmax_at(logits, NEAR_INFINITY))
    plain = scipy.special.softmax(logits, axis=1)
    return _Statement(
        "T → ∞: all tokens alike",
        0.5 * np.abs(near - uniform).sum(axis=1),
        0.5 * np.abs(plain - uniform).sum(axis=1),
        "already so at T = 1",
    )


def _largest(ours: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> np.ndarray:
    """Largest absolute difference of each row."""
    return np.max([np.abs(a - b).max(axis=1) for a, b in zip(ours, others, strict=True)], axis=0)


def unstable_softmax(
    logits: Float[np.ndarray, "row d_vocab"], temperature: float
) -> Float[np.ndarray, "row d_vocab"]:
    """The lecture notes' softmax: no maximum is taken away, so exp overflows or underflows.

    The precision is that of `logits`. It is here to be measured, not to be used.
    """
    with np.errstate(all="ignore"):
        scaled = np.exp(logits / np.asarray(temperature, dtype=logits.dtype))
        return scaled / scaled.sum(axis=1, keepdims=True)


def softmax_failures(
    logits: Logits, temperatures: Sequence[float], tops: dict[str, float | None]
) -> pd.DataFrame:
    """How often the notes' softmax gives no numbers, by precision, temperature and logit level.

    Adding a constant to all logits leaves the softmax as it is, so the same distributions are
    tried at several levels.

    Args:
        logits: one distribution per row.
        temperatures: tried, each above 0.
        tops: by name of the level, the value that the largest logit of each row is moved to; None
            leaves the row as it came.

    Returns:
        One row per level, precision and temperature: `level`, `precision`, `temperature`,
        `nan_share` (rows with a NaN), `stable_nan_share` (the same for `log_softmax_at`),
        `off_share` (rows without NaN but wrong by more than 0.001 somewhere), `breaks_below` (the
        largest temperature at which some row must fail, from the range of exp), `n` (rows).

    Cost: one softmax for each row of the result.
    """
    rows = []
    for level, top in tops.items():
        moved = logits.astype(float)
        if top is not None:
            moved = moved - moved.max(axis=1, keepdims=True) + top
        for precision in OVERFLOW:
            given = moved.astype(precision)
            for temperature in temperatures:
                exact = np.exp(log_softmax_at(given, temperature))
                naive = unstable_softmax(given, temperature)
                nan = np.isnan(naive).any(axis=1)
                off = np.abs(np.nan_to_num(naive) - exact).max(axis=1) > 1e-3
                rows.append(
                    {
                        "level": level,
                        "precision": precision,
                        "temperature": float(temperature),
                        "nan_share": nan.mean(),
                        "stable_nan_share": np.isnan(exact).any(axis=1).mean(),
                        "off_share": (off & ~nan).mean(),
                        "breaks_below": _breaks_below(given, precision),
                        "n": len(logits),
                    }
                )
    return pd.DataFrame(rows)


def _breaks_below(logits: np.ndarray, precision: str) -> float:
    """Exp of the largest logit over T overflows, or all of them underflow."""
    top = logits.max(axis=1).astype(float)
    limits = np.where(top > 0, OVERFLOW[precision], UNDERFLOW[precision])
    return float((top / limits).max())
