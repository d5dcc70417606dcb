"""A GPT whose every step can be read, replaced and differentiated.

The file reads downwards: norm, embedding, attention, MLP, block, GPT. Hook names, weight names and
weight orientation are TransformerLens's (rows are the source side: `resid @ W_V`); one hook point
is added, `blocks.{l}.attn.hook_attn_scores_raw`, the scores before the mask. The arithmetic follows
GPT-2 (Radford et al. 2019) where the config leaves its defaults.

What a pass costs, per token: 2 floating-point operations per weight of the blocks and of the
unembedding, and `4 * n_layers * n_heads * d_head * n_pos` for the attention between positions.
Memory beside the weights: the logits, and one block's activations; attention runs through
PyTorch's fused kernel, which never forms the pattern. Where a hook or a cache asks for scores or
pattern, they are formed: `batch * n_heads * n_pos**2` numbers each, in that layer only.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interp.core.attention_mask import AttentionMask, attention_masks
from interp.core.cache import ActivationCache, Deferred, KVCache
from interp.core.config import GPTConfig
from interp.core.errors import InputError
from interp.core.hooked import Hooked
from interp.core.hooks import Hook, HookPoint, Where
from interp.core.inputs import check_residual, check_tokens, check_weights, weight_versions

if TYPE_CHECKING:
    from pathlib import Path

    from interp.core.stored_cache import StoredCache

Resid = Float[Tensor, "batch pos d_model"]
PosSlice = int | slice | Sequence[int]
_IN_ATTENTION = ("q", "k", "v", "attn_scores_raw", "attn_scores", "pattern", "z", "result")


@dataclass(frozen=True)
class InitScales:
    """Standard deviations of the random weights a model starts with; GPT-2's by default.

    Attributes:
        token: token embedding (and untied unembedding).
        position: positional embedding.
        qkv: query, key and value weights.
        mlp_in: first MLP matrix.
        residual: the two matrices that write to the residual stream.
        scale_residual: divide `residual` by `sqrt(2 * n_layers)`, as GPT-2 does.
    """

    token: float = 0.02
    position: float = 0.02
    qkv: float = 0.02
    mlp_in: float = 0.02
    residual: float = 0.02
    scale_residual: bool = True


class LayerNorm(nn.Module):
    """Centre, divide by the standard deviation, scale and shift (Ba et al. 2016)."""

    def __init__(self, config: GPTConfig, name: str) -> None:
        super().__init__()
        self.eps = config.eps
        self.w = nn.Parameter(torch.ones(config.d_model))
        self.b = nn.Parameter(torch.zeros(config.d_model))
        self.hook_scale = HookPoint(f"{name}.hook_scale")
        self.hook_normalized = HookPoint(f"{name}.hook_normalized")

    def forward(self, x: Resid) -> Resid:
        """`x`, normalised; `hook_normalized` is the value before scale and shift."""
        edited = self.hook_scale.edits or self.hook_normalized.edits
        recorded = self.hook_scale.active or self.hook_normalized.active
        exact = x.dtype in (torch.float32, torch.float64)
        if not edited and not (recorded and (x.requires_grad or not exact)):
            if recorded:
                self._record(x)
            return F.layer_norm(x, self.w.shape, self.w, self.b, self.eps)
        # Half precision loses the variance; the fused kernel widens inside as well.
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        centered = wide - wide.mean(-1, keepdim=True)
        variance = centered.pow(2).mean(-1, keepdim=True)
        scale = self.hook_scale((variance + self.eps).sqrt())
        normalized = self.hook_normalized((centered / scale).to(x.dtype))
        return normalized * self.w + self.b

    def _record(self, x: Resid) -> None:
        """Record both values, formed from `x` when they are read; the scale alone at once."""

        def parts() -> tuple[Tensor, Tensor, Tensor]:
            return torch.native_layer_norm(x, self.w.shape, None, None, self.eps)

        if self.hook_normalized.active:
            self.hook_scale.record_later(lambda: parts()[2].reciprocal())
            self.hook_normalized.record_later(lambda: parts()[0])
        else:  # one number per position; a formula would hold the whole stream
            self.hook_scale(parts()[2].reciprocal())


class Embed(nn.Module):
    """The vector of each token type."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.W_E = nn.Parameter(torch.empty(config.d_vocab, config.d_model))

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Resid:
        """Rows of `W_E`."""
        return F.embedding(tokens, self.W_E)


