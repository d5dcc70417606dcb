import os
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from interp.reporting import Cell, FigurePart, Finding, Sentence, StudyResult, Table

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--",
    "&lt;b&gt;",
    "'\" onload=alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "a\u2028b",
    "\x00nul",
    "\ud83d",
    "\u202edesrever",
    "$x^2$ $",
    "=1+1",
    'comma, "quote"\nline',
    "한국어 ·",
)


def drawing(text="a head"):
    figure = Figure(figsize=(3, 2))
    axes = figure.add_subplot()
    axes.bar([0, 1, 2], [3, 5, 7])
    axes.set_title(text, parse_math=False)
    return figure


def make_result(model="tiny", study="demo", tokens=("the", "king"), value=0.123456789, **changes):
    frame = pd.DataFrame(
        {
            "token": pd.Series(tokens, dtype=object),  # a string column holds no surrogates
            "layer": range(len(tokens)),
            "contrast": [value - number for number in range(len(tokens))],
            "confirmed": [number % 2 == 0 for number in range(len(tokens))],
            "missing": [None] * len(tokens),
            "p": [0.0002] * len(tokens),
        }
    )
    tables = {
        "tokens": Table(frame, "One row per token"),
        "many": Table(
            pd.DataFrame({"n": range(29), "square": [n * n / 7 for n in range(29)]}), "Many"
        ),
        "huge": Table(pd.DataFrame({"n": range(211)}), "Too long for a page", in_page=False),
    }
    first = Cell("tokens", 0, "contrast")
    token = Cell("tokens", 0, "token")
    part = FigurePart(
        name="bars",
        question="How large is it?",
        picture=drawing(),
        alt=Sentence(
            "Three bars; the contrast of “{token}” is {first:.2f}.", token=token, first=first
        ),
        answer=Sentence(
            "The contrast of {token} is {first:.2f} (p {p:p}), that of the square {square:.1f}.",
            token=token,
            first=first,
            p=Cell("tokens", 0, "p"),
            square=Cell("many", 28, "square"),
        ),
        tables=("tokens", "many", "huge"),
        how_to_read="Higher is more.",
        change_our_mind=Sentence("A null of {null:.3f}.", null=Cell("tokens", 1, "contrast")),
        scene="the scene with the bars",
        facts={"null": "none <b>"},
    )
    finding = Finding(
        103,
        "holds",
        f"Said of {tokens[0]}.",
        value=value,
        unit="probability",
        ci_low=0.1,
        ci_high=0.2,
        null=0.0,
        null_name="chance",
        p=0.01,
        q=0.02,
        n=17,
        figure="bars",
    )
    fields = {
        "study": study,
        "question": "What does a demo show?",
        "model": model,
        "headline": Sentence("The first contrast is {first:.2f}.", first=first),
        "tables": tables,
        "figures": (part,),
        "findings": (finding, Finding(9, "undecided", "Nothing was measured.")),
        "provenance": {"study": study, "model": model, "seed": 3, "options": {"limit": None}},
    }
    return StudyResult(**(fields | changes))


@pytest.fixture
def result():
    return make_result()


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no browser at {CHROMIUM}: apt-get install chromium; in CI it must run")
        pytest.skip(f"no browser at {CHROMIUM}")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield one
        one.close()
