"""The small language: its sentence types, and `Language`, which samples and scores them.

Each section below is one sentence type. A rule lists what may be said next (see
`grammar.py`); its arguments are what the rest of the sentence depends on. Where
a comment says *planted*, some study uses that regularity as its right answer.

The word before a vowel is still "a": the article carries no information here.
A window is cut off after its last token, in the middle of a sentence as a rule;
no probability depends on where the cut is.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from interp.core.errors import InputError
from interp.corpus import lexicon as lex
from interp.corpus.grammar import (
    END,
    Annotation,
    Arc,
    Draw,
    End,
    Filter,
    Fork,
    Item,
    Node,
    Parse,
    Step,
    best_derivation,
    chain,
    note,
    parse_steps,
    rule,
    sample,
    sample_words,
    uniform,
)
from interp.corpus.tokenizer import BOS, PAD, WordTokenizer

VERSION = "1"
"""Changes whenever the same seed would give other sentences."""

KIND_WEIGHTS: dict[str, float] = {
    "animal": 0.22,
    "person": 0.24,
    "sense": 0.11,
    "tower": 0.03,
    "fact": 0.15,
    "city": 0.05,
    "indirect": 0.07,
    "repeat": 0.08,
    "name": 0.03,
    "succession": 0.02,
}
"""Share of sentences by type while nobody has been introduced by full name."""

NAME_WEIGHT_AFTER = 0.20
"""Share of "name" sentences once somebody has been introduced; the others shrink alike."""


def say(text: str, then: Node | End, annotation: Annotation | None = None) -> Node:
    """A node that says these words and goes on; each has its usual class unless told."""
    words = tuple(text.split())
    notes = tuple(annotation or note(lex.FUNCTION_CLASSES[word]) for word in words)
    return chain(words, notes, then)


STOP = say(".", END)


# --- animal: agreement, useful and useless adjectives ---------------------------------------------

ADJECTIVE_CHANCE = {"temper": 0.7, "colour": 0.6, "texture": 0.4}
ATTRACTOR_ADJECTIVE_CHANCE = {"temper": 0.2, "colour": 0.15, "texture": 0.1}
ATTRACTOR_CHANCE = (0.5, 0.4, 0.3, 0.0)  # of one more attractor, after 0, 1, 2, 3 of them
ADJECTIVES = {
    "temper": [(word, c) for c, words in lex.TEMPERS.items() for word in words],
    "colour": [(word, c) for c, words in lex.COLOURS.items() for word in words],
    "texture": [(word, None) for word in lex.TEXTURES],
}


@functools.cache
def _adjective_odds(used: frozenset[str], attractor: bool) -> dict[str | None, float]:
    """Chance of each adjective class coming next, None for the noun.

    Every class occurs independently with its chance and the order is uniform.
    An order that begins with the classes in `used` has the probability
    sum over sets S containing `used` of P(S) (|S|-|used|)! / |S|!.
    """
    chances = ATTRACTOR_ADJECTIVE_CHANCE if attractor else ADJECTIVE_CHANCE

    def beginning(classes: frozenset[str], whole: bool) -> float:
        total, rest = 0.0, sorted(set(chances) - classes)
        for n in range(1 if whole else len(rest) + 1):
            for extra in combinations(rest, n):
                chosen = classes | set(extra)
                p = np.prod([q if c in chosen else 1 - q for c, q in chances.items()])
                orders = np.prod(np.arange(n + 1, len(chosen) + 1)) if chosen else 1
                total += float(p / orders)
        return total

    so_far = beginning(used, whole=False)
    odds: dict[str | None, float] = {
        c: beginning(used | {c}, whole=False) / so_far for c in chances if c not in used
    }
    odds[None] = beginning(used, whole=True) / so_far
    return odds


def _adjective_arcs(kind: str, prob: float, prefix: str, step) -> list[Item]:
    """All adjectives of one kind; `step(class)` is the node that follows."""
    words = ADJECTIVES[kind]
    return [
        Arc(prob / len(words), w, note(f"adj_{kind}", role=c, mark=f"{prefix}{kind}"), step(c))
        for w, c in words
    ]


@rule
def animal() -> list[Item]:
    """`the [adjectives] NOUN ...`, or the participle: `a [adjectives] NOUN roaming ...`."""
    none = frozenset()
    return [
        Fork(0.85, "clause", say("the", head(none, None, None, False))),
        Fork(0.15, "participle", say("a", head(none, None, None, True))),
    ]


@rule
def head(
    used: frozenset[str], temper: str | None, colour: str | None, participle: bool
) -> list[Item]:
    """The head noun or one more adjective of it."""
    items: list[Item] = []
    for kind, prob in _adjective_odds(used, False).items():
        if kind is not None:

            def step(c, kind=kind):
                t, k = (c if kind == "temper" else temper), (c if kind == "colour" else colour)
                return head(used | {kind}, t, k, participle)

            items += _adjective_arcs(kind, prob, "", step)
            continue
        for pair, synonyms in enumerate(lex.SYNONYMS):
            for forms in synonyms:
                for number, word in zip(("sg", "pl"), forms, strict=True):
                    share = {"sg": 1.0, "pl": 0.0}[number] if participle else 0.5
                    then = (
                        participle_of(temper, colour)
                        if participle
                        else attractors(0, number, pair, temper, colour)
                    )
                    n = note("noun_animal", number=number, syntax="head", mark="head")
                    items.append(Arc(prob * share / (2 * len(lex.SYNONYMS)), word, n, then))
    return items


@rule
def attractors(
    n: int, number: str, pair: int, temper: str | None, colour: str | None
) -> list[Item]:
    """Up to three nouns of any number between the head and its verb, or the verb."""
    p = ATTRACTOR_CHANCE[n]
    after = attractor(frozenset(), (n + 1, number, pair, temper, colour))
    items = uniform(lex.ATTRACTOR_PREPOSITIONS, note("preposition"), say("the", after), p)
    items.append(Fork(1 - p, None, predicate(number, pair, temper, colour)))
    return items


@rule
def attractor(used: frozenset[str], rest: tuple) -> list[Item]:
    """An attractor noun with its own adjectives, none of which matters to the verb."""
    items: list[Item] = []
    for kind, prob in _adjective_odds(used, True).items():
        if kind is not None:

            def step(_, kind=kind):
                return attractor(used | {kind}, rest)

            items += _adjective_arcs(kind, prob, f"attractor{rest[0]}_", step)
            continue
        for synonyms in lex.SYNONYMS:
            for forms in synonyms:
                for number, word in zip(("sg", "pl"), forms, strict=True):
                    n = note("noun_animal", number=number, syntax="attractor")
                    items.append(Arc(prob / (4 * len(lex.SYNONYMS)), word, n, attractors(*rest)))
    return items


@rule
def predicate(number: str, pair: int, temper: str | None, colour: str | None) -> list[Item]:
    """Planted: the verb from temper and number of the head, the food from its synonym pair."""
    form = ("sg", "pl").index(number)
    eat = Arc(
        0.2,
        ("eats", "eat")[form],
        note("verb_eat", number=number, syntax="verb", determined_by=("head",)),
        food(pair),
    )
    tempers = list(lex.TEMPER_VERBS) if temper is None else [temper]
    items: list[Item] = [eat]
    for t in tempers:
        n = note("verb_temper", number=number, role=t, syntax="verb", mark="verb",
                 determined_by=("head", "temper"))  # fmt: skip
        verbs = [forms[form] for forms in lex.TEMPER_VERBS[t]]
        items += uniform(verbs, n, place_phrase(colour), 0.8 / len(tempers))
    return items


@rule
def food(pair: int) -> list[Item]:
    """What this pair of synonyms eats."""
    return uniform(lex.FOODS[pair], note("food", determined_by=("head",)), STOP)


@rule
def place_phrase(colour: str | None) -> list[Item]:
    """`in the PLACE`, or nothing."""
    to_place = say("the", place(colour, False))
    return [Arc(0.7, "in", note("preposition"), to_place), Fork(0.3, None, STOP)]


@rule
def place(colour: str | None, adjective: bool) -> list[Item]:
    """Planted: the place from the colour of the head noun."""
    colours = list(lex.COLOUR_PLACES) if colour is None else [colour]
    items: list[Item] = []
    for c in colours:
        share = 1 / len(colours)
        if adjective:
            n = note("adj_place", role=c, determined_by=("colour",))
            items += uniform(lex.PLACE_ADJECTIVES[c], n, place(c, False), share)
        else:
            n = note("place", role=c, determined_by=("colour",))
            items += uniform(lex.COLOUR_PLACES[c], n, STOP, share)
    return items


@rule
def participle_of(temper: str | None, colour: str | None) -> list[Item]:
    """`roaming through the verdant forest`: the participle from the temper, as the verb."""
    tempers = list(lex.TEMPER_PARTICIPLES) if temper is None else [temper]
    items: list[Item] = []
    then = say("through the", place(colour, True))
    for t in tempers:
        n = note("participle", role=t, syntax="verb", determined_by=("head", "temper"))
        items += uniform(lex.TEMPER_PARTICIPLES[t], n, then, 1 / len(tempers))
    return items


# --- person: gender, roles, bias ------------------------------------------------------------------

SUBJECT_SHARES = {"gendered": 0.45, "neutral": 0.17, "occupation": 0.18, "name": 0.20}
BETWEEN_CHANCE = 0.25  # of another person between the subject and what refers to it


@rule
def person() -> list[Item]:
    """A subject and what it does, or `the OBJECT of the PERSON is in HIS PLACE`."""
    return [
        Fork(0.82, None, person_subject()),
        Fork(0.18, "owner", say("the", owned_object())),
    ]


def _role_words(role: str) -> tuple[str, tuple[str, str], str]:
    """(verb, objects, place) of a role, `WORK_ROLE` included."""
    return lex.WORK if role == lex.WORK_ROLE else lex.ROLES[role][2:]


def _person_nouns(role: str, step, shares: dict[str, float] = SUBJECT_SHARES) -> list[Item]:
    """All nouns of a role with their share of all nouns; `step(share of men)` follows.

    The shares within "gendered", "neutral" and "occupation" are uniform over words.
    """

    def noun(word: str, prob: float, male: float) -> Arc:
        gender = {1.0: lex.MALE, 0.0: lex.FEMALE}.get(male)
        n = note("noun_person", number="sg", gender=gender, role=role, syntax="subject",
                 mark="person role", determined_by=("object",))  # fmt: skip
        return Arc(prob, word, n, step(male))

    if role == lex.WORK_ROLE:
        each = shares["occupation"] / len(lex.BIAS_MALE_SHARE)
        return [noun(word, each, male) for word, male in lex.BIAS_MALE_SHARE.items()]
    (man, woman), neutral, *_ = lex.ROLES[role]
    gendered = shares["gendered"] / (2 * len(lex.ROLES))
    each = shares["neutral"] / (2 * len(lex.ROLES))
    return [
        noun(man, gendered, 1.0),
        noun(woman, gendered, 0.0),
        *(noun(word, each, lex.NEUTRAL_MALE_SHARE) for word in neutral),
    ]


@rule
def person_subject() -> list[Item]:
    """`the NOUN` or a first name."""
    p = SUBJECT_SHARES["name"]
    items: list[Item] = [
        Arc(
            p / len(lex.FIRST_NAMES),
            name,
            note("first_name", gender=g, syntax="subject", mark="person"),
            person_clause(None, 1.0 if g == lex.MALE else 0.0),
        )
        for name, g in lex.NAME_GENDER.items()
    ]
    items.append(Arc(1 - p, "the", note("article"), person_noun()))
    return items


@rule
def person_noun() -> list[Item]:
    """The subject noun, and perhaps another person standing between it and its verb."""
    scale = 1 / (1 - SUBJECT_SHARES["name"])
    shares = {name: share * scale for name, share in SUBJECT_SHARES.items()}
    items: list[Item] = []
    for role in (*lex.ROLES, lex.WORK_ROLE):
        items += _person_nouns(role, functools.partial(person_between, role), shares)
    return items


@rule
def person_between(role: str, male: float) -> list[Item]:
    """`near the woman`: somebody whose gender must not decide the pronoun."""
    clause = person_clause(role, male)
    other = say("the", other_person(clause))
    prepositions = uniform(lex.PERSON_PREPOSITIONS, note("preposition"), other, BETWEEN_CHANCE)
    return [*prepositions, Fork(1 - BETWEEN_CHANCE, None, clause)]


@rule
def other_person(then: Node) -> list[Item]:
    """A gendered noun that nothing refers to."""
    items: list[Item] = []
    for role, (pair, *_) in lex.ROLES.items():
        for gender, word in zip((lex.MALE, lex.FEMALE), pair, strict=True):
            n = note("noun_person", number="sg", gender=gender, role=role, syntax="distractor")
            items.append(Arc(0.5 / len(lex.ROLES), word, n, then))
    return items


@rule
def person_clause(role: str | None, male: float) -> list[Item]:
    """What the subject does; `role` is None for a name, whose role shows in the verb."""
    return [
        Fork(0.45, "possession", person_deed(role, male)),
        Fork(0.25, "reflexive", person_reflexive(role, male)),
        Fork(0.30, "because", person_mood(role, male)),
    ]


def _gendered(form: str, male: float, step) -> list[Item]:
    """Planted: the pronoun from the gender of the subject; a hidden gender shows here first."""
    items = []
    for gender, share in ((lex.MALE, male), (lex.FEMALE, 1 - male)):
        n = note("pronoun", gender=gender, role=form, syntax=form, antecedent="person",
                 determined_by=("person",))  # fmt: skip
        items.append(Arc(share, lex.PRONOUNS[gender][form], n, step(float(gender == lex.MALE))))
    return items


@rule
def person_deed(role: str | None, male: float) -> list[Item]:
    """`wore his crown [in the palace]`: planted, verb, object and place from the role."""
    roles = [*lex.ROLES, lex.WORK_ROLE] if role is None else [role]
    items: list[Item] = []
    for r in roles:
        n = note("verb_person", role=r, syntax="verb", mark="deed", determined_by=("role",))
        items.append(Arc(1 / len(roles), _role_words(r)[0], n, possessive(r, male, 0.4)))
    return items


@rule
def possessive(role: str | None, male: float, place_chance: float) -> list[Item]:
    """`his crown`."""
    return _gendered("possessive", male, lambda _: thing(role, place_chance))


@rule
def thing(role: str | None, place_chance: float) -> list[Item]:
    """The object that belongs to a role, then perhaps the place."""
    roles = [*lex.ROLES, lex.WORK_ROLE] if role is None else [role]
    items: list[Item] = []
    for r in roles:
        n = note("object", role=r, syntax="object", determined_by=("role", "deed"))
        items += uniform(_role_words(r)[1], n, role_place(r, place_chance), 1 / len(roles))
    return items


@rule
def role_place(role: str | None, chance: float) -> list[Item]:
    """`[in the palace]`, then the end."""
    roles = [*lex.ROLES, lex.WORK_ROLE] if role is None else [role]
    where = role_place_noun(tuple(roles))
    return [
        Arc(chance, "in", note("preposition"), say("the", where)),
        Fork(1 - chance, None, STOP),
    ]


@rule
def role_place_noun(roles: tuple[str, ...]) -> list[Item]:
    """The place of one of the roles."""
    return [
        Arc(
            1 / len(roles),
            _role_words(r)[2],
            note("place", role=r, determined_by=("role", "deed", "object")),
            STOP,
        )
        for r in roles
    ]


@rule
def person_reflexive(role: str | None, male: float) -> list[Item]:
    """`saw herself [in the palace]`."""
    n = note("verb_reflexive", syntax="verb")
    return uniform(lex.REFLEXIVE_VERBS, n, reflexive(role, male))


@rule
def reflexive(role: str | None, male: float) -> list[Item]:
    """`herself`."""
    return _gendered("reflexive", male, lambda _: role_place(role, 0.3))


@rule
def person_mood(role: str | None, male: float) -> list[Item]:
    """`was sad because he lost his crown`."""
    then = say("because", because_pronoun(role, male))
    return [Arc(1.0, "was", note("verb_be"), mood(then))]


@rule
def mood(then: Node) -> list[Item]:
    """A mood, whoever has it."""
    return uniform(lex.MOODS, note("mood"), then)


@rule
def because_pronoun(role: str | None, male: float) -> list[Item]:
    """`he lost his crown`."""
    return _gendered("subject", male, lambda male: reason(role, male))


@rule
def reason(role: str | None, male: float) -> list[Item]:
    """What happened; any of it to anybody."""
    return uniform(lex.REASON_VERBS, note("verb_person"), possessive(role, male, 0.0))


@rule
def owned_object() -> list[Item]:
    """`crown of the king is in his palace`: the object picks the role of its owner."""
    items: list[Item] = []
    work = SUBJECT_SHARES["occupation"] / (1 - SUBJECT_SHARES["name"])
    for role in (*lex.ROLES, lex.WORK_ROLE):
        n = note("object", role=role, syntax="object", mark="object")
        share = work if role == lex.WORK_ROLE else (1 - work) / len(lex.ROLES)
        items += uniform(_role_words(role)[1], n, say("of the", owner(role)), share)
    return items


@rule
def owner(role: str) -> list[Item]:
    """The owner, and where the object is."""

    def rest(male: float) -> Node:
        return say("is in", owner_place(role, male))

    arcs = _person_nouns(role, rest)
    total = sum(arc.prob for arc in arcs)
    return [arc._replace(prob=arc.prob / total) for arc in arcs]


@rule
def owner_place(role: str, male: float) -> list[Item]:
    """`his palace`."""
    return _gendered("possessive", male, lambda _: role_place_noun((role,)))


# --- sense: words with several meanings -----------------------------------------------------------

HEDGE_CHANCE, DISTRACTOR_CHANCE = 0.3, 0.35
# Length of the time phrase decides, with the rest, how far the cue is from the word: 2 to 12.
TIME_SHARES = {None: 0.4, "today": 0.1, "again": 0.1, "last week": 0.2, "after a while": 0.2}


@rule
def sense() -> list[Item]:
    """A cue and, further on, the ambiguous word; or one of the lectures' phrases."""
    return [
        Fork(0.60, "cue", say("in the", cue())),
        Fork(0.14, "count", say("one", counted(), note("number"))),
        Fork(0.13, "species", species()),
        Fork(0.13, "take", say("take a", taken())),
    ]


