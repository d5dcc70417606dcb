"""HTML from templates; everything that enters is escaped."""

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from interp.reporting.scripts import compact_style
from interp.reporting.tables import safe_text
from interp.reporting.translation import ENGLISH, Phrases

_TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        # Names and tokens come from models and vocabularies: anything may be in them.
        finalize=lambda value: safe_text(value) if type(value) is str else value,
    )
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    environment.globals["style"] = compact_style(style)
    return environment


def render(template: str, view: dict[str, Any], words: Phrases = ENGLISH) -> str:
    """The page as text, ready to be encoded.

    Templates say the page's own words as `t("…")` and texts of studies as `say(text)`.
    """
    return _environment().get_template(template).render(view | {"t": words, "say": words.say})
