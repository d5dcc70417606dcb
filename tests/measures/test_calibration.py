"""Calibration and adaptive temperature against loops, scikit-learn and known truths."""

import math

import numpy as np
import pytest
import scipy.special
from scipy import stats
from sklearn.calibration import calibration_curve

from interp import measures
from interp.core import InputError
from interp.corpus import Language
from interp.measures import calibration

RNG = np.random.default_rng(5)
CONFIDENCE = RNG.uniform(0.05, 1, 700)
UNIT = np.repeat(np.arange(35), 20)
RIGHT = (RNG.random(700) < CONFIDENCE).astype(float)
LOGITS = 3 * RNG.standard_normal((78, 17))
TARGETS = np.array([RNG.choice(17, p=scipy.special.softmax(row)) for row in LOGITS])
PROMPT = np.repeat(np.arange(13), 6)


def test_reliability_equals_scikit_learn():
    frame = measures.reliability(CONFIDENCE, RIGHT, UNIT, n_bins=10)
    true, predicted = calibration_curve(RIGHT, CONFIDENCE, n_bins=10)
    assert frame["came_true"].tolist() == pytest.approx(true.tolist())
    assert frame["confidence"].tolist() == pytest.approx(predicted.tolist())
    assert frame["rows"].sum() == 700
    assert (frame["ci_low"] <= frame["came_true"]).all()
    assert (frame["came_true"] <= frame["ci_high"]).all()
    assert (
        (frame["null_low"] <= frame["confidence"]) & (frame["confidence"] <= frame["null_high"])
    ).all()


def test_the_error_is_the_mean_gap_of_the_bins():
    """Oracle: Guo et al.'s sum as a loop, (0.2, 0.3] and so on."""
    error = 0.0
    for b in range(15):
        inside = [i for i, c in enumerate(CONFIDENCE) if b / 15 < c <= (b + 1) / 15]
        if inside:
            gap = np.mean(RIGHT[inside]) - np.mean(CONFIDENCE[inside])
            error += len(inside) / 700 * abs(gap)
    found = measures.calibration_error(CONFIDENCE, RIGHT, UNIT)
    assert found["ece"] == pytest.approx(error)
    assert found["n"] == 35


def test_ends_of_bins():
    """1 belongs to the last bin, an inner edge to the bin below it, 0 to the first."""
    frame = measures.reliability(
        np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0]), np.arange(3), 2
    )
    assert frame["rows"].tolist() == [2, 1]
    assert frame["bin"].tolist() == [0, 1]


def test_a_calibrated_model_is_within_chance_and_a_wrong_one_is_not():
    right = measures.calibration_error(CONFIDENCE, RIGHT, UNIT)
    assert right["ece"] <= right["null_high"] and right["ci_low"] == 0
    assert 0 < right["null"] < right["null_high"]
    wrong = measures.calibration_error(CONFIDENCE**0.3, RIGHT, UNIT)
    assert wrong["ci_low"] > right["null_high"]
    assert wrong["ci_low"] <= wrong["ece"] <= wrong["ci_high"]


def test_the_interval_of_a_perfect_model_reaches_zero():
    reached = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        came = (rng.random(700) < CONFIDENCE).astype(float)
        reached.append(measures.calibration_error(CONFIDENCE, came, UNIT)["ci_low"] == 0)
    assert sum(reached) >= 17


def test_true_probabilities_give_the_exact_error_without_a_null():
    found = measures.calibration_error(CONFIDENCE, CONFIDENCE - 0.04, UNIT)
    assert found["ece"] == pytest.approx(0.04)
    assert (found["null"], found["null_high"]) == (0, 0)
    assert found["ci_low"] == pytest.approx(0.04) == found["ci_high"]


def test_the_interval_covers_the_true_error():
    """Confidence p ** 0.8 while the truth is p: the population's error by integration."""
    grid = (np.arange(200_000) + 0.5) / 200_000
    place = np.ceil(grid**0.8 * 15).astype(int) - 1
    gaps = np.bincount(place, weights=grid**0.8 - grid)
    truth = np.abs(gaps).sum() / len(grid)
    hits = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        p = rng.random(1000)
        came = (rng.random(1000) < p).astype(float)
        found = measures.calibration_error(p**0.8, came, np.repeat(np.arange(25), 40), seed=seed)
        hits += found["ci_low"] <= truth <= found["ci_high"]
    assert hits >= 34  # 95 % of 40, minus two and a half standard errors


def test_the_null_is_what_perfect_models_show():
    """Oracle: fresh outcomes drawn from the confidences, with another generator."""
    rng = np.random.default_rng(77)
    errors = [
        measures.calibration_error(CONFIDENCE, (rng.random(700) < CONFIDENCE).astype(float), UNIT)[
            "ece"
        ]
        for _ in range(60)
    ]
    found = measures.calibration_error(CONFIDENCE, RIGHT, UNIT)
    assert found["null"] == pytest.approx(np.mean(errors), rel=0.1)
    assert np.mean(np.array(errors) <= found["null_high"]) > 0.9


