"""Direct logit attribution: which part of the model writes the answer into the stream?

The stream before the final norm is a sum of what embedding, heads, neurons and biases wrote, and a
logit difference reads one direction of it. With the norm's scale held at the run's value the
reading is linear, so every part has a share, and the shares add up to the logit difference
(Elhage et al. 2021; Wang et al. 2022, arXiv:2211.00593).

What a share does not say: what a later part does about it (`interp.measures.erasure` compares the
two), and how the norm's scale would change.

No per-head or per-neuron vector in the stream is ever formed: a direction u is carried back through
`W_O` or `W_out` once, and `z · (W_O u)` is what a head wrote along u.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import ActivationCache, HookedGPT, InputError, hook_name
from interp.measures.logit_differences import (
    TokenIds,
    check_answers,
    check_heads,
    check_prompts,
    logit_directions,
)


def direct_attribution(
    model: HookedGPT,
    tokens: Int[Tensor, "prompt pos"] | Int[Tensor, " pos"],
    target: TokenIds,
    contrast: TokenIds | None = None,
    position: int = -1,
    *,
    n_neurons: int = 0,
) -> pd.DataFrame:
    """Splits a logit difference among everything that writes to the residual stream.

    | component | share of | layer | head | neuron |
    |---|---|---|---|---|
    | `embed`, `pos_embed` | token, position | -1 | -1 | -1 |
    | `head` | a head, its share of `b_V` included | l | h | -1 |
    | `attn_bias` | `b_O` | l | -1 | -1 |
    | `neuron` | one of the `n_neurons` largest | l | -1 | n |
    | `mlp` | all neurons of a layer; `mlp_rest` if some have rows of their own | l | -1 | -1 |
    | `mlp_bias` | `b_out` | l | -1 | -1 |
    | `norm_bias` | the final norm's shift | n_layers | -1 | -1 |
    | `unembed_bias` | `b_U` | n_layers | -1 | -1 |

    Args:
        model: pre-norm or without norms.
        tokens: prompts of one length.
        target: the token whose logit counts; one for all prompts, or one for each.
        contrast: the token whose logit is subtracted; None for the logit of the target alone.
        position: where logits are read.
        n_neurons: neurons with a row of their own in each prompt, largest contributions first.

    Returns:
        One row per prompt and component, in the order in which they write: `prompt`, `component`,
        `layer`, `head`, `neuron`, `contribution` (logits), and for reference in every row
        `norm_scale` (the frozen divisor of the final norm; 1 without one) and `logit_diff` (from
        the model's logits). The contributions of a prompt sum to its `logit_diff`.

    Raises:
        InputError: a post-norm model, a position or token that does not exist, or a target that
            equals its contrast.

    Cost: one forward pass, and `prompt * d_model * (n_heads * d_head + d_mlp)` per layer. Memory:
    what a pass needs, and `prompt * (n_heads * d_head + d_mlp)` numbers per layer.
    """
    tokens, position = check_prompts(model, tokens, position)
    run = _Read(model, tokens, target, contrast, position)
    parts = [*run.embeddings()]
    neurons = []
    for layer in range(model.config.n_layers):
        parts += [*run.heads(layer)]
        if not model.config.attn_only:
            neurons.append(run.neurons(layer))
            parts.append(_Part("mlp", neurons[-1].sum(1), layer))
            bias = model.blocks[layer].mlp.b_out
            parts.append(_Part("mlp_bias", run.along(bias), layer))
    parts += [*run.constants()]
    frame = _frame(parts, run)
    return frame if not (n_neurons and neurons) else _with_neurons(frame, neurons, n_neurons)


def source_attribution(
    model: HookedGPT,
    tokens: Int[Tensor, "prompt pos"] | Int[Tensor, " pos"],
    target: TokenIds,
    contrast: TokenIds | None = None,
    position: int = -1,
    *,
    heads: Sequence[tuple[int, int]] | None = None,
) -> pd.DataFrame:
    """What each head brings from each position: attention times value, read along the answer.

    Args:
        model: pre-norm or without norms.
        tokens: prompts of one length.
        target: as for `direct_attribution`.
        contrast: as there.
        position: where logits are read, so the query.
        heads: `(layer, head)` pairs; all by default.

    Returns:
        One row per prompt, head and position looked at: `prompt`, `layer`, `head`, `key_pos`,
        `token` (id), `attention` (probability), `value` (logits that full attention would bring)
        and `contribution` (their product, logits). A head's contributions sum to its row in
        `direct_attribution`.

    Raises:
        InputError: as `direct_attribution`, or a head that does not exist.

    Cost: one forward pass, and `prompt * pos * n_heads * d_head` per layer. Memory: the patterns
    of the layers asked for, `prompt * n_heads * pos**2` numbers each.
    """
    tokens, position = check_prompts(model, tokens, position)
    wanted = check_heads(model, heads)
    layers = sorted({layer for layer, _ in wanted})
    run = _Read(model, tokens, target, contrast, position)
    names = [hook_name(short, layer) for layer in layers for short in ("v", "pattern")]
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names, return_type=None)
    n_prompts, n_pos = tokens.shape
    frames = []
    for layer in layers:
        own = [head for at, head in wanted if at == layer]
        pattern = cache["pattern", layer][:, own, position]
        values = torch.einsum("bphe,bhe->bhp", cache["v", layer], run.through_heads(layer))[:, own]
        index = pd.MultiIndex.from_product(
            [range(n_prompts), [layer], own, range(n_pos)],
            names=["prompt", "layer", "head", "key_pos"],
        )
        of_layer = index.to_frame(index=False)
        of_layer["token"] = _numpy(tokens[:, None].expand(-1, len(own), -1)).ravel()
        of_layer["attention"] = _numpy(pattern).ravel()
        of_layer["value"] = _numpy(values / run.scale[:, None, None]).ravel()
        of_layer["contribution"] = of_layer["attention"] * of_layer["value"]
        frames.append(of_layer)
    found = pd.concat(frames).sort_values(["prompt", "layer", "head", "key_pos"])
    return found.reset_index(drop=True)


def waterfall(frame: pd.DataFrame, n_parts: int = 14) -> pd.DataFrame:
    """The largest contributions in the order of writing, what is left, and how they add up.

    Args:
        frame: of `direct_attribution`; the mean over its prompts is taken.
        n_parts: components with a row of their own, chosen by size.

    Returns:
        One row per bar: the component's columns, `contribution`, `start` and `end` (the sum before
        and after it), `n_parts` (components in it), `norm_scale` and `logit_diff` (means). The last
        row, `remainder`, holds all the others, so its `end` is the mean logit difference.

    Raises:
        InputError: `n_parts` is not positive.
    """
    if n_parts < 1:
        raise InputError(f"n_parts={n_parts}, but a waterfall has at least one part")
    keys = ["component", "layer", "head", "neuron"]
    n_prompts = frame["prompt"].nunique()
    # A neuron has no row in prompts where it is small; there its layer's rest holds it.
    whole = frame.groupby(keys, sort=False)["contribution"].sum().reset_index()
    whole["contribution"] /= n_prompts
    whole = whole.sort_values("layer", kind="stable")
    largest = whole["contribution"].abs().rank(method="first", ascending=False) <= n_parts
    rest = whole.loc[~largest, "contribution"]
    left = {"component": "remainder", "layer": -1, "head": -1, "neuron": -1}
    left |= {"contribution": rest.sum(), "n_parts": len(rest)}
    bars = pd.concat([whole[largest].assign(n_parts=1), pd.DataFrame([left])], ignore_index=True)
    bars["end"] = bars["contribution"].cumsum()
    bars["start"] = bars["end"] - bars["contribution"]
    by_prompt = frame.groupby("prompt")[["norm_scale", "logit_diff"]].first().mean()
    return bars.assign(**by_prompt)


@torch.no_grad()
def head_projections(
    model: HookedGPT,
    cache: ActivationCache,
    directions: Float[Tensor, "direction d_model"],
) -> Float[Tensor, "layer batch pos head direction"]:
    """What every head writes along each direction, at every position, without what it writes.

    Args:
        model: whose run was recorded.
        cache: with `hook_z` of all layers, at whichever positions.
        directions: of the residual stream, such as `logit_directions`.

    Returns:
        Dot products of the heads' outputs (`b_O` left out) with the directions. Divide by
        `ln_final.hook_scale` for logits.

    Cost: `n_layers * n_heads * d_head * direction * (d_model + batch * pos)`. Memory: the result,
    and `n_heads * d_head * direction` numbers.
    """
    found = []
    for layer, block in enumerate(model.blocks):
        z, attn = cache["z", layer], block.attn
        through = (attn.W_O_flat @ directions.T).view(attn.n_heads, attn.d_head, -1)
        found.append(torch.einsum("bphe,hen->bphn", z, through))
    return torch.stack(found)


# ------------------------------------------------------------------------------- the run, read


@dataclass
class _Part:
    """One component's share, by prompt."""

    component: str
    contribution: Float[Tensor, " prompt"]
    layer: int = -1
    head: int = -1


