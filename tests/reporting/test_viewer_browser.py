"""The explorable figures in Debian's Chromium, from disk, without a network."""

import contextlib
import io
import itertools
import os
import re
import time
from pathlib import Path
from urllib.parse import parse_qs

import matplotlib as mpl
import numpy as np
import pytest

from interp.reporting import views, write_report
from interp.reporting.packing import viewer

from . import view_samples as samples
from .conftest import HOSTILE

CHROMIUM = Path("/usr/bin/chromium")
READY = "html[data-viewer=ready]"
MINUS = "−"


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


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page with all views."""
    made = {name: make() for name, make in samples.ALL.items()}
    out = tmp_path_factory.mktemp("views")
    return (write_report(samples.report_of(made), out) / "report.html").as_uri()


@contextlib.contextmanager
def watched(browser):
    """Opens pages whose complaints, requests and dialogs are all empty in the end."""
    contexts, complaints, requests = [], [], []

    def opened(address, width=1280, scheme="light", ready=True, **options):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        if ready:
            page.wait_for_selector(READY)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints
    assert all(url.startswith(("file:", "data:")) for url in requests)


@pytest.fixture
def open_page(browser):
    with watched(browser) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(browser, report):
    with watched(browser) as opened:
        yield opened(report), itertools.count()


@pytest.fixture
def page(shared):
    """One page for many tests, each of which finds it without a selection."""
    page, count = shared
    nothing = ";".join(f"{name}?no={next(count)}" for name in samples.ALL)
    page.mouse.move(0, 0)
    page.evaluate(
        "(wanted) => new Promise((done) => { addEventListener('hashchange', done, "
        "{ once: true }); location.hash = wanted; })",
        nothing,
    )
    return page


def status(page, name):
    return page.locator(f"#{name} .status").inner_text()


def box_of(part):
    part.scroll_into_view_if_needed()
    return part.bounding_box()


def number(text):
    return float(text.replace(MINUS, "-").replace("+", "").replace(",", ""))


def selection(page, name):
    """What the address says of a figure."""
    pieces = page.evaluate("location.hash").removeprefix("#").split(";")
    found = dict(piece.partition("?")[::2] for piece in pieces)
    return {key: values[0] for key, values in parse_qs(found.get(name, "")).items()}


# -------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_all_views_open_without_a_complaint_and_within_the_page(open_page, report, scheme, width):
    page = open_page(report, width, scheme)
    assert page.locator(".viewer:visible").count() == len(samples.ALL)
    assert page.locator(".picture:visible").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in samples.ALL:
        assert status(page, name)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_with_all_views(open_page, report, scheme):
    import axe_playwright_python.sync_playwright as axe

    page = open_page(report, scheme=scheme)
    page.locator("#attention .tile").nth(7).click()
    page.locator("#grid td").nth(4).click()
    page.locator("#line .point").nth(2).focus()
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_without_javascript_pictures_and_tables_are_there(open_page, report):
    page = open_page(report, ready=False, java_script_enabled=False)
    assert page.locator(".picture img:visible").count() == len(samples.ALL)
    assert page.locator(".viewer, .viewer-tools").count() == 0
    assert page.locator("#lens table").first.is_visible()


def test_the_static_picture_can_be_had_back_and_is_what_is_printed(open_page, report):
    page = open_page(report)
    page.locator("#plane").get_by_role("button", name="static picture").click()
    assert page.locator("#plane .picture").is_visible()
    assert not page.locator("#plane .viewer").is_visible()
    page.locator("#plane").get_by_role("button", name="explore").click()
    assert not page.locator("#plane .picture").is_visible()
    page.emulate_media(media="print")
    assert page.locator(".picture:visible").count() == len(samples.ALL)
    assert page.locator(".viewer:visible").count() == 0


def test_nothing_moves_by_itself(open_page, report):
    page = open_page(report, reduced_motion="reduce")
    assert page.evaluate("document.getAnimations().length") == 0
    style = str(viewer("en").style)
    assert "transition" not in style
    assert "animation" not in style


def test_controls_are_large_enough_to_hit(open_page, report):
    page = open_page(report)
    sizes = page.evaluate(
        """() => [...document.querySelectorAll(`.viewer button, .viewer-tools button,
        .viewer input:not([type=checkbox]), .tile, .chip, .pins label, .cells td`)].map((el) => {
          const box = el.getBoundingClientRect();
          return [el.textContent || el.className, box.width, box.height];
        })"""
    )
    assert len(sizes) > 100
    assert not [size for size in sizes if size[1] and min(size[1:]) < 24]


def test_a_korean_page_has_korean_words(open_page, tmp_path):
    from interp.reporting import phrases

    made = {name: make() for name, make in samples.ALL.items()}
    folder = write_report(samples.report_of(made), tmp_path, words=phrases("ko"))
    page = open_page((folder / "report.html").as_uri())
    assert page.locator("#attention").get_by_role("button", name="정적 그림").is_visible()
    shown = "\n".join(page.locator(".viewer").all_inner_texts())
    assert not re.search(r"\{\d\}|undefined|NaN|locked|unlocks", shown)


def test_a_page_inside_another_works_and_shares_nothing(open_page, report, tmp_path):
    """As notebooks show it: no address of its own, twice in one page."""
    text = Path(report.removeprefix("file://")).read_text()
    outer = tmp_path / "outer.html"
    escaped = text.replace("&", "&amp;").replace('"', "&quot;")
    frame = f'<iframe width="900" height="700" srcdoc="{escaped}"></iframe>'
    outer.write_text(f'<!DOCTYPE html><meta charset="utf-8">{frame * 2}')
    page = open_page(outer.as_uri(), ready=False)
    for frame in page.frames[1:]:
        frame.wait_for_selector(READY)
        frame.locator("#attention .tile").nth(3).click()
        assert "L0H3" in frame.locator("#attention .status").inner_text()
        assert frame.get_by_role("button", name="copy link").count() == 0
    assert len(page.frames) == 3


@pytest.mark.parametrize("name", [*samples.ALL])
def test_a_page_with_one_view_has_all_that_it_needs(open_page, tmp_path, name):
    """Pages carry only the parts of the viewer for their own figures."""
    folder = write_report(samples.report_of({name: samples.ALL[name]()}), tmp_path)
    page = open_page((folder / "report.html").as_uri())
    page.locator(f"#{name} [tabindex='0']:is([data-i], .matrix)").first.press("Enter")
    assert "locked" in status(page, name)


# ----------------------------------------------------------------------------- keyboard


def tab_to(page, selector, most=60):
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"Tab never reaches {selector}")


def test_keys_choose_a_head_and_a_reload_keeps_it(open_page, report):
    page = open_page(report)
    tab_to(page, ".tile")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "L1H1"
    assert selection(page, "attention") == {"head": "L1H1"}
    line = page.locator("#attention .status")
    assert line.get_attribute("role") == "status"
    assert "L1H1 locked" in line.inner_text()
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"
    page.reload()
    page.wait_for_selector(READY)
    assert "L1H1 locked" in status(page, "attention")
    assert page.locator(".tile.locked").get_attribute("aria-label") == "L1H1"
    page.locator(".tile.locked").focus()
    page.keyboard.press("Escape")
    assert "locked" not in status(page, "attention")
    assert selection(page, "attention") == {}


def test_home_end_and_one_stop_per_grid(open_page, report):
    page = open_page(report)
    tab_to(page, ".tile")
    page.keyboard.press("End")
    last = f"L{samples.N_LAYERS - 1}H{samples.N_HEADS - 1}, first token"
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == last
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "L0H0"
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.matches('.tile')")
    for name in samples.ALL:
        grids = page.locator(f"#{name} [role=grid], #{name} [role=listbox]")
        for grid in grids.all():
            assert grid.locator("[tabindex='0']").count() == 1


def test_every_view_can_be_locked_by_keyboard_and_comes_back_from_its_address(open_page, report):
    page = open_page(report)
    items = {
        "attention": ".chip",
        "lens": "td[role=gridcell]",
        "scores": ".matrix",
        "temperature": ".drawn tbody tr",
        "line": ".point",
        "plane": ".point",
        "areas": ".area",
        "grid": "td[role=gridcell]",
        "flow": ".node",
    }
    assert items.keys() == samples.ALL.keys()
    said = {}
    for name, selector in items.items():
        page.locator(f"#{name} {selector}[tabindex='0']").focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        assert selection(page, name), name
        said[name] = status(page, name)
        assert "locked" in said[name]
    again = open_page(page.url)
    assert {name: status(again, name) for name in items} == said
    for name, selector in items.items():
        again.locator(f"#{name} {selector}[tabindex='0']").focus()
        again.keyboard.press("Escape")
        assert "locked" not in status(again, name), name
        assert not selection(again, name)


def test_hover_previews_and_a_lock_holds_against_it(open_page, report):
    page = open_page(report)
    tiles = page.locator(".tile")
    tiles.nth(2).hover()
    assert status(page, "attention").startswith("L0H2")
    tiles.nth(8).click()
    tiles.nth(3).hover()
    assert status(page, "attention").startswith("L1H3")
    tiles.nth(8).click()
    tiles.nth(3).hover()
    assert status(page, "attention").startswith("L0H3")


def test_a_changed_address_changes_the_page(open_page, report):
    page = open_page(report)
    page.evaluate("location.hash = '#grid?cell=2.3'")
    page.wait_for_selector("#grid td.locked")
    assert "layer 2" in status(page, "grid")


@pytest.mark.parametrize(
    "wrong",
    ["grid?cell=99.1", "attention?head=L9H9&pair=a.b", "%", "nowhere?x=1;;?", "lens?pins=9"],
)
def test_addresses_that_name_nothing_are_harmless(open_page, report, wrong):
    page = open_page(f"{report}#{wrong}")
    assert page.locator("[aria-selected=true]").count() == 0


@pytest.mark.parametrize("name", ["attention", "scores", "lens", "line", "areas", "flow"])
def test_what_is_explored_can_be_kept_as_png(page, name):
    with page.expect_download() as waiting:
        page.locator(f"#{name}").get_by_role("button", name="PNG of this view").click()
    assert waiting.value.suggested_filename == f"{name}.png"
    image = mpl.image.imread(io.BytesIO(Path(waiting.value.path()).read_bytes()))
    assert min(image.shape[:2]) > 200
    assert len(np.unique(image[::9, ::9].reshape(-1, image.shape[2]), axis=0)) > 10


def test_the_link_to_a_selection_is_copied_or_shown(page):
    page.locator("#grid td").nth(3).click()
    page.locator("#grid").get_by_role("button", name="copy link").click()
    # The page's policy forbids what wait_for_function does when it has to wait.
    status = page.locator("#grid .status").filter(has_text=re.compile("copied|#grid"))
    status.wait_for(timeout=10_000)


# ------------------------------------------------------------------------------ numbers


def test_attention_shows_the_weights_given(page):
    states, n = samples.attention_arrays(), len(samples.TOKENS)
    page.locator(".tile").nth(1 * samples.N_HEADS + 2).click()
    canvas = page.locator("#attention .matrix canvas")
    for state, digits in (
        ("weight", 4),
        ("raw score", 3),
        ("masked score", 3),
        ("norm-weighted", 4),
    ):
        page.locator("#attention").get_by_role("button", name=state, exact=True).click()
        box = box_of(canvas)
        for q, k in ((7, 3), (4, 4), (8, 0)):
            page.mouse.move(
                box["x"] + (k + 0.5) * box["width"] / n, box["y"] + (q + 0.5) * box["height"] / n
            )
            line = status(page, "attention")
            assert f"(position {q}) to" in line
            assert f"(position {k})" in line
            shown = number(re.search(rf"{state} (\S+)", line)[1].rstrip(";"))
            assert shown == pytest.approx(states[state][1, 2, q, k], abs=0.51 * 10**-digits)
    page.locator("#attention").get_by_role("button", name="weight", exact=True).click()
    page.locator("#attention .chip").nth(6).click()
    rows = page.locator("#attention .side tbody tr")
    row = states["weight"][1, 2, 6, :7]
    order = np.argsort(-row, kind="stable")
    for rank in range(6):
        assert rows.nth(rank).locator("td").nth(0).inner_text() == str(order[rank])
        assert rows.nth(rank).locator("td").nth(1).inner_text() == f"{row[order[rank]]:.4f}"
    assert "row sum 1.000" in status(page, "attention")


def test_attention_pixels_have_the_colours_of_the_weights(page):
    """Viridis as matplotlib has it, up to the steps between the viewer's anchors."""
    weight = samples.attention_arrays()["weight"][0, 1]
    pixels = page.evaluate(
        """() => { const c = document.querySelectorAll('.tile canvas')[1];
        return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"""
    )
    pixels = np.array(pixels).reshape(len(weight), len(weight), 4)[..., :3]
    for q, k in np.ndindex(*weight.shape):
        expected = (
            [217] * 3 if k > q else np.array(mpl.colormaps["viridis"](weight[q, k])[:3]) * 255
        )
        assert np.abs(pixels[q, k] - expected).max() <= 6