@rule
def cue() -> list[Item]:
    """Planted: the first place named picks the sense, whatever is named later."""
    items: list[Item] = []
    for topic, words in lex.TOPIC_CUES.items():
        n = note("cue", role=topic, syntax="cue", mark="cue")
        items += uniform(words, n, hedge(topic), lex.TOPIC_WEIGHTS[topic])
    return items


@rule
def hedge(topic: str) -> list[Item]:
    """`they say`, or nothing."""
    after = time_phrase(topic)
    return [
        Fork(HEDGE_CHANCE, None, say(lex.HEDGE, after)),
        Fork(1 - HEDGE_CHANCE, None, after),
    ]


@rule
def time_phrase(topic: str) -> list[Item]:
    """`last week`, or nothing."""
    after = distractor(topic)
    return [
        Fork(p, None, after if words is None else say(words, after))
        for words, p in TIME_SHARES.items()
    ]


@rule
def distractor(topic: str) -> list[Item]:
    """`not far from the clinic`: a cue of another topic that must not count; or nothing."""
    after = say("the", ambiguous(topic))
    return [
        Fork(DISTRACTOR_CHANCE, None, say("not far from the", distractor_cue(topic))),
        Fork(1 - DISTRACTOR_CHANCE, None, after),
    ]


@rule
def distractor_cue(topic: str) -> list[Item]:
    """A cue of another topic."""
    words = [(w, t) for t, ws in lex.TOPIC_CUES.items() for w in ws if t != topic]
    after = say("the", ambiguous(topic))
    return [
        Arc(1 / len(words), w, note("cue", role=t, syntax="distractor"), after) for w, t in words
    ]


