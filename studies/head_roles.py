"""Which attention heads have a role that can be told from chance?

Every head is tested for every role that the prompts allow (`interp.measures.REGISTRY`): attention
to the previous token, to an earlier occurrence of the same token, to what followed it (induction),
to the first token, from nouns to adjectives, and so on, and what it writes (copying, successors).
There is one criterion. A head holds a role if its score exceeds a control on the same positions by
more than the role's smallest effect of interest: on prompts that select, and on other prompts with
a 95 % interval above it and q < 0.05 over all heads, roles and kinds of prompts. The model's own
kind of text decides, random tokens stand beside it, and a model of the same shape with random
weights goes through the same.

Then ablations: a label is confirmed if the behaviour that the role serves suffers without the head,
and heads that matter without a label are hidden. Heads of least effect are pruned together; the
shipped training seeds are compared by role.

Beside the roles: whether patterns are probabilities, whether heads differ, and whether a picture of
attention weights shows what heads use.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from interp import measures, plots
from interp.reporting import StudyResult, Table
from studies import StudyConfig, _prompts, provenance, questions
from studies._head_roles_others import head_names, rank_correlation

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT
    from interp.measures import PromptSet
    from studies._head_roles_causal import Sizes

NAME = "head_roles"
MIN_DIVERGENCE = 0.05  # nats; declared beforehand, about 7 % of the largest possible, ln 2
MANY_HEADS = 64  # above, everything is measured on fewer prompts, and fewer heads are ablated
MOST_ROWS = 300  # of a table in the page


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    n_prompts: int = 128
    """Prompts of each kind; half of them select heads, the other half tests them."""
    n_permutations: int = 5000
    """Sign flips for each p-value; fewer cannot reach q < 0.05 in so large a family."""
    n_resamples: int = 999
    """Bootstrap resamples for each interval."""


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Measures all heads and says what that means for claims 61 to 63 and 103 to 106.

    Args:
        model: any HookedGPT.
        config: the options.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        InputError: too few prompts for any role.

    Cost: on the shipped model some seconds; it grows with prompts, and with heads times layers for
    the ablations.
    """
    from studies import _head_roles_causal, _head_roles_figures, _head_roles_findings, _scenes

    sizes = sized(model, config)
    sets = [_prompts.random_prompts(model, sizes.n_prompts, config.seed)]
    text = _prompts.text_prompts(model, sizes.n_prompts, config.seed)
    sets += [] if text is None else [text]
    random_init = _prompts.with_random_weights(model, config.seed)
    suites = _scenes.suites(model, sets, sizes.n_prompts, config.seed)
    frame = _head_roles_causal.detected(model, suites, sizes, progress)
    # What decides is the last kind of prompts; a model that only stands beside needs no other.
    beside = [_head_roles_causal.fewer(suites[-1], sizes.n_beside)]
    of_random = _head_roles_causal.detected(random_init, beside, sizes, None)
    tables = role_tables(frame, of_random)
    tables |= _head_roles_causal.tables(
        model, sets, suites, frame, of_random, tables["role_strength"].frame, sizes, progress
    )
    plain = _prompts.same_length(sets[-1], config.seed)
    tokens, texts = _prompts.lecture_tokens(model, plain[0])
    tables |= _divergence_tables(model, random_init, plain, sizes)
    tables |= _use_tables(model, tokens, texts)
    tables |= _sum_tables(model, plain[: sizes.n_sums], config)
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=_head_roles_findings.headline(tables),
        tables=tables,
        figures=_head_roles_figures.draw(tables),
        findings=_head_roles_findings.conclude(tables),
        provenance=provenance(NAME, model, config, **_facts(sets, frame, sizes)),
    )


def sized(model: "HookedGPT", config: Config) -> "Sizes":
    """How much is measured: `quick` and `limit` applied, and less of it in models of many heads."""
    from studies._head_roles_causal import Sizes

    many = model.config.n_layers * model.config.n_heads > MANY_HEADS
    n_prompts = min(config.n_prompts, 64) if config.quick or many else config.n_prompts
    if config.quick and many:
        n_prompts = min(config.n_prompts, 24)
    if config.limit is not None:
        n_prompts = min(n_prompts, config.limit)
    sizes = Sizes(
        n_prompts=n_prompts,
        n_beside=min(96, n_prompts),
        n_permutations=config.n_permutations,
        n_resamples=config.n_resamples,
        batch_size=config.batch_size,
        seed=config.seed,
        n_causal=8 if many else 24,
        n_ablated=None,
        n_pruning=16 if many else 32,
        n_subsets=3 if many else 8,
        n_sums=16 if many else 64,
        n_pairs=6 if many else 12,
        with_seeds=not config.quick,
    )
    if config.quick:
        sizes = replace(
            sizes,
            n_beside=min(32, n_prompts),
            n_resamples=min(499, config.n_resamples),
            **{"n_causal": 12, "n_pruning": 16, "n_subsets": 4, "n_sums": 32, "n_pairs": 6},
        )
    if config.quick and many:
        fewer = {"n_causal": 6, "n_ablated": 12, "n_pruning": 6, "n_subsets": 2, "n_sums": 6}
        sizes = replace(sizes, **fewer)
    return replace(sizes, n_causal=min(sizes.n_causal, n_prompts))


