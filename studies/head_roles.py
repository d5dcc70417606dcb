"""Which attention heads have a role that can be told from chance?

Four roles are measured for every head: attention to the previous token, to an earlier occurrence of
the same token, to what followed it (induction), and to the first token. Each score has a matched
control on the same positions; what counts is the contrast, score minus control, tested over prompts
with permutations and corrected for all heads, roles and kinds of prompts. The kinds are random
tokens and, where it is known, the model's own language, which decides. A model of the same shape
with random weights goes through the same, as a check that the measure can say no.

Then all known roles, with ablations: a label is confirmed if the behaviour that the role serves
suffers without the head, and heads that matter without a label are hidden. Heads of least effect
are pruned together; the shipped training seeds are compared by role.

Beside the roles: whether patterns are probabilities, whether heads differ, and whether a picture of
attention weights shows what heads use.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from interp import measures, plots
from interp.reporting import Cell, FigurePart, Finding, Sentence, StudyResult, Table
from studies import StudyConfig, _prompts, provenance, questions

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT
    from interp.measures import PromptSet

NAME = "head_roles"
MIN_DIVERGENCE = 0.05  # nats; declared beforehand, about 7 % of the largest possible, ln 2
N_RANDOM_INIT = 64  # prompts of each kind for the model with random weights: a check, not a result
N_PERMUTATIONS = 5000  # for all roles, quick or not
N_CAUSAL = 128  # prompts on which all roles are measured; ablations run on some of them
N_SHOWN = 4  # heads per role in the dot plot


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    n_prompts: int = 256
    """Prompts of each kind; half of them select heads, the other half tests them."""
    n_permutations: int = 5000
    """Sign flips for each p-value."""
    n_resamples: int = 1999
    """Bootstrap resamples for each interval."""


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Measures all heads and says what that means for claims 61 to 63 and 103 to 106.

    Args:
        model: any HookedGPT.
        config: the options.
        progress: called with what is being done, how much of it is done, and how much there is.
    """
    from studies import _head_roles_causal

    config = _sized(config)
    prompt_sets = _prompt_sets(model, config)
    tables, facts = _measure(model, prompt_sets, config, progress)
    tables |= _head_roles_causal.tables(
        model,
        _prompt_sets(model, replace(config, n_prompts=min(N_CAUSAL, config.n_prompts))),
        _prompts.with_random_weights(model, config.seed),
        _head_roles_causal.Sizes(
            min(N_CAUSAL, config.n_prompts),
            N_PERMUTATIONS,  # fewer cannot reach q < 0.05 in so large a family
            config.n_resamples,
            config.batch_size,
            config.seed,
        ),
        progress,
    )
    figures = (*_draw(tables, facts), *_head_roles_causal.draw(tables))
    findings = _conclude(tables, _head_roles_causal)
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=_headline(tables),
        tables=tables,
        figures=figures,
        findings=findings,
        provenance=provenance(NAME, model, config, **facts),
    )


def _sized(config: Config) -> Config:
    """`quick` and `limit` applied."""
    n_prompts = 64 if config.quick else config.n_prompts
    return replace(
        config,
        n_prompts=n_prompts if config.limit is None else min(n_prompts, config.limit),
        n_permutations=1000 if config.quick else config.n_permutations,
        n_resamples=499 if config.quick else config.n_resamples,
    )


def _prompt_sets(model: "HookedGPT", config: Config) -> list["PromptSet"]:
    """Random tokens, and the model's own kind of text where it is known; that one decides."""
    random = _prompts.random_prompts(model, config.n_prompts, config.seed)
    text = _prompts.text_prompts(model, config.n_prompts, config.seed)
    return [random] if text is None else [random, text]


# ---------------------------------------------------------------------------------- measure


