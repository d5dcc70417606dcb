"""Models whose circuits were put there on purpose, each with an answer key.

`plant("induction_k")` gives a `HookedGPT` and what is known about it: what every head is, which
heads compose, and what attention, ablation and attribution must measure. `zoo()` holds many plants
in one model, `hide(planted, "BCD")` hides them, `check(planted)` measures the key on the model
through its ordinary interface. A detector runs on `planted.model` like on any other model, with
prompts from `planted.prompts(family)`, and is scored against `planted.key`.

| recipe | circuit | trap |
|---|---|---|
| `previous_token` | attends one back | no effect: nothing reads what it writes |
| `lag_decoys` | attend a fixed distance back | score 1 on naive induction, at one period |
| `local` | attends evenly to lags 0 to 3 | |
| `induction_k` | keys carry the previous token | |
| `induction_q` | queries carry where their token stood | |
| `duplicate_token` | attends to its token's earlier occurrence | |
| `copy_suppression` | the same, and speaks against that token | |
| `bos_sink` | rests on the BOS token, writes nothing | attention 1, effect 0 |
| `position_sink` | rests on position 0, writes nothing | told apart without BOS only |
| `bias_sink` | rests on BOS, writes word frequencies | large attribution, the same everywhere |
| `copy` | predicts the token two back | |
| `anti_copy` | speaks against the token one back | |
| `successor` | predicts the next word of the vocabulary | eigenvalue score 0 |
| `trap_rank_one` | writes one direction | eigenvalue score 1, copies 38 % |
| `trap_triangular` | raises later words at random | eigenvalue score 0, large norm |
| `erasure_pair` | one head writes, a later one wipes it out | attribution +4 and -4, effect 0 |
| `redundant_pair` | two induction heads, half each | one alone is half missed |
| `adjective_noun` | nouns gather the adjectives before them | |
| `name_mover` | attends to a name and copies it | |
| `gender` | a direction in the embedding | |
| `fact_memory` | an MLP knows, a later head fetches | tracing lights two places only |
| `agreement` | the verb agrees with the marked noun | a head on the nearest noun |

The residual stream is a direct sum of spaces: one-hot tokens T, positional codes P, outputs O that
the unembedding multiplies by 8, and what the recipes add. A match of two codes is worth 14 logits
against every other key, or 7 against BOS as the default. `interp.planted.board` is the
construction kit: a new recipe is a few lines.

Hiding tiers: A clean; B rotated stream and head gauges; C LayerNorm; D distractors; E weight noise;
F superposition (`interp.planted.hiding`). Models without a plant: `random_model`,
`shuffled_weights`.
"""

from interp.planted.answers import (
    ROLES,
    AnswerKey,
    AttentionFact,
    AttributionFact,
    CircuitFact,
    Edge,
    EffectFact,
    EmbeddingFact,
    Fact,
    Family,
    Head,
    HeadAnswer,
    LensFact,
    TracingFact,
)
from interp.planted.board import Board, Match, Move, Planted, Space
from interp.planted.checking import Check, check, measure
from interp.planted.hiding import (
    hide,
    rotated,
    shuffled_heads,
    superposed,
    with_distractors,
    with_layer_norm,
    with_noise,
)
from interp.planted.language import LECTURE
from interp.planted.nulls import random_model, shuffled_weights
from interp.planted.plants import TOKEN_PLANTS, WORD_PLANTS, plant, zoo
from interp.planted.prompts import Prompts, make_prompts, periods
from interp.planted.registry import RECIPES, Recipe, lay_out, recipe

__all__ = [
    "LECTURE",
    "RECIPES",
    "ROLES",
    "TOKEN_PLANTS",
    "WORD_PLANTS",
    "AnswerKey",
    "AttentionFact",
    "AttributionFact",
    "Board",
    "Check",
    "CircuitFact",
    "Edge",
    "EffectFact",
    "EmbeddingFact",
    "Fact",
    "Family",
    "Head",
    "HeadAnswer",
    "LensFact",
    "Match",
    "Move",
    "Planted",
    "Prompts",
    "Recipe",
    "Space",
    "TracingFact",
    "check",
    "hide",
    "lay_out",
    "make_prompts",
    "measure",
    "periods",
    "plant",
    "random_model",
    "recipe",
    "rotated",
    "shuffled_heads",
    "shuffled_weights",
    "superposed",
    "with_distractors",
    "with_layer_norm",
    "with_noise",
    "zoo",
]
