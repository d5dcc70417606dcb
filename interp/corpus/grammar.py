"""One probabilistic grammar, read three ways: sampled, recognised, scored exactly.

A grammar is a program that speaks one word at a time. A *rule* is a Python
function whose result lists what may happen next: an `Arc` says one word, a
`Draw` says a word picked uniformly from a pool, a `Fork` decides something
silently (with a label for the parse). Calling a rule makes a `Node`, the rule
together with its arguments, which is expanded only when somebody gets there. A
node's arguments are all that the sentence still remembers, so two derivations
that will behave alike from here on are at *equal* nodes.

Every random decision belongs to the word that reveals it. Hence all three
readings come from the same lists:

- `sample` walks along one derivation and keeps the log-probability of each step;
- `Filter` keeps the weight of every node that the words so far allow, which
  gives the exact conditional distribution of the next word, summed over all
  derivations (Bayes' rule on a hidden Markov chain: the forward algorithm);
- `best_derivation` keeps the most probable path instead of the sum (Viterbi).

What lasts longer than a sentence (the people introduced so far) is a value
called the memory: it is handed to the start rule and changed by `End`.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from typing import NamedTuple

from interp.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is true about one word, by construction.

    Attributes:
        cls: word class, such as "noun_animal" or "adj_temper".
        number: "sg" or "pl", for nouns and for the verbs that agree.
        gender: "m", "f", or None; for a neutral noun None.
        role: what a person does in life ("royal"), or the class an adjective picks.
        sense: sense of an ambiguous word, and of the words that go with it.
        fact: (subject, relation, object) that this word completes.
        syntax: "head", "attractor", "cue", "distractor", "recipient", ...
        mark: names, with spaces between, under which later words refer to this one.
        antecedent: mark of the word that this word stands for or repeats.
        determined_by: marks of the words that this word depends on.
        told_by: mark of a later word that tells the sense of this one, which
            the sentence has not decided yet when this word is said.
    """

    cls: str
    number: str | None = None
    gender: str | None = None
    role: str | None = None
    sense: str | None = None
    fact: tuple[str, str, str] | None = None
    syntax: str | None = None
    mark: str | None = None
    antecedent: str | None = None
    determined_by: tuple[str, ...] = ()
    told_by: str | None = None


@cache
def note(cls: str, **fields: Hashable) -> Annotation:
    """The annotation with these fields; equal ones are one object."""
    return Annotation(cls, **fields)


class End(NamedTuple):
    """The sentence is over; `memory`, unless None, replaces the memory."""

    memory: Hashable = None


END = End()


class Arc(NamedTuple):
    """With probability `prob`, say `word` and go to `next`."""

    prob: float
    word: str
    note: Annotation
    next: Node | End


class Draw(NamedTuple):
    """With probability `prob`, say a uniform word of `pool` that is not in `exclude`.

    `exclude` holds distinct words of the pool; `next` makes the node that
    follows from the word drawn, and `note`, if it is a function, the annotation.
    """

    prob: float
    pool: Pool
    exclude: tuple[str, ...]
    note: Annotation | Callable[[str], Annotation]
    next: Callable[[str], Node | End]


class Fork(NamedTuple):
    """With probability `prob`, go to `next` without a word; `label` names the choice."""

    prob: float
    label: str | None
    next: Node


Item = Arc | Draw | Fork


