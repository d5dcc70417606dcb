"""Figures of the study of attention patterns, from its tables."""

from typing import TYPE_CHECKING

from interp import measures, plots
from interp.reporting import Cell, FigurePart, Sentence
from studies._attention_sentence_figures import CHAPTER, Tables, cells_of, lecture, panel, why
from studies.attention_pattern import MIN_SCORE

if TYPE_CHECKING:
    import pandas as pd

    from studies._attention_sentence import Side


def headline(tables: Tables) -> Sentence:
    """The answer in one sentence."""
    if "adjectives_overview" not in tables:
        return Sentence(
            "In {words} of {heads} heads the words decide at least a tenth of the pattern; the "
            "model has no adjectives to ask for.",
            **cells_of("words_places", words="n_words", heads="n_heads"),
        )
    cells = cells_of(
        "adjectives_overview", "name", "top_kind", "top_score", "least_kind", "least_score"
    )
    if overview_of(tables)["confirmed"]:
        return Sentence(
            "In {name} a noun looks at its adjectives, but not at all alike: {top_score:.2f} of "
            "its attention goes to the {top_kind} adjective and {least_score:.2f} to the "
            "{least_kind} adjective.",
            **cells,
        )
    return Sentence(
        "In no head nouns look at adjectives of all kinds; nearest is {name}, with "
        "{top_score:.2f} of the attention on the {top_kind} adjective and {least_score:.2f} on the "
        "{least_kind} adjective.",
        **cells,
    )


def overview_of(tables: Tables) -> "pd.Series":
    """The chosen head's numbers on adjectives."""
    return tables["adjectives_overview"].frame.iloc[0]


# ------------------------------------------------------------------------------------- draw


def draw(tables: Tables, sides: "list[Side]") -> tuple[FigurePart, ...]:
    """All figures that the tables allow, in reading order."""
    parts = [lecture(tables, sides)]
    if "adjectives" in tables:
        parts += [_adjectives(tables), _classes(tables)]
    if "score" in tables:
        parts.append(why(tables, sides))
    if "use" in tables:
        parts.append(_use(tables))
    return (*parts, _words_or_places(tables), _formulas(tables))


def _adjectives(tables: Tables) -> FigurePart:
    row = overview_of(tables)
    names = ("name", "score", "control", "contrast", "ci_low", "ci_high", "q", "n")
    useful, cells = "", {}
    if "useful" in tables:
        useful = (
            " In {u_name}, the {useful} adjective, which decides the verb, gets "
            "{useful_weight:.2f}, the {useless} adjective, which decides nothing, "
            "{useless_weight:.2f}."
        )
        cells = cells_of(
            "useful", "useful", "useless", "useful_weight", "useless_weight", u_name="name"
        )
    useless = row["n_confirmed"] <= row["n_confirmed_random_init"]
    return FigurePart(
        name="adjectives_and_nouns",
        question="Do nouns look at their adjectives, whatever the sentence?",
        picture=plots.score_and_control(tables["adjectives"].frame, measures.MIN_EFFECT),
        alt=Sentence(
            "For the strongest heads, all adjectives and kind by kind, a line from the control to "
            "the score. {name} gives {top_score:.2f} to {top_kind} and {least_score:.2f} to "
            "{least_kind}.",
            **cells_of(
                "adjectives_overview", "name", "top_kind", "top_score", "least_kind", "least_score"
            ),
        ),
        answer=Sentence(
            "{name} gives each adjective {score:.2f}, against {control:.2f} where other words "
            "stand at the same distance: {contrast:.2f} (95 % interval {ci_low:.2f} to "
            "{ci_high:.2f}, q {q:p}, {n} sets of words)." + useful,
            **cells_of("adjectives_overview", *names),
            **cells,
        ),
        tables=("adjectives", "adjectives_overview", *(["useful"] if cells else [])),
        how_to_read="Three adjectives stand before each noun, in three orders, so that each kind "
        "stands at each distance. The open circle is the attention to other words in the same "
        "places, the marker that to the adjectives. The thick band has to lie to the right of the "
        "small vertical line.",
        scene=CHAPTER,
        change_our_mind=Sentence(
            "A contrast that shrinks on the half that did not select the head: {found:.2f} there, "
            "{contrast:.2f} here. With random weights {random} of {heads} heads pass; here {held} "
            "do.",
            **cells_of(
                "adjectives_overview",
                "contrast",
                found="contrast_discovery",
                random="n_confirmed_random_init",
                heads="n_heads",
                held="n_confirmed",
            ),
        ),
        facts={
            "null": "other words at the same distance; sign flips over sets of words, tested "
            "against the smallest effect"
        },
        uninformative="No more heads pass than with random weights." if useless else "",
    )


