import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from interp.core.errors import InputError
from interp.measures import (
    all_but_the_top,
    causal_inner_product,
    centred,
    coordinate_shares,
    cosine_spread,
    embeddings,
    geometries,
    nearest_neighbours,
    pair_percentiles,
    variance_profile,
)

V, D = 83, 19


def vectors(seed=0, n=V, d=D):
    return np.random.default_rng(seed).standard_normal((n, d))


def test_all_but_the_top_is_what_the_other_components_hold():
    X = vectors() * np.linspace(3, 1, D) + 5
    pca = PCA(svd_solver="full").fit(X)
    rest = pca.transform(X)[:, 2:] @ pca.components_[2:]
    assert np.abs(all_but_the_top(X) - rest).max() < 1e-10
    assert np.abs(centred(X) - (X - X.mean(0))).max() < 1e-12


def test_principal_axes_are_those_of_sklearn():
    X = vectors(1) * np.linspace(3, 1, D)
    axes, shares = embeddings.principal_axes(X)
    pca = PCA(svd_solver="full").fit(X)
    assert shares == pytest.approx(pca.explained_variance_ratio_, abs=1e-10)
    assert np.abs(np.abs((pca.components_ @ axes).diagonal()) - 1).max() < 1e-8


def test_covariance_in_blocks_is_that_of_numpy():
    X = vectors(2, 5000, 7).astype(np.float32)
    assert np.abs(embeddings.covariance(X) - np.cov(X.T, bias=True)).max() < 1e-6


def test_the_causal_inner_product_makes_the_unembedding_white():
    W_U = (vectors(3) * np.linspace(4, 0.5, D)).T
    found = causal_inner_product(W_U, shrinkage=0.0)
    u, v = vectors(4)[:2]
    inverse = np.linalg.inv(np.cov(W_U, bias=True))
    assert (found.whitening @ u) @ (found.whitening @ v) == pytest.approx(u @ inverse @ v, rel=1e-9)
    assert found.condition == pytest.approx(np.linalg.cond(np.cov(W_U, bias=True)), rel=1e-8)
    assert found.condition_used == pytest.approx(found.condition, rel=1e-8)


def test_shrinkage_pulls_towards_the_ordinary_inner_product():
    W_U = (vectors(3) * np.linspace(4, 0.5, D)).T
    cov = np.cov(W_U, bias=True)
    found = causal_inner_product(W_U, shrinkage=0.25)
    expected = np.linalg.inv(0.75 * cov + 0.25 * np.trace(cov) / D * np.eye(D))
    assert np.abs(found.whitening @ found.whitening - expected).max() < 1e-10
    assert found.condition_used < found.condition
    assert causal_inner_product(W_U, shrinkage=1.0).condition_used == pytest.approx(1)


def test_too_few_words_have_no_causal_inner_product_without_shrinkage():
    with pytest.raises(InputError, match="covariance of 11 .* has no inverse; give a shrinkage"):  # noqa: RUF043
        causal_inner_product(vectors(5, 11).T, shrinkage=0.0)
    assert np.isfinite(causal_inner_product(vectors(5, 11).T).whitening).all()


