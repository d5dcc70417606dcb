"""The command line: `interp list | run | report | probe | compare | generate | train`.

Each command is a dataclass whose field docs are its help. Results go to stdout, progress and
messages to stderr. Exit code 0, 1 (it failed), 2 (the call was wrong) or 130 (interrupted).
PyTorch and the plotting libraries are imported by the command that needs them, not before.
"""

import contextlib
import dataclasses
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

import studies
from interp.core.errors import InputError, RunError
from studies.verify import Config as VerifyConfig

Switch = Annotated[bool, FlagCreatePairsOff]
Dtype = Literal["float32", "fp32", "float64", "fp64", "bfloat16", "bf16", "float16", "fp16"]
DTYPES = {"fp32": "float32", "fp64": "float64", "bf16": "bfloat16", "fp16": "float16"}

_typed: list[str] = []  # the arguments of this call, for provenance
FEW_PARAMETERS = 2_000_000
PUBLISHED_MODEL = "gpt2"
EXIT_FAILED, EXIT_WRONG_CALL, EXIT_INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every command takes."""

    debug: Switch = False
    """Show the traceback of an error."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """Which model, and how it runs."""

    model: Annotated[str, arg(aliases=["-m"], metavar="MODEL")] = "small"
    """A shipped model (see `interp list`), a GPT-2 name such as gpt2 or distilgpt2, a directory in
    Hugging Face format, or random:NAME for the same shape with random weights."""
    revision: Annotated[str | None, arg(metavar="REVISION")] = None
    """Branch, tag or commit on the Hugging Face hub."""
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda or cuda:N; auto takes a GPU where there is one."""
    dtype: Dtype = "float32"
    """Number format of weights and activations; measurements want float32 or float64."""
    offline: Switch = False
    """Never use the network: shipped, local and cached models only."""


@dataclass(frozen=True, kw_only=True)
class ReportOptions(ModelOptions):
    """Where a report goes and what is printed."""

    out: Annotated[Path, arg(metavar="DIR")] = Path("reports")
    """Reports go to DIR/<model>/<study>/."""
    lang: Literal["en", "ko"] = "en"
    """Language of the pages: headings, claims and reading aids; numbers and tables stay."""
    json: Switch = False
    """Print the findings as JSON."""
    no_progress: Switch = False
    """No progress bar; there is none either when stderr is not a terminal."""


@dataclass(frozen=True, kw_only=True)
class List(Options):
    """Show the studies, the shipped models and the training recipes."""

    json: Switch = False
    """Print them as JSON."""


@dataclass(frozen=True, kw_only=True)
class Run(ReportOptions):
    """Run one study on a model and write its report; `interp run STUDY --help` has its options."""

    study: Annotated[Positional[str], arg(metavar="STUDY")]
    """Name of the study (see `interp list`)."""


@dataclass(frozen=True, kw_only=True)
class Report(ReportOptions, studies.StudyConfig):
    """Run every study on a model; write all reports and the index."""

    jobs: Annotated[int | None, arg(metavar="N")] = None
    """Studies at a time, each in a process of its own; by default 2 for a small model, else 1."""


@dataclass(frozen=True, kw_only=True)
class Probe(ReportOptions):
    """Take one prompt apart: which parts of the model decide between two next tokens?"""

    prompt: Annotated[Positional[str], arg(metavar="PROMPT")]
    """The prompt; one argument, so quote it."""
    target: Annotated[str, arg(metavar="TOKEN")]
    """The token that should come next; with most tokenizers it begins with a space."""
    contrast: Annotated[str, arg(metavar="TOKEN")]
    """The token that it is compared with."""
    corrupted: Annotated[str | None, arg(metavar="PROMPT")] = None
    """Another version with as many tokens, in which another answer would be right; by default it
    is built where target and contrast stand in the prompt, or from the small language's words."""
    seed: Annotated[int, arg(metavar="SEED")] = 0
    """Seed of the prompts that roles of heads are measured on."""
    batch_size: Annotated[int, arg(metavar="N")] = 32
    """Prompts in one forward pass."""


