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
        lambda ax: plots.role_and_effect(plane(), ax=ax),
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


def plane():
    return pd.DataFrame(
        {"layer": 0, "head": range(4), "strength": [2.0, 3.0, 0.1, 0.2],
         "effect": [2.0, 0.1, 5.0, -0.1],
         "quadrant": ["role", "redundant or backup", "hidden", "irrelevant"]}
    )  # fmt: skip


def test_the_atlas_marks_heads_that_hold_a_role():
    frame = pd.DataFrame(
        {"role": ["a", "a", "b", "b"], "layer": [0, 1, 0, 1], "head": 0,
         "strength": [1.0, 2.0, 3.0, 4.0], "label": [False, True, False, False]}
    )  # fmt: skip
    ax = plots.role_atlas(frame).axes[0]
    assert mesh(ax).get_array().reshape(2, 2).tolist() == [[1, 2], [3, 4]]
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    assert [list(m.get_xdata()) + list(m.get_ydata()) for m in marks] == [[1.5, 0.5]]


def test_each_quadrant_is_counted_in_the_legend():
    made = plots.role_and_effect(plane())
    (legend,) = made.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "role (1)", "redundant or backup (1)", "hidden (1)", "irrelevant (1)",
    ]  # fmt: skip


def test_pruning_and_seeds_are_drawn_from_their_frames():
    sets = pd.DataFrame(
        {"ablation": ["zero", "zero"], "set": ["chosen", "random"], "gain_nats": [0.1, 0.4],
         "ci_low": [0.05, 0.4], "ci_high": [0.2, 0.4]}
    )  # fmt: skip
    assert plots.png_bytes(plots.pruning_dots(sets, 0.02))
    seeds = pd.DataFrame(
        {"role": "local", "model": ["x", "y"], "n_labelled": [1, 0], "best": ["L0H0", "L1H1"],
         "strength": [2.0, 0.5]}
    )  # fmt: skip
    ax = plots.roles_by_seed(seeds).axes[0]
    assert [text.get_text() for text in ax.texts] == ["1  (L0H0)", "0  (L1H1)"]
