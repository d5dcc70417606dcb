"""Is this set of heads and MLPs the circuit? Tests of a claim, each with its null.

All of them run the model with a set of components kept and everything else ablated
(`interp.measures.ablating`). F(C) is the metric's mean over prompts with C kept, M the whole model,
K a subset of C.

| test | asks | number | null |
|---|---|---|---|
| faithfulness | does C do what M does? | (F(C) - F(0)) / (F(M) - F(0)) | random sets of C's size |
| completeness | does C hold all that helps? | largest abs(F(C - K) - F(M - K)) | |
| minimality | does C need each member v? | largest abs(F(C - K) - F(C - K - v)) | outsiders as v |

Sources: faithfulness, completeness and minimality after Wang et al. 2022 (arXiv:2211.00593), who
look for K by hand, at random and greedily, and who call abs(F(M) - F(C)) faithfulness; the
normalised form after Mueller et al. 2025 (MIB, arXiv:2504.13151); random circuits and random
additions as nulls after Shi et al. 2024 (arXiv:2410.13032). These works also prune edges; here
circuits are sets of components. Curves over rankings, and whether resampled prompts give the same
circuit, are in `interp.measures.circuit_curves`.

K is searched on one half of the units and its score told on the other: a maximum over many subsets
is large by chance alone.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from interp.core import InputError
from interp.measures.ablating import Component, SetAblation, component_name
from interp.measures.effects import MIN_DIFFERENCE
from interp.measures.resampling import resample_weights
from interp.measures.statistics import N_RESAMPLES

N_RANDOM = 39  # random circuits or rankings; add-one p-values down to 1 / 40
INTERVAL = (0.025, 0.975)

PerPrompt = Float[np.ndarray, " prompt"]


def circuit_faithfulness(
    run: SetAblation,
    circuit: Iterable[Component],
    *,
    n_random: int = N_RANDOM,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """How much of the model's behaviour a circuit keeps by itself.

    Args:
        run: the ablation, with one metric.
        circuit: heads `(layer, head)` and MLPs `(layer, MLP)`.
        n_random: random sets of the same size.
        n_resamples: bootstrap resamples of the units.
        seed: of both.

    Returns:
        One row: `ablation`, `metric`, `unit`, `size`, `whole` (F(M)), `value` (F(C)), `empty`
        (F(0)), `gap` (F(M) - F(C)) with `gap_low`, `gap_high`, `faithfulness` with `ci_low`,
        `ci_high` (NaN where F(M) and F(0) differ by less than `MIN_DIFFERENCE`), `null_mean` and
        `null_95` (of the faithfulness of random sets), `p` (a random set does as well; add-one),
        `n` (units).

    Raises:
        InputError: more than one metric, an empty circuit, or an unknown component.

    Cost: `n_random + 2` runs.
    """
    circuit = checked(run, circuit)
    rng = np.random.default_rng(seed)
    everything = run.components
    randoms = [_draw(rng, everything, len(circuit)) for _ in range(n_random)]
    value, empty, *others = run.kept([circuit, (), *randoms])[0]
    whole = run.intact[0]
    weights = resample_weights(run.units, n_resamples, seed)
    gap_low, gap_high = np.quantile(weights @ (whole - value), INTERVAL)
    found, low, high = _share(value, empty, whole, weights)
    null = np.array([_share(other, empty, whole)[0] for other in others])
    row = {
        **about(run),
        "size": len(circuit),
        "whole": whole.mean(),
        "value": value.mean(),
        "empty": empty.mean(),
        "gap": (whole - value).mean(),
        "gap_low": gap_low,
        "gap_high": gap_high,
        "faithfulness": found,
        "ci_low": low,
        "ci_high": high,
        **_null(null, found),
        "n": len(np.unique(run.units)),
    }
    return pd.DataFrame([row])


def circuit_completeness(
    run: SetAblation,
    circuit: Iterable[Component],
    *,
    n_random: int = N_RANDOM,
    n_greedy: int = 5,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """The subset of a circuit whose loss hurts the circuit and the model most unequally.

    Of a complete circuit every part matters as much as in the whole model. If something outside
    does the same work, losing K hurts the circuit more: a redundant head was missed.

    Args:
        run: the ablation, with one metric.
        circuit: heads and MLPs.
        n_random: random subsets tried, each of a size drawn evenly.
        n_greedy: greedy steps: from the empty set, add the member that raises the score most.
        n_resamples: bootstrap resamples of the units.
        seed: of the halves, the subsets and the bootstrap.

    Returns:
        One row for each of the empty set, all single members, the whole circuit, the random and the
        greedy subsets: `search`, `subset` (names), `size`, `circuit_without` (F(C - K)),
        `model_without` (F(M - K)), `incompleteness` (their difference) with `ci_low`, `ci_high`,
        `share` (of F(M) - F(0); NaN if that is below `MIN_DIFFERENCE`), `searched` (the absolute
        difference on the half that was searched), `worst` (the largest there), `n` (units of the
        other half). All but `searched` and `worst` are of the half on which nothing was chosen,
        and a difference is positive there if it has the sign that it had on the searched half.

    Raises:
        InputError: more than one metric, an empty circuit, an unknown component, or a single unit.

    Cost: two runs for each subset; a greedy step tries every member that is left.
    """
    circuit = checked(run, circuit)
    search, confirm = _halves(run.units, seed)
    rng = np.random.default_rng(seed)
    members = sorted(circuit)

    def differences(subsets: Sequence[frozenset]) -> Float[np.ndarray, "subset prompt"]:
        return run.kept([circuit - k for k in subsets])[0] - run.knocked_out(subsets)[0]

    tried = [("none", frozenset()), *(("single", frozenset((c,))) for c in members)]
    tried.append(("all", circuit))
    for _ in range(n_random):
        tried.append(("random", _draw(rng, members, int(rng.integers(1, len(members) + 1)))))
    grown: frozenset[Component] = frozenset()
    for _ in range(min(n_greedy, len(members))):
        larger = [grown | {c} for c in members if c not in grown]
        scores = np.abs(differences(larger)[:, search].mean(1))
        grown = larger[int(scores.argmax())]
        tried.append(("greedy", grown))
    tried = list({subset: (name, subset) for name, subset in reversed(tried)}.values())[::-1]

    subsets = [subset for _, subset in tried]
    found = differences(subsets)
    searched = np.abs(found[:, search].mean(1))
    weights = resample_weights(run.units[confirm], n_resamples, seed)
    without, model_without = (
        run.kept([circuit - k for k in subsets])[0],
        run.knocked_out(subsets)[0],
    )
    span = _span(run, confirm)
    frame = pd.DataFrame(
        {
            **about(run),
            "search": [name for name, _ in tried],
            "subset": [_names(subset) for subset in subsets],
            "size": [len(subset) for subset in subsets],
            "circuit_without": without[:, confirm].mean(1),
            "model_without": model_without[:, confirm].mean(1),
        }
    )
    signed = _signed(found, search, confirm)
    low, high = np.quantile(weights @ signed.T, INTERVAL, axis=0)
    return frame.assign(
        incompleteness=signed.mean(1),
        ci_low=low,
        ci_high=high,
        share=signed.mean(1) / span,
        searched=searched,
        worst=np.arange(len(searched)) == searched.argmax(),
        n=len(np.unique(run.units[confirm])),
    )


def circuit_minimality(
    run: SetAblation,
    circuit: Iterable[Component],
    *,
    n_random: int = N_RANDOM,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether a circuit needs each of its members.

    A member v is needed if there is a K such that the circuit without K loses something with v. K
    is the one, among the empty set, the other single members and random subsets, for which the
    loss is largest on one half of the units; so is it for outsiders, which are added to the
    circuit and taken away again: what those do is the null.

    Args:
        run: the ablation, with one metric.
        circuit: heads and MLPs.
        n_random: random subsets K; and outsiders, drawn at random, at most.
        n_resamples: bootstrap resamples of the units.
        seed: of the halves, the draws and the bootstrap.

    Returns:
        One row per member: `component`, `layer`, `head`, `subset` (K), `minimality` (the loss, on
        the half on which K was not chosen; positive if its sign is that of the other half) with
        `ci_low`, `ci_high`, `share` (of F(M) - F(0)), `null_95` and `null_mean` (of outsiders), `p`
        (an outsider does as much; add-one), `n` (units). Without outsiders the null is NaN.

    Raises:
        InputError: more than one metric, an empty circuit, an unknown component, or a single unit.

    Cost: about `(n_random + members) * (members + outsiders)` runs of what the circuit keeps.
    """
    circuit = checked(run, circuit)
    search, confirm = _halves(run.units, seed)
    rng = np.random.default_rng(seed)
    members = sorted(circuit)
    outside = sorted(set(run.components) - circuit)
    drawn = rng.permutation(len(outside))[:n_random]
    subsets = [frozenset(), *(frozenset((c,)) for c in members)]
    for _ in range(n_random if len(members) > 2 else 0):
        subsets.append(_draw(rng, members, int(rng.integers(1, len(members)))))
    subsets = list(dict.fromkeys(subsets))

    def best(v: Component) -> tuple[frozenset, PerPrompt]:
        larger = circuit | {v}
        allowed = [k for k in subsets if v not in k]
        lost = run.kept([larger - k for k in allowed])[0]
        lost = lost - run.kept([larger - k - {v} for k in allowed])[0]
        chosen = int(np.abs(lost[:, search].mean(1)).argmax())
        return allowed[chosen], _signed(lost[[chosen]], search, confirm)[0]

    null = np.array([best(outside[i])[1].mean() for i in drawn])
    weights = resample_weights(run.units[confirm], n_resamples, seed)
    span, n_units, rows = _span(run, confirm), len(np.unique(run.units[confirm])), []
    for v in members:
        k, lost = best(v)
        low, high = np.quantile(weights @ lost, INTERVAL)
        named = {"component": component_name(v), "layer": v[0], "head": v[1], "subset": _names(k)}
        score = {"minimality": lost.mean(), "ci_low": low, "ci_high": high}
        null_of = {"share": lost.mean() / span, **_null(null, lost.mean())}
        rows.append({**about(run), **named, **score, **null_of, "n": n_units})
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------------------- helpers