def _classes(tables: Tables) -> FigurePart:
    best = cells_of(
        "classes", "name", "contrast", "ci_low", "ci_high", "q", "n", "adjectives", "others"
    )
    return FigurePart(
        name="noun_asks_for_adjectives",
        question="Does a noun's query ask for adjectives, whatever the positions?",
        picture=plots.interval_dots(
            tables["classes"].frame,
            MIN_SCORE,
            "score of adjectives − score of other words, for nouns (1 = e times the attention)",
        ),
        alt=Sentence(
            "Heads with the difference of scores and its interval; the largest is {name} with "
            "{contrast:.2f}.",
            **cells_of("classes", "name", "contrast"),
        ),
        answer=Sentence(
            "In {name} a noun scores adjectives {adjectives:.2f} and other words {others:.2f}: "
            "{contrast:.2f} apart (95 % interval {ci_low:.2f} to {ci_high:.2f}, q {q:p}, {n} key "
            "words). {held} of {heads} heads prefer adjectives.",
            **best,
            **cells_of("classes_overview", held="n_confirmed", heads="n_heads"),
        ),
        tables=("classes", "classes_overview"),
        how_to_read="Query and key are made from the weights alone: a word's embedding, and what "
        "the first MLP adds to it. Context and positions are left out, so this is what the head "
        "asks for, not what it finds.",
        scene="“are there any adjectives in front of me?” in chapter 6",
        change_our_mind=Sentence(
            "Classes drawn at random that differ as much: relabelling the {n} key words gives p "
            "{p:p} for {name}. Later layers see more than a word's embedding, so a head that is "
            "missing here may still look at adjectives in sentences.",
            **cells_of("classes", "n", "p", "name"),
        ),
        facts={"null": "which key words are adjectives, permuted"},
    )


def _use(tables: Tables) -> FigurePart:
    names = ("weight", "use", "gain", "ci_low", "ci_high", "p", "n", "top", "top_by_chance")
    cells = cells_of("use", *names)
    head = tables["head"].frame["name"].iloc[0]
    name = Cell("head", 0, "name")
    side = "swapped" if "swapped" in tables else "model"
    panels = [
        panel(tables, side, f"{head}: attention", "weight"),
        panel(tables, side, "share of what is written", "use"),
        panel(tables, side, "effect on the prediction", "effect_share"),
    ]
    return FigurePart(
        name="weight_use_effect",
        question="Is what the head attends to what it uses?",
        picture=plots.token_matrices(panels, "share, from 0 to 1"),
        alt=Sentence(
            "Three matrices over the same tokens for {name}: attention, share of what is written, "
            "and change of the prediction without the cell. Attention and effect correlate by "
            "{weight:.2f}.",
            name=name,
            weight=cells["weight"],
        ),
        answer=Sentence(
            "Over the cells of {name}, attention and effect have a rank correlation of "
            "{weight:.2f}; the share of what is written has {use:.2f}, {gain:.2f} more (95 % "
            "interval {ci_low:.2f} to {ci_high:.2f}, p {p:p}, {n} prompts). The key attended to "
            "most is the one that matters most for {top:.2f} of the queries (chance "
            "{top_by_chance:.2f}).",
            name=name,
            **cells,
        ),
        tables=("use",),
        how_to_read="Left, where the head looks; middle, how large what it takes from there is; "
        "right, how much the prediction at that word changes when just this cell is taken out, as "
        "a share of the largest change. The first two are about the head alone, only the third is "
        "about the model.",
        scene=CHAPTER,
        change_our_mind=Sentence(
            "A head that attends and does nothing: the planted sink has {sink_weight:.3f} of its "
            "attention on the first token, {sink_use:.3f} of what is written comes from there, and "
            "no cell changes the prediction by more than {sink_effect_nats:.3f} nats.",
            **cells_of("use", "sink_weight", "sink_use", "sink_effect_nats"),
        ),
        facts={"null": "planted sink: attention 1, effect 0; a key drawn at random"},
    )


