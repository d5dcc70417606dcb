"""The same function in other weights: folding and centring, as the circuits literature does.

Every function returns a new model with the same log-probabilities and leaves the given one alone.
What was done is recorded in `model.processing`. Definitions follow Elhage et al. 2021 and
TransformerLens (`fold_ln`, `center_writing_weights`, `center_unembed`, `fold_value_biases`), but
the arithmetic stays in the model's own dtype, so that float64 is exact to rounding.

Cost: a copy of the weights and one pass over them; untying adds `d_model * d_vocab` numbers.
"""

from dataclasses import replace

import torch
from torch import nn

from interp.core.errors import InputError
from interp.core.model import HookedGPT


@torch.no_grad()
def fold_ln(model: HookedGPT) -> HookedGPT:
    """Move each norm's scale and shift into the linear map behind it.

    Afterwards every norm has weight 1 and bias 0, the maps that read the stream ignore its mean
    (their columns are centred: a norm subtracts the mean anyway), the unembedding is untied and
    has a bias.

    Raises:
        InputError: the model is not pre-norm; only there a linear map follows each norm directly.
    """
    if model.config.norm != "pre":
        raise InputError(
            f"fold_ln needs norm='pre', but this model has norm={model.config.norm!r}: its norms "
            "are not followed by a linear map alone."
        )
    folded = _copy(model, "fold_ln", tied=False, unembed_bias=True)
    for block in folded.blocks:
        _fold(block.ln1, block.attn.W_QKV, block.attn.b_QKV)
        if hasattr(block, "mlp"):
            _fold(block.ln2, block.mlp.W_in, block.mlp.b_in)
    _fold(folded.ln_final, folded.unembed.W_U, folded.unembed.b_U)
    return folded


def _fold(norm: nn.Module, weight: nn.Parameter, bias: nn.Parameter) -> None:
    bias += norm.b @ weight
    weight *= norm.w[:, None]
    weight -= weight.mean(0)
    norm.w.fill_(1.0)
    norm.b.fill_(0.0)


@torch.no_grad()
def center_writing_weights(model: HookedGPT) -> HookedGPT:
    """Give everything that writes to the residual stream mean 0 over `d_model`.

    A pre-norm model subtracts that mean before every use, so nothing downstream changes. With a
    tied model the unembedding stays as it was, in a matrix of its own.

    Raises:
        InputError: the model is not pre-norm; elsewhere the mean is used. Or its positions are
            fixed sinusoids, which are no weights.
    """
    if model.config.norm != "pre":
        raise InputError(
            f"center_writing_weights needs norm='pre', but this model has "
            f"norm={model.config.norm!r}: the mean of its stream matters."
        )
    if model.config.positions == "sinusoidal":
        raise InputError("Sinusoidal positions are no weights, so they cannot be centred.")
    centered = _copy(model, "center_writing_weights", tied=False)
    writers = [centered.embed.W_E]
    if centered.config.positions == "learned":
        writers.append(centered.pos_embed.W_pos)
    for block in centered.blocks:
        writers += [block.attn.W_O_flat, block.attn.b_O]
        if hasattr(block, "mlp"):
            writers += [block.mlp.W_out, block.mlp.b_out]
    for weight in writers:
        weight -= weight.mean(-1, keepdim=True)
    return centered


@torch.no_grad()
def center_unembed(model: HookedGPT) -> HookedGPT:
    """Give the logits mean 0 over the vocabulary: softmax ignores a constant.

    Logits change by one number per position, log-probabilities do not. The unembedding is untied.
    """
    centered = _copy(model, "center_unembed", tied=False)
    centered.unembed.W_U -= centered.unembed.W_U.mean(-1, keepdim=True)
    if centered.config.unembed_bias:
        centered.unembed.b_U -= centered.unembed.b_U.mean()
    return centered


@torch.no_grad()
def fold_value_biases(model: HookedGPT) -> HookedGPT:
    """Move `b_V` into `b_O`: attention rows sum to 1, so `b_V` reaches the output untouched."""
    folded = _copy(model, "fold_value_biases")
    for block in folded.blocks:
        attn = block.attn
        attn.b_O += attn.b_V.flatten() @ attn.W_O_flat
        attn.b_V.fill_(0.0)
    return folded


def _copy(model: HookedGPT, step: str, **changes: bool) -> HookedGPT:
    """A model of its own with the same weights, `changes` made to its config."""
    if "tied" in changes and not model.config.tied:
        del changes["tied"]
    config = replace(model.config, **changes)
    weight = model.embed.W_E
    copy = HookedGPT(config, dtype=weight.dtype, device=weight.device, init=None)
    state = dict(model.state_dict())
    if not config.tied:
        state["unembed.W_U"] = model.W_U
    if config.unembed_bias:
        state["unembed.b_U"] = model.b_U
    copy.load_state_dict(state)
    copy.requires_grad_(weight.requires_grad).train(model.training)
    copy.name, copy.tokenizer = model.name, model.tokenizer
    copy.provenance = dict(model.provenance)
    copy.processing = (*model.processing, step)
    return copy
