"""One plant in a model of its own, or many in one."""

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import torch

from interp.core import InputError

# The modules of recipes enter them into the registry when they are imported.
from interp.planted import language, matching, positional, writing  # noqa: F401
from interp.planted.board import Board, Planted
from interp.planted.lexicon import smallest_vocabulary
from interp.planted.registry import find, lay_out

# Gender comes last: its law depends on what else the embedding holds.
TOKEN_PLANTS = (
    "previous_token",
    "lag_decoys",
    "local",
    "induction_k",
    "induction_q",
    "duplicate_token",
    "copy_suppression",
    "bos_sink",
    "position_sink",
    "bias_sink",
    "copy",
    "anti_copy",
    "successor",
    "trap_rank_one",
    "trap_triangular",
    "erasure_pair",
    "redundant_pair",
)
WORD_PLANTS = ("adjective_noun", "name_mover", "fact_memory", "agreement", "gender")


def plant(name: str, **options: Any) -> Planted:
    """One recipe in a model of its own.

    Args:
        name: of the recipe; `interp.planted` lists them.
        **options: sizes and seed as in `Board`, and the recipe's own options.

    Raises:
        InputError: no such recipe, or a size that is too small for it.
    """
    recipe = find(name)
    sizes = {"d_vocab": max(32, smallest_vocabulary(recipe.classes))} | recipe.defaults
    own = {k: options.pop(k) for k in list(options) if k in _own_options(recipe.lay_out)}
    board = Board(recipe.classes, **(sizes | options))
    lay_out(board, name, **own)
    return board.build()


def zoo(recipes: Iterable[str] = TOKEN_PLANTS, **options: Any) -> Planted:
    """Many plants in one model, which share tokens, positions and the logits.

    What a plant does to the logits adds up, so facts about the logits of the whole model are left
    out of the key; attention, attribution and the effect of ablations stay what they are in a
    model of its own. With more than two layers, each plant is put into two of them at random.

    Args:
        recipes: which; `TOKEN_PLANTS + WORD_PLANTS` is all of them.
        **options: sizes and seed as in `Board`.

    Raises:
        InputError: an unknown recipe, or a size that is too small.
    """
    names = tuple(recipes)
    if not names or len(set(names)) < len(names):
        raise InputError(f"A zoo takes each of its recipes once, and at least one: {names}.")
    classes = tuple(c for name in names for c in find(name).classes)
    options = {"d_vocab": max(32, smallest_vocabulary(classes))} | options
    fixed = "layers" in options
    board = Board(classes, **options)
    for name in sorted(names, key=lambda name: name == "gender"):
        if not fixed and board.n_layers > 2:
            chosen = torch.randperm(board.n_layers, generator=board.generator)[:2]
            board.early, board.late = sorted(chosen.tolist())
        lay_out(board, name)
    return board.build()


def _own_options(lay_out: Callable[..., None]) -> set[str]:
    _board, *own = signature(lay_out).parameters
    return set(own)
