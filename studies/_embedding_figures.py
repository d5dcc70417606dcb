"""Figures of `embedding_directions`."""

from typing import Any

from interp import plots
from interp.reporting import Cell, FigurePart, Sentence, views
from studies._embedding_steering import RANDOM
from studies._embedding_tables import MIN_CONSISTENCY, MIN_TOP, Tables


def cells(table: str, *columns: str, row: int = 0) -> dict[str, Cell]:
    """Cells of one row, by column."""
    return {column: Cell(table, row, column) for column in columns}


def row_of(tables: Tables, table: str, **values: Any) -> int:
    """Number of the first row with these values."""
    frame = tables[table].frame
    chosen = frame.index[(frame[list(values)] == list(values.values())).all(axis=1)]
    return int(chosen[0])


def draw(tables: Tables) -> tuple[FigurePart, ...]:
    """All figures that the tables allow."""
    parts = [_line(tables), _relations(tables), _analogies(tables), _plane(tables)]
    if "steering" in tables:
        parts.append(_steering(tables))
    return (*parts, _cosines(tables))


def _line(tables: Tables) -> FigurePart:
    row, points = tables["line_overview"].frame.iloc[0], tables["line"].frame
    about = cells("line_overview", "relation", "share_beyond", "band", "n", "n_pairs", "gap",
                  "gap_random_weights")  # fmt: skip
    first = _first_relation(tables)
    about |= {
        "accuracy": Cell("relations", first, "order_accuracy"),
        "shuffled": Cell("relations", first, "order_shuffled"),
    }
    label = f"place on the {row['relation']} direction of the other pairs (±1: their means)"
    return FigurePart(
        name="words_on_a_direction",
        question="Where do words lie on a direction that they did not help to find?",
        picture=plots.words_on_a_line(points, float(row["band"]), label),
        alt=Sentence(
            "{n_pairs} pairs of words on a line, {relation}. {share_beyond:.2f} of the {n} words "
            "lie outside the band of ±{band:.2f} that random directions give.",
            **{k: about[k] for k in ("n_pairs", "relation", "share_beyond", "n", "band")},
        ),
        answer=Sentence(
            "Along {relation}, {accuracy:.2f} of the {n_pairs} pairs lie in the right order on the "
            "direction of the other pairs ({shuffled:.2f} with shuffled pairs). The words of a "
            "pair are {gap:.2f} apart, where 2 is the distance of the other pairs' means; with "
            "random weights {gap_random_weights:.2f}.",
            **{k: about[k] for k in ("relation", "accuracy", "n_pairs", "shuffled", "gap",
                                     "gap_random_weights")},
        ),
        tables=("line", "line_overview"),
        how_to_read="Each row is a pair, placed on the direction that all other pairs give, so no "
        "word has helped to find its own place. In the grey band lie 95 % of these words on "
        "directions of random pairs of the same frequency.",
        scene="cats − cat and woman − man on a line, in chapter 5",
        change_our_mind=Sentence(
            "Words inside the grey band, or out of order. {share_beyond:.2f} of {n} words lie "
            "outside it.",
            share_beyond=about["share_beyond"],
            n=about["n"],
        ),
        facts={"null": "directions of random pairs of about the same frequency"},
        uninformative="With random weights the words of a pair are as far apart."
        if row["gap"] <= max(2 * row["gap_random_weights"], 0.5)
        or tables["relations"].frame.loc[first, "order_p"] > 0.01
        else "",
        view=views.number_line(points, label, -float(row["band"]), float(row["band"])),
    )  # fmt: skip


def _first_relation(tables: Tables) -> int:
    name = tables["line_overview"].frame["relation"].iloc[0]
    return row_of(tables, "relations", relation=name)