class PosEmbed(nn.Module):
    """The vector of each position: learned, or fixed sines and cosines."""

    def __init__(self, config: GPTConfig, dtype: torch.dtype) -> None:
        super().__init__()
        if config.positions == "learned":
            self.W_pos = nn.Parameter(torch.empty(config.n_ctx, config.d_model))
        else:
            waves = sinusoids(config.n_ctx, config.d_model).to(dtype)
            self.register_buffer("W_pos", waves, persistent=False)

    def forward(self, positions: Int[Tensor, "batch pos"]) -> Resid:
        """Rows of `W_pos`; a copy, so that nothing downstream can reach the weights."""
        return F.embedding(positions, self.W_pos)


def sinusoids(n_ctx: int, d_model: int) -> Float[Tensor, "n_ctx d_model"]:
    """Sine and cosine in alternate columns, float64 (Vaswani et al. 2017, section 3.5)."""
    position = torch.arange(n_ctx, dtype=torch.float64)[:, None]
    rate = 10_000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    waves = torch.stack(((position * rate).sin(), (position * rate).cos()), dim=-1)
    return waves.reshape(n_ctx, d_model)


class Attention(nn.Module):
    """Heads that move information between positions.

    The weights are stored as GPT-2 stores them, so that loading copies nothing: `W_QKV` with the
    columns q, k, v, each head by head, and `W_O_flat` with the rows head by head. `W_Q`, `W_K`,
    `W_V`, `W_O` and their biases are views of that storage in TransformerLens's shapes.
    """

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.n_heads, self.d_head = layer, config.n_heads, config.d_head
        inside = config.n_heads * config.d_head
        self.W_QKV = nn.Parameter(torch.empty(config.d_model, 3 * inside))
        self.b_QKV = nn.Parameter(torch.zeros(3 * inside))
        self.W_O_flat = nn.Parameter(torch.empty(inside, config.d_model))
        self.b_O = nn.Parameter(torch.zeros(config.d_model))
        self.scale = (config.d_head**-0.5 if config.attn_scale else 1.0) / (
            layer + 1 if config.scale_by_inverse_layer else 1
        )
        for short in _IN_ATTENTION:
            setattr(self, f"hook_{short}", HookPoint(f"blocks.{layer}.attn.hook_{short}"))

    def forward(self, x: Resid, mask: AttentionMask, kv_cache: KVCache | None = None) -> Resid:
        """What the heads write, `b_O` included.

        Args:
            x: the normalised residual stream.
            mask: who may attend to whom in this layer.
            kv_cache: keys and values of earlier tokens; extended by those of `x`.
        """
        q, k, v = self.queries_keys_values(x)
        if kv_cache is not None:
            k, v = kv_cache.extend(self.layer, k, v)
        return self.written(self.hook_z(self.mix(q, k, v, mask)))

    def written(self, z: Float[Tensor, "batch pos head d_head"]) -> Resid:
        """The mixed values through `W_O`, summed over heads, and `b_O`."""
        if self.hook_result.active:
            return self.hook_result(torch.einsum("bphe,hed->bphd", z, self.W_O)).sum(2) + self.b_O
        batch, pos = z.shape[:2]
        return torch.addmm(self.b_O, z.reshape(batch * pos, -1), self.W_O_flat).view(batch, pos, -1)

    def queries_keys_values(
        self, x: Resid
    ) -> tuple[
        Float[Tensor, "batch pos head d_head"],
        Float[Tensor, "batch pos head d_head"],
        Float[Tensor, "batch pos head d_head"],
    ]:
        """All heads' queries, keys and values in one matrix product."""
        batch, pos, d_model = x.shape
        packed = torch.addmm(self.b_QKV, x.reshape(batch * pos, d_model), self.W_QKV)
        q, k, v = packed.view(batch, pos, 3, self.n_heads, self.d_head).unbind(2)
        return self.hook_q(q), self.hook_k(k), self.hook_v(v)

    def mix(
        self,
        q: Float[Tensor, "batch query_pos head d_head"],
        k: Float[Tensor, "batch key_pos head d_head"],
        v: Float[Tensor, "batch key_pos head d_head"],
        mask: AttentionMask,
    ) -> Float[Tensor, "batch query_pos head d_head"]:
        """The values, mixed by attention.

        The fused kernel does it, and recorded scores and patterns are formed when they are read.
        A hook on one of them, or a gradient through them, needs the explicit way.
        """
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        raw, masked, to_pattern = (
            self.hook_attn_scores_raw,
            self.hook_attn_scores,
            self.hook_pattern,
        )
        edited = raw.edits or masked.edits or to_pattern.edits
        recorded = raw.active or masked.active or to_pattern.active
        if edited or (recorded and q.requires_grad):
            pattern = to_pattern(masked(self._masked(raw(self._scores(q, k)), mask)).softmax(-1))
            return (pattern @ v).transpose(1, 2)
        if recorded:
            self._record_attention(q, k, mask)
        z = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask.allowed, is_causal=mask.is_causal, scale=self.scale
        )
        return z.transpose(1, 2)

    def _scores(
        self,
        q: Float[Tensor, "batch head query_pos d_head"],
        k: Float[Tensor, "batch head key_pos d_head"],
    ) -> Float[Tensor, "batch head query_pos key_pos"]:
        return (q * self.scale) @ k.transpose(-1, -2)

    @staticmethod
    def _masked(
        scores: Float[Tensor, "batch head query_pos key_pos"], mask: AttentionMask
    ) -> Float[Tensor, "batch head query_pos key_pos"]:
        forbidden = mask.forbidden(scores.shape[-2], scores.shape[-1], scores.device)
        return scores if forbidden is None else scores.masked_fill(forbidden, -torch.inf)

    def _record_attention(
        self,
        q: Float[Tensor, "batch head query_pos d_head"],
        k: Float[Tensor, "batch head key_pos d_head"],
        mask: AttentionMask,
    ) -> None:
        """Record scores and pattern, each to be formed when it is read."""
        raw = Deferred(lambda: self._scores(q, k))
        masked = Deferred(lambda: self._masked(raw(), mask))
        pattern = Deferred(lambda: masked().softmax(-1))
        self.hook_attn_scores_raw.record_later(raw)
        self.hook_attn_scores.record_later(masked)
        self.hook_pattern.record_later(pattern)

    def _head_weights(self, which: int) -> Float[Tensor, "head d_model d_head"]:
        return self.W_QKV.unflatten(1, (3, self.n_heads, self.d_head))[:, which].transpose(0, 1)

    def _head_biases(self, which: int) -> Float[Tensor, "head d_head"]:
        return self.b_QKV.view(3, self.n_heads, self.d_head)[which]

    @property
    def W_Q(self) -> Float[Tensor, "head d_model d_head"]:
        """Query weights, a view."""
        return self._head_weights(0)

    @property
    def W_K(self) -> Float[Tensor, "head d_model d_head"]:
        """Key weights, a view."""
        return self._head_weights(1)

    @property
    def W_V(self) -> Float[Tensor, "head d_model d_head"]:
        """Value weights, a view."""
        return self._head_weights(2)

    @property
    def W_O(self) -> Float[Tensor, "head d_head d_model"]:
        """Output weights, a view."""
        return self.W_O_flat.view(self.n_heads, self.d_head, -1)

    @property
    def b_Q(self) -> Float[Tensor, "head d_head"]:
        """Query biases, a view."""
        return self._head_biases(0)

    @property
    def b_K(self) -> Float[Tensor, "head d_head"]:
        """Key biases, a view."""
        return self._head_biases(1)

    @property
    def b_V(self) -> Float[Tensor, "head d_head"]:
        """Value biases, a view."""
        return self._head_biases(2)


