"""Prompts in two versions, and which of their positions correspond."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from interp.core import InputError
from interp.measures.branches import BaseRun

Direction = Literal["denoise", "noise"]


@dataclass(frozen=True)
class Pairs:
    """Prompts in two versions, token by token alike where they are not meant to differ.

    Attributes:
        clean: the prompts.
        corrupted: their other versions, of the same length unless `aligned` is given.
        unit: what was drawn independently (template or prompt), for intervals; each prompt by
            default.
        aligned: for versions of different lengths: which position of the corrupted prompts
            corresponds to a position of the clean ones, for all prompts alike. Positions that have
            no partner keep their own values whatever is patched.

    Raises:
        InputError: lengths or numbers differ, a pair does not differ at all, or the alignment names
            a position that does not exist, names one twice, or joins nothing that differs.
    """

    clean: Int[Tensor, "prompt pos"]
    corrupted: Int[Tensor, "_prompt _pos"]
    unit: np.ndarray | None = None
    aligned: Mapping[int, int] | None = None

    def __post_init__(self) -> None:
        clean, corrupted = tuple(self.clean.shape), tuple(self.corrupted.shape)
        if self.aligned is not None:
            self._check_alignment()
        elif clean != corrupted:
            raise InputError(
                f"clean prompts have shape {clean}, corrupted ones {corrupted}; patching puts the "
                "activation of one position in the place of another, so both must be equally "
                "long: replace words by words of as many tokens, or give `aligned` the positions "
                "that correspond"
            )
        same = self.first_changes("noise") < 0
        if same.any():
            prompt = int(same.nonzero()[0])
            what = "is the same in both versions" if self.aligned is None else (
                "is the same in both versions as far as they are aligned"
            )  # fmt: skip
            raise InputError(f"prompt {prompt} {what}, so there is nothing to patch")
        if self.unit is not None and len(self.unit) != len(self.clean):
            raise InputError(f"{len(self.unit)} units came for {len(self.clean)} prompts")

    def _check_alignment(self) -> None:
        if len(self.clean) != len(self.corrupted):
            raise InputError(
                f"{len(self.clean)} clean prompts came with {len(self.corrupted)} corrupted ones"
            )
        sides = {"clean": list(self.aligned), "corrupted": list(self.aligned.values())}
        for name, positions in sides.items():
            n_pos = getattr(self, name).shape[1]
            for pos in positions:
                if not 0 <= pos < n_pos:
                    raise InputError(
                        f"`aligned` names position {pos} of the {name} prompts, which have 0 to "
                        f"{n_pos - 1}"
                    )
            if len(set(positions)) < len(positions):
                raise InputError(f"`aligned` names a position of the {name} prompts twice")

    @property
    def units(self) -> np.ndarray:
        """The unit of each prompt."""
        return np.arange(len(self.clean)) if self.unit is None else np.asarray(self.unit)

    def partners(self, direction: Direction) -> Int[Tensor, " pos"]:
        """For each position of the patched prompts that of the others, or -1 if it has none."""
        base = self.clean if direction == "noise" else self.corrupted
        if self.aligned is None:
            return torch.arange(base.shape[1])
        found = torch.full((base.shape[1],), -1)
        for of_clean, of_corrupted in self.aligned.items():
            if direction == "noise":
                found[of_clean] = of_corrupted
            else:
                found[of_corrupted] = of_clean
        return found

    def first_changes(self, direction: Direction) -> Int[Tensor, " prompt"]:
        """The first position of each patched prompt whose partner may differ by causality.

        That is one that stands elsewhere, or not before the first differing token; -1 if there is
        none.
        """
        partner = self.partners(direction).to(self.clean.device)
        here = torch.arange(len(partner), device=partner.device)
        n = min(self.clean.shape[1], self.corrupted.shape[1])
        alike = (self.clean[:, :n] == self.corrupted[:, :n]).long().cumprod(1).sum(1)
        changed = (partner >= 0) & ((partner != here) | (here >= alike[:, None]))
        return torch.where(changed.any(1), changed.long().argmax(1), -1)


class AlignedRun:
    """A run's activations at the positions of another one; where it has none, the other's own.

    Args:
        base: the run whose positions count.
        source: the run whose activations are wanted.
        partners: for each position of the base its partner in the source, or -1.

    Memory: a copy of all that a `BaseRun` holds.
    """

    def __init__(self, base: BaseRun, source: BaseRun, partners: Int[Tensor, " pos"]) -> None:
        here = (partners >= 0).nonzero()[:, 0]

        def joined(own: Tensor, other: Tensor) -> Tensor:
            found = own.clone()
            found[:, here] = other[:, partners[here]]
            return found

        for name in ("pre", "mid", "post", "q", "k", "v", "z"):
            layers = zip(getattr(base, name), getattr(source, name), strict=True)
            setattr(self, name, [joined(own, other) for own, other in layers])