def _measure(
    model: "HookedGPT", prompt_sets: list["PromptSet"], config: Config, progress: Any
) -> tuple[dict[str, Table], dict[str, Any]]:
    """All tables, and the facts for the provenance."""
    random_init = _prompts.with_random_weights(model, config.seed)
    options = {
        "batch_size": config.batch_size,
        "n_permutations": config.n_permutations,
        "n_resamples": config.n_resamples,
        "seed": config.seed,
    }
    heads = measures.head_role_scores(model, prompt_sets, **options, progress=progress)
    few = _prompt_sets(model, replace(config, n_prompts=min(N_RANDOM_INIT, config.n_prompts)))
    of_random = measures.head_role_scores(random_init, few, **options, progress=None)
    plain = _prompts.same_length(prompt_sets[-1], config.seed)
    tokens, texts = _prompts.lecture_tokens(model, plain[0])
    tables = (
        _role_tables(heads, of_random)
        | _divergence_tables(model, random_init, plain, config)
        | _use_tables(model, tokens, texts)
        | _sum_tables(model, plain, config)
    )
    facts = {
        "prompts": [f"{prompts.name}: {prompts.description}" for prompts in prompt_sets],
        "prompts_sha256": _prompts.fingerprint(*prompt_sets),
        "smallest_effect_of_interest": f"{measures.MIN_EFFECT} (attention probability), "
        f"{MIN_DIVERGENCE} nats (divergence)",
        "correction": f"Benjamini-Hochberg over {len(heads)} tests: heads × roles × prompts",
    }
    return tables, facts


def _role_tables(heads: "pd.DataFrame", of_random: "pd.DataFrame") -> dict[str, Table]:
    import pandas as pd

    order = heads["role"].map(measures.ROLES.index)
    heads = heads.assign(name=_names(heads), order=order).sort_values(
        ["decisive", "order", "contrast"], ascending=[False, True, False], kind="stable"
    )
    decisive = heads[heads["decisive"]]
    strongest = decisive.groupby("role", sort=False).head(N_SHOWN)
    held = measures.confirmed_roles(heads)
    overview = {
        "n_heads": len(heads[["layer", "head"]].drop_duplicates()),
        "n_with_role": len(held[["layer", "head"]].drop_duplicates()),
        "n_with_role_random_init": len(
            measures.confirmed_roles(of_random)[["layer", "head"]].drop_duplicates()
        ),
        "n_tests": len(heads),
        "n_significant": int((heads["q"] < 0.05).sum()),
        "n_confirmed": int(heads["confirmed"].sum()),
        "n_prompts": int(decisive["n"].max()),
        "largest_random_init": of_random["contrast"].max(),
    }
    columns = [c for c in heads.columns if c not in ("name", "decisive", "order")]
    columns.insert(columns.index("layer"), "name")
    tables = {
        "overview": Table(pd.DataFrame([overview]), "Heads, tests and what came of them, in all"),
        "roles": Table(
            measures.role_summary(heads, of_random),
            "One row per role: heads that hold it, and its best head (probabilities)",
        ),
        "heads": Table(
            decisive[columns].reset_index(drop=True),
            "One row per head and role, on the prompts that decide (probabilities)",
        ),
        "strongest": Table(
            strongest[columns].reset_index(drop=True),
            f"The {N_SHOWN} heads with the largest contrast of each role (probabilities)",
        ),
        "heads_all_prompts": Table(
            heads[columns].reset_index(drop=True), "The same on all kinds of prompts", in_page=False
        ),
        "random_init": Table(
            of_random, "The same for the model with random weights", in_page=False
        ),
    }
    if heads["prompts"].nunique() > 1:
        wide = heads.pivot(index=["role", "layer", "head"], columns="prompts", values="contrast")
        # Random tokens first; a role without targets in one kind of prompts cannot be compared.
        wide = wide[sorted(wide.columns, key=lambda kind: kind != "random tokens")].dropna()
        wide = wide.sort_index(
            level="role", key=lambda r: r.map(measures.ROLES.index), kind="stable"
        )
        tables["by_prompts"] = Table(
            wide.reset_index().rename_axis(columns=None),
            "Contrast of each head and role, by kind of prompts (probabilities)",
        )
        tables["role_shift"] = _role_shift(wide)
    return tables


def _names(heads: "pd.DataFrame") -> list[str]:
    return [plots.head_label(*at) for at in zip(heads["layer"], heads["head"], strict=True)]


