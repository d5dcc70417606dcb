"""What the figures of the embedding show is what their frames hold, nulls included."""

import numpy as np
import pandas as pd
import pytest

from interp import plots


def texts(made):
    return [t.get_text() for t in made.findobj(match=lambda a: hasattr(a, "get_text"))]


def legend(made):
    found = [t.get_text() for box in made.legends for t in box.get_texts()]
    for ax in made.axes:
        if ax.get_legend() is not None:
            found += [t.get_text() for t in ax.get_legend().get_texts()]
    return found


def test_words_stand_where_their_values_are():
    points = pd.DataFrame(
        {
            "word": ["king", "queen", "man$", "wo man"],
            "value": [-1.0, 0.9, -0.7, 1.2],
            "group": ["first", "second"] * 2,
            "pair": [0, 0, 1, 1],
        }
    )
    made = plots.words_on_a_line(points, 0.4, "place")
    ax = made.axes[0]
    drawn = sorted(line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1)
    assert drawn == sorted(points["value"])
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((-0.4, 0.4))
    assert {"king", "queen", "man$", "wo·man"} <= set(texts(made))
    assert "95 % of words on random directions" in legend(made)


def test_relations_stand_beside_four_nulls():
    columns = ["consistency", "ci_low", "ci_high", "mismatched", "shuffled", "random",
               "random_weights"]  # fmt: skip
    relations = pd.DataFrame([[0.7, 0.6, 0.8, 0.3, 0.0, 0.1, -0.1]] * 2, columns=columns)
    relations["relation"] = ["gender", "number"]
    cells = pd.DataFrame(
        [("a → b", "c → d", 0, 1, 0.5, 0.1), ("c → d", "a → b", 1, 0, 0.5, 0.1)],
        columns=["pair", "other", "i", "j", "cosine", "mismatched"],
    )
    made = plots.relation_dots(relations, cells)
    xs = [tuple(line.get_xdata()) for line in made.axes[0].lines if len(line.get_xdata()) == 2]
    for column in ("consistency", *columns[3:]):
        assert tuple(relations[column]) in xs, column
    assert {"mismatched pairs", "shuffled pairs", "random pairs", "random weights"} <= set(
        legend(made)
    )
    matrices = [ax.collections[0].get_array() for ax in made.axes[1:3]]
    assert matrices[0][0, 1] == 0.5 and matrices[1][1, 0] == 0.1
    assert np.ma.is_masked(matrices[0][0, 0]) or np.isnan(matrices[0][0, 0])


def test_analogies_are_drawn_four_ways():
    rows = [
        ("gender", "3CosAdd", way, value, max(value - 0.1, 0), value + 0.1)
        for way, value in zip(("excluded", "included", "nearest", "offset"), (0.9, 0.5, 0.4, 0.0),
                              strict=True)
    ]  # fmt: skip
    rows += [("gender", "3CosMul", way, 0.77, 0.7, 0.8) for way in ("excluded", "included")]
    frame = pd.DataFrame(
        rows, columns=["relation", "method", "way", "top_1", "top_1_low", "top_1_high"]
    )
    made = plots.analogy_dots(frame, "3CosAdd")
    xs = {float(line.get_xdata()[0]) for line in made.axes[0].lines if len(line.get_xdata())}
    assert {0.9, 0.5, 0.4, 0.0} <= xs and 0.77 not in xs
    assert "nearest word to c, no offset" in legend(made)


def test_the_parallelogram_names_the_cosine_before_projection():
    points = pd.DataFrame({"word": list("abcd"), "x": [0.0, 1, 0, 1], "y": [0.0, 0, 1, 1]})
    illusion = pd.DataFrame(
        [
            (kind, n, 0.9, 0.3, 0.8, 0.2, 1.0, 0.4)
            for kind in ("related", "mismatched", "random", "random weights")
            for n in (2, 5)
        ],
        columns=["kind", "n_pairs", "plane", "space", "plane_low", "space_low", "plane_high",
                 "space_high"],
    )  # fmt: skip
    numbers = pd.Series({"cosine_plane": 1.0, "cosine": 0.345, "shown": 0.9})
    made = plots.parallelogram(points, numbers, illusion)
    assert made.axes[0].get_title() == "cosine 1.00 as drawn, 0.34 in space"
    assert "random pairs (95 %)" in legend(made)
    lines = [tuple(line.get_ydata()) for line in made.axes[1].lines]
    assert lines.count((0.9, 0.9)) == 4 and lines.count((0.3, 0.3)) == 4


