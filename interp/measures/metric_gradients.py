"""Gradients of a metric with respect to any activation, prompt by prompt, weights untouched."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT
from interp.measures.patching import Metric, read_metric


def metric_gradients(
    model: HookedGPT,
    metric: Metric,
    stream: Float[Tensor, "row pos d_model"],
    prompts: Int[Tensor, " row"],
    names: Sequence[str],
    *,
    dropped: Sequence[int | None] = (None,),
) -> tuple[
    Float[Tensor, " row"],
    dict[str, Float[Tensor, "row ..."]],
    dict[str, Float[Tensor, "drop row ..."]],
]:
    """Runs the blocks on a stream and follows the metric back to activations.

    Args:
        model: any HookedGPT; no gradient is left on its weights.
        metric: what is differentiated, for each row by itself.
        stream: what enters the first block (`model(tokens, stop_at_layer=0)`), or something else
            in its place.
        prompts: of each row, for the metric.
        names: hook points inside the blocks.
        dropped: a backward pass for each entry; a layer through whose attention and MLP output no
            gradient passes in it, or None.

    Returns:
        The metric of each row; by hook name the activations; and by hook name the metric's
        gradients, one for each entry of `dropped`.

    Cost: a forward pass and `len(dropped)` backward passes. Memory: the graph of the forward pass,
    about `row * pos * (18 * d_model + 3 * d_mlp)` numbers per layer.
    """
    kept: dict[str, Tensor] = {}
    closed: list[int | None] = [None]

    def keep(activation: Tensor, point) -> None:
        kept[point.name] = activation.requires_grad_()

    hooks = [(name, keep) for name in names]
    doors = []
    if any(layer is not None for layer in dropped):
        doors = [
            (f"blocks.{layer}.hook_{write}", _door(layer, closed))
            for layer in range(model.config.n_layers)
            for write in (("attn_out",) if model.config.attn_only else ("attn_out", "mlp_out"))
        ]
    with torch.enable_grad(), model.hooks(hooks, doors):
        # The graph must start somewhere even if no weight asks for gradients.
        start = stream.detach().requires_grad_()
        end = model(start, start_at_layer=0, stop_at_layer=model.config.n_layers)
        values = read_metric(model, metric, end[:, list(metric.positions)], prompts)
        total = values.sum()
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for turn, layer in enumerate(dropped):
        closed[0] = layer
        gradients = torch.autograd.grad(
            total,
            [kept[name] for name in names],
            retain_graph=turn < len(dropped) - 1,
            materialize_grads=True,
        )
        for name, gradient in zip(names, gradients, strict=True):
            found[name].append(gradient)
    activations = {name: kept[name].detach() for name in names}
    return values.detach(), activations, {n: torch.stack(each) for n, each in found.items()}


def _door(layer: int, closed: list[int | None]) -> Callable:
    """A hook that lets no gradient through while its layer is the closed one."""

    def hook(gradient: Tensor, _) -> Tensor | None:
        return torch.zeros_like(gradient) if closed[0] == layer else None

    return hook
