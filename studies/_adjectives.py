"""Nouns behind adjectives: prompts in which a noun may look at its adjectives, and controls.

Every set of words ("the", one adjective of each kind, a noun) is said in three orders, so that each
kind stands at each distance from the noun once. The set is the unit of the statistics.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp import measures
from interp.corpus import lexicon
from studies import _prompts

if TYPE_CHECKING:
    from interp.core import HookedGPT

ROLE = "adjective_noun"
ORDERS = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
ALL_KINDS = "all adjectives"
NOUN, ADJECTIVES = "creature", ("fluffy", "blue")  # of the lectures' sentence
LEAST_WORDS = 3  # of each class, after words of several tokens are left out

_ENGLISH = {
    "size": ("big", "small", "huge", "tiny", "large", "little", "tall"),
    "colour": ("blue", "red", "green", "white", "black", "brown", "grey"),
    "texture": ("soft", "smooth", "rough", "wet", "dry", "thick", "thin"),
}
_ENGLISH_NOUNS = (
    *("dog", "cat", "horse", "bird", "car", "house", "tree", "table", "chair"),
    *("book", "stone", "boat", "hat", "door", "box", "cup", "ball", "bed"),
)
_ENGLISH_OTHERS = (
    *("quickly", "often", "never", "with", "under", "after", "because", "when", "went", "said"),
    *("took", "think", "walk", "find", "Monday", "London", "three", "every", "into", "about"),
)


@dataclass(frozen=True)
class Words:
    """The words of a model that the prompts are made of, as token ids.

    Attributes:
        kinds: adjectives by kind, three kinds.
        nouns: what they stand before.
        others: words that are neither.
        start: what stands before the adjectives: BOS where there is one, and "the".
        useful: kind of adjectives that decides what follows; "" if that is not known.
        useless: kind that decides nothing.
        texts: each word's text by its id.
    """

    kinds: dict[str, tuple[int, ...]]
    nouns: tuple[int, ...]
    others: tuple[int, ...]
    start: tuple[int, ...]
    useful: str
    useless: str
    texts: dict[int, str]

    @property
    def adjectives(self) -> tuple[int, ...]:
        """Of all kinds."""
        return tuple(word for words in self.kinds.values() for word in words)


def words_of(model: "HookedGPT") -> Words | None:
    """The small language's words, or English ones of a single token; None without such words."""
    if model.tokenizer is None or model.config.n_ctx < 6:
        return None
    if _prompts.speaks_the_language(model):
        ids = model.tokenizer.ids
        kinds = {
            "temper": [word for words in lexicon.TEMPERS.values() for word in words],
            "colour": [word for words in lexicon.COLOURS.values() for word in words],
            "texture": list(lexicon.TEXTURES),
        }
        nouns = [word for pair in lexicon.SYNONYMS for forms in pair for word in forms]
        used = {*nouns, *(word for words in kinds.values() for word in words)}
        ordinary = measures.ordinary_tokens(model, model.tokenizer.bos_id).tolist()
        texts = dict(zip(ordinary, model.tokenizer.str_tokens(ordinary), strict=True))
        others = [word for word in texts.values() if word not in used and word.isalpha()]
        return _words(ids.get, kinds, nouns, others, model, "temper", "texture", "the")
    return _words(
        lambda word: _single_token(model, word), _ENGLISH, _ENGLISH_NOUNS, _ENGLISH_OTHERS, model,
        "", "", "The",
    )  # fmt: skip


def _words(find, kinds, nouns, others, model, useful, useless, the) -> Words | None:
    texts: dict[int, str] = {}

    def known(words) -> tuple[int, ...]:
        found = {find(word): word for word in words}
        found.pop(None, None)
        texts.update(found)
        return tuple(found)

    by_kind = {kind: known(words) for kind, words in kinds.items()}
    groups = [*by_kind.values(), known(nouns), known(others)]
    if min(map(len, groups)) < LEAST_WORDS:
        return None
    start = tuple(int(token) for token in model.tokenizer.encode(the))
    return Words(by_kind, groups[-2], groups[-1], start, useful, useless, texts)


def _single_token(model: "HookedGPT", word: str) -> int | None:
    """The token of a word inside a sentence, if it is a single one."""
    try:
        ids = model.tokenizer.encode(f" {word}", bos=False)
    except ValueError:
        return None
    ids = [int(token) for token in ids]
    same = len(ids) == 1 and model.tokenizer.str_tokens(ids)[0].strip() == word
    return ids[0] if same else None


def suites(words: Words, n_sentences: int, seed: int) -> list[measures.Suite]:
    """Kinds of adjectives apart, useful against useless, and all kinds together; those decide.

    In the control of a kind other words stand for all three adjectives; useful adjectives are held
    against useless ones in the same prompts.
    """
    rng = np.random.default_rng(seed)
    kinds = list(words.kinds)
    sets = np.stack([rng.choice(words.kinds[kind], n_sentences) for kind in kinds], axis=1)
    nouns = rng.choice(words.nouns, n_sentences)
    others = rng.permuted(np.tile(words.others, (n_sentences, 1)), axis=1)[:, :3]
    first = len(words.start)
    query = first + 3
    prompts, controls, units, at = [], [], [], {kind: [] for kind in kinds}
    # Order by order, so that the first prompts are of different sets.
    for order in ORDERS:
        drawn = zip(sets.tolist(), nouns.tolist(), others.tolist(), strict=True)
        for unit, (adjectives, noun, other) in enumerate(drawn):
            prompts.append([*words.start, *(adjectives[number] for number in order), noun])
            controls.append([*words.start, *other, noun])
            units.append(unit)
            for place, number in enumerate(order):
                at[kinds[number]].append([(query, first + place)])

    def suite(name: str, pairs, against=None) -> measures.Suite:
        other = controls if against is None else prompts
        scene = measures.pair_scene(ROLE, prompts, other, pairs, against, units=units)
        return measures.Suite(name, (scene,))

    made = [suite(kind, at[kind]) for kind in kinds]
    if words.useful:
        made.append(suite(f"{words.useful} − {words.useless}", at[words.useful], at[words.useless]))
    together = [[(query, first + place) for place in range(3)]] * len(prompts)
    return [*made, suite(ALL_KINDS, together)]


def places_in(texts: list[str], sentence: str = _prompts.LECTURE_SENTENCE) -> dict[str, list[int]]:
    """Positions of each word's tokens; empty if the tokens do not spell the sentence.

    The sentence may be cut off behind any token, and tokens that are no words may stand before it.
    """
    whole = sentence.replace(" ", "")
    for skipped in range(min(2, len(texts))):
        spelt = [text.strip() for text in texts[skipped:]]
        if "".join(spelt) and whole.startswith("".join(spelt)):
            break
    else:
        return {}
    owner = [word for word in sentence.split() for _ in word]
    places: dict[str, list[int]] = {}
    done = 0
    for position, text in enumerate(spelt, start=skipped):
        if text:
            places.setdefault(owner[done], []).append(position)
        done += len(text)
    return places
