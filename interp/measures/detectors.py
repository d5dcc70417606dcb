"""Head roles with what they are worth: control, interval, p-value, correction, and a label.

A head is given a label if, on the prompts that decide for the role,

1. its contrast on the discovery half reaches the role's smallest effect of interest,
2. on the confirmation half the lower end of the interval lies above that effect,
3. on the confirmation half q < 0.05, where p tests "the contrast is at most the smallest effect",
   and q is corrected over all heads, roles and kinds of prompts (Benjamini-Hochberg, or max-T with
   `strict=True`),
4. the same holds for every role that this one needs.

Why p is tested against the smallest effect and not against 0: no head of any model has a contrast
of exactly 0. In a model with random weights the contrasts are tiny, of either sign, and the same on
every prompt, so a test against 0 rejects half of them with enough prompts. `p_zero` reports that
test too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from interp.core import HookedGPT, InputError
from interp.measures.cells import match_cells
from interp.measures.readout import Progress, UnitValues, read_suite
from interp.measures.roles import MIN_EFFECT, REGISTRY, Role, chosen_roles
from interp.measures.scenes import Suite
from interp.measures.statistics import (
    MIN_UNITS,
    N_PERMUTATIONS,
    N_RESAMPLES,
    bootstrap_interval,
    false_discovery_q,
    max_t_p,
    sign_flip_p,
)

Heads = Iterable[tuple[int, int]]
ALPHA = 0.05
OFFSETS = tuple(range(-4, 9))  # places relative to the earlier occurrence


@dataclass(frozen=True)
class _Block:
    """One role on one kind of prompts: the two halves, heads as columns."""

    suite: int
    role: Role
    score: Float[np.ndarray, "unit column"]
    control: Float[np.ndarray, "unit column"]
    unit: np.ndarray  # numbers of the confirmation units within their suite
    discovery: Float[np.ndarray, " column"]

    @property
    def difference(self) -> Float[np.ndarray, "unit column"]:
        return self.score - self.control


def detect_roles(
    model: HookedGPT,
    suites: Sequence[Suite],
    *,
    roles: tuple[str, ...] | None = None,
    heads: Heads | None = None,
    strict: bool = False,
    batch_size: int = 32,
    mask: str | Tensor | dict | None = None,
    n_permutations: int = N_PERMUTATIONS,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """All roles of all heads, on several kinds of prompts.

    Args:
        model: any HookedGPT.
        suites: from least to most like what the model was trained on; a role is judged by the last
            one on which it is defined (`decisive`).
        roles: names from `REGISTRY`; all of them by default.
        heads: `(layer, head)` pairs; all by default. The correction covers those asked for.
        strict: q is the max-T p-value, which holds the chance of a single false label in the
            whole family at 5 %, instead of Benjamini-Hochberg's.
        batch_size: prompts in one forward pass.
        mask: as in `HookedGPT.forward`.
        n_permutations: sign flips for each p-value.
        n_resamples: bootstrap resamples for each interval.
        seed: of the split, the sign flips, the resamples and the random control heads.
        progress: called with what is done, prompts done and prompts in all.

    Returns:
        One row per kind of prompts, role and head: `prompts`, `role`, `layer`, `head`, `score`,
        `control`, `contrast`, `ci_low`, `ci_high`, `smallest_effect` (units of the score), `p`,
        `p_zero`, `q`, `n` (units of the confirmation half), `contrast_discovery`, `decisive`,
        `passes` (conditions 1 to 3), `label` (on a decisive row, all conditions). Roles that the
        prompts do not support have no rows; `missing_roles` lists them with the reason.

    Raises:
        InputError: an unknown role, a head that does not exist, no kind of prompts, or prompts
            that support none of the roles.

    Cost: `read_suite` for each suite, then matrix products of `n_permutations * n / 2` rows.
    """
    if not suites:
        raise InputError("roles are measured on prompts: give at least one suite")
    columns = head_columns(model, heads)
    blocks: list[_Block] = []
    for number, suite in enumerate(suites):
        values = read_suite(
            model,
            suite,
            chosen_roles(roles),
            batch_size=batch_size,
            mask=mask,
            seed=seed,
            progress=progress,
        )
        blocks += _split(number, suite, values, columns, seed)
    if not blocks:
        wanted = "; ".join(f"{r.name}: {r.requires}" for r in chosen_roles(roles) if r.label)
        raise InputError(
            f"these prompts support none of the roles in {MIN_UNITS} prompts of either half "
            f"({wanted}); give other or more prompts"
        )
    frame = _tested(blocks, [s.name for s in suites], n_permutations, n_resamples, strict, seed)
    layer, head = np.divmod(columns, model.config.n_heads)
    frame.insert(2, "layer", np.tile(layer, len(blocks)))
    frame.insert(3, "head", np.tile(head, len(blocks)))
    return _labelled(frame)


def head_columns(model: HookedGPT, heads: Heads | None) -> np.ndarray:
    """The heads asked for as numbers, layer by layer.

    Raises:
        InputError: a head that the model does not have, or none at all.
    """
    n_layers, n_heads = model.config.n_layers, model.config.n_heads
    if heads is None:
        return np.arange(n_layers * n_heads)
    chosen = sorted({(int(layer), int(head)) for layer, head in heads})
    if not chosen:
        raise InputError("heads is empty: give (layer, head) pairs, or leave it out")
    for layer, head in chosen:
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise InputError(
                f"there is no head L{layer}H{head}: the model has layers 0 to {n_layers - 1} with "
                f"heads 0 to {n_heads - 1}"
            )
    return np.array([layer * n_heads + head for layer, head in chosen])


def missing_roles(frame: pd.DataFrame, roles: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Roles that could not be measured, and what their prompts lack: `role`, `requires`."""
    rows = [
        {"role": role.name, "requires": role.requires}
        for role in chosen_roles(roles)
        if role.label and role.name not in set(frame["role"])
    ]
    return pd.DataFrame(rows, columns=["role", "requires"])


