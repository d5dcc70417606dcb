"""Figures of temperature, generation and tokenization draw what their frames hold."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from interp import plots

SWEEP = pd.DataFrame(
    {
        "temperature": [0.5, 1.0, 2.0],
        "entropy_nats": [0.4, 1.0, 2.0],
        "ci_low": [0.3, 0.9, 1.8],
        "ci_high": [0.5, 1.1, 2.1],
        "random_entropy": [2.0, 2.5, 2.9],
    }
)


def line(ax, label):
    return next(one for one in ax.lines if one.get_label() == label)


def test_bars_are_the_probabilities_in_the_order_of_the_tokens():
    frame = pd.DataFrame(
        {
            "temperature": [0.5, 0.5, 2.0, 2.0],
            "rank": [1, 2, 1, 2],
            "piece": [" a", "b"] * 2,
            "probability": [0.9, 0.1, 0.6, 0.4],
        }
    )
    made = plots.probabilities_by_temperature(frame)
    assert [ax.get_title() for ax in made.axes] == ["T = 0.5", "T = 2"]
    assert [bar.get_width() for bar in made.axes[1].patches] == [0.6, 0.4]
    assert [t.get_text() for t in made.axes[0].get_yticklabels()] == ["·a", "b"]
    low, high = made.axes[0].get_ylim()
    assert low > high  # the likeliest stands on top


def test_entropy_stands_beside_its_null():
    made = plots.entropy_curve(SWEEP, 3.0)
    ax = made.axes[0]
    assert line(ax, "the model").get_ydata().tolist() == [0.4, 1.0, 2.0]
    assert line(ax, "random weights").get_ydata().tolist() == [2.0, 2.5, 2.9]
    assert set(line(ax, "all tokens alike (T → ∞)").get_ydata()) == {3.0}


def test_failures_of_each_precision():
    frame = pd.DataFrame(
        [
            (level, precision, t, 0.25 if precision == "float32" else 0.5, 0.0)
            for level in ("one", "two")
            for precision in ("float32", "float64")
            for t in (0.1, 1.0)
        ],
        columns=["level", "precision", "temperature", "nan_share", "stable_nan_share"],
    )
    made = plots.softmax_breaks(frame)
    assert [ax.get_title() for ax in made.axes] == ["one", "two"]
    assert line(made.axes[1], "the notes' formula, float32").get_ydata().tolist() == [0.25] * 2
    assert line(made.axes[1], "the notes' formula, float64").get_ydata().tolist() == [0.5] * 2
    assert line(made.axes[0], "stable softmax").get_ydata().tolist() == [0, 0]


@pytest.mark.parametrize("exact", [True, False])
def test_calibration_shows_the_floor_only_where_it_is_known(exact):
    reliability = pd.DataFrame(
        {
            "confidence": [0.2, 0.9],
            "came_true": [0.25, 0.8],
            "ci_low": [0.1, 0.7],
            "ci_high": [0.4, 0.85],
            "null_low": [0.1, 0.8],
            "null_high": [0.3, 1.0],
        }
    )
    nll = pd.DataFrame(
        {
            "temperature": [0.5, 1.0, 2.0],
            "nll_nats": [2.0, 1.5, 1.8],
            "ci_low": [1.9, 1.4, 1.7],
            "ci_high": [2.1, 1.6, 1.9],
        }
    )
    if exact:
        nll = nll.assign(expected_nll_nats=[2.0, 1.45, 1.7], entropy_floor_nats=1.3)
    made = plots.calibration_panels(reliability, nll, 1.04)
    labels = {one.get_label() for one in made.axes[1].lines}
    assert ("least possible (entropy)" in labels) == exact
    assert set(line(made.axes[1], "least loss, T = 1.04").get_xdata()) == {1.04}
    assert made.axes[1].get_ylim()[0] < (1.3 if exact else 1.5)


def test_adaptive_rules_have_a_panel_each():
    frame = pd.DataFrame(
        {
            "theta": [0.1, 0.1, 1.0, 1.0],
            "rule": ["adaptive", "shuffled"] * 2,
            "gain": [0.1, -0.2, 0.3, -0.4],
            "ci_low": [0.0, -0.3, 0.2, -0.5],
            "ci_high": [0.2, -0.1, 0.4, -0.3],
            "entropy_nats": 1.5,
        }
    )
    made = plots.adaptive_gains(frame, "something")
    assert line(made.axes[0], "gain").get_xdata().tolist() == [0.1, 0.3]
    assert line(made.axes[1], "gain").get_xdata().tolist() == [-0.2, -0.4]


def test_the_strip_marks_what_was_drawn():
    candidates = pd.DataFrame(
        {
            "step": [1, 1, 2, 2, 2],
            "rank": [1, 2, 1, 2, 9],
            "piece": ["a", "b", "c", "d", "e"],
            "probability": [0.7, 0.2, 0.5, 0.3, 0.01],
            "chosen": [False, True, False, False, True],
        }
    )
    steps = pd.DataFrame({"step": [1, 2], "piece": ["b", "e"], "probability": [0.2, 0.01],
                          "rank": [2, 9]})  # fmt: skip
    made = plots.step_strip(candidates, steps)
    assert len(made.axes) == 2
    assert [t.get_text() for t in made.axes[1].get_yticklabels()] == ["c", "d", "▶ e"]
    assert [bool(bar.get_hatch()) for bar in made.axes[0].patches] == [False, True]
    assert "rank 9" in made.axes[1].get_title()


def test_coloured_text_wraps_and_greys_what_was_given():
    frame = pd.DataFrame(
        {
            "text": ["one"] * 40,
            "piece": ["word"] * 40,
            "surprisal_nats": [np.nan, *np.linspace(0, 5, 39)],
        }
    )
    made = plots.surprisal_text(frame, 5.0)
    boxes = made.axes[0].patches
    assert len(boxes) == 40 and len({round(b.get_y(), 2) for b in boxes}) > 1
    assert boxes[0].get_facecolor()[:3] == (0.9, 0.9, 0.9)
    assert boxes[1].get_facecolor() != boxes[39].get_facecolor()
    assert all(b.get_x() + b.get_width() <= 78 for b in boxes)


def test_samplers_and_beams_and_identities():
    frequencies = pd.DataFrame({"piece": ["a", "b"], "probability": [0.6, 0.4],
                                "frequency": [0.59, 0.41], "low": [0.5, 0.3],
                                "high": [0.7, 0.5]})  # fmt: skip
    checks = pd.DataFrame({"rule": ["plain", "cold"], "tv": [0.01, 0.02],
                           "expected_tv": [0.012, 0.018], "tv_high": [0.02, 0.03]})  # fmt: skip
    made = plots.sampler_panels(frequencies, checks)
    assert line(made.axes[0], "drawn").get_ydata().tolist() == [0.59, 0.41]
    assert line(made.axes[1], "drawn").get_xdata().tolist() == [0.01, 0.02]
    widths = pd.DataFrame({"width": [1, 4], "found": [0.5, 1.0], "ci_low": [0.3, 0.8],
                           "ci_high": [0.7, 1.0]})  # fmt: skip
    hot = pd.DataFrame({"temperature": [0.5], "same": [0.9], "ci_low": [0.7], "ci_high": [1.0]})
    made = plots.beam_panels(widths, hot)
    assert [t.get_text() for t in made.axes[0].get_xticklabels()] == ["1\ngreedy", "4"]
    assert line(made.axes[0], "share of prompts").get_ydata().tolist() == [0.5, 1.0]
    pairs = pd.DataFrame({"formula": ["x"], "deviation": [0.0], "wrong_deviation": [2.0],
                          "tolerance": [1e-10]})  # fmt: skip
    made = plots.identity_pairs(pairs)
    assert line(made.axes[0], "as it should be").get_xdata()[0] > 0  # 0 has no place on a log axis


def test_the_sweep_draws_only_references_that_exist():
    frame = pd.DataFrame(
        {
            "measure": ["a", "a", "b", "b"],
            "temperature": [0.5, 1.0] * 2,
            "mean": [0.1, 0.2, 0.3, 0.4],
            "ci_low": 0.05,
            "ci_high": 0.5,
            "text": [0.6, 0.6, np.nan, np.nan],
            "unigram": 0.9,
        }
    )
    made = plots.temperature_sweep(frame, [("a", "first"), ("b", "second")])
    assert isinstance(made, Figure) and [ax.get_title() for ax in made.axes] == ["first", "second"]
    assert "real text" in {one.get_label() for one in made.axes[0].lines}
    assert "real text" not in {one.get_label() for one in made.axes[1].lines}


def test_token_boxes_and_words_and_merges():
    frame = pd.DataFrame(
        {
            "reader": "model",
            "text": ["hi there", "hi there", "zzz"],
            "place": [0, 1, -1],
            "token": [5, 6, -1],
            "piece": ["hi", " there", ""],
        }
    )
    made = plots.token_boxes(frame)
    texts = [t.get_text() for t in made.axes[0].texts]
    assert "hi  5" in texts and "·there  6" in texts and "— not in the vocabulary —" in texts
    assert len(made.axes[0].patches) == 2
    groups = pd.DataFrame({"group": ["a", "b"], "pieces": [1.5, np.nan], "ci_low": [1.2, np.nan],
                           "ci_high": [1.9, np.nan], "bytes": [5.0, 7.0],
                           "known_share": [1.0, 0.25]})  # fmt: skip
    made = plots.pieces_by_group(groups)
    assert line(made.axes[0], "tokens").get_xdata()[0] == 1.5
    assert [t.get_text() for t in made.axes[0].texts] == ["75% not in the vocabulary"]
    curves = pd.DataFrame({"merges": [0, 1], "trained": [1, 1.5], "shuffled": [1, 1.2],
                           "random": [1, 1.1]})  # fmt: skip
    steps = pd.DataFrame({"merges": range(14), "pieces": "a | b", "n": 2})
    made = plots.merge_curves(curves, steps)
    assert line(made.axes[0], "learned from the text").get_ydata().tolist() == [1, 1.5]
    assert "13" in [t.get_text() for t in made.axes[1].texts]  # a long list keeps its end
    twins = pd.DataFrame({"cosine": [0.5, 0.6], "other_cosine": [0.1, 0.0]})
    assert sum(p.get_height() for p in plots.twin_cosines(twins).axes[0].patches) == 4
