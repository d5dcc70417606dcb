"""From the last vector back to words: what the unembedding is, costs, and can express."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.special
import scipy.stats
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import GPTConfig, HookedGPT, InputError

Z_95 = 1.959964  # two-sided 95 % point of the normal distribution
RANK_TOLERANCE = 1e-10  # of the largest singular value; double precision leaves about 1e-15

GPT2_SIZES = {
    "gpt2": (12, 768, 12),
    "gpt2-medium": (24, 1024, 16),
    "gpt2-large": (36, 1280, 20),
    "gpt2-xl": (48, 1600, 25),
}
"""Layers, width and heads; all have 50,257 tokens and a context of 1,024."""


# ----------------------------------------------------------------------------- tying and bias


class FoldedUnembedding(NamedTuple):
    """The unembedding with the final norm's scale and shift folded in.

    Attributes:
        W_U: rows scaled by the norm's weight, columns centred.
        b_U: what the norm's shift adds to each logit.
    """

    W_U: Float[Tensor, "d_model d_vocab"]
    b_U: Float[Tensor, " d_vocab"]


@torch.no_grad()
def folded_unembedding(model: HookedGPT) -> FoldedUnembedding:
    """What `fold_ln` makes of the unembedding, without a copy of the rest.

    Raises:
        InputError: the model has no final norm that could be folded.

    Cost: one copy of `W_U`.
    """
    if model.config.norm != "pre":
        raise InputError(
            f"{model.name} has norm={model.config.norm!r}: no final norm stands before its "
            "unembedding, so there is nothing to fold"
        )
    norm = model.ln_final
    W_U = norm.w[:, None] * model.W_U
    W_U -= W_U.mean(0)
    return FoldedUnembedding(W_U, model.b_U + norm.b @ model.W_U)


@torch.no_grad()
def tying(model: HookedGPT) -> pd.DataFrame:
    """Is the unembedding the transposed embedding, as stored and after folding the final norm?

    Returns:
        Rows "raw" and, where there is a final norm, "folded": `weights`; `same_storage`;
        `largest_difference` of a coordinate of `W_U.T` and `W_E`; `mean_cosine`, `least_cosine` of
        a token's two vectors; `n_params`, and `n_saved`, parameters that sharing saves there.

    Cost: one copy of `W_U`.
    """
    W_E, size = model.W_E, model.W_E.numel()
    kinds = {"raw": model.W_U}
    if model.config.norm == "pre":
        kinds["folded"] = folded_unembedding(model).W_U
    rows = []
    for name, W_U in kinds.items():
        same = W_U.data_ptr() == W_E.data_ptr() and W_U.stride() == W_E.T.stride()
        cosines = torch.nn.functional.cosine_similarity(W_U.T, W_E, dim=-1)
        # What is not shared has to be stored as well.
        extra = size if model.config.tied and not same else 0
        rows.append(
            {
                "weights": name,
                "same_storage": bool(same),
                "largest_difference": (W_U.T - W_E).abs().max().item(),
                "mean_cosine": cosines.mean().item(),
                "least_cosine": cosines.min().item(),
                "n_params": model.n_params + extra,
                "n_saved": size if same else 0,
            }
        )
    return pd.DataFrame(rows)


def rank_correlation(
    x: Float[np.ndarray, " token"],
    y: Float[np.ndarray, " token"],
    n_permutations: int = 999,
    seed: int = 0,
) -> dict[str, float]:
    """Spearman's rank correlation with its interval, and what shuffled tokens give.

    Returns:
        `rho`, `ci_low`, `ci_high` (95 %), `null_low`, `null_high` (95 % of shuffles), `p`
        (two-sided, by shuffles, the observed order counted in), `n`. All but `n` are NaN where one
        side is constant.

    Raises:
        InputError: fewer than 4 tokens, or sides of different lengths.

    Cost: `n_permutations * token`.

    Source: interval of Bonett & Wright 2000, "Sample size requirements for estimating Pearson,
    Kendall and Spearman correlations".
    """
    if len(x) != len(y) or len(x) < 4:
        raise InputError(
            f"a rank correlation needs two equally long lists of at least 4 numbers, but {len(x)} "
            f"and {len(y)} came"
        )
    names = ("rho", "ci_low", "ci_high", "null_low", "null_high", "p")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return dict.fromkeys(names, float("nan")) | {"n": len(x)}
    a, b = (scipy.stats.zscore(scipy.stats.rankdata(side)) for side in (x, y))
    rho = float(np.clip(a @ b / len(a), -1, 1))
    half = Z_95 * np.sqrt((1 + rho**2 / 2) / (len(a) - 3))
    centre = np.arctanh(np.clip(rho, -1 + 1e-15, 1 - 1e-15))
    low, high = np.tanh([centre - half, centre + half])
    rng = np.random.default_rng(seed)
    shuffled = np.array([a @ rng.permutation(b) for _ in range(n_permutations)]) / len(a)
    p = (1 + (np.abs(shuffled) >= abs(rho) - 1e-12).sum()) / (1 + n_permutations)
    null_low, null_high = np.quantile(shuffled, [0.025, 0.975])
    values = (rho, float(low), float(high), float(null_low), float(null_high), float(p))
    return dict(zip(names, values, strict=True)) | {"n": len(a)}


# -------------------------------------------------------------------------------- direct path


@torch.no_grad()
def direct_paths(
    model: HookedGPT, ids: Int[np.ndarray, " token"]
) -> dict[str, Float[np.ndarray, "token token"]]:
    """What the model would say of the next token from the present one, without attention.

    Args:
        model: any HookedGPT.
        ids: tokens; rows are the present one, columns the next one.

    Returns:
        "W_E W_U"; where there is a final norm, "W_E, norm, W_U"; and where there is an MLP,
        "W_E + MLP0, norm, W_U", the embedding and what the first MLP makes of it (its norm before
        it, no attention, no position). Logits in float64.

    Cost: `token**2 * d_model`.

    Source: the direct path of Elhage et al. 2021, "A Mathematical Framework for Transformer
    Circuits"; the first MLP as part of the embedding is common practice for GPT-2.
    """
    at = torch.as_tensor(ids, device=model.W_E.device)
    embedded, W_U = model.W_E[at], model.W_U[:, at]
    paths = {"W_E W_U": embedded @ W_U}
    if model.config.norm == "pre":
        paths["W_E, norm, W_U"] = model.ln_final(embedded[None])[0] @ W_U
    block = model.blocks[0]
    if not model.config.attn_only:
        read = block.ln2(embedded[None]) if model.config.norm == "pre" else embedded[None]
        written = embedded + block.mlp(read)[0]
        if model.config.norm == "pre":
            paths["W_E + MLP0, norm, W_U"] = model.ln_final(written[None])[0] @ W_U
        else:
            paths["W_E + MLP0, W_U"] = written @ W_U
    return {name: path.double().cpu().numpy() for name, path in paths.items()}


def antisymmetric_share(table: Float[np.ndarray, "token token"]) -> float:
    """Share of a table's squared size that changes sign when rows and columns are exchanged.

    0 for a symmetric table, 0.5 on average for one of independent numbers, 1 for an antisymmetric
    one. The mean of each column and of each row is subtracted first: the next token's frequency
    alone makes every table lopsided, and no symmetric path could or should show it.
    """
    centred = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    size = (centred**2).sum()
    return float((((centred - centred.T) / 2) ** 2).sum() / size) if size > 0 else 0.0


def path_scores(
    paths: dict[str, Float[np.ndarray, "token token"]],
    counts: Float[np.ndarray, "token token"],
    held_out: Float[np.ndarray, "token token"],
    min_pair: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """How well each path knows which tokens follow which.

    A path's scale means nothing, and every path profits from how frequent the next token is. So two
    numbers are fitted for each: predictions are softmax(a log frequency + b path). What counts is
    how much better than frequencies alone they do, on text that fitted nothing.

    Args:
        paths: tables of logits, rows = the present token.
        counts: how often each token followed each, in the text that a, b and the frequencies are
            fitted on.
        held_out: the same in other text.
        min_pair: a pair of tokens asks for an order if the two texts have it so much more often
            one way than the other.
        seed: of the shuffled rows.

    Returns:
        One row per path and present token that occurs in the held-out text: `path`, `source` (its
        number), `weight` (its share of that text), `gain_nats` (loss of frequencies alone − loss
        of the path, per token), `order` (share of its pairs whose order the path has right, ties
        half; NaN without pairs), `n_pairs`, `path_weight` (b, for a path of standard deviation 1).
        Beside the paths: "another token's row" (the last path with its rows exchanged) and "counted
        pairs" (log counts of the first text: what a table can know).

    Raises:
        InputError: tables of different shapes, or texts without pairs.

    Cost: a dozen passes over `token**2` numbers per path.
    """
    tables = {**paths, "another token's row": _exchanged(next(reversed(paths.values())), seed)}
    tables["counted pairs"] = np.log(counts + 0.01)
    for name, table in (*tables.items(), ("held-out counts", held_out)):
        if table.shape != counts.shape:
            raise InputError(
                f"{name!r} has shape {table.shape}, the counts {counts.shape}; both need the same "
                "tokens"
            )
    if not counts.sum() or not held_out.sum():
        raise InputError("a text without pairs of these tokens says nothing about paths")
    frequency = np.log(counts.sum(axis=0) + 0.01)
    n = held_out.sum(axis=1)
    kept = np.flatnonzero(n)
    alone = _row_losses(np.broadcast_to(frequency, counts.shape), held_out)
    more = counts + held_out
    asked = np.where(np.abs(more - more.T) >= min_pair, np.sign(more - more.T), 0.0)
    rows = []
    for name, table in tables.items():
        scaled = table / (table.std() or 1.0)
        a, b = _fitted(frequency, scaled, counts)
        gain = alone - _row_losses(a * frequency + b * scaled, held_out)
        order, n_pairs = _order_right(table, asked)
        rows.append(
            pd.DataFrame(
                {
                    "path": name,
                    "source": kept,
                    "weight": n[kept] / n.sum(),
                    "gain_nats": gain[kept],
                    "order": order[kept],
                    "n_pairs": n_pairs[kept],
                    "path_weight": b,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def path_summary(scores: pd.DataFrame, n_resamples: int = 1999, seed: int = 0) -> pd.DataFrame:
    """`path_scores` summed up; the unit of the intervals is the present token.

    Returns:
        One row per path: `path`, `gain_nats` (per token of the text) with `ci_low`, `ci_high`
        (95 %), `order` (share of pairs) with `order_low`, `order_high`, `path_weight`, `n` (present
        tokens), `n_pairs`. Each pair counts for both of its tokens.
    """
    rows, n = [], scores["source"].nunique()
    drawn = np.random.default_rng(seed).multinomial(n, [1 / n] * n, size=n_resamples).astype(float)
    for path, of_path in scores.groupby("path", sort=False):
        row = {"path": path}
        for name, weight, low, high in (
            ("gain_nats", "weight", "ci_low", "ci_high"),
            ("order", "n_pairs", "order_low", "order_high"),
        ):
            w = of_path[weight].to_numpy(float)
            weighted = w * of_path[name].fillna(0.0).to_numpy()
            resampled = (drawn @ weighted) / np.maximum(drawn @ w, 1e-300)
            row[name] = weighted.sum() / max(w.sum(), 1e-300)
            row[low], row[high] = np.quantile(resampled, [0.025, 0.975])
        first = of_path.iloc[0]
        row |= {"path_weight": first["path_weight"], "n": n, "n_pairs": int(w.sum()) // 2}
        rows.append(row)
    return pd.DataFrame(rows)


def _exchanged(table: np.ndarray, seed: int) -> np.ndarray:
    """The same rows, none where it was: a shift round a random circle."""
    order = np.random.default_rng(seed).permutation(len(table))
    exchanged = np.empty_like(table)
    exchanged[order] = table[np.roll(order, 1)]
    return exchanged


def _row_losses(logits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Nats per token of each row's text; 0 for rows without text."""
    log_probs = scipy.special.log_softmax(logits, axis=1)
    n = counts.sum(axis=1)
    total = -np.einsum("ij,ij->i", counts, log_probs)
    return np.divide(total, n, out=np.zeros(len(n)), where=n > 0)


