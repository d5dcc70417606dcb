import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from oracles.tiny import PRIMES, tiny_model, tiny_tokens

from interp import measures, planted
from interp.core import InputError
from interp.core.processing import fold_ln
from interp.measures import circuits

EVERY = torch.arange(PRIMES["d_vocab"])


def test_folded_weights_are_those_of_fold_ln():
    model = tiny_model()
    folded = fold_ln(model)
    for own, theirs in zip(
        circuits.head_weights(model), circuits.head_weights(folded, fold_norm=False), strict=True
    ):
        torch.testing.assert_close(own, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("layer", [0, 2])
def test_a_token_alone_is_what_the_model_makes_of_it(norm, layer):
    """Oracle: a model without positions whose heads write nothing, run on one token."""
    model = tiny_model(norm=norm, positions="none")
    for block in model.blocks:
        block.attn.W_O_flat.zero_()
        block.attn.b_O.zero_()
    tokens = tiny_tokens()[0]
    found = circuits.token_inputs(model, layer, tokens)
    stream = model(tokens[:, None], stop_at_layer=min(layer, 1))[:, 0]
    if norm == "pre":
        stream = (stream - stream.mean(-1, keepdim=True)) / torch.sqrt(
            stream.var(-1, correction=0, keepdim=True) + model.config.eps
        )
    torch.testing.assert_close(found, stream, atol=1e-12, rtol=0)


def test_attention_only_models_have_no_first_mlp():
    model = tiny_model(d_mlp=0, norm="none")
    torch.testing.assert_close(circuits.token_inputs(model, 1, EVERY), model.W_E)


def test_ov_circuit_is_the_change_of_the_logits():
    """Without norms: logits of a head that attends to the token alone, next to none."""
    model = tiny_model(norm="none", positions="none", d_mlp=0)
    layer, head = 1, 3
    made = circuits.token_circuit(model, layer, head, "OV").product()
    attn = model.blocks[layer].attn
    expected = model.W_E.numpy() @ attn.W_V[head].numpy() @ attn.W_O[head].numpy()
    np.testing.assert_allclose(made.numpy(), expected @ model.W_U.numpy(), atol=1e-12)


def test_qk_circuit_is_the_score_without_biases():
    model = tiny_model(positions="none", d_mlp=0, n_layers=1)
    with torch.no_grad():
        model.blocks[0].attn.b_QKV.zero_()
        model.blocks[0].ln1.b.zero_()
    tokens = tiny_tokens(1, 11)
    _, cache = model.run_with_cache(tokens, names="blocks.0.attn.hook_attn_scores_raw")
    scores = cache["blocks.0.attn.hook_attn_scores_raw"][0, 2]
    made = circuits.token_circuit(model, 0, 2, "QK", tokens[0]).product()
    torch.testing.assert_close(made, scores, atol=1e-12, rtol=0)


def test_token_tables_are_sorted_rows_of_the_circuit():
    model = tiny_model()
    tokens = torch.tensor([3, 17])
    for name in ("OV", "QK"):
        columns = EVERY if name == "OV" else tokens
        full = circuits.token_circuit(model, 1, 4, name, tokens).product().numpy()
        found = measures.token_table(model, 1, 4, name, tokens, k=2, among=columns)
        for row, token in enumerate(tokens.tolist()):
            order = np.argsort(-full[row])
            of_token = found[found["token"] == token]
            assert of_token["best"].tolist() == [int(columns[i]) for i in order[:2]]
            np.testing.assert_allclose(of_token["value"], full[row][order[:2]], atol=1e-12)
            own = full[row][columns.tolist().index(token)]
            assert (of_token["own_rank"] == 1 + (full[row] > own).sum()).all()


def test_a_head_that_looks_for_itself_is_told_from_one_that_does_not():
    made = planted.plant("duplicate_token", seed=4, d_vocab=43)
    (at,) = made.key.find("duplicate_token")
    words = torch.arange(2, 43)
    frame = measures.self_matching(made.model, words, n_null=8).set_index(["layer", "head"])
    assert frame.loc[at, "self_top1"] == 1.0
    assert frame.loc[at, "self_z"] > frame.loc[at, "self_z_null_high"]
    random = measures.self_matching(tiny_model(d_vocab=101, d_model=53), torch.arange(101))
    inside = random["self_z"].between(
        random["self_z_null_low"] - 0.1, random["self_z_null_high"] + 0.1
    )
    assert inside.mean() > 0.7
    assert random["self_top1_null"].max() < 0.1


def by_statistics(model):
    """All numbers of this part of the library that must not depend on the basis inside a head."""
    weights = measures.head_weights(model)
    copying = measures.copying_scores(model, n_null=2).drop(columns=["label"])
    return {
        "copying": copying,
        "composition": measures.composition_table(model).drop(columns="kind"),
        "ranks": measures.rank_table(weights).drop(columns="circuit"),
        "spectra": measures.spectrum_table(weights).drop(columns="circuit"),
        "overlap": measures.write_overlap(model),
        "stability": measures.singular_stability(weights),
        "matching": measures.self_matching(model, EVERY, n_null=2),
        "readout": measures.singular_readout(
            model, model.W_E.numpy(), EVERY.numpy(), n_random=3, heads=[(0, 1), (2, 4)]
        ).drop(columns=["words", "p", "q", "null", "null_high"]),
        "low_rank": measures.low_rank_losses(
            model, tiny_tokens(3, 9).numpy(), tiny_tokens(2, 9, seed=1).numpy(), shares=(0.4,)
        ).drop(columns=["weight", "method", "layout"]),
    }


@settings(max_examples=3, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 10_000), st.integers(0, 3))
def test_no_number_depends_on_the_basis_inside_a_head(gauge, seed):
    """General invertible changes of basis, of queries with keys and of values with output."""
    model = tiny_model(seed=seed)
    other = measures.with_gauge(model, gauge)
    tokens = tiny_tokens()
    assert float((model(tokens) - other(tokens)).abs().max()) < 1e-9
    assert float((model.W_V - other.W_V).abs().max()) > 0.1
    mine, theirs = by_statistics(model), by_statistics(other)
    for name, frame in mine.items():
        np.testing.assert_allclose(
            theirs[name].to_numpy(dtype=float),
            frame.to_numpy(dtype=float),
            rtol=1e-6, atol=1e-7, err_msg=name,
        )  # fmt: skip


