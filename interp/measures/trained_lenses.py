"""Lenses that are fitted on text: an affine map, a shift, or the mean Jacobian, for each depth.

All translate the stream of a depth to what the last depth would hold, and all are the identity at
the last depth. What they are fitted on and what they are judged on must be different documents.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError
from interp.measures.lenses import Depth, LogitLens, depths_of, layer_depths, unembedded

KINDS = ("tuned lens", "bias-only lens", "Jacobian lens")
_LOGIT_BYTES = 32 * 2**20  # logits whose gradients are formed together


class TranslatedLens(LogitLens):
    """A lens that translates the stream: h + h @ change + shift, then norm and unembedding.

    Args:
        model: whose streams it reads.
        name: one of `KINDS`.
        depths: indices into `depths_of(model)` that it translates.
        change: added to the identity, for a row vector; None for no change.
        shift: added; None for none.

    Raises:
        InputError: shapes that do not fit the model or the depths.
    """

    def __init__(
        self,
        model: HookedGPT,
        name: str,
        depths: Sequence[int],
        change: Float[Tensor, "depth d_model d_model"] | None = None,
        shift: Float[Tensor, "depth d_model"] | None = None,
    ) -> None:
        super().__init__(model)
        n, d_model = len(depths), model.config.d_model
        for what, tensor, shape in (
            ("change", change, (n, d_model, d_model)),
            ("shift", shift, (n, d_model)),
        ):
            if tensor is not None and tuple(tensor.shape) != shape:
                raise InputError(
                    f"the {name}'s {what} has shape {tuple(tensor.shape)}, but {n} depths of "
                    f"{model.name} need {shape}; was it fitted on another model?"
                )
        last = depths_of(model)[-1].index
        if any(not 0 <= depth < last for depth in depths):
            raise InputError(
                f"the {name} translates depths {list(depths)}, but those of {model.name} before "
                f"the end run from 0 to {last - 1}"
            )
        self.name, self.depths, self.change, self.shift = name, tuple(depths), change, shift
        self._last = last

    def translated(
        self, stream: Float[Tensor, "row d_model"], depth: Depth
    ) -> Float[Tensor, "row d_model"]:
        """The stream as the last depth would hold it.

        Raises:
            InputError: the lens was not fitted at this depth.
        """
        if depth.index == self._last:
            return stream
        if depth.index not in self.depths:
            raise InputError(
                f"the {self.name} was not fitted at depth {depth.index} ({depth.label}); it knows "
                f"{', '.join(map(str, self.depths))} and {self._last} (the end)"
            )
        row = self.depths.index(depth.index)
        moved = stream if self.change is None else stream + stream @ self.change[row]
        return moved if self.shift is None else moved + self.shift[row]


# ------------------------------------------------------------------------------------ tuned lens


def fit_lens(
    model: HookedGPT,
    tokens: Int[Tensor, "batch pos"],
    kind: Literal["tuned lens", "bias-only lens"] = "tuned lens",
    *,
    depths: Sequence[int] | None = None,
    n_steps: int = 200,
    rows_per_step: int = 128,
    lr: float = 0.1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TranslatedLens:
    """Fits a translation for each depth so that its answer comes close to the model's.

    Minimises KL(model ‖ lens) on positions drawn from the text, by Adam with a learning rate that
    falls to 0. The affine map starts as the identity. The bias-only lens is fitted in the same
    way, on the same positions in the same order, with the shift alone.

    Args:
        model: any HookedGPT; its weights stay as they are.
        tokens: text to fit on.
        kind: "tuned lens" (matrix and shift) or "bias-only lens" (shift).
        depths: indices into `depths_of(model)`; those between blocks unless given.
        n_steps: steps of Adam.
        rows_per_step: positions in a step.
        lr: first learning rate of the shift, relative to the size of a coordinate of the stream;
            that of the matrix is a tenth of it.
        seed: of the positions drawn.
        progress: called with steps done and steps in all.

    Raises:
        InputError: a kind or a depth that does not exist.

    Cost: a step costs `6 * d_model * d_vocab` operations per depth and position drawn. Memory: the
    streams of the text at all depths, and 16 bytes per fitted parameter (`d_model**2` for each
    depth).

    Source: Belrose et al. 2023, arXiv:2303.08112 (their optimiser is SGD with momentum).
    """
    if kind not in KINDS[:2]:
        raise InputError(f"a lens is fitted as {' or '.join(map(repr, KINDS[:2]))}, not {kind!r}")
    chosen = _before_the_end(model, depths)
    streams, final = _streams(model, tokens, chosen)
    d_model = model.config.d_model
    # In units of each depth's own coordinates, so that one rate serves all depths and models.
    size = streams.pow(2).mean((1, 2)).sqrt().clamp(min=1e-12)
    change = torch.zeros(len(chosen), d_model, d_model, device=final.device)
    shift = torch.zeros(len(chosen), d_model, device=final.device)
    groups = [{"params": [shift.requires_grad_()], "lr": lr}]
    if kind == KINDS[0]:
        groups.append({"params": [change.requires_grad_()], "lr": lr / 10})
    adam = torch.optim.Adam(groups, betas=(0.9, 0.98))
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, n_steps)
    generator = torch.Generator().manual_seed(seed)
    for step in range(n_steps):
        rows = torch.randint(0, len(final), (rows_per_step,), generator=generator)
        _add_gradients(model, streams[:, rows], final[rows], change, shift, size)
        adam.step()
        falling.step()
        adam.zero_grad()
        if progress is not None:
            progress(step + 1, n_steps)
    dtype = model.W_E.dtype
    return TranslatedLens(
        model, kind, chosen,
        change.detach().to(dtype) if kind == KINDS[0] else None,
        (shift.detach() * size[:, None]).to(dtype),
    )  # fmt: skip


def _before_the_end(model: HookedGPT, depths: Sequence[int] | None) -> list[int]:
    known = depths_of(model)
    if depths is None:
        return layer_depths(model)[:-1]
    if not len(depths) or any(not 0 <= depth < len(known) - 1 for depth in depths):
        raise InputError(
            f"depths {list(depths)} to fit a lens at, but those before the end run from 0 to "
            f"{len(known) - 2}"
        )
    return list(depths)


@torch.no_grad()
def _streams(
    model: HookedGPT, tokens: Int[Tensor, "batch pos"], depths: Sequence[int]
) -> tuple[Float[Tensor, "depth row d_model"], Float[Tensor, "row d_model"]]:
    """Streams at the depths and at the end, float32."""
    known = depths_of(model)
    hooks = [*(known[depth].hook for depth in depths), known[-1].hook]
    parts = []
    for start in range(0, len(tokens), 16):
        _, cache = model.run_with_cache(tokens[start : start + 16], hooks, return_type=None)
        parts.append(torch.stack([cache[h].flatten(0, 1).float() for h in hooks]))
    joined = torch.cat(parts, 1)
    return joined[:-1], joined[-1]


def _add_gradients(
    model: HookedGPT,
    streams: Float[Tensor, "depth row d_model"],
    final: Float[Tensor, "row d_model"],
    change: Float[Tensor, "depth d_model d_model"],
    shift: Float[Tensor, "depth d_model"],
    size: Float[Tensor, " depth"],
) -> None:
    """Gradients of the mean KL over rows, summed over depths, a few depths at a time."""
    with torch.no_grad():
        truth = _answers(model, final[None])[0].exp()
    at_a_time = max(1, _LOGIT_BYTES // (truth.numel() * truth.element_size()))
    for start in range(0, len(streams), at_a_time):
        part = slice(start, start + at_a_time)
        moved = streams[part] + (shift[part] * size[part, None])[:, None]
        if change.requires_grad:
            moved = moved + streams[part] @ change[part]
        cross_entropy = -(truth * _answers(model, moved)).sum(-1).mean(-1).sum()
        cross_entropy.backward()


def _answers(
    model: HookedGPT, streams: Float[Tensor, "depth row d_model"]
) -> Float[Tensor, "depth row d_vocab"]:
    """Log-probabilities in float32."""
    if model.config.norm == "pre":
        norm = model.ln_final
        streams = F.layer_norm(streams, norm.w.shape, norm.w.float(), norm.b.float(), norm.eps)
    logits = unembedded(model, streams.flatten(0, 1).to(model.W_E.dtype)).float()
    return logits.log_softmax(-1).view(*streams.shape[:2], -1)


# --------------------------------------------------------------------------------- Jacobian lens


def jacobian_lens(
    model: HookedGPT,
    tokens: Int[Tensor, "batch pos"],
    *,
    depths: Sequence[int] | None = None,
    skip_first: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> TranslatedLens:
    """The lens W_U norm(J h), with J the mean derivative of the last stream by that of a depth.

    J = E over prompts and source positions t of the sum over positions t' >= t of
    d h_final[t'] / d h_depth[t].

    Args:
        model: any HookedGPT.
        tokens: text over which the derivatives are averaged.
        depths: indices into `depths_of(model)`; those between blocks unless given.
        skip_first: leading positions left out on both sides: attention rests there, and their
            streams are unlike all others.
        progress: called with coordinates done and coordinates in all.

    Raises:
        InputError: a depth that does not exist, or no position left.

    Cost: one forward pass and `d_model` backward passes of the text; memory of one pass with all
    its activations.

    Source: Gurnee et al. 2026, "Verbalizable representations form a global workspace in language
    models" (transformer-circuits.pub); targets are summed and sources averaged, as there.
    """
    chosen = _before_the_end(model, depths)
    if tokens.shape[1] <= skip_first:
        raise InputError(f"prompts of {tokens.shape[1]} tokens, of which {skip_first} are skipped")
    known = depths_of(model)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, known[0].hook, return_type=None)
    start = cache[known[0].hook].clone().requires_grad_()
    with torch.enable_grad():
        names = [known[depth].hook for depth in chosen]
        _, cache = model.run_with_cache(
            start, [*names, known[-1].hook], start_at_layer=0, return_type=None
        )
        streams = [cache[name] for name in names]
        ends = cache[known[-1].hook][:, skip_first:].sum((0, 1))
    d_model, n_sources = model.config.d_model, tokens[:, skip_first:].numel()
    change = start.new_zeros(len(chosen), d_model, d_model)
    for coordinate in range(d_model):
        grads = torch.autograd.grad(ends[coordinate], streams, retain_graph=True)
        for row, grad in enumerate(grads):
            change[row, :, coordinate] = grad[:, skip_first:].sum((0, 1)) / n_sources
        if progress is not None:
            progress(coordinate + 1, d_model)
    change -= torch.eye(d_model, dtype=change.dtype, device=change.device)
    return TranslatedLens(model, KINDS[2], chosen, change)
