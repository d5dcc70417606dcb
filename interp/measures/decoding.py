"""Identities that generation rests on, and beam search against the true best continuation."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from interp.core.cache import KVCache
from interp.core.errors import InputError

if TYPE_CHECKING:
    from interp.core import HookedGPT

EXACT, ROUNDING = 1e-10, 1e-3  # tolerances: float64, and the model's own precision
LARGEST_DOUBLED = 50_000_000  # parameters; larger models are checked in their own precision only
_CHUNK = 256  # continuations read at a time
_SLACK = 1e-4  # nats; batches of other sizes round differently, and a lower bar loses nothing


@torch.no_grad()
def generation_identities(
    model: "HookedGPT", tokens: Int[Tensor, "prompt pos"], prefixes: int = 16
) -> pd.DataFrame:
    """What must be equal when a model generates, and by how much it is not.

    Each identity stands beside a wrong one, which shows that the check could have failed.

    Args:
        model: a causal model.
        tokens: texts, at least 3 tokens long.
        prefixes: positions at which one pass is compared with passes over prefixes.

    Returns:
        One row per identity (the last one only for models with MLPs): `formula`, `deviation`
        (largest absolute difference), `precision` in
        which it was computed, `own_deviation` (in the model's own precision), `tolerance` (for
        `deviation`), `wrong_formula`, `wrong_deviation` (largest difference of the wrong one), `n`
        (prompts; heads for attention).

    Raises:
        InputError: texts that are too short.

    Cost: `prefixes` passes, as many one-token steps as the text is long, and for models of up to
    50 million parameters all of it again in float64.
    """
    if tokens.shape[1] < 3:
        raise InputError(f"texts must have 3 tokens or more, but they have {tokens.shape[1]}")
    own = pd.DataFrame(_identities(model, tokens, prefixes))
    exact, precision = own, str(model.W_E.dtype).removeprefix("torch.")
    if model.W_E.dtype == torch.float64:
        pass
    elif model.n_params <= LARGEST_DOUBLED:
        exact, precision = _identities(copy.deepcopy(model).double(), tokens, prefixes), "float64"
    frame = pd.DataFrame(exact)
    frame.insert(2, "precision", precision)
    frame.insert(3, "own_deviation", own["deviation"])
    frame.insert(4, "tolerance", EXACT if precision == "float64" else ROUNDING)
    return frame


def _identities(model: "HookedGPT", tokens: Tensor, prefixes: int) -> list[dict]:
    rows = [_cached(model, tokens), _one_pass(model, tokens, prefixes), _attention(model, tokens)]
    rows.append(_later_token(model, tokens))
    return rows if model.config.attn_only else [*rows, _mlp_alone(model, tokens)]


def _row(formula: str, deviation: float, wrong_formula: str, wrong: float, n: int) -> dict:
    return {
        "formula": formula,
        "deviation": deviation,
        "wrong_formula": wrong_formula,
        "wrong_deviation": wrong,
        "n": n,
    }


def _cached(model: "HookedGPT", tokens: Tensor) -> dict:
    """Token by token with the cache; wrong: each token read alone, without what came before."""
    whole = model(tokens)
    cache = KVCache(model)
    steps = [model(tokens[:, i : i + 1], kv_cache=cache) for i in range(tokens.shape[1])]
    alone = model(tokens.flatten()[:, None]).view_as(whole)
    return _row(
        "key-value cache = reading everything again",
        _gap(torch.cat(steps, 1), whole),
        "each token read alone",
        _gap(alone, whole),
        len(tokens),
    )


def _one_pass(model: "HookedGPT", tokens: Tensor, prefixes: int) -> dict:
    """All positions' losses from one pass, and each from a pass that ends there."""
    n_targets = tokens.shape[1] - 1
    at_once = model.loss(tokens, per_token=True)
    unmasked = model.loss(tokens, per_token=True, mask="none")
    ends = torch.linspace(0, n_targets - 1, min(prefixes, n_targets)).round().long().unique()
    one_by_one = torch.stack(
        [
            F.cross_entropy(
                model(tokens[:, : end + 1], logits_at=-1)[:, 0],
                tokens[:, end + 1],
                reduction="none",
            )
            for end in ends.tolist()
        ],
        dim=1,
    )
    return _row(
        "all losses of one pass = one pass per prefix",
        _gap(at_once[:, ends], one_by_one),
        "the same without the causal mask",
        _gap(unmasked[:, ends], one_by_one),
        len(tokens),
    )


def _later_token(model: "HookedGPT", tokens: Tensor) -> dict:
    """Logits before a token that is changed; wrong: the same without the causal mask."""
    pos = tokens.shape[1] // 2
    other = tokens.clone()
    other[:, pos] = (other[:, pos] + 1) % model.config.d_vocab
    leak, unmasked = (
        _gap(model(tokens, mask=mask)[:, :pos], model(other, mask=mask)[:, :pos])
        for mask in (None, "none")
    )
    return _row(
        "logits before a changed token = before",
        leak,
        "the same without the causal mask",
        unmasked,
        len(tokens),
    )