class Pool(tuple):
    """A tuple of distinct words with fast membership; compared by identity."""

    def __new__(cls, words: Iterable[str]):
        """Keep the words in order, and once more as a set."""
        self = super().__new__(cls, words)
        self.members = frozenset(self)
        return self

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class Node:
    """A rule and its arguments: where a derivation stands, and all that it remembers."""

    __slots__ = ("_after", "_choices", "_hash", "_items", "args", "cached", "rule")

    def __init__(self, rule: Callable[..., list[Item]], args: tuple, cached: bool):
        self.rule, self.args, self.cached = rule, args, cached
        self._hash = hash((rule, args))
        self._items = self._choices = self._after = None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, Node)
            and self._hash == other._hash
            and self.rule is other.rule
            and self.args == other.args
        )

    def __repr__(self) -> str:
        return f"{self.rule.__name__}{self.args}"

    @property
    def items(self) -> list[Item]:
        """What may happen next."""
        if self._items is None:
            self._items = [item for item in self.rule(*self.args) if item.prob > 0]
        return self._items

    @property
    def choices(self) -> tuple[list[float], list[float], list[Item]]:
        """For sampling: upper ends of the items' shares of [0, 1), log-probabilities, items."""
        if self._choices is None:
            ends, logs, total = [], [], 0.0
            for item in self.items:
                total += item.prob
                ends.append(total)
                logs.append(math.log(_chance(item)))
            if abs(total - 1) > 1e-9:
                raise AssertionError(f"the choices at {self!r} sum to {total}, not to 1")
            ends[-1] = 1.0  # so that rounding never leaves a gap at the top
            self._choices = (ends, logs, self.items)
        return self._choices

    def after(self, word: str) -> list[tuple[float, Node | End]]:
        """(probability, where it leads) for each way of saying `word` next."""
        if self._after is None:
            arcs: dict[str, list] = {}
            others = []
            for item in self.items:
                if type(item) is Arc:
                    arcs.setdefault(item.word, []).append((item.prob, item.next))
                else:
                    others.append(item)
            self._after = (arcs, others)
        arcs, others = self._after
        found = list(arcs.get(word, ()))
        for item in others:
            if type(item) is Fork:
                found += [(item.prob * p, to) for p, to in item.next.after(word)]
            elif word in item.pool.members and word not in item.exclude:
                found.append((_chance(item), item.next(word)))
        return found


def _note(item: Arc | Draw, word: str) -> Annotation:
    """The annotation of the word that the item says."""
    return item.note if type(item.note) is Annotation else item.note(word)


def _chance(item: Item) -> float:
    """Probability of the item, and for a draw of each single word."""
    if type(item) is Draw:
        return item.prob / (len(item.pool) - len(item.exclude))
    return item.prob


def rule(function: Callable[..., list[Item]] | None = None, *, cached: bool = True):
    """Turn a function that lists what may happen next into one that makes nodes.

    Args:
        function: the rule; its arguments must be hashable.
        cached: keep the nodes for ever. False where there are too many of them
            (anything that remembers drawn names); a node whose arguments contain
            such a node is not kept either.
    """
    if function is None:
        return lambda f: rule(f, cached=cached)
    nodes: dict[tuple, Node] = {}

    @wraps(function)
    def make(*args: Hashable) -> Node:
        if not cached or any(type(a) is Node and not a.cached for a in args):
            return Node(function, args, False)
        node = nodes.get(args)
        if node is None:
            node = nodes[args] = Node(function, args, True)
        return node

    return make


@rule
def chain(words: tuple[str, ...], notes: tuple[Annotation, ...], then: Node | End) -> list[Item]:
    """Fixed words, one after the other."""
    rest = chain(words[1:], notes[1:], then) if len(words) > 1 else then
    return [Arc(1.0, words[0], notes[0], rest)]


def uniform(
    words: Sequence[str], annotation: Annotation, then: Node | End, prob: float = 1.0
) -> list[Item]:
    """One of the words with equal chances; all lead to the same node."""
    return [Arc(prob / len(words), word, annotation, then) for word in words]


class Step(NamedTuple):
    """One word of a derivation.

    Attributes:
        word: the word.
        note: its annotation.
        log_prob: log-probability in nats of all decisions made for this word.
        labels: labels of the silent decisions just before it.
        last: whether the sentence ends with it.
    """

    word: str
    note: Annotation
    log_prob: float
    labels: tuple[str, ...]
    last: bool


Start = Callable[[Hashable], Node]


