"""Is this installation sound? Versions, devices, the Hugging Face cache, and a self-test.

The self-test needs no network: the shipped model's loss against the value recorded when it was
shipped, attention with and without a hook, and an induction head that was planted and must be
found, alone.
"""

import csv
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

OLDEST_PYTHON = (3, 11)
LOSS_TOLERANCE = 1e-4  # nats; the recorded value has five decimals
FUSED_TOLERANCE = 1e-4  # logits of about 20, float32
FREE_BYTES = 2**30


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        part: "versions", "devices", "models" or "self-test".
        what: was looked at.
        found: what it is.
        problem: a sentence about what is wrong and what to do; empty if nothing is.
    """

    part: str
    what: str
    found: str
    problem: str = ""


def examine() -> Iterator[Check]:
    """Every check, one after the other; a check that breaks is a problem, not an error."""
    for part, check in (
        ("versions", _versions),
        ("devices", _devices),
        ("models", _models),
        ("self-test", _loss),
        ("self-test", _attention),
        ("self-test", _planted_head),
    ):
        try:
            yield from check()
        except Exception as error:
            reason = " ".join(str(error).split())
            what = check.__name__.strip("_").replace("_", " ")
            yield Check(part, what, "broke", f"{what}: {type(error).__name__}: {reason}")


# ------------------------------------------------------------------------------------ versions


def _versions() -> Iterator[Check]:
    python, problem = platform.python_version(), ""
    if sys.version_info < OLDEST_PYTHON:
        problem = f"Python {python} is too old: interp needs 3.11 or later"
    yield Check("versions", "python", f"{python} on {platform.platform()}", problem)
    try:
        required = importlib.metadata.requires("interp") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("versions", "interp", "a source tree that was never installed",
                    "interp is not installed: pip install -e . in its folder")  # fmt: skip
        return
    yield Check("versions", "interp", importlib.metadata.version("interp"))
    yield from map(_requirement, _without_extras(required))


def _without_extras(required: list[str]) -> Iterator:
    from packaging.requirements import Requirement

    for line in required:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _requirement(requirement) -> Check:
    name = requirement.name
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check("versions", name, "missing",
                     f"{name} is missing: pip install '{requirement}'")  # fmt: skip
    problem = ""
    if not requirement.specifier.contains(found, prereleases=True):
        problem = f"{name} {found} does not fit: pip install '{requirement}'"
    return Check("versions", name, found, problem)


# ------------------------------------------------------------------------------------- devices


def _devices() -> Iterator[Check]:
    import torch

    threads = f"{os.cpu_count()} cores, PyTorch uses {torch.get_num_threads()} threads"
    yield Check("devices", "cpu", threads, _multiplies("cpu"))
    if not torch.cuda.is_available():
        yield Check("devices", "cuda", "none")
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        found = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB"
        yield Check("devices", f"cuda:{index}", found, _multiplies(f"cuda:{index}"))
    if torch.backends.mps.is_available():
        yield Check(
            "devices", "mps", "Apple's GPU; not used, it has no float64", _multiplies("mps")
        )


def _multiplies(device: str) -> str:
    """A problem if the device is there but cannot multiply two matrices."""
    import torch

    try:
        matrix = torch.full((7, 7), 3.0, device=device)
        right = bool((matrix @ matrix == 63.0).all())
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return f"{device} is there but does not compute ({reason}); use --device cpu"
    return "" if right else f"{device} multiplies matrices wrongly; use --device cpu"


# -------------------------------------------------------------------------------------- models


def _models() -> Iterator[Check]:
    from huggingface_hub import constants

    from interp.loading.hub import cached_snapshot
    from interp.loading.names import FAMILY, shipped_names

    shipped = shipped_names()
    yield Check("models", "shipped", ", ".join(shipped) or "none", "" if "small" in shipped else
                "the shipped models are missing: the installation is incomplete")  # fmt: skip
    cache = Path(constants.HF_HUB_CACHE)
    there = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(there).free
    problem = ""
    if not os.access(there, os.W_OK):
        problem = f"the Hugging Face cache {cache} cannot be written; set HF_HOME"
    elif free < FREE_BYTES:
        problem = f"the disk of the Hugging Face cache {cache} has {free >> 20} MiB left"
    yield Check("models", "Hugging Face cache", f"{cache}, {free / 2**30:.0f} GiB free", problem)
    cached = [
        name
        for name, shape in FAMILY.items()
        if any(cached_snapshot(hub_id, None) is not None for hub_id in shape.hub_ids)
    ]
    yield Check("models", "cached GPT-2s", ", ".join(cached) or "none")
    yield Check("models", "hub", _reach())


def _reach() -> str:
    """Whether other models can be downloaded; to be offline is no problem."""
    from huggingface_hub import constants

    from interp.loading.hub import answer_of_hub

    if constants.HF_HUB_OFFLINE:
        return "not asked: HF_HUB_OFFLINE is set"
    answer = answer_of_hub("gpt2")
    if isinstance(answer, int):
        return f"{constants.ENDPOINT} answers"
    return f"offline ({constants.ENDPOINT} cannot be reached): shipped, local, cached models only"


# ----------------------------------------------------------------------------------- self-test


def _loss() -> Iterator[Check]:
    """The shipped model on the windows on which it was measured when it was shipped."""
    import torch

    from interp.corpus import Language
    from interp.loading import load_model
    from interp.loading.names import SHIPPED_FOLDER

    with open(SHIPPED_FOLDER / "small" / "metrics.csv", encoding="utf-8", newline="") as file:
        recorded = next(row for row in csv.DictReader(file) if row["metric"] == "loss")
    model, expected = load_model("small"), float(recorded["value"])
    windows = Language().batch(
        0, int(recorded["n"]), model.config.n_ctx + 1, namespace="evaluation"
    )
    with torch.no_grad():
        loss = float(model.loss(torch.from_numpy(windows)))
    apart = abs(loss - expected)
    yield Check(
        "self-test",
        "loss of small",
        f"{loss:.5f} nats, recorded {expected:.5f}",
        _beyond(apart, LOSS_TOLERANCE, "the shipped model's loss differs from the recorded one"),
    )


def _attention() -> Iterator[Check]:
    """A hook on the pattern makes the model form it; without one, a fused kernel runs."""
    import torch

    from interp.core import hook_name
    from interp.loading import load_model

    model = load_model("small")
    tokens = torch.arange(model.config.n_ctx)[None] % 101 + 2
    hooks = [(hook_name("pattern", layer), _as_it_is) for layer in range(model.config.n_layers)]
    with torch.no_grad():
        apart = (model(tokens) - model.run_with_hooks(tokens, hooks)).abs().max().item()
    yield Check(
        "self-test",
        "fused attention",
        f"logits differ by at most {apart:.1e} from hooked attention",
        _beyond(apart, FUSED_TOLERANCE, "fused and hooked attention disagree"),
    )


def _as_it_is(pattern, hook):
    return pattern


def _planted_head() -> Iterator[Check]:
    """An induction head in a model of two heads: found, and the other one not."""
    from interp import measures, planted

    subject = planted.plant("induction_k")
    model, (truth,) = subject.model, _induction_heads(subject)
    words = measures.ordinary_tokens(model, 0)
    prompts = measures.random_token_prompts(words, 24, model.config.n_ctx, 0, 0)
    frame = measures.detect_roles(
        model, [measures.suite_of(prompts, 0, (0, 1), None, 0)],
        roles=("induction",), n_permutations=500, n_resamples=199,
    )  # fmt: skip
    labelled = frame[frame["label"] & (frame["role"] == "induction")]
    found = [(int(layer), int(head)) for layer, head in labelled[["layer", "head"]].to_numpy()]
    names = ", ".join("L{}H{}".format(*at) for at in found) or "none"
    planted_name = "L{}H{}".format(*truth)
    problem = f"the planted induction head {planted_name} was to be found alone; found: {names}"
    yield Check("self-test", "planted induction head", f"{planted_name}; found {names}",
                "" if found == [truth] else problem)  # fmt: skip


def _induction_heads(subject) -> list[tuple[int, int]]:
    return [answer.at for answer in subject.key.heads if "induction" in answer.roles]


def _beyond(apart: float, tolerance: float, what: str) -> str:
    if apart <= tolerance:
        return ""
    return f"{what} by {apart:.2g} (at most {tolerance:g} is rounding): is PyTorch sound?"


# ----------------------------------------------------------------------------------- as text


def main(as_json: bool, say: Callable[[str], None]) -> int:
    """Prints every check as it is made; 1 if there is a problem.

    Args:
        as_json: print all checks as JSON instead, once they are made.
        say: is given each problem, one sentence.
    """
    checks: list[Check] = []
    for check in examine():
        if not as_json:
            if not checks or checks[-1].part != check.part:
                print(check.part)
            print(f"  {check.what:<22}  {check.found}", flush=True)
        checks.append(check)
    problems = [check.problem for check in checks if check.problem]
    for problem in problems:
        say(f"problem: {problem}")
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
    elif not problems:
        print("no problem found")
    return 1 if problems else 0
