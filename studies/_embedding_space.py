"""Tables of `embedding_directions` on the whole vocabulary: analogies, neighbours, lists."""

from typing import TYPE_CHECKING, Any

from interp.reporting import Table
from studies._embedding_tables import Arrays, Sizes, Tables
from studies._embedding_words import Material

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from interp.core import HookedGPT


# ------------------------------------------------------------------------------- analogies


def analogy_tables(model: "HookedGPT", given: Arrays, words: Material) -> Tables:
    """Every relation's analogies, three methods, four ways."""
    import numpy as np
    import pandas as pd

    from interp import measures
    from interp.measures.analogies import METHODS

    asked = {
        name: measures.all_questions(ids)
        for name, ids in words.relations.items()
        if name != words.lists.null_relation
    }
    asked |= {f"file: {name}": questions for name, questions in words.questions.items()}
    W_E = model.W_E.detach()
    parts, n_all = [], 0
    for name, questions in asked.items():
        pairs = np.unique(questions.reshape(-1, 2), axis=0)
        methods = METHODS if len(pairs) >= 3 else METHODS[:2]
        ranks = measures.analogy_ranks(W_E, questions, methods, left_out=words.special)
        n_all += len(questions)
        parts.append(measures.analogy_accuracy(ranks, len(pairs)).assign(relation=name))
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "relation", table.pop("relation"))
    pooled = _pooled(table)
    first = next(iter(asked))
    at_random = measures.analogy_accuracy(
        measures.analogy_ranks(_tensor(given.random), asked[first], left_out=words.special),
        len(words.relations.get(first, asked[first])),
    )
    return {
        "analogies": Table(
            table,
            "Share of questions whose answer comes first, among the first 5 and 10, with Wilson "
            "intervals over pairs (questions that share a pair are not independent). excluded: a, "
            "b, c cannot be answers; included: they can; nearest: the nearest word to c; offset: "
            "the nearest word to b − a alone",
        ),
        "analogies_pooled": Table(
            pooled, "Means over relations; Wilson intervals with n = pairs of all relations"
        ),
        "analogies_random": Table(
            at_random, "The same for the first relation, with random weights", in_page=False
        ),
    } | _answer_tables(model, words)


def _pooled(table: "pd.DataFrame") -> "pd.DataFrame":
    """Means over relations, each method's rows side by side."""
    import pandas as pd

    from interp.learning.evaluation import wilson_interval

    rows = []
    for method, some in table.groupby("method", sort=False):
        wide = some.pivot_table(index="relation", columns="way", values="top_1", sort=False)
        n_pairs = int(some[some["way"] == "excluded"]["n_pairs"].sum())
        row: dict[str, Any] = {"method": method, "n_relations": len(wide), "n_pairs": n_pairs}
        for way in ("excluded", "included", "nearest", "offset"):
            share = float(wide[way].mean())
            low, high = wilson_interval(share, n_pairs)
            row |= {way: share, f"{way}_low": low, f"{way}_high": high}
        row["gain"] = row["excluded"] - row["nearest"]
        row["n_questions"] = int(some[some["way"] == "excluded"]["n_questions"].sum())
        rows.append(row)
    return pd.DataFrame(rows)


def _answer_tables(model: "HookedGPT", words: Material) -> Tables:
    """The ten best answers to the example, with and without its own words; neighbours."""
    import numpy as np
    import pandas as pd
    import torch

    from interp import measures

    W_E, answers, tables = model.W_E.detach(), [], {}
    if all(word in words.spelt for word in words.lists.example):
        ids = [words.spelt[word] for word in words.lists.example]
        for include in (False, True):
            found = measures.analogy_answers(W_E, np.array([ids[:3]]), 10, include, words.special)
            answers.append(
                found.assign(
                    inputs="may answer" if include else "struck out",
                    word=model.tokenizer.str_tokens(found["word"].tolist()),
                )
            )
        a, b, c, _ = words.lists.example
        tables["answers"] = Table(
            pd.concat(answers, ignore_index=True)[["inputs", "rank", "word", "score"]],
            f"The ten words nearest to {b} − {a} + {c} (cosine)",
        )
    looked_up = [word for word in words.lists.looked_up if word in words.spelt]
    queries = torch.tensor([words.spelt[word] for word in looked_up], device=W_E.device)
    frames = []
    for matrix, vectors in (("W_E", W_E), ("W_U", model.W_U.detach().T)):
        for by in ("cosine", "dot"):
            found = measures.nearest_neighbours(vectors, queries, 5, by)
            found["neighbour"] = model.tokenizer.str_tokens(found["word"].tolist())
            found["word"] = np.repeat(looked_up, 5)
            frames.append(found.assign(matrix=matrix, by=by))
    table = pd.concat(frames, ignore_index=True)
    wide = table.groupby(["word", "matrix", "by"], sort=False)["neighbour"].agg(
        lambda some: ", ".join(text.strip() for text in some)
    )
    tables["neighbours"] = Table(
        wide.rename("nearest_words").reset_index(),
        "The five nearest words, the nearest first, in the embedding and the unembedding; the dot "
        "product also favours long vectors",
    )
    return tables


