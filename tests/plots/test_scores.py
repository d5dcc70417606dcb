import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from interp import plots

CELLS = pd.DataFrame({"query_pos": [0, 1, 1], "key_pos": [0, 0, 1], "weight": [1.0, 0.25, 0.75]})
TERMS = pd.DataFrame(
    [
        {"query_source": a, "key_source": b, "term": float(i * 10 + j)}
        for i, a in enumerate("pqrs")
        for j, b in enumerate("uvw")
    ]
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


@pytest.mark.parametrize("most", [1, 2, 8])
def test_grouped_terms_keep_the_sum(most):
    table = plots.grouped_terms(TERMS, most)
    assert table.to_numpy().sum() == pytest.approx(TERMS["term"].sum())
    assert max(table.shape) <= max(most + 1, 4 if most == 8 else 0)
    if most == 1:
        assert table.loc["s", "w"] == 32  # the largest query and key source
        assert table.loc["s", "the rest"] == 30 + 31


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plots.score_terms(TERMS, ax=ax),
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
