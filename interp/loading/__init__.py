"""Weights and tokenizers in and out: a name or a path becomes a model, a model becomes files.

The names load on first use: listing what can be loaded (`interp.loading.names`) imports no PyTorch.
"""

from importlib import import_module

_HOME = {
    "TextTokenizer": "interp.loading.tokenizer",
    "load_model": "interp.loading.load",
    "model_names": "interp.loading.names",
    "save": "interp.loading.saving",
    "weights_hash": "interp.loading.provenance",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'interp.loading' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
