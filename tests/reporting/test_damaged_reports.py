"""Report folders that are not as they were, or that somebody else made: `compare` and the index.

What they read is shown as text or refused in one sentence; nothing is written, removed or read
through links; a full disk or a kill leaves the old report whole.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from oracles.damage import (
    HOSTILE_NAMES,
    NOT_JSON,
    as_json,
    broken,
    changed_values,
    contents,
    full_disk,
    looks_whole,
    no_files,
    refused,
    refused_by_command,
    untouched,
)

from interp.core import InputError, RunError
from interp.reporting import folder_name, write_comparison, write_index, write_report
from interp.reporting.stored import read_studies

from .conftest import make_result
from .pages import parse

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("no_type_checks")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    out = tmp_path_factory.mktemp("reports")
    for model in ("a", "b"):
        write_index(write_report(make_result(model=model), out).parent)
    return out


@pytest.fixture
def two(source, tmp_path):
    """Reports of the models a and b, for one test to damage."""
    return Path(shutil.copytree(source, tmp_path / "reports", symlinks=True))


def compared(out):
    folder = write_comparison("a", "b", out)
    for page in folder.glob("*.html"):
        parse(page)
    json.loads((folder / "comparison.json").read_bytes())


# ------------------------------------------------------------------------------ damaged files


@pytest.mark.parametrize("file", ["findings.json", "provenance.json", "tables/tokens.csv"])
def test_damaged_bytes(two, file):
    path = two / "a" / "demo" / file
    whole = path.read_bytes()
    for content in (*broken(whole, 25, seed=18), *(NOT_JSON if file.endswith("json") else ())):
        path.write_bytes(content)
        if refused(lambda: compared(two)) is not None:
            assert file != "provenance.json"  # it only tells of options
            assert not (two / "compare").exists() or not looks_whole(two / "compare")
        shutil.rmtree(two / "compare", ignore_errors=True)


def test_findings_of_other_kinds(two):
    path = two / "a" / "demo" / "findings.json"
    refusals = 0
    for values in changed_values(json.loads(path.read_bytes()), 120, seed=19):
        path.write_bytes(as_json(values))
        refusals += refused(lambda: read_studies(two / "a")) is not None
    assert refusals > 60


def test_what_is_accepted_makes_pages(two):
    path = two / "a" / "demo" / "findings.json"
    whole, pages = json.loads(path.read_bytes()), 0
    for values in changed_values(whole, 120, seed=20):
        path.write_bytes(as_json(values))
        if refused(lambda: read_studies(two / "a")) is None:
            assert refused(lambda: write_index(two / "a")) is None
            assert refused(lambda: compared(two)) is None
            pages += 1
        if pages == 12:
            break
    assert pages == 12


@pytest.mark.parametrize("template", ["{x:999999999}", "{x:>5000}", "{x:.99999999f}", "{x.y}",
                                      "{x[0]}", "{", "{0}", "{x!r:>9999999}"])  # fmt: skip
def test_a_sentence_cannot_ask_for_a_gigabyte_or_for_more_than_its_values(two, template):
    path = two / "a" / "demo" / "findings.json"
    values = json.loads(path.read_bytes())
    values["headline"] = {"text": "", "template": template, "values": {"x": 1.0}}
    path.write_bytes(as_json(values))
    assert "findings.json cannot be read" in refused(lambda: read_studies(two / "a"))


def test_a_damaged_status(two):
    path = two / "a" / "status.json"
    whole = {"facts": {"status": "left out", "reason": "x"}}
    for content in (*NOT_JSON, *map(as_json, changed_values(whole, 60, seed=21))):
        path.write_bytes(content)
        sentence = refused(lambda: write_index(two / "a"))
        assert sentence is None or "status.json cannot be read" in sentence


def test_a_folder_whose_name_would_be_a_script(two):
    """`javascript:alert(1)` and a slash behind it is an address that runs."""
    for name in ("javascript:alert(1)", "a b", 'x" onclick="y'):
        other = Path(shutil.copytree(two / "a" / "demo", two / "a" / name))
        assert "is no name of a report's folder" in refused(lambda: write_index(two / "a"))
        shutil.rmtree(other)


def test_things_that_are_no_files(two, tmp_path):
    (tmp_path / "odd").mkdir()
    for thing in no_files(tmp_path / "odd"):
        for file in ("findings.json", "provenance.json", "tables/tokens.csv", "figures/bars.png"):
            path = two / "a" / "demo" / file
            kept = path.read_bytes()
            path.unlink()
            path.symlink_to(thing)
            refused(lambda: compared(two))
            path.unlink()
            path.write_bytes(kept)


def test_by_command(two, capsys):
    words = ("compare", "a", "b", "--out", two)
    for name in ("x" * 5_000, "../../..", "/dev/zero", "none"):
        assert len(refused_by_command(capsys, "compare", name, "b", "--out", two)) < 1_000
    (two / "b" / "demo" / "findings.json").write_bytes(b"[" * 9_999)
    with untouched(two):
        assert "run that study again" in refused_by_command(capsys, *words)


# --------------------------------------------------------------------------------------- links


def test_a_comparison_takes_no_file_from_outside_of_the_reports(two, tmp_path):
    """A report from elsewhere could link to anything that its reader can read."""
    secret = tmp_path / "secret"
    demo = two / "a" / "demo"
    secret.write_bytes((demo / "figures" / "bars.png").read_bytes() + b"password")
    for file in ("figures/bars.png", "tables/tokens.csv"):
        (demo / file).unlink()
        (demo / file).symlink_to(secret)
    folder = write_comparison("a", "b", two)
    page = parse(folder / "demo.html")
    sources = [image.attributes["src"] for image in page.find_all("img")]
    assert len(sources) == 1  # that of b
    assert not refused(lambda: compared(two))


def test_a_report_does_not_write_or_remove_through_links(two, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(two / "a" / "demo", mine / "demo")
    (mine / "thesis.tex").write_text("years")
    shutil.rmtree(two / "a" / "demo")
    (two / "a" / "demo").symlink_to(mine / "demo")  # it even looks like a report
    for name in ("index.html", "claims.csv", "claims.html"):
        (two / "a" / name).unlink(missing_ok=True)
        (two / "a" / name).symlink_to(mine / "thesis.tex")
    with untouched(mine):
        write_index(write_report(make_result(model="a"), two).parent)
    assert not any(path.is_symlink() for path in (two / "a").iterdir())
    (two / "c").symlink_to(mine)
    with untouched(mine), pytest.raises(InputError, match="is a link to another place"):
        write_report(make_result(model="c"), two)


def test_a_link_to_nowhere_gives_way(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "demo").symlink_to(tmp_path / "gone")
    folder = write_report(make_result(model="m"), tmp_path)
    assert (folder / "report.html").is_file()
    assert not (tmp_path / "gone").exists()


# --------------------------------------------------------------------------- full disks, kills


@pytest.mark.parametrize("n_bytes", [0, 700, 3_000])
def test_a_full_disk_leaves_the_old_report_whole(two, n_bytes):
    with full_disk(n_bytes), untouched(two):
        with pytest.raises(RunError, match="cannot be written"):
            write_report(make_result(model="a", tokens=("other", "king")), two)
        with pytest.raises(RunError, match="cannot be written"):
            write_report(make_result(model="new"), two)
        (two / "new").rmdir()
        with pytest.raises((RunError, OSError)):
            write_index(two / "a")
    with full_disk(min(n_bytes, 700)), untouched(two), pytest.raises(RunError, match="whole"):
        try:
            write_comparison("a", "b", two)
        finally:
            (two / "compare").rmdir()


def test_after_kill_9_the_old_report_is_whole(two):
    """Killed while figures are drawn: the old files stay, and nothing new is taken for one."""
    program = (
        "import sys, time; sys.path[:0] = ['tests', '.']\n"
        "from reporting.conftest import make_result\n"
        "from interp.reporting import write_report\n"
        "def slow(what, done, total):\n"
        "    print(what, flush=True)\n"
        "    time.sleep(60)\n"
        "other = make_result(model='a', tokens=('other', 'king'))\n"
        "write_report(other, sys.argv[1], progress=slow)\n"
    )
    before = contents(two)
    process = subprocess.Popen(
        [sys.executable, "-c", program, two], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout.readline()
    time.sleep(0.05)
    process.kill()
    process.wait()
    process.stdout.close()
    after = contents(two)
    assert before.items() <= after.items()
    assert all("/.demo.new-" in name for name in after.keys() - before.keys())
    assert [study.name for study in read_studies(two / "a")] == ["demo"]
    compared(two)


# --------------------------------------------------------------------------------- other names


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_of_models_and_studies_are_text_in_every_page(tmp_path, name):
    for model in (name, "b"):
        result = make_result(model=model, study=name, question=name, tokens=(name, "king"))
        folder = write_report(result, tmp_path / "out")
        assert folder.parent.parent == tmp_path / "out"
        write_index(folder.parent)
    write_comparison(tmp_path / "out" / folder_name(name), "b", tmp_path / "out")
    pages = list(tmp_path.rglob("*.html"))
    assert {page.name for page in pages} >= {"report.html", "index.html", "claims.html"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    for page in pages:
        for element in parse(page).find_all("img", "a", "script", "svg", "button"):
            assert not {key for key in element.attributes if key.startswith("on")}
            assert element.attributes.get("src", "data:").startswith("data:")
        assert "\u202e" not in page.read_text(encoding="utf-8")
