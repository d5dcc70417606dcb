from itertools import product

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from torch.utils.flop_counter import FlopCounterMode

from interp import measures
from interp.core import GPTConfig, HookedGPT, InputError
from interp.core.processing import fold_ln
from interp.measures import Readout
from tests.oracles.numpy_gpt import activations, gelu_new
from tests.oracles.tiny import PRIMES, tiny_model, tiny_tokens

IDS = np.array([3, 8, 1, 12, 30])
D_MODEL, D_VOCAB = PRIMES["d_model"], PRIMES["d_vocab"]


# ----------------------------------------------------------------------------- tying and bias


@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"tied": False, "unembed_bias": True}])
def test_folding_only_the_unembedding_is_folding_the_model(changes):
    model = tiny_model(**changes)
    folded, whole = measures.folded_unembedding(model), fold_ln(model)
    assert (folded.W_U - whole.W_U).abs().max() < 1e-12
    assert (folded.b_U - whole.b_U).abs().max() < 1e-12


def test_nothing_to_fold_is_an_error():
    with pytest.raises(InputError, match="nothing to fold"):
        measures.folded_unembedding(tiny_model(norm="post"))


def test_tying_is_seen_in_storage_and_gone_after_folding():
    frame = measures.tying(tiny_model()).set_index("weights")
    assert frame["same_storage"].tolist() == [True, False]
    assert frame.loc["raw", "largest_difference"] == 0
    assert frame.loc["raw", ["mean_cosine", "least_cosine"]].tolist() == pytest.approx([1, 1])
    model, whole = tiny_model(), fold_ln(tiny_model())
    W_E, W_U = model.W_E.numpy(), whole.W_U.numpy().T
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(W_E, W_U, strict=True)]
    assert frame.loc["folded", "mean_cosine"] == pytest.approx(np.mean(cosines))
    assert frame.loc["folded", "least_cosine"] == pytest.approx(min(cosines))
    assert frame.loc["folded", "largest_difference"] == pytest.approx(np.abs(W_E - W_U).max())
    size = D_MODEL * D_VOCAB
    assert frame["n_saved"].tolist() == [size, 0]
    assert frame["n_params"].tolist() == [model.n_params, model.n_params + size]


def test_equal_numbers_in_two_places_are_not_tied():
    model = tiny_model(tied=False)
    with torch.no_grad():
        model.unembed.W_U.copy_(model.W_E.T)
    frame = measures.tying(model).set_index("weights")
    assert not frame.loc["raw", "same_storage"]
    assert frame.loc["raw", "largest_difference"] == 0
    assert frame["n_saved"].tolist() == [0, 0]
    assert frame["n_params"].tolist() == [model.n_params] * 2
    assert measures.tying(tiny_model(norm="none"))["weights"].tolist() == ["raw"]


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, 57).astype(float)  # with ties
    y = x + rng.normal(size=57) * 4
    found = measures.rank_correlation(x, y, 999)
    expected = scipy.stats.spearmanr(x, y)
    assert found["rho"] == pytest.approx(expected.statistic)
    half = 1.959964 * np.sqrt((1 + found["rho"] ** 2 / 2) / 54)
    assert np.arctanh(found["ci_high"]) - np.arctanh(found["rho"]) == pytest.approx(half)
    assert found["ci_low"] < found["rho"] < found["ci_high"]
    assert found["null_high"] == pytest.approx(1.96 / np.sqrt(56), rel=0.2)
    assert found["null_low"] == pytest.approx(-1.96 / np.sqrt(56), rel=0.2)
    assert found["p"] == pytest.approx(expected.pvalue, abs=0.01)
    noise = measures.rank_correlation(rng.normal(size=57), rng.normal(size=57), 999)
    assert noise["p"] > 0.01
    turned = measures.rank_correlation(x, -y, 999)
    assert (turned["rho"], turned["p"]) == pytest.approx((-found["rho"], found["p"]), abs=0.01)


def test_constant_sides_have_no_correlation():
    found = measures.rank_correlation(np.ones(5), np.arange(5.0))
    assert np.isnan(found["rho"]) and np.isnan(found["p"]) and found["n"] == 5


