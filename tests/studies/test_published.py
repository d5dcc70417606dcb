"""`interp verify --published`: rows by hand, readings on plants, and GPT-2's exact shape."""

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from oracles.tiny import tiny_model

from interp import cli, planted
from interp.core import GPTConfig, HookedGPT, InputError
from interp.loading import TextTokenizer, save
from studies import _published, _published_rows
from studies._published import Row

GPT2_TOKENIZER = Path(__file__).parents[2].parent / "shared" / "gpt2-tokenizer"
TINY = _published.Sizes(1, 7, 2, 24, 2, 2)


# ------------------------------------------------------------------------------- the judgement


@pytest.mark.parametrize(
    "row, expected",
    [
        (Row("s", "w", 3.5521, 3.5540, tolerance=2e-3), "yes"),
        (Row("s", "w", 3.5521, 3.5542, tolerance=2e-3), "no"),
        (Row("s", "w", 3.5521, 3.5500, tolerance=2e-3), "no"),
        (Row("s", "w", 3.5521, 3.5502, tolerance=2e-3), "yes"),
        (Row("s", "w", 0.9, 0.91, "at least"), "yes"),
        (Row("s", "w", 0.9, 0.89, "at least"), "no"),
        (Row("s", "w", 0.2, 0.21, "at most"), "no"),
        (Row("s", "w", 0.2, 0.19, "at most"), "yes"),
        (Row("s", "w", 3.56, 3.56), "not judged"),
        (Row("s", "w", 3.56, math.nan, tolerance=1.0), "no"),
        (Row("s", "w", 0.9, math.nan, "at least"), "no"),
    ],
)
def test_agreement_by_hand(row, expected):
    assert row.agrees == expected


def frame_of(*rows):
    return pd.DataFrame([dataclasses.asdict(row) | {"agrees": row.agrees} for row in rows])


@pytest.mark.parametrize(
    "measured, code, said",
    [
        ((5.3, 0.0), 0, "everything that is judged agrees"),
        ((9.3, 0.0), 1, "NOT what is published for OpenAI's weights"),
        ((5.3, 0.1), 1, "an identity that fails is a fault of the code"),
    ],
)
def test_exit_code_and_sentence(monkeypatch, capsys, tmp_path, measured, code, said):
    rows = (
        Row("loading", "loss", 5.33, measured[0], tolerance=0.05, source="tests"),
        Row("loading", "identity", 1e-6, measured[1], "at most", kind="identity"),
        Row("patching", "other", 3.56, 0.1, note="our sentences"),
    )
    monkeypatch.setattr(_published, "run", lambda model, progress=None: frame_of(*rows))
    model = SimpleNamespace(name="gpt2")
    assert _published.main(model, tmp_path) == code
    out = capsys.readouterr().out
    assert said in out
    assert "[tests]" in out and "published 5.3300 ±0.05" in out and "not judged" in out
    assert "not covered" in out and "copy suppression" in out
    table = pd.read_csv(tmp_path / "published.csv")
    assert list(table["agrees"]) == [row.agrees for row in rows]


# -------------------------------------------------------------- readings whose answer is known


def test_stripes_of_patterns_made_by_hand():
    """One head looks one back, one to the first showing, one to what came next there."""
    n, n_pos = 5, 11

    def looking(back):
        pattern = torch.zeros(n_pos, n_pos)
        for query in range(n_pos):
            pattern[query, max(query - back, 0)] = 1.0
        return pattern

    heads = torch.stack([looking(1), looking(n), looking(n - 1)])

    def run_with_cache(rows, names):
        assert rows.shape[1:] == (n_pos,) and torch.equal(rows[:, 1:6], rows[:, 6:])
        return None, {("pattern", 0): heads.expand(len(rows), -1, -1, -1)}

    model = HookedGPT(GPTConfig(n_layers=1, d_model=6, n_heads=3, n_ctx=n_pos, d_vocab=37))
    model.tokenizer, model.run_with_cache = SimpleNamespace(bos_id=0, pad_id=None), run_with_cache
    sizes = dataclasses.replace(TINY, n_sequences=3, block=n)
    found = _published_rows._stripes(model, sizes)
    assert found["previous"].tolist() == [[1.0, 0.0, 0.0]]
    assert found["duplicate"].tolist() == [[0.0, 1.0, 0.0]]
    assert found["induction"].tolist() == [[0.0, 0.0, 1.0]]


def test_copied_names_of_planted_heads():
    """A planted head that copies raises every token, one that avoids lowers every token."""
    for recipe, place in (("copy", 0), ("anti_copy", 1)):
        subject = planted.hide(planted.plant(recipe), "C")
        words = torch.tensor([[0, *range(7, 13)]])
        pairs = SimpleNamespace(
            marks={"name 1": 1, "name 2": 3, "giver again": 6},
            pairs=SimpleNamespace(clean=words),
        )
        shares = _published_rows._name_copies(subject.model, pairs)
        (head,) = (answer.at for answer in subject.key.heads if answer.plant == recipe)
        assert shares[place][head] == 1.0
        assert shares[1 - place][head] == 0.0


