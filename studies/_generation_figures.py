"""Figures of the generation study."""

from interp import plots
from interp.reporting import Cell, FigurePart, Sentence, Table

ALIKE = 0.95  # of the entropy under random weights: above it, a figure says nothing
PANELS = (
    ("grammatical", "grammatical sentences (share)"),
    ("said_before", "sentences said before (share)"),
    ("distinct_2", "distinct pairs of words (share)"),
    ("repeated_4", "repeated 4-word runs (share)"),
    ("loop", "texts that end in a loop (share)"),
    ("surprisal", "surprisal at T = 1 (nats)"),
)


def row_of(table: Table, **wanted: object) -> int:
    """Number of the first row whose columns have these values."""
    frame = table.frame.reset_index(drop=True)
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return int(frame.index[0])


def uninformative(tables: dict[str, Table]) -> str:
    """Why what depends on learning says nothing here; "" if it does."""
    overview = tables["overview"].frame.iloc[0]
    if overview["model_entropy"] < ALIKE * overview["random_entropy"]:
        return ""
    return "The model's predictions are as open as those of random weights."


def headline(tables: dict[str, Table]) -> Sentence:
    """The answer in one sentence."""
    cells = {
        "tv": Cell("samplers", 0, "tv"),
        "expected": Cell("samplers", 0, "expected_tv"),
        "cached": Cell("identities", 0, "deviation"),
    }
    if "grammatical" not in set(tables["sweep"].frame["measure"]):
        return Sentence(
            "Draws follow the softmax (total variation {tv:.3f}, expected {expected:.3f}); the "
            "key-value cache changes nothing ({cached:.1e}).",
            **cells,
        )
    one = row_of(tables["sweep"], measure="grammatical", temperature=1.0)
    return Sentence(
        "{share:.2f} of the sentences written at T = 1 are grammatical (random words: "
        "{unigram:.2f}); draws follow the softmax (total variation {tv:.3f}, expected "
        "{expected:.3f}) and the key-value cache changes nothing ({cached:.1e}).",
        share=Cell("sweep", one, "mean"),
        unigram=Cell("sweep", one, "unigram"),
        **cells,
    )


def figures(tables: dict[str, Table]) -> tuple[FigurePart, ...]:
    """All figures, in reading order."""
    parts = [_strip(tables), _surprisal(tables), _samplers(tables), _sweep(tables)]
    parts.append(_identities(tables))
    if len(tables["beams"].frame) and len(tables["beam_temperature"].frame):
        parts.append(_beams(tables))
    return tuple(parts)


def _strip(tables: dict[str, Table]) -> FigurePart:
    steps = tables["steps"].frame
    return FigurePart(
        name="steps",
        question="What could have come at each step, and what was drawn?",
        picture=plots.step_strip(tables["candidates"].frame, steps),
        alt=Sentence(
            "One panel per step with bars for the likeliest tokens; the drawn one is marked. At "
            "step 1 it is {piece}, with probability {probability:.2f} and rank {rank}.",
            piece=Cell("steps", 0, "piece"),
            probability=Cell("steps", 0, "probability"),
            rank=Cell("steps", 0, "rank"),
        ),
        answer=Sentence(
            "After “{prompt}” the first token drawn is {piece} with probability {probability:.2f} "
            "(rank {rank}); a uniform choice among the {d_vocab} tokens would give each "
            "{uniform:.5f}. Each draw is appended and read at the next step.",
            prompt=Cell("steps", 0, "prompt"),
            piece=Cell("steps", 0, "piece"),
            probability=Cell("steps", 0, "probability"),
            rank=Cell("steps", 0, "rank"),
            d_vocab=Cell("overview", 0, "d_vocab"),
            uniform=Cell("overview", 0, "uniform"),
        ),
        tables=("candidates", "steps"),
        how_to_read="Panels follow one another like words. ▶ and stripes mark what was drawn; a "
        "drawn token outside the likeliest stands below them, with its true rank in the title.",
        scene="“But what is a GPT?”: predict, sample, append, repeat",
        change_our_mind=Sentence(
            "Draws that do not follow the bars. Over {draws} draws per prompt the total variation "
            "is {tv:.4f}, where chance allows {expected:.4f}.",
            draws=Cell("overview", 0, "n_draws"),
            tv=Cell("samplers", 0, "tv"),
            expected=Cell("samplers", 0, "expected_tv"),
        ),
        facts={"null": "a right sampler's own sampling error"},
        uninformative=uninformative(tables),
    )


