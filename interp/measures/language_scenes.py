"""Scenes from the small language, whose parses say where adjectives, nouns and names stand.

| role | query | key | control |
|---|---|---|---|
| `adjective_noun` | the subject noun | its adjectives | other words in the adjectives' place |
| `agreement` | the place before the verb | the subject noun | another noun, equally far away |
| `name_mover` | the place before the recipient | the recipient's name | other words in its place |

Each has its answers beside it, so that ablations can be read on the behaviour that the role serves.
There is none for `nearest_noun`: in this language the nearest noun is always the very word before
the verb, so a head at that place has it without looking anywhere.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from interp.corpus import Language
from interp.corpus import prompts as prompt_sets
from interp.corpus.grammar import Parse
from interp.corpus.lexicon import NUMBERS, TEMPER_VERBS, WEEKDAYS
from interp.corpus.prompts import MAX_PROMPT, MinimalPair
from interp.measures.scenes import Asked, Scene, Suite, pair_scene

NAMESPACE = "head roles"
ADJECTIVES = ("adj_temper", "adj_colour", "adj_texture")
N_TRIES = 4000  # sentences sampled for clauses with another noun before the verb
_OTHER = {"sg": "pl", "pl": "sg"}


def language_suite(n_prompts: int, seed: int = 0, n_ctx: int = MAX_PROMPT) -> Suite:
    """Marked sentences of the small language, with right and wrong answers.

    Args:
        n_prompts: of each role.
        seed: of its own namespace, apart from training.
        n_ctx: longer prompts are left out.
    """
    language = Language()
    rng = random.Random(f"{NAMESPACE}/{seed}")
    clauses = _clauses(language, rng, n_prompts, n_ctx)
    scenes = [
        *_adjectives(clauses, rng, n_prompts),
        *_nouns(clauses, n_prompts),
        *_names(language, n_prompts, seed, n_ctx),
    ]
    special = (language.tokenizer.bos_id, language.tokenizer.pad_id)
    return Suite(
        "marked sentences",
        tuple(scenes),
        special,
        successors(language),
        f"{n_prompts} parsed sentences of the small language for each role",
    )


@dataclass(frozen=True)
class _Clause:
    """An animal sentence up to its verb; positions count `<bos>`.

    Attributes:
        tokens: `<bos>` and the words before the verb.
        head: position of the subject noun.
        others: positions of the nouns behind it.
        adjectives: positions of its adjectives.
        number: of the subject, "sg" or "pl".
        temper: which verbs fit the subject; "" if its adjectives do not say.
    """

    tokens: list[int]
    head: int
    others: list[int]
    adjectives: list[int]
    number: str
    temper: str

    @property
    def query(self) -> int:
        """The place before the verb."""
        return len(self.tokens) - 1


def _clauses(language: Language, rng: random.Random, n: int, n_ctx: int) -> list[_Clause]:
    """Animal sentences with a verb; many, so that distances can be matched."""
    ids = language.tokenizer.ids
    found: list[_Clause] = []
    for _ in range(max(N_TRIES, 32 * n)):
        parse = language.sample_sentence("animal", rng)
        if parse.template == "clause" and parse.find(syntax="verb")[0] < n_ctx:
            found.append(_cut(parse, ids))
        if len(found) >= 8 * n:
            break
    return found


def _cut(parse: Parse, ids: dict[str, int]) -> _Clause:
    verb, head = parse.find(syntax="verb")[0], parse.find(syntax="head")[0]
    others = parse.find(syntax="attractor")
    return _Clause(
        [ids["<bos>"], *(ids[word.word] for word in parse.words[:verb])],
        1 + head,
        [1 + place for place in others],
        [1 + place for place in range(head) if parse.words[place].cls in ADJECTIVES],
        parse.words[head].number,
        next((w.role for w in parse.words[:head] if w.cls == "adj_temper"), ""),
    )


def _adjectives(clauses: list[_Clause], rng: random.Random, n: int) -> list[Scene]:
    """Adjectives of the subject, in clauses that end with it; verbs in their place in the control.

    Right answers are the verbs of the subject's temper.
    """
    chosen = [clause for clause in clauses if clause.adjectives and clause.temper][:n]
    if not chosen:
        return []
    every = sorted({verb for of in _verb_ids().values() for both in of.values() for verb in both})
    prompts, controls, pairs = [], [], []
    for clause in chosen:
        row = clause.tokens[: clause.head + 1]
        other = list(row)
        for place in clause.adjectives:
            other[place] = rng.choice(every)
        prompts.append(row)
        controls.append(other)
        pairs.append([(clause.head, place) for place in clause.adjectives])
    verbs = _verb_ids()
    asked = Asked(
        np.arange(len(chosen)),
        np.array([clause.head for clause in chosen]),
        np.array([verbs[clause.temper][clause.number] for clause in chosen]),
        np.array(
            [
                [verb for of in verbs if of != clause.temper for verb in verbs[of][clause.number]]
                for clause in chosen
            ]
        ),
    )
    return [pair_scene("adjective_noun", prompts, controls, pairs, asked=asked)]


def _nouns(clauses: list[_Clause], n: int) -> list[Scene]:
    """Which noun is looked at from before the verb, where there are several?

    The control of a prompt is another prompt in which another noun stands as far away as the
    subject does here.
    """
    waiting: dict[int, list[tuple[_Clause, int]]] = {}
    for clause in reversed(clauses):
        for place in clause.others:
            waiting.setdefault(clause.query - place, []).append((clause, place))
    rows, controls, marks, other_marks, numbers = [], [], [], [], []
    for clause in clauses:
        pool = waiting.get(clause.query - clause.head, [])
        at = next((i for i in reversed(range(len(pool))) if pool[i][0] is not clause), None)
        if clause.others and at is not None and len(rows) < n:
            other, place = pool.pop(at)
            rows.append(clause.tokens)
            controls.append(other.tokens)
            marks.append([(clause.query, clause.head)])
            other_marks.append([(other.query, place)])
            numbers.append(clause.number)
    if not rows:
        return []
    verbs = {form: [v for of in _verb_ids().values() for v in of[form]] for form in _OTHER}
    asked = Asked(
        np.arange(len(rows)),
        np.array([len(row) - 1 for row in rows]),
        np.array([verbs[number] for number in numbers]),
        np.array([verbs[_OTHER[number]] for number in numbers]),
    )
    return [pair_scene("agreement", rows, controls, marks, other_marks, asked=asked)]


def _verb_ids() -> dict[str, dict[str, list[int]]]:
    """Verbs by temper and number."""
    ids = Language().tokenizer.ids
    return {
        temper: {form: [ids[verb[i]] for verb in pairs] for i, form in enumerate(("sg", "pl"))}
        for temper, pairs in TEMPER_VERBS.items()
    }


def _names(language: Language, n: int, seed: int, n_ctx: int) -> list[Scene]:
    """People of whom one receives something; another word stands for the name in the control.

    Where the receiver's name stands twice, both places count.
    """
    asked = [p for p in prompt_sets.indirect_objects(n, seed) if len(p.prompt_ids) <= n_ctx]
    if not asked:
        return []
    rng = np.random.default_rng(seed)
    special = {language.tokenizer.bos_id, language.tokenizer.pad_id}
    words = [token for token in range(len(language.vocab)) if token not in special]
    prompts, controls, pairs = [], [], []
    for pair in asked:
        row, name = list(pair.prompt_ids), pair.correct_ids[0]
        other = int(rng.choice(np.setdiff1d(words, [*row, *pair.rival_ids])))
        prompts.append(row)
        controls.append([other if token == name else token for token in row])
        pairs.append([(len(row) - 1, at) for at, token in enumerate(row) if token == name])
    return [pair_scene("name_mover", prompts, controls, pairs, asked=answers_of(asked))]


def successors(language: Language) -> Int[np.ndarray, " d_vocab"]:
    """The next weekday (weeks begin again) and the next number word; -1 for all other words."""
    table = np.full(len(language.vocab), -1)
    ids = language.tokenizer.ids
    for word, following in (*pairwise([*WEEKDAYS, WEEKDAYS[0]]), *pairwise(NUMBERS)):
        table[ids[word]] = ids[following]
    return table


def answers_of(pairs: Sequence[MinimalPair]) -> Asked:
    """What minimal pairs ask for at the end of their prompts; sets of words on both sides."""
    sides = []
    for name in ("correct_ids", "rival_ids"):
        most = max(len(getattr(pair, name)) for pair in pairs)
        sides.append([[*getattr(p, name), *([-1] * (most - len(getattr(p, name))))] for p in pairs])
    pos = np.array([len(pair.prompt_ids) - 1 for pair in pairs])
    return Asked(np.arange(len(pairs)), pos, *(np.array(side) for side in sides))


def answers_scene(
    role: str, pairs: Sequence[MinimalPair], units: Sequence[int] | None = None
) -> Scene:
    """Minimal pairs as prompts with answers and no marked places.

    Args:
        role: whose behaviour the answers are.
        pairs: the prompts; shorter ones are filled up on the right.
        units: of each prompt; each its own by default.
    """
    longest = max(len(pair.prompt_ids) for pair in pairs)
    rows = [[*p.prompt_ids, *([p.prompt_ids[-1]] * (longest - len(p.prompt_ids)))] for p in pairs]
    unit = np.arange(len(pairs)) if units is None else np.asarray(units)
    return Scene({"prompt": np.array(rows)}, unit, asked=answers_of(pairs), about=role)
