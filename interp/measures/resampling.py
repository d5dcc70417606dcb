"""Bootstrap weights, so that ratios and many columns can share their resamples."""

import numpy as np
from jaxtyping import Float


def resample_weights(
    units: np.ndarray, n_resamples: int, seed: int = 0
) -> Float[np.ndarray, "resample prompt"]:
    """Weights of prompts in bootstrap resamples of the units that they belong to.

    A resample draws as many units as there are, with replacement; each brings all its prompts. The
    weights of a resample sum to 1, so `weights @ values` are resampled means over prompts.

    Args:
        units: the unit of each prompt (template, or the prompt itself).
        n_resamples: rows.
        seed: of the draws.

    Cost: `n_resamples * len(units)` numbers.
    """
    names, owner = np.unique(units, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_resamples)
    weights = counts[:, owner].astype(float)
    return weights / weights.sum(1, keepdims=True)
