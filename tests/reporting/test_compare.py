"""Two reports side by side, from their files alone."""

import csv
import json
import re
import shutil

import pytest

from interp.core import InputError, RunError
from interp.reporting import (
    Finding,
    folder_name,
    phrases,
    write_comparison,
    write_index,
    write_report,
)
from interp.reporting.compare import Pair

from .conftest import HOSTILE, make_result
from .pages import parse


def finding(value=0.5, low=0.4, high=0.6, verdict="holds", unit="share", claim=103):
    ends = {"ci_low": low, "ci_high": high}
    return Finding(claim, verdict, "So.", value=value, unit=unit, **ends, n=7, figure="bars")


def report(out, model, *findings, study="demo", **changes):
    folder = write_report(
        make_result(model=model, study=study, findings=findings or (finding(),), **changes), out
    )
    write_index(folder.parent)
    return folder.parent


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def two(tmp_path):
    report(tmp_path, "a", finding(), finding(claim=9))
    report(tmp_path, "b", finding(0.9, 0.8, 1.0, "imprecise"), finding(claim=19), value=0.7)
    return tmp_path


# --------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    "a, b, difference, intervals",
    [
        (finding(0.5, 0.4, 0.6), finding(0.9, 0.8, 1.0), 0.4, "apart"),
        (finding(0.5, 0.4, 0.6), finding(0.7, 0.6, 0.8), 0.2, "overlap"),  # they touch
        (finding(0.9, 0.8, 1.0), finding(0.5, 0.1, 0.85), -0.4, "overlap"),
        (finding(0.5, 0.1, 0.9), finding(0.5, 0.4, 0.6), 0.0, "overlap"),
        (finding(0.5, None, None), finding(0.7, 0.6, 0.8), 0.2, None),
        (finding(unit="nats"), finding(unit="bits"), None, None),
        (finding(None, None, None), finding(), None, None),
        (finding(), None, None, None),
        (None, finding(), None, None),
    ],
)
def test_difference_and_intervals(a, b, difference, intervals):
    pair = Pair(103, "demo", a, b)
    assert pair.difference == (None if difference is None else pytest.approx(difference))
    assert pair.intervals == intervals


# ----------------------------------------------------------------------------------- pages


def test_claims_stand_side_by_side(two):
    folder = write_comparison("a", "b", two)
    assert folder == two / "compare" / "a--b"
    page = parse(folder / "index.html")
    rows = {}
    for table in page.find_all("table"):
        header = [th.text for th in table.find("thead").find_all("th")]
        assert header == ["claim", "study", "a", "b", "difference", "intervals"]
        for row in table.find("tbody").find_all("tr"):
            cells = [" ".join(cell.text.split()) for cell in row.find_all("th", "td")]
            rows[int(cells[0].partition(".")[0])] = cells[1:]
    assert rows[103] == [
        "demo",
        "holds 0.5 0.4 to 0.6 share",
        "imprecise 0.9 0.8 to 1 share",
        "0.4",
        "apart",
    ]
    assert rows[9][1:] == ["holds 0.5 0.4 to 0.6 share", "–", "–", "–"]
    assert rows[19][1:] == ["–", "holds 0.5 0.4 to 0.6 share", "–", "–"]
    assert "same for 0 of 1 findings that both reports have" in page.text
    assert [a.text for a in page.find_all("a") if a.attributes["href"] == "#claim-103"] == ["103"]


def test_the_csv_and_the_json_hold_the_same_rows(two):
    folder = write_comparison("a", "b", two)
    with (folder / "claims.csv").open() as file:
        rows = list(csv.DictReader(file))
    stored = json.loads((folder / "comparison.json").read_text())
    assert (stored["a"], stored["b"]) == ("a", "b")
    assert [int(row["claim"]) for row in rows] == [row["claim"] for row in stored["claims"]]
    (row,) = (row for row in rows if row["claim"] == "103")
    assert (row["value_a"], row["value_b"], row["difference"]) == ("0.5", "0.9", "0.4")
    assert (row["intervals"], row["same_verdict"]) == ("apart", "false")


def test_figures_stand_side_by_side_and_lead_to_their_reports(two):
    folder = write_comparison("a", "b", two)
    page = parse(folder / "demo.html")
    answers = [caption.text for caption in page.find_all("figcaption")]
    assert [re.search(r"is (\S+) ", answer)[1] for answer in answers] == ["0.12", "0.70"]
    for image in page.find_all("img"):
        assert len(image.attributes["alt"]) >= 20
        assert image.attributes["src"].startswith("data:image/png;base64,")
    links = [a.attributes["href"] for a in page.find_all("a") if "report" in a.attributes["href"]]
    assert links == ["../../a/demo/report.html#bars", "../../b/demo/report.html#bars"]
    for link in links:
        assert (folder / link.partition("#")[0]).resolve().is_file()
    for table, side in zip(page.find_all("table"), ("a", "b"), strict=True):
        with (two / side / "demo" / "tables" / "tokens.csv").open() as file:
            header, *rows = csv.reader(file)
        assert [th.text for th in table.find("thead").find_all("th")] == header
        in_page = [
            [cell.text for cell in row.find_all("th", "td")]
            for row in table.find("tbody").find_all("tr")
        ]
        assert in_page == rows