def labels(frame: pd.DataFrame) -> pd.DataFrame:
    """The labels given, strongest first: one row per head and role."""
    held = frame[frame["label"]]
    strength = held["contrast"] / held["smallest_effect"]
    order = strength.sort_values(ascending=False, kind="stable").index
    return held.loc[order].reset_index(drop=True)


def role_strength(frame: pd.DataFrame) -> pd.DataFrame:
    """How far each head fills each role, on the prompts that decide.

    The contrast in units of the smallest effect; for a role that needs others, the smallest of
    theirs and its own. AUROCs are taken over it.

    Returns:
        `role`, `layer`, `head`, `strength`, `q` (the largest of the conditions'), `label`.
    """
    decisive = frame[frame["decisive"]].set_index(["layer", "head"])
    decisive = decisive.assign(strength=decisive["contrast"] / decisive["smallest_effect"])
    by_role = dict(list(decisive.groupby("role", sort=False)))
    parts = []
    for name, rows in by_role.items():
        role = REGISTRY.get(name)
        if role is None or not role.label:
            continue
        strength, q = rows["strength"], rows["q"]
        for need in (by_role[need] for need in role.needs if need in by_role):
            strength = np.minimum(strength, need["strength"].reindex(rows.index))
            q = np.maximum(q, need["q"].reindex(rows.index))
        part = pd.DataFrame({"role": name, "strength": strength, "q": q, "label": rows["label"]})
        parts.append(part.reset_index()[["role", "layer", "head", "strength", "q", "label"]])
    return pd.concat(parts, ignore_index=True)


