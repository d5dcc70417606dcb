"""What a model loses when the matrices that heads write with, or read values with, get simpler.

Three ways of making `W_O` and `W_V` simpler, in all layers at once, each beside a control that
takes away as much without looking:

- fewer directions: of all heads of a layer together ("stacked") or of each head ("per head").
  `W_O` is projected onto the directions in which what heads write is largest, and `W_V` likewise
  from the side of what it reads. "weights" takes all inputs as equally likely (a singular value
  decomposition of the circuits), "activations" takes them as they occur, which is the best
  projection in squared error, and "random" takes any directions;
- fewer bits: every row rounded to a grid symmetric about 0; the control adds noise of the same
  length to every row;
- fewer numbers: the smallest are set to 0; the control sets random ones to 0.

Projections are properties of the circuits and do not depend on the basis inside a head. Rounding
and pruning are properties of the numbers as they are stored, and do.

Loss is measured on other text than that on which "activations" was fitted.

Source: activation-weighted projections after Hsu et al. 2022, arXiv:2207.00112, and Yuan et al.
2023, arXiv:2312.05821; magnitude pruning after Han et al. 2015, arXiv:1506.02626.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT, hook_name
from interp.core.errors import InputError
from interp.measures.gauge import attention_copy
from interp.measures.statistics import bootstrap_interval

WEIGHTS = ("W_O", "W_V")
PLANS = (
    ("weights", "stacked"),
    ("weights", "per head"),
    ("activations", "stacked"),
    ("activations", "per head"),
    ("random", "stacked"),
)
LOGITS_AT_ONCE = 2**24
ROWS_AT_ONCE = 32
Moments = dict[str, Float[Tensor, "_width _width2"]]
Roots = list[tuple[Tensor, Tensor]]
Progress = Callable[[str, int, int], None]


def window_losses(
    model: HookedGPT, tokens: Int[np.ndarray, "window pos"]
) -> Float[np.ndarray, " window"]:
    """Mean loss of each window, in nats."""
    rows = torch.as_tensor(tokens, device=model.W_E.device)
    at_once = max(1, LOGITS_AT_ONCE // (rows.shape[1] * model.config.d_vocab))
    losses = [model.loss(part, per_token=True).mean(-1) for part in rows.split(at_once)]
    return torch.cat(losses).double().cpu().numpy()


@torch.no_grad()
def low_rank_losses(
    model: HookedGPT,
    fit: Int[np.ndarray, "fit_window pos"],
    test: Int[np.ndarray, "window pos"],
    *,
    shares: Sequence[float],
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Loss when all layers keep only a share of the directions.

    Args:
        model: any model; it is not changed.
        fit: text on which "activations" is fitted.
        test: text on which the loss is measured.
        shares: of the directions that are kept: of d_head per head, of `n_heads * d_head` stacked.
        seed: of the random directions and of the bootstrap.
        progress: called with what is done.

    Returns:
        One row per weight, method, layout and share: `weight`, `method`, `layout`, `share`,
        `rank` (directions per layer), `loss` (nats), `delta` (loss - loss of the whole model, mean
        over windows), `ci_low`, `ci_high` (95 %, bootstrap over windows), `n` (windows).

    Raises:
        InputError: a share outside 0 to 1.

    Cost: one pass over `test` per row, and one decomposition of d_model × d_model per layer,
    weight, layout and method.
    """
    if not all(0 <= share <= 1 for share in shares):
        raise InputError(f"shares of directions lie between 0 and 1; got {tuple(shares)}")
    moments = [_moments(model, layer, fit) for layer in range(model.config.n_layers)]
    generator = torch.Generator().manual_seed(seed)
    whole = window_losses(model, test)
    made, rows = attention_copy(model), []
    roots = [[_root(b.attn, h) for h in range(b.attn.n_heads)] for b in model.blocks]
    plans = [(weight, *plan) for weight in WEIGHTS for plan in PLANS]
    for place, (weight, method, layout) in enumerate(plans):
        bases = [
            _directions(block.attn, weight, method, layout, moments[layer], roots[layer], generator)
            for layer, block in enumerate(model.blocks)
        ]
        for share in shares:
            for block, new, *rest in zip(model.blocks, made.blocks, bases, roots, strict=True):
                rank = _project(block.attn, new.attn, weight, layout, *rest, share)
            known = {"weight": weight, "method": method, "layout": layout}
            known |= {"share": share, "rank": rank}
            rows.append(known | _compared(window_losses(made, test), whole, seed))
            _restore(made, model)
        if progress is not None:
            progress("directions", place + 1, len(plans))
    return pd.DataFrame(rows)