@dataclass(frozen=True, kw_only=True)
class Compare(Options):
    """Put two models' reports side by side: claim by claim and figure by figure."""

    a: Annotated[Positional[str], arg(metavar="A")]
    """A model's report folder, or the name of a model with a report in DIR."""
    b: Annotated[Positional[str], arg(metavar="B")]
    """The other one."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("reports")
    """Reports are looked up in DIR by name; the pages go to DIR/compare/<A>--<B>/."""
    lang: Literal["en", "ko"] = "en"
    """Language of the pages; the reports may be in either."""
    json: Switch = False
    """Print the claims side by side as JSON."""
    no_progress: Switch = False
    """No progress bar; there is none either when stderr is not a terminal."""


@dataclass(frozen=True, kw_only=True)
class Generate(ModelOptions):
    """Continue a prompt."""

    prompt: Annotated[Positional[str], arg(metavar="PROMPT")]
    """The text to continue; one argument, so quote it."""
    max_new_tokens: Annotated[int, arg(metavar="N")] = 20
    """Tokens to add at most."""
    temperature: Annotated[float, arg(metavar="T")] = 1.0
    """Divides the logits before the softmax; 0 always takes the likeliest token."""
    top_k: Annotated[int | None, arg(metavar="K")] = None
    """Sample among the K likeliest tokens only."""
    top_p: Annotated[float | None, arg(metavar="P")] = None
    """Sample among the likeliest tokens that together reach probability P."""
    min_p: Annotated[float | None, arg(metavar="P")] = None
    """Drop tokens whose probability is below P times the likeliest one's."""
    beams: Annotated[int, arg(metavar="N")] = 1
    """Beam search with N beams instead of sampling."""
    repetition_penalty: Annotated[float, arg(metavar="R")] = 1.0
    """Above 1, makes tokens that already occurred less likely."""
    seed: Annotated[int, arg(metavar="SEED")] = 0
    """Seed of the sampling."""
    json: Switch = False
    """Print prompt, continuation and token ids as JSON."""


@dataclass(frozen=True, kw_only=True)
class Train(Options):
    """Train a model; an interrupted run goes on from its last checkpoint."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE")]
    """Name of the recipe (see `interp list`)."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Log, checkpoints and the final model go here; default: runs/RECIPE."""
    steps: Annotated[int | None, arg(metavar="N")] = None
    """Optimizer steps, instead of the recipe's; the learning rate's schedule follows."""
    seed: Annotated[int | None, arg(metavar="SEED")] = None
    """Seed of the initial weights and the data, instead of the recipe's."""
    threads: Annotated[int, arg(metavar="N")] = 1
    """CPU threads; models this small train fastest on one."""
    resume: bool = True
    """Go on from the last checkpoint in DIR, or start afresh."""
    no_progress: Switch = False
    """No progress bar; there is none either when stderr is not a terminal."""


@dataclass(frozen=True, kw_only=True)
class TrainSuite(Options):
    """Train the runs that the studies of training read; what is there is not trained again."""

    only: Annotated[tuple[str, ...], arg(metavar="EXPERIMENT")] = ()
    """These experiments; all of them where none is named (`--show` lists them)."""
    seeds: Annotated[int, arg(metavar="N")] = 3
    """Seeds of each run."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/suite")
    """Logs and checkpoints go here, a folder for each run."""
    jobs: Annotated[int, arg(metavar="N")] = 1
    """Runs at a time, each on one thread."""
    show: Switch = False
    """List the experiments and their runs; train nothing."""
    record: Annotated[str | None, arg(metavar="COMMIT")] = None
    """Train nothing: measure the finished runs and write the recorded tables, with COMMIT, the
    commit that trained them."""
    no_progress: Switch = False
    """No progress bar; there is none either when stderr is not a terminal."""


@dataclass(frozen=True, kw_only=True)
class Verify(VerifyConfig, ModelOptions):
    """Measure how often the detectors of head roles are wrong, or a model against the literature.

    Without --published, models with planted circuits are built and searched. With it, the published
    values of GPT-2 small are measured on MODEL, row by row.
    """

    model: Annotated[str, arg(aliases=["-m"], metavar="MODEL")] = PUBLISHED_MODEL
    """With --published: gpt2, or a directory with a model of GPT-2 small's shape."""
    published: Switch = False
    """Measure the published values of GPT-2 small; exit code 1 if any disagrees."""


@dataclass(frozen=True, kw_only=True)
class Doctor(Options):
    """Look at versions, devices and the model cache, and run a self-test of a few seconds."""

    json: Switch = False
    """Print the checks as JSON."""


