"""The answer key of a planted model: what each head is, and what every measurement must give.

Everything here is frozen, made of plain values, and goes to JSON and back (`to_dict`, `from_dict`).
A head is a pair `(layer, head)`.

A head's labels fall in three groups. `roles` must be found by a detector; `allowed` may be found,
because they are true of the head in passing (an induction head rests on BOS while nothing repeats);
every other role must not be found, and `traps` names those for which a naive detector would fall.
"""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from interp.core import InputError

Head = tuple[int, int]

ROLES = (
    "previous_token",
    "current_token",
    "local",
    "duplicate_token",
    "induction",
    "first_token",
    "bos_sink",
    "position_sink",
    "copying",
    "anti_copying",
    "copy_suppression",
    "successor",
    "name_mover",
    "erasure",
    "adjective_noun",
    "agreement",
    "nearest_noun",
    "fact_recall",
)


@dataclass(frozen=True)
class HeadAnswer:
    """What one head is.

    Attributes:
        layer: from 0.
        head: from 0.
        plant: the recipe that placed it; "distractor" or "empty" otherwise.
        part: what it does in the recipe, in a word or two.
        attends: where its attention goes: roles, "lag:14", "subject", ...
        writes: what its output says; "nothing" if its output matrix is zero.
        roles: labels that a detector must give.
        allowed: labels that it may give.
        traps: wrong labels that a naive detector gives.
        effect: ablating it changes the logits on the prompts of its recipe. A detector that asks
            for an effect finds the roles of these heads only (`AnswerKey.with_role`, `confirmed`).
        positional: its pattern depends on positions alone.
    """

    layer: int
    head: int
    plant: str
    part: str
    attends: tuple[str, ...] = ()
    writes: str = "nothing"
    roles: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    traps: tuple[str, ...] = ()
    effect: bool = False
    positional: bool = False

    @property
    def at(self) -> Head:
        """The head as a pair."""
        return (self.layer, self.head)


@dataclass(frozen=True)
class Edge:
    """A head that reads what an earlier head wrote.

    Attributes:
        source: the writer.
        target: the reader.
        via: "Q", "K" or "V": the side of the reader that it enters.
        score: `|A B| / (|A| |B|)` in Frobenius norms, A the writer's OV, B the reader's QK
            (transposed for K) or OV.
        overlap: share of the written subspace that the reader reads, of the smaller of the two
            dimensions (a projection kernel): 1 for this edge, 0 for a head that reads nothing of
            it.
        tolerance: of both.
    """

    source: Head
    target: Head
    via: str
    score: float
    overlap: float = 1.0
    tolerance: float = 1e-6


@dataclass(frozen=True)
class Fact:
    """A number that a measurement on the model must give.

    Attributes:
        value: expected.
        tolerance: largest deviation, absolute.
        alone: holds only while no other recipe writes into the same model.
        soft: rests on a narrow margin (keys that score alike, a head at rest), so that a little
            noise changes it a lot.
    """

    value: float
    tolerance: float
    alone: bool = field(default=False, kw_only=True)
    soft: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class AttentionFact(Fact):
    """Attention of a head on a relation, averaged over the queries that have a target.

    Attributes:
        head: whose pattern.
        prompts: name of a prompt family of the key.
        relation: which keys count for a query: "lag:3", "position:0", "token:0" (that token,
            wherever it stands), "same_token" (earlier occurrences), "after_same_token" (what
            followed them), or "noun->adjective" (from one marked position to another).
    """

    head: Head = (0, 0)
    prompts: str = ""
    relation: str = ""


@dataclass(frozen=True)
class EffectFact(Fact):
    """What the model does when heads are ablated: their mixed values (`hook_z`) set to zero.

    Attributes:
        ablated: the heads; none for the model as it is.
        prompts: name of a prompt family of the key.
        metric: "loss" (nats) or "logit_diff" (answer minus rival) where the prompts have answers,
            "accuracy" (answer above rival), "drop" (loss of logit_diff by the ablation), or the
            "largest_change" or "mean_change" of all logits by the ablation, without sign.
    """

    ablated: tuple[Head, ...] = ()
    prompts: str = ""
    metric: str = ""


@dataclass(frozen=True)
class AttributionFact(Fact):
    """Direct logit attribution: what a head writes, read by the unembedding, answer minus rival.

    Attributes:
        head: whose output.
        prompts: name of a prompt family of the key; averaged over its answers.
    """

    head: Head = (0, 0)
    prompts: str = ""


