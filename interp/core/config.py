"""What a GPT of this library can be: one frozen description, checked when it is made."""

import sys
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from interp.core.errors import InputError
from interp.core.masks import check_mask_spec

Norm = Literal["pre", "post", "none"]
Positions = Literal["learned", "sinusoidal", "none"]
Activation = Literal["gelu_new", "gelu", "relu"]


@dataclass(frozen=True)
class GPTConfig:
    """Shape and variant of a GPT; the defaults are GPT-2's choices.

    Attributes:
        n_layers: number of blocks.
        d_model: width of the residual stream.
        n_heads: attention heads per layer.
        n_ctx: longest sequence, in tokens; also the rows of `W_pos`.
        d_vocab: number of token types.
        d_head: width of a head; `d_model // n_heads` unless given.
        d_mlp: hidden width of the MLP; `4 * d_model` unless given, 0 for attention only.
        norm: "pre" (GPT-2: before each sub-block, and once before the unembedding), "post"
            (Vaswani et al. 2017: after each residual sum, no final norm) or "none".
        positions: "learned", "sinusoidal" (fixed, Vaswani et al. 2017) or "none".
        activation: "gelu_new" (tanh approximation, GPT-2), "gelu" (exact) or "relu".
        tied: the unembedding is the transposed embedding, in the same storage.
        unembed_bias: there is a `b_U`; GPT-2 has none until its final norm is folded.
        mask: who may attend to whom, see `interp.core.masks`: one spec for all, or a tuple with
            one entry per layer, an entry being a spec or a tuple with one spec per head.
        eps: added to the variance in every norm.
        attn_scale: scores are divided by `sqrt(d_head)`.
        scale_by_inverse_layer: scores of layer `l` are divided by `l + 1` as well.
        residual: each sub-block's output is added to its input; False puts it in its place, for
            whoever asks what the addition is for.
    """

    n_layers: int
    d_model: int
    n_heads: int
    n_ctx: int
    d_vocab: int
    d_head: int | None = None
    d_mlp: int | None = None
    norm: Norm = "pre"
    positions: Positions = "learned"
    activation: Activation = "gelu_new"
    tied: bool = True
    unembed_bias: bool = False
    mask: str | tuple[Any, ...] = "causal"
    eps: float = 1e-5
    attn_scale: bool = True
    scale_by_inverse_layer: bool = False
    residual: bool = True

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_choices()
        object.__setattr__(self, "mask", _as_tuples(self.mask))
        self._check_mask()

    def _check_sizes(self) -> None:
        for name in ("n_layers", "d_model", "n_heads", "n_ctx", "d_vocab"):
            _check_int(name, getattr(self, name), at_least=1)
        if self.d_head is None:
            if self.d_model % self.n_heads:
                raise InputError(
                    f"d_model={self.d_model} is not a multiple of n_heads={self.n_heads}; "
                    "give d_head explicitly, or change one of the two."
                )
            object.__setattr__(self, "d_head", self.d_model // self.n_heads)
        if self.d_mlp is None:
            object.__setattr__(self, "d_mlp", 4 * self.d_model)
        _check_int("d_head", self.d_head, at_least=1)
        _check_int("d_mlp", self.d_mlp, at_least=0)
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise InputError(
                f"Sinusoidal positions come in sine-cosine pairs, but d_model={self.d_model} is "
                "odd; make it even."
            )
        if not (isinstance(self.eps, int | float) and 0 < self.eps <= sys.float_info.max):
            raise InputError(f"eps must be a number above 0, but it is {self.eps!r:.80}.")

    def _check_choices(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is bool and not isinstance(value, bool):
                raise InputError(f"{field.name} is true or false, not {value!r:.80}.")
        for name, choices in (
            ("norm", get_args(Norm)),
            ("positions", get_args(Positions)),
            ("activation", get_args(Activation)),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise InputError(f"{name}={value!r:.80} is not one of {', '.join(choices)}.")

    def _check_mask(self) -> None:
        if isinstance(self.mask, str):
            check_mask_spec(self.mask)
            return
        if len(self.mask) != self.n_layers:
            raise InputError(
                f"mask has {len(self.mask)} entries, one per layer, but n_layers={self.n_layers}."
            )
        for layer, entry in enumerate(self.mask):
            if not isinstance(entry, str) and len(entry) != self.n_heads:
                raise InputError(
                    f"mask has {len(entry)} entries for the heads of layer {layer}, but "
                    f"n_heads={self.n_heads}."
                )
            for spec in (entry,) if isinstance(entry, str) else entry:
                check_mask_spec(spec)

    @property
    def attn_only(self) -> bool:
        """Whether the blocks have no MLP."""
        return self.d_mlp == 0

    @property
    def stream_is_sum(self) -> bool:
        """Whether the residual stream is the sum of what was written to it."""
        return self.norm != "post" and self.residual

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "GPTConfig":
        """The config from `to_dict`'s form.

        Raises:
            InputError: a field is unknown, missing or impossible; the message names it.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"Unknown config fields: {', '.join(unknown)[:80]}.")
        try:
            return cls(**{**values, "mask": _as_tuples(values.get("mask", "causal"))})
        except TypeError as error:
            raise InputError(f"The config is incomplete: {error}.") from None


def _check_int(name: str, value: object, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InputError(
            f"{name} must be a whole number of at least {at_least}, not {value!r:.80}."
        )


def _as_tuples(mask: Any) -> Any:
    """JSON turns tuples into lists; a frozen config holds tuples."""
    if isinstance(mask, list | tuple):
        return tuple(_as_tuples(entry) for entry in mask)
    return mask
