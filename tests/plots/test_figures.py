import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from interp.plots import (
    divergence_matrix,
    head_label,
    pattern_mosaic,
    png_bytes,
    role_by_prompts,
    score_and_control,
    svg_bytes,
    visible_token,
)

LAYERS, HEADS = 2, 3


def heads(n_layers=LAYERS, n_heads=HEADS, roles=("induction", "first_token")):
    rng = np.random.default_rng(0)
    layer, head = np.divmod(np.arange(n_layers * n_heads), n_heads)
    parts = []
    for role in roles:
        contrast = rng.uniform(-0.2, 0.9, len(layer))
        parts.append(
            pd.DataFrame(
                {
                    "role": role,
                    "layer": layer,
                    "head": head,
                    "score": contrast + 0.25,
                    "control": 0.25,
                    "contrast": contrast,
                    "ci_low": contrast - 0.05,
                    "ci_high": contrast + 0.05,
                    "confirmed": contrast > 0.5,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def mesh(ax):
    (found,) = [one for one in ax.collections if isinstance(one, QuadMesh)]
    return found


def test_scores_controls_and_intervals_are_drawn_where_they_are():
    frame = heads(roles=("induction",))
    ax = score_and_control(frame, 0.1).axes[0]
    points = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in ax.lines
        if len(line.get_xdata()) == 1
    }
    bands = {
        (float(line.get_xdata()[0]), float(line.get_xdata()[1]), float(line.get_ydata()[0]))
        for line in ax.lines
        if len(line.get_xdata()) == 2 and line.get_linewidth() > 5
    }
    for place, row in enumerate(frame.itertuples()):
        assert {(row.score, place), (row.control, place), (row.control + 0.1, place)} <= points
        assert (row.control + row.ci_low, row.control + row.ci_high, place) in bands
    assert len(ax.get_yticklabels()) == len(frame)


def test_each_role_has_its_own_smallest_effect():
    frame = heads(roles=("local", "induction")).groupby("role", sort=False).head(1)
    frame = frame.assign(smallest_effect=[0.5, 0.1])
    ax = score_and_control(frame).axes[0]
    ticks = [float(x.get_xdata()[0]) for x in ax.lines if x.get_marker() == "|"]
    assert ticks == pytest.approx([0.75, 0.35])  # the control is 0.25
    assert len({line.get_color() for line in ax.lines if line.get_linewidth() > 5}) == 1


def test_kinds_of_prompts_are_the_axes():
    frame = heads()[["role", "layer", "head"]]
    frame = frame.assign(**{"random tokens": np.linspace(0, 1, 12), "own language": 0.5})
    ax = role_by_prompts(frame).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "contrast on random tokens",
        "contrast on own language",
    )
    points = np.concatenate([np.c_[x.get_xdata(), x.get_ydata()] for x in ax.lines[1:]])
    assert points == pytest.approx(frame[["random tokens", "own language"]].to_numpy())


def test_names_of_points_do_not_cover_each_other():
    rng = np.random.default_rng(0)
    frame = heads(12, 12)[["role", "layer", "head"]]
    frame = frame.assign(a=rng.beta(0.3, 1, len(frame)), b=rng.beta(0.3, 1, len(frame)))
    figure = role_by_prompts(frame)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 10
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def pattern_cells():
    rows = [
        {"layer": layer, "head": head, "query_pos": i, "key_pos": j}
        for layer in range(LAYERS)
        for head in range(HEADS)
        for i in range(5)
        for j in range(i + 1)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(weight=np.random.default_rng(1).random(len(frame)), use=0.5)


def test_the_mosaic_puts_queries_in_rows_and_keys_in_columns():
    cells = pattern_cells()
    figure = pattern_mosaic(cells, {"weight": "attention weight", "use": "use"})
    picture = mesh(figure.axes[0]).get_array()
    picture = np.ma.filled(picture.reshape(LAYERS * 6 - 1, HEADS * 6 - 1), np.nan)
    for row in cells.itertuples():
        place = (row.layer * 6 + row.query_pos, row.head * 6 + row.key_pos)
        assert picture[place] == row.weight
    assert np.isfinite(picture).sum() == len(cells)  # nothing else is drawn
    assert figure.axes[0].get_title() == "attention weight"
    assert "query ↓" in figure.axes[0].get_ylabel()
    assert "key →" in figure.axes[0].get_xlabel()


def test_the_divergence_matrix_has_a_row_and_a_column_per_head():
    n = LAYERS * HEADS
    a, b = np.divmod(np.arange(n * n), n)
    pairs = pd.DataFrame(
        {"layer_a": a // HEADS, "head_a": a % HEADS, "layer_b": b // HEADS, "head_b": b % HEADS}
    ).assign(js_nats=a * 0.1 + b * 0.01)
    ax = divergence_matrix(pairs).axes[0]
    values = mesh(ax).get_array().reshape(n, n)
    assert values[4, 2] == pytest.approx(0.42)
    assert [text.get_text() for text in ax.get_xticklabels()][4] == "L1H1"


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: score_and_control(heads(), 0.1, ax=ax),
        lambda ax: score_and_control(heads().assign(smallest_effect=0.3), ax=ax, xlabel="x"),
    ],
)
def test_figures_are_drawn_on_given_axes(draw):
    figure = Figure()
    ax = figure.add_subplot()
    assert draw(ax) is figure
    assert ax.has_data()


@pytest.mark.parametrize("to_bytes", [png_bytes, svg_bytes])
def test_files_are_the_same_every_time(to_bytes):
    first, second = (to_bytes(score_and_control(heads(), 0.1)) for _ in range(2))
    assert first == second
    assert b"20" + b"26" not in first.partition(b"<defs>")[0]


def test_no_style_is_left_behind_and_no_figure_registered():
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    png_bytes(score_and_control(heads(), 0.1))
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def test_dollar_signs_are_dollar_signs():
    figure = score_and_control(heads(roles=("induction",)).assign(role="$\\frac{1}$ $"), 0.1)
    assert png_bytes(figure)
    assert b"$\\frac{1}$ $" in svg_bytes(figure)


@pytest.mark.parametrize(
    "token, shown",
    [
        (" the", "·the"),
        ("\n\t", "⏎⇥"),
        ("\x00", "\\u0000"),
        ("\u202e", "\\u202e"),
        ("\ud83d", "\\ud83d"),
        ("x" * 30, "x" * 23 + "…"),
        ("왕", "왕"),
    ],
)
def test_tokens_are_told_apart(token, shown):
    assert visible_token(token) == shown


def test_head_labels_count_from_0():
    assert head_label(5, 1) == "L5H1"
