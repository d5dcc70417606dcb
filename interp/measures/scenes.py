"""Prompts in matched versions: what a role is measured on, and what it is held against.

A scene holds prompts of one length in several versions ("prompt", "control", ...): the same prompt
with and without the structure that a role needs. A role reads attention on some cells of one
version and on the matching cells of another (`interp.measures.roles`); where a scene lacks the
version or the marks, the role is not applicable there.

Shorter prompts may be filled up on the right: in a causal model what stands behind a position
cannot change it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from interp.core import HookedGPT, InputError
from interp.measures.stimuli import PromptBatch, PromptSet, text_prompts

N_FIRST_WITHOUT_BOS = 3  # where the moved BOS may stand at the earliest


@dataclass(frozen=True)
class Asked:
    """Places at which one answer is right and another one wrong.

    Attributes:
        row: prompt.
        pos: position whose next token is asked for.
        answers: right tokens, -1 where there are fewer.
        rivals: wrong tokens, likewise.
    """

    row: Int[np.ndarray, " asked"]
    pos: Int[np.ndarray, " asked"]
    answers: Int[np.ndarray, "asked answer"]
    rivals: Int[np.ndarray, "asked rival"]


@dataclass(frozen=True)
class Scene:
    """Prompts of one length in matched versions.

    Attributes:
        versions: token ids by version; the first one is the prompt itself.
        unit: what a prompt counts as in statistics: its own number, or that of its template.
        plain: version without artificial structure, for roles that need none; "" if there is none.
        queries: positions of the version "prompt" at which a repeat is looked back at.
        moved_bos: position of the BOS token in the version "moved"; the version "without" has
            another token there, and neither has a BOS token anywhere else.
        pairs: by role, and there by version: `(query_pos, key_pos)` pairs of each prompt.
        asked: answers and rivals in the version "prompt".
        about: which role the answers belong to.
    """

    versions: dict[str, Int[np.ndarray, "batch _pos"]]
    unit: Int[np.ndarray, " batch"]
    plain: str = ""
    queries: Bool[np.ndarray, "batch _pos"] | None = None
    moved_bos: int | None = None
    pairs: dict[str, dict[str, Int[np.ndarray, "batch _pair 2"]]] = field(default_factory=dict)
    asked: Asked | None = None
    about: str = ""

    def __post_init__(self) -> None:
        sizes = {name: len(tokens) for name, tokens in self.versions.items()}
        if set(sizes.values()) != {len(self.unit)}:
            raise InputError(
                f"versions have {sizes} prompts, but there are {len(self.unit)} units; every "
                "version holds every prompt"
            )

    def __len__(self) -> int:
        return len(self.unit)

    def rows(self, start: int, stop: int) -> "Scene":
        """Some of the prompts."""
        at, asked = slice(start, stop), self.asked
        if asked is not None:
            kept = (asked.row >= start) & (asked.row < stop)
            asked = Asked(
                asked.row[kept] - start, asked.pos[kept], asked.answers[kept], asked.rivals[kept]
            )
        return replace(
            self,
            versions={name: tokens[at] for name, tokens in self.versions.items()},
            unit=self.unit[at],
            queries=None if self.queries is None else self.queries[at],
            pairs={
                role: {name: pairs[at] for name, pairs in by_version.items()}
                for role, by_version in self.pairs.items()
            },
            asked=asked,
        )


@dataclass(frozen=True)
class Suite:
    """Scenes of one kind of prompts.

    Attributes:
        name: "random tokens", "own language", ...
        scenes: the prompts; the same unit in two scenes is the same unit.
        special: tokens that are no words (BOS, pads); what they copy does not count.
        successor: the successor of each token, -1 where there is none; None if order is unknown.
        description: one clause for reports.
    """

    name: str
    scenes: tuple[Scene, ...]
    special: tuple[int, ...] = ()
    successor: Int[np.ndarray, " d_vocab"] | None = None
    description: str = ""

    @property
    def n_units(self) -> int:
        """Independent units."""
        return len(np.unique(np.concatenate([scene.unit for scene in self.scenes])))

    def joined(self, *scenes: Scene) -> "Suite":
        """The suite with further scenes."""
        return replace(self, scenes=(*self.scenes, *scenes))


def suite_of(
    prompts: PromptSet,
    bos_id: int | None = None,
    special: Iterable[int] = (),
    successor: Int[np.ndarray, " d_vocab"] | None = None,
    seed: int = 0,
) -> Suite:
    """The scenes of a prompt set: repeats, their controls, and prompts with the BOS token moved.

    In the version "moved" the BOS token stands somewhere in the first half instead of at the start,
    in the version "without" there is none: another token of the same prompts takes its place. Both
    are left out where the prompts do not begin with `bos_id`.

    Args:
        prompts: of `random_token_prompts` or `text_prompts`.
        bos_id: the token that begins every prompt, if any.
        special: further tokens that are no words.
        successor: as in `Suite`.
        seed: of the places of the BOS token.
    """
    rng = np.random.default_rng(seed)
    scenes = tuple(_with_moved_bos(batch, prompts.plain, bos_id, rng) for batch in prompts.batches)
    special = tuple(sorted({*special} | ({bos_id} if bos_id is not None else set())))
    return Suite(prompts.name, scenes, special, successor, prompts.description)


def _with_moved_bos(
    batch: PromptBatch, plain: str, bos_id: int | None, rng: np.random.Generator
) -> Scene:
    versions = {"prompt": batch.tokens, "control": batch.control}
    plain = "prompt" if plain == "tokens" else "control"
    scene = Scene(versions, batch.unit, plain, batch.queries)
    tokens = versions[plain]
    n_pos = tokens.shape[1]
    starts = bos_id is not None and (tokens[:, 0] == bos_id).all()
    if not starts or (tokens[:, 1:] == bos_id).any() or n_pos < 2 * N_FIRST_WITHOUT_BOS + 2:
        return scene
    moved_bos = int(rng.integers(N_FIRST_WITHOUT_BOS, n_pos // 2))
    # The place of the BOS token is taken by a word of the next prompt.
    without = tokens.copy()
    without[:, 0] = np.roll(tokens[:, -1], 1)
    moved = without.copy()
    moved[:, moved_bos] = bos_id
    versions |= {"moved": moved, "without": without}
    return replace(scene, versions=versions, moved_bos=moved_bos)


def pair_scene(
    role: str,
    prompts: Sequence[Sequence[int]],
    controls: Sequence[Sequence[int]],
    pairs: Sequence[Sequence[tuple[int, int]]],
    control_pairs: Sequence[Sequence[tuple[int, int]]] | None = None,
    *,
    units: Sequence[int] | None = None,
    asked: Asked | None = None,
) -> Scene:
    """Prompts in which marked queries should look at marked keys, and controls.

    Args:
        role: which role the marks belong to, such as "adjective_noun".
        prompts: token ids; lengths may differ.
        controls: the same number of prompts in which the marked keys are something else.
        pairs: for each prompt, `(query_pos, key_pos)`; at least one.
        control_pairs: the same for the controls; the same cells unless given.
        units: of each prompt; each its own by default.
        asked: answers in the prompts.

    Raises:
        InputError: numbers that do not fit together, or a place outside of its prompt.
    """
    control_pairs = pairs if control_pairs is None else control_pairs
    counts = {len(prompts), len(controls), len(pairs), len(control_pairs)}
    if len(counts) > 1 or not len(prompts):
        raise InputError(
            f"{len(prompts)} prompts, {len(controls)} controls and marks for {len(pairs)} and "
            f"{len(control_pairs)} of them do not fit together"
        )
    by_version = {}
    for name, rows, marks in (("prompt", prompts, pairs), ("control", controls, control_pairs)):
        for row, places in zip(rows, marks, strict=True):
            if not len(places) or any(not 0 <= k <= q < len(row) for q, k in places):
                raise InputError(
                    f"the {name} {list(row)} has the marks {list(places)}; every prompt needs "
                    "(query, key) places inside of it, the key not after the query"
                )
        by_version[name] = _filled(marks)
    unit = np.arange(len(prompts)) if units is None else np.asarray(units)
    versions = {"prompt": _filled(prompts), "control": _filled(controls)}
    return Scene(versions, unit, pairs={role: by_version}, asked=asked, about=role)


def _filled(rows: Sequence[Sequence]) -> np.ndarray:
    """Rows of equal length: shorter ones repeat their last entry (for marks, the last pair)."""
    longest = max(len(row) for row in rows)
    filled = [[*row, *([row[-1]] * (longest - len(row)))] for row in rows]
    return np.array(filled, dtype=np.int64)


def windows_by_length(rows: Sequence[Sequence[int]]) -> list[Int[np.ndarray, "_prompt _pos"]]:
    """Prompts of any lengths as arrays, one for each length, shortest first.

    Raises:
        InputError: no prompt, or an empty one.
    """
    rows = [np.asarray(row, dtype=np.int64) for row in rows]
    if not rows or any(row.ndim != 1 or not len(row) for row in rows):
        raise InputError("prompts must be non-empty rows of token ids, and at least one")
    lengths = sorted({len(row) for row in rows})
    return [np.stack([row for row in rows if len(row) == length]) for length in lengths]


def suite_from_prompts(
    model: HookedGPT,
    prompts: Sequence[str] | Tensor | Sequence[Sequence[int]],
    *,
    attention_mask: Bool[Tensor, "batch pos"] | None = None,
    name: str = "own prompts",
    successor: Int[np.ndarray, " d_vocab"] | None = None,
    seed: int = 0,
) -> Suite:
    """A suite from anybody's prompts: texts, or token ids in rows of any lengths.

    Each prompt is a unit. Repeats are looked for in the prompts as they are (`text_prompts`).

    Args:
        model: whose tokenizer reads texts, and whose special tokens do not count as words.
        prompts: texts (BOS is put first, by the tokenizer's policy), or token ids as they are.
        attention_mask: False at pads, on either side; they are taken off.
        name: of the suite.
        successor: as in `Suite`.
        seed: of the control prompts.

    Raises:
        InputError: no prompt, an empty one, one that is longer than the context, a token outside
            the vocabulary, text without a tokenizer, or a mask of another shape.
    """
    tokenizer, config = model.tokenizer, model.config
    if isinstance(prompts, str):
        prompts = [prompts]
    if len(prompts) and isinstance(prompts[0], str):
        if tokenizer is None:
            raise InputError("this model has no tokenizer; pass token ids instead of text")
        rows = [list(tokenizer.encode(text)) for text in prompts]
    else:
        rows = [np.asarray(row).tolist() for row in prompts]
    if attention_mask is not None:
        kept = np.asarray(attention_mask.cpu(), dtype=bool)
        if [len(row) for row in rows] != [len(row) for row in kept]:
            raise InputError(
                f"attention_mask is {kept.shape}, but the prompts have "
                f"{sorted({len(row) for row in rows})} tokens; one entry per token is needed"
            )
        pairs = zip(rows, kept, strict=True)
        rows = [[t for t, real in zip(row, of_row, strict=True) if real] for row, of_row in pairs]
    windows = windows_by_length(rows)
    longest = windows[-1].shape[1]
    if longest > config.n_ctx:
        raise InputError(
            f"a prompt has {longest} tokens, but the model's context ends at n_ctx={config.n_ctx}"
        )
    low, high = min(w.min() for w in windows), max(w.max() for w in windows)
    if low < 0 or high >= config.d_vocab:
        raise InputError(
            f"token {low if low < 0 else high} is outside the vocabulary (0 to "
            f"{config.d_vocab - 1}); was the text encoded with another model's tokenizer?"
        )
    bos_id = None if tokenizer is None else tokenizer.bos_id
    special = () if tokenizer is None else (tokenizer.bos_id, tokenizer.pad_id)
    special = tuple(token for token in special if token is not None)
    found = text_prompts(windows, special=special, seed=seed, name=name)
    return suite_of(found, bos_id, special, successor, seed)


def ordinary_tokens(model: HookedGPT, bos_id: int | None = None) -> Int[np.ndarray, " token"]:
    """All token ids but the special ones."""
    special = {bos_id}
    if model.tokenizer is not None:
        special |= {model.tokenizer.bos_id, model.tokenizer.pad_id}
    return np.array([i for i in range(model.config.d_vocab) if i not in special])
