import numpy as np
import pytest
import torch
from oracles.tiny import PRIMES, tiny_model

from interp import measures, planted
from interp.measures import composition
from interp.measures.circuits import HeadWeights, head_weights


def loop_scores(weights):
    """The definition, one pair at a time, on the full matrices."""
    W_Q, W_K, W_V, W_O = (part.numpy() for part in weights)
    n_layers, n_heads = W_Q.shape[:2]
    n = n_layers * n_heads
    scores = np.zeros((3, n, n))
    for s in range(n):
        for t in range(n):
            (a, b), (c, d) = divmod(s, n_heads), divmod(t, n_heads)
            if a >= c:
                continue
            ov, qk = W_V[a, b] @ W_O[a, b], W_Q[c, d] @ W_K[c, d].T
            for kind, read in enumerate((qk, qk.T, W_V[c, d] @ W_O[c, d])):
                scores[kind, s, t] = np.linalg.norm(ov @ read)
                scores[kind, s, t] /= np.linalg.norm(ov) * np.linalg.norm(read)
    return scores


@pytest.mark.parametrize("shape", [{}, {"d_head": 29}])
def test_scores_are_those_of_the_definition(shape):
    """Also with heads wider than the stream."""
    weights = head_weights(tiny_model(**shape))
    found = measures.composition_scores(weights).numpy()
    np.testing.assert_allclose(found, loop_scores(weights), atol=1e-12)


def test_scores_are_those_of_transformerlens():
    from transformer_lens import FactoredMatrix
    from transformer_lens.utilities.matrix import composition_scores

    weights = head_weights(tiny_model(), fold_norm=False)
    left = FactoredMatrix(weights.W_V, weights.W_O)
    qk = FactoredMatrix(weights.W_Q, weights.W_K.mT)
    n_layers, n_heads = weights.W_V.shape[:2]
    ours = measures.composition_scores(weights).view(3, n_layers, n_heads, n_layers, n_heads)
    for kind, right in enumerate((qk, qk.T, left)):
        theirs = composition_scores(left, right, broadcast_dims=True)
        for a in range(n_layers):
            for b in range(a + 1, n_layers):
                torch.testing.assert_close(ours[kind, a, :, b], theirs[a, :, b], atol=1e-12, rtol=0)


def test_a_head_of_zeros_composes_with_nobody():
    model = tiny_model()
    model.blocks[0].attn.W_O[1] = 0.0
    scores = measures.composition_scores(head_weights(model))
    assert (scores[:, 1] == 0).all() and scores.isfinite().all()
    assert np.isfinite(measures.composition_table(model).select_dtypes("number")).all().all()


def haar(size, generator):
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()


def test_the_rotation_null_has_the_mean_and_variance_of_the_formula():
    """Rotates the writing side of one head 4,000 times; spectra are far from flat."""
    generator = torch.Generator().manual_seed(3)
    d, k, many = 13, 5, 200
    shape = (2, 1, d, k)
    parts = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)]
    W_O = torch.randn(2, 1, k, d, generator=generator, dtype=torch.float64)
    weights = HeadWeights(*parts, W_O)
    copies = HeadWeights(*(part.expand(2, many, -1, -1) for part in weights))
    squares = []
    for _ in range(20):
        turned = copies.W_O.clone()
        for head in range(many):
            turned[0, head] = W_O[0, 0] @ haar(d, generator)
        scores = measures.composition_scores(copies._replace(W_O=turned))
        squares += (scores[1, :many, many] ** 2).tolist()
    squares = np.array(squares)
    assert squares.mean() == pytest.approx(1 / d, abs=4 * squares.std() / 4000**0.5)
    values = [weights.circuit(name).svd.S for name in ("OV", "QK")]
    a = composition._spread(values[0], d)[0]
    b = composition._spread(values[1], d)[1]
    expected = float(2 * a * b / (d - 1) / (d + 2)) ** 0.5
    assert squares.std() == pytest.approx(expected, rel=0.05)