def _facts(sets: list["PromptSet"], frame: "pd.DataFrame", sizes: "Sizes") -> dict[str, Any]:
    ablated = "all heads" if sizes.n_ablated is None else f"the {sizes.n_ablated} strongest heads"
    return {
        "prompts": [f"{prompts.name}: {prompts.description}" for prompts in sets],
        "prompts_sha256": _prompts.fingerprint(*sets),
        "smallest_effect_of_interest": ", ".join(
            f"{role.name} {role.smallest_effect:g}" for role in measures.REGISTRY.values()
        )
        + f"; divergence {MIN_DIVERGENCE} nats",
        "correction": f"Benjamini-Hochberg over {len(frame)} tests: heads × roles × prompts",
        "ablations": f"of {ablated}, on {sizes.n_causal} prompts of each behaviour",
    }


# ------------------------------------------------------------------------------------ measure


def role_tables(frame: "pd.DataFrame", of_random: "pd.DataFrame") -> dict[str, Table]:
    """Every test of every head, the strength of every role, and the best head of each."""
    strength = measures.role_strength(frame)
    summary = measures.role_summary(frame, of_random)
    for one in (frame, strength, summary):
        one.insert(0, "name", head_names(one))
    tables = {
        "roles": Table(
            summary,
            "One row per role: heads that hold it, and its best head; score, control and contrast "
            "are probabilities of attention, or shares of tokens",
        ),
        "role_strength": Table(
            strength,
            "Contrast of every head in every role, in units of the role's smallest effect",
            in_page=len(strength) <= MOST_ROWS,
        ),
        "tests": Table(frame, "Every role and head on all kinds of prompts", in_page=False),
        "random_init": Table(
            of_random, "The same for the model with random weights", in_page=False
        ),
    }
    return tables | _by_prompts(frame)


def _by_prompts(frame: "pd.DataFrame") -> dict[str, Table]:
    """Contrasts on random tokens beside those on text, of roles that somebody holds on either."""
    import pandas as pd

    known = [role.name for role in measures.REGISTRY.values() if role.label]
    held = {role for role in frame.loc[frame["passes"], "role"] if role in known}
    both = frame.groupby("role")["prompts"].nunique() == 2
    shown = frame[frame["role"].isin(held & set(both.index[both]))]
    if shown.empty:
        return {}
    wide = shown.pivot(index=["role", "layer", "head"], columns="prompts", values="contrast")
    wide = wide[list(dict.fromkeys(frame["prompts"]))]  # random tokens first
    wide = wide.sort_index(level="role", key=lambda r: r.map(known.index), kind="stable")
    on_random, on_text = wide.iloc[:, 0], wide.iloc[:, 1]
    role, layer, head = (on_random - on_text).abs().idxmax()
    row = {
        "role": role.replace("_", " "),
        "name": plots.head_label(layer, head),
        "contrast_random_tokens": on_random[role, layer, head],
        "contrast_text": on_text[role, layer, head],
        "text": on_text.name,
        "rank_correlation": rank_correlation(on_random, on_text),
        "n": len(wide),
    }
    rows = wide.reset_index().rename_axis(columns=None)
    return {
        "by_prompts": Table(
            rows,
            "Contrast of each head and role, by kind of prompts (probabilities or shares)",
            in_page=len(rows) <= MOST_ROWS,
        ),
        "role_shift": Table(
            pd.DataFrame([row]), "The head whose contrast depends most on the prompts"
        ),
    }


def _divergence_tables(
    model: "HookedGPT", random_init: "HookedGPT", tokens: Any, sizes: "Sizes"
) -> dict[str, Table]:
    given, random = (
        measures.pattern_divergence(one, tokens, sizes.n_pairs) for one in (model, random_init)
    )
    row = measures.paired_contrast(
        given.units[["two_heads_nats"]].to_numpy(),
        random.units[["two_heads_nats"]].to_numpy(),
        sizes.n_permutations,
        sizes.n_resamples,
        sizes.seed,
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
    heads.insert(0, "name", head_names(heads))
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

    sums = measures.pattern_sums(model, tokens, config.batch_size)
    total = {
        "row_deviation": sums["row_deviation"].max(),
        "column_deviation": sums["column_deviation"].mean(),
        "smallest": sums["smallest"].min(),
        "largest": sums["largest"].max(),
        "n_rows": sums["n_rows"].sum(),
        "n_layers": len(sums),
        "n_prompts": len(tokens),
        # Rounding of one weight, times a few; in float32 the 1e-6 of the claim.
        "tolerance": max(1e-6, 8 * torch.finfo(model.W_E.dtype).eps),
    }
    return {
        "sums": Table(sums, "Sums of attention weights, one row per layer"),
        "sums_total": Table(
            pd.DataFrame([total]),
            "The same over all layers: rows belong to queries, columns to keys",
        ),
    }


if __name__ == "__main__":
    import sys

    from interp.cli import main

    raise SystemExit(main(["run", NAME, *sys.argv[1:]]))