def _relations(tables: Tables) -> FigurePart:
    about = cells("overview", "n_found", "n_relations", "n_relations_random", "consistency_mean",
                  "mismatched_mean", "random_weights_mean", "null_relations_found")  # fmt: skip
    found = tables["overview"].frame.iloc[0]
    return FigurePart(
        name="relations",
        question="Do the pairs of a relation differ in one direction, more than chance gives?",
        picture=plots.relation_dots(
            tables["relations"].frame, tables["difference_cosines"].frame
        ),
        alt=Sentence(
            "Mean cosine between the differences of pairs, a row per relation, with four nulls; "
            "{n_found} of {n_relations} stand clear of all of them. Below, all pairs of the first "
            "relation against each other, and with mixed-up partners.",
            n_found=about["n_found"],
            n_relations=about["n_relations"],
        ),
        answer=Sentence(
            "{n_found} of {n_relations} relations have a direction beyond all nulls. Differences "
            "have a mean cosine of {consistency_mean:.2f}; {mismatched_mean:.2f} with mixed-up "
            "partners, which share the classes but not the roles, and {random_weights_mean:.2f} "
            "with random weights. Planted relations without a meaning that were found: "
            "{null_relations_found}.",
            **{k: about[k] for k in ("n_found", "n_relations", "consistency_mean",
                                     "mismatched_mean", "random_weights_mean",
                                     "null_relations_found")},
        ),
        tables=("relations", "relation_scores", "difference_cosines"),
        how_to_read="A filled point is a relation, the open ones are nulls; only a relation whose "
        "open points all lie clearly to the left has a direction of its own. Mixed-up partners "
        "keep the classes of the words, so what separates them from the relation is the pairing. "
        "The two squares show the same comparison pair by pair.",
        scene="directions in the space of embeddings carry meaning, in chapter 5",
        change_our_mind=Sentence(
            "A null as high as the relation. Relations whose interval does not lie "
            f"{MIN_CONSISTENCY} above mixed-up partners are not counted: that leaves {{n_found}} "
            "of {n_relations}.",
            n_found=about["n_found"],
            n_relations=about["n_relations"],
        ),
        facts={
            "null": "mismatched, shuffled, frequency-matched random pairs; random weights",
            "smallest effect of interest": f"{MIN_CONSISTENCY} (mean cosine)",
        },
        uninformative="No relation differs from its nulls." if not found["n_found"] else "",
    )  # fmt: skip


def _analogies(tables: Tables) -> FigurePart:
    names = ("n_questions", "n_relations", "excluded", "included", "nearest", "offset", "gain")
    about = cells("analogies_pooled", *names)
    pooled = tables["analogies_pooled"].frame.iloc[0]
    return FigurePart(
        name="analogies",
        question="Does king − man + woman find queen, and is it the offset that finds it?",
        picture=plots.analogy_dots(tables["analogies"].frame, "3CosAdd"),
        alt=Sentence(
            "Share of analogies answered, a row per relation, asked four ways. On average "
            "{excluded:.2f} with the question's words struck out, {included:.2f} without, "
            "{nearest:.2f} by the nearest neighbour alone, {offset:.2f} by the offset alone.",
            **{k: about[k] for k in ("excluded", "included", "nearest", "offset")},
        ),
        answer=Sentence(
            "3CosAdd answers {excluded:.2f} of {n_questions} questions of {n_relations} relations "
            "if a, b and c are struck out, and {included:.2f} if they may answer. The nearest word "
            "to c, without any offset, is already the answer to {nearest:.2f}, so the offset adds "
            "{gain:.2f}; alone it finds {offset:.2f}.",
            **about,
        ),
        tables=("analogies", "analogies_pooled", *[t for t in ("answers",) if t in tables],
                "neighbours"),
        how_to_read="The usual score is the filled circle. Only what it has beyond the open "
        "diamond (the nearest word to c) is due to the offset; the open square shows what is left "
        "if the words of the question are not struck out.",
        scene="king − man + woman, sushi − Japan + Germany, in chapter 5",
        change_our_mind=Sentence(
            "A nearest neighbour that does as well: it answers {nearest:.2f}, the offset adds "
            "{gain:.2f}.",
            nearest=about["nearest"],
            gain=about["gain"],
        ),
        facts={
            "null": "nearest neighbour of c; the offset alone; random weights",
            "strictness": "one answer counts; a synonym of it, as right as it is, does not",
            "smallest effect of interest": f"{MIN_TOP} (share of questions)",
        },
        uninformative="With random weights no question is answered either."
        if pooled["excluded"] < 0.05
        else "",
    )  # fmt: skip


