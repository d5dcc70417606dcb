"""Scenes from English sentences whose parts are known, for models that read English.

| role | query | key | control |
|---|---|---|---|
| `name_mover` | the place before the receiver | the receiver's name | a word that is no name |
| `agreement` | the place before the verb | the subject | the same noun, no longer the subject |
| `nearest_noun` | the place before the verb | the other noun | a word that is no noun |

Answers to sequences (`successor`) and short texts with weekdays and numbers stand beside them.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from interp import measures
from studies import _english_pairs

if TYPE_CHECKING:
    from interp.corpus.prompts import MinimalPair
    from studies._english_pairs import English

CALENDAR_UNITS = 1000  # their templates are other units than those of the stories


def scenes(english: "English", n_prompts: int, seed: int, n_ctx: int) -> list["measures.Scene"]:
    """All of them, as many prompts of each; none where the context is too short."""
    receivers = _english_pairs.indirect_objects(english, n_prompts, seed)
    subjects = _english_pairs.agreement(english, n_prompts, seed)
    near = [
        pair
        for pair in _english_pairs.agreement(english, 4 * n_prompts, seed + 1, conflicting=True)
        if "no noun" in pair.meta["controls"]
    ][:n_prompts]
    made = [
        _marked("name_mover", receivers, "io", "no name"),
        _marked("agreement", subjects, "head", "deeper"),
        _marked("nearest_noun", _for_nearest(near), "other", "no noun"),
        _calendar(english, n_prompts, seed),
    ]
    orders = _english_pairs.sequences(english, n_prompts, seed)
    if orders:
        units = [pair.meta["unit"] for pair in orders]
        made.append(measures.answers_scene("successor", orders, units))
    return [
        scene for scene in made if max(rows.shape[1] for rows in scene.versions.values()) <= n_ctx
    ]


def _marked(role: str, pairs: list["MinimalPair"], key: str, control: str) -> "measures.Scene":
    """From the end of each prompt to one marked place; in the control to the same word's place."""
    marks = [pair.meta["marks"] for pair in pairs]
    others = [pair.meta.get("control_marks", {}).get(control, pair.meta["marks"]) for pair in pairs]
    return measures.pair_scene(
        role,
        [pair.prompt_ids for pair in pairs],
        [pair.meta["controls"][control] for pair in pairs],
        [[(one["end"], one[key])] for one in marks],
        [[(one["end"], one[key])] for one in others],
        units=[pair.meta["unit"] for pair in pairs],
        asked=measures.answers_of(pairs),
    )


def _for_nearest(pairs: list["MinimalPair"]) -> list["MinimalPair"]:
    """What a head serves that goes by the nearest noun: the verb that this noun would have."""
    return [replace(pair, correct_ids=pair.rival_ids, rival_ids=pair.correct_ids) for pair in pairs]


def _calendar(english: "English", n_prompts: int, seed: int) -> "measures.Scene":
    rows, units = _english_pairs.calendar_texts(english, n_prompts, seed)
    shortest = min(map(len, rows))
    tokens = np.array([row[:shortest] for row in rows])
    return measures.Scene({"prompt": tokens}, CALENDAR_UNITS + np.array(units), plain="prompt")
