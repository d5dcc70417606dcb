"""The claims of the lectures: what the notes say, what is right, which study measures it."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MARKS = ("right", "imprecise", "wrong as stated", "heuristic", "left out")


@dataclass(frozen=True)
class Claim:
    """One checkable sentence.

    Attributes:
        number: 1 to 120.
        mark: one of `MARKS`: how the sentence stands for GPT-2 by what is known.
        study: the one that measures it; None where no measurement on a model decides it.
        says: what the notes say, by language.
        fact: what is right, by language.
    """

    number: int
    mark: str
    study: str | None
    says: dict[str, str]
    fact: dict[str, str]


@dataclass(frozen=True)
class Section:
    """A section of the notes, with its claims in reading order."""

    id: str
    title: dict[str, str]
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Lecture:
    """A lecture, with its sections in order."""

    title: dict[str, str]
    sections: tuple[Section, ...]


@cache
def lectures() -> tuple[Lecture, ...]:
    """Both lectures in order."""
    text = (Path(__file__).parent / "claims.json").read_text(encoding="utf-8")
    return tuple(
        Lecture(
            lecture["lecture"],
            tuple(
                Section(
                    section["id"],
                    section["title"],
                    tuple(Claim(**claim) for claim in section["claims"]),
                )
                for section in lecture["sections"]
            ),
        )
        for lecture in json.loads(text)
    )


@cache
def claims() -> dict[int, Claim]:
    """All claims by number."""
    every = (c for lecture in lectures() for section in lecture.sections for c in section.claims)
    return {claim.number: claim for claim in sorted(every, key=lambda claim: claim.number)}