@settings(max_examples=3, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 10_000))
def test_no_number_depends_on_the_basis_of_the_stream(seed):
    """Without norms a rotation of the stream, with its readers and writers, changes nothing."""
    made = planted.plant("induction_k", seed=seed % 7, d_vocab=32)
    turned = planted.rotated(made, seed=seed).model
    for mine, theirs in (
        (measures.composition_table(made.model), measures.composition_table(turned)),
        (measures.write_overlap(made.model), measures.write_overlap(turned)),
        (
            measures.rank_table(measures.head_weights(made.model)),
            measures.rank_table(measures.head_weights(turned)),
        ),
    ):
        numbers = [f.select_dtypes("number").to_numpy(dtype=float) for f in (mine, theirs)]
        np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-6, atol=1e-6)
    names = ["eigenvalue_score", "diagonal_z", "top1", "top5", "bottom1"]
    mine, theirs = (measures.copying_scores(m, n_null=1)[names] for m in (made.model, turned))
    np.testing.assert_allclose(mine, theirs, atol=1e-7)


def test_gauges_leave_the_given_model_alone():
    model = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = measures.with_gauge(model, 1, orthogonal=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert other.W_E.data_ptr() == model.W_E.data_ptr()
    norms = [m.W_V.norm(dim=(-2, -1)) for m in (model, other)]
    torch.testing.assert_close(*norms)  # rotations keep lengths


def test_unknown_circuits_are_refused():
    with pytest.raises(InputError, match="QK and OV"):
        circuits.token_circuit(tiny_model(), 0, 0, "VO")