def test_the_video_has_queries_in_columns(page):
    page.locator("#attention").get_by_role("button", name="as in the video").click()
    labels = page.locator("#attention .matrix text.title").all_text_contents()
    assert labels == ["key ↓", "query →"]
    box, n = box_of(page.locator("#attention .matrix canvas")), len(samples.TOKENS)
    page.mouse.move(box["x"] + 7.5 * box["width"] / n, box["y"] + 2.5 * box["height"] / n)
    assert re.search(r"\(position 7\) to .*\(position 2\)", status(page, "attention"))


def test_heads_in_order_of_their_roles(page):
    page.locator("#attention").get_by_role("button", name="by role").click()
    names = page.locator(".tile").evaluate_all("all => all.map((el) => el.ariaLabel)")
    assert names[:4] == [
        "L2H4, first token",
        "L1H2, induction",
        "L0H1, previous token",
        "L2H0, previous token",
    ]
    assert len(names) == samples.N_LAYERS * samples.N_HEADS


def test_lens_shows_its_values_and_lines(page):
    values, pinned = samples.lens_arrays()
    cells = page.locator("#lens td[role=gridcell]")
    assert cells.count() == values["probability"].size
    for row, column in ((0, 0), (3, 5), (4, 8)):
        cell = cells.nth(row * len(samples.TOKENS) + column)
        assert float(cell.get_attribute("data-value")) == pytest.approx(
            values["probability"][row, column], rel=1e-6
        )
        cell.hover()
        assert f"probability {values['probability'][row, column]:.3f}" in status(page, "lens")
        assert f"entropy in nats {values['entropy_nats'][row, column]:.3f}" in status(page, "lens")
        drawn = page.locator("#lens .chart .mark").evaluate_all(
            "all => all.map((el) => +el.dataset.value)"
        )
        lines = [own["probability"][:, column] for own in pinned.values()]
        np.testing.assert_allclose(drawn, np.concatenate(lines), rtol=1e-6)
    page.locator("#lens .pins input").nth(1).uncheck()
    assert page.locator("#lens .chart .line").count() == len(pinned) - 1
    assert selection(page, "lens")["pins"] == "0.2"
    page.locator("#lens").get_by_role("button", name="rank").click()
    drawn = page.locator("#lens .chart .mark").evaluate_all(
        "all => all.map((el) => +el.dataset.value)"
    )
    ranks = list(pinned.values())
    np.testing.assert_array_equal(drawn, [*ranks[0]["rank"][:, 8], *ranks[2]["rank"][:, 8]])


