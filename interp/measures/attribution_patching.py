"""Attribution patching: what a patch would do, estimated from one gradient for all of them.

A patch moves one activation from the base run's value to the source run's. To first order it
changes the metric by `(a_source - a_base) · ∂metric/∂a`, so two runs and one backward pass estimate
every patch of a sweep at once (Nanda 2023). An estimate, no measurement: `compare_with_exact`
holds it against `interp.measures.patching`, which is exact. Known failures and their remedies
(AtP*: Kramár et al. 2024, arXiv:2403.00745):

- **Saturated attention.** Where a head's softmax is flat, queries and keys seem not to matter.
  `qk_fix` recomputes the pattern with the patched query or key and is linear only in what follows.
- **Cancellation.** A direct and an indirect effect of opposite sign hide each other. `graddrop`
  takes the mean size over backward passes, each of which ignores one layer.

`interp.measures.edge_attribution` does the same for edges (EAP, EAP-IG).
"""

from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from interp.core import HookedGPT, InputError, hook_name
from interp.measures.branches import BaseRun
from interp.measures.metric_gradients import metric_gradients
from interp.measures.patching import HEAD_SITES, RESIDUAL_SITES, Direction, Metric, Pairs

KEYS = ("component", "layer", "head", "pos", "to_layer", "to_head")
MIN_CELLS = 3  # with fewer a correlation says nothing

# Gradients of a chunk to estimates of its prompts: "drop prompt head pos".
ByHead = Float[Tensor, "drop prompt head pos"]


def estimate_patches(
    model: HookedGPT,
    pairs: Pairs,
    metric: Metric,
    *,
    site: str = "z",
    direction: Direction = "denoise",
    by_position: bool = False,
    qk_fix: bool = False,
    graddrop: bool = False,
    batch_size: int = 16,
) -> pd.DataFrame:
    """Estimates all cells of `patch_residual` or `patch_heads` from gradients.

    Args:
        model: pre-norm or without norms.
        pairs: the prompts.
        metric: the number that patches change.
        site: of `RESIDUAL_SITES` (cells are layer and position) or `HEAD_SITES` (layer and head).
        direction: "denoise" puts clean activations into the corrupted run, whose gradient is
            taken; "noise" the reverse.
        by_position: for heads, one cell per position too, as in `patch_heads`.
        qk_fix: for the sites "q" and "k", form the patched pattern instead of its gradient.
        graddrop: sizes without sign, mean over backward passes that leave out one layer each.
        batch_size: prompts at a time.

    Returns:
        One row per cell: the key columns of the exact sweep, `metric`, `unit`, `method`,
        `estimate` (of `effect` there; of its size with `graddrop`), `signed`, `n` (prompts).

    Raises:
        InputError: an unknown site, `qk_fix` elsewhere than on "q" and "k", `graddrop` on the
            stream itself or with one layer, or a post-norm model.

    Cost: three forward passes and one backward pass, or `n_layers` of them with `graddrop`;
    nothing grows with the number of cells. Memory: both runs, and a graph of `batch_size` prompts.
    """
    _check(model, site, qk_fix, graddrop)
    base, source = runs_of(model, pairs, direction)
    dropped = range(model.config.n_layers) if graddrop else (None,)
    fix = {"q": "query", "k": "key" if by_position else "keys"}[site] if qk_fix else None
    points = _points(model, site, qk_fix)
    parts = []
    for rows in torch.arange(len(pairs.clean), device=base.tokens.device).split(batch_size):
        start = base.pre[0][rows]
        _, _, found = metric_gradients(model, metric, start, rows, points, dropped=dropped)
        by_layer = [found[name] for name in points]
        with torch.no_grad():
            if site in RESIDUAL_SITES:
                parts.append(_residual_cells(base, source, rows, by_layer, site))
            else:
                parts.append(_head_cells(model, base, source, rows, by_layer, site, fix))
    values = torch.cat(parts, 2).double().cpu()  # layer drop prompt (head) pos
    if site in HEAD_SITES and not by_position:
        values = values.sum(-1, keepdim=True)
    # With GradDrop, a layer's own pass leaves its activations without any effect.
    values = values.abs().sum(1) / (len(dropped) - 1) if graddrop else values[:, 0]
    method = "attribution patching" + ", QK fix" * qk_fix + ", GradDrop" * graddrop
    return _cells(values.mean(1).numpy(), site, by_position).assign(
        metric=metric.name,
        unit=metric.unit,
        method=method,
        signed=not graddrop,
        n=len(pairs.clean),
    )


