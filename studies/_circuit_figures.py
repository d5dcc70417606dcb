"""Figures of the study of QK and OV circuits, from its tables."""

from interp import plots
from interp.reporting import FigurePart, Sentence, Table, views
from studies._circuit_checks import cells_of
from studies.qk_ov_circuits import N_EDGES, PLANTS

Tables = dict[str, Table]
_MOST_NAMED = 12  # heads of the copying figure that carry a name


def headline(tables: Tables) -> Sentence:
    """The answer in one sentence."""
    return Sentence(
        "{n_copying} of {n_heads} heads copy the word they attend to for most words, and {n_eigen} "
        "more only by their eigenvalues; a head uses {effective_rank:.0f} of the {bound} "
        "directions it could write along.",
        **cells_of("copying_total", "n_copying", "n_heads", "n_eigen"),
        **cells_of("rank_total", "effective_rank", "bound"),
    )


def draw(tables: Tables) -> tuple[FigurePart, ...]:
    """All figures that the tables allow, in reading order."""
    parts = [_values(tables), _spectra(tables), _copying(tables)]
    if "composition" in tables:
        parts.append(_composition(tables))
    if "readouts" in tables:
        parts.append(_readouts(tables))
    return tuple(parts)


def _values(tables: Tables) -> FigurePart:
    tolerance = float(tables["value"].frame["tolerance"].iloc[0])
    return FigurePart(
        name="what_a_value_is",
        question="What is a value, and do its dimensions mean anything?",
        picture=plots.deviations(tables["values"].frame, tolerance),
        alt=Sentence(
            "Six formulas on a logarithmic axis: W_V x alone is {plain:.2f} off, with norm and "
            "bias {full:.0e}; another basis moves W_V by {moved:.2f} and the logits by "
            "{gauge:.0e}.",
            **cells_of("value", "plain", "full", "moved", "gauge"),
        ),
        answer=Sentence(
            "A value is W_V times the normed stream plus a bias (within {full:.1e} in float64); "
            "W_V x alone misses by {plain:.2f}. The bias passes through every pattern untouched "
            "({passed:.1e}). Another basis inside every head changes W_V by {moved:.2f} of its "
            "length and the logits by {gauge:.1e}.",
            **cells_of("value", "full", "plain", "passed", "moved", "gauge"),
        ),
        tables=("values", "value"),
        how_to_read="Each row replaces a step of the model by a formula; left of the dashed line "
        "the two are the same up to rounding. The last two rows are one experiment: every number "
        "of the values changes, and nothing that the model does.",
        scene="“value” vectors in chapter 6",
        change_our_mind=Sentence(
            "A basis that matters: logits would move by more than {tolerance:.0e}; they move by "
            "{gauge:.1e}. Moving b_V into b_O moves them by {folded:.1e}.",
            **cells_of("value", "tolerance", "gauge", "folded"),
        ),
        facts={"null": "0: the formula and the model are the same"},
    )


def _spectra(tables: Tables) -> FigurePart:
    row = tables["rank_total"].frame.iloc[0]
    spectra = {
        name: tables[f"spectrum_{place}"].frame
        for place, name in enumerate(("model", "weights shuffled", "random weights"))
    }
    alike = row["ci_low"] <= row["shuffled"] <= row["ci_high"]
    return FigurePart(
        name="directions_of_a_head",
        question="How many directions does a head use?",
        picture=plots.spectrum_lines(spectra, int(row["bound"])),
        alt=Sentence(
            "Squared singular values of QK and OV circuits, falling faster than those of shuffled "
            "and random weights; effective rank {effective_rank:.1f} against {shuffled:.1f}.",
            **cells_of("rank_total", "effective_rank", "shuffled"),
        ),
        answer=Sentence(
            "W_V W_O has rank {largest_rank} at most, of {d_model}. Its effective rank is "
            "{effective_rank:.1f} (95 % interval over {n} heads {ci_low:.1f} to {ci_high:.1f}), of "
            "the same numbers in random places {shuffled:.1f}, of random weights {random:.1f}; of "
            "QK circuits {effective_rank_qk:.1f} (shuffled {shuffled_qk:.1f}).",
            **cells_of(
                "rank_total",
                "largest_rank",
                "d_model",
                "effective_rank",
                "n",
                "ci_low",
                "ci_high",
                "shuffled",
                "random",
                "effective_rank_qk",
                "shuffled_qk",
            ),
        ),
        tables=("ranks", "rank_means", "rank_total"),
        how_to_read="Lines are medians over heads, bands reach from the smallest to the largest "
        "head. Beyond d_head there is nothing: queries, keys and values have no more dimensions. A "
        "line that falls early means that a head uses few directions.",
        scene="“value down” and “value up”, the low-rank transformation in chapter 6",
        change_our_mind=Sentence(
            "Shuffled weights of the same spectrum: they have an effective rank of "
            "{shuffled:.1f}, these heads {effective_rank:.1f}; {rank_90:.0f} directions hold 90 % "
            "of a head's squared norm.",
            **cells_of("rank_total", "shuffled", "effective_rank", "rank_90"),
        ),
        facts={"null": "each head's numbers shuffled; the shape's random weights"},
        uninformative="Shuffled weights have the same effective rank." if alike else "",
    )


