"""The two circuits of every head: what it looks for (QK) and what it passes on (OV).

In residual space a circuit is a product of two weight matrices. In token space it is asked for
tokens that stand alone: rows are source tokens (OV) or query tokens (QK), columns are the logits
of output tokens (OV) or key tokens (QK). Positions, attention of earlier layers and biases are left
out; a bias adds the same to all rows or all columns.

How norms are treated. Before a head stands a norm. Its centring and its weight are linear and go
into the head's weights (`head_weights`). Its scale is not: in token space each token gets the scale
that it has alone. The final norm's centring and weight go into the unembedding; its scale depends
on the whole stream, is positive, and is left out: it changes no order and no sign.

What a token is before layer 0 is its embedding; before later layers, the embedding plus what the
first MLP makes of it, which is where GPT-2 puts much of a token's meaning.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; the first MLP as
part of the embedding after Wang et al. 2022, arXiv:2211.00593.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT
from interp.core.errors import InputError
from interp.measures.factored import FactoredMatrix, widened

CIRCUITS = ("QK", "OV")
TOKENS_AT_ONCE = 1024


class HeadWeights(NamedTuple):
    """What every head reads and writes with, as copies in one dtype.

    Attributes:
        W_Q: queries.
        W_K: keys.
        W_V: values.
        W_O: output.
    """

    W_Q: Float[Tensor, "*layer head d_model d_head"]
    W_K: Float[Tensor, "*layer head d_model d_head"]
    W_V: Float[Tensor, "*layer head d_model d_head"]
    W_O: Float[Tensor, "*layer head d_head d_model"]

    def circuit(self, name: str) -> FactoredMatrix:
        """`W_Q @ W_K.T` (rows: query side) or `W_V @ W_O` (rows: source side), of all heads."""
        if name not in CIRCUITS:
            raise InputError(f"a head has the circuits QK and OV, not {name!r}")
        if name == "QK":
            return FactoredMatrix(self.W_Q, self.W_K.mT)
        return FactoredMatrix(self.W_V, self.W_O)


@torch.no_grad()
def head_weights(
    model: HookedGPT, *, fold_norm: bool = True, dtype: torch.dtype | None = None
) -> HeadWeights:
    """The weights of all heads.

    Args:
        model: any model; it is not changed.
        fold_norm: in pre-norm models, multiply reading weights by their norm's weight and centre
            their columns, as `interp.core.fold_ln` does. What heads write is left as it is.
        dtype: of the copies; the model's by default, float32 where it is of half precision.

    Cost: a copy of the attention weights.
    """
    layers = [
        layer_weights(model, layer, fold_norm=fold_norm, dtype=dtype)
        for layer in range(model.config.n_layers)
    ]
    return HeadWeights(*(torch.stack(parts) for parts in zip(*layers, strict=True)))


@torch.no_grad()
def layer_weights(
    model: HookedGPT, layer: int, *, fold_norm: bool = True, dtype: torch.dtype | None = None
) -> HeadWeights:
    """The same for the heads of one layer, without the layer axis."""
    block, wide = model.blocks[layer], dtype or widened(model.W_E).dtype
    weights = [getattr(block.attn, name).to(wide) for name in HeadWeights._fields]
    if fold_norm and model.config.norm == "pre":
        for place in range(3):
            scaled = weights[place] * block.ln1.w.to(wide)[:, None]
            weights[place] = scaled - scaled.mean(-2, keepdim=True)
    return HeadWeights(*weights)


@torch.no_grad()
def token_inputs(
    model: HookedGPT, layer: int, tokens: Int[Tensor, " token"], dtype: torch.dtype | None = None
) -> Float[Tensor, "token d_model"]:
    """What a head of this layer reads of tokens that stand alone, the norm's weight left out.

    The norm's weight is in `head_weights`.

    Args:
        model: any model.
        layer: 0 for the embedding; any later one for embedding and first MLP.
        tokens: token ids.
        dtype: of the result; the model's by default, float32 where it is of half precision.

    Cost: for later layers one pass of the tokens through the first MLP.
    """
    stream = model.W_E[tokens][None]  # one prompt of tokens that do not see each other
    norm, first = model.config.norm, model.blocks[0]
    if layer > 0 and norm == "post":
        stream = first.ln1(stream)
    if layer > 0 and not model.config.attn_only:
        stream = stream + first.mlp(first.ln2(stream) if norm == "pre" else stream)
        stream = first.ln2(stream) if norm == "post" else stream
    stream = stream[0].to(dtype) if dtype else widened(stream[0])
    if norm != "pre":
        return stream
    return torch.nn.functional.layer_norm(stream, stream.shape[-1:], eps=model.config.eps)


def before_unembedding(
    model: HookedGPT, written: Float[Tensor, "*vector d_model"]
) -> Float[Tensor, "*vector d_model"]:
    """What the unembedding reads of vectors in the stream, the final norm's scale left out."""
    if model.config.norm != "pre":
        return written
    return (written - written.mean(-1, keepdim=True)) * model.ln_final.w.to(written)


@torch.no_grad()
def token_outputs(
    model: HookedGPT, tokens: Int[Tensor, " token"], dtype: torch.dtype | None = None
) -> Float[Tensor, "d_model token"]:
    """How the logits of these tokens are read from the stream, the final norm's scale left out."""
    rows = model.W_U.T[tokens]
    rows = rows.to(dtype) if dtype else widened(rows)
    if model.config.norm == "pre":
        rows = rows * model.ln_final.w.to(rows)
        rows = rows - rows.mean(-1, keepdim=True)
    return rows.T


def vocabulary(model: HookedGPT) -> Int[Tensor, " d_vocab"]:
    """All token ids, where the weights are."""
    return torch.arange(model.config.d_vocab, device=model.W_E.device)


