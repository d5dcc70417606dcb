"""Ways to hide a plant. Each takes a planted model and gives one whose key is still right.

| tier | function | what changes |
|---|---|---|
| A | | nothing |
| B | `rotated` | the residual stream by a random rotation, each head's QK and OV by a random GL |
| C | `with_layer_norm` | pre-norm model; the stream doubled to mean 0, readers scaled |
| D | `with_distractors` | random heads, lag decoys, null sinks, an idle head; head order |
| E | `with_noise` | every weight matrix gets noise |
| F | `superposed` | the stream squeezed into half its width |

A, B, C and F are one operation: writers are multiplied by M and readers by N, where M N is the
identity, exactly or nearly. `hide(planted, "BCD")` applies tiers in an order that always works: D,
F, C, B, E.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from interp.core import HookedGPT, InputError
from interp.planted.answers import AnswerKey, Head, HeadAnswer
from interp.planted.board import Planted
from interp.planted.codes import position_code, shift
from interp.planted.lexicon import BOS_ID
from interp.planted.prompts import NONE, make_prompts

ORDER = "DFCBE"


def hide(
    planted: Planted,
    tiers: str,
    *,
    seed: int = 0,
    sigma: float = 0.5,
    null_share: float = 0.5,
    width: int | None = None,
) -> Planted:
    """Several tiers at once.

    Args:
        planted: what to hide.
        tiers: letters of the tiers, such as "BCD"; A stands for nothing.
        seed: of all of them.
        sigma: noise of tier E.
        null_share: least share of null sinks of tier D.
        width: of the stream in tier F; half unless given.

    Raises:
        InputError: an unknown tier.
    """
    unknown = sorted(set(tiers) - {"A", *ORDER})
    if unknown:
        raise InputError(f"There is no tier {', '.join(unknown)}; tiers are A, B, C, D, E and F.")
    steps = {
        "D": lambda p: with_distractors(p, null_share=null_share, seed=seed),
        "F": lambda p: superposed(p, width, seed=seed),
        "C": with_layer_norm,
        "B": lambda p: rotated(p, seed=seed),
        "E": lambda p: with_noise(p, sigma, seed=seed),
    }
    for tier in ORDER:
        if tier in tiers:
            planted = steps[tier](planted)
    return planted


# --- B: rotation and gauges ---


@torch.no_grad()
def rotated(planted: Planted, seed: int = 0) -> Planted:
    """Tier B: no single dimension of the stream or of a head means anything any more.

    Scores, patterns and logits stay the same to rounding. Under a LayerNorm the rotation leaves the
    all-ones direction alone, so that means stay 0 and lengths stay the same. Head dimensions are
    mixed by invertible matrices of condition 4, other ones for QK than for OV; MLP neurons change
    places.
    """
    generator = torch.Generator().manual_seed(seed)
    d_model = planted.model.config.d_model
    turn = _random_rotation(d_model, generator)
    if planted.model.config.norm == "pre":
        ones = torch.full((d_model,), d_model**-0.5, dtype=torch.float64)
        turn = _fixing(ones, _random_rotation(d_model - 1, generator))
    model = _mapped(planted.model, turn, turn.T)
    for block in model.blocks:
        for head in range(model.config.n_heads):
            _change_gauge(block.attn, head, generator)
        if not model.config.attn_only:
            order = torch.randperm(model.config.d_mlp, generator=generator)
            block.mlp.W_in.copy_(block.mlp.W_in[:, order])
            block.mlp.b_in.copy_(block.mlp.b_in[order])
            block.mlp.W_out.copy_(block.mlp.W_out[order])
    key = _turned(planted.key, turn)
    return _hidden(planted, model, key, "B")


def _random_rotation(size: int, generator: torch.Generator) -> Float[Tensor, "size size"]:
    """Haar-distributed orthogonal matrix."""
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()


def _fixing(
    direction: Float[Tensor, " d_model"], inner: Float[Tensor, "rest rest"]
) -> Float[Tensor, "d_model d_model"]:
    """The rotation that keeps a unit vector and does `inner` in its complement."""
    complement = _complement(direction)
    return torch.outer(direction, direction) + complement @ inner @ complement.T


def _complement(direction: Float[Tensor, " d_model"]) -> Float[Tensor, "d_model rest"]:
    """An orthonormal basis of what is orthogonal to a unit vector."""
    return torch.linalg.svd(direction[None])[2][1:].T


def _change_gauge(attn: torch.nn.Module, head: int, generator: torch.Generator) -> None:
    """Other coordinates inside a head, chosen apart for QK and for OV."""
    qk, qk_inverse = (x.to(attn.W_QKV.dtype) for x in _random_gl(attn.d_head, generator))
    ov, ov_inverse = (x.to(attn.W_QKV.dtype) for x in _random_gl(attn.d_head, generator))
    for name, change in (
        ("W_Q", qk),
        ("b_Q", qk),
        ("W_K", qk_inverse.T),
        ("b_K", qk_inverse.T),
        ("W_V", ov),
        ("b_V", ov),
    ):
        weight = getattr(attn, name)
        weight[head] = weight[head] @ change
    attn.W_O[head] = ov_inverse @ attn.W_O[head]


def _random_gl(
    size: int, generator: torch.Generator
) -> tuple[Float[Tensor, "size size"], Float[Tensor, "size size"]]:
    """A random invertible matrix with singular values between 1/2 and 2, and its inverse."""
    left, right = (_random_rotation(size, generator) for _ in range(2))
    stretch = 4.0 ** (torch.rand(size, generator=generator, dtype=torch.float64) - 0.5)
    return (left * stretch) @ right, right.T @ (left / stretch).T


# --- C: LayerNorm ---


@torch.no_grad()
def with_layer_norm(planted: Planted, ballast: float = 4.0) -> Planted:
    """Tier C: a pre-norm model that does the same.

    A ballast dimension gives the embeddings of all tokens the same length, which makes the first
    norm exact: it divides by a known number. Then the stream is doubled, v to (v, -v) / sqrt(2),
    so that every mean is 0, and what reads it is multiplied by the scale that the norm divides by,
    its root mean square over the key's prompts. Behind the first layer lengths vary with what was
    written, and scores and logits with them: the less, the heavier the ballast.

    Args:
        planted: what to hide.
        ballast: squared length that every token gets in addition, in units of the mean squared
            length of the final stream. 0 makes the norm matter most, and facts about the logits of
            a zoo then fail.

    Raises:
        InputError: the model has norms already, or `ballast` is negative.
    """
    if planted.model.config.norm != "none":
        raise InputError(f"Tier C needs norm='none', not {planted.model.config.norm!r}.")
    if ballast < 0:
        raise InputError(f"ballast={ballast} must not be negative.")
    plain = _with_ballast(
        planted.model, ballast * _mean_squares(planted.model, planted.key)[_last(planted.model)]
    )
    d_model = plain.config.d_model
    double = torch.cat((torch.eye(d_model), -torch.eye(d_model)), 1).double() / math.sqrt(2)
    model = _mapped(plain, double, double.T, norm="pre")
    names = {"ln1": "hook_resid_pre", "ln2": "hook_resid_mid"}
    lengths = _mean_squares(plain, planted.key)
    read_scales = []
    for layer, block in enumerate(model.blocks):
        scales = {
            norm: math.sqrt(lengths[f"blocks.{layer}.{hook}"] / (2 * d_model))
            for norm, hook in names.items()
            if f"blocks.{layer}.{hook}" in lengths
        }
        block.ln1.w.fill_(1.0)
        block.attn.W_QKV *= scales["ln1"]
        read_scales.append(scales["ln1"])
        if not model.config.attn_only:
            block.ln2.w.fill_(1.0)
            block.mlp.W_in *= scales["ln2"]
    model.ln_final.w.fill_(1.0)
    model.unembed.W_U *= math.sqrt(lengths[_last(plain)] / (2 * d_model))
    widen = torch.eye(planted.model.config.d_model, d_model, dtype=torch.float64) @ double
    hidden = _hidden(planted, model, _turned(planted.key, widen).loosened(0.05, 0.25), "C")
    return replace(hidden, read_scales=tuple(read_scales))


def _with_ballast(model: HookedGPT, more: float) -> HookedGPT:
    """One dimension more, in which each token has what it lacks to the longest, and `more`."""
    d_model = model.config.d_model
    wider = _mapped(model, torch.eye(d_model, d_model + 1), torch.eye(d_model + 1, d_model))
    squares = model.W_E.square().sum(1)
    wider.embed.W_E[:, -1] = (squares.max() - squares + more).sqrt()
    return wider


def _last(model: HookedGPT) -> str:
    return f"blocks.{model.config.n_layers - 1}.hook_resid_post"


def _mean_squares(model: HookedGPT, key: AnswerKey) -> dict[str, float]:
    """Mean squared length of the stream at each point, over all prompts of the key.

    Before the unembedding only the positions count at which something is asked, if any are.
    Cost: one forward pass over each family.
    """
    total: dict[str, list[Tensor]] = {}

    def is_stream(name: str) -> bool:
        return name.rsplit(".", 1)[-1] in ("hook_resid_pre", "hook_resid_mid", "hook_resid_post")

    texts = [(p.tokens, p.answers != NONE) for p in (make_prompts(key, f) for f in key.families)]
    if not texts:
        tokens = torch.arange(min(key.d_vocab, key.n_ctx))[None]
        texts = [(tokens, tokens < 0)]
    any_asked = any(asked.any() for _, asked in texts)
    for tokens, asked in texts:
        _, cache = model.run_with_cache(tokens, is_stream)
        for name in cache:
            counts = asked if name == _last(model) and any_asked else torch.ones_like(asked)
            total.setdefault(name, []).append(cache[name].square().sum(-1)[counts])
    return {name: float(torch.cat(values).mean()) for name, values in total.items()}


# --- D: distractors ---


@torch.no_grad()
def with_distractors(
    planted: Planted,
    *,
    n_random: int = 4,
    lags: tuple[int, ...] | None = None,
    null_share: float = 0.5,
    idle: bool = True,
    shuffled: bool = True,
    seed: int = 0,
) -> Planted:
    """Tier D: heads that do something else, or nothing, in an order that says nothing.

    Works on a model in any basis, since tokens and positions are read through `W_E` and `W_pos`.

    Args:
        planted: what to hide.
        n_random: Gaussian heads in the whole model, with the Frobenius norms of planted heads; the
            output of a head that would write too much is made smaller.
        lags: distances of the lag decoys; unless given, all that repeats in the key's prompts would
            make a naive detector look at (their period, and one less).
        null_share: share of the heads, from 0 to 0.9, that rest on BOS and write nothing; each
            layer is filled up with them.
        idle: a head that attends one back with all its attention and writes nothing.
        shuffled: change the places of all heads within their layers.
        seed: of everything drawn.

    Raises:
        InputError: `null_share` is out of range.
    """
    if not 0 <= null_share <= 0.9:
        raise InputError(f"null_share={null_share} does not lie between 0 and 0.9.")
    generator = torch.Generator().manual_seed(seed)
    config, key = planted.model.config, planted.key
    extra: list[list[HeadAnswer]] = [[] for _ in range(config.n_layers)]

    def add(layer: int, part: str, **answer) -> None:
        head = config.n_heads + len(extra[layer])
        extra[layer].append(HeadAnswer(layer, head, "distractor", part, **answer))

    def somewhere() -> int:
        return int(torch.randint(0, config.n_layers, (1,), generator=generator))

    for number in range(n_random):
        add(number % config.n_layers, "random")
    if key.m:
        for lag in _lags_of(key) if lags is None else lags:
            add(somewhere(), f"lag {lag}", attends=(f"lag:{lag}",), traps=_trapped(key, lag),
                allowed=("local",) if lag < 4 else (), positional=True)  # fmt: skip
        if idle:
            add(somewhere(), "idle", attends=("previous_token",),
                allowed=("previous_token", "local"), positional=True)  # fmt: skip
    used = config.n_heads + max(len(heads) for heads in extra)
    n_heads = math.ceil(used / (1 - null_share))
    for layer in range(config.n_layers):
        while config.n_heads + len(extra[layer]) < n_heads:
            if key.m:
                add(layer, "null sink", attends=("first_token", "bos_sink"),
                    roles=("first_token", "bos_sink"), traps=("position_sink",))  # fmt: skip
            else:
                add(layer, "empty")  # nothing to attend by
    wide = _with_more_heads(planted, [a for heads in extra for a in heads], n_heads, generator)
    return shuffled_heads(wide, seed) if shuffled else wide


def _lags_of(key: AnswerKey) -> tuple[int, ...]:
    periods = {f.options["period"] for f in key.families.values() if f.kind == "repeated"}
    return tuple(sorted({lag for p in periods for lag in (p - 1, p)}))


def _trapped(key: AnswerKey, lag: int) -> tuple[str, ...]:
    """Roles whose targets lie at this distance in the key's repeats."""
    periods = {f.options["period"] for f in key.families.values() if f.kind == "repeated"}
    found = ("induction",) if lag + 1 in periods else ()
    return (*found, "duplicate_token") if lag in periods else found


