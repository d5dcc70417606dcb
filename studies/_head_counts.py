"""The recorded runs of `heads_and_width`: one shape, trained with 1, 2, 4, 8 and 16 heads.

    python -m studies._head_counts train runs/head_counts          # about 5 min a run, 15 runs
    python -m studies._head_counts record runs/head_counts COMMIT  # writes the two CSV files

`train` goes on where it was stopped. `record` measures the finished runs, times a training step of
every head count in turn, and writes `interp/learning/recorded/head_counts.csv` (one row a run) and
`head_count_curves.csv` (the evaluations along the way). COMMIT is the commit that trained.
"""

import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

N_SEEDS = 3
N_PROMPTS = 200
TIMED_ROUNDS = 12
RECORDED = Path(__file__).parents[1] / "interp" / "learning" / "recorded"
RUNS, CURVES = RECORDED / "head_counts.csv", RECORDED / "head_count_curves.csv"


def recorded_runs() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The recorded runs, one row each, and their evaluations along the way."""
    return pd.read_csv(RUNS), pd.read_csv(CURVES)


def train_all(folder: Path) -> None:
    """Train every head count with seed 0, then with the other seeds."""
    import torch

    from interp import learning, loading, measures

    torch.set_num_threads(1)
    for seed in range(N_SEEDS):
        for n_heads in learning.HEAD_COUNTS:
            recipe = learning.head_count_recipe(n_heads, seed)
            out = folder / recipe.name
            if (out / "final").exists():
                continue
            model = learning.train(recipe, out, extra_metrics=measures.head_metrics)
            loading.save(model, out / "final", overwrite=True)
            print(recipe.name, "done", flush=True)


def record(folder: Path, commit: str) -> None:
    """Write what the finished runs reached; runs that are not there yet are left out."""
    import torch

    from interp import learning
    from interp.corpus import Language

    torch.set_num_threads(1)
    finished = [
        (recipe, folder / recipe.name)
        for seed in range(N_SEEDS)
        for recipe in (learning.head_count_recipe(h, seed) for h in learning.HEAD_COUNTS)
        if (folder / recipe.name / "final").exists()
    ]
    suite = learning.Suite.sample(Language(), n=N_PROMPTS, seed=0, n_ctx=64)
    step_seconds = _step_seconds([recipe for recipe, _ in finished if recipe.seed == 0])
    rows = [
        _measured(recipe, out, suite) | {"step_seconds": step_seconds[recipe.config.n_heads]}
        for recipe, out in finished
    ]
    RECORDED.mkdir(exist_ok=True)
    frame = pd.DataFrame(rows)
    frame["tokens_per_second"] = (2048 / frame["step_seconds"]).round()
    frame["commit"] = commit
    frame.to_csv(RUNS, index=False, float_format="%.6g")
    curves = pd.concat([_curve(recipe, out) for recipe, out in finished])
    curves.to_csv(CURVES, index=False, float_format="%.5g")
    print(frame.to_string())


def _measured(recipe: Any, out: Path, suite: Any) -> dict[str, Any]:
    from interp import measures
    from interp.learning.evaluation import ModelPredictions
    from interp.loading import load_model

    model = load_model(str(out / "final"))
    table = suite.run(ModelPredictions(model)).set_index("metric")
    metrics = table["value"]
    ranks = measures.rank_table(measures.head_weights(model))
    qk = ranks[ranks["circuit"] == "QK"]
    log = pd.read_csv(out / "log.csv")
    return {
        "n_heads": recipe.config.n_heads,
        "seed": recipe.seed,
        "d_head": recipe.config.d_head,
        "parameters": model.n_params,
        "steps": recipe.n_steps,
        "tokens": recipe.n_steps * recipe.tokens_per_step,
        "loss": metrics["loss"],
        "loss_ci_low": table["ci_low"]["loss"],
        "loss_ci_high": table["ci_high"]["loss"],
        "best_loss": metrics["best_loss"],
        "loss_gap": metrics["loss_gap"],
        "repeat_loss_first": metrics["repeat_loss_first"],
        "repeat_loss_second": metrics["repeat_loss_second"],
        "long_repeat_loss_second": metrics["long_repeat_loss_second"],
        **measures.head_metrics(model, n_prompts=N_PROMPTS),
        "qk_effective_rank": qk["effective_rank"].mean(),
        "qk_rank": qk["rank"].max(),
        "seconds": float(log["seconds"].iloc[-1]),
    }


def _curve(recipe: Any, out: Path) -> pd.DataFrame:
    log = pd.read_csv(out / "log.csv").dropna(subset=["loss"])
    columns = [
        "tokens", "loss", "repeat_loss_second", "best_previous_token", "best_induction_contrast",
    ]  # fmt: skip
    return log[columns].assign(n_heads=recipe.config.n_heads, seed=recipe.seed)


def _step_seconds(recipes: list[Any]) -> dict[int, float]:
    """Fastest training step of each head count, all taking turns."""
    import torch

    from interp.core import HookedGPT
    from interp.corpus import Language
    from interp.learning import make_optimizer, training_step

    tokens = torch.from_numpy(Language().batch(0, 32, 65, namespace="timing"))
    runs = []
    for recipe in recipes:
        model = HookedGPT(recipe.config, seed=0, init=recipe.init)
        runs.append((recipe, model, make_optimizer(model, recipe)))
    best = {recipe.config.n_heads: float("inf") for recipe in recipes}
    for _ in range(TIMED_ROUNDS):
        for recipe, model, optimizer in runs:
            start = time.perf_counter()
            training_step(model, optimizer, tokens, recipe.clip)
            taken, n_heads = time.perf_counter() - start, recipe.config.n_heads
            best[n_heads] = min(best[n_heads], taken)
    return best


def main(argv: list[str]) -> None:
    """Runs the command that the module's first lines describe."""
    match argv:
        case ["train", folder]:
            train_all(Path(folder))
        case ["record", folder, commit]:
            record(Path(folder), commit)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
