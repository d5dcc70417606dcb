"""Tensors as a safetensors file that is whole or not there."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes tensors beside `path`, and gives them the name once they are on the disk.

    Raises:
        OSError: the disk refuses, for which safetensors has an error of its own; what was at `path`
            before is still there.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.unlink(missing_ok=True)  # a link there would lead elsewhere
        save_file(dict(tensors), temporary, metadata=dict(metadata or {"format": "pt"}))
        temporary.chmod(0o644)  # safetensors' default locks out everybody else
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)
