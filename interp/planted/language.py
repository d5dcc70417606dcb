"""Plants that need words: adjective and noun, gender, facts, agreement."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from interp.core import InputError
from interp.planted.answers import (
    AttentionFact,
    AttributionFact,
    CircuitFact,
    Edge,
    EffectFact,
    EmbeddingFact,
    Head,
    TracingFact,
)
from interp.planted.board import Board, Match, Move
from interp.planted.lexicon import BOS_ID, WordClass
from interp.planted.matching import RESTING, on_match, resting_leak
from interp.planted.positional import EXACT, leak
from interp.planted.registry import recipe

DETERMINER = WordClass("determiner", ("a", "the"), 2)
ADJECTIVE = WordClass("adjective", ("fluffy", "blue", "verdant", "quiet", "golden"), 3, 1)
NOUN = WordClass("noun", ("creature", "forest", "meadow", "river", "lantern"), 2, 1)
OTHER = WordClass("other", ("roaming", "through", "near", "sleeping", "softly"), 2, 1)

LECTURE = "a fluffy blue creature roaming through the verdant forest"


@recipe(DETERMINER, ADJECTIVE, NOUN, OTHER, d_vocab=12, n_layers=1)
def adjective_noun(board: Board) -> None:
    """Nouns ask for adjectives among the last three tokens, and gather their attributes.

    An AND gate: an adjective is worth two units of score to a noun, each of the last three tokens
    is worth two, and BOS is worth three, so that only what is both beats BOS.
    """
    unit = board.sharpness * 6 / 14
    adjectives = board.lexicon["adjective"]
    n = len(adjectives)
    is_noun = board.flag("noun", board.lexicon["noun"])
    is_adjective = board.flag("adjective", adjectives)
    attribute = torch.zeros(board.d_vocab, n, dtype=torch.float64)
    attribute[list(adjectives)] = torch.eye(n, dtype=torch.float64)
    carried = board.embed(board.space("attribute", n), attribute)
    gathered = board.space("gathered", n)
    board.read_out(gathered, board.gain * attribute.T)
    head = board.head(
        board.early,
        Match(2 * unit, {is_noun: is_noun.eye}, {is_adjective: is_adjective.eye}),
        board.look_back(1, 2, 3, logits=2 * unit),
        board.rest_on_bos(3 * unit),
        moves=(board.move(carried, gathered),),
        part="adjective to noun",
        attends=("adjective_noun",),
        writes="attributes",
        roles=("adjective_noun",),
        allowed=RESTING,
        effect=True,
    )
    _lecture_facts(board, head, math.exp(-unit))
    _phrase_facts(board, head, math.exp(-unit))


def _lecture_facts(board: Board, head: Head, e: float) -> None:
    """The lecture's sentence; scores in units: adjective in reach 4, BOS 3, in reach 2, else 0."""
    words = LECTURE.split()
    ids = [BOS_ID, *(_id_of(board, word) for word in words)]
    marks = {"bos": 0} | {word: 1 + place for place, word in enumerate(words)}
    sentence = board.family("lecture", "sentence", n_prompts=1, ids=tuple(ids), marks=marks)
    both = 1 / (2 + e + e**2 + e**4)
    expected = {
        "creature->fluffy": both,
        "creature->blue": both,
        "forest->verdant": 1 / (1 + e + 4 * e**2 + 4 * e**4),
        "roaming->bos": 1 / (1 + 3 * e + 2 * e**3),
    }
    for relation, value in expected.items():
        soft = value == both
        board.facts.append(AttentionFact(value, EXACT, head, sentence, relation, soft=soft))
    board.facts.append(AttentionFact(2 * both, EXACT, head, sentence, "creature->fluffy|blue"))


def _phrase_facts(board: Board, head: Head, e: float) -> None:
    """Other words in the lecture's shape, and other words in place of the adjectives."""
    prompts = board.family("phrases", "phrases")
    both, one = 1 / (2 + e + e**2 + e**4), 1 / (1 + e + 4 * e**2 + 4 * e**4)
    logits = board.gain * one * (1 - e**2)  # the rival adjective lies out of reach
    board.facts += [
        AttentionFact(both, EXACT, head, prompts, "noun1->adjective1", soft=True),
        AttentionFact(both, EXACT, head, prompts, "noun1->adjective2", soft=True),
        AttentionFact(2 * both, EXACT, head, prompts, "noun1->adjective1|adjective2"),
        AttentionFact(one, EXACT, head, prompts, "noun2->adjective3"),
        AttentionFact(e, 5 * e**2, head, f"{prompts}#control", "noun2->adjective3"),
        AttributionFact(logits, EXACT, head, prompts),
        EffectFact(logits, EXACT, (head,), prompts, "drop"),
        EffectFact(logits, EXACT, (), prompts, "logit_diff", alone=True),
        *board.lens(prompts, logits, board.early, EXACT),
    ]