def test_random_models_lie_at_the_null():
    frame = measures.composition_table(tiny_model(norm="none", n_layers=4, d_model=43))
    assert (frame["times_chance"] ** 2).mean() == pytest.approx(1, abs=0.03)
    assert abs(frame["z"].mean()) < 0.25 and 0.8 < frame["z"].std() < 1.25
    assert abs(frame["overlap_z"].mean()) < 0.25 and 0.8 < frame["overlap_z"].std() < 1.25
    high = (frame["times_chance"] > frame["null_high"]).mean()
    assert high < 0.06


@pytest.mark.parametrize("recipe", ["induction_k", "induction_q"])
@pytest.mark.parametrize(("seed", "d_vocab"), [(11, 37), (12, 41)])
def test_planted_composition_is_found(recipe, seed, d_vocab):
    """The planted edge has the answer key's score; its other kinds have none."""
    made = planted.plant(recipe, seed=seed, d_vocab=d_vocab, n_heads=3)
    (edge,) = made.key.edges
    frame = measures.composition_table(planted.rotated(made, seed=seed).model)
    pair = frame[
        (frame["source_layer"] == edge.source[0])
        & (frame["source_head"] == edge.source[1])
        & (frame["layer"] == edge.target[0])
        & (frame["head"] == edge.target[1])
    ].set_index("kind")
    assert pair["score"][edge.via] == pytest.approx(edge.score, abs=1e-6)
    assert pair["overlap"][edge.via] == pytest.approx(1.0, abs=1e-6)
    assert pair["z"][edge.via] > 10
    others = [kind for kind in "QKV" if kind != edge.via]
    assert (pair["score"][others] < 1e-6).all() and (pair["overlap"][others] < 1e-6).all()
    assert frame.loc[frame["z"].idxmax(), "kind"] == edge.via


def test_top_subspaces_keep_ties_together():
    values = torch.tensor([[4.0, 2.0, 2.0, 1e-9], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    vectors = torch.eye(4, dtype=torch.float64).expand(2, 4, 4)
    # 16 of 24 is 67 %; 70 % asks for one of two equal values, and so for both.
    assert composition.top_subspaces(vectors, values, 0.7).ranks.tolist() == [3, 4]
    assert composition.top_subspaces(vectors, values, 0.6).ranks.tolist() == [1, 4]
    assert composition.top_subspaces(vectors, values, 1.0).ranks.tolist() == [3, 4]


def test_overlap_is_the_mean_squared_cosine():
    """Oracle: SciPy's principal angles."""
    import scipy.linalg

    weights = head_weights(tiny_model())
    frame = measures.write_overlap(tiny_model())
    row = frame[(frame["layer"] == 0) & (frame["other_layer"] == 2)].iloc[7]
    spaces = [
        weights.W_O[int(row[a]), int(row[b])].T.numpy()
        for a, b in (("layer", "head"), ("other_layer", "other_head"))
    ]
    cosines = np.cos(scipy.linalg.subspace_angles(*spaces))
    assert row["overlap"] == pytest.approx((cosines**2).mean(), abs=1e-10)
    assert row["null"] == pytest.approx(PRIMES["d_head"] / PRIMES["d_model"])
    assert len(frame) == 15 * 14 / 2


def test_overlap_null_is_that_of_transformerlens():
    from transformer_lens.tools.analysis.projection_kernel import (
        random_projection_kernel_moments,
    )

    d, k = 23, 7
    generator = torch.Generator().manual_seed(0)
    bases = torch.stack([haar(d, generator)[:, :k] for _ in range(2)])
    space = composition.Bases(bases, torch.tensor([k, k]))
    overlap, null, z = composition.subspace_overlap(space, space)
    theirs = random_projection_kernel_moments(d, k)
    assert float(null[0, 1]) * k == pytest.approx(theirs.mean)
    sd = (float(overlap[0, 1]) - float(null[0, 1])) / float(z[0, 1])
    assert (sd * k) ** 2 == pytest.approx(theirs.variance)


def test_bad_circuit_names_are_refused():
    from interp.core import InputError

    with pytest.raises(InputError, match="not 'KQ'"):
        head_weights(tiny_model()).circuit("KQ")
