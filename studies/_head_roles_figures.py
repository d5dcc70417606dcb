"""The figures of the study head_roles, from its tables alone."""

from typing import TYPE_CHECKING

import numpy as np

from interp import measures, plots
from interp.reporting import Cell, FigurePart, Sentence, Table
from studies._head_roles_causal import MIN_NATS
from studies.head_roles import MIN_DIVERGENCE

if TYPE_CHECKING:
    from interp.reporting.views import View

Tables = dict[str, Table]


def draw(tables: Tables) -> tuple[FigurePart, ...]:
    """The figures that the tables allow."""
    parts = [_atlas(tables), _scores_and_controls(tables)]
    if "by_prompts" in tables:
        parts.append(_kinds_of_prompts(tables))
    parts.append(_plane(tables))
    if "pruning" in tables:
        parts.append(_pruning(tables))
    if "seeds" in tables:
        parts.append(_seeds(tables))
    return (*parts, _heads_differ(tables), _weight_and_use(tables))


def cells_of(table: str, *names: str, **renamed: str) -> dict[str, Cell]:
    """Cells of a table's first row, by field."""
    wanted = {name: name for name in names} | renamed
    return {field: Cell(table, 0, column) for field, column in wanted.items()}


def _atlas(tables: Tables) -> FigurePart:
    row = tables["overview"].frame.iloc[0]
    published, cells, more = "", {}, []
    if "published" in tables:
        published = (
            " Heads that papers name for OpenAI's GPT-2 small (published, not measured here) rank "
            "with a mean AUC of {auc:.2f} over {auc_roles} roles; 0.5 would be chance."
        )
        cells = cells_of("published_overview", auc="rank_auc", auc_roles="n_roles")
        more = ["published", "published_overview"]
    return FigurePart(
        name="head_roles",
        question="Which heads hold which role?",
        picture=plots.role_atlas(tables["role_strength"].frame),
        alt=Sentence(
            "Grid of {n_roles} roles and {n_heads} heads, coloured by contrast; {n_labels} dots "
            "mark the roles that heads hold: {held_roles}.",
            **cells_of("overview", "n_roles", "n_heads", "n_labels", "held_roles"),
        ),
        answer=Sentence(
            "{n_labelled} of {n_heads} heads hold at least one of {n_roles} roles ({held_roles}); "
            "of {n_labels} labels, ablations confirm {n_labels_confirmed}. The same model with "
            "random weights gets {n_labels_random_init} labels." + published,
            **cells_of(
                "overview",
                *("n_labelled", "n_heads", "n_roles", "held_roles", "n_labels"),
                *("n_labels_confirmed", "n_labels_random_init"),
            ),
            **cells,
        ),
        tables=("role_strength", "labels", "overview", *more),
        how_to_read="Each column is a head, each row a role; the colour is the contrast over the "
        "role's own control, in units of the smallest effect that counts. A dot stands where all "
        "tests passed, on prompts that did not select the head. A bright square without a dot "
        "failed one.",
        scene="the many heads of multi-headed attention in chapter 6",
        change_our_mind=Sentence(
            "Random weights that get labels as well: {n_labels_random_init}. And labels without "
            "effect: of {n_labels}, ablations confirm {n_labels_confirmed}.",
            **cells_of("overview", "n_labels_random_init", "n_labels", "n_labels_confirmed"),
        ),
        facts={
            "null": "each role's matched control; the same shape with random weights",
            "rule": f"contrast at least the role's smallest effect on the prompts that select, a "
            f"95 % interval above it and q below {measures.ALPHA} on the prompts that test",
        },
        uninformative="Random weights get at least as many labels."
        if row["n_labels"] <= row["n_labels_random_init"]
        else "",
    )


