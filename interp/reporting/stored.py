"""Reports as they lie on disk: what each study found, and what became of the others."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp.core.errors import RunError
from interp.reporting.files import write_file
from interp.reporting.results import Finding, filled

STATUS_FILE = "status.json"
LEFT_OUT, FAILED = "left out", "failed"


@dataclass(frozen=True)
class StoredStudy:
    """A study's `findings.json`.

    Attributes:
        name: of the study.
        folder: of its report, beside `index.html`.
        model: that was measured.
        question: what it asks.
        headline: the answer, as `Sentence.stored` gives it.
        figures: what `findings.json` says of each.
        findings: one per claim.
    """

    name: str
    folder: str
    model: str
    question: str
    headline: dict[str, Any]
    figures: tuple[dict[str, Any], ...]
    findings: tuple[Finding, ...]

    @property
    def verdicts(self) -> Counter[str]:
        """How often each verdict was given."""
        return Counter(finding.verdict for finding in self.findings)


def read_studies(model_dir: Path) -> list[StoredStudy]:
    """The studies in a model's folder, by folder name.

    Raises:
        RunError: a findings file cannot be read.
    """
    return [_read(path) for path in sorted(model_dir.glob("[!.]*/findings.json"))]


def _read(path: Path) -> StoredStudy:
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
        sentences = [study["headline"]]
        for figure in study["figures"]:
            sentences += [figure["alt"], figure["answer"]]
        for sentence in sentences:
            filled(sentence["template"], sentence["values"])
        return StoredStudy(
            name=study["study"],
            folder=path.parent.name,
            model=study["model"],
            question=study["question"],
            headline=study["headline"],
            figures=tuple(study["figures"]),
            findings=tuple(Finding(**finding) for finding in study["findings"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read as findings ({error}); run that study again"
        ) from error


def kept_outcomes(
    model_dir: Path, news: Mapping[str, tuple[str, str]], done: set[str]
) -> dict[str, tuple[str, str]]:
    """What became of studies that gave no report, in this run or an earlier one.

    Args:
        model_dir: where `status.json` lies.
        news: status (`LEFT_OUT` or `FAILED`) and reason of each study, in this run.
        done: studies that gave a report in this run: what was said of them before is over.

    Returns:
        Status and reason by study; also written to `status.json`, if there are any.
    """
    path = model_dir / STATUS_FILE
    before: dict[str, tuple[str, str]] = {}
    if path.is_file():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            before = {name: (one["status"], one["reason"]) for name, one in stored.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path} cannot be read ({error}); remove it") from error
    kept = {name: one for name, one in (before | dict(news)).items() if name not in done}
    if kept:
        content = {
            name: {"status": status, "reason": reason}
            for name, (status, reason) in sorted(kept.items())
        }
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write_file(path, text.encode("utf-8", "backslashreplace") + b"\n")
    else:
        path.unlink(missing_ok=True)
    return kept