def checked(run: SetAblation, circuit: Iterable[Component]) -> frozenset[Component]:
    """The circuit, if it can be tested with this run."""
    if len(run.metrics) != 1:
        raise InputError(f"a circuit is tested by one metric; the run reads {len(run.metrics)}")
    circuit = frozenset(circuit)
    if not circuit:
        raise InputError("the circuit is empty")
    run.kept([circuit])  # refuses components that do not exist
    return circuit


def _draw(
    rng: np.random.Generator, components: Sequence[Component], size: int
) -> frozenset[Component]:
    return frozenset(components[i] for i in rng.permutation(len(components))[:size])


def _halves(
    units: np.ndarray, seed: int
) -> tuple[Bool[np.ndarray, " prompt"], Bool[np.ndarray, " prompt"]]:
    """Prompts of a random half of the units, and the others."""
    names = np.unique(units)
    if len(names) < 2:
        raise InputError(
            "subsets are searched on one half of the units and judged on the other, and there is "
            "a single unit; give more prompts or templates"
        )
    chosen = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
    search = np.isin(units, chosen)
    return search, ~search


def _signed(
    differences: Float[np.ndarray, "row prompt"],
    search: Bool[np.ndarray, " prompt"],
    confirm: Bool[np.ndarray, " prompt"],
) -> Float[np.ndarray, "row _confirm"]:
    """Differences on one half, positive where they have the sign of the other half's mean."""
    sign = np.where(differences[:, search].mean(1) < 0, -1.0, 1.0)
    return sign[:, None] * differences[:, confirm]


