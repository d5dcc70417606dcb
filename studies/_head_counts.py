"""The recorded runs of `heads_and_width`: one shape, trained with 1, 2, 4, 8 and 16 heads.

    python -m studies._head_counts train runs/head_counts          # about 5 min a run, 15 runs
    python -m studies._head_counts record runs/head_counts COMMIT  # writes the two CSV files

`train` goes on where it was stopped. `record` reads the logs of the finished runs, times a training
step of every head count in turn, and writes `interp/learning/recorded/head_counts.csv` (one row a
run) and `head_count_curves.csv` (the evaluations along the way). COMMIT is the commit that trained.
"""

import sys
from pathlib import Path

N_SEEDS = 3


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


def main(argv: list[str]) -> None:
    """Runs the command that the module's first lines describe."""
    match argv:
        case ["train", folder]:
            train_all(Path(folder))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
