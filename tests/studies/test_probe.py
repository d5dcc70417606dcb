"""Oracle: the model's own logits, and planted or shipped models whose answers are known."""

import pytest
import torch

from interp.core import GPTConfig, HookedGPT
from interp.core.errors import InputError
from interp.corpus import Language
from interp.loading import load_model
from studies import _corruption, probe

IOI = "when mary and john went to the store , john gave a drink to"
WORDS = Language().vocab


@pytest.fixture(scope="module")
def small():
    return load_model("small")


@pytest.fixture(scope="module")
def result(small):
    return probe.run(small, probe.Config(prompt=IOI, target="mary", contrast="john"))


def logit_diff(model, text):
    ids = model.tokenizer.encode(text)
    with torch.no_grad():
        last = model(torch.tensor([ids]))[0, -1]
    return float(last[WORDS.index("mary")] - last[WORDS.index("john")])


def test_all_parts_are_there_and_agree_with_the_model(small, result):
    overview = result.table("overview").iloc[0]
    assert overview["logit_diff"] == pytest.approx(logit_diff(small, IOI), abs=1e-4)
    swapped = "when john and mary went to the store , mary gave a drink to"
    assert overview["corrupted_logit_diff"] == pytest.approx(logit_diff(small, swapped), abs=1e-4)
    assert result.table("left_out")["part"].tolist() == ["nothing"]
    # Contributions, the lens's last row and patching every position tell the same difference.
    assert result.table("contributions")["contribution"].sum() == pytest.approx(
        overview["logit_diff"], abs=1e-3
    )
    end = result.table("lens_end").iloc[-1]
    assert end["difference_nats"] == pytest.approx(overview["logit_diff"], abs=1e-3)
    assert end["rank"] == 1
    assert [figure.name for figure in result.figures] == [
        "next_token", "attention", "lens", "attribution", "residual_patching", "head_patching",
        "scores",
    ]  # fmt: skip
    assert all(figure.view is not None for figure in result.figures if figure.name != "attribution")


def test_sentences_and_views_can_be_filled(result):
    for figure in result.figures:
        for sentence in (figure.answer, figure.alt, figure.change_our_mind):
            assert "{" not in sentence.text(result.tables)
    grid = next(f.view for f in result.figures if f.name == "residual_patching")
    assert grid.data["ends"]["corrupted"] == 0
    overview = result.table("overview").iloc[0]
    whole = overview["logit_diff"] - overview["corrupted_logit_diff"]
    assert grid.data["ends"]["clean"] == pytest.approx(whole)
    assert result.headline.text(result.tables).startswith("“mary” has probability")


def test_patching_the_first_difference_before_any_layer_is_the_token_itself(small, result):
    """Before layer 0, the clean stream at one position is the clean token there."""
    frame = result.table("residual").set_index(["layer", "pos"])
    words = ["when", "john", "and", "mary", "went", "to", "the", "store", ",", "mary", "gave", "a",
             "drink", "to"]  # fmt: skip
    start = logit_diff(small, " ".join(words))
    for pos, word in ((2, "mary"), (10, "john"), (5, "went")):
        patched = [*words[: pos - 1], word, *words[pos:]]
        expected = logit_diff(small, " ".join(patched)) - start
        assert frame.loc[(0, pos), "effect"] == pytest.approx(expected, abs=1e-3)


def test_a_fact_is_corrupted_by_another_sight(small):
    ids = small.tokenizer.encode("the louvre is in")
    made = _corruption.corrupted(small, ids, WORDS.index("paris"), WORDS.index("rome"))
    differ = [WORDS[b] for a, b in zip(ids, made.ids, strict=True) if a != b]
    assert differ[0] in ("colosseum", "pantheon", "vatican") and len(differ) == 1
    assert "louvre" in made.how


def test_without_another_version_patching_is_left_out():
    """Untrained, with words that have no kind; every part that needs no other version runs."""
    model = HookedGPT(GPTConfig(2, 16, 2, 16, len(WORDS)), seed=0).eval().requires_grad_(False)
    model.tokenizer = Language().tokenizer
    found = probe.run(model, probe.Config(prompt="you can find", target="the", contrast="a"))
    left_out = found.table("left_out").set_index("part")["reason"]
    assert list(left_out.index) == ["patching the stream", "patching heads"]
    assert left_out.str.contains("--corrupted").all()
    assert "scores" in [figure.name for figure in found.figures]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": "mary john"}, "--target: 'mary john' is 2 tokens"),
        ({"contrast": "mary"}, "--target and --contrast are the same token"),
        ({"prompt": "mary " * 80}, "81 tokens, but small reads 64"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"corrupted": "when mary went"}, "15 and 4 tokens; they part at position 3"),
        ({"corrupted": IOI}, "the prompt itself"),
        ({"target": "marry"}, "marry"),
    ],
)
def test_what_a_call_can_have_wrong(small, options, says):
    asked = {"prompt": IOI, "target": "mary", "contrast": "john"} | options
    with pytest.raises(InputError, match=says):
        probe.run(small, probe.Config(**asked))
