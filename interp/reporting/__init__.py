"""Frames, figures and findings become a report: one HTML file, with tables and figures beside it.

The names load on first use, so that reading a study's options does not import pandas.
"""

from interp._lazy import lazy

_HOME = {
    "Cell": "results",
    "cell_texts": "tables",
    "csv_text": "tables",
    "FAILED": "stored",
    "FigurePart": "results",
    "Finding": "results",
    "folder_name": "files",
    "LANGUAGES": "translation",
    "LEFT_OUT": "stored",
    "phrases": "translation",
    "Sentence": "results",
    "software": "provenance",
    "StudyResult": "results",
    "Table": "results",
    "VERDICTS": "results",
    "View": "views",
    "write_comparison": "compare",
    "write_index": "index",
    "write_report": "report",
}

__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
