"""What the studies of one ability share: patch, choose heads on one half, test them on the other.

Heads are chosen by denoising on the discovery half of the units (templates, words or prompts), and
everything that is said about them is measured on the other half: denoising, noising, three
ablations and what they write directly. As many heads, drawn at random from the rest, are measured
in the same ways: their effects are the null.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from interp.core.errors import InputError
from interp.reporting.results import Table
from studies import NotApplicable, StudyConfig, _pairs

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT
    from studies._pairs import AnswerPairs

N_PROMPTS, N_QUICK, N_LARGE = 48, 16, 24
LARGE = 50_000_000  # parameters; above, fewer prompts
N_CHOSEN = 3
MIN_SHARE = 0.05  # of the clean-corrupted difference: the smallest effect of interest
SITES = {
    "resid_pre": "stream before the layer",
    "attn_out": "what attention writes",
    "mlp_out": "what the MLP writes",
}
WAYS = {
    "denoise": "clean into corrupted (suffices)",
    "noise": "corrupted into clean (needed)",
    "zero": "set to zero",
    "mean": "set to its mean",
    "resample": "taken from another prompt",
    "writes": "writes directly",
}
SEEDS = {"small": ("small-s1", "small-s2")}
Progress = Callable[[str, int, int], None]
Tables = dict[str, Table]


@dataclass(frozen=True)
class PairsConfig(StudyConfig):
    """Options of a study that takes the user's own prompts as well."""

    n_prompts: int = N_PROMPTS
    """Prompts in two versions; large models get fewer."""
    pairs: str | None = None
    """Your own prompts instead: a .csv or .jsonl file with clean, corrupted, correct, incorrect
    and, if you like, unit; those of the commonest length are taken. No claim is judged by them."""


class Circuit(NamedTuple):
    """What was measured.

    Attributes:
        pairs: all prompts.
        confirmation: the half on which effects are reported.
        tables: "overview", "stream", "heads", "confirmed", "chosen", and "seeds" where the model
            was trained from several.
        chosen: the heads, strongest on the discovery half first.
    """

    pairs: "AnswerPairs"
    confirmation: "AnswerPairs"
    tables: Tables
    chosen: list[tuple[int, int]]


