"""A report from several processes: the same files, and one study's failure is its own."""

from types import SimpleNamespace

import pytest

import studies
from interp.api import report_each, words_of
from interp.core.errors import InputError, RunError
from interp.loading import load_model
from interp.report_jobs import _portable, report_in_processes

CHEAP = ("parameter_count", "tokenization")


def load(command):
    return load_model("small")


def run(module, command, model):
    name = module.__name__.rpartition(".")[2]
    if name == "abilities":
        raise ValueError("no abilities today")
    if name not in CHEAP:
        raise studies.NotApplicable(f"{name} is not asked for")
    return module.run(model, module.Config(quick=True))


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "provenance.json"  # which holds how long it took
    }


def test_two_processes_write_what_one_writes(tmp_path):
    seen = []
    command = SimpleNamespace(out=str(tmp_path / "two"), lang="en")
    outcomes = list(
        report_in_processes(load, run, command, "interp", 2, lambda *what: seen.append(what))
    )
    model = load(command)
    alone = list(
        report_each(
            lambda module: run(module, command, model), tmp_path / "one", words=words_of("en")
        )
    )
    assert [(o.study, o.status) for o in outcomes] == [(o.study, o.status) for o in alone]
    assert [o.study for o in outcomes] == list(studies.questions())
    done = [outcome for outcome in outcomes if outcome.status == "done"]
    assert tuple(outcome.study for outcome in done) == CHEAP
    assert all(outcome.result.findings and not outcome.result.figures for outcome in done)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    assert [(o.study, str(o.error)) for o in failed] == [
        ("abilities", "unexpected ValueError: no abilities today")
    ]
    assert files(tmp_path / "one") == files(tmp_path / "two") != {}
    n = len(studies.questions())
    assert [done for _, done, _ in seen] == list(range(n + 1))


class Untransportable(InputError):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


@pytest.mark.parametrize(
    "error, kind, text",
    [
        (Untransportable("one", "two"), InputError, "one two"),
        (OSError(28, "No space left"), RunError, "[Errno 28] No space left"),
        (ZeroDivisionError("by nothing"), RunError, "unexpected ZeroDivisionError: by nothing"),
    ],
)
def test_errors_are_retold_for_other_processes(error, kind, text):
    retold = _portable(error)
    assert (type(retold), str(retold)) == (kind, text)


def test_jobs_start_at_one(capsys):
    from interp.cli import main

    assert main(["report", "-m", "small", "--jobs", "0"]) == 2
    assert "--jobs starts at 1, but 0 was given" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [1, 3])
def test_jobs_asked_for_are_taken(asked):
    from interp.cli import Report, _report_jobs

    assert _report_jobs(Report(model="small", jobs=asked), None) == asked
