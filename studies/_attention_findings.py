"""Findings of the study of attention patterns, from its tables."""

from interp.reporting import Cell, Finding, Sentence
from studies._attention_figures import Tables, cells_of, overview_of
from studies.attention_pattern import MIN_SCORE, MIN_WORDS

NEARLY_ONE = 0.95  # rank correlation from which a weight may stand for its effect


def conclude(tables: Tables) -> tuple[Finding, ...]:
    """What the numbers say of claims 56 to 60, 64 and 65."""
    return (
        _on_queries(tables),
        _on_creature(tables),
        _on_asking(tables),
        _on_relevance(tables),
        _on_scale(tables),
        _on_input(tables),
        _on_use(tables),
    )


def _no_words(claim: int, what: str) -> Finding:
    return Finding(claim, "not applicable", f"The model has no words to measure {what} with.")


def _on_queries(tables: Tables) -> Finding:
    row = tables["formulas_total"].frame.iloc[0]
    full = row["query"] <= row["tolerance"]
    plain = row["query_plain"] <= row["tolerance"]
    return Finding(
        56,
        "holds" if plain else "imprecise" if full else "fails",
        Sentence(
            "W_Q x alone misses the model's queries by {query_plain:.2f} of their length; with the "
            "norm before it and the bias after it they are the same within {query:.1e} ({n} "
            "prompts).",
            **cells_of("formulas_total", "query_plain", "query", n="n_prompts"),
        ).text(tables),
        value=row["query_plain"],
        unit="‖W_Q x − q‖ / ‖q‖",
        null=row["query"],
        null_name="with norm and bias",
        n=row["n_prompts"],
        figure="parts_of_a_score",
    )


def _on_creature(tables: Tables) -> Finding:
    if "adjectives_overview" not in tables:
        return _no_words(57, "adjectives and nouns")
    row = overview_of(tables)
    alike = row["n_kinds_confirmed"] == row["n_kinds"]
    if row["confirmed"]:
        verdict = "holds" if alike else "imprecise"
    elif row["n_kinds_confirmed"]:
        verdict = "imprecise"
    else:
        verdict = "fails" if row["largest_ci_high"] < row["smallest_effect"] else "undecided"
    template = (
        "In {name} a noun gives {top_score:.2f} of its attention to the {top_kind} adjective and "
        "{least_score:.2f} to the {least_kind} adjective; {held} of {kinds} kinds of adjectives "
        "pass their control, {passing} of {heads} heads do for all kinds together ({n} sets of "
        "words)."
    )
    return Finding(
        57,
        verdict,
        Sentence(
            template,
            **cells_of(
                "adjectives_overview",
                "name",
                "top_score",
                "top_kind",
                "least_score",
                "least_kind",
                "n",
                held="n_kinds_confirmed",
                kinds="n_kinds",
                passing="n_confirmed",
                heads="n_heads",
            ),
        ).text(tables),
        value=row["contrast"],
        unit="attention per adjective, above control",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=row["control"],
        null_name="other words at the same distance",
        p=row["p"],
        q=row["q"],
        n=row["n"],
        figure="adjectives_and_nouns",
    )


def _on_asking(tables: Tables) -> Finding:
    if "classes" not in tables:
        return _no_words(58, "what a noun asks for")
    row = tables["classes"].frame.iloc[0]
    held = tables["classes_overview"].frame["n_confirmed"].iloc[0]
    verdict = "holds" if held else "fails" if row["ci_high"] < MIN_SCORE else "undecided"
    return Finding(
        58,
        verdict,
        Sentence(
            "By the weights alone, nouns in {name} score adjectives {contrast:.2f} above other "
            "words; {held} of {heads} heads prefer adjectives ({n} key words).",
            **cells_of("classes", "name", "contrast", "n"),
            **cells_of("classes_overview", held="n_confirmed", heads="n_heads"),
        ).text(tables),
        value=row["contrast"],
        unit="score, adjectives above other words",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=0.0,
        null_name="word classes permuted",
        p=row["p"],
        q=row["q"],
        n=row["n"],
        figure="noun_asks_for_adjectives",
    )