@dataclass(frozen=True, kw_only=True)
class Sweep(Options):
    """Run many models, studies, measures and seeds into one dataset; goes on where it stopped."""

    file: Annotated[Positional[Path], arg(metavar="SWEEP.TOML")]
    """What to run: models, studies, measures, prompts, seeds, options (see docs/clusters.md)."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("sweep")
    """The dataset goes here; `pandas.read_parquet("DIR")` reads all of it."""
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda or cuda:N; auto takes a GPU where there is one."""
    engine: Literal["local", "ray"] = "local"
    """This machine, or a Ray cluster (needs `pip install 'interp[ray]'`)."""
    address: Annotated[str, arg(metavar="ADDRESS")] = "auto"
    """Of the Ray cluster: auto (the one this machine belongs to), local, or host:port."""
    jobs: Annotated[int | None, arg(metavar="N")] = None
    """Workers: 1 on this machine unless given; on a cluster one for each GPU, or for each CPU."""
    threads: Annotated[int | None, arg(metavar="N")] = None
    """CPU threads of each worker; by default the cores are shared out."""
    dry_run: Switch = False
    """Say what is to do and what it will cost; run nothing but a short timing."""
    retry_failed: Switch = False
    """Try cells again that failed in an earlier run."""
    no_progress: Switch = False
    """No progress bar; there is none either when stderr is not a terminal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments after the program's name; those of this process by default.

    Returns:
        The exit code.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may hold bytes that are no text; stderr escapes them by itself.
        sys.stdout.reconfigure(errors="backslashreplace")
    _typed[:] = argv
    debug = "--debug" in argv
    try:
        command = _parse(argv)
        return _EXECUTE[_base(type(command))](command) or 0
    except SystemExit as request:
        return request.code if isinstance(request.code, int) else EXIT_FAILED
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout (`| head`) has seen enough; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        if debug:
            raise
        code, sentence = _explain(error)
        _say(f"error: {sentence}")
        return code


# ---------------------------------------------------------------------------------- parsing


def _parse(argv: list[str]) -> Options:
    """The command as its dataclass; `run STUDY` also takes the options of that study's Config."""
    if argv[:1] == ["run"]:
        study = next((word for word in argv[1:] if word in studies.questions()), None)
        if study is not None:
            rest = list(argv[1:])
            rest.remove(study)
            return _tyro(_run_type(study), rest, f"interp run {study}", studies.questions()[study])
        if len(argv) > 1 and not argv[1].startswith("-"):
            studies.load(argv[1])  # raises the error that lists the studies
    commands = {
        command.__name__.lower(): command for command in (List, Run, Report, Compare, Generate)
    }
    commands |= {"probe": Probe, "train": Train, "train-suite": TrainSuite, "verify": Verify}
    commands |= {"doctor": Doctor, "sweep": Sweep}
    choices = tuple(
        Annotated[command, tyro.conf.subcommand(name)] for name, command in commands.items()
    )
    union: Any = choices[0]
    for choice in choices[1:]:
        union |= choice
    return _tyro(union, argv, "interp", "Takes a GPT apart and measures what its parts do.")


def _run_type(study: str) -> type:
    """`Run` for one study: where the report goes, and the fields of the study's own Config."""
    config = studies.load(study).Config
    options = dataclasses.make_dataclass(
        "RunStudy", [], bases=(ReportOptions, config), frozen=True, kw_only=True
    )
    options.__doc__ = studies.questions()[study]
    options.study_name = study
    return options


def _base(command: type) -> type:
    return ReportOptions if hasattr(command, "study_name") else command


