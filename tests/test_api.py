"""Studies from Python, and the report of a model in one call."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
from reporting.conftest import make_result

import interp
import studies
from interp.core import GPTConfig, HookedGPT, InputError, RunError


@dataclasses.dataclass(frozen=True)
class Config(studies.StudyConfig):
    """Options of a study that measures nothing."""


def study(name, run):
    """A module as `studies.load` gives it."""
    return SimpleNamespace(__name__=f"studies.{name}", Config=Config, run=run)


@pytest.fixture
def model():
    made = HookedGPT(GPTConfig(n_layers=1, d_model=6, n_heads=2, n_ctx=5, d_vocab=11))
    made.name = "tiny"
    return made


@pytest.fixture
def four(monkeypatch):
    """Four studies: one works, one makes no sense, one fails, one works too."""

    def works(name):
        def run(model, config, progress=None):
            if progress:
                progress(f"{name}: measuring", 1, 1)
            return make_result(study=name, model=model.name, value=0.1 + config.seed)

        return run

    def fails(error):
        def run(model, config, progress=None):
            raise error

        return run

    there = {
        "first": study("first", works("first")),
        "senseless": study("senseless", fails(studies.NotApplicable("no <words>"))),
        "broken": study("broken", fails(ValueError("an axis\nis missing"))),
        "last": study("last", works("last")),
    }
    monkeypatch.setattr(studies, "questions", lambda: {name: f"{name}?" for name in there})
    monkeypatch.setattr(studies, "load", there.__getitem__)
    monkeypatch.setattr(studies, "texts", lambda lang: {"first": {"How large is it?": "얼마?"}})
    return there


def test_a_study_runs_in_one_call(four, model):
    result = interp.run_study("first", model, seed=3)
    assert result.table("tokens").loc[0, "contrast"] == pytest.approx(3.1)
    assert result.provenance["command"] == "interp.run_study('first', 'tiny', seed=3)"


def test_unknown_options_are_named(four, model):
    known = "seed, batch_size, limit, quick"
    with pytest.raises(InputError, match=f"study first has no option 'sede'; there are: {known}"):
        interp.run_study("first", model, sede=3)
    with pytest.raises(InputError, match="a report has no option 'n_prompts'"):
        interp.report(model, n_prompts=3)


def test_a_report_goes_on_after_what_cannot_run(four, model, tmp_path):
    index = interp.report(model, tmp_path, seed=1)
    assert index == tmp_path / "tiny" / "index.html"
    assert (tmp_path / "tiny" / "last" / "report.html").is_file()
    assert json.loads((index.parent / "status.json").read_text()) == {
        "broken": {"status": "failed", "reason": "an axis is missing"},
        "senseless": {"status": "left out", "reason": "no <words>"},
    }
    text = index.read_text()
    assert "an axis is missing" in text
    assert "no &lt;words&gt;" in text
    assert "<words>" not in text


def test_a_report_of_nothing_is_an_error(four, model, tmp_path):
    four["first"].run = four["last"].run = four["broken"].run
    with pytest.raises(RunError, match="no study could run on this model: an axis is missing"):
        interp.report(model, tmp_path)


def test_progress_tells_of_studies_measuring_and_drawing(four, model, tmp_path):
    told = []
    interp.report(model, tmp_path, progress=lambda *now: told.append(now))
    assert [now for now in told if now[0] == "studies"] == [("studies", n, 4) for n in range(5)]
    assert ("first: measuring", 1, 1) in told
    assert [now for now in told if now[0] == "first: drawing"] == [
        ("first: drawing", 0, 1),
        ("first: drawing", 1, 1),
    ]


def test_a_report_in_korean(four, model, tmp_path):
    index = interp.report(model, tmp_path, lang="ko")
    assert '<html lang="ko">' in index.read_text()
    assert "얼마?" in (tmp_path / "tiny" / "first" / "report.html").read_text()
    with pytest.raises(InputError, match="not in 'fr'"):
        interp.report(model, tmp_path, lang="fr")


def test_a_report_is_the_same_byte_for_byte_but_for_the_provenance(four, model, tmp_path):
    contents = []
    for name in ("a", "b"):
        interp.report(model, tmp_path / name)
        folder = tmp_path / name / "tiny"
        contents.append(
            {
                str(path.relative_to(folder)): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file() and path.name != "provenance.json"
            }
        )
    assert contents[0] == contents[1]
    assert {"index.html", "claims.html", "claims.csv", "status.json"} <= set(contents[0])