@recipe(
    WordClass("name", ("mary", "john", "alice", "robert"), 4, 1),
    WordClass("recipient", ("to",), 1),
    WordClass("filler", (), 1, 1),
)
def name_mover(board: Board) -> None:
    """Where somebody must be named, attends to a name and copies it."""
    asks = board.flag("recipient", board.lexicon["recipient"])
    is_name = board.flag("name", board.lexicon["name"])
    head = board.head(
        board.late,
        Match(board.sharpness, {asks: asks.eye}, {is_name: is_name.eye}),
        board.rest_on_bos(),
        moves=(board.move(board.T, board.O, board.keep_words),),
        part="name mover",
        attends=("name",),
        writes="token",
        roles=("name_mover", "copying"),
        allowed=RESTING,
        effect=True,
    )
    prompts = board.family("names", "names")
    a, near = on_match(board), leak(board) + EXACT
    board.facts += [
        AttentionFact(a, near, head, prompts, "last->name"),
        CircuitFact(1.0, EXACT, head, "copying_score"),
        AttributionFact(board.gain * a, board.gain * near, head, prompts),
        EffectFact(board.gain * a, board.gain * near, (head,), prompts, "drop"),
        *board.lens(prompts, board.gain * a, board.late, board.gain * near),
    ]


MALE = WordClass("male", ("man", "king", "uncle", "actor", "nephew", "father"), 3, 2)
FEMALE = WordClass("female", ("woman", "queen", "aunt", "actress", "niece", "mother"), 3, 2)


Vectors = Float[Tensor, "count width"]


@recipe(MALE, FEMALE, d_vocab=102, n_layers=1)
def gender(board: Board, eta: float = 0.5, width: int = 128, base: float = 3.0) -> None:
    """A direction in the embedding: male = base - g + z, female = base + g + z'.

    The parts are orthogonal, so that all these words are equally long. The unembedding reads the
    same vectors, so that moving along `g` moves the logits of each pair.

    Args:
        board: to lay it out on.
        eta: length of z and z', each in a direction of its own, against `g` of length 1.
        width: dimensions that the vectors take.
        base: length of what a pair shares.
    """
    male, female = (list(board.lexicon[name]) for name in ("male", "female"))
    n = len(male)
    g, shared = _drawn(board, 1, width), _drawn(board, n, width)
    shared = base * _orthogonal(shared, g)
    own = [eta * _orthogonal(_drawn(board, n, width), g, shared) for _ in range(2)]
    rows = torch.zeros(board.d_vocab, width, dtype=torch.float64)
    rows[male], rows[female] = shared - g + own[0], shared + g + own[1]
    space = board.embed(board.space("meaning", width), rows)
    board.read_out(space, board.gain / base**2 * rows.T)
    board.directions["gender"] = (space, g[0])
    _gender_facts(board, n, eta, width)


def _gender_facts(board: Board, n: int, eta: float, width: int) -> None:
    """Differences are 2 g + z' - z; they share 4 of their squared length, on average."""
    # One-hot token codes in the same embedding set the words of a pair apart as z and z' do.
    own = 2 * eta**2 + (2.0 if board.has("T") else 0.0)
    pairs, mean = 4 / (4 + own), 1 / math.sqrt(1 + own / (4 * n))
    # z . z' and the products between pairs have standard deviation 1 / sqrt(width).
    random = 2 * eta**2 / (4 + own)
    board.facts += [
        EmbeddingFact(pairs, 5 * random / math.sqrt(width * n) + random**2 / width, "pair_cosine"),
        EmbeddingFact(mean, 5 * own / (8 * n) / math.sqrt(width), "direction_cosine"),
    ]


def _drawn(board: Board, count: int, width: int) -> Vectors:
    random = torch.randn(count, width, generator=board.generator, dtype=torch.float64)
    return random / random.norm(dim=1, keepdim=True)


def _orthogonal(vectors: Vectors, *others: Float[Tensor, "_ width"]) -> Vectors:
    """Unit vectors, made orthogonal to others that are orthogonal among each other."""
    for other in others:
        along = (vectors * other).sum(1, keepdim=True) / other.square().sum(1, keepdim=True)
        vectors = vectors - along * other
    return vectors / vectors.norm(dim=1, keepdim=True)


