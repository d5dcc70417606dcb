"""`interp sweep --dry-run`: what is to do, and what it will cost.

Operations of measures are a closed formula. Times come, in this order, from cells that are done,
from a few prompts (of a measure) or one cell (of a study) timed now on the smallest model, and from
that time scaled to the other models; each row says which.
"""

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

from interp.scaling.cells import Cell, ModelFacts, PromptBlock
from interp.scaling.costs import measure_cost, n_weights, pass_flops, shown, shown_time
from studies._sweep_measures import MEASURES

if TYPE_CHECKING:
    import pandas as pd

    from interp.scaling.dataset import Dataset
    from studies._sweep import Plan

_FEW_PROMPTS = 8
_SMALL = 5_000_000  # parameters; one cell of a larger model's study takes too long for a look
_SCALE_TOKENS = 64  # of the pass by which a time is scaled from one model to another


def dry_run(plan: "Plan", command: Any) -> None:
    """Prints what the sweep would do and cost; writes nothing."""
    from interp.scaling import Dataset
    from studies._sweep import threads_of

    dataset = Dataset(command.out, look_only=True)
    device = "cpu" if command.engine == "ray" else command.device
    found = estimate(plan, dataset, device, threads_of(command, plan))
    print(f"{len(plan)} cells, {int(found['to_do'].sum())} to do in {dataset.out}; nothing is run")
    for row in found.itertuples():
        parts = [f"{row.to_do} of {row.cells} cells"]
        parts += [f"{shown(row.flops, 'FLOP')} by formula"] if row.flops == row.flops else []
        time = f"{shown_time(row.seconds)}" if row.seconds == row.seconds else "time unknown"
        print(f"  {row.name} on {row.model}: {', '.join(parts)}; {time} ({row.how})")
    weights = sum(n_weights(plan.shapes[model.weights]) for model in plan.models)
    print(f"weights: {shown(weights * 4, 'B')} in float32 to each machine")
    workers = command.jobs or 1
    known, unknown = found["seconds"].sum(), int(found["seconds"].isna().sum())
    more = f", without {unknown} of unknown time" if unknown else ""
    print(f"in all about {shown_time(known / workers)} on {workers} worker(s){more}")


