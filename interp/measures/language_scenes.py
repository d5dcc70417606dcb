"""Scenes from the small language, whose parses say where adjectives, nouns and names stand.

| role | query | key | control |
|---|---|---|---|
| `adjective_noun` | the subject noun | its adjectives | other words in the adjectives' place |
| `agreement` | the place before the verb | the subject noun | another noun, equally far away |
| `nearest_noun` | the place before the verb | the last noun before it | another word, equally far |
| `name_mover` | the place before the recipient | the recipient's name | other words in its place |
"""

import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from interp.corpus import Language
from interp.corpus import prompts as prompt_sets
from interp.corpus.grammar import Parse
from interp.corpus.lexicon import NUMBERS, WEEKDAYS
from interp.measures.scenes import Asked, Scene, Suite, pair_scene

NAMESPACE = "head roles"
ADJECTIVES = ("adj_temper", "adj_colour", "adj_texture")


def language_suite(
    n_prompts: int, seed: int = 0, language: Language | None = None, adjectives: str = "all"
) -> Suite:
    """Marked sentences of the small language, with answers where the language has them.

    Args:
        n_prompts: of each role.
        seed: of its own namespace, apart from training.
        language: the language; the shipped one by default.
        adjectives: "all", or one class ("adj_temper", ...): which of a noun's adjectives count.
    """
    language = Language() if language is None else language
    rng = random.Random(f"{NAMESPACE}/{seed}")
    clauses = _clauses(language, rng, n_prompts)
    scenes = [
        *_adjectives(language, clauses, rng, n_prompts, adjectives),
        *_nouns(language, clauses, n_prompts),
        _names(language, n_prompts, seed),
        _asked("agreement", prompt_sets.agreement(n_prompts, seed, attractors=1)),
        _asked("adjective_noun", prompt_sets.temper(n_prompts, seed)),
    ]
    return Suite(
        "marked sentences",
        tuple(scenes),
        _special(language),
        description=f"{n_prompts} parsed sentences of the small language for each role",
    )


def _clauses(language: Language, rng: random.Random, n: int) -> list[Parse]:
    """Animal sentences with a verb; many, so that distances can be matched."""
    found: list[Parse] = []
    for _ in range(8 * n * 4):
        parse = language.sample_sentence("animal", rng)
        if parse.template == "clause":
            found.append(parse)
        if len(found) >= 8 * n:
            break
    return found


def _ids(language: Language, words: Sequence[str]) -> list[int]:
    encode = language.tokenizer.ids
    return [encode[word] for word in ("<bos>", *words)]


def _adjectives(
    language: Language, clauses: list[Parse], rng: random.Random, n: int, which: str
) -> list[Scene]:
    """Adjectives of the subject; in the control, verbs stand in their place."""
    wanted = ADJECTIVES if which == "all" else (which,)
    prompts, controls, pairs = [], [], []
    verbs = sorted({parse.words[parse.find(syntax="verb")[0]].word for parse in clauses})
    for parse in clauses:
        head = parse.find(syntax="head")[0]
        places = [i for i in range(head) if parse.words[i].cls in wanted]
        if not places or len(prompts) == n:
            continue
        words = [word.word for word in parse.words[: head + 1]]
        other = list(words)
        for place in places:
            other[place] = rng.choice(verbs)
        prompts.append(_ids(language, words))
        controls.append(_ids(language, other))
        pairs.append([(1 + head, 1 + place) for place in places])
    return [pair_scene("adjective_noun", prompts, controls, pairs)] if prompts else []


def _nouns(language: Language, clauses: list[Parse], n: int) -> list[Scene]:
    """Subject and nearest noun as seen from before the verb; controls equally far away."""
    rows, heads, nearest, nouns, fillers = [], {}, {}, {}, {}
    for number, parse in enumerate(clauses):
        verb, head = parse.find(syntax="verb")[0], parse.find(syntax="head")[0]
        attractors = parse.find(syntax="attractor")
        rows.append(_ids(language, [word.word for word in parse.words[:verb]]))
        query = verb  # the token before the verb, counted with <bos>
        heads[number] = (query, 1 + head)
        if attractors:
            nearest[number] = (query, 1 + max(attractors))
        for place in attractors:
            nouns.setdefault(query - 1 - place, []).append((number, (query, 1 + place)))
        for place in range(verb):
            if place != head and place not in attractors:
                fillers.setdefault(query - 1 - place, []).append((number, (query, 1 + place)))
    scenes = []
    for role, marked, others in (
        ("agreement", heads, nouns),
        ("nearest_noun", nearest, fillers),
    ):
        waiting = {distance: list(found) for distance, found in others.items()}
        matched = []
        for number, (query, key) in marked.items():
            left = waiting.get(query - key, [])
            while left and left[-1][0] == number:  # not against itself
                left.pop()
            if left and len(matched) < n:
                matched.append(((number, (query, key)), left.pop()))
        if matched:
            scenes.append(
                pair_scene(
                    role,
                    [rows[one] for (one, _), _ in matched],
                    [rows[other] for _, (other, _) in matched],
                    [[pair] for (_, pair), _ in matched],
                    [[pair] for _, (_, pair) in matched],
                )
            )
    return scenes


def _names(language: Language, n: int, seed: int) -> Scene:
    """The receiver's name from where the receiver must be named; the rivals are the givers."""
    asked = prompt_sets.indirect_objects(n, seed, extra="none")
    rng = np.random.default_rng(seed)
    words = [i for i in range(len(language.vocab)) if i not in _special(language)]
    prompts = [list(pair.prompt_ids) for pair in asked]
    controls, pairs = [], []
    for pair, row in zip(asked, prompts, strict=True):
        key = len(row) - pair.meta["distance"]
        other = list(row)
        free = [word for word in words if word not in row]
        other[key] = int(rng.choice(free))
        controls.append(other)
        pairs.append([(len(row) - 1, key)])
    answers = _asked("name_mover", asked).asked
    return pair_scene("name_mover", prompts, controls, pairs, asked=answers)


def successors(language: Language) -> Int[np.ndarray, " d_vocab"]:
    """The next weekday and the next number word; -1 for all other words and for the last ones."""
    table = np.full(len(language.vocab), -1)
    encode = language.tokenizer.ids
    for words in (WEEKDAYS, NUMBERS):
        for word, following in pairwise(words):
            table[encode[word]] = encode[following]
    return table


def _special(language: Language) -> tuple[int, ...]:
    return (language.tokenizer.bos_id, language.tokenizer.pad_id)


def _asked(role: str, pairs: list[prompt_sets.MinimalPair]) -> Scene:
    """The answers of minimal pairs, at the end of each prompt; sets of words on both sides."""
    longest = max(len(pair.prompt_ids) for pair in pairs)
    rows = [[*p.prompt_ids, *([p.prompt_ids[-1]] * (longest - len(p.prompt_ids)))] for p in pairs]
    sides = []
    for name in ("correct_ids", "rival_ids"):
        most = max(len(getattr(pair, name)) for pair in pairs)
        sides.append([[*getattr(p, name), *([-1] * (most - len(getattr(p, name))))] for p in pairs])
    pos = np.array([len(pair.prompt_ids) - 1 for pair in pairs])
    asked = Asked(np.arange(len(pairs)), pos, *(np.array(side) for side in sides))
    return Scene({"prompt": np.array(rows)}, np.arange(len(pairs)), asked=asked, about=role)
