"""`interp doctor` on a sound installation, and on ones that are broken in one place each."""

import json
from collections import namedtuple
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from interp import cli, doctor


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """The hub answers nothing, at once."""
    from interp.loading import hub

    monkeypatch.setattr(hub, "answer_of_hub", lambda *_: "and nobody is there")


def problems(check):
    return [found.problem for found in check() if found.problem]


def test_a_sound_installation_has_no_problem(capsys):
    assert cli.main(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[-1] == "no problem found"
    for part in ("versions", "devices", "models", "self-test"):
        assert part in out.splitlines()
    assert f"  torch                   {version('torch')}" in out
    # The recorded loss is that of the model card.
    assert "recorded 1.70389" in out
    assert "offline (https://huggingface.co cannot be reached)" in out


def test_as_json_with_one_sentence_per_problem(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_versions", lambda: iter(()))
    monkeypatch.setattr(doctor, "_loss", lambda: 1 / 0)
    monkeypatch.setattr(doctor, "LOSS_TOLERANCE", -1.0)
    assert cli.main(["doctor", "--json"]) == 1
    out, err = capsys.readouterr()
    broken = [check for check in json.loads(out) if check["problem"]]
    assert [check["part"] for check in broken] == ["self-test"]
    assert err.count("\n") == 1
    assert "problem: " in err and "ZeroDivisionError: division by zero" in err


@pytest.mark.parametrize(
    "line, found, complaint",
    [
        ("torch>=2.6", version("torch"), ""),
        ("torch>=99", version("torch"), "does not fit: pip install 'torch>=99'"),
        ("no-such-distribution>=1", "missing", "no-such-distribution is missing: pip install"),
    ],
)
def test_requirements(line, found, complaint):
    check = doctor._requirement(Requirement(line))
    assert check.found == found
    assert complaint in check.problem and bool(complaint) == bool(check.problem)


def test_extras_are_not_required():
    lines = ["numpy", "pytest; extra == 'test'", "tzdata; python_version < '3'"]
    assert [r.name for r in doctor._without_extras(lines)] == ["numpy"]


def test_a_device_that_computes_nothing_is_a_problem():
    assert doctor._multiplies("cpu") == ""
    assert "meta is there but does not compute" in doctor._multiplies("meta")


def test_a_full_disk_is_a_problem(monkeypatch):
    usage = namedtuple("usage", "total used free")(10**12, 10**12, 5 * 2**20)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    (problem,) = problems(doctor._models)
    assert "has 5 MiB left" in problem


def test_other_weights_are_noticed_by_their_loss(monkeypatch):
    from interp import loading

    real = loading.load_model

    def changed(name):
        model = real(name)
        model.W_pos.mul_(1.5)
        return model

    monkeypatch.setattr(loading, "load_model", changed)
    (problem,) = problems(doctor._loss)
    assert "differs from the recorded one by" in problem


def test_an_attention_kernel_that_is_off_is_noticed(monkeypatch):
    monkeypatch.setattr(doctor, "_as_it_is", lambda pattern, hook: pattern.transpose(-1, -2))
    (problem,) = problems(doctor._attention)
    assert "fused and hooked attention disagree" in problem


def test_a_detector_that_finds_nothing_is_noticed(monkeypatch):
    from interp import measures

    real = measures.detect_roles
    monkeypatch.setattr(
        measures,
        "detect_roles",
        lambda *args, **options: real(*args, **options).assign(label=False),
    )
    (problem,) = problems(doctor._planted_head)
    assert "L1H0 was to be found alone; found: none" in problem
