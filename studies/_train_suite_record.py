"""Measures the finished runs of the train suite and writes the recorded tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from interp.core import HookedGPT
    from interp.learning import Suite
    from interp.learning.train_suite import SuiteRun

RECORDED = Path(__file__).parents[1] / "interp" / "learning" / "recorded"
TABLES = ("runs", "curves", "layers", "heads")
N_PROMPTS = 200
N_GENERATED, N_TOKENS = 64, 48
N_PROBED = 64
CURVE_COLUMNS = (
    "step", "tokens", "train_loss", "lr", "grad_norm", "loss", "loss_early", "loss_late",
    "repeat_loss_second", "long_repeat_loss_second", "agreement", "agreement_attractor_1",
    "temper", "sense", "facts", "indirect_objects", "analogy", "old_loss", "cloze_loss",
    "cloze_accuracy", "cloze_accuracy_early", "predictable_loss", "other_loss",
    "predictable_accuracy", "best_previous_token", "best_induction_contrast",
)  # fmt: skip


def recorded(table: str) -> pd.DataFrame:
    """A recorded table of the suite: "runs", "curves", "layers" or "heads"."""
    return pd.read_csv(RECORDED / f"suite_{table}.csv")


def record(folder: Path, commit: str, n_seeds: int = 3) -> dict[str, pd.DataFrame]:
    """Measure every finished run and write the tables; runs that are not there are left out.

    Where there is none at all, nothing is written.

    Args:
        folder: of the runs.
        commit: that trained them.
        n_seeds: seeds looked for.
    """
    tables = measured(folder, n_seeds)
    if not len(tables["runs"]):
        return tables
    tables["runs"]["commit"] = commit
    RECORDED.mkdir(exist_ok=True)
    for name, frame in tables.items():
        frame.to_csv(RECORDED / f"suite_{name}.csv", index=False, float_format="%.5g")
    return tables


def measured(folder: Path, n_seeds: int = 3, only: tuple[str, ...] = ()) -> dict[str, pd.DataFrame]:
    """The tables of the runs that are done.

    Returns:
        - "runs": a row each: `experiment`, `variant`, `seed`, `parameters`, `steps`, `tokens`,
          `outcome`, `seconds`, and what the trained model can do on prompts that the log never used
          (`loss`, its interval, `best_loss`, accuracies...), empty where a measure does not apply;
        - "curves": a row per evaluation, the columns of the log that studies read;
        - "layers": `layer`, `metric`, `value`: position probe and gradients, a row per layer;
        - "heads": of the trigger task's models: attention scores of each head and what its
          removal costs, nats.
    """
    import torch

    from interp import learning
    from interp.corpus import Language
    from interp.learning.train_suite import OUTCOME, suite_runs

    torch.set_num_threads(1)
    suite = learning.Suite.sample(Language(), n=N_PROMPTS, seed=0, n_ctx=64)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for run in suite_runs(only, n_seeds):
        if (folder / run.name / OUTCOME).is_file():
            for name, frame in _tables_of(run, folder, suite).items():
                frame.insert(0, "seed", run.recipe.seed)
                frame.insert(0, "variant", run.variant)
                frame.insert(0, "experiment", run.experiment)
                parts[name].append(frame)
    return {
        name: pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
        for name, frames in parts.items()
    }


def _tables_of(run: "SuiteRun", folder: Path, suite: "Suite") -> dict[str, pd.DataFrame]:
    from interp.learning.run_log import read_log
    from interp.learning.train_suite import OUTCOME, finished_model, read_outcome

    log = read_log(folder / run.name / "log.csv")
    outcome = read_outcome(folder / run.name / OUTCOME)
    curve = log[[name for name in CURVE_COLUMNS if name in log]]
    evaluated = [name for name in curve if name not in CURVE_COLUMNS[:5]]
    tables = {"curves": curve.dropna(subset=evaluated, how="all"), "layers": _gradients(log)}
    row: dict[str, Any] = {
        "parameters": _n_params(run),
        "steps": outcome["steps"],
        "tokens": outcome["steps"] * run.recipe.tokens_per_step,
        "outcome": outcome["outcome"],
        "seconds": float(log["seconds"].iloc[-1]),
        "train_loss": float(log["train_loss"].iloc[-5:].mean()),
    }
    if outcome["outcome"] == "finished":
        model = finished_model(folder, run)
        row |= _abilities(run, model, suite)
        if run.recipe.task == "trigger":
            tables["heads"] = _heads(run, model)
        if run.experiment == "base" or run.variant in ("no-positions", "sinusoidal", "no-mask"):
            tables["layers"] = pd.concat([tables["layers"], _positions(run, model)])
    return tables | {"runs": pd.DataFrame([row])}


def _n_params(run: "SuiteRun") -> int:
    from interp.core import HookedGPT

    return HookedGPT(run.recipe.config, init=None).n_params


def _gradients(log: pd.DataFrame) -> pd.DataFrame:
    """Norm of each block's gradient at the first and the last evaluation."""
    names = [name for name in log if name.startswith("grad_norm_")]
    rows = log.dropna(subset=names).iloc[[0, -1]] if names else log.iloc[:0]
    return pd.DataFrame(
        [
            {"layer": int(name.rsplit("_", 1)[1]), "metric": f"gradient_{when}", "value": row[name]}
            for when, (_, row) in zip(("first", "last"), rows.iterrows(), strict=False)
            for name in names
        ],
        columns=["layer", "metric", "value"],
    )