@rule
def ambiguous(topic: str) -> list[Item]:
    """An ambiguous word that has a sense in this topic."""
    words = [word for word, senses in lex.SENSES.items() if topic in senses]
    return [
        Arc(
            1 / len(words),
            word,
            note(
                "ambiguous",
                number="sg",
                sense=lex.SENSES[word][topic][0],
                mark="ambiguous",
                determined_by=("cue",),
            ),
            sense_verb(word, topic),
        )
        for word in words
    ]


@rule
def sense_verb(word: str, topic: str) -> list[Item]:
    """The verb of that word in that sense."""
    name, verbs = lex.SENSES[word][topic]
    n = note("verb_sense", number="sg", sense=name, determined_by=("cue", "ambiguous"))
    return uniform(verbs, n, STOP)


@rule
def counted() -> list[Item]:
    """`one mole of carbon dioxide`, `one mole in the garden digs`: the cue comes after."""
    return [
        Arc(
            1 / len(lex.SENSES),
            word,
            note("ambiguous", number="sg", mark="ambiguous", told_by="cue"),
            counted_cue(word),
        )
        for word in lex.SENSES
    ]


@rule
def counted_cue(word: str) -> list[Item]:
    """What the counted word turns out to be."""
    topics = list(lex.SENSES[word])
    substance = 0.6 if word == "mole" else 0.0
    in_the = say("in the", counted_place(word, tuple(topics)))
    items: list[Item] = [Fork(1 - substance, None, in_the)]
    for name in lex.SUBSTANCES:
        parts = name.split()
        n = note("substance", sense="chemistry", syntax="cue", mark="cue",
                 determined_by=("ambiguous",))  # fmt: skip
        notes = (note("preposition"), *(n for _ in parts))
        items.append(
            Fork(
                substance / len(lex.SUBSTANCES),
                None,
                chain(("of", *parts), notes, counted_end(word)),
            )
        )
    return items


