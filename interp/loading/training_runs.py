"""Training runs of `interp.learning` as models: what was learnt so far, at the newest step."""

from pathlib import Path
from typing import Any

import torch

from interp.core import HookedGPT
from interp.core.errors import InputError
from interp.learning.checkpoints import newest_checkpoint, read_checkpoint
from interp.learning.recipes import Recipe
from interp.loading.weights import build_model, check_parameters


def from_checkpoint(
    path: Path, device: torch.device, dtype: torch.dtype
) -> tuple[HookedGPT, dict[str, Any]]:
    """The model of a checkpoint, or of the newest one in a folder of them.

    Returns:
        The model, and where it came from: recipe, step and tokens seen.

    Raises:
        InputError: it is no training checkpoint, there is none, or its tensors do not fit.
        RunError: the file is damaged.
    """
    checkpoint = newest_checkpoint(path) if path.is_dir() else read_checkpoint(path)
    if checkpoint is None:
        raise InputError(f"There is no finished model beside {path}, and no checkpoint in it.")
    recipe = _recipe(checkpoint.facts, path)
    own = {
        name.removeprefix("model."): tensor.to(dtype)
        for name, tensor in checkpoint.tensors.items()
        if name.startswith("model.") and tensor.is_floating_point()
    }
    check_parameters(recipe.config, own, str(path))
    model = build_model(recipe.config, own, device)
    model.name = f"{recipe.name}-step{checkpoint.step}"
    if recipe.task != "trigger":
        from interp.corpus import Language

        model.tokenizer = Language().tokenizer
        if model.tokenizer.vocab_size != recipe.config.d_vocab:
            raise InputError(
                f"{path} was trained on {recipe.config.d_vocab} words, but the language has "
                f"{model.tokenizer.vocab_size} now; its tokens have lost their meaning."
            )
    tokens = checkpoint.step * recipe.tokens_per_step
    facts = {"recipe": checkpoint.facts["recipe"], "steps": checkpoint.step, "tokens": tokens}
    return model, {"path": str(path.resolve()), "training": facts}


def _recipe(facts: dict[str, Any], path: Path) -> Recipe:
    try:
        return Recipe.from_dict(facts["recipe"])
    except (KeyError, TypeError) as error:
        reason = f"{error!r:.200}"
        raise InputError(f"{path} carries no recipe of this version ({reason}).") from None
