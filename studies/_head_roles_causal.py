"""All roles of all heads, what ablations say of them, and pruning."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interp import measures, plots
from interp.core import hook_name
from interp.reporting import Table
from studies import _head_roles_others, _prompts
from studies._head_roles_others import head_names, rank_correlation

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT
    from interp.measures import PromptSet, Suite

Tables = dict[str, Table]
MIN_NATS = 0.02  # declared beforehand: what a pruned set of heads may cost
SHARE_PRUNED = 4  # one head in so many


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        n_prompts: of each kind, for the roles.
        n_beside: of the kind that decides, for random weights and for other training seeds.
        n_permutations: sign flips.
        n_resamples: bootstrap resamples.
        batch_size: prompts in one pass.
        seed: of all random choices.
        n_causal: prompts of each behaviour, for ablations.
        n_ablated: heads that are ablated, strongest first; None for all.
        n_pruning: prompts on which pruned models are measured.
        n_subsets: random sets of heads beside the pruned one.
        n_sums: prompts whose rows are summed.
        n_pairs: pairs of prompts on which heads are compared.
        with_seeds: measure the other training seeds too.
    """

    n_prompts: int
    n_beside: int
    n_permutations: int
    n_resamples: int
    batch_size: int
    seed: int
    n_causal: int
    n_ablated: int | None
    n_pruning: int
    n_subsets: int
    n_sums: int
    n_pairs: int
    with_seeds: bool


def detected(
    model: "HookedGPT", suites: list["Suite"], sizes: Sizes, progress: Any
) -> "pd.DataFrame":
    """`measures.detect_roles` with the study's sizes."""
    return measures.detect_roles(
        model,
        suites,
        batch_size=sizes.batch_size,
        n_permutations=sizes.n_permutations,
        n_resamples=sizes.n_resamples,
        seed=sizes.seed,
        progress=progress,
    )


def fewer(suite: "Suite", n_prompts: int) -> "Suite":
    """The first prompts of each scene."""
    return replace(suite, scenes=tuple(scene.rows(0, n_prompts) for scene in suite.scenes))


def tables(
    model: "HookedGPT",
    prompt_sets: list["PromptSet"],
    suites: list["Suite"],
    frame: "pd.DataFrame",
    of_random: "pd.DataFrame",
    strength: "pd.DataFrame",
    sizes: Sizes,
    progress: Callable[[str, int, int], None] | None,
) -> Tables:
    """Labels, quadrants and pruning; other seeds for the shipped ones; heads that papers name.

    Args:
        model: that is measured.
        prompt_sets: that the suites were made of.
        suites: as for `measures.detect_roles`.
        frame: of `detected`, for the model.
        of_random: the same for random weights.
        strength: of `measures.role_strength`, for the model.
        sizes: how much is measured.
        progress: as in a study's `run`.
    """
    effects = measures.causal_effects(
        model, suites, heads=_ablated(strength, sizes), n_prompts=sizes.n_causal,
        n_resamples=sizes.n_resamples, seed=sizes.seed, progress=progress,
    )  # fmt: skip
    held = measures.confirmed_labels(frame.drop(columns="name"), effects)
    quadrants = measures.quadrants(frame, effects)
    for one in (held, quadrants):
        one.insert(0, "name", head_names(one))
    quadrants["roles"] = quadrants["roles"].replace("", "none")
    quadrants = quadrants.sort_values("effect", ascending=False, kind="stable", ignore_index=True)
    dropped = ("prompts", "passes", "decisive", "label", "p_zero", "suite")
    made = {
        "overview": _overview(frame, of_random, strength, held, quadrants),
        "labels": Table(
            held[[c for c in held.columns if c not in dropped]],
            "Every label with its three ablations: loss gained (nats), log odds lost, or change of "
            "the prediction (nats), by the behaviour that the role serves",
        ),
        "quadrants": Table(
            quadrants,
            "One row per head: its labels, its strongest role and its largest effect (both in "
            "units of the smallest effect of interest); not certain: beyond a line, but a test "
            "failed",
        ),
        "ablations": Table(effects, "Every ablation of every head", in_page=False),
    }
    made |= _pruning_tables(model, prompt_sets[-1], effects, sizes)
    if sizes.with_seeds:
        beside = [fewer(suites[-1], sizes.n_beside)]
        made |= _head_roles_others.seed_tables(
            model, strength, lambda other: detected(other, beside, sizes, None), sizes.seed
        )
    return made | _head_roles_others.published_table(model, strength, sizes.seed)


def _ablated(strength: "pd.DataFrame", sizes: Sizes) -> list[tuple[int, int]] | None:
    """The heads to ablate: those with a label first, then the strongest; all where there is time.

    Heads are chosen by role, so the others are missing among the hidden ones.
    """
    if sizes.n_ablated is None:
        return None
    order = strength.sort_values(["label", "strength"], ascending=False, kind="stable")
    places = dict.fromkeys(zip(order["layer"], order["head"], strict=True))
    return list(places)[: sizes.n_ablated]