def test_gain_is_the_difference_of_the_errors():
    gain = measures.calibration_gain(CONFIDENCE**0.3, CONFIDENCE, RIGHT, UNIT)
    before = measures.calibration_error(CONFIDENCE**0.3, RIGHT, UNIT)["ece"]
    after = measures.calibration_error(CONFIDENCE, RIGHT, UNIT)["ece"]
    assert gain["gain"] == pytest.approx(before - after)
    assert 0 < gain["ci_low"] < gain["gain"] < gain["ci_high"]
    assert gain["n"] == 35


@pytest.mark.parametrize(
    ("confidence", "message"), [([], "at least one"), ([3.2], "from 0 to 1"), ([-0.1], "from 0")]
)
def test_no_probabilities_are_one_clear_error(confidence, message):
    confidence = np.array(confidence, dtype=float)
    with pytest.raises(InputError, match=message):
        measures.calibration_error(confidence, confidence, np.zeros(len(confidence), int))


def test_top_confidence():
    truth = scipy.special.softmax(2 * LOGITS, axis=1)
    frame = measures.top_confidence(LOGITS, TARGETS, 2.0, truth)
    for i in (0, 11, 77):
        probs = scipy.special.softmax(LOGITS[i] / 2)
        assert frame["confidence"][i] == pytest.approx(probs.max())
        assert frame["correct"][i] == float(probs.argmax() == TARGETS[i])
        assert frame["true_probability"][i] == truth[i, probs.argmax()]


def test_losses_by_temperature():
    """Oracle: SciPy's log-softmax, prompt by prompt."""
    truth = scipy.special.softmax(LOGITS, axis=1)
    frame = measures.nll_by_temperature(LOGITS, TARGETS, PROMPT, (0.5, 1.0), truth)
    assert len(frame) == 26
    for prompt, temperature in ((0, 0.5), (12, 1.0)):
        rows = np.flatnonzero(np.equal(PROMPT, prompt))
        log_probs = scipy.special.log_softmax(LOGITS[rows] / temperature, axis=1)
        row = frame[(frame["prompt"] == prompt) & (frame["temperature"] == temperature)].iloc[0]
        assert row["nll_nats"] == pytest.approx(-np.mean(log_probs[range(6), TARGETS[rows]]))
        crossed = -(truth[rows] * log_probs).sum(axis=1).mean()
        assert row["expected_nll_nats"] == pytest.approx(crossed)
        assert row["entropy_floor_nats"] == pytest.approx(stats.entropy(truth[rows], axis=1).mean())
    at_one = frame[frame["temperature"] == 1.0]
    assert at_one["expected_nll_nats"].tolist() == pytest.approx(
        at_one["entropy_floor_nats"].tolist()
    )


FINE = [1.1**k for k in range(-12, 13)]


def test_the_best_temperature_is_the_one_that_was_planted():
    """Targets drawn at T = 1.5: the loss is least there; doubled logits double the answer."""
    rng = np.random.default_rng(8)
    logits = 3 * rng.standard_normal((3000, 11))
    probs = scipy.special.softmax(logits / 1.5, axis=1)
    targets = (probs.cumsum(1) > rng.random((3000, 1))).argmax(1)
    unit = np.repeat(np.arange(60), 50)

    def best(given, seed=0):
        frame = measures.nll_by_temperature(given, targets, unit, FINE)
        wide = frame.pivot(index="prompt", columns="temperature", values="nll_nats")
        return measures.best_temperature(wide.to_numpy(), FINE, seed)

    found = best(logits)
    assert found["temperature"] == pytest.approx(1.5, abs=0.1)
    assert found["ci_low"] < found["temperature"] < found["ci_high"]
    assert found["ci_high"] - found["ci_low"] < 0.3
    assert found["gain_nats"] > 0 and found["at_edge"] == 0 and found["n"] == 60
    assert best(logits * 1.25)["temperature"] == pytest.approx(
        1.25 * found["temperature"], rel=0.01
    )
    assert best(logits * 100)["at_edge"] == 1


def test_a_parabola_finds_the_lowest_point_between():
    """By hand: (log T − log 1.1)² is least at 1.1, which was not tried."""
    temperatures = np.array([0.5, 0.8, 1.0, 1.3, 2.0])
    curve = np.log(temperatures / 1.1) ** 2
    found = measures.best_temperature(np.stack([curve] * 4), list(temperatures))
    assert found["temperature"] == pytest.approx(1.1)
    assert found["gain_nats"] == pytest.approx(math.log(1.1) ** 2 - min(curve))


@pytest.mark.parametrize("temperatures", [(1.0, 2.0), (0.5, 0.9, 2.0)])
def test_too_few_temperatures_are_one_clear_error(temperatures):
    with pytest.raises(InputError, match="at least 3"):
        measures.best_temperature(np.ones((4, len(temperatures))), temperatures)