def role_summary(frame: pd.DataFrame, random_init: pd.DataFrame) -> pd.DataFrame:
    """One row per role: how many heads hold it, and its best head beside that of random weights.

    Args:
        frame: of `detect_roles`; only its decisive rows count.
        random_init: the same for a model of the same shape with random weights.

    Returns:
        `role`, `prompts`, `n_heads`, `n_labelled`, `n_labelled_random_init`; of the head that fills
        the role best (by `role_strength`, heads with the label first) `layer`, `head`, `score`,
        `control`, `contrast`, `ci_low`, `ci_high`, `smallest_effect` (units of the score), `q`,
        `n`, `contrast_discovery`, `strength` (in smallest effects) and `label`;
        `strength_random_init`: the largest of the random model, 0 if it has none.
    """
    strength, random = role_strength(frame), role_strength(random_init)
    decisive = frame[frame["decisive"]].set_index(["role", "layer", "head"])
    rows = []
    for role, of_role in strength.groupby("role", sort=False):
        best = of_role.sort_values(["label", "strength"], ascending=False, kind="stable").iloc[0]
        row = decisive.loc[(role, best["layer"], best["head"])]
        of_random = random[random["role"] == role]
        rows.append(
            {
                "role": role,
                "prompts": row["prompts"],
                "n_heads": len(of_role),
                "n_labelled": int(of_role["label"].sum()),
                "n_labelled_random_init": int(of_random["label"].sum()),
                "layer": best["layer"],
                "head": best["head"],
                **row[_OF_BEST].to_dict(),
                "strength": best["strength"],
                "label": bool(best["label"]),
                "strength_random_init": of_random["strength"].max() if len(of_random) else 0.0,
            }
        )
    return pd.DataFrame(rows)


_OF_BEST = [
    *("score", "control", "contrast", "ci_low", "ci_high", "smallest_effect"),
    *("q", "n", "contrast_discovery"),
]


def match_offset_profile(
    model: HookedGPT,
    suites: Sequence[Suite],
    *,
    offsets: Sequence[int] = OFFSETS,
    **options,
) -> pd.DataFrame:
    """Attention at every place relative to the earlier occurrence of the query's token.

    Offset 0 is the occurrence itself (duplicate token), 1 what followed it (induction). A model can
    solve repeats by reading elsewhere, 2 or 3 places on, and decoding the answer from what earlier
    layers left there: the textbook score sees nothing of it.

    Args:
        model: any HookedGPT.
        suites: with repeats.
        offsets: places relative to the earlier occurrence.
        **options: as `detect_roles`.

    Returns:
        As `detect_roles`, with `offset` instead of `role`; `passes` and `label` per offset.

    Raises:
        InputError: no prompt has a repeat.
    """
    columns = head_columns(model, options.pop("heads", None))
    seed, strict = options.pop("seed", 0), options.pop("strict", False)
    n_permutations = options.pop("n_permutations", N_PERMUTATIONS)
    n_resamples = options.pop("n_resamples", N_RESAMPLES)
    scanned = tuple(
        Role(f"{offset}", "attention near a match", "", MIN_EFFECT, cells=match_cells(offset))
        for offset in offsets
    )
    blocks: list[_Block] = []
    for number, suite in enumerate(suites):
        values = read_suite(model, suite, scanned, seed=seed, **options)
        known = {role.name: role for role in scanned}
        blocks += _split(number, suite, values, columns, seed, known)
    if not blocks:
        raise InputError("no prompt has a repeat, so there is no match to look around")
    frame = _tested(blocks, [s.name for s in suites], n_permutations, n_resamples, strict, seed)
    layer, head = np.divmod(columns, model.config.n_heads)
    frame.insert(2, "layer", np.tile(layer, len(blocks)))
    frame.insert(3, "head", np.tile(head, len(blocks)))
    frame = _labelled(frame)
    frame["role"] = frame["role"].astype(int)
    return frame.rename(columns={"role": "offset"})


# ------------------------------------------------------------------------------------ statistics


