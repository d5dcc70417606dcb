"""The words of a planted model: classes of given and invented words that fill a vocabulary.

Ids 0 and 1 are `<bos>` and `<pad>`. Then come the classes that the recipes ask for, and at last
`filler` words, so that every token type has a name and the model a tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interp.core import InputError

BOS_ID, PAD_ID, N_SPECIAL = 0, 1, 2


@dataclass(frozen=True)
class WordClass:
    """A class of words that a recipe needs.

    Attributes:
        name: of the class.
        words: the first of them; further ones are called `<name>3`, `<name>4`, ...
        least: how many there are in the smallest vocabulary.
        weight: share of the vocabulary beyond the smallest that the class takes; classes that
            belong together word by word (singular and plural) have the same `least` and `weight`.
    """

    name: str
    words: tuple[str, ...]
    least: int
    weight: int = 0


FILLER = WordClass("filler", (), least=0, weight=1)


def merged(classes: Sequence[WordClass]) -> tuple[WordClass, ...]:
    """Each class once, with the largest demand for it."""
    found: dict[str, WordClass] = {}
    for word_class in classes:
        known = found.get(word_class.name)
        if known is None or known.least < word_class.least:
            found[word_class.name] = word_class
    found.setdefault(FILLER.name, FILLER)
    return tuple(sorted(found.values(), key=lambda c: c.name == FILLER.name))


def smallest_vocabulary(classes: Sequence[WordClass]) -> int:
    """The fewest token types with which the classes can do."""
    return N_SPECIAL + sum(c.least for c in merged(classes))


def build_lexicon(
    classes: Sequence[WordClass], d_vocab: int
) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """Ids by class, and the words from id 2 on.

    Raises:
        InputError: the vocabulary is too small for the classes.
    """
    classes = merged(classes)
    least = smallest_vocabulary(classes)
    if d_vocab < least:
        names = ", ".join(f"{c.least} {c.name}" for c in classes if c.least)
        raise InputError(
            f"d_vocab={d_vocab}, but these plants need {least} token types: <bos>, <pad>, {names}."
        )
    total_weight = sum(c.weight for c in classes)
    extra = {c.name: (d_vocab - least) * c.weight // total_weight for c in classes}
    extra[FILLER.name] += d_vocab - least - sum(extra.values())
    lexicon: dict[str, tuple[int, ...]] = {}
    words: list[str] = []
    for c in classes:
        count = c.least + extra[c.name]
        first = N_SPECIAL + len(words)
        lexicon[c.name] = tuple(range(first, first + count))
        prefix = "w" if c.name == FILLER.name else c.name
        words += [*c.words[:count], *(f"{prefix}{i}" for i in range(len(c.words), count))]
    if len(set(words)) < len(words):
        raise InputError("Two of these plants use the same word in different classes.")
    return lexicon, tuple(words)
