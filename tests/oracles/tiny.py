"""A small random model with a distinct prime for every axis, and tokens for it."""

import torch

from interp.core import GPTConfig, HookedGPT, InitScales

# Large enough that attention is far from uniform and every norm matters.
LOUD = InitScales(token=0.7, position=0.5, qkv=0.6, mlp_in=0.4, residual=0.6)

# A distinct prime for every axis; d_head is given, since no prime d_model divides by n_heads.
PRIMES = {
    "n_layers": 3,
    "d_model": 23,
    "n_heads": 5,
    "d_head": 7,
    "d_mlp": 29,
    "n_ctx": 19,
    "d_vocab": 31,
}
BATCH, POS = 2, 11


def tiny_model(dtype=torch.float64, seed=0, **changes):
    """A random float64 model whose norms and biases are random too."""
    model = HookedGPT(GPTConfig(**(PRIMES | changes)), dtype=dtype, seed=seed, init=LOUD)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.split(".")[-1].startswith("b") or name.endswith(".w"):
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=dtype)
    return model.eval().requires_grad_(False)


def tiny_tokens(batch=BATCH, pos=POS, d_vocab=PRIMES["d_vocab"], seed=0):
    return torch.randint(0, d_vocab, (batch, pos), generator=torch.Generator().manual_seed(seed))