def _mlp_alone(model: "HookedGPT", tokens: Tensor) -> dict:
    """What MLPs write at other positions when one position's vector is changed.

    Wrong: what attention writes at the later positions, which does change.
    """
    pos = tokens.shape[1] // 2
    others = [i for i in range(tokens.shape[1]) if i != pos]
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(model.config.n_layers)]
    _, cache = model.run_with_cache(tokens, names, return_type=None)
    deviation = moved = 0.0
    for name, block in zip(names, model.blocks, strict=True):
        changed = cache[name].clone()
        changed[:, pos] = -changed[:, pos]
        written = []
        for resid in (cache[name], changed):
            read = block.ln2(resid) if model.config.norm == "pre" else resid
            written.append(block.mlp(read))
        deviation = max(deviation, _gap(written[0][:, others], written[1][:, others]))
        written = []
        for resid in (cache[name], changed):
            seen: list[Tensor] = []
            layer = int(name.split(".")[1])
            model.run_with_hooks(
                resid,
                [(f"blocks.{layer}.hook_attn_out", lambda out, _, seen=seen: seen.append(out))],
                start_at_layer=layer,
                stop_at_layer=layer + 1,
            )
            written.append(seen[0])
        moved = max(moved, _gap(written[0][:, pos + 1 :], written[1][:, pos + 1 :]))
    return _row(
        "MLP at other positions than a changed one = before",
        deviation,
        "attention at later positions",
        moved,
        model.config.n_layers,
    )


def _attention(model: "HookedGPT", tokens: Tensor) -> dict:
    """Pattern times values of every head, and PyTorch's fused attention from queries and keys.

    Wrong: the formula as the notes have it, without the division by √d_head and without the mask.
    """
    shorts = ("q", "k", "v", "pattern")
    names = [
        f"blocks.{layer}.attn.hook_{short}"
        for layer in range(model.config.n_layers)
        for short in shorts
    ]
    _, cache = model.run_with_cache(tokens, names)
    deviation = wrong = 0.0
    for layer, block in enumerate(model.blocks):
        q, k, v = (
            cache[f"blocks.{layer}.attn.hook_{short}"].transpose(1, 2) for short in shorts[:3]
        )
        ours = cache[f"blocks.{layer}.attn.hook_pattern"] @ v
        scale = block.attn.scale
        fused = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
        bare = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        deviation, wrong = max(deviation, _gap(ours, fused)), max(wrong, _gap(ours, bare))
    return _row(
        "own attention = scaled_dot_product_attention",
        deviation,
        "without ÷√d_head and without the mask",
        wrong,
        model.config.n_layers * model.config.n_heads,
    )


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


# ------------------------------------------------------------------------------------ search


@torch.no_grad()
def best_continuation(
    model: "HookedGPT",
    prompt: Int[Tensor, " pos"],
    depth: int,
    temperature: float = 1.0,
    max_reads: int = 20_000,
) -> tuple[list[int], float] | None:
    """The most probable continuation of exactly this length, for certain.

    The same answer as scoring all `d_vocab ** depth` continuations: a log-probability only falls
    as a sequence grows, so a beginning that is already below the greedy continuation's total
    cannot become the best, and is left out.

    Args:
        model: the model.
        prompt: one prompt.
        depth: tokens to add.
        temperature: of each step's distribution, above 0.
        max_reads: beginnings to read at most.

    Returns:
        New ids and their log-probability in nats (of equals the lower ids), or None where more
        than `max_reads` beginnings would have to be read.

    Raises:
        InputError: depth below 1.
    """
    if depth < 1:
        raise InputError(f"depth must be at least 1, but it is {depth}")
    bar = _greedy_score(model, prompt, depth, temperature) - _SLACK
    open_ones, scores = prompt.new_empty(1, 0), torch.zeros(1, dtype=torch.float64)
    reads = 0
    for _ in range(depth):
        reads += len(open_ones)
        if reads > max_reads:
            return None
        grown = [
            _survivors(model, prompt, paths, so_far, temperature, bar)
            for paths, so_far in zip(
                open_ones.split(_CHUNK), scores.to(prompt.device).split(_CHUNK), strict=True
            )
        ]
        open_ones, scores = (torch.cat(parts) for parts in zip(*grown, strict=True))
    best = int(scores.argmax())
    return open_ones[best].tolist(), float(scores[best])


def _survivors(
    model: "HookedGPT",
    prompt: Tensor,
    paths: Tensor,
    so_far: Float[Tensor, " path"],
    temperature: float,
    bar: float,
) -> tuple[Tensor, Tensor]:
    """All continuations of these paths by one token that still reach the bar."""
    log_probs = _next(model, prompt, paths, temperature)
    scores = so_far[:, None] + log_probs
    parent, token = (scores >= bar).nonzero(as_tuple=True)
    return torch.cat([paths[parent], token[:, None]], 1), scores[parent, token]


