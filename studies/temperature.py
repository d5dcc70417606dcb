"""What does the temperature do to the model's predictions, and are its probabilities right?

The formula and its limits are arithmetic and are checked as such. Whether the probabilities are
calibrated, and whether a temperature that follows the entropy beats a fixed one, is measured on
text; for the small language against the exact probability of every next word.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from interp import plots
from interp.reporting import Cell, FigurePart, Finding, Sentence, StudyResult, Table, views
from studies import StudyConfig, _prompts, _texts, provenance, questions

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from interp.core import HookedGPT

NAME = "temperature"
SHOWN = (0.25, 0.5, 1.0, 2.0, 5.0)
SWEEP = (0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
BROKEN = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 5.0)
FINE = (0.4, 0.5, 0.6, 0.7, 0.8, 0.87, 0.93, 1.0, 1.07, 1.15, 1.25, 1.4, 1.6, 2.0)
THETAS = (0.1, 0.3, 1.0)
LEVELS = {"as the model gives them": None, "largest at −30": -30.0, "largest at −110": -110.0}
LEAST_GAIN = 0.005  # of probability; declared beforehand: what an adaptive rule must gain
LEAST_ECE = 0.01  # declared beforehand: a smaller calibration error is not worth a temperature
ALIKE = 0.95  # of the entropy under random weights: above it, the figure says nothing
TOP = 10
OVERCONFIDENT = 2.0  # the positive control: logits times this


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    n_prompts: int = 40
    """Texts on which calibration and adaptive temperatures are measured."""


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Measures formula, failures, calibration and adaptive temperature.

    Args:
        model: any model with a known kind of text.
        config: the options.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        NotApplicable: no text is known for the model.
    """
    say, steps = progress or (lambda *_: None), 4
    n_prompts = 16 if config.quick else config.n_prompts
    config = replace(config, n_prompts=min(n_prompts, config.limit or n_prompts))
    say("text", 0, steps)
    text = _texts.scored_text(model, config.n_prompts, config.seed, config.batch_size)
    prompt, logits = _lecture(model, text)
    say("formula and limits", 1, steps)
    tables = _formula_tables(model, text, prompt, logits, config)
    say("calibration", 2, steps)
    truth = _truth(model, text)
    tables |= _calibration_tables(text, truth, config.seed)
    say("adaptive temperature", 3, steps)
    tables |= _adaptive_tables(text, truth, config.seed)
    tables["overview"] = _overview(model, text, tables, truth)
    figures = (
        _bars(model, tables, prompt, logits),
        _entropy(tables),
        _breaks(tables),
        _calibration(tables, truth is not None),
        _adaptive(tables, truth is not None),
    )
    say("done", steps, steps)
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=_headline(tables, truth is not None),
        tables=tables,
        figures=figures,
        findings=_findings(tables, truth is not None),
        provenance=provenance(
            NAME,
            model,
            config,
            prompts=text.description,
            smallest_effect_of_interest=f"{LEAST_GAIN:g} of probability (adaptive temperature), "
            f"{LEAST_ECE:g} (ECE)",
        ),
    )


# ---------------------------------------------------------------------------------- measure


def _lecture(model: "HookedGPT", text: _texts.ScoredText) -> tuple[list[str], "np.ndarray"]:
    """The lectures' sentence without its last word, and the logits behind it."""
    import torch

    fallback = text.targets[:12] if text.windows is None else text.windows[0]
    tokens, shown = _prompts.lecture_tokens(model, fallback)
    with torch.no_grad():
        row = torch.from_numpy(tokens[None, :-1].astype("int64")).to(model.W_E.device)
        read = model(row, logits_at=-1)[0, 0]
    return shown[:-1], read.double().cpu().numpy()


def _formula_tables(
    model: "HookedGPT",
    text: _texts.ScoredText,
    prompt: list[str],
    logits: "np.ndarray",
    config: Config,
) -> dict[str, Table]:
    import numpy as np

    from interp import measures

    last = np.flatnonzero(np.append(np.diff(text.unit) != 0, True))  # one row per prompt
    rows = text.logits[last][: 16 if model.config.d_vocab > 10_000 else None].astype(float)
    best = measures.top_tokens_at(logits, SHOWN, TOP)
    best.insert(2, "piece", _texts.shown(model, best["token"]))
    random_rows = _random_logits(model, text, len(rows), config)
    return {
        "tokens_at": Table(
            best,
            "One row per temperature and token: probability of the next token after the prompt",
        ),
        "entropy": Table(
            _entropy_frame(rows, random_rows, config.seed),
            "One row per temperature: entropy of the next token (nats, mean over prompts, 95 % "
            "interval), its slope dH/dT, effective number of choices, and the same entropy for "
            "random weights",
        ),
        "laws": Table(
            measures.temperature_laws(rows, (0.3, 0.7, 1.0, 1.6, 4.0)),
            "One row per statement: largest deviation of the model's distributions from it, and "
            "of a wrong statement beside it",
        ),
        "failures": Table(
            measures.softmax_failures(rows, BROKEN, LEVELS),
            "One row per level of the logits, precision and temperature: share of distributions "
            "for which exp(logits / T) / sum is not a number, and for the stable softmax",
        ),
    }


