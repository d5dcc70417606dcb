"""Prompts for planted models, drawn from a family's description, a vocabulary and a seed.

| kind | a prompt is |
|---|---|
| `random` | `<bos>` and distinct random words |
| `repeated` | `<bos>` and a block of `period` distinct random words, twice; once in `control` |
| `phrases` | "a fluffy blue creature roaming through the verdant forest" in other words |
| `sentence` | given words |
| `agreement` | a noun, `attractors` nouns of the other number after it, and the slot of the verb |
| `facts` | a subject among fillers, and a relation |
| `names` | a name among fillers, and a word that asks for it |

Every generator fills `Prompts`; what a family has no use for is None or empty.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.core import InputError
from interp.planted.answers import AnswerKey, Family
from interp.planted.lexicon import BOS_ID, N_SPECIAL

NONE = -1  # no answer here


@dataclass(frozen=True)
class Prompts:
    """Prompts of one length, and what is known about them.

    Attributes:
        tokens: the prompts.
        queries: the positions that count.
        answers: what should come next at a position, -1 where nothing is asked.
        rivals: the wrong answer against which it is held.
        control: the same prompts without the structure; the query tokens are the same.
        corrupted: the same prompts with other facts, for patching; their answers are the rivals.
        marks: positions with a name, per prompt.
    """

    tokens: Int[Tensor, "batch pos"]
    queries: Bool[Tensor, "batch pos"]
    answers: Int[Tensor, "batch pos"]
    rivals: Int[Tensor, "batch pos"]
    control: Int[Tensor, "batch pos"] | None = None
    corrupted: Int[Tensor, "batch pos"] | None = None
    marks: dict[str, Int[Tensor, " batch"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)


def make_prompts(
    key: AnswerKey, family: str | Family, n_prompts: int | None = None, seed: int | None = None
) -> Prompts:
    """The prompts of a family.

    Args:
        key: of the planted model.
        family: a family, or its name in the key.
        n_prompts: another number than the family's.
        seed: another draw than the family's.

    Raises:
        InputError: the key has no such family, or the vocabulary or the context is too small.
    """
    if isinstance(family, str):
        if family not in key.families:
            known = ", ".join(key.families)
            raise InputError(f"The key has no prompts {family!r}; it has {known}.")
        family = key.families[family]
    generator = torch.Generator().manual_seed(family.seed if seed is None else seed)
    return _KINDS[family.kind](key, n_prompts or family.n_prompts, generator, **family.options)


def periods(n_ctx: int, d_vocab: int) -> tuple[int, ...]:
    """Up to three block lengths that fit twice into context and vocabulary, longest first."""
    longest = min((n_ctx - 1) // 2, (d_vocab - N_SPECIAL) // 2)
    if longest < 3:
        raise InputError(
            f"n_ctx={n_ctx} and d_vocab={d_vocab} leave blocks of {longest}; a repeat needs 3 or "
            "more tokens, so a context of 7 and a vocabulary of 8."
        )
    return tuple(dict.fromkeys((longest, max(3, longest * 3 // 4), max(3, longest // 2))))


def _random(
    key: AnswerKey,
    n_prompts: int,
    generator: torch.Generator,
    *,
    n_words: int | None = None,
    bos: bool = True,
    answer: str = "none",
    after: int = 0,
) -> Prompts:
    """`n_words` distinct words; the answer is "self", "lag:2", "successor", "given:7,9" or none.

    Positions up to `after` do not count.
    """
    words = torch.arange(N_SPECIAL, key.d_vocab)
    # One word at least stays out, to be the rival.
    most = min(len(words) - 1, key.n_ctx - bos)
    n_words = most if n_words is None else n_words
    if n_words > most:
        raise InputError(f"{n_words} distinct words do not fit: at most {most} do.")
    drawn = _draw_rows(words, n_prompts, n_words + 1, generator)
    tokens, rival = _with_bos(drawn[:, :-1]) if bos else drawn[:, :-1], drawn[:, -1:]
    position = torch.arange(tokens.shape[1])
    lag = int(answer[4:]) if answer.startswith("lag:") else 0
    queries = ((position > after) & (position >= lag + bos)).expand_as(tokens)
    answers, rivals = _answers(key, tokens, rival, queries, answer, lag)
    return Prompts(tokens, queries.clone(), answers, rivals)


def _answers(
    key: AnswerKey, tokens: Tensor, rival: Tensor, queries: Tensor, answer: str, lag: int
) -> tuple[Tensor, Tensor]:
    none = torch.full_like(tokens, NONE)
    if answer == "none":
        return none, none
    rivals = rival.expand_as(tokens)
    if answer == "successor":
        successor = torch.tensor(key.tables["successor"])
        wanted = successor[tokens]
        # The word left out may be a successor itself.
        rivals = torch.where(wanted == rival, tokens, rivals)
    elif answer.startswith("given:"):
        wanted, rivals = (torch.full_like(tokens, int(t)) for t in answer[6:].split(","))
    else:
        wanted = tokens.roll(lag, dims=1)
    return torch.where(queries, wanted, none), torch.where(queries, rivals, none)


def _repeated(
    key: AnswerKey,
    n_prompts: int,
    generator: torch.Generator,
    *,
    period: int,
    half: str = "second",
    answer: str = "next",
    bos: bool = True,
) -> Prompts:
    """Inside the given half, the answer is the next token of that half, or "self"."""
    if bos + 2 * period > key.n_ctx or 2 * period > key.d_vocab - N_SPECIAL:
        raise InputError(
            f"Two blocks of {period} do not fit into n_ctx={key.n_ctx}, or their controls into "
            f"d_vocab={key.d_vocab}."
        )
    words = torch.arange(N_SPECIAL, key.d_vocab)
    drawn = _draw_rows(words, n_prompts, 2 * period, generator)
    block, other = drawn[:, :period], drawn[:, period:]
    tokens, control = torch.cat((block, block), 1), torch.cat((other, block), 1)
    if bos:
        tokens, control = _with_bos(tokens), _with_bos(control)
    position = torch.arange(tokens.shape[1])
    start = bos + (period if half == "second" else 0)
    inside = (position >= start) & (position < start + period)
    ahead = 1 if answer == "next" else 0
    asked = inside & (position + ahead < start + period)
    none = torch.full_like(tokens, NONE)
    answers = torch.where(asked, tokens.roll(-ahead, dims=1), none)
    # The control's first block holds words that the prompt does not.
    rivals = torch.where(asked, other[:, :1], none)
    return Prompts(tokens, inside.expand_as(tokens).clone(), answers, rivals, control)


_SHAPE = ("det", "adjective", "adjective", "noun", "other", "other", "det", "adjective", "noun")
_MARKS = {"adjective1": 2, "adjective2": 3, "noun1": 4, "other": 5, "adjective3": 8, "noun2": 9}


def _phrases(key: AnswerKey, n_prompts: int, generator: torch.Generator) -> Prompts:
    """The second noun's answer is its adjective; in the control, other words stand for those."""
    pools = {name: torch.tensor(key.lexicon[_CLASS[name]]) for name in set(_SHAPE)}
    # All three adjectives differ, and a fourth word is the rival if the vocabulary has one.
    adjectives = _draw_rows(pools["adjective"], n_prompts, 3, generator)
    columns, taken = [], 0
    for name in _SHAPE:
        if name == "adjective":
            columns.append(adjectives[:, taken : taken + 1])
            taken += 1
        else:
            columns.append(_draw_any(pools[name], (n_prompts, 1), generator))
    tokens = _with_bos(torch.cat(columns, dim=1))
    control = tokens.clone()
    for mark in ("adjective1", "adjective2", "adjective3"):
        control[:, _MARKS[mark]] = _draw_any(pools["other"], (n_prompts,), generator)
    queries = torch.zeros_like(tokens, dtype=torch.bool)
    queries[:, [_MARKS["noun1"], _MARKS["noun2"]]] = True
    answers, rivals = torch.full_like(tokens, NONE), torch.full_like(tokens, NONE)
    answers[:, _MARKS["noun2"]] = tokens[:, _MARKS["adjective3"]]
    rivals[:, _MARKS["noun2"]] = tokens[:, _MARKS["adjective1"]]
    marks = {name: torch.full((n_prompts,), place) for name, place in _MARKS.items()}
    return Prompts(tokens, queries, answers, rivals, control, marks=marks)


