"""How many directions a head uses, and which of them can be read: singular values and vectors.

Only products of weights are taken apart, so nothing here depends on the basis inside a head. Three
measures of rank, from the squared singular values σ²: the stable rank `Σσ² / max σ²`, the effective
rank `exp H(σ² / Σσ²)`, and `rank_90`, how many directions hold 90 % of the sum.

A singular vector is a fact about a head only where its singular value stands apart: between equal
values any rotation is as good, and noise turns a direction the farther, the nearer the next value
is. So a direction is read out only if its value differs from both neighbours by `MIN_GAP` of the
largest value, and its words are scored by a function that does not know where they came
from, beside random directions of the same head.

Source: effective rank after Roy & Vetterli 2007; readouts after Millidge & Black 2022 and Dar et
al. 2022, arXiv:2209.02535; coherence of word lists as in topic models (Röder et al. 2015).
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT
from interp.measures.circuits import (
    CIRCUITS,
    HeadWeights,
    head_weights,
    token_outputs,
    vocabulary,
)
from interp.measures.factored import FactoredMatrix, widened
from interp.measures.statistics import false_discovery_q

# Distance to both neighbours, as a share of the largest value. Set after seeing, on the shipped
# model, which gaps keep a direction steady: turned by 1.4° at most above it, by up to 88° below.
MIN_GAP = 0.05
N_WORDS = 10  # of a direction's list
N_RANDOM = 199  # random directions per head
NOISE = 0.01  # of the circuit's norm
MOST_ALIKE = 4096  # words up to which all pairs are compared beforehand
NUMERICAL = 1e-5  # singular values below this share of the largest are rounding


@torch.no_grad()
def spectrum_table(weights: HeadWeights) -> pd.DataFrame:
    """Singular values of both circuits of every head.

    Returns:
        One row per value: `circuit`, `layer`, `head`, `index` (0 is the largest), `value`, `gap`
        (distance to the nearest neighbouring value, over the largest value of the circuit; below
        the last value stands 0).
    """
    rows = []
    for name in CIRCUITS:
        values = weights.circuit(name).singular_values.double().cpu().numpy()
        gap = _gaps(values)
        for (layer, head, index), value in np.ndenumerate(values):
            rows.append((name, layer, head, index, value, gap[layer, head, index]))
    return pd.DataFrame(rows, columns=["circuit", "layer", "head", "index", "value", "gap"])


def _gaps(values: Float[np.ndarray, "*head rank"]) -> Float[np.ndarray, "*head rank"]:
    below = np.concatenate([values[..., 1:], np.zeros_like(values[..., :1])], axis=-1)
    down = values - below
    up = np.concatenate([np.full_like(values[..., :1], np.inf), down[..., :-1]], axis=-1)
    nearest, largest = np.minimum(down, up), values[..., :1]
    return np.divide(nearest, largest, out=np.zeros_like(values), where=largest > 0)


@torch.no_grad()
def rank_table(weights: HeadWeights) -> pd.DataFrame:
    """Measures of rank of both circuits of every head.

    Returns:
        One row per head and circuit: `circuit`, `layer`, `head`, `norm` (Frobenius), `rank`
        (values above 1e-5 of the largest), `stable_rank`, `effective_rank`, `rank_90`; 0 for a
        circuit that is 0.
    """
    rows = []
    for name in CIRCUITS:
        values = weights.circuit(name).singular_values.double().cpu().numpy()
        for layer, head in np.ndindex(values.shape[:2]):
            rows.append((name, layer, head, *_ranks(values[layer, head])))
    columns = ["circuit", "layer", "head", "norm", "rank"]
    return pd.DataFrame(rows, columns=[*columns, "stable_rank", "effective_rank", "rank_90"])


def _ranks(values: Float[np.ndarray, " rank"]) -> tuple[float, int, float, float, int]:
    squares = values**2
    total = squares.sum()
    if total == 0:
        return 0.0, 0, 0.0, 0.0, 0
    share = squares / total
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    rank = int((values > NUMERICAL * values[0]).sum())
    # Rounding in the sum must not ask for one direction more.
    needed = int(np.searchsorted(share.cumsum(), 0.9 - 1e-12) + 1)
    return float(np.sqrt(total)), rank, float(1 / share[0]), float(np.exp(entropy)), needed


def stacked_output_rank(W_O: Float[Tensor, "layer head d_head d_model"]) -> pd.DataFrame:
    """Measures of rank of what all heads of a layer can write together.

    Heads are put in the basis in which each head's own output weights have orthogonal rows of
    their singular values' lengths, so the numbers do not depend on rotations inside heads.

    Returns:
        One row per layer, columns as in `rank_table`.
    """
    rows = []
    for layer, heads in enumerate(W_O):
        values = torch.linalg.svdvals(heads.flatten(0, 1).double()).cpu().numpy()
        rows.append((layer, *_ranks(values)))
    names = ["layer", "norm", "rank", "stable_rank", "effective_rank", "rank_90"]
    return pd.DataFrame(rows, columns=names)


@torch.no_grad()
def shuffled_weights(weights: HeadWeights, seed: int = 0) -> HeadWeights:
    """The same numbers in random places within each head's matrices: a null for spectra."""
    generator = torch.Generator().manual_seed(seed)

    def mixed(part: Tensor) -> Tensor:
        flat = part.flatten(-2)
        order = torch.rand(flat.shape, generator=generator).argsort(-1).to(flat.device)
        return flat.gather(-1, order).view(part.shape)

    return HeadWeights(*(mixed(part) for part in weights))