@pytest.mark.parametrize("lengths", [(3, 3), (5, 6)])
def test_short_or_unequal_lists_are_refused(lengths, no_type_checks):
    with pytest.raises(InputError, match="at least 4"):
        measures.rank_correlation(*(np.arange(n, dtype=float) for n in lengths))


# -------------------------------------------------------------------------------- direct path


def by_hand(model, vector, mlp=False):
    """Oracle: one token, in NumPy, through the weights' own names."""
    weights = {name: value.numpy() for name, value in model.state_dict().items()}

    def norm(x, name):
        scale = np.sqrt(((x - x.mean()) ** 2).mean() + model.config.eps)
        return (x - x.mean()) / scale * weights[f"{name}.w"] + weights[f"{name}.b"]

    if mlp:
        hidden = norm(vector, "blocks.0.ln2") @ weights["blocks.0.mlp.W_in"]
        hidden = np.array([gelu_new(x) for x in hidden + weights["blocks.0.mlp.b_in"]])
        written = hidden @ weights["blocks.0.mlp.W_out"] + weights["blocks.0.mlp.b_out"]
        vector = vector + written
    return norm(vector, "ln_final") @ model.W_U.numpy()


def test_direct_paths_by_hand():
    model = tiny_model()
    paths = measures.direct_paths(model, IDS)
    assert list(paths) == ["W_E W_U", "W_E, norm, W_U", "W_E + MLP0, norm, W_U"]
    for row, token in enumerate(IDS):
        vector = model.W_E[token].numpy()
        raw = vector @ model.W_U.numpy()
        for path, expected in zip(
            paths.values(), (raw, by_hand(model, vector), by_hand(model, vector, True)), strict=True
        ):
            assert np.abs(path[row] - expected[IDS]).max() < 1e-10


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"d_mlp": 0}, ["W_E W_U", "W_E, norm, W_U"]),
        ({"norm": "none"}, ["W_E W_U", "W_E + MLP0, W_U"]),
        ({"norm": "post"}, ["W_E W_U", "W_E + MLP0, W_U"]),
    ],
)
def test_paths_of_other_shapes(changes, names):
    assert list(measures.direct_paths(tiny_model(**changes), IDS)) == names


def test_tied_paths_are_symmetric_and_untied_ones_are_not():
    tied, untied = (
        measures.direct_paths(tiny_model(tied=t), IDS)["W_E W_U"] for t in (True, False)
    )
    assert measures.antisymmetric_share(tied) < 1e-25
    assert measures.antisymmetric_share(untied) > 0.1


def test_antisymmetric_share_of_known_tables():
    rng = np.random.default_rng(1)
    one = rng.normal(size=(40, 40))
    assert measures.antisymmetric_share(one + one.T) == pytest.approx(0, abs=1e-25)
    assert measures.antisymmetric_share(one - one.T) == pytest.approx(1)
    assert measures.antisymmetric_share(rng.normal(size=(200, 200))) == pytest.approx(0.5, abs=0.02)
    # What depends on one side alone is no knowledge of pairs.
    lopsided = one + one.T + 50 * rng.normal(size=40)
    assert measures.antisymmetric_share(lopsided) == pytest.approx(0, abs=1e-20)
    assert measures.antisymmetric_share(np.ones((4, 4))) == 0


def pairs(seed=2, n=7):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, n)) * 2
    probs = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
    counts, held_out = (
        np.stack([rng.multinomial(3000, row) for row in probs]).astype(float) for _ in range(2)
    )
    counts[3], held_out[3] = 0, 0  # a token that nothing follows
    return truth, counts, held_out


