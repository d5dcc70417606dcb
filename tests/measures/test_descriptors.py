import numpy as np
import pytest
import torch

from interp.core import GPTConfig, HookedGPT, InitScales, InputError, hook_name
from interp.measures import head_descriptors, lag_profile

LAYERS, HEADS, PROMPTS, POSITIONS = 2, 3, 5, 13


def loud_model(seed=0, **changes):
    sizes = {"n_layers": LAYERS, "d_model": 10, "n_heads": HEADS, "d_head": 7, "n_ctx": 17}
    config = GPTConfig(**{**sizes, "d_vocab": 19, **changes})
    model = HookedGPT(
        config, dtype=torch.float64, seed=seed, init=InitScales(1.0, 1.0, 0.5, 0.5, 0.5)
    )
    return model.requires_grad_(False).eval()


def windows(seed=0, n_pos=POSITIONS):
    return [np.random.default_rng(seed).integers(0, 19, (PROMPTS, n_pos))]


def patterns(model, ids):
    names = [hook_name(kind, layer) for kind in ("pattern", "v") for layer in range(LAYERS)]
    _, cache = model.run_with_cache(torch.tensor(ids), names)
    return cache.stack("pattern").numpy(), cache.stack("v").numpy()


def by_head(frame, layer, head):
    return frame[(frame["layer"] == layer) & (frame["head"] == head)].iloc[0]


def test_descriptors_match_loops_by_hand():
    model, ids = loud_model(), windows()[0]
    pattern, v = patterns(model, ids)
    frame = head_descriptors(model, [ids])
    for layer in range(LAYERS):
        for head in range(HEADS):
            row = by_head(frame, layer, head)
            W_O = model.blocks[layer].attn.W_O[head].numpy()
            weights, uses, entropies, lags = [], [], [], []
            for b in range(PROMPTS):
                for i in range(POSITIONS):
                    a = pattern[layer, b, head, i, : i + 1]
                    lags.append(sum(a[j] * (i - j) for j in range(i + 1)))
                    if i == 0:
                        continue
                    norms = [
                        a[j] * np.linalg.norm(v[layer, b, j, head] @ W_O) for j in range(i + 1)
                    ]
                    weights.append(a[0])
                    uses.append(norms[0] / sum(norms))
                    entropies.append(-sum(p * np.log(p) for p in a if p > 0) / np.log(i + 1))
            assert row["first_token_weight"] == pytest.approx(np.mean(weights), abs=1e-12)
            assert row["first_token_use"] == pytest.approx(np.mean(uses), abs=1e-10)
            assert row["relative_entropy"] == pytest.approx(np.mean(entropies), abs=1e-12)
            assert row["mean_lag"] == pytest.approx(np.mean(lags), abs=1e-12)
            assert row["n"] == PROMPTS


def test_variance_shares_match_a_regression_by_hand():
    """Oracle: least squares of all cells of all prompts on lag and position 0, by scikit-learn."""
    from sklearn.linear_model import LinearRegression

    model, ids = loud_model(), windows()[0]
    pattern, _ = patterns(model, ids)
    frame = head_descriptors(model, [ids])
    cells = [(i, j) for i in range(1, POSITIONS) for j in range(i + 1)]
    factors = np.array([[float(i - j == d) for d in range(POSITIONS)] + [float(j == 0)]
                        for i, j in cells])  # fmt: skip
    for row in frame.itertuples():
        values = np.array(
            [[prompt[i, j] for i, j in cells] for prompt in pattern[row.layer, :, row.head]]
        )
        fit = LinearRegression().fit(np.tile(factors, (PROMPTS, 1)), values.ravel())
        r2 = fit.score(np.tile(factors, (PROMPTS, 1)), values.ravel())
        assert row.positional_r2 == pytest.approx(r2, abs=1e-9)
        between = ((values - values.mean(0)) ** 2).mean() / values.var()
        assert row.between_prompts == pytest.approx(between, abs=1e-9)


def test_batches_and_lengths_change_nothing():
    model = loud_model()
    short, long = windows(1, 5)[0], windows(2, 11)[0]
    one = head_descriptors(model, [short, long], batch_size=2)
    apart = [head_descriptors(model, [w]) for w in (short, long)]
    for name in ("first_token_weight", "relative_entropy", "mean_lag", "between_prompts"):
        expected = (apart[0][name] + apart[1][name]) / 2  # equally many prompts
        assert np.allclose(one[name], expected, atol=1e-12)


def test_a_positional_head_varies_between_no_prompts():
    model = loud_model()
    with torch.no_grad():  # queries and keys of layer 0 see positions only
        model.embed.W_E.zero_()
    row = head_descriptors(model, windows()).iloc[0]
    assert row["between_prompts"] == pytest.approx(0, abs=1e-12)


def test_heads_that_write_nothing_use_nothing():
    model = loud_model()
    with torch.no_grad():
        model.blocks[1].attn.W_O[2] = 0.0
    row = by_head(head_descriptors(model, windows()), 1, 2)
    assert row["first_token_use"] == 0 and row["first_token_weight"] > 0


def test_lag_profile_matches_a_count_by_hand():
    model, ids = loud_model(), windows()[0]
    pattern, _ = patterns(model, ids)
    frame = lag_profile(model, [ids], longest_lag=3, batch_size=2)
    assert len(frame) == LAYERS * HEADS * 4
    for row in frame.itertuples():
        own = pattern[row.layer, :, row.head]
        expected = np.mean([[p[i, i - row.lag] for i in range(4, POSITIONS)] for p in own])
        assert row.attention == pytest.approx(expected, abs=1e-12)


def test_single_tokens_are_refused():
    model = loud_model()
    with pytest.raises(InputError, match="two tokens"):
        head_descriptors(model, windows(n_pos=1))
    with pytest.raises(InputError, match="at least 10 tokens"):
        lag_profile(model, windows(n_pos=9))