def estimate(plan: "Plan", dataset: "Dataset", device: str, threads: int | None) -> "pd.DataFrame":
    """Per study or measure and model: cells, those to do, operations and seconds.

    Returns:
        `name`, `model`, `cells`, `to_do`, `flops` (of what is to do; NaN for studies, which have no
        formula), `seconds` (on one worker; NaN if unknown), `how`.

    Cost: one cell of each study, and a few prompts of each measure, on the smallest model.
    """
    import pandas as pd

    total, to_do, prompts, first = Counter(), Counter(), Counter(), {}
    recorded, taken = dataset.seconds(), {}
    for cell in plan.cells():
        key = (cell.name, cell.model)
        total[key] += 1
        first.setdefault(key, cell)
        if dataset.status(cell.id) is None:
            to_do[key] += 1
            prompts[key] += len(cell.prompts.rows) if cell.prompts else 0
        elif cell.id in recorded:
            taken.setdefault(key, []).append(recorded[cell.id])
    timed = _timed(plan, first, device, threads)
    rows = []
    for key in total:
        name, model = key
        flops = _flops(plan, first[key], prompts[key])
        seconds, how = _seconds(plan, key, to_do[key], prompts[key], taken, timed)
        rows.append(
            {"name": name, "model": _said(model), "cells": total[key], "to_do": to_do[key],
             "flops": flops, "seconds": seconds, "how": how}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _said(model: ModelFacts) -> str:
    """A model, and the seed of weights that are drawn: several may have one name."""
    return model.name if model.seed is None else f"{model.name} (seed {model.seed})"


def _flops(plan: "Plan", cell: Cell, n_prompts: int) -> float:
    """By formula, at the mean length of the first prompts of all files; NaN for a study."""
    if cell.kind == "study":
        return float("nan")
    measure, config = MEASURES[cell.name], plan.shapes[cell.model.weights]
    options = measure.config(**cell.options)
    files = plan.sweep.prompts
    weights = [plan.n_prompts[file] for file in files]
    lengths = [plan.lengths[cell.model.weights, file] for file in files]
    mean = sum(w * n for w, n in zip(weights, lengths, strict=True)) / sum(weights)
    return measure.flops(config, round(mean), options) * n_prompts


def _timed(plan: "Plan", first: dict, device: str, threads: int | None) -> dict[str, tuple]:
    """Of each study and measure: the smallest model, and seconds of a cell or of a prompt there."""
    from interp.scaling.worker import Worker
    from studies._sweep import compute

    smallest = min(plan.models, key=lambda model: model.n_params)
    worker, found = Worker(compute, device, threads), {}
    for (name, model), cell in first.items():
        if model != smallest or (cell.kind == "study" and model.n_params > _SMALL):
            continue
        n = 1
        if cell.prompts is not None:
            few = cell.prompts.rows[:_FEW_PROMPTS]
            cell = dataclasses.replace(
                cell, prompts=PromptBlock(cell.prompts.file, cell.prompts.start, few)
            )
            n = len(few)
            worker.run(cell)  # imports, and memory that is asked for once
        outcome = worker.run(cell)
        if outcome.status == "done":
            found[name] = (smallest, outcome.seconds / n)
    return found


def _seconds(
    plan: "Plan", key: tuple, to_do: int, n_prompts: int, taken: dict, timed: dict
) -> tuple[float, str]:
    name, model = key
    if not to_do:
        return 0.0, "all there"
    if key in taken:
        mean = sum(taken[key]) / len(taken[key])
        return mean * to_do, f"as {len(taken[key])} cells that are done"
    if name not in timed:
        return float("nan"), "no cell of it could be timed"
    smallest, each = timed[name]
    of_measure = name in MEASURES
    what = f"at most {_FEW_PROMPTS} prompts" if of_measure else "one cell"
    seconds = each * (n_prompts if of_measure else to_do)
    if model == smallest:
        return seconds, f"timed now on {what}"
    shapes = (plan.shapes[m.weights] for m in (model, smallest))
    ratio = [pass_flops(shape, min(_SCALE_TOKENS, shape.n_ctx)) for shape in shapes]
    return (
        seconds * ratio[0] / ratio[1],
        f"timed on {_said(smallest)}, times {ratio[0] / ratio[1]:.3g} for the operations of a pass",
    )


# ------------------------------------------------------------------------------------ on paper

PAPER_MODEL, PAPER_PROMPTS, PAPER_TOKENS = "gpt2-xl", 1_000_000, 32
PAPER_RATES = {"CPU node": 1e12, "GPU": 50e12}
"""Operations per second that a worker is assumed to reach; yours are what `--dry-run` measures."""


def paper_table() -> str:
    """The table of `docs/clusters.md`: each measure on GPT-2 XL and a million prompts, by formula.

    Returns:
        Markdown; nothing in it is measured but the bytes of a kept value.
    """
    from interp.measures import gpt2_config

    config = gpt2_config(PAPER_MODEL)
    head = "| measure | cells | operations | prompts out | results back |"
    lines = [
        head + "".join(f" one {name} |" for name in PAPER_RATES) + " 64 GPUs |",
        "|---" * (6 + len(PAPER_RATES)) + "|",
    ]
    for name, measure in MEASURES.items():
        options = measure.config()
        cost = measure_cost(
            config,
            measure.flops(config, PAPER_TOKENS, options),
            measure.values(config, PAPER_TOKENS, options),
            PAPER_PROMPTS,
            prompt_bytes=5 * PAPER_TOKENS,
        )
        times = [shown_time(cost.seconds(rate)) for rate in PAPER_RATES.values()]
        times.append(shown_time(cost.seconds(PAPER_RATES["GPU"], workers=64)))
        cells = [
            f"`{name}`", f"{cost.cells:,}", shown(cost.flops, "FLOP"),
            shown(cost.prompt_bytes, "B"), shown(cost.result_bytes, "B"), *times,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(paper_table())