def in_chunks(tokens: Int[Tensor, " token"]) -> Iterator[Int[Tensor, " _chunk"]]:
    """The tokens, a few thousand at a time, so that no second embedding is held."""
    yield from tokens.split(TOKENS_AT_ONCE)


def layer_groups(model: HookedGPT) -> list[list[int]]:
    """Layers whose heads read the same token vectors: the first, and all later ones."""
    layers = list(range(model.config.n_layers))
    return [group for group in (layers[:1], layers[1:]) if group]


@torch.no_grad()
def token_circuit(
    model: HookedGPT, layer: int, head: int, name: str, tokens: Int[Tensor, " token"] | None = None
) -> FactoredMatrix:
    """A head's circuit over tokens, by factors: `[token, d_vocab]`, rows as in `circuit`.

    QK scores are divided as the model divides them. Both sides are over the given tokens for QK,
    and for OV the rows are; its columns are the logits of all tokens.

    Args:
        model: any model.
        layer: of the head.
        head: its number.
        name: "QK" or "OV".
        tokens: the source or query tokens; all by default.

    Cost: `2 d_vocab d_model d_head` multiplications; memory `2 d_vocab d_model` numbers at most.
    """
    circuit = layer_weights(model, layer).circuit(name)
    left, right = circuit.A[head], circuit.B[head]
    words = vocabulary(model) if tokens is None else tokens
    rows = token_inputs(model, layer, words)
    if name == "OV":
        return FactoredMatrix(rows @ left, right @ token_outputs(model, vocabulary(model)))
    scale = model.blocks[layer].attn.scale
    return FactoredMatrix(scale * (rows @ left), right @ rows.T)


@torch.no_grad()
def token_table(
    model: HookedGPT,
    layer: int,
    head: int,
    name: str,
    tokens: Int[Tensor, " token"],
    k: int = 5,
    among: Int[Tensor, " word"] | None = None,
) -> pd.DataFrame:
    """What each of these tokens makes most likely (OV), or looks for most (QK).

    Args:
        model: any model.
        layer: of the head.
        head: its number.
        name: "QK" or "OV".
        tokens: source or query tokens.
        k: so many of the best.
        among: tokens that may be promoted or looked for; all by default.

    Returns:
        One row per token and place: `token`, `place` (1 is the best), `best` (id), `value` (logit
        or score, biases left out), `own_rank` (place of the token itself).
    """
    columns = vocabulary(model) if among is None else among
    circuit = layer_weights(model, layer).circuit(name)
    rows = token_inputs(model, layer, tokens) @ circuit.A[head]
    if name == "OV":
        values = rows @ (circuit.B[head] @ token_outputs(model, columns))
    else:
        values = rows @ (circuit.B[head] @ token_inputs(model, layer, columns).T)
        values = values * model.blocks[layer].attn.scale
    own = torch.where(columns == tokens[:, None], values, -torch.inf).amax(-1, keepdim=True)
    own_rank = 1 + (values > own).sum(-1)
    best = values.topk(min(k, len(columns)), dim=-1)
    made = []
    for place, token in enumerate(tokens.tolist()):
        pairs = zip(columns[best.indices[place]].tolist(), best.values[place].tolist(), strict=True)
        made += [
            (token, rank, word, value, int(own_rank[place]))
            for rank, (word, value) in enumerate(pairs, start=1)
        ]
    return pd.DataFrame(made, columns=["token", "place", "best", "value", "own_rank"])


@torch.no_grad()
def self_matching(
    model: HookedGPT, words: Int[Tensor, " word"], n_null: int = 16, seed: int = 0
) -> pd.DataFrame:
    """Does a token look for itself? The QK circuit of every head, over the words given.

    Args:
        model: any model; norms, positions and biases as in the module.
        words: query and key tokens.
        n_null: random circuits with the same singular values, shared by the heads.
        seed: of the random circuits.

    Returns:
        One row per head: `layer`, `head`, `self_top1` (share of words that score themselves
        highest), `self_z` ((mean of the diagonal - mean of all) / standard deviation of all),
        `self_top1_null`, `self_z_null_low`, `self_z_null_high` (mean; 2.5 and 97.5 %), `n`.

    Cost: `(1 + n_null) words² d_head` multiplications per head.
    """
    generator = torch.Generator().manual_seed(seed)
    d_model, rank = model.config.d_model, min(model.config.d_model, model.config.d_head)
    like = widened(model.W_E[:0])
    frames = [
        [
            torch.linalg.qr(torch.randn(d_model, rank, generator=generator))[0].to(like)
            for _ in range(2)
        ]
        for _ in range(n_null)
    ]
    rows = []
    for layer in range(model.config.n_layers):
        x = token_inputs(model, layer, words)
        circuit = layer_weights(model, layer).circuit("QK")
        values = circuit.singular_values
        for head in range(len(values)):
            top, z = _on_diagonal(x @ circuit.A[head] @ circuit.B[head] @ x.T)
            null = [_on_diagonal(x @ a * values[head] @ (x @ b).T) for a, b in frames]
            tops, zs = np.array(null).T
            low, high = np.quantile(zs, [0.025, 0.975])
            rows.append((layer, head, top, z, tops.mean(), low, high, len(words)))
    names = ["layer", "head", "self_top1", "self_z", "self_top1_null"]
    return pd.DataFrame(rows, columns=[*names, "self_z_null_low", "self_z_null_high", "n"])


def _on_diagonal(scores: Float[Tensor, "word word"]) -> tuple[float, float]:
    own = scores.diagonal()
    top = (scores >= own[:, None]).sum(-1) == 1
    spread = scores.double().std(correction=0)
    z = (own.double().mean() - scores.double().mean()) / spread if spread > 0 else spread
    return float(top.double().mean()), float(z)
