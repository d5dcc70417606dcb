import copy

import numpy as np
import pytest
import torch

from interp import measures
from interp.core import InputError
from interp.measures import CuePair, WordUses
from tests.oracles.numpy_gpt import activations
from tests.oracles.tiny import PRIMES, tiny_model

PROMPTS = [[1, 4, 9, 7, 2], [3, 7, 5], [8, 2, 6, 11, 7], [5, 1, 7]]
AT = [3, 1, 4, 2]  # token 7 in each


def stream_by_loop(model, prompt, at):
    """Oracle: the NumPy GPT, one prompt at a time."""
    every = activations(model, prompt)
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(PRIMES["n_layers"])]
    names.append(f"blocks.{PRIMES['n_layers'] - 1}.hook_resid_post")
    return np.stack([every[name][at] for name in names])


def test_vectors_of_words_are_those_of_the_numpy_gpt():
    model = tiny_model()
    expected = np.stack([stream_by_loop(model, *use) for use in zip(PROMPTS, AT, strict=True)], 1)
    for batch_size in (1, 3, 32):
        found = measures.word_vectors(model, PROMPTS, AT, batch_size)
        assert found.shape == (PRIMES["n_layers"] + 1, len(PROMPTS), PRIMES["d_model"])
        assert np.abs(found - expected).max() < 1e-10


def test_vectors_of_many_positions_keep_their_order():
    model = tiny_model()
    rows, at = np.array([2, 0, 2, 1, 0]), np.array([4, 1, 1, 2, 3])
    found = measures.prompt_vectors(model, PROMPTS, rows, at)
    for use, (row, place) in enumerate(zip(rows, at, strict=True)):
        assert np.abs(found[:, use] - stream_by_loop(model, PROMPTS[row], place)).max() < 1e-10


def test_before_the_first_block_a_word_is_token_plus_position():
    model = tiny_model()
    frame = measures.embedding_identity(model, PROMPTS, AT)
    assert frame["layer"].tolist() == list(range(PRIMES["n_layers"] + 1))
    assert frame["deviation"].iloc[0] == 0
    assert frame["pair_deviation"].iloc[0] < 1e-12
    assert frame["n_uses"].tolist() == [4] * 4
    # By hand at the control: the first two uses at layer 1.
    vectors = measures.word_vectors(model, PROMPTS, AT)[1]
    W_pos = model.W_pos.numpy()
    pairs = [
        np.abs(vectors[i] - vectors[j] - (W_pos[AT[i]] - W_pos[AT[j]])).max()
        for i in range(4)
        for j in range(4)
    ]
    assert frame["pair_deviation"].iloc[1] == pytest.approx(max(pairs), abs=1e-12)
    assert frame["pair_deviation"].iloc[1] > 0.01


def test_the_identity_without_positions():
    frame = measures.embedding_identity(tiny_model(positions="none"), PROMPTS, AT)
    assert frame["deviation"].iloc[0] == 0
    assert frame["pair_deviation"].iloc[0] == 0


def test_the_identity_is_about_one_word():
    with pytest.raises(InputError, match="one word"):
        measures.embedding_identity(tiny_model(), PROMPTS, [3, 1, 4, 1])


def test_bags_are_means_of_the_words_before_without_position_0():
    model = tiny_model()
    uses = WordUses(
        tuple(map(tuple, PROMPTS[:3])), (3, 1, 4), ("w",) * 3, ("s",) * 3, ("a", "b", "c")
    )
    bags = measures.context_bags(model, uses)
    W_E = model.W_E.numpy()
    assert bags.shape == (1, 3, PRIMES["d_model"])
    assert np.abs(bags[0, 0] - (W_E[4] + W_E[9]) / 2).max() < 1e-12
    assert np.abs(bags[0, 1] - W_E[3]).max() < 1e-12  # nothing but position 0 stands before
    assert np.abs(bags[0, 2] - (W_E[2] + W_E[6] + W_E[11]) / 3).max() < 1e-12


BEFORE = CuePair("before", "w", ("x", "y"), ((1, 4, 9, 7, 2), (1, 5, 9, 7, 2)), 3)
AFTER = CuePair("after", "w", ("x", "y"), ((1, 4, 7, 2, 6), (1, 4, 7, 2, 8)), 2)


def test_a_cue_after_the_word_changes_nothing_and_one_before_it_does():
    model = tiny_model()
    frame = measures.cue_effects(model, [BEFORE, AFTER]).set_index(["kind", "layer"])
    assert (frame.loc["after", ["change", "largest"]] == 0).all(axis=None)
    assert frame.loc[("before", 0), "largest"] == 0
    one, two = (stream_by_loop(model, list(t), 3) for t in BEFORE.tokens)
    size = (np.linalg.norm(one, axis=1) + np.linalg.norm(two, axis=1)) / 2
    expected = np.linalg.norm(one - two, axis=1) / size
    assert frame.loc["before", "change"].to_numpy() == pytest.approx(expected, abs=1e-10)
    assert frame.loc[("before", 3), "change"] > 0.01
    assert frame.loc["before", "largest"].to_numpy() == pytest.approx(
        np.abs(one - two).max(axis=1), abs=1e-10
    )


def test_without_the_mask_a_cue_after_the_word_leaks():
    frame = measures.cue_effects(tiny_model(mask="none"), [AFTER]).set_index("layer")
    assert frame.loc[0, "largest"] == 0
    assert frame.loc[1, "largest"] > 1e-3


def test_zero_after_the_word_holds_in_single_precision_to_the_last_bit():
    model = copy.deepcopy(tiny_model()).to(torch.float32)
    frame = measures.cue_effects(model, [AFTER])
    assert (frame["largest"] == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": ((1, 4, 9, 7), (1, 5, 9, 7, 2))}, "equally long"),
        ({"position": 0}, "behind"),
        ({"position": 1}, "same word"),
        ({"tokens": ((1, 4, 9, 7, 2),) * 2}, "are the same"),
        ({"kind": "after"}, "differs at"),
        ({"tokens": ((1, 4, 9, 7, 2), (1, 4, 9, 7, 3))}, "differs at"),
    ],
)
def test_pairs_that_are_none_are_refused(change, message):
    fields = {name: getattr(BEFORE, name) for name in BEFORE.__dataclass_fields__}
    with pytest.raises(InputError, match=message):
        CuePair(**(fields | change))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": (0, 1)}, "position 0"),
        ({"positions": (3, 9)}, "lie inside"),
        ({"words": ("w",)}, "every use needs"),
        (dict.fromkeys(("tokens", "positions", "words", "senses", "cues"), ()), "every use needs"),
    ],
)
def test_uses_that_are_none_are_refused(changes, message):
    fields = {
        "tokens": ((1, 4, 9, 7), (3, 7, 5)),
        "positions": (3, 1),
        "words": ("w", "w"),
        "senses": ("s", "t"),
        "cues": ("a", "b"),
    }
    with pytest.raises(InputError, match=message):
        WordUses(**(fields | changes))


def test_vectors_need_a_position_for_every_prompt():
    with pytest.raises(InputError, match="one position"):
        measures.word_vectors(tiny_model(), PROMPTS, AT[:3])
