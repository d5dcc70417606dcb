"""What the study head_roles says of the lectures' claims, from its tables alone."""

from interp import measures
from interp.reporting import Finding, Sentence, Table
from studies._head_roles_causal import MIN_NATS
from studies._head_roles_figures import cells_of
from studies.head_roles import MIN_DIVERGENCE

Tables = dict[str, Table]


def headline(tables: Tables) -> Sentence:
    """The study's answer in a sentence."""
    if not tables["overview"].frame["n_labelled"].iloc[0]:
        return Sentence(
            "None of the {n_heads} heads holds one of the {n_roles} roles measured.",
            **cells_of("overview", "n_heads", "n_roles"),
        )
    return Sentence(
        "{n_labelled} of {n_heads} heads hold a role that chance does not explain; ablations "
        "confirm {n_labels_confirmed} of {n_labels} labels, and {hidden} heads matter without a "
        "role that is known.",
        **cells_of("overview", "n_labelled", "n_heads", "n_labels_confirmed", "n_labels", "hidden"),
    )


def conclude(tables: Tables) -> tuple[Finding, ...]:
    """Claims 61 to 63 and 103 to 106."""
    return (
        *on_softmax(tables),
        on_roles(tables),
        _on_different_heads(tables),
        _on_pictures(tables),
        on_pruning(tables),
    )


def on_softmax(tables: Tables) -> tuple[Finding, ...]:
    """Claims 61 to 63: rows, columns, and nothing below 0."""
    total = tables["sums_total"].frame.iloc[0]

    def said(template: str, *names: str) -> str:
        return Sentence(template, **cells_of("sums_total", *names)).text(tables)

    good = total["row_deviation"] <= total["tolerance"]
    columns_too = total["column_deviation"] <= total["tolerance"]
    columns = "mean |column sum − 1|"
    shared = {"n": total["n_rows"], "figure": "weight_and_use"}
    return (
        Finding(
            61,
            "holds" if good and total["smallest"] >= 0 and total["largest"] <= 1.001 else "fails",
            said(
                "Weights lie between {smallest:.0f} and {largest:.2f}, and all {n_rows} rows sum "
                "to 1 within {row_deviation:.1e}.",
                *("smallest", "largest", "n_rows", "row_deviation"),
            ),
            value=total["row_deviation"],
            unit="largest |row sum − 1|",
            null=total["column_deviation"],
            null_name=columns,
            **shared,
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
            unit=columns,
            null=0.0,
            null_name="softmax over columns",
            **shared,
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
            **shared,
        ),
    )


def on_roles(tables: Tables) -> Finding:
    """Claim 103: heads have roles."""
    row = tables["overview"].frame.iloc[0]
    more = row["n_labelled"] > row["n_labelled_random_init"]
    return Finding(
        103,
        "imprecise" if more else "undecided",
        Sentence(
            "{n_labelled} of {n_heads} heads hold one of {n_roles} roles ({held_roles}), "
            "{n_labelled_random_init} with random weights; ablations confirm {n_labels_confirmed} "
            "of {n_labels} labels. Synonyms and senses, which the lectures name, are no role that "
            "is known ({n_units} prompts test each role).",
            **cells_of(
                "overview",
                *("n_labelled", "n_heads", "n_roles", "held_roles", "n_labelled_random_init"),
                *("n_labels_confirmed", "n_labels", "n_units"),
            ),
        ).text(tables),
        value=row["n_labelled"],
        unit="heads with a role",
        null=row["n_labelled_random_init"],
        null_name="same shape, random weights",
        n=row["n_units"],
        figure="head_roles",
    )


def _on_different_heads(tables: Tables) -> Finding:
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
            **cells_of(
                "divergence",
                two="two_heads_nats",
                random="two_heads_random_init_nats",
                one="one_head_nats",
            ),
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


def _on_pictures(tables: Tables) -> Finding:
    mean = tables["use_mean"].frame.iloc[0]
    return Finding(
        105,
        "holds",
        Sentence(
            "All {n_heads} heads are drawn; {moved:.2f} of the attention moves when it is weighted "
            "by what is written, so the picture shows where heads look rather than what they use.",
            **cells_of("use_mean", "n_heads", "moved"),
        ).text(tables),
        value=mean["moved"],
        unit="share of attention that moves",
        null=0.0,
        null_name="weight is use",
        n=mean["n_heads"],
        figure="weight_and_use",
    )


def on_pruning(tables: Tables) -> Finding:
    """Claim 106: heads can be pruned."""
    if "pruning" not in tables:
        return Finding(106, "not applicable", "There are no ordinary prompts to prune heads on.")
    row = tables["pruning"].frame.iloc[0]
    cheap = [row[f"high_{name}"] <= MIN_NATS for name in measures.ABLATIONS]
    better = [row[f"high_{name}"] < row[f"random_{name}"] for name in measures.ABLATIONS]
    verdict = "holds" if sum(cheap) >= 2 else "imprecise" if sum(better) >= 2 else "fails"
    if max(abs(row[f"random_{name}"]) for name in measures.ABLATIONS) <= MIN_NATS:
        verdict = "undecided"  # where no set of heads costs anything, a chosen one proves nothing
    return Finding(
        106,
        verdict,
        Sentence(
            "Pruning the {n_pruned} of {n_heads} heads of least effect costs {gain_zero:.3f} "
            "(zero), {gain_mean:.3f} (mean) and {gain_resample:.3f} nats (resample), random sets "
            "{random_zero:.2f}, {random_mean:.2f} and {random_resample:.2f}; alone, {small_mean} "
            f"heads change the prediction by at most {MIN_NATS} nats.",
            **cells_of(
                "pruning",
                *("n_pruned", "n_heads", "gain_zero", "gain_mean", "gain_resample"),
                *("random_zero", "random_mean", "random_resample", "small_mean"),
            ),
        ).text(tables),
        value=row["gain_mean"],
        unit="nats per token, mean ablation",
        ci_low=row["low_mean"],
        ci_high=row["high_mean"],
        null=row["random_mean"],
        null_name="random sets of equal size",
        n=row["n_prompts"],
        figure="pruning",
    )
