"""The Hugging Face cache and hub: find a snapshot without a network, fetch it within limits.

The libraries behind this (huggingface_hub, transformers) ask the hub about every file, even of a
model that is cached in full, and retry each request for minutes when nothing answers. So the cache
is read first, and the network is touched only after one short probe was answered.
"""

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interp.core.errors import InputError, RunError
from interp.core.reading import brief, read_text
from interp.loading.hf_config import config_from_gpt2, read_json
from interp.loading.weights import INDEX, SINGLE

PROBE_SECONDS = 2.5
_COMMIT = re.compile(r"[0-9A-Za-z]{1,64}")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class Snapshot:
    """A model in the cache.

    Attributes:
        hub_id: the repository, such as "openai-community/gpt2".
        commit: the commit's SHA.
        path: the directory that holds its files.
    """

    hub_id: str
    commit: str
    path: Path


def find_snapshot(
    hub_ids: tuple[str, ...], revision: str | None, *, offline: bool, download_mb: int | None
) -> Snapshot:
    """A complete snapshot of a model, from the cache, else from the hub.

    Args:
        hub_ids: spellings of one repository; the cache may know it under any of them, a download
            uses the first.
        revision: branch, tag or commit; None is the default branch as it was when it was cached.
        offline: never touch the network.
        download_mb: size of the weights, for messages.

    Raises:
        RunError: it is neither cached nor reachable (within `PROBE_SECONDS`, whatever the network
            does), or the download failed.
        InputError: there is no such repository or revision, or it is not a GPT-2 in safetensors.
    """
    from huggingface_hub import constants

    for hub_id in hub_ids:
        snapshot = cached_snapshot(hub_id, revision)
        if snapshot is not None:
            return snapshot
    if offline or constants.HF_HUB_OFFLINE:
        how = "offline=True was asked for" if offline else "HF_HUB_OFFLINE is set"
        raise RunError(_not_cached(hub_ids, revision, f"and {how}", download_mb))
    hub_id = hub_ids[0]
    status = answer_of_hub(hub_id, revision)
    if isinstance(status, str):
        raise RunError(_not_cached(hub_ids, revision, status, download_mb))
    _check_status(status, hub_id, revision, constants.ENDPOINT)
    return _download(hub_id, revision)