def _surprisal(tables: dict[str, Table]) -> FigurePart:
    names = ("surprisal_written", "surprisal_real", "surprisal_shuffled", "entropy_written")
    cells = {name: Cell("overview", 0, name) for name in names}
    frame = tables["surprisal"].frame
    most = float(frame["surprisal_nats"].quantile(0.98))
    return FigurePart(
        name="surprisal",
        question="Which tokens surprise the model?",
        picture=plots.surprisal_text(frame, most),
        alt=Sentence(
            "Three texts whose tokens are coloured by surprisal: written by the model, mean "
            "{surprisal_written:.2f} nats; real, {surprisal_real:.2f}; the real one shuffled, "
            "{surprisal_shuffled:.2f}.",
            **{n: cells[n] for n in names[:3]},
        ),
        answer=Sentence(
            "Mean surprisal {surprisal_written:.2f} nats on the text it wrote at T = 1 (expected "
            "there: {entropy_written:.2f}), {surprisal_real:.2f} on real text and "
            "{surprisal_shuffled:.2f} on the same words in random order.",
            **cells,
        ),
        tables=("surprisal", "overview"),
        how_to_read="Dark tokens came as a surprise, light ones were expected. Words that anything "
        "could have followed stay dark even in perfect text; what was given is grey.",
        change_our_mind=Sentence(
            "Shuffled words as expected as ordered ones: then order would not matter. They cost "
            "{surprisal_shuffled:.2f} nats against {surprisal_real:.2f}.",
            surprisal_shuffled=cells["surprisal_shuffled"],
            surprisal_real=cells["surprisal_real"],
        ),
        facts={"null": "the same text with its tokens in random order", "n": "one text of each"},
        uninformative=uninformative(tables),
    )


def _samplers(tables: dict[str, Table]) -> FigurePart:
    plain = {
        name: Cell("samplers", 0, name)
        for name in ("tv", "expected_tv", "tv_high", "p", "prompts", "chi2", "df")
    }
    return FigurePart(
        name="samplers",
        question="Does each sampler draw from the distribution that it should?",
        picture=plots.sampler_panels(tables["frequencies"].frame, tables["samplers"].frame),
        alt=Sentence(
            "Left, drawn shares of the likeliest tokens inside their chance bars. Right, total "
            "variation of five samplers next to its expectation; plain sampling has {tv:.4f}, "
            "expected {expected_tv:.4f}.",
            tv=plain["tv"],
            expected_tv=plain["expected_tv"],
        ),
        answer=Sentence(
            "Plain sampling: total variation {tv:.4f}, expected {expected_tv:.4f} for a right "
            "sampler (97.5 % point {tv_high:.4f}); chi-square {chi2:.0f} with {df} degrees of "
            "freedom, p {p:p}, over {prompts} prompts of {draws} draws. Draws at T = 0.7 would be "
            "{wrong:.3f} away.",
            draws=Cell("overview", 0, "n_draws"),
            wrong=Cell("wrong_sampler", 0, "tv"),
            **plain,
        ),
        tables=("samplers", "frequencies", "filters", "wrong_sampler"),
        how_to_read="Left: a dot inside its grey bar is what chance allows. Right: drawn dots "
        "should lie near the tick and not beyond the grey bar; a filter keeps fewer tokens, so its "
        "error is smaller.",
        change_our_mind=Sentence(
            "A p-value near 0 in any row (the smallest q of all samplers is {q:.3f}), or draws of "
            "a token that a filter removed ({outside} among the rows of plain sampling).",
            q=Cell("samplers", row_of_least(tables["samplers"], "q"), "q"),
            outside=Cell("samplers", 0, "outside"),
        ),
        facts={"null": "exact sampling error; draws at another temperature"},
    )


def row_of_least(table: Table, column: str) -> int:
    """Number of the row with the smallest value."""
    return int(table.frame[column].to_numpy().argmin())


def _sweep(tables: dict[str, Table]) -> FigurePart:
    sweep = tables["sweep"]
    known = set(sweep.frame["measure"])
    panels = [panel for panel in PANELS if panel[0] in known]
    grammar = "grammatical" in known
    measure = "grammatical" if grammar else "distinct_2"
    hottest = sweep.frame["temperature"].max()
    one = row_of(sweep, measure=measure, temperature=1.0)
    hot = row_of(sweep, measure=measure, temperature=hottest)
    rep_cold = row_of(sweep, measure="repeated_4", temperature=0.0)
    rep_one = row_of(sweep, measure="repeated_4", temperature=1.0)
    cells = {
        "one": Cell("sweep", one, "mean"),
        "low": Cell("sweep", one, "ci_low"),
        "high": Cell("sweep", one, "ci_high"),
        "hot": Cell("sweep", hot, "mean"),
        "hottest": Cell("sweep", hot, "temperature"),
        "unigram": Cell("sweep", one, "unigram"),
        "rep_cold": Cell("sweep", rep_cold, "mean"),
        "rep_one": Cell("sweep", rep_one, "mean"),
        "n": Cell("sweep", one, "n"),
    }
    what = "grammatical sentences" if grammar else "distinct pairs of words"
    return FigurePart(
        name="temperature",
        question="What does the temperature do to the text?",
        picture=plots.temperature_sweep(sweep.frame, panels),
        alt=Sentence(
            f"Curves over the temperature with bands over seeds. Share of {what}: {{one:.2f}} at "
            "T = 1 and {hot:.2f} at T = {hottest:g}; repeated 4-word runs: {rep_cold:.2f} at T = 0 "
            "and {rep_one:.2f} at T = 1.",
            **{n: cells[n] for n in ("one", "hot", "hottest", "rep_cold", "rep_one")},
        ),
        answer=Sentence(
            f"Share of {what}: {{one:.2f}} at T = 1 (95 % interval {{low:.2f}} to {{high:.2f}}, "
            "n = {n} seeds), {hot:.2f} at T = {hottest:g}; random words have {unigram:.2f}. "
            "Repeated 4-word runs: {rep_cold:.2f} at T = 0, {rep_one:.2f} at T = 1.",
            **cells,
        ),
        tables=("sweep", "trends"),
        how_to_read="Each seed continues the same beginning with the same random numbers at every "
        "temperature. The dashed lines are real text and words drawn one by one by their "
        "frequency: good text stays near the one and away from the other.",
        change_our_mind=Sentence(
            "Random words that score as well as the model at T = 1: they have {unigram:.2f}, the "
            "model {one:.2f}.",
            unigram=cells["unigram"],
            one=cells["one"],
        ),
        facts={"null": "unigram sampler; real text", "n": "seeds"},
        uninformative=uninformative(tables),
    )


