"""The roles that heads are tested for: one entry each, with its control and its smallest effect.

Three kinds of reading exist. A role that is about *attention* names cells of a pattern and control
cells (`cells`). A role that is about *what is written* names a statistic of the head's output at
the tokens of a prompt, through the unembedding (`circuit`): a control head with the same singular
values and random singular vectors stands beside it. A role may need others to hold as well
(`needs`): an induction head attends in the right place *and* raises what it attends to. Or it can
show in several ways (`either`).

Each difference of score and control is tested over prompts against the role's smallest effect of
interest, declared here and nowhere else.

Sources: Elhage et al. 2021 (previous token, induction, copying), Olsson et al. 2022,
arXiv:2209.11895 (prefix matching), Wang et al. 2022, arXiv:2211.00593 (duplicate token, name mover
copying), Xiao et al. 2023, arXiv:2309.17453 and Gu et al. 2024, arXiv:2410.10781 (sinks), McDougall
et al. 2023, arXiv:2310.04625 (copy suppression), Gould et al. 2023, arXiv:2312.09230 (successor).
The controls are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.core.errors import InputError
from interp.measures.head_roles import (
    Cells,
    duplicate_token_cells,
    first_token_cells,
    induction_cells,
)
from interp.measures.scenes import Scene

LOCAL = 4  # lags 0 to 3 are local, 4 to 7 their control


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
Behaviour = Literal["repeats", "answers", "prediction"]


@dataclass(frozen=True)
class Role:
    """One role.

    Attributes:
        name: of the role.
        measures: what the score is, in a sentence.
        control: what it is held against, in a sentence.
        smallest_effect: least contrast of interest, in units of the score (a probability or a
            share, so between 0 and 1).
        cells: for roles about attention.
        circuit: for roles about what is written: "top", "bottom", "successor", "percentile".
        dynamic: the cells depend on what the model predicts: "predicted".
        needs: further roles that must hold for the same head.
        either: roles of which one must hold; its numbers are then this role's.
        behaviour: what an ablation should change: the loss on repeats, the answers of the role's
            own prompts, or the prediction in general.
        requires: what prompts must have, for messages.
        label: whether heads get this label; else it is only a part of others.
    """

    name: str
    measures: str
    control: str
    smallest_effect: float
    cells: Reading | None = None
    circuit: str = ""
    dynamic: str = ""
    needs: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    behaviour: Behaviour = "prediction"
    requires: str = ""
    label: bool = True


# ------------------------------------------------------------------------------- attention cells


def _plain(
    cells: Callable[[Tensor], Cells], scene: Scene, device: torch.device
) -> RoleCells | None:
    """Cells that need no structure, read on the version without any."""
    if not scene.plain:
        return None
    tokens = torch.as_tensor(scene.versions[scene.plain], device=device)
    found = cells(tokens)
    return RoleCells(
        Side(scene.plain, found.target), Side(scene.plain, found.control), found.defined
    )


def _repeats(
    cells: Callable[[Tensor, Tensor], Cells], scene: Scene, device: torch.device
) -> RoleCells | None:
    """Cells of a repeat; the control reads the same cells where the repeat is taken out."""
    if scene.queries is None or not scene.queries.any():
        return None
    tokens = torch.as_tensor(scene.versions["prompt"], device=device)
    found = cells(tokens, torch.as_tensor(scene.queries, device=device))
    return RoleCells(Side("prompt", found.target), Side("control", found.control), found.defined)


def _averaged(hits: Bool[Tensor, "batch query_pos key_pos"], per_key: bool) -> Tensor:
    """Weights that average over the queries with hits, and over a query's keys or sum them."""
    hits = hits.double()
    per_query = hits.sum(-1, keepdim=True)
    n_queries = (per_query > 0).sum(-2, keepdim=True).clamp(min=1)
    return hits / (per_query.clamp(min=1) if per_key else 1.0) / n_queries