def test_scores_of_paths_against_a_general_optimiser():
    """Oracle: SciPy's minimiser for the two weights, loops for losses and order."""
    truth, counts, held_out = pairs()
    rng = np.random.default_rng(3)
    paths = {"good": 5 * truth + 2, "noise": rng.normal(size=truth.shape)}
    scores = measures.path_scores(paths, counts, held_out)
    frequency = np.log(counts.sum(axis=0) + 0.01)

    def losses(logits, table):
        out = []
        for row, n in zip(logits, table, strict=True):
            log_p = row - np.log(np.exp(row - row.max()).sum()) - row.max()
            out.append(-(n @ log_p) / n.sum() if n.sum() else 0.0)
        return np.array(out)

    n, kept = counts.sum(axis=1), [0, 1, 2, 4, 5, 6]
    for name, path in paths.items():
        scaled = path / path.std()
        best = scipy.optimize.minimize(
            lambda w, s=scaled: n @ losses(w[0] * frequency + w[1] * s, counts), [1.0, 0.0]
        ).x
        here = scores[scores["path"] == name]
        assert here["source"].tolist() == kept
        assert here["path_weight"].iloc[0] == pytest.approx(best[1], abs=1e-3)
        alone = losses(np.tile(frequency, (7, 1)), held_out)
        gain = alone - losses(best[0] * frequency + best[1] * scaled, held_out)
        assert here["gain_nats"].to_numpy() == pytest.approx(gain[kept], abs=1e-4)
        more = counts + held_out
        for row in here.itertuples():
            right, asked = [], 0
            for j in range(7):
                if abs(more[row.source, j] - more[j, row.source]) >= 5:
                    asked += 1
                    says = path[row.source, j] > path[j, row.source]
                    right.append(says == (more[row.source, j] > more[j, row.source]))
            assert row.n_pairs == asked
            assert row.order == pytest.approx(np.mean(right))
    assert here["weight"].sum() == pytest.approx(1)
    good, noise = (scores[scores["path"] == name]["gain_nats"].mean() for name in paths)
    assert good > 0.3 and abs(noise) < 0.1


def test_controls_of_paths():
    truth, counts, held_out = pairs()
    scores = measures.path_scores({"good": truth}, counts, held_out)
    summary = measures.path_summary(scores, 199).set_index("path")
    assert list(summary.index) == ["good", "another token's row", "counted pairs"]
    assert summary.loc["another token's row", "gain_nats"] < 0.5 * summary.loc["good", "gain_nats"]
    assert summary.loc["counted pairs", "gain_nats"] == pytest.approx(
        summary.loc["good", "gain_nats"], abs=0.05
    )
    weighted = scores[scores["path"] == "good"]
    mean = (weighted["weight"] * weighted["gain_nats"]).sum()
    assert summary.loc["good", "gain_nats"] == pytest.approx(mean)
    order = np.average(weighted["order"], weights=weighted["n_pairs"])
    assert summary.loc["good", "order"] == pytest.approx(order)
    assert summary.loc["good", "n"] == 6
    assert summary.loc["good", "n_pairs"] == weighted["n_pairs"].sum() // 2
    assert summary.loc["good", "ci_low"] < mean < summary.loc["good", "ci_high"]


def test_a_symmetric_path_has_half_the_pairs_in_order():
    truth, counts, held_out = pairs()
    scores = measures.path_scores({"gram": truth @ truth.T}, counts, held_out)
    of_gram = scores[scores["path"] == "gram"]
    assert (of_gram["order"] == 0.5).all()
    assert (of_gram["n_pairs"] > 0).all()


def test_rows_are_exchanged_for_others():
    from interp.measures.unembedding import _exchanged

    table = np.arange(35.0).reshape(7, 5)
    for seed in range(5):
        other = _exchanged(table, seed)
        assert sorted(other[:, 0]) == sorted(table[:, 0])
        assert (other[:, 0] != table[:, 0]).all()


def test_tables_must_fit_and_texts_hold_pairs(no_type_checks):
    _, counts, held_out = pairs()
    with pytest.raises(InputError, match="same tokens"):
        measures.path_scores({"small": np.ones((3, 3))}, counts, held_out)
    with pytest.raises(InputError, match="without pairs"):
        measures.path_scores({"x": counts}, counts, 0 * held_out)


# ---------------------------------------------------------------------------------------- cost


def test_cost_is_what_pytorch_counts():
    model = tiny_model(mask="none")  # the whole square of scores, as the closed form counts it
    # With patterns asked for, scores and mixing are matrix products, which PyTorch counts.
    hooks = [(f"blocks.{layer}.attn.hook_pattern", lambda x, hook: None) for layer in range(3)]
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.run_with_hooks(tiny_tokens(1, 11), hooks)
    frame = measures.forward_cost(model.config, 11).set_index("part")
    assert 11 * frame["flops"].sum() == counter.get_total_flops()
    between = 4 * PRIMES["n_layers"] * PRIMES["n_heads"] * PRIMES["d_head"] * 11
    assert frame.loc["attention between positions", "flops"] == between
    assert frame["share"].sum() == pytest.approx(1)
    short = measures.forward_cost(model.config)
    assert short["flops"].sum() == frame["flops"].sum() - between