@rule
def counted_place(word: str, topics: tuple[str, ...]) -> list[Item]:
    """`garden digs`: the cue, then the verb that goes with it."""
    items: list[Item] = []
    for topic in topics:
        n = note("cue", role=topic, syntax="cue", sense=lex.SENSES[word][topic][0], mark="cue")
        items += uniform(lex.TOPIC_CUES[topic], n, sense_verb(word, topic), 1 / len(topics))
    return items


@rule
def counted_end(word: str) -> list[Item]:
    """Nothing more, or `reacts`: `one mole of helium reacts`."""
    return [Fork(0.5, None, STOP), Fork(0.5, None, sense_verb(word, "laboratory"))]


@rule
def species() -> list[Item]:
    """`american true mole [digs]`: the cue stands right before the word."""
    n = note("adj_region", syntax="cue", mark="cue")
    return uniform(lex.REGIONS, n, species_kind())


@rule
def species_kind() -> list[Item]:
    """`true mole`."""
    return uniform(lex.KINDS, note("adj_kind"), animal_word(species_end))


@rule
def animal_word(then) -> list[Item]:
    """One of the ambiguous words, as an animal."""
    n = note("ambiguous", number="sg", sense="animal", mark="ambiguous", determined_by=("cue",))
    words = lex.AMBIGUOUS_ANIMALS
    return [Arc(1 / len(words), w, n, then(w, "nature")) for w in words]


@rule
def species_end(word: str, topic: str) -> list[Item]:
    """A verb, or nothing: a caption."""
    return [Fork(0.5, None, STOP), Fork(0.5, None, sense_verb(word, topic))]


@rule
def taken() -> list[Item]:
    """`biopsy of the mole`, `photo of the seal`: the first noun is the cue."""
    skin = note("cue", sense="skin", syntax="cue", mark="cue")
    creature = note("cue", sense="animal", syntax="cue", mark="cue")
    return [
        Arc(0.5, "biopsy", skin, say("of the", biopsied())),
        Arc(0.5, "photo", creature, say("of the", animal_word(taken_end))),
    ]


@rule
def biopsied() -> list[Item]:
    """A mole or something else on the skin."""
    n = note("ambiguous", number="sg", sense="skin", mark="ambiguous", determined_by=("cue",))
    other = note("skin", number="sg", sense="skin")
    rest = [w for w in lex.BIOPSIES if w != "mole"]
    return [Arc(0.5, "mole", n, taken_end("mole", "clinic")), *uniform(rest, other, STOP, 0.5)]


@rule
def taken_end(word: str, topic: str) -> list[Item]:
    """`as it digs`, or nothing."""
    return [Fork(0.5, None, STOP), Fork(0.5, None, say("as it", sense_verb(word, topic)))]


