"""How does the model write, one token after the other, and what do samplers and temperature change?

Predict, sample, append, repeat: each step is shown, the sampler is held against the softmax it
should follow, beam search against the best continuation there is, and generated text against real
text and against random words. For the small language every sentence can be parsed, so the share of
grammatical sentences is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from interp.reporting import StudyResult, Table
from studies import (
    StudyConfig,
    _generation_figures,
    _generation_findings,
    _prompts,
    _texts,
    provenance,
    questions,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from interp.core import HookedGPT

NAME = "generation"
TEMPERATURES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
QUICK_TEMPERATURES = (0.0, 0.5, 1.0, 1.5, 3.0)
BEAMS = (1, 2, 4, 8)
BEAM_TEMPERATURES = (0.5, 0.7, 1.5)
RULES = {
    "plain": {},
    "T = 0.7": {"temperature": 0.7},
    "top-k 10": {"top_k": 10},
    "nucleus 0.9": {"top_p": 0.9},
    "min-p 0.1": {"min_p": 0.1},
}
TOP_KS, TOP_PS, MIN_PS = (1, 2, 10, 100), (0.1, 0.5, 0.9, 0.99, 1.0), (0.05, 0.1, 0.5, 1.0)
STEPS, TOP = 8, 5
PROMPT_TOKENS = 5
LARGE = 10_000  # token types; above it fewer prompts and draws are taken
MOST_READS = 2000  # beginnings that an exact search may read


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    n_seeds: int = 20
    """Texts generated at each temperature, each with its own beginning and random numbers."""
    n_draws: int = 10_000
    """Tokens drawn from one distribution when a sampler is checked."""
    n_prompts: int = 16
    """Prompts on which beams are compared with the best continuation."""


class _Size(NamedTuple):
    """How much is done: less for a first look, and for a large vocabulary."""

    temperatures: tuple[float, ...]
    n_new: int
    depth: int
    checked: int
    length: int


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Measures samplers, identities, beams and generated text.

    Args:
        model: a causal model with a known kind of text.
        config: the options.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        NotApplicable: no text is known for the model.
    """
    say, steps = progress or (lambda *_: None), 4
    config, size = _sized(model, config)
    say("steps and identities", 0, steps)
    tables = _step_tables(model, config) | _identity_tables(model, config, size)
    say("samplers", 1, steps)
    tables |= _sampler_tables(model, config, size)
    say("texts at each temperature", 2, steps)
    tables |= _sweep_tables(model, config, size)
    say("beams", 3, steps)
    tables |= _beam_tables(model, config, size)
    tables["overview"] = _overview(model, config, tables)
    say("done", steps, steps)
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=_generation_figures.headline(tables),
        tables=tables,
        figures=_generation_figures.figures(tables),
        findings=_generation_findings.findings(tables),
        provenance=provenance(
            NAME,
            model,
            config,
            prompts=_texts.text_of(model, config.n_prompts, config.seed).description,
            smallest_effect_of_interest=f"{_generation_findings.LEAST:g} (share)",
        ),
    )


def _sized(model: "HookedGPT", config: Config) -> tuple[Config, _Size]:
    quick, large = config.quick, model.config.d_vocab > LARGE
    room = model.config.n_ctx - PROMPT_TOKENS
    size = _Size(
        QUICK_TEMPERATURES if quick else TEMPERATURES,
        min(room, (12 if large else 40) if quick else 48),
        3 if quick else 4,
        2 if quick and large else 8,
        min(model.config.n_ctx, 12 if quick else 24),
    )
    seeds = 6 if quick else config.n_seeds
    prompts = (3 if large else 6) if quick else config.n_prompts
    limit = config.limit or max(seeds, prompts)
    return (
        replace(
            config,
            n_seeds=min(seeds, limit),
            n_draws=min(config.n_draws, 4000) if quick else config.n_draws,
            n_prompts=min(prompts, limit),
        ),
        size,
    )


def _start(model: "HookedGPT", n: int, length: int, seed: int):
    """Beginnings of texts on the model's device."""
    import torch

    tokens = _texts.starts(model, n, length, seed).astype("int64")
    return torch.from_numpy(tokens).to(model.W_E.device)


# ---------------------------------------------------------------------------------- measure


