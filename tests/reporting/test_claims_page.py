"""The page over the lectures' claims, and the index over the studies."""

import dataclasses
import json
import re

import pytest

from interp.core import RunError
from interp.reporting import FAILED, LEFT_OUT, Finding, write_index, write_report
from interp.reporting.claims import claims, lectures

from .conftest import HOSTILE, make_result
from .pages import parse


def finding(claim, verdict, **changes):
    numbers = {"value": 0.5, "unit": "share", "ci_low": 0.4, "ci_high": 0.6, "null": 0.1}
    return Finding(
        claim, verdict, f"It {verdict}.", **(numbers | {"n": 23, "figure": "bars"} | changes)
    )


def claims_page(tmp_path, *studies, **options):
    """The page for studies given as name and findings."""
    for name, findings in studies:
        folder = write_report(make_result(study=name, findings=tuple(findings)), tmp_path)
    write_index(folder.parent, **options)
    page = parse(folder.parent / "claims.html")
    return {article.attributes["id"]: article for article in page.find_all("article")}, page


def test_all_claims_are_there_in_the_lectures_order(tmp_path):
    articles, page = claims_page(tmp_path, ("demo", [finding(103, "holds")]))
    expected = [f"claim-{c.number}" for lec in lectures() for s in lec.sections for c in s.claims]
    assert list(articles) == expected
    assert len(expected) == 120
    titles = [heading.text for heading in page.find_all("h3")]
    assert titles == [s.title["en"] for lecture in lectures() for s in lecture.sections]
    for number, claim in claims().items():
        text = articles[f"claim-{number}"].text
        assert claim.says["en"] in text
        assert claim.fact["en"] in text


def test_a_measured_claim_shows_number_interval_null_and_figure(tmp_path):
    articles, _ = claims_page(tmp_path, ("demo", [finding(103, "holds", null_name="chance")]))
    text = " ".join(articles["claim-103"].text.split())
    assert "On this model: holds It holds." in text
    assert "0.5 share" in text
    assert "interval 0.4 to 0.6" in text
    assert "null or control 0.1 (chance)" in text
    assert "n = 23" in text
    links = [link.attributes["href"] for link in articles["claim-103"].find_all("a")]
    assert links == ["demo/report.html#bars"]


def test_what_no_study_has_answered_says_so(tmp_path):
    articles, _ = claims_page(tmp_path, ("demo", [finding(103, "holds")]))
    planned = claims()[1].study
    assert f"not run: measured by the study {planned}" in articles["claim-1"].text
    assert "not about a model: a matter of the literature" in articles["claim-55"].text


@pytest.mark.parametrize(
    "verdicts, kind",
    [
        (["holds"], "holds"),
        (["not applicable"], "not-applicable"),
        (["holds", "holds"], "holds"),
        (["holds", "undecided"], "holds"),
        (["undecided", "not applicable"], "undecided"),
        (["holds", "fails"], "studies-differ"),
        (["imprecise", "not applicable", "imprecise"], "imprecise"),
    ],
)
def test_several_studies_share_a_verdict_or_differ(tmp_path, verdicts, kind):
    studies = [(f"s{i}", [finding(9, verdict)]) for i, verdict in enumerate(verdicts)]
    articles, _ = claims_page(tmp_path, *studies)
    assert articles["claim-9"].attributes["class"] == f"claim is-{kind}"
    statements = re.findall(r"It [a-z ]+\.", articles["claim-9"].text)
    assert statements == [f"It {verdict}." for verdict in verdicts]


def test_counts_add_up_to_all_claims_and_each_has_its_choice(tmp_path):
    found = [finding(1, "holds"), finding(2, "holds"), finding(4, "fails")]
    _, page = claims_page(tmp_path, ("demo", found))
    choices = {
        label.find("input").attributes["id"]: int(label.find("strong").text)
        for label in page.find_all("label")
    }
    assert choices["only-all"] == 120
    assert choices["only-holds"] == 2
    assert choices["only-fails"] == 1
    assert sum(choices.values()) == 240
    assert "undecided" not in page.find("fieldset").text  # nothing to choose


def test_the_choice_works_without_a_script(browser, tmp_path):
    claims_page(tmp_path, ("demo", [finding(1, "holds"), finding(110, "fails")]))
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((tmp_path / "tiny" / "claims.html").as_uri())
    assert page.locator(".claim >> visible=true").count() == 120
    page.get_by_label("fails").focus()
    page.keyboard.press("Space")
    assert page.locator(".claim >> visible=true").count() == 1
    assert page.locator("#claim-110").is_visible()
    assert page.locator("main h3 >> visible=true").all_inner_texts() == ["The output matrix"]
    context.close()


# ------------------------------------------------------------------------------- the index


def index(tmp_path, **options):
    folder = write_report(make_result(), tmp_path)
    write_index(folder.parent, **options)
    articles = parse(folder.parent / "index.html").find_all("article")
    return {article.find("code").text: " ".join(article.text.split()) for article in articles}


def test_the_index_names_every_study_and_what_became_of_it(tmp_path):
    shown = index(
        tmp_path,
        expected={"demo": "Demo?", "masks": "Why mask?", "senses": "Which?", "other": "Else?"},
        outcomes={"masks": (LEFT_OUT, "no <b>mask</b>"), "senses": (FAILED, "out of memory")},
        done=["demo"],
    )
    assert list(shown) == ["demo", "senses", "masks", "other"]
    assert shown["demo"].startswith("What does a demo show? The first contrast is 0.12.")
    assert shown["senses"] == "Which? failed: out of memory senses"
    assert shown["masks"] == "Why mask? left out: no <b>mask</b> masks"
    assert shown["other"] == "Else? not run other"


def test_a_later_run_of_one_study_keeps_what_is_known_of_the_others(tmp_path):
    index(tmp_path, outcomes={"a": (FAILED, "x"), "b": (LEFT_OUT, "y")}, done=["demo"])
    assert "failed: x" in index(tmp_path, done=["demo"])["a"]
    shown = index(tmp_path, outcomes={"a": (LEFT_OUT, "z")}, done=["demo", "b"])
    assert "left out: z" in shown["a"]
    assert "b" not in shown
    index(tmp_path, done=["a"])
    assert not (tmp_path / "tiny" / "status.json").exists()


def test_a_study_that_failed_now_still_shows_its_earlier_report(tmp_path):
    shown = index(tmp_path, outcomes={"demo": (FAILED, "disk full")})
    assert "The last run failed; this is an earlier report. disk full" in shown["demo"]


def test_a_damaged_status_is_named(tmp_path):
    index(tmp_path)
    (tmp_path / "tiny" / "status.json").write_text('{"a": 3}')
    with pytest.raises(RunError, match=r"status.json cannot be read"):
        write_index(tmp_path / "tiny")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_statements_names_and_reasons_are_text(tmp_path, text):
    hostile = dataclasses.replace(finding(103, "holds"), statement=text, unit=text, null_name=text)
    folder = write_report(
        make_result(model=f"m{text}", question=text, findings=(hostile,)), tmp_path
    )
    write_index(folder.parent, expected={"x": text}, outcomes={"y": (FAILED, text)})
    for name in ("index", "claims"):
        raw = (folder.parent / f"{name}.html").read_bytes().decode("utf-8")
        assert not re.search("[\x00\u2028\u202e\ud83d]", raw)
        assert "<script" not in raw
        parse(folder.parent / f"{name}.html")
    json.loads((folder.parent / "status.json").read_bytes())
