"""A page carries only the viewer's parts that its figures need, and they suffice."""

import dataclasses

import pytest

from interp.reporting import write_report
from interp.reporting.packing import _OF_KIND, viewer

from . import view_samples
from .conftest import make_result


@pytest.mark.parametrize("kind", _OF_KIND)
def test_one_kind_of_view_works_alone(browser, tmp_path, kind):
    view = getattr(view_samples, kind)()
    assert view.kind == kind
    part = dataclasses.replace(make_result().figures[0], view=view)
    folder = write_report(make_result(figures=(part,)), tmp_path)
    page = browser.new_context(offline=True).new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((folder / "report.html").as_uri())
    page.locator("figure div.view").wait_for()
    assert (
        page.locator("figure div.view").inner_text().strip() or page.locator("div.view svg").count()
    )
    assert complaints == []


@pytest.mark.parametrize("kind", _OF_KIND)
def test_one_kind_takes_about_half_of_the_script(kind):
    assert len(viewer("en", frozenset([kind])).script) < 0.6 * len(viewer("en").script)
