"""What every head's pattern is like, role or not: streamed over any number of prompts.

Sums of patterns by cell are kept per prompt length, and nothing else, so memory does not grow with
the number of prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError, hook_name
from interp.measures.readout import Progress

LONGEST_LAG = 8


@dataclass
class _Sums:
    """Sums over the prompts of one length; `layer head` in front of every shape."""

    n: int = 0
    pattern: list[Tensor] = field(default_factory=list)  # query_pos key_pos
    square: list[Tensor] = field(default_factory=list)  # query_pos key_pos
    use: list[Tensor] = field(default_factory=list)  # query_pos key_pos
    relative_entropy: list[Tensor] = field(default_factory=list)  # one number


@torch.no_grad()
def head_descriptors(
    model: HookedGPT,
    windows: Sequence[Int[np.ndarray, "_prompt _pos"]],
    *,
    batch_size: int = 32,
    mask: str | Tensor | dict | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Where each head's attention goes, how sharp it is, and how much of it depends on the words.

    Args:
        model: any HookedGPT.
        windows: token ids, one array per prompt length.
        batch_size: prompts in one forward pass.
        mask: as in `HookedGPT.forward`.
        progress: called with what is done, prompts done and prompts in all.

    Returns:
        One row per head: `layer`, `head`; `first_token_weight`, `first_token_use` (attention to
        position 0, and its share of the norms written: ‖A x W_V W_O‖, after Kobayashi et al. 2020);
        `relative_entropy` (entropy of a row over the largest that its keys allow, 0 to 1, mean over
        queries with a choice); `mean_lag` (tokens); `between_prompts` (share of the pattern's
        variance over cells and prompts that lies between prompts of one length, 0: the words do not
        matter); `positional_r2` (share of the same variance that the lag and "key is position 0"
        explain); `n` (prompts). Variance shares are 0 for a head whose pattern never varies.

    Raises:
        InputError: no prompt of two tokens or more.

    Cost: one forward pass with explicit patterns; `batch * n_heads * n_pos**2` numbers at a time.
    """
    total = sum(len(tokens) for tokens in windows)
    if not total or all(tokens.shape[1] < 2 for tokens in windows):
        raise InputError("patterns need prompts of at least two tokens, but none came")
    sums: dict[int, _Sums] = {}
    done = 0
    for tokens in windows:
        if tokens.shape[1] < 2:
            continue
        for start in range(0, len(tokens), batch_size):
            rows = torch.as_tensor(tokens[start : start + batch_size], device=model.W_E.device)
            _add(model, rows, sums.setdefault(tokens.shape[1], _Sums()), mask)
            done += len(rows)
            if progress is not None:
                progress("patterns", done, total)
    return _described(sums, model.config.n_heads)


def _add(model: HookedGPT, rows: Tensor, sums: _Sums, mask: object) -> None:
    n_layers, n_pos = model.config.n_layers, rows.shape[1]
    sums.n += len(rows)
    fresh = not sums.pattern
    lengths: dict[int, Tensor] = {}

    def keep(kind: str, layer: int, value: Tensor) -> None:
        held = getattr(sums, kind)
        if fresh:
            held.append(value)
        else:
            held[layer] += value

    def values(layer: int):
        def hook(v: Tensor, point: object) -> None:
            W_O = model.blocks[layer].attn.W_O
            # ‖v W_O‖² through the small matrix W_O W_Oᵀ: no vector of the stream is formed.
            gram = (W_O @ W_O.transpose(1, 2)).to(v.dtype)
            lengths[layer] = torch.einsum("bphe,hef,bphf->bhp", v, gram, v).clamp(min=0).sqrt()

        return hook

    def pattern(layer: int):
        def hook(a: Tensor, point: object) -> None:
            wide = a.double()
            keep("pattern", layer, wide.sum(0).cpu())
            keep("square", layer, wide.square().sum(0).cpu())
            carried = wide * lengths.pop(layer)[:, :, None, :].double()
            whole = carried.sum(-1, keepdim=True)
            share = torch.where(whole > 0, carried / whole.clamp(min=1e-300), 0.0)
            keep("use", layer, share.sum(0).cpu())
            entropy = -torch.special.xlogy(wide, wide).sum(-1)
            # The causal maximum of query i is that of i + 1 keys.
            most = torch.arange(2, n_pos + 1, device=a.device, dtype=torch.float64).log()
            keep("relative_entropy", layer, (entropy[..., 1:] / most).mean(-1).sum(0).cpu())

        return hook

    hooks = [(hook_name("v", layer), values(layer)) for layer in range(n_layers)]
    hooks += [(hook_name("pattern", layer), pattern(layer)) for layer in range(n_layers)]
    model.run_with_hooks(rows, hooks, stop_at_layer=n_layers, mask=mask)