class _Read:
    """A run at one position, and the direction in which its stream is read there."""

    def __init__(
        self,
        model: HookedGPT,
        tokens: Int[Tensor, "prompt pos"],
        target: TokenIds,
        contrast: TokenIds | None,
        position: int,
    ) -> None:
        self.model, n_layers = model, model.config.n_layers
        self.target, self.contrast = check_answers(model, len(tokens), target, contrast)
        self.direction = logit_directions(model, self.target, self.contrast)
        names = ["hook_embed", hook_name("resid_post", n_layers - 1)]
        if model.config.positions != "none":
            names.append("hook_pos_embed")
        for layer in range(n_layers):
            names.append(hook_name("z", layer))
            if not model.config.attn_only:
                names.append(hook_name("post", layer))
        with torch.no_grad():
            _, self.cache = model.run_with_cache(tokens, names, pos=position, return_type=None)
            final = self.cache["resid_post", n_layers - 1]
            logits = model.logits(final)[:, 0]
        self.logit_diff = logits.gather(1, self.target[:, None])[:, 0]
        if self.contrast is not None:
            self.logit_diff = self.logit_diff - logits.gather(1, self.contrast[:, None])[:, 0]
        self.scale = torch.ones_like(self.logit_diff)
        if model.config.norm == "pre":
            variance = final[:, 0].var(-1, correction=0)
            self.scale = (variance + model.ln_final.eps).sqrt()

    @torch.no_grad()
    def along(self, vector: Tensor) -> Float[Tensor, " prompt"]:
        """The logits that something written to the stream brings; one vector, or one a prompt."""
        return (self.direction * vector).sum(-1) / self.scale

    @torch.no_grad()
    def through_heads(self, layer: int) -> Float[Tensor, "prompt head d_head"]:
        """The direction as the heads of a layer see it before `W_O`, up to the norm's scale."""
        attn = self.model.blocks[layer].attn
        return (self.direction @ attn.W_O_flat.T).view(-1, attn.n_heads, attn.d_head)

    def embeddings(self) -> list[_Part]:
        names = ["embed"] + ["pos_embed"] * (self.model.config.positions != "none")
        return [_Part(n, self.along(self.cache[f"hook_{n}"][:, 0])) for n in names]

    @torch.no_grad()
    def heads(self, layer: int) -> list[_Part]:
        """The heads of a layer and their common bias."""
        by_head = (self.cache["z", layer][:, 0] * self.through_heads(layer)).sum(-1)
        parts = [
            _Part("head", by_head[:, head] / self.scale, layer, head)
            for head in range(by_head.shape[1])
        ]
        bias = self.along(self.model.blocks[layer].attn.b_O)
        return [*parts, _Part("attn_bias", bias, layer)]

    @torch.no_grad()
    def neurons(self, layer: int) -> Float[Tensor, "prompt d_mlp"]:
        through = self.direction @ self.model.blocks[layer].mlp.W_out.T
        return self.cache["post", layer][:, 0] * through / self.scale[:, None]

    @torch.no_grad()
    def constants(self) -> list[_Part]:
        """What does not pass through the stream."""
        model, parts, last = self.model, [], self.model.config.n_layers
        rows, bias = model.W_U.T[self.target], model.b_U[self.target]
        if self.contrast is not None:
            rows, bias = rows - model.W_U.T[self.contrast], bias - model.b_U[self.contrast]
        if model.config.norm == "pre":
            parts.append(_Part("norm_bias", rows @ model.ln_final.b, last))
        if model.config.unembed_bias:
            parts.append(_Part("unembed_bias", bias, last))
        return parts


