"""Word vectors from counts alone: what a text says about its words without any network."""

import numpy as np
from jaxtyping import Float, Int

from interp.core.errors import InputError

WINDOW = 4  # words on each side
SMOOTHING = 0.75  # exponent of the context counts; Levy et al. 2015
MOST_WORDS = 20_000  # the table of counts is dense


def cooccurrence_counts(
    tokens: Int[np.ndarray, "batch pos"], d_vocab: int, window: int = WINDOW
) -> Float[np.ndarray, "d_vocab d_vocab"]:
    """How often two words stand at most `window` places apart; symmetric.

    Raises:
        InputError: an id is outside the vocabulary, or the vocabulary is too large for a table.
    """
    if d_vocab > MOST_WORDS:
        raise InputError(f"a table of {d_vocab} by {d_vocab} words is too large; {MOST_WORDS} is "
                         "the most")  # fmt: skip
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < d_vocab:
        raise InputError(f"token ids run from {tokens.min()} to {tokens.max()}, but there are "
                         f"{d_vocab} words")  # fmt: skip
    counts = np.zeros(d_vocab * d_vocab)
    for lag in range(1, min(window, tokens.shape[1] - 1) + 1):
        both = tokens[:, :-lag].astype(np.int64) * d_vocab + tokens[:, lag:]
        counts += np.bincount(both.ravel(), minlength=d_vocab * d_vocab)
    table = counts.reshape(d_vocab, d_vocab)
    return table + table.T


def ppmi(counts: Float[np.ndarray, "word context"]) -> Float[np.ndarray, "word context"]:
    """Positive pointwise mutual information, nats, with smoothed context counts.

    Source: Levy, Goldberg & Dagan 2015, section 3.
    """
    total = counts.sum()
    if total <= 0:
        raise InputError("there are no co-occurrences to count; is the text empty?")
    word = counts.sum(axis=1, keepdims=True) / total
    context = counts.sum(axis=0) ** SMOOTHING
    expected = word * (context / context.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(counts / total / expected)
    return np.where(counts > 0, information, 0.0).clip(0)


def ppmi_svd(
    tokens: Int[np.ndarray, "batch pos"], d_vocab: int, d_model: int, window: int = WINDOW
) -> Float[np.ndarray, "d_vocab d_model"]:
    """Word vectors: PPMI of co-occurrences, cut to rank `d_model`, U √S.

    Words that never occur get zeros. Where the vocabulary is smaller than `d_model`, the rest of
    the columns are zeros.

    Cost: one SVD of `d_vocab`², about 0.2 s for 540 words.
    """
    U, S, _ = np.linalg.svd(ppmi(cooccurrence_counts(tokens, d_vocab, window)))
    k = min(d_model, d_vocab)
    made = np.zeros((d_vocab, d_model))
    made[:, :k] = U[:, :k] * np.sqrt(S[:k])
    return made