def _with_more_heads(
    planted: Planted, extra: list[HeadAnswer], n_heads: int, generator: torch.Generator
) -> Planted:
    """The model with further heads of the given kinds behind the old ones."""
    old = planted.model
    model = _like(old, n_heads=n_heads)
    for layer, block in enumerate(model.blocks):
        before = old.blocks[layer].attn
        for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
            getattr(block.attn, name)[: before.n_heads] = getattr(before, name)
    norms = _mean_norms(old)
    for answer in extra:
        attn, scale = model.blocks[answer.layer].attn, planted.read_scales[answer.layer]
        if answer.part == "random":
            for name, norm in norms.items():
                weight = getattr(attn, name)
                drawn = torch.randn(weight[0].shape, generator=generator, dtype=torch.float64)
                weight[answer.head] = (drawn * norm / drawn.norm()).to(weight.dtype)
            _soften(model, answer.at, scale)
        elif answer.part == "null sink":
            _write_sink(model, answer.at, scale)
        elif answer.part != "empty":
            lag = 1 if answer.part == "idle" else int(answer.part.split()[1])
            _write_lag(model, planted.key, answer.at, lag, scale)
    # Gaussian heads disturb what the plants read and add to the logits.
    key = (
        replace(planted.key, heads=(*planted.key.heads, *extra))
        .moved({})
        .loosened(0.1, 0.25, soft=0.5)
    )
    return _hidden(planted, model, key, "D")


