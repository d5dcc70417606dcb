"""Other ways from the residual stream to logits, each against the model's own.

A readout may skip the final norm, use another matrix (rounded to a few bits, with noise, with its
tokens shuffled) or read an earlier layer, as the logit lens does. All are compared on the same
positions of the same text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError, hook_name


@dataclass(frozen=True)
class Readout:
    """From a stream to logits.

    Attributes:
        name: what the frame calls it.
        layer: the stream before this block; None for the one after the last block.
        norm: through the final norm, where the model has one.
        W_U: in place of the model's; None for its own.
        shuffle: token whose logit each token gets; None for its own.
        constant: log-probabilities that do not look at the stream, in place of all the others.
    """

    name: str
    layer: int | None = None
    norm: bool = True
    W_U: Float[Tensor, "d_model d_vocab"] | None = None
    shuffle: Int[np.ndarray, " d_vocab"] | None = None
    constant: Float[np.ndarray, " d_vocab"] | None = None


@torch.no_grad()
def readout_effects(
    model: HookedGPT,
    windows: Sequence[Int[np.ndarray, "_prompt _pos"]],
    readouts: Sequence[Readout],
    batch_size: int = 8,
) -> pd.DataFrame:
    """How far each readout is from the model, and how well it predicts.

    Args:
        model: any HookedGPT.
        windows: arrays of prompts; the last token of each is only a target.
        readouts: what to compare.
        batch_size: prompts at a time; their logits are held in double precision.

    Returns:
        One row per readout, "the model" first, and prompt: `prompt`, `readout`, `kl_nats`
        (KL(model ‖ readout), mean over positions), `top1` (share of positions whose most probable
        token is the model's), `loss` (nats per token).

    Raises:
        InputError: two readouts of one name, a layer the model does not have, or no prompt of two
            tokens.

    Cost: one forward pass, and `positions * d_model * d_vocab` per readout; memory of
    `3 * batch_size * pos * d_vocab` numbers.
    """
    _check(model, windows, readouts)
    own = Readout("the model")
    n_layers, start = model.config.n_layers, 0
    parts: dict[str, list[pd.DataFrame]] = {readout.name: [] for readout in (own, *readouts)}
    last = hook_name("resid_post", n_layers - 1)
    hooks = {hook_name("resid_pre", r.layer) for r in readouts if r.layer is not None}
    for window in windows:
        for first in range(0, len(window), batch_size):
            tokens = torch.as_tensor(window[first : first + batch_size], device=model.W_E.device)
            _, cache = model.run_with_cache(
                tokens[:, :-1], [*sorted(hooks), last], return_type=None
            )
            truth = _log_probs(model, own, cache[last])
            for readout in (own, *readouts):
                stream = cache[
                    last if readout.layer is None else hook_name("resid_pre", readout.layer)
                ]
                said = truth if readout is own else _log_probs(model, readout, stream)
                frame = _compared(readout.name, truth, said, tokens[:, 1:], start + first)
                parts[readout.name].append(frame)
        start += len(window)
    # Readout by readout, so that the order does not depend on the batches.
    return pd.concat([frame for found in parts.values() for frame in found], ignore_index=True)


def _check(model: HookedGPT, windows: Sequence, readouts: Sequence[Readout]) -> None:
    names = ["the model", *(readout.name for readout in readouts)]
    if len(set(names)) < len(names):
        raise InputError(f"readouts need names of their own, but these came: {', '.join(names)}")
    for readout in readouts:
        if readout.layer is not None and not 0 <= readout.layer < model.config.n_layers:
            raise InputError(
                f"readout {readout.name!r} reads layer {readout.layer}, but layers run from 0 to "
                f"{model.config.n_layers - 1}; None is the stream after the last one"
            )
    if not len(windows) or any(not len(w) or w.shape[1] < 2 for w in windows):
        raise InputError("a readout needs prompts of at least two tokens, the last one a target")


def _log_probs(model: HookedGPT, readout: Readout, stream: Tensor) -> Tensor:
    if readout.constant is not None:
        row = torch.as_tensor(readout.constant, dtype=torch.float64, device=stream.device)
        return row.expand(*stream.shape[:2], -1)
    if readout.norm and model.config.norm == "pre":
        stream = model.ln_final(stream)
    W_U = model.W_U if readout.W_U is None else readout.W_U
    logits = (stream @ W_U + model.b_U).double()
    if readout.shuffle is not None:
        logits = logits[..., torch.as_tensor(readout.shuffle, device=logits.device)]
    return logits.log_softmax(-1)


def _compared(name: str, truth: Tensor, said: Tensor, targets: Tensor, first: int) -> pd.DataFrame:
    kl = (truth.exp() * (truth - said)).sum(-1).clamp(min=0)
    agree = (truth.argmax(-1) == said.argmax(-1)).double()
    loss = -said.gather(-1, targets[..., None])[..., 0]
    means = (part.mean(-1).cpu().numpy() for part in (kl, agree, loss))
    columns = dict(zip(("kl_nats", "top1", "loss"), means, strict=True))
    return pd.DataFrame({"prompt": range(first, first + len(targets)), "readout": name, **columns})


# -------------------------------------------------------------------------------- quantisation


def quantised_rows(
    weights: Float[Tensor, "row column"], bits: int
) -> tuple[Int[Tensor, "row column"], Float[Tensor, "row 1"]]:
    """Whole numbers and one scale per row, symmetric about 0.

    Args:
        weights: one row per token.
        bits: 2 to 8; whole numbers run from −(2^(bits−1) − 1) to 2^(bits−1) − 1.

    Returns:
        Numbers (int8) and scales; `numbers * scales` is the quantised matrix. No entry moves by
        more than half its row's scale.

    Raises:
        InputError: another number of bits.
    """
    if not 2 <= bits <= 8:
        raise InputError(f"2 to 8 bits fit the whole numbers used here, but bits={bits}")
    top = 2 ** (bits - 1) - 1
    scales = weights.abs().amax(-1, keepdim=True) / top
    numbers = torch.where(scales > 0, weights / scales, torch.zeros_like(weights)).round()
    return numbers.clamp(-top, top).to(torch.int8), scales


def equal_noise(
    weights: Float[Tensor, "row column"], changed: Float[Tensor, "row column"], seed: int = 0
) -> Float[Tensor, "row column"]:
    """The weights plus Gaussian noise that is as long, row by row, as the change given."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
    length = (changed - weights).double().norm(dim=-1, keepdim=True)
    noise = noise.to(weights.device) * (length / noise.norm(dim=-1, keepdim=True).to(length.device))
    return weights + noise.to(weights.dtype)


def stored_bytes(n_rows: int, n_columns: int, bits: int) -> int:
    """Bytes of a quantised matrix: packed numbers, and a 32-bit scale per row (32 bits: none)."""
    packed = -(-n_rows * n_columns * bits // 8)
    return packed + (4 * n_rows if bits < 32 else 0)
