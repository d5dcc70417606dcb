"""Figures of the study of the output matrix, from its tables."""

from interp import measures, plots
from interp.reporting import FigurePart, Sentence, Table
from studies._circuit_checks import cells_of
from studies.output_matrix import MIN_LOSS

Tables = dict[str, Table]
SCENE = "the output matrix, at the end of chapter 6"


def headline(tables: Tables) -> Sentence:
    """The answer in one sentence."""
    return Sentence(
        "The output matrix adds what the heads write (difference {sum:.0e}); {rank} of {full} "
        "directions of it suffice for a loss within {loss:g} nats, {random_rank} if they are "
        "random.",
        sum=("identity", 0, "sum"),
        rank=("rank_total", 0, "activations_rank"),
        **cells_of("rank_total", "full", "loss", "random_rank"),
    )


def draw(tables: Tables, n_heads: int) -> tuple[FigurePart, ...]:
    """All figures, in reading order."""
    return (
        _sum(tables),
        _overlap(tables, n_heads),
        _rows(tables),
        _ranks(tables),
        _storage(tables),
    )


def _sum(tables: Tables) -> FigurePart:
    return FigurePart(
        name="concatenate_or_add",
        question="Is concatenating heads the same as adding them?",
        picture=plots.deviations(
            tables["identities"].frame, float(tables["identity"].frame["tolerance"].iloc[0])
        ),
        alt=Sentence(
            "Two formulas on a logarithmic axis; the sum over heads is {sum:.1e} from the "
            "concatenated form.",
            sum=("identity", 0, "sum"),
        ),
        answer=Sentence(
            "One output matrix of {rows} × {columns} behind {n_heads} concatenated heads of "
            "{d_head} gives what the heads' own parts add up to, within {sum:.1e} in float64; it "
            "is the model's output within {output:.1e}.",
            **cells_of("identity", "rows", "columns", "n_heads", "d_head", "sum", "output"),
        ),
        tables=("identities", "identity", "mask_fill"),
        how_to_read="Each row replaces the model's own step by a formula; left of the dashed line "
        "the two are the same up to rounding. So every head writes to the stream on its own, and "
        "can be read on its own.",
        scene=SCENE,
        change_our_mind=Sentence(
            "A difference above {tolerance:.0e}: the largest is {sum:.1e}. The notes' mask fill of "
            "−1e9 is the counter-example: in float16, whose smallest number is {half_lowest:,.0f}, "
            "it is an {half_says}.",
            **cells_of("identity", "tolerance", "sum", "half_lowest", "half_says"),
        ),
        facts={"null": "0: the two forms are the same"},
    )


def _overlap(tables: Tables, n_heads: int) -> FigurePart:
    groups = tables["overlap"].frame
    of_model = groups[groups["weights"] == "model"]
    last = len(of_model) - 1  # pairs of different layers, where there are any
    row = of_model.iloc[last]
    plain = row["ci_low"] <= row["null"] <= row["ci_high"]
    return FigurePart(
        name="shared_directions",
        question="Do heads write to the same directions?",
        picture=plots.overlap_matrix(tables["pairs"].frame, n_heads),
        alt=Sentence(
            "Matrix of all pairs of heads, coloured by overlap over chance; {top_pair} overlap "
            "most beyond chance, {top_overlap:.2f}.",
            **cells_of("overlap_total", "top_pair", "top_overlap"),
        ),
        answer=Sentence(
            "Heads of {first} share {first_overlap:.3f} of the directions they write to, heads of "
            "{pairs} {overlap:.3f} (95 % interval {ci_low:.3f} to {ci_high:.3f}, {n} pairs), "
            "random subspaces {null:.3f}. {top_pair} share {top_overlap:.2f}. The whole output "
            "matrix uses {effective_rank:.0f} directions (effective rank; random weights "
            "{effective_rank_random:.0f}).",
            **cells_of("overlap", "pairs", "overlap", "ci_low", "ci_high", "n", "null", row=last),
            **cells_of("overlap", first="pairs", first_overlap="overlap"),
            **cells_of(
                "overlap_total",
                "top_pair",
                "top_overlap",
                "effective_rank",
                "effective_rank_random",
            ),
        ),
        tables=("pairs", "overlap", "overlap_total", "stacked"),
        how_to_read="1 is chance: a pair of subspaces turned at random. Above it two heads write "
        "along the same directions, below it they keep apart. White lines separate layers; a head "
        "with itself is grey.",
        scene=SCENE,
        change_our_mind=Sentence(
            "Random weights that overlap as much: {beyond_random} of {n_pairs} pairs lie more than "
            "4 standard deviations from chance there, {beyond} here.",
            **cells_of("overlap_total", "beyond_random", "n_pairs", "beyond"),
        ),
        facts={"null": "k/d, the mean for random subspaces of the same dimension"},
        uninformative="Heads overlap no more than random subspaces do." if plain else "",
    )