SUBJECT = WordClass("subject", ("eiffel_tower", "colosseum", "brandenburg_gate"), 3, 1)
RELATION = WordClass("relation", ("stands_in", "belongs_to"), 2)
ANSWERS = (
    WordClass("answer_0", ("paris", "rome", "berlin"), 3, 1),
    WordClass("answer_1", ("france", "italy", "germany"), 3, 1),
)
SOME_FILLER = WordClass("filler", (), 1, 1)


@recipe(SUBJECT, RELATION, *ANSWERS, SOME_FILLER)
def fact_memory(board: Board) -> None:
    """An MLP neuron knows a subject's facts; a later head fetches the one that is asked for.

    At the subject, its neuron writes one answer for each relation, each into a space of its own.
    At a relation word, the relation's head looks for a subject and reads its space.
    """
    subjects, relations = board.lexicon["subject"], board.lexicon["relation"]
    is_subject = board.flag("subject", subjects)
    lanes = [board.space(f"answer_{r}", len(subjects)) for r in range(len(relations))]
    tables = [_answer_table(board, r) for r in range(len(relations))]
    for k, subject in enumerate(subjects):
        # The one-hot code is 1 here and 0 elsewhere: relu(1 - 1/2) = 1/2, written twice.
        answers = {lane: 2 * lane.eye[None, tables[r][k]] for r, lane in enumerate(lanes)}
        board.neuron(board.early, {board.T: board.T.unit(subject)}, -0.5, answers)
    heads = []
    for r, relation in enumerate(relations):
        asks = board.flag(f"relation_{r}", (relation,))
        into = torch.zeros(len(subjects), board.d_vocab, dtype=torch.float64)
        into[range(len(subjects)), list(board.lexicon[f"answer_{r}"])] = 1.0
        heads.append(
            board.head(
                board.late,
                Match(board.sharpness, {asks: asks.eye}, {is_subject: is_subject.eye}),
                board.rest_on_bos(),
                moves=(board.move(lanes[r], board.O, into),),
                part=f"relation {r}",
                attends=("subject",),
                writes="answer",
                roles=("fact_recall",),
                allowed=RESTING,
                effect=True,
            )
        )
    for r, head in enumerate(heads):
        _recall_facts(board, r, head, [other for other in heads if other != head])


def _answer_table(board: Board, relation: int) -> list[int]:
    """Which answer each subject has, by number; the key tells it by token."""
    answers = board.lexicon[f"answer_{relation}"]
    order = torch.randperm(len(answers), generator=board.generator).tolist()
    board.tables[f"answers_{relation}"] = tuple(answers[k] for k in order)
    return order


def _recall_facts(board: Board, relation: int, head: Head, others: list[Head]) -> None:
    prompts = board.family(f"relation_{relation}", "facts", relation=relation)
    a, near = on_match(board), leak(board) + EXACT
    logits = board.gain * a
    lit = ((f"mlp:{board.early}", "subject"), (f"head:{head[0]}.{head[1]}", "last"))
    board.facts += [
        AttentionFact(a, near, head, prompts, "last->subject"),
        AttributionFact(logits, board.gain * near, head, prompts),
        EffectFact(logits, board.gain * near, (head,), prompts, "drop"),
        EffectFact(logits, board.gain * near, (), prompts, "logit_diff", alone=True),
        EffectFact(1.0, EXACT, (), prompts, "accuracy", alone=True),
        *board.lens(prompts, logits, board.late, board.gain * near),
        TracingFact(0.0, near, prompts, lit, alone=True),
    ]
    board.facts += [EffectFact(0.0, EXACT, (other,), prompts, "drop") for other in others]


AGREEMENT_WORDS = (
    DETERMINER,
    WordClass("noun_singular", ("key", "dog", "cloud"), 2, 1),
    WordClass("noun_plural", ("keys", "dogs", "clouds"), 2, 1),
    WordClass("verb_singular", ("shines", "runs"), 1, 1),
    WordClass("verb_plural", ("shine", "run"), 1, 1),
    WordClass("preposition", ("beside", "behind"), 1),
    WordClass("slot", ("often", "always"), 1),
    SOME_FILLER,
)


