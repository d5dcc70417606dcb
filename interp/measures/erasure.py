"""Where attribution misleads: heads whose share of the logits is not what they do.

A head may write the answer and a later part may wipe it out: the head's share is large, and
switching it off changes nothing (Janiak et al. 2023, arXiv:2310.07325). Another head may work
through later parts alone and have no share at all. So shares are held against ablations, head by
head.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError
from interp.measures.branches import BaseRun, Entry, run_branches
from interp.measures.logit_differences import (
    TokenIds,
    answer_metric,
    check_answers,
    check_heads,
    check_prompts,
    logit_directions,
)
from interp.measures.patching import read_metric
from interp.measures.resampling import resample_weights
from interp.measures.statistics import MIN_UNITS, N_RESAMPLES

MIN_SHARE = 0.1  # of the logit difference: the smallest disagreement of interest
MIN_LOGITS = 0.1  # where the logit difference is small
REPLACEMENTS = ("zero", "mean")


@torch.no_grad()
def attribution_against_ablation(
    model: HookedGPT,
    tokens: Int[Tensor, "prompt pos"] | Int[Tensor, " pos"],
    target: TokenIds,
    contrast: TokenIds | None = None,
    position: int = -1,
    *,
    replacement: str = "zero",
    heads: Sequence[tuple[int, int]] | None = None,
    limit: float | None = None,
    unit: np.ndarray | None = None,
    memory_mib: float = 256.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Holds each head's direct share of a logit difference against the effect of switching it off.

    The share is that of what the ablation removes, so that the two are the same number where
    nothing later reads the head and the final norm's scale stays.

    Args:
        model: pre-norm or without norms.
        tokens: prompts of one length.
        target: as for `direct_attribution`.
        contrast: as there.
        position: where logits are read; the head is switched off everywhere.
        replacement: what its mixed values become: "zero", or their "mean" over the prompts, at
            each position.
        heads: `(layer, head)` pairs; all by default.
        limit: logits by which the two may differ; by default `MIN_SHARE` of the mean logit
            difference, and at least `MIN_LOGITS`.
        unit: what was drawn independently, for intervals; each prompt by default.
        memory_mib: for the runs.
        seed: of the bootstrap.

    Returns:
        One row per head: `layer`, `head`, `attribution` and `ablation` (logits lost, both),
        `difference` (attribution minus ablation) with a 95 % bootstrap interval over units
        `ci_low`, `ci_high` (NaN with fewer than `MIN_UNITS`), `limit`, `disagrees`, `verdict`, `n`
        (units). Two numbers disagree if they differ by more than the limit and the interval, if
        there is one, leaves out 0. The verdict is "agree", "erased" (the effect is smaller than
        the share: later parts take it back), "indirect" (it is larger: the head works through
        others) or "opposite" (both pass the limit, with different signs).

    Raises:
        InputError: an unknown replacement, a mean over a single prompt, or as `direct_attribution`.

    Cost: for a head of layer l, the layers from l on, as in `patch_heads`.
    """
    tokens, position = check_prompts(model, tokens, position)
    target, contrast = check_answers(model, len(tokens), target, contrast)
    wanted = check_heads(model, heads)
    if replacement not in REPLACEMENTS:
        raise InputError(f"{replacement!r} is no replacement: {', '.join(REPLACEMENTS)}")
    if replacement == "mean" and len(tokens) < 2:
        raise InputError("the mean over a single prompt is that prompt; give more, or use 'zero'")
    base = BaseRun(model, tokens)
    removed = [z - z.mean(0) if replacement == "mean" else z for z in base.z]
    metric = answer_metric(target, contrast, position)
    prompts = torch.arange(len(tokens), device=tokens.device)
    intact = read_metric(model, metric, base.post[-1][:, [position]], prompts).double()
    ablation = intact.expand(len(wanted), -1).clone()

    def enter(numbers: Sequence[int]) -> Iterator[Entry]:
        for number in numbers:
            layer, head = wanted[number]
            written = removed[layer][:, :, head] @ model.blocks[layer].attn.W_O[head]
            cells = torch.full_like(prompts, number)
            yield Entry(layer, "mid", cells, prompts, 0, base.mid[layer] - written)

    for ends in run_branches(base, range(len(wanted)), enter, [position], memory_mib):
        value = read_metric(model, metric, ends.resid, ends.prompts).double()
        ablation[ends.cells, ends.prompts] = value
    direction = logit_directions(model, target, contrast)
    shares = _shares(model, base, removed, wanted, direction, position)
    limit = max(MIN_SHARE * abs(float(intact.mean())), MIN_LOGITS) if limit is None else limit
    units = np.arange(len(tokens)) if unit is None else np.asarray(unit)
    found = _compared(shares.cpu().numpy(), (intact - ablation).cpu().numpy(), limit, units, seed)
    found.insert(0, "layer", [layer for layer, _ in wanted])
    found.insert(1, "head", [head for _, head in wanted])
    return found


def _shares(
    model: HookedGPT,
    base: BaseRun,
    removed: list[Float[Tensor, "prompt pos head d_head"]],
    heads: list[tuple[int, int]],
    direction: Float[Tensor, "prompt d_model"],
    position: int,
) -> Float[Tensor, "cell prompt"]:
    """What the removed part of each head's values writes along the answer."""
    scale = torch.ones_like(direction[:, 0])
    if model.config.norm == "pre":
        variance = base.post[-1][:, position].var(-1, correction=0)
        scale = (variance + model.ln_final.eps).sqrt()
    found = []
    for layer, head in heads:
        written = removed[layer][:, position, head] @ model.blocks[layer].attn.W_O[head]
        found.append((written * direction).sum(-1) / scale)
    return torch.stack(found).double()


def _compared(
    shares: Float[np.ndarray, "cell prompt"],
    effects: Float[np.ndarray, "cell prompt"],
    limit: float,
    units: np.ndarray,
    seed: int,
) -> pd.DataFrame:
    n = len(np.unique(units))
    share, effect = shares.mean(1), effects.mean(1)
    frame = pd.DataFrame({"attribution": share, "ablation": effect, "difference": share - effect})
    certain = np.ones(len(frame), dtype=bool)
    frame["ci_low"] = frame["ci_high"] = np.nan
    if n >= MIN_UNITS:
        drawn = resample_weights(units, N_RESAMPLES, seed) @ (shares - effects).T
        frame["ci_low"], frame["ci_high"] = np.quantile(drawn, [0.025, 0.975], axis=0)
        certain = ((frame["ci_low"] > 0) | (frame["ci_high"] < 0)).to_numpy()
    frame["limit"] = limit
    frame["disagrees"] = (frame["difference"].abs() > limit) & certain
    both = (np.abs(share) > limit) & (np.abs(effect) > limit) & (share * effect < 0)
    kind = np.where(np.abs(effect) < np.abs(share), "erased", "indirect")
    kind = np.where(both, "opposite", kind)
    frame["verdict"] = np.where(frame["disagrees"], kind, "agree")
    frame["n"] = n
    return frame
