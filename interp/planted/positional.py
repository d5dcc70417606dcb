"""Heads that look back a fixed distance, and heads that rest: previous token, decoys, sinks."""

import math

import torch

from interp.planted.answers import AttentionFact, AttributionFact, EffectFact
from interp.planted.board import Board, Match
from interp.planted.lexicon import BOS_ID, N_SPECIAL
from interp.planted.prompts import periods
from interp.planted.registry import recipe

EXACT = 1e-9  # what float64 leaves of an identity


def leak(board: Board) -> float:
    """Largest attention that a match of the full margin leaves to other keys."""
    return board.n_ctx * math.exp(-board.sharpness)


@recipe()
def previous_token(board: Board) -> None:
    """Attends one back, writes the token there into a space that nothing reads."""
    head = board.head(
        board.early,
        board.look_back(1),
        moves=(board.move(board.T, board.space("seen", board.d_vocab)),),
        part="previous token",
        attends=("previous_token",),
        writes="token",
        roles=("previous_token",),
        allowed=("local",),
        positional=True,
    )
    prompts = board.family("random", "random")
    board.facts += [
        AttentionFact(1.0, leak(board) + EXACT, head, prompts, "lag:1"),
        EffectFact(0.0, EXACT, (head,), prompts, "mean_change"),
    ]


@recipe()
def lag_decoys(board: Board) -> None:
    """Heads that hit every induction target of repeats with one period, by distance alone."""
    lengths = periods(board.n_ctx, board.d_vocab)
    prompts = {n: board.family(f"repeated_{n}", "repeated", period=n) for n in lengths}
    for period in lengths:
        head = board.head(
            board.early,
            board.look_back(period - 1),
            part=f"lag {period - 1}",
            attends=(f"lag:{period - 1}",),
            allowed=("local",) if period < 5 else (),
            traps=("induction",),
            positional=True,
        )
        lag = f"lag:{period - 1}"
        for other in lengths:
            hit = 1.0 if other == period else _without_target(period - 1, other)
            board.facts.append(
                AttentionFact(hit, leak(board) + EXACT, head, prompts[other], "after_same_token")
            )
        board.facts += [
            AttentionFact(1.0, leak(board) + EXACT, head, f"{prompts[period]}#control", lag),
            EffectFact(0.0, EXACT, (head,), prompts[period], "largest_change"),
        ]


def _without_target(lag: int, period: int) -> float:
    """What a lag head gives to induction targets of another period: its queries before `lag`.

    They find no key at that distance and spread their attention evenly.
    """
    queries = range(1 + period, 1 + 2 * period)
    return sum(1 / (q + 1) for q in queries if q < lag) / period


@recipe()
def local(board: Board) -> None:
    """Spreads its attention over its own token and the three before it, and writes nothing."""
    head = board.head(
        board.early,
        board.look_back(0, 1, 2, 3),
        part="local",
        attends=("local",),
        roles=("local",),
        positional=True,
    )
    prompts = board.family("random", "random", after=3)
    board.facts += [
        AttentionFact(0.25, leak(board) + EXACT, head, prompts, f"lag:{lag}", soft=True)
        for lag in (0, 1, 2, 3)
    ]


@recipe()
def bos_sink(board: Board) -> None:
    """Rests on the BOS token wherever it stands, and writes nothing."""
    bos = board.T.eye[BOS_ID]
    head = board.head(
        board.early,
        Match(board.sharpness, {}, {board.T: board.T.eye}, bias=bos),
        part="sink",
        attends=("first_token", "bos_sink"),
        roles=("first_token", "bos_sink"),
        traps=("position_sink",),
    )
    prompts, without, uniform = _sink_prompts(board)
    board.facts += [
        AttentionFact(1.0, leak(board) + EXACT, head, prompts, "position:0"),
        AttentionFact(uniform, EXACT, head, without, "position:0"),
        EffectFact(0.0, EXACT, (head,), prompts, "largest_change"),
    ]


@recipe()
def position_sink(board: Board) -> None:
    """Rests on position 0 whatever stands there, and writes nothing."""
    head = board.head(
        board.early,
        Match(board.sharpness, {}, {board.P: board.P.eye}, bias=board.code(0)),
        part="sink",
        attends=("first_token", "position_sink"),
        roles=("first_token", "position_sink"),
        traps=("bos_sink",),
        positional=True,
    )
    prompts, without, _ = _sink_prompts(board)
    board.facts += [
        AttentionFact(1.0, leak(board) + EXACT, head, prompts, "position:0"),
        AttentionFact(1.0, leak(board) + EXACT, head, without, "position:0"),
        EffectFact(0.0, EXACT, (head,), prompts, "largest_change"),
    ]


@recipe()
def bias_sink(board: Board) -> None:
    """Rests on the BOS token and writes the same word frequencies at every position."""
    n_words = board.d_vocab - N_SPECIAL
    unigram = torch.zeros(board.d_vocab, dtype=torch.float64)
    unigram[N_SPECIAL:] = -torch.arange(1, n_words + 1).double().log()
    unigram[N_SPECIAL:] -= unigram[N_SPECIAL:].mean()
    unigram /= unigram.norm()
    write = torch.zeros(board.d_vocab, board.d_vocab, dtype=torch.float64)
    write[BOS_ID] = unigram
    head = board.head(
        board.early,
        Match(board.sharpness, {}, {board.T: board.T.eye}, bias=board.T.eye[BOS_ID]),
        moves=(board.move(board.T, board.O, write),),
        part="sink",
        attends=("first_token", "bos_sink"),
        writes="constant",
        roles=("first_token", "bos_sink"),
        traps=("position_sink",),
        effect=True,
    )
    frequent, rare = N_SPECIAL, board.d_vocab - 1
    prompts = board.family("random", "random", answer=f"given:{frequent},{rare}")
    expected = board.gain * float(unigram[frequent] - unigram[rare])
    tolerance = expected * leak(board) + EXACT
    board.facts += [
        AttentionFact(1.0, leak(board) + EXACT, head, prompts, "position:0"),
        AttributionFact(expected, tolerance, head, prompts),
        EffectFact(expected, tolerance, (head,), prompts, "drop"),
        *board.lens(prompts, expected, board.early, tolerance),
    ]


def _sink_prompts(board: Board) -> tuple[str, str, float]:
    """With BOS, without it, and what a head without preference gives to position 0 there."""
    after = min(board.d_vocab - N_SPECIAL - 1, board.n_ctx) // 2
    length = min(board.d_vocab - N_SPECIAL - 1, board.n_ctx)
    uniform = sum(1 / (q + 1) for q in range(after + 1, length)) / (length - after - 1)
    with_bos = board.family("random", "random")
    return with_bos, board.family("no_bos", "random", bos=False, after=after), uniform
