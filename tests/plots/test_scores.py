import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from interp import plots

CELLS = pd.DataFrame({"query_pos": [0, 1, 1], "key_pos": [0, 0, 1], "weight": [1.0, 0.25, 0.75]})
PARTS = pd.DataFrame(
    [("m", "q", 0, "a", "x", 3.0), ("m", "q", 0, "a", "y", -1.0), ("m", "q", 0, "a", "z", 2.0),
     ("m", "q", 2, "b", "x", -2.0), ("m", "q", 2, "b", "y", -1.0)],
    columns=["title", "query", "key_pos", "key", "source", "term"],
)  # fmt: skip
TOTALS = pd.DataFrame(
    [("m", 0, "a", 4.0, 0.75), ("m", 2, "b", -3.0, 0.25)],
    columns=["title", "key_pos", "key", "score", "weight"],
)


def mesh(ax):
    (found,) = [one for one in ax.collections if isinstance(one, QuadMesh)]
    return found


def test_matrices_show_each_weight_at_its_query_and_key():
    made = plots.token_matrices([plots.Panel("one", CELLS, "weight", ["a", "b c"])], "weight")
    values = mesh(made.axes[0]).get_array().reshape(2, 2)
    assert values[1, 0] == 0.25 and values[1, 1] == 0.75
    assert values.mask[0, 1]
    assert [t.get_text() for t in made.axes[0].get_yticklabels()] == ["a", "b·c"]
    assert {t.get_text() for t in made.axes[0].texts} == {"1", ".25", ".75"}


def test_terms_are_stacked_to_both_sides_of_0():
    """By hand: 3 then 2 to the right, −1 to the left; −2 then −1 to the left."""
    ax = plots.score_split(PARTS, TOTALS).axes[0]
    bars = sorted((round(b.get_y() + b.get_height() / 2), b.get_x(), b.get_width()) for b in
                  ax.patches)  # fmt: skip
    assert bars == [(0, 0, -1), (0, 0, 3), (0, 3, 2), (1, -2, -1), (1, 0, -2)]
    (diamonds,) = [line for line in ax.lines if line.get_marker() == "D"]
    assert list(diamonds.get_xdata()) == [4, -3]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a  0.75", "b  0.25"]
    assert ax.get_title() == "m\nquery “q”"


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plots.deviations(
            pd.DataFrame({"formula": ["a", "b"], "deviation": [0.0, 0.5]}), 1e-6, ax=ax
        ),
        lambda ax: plots.interval_dots(
            pd.DataFrame(
                {
                    "layer": [0],
                    "head": [1],
                    "contrast": [2.0],
                    "ci_low": [1.0],
                    "ci_high": [3.0],
                    "confirmed": [True],
                }
            ),
            1.0,
            "score",
            ax=ax,
        ),
        lambda ax: plots.words_or_places(*[scatter()] * 2, ax=ax),
    ],
)
def test_figures_are_drawn_on_given_axes(draw):
    figure = Figure()
    ax = figure.add_subplot()
    assert draw(ax) is figure
    assert ax.has_data()


def scatter(n=3):
    return pd.DataFrame(
        {"layer": range(n), "head": 0, "positional_r2": np.linspace(0, 1, n),
         "between_prompts": np.linspace(1, 0, n)}
    )  # fmt: skip
