"""What a run leaves behind: the activations that were asked for, and keys and values to go on."""

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.core.errors import InputError

if TYPE_CHECKING:
    from interp.core.model import HookedGPT

_IN_BLOCK = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
_IN_ATTN = ("q", "k", "v", "z", "result", "pattern", "attn_scores", "attn_scores_raw")
_IN_MLP = ("pre", "post")
_IN_NORM = ("scale", "normalized")


def hook_name(short: str, layer: int | None = None, norm: str | None = None) -> str:
    """The full hook name of a short one: ("pattern", 3) is "blocks.3.attn.hook_pattern".

    Args:
        short: "resid_pre", "pattern", "q", "embed", ... or a full name, which is returned as is.
        layer: the block; None for embeddings and the final norm.
        norm: "ln1" or "ln2" for "scale" and "normalized" inside a block.

    Raises:
        InputError: the short name needs a layer or a norm that is not given.
    """
    if "hook_" in short:
        return short
    if short in _IN_NORM and layer is None:
        return f"ln_final.hook_{short}"
    if short in ("embed", "pos_embed"):
        return f"hook_{short}"
    if layer is None:
        raise InputError(f"{short!r} lies inside a block: give the layer too.")
    if short in _IN_NORM:
        if norm not in ("ln1", "ln2"):
            raise InputError(f"{short!r} of a block needs norm='ln1' or 'ln2', not {norm!r}.")
        return f"blocks.{layer}.{norm}.hook_{short}"
    for part, names in (("", _IN_BLOCK), ("attn.", _IN_ATTN), ("mlp.", _IN_MLP)):
        if short in names:
            return f"blocks.{layer}.{part}hook_{short}"
    known = ", ".join((*_IN_BLOCK, *_IN_ATTN, *_IN_MLP, *_IN_NORM, "embed", "pos_embed"))
    raise InputError(f"{short!r} is not a short hook name; known: {known}.")


class Deferred:
    """A tensor that is formed when it is asked for, and held only as long as somebody else does.

    Nothing may write to what it depends on.
    """

    def __init__(self, form: Callable[[], Tensor]) -> None:
        self._form = form
        self._formed: Callable[[], Tensor | None] = lambda: None

    def __call__(self) -> Tensor:
        """The tensor; formed again only if the last one is gone."""
        tensor = self._formed()
        if tensor is None:
            tensor = self._form()
            self._formed = weakref.ref(tensor)
        return tensor


class ActivationCache(Mapping[str, Tensor]):
    """The recorded activations by hook name, in the order in which they were computed.

    `cache["blocks.0.attn.hook_pattern"]` and `cache["pattern", 0]` are the same tensor. No later
    hook changes an entry. Entries that are one tensor in the model (`resid_post` and the next
    `resid_pre`) are one tensor here too, so clone before writing to one. What follows
    cheaply from another entry (scores and patterns from queries and keys, `mlp.hook_post` from
    `hook_pre`, norms from the stream) is formed when it is first read, so a cache of everything
    costs little more than the run. Reading all scores and patterns costs
    `3 * batch * n_heads * n_pos**2` numbers per layer.
    """

    def __init__(self, entries: Mapping[str, Tensor | Callable[[], Tensor]]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, key: str | tuple) -> Tensor:
        """An activation by full name, or by short name, layer and norm."""
        name = hook_name(*key) if isinstance(key, tuple) else hook_name(key)
        if name not in self._entries:
            held = ", ".join(list(self._entries)[:4])
            # KeyError is what Mapping promises (`in`, `get`); InputError is what users see.
            raise _Missing(
                f"{name!r} was not recorded; the cache holds {len(self)} activations ({held}"
                f"{', ...' if len(self) > 4 else ''}); ask for it in run_with_cache(names=...)."
            )
        entry = self._entries[name]
        if not isinstance(entry, Tensor):
            entry = self._entries[name] = entry()
        return entry

    def __contains__(self, key: object) -> bool:
        name = hook_name(*key) if isinstance(key, tuple) else key
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        held = [entry for entry in self._entries.values() if isinstance(entry, Tensor)]
        size = sum({t.untyped_storage().data_ptr(): t.nbytes for t in held}.values())
        return f"ActivationCache({len(self)} activations, {size / 2**20:.1f} MiB)"

    def stack(self, short: str, norm: str | None = None) -> Float[Tensor, "layer ..."]:
        """One activation of every layer that was recorded, stacked (a copy).

        Args:
            short: a short name, such as "pattern" or "resid_post".
            norm: "ln1" or "ln2" for "scale" and "normalized".

        Raises:
            InputError: no layer recorded it.
        """
        layers = sorted({int(n.split(".")[1]) for n in self if n.startswith("blocks.")})
        found = [hook_name(short, layer, norm) for layer in layers]
        tensors = [self[name] for name in found if name in self]
        if not tensors:
            raise InputError(f"No layer recorded {short!r}; ask for it in run_with_cache(names=).")
        return torch.stack(tensors)


