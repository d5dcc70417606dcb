"""Activation patching: what happens to an answer when one activation comes from another run?

Two versions of each prompt, clean and corrupted, differ in what the answer depends on. *Denoising*
runs the corrupted prompt with one clean activation (what suffices to bring the answer back?),
*noising* the clean prompt with one corrupted activation (what is needed to keep it?). Terms and
advice: Zhang & Nanda 2023 (arXiv:2309.16042), Heimersheim & Nanda 2024 (arXiv:2404.15255). Path
patching changes what one component reads from another and nothing else: Wang et al. 2022
(arXiv:2211.00593), Goldowsky-Dill et al. 2023 (arXiv:2304.05969), norms recomputed, not frozen.

Clean and corrupted prompts of different lengths need an alignment (`Pairs.aligned`). All sweeps are
exact: they run through `interp.measures.branches`, which computes only what differs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError
from interp.measures.branches import BaseRun, Entry, run_branches
from interp.measures.effects import by_prompt, effects_frame
from interp.measures.pairs import AlignedRun, Direction, Pairs

RESIDUAL_SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
HEAD_SITES = ("z", "q", "k", "v", "pattern")
INPUTS = ("q", "k", "v")


@dataclass(frozen=True)
class Metric:
    """A number per prompt, read off the logits.

    Attributes:
        name: column value in frames.
        unit: of the number.
        positions: where logits are read, ascending, from 0; of the clean prompts, if the other ones
            are aligned to them.
        value: from logits `row read token` and the prompt of each row to one number per row.
        tokens: the tokens whose logits are needed, by prompt; None for all of them.
        min_difference: pairs between whose runs the number differs by less are left out of means,
            and counted. Say it before you see the results.
    """

    name: str
    unit: str
    positions: tuple[int, ...]
    value: Callable[[Tensor, Tensor], Tensor]
    tokens: Int[Tensor, "prompt token"] | None = None
    min_difference: float = 0.0


def logit_diff(
    correct: Int[Tensor, " prompt"],
    incorrect: Int[Tensor, " prompt"],
    position: int,
    min_difference: float = 0.0,
) -> Metric:
    """Logit of the correct answer minus that of the incorrect one, at one position."""
    tokens = torch.stack([correct, incorrect], 1)
    return Metric(
        "logit_diff",
        "logits",
        (position,),
        lambda logits, _: logits[:, 0, 0] - logits[:, 0, 1],
        tokens,
        min_difference,
    )


def answer_logprob(correct: Int[Tensor, " prompt"], position: int) -> Metric:
    """Log-probability of the correct answer at one position, nats."""

    def value(logits: Tensor, prompts: Tensor) -> Tensor:
        found = logits[:, 0].log_softmax(-1)
        return found.gather(1, correct[prompts, None])[:, 0]

    return Metric("answer_logprob", "nats", (position,), value)


def kl_to(logits: Float[Tensor, "prompt d_vocab"], position: int) -> Metric:
    """KL(these logits ‖ the run's) at one position, nats."""
    reference = logits.log_softmax(-1)

    def value(found: Tensor, prompts: Tensor) -> Tensor:
        p = reference[prompts]
        return (p.exp() * (p - found[:, 0].log_softmax(-1))).sum(-1)

    return Metric("kl_nats", "nats", (position,), value)


# -------------------------------------------------------------------------------------- sweeps


def patch_residual(
    model: HookedGPT,
    pairs: Pairs,
    metrics: Sequence[Metric],
    *,
    site: str = "resid_pre",
    direction: Direction = "denoise",
    layers: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    per_prompt: bool = False,
    memory_mib: float = 256.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Patches the residual stream, or what attention or MLP write to it, by layer and position.

    Args:
        model: pre-norm or without norms.
        pairs: the prompts.
        metrics: numbers to read; all in one sweep.
        site: of `RESIDUAL_SITES`.
        direction: "denoise" or "noise".
        layers: all by default.
        positions: all by default.
        per_prompt: a row for each prompt too, without intervals: see `by_prompt`.
        memory_mib: for the branches.
        seed: of the bootstrap.

    Returns:
        One row per metric, layer and position: see `effects_frame`. `n_dropped` counts the pairs
        left out by the metric's rule; positions are those of the run that is patched.

    Raises:
        InputError: an unknown site, a layer or position that does not exist, or a post-norm model.

    Cost: at most `n_layers / 2` forward passes of half the positions for each position; positions
    before the first differing token cost nothing.
    """
    if site not in RESIDUAL_SITES or (model.config.attn_only and site in ("resid_mid", "mlp_out")):
        raise InputError(f"{site!r} is no site of this model's stream: {', '.join(RESIDUAL_SITES)}")
    runs = _Runs(model, pairs, direction)
    layers = _within(layers, model.config.n_layers, "layer")
    positions = _within(positions, runs.base.n_pos, "position")
    cells = [(layer, pos) for layer in layers for pos in positions]

    def enter(numbers: Sequence[int]) -> Iterator[Entry]:
        for number in numbers:
            layer, pos = cells[number]
            prompts = runs.reached(pos)
            if len(prompts):
                stage, resid = runs.residual(site, layer, prompts, pos)
                yield runs.entry(layer, stage, number, prompts, pos, resid)

    keys = pd.DataFrame(cells, columns=["layer", "pos"])
    return runs.frame(keys, enter, metrics, per_prompt, memory_mib, seed)


def patch_heads(
    model: HookedGPT,
    pairs: Pairs,
    metrics: Sequence[Metric],
    *,
    site: str = "z",
    direction: Direction = "denoise",
    heads: Sequence[tuple[int, int]] | None = None,
    by_position: bool = False,
    positions: Sequence[int] | None = None,
    by_source: bool = False,
    per_prompt: bool = False,
    memory_mib: float = 256.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Patches one part of each head: its mixed values, queries, keys, values or pattern.

    Args:
        model: pre-norm or without norms.
        pairs: the prompts.
        metrics: numbers to read; all in one sweep.
        site: of `HEAD_SITES`; "z" is the head's output before `W_O`.
        direction: "denoise" or "noise".
        heads: `(layer, head)` pairs; all by default.
        by_position: one cell per head and position: the query's for "z", "q" and "pattern" (a row
            of the pattern), the key's for "k" and "v".
        positions: with `by_position`; all by default.
        by_source: for "pattern", one cell per head and key position: a column of the pattern; with
            `by_position` a single entry. Rows then no longer sum to 1.
        per_prompt: a row for each prompt too, without intervals: see `by_prompt`.
        memory_mib: for the branches.
        seed: of the bootstrap.

    Returns:
        One row per metric and head (and `pos`, `key_pos`): see `effects_frame`.

    Raises:
        InputError: an unknown site, a head or position that does not exist, sources of anything but
            the pattern, the pattern of aligned prompts, or a post-norm model.

    Cost: a branch enters after its layer's attention, of which only the patched head is computed.
    """
    if site not in HEAD_SITES:
        raise InputError(f"{site!r} is no part of a head: {', '.join(HEAD_SITES)}")
    if by_source and site != "pattern":
        raise InputError(f"only the pattern has sources; {site!r} is patched by position")
    if site == "pattern" and pairs.aligned is not None:
        raise InputError(
            "a row of the pattern sums to 1 over the keys of its own prompt, so it cannot be put "
            "into a prompt with other positions; patch 'z', 'q', 'k' or 'v' instead"
        )
    runs = _Runs(model, pairs, direction)
    columns = _heads(model, heads)
    places: list[int | None] = [None]
    if by_position or positions is not None:
        places = list(_within(positions, runs.base.n_pos, "position"))
    sources: list[int | None] = list(range(runs.base.n_pos)) if by_source else [None]
    cells = [(*head, key, pos) for head in columns for key in sources for pos in places]

    def enter(numbers: Sequence[int]) -> Iterator[Entry]:
        for (layer, head, key), some in _grouped(numbers, lambda number: cells[number][:3]):
            at = [(number, cells[number][3]) for number in some]
            yield from runs.head_entries(site, layer, head, key, at)

    keys = pd.DataFrame(cells, columns=["layer", "head", "key_pos", "pos"])
    some = ["pos"] * (places != [None]) + ["key_pos"] * by_source
    keys = keys[["layer", "head", *some]]
    return runs.frame(keys, enter, metrics, per_prompt, memory_mib, seed)


def patch_paths(
    model: HookedGPT,
    pairs: Pairs,
    metrics: Sequence[Metric],
    *,
    receivers: Sequence[tuple[int, int]] | Literal["mlp", "logits"] | None = None,
    component: str = "q",
    senders: Sequence[tuple[int, int]] | None = None,
    direction: Direction = "denoise",
    per_prompt: bool = False,
    memory_mib: float = 256.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Patches what one component reads from one head, along the direct path between them.

    The receiver sees the sender's output of the other run; everything else that it reads is its own
    run's, its norm is recomputed, and what it then writes runs on to the end.

    Args:
        model: pre-norm or without norms.
        pairs: the prompts.
        metrics: numbers to read; all in one sweep.
        receivers: `(layer, head)` pairs, all by default; "mlp" for the MLP of every layer from the
            sender's on; "logits" for the final norm.
        component: what a receiving head reads by: "q", "k" or "v".
        senders: `(layer, head)` pairs; all by default.
        direction: "denoise" or "noise".
        per_prompt: a row for each prompt too, without intervals: see `by_prompt`.
        memory_mib: for the branches.
        seed: of the bootstrap.

    Returns:
        One row per metric and path: `layer`, `head` (the sender's), `to_layer`, `to_head` (-1 for
        an MLP; the logits have layer `n_layers`), and the columns of `effects_frame`.

    Raises:
        InputError: an unknown component, a head that does not exist, no path between the heads, or
            a post-norm model.

    Cost: a path costs what remains of the run after the receiver.
    """
    if component not in INPUTS:
        raise InputError(f"a head reads by q, k or v, not by {component!r}")
    runs = _Runs(model, pairs, direction)
    sending = _heads(model, senders)
    n_layers = model.config.n_layers
    if receivers == "logits":
        targets = [(n_layers, -1)]
    elif receivers == "mlp":
        if model.config.attn_only:
            raise InputError(f"{model.name} has no MLP that could receive anything")
        targets = [(layer, -1) for layer in range(n_layers)]
    else:
        targets = _heads(model, receivers)
    to_mlp = receivers == "mlp"
    cells = [
        (*sender, *target)
        for target in targets
        for sender in sending
        if sender[0] < target[0] or (to_mlp and sender[0] == target[0])
    ]
    if not cells:
        raise InputError("no sender lies before a receiver; a head reads from earlier layers only")

    def enter(numbers: Sequence[int]) -> Iterator[Entry]:
        for target, some in _grouped(numbers, lambda number: cells[number][2:]):
            for first, prompts in runs.by_first(None):
                yield from runs.path_entries(target, component, cells, some, prompts, first)

    keys = pd.DataFrame(cells, columns=["layer", "head", "to_layer", "to_head"])
    return runs.frame(keys, enter, metrics, per_prompt, memory_mib, seed)


# ------------------------------------------------------------------------------ the two runs


class _Runs:
    """The run that is patched and the run that patches come from."""

    def __init__(self, model: HookedGPT, pairs: Pairs, direction: Direction) -> None:
        if direction not in ("denoise", "noise"):
            raise InputError(f"direction {direction!r} is neither 'denoise' nor 'noise'")
        self.model, self.pairs, self.direction = model, pairs, direction
        device = model.W_E.device
        clean, corrupted = (BaseRun(model, t.to(device)) for t in (pairs.clean, pairs.corrupted))
        self.base, self.source = (
            (corrupted, clean) if direction == "denoise" else (clean, corrupted)
        )
        if pairs.aligned is not None:
            self.source = AlignedRun(self.base, self.source, pairs.partners(direction))
        self.ends = {"clean": clean, "corrupted": corrupted}
        # By causality nothing differs before the first differing token.
        self.first = pairs.first_changes(direction).to(device)
        if not self.base.causal:
            self.first = torch.zeros_like(self.first)

    def reached(self, pos: int) -> Int[Tensor, " row"]:
        """The prompts whose two runs may differ at a position."""
        return (self.first <= pos).nonzero()[:, 0]

    def by_first(self, pos: int | None) -> list[tuple[int, Tensor]]:
        """Prompts by the first position that a patch changes; at one position, or at all."""
        if pos is not None:
            prompts = self.reached(pos)
            return [(pos, prompts)] if len(prompts) else []
        firsts = sorted(set(self.first.tolist()))
        return [(first, (self.first == first).nonzero()[:, 0]) for first in firsts]

    def entry(self, layer, stage, number, prompts, first, resid) -> Entry:
        cells = torch.full_like(prompts, number)
        return Entry(layer, stage, cells, prompts, first, resid)

    def residual(self, site: str, layer: int, prompts: Tensor, pos: int) -> tuple[str, Tensor]:
        """The stage at which a patch of the stream enters, and the stream at that position."""

        def at(run: BaseRun | AlignedRun, stage: str) -> Tensor:
            return getattr(run, stage)[layer][prompts, pos]

        base, source = self.base, self.source
        if site.startswith("resid"):
            stage = site.removeprefix("resid_")
            return stage, at(source, stage)
        before, after = ("pre", "mid") if site == "attn_out" else ("mid", "post")
        written = at(source, after) - at(source, before) - (at(base, after) - at(base, before))
        return after, at(base, after) + written

    def head_entries(
        self, site: str, layer: int, head: int, key: int | None, cells: list[tuple[int, int | None]]
    ) -> Iterator[Entry]:
        """One head's part replaced, everywhere or at a position: its layer's stream afterwards.

        Of the pattern, a key replaces one column only.
        """
        mid = self.base.mid[layer]
        # A query's row depends on no other query, so one change serves all positions.
        by_query = site in ("z", "q", "pattern")
        if key is not None:
            change = self._column_change(layer, head, key)
        else:
            change = self._head_change(site, layer, head, None) if by_query else None
        for number, pos in cells:
            of_cell = change if by_query else self._head_change(site, layer, head, pos)
            for first, prompts in self.by_first(pos):
                alone = by_query and pos is not None
                first = first if alone or self.base.causal else 0
                at = first if alone else slice(first, None)
                resid = mid[prompts, at] + of_cell[prompts, at]
                yield self.entry(layer, "mid", number, prompts, first, resid)

    def _head_change(
        self, site: str, layer: int, head: int, pos: int | None
    ) -> Float[Tensor, "prompt pos d_model"]:
        """How what one head writes changes when a part of it comes from the other run."""
        base, source = self.base, self.source
        if site == "z":
            z = source.z[layer][:, :, head]
        elif site == "pattern":
            of_source = (getattr(source, s)[layer][:, :, head] for s in "qk")
            z = self._pattern(layer, head, *of_source) @ base.v[layer][:, :, head]
        else:
            parts = {s: getattr(base, s)[layer][:, :, head] for s in "qkv"}
            other = getattr(source, site)[layer][:, :, head]
            parts[site] = other if pos is None else _with_position(parts[site], other, pos)
            z = self._pattern(layer, head, parts["q"], parts["k"]) @ parts["v"]
        return (z - base.z[layer][:, :, head]) @ self.model.blocks[layer].attn.W_O[head]

    def _column_change(
        self, layer: int, head: int, key: int
    ) -> Float[Tensor, "prompt pos d_model"]:
        """How what one head writes changes when its attention to one key is the other run's."""
        base = self.base
        other, own = (
            self._pattern(layer, head, *(getattr(run, s)[layer][:, :, head] for s in "qk"))
            for run in (self.source, base)
        )
        z = (other - own)[:, :, key, None] * base.v[layer][:, key, None, head]
        return z @ self.model.blocks[layer].attn.W_O[head]

    def _pattern(self, layer: int, head: int, q: Tensor, k: Tensor) -> Tensor:
        scores = (q * self.model.blocks[layer].attn.scale) @ k.transpose(-1, -2)
        allowed = self.base.allowed[layer]
        if allowed is not None:
            own = allowed[0, head % allowed.shape[1]] if allowed.ndim == 4 else allowed
            scores = scores.masked_fill(~own, -torch.inf)
        return scores.softmax(-1)

    def path_entries(self, target, component, cells, numbers, prompts, first) -> Iterator[Entry]:
        """All senders of some cells into one receiver, as one entry."""
        base, model = self.base, self.model
        to_layer, to_head = target
        sent = torch.stack(
            [
                (self.source.z[layer][prompts, first:, head] - base.z[layer][prompts, first:, head])
                @ model.blocks[layer].attn.W_O[head]
                for layer, head in (cells[number][:2] for number in numbers)
            ]
        )
        n, rows = len(numbers), prompts.repeat(len(numbers))
        of_cell = torch.tensor(numbers, device=prompts.device).repeat_interleave(len(prompts))
        if to_layer == model.config.n_layers:
            resid = (base.post[-1][prompts, first:] + sent).flatten(0, 1)
            yield Entry(to_layer - 1, "post", of_cell, rows, first, resid)
            return
        block = model.blocks[to_layer]
        if to_head < 0:
            mid = base.mid[to_layer][prompts, first:]
            read = (mid + sent).flatten(0, 1)
            out = block.mlp(block.ln2(read) if hasattr(block, "ln2") else read)
            yield Entry(to_layer, "post", of_cell, rows, first, mid.repeat(n, 1, 1) + out)
            return
        read = (base.pre[to_layer][prompts, first:] + sent).flatten(0, 1)
        read = block.ln1(read) if hasattr(block, "ln1") else read
        weights, bias = (
            getattr(block.attn, f"{kind}_{component.upper()}")[to_head] for kind in "Wb"
        )
        parts = {s: getattr(base, s)[to_layer][rows, :, to_head] for s in "qkv"}
        parts[component][:, first:] = read @ weights + bias
        z = self._pattern(to_layer, to_head, parts["q"], parts["k"]) @ parts["v"]
        change = (z - base.z[to_layer][rows, :, to_head])[:, first:] @ block.attn.W_O[to_head]
        resid = base.mid[to_layer][rows, first:] + change
        yield Entry(to_layer, "mid", of_cell, rows, first, resid)

    # --- from branches to numbers ---

    def frame(
        self,
        keys: pd.DataFrame,
        enter: Callable[[Sequence[int]], Iterable[Entry]],
        metrics: Sequence[Metric],
        per_prompt: bool,
        memory_mib: float,
        seed: int,
    ) -> pd.DataFrame:
        ends = [self._both_ends(metric) for metric in metrics]
        here = "corrupted" if self.direction == "denoise" else "clean"
        patched = [self._read_in(here, metric) for metric in metrics]
        values = self._values(len(keys), enter, patched, memory_mib)
        units, frames = self.pairs.units, []
        for metric, found, of_run in zip(metrics, values, ends, strict=True):
            about = keys.assign(metric=metric.name, unit=metric.unit)
            runs = (of_run[here], of_run["clean"], of_run["corrupted"])
            kept = np.abs(runs[1] - runs[2]) >= metric.min_difference
            if per_prompt:
                frames.append(by_prompt(about, found.numpy(), *runs, kept))
                continue
            if not kept.any():
                raise InputError(
                    f"{metric.name} differs by less than {metric.min_difference} {metric.unit} "
                    "between the runs of every pair, so none is left; does the model tell the two "
                    "versions apart?"
                )
            left = (run[kept] for run in runs)
            frame = effects_frame(found.numpy()[:, kept], *left, units[kept], seed)
            frames.append(pd.concat([about, frame.assign(n_dropped=(~kept).sum())], axis=1))
        return pd.concat(frames, ignore_index=True)

    def _read_in(self, end: str, metric: Metric) -> Metric:
        """A metric that reads one of the two runs, where that run has the metric's positions."""
        aligned = self.pairs.aligned
        if aligned is None or end == "clean":
            return metric
        for pos in metric.positions:
            if pos not in aligned:
                raise InputError(
                    f"{metric.name} reads position {pos} of the clean prompts, which is aligned "
                    "with none of the corrupted ones"
                )
        return replace(metric, positions=tuple(aligned[pos] for pos in metric.positions))

    def _both_ends(self, metric: Metric) -> dict[str, Float[np.ndarray, " prompt"]]:
        found = {}
        for end, run in self.ends.items():
            read = self._read_in(end, metric)
            _within(read.positions, run.n_pos, "position")
            found[end] = _of_run(run, read).numpy()
        return found

    def _values(
        self, n_cells: int, enter: Callable, metrics: Sequence[Metric], memory_mib: float
    ) -> list[Float[Tensor, "cell prompt"]]:
        read = sorted({pos for metric in metrics for pos in metric.positions})
        values = [_of_run(self.base, metric).expand(n_cells, -1).clone() for metric in metrics]
        for ends in run_branches(self.base, range(n_cells), enter, read, memory_mib):
            for metric, found in zip(metrics, values, strict=True):
                at = [read.index(pos) for pos in metric.positions]
                new = read_metric(self.model, metric, ends.resid[:, at], ends.prompts)
                found[ends.cells.cpu(), ends.prompts.cpu()] = new.double().cpu()
        return values


def read_metric(
    model: HookedGPT,
    metric: Metric,
    resid: Float[Tensor, "row read d_model"],
    prompts: Int[Tensor, " row"],
    most_numbers: int = 2**24,
) -> Float[Tensor, " row"]:
    """A metric of streams before the final norm; only the tokens that it needs are unembedded."""
    if metric.tokens is None:
        at_once = max(1, most_numbers // (model.config.d_vocab * resid.shape[1]))
        parts = zip(resid.split(at_once), prompts.split(at_once), strict=True)
        return torch.cat([metric.value(model.logits(part), of) for part, of in parts])
    normed = model.ln_final(resid) if model.config.norm == "pre" else resid
    tokens = metric.tokens.to(prompts.device)[prompts]
    logits = torch.einsum("rpd,rtd->rpt", normed, model.W_U.T[tokens])
    return metric.value(logits + model.b_U[tokens][:, None], prompts)


def _of_run(run: BaseRun, metric: Metric) -> Float[Tensor, " prompt"]:
    resid = run.post[-1][:, list(metric.positions)]
    prompts = torch.arange(len(resid), device=resid.device)
    with torch.no_grad():
        return read_metric(run.model, metric, resid, prompts).double().cpu()


def _with_position(stream: Tensor, other: Tensor, pos: int) -> Tensor:
    stream = stream.clone()
    stream[:, pos] = other[:, pos]
    return stream


def _within(numbers: Sequence[int] | None, n: int, what: str) -> Sequence[int]:
    if numbers is None:
        return range(n)
    for number in numbers:
        if not 0 <= number < n:
            raise InputError(f"{what} {number} does not exist; there are 0 to {n - 1}")
    return numbers


def _heads(model: HookedGPT, heads: Sequence[tuple[int, int]] | None) -> list[tuple[int, int]]:
    config = model.config
    if heads is None:
        return [(layer, head) for layer in range(config.n_layers) for head in range(config.n_heads)]
    for layer, head in heads:
        if not (0 <= layer < config.n_layers and 0 <= head < config.n_heads):
            raise InputError(
                f"L{layer}H{head} does not exist; this model has layers 0 to {config.n_layers - 1} "
                f"and heads 0 to {config.n_heads - 1}"
            )
    return sorted(set(heads))


def _grouped(numbers: Sequence[int], key: Callable) -> Iterator[tuple[tuple, list[int]]]:
    groups: dict[tuple, list[int]] = {}
    for number in numbers:
        groups.setdefault(key(number), []).append(number)
    yield from groups.items()
