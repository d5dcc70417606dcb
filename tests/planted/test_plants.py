"""Boards, zoos and models without a plant."""

import pytest
import torch

from interp.core import InputError
from interp.loading import load_model, save
from interp.planted import (
    TOKEN_PLANTS,
    WORD_PLANTS,
    AttentionFact,
    Board,
    Match,
    check,
    hide,
    measure,
    plant,
    random_model,
    shuffled_weights,
    zoo,
)
from interp.planted.registry import lay_out


def holds(planted):
    return [result for result in check(planted) if not result.holds] == []


# --- zoos ---


def test_a_zoo_of_everything():
    planted = zoo(TOKEN_PLANTS + WORD_PLANTS, n_ctx=13, d_vocab=53, seed=2)
    assert holds(planted)
    assert len(planted.key.recipes) == len(TOKEN_PLANTS + WORD_PLANTS)


@pytest.mark.parametrize("tiers", ["BC", "BCD"])
def test_a_hidden_zoo(tiers):
    recipes = ("lag_decoys", "induction_k", "duplicate_token", "bos_sink", "bias_sink", "anti_copy")
    recipes += ("successor", "trap_rank_one", "erasure_pair")
    planted = zoo(recipes, n_ctx=17, d_vocab=29, n_layers=3, seed=4)
    assert {a.layer for a in planted.key.heads if a.plant != "empty"} == {0, 1, 2}
    assert holds(hide(planted, tiers, seed=4))


def test_what_a_plant_does_in_a_zoo_is_what_it_does_alone():
    alone = plant("induction_k", n_ctx=19, d_vocab=23)
    together = zoo(("copy", "induction_k", "successor"), n_ctx=19, d_vocab=23)
    tokens = alone.prompts("induction_k:repeated_9").tokens
    for part in ("previous token", "induction"):
        patterns = []
        for planted in (alone, together):
            layer, head = planted.key.find("induction_k", part)[0]
            _, cache = planted.model.run_with_cache(tokens, f"blocks.{layer}.attn.hook_pattern")
            patterns.append(cache["pattern", layer][:, head])
        assert (patterns[0] - patterns[1]).abs().max() < 1e-12
    assert not any(fact.alone for fact in together.key.facts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plant("induction"), "no recipe 'induction'"),
        (lambda: zoo(("copy", "copy")), "once"),
        (lambda: zoo(()), "at least one"),
        (lambda: zoo(("copy", "fact_memory"), d_vocab=9), "need 14 token types"),
        (lambda: plant("copy", m=7, n_ctx=15), "enough for 14"),
        (lambda: plant("copy", d_head=5), "d_head=5, but these plants need"),
        (lambda: plant("copy", d_model=5), "d_model=5, but these plants need"),
        (lambda: plant("copy", n_layers=2, layers=(1, 2)), "do not lie in order"),
        (lambda: plant("lag_decoys", n_heads=2), "n_heads=2"),
        (lambda: plant("agreement", strategy="guess"), "neither"),
        (lambda: plant("induction_k", n_ctx=6), "3 or more"),
    ],
)
def test_impossible_plants(make, message):
    with pytest.raises(InputError, match=message):
        make()


# --- boards ---


def test_a_new_recipe_is_a_few_lines():
    """A head that attends to the third position, whatever stands there."""
    board = Board(d_vocab=11, n_ctx=7)
    with board.planting("third"):
        match = Match(14.0, {}, {board.P: board.P.eye}, bias=board.code(3))
        head = board.head(1, match, part="third", moves=(board.move(board.T, board.O),))
        prompts = board.family("random", "random", after=3)
        board.facts.append(AttentionFact(1.0, 1e-4, head, prompts, "position:3"))
    planted = board.build()
    assert holds(planted) and planted.model.config.n_layers == 2
    wrong = AttentionFact(0.0, 1e-4, head, prompts, "position:2")
    assert measure(planted, wrong) < 1e-4


def test_relations_that_do_not_exist():
    planted = plant("copy", n_ctx=9)
    for relation, message in (("lagg:2", "no relation"), ("lag:100", "has a target")):
        with pytest.raises(InputError, match=message):
            measure(planted, AttentionFact(0.0, 0.0, (1, 0), "copy:random", relation))


