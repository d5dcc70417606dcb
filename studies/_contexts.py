"""Prompts in which a word means one thing or another: the small language's own, or English ones."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from interp.core.errors import InputError
from interp.measures.contextual import CuePair, WordUses
from studies import _english_senses, _prompts

if TYPE_CHECKING:
    from interp.core import HookedGPT
    from interp.corpus import Language
    from interp.corpus.grammar import Parse

BEFORE_KINDS = ("animal", "person", "fact", "city")  # sentences that may precede an example
N_PARAPHRASES = 12
PATIENCE = 100_000  # sentences drawn in vain before fewer paraphrases must do


@dataclass(frozen=True)
class Contexts:
    """Everything the study shows a model.

    Attributes:
        uses: ambiguous words whose sense a cue decides.
        known: by word of the lectures, uses whose senses are compared with.
        examples: by word, uses in the lectures' phrases; their "sense" is the phrase.
        meant: by word and phrase, the sense in `known` that the lectures mean.
        pairs: prompts that differ in one cue.
        windows: text for the words in general, as arrays [prompt pos].
        described: one sentence each, for the provenance.
        n_in_pieces: uses whose word has several tokens; the last one is looked at.
    """

    uses: WordUses
    known: dict[str, WordUses]
    examples: dict[str, WordUses]
    meant: dict[tuple[str, str], str]
    pairs: tuple[CuePair, ...]
    windows: tuple[np.ndarray, ...]
    described: tuple[str, ...]
    n_in_pieces: int


def contexts_of(model: "HookedGPT", n_uses: int, n_windows: int, seed: int) -> Contexts | None:
    """Prompts for the model's language; None if it has no words that we know senses of."""
    if model.tokenizer is None:
        return None
    text = _prompts.text_prompts(model, n_windows, seed)
    if text is None:
        return None
    windows = tuple(getattr(batch, text.plain) for batch in text.batches)
    if _prompts.speaks_the_language(model):
        made = _own(model.config.n_ctx, n_uses, seed)
    else:
        try:
            made = _english(model, n_uses, seed)
        except InputError:  # a vocabulary without these words
            return None
    uses, known, examples, pairs, n_in_pieces = made
    meant = MEANT | {("tower", name): name for name in set(known["tower"].senses)}
    described = (
        f"{len(uses)} uses of {len(set(uses.words))} ambiguous words in "
        f"{len(set(zip(uses.words, uses.senses, strict=True)))} senses",
        f"{len(pairs)} pairs of prompts that differ in a cue",
        text.description,
    )
    return Contexts(uses, known, examples, meant, pairs, windows, described, n_in_pieces)


MEANT = {
    ("mole", "american true mole"): "animal",
    ("mole", "one mole (of carbon dioxide)"): "chemistry",
    ("mole", "biopsy of the mole"): "skin",
}
"""What the lectures mean by their phrases; those about towers are named like their senses."""

Made = tuple[WordUses, dict[str, WordUses], dict[str, WordUses], tuple[CuePair, ...], int]


# ------------------------------------------------------------------------ the small language


def _own(n_ctx: int, n_uses: int, seed: int) -> Made:
    from interp.corpus import Language, prompts

    language = Language()
    found = [pair for pair in prompts.sense(n_uses, seed) if len(pair.prompt_ids) <= n_ctx]
    uses = _gathered(
        (p.prompt_ids, len(p.prompt_ids) - 1, p.meta["word"], p.meta["sense"], _cue(language, p))
        for p in found
    )
    mole = uses.only([i for i, word in enumerate(uses.words) if word == "mole"])
    rng = random.Random(f"contexts/{seed}")
    towers = _gathered(_towers(language, rng, n_ctx))
    # Every second paraphrase makes the means, the others are compared with them.
    known = {"mole": mole, "tower": towers.only(range(0, len(towers), 2))}
    examples = {
        "mole": _gathered(_moles(language, rng, n_ctx)),
        "tower": towers.only(range(1, len(towers), 2)),
    }
    return uses, known, examples, tuple(_own_pairs(language)), 0


def _gathered(rows: Iterator[tuple]) -> WordUses:
    return WordUses(*zip(*rows, strict=True))


def _cue(language: "Language", pair) -> str:
    """The first cue of the prompt's own sentence, which decides the sense."""
    from interp.corpus import lexicon

    words = [language.vocab[i] for i in pair.prompt_ids[pair.meta["sentence_start"] :]]
    return next(word for word in words if word in lexicon.TOPIC_CUES[pair.meta["topic"]])


def _phrases(
    language: "Language",
    rng: random.Random,
    kind: str,
    groups: tuple[str, ...],
    n: int,
    n_ctx: int,
    wanted,
) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """`n` different paraphrases of each group: (group, tokens up to the word, its position).

    `wanted(parse)` gives the group and the index of the word, or None.
    """
    ids = language.tokenizer.ids
    found: dict[str, dict[tuple[int, ...], None]] = {group: {} for group in groups}
    for _ in range(PATIENCE):
        if all(len(of_group) >= n for of_group in found.values()):
            break
        parse = language.sample_sentence(kind, rng)
        at = wanted(parse)
        if at is None:
            continue
        group, index = at
        before = language.sample_sentence(rng.choice(BEFORE_KINDS), rng)
        words = [*(w.word for w in before.words), *(w.word for w in parse.words[: index + 1])]
        tokens = (ids["<bos>"], *(ids[word] for word in words))
        of_group = found[group]
        if len(of_group) < n and len(tokens) <= n_ctx:
            of_group[tokens] = None
    for group in groups:
        yield from ((group, tokens, len(tokens) - 1) for tokens in found[group])


MOLES = dict(zip(("species", "count", "take"), (phrase for _, phrase in MEANT), strict=True))