@torch.no_grad()
def singular_stability(weights: HeadWeights, noise: float = NOISE, seed: int = 0) -> pd.DataFrame:
    """How far the singular directions of what a head writes turn when its circuit is disturbed.

    White noise is added to `W_V W_O`, of which so much falls into the head's own d_head² pairs of
    directions that it has there `noise` times the circuit's norm.

    Returns:
        One row per direction: `layer`, `head`, `index`, `value`, `gap`, `stability` (absolute
        cosine between the direction before and after), `degrees` (the angle).

    Cost: one decomposition of d_head × d_head per head, `d_model² d_head` for the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    svd = weights.circuit("OV").svd
    values = svd.S.double().cpu().numpy()
    gap, rows = _gaps(values), []
    d_model = weights.W_O.shape[-1]
    for layer, head in np.ndindex(values.shape[:2]):
        drawn = torch.randn(d_model, d_model, generator=generator, dtype=torch.float64)
        drawn *= noise * np.sqrt((values[layer, head] ** 2).sum()) / values.shape[-1]
        U, S, Vh = (part[layer, head].double().cpu() for part in svd)
        turned = torch.linalg.svd(S.diag() + U.T @ drawn @ Vh.T)[2]
        stability = turned.diagonal().abs().numpy()
        for index, value in enumerate(values[layer, head]):
            rows.append((layer, head, index, value, gap[layer, head, index], stability[index]))
    frame = pd.DataFrame(rows, columns=["layer", "head", "index", "value", "gap", "stability"])
    return frame.assign(degrees=np.degrees(np.arccos(frame["stability"].clip(0, 1))))


@torch.no_grad()
def singular_readout(
    model: HookedGPT,
    features: Float[np.ndarray, "d_vocab feature"],
    words: Int[np.ndarray, " word"],
    *,
    heads: list[tuple[int, int]] | None = None,
    most: int = 4,
    n_random: int = N_RANDOM,
    seed: int = 0,
) -> pd.DataFrame:
    """Words of the separated singular directions that heads write along, and whether they cohere.

    A direction's list are the `N_WORDS` words whose logits it raises most, for one of its two
    signs, which are equally good: the one whose list coheres more, for random directions too.
    Coherence is the mean cosine between the feature vectors of two words of a list, and is computed
    from the list alone.

    Args:
        model: any model.
        features: of each token; what counts as alike.
        words: tokens that may appear in lists.
        heads: which; all by default.
        most: directions per head, the largest first, among those that are separated.
        n_random: random directions of the same head's write space, as the null.
        seed: of the random directions.

    Returns:
        One row per direction: `layer`, `head`, `index`, `value`, `gap`, `coherence`, `null` (mean
        over the random directions), `null_high` (97.5 %), `p`, `q` (Benjamini-Hochberg over all
        rows), `words` (ids, best first).

    Cost: `(most + n_random) d_model d_vocab` multiplications per head.
    """
    generator = torch.Generator().manual_seed(seed)
    svd = head_weights(model).circuit("OV").svd
    allowed = torch.as_tensor(np.asarray(words), device=model.W_E.device)
    outputs = token_outputs(model, vocabulary(model))[:, allowed]
    unit = _unit_rows(torch.as_tensor(features, dtype=torch.float64)[allowed.cpu()])
    alike = unit @ unit.T if len(unit) <= MOST_ALIKE else unit
    gaps, rows = _gaps(svd.S.double().cpu().numpy()), []
    for layer, head in heads or list(np.ndindex(svd.S.shape[:2])):
        S, Vh = svd.S[layer, head], svd.Vh[layer, head]
        drawn = torch.randn(n_random, len(S), generator=generator).to(Vh)
        random, _ = _coherence(_unit_rows(drawn) @ Vh, outputs, alike)
        apart = [i for i in range(len(S)) if gaps[layer, head, i] >= MIN_GAP and S[i] > 0][:most]
        if not apart:
            continue
        found, lists = _coherence(Vh[apart], outputs, alike)
        for place, index in enumerate(apart):
            p = (1 + int((random >= found[place] - 1e-12).sum())) / (1 + n_random)
            rows.append(
                {
                    "layer": layer,
                    "head": head,
                    "index": index,
                    "value": float(S[index]),
                    "gap": gaps[layer, head, index],
                    "coherence": found[place],
                    "null": random.mean(),
                    "null_high": np.quantile(random, 0.975),
                    "p": p,
                    "words": tuple(allowed.cpu().numpy()[lists[place]].tolist()),
                }
            )
    names = ["layer", "head", "index", "value", "gap", "coherence", "null", "null_high", "p"]
    frame = pd.DataFrame(rows, columns=[*names, "words"])
    frame.insert(len(names), "q", false_discovery_q(frame["p"].to_numpy(dtype=float)))
    return frame


def _unit_rows(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-300)


def _coherence(
    directions: Float[Tensor, "direction d_model"],
    outputs: Float[Tensor, "d_model word"],
    alike: Float[Tensor, "word feature"],
) -> tuple[Float[np.ndarray, " direction"], Int[np.ndarray, "direction place"]]:
    """Coherence of each direction's list, and the list, for the better of the two signs.

    `alike` holds unit vectors of the words, or, where it is square, their products.
    """
    logits = directions @ outputs
    k = min(N_WORDS, logits.shape[-1])
    lists = torch.stack([(sign * logits).topk(k, dim=-1).indices for sign in (1, -1)], dim=1).cpu()
    if len(alike) <= MOST_ALIKE:
        total = alike[lists[..., :, None], lists[..., None, :]].sum((-2, -1))
        own = alike.diagonal()[lists].sum(-1)
    else:
        total = alike[lists].sum(-2).square().sum(-1)
        own = alike[lists].square().sum((-2, -1))
    score = ((total - own) / max(k * (k - 1), 1)).numpy()
    better = score.argmax(axis=1)
    at = np.arange(len(score))
    return score[at, better], lists.numpy()[at, better]


@torch.no_grad()
def row_readout(
    model: HookedGPT, other: HookedGPT, words: Int[np.ndarray, " word"], n_words: int = N_WORDS
) -> pd.DataFrame:
    """Do the rows of `W_O` say the same in two models that compute the same?

    Args:
        model: any model.
        other: the same function in another basis inside the heads (`with_gauge`).
        words: tokens that may be read out.
        n_words: length of a row's list.

    Returns:
        One row per head: `layer`, `head`, `same_row` (share of a row's words that are also among
        those of the same row of the other model, mean over rows), `same_direction` (the same for
        the largest singular direction of the circuit, either sign), `null` (share by chance).
    """
    allowed = torch.as_tensor(np.asarray(words), device=model.W_E.device)
    outputs = token_outputs(model, vocabulary(model))[:, allowed]
    k = min(n_words, len(allowed))

    def lists(rows: Tensor) -> Tensor:
        return (rows.to(outputs) @ outputs).topk(k, dim=-1).indices

    def shared(one: Tensor, two: Tensor) -> Tensor:
        return (one[..., :, None] == two[..., None, :]).any(-1).double().mean(-1)

    frames = []
    for layer in range(model.config.n_layers):
        pair = [m.blocks[layer].attn for m in (model, other)]
        rows = shared(*(lists(attn.W_O) for attn in pair)).mean(-1)
        tops = [FactoredMatrix(*map(widened, (a.W_V, a.W_O))).svd.Vh[:, 0] for a in pair]
        first = lists(tops[0])
        best = torch.maximum(shared(first, lists(tops[1])), shared(first, lists(-tops[1])))
        frames.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "head": range(len(rows)),
                    "same_row": rows.cpu().numpy(),
                    "same_direction": best.cpu().numpy(),
                    "null": k / len(allowed),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
