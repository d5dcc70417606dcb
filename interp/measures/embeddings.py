"""The geometry of an embedding: neighbours, the common offset, and how near to orthogonal it is.

A vector's raw cosine with another is inflated by what all vectors share, so each measure can be
repeated in other geometries: centred, without the top principal components, or whitened by the
unembedding. A conclusion that flips between them is not a conclusion.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core.errors import InputError

TOP_COMPONENTS = 2  # dominating directions removed by "all but the top"; Mu et al. use about d/100
SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
_QUERIES = 128  # rows of scores held at a time

Vectors = Float[np.ndarray, "word d_model"]
Square = Float[np.ndarray, "d_model d_model"]


def unit_rows(vectors: Float[np.ndarray, "*rows d_model"]) -> Float[np.ndarray, "*rows d_model"]:
    """Each vector divided by its length; a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def centred(vectors: Vectors) -> Vectors:
    """Without the mean of all words."""
    return vectors - vectors.mean(axis=0, dtype=np.float64).astype(vectors.dtype)


def all_but_the_top(vectors: Vectors, n_components: int = TOP_COMPONENTS) -> Vectors:
    """Centred, and without the principal components of most variance.

    Source: Mu & Viswanath 2018, arXiv:1702.01417.
    """
    middle = centred(vectors)
    top = principal_axes(middle)[0][:, :n_components].astype(vectors.dtype)
    return middle - (middle @ top) @ top.T


def principal_axes(vectors: Vectors) -> tuple[Square, Float[np.ndarray, " d_model"]]:
    """Principal axes (columns) and the share of the variance along each, largest first.

    The vectors are centred first. Shares sum to 1, or are all 0 where there is no variance.
    Cost: one `d_model`² product over the words and one eigendecomposition.
    """
    values, axes = np.linalg.eigh(covariance(vectors))
    values = values[::-1].clip(0)
    return axes[:, ::-1], values / max(values.sum(), np.finfo(float).tiny)


