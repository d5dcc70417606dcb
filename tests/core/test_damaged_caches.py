"""A stored cache whose files were damaged gives what was stored, or one sentence."""

import json

import pytest
import torch
from oracles.damage import (
    NOT_JSON,
    as_json,
    broken,
    changed_values,
    full_disk,
    looks_whole,
    no_files,
    refused,
    untouched,
)
from oracles.tiny import tiny_model, tiny_tokens

from interp.core import InputError, RunError, open_cache

# As users have it: without the checks of types that only the tests install.
pytestmark = pytest.mark.usefixtures("no_type_checks")

NAMES = ["hook_embed", "blocks.1.attn.hook_z"]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """Five prompts in three files, and what they hold."""
    folder = tmp_path_factory.mktemp("caches") / "cache"
    _, cache = model.run_with_cache(tiny_tokens(batch=5), NAMES, to=folder, batch_size=2)
    return folder, {name: cache[name] for name in cache}


def read_all(folder, expected):
    cache = open_cache(folder)
    for name in list(cache):
        found = cache[name]
        if name in expected:
            assert torch.equal(found, expected[name]), name


@pytest.mark.parametrize("file", ["index.json", "000001.safetensors"])
def test_changed_bytes_are_noticed(whole, file):
    folder, expected = whole
    path = folder / file
    original = path.read_bytes()
    contents = [*broken(original, 60, seed=3), *(NOT_JSON if file == "index.json" else (b"",))]
    noticed = 0
    try:
        for content in contents:
            path.write_bytes(content)
            noticed += refused(lambda: read_all(folder, expected)) is not None
    finally:
        path.write_bytes(original)
    assert noticed > 0.8 * len(contents)
    assert refused(lambda: read_all(folder, expected)) is None


def test_an_index_with_other_values_is_noticed(whole):
    folder, expected = whole
    path = folder / "index.json"
    original = path.read_bytes()
    try:
        for values in changed_values(json.loads(original), 150, seed=4):
            path.write_bytes(as_json(values))
            refused(lambda: read_all(folder, expected))
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize(
    "name", ["../cache/000000.safetensors", "x" * 5_000, "a\x00b", "index.json"]
)
def test_the_index_names_files_beside_it_only(whole, name):
    folder, _ = whole
    path = folder / "index.json"
    original = path.read_bytes()
    facts = json.loads(original)
    facts["shards"][0]["file"] = name
    try:
        path.write_bytes(as_json(facts))
        with pytest.raises(InputError, match="is no index of a cache"):
            open_cache(folder)
    finally:
        path.write_bytes(original)


def test_prompts_that_the_files_do_not_hold_are_not_made_up(whole):
    """The index says three and one prompt where the files hold two and two."""
    folder, _ = whole
    path = folder / "index.json"
    original = path.read_bytes()
    facts = json.loads(original)
    facts["shards"][0]["stop"] = facts["shards"][1]["start"] = 3
    try:
        path.write_bytes(as_json(facts))
        with pytest.raises(InputError, match="changed since it was written"):
            open_cache(folder)["hook_embed"]
    finally:
        path.write_bytes(original)


def test_things_that_are_no_files(tmp_path):
    for path in no_files(tmp_path):
        assert refused(lambda path=path: open_cache(path))


@pytest.mark.parametrize("n_bytes", [0, 100, 5_000, 12_000])
def test_a_full_disk_leaves_no_cache(model, tmp_path, n_bytes):
    with full_disk(n_bytes), pytest.raises(RunError, match="cannot be written"):
        model.run_with_cache(tiny_tokens(batch=5), to=tmp_path / "cache", batch_size=2)
    assert not looks_whole(tmp_path)
    model.run_with_cache(tiny_tokens(batch=5), to=tmp_path / "cache", batch_size=2)


def test_a_folder_under_the_name_of_a_file_stays(model, tmp_path):
    (tmp_path / "000000.safetensors").mkdir()
    with untouched(tmp_path), pytest.raises(InputError, match="needs a folder of its own"):
        model.run_with_cache(tiny_tokens(), to=tmp_path)


def test_nothing_is_written_through_a_link(model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("years")
    (tmp_path / "out").mkdir()
    for name in ("000000.safetensors", "000001.part"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "mine" / "thesis")
    with untouched(tmp_path / "mine"):
        model.run_with_cache(tiny_tokens(), to=tmp_path / "out")
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