@dataclass(frozen=True)
class LensFact(Fact):
    """Logit lens: answer minus rival, if the stream were unembedded after some of the blocks.

    Attributes:
        prompts: name of a prompt family of the key; averaged over its answers.
        n_done: blocks done, from 0 (the embedding) to all of them.
    """

    prompts: str = ""
    n_done: int = 0


@dataclass(frozen=True)
class CircuitFact(Fact):
    """A statistic of a head's full OV circuit `W_E W_OV W_U` (rows: source token).

    Attributes:
        head: whose circuit.
        statistic: "copying_score" (sum of the eigenvalues over the sum of their sizes; 0 where
            all vanish), "copying_top1" and "successor_top1" (share of words whose largest logit is
            the word itself, or its successor), "diagonal_z" (mean of the diagonal, in standard
            deviations of all entries from their mean).
    """

    head: Head = (0, 0)
    statistic: str = ""


@dataclass(frozen=True)
class TracingFact(Fact):
    """Causal tracing: which activations, patched from the clean run, bring the answer back.

    Every MLP output and every head is patched at every position into the run on the corrupted
    prompt; the recovered fraction must be 1 where `lit` says, and 0 everywhere else. `value` is
    the largest deviation from that, so it is expected to be 0.

    Attributes:
        prompts: a prompt family with corrupted prompts.
        lit: pairs of a component ("mlp:0", "head:1.3") and a marked position ("subject").
    """

    prompts: str = ""
    lit: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class EmbeddingFact(Fact):
    """A statistic of the planted gender direction in `W_E`.

    Attributes:
        statistic: "pair_cosine" (mean cosine between the differences of two pairs) or
            "direction_cosine" (mean difference against the planted direction).
    """

    statistic: str = ""


