import dataclasses
import json

import numpy as np
import pytest

from interp.core import GPTConfig, HookedGPT, InitScales, InputError
from interp.corpus import Language, TriggerTask
from interp.reporting import write_report
from studies import _english, _head_roles_findings, _prompts, head_roles

QUICK = head_roles.Config(quick=True, limit=24, seed=3)
CLAIMS = [61, 62, 63, 103, 104, 105, 106]


class Letters:
    """A tokenizer that reads English, letter by letter."""

    bos_id, pad_id, vocab_size, bos_policy = 0, 1, 130, "a zero comes first"

    def encode(self, text, bos=True):
        return [0] * bos + [2 + ord(letter) for letter in text if ord(letter) < 128]

    def decode(self, ids):
        return "".join(self.str_tokens(ids))

    def str_tokens(self, ids):
        return ["<bos>" if i < 2 else chr(i - 2) for i in ids]


def model(tokenizer=None, name="tiny", **changes):
    shape = {"n_layers": 2, "d_model": 14, "n_heads": 2, "n_ctx": 41, "d_vocab": 67}
    made = HookedGPT(
        GPTConfig(**(shape | changes)), init=InitScales(token=0.5, position=0.4, qkv=0.5)
    )
    made.name, made.tokenizer = name, tokenizer
    return made.requires_grad_(False).eval()


def language_model(**changes):
    tokenizer = Language().tokenizer
    return model(tokenizer, d_vocab=tokenizer.vocab_size, **changes)


@pytest.fixture(scope="module")
def on_language():
    return head_roles.run(language_model(), QUICK)


def test_the_study_answers_its_claims(on_language):
    assert [finding.claim for finding in on_language.findings] == CLAIMS
    by_claim = {finding.claim: finding for finding in on_language.findings}
    assert by_claim[61].verdict == "holds"
    assert by_claim[61].value < 1e-6
    assert by_claim[62].verdict == "imprecise"
    assert by_claim[63].verdict == "fails"
    assert by_claim[103].null == 0  # random weights hold no role
    assert all(
        finding.figure in {f.name for f in on_language.figures} for finding in by_claim.values()
    )


@pytest.mark.parametrize(
    "changes, verdicts",
    [
        ({}, ["holds", "imprecise", "fails"]),
        ({"row_deviation": 1e-3}, ["fails", "imprecise", "fails"]),
        ({"column_deviation": 1e-8}, ["holds", "holds", "fails"]),
        ({"smallest": -0.1}, ["fails", "imprecise", "holds"]),
        ({"largest": 1.5}, ["fails", "imprecise", "fails"]),
    ],
)
def test_verdicts_on_the_softmax_follow_the_numbers(on_language, changes, verdicts):
    total = on_language.tables["sums_total"]
    changed = dataclasses.replace(total, frame=total.frame.assign(**changes))
    found = _head_roles_findings.on_softmax(on_language.tables | {"sums_total": changed})
    assert [finding.verdict for finding in found] == verdicts


def test_text_of_the_language_decides(on_language):
    tests = on_language.tables["tests"].frame
    assert set(tests["prompts"]) == {"own language", "random tokens"}
    deciding = tests[tests["decisive"] & tests["role"].isin(["local", "first_token", "copying"])]
    assert set(deciding["prompts"]) == {"own language"}
    strength = on_language.tables["role_strength"].frame
    assert (strength.groupby("role").size() == 2 * 2).all()


def test_one_criterion_labels_heads_everywhere(on_language):
    """Labels in the atlas, the list of labels and the summary are the same heads."""
    tables = on_language.tables
    atlas = tables["role_strength"].frame.query("label")
    listed = tables["labels"].frame
    pairs = [set(zip(of["name"], of["role"], strict=True)) for of in (atlas, listed)]
    assert pairs[0] == pairs[1]
    summary = tables["roles"].frame.set_index("role")["n_labelled"]
    assert summary.sum() == len(listed) == tables["overview"].frame["n_labels"].iloc[0]


def test_the_explorer_gets_every_head(on_language):
    (figure,) = [one for one in on_language.figures if one.name == "weight_and_use"]
    tokens = figure.view.data["tokens"]
    assert figure.view.kind == "attention"
    weight = figure.view.arrays["weight"]
    assert weight.shape == (2, 2, len(tokens), len(tokens))
    assert np.allclose(np.nansum(weight, -1), 1, atol=1e-6)
    assert set(figure.view.arrays) == {"weight", "norm-weighted"}


