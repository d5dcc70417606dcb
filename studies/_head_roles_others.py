"""Roles of a model's heads beside those of others: training seeds, and heads that papers name."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from interp import measures, plots
from interp.reporting import Table

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT

SEEDS = ("small", "small-s1", "small-s2")  # one recipe, three training seeds
N_DEALT = 199  # matchings of roles dealt at random
STRONGEST = 5.0  # smallest effects; beyond, strengths count alike

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
GPT2_SMALL = {"n_layers": 12, "n_heads": 12, "d_model": 768, "d_vocab": 50257}
N_DRAWN = 999  # random sets of heads beside those named


# ----------------------------------------------------------------------------------------- seeds


def seed_tables(
    model: "HookedGPT",
    strength: "pd.DataFrame",
    detected: Callable[["HookedGPT"], "pd.DataFrame"],
    seed: int,
) -> dict[str, Table]:
    """The shipped training seeds compared by role; nothing for other models.

    Args:
        model: that is measured.
        strength: of `measures.role_strength`, for it.
        detected: measures the roles of another model.
        seed: of the roles dealt at random.
    """
    import pandas as pd

    from interp.loading import load_model

    if model.name not in SEEDS:
        return {}
    by_model = {model.name: strength}
    for name in SEEDS:
        if name != model.name:
            other = load_model(name, device=str(model.W_E.device))
            by_model[name] = measures.role_strength(detected(other))
    counts = _counts(by_model)
    held = counts.assign(held=counts["n_labelled"] > 0).groupby("role")["held"].sum()
    others = {name: frame for name, frame in by_model.items() if name != model.name}
    matched = [matched_heads(strength, frame).assign(model=n) for n, frame in others.items()]
    heads = pd.concat(matched, ignore_index=True)
    dealt = np.mean([dealt_distances(strength, frame, seed) for frame in others.values()], axis=0)
    distance = heads["distance"].mean()
    overview = {
        "n_seeds": len(by_model),
        "n_roles": len(held),
        "n_in_all": int((held == len(by_model)).sum()),
        "n_in_some": int(((held > 0) & (held < len(by_model))).sum()),
        "n_in_none": int((held == 0).sum()),
        "distance_matched": distance,
        "distance_by_index": heads["distance_by_index"].mean(),
        "distance_dealt": dealt.mean(),
        "dealt_low": np.quantile(dealt, 0.025),
        "dealt_high": np.quantile(dealt, 0.975),
        "p_dealt": (1 + (dealt <= distance).sum()) / (1 + len(dealt)),
        "n_dealt": len(dealt),
        "n_same_place": int((heads["name"] == heads["counterpart"]).sum()),
        "n_pairs": len(heads),
    }
    return {
        "seeds": Table(counts, "Heads with each role, and the best one, by training seed"),
        "seeds_overview": Table(
            pd.DataFrame([overview]),
            "Roles held in all, some and no seeds; and how far heads are apart in their roles "
            "(mean difference in smallest effects) when matched by role, matched after every role "
            "of the other seed was dealt to its heads at random (95 % of the matchings), and "
            "compared by index",
        ),
        "seeds_matched": Table(heads, "Each head and its counterpart in the other seeds"),
    }


def _counts(by_model: dict[str, "pd.DataFrame"]) -> "pd.DataFrame":
    import pandas as pd

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
    return pd.DataFrame(rows)


def _profiles(one: "pd.DataFrame", other: "pd.DataFrame") -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Heads by roles that both models were tested for, cut off at 0 and `STRONGEST`."""
    a, b = (
        frame.pivot(index=["layer", "head"], columns="role", values="strength").clip(0, STRONGEST)
        for frame in (one, other)
    )
    roles = a.columns.intersection(b.columns)
    return a[roles], b[roles]


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a[:, None] - b[None]).mean(-1)


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

    a, b = _profiles(one, other)
    cost = _distances(a.to_numpy(), b.to_numpy())
    row, column = linear_sum_assignment(cost)
    return pd.DataFrame(
        {
            "name": [plots.head_label(*a.index[i]) for i in row],
            "counterpart": [plots.head_label(*b.index[j]) for j in column],
            "distance": cost[row, column],
            "distance_by_index": np.diag(cost),
        }
    )


