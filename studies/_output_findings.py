"""Findings of the study of the output matrix, from its tables."""

from interp.reporting import Finding, Sentence
from studies._circuit_checks import cells_of
from studies._output_figures import Tables


def conclude(tables: Tables) -> tuple[Finding, ...]:
    """What the numbers say of claims 100 and 107 to 111."""
    return (
        _on_sum(tables),
        _on_fill(tables),
        _on_shape(tables),
        _on_mixing(tables),
        _on_rows(tables),
        _on_rank(tables),
    )


def _on_sum(tables: Tables) -> Finding:
    row = tables["identity"].frame.iloc[0]
    return Finding(
        100,
        "holds" if max(row["sum"], row["output"]) <= row["tolerance"] else "fails",
        Sentence(
            "Concatenating {n_heads} heads and applying W_O gives the sum of the heads' own "
            "outputs, z W_O, within {sum:.1e} in float64 ({n} windows).",
            **cells_of("identity", "n_heads", "sum", "n"),
        ).text(tables),
        value=row["sum"],
        unit="largest difference over the largest value",
        null=0,
        null_name="the two forms are the same",
        n=row["n"],
        figure="concatenate_or_add",
    )


def _on_fill(tables: Tables) -> Finding:
    row = tables["identity"].frame.iloc[0]
    return Finding(
        107,
        "holds" if row["fits"] == row["n_dtypes"] else "imprecise",
        Sentence(
            "−1e9 fits {fits} of {n_dtypes} precisions; float16 ends at {half_lowest:,.0f} and "
            "PyTorch says {half_says}. Where all keys are masked each gets {all_masked_weight:.2f} "
            "instead of an error.",
            **cells_of(
                "identity", "fits", "n_dtypes", "half_lowest", "half_says", "all_masked_weight"
            ),
        ).text(tables),
        value=row["fits"] / row["n_dtypes"],
        unit="share of precisions that −1e9 fits",
        null=1.0,
        null_name="−∞, which fits all",
        n=row["n_dtypes"],
        figure="concatenate_or_add",
    )


def _on_shape(tables: Tables) -> Finding:
    row = tables["identity"].frame.iloc[0]
    return Finding(
        108,
        "holds",
        Sentence(
            "W_O takes {n_heads} × {d_head} = {rows} numbers to {columns}.",
            **cells_of("identity", "n_heads", "d_head", "rows", "columns"),
        ).text(tables),
        value=row["rows"],
        unit="rows of W_O",
        null=row["n_heads"] * row["d_head"],
        null_name="heads × d_head",
        n=1,
        figure="concatenate_or_add",
    )


def _on_mixing(tables: Tables) -> Finding:
    groups = tables["overlap"].frame
    last = int((groups["weights"] == "model").sum()) - 1
    row = groups.iloc[last]
    return Finding(
        109,
        "imprecise",
        Sentence(
            "It adds: each head writes to directions of its own, and heads of {pairs} share "
            "{overlap:.3f} of them (95 % interval {ci_low:.3f} to {ci_high:.3f}; random subspaces "
            "{null:.3f}; {n} pairs).",
            **cells_of("overlap", "pairs", "overlap", "ci_low", "ci_high", "null", "n", row=last),
        ).text(tables),
        value=row["overlap"],
        unit="mean squared cosine of the principal angles",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=row["null"],
        null_name="random subspaces of the same dimension, k/d",
        n=row["n"],
        figure="shared_directions",
    )


def _on_rows(tables: Tables) -> Finding:
    row = tables["row"].frame.iloc[0]
    return Finding(
        110,
        "fails" if row["ci_high"] < 0.5 else "undecided",
        Sentence(
            "In another basis of the heads, with the same outputs, a row of W_O keeps "
            "{same_row:.2f} of its ten words (chance {null:.2f}), the largest direction of W_V W_O "
            "{same_direction:.2f} ({n} heads).",
            **cells_of("row", "same_row", "null", "same_direction", "n"),
        ).text(tables),
        value=row["same_row"],
        unit="share of a row's words that stay",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=row["null"],
        null_name="words drawn at random",
        n=row["n"],
        figure="rows_and_directions",
    )


def _on_rank(tables: Tables) -> Finding:
    row = tables["rank_total"].frame.iloc[0]
    fewer = row["activations_rank"] < row["full"]
    better = row["activations_high"] < row["random_delta"]
    return Finding(
        111,
        "holds" if fewer and better else "undecided" if not better else "fails",
        Sentence(
            "{activations_rank} of {full} directions of W_O keep the loss within {loss:g} nats if "
            "chosen by activations, {weights_rank} by weights, {per_head_rank} per head, "
            "{random_rank} at random; with {least}, the loss rises by {activations_delta:.3f} and "
            "{random_delta:.3f} nats ({n} windows).",
            **cells_of(
                "rank_total",
                "activations_rank",
                "full",
                "loss",
                "weights_rank",
                "per_head_rank",
                "random_rank",
                "least",
                "activations_delta",
                "random_delta",
                "n",
            ),
        ).text(tables),
        value=row["activations_delta"],
        unit="nats added with the fewest directions tried",
        ci_low=row["activations_low"],
        ci_high=row["activations_high"],
        null=row["random_delta"],
        null_name="random directions, as many",
        n=row["n"],
        figure="few_directions",
    )
