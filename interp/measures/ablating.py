"""Ablations of any set of heads and MLPs: many sets in one sweep, knocked out or kept alone.

An ablated head's mixed values (`hook_z`), or an ablated MLP's output, become at every position

| ablation | values |
|---|---|
| `zero` | 0 |
| `mean` | their mean over other prompts, at each position |
| `resample` | those of another prompt, at each position |

The biases that attention adds (`b_O`) belong to no head and stay. What the rest of the model
computes from the changed stream is computed anew, all norms included. Which ablation is the right
one is open, and circuits that pass with one fail with another (Miller et al. 2024,
arXiv:2407.08734): run all three and say so.

A circuit is tested by keeping it alone, that is by ablating its complement
(`interp.measures.circuit_tests`).
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError
from interp.measures.ablation import ABLATIONS
from interp.measures.branches import MLP_ROWS, BaseRun
from interp.measures.patching import Metric, read_metric
from interp.measures.resampling import resample_weights
from interp.measures.statistics import N_RESAMPLES

MLP = -1  # in the place of a head's number: the layer's MLP
Component = tuple[int, int]


def component_name(component: Component) -> str:
    """`L5H1` for head 1 of layer 5, `L5MLP` for that layer's MLP."""
    layer, head = component
    return f"L{layer}MLP" if head == MLP else f"L{layer}H{head}"


def all_components(model: HookedGPT) -> list[Component]:
    """Every head and every MLP, `(layer, head)` or `(layer, MLP)`, in the order of computation."""
    config = model.config
    parts = [*range(config.n_heads), *([] if config.attn_only else [MLP])]
    return [(layer, part) for layer in range(config.n_layers) for part in parts]