def dealt_distances(
    one: "pd.DataFrame", other: "pd.DataFrame", seed: int, n_dealt: int = N_DEALT
) -> np.ndarray:
    """Mean distance of the best matchings when the other model's roles are dealt at random.

    Each role's strengths are permuted over the other model's heads, role by role: every role keeps
    its strengths, but no head keeps its combination of roles. (A permutation of whole heads would
    change nothing, since the matching undoes it.)
    """
    from scipy.optimize import linear_sum_assignment

    a, b = (frame.to_numpy() for frame in _profiles(one, other))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_dealt):
        cost = _distances(a, rng.permuted(b, axis=0))
        found.append(cost[linear_sum_assignment(cost)].mean())
    return np.array(found)


# ------------------------------------------------------------------------------------- published


def published_table(model: "HookedGPT", strength: "pd.DataFrame", seed: int) -> dict[str, Table]:
    """Where the heads that papers name stand among all heads by our measure.

    For models of GPT-2 small's shape and vocabulary; whether the weights are OpenAI's cannot be
    seen, so the caption says for which weights the comparison means something.
    """
    import pandas as pd

    if any(getattr(model.config, name) != value for name, value in GPT2_SMALL.items()):
        return {}
    rng = np.random.default_rng(seed)
    rows = []
    for role, published in PUBLISHED.items():
        of_role = strength[strength["role"] == role]
        if of_role.empty:
            continue
        values = of_role["strength"].to_numpy()
        named = np.array(
            [at in published for at in zip(of_role["layer"], of_role["head"], strict=True)]
        )
        drawn = [rank_auc(values, rng.permutation(named)) for _ in range(N_DRAWN)]
        best = of_role.loc[of_role["strength"].idxmax()]
        rows.append(
            {
                "role": role,
                "published_heads": ", ".join(plots.head_label(*at) for at in published),
                "n_published": len(published),
                "measured_best": plots.head_label(best["layer"], best["head"]),
                "rank_auc": rank_auc(values, named),
                "random_low": np.quantile(drawn, 0.025),
                "random_high": np.quantile(drawn, 0.975),
                "n_heads": len(of_role),
            }
        )
    table = pd.DataFrame(rows)
    overview = {
        "rank_auc": table["rank_auc"].mean(),
        "n_roles": len(table),
        "n_beyond": int((table["rank_auc"] > table["random_high"]).sum()),
    }
    return {
        "published": Table(
            table,
            "PUBLISHED, not measured here: heads that papers name for OpenAI's GPT-2 small, and "
            "how they rank among all heads of this model by the measured contrast (rank AUC: 1 all "
            "in front, 0.5 chance; beside it 95 % of as many heads drawn at random). It means "
            "something for OpenAI's weights only",
        ),
        "published_overview": Table(
            pd.DataFrame([overview]), "PUBLISHED heads, over roles: mean rank AUC"
        ),
    }


def rank_auc(values: np.ndarray, named: np.ndarray) -> float:
    """Chance that a named head lies above another one, ties counted half."""
    above = values[named][:, None] - values[~named][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


# --------------------------------------------------------------------------------------- helpers


def head_names(heads: "pd.DataFrame") -> list[str]:
    """Labels of rows with a layer and a head."""
    return [plots.head_label(*at) for at in zip(heads["layer"], heads["head"], strict=True)]


def rank_correlation(a: "pd.Series", b: "pd.Series") -> float:
    """Spearman's; 0 where one of them does not vary."""
    if a.nunique() < 2 or b.nunique() < 2:
        return 0.0
    return float(a.rank().corr(b.rank()))
