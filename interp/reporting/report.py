"""A study's result as files: `report.html`, tables, figures, findings and provenance."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pandas.api.types import is_numeric_dtype

from interp.core.errors import InputError
from interp.plots import png_bytes, svg_bytes, webp_bytes
from interp.reporting.files import folder_name, replaced_folder
from interp.reporting.packing import pack, viewer
from interp.reporting.pages import render
from interp.reporting.provenance import commit
from interp.reporting.results import FigurePart, StudyResult, Table
from interp.reporting.tables import brief_number, csv_text, safe_text, shown_text
from interp.reporting.translation import ENGLISH, Phrases, Said

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FEW_ROWS = 20  # longer tables are folded away


def write_report(
    result: StudyResult,
    out_dir: str | Path,
    *,
    command: str = "",
    duration_s: float | None = None,
    words: Phrases = ENGLISH,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Writes `OUT/<model>/<study>/`, replacing an earlier report of the same study and model.

    Everything is written to a temporary folder that then takes the place of the old one, so that
    an interrupted run leaves the old report whole. Only `provenance.json` holds a time: for the
    same result, all other files are the same byte for byte.

    Args:
        result: what the study found.
        out_dir: where reports go.
        command: as it was typed, for `provenance.json`.
        duration_s: of the study, in seconds, for `provenance.json`.
        words: the language of the page; `findings.json` and the tables do not depend on it.
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        The report's folder.

    Raises:
        InputError: names that cannot be file names, a sentence without its cell, or a folder in
            the way that is no report.
    """
    _check_names(result)
    say = progress or (lambda *_: None)
    target = Path(out_dir) / folder_name(result.model) / folder_name(result.study)
    with replaced_folder(target, mark="findings.json") as folder:
        (folder / "tables").mkdir()
        (folder / "figures").mkdir()
        csvs = {name: csv_text(table.frame) for name, table in result.tables.items()}
        for name, text in csvs.items():
            (folder / "tables" / f"{name}.csv").write_bytes(text.encode())
        pngs = {}
        for done, part in enumerate(result.figures):
            say(f"{result.study}: drawing", done, len(result.figures))
            pngs[part.name] = png_bytes(part.picture)
            (folder / "figures" / f"{part.name}.png").write_bytes(pngs[part.name])
            (folder / "figures" / f"{part.name}.svg").write_bytes(svg_bytes(part.picture))
        say(f"{result.study}: drawing", len(result.figures), len(result.figures))
        page = render_page(result, csvs, pngs, words)
        (folder / "report.html").write_bytes(page.encode())
        _write_json(folder / "findings.json", _findings(result))
        run = {
            "command": command or result.provenance.get("command", ""),
            "commit": commit(),
            "duration_s": duration_s,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        _write_json(folder / "provenance.json", result.provenance | run)
    return target


def render_page(
    result: StudyResult,
    csvs: dict[str, str],
    pngs: dict[str, bytes],
    words: Phrases = ENGLISH,
    *,
    files: bool = True,
) -> str:
    """The page of a study, from its tables as CSV and its pictures as PNG.

    Args:
        result: what the study found.
        csvs: its tables by name.
        pngs: its pictures by figure.
        words: the language.
        files: whether the page lies among the files of a report and may link to them.
    """
    words = words.of_study(result.study)
    view = _view(result, csvs, pngs, words) | {"files": files}
    return render("report.html.j2", view, words)


def _check_names(result: StudyResult) -> None:
    for kind, names in (
        ("table", list(result.tables)),
        ("figure", [part.name for part in result.figures]),
    ):
        for name in names:
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"the {kind} name {name!r} is no file name: use lower-case letters, digits and "
                    "underscores, starting with a letter"
                )
        if len(set(names)) < len(names):
            raise InputError(f"two {kind}s share a name among {', '.join(names)}")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair has no UTF-8; the replacement is JSON's own escape for it.
    path.write_bytes(text.encode("utf-8", "backslashreplace") + b"\n")