@dataclass(frozen=True)
class Family:
    """How to draw prompts of one kind; see `interp.planted.prompts`.

    Attributes:
        kind: the generator.
        n_prompts: how many.
        seed: of the draw.
        options: what else the generator takes.
    """

    kind: str
    n_prompts: int = 8
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AnswerKey:
    """All that is known about a planted model.

    Attributes:
        recipes: the plants in it.
        tiers: the hiding tiers applied, in order.
        d_vocab: token types.
        n_ctx: longest prompt.
        m: frequencies of the positional code; 0 if the model has none.
        lexicon: word classes and their token ids.
        tables: further facts about words: which answer a subject has, ...
        families: prompt families by name.
        heads: every head of the model, in order.
        edges: the composition between heads.
        facts: what measurements must give.
        directions: planted directions of the residual stream.
    """

    recipes: tuple[str, ...]
    d_vocab: int
    n_ctx: int
    m: int
    lexicon: dict[str, tuple[int, ...]]
    tables: dict[str, tuple[int, ...]] = field(default_factory=dict)
    families: dict[str, Family] = field(default_factory=dict)
    heads: tuple[HeadAnswer, ...] = ()
    edges: tuple[Edge, ...] = ()
    facts: tuple[Fact, ...] = ()
    directions: dict[str, tuple[float, ...]] = field(default_factory=dict)
    tiers: tuple[str, ...] = ()

    def head(self, at: Head) -> HeadAnswer:
        """The answer about one head.

        Raises:
            InputError: there is no such head.
        """
        for answer in self.heads:
            if answer.at == tuple(at):
                return answer
        raise InputError(f"The key has no head {tuple(at)}; it covers {len(self.heads)} heads.")

    def find(self, plant: str, part: str | None = None) -> tuple[Head, ...]:
        """Where a recipe's heads are, in the order in which it placed them or one part of them."""
        return tuple(
            a.at for a in self.heads if a.plant == plant and (part is None or a.part == part)
        )

    def with_role(self, role: str, confirmed: bool = False) -> tuple[Head, ...]:
        """The heads that a detector of this role must find.

        Args:
            role: one of `ROLES`.
            confirmed: for a detector that asks for an effect of ablation too.
        """
        _check_role(role)
        return tuple(a.at for a in self.heads if role in a.roles and (a.effect or not confirmed))

    def without_role(self, role: str, confirmed: bool = False) -> tuple[Head, ...]:
        """The heads that a detector of this role must not find; arguments as in `with_role`."""
        _check_role(role)
        return tuple(
            a.at
            for a in self.heads
            if role not in (*a.roles, *a.allowed)
            or (confirmed and role in a.roles and not a.effect)
        )

    def trapped_by(self, role: str) -> tuple[Head, ...]:
        """The decoys: heads that a naive detector of this role finds."""
        _check_role(role)
        return tuple(a.at for a in self.heads if role in a.traps)

    def moved(self, new_place: dict[Head, Head]) -> "AnswerKey":
        """The key after heads changed places; heads that are not named keep theirs."""

        def move(head: Head) -> Head:
            return new_place.get(tuple(head), tuple(head))

        heads = [replace(a, layer=move(a.at)[0], head=move(a.at)[1]) for a in self.heads]
        edges = [replace(e, source=move(e.source), target=move(e.target)) for e in self.edges]
        facts = [_move_fact(fact, move) for fact in self.facts]
        return replace(
            self,
            heads=tuple(sorted(heads, key=lambda a: a.at)),
            edges=tuple(edges),
            facts=tuple(facts),
        )

    def loosened(self, attention: float, effect: float, soft: float = 0.0) -> "AnswerKey":
        """The key with wider tolerances.

        Args:
            attention: least tolerance of attention, weights and tracing (all of the order of 1).
            effect: least tolerance of logits and losses, as a share of the expected value plus 1.
            soft: the same for soft facts, if it is wider.
        """
        facts = []
        for fact in self.facts:
            logits = isinstance(fact, EffectFact | AttributionFact | LensFact)
            least, unit = (effect, 1 + abs(fact.value)) if logits else (attention, 1.0)
            least = unit * (max(least, soft) if fact.soft else least)
            facts.append(replace(fact, tolerance=max(fact.tolerance, least)))
        edges = [replace(e, tolerance=max(e.tolerance, attention)) for e in self.edges]
        return replace(self, facts=tuple(facts), edges=tuple(edges))

    def to_dict(self) -> dict[str, Any]:
        """The key as plain JSON types; each fact names its type under "fact".

        A tolerance without bound, which JSON cannot write, is None.
        """
        values = asdict(self)
        values["facts"] = [{"fact": type(f).__name__, **asdict(f)} for f in self.facts]
        for checked in (*values["facts"], *values["edges"]):
            checked["tolerance"] = _finite(checked["tolerance"])
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "AnswerKey":
        """The key from `to_dict`'s form, also after a way through JSON.

        Raises:
            InputError: a field is missing or unknown.
        """
        try:
            values = {name: _as_tuples(value) for name, value in values.items()}
            values["families"] = {n: Family(**f) for n, f in values["families"].items()}
            values["heads"] = tuple(HeadAnswer(**a) for a in values["heads"])
            values["edges"] = tuple(Edge(**_bounded(e)) for e in values["edges"])
            values["facts"] = tuple(_read_fact(f) for f in values["facts"])
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise InputError(f"This is no answer key: {error}.") from None


_FACTS = {
    kind.__name__: kind
    for kind in (
        AttentionFact,
        EffectFact,
        AttributionFact,
        LensFact,
        CircuitFact,
        TracingFact,
        EmbeddingFact,
    )
}


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise InputError(f"{role!r} is no role of the answer key; known: {', '.join(ROLES)}.")


def _move_fact(fact: Fact, move: Any) -> Fact:
    names = {f.name for f in fields(fact)}
    if "head" in names:
        return replace(fact, head=move(fact.head))
    if "ablated" in names:
        return replace(fact, ablated=tuple(move(head) for head in fact.ablated))
    if "lit" in names:
        return replace(fact, lit=tuple((_move_name(c, move), place) for c, place in fact.lit))
    return fact


def _move_name(component: str, move: Any) -> str:
    kind, _, at = component.partition(":")
    if kind != "head":
        return component
    layer, head = move(tuple(int(part) for part in at.split(".")))
    return f"head:{layer}.{head}"


def _read_fact(values: dict[str, Any]) -> Fact:
    values = _bounded(values)
    return _FACTS[values.pop("fact")](**values)


def _finite(tolerance: float) -> float | None:
    return None if math.isinf(tolerance) else tolerance


def _bounded(values: dict[str, Any]) -> dict[str, Any]:
    tolerance = values["tolerance"]
    return {**values, "tolerance": math.inf if tolerance is None else tolerance}


def _as_tuples(value: Any) -> Any:
    """JSON has no tuples; the key has no lists."""
    if isinstance(value, list | tuple):
        return tuple(_as_tuples(entry) for entry in value)
    if isinstance(value, dict):
        return {name: _as_tuples(entry) for name, entry in value.items()}
    return value
