"""What every page of every report must keep, on the committed report and on a hostile one.

The order follows the list of acceptance tests. Byte-identical reruns and interrupted runs are in
test_report.py and test_compare.py; hostile text in each place where text enters is there too.
"""

import base64
import csv
import re
from pathlib import Path

import pytest

from interp.reporting import phrases, write_comparison, write_index, write_report

from .conftest import HOSTILE, make_result
from .pages import parse, row_says

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "reports" / "small"
PAGES = sorted(COMMITTED.rglob("*.html"))
REPORTS = sorted(COMMITTED.glob("*/report.html"))
MEGABYTE = 1_000_000
LONG = "a long tale " * 1000


def name_of(path):
    return str(path.relative_to(COMMITTED))


# -------------------------------------------------------------------------- 1: no network


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_1_no_page_asks_for_anything(path):
    text = path.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    for address in re.findall(r"""\b(?:src|href|action|poster|srcset)\s*=\s*["']([^"']*)""", text):
        assert not re.match(r"\s*([a-z]+:)?//", address), address
    without_data = re.sub(r"base64,[\w+/=]*", "", text)
    for call in ("url(", "@import", "import(", "fetch(", "XMLHttpRequest", "WebSocket", "<link"):
        assert call not in without_data, call


# ------------------------------------------------------------------------------- 2: sizes


def test_2_the_committed_report_is_small_enough():
    sizes = {name_of(p): p.stat().st_size for p in COMMITTED.rglob("*") if p.is_file()}
    # About a third of a megabyte a study.
    n_studies = sum(name.endswith("/report.html") for name in sizes)
    assert sum(sizes.values()) <= 0.35 * n_studies * MEGABYTE, sorted(sizes, key=sizes.get)[-20:]


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_2_a_page_is_small_enough(path):
    assert path.stat().st_size < 5 * MEGABYTE
    page = parse(path)
    scripts = [script for script in page.find_all("script") if not script.attributes.get("type")]
    assert len(scripts) <= 1
    assert sum(len(script.text) for script in scripts) <= 60_000


# ---------------------------------------------------------------------- 3 and 6: figures


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("path", REPORTS, ids=name_of)
def test_3_every_figure_has_its_parts(path):
    page = parse(path)
    figures = list(page.find_all("figure"))
    assert figures
    for section in page.find_all("section"):
        if section.find("figure") is None:
            continue
        assert len(section.find("img").attributes["alt"]) >= 20
        assert section.find("figcaption").find("data") is not None
        assert section.find("table") is not None
        headings = [heading.text for heading in section.find_all("h3")]
        assert headings == ["How to read it", "What would change our mind", "Numbers"]
    for table in page.find_all("table"):
        assert table.find("caption").text.strip()
        for th in table.find_all("th"):
            assert th.attributes["scope"] in ("col", "row")


@pytest.mark.parametrize("path", REPORTS, ids=name_of)
def test_3_the_csv_holds_the_rows_of_the_table(path):
    n_tables = 0
    for box in parse(path).find_all("div"):
        name = box.attributes.get("aria-label", "").removeprefix("Table ")
        table = box.find("table")
        if table is None or table.attributes.get("class") == "findings":
            continue
        header, *rows = read_csv(path.parent / "tables" / f"{name}.csv")
        assert [th.text for th in table.find("thead").find_all("th")] == header
        in_page = list(table.find("tbody").find_all("tr"))
        # A carriage return is read as a line feed from HTML, as from CSV.
        assert len(in_page) == len(rows) and all(map(row_says, in_page, rows))
        n_tables += 1
    assert n_tables


@pytest.mark.parametrize("path", REPORTS, ids=name_of)
def test_3_downloads_are_the_files(path):
    for link in parse(path).find_all("a"):
        if "download" in link.attributes:
            content = base64.b64decode(link.attributes["href"].partition("base64,")[2])
            assert content == (path.parent / "tables" / link.attributes["download"]).read_bytes()