def test_two_plants_may_not_use_a_space_in_two_sizes():
    board = Board(d_vocab=11, n_ctx=7)
    lay_out(board, "copy")
    with pytest.raises(InputError, match="dimensions"):
        board.space("T", 5)


def test_unused_room_stays_empty():
    planted = plant("copy", n_heads=3, d_head=71, d_model=211, d_vocab=13, n_ctx=9)
    config = planted.model.config
    assert (config.n_heads, config.d_head, config.d_model) == (3, 71, 211)
    assert holds(planted)
    assert planted.model.W_O[:, 1:].norm() == 0.0


def test_single_precision():
    planted = zoo(("induction_k", "erasure_pair"), dtype=torch.float32, n_ctx=15)
    assert planted.model.W_E.dtype == torch.float32
    assert holds(planted) and holds(hide(planted, "BCD"))


def test_seeds_change_what_is_drawn_and_nothing_else():
    one, again, other = (plant("trap_triangular", seed=seed).model for seed in (1, 1, 2))
    assert torch.equal(one.W_V, again.W_V) and not torch.equal(one.W_V, other.W_V)
    assert torch.equal(one.W_Q, other.W_Q)


def test_a_planted_model_can_be_saved_and_loaded(tmp_path):
    planted = plant("fact_memory", dtype=torch.float32)
    save(planted.model, tmp_path / "planted")
    loaded = load_model(str(tmp_path / "planted"))
    tokens = planted.prompts("fact_memory:relation_0").tokens
    assert torch.equal(loaded(tokens), planted.model(tokens))
    assert loaded.tokenizer.encode("eiffel_tower") == planted.model.tokenizer.encode("eiffel_tower")


# --- nothing planted ---


def test_a_random_model_has_no_roles_and_lively_patterns():
    planted = random_model(d_vocab=37, n_ctx=29, n_heads=5, seed=3)
    key = planted.key
    assert len(key.heads) == 10 and not any(a.roles or a.allowed or a.traps for a in key.heads)
    assert key.facts == () and key.edges == ()
    tokens = planted.prompts("random").tokens
    _, cache = planted.model.run_with_cache(tokens)
    scores = torch.tril(cache.stack("attn_scores_raw"))
    assert 0.5 < float(scores[..., 10:, :10].std()) < 2.0
    quiet = random_model(loudness=0.02 * 8, seed=3)
    _, cache = quiet.model.run_with_cache(quiet.prompts("random").tokens)
    assert float(cache.stack("attn_scores_raw").std()) < 0.05


def test_a_random_model_without_positions_cannot_tell_an_order():
    model = random_model(positions="none", seed=1).model
    one, other = torch.tensor([[0, 3, 5, 7, 9]]), torch.tensor([[0, 5, 3, 7, 9]])
    name = "blocks.0.attn.hook_pattern"
    first, second = (model.run_with_cache(t, name)[1][name] for t in (one, other))
    assert torch.allclose(first[..., -1, 1], second[..., -1, 2])


@pytest.mark.parametrize("positions", ["learned", "none"])
def test_nothing_can_be_hidden_too(positions):
    null = random_model(positions=positions, n_heads=3, seed=2)
    for planted in (hide(null, "BDE"), shuffled_weights(null)):
        assert torch.isfinite(planted.model(planted.prompts("random").tokens)).all()
        assert not any(a.roles for a in planted.key.heads)


def test_shuffled_weights_are_the_same_numbers_without_the_circuit():
    planted = plant("induction_k", n_ctx=19)
    null = shuffled_weights(planted, seed=1)
    for (name, old), new in zip(
        planted.model.named_parameters(), null.model.parameters(), strict=True
    ):
        assert torch.equal(old.flatten().sort().values, new.flatten().sort().values), name
        assert torch.equal(old, new) == (old.norm() == 0), name
    _, head = planted.key.find("induction_k")
    fact = AttentionFact(0.0, 0.0, head, "induction_k:repeated_9", "after_same_token")
    assert measure(planted, fact) > 0.99 and measure(null, fact) < 0.5
    assert null.key.heads[0].plant == "none" and null.key.facts == ()
    assert not torch.equal(null.model.W_Q, shuffled_weights(planted, seed=2).model.W_Q)
