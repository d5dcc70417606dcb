import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from interp.plots import png_bytes, pruning_dots, role_and_effect, role_atlas, roles_by_seed


def strengths(n_layers=2, n_heads=3, roles=("induction", "local")):
    rng = np.random.default_rng(0)
    layer, head = np.divmod(np.arange(n_layers * n_heads), n_heads)
    parts = [
        pd.DataFrame(
            {"role": role, "layer": layer, "head": head, "strength": rng.normal(1, 2, len(layer))}
        )
        for role in roles
    ]
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(label=frame["strength"] > 2)


def plane(n=5, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"layer": 0, "head": range(n), "strength": rng.normal(0, 3, n)})
    frame["effect"] = rng.normal(0, 3, n)
    frame["certain"] = [True] * (n - 1) + [False]
    kinds = ("role", "redundant or backup", "hidden", "irrelevant")
    frame["quadrant"] = [kinds[i % 4] for i in range(n)]
    return frame


@pytest.mark.parametrize("n_layers, n_heads", [(2, 3), (12, 12)])
def test_the_atlas_shows_each_strength_and_a_dot_for_each_label(n_layers, n_heads):
    frame = strengths(n_layers, n_heads).sample(frac=1, random_state=0)  # in any order
    figure = role_atlas(frame)
    ax = figure.axes[0]
    (mesh,) = [one for one in ax.collections if isinstance(one, QuadMesh)]
    values = mesh.get_array().reshape(2, n_layers * n_heads)
    rows = [text.get_text() for text in ax.get_yticklabels()]
    for row in frame.itertuples():
        assert values[rows.index(row.role), row.layer * n_heads + row.head] == row.strength
    (dots,) = [line for line in ax.lines if line.get_marker() == "o"]
    found = {(int(x), rows[int(y)]) for x, y in zip(*dots.get_data(), strict=True)}
    held = frame[frame["label"]]
    assert found == {(r.layer * n_heads + r.head, r.role) for r in held.itertuples()}
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_the_plane_shows_heads_hollow_where_they_are_not_certain():
    frame = plane(7)
    figure = role_and_effect(frame)
    ax = figure.axes[0]
    solid, hollow = set(), set()
    for line in ax.lines:
        if line.get_marker() in ("o", "s", "^", "D") and len(line.get_xdata()):
            kept = hollow if line.get_markerfacecolor() == "white" else solid
            kept |= set(zip(*map(tuple, line.get_data()), strict=True))
    for row in frame.itertuples():
        assert ((row.strength, row.effect) in hollow) == (not row.certain)
        assert ((row.strength, row.effect) in solid) == row.certain
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said[-1] == "beyond a line, but not certain (1)"
    assert {f"{name} ({n})" for name, n in frame["quadrant"].value_counts().items()} <= {*said}


def test_names_in_the_plane_do_not_cover_each_other():
    rng = np.random.default_rng(1)
    frame = plane(60).assign(
        strength=np.exp(rng.normal(0.7, 0.4, 60)), effect=np.exp(rng.normal(3, 0.6, 60))
    )
    figure = role_and_effect(frame)
    figure.canvas.draw()
    names = [text for text in figure.axes[0].texts if text.get_text().startswith("L0H")]
    boxes = [text.get_window_extent() for text in names]
    assert len(boxes) > 8
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def test_seeds_show_counts_and_best_heads():
    frame = pd.DataFrame(
        {
            "role": ["local", "local", "induction", "induction"],
            "model": ["a", "b"] * 2,
            "n_labelled": [2, 0, 1, 3],
            "best": ["L0H1", "L1H0", "L2H2", "L3H3"],
            "strength": [1.5, 0.2, 3.0, 9.0],
        }
    )
    ax = roles_by_seed(frame).axes[0]
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["2  (L0H1)", "0  (L1H0)", "1  (L2H2)", "3  (L3H3)"]


def test_the_plane_is_drawn_on_given_axes():
    figure = Figure()
    ax = figure.add_subplot()
    assert role_and_effect(plane(), ax=ax) is figure and ax.has_data()


def test_pruning_shows_the_chosen_set_beside_random_ones():
    frame = pd.DataFrame(
        {
            "ablation": ["zero"] * 3,
            "set": ["chosen", "random", "random"],
            "gain_nats": [0.01, 0.4, 0.7],
            "ci_low": [0.0, 0.4, 0.7],
            "ci_high": [0.03, 0.4, 0.7],
        }
    )
    ax = pruning_dots(frame, 0.02).axes[0]
    by_marker = {line.get_marker(): list(line.get_xdata()) for line in ax.lines}
    assert by_marker["o"] == [0.4, 0.7] and by_marker["D"] == [0.01]
