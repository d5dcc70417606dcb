"""An encoder and a decoder whose every step can be read, replaced and differentiated.

The encoder reads the whole source at once, every position seeing every other. The decoder is a GPT
with one more part in each block: cross-attention, whose queries come from the decoder's stream and
whose keys and values come from the encoder's last output. Nothing masks the source but its pads.

Parts, hooks, caches and weights are those of `interp.core.model`, under `encoder.` and `decoder.`:

    encoder.blocks.{l}.attn.hook_pattern          batch head query_pos key_pos, both sides source
    encoder.hook_memory                           what the decoder reads, after the final norm
    decoder.blocks.{l}.attn.hook_pattern          both sides target, causal
    decoder.blocks.{l}.cross_attn.hook_pattern    rows target, columns source
    decoder.blocks.{l}.hook_cross_attn_out        what cross-attention adds
    decoder.blocks.{l}.hook_resid_mid_cross       the stream between cross-attention and MLP

Architecture: Vaswani et al. 2017, arXiv:1706.03762, section 3, with the norm before each part (as
`torch.nn.Transformer(norm_first=True)`), learned positions and, on the target side, tied
embeddings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interp.core.attention_mask import AttentionMask, attention_masks
from interp.core.cache import ActivationCache
from interp.core.config import Activation, GPTConfig
from interp.core.errors import InputError
from interp.core.hooked import Hooked
from interp.core.hooks import Hook, HookPoint, Where
from interp.core.inputs import check_tokens
from interp.core.model import (
    MLP,
    Attention,
    Block,
    Embed,
    InitScales,
    LayerNorm,
    PosEmbed,
    Resid,
    hook_points,
    init_weights,
)

if TYPE_CHECKING:
    from pathlib import Path

    from interp.core.stored_cache import StoredCache

Memory = Float[Tensor, "batch source_pos d_model"]
_NO_MASK = AttentionMask(None, is_causal=False)
GPT2_SCALES = InitScales()


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """Shape of an encoder-decoder.

    Attributes:
        n_encoder_layers: blocks of the encoder.
        n_decoder_layers: blocks of the decoder.
        d_model: width of both residual streams.
        n_heads: heads of every attention.
        n_ctx: longest source and longest target, in tokens.
        d_vocab_source: token types of the source.
        d_vocab_target: token types of the target.
        d_head: width of a head; `d_model // n_heads` unless given.
        d_mlp: hidden width of the MLPs; `4 * d_model` unless given.
        activation: as in `GPTConfig`.
        eps: added to the variance in every norm.
    """

    n_encoder_layers: int
    n_decoder_layers: int
    d_model: int
    n_heads: int
    n_ctx: int
    d_vocab_source: int
    d_vocab_target: int
    d_head: int | None = None
    d_mlp: int | None = None
    activation: Activation = "gelu_new"
    eps: float = 1e-5

    def __post_init__(self) -> None:
        # The two stacks check every number; what they fill in is what this config holds.
        filled = self.encoder
        _ = self.decoder
        object.__setattr__(self, "d_head", filled.d_head)
        object.__setattr__(self, "d_mlp", filled.d_mlp)

    @property
    def encoder(self) -> GPTConfig:
        """The encoder's stack: every position sees every other."""
        return self._stack(self.n_encoder_layers, self.d_vocab_source, "none")

    @property
    def decoder(self) -> GPTConfig:
        """The decoder's stack, cross-attention apart."""
        return self._stack(self.n_decoder_layers, self.d_vocab_target, "causal")

    def _stack(self, n_layers: int, d_vocab: int, mask: str) -> GPTConfig:
        return GPTConfig(
            n_layers=n_layers,
            d_model=self.d_model,
            n_heads=self.n_heads,
            n_ctx=self.n_ctx,
            d_vocab=d_vocab,
            d_head=self.d_head,
            d_mlp=self.d_mlp,
            activation=self.activation,
            mask=mask,
            eps=self.eps,
        )

    @property
    def n_layers(self) -> int:
        """Layers of the deeper side, which the initial scale of residual writes follows."""
        return max(self.n_encoder_layers, self.n_decoder_layers)

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "EncoderDecoderConfig":
        """The config from `to_dict`'s form.

        Raises:
            InputError: a field is unknown, missing or impossible.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"The config of an encoder-decoder does not fit: {error}.") from None


class CrossAttention(Attention):
    """Heads that move information from the source to the target.

    The weights are stored as in `Attention`: in `W_QKV` the query columns act on the decoder's
    stream, the key and value columns on the encoder's output.
    """

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__(config, layer)
        for point in vars(self).values():
            if isinstance(point, HookPoint):
                point.name = point.name.replace(".attn.", ".cross_attn.")

    def forward(self, x: Resid, mask: AttentionMask, memory: Memory) -> Resid:
        """What the heads write at each target position, `b_O` included.

        Args:
            x: the decoder's normalised residual stream; queries come from it.
            mask: which source positions are real.
            memory: the encoder's output; keys and values come from it.
        """
        heads = (self.n_heads, self.d_head)
        inside = self.n_heads * self.d_head
        q = x @ self.W_QKV[:, :inside] + self.b_QKV[:inside]
        kv = memory @ self.W_QKV[:, inside:] + self.b_QKV[inside:]
        k, v = kv.unflatten(-1, (2, *heads)).unbind(-3)
        q, k, v = self.hook_q(q.unflatten(-1, heads)), self.hook_k(k), self.hook_v(v)
        return self.written(self.hook_z(self.mix(q, k, v, mask)))


class DecoderBlock(nn.Module):
    """Causal attention, cross-attention, MLP, each adding to the decoder's residual stream.

    `resid_pre + attn_out = resid_mid`, `resid_mid + cross_attn_out = resid_mid_cross` and
    `resid_mid_cross + mlp_out = resid_post`.
    """

    norm = "pre"

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        name = f"blocks.{layer}"
        for norm in ("ln1", "ln2", "ln3"):
            setattr(self, norm, LayerNorm(config, f"{name}.{norm}"))
        self.attn = Attention(config, layer)
        self.cross_attn = CrossAttention(config, layer)
        self.mlp = MLP(config, layer)
        for short in ("resid_pre", "attn_out", "resid_mid", "cross_attn_out", "resid_mid_cross",
                      "mlp_out", "resid_post"):  # fmt: skip
            setattr(self, f"hook_{short}", HookPoint(f"{name}.hook_{short}"))

    def forward(
        self, resid: Resid, mask: AttentionMask, memory: Memory, source: AttentionMask
    ) -> Resid:
        """The residual stream after the block; `source` masks the pads of the memory."""
        resid = self.hook_resid_pre(resid)
        resid = resid + self.hook_attn_out(self.attn(self.ln1(resid), mask))
        resid = self.hook_resid_mid(resid)
        read = self.cross_attn(self.ln2(resid), source, memory)
        resid = self.hook_resid_mid_cross(resid + self.hook_cross_attn_out(read))
        return self.hook_resid_post(resid + self.hook_mlp_out(self.mlp(self.ln3(resid))))


class Stack(nn.Module):
    """Embedding, blocks and final norm of one side."""

    def __init__(self, config: GPTConfig, block: type[nn.Module], dtype: torch.dtype) -> None:
        super().__init__()
        self.config = config
        self.embed = Embed(config)
        self.pos_embed = PosEmbed(config, dtype)
        self.hook_embed, self.hook_pos_embed = HookPoint("hook_embed"), HookPoint("hook_pos_embed")
        self.blocks = nn.ModuleList(block(config, layer) for layer in range(config.n_layers))
        self.ln_final = LayerNorm(config, "ln_final")

    def forward(
        self,
        tokens: Int[Tensor, "batch pos"],
        real: Bool[Tensor, "batch pos"] | None,
        *memory: Any,
    ) -> Resid:
        """The stream after the final norm; `memory` is handed to every block."""
        check_tokens(tokens, self.config, None, self.embed.W_E.device)
        masks, positions, _ = attention_masks(
            self.config, None, real, None, *tokens.shape, tokens.device
        )
        resid = self.hook_embed(self.embed(tokens))
        resid = resid + self.hook_pos_embed(self.pos_embed(positions).expand_as(resid))
        for block, mask in zip(self.blocks, masks, strict=True):
            resid = block(resid, mask, *memory)
        return self.ln_final(resid)


class HookedEncoderDecoder(Hooked):
    """The model: `model(source, target)` gives logits for each next target token.

    Args:
        config: the shape.
        dtype: float32, float64 or bfloat16.
        device: where the weights live.
        seed: of the random weights.
        init: how large the random weights are; None leaves them unset, for a loader to fill.

    Attributes:
        name: what the model is called in reports.
        source_tokenizer: turns source text into tokens; set by `interp.loading`, else None.
        target_tokenizer: the same for the target.
        provenance: where the weights came from.
    """

    def __init__(
        self,
        config: EncoderDecoderConfig,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        seed: int = 0,
        init: InitScales | None = GPT2_SCALES,
    ) -> None:
        super().__init__()
        self.config = config
        self.name = "unnamed"
        self.source_tokenizer: Any = None
        self.target_tokenizer: Any = None
        self.provenance: dict[str, Any] = {}
        self.encoder = Stack(config.encoder, Block, dtype)
        self.decoder = Stack(config.decoder, DecoderBlock, dtype)
        self.hook_memory = HookPoint("encoder.hook_memory")
        self._points = {point.name: point for point in _points(self)}
        if init is not None:
            init_weights(self, init, seed)
        self.to(device=device, dtype=dtype)

    # --- the forward pass ---

    def forward(
        self,
        source: Int[Tensor, "batch source_pos"],
        target: Int[Tensor, "batch target_pos"],
        *,
        source_mask: Bool[Tensor, "batch source_pos"] | None = None,
    ) -> Float[Tensor, "batch target_pos d_vocab_target"]:
        """Logits of the token after each target token.

        Args:
            source: ids of the source.
            target: ids of the target as far as it is written, `<bos>` first. Pads on its right
                change nothing before them.
            source_mask: False at pads of the source, on either side; nothing attends to them.

        Raises:
            InputError: ids or shapes that do not fit.
        """
        return self.decode(target, self.encode(source, source_mask), source_mask)

    def encode(
        self,
        source: Int[Tensor, "batch source_pos"],
        source_mask: Bool[Tensor, "batch source_pos"] | None = None,
    ) -> Memory:
        """What the decoder reads: the encoder's stream after its final norm."""
        return self.hook_memory(self.encoder(source, source_mask))

    def decode(
        self,
        target: Int[Tensor, "batch target_pos"],
        memory: Memory,
        source_mask: Bool[Tensor, "batch source_pos"] | None = None,
    ) -> Float[Tensor, "batch target_pos d_vocab_target"]:
        """Logits from a memory, the encoder's own or another.

        Raises:
            InputError: the memory is not of as many rows as the target, or its mask not of its
                shape, or lets nothing through.
        """
        if len(memory) != len(target):
            raise InputError(f"The target has {len(target)} rows, but the memory {len(memory)}.")
        source = _source_mask(source_mask, memory)
        resid = self.decoder(target, None, memory, source)
        return F.linear(resid, self.decoder.embed.W_E)

    def loss(
        self,
        source: Int[Tensor, "batch source_pos"],
        target: Int[Tensor, "batch n_tokens"],
        *,
        source_mask: Bool[Tensor, "batch source_pos"] | None = None,
        target_mask: Bool[Tensor, "batch target_pos"] | None = None,
        per_token: bool = False,
    ) -> Float[Tensor, ""] | Float[Tensor, "batch target_pos"]:
        """How badly each target token is predicted from the source and those before it, in nats.

        Args:
            source: as in `forward`.
            target: `<bos>` and the whole target; each token but the first is predicted.
            source_mask: as in `forward`.
            target_mask: False where the predicted token is a pad, which does not count.
            per_token: one value per predicted token, 0 at pads, instead of the mean over the rest.
        """
        logits = self(source, target[:, :-1], source_mask=source_mask)
        wanted = target[:, 1:]
        losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
        losses = losses.view(wanted.shape)
        if target_mask is None:
            return losses if per_token else losses.mean()
        losses = losses.masked_fill(~target_mask, 0.0)
        return losses if per_token else losses.sum() / target_mask.sum()

    @torch.no_grad()
    def greedy(
        self,
        source: Int[Tensor, "batch source_pos"],
        *,
        source_mask: Bool[Tensor, "batch source_pos"] | None = None,
        bos_id: int = 0,
        max_new_tokens: int | None = None,
    ) -> Int[Tensor, "batch target_pos"]:
        """The likeliest token after each other, `<bos>` not included; `n_ctx` of them at most.

        Cost: one encoder pass and a decoder pass per token, without a key-value cache.
        """
        memory = self.encode(source, source_mask)
        target = torch.full((len(source), 1), bos_id, device=source.device)
        for _ in range(max_new_tokens or self.config.n_ctx):
            last = self.decode(target, memory, source_mask)[:, -1]
            target = torch.cat([target, last.argmax(-1, keepdim=True)], dim=1)
        return target[:, 1:]

    def translate(self, text: str) -> str:
        """A sentence in the other language, up to its full stop.

        Raises:
            InputError: the model has no tokenizers, or a word is not in its vocabulary.
        """
        if self.source_tokenizer is None or self.target_tokenizer is None:
            raise InputError("This model has no tokenizers; use greedy with token ids.")
        ids = torch.tensor([self.source_tokenizer.encode(text, bos=False)])
        ids = ids.to(self.decoder.embed.W_E.device)
        words = self.target_tokenizer.str_tokens(
            self.greedy(ids, bos_id=self.target_tokenizer.bos_id)[0].tolist()
        )
        end = words.index(".") + 1 if "." in words else len(words)
        return " ".join(words[:end])

    # --- hooks and caches ---

    def run_with_hooks(
        self,
        source: Tensor,
        target: Tensor,
        fwd_hooks: Sequence[tuple[Where, Hook]] = (),
        bwd_hooks: Sequence[tuple[Where, Hook]] = (),
        **forward: Any,
    ) -> Tensor:
        """`forward` with hooks for this one call; arguments as in `hooks` and `forward`."""
        with self.hooks(fwd_hooks, bwd_hooks):
            return self(source, target, **forward)

    def run_with_cache(
        self,
        source: Tensor,
        target: Tensor,
        names: Where | Sequence[Where] | None = None,
        *,
        to: "str | Path | None" = None,
        batch_size: int = 32,
        **forward: Any,
    ) -> "tuple[Tensor | None, ActivationCache | StoredCache]":
        """Logits, and what was recorded on the way.

        Args:
            source: as in `forward`.
            target: as in `forward`.
            names: what to record: a hook name, a predicate on names, or a list of either; all but
                the per-head results if None.
            to: a new folder; the activations go there batch by batch, as in
                `HookedGPT.run_with_cache`. The logits are None; the cache holds them, and
                `source`, `target` and `source_mask`, too.
            batch_size: with `to`: rows in one pass, and in one file.
            **forward: as in `forward`.
        """
        if to is not None:
            from interp.core.stored_cache import store_translation_cache

            how = {"batch_size": batch_size, **forward}
            return None, store_translation_cache(self, source, target, names, to, **how)
        with self._recording(self._recorded(names)) as entries:
            logits = self(source, target, **forward)
        return logits, ActivationCache(entries)

    # --- weights ---

    @property
    def n_params(self) -> int:
        """Numbers that training can change."""
        return sum(p.numel() for p in self.parameters())

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab_target"]:
        """Unembedding; a view of the decoder's `W_E`."""
        return self.decoder.embed.W_E.T


def _source_mask(real: Bool[Tensor, "batch source_pos"] | None, memory: Memory) -> AttentionMask:
    if real is None:
        return _NO_MASK
    if real.shape != memory.shape[:2] or real.dtype != torch.bool or not real.any(1).all():
        raise InputError(
            f"source_mask is {real.dtype} of shape {tuple(real.shape)}; expected bool of shape "
            f"{tuple(memory.shape[:2])} with at least one True in each row."
        )
    return AttentionMask(real[:, None, None, :], is_causal=False)


def _points(model: HookedEncoderDecoder) -> Iterator[HookPoint]:
    """Every hook point, renamed to its side, in the order of the forward pass."""
    for side in ("encoder", "decoder"):
        for point in hook_points(getattr(model, side)):
            point.name = f"{side}.{point.name}"
            yield point
        if side == "encoder":
            yield model.hook_memory
