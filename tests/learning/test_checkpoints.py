import errno
import os

import pytest
import safetensors.torch
import torch

from interp.core import InputError, RunError
from interp.learning.checkpoints import (
    Checkpoint,
    checkpoint_paths,
    newest_checkpoint,
    read_checkpoint,
    refuse_other_recipe,
    write_checkpoint,
)


def checkpoint(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    tensors = {
        "model.W": torch.randn(5, 3, generator=generator),
        "optimizer.W.step": torch.tensor(float(step)),
        "rng": generator.get_state(),
        "empty": torch.zeros(0),
    }
    return Checkpoint(step, tensors, {"recipe": {"lr": 0.1}, "loss_sum": 1 / 3})


def equal(a: Checkpoint, b: Checkpoint) -> bool:
    return (a.step, a.facts) == (b.step, b.facts) and all(
        torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors | b.tensors
    )


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    path = write_checkpoint(tmp_path / "new", checkpoint(7))
    assert equal(read_checkpoint(path), checkpoint(7))
    # Every strided or shared tensor is written in full.
    strided = Checkpoint(1, {"t": torch.arange(12.0).view(3, 4).T}, {})
    assert equal(read_checkpoint(write_checkpoint(tmp_path, strided)), strided)


def test_equal_checkpoints_are_equal_files(tmp_path):
    one = write_checkpoint(tmp_path / "one", checkpoint(7))
    two = write_checkpoint(tmp_path / "two", checkpoint(7))
    assert one.read_bytes() == two.read_bytes()


def test_the_newest_two_are_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for step in (9, 10, 100, 1000):
        write_checkpoint(tmp_path, checkpoint(step))
    assert [read_checkpoint(path).step for path in checkpoint_paths(tmp_path)] == [100, 1000]
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert newest_checkpoint(tmp_path).step == 1000


def test_no_checkpoint_at_all(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "absent") is None
    with pytest.raises(InputError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "absent")


def cut_off(content: bytes) -> bytes:
    return content[: len(content) // 2]


def without_header(content: bytes) -> bytes:
    return content[:5]


def one_bit_flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def other_step(content: bytes) -> bytes:
    assert content.count(b'step\\\\\\": 6') == 1
    return content.replace(b'step\\\\\\": 6', b'step\\\\\\": 5')


@pytest.mark.parametrize("damage", [cut_off, without_header, one_bit_flipped, other_step])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage):
    write_checkpoint(tmp_path, checkpoint(3))
    newest = write_checkpoint(tmp_path, checkpoint(6))
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.raises(RunError, match="00000006"):
        read_checkpoint(newest)
    with pytest.warns(UserWarning, match="going on from step 3"):
        assert equal(newest_checkpoint(tmp_path), checkpoint(3))
    older = checkpoint_paths(tmp_path)[0]
    older.write_bytes(damage(newest.read_bytes()) if damage is cut_off else b"")
    with pytest.raises(RunError, match=r"no checkpoint in .* can be read"):
        newest_checkpoint(tmp_path)


def test_finished_weights_are_told_from_a_checkpoint(tmp_path):
    path = tmp_path / "step-00000001.safetensors"
    safetensors.torch.save_file({"W": torch.ones(2)}, path)
    with pytest.raises(InputError, match="no training checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch, call):
    write_checkpoint(tmp_path, checkpoint(3))
    before = (tmp_path / "step-00000003.safetensors").read_bytes()

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, refuse)
    for step in (3, 6):
        with pytest.raises(RunError, match="No space left on device"):
            write_checkpoint(tmp_path, checkpoint(step))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003.safetensors"]
    assert (tmp_path / "step-00000003.safetensors").read_bytes() == before


def test_another_recipe_is_refused_by_the_names_of_its_fields(tmp_path):
    saved = {"lr": 0.1, "betas": [0.9, 0.98], "config": {"n_layers": 2, "d_model": 5}, "old": 1}
    refuse_other_recipe(saved, {**saved, "betas": (0.9, 0.98)}, tmp_path)
    asked = {"lr": 0.2, "betas": (0.9, 0.98), "config": {"n_layers": 3, "d_model": 5}}
    with pytest.raises(InputError) as error:
        refuse_other_recipe(saved, asked, tmp_path)
    message = str(error.value)
    assert "config.n_layers: 2 there, 3 asked for" in message
    assert "lr: 0.1 there, 0.2 asked for" in message
    assert "old: 1 there, '(absent)' asked for" in message
    assert "d_model" not in message and "betas" not in message
