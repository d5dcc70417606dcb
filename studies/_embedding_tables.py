"""Tables of `embedding_directions`: every measure on the words of one model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interp.reporting import Table
from studies._embedding_words import Material

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from interp.core import HookedGPT

MIN_CONSISTENCY = 0.1  # mean cosine above the mismatched pairs; declared beforehand
MIN_TOP = 0.1  # share of analogies that the offset must add to the nearest neighbour
INIT_STD = 0.02  # of GPT-2's initial embedding
Tables = dict[str, Table]


@dataclass(frozen=True)
class Sizes:
    """How much is drawn."""

    n_draws: int
    n_rotations: int
    n_random_directions: int
    n_other_directions: int
    n_steered: int
    n_pairs: int
    n_boot: int
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Arrays:
    """The model's matrices as arrays.

    Attributes:
        W_E: one row per token.
        W_U: one column per token.
        random: an embedding of the same shape that has learned nothing: GPT-2's initial weights
            are independent normal numbers.
    """

    W_E: "np.ndarray"
    W_U: "np.ndarray"
    random: "np.ndarray"


def arrays(model: "HookedGPT", seed: int) -> Arrays:
    """The matrices, float32 or float64; half precision is widened."""
    import numpy as np
    import torch

    def wide(weight: Any) -> "np.ndarray":
        weight = weight.detach().cpu()
        return (weight if weight.dtype == torch.float64 else weight.float()).numpy()

    W_E = wide(model.W_E)
    rng = np.random.default_rng([seed, 1])
    random = rng.standard_normal(W_E.shape, dtype=np.float32) * INIT_STD
    return Arrays(W_E, wide(model.W_U), random.astype(W_E.dtype))


# ------------------------------------------------------------------------------ directions


def relation_tables(given: Arrays, words: Material, sizes: Sizes) -> Tables:
    """Every relation's direction against its nulls, in four geometries."""
    import pandas as pd

    from interp import measures

    long = []
    for name, ids in words.relations.items():
        scored = measures.direction_scores(
            given.W_E, ids, words.order, sizes.n_draws, sizes.seed
        ).assign(relation=name)
        at_random = measures.pair_scores(given.random[ids].astype(float))
        long.append(scored.assign(random_weights=scored["score"].map(at_random)))
    scores = pd.concat(long, ignore_index=True)
    scores.insert(0, "relation", scores.pop("relation"))
    return {
        "relations": Table(
            _relation_rows(scores, words),
            "One row per relation: pairs in the right order along the direction of the others "
            "(leave-one-out) and of a random half (held out), mean cosine between differences with "
            "its 95 % interval and its nulls, and their first component's share. p: the largest of "
            "the three nulls; q: corrected over relations; found: q < 0.05 and the interval lies "
            f"{MIN_CONSISTENCY} above mismatched pairs",
        ),
        "relation_scores": Table(scores, "All scores with all nulls", in_page=False),
    } | _geometry_tables(given, words, sizes)


def _relation_rows(scores: "pd.DataFrame", words: Material) -> "pd.DataFrame":
    import pandas as pd

    from interp import measures
    from interp.measures.directions import NULLS

    rows = []
    for name, some in scores.groupby("relation", sort=False):
        by = some.set_index("score")
        c, pc1 = by.loc["consistency"], by.loc["pc1_share"]
        rows.append(
            {
                "relation": name,
                "n": int(c["n"]),
                "order_accuracy": by.loc["order_accuracy", "value"],
                "order_low": by.loc["order_accuracy", "ci_low"],
                "side_accuracy": by.loc["side_accuracy", "value"],
                "held_out_accuracy": by.loc["held_out_accuracy", "value"],
                "order_shuffled": by.loc["order_accuracy", "shuffled"],
                "order_p": max(by.loc["order_accuracy", f"{n}_p"] for n in ("shuffled", "random")),
                "order_random_weights": by.loc["order_accuracy", "random_weights"],
                "consistency": c["value"],
                "ci_low": c["ci_low"],
                "ci_high": c["ci_high"],
                "mismatched": c["mismatched"],
                "shuffled": c["shuffled"],
                "random": c["random"],
                "random_weights": c["random_weights"],
                "p": max(c[f"{null}_p"] for null in NULLS),
                "pc1_share": pc1["value"],
                "pc1_mismatched": pc1["mismatched"],
                "pc1_random": pc1["random"],
                "pc1_random_weights": pc1["random_weights"],
            }
        )
    frame = pd.DataFrame(rows)
    q = measures.false_discovery_q(frame["p"].to_numpy())
    frame.insert(frame.columns.get_loc("p") + 1, "q", q)
    frame["found"] = (frame["q"] < 0.05) & (frame["ci_low"] > frame["mismatched"] + MIN_CONSISTENCY)
    frame["kind"] = [
        "planted null" if r == words.lists.null_relation else "relation" for r in frame["relation"]
    ]
    return frame


