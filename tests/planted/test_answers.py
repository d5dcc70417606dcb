import json
from dataclasses import replace

import pytest

from interp.core import InputError
from interp.planted import (
    RECIPES,
    ROLES,
    TOKEN_PLANTS,
    WORD_PLANTS,
    AnswerKey,
    check,
    hide,
    plant,
    zoo,
)
from interp.planted.board import Planted

SMALL = {"n_ctx": 19, "seed": 3}


@pytest.mark.parametrize("name", RECIPES)
def test_a_key_survives_json(name):
    for key in (plant(name).key, hide(plant(name), "CDE").key):
        again = AnswerKey.from_dict(json.loads(json.dumps(key.to_dict(), allow_nan=False)))
        assert again == key


def test_a_key_read_from_json_still_finds_its_plant():
    planted = hide(plant("adjective_noun"), "BD")
    key = AnswerKey.from_dict(json.loads(json.dumps(planted.key.to_dict())))
    again = Planted(planted.model, key, planted.read_scales)
    assert [r.measured for r in check(again)] == [r.measured for r in check(planted)]


def test_what_is_no_key():
    with pytest.raises(InputError, match="no answer key"):
        AnswerKey.from_dict({"recipes": ["copy"]})


@pytest.mark.parametrize("name", RECIPES)
def test_every_head_has_one_answer_made_of_known_roles(name):
    planted = plant(name, n_heads=6)
    config, key = planted.model.config, planted.key
    places = [(layer, head) for layer in range(config.n_layers) for head in range(6)]
    assert [a.at for a in key.heads] == places
    for a in key.heads:
        for roles in (a.roles, a.allowed, a.traps):
            assert set(roles) <= set(ROLES)
        assert not set(a.roles) & set(a.allowed) and not set(a.traps) & {*a.roles, *a.allowed}
        if a.plant == "empty":
            assert not (a.roles or a.allowed or a.traps or a.effect or a.attends)


def test_heads_are_found_by_plant_and_by_role():
    key = zoo(("lag_decoys", "induction_k", "copy_suppression"), n_ctx=32).key
    assert key.find("lag_decoys") == ((0, 0), (0, 1), (0, 2))
    assert key.find("induction_k") == ((0, 3), (1, 0))
    assert key.find("induction_k", "induction") == ((1, 0),)
    assert key.with_role("induction") == ((1, 0),)
    assert key.trapped_by("induction") == ((0, 0), (0, 1), (0, 2))
    assert key.with_role("duplicate_token") == ((0, 4),)
    # The heads that rest on BOS may be called first-token heads, so they are neither.
    assert (1, 0) not in key.without_role("first_token") + key.with_role("first_token")
    assert (0, 3) in key.without_role("induction")
    assert key.head((1, 0)).writes == "token"
    # A detector that asks for an effect must not confirm a head that has none.
    sink = plant("bos_sink").key
    assert sink.with_role("bos_sink") == ((0, 0),)
    assert sink.without_role("bos_sink", confirmed=True) == ((0, 0), (1, 0))
    assert sink.with_role("bos_sink", confirmed=True) == ()
    assert (0, 0) not in sink.without_role("bos_sink")
    with pytest.raises(InputError, match="no role"):
        key.with_role("inductoin")
    with pytest.raises(InputError, match="no head"):
        key.head((7, 0))


def test_all_roles_but_none_else_are_planted_somewhere():
    planted = {role for name in RECIPES for a in plant(name).key.heads for role in a.roles}
    assert planted == set(ROLES)
    assert set(TOKEN_PLANTS + WORD_PLANTS) == set(RECIPES)


def test_moving_heads_moves_all_that_is_said_about_them():
    key = plant("fact_memory", n_heads=2).key
    moved = key.moved({(1, 0): (1, 1), (1, 1): (1, 0)})
    assert moved.find("fact_memory", "relation 0") == ((1, 1),)
    for before, after in zip(key.facts, moved.facts, strict=True):
        if hasattr(before, "head"):
            assert after.head == (1, 1 - before.head[1])
        if hasattr(before, "lit"):
            assert before.lit[0] == after.lit[0] == ("mlp:0", "subject")
            assert {before.lit[1][0], after.lit[1][0]} == {"head:1.0", "head:1.1"}
    edges = plant("induction_k").key.moved({(0, 0): (0, 5), (1, 0): (1, 4)}).edges
    assert (edges[0].source, edges[0].target) == ((0, 5), (1, 4))


# --- the check of a key notices what is wrong with a model ---


def damaged(planted, change):
    """A copy of the planted model after a change to its weights."""
    copy = hide(planted, "E", sigma=0.0)
    change(copy.model)
    return replace(planted, model=copy.model)


def swap_queries_and_keys(model):
    for block in model.blocks:
        q, k = block.attn.W_Q.clone(), block.attn.W_K.clone()
        block.attn.W_Q.copy_(k)
        block.attn.W_K.copy_(q)


def drop_outputs(model):
    for block in model.blocks:
        block.attn.W_O_flat.zero_()


def forget_positions(model):
    model.pos_embed.W_pos.zero_()


def drop_query_biases(model):
    for block in model.blocks:
        block.attn.b_QKV.zero_()


def halve_scores(model):
    for block in model.blocks:
        block.attn.W_K.mul_(0.5)


DAMAGE = {
    "previous_token": [swap_queries_and_keys, forget_positions],
    "lag_decoys": [swap_queries_and_keys, forget_positions],
    "local": [swap_queries_and_keys, forget_positions],
    "induction_k": [swap_queries_and_keys, drop_outputs, drop_query_biases, halve_scores],
    "induction_q": [swap_queries_and_keys, drop_outputs, drop_query_biases, halve_scores],
    "duplicate_token": [forget_positions, drop_query_biases, halve_scores],
    "copy_suppression": [drop_outputs, forget_positions, drop_query_biases],
    "bos_sink": [drop_query_biases, swap_queries_and_keys],
    "position_sink": [drop_query_biases, forget_positions],
    "bias_sink": [drop_query_biases, drop_outputs],
    "copy": [swap_queries_and_keys, drop_outputs, forget_positions],
    "anti_copy": [swap_queries_and_keys, drop_outputs, forget_positions],
    "successor": [drop_outputs, forget_positions],
    "trap_rank_one": [drop_outputs, forget_positions],
    "trap_triangular": [swap_queries_and_keys, forget_positions],
    "erasure_pair": [drop_outputs, forget_positions],
    "redundant_pair": [drop_outputs, drop_query_biases, halve_scores],
    "adjective_noun": [drop_outputs, forget_positions, drop_query_biases, halve_scores],
    "name_mover": [drop_outputs, halve_scores, swap_queries_and_keys],
    "gender": [],
    "fact_memory": [drop_outputs, halve_scores, swap_queries_and_keys],
    "agreement": [drop_outputs, forget_positions, halve_scores],
}


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, changes in DAMAGE.items() for change in changes]
)
def test_a_damaged_plant_fails_its_check(name, change):
    planted = damaged(plant(name, **SMALL), change)
    results = check(planted)
    assert not all(result.holds for result in results)


def test_a_key_for_other_words_fails():
    planted = plant("gender")
    lexicon = planted.key.lexicon | {"male": planted.key.lexicon["male"][::-1]}
    results = check(replace(planted, key=replace(planted.key, lexicon=lexicon)))
    assert not all(result.holds for result in results)