def _role_shift(wide: "pd.DataFrame") -> Table:
    """Where random tokens and text disagree most."""
    import pandas as pd

    on_random, on_text = wide.iloc[:, 0], wide.iloc[:, 1]
    role, layer, head = (on_random - on_text).abs().idxmax()
    row = {
        "role": role.replace("_", " "),
        "name": plots.head_label(layer, head),
        "contrast_random_tokens": on_random[role, layer, head],
        "contrast_text": on_text[role, layer, head],
        "text": on_text.name,
        "rank_correlation": _rank_correlation(on_random, on_text),
        "n": len(wide),
    }
    return Table(pd.DataFrame([row]), "The head whose contrast depends most on the prompts")


def _rank_correlation(a: "pd.Series", b: "pd.Series") -> float:
    return a.rank().corr(b.rank())


def _divergence_tables(
    model: "HookedGPT", random_init: "HookedGPT", tokens: Any, config: Config
) -> dict[str, Table]:
    given, random = (measures.pattern_divergence(one, tokens) for one in (model, random_init))
    row = measures.paired_contrast(
        given.units[["two_heads_nats"]].to_numpy(),
        random.units[["two_heads_nats"]].to_numpy(),
        config.n_permutations,
        config.n_resamples,
        config.seed,
    ).rename(columns={"score": "two_heads_nats", "control": "two_heads_random_init_nats"})
    row.insert(2, "one_head_nats", given.units["one_head_nats"].mean())
    pairs = given.pairs
    other = pairs[["layer_a", "head_a"]].to_numpy() != pairs[["layer_b", "head_b"]].to_numpy()
    nearest = pairs[other.any(axis=1)].sort_values("js_nats", kind="stable").iloc[:1]
    row["most_alike"] = " and ".join(
        plots.head_label(nearest[f"layer_{side}"].iloc[0], nearest[f"head_{side}"].iloc[0])
        for side in "ab"
        if len(nearest)
    )
    row["most_alike_nats"] = nearest["js_nats"].min() if len(nearest) else 0.0
    return {
        "divergence": Table(
            row,
            "Mean divergence of two heads on one prompt, the same with random weights, and of one "
            "head between two prompts (nats); n counts pairs of prompts",
        ),
        "divergence_pairs": Table(
            pairs,
            "Divergence of each pair of heads (nats); of a head with itself, between two prompts",
            in_page=False,
        ),
    }


def _use_tables(model: "HookedGPT", tokens: Any, texts: list[str]) -> dict[str, Table]:
    import pandas as pd

    use = measures.weight_and_use(model, tokens)
    heads = use.heads.sort_values("moved", ascending=False, kind="stable", ignore_index=True)
    heads.insert(0, "name", _names(heads))
    totals = heads[["first_token_weight", "first_token_use", "moved"]].mean().to_frame().T
    totals.insert(0, "n_heads", len(heads))
    totals["prompt"] = " ".join(plots.visible_token(text) for text in texts)
    totals["n_tokens"] = len(texts)
    return {
        "use": Table(
            heads,
            "One row per head, on this one prompt: attention on the first token, its share of what "
            "is written, and the share of attention that moves (means over queries)",
        ),
        "use_mean": Table(totals, "The same, averaged over all heads"),
        "prompt_tokens": Table(
            pd.DataFrame({"position": range(len(texts)), "token": pd.Series(texts, dtype=object)}),
            "The prompt",
        ),
        "pattern_cells": Table(
            use.cells.reset_index(drop=True),
            "Every cell of the picture: attention weight and share of what is written",
            in_page=False,
        ),
    }


def _sum_tables(model: "HookedGPT", tokens: Any, config: Config) -> dict[str, Table]:
    import pandas as pd
    import torch

    sums = measures.pattern_sums(model, tokens[:64], config.batch_size)
    total = {
        "row_deviation": sums["row_deviation"].max(),
        "column_deviation": sums["column_deviation"].mean(),
        "smallest": sums["smallest"].min(),
        "largest": sums["largest"].max(),
        "n_rows": sums["n_rows"].sum(),
        "n_layers": len(sums),
        "n_prompts": len(tokens[:64]),
        # Rounding of one weight, times a few; in float32 the 1e-6 of the claim.
        "tolerance": max(1e-6, 8 * torch.finfo(model.W_E.dtype).eps),
    }
    return {
        "sums": Table(sums, "Sums of attention weights, one row per layer"),
        "sums_total": Table(pd.DataFrame([total]), "The same over all layers"),
    }