def test_terms_of_a_score_sum_to_it(page):
    terms, n = samples.score_arrays(), len(samples.TOKENS)
    box = box_of(page.locator("#scores .matrix canvas"))
    page.mouse.click(box["x"] + 2.5 * box["width"] / n, box["y"] + 5.5 * box["height"] / n)
    assert selection(page, "scores") == {"pair": "5.2"}
    rows = page.locator("#scores .bars tr").evaluate_all(
        "all => all.map((tr) => [tr.children[0].textContent, tr.children[2].textContent])"
    )
    own = terms[:, 5, 2]
    order = np.argsort(-np.abs(own))
    expected = [(samples.SOURCES[i], own[i]) for i in order] + [("score, the sum", own.sum())]
    assert [name for name, _ in rows] == [name for name, _ in expected]
    for (_, shown), (_, value) in zip(rows, expected, strict=True):
        assert shown == f"{value:+.3f}".replace("-", MINUS)


def expected_draw(logits, temperature, k, p):
    """Logits to probabilities in NumPy, in the order of the vocabulary."""
    logits = logits.astype(np.float64)
    if temperature == 0:
        best = logits == logits.max()
        return best / best.sum()
    kept = np.zeros(len(logits), bool)
    order = np.argsort(-logits, kind="stable")
    kept[order[: k or None]] = True
    weights = np.where(kept, np.exp((logits - logits.max()) / temperature), 0)
    probabilities = weights / weights.sum()
    mass_before = np.cumsum(probabilities[order]) - probabilities[order]
    kept[order[(mass_before >= p - 1e-9) & (p < 1)]] = False
    probabilities = np.where(kept, probabilities, 0)
    return probabilities / probabilities.sum()