def _mean_norms(model: HookedGPT) -> dict[str, float]:
    """Mean Frobenius norm of each kind of head matrix, over the heads that have one."""
    norms = {}
    for name in ("W_Q", "W_K", "W_V", "W_O"):
        sizes = getattr(model, name).flatten(0, 1).flatten(1).norm(dim=1)
        norms[name] = float(sizes[sizes > 0].mean()) if (sizes > 0).any() else 1.0
    return norms


LOUDEST = 0.25


def _soften(model: HookedGPT, at: Head, scale: float) -> None:
    """Let a random head write at most a quarter of what a plant writes per token.

    Its norm is spread over all dimensions, a plant's is not: in a narrow stream several random
    heads in a row would drown the plants.
    """
    attn = model.blocks[at[0]].attn
    written = (model.W_E / scale) @ attn.W_V[at[1]] @ attn.W_O[at[1]]
    length = float(written.square().sum(1).mean().sqrt())
    attn.W_O[at[1]] *= min(1.0, LOUDEST / length) if length > 0 else 1.0


SHARPNESS = 14.0


def _write_sink(model: HookedGPT, at: Head, scale: float) -> None:
    """Keys that read BOS, a query that always asks for it, no output."""
    attn = model.blocks[at[0]].attn
    # What is 1 at BOS and 0 at every other token and position, however their codes overlap.
    codes = torch.cat((model.W_E, model.W_pos)).double()
    reader = torch.linalg.pinv(codes)[:, BOS_ID]
    gain = math.sqrt(SHARPNESS * math.sqrt(attn.d_head))
    attn.W_K[at[1], :, 0] = (gain * scale * reader).to(attn.W_QKV.dtype)
    attn.b_Q[at[1], 0] = gain