# ------------------------------------------------------------------------------------- draw


def _draw(tables: dict[str, Table], facts: dict[str, Any]) -> tuple[FigurePart, ...]:
    parts = [_atlas_of_roles(tables), _scores_and_controls(tables)]
    if "by_prompts" in tables:
        parts.append(_kinds_of_prompts(tables))
    return (*parts, _heads_differ(tables), _weight_and_use(tables), _row_sums(tables))


def _atlas_of_roles(tables: dict[str, Table]) -> FigurePart:
    roles = tables["roles"].frame
    useless = bool((roles["n_confirmed"] <= roles["n_confirmed_random_init"]).all())
    every = range(len(roles))
    listed = "; ".join(
        f"{{role{i}}} {{held{i}}} of {{heads{i}}} (best {{best{i}}} with {{contrast{i}:.2f}})"
        for i in every
    )
    cells = {
        f"{short}{i}": Cell("roles", i, column)
        for i in every
        for short, column in (
            ("role", "role"),
            ("held", "n_confirmed"),
            ("heads", "n_heads"),
            ("best", "best"),
            ("contrast", "contrast"),
        )
    }
    return FigurePart(
        name="head_roles",
        question="Which heads hold which role?",
        picture=plots.role_heatmaps(tables["heads"].frame, measures.MIN_EFFECT),
        alt=Sentence(
            "One grid per role, layers down and heads across, coloured by contrast. Heads that "
            f"hold it: {listed}.",
            **cells,
        ),
        answer=Sentence(
            "{n_with_role} of {n_heads} heads hold a role, against {random} in the same model with "
            f"random weights: {listed}.",
            n_with_role=Cell("overview", 0, "n_with_role"),
            n_heads=Cell("overview", 0, "n_heads"),
            random=Cell("overview", 0, "n_with_role_random_init"),
            **cells,
        ),
        tables=("heads", "roles", "overview"),
        how_to_read="Each square is a head; its number is the attention on the role's target "
        "minus the attention on the matched control, as a probability. A framed head passed all "
        "of: "
        f"contrast at least {measures.MIN_EFFECT} on the prompts that select, a 95 % interval "
        f"above {measures.MIN_EFFECT} and q below {measures.ALPHA} on the prompts that test.",
        scene="the grids of attention patterns in chapter 6",
        change_our_mind=Sentence(
            "A model with random weights that gets roles as well: it gets {random}, and its "
            "largest contrast is {largest:.3f}. Of {n_tests} tests here, {n_significant} are "
            "significant after correction but only {n_confirmed} are also large enough. "
            "Attention is not yet a function: only an intervention tells whether a role matters.",
            random=Cell("overview", 0, "n_with_role_random_init"),
            largest=Cell("overview", 0, "largest_random_init"),
            n_tests=Cell("overview", 0, "n_tests"),
            n_significant=Cell("overview", 0, "n_significant"),
            n_confirmed=Cell("overview", 0, "n_confirmed"),
        ),
        facts={"null": "matched control on the same positions; sign flips over prompts"},
        uninformative="A model with random weights has at least as many heads with these roles."
        if useless
        else "",
    )