def _on_relevance(tables: Tables) -> Finding:
    row = tables["formulas_total"].frame.iloc[0]
    return Finding(
        59,
        "imprecise" if row["without_key_bias"] <= row["tolerance"] else "holds",
        Sentence(
            "Only relative to the query's other keys: key biases change every score and no weight "
            "by more than {key:.1e}. Query biases move {query:.2f} of the attention; the first "
            "token's goes from {first:.2f} to {without:.2f} ({n} prompts).",
            **cells_of(
                "formulas_total",
                key="without_key_bias",
                query="query_bias_moved",
                first="first_token",
                without="first_token_without_query_bias",
                n="n_prompts",
            ),
        ).text(tables),
        value=row["query_bias_moved"],
        unit="attention that moves without query biases",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=row["without_key_bias"],
        null_name="without key biases",
        n=row["n_prompts"],
        figure="parts_of_a_score",
    )


def _on_scale(tables: Tables) -> Finding:
    row = tables["formulas_total"].frame.iloc[0]
    return Finding(
        60,
        "holds" if row["output"] <= row["tolerance"] else "fails",
        Sentence(
            "Scores divided by √{d_head} = {root:.2f} give the model's values within {output:.1e}; "
            "undivided, {unscaled:.2f} of the attention moves and the entropy falls from "
            "{entropy:.2f} to {unscaled_entropy:.2f} of its maximum ({n} prompts).",
            **cells_of(
                "formulas_total",
                "d_head",
                "output",
                "unscaled",
                "entropy",
                root="sqrt_d_head",
                unscaled_entropy="entropy_unscaled",
                n="n_prompts",
            ),
        ).text(tables),
        value=row["output"],
        unit="largest relative difference",
        null=row["unscaled"],
        null_name="attention that moves undivided",
        n=row["n_prompts"],
        figure="parts_of_a_score",
    )


def _on_input(tables: Tables) -> Finding:
    row = tables["words_places"].frame.iloc[0]
    if row["n_words"] == row["n_heads"]:
        verdict = "holds"
    else:
        verdict = "imprecise" if row["n_words"] else "fails"
    return Finding(
        64,
        verdict,
        Sentence(
            f"In {{words}} of {{heads}} heads words decide at least {MIN_WORDS} of the pattern's "
            "variance, {mean:.2f} on average; in {most} distance explains {r2:.2f} of it "
            "({n} prompts; the interval is over heads).",
            **cells_of(
                "words_places",
                "mean",
                words="n_words",
                heads="n_heads",
                most="most_positional",
                r2="most_positional_r2",
                n="n_prompts",
            ),
        ).text(tables),
        value=row["mean"],
        unit="share of variance between prompts",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=row["mean_random_init"],
        null_name="same shape, random weights",
        n=row["n_prompts"],
        figure="words_or_places",
    )


def _on_use(tables: Tables) -> Finding:
    if "use" not in tables:
        return Finding(65, "undecided", "Too few prompts to compare weight and use.")
    row = tables["use"].frame.iloc[0]
    if row["weight_ci_low"] > NEARLY_ONE:
        verdict = "holds"
    else:
        verdict = "imprecise" if row["weight_ci_low"] > 0 else "fails"
    return Finding(
        65,
        verdict,
        Sentence(
            "In {name}, attention orders the effects of its cells with a rank correlation of "
            "{weight:.2f}, what is written with {use:.2f}; the key attended to most matters most "
            "for {top:.2f} of the queries (chance {chance:.2f}). Over all heads the first token "
            "has {first:.2f} of the attention and {written:.2f} of what is written ({n} prompts).",
            name=Cell("head", 0, "name"),
            **cells_of(
                "use",
                "weight",
                "use",
                "top",
                "n",
                chance="top_by_chance",
                first="first_token_weight",
                written="first_token_use",
            ),
        ).text(tables),
        value=row["weight"],
        unit="rank correlation of weight and effect",
        ci_low=row["weight_ci_low"],
        ci_high=row["weight_ci_high"],
        null=0.0,
        null_name="weights say nothing of the order of effects",
        p=row["weight_p"],
        n=row["n"],
        figure="weight_use_effect",
    )