def _tyro(kind: Any, argv: list[str], prog: str, description: str) -> Any:
    """Parses with tyro; what it prints about a wrong call becomes one sentence."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(kind, args=argv, prog=prog, description=description)
    except SystemExit as request:
        if request.code:
            said = re.sub(r"^Error parsing [A-Z]\w*: ", "", _unboxed(printed.getvalue()))
            _say(f"error: {said}; see {prog} --help")
        raise


def _unboxed(printed: str) -> str:
    """What tyro says about a wrong call, without its frame, its title and its last hint.

    On terminals without UTF-8 there is no frame, but a line under the title.
    """
    parts: list[list[str]] = [[]]
    for line in printed.splitlines():
        text = line.strip("│╭╮╰╯ ")
        if text and not text.strip("─-"):
            parts.append([])
        elif not text.startswith("─"):  # the title within the frame
            parts[-1].append(text)
    said = [" ".join(" ".join(part).split()).rstrip(".:") for part in parts]
    if "╭" not in printed:
        said = said[1:]  # the title
    said = [part for part in said if part and not part.startswith(("For full", "Argument help"))]
    return "; ".join(said) or "this call cannot be understood"


# --------------------------------------------------------------------------------- commands


def _list(command: List) -> None:
    found = {
        "studies": studies.questions(),
        "models": _models(),
        "recipes": _recipes(),
    }
    if command.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for title, rows in found.items():
        print(f"{title}:")
        width = max(map(len, rows), default=0)
        for name, description in rows.items():
            print(f"  {name:<{width}}  {description}".rstrip())


def _run(command: Any) -> None:
    from interp import api

    words, model = api.words_of(command.lang), _load(command)
    with _progress(not command.no_progress) as progress:
        module = studies.load(command.study_name)
        study_of = _study_of(command, model, progress)
        done = api.written(module, study_of, command.out, words, _typed_command(), progress)
    _finish(command, [done], words)


def _probe(command: Probe) -> None:
    from interp import api
    from studies import probe

    words, model = api.words_of(command.lang), _load(command)

    def study_of(module: Any) -> Any:
        result = module.run(model, _config(module, command), progress=progress)
        again = {"command": _typed_command()}
        return dataclasses.replace(result, provenance=result.provenance | again)

    with _progress(not command.no_progress) as progress:
        done = api.written(probe, study_of, command.out, words, _typed_command(), progress)
    _finish(command, [done], words)


def _report(command: Report) -> int:
    from interp import api

    words, model = api.words_of(command.lang), _load(command)
    jobs, outcomes = _report_jobs(command, model), []
    with _progress(not command.no_progress) as progress:
        if jobs > 1:
            from interp.report_jobs import report_in_processes

            typed = _typed_command()
            each = report_in_processes(_load, _study_again, command, typed, jobs, progress)
        else:
            study_of = _study_of(command, model, progress)
            each = api.report_each(
                study_of, command.out, words=words, command=_typed_command(), progress=progress
            )
        for outcome in each:
            outcomes.append(outcome)
            if outcome.status == "left out":
                _say(f"left out: {outcome.error}")
            elif outcome.error is not None:
                if command.debug:
                    raise outcome.error
                _say(f"error: {outcome.study}: {_explain(outcome.error)[1]}")
    _finish(command, outcomes, words)
    return EXIT_FAILED if any(outcome.status == "failed" for outcome in outcomes) else 0


def _report_jobs(command: Report, model: Any) -> int:
    """How many studies run at a time."""
    if command.jobs is None:
        several = model.n_params < FEW_PARAMETERS and not command.debug
        return min(2, os.cpu_count() or 1) if several else 1
    if command.jobs < 1:
        raise InputError(f"--jobs starts at 1, but {command.jobs} was given")
    return command.jobs


def _compare(command: Compare) -> None:
    from interp import api, reporting

    with _progress(not command.no_progress) as progress:
        words = api.words_of(command.lang)
        folder = reporting.write_comparison(
            command.a, command.b, command.out, words=words, progress=progress
        )
    content = (folder / "comparison.json").read_text(encoding="utf-8")
    if command.json:
        print(content, end="")
        return
    rows = [row for row in json.loads(content)["claims"] if row["same_verdict"] is not None]
    same = sum(row["same_verdict"] for row in rows)
    print(f"{same} of {len(rows)} findings that both reports have get the same verdict")
    for row in rows:
        if not row["same_verdict"]:
            verdicts = f"{row['verdict_a']} against {row['verdict_b']}"
            print(f"  claim {row['claim']} ({row['study']}): {verdicts}")
    print(folder / "index.html")


def _generate(command: Generate) -> None:
    model = _load(command)
    if model.tokenizer is None:
        raise InputError(f"{command.model} has no tokenizer, so it cannot read a prompt")
    ids = model.tokenizer.encode(command.prompt)
    options = {
        field.name: getattr(command, field.name)
        for field in dataclasses.fields(Generate)
        if field.name not in {"prompt", "json", *_MODEL_OPTIONS}
    }
    tokens = _tensor([ids], model)
    generation = model.generate(tokens, **options)
    new = generation.tokens[0, len(ids) :].tolist()
    continuation = model.tokenizer.decode(new)
    from interp.plots import visible_token

    pieces = model.tokenizer.str_tokens(ids)
    if command.json:
        report = {
            "model": model.name,
            "prompt": command.prompt,
            "prompt_tokens": pieces,
            "prompt_ids": list(ids),
            "continuation": continuation,
            "continuation_ids": new,
        }
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return
    print("prompt tokens: " + " ".join(f"[{visible_token(piece)}]" for piece in pieces))
    print(continuation)


def _train(command: Train) -> None:
    import torch

    from interp import learning, loading

    recipe = _recipe(command)
    if command.threads < 1:
        raise InputError(f"--threads starts at 1, but {command.threads} was given")
    torch.set_num_threads(command.threads)
    out = command.out or Path("runs") / command.recipe
    with _progress(not command.no_progress) as progress:
        model = learning.train(
            recipe,
            out,
            resume=command.resume,
            extra_metrics=_head_metrics,
            progress=progress,
        )
    print(loading.save(model, out / "final", overwrite=True))


def _train_suite(command: TrainSuite) -> None:
    from interp.learning.train_suite import EXPERIMENTS, suite_runs
    from studies import _train_suite

    for name in ("seeds", "jobs"):
        if getattr(command, name) < 1:
            raise InputError(f"--{name} starts at 1, but {getattr(command, name)} was given")
    if command.show:
        for name in command.only or EXPERIMENTS:
            runs = suite_runs((name,), command.seeds)
            print(f"{name}: {EXPERIMENTS[name].question}")
            for run in runs:
                print(f"  {run.name}  {run.recipe.n_steps} steps")
        return
    if command.record is not None:
        _record_suite(command)
        return
    with _progress(not command.no_progress) as progress:
        for name, ending in _train_suite.train_all(
            command.out, command.only, command.seeds, command.jobs, progress
        ):
            print(f"{name}: {ending}", flush=True)


def _record_suite(command: TrainSuite) -> None:
    from studies import _train_suite_record

    if not command.out.is_dir():
        raise InputError(f"{command.out} is no folder with runs of the train suite")
    tables = _train_suite_record.record(command.out, command.record, command.seeds)
    runs = len(tables["runs"])
    if not runs:
        raise InputError(f"{command.out} holds no finished run of the train suite")
    print(f"{runs} runs recorded in {_train_suite_record.RECORDED}")


_MODEL_OPTIONS = frozenset(field.name for field in dataclasses.fields(ModelOptions))


def _verify(command: Verify) -> int:
    from studies import _published, verify

    if command.published:
        with _progress(not command.no_progress) as progress:
            return _published.main(_load(command), command.out, command.json, progress)
    if command.model != PUBLISHED_MODEL:
        raise InputError(
            "-m goes with --published: without it, `interp verify` builds its own models"
        )
    fields = [field.name for field in dataclasses.fields(VerifyConfig)]
    return verify.main(VerifyConfig(**{name: getattr(command, name) for name in fields}))


def _doctor(command: Doctor) -> int:
    from interp import doctor

    return doctor.main(command.json, _say)


def _sweep(command: Sweep) -> int:
    from studies import _sweep

    if command.engine == "local":
        command = dataclasses.replace(command, device=_device(command.device))
    with _progress(not command.no_progress) as progress:
        return _sweep.main(command, _say, progress)


_EXECUTE: dict[type, Callable[[Any], int | None]] = {
    List: _list,
    ReportOptions: _run,
    Report: _report,
    Probe: _probe,
    Compare: _compare,
    Generate: _generate,
    Train: _train,
    TrainSuite: _train_suite,
    Verify: _verify,
    Doctor: _doctor,
    Sweep: _sweep,
}


# ------------------------------------------------------------------------------------ parts


def _load(command: ModelOptions) -> Any:
    import torch

    from interp.loading import load_model

    device = _device(command.device)
    model = load_model(
        command.model,
        device=device,
        dtype=getattr(torch, DTYPES.get(command.dtype, command.dtype)),
        revision=command.revision,
        offline=command.offline,
        seed=getattr(command, "seed", 0),
    )
    if model.n_params < FEW_PARAMETERS:
        # More threads would wait for each other longer than they work.
        torch.set_num_threads(1)
    return model


def _device(asked: str) -> str:
    """The device in PyTorch's spelling.

    Raises:
        InputError: if PyTorch does not know the device or this machine lacks it.
    """
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = asked.partition(":")
    if kind == "mps":
        raise InputError(
            "Apple's GPU (mps) has no float64, in which probabilities and statistics are computed; "
            "--device cpu has it"
        )
    there = {"cpu": 1, "cuda": torch.cuda.device_count()}
    if kind not in there or (index and not index.isdigit()):
        raise InputError(f"device {asked!r} is none of auto, cpu, cuda, cuda:N")
    if int(index or 0) >= there[kind]:
        raise InputError(f"this machine has no device {asked!r}; --device auto takes what it has")
    return asked


def _config(study: Any, command: Any) -> Any:
    names = [
        field.name for field in dataclasses.fields(study.Config) if hasattr(command, field.name)
    ]
    return study.Config(**{name: getattr(command, name) for name in names})


def _study_of(command: Any, model: Any, progress: Any) -> Callable[[Any], Any]:
    """Runs a study with the options of this call."""
    return lambda study: _study_again(study, command, model, progress)


def _study_again(study: Any, command: Any, model: Any, progress: Any = None) -> Any:
    """A study's result, with the command that gives it again."""
    config = _config(study, command)
    result = study.run(model, config, progress=progress)
    again = {"command": _same_again(command, study, config)}
    return dataclasses.replace(result, provenance=result.provenance | again)


