"""Two models' reports side by side: claim by claim and figure by figure, from the files on disk."""

import base64
import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup

from interp.core.errors import InputError, RunError
from interp.core.reading import brief_name, read_json
from interp.reporting.claims import lectures
from interp.reporting.files import folder_name, replaced_folder
from interp.reporting.pages import render
from interp.reporting.results import Finding
from interp.reporting.stored import StoredStudy, read_studies
from interp.reporting.tables import brief_number, csv_text
from interp.reporting.translation import ENGLISH, Phrases, Said

MARK = "comparison.json"
OVERLAP, APART = "overlap", "apart"
_MANY_ROWS = 200  # of a table; longer ones are linked
_PNG = b"\x89PNG\r\n"


@dataclass(frozen=True)
class _Report:
    folder: Path
    model: str
    studies: dict[str, StoredStudy]


@dataclass(frozen=True)
class Pair:
    """One finding on each of two models, or on one of them only.

    Attributes:
        claim: its number.
        study: that measured it.
        a: the finding on the first model.
        b: the finding on the second.
    """

    claim: int
    study: str
    a: Finding | None
    b: Finding | None

    @property
    def same_verdict(self) -> bool | None:
        """Whether the verdicts are equal; None where one is missing."""
        return None if self.a is None or self.b is None else self.a.verdict == self.b.verdict

    @property
    def difference(self) -> float | None:
        """Second minus first value; None where they do not count the same."""
        if self.a is None or self.b is None or self.a.unit != self.b.unit:
            return None
        if self.a.value is None or self.b.value is None:
            return None
        return float(self.b.value) - float(self.a.value)

    @property
    def intervals(self) -> str | None:
        """Whether the intervals overlap; None where there are no two, or units differ."""
        if self.difference is None:
            return None
        ends = (self.a.ci_low, self.a.ci_high, self.b.ci_low, self.b.ci_high)
        if any(end is None for end in ends):
            return None
        a_low, a_high, b_low, b_high = map(float, ends)
        return OVERLAP if a_low <= b_high and b_low <= a_high else APART


