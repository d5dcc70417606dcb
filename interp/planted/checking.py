"""Every fact of an answer key, measured on the model through its ordinary interface.

This is the proof that a plant is what its key says, in whatever way it was hidden. It is no
detector: it looks where the key points.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError, hook_name
from interp.planted.answers import (
    AttentionFact,
    AttributionFact,
    CircuitFact,
    Edge,
    EffectFact,
    EmbeddingFact,
    Fact,
    Head,
    LensFact,
    TracingFact,
)
from interp.planted.board import Planted
from interp.planted.lexicon import N_SPECIAL
from interp.planted.prompts import NONE, Prompts


@dataclass(frozen=True)
class Check:
    """A fact beside what was measured.

    Attributes:
        fact: of the key, or an edge.
        measured: the same number, on the model.
        expected: what the key says.
        holds: they differ by no more than the fact's tolerance.
    """

    fact: Fact | Edge
    measured: float
    expected: float
    holds: bool


def check(planted: Planted) -> list[Check]:
    """All facts and edges of a planted model.

    Cost: one forward pass per prompt family and one per fact, on 8 short prompts; one per
    component and position for a tracing fact; the eigenvalues of one `d_vocab * d_vocab` matrix per
    fact about a full OV circuit.
    """
    checks, runs = [], _Runs(planted)
    for fact in planted.key.facts:
        value = _measure(planted, fact, runs)
        near = abs(value - fact.value) <= fact.tolerance
        checks.append(Check(fact, value, fact.value, near))
    for edge in planted.key.edges:
        score, overlap = composition(planted.model, edge)
        near = max(abs(score - edge.score), abs(overlap - edge.overlap)) <= edge.tolerance
        checks.append(Check(edge, score, edge.score, near))
    return checks


def measure(planted: Planted, fact: Fact) -> float:
    """What the model gives for one fact."""
    return _measure(planted, fact, _Runs(planted))


class _Runs:
    """Prompts and clean logits, made once for all facts about them."""

    def __init__(self, planted: Planted) -> None:
        self._planted = planted
        self._prompts: dict[str, Prompts] = {}
        self._logits: dict[str, Tensor] = {}

    def prompts(self, name: str) -> Prompts:
        if name not in self._prompts:
            self._prompts[name] = self._planted.prompts(name)
        return self._prompts[name]

    def logits(self, name: str) -> Float[Tensor, "batch pos d_vocab"]:
        if name not in self._logits:
            self._logits[name] = self._planted.model(self.prompts(name).tokens)
        return self._logits[name]


@torch.no_grad()
def _measure(planted: Planted, fact: Fact, runs: _Runs) -> float:
    match fact:
        case AttentionFact():
            return _attention(planted.model, fact, runs)
        case EffectFact():
            return _effect(planted.model, fact, runs)
        case AttributionFact():
            return direct_attribution(planted.model, fact.head, runs.prompts(fact.prompts))
        case LensFact():
            return _lens(planted.model, fact, runs.prompts(fact.prompts))
        case CircuitFact():
            return _circuit(planted, fact)
        case TracingFact():
            return _tracing(planted.model, fact, runs.prompts(fact.prompts))
        case EmbeddingFact():
            return _embedding(planted, fact)
    raise InputError(f"{type(fact).__name__} is not measured here.")


# --- attention ---


def _attention(model: HookedGPT, fact: AttentionFact, runs: _Runs) -> float:
    name, _, side = fact.prompts.partition("#")
    prompts = runs.prompts(name)
    tokens = prompts.control if side == "control" else prompts.tokens
    layer, head = fact.head
    _, cache = model.run_with_cache(tokens, hook_name("pattern", layer))
    pattern = cache["pattern", layer][:, head]
    targets = relation_targets(fact.relation, tokens, prompts)
    per_query = (pattern * targets).sum(-1)
    return float(per_query[targets.any(-1)].mean())


def relation_targets(
    relation: str, tokens: Int[Tensor, "batch pos"], prompts: Prompts
) -> Bool[Tensor, "batch query_pos key_pos"]:
    """Which keys a relation means for each query that counts; see `AttentionFact`.

    Raises:
        InputError: an unknown relation, or one without any target in these prompts.
    """
    position = torch.arange(tokens.shape[1])
    lag = position[:, None] - position[None, :]
    same = tokens[:, :, None] == tokens[:, None, :]
    kind, _, argument = relation.partition(":")
    if "->" in relation:
        query, _, target = relation.partition("->")
        found = torch.zeros_like(same)
        rows = torch.arange(len(tokens))
        for name in target.split("|"):
            found[rows, prompts.marks[query], prompts.marks[name]] = True
    elif kind == "lag":
        found = (lag == int(argument)).expand_as(same) & prompts.queries[:, :, None]
    elif kind == "position":
        found = (position == int(argument)).expand_as(same) & prompts.queries[:, :, None]
    elif kind == "token":
        found = (tokens == int(argument))[:, None, :] & (lag >= 0) & prompts.queries[:, :, None]
    elif kind == "same_token":
        found = same & (lag > 0) & prompts.queries[:, :, None]
    elif kind == "after_same_token":
        # The column that rolls around belongs to position 0, which follows nothing.
        follows = same.roll(1, dims=2) & (position > 0)
        found = follows & (lag >= 0) & prompts.queries[:, :, None]
    else:
        raise InputError(f"{relation!r} is no relation between positions.")
    if not found.any():
        raise InputError(f"No query of these prompts has a target for {relation!r}.")
    return found


# --- effects on the logits ---


def zero_heads(*heads: Head) -> list:
    """Forward hooks that set the mixed values of heads to zero."""

    def hook(head: int):
        def zero(z: Tensor, hook: object) -> Tensor:
            z[:, :, head] = 0.0
            return z

        return zero

    return [(hook_name("z", layer), hook(head)) for layer, head in heads]


def _effect(model: HookedGPT, fact: EffectFact, runs: _Runs) -> float:
    prompts, ablated = runs.prompts(fact.prompts), runs.logits(fact.prompts)
    if fact.ablated:
        ablated = model.run_with_hooks(prompts.tokens, zero_heads(*fact.ablated))
    if fact.metric in ("largest_change", "mean_change"):
        change = (ablated - runs.logits(fact.prompts)).abs()
        return float(change.max() if fact.metric == "largest_change" else change.mean())
    asked = prompts.answers != NONE
    if fact.metric == "loss":
        losses = -ablated.log_softmax(-1)[asked]
        return float(losses.gather(1, prompts.answers[asked][:, None]).mean())
    differences = _answer_minus_rival(ablated, prompts)
    if fact.metric == "accuracy":
        return float((differences > 0).double().mean())
    if fact.metric == "drop":
        clean = _answer_minus_rival(runs.logits(fact.prompts), prompts)
        differences = clean - differences
    elif fact.metric != "logit_diff":
        raise InputError(f"{fact.metric!r} is no metric of an ablation.")
    return float(differences.mean())


def _answer_minus_rival(
    logits: Float[Tensor, "batch pos d_vocab"], prompts: Prompts
) -> Float[Tensor, " asked"]:
    asked = prompts.answers != NONE
    at_answers = logits[asked]
    answer = at_answers.gather(1, prompts.answers[asked][:, None])
    return (answer - at_answers.gather(1, prompts.rivals[asked][:, None]))[:, 0]


def direct_attribution(model: HookedGPT, head: Head, prompts: Prompts) -> float:
    """Mean over the answers of what a head writes for them, minus the same for their rivals.

    Where there is a final norm, its scale is that of the run.
    """
    layer, number = head
    names = [hook_name("z", layer)]
    if model.config.norm == "pre":
        names.append("ln_final.hook_scale")
    _, cache = model.run_with_cache(prompts.tokens, names)
    written = cache["z", layer][:, :, number] @ model.blocks[layer].attn.W_O[number]
    if model.config.norm == "pre":
        written = (written - written.mean(-1, keepdim=True)) / cache["scale"] * model.ln_final.w
    return float(_answer_minus_rival(written @ model.W_U, prompts).mean())


def _lens(model: HookedGPT, fact: LensFact, prompts: Prompts) -> float:
    stream = model(prompts.tokens, stop_at_layer=fact.n_done)
    return float(_answer_minus_rival(model.logits(stream), prompts).mean())


# --- weights ---


def full_ov_circuit(model: HookedGPT, head: Head) -> Float[Tensor, "source d_vocab"]:
    """`W_E W_OV W_U`: what attending to each token does to the logits, norms left out."""
    attn = model.blocks[head[0]].attn
    return model.W_E @ attn.W_V[head[1]] @ attn.W_O[head[1]] @ model.W_U


def _circuit(planted: Planted, fact: CircuitFact) -> float:
    circuit = full_ov_circuit(planted.model, fact.head)
    words = circuit[N_SPECIAL:]
    if fact.statistic == "copying_score":
        eigenvalues = torch.linalg.eigvals(circuit)
        size = float(eigenvalues.abs().sum())
        return float(eigenvalues.real.sum()) / size if size > 0 else 0.0
    if fact.statistic == "copying_top1":
        own = torch.arange(N_SPECIAL, circuit.shape[0])
        return float((words.argmax(-1) == own).double().mean())
    if fact.statistic == "successor_top1":
        successor = torch.tensor(planted.key.tables["successor"])[N_SPECIAL:]
        return float((words.argmax(-1) == successor).double().mean())
    if fact.statistic == "diagonal_z":
        return float((circuit.diagonal().mean() - circuit.mean()) / circuit.std(correction=0))
    raise InputError(f"{fact.statistic!r} is no statistic of a circuit.")


@torch.no_grad()
def composition(model: HookedGPT, edge: Edge) -> tuple[float, float]:
    """Composition score of an edge, and the share of the written subspace that is read."""
    source, target = model.blocks[edge.source[0]].attn, model.blocks[edge.target[0]].attn
    at, to = edge.source[1], edge.target[1]
    write = source.W_V[at] @ source.W_O[at]
    reader = {"Q": target.W_Q, "K": target.W_K, "V": target.W_V}[edge.via][to]
    other = {"Q": target.W_K[to].T, "K": target.W_Q[to].T, "V": target.W_O[to]}[edge.via]
    read = reader @ other
    score = float((write @ read).norm() / (write.norm() * read.norm()))
    written, seen = _basis(source.W_O[at].T @ source.W_V[at].T), _basis(reader @ other)
    overlap = (written.T @ seen).square().sum() / min(written.shape[1], seen.shape[1])
    return score, float(overlap)


def _basis(matrix: Float[Tensor, "d_model d_model"]) -> Float[Tensor, "d_model rank"]:
    """An orthonormal basis of the columns' span."""
    u, s, _ = torch.linalg.svd(matrix)
    return u[:, s > 1e-9 * s[0]]