def compare_with_exact(estimates: pd.DataFrame, exact: pd.DataFrame) -> pd.DataFrame:
    """Puts estimates beside the exact effects of the same patches.

    Args:
        estimates: of `estimate_patches` or `estimate_edges`.
        exact: of the sweep in `interp.measures.patching` with the same prompts, direction, site
            and metric, whole or in part. A sweep of paths needs a column `component` ("q", "k",
            "v", "mlp" or "logits") if several are joined.

    Returns:
        One row per patch in both, worst miss first: the keys, `method`, `estimate`, `effect`, with
        interval `ci_low`, `ci_high`, and `miss` (estimate minus effect; for estimates without sign
        minus the size of the effect).

    Raises:
        InputError: no patch is in both, or a patch is there twice (several metrics, say).
    """
    keys = [key for key in KEYS if key in estimates and key in exact]
    for name, frame in (("estimates", estimates), ("exact", exact)):
        if frame.duplicated(keys).any():
            raise InputError(
                f"the {name} hold a patch twice by {', '.join(keys)}; compare one metric, method "
                "and component at a time"
            )
    wanted = [*keys, "method", "signed", "estimate"]
    joined = estimates[wanted].merge(exact[[*keys, "effect", "ci_low", "ci_high"]], on=keys)
    if not len(joined):
        raise InputError("no patch is in both frames, so there is nothing to compare")
    size = joined["effect"].where(joined["signed"], joined["effect"].abs())
    joined["miss"] = joined["estimate"] - size
    order = joined["miss"].abs().sort_values(ascending=False, kind="stable").index
    return joined.loc[order].reset_index(drop=True)


def approximation_quality(compared: pd.DataFrame, n_worst: int = 5) -> pd.DataFrame:
    """How well estimates stand in for exact patching.

    Args:
        compared: of `compare_with_exact`; all cells of the sweep, so the correlations describe
            them and estimate nothing beyond.
        n_worst: misses to name.

    Returns:
        One row per method: `method`, `r` (Pearson), `rank_correlation` (Spearman), `slope` (least
        squares through 0, exact on estimate; 1 if sizes agree), `largest_effect`, `largest_miss`
        (both without sign), `false_negatives` (effects of at least a fifth of the largest whose
        estimate is below a fifth of them), `worst` (names of the largest misses, worst first),
        `n` (cells). Correlations are NaN where estimates or effects do not vary.
    """
    rows = []
    for method, own in compared.groupby("method", sort=False):
        estimate = own["estimate"].to_numpy()
        effect = own["effect"].to_numpy()
        effect = np.where(own["signed"], effect, np.abs(effect))
        varied = len(own) >= MIN_CELLS and np.ptp(estimate) > 0 and np.ptp(effect) > 0
        worst = own.loc[own["miss"].abs().sort_values(ascending=False, kind="stable").index]
        large = np.abs(effect) >= np.abs(effect).max() / 5
        rows.append(
            {
                "method": method,
                "r": stats.pearsonr(estimate, effect)[0] if varied else np.nan,
                "rank_correlation": stats.spearmanr(estimate, effect)[0] if varied else np.nan,
                "slope": estimate @ effect / (estimate @ estimate) if varied else np.nan,
                "largest_effect": np.abs(effect).max(),
                "largest_miss": own["miss"].abs().max(),
                "false_negatives": int((large & (np.abs(estimate) < np.abs(effect) / 5)).sum()),
                "worst": ", ".join(cell_name(row) for _, row in worst.head(n_worst).iterrows()),
                "n": len(own),
            }
        )
    return pd.DataFrame(rows)


