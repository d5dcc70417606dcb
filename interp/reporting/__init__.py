"""Frames, figures and findings become a report: one HTML file, with tables and figures beside it.

The names load on first use, so that reading a study's options does not import pandas.
"""

from importlib import import_module

_HOME = {
    "Cell": "results",
    "FigurePart": "results",
    "Finding": "results",
    "Sentence": "results",
    "StudyResult": "results",
    "Table": "results",
    "VERDICTS": "results",
    "cell_texts": "tables",
    "csv_text": "tables",
    "folder_name": "files",
    "software": "provenance",
    "write_index": "index",
    "write_report": "report",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'interp.reporting' has no attribute {name!r}")
    value = getattr(import_module(f"interp.reporting.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
