import json
from dataclasses import replace

import pytest

from interp.core import HookedGPT, InputError
from interp.corpus import Language
from interp.learning import RECIPES, Recipe


def test_the_shipped_recipes_differ_in_what_their_names_say():
    small = RECIPES["small"]
    assert replace(RECIPES["small-s1"], name="small", seed=0) == small
    assert replace(RECIPES["small-s2"], name="small", seed=0) == small
    assert replace(RECIPES["small-gpt2init"], name="small", init=small.init) == small
    assert RECIPES["small-gpt2init"].init.token == RECIPES["small-gpt2init"].init.qkv == 0.02
    assert RECIPES["small-1l"].config.n_layers == 1
    assert replace(RECIPES["small-1l"], name="small", config=small.config) == small
    assert all(name == recipe.name for name, recipe in RECIPES.items())


def test_sizes_by_hand():
    d, words, ctx = 128, len(Language().vocab), 64
    per_layer = (d * 3 * d + 3 * d) + (d * d + d) + (d * 4 * d + 4 * d) + (4 * d * d + d) + 4 * d
    expected = words * d + ctx * d + 4 * per_layer + 2 * d
    small = HookedGPT(RECIPES["small"].config)
    assert small.n_params == expected
    assert 840_000 < small.n_params < 900_000
    # The prototype's trigger model: 43,904 numbers.
    assert HookedGPT(RECIPES["trigger"].config).n_params == 43_904
    assert RECIPES["small"].tokens_per_step == 2_048


def test_a_recipe_survives_json():
    for recipe in RECIPES.values():
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_steps": 0}, "n_steps starts at 1"),
        ({"checkpoint_every": 0}, "checkpoint_every starts at 1"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"lr": float("nan")}, "lr must be positive"),
        ({"clip": -1.0}, "clip must be positive"),
        ({"warmup": -1}, "must not be negative"),
        ({"seed": -1}, "must not be negative"),
        ({"eval_every": 50, "log_every": 20}, "multiple of log_every"),
    ],
)
def test_impossible_recipes_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(RECIPES["small"], **change)


@pytest.mark.parametrize("field", ["task", "schedule"])
def test_unknown_choices_are_refused(field, no_type_checks):
    with pytest.raises(InputError, match="nonsense"):
        replace(RECIPES["small"], **{field: "nonsense"})
