import os
import time

import pytest

from interp.core import InputError
from interp.reporting import folder_name
from interp.reporting.files import replaced_folder, write_file

MARK = "findings.json"


@pytest.mark.parametrize("name", ["small", "gpt2-medium", "small_s1", "v1.5", "A"])
def test_plain_names_stay(name):
    assert folder_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..",
        ".",
        "",
        "/abs/olute",
        "openai-community/gpt2",
        "a\\b",
        "random:small",
        ".hidden",
        "-rf",
        "nul",
        "con.txt",
        "a\x00b",
        "a\nb",
        "dot.",
        "\ud83d",
        "한국어",
        "x" * 300,
    ],
)
def test_other_names_become_one_harmless_component(name, tmp_path):
    folder = folder_name(name)
    assert folder not in ("", ".", "..")
    assert not set(folder) & set("/\\:\x00\n")
    assert not folder.startswith((".", "-"))
    assert len(folder) < 80
    (tmp_path / folder).mkdir()
    assert (tmp_path / folder).resolve().parent == tmp_path.resolve()


def test_different_names_keep_apart():
    names = ["a/b", "a:b", "a-b", "a b", "../a-b"]
    assert len({folder_name(name) for name in names}) == len(names)


def fill(folder, text):
    (folder / MARK).write_text(text)
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text(text)


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "out" / "study"
    with replaced_folder(target, MARK) as folder:
        fill(folder, "one")
        assert not target.exists()
    assert (target / "sub" / "file").read_text() == "one"
    with replaced_folder(target, MARK) as folder:
        (folder / MARK).write_text("two")
        assert (target / MARK).read_text() == "one"
    assert sorted(path.name for path in target.iterdir()) == [MARK]
    assert [path.name for path in target.parent.iterdir()] == ["study"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_interruption_leaves_the_old_folder(tmp_path, interruption):
    target = tmp_path / "study"
    with replaced_folder(target, MARK) as folder:
        fill(folder, "old")
    with pytest.raises(interruption), replaced_folder(target, MARK) as folder:
        (folder / MARK).write_text("half")
        raise interruption
    assert (target / "sub" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_an_interruption_between_the_two_moves_puts_the_old_one_back(tmp_path, monkeypatch):
    target = tmp_path / "study"
    with replaced_folder(target, MARK) as folder:
        fill(folder, "old")
    rename = type(target).rename

    def interrupted(path, to):
        if ".new-" in path.name:
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(type(target), "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), replaced_folder(target, MARK) as folder:
        fill(folder, "new")
    assert (target / "sub" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_what_a_kill_between_the_two_moves_left_is_put_right(tmp_path):
    target = tmp_path / "study"
    parked = tmp_path / ".study.old-abc" / "study"
    parked.mkdir(parents=True)
    fill(parked, "old")
    with pytest.raises(KeyError), replaced_folder(target, MARK):
        raise KeyError
    assert (target / MARK).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_old_leftovers_go_and_young_ones_stay(tmp_path):
    for name, age_s in ((".study.new-old", 3 * 24 * 3600), (".study.new-young", 60)):
        (tmp_path / name).mkdir()
        then = time.time() - age_s
        os.utime(tmp_path / name, (then, then))
    with replaced_folder(tmp_path / "study", MARK) as folder:
        fill(folder, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".study.new-young", "study"]


def test_something_else_is_not_replaced(tmp_path):
    target = tmp_path / "study"
    target.mkdir()
    (target / "thesis.tex").write_text("years of work")
    message = "exists and is no report"
    with pytest.raises(InputError, match=message), replaced_folder(target, MARK):
        pass
    assert (target / "thesis.tex").read_text() == "years of work"


def test_a_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "index.html"
    write_file(path, "old")
    write_file(path, "new")
    assert path.read_text() == "new"

    def no(*paths):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", no)
    with pytest.raises(OSError, match="disk full"):
        write_file(path, "newer")
    assert path.read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["index.html"]
