"""Figures of the study of contextual embeddings, from its tables."""

from typing import TYPE_CHECKING

from interp import plots
from interp.reporting import FigurePart, Sentence, Table, views
from studies._attention_figures import cells_of

if TYPE_CHECKING:
    import pandas as pd

Tables = dict[str, Table]
MOLES = "the three moles and the tower at the beginning of chapter 6"


def row_of(tables: Tables, table: str, index: int = 0) -> "pd.Series":
    """One row of a table."""
    return tables[table].frame.iloc[index]


def headline(tables: Tables) -> Sentence:
    """The answer in one sentence."""
    return Sentence(
        "At layer {layer} a use of an ambiguous word lies nearer to its own sense in {auc:.2f} of "
        "comparisons, at layer 0 in {first_auc:.2f}; with random weights {random_auc:.2f}, from "
        "the words before alone {bag:.2f}.",
        **cells_of("senses_overview", "layer", "auc", "first_auc", "random_auc", "bag"),
    )


def draw(tables: Tables) -> tuple[FigurePart, ...]:
    """All figures in reading order."""
    return (_phrases(tables), _senses(tables), _cues(tables), _pictures(tables), _general(tables))


def no_better_than_random(tables: Tables) -> bool:
    """Whether senses come apart no more than with random weights."""
    row = row_of(tables, "senses_overview")
    return bool(row["ci_low"] <= row["random_high"])


def _phrases(tables: Tables) -> FigurePart:
    frame = tables["phrases"].frame
    mole = frame[frame["word"] == "mole"]
    pairs = mole.assign(column=mole["example"] + " → " + mole["sense"])
    grid = pairs.pivot_table(index="layer", columns="column", values="cosine", sort=False)
    counts = cells_of("phrases_overview", "n_right", "n_right_any", "n_phrases")
    return FigurePart(
        name="lecture_phrases",
        question="Which sense do the lectures' moles and towers lie nearest to?",
        picture=plots.sense_profiles(frame),
        alt=Sentence(
            "Six panels of lines over the layers, one panel per phrase, one line per sense. At the "
            "last layer {n_right} of {n_phrases} phrases lie nearest to the sense that is meant.",
            **{name: counts[name] for name in ("n_right", "n_phrases")},
        ),
        answer=Sentence(
            "At the last layer {n_right} of {n_phrases} phrases lie nearest to the sense that the "
            "lectures mean; {n_right_any} of {n_phrases} where their cosine to a sense is largest. "
            "There “{phrase}” lies nearest to “{sense}”: what tells its sense comes later.",
            **counts,
            **cells_of(
                "phrases_nearest",
                row=_row_of_one_mole(tables),
                phrase="phrase",
                sense="nearest_at_last_layer",
            ),
        ),
        tables=("phrases", "phrases_nearest", "phrases_overview"),
        how_to_read="Each line is the cosine of the word's vector with the mean vector of one "
        "sense, measured on other sentences; the mean over senses is subtracted on both sides, so "
        "0 means no lean and layer 0 is position alone. Bands are 95 % intervals over paraphrases; "
        "grey crosses are random weights, for the sense that is meant.",
        scene=MOLES,
        change_our_mind=Sentence(
            "The vector at a word serves the prediction of the next word, and a phrase whose next "
            "words differ may lean elsewhere at the end. With random weights the senses of all "
            "uses stay at {random_auc:.2f}, which is chance.",
            **cells_of("senses_overview", "random_auc"),
        ),
        facts={"null": "layer 0; senses measured on other sentences; random weights"},
        uninformative=(
            "Senses come apart no more than with random weights."
            if no_better_than_random(tables)
            else ""
        ),
        view=views.grid(
            [f"layer {layer}" for layer in grid.index],
            list(grid.columns),
            grid.to_numpy(),
            "cosine",
            {"the same direction": 1.0, "opposite": -1.0},
            ("layer", "phrase → sense"),
        ),
    )


def _row_of_one_mole(tables: Tables) -> int:
    phrases = tables["phrases_nearest"].frame["phrase"]
    return int(phrases.index[phrases.str.startswith("one mole")][0])


