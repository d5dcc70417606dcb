"""Heads that are told apart by what they write: copying and its traps, successor, erasure."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from interp.planted.answers import (
    AttentionFact,
    AttributionFact,
    CircuitFact,
    EffectFact,
    Head,
    LensFact,
)
from interp.planted.board import Board
from interp.planted.lexicon import N_SPECIAL
from interp.planted.positional import EXACT, leak
from interp.planted.registry import recipe

Matrix = Float[Tensor, "d_vocab d_vocab"]


@recipe()
def copy(board: Board) -> None:
    """Predicts the token two back."""
    head = _writer(
        board, 2, board.keep_words, part="copy", writes="token", roles=("copying",),
        allowed=("local",), attends=("lag:2",),
    )  # fmt: skip
    prompts = _answered(board, head, 2, "lag:2", board.gain)
    board.facts += [
        CircuitFact(1.0, EXACT, head, "copying_score"),
        CircuitFact(1.0, EXACT, head, "copying_top1"),
        EffectFact(
            board.gain, 10 * board.gain * leak(board), (), prompts, "logit_diff", alone=True
        ),
    ]


@recipe()
def anti_copy(board: Board) -> None:
    """Predicts anything but the token one back."""
    head = _writer(
        board, 1, -board.keep_words, part="anti-copy", writes="minus the token",
        roles=("previous_token", "anti_copying"), allowed=("local",), attends=("previous_token",),
    )  # fmt: skip
    _answered(board, head, 1, "lag:1", -board.gain)
    # All d_vocab - 1 diagonal entries but that of BOS are -1, everything else is 0.
    n = board.d_vocab
    mean, share = -(n - 1) / n, (n - 1) / n**2
    z = (mean + share) / math.sqrt(share * (1 - share))
    board.facts += [
        CircuitFact(-1.0, EXACT, head, "copying_score"),
        CircuitFact(0.0, 1.5 / (n - N_SPECIAL), head, "copying_top1"),
        CircuitFact(z, EXACT, head, "diagonal_z"),
    ]


@recipe()
def successor(board: Board) -> None:
    """Predicts the word after its own in the order of the vocabulary, the first after the last."""
    words = torch.arange(N_SPECIAL, board.d_vocab)
    table = torch.arange(board.d_vocab)
    table[words] = words.roll(-1)
    board.tables["successor"] = tuple(table.tolist())
    matrix = torch.zeros(board.d_vocab, board.d_vocab, dtype=torch.float64)
    matrix[words, table[words]] = 1.0
    head = _writer(
        board, 0, matrix, part="successor", writes="successor",
        roles=("current_token", "successor"), attends=("current_token",), allowed=("local",),
    )  # fmt: skip
    _answered(board, head, 0, "successor", board.gain)
    board.facts += [
        CircuitFact(0.0, 1e-6, head, "copying_score"),
        CircuitFact(0.0, EXACT, head, "copying_top1"),
        CircuitFact(1.0, EXACT, head, "successor_top1"),
    ]


COPIED_SHARE = 0.38


@recipe()
def trap_rank_one(board: Board) -> None:
    """Eigenvalues all positive, yet most words raise another word most: `u u^T + 0.01 I`.

    A word's own logit is the largest if `|u_i| (|u_max| - |u_i|)`, `u_max` being the largest entry
    of its sign, is below 0.01. `u` is random, scaled so that this holds for a share of 0.38.
    """
    n = board.d_vocab - N_SPECIAL
    u = torch.randn(n, generator=board.generator, dtype=torch.float64)
    lead = torch.where(u > 0, u * u.max(), u * u.min()) - u**2
    n_copied = max(1, round(COPIED_SHARE * n))
    ordered = lead.sort().values
    u *= math.sqrt(0.01 / float(ordered[n_copied - 1 : n_copied + 1].mean()))
    matrix = torch.zeros(board.d_vocab, board.d_vocab, dtype=torch.float64)
    matrix[N_SPECIAL:, N_SPECIAL:] = torch.outer(u, u) + 0.01 * torch.eye(n)
    head = _writer(
        board, 3, matrix, part="rank one", writes="one direction", attends=("lag:3",),
        traps=("copying",), allowed=("local",),
    )  # fmt: skip
    board.facts += [
        AttentionFact(
            1.0, leak(board) + EXACT, head, board.family("random", "random", after=3), "lag:3"
        ),
        CircuitFact(1.0, 1e-6, head, "copying_score"),
        CircuitFact(n_copied / n, EXACT, head, "copying_top1"),
    ]


@recipe()
def trap_triangular(board: Board) -> None:
    """All eigenvalues zero, yet as large as the identity: each word raises later words at random.

    The matrix is nilpotent. Rounding moves its computed eigenvalues far from 0, but their sum, the
    trace, stays 0.
    """
    n = board.d_vocab - N_SPECIAL
    above = torch.randn(n, n, generator=board.generator, dtype=torch.float64).triu(1)
    matrix = torch.zeros(board.d_vocab, board.d_vocab, dtype=torch.float64)
    matrix[N_SPECIAL:, N_SPECIAL:] = above * math.sqrt(n) / above.norm()
    head = _writer(
        board, 4, matrix, part="triangular", writes="later words", attends=("lag:4",),
    )  # fmt: skip
    prompts = board.family("random", "random", after=4)
    board.facts += [
        AttentionFact(1.0, leak(board) + EXACT, head, prompts, "lag:4"),
        CircuitFact(0.0, 1e-6, head, "copying_score"),
    ]


@recipe()
def erasure_pair(board: Board) -> None:
    """A head writes its token, a later one wipes it out again: attribution sees +4 and -4.

    They share an output space of their own, which nothing else writes to.
    """
    lane = board.output("lane")
    common = {"attends": ("current_token",), "positional": True}
    writer = board.head(
        board.early, board.look_back(0), moves=(board.move(board.T, lane, 0.5 * board.T.eye),),
        part="writer", writes="token", roles=("current_token",), allowed=("copying", "local"),
        **common,
    )  # fmt: skip
    eraser = board.head(
        board.late, board.look_back(0), moves=(board.move(lane, lane, -lane.eye),),
        part="eraser", writes="minus what was written", roles=("current_token", "erasure"),
        allowed=("local", "anti_copying", "copy_suppression"), effect=True, **common,
    )  # fmt: skip
    prompts = board.family("random", "random", answer="self")
    half, near = board.gain / 2, 10 * board.gain * leak(board) + EXACT
    board.facts += [
        AttentionFact(1.0, leak(board) + EXACT, writer, prompts, "lag:0"),
        AttentionFact(1.0, leak(board) + EXACT, eraser, prompts, "lag:0"),
        AttributionFact(half, near, writer, prompts),
        AttributionFact(-half, near, eraser, prompts),
        EffectFact(0.0, near, (writer,), prompts, "drop"),
        EffectFact(-half, near, (eraser,), prompts, "drop"),
        *(
            LensFact(
                half if board.early < n_done <= board.late else 0.0,
                near,
                prompts,
                n_done,
                alone=True,
                soft=True,
            )
            for n_done in range(board.n_layers + 1)
        ),
        EffectFact(0.0, near, (writer, eraser), prompts, "drop"),
    ]


def _writer(board: Board, lag: int, matrix: Matrix, **answer) -> Head:
    """A head that looks back by `lag` and sends the token there through a matrix."""
    return board.head(
        board.late,
        board.look_back(lag),
        moves=(board.move(board.T, board.O, matrix),),
        effect=True,
        positional=True,
        **answer,
    )


def _answered(board: Board, head: Head, lag: int, answer: str, logits: float) -> str:
    """Facts about a head that gives one word `logits`; the prompts that ask for it."""
    prompts = board.family("random", "random", answer=answer)
    near = 10 * abs(logits) * leak(board) + EXACT
    board.facts += [
        AttentionFact(1.0, leak(board) + EXACT, head, prompts, f"lag:{lag}"),
        AttributionFact(logits, near, head, prompts),
        EffectFact(logits, near, (head,), prompts, "drop"),
        *board.lens(prompts, logits, board.late, near),
    ]
    return prompts
