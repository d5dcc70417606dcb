"""How often are the detectors of head roles wrong? They are run on models whose heads are known.

Transformers are built whose weights are a circuit, hidden in several ways (rotated, under a
LayerNorm, among decoys, in noise, squeezed), and the detectors run on them unchanged. The answer
keys then say what was found, missed and mistaken. Models in which nothing is planted show how often
something is found all the same.

    python studies/verify.py            the fast set, about a minute on two cores
    python studies/verify.py --full     more seeds, sizes and noise, about ten minutes
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[str, int, int], None]

CLEAN = ("A", "B", "C")
NOISY = ("E", "DE")
FURTHER = ("D", "F")
FULL_FURTHER = ("BC", "BCD", "BCDE")
SIGMAS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
SIZES = (
    {},
    {"n_ctx": 24, "d_vocab": 40, "n_layers": 3},
    {"n_ctx": 40, "d_vocab": 48, "d_head": 96},
)
MIN_AUROC, MIN_RECALL = 0.99, 0.95
ALPHA = 0.05


@dataclass(frozen=True)
class Config:
    """Measure how often the detectors of head roles are wrong, on models whose heads are known."""

    full: bool = False
    """More seeds, sizes and disguises: about ten minutes on one core."""
    seed: int = 0
    """First seed of models, disguises, prompts and permutations; others count up from it."""
    n_seeds: int | None = None
    """Planted models of each kind; 1, or 3 with --full."""
    d_vocab: int | None = None
    """Token types of the planted models, instead of the built-in sizes."""
    n_ctx: int | None = None
    """Longest prompt of the planted models."""
    n_layers: int | None = None
    """Layers of the planted models."""
    d_head: int | None = None
    """Width of their heads."""
    sigma: float = 0.5
    """Noise of tier E, in units of each matrix's root mean square."""
    n_prompts: int = 24
    """Random prompts of each model; half of them select, the other half tests."""
    n_null: int = 200
    """Models without a plant; half random, half with shuffled weights."""
    n_permutations: int = 5000
    """Sign flips for each p-value."""
    jobs: int = 2
    """Processes that work at the same time."""
    out: Path = Path("reports/verify")
    """Folder of the tables."""
    json: bool = False
    """Print the result as JSON."""
    no_progress: bool = False
    """Do not draw progress."""
    debug: bool = False
    """Show where an error came from."""