def _typed_command() -> str:
    return shlex.join(["interp", *_typed])


def _same_again(command: Any, study: Any, config: Any) -> str:
    """The command that gives this result, without what does not change it (where it goes)."""
    words = ["interp", "run", study.__name__.rpartition(".")[2], "-m", command.model]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            flag = f"--{field.name.replace('_', '-')}"
            words += [flag] if value is True else [flag, str(value)]
    for name in ("revision", "dtype"):
        if getattr(command, name) not in (None, "float32"):
            words += [f"--{name}", getattr(command, name)]
    return shlex.join(words)


def _finish(command: Any, outcomes: list[Any], words: Any) -> None:
    from interp import api

    index = api.write_index(outcomes, words)
    written = [(one.result, one.folder) for one in outcomes if one.result is not None]
    if command.json:
        findings = [
            {"study": result.study, "report": str(folder / "report.html")}
            | {"findings": [finding.to_dict() for finding in result.findings]}
            for result, folder in written
        ]
        print(json.dumps(findings, indent=2, ensure_ascii=False, allow_nan=False))
        return
    for result, folder in written:
        print(f"{result.study}: {result.headline.text(result.tables)}")
        for finding in result.findings:
            print(f"  claim {finding.claim}: {finding.verdict}. {finding.statement}")
        print(f"  {folder / 'report.html'}")
    print(f"index: {index}")


