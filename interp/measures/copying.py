"""Does a head repeat, avoid or follow up the token it attends to? Three statistics, one null.

All are about the full OV circuit `M`, rows = source tokens, columns = logits (`circuits`). None is
enough alone: eigenvalues are all positive for a head that pushes everything towards one direction,
and cancel for a head that steps to the successor; a mean diagonal can come from a few tokens.

- `eigenvalue_score`: Σ Re λ / Σ |λ| of `M`, from -1 to 1; exact, through the d_head eigenvalues.
- `top1`, `top5`: share of tokens whose own logit is the largest, or among the five largest, when a
  head attends to them. `bottom1`: the smallest. `successor`: share of tokens with a known successor
  whose largest logit is the successor's; `successor_control`: the same for the tokens two steps on
  and one and two steps back.
- `diagonal_z`: (mean of the diagonal - mean of all entries) / standard deviation of all entries;
  exact, through three d_model × d_model sums over the vocabulary.

The null of a head keeps its singular values and draws its directions: `L diag(σ) R` with
Haar-distributed frames. The draws of all heads together give p-values, (b + 1) / (B + 1), and
Benjamini-Hochberg corrects over the heads. Heads whose weights are zero stay out of both.

`M` is never formed. What is kept of the vocabulary are sums of d_model² numbers; ranks are taken
for some hundred source tokens at a time, among all tokens.

Source: eigenvalues after Elhage et al. 2021; hit rates after the copy score of Wang et al. 2022,
arXiv:2211.00593, and the successor score of Gould et al. 2023, arXiv:2312.09230.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT
from interp.core.errors import InputError
from interp.measures.circuits import (
    before_unembedding,
    in_chunks,
    layer_groups,
    layer_weights,
    token_inputs,
    vocabulary,
)
from interp.measures.factored import widened
from interp.measures.statistics import false_discovery_q

ALPHA = 0.05
MIN_HIT = 0.5  # declared beforehand: a head that copies does so for half of the tokens at least
LABELS = ("copying", "anti-copying", "successor", "eigenvalues only", "none")
ALL_SOURCES = 1024  # up to so many words, all are sources of the hit rates
N_SOURCES = 256  # beyond that, so many random ones
N_NULL = 32
SOURCES_AT_ONCE = 64
HEADS_AT_ONCE = 2  # whose outputs over the whole vocabulary are held
NEAR_EXACT = 1e-12  # of the two vectors' lengths: logits that differ by less are tied (float64)
NEAR_SINGLE = 1e-6
NOTHING = 1e-6  # of the lengths of a head's weights: a circuit below is rounding
STEPS = (1, 2, -1, -2)  # the successor, and the tokens that control for it
RATES = ("top1", "top5", "bottom1", "successor", "successor_control")
STATISTICS = ("eigenvalue_score", "diagonal_z", *RATES)
TESTED = {
    "copying": "top1",
    "anti-copying": "bottom1",
    "successor": "successor",
    "eigenvalues only": "eigenvalue_score",
}


@torch.no_grad()
def copying_scores(
    model: HookedGPT,
    *,
    words: Int[np.ndarray, " word"] | None = None,
    successor: Int[np.ndarray, " d_vocab"] | None = None,
    n_sources: int | None = None,
    n_null: int = N_NULL,
    seed: int = 0,
) -> pd.DataFrame:
    """The statistics of every head, their nulls and a label.

    Args:
        model: any model; norms as in `circuits`.
        words: tokens whose hits are counted; all by default. Leave out BOS and padding.
        successor: the next token of each, -1 where there is none; without it nothing is said of
            successors.
        n_sources: so many random words are sources of the hit rates; by default all up to 1,024
            words and 256 beyond.
        n_null: random circuits per head.
        seed: of the sources and of the random circuits.

    Returns:
        One row per head: `layer`, `head`; the statistics named in the module; for each of them
        `<name>_null_low`, `<name>_null_high` (2.5 and 97.5 % of the random circuits of that head);
        `q_copying`, `q_anti_copying`, `q_successor`, `q_eigenvalues` (of top1, bottom1, successor
        and eigenvalue score); `norm` of `W_V W_O`; `n` (source tokens); `label`, one of `LABELS`:
        a hit rate of at least `MIN_HIT` with q < 0.05, or "eigenvalues only" for a positive
        eigenvalue score with q < 0.05 without the hits. Successor columns are NaN without a table.

    Raises:
        InputError: no words, or fewer than one random circuit.

    Cost: sums over the vocabulary, `3 d_vocab d_model²` multiplications for the first layer and
    for the later ones; hit rates, `n_sources d_vocab d_head` for every head and random circuit.
    Memory: `2 d_vocab d_head` numbers and `64 d_vocab` logits; no second embedding.
    """
    tokens = _checked_words(model, words, n_null)
    generator = torch.Generator().manual_seed(seed)
    run = _Run(model, tokens, successor, n_sources, n_null, generator)
    rows, nulls = [], []
    for group in layer_groups(model):
        sums = _vocabulary_sums(model, group[0])
        for layer in group:
            of_layer, null = run.layer(layer, sums)
            rows.append(of_layer)
            nulls.append(null)
    frame, null = pd.concat(rows, ignore_index=True), np.concatenate(nulls, axis=1)
    return _labelled(_with_nulls(frame, null))


def _checked_words(model: HookedGPT, words: object, n_null: int) -> Int[Tensor, " word"]:
    if n_null < 1:
        raise InputError(f"the null needs at least one random circuit; got n_null={n_null}")
    if words is None:
        return vocabulary(model)
    tokens = torch.as_tensor(np.asarray(words), device=model.W_E.device)
    if not len(tokens):
        raise InputError("no words came, so no token can be copied")
    return tokens


@dataclass(frozen=True)
class _Sums:
    """What the exact statistics need of the vocabulary: `X` inputs of heads, `U` = `W_U`."""

    cross: Float[Tensor, "d_model d_model"]  # U X, so that tr(U X W) sums the diagonal
    inputs: Float[Tensor, "d_model d_model"]  # Xᵀ X
    outputs: Float[Tensor, "d_model d_model"]  # U Uᵀ
    input_sum: Float[Tensor, " d_model"]
    output_sum: Float[Tensor, " d_model"]
    n: int


def _vocabulary_sums(model: HookedGPT, layer: int) -> _Sums:
    d_model = model.config.d_model
    exact = {"dtype": torch.float64, "device": model.W_E.device}
    square = [torch.zeros(d_model, d_model, **exact) for _ in range(3)]
    line = [torch.zeros(d_model, **exact) for _ in range(2)]
    for chunk in in_chunks(vocabulary(model)):
        x = token_inputs(model, layer, chunk)
        u = widened(model.W_U[:, chunk])
        # The products run in the model's precision, the sums over chunks in float64.
        for total, part in zip(square, (u @ x, x.T @ x, u @ u.T), strict=True):
            total += part
        line[0] += x.double().sum(0)
        line[1] += u.double().sum(1)
    return _Sums(*square, *line, model.config.d_vocab)


class _Run:
    """All statistics of one model, layer by layer."""

    def __init__(
        self,
        model: HookedGPT,
        words: Int[Tensor, " word"],
        successor: Int[np.ndarray, " d_vocab"] | None,
        n_sources: int | None,
        n_null: int,
        generator: torch.Generator,
    ) -> None:
        self.model, self.n_null = model, n_null
        self.dtype = torch.float64 if model.W_E.dtype == torch.float64 else torch.float32
        self.W_U = model.W_U.to(self.dtype)
        self.longest = float(self.W_U.norm(dim=0).max())
        self.near = NEAR_EXACT if self.dtype == torch.float64 else NEAR_SINGLE
        self.sources = _drawn(words, n_sources, generator)
        self.wanted = _wanted(model, self.sources, successor)
        # One place for the large arrays: freeing and taking them anew leaves holes in memory.
        rank, d_vocab = min(model.config.d_model, model.config.d_head), model.config.d_vocab
        self.outside = self.W_U.new_empty(HEADS_AT_ONCE * rank, d_vocab)
        self.logits = self.W_U.new_empty(SOURCES_AT_ONCE, d_vocab)
        self.frames = [
            [self._frame(generator).to(model.W_E.device, self.dtype) for _ in range(2)]
            for _ in range(n_null)
        ]

    def _frame(self, generator: torch.Generator) -> Float[Tensor, "d_model rank"]:
        """Uniformly distributed orthonormal columns, as many as a circuit has singular values."""
        d_model, d_head = self.model.config.d_model, self.model.config.d_head
        drawn = torch.randn(d_model, min(d_model, d_head), generator=generator, dtype=torch.float64)
        q, r = torch.linalg.qr(drawn)
        return q * r.diagonal().sign()  # without the signs it would not be uniform

    def layer(self, layer: int, sums: _Sums) -> tuple[pd.DataFrame, np.ndarray]:
        """The heads of a layer, and `[null, head, statistic]` of their random circuits."""
        circuit = layer_weights(self.model, layer, dtype=self.dtype).circuit("OV")
        values = circuit.svd.S
        x = token_inputs(self.model, layer, self.sources, self.dtype)
        own = self._statistics(circuit.A, before_unembedding(self.model, circuit.B), x, sums)
        null = np.empty((self.n_null, *own.shape))
        for place, (left, right) in enumerate(self.frames):
            read = before_unembedding(self.model, right.T).expand(len(values), -1, -1)
            null[place] = self._statistics(left * values[:, None], read, x, sums)
        frame = pd.DataFrame(own, columns=list(STATISTICS))
        frame.insert(0, "layer", layer)
        frame.insert(1, "head", range(len(frame)))
        frame["norm"] = circuit.norm.double().cpu().numpy()
        frame["n"] = len(self.sources)
        return frame, null

    def _statistics(
        self,
        A: Float[Tensor, "head d_model rank"],
        B: Float[Tensor, "head rank d_model"],
        x: Float[Tensor, "source d_model"],
        sums: _Sums,
    ) -> Float[np.ndarray, "head statistic"]:
        """`STATISTICS` of heads that read with A and, past the final norm, write with B."""
        found = torch.zeros(len(A), len(RATES), dtype=torch.float64)
        shared = B.stride(0) == 0  # random circuits of one draw differ in their values alone
        for start in range(0, len(A), HEADS_AT_ONCE):
            heads = range(start, min(start + HEADS_AT_ONCE, len(A)))
            if start == 0 or not shared:
                outside = self._outside(B[:1] if shared else B[heads.start : heads.stop])
            for head in heads:
                columns = outside[0 if shared else head - start]
                length = float(B[head].norm()) * self.longest
                found[head] = self._rates_of_head(x @ A[head], columns, length)
        return np.concatenate([_exact_statistics(A, B, sums), found.numpy()], axis=1)

    def _outside(self, B: Float[Tensor, "head rank d_model"]) -> Float[Tensor, "head rank d_vocab"]:
        """What the heads' inner directions do to all logits."""
        rows = B.flatten(0, 1)
        made = torch.matmul(rows, self.W_U, out=self.outside[: len(rows)])
        return made.view(*B.shape[:2], -1)

    def _rates_of_head(
        self,
        inside: Float[Tensor, "source rank"],
        outside: Float[Tensor, "rank d_vocab"],
        length: float,
    ) -> Float[Tensor, " rate"]:
        # Rounding grows with the lengths of the factors, whatever their product is.
        near = self.near * inside.norm(dim=-1) * length
        hits = []
        for rows, *rest in zip(
            *(part.split(SOURCES_AT_ONCE) for part in (inside, self.wanted, near)), strict=True
        ):
            logits = torch.matmul(rows, outside, out=self.logits[: len(rows)])
            hits.append(_hits(logits, *rest))
        return _rates_of(torch.cat(hits), self.wanted)


