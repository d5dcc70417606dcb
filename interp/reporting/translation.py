"""Pages in the reader's language: the page's own words, and the texts of studies.

English is the source. A text without a translation stays English and says so (`lang="en"`), so that
a screen reader does not read it as Korean.
"""

import json
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from interp.core.errors import InputError
from interp.reporting.tables import safe_text

if TYPE_CHECKING:
    from interp.reporting.results import Sentence, Table

LANGUAGES = ("en", "ko")
_LOCALE = Path(__file__).parent / "locale"
_IN_ENGLISH = Markup(' lang="en"')


@dataclass(frozen=True)
class Said:
    """A text of a study as the page shows it.

    Attributes:
        text: plain.
        html: escaped; numbers of sentences name their cells.
        lang: the attribute that marks it where it is not in the page's language; else empty.
    """

    text: str
    html: Markup
    lang: Markup

    def __html__(self) -> Markup:
        return self.html

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        return bool(self.text)


@dataclass(frozen=True)
class Phrases:
    """The words of one language.

    Attributes:
        lang: its code.
        page: English to that language, for what every page has.
        studies: the same for each study's texts, by study.
        study: whose texts are looked up.
    """

    lang: str = "en"
    page: Mapping[str, str] = field(default_factory=dict)
    studies: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    study: str = ""

    def of_study(self, study: str) -> "Phrases":
        """The same words, with the texts of one study."""
        return replace(self, study=study)

    def __call__(self, english: str, **fields: Any) -> Markup:
        """A phrase of the page, with its fields filled in; both are escaped."""
        phrase = Markup(escape(self.page.get(english, english)))
        return phrase.format(**{name: _plain(value) for name, value in fields.items()})

    def find(self, english: str) -> str | None:
        """A study's text in this language; None if there is no translation."""
        if self.lang == "en":
            return english
        return self.studies.get(self.study, {}).get(english)

    def say(self, english: str) -> Said:
        """A study's text as the page shows it."""
        found = self.find(english)
        text = safe_text(english if found is None else found)
        return Said(text, escape(text), self._mark(found is None and bool(english)))

    def sentence(self, sentence: "Sentence", tables: Mapping[str, "Table"]) -> Said:
        """A study's sentence as the page shows it."""
        found = self.find(sentence.template)
        here = sentence if found is None else sentence.with_template(found)
        return Said(here.text(tables), here.html(tables), self._mark(found is None))

    def stored(self, sentence: Mapping[str, Any]) -> Said:
        """A sentence as `findings.json` holds it."""
        from interp.reporting.results import filled

        found = self.find(sentence["template"])
        text = filled(sentence["template"] if found is None else found, sentence["values"])
        return Said(text, escape(text), self._mark(found is None))

    def either(self, texts: Mapping[str, str]) -> str:
        """The text of this language where all languages are at hand."""
        return texts[self.lang]

    def _mark(self, missing: bool) -> Markup:
        return _IN_ENGLISH if missing else Markup("")


ENGLISH = Phrases()


def phrases(lang: str, studies: Mapping[str, Mapping[str, str]] | None = None) -> Phrases:
    """The words of a language.

    Args:
        lang: "en" or "ko".
        studies: texts of studies in that language, by study; they stay English without.

    Raises:
        InputError: a language that the pages are not written in.
    """
    if lang not in LANGUAGES:
        raise InputError(f"reports are written in {' and '.join(LANGUAGES)}, not in {lang!r}")
    if lang == "en":
        return ENGLISH
    return Phrases(lang, _page_words(lang), studies or {})


@cache
def _page_words(lang: str) -> dict[str, str]:
    return json.loads((_LOCALE / f"{lang}.json").read_text(encoding="utf-8"))


def fields(template: str) -> set[tuple[str, str]]:
    """The fields of a template with their formats; a translation has the same."""
    parsed = string.Formatter().parse(template)
    return {(name, spec or "") for _, name, spec, _ in parsed if name is not None}


def _plain(value: Any) -> Any:
    return safe_text(value) if type(value) is str else value
