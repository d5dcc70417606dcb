"""Oracle: planted circuits, whose answer keys say where the answer is and which head fetches it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import studies
from interp import planted
from interp.corpus import Language
from interp.loading import load_model
from interp.measures.patching import Pairs
from interp.planted.prompts import make_prompts
from interp.reporting.translation import fields
from studies import (
    NotApplicable,
    _circuit_study,
    _circuit_study_figures,
    _pairs,
    agreement,
    facts,
    indirect_objects,
    senses,
)

STUDIES = {facts: [120], agreement: [119], senses: [84, 85, 86, 87], indirect_objects: []}


def planted_pairs(made, family, marks):
    """The answer key's prompts, of the commonest layout, as a set for the studies."""
    prompts = make_prompts(made.key, family, n_prompts=40)
    last = prompts.tokens.shape[1] - 1
    places = torch.stack([prompts.marks[mark] for mark in marks], 1)
    kept = (places == places.mode(0).values).all(1)
    kept &= prompts.queries[:, last] & (prompts.tokens != prompts.corrupted).any(1)
    rows = kept.nonzero()[:, 0]
    pairs = Pairs(prompts.tokens[rows], prompts.corrupted[rows])
    answers = (side[rows, last] for side in (prompts.answers, prompts.rivals))
    where = {mark: int(prompts.marks[mark][rows[0]]) for mark in marks}
    return _pairs.AnswerPairs(family, pairs, *answers, where, [str(i) for i in range(last + 1)])


def measured(made, pairs):
    config = facts.Config()
    return _circuit_study.measured(made.model, pairs, config)


def test_tracing_a_planted_fact_lights_two_places_and_no_other():
    made = planted.plant("fact_memory")
    pairs = planted_pairs(made, "fact_memory:relation_0", ["subject"])
    assert len(pairs) >= 4
    tables = measured(made, pairs).tables
    stream = tables["stream"].frame
    whole = tables["overview"].frame["whole"].iloc[0]
    subject, last = pairs.marks["subject"], pairs.pairs.clean.shape[1] - 1
    lit = stream[stream["effect"].abs() > 0.05 * whole]
    written = {
        (row.site, row.layer, row.pos) for row in lit.itertuples() if row.site != "resid_pre"
    }
    key = next(fact for fact in made.key.facts if hasattr(fact, "lit"))
    assert written == {("mlp_out", 0, subject), ("attn_out", 1, last)}
    assert dict(key.lit) == {
        "mlp:0": "subject",
        f"head:1.{tables['heads'].frame['head'][0]}": "last",
    }
    best = tables["chosen"].frame.iloc[0]
    assert best["passes"] and best["denoise"] == pytest.approx(whole, rel=0.02)
    # The other relation's head is asked nothing here.
    assert tables["chosen"].frame["n_pass"].iloc[0] == 1


@pytest.fixture(scope="module")
def small():
    return load_model("small")


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.NAME)
def test_a_study_runs_with_every_sentence_filled(small, study):
    result = study.run(small, study.Config(quick=True))
    assert [finding.claim for finding in result.findings] == STUDIES[study]
    sentences = [result.headline]
    for figure in result.figures:
        assert figure.uninformative == ""
        sentences += [figure.answer, figure.alt, figure.change_our_mind]
    for sentence in sentences:
        assert "{" not in sentence.text(result.tables)
    assert result.table("overview")["right"].iloc[0] > 0.9
    halves = result.table("overview")[["n_discovery", "n_confirmation", "n_units"]].iloc[0]
    assert halves["n_discovery"] + halves["n_confirmation"] == halves["n_units"]


def test_a_model_that_knows_nothing_is_said_to(small):
    from studies import _prompts

    untrained = _prompts.with_random_weights(small, 3)
    result = agreement.run(untrained, agreement.Config(quick=True))
    assert result.findings[0].verdict == "fails"
    assert all(figure.uninformative for figure in result.figures)


def test_few_units_give_no_interval_and_no_verdict(small):
    result = senses.run(small, senses.Config(limit=8))
    by_claim = {finding.claim: finding for finding in result.findings}
    for claim in (84, 87):  # 86 has sentences of its own
        assert by_claim[claim].verdict == "undecided" and by_claim[claim].ci_low is None


def test_a_cue_after_the_word_changes_nothing_before_it(small):
    pairs = _pairs.answer_pairs(small, "senses", 12)
    frame = senses._cue_after(small, pairs).frame.set_index("cue")
    assert frame.loc["after", "largest"] == 0
    assert frame.loc["before", "change"] > 0.1


def test_rank_correlation_is_scipys():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    weight, value = rng.random(11), rng.normal(size=11)
    expected = spearmanr(weight, np.abs(value)).statistic
    assert senses._spearman(weight, value) == pytest.approx(expected, abs=1e-12)
    assert senses._spearman(np.ones(5), np.arange(5.0)) == 0


def test_a_users_own_prompts_are_traced_and_judge_no_claim(small, tmp_path):
    from interp.core.errors import InputError

    sights = {"shard": "london", "louvre": "paris", "colosseum": "rome", "tate": "london",
              "pantheon": "rome"}  # fmt: skip
    rows = ["clean,corrupted,correct,incorrect"]
    for sight, city in sights.items():
        other = next(s for s, c in sights.items() if c != city)
        rows.append(f"the {sight} is in,the {other} is in,{city},{sights[other]}")
    path = tmp_path / "mine.csv"
    path.write_text(
        "\n".join([*rows, "tourists visit the tate in,tourists visit the shard in,london,paris"])
    )
    pairs = _circuit_study.prompts_of(small, "facts", facts.Config(pairs=str(path)))
    assert (pairs.kind, len(pairs)) == ("mine", 5) and pairs.places[1:] == ["the", "…", "is", "in"]
    path.write_text("\n".join(rows[:3]))
    with pytest.raises(InputError, match="needs 4 units of one length in tokens, but has 2"):
        _circuit_study.prompts_of(small, "facts", facts.Config(pairs=str(path)))


def test_without_words_the_studies_do_not_apply():
    from interp.core import GPTConfig, HookedGPT

    silent = HookedGPT(GPTConfig(1, 8, 2, 16, 8), seed=0)
    with pytest.raises(NotApplicable, match="reads neither"):
        facts.run(silent, facts.Config())
    post = HookedGPT(GPTConfig(1, 8, 2, 16, len(Language().vocab), norm="post"), seed=0)
    post.tokenizer = Language().tokenizer
    with pytest.raises(NotApplicable, match="normalises after"):
        facts.run(post, facts.Config())


@pytest.mark.parametrize("name", [study.NAME for study in STUDIES])
def test_korean_templates_keep_their_fields(name):
    path = Path(studies.__file__).parent / "locale" / "ko" / f"{name}.json"
    texts = json.loads(path.read_text(encoding="utf-8"))
    assert studies.questions()[name] in texts
    shared = _circuit_study_figures.PASSED + _circuit_study_figures.SEEDED
    assert shared in texts
    assert all(fields(english) == fields(korean) for english, korean in texts.items())