def test_gpt2s_unembedding_is_31_percent():
    frame = measures.forward_cost(measures.gpt2_config("gpt2")).set_index("part")
    assert frame.loc["unembedding", "flops"] == 2 * 38_597_376
    assert frame["flops"].sum() == 2 * (28_311_552 + 56_623_104 + 38_597_376)
    assert frame.loc["unembedding", "share"] == pytest.approx(77.2 / 247.1, abs=1e-3)


def test_sizes_of_gpt2_have_their_known_parameters():
    known = {"gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080}
    for name, n_params in known.items():
        with torch.device("meta"):
            model = HookedGPT(measures.gpt2_config(name), init=None, device="meta")
        assert model.n_params == n_params
    assert measures.gpt2_config("gpt2-xl").d_model == 1600


def test_costs_of_impossible_contexts_are_refused():
    for n_pos in (-1, PRIMES["n_ctx"] + 1):
        with pytest.raises(InputError, match="n_pos"):
            measures.forward_cost(tiny_model().config, n_pos)
    with pytest.raises(InputError, match="gpt2-medium"):
        measures.gpt2_config("gpt3")


# ---------------------------------------------------------------------------------------- rank


@pytest.mark.parametrize("changes", [{}, {"norm": "none"}, {"tied": False, "unembed_bias": True}])
def test_logit_tables_are_the_models(changes):
    model = tiny_model(**changes)
    tokens = tiny_tokens(4, 13, seed=5)
    logits, log_probs = measures.logit_tables(model, tokens.tolist(), IDS)
    expected = model(tokens).flatten(0, 1)
    assert np.abs(logits - expected[:, IDS].numpy()).max() < 1e-10
    assert np.abs(log_probs - expected.log_softmax(-1)[:, IDS].numpy()).max() < 1e-10


def test_the_rank_is_the_width_and_one_more_for_log_probabilities():
    config = GPTConfig(2, 11, 1, n_ctx=19, d_vocab=53)
    model = HookedGPT(config, dtype=torch.float32, seed=3).requires_grad_(False).eval()
    with torch.no_grad():
        model.ln_final.b += torch.randn(11)
    tokens = tiny_tokens(5, 17, d_vocab=53, seed=6)
    tables = measures.logit_tables(model, tokens.tolist(), np.arange(53))
    ranks = [measures.numeric_rank(measures.spectrum(t)["value"].to_numpy()) for t in tables]
    # Centring takes a dimension away and the norm's shift gives one back.
    assert ranks == [11, 12]
    assert ranks == [np.linalg.matrix_rank(t, rtol=1e-10) for t in tables]


def test_spectrum_of_a_known_table():
    frame = measures.spectrum(np.diag([2.0, 8.0, 0.0, 4.0]))
    assert frame["value"].tolist() == pytest.approx([1, 0.5, 0.25, 0])
    assert frame["index"].tolist() == [1, 2, 3, 4]
    assert measures.numeric_rank(frame["value"].to_numpy()) == 3
    assert measures.numeric_rank(np.array([4.0, 1.0, 0.5]), 0.2) == 2


# ------------------------------------------------------------------------------------ readouts


def test_readouts_by_hand():
    """Oracle: the NumPy GPT's streams, its logits recomputed with the change asked for."""
    model = tiny_model()
    tokens = tiny_tokens(3, 9, seed=7).numpy()
    rng = np.random.default_rng(8)
    W_U, shuffle = rng.normal(size=(D_MODEL, D_VOCAB)), rng.permutation(D_VOCAB)
    constant = np.log(rng.dirichlet(np.ones(D_VOCAB)))
    readouts = [
        Readout("plain", norm=False),
        Readout("other", W_U=torch.tensor(W_U)),
        Readout("layer", layer=1),
        Readout("shuffled", layer=2, shuffle=shuffle),
        Readout("blind", constant=constant),
    ]
    frame = measures.readout_effects(model, [tokens[:1], tokens[1:]], readouts, 2)
    frame = frame.set_index(["prompt", "readout"])
    own = model.W_U.numpy()

    def norm(x):
        scale = np.sqrt(((x - x.mean(-1, keepdims=True)) ** 2).mean(-1, keepdims=True) + 1e-5)
        return (x - x.mean(-1, keepdims=True)) / scale * model.ln_final.w.numpy() + (
            model.ln_final.b.numpy()
        )

    for prompt, row in enumerate(tokens):
        every = activations(model, row[:-1].tolist())
        last = every["blocks.2.hook_resid_post"]
        said = {
            "the model": every["logits"],
            "plain": last @ own,
            "other": norm(last) @ W_U,
            "layer": norm(every["blocks.1.hook_resid_pre"]) @ own,
            "shuffled": (norm(every["blocks.2.hook_resid_pre"]) @ own)[:, shuffle],
            "blind": np.tile(constant, (8, 1)),
        }
        log_p = {name: x - np.log(np.exp(x).sum(-1, keepdims=True)) for name, x in said.items()}
        truth = log_p["the model"]
        for name, q in log_p.items():
            expected = (
                (np.exp(truth) * (truth - q)).sum(-1).mean(),
                (truth.argmax(-1) == q.argmax(-1)).mean(),
                -q[np.arange(8), row[1:]].mean(),
            )
            assert frame.loc[(prompt, name)].tolist() == pytest.approx(expected, abs=1e-9)
    assert len(frame) == 3 * 6


@pytest.mark.parametrize(
    ("readouts", "message"),
    [
        ([Readout("x"), Readout("x")], "names of their own"),
        ([Readout("the model")], "names of their own"),
        ([Readout("x", layer=3)], "layers run from 0 to 2"),
    ],
)
def test_readouts_that_are_none_are_refused(readouts, message):
    with pytest.raises(InputError, match=message):
        measures.readout_effects(tiny_model(), [np.ones((1, 3), int)], readouts)


def test_readouts_need_targets():
    for windows in ([], [np.ones((2, 1), int)]):
        with pytest.raises(InputError, match="two tokens"):
            measures.readout_effects(tiny_model(), windows, [])


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_rounding_by_a_loop(bits):
    weights = torch.randn(5, 7, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    weights[2] = 0
    numbers, scales = measures.quantised_rows(weights, bits)
    top = 2 ** (bits - 1) - 1
    assert numbers.dtype == torch.int8
    for row, col in product(range(5), range(7)):
        scale = max(abs(x) for x in weights[row].tolist()) / top
        expected = round(weights[row, col].item() / scale) if scale else 0
        assert numbers[row, col].item() == expected
        assert scales[row, 0].item() == pytest.approx(scale)
    moved = (numbers * scales - weights).abs()
    assert (moved <= scales / 2 + 1e-12).all()
    assert numbers.abs().max() == top


@pytest.mark.parametrize("bits", [1, 9])
def test_other_numbers_of_bits_are_refused(bits):
    with pytest.raises(InputError, match="2 to 8 bits"):
        measures.quantised_rows(torch.ones(2, 2), bits)


def test_noise_is_as_long_as_the_change_row_by_row():
    weights = torch.randn(6, 50, generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    changed = weights + torch.arange(6)[:, None] * 0.1
    noisy = measures.equal_noise(weights, changed, 3)
    lengths = (noisy - weights).norm(dim=-1)
    assert lengths.tolist() == pytest.approx((changed - weights).norm(dim=-1).tolist())
    angle = ((noisy - weights)[5] @ (changed - weights)[5]) / lengths[5] ** 2
    assert abs(angle.item()) < 0.5
    assert not torch.equal(noisy, measures.equal_noise(weights, changed, 4))


def test_bytes_of_a_rounded_matrix():
    assert measures.stored_bytes(50_257, 768, 32) == 4 * 38_597_376
    assert measures.stored_bytes(50_257, 768, 8) == 38_597_376 + 4 * 50_257
    assert measures.stored_bytes(3, 3, 4) == 5 + 12