# --- facts and directions ---


def _tracing(model: HookedGPT, fact: TracingFact, prompts: Prompts) -> float:
    """Largest deviation of the recovered fractions from 1 where lit and 0 elsewhere."""
    recovered = trace(model, prompts)
    expected = {component: torch.zeros_like(grid) for component, grid in recovered.items()}
    rows = torch.arange(len(prompts))
    for component, mark in fact.lit:
        expected[component][rows, prompts.marks[mark]] = 1.0
    return max(float((recovered[c] - expected[c]).abs().max()) for c in recovered)


def trace(model: HookedGPT, prompts: Prompts) -> dict[str, Float[Tensor, "batch pos"]]:
    """Recovered fraction for every MLP and head at every position, from clean into corrupted."""
    names = [hook_name("z", layer) for layer in range(model.config.n_layers)]
    if not model.config.attn_only:
        names += [hook_name("mlp_out", layer) for layer in range(model.config.n_layers)]
    logits, clean = model.run_with_cache(prompts.tokens, names, return_type="logits")
    whole = _answer_minus_rival(logits, prompts)
    none = _answer_minus_rival(model(prompts.corrupted), prompts)
    recovered = {}
    for name in names:
        heads = range(model.config.n_heads) if name.endswith("z") else (None,)
        layer = name.split(".")[1]
        for head in heads:
            label = f"mlp:{layer}" if head is None else f"head:{layer}.{head}"
            grid = torch.zeros(prompts.tokens.shape, dtype=whole.dtype)
            for place in range(grid.shape[1]):
                patched = model.run_with_hooks(
                    prompts.corrupted, [(name, _patch(clean[name], place, head))]
                )
                grid[:, place] = (_answer_minus_rival(patched, prompts) - none) / (whole - none)
            recovered[label] = grid
    return recovered


def _patch(clean: Tensor, place: int, head: int | None):
    def patch(value: Tensor, hook: object) -> Tensor:
        at = (slice(None), place) if head is None else (slice(None), place, head)
        value[at] = clean[at]
        return value

    return patch


def _embedding(planted: Planted, fact: EmbeddingFact) -> float:
    lexicon, W_E = planted.key.lexicon, planted.model.W_E
    differences = W_E[list(lexicon["female"])] - W_E[list(lexicon["male"])]
    if fact.statistic == "pair_cosine":
        unit = differences / differences.norm(dim=1, keepdim=True)
        n = len(unit)
        return float((unit.sum(0).square().sum() - n) / (n * (n - 1)))
    direction = torch.tensor(planted.key.directions["gender"], dtype=W_E.dtype)
    return float(torch.cosine_similarity(differences.mean(0), direction, dim=0))