def prompts_of(model: "HookedGPT", kind: str, config: StudyConfig) -> "AnswerPairs":
    """The prompts of a study.

    Raises:
        NotApplicable: the model has no such prompts, or no stream that is a sum.
        InputError: a file of the user's that does not do.
    """
    if not model.config.stream_is_sum:
        raise NotApplicable(
            f"{kind} patches a stream that is a sum; {model.name} normalises after each sum"
        )
    if getattr(config, "pairs", None):
        return _own_pairs(model, config)
    n = N_QUICK if config.quick else config.n_prompts
    if model.n_params > LARGE:
        n = min(n, N_QUICK // 2 if config.quick else N_LARGE)
    pairs = _pairs.answer_pairs(model, kind, min(n, config.limit or n), config.seed)
    if pairs is None or len(np.unique(pairs.pairs.units)) < 4:
        raise NotApplicable(
            f"{kind} needs prompts with known answers: {model.name} reads neither the small "
            "language nor English, or its context is too short"
        )
    return pairs


def _own_pairs(model: "HookedGPT", config: PairsConfig) -> "AnswerPairs":
    """The user's prompts of the commonest length.

    Raises:
        InputError: a file that cannot be read, or fewer than four units of one length.
    """
    sets = _pairs.pairs_of_file(model, config.pairs)
    most = max(sets, key=len)
    n_units = len(np.unique(most.pairs.units))
    if n_units < 4:
        raise InputError(
            f"{config.pairs} needs 4 units of one length in tokens, but has {n_units}; heads are "
            "chosen on one half and tested on the other"
        )
    return most.only(np.arange(len(most)) < (config.limit or len(most)))


def measured(
    model: "HookedGPT",
    pairs: "AnswerPairs",
    config: StudyConfig,
    progress: Progress | None = None,
) -> Circuit:
    """Everything that the studies share, on one set of prompts."""
    import pandas as pd

    from interp.measures.patching import patch_residual

    say, steps = progress or (lambda *_: None), 5
    say("stream by layer and position", 0, steps)
    sites = [site for site in SITES if not (model.config.attn_only and site == "mlp_out")]
    stream = pd.concat(
        patch_residual(model, pairs.pairs, [pairs.metric], site=site, seed=config.seed).assign(
            site=site
        )
        for site in sites
    )
    stream["place"] = [pairs.places[pos] for pos in stream["pos"]]
    columns = ["site", "layer", "pos", "place", "effect", "ci_low", "ci_high",
               "recovered_fraction", "n"]  # fmt: skip
    stream = stream[columns].reset_index(drop=True)
    first, second = pairs.halves(config.seed)
    say("heads on the discovery half", 1, steps)
    heads = head_sweep(model, first, config)
    chosen = [(int(row.layer), int(row.head)) for row in heads.head(N_CHOSEN).itertuples()]
    others = _others(heads, len(chosen), config.seed)
    say("heads on the confirmation half", 2, steps)
    confirmed = confirmed_effects(model, second, [*chosen, *others], config)
    confirmed["null"] = [(row.layer, row.head) in others for row in confirmed.itertuples()]
    overview = _overview(model, pairs, (first, second), config)
    tables = {
        "overview": Table(pd.DataFrame([overview]), "In all; logit differences in logits"),
        "stream": Table(
            stream, "Clean into corrupted, by place of the patch, layer and position; effect on "
            "the logit difference (logits, 95 % interval over units)", in_page=False,
        ),
        "heads": Table(
            heads, "Discovery half: effect of each head's output (logits), strongest first",
            in_page=len(heads) <= 200,
        ),
        "confirmed": Table(
            confirmed, "Confirmation half: what the answer loses without the head, or gains with "
            "it (logits; 95 % interval over units); `null`: drawn at random from the other heads",
        ),
    }  # fmt: skip
    tables["chosen"] = _chosen(heads, confirmed, overview)
    say("other seeds", 4, steps)
    seeds = _seeds(model, pairs, config)
    if seeds is not None:
        tables["seeds"] = seeds
    say("done", steps, steps)
    return Circuit(pairs, second, tables, chosen)


# --------------------------------------------------------------------------------------- heads


def head_sweep(model: "HookedGPT", pairs: "AnswerPairs", config: StudyConfig) -> "pd.DataFrame":
    """Every head denoised and noised; strongest first by denoising."""
    from interp.measures.patching import patch_heads
    from interp.plots import head_label

    sweeps = {
        way: patch_heads(model, pairs.pairs, [pairs.metric], direction=way, seed=config.seed)
        for way in ("denoise", "noise")
    }
    frame = sweeps["denoise"][["layer", "head", "effect", "recovered_fraction"]]
    frame = frame.rename(columns={"effect": "denoise"})
    frame["noise"] = -sweeps["noise"]["effect"].to_numpy()
    frame.insert(0, "name", [head_label(row.layer, row.head) for row in frame.itertuples()])
    order = frame["denoise"].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def _others(heads: "pd.DataFrame", n: int, seed: int) -> list[tuple[int, int]]:
    """Heads that were not chosen, drawn at random."""
    rest = heads.iloc[N_CHOSEN:]
    drawn = np.random.default_rng(seed).permutation(len(rest))[:n]
    return [(int(rest["layer"].iloc[i]), int(rest["head"].iloc[i])) for i in drawn]


def confirmed_effects(
    model: "HookedGPT", pairs: "AnswerPairs", heads: list[tuple[int, int]], config: StudyConfig
) -> "pd.DataFrame":
    """What each head is worth, in six ways that share one sign: above 0 it helps the answer."""
    import pandas as pd

    from interp import measures
    from interp.corpus.prompts import MinimalPair
    from interp.measures.patching import patch_heads
    from interp.plots import head_label

    frames = []
    for way in ("denoise", "noise"):
        frame = patch_heads(
            model, pairs.pairs, [pairs.metric], direction=way, heads=heads, seed=config.seed
        )
        if way == "noise":
            frame[["effect", "ci_low", "ci_high"]] = -frame[["effect", "ci_high", "ci_low"]]
        frames.append(frame.assign(way=way))
    units = np.unique(pairs.pairs.units, return_inverse=True)[1]
    asked = [
        MinimalPair(tuple(ids), (int(right),), (int(wrong),), pairs.kind)
        for ids, right, wrong in zip(
            pairs.pairs.clean.tolist(), pairs.correct.tolist(), pairs.incorrect.tolist(),
            strict=True,
        )
    ]  # fmt: skip
    scene = measures.answers_scene(pairs.kind, asked, units.tolist())
    ablated = measures.causal_effects(
        model, [measures.Suite(pairs.kind, (scene,))], heads=heads,
        behaviours=[f"answers:{pairs.kind}"], n_prompts=len(pairs), seed=config.seed,
    )  # fmt: skip
    frames.append(ablated.rename(columns={"ablation": "way"}))
    frames.append(_writes(model, pairs, heads, units, config.seed))
    kept = ["layer", "head", "way", "effect", "ci_low", "ci_high", "n"]
    found = pd.concat([frame[kept] for frame in frames], ignore_index=True)
    found.insert(0, "name", [head_label(row.layer, row.head) for row in found.itertuples()])
    order = {head: place for place, head in enumerate(heads)}
    place = [order[row.layer, row.head] for row in found.itertuples()]
    return found.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def _writes(
    model: "HookedGPT", pairs: "AnswerPairs", heads: list[tuple[int, int]], units: np.ndarray,
    seed: int,
) -> "pd.DataFrame":  # fmt: skip
    """Direct logit attribution of some heads on the clean prompts."""
    from interp.measures import bootstrap_interval
    from interp.measures.attribution import direct_attribution

    frame = direct_attribution(model, pairs.pairs.clean, pairs.correct, pairs.incorrect)
    frame = frame[frame["component"] == "head"]
    table = frame.pivot(index="prompt", columns=["layer", "head"], values="contribution")
    by_unit = table[heads].groupby(units).mean()
    low, high = bootstrap_interval(by_unit.to_numpy(), 999, seed)
    found = by_unit.mean().rename("effect").reset_index()
    return found.assign(way="writes", ci_low=low, ci_high=high, n=len(by_unit))


# ------------------------------------------------------------------------------------- overview


def _overview(
    model: "HookedGPT",
    pairs: "AnswerPairs",
    halves: tuple["AnswerPairs", "AnswerPairs"],
    config: StudyConfig,
) -> dict[str, object]:
    from interp.measures import bootstrap_interval
    from studies import _prompts

    clean, corrupted = differences(model, pairs)
    random = differences(_prompts.with_random_weights(model, config.seed), pairs)[0]
    units = np.unique(pairs.pairs.units, return_inverse=True)[1]
    n_units = int(units.max()) + 1

    def with_interval(values: np.ndarray) -> tuple[float, float, float]:
        sums = np.bincount(units, values) / np.bincount(units)
        low, high = bootstrap_interval(sums[:, None], 999, config.seed)
        return float(sums.mean()), float(low[0]), float(high[0])

    difference, low, high = with_interval(clean)
    right, right_low, right_high = with_interval((clean > 0).astype(float))
    return {
        "kind": pairs.kind,
        "n_prompts": len(pairs),
        "n_units": n_units,
        "n_discovery": len(np.unique(halves[0].pairs.units)),
        "n_confirmation": len(np.unique(halves[1].pairs.units)),
        "clean": difference,
        "clean_low": low,
        "clean_high": high,
        "corrupted": float(corrupted.mean()),
        "whole": float((clean - corrupted).mean()),
        "whole_discovery": _whole(model, halves[0]),
        "whole_confirmation": _whole(model, halves[1]),
        "smallest_effect": MIN_SHARE * abs(float((clean - corrupted).mean())),
        "right": right,
        "right_low": right_low,
        "right_high": right_high,
        "random_right": float((random > 0).mean()),
        "random_clean": float(random.mean()),
        "example": _text(model, pairs.pairs.clean[0]),
        "corrupted_example": _text(model, pairs.pairs.corrupted[0]),
    }


def differences(model: "HookedGPT", pairs: "AnswerPairs") -> tuple[np.ndarray, np.ndarray]:
    """Logit difference of every prompt, clean and corrupted."""
    import torch

    found = []
    for side in (pairs.pairs.clean, pairs.pairs.corrupted):
        with torch.no_grad():
            logits = model(side, logits_at=[-1])[:, 0]
        rows = torch.arange(len(side), device=side.device)
        found.append(logits[rows, pairs.correct] - logits[rows, pairs.incorrect])
    clean, corrupted = (values.double().cpu().numpy() for values in found)
    return clean, corrupted


def _whole(model: "HookedGPT", pairs: "AnswerPairs") -> float:
    clean, corrupted = differences(model, pairs)
    return float((clean - corrupted).mean())


def _text(model: "HookedGPT", ids) -> str:
    if model.tokenizer is None:
        return " ".join(map(str, ids.tolist()))
    rest = ids.tolist()
    rest = rest[1:] if rest[0] == model.tokenizer.bos_id else rest
    return model.tokenizer.decode(rest)


def _chosen(heads: "pd.DataFrame", confirmed: "pd.DataFrame", overview: dict[str, object]) -> Table:
    """The chosen heads, with what each way says, and whether they pass."""
    import pandas as pd

    rows = []
    for name in dict.fromkeys(confirmed.loc[~confirmed["null"], "name"]):
        of_head = confirmed[confirmed["name"] == name].set_index("way")
        found = heads.set_index("name").loc[name]
        ablations = of_head.loc[["zero", "mean", "resample"]]
        rows.append(
            {
                "name": name,
                "layer": int(found["layer"]),
                "head": int(found["head"]),
                "discovery": found["denoise"],
                "denoise": of_head.loc["denoise", "effect"],
                "denoise_low": of_head.loc["denoise", "ci_low"],
                "denoise_high": of_head.loc["denoise", "ci_high"],
                "noise": of_head.loc["noise", "effect"],
                "writes": of_head.loc["writes", "effect"],
                "n_ablations": int((ablations["ci_low"] > 0).sum()),
                "passes": bool(
                    of_head.loc["denoise", "ci_low"] > overview["smallest_effect"]
                    and of_head.loc["noise", "ci_low"] > 0
                ),
                "n": int(of_head.loc["denoise", "n"]),
            }
        )
    frame = pd.DataFrame(rows)
    others = confirmed[confirmed["null"] & (confirmed["way"] == "denoise")]["effect"]
    frame["null"] = float(others.mean()) if len(others) else float("nan")
    frame["whole"] = overview["whole_confirmation"]
    frame["n_chosen"], frame["n_pass"] = len(frame), int(frame["passes"].sum())
    return Table(
        frame,
        "The heads chosen on the discovery half: their effect there and on the other half "
        "(logits; `whole`: all that lies between the prompts), how many of three ablations take "
        "something from the answer, and the mean effect "
        "of as many random heads (`null`)",
    )


def _seeds(model: "HookedGPT", pairs: "AnswerPairs", config: StudyConfig) -> Table | None:
    """The same question to the same model from other seeds; heads are chosen anew in each."""
    import pandas as pd

    from interp.loading import load_model
    from interp.measures.patching import patch_heads

    if model.name not in SEEDS or config.quick:
        return None
    rows = []
    for name in (model.name, *SEEDS[model.name]):
        other = model if name == model.name else load_model(name)
        first, second = pairs.halves(config.seed)
        best = head_sweep(other, first, config).iloc[0]
        at = [(int(best["layer"]), int(best["head"]))]
        effect = patch_heads(other, second.pairs, [second.metric], heads=at, seed=config.seed).iloc[
            0
        ]
        clean, corrupted = differences(other, pairs)
        rows.append(
            {
                "model": name,
                "right": float((clean > 0).mean()),
                "clean": float(clean.mean()),
                "corrupted": float(corrupted.mean()),
                "best_head": best["name"],
                "recovered_fraction": float(effect["recovered_fraction"]),
                "fraction_low": float(effect["fraction_low"]),
                "fraction_high": float(effect["fraction_high"]),
                "n": int(effect["n"]),
            }
        )
    return Table(
        pd.DataFrame(rows),
        "Training seeds: share right, logit differences, and what the best head of each (chosen on "
        "the discovery half) recovers on the other half",
    )


def knows(tables: Tables) -> bool:
    """Whether the model prefers the right answers at all."""
    overview = tables["overview"].frame.iloc[0]
    return bool(overview["right_low"] > 0.5 and overview["clean_low"] > 0)