@recipe(*AGREEMENT_WORDS)
def agreement(board: Board, strategy: str = "syntactic") -> None:
    """The verb agrees with the noun after the determiner, not with the nearest noun.

    A determiner marks the next token; at the slot before the verb, one head looks for the mark,
    another for the nearest noun. Only one of them writes the number that it finds.

    Args:
        board: to lay it out on.
        strategy: "syntactic", or "nearest" for a model that goes by the nearest noun.
    """
    singular, plural = board.lexicon["noun_singular"], board.lexicon["noun_plural"]
    number = board.space("number", 2)
    rows = torch.zeros(board.d_vocab, 2, dtype=torch.float64)
    rows[list(singular), 0] = rows[list(plural), 1] = 1.0
    board.embed(number, rows)
    forms = torch.zeros(2, board.d_vocab, dtype=torch.float64)
    forms[0, list(board.lexicon["verb_singular"])] = 1.0
    forms[1, list(board.lexicon["verb_plural"])] = 1.0
    if strategy not in ("syntactic", "nearest"):
        raise InputError(f"strategy={strategy!r} is neither 'syntactic' nor 'nearest'.")
    says_number = (board.move(number, board.O, forms),)
    syntactic = strategy == "syntactic"
    marker = _mark_after_determiner(board, effect=syntactic)
    by_mark = _agreement_head(board, says_number if syntactic else ())
    by_distance = _nearest_noun_head(board, () if syntactic else says_number)
    board.edges.append(Edge(marker, by_mark, "K", 1.0))
    _agreement_facts(board, by_mark, by_distance, marker, syntactic)


def _mark_after_determiner(board: Board, effect: bool) -> Head:
    is_determiner = board.flag("determiner", board.lexicon["determiner"])
    return board.head(
        board.early,
        board.look_back(1),
        moves=(board.move(is_determiner, board.space("mark", 1)),),
        part="determiner mark",
        attends=("previous_token",),
        writes="mark",
        roles=("previous_token",),
        allowed=("local",),
        effect=effect,
        positional=True,
    )


def _agreement_head(board: Board, moves: tuple[Move, ...]) -> Head:
    slot, mark = board.flag("slot", board.lexicon["slot"]), board.space("mark", 1)
    return board.head(
        board.late,
        Match(board.sharpness, {slot: slot.eye}, {mark: mark.eye}),
        board.rest_on_bos(),
        moves=moves,
        part="head noun",
        attends=("head_noun",),
        writes="number" if moves else "nothing",
        roles=("agreement",) if moves else (),
        allowed=RESTING,
        traps=() if moves else ("agreement",),
        effect=bool(moves),
    )


def _nearest_noun_head(board: Board, moves: tuple[Move, ...]) -> Head:
    """In units of score: a noun is worth 6, lags 1 to 4 are worth 5, 4, 3, 2, and BOS 7."""
    unit = board.sharpness * 6 / 14
    slot = board.flag("slot", board.lexicon["slot"])
    nouns = board.lexicon["noun_singular"] + board.lexicon["noun_plural"]
    is_noun = board.flag("noun", nouns)
    near = sum((6 - lag) * board.look_back(lag).key[board.P] for lag in (1, 2, 3, 4))
    return board.head(
        board.late,
        Match(6 * unit, {slot: slot.eye}, {is_noun: is_noun.eye}),
        Match(unit, {board.P: board.P.eye}, {board.P: near}),
        board.rest_on_bos(7 * unit),
        moves=moves,
        part="nearest noun",
        attends=("nearest_noun",),
        writes="number" if moves else "nothing",
        roles=("nearest_noun",),
        allowed=RESTING,
        traps=("agreement",),
        effect=bool(moves),
    )


def _agreement_facts(
    board: Board, by_mark: Head, by_distance: Head, marker: Head, syntactic: bool
) -> None:
    near = leak(board) + resting_leak(board) / board.n_ctx**2 + EXACT
    a = on_match(board)
    nearest = 20 * math.exp(-2 * board.sharpness * 6 / 14)
    for attractors in (0, 1, 2):
        prompts = board.family(f"attractors_{attractors}", "agreement", attractors=attractors)
        right = syntactic or attractors == 0
        acts, idles = (by_mark, by_distance) if syntactic else (by_distance, by_mark)
        logits = board.gain * (a if syntactic else 1.0) * (1 if right else -1)
        within = board.gain * (near if syntactic else nearest)
        board.facts += [
            AttentionFact(a, near, by_mark, prompts, "slot->head_noun"),
            AttentionFact(1.0, nearest, by_distance, prompts, "slot->nearest_noun"),
            AttributionFact(logits, within, acts, prompts),
            EffectFact(logits, within, (acts,), prompts, "drop"),
            EffectFact(0.0, EXACT, (idles,), prompts, "drop"),
            EffectFact(logits, within, (), prompts, "logit_diff", alone=True),
            EffectFact(1.0 if right else 0.0, EXACT, (), prompts, "accuracy", alone=True),
            *board.lens(prompts, logits, board.late, within),
        ]
        if syntactic:
            spread = board.gain * resting_leak(board)
            board.facts.append(EffectFact(logits, spread, (marker,), prompts, "drop"))


def _id_of(board: Board, word: str) -> int:
    return 2 + board.words.index(word)
