"""A pretended accelerator: tensors that compute on the CPU, and refuse what a GPU would refuse.

A tensor on the pretended device holds an ordinary one. An operation that mixes it with tensors of
the CPU fails as on a GPU, except where PyTorch allows it: numbers without axes, indices in square
brackets, copies. So code that makes a tensor on the wrong device is found without a GPU.
"""

from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

DEVICE = torch.device("meta")  # a kind of device that every build of PyTorch knows
aten = torch.ops.aten
_COPIES = {aten._to_copy.default, aten.copy_.default, aten.copy.default}
_INDEXING = {
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
}
# Here a GPU refuses even numbers without axes from the CPU.
_STRICT = {
    aten.cat.default,
    aten.stack.default,
    aten.gather.default,
    aten.index_select.default,
    aten.embedding.default,
    aten.scatter.src,
    aten.scatter_add.default,
    aten.index_add.default,
}


class Pretended(torch.Tensor):
    """A tensor of the pretended device."""

    @staticmethod
    def __new__(cls, inner, requires_grad=False):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
            requires_grad=requires_grad,
        )
        made.inner = inner
        return made

    def __repr__(self):
        return f"Pretended({self.inner!r})"

    def tolist(self):
        return self.inner.tolist()

    def data_ptr(self):
        return self.inner.data_ptr()

    def untyped_storage(self):
        return self.inner.untyped_storage()

    def numpy(self, *_, **__):
        raise TypeError("can't convert a tensor of a device to numpy; copy it to the CPU first")

    def __array__(self, *_):
        return self.numpy()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sends what names the device, and what has a tensor of it, to `_run`."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What never reaches a dispatch as one operation: tensors from Python data, attention."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            return func(args[0], _with_tensors(args[1]), *args[2:])
        new = func is torch.Tensor.new_tensor
        if func not in (torch.tensor, torch.as_tensor) and not new:
            return func(*args, **kwargs)
        given = args[1 if new else 0] if len(args) > new else kwargs.get("data")
        device = kwargs.pop("device", None)
        if device is None:
            device = args[0].device if new else given.device if _is(given) else "cpu"
        if new:
            kwargs.setdefault("dtype", args[0].dtype)
            func, args = torch.tensor, args[1:]
        made = given if func is torch.as_tensor and _is(given) else func(*args, **kwargs)
        return made.to(device) if made.device != torch.device(device) else made


def _with_tensors(index):
    """Lists in square brackets as tensors of the CPU, which index everywhere."""
    if isinstance(index, tuple):
        return tuple(_with_tensors(part) for part in index)
    if not isinstance(index, list | range | np.ndarray):
        return index
    return torch.tensor(index) if len(index) else torch.zeros(0, dtype=torch.long)


def _attention(q, k, v, attn_mask=None, is_causal=False, scale=None):
    """The definition, since PyTorch's choice of a kernel knows nothing of the pretended device."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = (q * scale) @ k.transpose(-1, -2)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    return scores.softmax(-1) @ v


def _is(value):
    return isinstance(value, Pretended)


def _run(func, args, kwargs):
    flat, _ = tree_flatten((args, kwargs))
    here = any(_is(value) for value in flat)
    device = kwargs.get("device")
    device = None if device is None else torch.device(device)
    if not here and (device is None or device.type != DEVICE.type):
        return func(*args, **kwargs)
    source = kwargs.get("generator")
    if source is not None and source.device.type != DEVICE.type:
        raise RuntimeError(f"Expected a generator of {DEVICE}, but found one of {source.device}")
    if here and func not in _COPIES:
        _check_devices(func, args, kwargs)
    inner_args, inner_kwargs = tree_map(lambda v: v.inner if _is(v) else v, (args, kwargs))
    if device is not None:
        inner_kwargs["device"] = torch.device("cpu")
    out = func(*inner_args, **inner_kwargs)
    if func is aten.copy_.default:
        return args[0]
    if func is aten.copy.default:
        stays = _is(args[0])
    else:
        stays = device is None or device.type == DEVICE.type
    if not stays:
        return out
    leaves, spec = tree_flatten(out)
    wrapped = [Pretended(v) if isinstance(v, torch.Tensor) and not _is(v) else v for v in leaves]
    out = tree_unflatten(wrapped, spec)
    return return_and_correct_aliasing(func, args, kwargs, out) if here else out


def _check_devices(func, args, kwargs):
    strict = func in _STRICT
    if func._schema.is_mutable and isinstance(args[0], torch.Tensor):
        strict |= not _is(args[0])  # what is written into, a running sum say, must be there
    if func in _INDEXING:  # what is indexed and what is written there; indices may be anywhere
        args, kwargs = (args[0], *args[2:3]), {}
    flat, _ = tree_flatten((args, kwargs))
    for value in flat:
        if isinstance(value, torch.Tensor) and not _is(value) and (value.ndim or strict):
            raise RuntimeError(
                f"{func}: expected all tensors to be on the same device, but found {DEVICE} and "
                f"{value.device} (shape {tuple(value.shape)})"
            )


def to_pretended(model: nn.Module) -> nn.Module:
    """The model, its parameters and buffers moved to the pretended device."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                moved = Pretended(parameter.detach())
                module._parameters[name] = nn.Parameter(
                    moved, requires_grad=parameter.requires_grad
                )
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = Pretended(buffer)
    return model


@contextmanager
def pretended_gpu():
    """While it lasts, tensors can be made on `DEVICE`."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    # `model.double()` must make new parameters: new data in old ones would miss what they hold.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Functions(), _Mode():
            yield DEVICE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