def test_what_one_side_lacks_is_said(two):
    report(two, "b", study="extra")
    folder = write_comparison("a", "b", two)
    assert "only in the report of b" in parse(folder / "index.html").text
    text = parse(folder / "extra.html").text
    assert "no report of this study" in text
    assert "This report has no such figure." in text
    (two / "b" / "demo" / "figures" / "bars.png").unlink()
    text = parse(write_comparison("a", "b", two) / "demo.html").text
    assert "The picture is missing from the report." in text


def test_runs_with_other_options_are_pointed_out(two):
    assert "other options" not in parse(write_comparison("a", "b", two) / "index.html").text
    path = two / "b" / "demo" / "provenance.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"options": {"limit": 24}}))
    folder = write_comparison("a", "b", two)
    assert "other options: limit None/24" in parse(folder / "index.html").text
    assert "The two were not run alike." in parse(folder / "demo.html").text
    path.write_text("{")
    write_comparison("a", "b", two)


def test_it_can_be_read_in_korean(two):
    page = parse(write_comparison("a", "b", two, words=phrases("ko")) / "index.html")
    assert page.find("html").attributes["lang"] == "ko"
    assert "부정확" in page.text
    assert "떨어져 있음" in page.text


# ----------------------------------------------------------------------------------- files


def test_folders_can_be_given_instead_of_names(two, tmp_path):
    by_name = files(write_comparison("a", "b", two))
    shutil.rmtree(two / "compare")
    assert files(write_comparison(two / "a", two / "b", two)) == by_name


def test_a_second_comparison_is_the_same_and_an_interrupted_one_leaves_it(two, monkeypatch):
    folder = write_comparison("a", "b", two)
    before = files(folder)
    assert files(write_comparison("a", "b", two)) == before

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("interp.reporting.compare._index", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_comparison("a", "b", two)
    assert files(folder) == before


def test_one_model_twice_is_told_apart_by_folder(tmp_path):
    report(tmp_path / "old", "a")
    report(tmp_path / "new", "a")
    folder = write_comparison(tmp_path / "old" / "a", tmp_path / "new" / "a", tmp_path / "out")
    header = parse(folder / "index.html").find("thead").text
    assert "old" in header
    assert "new" in header


@pytest.mark.parametrize(
    "a, b, complaint",
    [
        (
            "a",
            "c",
            r"c is neither a report folder nor a model with a report in .*reports of a, b\)",
        ),
        ("a", "a", "a and a are the same report"),
        ("a", "empty", "no study has a report in both: .* has demo; .* has other"),
    ],
)
def test_wrong_calls_say_what_is_wrong(two, a, b, complaint):
    report(two / "elsewhere", "empty", study="other")
    where = two / "elsewhere" / "empty" if b == "empty" else b
    with pytest.raises(InputError, match=complaint):
        write_comparison(a, where, two)
    assert not (two / "compare").exists()


def test_without_any_report_the_error_says_how_to_write_one(tmp_path):
    with pytest.raises(InputError, match=r"there are none yet\); `interp report -m MODEL` writes"):
        write_comparison("a", "b", tmp_path)


def test_damaged_findings_are_named(two):
    (two / "a" / "demo" / "findings.json").write_text("{")
    with pytest.raises(RunError, match=r"findings.json cannot be read"):
        write_comparison("a", "b", two)


def test_a_folder_that_is_no_comparison_is_not_replaced(two):
    (two / "compare" / "a--b").mkdir(parents=True)
    (two / "compare" / "a--b" / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match="exists and is no report"):
        write_comparison("a", "b", two)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_and_leads_nowhere(tmp_path, text):
    hostile = Finding(103, "holds", text, value=1.0, unit=text, null_name=text)
    report(tmp_path, f"../m{text}", hostile, question=text, tokens=(text, "king"))
    report(tmp_path, "b", hostile, question=text, tokens=(text, "king"))
    folder = write_comparison(tmp_path / folder_name(f"../m{text}"), "b", tmp_path)
    assert folder.parent == tmp_path / "compare"
    for path in folder.glob("*.html"):
        raw = path.read_bytes().decode("utf-8")
        assert not re.search("[\x00\u2028\u202e\ud83d]", raw)
        assert "<script" not in raw
        for link in parse(path).find_all("a"):
            assert not re.match(r"\s*(javascript|https?):", link.attributes["href"])
    json.loads((folder / "comparison.json").read_bytes())