@pytest.mark.parametrize(
    ("temperature", "k", "p"),
    [
        (1, 0, 1),
        (0.7, 0, 1),
        (2.5, 5, 1),
        (1.3, 0, 0.8),
        (0.9, 40, 0.6),
        (0, 0, 1),
        (0.05, 0, 1),
        (100, 0, 0.5),
    ],
)
def test_temperature_and_cuts_give_the_probabilities_of_numpy(page, temperature, k, p):
    inputs = page.locator("#temperature input[type=number]")
    for at, value in enumerate((temperature, k, p)):
        inputs.nth(at).fill(str(value))
        inputs.nth(at).press("Tab")
    logits = samples.logits()
    expected = expected_draw(logits, temperature, k, p)
    order = np.argsort(-logits, kind="stable")
    rows = page.locator("#temperature .drawn tbody tr")
    for rank, token in enumerate(order[:15]):
        cells = rows.nth(rank).locator("td")
        name = rows.nth(rank).locator("th").inner_text()
        assert name == f"·word{token}"
        assert cells.nth(1).inner_text() == f"{logits[token]:+.3f}".replace("-", MINUS)
        shown = float(cells.nth(4).get_attribute("data-value"))
        assert shown == pytest.approx(expected[token], rel=1e-9, abs=1e-300)
        assert (cells.nth(3).inner_text() == "kept") == (expected[token] > 0)
    positive = expected[expected > 0]
    entropy = -(positive * np.log(positive)).sum()
    facts = page.locator("#temperature .facts dd").evaluate_all(
        "all => all.map((x) => +x.dataset.value)"
    )
    assert facts[0] == pytest.approx(entropy, abs=1e-9)
    assert facts[1] == pytest.approx(np.exp(entropy), rel=1e-9)
    kept = page.locator("#temperature .facts dd").nth(2).inner_text()
    assert kept == f"{np.count_nonzero(expected)} of {len(logits)}"