def _findings(result: StudyResult) -> dict[str, Any]:
    return {
        "study": result.study,
        "question": result.question,
        "model": result.model,
        "headline": result.headline.stored(result.tables),
        "figures": [_stored(part, result) for part in result.figures],
        "findings": [finding.to_dict() for finding in result.findings],
    }


def _stored(part: FigurePart, result: StudyResult) -> dict[str, Any]:
    return {
        "name": part.name,
        "question": part.question,
        "uninformative": part.uninformative,
        "alt": part.alt.stored(result.tables),
        "answer": part.answer.stored(result.tables),
        "tables": list(part.tables),
    }


# ----------------------------------------------------------------- what the template is given


@dataclass(frozen=True)
class _TableView:
    name: str
    caption: Said
    columns: list[tuple[str, bool]]  # name, holds numbers
    rows: list[list[tuple[str, bool]]]  # text shown, is a text
    n_rows: int
    folded: bool
    link: str


def _view(
    result: StudyResult, csvs: dict[str, str], pngs: dict[str, bytes], words: Phrases
) -> dict[str, Any]:
    tables = {
        name: _table_view(name, table, csvs[name], words) for name, table in result.tables.items()
    }
    kinds = frozenset(part.view.kind for part in result.figures if part.view is not None)
    return {
        "result": result,
        "headline": words.sentence(result.headline, result.tables),
        "figures": [_figure_view(part, result, tables, pngs, words) for part in result.figures],
        "packed": pack({part.name: part.view for part in result.figures if part.view is not None}),
        "viewer": viewer(words.lang, kinds),
        "findings": result.findings,
        "brief": brief_number,
        "shown": shown_text,
        "provenance": _flat(result.provenance),
    }


def _figure_view(
    part: FigurePart,
    result: StudyResult,
    tables: dict[str, _TableView],
    pngs: dict[str, bytes],
    words: Phrases,
) -> dict[str, Any]:
    width, height = (int.from_bytes(pngs[part.name][at : at + 4], "big") for at in (16, 20))
    return {
        "part": part,
        "question": words.say(part.question),
        "how_to_read": words.say(part.how_to_read),
        "scene": words.say(part.scene),
        "source": _data_uri("image/webp", webp_bytes(pngs[part.name])),
        "width": width,
        "height": height,
        "alt": words.sentence(part.alt, result.tables),
        "answer": words.sentence(part.answer, result.tables),
        "change_our_mind": words.sentence(part.change_our_mind, result.tables),
        "tables": [tables[name] for name in part.tables],
        "facts": _flat(result.provenance, _FIGURE_FACTS) | part.facts,
    }


_FIGURE_FACTS = ("model", "weights", "processing", "bos", "prompts", "seed", "dtype", "command")


def _table_view(name: str, table: Table, text: str, words: Phrases) -> _TableView:
    frame = table.frame
    rows: list[list[tuple[str, bool]]] = []
    if table.in_page:
        columns = [frame[column].tolist() for column in frame.columns]
        for values in zip(*columns, strict=True):
            cells = zip(values, frame.columns, strict=True)
            rows.append(
                [(shown_text(value, name), isinstance(value, str | bool)) for value, name in cells]
            )
    link = _data_uri("text/csv;charset=utf-8", text.encode())
    return _TableView(
        name=name,
        caption=words.say(table.caption),
        columns=[(str(name), is_numeric_dtype(frame[name])) for name in frame.columns],
        rows=rows,
        n_rows=len(frame),
        folded=len(frame) > _FEW_ROWS,
        link=link if table.in_page else f"tables/{name}.csv",
    )


def _data_uri(kind: str, content: bytes) -> Markup:
    # Base64 holds no character that HTML knows.
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")


def _flat(facts: dict[str, Any], only: tuple[str, ...] | None = None) -> dict[str, str]:
    """Facts as lines for reading; nested ones as "name value, name value"."""
    shown = {}
    for name, value in facts.items():
        if only is not None and name not in only:
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {inner}" for key, inner in value.items())
        elif isinstance(value, list | tuple):
            value = ", ".join(map(str, value)) or "none"
        shown[name.replace("_", " ")] = safe_text(str(value))
    return shown