def covariance(vectors: Vectors) -> Square:
    """Covariance over the words, float64, a block of words at a time."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    total = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), 4096):
        block = vectors[start : start + 4096] - mean
        total += block.T @ block
    return total / len(vectors)


@dataclass(frozen=True)
class CausalInnerProduct:
    """The inner product under which concepts that vary independently are orthogonal.

    Attributes:
        whitening: symmetric W; the inner product of u and v is that of W u and W v.
        condition: largest over smallest eigenvalue of the covariance, before shrinkage.
        condition_used: the same after shrinkage.
        shrinkage: weight of the identity.
    """

    whitening: Float[np.ndarray, "d_model d_model"]
    condition: float
    condition_used: float
    shrinkage: float


def causal_inner_product(
    W_U: Float[np.ndarray, "d_model d_vocab"], shrinkage: float = SHRINKAGE
) -> CausalInnerProduct:
    """⟨u, v⟩ = uᵀ Cov(γ)⁻¹ v, γ the unembedding vectors of all words.

    The covariance of a small vocabulary is badly conditioned or has no inverse, so it is shrunk
    towards a multiple of the identity of the same trace; both condition numbers are given.

    Args:
        W_U: one column per word.
        shrinkage: 0 is the published definition, 1 the ordinary inner product.

    Raises:
        InputError: without shrinkage the covariance has no inverse.

    Source: Park et al. 2024, arXiv:2311.03658.
    """
    cov = covariance(W_U.T)
    d = len(cov)
    raw = np.linalg.eigvalsh(cov)
    shrunk = (1 - shrinkage) * cov + shrinkage * np.trace(cov) / d * np.eye(d)
    values, axes = np.linalg.eigh(shrunk)
    if values[0] <= values[-1] * d * np.finfo(float).eps:
        raise InputError(
            f"the covariance of {W_U.shape[1]} unembedding vectors of width {d} has no inverse; "
            "give a shrinkage above 0"
        )
    floor = max(raw[0], np.finfo(float).tiny)
    return CausalInnerProduct(
        whitening=(axes / np.sqrt(values)) @ axes.T,
        condition=float(min(raw[-1] / floor, 1e300)),
        condition_used=float(values[-1] / values[0]),
        shrinkage=shrinkage,
    )


def geometries(
    W_E: Vectors, W_U: Float[np.ndarray, "d_model d_vocab"]
) -> tuple[dict[str, Callable[[], Vectors]], CausalInnerProduct]:
    """The same words under four inner products, each made when it is called for.

    Returns:
        "plain", "centred", "all but the top" and "causal" (centred, then whitened by the
        unembedding), and the causal inner product with its condition numbers.
    """
    causal = causal_inner_product(W_U)
    return {
        "plain": lambda: W_E,
        "centred": lambda: centred(W_E),
        "all but the top": lambda: all_but_the_top(W_E),
        "causal": lambda: centred(W_E) @ causal.whitening.astype(W_E.dtype),
    }, causal


def nearest_neighbours(
    vectors: Float[Tensor, "word d_model"],
    queries: Int[Tensor, " query"],
    k: int = 10,
    by: str = "cosine",
) -> pd.DataFrame:
    """The nearest words to some words, the word itself left out.

    Args:
        vectors: one row per word; they stay on their device.
        queries: row numbers.
        k: neighbours wanted.
        by: "cosine" or "dot" (which favours long vectors, as the unembedding does).

    Returns:
        One row per query and rank: `query`, `rank` (from 1), `word` (row number), `score`.

    Raises:
        InputError: a query is outside the rows, `k` is not between 1 and the number of other
            words, or `by` is neither of the two.

    Cost: `2 * query * word * d_model` operations and `128 * word` numbers of memory; the vectors
    are neither copied nor normalised.
    """
    _check_neighbours(len(vectors), queries, k, by)
    # Half precision would round neighbours together.
    dtype = vectors.dtype if vectors.dtype == torch.float64 else torch.float32
    length = vectors.to(dtype).norm(dim=1)
    length = torch.where(length > 0, length, torch.ones_like(length))
    words, scores = [], []
    for some in queries.split(_QUERIES):
        block = (vectors[some] @ vectors.T).to(dtype)
        if by == "cosine":
            block.div_(length).div_(length[some, None])
        block.scatter_(1, some[:, None], -torch.inf)
        top = block.topk(k, dim=1)
        words.append(top.indices.cpu())
        scores.append(top.values.cpu())
    n = len(queries)
    return pd.DataFrame(
        {
            "query": np.repeat(queries.cpu().numpy(), k),
            "rank": np.tile(np.arange(1, k + 1), n),
            "word": torch.cat(words).numpy().ravel(),
            "score": torch.cat(scores).numpy().ravel(),
        }
    )


def _check_neighbours(n_words: int, queries: Tensor, k: int, by: str) -> None:
    if by not in ("cosine", "dot"):
        raise InputError(f"neighbours go by 'cosine' or 'dot', not by {by!r}")
    if not 1 <= k < n_words:
        raise InputError(f"{k} neighbours were asked for; {n_words} words have 1 to {n_words - 1}")
    if not len(queries):
        raise InputError("no word was given whose neighbours to find")
    if int(queries.min()) < 0 or int(queries.max()) >= n_words:
        wrong = int(queries.min()) if int(queries.min()) < 0 else int(queries.max())
        raise InputError(f"word number {wrong} is outside 0 to {n_words - 1}")


def random_pairs(
    n_words: int, n_pairs: int, seed: int
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Pairs of two different words, drawn with replacement."""
    rng = np.random.default_rng([seed, n_words, n_pairs])
    first = rng.integers(0, n_words, n_pairs)
    return first, (first + rng.integers(1, n_words, n_pairs)) % n_words


