"""Prompts for every role that a model's language allows, in matched versions."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from interp import measures
from interp.corpus import Language, lexicon
from studies import _adjectives, _english_pairs, _english_scenes, _prompts

if TYPE_CHECKING:
    from interp.core import HookedGPT


def suites(
    model: "HookedGPT", prompt_sets: list["measures.PromptSet"], n_prompts: int, seed: int
) -> list["measures.Suite"]:
    """Each kind of prompts as a suite; the last one, which decides, also holds marked prompts.

    Marked prompts are in the small language or, for other models that read English, in English:
    adjectives before nouns, clauses with another noun before the verb, people who receive
    something, and words with an order. Models that read neither get none.
    """
    bos_id = _prompts.bos_of(model)
    own = _prompts.speaks_the_language(model)
    english = None if own else _english_pairs.english_of(model)
    successor = _successors(model, own, english)
    special = [model.tokenizer.pad_id] if model.tokenizer is not None else []
    made = [
        measures.suite_of(one, bos_id, [token for token in special if token is not None],
                          successor, seed)
        for one in prompt_sets
    ]  # fmt: skip
    marked = [*_adjective_scene(model, own, n_prompts, seed)]
    if own:
        language = measures.language_suite(n_prompts, seed, model.config.n_ctx).scenes
        marked += [scene for scene in language if scene.about != _adjectives.ROLE]
    if english is not None:
        marked += _english_scenes.scenes(english, n_prompts, seed, model.config.n_ctx)
    made[-1] = made[-1].joined(*marked)
    if english is not None and english.left_out:
        left_out = f"left out, several tokens: {', '.join(sorted(english.left_out))}"
        made[-1] = replace(made[-1], description=f"{made[-1].description}; {left_out}")
    return made


def _successors(
    model: "HookedGPT", own: bool, english: "_english_pairs.English | None"
) -> np.ndarray | None:
    if own:
        return measures.successors(Language())
    if english is not None:
        return _english_pairs.successors(english, model.config.d_vocab)
    return None


def _adjective_scene(
    model: "HookedGPT", own: bool, n_prompts: int, seed: int
) -> list["measures.Scene"]:
    """Adjectives of all kinds at all distances; in the small language they decide the verb."""
    words = _adjectives.words_of(model)
    if words is None:
        return []
    (scene,) = _adjectives.suites(words, n_prompts, seed)[-1].scenes
    return [replace(scene, asked=_verbs_asked(model, scene)) if own else scene]


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
