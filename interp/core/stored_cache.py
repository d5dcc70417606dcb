"""Caches larger than memory: streamed to safetensors files, read back by name and prompts.

    _, cache = model.run_with_cache(tokens, to="folder", batch_size=64)   # tokens: prompt pos
    cache["pattern", 3]                                  # all prompts, read now
    cache.read("resid_post", 3, prompts=slice(0, 100))   # some prompts
    cache.prompts(100, 200)                              # an ActivationCache that reads on demand
    cache = open_cache("folder")                         # later

An encoder-decoder's `run_with_cache(source, target, to="folder")` does the same.

A folder holds one file per batch and `index.json`, which is written last: without it there is no
cache. Each file names the SHA-256 of its tensors, and the index the size of each file and the hash
of its head, so what is read is what was written.
"""

import hashlib
import json
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from interp.core.cache import ActivationCache, hook_name
from interp.core.errors import InputError, RunError
from interp.core.hooks import HookPoint, Where
from interp.core.reading import expanded, parse_json, read_json

if TYPE_CHECKING:
    from interp.core.encoder_decoder import HookedEncoderDecoder
    from interp.core.hooked import Hooked
    from interp.core.model import HookedGPT

INDEX, FORMAT = "index.json", "interp-cache"
# What is no hook's value; an encoder-decoder has the second row.
_BESIDE = ("tokens", "attention_mask", "logits",
           "source", "target", "source_mask")  # fmt: skip
_KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.bool: "BOOL",
}
_NOTE = "interp"
_FILE = re.compile(r"[0-9]{6,12}\.safetensors")
_HEAD_PER_NAME = 320  # bytes that a tensor's entry needs beside its name, twice


def store_cache(
    model: "HookedGPT",
    tokens: Tensor | str | list[str],
    names: Where | Sequence[Where] | None,
    to: str | Path,
    *,
    batch_size: int,
    pos: Any,
    logits: bool,
    attention_mask: Tensor | None = None,
    mask: Any = None,
    **other: Any,
) -> "StoredCache":
    """What `HookedGPT.run_with_cache(..., to=)` does; arguments as there.

    Raises:
        InputError: tokens or names that do not fit, or a folder that holds something.
        RunError: the disk refuses; nothing that looks like a cache is left behind.
    """
    tokens, attention_mask = _rows(model, tokens, attention_mask)
    given = [name for name, value in other.items() if value is not None]
    if given:
        raise InputError(
            f"{given[0]} was given with `to`, but a stored cache holds runs from the tokens to the "
            "deepest activation asked for; leave it out."
        )
    points = model._recorded(names)

    def write(shard: _Shard, rows: slice) -> None:
        real = None if attention_mask is None else attention_mask[rows]
        shard.add("tokens", tokens[rows])
        if real is not None:
            shard.add("attention_mask", real)
        _run(model, tokens[rows], points, pos, shard, logits, attention_mask=real, mask=mask)

    return _stored(model, to, points, len(tokens), batch_size, write)


def store_translation_cache(
    model: "HookedEncoderDecoder",
    source: Int[Tensor, "prompt source_pos"],
    target: Int[Tensor, "prompt target_pos"],
    names: Where | Sequence[Where] | None,
    to: str | Path,
    *,
    batch_size: int,
    source_mask: Bool[Tensor, "prompt source_pos"] | None = None,
) -> "StoredCache":
    """What `HookedEncoderDecoder.run_with_cache(..., to=)` does; arguments as there.

    Raises:
        InputError: tokens or names that do not fit, or a folder that holds something.
        RunError: the disk refuses; nothing that looks like a cache is left behind.
    """
    beside = {"source": source, "target": target, "source_mask": source_mask}
    shapes = {name: tuple(t.shape) for name, t in beside.items() if t is not None}
    if len({shape[0] for shape in shapes.values()}) > 1 or not len(source):
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"Sources, targets and masks must have as many rows, but {told} came.")
    points, device = model._recorded(names), model.W_U.device

    @torch.no_grad()
    def write(shard: _Shard, rows: slice) -> None:
        batch = {name: beside[name][rows] for name in shapes}
        for name, value in batch.items():
            shard.add(name, value)
        with model._recording(points, lambda name, value: shard.take(name, value)):
            logits = model(**{name: value.to(device) for name, value in batch.items()})
        shard.add("logits", logits)

    return _stored(model, to, points, len(source), batch_size, write)


