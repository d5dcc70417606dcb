import numpy as np
import pandas as pd
import pytest
import torch

from interp.core import GPTConfig, HookedGPT, InitScales
from interp.corpus import Language
from studies import _head_roles_causal as causal
from studies import _prompts, _scenes


def language_model(**changes):
    tokenizer = Language().tokenizer
    shape = {"n_layers": 2, "d_model": 14, "n_heads": 2, "n_ctx": 41}
    made = HookedGPT(
        GPTConfig(**(shape | {"d_vocab": tokenizer.vocab_size} | changes)),
        init=InitScales(token=0.5, position=0.4, qkv=0.5),
    )
    made.name, made.tokenizer = "tiny", tokenizer
    return made.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def suite():
    model = language_model()
    sets = [_prompts.random_prompts(model, 12, 0), _prompts.text_prompts(model, 12, 0)]
    return _scenes.suites(model, sets, 12, 0)[-1]


def scene_of(suite, role):
    (found,) = [scene for scene in suite.scenes if role in scene.pairs]
    return found


def words(row):
    return Language().tokenizer.str_tokens([int(token) for token in row])


def test_the_marked_places_are_what_the_language_says(suite):
    """Oracle: the language's exact next-word distribution."""
    from interp.corpus import lexicon

    scene, language = scene_of(suite, "agreement"), Language()
    form_of = {
        word: number
        for pair in lexicon.SYNONYMS
        for forms in pair
        for number, word in enumerate(forms)
    }
    for number, row in enumerate(scene.versions["prompt"]):
        query, key = (int(place) for place in scene.pairs["agreement"]["prompt"][number, 0])
        following = language.next_token_distribution(row[: query + 1].tolist())
        right, wrong = scene.asked.answers[number], scene.asked.rivals[number]
        assert following[right].sum() > 0
        assert following[wrong].sum() == 0
        form = form_of[words(row)[key]]
        singular = {verbs[0][0] for verbs in lexicon.TEMPER_VERBS.values()}
        assert bool(singular & set(words(right))) == (form == 0)
        other_query, other_key = (
            int(place) for place in scene.pairs["agreement"]["control"][number, 0]
        )
        assert other_query - other_key == query - key
        before = words(scene.versions["control"][number][:other_key])
        assert set(before) & set(form_of)  # the head stands before the other noun
    assert len(scene) > 3


def test_adjectives_are_asked_for_verbs_of_their_temper(suite):
    from interp.corpus import lexicon

    scene = scene_of(suite, "adjective_noun")
    for number, row in enumerate(scene.versions["prompt"]):
        said = words(row)
        (temper,) = [t for t, of in lexicon.TEMPERS.items() if set(of) & set(said)]
        form = int(said[-1].endswith("s") or said[-1] == "bunnies")
        expected = {verb[form] for verb in lexicon.TEMPER_VERBS[temper]}
        assert set(words(scene.asked.answers[number])) == expected
        assert len(scene.asked.rivals[number]) == 6


def test_names_are_replaced_in_the_control(suite):
    scene = scene_of(suite, "name_mover")
    for number, row in enumerate(scene.versions["prompt"]):
        query, key = (int(place) for place in scene.pairs["name_mover"]["prompt"][number, 0])
        assert row[key] == scene.asked.answers[number, 0]
        assert scene.versions["control"][number, key] != row[key]
        assert query == scene.asked.pos[number]


def test_successors_follow_the_week_and_end_at_twelve(suite):
    ids = Language().tokenizer.ids
    assert suite.successor[ids["sunday"]] == ids["monday"]
    assert suite.successor[ids["two"]] == ids["three"]
    assert suite.successor[ids["twelve"]] == -1


def test_losses_without_heads_are_those_of_a_model_without_them():
    """Oracle: the same model with the heads' output weights set to 0."""
    model = language_model()
    tokens = np.random.default_rng(0).integers(1, 60, (5, 13))
    found = causal.prompt_losses(model, tokens, [(0, 1), (1, 0)], "zero", 0)
    with torch.no_grad():
        for layer, head in ((0, 1), (1, 0)):
            model.blocks[layer].attn.W_O[head] = 0.0
    logits = model(torch.tensor(tokens)).double().log_softmax(-1)
    by_hand = [
        np.mean([-logits[row, place, tokens[row, place + 1]].item() for place in range(12)])
        for row in range(5)
    ]
    np.testing.assert_allclose(found, by_hand, atol=1e-5)


def test_other_ablations_change_nothing_where_prompts_are_equal():
    model = language_model()
    tokens = np.tile(np.arange(1, 12), (4, 1))
    intact = causal.prompt_losses(model, tokens, [], "zero", 0)
    for ablation in ("mean", "resample"):
        same = causal.prompt_losses(model, tokens, [(0, 0), (1, 1)], ablation, 0)
        np.testing.assert_allclose(same, intact, atol=1e-6)


def strengths(values):
    """Two layers of two heads; a row of values for each role."""
    return pd.DataFrame(
        [
            {"role": role, "layer": at // 2, "head": at % 2, "strength": value}
            for role, row in values.items()
            for at, value in enumerate(row)
        ]
    )


def test_matching_by_role_undoes_a_change_of_order():
    one = strengths({"induction": [4, 0, 1, 2], "local": [0, 3, 1, -2]})
    other = strengths({"induction": [2, 1, 0, 4], "local": [-7, 1, 3, 0]})  # the last one first
    found = causal.matched_heads(one, other).set_index("name")
    assert found["counterpart"].to_dict() == {
        "L0H0": "L1H1", "L0H1": "L1H0", "L1H0": "L0H1", "L1H1": "L0H0",
    }  # fmt: skip
    assert (found["distance"] == 0).all()
    # L0H0 against L0H0: |4 - 2| and |0 - 0| over two roles.
    assert found.loc["L0H0", "distance_by_index"] == 1.0


@pytest.mark.parametrize(
    "values, named, expected",
    [
        ([3, 2, 1], [True, False, False], 1.0),
        ([3, 2, 1], [False, True, False], 0.5),
        ([1, 1, 1], [True, False, True], 0.5),
        ([1, 2, 2], [True, False, False], 0.0),
    ],
)
def test_rank_auc_by_hand(values, named, expected):
    assert causal.rank_auc(np.array(values), np.array(named)) == expected


def test_published_heads_are_marked_as_published():
    frame = pd.DataFrame(
        {"role": "copy_suppression", "layer": np.repeat(np.arange(12), 12),
         "head": np.tile(np.arange(12), 12), "strength": 0.0}
    )  # fmt: skip
    frame["name"] = [f"L{a}H{b}" for a, b in zip(frame["layer"], frame["head"], strict=True)]
    frame.loc[frame["name"] == "L10H7", "strength"] = 1.0
    made = causal._published_table(frame)["published"]
    assert made.caption.startswith("PUBLISHED, not measured here")
    row = made.frame.iloc[0]
    assert (row["published_heads"], row["measured_best"], row["rank_auc"]) == ("L10H7", "L10H7", 1)