def _write_lag(model: HookedGPT, key: AnswerKey, at: Head, lag: int, scale: float) -> None:
    """Queries and keys that read the positional code through `W_pos`."""
    attn, code = model.blocks[at[0]].attn, position_code(key.n_ctx, key.m)
    if attn.d_head < 2 * key.m:
        raise InputError(f"A lag decoy needs d_head={2 * key.m} or more, not {attn.d_head}.")
    reader = (torch.linalg.pinv(code) @ model.W_pos.double()).T
    gain = math.sqrt(SHARPNESS * math.sqrt(attn.d_head)) * scale
    inside = slice(0, 2 * key.m)
    attn.W_Q[at[1], :, inside] = (gain * reader).to(attn.W_QKV.dtype)
    attn.W_K[at[1], :, inside] = (gain * reader @ shift(lag, key.m)).to(attn.W_QKV.dtype)


@torch.no_grad()
def shuffled_heads(planted: Planted, seed: int = 0) -> Planted:
    """The same model with its heads in another order within each layer, and the key with them."""
    generator = torch.Generator().manual_seed(seed)
    model, moves = _like(planted.model), {}
    for layer, block in enumerate(model.blocks):
        order = torch.randperm(model.config.n_heads, generator=generator)
        old = planted.model.blocks[layer].attn
        for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
            getattr(block.attn, name).copy_(getattr(old, name)[order])
        moves |= {(layer, old_at): (layer, new) for new, old_at in enumerate(order.tolist())}
    return replace(planted, model=model, key=planted.key.moved(moves))