def _plane(tables: Tables) -> FigurePart:
    points, numbers = tables["plane_points"].frame, tables["plane"].frame.iloc[0]
    last = tables["illusion"].frame
    most = int(last["n_pairs"].min())
    related = row_of(tables, "illusion", n_pairs=most, kind="related")
    random = row_of(tables, "illusion", n_pairs=most, kind="random")
    weights = row_of(tables, "illusion", n_pairs=most, kind="random weights")
    about = {
        **cells("plane", "a", "b", "c", "d", "cosine_plane", "cosine", "shown"),
        "n_pairs": Cell("illusion", random, "n_pairs"),
        "random_plane": Cell("illusion", random, "plane"),
        "random_space": Cell("illusion", random, "space"),
        "random_high": Cell("illusion", random, "plane_high"),
        "related_space": Cell("illusion", related, "space"),
        "weights_space": Cell("illusion", weights, "space"),
    }
    arrows = [(numbers["a"], numbers["b"]), (numbers["c"], numbers["d"])]
    same = last.loc[related, "space"] <= last.loc[random, "space_high"]
    return FigurePart(
        name="parallelogram",
        question="Is the parallelogram in the space, or in the picture?",
        picture=plots.parallelogram(points, numbers, last),
        alt=Sentence(
            "Left, {a}, {b}, {c} and {d} in their best plane, with two arrows. Right, how "
            "parallel differences look in the best plane and are in space, by the number of pairs.",
            **{k: about[k] for k in "abcd"},
        ),
        answer=Sentence(
            "{a} → {b} and {c} → {d} have a cosine of {cosine_plane:.2f} as drawn and of "
            "{cosine:.2f} in space; the plane shows {shown:.2f} of the variance. {n_pairs} random "
            "pairs look as parallel as {random_plane:.2f} (up to {random_high:.2f}) in their best "
            "plane, and are {random_space:.2f}.",
            **{k: about[k] for k in ("a", "b", "c", "d", "cosine_plane", "cosine", "shown",
                                     "n_pairs", "random_plane", "random_high", "random_space")},
        ),
        tables=("plane", "plane_points", "illusion"),
        how_to_read="Dashed lines are what a picture shows, solid lines what is there: a principal "
        "plane of a few words always makes their differences look more parallel. The number to "
        "believe is the cosine before projection.",
        scene="king, queen, man and woman as a parallelogram, in chapter 5",
        change_our_mind=Sentence(
            "Random pairs that are as parallel in space: they have {random_space:.2f}, these "
            "{related_space:.2f}; with random weights {weights_space:.2f}.",
            random_space=about["random_space"],
            related_space=about["related_space"],
            weights_space=about["weights_space"],
        ),
        facts={"null": "random pairs of about the same frequency; random weights"},
        uninformative="In space these pairs are no more parallel than random ones."
        if same
        else "",
        view=views.plane(points, arrows, ("first principal component", "second")),
    )  # fmt: skip


def _steering(tables: Tables) -> FigurePart:
    gains = tables["steering_gain"].frame
    about = cells("steering_gain", "readout", "gain", "ci_low", "ci_high", "random", "swap",
                  "largest_other", "other_name", "monotone", "side_kl_nats", "side_kl_random",
                  "n")  # fmt: skip
    return FigurePart(
        name="steering",
        question="Does moving a word along a direction change what comes next, and only that?",
        picture=plots.steering_curves(tables["steering"].frame, RANDOM),
        alt=Sentence(
            "Effect of steering by its strength, for each readout, beside random directions of "
            "equal length; right, every direction against every readout. At strength 1 {readout} "
            "moves {gain:.2f} logits more than random directions do.",
            readout=about["readout"],
            gain=about["gain"],
        ),
        answer=Sentence(
            "Adding one mean difference of {readout}, found on the other pairs, moves the next "
            "word by {gain:.2f} logits more than random directions of equal length (95 % interval "
            "{ci_low:.2f} to {ci_high:.2f}, n = {n} pairs); swapping the word moves it by "
            "{swap:.2f}. The other concept that does most, {other_name}, moves it by "
            "{largest_other:.2f}. Side effect: {side_kl_nats:.3f} nats on all other words "
            "({side_kl_random:.3f} at random).",
            **{k: about[k] for k in ("readout", "gain", "ci_low", "ci_high", "n", "swap",
                                     "other_name", "largest_other", "side_kl_nats",
                                     "side_kl_random")},
        ),
        tables=("steering_gain", "steering"),
        how_to_read="A direction that is used moves its readout steadily with alpha, towards the "
        "dotted line, and random directions of the same length do not. In the matrix, only the "
        "cell of a concept with its own readout should be dark.",
        scene="moving along the woman − man direction, in chapter 5",
        change_our_mind=Sentence(
            "Random or other directions that move the readout as far: they move it by "
            "{random:.2f} and at most {largest_other:.2f} logits. The share of pairs that move "
            "further at every step is {monotone:.2f}.",
            random=about["random"],
            largest_other=about["largest_other"],
            monotone=about["monotone"],
        ),
        facts={"null": "random directions of equal length; directions of other relations"},
        uninformative="No direction moves its readout more than random ones do."
        if not ((gains["ci_low"] > 0) & (gains["gain"] > 0.1)).any()
        else "",
    )  # fmt: skip


