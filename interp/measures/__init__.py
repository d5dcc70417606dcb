"""Model or activations in, tidy frames out: one row per head, pair or position.

The names load on first use, so that reading a study's options does not import PyTorch.
"""

from importlib import import_module

_HOME = {
    "ALPHA": "head_roles",
    "MIN_EFFECT": "head_roles",
    "PromptSet": "stimuli",
    "ROLES": "head_roles",
    "bootstrap_interval": "statistics",
    "confirmed_roles": "head_roles",
    "duplicate_token_scores": "head_roles",
    "false_discovery_q": "statistics",
    "first_token_scores": "head_roles",
    "head_metrics": "head_roles",
    "head_role_scores": "head_roles",
    "induction_scores": "head_roles",
    "js_nats": "patterns",
    "ordinary_tokens": "head_roles",
    "paired_contrast": "statistics",
    "pattern_divergence": "patterns",
    "pattern_sums": "patterns",
    "previous_token_scores": "head_roles",
    "random_token_prompts": "stimuli",
    "role_summary": "head_roles",
    "sign_flip_p": "statistics",
    "text_prompts": "stimuli",
    "weight_and_use": "patterns",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'interp.measures' has no attribute {name!r}")
    value = getattr(import_module(f"interp.measures.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