def _described(sums: dict[int, _Sums], n_heads: int) -> pd.DataFrame:
    n_all = sum(s.n for s in sums.values())
    parts = []
    for n_pos, s in sums.items():
        pattern, square, use = (torch.stack(v).flatten(0, 1).numpy() / s.n
                                for v in (s.pattern, s.square, s.use))  # fmt: skip
        entropy = torch.stack(s.relative_entropy).flatten().numpy() / s.n
        lag = np.arange(n_pos)[:, None] - np.arange(n_pos)[None, :]
        between, positional = _variance_shares(pattern, square, lag)
        parts.append(
            s.n
            / n_all
            * np.stack(
                [
                    pattern[:, 1:, 0].mean(1),
                    use[:, 1:, 0].mean(1),
                    entropy,
                    (pattern * lag).sum(-1).mean(1),
                    between,
                    positional,
                ]
            )
        )
    names = ("first_token_weight", "first_token_use", "relative_entropy", "mean_lag",
             "between_prompts", "positional_r2")  # fmt: skip
    values = dict(zip(names, np.sum(parts, axis=0), strict=True))
    layer, head = np.divmod(np.arange(len(values["mean_lag"])), n_heads)
    return pd.DataFrame({"layer": layer, "head": head, **values, "n": n_all})


def _variance_shares(
    mean: Float[np.ndarray, "column query_pos key_pos"],
    square: Float[np.ndarray, "column query_pos key_pos"],
    lag: Int[np.ndarray, "query_pos key_pos"],
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """Share of the variance between prompts, and share explained by lag and "key is position 0".

    Over the cells that a causal query may choose among, from the second query on.
    """
    allowed = (lag >= 0) & (np.arange(len(lag))[:, None] >= 1)
    mean, square, lag = mean[:, allowed], square[:, allowed], lag[allowed]
    first = np.broadcast_to(np.arange(allowed.shape[1])[None, :] == 0, allowed.shape)[allowed]
    total = square.mean(1) - mean.mean(1) ** 2
    between = (square - mean**2).mean(1)
    # One level for each lag, and one for position 0 at each lag would explain every cell of it: the
    # two factors add up instead.
    design = np.zeros((len(lag), lag.max() + 2))
    design[np.arange(len(lag)), lag] = 1.0
    design[:, -1] = first
    fitted = design @ np.linalg.lstsq(design, mean.T, rcond=None)[0]
    explained = fitted.var(axis=0)
    # Rounding leaves 1e-17 of a pattern that never varies.
    varies = total > 1e-12
    share = np.divide(between, total, where=varies, out=np.zeros_like(total))
    r2 = np.divide(explained, total, where=varies, out=np.zeros_like(total))
    return share.clip(0, 1), r2.clip(0, 1)


@torch.no_grad()
def lag_profile(
    model: HookedGPT,
    windows: Sequence[Int[np.ndarray, "_prompt _pos"]],
    *,
    longest_lag: int = LONGEST_LAG,
    batch_size: int = 32,
) -> pd.DataFrame:
    """Mean attention at each distance.

    Queries from `longest_lag + 1` on, so that every distance has the same queries and none of its
    keys is position 0, which stands apart.

    Returns:
        One row per head and distance: `layer`, `head`, `lag` (0: the token itself), `attention`
        (probability).

    Raises:
        InputError: no prompt is longer than `longest_lag + 1`.
    """
    n_layers, n_heads = model.config.n_layers, model.config.n_heads
    total, n = torch.zeros(n_layers, n_heads, longest_lag + 1).double(), 0
    for tokens in windows:
        if tokens.shape[1] < longest_lag + 2:
            continue
        for start in range(0, len(tokens), batch_size):
            rows = torch.as_tensor(tokens[start : start + batch_size], device=model.W_E.device)
            n += len(rows)

            def add(pattern: Tensor, point: object) -> None:
                layer = int(point.name.split(".")[1])
                for lag in range(longest_lag + 1):
                    stripe = pattern.diagonal(-lag, -2, -1)[..., longest_lag + 1 - lag :]
                    total[layer, :, lag] += stripe.double().mean(-1).sum(0).cpu()

            hooks = [(hook_name("pattern", layer), add) for layer in range(n_layers)]
            model.run_with_hooks(rows, hooks, stop_at_layer=n_layers)
    if not n:
        raise InputError(
            f"a profile of {longest_lag} lags needs prompts of at least {longest_lag + 2} tokens"
        )
    layer, head, lag = np.indices(total.shape).reshape(3, -1)
    values = (total / n).numpy().ravel()
    return pd.DataFrame({"layer": layer, "head": head, "lag": lag, "attention": values})