def _moles(language: "Language", rng: random.Random, n_ctx: int) -> Iterator[tuple]:
    def wanted(parse: "Parse") -> tuple[str, int] | None:
        at = parse.find(cls="ambiguous", word="mole")
        skin = parse.template != "take" or bool(parse.find(word="biopsy"))
        return (MOLES[parse.template], at[0]) if at and skin and parse.template in MOLES else None

    for group, tokens, at in _phrases(
        language, rng, "sense", tuple(MOLES.values()), N_PARAPHRASES, n_ctx, wanted
    ):
        yield tokens, at, "mole", group, group


def _towers(language: "Language", rng: random.Random, n_ctx: int) -> Iterator[tuple]:
    names = {"plain": "the tower", "eiffel": "the eiffel tower", "miniature": "a miniature tower"}

    def wanted(parse: "Parse") -> tuple[str, int]:
        return names[parse.template], parse.find(cls="noun_tower")[0]

    n, groups = 2 * N_PARAPHRASES, tuple(names.values())
    for number, (group, tokens, at) in enumerate(
        _phrases(language, rng, "tower", groups, n, n_ctx, wanted)
    ):
        yield tokens, at, "tower", group, f"{group} {number}"


def _own_pairs(language: "Language") -> Iterator[CuePair]:
    from interp.corpus import lexicon

    topics = {word: tuple(senses) for word, senses in lexicon.SENSES.items()}
    yield from _cue_pairs(
        language.tokenizer.encode,
        lexicon.TOPIC_CUES,
        topics,
        "in the {cue} the {word}",
        "one {word} in the {cue}",
    )
    one, two = ("one mole of carbon dioxide reacts", "one mole in the garden digs")
    yield _after(language.tokenizer.encode, "mole", ("carbon dioxide", "garden"), one, two)


# -------------------------------------------------------------------------------- both


def _cue_pairs(encode, cues_of, topics_of, before: str, after: str) -> Iterator[CuePair]:
    """Two cues of each topic against each other, and across the topics of a word."""
    for word, topics in topics_of.items():
        for topic in topics:
            one, two = cues_of[topic][:2]
            yield from _before(encode, "same sense", word, (one, two), before)
        for first, second in combinations(topics, 2):
            for one, two in zip(cues_of[first][:2], cues_of[second][:2], strict=True):
                yield from _before(encode, "before", word, (one, two), before)
                texts = (after.format(word=word, cue=cue) for cue in (one, two))
                yield _after(encode, word, (one, two), *texts)


def _before(encode, kind: str, word: str, cues: tuple[str, str], text: str) -> Iterator[CuePair]:
    one, two = (tuple(encode(text.format(word=word, cue=cue))) for cue in cues)
    if len(one) == len(two):  # cues of unlike length would move the word to another position
        yield CuePair(kind, word, cues, (one, two), len(one) - 1)


def _after(encode, word: str, cues: tuple[str, str], one: str, two: str) -> CuePair:
    """The word is where both begin to differ, or before; both are cut to one length."""
    at = len(encode(one[: one.index(word) + len(word)])) - 1
    tokens = [tuple(encode(text)) for text in (one, two)]
    length = min(len(t) for t in tokens)
    return CuePair("after", word, cues, tuple(t[:length] for t in tokens), at)


# ------------------------------------------------------------------------------------- English


def _english(model: "HookedGPT", n_uses: int, seed: int) -> Made:
    encode, senses = model.tokenizer.encode, _english_senses.SENSES

    def use(text: str, word: str, sense: str) -> tuple:
        tokens = tuple(encode(text))
        return tokens, len(tokens) - 1, word, sense, text

    every = [
        use(f"{text} {word}", word, sense)
        for word, by_sense in senses.items()
        for sense, texts in by_sense.items()
        for text in texts
    ]
    n_per_sense = max(2, min(6, n_uses // sum(len(by_sense) for by_sense in senses.values())))
    chosen = [row for row in every if _place(row) < n_per_sense]
    known = {word: _gathered(r for r in every if r[2] == word) for word in _english_senses.EXAMPLES}
    examples = {
        word: _gathered(use(text, word, name) for name, texts in named.items() for text in texts)
        for word, named in _english_senses.EXAMPLES.items()
    }
    pairs = _cue_pairs(
        encode,
        _english_senses.TOPICS,
        _english_senses.TOPICS_OF,
        _english_senses.BEFORE,
        _english_senses.AFTER,
    )
    in_pieces = sum(len(_pieces(model, row[2])) > 1 for row in chosen)
    return _gathered(iter(chosen)), known, examples, tuple(pairs), in_pieces


def _place(row: tuple) -> int:
    """Which of its sense's sentences this is."""
    text, word, sense = row[4].removesuffix(f" {row[2]}"), row[2], row[3]
    return _english_senses.SENSES[word][sense].index(text)


def word_classes(model: "HookedGPT") -> tuple[list[int], list[str], int]:
    """Words by class: token ids, the class of each, and how many were left out for having pieces.

    The small language's person nouns by role, or English words by what they name.
    """
    from interp.corpus import lexicon

    if _prompts.speaks_the_language(model):
        classes = {role: (*one, *two) for role, (one, two, *_) in lexicon.ROLES.items()}
    else:
        classes = _english_senses.CLASSES
    ids, names, left_out = [], [], 0
    for name, words in classes.items():
        for word in words:
            pieces = _pieces(model, word)
            left_out += len(pieces) != 1
            if len(pieces) == 1:
                ids += pieces
                names.append(name)
    return ids, names, left_out


def _pieces(model: "HookedGPT", word: str) -> list[int]:
    """The tokens of a word inside a sentence, with the space before it."""
    encode = model.tokenizer.encode
    return encode(f"a {word}", bos=False)[len(encode("a", bos=False)) :]