def _stored(
    model: "Hooked",
    to: str | Path,
    points: Sequence[HookPoint],
    n_prompts: int,
    batch_size: int,
    write: Callable[["_Shard", slice], None],
) -> "StoredCache":
    """One file per batch, then the index."""
    if batch_size < 1:
        raise InputError(f"batch_size starts at 1, but {batch_size} was given.")
    folder = _new_folder(to)
    wanted = [*(point.name for point in points), *_BESIDE]
    shards = []
    try:
        for start in range(0, n_prompts, batch_size):
            stop = min(start + batch_size, n_prompts)
            with _Shard(folder / f"{len(shards):06d}.safetensors", wanted) as shard:
                write(shard, slice(start, stop))
            shards.append(shard.facts | {"start": start, "stop": stop})
        _write_index(folder, model, shards, n_prompts)
    except OSError as error:
        _clear(folder)
        raise RunError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return StoredCache(folder)


def _rows(
    model: "HookedGPT", tokens: Tensor | str | list[str], attention_mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """All prompts, on whatever device they are: each batch is moved when its turn comes."""
    if isinstance(tokens, str | list):
        tokens, padding = model.to_tokens(tokens)
        attention_mask = padding if attention_mask is None else attention_mask
    tokens = tokens[None] if tokens.ndim == 1 else tokens
    if tokens.ndim != 2 or not len(tokens):
        raise InputError(f"Prompts are rows, [prompt pos], but shape {tuple(tokens.shape)} came.")
    if attention_mask is not None and attention_mask.shape != tokens.shape:
        raise InputError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, but the tokens have "
            f"{tuple(tokens.shape)}."
        )
    return tokens, attention_mask


@torch.no_grad()
def _run(
    model: "HookedGPT",
    tokens: Tensor,
    points: list[Any],
    pos: Any,
    shard: "_Shard",
    logits: bool,
    **forward: Any,
) -> None:
    """One batch; each activation is written as the pass reaches it, and then let go."""
    from interp.core.model import at_positions, position_axis

    device = model.W_E.device

    def keep(name: str, value: Tensor) -> Tensor:
        kept = value if pos is None else at_positions(value, position_axis(name), pos)
        return shard.take(name, kept)

    if forward["attention_mask"] is not None:
        forward["attention_mask"] = forward["attention_mask"].to(device)
    depth = max(model._depth(point.name) for point in points)
    n_layers = model.config.n_layers
    reach = n_layers if logits else min(depth, n_layers)
    with model._recording(points, keep):
        resid = model(tokens.to(device), stop_at_layer=reach, **forward)
        if logits:
            shard.add("logits", model.logits(resid))
        elif depth > n_layers:  # the final norm alone: nothing is unembedded for nobody
            model.ln_final(resid)


# ------------------------------------------------------------------------------------ writing