def _copying(tables: Tables) -> FigurePart:
    found, known = tables["copying"].frame, tables["planted"].frame
    labelled = found[found["label"] != "none"]
    named = set(labelled.nlargest(_MOST_NAMED, "top1")["name"])
    panels = {"planted heads": known, "this model": found}
    names = {
        "planted heads": known["name"].tolist(),
        "this model": [name if name in named else "" for name in found["name"]],
    }
    row = tables["copying_total"].frame.iloc[0]
    plain = row["top1"] <= row["null"]
    return FigurePart(
        name="copying",
        question="Do heads repeat the word that they attend to?",
        picture=plots.copying_scatter(panels, names),
        alt=Sentence(
            "Scatter of heads, eigenvalue score across and share of words copied up, for planted "
            "heads and this model; {best} copies most, {top1:.2f}.",
            **cells_of("copying_total", "best", "top1"),
        ),
        answer=Sentence(
            "{best} raises the word it attends to most for {top1:.2f} of {n} words (random "
            "circuits with its singular values up to {null:.3f}, q {q:p}) and among the first five "
            "for {top5:.2f}; eigenvalue score {eigenvalue_score:.2f}. Labels: {n_copying} copying, "
            "{n_anti} anti-copying, {n_successor} successor, {n_eigen} by eigenvalues only.",
            **cells_of(
                "copying_total",
                "best",
                "top1",
                "n",
                "null",
                "q",
                "top5",
                "eigenvalue_score",
                "n_copying",
                "n_anti",
                "n_successor",
                "n_eigen",
            ),
        ),
        tables=("copying", "tokens", "matching", "planted", "copying_total"),
        how_to_read="Right: the circuit as a whole points back at its own word. Up: it really does "
        "so, word by word. Only heads above the dashed line are called copying; “eigenvalues only” "
        "raise their word, but others more. A successor head lies in the middle at the bottom.",
        change_our_mind=Sentence(
            "Planted heads with known circuits: {n_right} of {n_planted} get the right label, and "
            "one with eigenvalue score {trap_eigen:.2f} copies only {trap_top1:.2f} of the words. "
            "With random weights {n_labelled_random} of {n_heads} heads get a label.",
            **cells_of(
                "copying_total",
                "n_right",
                "n_planted",
                "trap_eigen",
                "trap_top1",
                "n_labelled_random",
                "n_heads",
            ),
        ),
        facts={
            "null": "circuits with the same singular values and random directions",
            "smallest effect": "half of the words",
            "planted": ", ".join(PLANTS),
        },
        uninformative="No head copies more than random circuits do." if plain else "",
    )