def cached_snapshot(hub_id: str, revision: str | None) -> Snapshot | None:
    """The model in the Hugging Face cache, if all of it is there; the network is not touched."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model")
    commit = "main" if revision is None else revision
    # It becomes part of a path, which must stay inside the cache.
    if not commit or ".." in Path(commit).parts or Path(commit).is_absolute():
        raise InputError(f"{commit!r} is not a revision; expected a branch, a tag or a commit.")
    reference = folder / "refs" / commit
    if reference.is_file():
        commit = read_text(reference).strip()
        if not _COMMIT.fullmatch(commit):
            raise InputError(f"{reference} holds {brief(commit)}, which is no commit; remove it.")
    path = folder / "snapshots" / commit
    return Snapshot(hub_id, commit, path) if _is_complete(path) else None


def _is_complete(path: Path) -> bool:
    """Whether config, weights and tokenizer are all there."""
    if not (path / "config.json").is_file():
        return False
    weights = (path / SINGLE).is_file()
    if not weights and (path / INDEX).is_file():
        shards = read_json(path / INDEX).get("weight_map")
        named = set(shards.values()) if isinstance(shards, dict) else set()
        weights = all((path / str(shard)).is_file() for shard in named)
    has_pair = (path / "vocab.json").is_file() and (path / "merges.txt").is_file()
    return weights and (has_pair or (path / "tokenizer.json").is_file())


def _not_cached(
    hub_ids: tuple[str, ...], revision: str | None, reason: str, download_mb: int | None
) -> str:
    from huggingface_hub import constants

    size = f" (about {download_mb} MB)" if download_mb else ""
    at = f" at revision {revision}" if revision else ""
    return (
        f"{hub_ids[0]}{at} is not in the Hugging Face cache ({constants.HF_HUB_CACHE}), {reason}. "
        f"Go online once to download it{size}, set HF_HOME to a cache that holds it, or pass a "
        "directory in Hugging Face format in place of the name."
    )


def answer_of_hub(hub_id: str, revision: str | None = None) -> int | str:
    """The hub's HTTP status for the model's config.json, or a clause about why there is none.

    The request runs in a thread that is abandoned when time is up: looking up a host name or
    waiting for a proxy obeys no timeout of the HTTP library.
    """
    from huggingface_hub import constants, hf_hub_url

    url = hf_hub_url(hub_id, "config.json", revision=revision)
    answer: list[int | str] = []

    def ask() -> None:
        from huggingface_hub.utils import build_hf_headers, get_session

        try:
            response = get_session().head(
                url, headers=build_hf_headers(), timeout=PROBE_SECONDS, follow_redirects=True
            )
            answer.append(response.status_code)
        except Exception as error:
            answer.append(f"({type(error).__name__}: {error})")

    thread = threading.Thread(target=ask, daemon=True, name="interp-hub-probe")
    with _quiet_hub():
        thread.start()
        thread.join(PROBE_SECONDS)
    host = constants.ENDPOINT
    if not answer:
        return f"and {host} did not answer within {PROBE_SECONDS:g} s"
    if isinstance(answer[0], str):
        return f"and {host} cannot be reached {answer[0]}"
    return answer[0]


def _check_status(status: int, hub_id: str, revision: str | None, host: str) -> None:
    if status in (401, 403):
        raise InputError(
            f"{host} does not give out {hub_id} (HTTP {status}): there is no such repository, or "
            "it needs a login (`hf auth login`)."
        )
    if status == 404:
        at = f" at revision {revision}" if revision else ""
        raise InputError(f"{host} has no {hub_id}{at}; check the spelling.")
    if status >= 400:
        raise RunError(f"{host} answered HTTP {status} when asked for {hub_id}; try again later.")


def _download(hub_id: str, revision: str | None) -> Snapshot:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    def fetch(name: str) -> Path | None:
        try:
            return Path(hf_hub_download(hub_id, name, revision=revision))
        except EntryNotFoundError:
            return None

    try:
        with _quiet_hub():
            config = fetch("config.json")
            if config is None:
                raise InputError(f"{hub_id} has no config.json; it is not a transformers model.")
            # Before hundreds of megabytes arrive: is it a model that can be loaded at all?
            config_from_gpt2(read_json(config), f"{hub_id}/config.json")
            for name in _TOKENIZER_FILES:
                fetch(name)
            _fetch_weights(hub_id, config.parent, fetch)
    except (HfHubHTTPError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise RunError(f"Downloading {hub_id} failed: {_first_line(error)}") from error
    return Snapshot(hub_id, config.parent.name, config.parent)


def _fetch_weights(hub_id: str, folder: Path, fetch) -> None:
    if fetch(SINGLE) is not None:
        return
    if fetch(INDEX) is None:
        raise InputError(
            f"{hub_id} has no {SINGLE}. Pickled weights (.bin) can run code when they are opened, "
            "so they never are; ask its authors for safetensors, or convert it where you trust it."
        )
    shards = read_json(folder / INDEX).get("weight_map")
    for shard in sorted(set(shards.values())) if isinstance(shards, dict) else ():
        if not isinstance(shard, str) or shard != Path(shard).name or fetch(shard) is None:
            raise InputError(f"{hub_id}/{INDEX} names {shard!r}, which is no file beside it.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """No log lines, and progress bars on a terminal only."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    hush = not sys.stderr.isatty() and not are_progress_bars_disabled()
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    # The variable wins over the calls, and warns when they disagree.
    hush = hush and "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ
    if hush:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if hush:
            enable_progress_bars()
