"""Files of others: what they say, or one sentence; never a wait, another error or a wrong value."""

import json

import pytest
from oracles.damage import NOT_JSON, no_files, refused

from interp.core import InputError
from interp.core.reading import (
    brief,
    brief_name,
    expanded,
    is_text,
    parse_json,
    read_json,
    read_text,
    regular_file,
)


def test_what_never_ends_is_not_waited_for(tmp_path):
    for path in no_files(tmp_path):
        for read in (regular_file, read_text, read_json):
            assert str(path) in refused(lambda read=read, path=path: read(path))


@pytest.mark.parametrize("name", ["a\x00b", "x" * 5_000, "x/" * 5_000])
def test_names_that_no_file_has(name):
    assert len(refused(lambda: read_json(name))) < 400


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / "b.json").symlink_to(tmp_path / "a.json")
    assert read_json(tmp_path / "b.json") == {"a": 1}


@pytest.mark.parametrize("content", NOT_JSON)
def test_what_is_no_json_is_one_sentence(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert "no JSON" in refused(lambda: read_json(path))


@pytest.mark.parametrize("text", ['{"a": [1, {"b": null}]}', "[]", '"\\ud800"', "NaN", "-0", " 1 "])
def test_json_is_read_as_python_reads_it(text):
    assert repr(parse_json(text, "here")) == repr(json.loads(text))


def test_a_name_twice_is_refused_where_it_means_two_things():
    assert parse_json('{"a": 1, "a": 1}', "here") == {"a": 1}
    with pytest.raises(InputError, match="here: no JSON: 'a' stands twice"):
        parse_json('[{"a": 1, "a": true}, {"a": 2, "a": 3}]', "here")


@pytest.mark.parametrize(("depth", "fine"), [(64, True), (65, False)])
def test_how_deep_json_may_be(depth, fine):
    """So deep that whatever walks through it later has room left."""
    sentence = refused(lambda: parse_json("[" * depth + "]" * depth, "here"))
    assert (sentence is None) == fine


def test_texts_with_and_without_a_mark(tmp_path):
    path = tmp_path / "a.txt"
    for content in (b"a\nb", b"\xef\xbb\xbfa\r\nb"):
        path.write_bytes(content)
        assert read_text(path) == "a\nb"
    path.write_text("a", encoding="utf-16")
    with pytest.raises(InputError, match="is no UTF-8 text: byte 0"):
        read_text(path)


def test_values_in_a_sentence_are_short():
    assert brief("a") == "'a'"
    assert brief("x" * 80) == f"'{'x' * 76}..."
    assert brief_name("a/b") == "a/b"
    assert len(brief_name("y" * 9_999)) < 170
    assert [is_text(value) for value in ("", "한", "\ud800", 3, None)] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_the_home_of_nobody():
    with pytest.raises(InputError, match="no such user"):
        expanded("~nobody-of-this-name/x")
