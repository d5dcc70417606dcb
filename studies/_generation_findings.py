"""Findings of the generation study."""

from typing import Any

from interp.reporting import Cell, Finding, Sentence, Table
from studies._generation_figures import row_of, row_of_least, uninformative

LEAST = 0.05  # share; declared beforehand: a smaller change of a text is of no interest
HALF = 0.5  # of real text: what text within the recommended temperatures must keep


def findings(tables: dict[str, Table]) -> tuple[Finding, ...]:
    """One finding per claim."""
    exchange = (
        [_identity(tables, 3, 4, "A changed vector leaves what MLPs write elsewhere as it was")]
        if len(tables["identities"].frame) > 4
        else []
    )
    return (
        _identity(tables, 1, 0, "Reading only the new token gives the logits of reading all again"),
        _sampled(tables),
        *exchange,
        _identity(tables, 4, 3, "A changed token leaves all logits before it as they were"),
        _identity(
            tables,
            5,
            1,
            "Every position predicts its own next token in the same pass, the last one too",
        ),
        _context(tables),
        _config(tables, 8, "d_model", (256, 1024), "embedding width"),
        _identity(tables, 9, 2, "Attention is Q·K, normalised, times V"),
        _config(tables, 12, "n_layers", (6, 24), "number of layers"),
        _beam(tables),
        _filters(tables),
        _range(tables),
        _extremes(tables),
    )


def _identity(tables: dict[str, Table], claim: int, row: int, what: str) -> Finding:
    """Claims 5 and 9 leave something out, which the wrong way shows; claim 4 is wrong."""
    found = tables["identities"].frame.iloc[row]
    endings = {
        1: "",
        3: " So attention alone carries information between positions.",
        4: " A token is related to itself and to earlier ones only.",
        5: " While generating only the last position is used.",
        9: " The claim leaves out the division by √d_head and the mask.",
    }
    right = found["deviation"] <= found["tolerance"]
    verdicts = {1: "holds", 3: "holds", 4: "fails"}
    return Finding(
        claim,
        verdicts.get(claim, "imprecise") if right else {4: "holds"}.get(claim, "fails"),
        Sentence(
            what + ", within {deviation:.1e} ({own:.1e} in the model's own precision); the "
            "control ({wrong_formula}) is {wrong:.1e} off." + endings[claim],
            deviation=Cell("identities", row, "deviation"),
            own=Cell("identities", row, "own_deviation"),
            wrong_formula=Cell("identities", row, "wrong_formula"),
            wrong=Cell("identities", row, "wrong_deviation"),
        ).text(tables),
        value=found["deviation"],
        unit="largest absolute difference",
        null=found["wrong_deviation"],
        null_name=found["wrong_formula"],
        n=found["n"],
        figure="identities",
    )


def _sampled(tables: dict[str, Table]) -> Finding:
    from interp import measures

    plain = tables["samplers"].frame.iloc[0]
    least = tables["samplers"].frame.iloc[row_of_least(tables["samplers"], "q")]
    by_prompt = tables["sampler_prompts"].frame
    values = by_prompt.loc[by_prompt["rule"] == "plain", "tv"].to_numpy()[:, None]
    (low,), (high,) = measures.bootstrap_interval(values)
    right = plain["p"] > 0.01 and least["q"] > 0.01 and plain["outside"] == 0
    return Finding(
        2,
        "holds" if right else "fails",
        Sentence(
            "Drawn frequencies follow the softmax: total variation {tv:.4f}, {expected:.4f} being "
            "the sampling error of {draws} draws, chi-square p {p:p} ({prompts} prompts); draws at "
            "T = 0.7 would be {wrong:.3f} away.",
            tv=Cell("samplers", 0, "tv"),
            expected=Cell("samplers", 0, "expected_tv"),
            draws=Cell("overview", 0, "n_draws"),
            p=Cell("samplers", 0, "p"),
            prompts=Cell("samplers", 0, "prompts"),
            wrong=Cell("wrong_sampler", 0, "tv"),
        ).text(tables),
        value=plain["tv"],
        unit="total variation, mean over prompts",
        ci_low=low,
        ci_high=high,
        null=plain["expected_tv"],
        null_name="exact sampling error of a right sampler",
        p=plain["p"],
        q=plain["q"],
        n=plain["prompts"],
        figure="samplers",
    )


