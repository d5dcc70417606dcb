"""Tokens in, logits and activations out."""

from interp.core.cache import ActivationCache, KVCache, hook_name
from interp.core.config import GPTConfig
from interp.core.errors import InputError, RunError
from interp.core.hooks import HookPoint
from interp.core.model import HookedGPT, InitScales

__all__ = [
    "ActivationCache",
    "GPTConfig",
    "HookPoint",
    "HookedGPT",
    "InitScales",
    "InputError",
    "KVCache",
    "RunError",
    "hook_name",
]