def test_steering_has_its_control_and_no_minus_zero():
    rows = []
    for direction, moved in (("gender", 2.0), ("number", -0.001), ("random direction", 0.1)):
        for alpha in (0.5, 1.0, 2.0) if direction != "number" else (1.0,):
            rows.append(("gender", direction, alpha, moved * alpha, 0, 3, 4.0, moved / 4))
    frame = pd.DataFrame(
        rows,
        columns=["readout", "direction", "alpha", "moved", "ci_low", "ci_high", "swap", "share"],
    )
    made = plots.steering_curves(frame, "random direction")
    lines = [tuple(line.get_ydata()) for line in made.axes[0].lines]
    assert (1.0, 2.0, 4.0) in lines and (0.05, 0.1, 0.2) in lines
    shown = [t.get_text() for t in made.axes[1].texts]
    assert shown == ["0.50", "0", "0.03"] or shown == ["0.50", "0", "0.02"]
    assert "random, equally long (95 %)" in legend(made)


def test_cosines_stand_beside_random_directions():
    frame = pd.DataFrame({"geometry": "plain", "cosine": [-0.5, 0, 0.5], "density": [0.1, 2, 0.1],
                          "expected": [0.0, 4, 0.0]})  # fmt: skip
    made = plots.cosine_histograms(frame)
    assert tuple(made.axes[0].lines[0].get_ydata()) == (0.1, 2, 0.1)
    assert made.axes[0].collections[0].get_paths()[0].vertices[:, 1].max() == 4
    assert "N(0, 1/d): directions at random" in legend(made)


def test_positions_stand_beside_a_random_walk():
    places = pd.DataFrame({"position": range(4), "pc1": [1.0, 2, 3, 4], "pc2": [4.0, 3, 2, 1]})
    components = pd.DataFrame({"component": [1, 2], "share": [0.6, 0.2]})
    for null in ("random_walk", "normal_numbers"):
        for suffix in ("", "_low", "_high"):
            components[f"share_{null}{suffix}"] = [0.5, 0.1]
    made = plots.position_shapes(places, components)
    assert tuple(made.axes[0].lines[0].get_ydata()) == (1, 2, 3, 4)
    lines = [tuple(line.get_ydata()) for line in made.axes[2].lines]
    assert lines == [(0.6, 0.2), (0.5, 0.1), (0.5, 0.1)]
    assert {"random walk", "normal numbers"} <= set(legend(made))


def test_overlap_and_lags_stand_beside_their_nulls():
    heads = pd.DataFrame({"name": ["L0H0"], "lag_share": [0.7]})
    for null in ("random_walk", "shuffled_rows"):
        for suffix, value in (("", 0.3), ("_low", 0.2), ("_high", 0.4)):
            heads[f"lag_share_{null}{suffix}"] = [value]
    overlap = pd.DataFrame(
        [("the model", 0.1, 0.05, 0.15, 0.25, 0.2, 0.3)],
        columns=["weights", "overlap", "ci_low", "ci_high", "expected", "null_low", "null_high"],
    )
    made = plots.lag_and_overlap(heads, overlap)
    left = [line.get_xdata()[0] for line in made.axes[0].lines if len(line.get_xdata()) == 1]
    assert 0.7 in left and left.count(0.3) == 2
    bands = [tuple(line.get_xdata()) for line in made.axes[1].lines]
    assert (0.2, 0.3) in bands and (0.25,) in bands and (0.1,) in bands
    assert "random subspaces, 95 %" in legend(made)