def _identities(tables: dict[str, Table]) -> FigurePart:
    rows = {f"d{i}": Cell("identities", i, "deviation") for i in range(3)}
    wrong = {f"w{i}": Cell("identities", i, "wrong_deviation") for i in range(3)}
    return FigurePart(
        name="identities",
        question="Is what must be equal equal?",
        picture=plots.identity_pairs(tables["identities"].frame),
        alt=Sentence(
            "Three identities, each with its deviation far below that of a wrong way to compute "
            "it: cache {d0:.1e}, one pass {d1:.1e}, attention {d2:.1e}.",
            **rows,
        ),
        answer=Sentence(
            "Cached and recomputed logits differ by {d0:.1e} at most ({own:.1e} in the model's own "
            "precision), the losses of one pass and of passes over prefixes by {d1:.1e}, own and "
            "PyTorch's fused attention by {d2:.1e}. Done wrong: {w0:.1f}, {w1:.1f} and {w2:.1f}.",
            own=Cell("identities", 0, "own_deviation"),
            **rows,
            **wrong,
        ),
        tables=("identities",),
        how_to_read="Round points must lie left of their dashed line, which allows for rounding. "
        "Squares are the same comparison done wrong on purpose, and must lie to the right.",
        change_our_mind=Sentence(
            "A square as far left as its point: then the check could not fail. They lie at "
            "{w0:.1e}, {w1:.1e} and {w2:.1e}.",
            **wrong,
        ),
        facts={"null": "each identity computed wrongly"},
    )


def _beams(tables: dict[str, Table]) -> FigurePart:
    last = len(tables["beams"].frame) - 1
    changed = row_of_least(tables["beam_temperature"], "same")
    cells = {
        "greedy": Cell("beams", 0, "found"),
        "wide": Cell("beams", last, "found"),
        "width": Cell("beams", last, "width"),
        "low": Cell("beams", last, "ci_low"),
        "high": Cell("beams", last, "ci_high"),
        "n": Cell("beams", last, "n"),
        "same": Cell("beam_temperature", changed, "same"),
        "other": Cell("beam_temperature", changed, "temperature"),
    }
    return FigurePart(
        name="beams",
        question="Does beam search find the best continuation, and is a temperature part of it?",
        picture=plots.beam_panels(tables["beams"].frame, tables["beam_temperature"].frame),
        alt=Sentence(
            "Left, share of prompts where the best beam is the best continuation: {greedy:.2f} "
            "for greedy choice, {wide:.2f} with {width} beams. Right, share where a temperature "
            "leaves the best continuation as it is: {same:.2f} at T = {other:g}.",
            **{n: cells[n] for n in ("greedy", "wide", "width", "same", "other")},
        ),
        answer=Sentence(
            "{width} beams find it for {wide:.2f} of {n} prompts (95 % interval {low:.2f} to "
            "{high:.2f}), greedy choice for {greedy:.2f}. A temperature at every step may "
            "change which one it is: at T = {other:g} it stays the same for {same:.2f}.",
            **cells,
        ),
        tables=("beams", "beam_temperature"),
        how_to_read="The best continuation is known for certain: every beginning that could still "
        "win was read. Beams use no temperature; the right panel shows how often one would change "
        "the ranking, since it weighs steps differently.",
        change_our_mind=Sentence(
            "Greedy choice that finds it as often: then beams would be of no use. It does for "
            "{greedy:.2f} of the prompts, {width} beams for {wide:.2f}.",
            greedy=cells["greedy"],
            wide=cells["wide"],
            width=cells["width"],
        ),
        facts={"null": "greedy choice; exact search"},
        uninformative=uninformative(tables),
    )
