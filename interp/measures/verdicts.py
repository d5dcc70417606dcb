"""Labels beside what ablations say: confirmed, redundant, hidden or irrelevant heads."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from interp.core import InputError
from interp.measures.detectors import labels, role_strength
from interp.measures.roles import REGISTRY

QUADRANTS = ("role", "redundant or backup", "hidden", "irrelevant")


def behaviour_of(role: str, present: Sequence[str]) -> str:
    """The behaviour that a role serves, among those measured; "" if that one is missing."""
    known = REGISTRY[role]
    name = f"answers:{role}" if known.behaviour == "answers" else known.behaviour
    if name in present:
        return name
    return "prediction" if known.behaviour == "answers" and "prediction" in present else ""


def confirmed_labels(frame: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """Each label with the ablations of its head on the behaviour that the role serves.

    Args:
        frame: of `detect_roles`.
        effects: of `causal_effects`, of the same model.

    Returns:
        The rows of `labels(frame)` and `behaviour` ("" if not measured), `effect_zero`,
        `effect_mean`, `effect_resample`, `smallest_causal_effect` (NaN where not measured),
        `acts` (two of three), `agree` (all alike), `verdict`: "confirmed", "no effect",
        "behaviour absent" or "not measured".
    """
    held = labels(frame)
    present = tuple(effects["behaviour"].unique())
    served = [behaviour_of(role, present) for role in held["role"]]
    table = _by_head(effects).reset_index()
    held = held.assign(behaviour=served)
    joined = held.merge(table, on=["behaviour", "layer", "head"], how="left")
    joined["acts"] = joined["acts"].fillna(False).astype(bool)
    joined["agree"] = joined["agree"].fillna(False).astype(bool)
    measured = joined["present"].notna()
    shown = joined.pop("present").fillna(False).astype(bool)
    joined["verdict"] = np.select(
        [~measured, ~shown, joined["acts"]],
        ["not measured", "behaviour absent", "confirmed"],
        "no effect",
    )
    return joined


def _by_head(effects: pd.DataFrame) -> pd.DataFrame:
    """One row per behaviour and head, the ablations side by side."""
    keys = ["behaviour", "layer", "head"]
    wide = effects.pivot(index=keys, columns="ablation", values="effect")
    wide = wide.rename(columns=lambda ablation: f"effect_{ablation}")
    grouped = effects.groupby(keys)
    n_acting, n_kinds = grouped["acts"].sum(), grouped["acts"].size()
    wide["smallest_causal_effect"] = grouped["smallest_effect"].first()
    wide["acts"] = n_acting * 2 > n_kinds
    wide["agree"] = (n_acting == 0) | (n_acting == n_kinds)
    wide["present"] = grouped["present"].first()
    wide.columns.name = None
    return wide


def quadrants(frame: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """Each head in one of four quadrants: does it have a role, does it act on any behaviour?

    Args:
        frame: of `detect_roles`.
        effects: of `causal_effects`, of the same model; heads that are not in it are left out.

    Returns:
        One row per head: `layer`, `head`, `roles` (its labels), `strength` (largest contrast of
        any role in units of that role's smallest effect), `effect` (largest of any behaviour, the
        median of the ablations, in units of the smallest effect of interest), `behaviour` (that
        one), `agree`, `quadrant`: "role" (both), "redundant or backup" (a role, but nothing is
        lost without the head), "hidden" (no role known here, yet it matters), "irrelevant";
        `certain` (False where strength or effect reaches 1, but a test of it failed, so that the
        quadrant is not the one in which the two numbers lie).
    """
    heads = effects[["layer", "head"]].drop_duplicates().sort_values(["layer", "head"])
    table = _by_head(effects)
    kinds = [name for name in table.columns if name.startswith("effect_")]
    table["relative"] = table[kinds].median(axis=1) / table["smallest_causal_effect"]
    table.loc[~table["present"], "relative"] = 0.0
    strongest = role_strength(frame).groupby(["layer", "head"])["strength"].max()
    held = labels(frame)
    rows = []
    for layer, head in heads.itertuples(index=False):
        own = held[(held["layer"] == layer) & (held["head"] == head)]
        of_head = table.xs((layer, head), level=("layer", "head"))
        acting = of_head[of_head["acts"]]
        best = (acting if len(acting) else of_head)["relative"].idxmax()
        strength, effect = strongest[layer, head], of_head.loc[best, "relative"]
        rows.append(
            {
                "layer": layer,
                "head": head,
                "roles": ", ".join(own["role"]),
                "strength": strength,
                "effect": effect,
                "behaviour": best,
                "agree": bool(of_head.loc[best, "agree"]),
                "quadrant": _quadrant(bool(len(own)), bool(len(acting))),
                "certain": (strength < 1 or len(own) > 0) and (effect < 1 or len(acting) > 0),
            }
        )
    return pd.DataFrame(rows)


def _quadrant(has_role: bool, acts: bool) -> str:
    return QUADRANTS[2 * (not has_role) + (not acts)]


def induction_verdict(
    frame: pd.DataFrame, profile: pd.DataFrame, effects: pd.DataFrame
) -> pd.DataFrame:
    """Does the model solve repeats, and does a textbook induction head do it?

    A model may solve repeats while every head's attention on the token after the match is 0: some
    head reads two or three places on. So the stripe alone proves nothing either way.

    Args:
        frame: of `detect_roles`.
        profile: of `match_offset_profile`.
        effects: of `causal_effects`, with the behaviour "repeats".

    Returns:
        One row: `saved_nats` (loss on repeats below that on their controls), `solves` (at least
        `MIN_BEHAVIOUR`), `n_induction_heads`, `n_confirmed` (of them, by ablation), `best_offset`,
        `best_layer`, `best_head`, `best_contrast` (largest contrast near the match, the match
        itself left out), `best_passes`, `verdict`: "induction heads", "induction heads without
        effect", "solved by reading elsewhere", "solved in an unknown way" or "not solved".

    Raises:
        InputError: `effects` lacks the behaviour "repeats".
    """
    repeats = effects[effects["behaviour"] == "repeats"]
    if repeats.empty:
        raise InputError('effects lacks the behaviour "repeats": measure it on random tokens')
    held = confirmed_labels(frame, effects)
    held = held[held["role"] == "induction"]
    confirmed = int((held["verdict"] == "confirmed").sum())
    near = profile[profile["offset"] != 0]
    best = near.loc[near["contrast"].idxmax()]
    solves = bool(repeats["present"].iloc[0])
    if not solves:
        verdict = "not solved"
    elif confirmed:
        verdict = "induction heads"
    elif len(held):
        verdict = "induction heads without effect"
    elif best["passes"]:
        verdict = "solved by reading elsewhere"
    else:
        verdict = "solved in an unknown way"
    return pd.DataFrame(
        [
            {
                "saved_nats": float(repeats["size"].iloc[0]),
                "solves": solves,
                "n_induction_heads": len(held),
                "n_confirmed": confirmed,
                "best_offset": int(best["offset"]),
                "best_layer": int(best["layer"]),
                "best_head": int(best["head"]),
                "best_contrast": float(best["contrast"]),
                "best_passes": bool(best["passes"]),
                "verdict": verdict,
            }
        ]
    )
