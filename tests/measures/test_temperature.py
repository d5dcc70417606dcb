"""The temperature softmax: its formula, limits and slope, and where the unstable one breaks."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from interp import measures
from interp.core import InputError
from interp.measures.temperature import check_temperature

ROWS = 4 * np.random.default_rng(3).standard_normal((7, 31))
LOGITS = arrays(float, (1, 5), elements=st.floats(-40, 40).map(lambda x: round(x, 3)))
T = st.floats(0.05, 20)


@settings(max_examples=80, deadline=None)
@given(LOGITS, T)
def test_the_formula(logits, temperature):
    """Oracle: exponentials added up in Python."""
    ours = np.exp(measures.log_softmax_at(logits, temperature))[0]
    top = max(logits[0])
    weights = [math.exp((z - top) / temperature) for z in logits[0]]
    assert ours == pytest.approx([w / sum(weights) for w in weights], abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(LOGITS, T)
def test_the_slope_of_the_entropy_is_a_variance(logits, temperature):
    """Oracles: PyTorch's derivative of SciPy's definition, and the variance as a loop."""
    entropy, slope = measures.entropy_and_slope(logits, temperature)
    t = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    log_probs = (torch.tensor(logits[0]) / t).log_softmax(-1)
    probs = log_probs.exp()
    exact = -(probs * log_probs).sum()
    exact.backward()
    assert entropy[0] == pytest.approx(exact.item(), abs=1e-10)
    assert slope[0] == pytest.approx(float(t.grad), rel=1e-8, abs=1e-8)
    p = probs.detach().numpy()
    mean = sum(a * b for a, b in zip(p, logits[0], strict=True))
    variance = sum(a * (b - mean) ** 2 for a, b in zip(p, logits[0], strict=True))
    assert slope[0] == pytest.approx(variance / temperature**3, rel=1e-9, abs=1e-10)
    assert slope[0] >= 0


@settings(max_examples=60, deadline=None)
@given(LOGITS, T, T)
def test_lower_is_sharper(logits, one, other):
    cold, hot = sorted((one, other))
    assert (
        measures.entropy_and_slope(logits, cold)[0][0]
        <= measures.entropy_and_slope(logits, hot)[0][0] + 1e-12
    )


@settings(max_examples=60, deadline=None)
@given(LOGITS)
def test_the_limits(logits):
    """Equal maxima share evenly at T → 0; everything is alike at T → ∞."""
    rounded = np.round(logits)
    winners = rounded == rounded.max()
    cold = np.exp(measures.log_softmax_at(rounded, 1e-4))
    assert cold == pytest.approx(winners / winners.sum(), abs=1e-12)
    assert np.exp(measures.log_softmax_at(rounded, 1e9)) == pytest.approx(np.full((1, 5), 0.2))
    assume(winners.sum() < 5)
    assert measures.entropy_and_slope(rounded, 1.0)[0][0] < math.log(5)


def test_each_row_has_its_own_temperature():
    temperatures = np.linspace(0.3, 3, 7)
    together = measures.log_softmax_at(ROWS, temperatures)
    for row, temperature in enumerate(temperatures):
        alone = measures.log_softmax_at(ROWS[row : row + 1], temperature)[0]
        assert together[row] == pytest.approx(alone, abs=1e-13)
    entropy, slope = measures.entropy_and_slope(ROWS, temperatures)
    assert slope[5] == measures.entropy_and_slope(ROWS[5:6], temperatures[5])[1][0]
    assert entropy[2] == pytest.approx(scipy.stats.entropy(np.exp(together[2])), abs=1e-12)


def test_the_sweep_holds_what_its_columns_say():
    frame = measures.temperature_sweep(ROWS, (0.5, 2.0))
    assert len(frame) == 14
    row = frame[(frame["prompt"] == 4) & (frame["temperature"] == 2.0)].iloc[0]
    probs = scipy.special.softmax(ROWS[4] / 2)
    assert row["entropy_nats"] == pytest.approx(scipy.stats.entropy(probs), abs=1e-12)
    assert row["effective_choices"] == pytest.approx(math.exp(scipy.stats.entropy(probs)))
    assert row["top_probability"] == pytest.approx(probs.max(), abs=1e-12)


def test_top_tokens_are_the_same_at_every_temperature():
    frame = measures.top_tokens_at(np.array([1.0, 5.0, 5.0, -2.0, 3.0]), (0.5, 4.0), 3)
    assert frame["token"].tolist() == [1, 2, 4] * 2
    assert frame["rank"].tolist() == [1, 2, 3] * 2
    expected = scipy.special.softmax(np.array([1.0, 5.0, 5.0, -2.0, 3.0]) / 4)
    assert frame["probability"].iloc[3:].tolist() == pytest.approx(expected[[1, 2, 4]].tolist())


def test_laws_hold_and_wrong_ones_do_not():
    frame = measures.temperature_laws(ROWS, (0.3, 1.0, 2.5)).set_index("law")
    assert (frame["deviation"].drop("T → ∞: all tokens alike") < 1e-10).all()
    assert (frame["wrong_deviation"] > 0.1).all()
    assert set(frame["n"]) == {7}
    # Total variation from uniform at T: at most the range over 4 T.
    assert frame["deviation"]["T → ∞: all tokens alike"] < np.ptp(ROWS, axis=1).max() / 4e6


def test_near_ties_still_reach_their_limit():
    """A runner-up 1e-3 below takes part at T = 1e-4; the check goes colder."""
    frame = measures.temperature_laws(np.array([[1.0, 0.9995, 0.0], [2.0, 2.0, 0.0]]), (2.0,))
    assert frame["deviation"].iloc[3] < 1e-10
    even = measures.temperature_laws(np.ones((2, 3)), (2.0,))
    assert np.isfinite(even["deviation"]).all()


def test_the_unstable_softmax_is_right_where_it_works():
    assert measures.unstable_softmax(ROWS, 1.0) == pytest.approx(
        scipy.special.softmax(ROWS, axis=1), abs=1e-12
    )
    assert measures.unstable_softmax(ROWS.astype("float32"), 1.0).dtype == np.float32


@pytest.mark.parametrize(
    ("top", "precision", "breaks"),
    [
        (-30.0, "float32", 30 / 103.97),
        (-110.0, "float32", 110 / 103.97),
        (-110.0, "float64", 110 / 745.13),
        (40.0, "float32", 40 / 88.72),
        (40.0, "float64", 40 / 709.78),
    ],
)
def test_the_notes_softmax_breaks_where_exp_does(top, precision, breaks):
    """By hand: exp of the largest logit over T leaves the range of its precision."""
    temperatures = (0.9 * breaks, 1.1 * breaks)
    frame = measures.softmax_failures(ROWS, temperatures, {"moved": top})
    frame = frame[frame["precision"] == precision]
    assert frame["nan_share"].tolist() == [1.0, 0.0]
    assert frame["breaks_below"].tolist() == pytest.approx([breaks] * 2)
    assert frame["stable_nan_share"].tolist() == [0.0, 0.0]


def test_gpt2_like_logits_fail_at_temperature_one():
    """The published range of raw GPT-2 logits reaches −110 and below."""
    low = (ROWS - ROWS.max() - 110).astype(np.float32)
    assert np.isnan(measures.unstable_softmax(low, 1.0)).all()
    assert np.isfinite(np.exp(measures.log_softmax_at(low, 1.0))).all()
    frame = measures.softmax_failures(ROWS, (1.0,), {"as it came": None, "low": -110.0})
    by_level = frame[frame["precision"] == "float32"].set_index("level")["nan_share"]
    assert by_level["as it came"] == 0 and by_level["low"] == 1
    # One row far up, the others not: its share is counted, not the whole.
    mixed = measures.softmax_failures(ROWS + 100 * np.eye(7)[:, :1], (1.0,), {"": None})
    assert mixed["nan_share"].iloc[0] == pytest.approx(1 / 7)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_none_is_one_clear_error(wrong):
    for call in (
        lambda: check_temperature(wrong),
        lambda: measures.log_softmax_at(ROWS, float(wrong)),
        lambda: measures.temperature_sweep(ROWS, (1.0, wrong)),
        lambda: measures.nll_by_temperature(ROWS, np.zeros(7, int), np.zeros(7, int), (wrong,)),
    ):
        with pytest.raises(InputError, match="above 0"):
            call()
