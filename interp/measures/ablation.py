"""Does a head matter for what it seems to do? Ablations, on the behaviour that a role serves.

Attention is no function: a head may look where a role says and write nothing, or share its work
with another one. Here every head is switched off by itself, in three ways, and what is watched is
the behaviour that the role serves:

| behaviour | is | effect of an ablation |
|---|---|---|
| `repeats` | loss on the second showing of random tokens | loss gained, nats |
| `answers:ROLE` | log odds of right against wrong answers, on a role's prompts | log odds lost |
| `prediction` | distribution of the next token, ordinary prompts | KL(intact ‖ ablated), nats |

| ablation | the head's mixed values (`hook_z`) become |
|---|---|
| `zero` | 0 |
| `mean` | their mean over other prompts, at each position |
| `resample` | those of another prompt, at each position |

For `repeats` the other prompts are those without the repeat: where all prompts repeat at the same
distance, a head that writes that distance would get its own value back.

A head *acts* if two of the three effects reach the smallest effect of interest with an interval
above 0. Where they disagree, `agree` says so: a head that always writes the same vector matters to
`zero` alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError, hook_name
from interp.measures.detectors import Heads, head_columns
from interp.measures.scenes import Asked, Scene, Suite
from interp.measures.statistics import MIN_UNITS, N_RESAMPLES, bootstrap_interval

ABLATIONS = ("zero", "mean", "resample")
MIN_SHARE = 0.05  # of the intact model's behaviour: the smallest effect of interest
MIN_NATS = 0.02  # where the behaviour has no natural size
MIN_BEHAVIOUR = 0.1  # nats; with less there is nothing that an ablation could take away
N_PLACES = 8  # positions of a prompt at which predictions are compared
MOST_NUMBERS = 2**24  # logits held at a time

PerPrompt = Float[Tensor, " batch"]


@dataclass(frozen=True)
class Task:
    """A behaviour on prompts of one length.

    Attributes:
        behaviour: its name.
        tokens: the prompts.
        unit: of the statistics.
        places: positions whose logits are needed.
        others: prompts of the same shape from which ablated values are taken.
        value: from those logits to one number per prompt, larger where the model does better;
            given the intact model's logits too.
        size: how much of the behaviour the intact model shows; None if it has no natural size.
    """

    behaviour: str
    tokens: Int[Tensor, "batch pos"]
    unit: np.ndarray
    places: list[int]
    others: Int[Tensor, "batch pos"]
    value: Callable[[Tensor, Tensor], PerPrompt]
    size: PerPrompt | None


@torch.no_grad()
def causal_effects(
    model: HookedGPT,
    suites: Sequence[Suite],
    *,
    heads: Heads | None = None,
    behaviours: Sequence[str] | None = None,
    ablations: Sequence[str] = ABLATIONS,
    n_prompts: int = 32,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> pd.DataFrame:
    """What each head's ablations do to each behaviour that the prompts show.

    Args:
        model: any HookedGPT.
        suites: as for `detect_roles`.
        heads: `(layer, head)` pairs; all by default.
        behaviours: names; all that the prompts show by default.
        ablations: of `ABLATIONS`.
        n_prompts: prompts of each behaviour, at most.
        n_resamples: bootstrap resamples of each interval, over units.
        seed: of the resamples and of the prompts that `resample` takes values from.
        progress: called with what is done, layers done and layers in all.

    Returns:
        One row per behaviour, head and ablation: `behaviour`, `layer`, `head`, `ablation`,
        `effect`, `ci_low`, `ci_high`, `smallest_effect` (nats or log odds), `size` (of the intact
        behaviour; NaN for `prediction`, which has none), `present` (there is a behaviour to lose),
        `acts`, `n` (units).

    Raises:
        InputError: a head that does not exist, an unknown ablation or behaviour, or prompts that
            show no behaviour.

    Cost: for a head of layer l and each ablation, one run of the layers from l on.
    """
    for ablation in ablations:
        if ablation not in ABLATIONS:
            raise InputError(f"{ablation!r} is no ablation; there are: {', '.join(ABLATIONS)}")
    columns = head_columns(model, heads)
    by_behaviour: dict[str, list[Task]] = {}
    for task in _tasks(model, suites, n_prompts):
        if behaviours is None or task.behaviour in behaviours:
            by_behaviour.setdefault(task.behaviour, []).append(task)
    if not by_behaviour:
        wanted = "any behaviour" if behaviours is None else " or ".join(behaviours)
        raise InputError(
            f"these prompts do not show {wanted}; repeats need random tokens shown twice, answers "
            "need prompts with right and wrong answers, prediction needs ordinary prompts"
        )
    frames = []
    for behaviour, tasks in by_behaviour.items():
        effects, sizes, units = [], [], []
        for task in tasks:
            sweep = _sweep(model, task, columns, ablations, seed, progress)
            effects.append(sweep)
            sizes.append(np.full(len(task.unit), np.nan) if task.size is None
                         else task.size.double().cpu().numpy())  # fmt: skip
            units.append(task.unit)
        frames.append(
            _summary(behaviour, np.concatenate(effects), np.concatenate(sizes),
                     np.concatenate(units), columns, model, ablations, n_resamples, seed)
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def _summary(
    behaviour: str,
    effects: Float[np.ndarray, "prompt ablation column"],
    sizes: Float[np.ndarray, " prompt"],
    units: np.ndarray,
    columns: np.ndarray,
    model: HookedGPT,
    ablations: Sequence[str],
    n_resamples: int,
    seed: int,
) -> pd.DataFrame:
    names, owner, count = np.unique(units, return_inverse=True, return_counts=True)
    total = np.zeros((len(names), *effects.shape[1:]))
    np.add.at(total, owner, effects)
    by_unit = total / count[:, None, None]
    size = float(sizes.mean())
    natural = np.isfinite(size)
    present = not natural or size >= MIN_BEHAVIOUR
    smallest = max(MIN_SHARE * size, MIN_NATS) if natural and present else MIN_NATS
    frames = []
    for number, ablation in enumerate(ablations):
        values = by_unit[:, number]
        low, high = bootstrap_interval(values, n_resamples, seed)
        effect = values.mean(0)
        enough = len(names) >= MIN_UNITS
        frames.append(
            pd.DataFrame(
                {
                    "behaviour": behaviour,
                    "layer": columns // model.config.n_heads,
                    "head": columns % model.config.n_heads,
                    "ablation": ablation,
                    "effect": effect,
                    "ci_low": low,
                    "ci_high": high,
                    "smallest_effect": smallest,
                    "size": size,
                    "present": present,
                    "acts": present & enough & (effect >= smallest) & (low > 0),
                    "n": len(names),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


# ------------------------------------------------------------------------------------ behaviours


def _tasks(model: HookedGPT, suites: Sequence[Suite], n_prompts: int) -> Iterator[Task]:
    left: dict[str, int] = {}
    for suite in suites:
        for scene in suite.scenes:
            for name, make in (
                ("repeats", _repeats_task),
                (f"answers:{scene.about}", _answers_task),
                ("prediction", _prediction_task),
            ):
                room = left.setdefault(name, n_prompts)
                # Prompts of different lengths share the room, so that none is left out.
                share = max(MIN_UNITS, room // max(1, len(suite.scenes)))
                rows = scene.rows(0, min(room, share, len(scene)))
                if len(rows) < 2:
                    continue
                task = make(model, rows)
                if task is not None:
                    left[name] -= len(rows)
                    yield task


def _repeats_task(model: HookedGPT, scene: Scene) -> Task | None:
    """Loss where the next token repeats; the size is what the repeat saves against its control."""
    if scene.plain != "control" or scene.queries is None:
        return None
    device = model.W_E.device
    tokens, control = (
        torch.as_tensor(scene.versions[name], device=device) for name in ("prompt", "control")
    )
    asked = torch.as_tensor(scene.queries, device=device)[:, :-1]
    if not asked.any():
        return None
    places = asked.any(0).nonzero()[:, 0].tolist()
    counts = asked[:, places]

    def per_prompt(logits: Tensor, of: Tensor) -> PerPrompt:
        following = of[:, 1:][:, places]
        found = logits.log_softmax(-1).gather(-1, following[..., None])[..., 0]
        return (found * counts).sum(1) / counts.sum(1)

    saved = per_prompt(model(tokens, logits_at=places), tokens) - per_prompt(
        model(control, logits_at=places), control
    )
    return Task(
        "repeats",
        tokens,
        scene.unit,
        places,
        control,
        lambda logits, _: per_prompt(logits, tokens),
        saved,
    )


def _answers_task(model: HookedGPT, scene: Scene) -> Task | None:
    """Log odds of the right answers against the wrong ones."""
    asked = scene.asked
    if asked is None or not len(asked.row):
        return None
    device = model.W_E.device
    tokens = torch.as_tensor(scene.versions["prompt"], device=device)
    places = sorted(set(asked.pos.tolist()))
    value = _log_odds(asked, places, len(scene), device)
    intact = value(model(tokens, logits_at=places))
    name = f"answers:{scene.about}"
    return Task(name, tokens, scene.unit, places, tokens, lambda logits, _: value(logits), intact)


def _log_odds(asked: Asked, places: list[int], n_rows: int, device: torch.device) -> Callable:
    row = torch.as_tensor(asked.row, device=device)
    place = torch.tensor([places.index(p) for p in asked.pos.tolist()], device=device)
    sides = [torch.as_tensor(side, device=device) for side in (asked.answers, asked.rivals)]

    def value(logits: Tensor) -> PerPrompt:
        at = logits[row, place]
        right, wrong = (
            at.gather(1, words.clamp(min=0)).masked_fill(words < 0, -torch.inf).logsumexp(1)
            for words in sides
        )
        total = at.new_zeros(n_rows).index_add(0, row, right - wrong)
        return total / torch.bincount(row, minlength=n_rows).clamp(min=1)

    return value


def _prediction_task(model: HookedGPT, scene: Scene) -> Task | None:
    """Minus the divergence from the intact model's predictions, at positions from 1 on."""
    if not scene.plain:
        return None
    tokens = torch.as_tensor(scene.versions[scene.plain], device=model.W_E.device)
    first = min(1, tokens.shape[1] - 1)
    places = np.linspace(first, tokens.shape[1] - 1, N_PLACES).round().astype(int)
    places = sorted(set(places.tolist()))

    def value(logits: Tensor, intact: Tensor) -> PerPrompt:
        p, q = intact.log_softmax(-1), logits.log_softmax(-1)
        return -(p.exp() * (p - q)).sum(-1).mean(1)

    return Task("prediction", tokens, scene.unit, places, tokens, value, None)


