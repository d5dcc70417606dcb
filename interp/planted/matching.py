"""Heads that look for a token seen before: duplicate token, induction in both ways, a backup."""

import math

import torch

from interp.planted.answers import (
    AttentionFact,
    AttributionFact,
    CircuitFact,
    Edge,
    EffectFact,
    Head,
)
from interp.planted.board import Board, Match, Move, Space
from interp.planted.codes import shift
from interp.planted.lexicon import BOS_ID
from interp.planted.positional import EXACT, leak
from interp.planted.prompts import periods
from interp.planted.registry import recipe

RESTING = ("first_token", "bos_sink")


def on_match(board: Board) -> float:
    """Attention on the one key that matches, where the head otherwise rests on BOS."""
    return 1 / (1 + math.exp(-board.sharpness / 2))


def resting_leak(board: Board) -> float:
    """Largest attention that a head resting on BOS leaves to other keys."""
    return board.n_ctx * math.exp(-board.sharpness / 2)


@recipe()
def duplicate_token(board: Board) -> None:
    """Attends to the earlier occurrence of its own token, and writes nothing."""
    _look_for_itself(board)


@recipe()
def copy_suppression(board: Board) -> None:
    """Attends to the earlier occurrence of its own token, and speaks against that token."""
    head = _look_for_itself(
        board,
        moves=(board.move(board.T, board.O, -board.keep_words),),
        writes="minus the token",
        part="copy suppression",
        roles=("duplicate_token", "anti_copying", "copy_suppression"),
    )
    longest = periods(board.n_ctx, board.d_vocab)[0]
    prompts = board.family("own_token", "repeated", period=longest, answer="self")
    logits = -board.gain * on_match(board)
    near = 2 * board.gain * resting_leak(board) / board.n_ctx
    board.facts += [
        CircuitFact(-1.0, EXACT, head, "copying_score"),
        AttributionFact(logits, near, head, prompts),
        EffectFact(logits, near, (head,), prompts, "drop"),
    ]


@recipe()
def induction_k(board: Board) -> None:
    """Induction by K-composition: keys carry the token before them."""
    previous, seen = _carry_previous_token(board)
    head = _look_for_follower(board, seen, 1.0)
    board.edges.append(Edge(previous, head, "K", 1 / math.sqrt(board.d_vocab)))
    _induction_facts(board, head, previous, on_match(board))


@recipe()
def induction_q(board: Board) -> None:
    """Induction by Q-composition: the query carries where its token stood before."""
    pointer = board.space("pointer", 2 * board.m)
    # BOS writes its position minus that position, so that resting there writes nothing.
    cancel = torch.zeros(board.d_vocab, pointer.size, dtype=torch.float64)
    cancel[BOS_ID] = -board.code(0)
    writes = Move({board.P: board.P.eye, board.T: cancel}, {pointer: pointer.eye})
    source = _look_for_itself(board, moves=(writes,), writes="position")
    head = board.head(
        board.late,
        Match(board.sharpness, {pointer: shift(1, board.m)}, {board.P: board.P.eye}),
        board.rest_on_bos(),
        moves=(board.move(board.T, board.O, board.keep_words),),
        part="induction",
        attends=("induction",),
        writes="token",
        roles=("induction", "copying"),
        allowed=RESTING,
        effect=True,
    )
    board.edges.append(Edge(source, head, "Q", 1 / math.sqrt(2 * board.m)))
    # The pointer is as long as the attention that fetched it.
    a = 1 / (1 + math.exp(-board.sharpness * (on_match(board) - 0.5)))
    _induction_facts(board, head, source, a)


@recipe()
def redundant_pair(board: Board) -> None:
    """Two induction heads that each write half: one alone is half missed, both wholly."""
    previous, seen = _carry_previous_token(board)
    pair = tuple(_look_for_follower(board, seen, 0.5) for _ in range(2))
    for head in pair:
        board.edges.append(Edge(previous, head, "K", 1 / math.sqrt(board.d_vocab)))
    prompts = _repeats(board)
    first, a = next(iter(prompts.values())), on_match(board)
    whole, near = board.gain * a, 2 * board.gain * resting_leak(board) / board.n_ctx
    n_others, uniform = board.d_vocab - 1, math.log(board.d_vocab)
    for head in pair:
        board.facts += [
            AttentionFact(a, leak(board) + EXACT, head, first, "after_same_token"),
            AttributionFact(whole / 2, near, head, first),
            EffectFact(whole / 2, near, (head,), first, "drop"),
            EffectFact(
                _loss(n_others, whole / 2), near, (head,), first, "loss", alone=True, soft=True
            ),
        ]
    board.facts += [
        EffectFact(whole, near, pair, first, "drop"),
        EffectFact(whole, near, (previous,), first, "drop"),
        EffectFact(_loss(n_others, whole), near, (), first, "loss", alone=True, soft=True),
        EffectFact(uniform, EXACT, pair, first, "loss", alone=True, soft=True),
    ]


