"""What each attention head looks at: four roles, each against a matched control.

| role | attention from a query to | control |
|---|---|---|
| previous token | the token just before it | mean of lags 2 to 8, same queries |
| duplicate token | earlier occurrences of its own token | same places, repeat taken out |
| induction | the tokens after those occurrences | same places, repeat taken out |
| first token | position 0 | mean of positions 1 to 4, same queries |

A score is attention (probability) per query that has a target, averaged over the queries of a
prompt; queries without a target do not count, and neither does attention of a token to itself. The
contrast, score minus control, is what a role is judged by: a head that always looks back a fixed
distance hits every induction target of a prompt with the right period, and its contrast is 0.

Sources: Elhage et al. 2021 (previous token, induction), Olsson et al. 2022, arXiv:2209.11895
(prefix matching), Wang et al. 2022, arXiv:2211.00593 (duplicate token), Xiao et al. 2023,
arXiv:2309.17453 (first token). The controls are ours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError, hook_name
from interp.measures.statistics import (
    MIN_UNITS,
    N_PERMUTATIONS,
    N_RESAMPLES,
    false_discovery_q,
    paired_contrast,
)
from interp.measures.stimuli import PromptBatch, PromptSet, random_token_prompts

ROLES = ("previous_token", "duplicate_token", "induction", "first_token")
MIN_EFFECT = 0.1  # smallest contrast of interest, in attention probability, declared beforehand
ALPHA = 0.05
CONTROL_LAGS = (2, 8)
CONTROL_POSITIONS = (1, 4)

Pattern = Float[Tensor, "layer batch head query_pos key_pos"]
Tokens = Int[Tensor, "batch pos"] | Int[np.ndarray, "batch pos"]
Queries = Bool[Tensor, "batch pos"] | Bool[np.ndarray, "batch pos"]
Progress = Callable[[str, int, int], None]


# ------------------------------------------------------------------- which attention counts


class Cells(NamedTuple):
    """How much each entry of a pattern counts: the weighted sum is a prompt's score or control.

    Where `defined` is False the prompt has no query with a target, and no score.
    """

    target: Float[Tensor, "batch query_pos key_pos"]
    control: Float[Tensor, "batch query_pos key_pos"]
    defined: Bool[Tensor, " batch"]


def previous_token_cells(tokens: Int[Tensor, "batch pos"]) -> Cells:
    """The token before the query, against lags 2 to 8.

    Position 0 is left out on both sides, since many heads rest there, and so are the queries that
    would then have no control: the first three.
    """
    query, key = _grid(tokens)
    lag, counts = query - key, (key >= 1) & (query >= 3)
    near, far = CONTROL_LAGS
    control = counts & (lag >= near) & (lag <= far)
    return _same_for_all_prompts(tokens, counts & (lag == 1), control)


def first_token_cells(tokens: Int[Tensor, "batch pos"]) -> Cells:
    """Position 0, against positions 1 to 4.

    Queries from position 6 on: every control position lies two or more behind them, so that heads
    for the current or the previous token do not lend the control their attention.
    """
    query, key = _grid(tokens)
    first, last = CONTROL_POSITIONS
    counts = query >= last + 2
    return _same_for_all_prompts(
        tokens, counts & (key == 0), counts & (key >= first) & (key <= last)
    )


def duplicate_token_cells(
    tokens: Int[Tensor, "batch pos"], queries: Bool[Tensor, "batch pos"]
) -> Cells:
    """Earlier occurrences of the query's own token; the control reads the same cells."""
    query, key = _grid(tokens)
    same = tokens[:, :, None] == tokens[:, None, :]
    target, defined = _mean_over_queries(same & (key < query) & queries[:, :, None], "sum")
    return Cells(target, target, defined)


def induction_cells(tokens: Int[Tensor, "batch pos"], queries: Bool[Tensor, "batch pos"]) -> Cells:
    """Tokens that followed earlier occurrences; the control reads the same cells."""
    query, key = _grid(tokens)
    # The wrapped-around column belongs to key 0, which follows nothing.
    follows = (tokens[:, :, None] == tokens[:, None, :]).roll(1, dims=-1)
    hits = follows & (key >= 1) & (key < query) & queries[:, :, None]
    target, defined = _mean_over_queries(hits, "sum")
    return Cells(target, target, defined)


def _grid(tokens: Tensor) -> tuple[Tensor, Tensor]:
    position = torch.arange(tokens.shape[1], device=tokens.device)
    return position[:, None], position[None, :]