def _next(model: "HookedGPT", prompt: Tensor, paths: Tensor, temperature: float) -> Tensor:
    read = torch.cat([prompt.expand(len(paths), -1), paths], 1)
    return (model(read, logits_at=-1)[:, 0].double() / temperature).log_softmax(-1)


def _greedy_score(model: "HookedGPT", prompt: Tensor, depth: int, temperature: float) -> float:
    path, total = prompt.new_empty(1, 0), 0.0
    for _ in range(depth):
        value, token = _next(model, prompt, path, temperature).max(-1)
        path, total = torch.cat([path, token[:, None]], 1), total + float(value)
    return total


@torch.no_grad()
def beam_comparison(
    model: "HookedGPT",
    prompts: Int[Tensor, "prompt pos"],
    depth: int,
    widths: Sequence[int],
    max_reads: int = 20_000,
) -> pd.DataFrame:
    """What beam search finds, beside the best continuation there is.

    Returns:
        One row per prompt and width: `prompt`, `width` (1 is greedy), `log_prob` of the best beam
        in nats, `exact_log_prob` of the best continuation, `gap_nats`, `found` (the beam has it),
        `depth`. Prompts whose best continuation takes more than `max_reads` have no rows.
    """
    rows = []
    for number, prompt in enumerate(prompts):
        exact = best_continuation(model, prompt, depth, max_reads=max_reads)
        if exact is None:
            continue
        for width in widths:
            if width == 1:
                new = model.generate(prompt, depth, temperature=0).new_tokens[0]
                score = _score(model, prompt, new)
            else:
                made = model.generate(prompt, depth, beams=width)
                new, score = made.new_tokens[0], made.log_probs[0]
            rows.append(
                {
                    "prompt": number,
                    "width": width,
                    "log_prob": score,
                    "exact_log_prob": exact[1],
                    "gap_nats": exact[1] - score,
                    "found": new == exact[0],
                    "depth": depth,
                }
            )
    columns = ["prompt", "width", "log_prob", "exact_log_prob", "gap_nats", "found", "depth"]
    return pd.DataFrame(rows, columns=columns)


@torch.no_grad()
def beam_temperature(
    model: "HookedGPT",
    prompts: Int[Tensor, "prompt pos"],
    depth: int,
    temperatures: Sequence[float],
    max_reads: int = 20_000,
) -> pd.DataFrame:
    """Whether the best continuation stays the best when every step has another temperature.

    Returns:
        One row per prompt and temperature: `prompt`, `temperature`, `searched` (found within
        `max_reads`), `same` (the best one at T = 1 is the best one here), `same_first` (its first
        token is).
    """
    rows = []
    for number, prompt in enumerate(prompts):
        plain = best_continuation(model, prompt, depth, max_reads=max_reads)
        for temperature in temperatures:
            other = None
            if plain is not None:
                other = best_continuation(model, prompt, depth, temperature, max_reads)
            known = other is not None
            rows.append(
                {
                    "prompt": number,
                    "temperature": float(temperature),
                    "searched": known,
                    "same": known and plain[0] == other[0],
                    "same_first": known and plain[0][0] == other[0][0],
                }
            )
    return pd.DataFrame(rows)


@torch.no_grad()
def wide_beam_deviation(model: "HookedGPT", prompt: Int[Tensor, " pos"]) -> tuple[float, int]:
    """Beams as wide as the vocabulary, two tokens deep, against all pairs of tokens.

    With every first token kept nothing can be lost: the `d_vocab` best pairs must come out. In
    float64.

    Returns:
        Largest difference between the sorted log-probabilities, and how many of the pairs differ.

    Cost: `d_vocab` rows in one pass, and `d_vocab ** 2` numbers.
    """
    model = copy.deepcopy(model).double()
    empty = prompt.new_empty(1, 0)
    first = _next(model, prompt, empty, 1.0)[0]
    everyone = torch.arange(len(first), device=prompt.device)[:, None]
    pairs = first[:, None] + torch.cat(
        [_next(model, prompt, chunk, 1.0) for chunk in everyone.split(_CHUNK)]
    )
    best = pairs.flatten().sort(descending=True, stable=True)
    expected = [list(divmod(i, len(first))) for i in best.indices[: len(first)].tolist()]
    beams = model.generate(prompt, 2, beams=len(first)).beams[0]
    found = torch.tensor([score for _, score in beams], dtype=torch.float64)
    missing = {tuple(pair) for pair in expected} - {tuple(ids) for ids, _ in beams}
    return _gap(found, best.values[: len(first)].cpu()), len(missing)


def _score(model: "HookedGPT", prompt: Tensor, new: list[int]) -> float:
    whole = torch.cat([prompt, prompt.new_tensor(new)])
    log_probs = model(whole[None])[0].double().log_softmax(-1)
    return sum(float(log_probs[len(prompt) - 1 + i, token]) for i, token in enumerate(new))
