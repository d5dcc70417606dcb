"""Frames in, figures out; nothing is computed here that a table does not already hold.

The names load on first use, so that reading a study's options does not import matplotlib.
"""

from interp._lazy import lazy

_HOME = {
    "OKABE_ITO": "style",
    "Panel": "scores",
    "ability_dots": "abilities",
    "adaptive_gains": "temperature",
    "calibration_panels": "temperature",
    "cue_changes": "contextual",
    "deviations": "scores",
    "divergence_matrix": "patterns",
    "entropy_curve": "temperature",
    "grouped_terms": "scores",
    "head_label": "labels",
    "interval_dots": "scores",
    "loss_dots": "abilities",
    "pattern_mosaic": "patterns",
    "png_bytes": "style",
    "probabilities_by_temperature": "temperature",
    "pruning_dots": "roles",
    "role_and_effect": "roles",
    "role_atlas": "roles",
    "role_by_prompts": "head_roles",
    "roles_by_seed": "roles",
    "row_sums": "patterns",
    "score_and_control": "head_roles",
    "score_terms": "scores",
    "sense_pictures": "contextual",
    "sense_profiles": "contextual",
    "senses_by_layer": "contextual",
    "similarity_by_layer": "contextual",
    "softmax_breaks": "temperature",
    "svg_bytes": "style",
    "token_matrices": "scores",
    "visible_token": "labels",
    "words_or_places": "scores",
}

__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