def _scores_and_controls(tables: Tables) -> FigurePart:
    roles = tables["roles"].frame
    clearest = roles["strength"].where(roles["label"], -np.inf).to_numpy()
    best = int(clearest.argmax()) if roles["label"].any() else int(roles["strength"].argmax())
    names = ("name", "role", "score", "control", "contrast", "ci_low", "ci_high", "q", "n")
    cells = {name: Cell("roles", best, name) for name in (*names, "contrast_discovery")}
    frame = roles.assign(confirmed=roles["label"])
    return FigurePart(
        name="scores_and_controls",
        question="How far is each role's best head above its control?",
        picture=plots.score_and_control(
            frame, xlabel="score: attention on the role's target, or share of tokens"
        ),
        alt=Sentence(
            "For the best head of each role, a line from the control to the score. The clearest "
            "is {name}, {role}, from {control:.2f} to {score:.2f}.",
            **{name: cells[name] for name in ("name", "role", "control", "score")},
        ),
        answer=Sentence(
            "The clearest case is {name}, {role}: {score:.2f} against {control:.2f} on the "
            "control, a contrast of {contrast:.2f} (95 % interval {ci_low:.2f} to {ci_high:.2f}, "
            "q {q:p}, {n} units).",
            **{name: cells[name] for name in names},
        ),
        tables=("roles",),
        how_to_read="The open circle is the control, the marker the score, and the thick band the "
        "95 % interval of their difference, drawn from the control. The band has to lie to the "
        "right of the small vertical line, the smallest effect that counts for this role. A marker "
        "that is hollow all the same failed in q, or in a role that this one needs (a name mover "
        "has to copy).",
        change_our_mind=Sentence(
            "A contrast that shrinks on prompts that did not select the head: on the selecting "
            "half it was {contrast_discovery:.2f}, on the testing half it is {contrast:.2f}.",
            contrast_discovery=cells["contrast_discovery"],
            contrast=cells["contrast"],
        ),
        facts={"null": "the control of the same head on the same positions (open circles)"},
        uninformative="" if roles["label"].any() else "No head holds any of these roles.",
    )


def _kinds_of_prompts(tables: Tables) -> FigurePart:
    names = ("role", "name", "contrast_random_tokens", "contrast_text", "text")
    shift = cells_of("role_shift", *names)
    return FigurePart(
        name="kinds_of_prompts",
        question="Does a head keep its role when the prompts change?",
        picture=plots.role_by_prompts(tables["by_prompts"].frame, measures.MIN_EFFECT),
        alt=Sentence(
            "Scatter of contrasts, random tokens across and {text} up, one point per head and "
            "role. Farthest from the diagonal: {name}, {role}, {contrast_random_tokens:.2f} and "
            "{contrast_text:.2f}.",
            **shift,
        ),
        answer=Sentence(
            "{name} changes most: its contrast for {role} is {contrast_random_tokens:.2f} on "
            "random tokens and {contrast_text:.2f} on {text}. Over heads and the roles that are "
            "found, the rank correlation between the two is {correlation:.2f}, where 1 would mean "
            "the same order.",
            **shift,
            correlation=Cell("role_shift", 0, "rank_correlation"),
        ),
        tables=("by_prompts", "role_shift"),
        how_to_read="On the dashed line a head does the same on both kinds of prompts. Points "
        "below it have a role on random tokens only, points above it only on text. Roles are "
        "decided on text, since that is what the model was trained for.",
        change_our_mind=Sentence(
            "A pattern that only a choice of points shows: all {n} pairs of a head and a role that "
            "some head passes on either kind are drawn. In text, repeats are looked for at the "
            "rarest token; where such repeats tell nothing, a head may use them on random tokens "
            "only.",
            n=Cell("role_shift", 0, "n"),
        ),
        facts={"null": "the dashed line: no difference between kinds of prompts"},
    )


def _plane(tables: Tables) -> FigurePart:
    names = ("role", "redundant_or_backup", "hidden", "irrelevant")
    row = tables["overview"].frame.iloc[0]
    return FigurePart(
        name="role_and_effect",
        question="Does a head that has a role also matter?",
        picture=plots.role_and_effect(tables["quadrants"].frame),
        alt=Sentence(
            "Scatter of {n_ablated} heads in four quadrants: {role} with role and effect, "
            "{redundant_or_backup} with a role only, {hidden} with an effect only, {irrelevant} "
            "with neither; {n_uncertain} hollow points lie beyond a line without being certain.",
            **cells_of("overview", *names, "n_ablated", "n_uncertain"),
        ),
        answer=Sentence(
            "Of {n_ablated} heads ablated (of {n_heads}), {role} have a role and matter, "
            "{redundant_or_backup} have one and nothing is lost without them, {hidden} matter "
            "without a known role (most: {top_hidden_head}), {irrelevant} neither. Strength of "
            "role and effect have a rank correlation of {rank_correlation:.2f}.",
            **cells_of(
                "overview", *names, "n_ablated", "n_heads", "rank_correlation", "top_hidden_head"
            ),
        ),
        tables=("quadrants", "overview", "labels"),
        how_to_read="Right of the vertical line a head's strongest role is larger than the "
        "smallest effect that counts; above the horizontal line its ablation is. Colour and shape "
        "are the decision with all tests; a hollow point lies beyond a line, but a test of it "
        "failed, so it does not count as beyond.",
        change_our_mind=Sentence(
            "Ablations that contradict each other: zero, mean and another prompt's values disagree "
            "for {n_disagree} of {n_ablated} heads; two of three decide.",
            **cells_of("overview", "n_disagree", "n_ablated"),
        ),
        facts={"null": "three ablations; intervals over prompts above 0"},
        uninformative="No head matters for any behaviour."
        if row["role"] + row["hidden"] == 0
        else "",
    )


