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

from dataclasses import dataclass
from typing import Literal

from interp.core.errors import InputError
from interp.measures.cells import (
    Reading,
    bos_sink_cells,
    first_token_cells,
    lag_cells,
    local_cells,
    match_cells,
    pair_cells,
    position_sink_cells,
)

MIN_EFFECT = 0.1  # smallest contrast of interest, in attention probability, declared beforehand
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


# ------------------------------------------------------------------------------------- registry


_REPEAT = "prompts in which a token comes back"
_SINK = 0.3  # what Gu et al. call a sink
_HITS = 0.5  # most of the attention, or most of the words

ALL_ROLES: tuple[Role, ...] = (
    Role(
        "previous_token",
        "attention to the token just before",
        "mean attention at lags 0, 2 and 3 of the same queries",
        MIN_EFFECT,
        cells=lag_cells(1),
        behaviour="repeats",
        requires="prompts of at least 5 tokens",
    ),
    Role(
        "current_token",
        "attention of a token to itself",
        "mean attention at lags 1 to 3 of the same queries",
        MIN_EFFECT,
        cells=lag_cells(0),
        requires="prompts of at least 5 tokens",
    ),
    Role(
        "local",
        "attention to lags 0 to 3 together",
        "attention to lags 4 to 7 together, same queries",
        _HITS,
        cells=local_cells,
        requires="prompts of at least 9 tokens",
    ),
    Role(
        "duplicate_token",
        "attention to earlier occurrences of the query's token",
        "the same cells with the repeat taken out",
        MIN_EFFECT,
        cells=match_cells(0),
        behaviour="repeats",
        requires=_REPEAT,
    ),
    Role(
        "induction",
        "attention to what followed earlier occurrences of the query's token",
        "the same cells with the repeat taken out",
        MIN_EFFECT,
        cells=match_cells(1),
        needs=("token_raising",),
        behaviour="repeats",
        requires=_REPEAT,
    ),
    Role(
        "first_token",
        "attention to position 0",
        "mean attention to positions 1 to 4, same queries",
        _SINK,
        cells=first_token_cells,
        requires="prompts of at least 7 tokens",
    ),
    Role(
        "bos_sink",
        "attention to the BOS token where it stands inside the prompt",
        "the same cells with another token there",
        _SINK,
        cells=bos_sink_cells,
        requires="prompts that begin with a BOS token, of at least 8 tokens",
    ),
    Role(
        "position_sink",
        "attention to position 0 where no BOS token stands",
        "mean attention to positions 1 to 4, same queries",
        _SINK,
        cells=position_sink_cells,
        requires="prompts that begin with a BOS token, of at least 8 tokens",
    ),
    Role(
        "adjective_noun",
        "attention of a noun to its adjectives",
        "the same cells with other words in place of the adjectives",
        MIN_EFFECT,
        cells=pair_cells("adjective_noun"),
        behaviour="answers",
        requires="parsed prompts with adjectives before nouns",
    ),
    Role(
        "agreement",
        "attention to the head noun from the place before the verb",
        "attention to another noun at the same distance from the place before a verb",
        MIN_EFFECT,
        cells=pair_cells("agreement"),
        behaviour="answers",
        requires="parsed prompts with a head noun and another noun",
    ),
    Role(
        "nearest_noun",
        "attention to the nearest noun from the place before the verb, where it is not the head",
        "attention to another word at the same distance from the place before a verb",
        MIN_EFFECT,
        cells=pair_cells("nearest_noun"),
        behaviour="answers",
        requires="parsed prompts with a noun between head noun and verb",
    ),
    Role(
        "name_mover",
        "attention to a name from where somebody must be named",
        "the same cells with another word in place of the name",
        MIN_EFFECT,
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
        MIN_EFFECT,
        needs=("anti_copying",),
        either=("duplicate_token", "predicted_token"),
        requires=_REPEAT,
    ),
    Role(
        "predicted_token",
        "attention to the earlier token that the stream so far predicts most",
        "mean attention to the other earlier tokens of the same query",
        MIN_EFFECT,
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