def _tensor(array: "np.ndarray") -> Any:
    import torch

    return torch.from_numpy(array)


# ------------------------------------------------------------------------------- whole space


def space_tables(given: Arrays, words: Material, sizes: Sizes) -> Tables:
    """Synonyms, coordinates, dimensions."""
    import numpy as np
    import pandas as pd

    from interp import measures

    W_E = given.W_E[words.words]
    place = np.full(len(given.W_E), -1)
    place[words.words] = np.arange(len(words.words))
    pairs = [(a, b) for a, b in words.lists.synonyms if a in words.spelt and b in words.spelt]
    first, second = (place[words.ids([p[k] for p in pairs])] for k in (0, 1))
    rows, frames = [], []
    for geometry, vectors in (
        ("plain", W_E),
        ("centred", measures.centred(W_E)),
        ("random weights", given.random[words.words]),
    ):
        found = measures.pair_percentiles(vectors, first, second, sizes.n_pairs, sizes.seed)
        low, high = measures.bootstrap_interval(found[["percentile"]].to_numpy(), seed=sizes.seed)
        rows.append(
            {
                "geometry": geometry,
                "percentile": found["percentile"].mean(),
                "ci_low": low[0],
                "ci_high": high[0],
                "cosine": found["cosine"].mean(),
                "random_pairs_cosine": found["random_mean"].iloc[0],
                "n": len(found),
            }
        )
        frames.append(
            found.assign(geometry=geometry, word=[p[0] for p in pairs], other=[p[1] for p in pairs])
        )
    coordinates = [
        {
            "weights": name,
            **measures.coordinate_shares(some, n_rotations=sizes.n_rotations, seed=sizes.seed),
        }
        for name, some in (("the model", W_E), ("random weights", given.random[words.words]))
    ]
    dimensions = [
        {"weights": name, **measures.variance_profile(some, seed=sizes.seed, n_boot=sizes.n_boot)}
        for name, some in (("the model", W_E), ("random weights", given.random[words.words]))
    ]
    return {
        "synonyms": Table(
            pd.DataFrame(rows),
            "Words that mean the same: mean percentile of their cosine among random pairs "
            "(0.5 by chance), and mean cosines",
        ),
        "synonym_pairs": Table(pd.concat(frames, ignore_index=True), "Pair by pair", in_page=False),
        "coordinates": Table(
            pd.DataFrame(coordinates),
            "Share of the variance in the three largest coordinates, and in the three largest axes "
            "of random bases (95 %)",
        ),
        "dimensions": Table(
            pd.DataFrame(dimensions), "Principal components that hold 90 % of the variance"
        ),
        "rotation": Table(
            pd.DataFrame([_rotated(given, words, sizes)]),
            "Scores of the main relation, and the largest change after a random rotation",
        ),
    }


def _rotated(given: Arrays, words: Material, sizes: Sizes) -> dict[str, Any]:
    """No conclusion here depends on the basis: the same scores after a rotation."""
    import numpy as np

    from interp import measures

    name, ids = next(iter(words.relations.items()))
    pairs = given.W_E[ids].astype(float)
    rng = np.random.default_rng(sizes.seed)
    basis = np.linalg.qr(rng.standard_normal((pairs.shape[-1],) * 2))[0]
    before, after = measures.pair_scores(pairs), measures.pair_scores(pairs @ basis)
    change = max(abs(before[score] - after[score]) for score in before)
    return {"relation": name, "consistency": before["consistency"], "largest_change": change}