def test_sliders_have_steps_and_numbers(page):
    page.get_by_role("button", name="temperature T, one step more").click()
    assert page.locator("#temperature input[type=number]").first.input_value() == "1.05"
    page.get_by_role("slider", name="temperature T").press("ArrowLeft")
    page.get_by_role("slider", name="temperature T").press("ArrowLeft")
    assert selection(page, "temperature") == {"T": "0.95"}
    page.locator("#temperature input[type=number]").first.fill("-4")
    page.keyboard.press("Tab")
    assert page.locator("#temperature input[type=number]").first.input_value() == "0"
    page.get_by_role("button", name="reset").click()
    assert selection(page, "temperature") == {}


def test_words_stand_in_their_order_and_place(page):
    points = samples.number_line().data["points"]
    order = np.argsort(points["value"])
    page.locator("#line .point").first.focus()
    page.keyboard.press("Home")
    places = []
    for at, i in enumerate(order):
        line = status(page, "line")
        value = points["value"][i]
        assert line.startswith(points["word"][i])
        assert f"{value:+.3f}".replace("-", MINUS) in line
        side = "below" if value < -1.1 else "above" if value > 1.3 else "inside"
        assert f"{side} the null band" in line
        places.append(
            page.locator("#line .point .ring").nth(at).evaluate("el => el.cx.baseVal.value")
        )
        page.keyboard.press("ArrowRight")
    values = np.array(points["value"])[order]
    assert np.corrcoef(places, values)[0, 1] == pytest.approx(1, abs=1e-9)
    band = page.locator("#line .null-band").evaluate(
        "el => [el.x.baseVal.value, el.width.baseVal.value]"
    )
    scale = (places[-1] - places[0]) / (values[-1] - values[0])
    assert band[0] == pytest.approx(places[0] + (-1.1 - values[0]) * scale, abs=0.1)
    assert band[1] == pytest.approx(2.4 * scale, abs=0.1)