class SetAblation:
    """One kind of ablation on some prompts, ready for any number of sets of components.

    Args:
        model: pre-norm or without norms.
        tokens: prompts of one length.
        metrics: numbers to read from each run.
        ablation: of `ABLATIONS`.
        reference: prompts that ablated values come from: any number of them for "mean"; as many as
            `tokens` for "resample", where each prompt gets those of the reference in its row (the
            ABC prompts of Wang et al. 2022). By default the prompts themselves; then "resample"
            gives each of them the values of another one, by rotating a random order.
        units: what was drawn independently; each prompt by default.
        memory_mib: for the runs of a chunk.
        seed: of the random order.

    Attributes:
        components: all of the model.
        intact: metrics of the whole model.

    Raises:
        InputError: an unknown ablation, a reference of another shape, a single prompt that would
            be its own reference, or a post-norm model.

    Values of a set are kept, so that asking for it again is free.
    """

    def __init__(
        self,
        model: HookedGPT,
        tokens: Int[Tensor, "prompt pos"],
        metrics: Sequence[Metric],
        *,
        ablation: str = "mean",
        reference: Int[Tensor, "_reference _pos"] | None = None,
        units: np.ndarray | None = None,
        memory_mib: float = 256.0,
        seed: int = 0,
    ) -> None:
        _check(tokens, ablation, reference, units)
        self.model, self.metrics, self.ablation = model, list(metrics), ablation
        self.components = all_components(model)
        self.units = np.arange(len(tokens)) if units is None else np.asarray(units)
        self.memory_mib, self.seed = memory_mib, seed
        device = model.W_E.device
        self.base = BaseRun(model, tokens.to(device))
        other = self.base if reference is None else BaseRun(model, reference.to(device))
        rows = None
        if ablation == "resample":
            rows = torch.arange(len(tokens), device=device)
            if reference is None:
                rows = another_prompt(len(tokens), seed).to(device)
        self.z = [self._other(z, rows) for z in other.z]
        self.mlp = [self._other(o - m, rows) for o, m in zip(other.post, other.mid, strict=True)]
        self.read = sorted({pos for metric in metrics for pos in metric.positions})
        for pos in self.read:
            if not 0 <= pos < self.base.n_pos:
                raise InputError(
                    f"position {pos} does not exist; there are 0 to {self.base.n_pos - 1}"
                )
        self._known: dict[frozenset[Component], Float[np.ndarray, "metric prompt"]] = {}
        with torch.no_grad():
            self.intact = self._measured(self.base.post[-1][:, self.read][None])[0]
        self._known[frozenset()] = self.intact

    def _other(self, values: Tensor, rows: Tensor | None) -> Tensor:
        """What takes the place of some values, of the shape of this run's."""
        if self.ablation == "zero":
            return torch.zeros_like(values[:1]).expand(len(self.base.tokens), *values.shape[1:])
        if rows is None:
            return values.mean(0).expand(len(self.base.tokens), *values.shape[1:])
        return values[rows]

    def knocked_out(
        self, sets: Sequence[Iterable[Component]]
    ) -> Float[np.ndarray, "metric set prompt"]:
        """The metrics of each prompt with each set ablated, everything else alive.

        Raises:
            InputError: a component that does not exist.

        Cost: a set costs the layers from its first component on. Attention of that layer is the
        intact run's; ablated MLPs, and attention of which every head is ablated, cost nothing.
        """
        wanted = [frozenset(components) for components in sets]
        there = set(self.components)
        for missing in {component for of_set in wanted for component in of_set} - there:
            raise InputError(_missing(self.model, missing))
        new = [of_set for of_set in dict.fromkeys(wanted) if of_set not in self._known]
        new.sort(key=lambda of_set: min(of_set)[0])
        at_once = self._at_once()
        with torch.no_grad():
            for start in range(0, len(new), at_once):
                chunk = new[start : start + at_once]
                found = self._measured(self._walk(chunk))
                self._known.update(zip(chunk, found, strict=True))
        if not wanted:
            return np.empty((len(self.metrics), 0, len(self.units)))
        return np.stack([self._known[of_set] for of_set in wanted], 1)

    def kept(self, sets: Sequence[Iterable[Component]]) -> Float[np.ndarray, "metric set prompt"]:
        """The metrics of each prompt with each set alive and everything else ablated."""
        wanted = [frozenset(components) for components in sets]
        there = frozenset(self.components)
        for missing in {component for of_set in wanted for component in of_set} - there:
            raise InputError(_missing(self.model, missing))
        return self.knocked_out([there - of_set for of_set in wanted])

    # --- the runs ---

    def _at_once(self) -> int:
        config = self.model.config
        # Stream, sum, queries, keys, values, mixed values, and what the kernel holds.
        per_run = 9 * config.d_model * self.base.post[-1].element_size() * self.base.tokens.numel()
        return max(1, int(self.memory_mib * 2**20 // per_run))

    def _walk(
        self, sets: Sequence[frozenset[Component]]
    ) -> Float[Tensor, "set prompt read d_model"]:
        """The streams before the final norm; sets come in the order of their first layers."""
        first = [min(of_set)[0] for of_set in sets]
        alive: Tensor | None = None
        for layer in range(first[0], self.base.n_layers):
            old = sum(begin < layer for begin in first)
            new = sum(begin == layer for begin in first)
            now = sets[: old + new]
            heads = [[(layer, h) in of_set for h in range(self.model.config.n_heads)]
                     for of_set in now]  # fmt: skip
            off = torch.tensor(heads, device=self.base.tokens.device)
            streams = []
            if old:
                streams.append(self._attended(layer, alive, off[:old]))
            if new:
                streams.append(self._entering(layer, off[old:]))
            alive = torch.cat(streams) if len(streams) > 1 else streams[0]
            if not self.model.config.attn_only:
                silent = [(layer, MLP) in of_set for of_set in now]
                alive = self._after_mlp(layer, alive, silent)
        return alive

    def _places(self, layer: int) -> list[int]:
        return self.read if layer == self.base.n_layers - 1 else list(range(self.base.n_pos))

    def _entering(
        self, layer: int, off: Bool[Tensor, "set head"]
    ) -> Float[Tensor, "set prompt place d_model"]:
        """Streams after attention where sets begin: only the parts of these heads change."""
        at = self._places(layer)
        change = (self.z[layer] - self.base.z[layer])[:, at] * off[:, None, None, :, None]
        moved = change.flatten(-2) @ self.model.blocks[layer].attn.W_O_flat
        return self.base.mid[layer][:, at] + moved

    def _attended(
        self,
        layer: int,
        resid: Float[Tensor, "set prompt pos d_model"],
        off: Bool[Tensor, "set head"],
    ) -> Float[Tensor, "set prompt place d_model"]:
        block, at = self.model.blocks[layer], self._places(layer)
        other = self.z[layer][:, at]
        mixed = other.expand(len(off), *other.shape).clone()
        working = (~off).any(1)
        if working.any():
            stream = resid[working].flatten(0, 1)
            stream = block.ln1(stream) if hasattr(block, "ln1") else stream
            q, k, v = block.attn.queries_keys_values(stream)
            z = self._mix(layer, q[:, at], k, v).view(-1, *other.shape)
            mixed[working] = torch.where(off[working][:, None, None, :, None], other, z)
        out = mixed.flatten(-2) @ block.attn.W_O_flat + block.attn.b_O
        return resid[:, :, at] + out

    def _mix(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        base, at = self.base, self._places(layer)
        allowed = base.allowed[layer]
        plain = base.plain_causal[layer] and len(at) == base.n_pos
        z = F.scaled_dot_product_attention(
            *(of.transpose(1, 2) for of in (q, k, v)),
            attn_mask=None if plain or allowed is None else allowed[..., at, :],
            is_causal=plain,
            scale=self.model.blocks[layer].attn.scale,
        )
        return z.transpose(1, 2)

    def _after_mlp(
        self, layer: int, mid: Float[Tensor, "set prompt place d_model"], silent: list[bool]
    ) -> Float[Tensor, "set prompt place d_model"]:
        block, at = self.model.blocks[layer], self._places(layer)
        off = torch.tensor(silent, device=mid.device)
        post = mid + self.mlp[layer][:, at]
        if not off.all():
            rows = mid[~off].flatten(0, 2)
            out = torch.empty_like(rows)
            for part, into in zip(rows.split(MLP_ROWS), out.split(MLP_ROWS), strict=True):
                normed = block.ln2(part[None]) if hasattr(block, "ln2") else part[None]
                into[:] = part + block.mlp(normed)[0]
            post[~off] = out.view(-1, *mid.shape[1:])
        return post

    def _measured(
        self, final: Float[Tensor, "set prompt read d_model"]
    ) -> Float[np.ndarray, "set metric prompt"]:
        n_sets, n_prompts = final.shape[:2]
        prompts = torch.arange(n_prompts, device=final.device).repeat(n_sets)
        found = []
        for metric in self.metrics:
            at = [self.read.index(pos) for pos in metric.positions]
            values = read_metric(self.model, metric, final.flatten(0, 1)[:, at], prompts)
            found.append(values.view(n_sets, n_prompts).double().cpu())
        return torch.stack(found, 1).numpy()


def ablate_sets(
    model: HookedGPT,
    tokens: Int[Tensor, "prompt pos"],
    metrics: Sequence[Metric],
    sets: Sequence[Iterable[Component]] | None = None,
    *,
    mode: Literal["knock_out", "keep"] = "knock_out",
    ablations: Sequence[str] = ABLATIONS,
    reference: Int[Tensor, "_reference _pos"] | None = None,
    units: np.ndarray | None = None,
    per_prompt: bool = False,
    memory_mib: float = 256.0,
    seed: int = 0,
) -> pd.DataFrame:
    """What each set of components does to the metrics, prompts together or one by one.

    Args:
        model: pre-norm or without norms.
        tokens: prompts of one length.
        metrics: numbers to read; all in one sweep.
        sets: heads `(layer, head)` and MLPs `(layer, MLP)`; every component by itself by default.
        mode: "knock_out" ablates each set, "keep" everything else.
        ablations: of `ABLATIONS`.
        reference: prompts that ablated values come from; see `SetAblation`.
        units: what was drawn independently; each prompt by default.
        per_prompt: one row for each prompt, without intervals.
        memory_mib: for the runs of a chunk.
        seed: of the bootstrap, and of the prompts that "resample" takes values from.

    Returns:
        One row per ablation, metric and set: `ablation`, `metric`, `unit`, `set` (its place),
        `components` (names), `size`, `value`, `effect` (value minus that of the intact model),
        `ci_low`, `ci_high` (95 % bootstrap interval of the effect over units), `n` (units). With
        `per_prompt`: `prompt`, `value` and `effect` instead of the last five.

    Raises:
        InputError: as `SetAblation`, or an unknown mode or component.

    Cost: see `SetAblation.knocked_out`; a set that is kept alone starts in the first layer.
    """
    if mode not in ("knock_out", "keep"):
        raise InputError(f"mode {mode!r} is neither 'knock_out' nor 'keep'")
    wanted = [(c,) for c in all_components(model)] if sets is None else [tuple(s) for s in sets]
    keys = pd.DataFrame(
        {
            "set": range(len(wanted)),
            "components": [" ".join(component_name(c) for c in sorted(set(s))) for s in wanted],
            "size": [len(set(s)) for s in wanted],
        }
    )
    frames = []
    for ablation in ablations:
        run = SetAblation(model, tokens, metrics, ablation=ablation, reference=reference,
                          units=units, memory_mib=memory_mib, seed=seed)  # fmt: skip
        values = run.knocked_out(wanted) if mode == "knock_out" else run.kept(wanted)
        for number, metric in enumerate(metrics):
            about = keys.assign(ablation=ablation, metric=metric.name, unit=metric.unit)
            about = about[["ablation", "metric", "unit", *keys.columns]]
            summary = _by_prompt if per_prompt else _over_prompts
            frames.append(summary(about, values[number], run.intact[number], run.units, seed))
    return pd.concat(frames, ignore_index=True)


def _by_prompt(
    about: pd.DataFrame, values: np.ndarray, intact: np.ndarray, units: np.ndarray, seed: int
) -> pd.DataFrame:
    n_prompts = len(units)
    frame = about.loc[about.index.repeat(n_prompts)].reset_index(drop=True)
    prompts = np.tile(np.arange(n_prompts), len(about))
    return frame.assign(prompt=prompts, value=values.ravel(), effect=(values - intact).ravel())


def _over_prompts(
    about: pd.DataFrame, values: np.ndarray, intact: np.ndarray, units: np.ndarray, seed: int
) -> pd.DataFrame:
    effects = values - intact
    drawn = resample_weights(units, N_RESAMPLES, seed) @ effects.T
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return about.assign(
        value=values.mean(1),
        effect=effects.mean(1),
        ci_low=low,
        ci_high=high,
        n=len(np.unique(units)),
    )


def another_prompt(n_prompts: int, seed: int = 0) -> Int[Tensor, " prompt"]:
    """For each prompt another one: the next in a random order, so that none gets itself."""
    order = torch.randperm(n_prompts, generator=torch.Generator().manual_seed(seed))
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other


def _check(
    tokens: Tensor, ablation: str, reference: Tensor | None, units: np.ndarray | None
) -> None:
    if ablation not in ABLATIONS:
        raise InputError(f"{ablation!r} is no ablation; there are: {', '.join(ABLATIONS)}")
    if units is not None and len(units) != len(tokens):
        raise InputError(f"{len(units)} units came for {len(tokens)} prompts")
    if ablation == "zero":
        return
    if reference is None:
        if len(tokens) < 2:
            raise InputError(
                f"{ablation!r} takes values from other prompts, and there is only one; give "
                "several prompts or a `reference`"
            )
        return
    if reference.shape[1] != tokens.shape[1]:
        raise InputError(
            f"reference prompts have {reference.shape[1]} tokens, the prompts {tokens.shape[1]}; "
            "values are taken position by position, so both must be equally long"
        )
    if ablation == "resample" and len(reference) != len(tokens):
        raise InputError(
            f"{len(reference)} reference prompts came for {len(tokens)} prompts; 'resample' takes "
            "the values of the reference in the same row"
        )


def _missing(model: HookedGPT, component: Component) -> str:
    config = model.config
    mlps = "no MLPs" if config.attn_only else f"MLPs (layer, {MLP})"
    return (
        f"component {component} does not exist; this model has layers 0 to {config.n_layers - 1}, "
        f"heads 0 to {config.n_heads - 1} and {mlps}"
    )
