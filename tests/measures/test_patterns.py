import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from interp.core import GPTConfig, HookedGPT, InitScales, InputError
from interp.measures import js_nats, pattern_divergence, pattern_sums, weight_and_use

LAYERS, HEADS, POSITIONS = 2, 3, 7


def loud_model(**changes):
    shape = {"n_layers": LAYERS, "d_model": 15, "n_heads": HEADS, "n_ctx": 13, "d_vocab": 37}
    config = GPTConfig(**(shape | changes))
    loud = InitScales(token=0.7, position=0.5, qkv=0.6)
    return HookedGPT(config, dtype=torch.float64, init=loud).requires_grad_(False).eval()


def tokens(n_prompts=5, seed=0):
    return np.random.default_rng(seed).integers(0, 37, (n_prompts, POSITIONS))


def patterns(model, ids):
    _, cache = model.run_with_cache(torch.tensor(ids))
    return cache.stack("pattern").numpy()  # layer batch head query key


def test_js_is_scipys_distance_squared():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(11), 5), rng.dirichlet(np.ones(11), 5)
    expected = [jensenshannon(a, b) ** 2 for a, b in zip(p, q, strict=True)]
    assert js_nats(torch.tensor(p), torch.tensor(q)).tolist() == pytest.approx(expected, abs=1e-12)


def test_js_of_equal_and_of_disjoint_rows():
    p, q = torch.tensor([0.3, 0.7, 0.0]).double(), torch.tensor([0.0, 0.0, 1.0]).double()
    assert js_nats(p, p) == 0
    assert js_nats(p, q).item() == pytest.approx(math.log(2))


def test_sums_of_a_softmax_and_of_its_other_axis():
    model, ids = loud_model(), tokens()
    frame = pattern_sums(model, ids, batch_size=2)
    pattern = patterns(model, ids)
    assert frame["layer"].tolist() == [0, 1]
    assert (frame["row_deviation"] < 1e-12).all()
    assert (frame["n_rows"] == 5 * HEADS * POSITIONS).all()
    # Prompts count alike, although the last batch is smaller.
    columns = abs(pattern.sum(axis=-2) - 1).mean(axis=(1, 2, 3))
    assert frame["column_deviation"].to_numpy() == pytest.approx(columns, abs=1e-12)
    assert frame["largest"].tolist() == pytest.approx(pattern.max(axis=(1, 2, 3, 4)))


def test_divergence_matches_a_count_by_hand():
    model, ids = loud_model(), tokens(4)
    found = pattern_divergence(model, ids, n_pairs=2)
    pattern = patterns(model, ids)

    def js(a, b):  # over the queries that have a choice
        return np.mean([jensenshannon(a[i], b[i]) ** 2 for i in range(1, POSITIONS)])

    for row in found.pairs.itertuples():
        a, b = pattern[row.layer_a, :, row.head_a], pattern[row.layer_b, :, row.head_b]
        if (row.layer_a, row.head_a) == (row.layer_b, row.head_b):
            expected = np.mean([js(a[0], a[1]), js(a[2], a[3])])
        else:
            expected = np.mean([js(a[prompt], b[prompt]) for prompt in range(4)])
        assert row.js_nats == pytest.approx(expected, abs=1e-12)
    assert len(found.pairs) == (LAYERS * HEADS) ** 2
    pairs = found.pairs
    same = (pairs["layer_a"] == pairs["layer_b"]) & (pairs["head_a"] == pairs["head_b"])
    assert found.units["two_heads_nats"].mean() == pytest.approx(pairs["js_nats"][~same].mean())
    assert found.units["one_head_nats"].mean() == pytest.approx(pairs["js_nats"][same].mean())
    assert len(found.units) == 2


def test_divergence_needs_two_prompts():
    with pytest.raises(InputError, match="compared between two prompts"):
        pattern_divergence(loud_model(), tokens(1))


def test_use_is_weight_times_the_size_of_what_is_written():
    """Oracle: the norm of each source's own write, one cell at a time."""
    model, ids = loud_model(), tokens(1)[0]
    found = weight_and_use(model, ids)
    _, cache = model.run_with_cache(torch.tensor(ids)[None])
    for layer in range(LAYERS):
        pattern, value = cache["pattern", layer][0].numpy(), cache["v", layer][0].numpy()
        W_O = model.blocks[layer].attn.W_O.numpy()
        for head in range(HEADS):
            cells = found.cells[(found.cells["layer"] == layer) & (found.cells["head"] == head)]
            assert len(cells) == POSITIONS * (POSITIONS + 1) / 2  # the causal half
            norms = [np.linalg.norm(value[j, head] @ W_O[head]) for j in range(POSITIONS)]
            for cell in cells.itertuples():
                row = [pattern[head, cell.query_pos, j] * norms[j] for j in range(POSITIONS)]
                assert cell.weight == pytest.approx(pattern[head, cell.query_pos, cell.key_pos])
                assert cell.use == pytest.approx(row[cell.key_pos] / sum(row))


def test_summary_of_weight_and_use():
    found = weight_and_use(loud_model(), tokens(1)[0])
    cells = found.cells[found.cells["query_pos"] > 0]
    for row in found.heads.itertuples():
        own = cells[(cells["layer"] == row.layer) & (cells["head"] == row.head)]
        moved = (own["weight"] - own["use"]).abs().sum() / 2 / (POSITIONS - 1)
        assert row.moved == pytest.approx(moved)
        first = own[own["key_pos"] == 0]
        assert row.first_token_weight == pytest.approx(first["weight"].mean())
        assert row.first_token_use == pytest.approx(first["use"].mean())


def test_a_head_that_writes_nothing_uses_nothing():
    model = loud_model()
    model.blocks[1].attn.W_O[2] = 0
    heads = weight_and_use(model, tokens(1)[0]).heads
    dead = heads[(heads["layer"] == 1) & (heads["head"] == 2)].iloc[0]
    assert (dead["moved"], dead["first_token_use"]) == (1, 0)
    assert not heads.isna().any().any()


def test_unmasked_models_show_every_cell():
    found = weight_and_use(loud_model(mask="none"), tokens(1)[0])
    assert len(found.cells) == LAYERS * HEADS * POSITIONS**2


def test_weight_and_use_need_two_tokens():
    with pytest.raises(InputError, match="at least two tokens"):
        weight_and_use(loud_model(), np.array([3]))