def cell_name(row: pd.Series) -> str:
    """What a patch is called: "L1H2", "L1H2 at 5", "L0 at 3", "L0H1 → L2H3 q", "L0H1 → logits"."""
    cell = {key: row[key] if key == "component" else int(row[key]) for key in KEYS if key in row}
    name = _place(cell["layer"], cell.get("head"))
    if "to_layer" in cell:
        component = cell.get("component", "")
        if component == "logits":
            return f"{name} → logits"
        to = _place(cell["to_layer"], cell["to_head"])
        return f"{name} → {to} {component}".removesuffix(" mlp").strip()
    return f"{name} at {cell['pos']}" if "pos" in cell else name


def _place(layer: int, head: int | None) -> str:
    if layer < 0:
        return "embedding"
    if head is None:
        return f"L{layer}"
    return f"MLP {layer}" if head < 0 else f"L{layer}H{head}"


def runs_of(model: HookedGPT, pairs: Pairs, direction: Direction) -> tuple[BaseRun, BaseRun]:
    """The run that is patched, and the one that patches come from.

    Raises:
        InputError: an unknown direction, aligned pairs, or a post-norm model.
    """
    if direction not in ("denoise", "noise"):
        raise InputError(f"direction {direction!r} is neither 'denoise' nor 'noise'")
    if pairs.aligned is not None:
        raise InputError(
            "attribution patching subtracts the two runs position by position, so it takes pairs "
            "of equal length without `aligned`; patch aligned pairs exactly (interp.measures."
            "patching)"
        )
    device = model.W_E.device
    clean, corrupted = (BaseRun(model, t.to(device)) for t in (pairs.clean, pairs.corrupted))
    return (corrupted, clean) if direction == "denoise" else (clean, corrupted)


def _check(model: HookedGPT, site: str, qk_fix: bool, graddrop: bool) -> None:
    if site not in (*RESIDUAL_SITES, *HEAD_SITES):
        known = ", ".join((*RESIDUAL_SITES, *HEAD_SITES))
        raise InputError(f"{site!r} is no site of a patch; there are {known}")
    if model.config.attn_only and site in ("resid_mid", "mlp_out"):
        raise InputError(f"{model.name} has no MLP, so there is no {site!r} to patch")
    if qk_fix and site not in ("q", "k"):
        raise InputError(f"the QK fix recomputes patterns for queries and keys, not for {site!r}")
    if graddrop and site.startswith("resid"):
        raise InputError(f"GradDrop is for what a layer writes or reads, not for {site!r}")
    if graddrop and model.config.n_layers < 2:
        raise InputError("GradDrop leaves out one layer at a time, but this model has only one")


def _points(model: HookedGPT, site: str, qk_fix: bool) -> list[str]:
    """Where gradients are needed, layer by layer."""
    at = "z" if qk_fix or site == "pattern" else site
    return [hook_name(at, layer) for layer in range(model.config.n_layers)]


def _cells(values: np.ndarray, site: str, by_position: bool) -> pd.DataFrame:
    names = ["layer", "pos"] if site in RESIDUAL_SITES else ["layer", "head", "pos"]
    index = pd.MultiIndex.from_product([range(n) for n in values.shape], names=names)
    frame = index.to_frame(index=False).assign(estimate=values.ravel())
    return frame if by_position or site in RESIDUAL_SITES else frame.drop(columns="pos")


# -------------------------------------------------------------------------------- the estimates


