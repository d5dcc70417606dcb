"""The page over all studies of a model, and their findings as one table."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from interp.core.errors import RunError
from interp.reporting.files import write_file
from interp.reporting.pages import render
from interp.reporting.results import VERDICTS, Finding
from interp.reporting.tables import brief_number, csv_text

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


def write_index(model_dir: str | Path) -> Path:
    """Writes `index.html` and `claims.csv` from the `findings.json` of each study in a folder.

    Args:
        model_dir: `OUT/<model>`, which holds a folder per study.

    Returns:
        The index page.

    Raises:
        RunError: no study has been reported there, or a findings file cannot be read.
    """
    folder = Path(model_dir)
    studies = [_read(path) for path in sorted(folder.glob("[!.]*/findings.json"))]
    if not studies:
        raise RunError(f"{folder} holds no report; `interp run` or `interp report` writes one")
    rows = [
        {"study": study["study"], "folder": study["folder"]} | finding
        for study in studies
        for finding in study["findings"]
    ]
    rows.sort(key=lambda row: (row["claim"], row["study"]))
    write_file(folder / "claims.csv", csv_text(pd.DataFrame(rows, columns=_COLUMNS, dtype=object)))
    view = {
        "model": studies[0]["model"],
        "studies": studies,
        "claims": rows,
        "verdicts": VERDICTS,
        "brief": brief_number,
    }
    page = folder / "index.html"
    write_file(page, render("index.html.j2", view))
    return page


def _read(path: Path) -> dict[str, Any]:
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
        findings = [Finding(**finding).to_dict() for finding in study["findings"]]
        verdicts = Counter(finding["verdict"] for finding in findings)
        return study | {"folder": path.parent.name, "findings": findings, "verdicts": verdicts}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read as findings ({error}); run that study again"
        ) from error
