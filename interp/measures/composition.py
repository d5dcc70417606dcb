"""Who reads what whom wrote: composition scores and overlaps of subspaces, from weights alone.

A head can read the output of an earlier head with its queries (Q), its keys (K) or its values (V).
The score of a pair is `‖A B‖ / (‖A‖ ‖B‖)` in Frobenius norms, `A = W_V W_O` of the earlier head,
`B = W_Q W_K.T` (Q), its transpose (K) or `W_V W_O` (V) of the later one.

The null turns one of the two at random. Under a Haar-distributed rotation of `d` dimensions
`E[score²] = 1/d` exactly, whatever the spectra, and the variance is known too:
`2 a b / ((d - 1)(d + 2))`, `a` and `b` being `Σσ⁴ / (Σσ²)² - 1/d` of the two circuits. `z` is the
distance from that mean in those standard deviations. A norm over all directions dilutes a channel
of few directions, so the overlap of the top subspaces stands beside it.

Source: Elhage et al. 2021 (scores); the overlap is the projection kernel, the mean squared cosine
of the principal angles (Hamm & Lee 2008). The variance follows from the second moments of the Haar
measure; for two projections it is that of `random_projection_kernel_moments` in TransformerLens.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT
from interp.measures.circuits import HeadWeights, head_weights
from interp.measures.factored import SVD

KINDS = ("Q", "K", "V")
ENERGY = 0.9  # share of the squared singular values that a top subspace holds
TIE = 1e-6  # singular values that differ by less, relative to the largest, are not separated
ZERO = 1e-5  # a singular value below this share of the largest is rounding


@torch.no_grad()
def composition_scores(weights: HeadWeights) -> Float[Tensor, "kind source target"]:
    """Scores of all pairs of heads; 0 where the source does not lie in an earlier layer.

    Heads are numbered layer by layer. A head whose weights are zero composes with nobody.

    Args:
        weights: of all heads, from `head_weights`.

    Cost: one triangular factor per head and weight, and `3 d_model d_head²` multiplications per
    pair, in one product per layer. Memory: `3 d_head² H² L` numbers in the last layer's product.
    """
    n_layers, n_heads, d_model, d_head = weights.W_Q.shape
    n = n_layers * n_heads
    left, rights = _sides(weights)
    left_norm = left.square().sum((-2, -1)).sqrt().flatten()
    scores = left.new_zeros(len(KINDS), n, n)
    for layer in range(1, n_layers):
        before = left[:layer].reshape(-1, d_model)
        readers = torch.stack([right[layer] for right in rights])  # kind head d_model inner
        norms = readers.square().sum((-2, -1)).sqrt()
        product = before @ readers.permute(2, 0, 1, 3).reshape(d_model, -1)
        blocks = product.square_().view(layer * n_heads, d_head, len(KINDS), n_heads, d_head)
        size = blocks.sum((1, 4)).sqrt().permute(1, 0, 2)
        here = slice(layer * n_heads, (layer + 1) * n_heads)
        both = left_norm[None, : layer * n_heads, None] * norms[:, None]
        scores[:, : layer * n_heads, here] = torch.where(both > 0, size / both, 0.0)
    return scores


def _sides(weights: HeadWeights) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """The written side of every head `[.. d_head d_model]`, the read sides `[.. d_model d_head]`.

    An orthonormal factor on the outer side changes no norm, so a triangular one stands for it.
    """

    def upper(matrix: Tensor) -> Tensor:
        r = torch.linalg.qr(matrix, mode="r")[1]
        missing = matrix.shape[-1] - r.shape[-2]
        return torch.nn.functional.pad(r, (0, 0, 0, missing)) if missing else r

    W_Q, W_K, W_V, W_O = weights
    left = upper(W_V) @ W_O
    return left, (W_Q @ upper(W_K).mT, W_K @ upper(W_Q).mT, W_V @ upper(W_O.mT).mT)


@torch.no_grad()
def composition_table(model: HookedGPT, energy: float = ENERGY) -> pd.DataFrame:
    """Every pair of heads in different layers, with scores, nulls and overlaps.

    Norm weights are folded into the reading weights. The numbers change neither under a change of
    basis inside a head nor, in models without norms, under a rotation of the stream.

    Args:
        model: any model.
        energy: share of the squared singular values that a top subspace holds; it is extended
            over equal singular values, between which no subspace is defined.

    Returns:
        One row per pair and kind: `kind` (Q, K or V), `source_layer`, `source_head`, `layer`,
        `head`, `score`, `times_chance` (`score * sqrt(d_model)`, 1 under the null), `null_high`
        (its 97.5 % point under the null, as if score² were normal), `z` (of score²), `overlap`
        (mean squared cosine between the top of what is written and the top of what is read, of
        the smaller of the two), `overlap_null` (its mean for random subspaces), `overlap_z`.

    Cost: as `composition_scores`, three times, and one decomposition per head and circuit.
    """
    weights = head_weights(model, dtype=_exact(model))
    n_layers, n_heads, d_model, _ = weights.W_Q.shape
    scores = composition_scores(weights)
    svd = {name: weights.circuit(name).svd for name in ("QK", "OV")}
    written, sought = (_spread(svd[name].S, d_model) for name in ("OV", "QK"))
    readers = torch.stack([sought, sought, written])
    variance = 2 * written[None, :, None] * readers[:, None] / (d_model - 1) / (d_model + 2)
    sd = variance.clamp(min=0).sqrt()
    # Without a variance, as for a head of zeros, no score lies away from chance.
    z = torch.where(sd > 0, (scores.square() - 1 / d_model) / sd, 0.0)
    overlap, null, overlap_z = _overlaps(svd["OV"], svd["QK"], energy)
    at = torch.arange(n_layers * n_heads, device=scores.device) // n_heads
    kind, source, target = torch.nonzero(
        (at[:, None] < at[None]).expand(len(KINDS), -1, -1), as_tuple=True
    )
    columns = {
        "score": scores,
        "times_chance": scores * d_model**0.5,
        "null_high": (1 + 1.96 * d_model * sd).sqrt(),
        "z": z,
        "overlap": overlap,
        "overlap_null": null,
        "overlap_z": overlap_z,
    }
    return pd.DataFrame(
        {
            "kind": np.array(KINDS)[kind.cpu().numpy()],
            "source_layer": (source // n_heads).cpu().numpy(),
            "source_head": (source % n_heads).cpu().numpy(),
            "layer": (target // n_heads).cpu().numpy(),
            "head": (target % n_heads).cpu().numpy(),
            **{name: v[kind, source, target].double().cpu().numpy() for name, v in columns.items()},
        }
    )


def _exact(model: HookedGPT) -> torch.dtype:
    """float64 for models small enough that it costs nothing."""
    return torch.float64 if model.config.d_model <= 256 else torch.float32


def _spread(values: Float[Tensor, "layer head rank"], d_model: int) -> Float[Tensor, " space"]:
    """`Σσ⁴ / (Σσ²)² - 1/d`: 0 for a circuit that treats all directions alike."""
    squares = values.flatten(0, 1).square()
    shares = squares / squares.sum(-1, keepdim=True)
    return torch.nan_to_num(shares.square().sum(-1) - 1 / d_model).clamp(min=0)


class Bases(NamedTuple):
    """Orthonormal bases of subspaces, padded with zeros to one width.

    Attributes:
        vectors: the bases.
        ranks: how many columns of each are not padding.
    """

    vectors: Float[Tensor, "space d_model width"]
    ranks: Int[Tensor, " space"]


def top_subspaces(vectors: Tensor, values: Tensor, energy: float = ENERGY) -> Bases:
    """The first singular vectors that together hold `energy`, ties included.

    Args:
        vectors: `[space, d_model, rank]`, singular vectors as columns.
        values: `[space, rank]`, singular values, largest first.
        energy: share of the squared singular values; 1 gives the whole span.
    """
    largest = values[:, :1]
    real = values > ZERO * largest
    squares = values.square()
    before = (squares.cumsum(-1) - squares) / squares.sum(-1, keepdim=True).clamp(min=1e-300)
    # A column is kept while the columns before it hold less than is wanted.
    kept = real & ((before < energy - 1e-12) | (energy >= 1))
    count = kept.sum(-1, keepdim=True)
    last = values.gather(-1, (count - 1).clamp(min=0))
    kept = kept | (real & (values >= last - TIE * largest))
    return Bases(vectors * kept[:, None], kept.sum(-1))


def _overlaps(ov: SVD, qk: SVD, energy: float) -> tuple[Tensor, Tensor, Tensor]:
    flat = [
        top_subspaces(side.flatten(0, 1), svd.S.flatten(0, 1), energy)
        for side, svd in ((ov.Vh.mT, ov), (qk.U, qk), (qk.Vh.mT, qk), (ov.U, ov))
    ]
    pairs = [subspace_overlap(flat[0], read) for read in flat[1:]]
    return tuple(torch.stack(parts) for parts in zip(*pairs, strict=True))


def subspace_overlap(
    one: Bases, other: Bases
) -> tuple[
    Float[Tensor, "space other_space"],
    Float[Tensor, "space other_space"],
    Float[Tensor, "space other_space"],
]:
    """Mean squared cosine of the principal angles, of the smaller of the two subspaces.

    Returns:
        The overlap of every pair (0 to 1), its mean for independent random subspaces of the same
        dimensions (the larger dimension over d), and the distance from it in standard deviations.

    Cost: `n m d k²` multiplications for n and m subspaces of k dimensions in d.
    """
    d = one.vectors.shape[1]
    n, m, k, j = len(one.ranks), len(other.ranks), one.vectors.shape[-1], other.vectors.shape[-1]
    columns = other.vectors.permute(1, 0, 2).reshape(d, m * j)
    total = one.vectors.new_empty(n, m)
    for place, basis in enumerate(one.vectors):
        total[place] = (basis.T @ columns).square_().view(k, m, j).sum((0, 2))
    a, b = one.ranks[:, None].to(total), other.ranks[None].to(total)
    smaller = torch.minimum(a, b).clamp(min=1)
    mean = torch.maximum(a, b) / d
    variance = 2 * a * (d - a) * b * (d - b) / (d**2 * (d - 1) * (d + 2)) / smaller**2
    overlap = total / smaller
    z = torch.where(variance > 0, (overlap - mean) / variance.clamp(min=1e-300).sqrt(), 0.0)
    return overlap, mean, z


@torch.no_grad()
def write_overlap(model: HookedGPT) -> pd.DataFrame:
    """How much the subspaces that two heads write to have in common.

    Returns:
        One row per pair of heads: `layer`, `head`, `other_layer`, `other_head`, `overlap` (mean
        squared cosine of the principal angles, 0 to 1), `null` (k/d, its mean for random
        subspaces of the same dimension), `z`.

    Cost: one decomposition per head; `d_model d_head²` multiplications per pair.
    """
    weights = head_weights(model, dtype=_exact(model))
    n_heads = weights.W_V.shape[1]
    svd = weights.circuit("OV").svd
    bases = top_subspaces(svd.Vh.mT.flatten(0, 1), svd.S.flatten(0, 1), 1.0)
    overlap, null, z = (part.double().cpu().numpy() for part in subspace_overlap(bases, bases))
    one, other = np.triu_indices(len(overlap), 1)
    return pd.DataFrame(
        {
            "layer": one // n_heads,
            "head": one % n_heads,
            "other_layer": other // n_heads,
            "other_head": other % n_heads,
            "overlap": overlap[one, other],
            "null": null[one, other],
            "z": z[one, other],
        }
    )
