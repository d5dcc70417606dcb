import numpy as np
import pytest
import torch
from oracles.tiny import PRIMES, tiny_model

from interp import measures, planted
from interp.core import InputError
from interp.measures import circuits, copying
from interp.measures.circuits import token_circuit
from interp.planted.lexicon import N_SPECIAL

PLANTS = ("copy", "anti_copy", "successor", "trap_rank_one", "trap_triangular")
LABELS = {
    "copy": "copying",
    "anti-copy": "anti-copying",
    "successor": "successor",
    "rank one": "eigenvalues only",
    "triangular": "none",
    "empty": "none",
}


def zoo_scores(tiers, **options):
    made = planted.zoo(PLANTS, **options)
    if tiers:
        made = planted.hide(made, tiers, seed=options["seed"])
    key = made.key
    frame = measures.copying_scores(
        made.model,
        words=np.arange(N_SPECIAL, key.d_vocab),
        successor=np.array(key.tables["successor"]),
        seed=options["seed"],
    )
    answers = [key.head(at) for at in zip(frame["layer"], frame["head"], strict=True)]
    return frame.assign(part=[a.part for a in answers], plant=[a.plant for a in answers])


@pytest.mark.parametrize(
    ("tiers", "options"),
    [
        ("", {"d_vocab": 37, "seed": 21}),
        ("B", {"d_vocab": 53, "seed": 22, "n_ctx": 24}),
        ("BC", {"d_vocab": 41, "seed": 23, "n_layers": 3}),
    ],
)
def test_copy_anti_copy_successor_and_both_traps_are_told_apart(tiers, options):
    frame = zoo_scores(tiers, **options).set_index("part")
    for part, label in LABELS.items():
        assert set(frame.loc[[part], "label"]) == {label}, part
    assert frame.loc["copy", "eigenvalue_score"] == pytest.approx(1, abs=1e-6)
    assert frame.loc["anti-copy", "eigenvalue_score"] == pytest.approx(-1, abs=1e-6)
    assert frame.loc["rank one", "top1"] == pytest.approx(0.38, abs=0.02)
    if "C" not in tiers:  # a norm divides every token by a length of its own
        assert frame.loc["rank one", "eigenvalue_score"] == pytest.approx(1, abs=1e-6)
        assert frame.loc["successor", "eigenvalue_score"] == pytest.approx(0, abs=1e-6)
        assert frame.loc["triangular", "eigenvalue_score"] == pytest.approx(0, abs=1e-6)
    assert frame.loc["successor", "successor"] == 1.0
    assert frame.loc["successor", "successor_control"] == 0.0


def test_statistics_are_those_of_the_answer_key():
    made = planted.plant("anti_copy", seed=8, d_vocab=32)
    (head,) = made.key.find("anti_copy")
    frame = measures.copying_scores(made.model, n_null=1).set_index(["layer", "head"])
    facts = {fact.statistic: fact.value for fact in made.key.facts if hasattr(fact, "statistic")}
    assert frame.loc[head, "diagonal_z"] == pytest.approx(facts["diagonal_z"], abs=1e-9)
    assert facts["diagonal_z"] == pytest.approx(-5.48, abs=0.005)
    assert frame.loc[head, "eigenvalue_score"] == pytest.approx(-1)


def loop_statistics(matrix, successor):
    """Everything from the full matrix over tokens, one row at a time."""
    eigenvalues = np.linalg.eigvals(matrix)
    top1 = top5 = bottom = 0
    steps, control = [], []
    back = {int(b): a for a, b in enumerate(successor) if b >= 0}
    for token, row in enumerate(matrix):
        order = np.argsort(-row).tolist()
        top1 += order[0] == token
        top5 += token in order[:5]
        bottom += order[-1] == token
        if successor[token] >= 0:
            one = int(successor[token])
            steps.append(order[0] == one)
            less = back.get(token, -1)
            others = [int(successor[one]), less, back.get(less, -1)]
            control += [order[0] == other for other in others if other >= 0]
    n = len(matrix)
    return {
        "eigenvalue_score": eigenvalues.real.sum() / np.abs(eigenvalues).sum(),
        "diagonal_z": (np.diag(matrix).mean() - matrix.mean()) / matrix.std(),
        "top1": top1 / n,
        "top5": top5 / n,
        "bottom1": bottom / n,
        "successor": np.mean(steps),
        "successor_control": np.mean(control),
    }