def test_a_plane_keeps_angles_and_lists_its_arrows(page):
    points = samples.plane().data["points"]
    at = page.locator("#plane .ring").evaluate_all(
        "all => all.map((el) => [el.cx.baseVal.value, el.cy.baseVal.value])"
    )
    xs, ys = np.array(points["x"]), np.array(points["y"])
    across = (at[1][0] - at[0][0]) / (xs[1] - xs[0])
    up = (at[1][1] - at[0][1]) / (ys[1] - ys[0])
    assert across == pytest.approx(-up, rel=1e-6)
    rows = page.locator("#plane table.plain tbody tr").all_inner_texts()
    dx, dy = xs[1] - xs[0], ys[1] - ys[0]
    expected = ["king", "queen", f"{dx:+.3f}", f"{dy:+.3f}", f"{np.hypot(dx, dy):.3f}"]
    expected.append(f"{np.degrees(np.arctan2(dy, dx)):.1f}°")
    assert rows[0].split("\t") == [text.replace("-", MINUS) for text in expected]


@pytest.mark.parametrize("fill", ["gpt2", "small"])
def test_areas_are_proportional_to_counts(page, fill):
    page.locator("#areas").get_by_role("button", name=fill, exact=True).click()
    boxes = page.locator("#areas .area rect").evaluate_all(
        """all => all.map((r) => [+r.dataset.count,
        ...['x', 'y', 'width', 'height'].map((k) => r[k].baseVal.value)])"""
    )
    boxes = np.array(boxes)
    assert len(boxes) == (12 if fill == "gpt2" else 4)
    scale = boxes[:, 3] * boxes[:, 4] / boxes[:, 0]
    np.testing.assert_allclose(scale, scale[0], rtol=1e-4)
    for i, (_, x, y, width, height) in enumerate(boxes):
        for _, x2, y2, width2, height2 in boxes[i + 1 :]:
            overlap = (
                min(x + width, x2 + width2) - max(x, x2),
                min(y + height, y2 + height2) - max(y, y2),
            )
            assert min(overlap) < 0.01
    if fill == "small":
        assert "Too large for this scale" in page.locator("#areas").inner_text()


