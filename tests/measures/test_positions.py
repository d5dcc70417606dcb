import numpy as np
import pytest
import scipy.linalg
from sklearn.decomposition import PCA

from interp.core import GPTConfig, HookedGPT
from interp.core.errors import InputError
from interp.measures import (
    position_map,
    position_scores,
    position_spectrum,
    positions,
    subspace_overlap,
    toeplitz_scores,
)
from interp.measures.positions import helix_fit, helix_of, lag_share, null_positions, periodicity

N, D = 41, 17


def normal(seed=0, n=N, d=D):
    return np.random.default_rng(seed).standard_normal((n, d))


def helix(n=64, d=23, cycles=3.0, seed=0, noise=0.0):
    """Positions on a helix, hidden in an orthonormal frame."""
    i = np.arange(n)
    angle = 2 * np.pi * cycles * i / n
    shape = np.stack([2 * i / n, np.cos(angle), np.sin(angle)], axis=1)
    frame = np.linalg.qr(normal(seed, d, 3))[0]
    return shape @ frame.T + noise * normal(seed + 1, n, d) + normal(seed + 2, 1, d)


@pytest.mark.parametrize(("n", "d"), [(41, 17), (17, 41)])
def test_shares_and_places_are_those_of_sklearn(n, d):
    W = normal(1, n, d) * np.linspace(3, 1, d)
    components, whole = position_spectrum(W, 2)
    pca = PCA(svd_solver="full").fit(W)
    assert components["share"].to_numpy() == pytest.approx(
        pca.explained_variance_ratio_[: len(components)], abs=1e-10
    )
    assert components["component"].tolist() == list(range(1, 9))
    ratio = pca.explained_variance_ratio_
    assert whole["n_components"].item() == np.searchsorted(np.cumsum(ratio), 0.9) + 1
    assert whole["effective"].item() == pytest.approx(1 / (ratio**2).sum())
    places = position_map(W)
    expected = pca.transform(W)
    for k in range(8):
        assert np.abs(places[f"pc{k + 1}"].abs() - np.abs(expected[:, k])).max() < 1e-8
    assert places["length"].to_numpy() == pytest.approx(np.linalg.norm(W, axis=1))


def test_a_sine_has_its_period_and_all_its_power_there():
    i = np.arange(48)
    series = np.stack([3 + 2 * np.cos(2 * np.pi * 6 * i / 48), np.sin(2 * np.pi * 24 * i / 48 + 1)],
                      axis=1)  # fmt: skip
    cycles, power = periodicity(series)
    assert cycles.tolist() == [6, 24] and power == pytest.approx([1, 1], abs=1e-12)


