"""Writing files that are either whole or not there."""

import os
from pathlib import Path

from interp.core.errors import RunError


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that no reader ever sees half of it.

    The bytes go to a temporary file beside `path`, reach the disk, and only then take
    the name. A crash or a full disk leaves the earlier file as it was.

    Args:
        path: file to create or replace; its folder must exist.
        content: everything that the file will hold.

    Raises:
        RunError: if the disk refuses, for example because it is full.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.unlink(missing_ok=True)  # a link there would lead elsewhere
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(
            f"could not write {path} ({len(content):,} bytes): {error.strerror or error}; "
            "what was saved before is still there"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