def sample(
    start: Start,
    rng: random.Random,
    n_words: int | None = None,
    *,
    memory: Hashable = (),
    node: Node | None = None,
) -> list[Step]:
    """Sample sentence after sentence and cut after `n_words`.

    Args:
        start: makes the node where a sentence begins, from the memory.
        rng: only `rng.random()` is used, whose values never change with Python's version.
        n_words: length; None: one whole sentence.
        memory: what earlier sentences left behind.
        node: begin here rather than at `start(memory)`.

    Cost: about 1.5 microseconds a word.
    """
    steps: list[Step] = []
    uniform_number, node = rng.random, node or start(memory)
    labels: tuple[str, ...] = ()
    log_prob = 0.0
    while n_words is None or len(steps) < n_words:
        ends, logs, items = node._choices or node.choices
        i = bisect_right(ends, uniform_number()) if len(ends) > 1 else 0
        item = items[i]
        log_prob += logs[i]
        if type(item) is Fork:
            node = item.next
            if item.label is not None:
                labels += (item.label,)
            continue
        if type(item) is Arc:
            word, to = item.word, item.next
        else:
            word = _pick(item, uniform_number)
            to = item.next(word)
        ended = type(to) is End
        steps.append(Step(word, _note(item, word), log_prob, labels, ended))
        labels, log_prob = (), 0.0
        if not ended:
            node = to
        elif n_words is None:
            break
        else:
            memory = memory if to.memory is None else to.memory
            node = start(memory)
    return steps


def sample_words(start: Start, rng: random.Random, n_words: int) -> list[str]:
    """The words that `sample` gives for the same generator, without the trace."""
    words: list[str] = []
    uniform_number, memory = rng.random, ()
    node = start(memory)
    while len(words) < n_words:
        ends, _, items = node._choices or node.choices
        item = items[bisect_right(ends, uniform_number())] if len(ends) > 1 else items[0]
        if type(item) is Arc:
            words.append(item.word)
            node = item.next
        elif type(item) is Fork:
            node = item.next
            continue
        else:
            word = _pick(item, uniform_number)
            words.append(word)
            node = item.next(word)
        if type(node) is End:
            memory = memory if node.memory is None else node.memory
            node = start(memory)
    return words


def _pick(draw: Draw, uniform_number: Callable[[], float]) -> str:
    """A uniform word of the pool; asks again when it is an excluded one."""
    pool, exclude = draw.pool, draw.exclude
    while True:
        word = pool[int(uniform_number() * len(pool))]
        if word not in exclude:
            return word


class Filter:
    """The nodes that the words so far allow, each with its posterior probability.

    Args:
        start: makes the node where a sentence begins, from the memory.
        memory: the memory at the beginning.
    """

    def __init__(self, start: Start, memory: Hashable = ()):
        self.start = start
        self.weights: dict[tuple[Node, Hashable], float] = {(start(memory), memory): 1.0}

    def advance(self, word: str) -> float:
        """Take the next word in; its log-probability in nats, -inf when it is impossible.

        After an impossible word every further word is impossible.
        """
        start, weights = self.start, {}
        for (node, memory), weight in self.weights.items():
            for prob, to in node.after(word):
                if type(to) is End:
                    kept = memory if to.memory is None else to.memory
                    state = (start(kept), kept)
                else:
                    state = (to, memory)
                weights[state] = weights.get(state, 0.0) + weight * prob
        total = math.fsum(weights.values())
        self.weights = {state: weight / total for state, weight in weights.items() if weight > 0}
        return math.log(total) if total > 0 else -math.inf

    def distribution(self) -> dict[str, float]:
        """Exact probability of every possible next word, summed over derivations."""
        probs: dict[str, float] = {}
        waiting = [(node, weight) for (node, _), weight in self.weights.items()]
        while waiting:
            node, weight = waiting.pop()
            for item in node.items:
                if type(item) is Fork:
                    waiting.append((item.next, weight * item.prob))
                    continue
                chance = weight * _chance(item)
                words = [item.word] if type(item) is Arc else item.pool
                for word in words:
                    if type(item) is Arc or word not in item.exclude:
                        probs[word] = probs.get(word, 0.0) + chance
        return probs