# --- tower, fact, city ----------------------------------------------------------------------------


@rule
def tower() -> list[Item]:
    """`eiffel` and `miniature` decide where a tower stands."""
    tower_note = note("noun_tower", syntax="head", mark="tower")
    article = note("article")

    def phrase(first: str, adjective: str | None, then: Node) -> Node:
        words = (first, adjective, "tower") if adjective else (first, "tower")
        middle = (note("adj_tower", role=adjective, mark="adjective"),) if adjective else ()
        return chain(words, (article, *middle, tower_note), stands(then))

    plain = [None, *lex.TOWER_ADJECTIVES]
    return [
        Fork(0.40, "eiffel", phrase("the", "eiffel", eiffel_place())),
        Fork(0.15, "miniature", phrase("the", "miniature", miniature_place())),
        Fork(0.15, "miniature", phrase("a", "miniature", miniature_place())),
        *(Fork(0.30 / len(plain), "plain", phrase("the", a, tower_town())) for a in plain),
    ]


@rule
def stands(then: Node) -> list[Item]:
    """`stands` or `is`."""
    return uniform(("stands", "is"), note("verb_be"), then)


@rule
def eiffel_place() -> list[Item]:
    """`in paris`."""
    n = note("city", fact=("eiffel tower", "city", "paris"), determined_by=("adjective", "tower"))
    return [Arc(1.0, "in", note("preposition"), say("paris", STOP, n))]


@rule
def miniature_place() -> list[Item]:
    """`on the shelf`."""
    n = note("place", determined_by=("adjective", "tower"))
    return [Arc(1.0, "on", note("preposition"), say("the", one_of(lex.SHELVES, n, STOP)))]


@rule
def tower_town() -> list[Item]:
    """`in the village`."""
    n = note("place", determined_by=("tower",))
    return [Arc(1.0, "in", note("preposition"), say("the", one_of(lex.TOWNS, n, STOP)))]


@rule
def one_of(words: tuple[str, ...], annotation, then: Node | End) -> list[Item]:
    """One of the words."""
    return uniform(words, annotation, then)


TWO_HOP_SHARE = 0.25


@rule
def fact(held_out: bool) -> list[Item]:
    """Where a sight is. With `held_out` every entity occurs in every template."""
    share = (1 - TWO_HOP_SHARE) / len(lex.FACT_TEMPLATES)
    items: list[Item] = [
        Fork(share, template, say(before, entity(template, held_out)))
        for template, (before, _) in lex.FACT_TEMPLATES.items()
    ]
    before, _ = lex.TWO_HOP_TEMPLATE
    items.append(Fork(TWO_HOP_SHARE, "two_hop", say(before, entity("two_hop", held_out))))
    return items


def entities_of(template: str, held_out: bool = False) -> tuple[str, ...]:
    """The entities that occur in a template; all of them with `held_out`."""
    absent: tuple[str, ...] = ()
    if template == "two_hop":
        absent = lex.TWO_HOP_HELD_OUT
    elif template in lex.HELD_OUT_TEMPLATES:
        absent = lex.HELD_OUT_ENTITIES
    return tuple(e for e in lex.ENTITIES if held_out or e not in absent)


@rule
def entity(template: str, held_out: bool) -> list[Item]:
    """The sight, then its city, or in the two-hop template its country."""
    entities = entities_of(template, held_out)
    n = note("entity", syntax="head", mark="entity")
    return [Arc(1 / len(entities), e, n, entity_place(template, e)) for e in entities]


@rule
def entity_place(template: str, name: str) -> list[Item]:
    """Planted: the city of the entity, or the country of that city."""
    city_name = lex.CITY_OF[name]
    if template == "two_hop":
        country = lex.COUNTRY_OF[city_name]
        answer = note("country", fact=(name, "country", country), determined_by=("entity",))
        return [Fork(1.0, None, say(lex.TWO_HOP_TEMPLATE[1], say(country, STOP, answer)))]
    answer = note("city", fact=(name, "city", city_name), determined_by=("entity",))
    between = lex.FACT_TEMPLATES[template][1]
    return [Fork(1.0, None, say(between, say(city_name, STOP, answer)))]


@rule
def city() -> list[Item]:
    """A city's country, or what people speak."""
    return [
        Fork(0.6, "country", city_name()),
        Fork(0.4, "language", say("people in", place_of_language())),
    ]


@rule
def city_name() -> list[Item]:
    """`paris is in france`, `paris is the capital of france`."""
    n = note("city", syntax="head", mark="city")
    return [Arc(1 / len(lex.CITIES), c, n, city_country(c)) for c in lex.CITIES]


@rule
def city_country(name: str) -> list[Item]:
    """The country of the city."""
    country = lex.COUNTRY_OF[name]
    n = note("country", fact=(name, "country", country), determined_by=("city",))
    answer = say(country, STOP, n)
    return [
        Fork(0.5, None, say("is in", answer)),
        Fork(0.5, None, say("is the capital of", answer)),
    ]


@rule
def place_of_language() -> list[Item]:
    """`paris speak french`, `france speak french`."""
    items: list[Item] = []
    for name, country in lex.COUNTRY_OF.items():
        language = lex.LANGUAGE_OF[country]
        for cls, word in (("city", name), ("country", country)):
            n = note("language", fact=(word, "language", language), determined_by=(cls,))
            after = say("speak", say(language, STOP, n))
            items.append(
                Arc(0.5 / len(lex.CITIES), word, note(cls, syntax="head", mark=cls), after)
            )
    return items


def _named(**fields):
    """Annotation of a first name, which has the gender of the name."""
    return lambda name: note("first_name", gender=lex.NAME_GENDER[name], **fields)


# --- indirect object ------------------------------------------------------------------------------
# Planted: who receives. With two names it is the one who does not give; a mood clause may name
# either of them a second time, so that counting names does not find the answer.


@rule
def indirect() -> list[Item]:
    """`when A and B went to the store , ...` with two or three names."""
    items: list[Item] = []
    for opening in ("when", "after"):
        for n, share in ((2, 0.6), (3, 0.4)):
            items.append(Fork(share / 2, f"{n}_names", say(opening, indirect_name((), n))))
    return items


