"""Fitted lenses in and out of files (safetensors)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from interp.core import HookedGPT
from interp.core.errors import InputError, RunError
from interp.loading.provenance import weights_hash

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
    target = Path(path).expanduser()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(held, target, metadata=metadata)
    except (OSError, SafetensorError) as error:
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
    source = Path(path).expanduser()
    if not source.is_file():
        raise InputError(f"There is no lens at {source}; `save_lens` writes one.")
    try:
        with safe_open(source, framework="pt", device=str(model.W_E.device)) as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{source} is no complete safetensors file: {error}.") from error
    if metadata.get("format") != _FORMAT or not {"name", "depths", "weights"} <= set(metadata):
        raise InputError(f"{source} holds no lens; was a model's weight file given?")
    if metadata["weights"] != weights_hash(model):
        raise InputError(
            f"{source} holds a {metadata['name']} of {metadata.get('model')!r} with other weights "
            f"than {model.name!r}; a lens reads only the weights, as processed, that it was "
            "fitted on."
        )
    return {
        "name": metadata["name"],
        "depths": tuple(int(depth) for depth in metadata["depths"].split(",")),
        "change": tensors.get("change"),
        "shift": tensors.get("shift"),
    }