def _senses(tables: Tables) -> FigurePart:
    names = ("layer", "auc", "ci_low", "ci_high", "n", "bag", "random_auc", "above_bag")
    return FigurePart(
        name="senses_by_layer",
        question="In which layer do the senses of a word come apart?",
        picture=plots.senses_by_layer(tables["senses"].frame),
        alt=Sentence(
            "Share of comparisons won by the own sense, by layer, from {first_auc:.2f} at layer 0 "
            "to {auc:.2f} at layer {layer}; random weights there {random_auc:.2f}, groups "
            "of one sense {halves_auc:.2f}, the words before {bag:.2f}.",
            **cells_of(
                "senses_overview", "first_auc", "auc", "layer", "bag", "random_auc", "halves_auc"
            ),
        ),
        answer=Sentence(
            "At layer {layer} {auc:.2f} of comparisons are won (95 % interval {ci_low:.2f} to "
            "{ci_high:.2f}, {n} cues of senses), {above_bag:.2f} more than by the words before "
            "({bag:.2f}); random weights reach {random_auc:.2f}.",
            **cells_of("senses_overview", *names),
        ),
        tables=("senses", "senses_overview"),
        how_to_read="A use is compared with uses of its sense under another cue word and with uses "
        "of the word's other senses; 0.5 is chance, 1 means that its sense is always nearer. "
        "Nothing can be won by a shared cue word, and nothing by a direction that all vectors "
        "share.",
        scene=MOLES,
        change_our_mind=Sentence(
            "The same measure on groups of cues that all have one sense: {halves_auc:.2f}. Were "
            "that as high, the vectors would tell cue words apart and not senses. The layer was "
            "chosen on the other half of the uses, where it had {auc_discovery:.2f}; without "
            "position and at one scale per coordinate it is {corrected_auc:.2f}.",
            **cells_of("senses_overview", "halves_auc", "auc_discovery", "corrected_auc"),
        ),
        facts={"null": "random weights; mean embedding of the words before; cues of one sense"},
        uninformative=(
            "Senses come apart no more than with random weights."
            if no_better_than_random(tables)
            else ""
        ),
    )


def _cues(tables: Tables) -> FigurePart:
    row = row_of(tables, "cues_overview")
    return FigurePart(
        name="cue_before_or_after",
        question="Does a cue change the word before it?",
        picture=plots.cue_changes(tables["cues"].frame),
        alt=Sentence(
            "Change of the word's vector by layer. A cue after the word: {after_largest:.2g} at "
            "most. A cue before it: up to {before:.2f} of its length for another sense and "
            "{same_sense:.2f} for the same.",
            **cells_of("cues_overview", "after_largest", "before", "same_sense"),
        ),
        answer=Sentence(
            "A cue after the word changes its vector by {after_largest:.2g} at most ({n_after} "
            "pairs, all layers, every coordinate). Before the word, another sense moves it by "
            "{before:.2f} of its length at the last layer (95 % interval {before_low:.2f} to "
            "{before_high:.2f}, {n_before} pairs), another cue of the same sense by "
            "{same_sense:.2f} ({n_same_sense} pairs).",
            **cells_of(
                "cues_overview",
                "after_largest",
                "n_after",
                "before",
                "before_low",
                "before_high",
                "n_before",
                "same_sense",
                "n_same_sense",
            ),
        ),
        tables=("cues", "cues_overview", "identity"),
        how_to_read="Two prompts of one length differ in one cue; the height is the distance of "
        "the word's vectors over their length. The mask lets no later word act on an earlier one, "
        "so “one mole of carbon dioxide” must have the same vector at “mole” as “one mole in the "
        "garden”.",
        scene=MOLES,
        change_our_mind=Sentence(
            "A change by cues of the same sense that is as large: {same_sense:.2f} against "
            "{before:.2f}. With random weights any other cue moves the word alike: "
            "{random_before:.2f} and {random_same_sense:.2f}.",
            **cells_of(
                "cues_overview", "same_sense", "before", "random_before", "random_same_sense"
            ),
        ),
        facts={"null": "cues of the same sense; random weights; exact zero after the word"},
        uninformative=(
            "Cues of the same sense move the word as much as cues of another."
            if row["same_sense_high"] >= row["before_low"]
            else ""
        ),
    )


