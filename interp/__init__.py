"""Takes a GPT apart and measures what its parts do.

The public names load on first use, so that `import interp` costs next to nothing: PyTorch is
imported when a model is, and the plotting libraries when a figure is.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "ActivationCache": "interp.core",
    "Finding": "interp.reporting",
    "GPTConfig": "interp.core",
    "HookedGPT": "interp.core",
    "InputError": "interp.core.errors",
    "Language": "interp.corpus",
    "RECIPES": "interp.learning",
    "RunError": "interp.core.errors",
    "StudyResult": "interp.reporting",
    "load_model": "interp.loading",
    "save": "interp.loading",
    "train": "interp.learning",
    "write_report": "interp.reporting",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'interp' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