def cosine_spread(
    vectors: Vectors, n_pairs: int = 20_000, seed: int = 0, n_bins: int = 61
) -> tuple[dict[str, float | int], pd.DataFrame]:
    """Cosines of random pairs of words beside N(0, 1/d), those of random directions.

    Args:
        vectors: one row per word.
        n_pairs: pairs drawn.
        seed: of the draw.
        n_bins: of the histogram.

    Returns:
        `mean`, `sd`, `sd_expected` (1/√d), `within` (share of pairs with |cos| below 3/√d; 0.9973
        for random directions), `n_pairs`; and the histogram: `cosine` (middle of the bin),
        `density`, `expected`.
    """
    d = vectors.shape[1]
    first, second = random_pairs(len(vectors), n_pairs, seed)
    cosines = np.concatenate([c for c in _pair_cosines(vectors, first, second)])
    sd = 1 / np.sqrt(d)
    density, edges = np.histogram(cosines, bins=n_bins, range=(-1, 1), density=True)
    middle = (edges[1:] + edges[:-1]) / 2
    numbers = {
        "mean": float(cosines.mean()),
        "sd": float(cosines.std(ddof=1)),
        "sd_expected": float(sd),
        "within": float((np.abs(cosines) < 3 * sd).mean()),
        "n_pairs": n_pairs,
    }
    expected = np.exp(-((middle / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))
    return numbers, pd.DataFrame({"cosine": middle, "density": density, "expected": expected})


def _pair_cosines(
    vectors: Vectors, first: np.ndarray, second: np.ndarray
) -> Iterator[Float[np.ndarray, " some"]]:
    for start in range(0, len(first), 4096):
        rows = slice(start, start + 4096)
        a, b = (unit_rows(vectors[ids[rows]].astype(np.float64)) for ids in (first, second))
        yield (a * b).sum(axis=1)


def pair_percentiles(
    vectors: Vectors,
    first: Int[np.ndarray, " pair"],
    second: Int[np.ndarray, " pair"],
    n_random: int = 20_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Where the cosine of each pair lies among the cosines of random pairs.

    Returns:
        One row per pair: `cosine`, `percentile` (share of random pairs below it, 0 to 1; 1/2 for a
        random pair), `random_mean` (cosine of random pairs).
    """
    cosines = np.concatenate(list(_pair_cosines(vectors, first, second)))
    drawn = random_pairs(len(vectors), n_random, seed)
    random = np.sort(np.concatenate(list(_pair_cosines(vectors, *drawn))))
    below = np.searchsorted(random, cosines, side="left")
    equal = np.searchsorted(random, cosines, side="right") - below
    return pd.DataFrame(
        {
            "cosine": cosines,
            "percentile": (below + equal / 2) / n_random,
            "random_mean": random.mean(),
        }
    )


def coordinate_shares(
    vectors: Vectors, n_top: int = 3, n_rotations: int = 100, n_boot: int = 200, seed: int = 0
) -> dict[str, float | int]:
    """Do single coordinates carry more than any other axes would?

    The share of the variance that the `n_top` largest coordinates hold, beside the same after
    random rotations of the basis, which change no length and no angle.

    Args:
        vectors: one row per word.
        n_top: coordinates counted.
        n_rotations: random bases.
        n_boot: bootstrap resamples of the words.
        seed: of both.

    Returns:
        `share`, `ci_low`, `ci_high` (95 %, over words), `rotated`, `rotated_low`, `rotated_high`
        (mean and 95 % band), `even` (`n_top / d_model`), `p` (share of bases that reach it, add
        one), `n` (words).

    Cost: `n_rotations` QR decompositions of `d_model`².
    """
    rng = np.random.default_rng(seed)
    cov, d = covariance(vectors), vectors.shape[1]

    def top(variances: np.ndarray) -> np.ndarray | float:
        return np.sort(variances, axis=-1)[..., -n_top:].sum(-1) / variances.sum(-1)

    rotated = np.empty(n_rotations)
    for i in range(n_rotations):
        basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
        rotated[i] = top(((cov @ basis) * basis).sum(axis=0))
    share = top(np.diag(cov))
    boot = top(_bootstrap_variances(vectors, n_boot, rng))
    return {
        "share": float(share),
        "ci_low": min(float(share), float(np.quantile(boot, 0.025))),
        "ci_high": max(float(share), float(np.quantile(boot, 0.975))),
        "rotated": float(rotated.mean()),
        "rotated_low": float(np.quantile(rotated, 0.025)),
        "rotated_high": float(np.quantile(rotated, 0.975)),
        "even": n_top / d,
        "p": float((1 + (rotated >= share).sum()) / (1 + n_rotations)),
        "n": len(vectors),
    }


def _bootstrap_variances(
    vectors: Vectors, n_boot: int, rng: np.random.Generator
) -> Float[np.ndarray, "boot d_model"]:
    """Variance of each coordinate under resampled words."""
    n = len(vectors)
    middle = vectors.mean(axis=0, dtype=np.float64)
    sums, squares = np.zeros((2, n_boot, vectors.shape[1]))
    counts = np.zeros((n_boot, 1))
    for start in range(0, n, 8192):
        block = vectors[start : start + 8192] - middle
        # Poisson weights stand for the counts of a resample, and come a block at a time.
        weights = rng.poisson(1.0, (n_boot, len(block))).astype(np.float64)
        counts += weights.sum(axis=1, keepdims=True)
        sums += weights @ block
        squares += weights @ block**2
    return squares / counts - (sums / counts) ** 2


def variance_profile(
    vectors: Vectors, share: float = 0.9, n_boot: int = 40, most_words: int = 4096, seed: int = 0
) -> dict[str, float | int]:
    """How many principal components hold a share of the variance, with a bootstrap over words.

    Args:
        vectors: one row per word.
        share: of the variance.
        n_boot: resamples, of at most `most_words` words each.
        most_words: see `n_boot`.
        seed: of the resamples.

    Returns:
        `n_components`, `ci_low`, `ci_high`, `d_model`, `n` (words).
    """

    def count(some: Vectors) -> int:
        shares = principal_axes(some)[1]
        return int(np.searchsorted(np.cumsum(shares), share - 1e-12) + 1)

    rng = np.random.default_rng(seed)
    size = min(len(vectors), most_words)
    drawn = [count(vectors[rng.integers(0, len(vectors), size)]) for _ in range(n_boot)]
    whole = count(vectors)
    return {
        "n_components": whole,
        "ci_low": min(whole, float(np.quantile(drawn, 0.025))),
        "ci_high": max(whole, float(np.quantile(drawn, 0.975))),
        "d_model": vectors.shape[1],
        "n": len(vectors),
    }
