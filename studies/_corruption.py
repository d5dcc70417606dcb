"""Another version of a prompt, built without being told how: the same length, another answer.

1. Where the prompt holds both target and contrast, they change places.
2. In the small language, one word becomes another one of its kind (a name, a sight, a cue, a noun
   in the other number, ...): of all such prompts the one that favours the contrast most.
"""

from typing import TYPE_CHECKING, NamedTuple

from interp.core.errors import InputError
from studies import _prompts

if TYPE_CHECKING:
    from interp.core import HookedGPT

AT_ONCE = 256  # prompts in one forward pass


class Corruption(NamedTuple):
    """The other version.

    Attributes:
        ids: its tokens.
        how: how it was built, as a clause.
    """

    ids: list[int]
    how: str


def corrupted(model: "HookedGPT", ids: list[int], target: int, contrast: int) -> Corruption:
    """Builds the other version.

    Raises:
        InputError: neither rule applies; the message says what to give instead.
    """
    if target in ids and contrast in ids:
        change = {target: contrast, contrast: target}
        return Corruption(
            [change.get(token, token) for token in ids], "target and contrast changed places"
        )
    if _prompts.speaks_the_language(model):
        found = _other_word(model, ids, target, contrast)
        if found is not None:
            return found
    raise InputError(
        "no other version of the prompt could be built: target and contrast do not both stand in "
        "it; give one with --corrupted, as many tokens long, in which another answer would be right"
    )


def _other_word(
    model: "HookedGPT", ids: list[int], target: int, contrast: int
) -> Corruption | None:
    import torch

    kinds = _kinds()
    made = [
        [*ids[:at], other, *ids[at + 1 :]]
        for at, token in enumerate(ids)
        for kind in kinds
        if token in kind
        for other in kind
        if other != token
    ]
    if not made:
        return None
    tokens = torch.tensor(made, device=model.W_E.device)
    with torch.no_grad():
        logits = torch.cat([model(part, logits_at=[-1])[:, 0] for part in tokens.split(AT_ONCE)])
    best = int((logits[:, target] - logits[:, contrast]).argmin())
    at = next(i for i, (a, b) in enumerate(zip(ids, made[best], strict=True)) if a != b)
    words = model.tokenizer.str_tokens([ids[at], made[best][at]])
    return Corruption(made[best], f"“{words[0]}” became “{words[1]}”, which of {len(made)} words "
                      "of its kind favours the contrast most")  # fmt: skip


def _kinds() -> list[list[int]]:
    """Words of the small language that can stand for each other."""
    from interp.corpus import Language
    from interp.corpus import lexicon as lex

    ids = Language().tokenizer.ids
    people = [word for pair in (*lex.GENDER_PAIRS, *lex.NEUTRAL_PAIRS) for word in pair]
    groups = [
        (*lex.MALE_NAMES, *lex.FEMALE_NAMES),
        lex.ENTITIES,
        [cue for cues in lex.TOPIC_CUES.values() for cue in cues],
        *(noun for pair in lex.SYNONYMS for noun in pair),
        [word for words in lex.TEMPERS.values() for word in words],
        [word for words in lex.COLOURS.values() for word in words],
        [*people, *lex.MALE_OCCUPATIONS, *lex.FEMALE_OCCUPATIONS],
        list(lex.CITIES),
        lex.WEEKDAYS,
        lex.NUMBERS,
    ]
    return [[ids[word] for word in group if word in ids] for group in groups]
