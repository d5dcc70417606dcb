import numpy as np
import pytest
import torch

from interp.core import GPTConfig, HookedGPT
from studies import NotApplicable, positional_embeddings

QUICK = positional_embeddings.Config(quick=True, n_draws=12)


def model(name="tiny", **changes):
    shape = {"n_layers": 1, "d_model": 22, "n_heads": 2, "n_ctx": 24, "d_vocab": 61}
    made = HookedGPT(GPTConfig(**(shape | changes)))
    made.name, made.tokenizer = name, None
    return made.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def on_random():
    return positional_embeddings.run(model(), QUICK)


@pytest.fixture(scope="module")
def on_waves():
    return positional_embeddings.run(model(positions="sinusoidal", n_ctx=32, d_model=32), QUICK)


def test_every_claim_has_a_finding_with_its_number(on_random, on_waves):
    for result in (on_random, on_waves):
        assert [finding.claim for finding in result.findings] == [17, 29]
        shown = {figure.name for figure in result.figures}
        for finding in result.findings:
            assert finding.ci_low <= finding.value <= finding.ci_high
            assert finding.null is not None and finding.n and finding.figure in shown


def test_random_weights_are_marked_as_saying_nothing(on_random):
    assert [bool(figure.uninformative) for figure in on_random.figures] == [True, True]
    assert on_random.findings[0].verdict == "undecided"


def test_sinusoidal_positions_have_a_shape(on_waves):
    assert not on_waves.figures[0].uninformative
    assert on_waves.findings[0].verdict == "holds"
    components = on_waves.tables["components"].frame
    assert components["share"].iloc[0] > components["share_normal_numbers_high"].iloc[0]


def test_findings_repeat_the_tables(on_random):
    spectrum = on_random.tables["spectrum"].frame.iloc[0]
    overlap = on_random.tables["overlap"].frame.iloc[0]
    by_claim = {finding.claim: finding for finding in on_random.findings}
    assert (by_claim[17].value, by_claim[17].null) == (
        spectrum["helix"], spectrum["helix_random_walk"],
    )  # fmt: skip
    assert (by_claim[29].value, by_claim[29].null) == (overlap["overlap"], overlap["expected"])
    heads = on_random.tables["lags"].frame
    assert heads["name"].tolist() == ["inner products", "L0H0", "L0H1"]
    mean = on_random.tables["lags_overview"].frame.iloc[0]
    assert mean["mean"] == pytest.approx(heads["lag_share"].iloc[1:].mean())
    for table in on_random.tables.values():
        assert np.isfinite(table.frame.select_dtypes("number").to_numpy()).all()


def test_words_that_use_the_positions_axes_are_found_out():
    made = model(n_ctx=24)
    with torch.no_grad():
        made.pos_embed.W_pos[:, 6:] = 0
        made.embed.W_E[:, 6:] *= 0.01
    overlap = positional_embeddings.run(made, QUICK).tables["overlap"].frame.iloc[0]
    assert overlap["overlap"] > 0.95 and overlap["overlap"] > overlap["null_high"]
    verdict = positional_embeddings.run(made, QUICK).findings[1].verdict
    assert verdict == "imprecise"


def test_the_same_call_gives_the_same_tables(on_random):
    again = positional_embeddings.run(model(), QUICK)
    for name, table in on_random.tables.items():
        assert table.frame.equals(again.tables[name].frame), name


@pytest.mark.parametrize("norm", ["post", "none"])
def test_other_norms(norm):
    result = positional_embeddings.run(model(norm=norm), QUICK)
    assert len(result.findings) == 2


def test_models_without_enough_positions():
    with pytest.raises(NotApplicable, match="no position embeddings"):
        positional_embeddings.run(model(positions="none"), QUICK)
    with pytest.raises(NotApplicable, match="7 positions cannot be told"):
        positional_embeddings.run(model(n_ctx=7), QUICK)
