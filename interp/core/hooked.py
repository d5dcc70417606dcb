"""What every hooked model has: its named points, hooks that go away by themselves, recording."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Self

from torch import Tensor, nn

from interp.core.errors import InputError
from interp.core.hooks import Hook, HookPoint, Where, find_points

Entries = dict[str, Tensor | Callable[[], Tensor]]


class Hooked(nn.Module):
    """A module whose forward pass goes through named points, kept in `_points` in their order."""

    _points: dict[str, HookPoint]

    @property
    def hook_names(self) -> list[str]:
        """All hook points, in the order in which a pass reaches them."""
        return list(self._points)

    @contextmanager
    def hooks(
        self,
        fwd_hooks: Sequence[tuple[Where, Hook]] = (),
        bwd_hooks: Sequence[tuple[Where, Hook]] = (),
    ) -> Iterator[Self]:
        """Hooks for the length of a `with` block, gone after it, also after an exception.

        Blocks may be nested; outer hooks run first. Each takes off its own hooks and no others, in
        whatever order they end.

        Args:
            fwd_hooks: pairs of a hook name (or a predicate on names) and a function
                `fn(activation, hook)`, which may return a replacement.
            bwd_hooks: the same for the gradient with respect to the activation. Works with frozen
                weights too: the graph then starts at the first of these points. A backward pass
                over a graph made inside the block still meets its hooks after the block.

        Raises:
            InputError: a name does not exist (the nearest ones are named); no hook is set then.
        """
        for where, fn in (*fwd_hooks, *bwd_hooks):
            if not callable(fn):
                raise InputError(
                    f"The hook on {where} is a {type(fn).__name__}; expected a function of the "
                    "activation and the hook point."
                )
        found = [
            (getattr(point, kind), partial(fn))  # an object of its own: a hook may be set twice
            for kind, pairs in (("forward_hooks", fwd_hooks), ("backward_hooks", bwd_hooks))
            for where, fn in pairs
            for point in find_points(self._points, where)
        ]
        try:
            for hooks, fn in found:
                hooks.append(fn)
            yield self
        finally:
            for hooks, fn in found:
                hooks.remove(fn)

    @contextmanager
    def _recording(
        self, points: list[HookPoint], keep: Callable[[str, Tensor], Tensor] | None = None
    ) -> Iterator[Entries]:
        """Fills a dictionary with what passes these points; `keep` cuts each value down."""
        entries: Entries = {}

        def record(name: str, value: Tensor | Callable[[], Tensor]) -> None:
            if keep is not None:
                value = keep(name, value if isinstance(value, Tensor) else value())
            entries[name] = value

        outer = [point.record for point in points]
        try:
            for point in points:
                point.record = record
            yield entries
        finally:
            for point, before in zip(points, outer, strict=True):
                point.record = before

    def _recorded(self, names: Where | Sequence[Where] | None) -> list[HookPoint]:
        if names is None:
            return [p for p in self._points.values() if not p.name.endswith("hook_result")]
        wheres = [names] if isinstance(names, str) or callable(names) else list(names)
        found = {p.name: p for where in wheres for p in find_points(self._points, where)}
        if not found:
            raise InputError("names is an empty list: name the activations, or leave it out.")
        return list(found.values())
