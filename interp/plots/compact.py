"""Pictures in few bytes: a report holds a hundred of them."""

import io
import re
from collections import Counter

import numpy as np
from PIL import Image

# Colours of a PNG: the first number with which it still looks the same. Each costs a try.
_PALETTES = 32, 128
_MEAN_SHIFT, _LARGE_SHIFT, _FEW = 0.25, 10, 0.001  # of 255; the share that may move by more
_OFTEN = 3  # a style that occurs this often gets a class
# In attributes of paths and places only: text between tags stays.
_IN_TAG = r"(?=[^<>]*>)"
_LONG_NUMBER = re.compile(r"(?<=[ \"(,-])(\d+\.\d\d)\d+(?=[ \"),\n])" + _IN_TAG)
_PLACE = re.compile(r"(?<= [xy]=\")-?\d+(?:\.\d+)?(?=\")" + _IN_TAG)
_OUTLINE = re.compile(r"(?<= d=\")[MLz\d .\n-]+(?=\")" + _IN_TAG)
_STEP = re.compile(r"([MLz])(?: (\S+) ([^\sMLz]+))?")
_NO_TURN = re.compile(r" transform=\"rotate\(-?0 [^)\"]*\)\"" + _IN_TAG)
_STYLE = re.compile(r' style="([^"]*)"' + _IN_TAG)
_ID = re.compile(r' id="([^"]*)"' + _IN_TAG)
_NAMED = re.compile(r'(url\(#|href="#| id=")([^)"]+)' + _IN_TAG)
_GROUP = re.compile(r"(?:<g/>|<g>|<g [^<>]*(?<!/)>|</g>)\n?")
_LINE_IN_PATH = re.compile(r" ?\n([A-Za-z\"])" + _IN_TAG)


def few_colours(png: bytes) -> bytes:
    """The picture as PNG of at most 128 colours, chosen for it; nothing is dithered.

    It takes 32 colours where they move the channels of its pixels by at most 0.25 of 255 on
    average, and by more than 10 in at most 0.1 % of the pixels. It takes 0.1 to 0.3 s.
    """
    drawn = Image.open(io.BytesIO(png)).convert("RGB")
    full = np.asarray(drawn, dtype=np.int16)
    method, dither = Image.Quantize.MEDIANCUT, Image.Dither.NONE
    for n_colours in _PALETTES:
        few = drawn.quantize(n_colours, method=method, kmeans=2, dither=dither)
        shift = abs(np.asarray(few.convert("RGB"), dtype=np.int16) - full)
        if shift.mean() <= _MEAN_SHIFT and (shift.max(axis=-1) > _LARGE_SHIFT).mean() <= _FEW:
            break
    buffer = io.BytesIO()
    few.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def webp_bytes(png: bytes) -> bytes:
    """The same pixels as lossless WebP: a quarter less than PNG, for pages that hold pictures.

    Method 6 takes eight times as long for the same bytes.
    """
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(
        buffer, "webp", lossless=True, quality=100, method=5
    )
    return buffer.getvalue()


def short_svg(drawn: str) -> str:
    """The same drawing as Matplotlib's SVG, in about a third of the characters.

    Places and straight lines keep one decimal (of 1/72 inch), curves two; lines are told by their
    steps. Styles that come again become classes; names that nothing refers to and blanks go.
    """
    short = _LINE_IN_PATH.sub(r"\1", re.sub(r"\n +<", "\n<", drawn))
    short = re.sub(r"<!DOCTYPE[^>]*>\n?", "", short, count=1)
    short = re.sub(r"<metadata>.*?</metadata>\n?", "", short, count=1, flags=re.DOTALL)
    short = _NO_TURN.sub("", short)
    short = _OUTLINE.sub(lambda found: _steps(found[0]), short)
    short = _PLACE.sub(lambda found: _tenths(round(float(found[0]) * 10)), short)
    short = _LONG_NUMBER.sub(r"\1", short)
    return _with_classes(_without_plain_groups(_with_short_names(short)))


def _tenths(number: int) -> str:
    """A whole number of tenths, as SVG needs it: -5 is "-.5"."""
    whole, tenth = divmod(abs(number), 10)
    digits = (f"{whole or ''}.{tenth}" if tenth else str(whole)) if number else "0"
    return f"-{digits}" if number < 0 else digits


def _steps(outline: str) -> str:
    """Straight lines as steps from point to point; rounding does not add up along the way."""
    pieces, x, y = [], 0, 0
    for sign, first, second in _STEP.findall(outline):
        if sign == "z":
            pieces.append("z")
            continue
        to_x, to_y = round(float(first) * 10), round(float(second) * 10)
        if sign == "M":
            pieces.append(f"M{_pair(to_x, to_y)}")
        elif to_y == y:
            pieces.append(f"h{_tenths(to_x - x)}")
        elif to_x == x:
            pieces.append(f"v{_tenths(to_y - y)}")
        else:
            pieces.append(f"l{_pair(to_x - x, to_y - y)}")
        x, y = to_x, to_y
    return "".join(pieces)


def _pair(x: int, y: int) -> str:
    return f"{_tenths(x)}{'' if y < 0 else ' '}{_tenths(y)}"


def _with_short_names(drawn: str) -> str:
    """Names that something refers to, numbered as they come; the others go."""
    used = re.findall(r"(?:url\(|href=\")#([^)\"]+)", drawn)
    names = {name: f"i{number}" for number, name in enumerate(dict.fromkeys(used))}
    kept = _ID.sub(lambda found: found[0] if found[1] in names else "", drawn)
    return _NAMED.sub(lambda found: found[1] + names.get(found[2], found[2]), kept)


def _without_plain_groups(drawn: str) -> str:
    """Groups without a name, place or style only hold other parts together."""
    kept: list[bool] = []

    def tag(found: re.Match[str]) -> str:
        if found[0].startswith("</"):
            return found[0] if kept.pop() else ""
        if found[0].startswith("<g/>"):
            return ""
        kept.append(not found[0].startswith("<g>"))
        return found[0] if kept[-1] else ""

    return _GROUP.sub(tag, drawn)


def _with_classes(drawn: str) -> str:
    drawn = _STYLE.sub(lambda found: re.sub(r"([;:]) ", r"\1", found[0]), drawn)
    counts = Counter(_STYLE.findall(drawn))
    often = sorted(style for style, n in counts.items() if n >= _OFTEN)
    names = {style: f"s{number}" for number, style in enumerate(often)}

    def named(found: re.Match[str]) -> str:
        return f' class="{names[found[1]]}"' if found[1] in names else found[0]

    rules = "".join(f".{name}{{{style}}}" for style, name in names.items())
    return _STYLE.sub(named, drawn).replace("</style>", f"{rules}</style>", 1)