def _pruning(tables: Tables) -> FigurePart:
    row = tables["pruning"].frame.iloc[0]
    gains = ("gain_zero", "gain_mean", "gain_resample")
    random = ("random_zero", "random_mean", "random_resample")
    return FigurePart(
        name="pruning",
        question="Can heads be pruned?",
        picture=plots.pruning_dots(tables["pruning_sets"].frame, MIN_NATS),
        alt=Sentence(
            "Loss gained by pruning {n_pruned} heads, by ablation: zero {gain_zero:.2f}, mean "
            "{gain_mean:.2f}, resample {gain_resample:.2f} nats, and random sets.",
            **cells_of("pruning", "n_pruned", *gains),
        ),
        answer=Sentence(
            "Without the {n_pruned} heads of least effect ({pruned}) the loss rises by "
            "{gain_zero:.3f} (zero), {gain_mean:.3f} (mean) and {gain_resample:.3f} nats "
            "(resample); random sets of that size cost {random_zero:.2f}, {random_mean:.2f} and "
            "{random_resample:.2f} ({n_prompts} prompts).",
            **cells_of("pruning", "n_pruned", "pruned", *gains, *random, "n_prompts"),
        ),
        tables=("pruning",),
        how_to_read="The diamond is the set of heads whose single ablations changed the prediction "
        "least, chosen on other prompts; circles are as many heads drawn at random. Left of the "
        "dashed line nothing that counts is lost.",
        change_our_mind=Sentence(
            "Random sets that cost as little: on average they cost {random_mean:.2f} nats with "
            "mean ablation, against {gain_mean:.3f}.",
            **cells_of("pruning", "random_mean", "gain_mean"),
        ),
        facts={"null": "random sets of heads of equal size"},
        uninformative="Random sets cost nothing either."
        if max(abs(row[name]) for name in random) <= MIN_NATS
        else "",
    )


def _seeds(tables: Tables) -> FigurePart:
    names = ("n_in_all", "n_in_some", "n_in_none", "n_roles", "n_seeds")
    dealt = ("distance_matched", "distance_dealt", "dealt_low", "dealt_high", "p_dealt")
    return FigurePart(
        name="roles_by_seed",
        question="Do other training seeds learn the same roles?",
        picture=plots.roles_by_seed(tables["seeds"].frame),
        alt=Sentence(
            "Grid of roles and training seeds with the number of heads; {n_in_all} roles are held "
            "in all {n_seeds} seeds.",
            **cells_of("seeds_overview", "n_in_all", "n_seeds"),
        ),
        answer=Sentence(
            "Of {n_roles} roles, {n_in_all} are held in all {n_seeds} seeds, {n_in_some} in some, "
            "{n_in_none} in none. Matched by role, heads are {distance_matched:.2f} smallest "
            "effects apart; where roles are dealt to heads at random, the best matching leaves "
            "{distance_dealt:.2f} (95 % {dealt_low:.2f} to {dealt_high:.2f}, p {p_dealt:p}).",
            **cells_of("seeds_overview", *names, *dealt),
        ),
        tables=("seeds", "seeds_overview", "seeds_matched"),
        how_to_read="Each square has the number of heads with the role and, in brackets, the best "
        "one; the colour is the contrast of that one. A head's number means nothing across seeds: "
        "the role is what can be compared.",
        change_our_mind=Sentence(
            "Combinations of roles that mean nothing: a p of 0.05 or more, from {n_dealt} dealings "
            "of each role's strengths to the heads. Counterparts in the same place would be an "
            "accident: {n_same_place} of {n_pairs} are.",
            **cells_of("seeds_overview", "n_dealt", "n_same_place", "n_pairs"),
        ),
        facts={"null": "each role's strengths dealt to the other seed's heads, then matched"},
    )