def _words_or_places(tables: Tables) -> FigurePart:
    row = tables["words_places"].frame.iloc[0]
    cells = cells_of("words_places", *tables["words_places"].frame.columns)

    def some(*names: str) -> dict[str, Cell]:
        return {name: cells[name] for name in names}

    return FigurePart(
        name="words_or_places",
        question="Do words or places decide where heads look?",
        picture=plots.words_or_places(
            tables["descriptors"].frame, tables["descriptors_random"].frame
        ),
        alt=Sentence(
            "Scatter of heads: share explained by distance across, share that differs between "
            "prompts up. {most_positional} is farthest right, {least_positional} highest.",
            **some("most_positional", "least_positional"),
        ),
        answer=Sentence(
            "Words decide {mean:.2f} of the patterns' variance on average (95 % interval over "
            "heads {ci_low:.2f} to {ci_high:.2f}; random weights {mean_random_init:.2f}). Most "
            "positional is {most_positional}: {most_positional_r2:.2f} explained by distance. "
            "Most bound to the words is {least_positional}, {least_positional_words:.2f}.",
            **some(
                "mean",
                "ci_low",
                "ci_high",
                "mean_random_init",
                "most_positional",
                "most_positional_r2",
                "least_positional",
                "least_positional_words",
            ),
        ),
        tables=("descriptors", "words_places"),
        how_to_read="Both axes are shares of one variance, over all cells and prompts, so that no "
        "head lies above the dashed line by more than rounding. Right: the distance says where the "
        "head looks. Up: the words do. Near the corner, neither: the pattern differs by position "
        "in other ways.",
        change_our_mind=Sentence(
            "Random weights whose patterns depend on the words as much: {n_words_random_init} of "
            "{n_heads} heads reach the smallest effect there, {n_words} here.",
            **some("n_words_random_init", "n_heads", "n_words"),
        ),
        facts={"null": "the same shape with random weights (open circles)"},
        uninformative="With random weights words decide as much."
        if row["ci_low"] <= row["mean_random_init"]
        else "",
    )


def _formulas(tables: Tables) -> FigurePart:
    cells = cells_of("formulas_total", *tables["formulas_total"].frame.columns)

    def some(*names: str) -> dict[str, Cell]:
        return {name: cells[name] for name in names}

    return FigurePart(
        name="parts_of_a_score",
        question="Which parts of the formula matter?",
        picture=plots.deviations(
            tables["formulas"].frame, float(tables["formulas_total"].frame["tolerance"].iloc[0])
        ),
        alt=Sentence(
            "Six formulas on a logarithmic axis. The same as the model: queries with norm and "
            "bias, {query:.0e}; PyTorch's attention, {output:.0e}; no key biases, "
            "{without_key_bias:.0e}.",
            **some("query", "output", "without_key_bias"),
        ),
        answer=Sentence(
            "PyTorch's own attention gives the model's values within {output:.1e}. Without key "
            "biases no weight changes by more than {without_key_bias:.1e}; without query biases "
            "{query_bias_moved:.2f} of the attention moves (95 % interval {ci_low:.2f} to "
            "{ci_high:.2f}). Queries from W_Q x alone miss the model's by {query_plain:.2f} of "
            "their length.",
            **some(
                "output", "without_key_bias", "query_bias_moved", "ci_low", "ci_high", "query_plain"
            ),
        ),
        tables=("formulas", "identities", "formulas_total"),
        how_to_read="Each row replaces one part of the model's attention by a formula; the marker "
        "is how far the result is from the model. Left of the dashed line it is the same up to "
        "rounding. Identities are checked in float64 from the stream that the model computed.",
        scene="the formula softmax(QKᵀ / √d) V in chapter 6",
        change_our_mind=Sentence(
            "An identity that fails: key biases are the same for all keys of a query, so the "
            "softmax takes them out, and {without_key_bias:.1e} is rounding (up to {tolerance:.0e} "
            "could be). Query biases are the control: they do not drop out.",
            **some("without_key_bias", "tolerance"),
        ),
        facts={"null": "0: the formula and the model are the same"},
    )