def test_areas_say_count_share_shape_and_formula(page):
    page.locator("#areas .area[aria-label*='attention: 28,348,416']").click()
    total = 38_597_376 + 786_432 + 28_348_416 + 56_669_184
    line = status(page, "areas")
    assert "gpt2, attention, attention: 28,348,416 parameters" in line
    assert f"{100 * 28_348_416 / total:.1f} % of the model" in line
    assert "50257 × 768" in line


def test_a_grid_shows_its_values_and_marks_its_ends(page):
    values = samples.grid_values()
    cells = page.locator("#grid td[role=gridcell]")
    for row, column in ((0, 3), (3, 4), (5, 8)):
        cells.nth(row * values.shape[1] + column).hover()
        shown = f"{values[row, column]:+.3f}".replace("-", MINUS)
        assert f"{shown} recovered fraction" in status(page, "grid")
        text = cells.nth(row * values.shape[1] + column).inner_text()
        assert text == f"{values[row, column]:+.2f}".replace("-", MINUS)
    cells.nth(values.shape[1]).hover()
    assert "hatched: no value" in status(page, "grid")
    assert "masked" in cells.nth(values.shape[1]).get_attribute("class")
    bar = page.locator("#grid .bar").bounding_box()
    for mark in page.locator("#grid .bar-mark").all():
        value = float(mark.get_attribute("data-value"))
        box = mark.bounding_box()
        side = box["x"] + (box["width"] if "right" in mark.get_attribute("class") else 0)
        assert side == pytest.approx(bar["x"] + bar["width"] * (value + 1) / 2, abs=2.5)
    assert page.locator("#grid .bar-mark").all_inner_texts() == ["corrupted 0.000", "clean +1.000"]


def test_colours_of_signed_values_are_white_at_zero_and_symmetric(open_page, tmp_path):
    values = np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]])
    view = views.grid(["r"], list("abcde"), values, "logits", {}, ("row", "column"))
    folder = write_report(samples.report_of({"grid": view}), tmp_path)
    page = open_page((folder / "report.html").as_uri())
    cells = page.locator("#grid td[role=gridcell]")
    colours = cells.evaluate_all(
        r"all => all.map((x) => getComputedStyle(x).backgroundColor.match(/\d+/g).map(Number))"
    )
    assert min(colours[2]) >= 244
    assert colours[0][2] > colours[0][0] + 40  # blue below zero
    assert colours[4][0] > colours[4][2] + 40  # red above


def test_a_threshold_hides_weak_edges(page):
    edges = samples.flow().data["edges"]
    weights = np.array(edges["weight"])
    for low in (0.0, 0.5, 2.5):
        page.locator("#flow input[type=number]").fill(str(low))
        page.keyboard.press("Tab")
        drawn = page.locator("#flow .chart .edge").evaluate_all(
            "all => all.map((el) => +el.dataset.weight)"
        )
        strong = weights[np.abs(weights) >= low]
        np.testing.assert_allclose(sorted(drawn), sorted(strong), rtol=1e-12)
        rows = page.locator("#flow table.plain tbody tr")
        order = np.argsort(-np.abs(strong), kind="stable")
        shown = [number(text) for text in rows.locator("td.number").all_inner_texts()]
        np.testing.assert_allclose(shown, strong[order][:12], atol=0.51e-3)
    page.locator("#flow .node[aria-label='L1H0']").click()
    names = rows.evaluate_all(
        "all => all.map((tr) => [tr.children[0].textContent, tr.children[1].textContent])"
    )
    assert names
    assert all("L1H0" in pair for pair in names)


# ------------------------------------------------------------------------ hostile strings

WORST = [*HOSTILE, "\u2029", "\udc00\ud83d", "\u200f\u200e\u2066", "x" * 10_000, "", "\t"]


