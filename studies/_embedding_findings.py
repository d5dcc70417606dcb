"""Findings of `embedding_directions`: claims 19 to 25, 27, 28 and 32."""

from typing import Any

from interp.reporting import Cell, Finding, Sentence
from studies._embedding_figures import row_of
from studies._embedding_tables import MIN_CONSISTENCY, MIN_TOP, Tables

TYPICAL = (50, 300)  # dimensions that the lectures call typical
MIN_PERCENTILE = 0.6  # of similar words among random pairs
MIN_EFFECT_SIZE = 0.5  # of an association test
MIN_LOGITS = 0.1  # that steering must add to random directions


def conclude(tables: Tables) -> tuple[Finding, ...]:
    """One finding per claim."""
    return (
        _analogy(tables), _gender(tables), _directions(tables), _similar(tables),
        _coordinates(tables), _dimensions(tables), _counts(tables), _bias(tables),
        _picture(tables), _evaluation(tables),
    )  # fmt: skip


def _said(tables: Tables, template: str, table: str, row: int, **more: Cell) -> str:
    import string

    names = {name for _, name, _, _ in string.Formatter().parse(template) if name}
    own = {name: Cell(table, row, name) for name in names - set(more)}
    return Sentence(template, **own, **more).text(tables)


def _finding(
    claim: int, verdict: str, statement: str, row: Any, column: str, unit: str, **more: Any
) -> Finding:
    """A finding whose value and interval are a row of a table."""
    low, high = more.pop("interval", ("ci_low", "ci_high"))
    return Finding(
        claim, verdict, statement, value=row[column], unit=unit, ci_low=row[low],
        ci_high=row[high], n=row[more.pop("n", "n")], **more,
    )  # fmt: skip


def _analogy(tables: Tables) -> Finding:
    row = tables["analogies_pooled"].frame.iloc[0]
    if row["excluded"] < 0.05:
        verdict = "fails"
    elif row["included"] >= 0.5 and row["excluded_low"] > row["nearest"] + MIN_TOP:
        verdict = "holds"
    else:
        verdict = "imprecise"
    return _finding(
        19, verdict,
        _said(
            tables,
            "Analogies: {excluded:.2f} answered with the question's words struck out, "
            "{included:.2f} without striking, {nearest:.2f} by the nearest neighbour of c, "
            "{offset:.2f} by the offset alone ({n_questions} questions).",
            "analogies_pooled", 0,
        ),
        row, "excluded", "share answered, inputs excluded",
        interval=("excluded_low", "excluded_high"), n="n_pairs", null=row["nearest"],
        null_name="nearest neighbour of c, no offset", figure="analogies",
    )  # fmt: skip


def _main_relation(tables: Tables) -> str:
    """The relation that the lectures speak of, whatever lists a user puts before it."""
    names = tables["relations"].frame["relation"]
    return "gender" if (names == "gender").any() else names.iloc[0]


def _gender(tables: Tables) -> Finding:
    name = _main_relation(tables)
    index = row_of(tables, "relations", relation=name)
    row = tables["relations"].frame.loc[index]
    steered = None
    if "steering_gain" in tables:
        gains = tables["steering_gain"].frame
        steered = gains[gains["readout"] == name]
    works = steered is not None and len(steered) and steered["ci_low"].iloc[0] > MIN_LOGITS
    exists = row["found"] and row["order_low"] > 0.5
    # Partners matter less than classes where mixed-up pairs keep much of the consistency.
    verdict = "holds" if exists and works else "imprecise" if exists else "fails"
    more = {}
    template = (
        "On the {relation} direction of the other pairs {order_accuracy:.2f} of pairs lie in order "
        "(shuffled {order_shuffled:.2f}, random weights {order_random_weights:.2f}); differences "
        "have a mean cosine of {consistency:.2f} (mixed-up partners {mismatched:.2f})"
    )
    if steered is not None and len(steered):
        at = int(steered.index[0])
        template += "; moving along it shifts the next word by {gain:.2f} of {swap:.2f} logits"
        more = {name: Cell("steering_gain", at, name) for name in ("gain", "swap")}
    return Finding(
        20, verdict, _said(tables, template + ".", "relations", index, **more),
        value=row["consistency"], unit="mean cosine between differences", ci_low=row["ci_low"],
        ci_high=row["ci_high"], null=row["mismatched"], null_name="mixed-up partners",
        p=row["p"], q=row["q"], n=row["n"], figure="words_on_a_direction",
    )  # fmt: skip