def test_geometries_are_made_of_the_same_words():
    made, causal = geometries(vectors(), vectors(1).T)
    assert list(made) == ["plain", "centred", "all but the top", "causal"]
    assert np.abs(made["causal"]() - centred(vectors()) @ causal.whitening).max() < 1e-12
    assert made["plain"]() is not None and made["centred"]().mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours_by_cosine_are_those_of_sklearn(dtype):
    X = vectors(6)
    found = nearest_neighbours(torch.from_numpy(X).to(dtype), torch.tensor([3, 11, 80]), 7)
    distance, rows = (
        NearestNeighbors(n_neighbors=8, metric="cosine").fit(X).kneighbors(X[[3, 11, 80]])
    )
    assert found["word"].tolist() == rows[:, 1:].ravel().tolist()
    assert found["score"].to_numpy() == pytest.approx(1 - distance[:, 1:].ravel(), abs=1e-5)
    assert found["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7] * 3
    assert found["query"].tolist() == [3] * 7 + [11] * 7 + [80] * 7


def test_neighbours_by_dot_product_favour_long_vectors():
    X = torch.from_numpy(vectors(7))
    X[5] *= 100
    found = nearest_neighbours(X, torch.arange(V), 3, by="dot")
    scores = (X @ X.T).fill_diagonal_(-torch.inf)
    assert found["word"].tolist() == scores.topk(3).indices.ravel().tolist()
    near5 = found[(found["rank"] == 1) & (found["query"] != 5)]["word"]
    assert (near5 == 5).mean() > 0.4


def test_neighbours_in_chunks_and_half_precision(monkeypatch):
    X = torch.from_numpy(vectors(8))
    whole = nearest_neighbours(X, torch.arange(V), 4)
    monkeypatch.setattr(embeddings, "_QUERIES", 9)
    parts = nearest_neighbours(X, torch.arange(V), 4)
    assert (parts["word"] == whole["word"]).all()
    assert parts["score"].to_numpy() == pytest.approx(whole["score"].to_numpy(), abs=1e-12)
    half = nearest_neighbours(X.bfloat16(), torch.arange(V), 4)
    assert (half["word"] == whole["word"]).mean() > 0.5


@pytest.mark.parametrize(
    ("queries", "k", "by", "message"),
    [
        ([], 3, "cosine", "no word was given"),
        ([V], 3, "cosine", f"word number {V} is outside 0 to {V - 1}"),
        ([-1], 3, "cosine", "word number -1 is outside"),
        ([0], 0, "cosine", "0 neighbours were asked for"),
        ([0], V, "cosine", f"{V} neighbours were asked for"),
        ([0], 3, "euclid", "not by 'euclid'"),
    ],
)
def test_bad_calls_of_neighbours(queries, k, by, message):
    with pytest.raises(InputError, match=message):
        nearest_neighbours(torch.from_numpy(vectors()), torch.tensor(queries, dtype=int), k, by)


def test_random_directions_are_almost_orthogonal():
    numbers, histogram = cosine_spread(vectors(9, 3000, 101), 20_000)
    assert numbers["sd_expected"] == pytest.approx(101**-0.5)
    assert numbers["sd"] == pytest.approx(101**-0.5, rel=0.03)
    assert abs(numbers["mean"]) < 0.005 and numbers["within"] == pytest.approx(0.9973, abs=0.002)
    width = histogram["cosine"].diff().iloc[1]
    assert histogram["density"].sum() * width == pytest.approx(1, abs=1e-9)
    normal = scipy.stats.norm(0, 101**-0.5).pdf(histogram["cosine"])
    assert histogram["expected"].to_numpy() == pytest.approx(normal, abs=1e-9)


def test_a_common_mean_shifts_all_cosines_and_centring_removes_it():
    X = vectors(10, 2000, 101) + 1.0
    # E cos = |mean|² / (|mean|² + d) = 1/2.
    assert cosine_spread(X)[0]["mean"] == pytest.approx(0.5, abs=0.01)
    assert cosine_spread(centred(X))[0]["mean"] == pytest.approx(0, abs=0.01)


def test_percentiles_of_pairs():
    X = vectors(11, 500, 67)
    X[1] = X[0] + 0.01 * X[2]  # nearly the same word
    X[4] = -X[3]
    found = pair_percentiles(X, np.array([0, 3]), np.array([1, 4]))
    assert found["percentile"].tolist() == [pytest.approx(1, abs=0.01), pytest.approx(0, abs=0.01)]
    assert found["cosine"].tolist() == pytest.approx([1, -1], abs=0.01)
    first, second = embeddings.random_pairs(500, 3000, 5)
    assert (first != second).all()
    spread = pair_percentiles(X, first, second)["percentile"]
    assert scipy.stats.kstest(spread, "uniform").pvalue > 0.001


def test_coordinates_of_normal_numbers_are_like_any_axes():
    found = coordinate_shares(vectors(12, 4000, 31), seed=1)
    assert found["rotated_low"] - 0.005 < found["share"] < found["rotated_high"] + 0.005
    assert found["even"] == 3 / 31


def test_a_rogue_coordinate_stands_out():
    X = vectors(13, 1000, 31)
    X[:, 7] *= 10
    found = coordinate_shares(X)
    exact = np.sort(X.var(axis=0))[-3:].sum() / X.var(axis=0).sum()
    assert found["share"] == pytest.approx(exact, rel=1e-10)
    assert found["share"] > 0.7 > 0.5 > found["rotated_high"] and found["p"] < 0.02
    # The interval is that of resampled words.
    rng = np.random.default_rng(0)
    boot = []
    for _ in range(200):
        variances = X[rng.integers(0, 1000, 1000)].var(axis=0)
        boot.append(np.sort(variances)[-3:].sum() / variances.sum())
    low, high = np.quantile(boot, [0.025, 0.975])
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((low, high), abs=0.01)


def test_components_for_a_share_of_the_variance():
    X = np.zeros((400, 11))
    X[:, :4] = np.random.default_rng(14).standard_normal((400, 4)) * [8, 4, 1, 0.1]
    found = variance_profile(X)
    shares = PCA(svd_solver="full").fit(X).explained_variance_ratio_
    assert found["n_components"] == np.searchsorted(np.cumsum(shares), 0.9) + 1 == 2
    assert found["ci_low"] <= 2 <= found["ci_high"]
    assert (found["d_model"], found["n"]) == (11, 400)
    assert variance_profile(X, share=1.0, n_boot=2)["n_components"] == 4
