"""Text for the study of the unembedding: windows to score, and counts of pairs of tokens."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp import corpus
from studies import _prompts

if TYPE_CHECKING:
    from interp.core import HookedGPT

MOST_TOKENS = 2000  # tokens whose pairs are counted, the most frequent ones
SMALL_VOCABULARY = 5000  # tokens; above, a table of all pairs is too large


@dataclass(frozen=True)
class Counted:
    """Pairs counted in two texts that share no window.

    Attributes:
        ids: the tokens, special ones left out.
        fitted: [token token] of the first text.
        held_out: the same of the second.
        unigram: [d_vocab], of the first text.
        bigram: [d_vocab d_vocab] of the first text; None for a large vocabulary.
        described: what was counted.
    """

    ids: np.ndarray
    fitted: np.ndarray
    held_out: np.ndarray
    unigram: np.ndarray
    bigram: np.ndarray | None
    described: str


def windows_of(model: "HookedGPT", n_windows: int, seed: int) -> tuple[list[np.ndarray], str]:
    """Text that the model may have been trained on; random tokens where none is known."""
    if _prompts.speaks_the_language(model):
        n_tokens = min(model.config.n_ctx, _prompts.LONGEST_WINDOW) + 1
        windows = corpus.Language().batch(seed, n_windows, n_tokens, namespace=_prompts.HELD_OUT)
        return [windows], f"{n_windows} held-out windows of {n_tokens} tokens of the small language"
    text = _prompts.text_prompts(model, n_windows, seed)
    text = text or _prompts.random_prompts(model, n_windows, seed)
    sides = [np.asarray(getattr(batch, text.plain)) for batch in text.batches]
    return [side for side in sides if side.shape[1] >= 2], text.description


def counted_text(model: "HookedGPT", n_tokens: int, seed: int) -> Counted | None:
    """Counts from the model's kind of text; None where no such text is known.

    Args:
        model: any HookedGPT.
        n_tokens: of both texts together, about.
        seed: of the texts.
    """
    d_vocab, task = model.config.d_vocab, corpus.TriggerTask()
    if _prompts.speaks_the_language(model):
        language = corpus.Language()
        n = -(-n_tokens // 64)
        windows = [language.batch(seed, n, 65, namespace="ngrams")]
        what = "the small language"
    elif model.tokenizer is None:
        if (d_vocab, model.config.n_ctx) != (task.d_vocab, task.n_ctx):
            return None
        n = -(-n_tokens // task.n_ctx)
        windows = [task.batch(np.random.default_rng([seed, 11]), n, task.n_ctx).tokens]
        what = "the trigger task"
    else:
        # Templates repeat, so more stories would only repeat the same pairs.
        text = _prompts.text_prompts(model, min(512, n_tokens // 50), seed + 1)
        if text is None:
            return None
        windows = [np.asarray(getattr(batch, text.plain)) for batch in text.batches]
        what = "English stories from a few templates"
    halves = [[window[side::2] for window in windows] for side in (0, 1)]
    special = set(_special(model))
    unigram = _count(halves[0], d_vocab)
    ids = np.array([i for i in np.argsort(-unigram, kind="stable") if i not in special])
    ids = np.sort(ids[unigram[ids] > 0][:MOST_TOKENS])
    if len(ids) < 4:
        return None
    fitted, held_out = (_pairs(half, ids, d_vocab) for half in halves)
    small = d_vocab <= SMALL_VOCABULARY
    bigram = _pairs(halves[0], np.arange(d_vocab), d_vocab) if small else None
    total = int(fitted.sum() + held_out.sum())
    described = f"{total:,} pairs of {len(ids)} tokens in two halves of a text of {what}"
    return Counted(ids, fitted, held_out, unigram, bigram, described)


def _special(model: "HookedGPT") -> list[int]:
    if model.tokenizer is None:
        return [0]
    ids = (model.tokenizer.bos_id, model.tokenizer.pad_id)
    return [token for token in ids if token is not None]


def _count(windows: list[np.ndarray], d_vocab: int) -> np.ndarray:
    return sum(np.bincount(w[:, 1:].ravel(), minlength=d_vocab) for w in windows if w.size)


def _pairs(windows: list[np.ndarray], ids: np.ndarray, d_vocab: int) -> np.ndarray:
    """How often each of these tokens followed each."""
    place = np.full(d_vocab, -1)
    place[ids] = np.arange(len(ids))
    counts = np.zeros(len(ids) ** 2)
    for window in windows:
        one, two = place[window[:, :-1]].ravel(), place[window[:, 1:]].ravel()
        both = (one >= 0) & (two >= 0)
        counts += np.bincount(one[both] * len(ids) + two[both], minlength=len(counts))
    return counts.reshape(len(ids), len(ids))


def exact_table(model: "HookedGPT", windows: np.ndarray) -> np.ndarray | None:
    """The language's own probabilities after every token but the last; None elsewhere.

    Returns:
        [context d_vocab], window by window.
    """
    if not _prompts.speaks_the_language(model):
        return None
    language = corpus.Language()
    ids, rows = language.tokenizer.ids, []
    for window in windows.tolist():
        at = language.filter(window[:1])
        for token in window[1:]:
            row = np.zeros(len(ids))
            for word, p in at.distribution().items():
                row[ids[word]] += p
            rows.append(row)
            at.advance(language.vocab[token])
    return np.array(rows)


def exact_losses(model: "HookedGPT", windows: list[np.ndarray]) -> np.ndarray | None:
    """What the best possible model loses on each window, nats per token; None elsewhere."""
    if not _prompts.speaks_the_language(model):
        return None
    language = corpus.Language()
    return np.array([-language.log_probs(row).mean() for window in windows for row in window])


def unspeakable(seed: int, n: int = 200) -> list[str]:
    """Words that no vocabulary of words can hold: random letters of many scripts, and emoji."""
    rng = np.random.default_rng([seed, 42])
    blocks = [(0x61, 0x7A), (0xE0, 0xF6), (0x3B1, 0x3C9), (0x430, 0x44F), (0x5D0, 0x5EA)]
    blocks += [(0x905, 0x939), (0xAC00, 0xD7A3), (0x4E00, 0x9FFF), (0x1F300, 0x1F5FF)]
    words = []
    for _ in range(n):
        low, high = blocks[rng.integers(len(blocks))]
        words.append("".join(chr(c) for c in rng.integers(low, high + 1, rng.integers(4, 12))))
    return words