def _drawn(words: Tensor, n_sources: int | None, generator: torch.Generator) -> Tensor:
    if n_sources is None:
        n_sources = len(words) if len(words) <= ALL_SOURCES else N_SOURCES
    if n_sources >= len(words):
        return words
    drawn = torch.randperm(len(words), generator=generator)[:n_sources]
    return words[drawn.to(words.device).sort().values]


def _wanted(
    model: HookedGPT, sources: Tensor, successor: Int[np.ndarray, " d_vocab"] | None
) -> Int[Tensor, "source place"]:
    """Of each source the token itself and those at `STEPS`; -1 where there is none."""
    if successor is None:
        missing = torch.full((len(sources), len(STEPS)), -1, device=sources.device)
        return torch.cat([sources[:, None], missing], dim=1)
    forward = torch.as_tensor(np.asarray(successor), device=sources.device)
    back = torch.full_like(forward, -1)
    back[forward[forward >= 0]] = (forward >= 0).nonzero()[:, 0]
    places = [sources]
    for step in STEPS:
        at, table = sources, forward if step > 0 else back
        for _ in range(abs(step)):
            at = torch.where(at >= 0, table[at.clamp(min=0)], -1)
        places.append(at)
    return torch.stack(places, dim=1)


def _exact_statistics(
    A: Float[Tensor, "head d_model rank"], B: Float[Tensor, "head rank d_model"], sums: _Sums
) -> Float[np.ndarray, "head statistic"]:
    """Eigenvalue score and diagonal z of `X A B U` over the whole vocabulary."""
    A, B = A.double(), B.double()
    inside = B @ sums.cross @ A
    eigenvalues = torch.linalg.eigvals(inside)
    size = eigenvalues.abs().sum(-1)
    trace = inside.diagonal(dim1=-2, dim2=-1).sum(-1)
    # A head that writes nothing the unembedding reads has eigenvalues of rounding only.
    reach = A.flatten(1).norm(dim=1) * B.flatten(1).norm(dim=1) * NOTHING
    score = torch.where(size > reach * sums.cross.norm(), trace / size, 0.0)
    entries = sums.n**2
    mean = ((sums.input_sum @ A) * (B @ sums.output_sum)).sum(-1) / entries
    squares = torch.einsum("hrs,hsr->h", A.mT @ sums.inputs @ A, B @ sums.outputs @ B.mT) / entries
    spread = (squares - mean.square()).clamp(min=0).sqrt()
    largest = (sums.inputs.norm() * sums.outputs.norm() / entries).sqrt()
    z = torch.where(spread > reach * largest, (trace / sums.n - mean) / spread, 0.0)
    return torch.stack([score, z], dim=1).cpu().numpy()