class _Shard:
    """A safetensors file that is written tensor by tensor; its head is filled in at the end.

    Equal tensors (`resid_post` and the next `resid_pre`) are written once.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path, self._partial = path, path.with_suffix(".part")
        self._room = 1024 + sum(2 * len(name) + _HEAD_PER_NAME for name in names)
        self._entries: dict[str, Any] = {}
        self._digests: dict[str, str] = {}
        self._same: dict[str, str] = {}
        self._written = 0
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> "_Shard":
        self._file = self._partial.open("wb")
        self._file.write(b"\0" * (8 + self._room))
        return self

    def add(self, name: str, value: Tensor) -> None:
        """Writes one tensor."""
        value = value.detach().cpu().contiguous()
        data = memoryview(value.reshape(-1).view(torch.uint8).numpy())
        digest = hashlib.sha256(data).hexdigest()
        entry = {"dtype": _KINDS[value.dtype], "shape": list(value.shape)}
        twin = next((n for n, found in self._digests.items() if found == digest), None)
        if twin is not None and self._entries[twin].items() >= entry.items():
            self._same[name] = twin
            return
        self._file.write(data)
        end = self._written + len(data)
        self._entries[name] = entry | {"data_offsets": [self._written, end]}
        self._digests[name], self._written = digest, end

    def take(self, name: str, value: Tensor) -> Tensor:
        """Writes an activation; what is held in memory in its place is empty."""
        self.add(name, value)
        return value.new_empty(0)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()
        if kind is None:
            os.replace(self._partial, self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def _finish(self) -> None:
        note = json.dumps({"sha256": self._digests, "same": self._same})
        head = json.dumps({"__metadata__": {_NOTE: note}} | self._entries).encode()
        head = head.ljust(self._room)  # the format allows spaces at the end
        self._file.seek(0)
        self._file.write(struct.pack("<Q", len(head)) + head)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.facts = {
            "file": self._path.name,
            "bytes": 8 + len(head) + self._written,
            "head_sha256": hashlib.sha256(head).hexdigest(),
        }


def _new_folder(to: str | Path) -> Path:
    """The folder, empty; the files of a run that was killed are removed.

    Raises:
        InputError: it holds a cache, or anything else.
    """
    folder = expanded(to)
    if (folder / INDEX).exists():
        raise InputError(f"{folder} holds a cache already; remove it or give another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = list(folder.iterdir())
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror or error}.") from error
    foreign = [p.name for p in there if not (p.stem.isdigit() and p.suffix in _SUFFIXES)]
    foreign += [p.name for p in there if p.is_dir()]
    if foreign:
        raise InputError(f"{folder} holds {min(foreign)}; a cache needs a folder of its own.")
    _clear(folder)
    return folder


_SUFFIXES = (".safetensors", ".part")


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.suffix in _SUFFIXES or path.name == INDEX + ".part":
            path.unlink(missing_ok=True)


def _write_index(folder: Path, model: "Hooked", shards: list[dict], n_prompts: int) -> None:
    facts = {
        "format": FORMAT,
        "version": 1,
        "model": model.name,
        "weights_sha256": model.provenance.get("weights_sha256"),
        "config": model.config.to_dict(),
        "processing": list(getattr(model, "processing", ())),
        "n_prompts": n_prompts,
        "shards": shards,
    }
    partial = folder / f"{INDEX}.part"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(facts, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, folder / INDEX)


# ------------------------------------------------------------------------------------ reading


def open_cache(folder: str | Path) -> "StoredCache":
    """A cache that `run_with_cache(..., to=folder)` wrote.

    Raises:
        InputError: there is none, it was not finished, or a file is missing or changed.
    """
    return StoredCache(expanded(folder))


class StoredCache(Mapping[str, Tensor]):
    """Activations of many prompts on disk, by hook name; nothing is held in memory.

    `cache["pattern", 3]` reads all prompts; `read` and `prompts` read some. Names are those of
    `ActivationCache`, and `tokens` (with pads: `attention_mask`; if asked for: `logits`); of an
    encoder-decoder `source`, `target` and `logits` (with pads: `source_mask`).

    Attributes:
        folder: where it lies.
        n_prompts: how many there are.
        facts: the index: model, hash of its weights, config, files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts = _read_index(folder)
        self.n_prompts: int = self.facts["n_prompts"]
        self._shards: list[dict[str, Any]] = self.facts["shards"]
        self._notes: dict[str, dict[str, Any]] = {}
        for shard in self._shards:
            path = folder / shard["file"]
            size = path.stat().st_size if path.is_file() else None
            if size != shard["bytes"]:
                found = "is missing" if size is None else f"has {size} bytes"
                raise InputError(
                    f"{path} {found}, but {shard['bytes']} were written; run the model again."
                )
        note = self._note(self._shards[0])
        self._names = [*note["sha256"], *note["same"]]

    def __getitem__(self, key: str | tuple) -> Tensor:
        """An activation of all prompts, by full name, or by short name, layer and norm."""
        return self.read(*key) if isinstance(key, tuple) else self.read(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, key: object) -> bool:
        return (self._name(*key) if isinstance(key, tuple) else key) in self._names

    def __repr__(self) -> str:
        size = sum(shard["bytes"] for shard in self._shards) / 2**20
        return f"StoredCache({self.n_prompts} prompts, {len(self)} activations, {size:.1f} MiB)"

    @staticmethod
    def _name(short: str, layer: int | None = None, norm: str | None = None) -> str:
        return short if short in _BESIDE else hook_name(short, layer, norm)

    def read(
        self,
        short: str,
        layer: int | None = None,
        norm: str | None = None,
        *,
        prompts: slice | None = None,
    ) -> Tensor:
        """An activation, on the CPU.

        Args:
            short: as in `hook_name`, or one of those that stand beside, such as "tokens".
            layer: of the block.
            norm: "ln1" or "ln2" for "scale" and "normalized".
            prompts: which of them, in steps of 1; all by default.

        Raises:
            InputError: it was not stored, no such prompts, or a file is damaged.

        Cost: reads this activation of the files that hold these prompts, once each.
        """
        name = self._name(short, layer, norm)
        if name not in self._names:
            held = ", ".join(self._names[:4])
            raise InputError(
                f"{name!r} is not in {self.folder}, which holds {len(self)} activations ({held}, "
                "...); ask for it in run_with_cache(names=...)."
            )
        start, stop, step = (prompts or slice(None)).indices(self.n_prompts)
        if step != 1 or start >= stop:
            raise InputError(f"{prompts} names no prompts in steps of 1 of {self.n_prompts}.")
        parts = []
        for shard in self._shards:
            first, last = max(start, shard["start"]), min(stop, shard["stop"])
            if first < last:
                whole = self._read(shard, name)
                if len(whole) != shard["stop"] - shard["start"]:
                    raise self._changed(shard, name)
                parts.append(whole[first - shard["start"] : last - shard["start"]])
        return torch.cat(parts) if len(parts) > 1 else parts[0].clone()

    def prompts(self, start: int, stop: int) -> ActivationCache:
        """Some prompts as a cache like any other; each activation is read when it is asked for."""
        chosen = slice(start, stop)
        hooked = [name for name in self._names if name not in _BESIDE]
        return ActivationCache(
            {name: lambda name=name: self.read(name, prompts=chosen) for name in hooked}
        )

    def _read(self, shard: dict[str, Any], name: str) -> Tensor:
        path, note = self.folder / shard["file"], self._note(shard)
        stored = note["same"].get(name, name)
        try:
            with safe_open(path, framework="pt") as file:
                tensor = file.get_tensor(stored)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} cannot be read: {error}; run the model again.") from None
        data = memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
        if hashlib.sha256(data).hexdigest() != note["sha256"].get(stored) or not tensor.ndim:
            raise self._changed(shard, name)
        return tensor

    def _changed(self, shard: dict[str, Any], name: str) -> InputError:
        path = self.folder / shard["file"]
        return InputError(f"{path} changed since it was written ({name}); run the model again.")

    def _note(self, shard: dict[str, Any]) -> dict[str, Any]:
        """The hashes of a file's tensors, from its head, which the index vouches for."""
        if shard["file"] not in self._notes:
            path = self.folder / shard["file"]
            with path.open("rb") as file:
                (size,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
                head = file.read(size) if size < shard["bytes"] else b""
            if hashlib.sha256(head).hexdigest() != shard["head_sha256"]:
                raise self._changed(shard, "its head")
            try:
                note = parse_json(parse_json(head, str(path))["__metadata__"][_NOTE], str(path))
                whole = all(isinstance(note[part], dict) for part in ("sha256", "same"))
            except (KeyError, TypeError):
                whole = False
            if not whole:
                raise self._changed(shard, "its head")
            self._notes[shard["file"]] = note
        return self._notes[shard["file"]]


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    if not path.is_file():
        unfinished = folder.is_dir() and any(folder.glob("*.safetensors"))
        why = "the run that wrote it did not end" if unfinished else "no cache was written there"
        raise InputError(f"{folder} has no {INDEX}: {why}.")
    try:
        facts = read_json(path)
        rows = [(s["start"], s["stop"], s["bytes"]) for s in facts["shards"]]
        names = [s["file"] for s in facts["shards"]]
        whole = facts["format"] == FORMAT and isinstance(facts["n_prompts"], int)
        whole = whole and all(isinstance(s["head_sha256"], str) for s in facts["shards"])
        numbers = all(isinstance(n, int) for row in rows for n in row)
        plain = all(isinstance(n, str) and _FILE.fullmatch(n) for n in names)
        starts, stops = [row[0] for row in rows], [row[1] for row in rows]
        follows = [0, *stops] == [*starts, facts["n_prompts"]]
        rising = all(start < stop for start, stop, _ in rows)
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is no index of a cache.") from None
    if not (whole and numbers and plain and rows and follows and rising):
        raise InputError(f"{path} is no index of a cache.")
    return facts