def _cosines(tables: Tables) -> FigurePart:
    row = {
        name: row_of(tables, "cosines", geometry=name)
        for name in ("plain", "centred", "random weights")
    }
    synonym = row_of(tables, "synonyms", geometry="centred")
    at_random = row_of(tables, "synonyms", geometry="random weights")
    about = {
        "sd": Cell("cosines", row["plain"], "sd"),
        "sd_centred": Cell("cosines", row["centred"], "sd"),
        "expected": Cell("cosines", row["plain"], "sd_expected"),
        "mean": Cell("cosines", row["plain"], "mean"),
        "sd_random": Cell("cosines", row["random weights"], "sd"),
        "condition": Cell("cosines", row["plain"], "condition"),
        "condition_used": Cell("cosines", row["plain"], "condition_used"),
        "percentile": Cell("synonyms", synonym, "percentile"),
        "percentile_random": Cell("synonyms", at_random, "percentile"),
    }
    cosines = tables["cosines"].frame.set_index("geometry")
    ratio = cosines.loc["plain", "sd"] / cosines.loc["random weights", "sd"]
    same = abs(ratio - 1) < 0.05 and abs(cosines.loc["plain", "mean"]) < 0.02
    return FigurePart(
        name="cosines",
        question="Are words almost orthogonal, and what does a cosine mean then?",
        picture=plots.cosine_histograms(tables["cosine_histogram"].frame),
        alt=Sentence(
            "Densities of the cosine between random words in several geometries, beside the "
            "normal curve of random directions. Standard deviation {sd:.3f}, at random "
            "{expected:.3f}.",
            sd=about["sd"],
            expected=about["expected"],
        ),
        answer=Sentence(
            "Two random words have a cosine of {mean:.2f} ± {sd:.2f} (centred ± {sd_centred:.2f}); "
            "random directions would have 0 ± {expected:.2f}, random weights ± {sd_random:.2f}. "
            "Words that mean the same lie at percentile {percentile:.2f} of random pairs after "
            "centring, {percentile_random:.2f} with random weights. The causal inner product needs "
            "shrinkage: condition number {condition:.0f}, used {condition_used:.0f}.",
            **{k: about[k] for k in ("mean", "sd", "sd_centred", "expected", "sd_random",
                                     "percentile", "percentile_random", "condition",
                                     "condition_used")},
        ),
        tables=("cosines", "cosine_histogram", "synonyms", "cross_cosines", "geometries"),
        how_to_read="A curve that is wider than the grey one has fewer directions in use than "
        "dimensions; one that is shifted has a common mean, which centring removes. A cosine means "
        "something only beside its curve.",
        scene="almost orthogonal vectors, in chapter 5 and its notes on superposition",
        change_our_mind=Sentence(
            "The same curves with random weights: there the standard deviation is {sd_random:.3f}, "
            "here {sd:.3f}.",
            sd_random=about["sd_random"],
            sd=about["sd"],
        ),
        facts={"null": "N(0, 1/d); random weights"},
        uninformative="Random weights give the same curve." if same else "",
    )  # fmt: skip