def _frame(parts: list[_Part], run: _Read) -> pd.DataFrame:
    values = np.stack([_numpy(part.contribution) for part in parts], 1)
    n_prompts, n_parts = values.shape
    return pd.DataFrame(
        {
            "prompt": np.repeat(np.arange(n_prompts), n_parts),
            "component": [part.component for part in parts] * n_prompts,
            "layer": [part.layer for part in parts] * n_prompts,
            "head": [part.head for part in parts] * n_prompts,
            "neuron": -1,
            "contribution": values.ravel(),
            "norm_scale": np.repeat(_numpy(run.scale), n_parts),
            "logit_diff": np.repeat(_numpy(run.logit_diff), n_parts),
        }
    )


def _with_neurons(
    frame: pd.DataFrame, by_layer: list[Float[Tensor, "prompt d_mlp"]], n_neurons: int
) -> pd.DataFrame:
    """The largest neurons of each prompt in rows of their own, before the rest of their layer."""
    neurons = np.stack([_numpy(of_layer) for of_layer in by_layer], 1)
    n_prompts, _, width = neurons.shape
    flat = neurons.reshape(n_prompts, -1)
    largest = np.argsort(-np.abs(flat), axis=1, kind="stable")[:, :n_neurons]
    chosen = pd.DataFrame(
        {
            "prompt": np.repeat(np.arange(n_prompts), largest.shape[1]),
            "component": "neuron",
            "layer": largest.ravel() // width,
            "head": -1,
            "neuron": largest.ravel() % width,
            "contribution": np.take_along_axis(flat, largest, 1).ravel(),
        }
    )
    taken = chosen.groupby(["prompt", "layer"])["contribution"].sum()
    frame = frame.copy()
    keys = pd.MultiIndex.from_frame(frame[["prompt", "layer"]])
    rest = (frame["component"] == "mlp") & keys.isin(taken.index)
    frame.loc[rest, "contribution"] -= taken.loc[keys[rest]].to_numpy()
    frame.loc[rest, "component"] = "mlp_rest"
    frame["order"] = np.arange(len(frame), dtype=float)
    place = frame.loc[rest].set_index(["prompt", "layer"])[["order", "norm_scale", "logit_diff"]]
    chosen = chosen.join(place, on=["prompt", "layer"])
    chosen["order"] -= 0.5
    joined = pd.concat([frame, chosen]).sort_values("order", kind="stable")
    return joined.drop(columns="order").reset_index(drop=True)


def _numpy(values: Tensor) -> np.ndarray:
    values = values.detach().cpu()
    return (values.double() if values.is_floating_point() else values).numpy()