@pytest.mark.parametrize("n", [32, 33])
def test_power_is_a_share_of_the_variance(n):
    """Parseval: each frequency fitted by least squares explains its share of the variance."""
    series = normal(2, n, 1)
    cycles, power = periodicity(series)
    i, y = np.arange(n), series[:, 0] - series.mean()
    shares = []
    for k in range(1, n // 2 + 1):
        angle = 2 * np.pi * k * i / n
        waves = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        fit = waves @ np.linalg.lstsq(waves, y, rcond=None)[0]
        shares.append((fit**2).sum() / (y**2).sum())
    assert cycles[0] == np.argmax(shares) + 1
    assert power[0] == pytest.approx(max(shares), abs=1e-10)


def test_a_helix_is_found_and_normal_numbers_are_none():
    assert helix_of(helix(noise=0.0)) > 0.999
    assert helix_of(helix(noise=0.05)) > 0.9
    assert helix_of(normal(3, 64, 23)) < 0.35
    # Left-out positions keep their places on the helix.
    assert helix_of(helix(), np.delete(np.arange(64), np.arange(8, 16))) > 0.999


def test_a_helix_of_points_in_a_ball_has_the_r2_of_least_squares():
    W = normal(4, 24, 3)
    W -= W.mean(axis=0)
    best = 0.0
    for cycles in np.geomspace(0.5, 6, 200):
        angle = 2 * np.pi * cycles * np.arange(24) / 24
        shape = np.stack([np.ones(24), np.arange(24), np.cos(angle), np.sin(angle)], axis=1)
        fit = shape @ np.linalg.lstsq(shape, W, rcond=None)[0]
        best = max(best, (fit**2).sum() / (W**2).sum())
    assert helix_fit(W) == pytest.approx(best, abs=1e-9)


def test_a_random_walk_looks_like_a_helix_too():
    """The reason for the null (Antognini & Sohl-Dickstein 2018)."""
    walk = null_positions(normal(5, 64, 101), "random walk", np.random.default_rng(0))
    components, whole = position_spectrum(walk, 40)
    assert whole["helix"].item() > 0.9
    assert whole["helix_random_walk_low"].item() < whole["helix"].item() + 0.02
    assert components["share"].iloc[0] == pytest.approx(6 / np.pi**2, abs=0.08)
    assert components["share"].iloc[1] == pytest.approx(6 / (4 * np.pi**2), abs=0.06)
    assert whole["smoothness"].item() > 0.8


@pytest.mark.parametrize("null", positions.NULLS)
def test_nulls_have_the_variance_and_the_mean_of_the_positions(null):
    W = normal(6) * 3 + 2
    drawn = null_positions(W, null, np.random.default_rng(1))
    assert drawn.mean(axis=0) == pytest.approx(W.mean(axis=0))
    assert np.linalg.norm(drawn - drawn.mean(0)) == pytest.approx(np.linalg.norm(W - W.mean(0)))
    if null == "shuffled rows":
        assert not (drawn == W).all()
        assert sorted(drawn.tolist()) == sorted(W.tolist())
    steps = np.linalg.norm(np.diff(drawn, axis=0), axis=1).mean()
    away = np.linalg.norm(drawn[20:] - drawn[:-20], axis=1).mean()
    assert (away > 2 * steps) == (null == "random walk")


def test_an_unknown_null_is_an_error():
    with pytest.raises(InputError, match="random walk, normal numbers, shuffled rows"):
        null_positions(normal(), "white noise", np.random.default_rng(0))


def test_normal_numbers_lie_in_their_own_band():
    components, whole = position_spectrum(normal(7, 50, 37), 60)
    low, high = components["share_normal_numbers_low"], components["share_normal_numbers_high"]
    assert (components["share"].between(low - 0.004, high + 0.004)).all()
    assert whole["n_components"].item() == pytest.approx(
        whole["n_components_normal_numbers"].item(), abs=1.5
    )
    assert (components["share"] < components["share_random_walk_high"]).iloc[0]


def test_toeplitz_scores_are_explained_by_distance():
    rng = np.random.default_rng(8)
    toeplitz = scipy.linalg.toeplitz(rng.standard_normal(13))
    assert lag_share(toeplitz[None])[0] == pytest.approx(1, abs=1e-9)
    # A constant per query changes no attention, and not this share either.
    assert lag_share((toeplitz + rng.standard_normal((13, 1)))[None])[0] == pytest.approx(1)
    # Above the diagonal nothing counts.
    hidden = toeplitz + np.triu(9 * rng.standard_normal((13, 13)), 1)
    assert lag_share(hidden[None])[0] == pytest.approx(1, abs=1e-9)
    assert lag_share(np.zeros((1, 13, 13)))[0] == 0


def test_the_lag_share_is_that_of_two_least_squares_fits():
    scores = normal(9, 11, 11)
    rows, keys = np.tril_indices(11)
    y = scores[rows, keys]
    by_row = np.eye(11)[rows]
    both = np.concatenate([by_row, np.eye(11)[rows - keys]], axis=1)

    def left(design):
        fit = design @ np.linalg.lstsq(design, y, rcond=None)[0]
        return ((y - fit) ** 2).sum()

    expected = 1 - left(both) / left(by_row)
    assert lag_share(scores[None])[0] == pytest.approx(expected, abs=1e-9)


def test_position_scores_are_those_of_the_first_layer():
    """The model's own scores for a prompt whose every word is the mean word."""
    import torch

    model = HookedGPT(
        GPTConfig(n_layers=1, d_model=D, n_heads=3, d_head=5, n_ctx=N, d_vocab=2),
        dtype=torch.float64,
    ).eval()
    with torch.no_grad():
        model.embed.W_E[:] = torch.randn(1, D, dtype=torch.float64)  # both words are the mean
        for value in (model.blocks[0].attn.b_QKV, model.blocks[0].ln1.b, model.pos_embed.W_pos):
            value += torch.randn(value.shape, dtype=torch.float64)
        _, cache = model.run_with_cache(torch.zeros(1, N, dtype=torch.long))
    raw = cache["blocks.0.attn.hook_attn_scores_raw"][0].numpy()
    attn, ln = model.blocks[0].attn, model.blocks[0].ln1
    found = position_scores(
        model.W_pos.detach().numpy(), model.W_E[0].detach().numpy(), attn.W_Q.detach().numpy(),
        attn.b_Q.detach().numpy(), attn.W_K.detach().numpy(), attn.scale,
        lambda x: ln(torch.from_numpy(x)[None])[0].detach().numpy(),
    )  # fmt: skip
    difference = raw - found
    # What is left is the keys' bias: one number per query, which no softmax sees.
    assert np.abs(difference - difference[:, :, :1]).max() < 1e-9


def test_heads_that_read_distance_stand_out():
    i = np.arange(32)
    angle = 2 * np.pi * np.arange(1, 9)[:, None] * i / 64
    waves = np.concatenate([np.cos(angle), np.sin(angle)]).T  # inner products depend on distance
    W_pos = waves @ np.linalg.qr(normal(10, 16, 16))[0]

    def scores_of(x):
        return np.stack([x @ x.T, x @ normal(11, 16, 16) @ x.T])

    frame = toeplitz_scores(W_pos, scores_of, 20).set_index("head")
    assert frame.loc[0, "lag_share"] > 0.95 and frame.loc[-1, "lag_share"] > 0.8
    assert frame.loc[0, "lag_share"] > frame.loc[0, "lag_share_shuffled_rows_high"] + 0.5
    assert frame.loc[0, "p"] <= 2 / 21 < frame.loc[1, "p"]
    assert frame.loc[1, "lag_share"] < 0.8


def test_overlap_is_that_of_principal_angles():
    W_E, W_pos = normal(12, 300, D) * np.linspace(4, 1, D), normal(13, N, D) * np.linspace(1, 4, D)
    found = subspace_overlap(W_E, W_pos)
    shares = PCA(svd_solver="full").fit(W_pos).explained_variance_ratio_
    k = min(np.searchsorted(np.cumsum(shares), 0.9) + 1, D // 2)
    axes = [PCA(k, svd_solver="full").fit(X).components_.T for X in (W_E, W_pos)]
    angles = scipy.linalg.subspace_angles(*axes)
    assert found["k"] == k
    assert found["overlap"] == pytest.approx((np.cos(angles) ** 2).mean(), abs=1e-9)
    assert found["expected"] == k / D
    inside = np.trace(axes[1].T @ np.cov(W_E.T) @ axes[1]) / np.trace(np.cov(W_E.T))
    assert found["words_share"] == pytest.approx(inside, abs=1e-9)
    assert found["ci_low"] <= found["overlap"] <= found["ci_high"] < found["expected"]


def test_overlap_of_separate_equal_and_random_spaces():
    W_E, W_pos = np.zeros((200, 30)), np.zeros((40, 30))
    W_E[:, :12], W_pos[:, 12:20] = normal(14, 200, 12), normal(15, 40, 8)
    apart = subspace_overlap(W_E, W_pos)
    assert apart["overlap"] < 1e-9 and apart["p_less"] == 1 / 201
    same = subspace_overlap(W_pos.repeat(5, 0), W_pos)
    assert same["overlap"] == pytest.approx(1) and same["p_less"] == 1
    random = subspace_overlap(normal(16, 500, 30), W_pos)
    assert random["null_low"] - 0.03 < random["overlap"] < random["null_high"] + 0.03
    assert (random["null_low"] + random["null_high"]) / 2 == pytest.approx(random["expected"],
                                                                          abs=0.02)  # fmt: skip


def test_too_few_or_equal_positions_are_refused():
    with pytest.raises(InputError, match="there are 7 positions; their shape can be told from 8"):
        position_spectrum(normal(0, 7))
    with pytest.raises(InputError, match="all position embeddings are equal"):
        position_spectrum(np.ones((9, 4)))
