"""Prompts for head roles: tokens with repeats, and the same tokens with the repeats taken out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from interp.core.errors import InputError

MIN_PERIOD, MAX_PERIOD = 4, 32


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of one length.

    Attributes:
        tokens: prompts in which something repeats.
        control: the same prompts without the repeat; every query token is the same.
        queries: the positions at which a repeat is looked back at.
        unit: what a prompt counts as in statistics: its own number, or that of its template.
    """

    tokens: Int[np.ndarray, "batch pos"]
    control: Int[np.ndarray, "batch pos"]
    queries: Bool[np.ndarray, "batch pos"]
    unit: Int[np.ndarray, " batch"]

    def __post_init__(self) -> None:
        if self.tokens.shape != self.control.shape:
            raise InputError(
                f"prompts are {self.tokens.shape} tokens and their controls "
                f"{self.control.shape}; a control has the length of its prompt"
            )

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one kind.

    Attributes:
        name: "random tokens", "text", ...
        batches: the prompts, grouped by length.
        plain: on which side roles that need no repeat (previous token, first token) are measured:
            where the repeat is artificial it would only disturb them.
        description: one clause for reports.
    """

    name: str
    batches: tuple[PromptBatch, ...]
    plain: Literal["tokens", "control"] = "tokens"
    description: str = ""

    @property
    def n_units(self) -> int:
        """Independent units: prompts, or templates where prompts share them."""
        return len(np.unique(np.concatenate([batch.unit for batch in self.batches])))


def random_token_prompts(
    vocab: Sequence[int] | np.ndarray,
    n_prompts: int,
    n_ctx: int,
    bos_id: int | None = None,
    seed: int = 0,
) -> PromptSet:
    """Random tokens shown twice, and a control whose first half is other tokens.

    A prompt is BOS and then `period` distinct random tokens, twice. Its control keeps the second
    half and replaces the first by tokens that do not occur in it, so that the same query tokens
    stand at the same positions and only the match is gone. Three periods are used: a head that
    looks back a fixed distance passes for an induction head at one of them at most.

    Args:
        vocab: ids to draw from, without special tokens.
        n_prompts: shared out evenly between the periods.
        n_ctx: longest prompt.
        bos_id: put first, unless None.
        seed: of the draws.

    Raises:
        InputError: too short a context or too few tokens for a repeat of 4.
    """
    vocab = np.asarray(vocab)
    n_bos = int(bos_id is not None)
    longest = min((n_ctx - n_bos) // 2, len(vocab) // 2, MAX_PERIOD)
    if longest < MIN_PERIOD:
        raise InputError(
            f"a repeat of {MIN_PERIOD} tokens needs a context of {2 * MIN_PERIOD + n_bos} and "
            f"{2 * MIN_PERIOD} token types, but there are n_ctx={n_ctx} and {len(vocab)} types"
        )
    rng = np.random.default_rng(seed)
    periods = sorted({longest, max(MIN_PERIOD, longest * 3 // 4), max(MIN_PERIOD, longest // 2)})
    shares = np.array_split(np.arange(n_prompts), len(periods))
    batches = tuple(
        _repeated(vocab, period, units, bos_id, rng)
        for period, units in zip(periods, shares, strict=True)
        if len(units)
    )
    return PromptSet(
        "random tokens",
        batches,
        plain="control",
        description=f"{n_prompts} prompts of distinct random tokens, shown twice; periods "
        + ", ".join(map(str, periods)),
    )


def _repeated(
    vocab: np.ndarray, period: int, units: np.ndarray, bos_id: int | None, rng: np.random.Generator
) -> PromptBatch:
    drawn = np.stack([rng.choice(vocab, 2 * period, replace=False) for _ in units])
    block, other = drawn[:, :period], drawn[:, period:]
    tokens, control = np.hstack([block, block]), np.hstack([other, block])
    if bos_id is not None:
        tokens, control = (np.insert(side, 0, bos_id, axis=1) for side in (tokens, control))
    queries = np.zeros(tokens.shape, bool)
    queries[:, -period:] = True
    return PromptBatch(tokens, control, queries, units)


def text_prompts(
    windows: Sequence[Int[np.ndarray, "_prompt _pos"]],
    units: Sequence[Int[np.ndarray, " _prompt"]] | None = None,
    special: Sequence[int] = (),
    seed: int = 0,
    name: str = "text",
    description: str = "",
) -> PromptSet:
    """Text as it comes, each with one of its own repeats and a control without that repeat.

    In each window the rarest token that occurs twice is looked at: rare repeats are names and
    things, frequent ones function words, for which a look back tells nothing. The query is its last
    occurrence. In the control, its earlier occurrences are replaced by the token that plays this
    part in another window, so that over all windows the tokens at these places are the same in
    text and control, and only the match is gone. For induction the attended token, one further, is
    not touched at all.

    Args:
        windows: token ids, one array per length.
        units: as in `PromptBatch`; each window its own by default.
        special: ids that do not count as repeats (BOS, pads).
        seed: of the replacements.
        name: of the set.
        description: one clause for reports.

    Returns:
        The prompts; windows without a usable repeat have no query and their own tokens as control.
    """
    rng = np.random.default_rng(seed)
    ids, counts = np.unique(np.concatenate([w.ravel() for w in windows]), return_counts=True)
    frequency = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    rows = [row for rows in windows for row in rows]
    found = [_rarest_repeat(row, frequency, set(special)) for row in rows]
    pool = np.array([row[places[-1]] for row, places in zip(rows, found, strict=True) if places])
    controls, queries = [], []
    for row, places in zip(rows, found, strict=True):
        control, query = row.copy(), np.zeros(len(row), bool)
        others = pool[~np.isin(pool, row)] if places else pool[:0]
        if len(others):
            control[places[:-1]] = rng.choice(others)
            query[places[-1]] = True
        controls.append(control)
        queries.append(query)
    batches, start = [], 0
    for number, tokens in enumerate(windows):
        stop = start + len(tokens)
        unit = np.arange(start, stop) if units is None else np.asarray(units[number])
        sides = (np.stack(side[start:stop]) for side in (controls, queries))
        batches.append(PromptBatch(tokens, *sides, unit))
        start = stop
    return PromptSet(name, tuple(batches), plain="tokens", description=description)


def _rarest_repeat(row: np.ndarray, frequency: dict[int, int], special: set[int]) -> list[int]:
    """Places of the rarest token that repeats in a row; empty if none does.

    The last place must lie two or more behind another one: else the token after the match would be
    the query itself, to which a look back tells nothing.
    """
    best: list[int] = []
    for token in dict.fromkeys(row.tolist()):
        places = np.flatnonzero(row == token).tolist()
        if token in special or len(places) < 2 or places[0] + 1 >= places[-1]:
            continue
        if not best or frequency[token] < frequency[int(row[best[0]])]:
            best = places
    return best
