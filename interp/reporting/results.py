"""What a study hands over: tables, figures, and findings whose numbers come from the tables."""

import dataclasses
import math
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from interp.core.errors import InputError
from interp.reporting.tables import cell_text, safe_text
from interp.reporting.views import View

if TYPE_CHECKING:
    from interp.reporting.notebook import ShownFigure

VERDICTS = ("holds", "fails", "imprecise", "undecided", "not applicable")


@dataclass(frozen=True)
class Finding:
    """What a study says about one claim of the lectures.

    Attributes:
        claim: its number in the list of claims.
        verdict: one of `VERDICTS`.
        statement: one sentence, with the number.
        value: the number that decides, in `unit`; None where nothing could be measured.
        unit: what the number counts.
        ci_low: lower end of its 95 % interval; None for an exact number.
        ci_high: upper end.
        null: the same number under the null or for the control.
        null_name: what that null or control is.
        p: permutation p-value.
        q: p corrected for all tests of its family.
        n: independent units (prompts, templates, heads; the statement says which).
        figure: name of the figure that shows it.
    """

    claim: int
    verdict: str
    statement: str
    value: Real | None = None
    unit: str = ""
    ci_low: Real | None = None
    ci_high: Real | None = None
    null: Real | None = None
    null_name: str = ""
    p: Real | None = None
    q: Real | None = None
    n: Real | None = None
    figure: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise InputError(f"verdict {self.verdict!r} is none of {', '.join(VERDICTS)}")
        for name in ("value", "ci_low", "ci_high", "null", "p", "q", "n"):
            number = getattr(self, name)
            if number is None:
                continue
            if not math.isfinite(number):
                raise InputError(
                    f"{name} of the finding on claim {self.claim} is {number}; a number that does "
                    "not exist is None, and the verdict 'undecided' or 'not applicable'"
                )
            # NumPy scalars are no JSON.
            object.__setattr__(self, name, int(number) if name == "n" else float(number))

    def to_dict(self) -> dict[str, Any]:
        """The finding for JSON."""
        return dataclasses.asdict(self)


class Cell(NamedTuple):
    """Where a number of a sentence stands: table, row number and column."""

    table: str
    row: int
    column: str


class Sentence:
    """A sentence whose numbers and names are cells of the study's tables.

    Args:
        template: text with a field for each cell, as in `str.format`: "{best:.2f} of {total}".
            The format `p` writes a p-value with its relation sign: "= 0.012" or "< 0.001".
        **cells: the cell of each field.
    """

    def __init__(self, template: str, **cells: Cell | tuple[str, int, str]) -> None:
        self.template = template
        self.cells = {name: Cell(*cell) for name, cell in cells.items()}
        named = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        if named != set(self.cells):
            raise InputError(
                f"the sentence {template!r} has fields {sorted(named)}, but cells came for "
                f"{sorted(self.cells)}"
            )

    def with_template(self, template: str) -> "Sentence":
        """The same cells in other words, a translation for instance."""
        return Sentence(template, **self.cells)

    def stored(self, tables: Mapping[str, "Table"]) -> dict[str, Any]:
        """The sentence for JSON: its text, and what is needed to say it in another language."""
        values = {name: _json_value(_value(cell, tables)) for name, cell in self.cells.items()}
        return {"text": self.text(tables), "template": self.template, "values": values}

    def text(self, tables: Mapping[str, "Table"]) -> str:
        """The sentence as plain text."""
        return "".join(
            literal + ("" if cell is None else _formatted(_value(cell, tables), spec))
            for literal, cell, spec in self._pieces()
        )

    def html(self, tables: Mapping[str, "Table"]) -> Markup:
        """The sentence as HTML; each number names its cell and carries the table's value."""
        pieces = []
        for literal, cell, spec in self._pieces():
            pieces.append(escape(literal))
            if cell is None:
                continue
            value = _value(cell, tables)
            pieces.append(
                Markup('<data value="{}" data-cell="{}/{}/{}">{}</data>').format(
                    cell_text(value), *cell, _formatted(value, spec)
                )
            )
        return Markup("").join(pieces)

    def _pieces(self) -> list[tuple[str, Cell | None, str]]:
        parsed = string.Formatter().parse(self.template)
        return [
            (literal, None if name is None else self.cells[name], spec or "")
            for literal, name, spec, _ in parsed
        ]