def _share(
    value: PerPrompt,
    empty: PerPrompt,
    whole: PerPrompt,
    weights: Float[np.ndarray, "resample prompt"] | None = None,
) -> tuple[float, float, float]:
    """A normalised value and its interval; NaN where the behaviour is too small to divide by."""
    span = (whole - empty).mean()
    if abs(span) < MIN_DIFFERENCE:
        return np.nan, np.nan, np.nan
    found = (value - empty).mean() / span
    if weights is None:
        return found, np.nan, np.nan
    low, high = np.quantile((weights @ (value - empty)) / (weights @ (whole - empty)), INTERVAL)
    return found, low, high


def _span(run: SetAblation, prompts: Bool[np.ndarray, " prompt"]) -> float:
    """The behaviour's size on some prompts: the whole model's metric minus that of nothing."""
    span = abs((run.intact[0] - run.kept([()])[0, 0])[prompts].mean())
    return span if span >= MIN_DIFFERENCE else np.nan


def _null(null: Float[np.ndarray, " draw"], found: float) -> dict[str, float]:
    if not len(null) or np.isnan(found):
        return {"null_mean": np.nan, "null_95": np.nan, "p": np.nan}
    p = (1 + (null >= found).sum()) / (1 + len(null))
    return {"null_mean": null.mean(), "null_95": np.quantile(null, 0.95), "p": p}


def _names(components: Iterable[Component]) -> str:
    return " ".join(component_name(c) for c in sorted(components))


def about(run: SetAblation) -> dict[str, str]:
    """The columns that say what was run and read."""
    metric = run.metrics[0]
    return {"ablation": run.ablation, "metric": metric.name, "unit": metric.unit}