def _scores_and_controls(tables: dict[str, Table]) -> FigurePart:
    roles = tables["roles"].frame
    top = int(roles["contrast"].argmax())
    cells = {
        name: Cell("roles", top, name)
        for name in (
            "role",
            "best",
            "score",
            "control",
            "contrast",
            "ci_low",
            "ci_high",
            "contrast_discovery",
            "q",
            "n",
        )
    }
    answer = {name: cells[name] for name in cells if name != "contrast_discovery"}
    return FigurePart(
        name="score_and_control",
        question="How far is each score above its control?",
        picture=plots.score_and_control(tables["strongest"].frame, measures.MIN_EFFECT),
        alt=Sentence(
            "For the strongest heads of each role, a line from the control to the score. The "
            "longest is that of {best} as {role} head, from {control:.2f} to {score:.2f}.",
            **{name: cells[name] for name in ("best", "role", "control", "score")},
        ),
        answer=Sentence(
            "The clearest case is {best} as {role} head: {score:.2f} on the target against "
            "{control:.2f} on the control, a contrast of {contrast:.2f} (95 % interval "
            "{ci_low:.2f} to {ci_high:.2f}, q {q:p}, {n} units).",
            **answer,
        ),
        tables=("strongest", "roles"),
        how_to_read="The open circle is the control, the marker the score, and the thick band the "
        "95 % interval of their difference, drawn from the control. The band has to lie to the "
        "right of the small vertical line; a score alone says nothing.",
        change_our_mind=Sentence(
            "A contrast that shrinks on prompts that did not select the head: on the selecting "
            "half it was {contrast_discovery:.2f}, on the testing half it is {contrast:.2f}.",
            contrast_discovery=cells["contrast_discovery"],
            contrast=cells["contrast"],
        ),
        facts={"null": "the control of the same head on the same positions (open circles)"},
    )


def _kinds_of_prompts(tables: dict[str, Table]) -> FigurePart:
    shift = {
        name: Cell("role_shift", 0, name)
        for name in ("role", "name", "contrast_random_tokens", "contrast_text", "text")
    }
    correlation = Cell("role_shift", 0, "rank_correlation")
    return FigurePart(
        name="kinds_of_prompts",
        question="Does a head keep its role when the prompts change?",
        picture=plots.role_by_prompts(tables["by_prompts"].frame, measures.MIN_EFFECT),
        alt=Sentence(
            "Scatter of contrasts, random tokens across and {text} up, one point per head and "
            "role. Farthest from the diagonal: {name} as {role} head, {contrast_random_tokens:.2f} "
            "and {contrast_text:.2f}.",
            **shift,
        ),
        answer=Sentence(
            "{name} changes most: as {role} head its contrast is {contrast_random_tokens:.2f} on "
            "random tokens and {contrast_text:.2f} on {text}. Over all heads and roles the rank "
            "correlation between the two is {correlation:.2f}, where 1 would mean the same order.",
            **shift,
            correlation=correlation,
        ),
        tables=("by_prompts", "role_shift"),
        how_to_read="On the dashed line a head does the same on both kinds of prompts. Points "
        "below it have a role on random tokens only, points above it only on text. Roles are "
        "decided on text, since that is what the model was trained for.",
        change_our_mind=Sentence(
            "A pattern that only a choice of points shows: all {n} heads and roles are drawn. In "
            "text, induction and duplicate token are looked for at the rarest token that repeats; "
            "where such repeats tell nothing, a head may use them on random tokens only.",
            n=Cell("role_shift", 0, "n"),
        ),
        facts={"null": "the dashed line: no difference between kinds of prompts"},
    )


def _heads_differ(tables: dict[str, Table]) -> FigurePart:
    row = tables["divergence"].frame
    cells = {name: Cell("divergence", 0, name) for name in row.columns}
    two, one = cells["two_heads_nats"], cells["one_head_nats"]
    return FigurePart(
        name="heads_differ",
        question="Do different heads learn different patterns?",
        picture=plots.divergence_matrix(tables["divergence_pairs"].frame),
        alt=Sentence(
            "Matrix of divergences, heads of all layers on both sides; off the diagonal the mean "
            "is {two:.2f} nats, on the diagonal, where a head meets itself on another prompt, "
            "{one:.2f} nats.",
            two=two,
            one=one,
        ),
        answer=Sentence(
            "Two heads differ by {two:.2f} nats on the same prompt, with random weights by "
            "{random:.2f}: {contrast:.2f} nats more (95 % interval {ci_low:.2f} to {ci_high:.2f}, "
            "p {p:p}, {n} pairs of prompts). Most alike are {most_alike}, {most_alike_nats:.2f}.",
            two=two,
            random=cells["two_heads_random_init_nats"],
            **{
                name: cells[name]
                for name in cells
                if name in ("contrast", "ci_low", "ci_high", "p", "n")
                or name.startswith("most_alike")
            },
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
            random=cells["two_heads_random_init_nats"],
            one=one,
        ),
        facts={"null": "two heads of the same shape with random weights, on the same prompts"},
        uninformative=""
        if row["ci_low"].iloc[0] > MIN_DIVERGENCE
        else "Heads with random weights differ as much.",
    )


