"""JavaScript and CSS made small: sources are for readers, pages carry what a browser needs."""

import re
from collections import Counter
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*)
    |(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    |(?P<template>`(?:\\.|[^`\\])*`)
    |(?P<regex>(?:(?<=[(!])|(?<=[=>][ ]))/(?![/*\s])(?:\\.|\[(?:\\.|[^\]])*\]|[^/\\\n\[])+/[a-z]*)
    |(?P<arrow>\((?P<only>\w+)\)\s=>)
    |(?P<fraction>(?<![\w$.])0\.\d+)
    |(?P<space>\s+)|(?P<name>[\w$]+)|(?P<sign>.)""",
    re.VERBOSE,
)
_FIELD = re.compile(r"\$\{([^{}`]*)\}")  # of a template
_DECLARES = {"const", "let", "function", "class"}
_OF_STYLE = re.compile(
    r"""(?P<text>"[^"]*")|/\*.*?\*/|\s*(?P<sign>[{};,])\s*|(?P<colon>:)\s+|\s+""", re.DOTALL
)
_LAST_SIGNS = {";}", ",}", ",]", ",)"}  # the first of the two says nothing


def compact(source: str) -> str:
    """A script without comments, without spaces between signs, and with short private names.

    It knows the JavaScript of this project, not all of it: regular expressions stand behind
    "(", "!", "= " or "=> ", and the fields of a template hold neither braces nor templates.
    """
    return _small(source, _short_names(source))


def compact_style(source: str) -> str:
    """A style sheet without comments and without spaces that say nothing."""

    def kept(found: re.Match[str]) -> str:
        if found[0].startswith("/*"):
            return ""
        return found["text"] or found["sign"] or found["colon"] or " "

    return _OF_STYLE.sub(kept, source).strip().replace(";}", "}")


def _small(source: str, short: dict[str, str]) -> str:
    pieces: list[str] = []
    gap = ""
    for kind, text in _tokens(source):
        if kind == "space":
            gap = "\n" if "\n" in gap + text else " "
            continue
        if pieces and pieces[-1] + text in _LAST_SIGNS:
            pieces.pop()
        before = pieces[-1][-1] if pieces else ""
        if kind == "name":
            text = "let" if text == "const" else short.get(text, text)
        elif kind == "fraction":
            text = text[1:]
        elif kind == "template":
            text = _FIELD.sub(lambda field: f"${{{_small(field[1], short)}}}", text)
        elif kind == "arrow":
            only = text[1 : text.index(")")]
            only = short.get(only, only)
            text = f"({only})=>" if before.isalnum() else f"{only}=>"
        pieces += filter(None, (_needed(gap, before, text[0]), text))
        gap = ""
    return "".join(pieces)


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(source):
        if match.lastgroup != "comment":
            # The last group that closes is the outer one of an arrow.
            yield match.lastgroup or "", match.group()


def _needed(gap: str, before: str, after: str) -> str:
    """What must stay of a gap: between words, between signs that would merge, at line ends."""
    if not gap or not before:
        return ""
    is_word = [(c.isalnum() or c in "_$") for c in (before, after)]
    if all(is_word) or (before in "+-" and before == after):
        return gap if gap == "\n" else " "
    ends = (is_word[0] or before in ")]}\"'`/") and (is_word[1] or after in "[({\"'`!+-")
    return "\n" if gap == "\n" and ends else ""


def _short_names(source: str) -> dict[str, str]:
    """New names for what the script declares and nowhere uses as a name of a property."""
    tokens = [(k, t) for k, t in _flat(source) if k != "space"]
    texts = ["", "", *(text for _, text in tokens), ""]
    counts: Counter[str] = Counter()
    declared, properties, open_signs = set(), set(), [""]
    for at, (kind, text) in enumerate(tokens, start=2):
        before, after = texts[at - 1], texts[at + 1]
        if kind == "sign" and text in "([{":
            open_signs.append(text)
        elif kind == "sign" and text in ")]}":
            open_signs.pop()
        if kind != "name":
            continue
        counts[text] += 1
        if before in _DECLARES:
            declared.add(text)
        inside = open_signs[-1] == "{"
        is_key = inside and (after == ":" or (before in "{,};)" and after in "(,}="))
        if is_key or (before == "." and texts[at - 2] != "."):
            properties.add(text)
    free = sorted(declared - properties, key=lambda name: (-counts[name], name))
    return {name: f"${_digits(i)}" for i, name in enumerate(free) if len(name) > 2}


def _flat(source: str) -> Iterator[tuple[str, str]]:
    """Tokens, those in the fields of templates and in arrows' parentheses too."""
    for kind, text in _tokens(source):
        if kind == "template":
            for field in _FIELD.findall(text):
                yield from _flat(f"({field})")
        elif kind == "arrow":
            yield from _flat(text.replace(" =>", "").replace("\n=>", ""))
        else:
            yield kind, text


def _digits(number: int) -> str:
    signs = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    first, last = divmod(number, len(signs))
    return (signs[first - 1] if first else "") + signs[last]