def _rows(tables: Tables) -> FigurePart:
    names = ("same_row", "ci_low", "ci_high", "null", "same_direction", "n")
    return FigurePart(
        name="rows_and_directions",
        question="Does a row of the output matrix mean anything?",
        picture=plots.stability_by_gap(tables["stability"].frame, measures.MIN_GAP),
        alt=Sentence(
            "Singular directions by gap and by turn under noise: separated ones turn "
            "{median_apart:.1f} degrees in the median, the others {median_close:.1f}.",
            **cells_of("row", "median_apart", "median_close"),
        ),
        answer=Sentence(
            "Turn the basis inside the heads, which changes no output, and the ten words of a row "
            "of W_O keep {same_row:.2f} (95 % interval {ci_low:.2f} to {ci_high:.2f}, {n} heads; "
            "chance {null:.2f}); those of the largest direction of W_V W_O keep "
            "{same_direction:.2f}. Under 1 % noise separated directions turn {median_apart:.1f} "
            "degrees, others {median_close:.1f} (medians).",
            **cells_of("row", *names, "median_apart", "median_close"),
        ),
        tables=("rows", "row"),
        how_to_read="Each marker is a singular direction that a head writes along. Where its "
        "singular value stands close to the next, a little noise turns it far: such a direction is "
        "no fact about the head, and is not read out.",
        scene=SCENE,
        change_our_mind=Sentence(
            "Rows that keep their words: {same_row:.2f} stay, and {null:.2f} would by chance. Of "
            "{n_directions} directions {n_apart} are separated; the one that turns most still "
            "turns {worst_apart:.1f} degrees, of the others {worst_close:.1f}.",
            **cells_of(
                "row", "same_row", "null", "n_directions", "n_apart", "worst_apart", "worst_close"
            ),
        ),
        facts={"null": "the same function in another basis; ten words drawn at random"},
    )


def _ranks(tables: Tables) -> FigurePart:
    row = tables["rank_total"].frame.iloc[0]
    weak = row["activations_delta"] >= row["random_delta"]
    return FigurePart(
        name="few_directions",
        question="How many directions of the output matrix does the model need?",
        picture=plots.loss_by_rank(tables["ranks"].frame, MIN_LOSS),
        alt=Sentence(
            "Loss added against directions kept, for W_O and W_V; with {least} of {full} "
            "directions of W_O {activations_delta:.3f} nats by activations, {random_delta:.3f} at "
            "random.",
            **cells_of("rank_total", "least", "full", "activations_delta", "random_delta"),
        ),
        answer=Sentence(
            "With {least} of {full} directions of W_O in every layer the loss rises by "
            "{activations_delta:.3f} nats if they are chosen by what heads write (95 % interval "
            "{activations_low:.3f} to {activations_high:.3f}), {weights_delta:.3f} by the weights "
            "alone, {per_head_delta:.3f} if every head keeps its own share, and {random_delta:.3f} "
            "for random ones ({n} windows).",
            **cells_of(
                "rank_total",
                "least",
                "full",
                "activations_delta",
                "activations_low",
                "activations_high",
                "weights_delta",
                "per_head_delta",
                "random_delta",
                "n",
            ),
        ),
        tables=("ranks", "rank_total"),
        how_to_read="Left, what heads write is projected onto fewer directions; right, what their "
        "values read. “Stacked” keeps the best of all heads of a layer together, “per head” the "
        "same number divided among the heads. Below 0.01 nats the axis is straight.",
        scene=SCENE,
        change_our_mind=Sentence(
            "Random directions that do as well: to stay within {loss:g} nats they need "
            "{random_rank} of {full}, chosen ones {activations_rank} (by weights {weights_rank}, "
            "per head {per_head_rank}), of those tried.",
            **cells_of(
                "rank_total",
                "loss",
                "random_rank",
                "full",
                "activations_rank",
                "weights_rank",
                "per_head_rank",
            ),
        ),
        facts={"null": "random directions, as many", "smallest effect": f"{MIN_LOSS} nats"},
        uninformative="Random directions do as well as chosen ones." if weak else "",
    )


def _storage(tables: Tables) -> FigurePart:
    cells = cells_of("storage_total", *tables["storage_total"].frame.columns)
    row = tables["storage_total"].frame.iloc[0]
    return FigurePart(
        name="few_bits",
        question="How exactly must its numbers be kept?",
        picture=plots.loss_by_storage(tables["storage"].frame, MIN_LOSS),
        alt=Sentence(
            "Loss added by rounding and by zeros: {rounded:.3f} nats at {bits} bits, "
            "{smallest:.3f} with {share:.0%} of the numbers at 0.",
            **{name: cells[name] for name in ("rounded", "bits", "smallest", "share")},
        ),
        answer=Sentence(
            "At {bits} bits per number of W_O the loss rises by {rounded:.3f} nats (noise of the "
            "same length: {noise:.3f}); with the smallest {share:.0%} set to 0 by {smallest:.3f}, "
            "with any {share:.0%} by {any:.3f} ({n} windows).",
            **cells,
        ),
        tables=("storage", "storage_total"),
        how_to_read="Full lines round numbers, or set the smallest to 0. Dotted lines take away as "
        "much without looking: noise of the same length, or any numbers. Where the two meet, what "
        "is taken away is nothing special.",
        change_our_mind=Sentence(
            "Zeros anywhere that cost as little as zeros among the smallest: {any:.3f} against "
            "{smallest:.3f} nats. Both depend on how a head is stored, and not on what it does "
            "alone.",
            **{name: cells[name] for name in ("any", "smallest")},
        ),
        facts={"null": "noise of the same length; random numbers set to 0"},
        uninformative="Zeros anywhere cost as little." if row["any"] <= row["smallest"] else "",
    )