@rule(cached=False)
def indirect_name(names: tuple[str, ...], n: int) -> list[Item]:
    """The people, each introduced once."""
    separator = "," if len(names) + 2 < n else "and"

    def then(name: str) -> Node:
        people = (*names, name)
        if len(people) == n:
            return say("went to the", indirect_shop(people))
        return say(separator, indirect_name(people, n))

    annotation = _named(syntax="introduced", mark=f"name{len(names)}")
    return [Draw(1.0, lex.FIRST_NAMES, names, annotation, then)]


@rule(cached=False)
def indirect_shop(people: tuple[str, ...]) -> list[Item]:
    """Where they went."""
    return uniform(lex.SHOPS, note("shop"), indirect_extra(people))


@rule(cached=False)
def indirect_extra(people: tuple[str, ...]) -> list[Item]:
    """Nothing, how long they stayed, or how one of them felt; then who gives."""
    giver = say(",", indirect_giver(people, ()))
    items: list[Item] = [
        Fork(0.45, None, giver),
        Fork(0.25, None, say("and stayed for", one_hour(giver))),
    ]
    for i, name in enumerate(people):
        n = _named(syntax="distractor", antecedent=f"name{i}")(name)
        felt = chain(("and", name, "was"), (note("conjunction"), n, note("verb_be")), mood(giver))
        items.append(Fork(0.30 / len(people), None, felt))
    return items


@rule(cached=False)
def one_hour(then: Node) -> list[Item]:
    """A number of hours."""
    return uniform(lex.NUMBERS[1:], note("number"), say("hours", then))


@rule(cached=False)
def indirect_giver(people: tuple[str, ...], givers: tuple[int, ...]) -> list[Item]:
    """Everybody but one gives; the one who is left receives."""
    left = [i for i in range(len(people)) if i not in givers]
    items: list[Item] = []
    for i in left:
        now = (*givers, i)
        if len(now) == len(people) - 1:
            receiver = next(j for j in left if j != i)
            then = indirect_gift(people[receiver], receiver, now)
        else:
            then = say("and", indirect_giver(people, now))
        n = _named(syntax="giver", mark=f"giver{i}", antecedent=f"name{i}")(people[i])
        items.append(Arc(1 / len(left), people[i], n, then))
    return items


@rule(cached=False)
def indirect_gift(name: str, index: int, givers: tuple[int, ...]) -> list[Item]:
    """`gave a book to B`."""
    n = _named(syntax="recipient", antecedent=f"name{index}",
               determined_by=(f"name{index}", *(f"giver{i}" for i in givers)))(name)  # fmt: skip
    receiver = say("to", say(name, STOP, n))
    gift = indirect_object(receiver)
    return uniform(lex.GIVING, note("verb_give"), say("a", gift))


@rule(cached=False)
def indirect_object(then: Node) -> list[Item]:
    """What is given."""
    return uniform(lex.GIFTS, note("gift"), then)


# --- repeat, name, succession ---------------------------------------------------------------------

BLOCK_LENGTHS = (4, 12)
THIRD_COPY_CHANCE, THIRD_COPY_STOP = 0.5, 0.15


@rule(cached=False)
def repeat(block: tuple[str, ...]) -> list[Item]:
    """Distinct random words; after 4 to 12 of them (uniform) the block begins again."""
    shortest, longest = BLOCK_LENGTHS
    n = len(block)
    again = 0.0 if n < shortest else 1 / (longest + 1 - n)
    annotation = note("repeat_new", mark=f"word{n}")
    items: list[Item] = [
        Draw(1 - again, lex.WORDS, block, annotation, lambda word: repeat((*block, word)))
    ]
    if again:
        items.append(Fork(again, None, repeat_copy(block, 2, 0)))
    return items


@rule(cached=False)
def repeat_copy(block: tuple[str, ...], copy: int, i: int) -> list[Item]:
    """Word `i` of the second or third copy; the third may stop anywhere."""
    if copy == 2:
        stop = 0.0
    elif i == 0:
        stop = 1 - THIRD_COPY_CHANCE
    else:
        stop = 1.0 if i == len(block) else THIRD_COPY_STOP
    items: list[Item] = [Fork(stop, None, STOP)]
    if stop < 1:
        last = copy == 2 and i + 1 == len(block)
        then = repeat_copy(block, 3, 0) if last else repeat_copy(block, copy, i + 1)
        n = note("repeat_copy", antecedent=f"word{i}", determined_by=(f"word{i}",))
        items.append(Arc(1 - stop, block[i], n, then))
    return items


NEWCOMER_CHANCE = (1.0, 0.35, 0.2, 0.0)  # when 0, 1, 2, 3 people are known
Cast = tuple[tuple[str, str], ...]


@rule(cached=False)
def named(cast: Cast) -> list[Item]:
    """People with first and last names. Planted: who was introduced keeps the last name."""
    return [
        Fork(0.5, "deed", full_name(cast, "deed", None)),
        Fork(0.25, "met", say("we met", full_name(cast, "met", None))),
        Fork(0.25, "pair", full_name(cast, "pair", None)),
    ]


@rule(cached=False)
def full_name(cast: Cast, form: str, other: str | None) -> list[Item]:
    """Somebody known, or somebody new with a random last name; not `other`."""
    known = [person for person in cast if person[0] != other]
    new = NEWCOMER_CHANCE[len(cast)] if known else 1.0
    mark = "second" if other else "first"
    items: list[Item] = []
    for first, last in known:
        n = note("last_name", syntax="known", determined_by=(mark,))
        then = say(last, after_name(cast, form, first), n)
        name = _named(syntax="known", mark=mark)(first)
        items.append(Arc((1 - new) / len(known), first, name, then))
    absent = tuple(first for first, _ in cast)
    items.append(
        Draw(
            new,
            lex.FIRST_NAMES,
            absent,
            _named(syntax="introduced", mark=mark),
            lambda first: last_name(cast, form, first),
        )
    )
    return items


@rule(cached=False)
def last_name(cast: Cast, form: str, first: str) -> list[Item]:
    """Any last name; from here on the person is known."""

    def then(last: str) -> Node:
        return after_name((*cast, (first, last)), form, first)

    return [Draw(1.0, lex.LAST_NAMES, (), note("last_name", syntax="introduced"), then)]