def _weight_and_use(tables: dict[str, Table]) -> FigurePart:
    mean = {
        name: Cell("use_mean", 0, name)
        for name in ("moved", "first_token_weight", "first_token_use", "n_heads", "prompt")
    }
    most = {"name": Cell("use", 0, "name"), "most": Cell("use", 0, "moved")}
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
            **{name: mean[name] for name in mean if name != "moved"},
        ),
        answer=Sentence(
            "Every one of the {n_heads} heads can be drawn. On “{prompt}”, {moved:.2f} of "
            "the attention moves elsewhere when it is weighted by what is written from there "
            "(0 would be: weight is use); most in {name}, {most:.2f}. The first token goes from "
            "{first_token_weight:.2f} to {first_token_use:.2f}.",
            **mean,
            **most,
        ),
        tables=("use", "use_mean", "prompt_tokens", "pattern_cells"),
        how_to_read="Each tile is a head: queries down, keys across (the lectures draw it the "
        "other way round). Left, what a head looks at; right, how much it takes from there. A tile "
        "that is bright on the left and dark on the right looks at a token from which it takes "
        "little.",
        scene="the attention-grid scenes of chapter 6",
        change_our_mind=Sentence(
            "One prompt shows what can happen, not what is usual; and size is not effect either. "
            "{moved:.2f} is the mean over {n_heads} heads on this prompt alone.",
            moved=mean["moved"],
            n_heads=mean["n_heads"],
        ),
        facts={"null": "0: attention weight and share of what is written are the same"},
    )


def _row_sums(tables: dict[str, Table]) -> FigurePart:
    total = {
        name: Cell("sums_total", 0, name)
        for name in ("row_deviation", "column_deviation", "tolerance", "n_rows")
    }
    return FigurePart(
        name="row_sums",
        question="Are the rows of a pattern probabilities?",
        picture=plots.row_sums(
            tables["sums"].frame, float(tables["sums_total"].frame["tolerance"].iloc[0])
        ),
        alt=Sentence(
            "For each layer two points on a logarithmic axis: rows are within "
            "{row_deviation:.1e} of summing to 1, columns are {column_deviation:.2f} away.",
            row_deviation=total["row_deviation"],
            column_deviation=total["column_deviation"],
        ),
        answer=Sentence(
            "All {n_rows} rows, one per head and query, sum to 1 within {row_deviation:.1e} "
            "(rounding may do {tolerance:.0e}); columns, one per key, are {column_deviation:.2f} "
            "away from 1 on average.",
            **total,
        ),
        tables=("sums", "sums_total"),
        how_to_read="A row belongs to a query and holds its attention on every key. Here queries "
        "are rows; in the lectures' drawing they are columns, and there it is the columns that sum "
        "to 1.",
        scene="the softmax over columns in chapter 6",
        change_our_mind=Sentence(
            "A softmax over the wrong axis would swap the two: columns at 1, rows away from it. "
            "The columns' distance of {column_deviation:.2f} is that control.",
            column_deviation=total["column_deviation"],
        ),
        facts={"null": "sums over the other axis"},
    )


# --------------------------------------------------------------------------------- conclude


def _headline(tables: dict[str, Table]) -> Sentence:
    overview = tables["causal_overview"].frame.iloc[0]
    cells = {name: Cell("causal_overview", 0, name) for name in overview.index}
    if not overview["n_labelled"]:
        return Sentence(
            "None of the {n_heads} heads holds one of the {n_roles} roles measured.",
            n_heads=cells["n_heads"],
            n_roles=cells["n_roles"],
        )
    return Sentence(
        "{n_labelled} of {n_heads} heads hold a role that chance does not explain; ablations "
        "confirm {n_labels_confirmed} of {n_labels} labels, and {hidden} heads matter without a "
        "role that is known.",
        **{
            name: cells[name]
            for name in ("n_labelled", "n_heads", "n_labels_confirmed", "n_labels", "hidden")
        },
    )