def _heads_differ(tables: Tables) -> FigurePart:
    row = tables["divergence"].frame
    both = cells_of("divergence", two="two_heads_nats", one="one_head_nats")
    random = cells_of("divergence", random="two_heads_random_init_nats")
    return FigurePart(
        name="heads_differ",
        question="Do different heads learn different patterns?",
        picture=plots.divergence_matrix(tables["divergence_pairs"].frame),
        alt=Sentence(
            "Matrix of divergences, heads of all layers on both sides; off the diagonal the mean "
            "is {two:.2f} nats, on the diagonal, where a head meets itself on another prompt, "
            "{one:.2f} nats.",
            **both,
        ),
        answer=Sentence(
            "Two heads differ by {two:.2f} nats on the same prompt, with random weights by "
            "{random:.2f}: {contrast:.2f} nats more (95 % interval {ci_low:.2f} to {ci_high:.2f}, "
            "p {p:p}, {n} pairs of prompts). Most alike are {most_alike}, {most_alike_nats:.2f}.",
            two=both["two"],
            **random,
            **cells_of(
                "divergence",
                *("contrast", "ci_low", "ci_high", "p", "n", "most_alike", "most_alike_nats"),
            ),
        ),
        tables=("divergence", "divergence_pairs"),
        how_to_read="Dark is alike, bright is different; ln 2 = 0.69 means that two heads never "
        "look at the same token. Blocks along the diagonal are layers, and dark squares off it are "
        "families of heads that do the same. The diagonal shows one head on two prompts: bright "
        "where its pattern follows the words rather than the positions.",
        scene="the many heads of multi-headed attention in chapter 6",
        change_our_mind=Sentence(
            "Random weights whose heads differ as much: they differ by {random:.2f} nats. And for "
            "scale: one head differs from itself by {one:.2f} nats between two prompts.",
            **random,
            one=both["one"],
        ),
        facts={"null": "two heads of the same shape with random weights, on the same prompts"},
        uninformative=""
        if row["ci_low"].iloc[0] > MIN_DIVERGENCE
        else "Heads with random weights differ as much.",
    )


def _weight_and_use(tables: Tables) -> FigurePart:
    means = ("first_token_weight", "first_token_use", "n_heads", "prompt")
    return FigurePart(
        name="weight_and_use",
        question="Does the picture of attention show what heads use?",
        picture=plots.pattern_mosaic(
            tables["pattern_cells"].frame,
            {"weight": "attention weight", "use": "share of what is written"},
        ),
        alt=Sentence(
            "All {n_heads} heads on the prompt “{prompt}”, twice: as attention weights, and "
            "weighted by the size of what is written. The first token has {first_token_weight:.2f} "
            "of the weight and {first_token_use:.2f} of what is written.",
            **cells_of("use_mean", *means),
        ),
        answer=Sentence(
            "Every one of the {n_heads} heads can be drawn. On “{prompt}”, {moved:.2f} of "
            "the attention moves elsewhere when it is weighted by what is written from there "
            "(0 would be: weight is use); most in {name}, {most:.2f}. The first token goes from "
            "{first_token_weight:.2f} to {first_token_use:.2f}. All {n_rows} rows of weights sum "
            "to 1 within {row_deviation:.1e}; columns are {column_deviation:.2f} away on average.",
            **cells_of("use_mean", *means, "moved"),
            **cells_of("use", "name", most="moved"),
            **cells_of("sums_total", "n_rows", "row_deviation", "column_deviation"),
        ),
        tables=("use", "use_mean", "sums_total", "sums", "prompt_tokens", "pattern_cells"),
        how_to_read="Each tile is a head: queries down, keys across (the lectures draw it the "
        "other way round). Left, what a head looks at; right, how much it takes from there. A tile "
        "that is bright on the left and dark on the right looks at a token from which it takes "
        "little.",
        scene="the attention-grid scenes of chapter 6",
        change_our_mind=Sentence(
            "One prompt shows what can happen, not what is usual; and size is not effect either. "
            "{moved:.2f} is the mean over {n_heads} heads on this prompt alone.",
            **cells_of("use_mean", "moved", "n_heads"),
        ),
        facts={"null": "0: attention weight and share of what is written are the same"},
        view=_heads_view(tables),
    )


def _heads_view(tables: Tables) -> "View":
    from interp.reporting import views

    cells = tables["pattern_cells"].frame
    texts = tables["prompt_tokens"].frame["token"].tolist()
    shape = (int(cells["layer"].max()) + 1, int(cells["head"].max()) + 1, len(texts), len(texts))
    at = tuple(cells[name] for name in ("layer", "head", "query_pos", "key_pos"))
    states = {}
    for name, column in (("weight", "weight"), ("norm-weighted", "use")):
        states[name] = np.zeros(shape, dtype=np.float32)
        states[name][at] = cells[column]
    held = tables["labels"].frame
    roles = {
        str(name): ", ".join(role.replace("_", " ") for role in of["role"])
        for name, of in held.groupby("name", sort=False)
    }
    return views.attention([plots.visible_token(text) for text in texts], states, roles)