def _recipe(command: Train) -> Any:
    from interp.learning import RECIPES

    if command.recipe not in RECIPES:
        raise InputError(f"no recipe is called {command.recipe!r}; there are: {', '.join(RECIPES)}")
    changes = {"n_steps": command.steps, "seed": command.seed}
    return dataclasses.replace(
        RECIPES[command.recipe], **{name: v for name, v in changes.items() if v is not None}
    )


def _head_metrics(model: Any) -> dict[str, float]:
    from interp import measures

    return measures.head_metrics(model)


def _models() -> dict[str, str]:
    from interp.loading import model_names

    return model_names()


def _recipes() -> dict[str, str]:
    from interp.learning import RECIPES

    return {name: _described(recipe) for name, recipe in RECIPES.items()}


def _described(recipe: Any) -> str:
    config = recipe.config
    tokens = recipe.n_steps * recipe.tokens_per_step / 1e6
    layers = "1 layer" if config.n_layers == 1 else f"{config.n_layers} layers"
    return (
        f"{layers} of {config.n_heads} heads, d_model {config.d_model}, on the {recipe.task} task: "
        f"{recipe.n_steps} steps, {tokens:.1f} M tokens, seed {recipe.seed}"
    )


def _tensor(ids: list[list[int]], model: Any) -> Any:
    import torch

    return torch.tensor(ids, device=model.W_E.device)


@contextlib.contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A function `progress(what, done, total)` that draws on stderr; None without a terminal."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)
            if done >= total:  # a report has hundreds of steps; only the open ones stay
                bars.remove_task(tasks.pop(what))

        yield show


def _explain(error: Exception) -> tuple[int, str]:
    """Exit code and one sentence for an error."""
    sentence = " ".join(str(error).split())
    if isinstance(error, InputError):
        return EXIT_WRONG_CALL, sentence
    if isinstance(error, RunError | OSError):
        return EXIT_FAILED, sentence
    return EXIT_FAILED, f"unexpected {type(error).__name__}: {sentence} (--debug shows where)"


def _say(message: str) -> None:
    print(f"interp: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
