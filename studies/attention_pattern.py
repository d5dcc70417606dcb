"""Why does this head attend here, and is what it attends to what it uses?

The lectures let "creature" attend to "fluffy" and "blue". Here a planted model does exactly that,
with a known answer; the shipped small model and the model at hand stand beside it. One head, the
one whose nouns look at their adjectives most, is then taken apart: its attention on many sentences
against matched controls, its scores as sums over what query and key were made of, and what each
cell of its pattern does to the prediction. All heads are asked whether words or places decide where
they look.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interp import measures, planted, plots
from interp.reporting import StudyResult, Table
from studies import StudyConfig, _prompts, provenance, questions

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT
    from studies._adjectives import Words

NAME = "attention_pattern"
N_SHOWN = 4  # heads per kind of adjectives in the dot plot
N_CLASS_SHOWN = 12
N_WINDOWS = 32  # of text, for the checks of scores and biases
N_CELL_PROMPTS, N_QUICK_CELL_PROMPTS = 24, 12  # on which every cell is switched off
LONGEST_CELL_PROMPT = 12  # tokens; their number of cells grows with the square
MIN_SCORE = 1.0  # declared beforehand: a score higher by 1 has e times the attention
MIN_WORDS = 0.1  # declared beforehand: share of a pattern's variance that counts as "words matter"


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    n_sentences: int = 160
    """Sets of words, each said in three orders; half of them select heads, the other half tests."""
    n_prompts: int = 128
    """Prompts for how much of a pattern words and places decide."""
    n_permutations: int = 5000
    """Sign flips and relabellings for each p-value."""
    n_resamples: int = 1999
    """Bootstrap resamples for each interval."""


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Measures attention patterns and says what that means for claims 56 to 60, 64 and 65.

    Where a model has no words that the question needs, that part is left out, and its claims are
    "not applicable".

    Args:
        model: any HookedGPT.
        config: the options.
        progress: called with what is being done, how much of it is done, and how much there is.
    """
    from studies import _adjectives, _attention_figures, _attention_findings
    from studies import _attention_sentence as sentence

    config = _sized(config)
    windows = _windows(model, config)
    plain = _prompts.same_length(windows, config.seed)
    words = _adjectives.words_of(model)
    tables = _word_or_place_tables(model, windows, config, progress)
    if words is not None:
        tables |= _adjective_tables(model, words, config, progress)
        tables |= _class_tables(model, words, config)
    tables |= _head_table(tables)
    sides = sentence.sides(
        model, plain[0], _head_of(tables), tables["head"].frame["why"].iloc[0], config.seed
    )
    changed = sentence.swapped(sides[-1], words)
    tables |= sentence.sentence_tables(sides)
    if changed is not None:
        tables |= sentence.swapped_tables(sides[-1], changed)
    tables |= sentence.split_tables(sides, words)
    tables |= _use_tables(model, plain, words, tables, config)
    tables |= _formula_tables(model, plain, config)
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=_attention_figures.headline(tables),
        tables=tables,
        figures=_attention_figures.draw(tables, sides),
        findings=_attention_findings.conclude(tables),
        provenance=provenance(
            NAME,
            model,
            config,
            prompts=[windows.description, *_described(words, config)],
            prompts_sha256=_prompts.fingerprint(windows),
            smallest_effect_of_interest=f"{measures.MIN_EFFECT} (attention probability), "
            f"{MIN_SCORE} (score), {MIN_WORDS} (share of variance)",
            correction="Benjamini-Hochberg over heads and kinds of adjectives; over heads (scores)",
        ),
    )


def _sized(config: Config) -> Config:
    """`quick` and `limit` applied."""

    def at_most(n: int, quick: int) -> int:
        n = min(n, quick) if config.quick else n
        return n if config.limit is None else min(n, config.limit)

    return replace(
        config,
        n_sentences=at_most(config.n_sentences, 40),
        n_prompts=at_most(config.n_prompts, 64),
        n_permutations=1000 if config.quick else config.n_permutations,
        n_resamples=499 if config.quick else config.n_resamples,
    )


def _windows(model: "HookedGPT", config: Config) -> "measures.PromptSet":
    """Text like that which the model was trained on; random tokens where that is not known."""
    text = _prompts.text_prompts(model, config.n_prompts, config.seed)
    return text or _prompts.random_prompts(model, config.n_prompts, config.seed)


def _described(words: "Words | None", config: Config) -> list[str]:
    if words is None:
        return []
    kinds = ", ".join(f"{len(ids)} of {kind}" for kind, ids in words.kinds.items())
    return [
        f"{config.n_sentences} sets of three adjectives ({kinds}) and one of {len(words.nouns)} "
        f"nouns, each in three orders; {len(words.others)} other words for the controls"
    ]