def _random_logits(
    model: "HookedGPT", text: _texts.ScoredText, n: int, config: Config
) -> "np.ndarray":
    """Logits of the same shape with random weights, behind some of the same words."""
    import torch

    random = _prompts.with_random_weights(model, config.seed)
    tokens = _texts.starts(model, n, min(8, model.config.n_ctx), config.seed)
    with torch.no_grad():
        rows = torch.from_numpy(tokens.astype("int64")).to(random.W_E.device)
        return random(rows, logits_at=-1)[:, 0].double().cpu().numpy()


def _entropy_frame(rows: "np.ndarray", random_rows: "np.ndarray", seed: int) -> "pd.DataFrame":
    from interp import measures

    sweep = measures.temperature_sweep(rows, SWEEP)
    random = measures.temperature_sweep(random_rows, SWEEP)
    wide = sweep.pivot(index="prompt", columns="temperature", values="entropy_nats")
    low, high = measures.bootstrap_interval(wide.to_numpy(), seed=seed)
    frame = sweep.groupby("temperature", as_index=False).mean().drop(columns="prompt")
    frame.insert(2, "ci_low", low)
    frame.insert(3, "ci_high", high)
    frame["random_entropy"] = random.groupby("temperature")["entropy_nats"].mean().to_numpy()
    return frame.assign(n=len(rows))


def _truth(model: "HookedGPT", text: _texts.ScoredText) -> "np.ndarray | None":
    """Exact next-word probabilities at the scored positions, where the language is ours."""
    from interp import corpus, measures

    if text.windows is None or not _prompts.speaks_the_language(model):
        return None
    exact = measures.language_conditionals(corpus.Language(), text.windows)
    return exact.reshape(-1, exact.shape[-1])


def _calibration_tables(
    text: _texts.ScoredText, truth: "np.ndarray | None", seed: int
) -> dict[str, Table]:
    import pandas as pd

    from interp import measures

    losses = measures.nll_by_temperature(text.logits, text.targets, text.unit, FINE, truth)
    curve = losses.groupby("temperature", as_index=False).mean().drop(columns="prompt")
    wide = losses.pivot(index="prompt", columns="temperature", values="nll_nats").to_numpy()
    low, high = measures.bootstrap_interval(wide, seed=seed)
    curve.insert(2, "ci_low", low)
    curve.insert(3, "ci_high", high)
    best = measures.best_temperature(wide, FINE, seed)
    plain = measures.top_confidence(text.logits, text.targets, 1.0, truth)
    reliability = measures.reliability(
        plain["confidence"].to_numpy(), plain["correct"].to_numpy(), text.unit, seed=seed
    )
    tuned, gains = _tuned(text, truth, wide, seed)
    return {
        "reliability": Table(
            reliability,
            "One row per bin of confidence at T = 1: how often the predicted token came (95 % "
            "interval over prompts), and where it would lie by chance if every confidence were "
            "right",
        ),
        "nll": Table(
            curve.assign(n=len(wide)),
            "One row per temperature: loss on the text (nats per token, 95 % interval over "
            "prompts); where the language is known also the exact expected loss and the least "
            "possible one",
        ),
        "best": Table(pd.DataFrame([best]), "Temperature of the least loss, and what it saves"),
        "calibration": Table(
            tuned,
            "One row per set of probabilities: expected calibration error on the second half of "
            "the prompts (95 % interval), and what a perfectly calibrated model would show there",
        ),
        "calibration_gain": Table(
            gains,
            "What a temperature tuned on the first half of the prompts takes off the calibration "
            "error on the second half; the overconfident copy has its logits doubled",
        ),
    }