# --- E: noise ---


@torch.no_grad()
def with_noise(planted: Planted, sigma: float, seed: int = 0) -> Planted:
    """Tier E: every weight matrix gets Gaussian noise of `sigma` times its own root mean square.

    Each head's matrices count by themselves; biases and norms are left alone. No tolerance is kept
    in the key: every fact and edge is known of the model without noise only.
    """
    generator = torch.Generator().manual_seed(seed)
    model = _like(planted.model)

    def disturb(weight: Tensor) -> None:
        rms = weight.double().square().mean().sqrt()
        drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        weight += (sigma * rms * drawn).to(weight.dtype)

    disturb(model.embed.W_E)
    if model.config.positions == "learned":
        disturb(model.pos_embed.W_pos)
    disturb(model.unembed.W_U)
    for block in model.blocks:
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            for head in range(model.config.n_heads):
                disturb(getattr(block.attn, name)[head])
        if not model.config.attn_only:
            disturb(block.mlp.W_in)
            disturb(block.mlp.W_out)
    return _hidden(planted, model, planted.key.loosened(math.inf, math.inf), "E")


# --- F: superposition ---


@torch.no_grad()
def superposed(planted: Planted, width: int | None = None, seed: int = 0) -> Planted:
    """Tier F: the stream, squeezed into fewer dimensions than it has features.

    Writers are multiplied by a random P with orthogonal rows scaled so that P P^T is the identity
    on average, readers by P^T (after Lindner et al. 2023, arXiv:2301.05062, with a random P).
    Features then overlap by about `sqrt(1 / width - 1 / d_model)`. Under a LayerNorm P keeps means
    at 0.

    Args:
        planted: what to hide.
        width: of the new stream; half the old one unless given.
        seed: of P.

    Raises:
        InputError: the width is no reduction.
    """
    d_model = planted.model.config.d_model
    width = d_model // 2 if width is None else width
    if not 2 <= width <= d_model:
        raise InputError(f"width={width} does not lie between 2 and d_model={d_model}.")
    generator = torch.Generator().manual_seed(seed)
    normed = planted.model.config.norm == "pre"
    kept = width - 1 if normed else width
    squeeze = _random_rotation(d_model, generator)[:, :kept] * math.sqrt(d_model / kept)
    if normed:
        ones = torch.full((width,), width**-0.5, dtype=torch.float64)
        squeeze = squeeze @ _complement(ones).T
    model = _mapped(planted.model, squeeze, squeeze.T)
    scales = planted.read_scales
    if normed:
        # The norm divides by the same length over the root of fewer dimensions.
        ratio = math.sqrt(d_model / width)
        scales = tuple(scale * ratio for scale in scales)
        for block in model.blocks:
            block.attn.W_QKV *= ratio
            if not model.config.attn_only:
                block.mlp.W_in *= ratio
        model.unembed.W_U *= ratio
    key = _turned(planted.key, squeeze).loosened(math.inf, math.inf)
    return replace(_hidden(planted, model, key, "F"), read_scales=scales)


