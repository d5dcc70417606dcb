"""Results that show themselves in notebooks: Jupyter, VS Code, Colab, marimo.

A cell's last value is shown by the notebook, which asks the object for HTML, a picture and text.
The HTML is the page of the report in a frame of its own, so that neither its style nor its script
meets the notebook's; it needs no network, no widget and no other file.
"""

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from markupsafe import escape
from matplotlib.figure import Figure

from interp.core.errors import InputError
from interp.plots import png_bytes
from interp.reporting.report import render_page
from interp.reporting.tables import brief_number, csv_text, safe_text

if TYPE_CHECKING:
    from interp.reporting.results import FigurePart, StudyResult

_HEIGHT = "44rem"


@dataclass(frozen=True)
class ShownFigure:
    """One figure of a study with its numbers; the last value of a cell shows it.

    Attributes:
        result: the study that it belongs to.
        part: the figure.
    """

    result: "StudyResult"
    part: "FigurePart"

    @property
    def picture(self) -> Figure:
        """The drawing, as Matplotlib's Figure."""
        return self.part.picture

    @property
    def answer(self) -> str:
        """The number and its baseline, in one sentence."""
        return self.part.answer.text(self.result.tables)

    def __repr__(self) -> str:
        return f"{self.part.question}\n{self.answer}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        findings = [one for one in self.result.findings if one.figure == self.part.name]
        alone = replace(
            self.result,
            question=self.part.question,
            headline=self.part.answer,
            figures=(self.part,),
            findings=tuple(findings),
        )
        return mime_bundle(alone, repr(self))

    def _repr_html_(self) -> str:
        return self._repr_mimebundle_()["text/html"]


def shown_figure(result: "StudyResult", name: str) -> ShownFigure:
    """The figure of that name.

    Raises:
        InputError: no figure has it.
    """
    for part in result.figures:
        if part.name == name:
            return ShownFigure(result, part)
    names = ", ".join(part.name for part in result.figures)
    raise InputError(f"no figure is called {name!r}; there are: {names}")


def mime_bundle(result: "StudyResult", text: str) -> dict[str, str]:
    """A result as a notebook takes it: HTML, the first picture, and text."""
    csvs = {name: csv_text(table.frame) for name, table in result.tables.items()}
    pngs = {part.name: png_bytes(part.picture) for part in result.figures}
    page = render_page(result, csvs, pngs, files=False)
    frame = (
        f'<iframe srcdoc="{escape(page)}" title="{escape(safe_text(result.question))}" '
        f'style="width: 100%; height: {_HEIGHT}; border: 1px solid #888"></iframe>'
    )
    bundle = {"text/plain": text, "text/html": frame}
    if pngs:
        bundle["image/png"] = base64.b64encode(next(iter(pngs.values()))).decode()
    return bundle


def plain_text(result: "StudyResult") -> str:
    """The headline, and the findings as a short table."""
    rows = [("claim", "verdict", "value", "unit")]
    for finding in result.findings:
        value = brief_number(finding.value)
        rows.append((str(finding.claim), finding.verdict, value, finding.unit))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    title = f"{result.study} on {result.model}: {result.headline.text(result.tables)}"
    return safe_text("\n".join([title, *lines]))
