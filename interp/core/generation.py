"""Predict, sample, append, repeat.

Each step: logits of the last position, repetition penalty, temperature, top-k, nucleus, min-p, one
draw. The filters are applied in that order and combine: a token is kept if every filter that is
switched on keeps it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.core.cache import ActivationCache, KVCache
from interp.core.config import GPTConfig
from interp.core.errors import InputError
from interp.core.masks import mask_from_spec

if TYPE_CHECKING:
    from interp.core.model import HookedGPT


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the logits.

    Attributes:
        temperature: divides the logits; 0 is the exact argmax (the first of equals).
        top_k: keep the k most likely tokens (Fan et al. 2018).
        top_p: keep the smallest set of most likely tokens whose probability reaches p, after
            temperature and top-k (Holtzman et al. 2019).
        min_p: keep tokens at least `min_p` times as likely as the likeliest (Nguyen et al. 2024).
        repetition_penalty: divides positive and multiplies negative logits of tokens that occurred
            in prompt or continuation (Keskar et al. 2019); 1 changes nothing.
    """

    temperature: int | float = 1.0
    top_k: int | None = None
    top_p: int | float | None = None
    min_p: int | float | None = None
    repetition_penalty: int | float = 1.0

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and self.temperature < float("inf")):
            raise InputError(f"temperature must be 0 or more, but it is {self.temperature}.")
        if self.top_k is not None and not (isinstance(self.top_k, int) and self.top_k >= 1):
            raise InputError(f"top_k must be a whole number of at least 1, not {self.top_k!r}.")
        for name in ("top_p", "min_p"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise InputError(f"{name} must lie above 0 and at most at 1, but it is {value}.")
        if not 0 < self.repetition_penalty < float("inf"):
            raise InputError(
                f"repetition_penalty must be above 0 (1 changes nothing), but it is "
                f"{self.repetition_penalty}."
            )

    def log_probs(
        self,
        logits: Float[Tensor, "batch d_vocab"],
        occurred: Bool[Tensor, "batch d_vocab"] | None = None,
    ) -> Float[Tensor, "batch d_vocab"]:
        """Log-probabilities that a draw follows; −inf where a filter removed the token.

        Args:
            logits: of the position whose next token is drawn.
            occurred: tokens in prompt and continuation; needed for the repetition penalty only.
        """
        logits = logits.double() if logits.dtype == torch.float64 else logits.float()
        if occurred is not None and self.repetition_penalty != 1:
            penalty = self.repetition_penalty
            penalised = torch.where(logits > 0, logits / penalty, logits * penalty)
            logits = torch.where(occurred, penalised, logits)
        if self.temperature == 0:
            chosen = torch.full_like(logits, -torch.inf)
            return chosen.scatter_(-1, logits.argmax(-1, keepdim=True), 0.0)
        # Subtracting the maximum first keeps a small temperature from overflowing.
        logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            logits = _keep(logits, _rank(logits) < self.top_k)
        if self.top_p is not None and self.top_p < 1:
            logits = _keep(logits, _nucleus(logits, self.top_p))
        if self.min_p is not None:
            probs = logits.softmax(-1)
            logits = _keep(logits, probs >= self.min_p * probs.amax(-1, keepdim=True))
        return logits.log_softmax(-1)


def _keep(logits: Tensor, kept: Tensor) -> Tensor:
    return logits.masked_fill(~kept, -torch.inf)


def _rank(logits: Tensor) -> Tensor:
    """0 for the largest; of equals, the one with the lower id comes first."""
    order = logits.argsort(dim=-1, descending=True, stable=True)
    return torch.empty_like(order).scatter_(
        -1, order, torch.arange(logits.shape[-1], device=logits.device).expand_as(order)
    )


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Tokens before which, in order of probability, the mass is still below `top_p`."""
    order = logits.argsort(dim=-1, descending=True, stable=True)
    sorted_probs = logits.softmax(-1).gather(-1, order).double()
    mass_before = sorted_probs.cumsum(-1) - sorted_probs
    # A set that reaches p up to rounding has reached it.
    kept = mass_before < top_p - 1e-9
    kept[..., 0] = True
    return torch.empty_like(kept).scatter_(-1, order, kept)


@dataclass(frozen=True)
class Generation:
    """What was generated.

    Attributes:
        tokens: prompt and continuation; prompts are padded on the left, rows that stopped early
            are padded on the right.
        attention_mask: False at pads.
        new_tokens: for each row the generated ids, the stop token included if one came.
        log_probs: for each row the sum of its new tokens' log-probabilities, in nats: under the
            model itself for beams, under the sampling distribution else.
        stopped: whether a stop token ended the row.
        cache: the activations captured on the way, or None. Position t is that of `tokens[:, t]`;
            the last token was drawn but never read, so it has none.
        beams: per row, all final beams as pairs of new ids and log-probability, best first; None
            without beam search.
    """

    tokens: Int[Tensor, "batch pos"]
    attention_mask: Bool[Tensor, "batch pos"]
    new_tokens: list[list[int]]
    log_probs: list[float]
    stopped: list[bool]
    cache: ActivationCache | None = None
    beams: list[list[tuple[list[int], float]]] | None = None


@torch.no_grad()
def generate(
    model: "HookedGPT",
    tokens: Tensor | str | list[str],
    max_new_tokens: int,
    *,
    attention_mask: Bool[Tensor, "batch pos"] | None = None,
    temperature: int | float = 1.0,
    top_k: int | None = None,
    top_p: int | float | None = None,
    min_p: int | float | None = None,
    repetition_penalty: int | float = 1.0,
    beams: int = 1,
    stop_tokens: Sequence[int] = (),
    seed: int | Sequence[int] = 0,
    generator: torch.Generator | None = None,
    names: Any = None,
    use_kv_cache: bool = True,
) -> Generation:
    """Continue prompts, one token at a time.

    Row r of a batch draws from a random stream of its own, seeded `seed + r` (or `seed[r]`), so it
    gets what it would get alone with that seed. With an explicit `generator` all rows share it.

    Args:
        model: the model; put into eval mode by the caller.
        tokens: ids `batch pos`, one row of ids, a text, or texts (padded on the left).
        max_new_tokens: how many to add at most.
        attention_mask: False at pads, which must stand on the left.
        temperature: see `Sampling`, as `top_k`, `top_p`, `min_p`, `repetition_penalty`.
        top_k: see `Sampling`.
        top_p: see `Sampling`.
        min_p: see `Sampling`.
        repetition_penalty: see `Sampling`.
        beams: width of a beam search: keeps the `beams` partial sequences with the largest summed
            log-probability under the model, no length normalisation, and is deterministic; a
            beam that meets a stop token is kept as it is. Excludes the sampling options.
        stop_tokens: ids that end a row.
        seed: of the draws.
        generator: draws come from here instead; it moves on.
        names: activations to capture on the way, as in `run_with_cache`. Not with beams.
        use_kv_cache: read only the new token at each step. The result is the same either way:
            where the model's mask lets an earlier position see a new one, everything is read again
            in any case.

    Raises:
        InputError: nothing to continue, a continuation that would pass `n_ctx` (a sliding window
            would change the positions of all earlier tokens), impossible options, pads on the
            right, an id outside the vocabulary.

    Cost: one pass over the prompt, then one pass per token over that token alone; without the
    key-value cache, over everything so far. Memory: the cache, see `KVCache`.
    """
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    tokens, mask = _prompt(model, tokens, attention_mask)
    _check_request(model, tokens, max_new_tokens, stop_tokens)
    shortest, total = int(mask.sum(1).min()), tokens.shape[1] + max_new_tokens
    use_kv_cache = use_kv_cache and not _looks_ahead(model.config, shortest, total)
    if beams != 1:
        _check_beams(model, beams, sampling, names)
        return _beam_search(model, tokens, mask, max_new_tokens, beams, stop_tokens, use_kv_cache)
    uniforms = _drawer(tokens.shape[0], seed, generator, tokens.device)
    return _sample(
        model, tokens, mask, max_new_tokens, sampling, stop_tokens, uniforms, names, use_kv_cache
    )


def _looks_ahead(config: GPTConfig, n_prompt: int, total: int) -> bool:
    """Whether any position may attend to a later one that is not part of the prompt."""
    layers = [config.mask] if isinstance(config.mask, str) else config.mask
    specs = {spec for e in layers for spec in ([e] if isinstance(e, str) else e)}
    return any(bool(mask_from_spec(s, total).triu(1)[:, n_prompt:].any()) for s in specs)


def _prompt(
    model: "HookedGPT", tokens: Tensor | str | list[str], mask: Tensor | None
) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
    if isinstance(tokens, str | list):
        tokens, padding = model.to_tokens(tokens)
        mask = padding if mask is None else mask
    tokens = tokens[None] if tokens.ndim == 1 else tokens
    if mask is None:
        mask = torch.ones_like(tokens, dtype=torch.bool)
    mask = mask.bool()
    if mask.shape != tokens.shape or not mask[:, -1:].all():
        raise InputError(
            "Pads must stand on the left of a prompt that is to be continued, in an attention mask "
            f"of shape {tuple(tokens.shape)}."
        )
    return tokens, mask


def _check_request(
    model: "HookedGPT", tokens: Tensor, max_new_tokens: int, stop_tokens: Sequence[int]
) -> None:
    if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise InputError(
            f"max_new_tokens must be a whole number of at least 1, not {max_new_tokens!r}."
        )
    total, n_ctx = tokens.shape[1] + max_new_tokens, model.config.n_ctx
    if total > n_ctx:
        raise InputError(
            f"{tokens.shape[1]} prompt tokens and {max_new_tokens} new ones make {total}, but the "
            f"context ends at n_ctx={n_ctx}; ask for at most {max(n_ctx - tokens.shape[1], 0)} "
            "(sliding the window would move every token to another position)."
        )
    outside = [t for t in stop_tokens if not 0 <= t < model.config.d_vocab]
    if outside:
        raise InputError(
            f"Stop token {outside[0]} is outside the vocabulary (0 to {model.config.d_vocab - 1})."
        )


def _check_beams(model: "HookedGPT", beams: int, sampling: Sampling, names: Any) -> None:
    if not isinstance(beams, int) or beams < 1:
        raise InputError(f"beams must be a whole number of at least 1, not {beams!r}.")
    if sampling != Sampling():
        raise InputError(
            "Beam search ranks by the model's own probabilities; leave out temperature, top_k, "
            "top_p, min_p and repetition_penalty, or the beams."
        )
    if names is not None:
        raise InputError("Activations are captured while sampling, not in a beam search.")


def _drawer(
    batch: int,
    seed: Integral | Sequence[int],
    generator: torch.Generator | None,
    device: torch.device,
) -> Callable[[], Float[Tensor, " batch"]]:
    """A function that gives one uniform number per row."""
    if generator is not None:

        def shared() -> Tensor:
            source = generator.device
            return torch.rand(batch, dtype=torch.float64, generator=generator, device=source)

        return lambda: shared().to(device)
    seeds = [seed + r for r in range(batch)] if isinstance(seed, Integral) else list(seed)
    if len(seeds) != batch:
        raise InputError(f"{len(seeds)} seeds came for {batch} rows; give one per row, or one.")
    rows = [torch.Generator().manual_seed(int(s)) for s in seeds]

    def own() -> Tensor:
        drawn = [torch.rand((), dtype=torch.float64, generator=g) for g in rows]
        return torch.stack(drawn).to(device)

    return own


def _sample(
    model: "HookedGPT",
    prompt: Tensor,
    mask: Tensor,
    max_new_tokens: int,
    sampling: Sampling,
    stop_tokens: Sequence[int],
    uniforms: Callable[[], Tensor],
    names: Any,
    use_kv_cache: bool,
) -> Generation:
    batch, n_prompt = prompt.shape
    pad = _pad_id(model)
    stops = torch.tensor(list(stop_tokens), dtype=torch.long, device=prompt.device)
    occurred = None
    if sampling.repetition_penalty != 1:
        occurred = torch.zeros(batch, model.config.d_vocab, dtype=torch.bool, device=prompt.device)
        rows = torch.arange(batch, device=prompt.device)[:, None].expand_as(prompt)
        occurred[rows[mask], prompt[mask]] = True

    kv_cache = KVCache(model) if use_kv_cache else None
    captured: list[ActivationCache] = []
    tokens, unread, unread_mask = prompt, prompt, mask
    alive = torch.ones(batch, dtype=torch.bool, device=prompt.device)
    total = torch.zeros(batch, dtype=torch.float64, device=prompt.device)
    for _ in range(max_new_tokens):
        logits, step = _read(model, unread, unread_mask, kv_cache, names)
        if step is not None:
            captured.append(step)
        log_probs = sampling.log_probs(logits, occurred)
        new = (
            log_probs.argmax(-1)
            if sampling.temperature == 0
            else draw(log_probs, uniforms()[:, None])[:, 0]
        )
        total += torch.where(alive, log_probs.gather(-1, new[:, None])[:, 0].double(), 0.0)
        new = torch.where(alive, new, pad)
        tokens = torch.cat([tokens, new[:, None]], 1)
        mask = torch.cat([mask, alive[:, None]], 1)
        if occurred is not None:
            occurred[torch.arange(batch, device=prompt.device)[alive], new[alive]] = True
        alive = alive & ~torch.isin(new, stops)
        if not alive.any():
            break
        fresh = (tokens[:, -1:], mask[:, -1:])
        unread, unread_mask = fresh if use_kv_cache else (tokens, mask)
    cache = None
    if captured:
        cache = _joined(captured) if use_kv_cache else captured[-1]
    return Generation(
        tokens=tokens,
        attention_mask=mask,
        new_tokens=[
            row[m].tolist() for row, m in zip(tokens[:, n_prompt:], mask[:, n_prompt:], strict=True)
        ],
        log_probs=total.tolist(),
        stopped=(~alive).tolist(),
        cache=cache,
    )


def _read(
    model: "HookedGPT", tokens: Tensor, mask: Tensor, kv_cache: KVCache | None, names: Any
) -> tuple[Float[Tensor, "batch d_vocab"], ActivationCache | None]:
    """Logits behind the last token, and what was to be captured."""
    arguments: dict[str, Any] = {"attention_mask": mask, "kv_cache": kv_cache}
    if names is None:
        return model(tokens, logits_at=-1, **arguments)[:, 0], None
    logits, step = model.run_with_cache(tokens, names, return_type="logits", **arguments)
    return logits[:, -1], step


def draw(
    log_probs: Float[Tensor, "batch d_vocab"], uniform: Float[Tensor, "batch draws"]
) -> Int[Tensor, "batch draws"]:
    """Tokens drawn by the inverse of the cumulative distribution: one number decides one draw.

    Args:
        log_probs: from `Sampling.log_probs`; -inf is never drawn.
        uniform: numbers from 0 (included) to 1 (excluded).
    """
    cumulative = log_probs.double().exp().cumsum(-1)
    index = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    # Rounding may point past the end; the last token with probability is meant.
    last = (log_probs > -torch.inf).int().cumsum(-1).argmax(-1, keepdim=True)
    return torch.minimum(index, last)


def _joined(steps: list[ActivationCache]) -> ActivationCache:
    """One cache of all steps: later steps bring the later positions.

    Scores and patterns grow a column per step; the columns that an earlier query could not see
    yet hold what the causal mask gives there, −inf and 0.
    """
    joined = {}
    for name in steps[0]:
        parts = [step[name] for step in steps]
        if name.endswith(("hook_pattern", "hook_attn_scores", "hook_attn_scores_raw")):
            n_keys = parts[-1].shape[-1]
            empty = 0.0 if name.endswith("hook_pattern") else -torch.inf
            parts = [
                torch.nn.functional.pad(part, (0, n_keys - part.shape[-1]), value=empty)
                for part in parts
            ]
            joined[name] = torch.cat(parts, dim=2)
        else:
            joined[name] = torch.cat(parts, dim=1)
    return ActivationCache(joined)


def _pad_id(model: "HookedGPT") -> int:
    """What fills rows that stopped early; it is never attended to and never counted."""
    return 0 if model.tokenizer is None else model.tokenizer.pad_id


@dataclass(frozen=True)
class _Beam:
    tokens: list[int]
    log_prob: float
    stopped: bool
    parent: int = 0


def _beam_search(
    model: "HookedGPT",
    prompts: Tensor,
    mask: Tensor,
    max_new_tokens: int,
    width: int,
    stop_tokens: Sequence[int],
    use_kv_cache: bool,
) -> Generation:
    """Each row on its own, so that a row never depends on its batch."""
    rows = [
        _beams_of(model, prompt[real], max_new_tokens, width, set(stop_tokens), use_kv_cache)
        for prompt, real in zip(prompts, mask, strict=True)
    ]
    best = [beams[0] for beams in rows]
    longest = max(len(beam.tokens) for beam in best)
    pad = _pad_id(model)
    added = [beam.tokens + [pad] * (longest - len(beam.tokens)) for beam in best]
    real = [[True] * len(beam.tokens) + [False] * (longest - len(beam.tokens)) for beam in best]
    return Generation(
        tokens=torch.cat([prompts, torch.tensor(added, device=prompts.device)], 1),
        attention_mask=torch.cat([mask, torch.tensor(real, device=prompts.device)], 1),
        new_tokens=[beam.tokens for beam in best],
        log_probs=[beam.log_prob for beam in best],
        stopped=[beam.stopped for beam in best],
        beams=[[(beam.tokens, beam.log_prob) for beam in beams] for beams in rows],
    )


def _beams_of(
    model: "HookedGPT",
    prompt: Tensor,
    max_new_tokens: int,
    width: int,
    stop_tokens: set[int],
    use_kv_cache: bool,
) -> list[_Beam]:
    """The final beams of one prompt, best first."""
    kv_cache = KVCache(model) if use_kv_cache else None
    log_probs = model(prompt[None], kv_cache=kv_cache, logits_at=-1)[:, 0].double().log_softmax(-1)
    live, done = [_Beam([], 0.0, stopped=False)], []
    for step in range(max_new_tokens):
        scores = log_probs + log_probs.new_tensor([[b.log_prob] for b in live])
        order = scores.flatten().argsort(dim=0, descending=True, stable=True)[:width]
        grown = [_grow(live, scores, int(index), stop_tokens) for index in order]
        # Finished beams compete with the growing ones for the same places.
        kept = sorted(done + grown, key=lambda beam: -beam.log_prob)[:width]
        done = [beam for beam in kept if beam.stopped]
        live = [beam for beam in kept if not beam.stopped]
        if not live or step == max_new_tokens - 1:
            break
        grown = torch.tensor([beam.tokens for beam in live], device=prompt.device)
        if kv_cache is None:
            unread = torch.cat([prompt.expand(len(live), -1), grown], 1)
        else:
            kv_cache, unread = kv_cache.select([beam.parent for beam in live]), grown[:, -1:]
        logits = model(unread, kv_cache=kv_cache, logits_at=-1)[:, 0]
        log_probs = logits.double().log_softmax(-1)
    return sorted(done + live, key=lambda beam: -beam.log_prob)


def _grow(live: list[_Beam], scores: Tensor, index: int, stop_tokens: set[int]) -> _Beam:
    parent, token = divmod(index, scores.shape[1])
    score = float(scores[parent, token])
    return _Beam([*live[parent].tokens, token], score, token in stop_tokens, parent)