def _mean_over_queries(
    hits: Bool[Tensor, "*batch query_pos key_pos"], over_keys: str
) -> tuple[Float[Tensor, "*batch query_pos key_pos"], Bool[Tensor, "*batch"]]:
    """Weights that sum (or average) over a query's hits and average over the queries with hits."""
    per_query = hits.sum(dim=-1, keepdim=True)
    n_queries = (per_query > 0).sum(dim=-2, keepdim=True)
    share = per_query.clamp(min=1) if over_keys == "mean" else 1
    weights = hits.double() / share / n_queries.clamp(min=1)
    return weights, n_queries[..., 0, 0] > 0


def _same_for_all_prompts(tokens: Tensor, target: Tensor, control: Tensor) -> Cells:
    batch = len(tokens)
    sides = [_mean_over_queries(hits, "mean") for hits in (target, control)]
    target, control = (weights.expand(batch, -1, -1) for weights, _ in sides)
    return Cells(target, control, sides[0][1].expand(batch))


# --------------------------------------------------------------- scores of a given pattern


def previous_token_scores(pattern: Pattern, seed: int = 0) -> pd.DataFrame:
    """How much more each head attends to the token before the query than to lags 2 to 8.

    Args:
        pattern: attention after the softmax (`hook_pattern`) of at least 6 prompts.
        seed: of permutations and resamples.

    Returns:
        One row per head: `layer`, `head`, `score`, `control`, `contrast`, `ci_low`, `ci_high`
        (probability), `p`, `q` (over these heads), `n` (prompts).

    Raises:
        InputError: not a causal pattern of at least four positions and six prompts.
    """
    cells = previous_token_cells(_any_tokens(pattern))
    return _scores(pattern, pattern, cells, "previous_token", seed)


def first_token_scores(pattern: Pattern, seed: int = 0) -> pd.DataFrame:
    """How much more each head attends to position 0 than to positions 1 to 4.

    Arguments, result and errors as in `previous_token_scores`; seven positions are needed.
    """
    cells = first_token_cells(_any_tokens(pattern))
    return _scores(pattern, pattern, cells, "first_token", seed)