@dataclass(frozen=True)
class Result:
    """Everything that the bench found.

    Attributes:
        tables: by name; see `CAPTIONS`.
        bars: what was demanded, what was measured, and whether it was reached.
        seconds: how long it took.
    """

    tables: "dict[str, pd.DataFrame]"
    bars: "pd.DataFrame"
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every bar was reached."""
        return bool(self.bars["reached"].all())


CAPTIONS = {
    "by_role": "Per tier and role: AUROC, recall, decoys rejected",
    "confusion": "What heads are, and what they are called (counts)",
    "heads": "Per planted head and role: strength, q, label, truth",
    "power": "The same over the noise of the weights, destroyed plants included",
    "no_plant": "Models without a plant: rates of false findings",
    "answers": "Facts of the answer keys that hold",
    "lens": "Answers above their rivals, before and behind the writing layer",
    "detect_head": "TransformerLens's formula on the same plants",
}


def run(config: Config, progress: Progress | None = None) -> Result:
    """The whole bench.

    Args:
        config: the options.
        progress: called with what is done, how much of it is done, and how much there is.
    """
    import pandas as pd

    from studies import _bench

    started = time.monotonic()
    cases = _cases(config)
    noises = _noise_cases(config)
    n_each = (config.n_null + 1) // 2
    nulls = [(kind, config.seed + i) for kind in _bench.NULLS for i in range(n_each)]
    nulls = sorted(nulls, key=lambda one: one[1])[: config.n_null]
    tiers = (*CLEAN, "BC") if config.full else CLEAN
    asked = [(name, tier, config.seed) for tier in tiers for name in _recipes()]
    with _workers(config.jobs) as each:
        judged = list(each(_judge, _sized(cases, config), progress, "plants"))
        noisy = list(each(_judge, _sized(noises, config), progress, "noise"))
        found = [(kind, seed, config.n_prompts, 2000) for kind, seed in nulls]
        without = list(each(_no_plant, found, progress, "models without a plant"))
        facts = list(each(_answers, asked, progress, "answer keys"))
        lenses = list(each(_lens, [(name, config.seed) for name in LENS], progress, "lens"))
    heads = pd.concat(judged, ignore_index=True)
    beside = [
        _bench.side_by_side(case, 8, ours)
        for case, ours in zip(cases, judged, strict=True)
        if case.recipes == cases[0].recipes and case.seed == config.seed and not case.sizes
    ] or [_bench.side_by_side(cases[0], 8, judged[0])]
    tables = {
        "by_role": _bench.by_role(heads),
        "confusion": _bench.confusion(heads),
        "heads": heads,
        "power": _bench.by_role(pd.concat(noisy, ignore_index=True), with_destroyed=True),
        "no_plant": _bench.error_rates(pd.DataFrame(without)),
        "answers": pd.DataFrame(facts),
        "lens": pd.DataFrame(lenses),
        "detect_head": pd.concat(beside, ignore_index=True),
    }
    return Result(tables, _bars(tables), time.monotonic() - started)


LENS = ("induction_k", "copy", "successor", "name_mover", "adjective_noun", "fact_memory",
        "agreement")  # fmt: skip


def _recipes() -> tuple[str, ...]:
    from interp import planted

    return planted.TOKEN_PLANTS + planted.WORD_PLANTS


def _cases(config: Config) -> list[Any]:
    from interp import planted
    from studies import _bench

    names = ("d_vocab", "n_ctx", "n_layers", "d_head")
    given = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    sizes = [given] if given else list(SIZES if config.full else SIZES[:1])
    n_seeds = config.n_seeds or (3 if config.full else 1)
    tiers = (*CLEAN, *NOISY, *FURTHER, *(FULL_FURTHER if config.full else ()))
    return [
        _bench.Case(tier, recipes, tier, config.sigma, config.seed + k, _fitting(recipes, size))
        for tier in tiers
        for size in sizes
        for k in range(n_seeds)
        for recipes in (planted.TOKEN_PLANTS, _bench.WORDS)
    ]


def _sized(cases: list[Any], config: Config) -> list[tuple[Any, int, int, int]]:
    """Each case with its number of prompts: more where a model holds few plants.

    With few true roles in a family, Benjamini-Hochberg asks for smaller p-values.
    """
    from studies import _bench

    return [
        (
            case,
            config.n_prompts * (2 if case.recipes == _bench.WORDS else 1),
            config.n_permutations,
            499,
        )
        for case in cases
    ]


def _fitting(recipes: tuple[str, ...], sizes: dict[str, int]) -> dict[str, int]:
    """Sizes for these plants: never fewer words than they need."""
    from interp.planted.lexicon import smallest_vocabulary
    from interp.planted.registry import find

    if "d_vocab" not in sizes:
        return dict(sizes)
    least = smallest_vocabulary([c for name in recipes for c in find(name).classes])
    return {**sizes, "d_vocab": max(sizes["d_vocab"], least)}


def _noise_cases(config: Config) -> list[Any]:
    from interp import planted
    from studies import _bench

    n_seeds = config.n_seeds or (3 if config.full else 1)
    return [
        _bench.Case(f"sigma {sigma}", recipes, "E", sigma, config.seed + k)
        for sigma in SIGMAS
        for k in range(n_seeds)
        for recipes in (planted.TOKEN_PLANTS, _bench.WORDS)
    ]


# ----------------------------------------------------------------------------------------- bars


def _bars(tables: "dict[str, pd.DataFrame]") -> "pd.DataFrame":
    """What the detectors must reach, and what they did reach."""
    import pandas as pd

    by_role, confusion = tables["by_role"], tables["confusion"]
    clean = by_role[by_role["case"].isin((*CLEAN, "BC"))]
    noisy = by_role[by_role["case"].isin(NOISY)]
    mistaken = confusion[
        confusion["case"].isin((*CLEAN, "BC")) & (confusion["is"] != confusion["called"])
    ]
    null = tables["no_plant"].set_index("models").loc["all"]
    answers, lens = tables["answers"], tables["lens"]
    n_decoys = int(clean["n_decoys"].sum())
    n_plants, n_dead = int(noisy["n_plants"].sum()), int(noisy["n_destroyed"].sum())
    rows = [
        ("tiers A to C: AUROC of every role", "1.00", clean["auroc"].min(),
         lambda x: x >= 1 - 1e-9),
        ("tiers A to C: recall of every role", "1.00", clean["recall"].min(), lambda x: x == 1),
        (f"tiers A to C: decoys mistaken, of {n_decoys}", "0",
         n_decoys - int(clean["decoys_rejected"].sum()), lambda x: x == 0),
        ("tiers A to C: confused or missed labels", "0",
         int(mistaken["n"].sum()), lambda x: x == 0),
        ("tiers E and DE: AUROC of every role", f"at least {MIN_AUROC}",
         noisy["auroc"].min(), lambda x: x >= MIN_AUROC),
        (f"tiers E and DE: recall of every role ({n_plants} plants; noise destroyed {n_dead} more)",
         f"at least {MIN_RECALL}", noisy["recall"].min(), lambda x: x >= MIN_RECALL),
        (f"{null['n_models']:.0f} models without a plant: family-wise error of max-T "
         f"(interval {null['fwer_low']:.3f} to {null['fwer_high']:.3f})",
         f"at most {ALPHA}, or its interval reaches down to it",
         null["fwer_max_t"], lambda x: x <= ALPHA or null["fwer_low"] <= ALPHA),
        ("models without a plant: false-discovery rate",
         f"at most {ALPHA}, or its interval reaches down to it",
         null["fdr"], lambda x: x <= ALPHA or null["fdr_low"] <= ALPHA),
        ("models without a plant: p of uniformity (Kolmogorov-Smirnov, placebo prompts)",
         f"at least {ALPHA}", null["ks_placebo_p"], lambda x: x >= ALPHA),
        (f"answer keys: facts that do not hold, of {int(answers['n_facts'].sum())}", "0",
         int((answers["n_facts"] - answers["n_hold"]).sum()), lambda x: x == 0),
        ("ablation sweep against whole runs: largest difference", "at most 1e-9",
         answers["sweep_deviation"].max(), lambda x: x <= 1e-9),
        ("lens: answers above rivals before the writing layer", "0",
         lens["before"].max(), lambda x: x == 0),
        ("lens: answers above rivals behind it", "1", lens["behind"].min(), lambda x: x == 1),
    ]  # fmt: skip
    return pd.DataFrame(
        [
            {"bar": bar, "demanded": demanded, "measured": float(value), "reached": bool(ok(value))}
            for bar, demanded, value, ok in rows
        ]
    )


# -------------------------------------------------------------------------------------- workers


def _judge(case: Any, n_prompts: int, n_permutations: int, n_resamples: int) -> "pd.DataFrame":
    from studies import _bench

    return _bench.judged(case, n_prompts, n_permutations, n_resamples)


def _no_plant(*args: Any) -> dict[str, Any]:
    from studies import _bench

    return _bench.no_plant(*args)


def _answers(*args: Any) -> dict[str, Any]:
    from studies import _bench

    return _bench.answers(*args)


def _lens(*args: Any) -> dict[str, Any]:
    from studies import _bench

    return _bench.lens(*args)


@contextmanager
def _workers(jobs: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A map over processes, in order; in this process if `jobs` is 1."""

    def counted(results: Iterable[Any], n: int, progress: Progress | None, what: str):
        for done, result in enumerate(results):
            if progress is not None:
                progress(what, done + 1, n)
            yield result

    if jobs <= 1:
        yield lambda function, tasks, progress, what: counted(
            (function(*task) for task in tasks), len(tasks), progress, what
        )
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread) as pool:
        yield lambda function, tasks, progress, what: counted(
            pool.map(function, *zip(*tasks, strict=True)) if tasks else (),
            len(tasks), progress, what,
        )  # fmt: skip


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