def best_derivation(node: Node, words: Sequence[str]) -> list[Step] | None:
    """The most probable derivation of one whole sentence, or None if there is none.

    Cost: about 10 microseconds a word, more where many derivations stay open.
    """
    # (log-probability of the path, its steps as a linked list), best one per node
    paths: dict[Node | End, tuple[float, tuple | None]] = {node: (0.0, None)}
    for i, word in enumerate(words):
        reached: dict[Node | End, tuple[float, tuple | None]] = {}
        for at, (so_far, path) in paths.items():
            if type(at) is End:
                continue
            for log_prob, labels, annotation, to in _ways(at, word):
                score = so_far + log_prob
                if to not in reached or score > reached[to][0]:
                    step = Step(word, annotation, log_prob, labels, type(to) is End)
                    reached[to] = (score, (path, step))
        paths = reached
        if i == len(words) - 1:
            paths = {to: best for to, best in paths.items() if type(to) is End}
    if not words or not paths:
        return None
    _, path = max(paths.values(), key=lambda best: best[0])
    steps = []
    while path is not None:
        path, step = path
        steps.append(step)
    return steps[::-1]


def _ways(node: Node, word: str) -> list[tuple[float, tuple[str, ...], Annotation, Node | End]]:
    """(log-probability, labels, annotation, where to) of each way of saying `word`."""
    ways = []
    for item in node.items:
        if type(item) is Fork:
            own = () if item.label is None else (item.label,)
            ways += [
                (math.log(item.prob) + lp, own + labels, annotation, to)
                for lp, labels, annotation, to in _ways(item.next, word)
            ]
        elif type(item) is Arc:
            if item.word == word:
                ways.append((math.log(item.prob), (), item.note, item.next))
        elif word in item.pool.members and word not in item.exclude:
            ways.append((math.log(_chance(item)), (), _note(item, word), item.next(word)))
    return ways


@dataclass(frozen=True, slots=True)
class ParsedWord:
    """One word of a parsed sentence: `Annotation` with marks turned into indices.

    `antecedent` and `determined_by` count from the beginning of the sentence,
    0 being its first word; everything else is as in `Annotation`.
    """

    word: str
    cls: str
    number: str | None
    gender: str | None
    role: str | None
    sense: str | None
    fact: tuple[str, str, str] | None
    syntax: str | None
    antecedent: int | None
    determined_by: tuple[int, ...]
    log_prob: float


@dataclass(frozen=True, slots=True)
class Parse:
    """One sentence and what is true about it.

    Attributes:
        kind: sentence type, "animal", "person", ...
        template: which construction of that type, or None if there is one only.
        words: the parsed words.
        start: position of its first word in the window (0 for a lone sentence).
        complete: False if the end of the window cut the sentence off.
    """

    kind: str
    template: str | None
    words: tuple[ParsedWord, ...]
    start: int = 0
    complete: bool = True

    @property
    def text(self) -> str:
        """The words with spaces between them."""
        return " ".join(word.word for word in self.words)

    @property
    def log_prob(self) -> float:
        """Log-probability in nats of this derivation (a lower bound on the sentence's own)."""
        return math.fsum(word.log_prob for word in self.words)

    def find(self, **fields: object) -> list[int]:
        """Indices of the words whose attributes have these values."""
        return [
            i
            for i, word in enumerate(self.words)
            if all(getattr(word, name) == value for name, value in fields.items())
        ]


def parse_steps(steps: Sequence[Step], start: int = 0) -> Parse:
    """Read the parse off a derivation of one sentence.

    Raises:
        InputError: if there are no steps.
    """
    if not steps:
        raise InputError("a parse needs at least one word; got an empty derivation")
    labels = [label for step in steps for label in step.labels]
    places: dict[str, int] = {}
    senses = {step.note.mark: step.note.sense for step in steps if step.note.sense}
    words = []
    for i, step in enumerate(steps):
        a = step.note
        words.append(
            ParsedWord(
                step.word,
                a.cls,
                a.number,
                a.gender,
                a.role,
                senses.get(a.told_by) if a.told_by else a.sense,
                a.fact,
                a.syntax,
                places.get(a.antecedent) if a.antecedent else None,
                tuple(places[mark] for mark in a.determined_by if mark in places),
                step.log_prob,
            )
        )
        places.update(dict.fromkeys((a.mark or "").split(), i))
    return Parse(
        labels[0] if labels else "",
        labels[1] if len(labels) > 1 else None,
        tuple(words),
        start,
        steps[-1].last,
    )
