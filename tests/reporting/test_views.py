"""What a view holds, and how it stands in a page."""

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from interp.core import InputError
from interp.reporting import views, write_report
from interp.reporting.packing import json_text, pack, viewer
from interp.reporting.scripts import compact

from . import view_samples as samples
from .conftest import HOSTILE
from .pages import parse


def unpacked(description, content):
    """A packed array, read without the code that packed it."""
    planes = np.frombuffer(gzip.decompress(base64.b64decode(content)), np.uint8)
    size = int(description["type"][1])
    numbers = np.ascontiguousarray(planes.reshape(size, -1).T).view("<" + description["type"])
    values = numbers.reshape(-1).astype(np.float64)
    if "decimals" in description:
        lowest = float(np.iinfo("<" + description["type"]).min)
        values[values == lowest] = np.nan
        values /= 10 ** description["decimals"]
    shape = description["shape"]
    if not description.get("lower"):
        return values.reshape(shape)
    full = np.full(shape, np.nan)
    at = 0
    for index in np.ndindex(*shape[:-1]):
        full[index][: index[-1] + 1] = values[at : at + index[-1] + 1]
        at += index[-1] + 1
    assert at == len(values)
    return full


def arrays_of(view):
    packed = pack({"one": view})
    described = json.loads(packed.views["one"])["arrays"]
    return {name: unpacked(d, packed.arrays[d["id"]]) for name, d in described.items()}


# ----------------------------------------------------------------------------------- packing


def test_weights_keep_the_digits_that_are_shown():
    states = samples.attention_arrays()
    packed = arrays_of(samples.attention())
    rows, columns = np.tril_indices(len(samples.TOKENS))
    for index in np.ndindex(samples.N_LAYERS, samples.N_HEADS):
        for q, k in zip(rows, columns, strict=True):
            shown = packed["weight"][index][q, k]
            assert f"{shown:.4f}" == f"{states['weight'][index][q, k]:.4f}"
    assert np.isnan(packed["weight"][..., ~np.tri(len(samples.TOKENS), dtype=bool)]).all()
    assert np.isfinite(packed["raw score"]).all()
    assert np.abs(packed["raw score"] - states["raw score"]).max() <= 0.5e-3


def test_numbers_without_a_given_precision_have_that_of_32_bits():
    packed = arrays_of(samples.score_terms())
    terms = samples.score_arrays()
    np.testing.assert_array_equal(packed["terms"], terms.astype(np.float32))
    np.testing.assert_array_equal(packed["total"], terms.sum(0).astype(np.float32))


def test_a_mask_that_is_no_triangle_leaves_its_cells_without_value():
    states = samples.attention_arrays()
    window = states["masked score"].copy()
    window[..., 5:, 0] = -np.inf
    states["weight"][..., 5:, 0] = 0
    view = views.attention(samples.TOKENS, {"weight": states["weight"], "masked score": window})
    packed = arrays_of(view)
    assert np.isnan(packed["weight"][..., 5:, 0]).all()
    assert np.isfinite(packed["weight"][..., :5, 0]).all()


def test_a_model_that_sees_later_tokens_keeps_them():
    rng = np.random.default_rng(2)
    weight = samples.softmax(rng.normal(size=(1, 2, 5, 5)))
    packed = arrays_of(views.attention(list("abcde"), {"weight": weight}))
    np.testing.assert_allclose(packed["weight"], weight, atol=0.5e-4)


def test_arrays_that_figures_share_are_there_once():
    view = samples.attention()
    packed = pack({"one": view, "two": samples.attention(), "three": samples.lens()})
    alone = pack({"one": view}), pack({"three": samples.lens()})
    assert len(packed.arrays) == sum(len(one.arrays) for one in alone)


def test_packing_is_the_same_byte_for_byte():
    first, second = (pack({name: make() for name, make in samples.ALL.items()}) for _ in range(2))
    assert first == second


def test_logits_are_sorted_once_and_only_the_best_are_named():
    logits = np.random.default_rng(4).normal(0, 3, 1009).astype(np.float32)
    names = [f"t{i}" for i in range(1009)]
    view = views.temperature(["a"], names, logits)
    order = np.argsort(-logits, kind="stable")
    assert view.data["tokens"] == [names[i] for i in order[:256]]
    np.testing.assert_array_equal(arrays_of(view)["logits"], logits[order])


@pytest.mark.parametrize("text", [*HOSTILE, "\u2029", "\udfff\ud800", "x" * 10_000])
def test_text_cannot_leave_its_script(text):
    said = json_text({"tokens": [text], text: 1})
    assert said.isascii()
    assert "<" not in said
    assert json.loads(said)["tokens"] == [text]


def test_numbers_that_json_does_not_know_are_null():
    said = json_text({"a": [np.float64("nan"), np.inf, np.int64(7)], "b": None})
    assert json.loads(said) == {"a": [None, None, 7], "b": None}


# -------------------------------------------------------------------------------------- page