def _split(
    number: int,
    suite: Suite,
    values: dict[str, UnitValues],
    columns: np.ndarray,
    seed: int,
    known: dict[str, Role] | None = None,
) -> list[_Block]:
    """Discovery and confirmation halves; a unit is in the same half for every role.

    Roles with fewer than six units in either half are left out.
    """
    known = REGISTRY if known is None else known
    names = np.unique(np.concatenate([scene.unit for scene in suite.scenes]))
    order = np.random.default_rng(seed).permutation(len(names))
    confirming = np.zeros(len(names), bool)
    confirming[order[len(names) // 2 :]] = True
    blocks = []
    for name, of_role in values.items():
        place = np.searchsorted(names, of_role.unit)
        chosen = confirming[place]
        if min(chosen.sum(), (~chosen).sum()) < MIN_UNITS:
            # A role that few units have gets a split of its own.
            chosen = np.zeros(len(place), bool)
            chosen[np.random.default_rng(seed).permutation(len(place))[len(place) // 2 :]] = True
        if min(chosen.sum(), (~chosen).sum()) < MIN_UNITS:
            continue
        score, control = (
            side.reshape(len(side), -1)[:, columns] for side in (of_role.score, of_role.control)
        )
        discovery = (score - control)[~chosen].mean(0)
        blocks.append(
            _Block(number, known[name], score[chosen], control[chosen], place[chosen], discovery)
        )
    return blocks


def _tested(
    blocks: list[_Block],
    names: list[str],
    n_permutations: int,
    n_resamples: int,
    strict: bool,
    seed: int,
) -> pd.DataFrame:
    shifted = [block.difference - block.role.smallest_effect for block in blocks]
    adjusted = None
    if strict:
        groups = [(block.suite, block.unit) for block in blocks]
        adjusted = max_t_p(shifted, groups, n_permutations, seed)
    frames = []
    for block, difference in zip(blocks, shifted, strict=True):
        low, high = bootstrap_interval(block.difference, n_resamples, seed)
        frames.append(
            pd.DataFrame(
                {
                    "prompts": names[block.suite],
                    "role": block.role.name,
                    "score": block.score.mean(0),
                    "control": block.control.mean(0),
                    "contrast": block.difference.mean(0),
                    "ci_low": low,
                    "ci_high": high,
                    "smallest_effect": block.role.smallest_effect,
                    "p": sign_flip_p(difference, n_permutations, seed),
                    "p_zero": sign_flip_p(block.difference, n_permutations, seed),
                    "n": len(difference),
                    "contrast_discovery": block.discovery,
                    "suite": block.suite,
                }
            )
        )
    frame = pd.concat(frames, ignore_index=True)
    q = np.concatenate(adjusted) if strict else false_discovery_q(frame["p"].to_numpy())
    frame.insert(frame.columns.get_loc("n"), "q", q)
    return frame


def _labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `decisive`, `passes` and `label`, and the rows of roles that show in several ways."""
    suite = frame.pop("suite")
    frame["decisive"] = suite == suite.groupby(frame["role"]).transform("max")
    frame["passes"] = (
        (frame["contrast_discovery"] >= frame["smallest_effect"])
        & (frame["ci_low"] > frame["smallest_effect"])
        & (frame["q"] < ALPHA)
    )
    derived = [_best_of(frame, role) for role in REGISTRY.values() if role.either]
    frame = pd.concat([frame, *(part for part in derived if part is not None)], ignore_index=True)
    held = frame["decisive"] & frame["passes"]
    places = pd.MultiIndex.from_frame(frame[["layer", "head"]])
    label = held.copy()
    for role in frame["role"].unique():
        known = REGISTRY.get(role)
        if known is None:
            continue
        of_role = frame["role"] == role
        label &= ~of_role | known.label
        for need in known.needs:
            holds = set(places[(frame["role"] == need) & held])
            label &= ~of_role | np.array([place in holds for place in places])
    return frame.assign(label=label)


def _best_of(frame: pd.DataFrame, role: Role) -> pd.DataFrame | None:
    """For each head, the decisive row of the alternative that it fills best.

    The row repeats a test that is in the family already, so it does not enter the correction again.
    """
    if not set(role.needs) <= set(frame["role"]):
        return None
    rows = frame[frame["decisive"] & frame["role"].isin(role.either)]
    if rows.empty:
        return None
    strength = rows["contrast"] / rows["smallest_effect"] + 1e9 * rows["passes"]
    best = strength.groupby([rows["layer"], rows["head"]], sort=True).idxmax()
    return frame.loc[best].assign(role=role.name)
