import numpy as np
import pytest
import torch

from interp.core import GPTConfig, HookedGPT, InitScales, InputError, hook_name
from interp.measures import (
    attention_pattern,
    attention_states,
    sources_of_preference,
    split_scores,
    stream_sources,
    weight_and_use,
)

LOUD = InitScales(0.7, 0.5, 0.4, 0.4, 0.5)


def loud_model(seed=0, **changes):
    sizes = {"n_layers": 3, "d_model": 10, "n_heads": 2, "d_head": 7, "n_ctx": 11, "d_vocab": 13}
    model = HookedGPT(GPTConfig(**{**sizes, **changes}), dtype=torch.float64, seed=seed, init=LOUD)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases and norms, so that none of them is idle
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.requires_grad_(False).eval()


TOKENS = np.array([3, 1, 4, 1, 5, 9, 2])

VARIANTS = {
    "gpt2": {},
    "no norm": {"norm": "none"},
    "no positions": {"positions": "none"},
    "attention only": {"d_mlp": 0},
    "unscaled": {"attn_scale": False},
    "scaled by layer": {"scale_by_inverse_layer": True},
    "both ways": {"mask": "none"},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("layer, head", [(0, 1), (2, 0)])
def test_terms_sum_to_the_score(changes, layer, head):
    """Oracle: the score that the forward pass computes from the whole stream."""
    model = loud_model(**changes)
    terms = attention_pattern(model, TOKENS, layer, head)
    _, cache = model.run_with_cache(torch.tensor(TOKENS)[None], hook_name("attn_scores_raw", layer))
    scores = cache["attn_scores_raw", layer][0, head]
    total = terms.groupby(["query_pos", "key_pos"])["term"].sum()
    n = len(TOKENS)
    assert len(total) == (n * n if changes.get("mask") else n * (n + 1) // 2)
    for (query, key), value in total.items():
        assert value == pytest.approx(scores[query, key].item(), abs=1e-10)


def test_a_term_is_the_product_of_two_sources_by_hand():
    """Oracle: the definition in NumPy, source by source, for layer 1 of two heads."""
    model, layer, head, query, key = loud_model(), 1, 1, 5, 2
    terms = attention_pattern(model, TOKENS, layer, head).set_index(
        ["query_pos", "key_pos", "query_source", "key_source"]
    )["term"]
    attn, first, ln1 = model.blocks[1].attn, model.blocks[0].attn, model.blocks[1].ln1
    _, cache = model.run_with_cache(torch.tensor(TOKENS)[None])
    pattern, v = cache["pattern", 0][0].numpy(), cache["v", 0][0].numpy()

    def share(source, pos, weight):
        if source == "token":
            written = model.W_E[TOKENS[pos]].numpy()
        elif source == "position":
            written = model.W_pos[pos].numpy()
        elif source == "L0H0":
            written = sum(
                pattern[0, pos, j] * (v[j, 0] - first.b_V[0].numpy()) @ first.W_O[0].numpy()
                for j in range(pos + 1)
            )
        elif source == "MLP0":
            written = cache["mlp_out", 0][0, pos].numpy() - model.blocks[0].mlp.b_out.numpy()
        resid = cache["resid_pre", 1][0, pos].numpy()
        scale = np.sqrt(resid.var() + model.config.eps)
        return ((written - written.mean()) / scale * ln1.w.numpy()) @ weight.numpy()

    for a in ("token", "position", "L0H0", "MLP0"):
        for b in ("token", "position", "L0H0", "MLP0"):
            expected = share(a, query, attn.W_Q[head]) @ share(b, key, attn.W_K[head]) / 7**0.5
            assert terms[query, key, a, b] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("layer", [0, 2])
def test_sources_sum_to_the_stream(layer):
    model = loud_model()
    tokens = torch.tensor(TOKENS)[None]
    names, parts, cache = stream_sources(model, tokens, layer)
    assert torch.allclose(parts.sum(0), cache["resid_pre", layer][0], atol=1e-12)
    assert names[:2] == ["token", "position"] and names[-1] == "bias"
    assert len(names) == 3 + layer * 3


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("most", [1, 3, 1000])
def test_a_split_sums_to_the_scores(changes, most):
    """Oracle: the score that the forward pass computes; allowed cells, no others."""
    model = loud_model(**changes)
    split = split_scores(model, TOKENS, 2, 1, query=4, most=most)
    _, cache = model.run_with_cache(torch.tensor(TOKENS)[None], hook_name("attn_scores_raw", 2))
    scores = cache["attn_scores_raw", 2][0, 1].numpy()
    allowed = np.ones_like(scores, bool) if changes.get("mask") else np.tri(len(TOKENS), dtype=bool)
    assert (np.isfinite(split.terms) == allowed).all() and (
        np.isfinite(split.score) == allowed
    ).all()
    np.testing.assert_allclose(split.terms.sum(0)[allowed], scores[allowed], atol=1e-10)
    np.testing.assert_allclose(split.score[allowed], scores[allowed], atol=1e-12)
    assert split.sources[-2:] == ["all other pairs", "bias of the keys"]
    assert len(split.sources) == len(split.terms) <= most + 2


def test_a_split_names_the_terms_of_the_whole_table():
    """Oracle: the table of all pairs, summed pair by pair."""
    model, query = loud_model(), 5
    split = split_scores(model, TOKENS, 1, 1, query=query, most=4)
    table = attention_pattern(model, TOKENS, 1, 1)
    terms = table.set_index(["query_source", "key_source", "query_pos", "key_pos"])["term"]
    spread = (
        table[(table["query_pos"] == query) & (table["key_source"] != "bias")]
        .groupby(["query_source", "key_source"])["term"]
        .agg(lambda t: t.max() - t.min())
        .sort_values(ascending=False)
    )
    assert split.sources[:4] == [f"{a} × {b}" for a, b in spread.index[:4]]
    for number, (a, b) in enumerate(spread.index[:4]):
        for q in range(len(TOKENS)):
            for k in range(q + 1):
                assert split.terms[number, q, k] == pytest.approx(terms[a, b, q, k], abs=1e-12)
    of_bias = table[table["key_source"] == "bias"].groupby(["query_pos", "key_pos"])["term"].sum()
    for (q, k), value in of_bias.items():
        assert split.terms[-1, q, k] == pytest.approx(value, abs=1e-12)


def test_states_are_what_the_forward_pass_holds():
    model = loud_model()
    states = attention_states(model, TOKENS)
    _, cache = model.run_with_cache(torch.tensor(TOKENS)[None])
    forbidden = ~np.tri(len(TOKENS), dtype=bool)
    for layer in range(3):
        raw = cache["attn_scores_raw", layer][0].numpy()
        np.testing.assert_array_equal(states["raw score"][layer], raw)
        masked = states["masked score"][layer]
        assert (masked[:, forbidden] == -np.inf).all()
        np.testing.assert_array_equal(masked[:, ~forbidden], raw[:, ~forbidden])
        exp = np.where(forbidden, 0, np.exp(raw))
        np.testing.assert_allclose(states["weight"][layer], exp / exp.sum(-1, keepdims=True))
    cells = weight_and_use(model, TOKENS).cells
    at = tuple(cells[c] for c in ("layer", "head", "query_pos", "key_pos"))
    np.testing.assert_allclose(states["norm-weighted"][at], cells["use"], atol=1e-12)


def test_the_key_bias_changes_no_preference():
    """b_K adds the same to all keys of a query; b_Q does not."""
    model = loud_model()
    before = attention_pattern(model, TOKENS, 1, 0)
    with torch.no_grad():
        model.blocks[1].attn.b_K.add_(2.0)
    after = attention_pattern(model, TOKENS, 1, 0)
    assert not np.allclose(before["score"], after["score"])
    assert np.allclose(before["weight"], after["weight"], atol=1e-12)
    with torch.no_grad():
        model.blocks[1].attn.b_Q.add_(2.0)
    changed = attention_pattern(model, TOKENS, 1, 0)
    assert not np.allclose(after["weight"], changed["weight"], atol=1e-3)


def test_a_preference_is_the_difference_of_two_scores():
    model = loud_model()
    terms = attention_pattern(model, TOKENS, 2, 1, queries=[6])
    assert set(terms["query_pos"]) == {6}
    why = sources_of_preference(terms, 6, 4, 1)
    score = terms.drop_duplicates("key_pos").set_index("key_pos")["score"]
    assert why["difference"].sum() == pytest.approx(score[4] - score[1], abs=1e-10)
    assert why["difference"].abs().is_monotonic_decreasing


def test_bad_calls_are_refused(no_type_checks):
    model = loud_model()
    with pytest.raises(InputError, match="no head L3H0"):
        attention_pattern(model, TOKENS, 3, 0)
    with pytest.raises(InputError, match="no position 7"):
        attention_pattern(model, TOKENS, 1, 0, queries=[7])
    with pytest.raises(InputError, match="one prompt"):
        attention_pattern(model, TOKENS[None], 1, 0)
    with pytest.raises(InputError, match="no sum"):
        attention_pattern(loud_model(norm="post"), TOKENS, 1, 0)
    with pytest.raises(InputError, match="no position -1"):
        split_scores(model, TOKENS, 1, 0, query=-1)
    with pytest.raises(InputError, match="no head L0H2"):
        split_scores(model, TOKENS, 0, 2, query=0)
    with pytest.raises(InputError, match="no score"):
        sources_of_preference(attention_pattern(model, TOKENS, 1, 0), 3, 5, 1)


def test_one_token_is_its_own_key():
    split = split_scores(loud_model(), TOKENS[:1], 1, 0, query=0)
    assert split.terms[:, 0, 0].sum() == pytest.approx(split.score[0, 0], abs=1e-12)
    terms = attention_pattern(loud_model(), TOKENS[:1], 1, 0)
    assert set(terms["weight"]) == {1.0} and np.isfinite(terms["term"]).all()
