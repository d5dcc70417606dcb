"""Embeddings with a planted direction, after the recipe (vi-g) of the planted circuits."""

import numpy as np


def planted(n_pairs, width, eta, seed, n_words=0, base=3.0):
    """Rows of firsts, seconds, then unrelated words; the direction g (RIGOUR C2, vi-g)."""
    rng = np.random.default_rng(seed)

    def unit(n):
        drawn = rng.standard_normal((n, width))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    g, shared = unit(1)[0], base * unit(n_pairs)
    first, second = shared - g + eta * unit(n_pairs), shared + g + eta * unit(n_pairs)
    vectors = np.concatenate([first, second, base * unit(n_words)] if n_words else [first, second])
    return vectors, np.stack([np.arange(n_pairs), np.arange(n_pairs) + n_pairs], axis=1), g