def _context(tables: dict[str, Table]) -> Finding:
    overview = tables["overview"].frame.iloc[0]
    bounded = overview["fits"] == 1 and overview["refused"] == 1
    return Finding(
        6,
        "holds" if bounded else "fails",
        Sentence(
            "The context is bounded: {n_ctx} tokens are read, {beyond} are refused. (2048 for "
            "GPT-3 is a published figure, not measured here; GPT-2 has 1024.)",
            n_ctx=Cell("overview", 0, "n_ctx"),
            beyond=Cell("overview", 0, "beyond"),
        ).text(tables),
        value=overview["n_ctx"],
        unit="tokens (exact)",
        null=overview["beyond"],
        null_name="refused",
        figure="identities",
    )


def _config(
    tables: dict[str, Table], claim: int, column: str, usual: tuple[int, int], what: str
) -> Finding:
    value = tables["overview"].frame[column].iloc[0]
    inside = usual[0] <= value <= usual[1]
    published = {"d_model": "768 to 1,600 for GPT-2 and 12,288", "n_layers": "12 to 48 and 96"}
    return Finding(
        claim,
        "imprecise",
        Sentence(
            f"The {what} of this model is {{value}}, "
            + ("within" if inside else "outside")
            + f" the usual {usual[0]} to {usual[1]} of the claim; published: {published[column]} "
            "for GPT-3, so the range holds for smaller models only.",
            value=Cell("overview", 0, column),
        ).text(tables),
        value=value,
        unit=f"{what} (exact)",
        null=usual[1],
        null_name="upper end of the claim's range",
        figure="identities",
    )


def _beam(tables: dict[str, Table]) -> Finding:
    beams, hot = tables["beams"].frame, tables["beam_temperature"].frame
    if not len(beams) or not len(hot):
        return Finding(
            49,
            "undecided",
            "Beam search keeps the best beginnings by summed log-probability and takes no "
            "temperature; on this model the best continuation could not be found for certain.",
        )
    last, changed = len(beams) - 1, row_of_least(tables["beam_temperature"], "same")
    row, greedy = beams.iloc[last], beams.iloc[0]
    cells: dict[str, Any] = {
        "width": Cell("beams", last, "width"),
        "found": Cell("beams", last, "found"),
        "greedy": Cell("beams", 0, "found"),
        "same": Cell("beam_temperature", changed, "same"),
        "other": Cell("beam_temperature", changed, "temperature"),
        "n": Cell("beams", last, "n"),
    }
    template = (
        "Beam search is deterministic, keeps the best beginnings by summed log-probability and "
        "uses no temperature: {width} beams find the best continuation for {found:.2f} of {n} "
        "prompts (greedy: {greedy:.2f}), and at T = {other:g} in every step it stays the "
        "best for {same:.2f}."
    )
    if "wide_beam" in tables:
        template += " As many beams as tokens equal exhaustive search within {deviation:.1e} nats."
        cells["deviation"] = Cell("wide_beam", 0, "deviation")
    return Finding(
        49,
        "imprecise",
        Sentence(template, **cells).text(tables),
        value=row["found"],
        unit="share of prompts where the best beam is the best continuation",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=greedy["found"],
        null_name="greedy choice",
        n=row["n"],
        figure="beams",
    )


def _filters(tables: dict[str, Table]) -> Finding:
    overview = tables["overview"].frame.iloc[0]
    return Finding(
        50,
        "holds" if overview["filters_same"] == 1 else "fails",
        Sentence(
            "Top-k, nucleus and min-p keep exactly the tokens of their definitions in {same:.3f} "
            "of {cells} cases; the nucleus is the smallest set that reaches p. Definitions that "
            "are one token off fit in {wrong:.3f}.",
            same=Cell("overview", 0, "filters_same"),
            cells=Cell("overview", 0, "filter_cells"),
            wrong=Cell("overview", 0, "filters_wrong"),
        ).text(tables),
        value=overview["filters_same"],
        unit="share of cases with the set of the definition (exact)",
        null=overview["filters_wrong"],
        null_name="definitions one token off",
        n=overview["filter_cells"],
        figure="samplers",
    )


