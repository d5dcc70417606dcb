"""Evaluation sets from the small language: minimal pairs, repeated blocks, word lists, baselines.

A minimal pair is a prompt that stops just before the word in question, with the
set of words that would be right there and the set that the tempting wrong rule
would say. A model passes when the right set has more probability than the rival
set. The prompts are sampled from the grammar itself and cut where the parse says
so, from random streams that training never uses; each function fills its cells
(number, gender, sense, ...) evenly and never gives the same prompt twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from interp.core.errors import InputError
from interp.corpus import lexicon as lex
from interp.corpus.grammar import Parse
from interp.corpus.language import KIND_WEIGHTS, Language, entities_of

NAMESPACE = "prompts"
MAX_PROMPT = 64
"""Longest prompt in tokens: the context of the shipped models."""


PATIENCE = 30_000
"""Sentences sampled in vain before a set of prompts is taken to be exhausted."""


@dataclass(frozen=True)
class MinimalPair:
    """A prompt and two sets of words that may follow it.

    Attributes:
        prompt_ids: ids, `<bos>` first; the word asked for comes next.
        correct_ids: ids that are right.
        rival_ids: ids that are wrong, but would be right under the rival rule.
        kind: which ability is asked, such as "agreement".
        meta: what the prompt is like: distance, template, entity, held_out, ...
            `sentence_start` is the position of the sentence's first word.
    """

    prompt_ids: tuple[int, ...]
    correct_ids: tuple[int, ...]
    rival_ids: tuple[int, ...]
    kind: str
    meta: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class _Cut:
    """Where a sampled sentence stops, what is right there, and the cell it belongs to."""

    index: int
    correct: tuple[str, ...]
    rival: tuple[str, ...]
    cell: object
    meta: dict[str, object]


def _collect(
    kind: str,
    sentence_kind: str,
    cells: Iterable[object],
    cut: Callable[[Parse], _Cut | None],
    n: int,
    seed: int,
    context: int,
    held_out: bool = False,
) -> list[MinimalPair]:
    """Sample sentences until every cell has its share of `n` distinct prompts."""
    if n < 1 or context < 0:
        raise InputError(f"n counts prompts and context counts sentences; got {n} and {context}")
    language, training = Language(held_out=held_out), Language()
    rng = random.Random(f"{NAMESPACE}/{kind}/{seed}")
    cells = list(cells)
    wanted = {c: n // len(cells) + (i < n % len(cells)) for i, c in enumerate(cells)}
    found: dict[tuple[int, ...], MinimalPair] = {}
    encode = language.tokenizer.ids
    in_vain = 0
    while len(found) < n and in_vain < PATIENCE:
        in_vain += 1
        parse = language.sample_sentence(sentence_kind, rng)
        at = cut(parse)
        if at is None or not wanted.get(at.cell):
            continue
        words = [word.word for word in parse.words[: at.index]]
        before = _context(training, rng, context, {*at.correct, *at.rival, *words})
        ids = tuple(encode[w] for w in ("<bos>", *before, *words))
        if ids in found or len(ids) > MAX_PROMPT:
            continue
        meta = {**at.meta, "cell": at.cell, "sentence_start": 1 + len(before)}
        correct, rival = (tuple(encode[w] for w in group) for group in (at.correct, at.rival))
        found[ids] = MinimalPair(ids, correct, rival, kind, meta)
        wanted[at.cell] -= 1
        in_vain = 0
    if len(found) < n:
        raise InputError(
            f"there are only {len(found)} different prompts of this sort, not n={n}; "
            f"ask for fewer, or put sentences before them with context={context + 1}"
        )
    # Sampling fills common cells first; shuffled, any slice of the list is balanced too.
    pairs = list(found.values())
    random.Random(f"{NAMESPACE}/order/{seed}").shuffle(pairs)
    return pairs


CONTEXT_KINDS = tuple(k for k in KIND_WEIGHTS if k not in ("repeat", "indirect"))


def _context(language: Language, rng: random.Random, n: int, avoid: set[str]) -> list[str]:
    """Sentences to stand before a prompt; none holds a content word of it, which could leak."""
    words: list[str] = []
    avoid = avoid - set(lex.FUNCTION_WORDS)
    while n > 0:
        kind = CONTEXT_KINDS[int(rng.random() * len(CONTEXT_KINDS))]
        text = [word.word for word in language.sample_sentence(kind, rng).words]
        if not avoid.intersection(text):
            words += text
            n -= 1
    return words


def _verbs(temper: str | None, number: str) -> tuple[str, ...]:
    """Verbs of one temper (None: of all) in one number."""
    tempers = lex.TEMPER_VERBS if temper is None else [temper]
    form = ("sg", "pl").index(number)
    return tuple(verb[form] for t in tempers for verb in lex.TEMPER_VERBS[t])


def _clause(parse: Parse) -> dict | None:
    """What decides the verb of an animal clause, or None for a participle."""
    if parse.template != "clause":
        return None
    head, verb = parse.find(syntax="head")[0], parse.find(syntax="verb")[0]
    attractors = [parse.words[i].number for i in parse.find(syntax="attractor")]
    temper = next((w.role for w in parse.words[:head] if w.cls == "adj_temper"), None)
    return {
        "head": head,
        "verb": verb,
        "number": parse.words[head].number,
        "temper": temper,
        "attractor_numbers": tuple(attractors),
        "n_attractors": len(attractors),
        "distance": verb - head,
    }


def agreement(
    n: int, seed: int = 0, *, attractors: int = 0, conflicting: bool = True, context: int = 0
) -> list[MinimalPair]:
    """Number of the verb: all verbs in the head's number against the same in the other.

    Args:
        n: number of prompts, half of them singular.
        seed: of its own namespace.
        attractors: nouns between head and verb, 0 to 3.
        conflicting: all of them have the other number; False: all have the head's.
        context: sentences before the prompt.
    """
    if not 0 <= attractors <= 3:
        raise InputError(f"the language has 0 to 3 attractors; got attractors={attractors}")

    def cut(parse: Parse) -> _Cut | None:
        facts = _clause(parse)
        if facts is None or facts["n_attractors"] != attractors:
            return None
        number = facts["number"]
        other = {"sg": "pl", "pl": "sg"}[number]
        if any((a == other) != conflicting for a in facts["attractor_numbers"]):
            return None
        correct = (*_verbs(facts["temper"], number), {"sg": "eats", "pl": "eat"}[number])
        rival = (*_verbs(facts["temper"], other), {"sg": "eats", "pl": "eat"}[other])
        return _Cut(facts["verb"], correct, rival, number, facts)

    kind = f"agreement_{attractors}" if conflicting else f"agreement_{attractors}_same"
    return _collect(kind, "animal", ("sg", "pl"), cut, n, seed, context)


def temper(
    n: int, seed: int = 0, *, attractors: int | None = None, context: int = 0
) -> list[MinimalPair]:
    """Verb of the head's temper against the verbs of the three others, same number.

    `attractors`: exactly so many nouns between; None: as they come.
    """

    def cut(parse: Parse) -> _Cut | None:
        facts = _clause(parse)
        if facts is None or facts["temper"] is None:
            return None
        if attractors is not None and facts["n_attractors"] != attractors:
            return None
        right, number = facts["temper"], facts["number"]
        rival = tuple(v for t in lex.TEMPERS if t != right for v in _verbs(t, number))
        adjective = next(i for i, w in enumerate(parse.words) if w.cls == "adj_temper")
        meta = {**facts, "adjective": adjective, "distance": facts["verb"] - adjective}
        return _Cut(facts["verb"], _verbs(right, number), rival, right, meta)

    return _collect("temper", "animal", lex.TEMPERS, cut, n, seed, context)


def synonyms(n: int, seed: int = 0, *, context: int = 0) -> list[MinimalPair]:
    """Food of the head noun, which only its pair of synonyms decides, against all others."""
    pair_of = {w: i for i, pair in enumerate(lex.SYNONYMS) for forms in pair for w in forms}

    def cut(parse: Parse) -> _Cut | None:
        facts, places = _clause(parse), parse.find(cls="food")
        if facts is None or not places:
            return None
        noun = parse.words[facts["head"]].word
        right = lex.FOODS[pair_of[noun]]
        rival = tuple(f for foods in lex.FOODS if foods != right for f in foods)
        meta = {**facts, "noun": noun, "pair": pair_of[noun], "distance": places[0] - facts["head"]}
        return _Cut(places[0], right, rival, noun, meta)

    return _collect("synonyms", "animal", pair_of, cut, n, seed, context)


def pronoun(
    n: int, seed: int = 0, *, form: str = "subject", distractor: bool | None = None,
    context: int = 0,
) -> list[MinimalPair]:  # fmt: skip
    """Gender of a pronoun that refers to the subject.

    Args:
        n: number of prompts, half of them about men.
        seed: of its own namespace.
        form: "subject" (he, she), "possessive" (his, her) or "reflexive".
        distractor: True: somebody of the other gender stands between; False:
            nobody does; None: as they come.
        context: sentences before the prompt.
    """
    if form not in ("subject", "possessive", "reflexive"):
        raise InputError(f"form is subject, possessive or reflexive; got {form!r}")

    def cut(parse: Parse) -> _Cut | None:
        places = parse.find(cls="pronoun", role=form)
        if not places:
            return None
        word = parse.words[places[0]]
        subject = parse.words[word.antecedent]
        earlier = [w.gender for w in parse.words[: places[0]] if w.syntax == "distractor"]
        pronoun_before = any(w.cls == "pronoun" for w in parse.words[: places[0]])
        if subject.gender is None or pronoun_before:
            return None
        conflict = bool(earlier) and earlier[0] != subject.gender
        if distractor is not None and (bool(earlier), conflict) != (distractor, distractor):
            return None
        other = {"m": "f", "f": "m"}[subject.gender]
        meta = {
            "subject": subject.word,
            "subject_cls": subject.cls,
            "role": subject.role,
            "distractor": bool(earlier),
            "conflict": conflict,
            "template": parse.template,
            "distance": places[0] - word.antecedent,
        }
        rival = (lex.PRONOUNS[other][form],)
        return _Cut(places[0], (word.word,), rival, subject.gender, meta)

    return _collect(f"pronoun_{form}", "person", ("m", "f"), cut, n, seed, context)


def reflexive(
    n: int, seed: int = 0, *, distractor: bool | None = None, context: int = 0
) -> list[MinimalPair]:
    """`himself` against `herself`; see `pronoun`."""
    return pronoun(n, seed, form="reflexive", distractor=distractor, context=context)


def sense(
    n: int, seed: int = 0, *, distances: Sequence[int] = tuple(range(2, 13)),
    distractor: bool | None = None, context: int = 0,
) -> list[MinimalPair]:  # fmt: skip
    """Verb of an ambiguous word in the sense of the cue, against its verbs in other senses.

    Args:
        n: number of prompts, the 13 senses in equal shares.
        seed: of its own namespace.
        distances: allowed distances from the cue to the ambiguous word, 2 to 12.
        distractor: whether a cue of another topic stands between; None: as they come.
        context: sentences before the prompt.
    """

    def cut(parse: Parse) -> _Cut | None:
        if parse.template != "cue":
            return None
        first, word = parse.find(syntax="cue")[0], parse.find(cls="ambiguous")[0]
        between = bool(parse.find(syntax="distractor"))
        if word - first not in distances or (distractor is not None and distractor != between):
            return None
        name, topic = parse.words[word].word, parse.words[first].role
        senses = lex.SENSES[name]
        rival = tuple(v for t, (_, verbs) in senses.items() if t != topic for v in verbs)
        meta = {
            "word": name, "sense": senses[topic][0], "topic": topic, "distance": word - first,
            "distractor": between,
        }  # fmt: skip
        return _Cut(word + 1, senses[topic][1], rival, (name, senses[topic][0]), meta)

    cells = [(w, name) for w, senses in lex.SENSES.items() for name, _ in senses.values()]
    if not set(distances) & set(range(2, 13)):
        raise InputError(f"cues stand 2 to 12 tokens before the word; got distances={distances}")
    return _collect("sense", "sense", cells, cut, n, seed, context)


def facts(
    n: int, seed: int = 0, *, held_out: bool = False, templates: Sequence[str] | None = None,
    context: int = 0,
) -> list[MinimalPair]:  # fmt: skip
    """City of an entity against the eleven other cities.

    Args:
        n: number of prompts; templates in equal shares.
        seed: of its own namespace.
        held_out: True: pairs of entity and template that training never shows
            (14 of them, so a larger n needs `context` of at least 1).
        templates: names from `lexicon.FACT_TEMPLATES`; None: all, or all held-out ones.
        context: sentences before the prompt.
    """
    known = lex.HELD_OUT_TEMPLATES if held_out else tuple(lex.FACT_TEMPLATES)
    templates = known if templates is None else tuple(templates)
    if not templates or not set(templates) <= set(known):
        raise InputError(f"templates must be among {', '.join(known)}; got {templates}")

    def cut(parse: Parse) -> _Cut | None:
        if parse.template not in templates:
            return None
        return _fact_cut(parse, held_out, parse.template, tuple(lex.CITIES))

    kind = "facts_held_out" if held_out else "facts"
    return _collect(kind, "fact", templates, cut, n, seed, context, held_out=True)


def two_hop(
    n: int, seed: int = 0, *, held_out: bool = False, context: int = 0
) -> list[MinimalPair]:
    """Country of an entity against the eleven others.

    With `held_out` the country of these entities occurs nowhere in training: it
    has to be composed from their city and the city's country.
    """

    def cut(parse: Parse) -> _Cut | None:
        if parse.template != "two_hop":
            return None
        city = lex.CITY_OF[parse.words[parse.find(cls="entity")[0]].word]
        return _fact_cut(parse, held_out, city, tuple(lex.LANGUAGE_OF))

    kind = "two_hop_held_out" if held_out else "two_hop"
    return _collect(kind, "fact", lex.CITIES, cut, n, seed, context, held_out=True)


def _fact_cut(parse: Parse, held_out: bool, cell: str, answers: tuple[str, ...]) -> _Cut | None:
    """Cut before the answer, if the pair of entity and template is (not) held out as asked."""
    head = parse.find(cls="entity")[0]
    entity = parse.words[head].word
    if held_out != (entity not in entities_of(parse.template)):
        return None
    at = next(i for i, w in enumerate(parse.words) if w.fact is not None)
    right = parse.words[at].word
    meta = {
        "entity": entity, "template": parse.template, "held_out": held_out, "distance": at - head,
        "city": lex.CITY_OF[entity],
    }  # fmt: skip
    return _Cut(at, (right,), tuple(a for a in answers if a != right), cell, meta)


def countries(n: int, seed: int = 0, *, context: int = 0) -> list[MinimalPair]:
    """Country of a city against the eleven others: the second hop of `two_hop` alone."""

    def cut(parse: Parse) -> _Cut | None:
        if parse.template != "country":
            return None
        at = parse.find(cls="country")[0]
        right, city = parse.words[at].word, parse.words[0].word
        rival = tuple(c for c in lex.LANGUAGE_OF if c != right)
        return _Cut(at, (right,), rival, city, {"city": city, "distance": at})

    return _collect("countries", "city", lex.CITIES, cut, n, seed, context)


def indirect_objects(
    n: int, seed: int = 0, *, n_names: int = 2, extra: str | None = None, context: int = 0
) -> list[MinimalPair]:
    """Who receives, against those who give.

    Args:
        n: number of prompts; the receiver's place among the names in equal shares.
        seed: of its own namespace.
        n_names: 2 or 3 people.
        extra: what stands between introduction and giving: "none", "hours",
            "giver" (a clause repeats a giver), "receiver" (it repeats the
            receiver, so that counting names fails), None: as they come.
        context: sentences before the prompt.
    """
    if n_names not in (2, 3) or extra not in (None, "none", "hours", "giver", "receiver"):
        raise InputError(
            f"n_names is 2 or 3 and extra none, hours, giver or receiver; got {n_names}, {extra!r}"
        )

    def cut(parse: Parse) -> _Cut | None:
        names = [parse.words[i].word for i in parse.find(syntax="introduced")]
        if len(names) != n_names:
            return None
        at = parse.find(syntax="recipient")[0]
        receiver = parse.words[at].word
        again = [parse.words[i].word for i in parse.find(syntax="distractor")]
        sort = "hours" if parse.find(word="hours") else "none"
        if again:
            sort = "receiver" if again == [receiver] else "giver"
        if extra is not None and extra != sort:
            return None
        place = names.index(receiver)
        meta = {"n_names": n_names, "extra": sort, "distance": at - parse.words[at].antecedent}
        return _Cut(at, (receiver,), tuple(x for x in names if x != receiver), place, meta)

    return _collect("indirect_objects", "indirect", range(n_names), cut, n, seed, context)


@dataclass(frozen=True)
class RepeatedBlocks:
    """Random blocks shown twice, and the same second block after another first one.

    Attributes:
        tokens: `<bos>`, block, block, beginning of a third copy; int64 [batch pos].
        control: the same, but the first block consists of other words.
        first: positions of the first copy as a slice of `pos`.
        second: positions of the second copy.
    """

    tokens: np.ndarray
    control: np.ndarray
    first: slice
    second: slice


def repeated_blocks(n: int, k: int = 12, seed: int = 0, *, partial: int = 0) -> RepeatedBlocks:
    """Blocks of `k` distinct random words, repeated.

    The language itself has blocks of 4 to 12 words, and after the twelfth the
    repetition is certain; with fewer it cannot be known when it begins, which
    costs the first token of the second copy some loss (`Language.log_probs`).

    Args:
        n: number of sequences.
        k: length of the block, in tokens.
        seed: of its own namespace.
        partial: tokens of a third copy, at most k.

    Raises:
        InputError: if two blocks without a common word do not fit the vocabulary.
    """
    language = Language()
    n_words = len(language.vocab) - 2
    if n < 1 or not 1 <= k <= n_words // 2 or not 0 <= partial <= k:
        raise InputError(
            f"n={n}, k={k}, partial={partial}: k runs from 1 to {n_words // 2}, partial from 0 to k"
        )
    rng = np.random.default_rng([seed, k, 20_231])
    words = rng.permuted(np.tile(np.arange(2, n_words + 2), (n, 1)), axis=1)
    block, other = words[:, :k], words[:, k : 2 * k]
    bos = np.full((n, 1), language.tokenizer.bos_id)
    third = block[:, :partial]
    return RepeatedBlocks(
        np.concatenate([bos, block, block, third], axis=1),
        np.concatenate([bos, other, block, third], axis=1),
        slice(1, k + 1),
        slice(k + 1, 2 * k + 1),
    )


def analogy_quadruples() -> list[tuple[str, str, str, str]]:
    """(a, b, c, d) with a : b = c : d, man : woman = king : queen, for every two roles."""
    return [(a, b, c, d) for (a, b), (c, d) in permutations(lex.GENDER_PAIRS, 2)]


def synonym_pairs() -> list[tuple[str, str]]:
    """Nouns with identical contexts, singulars and plurals."""
    return [(a, b) for one, two in lex.SYNONYMS for a, b in zip(one, two, strict=True)]


@dataclass(frozen=True)
class BiasLists:
    """Word lists for association tests, with the size of the bias that was planted.

    Attributes:
        male_occupations, female_occupations: targets.
        male_words, female_words: attributes.
        male_share: occupation -> probability that a sentence about it is about a man.
    """

    male_occupations: tuple[str, ...]
    female_occupations: tuple[str, ...]
    male_words: tuple[str, ...]
    female_words: tuple[str, ...]
    male_share: dict[str, float]


def bias_lists() -> BiasLists:
    """The planted occupational bias: log odds of a man are +log 4 and -log 4."""
    men, women = zip(*lex.GENDER_PAIRS, strict=True)
    return BiasLists(
        lex.MALE_OCCUPATIONS, lex.FEMALE_OCCUPATIONS, men, women, dict(lex.BIAS_MALE_SHARE)
    )


@dataclass(frozen=True)
class NgramCounts:
    """Counts from a sampled text: the shallowest models there are.

    Attributes:
        unigram: [d_vocab].
        bigram: [d_vocab d_vocab], rows = earlier token.
    """

    unigram: np.ndarray
    bigram: np.ndarray

    def probabilities(self, last: int | None = None) -> np.ndarray:
        """Next-token probabilities from the last token, or from nothing, add-0.01 smoothed."""
        counts = self.unigram if last is None else self.bigram[last]
        return (counts + 0.01) / (counts + 0.01).sum()


def ngram_counts(n_tokens: int = 500_000, seed: int = 0, n_ctx: int = 64) -> NgramCounts:
    """Unigram and bigram counts of windows of `n_ctx + 1` tokens; about 5 s per million."""
    language = Language()
    d_vocab = len(language.vocab)
    windows = language.batch(seed, -(-n_tokens // n_ctx), n_ctx + 1, namespace="ngrams")
    pairs = windows[:, :-1] * d_vocab + windows[:, 1:]
    bigram = np.bincount(pairs.ravel(), minlength=d_vocab**2).reshape(d_vocab, d_vocab)
    return NgramCounts(np.bincount(windows[:, 1:].ravel(), minlength=d_vocab), bigram)


def accuracy(pairs: Sequence[MinimalPair], probs: np.ndarray, *, rule: str = "sum") -> float:
    """Share of pairs whose right set beats the rival set; a tie counts half.

    Args:
        pairs: the minimal pairs.
        probs: next-token probabilities at the end of each prompt; [prompt d_vocab].
        rule: "sum" compares the probabilities of the whole sets, which is strict where
            rivals are many (a fact must have more than all other answers together);
            "best" asks whether the best word of both sets is a right one.

    Raises:
        InputError: if `rule` is neither, or the numbers of pairs and rows differ.
    """
    if rule not in ("sum", "best") or len(pairs) != len(probs):
        raise InputError(
            f"rule is sum or best and every pair needs one row of probs; got rule={rule!r}, "
            f"{len(pairs)} pairs and {len(probs)} rows"
        )
    weigh = np.sum if rule == "sum" else np.max
    scores = []
    for pair, row in zip(pairs, probs, strict=True):
        right, wrong = weigh(row[list(pair.correct_ids)]), weigh(row[list(pair.rival_ids)])
        scores.append(0.5 if right == wrong else float(right > wrong))
    return float(np.mean(scores))


def ngram_accuracy(pairs: Sequence[MinimalPair], counts: NgramCounts, order: int) -> float:
    """`accuracy` of the unigram (order 1) or bigram (order 2) model."""
    if order not in (1, 2):
        raise InputError(f"there are counts of order 1 and 2; got order={order}")
    lasts = [None if order == 1 else pair.prompt_ids[-1] for pair in pairs]
    return accuracy(pairs, np.stack([counts.probabilities(last) for last in lasts]))
