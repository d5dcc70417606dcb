"""Oracle: files written here, line by line."""

import json

import pytest

from interp.core.errors import InputError
from interp.loading.prompt_pairs import PromptPair, read_prompt_pairs

NAMES = "clean,corrupted,correct,incorrect"


def written(tmp_path, text, name="pairs.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_json_lines_give_the_same_pairs(tmp_path):
    table = (
        "unit,clean,corrupted,correct,incorrect\n"
        'one,"In Paris, they",In Rome they, speak, eat\n\n,a b,a c, d, e\n'
    )
    rows = [
        {"clean": "In Paris, they", "corrupted": "In Rome they", "correct": " speak",
         "incorrect": " eat", "unit": "one"},
        {"clean": "a b", "corrupted": "a c", "correct": " d", "incorrect": " e"},
    ]  # fmt: skip
    lines = "\n".join(json.dumps(row) for row in rows)
    of_csv = read_prompt_pairs(written(tmp_path, table))
    of_json = read_prompt_pairs(written(tmp_path, lines, "pairs.jsonl"))
    # Spaces in front of an answer are part of its token.
    assert of_csv[0] == PromptPair("In Paris, they", "In Rome they", " speak", " eat", "one", 2)
    assert of_csv[1] == PromptPair("a b", "a c", " d", " e", "line 4", 4)
    assert [pair[:4] for pair in of_json] == [pair[:4] for pair in of_csv]
    assert [pair.unit for pair in of_json] == ["one", "line 2"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("p.csv", "clean,corrupted,correct\na,b,c\n", "line 1: no column is called incorrect"),
        ("p.csv", f"{NAMES},colour\na,b,c,d,e\n", "line 1: columns are"),
        ("p.csv", f"{NAMES}\na,b,c,d\nIn Paris, they,b,c,d\n", "line 3: 5 columns"),
        ("p.csv", f"{NAMES}\na,b, ,d\n", "line 2: correct is ' '"),
        ("p.csv", f"{NAMES}\na,b,c,c\n", "line 2: 'c' is both"),
        ("p.csv", f"{NAMES}\na,a,c,d\n", "line 2: both versions"),
        ("p.csv", f"{NAMES}\n", "holds no prompts"),
        ("p.csv", f'{NAMES}\n"a,b,c,d\n', "line 2"),
        ("p.jsonl", '{"clean": "a"', "line 1: no JSON"),
        ("p.jsonl", "[1]", "line 1: expected an object"),
        ("p.txt", "a", "neither a .csv nor a .jsonl"),
    ],
)
def test_every_error_names_its_line(tmp_path, name, text, says):
    with pytest.raises(InputError, match=says.replace("[", r"\[")):
        read_prompt_pairs(written(tmp_path, text, name))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_prompt_pairs(tmp_path / "none.csv")
