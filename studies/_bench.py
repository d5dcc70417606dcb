"""The bench: planted models, the detectors on them, and the count of what they got right.

A case is one planted model in one disguise. The detectors get the model and prompts as they would
for any other; the answer key is opened afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from interp import measures, planted
from interp.planted import Family, Planted, Prompts

WORDS = ("adjective_noun", "agreement", "fact_memory", "name_mover")
BOS, PAD = 0, 1


@dataclass(frozen=True)
class Case:
    """One planted model.

    Attributes:
        name: for tables: the tiers, or the noise.
        recipes: the plants in it.
        tiers: letters, as in `planted.hide`.
        sigma: noise of tier E.
        seed: of the model, its disguise and the prompts.
        sizes: options of `planted.zoo`.
    """

    name: str
    recipes: tuple[str, ...]
    tiers: str
    sigma: float = 0.5
    seed: int = 0
    sizes: dict[str, Any] = field(default_factory=dict)

    def build(self) -> Planted:
        """The model and its key."""
        model = planted.zoo(self.recipes, seed=self.seed, **self.sizes)
        return planted.hide(model, self.tiers, seed=self.seed, sigma=self.sigma)


# -------------------------------------------------------------------------------------- prompts


def suites(
    subject: Planted, n_prompts: int, seed: int, random_only: bool = False
) -> list[measures.Suite]:
    """Random tokens for every role that needs no grammar, and the recipes' own prompts for others.

    Prompts are drawn anew, with another seed than those of the key.
    """
    model, key = subject.model, subject.key
    words = measures.ordinary_tokens(model, BOS)
    prompts = measures.random_token_prompts(words, n_prompts, model.config.n_ctx, BOS, seed)
    successor = None
    if "successor" in key.tables:
        successor = np.array(key.tables["successor"])
        successor[[BOS, PAD]] = -1
    random = measures.suite_of(prompts, BOS, (BOS, PAD), successor, seed)
    if random_only:
        return [random]
    marked = [
        scene
        for make in (_phrases, _agreement, _nearest_noun, _names, _successors, _facts)
        for scene in make(subject, n_prompts, seed)
    ]
    if not marked:
        return [random]
    own = measures.Suite("own prompts", tuple(marked), (BOS, PAD))
    return [random, own]


def _family(subject: Planted, name: str, n: int, seed: int, **options: Any) -> Prompts | None:
    """Prompts of the first family whose name ends so, drawn anew."""
    for full, family in subject.key.families.items():
        if full.endswith(name):
            changed = Family(family.kind, n, seed + 1000, family.options | options)
            return planted.make_prompts(subject.key, changed)
    return None


def _asked(prompts: Prompts) -> measures.Asked:
    row, pos = (prompts.answers >= 0).nonzero(as_tuple=True)
    answers, rivals = prompts.answers[row, pos], prompts.rivals[row, pos]
    return measures.Asked(*(t.numpy() for t in (row, pos, answers[:, None], rivals[:, None])))


def _places(prompts: Prompts, *pairs: tuple[str, str]) -> list[list[tuple[int, int]]]:
    marks = {name: places.tolist() for name, places in prompts.marks.items()}
    return [[(marks[q][i], marks[k][i]) for q, k in pairs] for i in range(len(prompts))]


def _phrases(subject: Planted, n: int, seed: int) -> list[measures.Scene]:
    prompts = _family(subject, ":phrases", n, seed)
    if prompts is None:
        return []
    pairs = _places(
        prompts, ("noun1", "adjective1"), ("noun1", "adjective2"), ("noun2", "adjective3")
    )
    tokens, control = prompts.tokens.tolist(), prompts.control.tolist()
    return [measures.pair_scene("adjective_noun", tokens, control, pairs, asked=_asked(prompts))]


def _agreement(subject: Planted, n: int, seed: int) -> list[measures.Scene]:
    """The head noun, against another noun as far from the slot, in other sentences."""
    simple = _family(subject, ":attractors_0", 2 * n, seed)
    attractor = _family(subject, ":attractors_1", 2 * n, seed + 1)
    if simple is None:
        return []
    heads = _places(simple, ("slot", "head_noun"))
    others = _places(attractor, ("slot", "nearest_noun"))
    matched = _matched(heads, others, n)
    scene = measures.pair_scene(
        "agreement",
        [simple.tokens[i].tolist() for i, _ in matched],
        [attractor.tokens[j].tolist() for _, j in matched],
        [heads[i] for i, _ in matched],
        [others[j] for _, j in matched],
    )
    # The answers are asked for where a noun stands between.
    few = _family(subject, ":attractors_1", n, seed + 2)
    behaviour = measures.Scene(
        {"prompt": few.tokens.numpy()}, np.arange(n), asked=_asked(few), about="agreement"
    )
    return [scene, behaviour]


def _nearest_noun(subject: Planted, n: int, seed: int) -> list[measures.Scene]:
    """The nearest noun, against a word that is none, as far from the slot in other sentences."""
    attractor = _family(subject, ":attractors_1", 2 * n, seed + 3)
    simple = _family(subject, ":attractors_0", 4 * n, seed + 4, n_fillers=4)
    if attractor is None:
        return []
    nouns = _places(attractor, ("slot", "nearest_noun"))
    heads = _places(simple, ("slot", "head_noun"))
    # Any place but BOS and the noun, at each distance that the nearest noun has.
    reach = sorted({q - k for ((q, k),) in nouns})
    others = [
        [(q, next(q - d for d in reach[i % len(reach) :] + reach if q - d not in (0, k)))]
        for i, ((q, k),) in enumerate(heads)
    ]
    matched = _matched(nouns, others, n)
    return [
        measures.pair_scene(
            "nearest_noun",
            [attractor.tokens[i].tolist() for i, _ in matched],
            [simple.tokens[j].tolist() for _, j in matched],
            [nouns[i] for i, _ in matched],
            [others[j] for _, j in matched],
        )
    ]


def _matched(
    some: Sequence[list[tuple[int, int]]], others: Sequence[list[tuple[int, int]]], n: int
) -> list[tuple[int, int]]:
    """Pairs of prompts whose marked keys lie equally far from the query."""
    waiting: dict[int, list[int]] = {}
    for j, ((q, k),) in enumerate(others):
        waiting.setdefault(q - k, []).append(j)
    found = [(i, waiting[q - k].pop()) for i, ((q, k),) in enumerate(some) if waiting.get(q - k)]
    return found[:n]


def _names(subject: Planted, n: int, seed: int) -> list[measures.Scene]:
    prompts = _family(subject, ":names", n, seed)
    if prompts is None:
        return []
    control = prompts.tokens.clone()
    rows = np.arange(n)
    fillers = np.random.default_rng(seed).choice(subject.key.lexicon["filler"], n)
    control[rows, prompts.marks["name"]] = control.new_tensor(fillers)
    pairs = _places(prompts, ("last", "name"))
    tokens, control = prompts.tokens.tolist(), control.tolist()
    return [measures.pair_scene("name_mover", tokens, control, pairs, asked=_asked(prompts))]


def _successors(subject: Planted, n: int, seed: int) -> list[measures.Scene]:
    for family in subject.key.families.values():
        if family.options.get("answer") == "successor":
            drawn = replace(family, n_prompts=n, seed=seed + 1000)
            prompts = planted.make_prompts(subject.key, drawn)
            tokens = {"prompt": prompts.tokens.numpy()}
            return [measures.Scene(tokens, np.arange(n), asked=_asked(prompts), about="successor")]
    return []


def _facts(subject: Planted, n: int, seed: int) -> list[measures.Scene]:
    prompts = _family(subject, ":relation_0", n, seed)
    if prompts is None:
        return []
    tokens = {"prompt": prompts.tokens.numpy()}
    return [measures.Scene(tokens, np.arange(n), asked=_asked(prompts), about="fact_recall")]


# ------------------------------------------------------------------------------------- counting


def roles_of_both() -> list[str]:
    """Roles that the detectors know and the answer keys tell."""
    return [
        name for name, role in measures.REGISTRY.items() if role.label and name in planted.ROLES
    ]


def judged(case: Case, n_prompts: int, n_permutations: int, n_resamples: int) -> pd.DataFrame:
    """One row per role and head of a case: what the detectors say, and what is true.

    Returns:
        `case`, `model`, `role`, `layer`, `head`, `plant`, `part`, `strength`, `q`, `label`,
        `truth` ("required", "allowed" or "wrong"), `trap`, `roles` (all that are required),
        `alive` (False for a plant that noise or squeezing has destroyed; see `destroyed`).
    """
    subject = case.build()
    frame = measures.detect_roles(
        subject.model,
        suites(subject, n_prompts, case.seed),
        n_permutations=n_permutations,
        n_resamples=n_resamples,
        seed=case.seed,
    )
    strength = measures.role_strength(frame)
    strength = strength[strength["role"].isin(roles_of_both())]
    dead = destroyed(subject)
    rows = []
    for row in strength.itertuples(index=False):
        answer = subject.key.head((row.layer, row.head))
        truth = "wrong"
        if row.role in answer.roles:
            truth = "required"
        elif row.role in answer.allowed:
            truth = "allowed"
        rows.append(
            {
                "case": case.name,
                "model": f"{subject.model.name}, seed {case.seed}",
                **row._asdict(),
                "plant": answer.plant,
                "part": answer.part,
                "truth": truth,
                "trap": row.role in answer.traps,
                "roles": ",".join(answer.roles),
                "alive": answer.at not in dead,
            }
        )
    return pd.DataFrame(rows)


def destroyed(subject: Planted) -> set[tuple[int, int]]:
    """Heads that noise or squeezing has kept from doing what they were planted for.

    Told by the answer key alone: the head gives less than half of the attention that its key
    expects, averaged over the key's facts about targets of at least 0.4 (without the controls).
    """
    if not {"E", "F"} & set(subject.key.tiers):
        return set()
    kept: dict[tuple[int, int], list[float]] = {}
    for fact in subject.key.facts:
        if not isinstance(fact, planted.AttentionFact):
            continue
        if fact.value >= 0.4 and "#control" not in fact.prompts:
            share = planted.measure(subject, fact) / fact.value
            kept.setdefault(fact.head, []).append(share)
    return {head for head, shares in kept.items() if np.mean(shares) < 0.5}


def auroc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Chance that a plant scores above a head that is none, ties counting half."""
    if not len(positive) or not len(negative):
        return None
    # Rounding differs between equal heads.
    both = np.round(np.concatenate([positive, negative]), 9)
    ranks = scipy.stats.rankdata(both)
    n = len(positive)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def by_role(heads: pd.DataFrame, with_destroyed: bool = False) -> pd.DataFrame:
    """One row per case and role.

    AUROC is within a model, then averaged; recall counts labels, and q alone beside it.

    Args:
        heads: of `judged`.
        with_destroyed: count plants that noise has destroyed as plants (for a power curve);
            otherwise they are counted apart, as `n_destroyed`.
    """
    rows = []
    for (case, role), group in heads.groupby(["case", "role"], sort=False):
        dead = (group["truth"] == "required") & ~group["alive"]
        if not with_destroyed:
            group = group[~dead]
        required = group[group["truth"] == "required"]
        wrong = group[group["truth"] == "wrong"]
        traps = wrong[wrong["trap"]]
        if required.empty and traps.empty and not wrong["label"].any():
            continue
        per_seed = [
            auroc(
                one.loc[one["truth"] == "required", "strength"].to_numpy(),
                one.loc[one["truth"] == "wrong", "strength"].to_numpy(),
            )
            for _, one in group.groupby("model")
        ]
        per_seed = [value for value in per_seed if value is not None]
        rows.append(
            {
                "case": case,
                "role": role,
                "n_plants": len(required),
                "n_destroyed": int(dead.sum()),
                "n_others": len(wrong),
                "auroc": np.mean(per_seed) if per_seed else np.nan,
                "recall": required["label"].mean() if len(required) else np.nan,
                "recall_q": (required["q"] < 0.05).mean() if len(required) else np.nan,
                "false_labels": int(wrong["label"].sum()),
                "n_decoys": len(traps),
                "decoys_rejected": int((~traps["label"]).sum()),
                "weakest_plant": required["strength"].min() if len(required) else np.nan,
                "strongest_other": wrong["strength"].max() if len(wrong) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def confusion(heads: pd.DataFrame) -> pd.DataFrame:
    """How often a head that is one thing is called another.

    Rows are what a head is ("no role" for heads without one), columns what it is called. A label
    that is true of the head stands on the diagonal, one that is true in passing nowhere, a plant
    that is not found under "not found".
    """
    given = heads[heads["label"]]
    rows = []
    for row in given[given["truth"] != "allowed"].itertuples(index=False):
        own = row.roles.split(",") if row.roles else ["no role"]
        for role in [row.role] if row.truth == "required" else own:
            rows.append({"case": row.case, "is": role, "called": row.role})
    missed = heads[(heads["truth"] == "required") & ~heads["label"]]
    rows += [{"case": r.case, "is": r.role, "called": "not found"} for r in missed.itertuples()]
    if not rows:
        return pd.DataFrame(columns=["case", "is", "called", "n"])
    return pd.DataFrame(rows).value_counts(sort=False).rename("n").reset_index()


# ------------------------------------------------------------------------------ nothing planted

NULLS = ("random init", "weight-shuffled")


def nothing_planted(kind: str, seed: int) -> Planted:
    """A small model without any plant."""
    if kind == "random init":
        return planted.random_model(seed=seed, d_head=8, d_model=32, n_heads=4, d_vocab=24)
    recipes = ("induction_k", "successor", "bos_sink", "anti_copy")
    subject = planted.zoo(recipes, seed=seed, d_vocab=20, n_ctx=20)
    tables = dict(subject.key.tables)
    shuffled = planted.shuffled_weights(subject, seed)
    return replace(shuffled, key=replace(shuffled.key, tables=tables))


def no_plant(kind: str, seed: int, n_prompts: int, n_permutations: int) -> dict[str, Any]:
    """How often the detectors find something in a model without any plant.

    Returns:
        `kind`, `seed`, `n_tests`; `family_wise` (any rejection by max-T), `discoveries` (rejections
        by Benjamini-Hochberg; all of them are false), `labels`, `labels_strict` (labels given with
        the one and the other), `largest` (contrast in units of the smallest effect), `reject_zero`
        (share of p-values against 0 below 0.05), `placebo_p` (of one head, for a role whose prompts
        lack the structure on both sides).
    """
    subject = nothing_planted(kind, seed)
    own = suites(subject, n_prompts, seed, random_only=True)
    frame = measures.detect_roles(
        subject.model,
        own,
        strict=True,
        n_permutations=n_permutations,
        n_resamples=199,
        seed=seed,
    )
    # Rows of roles that show in several ways repeat tests of others.
    tested = frame[[not measures.REGISTRY[role].either for role in frame["role"]]]
    q = measures.false_discovery_q(tested["p"].to_numpy())
    large = (tested["ci_low"] > tested["smallest_effect"]) & (
        tested["contrast_discovery"] >= tested["smallest_effect"]
    )
    shown = np.array([measures.REGISTRY[role].label for role in tested["role"]])
    return {
        "kind": kind,
        "seed": seed,
        "n_tests": len(tested),
        "family_wise": bool((tested["q"] < 0.05).any()),
        "discoveries": int((q < 0.05).sum()),
        "labels": int((large & shown & (q < 0.05)).sum()),
        "labels_strict": int(frame["label"].sum()),
        "largest": float((tested["contrast"] / tested["smallest_effect"]).max()),
        "reject_zero": float((tested["p_zero"] < 0.05).mean()),
        "placebo_p": placebo_p(subject, n_prompts, n_permutations, seed),
    }


def placebo_p(subject: Planted, n_prompts: int, n_permutations: int, seed: int) -> float:
    """The p-value against 0 of one head, on pairs of prompts that both lack the repeat.

    The cells are those of a repeat that is on neither side, so the two sides are exchangeable and
    the p-value must be uniform over models, whatever a model is like.
    """
    model = subject.model
    words = measures.ordinary_tokens(model, BOS)
    rng = np.random.default_rng(seed)
    role = ("duplicate_token", "induction")[seed % 2]
    prompts = measures.random_token_prompts(words, n_prompts, model.config.n_ctx, BOS, seed)
    scenes = []
    for batch in prompts.batches:
        sides = {}
        for side in ("left", "right"):
            tokens = batch.control.copy()
            period = (tokens.shape[1] - 1) // 2
            for row in tokens:
                free = words[~np.isin(words, row[1 + period :])]
                row[1 : 1 + period] = rng.choice(free, period, replace=False)
            sides[side] = tokens
        versions = {"template": batch.tokens, **sides}
        scenes.append(measures.Scene(versions, batch.unit, queries=batch.queries))
    suite = measures.Suite("placebo", tuple(scenes), (BOS, PAD))
    known = measures.REGISTRY[role]
    values = measures.read_suite(model, suite, [replace(known, cells=_placebo(known))])[role]
    difference = (values.score - values.control).reshape(len(values.unit), -1)
    # A head that does not see the words at all has only ties, which count as p = 1.
    sees = np.flatnonzero((np.abs(difference) > 1e-9).all(0))
    if not len(sees):
        return np.nan
    head = int(rng.choice(sees))
    return float(measures.sign_flip_p(difference[:, [head]], n_permutations, seed)[0])


def _placebo(role: measures.Role) -> Any:
    """The role's cells, taken from the version "template" and read on "left" and "right"."""

    def cells(scene: measures.Scene, device: Any) -> Any:
        template = scene.versions["template"]
        found = role.cells(
            replace(scene, versions={"prompt": template, "control": template}), device
        )
        return replace(
            found,
            target=replace(found.target, version="left"),
            control=replace(found.control, version="right"),
        )

    return cells


def error_rates(found: pd.DataFrame) -> pd.DataFrame:
    """One row per kind of model without plants, and one for all of them."""
    groups = [*found.groupby("kind", sort=False), ("all", found)]
    rows = []
    for kind, group in groups:
        n, n_wrong = len(group), int(group["family_wise"].sum())
        interval = scipy.stats.binomtest(n_wrong, n).proportion_ci()
        rows.append(
            {
                "models": kind,
                "n_models": n,
                "n_tests": int(group["n_tests"].sum()),
                "fwer_max_t": n_wrong / n,
                "fwer_low": interval.low,
                "fwer_high": interval.high,
                # Every discovery is false here, so the share of models with one is the rate.
                "fdr": float((group["discoveries"] > 0).mean()),
                "fdr_low": scipy.stats.binomtest(int((group["discoveries"] > 0).sum()), n)
                .proportion_ci()
                .low,
                "labels": int(group["labels"].sum()),
                "labels_strict": int(group["labels_strict"].sum()),
                "largest_contrast": group["largest"].max(),
                "reject_zero": group["reject_zero"].mean(),
                "n_placebo": int(group["placebo_p"].notna().sum()),
                "ks_placebo_p": _uniformity(group["placebo_p"].dropna().to_numpy()),
            }
        )
    return pd.DataFrame(rows)


def _uniformity(p: np.ndarray) -> float:
    """How well p-values agree with a uniform distribution (Kolmogorov-Smirnov); 1 if none came."""
    return float(scipy.stats.kstest(p, "uniform").pvalue) if len(p) else 1.0


# ------------------------------------------------------------------------- answers and effects


def answers(name: str, tiers: str, seed: int = 0) -> dict[str, Any]:
    """A recipe alone: the facts of its key, and the same effects through the detectors' own sweep.

    Returns:
        `recipe`, `tiers`, `n_facts`, `n_hold`, `worst` (what is farthest off), and for ablations of
        single heads on asked prompts `n_sweep`, `sweep_deviation` (largest difference between
        the effect by `causal_effects` and by a whole run with the head at zero, in nats).
    """
    subject = planted.hide(planted.plant(name, seed=seed), tiers, seed=seed)
    checks = planted.check(subject)
    wrong = [check for check in checks if not check.holds]
    worst = max(wrong, key=lambda check: abs(check.measured - check.expected), default=None)
    n_sweep, deviation = _sweep_against_whole_runs(subject, seed)
    return {
        "recipe": name,
        "tiers": tiers,
        "n_facts": len(checks),
        "n_hold": len(checks) - len(wrong),
        "worst": ""
        if worst is None
        else f"{type(worst.fact).__name__}: {worst.measured:.3g}, not {worst.expected:.3g}",
        "n_sweep": n_sweep,
        "sweep_deviation": deviation,
    }


def _sweep_against_whole_runs(subject: Planted, seed: int) -> tuple[int, float]:
    """Effects of the restarted sweep, against the key's numbers for the same ablation."""
    facts = [
        fact
        for fact in subject.key.facts
        if isinstance(fact, planted.EffectFact) and fact.metric == "drop" and len(fact.ablated) == 1
    ]
    largest, n = 0.0, 0
    for fact in facts:
        prompts = planted.make_prompts(subject.key, fact.prompts)
        if not (prompts.answers >= 0).any():
            continue
        scene = measures.Scene(
            {"prompt": prompts.tokens.numpy()},
            np.arange(len(prompts)),
            asked=_asked(prompts),
            about="answers",
        )
        effects = measures.causal_effects(
            subject.model,
            [measures.Suite("answers", (scene,))],
            heads=fact.ablated,
            ablations=("zero",),
            n_resamples=9,
            seed=seed,
        )
        # Prompts have equally many answers, so the mean over prompts is that over answers.
        off = abs(float(effects["effect"].iloc[0]) - planted.measure(subject, fact))
        largest, n = max(largest, off), n + 1
    return n, largest


def lens(name: str, seed: int = 0) -> dict[str, Any]:
    """Whether the answer stands in the stream behind the writing layer, and nowhere before.

    Returns:
        `recipe`, `layer` (of the writer), `before` and `behind`: share of answers above their
        rivals in the unembedded stream, the largest of the layers before and the smallest of those
        behind. Equal logits count as not above, so 0 is what must be found before.
    """
    subject = planted.plant(name, seed=seed, n_layers=4, layers=(1, 2))
    key, model = subject.key, subject.model
    layer = max(answer.layer for answer in key.heads if answer.effect)
    for full in key.families:
        prompts = planted.make_prompts(key, full)
        asked = prompts.answers >= 0
        if asked.any():
            break
    right, wrong = prompts.answers[asked][:, None], prompts.rivals[asked][:, None]
    accuracy = []
    for at in range(model.config.n_layers + 1):
        stream = model(prompts.tokens, stop_at_layer=at)
        logits = model.logits(stream)[asked]
        ahead = logits.gather(1, right) > logits.gather(1, wrong)
        accuracy.append(float(ahead.double().mean()))
    return {
        "recipe": name,
        "layer": layer,
        "before": max(accuracy[: layer + 1]),
        "behind": min(accuracy[layer + 1 :]),
    }


# ------------------------------------------------------------------------ the other detector


TL_HEADS = {
    "previous_token_head": "previous_token",
    "duplicate_token_head": "duplicate_token",
    "induction_head": "induction",
}


def detect_head_formula(
    pattern: np.ndarray,
    tokens: np.ndarray,
    kind: str,
    exclude_bos: bool = False,
    exclude_current_token: bool = False,
) -> np.ndarray:
    """The score of TransformerLens's `detect_head` ("mul"), stated again for one prompt.

    The share of all attention, over all queries, that lies on the kind's cells. Its own code runs
    on models that it has loaded; planted widths do not fit into a GPT-2 of Hugging Face's shape.

    Args:
        pattern: `head query_pos key_pos`.
        tokens: of the prompt.
        kind: a key of `TL_HEADS`.
        exclude_bos: leave out attention to position 0.
        exclude_current_token: leave out the diagonal.

    Source: transformer_lens/head_detector.py, version 4.3.
    """
    n_pos = len(tokens)
    same = np.tril(tokens[:, None] == tokens[None, :], -1)
    cells = {
        "previous_token_head": np.eye(n_pos, k=-1, dtype=bool),
        "duplicate_token_head": same,
        "induction_head": np.tril(np.pad(same[:, :-1], ((0, 0), (1, 0)))),
    }[kind]
    counted = pattern.copy()
    if exclude_bos:
        counted[..., 0] = 0
    if exclude_current_token:
        counted[..., np.arange(n_pos), np.arange(n_pos)] = 0
    total = counted.sum((-2, -1))
    return np.divide((counted * cells).sum((-2, -1)), total, where=total > 0,
                     out=np.zeros_like(total))  # fmt: skip


def side_by_side(case: Case, n_prompts: int, ours: pd.DataFrame) -> pd.DataFrame:
    """Both detectors on the heads of one case: weakest plant, strongest other head, AUROC.

    Args:
        case: the planted model.
        n_prompts: of random tokens, for TransformerLens's formula.
        ours: `judged(case, ...)`.
    """
    subject = case.build()
    model, key = subject.model, subject.key
    scene = suites(subject, n_prompts, case.seed, random_only=True)[0].scenes[-1]
    tokens = scene.versions["prompt"]
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.config.n_layers)]
    _, cache = model.run_with_cache(_tensor(tokens), names)
    patterns = np.stack([cache[name].double().numpy() for name in names], axis=1)
    rows = []
    for kind, role in TL_HEADS.items():
        plants, others = key.with_role(role), key.without_role(role)
        decoys = key.trapped_by(role)
        mine = ours[ours["role"] == role].set_index(["layer", "head"])["strength"]
        scores = {"ours (contrast / smallest effect)": lambda at, mine=mine: mine[at]}
        for name, options in (
            ("detect_head", {}),
            ("detect_head, excluding", {"exclude_bos": True, "exclude_current_token": True}),
        ):
            found = np.mean(
                [
                    detect_head_formula(patterns[i].reshape(-1, *patterns.shape[-2:]), row, kind,
                                        **options)
                    for i, row in enumerate(tokens)
                ],
                axis=0,
            ).reshape(patterns.shape[1:3])  # fmt: skip
            scores[name] = lambda at, found=found: found[at]
        for name, score in scores.items():
            positive, negative = (
                np.array([score(at) for at in heads]) for heads in (plants, others)
            )
            rows.append(
                {
                    "case": case.name,
                    "role": role,
                    "detector": name,
                    "weakest_plant": positive.min() if len(positive) else np.nan,
                    "strongest_other": negative.max() if len(negative) else np.nan,
                    "strongest_decoy": max((score(at) for at in decoys), default=np.nan),
                    "auroc": auroc(positive, negative),
                }
            )
    return pd.DataFrame(rows)


def _tensor(tokens: np.ndarray) -> Any:
    import torch

    return torch.as_tensor(tokens)