def _step_tables(model: "HookedGPT", config: Config) -> dict[str, Table]:
    import numpy as np
    import pandas as pd
    import torch

    from interp import measures

    (prompt,) = _start(model, 1, PROMPT_TOKENS, config.seed)
    steps, candidates = measures.generation_steps(model, prompt, STEPS, TOP, config.seed)
    for frame in (steps, candidates):
        frame.insert(2, "piece", _texts.shown(model, frame["token"]))
    (real,) = _start(model, 1, min(model.config.n_ctx, 18), config.seed)
    order = torch.from_numpy(np.random.default_rng(config.seed).permutation(len(real) - 1) + 1)
    written = model.generate(
        prompt, min(len(real), model.config.n_ctx) - len(prompt), seed=config.seed
    ).tokens[0]
    texts = {
        "written by the model (T = 1)": (written, len(prompt)),
        "real text": (real, 1),
        "the same text, shuffled": (torch.cat([real[:1], real[order.to(real.device)]]), 1),
    }
    parts = []
    for name, (tokens, given) in texts.items():
        frame = measures.surprisals(model, tokens)
        frame.loc[frame["pos"] < given, "surprisal_nats"] = np.nan
        frame.insert(0, "text", name)
        frame.insert(3, "piece", _texts.shown(model, frame["token"]))
        parts.append(frame)
    surprisal = pd.concat(parts, ignore_index=True)
    return {
        "steps": Table(
            steps.assign(prompt=_decoded(model, prompt)),
            "One row per step: the token drawn at T = 1, its probability, rank and surprisal, and "
            "the entropy of the distribution it was drawn from (nats)",
        ),
        "candidates": Table(
            candidates, "One row per step and candidate: its probability, and whether it was drawn"
        ),
        "surprisal": Table(
            surprisal,
            "One row per token of three texts: surprisal (nats, empty for given tokens), rank, and "
            "the surprisal to expect at its place (entropy)",
        ),
    }


def _decoded(model: "HookedGPT", tokens) -> str:
    ids = [int(token) for token in tokens]
    return " ".join(map(str, ids)) if model.tokenizer is None else model.tokenizer.decode(ids)


def _identity_tables(model: "HookedGPT", config: Config, size: _Size) -> dict[str, Table]:
    from interp import measures

    tokens = _start(model, size.checked, size.length, config.seed)
    return {
        "identities": Table(
            measures.generation_identities(model, tokens, 12),
            "One row per identity: largest deviation, the same in the model's own precision, and "
            "that of a wrong way to compute it",
        )
    }


def _sampler_tables(model: "HookedGPT", config: Config, size: _Size) -> dict[str, Table]:
    import torch

    from interp import measures
    from interp.core.generation import Sampling

    prompts = _start(model, size.checked, PROMPT_TOKENS + 2, config.seed)
    with torch.no_grad():
        logits = model(prompts, logits_at=-1)[:, 0]
    rules = {name: Sampling(**options) for name, options in RULES.items()}
    checks, frequencies = measures.sampler_check(logits, rules, config.n_draws, config.seed)
    pooled = measures.pooled_chi_square(checks)
    pooled["q"] = measures.false_discovery_q(pooled["p"].to_numpy())
    plain = frequencies[frequencies["rule"] == "plain"].head(200)
    plain.insert(1, "piece", _texts.shown(model, plain["token"]))
    filters = measures.filter_check(logits.double().cpu().numpy(), TOP_KS, TOP_PS, MIN_PS)
    by_setting = filters.groupby(["rule", "setting"], sort=False, as_index=False)
    shares = by_setting[["kept", "same", "wrong_same"]].mean()
    return {
        "samplers": Table(
            pooled,
            "One row per sampler: total variation between drawn frequencies and probabilities, "
            "its expectation and 97.5 % point for a right sampler (means over prompts), and the "
            "chi-square of all prompts together",
        ),
        "sampler_prompts": Table(checks, "The same, one row per sampler and prompt", in_page=False),
        "wrong_sampler": Table(
            _wrong_sampler(logits, config),
            "The null: tokens drawn at T = 0.7 held against the probabilities at T = 1",
        ),
        "frequencies": Table(
            plain, "One row per token of the first prompt (the 200 likeliest): share of draws"
        ),
        "filters": Table(
            shares,
            "One row per filter and setting: tokens kept (mean over prompts), share of prompts "
            "where they are those of the definition, and those of a wrong definition",
        ),
    }


def _wrong_sampler(logits, config: Config) -> "pd.DataFrame":
    """Total variation of draws at T = 0.7 from the softmax at T = 1."""
    import pandas as pd
    import torch

    from interp.core.generation import Sampling, draw

    rows = logits.double().cpu()
    generator = torch.Generator().manual_seed(config.seed)
    uniform = torch.rand(len(rows), config.n_draws, dtype=torch.float64, generator=generator)
    drawn = draw(Sampling(temperature=0.7).log_probs(rows), uniform)
    shares = torch.stack([torch.bincount(row, minlength=rows.shape[1]) for row in drawn])
    distance = 0.5 * (shares / config.n_draws - rows.softmax(-1)).abs().sum(-1)
    return pd.DataFrame([{"tv": float(distance.mean()), "prompts": len(rows)}])


