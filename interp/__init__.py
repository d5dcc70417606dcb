"""Takes a GPT apart and measures what its parts do.

The public names load on first use, so that `import interp` costs next to nothing: PyTorch is
imported when a model is, and the plotting libraries when a figure is.
"""

from interp._lazy import lazy

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
    "probe": "interp.api",
    "report": "interp.api",
    "run_study": "interp.api",
    "save": "interp.loading",
    "train": "interp.learning",
    "write_report": "interp.reporting",
}

__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