class MLP(nn.Module):
    """Two linear maps with a bend between them, at each position alone."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.W_in = nn.Parameter(torch.empty(config.d_model, config.d_mlp))
        self.b_in = nn.Parameter(torch.zeros(config.d_mlp))
        self.W_out = nn.Parameter(torch.empty(config.d_mlp, config.d_model))
        self.b_out = nn.Parameter(torch.zeros(config.d_model))
        self.hook_pre = HookPoint(f"blocks.{layer}.mlp.hook_pre")
        self.hook_post = HookPoint(f"blocks.{layer}.mlp.hook_post")

    def forward(self, x: Resid) -> Resid:
        """What the MLP writes; `hook_pre` and `hook_post` lie around the activation function."""
        batch, pos, d_model = x.shape
        pre = torch.addmm(self.b_in, x.reshape(batch * pos, d_model), self.W_in)
        pre = self.hook_pre(pre.view(batch, pos, -1))
        post = self.activation(pre)
        if self.hook_post.edits or pre.requires_grad or not self.hook_pre.active:
            post = self.hook_post(post)
        else:
            self.hook_post.record_later(lambda: self.activation(pre))
        out = torch.addmm(self.b_out, post.reshape(batch * pos, -1), self.W_out)
        return out.view(batch, pos, d_model)


def _gelu_new(x: Tensor) -> Tensor:
    """GPT-2's GELU, the tanh approximation (Hendrycks & Gimpel 2016)."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_new": _gelu_new,
    "gelu": F.gelu,
    "relu": F.relu,
}


