"""The report in Debian's Chromium, from disk, without a network."""

import pytest

from interp.reporting import write_index, write_report

from .conftest import HOSTILE, make_result


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_pages_open_from_disk_without_a_complaint(browser, tmp_path, scheme, width):
    folder = write_report(make_result(tokens=HOSTILE, model="m<script>alert(1)</script>"), tmp_path)
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    complaints, requests, dialogs = [], [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    for path in (folder / "report.html", write_index(folder.parent)):
        page.goto(path.as_uri())
        assert page.locator("h1").is_visible()
        # Wide tables and pictures scroll in their own boxes, never the page.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(
            "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
        )
    assert not complaints
    assert not dialogs
    assert all(url.startswith(("file:", "data:")) for url in requests)
    context.close()


def test_scroll_boxes_links_and_folded_tables_can_be_reached_by_keyboard(browser, tmp_path):
    folder = write_report(make_result(), tmp_path)
    page = browser.new_context(viewport={"width": 400, "height": 800}, offline=True).new_page()
    page.goto((folder / "report.html").as_uri())
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        # Tab comes round to the first one again; what is open stays open.
        if page.evaluate("document.activeElement.parentElement.open === false"):
            page.keyboard.press("Enter")
    assert "Picture: How large is it?" in reached
    assert {"Table tokens", "Table many", "Findings"} <= reached
    assert page.locator("details[open]").count() == 2
