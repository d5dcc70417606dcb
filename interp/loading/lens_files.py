"""Fitted lenses in and out of files (safetensors)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from interp.core import HookedGPT
from interp.core.errors import InputError, RunError
from interp.core.reading import brief, expanded
from interp.loading.provenance import weights_hash
from interp.loading.weights import check_finite
from interp.loading.writing import save_tensors

_FORMAT = "interp-lens"


def save_lens(
    path: str | Path,
    model: HookedGPT,
    name: str,
    depths: Sequence[int],
    change: Float[Tensor, "depth d_model d_model"] | None = None,
    shift: Float[Tensor, "depth d_model"] | None = None,
) -> Path:
    """Writes a fitted lens, with the hash of the weights that it belongs to.

    Args:
        path: the file.
        model: the model it was fitted on.
        name: kind of lens, such as "tuned lens".
        depths: that it translates.
        change: its matrices, if any.
        shift: its shifts, if any.

    Raises:
        InputError: neither matrices nor shifts.
        RunError: the disk refuses.
    """
    tensors = {"change": change, "shift": shift}
    held = {key: value.detach().contiguous() for key, value in tensors.items() if value is not None}
    if not held:
        raise InputError(f"the {name} has neither matrices nor shifts, so there is nothing to save")
    metadata = {
        "format": _FORMAT,
        "name": name,
        "depths": ",".join(map(str, depths)),
        "model": model.name,
        "weights": weights_hash(model),
    }
    target = expanded(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(held, target, metadata)
    except OSError as error:
        raise RunError(f"Could not save the lens to {target}: {error}.") from error
    return target


def load_lens(path: str | Path, model: HookedGPT) -> dict[str, Any]:
    """What `save_lens` wrote: `name`, `depths`, `change`, `shift`.

    `TranslatedLens(model, **load_lens(path, model))` reads with it.

    Args:
        path: the file.
        model: the model that it is to read.

    Raises:
        InputError: no such file, no lens in it, or a lens that was fitted on other weights.
    """
    source = expanded(path)
    if not source.is_file():
        raise InputError(f"There is no lens at {source}; `save_lens` writes one.")
    try:
        with safe_open(source, framework="pt", device=str(model.W_E.device)) as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{source} is no complete safetensors file: {error}.") from None
    if metadata.get("format") != _FORMAT or not {"name", "depths", "weights"} <= set(metadata):
        raise InputError(f"{source} holds no lens; was a model's weight file given?")
    if metadata["weights"] != weights_hash(model):
        raise InputError(
            f"{source} holds a {metadata['name']:.80} of {brief(metadata.get('model'))} with other "
            f"weights than {model.name!r}; a lens reads only the weights, as processed, that it "
            "was fitted on."
        )
    depths = _depths(source, metadata["depths"], model)
    width = model.config.d_model
    shapes = {"change": (len(depths), width, width), "shift": (len(depths), width)}
    if not tensors or not tensors.keys() <= shapes.keys():
        raise InputError(f"{source} holds the tensors {brief(sorted(tensors))}; no lens has these.")
    for key, tensor in tensors.items():
        if tuple(tensor.shape) != shapes[key] or not tensor.is_floating_point():
            raise InputError(
                f"{source}: {key} is {tensor.dtype} of shape {list(tensor.shape)}, but "
                f"{len(depths)} depths of {model.name!r} need numbers of {list(shapes[key])}."
            )
        check_finite(key, tensor, str(source))
    return {"name": metadata["name"], "depths": depths} | {k: tensors.get(k) for k in shapes}


def _depths(source: Path, said: str, model: HookedGPT) -> tuple[int, ...]:
    parts = said.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"{source} translates the depths {brief(said)}, which are no numbers.")
    return tuple(map(int, parts))
