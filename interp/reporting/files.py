"""Folders that appear whole or not at all, under names that cannot lead elsewhere."""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from interp.core.errors import InputError, RunError

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))]
)
_STALE_S = 24 * 3600


def folder_name(name: str) -> str:
    """A folder for something of this name: one path component, different for different names.

    Plain names stay as they are. In others what a path could trip over becomes a dash, and a short
    hash of the name keeps them apart.
    """
    plain = _PLAIN.fullmatch(name) and not name.endswith(".")
    if plain and name.lower().partition(".")[0] not in _RESERVED:
        return name
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:60] or "unnamed"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{stem}-{digest}"


@contextlib.contextmanager
def replaced_folder(target: Path, mark: str) -> Iterator[Path]:
    """A temporary folder beside the target that takes its place when the block ends well.

    When the block fails or is interrupted, the target stays as it was.

    Args:
        target: a folder that this project wrote before, or none.
        mark: a file that every such folder holds; a folder without it is not replaced.

    Raises:
        InputError: the target exists and is something else.
        RunError: the disk refuses.
    """
    if target.exists() and not (target / mark).is_file():
        raise InputError(
            f"{target} exists and is no report (it has no {mark}); give another --out or move it"
        )
    if target.parent.is_symlink():
        raise InputError(f"{target.parent} is a link to another place, where nothing is written")
    new = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        new = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
        yield new
        new.chmod(0o777 & ~_umask())  # a temporary folder is private; a report is as any other
        _swap(new, target)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{target} cannot be written: {reason}; what was there is whole") from error
    finally:
        if new is not None:
            shutil.rmtree(new, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    """Puts `new` in the target's place, or leaves the target where it was."""
    if target.is_symlink():  # the link goes, what it leads to stays
        target.unlink()
    if not target.exists():
        new.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent)) / target.name
    try:
        target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        if target.exists():
            shutil.rmtree(old.parent, ignore_errors=True)


def _sweep(target: Path) -> None:
    """After a killed run: puts a report back that was being replaced, removes old leftovers."""
    for old in sorted(target.parent.glob(f".{target.name}.old-*")):
        kept = old / target.name
        if old.is_symlink():
            continue
        if kept.exists() and not target.exists():
            kept.rename(target)
            shutil.rmtree(old, ignore_errors=True)
    for leftover in target.parent.glob(f".{target.name}.*-*"):
        # Not younger ones: another run may be writing there.
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _STALE_S:
                shutil.rmtree(leftover, ignore_errors=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Writes a file so that readers see the old content or the new one, never a part."""
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
