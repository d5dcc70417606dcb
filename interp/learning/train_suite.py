"""The trainings that the studies of training read: each changes one thing, with three seeds.

`experiments` lists every run; `train_run` trains one, or says that it diverged. The recorded
results ship with the package (`interp/learning/recorded/suite_*.csv`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from interp.core import HookedGPT, InitScales, InputError, RunError
from interp.core.reading import read_json
from interp.learning.checkpoints import newest_checkpoint
from interp.learning.files import write_whole
from interp.learning.recipes import CRISP, GPT2, RECIPES, Recipe
from interp.learning.tasks import Metrics
from interp.learning.trainer import Progress, train

N_SEEDS = 3
OUTCOME = "outcome.json"
N_TEXT_TOKENS = 50_000  # of the text that is read again and again


@dataclass(frozen=True)
class Experiment:
    """Runs that differ in one thing.

    Attributes:
        name: of the experiment.
        question: what its runs tell apart.
        recipes: a recipe per variant, for a seed.
    """

    name: str
    question: str
    recipes: Callable[[int], dict[str, Recipe]]


@dataclass(frozen=True)
class SuiteRun:
    """One training of the suite."""

    experiment: str
    variant: str
    recipe: Recipe

    @property
    def name(self) -> str:
        """`experiment/variant-sSEED`: also the run's folder."""
        return self.recipe.name


def suite_runs(only: tuple[str, ...] = (), n_seeds: int = N_SEEDS) -> list[SuiteRun]:
    """The runs of the suite, seed by seed; a run that others start from comes before them.

    Args:
        only: names of experiments; all of them where empty.
        n_seeds: how many seeds of each run.

    Raises:
        InputError: an experiment that there is not.
    """
    unknown = [name for name in only if name not in EXPERIMENTS]
    if unknown:
        raise InputError(
            f"no experiment is called {unknown[0]!r}; there are: {', '.join(EXPERIMENTS)}"
        )
    return [
        SuiteRun(
            name,
            variant,
            replace(recipe, name=f"{name}/{variant}-s{seed}", seed=seed),
        )
        for seed in range(n_seeds)
        for name in (only or EXPERIMENTS)
        for variant, recipe in EXPERIMENTS[name].recipes(seed).items()
    ]


def train_run(
    run: SuiteRun,
    folder: Path,
    *,
    extra_metrics: Metrics | None = None,
    progress: Progress | None = None,
) -> dict[str, object]:
    """Train one run, or go on with it; a run that is done is not done again.

    Args:
        run: from `suite_runs`.
        folder: of all runs; this one's is `folder / run.name`, with what `train` writes and
            `outcome.json`.
        extra_metrics: columns of the log.
        progress: as in `train`.

    Returns:
        `outcome` ("finished" or "diverged"), `detail` (the message of a diverged run), `steps`.

    Raises:
        InputError: the run starts from one that is not finished, or the folder holds another run.
        RunError: the disk refuses, or the run was interrupted.
    """
    out = folder / run.name
    facts = {"recipe": json.loads(json.dumps(run.recipe.to_dict()))}
    done = out / OUTCOME
    if done.is_file():
        known = read_outcome(done)
        if known["recipe"] == facts["recipe"]:
            return {name: known[name] for name in ("outcome", "detail", "steps")}
        raise InputError(f"{out} holds a run of another recipe; train into another folder")
    start = _finished_model(folder, run.recipe.start_from)
    outcome: dict[str, object] = {"outcome": "finished", "detail": "", "steps": run.recipe.n_steps}
    try:
        train(run.recipe, out, start=start, extra_metrics=extra_metrics, progress=progress)
    except RunError as error:
        if not isinstance(error.__cause__, FloatingPointError):
            raise
        outcome |= {"outcome": "diverged", "detail": str(error), "steps": _steps_of(error)}
    facts |= outcome | {"torch": torch.__version__, "threads": torch.get_num_threads()}
    write_whole(done, json.dumps(facts, indent=1, sort_keys=True).encode())
    return outcome


def read_outcome(path: Path) -> dict[str, Any]:
    """How a run ended, from its `outcome.json`.

    Raises:
        InputError: the file is damaged.
    """
    known = read_json(path)
    if not isinstance(known, dict) or not {"recipe", "outcome", "detail", "steps"} <= known.keys():
        raise InputError(f"{path} does not say how a run ended; remove it to train that run again")
    return known


def finished_model(folder: Path, run: SuiteRun) -> HookedGPT:
    """The trained model of a run that finished.

    Raises:
        InputError: it is not finished.
    """
    return _finished_model(folder, run.name)


def _finished_model(folder: Path, name: str | None) -> HookedGPT | None:
    if name is None:
        return None
    checkpoint = newest_checkpoint(folder / name / "checkpoints")
    if checkpoint is None or not (folder / name / OUTCOME).is_file():
        raise InputError(f"{folder / name} holds no finished run; train {name.split('/')[0]} first")
    recipe = Recipe.from_dict(checkpoint.facts["recipe"])
    model = HookedGPT(recipe.config, init=None)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(checkpoint.tensors[f"model.{key}"])
    model.name = recipe.name
    return model.eval().requires_grad_(False)


def _steps_of(error: RunError) -> int:
    """The step at which a run diverged, from its message."""
    return int(str(error).split("step ")[1].split()[0])