def _directions(tables: Tables) -> Finding:
    row = tables["overview"].frame.iloc[0]
    if not row["n_found"]:
        verdict = "fails"
    elif row["n_found"] == row["n_relations"] and row["off_diagonal_causal"] < row["diagonal"] / 2:
        verdict = "holds"
    else:
        verdict = "imprecise"
    return Finding(
        21, verdict,
        _said(
            tables,
            "{n_found} of {n_relations} relations have a direction beyond all nulls; two halves of "
            "one relation's pairs agree with cosine {diagonal:.2f}, two relations with "
            "{off_diagonal:.2f} (causal inner product {off_diagonal_causal:.2f}).",
            "overview", 0,
        ),
        value=row["diagonal"], unit="mean cosine of two halves of a relation",
        ci_low=row["diagonal_low"], ci_high=row["diagonal_high"], null=row["off_diagonal"],
        null_name="mean |cosine| of two relations", n=row["n_relations"], figure="relations",
    )  # fmt: skip


def _similar(tables: Tables) -> Finding:
    index = row_of(tables, "synonyms", geometry="centred")
    plain = row_of(tables, "synonyms", geometry="plain")
    row = tables["synonyms"].frame.loc[index]
    verdict = "undecided"
    if row["ci_low"] > MIN_PERCENTILE:
        verdict = "holds"
    elif row["ci_high"] < MIN_PERCENTILE:
        verdict = "fails"
    return _finding(
        22, verdict,
        _said(
            tables,
            "Words that mean the same lie at percentile {percentile:.2f} of random pairs (centred "
            "cosine {cosine:.2f}); a raw cosine of {raw:.2f} stands beside {raw_random:.2f} of "
            "random pairs.",
            "synonyms", index,
            raw=Cell("synonyms", plain, "cosine"),
            raw_random=Cell("synonyms", plain, "random_pairs_cosine"),
        ),
        row, "percentile", "mean percentile among random pairs", null=0.5,
        null_name="random pairs", figure="cosines",
    )  # fmt: skip


def _coordinates(tables: Tables) -> Finding:
    row = tables["coordinates"].frame.iloc[0]
    special = row["share"] > row["rotated_high"]
    return _finding(
        23, "imprecise" if special else "fails",
        _said(
            tables,
            "The three largest coordinates hold {share:.3f} of the variance, those of random bases "
            "{rotated:.3f} (95 % up to {rotated_high:.3f}); a rotation changes no score by more "
            "than {change:.0e}. Single coordinates carry no meaning of their own.",
            "coordinates", 0, change=Cell("rotation", 0, "largest_change"),
        ),
        row, "share", "share of the variance in three coordinates", null=row["rotated"],
        null_name="random bases", p=row["p"], figure="cosines",
    )  # fmt: skip


def _dimensions(tables: Tables) -> Finding:
    row = tables["dimensions"].frame.iloc[0]
    at_random = tables["dimensions"].frame.iloc[1]
    inside = TYPICAL[0] <= row["d_model"] <= TYPICAL[1]
    return _finding(
        24, "holds" if inside else "imprecise",
        _said(
            tables,
            f"This embedding has {{d_model}} dimensions ({TYPICAL[0]} to {TYPICAL[1]} are typical "
            "of word2vec and GloVe, GPT-2 has 768 to 1600); {n_components} principal components "
            "hold 90 % of the variance, with random weights {random}.",
            "dimensions", 0, random=Cell("dimensions", 1, "n_components"),
        ),
        row, "n_components", "components for 90 % of the variance",
        null=at_random["n_components"], null_name="random weights", figure="cosines",
    )  # fmt: skip


def _counts(tables: Tables) -> Finding:
    if "baseline" not in tables:
        return Finding(
            25, "not applicable",
            "Counts need the text that the model was trained on, which is known for the small "
            "language only.",
        )  # fmt: skip
    frame = tables["baseline"].frame
    first = _main_relation(tables)
    index = row_of(tables, "baseline", vectors="counts (PPMI-SVD)", relation=first)
    row = frame.loc[index]
    gpt = row_of(tables, "baseline", vectors="GPT", relation=first)
    at_random = row_of(tables, "baseline", vectors="random weights", relation=first)
    above = row["ci_low"] > frame.loc[at_random, "excluded"]
    return _finding(
        25, "holds" if above else "fails",
        _said(
            tables,
            "Counts alone (PPMI-SVD of equal width) answer {excluded:.2f} of the {relation} "
            "analogies and order {order_accuracy:.2f} of held-out pairs; the GPT answers "
            "{gpt:.2f}.",
            "baseline", index, gpt=Cell("baseline", gpt, "excluded"),
        ),
        row, "excluded", "share of analogies answered, inputs excluded",
        null=frame.loc[at_random, "excluded"], null_name="random weights", figure="analogies",
    )  # fmt: skip


