"""English prompts with two answers each, in the shape of the small language's sets.

`interp.corpus.prompts` has the same sets for the small language. Here each slot of a sentence is a
single token of the model's vocabulary, so that prompt and control have the same length; words that
are several tokens are left out and can be listed. `meta` says where everything stands (`marks`,
positions counted with BOS), what the unit of the statistics is (`unit`), and what the matched
versions are (`controls`: token ids, and `control_marks` where the places differ).
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.core.errors import InputError
from interp.corpus.prompts import MinimalPair
from studies import _english_words as words

if TYPE_CHECKING:
    from interp.core import HookedGPT

LEAST = 3  # words of each kind
_SLOT = re.compile(r"\{(\w+)\}")


class English:
    """A tokenizer's view of English words.

    Attributes:
        left_out: words asked for that are not a single token inside of a sentence.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.left_out: list[str] = []
        self._ids: dict[str, int | None] = {}

    def id_of(self, word: str) -> int | None:
        """The token of a word behind a space; None if it is several, or unknown."""
        if word not in self._ids:
            self._ids[word] = self._single(word)
            if self._ids[word] is None:
                self.left_out.append(word)
        return self._ids[word]

    def _single(self, word: str) -> int | None:
        try:
            ids = [int(token) for token in self.tokenizer.encode(f" {word}", bos=False)]
        except InputError:
            return None
        same = len(ids) == 1 and self.tokenizer.str_tokens(ids)[0] == f" {word}"
        return ids[0] if same else None

    def known(self, candidates: Iterable[str]) -> list[str]:
        """Those that are a single token."""
        return [word for word in candidates if self.id_of(word) is not None]

    def known_pairs(self, candidates: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of which both are."""
        return [pair for pair in candidates if len(self.known(pair)) == 2]

    def spelt(self, frame: str, filling: dict[str, str]) -> tuple[list[int], dict[str, int]]:
        """Token ids of a filled frame, BOS first, and the position of each slot and of the end.

        Raises:
            InputError: a slot does not come out as one token.
        """
        text, starts = "", {}
        for place, part in enumerate(_SLOT.split(frame)):
            if place % 2:
                starts[part] = len(text)
                part = filling[part]
            text += part
        ids = [int(token) for token in self.tokenizer.encode(text)]
        n_before = len(ids) - len(self.tokenizer.encode(text, bos=False))
        position_at, at = {}, 0
        for position, piece in enumerate(self.tokenizer.str_tokens(ids[n_before:]), n_before):
            position_at[at + piece.startswith(" ")] = (position, piece.strip())
            at += len(piece)
        marks = {}
        for slot, start in starts.items():
            position, piece = position_at.get(start, (0, ""))
            if piece != filling[slot]:
                raise InputError(f"{filling[slot]!r} is not one token in {text!r}")
            marks[slot] = position
        return ids, marks | {"end": len(ids) - 1}

    @cached_property
    def reads_english(self) -> bool:
        """Whether enough of the words are single tokens to build every set."""
        nouns = self.known_pairs(words.COUNTED)
        groups = [self.known(g) for g in (words.PEOPLE, words.GIVEN_THINGS, words.GIVING_PLACES)]
        groups += [self.known(g) for g in (words.NOT_NAMES, words.BETWEEN, words.BEFORE_VERB)]
        groups += [self.known(g) for g in (words.SEEN, words.ADJECTIVES)]
        verbs = [self.known(of) for of in words.VERBS.values()]
        enough = min(map(len, [nouns, *groups])) >= 2 * LEAST and min(map(len, verbs)) > 0
        return enough and self._spells_frames

    @cached_property
    def _spells_frames(self) -> bool:
        """Whether text outside of the slots survives: a word-level vocabulary would not hold it."""
        frames = (*words.OPENINGS, *words.GIVINGS, *words.CALENDAR, *words.BEFORE_SUBJECT)
        for frame in frames:
            text = _SLOT.sub("x", frame)
            try:
                ids = self.tokenizer.encode(text, bos=False)
            except InputError:
                return False
            if "".join(self.tokenizer.str_tokens(ids)) != text:
                return False
        return True


def english_of(model: "HookedGPT") -> English | None:
    """English for the model's tokenizer; None where the model does not read English."""
    if model.tokenizer is None:
        return None
    english = English(model.tokenizer)
    return english if english.reads_english else None


# ----------------------------------------------------------------------------- indirect objects


def indirect_objects(english: English, n: int, seed: int = 0) -> list[MinimalPair]:
    """Two people, one of whom gives: who receives? After Wang et al. 2022; the sentences are ours.

    "After Mary and John met at the market, John gave a book to": Mary, not John. The receiver comes
    first in half of the prompts. An opening and a giving together are one unit; the first prompts
    are of different units.

    Args:
        english: the vocabulary.
        n: number of prompts.
        seed: of names, places and things.

    Returns:
        `meta`: `marks` ("io", "s1", "s1+1", "s2", "end"); `order` ("ABB" if the receiver comes
        first, else "BAB"); `controls`: "abc" (three other people, nobody named twice), "no name"
        (a word that is no name in place of the receiver), "other" (other people in the same parts).
    """
    rng = np.random.default_rng(seed)
    people, others = english.known(words.PEOPLE), english.known(words.NOT_NAMES)
    places, things = english.known(words.GIVING_PLACES), english.known(words.GIVEN_THINGS)
    units = list(itertools.product(range(len(words.OPENINGS)), range(len(words.GIVINGS))))
    order = rng.permutation(len(units))
    pairs = []
    for number in range(n):
        unit = int(order[number % len(units)])
        opening, giving = units[unit]
        frame = f"{words.OPENINGS[opening]} {words.GIVINGS[giving]}"
        io, s, *strangers = (people[i] for i in rng.choice(len(people), 7, replace=False))
        first = number % 2 == 0
        common = {"place": str(rng.choice(places)), "thing": str(rng.choice(things))}
        other = str(rng.choice(others))

        def said(a: str, b: str, c: str, receiver_first=first, frame=frame, common=common):
            """The receiver, the giver where first named, and where named again."""
            names = {"a": a, "b": b} if receiver_first else {"a": b, "b": a}
            return english.spelt(frame, names | {"s": c} | common)

        ids, marks = said(io, s, s)
        places_of = {"io": marks["a" if first else "b"], "s1": marks["b" if first else "a"]}
        places_of |= {"s1+1": places_of["s1"] + 1, "s2": marks["s"], "end": marks["end"]}
        controls = {
            "abc": said(*strangers[:3])[0],
            "no name": said(other, s, s)[0],
            "other": said(strangers[3], strangers[4], strangers[4])[0],
        }
        meta = {"unit": unit, "template": f"{opening}/{giving}", "marks": places_of,
                "order": "ABB" if first else "BAB", "controls": controls}  # fmt: skip
        answers = (english.id_of(io),), (english.id_of(s),)
        pairs.append(MinimalPair(tuple(ids), *answers, "indirect_objects", meta))
    return pairs


# ----------------------------------------------------------------------------- agreement


def agreement(
    english: English, n: int, seed: int = 0, *, conflicting: bool | None = None
) -> list[MinimalPair]:
    """Number of the verb behind a subject that is followed by another noun.

    "The keys near the cabinet really": are, not is. The same words are said in the singular and the
    plural; such a set is one unit.

    Args:
        english: the vocabulary.
        n: number of prompts.
        seed: of the words.
        conflicting: the other noun has the other number; None: in half of the units.

    Returns:
        `meta`: `marks` ("head", "other", "end"); `construction`, `number`, `conflicting`;
        `controls` with `control_marks`: "deeper" (the same words, hung on another noun, so that
        "head" is no longer the subject; all distances stay), "no noun" (a word that is no noun in
        place of the other noun, equally far away; not for relative clauses).
    """
    rng = np.random.default_rng(seed)
    nouns = english.known_pairs(words.COUNTED)
    verbs = {number: _ids(english, forms) for number, forms in words.VERBS.items()}
    drawn = [_sentence(english, nouns, rng, unit) for unit in range(-(-n // 2))]
    pairs: list[MinimalPair] = []
    # Singular subjects of all sets first, then plural ones: the first prompts differ in their unit.
    for plural in (0, 1):
        for unit, one in enumerate(drawn):
            conflict = unit // 4 % 2 == 0 if conflicting is None else conflicting
            form = 1 - plural if conflict else plural
            filling = one.filling | {"head": one.head[plural], "other": one.other[form]}
            ids, marks = english.spelt(f"{one.before} {one.frame}", filling)
            versions = {"deeper": f"{one.before} {words.DEEPER} {one.frame}"}
            filling["subject"] = one.deeper[int(rng.integers(2))]
            if one.construction in words.NO_NOUN:
                versions["no noun"] = f"{one.before} {words.NO_NOUN[one.construction]}"
            controls, control_marks = {}, {}
            for name, frame in versions.items():
                if name == "no noun":
                    filling["other"] = str(rng.choice(words.NO_NOUNS))
                controls[name], control_marks[name] = english.spelt(frame, filling)
            number, wrong = ("plural", "singular") if plural else ("singular", "plural")
            meta = {"unit": unit, "construction": one.construction, "number": number,
                    "conflicting": conflict, "marks": marks, "controls": controls,
                    "control_marks": control_marks}  # fmt: skip
            pairs.append(MinimalPair(tuple(ids), verbs[number], verbs[wrong], "agreement", meta))
    return pairs[:n]


@dataclass(frozen=True)
class _Sentence:
    """The words of one unit; nouns in both numbers."""

    construction: str
    before: str
    frame: str
    head: tuple[str, str]
    other: tuple[str, str]
    deeper: tuple[str, str]
    filling: dict[str, str]


def _sentence(
    english: English, nouns: list[tuple[str, str]], rng: np.random.Generator, unit: int
) -> _Sentence:
    constructions = list(words.SUBJECTS)
    construction = constructions[unit % len(constructions)]
    kinds = {"between": words.BETWEEN, "adverb": words.BEFORE_VERB, "seen": words.SEEN}
    kinds["adjective"] = words.ADJECTIVES
    frame = words.SUBJECTS[construction]
    head, other, deeper = (nouns[i] for i in rng.choice(len(nouns), 3, replace=False))
    filling = {
        kind: str(rng.choice(english.known(of)))
        for kind, of in kinds.items()
        if f"{{{kind}}}" in frame
    }
    before = words.BEFORE_SUBJECT[unit % len(words.BEFORE_SUBJECT)]
    return _Sentence(construction, before, frame, head, other, deeper, filling)


def _ids(english: English, forms: Sequence[str]) -> tuple[int, ...]:
    return tuple(english.id_of(form) for form in english.known(forms))


# ----------------------------------------------------------------------------- what comes next


def sequences(english: English, n: int, seed: int = 0, *, length: int = 3) -> list[MinimalPair]:
    """Weekdays, months, numbers and letters in order, cut off: which one is next?

    "Next come Monday Tuesday Wednesday": Thursday, not another weekday. The words that are shown
    are one unit, whatever stands before them.

    Args:
        english: the vocabulary.
        n: number of prompts.
        seed: of the order of the prompts.
        length: words shown.

    Returns:
        `meta`: `kind`, `marks` ("first" and "end", the first and the last word shown).
    """
    rng = np.random.default_rng(seed)
    starts = []
    for kind, all_of in words.SEQUENCES.items():
        run = all_of + all_of[:length] if kind in words.ROUND else all_of
        for first in range(len(run) - length):
            shown = run[first : first + length + 1]
            if len(english.known(shown)) == len(shown):
                starts.append((kind, shown, english.known(all_of)))
    if not starts:
        return []
    order = rng.permutation(len(starts))
    pairs = []
    for number in range(n):
        unit = int(order[number % len(order)])
        kind, shown, all_of = starts[unit]
        said = words.SAID[(number // len(order) + unit) % len(words.SAID)]
        slots = {f"w{place}": word for place, word in enumerate(shown[:-1])}
        frame = " ".join([said, *(f"{{{slot}}}" for slot in slots)])
        ids, marks = english.spelt(frame, slots)
        rivals = [word for word in all_of if word != shown[-1]]
        meta = {"unit": unit, "kind": kind, "marks": {"first": marks["w0"], "end": marks["end"]}}
        answers = (english.id_of(shown[-1]),), _ids(english, rivals)
        pairs.append(MinimalPair(tuple(ids), *answers, "sequences", meta))
    return pairs


def successors(english: English, d_vocab: int) -> np.ndarray:
    """The next weekday, month, number, ordinal or letter of each token; -1 for all others."""
    table = np.full(d_vocab, -1)
    for kind, all_of in words.SEQUENCES.items():
        following = itertools.pairwise([*all_of, all_of[0]] if kind in words.ROUND else all_of)
        for word, after in following:
            ids = english.id_of(word), english.id_of(after)
            if None not in ids and word not in words.NO_ORDER:
                table[ids[0]] = ids[1]
    return table


def calendar_texts(english: English, n: int, seed: int = 0) -> tuple[list[list[int]], list[int]]:
    """Short texts with weekdays, months, numbers and letters in them, and the unit of each.

    A template is one unit; templates take turns.
    """
    rng = np.random.default_rng(seed)
    known = {kind: english.known(all_of) for kind, all_of in words.SEQUENCES.items()}
    rows, units = [], []
    for number in range(n):
        unit = number % len(words.CALENDAR)
        frame = words.CALENDAR[unit]
        filling = {}
        for slot in _SLOT.findall(frame):
            kind = slot.rstrip("2")
            taken = {*filling.values(), *words.NOT_SEVERAL}
            left = [word for word in known[kind] if word not in taken]
            filling[slot] = str(rng.choice(left))
        rows.append(english.spelt(frame, filling)[0])
        units.append(unit)
    return rows, units