# ---------------------------------------------------------------------------------------- sweep


def _sweep(
    model: HookedGPT,
    task: Task,
    columns: np.ndarray,
    ablations: Sequence[str],
    seed: int,
    progress: Callable[[str, int, int], None] | None,
) -> Float[np.ndarray, "prompt ablation column"]:
    """What each ablation of each head takes from the behaviour, prompt by prompt."""
    config = model.config
    by_layer: dict[int, list[int]] = {}
    for place, column in enumerate(columns.tolist()):
        by_layer.setdefault(column // config.n_heads, []).append(place)
    names = [hook_name(short, layer) for layer in by_layer for short in ("resid_pre", "z")]
    _, cache = model.run_with_cache(task.tokens, names)
    _, others = model.run_with_cache(task.others, [name for name in names if name.endswith("z")])
    intact = model(task.tokens, logits_at=task.places)
    best = task.value(intact, intact)
    effects = np.zeros((len(task.unit), len(ablations), len(columns)))
    room = MOST_NUMBERS // (len(task.unit) * max(1, len(task.places)) * config.d_vocab)
    for done, (layer, wanted) in enumerate(by_layer.items()):
        variants = [(number, place) for place in wanted for number in range(len(ablations))]
        values = _replacements(others["z", layer], ablations, seed)
        for start in range(0, len(variants), max(1, room)):
            chunk = variants[start : start + max(1, room)]
            heads = [int(columns[place]) % config.n_heads for _, place in chunk]
            numbers = [number for number, _ in chunk]
            logits = _ablated(model, task, cache, layer, heads, numbers, values)
            for (number, place), of_variant in zip(chunk, logits, strict=True):
                lost = best - task.value(of_variant, intact)
                effects[:, number, place] = lost.double().cpu().numpy()
        if progress is not None:
            progress(f"ablations: {task.behaviour}", done + 1, len(by_layer))
    return effects


def _replacements(
    z: Float[Tensor, "batch pos head d_head"], ablations: Sequence[str], seed: int
) -> list[Tensor]:
    n = len(z)
    # A rotation of a random order: every prompt gets another one's values.
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(z.device)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    made = {
        "zero": lambda: torch.zeros_like(z),
        "mean": lambda: z.mean(0, keepdim=True).expand_as(z),
        "resample": lambda: z[other],
    }
    return [made[ablation]() for ablation in ablations]


def _ablated(
    model: HookedGPT,
    task: Task,
    cache: object,
    layer: int,
    heads: list[int],
    numbers: list[int],
    values: list[Tensor],
) -> Float[Tensor, "variant batch place d_vocab"]:
    """Logits of several ablations in one layer: all run at once, from that layer on."""
    resid = cache["resid_pre", layer]
    n_variants, batch = len(heads), len(resid)

    def replace(z: Tensor, point: object) -> Tensor:
        z = z.view(n_variants, batch, *z.shape[1:])
        for variant, (head, number) in enumerate(zip(heads, numbers, strict=True)):
            z[variant, :, :, head] = values[number][:, :, head]
        return z.flatten(0, 1)

    stacked = resid.expand(n_variants, *resid.shape).reshape(-1, *resid.shape[1:])
    logits = model.run_with_hooks(
        stacked,
        [(hook_name("z", layer), replace)],
        start_at_layer=layer,
        logits_at=task.places,
    )
    return logits.view(n_variants, batch, *logits.shape[1:])
