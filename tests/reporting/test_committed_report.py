"""The committed report of the shipped model is what the studies find now.

It costs the time of `interp report -m small`. When this fails after a study was changed on purpose,
`make report` writes the report again.
"""

import csv
import json
import re
from functools import cache
from pathlib import Path

import pytest

import studies
from interp.reporting import cell_texts, write_report

from .pages import parse
from .test_translation import texts_of

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "reports" / "small"

# Machines differ in the last digits of float32 arithmetic, and so do counts of permutations that
# exceed a statistic: a number may move by this share of itself, or by this much near zero.
RELATIVE, ABSOLUTE = 2e-3, 2e-5
P_VALUES = 5e-3  # of p and q
NUMBER = re.compile(r"[-−+]?\d+(?:\.\d+)?(?:e[-−+]?\d+)?")


def close(a, b, absolute=ABSOLUTE):
    """Whether two values of a table are equal up to rounding errors of the arithmetic."""
    if a == b:
        return True
    if not (NUMBER.fullmatch(a) and NUMBER.fullmatch(b)):
        return same_text(a, b)
    return abs(float(a) - float(b)) <= max(absolute, RELATIVE * abs(float(a)))


def same_text(a, b):
    """Whether two texts are equal, up to the last digit that their numbers show."""
    if NUMBER.sub("#", a) != NUMBER.sub("#", b):
        return False
    return all(map(nearly, NUMBER.findall(a), NUMBER.findall(b)))


def nearly(x, y):
    first, second = (float(text.replace("−", "-")) for text in (x, y))
    decimals = {len(text.partition("e")[0].partition(".")[2]) for text in (x, y)}
    if decimals == {0} and "e" not in x + y:
        return x == y
    shown = 0 if "e" in x + y else 1.01 * 10.0 ** -min(decimals)
    return abs(first - second) <= max(ABSOLUTE, RELATIVE * abs(first), shown)


@pytest.mark.parametrize(
    "a, b, equal",
    [
        ("0.5", "0.5001", True),
        ("0.5", "0.51", False),
        ("0.1234", "0.1236", True),  # by 0.16 %
        ("0.1234", "0.1239", False),
        ("1234", "1237", False),
        ("2.1e-07", "9.9e-07", True),  # both are rounding errors
        ("", "0.1", False),
        ("true", "false", False),
        ("L1H2", "L1H3", False),
    ],
)
def test_what_counts_as_the_same_value(a, b, equal):
    assert close(a, b) is equal


@pytest.mark.parametrize(
    "a, b, equal",
    [
        ("L1H2 gives 0.93", "L1H2 gives 0.94", True),  # one unit of the last digit
        ("L1H2 gives 0.93", "L1H2 gives 0.95", False),
        ("L1H2 gives 0.93", "L1H3 gives 0.93", False),
        ("3 of 16", "4 of 16", False),
        ("within 5.0e−07", "within 9.0e−07", True),
        ("within 5.0e−07", "within 9.0e−03", False),
        ("−0.25 nats", "0.25 nats", False),
    ],
)
def test_what_counts_as_the_same_sentence(a, b, equal):
    assert same_text(a, b) is equal


@cache
def model():
    import torch

    from interp import load_model

    torch.set_num_threads(1)
    return load_model("small")


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def table_complaints(name, frame, folder):
    header, *rows = read_csv(folder / "tables" / f"{name}.csv")
    new = [list(map(str, frame.columns)), *cell_texts(frame)]
    if new[0] != header:
        return [f"table {name}: columns {new[0]}, committed {header}"]
    if len(new) != len(rows) + 1:
        return [f"table {name}: {len(new) - 1} rows, committed {len(rows)}"]
    return [
        f"table {name}, row {at}, {column}: {b!r}, committed {a!r}"
        for at, (row, now) in enumerate(zip(rows, new[1:], strict=True))
        for column, a, b in zip(header, row, now, strict=True)
        if not close(a, b, P_VALUES if column in ("p", "q") else ABSOLUTE)
    ]


def finding_complaints(result, folder):
    stored = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    before, now = stored["findings"], [finding.to_dict() for finding in result.findings]
    if [one["claim"] for one in before] != [one["claim"] for one in now]:
        return [f"claims {[one['claim'] for one in now]}"]
    return [
        f"claim {a['claim']}, {field}: {b[field]!r}, committed {a[field]!r}"
        for a, b in zip(before, now, strict=True)
        for field in a
        if not close(str(a[field]), str(b[field]), P_VALUES if field in ("p", "q") else ABSOLUTE)
    ]


def korean_complaints(result):
    """What the Korean page of a study with a Korean locale would still say in English."""
    texts = studies.texts("ko").get(result.study)
    if texts is None:
        return [f"studies/locale/ko/{result.study}.json is missing"]
    needed = {text: kind for kind, text in texts_of(result) if text}
    return [f"no Korean: {kind}: {text}" for text, kind in needed.items() if text not in texts]


REPORTED = [name for name in studies.questions() if (COMMITTED / name).is_dir()]


@pytest.mark.parametrize("name", REPORTED)
def test_a_study_finds_what_the_committed_report_says(name, tmp_path, no_type_checks):
    study = studies.load(name)
    result = study.run(model(), study.Config())
    folder = COMMITTED / name
    complaints = finding_complaints(result, folder)
    for table, content in result.tables.items():
        if (folder / "tables" / f"{table}.csv").is_file():
            complaints += table_complaints(table, content.frame, folder)
    assert complaints == []
    written = write_report(result, tmp_path)
    names = [
        {str(path.relative_to(one)) for path in one.rglob("*") if path.is_file()}
        for one in (folder, written)
    ]
    assert names[0] == names[1]
    assert headings(written) == headings(folder)
    assert korean_complaints(result) == []


def headings(folder):
    return [h.text for h in parse(folder / "report.html").find_all("h1", "h2")]


def test_the_committed_report_has_every_study_and_no_other():
    left_out = {}
    if (COMMITTED / "status.json").is_file():
        left_out = json.loads((COMMITTED / "status.json").read_text())
    assert not [name for name, one in left_out.items() if one["status"] == "failed"]
    there = {path.parent.name for path in COMMITTED.glob("*/findings.json")}
    assert there | set(left_out) == set(studies.questions())