def test_the_lectures_sentence_is_shown(on_language):
    tokens = on_language.tables["prompt_tokens"].frame["token"].tolist()
    assert tokens == ["<bos>", *_prompts.LECTURE_SENTENCE.split()]


def test_the_report_is_written_and_the_same_again(on_language, tmp_path):
    first = write_report(on_language, tmp_path / "a")
    second = write_report(head_roles.run(language_model(), QUICK), tmp_path / "b")
    for path in sorted(first.rglob("*")):
        if path.is_file() and path.name != "provenance.json":
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path.name
    provenance = json.loads((first / "provenance.json").read_text())
    assert provenance["weights"].startswith("SHA-256 ")
    assert provenance["options"]["n_permutations"] == 5000
    assert provenance["bos"] == Language().tokenizer.bos_policy


def test_the_seed_decides_the_prompts():
    def prompts(seed):
        sets = [make(language_model(), 12, seed) for make in (_prompts.random_prompts,
                                                              _prompts.text_prompts)]  # fmt: skip
        return _prompts.fingerprint(*sets)

    assert prompts(3) == prompts(3) != prompts(4)


def test_models_of_many_heads_are_measured_on_less():
    few, many = (
        head_roles.sized(model(n_layers=n, n_heads=7), head_roles.Config(quick=True))
        for n in (2, 10)
    )
    assert few.n_ablated is None and many.n_ablated == 12
    assert many.n_prompts < few.n_prompts and many.n_causal >= 6
    full = head_roles.sized(model(), head_roles.Config())
    assert full.with_seeds and not few.with_seeds and full.n_prompts == 128
    assert head_roles.sized(model(), head_roles.Config(limit=20)).n_prompts == 20


def test_a_model_without_known_text_is_judged_on_random_tokens():
    result = head_roles.run(model(), QUICK)
    assert set(result.tables["tests"].frame["prompts"]) == {"random tokens"}
    assert "kinds_of_prompts" not in [figure.name for figure in result.figures]
    assert [finding.claim for finding in result.findings] == CLAIMS


def test_the_trigger_task_decides_for_its_model():
    task = TriggerTask()
    result = head_roles.run(model(n_ctx=task.n_ctx, d_vocab=task.d_vocab), QUICK)
    roles = result.tables["roles"].frame.set_index("role")["prompts"]
    assert roles["previous_token"] == "trigger task"


def test_models_that_read_english_read_stories():
    config = head_roles.Config(quick=True, limit=32)
    result = head_roles.run(model(Letters(), d_vocab=130), config)
    tests = result.tables["tests"].frame.query("role == 'local' and decisive")
    assert set(tests["prompts"]) == {"English stories"}
    assert set(tests["n"]) == {len(_english.TEMPLATES) // 2}  # templates are the units


def test_random_weights_mark_the_figure_uninformative():
    weak = language_model()
    for parameter in weak.parameters():
        parameter *= 0.05
    result = head_roles.run(weak, QUICK)
    by_name = {figure.name: figure for figure in result.figures}
    assert by_name["head_roles"].uninformative
    assert by_name["heads_differ"].uninformative
    verdicts = {finding.claim: finding.verdict for finding in result.findings}
    assert (verdicts[103], verdicts[104], verdicts[106]) == ("undecided", "fails", "undecided")
    assert by_name["pruning"].uninformative
    assert result.headline.text(result.tables).startswith("None of the 4 heads holds")


def test_a_limit_that_leaves_too_few_prompts_is_an_error():
    with pytest.raises(InputError, match="in 6 prompts of either half"):
        head_roles.run(language_model(), head_roles.Config(limit=8))


def test_every_story_names_something_twice():
    """Without a repeat there is nothing to look back at."""
    for template in _english.TEMPLATES:
        assert any(template.count(f"{{{word}}}") >= 2 for word in ("name", "thing", "place")), (
            template
        )


def test_stories_use_every_template_alike():
    numbers = [number for number, _ in _english.stories(64, seed=0)]
    assert np.bincount(numbers).tolist() == [2] * len(_english.TEMPLATES)
    assert _english.stories(5, seed=1) == _english.stories(5, seed=1)
