"""All roles of all heads, what ablations say of them, pruning, and the roles in other seeds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interp import measures, plots
from interp.core import hook_name
from interp.reporting import Cell, FigurePart, Finding, Sentence, Table
from studies import _prompts, _scenes

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT

Tables = dict[str, Table]
SEEDS = ("small", "small-s1", "small-s2")  # one recipe, three training seeds
MIN_NATS = 0.02  # declared beforehand: what a pruned set of heads may cost
SHARE_PRUNED = 4  # one head in so many
N_SUBSETS = 10  # random sets of equal size
N_RESAMPLES = 499  # for models that only stand beside the one measured
MANY_HEADS = 64  # above, ablations run on fewer prompts

# Heads that papers name for GPT-2 small: Wang et al. 2022 (arXiv:2211.00593), McDougall et al. 2023
# (arXiv:2310.04625), Gould et al. 2023 (arXiv:2312.09230), and replications of Olsson et al. 2022.
PUBLISHED = {
    "previous_token": ((4, 11), (2, 2)),
    "duplicate_token": ((0, 1), (3, 0), (0, 10)),
    "induction": ((5, 5), (6, 9), (7, 10), (5, 1), (7, 2)),
    "name_mover": ((9, 9), (9, 6), (10, 0)),
    "copying": ((9, 9), (9, 6), (10, 0)),
    "anti_copying": ((10, 7), (11, 10)),
    "copy_suppression": ((10, 7),),
    "successor": ((9, 1),),
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    n_prompts: int
    n_permutations: int
    n_resamples: int
    batch_size: int
    seed: int


def tables(
    model: "HookedGPT",
    prompt_sets: list["measures.PromptSet"],
    random_init: "HookedGPT",
    sizes: Sizes,
    progress: Callable[[str, int, int], None] | None,
) -> Tables:
    """Labels, quadrants, pruning; other seeds for the shipped ones; published heads for GPT-2."""
    import pandas as pd

    suites = _scenes.suites(model, prompt_sets, sizes.n_prompts, sizes.seed)
    frame = _detected(model, suites, sizes, progress)
    checks = replace(sizes, n_resamples=min(N_RESAMPLES, sizes.n_resamples))
    of_random = _detected(random_init, suites, checks, None)
    many = model.config.n_layers * model.config.n_heads > MANY_HEADS
    n_prompts = min(8 if many else 32, sizes.n_prompts)
    effects = measures.causal_effects(
        model, suites, n_prompts=n_prompts, n_resamples=sizes.n_resamples, seed=sizes.seed,
        progress=progress,
    )  # fmt: skip
    held = measures.confirmed_labels(frame, effects)
    quadrants = measures.quadrants(frame, effects)
    strength = measures.role_strength(frame)
    for one in (held, quadrants, strength):
        one.insert(0, "name", _names(one))
    quadrants["roles"] = quadrants["roles"].replace("", "none")
    quadrants = quadrants.sort_values("effect", ascending=False, kind="stable", ignore_index=True)
    counts = quadrants["quadrant"].value_counts()
    role_heads = quadrants[quadrants["quadrant"] == measures.QUADRANTS[0]]
    hidden = quadrants[quadrants["quadrant"] == "hidden"]
    overview = {
        "n_heads": len(quadrants),
        "n_labelled": len(held[["layer", "head"]].drop_duplicates()),
        "n_labels": len(held),
        "n_labels_confirmed": int((held["verdict"] == "confirmed").sum()),
        "n_labels_random_init": len(measures.labels(of_random)),
        "n_labelled_random_init": len(
            measures.labels(of_random)[["layer", "head"]].drop_duplicates()
        ),
        "held_roles": ", ".join(
            role.replace("_", " ")
            for role in dict.fromkeys(strength["role"])
            if (strength["label"] & (strength["role"] == role)).any()
        )
        or "none",
        "n_units": int(frame["n"].max()),
        "n_roles": strength["role"].nunique(),
        "n_tests": len(frame),
        **{name.replace(" ", "_"): int(counts.get(name, 0)) for name in measures.QUADRANTS},
        "top_role_head": role_heads["name"].iloc[0] if len(role_heads) else "none",
        "top_hidden_head": hidden["name"].iloc[0] if len(hidden) else "none",
        "n_disagree": int((~quadrants["agree"]).sum()),
        "rank_correlation": _rank_correlation(quadrants["strength"], quadrants["effect"]),
    }
    kept = [
        c for c in held.columns if c not in ("prompts", "passes", "decisive", "label", "p_zero")
    ]
    made = {
        "causal_overview": Table(
            pd.DataFrame([overview]), "Labels of all roles, what ablations say, and the quadrants"
        ),
        "labels": Table(
            held[kept],
            "Every label with its three ablations: loss gained (nats), log odds lost, or change of "
            "the prediction (nats), by the behaviour that the role serves",
        ),
        "quadrants": Table(
            quadrants,
            "One row per head: its labels, its strongest role and its largest effect (both in "
            "units of the smallest effect of interest)",
        ),
        "role_strength": Table(
            strength, "Contrast of every head in every role, in smallest effects", in_page=False
        ),
        "roles_all_prompts": Table(frame, "All roles on all kinds of prompts", in_page=False),
        "ablations": Table(effects, "Every ablation of every head", in_page=False),
    }
    made |= _pruning_tables(model, prompt_sets[-1], effects, sizes)
    if model.name in SEEDS:
        made |= _seed_tables(model, strength, suites, checks)
    if model.name == "gpt2":
        made |= _published_table(strength)
    return made


def _detected(
    model: "HookedGPT", suites: list["measures.Suite"], sizes: Sizes, progress: Any
) -> "pd.DataFrame":
    return measures.detect_roles(
        model,
        suites,
        batch_size=sizes.batch_size,
        n_permutations=sizes.n_permutations,
        n_resamples=sizes.n_resamples,
        seed=sizes.seed,
        progress=progress,
    )


def _names(heads: "pd.DataFrame") -> list[str]:
    return [plots.head_label(*at) for at in zip(heads["layer"], heads["head"], strict=True)]


def _rank_correlation(a: "pd.Series", b: "pd.Series") -> float:
    if a.nunique() < 2 or b.nunique() < 2:
        return 0.0
    return float(a.rank().corr(b.rank()))


# --------------------------------------------------------------------------------- pruning (106)


def _pruning_tables(
    model: "HookedGPT", prompts: "measures.PromptSet", effects: "pd.DataFrame", sizes: Sizes
) -> Tables:
    """The heads whose ablation costs least, pruned together, beside random sets of equal size."""
    import pandas as pd

    own = effects[effects["behaviour"] == "prediction"]
    if own.empty:
        return {}
    n_heads = model.config.n_heads
    small = own.groupby("ablation", sort=False)["effect"].apply(lambda e: (e <= MIN_NATS).sum())
    cost = own.groupby(["layer", "head"])["effect"].max().sort_values(kind="stable")
    size = max(1, len(cost) // SHARE_PRUNED)
    chosen = sorted(cost.index[:size])
    # The first prompts chose the heads; the last ones say what they cost.
    plain = _prompts.same_length(prompts, sizes.seed + 1)[-32:]
    rng = np.random.default_rng(sizes.seed)
    subsets = [
        [divmod(int(head), n_heads) for head in rng.choice(len(cost), size, replace=False)]
        for _ in range(N_SUBSETS)
    ]
    intact = prompt_losses(model, plain, [], "zero", sizes.seed)
    rows, overview = [], {"n_heads": len(cost), "n_pruned": size, "n_prompts": len(plain)}
    for ablation in measures.ABLATIONS:
        gain = prompt_losses(model, plain, chosen, ablation, sizes.seed) - intact
        low, high = measures.bootstrap_interval(gain[:, None], sizes.n_resamples, sizes.seed)
        rows.append({"ablation": ablation, "set": "chosen", "gain_nats": gain.mean(),
                     "ci_low": low[0], "ci_high": high[0]})  # fmt: skip
        others = [
            float((prompt_losses(model, plain, one, ablation, sizes.seed) - intact).mean())
            for one in subsets
        ]
        rows += [{"ablation": ablation, "set": "random", "gain_nats": g, "ci_low": g, "ci_high": g}
                 for g in others]  # fmt: skip
        overview |= {
            f"gain_{ablation}": gain.mean(),
            f"low_{ablation}": low[0],
            f"high_{ablation}": high[0],
            f"random_{ablation}": float(np.mean(others)),
            f"small_{ablation}": int(small[ablation]),
        }
    overview["pruned"] = ", ".join(plots.head_label(*at) for at in chosen)
    return {
        "pruning": Table(
            pd.DataFrame([overview]),
            f"Heads whose ablation changes the prediction by at most {MIN_NATS} nats; and the loss "
            "gained when a quarter of the heads goes at once: those with least effect, and random "
            "ones (nats per token)",
        ),
        "pruning_sets": Table(pd.DataFrame(rows), "The same, set by set", in_page=False),
    }


def prompt_losses(
    model: "HookedGPT",
    tokens: np.ndarray,
    heads: list[tuple[int, int]],
    ablation: str,
    seed: int,
) -> np.ndarray:
    """Each prompt's loss (nats per token) with several heads ablated at once.

    Values of other prompts, or their mean, come from the intact model.
    """
    import torch

    rows = torch.as_tensor(tokens, device=model.W_E.device)
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)
    order = np.random.default_rng(seed).permutation(len(rows))
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    with torch.no_grad():
        names = [hook_name("z", layer) for layer in by_layer]
        # The loss needs no prediction at the last token, so the run that it makes is one shorter.
        cache = model.run_with_cache(rows[:, :-1], names)[1] if names else {}

        def replaced(layer: int, of_layer: list[int]):
            def hook(z, point):
                intact, z = cache["z", layer][:, :, of_layer], z.clone()
                values = {
                    "zero": lambda: 0.0,
                    "mean": lambda: intact.mean(0, keepdim=True),
                    "resample": lambda: intact[torch.as_tensor(other.tolist())],
                }
                z[:, :, of_layer] = values[ablation]()
                return z

            return hook

        hooks = [(hook_name("z", layer), replaced(layer, of)) for layer, of in by_layer.items()]
        with model.hooks(fwd_hooks=hooks):
            loss = model.loss(rows, per_token=True)
    return loss.double().mean(1).cpu().numpy()


# ----------------------------------------------------------------------------------------- seeds


def _seed_tables(
    model: "HookedGPT", strength: "pd.DataFrame", suites: list["measures.Suite"], sizes: Sizes
) -> Tables:
    """The shipped training seeds compared by role: counts, best heads, and heads matched."""
    import pandas as pd

    from interp.loading import load_model

    by_model = {model.name: strength}
    for name in SEEDS:
        if name != model.name:
            other = load_model(name, device=str(model.W_E.device))
            by_model[name] = measures.role_strength(_detected(other, suites, sizes, None))
    rows = []
    for name, frame in by_model.items():
        for role, of_role in frame.groupby("role", sort=False):
            best = of_role.loc[of_role["strength"].idxmax()]
            rows.append(
                {
                    "role": role,
                    "model": name,
                    "n_labelled": int(of_role["label"].sum()),
                    "best": plots.head_label(best["layer"], best["head"]),
                    "strength": best["strength"],
                }
            )
    counts = pd.DataFrame(rows)
    held = counts.assign(held=counts["n_labelled"] > 0).groupby("role")["held"].sum()
    matched = [
        matched_heads(strength, frame).assign(model=name)
        for name, frame in by_model.items()
        if name != model.name
    ]
    heads = pd.concat(matched, ignore_index=True)
    overview = {
        "n_seeds": len(by_model),
        "n_roles": len(held),
        "n_in_all": int((held == len(by_model)).sum()),
        "n_in_some": int(((held > 0) & (held < len(by_model))).sum()),
        "n_in_none": int((held == 0).sum()),
        "distance_matched": heads["distance"].mean(),
        "distance_by_index": heads["distance_by_index"].mean(),
        "n_same_place": int((heads["name"] == heads["counterpart"]).sum()),
        "n_pairs": len(heads),
    }
    return {
        "seeds": Table(counts, "Heads with each role, and the best one, by training seed"),
        "seeds_overview": Table(
            pd.DataFrame([overview]),
            "Roles held in all, some and no seeds; and how far heads are apart in their roles "
            "(mean difference in smallest effects) when matched by role and by index",
        ),
        "seeds_matched": Table(heads, "Each head and its counterpart in the other seeds"),
    }


def matched_heads(one: "pd.DataFrame", other: "pd.DataFrame") -> "pd.DataFrame":
    """The one-to-one matching of two models' heads whose roles differ least in all.

    Args:
        one: `role`, `layer`, `head`, `strength`.
        other: the same of a model of the same shape.

    Returns:
        One row per head: `name`, `counterpart`, `distance` and `distance_by_index` (mean over roles
        of the absolute difference of strengths, each cut off at 0 and 5).
    """
    import pandas as pd
    from scipy.optimize import linear_sum_assignment

    def vectors(frame):
        wide = frame.pivot(index=["layer", "head"], columns="role", values="strength")
        return wide.clip(0, 5)

    a, b = vectors(one), vectors(other)
    roles = a.columns.intersection(b.columns)
    cost = np.abs(a[roles].to_numpy()[:, None] - b[roles].to_numpy()[None]).mean(-1)
    row, column = linear_sum_assignment(cost)
    return pd.DataFrame(
        {
            "name": [plots.head_label(*a.index[i]) for i in row],
            "counterpart": [plots.head_label(*b.index[j]) for j in column],
            "distance": cost[row, column],
            "distance_by_index": np.diag(cost),
        }
    )


# ------------------------------------------------------------------------------------- published


def _published_table(strength: "pd.DataFrame") -> Tables:
    """Where the heads that papers name stand among all heads by our measure."""
    import pandas as pd

    rows = []
    for role, published in PUBLISHED.items():
        of_role = strength[strength["role"] == role]
        if of_role.empty:
            continue
        named = [at in published for at in zip(of_role["layer"], of_role["head"], strict=True)]
        best = of_role.loc[of_role["strength"].idxmax()]
        rows.append(
            {
                "role": role,
                "published_heads": ", ".join(plots.head_label(*at) for at in published),
                "n_published": len(published),
                "measured_best": best["name"],
                "rank_auc": rank_auc(of_role["strength"].to_numpy(), np.array(named)),
                "n_heads": len(of_role),
            }
        )
    return {
        "published": Table(
            pd.DataFrame(rows),
            "PUBLISHED, not measured here: heads that papers name, and how they rank among all "
            "heads by the measured contrast (rank AUC: 1 all in front, 0.5 chance)",
        )
    }


def rank_auc(values: np.ndarray, named: np.ndarray) -> float:
    """Chance that a named head lies above another one, ties counted half."""
    above = values[named][:, None] - values[~named][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


# ----------------------------------------------------------------------------------------- draw


def _cells(table: str, *names: str, **renamed: str) -> dict[str, Cell]:
    wanted = {name: name for name in names} | renamed
    return {field: Cell(table, 0, column) for field, column in wanted.items()}


def draw(tables: Tables) -> tuple[FigurePart, ...]:
    """The figures that the tables allow."""
    parts = [_atlas(tables), _plane(tables)]
    if "pruning" in tables:
        parts.append(_pruning(tables))
    if "seeds" in tables:
        parts.append(_seeds(tables))
    return tuple(parts)


def _atlas(tables: Tables) -> FigurePart:
    row = tables["causal_overview"].frame.iloc[0]
    published, cells = "", {}
    if "published" in tables:
        published = (
            " Published heads (of papers, not measured here) rank with an AUC of {auc:.2f} for "
            "{auc_role}."
        )
        cells = _cells("published", auc="rank_auc", auc_role="role")
    return FigurePart(
        name="atlas_of_roles",
        question="Which of all known roles does each head hold?",
        picture=plots.role_atlas(tables["role_strength"].frame),
        alt=Sentence(
            "Grid of {n_roles} roles and {n_heads} heads, coloured by contrast; {n_labels} dots "
            "mark the labels.",
            **_cells("causal_overview", "n_roles", "n_heads", "n_labels"),
        ),
        answer=Sentence(
            "{n_labelled} of {n_heads} heads hold at least one of {n_roles} roles; of {n_labels} "
            "labels, ablations confirm {n_labels_confirmed}. The same model with random weights "
            "gets {n_labels_random_init} labels." + published,
            **_cells(
                "causal_overview",
                "n_labelled",
                "n_heads",
                "n_roles",
                "n_labels",
                "n_labels_confirmed",
                "n_labels_random_init",
            ),
            **cells,
        ),
        tables=("labels", "causal_overview", *(["published"] if "published" in tables else [])),
        how_to_read="Each column is a head, each row a role; the colour is the contrast over the "
        "role's own control, in units of the smallest effect that counts. A dot stands where all "
        "tests passed: the contrast has to be above that smallest effect for certain, where the "
        "figures above ask for more than 0. A bright square without a dot failed.",
        scene="the many heads of multi-headed attention in chapter 6",
        change_our_mind=Sentence(
            "Random weights that get labels as well: {n_labels_random_init}. And labels without "
            "effect: of {n_labels}, ablations confirm {n_labels_confirmed}.",
            **_cells("causal_overview", "n_labels_random_init", "n_labels", "n_labels_confirmed"),
        ),
        facts={"null": "each role's matched control; the same shape with random weights"},
        uninformative="Random weights get at least as many labels."
        if row["n_labels"] <= row["n_labels_random_init"]
        else "",
    )


def _plane(tables: Tables) -> FigurePart:
    names = ("role", "redundant_or_backup", "hidden", "irrelevant", "rank_correlation")
    return FigurePart(
        name="role_and_effect",
        question="Does a head that has a role also matter?",
        picture=plots.role_and_effect(tables["quadrants"].frame),
        alt=Sentence(
            "Scatter of heads in four quadrants: {role} with role and effect, "
            "{redundant_or_backup} with a role only, {hidden} with an effect only, {irrelevant} "
            "with neither.",
            **_cells("causal_overview", *names[:-1]),
        ),
        answer=Sentence(
            "{role} heads have a role and matter, {redundant_or_backup} have one and nothing is "
            "lost without them, {hidden} matter without a known role (most: {top_hidden_head}), "
            "{irrelevant} neither. Strength of role and effect have a rank correlation of "
            "{rank_correlation:.2f}.",
            **_cells("causal_overview", *names, "top_hidden_head"),
        ),
        tables=("quadrants", "causal_overview"),
        how_to_read="Right of the vertical line a head's strongest role is larger than the "
        "smallest effect that counts; above the horizontal line its ablation is. Colours are the "
        "decision with all tests, so a point may lie beyond a line without passing.",
        change_our_mind=Sentence(
            "Ablations that contradict each other: zero, mean and another prompt's values disagree "
            "for {n_disagree} of {n_heads} heads; two of three decide.",
            **_cells("causal_overview", "n_disagree", "n_heads"),
        ),
        facts={"null": "three ablations; intervals over prompts above 0"},
    )


def _pruning(tables: Tables) -> FigurePart:
    cells = _cells("pruning", *tables["pruning"].frame.columns)

    def some(*names: str) -> dict[str, Cell]:
        return {name: cells[name] for name in names}

    return FigurePart(
        name="pruning",
        question="Can heads be pruned?",
        picture=plots.pruning_dots(tables["pruning_sets"].frame, MIN_NATS),
        alt=Sentence(
            "Loss gained by pruning {n_pruned} heads, by ablation: zero {gain_zero:.2f}, mean "
            "{gain_mean:.2f}, resample {gain_resample:.2f} nats, and random sets.",
            **some("n_pruned", "gain_zero", "gain_mean", "gain_resample"),
        ),
        answer=Sentence(
            "Without the {n_pruned} heads of least effect ({pruned}) the loss rises by "
            "{gain_zero:.3f} (zero), {gain_mean:.3f} (mean) and {gain_resample:.3f} nats "
            "(resample); random sets of that size cost {random_zero:.2f}, {random_mean:.2f} and "
            "{random_resample:.2f}.",
            **some(
                "n_pruned",
                "pruned",
                "gain_zero",
                "gain_mean",
                "gain_resample",
                "random_zero",
                "random_mean",
                "random_resample",
            ),
        ),
        tables=("pruning",),
        how_to_read="The diamond is the set of heads whose single ablations changed the prediction "
        "least, chosen on other prompts; circles are as many heads drawn at random. Left of the "
        "dashed line nothing that counts is lost.",
        change_our_mind=Sentence(
            "Random sets that cost as little: on average they cost {random_mean:.2f} nats with "
            "mean ablation, against {gain_mean:.3f}.",
            **some("random_mean", "gain_mean"),
        ),
        facts={"null": "random sets of heads of equal size"},
    )


def _seeds(tables: Tables) -> FigurePart:
    names = ("n_in_all", "n_in_some", "n_in_none", "n_roles", "n_seeds")
    return FigurePart(
        name="roles_by_seed",
        question="Do other training seeds learn the same roles?",
        picture=plots.roles_by_seed(tables["seeds"].frame),
        alt=Sentence(
            "Grid of roles and training seeds with the number of heads; {n_in_all} roles are held "
            "in all {n_seeds} seeds.",
            **_cells("seeds_overview", "n_in_all", "n_seeds"),
        ),
        answer=Sentence(
            "Of {n_roles} roles, {n_in_all} are held in all {n_seeds} seeds, {n_in_some} in some, "
            "{n_in_none} in none. Matched by role, heads are {distance_matched:.2f} smallest "
            "effects apart, by index {distance_by_index:.2f}.",
            **_cells("seeds_overview", *names, "distance_matched", "distance_by_index"),
        ),
        tables=("seeds", "seeds_overview", "seeds_matched"),
        how_to_read="Each square has the number of heads with the role and, in brackets, the best "
        "one; the colour is the contrast of that one. A head's number means nothing across seeds: "
        "the role is what can be compared.",
        change_our_mind=Sentence(
            "Counterparts in the same place: {n_same_place} of {n_pairs} heads are matched to the "
            "head of their own index. A matching always fits better than chance, so the distance "
            "by index is a scale, no test.",
            **_cells("seeds_overview", "n_same_place", "n_pairs"),
        ),
        facts={"null": "heads compared by index"},
    )


# ------------------------------------------------------------------------------------- conclude


def on_roles(tables: Tables) -> Finding:
    """Claim 103."""
    row = tables["causal_overview"].frame.iloc[0]
    more = row["n_labelled"] > row["n_labelled_random_init"]
    return Finding(
        103,
        "imprecise" if more else "undecided",
        Sentence(
            "{n_labelled} of {n_heads} heads hold one of {n_roles} roles ({held_roles}), "
            "{n_labelled_random_init} with random weights; ablations confirm {n_labels_confirmed} "
            "of {n_labels} labels. Synonyms and senses, which the lectures name, are no role that "
            "is known ({n_units} prompts test each role).",
            **_cells(
                "causal_overview",
                "n_labelled",
                "n_heads",
                "n_roles",
                "held_roles",
                "n_labelled_random_init",
                "n_labels_confirmed",
                "n_labels",
                "n_units",
            ),
        ).text(tables),
        value=row["n_labelled"],
        unit="heads with a role",
        null=row["n_labelled_random_init"],
        null_name="same shape, random weights",
        n=row["n_units"],
        figure="atlas_of_roles",
    )


def on_pruning(tables: Tables) -> Finding:
    """Claim 106."""
    if "pruning" not in tables:
        return Finding(106, "not applicable", "There are no ordinary prompts to prune heads on.")
    row = tables["pruning"].frame.iloc[0]
    cheap = [row[f"high_{name}"] <= MIN_NATS for name in measures.ABLATIONS]
    better = [row[f"high_{name}"] < row[f"random_{name}"] for name in measures.ABLATIONS]
    verdict = "holds" if sum(cheap) >= 2 else "imprecise" if sum(better) >= 2 else "fails"
    return Finding(
        106,
        verdict,
        Sentence(
            "Pruning the {n_pruned} of {n_heads} heads of least effect costs {gain_zero:.3f} "
            "(zero), {gain_mean:.3f} (mean) and {gain_resample:.3f} nats (resample), random sets "
            "{random_zero:.2f}, {random_mean:.2f} and {random_resample:.2f}; alone, {small_mean} "
            f"heads change the prediction by at most {MIN_NATS} nats.",
            **_cells(
                "pruning",
                "n_pruned",
                "n_heads",
                "gain_zero",
                "gain_mean",
                "gain_resample",
                "random_zero",
                "random_mean",
                "random_resample",
                "small_mean",
            ),
        ).text(tables),
        value=row["gain_mean"],
        unit="nats per token, mean ablation",
        ci_low=row["low_mean"],
        ci_high=row["high_mean"],
        null=row["random_mean"],
        null_name="random sets of equal size",
        n=row["n_prompts"],
        figure="pruning",
    )