# --------------------------------------------------------------------------------- the command


def write(result: Result, config: Config) -> Path:
    """Writes every table as CSV, the bars and the options; returns the folder.

    Only `verify.json` depends on anything but the options: it holds the time taken.
    """
    from interp.reporting import csv_text
    from interp.reporting.files import write_file

    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "verify.json").unlink(missing_ok=True)  # the last to come: without it, a torso
    for name, table in {**result.tables, "bars": result.bars}.items():
        write_file(config.out / f"{name}.csv", csv_text(table))
    facts = {
        "passed": result.passed,
        "bars": result.bars.to_dict("records"),
        "tables": CAPTIONS,
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()},
        "seconds": round(result.seconds, 1),
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False)
    write_file(config.out / "verify.json", text + "\n")
    return config.out


def text(result: Result) -> str:
    """What the command prints: bars, and the tables for reading."""
    import pandas as pd

    hidden = {"heads"}
    pieces = []
    options = ("display.width", 200, "display.max_columns", 40, "display.max_rows", 400,
               "display.max_colwidth", 60)  # fmt: skip
    with pd.option_context(*options):
        for name, table in result.tables.items():
            if name not in hidden:
                shown = table
                if name == "confusion":
                    shown = _matrix(table)
                pieces.append(f"{CAPTIONS[name]}\n{shown.round(3).to_string(index=False)}\n")
        marks = result.bars.assign(reached=result.bars["reached"].map({True: "yes", False: "NO"}))
        pieces.append(f"Bars\n{marks.round(4).to_string(index=False)}\n")
    verdict = "every bar is reached" if result.passed else "NOT every bar is reached"
    pieces.append(f"verify: {verdict} ({result.seconds:.0f} s)")
    return "\n".join(pieces)


def _matrix(confusion: "pd.DataFrame") -> "pd.DataFrame":
    """The confusion counts of each case as a matrix; roles that were never given are left out."""
    import pandas as pd

    wide = pd.crosstab(
        [confusion["case"], confusion["is"]], confusion["called"], confusion["n"], aggfunc="sum"
    )
    return wide.fillna(0).astype(int).reset_index()


def main(config: Config) -> int:
    """Run, print and write; 0 if every bar is reached, else 1."""
    result = run(config, None if config.no_progress else _Said())
    folder = write(result, config)
    if config.json:
        records = {name: table.to_dict("records") for name, table in result.tables.items()}
        print(json.dumps({"passed": result.passed, "bars": result.bars.to_dict("records"),
                          "tables": _without_nan(records)}, indent=2))  # fmt: skip
    else:
        print(text(result))
        print(folder)
    return 0 if result.passed else 1


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return value


class _Said:
    """Progress on standard error: one line that counts on a terminal, else a line per stage."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.live = sys.stderr.isatty()

    def __call__(self, what: str, done: int, total: int) -> None:
        seconds = time.monotonic() - self.started
        line = f"{what}: {done} of {total}, {seconds:.0f} s since the start"
        if self.live:
            print(f"\r{line}   ", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif done == total:
            print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    import tyro

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main(tyro.cli(Config, description=__doc__)))