def _compared(losses: np.ndarray, whole: np.ndarray, seed: int) -> dict[str, float]:
    difference = losses - whole
    low, high = bootstrap_interval(difference[:, None], 499, seed)
    return {
        "loss": losses.mean(),
        "delta": difference.mean(),
        "ci_low": low[0],
        "ci_high": high[0],
        "n": len(losses),
    }


def _restore(made: HookedGPT, model: HookedGPT) -> None:
    for block, own in zip(made.blocks, model.blocks, strict=True):
        block.attn.W_QKV.copy_(own.attn.W_QKV)
        block.attn.W_O_flat.copy_(own.attn.W_O_flat)


def _moments(model: HookedGPT, layer: int, tokens: Int[np.ndarray, "window pos"]) -> Moments:
    """Second moments of what `W_V` reads and of what `W_O` reads, over all positions."""
    z_name = hook_name("z", layer)
    seen: dict[str, Tensor] = {}
    for part in torch.as_tensor(tokens, device=model.W_E.device).split(ROWS_AT_ONCE):
        names = [hook_name("resid_pre", layer), z_name]
        _, cache = model.run_with_cache(part, names=names, stop_at_layer=layer + 1)
        stream = cache[names[0]]
        block = model.blocks[layer]
        x = block.ln1(stream) if model.config.norm == "pre" else stream
        for name, value in (("x", x), ("z", cache[z_name].flatten(2))):
            flat = value.flatten(0, 1).double()
            seen[name] = seen.get(name, 0) + flat.T @ flat
    return seen


# --- directions ---


def _groups(attn: torch.nn.Module, layout: str) -> list[list[int]]:
    heads = list(range(attn.n_heads))
    return [heads] if layout == "stacked" else [[head] for head in heads]


def _directions(
    attn: torch.nn.Module,
    weight: str,
    method: str,
    layout: str,
    moments: Moments,
    roots: Roots,
    generator: torch.Generator,
) -> list[Float[Tensor, "_width _direction"]]:
    """Directions to project on, the most important first: one basis, or one per head."""
    bases = []
    for group in _groups(attn, layout):
        if method == "random":
            d_model = attn.W_O.shape[-1]
            drawn = torch.randn(d_model, d_model, generator=generator, dtype=torch.float64)
            drawn = drawn.to(attn.W_O.device)
            if weight == "W_V":
                # Drawn in the stream, so that they do not depend on the basis inside a head.
                u, _, vh = torch.linalg.svd(_values(attn, group, roots), full_matrices=False)
                drawn = vh.T @ (u.T @ drawn)
            bases.append(torch.linalg.qr(drawn)[0])
            continue
        if weight == "W_O":
            bases.append(_main_directions(_written(attn, group, method, moments)))
            continue
        values = _values(attn, group, roots)
        read = values if method == "weights" else moments["x"] @ values
        bases.append(torch.linalg.eigh(values.T @ read)[1].flip(-1))
    return bases


def _written(
    attn: torch.nn.Module, group: list[int], method: str, moments: Moments
) -> Float[Tensor, "_inner d_model"]:
    """Rows whose second moment is that of what these heads write."""
    if method == "weights":
        # As if every head read white noise of its own.
        parts = [
            torch.linalg.qr(attn.W_V[head].double(), mode="r")[1] @ attn.W_O[head].double()
            for head in group
        ]
        return torch.cat(parts)
    values, vectors = torch.linalg.eigh(_of_heads(moments["z"], group, attn.d_head))
    root = vectors * values.clamp(min=0).sqrt()
    return root.T @ attn.W_O[group].double().flatten(0, 1)


def _main_directions(rows: Float[Tensor, "_inner d_model"]) -> Float[Tensor, "d_model _direction"]:
    """Right singular vectors, the largest first; as many as there are rows, or all."""
    if rows.shape[0] < rows.shape[1]:
        return torch.linalg.svd(rows, full_matrices=False)[2].T
    return torch.linalg.eigh(rows.T @ rows)[1].flip(-1)


def _values(
    attn: torch.nn.Module, group: list[int], roots: Roots
) -> Float[Tensor, "d_model inner"]:
    """`W_V` of these heads, values measured by the length of what `W_O` makes of them."""
    return torch.cat([attn.W_V[head].double() @ roots[head][0] for head in group], dim=1)


def _root(attn: torch.nn.Module, head: int) -> tuple[Tensor, Tensor]:
    """`R` with `R Rᵀ = W_O W_Oᵀ` of a head, and its inverse where it has one."""
    W_O = attn.W_O[head].double()
    values, vectors = torch.linalg.eigh(W_O @ W_O.T)
    root = values.clamp(min=0).sqrt()
    real = root > 1e-9 * root.max()
    inverse = torch.where(real, 1 / torch.where(real, root, 1.0), 0.0)
    return vectors * root @ vectors.T, vectors * inverse @ vectors.T


