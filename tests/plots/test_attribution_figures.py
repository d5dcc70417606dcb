import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from interp.plots import (
    attribution_waterfall,
    estimate_scatter,
    png_bytes,
    share_and_effect,
)


def bars():
    rows = [
        ("embed", -1, -1, -1, 1.0, 1),
        ("head", 0, 2, -1, -2.5, 1),
        ("neuron", 1, -1, 17, 0.75, 1),
        ("mlp_rest", 1, -1, -1, 0.5, 1),
        ("norm_bias", 2, -1, -1, 0.125, 1),
        ("remainder", -1, -1, -1, -0.25, 9),
    ]
    columns = ["component", "layer", "head", "neuron", "contribution", "n_parts"]
    frame = pd.DataFrame(rows, columns=columns)
    end = frame["contribution"].cumsum()
    return frame.assign(
        end=end, start=end - frame["contribution"], norm_scale=4.5, logit_diff=end.iloc[-1]
    )


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_each_bar_of_a_waterfall_starts_where_the_last_one_ended_and_the_last_is_their_sum():
    frame = bars()
    figure = attribution_waterfall(frame)
    (ax,) = figure.axes
    *parts, total = ax.patches
    assert len(parts) == len(frame)
    for patch, row in zip(parts, frame.itertuples(), strict=True):
        assert (patch.get_x(), patch.get_width()) == pytest.approx((row.start, row.contribution))
        assert bool(patch.get_hatch()) == (row.contribution < 0)
    assert (total.get_x(), total.get_width()) == pytest.approx((0, frame["contribution"].sum()))
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [
        "token embedding", "L0H2", "neuron 1.17", "rest of MLP 1", "final norm's shift",
        "remainder (9 parts)", "logit difference",
    ]  # fmt: skip
    assert texts(figure) == ["+1.00", "−2.50", "+0.75", "+0.50", "+0.12", "−0.25", "−0.38"]
    assert "scale 4.5" in ax.get_xlabel()
    assert png_bytes(figure).startswith(b"\x89PNG")


def compared(n=30):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"estimate": rng.normal(size=n), "effect": rng.normal(size=n)})
    frame["method"] = np.where(np.arange(n) < n // 2, "EAP", "GradDrop")
    frame["signed"] = frame["method"] == "EAP"
    return frame.assign(miss=frame["estimate"] - frame["effect"])


def test_estimates_lie_against_exact_effects_or_their_sizes_and_the_named_ones_have_names():
    frame = compared()
    names = pd.Series([f"L{i}H1" if i % 5 == 0 else "" for i in range(30)])
    figure = estimate_scatter(frame, names)
    (ax,) = figure.axes
    drawn = {
        point for line in ax.lines if line.get_marker() in ("o", "^")
        for point in zip(*map(tuple, line.get_data()), strict=True)
    }  # fmt: skip
    for row in frame.itertuples():
        assert (row.estimate, row.effect if row.signed else abs(row.effect)) in drawn
    assert sorted(texts(figure)) == sorted(name for name in names if name)
    assert ax.get_xlim() == ax.get_ylim()


def overlap(a, b):
    return a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1


def test_names_of_points_do_not_cover_each_other():
    frame = compared(12).assign(estimate=lambda f: f["estimate"] / 10, signed=True)
    figure = estimate_scatter(frame, pd.Series([f"L1H{i} at 5" for i in range(12)]))
    png_bytes(figure)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_shares_and_effects_have_their_verdict_and_heads_that_disagree_a_name():
    frame = pd.DataFrame({
        "layer": [0, 1, 1], "head": [0, 0, 1], "attribution": [4.0, -4.0, 0.0],
        "ablation": [0.0, -4.0, 2.0], "limit": 0.5, "verdict": ["erased", "agree", "indirect"],
    })  # fmt: skip
    frame["difference"] = frame["attribution"] - frame["ablation"]
    frame["disagrees"] = frame["verdict"] != "agree"
    figure = share_and_effect(frame)
    (ax,) = figure.axes
    assert set(texts(figure)) - {""} == {"L0H0", "L1H1"}
    drawn = {line.get_marker(): tuple(map(tuple, line.get_data())) for line in ax.lines}
    assert drawn["v"] == ((4.0,), (0.0,)) and drawn["^"] == ((0.0,), (2.0,))
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["agree", "erased", "indirect", "equal within 0.5 logits"]
    whole = Figure()
    assert share_and_effect(frame, ax=whole.add_subplot()) is whole