def _lags(n_pos: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    position = torch.arange(n_pos, device=device)
    query, key = (side.expand(batch, n_pos, n_pos) for side in (position[:, None], position[None]))
    return query, key, query - key


def lag_cells(lag: int) -> Reading:
    """Keys a fixed distance back, against the other ones among the last four tokens.

    The control lies as near as possible: a head that looks at all of its neighbourhood is no head
    for one distance. Position 0, where many heads rest, does not count on either side.
    """

    def cells(scene: Scene, device: torch.device) -> RoleCells | None:
        if not scene.plain:
            return None
        batch, n_pos = scene.versions[scene.plain].shape
        query, _, distance = _lags(n_pos, batch, device)
        near = (query >= LOCAL) & (distance >= 0) & (distance < LOCAL)
        return _same_version(
            scene.plain, near & (distance == lag), near & (distance != lag), per_key=True
        )

    return cells


def _local(scene: Scene, device: torch.device) -> RoleCells | None:
    if not scene.plain:
        return None
    batch, n_pos = scene.versions[scene.plain].shape
    query, _, lag = _lags(n_pos, batch, device)
    counts = query >= 2 * LOCAL  # so that all eight keys lie behind position 0
    near = counts & (lag >= 0) & (lag < LOCAL)
    far = counts & (lag >= LOCAL) & (lag < 2 * LOCAL)
    return _same_version(scene.plain, near, far, per_key=False)


def _same_version(version: str, target: Tensor, control: Tensor, per_key: bool) -> RoleCells:
    defined = target.any(-1).any(-1) & control.any(-1).any(-1)
    return RoleCells(
        Side(version, _averaged(target, per_key)), Side(version, _averaged(control, per_key)),
        defined,
    )  # fmt: skip


def _bos_sink(scene: Scene, device: torch.device) -> RoleCells | None:
    if scene.moved_bos is None:
        return None
    batch, n_pos = scene.versions["moved"].shape
    query, key, _ = _lags(n_pos, batch, device)
    hits = (key == scene.moved_bos) & (query > scene.moved_bos + 1)
    weights, defined = _averaged(hits, per_key=True), hits.any(-1).any(-1)
    return RoleCells(Side("moved", weights), Side("without", weights), defined)


def _position_sink(scene: Scene, device: torch.device) -> RoleCells | None:
    if scene.moved_bos is None:
        return None
    tokens = torch.as_tensor(scene.versions["without"], device=device)
    found = first_token_cells(tokens)
    return RoleCells(Side("without", found.target), Side("without", found.control), found.defined)


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


def match_cells(offset: int) -> Reading:
    """The key `offset` places after the earlier occurrence of the query's token (0: on it).

    Later occurrences than the query, the query itself and position 0 do not count.
    """

    def at_offset(tokens: Tensor, queries: Tensor) -> Cells:
        _, n_pos = tokens.shape
        _, key, lag = _lags(n_pos, len(tokens), tokens.device)
        same = (tokens[:, :, None] == tokens[:, None, :]) & (lag > 0)
        source = key - offset
        inside = (source >= 0) & (source < n_pos)
        shifted = same.gather(2, source.clamp(0, n_pos - 1)) & inside
        hits = shifted & (key >= 1) & (lag > 0) & queries[:, :, None]
        weights = _averaged(hits, per_key=False)
        return Cells(weights, weights, hits.any(-1).any(-1))

    return lambda scene, device: _repeats(at_offset, scene, device)


# ------------------------------------------------------------------------------------- registry


_REPEAT = "prompts in which a token comes back"
_ATTENTION = 0.1
_SINK = 0.3  # what Gu et al. call a sink
_HITS = 0.5  # most of the attention, or most of the words

ALL_ROLES: tuple[Role, ...] = (
    Role(
        "previous_token",
        "attention to the token just before",
        "mean attention at lags 0, 2 and 3 of the same queries",
        _ATTENTION,
        cells=lag_cells(1),
        behaviour="repeats",
        requires="prompts of at least 5 tokens",
    ),
    Role(
        "current_token",
        "attention of a token to itself",
        "mean attention at lags 1 to 3 of the same queries",
        _ATTENTION,
        cells=lag_cells(0),
        requires="prompts of at least 5 tokens",
    ),
    Role(
        "local",
        "attention to lags 0 to 3 together",
        "attention to lags 4 to 7 together, same queries",
        _HITS,
        cells=_local,
        requires="prompts of at least 9 tokens",
    ),
    Role(
        "duplicate_token",
        "attention to earlier occurrences of the query's token",
        "the same cells with the repeat taken out",
        _ATTENTION,
        cells=lambda scene, device: _repeats(duplicate_token_cells, scene, device),
        behaviour="repeats",
        requires=_REPEAT,
    ),
    Role(
        "induction",
        "attention to what followed earlier occurrences of the query's token",
        "the same cells with the repeat taken out",
        _ATTENTION,
        cells=lambda scene, device: _repeats(induction_cells, scene, device),
        needs=("token_raising",),
        behaviour="repeats",
        requires=_REPEAT,
    ),
    Role(
        "first_token",
        "attention to position 0",
        "mean attention to positions 1 to 4, same queries",
        _SINK,
        cells=lambda scene, device: _plain(first_token_cells, scene, device),
        requires="prompts of at least 7 tokens",
    ),
    Role(
        "bos_sink",
        "attention to the BOS token where it stands inside the prompt",
        "the same cells with another token there",
        _SINK,
        cells=_bos_sink,
        requires="prompts that begin with a BOS token, of at least 8 tokens",
    ),
    Role(
        "position_sink",
        "attention to position 0 where no BOS token stands",
        "mean attention to positions 1 to 4, same queries",
        _SINK,
        cells=_position_sink,
        requires="prompts that begin with a BOS token, of at least 8 tokens",
    ),
    Role(
        "adjective_noun",
        "attention of a noun to its adjectives",
        "the same cells with other words in place of the adjectives",
        _ATTENTION,
        cells=pair_cells("adjective_noun"),
        behaviour="answers",
        requires="parsed prompts with adjectives before nouns",
    ),
    Role(
        "agreement",
        "attention to the head noun from the place before the verb",
        "attention to another noun at the same distance from the place before a verb",
        _ATTENTION,
        cells=pair_cells("agreement"),
        behaviour="answers",
        requires="parsed prompts with a head noun and another noun",
    ),
    Role(
        "nearest_noun",
        "attention to the nearest noun from the place before the verb, where it is not the head",
        "attention to another word at the same distance from the place before a verb",
        _ATTENTION,
        cells=pair_cells("nearest_noun"),
        behaviour="answers",
        requires="parsed prompts with a noun between head noun and verb",
    ),
    Role(
        "name_mover",
        "attention to a name from where somebody must be named",
        "the same cells with another word in place of the name",
        _ATTENTION,
        cells=pair_cells("name_mover"),
        needs=("copying",),
        behaviour="answers",
        requires="prompts with marked names",
    ),
    Role(
        "copying",
        "share of tokens that the head's output raises most of all words",
        "a head of the same singular values and random directions, same tokens",
        _HITS,
        circuit="top",
        requires="prompts of ordinary tokens",
    ),
    Role(
        "anti_copying",
        "share of tokens that the head's output lowers most of all words",
        "a head of the same singular values and random directions, same tokens",
        _HITS,
        circuit="bottom",
        requires="prompts of ordinary tokens",
    ),
    Role(
        "copy_suppression",
        "attention to an earlier token that is the query's own, or that the stream so far predicts",
        "as for duplicate_token and predicted_token",
        _ATTENTION,
        needs=("anti_copying",),
        either=("duplicate_token", "predicted_token"),
        requires=_REPEAT,
    ),
    Role(
        "predicted_token",
        "attention to the earlier token that the stream so far predicts most",
        "mean attention to the other earlier tokens of the same query",
        _ATTENTION,
        dynamic="predicted",
        label=False,
        requires="prompts of at least 4 tokens",
    ),
    Role(
        "successor",
        "share of tokens whose successor the head's output raises most of all words",
        "the same for words two on, one back and two back",
        _HITS,
        circuit="successor",
        behaviour="answers",
        requires="tokens whose successor is known",
    ),
    Role(
        "token_raising",
        "share of the vocabulary above which the head's output lifts the token attended to",
        "a head of the same singular values and random directions, same tokens",
        0.2,
        circuit="percentile",
        label=False,
        requires="prompts of ordinary tokens",
    ),
)

REGISTRY: dict[str, Role] = {role.name: role for role in ALL_ROLES}


def chosen_roles(names: tuple[str, ...] | None = None) -> tuple[Role, ...]:
    """The roles of these names, and those that they need; all by default.

    Raises:
        InputError: an unknown name; the message lists those that exist.
    """
    if names is None:
        return ALL_ROLES
    for name in names:
        if name not in REGISTRY:
            raise InputError(f"{name!r} is no role; there are: {', '.join(REGISTRY)}")
    known = [REGISTRY[name] for name in names]
    wanted = {*names, *(other for role in known for other in (*role.needs, *role.either))}
    return tuple(role for role in ALL_ROLES if role.name in wanted)