@pytest.mark.parametrize("path", REPORTS, ids=name_of)
def test_6_numbers_of_sentences_are_those_of_the_csv(path):
    tables = {p.stem: read_csv(p) for p in (path.parent / "tables").iterdir()}
    n_numbers = 0
    for data in parse(path).find_all("data"):
        if "data-cell" not in data.attributes:
            continue
        table, row, column = data.attributes["data-cell"].split("/", 2)
        header, *rows = tables[table]
        value = rows[int(row)][header.index(column)]
        assert data.attributes["value"] == value
        shown = data.text.replace("−", "-").removeprefix("= ").replace(",", "")
        if re.fullmatch(r"[+-]?\d+(\.\d+)?", shown):
            decimals = len(shown.partition(".")[2])
            assert float(shown) == pytest.approx(float(value), abs=0.51 * 10**-decimals)
        elif re.fullmatch(r"[+-]?[\d.]+e[+-]\d+", shown):
            mantissa, _, exponent = shown.partition("e")
            last = 10.0 ** (int(exponent) - len(mantissa.partition(".")[2]))
            assert float(shown) == pytest.approx(float(value), abs=0.51 * last)
        elif shown.endswith("%"):
            assert float(shown[:-1]) == pytest.approx(100 * float(value), abs=0.51)
        n_numbers += 1
    assert n_numbers


# --------------------------------------------------------------------------- 4: hostile text


def hostile_pages(out, words):
    """All kinds of pages, with hostile and very long text wherever text enters."""
    tokens = (*HOSTILE, LONG)
    for model in ("m<script>alert(1)</script>", "b\u202e"):
        result = make_result(model=model, tokens=tokens, question=f"{LONG}</h1><script>alert(1)")
        folder = write_report(result, out, words=words)
        index = write_index(
            folder.parent,
            expected={"<b>": LONG},
            outcomes={"<i>": ("failed", "<script>alert(1)</script>" + LONG)},
            words=words,
        )
    both = sorted(p for p in out.iterdir() if p.name != "compare")
    compared = write_comparison(*both, out, words=words)
    return [
        folder / "report.html",
        index,
        index.parent / "claims.html",
        compared / "index.html",
        compared / "demo.html",
    ]


@pytest.mark.parametrize("width", [1280, 400])
def test_4_hostile_and_long_text_runs_nothing_and_breaks_no_page(browser, tmp_path, width):
    context = browser.new_context(viewport={"width": width, "height": 800}, offline=True)
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    for path in hostile_pages(tmp_path, phrases("en")):
        page.goto(path.as_uri())
        assert page.locator("h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
    assert complaints == []
    context.close()


# ------------------------------------------------------------------------------- 8: axe


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """One page of each kind, in each language."""
    made = {}
    for lang in ("en", "ko"):
        out = tmp_path_factory.mktemp(lang)
        words = phrases(lang, {"demo": {"How large is it?": "얼마나 큰가?"}})
        for model, value in (("a", 0.3), ("b", 0.7)):
            folder = write_report(make_result(model=model, value=value), out, words=words)
            outcomes = {"x": ("failed", "no luck"), "y": ("left out", "no such thing")}
            index = write_index(folder.parent, outcomes=outcomes, words=words)
        compared = write_comparison("a", "b", out, words=words)
        made[lang] = {
            "index": index,
            "claims": index.parent / "claims.html",
            "report": folder / "report.html",
            "compare": compared / "index.html",
            "compare study": compared / "demo.html",
        }
    return made


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["index", "claims", "report", "compare", "compare study"])
def test_8_axe_finds_nothing(browser, pages, kind, scheme, lang):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    context = browser.new_context(color_scheme=scheme, offline=True)
    page = context.new_page()
    page.goto(pages[lang][kind].as_uri())
    for folded in page.locator("details").all():
        folded.evaluate("one => one.open = true")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()


@pytest.mark.parametrize("kind", ["index", "claims", "compare", "compare study"])
def test_8_every_link_and_box_can_be_reached_by_keyboard(browser, pages, kind):
    page = browser.new_context(viewport={"width": 400, "height": 800}, offline=True).new_page()
    page.goto(pages["en"][kind].as_uri())
    wanted = page.evaluate(
        "[...document.querySelectorAll('a, summary, [tabindex], input:checked')]"
        ".filter(one => one.checkVisibility()).length"
    )
    for n in range(wanted):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement !== document.body"), n
        page.evaluate("document.activeElement.dataset.reached = 1")
        ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring != "none"
    assert page.locator("[data-reached]").count() == wanted
