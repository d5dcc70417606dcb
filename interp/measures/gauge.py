"""The same heads in another basis: what a number about a head must not depend on.

`q · k` stays if queries are multiplied by an invertible matrix and keys by its inverse transpose,
and what a head writes stays if `W_V` is multiplied by one and `W_O` by its inverse. So no number
about a single row, column or dimension inside a head says anything about what the head does.
"""

import copy

import torch
from torch import Tensor

from interp.core import HookedGPT


@torch.no_grad()
def with_gauge(model: HookedGPT, seed: int = 0, orthogonal: bool = False) -> HookedGPT:
    """A copy that computes the same with other numbers inside its heads.

    Args:
        model: any model; it shares all weights but those of attention with the copy.
        seed: of the random bases, one for queries and keys and one for values per head.
        orthogonal: rotations only; else invertible matrices with singular values from 1/2 to 2.

    Cost: a copy of the attention weights; `d_model d_head²` per head.
    """
    generator = torch.Generator().manual_seed(seed)
    made = attention_copy(model)
    for block in made.blocks:
        attn = block.attn
        for head in range(attn.n_heads):
            for inner, outer in (("Q", "K"), ("V", None)):
                matrix = _invertible(attn.d_head, generator, orthogonal)
                inverse = torch.linalg.inv(matrix)
                change, back = (part.to(attn.W_QKV) for part in (matrix, inverse))
                _multiply(attn, inner, head, change)
                if outer:
                    _multiply(attn, outer, head, back.T)
                else:
                    attn.W_O[head] = back @ attn.W_O[head]
    return made


def attention_copy(model: HookedGPT) -> HookedGPT:
    """A model with attention weights of its own, which shares all the others."""
    own = {id(p) for block in model.blocks for p in block.attn.parameters()}
    shared = {id(p): p for p in model.parameters() if id(p) not in own}
    shared |= {id(b): b for b in model.buffers()}
    return copy.deepcopy(model, shared)


def _invertible(size: int, generator: torch.Generator, orthogonal: bool) -> Tensor:
    def rotation() -> Tensor:
        drawn = torch.randn(size, size, generator=generator, dtype=torch.float64)
        return torch.linalg.qr(drawn)[0]

    if orthogonal:
        return rotation()
    scales = 2.0 ** (2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1)
    return rotation() * scales @ rotation()


def _multiply(attn: torch.nn.Module, name: str, head: int, matrix: Tensor) -> None:
    weight, bias = getattr(attn, f"W_{name}"), getattr(attn, f"b_{name}")
    weight[head] = weight[head] @ matrix
    bias[head] = bias[head] @ matrix