def write_comparison(
    a: str | Path,
    b: str | Path,
    out_dir: str | Path = "reports",
    *,
    words: Phrases = ENGLISH,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Writes `OUT/compare/<A>--<B>/`: `index.html`, a page per study, and `claims.csv`.

    No model is loaded and nothing is measured.

    Args:
        a: a model's report folder, or the name of a model whose report is in `out_dir`.
        b: another.
        out_dir: where reports are, and where the comparison goes.
        words: the language of the pages.
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        The folder.

    Raises:
        InputError: a folder that holds no report, the same folder twice, or no study that both
            reports have.
        RunError: a findings file that cannot be read.
    """
    out = Path(out_dir)
    reports = _report_of(a, out), _report_of(b, out)
    if reports[0].folder.resolve() == reports[1].folder.resolve():
        raise InputError(f"{a} and {b} are the same report; compare two different ones")
    studies = _shared(reports)
    say = progress or (lambda *_: None)
    names = _labels(reports)
    target = out / "compare" / folder_name(f"{names[0]}--{names[1]}")
    with replaced_folder(target, MARK) as folder:
        pairs = _pairs(reports)
        rows = [_row(pair) for pair in pairs]
        (folder / "claims.csv").write_bytes(csv_text(_frame(rows)).encode())
        for done, study in enumerate(studies):
            say("comparing figures", done, len(studies))
            page = render("compare_study.html.j2", _study(study, reports, names, out, words), words)
            (folder / f"{folder_name(study)}.html").write_bytes(page.encode())
        say("comparing figures", len(studies), len(studies))
        index = render("compare.html.j2", _index(studies, pairs, reports, names, out, words), words)
        (folder / "index.html").write_bytes(index.encode())
        content = {"a": reports[0].model, "b": reports[1].model, "claims": rows}
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / MARK).write_bytes(text.encode("utf-8", "backslashreplace") + b"\n")
    return target


def _report_of(name: str | Path, out: Path) -> _Report:
    """The report in a folder, or that of a model of this name."""
    places = [Path(name), out / folder_name(str(name))]
    for folder in places:
        studies = read_studies(folder) if _is_folder(folder) else []
        if studies:
            return _Report(folder, studies[0].model, {study.name: study for study in studies})
    there = sorted(path.parent.name for path in out.glob("[!.]*/index.html"))
    known = f"there are reports of {', '.join(there)}" if there else "there are none yet"
    raise InputError(
        f"{brief_name(name)} is neither a report folder nor a model with a report in {out} "
        f"({known}); `interp report -m MODEL` writes one"
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long a name
        return False


def _shared(reports: tuple[_Report, _Report]) -> list[str]:
    a, b = reports
    if not set(a.studies) & set(b.studies):
        raise InputError(
            f"no study has a report in both: {a.folder} has {', '.join(sorted(a.studies))}; "
            f"{b.folder} has {', '.join(sorted(b.studies))}"
        )
    return sorted(set(a.studies) | set(b.studies))


def _labels(reports: tuple[_Report, _Report]) -> tuple[str, str]:
    """What the two are called: their models, or their folders where it is one model twice."""
    a, b = reports
    if a.model != b.model:
        return a.model, b.model
    return f"{a.model} ({a.folder})", f"{b.model} ({b.folder})"


# --------------------------------------------------------------------------------- the claims


def _pairs(reports: tuple[_Report, _Report]) -> list[Pair]:
    """Findings of one study on one claim side by side, by claim and study."""
    found: list[dict[tuple[int, str], list[Finding]]] = [{}, {}]
    for side, report in zip(found, reports, strict=True):
        for study in report.studies.values():
            for finding in study.findings:
                side.setdefault((finding.claim, study.name), []).append(finding)
    return [
        Pair(claim, study, a, b)
        for claim, study in sorted({*found[0], *found[1]})
        for a, b in zip_longest(*(side.get((claim, study), []) for side in found))
    ]


def _row(pair: Pair) -> dict[str, Any]:
    row: dict[str, Any] = {"claim": pair.claim, "study": pair.study}
    for side, finding in (("a", pair.a), ("b", pair.b)):
        for name in ("verdict", "value", "unit", "ci_low", "ci_high", "n"):
            row[f"{name}_{side}"] = None if finding is None else getattr(finding, name)
    row |= {"difference": pair.difference, "intervals": pair.intervals}
    return row | {"same_verdict": pair.same_verdict}


def _frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, dtype=object)


# ------------------------------------------------------------------- what the templates are given


def _index(
    studies: Sequence[str],
    pairs: Sequence[Pair],
    reports: tuple[_Report, _Report],
    names: tuple[str, str],
    out: Path,
    words: Phrases,
) -> dict[str, Any]:
    by_claim: dict[int, list[Pair]] = {}
    for pair in pairs:
        by_claim.setdefault(pair.claim, []).append(pair)
    sections = [
        {
            "id": section.id,
            "title": words.either(section.title),
            "claims": [
                (claim, by_claim[claim.number])
                for claim in section.claims
                if claim.number in by_claim
            ],
        }
        for lecture in lectures()
        for section in lecture.sections
    ]
    both = [pair for pair in pairs if pair.same_verdict is not None]
    return {
        "names": names,
        "links": [_path(report.folder / "index.html", names, out) for report in reports],
        "sections": [section for section in sections if section["claims"]],
        "n_both": len(both),
        "n_same": sum(bool(pair.same_verdict) for pair in both),
        "differ": [pair for pair in both if not pair.same_verdict],
        "studies": [
            {
                "name": study,
                "page": quote(f"{folder_name(study)}.html"),
                "question": _question(study, reports, words),
                "options": ", ".join(_options(study, reports)),
                "only": [
                    name
                    for name, report, other in zip(names, reports, reports[::-1], strict=True)
                    if study in report.studies and study not in other.studies
                ],
            }
            for study in studies
        ],
        "brief": brief_number,
        "unit": lambda pair, finding: words.of_study(pair.study).say(finding.unit),
    }


def _options(study: str, reports: tuple[_Report, _Report]) -> list[str]:
    """Options that the two runs of a study did not share, as "name first/second"."""
    options = []
    for report in reports:
        stored = report.studies.get(study)
        try:
            path = report.folder / stored.folder / "provenance.json" if stored else None
            read = read_json(path)["options"] if path else None
        except (InputError, KeyError, TypeError):
            read = None
        options.append(read)
    if not all(isinstance(one, dict) for one in options):
        return []
    a, b = options
    names = [name for name in sorted({*a, *b}) if a.get(name) != b.get(name)]
    return [f"{name} {a.get(name)!s:.80}/{b.get(name)!s:.80}" for name in names]


def _question(study: str, reports: tuple[_Report, _Report], words: Phrases) -> Said:
    stored = next(report.studies[study] for report in reports if study in report.studies)
    return words.of_study(study).say(stored.question)


def _study(
    study: str,
    reports: tuple[_Report, _Report],
    names: tuple[str, str],
    out: Path,
    words: Phrases,
) -> dict[str, Any]:
    own = words.of_study(study)
    sides = [report.studies.get(study) for report in reports]
    figures: dict[str, list[dict[str, Any] | None]] = {}
    for at, side in enumerate(sides):
        for figure in side.figures if side else ():
            figures.setdefault(figure["name"], [None, None])[at] = figure
    return {
        "study": study,
        "names": names,
        "question": _question(study, reports, words),
        "options": ", ".join(_options(study, reports)),
        "headlines": [own.stored(side.headline) if side else None for side in sides],
        "figures": [
            {
                "name": name,
                "question": own.say(next(filter(None, pair))["question"]),
                "sides": [
                    _side(figure, report.folder / side.folder, names, out, own)
                    if figure and side
                    else None
                    for figure, report, side in zip(pair, reports, sides, strict=True)
                ],
            }
            for name, pair in figures.items()
        ],
    }


def _side(
    figure: dict[str, Any], folder: Path, names: tuple[str, str], out: Path, words: Phrases
) -> dict[str, Any]:
    picture = folder / "figures" / f"{folder_name(figure['name'])}.png"
    content = _bytes_of(picture, folder)
    if not content.startswith(_PNG):
        content = b""
    return {
        "source": content and _data_uri("image/png", content),
        "width": int.from_bytes(content[16:20], "big"),
        "height": int.from_bytes(content[20:24], "big"),
        "alt": words.stored(figure["alt"]),
        "answer": words.stored(figure["answer"]),
        "uninformative": words.say(figure["uninformative"]),
        "link": _path(folder / "report.html", names, out) + f"#{quote(figure['name'])}",
        "table": _table(folder, figure["tables"]),
    }


def _table(folder: Path, tables: Sequence[str]) -> dict[str, Any] | None:
    """The plotted numbers: the figure's first table, unless it is long or missing."""
    if not tables:
        return None
    path = folder / "tables" / f"{folder_name(tables[0])}.csv"
    content = _bytes_of(path, folder)
    if not content:
        return None
    try:
        header, *rows = csv.reader(io.StringIO(content.decode("utf-8")), strict=True)
    except (csv.Error, ValueError) as error:
        raise RunError(
            f"{path} cannot be read as a table ({error}); run that study again"
        ) from error
    if len(rows) > _MANY_ROWS:
        return None
    link = _data_uri("text/csv;charset=utf-8", content)
    return {"name": tables[0], "header": header, "rows": rows, "link": link}


def _bytes_of(path: Path, folder: Path) -> bytes:
    """A file of a report; empty where there is none, or a link that leads out of the report."""
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        return b""
    return path.read_bytes()


def _path(file: Path, names: tuple[str, str], out: Path) -> str:
    """From the comparison's folder to a file of a report."""
    here = out / "compare" / folder_name(f"{names[0]}--{names[1]}")
    try:
        return quote(Path(os.path.relpath(file, here)).as_posix())
    except ValueError:  # another drive
        return file.resolve().as_uri()


def _data_uri(kind: str, content: bytes) -> Markup:
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")