# --- common pieces ---


def _mapped(
    model: HookedGPT,
    write: Float[Tensor, "d_model new"],
    read: Float[Tensor, "new d_model"],
    **changes,
) -> HookedGPT:
    """The model with everything that writes to the stream times `write`, readers after `read`."""
    dtype = model.W_E.dtype
    write, read = write.to(dtype), read.to(dtype)
    mapped = _like(model, copy_blocks=False, d_model=write.shape[1], **changes)
    mapped.embed.W_E.copy_(model.W_E @ write)
    if model.config.positions == "learned":
        mapped.pos_embed.W_pos.copy_(model.W_pos @ write)
    mapped.unembed.W_U.copy_(read @ model.W_U)
    for new, old in zip(mapped.blocks, model.blocks, strict=True):
        new.attn.W_QKV.copy_(read @ old.attn.W_QKV)
        new.attn.b_QKV.copy_(old.attn.b_QKV)
        new.attn.W_O_flat.copy_(old.attn.W_O_flat @ write)
        new.attn.b_O.copy_(old.attn.b_O @ write)
        if not model.config.attn_only:
            new.mlp.W_in.copy_(read @ old.mlp.W_in)
            new.mlp.b_in.copy_(old.mlp.b_in)
            new.mlp.W_out.copy_(old.mlp.W_out @ write)
            new.mlp.b_out.copy_(old.mlp.b_out @ write)
    if model.config.norm == "pre":
        for name, parameter in mapped.named_parameters():
            if name.endswith(".w"):
                parameter.fill_(1.0)
    return mapped


def _like(model: HookedGPT, copy_blocks: bool = True, **changes) -> HookedGPT:
    """A frozen model of the same kind; weights whose shape stays are copied, others are 0."""
    config = replace(model.config, **changes)
    new = HookedGPT(config, dtype=model.W_E.dtype, init=None)
    new.requires_grad_(False).eval()
    for name, parameter in new.named_parameters():
        old = dict(model.named_parameters()).get(name)
        same = copy_blocks and old is not None and old.shape == parameter.shape
        parameter.copy_(old) if same else parameter.zero_()
    new.name, new.tokenizer = model.name, model.tokenizer
    new.provenance, new.processing = dict(model.provenance), model.processing
    return new


def _turned(key: AnswerKey, write: Float[Tensor, "d_model new"]) -> AnswerKey:
    """The key with its directions in the new stream."""
    directions = {
        name: tuple((torch.tensor(vector, dtype=torch.float64) @ write).tolist())
        for name, vector in key.directions.items()
    }
    return replace(key, directions=directions)


def _hidden(planted: Planted, model: HookedGPT, key: AnswerKey, tier: str) -> Planted:
    key = replace(key, tiers=(*key.tiers, tier))
    model.name = f"{planted.model.name}/{tier}"
    model.provenance = {**planted.model.provenance, "tiers": list(key.tiers)}
    return replace(planted, model=model, key=key)