def test_lens_rows_by_hand():
    """Layer 9's attention writes 3 of 4 logits, layer 11 takes 0.5 away."""
    labels = ["embed", *(f"L{la} {part}" for la in range(12) for part in ("attn", "mlp"))]
    values = dict.fromkeys(labels, 0.25)
    after = labels[labels.index("L9 attn") :]
    values |= dict.fromkeys(after, 3.25) | {"L11 mlp": 2.75}
    rows = {row.what: row for row in _published_rows._lens_rows(values, 2.7501)}
    early, rank, drop, end = rows.values()
    assert (early.measured, early.agrees) == (0.25, "yes")
    assert (rank.measured, rank.agrees) == (1.0, "yes")
    assert (drop.measured, drop.agrees) == (-0.5, "yes")
    assert (end.measured, end.agrees) == (2.75, "yes")
    values["L3 mlp"] = -4.0
    values["L4 attn"] = 4.0
    rank = list(_published_rows._lens_rows(values, 2.75))[1]
    assert (rank.measured, rank.agrees) == (2.0, "no")


def test_copying_eigenvalues_of_the_whole_circuit():
    """Oracle: the eigenvalues of `X W_V W_O U`, a matrix over the vocabulary, in NumPy."""
    model = tiny_model(d_vocab=53)
    heads = ((1, 2), (2, 4))
    found = _published_rows._eigenvalue_scores(model, heads)
    W_E, first = model.W_E, model.blocks[0]
    stream = (W_E[None] + first.mlp(first.ln2(W_E[None])))[0].numpy()
    x = stream - stream.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + model.config.eps)
    U = model.W_U.numpy() * model.ln_final.w.numpy()[:, None]
    U = U - U.mean(0)
    for (layer, head), score in zip(heads, found, strict=True):
        block = model.blocks[layer]
        W_V = block.ln1.w.numpy()[:, None] * block.attn.W_V[head].numpy()
        values = np.linalg.eigvals(x @ W_V @ block.attn.W_O[head].numpy() @ U)
        assert score == pytest.approx(values.real.sum() / abs(values).sum(), abs=1e-9)


def test_rank_of_all_logits():
    """Oracle: the singular values of the matrix itself."""
    model = HookedGPT(GPTConfig(n_layers=1, d_model=6, n_heads=2, n_ctx=5, d_vocab=41)).double()
    model.requires_grad_(False)
    model.ln_final.b.copy_(torch.linspace(0, 2, 6))
    hidden = torch.randn(53, 6, dtype=torch.float64)
    logits = model.logits(hidden[None])[0]
    values = np.linalg.svd(logits.numpy(), compute_uv=False)
    assert _published_rows._logit_rank(model) == (values > 1e-9 * values[0]).sum() == 6


# ------------------------------------------------------------------------------- the exact shape


@pytest.fixture(scope="module")
def gpt2_shape():
    """Random weights of GPT-2 small's shape, biases and norms included, and the real tokenizer."""
    if not GPT2_TOKENIZER.is_dir():
        pytest.skip(f"GPT-2's tokenizer files are not at {GPT2_TOKENIZER}")
    model = HookedGPT(GPTConfig(12, 768, 12, 1024, 50257), seed=0).requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # zeros and ones, with which some identities would say nothing
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    model.name = "random-gpt2"
    model.tokenizer = TextTokenizer.from_directory(GPT2_TOKENIZER, gpt2=True, bos_id=50256)
    return model


def test_on_the_exact_shape_identities_hold_and_published_values_do_not(
    gpt2_shape, monkeypatch, capsys, tmp_path
):
    """From files on disk to the exit code, every section: these are not OpenAI's weights."""
    folder = save(gpt2_shape, tmp_path / "my-gpt2")
    monkeypatch.setattr(_published, "Sizes", lambda: TINY)
    words = ["verify", "--published", "-m", str(folder), "--out", str(tmp_path), "--json"]
    assert cli.main([*words, "--device", "cpu", "--debug"]) == 1
    found = json.loads(capsys.readouterr().out)
    rows = pd.DataFrame(found["rows"]).set_index("what")
    assert "NOT what is published" in found["verdict"]
    assert set(rows["section"]) == set(_published_rows.SECTIONS)
    identities = rows[rows["kind"] == "identity"]
    assert len(identities) == 16 and (identities["agrees"] == "yes").all()
    exact = identities["measured"].to_dict()
    for what in ("value biases folded into b_O: change of a logit",
                 "key biases taken away: change of a pattern"):  # fmt: skip
        assert 0 < exact[what] < 1e-9  # the biases are there
    judged = rows[(rows["kind"] == "weights") & (rows["agrees"] != "not judged")]
    assert len(judged) == 58 and (judged["agrees"] == "no").sum() > 45
    assert rows.loc["parameters", "measured"] == 124_439_808
    assert (rows.filter(like="of eight", axis="index")["agrees"] == "no").all()
    assert rows.loc["attention on position 0: intact", "agrees"] == "no"
    loss = rows.loc['loss of "Hello world!" (nats)']
    tokens = torch.tensor([[50256, 15496, 995, 0]])
    logits = gpt2_shape(tokens)[0, :-1].double()
    by_hand = -logits.log_softmax(-1)[range(3), tokens[0, 1:]].mean()
    assert loss["measured"] == pytest.approx(float(by_hand), abs=1e-5)
    assert loss["agrees"] == "no"


def test_other_shapes_and_models_without_a_tokenizer_are_refused(gpt2_shape, monkeypatch, capsys):
    assert cli.main(["verify", "--published", "-m", "small"]) == 2
    assert "small has n_layers=4 (expected 12)" in capsys.readouterr().err
    assert cli.main(["verify", "-m", "small"]) == 2
    assert "-m goes with --published" in capsys.readouterr().err
    silent = SimpleNamespace(config=gpt2_shape.config, tokenizer=None, name="mute")
    with pytest.raises(InputError, match="mute came without one"):
        _published.run(silent)