def _pictures(tables: Tables) -> FigurePart:
    facts, points = tables["picture"].frame, tables["picture_points"].frame
    shown = points[(points["of"] == "the model") & (points["method"] == "PCA")]
    plane = shown.assign(word=[f"mole {number}" for number in shown["point"]], group=shown["label"])
    ours = cells_of(
        "picture", "layer", "cosine_same", "cosine_different", "nearest_same", "kept", "n"
    )
    return FigurePart(
        name="picture_of_mole",
        question="What do pictures in two dimensions show of the senses of “mole”?",
        picture=plots.sense_pictures(points, facts),
        alt=Sentence(
            "Four scatter plots of {n} uses of “mole” coloured by sense: PCA and t-SNE, for the "
            "model and for random weights. Before projection, pairs of one sense have a mean "
            "cosine of {cosine_same:.2f}, others {cosine_different:.2f}.",
            **{name: ours[name] for name in ("n", "cosine_same", "cosine_different")},
        ),
        answer=Sentence(
            "At layer {layer}, {nearest_same:.2f} of {n} uses have a nearest neighbour of their "
            "sense; in the PCA picture {pca:.2f}, in t-SNE {tsne:.2f} (chance {shuffled:.2f}). "
            "Before projection the mean cosine is {cosine_same:.2f} within a sense and "
            "{cosine_different:.2f} between; PCA keeps {kept:.2f} of the variance.",
            **ours,
            **cells_of("picture", pca="nearest_same_picture", shuffled="shuffled"),
            **cells_of("picture", row=1, tsne="nearest_same_picture"),
        ),
        tables=("picture",),
        how_to_read="Each point is one use of the word. Distances in t-SNE have no unit and "
        "islands appear in noise too, so trust the numbers above each picture, which are taken "
        "before projection.",
        scene=MOLES,
        change_our_mind=Sentence(
            "The same pictures of random weights: there {r_before:.2f} have a neighbour of their "
            "sense before projection, {r_pca:.2f} in PCA and {r_tsne:.2f} in t-SNE.",
            **cells_of("picture", row=2, r_before="nearest_same", r_pca="nearest_same_picture"),
            **cells_of("picture", row=3, r_tsne="nearest_same_picture"),
        ),
        facts={"null": "random weights; shuffled labels"},
        uninformative=_same_picture(facts),
        view=views.plane(
            plane[["word", "x", "y", "group"]], [], ("first PCA direction", "second PCA direction")
        ),
    )


def _same_picture(facts: "pd.DataFrame") -> str:
    ours, random = facts["nearest_same"].iloc[0], facts["nearest_same"].iloc[2]
    return "" if ours > random + 0.1 else "Random weights put as many uses beside their own sense."


def _general(tables: Tables) -> FigurePart:
    last = len(tables["similarity"].frame) - 1
    biggest = int(tables["blocks"].frame["share"].to_numpy().argmax())
    similarity = tables["similarity"].frame.iloc[1:]
    apart = (similarity["ci_low"] > similarity["random_ci_high"]) | (
        similarity["ci_high"] < similarity["random_ci_low"]
    )
    return FigurePart(
        name="self_similarity",
        question="How alike do the uses of one word stay, in general?",
        picture=plots.similarity_by_layer(tables["similarity"].frame),
        alt=Sentence(
            "Two panels over the layers. Self-similarity minus baseline goes from {first:.2f} at "
            "layer 0 to {last:.2f} at the last; with random weights to {random:.2f}.",
            **cells_of("similarity", first="adjusted"),
            **cells_of("similarity", row=last, last="adjusted", random="random_adjusted"),
        ),
        answer=Sentence(
            "Uses of one word in different prompts have a mean cosine {first:.2f} above that of "
            "different words at layer 0, where only position parts them, and {last:.2f} after the "
            "last block (95 % interval {low:.2f} to {high:.2f}, {n} words); random weights "
            "{random:.2f}. Block {block} does {share:.2f} of the way that the vectors travel.",
            **cells_of("similarity", first="adjusted"),
            **cells_of(
                "similarity",
                row=last,
                last="adjusted",
                low="ci_low",
                high="ci_high",
                n="n_words",
                random="random_adjusted",
            ),
            **cells_of("blocks", row=biggest, block="layer", share="share"),
        ),
        tables=("similarity", "blocks"),
        how_to_read="On the left, high lines may only mean that all vectors point the same way: "
        "then the baseline is high as well. On the right the baseline is subtracted; lower means "
        "that context has more to say about the vector than the word itself.",
        change_our_mind=Sentence(
            "Mixing alone makes vectors depend on context: with random weights the difference "
            "falls from {r_first:.2f} to {r_last:.2f}.",
            **cells_of("similarity", r_first="random_adjusted"),
            **cells_of("similarity", row=last, r_last="random_adjusted"),
        ),
        facts={"null": "mean cosine of different words (anisotropy); random weights"},
        uninformative="" if apart.any() else "Random weights give the same values at every layer.",
    )