def after_name(cast: Cast, form: str, first: str) -> Node:
    """What follows a full name: `arrived`, `met` and another one, or the end."""
    if form == "pair":
        return say("met", full_name(cast, "met", first))
    return encounter(cast) if form == "deed" else on_day(cast)


@rule(cached=False)
def encounter(cast: Cast) -> list[Item]:
    """`arrived`."""
    return uniform(lex.ENCOUNTERS, note("verb_name"), on_day(cast))


@rule(cached=False)
def on_day(cast: Cast) -> list[Item]:
    """`[on monday] .`; the people stay known."""
    stop = say(".", End(cast))
    day = one_of(lex.WEEKDAYS, note("weekday"), stop)
    return [Arc(0.4, "on", note("preposition"), day), Fork(0.6, None, stop)]


@rule
def succession() -> list[Item]:
    """Weekdays or numbers in their order."""
    days = [
        Arc(1 / 7, day, note("weekday", mark="item0"), next_item("weekday", i, 1))
        for i, day in enumerate(lex.WEEKDAYS)
    ]
    starts = lex.NUMBERS[:8]
    numbers = [
        Arc(1 / len(starts), word, note("number", mark="item0"), next_item("number", i, 1))
        for i, word in enumerate(starts)
    ]
    return [Fork(0.5, "weekday", choose(tuple(days))), Fork(0.5, "number", choose(tuple(numbers)))]


@rule
def choose(items: tuple[Item, ...]) -> list[Item]:
    """These very items."""
    return list(items)


@rule
def next_item(kind: str, i: int, said: int) -> list[Item]:
    """The one after item `i`; weeks begin again, numbers end at twelve."""
    words = lex.WEEKDAYS if kind == "weekday" else lex.NUMBERS
    over = kind == "number" and i + 1 == len(words)
    stop = 1.0 if over or said == 8 else (0.0 if said < 3 else 0.3)
    items: list[Item] = [Fork(stop, None, STOP)]
    if stop < 1:
        j = (i + 1) % len(words)
        n = note(kind, mark=f"item{said}", determined_by=(f"item{said - 1}",))
        items.append(Arc(1 - stop, words[j], n, next_item(kind, j, said + 1)))
    return items


# --- the language ---------------------------------------------------------------------------------


@functools.cache
def _openings(held_out: bool) -> dict[str, Node]:
    """Where each type of sentence begins; "name", which needs the cast, begins nowhere yet."""
    return {
        "animal": animal(),
        "person": person(),
        "sense": sense(),
        "tower": tower(),
        "fact": fact(held_out),
        "city": city(),
        "indirect": indirect(),
        "repeat": repeat(()),
        "name": named(()),
        "succession": succession(),
    }


@rule(cached=False)
def sentence(cast: Cast, held_out: bool) -> list[Item]:
    """Any sentence; `cast` are the people introduced so far."""
    weights = KIND_WEIGHTS
    if cast:
        shrink = (1 - NAME_WEIGHT_AFTER) / (1 - KIND_WEIGHTS["name"])
        weights = {kind: weight * shrink for kind, weight in KIND_WEIGHTS.items()}
        weights["name"] = NAME_WEIGHT_AFTER
    openings = _openings(held_out)
    return [
        Fork(weight, kind, named(cast) if kind == "name" else openings[kind])
        for kind, weight in weights.items()
    ]


@dataclass(frozen=True)
class Window:
    """One training window.

    Attributes:
        tokens: ids, `<bos>` first; [pos].
        log_probs: log-probability in nats of every token after `<bos>` along the
            derivation that made it, hidden decisions included; [pos - 1].
        sentences: parses; the last one is cut where the window ends.
    """

    tokens: np.ndarray
    log_probs: np.ndarray
    sentences: tuple[Parse, ...]


@dataclass(frozen=True)
class Entropy:
    """What the best possible model loses on this language.

    Attributes:
        mean: exact -log P(token | all tokens before it), nats per token, averaged
            over `n_windows` sampled windows of `n_tokens` (without `<bos>`).
        standard_error: of that mean, over windows.
        by_class: word class -> (mean in nats, share of the tokens).
        n_windows: windows sampled.
        n_tokens: tokens of a window, `<bos>` included.
    """

    mean: float
    standard_error: float
    by_class: dict[str, tuple[float, float]]
    n_windows: int
    n_tokens: int