class Block(nn.Module):
    """Attention, then MLP, each adding to the residual stream."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        name = f"blocks.{layer}"
        self.norm, self.residual = config.norm, config.residual
        if config.norm != "none":
            self.ln1 = LayerNorm(config, f"{name}.ln1")
        self.attn = Attention(config, layer)
        self.hook_resid_pre = HookPoint(f"{name}.hook_resid_pre")
        self.hook_attn_out = HookPoint(f"{name}.hook_attn_out")
        if not config.attn_only:
            if config.norm != "none":
                self.ln2 = LayerNorm(config, f"{name}.ln2")
            self.mlp = MLP(config, layer)
            self.hook_resid_mid = HookPoint(f"{name}.hook_resid_mid")
            self.hook_mlp_out = HookPoint(f"{name}.hook_mlp_out")
        self.hook_resid_post = HookPoint(f"{name}.hook_resid_post")

    def forward(self, resid: Resid, mask: AttentionMask, kv_cache: KVCache | None = None) -> Resid:
        """The residual stream after the block.

        With norm "pre" or "none", `resid_pre + attn_out = resid_mid` and
        `resid_mid + mlp_out = resid_post`. With "post" the norm is applied to each sum. Without
        `residual` the output stands in the sum's place.
        """
        before = self.ln1 if self.norm == "pre" else _unchanged
        after = self.ln1 if self.norm == "post" else _unchanged
        resid = self.hook_resid_pre(resid)
        written = self.hook_attn_out(self.attn(before(resid), mask, kv_cache))
        resid = after(resid + written if self.residual else written)
        if hasattr(self, "mlp"):
            before = self.ln2 if self.norm == "pre" else _unchanged
            after = self.ln2 if self.norm == "post" else _unchanged
            resid = self.hook_resid_mid(resid)
            written = self.hook_mlp_out(self.mlp(before(resid)))
            resid = after(resid + written if self.residual else written)
        return self.hook_resid_post(resid)


def _unchanged(x: Tensor) -> Tensor:
    return x


class Unembed(nn.Module):
    """From the residual stream to logits; has a matrix of its own only when it is not tied."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        if not config.tied:
            self.W_U = nn.Parameter(torch.empty(config.d_model, config.d_vocab))
        if config.unembed_bias:
            self.b_U = nn.Parameter(torch.zeros(config.d_vocab))