def _sweep_tables(model: "HookedGPT", config: Config, size: _Size) -> dict[str, Table]:
    import numpy as np
    import pandas as pd

    prompts = _start(model, config.n_seeds, PROMPT_TOKENS, config.seed)
    rows = _by_seed(model, prompts, config, size)
    references = _references(model, len(prompts), prompts.shape[1] + size.n_new, config.seed)
    names = [c for c in rows.columns if c not in ("temperature", "seed", "sentences")]
    parts = [_measure_rows(rows, name, references, config.seed) for name in names]
    return {
        "sweep": Table(
            pd.concat(parts, ignore_index=True),
            "One row per measure and temperature: mean over seeds with its 95 % interval, and the "
            "same measure on real text and on words drawn one by one by their frequency",
        ),
        "seeds": Table(rows, "One row per temperature and seed", in_page=False),
        "trends": Table(
            pd.DataFrame(
                [
                    {"measure": name, "from": low, "to": high} | _change(rows, name, low, high)
                    for name in names
                    for low, high in (
                        (size.temperatures[0], 1.0),
                        (1.0, size.temperatures[-1]),
                        (0.5, 1.0),
                        (1.0, 1.5),
                    )
                    if np.isfinite(rows[name]).all()
                ]
            ),
            "One row per measure and pair of temperatures: mean difference of the same seed (95 % "
            "interval), n seeds",
        ),
    }


def _by_seed(model: "HookedGPT", prompts, config: Config, size: _Size) -> "pd.DataFrame":
    """All measures of every text at every temperature."""
    import pandas as pd

    from interp import measures

    texts = measures.temperature_texts(model, prompts, size.temperatures, size.n_new, config.seed)
    parts = []
    for temperature, tokens in texts.items():
        frame = _measured(model, tokens.cpu().numpy())
        frame["surprisal"] = measures.mean_surprisals(model, tokens, prompts.shape[1])
        frame.insert(0, "temperature", temperature)
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def _measured(model: "HookedGPT", tokens: "np.ndarray") -> "pd.DataFrame":
    """Variety, and for the small language grammar, of each text."""
    from interp import corpus, measures

    frame = measures.variety(tokens.tolist())
    if _prompts.speaks_the_language(model):
        grammar = measures.grammatical_sentences(corpus.Language(), tokens.tolist())
        whole = grammar["sentences"].clip(lower=1)  # no whole sentence: none is grammatical
        frame["grammatical"] = grammar["grammatical"] / whole
        frame["said_before"] = grammar["said_before"] / whole
        frame["sentences"] = grammar["sentences"]
    return frame


def _references(model: "HookedGPT", n: int, length: int, seed: int) -> dict[str, dict[str, float]]:
    """The measures on real text and on random words of the same number and length."""
    import numpy as np
    import torch

    from interp import measures

    prompts = _texts.text_of(model, max(n, 60), seed + 1)
    sides = [np.asarray(getattr(batch, prompts.plain)) for batch in prompts.batches]
    ids = np.concatenate([side[:, 1:].ravel() for side in sides])
    counts = np.bincount(ids, minlength=model.config.d_vocab).astype(float)
    random = measures.unigram_texts(counts, n, length, seed)
    real = [side[:, :length] for side in sides if side.shape[1] >= length]
    found = {"unigram": random} | ({"text": np.concatenate(real)[:n]} if real else {})
    return {
        name: {
            **_measured(model, tokens).mean().to_dict(),
            "surprisal": float(
                measures.mean_surprisals(
                    model, torch.from_numpy(tokens.astype("int64")).to(model.W_E.device), 1
                ).mean()
            ),
        }
        for name, tokens in found.items()
    }


def _measure_rows(
    rows: "pd.DataFrame", name: str, references: dict[str, dict[str, float]], seed: int
) -> "pd.DataFrame":
    import pandas as pd

    from interp import measures

    wide = rows.pivot(index="seed", columns="temperature", values=name)
    low, high = measures.bootstrap_interval(wide.to_numpy(), seed=seed)
    return pd.DataFrame(
        {
            "measure": name,
            "temperature": wide.columns,
            "mean": wide.mean().to_numpy(),
            "ci_low": low,
            "ci_high": high,
            "text": references.get("text", {}).get(name, float("nan")),
            "unigram": references["unigram"][name],
            "n": len(wide),
        }
    )


def _change(rows: "pd.DataFrame", name: str, low: float, high: float) -> dict[str, float]:
    from interp import measures

    wide = rows.pivot(index="seed", columns="temperature", values=name)
    difference = (wide[high] - wide[low]).to_numpy()[:, None]
    (ci_low,), (ci_high,) = measures.bootstrap_interval(difference)
    ends = {"change": difference.mean(), "ci_low": ci_low, "ci_high": ci_high}
    return ends | {"n": len(difference)}