def _names(heads: "pd.DataFrame") -> list[str]:
    return [plots.head_label(*at) for at in zip(heads["layer"], heads["head"], strict=True)]


# ----------------------------------------------------------------------- words or places (64)


def _word_or_place_tables(
    model: "HookedGPT", windows: "measures.PromptSet", config: Config, progress: Any
) -> dict[str, Table]:
    import pandas as pd

    arrays = [getattr(batch, windows.plain) for batch in windows.batches]
    heads = measures.head_descriptors(
        model, arrays, batch_size=config.batch_size, progress=progress
    )
    random_init = _prompts.with_random_weights(model, config.seed)
    fewer = [rows[: max(2, len(rows) // 2)] for rows in arrays]
    random = measures.head_descriptors(random_init, fewer, batch_size=config.batch_size)
    for frame in (heads, random):
        frame.insert(0, "name", _names(frame))
    low, high = measures.bootstrap_interval(
        heads[["between_prompts"]].to_numpy(), config.n_resamples, config.seed
    )
    places = heads.loc[heads["positional_r2"].idxmax()]
    by_words = heads.loc[heads["between_prompts"].idxmax()]
    overview = {
        "n_heads": len(heads),
        "n_words": int((heads["between_prompts"] >= MIN_WORDS).sum()),
        "n_words_random_init": int((random["between_prompts"] >= MIN_WORDS).sum()),
        "mean": heads["between_prompts"].mean(),
        "ci_low": low[0],
        "ci_high": high[0],
        "mean_random_init": random["between_prompts"].mean(),
        "most_positional": places["name"],
        "most_positional_r2": places["positional_r2"],
        "most_positional_words": places["between_prompts"],
        "least_positional": by_words["name"],
        "least_positional_r2": by_words["positional_r2"],
        "least_positional_words": by_words["between_prompts"],
        "n_prompts": int(heads["n"].max()),
    }
    return {
        "words_places": Table(
            pd.DataFrame([overview]),
            "Share of the patterns' variance that differs between prompts, over heads; heads with "
            f"at least {MIN_WORDS}; and the heads at both ends",
        ),
        "descriptors": Table(
            heads.sort_values("between_prompts", ascending=False, kind="stable", ignore_index=True),
            "One row per head: attention on the first token and its share of what is written; "
            "entropy over the largest possible; mean distance (tokens); shares of the variance",
        ),
        "descriptors_random": Table(
            random, "The same for the model with random weights", in_page=False
        ),
    }


# --------------------------------------------------------------------- adjectives and nouns (57)


def _adjective_tables(
    model: "HookedGPT", words: "Words", config: Config, progress: Any
) -> dict[str, Table]:
    import pandas as pd

    from studies import _adjectives

    options = {
        "roles": (_adjectives.ROLE,),
        "batch_size": 4 * config.batch_size,  # these prompts are short
        "n_permutations": config.n_permutations,
        "n_resamples": config.n_resamples,
        "seed": config.seed,
    }
    suites = _adjectives.suites(words, config.n_sentences, config.seed)
    every = measures.detect_roles(model, suites, **options, progress=progress)
    random = measures.detect_roles(
        _prompts.with_random_weights(model, config.seed), suites[-1:], **options
    )
    every = every.drop(columns=["role", "decisive", "label"]).rename(
        columns={"prompts": "role", "passes": "confirmed"}
    )
    every.insert(1, "name", _names(every))
    order = {name: place for place, name in enumerate([_adjectives.ALL_KINDS, *words.kinds])}
    shown = every[every["role"].isin(order)]
    shown = shown.assign(order=shown["role"].map(order)).sort_values(
        ["order", "contrast"], ascending=[True, False], kind="stable"
    )
    strongest = shown.groupby("role", sort=False).head(N_SHOWN).drop(columns="order")
    together = every[every["role"] == _adjectives.ALL_KINDS]
    best = together.loc[together["contrast_discovery"].idxmax()]
    of_best = every[every["name"] == best["name"]].set_index("role")
    by_kind = of_best.loc[list(words.kinds)]
    top = by_kind.loc[by_kind["contrast"].idxmax()]
    least = by_kind.loc[by_kind["contrast"].idxmin()]
    overview = {
        **{name: best[name] for name in ("name", "layer", "head", "score", "control", "contrast")},
        **{name: best[name] for name in ("contrast_discovery", "ci_low", "ci_high", "p", "q", "n")},
        "confirmed": bool(best["confirmed"]),
        "n_heads": len(together),
        "n_confirmed": int(together["confirmed"].sum()),
        "n_confirmed_random_init": int(random["passes"].sum()),
        "n_prompts": len(_adjectives.ORDERS) * config.n_sentences,
        "n_tests": len(every),
        "n_kinds": len(words.kinds),
        "n_kinds_confirmed": int(by_kind["confirmed"].sum()),
        "top_kind": top.name,
        "top_score": top["score"],
        "least_kind": least.name,
        "least_score": least["score"],
        "largest_ci_high": together["ci_high"].max(),
        "smallest_effect": float(best["smallest_effect"]),
    }
    tables = {
        "adjectives_overview": Table(
            pd.DataFrame([overview]),
            "The head that was selected on one half of the sentences, and its numbers on the other "
            "(attention of a noun per adjective, probability)",
        ),
        "adjectives": Table(
            strongest.reset_index(drop=True),
            f"The {N_SHOWN} heads with the largest contrast, all adjectives and kind by kind "
            "(attention of a noun per adjective, probability); n counts sets of words",
        ),
        "adjectives_all": Table(
            every.reset_index(drop=True), "The same for all heads", in_page=False
        ),
    }
    if words.useful:
        rows = every[every["role"] == f"{words.useful} − {words.useless}"]
        row = rows.loc[[rows["contrast_discovery"].idxmax()]].drop(columns=["role", "p_zero"])
        row = row.rename(columns={"score": "useful_weight", "control": "useless_weight"})
        row.insert(0, "useful", words.useful)
        row.insert(1, "useless", words.useless)
        tables["useful"] = Table(
            row.reset_index(drop=True),
            "Attention of nouns to the adjective that decides the verb and to the one that decides "
            "nothing, same sentences, same distances (probability)",
        )
    return tables


def _class_tables(model: "HookedGPT", words: "Words", config: Config) -> dict[str, Table]:
    import pandas as pd

    from studies import _attention_checks

    heads = _attention_checks.class_scores(
        model, words, config.n_permutations, config.n_resamples, config.seed
    )
    heads.insert(0, "name", _names(heads))
    heads["confirmed"] = (heads["q"] < measures.ALPHA) & (heads["ci_low"] > MIN_SCORE)
    heads = heads.sort_values("contrast", ascending=False, kind="stable", ignore_index=True)
    overview = {"n_heads": len(heads), "n_confirmed": int(heads["confirmed"].sum())}
    return {
        "classes": Table(
            heads.head(N_CLASS_SHOWN),
            "The heads whose nouns prefer adjectives to other words most, from the weights alone "
            "(scores, no unit); n counts key words",
        ),
        "classes_all": Table(heads, "The same for all heads", in_page=False),
        "classes_overview": Table(pd.DataFrame([overview]), "Heads, and heads that prefer them"),
    }


# ------------------------------------------------------------------------------- the head


def _head_table(tables: dict[str, Table]) -> dict[str, Table]:
    """The head that is taken apart: by adjectives where there are any, else by words."""
    import pandas as pd

    if "adjectives_overview" in tables:
        row = tables["adjectives_overview"].frame.iloc[0]
        why = "largest attention of nouns to adjectives, over the control"
    else:
        row, why = tables["descriptors"].frame.iloc[0], "pattern depends on the words most"
    head = {"name": row["name"], "layer": int(row["layer"]), "head": int(row["head"]), "why": why}
    return {"head": Table(pd.DataFrame([head]), "The head that is taken apart, and why this one")}


def _head_of(tables: dict[str, Table]) -> tuple[int, int]:
    row = tables["head"].frame.iloc[0]
    return int(row["layer"]), int(row["head"])


# -------------------------------------------------------------------------- weight and use (65)


def _use_tables(
    model: "HookedGPT",
    plain: np.ndarray,
    words: "Words | None",
    tables: dict[str, Table],
    config: Config,
) -> dict[str, Table]:
    """Weight, share of what is written, and effect of every cell, over many prompts."""
    import pandas as pd

    from studies import _attention_checks

    rows = []
    n_prompts = N_QUICK_CELL_PROMPTS if config.quick else N_CELL_PROMPTS
    for number, tokens in enumerate(plain[:n_prompts, :LONGEST_CELL_PROMPT]):
        cells = _attention_checks.cell_effects(model, tokens, *_head_of(tables))
        weight, use = _attention_checks.rank_agreement(cells)
        top = _attention_checks.top_agreement(cells)
        rows.append({"prompt": number, "weight": weight, "use": use, **top})
    by_prompt = pd.DataFrame(rows)
    if len(by_prompt) < 6:
        return {}
    overview = measures.paired_contrast(
        by_prompt[["use"]].to_numpy(),
        by_prompt[["weight"]].to_numpy(),
        config.n_permutations,
        config.n_resamples,
        config.seed,
    ).rename(columns={"score": "use", "control": "weight", "contrast": "gain"})
    low, high = measures.bootstrap_interval(
        by_prompt[["weight"]].to_numpy(), config.n_resamples, config.seed
    )
    overview["weight_ci_low"], overview["weight_ci_high"] = low[0], high[0]
    overview["weight_p"] = measures.sign_flip_p(
        by_prompt[["weight"]].to_numpy(), config.n_permutations, config.seed
    )
    overview["top"], overview["top_by_chance"] = by_prompt[["top", "top_by_chance"]].mean()
    heads = tables["descriptors"].frame
    for side in ("weight", "use"):
        overview[f"first_token_{side}"] = heads[f"first_token_{side}"].mean()
    sink = planted.plant("bos_sink")
    (at,) = [answer.at for answer in sink.key.heads if "bos_sink" in answer.roles]
    ids = np.arange(sink.model.config.n_ctx)  # BOS, then each word once
    ids = np.minimum(ids, sink.model.config.d_vocab - 1)
    cells = _attention_checks.cell_effects(sink.model, ids, *at)
    first = cells[(cells["key_pos"] == 0) & (cells["query_pos"] > 0)]
    overview["sink_weight"] = first["weight"].mean()
    overview["sink_use"] = first["use"].mean()
    overview["sink_effect_nats"] = cells["effect_nats"].max()
    return {
        "use": Table(
            overview,
            "Rank correlation over cells of attention, and of the share of what is written, with "
            "the change of the prediction when the cell is taken out; share of queries whose most "
            "attended key matters most; the first token's share over all heads; and the planted "
            "sink, which attends and writes nothing; n counts prompts",
        ),
        "use_by_prompt": Table(by_prompt, "The same for each prompt", in_page=False),
    }


# ---------------------------------------------------------------------- formulas (56, 59, 60)


def _formula_tables(model: "HookedGPT", plain: np.ndarray, config: Config) -> dict[str, Table]:
    import pandas as pd
    import torch

    from studies import _attention_checks

    tokens = plain[:N_WINDOWS]
    layers = _attention_checks.identities(model, tokens)
    bias = _attention_checks.without_bias(model, tokens)
    moved = bias["query_moved"].mean(1, keepdims=True)
    low, high = measures.bootstrap_interval(moved, config.n_resamples, config.seed)
    layers["first_token"] = bias["intact"].mean(0)
    layers["first_token_without_query_bias"] = bias["query"].mean(0)
    total = {
        "query": layers["query"].max(),
        "query_plain": layers["query_plain"].mean(),
        "output": layers["output"].max(),
        "unscaled": layers["unscaled"].mean(),
        "entropy": layers["entropy"].mean(),
        "entropy_unscaled": layers["entropy_unscaled"].mean(),
        "without_key_bias": layers["without_key_bias"].max(),
        "query_bias_moved": moved.mean(),
        "ci_low": low[0],
        "ci_high": high[0],
        "first_token": bias["intact"].mean(),
        "first_token_without_query_bias": bias["query"].mean(),
        "d_head": model.config.d_head,
        "sqrt_d_head": model.config.d_head**0.5,
        # Rounding of sums over a few hundred numbers, relative to the largest of them.
        "tolerance": max(1e-12, 100 * torch.finfo(model.W_E.dtype).eps),
        "n_prompts": len(tokens),
        "n_layers": len(layers),
    }
    formulas = {
        "query": "queries are W_Q LN(x) + b_Q",
        "query_plain": "queries are W_Q x",
        "output": "softmax(q·k / √d) v, as PyTorch does it",
        "unscaled": "softmax(q·k), not divided by √d",
        "without_key_bias": "without key biases",
        "query_bias_moved": "without query biases",
    }
    return {
        "formulas": Table(
            pd.DataFrame(
                {
                    "formula": list(formulas.values()),
                    "deviation": [total[name] for name in formulas],
                }
            ),
            "How far each formula is from the model: relative to the model's values (queries, "
            "values), or as share of the attention that moves (the rest)",
        ),
        "identities": Table(layers, "The same layer by layer, and attention on the first token"),
        "formulas_total": Table(pd.DataFrame([total]), "Over all layers"),
    }


if __name__ == "__main__":
    import sys

    from interp.cli import main

    raise SystemExit(main(["run", NAME, *sys.argv[1:]]))
