"""One question per module; the only place, beside the command line, where the layers meet.

A study is a module of this folder. Its docstring's first line is its question, its `Config` holds
its options, and its `run(model, config)` returns a `StudyResult`. A study is found by its file, so
a new one needs no entry anywhere. `python studies/<name>.py` puts this folder first on Python's
path: no study may bear the name of a module that Python or a dependency imports.
"""

import ast
import json
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from interp.core.errors import InputError


class NotApplicable(InputError):
    """The study's question makes no sense for this model; the message says why."""


COMMANDS = ("probe", "verify")  # modules here with a command of their own


@dataclass(frozen=True)
class StudyConfig:
    """Options that every study takes."""

    seed: int = 0
    """Seed of every random choice: prompts, permutations and resamples."""
    batch_size: int = 32
    """Prompts in one forward pass; it changes memory and speed only."""
    limit: int | None = None
    """At most this many prompts of each kind."""
    quick: bool = False
    """Fewer prompts and permutations: a first look within seconds, with wider intervals."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "seed" else 1
            if isinstance(value, int) and not isinstance(value, bool) and value < least:
                flag = f"--{field.name.replace('_', '-')}"
                raise InputError(f"{flag} starts at {least}, but {value} was given")


def questions() -> dict[str, str]:
    """The studies by name, each with the question that it asks; no study is imported."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return {
        file.stem: _first_line(file)
        for file in files
        if not file.stem.startswith("_") and file.stem not in COMMANDS
    }


def load(name: str) -> ModuleType:
    """The study's module, with its `Config` and `run`.

    Raises:
        InputError: if no study has that name; the message lists those that exist.
    """
    known = questions()
    if name not in known:
        raise InputError(f"no study is called {name!r}; there are: {', '.join(known)}")
    return import_module(f"studies.{name}")


def texts(lang: str) -> dict[str, dict[str, str]]:
    """The studies' texts in another language: English to that language, by study."""
    files = sorted((Path(__file__).parent / "locale" / lang).glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def provenance(study: str, model: Any, config: StudyConfig, **facts: Any) -> dict[str, Any]:
    """What a result depends on; the same for the same call, so without a time.

    Args:
        study: its name.
        model: the model that was measured.
        config: the options.
        **facts: what only this study depends on: prompts, declared thresholds.
    """
    from interp.loading import weights_hash
    from interp.reporting import software

    known = ("source", "repository", "revision", "shape_of")
    return {
        "study": study,
        "model": model.name,
        "weights": f"SHA-256 {weights_hash(model)}",
        **{name: model.provenance[name] for name in known if model.provenance.get(name)},
        "processing": list(model.processing) or "raw weights",
        "bos": "no tokenizer" if model.tokenizer is None else model.tokenizer.bos_policy,
        **facts,
        "seed": config.seed,
        "options": asdict(config),
        "dtype": str(model.W_E.dtype).removeprefix("torch."),
        "device": str(model.W_E.device),
        "software": software(),
    }


def _first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