def _fitted(frequency: np.ndarray, path: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The a and b of least loss: a convex problem with two unknowns, by Newton's method."""
    n = counts.sum(axis=1)
    features = np.stack([np.broadcast_to(frequency, path.shape), path])
    seen = (features * counts).sum(axis=(1, 2))
    weights, best, kept = np.array([1.0, 0.0]), np.inf, np.array([1.0, 0.0])
    for _ in range(40):
        logits = np.tensordot(weights, features, axes=1)
        probs = scipy.special.softmax(logits, axis=1) * n[:, None]
        means = np.einsum("kij,ij->ki", features, probs)
        loss = -(seen @ weights) + n @ scipy.special.logsumexp(logits, axis=1)
        gradient = means.sum(axis=1) - seen
        if best - loss < 1e-9 * n.sum():
            break
        best, kept = loss, weights
        within = means / np.sqrt(np.maximum(n, 1))
        curvature = np.einsum("kij,lij,ij->kl", features, features, probs) - within @ within.T
        weights = weights - np.linalg.lstsq(curvature, gradient, rcond=1e-12)[0]
    return kept


def _order_right(table: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per row: share of the pairs asked for whose direction the table has right, and their number.

    Args:
        table: logits.
        asked: 1 where the column follows the row more often than it comes before it, −1 where less.
    """
    said = table - table.T
    # Products in either order may differ in their last bits; that is no direction.
    said = np.where(np.abs(said) <= 1e-6 * (np.abs(table).max() or 1.0), 0.0, np.sign(said))
    right = np.where(said == 0, 0.5, said == asked) * (asked != 0)
    n = (asked != 0).sum(axis=1)
    return np.divide(right.sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0), n


# ---------------------------------------------------------------------- what each token costs


def forward_cost(config: GPTConfig, n_pos: int = 0) -> pd.DataFrame:
    """Floating-point operations per token of a forward pass, in closed form.

    A product of matrices counts two operations per multiplication; norms, softmax and activation
    functions, less than a hundredth of the whole, are left out.

    Args:
        config: the shape.
        n_pos: tokens that each token attends to; 0 for the limit of a short context.

    Returns:
        Rows "attention weights", "attention between positions", "MLP", "unembedding": `part`,
        `flops` (per token), `share`.

    Raises:
        InputError: `n_pos` below 0 or above the model's context.

    Source: the count of Kaplan et al. 2020, arXiv:2001.08361, table 1, plus the unembedding.
    """
    if not 0 <= n_pos <= config.n_ctx:
        raise InputError(f"the context has 0 to {config.n_ctx} tokens, but n_pos={n_pos}")
    width = config.n_heads * config.d_head
    parts = {
        "attention weights": 2 * config.n_layers * 4 * config.d_model * width,
        "attention between positions": 4 * config.n_layers * width * n_pos,
        "MLP": 2 * config.n_layers * 2 * config.d_model * config.d_mlp,
        "unembedding": 2 * config.d_model * config.d_vocab,
    }
    total = sum(parts.values())
    return pd.DataFrame(
        [{"part": part, "flops": flops, "share": flops / total} for part, flops in parts.items()]
    )


def gpt2_config(name: str) -> GPTConfig:
    """The shape of a GPT-2 by its name.

    Raises:
        InputError: there is no such GPT-2.
    """
    if name not in GPT2_SIZES:
        raise InputError(f"no GPT-2 is called {name!r}; there are: {', '.join(GPT2_SIZES)}")
    n_layers, d_model, n_heads = GPT2_SIZES[name]
    return GPTConfig(n_layers, d_model, n_heads, n_ctx=1024, d_vocab=50_257)


# ------------------------------------------------------------------------- softmax bottleneck


@torch.no_grad()
def logit_tables(
    model: HookedGPT, tokens: Sequence[Sequence[int]], ids: Int[np.ndarray, " token"]
) -> tuple[Float[np.ndarray, "context token"], Float[np.ndarray, "context token"]]:
    """Logits and log-probabilities at all positions of some prompts, for some tokens.

    Final norm and unembedding are computed in double precision, so that the rank can be read off.

    Args:
        model: any HookedGPT.
        tokens: prompts of one length.
        ids: the tokens; a part of the vocabulary can only have a smaller rank.

    Cost: `context * token` numbers twice, beside the logits of one prompt.
    """
    n_layers, device = model.config.n_layers, model.W_E.device
    at = torch.as_tensor(ids, device=device)
    W_U, b_U = model.W_U[:, at].double(), model.b_U[at].double()
    logits, log_probs = [], []
    for prompt in tokens:
        stream = model(torch.tensor([list(prompt)], device=device), stop_at_layer=n_layers)
        # Any one number per context is a column of ones times a vector: the rank grows by 1.
        total = model.logits(stream)[0].double().logsumexp(-1, keepdim=True)
        some = _normed(model, stream[0].double()) @ W_U + b_U
        logits.append(some.cpu().numpy())
        log_probs.append((some - total).cpu().numpy())
    return np.concatenate(logits), np.concatenate(log_probs)


def _normed(model: HookedGPT, stream: Float[Tensor, "pos d_model"]) -> Tensor:
    if model.config.norm != "pre":
        return stream
    norm = model.ln_final
    return torch.nn.functional.layer_norm(
        stream, stream.shape[-1:], norm.w.double(), norm.b.double(), norm.eps
    )


def spectrum(table: Float[np.ndarray, "context token"]) -> pd.DataFrame:
    """Singular values of a table, over the largest: `index` (from 1), `value`."""
    values = np.linalg.svd(table, compute_uv=False)
    scale = values[0] if values[0] > 0 else 1.0
    return pd.DataFrame({"index": np.arange(1, len(values) + 1), "value": values / scale})


def numeric_rank(values: Float[np.ndarray, " index"], tolerance: float = RANK_TOLERANCE) -> int:
    """How many singular values are more than rounding: above `tolerance` of the largest."""
    return int((values > tolerance * values.max(initial=0.0)).sum())
