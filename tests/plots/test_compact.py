"""Pictures in few bytes say the same."""

import io
import re
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from interp.plots import png_bytes, svg_bytes, webp_bytes
from interp.plots.compact import few_colours, short_svg

SVG = {"s": "http://www.w3.org/2000/svg"}


def drawing(label="words", n=9):
    figure = Figure(figsize=(5, 3))
    left, right = figure.subplots(1, 2)
    values = np.random.default_rng(3).uniform(-1, 1, (n, n))
    figure.colorbar(left.pcolormesh(values, cmap="viridis"), ax=left)
    right.scatter(values[0], values[1], label=label)
    right.legend()
    right.set_title(label)
    return figure


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def saved(figure, kind, **options):
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def test_few_colours_look_the_same_in_fewer_bytes():
    full = saved(drawing(), "png", dpi=110)
    few = few_colours(full)
    off = abs(pixels(few) - pixels(full))
    assert off.mean() < 0.3
    assert np.percentile(off.max(axis=-1), 99) <= 8
    assert len(np.unique(pixels(few).reshape(-1, 3), axis=0)) <= 128
    assert len(few) < 0.6 * len(full)
    assert few == few_colours(full)


def test_webp_has_the_same_pixels_in_fewer_bytes():
    png = png_bytes(drawing())
    assert (pixels(webp_bytes(png)) == pixels(png)).all()
    assert len(webp_bytes(png)) < len(png)


def attributes(root):
    return [
        {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        for element in root.iter()
    ]


def test_a_short_svg_is_whole():
    drawn = saved(drawing(), "svg").decode()
    root = ElementTree.fromstring(short_svg(drawn))
    every = attributes(root)
    ids = {one["id"] for one in every if "id" in one}
    for one in every:
        for reference in re.findall(r"url\(#([^)]+)\)", " ".join(one.values())):
            assert reference in ids
        if one.get("href", "").startswith("#"):
            assert one["href"][1:] in ids
    before = ElementTree.fromstring(drawn)
    for tag in ("path", "use", "text", "image"):
        assert len(root.findall(f".//s:{tag}", SVG)) == len(before.findall(f".//s:{tag}", SVG)), tag
    assert len(short_svg(drawn)) < 0.8 * len(drawn)


def test_places_move_by_less_than_a_tenth_of_a_point():
    drawn = saved(drawing(), "svg").decode()

    def outlines(text):
        paths = ElementTree.fromstring(text).findall(".//s:path", SVG)
        return [points(path.get("d")) for path in paths]

    def spots(text):
        found = [e.attrib for e in ElementTree.fromstring(text).iter() if "x" in e.attrib]
        return [(float(one["x"]), float(one["y"])) for one in found]

    after = short_svg(drawn)
    assert len(re.findall(r' d="[^"]*[hvl]', after)) > 20
    for long, short in zip(outlines(drawn), outlines(after), strict=True):
        assert [len(p) for p in long] == [len(p) for p in short]
        assert np.allclose(np.concatenate(long), np.concatenate(short), atol=0.051, rtol=0)
    assert np.allclose(spots(drawn), spots(after), atol=0.051, rtol=0)


def points(outline):
    """The corners of each part of a path, whichever of SVG's commands draw it."""
    parts, here = [], np.zeros(2)
    for sign, written in re.findall(r"([A-Za-z])([^A-Za-z]*)", outline):
        numbers = [float(number) for number in re.findall(r"-?\d*\.?\d+", written)]
        if sign == "M":
            parts.append([])
        if sign in "hv":
            here = here + np.multiply(numbers, [sign == "h", sign == "v"])
        elif sign == "l":
            here = here + numbers
        elif sign != "z":
            parts[-1].extend(np.reshape(numbers, (-1, 2))[:-1])
            here = np.array(numbers[-2:])
        if sign != "z":
            parts[-1].append(here)
    return [np.reshape(part, (-1, 2)) for part in parts]


def test_every_style_is_kept():
    drawn = saved(drawing(), "svg").decode()
    short = ElementTree.fromstring(short_svg(drawn))
    rules = dict(re.findall(r"\.(s\d+)\{([^}]*)\}", short.find(".//s:style", SVG).text))
    assert rules
    styled = [e.get("style") for e in ElementTree.fromstring(drawn).iter() if e.get("style")]
    before = [style.replace("; ", ";").replace(": ", ":") for style in styled]
    now = [
        e.get("style") or rules[e.get("class")]
        for e in short.iter()
        if e.get("style") or e.get("class")
    ]
    assert now == before


def test_text_that_looks_like_markup_or_numbers_stays():
    label = ' style="x" id="y" 1.23456789\n '
    figure = Figure()
    figure.text(0.1, 0.5, label.strip(), parse_math=False)
    figure.text(0.1, 0.7, "(3.14159265)")
    root = ElementTree.fromstring(svg_bytes(figure))
    texts = {text.text for text in root.findall(".//s:text", SVG)}
    assert texts == {label.strip(), "(3.14159265)"}


def test_dense_grids_become_pixels_for_the_file_only():
    def n_images(figure):
        return len(ElementTree.fromstring(svg_bytes(figure)).findall(".//s:image", SVG))

    sparse, dense = drawing(n=3), drawing(n=30)
    # A colour bar has 256 steps and is dense by itself.
    assert n_images(sparse) == 1
    assert n_images(dense) == 2
    assert not any(part.get_rasterized() for part in dense.axes[0].collections)