def test_a_page_has_one_script_that_alone_may_run(tmp_path):
    folder = write_report(
        samples.report_of({name: make() for name, make in samples.ALL.items()}), tmp_path
    )
    text = (folder / "report.html").read_text()
    page = parse(folder / "report.html")
    scripts = [s for s in page.find_all("script") if "type" not in s.attributes]
    assert len(scripts) == 1
    policy = next(m for m in page.find_all("meta") if "http-equiv" in m.attributes)
    allowed = policy.attributes["content"].split("; ")
    assert allowed[:3] == ["default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"]
    digest = base64.b64encode(hashlib.sha256(scripts[0].text.encode()).digest()).decode()
    assert allowed[3:] == [f"script-src 'sha256-{digest}'"]
    assert len(list(page.find_all("img"))) == len(samples.ALL)
    assert all(len(image.attributes["alt"]) >= 20 for image in page.find_all("img"))
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", text)
    assert not re.search(r"url\(|@import|import\(|fetch\(|eval\(|innerHTML|document\.write", text)


def test_a_page_without_views_has_no_script(tmp_path):
    folder = write_report(samples.report_of({"one": None}), tmp_path)
    text = (folder / "report.html").read_text()
    assert "<script" not in text
    assert "script-src" not in text


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_viewer_is_at_most_60_kb(lang):
    script = viewer(lang).script
    assert len(script.encode()) <= 60_000
    assert "</script" not in script.lower()
    assert "<!--" not in script


def test_both_languages_say_the_same_things():
    folder = "interp/reporting/templates/viewer/"

    def words(lang):
        text = (Path(__file__).parents[2] / folder / f"words.{lang}.js").read_text()
        found = dict(re.findall(r"""[{,\s]("?[\w=/ -]+"?): "((?:[^"\\]|\\.)*)\"""", text))
        return {
            name.strip('"'): sorted(re.findall(r"\{\d\}", said)) for name, said in found.items()
        }

    english, korean = words("en"), words("ko")
    assert len(english) > 90
    assert english.items() <= korean.items()
    # What English says by the data's own name.
    assert all(name.startswith("=") for name in korean.keys() - english.keys())


def test_144_heads_of_128_tokens_stay_below_2_mb_and_of_32_far_below():
    sizes = {}
    for n in (32, 128):
        weight = samples.attention_arrays(n, 12, 12)["weight"]
        view = views.attention([f" t{i}" for i in range(n)], {"weight": weight})
        packed = pack({"one": view})
        sizes[n] = sum(map(len, packed.arrays.values())) + len(packed.views["one"])
    assert sizes[128] + len(viewer("ko").script.encode()) + len(viewer("ko").style) < 2_000_000
    assert sizes[32] < 400_000


# ------------------------------------------------------------------------------------ script


@pytest.mark.parametrize(
    ("source", "small"),
    [
        ("const a = 1; // one\nlet b = 2;\n", "let a=1;let b=2;"),
        ('const s = "a // b  c";', 'let s="a // b  c";'),
        ("const f = (x) => x + +x;", "let f=x=>x+ +x;"),
        ("const r = /a b[/]/g, q = 4 / 2 / 1;", "let r=/a b[/]/g,q=4/2/1;"),
        ("const t = `a  ${ b }`;", "let t=`a  ${b}`;"),
        ("f(a,\n  b,\n);", "f(a,b);"),
        ("x ? 0.5 : a.b0.c + 10.5", "x?.5:a.b0.c+10.5"),
        ("return x\nconst y = 1", "return x\nlet y=1"),
        ("const long = 1; use(long, `${long}`);", "let $0=1;use($0,`${$0}`);"),
        ("const kept = 1; use({ kept }, x.kept);", "let kept=1;use({kept},x.kept);"),
        ("const kept = 1; use({ kept: 2 });", "let kept=1;use({kept:2});"),
    ],
)
def test_a_script_is_made_small_without_changing_it(source, small):
    assert compact(source).strip() == small


# -------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: views.attention(["a"], {}), "at least one state"),
        (lambda: views.attention(["a"], {"weight": np.ones((1, 1, 2, 2))}), r"\(1, 1, 2, 2\) came"),
        (lambda: views.lens(["a"], ["l"], [["x"]], {"probability": np.ones(3)}), "'probability'"),
        (lambda: views.lens(["a"], ["l"], [[]], {"probability": np.ones((1, 1))}), "one top token"),
        (lambda: views.score_terms(["a"], ["b"], ["s"], np.ones((1, 1)), "h"), "terms of a score"),
        (lambda: views.temperature(["a"], ["b"], np.ones(2)), r"\(1,\) was expected"),
        (lambda: views.temperature(["a"], ["b"], np.array([np.nan])), "only finite ones"),
        (lambda: views.grid(["r"], ["c"], np.ones((2, 1)), "u", {}), r"\(1, 1\) was expected"),
        (
            lambda: views.plane(
                pd.DataFrame({"word": ["a"], "x": [0.0], "y": [0.0], "group": ["g"]}),
                [("a", "b")],
                ("x", "y"),
            ),
            "names 'b', but no point",
        ),
        (
            lambda: views.flow(
                pd.DataFrame({"name": ["a"], "layer": [0], "place": [0]}),
                pd.DataFrame({"source": ["a"], "target": ["z"], "weight": [1.0]}),
                "u",
            ),
            "names 'z', but no node",
        ),
        (
            lambda: views.rectangles(
                pd.DataFrame(
                    [("m", "g", "n", -1, "", "")],
                    columns=["model", "group", "name", "count", "formula", "shape"],
                ),
                "u",
            ),
            "cannot be negative",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
