"""Model or activations in, tidy frames out: one row per head, pair or position.

The names load on first use, so that reading a study's options does not import PyTorch.
"""

from importlib import import_module

_HOME = {
    "ABLATIONS": "ablation",
    "ALPHA": "head_roles",
    "Asked": "scenes",
    "MIN_EFFECT": "head_roles",
    "PromptSet": "stimuli",
    "QUADRANTS": "ablation",
    "REGISTRY": "roles",
    "ROLES": "head_roles",
    "Role": "roles",
    "Scene": "scenes",
    "Suite": "scenes",
    "attention_pattern": "score_sources",
    "bootstrap_interval": "statistics",
    "causal_effects": "ablation",
    "confirmed_labels": "ablation",
    "confirmed_roles": "head_roles",
    "detect_roles": "detectors",
    "duplicate_token_scores": "head_roles",
    "false_discovery_q": "statistics",
    "first_token_scores": "head_roles",
    "head_descriptors": "descriptors",
    "head_metrics": "head_roles",
    "head_role_scores": "head_roles",
    "induction_scores": "head_roles",
    "induction_verdict": "ablation",
    "js_nats": "patterns",
    "labels": "detectors",
    "lag_profile": "descriptors",
    "language_suite": "language_scenes",
    "match_offset_profile": "detectors",
    "max_t_p": "statistics",
    "missing_roles": "detectors",
    "ordinary_tokens": "head_roles",
    "pair_scene": "scenes",
    "paired_contrast": "statistics",
    "pattern_divergence": "patterns",
    "pattern_sums": "patterns",
    "previous_token_scores": "head_roles",
    "quadrants": "ablation",
    "random_token_prompts": "stimuli",
    "read_suite": "readout",
    "role_strength": "detectors",
    "role_summary": "head_roles",
    "sign_flip_p": "statistics",
    "sources_of_preference": "score_sources",
    "stream_sources": "score_sources",
    "successors": "language_scenes",
    "suite_from_prompts": "scenes",
    "suite_of": "scenes",
    "text_prompts": "stimuli",
    "weight_and_use": "patterns",
    "windows_by_length": "scenes",
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
