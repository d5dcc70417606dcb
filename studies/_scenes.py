"""Prompts for every role that a model's language allows, in matched versions."""

import itertools
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from interp import corpus, measures
from interp.corpus import lexicon, prompts
from studies import _adjectives, _prompts

if TYPE_CHECKING:
    from interp.core import HookedGPT

N_TRIES = 4000  # sentences sampled for clauses with another noun before the verb


def suites(
    model: "HookedGPT", prompt_sets: list["measures.PromptSet"], n_prompts: int, seed: int
) -> list["measures.Suite"]:
    """Each kind of prompts as a suite; the last one, which decides, also holds marked prompts.

    Marked prompts are those of the small language: adjectives before nouns, clauses with another
    noun before the verb, and people who receive something. Other models get adjectives only, if
    they have English words.
    """
    bos_id = _prompts.bos_of(model)
    own = _prompts.speaks_the_language(model)
    successor = _successors(model) if own else None
    special = [model.tokenizer.pad_id] if model.tokenizer is not None else []
    made = [
        measures.suite_of(one, bos_id, [token for token in special if token is not None],
                          successor, seed)
        for one in prompt_sets
    ]  # fmt: skip
    words = _adjectives.words_of(model)
    marked = []
    if words is not None:
        (scene,) = _adjectives.suites(words, n_prompts, seed)[-1].scenes
        marked.append(replace(scene, asked=_verbs_asked(model, scene)) if own else scene)
    if own:
        marked += [*_agreement(model, n_prompts, seed), _names(model, n_prompts, seed)]
    made[-1] = made[-1].joined(*marked)
    return made


def _successors(model: "HookedGPT") -> np.ndarray:
    """The next weekday (weeks begin again) and the next number."""
    ids = model.tokenizer.ids
    found = np.full(model.config.d_vocab, -1)
    days, numbers = lexicon.WEEKDAYS, lexicon.NUMBERS
    following = zip(days, [*days[1:], days[0]], strict=True)
    for word, other in [*following, *itertools.pairwise(numbers)]:
        found[ids[word]] = ids[other]
    return found


def _verbs_asked(model: "HookedGPT", scene: "measures.Scene") -> "measures.Asked":
    """Verbs of the noun's temper against those of the other tempers, in the noun's number."""
    ids, rows = model.tokenizer.ids, scene.versions["prompt"]
    temper_of = {ids[word]: temper for temper, of in lexicon.TEMPERS.items() for word in of}
    plural = {ids[forms[1]] for pair in lexicon.SYNONYMS for forms in pair}
    answers, rivals = [], []
    for row in rows.tolist():
        (temper,) = [temper_of[token] for token in row if token in temper_of]
        form = int(row[-1] in plural)
        verbs = {of: [ids[verb[form]] for verb in pairs]
                 for of, pairs in lexicon.TEMPER_VERBS.items()}  # fmt: skip
        answers.append(verbs.pop(temper))
        rivals.append([verb for of in verbs.values() for verb in of])
    last = np.full(len(rows), rows.shape[1] - 1)
    return measures.Asked(np.arange(len(rows)), last, np.array(answers), np.array(rivals))


def _agreement(model: "HookedGPT", n_prompts: int, seed: int) -> list["measures.Scene"]:
    """Clauses cut before the verb, with other nouns in between; which of them is the head?

    Head noun and other nouns change places as target and control: the control of a prompt is
    another prompt in which another noun stands where the head does here.
    """
    language, rng = corpus.Language(), random.Random(f"study/agreement/{seed}")
    ids = language.tokenizer.ids
    found, at_distance = [], {}
    for _ in range(N_TRIES):
        if len(found) >= 2 * n_prompts:
            break
        parse = language.sample_sentence("animal", rng)
        others = parse.find(syntax="attractor")
        if parse.template != "clause" or not others:
            continue
        head, verb = parse.find(syntax="head")[0], parse.find(syntax="verb")[0]
        tokens = [ids["<bos>"], *(ids[word.word] for word in parse.words[:verb])]
        if len(tokens) > model.config.n_ctx:
            continue
        found.append((tokens, verb - head, parse.words[head].number))
        for other in others:
            at_distance.setdefault(verb - other, []).append(tokens)
    rows = []
    for number, (tokens, distance, of_head) in enumerate(found):
        pool = [one for one in at_distance.get(distance, []) if one is not tokens]
        if pool and len(rows) < n_prompts:
            rows.append((tokens, pool[number % len(pool)], distance, of_head))
    if not rows:
        return []
    verbs = {
        form: [ids[verb[place]] for pairs in lexicon.TEMPER_VERBS.values() for verb in pairs]
        for place, form in enumerate(("sg", "pl"))
    }
    other = {"sg": "pl", "pl": "sg"}
    asked = measures.Asked(
        np.arange(len(rows)),
        np.array([len(tokens) - 1 for tokens, *_ in rows]),
        np.array([verbs[number] for *_, number in rows]),
        np.array([verbs[other[number]] for *_, number in rows]),
    )
    # `distance` counts from the verb, which is the place after the last one.
    return [
        measures.pair_scene(
            "agreement",
            [row[0] for row in rows],
            [row[1] for row in rows],
            [[(len(row[0]) - 1, len(row[0]) - row[2])] for row in rows],
            [[(len(row[1]) - 1, len(row[1]) - row[2])] for row in rows],
            asked=asked,
        )
    ]


def _names(model: "HookedGPT", n_prompts: int, seed: int) -> "measures.Scene":
    """People of whom one receives something; another word stands for the name in the control."""
    pairs = prompts.indirect_objects(n_prompts, seed)
    pairs = [pair for pair in pairs if len(pair.prompt_ids) <= model.config.n_ctx]
    rng = np.random.default_rng(seed)
    ordinary = measures.ordinary_tokens(model, _prompts.bos_of(model))
    rows, controls, marks = [], [], []
    for pair in pairs:
        row, name = list(pair.prompt_ids), pair.correct_ids[0]
        places = [place for place, token in enumerate(row) if token == name]
        words = np.setdiff1d(ordinary, [*row, *pair.rival_ids])
        other = int(rng.choice(words))
        rows.append(row)
        controls.append([other if token == name else token for token in row])
        marks.append([(len(row) - 1, place) for place in places])
    asked = measures.Asked(
        np.arange(len(rows)),
        np.array([len(row) - 1 for row in rows]),
        np.array([pair.correct_ids[:1] for pair in pairs]),
        np.array([pair.rival_ids[:1] for pair in pairs]),
    )
    return measures.pair_scene("name_mover", rows, controls, marks, asked=asked)
