"""The list of recipes; each module of recipes enters its own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from interp.core import InputError
from interp.planted.board import Board
from interp.planted.lexicon import WordClass


@dataclass(frozen=True)
class Recipe:
    """One plant.

    Attributes:
        name: of the recipe.
        lay_out: puts it on a board; keyword arguments are its own options.
        classes: words that it needs.
        defaults: sizes of a model that holds this plant alone.
    """

    name: str
    lay_out: Callable[..., None]
    classes: tuple[WordClass, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)


RECIPES: dict[str, Recipe] = {}


def recipe(*classes: WordClass, **defaults: Any) -> Callable[[Callable], Callable]:
    """Enter a function on a board as a recipe of the same name."""

    def enter(lay_out: Callable[..., None]) -> Callable[..., None]:
        name = lay_out.__name__
        RECIPES[name] = Recipe(name, lay_out, classes, defaults)
        return lay_out

    return enter


def find(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        InputError: there is none.
    """
    if name not in RECIPES:
        raise InputError(f"There is no recipe {name!r}; known: {', '.join(RECIPES)}.")
    return RECIPES[name]


def lay_out(board: Board, name: str, **options: Any) -> None:
    """Put a recipe on a board."""
    with board.planting(name):
        find(name).lay_out(board, **options)
