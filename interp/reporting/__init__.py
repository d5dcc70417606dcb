"""Frames, figures and findings become a report: one HTML file, with tables and figures beside it.

The names load on first use, so that reading a study's options does not import pandas.
"""

from interp._lazy import lazy

_HOME = {
    "Cell": "results",
    "FigurePart": "results",
    "Finding": "results",
    "Sentence": "results",
    "StudyResult": "results",
    "Table": "results",
    "VERDICTS": "results",
    "View": "views",
    "cell_texts": "tables",
    "csv_text": "tables",
    "folder_name": "files",
    "software": "provenance",
    "write_index": "index",
    "write_report": "report",
}

__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
