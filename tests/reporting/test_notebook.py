"""Results show themselves in notebooks, without a widget, a server or a call that prints."""

import ast
import base64
import inspect
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import interp
from interp import plots
from interp.core import InputError

from .conftest import HOSTILE, make_result
from .pages import parse

ROOT = Path(interp.__file__).parents[1]


class Frame(HTMLParser):
    """The frame's attributes, as a browser reads them."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def framed(bundle, tmp_path):
    ((tag, attributes),) = Frame(bundle["text/html"]).tags
    assert tag == "iframe"
    page = tmp_path / "frame.html"
    page.write_text(attributes["srcdoc"], encoding="utf-8")
    return parse(page), attributes


def test_a_result_is_html_picture_and_text(result, tmp_path):
    bundle = result._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["text/plain"].splitlines() == [
        "demo on tiny: The first contrast is 0.12.",
        "claim  verdict    value  unit",
        "103    holds      0.123  probability",
        "9      undecided  –",
    ]
    page, attributes = framed(bundle, tmp_path)
    assert attributes["title"] == "What does a demo show?"
    assert page.find("h1").text == "What does a demo show?"
    assert page.find("figcaption").text.startswith("The contrast of the is 0.12")
    assert result._repr_html_() == bundle["text/html"]
    json.dumps(bundle)  # messages to a notebook are JSON


def test_the_frame_needs_no_other_file(result, tmp_path):
    page, _ = framed(result._repr_mimebundle_(), tmp_path)
    for element in page.find_all("a", "img", "link", "script"):
        for name in ("src", "href"):
            address = element.attributes.get(name, "#")
            assert address.startswith(("#", "data:")), address
    assert 'result.table("huge")' in page.text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(tmp_path, text):
    hostile = make_result(tokens=(text, "king"), model=f"m{text}", question=f"q{text}")
    page, _ = framed(hostile._repr_mimebundle_(), tmp_path)
    scripts = [script.text for script in page.find_all("script")]
    assert not any("alert(1)" in script for script in scripts)
    assert "\x00" not in repr(hostile)
    repr(hostile).encode("utf-8")


def test_one_figure_shows_itself(result, tmp_path):
    figure = result.figure("bars")
    assert figure.picture is result.figures[0].picture
    assert repr(figure).splitlines()[0] == "How large is it?"
    page, _ = framed(figure._repr_mimebundle_(), tmp_path)
    assert page.find("h1").text == "How large is it?"
    assert len(list(page.find_all("img"))) == 1
    assert "Nothing was measured." not in page.text  # the other claim's finding
    with pytest.raises(InputError, match="no figure is called 'bar'; there are: bars"):
        result.figure("bar")


def test_tables_are_frames_and_their_own(result):
    frame = result.table("tokens")
    frame.loc[0, "token"] = "changed"
    assert result.table("tokens").loc[0, "token"] == "the"
    with pytest.raises(InputError, match="no table is called 'x'; there are: tokens, many, huge"):
        result.table("x")


def test_save_writes_the_report(result, tmp_path):
    assert (result.save(tmp_path) / "report.html").is_file()


def test_jupyter_takes_the_bundle(result):
    formatters = pytest.importorskip("IPython.core.formatters")
    data, _ = formatters.DisplayFormatter().format(result)
    assert data["text/html"].startswith("<iframe")


def test_links_within_the_frame_stay_in_it(browser, result, tmp_path):
    notebook = tmp_path / "notebook.html"
    shown = result._repr_html_()
    notebook.write_text(f"<!DOCTYPE html><title>n</title><h1>notebook</h1>{shown}", "utf-8")
    page = browser.new_context(offline=True).new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(notebook.as_uri())
    frame = page.frame_locator("iframe")
    assert frame.locator("img").evaluate("image => image.naturalWidth") > 0
    before = frame.locator("html").evaluate("page => page.scrollTop")
    frame.locator("nav a").last.click()
    assert frame.locator("h1").inner_text() == "What does a demo show?"
    assert frame.locator("html").evaluate("page => page.scrollTop") > before
    assert not complaints


# ------------------------------------------------------------------------------- manners


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_nothing_displays_or_shows_by_itself():
    files = [*(ROOT / "interp").rglob("*.py"), *(ROOT / "studies").rglob("*.py")]
    assert len(files) > 50
    for path in files:
        for name in calls(path):
            assert name.split(".")[-1] not in ("display", "show_figure"), f"{path.name}: {name}"
            assert not name.endswith(("plt.show", "pyplot.show", ".set_theme")), path
            assert "plt." not in name, f"{path.name}: pyplot keeps figures alive"


def figure_makers():
    for name in plots.__all__:
        made = getattr(plots, name)
        if inspect.isfunction(made) and inspect.signature(made).return_annotation is Figure:
            yield made


# These draw several axes, so there is no one to draw on.
SEVERAL_AXES = ("subplots", "subplot_mosaic", "subfigures", "add_gridspec")


@pytest.mark.parametrize("made", list(figure_makers()), ids=lambda made: made.__name__)
def test_figures_of_one_axes_can_be_drawn_on_given_ones(made):
    if "ax" in inspect.signature(made).parameters:
        assert inspect.signature(made).parameters["ax"].default is None
        return
    module = inspect.getsource(inspect.getmodule(made))
    source = inspect.getsource(made)
    helpers = [name for name in SEVERAL_AXES if f".{name}(" in module]
    assert helpers, f"{made.__name__} draws on one axes and takes no ax="
    assert "axes_of(" not in source, f"{made.__name__} takes no ax="