def _hits(
    logits: Float[Tensor, "source d_vocab"],
    wanted: Int[Tensor, "source place"],
    near: Float[Tensor, " source"],
) -> Float[Tensor, "source hit"]:
    """Own token first, among the first five, last; and first for each step. Ties are no hits."""
    own = logits.gather(-1, wanted[:, :1])
    reached = _count(logits >= own - near[:, None])  # itself included
    under = _count(logits <= own + near[:, None])
    steps = torch.zeros(len(logits), len(STEPS), dtype=torch.bool, device=logits.device)
    known = (wanted[:, 1] >= 0).nonzero()[:, 0]
    if len(known):
        best = logits[known].topk(2, dim=-1)
        clear = best.values[:, :1] - best.values[:, 1:] > near[known, None]
        steps[known] = clear & (best.indices[:, :1] == wanted[known, 1:])
    columns = [reached == 1, reached <= 5, under == 1, *steps.T]
    return torch.stack(columns, dim=1).double().cpu()


def _count(hits: Tensor) -> Tensor:
    # Several times as fast as the sum of booleans.
    return hits.view(torch.uint8).sum(-1, dtype=torch.int32)


def _rates_of(
    hits: Float[Tensor, "source hit"], wanted: Int[Tensor, "source place"]
) -> Float[Tensor, " rate"]:
    known = (wanted[:, 1] >= 0).cpu()
    own = hits[:, :3].mean(0)
    if not known.any():
        return torch.cat([own, torch.full((2,), torch.nan, dtype=torch.float64)])
    steps = hits[known, 3:]
    exists = (wanted[:, 2:] >= 0).cpu()[known].double()
    control = (steps[:, 1:] * exists).sum() / exists.sum().clamp(min=1)
    return torch.cat([own, torch.stack([steps[:, 0].mean(), control])])


