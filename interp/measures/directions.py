"""Do word pairs of one relation differ in one direction, and is it more than chance gives?

A pair's difference is `second - first`. Each score stands beside the same score of pairs that have
no relation in common, of four kinds:

- mismatched: the same first words, each with the second word of another pair. The classes stay,
  so what is left is what the partner itself adds;
- shuffled: the words of each pair in random order, which leaves no common direction;
- random: words of about the same frequency in place of every word;
- random weights: the same words in a model that has learned nothing (the caller's).
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from interp.core.errors import InputError
from interp.learning.evaluation import leave_one_out_direction, wilson_interval
from interp.measures.embeddings import unit_rows

FEWEST = 3  # pairs: one to hold out, and two whose agreement can be measured
N_DRAWS = 300
NEIGHBOURHOOD = 40  # words of nearest frequency from which a random word is drawn
NULLS = ("mismatched", "shuffled", "random")
SCORES = ("order_accuracy", "side_accuracy", "consistency", "pc1_share")

Pairs = Float[np.ndarray, "pair 2 d_model"]
PairIds = Int[np.ndarray, "pair 2"]
Draw = Float[np.ndarray, "*draw pair d_model"]


def pair_differences(pairs: Pairs) -> Float[np.ndarray, "pair d_model"]:
    """Second minus first vector of each pair."""
    return pairs[:, 1] - pairs[:, 0]


def consistency(differences: Draw) -> Float[np.ndarray, "*draw"] | float:
    """Mean cosine between the differences of any two pairs: 1 if all are parallel.

    Source: after Ethayarajh et al. 2019, arXiv:1810.04882, and Fournier et al. 2020.
    """
    unit = unit_rows(differences)
    n = differences.shape[-2]
    own = (unit**2).sum(axis=(-1, -2))
    return ((unit.sum(axis=-2) ** 2).sum(axis=-1) - own) / (n * (n - 1))


def pc1_share(differences: Draw) -> Float[np.ndarray, "*draw"] | float:
    """Share of the differences' squared length along their first principal axis.

    The axis goes through the origin, as the principal component of pairs centred on their own
    middle does. With k pairs it is 1/k at least.

    Source: Bolukbasi et al. 2016, arXiv:1607.06520.
    """
    gram = differences @ np.swapaxes(differences, -1, -2)
    total = np.trace(gram, axis1=-2, axis2=-1)
    largest = np.linalg.eigvalsh(gram)[..., -1]
    return largest / np.where(total > 0, total, 1)


def mean_direction(pairs: Pairs) -> Float[np.ndarray, " d_model"]:
    """Mean difference of the pairs, of length 1."""
    return unit_rows(pair_differences(pairs).mean(axis=0))


def direction_scores(
    vectors: Float[np.ndarray, "word d_model"],
    ids: PairIds,
    order: Int[np.ndarray, " candidate"],
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """One relation's direction beside its nulls.

    Args:
        vectors: one row per word, in the geometry that is wanted.
        ids: rows of the first and the second word of each pair.
        order: row numbers of the words that may stand for another, from the most frequent to the
            rarest.
        n_draws: draws of each null.
        seed: of the draws.

    Returns:
        One row per score: `score`, `value`, `ci_low`, `ci_high` (95 %), for each null its mean, its
        95 % bounds and a one-sided p-value (`mismatched`, `mismatched_low`, `mismatched_high`,
        `mismatched_p`, ...), and `n` (pairs). The scores:

        - `order_accuracy`: share of pairs whose second word lies further along the direction that
          all other pairs give; interval after Wilson;
        - `side_accuracy`: share of single words on their side of those pairs' middle; Wilson with
          n = pairs, since the two words of a pair are one observation;
        - `held_out_accuracy`: as `order_accuracy`, with the direction from a random half of the
          pairs, averaged over halves; Wilson with n = pairs; no nulls of its own;
        - `consistency`: see `consistency`; interval by leaving out pairs (jackknife);
        - `pc1_share`: see `pc1_share`; jackknife.

    Raises:
        InputError: fewer than 3 pairs.

    Cost: `n_draws` products of the pairs with themselves for each null, about 0.05 s for 14 pairs
    of width 128.
    """
    if len(ids) < FEWEST:
        raise InputError(
            f"{len(ids)} pairs came; a direction that is tested on pairs held out needs at least "
            f"{FEWEST}"
        )
    pairs = vectors[ids].astype(np.float64)
    observed = pair_scores(pairs)
    frame = pd.DataFrame({"score": list(observed), "value": list(observed.values())})
    bounds = _intervals(pairs, observed)
    frame["ci_low"], frame["ci_high"] = [b[0] for b in bounds], [b[1] for b in bounds]
    for null in NULLS:
        drawn = null_scores(vectors, ids, order, null, n_draws, seed)
        for suffix, value in (
            ("", lambda x: x.mean()),
            ("_low", lambda x: np.quantile(x, 0.025)),
            ("_high", lambda x: np.quantile(x, 0.975)),
        ):
            frame[null + suffix] = [float(value(drawn[score])) for score in observed]
        frame[f"{null}_p"] = [
            # Draws that differ only by rounding are ties, and ties count against the finding.
            float((1 + (drawn[score] >= value - 1e-12).sum()) / (1 + n_draws))
            for score, value in observed.items()
        ]
    held_out = held_out_accuracy(pairs, seed=seed)
    low, high = wilson_interval(held_out, len(ids))
    extra = {"score": "held_out_accuracy", "value": held_out, "ci_low": low, "ci_high": high}
    frame = pd.concat([frame, pd.DataFrame([extra])], ignore_index=True)
    frame["n"] = len(ids)
    return frame


def pair_scores(pairs: Pairs) -> dict[str, float]:
    """The scores of `direction_scores` that have nulls, by name."""
    members, within = leave_one_out_direction(pairs[:, ::-1])
    differences = pair_differences(pairs)
    return {
        "order_accuracy": float(within.mean()),
        "side_accuracy": float(members.mean()),
        "consistency": float(consistency(differences)),
        "pc1_share": float(pc1_share(differences)),
    }


def _intervals(pairs: Pairs, observed: dict[str, float]) -> list[tuple[float, float]]:
    n = len(pairs)
    jackknife = pd.DataFrame([_geometric(np.delete(pairs, i, axis=0)) for i in range(n)])
    bounds = []
    for score, value in observed.items():
        if score in jackknife and n > FEWEST:
            left_out = jackknife[score]
            half = 1.96 * np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
            bounds.append((value - half, min(value + half, 1.0)))
        elif score in jackknife:  # two pairs have one cosine, which has no spread to measure
            bounds.append((-1.0 if score == "consistency" else 0.0, 1.0))
        else:
            bounds.append(wilson_interval(value, n))
    return bounds


def _geometric(pairs: Pairs) -> dict[str, float]:
    differences = pair_differences(pairs)
    return {
        "consistency": float(consistency(differences)),
        "pc1_share": float(pc1_share(differences)),
    }


def held_out_accuracy(pairs: Pairs, n_splits: int = 50, seed: int = 0) -> float:
    """Share of pairs in the right order along the direction of a random half without them."""
    n = len(pairs)
    differences = pair_differences(pairs)
    rng = np.random.default_rng(seed)
    fitted = rng.permuted(np.tile(np.arange(n) < max(1, n // 2), (n_splits, 1)), axis=1)
    projections = (fitted.astype(float) @ differences) @ differences.T
    right = np.where(fitted, 0.0, (projections > 0) + 0.5 * (projections == 0))
    share = right.sum(axis=0) / np.maximum((~fitted).sum(axis=0), 1)
    return float(share[(~fitted).any(axis=0)].mean())


def null_scores(
    vectors: Float[np.ndarray, "word d_model"],
    ids: PairIds,
    order: Int[np.ndarray, " candidate"],
    null: str,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> dict[str, Float[np.ndarray, " draw"]]:
    """The scores of `pair_scores` on draws of a null: one of `NULLS`.

    Raises:
        InputError: there is no such null.
    """
    draw = null_draws(ids, order, null, seed)
    scores: dict[str, list[np.ndarray]] = {score: [] for score in SCORES}
    for start in range(0, n_draws, 64):
        drawn = np.stack([draw() for _ in range(min(64, n_draws - start))])
        pairs = vectors[drawn].astype(np.float64)
        differences = pairs[:, :, 1] - pairs[:, :, 0]
        scores["consistency"].append(consistency(differences))
        scores["pc1_share"].append(pc1_share(differences))
        order_, side = _left_out(pairs)
        scores["order_accuracy"].append(order_)
        scores["side_accuracy"].append(side)
    return {score: np.concatenate(parts) for score, parts in scores.items()}


def _left_out(
    pairs: Float[np.ndarray, "draw pair 2 d_model"],
) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]:
    """Leave-one-out accuracies of many draws at once; `leave_one_out_direction` is one draw's."""
    n = pairs.shape[1]
    differences = pairs[:, :, 1] - pairs[:, :, 0]
    others = (differences.sum(axis=1, keepdims=True) - differences) / (n - 1)
    middle = (pairs.sum(axis=(1, 2), keepdims=True) - pairs.sum(axis=2, keepdims=True))[:, :, 0]
    threshold = (middle / (2 * (n - 1)) * others).sum(axis=-1)
    along = (pairs * others[:, :, None]).sum(axis=-1)
    side = (along[..., 1] > threshold) * 0.5 + (along[..., 0] < threshold) * 0.5
    return (along[..., 1] > along[..., 0]).mean(axis=1), side.mean(axis=1)