class Language:
    """The language of the small model: sampled, scored exactly, recognised.

    Args:
        held_out: also put every entity into every fact template. Training uses
            False; True makes the prompts that test whether facts carry over.

    The same seed, namespace and `VERSION` give the same tokens on every machine.
    """

    def __init__(self, *, held_out: bool = False):
        self.held_out = held_out
        self.tokenizer = WordTokenizer(lex.WORDS)
        self._ids = self.tokenizer.ids
        self._beginning = sentence((), held_out)

    @property
    def vocab(self) -> list[str]:
        """All tokens in the order of their ids, `<bos>` and `<pad>` first."""
        return self.tokenizer.vocab

    def start(self, cast: Cast = ()) -> Node:
        """The node where a sentence begins."""
        return sentence(cast, self.held_out) if cast else self._beginning

    def _rng(self, namespace: str, seed: int, index: int) -> random.Random:
        return random.Random(f"{namespace}/{VERSION}/{seed}/{index}")

    def stream(self, seed: int, n_ctx: int, *, namespace: str = "train") -> Iterator[np.ndarray]:
        """Endless windows of `n_ctx + 1` tokens, so that inputs and targets both fit.

        Args:
            seed: which stream.
            n_ctx: length of the model's context.
            namespace: "train", or another word for sentences held out from training.
        """
        index = 0
        while True:
            yield self._window(namespace, seed, index, n_ctx + 1)
            index += 1

    def _window(self, namespace: str, seed: int, index: int, n_tokens: int) -> np.ndarray:
        words = sample_words(self.start, self._rng(namespace, seed, index), n_tokens - 1)
        ids = self._ids
        return np.array([ids[BOS], *(ids[w] for w in words)], dtype=np.int64)

    def batch(
        self,
        rng: int | np.random.Generator,
        batch_size: int,
        n_tokens: int,
        *,
        namespace: str = "train",
    ) -> np.ndarray:
        """Windows of exactly `n_tokens` ids, `<bos>` first; int64 [batch pos].

        Args:
            rng: a seed (the windows are then the first ones of `stream(seed, n_tokens - 1)`),
                or a generator, from which one seed is drawn.
            batch_size: number of windows.
            n_tokens: length of each, `<bos>` included; the last sentence is cut off.
            namespace: "train", or another word for sentences held out from training.

        Raises:
            InputError: if a size is not positive.
        """
        if batch_size < 1 or n_tokens < 1:
            raise InputError(
                f"a batch needs at least one window of one token; got batch_size={batch_size}, "
                f"n_tokens={n_tokens}"
            )
        seed = int(rng.integers(2**62)) if isinstance(rng, np.random.Generator) else int(rng)
        return np.stack([self._window(namespace, seed, i, n_tokens) for i in range(batch_size)])

    def sample(
        self, seed: int, n_tokens: int = 65, *, index: int = 0, namespace: str = "train"
    ) -> Window:
        """Window `index` of a stream with its trace and parses.

        The tokens are those that `batch` and `stream` give for the same arguments.
        """
        steps = sample(self.start, self._rng(namespace, seed, index), n_tokens - 1)
        ids = [self._ids[BOS], *(self._ids[step.word] for step in steps)]
        return Window(
            np.array(ids, dtype=np.int64),
            np.array([step.log_prob for step in steps]),
            tuple(_sentences(steps)),
        )

    def sample_sentence(self, kind: str, rng: random.Random, cast: Cast = ()) -> Parse:
        """One whole sentence of a type, with its parse.

        Raises:
            InputError: if there is no such type.
        """
        if kind not in KIND_WEIGHTS:
            raise InputError(f"no sentence type {kind!r}; there are {', '.join(KIND_WEIGHTS)}")
        fork = next(f for f in self.start(cast).items if f.label == kind)
        steps = sample(self.start, rng, node=fork.next)
        first = steps[0]._replace(labels=(kind, *steps[0].labels))
        return parse_steps([first, *steps[1:]])

    def filter(self, prefix: Sequence[int] | np.ndarray) -> Filter:
        """The forward filter after `prefix`, which begins with `<bos>`."""
        words = self._words(prefix)
        at = Filter(self.start)
        for word in words:
            at.advance(word)
        return at

    def log_probs(self, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
        """Exact log P(token | everything before it) in nats; [pos - 1].

        Summed over all derivations, so it is what the best possible model would
        say. -inf from the first impossible token on.

        Args:
            tokens: ids of one window, `<bos>` first.

        Raises:
            InputError: if the window does not begin with `<bos>` or holds an id
                outside the vocabulary, or pads.

        Cost: about 20 microseconds a token.
        """
        at = Filter(self.start)
        return np.array([at.advance(word) for word in self._words(tokens)])

    def next_token_distribution(self, prefix: Sequence[int] | np.ndarray) -> np.ndarray:
        """Exact probability of every token after `prefix`; [d_vocab], sums to 1.

        Raises:
            InputError: as `log_probs`, and if the prefix itself is impossible.
        """
        at = self.filter(prefix)
        if not at.weights:
            text = self.tokenizer.decode(list(prefix))
            raise InputError(f"the language has no window that begins with {text!r}")
        probs = np.zeros(len(self.vocab))
        for word, p in at.distribution().items():
            probs[self._ids[word]] += p
        return probs

    def recognise(self, sentence_text: str) -> Parse | None:
        """The most probable parse of one sentence, or None if it is not grammatical.

        Args:
            sentence_text: the sentence, capitals or not; a missing full stop is supplied.

        Raises:
            InputError: if a word is not in the vocabulary.
        """
        ids = self.tokenizer.encode(sentence_text, bos=False)
        words = [self.vocab[i] for i in ids]
        if not words or BOS in words or PAD in words:
            return None
        steps = best_derivation(self.start(), words)
        if steps is None and words[-1] != ".":
            steps = best_derivation(self.start(), [*words, "."])
        return None if steps is None else parse_steps(steps)

    def entropy(
        self, seed: int, n_windows: int, n_tokens: int = 65, *, namespace: str = "entropy"
    ) -> Entropy:
        """Exact loss of the best possible model, estimated on sampled windows.

        Raises:
            InputError: if there are fewer than two windows, which give no error bar.
        """
        if n_windows < 2:
            raise InputError(f"a standard error needs at least 2 windows; got {n_windows}")
        totals, counts, means = {}, {}, []
        for i in range(n_windows):
            window = self.sample(seed, n_tokens, index=i, namespace=namespace)
            losses = -self.log_probs(window.tokens)
            means.append(losses.mean())
            classes = [word.cls for parse in window.sentences for word in parse.words]
            for cls, loss in zip(classes, losses, strict=True):
                totals[cls] = totals.get(cls, 0.0) + loss
                counts[cls] = counts.get(cls, 0) + 1
        n = sum(counts.values())
        by_class = {c: (float(totals[c] / counts[c]), counts[c] / n) for c in sorted(totals)}
        error = float(np.std(means, ddof=1) / np.sqrt(n_windows))
        return Entropy(float(np.mean(means)), error, by_class, n_windows, n_tokens)

    def _words(self, tokens: Sequence[int] | np.ndarray) -> list[str]:
        """The words after `<bos>`, checked."""
        ids = [int(i) for i in np.asarray(tokens).ravel()]
        bos, pad = self._ids[BOS], self._ids[PAD]
        if not ids or ids[0] != bos:
            raise InputError(f"a window begins with {BOS} (id {bos}); got ids {ids[:5]}")
        wrong = [i for i in ids[1:] if not 0 <= i < len(self.vocab) or i in (bos, pad)]
        if wrong:
            raise InputError(
                f"id {wrong[0]} is no word of the language: ids run from 0 to "
                f"{len(self.vocab) - 1}, and {BOS} and {PAD} do not stand inside a window"
            )
        return [self.vocab[i] for i in ids[1:]]


def _sentences(steps: list[Step]) -> Iterator[Parse]:
    """Cut a derivation into sentences; positions count `<bos>` as 0."""
    begin = 0
    for i, step in enumerate(steps):
        if step.last or i + 1 == len(steps):
            yield parse_steps(steps[begin : i + 1], start=begin + 1)
            begin = i + 1