def _range(tables: dict[str, Table]) -> Finding:
    sweep = tables["sweep"]
    frame = sweep.frame
    if "grammatical" not in set(frame["measure"]):
        row = row_of(sweep, measure="distinct_2", temperature=0.5)
        high = row_of(sweep, measure="distinct_2", temperature=1.5)
        return Finding(
            51,
            "undecided",
            Sentence(
                "From T = 0.5 to 1.5 the share of distinct pairs of words goes from {low:.2f} to "
                "{high:.2f} (random words: {null:.2f}); whether the text is good cannot be counted "
                "without a grammar.",
                low=Cell("sweep", row, "mean"),
                high=Cell("sweep", high, "mean"),
                null=Cell("sweep", row, "unigram"),
            ).text(tables),
            value=frame["mean"].iloc[high],
            unit="distinct pairs of words at T = 1.5 (share)",
            ci_low=frame["ci_low"].iloc[high],
            ci_high=frame["ci_high"].iloc[high],
            null=frame["unigram"].iloc[high],
            null_name="unigram sampler",
            n=frame["n"].iloc[high],
            figure="temperature",
        )
    rows = {
        name: row_of(sweep, measure=measure, temperature=temperature)
        for name, measure, temperature in (
            ("low", "grammatical", 0.5),
            ("one", "grammatical", 1.0),
            ("high", "grammatical", 1.5),
            ("varied", "distinct_2", 0.5),
        )
    }
    good = frame["ci_low"].iloc[rows["high"]] > HALF * frame["text"].iloc[rows["high"]]
    varied = frame["ci_low"].iloc[rows["varied"]] > HALF * frame["text"].iloc[rows["varied"]]
    at_top = frame.iloc[rows["high"]]
    return Finding(
        51,
        "holds" if good and varied and not uninformative(tables) else "imprecise",
        Sentence(
            "Grammatical sentences: {low:.2f} at T = 0.5, {one:.2f} at 1 and {high:.2f} at 1.5 "
            "(95 % interval {ci_low:.2f} to {ci_high:.2f}); random words have {null:.2f}. Distinct "
            "pairs of words at 0.5: {varied:.2f}, in real text {text:.2f}.",
            low=Cell("sweep", rows["low"], "mean"),
            one=Cell("sweep", rows["one"], "mean"),
            high=Cell("sweep", rows["high"], "mean"),
            ci_low=Cell("sweep", rows["high"], "ci_low"),
            ci_high=Cell("sweep", rows["high"], "ci_high"),
            null=Cell("sweep", rows["high"], "unigram"),
            varied=Cell("sweep", rows["varied"], "mean"),
            text=Cell("sweep", rows["varied"], "text"),
        ).text(tables),
        value=at_top["mean"],
        unit="share of grammatical sentences at T = 1.5",
        ci_low=at_top["ci_low"],
        ci_high=at_top["ci_high"],
        null=at_top["unigram"],
        null_name="unigram sampler",
        n=at_top["n"],
        figure="temperature",
    )


def _extremes(tables: dict[str, Table]) -> Finding:
    """Too cold: more repeated runs than at T = 1. Too hot: fewer grammatical sentences."""
    trends = tables["trends"]
    measures = set(trends.frame["measure"])
    grammar = "grammatical" in measures
    nonsense = "grammatical" if grammar else "surprisal"
    hottest = tables["sweep"].frame["temperature"].max()
    cold = row_of(trends, measure="repeated_4", **{"from": 0.0, "to": 1.0})
    hot = row_of(trends, measure=nonsense, **{"from": 1.0, "to": hottest})
    cold_row, hot_row = trends.frame.iloc[cold], trends.frame.iloc[hot]
    repeats = cold_row["ci_high"] < -LEAST
    worse = hot_row["ci_high"] < -LEAST if grammar else hot_row["ci_low"] > 0
    either = {(True, True): "holds", (False, False): "fails"}.get((repeats, worse), "imprecise")
    what = (
        "the share of grammatical sentences"
        if grammar
        else "the surprisal at T = 1 (in nats, for want of a grammar)"
    )
    return Finding(
        52,
        "undecided" if uninformative(tables) else either,
        Sentence(
            "From T = 0 to 1 the share of repeated 4-word runs changes by {rep:.2f} (95 % interval "
            f"{{rep_low:.2f}} to {{rep_high:.2f}}); from T = 1 to {{hottest:g}} {what} changes by "
            "{worse:.2f} ({worse_low:.2f} to {worse_high:.2f}).",
            rep=Cell("trends", cold, "change"),
            rep_low=Cell("trends", cold, "ci_low"),
            rep_high=Cell("trends", cold, "ci_high"),
            hottest=Cell("trends", hot, "to"),
            worse=Cell("trends", hot, "change"),
            worse_low=Cell("trends", hot, "ci_low"),
            worse_high=Cell("trends", hot, "ci_high"),
        ).text(tables),
        value=cold_row["change"],
        unit="change of the share of repeated 4-word runs, T = 0 to 1",
        ci_low=cold_row["ci_low"],
        ci_high=cold_row["ci_high"],
        null=0.0,
        null_name="no change",
        n=cold_row["n"],
        figure="temperature",
    )