def _abilities(run: "SuiteRun", model: "HookedGPT", suite: "Suite") -> dict[str, float]:
    from interp.corpus import Language, TriggerTask
    from interp.learning.evaluation import ModelPredictions, TriggerEvaluation
    from interp.learning.tasks import ClozeEvaluation, task_of

    language = Language()
    if run.recipe.task == "trigger":
        return TriggerEvaluation(TriggerTask(), n=1024, seed=1)(model)
    if run.recipe.task == "cloze":
        return ClozeEvaluation.sample(language, run.recipe.config.n_ctx, seed=2)(model)
    if run.recipe.relabelled is not None:
        return task_of(run.recipe).evaluate(model)
    table = suite.run(ModelPredictions(model)).set_index("metric")
    row = table["value"].to_dict()
    row |= {"loss_ci_low": table["ci_low"]["loss"], "loss_ci_high": table["ci_high"]["loss"]}
    return row | _left_to_right(model, suite, language)


def _left_to_right(model: "HookedGPT", suite: "Suite", language: Any) -> dict[str, float]:
    """What a model does that may not look ahead: the losses of separate prefixes, and its text.

    With a causal mask `prefix_loss` is the loss of the same tokens in one pass.
    """
    import torch

    from interp.learning.evaluation import ModelPredictions

    rows = suite.windows[:24]
    prefixes = [row[:end].tolist() for row in rows for end in range(1, rows.shape[1], 4)]
    targets = [int(row[end]) for row in rows for end in range(1, rows.shape[1], 4)]
    probs = ModelPredictions(model).probabilities(prefixes)
    prefix_loss = -np.log(probs[np.arange(len(targets)), targets]).mean()
    rng = np.random.default_rng(0)
    text = np.full((N_GENERATED, 1), language.tokenizer.bos_id)
    for _ in range(N_TOKENS):
        with torch.no_grad():
            logits = model(torch.from_numpy(text), logits_at=-1)[:, 0].double()
        logits[:, [language.tokenizer.bos_id, language.tokenizer.pad_id]] = -torch.inf
        cumulative = logits.softmax(-1).cumsum(-1).numpy()
        drawn = (cumulative < rng.random((N_GENERATED, 1))).sum(axis=1)
        text = np.concatenate([text, drawn[:, None]], axis=1)
    possible = np.array([np.isfinite(language.log_probs(row)) for row in text])
    return {"prefix_loss": float(prefix_loss), "possible_text": float(possible.mean())}


def _heads(run: "SuiteRun", model: "HookedGPT") -> pd.DataFrame:
    """Scores of each head, and how much more the predictable tokens cost without it."""
    from interp.corpus import TriggerTask
    from interp.learning.evaluation import TriggerEvaluation
    from interp.measures.training_metrics import head_scores

    evaluation = TriggerEvaluation(TriggerTask(), seed=1)
    frame = head_scores(model, n_prompts=N_PROMPTS)
    whole = evaluation(model)["predictable_loss"]

    def without(layer: int, head: int) -> float:
        def removed(value: Any, hook: Any) -> Any:
            value = value.clone()
            value[:, :, head] = 0
            return value

        with model.hooks([(f"blocks.{layer}.attn.hook_z", removed)]):
            return evaluation(model)["predictable_loss"] - whole

    pairs = zip(frame["layer"], frame["head"], strict=True)
    frame["removal_costs"] = [without(int(layer), int(head)) for layer, head in pairs]
    return frame


def _positions(run: "SuiteRun", model: "HookedGPT") -> pd.DataFrame:
    """How well a linear probe tells the position, layer by layer, before and after training."""
    from interp import measures
    from interp.core import HookedGPT
    from interp.corpus import Language

    n_ctx, d_vocab = model.config.n_ctx, model.config.d_vocab
    words = np.random.default_rng(0).integers(2, d_vocab, size=(N_PROBED, n_ctx))
    text = Language().batch(2, N_PROBED, n_ctx, namespace="evaluation")
    untrained = HookedGPT(run.recipe.config, seed=run.recipe.seed, init=run.recipe.init)
    frames = {
        "random_words": measures.position_probe(model, words, seed=0),
        "text": measures.position_probe(model, text, seed=0),
        "random_words_untrained": measures.position_probe(untrained.eval(), words, seed=0),
    }
    return pd.DataFrame(
        [
            {"layer": int(row["layer"]), "metric": f"position_{name}_{on}", "value": row[name]}
            for on, frame in frames.items()
            for _, row in frame.iterrows()
            for name in ("r2", "mad", "r2_shuffled_high")
        ]
    )