def duplicate_token_scores(
    pattern: Pattern,
    control_pattern: Pattern,
    tokens: Tokens,
    queries: Queries | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How much more each head attends to earlier occurrences of a token than without the repeat.

    Args:
        pattern: attention on prompts in which tokens repeat.
        control_pattern: attention on the same prompts with the repeats taken out.
        tokens: the prompts with repeats.
        queries: positions at which a repeat is looked back at; all by default.
        seed: of permutations and resamples.

    Returns:
        As `previous_token_scores`; `n` counts prompts that have a repeat.

    Raises:
        InputError: shapes that do not fit together, or no repeat in six prompts or more.
    """
    cells = duplicate_token_cells(*_checked_queries(pattern, tokens, queries))
    return _scores(pattern, control_pattern, cells, "duplicate_token", seed)


def induction_scores(
    pattern: Pattern,
    control_pattern: Pattern,
    tokens: Tokens,
    queries: Queries | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How much more each head attends to what followed a token's earlier occurrences.

    Arguments, result and errors as in `duplicate_token_scores`.
    """
    cells = induction_cells(*_checked_queries(pattern, tokens, queries))
    return _scores(pattern, control_pattern, cells, "induction", seed)


def _scores(
    pattern: Pattern, control_pattern: Pattern, cells: Cells, role: str, seed: int
) -> pd.DataFrame:
    for name, side in (("pattern", pattern), ("control_pattern", control_pattern)):
        _check_pattern(name, side)
    if pattern.shape != control_pattern.shape:
        raise InputError(
            f"pattern is {tuple(pattern.shape)} and control_pattern "
            f"{tuple(control_pattern.shape)}; a control prompt has the length of its prompt"
        )
    if not cells.defined.any():
        raise InputError(f"no query has a target for {role.replace('_', ' ')}: {_NEEDS[role]}")
    n_layers, _, n_heads = pattern.shape[:3]
    sides = []
    for side, weights in ((pattern, cells.target), (control_pattern, cells.control)):
        per_prompt = torch.einsum("lbhqk,bqk->blh", side.double(), weights)[cells.defined]
        sides.append(per_prompt.flatten(1).cpu().numpy())
    frame = _with_heads(paired_contrast(*sides, seed=seed), n_layers, n_heads)
    frame.insert(frame.columns.get_loc("n"), "q", false_discovery_q(frame["p"].to_numpy()))
    return frame


_NEEDS = {
    "previous_token": "a prompt needs at least 4 tokens",
    "first_token": "a prompt needs at least 7 tokens",
    "duplicate_token": "the prompts repeat no token at the queries",
    "induction": "the prompts repeat no token, two or more positions back, at the queries",
}


def _with_heads(frame: pd.DataFrame, n_layers: int, n_heads: int) -> pd.DataFrame:
    layer, head = np.divmod(np.arange(n_layers * n_heads), n_heads)
    frame.insert(0, "layer", layer)
    frame.insert(1, "head", head)
    return frame


def _any_tokens(pattern: Tensor) -> Tensor:
    """Tokens for roles that depend on positions alone."""
    return torch.zeros(pattern.shape[1], pattern.shape[-1], dtype=torch.long, device=pattern.device)


def _checked_queries(
    pattern: Tensor, tokens: Tokens, queries: Queries | None
) -> tuple[Tensor, Tensor]:
    tokens = torch.as_tensor(tokens, device=pattern.device)
    if tokens.shape != (pattern.shape[1], pattern.shape[-1]):
        raise InputError(
            f"pattern covers {pattern.shape[1]} prompts of {pattern.shape[-1]} tokens, but tokens "
            f"is {tuple(tokens.shape)}; were they of another run, or without BOS?"
        )
    if queries is None:
        return tokens, torch.ones_like(tokens, dtype=torch.bool)
    return tokens, torch.as_tensor(queries, device=pattern.device)


def _check_pattern(name: str, pattern: Tensor) -> None:
    if pattern.shape[-1] != pattern.shape[-2]:
        raise InputError(
            f"{name} has {pattern.shape[-2]} queries and {pattern.shape[-1]} keys; roles need the "
            "square pattern of a whole prompt, not that of a step with a key-value cache"
        )
    sums = pattern.double().sum(dim=-1)
    # Also false for NaN. The tolerance admits bfloat16.
    if not ((sums - 1).abs() < 0.05).all() or (pattern < 0).any():
        raise InputError(
            f"{name} has rows that are no probabilities (they must sum to 1); were scores passed "
            "instead of hook_pattern?"
        )


# ------------------------------------------------------------------------ scores of a model


@dataclass(frozen=True)
class RoleValues:
    """A role on one set of prompts: one value per unit, layer and head."""

    score: Float[np.ndarray, "unit layer head"]
    control: Float[np.ndarray, "unit layer head"]


def head_role_scores(
    model: HookedGPT,
    prompt_sets: Sequence[PromptSet],
    *,
    batch_size: int = 32,
    n_permutations: int = N_PERMUTATIONS,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """All roles of all heads on several kinds of prompts, with what each score is worth.

    The units are split at random. The discovery half gives `contrast_discovery` and nothing else;
    everything else comes from the confirmation half. A role is `confirmed` for a head if the
    discovery contrast is at least `MIN_EFFECT`, the lower end of the confirmation interval is above
    it, and q < 0.05, q being corrected over all heads, roles and kinds of prompts.

    Args:
        model: any HookedGPT.
        prompt_sets: from least to most like what the model was trained on; a role is judged by the
            last set on which it is defined (`decisive`).
        batch_size: prompts in one forward pass.
        n_permutations: sign flips for each p-value.
        n_resamples: bootstrap resamples for each interval.
        seed: of the split, the sign flips and the resamples.
        progress: called with what is done, prompts done and prompts in all.

    Returns:
        One row per kind of prompts, role and head: `prompts`, `role`, `layer`, `head`, `score`,
        `control`, `contrast`, `ci_low`, `ci_high` (probability), `p`, `q`, `n` (units of the
        confirmation half), `contrast_discovery`, `decisive`, `confirmed`. Roles without any target
        in a kind of prompts have no rows there.

    Raises:
        InputError: no role has targets in six units of either half of any set.

    Cost: two forward passes over the prompts without the unembedding, with one layer's pattern in
    memory at a time; then `n_resamples * n / 2` gathered numbers per head, role and set.
    """
    frames = []
    for number, prompts in enumerate(prompt_sets):
        values = role_values(model, prompts, batch_size=batch_size, progress=progress)
        for role, of_role in values.items():
            frame = _tested(of_role, n_permutations, n_resamples, seed)
            if frame is None:
                continue
            frame.insert(0, "prompts", prompts.name)
            frame.insert(1, "role", role)
            frames.append(frame.assign(decisive=number))
    if not frames:
        raise InputError(
            "no role can be measured on these prompts: none has targets in at least six prompts of "
            "each half; raise the number of prompts, or give longer ones"
        )
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(frame.columns.get_loc("n"), "q", false_discovery_q(frame["p"].to_numpy()))
    frame["decisive"] = frame["decisive"] == frame.groupby("role")["decisive"].transform("max")
    frame["confirmed"] = (
        (frame["contrast_discovery"] >= MIN_EFFECT)
        & (frame["ci_low"] > MIN_EFFECT)
        & (frame["q"] < ALPHA)
    )
    return frame


def confirmed_roles(frame: pd.DataFrame) -> pd.DataFrame:
    """The roles that heads hold: decisive and confirmed rows, strongest first."""
    held = frame[frame["decisive"] & frame["confirmed"]]
    return held.sort_values("contrast", ascending=False, kind="stable").reset_index(drop=True)


def role_summary(frame: pd.DataFrame, random_init: pd.DataFrame) -> pd.DataFrame:
    """One row per role: how many heads hold it, and its best head beside that of random weights.

    Args:
        frame: of `head_role_scores`; only its decisive rows count.
        random_init: the same for a model of the same shape with random weights.

    Returns:
        `role`, `prompts`, `n_heads`, `n_confirmed`, `n_confirmed_random_init`, and of the head with
        the largest contrast: `best` (its label), `score`, `control`, `contrast`, `ci_low`,
        `ci_high`, `contrast_discovery`, `q`, `n`, `confirmed`; `contrast_random_init` is the
        largest contrast of the random model. In the order of `ROLES`.
    """
    rows = []
    for role in (role for role in ROLES if (frame["role"] == role).any()):
        decisive = frame[frame["decisive"] & (frame["role"] == role)]
        random = random_init[random_init["decisive"] & (random_init["role"] == role)]
        best = decisive.loc[decisive["contrast"].idxmax()]
        rows.append(
            {
                "role": role.replace("_", " "),
                "prompts": best["prompts"],
                "n_heads": len(decisive),
                "n_confirmed": int(decisive["confirmed"].sum()),
                "n_confirmed_random_init": int(random["confirmed"].sum()),
                "best": f"L{best['layer']}H{best['head']}",
                **best[_OF_BEST].to_dict(),
                "contrast_random_init": random["contrast"].max(),
            }
        )
    return pd.DataFrame(rows)


_OF_BEST = [
    "score",
    "control",
    "contrast",
    "ci_low",
    "ci_high",
    "contrast_discovery",
    "q",
    "n",
    "confirmed",
]


def role_values(
    model: HookedGPT,
    prompts: PromptSet,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> dict[str, RoleValues]:
    """Score and control of each role for each unit; roles without a target are left out.

    Memory does not grow with the number of prompts beyond these values: patterns are reduced
    layer by layer while the model runs.
    """
    parts: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    done, total = 0, sum(map(len, prompts.batches))
    for batch in _chunks(prompts, batch_size):
        for role, part in _batch_values(model, batch, prompts.plain).items():
            parts.setdefault(role, []).append(part)
        done += len(batch)
        if progress is not None:
            progress(f"heads on {prompts.name}", done, total)
    return {
        role: _by_unit(*map(np.concatenate, zip(*parts[role], strict=True)))
        for role in ROLES
        if role in parts
    }


def head_metrics(
    model: HookedGPT, *, n_prompts: int = 48, bos_id: int | None = 0, seed: int = 0
) -> dict[str, float]:
    """The best previous-token score and induction contrast over all heads, on random tokens.

    For the log of a training run: means without statistics, within a fraction of a second.

    Args:
        model: the model as it is now.
        n_prompts: random prompts.
        bos_id: put first and never drawn; the tokenizer's where the model has one.
        seed: of the prompts; the same at every call, so that steps can be compared.
    """
    bos_id = bos_id if model.tokenizer is None else model.tokenizer.bos_id
    vocab = ordinary_tokens(model, bos_id)
    prompts = random_token_prompts(vocab, n_prompts, model.config.n_ctx, bos_id, seed)
    values = role_values(model, prompts, batch_size=n_prompts)
    previous, induction = values["previous_token"], values["induction"]
    contrast = (induction.score - induction.control).mean(axis=0)
    return {
        "best_previous_token": float(previous.score.mean(axis=0).max()),
        "best_induction_contrast": float(contrast.max()),
    }


def ordinary_tokens(model: HookedGPT, bos_id: int | None = None) -> Int[np.ndarray, " token"]:
    """All token ids but the special ones."""
    special = {bos_id}
    if model.tokenizer is not None:
        special |= {model.tokenizer.bos_id, model.tokenizer.pad_id}
    return np.array([i for i in range(model.config.d_vocab) if i not in special])


def _batch_values(
    model: HookedGPT, batch: PromptBatch, plain: str
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each role: score and control `batch layer head` where defined, and the units."""
    # Cells are made on the CPU: they are double, which not every device knows.
    tokens, control, queries = map(torch.as_tensor, (batch.tokens, batch.control, batch.queries))
    repeat_roles = {
        "duplicate_token": duplicate_token_cells(tokens, queries),
        "induction": induction_cells(tokens, queries),
    }
    plain_roles = {
        "previous_token": previous_token_cells(tokens),
        "first_token": first_token_cells(tokens),
    }
    here, there = {}, {}  # cells read on the prompts and on their controls
    for role, cells in repeat_roles.items():
        here[role, "score"], there[role, "control"] = cells.target, cells.control
    side = here if plain == "tokens" else there
    for role, cells in plain_roles.items():
        side[role, "score"], side[role, "control"] = cells.target, cells.control
    read = _read(model, tokens, here) | _read(model, control, there)
    values = {}
    for role, cells in (repeat_roles | plain_roles).items():
        defined = cells.defined.cpu().numpy()
        if defined.any():
            score, control_values = (read[role, kind][defined] for kind in ("score", "control"))
            values[role] = (score, control_values, batch.unit[defined])
    return values


@torch.no_grad()
def _read(
    model: HookedGPT, tokens: Int[Tensor, "batch pos"], cells: dict[tuple[str, str], Tensor]
) -> dict[tuple[str, str], Float[np.ndarray, "batch layer head"]]:
    """Attention on several weightings of the pattern at once, one layer's pattern at a time."""
    weights = torch.stack([cell.flatten(1) for cell in cells.values()], dim=-1)
    dtype = torch.float64 if model.W_E.dtype == torch.float64 else torch.float32
    weights = weights.to(device=model.W_E.device, dtype=dtype)
    layers: list[np.ndarray] = []

    def reduce(pattern: Tensor, hook: object) -> None:
        on_cells = pattern.flatten(2).to(weights.dtype) @ weights
        layers.append(on_cells.cpu().double().numpy())

    n_layers = model.config.n_layers
    hooks = [(hook_name("pattern", layer), reduce) for layer in range(n_layers)]
    model.run_with_hooks(tokens.to(model.W_E.device), hooks, stop_at_layer=n_layers)
    stacked = np.stack(layers, axis=1)
    return {name: stacked[..., column] for column, name in enumerate(cells)}


def _chunks(prompts: PromptSet, batch_size: int) -> Iterator[PromptBatch]:
    for batch in prompts.batches:
        for start in range(0, len(batch), batch_size):
            rows = slice(start, start + batch_size)
            yield PromptBatch(
                batch.tokens[rows], batch.control[rows], batch.queries[rows], batch.unit[rows]
            )


def _by_unit(score: np.ndarray, control: np.ndarray, unit: np.ndarray) -> RoleValues:
    """Means over the prompts that share a unit."""
    _, owner, size = np.unique(unit, return_inverse=True, return_counts=True)
    sides = []
    for side in (score, control):
        total = np.zeros((len(size), *side.shape[1:]))
        np.add.at(total, owner, side)
        sides.append(total / size[:, None, None])
    return RoleValues(*sides)


def _tested(
    values: RoleValues, n_permutations: int, n_resamples: int, seed: int
) -> pd.DataFrame | None:
    """Statistics of the confirmation half and the contrast of the discovery half."""
    n_units, n_layers, n_heads = values.score.shape
    order = np.random.default_rng(seed).permutation(n_units)
    discovery, confirmation = order[: n_units // 2], order[n_units // 2 :]
    if len(discovery) < MIN_UNITS:
        return None
    score, control = (side.reshape(n_units, -1) for side in (values.score, values.control))
    frame = paired_contrast(
        score[confirmation], control[confirmation], n_permutations, n_resamples, seed
    )
    frame["contrast_discovery"] = (score - control)[discovery].mean(axis=0)
    return _with_heads(frame, n_layers, n_heads)