def _overview(
    frame: "pd.DataFrame",
    of_random: "pd.DataFrame",
    strength: "pd.DataFrame",
    held: "pd.DataFrame",
    quadrants: "pd.DataFrame",
) -> Table:
    import pandas as pd

    counts = quadrants["quadrant"].value_counts()
    random = measures.labels(of_random)
    hidden = quadrants[quadrants["quadrant"] == "hidden"]
    roles = [
        role.replace("_", " ")
        for role in dict.fromkeys(strength["role"])
        if (strength["label"] & (strength["role"] == role)).any()
    ]
    row = {
        "n_heads": len(strength[["layer", "head"]].drop_duplicates()),
        "n_labelled": len(held[["layer", "head"]].drop_duplicates()),
        "n_labels": len(held),
        "n_labels_confirmed": int((held["verdict"] == "confirmed").sum()),
        "n_labels_random_init": len(random),
        "n_labelled_random_init": len(random[["layer", "head"]].drop_duplicates()),
        "held_roles": ", ".join(roles) or "none",
        "n_units": int(frame["n"].max()),
        "n_roles": strength["role"].nunique(),
        "n_tests": len(frame),
        "n_ablated": len(quadrants),
        **{name.replace(" ", "_"): int(counts.get(name, 0)) for name in measures.QUADRANTS},
        "top_hidden_head": hidden["name"].iloc[0] if len(hidden) else "none",
        "n_disagree": int((~quadrants["agree"]).sum()),
        "n_uncertain": int((~quadrants["certain"]).sum()),
        "rank_correlation": rank_correlation(quadrants["strength"], quadrants["effect"]),
    }
    return Table(
        pd.DataFrame([row]), "Labels of all roles, what ablations say, and the quadrants, in all"
    )


# --------------------------------------------------------------------------------- pruning (106)


def _pruning_tables(
    model: "HookedGPT", prompts: "PromptSet", effects: "pd.DataFrame", sizes: Sizes
) -> Tables:
    """The heads whose ablation costs least, pruned together, beside random sets of equal size."""
    import pandas as pd

    own = effects[effects["behaviour"] == "prediction"]
    if own.empty:
        return {}
    small = own.groupby("ablation", sort=False)["effect"].apply(lambda e: (e <= MIN_NATS).sum())
    cost = own.groupby(["layer", "head"])["effect"].max().sort_values(kind="stable")
    size = max(1, len(cost) // SHARE_PRUNED)
    chosen = sorted(cost.index[:size])
    # The first prompts chose the heads; the last ones say what they cost.
    plain = _prompts.same_length(prompts, sizes.seed + 1)[-sizes.n_pruning :]
    rng = np.random.default_rng(sizes.seed)
    places = sorted(cost.index)
    subsets = [
        [places[i] for i in rng.choice(len(places), size, replace=False)]
        for _ in range(sizes.n_subsets)
    ]
    pruned = Pruned(model, plain, sizes.seed)
    intact = pruned.losses([], "zero")
    rows, overview = [], {"n_heads": len(cost), "n_pruned": size, "n_prompts": len(plain)}
    for ablation in measures.ABLATIONS:
        gain = pruned.losses(chosen, ablation) - intact
        low, high = measures.bootstrap_interval(gain[:, None], sizes.n_resamples, sizes.seed)
        rows.append({"ablation": ablation, "set": "chosen", "gain_nats": gain.mean(),
                     "ci_low": low[0], "ci_high": high[0]})  # fmt: skip
        others = [float((pruned.losses(one, ablation) - intact).mean()) for one in subsets]
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
            "gained when a quarter of the ablated heads goes at once: those with least effect, and "
            "random ones (nats per token)",
        ),
        "pruning_sets": Table(pd.DataFrame(rows), "The same, set by set", in_page=False),
    }


class Pruned:
    """Each prompt's loss with several heads ablated at once.

    Values of other prompts, or their mean, come from the intact model, which runs once.

    Args:
        model: that is pruned.
        tokens: prompts of one length.
        seed: of which other prompt's values a prompt gets.
    """

    def __init__(self, model: "HookedGPT", tokens: np.ndarray, seed: int) -> None:
        import torch

        self.model = model
        self.rows = torch.as_tensor(tokens, device=model.W_E.device)
        order = np.random.default_rng(seed).permutation(len(tokens))
        other = np.empty_like(order)
        other[order] = np.roll(order, 1)
        self.other = torch.as_tensor(other.tolist())
        names = [hook_name("z", layer) for layer in range(model.config.n_layers)]
        with torch.no_grad():
            # The loss needs no prediction at the last token, so its run is one token shorter.
            self.cache = model.run_with_cache(self.rows[:, :-1], names)[1]

    def losses(self, heads: list[tuple[int, int]], ablation: str) -> np.ndarray:
        """Nats per token, one number for each prompt."""
        import torch

        by_layer: dict[int, list[int]] = {}
        for layer, head in heads:
            by_layer.setdefault(layer, []).append(head)
        hooks = [(hook_name("z", layer), self._replaced(layer, of, ablation))
                 for layer, of in by_layer.items()]  # fmt: skip
        with torch.no_grad(), self.model.hooks(fwd_hooks=hooks):
            loss = self.model.loss(self.rows, per_token=True)
        return loss.double().mean(1).cpu().numpy()

    def _replaced(self, layer: int, of_layer: list[int], ablation: str) -> Callable:
        def hook(z, point):
            intact, z = self.cache["z", layer][:, :, of_layer], z.clone()
            values = {
                "zero": lambda: 0.0,
                "mean": lambda: intact.mean(0, keepdim=True),
                "resample": lambda: intact[self.other],
            }
            z[:, :, of_layer] = values[ablation]()
            return z

        return hook
