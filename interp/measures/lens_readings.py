"""Logits of many depths and positions reduced to a few numbers, in bounded memory.

Made for large vocabularies: with 50,257 tokens, 13 depths and 512 positions, all logits would take
1.3 GB. Here two chunks of them exist at a time, the model's and one source's.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

READINGS = (
    "probability",
    "rank",
    "surprisal_nats",
    "entropy_nats",
    "kl_nats",
    "agrees",
    "difference_nats",
    "top_token",
)
_CHUNK_BYTES = 96 * 2**20  # logits of the model and of a source at the rows read together
_BLOCK_BYTES = 2**20  # logits reduced together: what stays in a core's cache

LogitsAt = Callable[[slice], Float[Tensor, "row d_vocab"]]


class _Answer(NamedTuple):
    """Logits reduced: shifted so that the best is 0, and what follows from them."""

    shifted: Float[Tensor, "row d_vocab"]
    total: Float[Tensor, " row"]
    log_sum: Float[Tensor, " row"]
    top: Int[Tensor, " row"]
    entropy: Float[Tensor, " row"]


@torch.no_grad()
def readings(
    truth: LogitsAt,
    sources: Sequence[LogitsAt | None],
    target: Int[Tensor, " row"],
    contrast: Int[Tensor, " row"],
    row_bytes: int,
) -> dict[str, np.ndarray]:
    """All readings of all sources, each against the model's own answer at the same row.

    The model's probabilities p are formed once for each chunk of rows, and each source's logits
    once. Blocks of logits are reduced while they lie in the processor's cache; with x the logits of
    a source minus their maximum, KL = sum p log p - sum p x + log sum exp x.

    Args:
        truth: the model's logits at some rows; they are overwritten.
        sources: the same for what is to be read; None is the model itself.
        target: token asked about, -1 where there is none.
        contrast: token that it is compared with, -1 where there is none.
        row_bytes: of the logits of one row.

    Returns:
        Arrays `[source row]` by the names of `READINGS`.
    """
    out = {name: np.full((len(sources), len(target)), np.nan) for name in READINGS}
    for rows in row_chunks(len(target), row_bytes):
        own = _wide(truth(rows))
        probs, entropy = torch.empty_like(own), own.new_empty(len(own))
        best = torch.empty(len(own), dtype=torch.long, device=own.device)
        work = torch.empty_like(own[_blocks(own)[0]])
        for block in _blocks(own):
            answer = _reduced(own[block], probs[block], work)
            probs[block].div_(answer.total[:, None])
            entropy[block], best[block] = answer.entropy, answer.top
        for number, source in enumerate(sources):
            said = own if source is None else _wide(source(rows))
            for block in _blocks(said):
                at = slice(rows.start + block.start, rows.start + block.stop)
                answer = _reduced(said[block], work, work)
                read = _target_readings(answer, target[at], contrast[at])
                mean = _product_sums(probs[block], answer.shifted, work)
                read["entropy_nats"] = answer.entropy
                read["kl_nats"] = (answer.log_sum - mean - entropy[block]).clamp(min=0)
                read["agrees"], read["top_token"] = answer.top == best[block], answer.top
                for name, values in read.items():
                    out[name][number, at] = values.cpu().numpy()
            del said  # before the next source's logits are formed
    out["top_token"] = out["top_token"].astype(np.int64)
    out["agrees"] = out["agrees"].astype(bool)
    return out


def row_chunks(n_rows: int, row_bytes: int) -> list[slice]:
    """Rows whose logits are formed together."""
    step = max(1, _CHUNK_BYTES // (2 * row_bytes))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _blocks(logits: Tensor) -> list[slice]:
    """Rows to reduce together."""
    n_rows, row_bytes = len(logits), logits.shape[1] * logits.element_size()
    step = n_rows if logits.is_cuda else max(1, _BLOCK_BYTES // row_bytes)
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def _reduced(
    logits: Float[Tensor, "row d_vocab"],
    exps: Float[Tensor, "_rows d_vocab"],
    work: Float[Tensor, "_block d_vocab"],
) -> _Answer:
    """Shifts the logits in place; fills `exps`, unless it is `work` itself."""
    exps = exps[: len(logits)]
    top = _argmax(logits)
    logits -= logits.gather(1, top[:, None])
    torch.exp(logits, out=exps)
    total = exps.sum(-1)
    log_sum = total.log()
    entropy = log_sum - _product_sums(exps, logits, work) / total
    return _Answer(logits, total, log_sum, top, entropy)


def _product_sums(a: Tensor, b: Tensor, work: Tensor) -> Float[Tensor, " row"]:
    """Row sums of products; several times faster than `einsum` for few long rows."""
    return torch.mul(a, b, out=work[: len(a)]).sum(-1)


def _argmax(logits: Tensor) -> Int[Tensor, " row"]:
    if logits.is_cuda:
        return logits.argmax(-1)
    return torch.from_numpy(logits.numpy().argmax(-1))  # twenty times as fast as PyTorch's


def _n_better(shifted: Tensor, asked: Tensor) -> Int[Tensor, " row"]:
    """Tokens with a larger logit, by row."""
    if shifted.is_cuda:
        return (shifted > asked).sum(-1)
    rows = zip(shifted.numpy(), asked.numpy(), strict=True)
    return torch.tensor([np.count_nonzero(row > bar) for row, bar in rows])


def _target_readings(answer: _Answer, target: Tensor, contrast: Tensor) -> dict[str, Tensor]:
    """What concerns the token asked about; NaN where there is none."""
    asked = answer.shifted.gather(1, target.clamp(min=0)[:, None])
    rival = answer.shifted.gather(1, contrast.clamp(min=0)[:, None])[:, 0]
    log_prob = asked[:, 0] - answer.log_sum
    values = {
        "probability": log_prob.exp(),
        "rank": 1 + _n_better(answer.shifted, asked).to(log_prob.dtype),
        "surprisal_nats": -log_prob,
    }
    absent = target < 0
    values = {name: value.masked_fill(absent, torch.nan) for name, value in values.items()}
    difference = asked[:, 0] - rival
    values["difference_nats"] = difference.masked_fill(absent | (contrast < 0), torch.nan)
    return values
