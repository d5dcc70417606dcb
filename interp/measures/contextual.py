"""The same word in other contexts: what its vector keeps, what the context adds, and when.

Vectors are rows of the residual stream at the word: before the first block (layer 0), between
blocks, and after the last one (layer `n_layers`). Position 0 never counts: it has no context, and
in many models a norm of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from interp.core import HookedGPT, InputError, hook_name

Vectors = Float[np.ndarray, "layer use d_model"]


@dataclass(frozen=True)
class WordUses:
    """Uses of words whose sense is known.

    Attributes:
        tokens: one prompt per use.
        positions: where the word stands in it; its last piece if it has several.
        words: the word.
        senses: what it means there.
        cues: what tells so.
    """

    tokens: tuple[tuple[int, ...], ...]
    positions: tuple[int, ...]
    words: tuple[str, ...]
    senses: tuple[str, ...]
    cues: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = [len(getattr(self, name)) for name in self.__dataclass_fields__]
        if len(set(lengths)) != 1 or not lengths[0]:
            raise InputError(
                f"every use needs prompt, position, word, sense and cue, but {lengths} came"
            )
        for prompt, at in zip(self.tokens, self.positions, strict=True):
            if not 1 <= at < len(prompt):
                raise InputError(
                    f"a word stands at position {at} of a prompt of {len(prompt)} tokens; it must "
                    "lie inside it and behind position 0, which has no context"
                )

    def __len__(self) -> int:
        return len(self.words)

    def only(self, keep: Sequence[int]) -> "WordUses":
        """The uses with these numbers."""
        columns = (getattr(self, name) for name in self.__dataclass_fields__)
        return WordUses(*(tuple(column[i] for i in keep) for column in columns))


# ------------------------------------------------------------------------------------- vectors


@torch.no_grad()
def prompt_vectors(
    model: HookedGPT,
    tokens: Sequence[Sequence[int]],
    rows: Int[np.ndarray, " use"],
    positions: Int[np.ndarray, " use"],
) -> Vectors:
    """The residual stream at many positions of some prompts, before, between and after the blocks.

    Args:
        model: any HookedGPT.
        tokens: prompts, of any lengths; those of one length run together, unpadded.
        rows: the prompt of each use.
        positions: the position of each use.

    Returns:
        Float64, layers 0 to `n_layers`, in the order of the uses.

    Cost: one forward pass without unembedding; `(n_layers + 1) * uses * d_model` numbers are kept.
    """
    n_layers, d_model = model.config.n_layers, model.config.d_model
    names = [hook_name("resid_pre", layer) for layer in range(n_layers)]
    names.append(hook_name("resid_post", n_layers - 1))
    found = np.zeros((n_layers + 1, len(rows), d_model))
    lengths = np.array([len(prompt) for prompt in tokens])
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        uses = np.flatnonzero(lengths[rows] == length)
        inside = np.searchsorted(same, rows[uses]), positions[uses]
        batch = torch.tensor([list(tokens[i]) for i in same], device=model.W_E.device)
        _, cache = model.run_with_cache(batch, names, return_type=None)
        for layer, name in enumerate(names):
            found[layer, uses] = cache[name].detach()[inside].double().cpu().numpy()
    return found


def word_vectors(
    model: HookedGPT,
    tokens: Sequence[Sequence[int]],
    positions: Sequence[int],
    batch_size: int = 32,
) -> Vectors:
    """The residual stream at one position of each prompt, before, between and after the blocks.

    Args:
        model: any HookedGPT.
        tokens: prompts, of any lengths; those of one length run together, unpadded.
        positions: one per prompt.
        batch_size: prompts at a time.

    Returns:
        Float64, layers 0 to `n_layers`.

    Raises:
        InputError: no prompts, or not one position for each.

    Cost: one forward pass without unembedding; `(n_layers + 1) * prompts * d_model` numbers are
    kept.
    """
    if not len(tokens) == len(positions) > 0:
        raise InputError(
            f"each prompt needs one position, but {len(tokens)} prompts and {len(positions)} "
            "positions came"
        )
    at = np.array(positions)
    parts = [
        prompt_vectors(model, some, np.arange(len(some)), at[start : start + len(some)])
        for start in range(0, len(tokens), batch_size)
        for some in [tokens[start : start + batch_size]]
    ]
    return np.concatenate(parts, axis=1)


def context_bags(model: HookedGPT, uses: WordUses) -> Vectors:
    """What the words before tell without any model: the mean of their token embeddings.

    Args:
        model: its `W_E` is used, nothing else.
        uses: position 0 is left out of the mean unless nothing else stands before the word.

    Returns:
        One "layer".
    """
    W_E = model.W_E.detach().double().cpu().numpy()
    rows = []
    for prompt, at in zip(uses.tokens, uses.positions, strict=True):
        before = prompt[1:at] or prompt[:1]
        rows.append(W_E[list(before)].mean(axis=0))
    return np.stack(rows)[None]


def embedding_identity(
    model: HookedGPT, tokens: Sequence[Sequence[int]], positions: Sequence[int]
) -> pd.DataFrame:
    """Is the vector that enters the first block token plus position, and nothing else?

    Args:
        model: any HookedGPT.
        tokens: prompts that hold one word, the same in all.
        positions: where it stands.

    Returns:
        One row per layer, 0 first: `layer`; `deviation`, the largest |x − (W_E[t] + W_pos[i])|;
        `pair_deviation`, the largest |(x_a − x_b) − (W_pos[i_a] − W_pos[i_b])| over pairs of uses;
        `n_uses`. At layer 0 both are 0 up to rounding; later layers are the control.

    Raises:
        InputError: the word at the positions is not the same in all prompts.

    Cost: as `word_vectors`, plus `n_uses**2 * d_model` per layer.
    """
    words = {prompt[at] for prompt, at in zip(tokens, positions, strict=True)}
    if len(words) != 1:
        raise InputError(f"the identity is about one word, but token ids {sorted(words)} came")
    vectors = word_vectors(model, tokens, positions)
    places = torch.zeros(len(tokens), model.config.d_model, device=model.W_E.device)
    if model.config.positions != "none":
        places = model.W_pos.detach()[list(positions)]
    # Summed in the model's own precision, as the model does, so that equality can be exact.
    expected = (model.W_E.detach()[words.pop()] + places).double().cpu().numpy()
    places = places.double().cpu().numpy()
    rows = []
    for layer, of_layer in enumerate(vectors):
        between = of_layer[:, None] - of_layer - (places[:, None] - places)
        deviation, pairs = np.abs(of_layer - expected).max(), np.abs(between).max()
        rows.append((layer, deviation, pairs, len(tokens)))
    return pd.DataFrame(rows, columns=["layer", "deviation", "pair_deviation", "n_uses"])


# ----------------------------------------------------------------------- cues before and after


@dataclass(frozen=True)
class CuePair:
    """Two prompts of one length that differ in a cue alone.

    Attributes:
        kind: "before", "same sense" (before too, but both cues mean the same) or "after".
        word: whose vector is compared.
        cues: the cue of each prompt.
        tokens: the two prompts.
        position: of the word, in both.
    """

    kind: str
    word: str
    cues: tuple[str, str]
    tokens: tuple[tuple[int, ...], tuple[int, ...]]
    position: int

    def __post_init__(self) -> None:
        one, two = self.tokens
        if len(one) != len(two):
            raise InputError(
                f"the prompts of a pair must be equally long, but have {len(one)} and {len(two)} "
                "tokens; cut the longer one"
            )
        if not 1 <= self.position < len(one) or one[self.position] != two[self.position]:
            raise InputError(
                f"position {self.position} must hold the same word in both prompts and lie behind "
                "position 0"
            )
        if one == two:
            raise InputError(f"both prompts of a pair about {self.word!r} are the same")
        differ = [i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
        if (min(differ) > self.position) != (self.kind == "after"):
            raise InputError(
                f"a pair of kind {self.kind!r} differs at {differ}, but its word stands at "
                f"{self.position}"
            )


def cue_effects(model: HookedGPT, pairs: Sequence[CuePair]) -> pd.DataFrame:
    """What another cue changes at the word.

    Every prompt runs alone, so that both of a pair take the same steps of arithmetic: under a
    causal mask a cue behind the word then changes nothing at all, not even the last bit.

    Returns:
        One row per pair and layer: `pair` (its number), `kind`, `word`, `cue_a`, `cue_b`, `layer`,
        `change` (‖x_a − x_b‖ over the mean of both lengths, no unit), `largest` (largest
        |difference| of a coordinate).

    Cost: two forward passes per pair, without unembedding.
    """
    rows = []
    for number, pair in enumerate(pairs):
        one, two = (word_vectors(model, [tokens], [pair.position])[:, 0] for tokens in pair.tokens)
        size = (np.linalg.norm(one, axis=-1) + np.linalg.norm(two, axis=-1)) / 2
        change = np.linalg.norm(one - two, axis=-1) / np.where(size > 0, size, 1.0)
        largest = np.abs(one - two).max(axis=-1)
        rows += [
            (number, pair.kind, pair.word, *pair.cues, layer, change[layer], largest[layer])
            for layer in range(len(change))
        ]
    columns = ["pair", "kind", "word", "cue_a", "cue_b", "layer", "change", "largest"]
    return pd.DataFrame(rows, columns=columns)