class HookedGPT(Hooked):
    """The model: `model(tokens)` gives logits, everything in between can be hooked.

    Args:
        config: shape and variant.
        dtype: float32, float64 or bfloat16.
        device: where the weights live.
        seed: of the random weights; the same seed gives the same weights on every device.
        init: how large the random weights are; None leaves them unset, for a loader to fill.

    Attributes:
        name: what the model is called in reports.
        tokenizer: turns text into tokens; set by `interp.loading`, else None.
        provenance: where the weights came from; filled by `interp.loading`.
        processing: the weight transformations applied so far (`interp.core.processing`).
    """

    def __init__(
        self,
        config: GPTConfig,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        seed: int = 0,
        init: InitScales | None = InitScales(),
    ) -> None:
        super().__init__()
        self.config = config
        self.name = "unnamed"
        self.tokenizer: Any = None
        self.provenance: dict[str, Any] = {}
        self.processing: tuple[str, ...] = ()
        self._checked_weights: object = None

        self.embed = Embed(config)
        self.hook_embed = HookPoint("hook_embed")
        if config.positions != "none":
            self.pos_embed = PosEmbed(config, dtype)
            self.hook_pos_embed = HookPoint("hook_pos_embed")
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        if config.norm == "pre":
            self.ln_final = LayerNorm(config, "ln_final")
        self.unembed = Unembed(config)

        self._points = {point.name: point for point in hook_points(self)}
        if init is not None:
            init_weights(self, init, seed)
        self.to(device=device, dtype=dtype)

    # --- the forward pass ---

    def forward(
        self,
        tokens: Int[Tensor, "batch pos"] | Int[Tensor, " pos"] | Resid | str | list[str],
        *,
        attention_mask: Bool[Tensor, "batch pos"] | None = None,
        mask: str | Tensor | dict[int, str | Tensor] | None = None,
        kv_cache: KVCache | None = None,
        start_at_layer: int | None = None,
        stop_at_layer: int | None = None,
        logits_at: PosSlice | None = None,
    ) -> Float[Tensor, "batch logit_pos d_vocab"] | Resid:
        """Logits at every position, or the residual stream where the run stops.

        Args:
            tokens: token ids (a single row needs no batch axis), or text when the model has a
                tokenizer; texts of different lengths are padded on the left. With
                `start_at_layer`: the residual stream `batch pos d_model` that enters that layer.
            attention_mask: False at pads. Pads may stand on either side; real tokens never attend
                to them, and positions count real tokens only.
            mask: who may attend to whom, in place of the config's: a spec (`interp.core.masks`), a
                boolean matrix `query_pos key_pos` or `head query_pos key_pos`, or a dictionary
                from layers to those (other layers keep the config's). A spec counts real tokens,
                as positions do; a matrix has a row and a column for pads too.
            kv_cache: keys and values of the tokens before these; extended by the call. Those were
                made without the new tokens, so the result is that of one pass only under a mask
                that lets no earlier position see a new one.
            start_at_layer: first block to run; earlier ones cost nothing.
            stop_at_layer: first block *not* to run; returns its `resid_pre` (for `n_layers`, the
                stream after the last block).
            logits_at: positions to unembed, all unless given; the final norm too runs there only.
                The axis stays.

        Raises:
            InputError: before any compute, for an empty prompt, one longer than `n_ctx`, an id
                outside the vocabulary, shapes that do not fit together, a mask row that lets
                nothing through, or a weight that is not finite (weights are looked at when they
                changed since the last call, in eval mode).
        """
        start, stop = self._layer_range(start_at_layer, stop_at_layer, kv_cache)
        if not self.training:
            self._check_weights()
        if isinstance(tokens, str | list):
            tokens, padding = self.to_tokens(tokens)
            attention_mask = padding if attention_mask is None else attention_mask
        if start_at_layer is None:
            tokens = tokens[None] if tokens.ndim == 1 else tokens
            check_tokens(tokens, self.config, kv_cache, self.embed.W_E.device)
        else:
            check_residual(tokens, self.config, self.embed.W_E)
        batch, n_new = tokens.shape[:2]
        masks, positions, seen = attention_masks(
            self.config, mask, attention_mask, kv_cache, batch, n_new, tokens.device
        )
        resid = self._embedded(tokens, positions) if start_at_layer is None else tokens
        for layer in range(start, stop):
            resid = self.blocks[layer](resid, masks[layer], kv_cache)
        if kv_cache is not None:
            kv_cache.advance(n_new, seen)
        if stop_at_layer is not None:
            return resid
        return self.logits(resid if logits_at is None else at_positions(resid, 1, logits_at))

    def _embedded(self, tokens: Int[Tensor, "batch pos"], positions: Int[Tensor, "..."]) -> Resid:
        resid = self.hook_embed(self.embed(tokens))
        if self.config.positions == "none":
            return resid
        pos_embed = self.pos_embed(positions).expand_as(resid)
        return resid + self.hook_pos_embed(pos_embed)

    def logits(self, resid: Resid) -> Float[Tensor, "batch pos d_vocab"]:
        """Logits of the residual stream after the last block: final norm, unembedding, bias."""
        if self.config.norm == "pre":
            resid = self.ln_final(resid)
        bias = self.unembed.b_U if self.config.unembed_bias else None
        return F.linear(resid, self.W_U.T, bias)

    def loss(
        self,
        tokens: Int[Tensor, "batch pos"] | Int[Tensor, " pos"] | str | list[str],
        *,
        attention_mask: Bool[Tensor, "batch pos"] | None = None,
        per_token: bool = False,
        **forward: Any,
    ) -> Float[Tensor, ""] | Float[Tensor, "batch pos-1"]:
        """How badly each next token is predicted, in nats; pads never count.

        Args:
            tokens: ids or text, at most `n_ctx + 1` long: the last one is only a target.
            attention_mask: False at pads; a target counts if it and the token before it are real.
            per_token: one value per target, 0 where the target does not count, instead of the mean
                over those that do.
            **forward: `mask`, as in `forward`.

        Raises:
            InputError: no target counts, and as `forward`.
        """
        if isinstance(tokens, str | list):
            tokens, padding = self.to_tokens(tokens)
            attention_mask = padding if attention_mask is None else attention_mask
        tokens = tokens[None] if tokens.ndim == 1 else tokens
        if tokens.shape[-1] < 2:
            raise InputError(
                f"A loss needs a token and the one after it, but {tokens.shape[-1]} came per row."
            )
        check_tokens(tokens[:, 1:], self.config, None, self.embed.W_E.device)
        inputs = None if attention_mask is None else attention_mask[:, :-1]
        logits = self(tokens[:, :-1], attention_mask=inputs, **forward)
        losses = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        losses = losses.view(logits.shape[:2])
        if attention_mask is None:
            return losses if per_token else losses.mean()
        counts = attention_mask[:, 1:] & attention_mask[:, :-1]
        if not counts.any():
            raise InputError("Every target is a pad: the attention mask leaves no token to score.")
        losses = losses.masked_fill(~counts, 0.0)
        return losses if per_token else losses.sum() / counts.sum()

    def _layer_range(
        self, start: int | None, stop: int | None, kv_cache: KVCache | None
    ) -> tuple[int, int]:
        n_layers = self.config.n_layers
        for name, layer in (("start_at_layer", start), ("stop_at_layer", stop)):
            if layer is not None and not 0 <= layer <= n_layers:
                raise InputError(f"{name}={layer}, but layers run from 0 to {n_layers}.")
        if kv_cache is not None and (start is not None or stop is not None):
            raise InputError(
                "A key-value cache must be filled in every layer: leave out start_at_layer and "
                "stop_at_layer, or the cache."
            )
        start, stop = start or 0, n_layers if stop is None else stop
        if start > stop:
            raise InputError(f"start_at_layer={start} lies behind stop_at_layer={stop}.")
        return start, stop

    def _check_weights(self) -> None:
        versions = weight_versions(self)
        if versions is None or versions != self._checked_weights:
            check_weights(self)
            self._checked_weights = versions

    # --- hooks and caches ---

    def run_with_hooks(
        self,
        tokens: Tensor | str | list[str],
        fwd_hooks: Sequence[tuple[Where, Hook]] = (),
        bwd_hooks: Sequence[tuple[Where, Hook]] = (),
        **forward: Any,
    ) -> Tensor:
        """`forward` with hooks for this one call; arguments as in `hooks` and `forward`.

        Raises:
            InputError: a hook sits in a layer that `start_at_layer` or `stop_at_layer` leaves out.
        """
        self._check_reached([where for where, _ in (*fwd_hooks, *bwd_hooks)], forward)
        with self.hooks(fwd_hooks, bwd_hooks):
            return self(tokens, **forward)

    def run_with_cache(
        self,
        tokens: Tensor | str | list[str],
        names: Where | Sequence[Where] | None = None,
        *,
        pos: PosSlice | None = None,
        return_type: Literal["auto", "logits"] | None = "auto",
        to: "str | Path | None" = None,
        batch_size: int = 32,
        **forward: Any,
    ) -> "tuple[Tensor | None, ActivationCache | StoredCache]":
        """Run and record.

        Args:
            tokens: as in `forward`.
            names: what to record: a hook name, a predicate on names, or a list of either. None is
                everything but the per-head results, which are `n_heads` times as large as the
                residual stream and must be asked for by name. None and predicates mean those that
                the run reaches.
            pos: positions to keep, on the position axis (query positions for scores and pattern);
                the axis stays. The rest is not held in memory.
            return_type: "auto" gives logits if `names` is None or reaches the final norm, and else
                stops after the deepest layer asked for and gives None; "logits" runs to the end in
                any case; None never unembeds.
            to: a new folder; the activations go there batch by batch, as the pass reaches them, and
                none stays in memory (`interp.core.stored_cache`). The logits are None; with
                `return_type="logits"` the cache holds them too.
            batch_size: with `to`: prompts in one pass, and in one file.
            **forward: as in `forward`. With `stop_at_layer` the first result is the residual
                stream.

        Returns:
            The logits (or what `return_type` says) and the cache. Its tensors carry gradients
            where gradients are on and the weights ask for them.

        Cost: memory is the sum of what is recorded, about
        `batch * n_pos * (12 * d_model + 2 * d_mlp + 3 * n_heads * n_pos)` numbers per layer for
        everything; entries that the model itself shares are held once. With `to`, memory is that of
        one block of a batch and of one activation, whatever the number of prompts.
        """
        if to is not None:
            from interp.core.stored_cache import store_cache

            how = {"batch_size": batch_size, "pos": pos, "logits": return_type == "logits"}
            return None, store_cache(self, tokens, names, to, **how, **forward)
        points = self._reached(names, forward)
        reach = max(self._depth(point.name) for point in points)
        to_the_end = reach > self.config.n_layers or (names is None and return_type == "auto")
        if (to_the_end or return_type == "logits") and "stop_at_layer" not in forward:
            result = self._run_recording(tokens, points, pos, forward)
            return (None if return_type is None else result[0]), result[1]
        if "stop_at_layer" in forward:
            resid, cache = self._run_recording(tokens, points, pos, forward)
            return resid.clone(), cache  # the cache may hold the stream itself
        _, cache = self._run_recording(tokens, points, pos, forward | {"stop_at_layer": reach})
        return None, cache

    def _run_recording(
        self,
        tokens: Tensor | str | list[str],
        points: list[HookPoint],
        pos: PosSlice | None,
        forward: dict[str, Any],
    ) -> tuple[Tensor, ActivationCache]:
        if forward.get("start_at_layer") is not None and isinstance(tokens, Tensor):
            tokens = tokens.clone()  # the caller may write to the stream that is recorded

        def kept(name: str, value: Tensor) -> Tensor:
            return at_positions(value, position_axis(name), pos)

        with self._recording(points, None if pos is None else kept) as entries:
            result = self(tokens, **forward)
        return result, ActivationCache(entries)

    def _depth(self, name: str) -> int:
        """How many blocks must run to reach a hook point; one more for the final norm."""
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return self.config.n_layers + 1 if name.startswith("ln_final") else 0

    def _reached(
        self, names: Where | Sequence[Where] | None, forward: dict[str, Any]
    ) -> list[HookPoint]:
        """The points to record, as far as the run reaches them; those that are named it must."""
        points = self._recorded(names)
        listed = isinstance(names, Sequence) and not isinstance(names, str)
        self._check_reached(names if listed else [names or ""], forward)
        found = [point for point in points if self._reaches(point.name, forward)]
        if not found:
            raise InputError(f"{points[0].name} and the like are {self._unreached(forward)}")
        return found

    def _reaches(self, name: str, forward: dict[str, Any]) -> bool:
        start, stop = forward.get("start_at_layer"), forward.get("stop_at_layer")
        depth = self._depth(name)
        return (stop is None or depth <= stop) and (start is None or depth > start)

    def _unreached(self, forward: dict[str, Any]) -> str:
        start, stop = forward.get("start_at_layer"), forward.get("stop_at_layer")
        last = self.config.n_layers if stop is None else stop - 1
        return f"never reached: the run covers layers {start or 0} to {last}."

    def _check_reached(self, wheres: Sequence[Where], forward: dict[str, Any]) -> None:
        for name in wheres:
            if isinstance(name, str) and name in self._points and not self._reaches(name, forward):
                raise InputError(f"{name} is {self._unreached(forward)}")

    # --- text ---

    def to_tokens(
        self, text: str | list[str], *, bos: bool = True
    ) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"] | None]:
        """Tokens of one or several texts, and the attention mask if any had to be padded.

        Args:
            text: one text, or several; the shorter ones get pads on the left.
            bos: put the beginning-of-sequence token first, as in training.

        Raises:
            InputError: the model has no tokenizer, or a text is not in its vocabulary.
        """
        if self.tokenizer is None:
            raise InputError("This model has no tokenizer; pass token ids instead of text.")
        rows = [
            self.tokenizer.encode(t, bos=bos) for t in ([text] if isinstance(text, str) else text)
        ]
        longest = max((len(row) for row in rows), default=0)
        pad = self.tokenizer.pad_id
        padded = [[pad] * (longest - len(row)) + row for row in rows]
        device = self.embed.W_E.device
        tokens = torch.tensor(padded, dtype=torch.long, device=device).view(len(rows), longest)
        if all(len(row) == longest for row in rows):
            return tokens, None
        lengths = torch.tensor([len(row) for row in rows], device=device)
        return tokens, torch.arange(longest, device=device) >= (longest - lengths)[:, None]

    def generate(self, tokens: Tensor | str | list[str], max_new_tokens: int, **options: Any):
        """Predict, sample, append, repeat: see `interp.core.generation.generate`."""
        from interp.core.generation import generate

        return generate(self, tokens, max_new_tokens, **options)

    # --- weights under TransformerLens's names ---

    @property
    def n_params(self) -> int:
        """Numbers that training can change; tied weights count once."""
        return sum(p.numel() for p in self.parameters())

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """Token embedding."""
        return self.embed.W_E

    @property
    def W_pos(self) -> Float[Tensor, "n_ctx d_model"]:
        """Positional embedding.

        Raises:
            InputError: the model has no positions.
        """
        if self.config.positions == "none":
            raise InputError("This model has no positional embedding (positions='none').")
        return self.pos_embed.W_pos

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        """Unembedding; a view of `W_E` when tied."""
        return self.embed.W_E.T if self.config.tied else self.unembed.W_U

    @property
    def b_U(self) -> Float[Tensor, " d_vocab"]:
        """Unembedding bias; zeros when the model has none."""
        if self.config.unembed_bias:
            return self.unembed.b_U
        return self.embed.W_E.new_zeros(self.config.d_vocab)

    def _stacked(self, part: str, name: str) -> Tensor:
        if part == "mlp" and self.config.attn_only:
            raise InputError(f"This model has no MLP, so no {name} (d_mlp=0).")
        return torch.stack([getattr(getattr(block, part), name) for block in self.blocks])

    @property
    def W_Q(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Query weights of all layers; a copy (so are all stacked weights below)."""
        return self._stacked("attn", "W_Q")

    @property
    def W_K(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Key weights of all layers."""
        return self._stacked("attn", "W_K")

    @property
    def W_V(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Value weights of all layers."""
        return self._stacked("attn", "W_V")

    @property
    def W_O(self) -> Float[Tensor, "layer head d_head d_model"]:
        """Output weights of all layers."""
        return self._stacked("attn", "W_O")

    @property
    def b_Q(self) -> Float[Tensor, "layer head d_head"]:
        """Query biases of all layers."""
        return self._stacked("attn", "b_Q")

    @property
    def b_K(self) -> Float[Tensor, "layer head d_head"]:
        """Key biases of all layers."""
        return self._stacked("attn", "b_K")

    @property
    def b_V(self) -> Float[Tensor, "layer head d_head"]:
        """Value biases of all layers."""
        return self._stacked("attn", "b_V")

    @property
    def b_O(self) -> Float[Tensor, "layer d_model"]:
        """Output biases of all layers."""
        return self._stacked("attn", "b_O")

    @property
    def W_in(self) -> Float[Tensor, "layer d_model d_mlp"]:
        """First MLP matrix of all layers."""
        return self._stacked("mlp", "W_in")

    @property
    def b_in(self) -> Float[Tensor, "layer d_mlp"]:
        """First MLP bias of all layers."""
        return self._stacked("mlp", "b_in")

    @property
    def W_out(self) -> Float[Tensor, "layer d_mlp d_model"]:
        """Second MLP matrix of all layers."""
        return self._stacked("mlp", "W_out")

    @property
    def b_out(self) -> Float[Tensor, "layer d_model"]:
        """Second MLP bias of all layers."""
        return self._stacked("mlp", "b_out")


@torch.no_grad()
def init_weights(model: nn.Module, scales: InitScales, seed: int) -> None:
    """Random weights from a seed: normal matrices, zero biases, unit norms, as in GPT-2."""
    generator = torch.Generator().manual_seed(seed)
    residual = scales.residual
    if scales.scale_residual:
        residual /= math.sqrt(2 * model.config.n_layers)
    stds = {
        "embed.W_E": scales.token,
        "unembed.W_U": scales.token,
        "pos_embed.W_pos": scales.position,
        "attn.W_QKV": scales.qkv,
        "attn.W_O_flat": residual,
        "mlp.W_in": scales.mlp_in,
        "mlp.W_out": residual,
    }
    for name, parameter in model.named_parameters():
        std = next((std for end, std in stds.items() if name.endswith(end)), None)
        if std is not None:
            drawn = torch.randn(parameter.shape, generator=generator) * std
            parameter.copy_(drawn)


def hook_points(model: nn.Module) -> Iterator[HookPoint]:
    """Every hook point of a stack of blocks, in the order of the forward pass."""

    def of(module: nn.Module | None, *shorts: str) -> Iterator[HookPoint]:
        for short in shorts:
            point = getattr(module, f"hook_{short}", None)
            if point is not None:
                yield point

    def norm(module: nn.Module, name: str) -> Iterator[HookPoint]:
        yield from of(getattr(module, name, None), "scale", "normalized")

    yield from of(model, "embed", "pos_embed")
    for block in model.blocks:
        post_norm = block.norm == "post"
        yield from of(block, "resid_pre")
        if not post_norm:
            yield from norm(block, "ln1")
        yield from of(block.attn, *_IN_ATTENTION)
        yield from of(block, "attn_out")
        if post_norm:
            yield from norm(block, "ln1")
        yield from of(block, "resid_mid")
        if not post_norm:
            yield from norm(block, "ln2")
        if hasattr(block, "cross_attn"):
            yield from of(block.cross_attn, *_IN_ATTENTION)
            yield from of(block, "cross_attn_out", "resid_mid_cross")
            yield from norm(block, "ln3")
        yield from of(getattr(block, "mlp", None), "pre", "post")
        yield from of(block, "mlp_out")
        if post_norm:
            yield from norm(block, "ln2")
        yield from of(block, "resid_post")
    yield from norm(model, "ln_final")


def position_axis(name: str) -> int:
    """The position axis of a hook point's values; that of the queries for scores and pattern."""
    by_query = name.endswith(("hook_pattern", "hook_attn_scores", "hook_attn_scores_raw"))
    return 2 if by_query else 1


def at_positions(value: Tensor, axis: int, pos: PosSlice) -> Tensor:
    """The kept positions of a value, copied so that the rest can be freed."""
    n_pos = value.shape[axis]
    if isinstance(pos, slice):
        kept = range(n_pos)[pos]
    else:
        kept = [pos] if isinstance(pos, int) else list(pos)
    outside = [p for p in kept if not -n_pos <= p < n_pos]
    if outside or not len(kept):
        asked = f"Position {outside[0]}" if outside else "No position"
        raise InputError(f"{asked} was asked for, but the run has positions 0 to {n_pos - 1}.")
    index = torch.tensor([p % n_pos for p in kept], dtype=torch.long, device=value.device)
    return value.index_select(axis, index)