def _conclude(tables: dict[str, Table], causal: Any) -> tuple[Finding, ...]:
    return (
        *_on_softmax(tables),
        causal.on_roles(tables),
        _on_different_heads(tables),
        _on_pictures(tables),
        causal.on_pruning(tables),
    )


def _on_softmax(tables: dict[str, Table]) -> tuple[Finding, ...]:
    total = tables["sums_total"].frame.iloc[0]
    cells = {name: Cell("sums_total", 0, name) for name in total.index}

    def said(template: str, *names: str) -> str:
        return Sentence(template, **{name: cells[name] for name in names}).text(tables)

    good = total["row_deviation"] <= total["tolerance"]
    columns_too = total["column_deviation"] <= total["tolerance"]
    return (
        Finding(
            61,
            "holds" if good and total["smallest"] >= 0 and total["largest"] <= 1.001 else "fails",
            said(
                "Weights lie between {smallest:.0f} and {largest:.2f}, and all {n_rows} rows sum "
                "to 1 within {row_deviation:.1e}.",
                "smallest",
                "largest",
                "n_rows",
                "row_deviation",
            ),
            value=total["row_deviation"],
            unit="largest |row sum − 1|",
            null=total["column_deviation"],
            null_name="mean |column sum − 1|",
            n=total["n_rows"],
            figure="row_sums",
        ),
        Finding(
            62,
            "holds" if columns_too else "imprecise",
            said(
                "It is the rows, one per query, that sum to 1; columns are {column_deviation:.2f} "
                "away. Columns are queries only in the lectures' drawing.",
                "column_deviation",
            ),
            value=total["column_deviation"],
            unit="mean |column sum − 1|",
            null=0.0,
            null_name="softmax over columns",
            n=total["n_rows"],
            figure="row_sums",
        ),
        Finding(
            63,
            "fails" if total["smallest"] >= 0 else "holds",
            said(
                "Nothing in a pattern is negative: the smallest weight is {smallest:.1g}. Only "
                "scores before the softmax can be.",
                "smallest",
            ),
            value=total["smallest"],
            unit="smallest weight",
            null=0.0,
            null_name="below 0 would be negative",
            n=total["n_rows"],
            figure="row_sums",
        ),
    )


def _on_different_heads(tables: dict[str, Table]) -> Finding:
    row = tables["divergence"].frame.iloc[0]
    if row["ci_low"] > MIN_DIVERGENCE:
        verdict = "holds"
    else:
        verdict = "fails" if row["ci_high"] < MIN_DIVERGENCE else "undecided"
    return Finding(
        104,
        verdict,
        Sentence(
            "Two heads differ by {two:.2f} nats on one prompt, by {random:.2f} with random "
            "weights; one head differs from itself by {one:.2f} nats between two prompts.",
            two=Cell("divergence", 0, "two_heads_nats"),
            random=Cell("divergence", 0, "two_heads_random_init_nats"),
            one=Cell("divergence", 0, "one_head_nats"),
        ).text(tables),
        value=row["contrast"],
        unit="nats between heads, above random weights",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=row["two_heads_random_init_nats"],
        null_name="nats with random weights",
        p=row["p"],
        n=row["n"],
        figure="heads_differ",
    )


def _on_pictures(tables: dict[str, Table]) -> Finding:
    mean = tables["use_mean"].frame.iloc[0]
    return Finding(
        105,
        "holds",
        Sentence(
            "All {n} heads are drawn; {moved:.2f} of the attention moves when it is weighted by "
            "what is written, so the picture shows where heads look rather than what they use.",
            n=Cell("use_mean", 0, "n_heads"),
            moved=Cell("use_mean", 0, "moved"),
        ).text(tables),
        value=mean["moved"],
        unit="share of attention that moves",
        null=0.0,
        null_name="weight is use",
        n=mean["n_heads"],
        figure="weight_and_use",
    )


if __name__ == "__main__":
    import sys

    from interp.cli import main

    raise SystemExit(main(["run", NAME, *sys.argv[1:]]))
