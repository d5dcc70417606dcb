"""The geometry of the position embeddings: how few directions, how periodic, how lag-like.

A smooth random walk also has a few large principal components shaped like sines (Antognini &
Sohl-Dickstein 2018, arXiv:1806.08805), so it is the null of all that looks smooth; independent
normal numbers and shuffled rows are nulls of the rest. All have the variance of `W_pos`.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from interp.core.errors import InputError
from interp.measures.embeddings import covariance, principal_axes

FEWEST = 8  # positions
N_TOP = 8  # principal components looked at
N_DRAWS = 100
MOST_POSITIONS = 256  # of position-position scores; every position's row is one more unknown
WHOLE = ("n_components", "effective", "helix", "smoothness", "first_row")
NULLS = ("random walk", "normal numbers", "shuffled rows")

Positions = Float[np.ndarray, "n_ctx d_model"]


def null_positions(W_pos: Positions, null: str, rng: np.random.Generator) -> Positions:
    """Position embeddings of a null, with the variance that `W_pos` has in all.

    - "random walk": each position is the one before plus normal numbers;
    - "normal numbers": every number by itself;
    - "shuffled rows": the same vectors at other positions.

    Raises:
        InputError: there is no such null.
    """
    if null not in NULLS:
        raise InputError(f"no null is called {null!r}; there are: {', '.join(NULLS)}")
    if null == "shuffled rows":
        return rng.permutation(W_pos)
    drawn = rng.standard_normal(W_pos.shape)
    if null == "random walk":
        drawn = np.cumsum(drawn, axis=0)
    drawn -= drawn.mean(axis=0)
    middle = W_pos - W_pos.mean(axis=0)
    return drawn * (np.linalg.norm(middle) / np.linalg.norm(drawn)) + W_pos.mean(axis=0)


def position_spectrum(
    W_pos: Positions, n_draws: int = N_DRAWS, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Principal components of the positions: how large, how periodic.

    Args:
        W_pos: one row per position.
        n_draws: of each null.
        seed: of the draws.

    Returns:
        One row per component, the first 8: `component` (from 1), `share` (of the variance),
        `cycles` (over all positions, where its power is largest), `period` (positions), `power`
        (share of its own variance at that frequency; 1 is a pure sine whose cycles are whole), and
        for each null mean and 95 % band of share and power (`share_random_walk`, `..._low`,
        `..._high`).
        And one row for all: `n_components` (for 90 % of the variance), `effective` (participation
        ratio (Σλ)²/Σλ²), `helix` (R² of the first three components on a straight line and one
        sine and cosine of the best frequency), `smoothness` (lag-1 autocorrelation of the rows),
        `first_row` (length of row 0 over the median length), each with mean and 95 % band of the
        nulls, and `n` (positions).

    Raises:
        InputError: fewer than 8 positions, or all are equal.

    Source: the helix after Yedidia 2023; the null after Antognini & Sohl-Dickstein 2018.
    """
    W_pos = _checked(W_pos)
    components, whole = _described(W_pos)
    rng = np.random.default_rng(seed)
    for null in NULLS:
        drawn = [_described(null_positions(W_pos, null, rng)) for _ in range(n_draws)]
        suffix = null.replace(" ", "_")
        for column in ("share", "power"):
            values = np.array([of_components[column] for of_components, _ in drawn])
            _add_band(components, f"{column}_{suffix}", values)
        for column in WHOLE:
            values = np.array([of_whole[column] for _, of_whole in drawn])
            _add_band(whole, f"{column}_{suffix}", values)
    return components, whole


def _add_band(frame: pd.DataFrame, name: str, draws: Float[np.ndarray, "draw row"]) -> None:
    frame[name] = draws.mean(axis=0)
    frame[f"{name}_low"], frame[f"{name}_high"] = np.quantile(draws, [0.025, 0.975], axis=0)


def _checked(W_pos: Positions) -> Positions:
    if len(W_pos) < FEWEST:
        raise InputError(
            f"there are {len(W_pos)} positions; their shape can be told from {FEWEST} on"
        )
    wide = W_pos.astype(np.float64)
    if np.ptp(wide, axis=0).max() == 0:
        raise InputError("all position embeddings are equal; there is no shape to measure")
    return wide


