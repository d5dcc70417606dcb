"""Weights and tokenizers in and out: a name or a path becomes a model, a model becomes files.

The names load on first use: listing what can be loaded (`interp.loading.names`) imports no PyTorch.
"""

from interp._lazy import lazy

_HOME = {
    "TextTokenizer": "interp.loading.tokenizer",
    "load_model": "interp.loading.load",
    "model_names": "interp.loading.names",
    "save": "interp.loading.saving",
    "weights_hash": "interp.loading.provenance",
}

__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