def test_conditionals_are_those_of_the_language():
    language = Language()
    windows = language.batch(3, 2, 23, namespace="test")
    exact = measures.language_conditionals(language, windows)
    assert exact.shape == (2, 22, len(language.vocab))
    assert exact.sum(axis=2) == pytest.approx(1)
    for row, place in ((0, 0), (0, 9), (1, 21)):
        expected = language.next_token_distribution(windows[row, : place + 1])
        assert exact[row, place] == pytest.approx(expected, abs=1e-12)
    scored = np.take_along_axis(exact, windows[:, 1:, None], axis=2)[:, :, 0]
    assert np.log(scored[1]) == pytest.approx(language.log_probs(windows[1]), abs=1e-10)


def test_the_adaptive_temperature_is_the_papers():
    """By hand: T = base · 0.8^(θ / H)."""
    found = measures.edt_temperature(np.array([0.5, 2.0, 0.0]), theta=1.0, base=1.5)
    assert found.tolist() == pytest.approx([1.5 * 0.8**2, 1.5 * 0.8**0.5, 0.01])
    assert measures.edt_temperature(np.array([0.3]), 0.0, 0.7).tolist() == [0.7]
    with pytest.raises(InputError, match="theta"):
        measures.edt_temperature(np.ones(2), -1.0)
    with pytest.raises(InputError, match="above 0"):
        measures.edt_temperature(np.ones(2), 1.0, 0.0)


def test_matched_scale_matches_the_entropy():
    shape = np.linspace(0.4, 2, 78)
    for entropy in (0.3, 1.1, 2.4):
        scale = measures.matched_scale(LOGITS, shape, entropy)
        probs = scipy.special.softmax(LOGITS / (scale * shape)[:, None], axis=1)
        assert stats.entropy(probs, axis=1).mean() == pytest.approx(entropy, abs=1e-7)
    with pytest.raises(InputError, match="no temperature"):
        measures.matched_scale(LOGITS, shape, math.log(17) + 0.1)


def test_rules_are_compared_at_equal_entropy():
    possible = LOGITS > 0
    frame = measures.adaptive_comparison(LOGITS, TARGETS, PROMPT, (0.2, 0.8), 1.2, possible, seed=4)
    assert len(frame) == 2 * 3 * 13
    means = frame.groupby(["theta", "rule"])["entropy_nats"].mean().unstack()
    assert means.to_numpy() == pytest.approx(means[["adaptive"]].to_numpy().repeat(3, 1), abs=1e-7)
    assert means.loc[0.2, "fixed"] > means.loc[0.8, "fixed"]
    fixed = frame[(frame["rule"] == "fixed") & (frame["theta"] == 0.8)].set_index("prompt")
    temperature = fixed["temperature"].iloc[0]
    assert fixed["temperature"].tolist() == pytest.approx([temperature] * 13)
    rows = slice(12, 18)
    probs = scipy.special.softmax(LOGITS[rows] / temperature, axis=1)
    came = probs[range(6), TARGETS[rows]]
    assert fixed["hit"][2] == pytest.approx(came.mean())
    assert fixed["nll_nats"][2] == pytest.approx(-np.log(came).mean())
    assert fixed["impossible"][2] == pytest.approx((probs * (LOGITS[rows] <= 0)).sum(1).mean())


def test_shuffled_temperatures_are_the_adaptive_ones_elsewhere():
    frame = measures.adaptive_comparison(LOGITS, TARGETS, np.arange(78), (0.8,), 1.2, seed=4)
    by_rule = frame.pivot(index="prompt", columns="rule", values="temperature")
    open_now = stats.entropy(scipy.special.softmax(LOGITS, axis=1), axis=1)
    expected = np.maximum(1.2 * 0.8 ** (0.8 / open_now), 0.01)
    assert by_rule["adaptive"].tolist() == pytest.approx(expected.tolist())
    ratio = np.sort(by_rule["shuffled"]) / np.sort(by_rule["adaptive"])
    assert ratio == pytest.approx(np.full(78, ratio[0]))
    assert not np.allclose(by_rule["shuffled"] / ratio[0], by_rule["adaptive"])


def test_gains_are_signed_so_that_more_is_better():
    frame = measures.adaptive_comparison(LOGITS, TARGETS, PROMPT, (0.8,), 1.0, LOGITS > 0)
    for column, sign in (("hit", 1), ("impossible", -1), ("nll_nats", -1)):
        gains = measures.adaptive_gain(frame, column).set_index("rule")
        wide = frame.pivot(index="prompt", columns="rule", values=column)
        for rule in ("adaptive", "shuffled"):
            expected = sign * (wide[rule] - wide["fixed"]).mean()
            assert gains["gain"][rule] == pytest.approx(expected)
            assert gains["ci_low"][rule] <= expected <= gains["ci_high"][rule]
            assert gains["value"][rule] == pytest.approx(wide[rule].mean())
            assert gains["fixed"][rule] == pytest.approx(wide["fixed"].mean())
    assert set(gains["n"]) == {13}
    assert calibration.EDT_BASE == 0.8