def _look_for_itself(
    board: Board, moves: tuple[Move, ...] = (), writes: str = "nothing", **answer
) -> Head:
    """A head that attends to the earlier occurrence of its own token, or rests on BOS.

    Token codes match, and position codes push the query away from itself by twice the margin.
    """
    score = board.sharpness
    head = board.head(
        board.early,
        Match(score, {board.T: board.T.eye}, {board.T: board.T.eye}, 0.5 * board.T.eye[BOS_ID]),
        Match(-2 * score, {board.P: board.P.eye}, {board.P: board.P.eye}),
        moves=moves,
        attends=("duplicate_token",),
        writes=writes,
        allowed=RESTING,
        effect=bool(moves),
        **({"part": "duplicate token", "roles": ("duplicate_token",)} | answer),
    )
    a, near = on_match(board), leak(board) + EXACT
    for prompts in _repeats(board).values():
        board.facts += [
            AttentionFact(a, near, head, prompts, "same_token"),
            AttentionFact(
                1.0, resting_leak(board), head, f"{prompts}#control", "token:0", soft=True
            ),
        ]
    if not moves:
        board.facts.append(EffectFact(0.0, EXACT, (head,), prompts, "largest_change"))
    return head


def _carry_previous_token(board: Board) -> tuple[Head, Space]:
    """A previous-token head, and the space into which it writes that token."""
    seen = board.space("seen", board.d_vocab)
    head = board.head(
        board.early,
        board.look_back(1),
        moves=(board.move(board.T, seen),),
        part="previous token",
        attends=("previous_token",),
        writes="token",
        roles=("previous_token",),
        allowed=("local",),
        effect=True,
        positional=True,
    )
    prompts = board.family("random", "random")
    board.facts.append(AttentionFact(1.0, leak(board) + EXACT, head, prompts, "lag:1"))
    return head, seen


def _look_for_follower(board: Board, seen: Space, strength: float) -> Head:
    """Attends where the token before was the current one, and copies what stands there."""
    return board.head(
        board.late,
        Match(board.sharpness, {board.T: board.keep_words}, {seen: seen.eye}),
        board.rest_on_bos(),
        moves=(board.move(board.T, board.O, strength * board.keep_words),),
        part="induction",
        attends=("induction",),
        writes="token",
        roles=("induction", "copying"),
        allowed=RESTING,
        effect=True,
    )


def _repeats(board: Board) -> dict[int, str]:
    return {
        n: board.family(f"repeated_{n}", "repeated", period=n)
        for n in periods(board.n_ctx, board.d_vocab)
    }


def _loss(n_others: int, margin: float) -> float:
    """Cross entropy when the answer leads all other tokens by `margin` logits."""
    return math.log1p(n_others * math.exp(-margin))


def _induction_facts(board: Board, head: Head, feeds: Head, a: float) -> None:
    """Attention `a`, loss and ablations on repeats of several periods."""
    prompts, uniform = _repeats(board), math.log(board.d_vocab)
    whole, near = board.gain * a, 2 * board.gain * resting_leak(board) / board.n_ctx
    for name in prompts.values():
        board.facts += [
            AttentionFact(a, leak(board) + EXACT, head, name, "after_same_token"),
            AttentionFact(1.0, resting_leak(board), head, f"{name}#control", "token:0", soft=True),
        ]
    longest, name = next(iter(prompts.items()))
    before = board.family(f"first_{longest}", "repeated", period=longest, half="first")
    # Where nothing matches, what BOS leaves is spread over words that are not the answer.
    spread = board.gain * resting_leak(board)
    board.facts += [
        AttributionFact(whole, near, head, name),
        EffectFact(whole, near, (head,), name, "drop"),
        EffectFact(whole, near, (feeds,), name, "drop"),
        *board.lens(name, whole, board.late, near),
        EffectFact(_loss(board.d_vocab - 1, whole), near, (), name, "loss", alone=True, soft=True),
        EffectFact(uniform, spread, (), before, "loss", alone=True, soft=True),
        EffectFact(uniform, spread, (feeds,), name, "loss", alone=True, soft=True),
        EffectFact(uniform, EXACT, (head,), name, "loss", alone=True, soft=True),
    ]