_CLASS = {"det": "determiner", "adjective": "adjective", "noun": "noun", "other": "other"}


def _sentence(
    key: AnswerKey,
    n_prompts: int,
    generator: torch.Generator,
    *,
    ids: Sequence[int],
    marks: dict[str, int],
) -> Prompts:
    """One sentence, `n_prompts` times."""
    tokens = torch.tensor([ids]).repeat(n_prompts, 1)
    none = torch.full_like(tokens, NONE)
    places = {name: torch.full((n_prompts,), place) for name, place in marks.items()}
    return Prompts(tokens, tokens != BOS_ID, none, none, marks=places)


def _agreement(
    key: AnswerKey,
    n_prompts: int,
    generator: torch.Generator,
    *,
    attractors: int = 1,
    n_fillers: int = 2,
) -> Prompts:
    """Fillers, determiner, noun, `attractors` times preposition, filler, noun; fillers, slot.

    The `n_fillers` fillers outside the noun phrases are shared out at random between the start and
    the place before the slot. Half of the nouns are singular. In the control, the head noun has
    the other number.
    """
    rows, control, head_noun, nearest, singular = [], [], [], [], []

    def draw(name: str) -> int:
        return int(_draw_any(torch.tensor(key.lexicon[name]), (1,), generator))

    for number in range(n_prompts):
        kind, other = ("singular", "plural") if number % 2 else ("plural", "singular")
        before = int(torch.randint(0, n_fillers + 1, (1,), generator=generator))
        row = [BOS_ID, *(draw("filler") for _ in range(before)), draw("determiner")]
        head_noun.append(len(row))
        row.append(draw(f"noun_{kind}"))
        for _ in range(attractors):
            row += [draw("preposition"), draw("filler"), draw(f"noun_{other}")]
        nearest.append(len(row) - 1)
        row += [draw("filler") for _ in range(n_fillers - before)]
        rows.append([*row, draw("slot")])
        swapped = list(rows[-1])
        here, there = key.lexicon[f"noun_{kind}"], key.lexicon[f"noun_{other}"]
        swapped[head_noun[-1]] = there[here.index(swapped[head_noun[-1]])]
        control.append(swapped)
        singular.append(kind == "singular")
    tokens = torch.tensor(rows)
    verb = int(torch.randint(0, len(key.lexicon["verb_singular"]), (1,), generator=generator))
    forms = torch.tensor([key.lexicon["verb_plural"][verb], key.lexicon["verb_singular"][verb]])
    is_singular = torch.tensor(singular).long()
    last = torch.full((n_prompts,), tokens.shape[1] - 1)
    marks = {
        "head_noun": torch.tensor(head_noun),
        "determiner": torch.tensor(head_noun) - 1,
        "nearest_noun": torch.tensor(nearest),
        "slot": last,
    }
    return _asked_at_the_end(
        tokens, forms[is_singular], forms[1 - is_singular], marks, control=torch.tensor(control)
    )


