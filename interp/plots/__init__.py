"""Frames in, figures out; nothing is computed here that a table does not already hold.

The names load on first use, so that reading a study's options does not import matplotlib.
"""

from importlib import import_module

_HOME = {
    "OKABE_ITO": "style",
    "ability_dots": "abilities",
    "divergence_matrix": "patterns",
    "head_label": "labels",
    "loss_dots": "abilities",
    "pattern_mosaic": "patterns",
    "png_bytes": "style",
    "role_by_prompts": "head_roles",
    "role_heatmap": "head_roles",
    "role_heatmaps": "head_roles",
    "row_sums": "patterns",
    "score_and_control": "head_roles",
    "svg_bytes": "style",
    "visible_token": "labels",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'interp.plots' has no attribute {name!r}")
    value = getattr(import_module(f"interp.plots.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