# --- nulls and labels ---


def _with_nulls(
    frame: pd.DataFrame, null: Float[np.ndarray, "null head statistic"]
) -> pd.DataFrame:
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    for place, name in enumerate(STATISTICS):
        frame[f"{name}_null_low"], frame[f"{name}_null_high"] = low[:, place], high[:, place]
    # A head of length 0 has no circuit, and its zeros are no evidence about chance.
    real = (frame["norm"] > 0).to_numpy()
    for label, name in TESTED.items():
        drawn = np.sort(null[:, real, STATISTICS.index(name)].ravel())
        column = f"q_{'eigenvalues' if label == 'eigenvalues only' else label.replace('-', '_')}"
        frame[column] = 1.0
        if np.isnan(drawn).any():
            frame[column] = np.nan
            continue
        at_least = len(drawn) - np.searchsorted(drawn, frame.loc[real, name] - 1e-12)
        frame.loc[real, column] = false_discovery_q((at_least + 1) / (len(drawn) + 1))
    return frame


def _labelled(frame: pd.DataFrame) -> pd.DataFrame:
    frame["label"] = "none"
    tests = (
        ("eigenvalues only", frame["eigenvalue_score"] >= MIN_HIT, "q_eigenvalues"),
        (
            "successor",
            (frame["successor"] >= MIN_HIT)
            & (frame["successor"] - frame["successor_control"] >= MIN_HIT),
            "q_successor",
        ),
        ("anti-copying", frame["bottom1"] >= MIN_HIT, "q_anti_copying"),
        ("copying", frame["top1"] >= MIN_HIT, "q_copying"),
    )
    for label, large, q in tests:
        frame.loc[large & (frame[q] < ALPHA), "label"] = label
    return frame