def _geometry_tables(given: Arrays, words: Material, sizes: Sizes) -> Tables:
    """What each inner product makes of relations, of their cross-cosines and of random pairs."""
    import numpy as np
    import pandas as pd

    from interp import measures

    relations, rows, crosses, spreads, bins = words.relations, [], [], [], []
    made, causal = measures.geometries(given.W_E[words.words], given.W_U[:, words.words])
    place = np.full(len(given.W_E), -1)
    place[words.words] = np.arange(len(words.words))
    for geometry, make in {**made, "random weights": lambda: given.random[words.words]}.items():
        vectors = make()
        numbers, histogram = measures.cosine_spread(vectors, sizes.n_pairs, sizes.seed)
        spreads.append({"geometry": geometry, **numbers})
        bins.append(histogram.assign(geometry=geometry))
        for name, ids in relations.items():
            found = measures.pair_scores(vectors[place[ids]].astype(float))
            rows.append({"geometry": geometry, "relation": name, **found})
        if geometry in ("plain", "causal"):
            here = {name: place[ids] for name, ids in relations.items()}
            crosses.append(measures.direction_cosines(vectors, here).assign(geometry=geometry))
    cross = pd.concat(crosses, ignore_index=True)
    return {
        "geometries": Table(
            pd.DataFrame(rows), "The scores of each relation in each geometry", in_page=False
        ),
        "cosines": Table(
            pd.DataFrame(spreads).assign(
                condition=causal.condition,
                condition_used=causal.condition_used,
                shrinkage=causal.shrinkage,
            ),
            "Cosines of random pairs of words in each geometry, beside 1/√d; within: share of "
            "pairs below 3/√d, 0.997 for random directions. The condition numbers are those of "
            "the unembedding's covariance, before and after shrinkage",
        ),
        "cosine_histogram": Table(
            pd.concat(bins, ignore_index=True), "The same as densities", in_page=False
        ),
        "cross_cosines": Table(
            cross,
            "Cosine between the directions of two relations; with itself, between two halves of "
            "its pairs",
            in_page=False,
        ),
    }


def word_tables(given: Arrays, words: Material, sizes: Sizes) -> Tables:
    """The main relation word by word: places on its direction, and all pairs of its pairs."""
    import pandas as pd

    from interp import measures

    name, ids = next(iter(words.relations.items()))
    pairs = words.pairs[words.pairs["relation"] == name].reset_index(drop=True)
    places = measures.along_direction(given.W_E, ids)
    band = measures.random_direction_band(given.W_E, ids, words.order, seed=sizes.seed)
    band_random = measures.random_direction_band(given.random, ids, words.order, seed=sizes.seed)
    at_random = measures.along_direction(given.random, ids)
    points = [
        {
            "word": row[side],
            "value": places[i, k],
            "group": side,
            "pair": i,
            "random_weights": at_random[i, k],
        }
        for i, row in pairs.iterrows()
        for k, side in enumerate(("first", "second"))
    ]
    cosines = measures.difference_cosines(given.W_E, ids)
    mismatched = measures.difference_cosines(
        given.W_E, measures.null_draws(ids, words.order, "mismatched", sizes.seed)()
    )
    labels = [f"{a} → {b}" for a, b in zip(pairs["first"], pairs["second"], strict=True)]
    cells = [
        (labels[i], labels[j], i, j, cosines[i, j], mismatched[i, j])
        for i in range(len(ids))
        for j in range(len(ids))
        if i != j
    ]
    beyond = [abs(p["value"]) > band for p in points]
    line = {
        "relation": name,
        "band": band,
        "share_beyond": sum(beyond) / len(beyond),
        "n": len(points),
        "n_pairs": len(ids),
        "gap": float((places[:, 1] - places[:, 0]).mean()),
        "gap_random_weights": float((at_random[:, 1] - at_random[:, 0]).mean()),
        "band_random_weights": band_random,
    }
    return {
        "line": Table(
            pd.DataFrame(points),
            "Place of each word on the direction that the other pairs give: ±1 is the mean of "
            "their second and first words",
        ),
        "line_overview": Table(
            pd.DataFrame([line]), "95 % of words lie within the band on directions of random pairs"
        ),
        "difference_cosines": Table(
            pd.DataFrame(cells, columns=["pair", "other", "i", "j", "cosine", "mismatched"]),
            "Cosine between the differences of two pairs, as they are and with mixed-up partners",
            in_page=False,
        ),
    }


def plane_tables(given: Arrays, words: Material, sizes: Sizes) -> Tables:
    """The parallelogram of the lectures, and what a plane makes of random words."""
    import pandas as pd

    from interp import measures

    name, ids = next(iter(words.relations.items()))
    quad = [words.spelt[word] for word in words.lists.example if word in words.spelt]
    shown = list(words.lists.example)
    if len(quad) < 4:
        quad = [int(i) for i in ids[:2].ravel()]
        pairs = words.pairs[words.pairs["relation"] == name].iloc[:2]
        shown = [*pairs[["first", "second"]].to_numpy().ravel()]
    drawn = measures.parallelogram(given.W_E[quad].astype(float))
    places = drawn["places"]
    illusion = measures.plane_illusion(
        given.W_E, ids, words.order, n_draws=min(100, sizes.n_draws), seed=sizes.seed
    )
    at_random = measures.plane_illusion(
        given.random, ids, words.order, n_draws=min(100, sizes.n_draws), seed=sizes.seed
    )
    at_random = at_random[at_random["kind"] == "related"].assign(kind="random weights")
    numbers = {
        "a": shown[0],
        "b": shown[1],
        "c": shown[2],
        "d": shown[3],
        "cosine_plane": drawn["cosine_plane"],
        "cosine": drawn["cosine"],
        "shown": drawn["shown"],
    }
    return {
        "plane_points": Table(
            pd.DataFrame(
                {
                    "word": shown,
                    "x": places[:, 0],
                    "y": places[:, 1],
                    "group": ["first", "second"] * 2,
                }
            ),
            "Four words in the plane of their two largest principal components",
        ),
        "plane": Table(
            pd.DataFrame([numbers]),
            "Cosine between the two differences as drawn and before projection, and the share of "
            "the four words' variance that the plane shows",
        ),
        "illusion": Table(
            pd.concat([illusion, at_random], ignore_index=True),
            "Mean |cosine| between differences in the best plane and in space, and the share of "
            "their first component, for some pairs of the first relation and for unrelated ones "
            "(95 % of draws)",
        ),
    }
