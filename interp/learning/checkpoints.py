"""Checkpoints: one safetensors file each, which holds everything that the next step needs.

The tensors are the weights, the optimiser's two moments and the generator's state; the
header carries one JSON text with the recipe, the step and the running sums of the log. One
file rather than two, so that the parts of a checkpoint cannot come from different steps.
A SHA-256 over tensors and text tells a damaged file from a whole one.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from interp.core.errors import InputError, RunError
from interp.core.reading import brief, is_text, parse_json
from interp.learning.files import write_whole

KEEP = 2  # the newest may turn out to be damaged; the one before it then carries on


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after one step.

    Attributes:
        step: number of weight updates done.
        tensors: weights, optimiser moments and generator state by name.
        facts: everything that is not a tensor, JSON-able; `facts["recipe"]` among them.
    """

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies; names sort in the order of steps."""
    return folder / f"step-{step:08d}.safetensors"


def checkpoint_paths(folder: Path) -> list[Path]:
    """All checkpoints in `folder`, oldest first; files with other names are left alone."""
    pattern = re.compile(r"step-\d{8}\.safetensors")
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Save a checkpoint, then delete all but the `KEEP` newest.

    Args:
        folder: created where missing.
        checkpoint: what to save.

    Returns:
        The file written.

    Raises:
        RunError: if the disk refuses; the earlier checkpoints are still there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"could not create {folder}: {error.strerror or error}") from error
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()
    }
    facts = json.dumps({"step": checkpoint.step, **checkpoint.facts}, sort_keys=True)
    header = {"facts": facts, "sha256": _fingerprint(tensors, facts)}
    path = checkpoint_path(folder, checkpoint.step)
    # One metadata key: safetensors writes several in no fixed order, and equal
    # checkpoints should be equal files.
    metadata = {"checkpoint": json.dumps(header, sort_keys=True)}
    write_whole(path, safetensors.torch.save(tensors, metadata=metadata))
    for older in checkpoint_paths(folder)[:-KEEP]:
        older.unlink(missing_ok=True)
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint back.

    Args:
        path: a file written by `write_checkpoint`.

    Returns:
        The checkpoint, tensors on the CPU.

    Raises:
        InputError: if there is no such file, or it is a safetensors file of another kind.
        RunError: if the file is truncated or its content does not match its fingerprint.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint at {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise RunError(
            f"{path} is not a whole checkpoint ({error}); it was probably cut off by a full "
            "disk or an incomplete copy"
        ) from error
    if "checkpoint" not in metadata:
        raise InputError(
            f"{path} is a safetensors file, but no training checkpoint: its header carries no "
            "'checkpoint' entry; finished weights are loaded with load_model"
        )
    header = parse_json(metadata["checkpoint"], f"{path} (its header)")
    text = header.get("facts") if isinstance(header, dict) else None
    if not is_text(text) or _fingerprint(tensors, text) != header.get("sha256"):
        raise RunError(f"{path} is damaged: its content does not match its SHA-256")
    facts = parse_json(text, f"{path} (its facts)")
    if not isinstance(facts, dict) or type(facts.get("step")) is not int or facts["step"] < 0:
        raise InputError(f"{path} is no training checkpoint: it does not say its step")
    return Checkpoint(step=facts.pop("step"), tensors=tensors, facts=facts)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read, or None where there is none at all.

    A damaged file is passed over with a warning, in favour of the one before it.

    Raises:
        RunError: if there are checkpoints and none of them can be read.
    """
    problems = []
    for path in reversed(checkpoint_paths(folder)):
        try:
            checkpoint = read_checkpoint(path)
        except (InputError, RunError) as error:
            problems.append(str(error))
            continue
        for problem in problems:
            warnings.warn(f"{problem}; going on from step {checkpoint.step}", stacklevel=2)
        return checkpoint
    if problems:
        raise RunError(
            f"no checkpoint in {folder} can be read: {'; '.join(problems)}. "
            "Train again from the start with resume=False, or into another folder"
        )
    return None


def refuse_other_recipe(saved: Mapping[str, Any], asked: Mapping[str, Any], where: Path) -> None:
    """Make sure that a run goes on with the recipe that it began with.

    Args:
        saved: the recipe in the checkpoint, as nested dictionaries.
        asked: the recipe of this call.
        where: the run's folder, for the message.

    Raises:
        InputError: naming every field that differs, with both values.
    """
    # Through JSON once, so that a tuple and the list it was saved as compare equal.
    saved, asked = _flat(json.loads(json.dumps(saved))), _flat(json.loads(json.dumps(asked)))
    missing = "(absent)"
    differing = [
        f"{name}: {brief(saved.get(name, missing))} there, {brief(asked.get(name, missing))} asked "
        "for"
        for name in sorted(saved.keys() | asked.keys())
        if saved.get(name, missing) != asked.get(name, missing)
    ]
    if differing:
        raise InputError(
            f"{where} holds a run of another recipe ({'; '.join(differing)}); "
            "train into another folder, or start again with resume=False"
        )


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _fingerprint(tensors: Mapping[str, Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(np.asarray(tensor.reshape(-1).view(torch.uint8)).data)
    return digest.hexdigest()