class _Missing(InputError, KeyError):
    """A name that is not in the cache."""

    # KeyError prints the repr of its message.
    __str__ = InputError.__str__


class KVCache:
    """Keys and values of the tokens seen so far, so that new ones cost only themselves.

    Filled by `model(tokens, kv_cache=cache)`: each call may bring one or many new tokens. Holds
    no autograd graph. Memory: `2 * n_layers * batch * n_ctx * n_heads * d_head` numbers at most;
    it grows in doublings.

    Attributes:
        length: tokens seen so far, pads included.
        attention_mask: which of them are real, `batch pos`; None while all are.
    """

    def __init__(self, model: "HookedGPT") -> None:
        self.length = 0
        self.attention_mask: Bool[Tensor, "batch pos"] | None = None
        self._n_layers = model.config.n_layers
        self._capacity_limit = model.config.n_ctx
        self._keys: list[Tensor | None] = [None] * self._n_layers
        self._values: list[Tensor | None] = [None] * self._n_layers

    @property
    def batch(self) -> int | None:
        """Rows, or None before the first call."""
        return None if self._keys[0] is None else self._keys[0].shape[0]

    def extend(
        self,
        layer: int,
        k: Float[Tensor, "batch pos head d_head"],
        v: Float[Tensor, "batch pos head d_head"],
    ) -> tuple[
        Float[Tensor, "batch key_pos head d_head"], Float[Tensor, "batch key_pos head d_head"]
    ]:
        """Store a layer's new keys and values; returns all of them, old ones first.

        `length` moves only when the whole forward pass is through (`advance`), so that a pass
        that fails half-way leaves the cache as it was.
        """
        return (self._store(self._keys, layer, k), self._store(self._values, layer, v))

    def _store(self, buffers: list[Tensor | None], layer: int, new: Tensor) -> Tensor:
        end = self.length + new.shape[1]
        buffer = buffers[layer]
        # A first call that failed half-way may have left a buffer of another batch size.
        if buffer is None or self.length == 0 or buffer.shape[1] < end:
            capacity = min(max(2 * end, 16), max(self._capacity_limit, end))
            grown = new.new_empty(new.shape[0], capacity, *new.shape[2:])
            if self.length:
                grown[:, : self.length] = buffer[:, : self.length]
            buffer = buffers[layer] = grown.detach()
        buffer[:, self.length : end] = new.detach()
        return buffer[:, :end]

    def advance(self, n_new: int, attention_mask: Bool[Tensor, "batch pos"] | None) -> None:
        """Count the new tokens in, after a complete forward pass."""
        self.length += n_new
        self.attention_mask = attention_mask

    def select(self, rows: Tensor | list[int]) -> "KVCache":
        """A cache of copies of some rows, in that order; rows may repeat (beams, branches)."""
        chosen = object.__new__(KVCache)
        chosen.length, chosen._n_layers = self.length, self._n_layers
        chosen._capacity_limit = self._capacity_limit
        rows = torch.as_tensor(rows)
        chosen.attention_mask = None if self.attention_mask is None else self.attention_mask[rows]
        chosen._keys = [None if t is None else t[rows] for t in self._keys]
        chosen._values = [None if t is None else t[rows] for t in self._values]
        return chosen