def _tuned(
    text: _texts.ScoredText, truth: "np.ndarray | None", wide: "np.ndarray", seed: int
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Temperature tuned on one half of the prompts, calibration error on the other."""
    import numpy as np
    import pandas as pd

    from interp import measures

    first = len(wide) // 2
    second = text.unit >= first
    unit = text.unit[second] - first
    fitted = measures.best_temperature(wide[:first], FINE, seed)["temperature"]
    rows, gains = [], []
    for copy, factor in (("the model", 1.0), ("overconfident copy", OVERCONFIDENT)):
        # Multiplying the logits by a factor is dividing the temperature by it.
        sides = [
            measures.top_confidence(
                text.logits[second],
                text.targets[second],
                temperature,
                None if truth is None else truth[second],
            )
            for temperature in (1.0 / factor, fitted)
        ]
        for side, named in zip(sides, (1.0, fitted * factor), strict=True):
            confidence = side["confidence"].to_numpy()
            kinds = {"outcomes": "correct", "true probabilities": "true_probability"}
            for against, column in kinds.items():
                if column not in side:
                    continue
                error = measures.calibration_error(
                    confidence, side[column].to_numpy(), unit, seed=seed
                )
                names = {"probabilities": copy, "temperature": named, "against": against}
                rows.append(names | error)
        gain = measures.calibration_gain(
            *(side["confidence"].to_numpy() for side in sides),
            sides[0]["correct"].to_numpy(),
            unit,
            seed=seed,
        )
        gains.append({"probabilities": copy, "temperature": fitted * factor} | gain)
    return pd.DataFrame(rows), pd.DataFrame(gains).astype({"n": np.int64})


def _adaptive_tables(
    text: _texts.ScoredText, truth: "np.ndarray | None", seed: int
) -> dict[str, Table]:
    """Strength chosen on the first half of the prompts, compared on the second."""
    import pandas as pd

    from interp import measures

    possible = None if truth is None else truth > 0
    column = "hit" if truth is None else "impossible"
    first = (int(text.unit.max()) + 1) // 2
    halves = []
    for half in (text.unit < first, text.unit >= first):
        unit = text.unit[half] - (first if len(halves) else 0)
        compared = measures.adaptive_comparison(
            text.logits[half].astype(float),
            text.targets[half],
            unit,
            THETAS,
            possible=None if possible is None else possible[half],
            seed=seed,
        )
        halves.append(compared)
    discovery = measures.adaptive_gain(halves[0], column, seed)
    gains = measures.adaptive_gain(halves[1], column, seed)
    adaptive = discovery[discovery["rule"] == "adaptive"]
    theta = adaptive["theta"].iloc[adaptive["gain"].argmax()]
    chosen = gains[(gains["rule"] == "adaptive") & (gains["theta"] == theta)]
    null = gains[(gains["rule"] == "shuffled") & (gains["theta"] == theta)]
    losses = measures.adaptive_gain(halves[1], "nll_nats", seed)
    loss = losses[(losses["rule"] == "adaptive") & (losses["theta"] == theta)]
    summary = chosen.assign(
        shuffled_gain=null["gain"].to_numpy(),
        nll_gain=loss["gain"].to_numpy(),
        first_half_gain=adaptive["gain"].max(),
    )
    what = {
        "impossible": "probability of words that cannot come (less is better)",
        "hit": "probability of the token that came (more is better)",
    }[column]
    return {
        "adaptive": Table(
            gains,
            f"One row per strength and rule, on the second half of the prompts: {what}, beside a "
            "fixed temperature of the same mean entropy",
        ),
        "adaptive_chosen": Table(
            pd.DataFrame(summary),
            "The strength that was best on the first half of the prompts, on the second half",
        ),
    }


def _overview(
    model: "HookedGPT",
    text: _texts.ScoredText,
    tables: dict[str, Table],
    truth: "np.ndarray | None",
) -> Table:
    import numpy as np
    import pandas as pd

    entropy = tables["entropy"].frame
    at_one = entropy[entropy["temperature"] == 1.0].iloc[0]
    failures = tables["failures"].frame
    single = failures[failures["precision"] == "float32"]
    failed = single[single["nan_share"] > 0]
    greedy = _greedy_agreement(text)
    values = {
        "ceiling": float(np.log(model.config.d_vocab)),
        "d_vocab": model.config.d_vocab,
        "entropy": at_one["entropy_nats"],
        "choices": float(np.exp(at_one["entropy_nats"])),
        "random_entropy": at_one["random_entropy"],
        "sharp": entropy["entropy_nats"].iloc[0],
        "flat": entropy["entropy_nats"].iloc[-1],
        "coldest": entropy["temperature"].iloc[0],
        "hottest": entropy["temperature"].iloc[-1],
        "least_slope": entropy["entropy_slope"].min(),
        "nan_share": single["nan_share"].mean(),
        "nan_share_own": single[single["level"] == next(iter(LEVELS))]["nan_share"].max(),
        "nan_share_far": single[
            (single["level"] == list(LEVELS)[-1]) & (single["temperature"] == 1.0)
        ]["nan_share"].iloc[0],
        "stable_nan_share": failures["stable_nan_share"].max(),
        "breaks_below": single["breaks_below"].iloc[0],
        "failing_cells": len(failed),
        "cells": len(single),
        "n": int(at_one["n"]),
        **greedy,
    }
    if truth is not None:
        nll = tables["nll"].frame
        plain = nll[nll["temperature"] == 1.0].iloc[0]
        values["floor"] = plain["entropy_floor_nats"]
        values["expected_nll"] = plain["expected_nll_nats"]
        values["floor_gap"] = plain["expected_nll_nats"] - plain["entropy_floor_nats"]
    return Table(pd.DataFrame([values]), "In all")


def _greedy_agreement(text: _texts.ScoredText) -> dict[str, float]:
    """How often T = 0 is the argmax, and what a draw near T = 0 and at T = 1 would be."""
    import numpy as np
    import torch

    from interp import measures
    from interp.core.generation import Sampling

    rows = text.logits[: max(1, 2_000_000 // text.logits.shape[1])]
    best = rows.argmax(axis=1)
    greedy = Sampling(0).log_probs(torch.from_numpy(rows)).argmax(-1).numpy()
    near = measures.log_softmax_at(rows, measures.NEAR_ZERO)
    plain = measures.log_softmax_at(rows, 1.0)
    place = np.arange(len(rows))
    return {
        "greedy_is_argmax": float((greedy == best).mean()),
        "near_zero_is_argmax": float(np.exp(near[place, best]).mean()),
        "at_one_is_argmax": float(np.exp(plain[place, best]).mean()),
        "greedy_rows": len(rows),
    }


# ------------------------------------------------------------------------------------- draw


def _cell(column: str) -> Cell:
    return Cell("overview", 0, column)


def _bars(
    model: "HookedGPT", tables: dict[str, Table], prompt: list[str], logits: "np.ndarray"
) -> FigurePart:
    at = {t: SHOWN.index(t) * TOP for t in SHOWN}
    top = {
        f"at_{name}": Cell("tokens_at", at[t], "probability")
        for name, t in (("cold", 0.25), ("one", 1.0), ("hot", 5.0))
    }
    return FigurePart(
        name="probabilities",
        question="What does dividing the logits by a temperature do to the next token?",
        picture=plots.probabilities_by_temperature(tables["tokens_at"].frame),
        alt=Sentence(
            "Bars of the ten likeliest next tokens at five temperatures. The likeliest has "
            "{at_cold:.2f} at T = 0.25, {at_one:.2f} at T = 1 and {at_hot:.2f} at T = 5.",
            **top,
        ),
        answer=Sentence(
            "The best token, {best}, gets {at_one:.2f} at T = 1, {at_cold:.2f} at T = 0.25 and "
            "{at_hot:.2f} at T = 5; the order of the tokens never changes. With equal logits each "
            "of the {d_vocab} tokens would get the same at every temperature.",
            best=Cell("tokens_at", at[1.0], "piece"),
            d_vocab=_cell("d_vocab"),
            **top,
        ),
        tables=("tokens_at", "overview"),
        how_to_read="Each panel is the same list of tokens, so rows can be compared across panels. "
        "Below T = 1 the bars gather at the top, above it they even out.",
        scene="Temperature in “But what is a GPT?”: softmax with T, low and high temperature",
        change_our_mind=Sentence(
            "Two tokens changing places between panels. Division by a positive number cannot do "
            "that; the largest deviation from the formula is {deviation:.1e}, while a wrong "
            "formula deviates by up to {wrong:.1e}.",
            deviation=Cell("laws", 0, "deviation"),
            wrong=Cell("laws", 0, "wrong_deviation"),
        ),
        facts={"prompt": " | ".join(prompt), "null": "equal logits; a wrong formula"},
        view=views.temperature(prompt, *_shown_logits(model, logits)),
    )


def _shown_logits(model: "HookedGPT", logits: "np.ndarray") -> tuple[list[str], "np.ndarray"]:
    """All tokens of a small vocabulary, the best 600 of a large one."""
    import numpy as np

    order = np.argsort(-logits, kind="stable")[:600]
    return _texts.shown(model, order), logits[order].astype("float32")


def _entropy(tables: dict[str, Table]) -> FigurePart:
    overview = tables["overview"].frame.iloc[0]
    names = ("entropy", "sharp", "flat", "coldest", "hottest", "ceiling", "random_entropy")
    cells = {name: _cell(name) for name in names}
    return FigurePart(
        name="entropy",
        question="How much is open at each temperature?",
        picture=plots.entropy_curve(tables["entropy"].frame, overview["ceiling"]),
        alt=Sentence(
            "A rising curve of entropy against temperature, from {sharp:.2f} nats at T = "
            "{coldest:g} to {flat:.2f} at T = {hottest:g}, below a dotted ceiling at "
            "{ceiling:.2f}.",
            **{n: cells[n] for n in ("sharp", "flat", "coldest", "hottest", "ceiling")},
        ),
        answer=Sentence(
            "{entropy:.2f} nats at T = 1, as in a choice among {choices:.1f} equally likely tokens "
            "(random weights: {random_entropy:.2f} nats). The slope is Var(logits) / T³ within "
            "{deviation:.1e}, so it is never negative.",
            entropy=cells["entropy"],
            choices=_cell("choices"),
            random_entropy=cells["random_entropy"],
            deviation=Cell("laws", 1, "deviation"),
        ),
        tables=("entropy", "laws"),
        how_to_read="The curve can only rise: its slope is a variance. It starts at 0 (the "
        "likeliest token alone) and ends at the dotted line, where all tokens are alike. Random "
        "weights show how flat a model is that has learned nothing.",
        change_our_mind=Sentence(
            "A falling stretch, or a curve like that of random weights, which has learned "
            "nothing: {random_entropy:.2f} nats at T = 1 against {entropy:.2f}.",
            entropy=cells["entropy"],
            random_entropy=cells["random_entropy"],
        ),
        facts={"null": "random weights of the same shape; dH/dT with T² in place of T³"},
        uninformative=_uninformative(tables),
    )


def _uninformative(tables: dict[str, Table]) -> str:
    """Why what depends on learning says nothing here; "" if it does."""
    overview = tables["overview"].frame.iloc[0]
    if overview["entropy"] < ALIKE * overview["random_entropy"]:
        return ""
    return "At T = 1 the model's predictions are as open as those of random weights."


def _breaks(tables: dict[str, Table]) -> FigurePart:
    names = ("nan_share_own", "nan_share_far", "stable_nan_share", "breaks_below", "n")
    cells = {name: _cell(name) for name in names}
    return FigurePart(
        name="unstable",
        question="Does the notes' softmax code work?",
        picture=plots.softmax_breaks(tables["failures"].frame),
        alt=Sentence(
            "Three panels, one per level of the same logits; the share of distributions that the "
            "notes' formula turns into NaN falls with the temperature. With the largest logit at "
            "−110 and T = 1 it is {nan_share_far:.2f} in float32. The stable softmax stays at "
            "{stable_nan_share:g}.",
            nan_share_far=cells["nan_share_far"],
            stable_nan_share=cells["stable_nan_share"],
        ),
        answer=Sentence(
            "No. On the model's own logits it gives NaN for up to {nan_share_own:.2f} of {n} "
            "distributions in float32, from T = {breaks_below:.2f} downwards, and with the same "
            "logits lowered to −110, as GPT-2's are, for {nan_share_far:.2f} already at T = 1. The "
            "stable softmax: {stable_nan_share:g}.",
            **cells,
        ),
        tables=("failures",),
        how_to_read="All panels hold the same distributions: adding a constant to all logits "
        "changes nothing in the softmax, but everything for exp. Published raw GPT-2 logits lie "
        "around −30 to −130. A share of 0 is a working softmax.",
        change_our_mind=Sentence(
            "A stable softmax that fails as well. It fails in {stable_nan_share:g} of all cells.",
            stable_nan_share=cells["stable_nan_share"],
        ),
        facts={"null": "the stable log-softmax on the same logits"},
    )


def _calibration(tables: dict[str, Table], exact: bool) -> FigurePart:
    cells = {
        "ece": Cell("calibration", 0, "ece"),
        "low": Cell("calibration", 0, "ci_low"),
        "high": Cell("calibration", 0, "ci_high"),
        "null": Cell("calibration", 0, "null"),
        "best": Cell("best", 0, "temperature"),
        "best_low": Cell("best", 0, "ci_low"),
        "best_high": Cell("best", 0, "ci_high"),
        "n": Cell("calibration", 0, "n"),
    }
    answer = (
        "Expected calibration error {ece:.3f} at T = 1 (95 % interval {low:.3f} to {high:.3f}, "
        "n = {n:.0f} prompts); a perfectly calibrated model would show {null:.3f} by chance. The "
        "loss is least at T = {best:.2f} ({best_low:.2f} to {best_high:.2f})."
    )
    if exact:
        answer += (
            " Against the language's true probabilities the error is {true_ece:.3f} exactly, and "
            "the expected loss lies {floor_gap:.3f} nats above the least possible one."
        )
        cells |= {"true_ece": Cell("calibration", 1, "ece"), "floor_gap": _cell("floor_gap")}
    return FigurePart(
        name="calibration",
        question="Are the model's probabilities right, and does another temperature mend them?",
        picture=plots.calibration_panels(
            tables["reliability"].frame,
            tables["nll"].frame,
            float(tables["best"].frame["temperature"].iloc[0]),
        ),
        alt=Sentence(
            "Left, points of confidence against the share that came true, near the diagonal where "
            "the model is right. Right, loss against temperature, a bowl with its lowest point at "
            "T = {best:.2f}.",
            best=cells["best"],
        ),
        answer=Sentence(answer, **cells),
        tables=("reliability", "nll", "calibration", "calibration_gain", "best"),
        how_to_read="Left: a point on the diagonal keeps its promise; grey bars are where points "
        "fall by chance if every promise is kept. Right: the lowest point is the temperature that "
        "fits best; no model gets below the dotted line, where it is known.",
        change_our_mind=Sentence(
            "A temperature, tuned on other prompts, that takes much off the error. It takes off "
            "{gain:.3f} ({gain_low:.3f} to {gain_high:.3f}); for a copy made overconfident on "
            "purpose it takes off {control:.3f}.",
            gain=Cell("calibration_gain", 0, "gain"),
            gain_low=Cell("calibration_gain", 0, "ci_low"),
            gain_high=Cell("calibration_gain", 0, "ci_high"),
            control=Cell("calibration_gain", 1, "gain"),
        ),
        facts={"null": "outcomes drawn from the model's own confidences; logits doubled"},
        uninformative=_uninformative(tables),
    )


def _adaptive(tables: dict[str, Table], exact: bool) -> FigurePart:
    row = {
        name: Cell("adaptive_chosen", 0, name)
        for name in ("theta", "gain", "ci_low", "ci_high", "shuffled_gain", "n", "entropy_nats")
    }
    what = (
        "less probability for words that cannot come"
        if exact
        else "more probability for the token that came"
    )
    return FigurePart(
        name="adaptive",
        question="Does a temperature that follows the entropy beat a fixed one?",
        picture=plots.adaptive_gains(tables["adaptive"].frame, what),
        alt=Sentence(
            "For each strength θ the gain of the adaptive and of a shuffled temperature over a "
            "fixed one, with intervals. At θ = {theta:g} the adaptive one gains {gain:.4f}.",
            theta=row["theta"],
            gain=row["gain"],
        ),
        answer=Sentence(
            f"With θ = {{theta:g}}, chosen on other prompts: {what} by {{gain:.4f}} (95 % interval "
            "{ci_low:.4f} to {ci_high:.4f}, n = {n} prompts), at the same mean entropy of "
            "{entropy_nats:.2f} nats. The same temperatures at random places: {shuffled_gain:.4f}.",
            **row,
        ),
        tables=("adaptive", "adaptive_chosen"),
        how_to_read="All rules of a row leave equally much open on average, since whoever lowers "
        "the temperature gets fewer wrong words anyway. Right of the dashed line the rule is "
        "better than a fixed temperature.",
        change_our_mind=Sentence(
            "A shuffled temperature that gains as much: then the places would not matter. It "
            "gains {shuffled_gain:.4f}, the adaptive one {gain:.4f}.",
            shuffled_gain=row["shuffled_gain"],
            gain=row["gain"],
        ),
        facts={
            "null": "fixed temperature of equal mean entropy; the same temperatures shuffled",
            "smallest effect of interest": f"{LEAST_GAIN:g} of probability",
            "rule": "T = 0.8^(θ / entropy), Zhang et al. 2024",
        },
        uninformative=_uninformative(tables),
    )


def _headline(tables: dict[str, Table], exact: bool) -> Sentence:
    template = (
        "Calibration error {ece:.3f} at T = 1 (by chance {null:.3f}), least loss at T = "
        "{best:.2f}; the notes' softmax code gives NaN on these very logits below T = "
        "{breaks_below:.2f}."
    )
    return Sentence(
        template,
        ece=Cell("calibration", 0, "ece"),
        null=Cell("calibration", 0, "null"),
        best=Cell("best", 0, "temperature"),
        breaks_below=_cell("breaks_below"),
    )


# --------------------------------------------------------------------------------- conclude


def _findings(tables: dict[str, Table], exact: bool) -> tuple[Finding, ...]:
    return (
        _law(tables, 44, 0, "The model's distributions follow softmax(logits / T)"),
        _sharper(tables),
        _limits(tables),
        _code(tables),
        _greedy(tables),
        _adapts(tables, exact),
        _calibrates(tables),
        Finding(
            55,
            "not applicable",
            "No measurement on a language model decides this. As the notes state it, it is wrong: "
            "BERT is fine-tuned with the plain cross-entropy; a temperature carries knowledge over "
            "in distillation (Hinton et al. 2015; DistilBERT, Sanh et al. 2019).",
        ),
    )


def _law(tables: dict[str, Table], claim: int, row: int, what: str) -> Finding:
    law = tables["laws"].frame.iloc[row]
    return Finding(
        claim,
        "holds" if law["deviation"] <= 1e-10 else "fails",
        Sentence(
            what + " within {deviation:.1e}; a wrong formula deviates by up to {wrong:.1e} "
            "(n = {n} distributions).",
            deviation=Cell("laws", row, "deviation"),
            wrong=Cell("laws", row, "wrong_deviation"),
            n=Cell("laws", row, "n"),
        ).text(tables),
        value=law["deviation"],
        unit="largest deviation (exact)",
        null=law["wrong_deviation"],
        null_name=law["wrong_law"],
        n=law["n"],
        figure="probabilities",
    )


def _sharper(tables: dict[str, Table]) -> Finding:
    law, one = tables["laws"].frame.iloc[1], tables["laws"].frame.iloc[2]
    overview = tables["overview"].frame.iloc[0]
    right = max(law["deviation"], one["deviation"]) <= 1e-10 and overview["least_slope"] >= 0
    return Finding(
        45,
        "holds" if right else "fails",
        Sentence(
            "dH/dT = Var(logits) / T³ within {deviation:.1e}, never below {least:.1e}: lower T is "
            "always sharper; T = 1 changes nothing (within {one:.1e}). With T² in place of T³ the "
            "deviation is {wrong:.1e}.",
            deviation=Cell("laws", 1, "deviation"),
            least=_cell("least_slope"),
            one=Cell("laws", 2, "deviation"),
            wrong=Cell("laws", 1, "wrong_deviation"),
        ).text(tables),
        value=law["deviation"],
        unit="largest relative deviation of the slope (exact)",
        null=law["wrong_deviation"],
        null_name=law["wrong_law"],
        n=law["n"],
        figure="entropy",
    )


def _limits(tables: dict[str, Table]) -> Finding:
    zero, infinity = tables["laws"].frame.iloc[3], tables["laws"].frame.iloc[4]
    # At T = 10⁶ the distance from uniform is at most the range of the logits over T.
    reached = zero["deviation"] <= 1e-10 and infinity["deviation"] <= 1e-3
    return Finding(
        46,
        "holds" if reached else "fails",
        Sentence(
            "Near T = 0 the largest logits share everything (within {zero:.1e}; equal ones share "
            "evenly); at T = 10⁶ the distributions are uniform up to a total variation of "
            "{infinity:.1e}. At T = 1 they are up to {zero_wrong:.2f} and {infinity_wrong:.2f} "
            "away.",
            zero=Cell("laws", 3, "deviation"),
            infinity=Cell("laws", 4, "deviation"),
            zero_wrong=Cell("laws", 3, "wrong_deviation"),
            infinity_wrong=Cell("laws", 4, "wrong_deviation"),
        ).text(tables),
        value=infinity["deviation"],
        unit="total variation from uniform at T = 10⁶ (exact)",
        null=infinity["wrong_deviation"],
        null_name="the same at T = 1",
        n=infinity["n"],
        figure="entropy",
    )


def _code(tables: dict[str, Table]) -> Finding:
    overview = tables["overview"].frame.iloc[0]
    broken = overview["failing_cells"] > 0
    return Finding(
        47,
        "fails" if broken else "undecided",
        Sentence(
            "np.exp(logits / T) / sum gives NaN in float32 for {own:.2f} of the model's own "
            "distributions at the lowest temperature tried and, with the same logits lowered to "
            "−110, for {far:.2f} at T = 1; the stable softmax for {stable:g}.",
            own=_cell("nan_share_own"),
            far=_cell("nan_share_far"),
            stable=_cell("stable_nan_share"),
        ).text(tables),
        value=overview["nan_share_far"],
        unit="share of distributions that become NaN, largest logit −110, T = 1, float32",
        null=overview["stable_nan_share"],
        null_name="stable log-softmax",
        n=overview["n"],
        figure="unstable",
    )


def _greedy(tables: dict[str, Table]) -> Finding:
    overview = tables["overview"].frame.iloc[0]
    exact = overview["greedy_is_argmax"] == 1
    return Finding(
        48,
        "holds" if exact else "fails",
        Sentence(
            "At T = 0, a branch of its own without a division, the chosen token is the argmax in "
            "{zero:.3f} of {rows} positions; a draw at T = 0.0001 is it with probability "
            "{near:.4f}, one at T = 1 with {one:.3f}.",
            zero=_cell("greedy_is_argmax"),
            rows=_cell("greedy_rows"),
            near=_cell("near_zero_is_argmax"),
            one=_cell("at_one_is_argmax"),
        ).text(tables),
        value=overview["greedy_is_argmax"],
        unit="share of positions where T = 0 gives the argmax (exact)",
        null=overview["at_one_is_argmax"],
        null_name="a draw at T = 1",
        n=overview["greedy_rows"],
        figure="probabilities",
    )


def _adapts(tables: dict[str, Table], exact: bool) -> Finding:
    row = tables["adaptive_chosen"].frame.iloc[0]
    if row["ci_low"] > 0 and row["gain"] >= LEAST_GAIN:
        verdict = "holds"
    else:
        verdict = "fails" if row["ci_high"] < LEAST_GAIN else "undecided"
    if _uninformative(tables):
        verdict = "undecided"
    what = "less probability for impossible words" if exact else "more for the token that came"
    cells = {n: Cell("adaptive_chosen", 0, n) for n in ("theta", "gain", "ci_low", "ci_high")}
    return Finding(
        53,
        verdict,
        Sentence(
            f"A temperature that follows the entropy (θ = {{theta:g}}) gains {{gain:.4f}} ({what}) "
            "over a fixed one of equal mean entropy, which has {fixed:.4f} (95 % interval "
            "{ci_low:.4f} to {ci_high:.4f}); shuffled it gains {shuffled:.4f}. In loss it gains "
            "{nll_gain:.4f} nats.",
            **cells,
            fixed=Cell("adaptive_chosen", 0, "fixed"),
            nll_gain=Cell("adaptive_chosen", 0, "nll_gain"),
            shuffled=Cell("adaptive_chosen", 0, "shuffled_gain"),
        ).text(tables),
        value=row["gain"],
        unit="gain in probability at equal mean entropy",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=row["shuffled_gain"],
        null_name="the same temperatures at random positions",
        n=row["n"],
        figure="adaptive",
    )


def _calibrates(tables: dict[str, Table]) -> Finding:
    gain, control = (tables["calibration_gain"].frame.iloc[i] for i in (0, 1))
    able = control["ci_low"] > LEAST_ECE
    mends = gain["ci_low"] > 0 and gain["gain"] >= LEAST_ECE
    verdict = "holds" if mends else ("imprecise" if able else "undecided")
    verdict = "undecided" if _uninformative(tables) else verdict
    cells: dict[str, Any] = {
        "gain": Cell("calibration_gain", 0, "gain"),
        "low": Cell("calibration_gain", 0, "ci_low"),
        "high": Cell("calibration_gain", 0, "ci_high"),
        "control": Cell("calibration_gain", 1, "gain"),
        "ece": Cell("calibration", 0, "ece"),
        "null": Cell("calibration", 0, "null"),
        "fitted": Cell("calibration_gain", 0, "temperature"),
    }
    return Finding(
        54,
        verdict,
        Sentence(
            "A temperature tuned on other prompts (T = {fitted:.2f}) takes {gain:.3f} off the "
            "calibration error (95 % interval {low:.3f} to {high:.3f}), which is {ece:.3f} at "
            "T = 1 and would be {null:.3f} by chance; off that of a copy made overconfident it "
            "takes {control:.3f}."
            + ("" if mends else " Here the model leaves it little or nothing to mend."),
            **cells,
        ).text(tables),
        value=gain["gain"],
        unit="expected calibration error taken off",
        ci_low=gain["ci_low"],
        ci_high=gain["ci_high"],
        null=0.0,
        null_name="T = 1",
        n=gain["n"],
        figure="calibration",
    )


if __name__ == "__main__":
    import sys

    from interp.cli import main

    raise SystemExit(main(["run", NAME, *sys.argv[1:]]))