@pytest.mark.parametrize("norm", ["pre", "none"])
def test_statistics_are_those_of_the_full_matrix(norm):
    model = tiny_model(norm=norm)
    # The heads write along single tokens' unembeddings, so that ranks are not all of no token.
    with torch.no_grad():
        model.blocks[1].attn.W_O[2] += model.W_V[1, 2].T * 2
    successor = np.full(PRIMES["d_vocab"], -1)
    successor[4:20] = np.arange(5, 21)
    frame = measures.copying_scores(model, successor=successor, n_null=1)
    for row in frame.itertuples():
        matrix = token_circuit(model, row.layer, row.head, "OV").product().numpy()
        for name, value in loop_statistics(matrix, successor).items():
            assert getattr(row, name) == pytest.approx(value, abs=1e-9), name
    assert frame["top5"].max() > 0


def test_chunks_of_tokens_and_heads_do_not_matter(monkeypatch):
    model = tiny_model()
    whole = measures.copying_scores(model, n_null=2)
    for name, size in (("SOURCES_AT_ONCE", 3), ("HEADS_AT_ONCE", 1)):
        monkeypatch.setattr(copying, name, size)
    monkeypatch.setattr(circuits, "TOKENS_AT_ONCE", 7)
    again = measures.copying_scores(model, n_null=2)
    numbers = whole.select_dtypes("number").columns
    np.testing.assert_allclose(whole[numbers], again[numbers], atol=1e-10)


def test_the_null_keeps_singular_values_and_loses_the_diagonal():
    model = tiny_model(d_vocab=211, norm="none")
    frame = measures.copying_scores(model, n_null=40)
    middle = (frame["diagonal_z_null_low"] + frame["diagonal_z_null_high"]) / 2
    assert (middle.abs() < 0.1).all()
    assert (frame["top1_null_high"] <= 0.05).all()
    inside = frame["eigenvalue_score"].between(
        frame["eigenvalue_score_null_low"], frame["eigenvalue_score_null_high"]
    )
    assert inside.mean() > 0.7
    assert (frame["label"] == "none").all()


def test_random_frames_are_orthonormal_and_have_no_sign_of_their_own():
    """QR alone gives columns whose first entries are mostly of one sign."""
    model = tiny_model()
    words = torch.arange(PRIMES["d_vocab"])
    run = copying._Run(model, words, None, None, 150, torch.Generator().manual_seed(0))
    frames = torch.stack([frame for pair in run.frames for frame in pair])
    torch.testing.assert_close(
        frames.mT @ frames, torch.eye(7, dtype=torch.float64).expand(300, 7, 7)
    )
    diagonal = frames[:, :7].diagonal(dim1=1, dim2=2)
    assert abs(float((diagonal > 0).double().mean()) - 0.5) < 0.05


def test_sources_are_drawn_where_there_are_many():
    model = tiny_model(d_vocab=1100, d_model=11, n_layers=1)
    frame = measures.copying_scores(model, n_null=1)
    assert set(frame["n"]) == {copying.N_SOURCES}
    every = measures.copying_scores(model, n_null=1, n_sources=5000)
    assert set(every["n"]) == {1100}
    # The exact statistics do not depend on the sources.
    np.testing.assert_allclose(frame["diagonal_z"], every["diagonal_z"])


def test_single_precision_gives_the_same():
    model = tiny_model()
    double = measures.copying_scores(model, n_null=1)
    single = measures.copying_scores(model.float(), n_null=1)
    np.testing.assert_allclose(single["diagonal_z"], double["diagonal_z"], atol=1e-4)
    np.testing.assert_allclose(single["top5"], double["top5"], atol=0.04)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="n_null=0"):
        measures.copying_scores(tiny_model(), n_null=0)
    with pytest.raises(InputError, match="no words"):
        measures.copying_scores(tiny_model(), words=np.array([], dtype=int))
