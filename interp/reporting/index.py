"""The pages over all studies of a model: the studies, and the lectures' claims one by one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from interp.core.errors import RunError
from interp.reporting.claims import Claim, lectures
from interp.reporting.files import write_file
from interp.reporting.pages import render
from interp.reporting.results import VERDICTS, Finding
from interp.reporting.stored import FAILED, LEFT_OUT, StoredStudy, kept_outcomes, read_studies
from interp.reporting.tables import brief_number, csv_text
from interp.reporting.translation import ENGLISH, Phrases, Said

MIXED, NOT_RUN, NOT_A_MODEL = "studies differ", "not run", "not about a model"
KINDS = (*VERDICTS, MIXED, NOT_RUN, NOT_A_MODEL)
_COLUMNS = [
    "claim",
    "study",
    "verdict",
    "statement",
    "value",
    "unit",
    "ci_low",
    "ci_high",
    "null",
    "null_name",
    "p",
    "q",
    "n",
    "figure",
]


def write_index(
    model_dir: str | Path,
    *,
    expected: Mapping[str, str] | None = None,
    outcomes: Mapping[str, tuple[str, str]] | None = None,
    done: Sequence[str] = (),
    words: Phrases = ENGLISH,
) -> Path:
    """Writes `index.html`, `claims.html` and `claims.csv` from what the studies in a folder found.

    Args:
        model_dir: `OUT/<model>`, which holds a folder per study.
        expected: all studies that there are, each with its question.
        outcomes: status ("left out" or "failed") and reason of studies that gave no report now.
        done: studies that gave a report now.
        words: the language of the pages.

    Returns:
        The index page.

    Raises:
        RunError: no study has been reported there, or a findings file cannot be read.
    """
    folder = Path(model_dir)
    studies = read_studies(folder)
    if not studies:
        raise RunError(f"{folder} holds no report; `interp run` or `interp report` writes one")
    missing = kept_outcomes(folder, outcomes or {}, set(done))
    write_file(folder / "claims.csv", csv_text(_frame(studies)))
    lectures_view = _lectures(studies, words)
    counts = Counter(
        claim.kind
        for lecture in lectures_view
        for section in lecture["sections"]
        for claim in section["claims"]
    )
    view = {
        "model": studies[0].model,
        "studies": _studies(studies, expected or {}, missing, words),
        "lectures": lectures_view,
        "kinds": [kind for kind in KINDS if counts[kind]],
        "counts": counts,
        "verdicts": VERDICTS,
        "brief": brief_number,
        "n_claims": counts.total(),
    }
    write_file(folder / "claims.html", render("claims.html.j2", view, words))
    page = folder / "index.html"
    write_file(page, render("index.html.j2", view, words))
    return page


def _frame(studies: Sequence[StoredStudy]) -> pd.DataFrame:
    rows = [
        {"study": study.name} | finding.to_dict() for study in studies for finding in study.findings
    ]
    rows.sort(key=lambda row: (row["claim"], row["study"]))
    return pd.DataFrame(rows, columns=_COLUMNS, dtype=object)


# ------------------------------------------------------------------- what the templates are given


def _studies(
    studies: Sequence[StoredStudy],
    expected: Mapping[str, str],
    missing: Mapping[str, tuple[str, str]],
    words: Phrases,
) -> list[dict[str, Any]]:
    """One entry per study, those with a report first."""
    shown = []
    for study in studies:
        own = words.of_study(study.name)
        shown.append(
            {
                "name": study.name,
                "status": "done",
                "question": own.say(study.question),
                "page": f"{study.folder}/report.html",
                "headline": own.stored(study.headline),
                "verdicts": study.verdicts,
                "n_figures": len(study.figures),
                "uninformative": [
                    (own.say(figure["question"]), own.say(figure["uninformative"]))
                    for figure in study.figures
                    if figure["uninformative"]
                ],
                "failed": missing.get(study.name, ("", ""))[1],
            }
        )
    there = {study.name for study in studies}
    for name in sorted({*expected, *missing} - there):
        status, reason = missing.get(name, (NOT_RUN, ""))
        question = words.of_study(name).say(expected.get(name, name))
        shown.append({"name": name, "status": status, "question": question, "reason": reason})
    order = ("done", FAILED, LEFT_OUT, NOT_RUN)
    return sorted(shown, key=lambda study: order.index(study["status"]))


@dataclass(frozen=True)
class _FindingView:
    finding: Finding
    study: str
    link: str
    question: Said
    statement: Said
    unit: Said
    null_name: Said


@dataclass(frozen=True)
class _ClaimView:
    claim: Claim
    kind: str  # one of KINDS
    findings: list[_FindingView]


def _lectures(studies: Sequence[StoredStudy], words: Phrases) -> list[dict[str, Any]]:
    found: dict[int, list[_FindingView]] = {}
    for study in studies:
        for finding in study.findings:
            found.setdefault(finding.claim, []).append(_finding_view(study, finding, words))
    return [
        {
            "title": words.either(lecture.title),
            "sections": [
                {
                    "id": section.id,
                    "title": words.either(section.title),
                    "claims": [
                        _ClaimView(claim, kind_of(claim, of_claim), of_claim)
                        for claim in section.claims
                        for of_claim in [found.get(claim.number, [])]
                    ],
                }
                for section in lecture.sections
            ],
        }
        for lecture in lectures()
    ]


def _finding_view(study: StoredStudy, finding: Finding, words: Phrases) -> _FindingView:
    own = words.of_study(study.name)
    return _FindingView(
        finding=finding,
        study=study.name,
        link=f"{study.folder}/report.html" + (f"#{finding.figure}" if finding.figure else ""),
        question=own.say(study.question),
        statement=own.say(finding.statement),
        unit=own.say(finding.unit),
        null_name=own.say(finding.null_name),
    )


def kind_of(claim: Claim, findings: Sequence[_FindingView]) -> str:
    """The verdict that all studies share; undecided ones do not count beside others."""
    if not findings:
        return NOT_RUN if claim.study else NOT_A_MODEL
    verdicts = {one.finding.verdict for one in findings}
    decided = verdicts - {"undecided", "not applicable"} or verdicts - {"not applicable"}
    decided = decided or verdicts
    return next(iter(decided)) if len(decided) == 1 else MIXED
