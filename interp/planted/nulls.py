"""Models in which nothing is planted, to count what a detector finds all the same.

No head of theirs does anything on purpose. Small systematic preferences are real even so: random
position embeddings make a head favour some distances, and BOS is a token like any other, which a
random head may favour. A detector must call none of that a role; its smallest effect of interest is
what keeps it from doing so.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from interp.core import GPTConfig, HookedGPT, InitScales
from interp.corpus import WordTokenizer
from interp.planted.answers import AnswerKey, Family, HeadAnswer
from interp.planted.board import Planted
from interp.planted.lexicon import build_lexicon
from interp.planted.prompts import periods


def random_model(
    *,
    d_vocab: int = 32,
    n_ctx: int = 32,
    n_layers: int = 2,
    n_heads: int = 8,
    d_head: int = 16,
    d_model: int = 64,
    loudness: float = 1.0,
    positions: str = "learned",
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Planted:
    """A GPT with random weights, and a key that says so.

    Args:
        d_vocab: token types.
        n_ctx: longest prompt.
        n_layers: blocks, pre-norm, with an MLP.
        n_heads: heads per layer.
        d_head: width of a head.
        d_model: width of the stream.
        loudness: standard deviation of queries and keys, so that scores have its square. 1 gives
            patterns as varied as those of a trained model; GPT-2's own start is near
            `0.02 * sqrt(d_model)`, with all patterns close to even.
        positions: "learned", or "none" for a model that cannot favour a distance.
        seed: of the weights.
        dtype: of the model.
    """
    config = GPTConfig(
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        n_ctx=n_ctx,
        d_vocab=d_vocab,
        d_head=d_head,
        positions=positions,
        tied=False,
    )
    wide = 1 / math.sqrt(d_model)
    init = InitScales(
        token=1.0, position=0.5, qkv=loudness * wide, mlp_in=wide, residual=wide / loudness
    )
    model = HookedGPT(config, dtype=dtype, seed=seed, init=init).requires_grad_(False).eval()
    lexicon, words = build_lexicon((), d_vocab)
    model.name, model.tokenizer = f"random:{seed}", WordTokenizer(words)
    model.provenance = {"source": "random", "seed": seed}
    families = {"random": Family("random", seed=seed)} | {
        f"repeated_{n}": Family("repeated", seed=seed, options={"period": n})
        for n in periods(n_ctx, d_vocab)
    }
    key = AnswerKey((), d_vocab, n_ctx, 0, lexicon, families=families)
    return Planted(model, _nothing(key, model), (1.0,) * n_layers)


@torch.no_grad()
def shuffled_weights(planted: Planted, seed: int = 0) -> Planted:
    """A plant whose weights change places: each has the same numbers, and means nothing.

    The entries of each matrix are permuted, each head's by themselves, embeddings and unembedding
    too; biases keep theirs within their vector. The prompts of the key stay.
    """
    generator = torch.Generator().manual_seed(seed)
    old = planted.model
    model = HookedGPT(old.config, dtype=old.W_E.dtype, init=None)
    model.load_state_dict(old.state_dict())
    model.requires_grad_(False).eval()

    def mix(weight: Tensor) -> None:
        order = torch.randperm(weight.numel(), generator=generator)
        weight.copy_(weight.flatten()[order].view(weight.shape))

    mix(model.embed.W_E)
    if model.config.positions == "learned":
        mix(model.pos_embed.W_pos)
    mix(model.unembed.W_U)
    for block in model.blocks:
        for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
            for head in range(model.config.n_heads):
                mix(getattr(block.attn, name)[head])
        if not model.config.attn_only:
            for weight in (block.mlp.W_in, block.mlp.b_in, block.mlp.W_out):
                mix(weight)
    model.name, model.tokenizer = f"{old.name}/shuffled", old.tokenizer
    model.provenance = {**old.provenance, "shuffled": seed}
    return replace(planted, model=model, key=_nothing(planted.key, model))


def _nothing(key: AnswerKey, model: HookedGPT) -> AnswerKey:
    heads = tuple(
        HeadAnswer(layer, head, plant="none", part="none")
        for layer in range(model.config.n_layers)
        for head in range(model.config.n_heads)
    )
    return replace(key, recipes=(), heads=heads, edges=(), facts=(), directions={})