def filled(template: str, values: Mapping[str, Any]) -> str:
    """A stored sentence as plain text; a value that does not exist is a dash."""
    return "".join(
        literal + ("" if name is None else _formatted(values[name], spec or ""))
        for literal, name, spec, _ in string.Formatter().parse(template)
    )


def _json_value(value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _value(cell: Cell, tables: Mapping[str, "Table"]) -> Any:
    if cell.table not in tables:
        raise InputError(f"a sentence reads table {cell.table!r}; there are: {', '.join(tables)}")
    frame = tables[cell.table].frame
    if cell.column not in frame or not 0 <= cell.row < len(frame):
        raise InputError(
            f"a sentence reads row {cell.row}, column {cell.column!r} of table {cell.table!r}, "
            f"which has {len(frame)} rows and columns {', '.join(frame.columns)}"
        )
    return frame[cell.column].iloc[cell.row]


def _formatted(value: Any, spec: str) -> str:
    if value is None or (isinstance(value, Real) and not math.isfinite(value)):
        return "–"
    if spec == "p":
        return "< 0.001" if value < 0.001 else f"= {value:.3f}"
    if isinstance(value, str):
        return safe_text(format(value, spec))
    # A minus that rounds away would claim a sign.
    shown = format(value, spec)
    if shown.startswith("-") and not any(digit in shown for digit in "123456789"):
        shown = shown[1:]
    return shown.replace("-", "−")


@dataclass(frozen=True)
class Table:
    """A table of a study.

    Attributes:
        frame: the rows; its index is not shown.
        caption: what a row is, and the units.
        in_page: shown in the report; else only written as CSV (for tables of many thousand rows).
    """

    frame: pd.DataFrame
    caption: str
    in_page: bool = True


@dataclass(frozen=True)
class FigurePart:
    """One figure with everything a reader needs to believe or doubt it.

    Attributes:
        name: of its files and its place in the page: lower-case letters, digits, underscores.
        question: the heading.
        picture: the drawing.
        alt: what the picture shows, for those who do not see it.
        answer: the number and its baseline.
        tables: names of its tables, the plotted numbers first.
        how_to_read: at most three sentences.
        scene: where the lectures draw the same; "" if nowhere.
        change_our_mind: the control, null or intervention, and its result.
        facts: what only this figure depends on, for its provenance: n, null, smallest effect.
        uninformative: why the figure says nothing about this model; "" if it does.
        view: what the viewer shows in place of the picture; None where there is nothing to explore.
    """

    name: str
    question: str
    picture: Figure
    alt: Sentence
    answer: Sentence
    tables: tuple[str, ...]
    how_to_read: str
    change_our_mind: Sentence
    scene: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    uninformative: str = ""
    view: View | None = None


@dataclass(frozen=True, repr=False)
class StudyResult:
    """Everything a study found on one model; a notebook shows it as its report.

    Attributes:
        study: its name.
        question: what it asks.
        model: the model's name.
        headline: the answer in one sentence.
        tables: by name.
        figures: in reading order.
        findings: one per claim.
        provenance: what the result depends on; the same for the same call.
    """

    study: str
    question: str
    model: str
    headline: Sentence
    tables: dict[str, Table]
    figures: tuple[FigurePart, ...]
    findings: tuple[Finding, ...]
    provenance: dict[str, Any]

    def table(self, name: str) -> pd.DataFrame:
        """The table of that name, as a frame of its own.

        Raises:
            InputError: no table has it.
        """
        if name not in self.tables:
            raise InputError(f"no table is called {name!r}; there are: {', '.join(self.tables)}")
        return self.tables[name].frame.copy()

    def figure(self, name: str) -> "ShownFigure":
        """The figure of that name with its numbers; a notebook shows it.

        Raises:
            InputError: no figure has it.
        """
        from interp.reporting.notebook import shown_figure

        return shown_figure(self, name)

    def save(self, path: str | Path = "reports") -> Path:
        """Writes the report to `PATH/<model>/<study>/` and returns that folder."""
        from interp.reporting.report import write_report

        return write_report(self, path)

    def __repr__(self) -> str:
        from interp.reporting.notebook import plain_text

        return plain_text(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from interp.reporting.notebook import mime_bundle

        return mime_bundle(self, repr(self))

    def _repr_html_(self) -> str:
        return self._repr_mimebundle_()["text/html"]