def _bias(tables: Tables) -> Finding:
    if "bias" not in tables:
        return Finding(27, "not applicable", "No list of targets is in this vocabulary.")
    frame = tables["bias"].frame
    index = row_of(tables, "bias", kind="lists", weights="the model")
    row = frame.loc[index]
    nulls = frame[(frame["kind"] == "null lists") & (frame["weights"] == "the model")]
    other = nulls if len(nulls) else frame[frame["weights"] == "random weights"]
    leans = row["q"] < 0.05 and row["effect_size"] > MIN_EFFECT_SIZE
    return _finding(
        27, "holds" if leans else "undecided",
        _said(
            tables,
            "“{lists}”: d = {effect_size:.2f} (permutation p {p:p}, {n_partitions} partitions); "
            "control lists {control:.2f}.",
            "bias", index, control=Cell("bias", int(other.index[0]), "effect_size"),
        ),
        row, "effect_size", "effect size d (WEAT)", null=other["effect_size"].iloc[0],
        null_name="lists without a bias" if len(nulls) else "random weights", p=row["p"],
        q=row["q"], figure="words_on_a_direction",
    )  # fmt: skip


def _picture(tables: Tables) -> Finding:
    frame = tables["illusion"].frame
    most = int(frame["n_pairs"].min())
    random = row_of(tables, "illusion", kind="random", n_pairs=most)
    related = row_of(tables, "illusion", kind="related", n_pairs=most)
    row = frame.loc[random]
    # The picture misleads where unrelated pairs look far more parallel than they are.
    misleads = row["plane"] > row["space_high"] or row["plane"] > 2 * row["space"]
    return _finding(
        28, "imprecise" if misleads else "holds",
        _said(
            tables,
            "{n_pairs} random pairs show a mean |cosine| of {plane:.2f} in their best plane and "
            "have {space:.2f} in space; pairs of the relation show {shown:.2f} and have "
            "{there:.2f}. A plane is no evidence; the cosine before projection is.",
            "illusion", random, shown=Cell("illusion", related, "plane"),
            there=Cell("illusion", related, "space"),
        ),
        row, "plane", "mean |cosine| of random pairs, as drawn",
        interval=("plane_mean_low", "plane_mean_high"), n="n_draws", null=row["space"],
        null_name="the same before projection", figure="parallelogram",
    )  # fmt: skip


def _evaluation(tables: Tables) -> Finding:
    if not len(tables["similarity"].frame):
        return Finding(32, "not applicable", "No rated pair of words is in this vocabulary.")
    row, probe = tables["similarity"].frame.iloc[0], tables["probe"].frame.iloc[0]
    both = row["ci_low"] > 0 and row["p"] < 0.05 and probe["ci_low"] > probe["control_high"]
    some = row["p"] < 0.05 or probe["ci_low"] > probe["control_high"]
    return _finding(
        32, "holds" if both else "imprecise" if some else "fails",
        _said(
            tables,
            "Intrinsic: cosines rank {n} rated pairs with ρ = {rho:.2f} (shuffled ratings up to "
            "{null_high:.2f}). Extrinsic: word classes of unseen words are told with accuracy "
            "{accuracy:.2f} (control task {control:.2f}).",
            "similarity", 0, accuracy=Cell("probe", 0, "accuracy"),
            control=Cell("probe", 0, "control"),
        ),
        row, "rho", "Spearman's ρ with ratings", null=0.0, null_name="shuffled ratings",
        p=row["p"], figure="cosines",
    )  # fmt: skip


SMALLEST = {
    "mean cosine above mixed-up partners": MIN_CONSISTENCY,
    "share of analogies above the nearest neighbour": MIN_TOP,
    "percentile of similar words": MIN_PERCENTILE,
    "effect size of an association test": MIN_EFFECT_SIZE,
    "logits that steering adds to random directions": MIN_LOGITS,
}
