"""A report whose studies run in several processes, each with a model of its own."""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import studies
from interp.api import Outcome, words_of, written
from interp.core.errors import InputError, RunError
from interp.reporting import FAILED, LEFT_OUT

Progress = Callable[[str, int, int], None]
_process: dict[str, Any] = {}  # what a worker's studies share: filled once, when it starts


def report_in_processes(
    load: Callable[[Any], Any],
    run: Callable[[Any, Any, Any], Any],
    command: Any,
    typed: str,
    jobs: int,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """As `interp.api.report_each`, `jobs` studies at a time; the files are the same.

    Args:
        load: the model of a command; called once in every process.
        run: a study of a command, given the module, the command and the model.
        command: with `out` and `lang`.
        typed: the command line, for the provenance.
        jobs: processes.
        progress: called with studies done and studies in all.

    Yields:
        Outcomes in the order of the studies' names; their results come without figures.

    Memory: each process holds the model and what its study needs.
    """
    say, names = progress or (lambda *_: None), list(studies.questions())
    context, found = get_context("spawn"), {}
    pool = ProcessPoolExecutor(jobs, context, _start, (load, run, command, typed))
    try:
        say("studies", 0, len(names))
        for future in as_completed([pool.submit(_one, name) for name in names]):
            outcome = future.result()
            found[outcome.study] = outcome
            say("studies", len(found), len(names))
    finally:
        pool.shutdown(cancel_futures=True)
    yield from (found[name] for name in names)


def _start(load: Callable, run: Callable, command: Any, typed: str) -> None:
    _process.update(command=command, run=run, typed=typed)
    _process.update(model=load(command), words=words_of(command.lang))


def _one(name: str) -> Outcome:
    command, out = _process["command"], Path(_process["command"].out)

    def study_of(module: Any) -> Any:
        return _process["run"](module, command, _process["model"])

    try:
        done = written(studies.load(name), study_of, out, _process["words"], _process["typed"])
    except studies.NotApplicable as error:
        return Outcome(name, status=LEFT_OUT, error=error)
    except Exception as error:
        return Outcome(name, status=FAILED, error=_portable(error))
    # Figures cannot travel between processes, and nobody there asks for them.
    return dataclasses.replace(done, result=dataclasses.replace(done.result, figures=()))


def _portable(error: Exception) -> Exception:
    """An error that says the same: errors of other kinds may not travel between processes."""
    if isinstance(error, InputError):
        return InputError(str(error))
    if isinstance(error, RunError | OSError):
        return RunError(str(error))
    return RunError(f"unexpected {type(error).__name__}: {error}")
