"""Tokens in, logits and activations out.

The names load on first use, so that what needs only the errors (the command line, the corpus) does
not import PyTorch.
"""

from importlib import import_module

_HOME = {
    "ActivationCache": "cache",
    "GPTConfig": "config",
    "HookPoint": "hooks",
    "HookedGPT": "model",
    "InitScales": "model",
    "InputError": "errors",
    "KVCache": "cache",
    "RunError": "errors",
    "hook_name": "cache",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'interp.core' has no attribute {name!r}")
    value = getattr(import_module(f"interp.core.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
