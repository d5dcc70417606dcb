import numpy as np
import pandas as pd
import pytest

from interp import plots

LAYERS = pd.DataFrame(
    {"layer": range(3), "auc": [0.5, 0.6, 0.9], "ci_low": [0.4, 0.5, 0.8], "ci_high": [0.6, 0.7, 1],
     "random_auc": 0.5, "random_ci_low": 0.4, "random_ci_high": 0.6, "halves_auc": [0.5, 0.5, 0.6],
     "bag": 0.55}
)  # fmt: skip
SIMILARITY = pd.DataFrame(
    {f"{of}{name}": [0.5, 0.4, 0.3] for of in ("", "random_")
     for name in ("self_similarity", "baseline", "adjusted", "ci_low", "ci_high")}
).assign(layer=range(3))  # fmt: skip
PROFILE = pd.DataFrame(
    [
        {"word": "mole", "example": e, "sense": s, "layer": layer, "cosine": 0.1 * layer,
         "ci_low": 0.0, "ci_high": 0.3, "meant": s == "x", "random_cosine": 0.0}
        for e in ("a mole", "the $mole") for s in ("x", "y") for layer in range(3)
    ]
)  # fmt: skip
CUES = pd.DataFrame(
    [
        {
            "kind": kind,
            "layer": layer,
            "change": value * layer,
            "ci_low": 0,
            "ci_high": value * layer,
        }
        for kind, value in (("before", 0.5), ("same sense", 0.1), ("after", 0.0))
        for layer in range(3)
    ]
)
POINTS = pd.DataFrame(
    [
        {"of": of, "method": method, "label": label, "x": x, "y": -x}
        for of in ("the model", "random weights") for method in ("PCA", "t-SNE")
        for label in "ab" for x in (1.0, 2.0)
    ]
)  # fmt: skip
FACTS = pd.DataFrame(
    [
        {"of": of, "method": method, "cosine_same": -0.125, "cosine_different": 0.25,
         "nearest_same": 0.5, "nearest_same_picture": 0.75, "kept": 0.9}
        for of in ("the model", "random weights") for method in ("PCA", "t-SNE")
    ]
)  # fmt: skip
PATHS = pd.DataFrame(
    {"path": ["one", "two"], "gain_nats": [0.0, 1.0], "ci_low": [-0.1, 0.8], "ci_high": [0.1, 1.2],
     "order": [0.5, 0.9], "order_low": [0.5, 0.8], "order_high": [0.5, 1], "random_gain_nats": 0.0,
     "random_order": 0.5}
)  # fmt: skip
ROUNDING = pd.DataFrame(
    [
        {"bits": bits, "kind": kind} | {f"{name}{end}": value * bits for name, value in
         (("kl_nats", 1e-3), ("top1", 0.1), ("cost_nats", -1e-3)) for end in ("", "_low", "_high")}
        for bits in (8, 4) for kind in ("rounded", "noise")
    ]
)  # fmt: skip
LOSSES = pd.DataFrame(
    {"of": ["uniform", "the model", "exact entropy"], "loss": [3.0, 1.0, 0.5],
     "ci_low": [3.0, 0.9, 0.4], "ci_high": [3.0, 1.1, 0.6], "perplexity": np.exp([3.0, 1.0, 0.5])}
)  # fmt: skip
CURVE = pd.DataFrame(
    {"model": ["small"] * 3 + ["gpt2"] * 3, "d_vocab": [10, 100, 1000] * 2,
     "share": [0.1, 0.2, 0.5, 0.0, 0.1, 0.2], "own": [False, True, False] * 2}
)  # fmt: skip
SPECTRA = pd.DataFrame(
    {
        "of": ["logits"] * 3 + ["noise"] * 3,
        "index": [1, 2, 3] * 2,
        "value": [1, 0.1, 0, 1, 0.2, 0.1],
    }
)
LENS = pd.DataFrame(
    {"layer": range(3), "kl_nats": [3.0, 1.0, 0.0], "ci_low": [2.8, 0.9, 0.0],
     "ci_high": [3.2, 1.1, 0.0], "shuffled_kl": 5.0, "shuffled_low": 4.8, "shuffled_high": 5.2,
     "never_looks_kl": 2.0}
)  # fmt: skip


@pytest.mark.parametrize(
    ("draw", "n_axes"),
    [
        (lambda: plots.similarity_by_layer(SIMILARITY), 2),
        (lambda: plots.senses_by_layer(LAYERS), 1),
        (lambda: plots.senses_by_layer(LAYERS.assign(halves_auc=np.nan)), 1),
        (lambda: plots.sense_profiles(PROFILE), 2),
        (lambda: plots.sense_pictures(POINTS, FACTS), 4),
        (lambda: plots.cue_changes(CUES), 1),
        (lambda: plots.path_dots(PATHS), 2),
        (lambda: plots.rounding_dots(ROUNDING), 3),
        (lambda: plots.loss_ladder(LOSSES), 1),
        (lambda: plots.cost_curves(CURVE), 1),
        (lambda: plots.centred_spectra(SPECTRA, 2), 1),
        (lambda: plots.lens_trust(LENS), 1),
    ],
)
def test_figures_are_drawn_the_same_twice_without_markup(draw, n_axes):
    made = draw()
    assert len(made.axes) == n_axes
    assert all(ax.has_data() for ax in made.axes)
    first = plots.png_bytes(made)
    texts = [
        text.get_text() for ax in made.axes for text in ax.get_xticklabels() + ax.get_yticklabels()
    ]
    assert not any("mathdefault" in text for text in texts)
    assert first == plots.png_bytes(draw())


def test_pictures_print_the_cosines_before_projection():
    ax = plots.sense_pictures(POINTS, FACTS).axes[0]
    title = ax.get_title(loc="left")
    for said in ("same sense −0.12", "different 0.25", "nearest has the same sense: 0.50", "0.75"):
        assert said in title
    assert "90% of the variance" in title


def test_scatter_prints_its_null():
    points = pd.DataFrame(
        {
            "token": ["a", "b", "$c"],
            "frequency": [1.0, 2, 3],
            "bias": [0.0, 1, 2],
            "length": [2.0, 1, 0],
        }
    )
    rho = pd.DataFrame(
        {"of": ["bias", "length"], "rho": [0.5, -0.5], "null_low": -0.1, "null_high": 0.1}
    )
    left, right = plots.bias_scatter(points, rho, "frequency").axes
    assert "0.50" in left.get_title(loc="left") and "−0.10 to 0.10" in left.get_title(loc="left")
    assert "−0.50" in right.get_title(loc="left")
    assert {"“$c”", "“a”"} & {text.get_text() for text in [*left.texts, *right.texts]}


def test_curves_mark_each_models_own_vocabulary():
    ax = plots.cost_curves(CURVE).axes[0]
    marks = [tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() != "None"]
    assert marks == [(100, 0.2), (100, 0.1)]