def _waves(W_pos: Positions) -> tuple[Float[np.ndarray, "n_ctx k"], Float[np.ndarray, " all"]]:
    """The positions' places along the first components, and all components' shares."""
    middle = W_pos - W_pos.mean(axis=0)
    n, d = middle.shape
    # The smaller of the two products has the same eigenvalues, and costs less than an SVD.
    values, axes = np.linalg.eigh(middle @ middle.T if n <= d else middle.T @ middle)
    values, axes = values[::-1].clip(0), axes[:, ::-1]
    k = min(N_TOP, n - 1, d)
    places = axes[:, :k] * np.sqrt(values[:k]) if n <= d else middle @ axes[:, :k]
    return places, values / values.sum()


def _described(W_pos: Positions) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of `position_spectrum`, without nulls."""
    places, shares = _waves(W_pos)
    cycles, power = periodicity(places)
    length = np.linalg.norm(W_pos, axis=1)
    middle = W_pos - W_pos.mean(axis=0)
    components = {
        "component": np.arange(1, places.shape[1] + 1),
        "share": shares[: places.shape[1]],
        "cycles": cycles,
        "period": len(W_pos) / cycles,
        "power": power,
    }
    whole = {
        "n_components": float(np.searchsorted(np.cumsum(shares), 0.9 - 1e-12) + 1),
        "effective": 1 / float((shares**2).sum()),
        "helix": helix_fit(places[:, :3]),
        "smoothness": float((middle[1:] * middle[:-1]).sum() / (middle**2).sum()),
        "first_row": float(length[0] / max(np.median(length), np.finfo(float).tiny)),
        "n": len(W_pos),
    }
    return pd.DataFrame(components), pd.DataFrame([whole])


def periodicity(
    series: Float[np.ndarray, "pos series"],
) -> tuple[Int[np.ndarray, " series"], Float[np.ndarray, " series"]]:
    """Cycles over all positions where the power is largest, and its share of the variance."""
    spectrum = np.abs(np.fft.rfft(series - series.mean(axis=0), axis=0)) ** 2
    spectrum[1 : (len(series) + 1) // 2] *= 2  # the negative frequencies
    spectrum = spectrum[1:]
    best = spectrum.argmax(axis=0)
    total = np.maximum(spectrum.sum(axis=0), np.finfo(float).tiny)
    return best + 1, spectrum[best, np.arange(series.shape[1])] / total


def helix_of(W_pos: Positions, kept: Int[np.ndarray, " kept"] | None = None) -> float:
    """`helix_fit` of the first three components, of some positions only where `kept` says so."""
    W_pos = _checked(W_pos)
    at = np.arange(len(W_pos)) if kept is None else kept
    return helix_fit(_waves(W_pos[at])[0][:, :3], at, len(W_pos))


def helix_fit(
    places: Float[np.ndarray, "pos k"],
    at: Int[np.ndarray, " pos"] | None = None,
    n_ctx: int | None = None,
) -> float:
    """R² of a helix, (i, cos ωi, sin ωi) in any orientation, at the best of 200 frequencies.

    They lie between half a cycle over all positions and a period of four, evenly in logarithms.

    Args:
        places: of the positions along some components.
        at: which positions these are; all, from 0 on, by default.
        n_ctx: how many positions there are in all.
    """
    at = np.arange(len(places)) if at is None else at
    n_ctx = len(places) if n_ctx is None else n_ctx
    centred = places - places.mean(axis=0)
    total = max((centred**2).sum(), np.finfo(float).tiny)
    fitted = np.einsum("fpk,ps->fks", _helices(tuple(at.tolist()), n_ctx), centred)
    return float((fitted**2).sum(axis=(1, 2)).max() / total)


@lru_cache(maxsize=2)
def _helices(at: tuple[int, ...], n_ctx: int) -> Float[np.ndarray, "frequency pos 4"]:
    """An orthonormal basis of 1, i, cos ωi and sin ωi for each frequency."""
    i = np.array(at)
    angle = 2 * np.pi * np.geomspace(0.5, n_ctx / 4, 200)[:, None] * i / n_ctx
    flat = np.broadcast_to(np.stack([np.ones(len(i)), i / n_ctx]), (len(angle), 2, len(i)))
    shapes = np.concatenate([flat, np.cos(angle)[:, None], np.sin(angle)[:, None]], axis=1)
    return np.linalg.qr(np.swapaxes(shapes, 1, 2))[0]


def lag_share(
    scores: Float[np.ndarray, "head query_pos key_pos"],
) -> Float[np.ndarray, " head"]:
    """Share of the scores' variance within queries that the distance to the key explains.

    Scores are fitted on the visible triangle by one number per query (which no softmax sees) plus
    one per distance, by least squares; the share is what the distances explain of what the
    queries' own numbers leave. 1 is a Toeplitz matrix, up to a constant per query.

    Cost: one pseudo-inverse of `2 * n`, for all heads.
    """
    n = scores.shape[-1]
    visible = np.tril(np.ones((n, n), dtype=bool))
    lag = np.subtract.outer(np.arange(n), np.arange(n))
    rows, lags = np.nonzero(visible)[0], lag[visible]
    design = np.zeros((2 * n, 2 * n))
    counts = np.bincount(rows, minlength=n)
    design[:n, :n] = np.diag(counts)
    design[n:, n:] = np.diag(np.bincount(lags, minlength=n))
    np.add.at(design, (rows, n + lags), 1)
    np.add.at(design, (n + lags, rows), 1)
    inverse = np.linalg.pinv(design, hermitian=True)
    shares = []
    for head in scores:
        values = head[visible].astype(np.float64)
        values = values - values.mean()
        of_rows, of_lags = (np.bincount(at, values, minlength=n) for at in (rows, lags))
        right = np.concatenate([of_rows, of_lags])
        explained = right @ inverse @ right
        by_rows = (of_rows**2 / counts).sum()
        left = (values**2).sum() - by_rows
        shares.append(0.0 if left <= 1e-12 * (values**2).sum() else (explained - by_rows) / left)
    return np.clip(np.array(shares), 0, 1)


def position_scores(
    W_pos: Positions,
    mean_token: Float[np.ndarray, " d_model"],
    W_Q: Float[np.ndarray, "head d_model d_head"],
    b_Q: Float[np.ndarray, "head d_head"],
    W_K: Float[np.ndarray, "head d_model d_head"],
    scale: float,
    normalise: Callable[[Positions], Positions],
) -> Float[np.ndarray, "head query_pos key_pos"]:
    """First-layer attention scores between positions, the average word standing at each.

    Args:
        W_pos: one row per position.
        mean_token: mean of the token embeddings.
        W_Q: query weights of the first layer.
        b_Q: their bias; the keys' bias moves all scores of a query alike and is left out.
        W_K: key weights.
        scale: factor on the scores.
        normalise: the norm before attention.
    """
    x = normalise(W_pos + mean_token)
    q = np.einsum("pd,hde->hpe", x, W_Q) + b_Q[:, None]
    return scale * q @ np.swapaxes(np.einsum("pd,hde->hpe", x, W_K), 1, 2)


def toeplitz_scores(
    W_pos: Positions,
    scores_of: Callable[[Positions], Float[np.ndarray, "head query_pos key_pos"]],
    n_draws: int = 30,
    seed: int = 0,
) -> pd.DataFrame:
    """How much of each head's position-position scores depends on the distance alone.

    Args:
        W_pos: one row per position; the first 256 are used.
        scores_of: scores from position embeddings; see `position_scores`.
        n_draws: of each null.
        seed: of the draws.

    Returns:
        One row per head, and one with head −1 for the inner products of the positions themselves:
        `head`, `lag_share` (see `lag_share`), mean and 95 % band under each null, and `p` (share of
        random walks that reach it, add one).
    """
    W_pos = _checked(W_pos)[:MOST_POSITIONS]

    def shares(positions: Positions) -> np.ndarray:
        middle = positions - positions.mean(axis=0)
        all_scores = np.concatenate([(middle @ middle.T)[None], scores_of(positions)])
        return lag_share(all_scores)

    observed = shares(W_pos)
    frame = pd.DataFrame({"head": np.arange(len(observed)) - 1, "lag_share": observed})
    rng = np.random.default_rng(seed)
    for null in NULLS:
        draws = np.array([shares(null_positions(W_pos, null, rng)) for _ in range(n_draws)])
        _add_band(frame, f"lag_share_{null.replace(' ', '_')}", draws)
        if null == "random walk":
            reached = (draws >= observed - 1e-12).sum(axis=0)
            frame["p"] = (1 + reached) / (1 + n_draws)
    return frame


def subspace_overlap(
    W_E: Float[np.ndarray, "d_vocab d_model"],
    W_pos: Positions,
    share: float = 0.9,
    n_draws: int = 200,
    n_boot: int = 40,
    seed: int = 0,
) -> dict[str, float | int]:
    """Do words and positions use the same directions of the residual stream?

    The k principal axes that hold `share` of the positions' variance are compared with the k
    largest of the words' (both centred): the mean squared cosine of their principal angles, 0 for
    orthogonal and 1 for equal subspaces.

    Args:
        W_E: one row per word.
        W_pos: one row per position.
        share: of the positions' variance.
        n_draws: random subspaces.
        n_boot: bootstrap resamples, of at most 4,096 words.
        seed: of both.

    Returns:
        `overlap`, `ci_low`, `ci_high` (95 %, over words), `expected` (k/d), `null_low`,
        `null_high` (95 % band of random subspaces), `p_less` (share of random subspaces that
        overlap as little, add one), `words_share` (share of the words' variance inside the
        positions' subspace; k/d by chance), `k`, `d_model`, `n` (words), `cosine_means` (between
        the mean word and the mean position).
    """
    axes, shares = principal_axes(_checked(W_pos))
    d = W_E.shape[1]
    k = min(int(np.searchsorted(np.cumsum(shares), share - 1e-12) + 1), max(1, d // 2))
    of_positions = axes[:, :k]
    rng = np.random.default_rng(seed)

    def overlap(words: np.ndarray) -> float:
        return _mean_cos2(principal_axes(words)[0][:, :k], of_positions)

    size = min(len(W_E), 4096)
    boot = [overlap(W_E[rng.integers(0, len(W_E), size)]) for _ in range(n_boot)]
    null = np.array([_mean_cos2(_random_subspace(d, k, rng), of_positions) for _ in range(n_draws)])
    value = overlap(W_E)
    cov = covariance(W_E)
    mean_word, mean_position = W_E.mean(axis=0, dtype=np.float64), W_pos.mean(axis=0)
    lengths = np.linalg.norm(mean_word) * np.linalg.norm(mean_position)
    return {
        "overlap": value,
        "ci_low": min(value, float(np.quantile(boot, 0.025))),
        "ci_high": max(value, float(np.quantile(boot, 0.975))),
        "expected": k / d,
        "null_low": float(np.quantile(null, 0.025)),
        "null_high": float(np.quantile(null, 0.975)),
        "p_less": float((1 + (null <= value).sum()) / (1 + n_draws)),
        "words_share": float(np.trace(of_positions.T @ cov @ of_positions) / np.trace(cov)),
        "k": k,
        "d_model": d,
        "n": len(W_E),
        "cosine_means": float(mean_word @ mean_position / max(lengths, 1e-300)),
    }


def _mean_cos2(a: Float[np.ndarray, "d_model k"], b: Float[np.ndarray, "d_model k"]) -> float:
    return float(((a.T @ b) ** 2).sum() / a.shape[1])


def _random_subspace(d: int, k: int, rng: np.random.Generator) -> Float[np.ndarray, "d k"]:
    return np.linalg.qr(rng.standard_normal((d, k)))[0]


def position_map(W_pos: Positions) -> pd.DataFrame:
    """Places of the positions along their first eight components, for drawing.

    Returns:
        One row per position: `position`, `pc1` ... `pc8` (as many as there are), `length`.
    """
    places, _ = _waves(_checked(W_pos))
    frame = pd.DataFrame({f"pc{i + 1}": places[:, i] for i in range(places.shape[1])})
    frame.insert(0, "position", np.arange(len(W_pos)))
    frame["length"] = np.linalg.norm(W_pos, axis=1)
    return frame
