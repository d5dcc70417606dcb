import json
import math

import numpy as np
import pandas as pd
import pytest

from interp.core import InputError
from interp.reporting import Cell, Finding, Sentence, Table

TABLES = {
    "t": Table(
        pd.DataFrame({"name": ["<b>L0H1</b>", "L2H3"], "x": [0.98765, -0.001], "n": [7, 11]}),
        "rows",
    )
}


def test_a_sentence_takes_its_numbers_from_the_table():
    sentence = Sentence(
        "{who} has {x:.2f} of {n}.",
        who=Cell("t", 1, "name"),
        x=("t", 0, "x"),
        n=("t", 0, "n"),
    )
    assert sentence.text(TABLES) == "L2H3 has 0.99 of 7."
    assert sentence.html(TABLES) == (
        '<data value="L2H3" data-cell="t/1/name">L2H3</data> has '
        '<data value="0.98765" data-cell="t/0/x">0.99</data> of '
        '<data value="7" data-cell="t/0/n">7</data>.'
    )


def test_table_text_is_escaped_in_html_and_braces_of_the_template_are_text():
    sentence = Sentence("{{{who}}} < 1", who=Cell("t", 0, "name"))
    assert sentence.text(TABLES) == "{<b>L0H1</b>} < 1"
    html = sentence.html(TABLES)
    assert "<b>" not in html
    assert "&lt;b&gt;L0H1&lt;/b&gt;" in html
    assert html.endswith("} &lt; 1")


@pytest.mark.parametrize(
    "value, spec, shown",
    [
        (0.0004, "p", "< 0.001"),
        (0.0126, "p", "= 0.013"),
        (-0.25, ".1f", "−0.2"),
        (-0.001, ".2f", "0.00"),
        (2.5e-7, ".1e", "2.5e−07"),
        (12, "", "12"),
    ],
)
def test_number_formats(value, spec, shown):
    tables = {"t": Table(pd.DataFrame({"x": [value]}), "")}
    assert Sentence(f"{{x:{spec}}}", x=("t", 0, "x")).text(tables) == shown


@pytest.mark.parametrize(
    "cell, complaint",
    [
        (("u", 0, "x"), "reads table 'u'; there are: t"),
        (("t", 2, "x"), "reads row 2, column 'x' of table 't', which has 2 rows"),
        (("t", -1, "x"), "reads row -1"),
        (("t", 0, "y"), "columns name, x, n"),
    ],
)
def test_a_cell_that_does_not_exist_is_named(cell, complaint):
    with pytest.raises(InputError, match=complaint):
        Sentence("{x}", x=cell).text(TABLES)


def test_fields_and_cells_must_agree():
    with pytest.raises(InputError, match=r"has fields \['a'\], but cells came for \['b'\]"):
        Sentence("{a}", b=("t", 0, "x"))


def test_findings_are_json_with_plain_numbers():
    finding = Finding(
        61, "holds", "so", value=np.float32(0.5), ci_low=np.float64(0.25), n=np.int64(7)
    )
    assert json.loads(json.dumps(finding.to_dict()))["value"] == 0.5
    assert isinstance(finding.n, int)


@pytest.mark.parametrize("number", [math.nan, math.inf, np.float64("nan")])
def test_findings_hold_no_nan(number):
    with pytest.raises(InputError, match="a number that does not exist is None"):
        Finding(61, "holds", "so", value=number)


def test_unknown_verdicts_are_refused():
    with pytest.raises(InputError, match="'true' is none of holds, fails"):
        Finding(61, "true", "so")