def _of_heads(moment: Tensor, group: list[int], d_head: int) -> Tensor:
    at = torch.cat([torch.arange(h * d_head, (h + 1) * d_head) for h in group]).to(moment.device)
    return moment[at][:, at]


def _project(
    own: torch.nn.Module,
    new: torch.nn.Module,
    weight: str,
    layout: str,
    bases: list[Tensor],
    roots: Roots,
    share: float,
) -> int:
    """Put the projected weight of one layer into `new`; the number of directions kept."""
    total = 0
    for group, basis in zip(_groups(own, layout), bases, strict=True):
        rank = round(share * len(group) * own.d_head)
        total += rank
        kept = basis[:, :rank]
        if weight == "W_O":
            new.W_O[group] = ((own.W_O[group].double() @ kept) @ kept.T).to(own.W_O.dtype)
            continue
        parts = ((_values(own, group, roots) @ kept) @ kept.T).split(own.d_head, dim=1)
        for head, part in zip(group, parts, strict=True):
            new.W_V[head] = (part @ roots[head][1]).to(own.W_V.dtype)
    return total


# --- bits and zeros ---


@torch.no_grad()
def storage_losses(
    model: HookedGPT,
    test: Int[np.ndarray, "window pos"],
    *,
    bits: Sequence[int] = (2, 3, 4),
    pruned: Sequence[float] = (0.5, 0.75),
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Loss when `W_O` and `W_V` of all layers are rounded, or partly set to 0.

    Args:
        model: any model; it is not changed.
        test: text on which the loss is measured.
        bits: bits per number, at least 2.
        pruned: shares of the numbers that become 0.
        seed: of the controls and of the bootstrap.
        progress: called with what is done.

    Returns:
        One row per weight and step: `weight`, `change` ("rounded", "noise of the same length",
        "smallest to 0", "random to 0"), `amount` (bits, or the share that is 0), and columns as in
        `low_rank_losses` from `loss` on.

    Raises:
        InputError: fewer than 2 bits, or a share outside 0 to 1.
    """
    if min(bits, default=2) < 2 or not all(0 <= share <= 1 for share in pruned):
        raise InputError(f"bits start at 2 and shares lie in 0 to 1; got {bits} and {pruned}")
    generator = torch.Generator().manual_seed(seed)
    whole = window_losses(model, test)
    made, rows = attention_copy(model), []
    steps = list(_steps(bits, pruned))
    for place, (weight, change, amount) in enumerate(steps):
        for block, own in zip(made.blocks, model.blocks, strict=True):
            target, source = getattr(block.attn, weight), getattr(own.attn, weight)
            target.copy_(_changed(source, change, amount, generator))
        known = {"weight": weight, "change": change, "amount": amount}
        rows.append(known | _compared(window_losses(made, test), whole, seed))
        _restore(made, model)
        if progress is not None:
            progress("bits and zeros", place + 1, len(steps))
    return pd.DataFrame(rows)


ROUNDED, NOISE, SMALLEST, ANY = (
    "rounded",
    "noise of the same length",
    "smallest to 0",
    "random to 0",
)


def _steps(bits: Sequence[int], pruned: Sequence[float]) -> Iterator[tuple[str, str, float]]:
    for weight in WEIGHTS:
        for change, amounts in ((ROUNDED, bits), (NOISE, bits), (SMALLEST, pruned), (ANY, pruned)):
            yield from ((weight, change, float(amount)) for amount in amounts)


def _changed(
    weight: Float[Tensor, "head row column"],
    change: str,
    amount: float,
    generator: torch.Generator,
) -> Float[Tensor, "head row column"]:
    if change in (ROUNDED, NOISE):
        rounded = _rounded(weight, int(amount))
        if change == ROUNDED:
            return rounded
        noise = torch.randn(weight.shape, generator=generator).to(weight)
        length = (rounded - weight).norm(dim=-1, keepdim=True)
        return weight + noise * length / noise.norm(dim=-1, keepdim=True)
    n_gone = round(amount * weight.numel())
    order = weight.abs() if change == SMALLEST else torch.rand(weight.shape, generator=generator)
    gone = order.flatten().argsort()[:n_gone].to(weight.device)
    left = weight.flatten().clone()
    left[gone] = 0.0
    return left.view(weight.shape)


def _rounded(weight: Float[Tensor, "head row column"], bits: int) -> Tensor:
    """Each row on the grid `-k..k` times a step, the largest entry on its edge."""
    most = 2 ** (bits - 1) - 1
    step = weight.abs().amax(-1, keepdim=True) / most
    return torch.where(step > 0, (weight / step.clamp(min=1e-30)).round() * step, 0.0)