def null_draws(
    ids: PairIds, order: Int[np.ndarray, " candidate"], null: str, seed: int = 0
) -> Callable[[], PairIds]:
    """A function that draws pairs of a null; see the module's beginning.

    Raises:
        InputError: there is no such null.
    """
    if null not in NULLS:
        raise InputError(f"no null is called {null!r}; there are: {', '.join(NULLS)}")
    rng = np.random.default_rng([seed, NULLS.index(null)])
    if null == "mismatched":
        return lambda: np.stack([ids[:, 0], ids[_derangement(len(ids), rng), 1]], axis=1)
    if null == "shuffled":
        return lambda: rng.permuted(ids, axis=1)
    pools = frequency_pools(ids, order)
    return lambda: _random_pairs(pools, rng)


def _derangement(n: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """A permutation that moves everything: Sattolo's, one cycle."""
    places = np.arange(n)
    for i in range(n - 1, 0, -1):
        j = rng.integers(0, i)
        places[[i, j]] = places[[j, i]]
    return places


def frequency_pools(
    ids: PairIds, order: Int[np.ndarray, " candidate"]
) -> Int[np.ndarray, "pair 2 neighbour"]:
    """For each word those of nearest frequency rank that stand in no pair.

    Raises:
        InputError: hardly any word is left that is in no pair.
    """
    inside = np.isin(order, ids)
    others, ranks = order[~inside], np.flatnonzero(~inside)
    if len(others) < 2:
        raise InputError(
            f"{len(others)} words are in no pair; random pairs are drawn from at least 2"
        )
    rank_of = {int(word): rank for rank, word in enumerate(order)}
    k = min(NEIGHBOURHOOD, len(others))
    pools = np.empty((len(ids), 2, k), dtype=int)
    for place, word in np.ndenumerate(ids):
        rank = rank_of.get(int(word), len(order) // 2)
        middle = np.searchsorted(ranks, rank)
        start = min(max(middle - k // 2, 0), len(others) - k)
        pools[place] = others[start : start + k]
    return pools


def _random_pairs(pools: Int[np.ndarray, "pair 2 k"], rng: np.random.Generator) -> PairIds:
    """A word from each pool; none twice while there are others, since it would tie pairs."""
    order = rng.random(pools.shape).argsort(axis=-1)
    tried = np.take_along_axis(pools, order, axis=-1).reshape(-1, pools.shape[-1])
    taken: list[int] = []
    for candidates in tried.tolist():
        free = (word for word in candidates if word not in taken)
        partner = taken[-1] if len(taken) % 2 else None
        taken.append(next(free, next(word for word in candidates if word != partner)))
    return np.array(taken).reshape(-1, 2)


def along_direction(
    vectors: Float[np.ndarray, "word d_model"], ids: PairIds
) -> Float[np.ndarray, "pair 2"]:
    """Each word's place on the direction that the *other* pairs give.

    0 is the middle of those pairs and ±1 the mean of their second and first words, so the unit is
    half their mean distance.
    """
    pairs = vectors[ids].astype(np.float64)
    places = np.empty((len(ids), 2))
    for i in range(len(ids)):
        others = np.delete(pairs, i, axis=0)
        middle, step = others.mean(axis=(0, 1)), pair_differences(others).mean(axis=0) / 2
        places[i] = (pairs[i] - middle) @ step / max(step @ step, np.finfo(float).tiny)
    return places


def random_direction_band(
    vectors: Float[np.ndarray, "word d_model"],
    ids: PairIds,
    order: Int[np.ndarray, " candidate"],
    n_draws: int = 1000,
    seed: int = 0,
) -> float:
    """How far from 0 the words lie on directions that random pairs give: the 95 % quantile.

    In the units of `along_direction` of the relation itself. The words are those of the pairs, and
    the middle is theirs.
    """
    pairs = vectors[ids].astype(np.float64)
    words = (pairs - pairs.mean(axis=(0, 1))).reshape(-1, pairs.shape[-1])
    step = np.linalg.norm(pair_differences(pairs).mean(axis=0)) / 2
    draw = null_draws(ids, order, "random", seed)
    drawn = np.stack([draw() for _ in range(n_draws)])
    ends = vectors[drawn].astype(np.float64)
    directions = unit_rows((ends[:, :, 1] - ends[:, :, 0]).mean(axis=1))
    return float(np.quantile(np.abs(words @ directions.T), 0.95) / max(step, 1e-300))


def direction_cosines(
    vectors: Float[np.ndarray, "word d_model"], relations: dict[str, PairIds]
) -> pd.DataFrame:
    """Cosines between the directions of relations; with itself, between two halves of its pairs.

    Returns:
        One row per ordered pair of relations: `relation`, `other`, `cosine`. Where both are the
        same, the mean over 50 random splits of the pairs into halves, as an estimate of how well
        the direction is known.
    """
    found = {name: vectors[ids].astype(np.float64) for name, ids in relations.items()}
    directions = {name: mean_direction(pairs) for name, pairs in found.items()}
    rows = [
        (
            one,
            other,
            _split_half(found[one]) if one == other else float(directions[one] @ directions[other]),
        )
        for one in found
        for other in found
    ]
    return pd.DataFrame(rows, columns=["relation", "other", "cosine"])


def _split_half(pairs: Pairs, n_splits: int = 50) -> float:
    rng = np.random.default_rng(0)
    differences = pair_differences(pairs)
    cosines = []
    for _ in range(n_splits):
        halves = np.array_split(rng.permutation(len(pairs)), 2)
        one, other = (unit_rows(differences[half].mean(axis=0)) for half in halves)
        cosines.append(float(one @ other))
    return float(np.mean(cosines))


def difference_cosines(
    vectors: Float[np.ndarray, "word d_model"], ids: PairIds
) -> Float[np.ndarray, "pair pair"]:
    """Cosine between the differences of every two pairs."""
    unit = unit_rows(pair_differences(vectors[ids].astype(np.float64)))
    return unit @ unit.T


def parallelogram(quad: Float[np.ndarray, "4 d_model"]) -> dict[str, np.ndarray | float]:
    """Four words a : b = c : d in the plane that shows most of them, and how parallel they are.

    Returns:
        `places` [4 2] in the plane of the first two principal axes, `cosine_plane` between `b - a`
        and `d - c` as drawn, `cosine` between them before projection, and `shown`, the share of the
        four words' variance that the plane holds.
    """
    middle = quad - quad.mean(axis=0)
    U, S, _ = np.linalg.svd(middle, full_matrices=False)
    places = U[:, :2] * S[:2]

    def cosine(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
        one, other = unit_rows(b - a), unit_rows(d - c)
        return float(one @ other)

    total = max((S**2).sum(), np.finfo(float).tiny)
    return {
        "places": places,
        "cosine_plane": cosine(*places),
        "cosine": cosine(*quad),
        "shown": float((S[:2] ** 2).sum() / total),
    }


def plane_illusion(
    vectors: Float[np.ndarray, "word d_model"],
    ids: PairIds,
    order: Int[np.ndarray, " candidate"],
    sizes: tuple[int, ...] = (2, 3, 5, 8, 12),
    n_draws: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """How parallel a few pairs look in their best plane, related pairs and random ones.

    Args:
        vectors: one row per word.
        ids: pairs of a relation.
        order: words by frequency, for random pairs.
        sizes: numbers of pairs; those above the number of pairs are left out.
        n_draws: subsets and random draws per size.
        seed: of the draws.

    Returns:
        One row per size and `kind` ("related", "mismatched", "random"): `n_pairs`, for `plane` and
        `space` (mean |cosine| between differences, in the plane of the words' first two principal
        axes and before projection) and `pc1_share` the mean and 95 % bounds over draws
        (`_low`, `_high`), the 95 % interval of the mean (`plane_mean_low`, `plane_mean_high`), and
        `n_draws`.
    """
    rows = []
    for n_pairs in (n for n in sizes if n <= len(ids)):
        for kind, drawn in _few_pairs(ids, order, n_pairs, n_draws, seed):
            values = _looks(vectors[np.stack(drawn)].astype(np.float64))
            row: dict[str, Any] = {"n_pairs": n_pairs, "kind": kind}
            for name, column in zip(("plane", "space", "pc1_share"), values.T, strict=True):
                low, high = np.quantile(column, [0.025, 0.975])
                row |= {name: column.mean(), f"{name}_low": low, f"{name}_high": high}
            half = 1.96 * values[:, 0].std(ddof=1) / np.sqrt(len(values))
            row |= {"plane_mean_low": row["plane"] - half, "plane_mean_high": row["plane"] + half}
            rows.append(row | {"n_draws": len(values)})
    return pd.DataFrame(rows)


def _few_pairs(
    ids: PairIds, order: np.ndarray, n_pairs: int, n_draws: int, seed: int
) -> Iterator[tuple[str, list[PairIds]]]:
    rng = np.random.default_rng([seed, n_pairs])
    yield "related", [ids[rng.permutation(len(ids))[:n_pairs]] for _ in range(n_draws)]
    for null in ("mismatched", "random"):
        draw = null_draws(ids, order, null, seed)
        yield null, [draw()[rng.permutation(len(ids))[:n_pairs]] for _ in range(n_draws)]


def _looks(pairs: Float[np.ndarray, "draw pair 2 d_model"]) -> Float[np.ndarray, "draw 3"]:
    """Mean |cosine| in the best plane and in space, and the first component's share."""
    n_draws, n_pairs, _, width = pairs.shape
    words = pairs.reshape(n_draws, 2 * n_pairs, width)
    words = words - words.mean(axis=1, keepdims=True)
    # The products of the words hold all that is needed, and are smaller than the words.
    values, axes = np.linalg.eigh(words @ np.swapaxes(words, 1, 2))
    places = axes[..., -2:] * np.sqrt(values[:, None, -2:].clip(0))
    flat = places.reshape(n_draws, n_pairs, 2, 2)
    differences = pairs[:, :, 1] - pairs[:, :, 0]
    return np.stack(
        [
            _mean_abs_cosine(flat[:, :, 1] - flat[:, :, 0]),
            _mean_abs_cosine(differences),
            pc1_share(differences),
        ],
        axis=1,
    )


def _mean_abs_cosine(
    differences: Float[np.ndarray, "draw pair width"],
) -> Float[np.ndarray, " draw"]:
    unit = unit_rows(differences)
    above = np.triu_indices(differences.shape[1], 1)
    return np.abs(unit @ np.swapaxes(unit, 1, 2))[:, above[0], above[1]].mean(axis=1)