def baseline_tables(given: Arrays, words: Material) -> Tables:
    """Counts alone: PPMI and an SVD of the same width, on the main relation and its analogies."""
    import pandas as pd
    import torch

    from interp import measures

    if words.corpus is None:
        return {}
    counted = measures.ppmi_svd(words.corpus, len(given.W_E), given.W_E.shape[1])
    rows = []
    for name, vectors in (
        ("GPT", given.W_E),
        ("counts (PPMI-SVD)", counted),
        ("random weights", given.random),
    ):
        for relation, ids in words.relations.items():
            if relation == words.lists.null_relation:
                continue
            questions = measures.all_questions(ids)
            ranks = measures.analogy_ranks(
                torch.from_numpy(vectors), questions, ("3CosAdd",), left_out=words.special
            )
            found = measures.analogy_accuracy(ranks, len(ids)).set_index("way")
            scores = measures.pair_scores(vectors[ids].astype(float))
            rows.append(
                {
                    "vectors": name,
                    "relation": relation,
                    "excluded": found.loc["excluded", "top_1"],
                    "ci_low": found.loc["excluded", "top_1_low"],
                    "ci_high": found.loc["excluded", "top_1_high"],
                    "included": found.loc["included", "top_1"],
                    "nearest": found.loc["nearest", "top_1"],
                    "order_accuracy": scores["order_accuracy"],
                    "consistency": scores["consistency"],
                    "n": len(ids),
                }
            )
    return {
        "baseline": Table(
            pd.DataFrame(rows),
            "Analogies (3CosAdd) and directions of the GPT's embedding and of as many dimensions "
            "from counts of the text that gives the frequencies",
        )
    }


def bias_tables(given: Arrays, words: Material, sizes: Sizes) -> Tables:
    """WEAT for every list, and RIPA for occupations along the main relation."""
    import pandas as pd

    from interp import measures

    rows = []
    for kind, lists in (("lists", words.lists.bias), ("null lists", words.lists.null_bias)):
        for name, *four in lists:
            for weights, matrix in (("the model", given.W_E), ("random weights", given.random)):
                sets = [matrix[words.ids(one)].astype(float) for one in four]
                if min(map(len, sets)) < 2:
                    continue
                rows.append(
                    {
                        "lists": name,
                        "kind": kind,
                        "weights": weights,
                        **measures.weat(*sets, seed=sizes.seed),
                    }
                )
    tables = {}
    if rows:
        frame = pd.DataFrame(rows)
        chosen = (frame["weights"] == "the model") & (frame["kind"] == "lists")
        frame["q"] = float("nan")
        frame.loc[chosen, "q"] = measures.false_discovery_q(frame.loc[chosen, "p"].to_numpy())
        frame["q"] = frame["q"].fillna(frame["p"])
        tables["bias"] = Table(
            frame,
            "Association tests (WEAT): effect size d, its 95 % interval, the band of d over all "
            "partitions of the targets, one-sided p; q is corrected over the lists of the model",
        )
    name, ids = next(iter(words.relations.items()))
    jobs = [word for word in words.lists.occupations if word in words.spelt]
    if len(jobs) >= 2:
        centre = measures.centred(given.W_E)
        found = measures.ripa(
            centre[words.ids(jobs)].astype(float), centre[ids].astype(float), seed=sizes.seed
        )
        found.insert(0, "word", jobs)
        tables["ripa"] = Table(
            found,
            "Jobs along the first relation (RIPA; positive: to the second words), 95 % over pairs",
        )
    return tables


def similarity_tables(given: Arrays, words: Material, sizes: Sizes) -> Tables:
    """Rated pairs, and a probe for word classes."""
    import numpy as np
    import pandas as pd

    from interp import measures

    rows, spelt = [], words.spelt
    for name, pairs in words.ratings.items():
        usable = [(a, b, r) for a, b, r in pairs if a in spelt and b in spelt]
        if len(usable) < 5:
            continue
        first, second = (words.ids([p[k] for p in usable]) for k in (0, 1))
        ratings = np.array([p[2] for p in usable])
        for weights, matrix in (
            ("the model", measures.centred(given.W_E)),
            ("random weights", given.random),
        ):
            found = measures.similarity_correlation(matrix, first, second, ratings, seed=sizes.seed)
            rows.append(
                {
                    "ratings": name,
                    "weights": weights,
                    **found,
                    "n_left_out": len(pairs) - len(usable),
                }
            )
    known = [word for word in words.lists.classes if word in spelt]
    names = [words.lists.classes[word] for word in known]
    labels = np.unique(names, return_inverse=True)[1]
    probes = [
        {
            "weights": weights,
            **measures.class_probe(matrix[words.ids(known)], labels, seed=sizes.seed),
        }
        for weights, matrix in (("the model", given.W_E), ("random weights", given.random))
    ]
    return {
        "similarity": Table(
            pd.DataFrame(rows),
            "Spearman's correlation between centred cosines and ratings of word pairs, 95 % over "
            "pairs; null_high: 97.5 % of shuffled ratings",
        ),
        "probe": Table(
            pd.DataFrame(probes),
            "Word classes of unseen words from their vectors (nearest class mean, five folds), and "
            "the control task with shuffled classes",
        ),
    }
