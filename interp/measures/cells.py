"""Which attention counts for a role: cells of a pattern, and the control's cells beside them.

Cells are weights: their weighted sum over a prompt's pattern is the score, or the control. They
average over the queries that have a target; queries without one do not count.

A *reading* makes the cells of a scene, or None where the scene lacks what the role needs.

Sources: see `interp.measures.roles`. The controls are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.measures.scenes import Scene

LOCAL = 4  # lags 0 to 3 are local, 4 to 7 their control
CONTROL_POSITIONS = (1, 4)  # beside position 0


@dataclass(frozen=True)
class Side:
    """Weights of a version's cells; their weighted sum is a prompt's score or control."""

    version: str
    weights: Float[Tensor, "batch query_pos key_pos"]


@dataclass(frozen=True)
class RoleCells:
    """Which attention counts for a role in a scene, and for which of its prompts it exists."""

    target: Side
    control: Side
    defined: Bool[Tensor, " batch"]


Reading = Callable[[Scene, torch.device], RoleCells | None]
Hits = Bool[Tensor, "batch query_pos key_pos"]


# ------------------------------------------------------------------------ roles about positions


def lag_cells(lag: int) -> Reading:
    """Keys a fixed distance back, against the other ones among the last four tokens.

    The control lies as near as possible: a head that looks at all of its neighbourhood is no head
    for one distance. Position 0, where many heads rest, does not count on either side.
    """

    def cells(scene: Scene, device: torch.device) -> RoleCells | None:
        if not scene.plain:
            return None
        query, _, distance = _lags(scene.versions[scene.plain].shape, device)
        near = (query >= LOCAL) & (distance >= 0) & (distance < LOCAL)
        return _same_version(
            scene.plain, near & (distance == lag), near & (distance != lag), per_key=True
        )

    return cells


def local_cells(scene: Scene, device: torch.device) -> RoleCells | None:
    """Lags 0 to 3 together, against lags 4 to 7."""
    if not scene.plain:
        return None
    query, _, lag = _lags(scene.versions[scene.plain].shape, device)
    counts = query >= 2 * LOCAL  # so that all eight keys lie behind position 0
    near = counts & (lag >= 0) & (lag < LOCAL)
    far = counts & (lag >= LOCAL) & (lag < 2 * LOCAL)
    return _same_version(scene.plain, near, far, per_key=False)


def first_token_cells(scene: Scene, device: torch.device) -> RoleCells | None:
    """Position 0 of ordinary prompts, against positions 1 to 4."""
    return _first_position(scene.plain, scene, device) if scene.plain else None


def position_sink_cells(scene: Scene, device: torch.device) -> RoleCells | None:
    """Position 0 where no BOS token stands, against positions 1 to 4."""
    return None if scene.moved_bos is None else _first_position("without", scene, device)


def _first_position(version: str, scene: Scene, device: torch.device) -> RoleCells:
    """Queries from position 6 on: every control position lies two or more behind them.

    So heads for the current or the previous token do not lend the control their attention.
    """
    query, key, _ = _lags(scene.versions[version].shape, device)
    first, last = CONTROL_POSITIONS
    counts = query >= last + 2
    others = counts & (key >= first) & (key <= last)
    return _same_version(version, counts & (key == 0), others, per_key=True)


def bos_sink_cells(scene: Scene, device: torch.device) -> RoleCells | None:
    """The BOS token where it stands inside the prompt, against another token there."""
    if scene.moved_bos is None:
        return None
    query, key, _ = _lags(scene.versions["moved"].shape, device)
    hits = (key == scene.moved_bos) & (query > scene.moved_bos + 1)
    weights, defined = _averaged(hits, per_key=True), hits.any(-1).any(-1)
    return RoleCells(Side("moved", weights), Side("without", weights), defined)


# ------------------------------------------------------------------------- roles about repeats


def match_cells(offset: int) -> Reading:
    """The key `offset` places after the earlier occurrences of the query's token.

    0 is the occurrence itself (duplicate token), 1 what followed it (induction). The control reads
    the same cells where the repeat is taken out. Neither the query itself nor what comes later
    counts, and what stands before an occurrence does not count at position 0.
    """

    def cells(scene: Scene, device: torch.device) -> RoleCells | None:
        if scene.queries is None or not scene.queries.any():
            return None
        tokens = torch.as_tensor(scene.versions["prompt"], device=device)
        queries = torch.as_tensor(scene.queries, device=device)
        _, key, lag = _lags(tuple(tokens.shape), device)
        same = (tokens[:, :, None] == tokens[:, None, :]) & (lag > 0)
        source = key - offset
        inside = (source >= 0) & (source < tokens.shape[1])
        shifted = same.gather(2, source.clamp(0, tokens.shape[1] - 1)) & inside
        hits = shifted & (lag > 0) & queries[:, :, None] & (key >= int(offset < 0))
        weights = _averaged(hits, per_key=False)
        return RoleCells(Side("prompt", weights), Side("control", weights), hits.any(-1).any(-1))

    return cells


# ------------------------------------------------------------------- roles about marked places


def pair_cells(role: str) -> Reading:
    """Cells of a role whose queries and keys are marked in the scene."""

    def cells(scene: Scene, device: torch.device) -> RoleCells | None:
        if role not in scene.pairs:
            return None
        sides = []
        for version in ("prompt", "control"):
            pairs = torch.as_tensor(scene.pairs[role][version], device=device)
            batch, n_pos = scene.versions[version].shape
            hits = torch.zeros(batch, n_pos, n_pos, dtype=torch.bool, device=device)
            row = torch.arange(batch, device=device)[:, None]
            hits[row, pairs[..., 0], pairs[..., 1]] = True
            # Every marked key counts alike, however many a query has.
            weights = hits.double() / hits.sum((1, 2), keepdim=True)
            sides.append(Side(version, weights))
        return RoleCells(*sides, torch.ones(len(scene), dtype=torch.bool, device=device))

    return cells


# --------------------------------------------------------------------------------- averaging


Places = Int[Tensor, "batch query_pos key_pos"]


def _lags(shape: tuple[int, int], device: torch.device) -> tuple[Places, Places, Places]:
    """Query position, key position and their distance, for each cell."""
    batch, n_pos = shape
    position = torch.arange(n_pos, device=device)
    query, key = (side.expand(batch, n_pos, n_pos) for side in (position[:, None], position[None]))
    return query, key, query - key


def _averaged(hits: Hits, per_key: bool) -> Float[Tensor, "batch query_pos key_pos"]:
    """Weights that average over the queries with hits, and over a query's keys or sum them."""
    hits = hits.double()
    per_query = hits.sum(-1, keepdim=True)
    n_queries = (per_query > 0).sum(-2, keepdim=True).clamp(min=1)
    return hits / (per_query.clamp(min=1) if per_key else 1.0) / n_queries


def _same_version(version: str, target: Hits, control: Hits, per_key: bool) -> RoleCells:
    defined = target.any(-1).any(-1) & control.any(-1).any(-1)
    sides = (Side(version, _averaged(hits, per_key)) for hits in (target, control))
    return RoleCells(*sides, defined)
