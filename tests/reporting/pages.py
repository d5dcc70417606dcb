"""Reads a report as a browser would, with Python's own parser."""

from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "link", "input", "hr", "base"}


class Element:
    def __init__(self, tag, attributes, parent=None):
        self.tag, self.attributes, self.parent = tag, dict(attributes), parent
        self.children, self.texts = [], []

    def find_all(self, *tags):
        for child in self.children:
            if child.tag in tags:
                yield child
            yield from child.find_all(*tags)

    def find(self, tag):
        return next(self.find_all(tag), None)

    @property
    def text(self):
        return "".join(part if isinstance(part, str) else part.text for part in self.texts)


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = self.here = Element("document", [])

    def handle_starttag(self, tag, attributes):
        element = Element(tag, attributes, self.here)
        self.here.children.append(element)
        self.here.texts.append(element)
        if tag not in VOID:
            self.here = element

    def handle_endtag(self, tag):
        assert self.here.tag == tag, f"<{self.here.tag}> is closed by </{tag}>"
        self.here = self.here.parent

    def handle_data(self, data):
        self.here.texts.append(data)


def parse(path):
    parser = _Parser()
    parser.feed(Path(path).read_text(encoding="utf-8"))
    parser.close()
    assert parser.here is parser.root, f"<{parser.here.tag}> is never closed"
    return parser.root


def row_says(row, exact):
    """Whether a table's row of the page says what the file's does, as far as its digits go."""
    shown = [cell.text for cell in row.find_all("th", "td")]
    return len(shown) == len(exact) and all(map(_says, shown, exact))


def _says(shown, exact):
    """Whether a cell does."""
    words = {"true": "yes", "false": "no", "": "–"}
    if shown == words.get(exact, exact):
        return True
    number = shown.removeprefix("< ").replace("−", "-")
    decimals = len(number.partition("e")[0].partition(".")[2])
    if shown.startswith("< "):
        return 0 <= float(exact) < float(number)
    unit = 10.0**-decimals * (10.0 ** int(number.partition("e")[2] or 0))
    # The file has six significant digits.
    near = unit / 2 + 5e-6 * abs(float(exact))
    return decimals > 0 and abs(float(number) - float(exact)) <= near
