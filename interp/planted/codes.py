"""Positions as exact code words: any look back by a fixed distance is one rotation.

Frequencies `w_k = pi (k - 1/2) / m`, k = 1..m, and the code of position i is
`[cos(w_k i), sin(w_k i)] / sqrt(m)`. Two codes have the dot product
`(1/m) sum_k cos(w_k (i - j)) = sin(pi d) / (2 m sin(pi d / 2m))` with `d = i - j`, which is 1 for
d = 0 and exactly 0 for every other whole d below 2m: the orthogonality of the DCT-II.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def position_code(n_ctx: int, m: int) -> Float[Tensor, "n_ctx code"]:
    """The code words of positions 0 to `n_ctx - 1`, orthonormal rows of width `2m`, float64."""
    angle = torch.arange(n_ctx, dtype=torch.float64)[:, None] * _frequencies(m)
    return torch.cat((angle.cos(), angle.sin()), dim=1) / math.sqrt(m)


def shift(lag: int, m: int) -> Float[Tensor, "code code"]:
    """The rotation that moves codes on: the code of i times it is the code of `i + lag`."""
    angle = lag * _frequencies(m)
    cos, sin = angle.cos().diag(), angle.sin().diag()
    return torch.cat((torch.cat((cos, sin), 1), torch.cat((-sin, cos), 1)))


def _frequencies(m: int) -> Float[Tensor, " m"]:
    return math.pi * (torch.arange(1, m + 1, dtype=torch.float64) - 0.5) / m