# --- the experiments ---

_SMALL = RECIPES["small"]
_BASE = replace(
    _SMALL,
    config=replace(_SMALL.config, d_model=64, d_head=None, d_mlp=None),
    n_steps=1_000,
    warmup=100,
    log_every=10,
    eval_every=50,
    checkpoint_every=250,
)
"""A quarter of `small`'s weights, 2 M tokens: enough for grammar, senses and facts."""


def _shape(recipe: Recipe, **changes: object) -> Recipe:
    derived = {"d_head": None, "d_mlp": None}
    return replace(recipe, config=replace(recipe.config, **derived | changes))


def _base(seed: int) -> dict[str, Recipe]:
    return {"base": _BASE}


def _variants(seed: int) -> dict[str, Recipe]:
    return {
        "untied": _shape(_BASE, tied=False),
        "relu": _shape(_BASE, activation="relu"),
        "gelu": _shape(_BASE, activation="gelu"),
        "sinusoidal": _shape(_BASE, positions="sinusoidal"),
        "no-positions": _shape(_BASE, positions="none"),
        "no-mask": _shape(_BASE, mask="none"),
    }


NORMS = ("pre", "post", "none")
RATES = (5e-4, 2e-3, 8e-3)
WARMUPS = (0, 100)


def _norms(seed: int) -> dict[str, Recipe]:
    short = replace(_BASE, n_steps=400, eval_every=100)
    return {
        f"{norm}-lr{lr:g}-warmup{warmup}": replace(_shape(short, norm=norm), lr=lr, warmup=warmup)
        for norm in NORMS
        for lr in RATES
        for warmup in WARMUPS
    }


def _deep(seed: int) -> dict[str, Recipe]:
    deep = replace(_shape(_BASE, n_layers=8), n_steps=400, eval_every=50)
    return {
        "residual": deep,
        "no-residual": _shape(deep, residual=False),
        "writes-not-scaled": replace(deep, init=replace(CRISP, scale_residual=False)),
    }


def _depth(seed: int) -> dict[str, Recipe]:
    long = replace(_BASE, n_steps=2_000, eval_every=100)
    four = HookedGPT(long.config, init=None).n_params
    one = _shape(long, n_layers=1)
    # Each neuron of an MLP has a row, a column and a bias.
    neurons = (four - HookedGPT(one.config, init=None).n_params) // (2 * one.config.d_model + 1)
    return {
        "1-layer": one,
        "1-layer-as-many-weights": _shape(one, n_layers=1, d_mlp=one.config.d_mlp + neurons),
        "2-layers": _shape(long, n_layers=2),
        "4-layers": long,
    }


def _cloze(seed: int) -> dict[str, Recipe]:
    # Every seventh word is asked for, and looking both ways takes longer to learn.
    cloze = replace(_BASE, task="cloze", n_steps=2_500, eval_every=100)
    return {"both-sides": _shape(cloze, mask="none"), "left-only": cloze}


def _sizes(seed: int) -> dict[str, Recipe]:
    return {"d32": _shape(_BASE, d_model=32), "d128": _shape(_BASE, d_model=128)}


def _repeated(seed: int) -> dict[str, Recipe]:
    return {"50k-tokens": replace(_BASE, n_windows=N_TEXT_TOKENS // _BASE.config.n_ctx)}


def _tuning(seed: int) -> dict[str, Recipe]:
    short = replace(_BASE, n_steps=300, warmup=30, eval_every=10, relabelled=0)
    return {"from-scratch": short, "tuned": replace(short, start_from=f"base/base-s{seed}")}


_TRIGGER = RECIPES["trigger"]
INITS = {
    "crisp": _TRIGGER.init,
    "gpt2": GPT2,
    "large-positions": InitScales(token=0.02, position=0.3, qkv=0.12),
    "large-embeddings": InitScales(token=0.3, position=0.3, qkv=0.02),
    "large-qkv": InitScales(token=0.02, position=0.02, qkv=0.12),
}


def _trigger_inits(seed: int) -> dict[str, Recipe]:
    long = replace(_TRIGGER, n_steps=3_500, eval_every=50, log_every=50, checkpoint_every=500)
    return {name: replace(long, init=init) for name, init in INITS.items()}


def _trigger_depth(seed: int) -> dict[str, Recipe]:
    run = replace(_TRIGGER, n_steps=2_000, eval_every=50, log_every=50)
    return {
        f"{n}-layer{'s' * (n > 1)}": replace(run, config=replace(run.config, n_layers=n))
        for n in (1, 2, 4)
    }


EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        Experiment("base", "the run that the others are compared with", _base),
        Experiment("trigger_depth", "how many layers induction needs", _trigger_depth),
        Experiment("trigger_inits", "which first weights give which circuit", _trigger_inits),
        Experiment("deep", "what residual additions and small first writes are for", _deep),
        Experiment("variants", "what each choice of the architecture is worth", _variants),
        Experiment("norms", "norm before, after or nowhere; learning rate; warm-up", _norms),
        Experiment("cloze", "what words on both sides are worth", _cloze),
        Experiment("repeated", "what happens when the text is short", _repeated),
        Experiment("tuning", "what earlier training is worth on new words", _tuning),
        Experiment("sizes", "what more weights are worth on the same tokens", _sizes),
        Experiment("depth", "what layers are worth", _depth),
    )
}