def _composition(tables: Tables) -> FigurePart:
    row = tables["composition_total"].frame.iloc[0]
    none = row["far"] <= (row["far_random"] if row["far_random"] == row["far_random"] else 0)
    return FigurePart(
        name="who_reads_whom",
        question="Which heads read what others wrote?",
        picture=plots.composition_dots(tables["composition"].frame),
        alt=Sentence(
            "Strongest pairs of heads by queries, keys and values, with their scores over chance "
            "and the overlap of subspaces; {source} → {target} leads with {times_chance:.2f}.",
            **cells_of("composition_total", "source", "target", "times_chance"),
        ),
        answer=Sentence(
            "Farthest above chance is {source} → {target} by {kind}: {times_chance:.2f} times a "
            "random rotation, z {z:.0f}, with {overlap:.2f} of the top subspace shared (chance "
            "{overlap_null:.2f}). Over all {n} pairs and kinds the score is {mean:.2f} times "
            "chance; {far} lie more than {limit:.0f} standard deviations above it.",
            **cells_of(
                "composition_total",
                "source",
                "target",
                "kind",
                "times_chance",
                "z",
                "overlap",
                "overlap_null",
                "n",
                "mean",
                "far",
                "limit",
            ),
        ),
        tables=("composition", "composition_total"),
        how_to_read="Left, how much of what the first head writes reaches the second's queries "
        "(Q), keys (K) or values (V), over what a random rotation would let through; right, how "
        "much of the main directions they share. Weights say what could be read, not what is.",
        change_our_mind=Sentence(
            "Random weights: {far_random} of {n} pairs lie as far from chance there, and the score "
            "is {mean_random:.3f} times chance (1 exactly by the formula).",
            **cells_of("composition_total", "far_random", "n", "mean_random"),
        ),
        facts={"null": "Haar rotation of one of the two circuits: E[score²] = 1/d exactly"},
        uninformative="No more pairs lie far from chance than with random weights." if none else "",
        view=_graph(tables),
    )


def _graph(tables: Tables) -> "views.View":
    import pandas as pd

    edges = tables["composition_all"].frame.head(N_EDGES)
    ends = [("source_layer", "source_head"), ("layer", "head")]
    heads = sorted({tuple(at) for pair in ends for at in edges[list(pair)].to_numpy().tolist()})
    nodes = pd.DataFrame(
        {
            "name": [plots.head_label(layer, head) for layer, head in heads],
            "layer": [layer for layer, _ in heads],
            "place": [head for _, head in heads],
        }
    )
    names = [
        [plots.head_label(*at) for at in edges[list(pair)].to_numpy().tolist()] for pair in ends
    ]
    frame = pd.DataFrame(
        {"source": names[0], "target": names[1], "weight": edges["times_chance"].to_numpy()}
    )
    # One edge per pair: the strongest of its kinds.
    frame = frame.groupby(["source", "target"], as_index=False, sort=False)["weight"].max()
    return views.flow(nodes, frame, "score over chance, the strongest of Q, K and V")


def _readouts(tables: Tables) -> FigurePart:
    row = tables["readout_total"].frame.iloc[0]
    return FigurePart(
        name="words_of_directions",
        question="What do the directions say that heads write along?",
        picture=plots.coherence_dots(tables["readouts"].frame),
        alt=Sentence(
            "Separated directions by the coherence of their words beside random directions of the "
            "same head; {name} leads with {coherence:.2f}.",
            **cells_of("readout_total", "name", "coherence"),
        ),
        answer=Sentence(
            "{coherent} of {n} separated directions raise words that are more alike than those of "
            "random directions of the same head (q below 0.05). The most coherent, of {name}, "
            "reads: {words} ({coherence:.2f}; random directions {null:.2f}, up to "
            "{null_high:.2f}).",
            **cells_of(
                "readout_total",
                "coherent",
                "n",
                "name",
                "words",
                "coherence",
                "null",
                "null_high",
            ),
        ),
        tables=("readouts", "readout_total"),
        how_to_read="Each row is a singular direction whose value stands apart from its "
        "neighbours. Its ten words are scored by how alike their contexts are, by a function that "
        "does not know where a list came from. A reader finds a theme in any ten words; the grey "
        "band is what random directions of the head reach.",
        change_our_mind=Sentence(
            "Random directions that cohere as much: {n_random} are drawn for each head. What "
            "counts as alike comes from: {alike}.",
            **cells_of("readout_total", "n_random", "alike"),
        ),
        facts={"null": "random directions in the space that the same head writes to"},
        uninformative="No direction coheres more than random ones." if not row["coherent"] else "",
    )
