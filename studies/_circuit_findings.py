"""Findings of the study of QK and OV circuits, from its tables."""

from interp.reporting import Finding, Sentence
from studies._circuit_checks import cells_of
from studies._circuit_figures import Tables


def conclude(tables: Tables) -> tuple[Finding, ...]:
    """What the numbers say of claims 82, 83, 88 and 89."""
    return _on_values(tables), _on_width(tables), _on_dimensions(tables), _on_rank(tables)


def _on_values(tables: Tables) -> Finding:
    row = tables["value"].frame.iloc[0]
    plain = row["plain"] <= row["tolerance"]
    full = max(row["full"], row["passed"]) <= row["tolerance"]
    return Finding(
        82,
        "holds" if plain else "imprecise" if full else "fails",
        Sentence(
            "W_V x alone misses the model's values by {plain:.2f} of the largest; with the norm "
            "before and the bias after it they are the same within {full:.1e}. The bias reaches "
            "the output untouched (within {passed:.1e}; {n} windows).",
            **cells_of("value", "plain", "full", "passed", "n"),
        ).text(tables),
        value=row["plain"],
        unit="largest difference over the largest value",
        null=row["full"],
        null_name="with norm and bias",
        n=row["n"],
        figure="what_a_value_is",
    )


def _on_width(tables: Tables) -> Finding:
    row = tables["value"].frame.iloc[0]
    return Finding(
        83,
        "holds" if row["d_head"] == row["share"] else "imprecise",
        Sentence(
            "Values have {d_head} numbers, and d_model / heads is {d_model} / {n_heads} = "
            "{share:g}.",
            **cells_of("value", "d_head", "d_model", "n_heads", "share"),
        ).text(tables),
        value=row["d_head"],
        unit="numbers of a value",
        null=row["share"],
        null_name="d_model / heads",
        n=1,
        figure="what_a_value_is",
    )


def _on_dimensions(tables: Tables) -> Finding:
    row = tables["value"].frame.iloc[0]
    same = row["gauge"] <= row["tolerance"]
    return Finding(
        88,
        "holds" if same and row["moved"] > 0.1 else "fails",
        Sentence(
            "Single dimensions of a value mean nothing by themselves: another basis in every head "
            "changes W_V by {moved:.2f} of its length and the logits by {gauge:.1e} ({n} windows).",
            **cells_of("value", "moved", "gauge", "n"),
        ).text(tables),
        value=row["moved"],
        unit="change of W_V over its length, at the same logits",
        null=row["gauge"],
        null_name="change of the logits",
        n=row["n"],
        figure="what_a_value_is",
    )


def _on_rank(tables: Tables) -> Finding:
    row = tables["rank_total"].frame.iloc[0]
    return Finding(
        89,
        "holds" if row["largest_rank"] <= row["bound"] < row["d_model"] else "fails",
        Sentence(
            "W_V W_O has rank {largest_rank} of {d_model} at most, as {bound} dimensions in "
            "between allow; its effective rank is {effective_rank:.1f} (shuffled weights "
            "{shuffled:.1f}; {n} heads).",
            **cells_of(
                "rank_total",
                "largest_rank",
                "d_model",
                "bound",
                "effective_rank",
                "shuffled",
                "n",
            ),
        ).text(tables),
        value=row["effective_rank"],
        unit="effective rank of W_V W_O",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=row["shuffled"],
        null_name="each head's numbers in random places",
        n=row["n"],
        figure="directions_of_a_head",
    )
