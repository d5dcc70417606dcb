import base64
import csv
import dataclasses
import io
import itertools
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from interp.core import InputError, RunError
from interp.reporting import Cell, Sentence, write_index, write_report

from .conftest import HOSTILE, drawing, make_result
from .pages import parse, row_says


def write(tmp_path, **changes):
    return write_report(make_result(**changes), tmp_path)


def read_csv(text):
    return list(csv.reader(io.StringIO(text)))


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ----------------------------------------------------------------------------------- files


def test_a_report_has_all_its_files(tmp_path):
    folder = write(tmp_path)
    assert folder == tmp_path / "tiny" / "demo"
    assert sorted(files(folder)) == [
        "figures/bars.png",
        "figures/bars.svg",
        "findings.json",
        "provenance.json",
        "report.html",
        "tables/huge.csv",
        "tables/many.csv",
        "tables/tokens.csv",
    ]


def test_a_second_run_is_the_same_byte_for_byte_except_for_the_provenance(tmp_path):
    first, second = (
        files(write_report(make_result(), tmp_path / name, duration_s=seconds))
        for name, seconds in (("a", 1.0), ("b", 2.0))
    )
    assert first.pop("provenance.json") != second.pop("provenance.json")
    assert first == second


def test_only_the_provenance_holds_a_time(tmp_path):
    contents = files(write(tmp_path))
    provenance = json.loads(contents.pop("provenance.json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", provenance["written"])
    assert {"command", "commit", "duration_s", "seed", "model"} <= set(provenance)
    year = provenance["written"][:4].encode()
    for name, content in contents.items():
        text = re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", content)
        if not name.endswith(".png"):
            assert year not in text, name


def test_an_interrupted_run_leaves_the_old_report_whole(tmp_path, monkeypatch):
    folder = write(tmp_path)
    before = files(folder)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("interp.reporting.report.svg_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, value=0.5)
    assert files(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["demo"]


def test_names_cannot_lead_out_of_the_folder(tmp_path):
    out = tmp_path / "out"
    folder = write(out, model="../../evil", study="../escape")
    assert folder.resolve().is_relative_to(out.resolve())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["../x", "", "a b", "A", "1a", "x.csv"])
def test_table_and_figure_names_must_be_file_names(tmp_path, name):
    result = make_result()
    tables = result.tables | {name: result.tables["tokens"]}
    with pytest.raises(InputError, match="is no file name"):
        write_report(dataclasses.replace(result, tables=tables), tmp_path)
    part = dataclasses.replace(result.figures[0], name=name)
    with pytest.raises(InputError, match="is no file name"):
        write_report(dataclasses.replace(result, figures=(part,)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_two_figures_of_one_name_are_refused(tmp_path):
    result = make_result()
    with pytest.raises(InputError, match="two figures share a name"):
        write_report(dataclasses.replace(result, figures=result.figures * 2), tmp_path)


def test_findings_hold_numbers_and_headline(tmp_path):
    found = json.loads((write(tmp_path) / "findings.json").read_text())
    assert found["headline"]["text"] == "The first contrast is 0.12."
    assert found["findings"][0]["value"] == 0.123456789
    assert found["findings"][1]["value"] is None
    (figure,) = found["figures"]
    assert figure["question"] == "How large is it?"
    assert figure["tables"] == ["tokens", "many", "huge"]
    # A sentence is stored with its values, so that it can be said in another language.
    assert figure["alt"] == {
        "text": "Three bars; the contrast of “the” is 0.12.",
        "template": "Three bars; the contrast of “{token}” is {first:.2f}.",
        "values": {"token": "the", "first": 0.123456789},
    }


# ------------------------------------------------------------------------------------ page


def test_the_page_needs_no_network_and_forbids_it(tmp_path):
    folder = write(tmp_path)
    text = (folder / "report.html").read_text()
    page = parse(folder / "report.html")
    policy = next(
        meta for meta in page.find_all("meta") if meta.attributes.get("http-equiv")
    ).attributes
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    for element in page.find_all(*{"a", "img", "link", "script", "iframe", "source"}):
        for name in ("src", "href"):
            address = element.attributes.get(name, "")
            assert not re.match(r"\s*(https?:)?//", address), address
    assert not list(page.find_all("script", "link", "iframe"))
    assert "url(" not in text
    assert "@import" not in text


def test_relative_links_lead_to_files(tmp_path):
    folder = write(tmp_path)
    write_index(folder.parent)
    for path in (folder / "report.html", folder.parent / "index.html"):
        page = parse(path)
        ids = {element.attributes.get("id") for element in page.find_all("section")}
        for link in page.find_all("a"):
            address = link.attributes["href"]
            if address.startswith("#"):
                assert address[1:] in ids
            elif not address.startswith("data:"):
                assert (path.parent / address.partition("#")[0]).is_file(), address


def test_the_figure_has_its_seven_parts(tmp_path):
    section = next(
        section
        for section in parse(write(tmp_path) / "report.html").find_all("section")
        if section.attributes["id"] == "bars"
    )
    assert section.find("h2").text == "How large is it?"
    image = section.find("img").attributes
    assert image["alt"] == "Three bars; the contrast of “the” is 0.12."
    assert len(image["alt"]) >= 20
    webp = base64.b64decode(image["src"].removeprefix("data:image/webp;base64,"))
    in_page = Image.open(io.BytesIO(webp)).convert("RGB")
    in_file = Image.open(tmp_path / "tiny/demo/figures/bars.png").convert("RGB")
    assert in_page.tobytes() == in_file.tobytes()
    assert in_page.size == (int(image["width"]), int(image["height"]))
    assert section.find("figcaption").text.startswith("The contrast of the is 0.12 (p < 0.001)")
    headings = [heading.text for heading in section.find_all("h3")]
    assert headings == ["How to read it", "What would change our mind", "Numbers"]
    assert "In the lectures: the scene with the bars." in section.text
    assert "A null of −0.877." in section.text
    facts = dict(
        zip(
            [dt.text for dt in section.find_all("dt")],
            [dd.text for dd in section.find_all("dd")],
            strict=True,
        )
    )
    assert facts == {"model": "tiny", "seed": "3", "null": "none <b>"}


def test_csv_files_links_and_page_tables_hold_the_same_rows(tmp_path):
    folder = write(tmp_path, tokens=HOSTILE)
    page = parse(folder / "report.html")
    linked = {}
    for link in page.find_all("a"):
        if "download" in link.attributes:
            content = link.attributes["href"].removeprefix("data:text/csv;charset=utf-8;base64,")
            linked[link.attributes["download"]] = base64.b64decode(content)
    shown = {
        table.parent.attributes["aria-label"].removeprefix("Table "): table
        for table in page.find_all("table")
        if table.attributes.get("class") != "findings"
    }
    assert sorted(linked) == ["many.csv", "tokens.csv"]
    for name, table in shown.items():
        data = (folder / "tables" / f"{name}.csv").read_bytes()
        assert linked[f"{name}.csv"] == data
        header, *rows = read_csv(data.decode())
        assert [th.text for th in table.find("thead").find_all("th")] == header
        in_page = list(table.find("tbody").find_all("tr"))
        assert len(in_page) == len(rows) and all(map(row_says, in_page, rows))
    assert len(read_csv((folder / "tables/huge.csv").read_text())) == 212


def test_header_cells_say_what_they_head(tmp_path):
    page = parse(write(tmp_path) / "report.html")
    for table in page.find_all("table"):
        assert table.find("caption").text
        assert all(th.attributes["scope"] == "col" for th in table.find("thead").find_all("th"))
        for row in table.find("tbody").find_all("tr"):
            assert [th.attributes["scope"] for th in row.find_all("th")] == ["row"]


def test_numbers_of_sentences_are_the_tables_numbers(tmp_path):
    folder = write(tmp_path)
    tables = {path.stem: read_csv(path.read_text()) for path in (folder / "tables").iterdir()}
    n_checked = 0
    for data in parse(folder / "report.html").find_all("data"):
        cell = data.attributes.get("data-cell")
        if cell is None:
            continue
        table, row, column = cell.split("/")
        header, *rows = tables[table]
        value = rows[int(row)][header.index(column)]
        assert data.attributes["value"] == value
        shown = data.text.replace("−", "-")
        if shown == "< 0.001":
            assert float(value) < 0.001
        elif re.fullmatch(r"[-\d.e]+", shown):
            decimals = len(shown.partition(".")[2])
            assert float(shown) == pytest.approx(float(value), abs=0.51 * 10**-decimals)
        else:
            assert shown == value
        n_checked += 1
    assert n_checked == 6


def test_headings_do_not_skip_a_level(tmp_path):
    folder = write(tmp_path)
    write_index(folder.parent)
    for path in (folder / "report.html", folder.parent / "index.html"):
        page = parse(path)
        levels = [int(h.tag[1]) for h in page.find_all("h1", "h2", "h3", "h4")]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
        assert page.find("html").attributes["lang"] == "en"
        assert page.find("title").text.strip()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrast_is_at_least_4_5(scheme):
    """WCAG 2.2, of every text colour on every background it stands on."""
    style = Path(__file__).parents[2] / "interp/reporting/templates/style.css"
    blocks = re.findall(r":root \{([^}]*)\}", style.read_text())
    colours = dict(
        re.findall(r"--(\w+): (#\w{6})", blocks[0] + (blocks[1] if scheme == "dark" else ""))
    )

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for text in ("ink", "muted", "link", "good", "bad", "open"):
        for paper in ("paper", "panel"):
            dark, light = sorted(luminance(colours[name]) for name in (text, paper))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, paper)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_never_markup(tmp_path, text):
    """The page has the same elements, whatever stands in names, tokens and statements."""
    harmless, hostile = (
        write(tmp_path / name, tokens=(word, "king"), model=f"m{word}", question=word)
        for name, word in (("a", "harmless"), ("b", text))
    )

    def elements(folder):
        return [
            (element.tag, sorted(element.attributes))
            for element in parse(folder / "report.html").find_all(*TAGS)
        ]

    assert elements(harmless) == elements(hostile)
    write_index(hostile.parent)
    for path in (hostile / "report.html", hostile.parent / "index.html"):
        raw = path.read_bytes().decode("utf-8")
        assert not re.search("[\x00\u2028\u202e\ud83d]", raw)
        assert "alert(1)</script>" not in raw
        assert "49" not in parse(path).find("h1").text
    json.loads((hostile / "findings.json").read_bytes())


TAGS = (
    "html head body meta title style main header nav section figure img a p h1 h2 h3 ol li table "
)
TAGS = (TAGS + "caption thead tbody tr th td details summary dl dt dd data code div span").split()


def test_an_uninformative_figure_says_so(tmp_path):
    part = dataclasses.replace(make_result().figures[0], uninformative="Random weights do as well.")
    folder = write(tmp_path, figures=(part,))
    write_index(folder.parent)
    for path in (folder / "report.html", folder.parent / "index.html"):
        text = parse(path).text
        assert "Uninformative" in text
        assert "Random weights do as well." in text


def test_a_sentence_without_its_cell_writes_nothing(tmp_path):
    with pytest.raises(InputError, match="reads table 'nowhere'"):
        write(tmp_path, headline=Sentence("{x}", x=Cell("nowhere", 0, "x")))
    assert not list(tmp_path.rglob("report.html"))


def test_the_style_of_other_figures_stays_as_it_was(tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    write(tmp_path)
    assert dict(mpl.rcParams) == before
    assert drawing().dpi == mpl.rcParams["figure.dpi"]


# ----------------------------------------------------------------------------------- index


def test_the_index_joins_all_studies(tmp_path):
    write(tmp_path, study="one")
    folder = write(tmp_path, study="two", value=0.9)
    index = write_index(folder.parent)
    page = parse(index)
    links = [link.attributes["href"] for link in page.find_all("a")]
    assert {"one/report.html", "two/report.html", "claims.csv"} <= set(links)
    header, *rows = read_csv((folder.parent / "claims.csv").read_text())
    assert header[:5] == ["claim", "study", "verdict", "statement", "value"]
    assert [row[:3] for row in rows] == [
        ["9", "one", "undecided"],
        ["9", "two", "undecided"],
        ["103", "one", "holds"],
        ["103", "two", "holds"],
    ]
    assert [row[4] for row in rows] == ["", "", "0.123457", "0.9"]
    assert "The first contrast is 0.90." in page.text
    assert index.read_bytes() == write_index(folder.parent).read_bytes()


def test_an_index_without_studies_is_an_error(tmp_path):
    with pytest.raises(RunError, match="holds no report"):
        write_index(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"findings": [{"claim": 1}]}', '{"study": "x"}'])
def test_damaged_findings_are_named(tmp_path, content):
    folder = write(tmp_path)
    (folder / "findings.json").write_text(content)
    with pytest.raises(RunError, match=r"findings.json cannot be read as findings"):
        write_index(folder.parent)