def _residual_cells(
    base: BaseRun,
    source: BaseRun,
    rows: Int[Tensor, " prompt"],
    gradients: list[Float[Tensor, "drop prompt pos d_model"]],
    site: str,
) -> Float[Tensor, "layer drop prompt pos"]:
    def written(run: BaseRun, layer: int) -> Tensor:
        if site.startswith("resid"):
            return getattr(run, site.removeprefix("resid_"))[layer][rows]
        before, after = (run.pre, run.mid) if site == "attn_out" else (run.mid, run.post)
        return after[layer][rows] - before[layer][rows]

    return torch.stack(
        [
            (of_layer * (written(source, layer) - written(base, layer))).sum(-1)
            for layer, of_layer in enumerate(gradients)
        ]
    )


def _head_cells(
    model: HookedGPT,
    base: BaseRun,
    source: BaseRun,
    rows: Int[Tensor, " prompt"],
    gradients: list[Float[Tensor, "drop prompt pos head d_head"]],
    site: str,
    fix: Literal["query", "keys", "key"] | None,
) -> Float[Tensor, "layer drop prompt head pos"]:
    found = []
    for layer, of_layer in enumerate(gradients):
        if fix is not None or site == "pattern":
            found.append(_by_pattern(model, base, source, rows, of_layer, fix, layer))
            continue
        change = getattr(source, site)[layer][rows] - getattr(base, site)[layer][rows]
        found.append((of_layer * change).sum(-1).transpose(-1, -2))
    return torch.stack(found)


def _by_pattern(
    model: HookedGPT,
    base: BaseRun,
    source: BaseRun,
    rows: Int[Tensor, " prompt"],
    of_z: Float[Tensor, "drop prompt pos head d_head"],
    fix: Literal["query", "keys", "key"] | None,
    layer: int,
) -> ByHead:
    """The pattern's exact change, times the gradient of the pattern."""
    of_pattern = torch.einsum("nbqhe,bkhe->nbhqk", of_z, base.v[layer][rows]).double()

    def scores(q: BaseRun, k: BaseRun) -> Float[Tensor, "prompt head query_pos key_pos"]:
        scaled = (q.q[layer][rows] * model.blocks[layer].attn.scale).double()
        found = torch.einsum("bqhe,bkhe->bhqk", scaled, k.k[layer][rows].double())
        allowed = base.allowed[layer]
        return found if allowed is None else found.masked_fill(~allowed, -torch.inf)

    own = scores(base, base)
    if fix == "key":
        return _by_key(own, scores(base, source), of_pattern)
    other = scores(base if fix == "keys" else source, base if fix == "query" else source)
    return (of_pattern * (other.softmax(-1) - own.softmax(-1))).sum(-1)


def _by_key(
    own: Float[Tensor, "prompt head query_pos key_pos"],
    other: Float[Tensor, "prompt head query_pos key_pos"],
    of_pattern: Float[Tensor, "drop prompt head query_pos key_pos"],
) -> ByHead:
    """Each key patched alone: its attention changes, and that on the others by a common factor.

    The sum over the other keys comes from the sum over all, except for a row's largest score, where
    the difference would be rounding alone: a saturated head is what the fix is for.
    """
    allowed = own > -torch.inf
    top = torch.zeros_like(allowed).scatter(-1, own.argmax(-1, keepdim=True), True)
    rest = own.masked_fill(top, -torch.inf)
    pattern, total = own.softmax(-1), own.logsumexp(-1, keepdim=True)
    others = torch.where(top, rest.logsumexp(-1, keepdim=True), total + (-pattern).log1p())
    change = (other - others).sigmoid() - (own - others).sigmoid()
    whole = (of_pattern * pattern).sum(-1, keepdim=True)
    of_others = (whole - of_pattern * pattern) / (1 - pattern)
    of_rest = (of_pattern * rest.softmax(-1)).sum(-1, keepdim=True)
    gained = change * (of_pattern - torch.where(top, of_rest, of_others))
    alone = allowed.sum(-1, keepdim=True) == 1  # a single key has all attention, whatever it is
    return gained.masked_fill(~allowed | alone, 0.0).sum(-2)
