"""Who may attend to whom.

A mask is a boolean matrix `query_pos key_pos`, True where the query may attend to the key. It is
written as a short text (a spec) in a config and on the command line:

    causal        itself and what came before
    none          every position, later ones too
    window:8      itself and the 7 positions before it
    window:8+2    the same, and the first 2 positions (sink tokens; Xiao et al. 2023, 2309.17453)
    prefix:5      causal, but the first 5 positions see each other both ways
"""

import re
from functools import lru_cache

import torch
from jaxtyping import Bool
from torch import Tensor

from interp.core.errors import InputError

_SPEC = re.compile(r"causal|none|window:[1-9]\d{0,8}(\+\d{1,9})?|prefix:\d{1,9}")


def check_mask_spec(spec: object) -> None:
    """Raise InputError unless `spec` is one of the texts that the module describes."""
    if not isinstance(spec, str) or not _SPEC.fullmatch(spec):
        came = " ".join(repr(spec).split())  # an array's text runs over several lines
        raise InputError(
            f"{came if len(came) <= 80 else f'{came[:77]}...'} is not a mask; expected causal, "
            "none, window:WIDTH, window:WIDTH+SINKS or prefix:LENGTH, such as window:8+1."
        )


def causal_mask(n_pos: int) -> Bool[Tensor, "query_pos key_pos"]:
    """Each position sees itself and what came before it."""
    return torch.ones(n_pos, n_pos, dtype=torch.bool).tril()


def no_mask(n_pos: int) -> Bool[Tensor, "query_pos key_pos"]:
    """Each position sees every position."""
    return torch.ones(n_pos, n_pos, dtype=torch.bool)


def window_mask(n_pos: int, width: int, sinks: int = 0) -> Bool[Tensor, "query_pos key_pos"]:
    """Each position sees the last `width` positions, itself among them, and the first `sinks`."""
    causal = causal_mask(n_pos)
    recent = causal.triu(1 - width)
    return recent | (causal & (torch.arange(n_pos) < sinks))


def prefix_mask(n_pos: int, length: int) -> Bool[Tensor, "query_pos key_pos"]:
    """Causal, except that the first `length` positions see each other both ways."""
    inside = torch.arange(n_pos) < length
    return causal_mask(n_pos) | (inside[:, None] & inside[None, :])


@lru_cache(maxsize=256)
def mask_from_spec(spec: str, n_pos: int) -> Bool[Tensor, "query_pos key_pos"]:
    """The matrix of a spec at a length; shared between calls, so it must not be written to."""
    check_mask_spec(spec)
    kind, _, argument = spec.partition(":")
    if kind == "causal":
        return causal_mask(n_pos)
    if kind == "none":
        return no_mask(n_pos)
    if kind == "prefix":
        return prefix_mask(n_pos, int(argument))
    width, _, sinks = argument.partition("+")
    return window_mask(n_pos, int(width), int(sinks or 0))
