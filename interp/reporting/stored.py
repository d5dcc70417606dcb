"""Reports as they lie on disk: what each study found, and what became of the others."""

import json
import re
import string
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp.core.errors import RunError
from interp.core.reading import brief, read_json
from interp.reporting.files import folder_name, write_file
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
        study = read_json(path)
        _check(study, path.parent.name)
        return StoredStudy(
            name=study["study"],
            folder=path.parent.name,
            model=study["model"],
            question=study["question"],
            headline=study["headline"],
            figures=tuple(study["figures"]),
            findings=tuple(Finding(**finding) for finding in study["findings"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"{path} cannot be read as findings ({reason}); run that study again"
        ) from error


# What a report writes; a width of millions would be a text of as many letters.
_FORMAT = re.compile(r"p|[<>^+ ]?\d{0,2},?(\.\d{1,2})?[a-zA-Z%]?")


def _check(study: Any, folder: str) -> None:
    """Everything that pages take from such a file, in kind; a link is made of the folder's name.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: something is missing or of another kind.
    """
    if folder_name(folder) != folder:
        raise ValueError(f"{brief(folder)} is no name of a report's folder")
    texts = [study["study"], study["model"], study["question"]]
    sentences = [study["headline"]]
    for figure in study["figures"]:
        texts += [figure["name"], figure["question"], figure["uninformative"], *figure["tables"]]
        sentences += [figure["alt"], figure["answer"]]
    for sentence in sentences:
        texts.append(sentence["template"])
        for _, name, spec, _ in string.Formatter().parse(sentence["template"]):
            if name is not None and not _FORMAT.fullmatch(spec or ""):
                raise ValueError(f"{brief(spec)} is no format of a number")
        filled(sentence["template"], sentence["values"])
    for finding in study["findings"]:
        texts += [finding[name] for name in ("verdict", "statement")]
        texts += [finding.get(name, "") for name in ("unit", "null_name", "figure")]
        if type(finding["claim"]) is not int:
            raise TypeError(f"a claim has a number, not {brief(finding['claim'])}")
    wrong = next((text for text in texts if not isinstance(text, str)), "")
    if wrong != "":
        raise TypeError(f"{brief(wrong)} stands where a text was expected")


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
            before = {name: _status(one) for name, one in read_json(path).items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise RunError(f"{path} cannot be read ({reason}); remove it") from error
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


def _status(stored: Mapping[str, Any]) -> tuple[str, str]:
    status, reason = stored["status"], stored["reason"]
    if status not in (LEFT_OUT, FAILED) or not isinstance(reason, str):
        raise ValueError(f"{brief(stored)} says nothing about a study")
    return status, reason
