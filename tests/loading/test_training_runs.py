"""Folders of `interp train`: the finished model, else the newest checkpoint, or a chosen one."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from interp.core import GPTConfig, InputError, RunError
from interp.learning import RECIPES, train
from interp.loading import load_model, save, weights_hash


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four steps of the trigger task, a checkpoint every second one."""
    folder = tmp_path_factory.mktemp("runs") / "trigger"
    config = replace(RECIPES["trigger"].config, n_layers=2, d_model=22, n_heads=2, d_head=None)
    recipe = replace(
        RECIPES["trigger"], config=config, n_steps=4, checkpoint_every=2, eval_every=4, log_every=2
    )
    return folder, train(recipe, folder)


def test_the_newest_checkpoint_is_the_finished_model(run):
    folder, trained = run
    model = load_model(folder)
    assert weights_hash(model) == weights_hash(trained)
    assert model.config == trained.config
    assert model.name == "trigger-step4"
    training = model.provenance["training"]
    assert (model.provenance["source"], training["steps"]) == ("checkpoint", 4)
    assert training["recipe"]["name"] == "trigger"
    assert json.loads(json.dumps(model.provenance)) == model.provenance
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_chosen_checkpoint(run):
    """Oracle: the tensors that the file holds."""
    path = run[0] / "checkpoints" / "step-00000002.safetensors"
    model = load_model(path)
    stored = load_file(path)
    assert model.name == "trigger-step2"
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, stored[f"model.{name}"])
    assert load_model(str(path), dtype=torch.float64).W_E.dtype == torch.float64


def test_a_finished_model_comes_before_its_checkpoints(run):
    folder, trained = run
    save(trained, folder / "final")
    try:
        model = load_model(folder)
        assert (model.name, model.provenance["source"]) == ("trigger", "directory")
        assert weights_hash(model) == weights_hash(trained)
        # How it was trained is kept in the files.
        training = model.provenance["training"]
        assert (training["steps"], training["recipe"]["name"]) == (4, "trigger")
        assert "seconds" not in training
    finally:
        for path in (folder / "final").iterdir():
            path.unlink()
        (folder / "final").rmdir()


def test_a_run_without_checkpoints_says_so(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match="no checkpoint"):
        load_model(tmp_path)


def test_another_file_is_no_checkpoint(tiny):
    with pytest.raises(InputError, match="no training checkpoint"):
        load_model(tiny / "model.safetensors")


def test_a_damaged_checkpoint_is_refused(run, tmp_path):
    content = (run[0] / "checkpoints" / "step-00000004.safetensors").read_bytes()
    path = tmp_path / "step-00000004.safetensors"
    path.write_bytes(content[:-10])
    with pytest.raises(RunError, match="not a whole checkpoint"):
        load_model(path)


def test_a_recipe_of_another_version_is_refused(run, monkeypatch):
    from interp.learning.recipes import Recipe

    def refuse(values):
        raise TypeError("unexpected field")

    monkeypatch.setattr(Recipe, "from_dict", refuse)
    with pytest.raises(InputError, match="no recipe of this version"):
        load_model(run[0])


def test_a_language_that_has_changed_since_is_noticed(run, tmp_path, monkeypatch):
    from interp.learning.recipes import Recipe

    real = Recipe.from_dict
    as_language = classmethod(lambda cls, values: replace(real(values), task="language"))
    monkeypatch.setattr(Recipe, "from_dict", as_language)
    with pytest.raises(InputError, match="lost their meaning"):
        load_model(run[0])
    assert isinstance(RECIPES["trigger"].config, GPTConfig)
