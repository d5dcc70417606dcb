import numpy as np
import pytest
import torch
from oracles.tiny import PRIMES, tiny_model, tiny_tokens

from interp import measures
from interp.core import InputError
from interp.measures import simpler_matrices

FIT, TEST = tiny_tokens(4, 13, seed=2).numpy(), tiny_tokens(3, 13, seed=3).numpy()


@pytest.fixture(scope="module")
def losses():
    return measures.low_rank_losses(tiny_model(), FIT, TEST, shares=(0.0, 0.4, 1.0))


def test_window_losses_are_means_of_cross_entropy():
    model = tiny_model()
    logits = model(torch.as_tensor(TEST)).numpy()[:, :-1]
    top = logits.max(-1, keepdims=True)
    log_probs = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    picked = np.take_along_axis(log_probs, TEST[:, 1:, None], axis=-1)[..., 0]
    np.testing.assert_allclose(measures.window_losses(model, TEST), -picked.mean(1), atol=1e-12)


def test_all_directions_are_the_model_itself(losses):
    """Stacked W_O has more rows than the stream has directions, so its share of 1 is all."""
    whole = losses[losses["share"] == 1.0]
    assert (whole["delta"].abs() < 1e-9).all()
    assert set(whole["rank"]) == {PRIMES["n_heads"] * PRIMES["d_head"]}


def test_no_direction_is_a_layer_without_heads(losses):
    model = tiny_model()
    for block in model.blocks:
        block.attn.W_O_flat.zero_()
    expected = measures.window_losses(model, TEST).mean()
    none = losses[(losses["share"] == 0.0) & (losses["weight"] == "W_O")]
    np.testing.assert_allclose(none["loss"], expected, atol=1e-10)


def test_the_given_model_is_not_changed():
    model = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measures.low_rank_losses(model, FIT, TEST, shares=(0.3,))
    measures.storage_losses(model, TEST)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("layout", ["stacked", "per head"])
def test_activations_give_the_best_projection(layout):
    """No basis of the same size leaves less of what heads write: oracle, 200 random ones."""
    model = tiny_model()
    moments = simpler_matrices._moments(model, 1, FIT)
    attn = model.blocks[1].attn
    group = list(range(5)) if layout == "stacked" else [3]
    roots = [simpler_matrices._root(attn, h) for h in range(5)]
    made = simpler_matrices._directions(
        attn, "W_O", "activations", layout, moments, roots, torch.Generator()
    )
    basis = made[0 if layout == "stacked" else 3][:, :4]
    moment = simpler_matrices._of_heads(moments["z"], group, attn.d_head)
    W_O = attn.W_O[group].flatten(0, 1)

    def lost(kept):
        rest = W_O - W_O @ kept @ kept.T
        return float((rest.T @ moment @ rest).trace())

    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        drawn = torch.randn(23, 4, generator=generator, dtype=torch.float64)
        near = torch.linalg.qr(basis + 0.1 * drawn)[0]
        assert lost(basis) <= lost(near)


def test_moments_are_sums_over_positions():
    model = tiny_model()
    names = ["blocks.2.ln1.hook_normalized", "blocks.2.attn.hook_z"]
    _, cache = model.run_with_cache(torch.as_tensor(FIT), names=names)
    ln = model.blocks[2].ln1
    x = (cache[names[0]] * ln.w + ln.b).flatten(0, 1).numpy()
    z = cache[names[1]].flatten(2).flatten(0, 1).numpy()
    found = simpler_matrices._moments(model, 2, FIT)
    np.testing.assert_allclose(found["x"].numpy(), x.T @ x, rtol=1e-9)
    np.testing.assert_allclose(found["z"].numpy(), z.T @ z, rtol=1e-9)


def test_a_low_rank_model_loses_nothing_at_its_rank():
    """Heads of a layer that write to three directions together, and read their values with two."""
    model = tiny_model()
    generator = torch.Generator().manual_seed(0)
    frame = torch.linalg.qr(torch.randn(23, 3, generator=generator, dtype=torch.float64))[0]
    for block in model.blocks:
        block.attn.W_O_flat.copy_(block.attn.W_O_flat @ frame @ frame.T)
    share = 3 / 35
    losses = measures.low_rank_losses(model, FIT, TEST, shares=(share,))
    by = losses[losses["weight"] == "W_O"].set_index(["method", "layout"])["delta"]
    assert abs(by["activations", "stacked"]) < 1e-9
    assert abs(by["weights", "stacked"]) < 1e-9
    assert abs(by["random", "stacked"]) > 1e-4


def test_rounding_by_hand():
    """Three bits: the grid -3..3 times a third of the largest entry of the row."""
    row = torch.tensor([[[0.9, -0.32, 0.14, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    expected = torch.tensor([[[0.9, -0.3, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    torch.testing.assert_close(simpler_matrices._rounded(row, 3), expected)


def test_what_is_changed_and_how_much():
    weight = torch.randn(5, 7, 23, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    smallest = simpler_matrices._changed(weight, simpler_matrices.SMALLEST, 0.6, generator)
    n_gone = round(0.6 * weight.numel())
    assert int((smallest == 0).sum()) == n_gone
    assert weight[smallest == 0].abs().max() <= weight[smallest != 0].abs().min()
    anything = simpler_matrices._changed(weight, simpler_matrices.ANY, 0.6, generator)
    assert int((anything == 0).sum()) == n_gone
    assert weight[anything == 0].abs().max() > weight[anything != 0].abs().min()
    rounded = simpler_matrices._changed(weight, simpler_matrices.ROUNDED, 3.0, generator)
    noisy = simpler_matrices._changed(weight, simpler_matrices.NOISE, 3.0, generator)
    torch.testing.assert_close((noisy - weight).norm(dim=-1), (rounded - weight).norm(dim=-1))


def test_more_bits_and_fewer_zeros_cost_less():
    frame = measures.storage_losses(tiny_model(), TEST, bits=(2, 12), pruned=(0.0, 1.0))
    by = frame.set_index(["weight", "change", "amount"])["delta"].abs()
    for weight in ("W_O", "W_V"):
        assert (
            by[weight, simpler_matrices.ROUNDED, 12.0]
            < 0.01
            < by[weight, simpler_matrices.ROUNDED, 2.0]
        )
        assert by[weight, simpler_matrices.SMALLEST, 0.0] == 0
        assert (
            by[weight, simpler_matrices.SMALLEST, 1.0] == by[weight, simpler_matrices.ANY, 1.0] > 0
        )


def test_bad_input_is_refused():
    with pytest.raises(InputError, match=r"between 0 and 1; got \(2.0,\)"):
        measures.low_rank_losses(tiny_model(), FIT, TEST, shares=(2.0,))
    with pytest.raises(InputError, match="bits start at 2"):
        measures.storage_losses(tiny_model(), TEST, bits=(1,))
