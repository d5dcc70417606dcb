"""What happens to the next word when a vector is added to a word's embedding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT
from interp.core.errors import InputError


@dataclass(frozen=True)
class SteeringReadout:
    """What a concept changes in the next word.

    Attributes:
        concept: its name.
        tokens: prompts of one length, `prompt pos`.
        swapped: the same prompts with the pair's other word.
        at: position of the word that is changed.
        up: tokens that the second words of the pairs favour.
        down: tokens that the first words favour.
        sign: +1 where the prompt holds a pair's first word, −1 where it holds the second.
        pair: number of each prompt's pair, the unit of the statistics.
    """

    concept: str
    tokens: Int[np.ndarray, "prompt pos"]
    swapped: Int[np.ndarray, "prompt pos"]
    at: int
    up: tuple[int, ...]
    down: tuple[int, ...]
    sign: Int[np.ndarray, " prompt"]
    pair: Int[np.ndarray, " prompt"]


class Move(NamedTuple):
    """A vector to add.

    Attributes:
        direction: its name.
        added: what is added to each prompt's word at alpha = 1; it is multiplied by the prompt's
            sign, so that it always leads to the other word of the pair.
        alphas: how much of it.
        draw: number, where several vectors bear one name.
    """

    direction: str
    added: Float[np.ndarray, "prompt d_model"]
    alphas: tuple[float, ...]
    draw: int = 0


@torch.no_grad()
def steer(
    model: HookedGPT, readout: SteeringReadout, moves: Sequence[Move], batch_size: int = 32
) -> pd.DataFrame:
    """Adds vectors to a word's embedding, one at a time, and reads the next word.

    Args:
        model: any HookedGPT.
        readout: prompts, and the words that tell.
        moves: what is added.
        batch_size: prompts in one pass.

    Returns:
        One row per move, prompt and alpha: `direction`, `draw`, `prompt`, `pair`, `alpha`, `moved`
        (logits: by how much mean logit of `up` − mean logit of `down` moved, times the sign:
        positive is as the concept says), `swap` (the same when the word itself is swapped for its
        partner), `kl_nats` (KL(unsteered ‖ steered) over all next words), `side_kl_nats` (the same
        after the words of the readout are taken out and the rest is renormalised).

    Raises:
        InputError: the position is not inside the prompts.

    Cost: a forward pass over the prompts for each move and alpha, and two more.
    """
    if not 0 <= readout.at < readout.tokens.shape[1]:
        raise InputError(
            f"position {readout.at} is outside the prompts of {readout.tokens.shape[1]} tokens"
        )
    device, dtype = model.W_E.device, model.W_E.dtype
    parts = []
    for start in range(0, len(readout.tokens), batch_size):
        rows = slice(start, start + batch_size)
        tokens, swapped = (
            torch.as_tensor(t[rows], device=device) for t in (readout.tokens, readout.swapped)
        )
        before, other = _last(model, tokens), _last(model, swapped)
        sign = torch.as_tensor(readout.sign[rows], device=device)
        swap = (_gap(other, readout) - _gap(before, readout)) * sign
        for move, alpha in [(one, alpha) for one in moves for alpha in one.alphas]:
            signed = alpha * move.added[rows] * readout.sign[rows, None]
            after = _last(model, tokens, readout.at, torch.as_tensor(signed).to(device, dtype))
            columns = {
                "moved": (_gap(after, readout) - _gap(before, readout)) * sign,
                "swap": swap,
                "kl_nats": _kl(before, after),
                "side_kl_nats": _kl(_without(before, readout), _without(after, readout)),
            }
            facts = {
                "direction": move.direction,
                "draw": move.draw,
                "prompt": np.arange(start, start + len(tokens)),
                "pair": readout.pair[rows],
                "alpha": float(alpha),
            }
            values = {name: value.double().cpu().numpy() for name, value in columns.items()}
            parts.append(pd.DataFrame(facts | values))
    return pd.concat(parts, ignore_index=True)


def _last(
    model: HookedGPT, tokens: Tensor, at: int = 0, added: Tensor | None = None
) -> Float[Tensor, "prompt d_vocab"]:
    """Logits after the last token; float32 or better."""

    def add(value: Tensor, hook: object) -> Tensor:
        value[:, at] += added
        return value

    hooks = [] if added is None else [("hook_embed", add)]
    logits = model.run_with_hooks(tokens, hooks)
    last = logits[:, -1]
    return last if last.dtype == torch.float64 else last.float()


def _gap(logits: Tensor, readout: SteeringReadout) -> Float[Tensor, " prompt"]:
    return logits[:, list(readout.up)].mean(1) - logits[:, list(readout.down)].mean(1)


def _without(logits: Tensor, readout: SteeringReadout) -> Tensor:
    rest = logits.clone()
    rest[:, [*readout.up, *readout.down]] = -1e30
    return rest


def _kl(before: Tensor, after: Tensor) -> Float[Tensor, " prompt"]:
    log_p, log_q = before.log_softmax(-1), after.log_softmax(-1)
    # Rounding can take the sum just below 0, which no divergence is.
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp_min(0)


def random_directions(d_model: int, n: int, seed: int = 0) -> Float[np.ndarray, "n d_model"]:
    """Directions without a preference, of length 1."""
    drawn = np.random.default_rng([seed, d_model]).standard_normal((n, d_model))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