def _facts(
    key: AnswerKey,
    n_prompts: int,
    generator: torch.Generator,
    *,
    relation: int = 0,
    n_fillers: int = 3,
) -> Prompts:
    """Fillers around a subject, and a relation word; corrupted prompts have another subject."""
    subjects = torch.tensor(key.lexicon["subject"])
    table = torch.tensor(key.tables[f"answers_{relation}"])
    chosen = _draw_rows(torch.arange(len(subjects)), n_prompts, 2, generator)
    before = torch.randint(0, n_fillers + 1, (n_prompts,), generator=generator)
    tokens = _draw_any(torch.tensor(key.lexicon["filler"]), (n_prompts, n_fillers + 3), generator)
    tokens[:, 0], tokens[:, -1] = BOS_ID, key.lexicon["relation"][relation]
    rows = torch.arange(n_prompts)
    corrupted = tokens.clone()
    tokens[rows, 1 + before] = subjects[chosen[:, 0]]
    corrupted[rows, 1 + before] = subjects[chosen[:, 1]]
    marks = {"subject": 1 + before, "last": torch.full((n_prompts,), tokens.shape[1] - 1)}
    answer, rival = table[chosen[:, 0]], table[chosen[:, 1]]
    return _asked_at_the_end(tokens, answer, rival, marks, corrupted=corrupted)


def _names(
    key: AnswerKey, n_prompts: int, generator: torch.Generator, *, n_fillers: int = 4
) -> Prompts:
    """A name among fillers, and the word after which it must come; the rival is another name."""
    names = _draw_rows(torch.tensor(key.lexicon["name"]), n_prompts, 2, generator)
    place = torch.randint(1, n_fillers + 2, (n_prompts,), generator=generator)
    tokens = _draw_any(torch.tensor(key.lexicon["filler"]), (n_prompts, n_fillers + 3), generator)
    tokens[:, 0], tokens[:, -1] = BOS_ID, key.lexicon["recipient"][0]
    tokens[torch.arange(n_prompts), place] = names[:, 0]
    marks = {"name": place, "last": torch.full((n_prompts,), tokens.shape[1] - 1)}
    return _asked_at_the_end(tokens, names[:, 0], names[:, 1], marks)


def _asked_at_the_end(
    tokens: Tensor, answer: Tensor, rival: Tensor, marks: dict[str, Tensor], **others: Tensor
) -> Prompts:
    answers, rivals = torch.full_like(tokens, NONE), torch.full_like(tokens, NONE)
    answers[:, -1], rivals[:, -1] = answer, rival
    return Prompts(tokens, answers != NONE, answers, rivals, marks=marks, **others)


def _draw_rows(
    pool: Int[Tensor, " n"], n_rows: int, n_each: int, generator: torch.Generator
) -> Int[Tensor, "n_rows n_each"]:
    """Distinct members of a pool, anew for each row."""
    if n_each > len(pool):
        raise InputError(f"{n_each} distinct words were asked for, but there are {len(pool)}.")
    order = torch.rand(n_rows, len(pool), generator=generator).argsort(dim=1)
    return pool[order[:, :n_each]]


def _draw_any(
    pool: Int[Tensor, " n"], shape: tuple[int, ...], generator: torch.Generator
) -> Int[Tensor, "..."]:
    return pool[torch.randint(0, len(pool), shape, generator=generator)]


def _with_bos(tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos_and_bos"]:
    return torch.cat((torch.full_like(tokens[:, :1], BOS_ID), tokens), dim=1)


_KINDS: dict[str, Callable[..., Prompts]] = {
    "random": _random,
    "repeated": _repeated,
    "phrases": _phrases,
    "sentence": _sentence,
    "agreement": _agreement,
    "facts": _facts,
    "names": _names,
}
