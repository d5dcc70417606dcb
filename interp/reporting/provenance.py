"""What a report depends on: software, and what changes from run to run."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import interp

_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "seaborn",
    "transformers",
    "transformer-lens",
)


def software() -> dict[str, str]:
    """Versions of what computes and draws; read from the installation, nothing is imported."""
    found = {"interp": interp.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit that this code is at, with "+changes" if files differ; None outside a repository.

    Only a repository that holds this very file counts: an installed package may lie in a virtual
    environment inside someone else's.
    """
    here = Path(__file__)
    if _git(here, "ls-files", "--error-unmatch", here.name) is None:
        return None
    head = _git(here, "rev-parse", "HEAD")
    changed = _git(here, "status", "--porcelain", "--untracked-files=no", ":/")
    return head and head + ("+changes" if changed else "")


def _git(file: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(file.parent), *command],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