def hostile_views():
    n = len(WORST)
    title = "".join(HOSTILE)
    four = WORST[:4]
    names = [f"{text}!" for text in WORST]
    return {
        "attention": samples.attention(
            WORST, {"L0H1": WORST[0], "L1H2": WORST[-3], "L2H0": WORST[6]}
        ),
        "lens": samples.lens(WORST, WORST),
        "scores": samples.score_terms(WORST, WORST, title),
        "temperature": samples.temperature(WORST, WORST),
        "line": samples.number_line(names[:16], title),
        "plane": samples.plane(four, (title, WORST[-3])),
        "areas": samples.rectangles((WORST[0], WORST[1], WORST[5], WORST[-3])),
        "grid": samples.grid(WORST[:9], (title, WORST[-3])),
        "flow": samples.flow([f"{text}?" for text in WORST[:9]]),
    }, n


@pytest.mark.parametrize("width", [1280, 400])
def test_hostile_text_is_shown_and_never_run(open_page, tmp_path, width):
    made, n = hostile_views()
    folder = write_report(samples.report_of(made), tmp_path)
    page = open_page((folder / "report.html").as_uri(), width)
    assert page.locator(".viewer:visible").count() == len(made)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("script:not([type])").count() == 1
    assert page.locator(".viewer script, .viewer b b, .viewer img").count() == 0
    chips = page.locator("#attention .chip").all_inner_texts()
    assert len(chips) == n
    assert chips[0].startswith("</script><script>alert")
    assert chips[5] == "a\\u2028b"
    assert chips[6] == "\\u0000nul"
    assert chips[7] == "\\ud83d"
    assert chips[8] == "\\u202edesrever"
    assert "x" * 20 in chips[n - 3]
    assert len(chips[n - 3]) < 30
    assert chips[n - 2 :] == ["∅", "⇥"]
    for name in made:
        selector = {"scores": ".matrix", "temperature": ".drawn tbody tr"}.get(name, "[data-i]")
        page.locator(f"#{name} {selector}[tabindex='0']").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        assert "locked" in status(page, name)
    again = open_page(page.url, width)
    assert again.evaluate("document.documentElement.scrollWidth") <= width


# -------------------------------------------------------------------------- size and time


def test_144_heads_of_128_tokens_open_within_seconds(open_page, tmp_path):
    tokens = [f" t{i}" for i in range(128)]
    weight = samples.attention_arrays(128, 12, 12)["weight"]
    view = views.attention(tokens, {"weight": weight})
    folder = write_report(samples.report_of({"attention": view}), tmp_path)
    assert (folder / "report.html").stat().st_size < 2_000_000
    started = time.perf_counter()
    page = open_page((folder / "report.html").as_uri())
    page.locator(".tile").nth(77).hover()
    assert status(page, "attention").startswith("L6H5")
    taken = time.perf_counter() - started
    print(f"first interaction after {taken:.2f} s")
    assert taken < 5  # a loaded machine; a quiet one needs less than 1 s


# -------------------------------------------------------------------------------- colours

# Severity 1.0; Machado, Oliveira and Fernandes 2009, on linear RGB.
MACHADO = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(colour, matrix=None):
    """CIE L*a*b* under D65 of a colour as that kind of eye sees it."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if matrix is not None:
        linear = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    t = (np.array(to_xyz) @ linear) / [0.95047, 1.0, 1.08883]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("eye", [None, *MACHADO])
def test_colours_of_groups_can_be_told_apart(scheme, eye):
    light, dark = re.findall(r":root ?\{([^}]*)\}", viewer("en").style)
    colours = dict(re.findall(r"--(c\d): ?(#\w{6})", light + (dark if scheme == "dark" else "")))
    assert len(colours) == 8
    seen = [lab(colour, MACHADO.get(eye)) for colour in colours.values()]
    least = min(np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[i + 1 :])
    assert least >= 10