def _beam_tables(model: "HookedGPT", config: Config, size: _Size) -> dict[str, Table]:
    import pandas as pd

    from interp import measures

    prompts = _start(model, config.n_prompts, PROMPT_TOKENS, config.seed + 1)
    beams = measures.beam_comparison(model, prompts, size.depth, BEAMS, MOST_READS)
    hot = measures.beam_temperature(model, prompts, size.depth, BEAM_TEMPERATURES, MOST_READS)
    hot = hot[hot["searched"]]
    tables = {
        "beam_prompts": Table(beams, "One row per prompt and number of beams", in_page=False),
        "beams": Table(
            _shares(beams, "width", "found", config.seed),
            "One row per number of beams: share of prompts where the best beam is the best "
            "continuation there is (95 % interval), and what it misses (nats)",
        ),
        "beam_temperature": Table(
            _shares(hot, "temperature", "same", config.seed),
            "One row per temperature: share of prompts where the best continuation is the one at "
            "T = 1 (95 % interval)",
        ),
    }
    if model.config.d_vocab <= 1000:
        deviation, missing = measures.wide_beam_deviation(model, prompts[0])
        tables["wide_beam"] = Table(
            pd.DataFrame([{"deviation": deviation, "missing": missing, "depth": 2}]),
            "As many beams as tokens, two tokens deep, against all pairs: largest deviation of a "
            "log-probability (nats), and pairs that differ",
        )
    return tables


def _shares(frame: "pd.DataFrame", key: str, column: str, seed: int) -> "pd.DataFrame":
    """Share of prompts with a Wilson interval, one row per value of the key."""
    import pandas as pd
    import scipy.stats

    rows = []
    for value, group in frame.groupby(key):
        hits = int(group[column].sum())
        ends = scipy.stats.binomtest(hits, len(group)).proportion_ci(method="wilson")
        row = {key: value, column: hits / len(group), "ci_low": ends.low, "ci_high": ends.high}
        if "gap_nats" in group:
            row["gap_nats"] = group["gap_nats"].mean()
        rows.append(row | {"n": len(group)})
    columns = [key, column, "ci_low", "ci_high", "n"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def _overview(model: "HookedGPT", config: Config, tables: dict[str, Table]) -> Table:
    import pandas as pd

    told = tables["surprisal"].frame.dropna().groupby("text", sort=False)
    written, real, shuffled = told["surprisal_nats"].mean().tolist()
    filters = tables["filters"].frame
    fits, too_long = _context(model)
    return Table(
        pd.DataFrame(
            [
                {
                    "n_ctx": model.config.n_ctx,
                    "fits": fits,
                    "refused": too_long,
                    "beyond": model.config.n_ctx + 1,
                    "d_model": model.config.d_model,
                    "n_layers": model.config.n_layers,
                    "d_vocab": model.config.d_vocab,
                    "uniform": 1 / model.config.d_vocab,
                    "surprisal_written": written,
                    "surprisal_real": real,
                    "surprisal_shuffled": shuffled,
                    "entropy_written": told["entropy_nats"].mean().iloc[0],
                    "filters_same": filters["same"].mean(),
                    "filters_wrong": filters["wrong_same"].mean(),
                    "filter_cells": len(filters) * int(tables["wrong_sampler"].frame["prompts"][0]),
                    "random_entropy": _entropy(_prompts.with_random_weights(model, config.seed)),
                    "model_entropy": _entropy(model),
                    "n_seeds": config.n_seeds,
                    "n_draws": config.n_draws,
                }
            ]
        ),
        "In all",
    )


def _context(model: "HookedGPT") -> tuple[int, int]:
    """1 if `n_ctx` tokens are read, and 1 if one more is refused; the first layer decides."""
    import torch

    from interp.core.errors import InputError

    tokens = torch.zeros(1, model.config.n_ctx + 1, dtype=torch.long, device=model.W_E.device)
    outcomes = []
    for given in (tokens[:, :-1], tokens):
        try:
            with torch.no_grad():
                model(given, stop_at_layer=1)
            outcomes.append(True)
        except InputError:
            outcomes.append(False)
    return int(outcomes[0]), int(not outcomes[1])


def _entropy(model: "HookedGPT") -> float:
    """Mean entropy (nats) of the next token behind some beginnings of texts."""
    import torch

    with torch.no_grad():
        logits = model(_start(model, 16, PROMPT_TOKENS, 0), logits_at=-1)[:, 0].double()
    return float(torch.special.entr(logits.softmax(-1)).sum(-1).mean())


if __name__ == "__main__":
    import sys

    from interp.cli import main

    raise SystemExit(main(["run", NAME, *sys.argv[1:]]))
