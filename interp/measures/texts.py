"""How varied generated texts are, how much they repeat, and how much of them is grammatical."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core.errors import InputError
from interp.measures.statistics import bootstrap_interval

if TYPE_CHECKING:
    from interp.core import HookedGPT
    from interp.corpus import Language

REPEATED = 4  # tokens; longer runs seldom come twice by chance
_FULL_STOP = "."
_STOPS_WITHIN = 3  # a block of random words is said three times at most


@torch.no_grad()
def temperature_texts(
    model: "HookedGPT",
    prompts: Int[Tensor, "seed pos"],
    temperatures: Sequence[int | float],
    n_new: int,
    seed: int = 0,
) -> dict[float, Int[Tensor, "seed pos_all"]]:
    """Continuations of the same prompts at each temperature.

    Row r draws from the stream `seed + r` at every temperature, so that temperatures are compared
    on the same random numbers. Temperature 0 is greedy.

    Raises:
        InputError: as `interp.core.generation.generate`.
    """
    return {
        float(t): model.generate(prompts, n_new, temperature=t, seed=seed).tokens
        for t in temperatures
    }


@torch.no_grad()
def mean_surprisals(
    model: "HookedGPT", tokens: Int[Tensor, "seed pos"], start: int
) -> Float[np.ndarray, " seed"]:
    """Mean surprisal (nats, at temperature 1) of each text's tokens from position `start` on."""
    losses = model.loss(tokens, per_token=True)
    return losses[:, start - 1 :].double().mean(1).cpu().numpy()


def variety(texts: Sequence[Sequence[int]]) -> pd.DataFrame:
    """Distinct and repeated word sequences of each text.

    Args:
        texts: tokens; all of one length, or the measures are not comparable.

    Returns:
        One row per text: `seed`, `distinct_1`, `distinct_2`, `distinct_3` (share of n-grams that
        differ from each other), `repeated_4` (share of 4-grams that have occurred before in the
        same text), `loop` (1 if the text ends in at least 3 copies of a block of up to 8 tokens).

    Raises:
        InputError: a text shorter than 4 tokens, or texts of several lengths.

    Source: distinct-n after Li et al. 2016, arXiv:1510.03055; repetition after seq-rep-n of
    Welleck et al. 2019, arXiv:1908.04319.
    """
    lengths = {len(text) for text in texts}
    if len(lengths) != 1 or min(lengths) < REPEATED:
        raise InputError(
            f"texts must have one length of at least {REPEATED} tokens, but they have "
            f"{sorted(lengths)}"
        )
    rows = []
    for seed, text in enumerate(texts):
        row = {f"distinct_{n}": _distinct(text, n) for n in (1, 2, 3)}
        rows.append(
            {"seed": seed}
            | row
            | {"repeated_4": 1 - _distinct(text, REPEATED), "loop": float(_loops(text))}
        )
    return pd.DataFrame(rows)


def _distinct(text: Sequence[int], n: int) -> float:
    grams = [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams)


def _loops(text: Sequence[int], longest: int = 8, copies: int = 3) -> bool:
    for period in range(1, min(longest, len(text) // copies) + 1):
        tail = list(text[-period * copies :])
        if tail == tail[-period:] * copies:
            return True
    return False


def grammatical_sentences(language: "Language", texts: Sequence[Sequence[int]]) -> pd.DataFrame:
    """Which of a text's whole sentences the grammar can make: the generator is the parser.

    A sentence ends with a full stop; what follows the last one is cut off and left out. The
    grammar also has sentences of random words said twice or more, and one of these words may be
    the full stop: where the words up to a full stop are no sentence, but those up to one of the
    next three are, these are one sentence. So a word in a wrong place is not always an error; the
    same measure on a unigram sampler says how much that forgives. A text that ends inside such a
    block may show a wrong sentence (about 1 in 250 of the language's own).

    Args:
        language: the small language.
        texts: tokens; `<bos>` may come first.

    Returns:
        One row per text: `seed`, `sentences`, `grammatical` (how many of them), `said_before`
        (sentences that are word for word an earlier one of the text).

    Cost: about 0.1 ms a sentence, four times that where it is wrong.
    """
    vocab, bos = language.vocab, language.tokenizer.bos_id
    rows = []
    for seed, text in enumerate(texts):
        words = [vocab[int(token)] for token in text]
        words = words[1:] if len(text) and int(text[0]) == bos else words
        found = list(_sentences(language, words))
        told = [sentence for sentence, _ in found]
        rows.append(
            {
                "seed": seed,
                "sentences": len(told),
                "grammatical": sum(right for _, right in found),
                "said_before": len(told) - len(set(told)),
            }
        )
    return pd.DataFrame(rows)


def _sentences(language: "Language", words: list[str]) -> Iterator[tuple[str, bool]]:
    """Each whole sentence, and whether it is grammatical."""
    stops = [i for i, word in enumerate(words) if word == _FULL_STOP]
    start = 0
    while stops:
        ends = stops[: 1 + _STOPS_WITHIN]
        pieces = [" ".join(words[start : end + 1]) for end in ends]
        right = [language.recognise(piece) is not None for piece in pieces[:1]]
        if not right[0]:
            right += [language.recognise(piece) is not None for piece in pieces[1:]]
        which = right.index(True) if any(right) else 0
        yield pieces[which], right[which]
        start, stops = ends[which] + 1, stops[which + 1 :]


def share_with_interval(
    parts: Float[np.ndarray, " unit"], wholes: Float[np.ndarray, " unit"], seed: int = 0
) -> tuple[float, float, float]:
    """Sum of parts over sum of wholes, and its 95 % interval over units.

    The interval is that of the linearised ratio; where no unit has anything, all three are NaN.
    """
    if wholes.sum() == 0:
        return (np.nan,) * 3
    share = parts.sum() / wholes.sum()
    residual = (parts - share * wholes) / wholes.mean()
    (low,), (high,) = bootstrap_interval(residual[:, None], seed=seed)
    return float(share), float(np.clip(share + low, 0, 1)), float(np.clip(share + high, 0, 1))


def unigram_texts(
    counts: Float[np.ndarray, " d_vocab"], n_texts: int, n_tokens: int, seed: int = 0
) -> Int[np.ndarray, "text pos"]:
    """Texts whose tokens are drawn one by one from how often each occurs: no order at all."""
    rng = np.random.default_rng(seed)
    return rng.choice(len(counts), size=(n_texts, n_tokens), p=counts / counts.sum())
