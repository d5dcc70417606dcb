"""The task of the smallest model: each trigger is followed by its own value, anew in every window.

A window picks a few trigger tokens and a value for each. From then on a trigger
is always followed by its value; everything else is uniform noise. The value
cannot be known the first time, and is certain ever after for who looks back:
the task of an induction head and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from interp.core.errors import InputError


class TriggerBatch(NamedTuple):
    """Windows of the trigger task.

    Attributes:
        tokens: int64 [batch pos], 0 = `<bos>` first.
        predictable: bool [batch pos], True where the token is the value of a
            trigger that has been followed by it before.
    """

    tokens: np.ndarray
    predictable: np.ndarray


@dataclass(frozen=True)
class TriggerTask:
    """Trigger and value sequences.

    Attributes:
        d_vocab: number of tokens; id 0 is `<bos>`.
        n_ctx: context of the model that learns it.
        n_triggers: fewest and most triggers of a window.
        trigger_chance: chance of a trigger wherever no value is due.
    """

    d_vocab: int = 64
    n_ctx: int = 32
    n_triggers: tuple[int, int] = (2, 5)
    trigger_chance: float = 0.45

    bos_id = 0

    def batch(self, rng: int | np.random.Generator, batch_size: int, n_tokens: int) -> TriggerBatch:
        """Sample windows of `n_tokens`, `<bos>` included.

        Raises:
            InputError: if a size is not positive, or the vocabulary has no room
                for triggers and at least two other tokens.
        """
        fewest, most = self.n_triggers
        if batch_size < 1 or n_tokens < 1:
            raise InputError(f"got batch_size={batch_size}, n_tokens={n_tokens}; both start at 1")
        if not 1 <= fewest <= most <= self.d_vocab - 3:
            raise InputError(
                f"n_triggers={self.n_triggers} must be (fewest, most) with most at most "
                f"d_vocab - 3 = {self.d_vocab - 3}"
            )
        rng = np.random.default_rng(rng)
        rows = np.arange(batch_size)
        # One shuffle per window: its first n words are the triggers, the others filler and values.
        words = rng.permuted(np.tile(np.arange(1, self.d_vocab), (batch_size, 1)), axis=1)
        n = rng.integers(fewest, most + 1, size=batch_size)

        def filler(shape: tuple[int, ...]) -> np.ndarray:
            first = n.reshape(-1, *(1 for _ in shape[1:]))
            return first + np.floor(rng.random(shape) * (words.shape[1] - first)).astype(int)

        values = np.take_along_axis(words, filler((batch_size, most)), axis=1)
        tokens = np.zeros((batch_size, n_tokens), dtype=np.int64)
        predictable = np.zeros((batch_size, n_tokens), dtype=bool)
        seen = np.zeros((batch_size, most), dtype=bool)
        due = np.full(batch_size, -1)
        for pos in range(1, n_tokens):
            fires = rng.random(batch_size) < self.trigger_chance
            trigger = np.floor(rng.random(batch_size) * n).astype(int)
            free = words[rows, np.where(fires, trigger, filler((batch_size,)))]
            waiting = due >= 0
            tokens[:, pos] = np.where(waiting, values[rows, due], free)
            predictable[:, pos] = waiting & seen[rows, due]
            seen[rows[waiting], due[waiting]] = True
            due = np.where(~waiting & fires, trigger, -1)
        return TriggerBatch(tokens, predictable)
