import math

import numpy as np
import pytest
import torch

from interp import planted
from interp.core import GPTConfig, HookedGPT, InitScales
from interp.corpus import Language, TriggerTask
from interp.reporting import write_report
from studies import _adjectives, _attention_checks, _prompts, attention_pattern

QUICK = attention_pattern.Config(quick=True, limit=24, seed=3)
CLAIMS = [56, 57, 58, 59, 60, 64, 65]
ON_WORDS = {57, 58}


def model(tokenizer=None, name="tiny", **changes):
    shape = {"n_layers": 2, "d_model": 14, "n_heads": 2, "n_ctx": 41, "d_vocab": 67}
    made = HookedGPT(
        GPTConfig(**(shape | changes)), init=InitScales(token=0.5, position=0.4, qkv=0.5)
    )
    made.name, made.tokenizer = name, tokenizer
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for block in made.blocks:  # biases start at 0, which would hide them
            block.attn.b_QKV += torch.randn(block.attn.b_QKV.shape, generator=generator)
    return made.requires_grad_(False).eval()


def language_model(**changes):
    tokenizer = Language().tokenizer
    return model(tokenizer=tokenizer, d_vocab=tokenizer.vocab_size, **changes)


@pytest.fixture(scope="module")
def on_language():
    return attention_pattern.run(language_model(), QUICK)


def numbers(result):
    for name, table in result.tables.items():
        for column in table.frame.select_dtypes("number"):
            yield f"{name}/{column}", table.frame[column].to_numpy(dtype=float)


def test_the_study_answers_its_claims(on_language):
    assert [finding.claim for finding in on_language.findings] == CLAIMS
    shown = {figure.name for figure in on_language.figures}
    for finding in on_language.findings:
        assert finding.verdict != "not applicable"
        assert finding.figure in shown
        assert finding.n


def test_no_number_is_missing(on_language):
    for name, values in numbers(on_language):
        assert np.isfinite(values).all(), name


def test_findings_repeat_the_tables(on_language):
    by_claim = {finding.claim: finding for finding in on_language.findings}
    row = on_language.tables["adjectives_overview"].frame.iloc[0]
    assert (by_claim[57].value, by_claim[57].q) == (row["contrast"], row["q"])
    heads = on_language.tables["adjectives_all"].frame
    same = heads[(heads["name"] == row["name"]) & (heads["role"] == "all adjectives")].iloc[0]
    assert by_claim[57].value == pytest.approx(same["score"] - same["control"], abs=1e-12)
    heads = on_language.tables["descriptors"].frame["between_prompts"]
    assert by_claim[64].value == pytest.approx(heads.mean())
    by_prompt = on_language.tables["use_by_prompt"].frame
    assert by_claim[65].value == pytest.approx(by_prompt["weight"].mean())
    assert by_claim[65].n == len(by_prompt)


def test_the_planted_model_gives_the_known_answer(on_language):
    """The numbers of the brief for this model, worked out before it was built."""
    lecture = on_language.tables["lecture"].frame.set_index(["query", "key"])
    expected = {
        ("creature", "fluffy"): 0.499,
        ("creature", "blue"): 0.499,
        ("forest", "verdant"): 0.998,
        ("roaming", "bos"): 0.993,
    }
    for at, value in expected.items():
        assert round(lecture.loc[at, "planted"], 3) == round(value, 3)
        assert lecture.loc[at, "planted"] == pytest.approx(lecture.loc[at, "planted_answer"])


def test_the_terms_sum_to_the_score(on_language):
    score = on_language.tables["score"].frame.iloc[0]
    assert score["sum_of_terms"] == pytest.approx(score["score"], abs=1e-5)
    assert score["residual"] < 1e-5
    by_key = on_language.tables["key_sources"].frame["preference"]
    assert by_key.sum() == pytest.approx(score["preference"], abs=1e-5)
    assert (score["query"], score["key"], score["other"]) == ("creature", "calm", "a")
    parts = on_language.tables["split"].frame.groupby(["side", "key_pos"])["term"].sum()
    totals = on_language.tables["split_total"].frame.set_index(["side", "key_pos"])
    assert len(totals) == 3 * 5  # a fluffy blue creature, and what comes first
    for at, row in totals.iterrows():
        assert parts.get(at, 0.0) == pytest.approx(row["score"], abs=1e-5)
        assert row["residual"] == abs(row["sum_of_terms"] - row["score"]) < 1e-5
    of_model = totals.loc["model"].set_index("key")
    assert of_model.loc["calm", "score"] == pytest.approx(score["score"], abs=1e-5)


def test_the_planted_split_is_the_one_that_was_built(on_language):
    """Adjectives and the last three places are worth 12 each, the first token 18, all else 0."""
    split = on_language.tables["split"].frame
    planted_split = split[split["side"] == "planted"]
    found = planted_split.pivot(index="key", columns="source", values="term")
    assert set(found.columns) == {"adjective class", "one to three back", "sink (bias)"}
    expected = {
        "<bos>": (0, 0, 18), "a": (0, 12, 0), "fluffy": (12, 12, 0), "blue": (12, 12, 0),
        "creature": (0, 0, 0),
    }  # fmt: skip
    for key, values in expected.items():
        np.testing.assert_allclose(found.loc[key].to_numpy(), values, atol=1e-9)
    totals = on_language.tables["split_total"].frame.set_index(["side", "key"])
    for key, values in expected.items():
        assert totals.loc[("planted", key), "score"] == pytest.approx(sum(values), abs=1e-9)


def test_small_stands_beside_every_other_model(on_language):
    sides = on_language.tables["sides"].frame
    assert sides["side"].tolist() == ["planted", "small", "model"]
    assert sides["model"].tolist()[1:] == ["small", "tiny"]
    small = on_language.tables["lecture"].frame["small"]
    assert small.between(0, 1).all() and not np.allclose(
        small, on_language.tables["lecture"].frame["model"]
    )


def test_small_stands_once_on_its_own_page():
    result = attention_pattern.run(language_model(name="small"), QUICK)
    assert result.tables["sides"].frame["side"].tolist() == ["planted", "model"]
    assert "small" not in result.tables["lecture"].frame
    (figure,) = [one for one in result.figures if one.name == "lecture_sentence"]
    titles = [ax.get_title() for ax in figure.picture.axes if ax.get_title()]
    assert titles[0] == "planted model" and titles[1].startswith("small, L")
    assert titles[2] == "“calm” for “fluffy”"


@pytest.mark.parametrize("name, missing", [("tiny", True), ("gpt2", False), ("distilgpt2", False)])
def test_gpt2_is_named_where_it_is_not(name, missing):
    from studies import _attention_sentence, _attention_sentence_figures

    side = _attention_sentence.Side(
        "model", name, language_model(name=name), np.array([0]), ["x"], 0, 0, ""
    )
    said = _attention_sentence_figures._missing([side])
    assert ("interp run attention_pattern -m gpt2" in said) == missing


def test_figures_can_be_explored(on_language):
    figures = {figure.name: figure for figure in on_language.figures}
    view = figures["lecture_sentence"].view
    assert view.kind == "attention"
    assert view.data["states"] == ["weight", "raw score", "masked score", "norm-weighted"]
    assert view.data["tokens"][:3] == ["<bos>", "a", "fluffy"]
    lecture = on_language.tables["lecture"].frame
    head = on_language.tables["head"].frame.iloc[0]
    weight = view.arrays["weight"][head["layer"], head["head"]]
    np.testing.assert_allclose(np.nansum(weight, -1), 1, atol=1e-5)
    assert weight[4, 2] == pytest.approx(lecture["model"].iloc[0], abs=1e-6)
    assert list(view.data["roles"]) == [head["name"]]
    view = figures["why_this_score"].view
    assert view.kind == "score_terms" and view.data["query_tokens"] == ["creature"]
    totals = on_language.tables["split_total"].frame
    scores = totals.loc[totals["side"] == "model", "score"].to_numpy()
    np.testing.assert_allclose(view.arrays["terms"].sum(0)[0], scores, atol=1e-5)


def test_the_lectures_sentence_is_marked(on_language):
    lecture = on_language.tables["lecture"].frame
    assert lecture["model"].between(0, 1).all()
    cells = on_language.tables["cells_model"].frame.set_index(["query_token", "key_token"])
    assert cells.loc[("creature", "blue"), "weight"] == pytest.approx(lecture["model"].iloc[1])


@pytest.mark.parametrize(
    "made",
    [
        lambda: model(),
        lambda: model(n_ctx=TriggerTask().n_ctx, d_vocab=TriggerTask().d_vocab),
        lambda: model(d_mlp=0),
        lambda: model(norm="post"),
        lambda: model(positions="none"),
        lambda: model(n_layers=1, mask="none"),
    ],
)
def test_models_without_words(made):
    result = attention_pattern.run(made(), QUICK)
    verdicts = {finding.claim: finding.verdict for finding in result.findings}
    assert list(verdicts) == CLAIMS
    assert {claim for claim in CLAIMS if verdicts[claim] == "not applicable"} == ON_WORDS
    for name, values in numbers(result):
        assert np.isfinite(values).all(), name
    assert result.headline.text(result.tables)


def test_shapes_of_the_language_run_through():
    for changes in ({"d_mlp": 0}, {"norm": "none"}, {"norm": "post"}, {"n_ctx": 9}):
        result = attention_pattern.run(language_model(**changes), QUICK)
        for name, values in numbers(result):
            assert np.isfinite(values).all(), (changes, name)


def test_the_report_is_the_same_again(on_language, tmp_path):
    first = write_report(on_language, tmp_path / "a")
    second = write_report(attention_pattern.run(language_model(), QUICK), tmp_path / "b")
    for path in sorted(first.rglob("*")):
        if path.is_file() and path.name != "provenance.json":
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path.name


# --------------------------------------------------------------------------------------- words


def test_each_kind_of_adjective_stands_at_each_distance_once():
    subject = language_model()
    words = _adjectives.words_of(subject)
    suite = _adjectives.suites(words, 5, 0)[-1]
    (scene,) = suite.scenes
    kind_of = {word: kind for kind, ids in words.kinds.items() for word in ids}
    prompts = scene.versions["prompt"]
    assert prompts.shape == (15, 6)  # BOS, the, three adjectives, noun
    for unit in range(5):
        rows = prompts[scene.unit == unit]
        for place in (2, 3, 4):
            assert {kind_of[word] for word in rows[:, place]} == set(words.kinds)
        assert len({tuple(sorted(row)) for row in rows.tolist()}) == 1
    assert set(prompts[:, 5]) <= set(words.nouns)
    control = scene.versions["control"]
    assert (control[:, [0, 1, 5]] == prompts[:, [0, 1, 5]]).all()
    assert set(control[:, 2:5].ravel()) <= set(words.others)
    assert not set(words.others) & {*words.adjectives, *words.nouns}


def test_useful_and_useless_are_compared_in_the_same_prompts():
    words = _adjectives.words_of(language_model())
    suite = next(s for s in _adjectives.suites(words, 4, 1) if s.name == "temper − texture")
    (scene,) = suite.scenes
    assert (scene.versions["prompt"] == scene.versions["control"]).all()
    for version, kind in (("prompt", "temper"), ("control", "texture")):
        keys = scene.pairs["adjective_noun"][version][:, 0, 1]
        assert set(scene.versions["prompt"][np.arange(12), keys]) <= set(words.kinds[kind])


class Pieces:
    """English words, one token each with its space, as in GPT-2; others fall into letters."""

    bos_id, pad_id, bos_policy = 0, 0, "a zero comes first"
    known = tuple(
        word
        for words in (
            *_adjectives._ENGLISH.values(),
            _adjectives._ENGLISH_NOUNS,
            _adjectives._ENGLISH_OTHERS,
        )
        for word in words
        if word not in ("grey", "hat")
    )
    vocab = ("<bos>", *(f" {word}" for word in known), *map(chr, range(32, 127)))
    vocab_size = len(vocab)

    def encode(self, text, bos=True):
        ids = [0] * bos
        while text:
            piece = next((v for v in self.vocab[1:] if text.startswith(v)), None)
            piece, text = (piece, text[len(piece) :]) if piece else ("", text[1:])
            ids += [self.vocab.index(piece)] if piece else []
        return ids

    def decode(self, ids):
        return "".join(self.str_tokens(ids))

    def str_tokens(self, ids):
        return [self.vocab[i] for i in ids]


def test_models_that_read_english_get_english_words():
    subject = model(Pieces(), d_vocab=Pieces.vocab_size)
    words = _adjectives.words_of(subject)
    assert "grey" not in words.texts.values()  # several tokens
    assert {words.texts[word] for word in words.kinds["colour"]} == {
        *("blue", "red", "green", "white", "black", "brown"),
    }
    assert not words.useful
    result = attention_pattern.run(subject, QUICK)
    assert "useful" not in result.tables
    verdicts = {finding.claim: finding.verdict for finding in result.findings}
    assert "not applicable" not in verdicts.values()


def test_a_tokenizer_that_knows_no_words_has_none():
    assert _adjectives.words_of(model()) is None

    class Letters(Pieces):
        vocab = ("<bos>", *map(chr, range(32, 127)))
        vocab_size = len(vocab)

    assert _adjectives.words_of(model(Letters(), d_vocab=Letters.vocab_size)) is None


@pytest.mark.parametrize(
    "texts, places",
    [
        (["<b>", "a", "big", "cat"], {"a": [1], "big": [2], "cat": [3]}),
        ([" a", " b", "ig", " cat"], {"a": [0], "big": [1, 2], "cat": [3]}),
        (["<b>", "a", " bi"], {"a": [1], "big": [2]}),
        (["<b>", "a", "small"], {}),
    ],
)
def test_places_of_words(texts, places):
    assert _adjectives.places_in(texts, "a big cat") == places


# -------------------------------------------------------------------------------------- checks


def test_without_a_cell_is_the_run_with_that_weight_at_0():
    """Oracle: the whole model again, with the weight of the pattern set to 0 by another hook."""
    subject = model()
    tokens = np.array([0, 5, 9, 9, 31, 2])
    cells = _attention_checks.cell_effects(subject, tokens, 1, 0)
    intact = subject(torch.tensor(tokens)[None])[0].double().log_softmax(-1)
    for row in cells.itertuples():

        def take_out(pattern, point, at=(row.query_pos, row.key_pos)):
            pattern = pattern.clone()
            pattern[:, 0, at[0], at[1]] = 0.0
            return pattern

        with subject.hooks([("blocks.1.attn.hook_pattern", take_out)]):
            changed = subject(torch.tensor(tokens)[None])[0].double().log_softmax(-1)
        p = intact[row.query_pos]
        kl = float((p.exp() * (p - changed[row.query_pos])).sum())
        assert row.effect_nats == pytest.approx(kl, abs=1e-6)
    assert len(cells) == 21


def test_identities_tell_norm_and_bias_from_none():
    tokens = np.random.default_rng(0).integers(0, 67, (5, 13))
    with_norm = _attention_checks.identities(model(), tokens)
    assert (with_norm[["query", "output"]] < 1e-5).all(axis=None)
    assert (with_norm["query_plain"] > 0.1).all()
    assert (with_norm["without_key_bias"] < 1e-12).all()
    assert (with_norm["entropy_unscaled"] < with_norm["entropy"]).all()
    plain = model(norm="none")
    with torch.no_grad():
        for block in plain.blocks:
            block.attn.b_QKV.zero_()
    without = _attention_checks.identities(plain, tokens)
    assert (without["query_plain"] < 1e-6).all()
    unscaled = _attention_checks.identities(model(attn_scale=False), tokens)
    assert (unscaled["output"] > 1e-3).all()  # PyTorch divides, this model does not
    assert (unscaled["unscaled"] < 1e-6).all()


def test_query_biases_move_attention_and_key_biases_do_not():
    """Oracle: the same model with the biases set to 0."""
    subject, tokens = model(), np.random.default_rng(1).integers(0, 67, (7, 11))
    found = _attention_checks.without_bias(subject, tokens)
    assert found["key_moved"].max() < 1e-6
    assert found["query_moved"].mean() > 0.01
    with torch.no_grad():
        for block in subject.blocks:
            block.attn.b_Q.zero_()
    _, cache = subject.run_with_cache(torch.tensor(tokens))
    for layer in range(2):
        first = cache["pattern", layer][:, :, 1:, 0].double().mean((1, 2)).numpy()
        np.testing.assert_allclose(found["query"][:, layer], first, atol=1e-6)


def test_class_scores_are_the_difference_of_means():
    """Oracle: loops over words, with the weights written out."""
    subject = language_model(d_mlp=0, norm="none")
    words = _adjectives.words_of(subject)
    frame = _attention_checks.class_scores(subject, words, 200, 99, 0)
    row = frame[(frame["layer"] == 1) & (frame["head"] == 1)].iloc[0]
    attn, W_E = subject.blocks[1].attn, subject.W_E.double()

    def mean_score(keys):
        total = 0.0
        for noun in words.nouns:
            for key in keys:
                q = W_E[noun] @ attn.W_Q[1].double() + attn.b_Q[1]
                k = W_E[key] @ attn.W_K[1].double() + attn.b_K[1]
                total += float(q @ k) / math.sqrt(7)
        return total / len(words.nouns) / len(keys)

    assert row["adjectives"] == pytest.approx(mean_score(words.adjectives))
    assert row["contrast"] == pytest.approx(
        mean_score(words.adjectives) - mean_score(words.others[:]), abs=1e-9
    )
    assert row["ci_low"] < row["contrast"] < row["ci_high"]
    assert frame["p"].between(1 / 201, 1).all()


def test_the_planted_head_uses_what_it_attends_to_and_ignores_where_it_rests():
    subject = planted.plant("adjective_noun").model
    ids = np.array(subject.tokenizer.encode(planted.LECTURE))
    cells = _attention_checks.cell_effects(subject, ids, 0, 0).set_index(["query_pos", "key_pos"])
    assert cells.loc[(5, 0), "weight"] > 0.99  # "roaming" rests on BOS
    assert cells.loc[(5, 0), "effect_nats"] == pytest.approx(0, abs=1e-12)
    assert cells.loc[(9, 8), "effect_nats"] > 1  # "forest" uses "verdant"


@pytest.mark.parametrize(
    "effect, expected",
    [([0, 0, 0], 0.0), ([0.1, 0.2, 0.7], 1.0), ([0.7, 0.2, 0.1], -1.0)],
)
def test_rank_agreement_by_hand(effect, expected):
    import pandas as pd

    cells = pd.DataFrame(
        {"query_pos": [0, 1, 2, 2], "key_pos": [0, 0, 1, 2], "weight": [1, 0.1, 0.3, 0.6],
         "use": [1, 0.6, 0.3, 0.1], "effect_nats": [9, *effect]}
    )  # fmt: skip
    weight, use = _attention_checks.rank_agreement(cells)
    assert weight == pytest.approx(expected)
    assert use == pytest.approx(-expected)


def test_the_key_attended_to_most_is_compared_with_the_one_that_matters_most():
    import pandas as pd

    cells = pd.DataFrame(
        {"query_pos": [0, 1, 1, 2, 2, 2], "weight": [1, 0.9, 0.1, 0.2, 0.3, 0.5],
         "effect_nats": [0, 2, 1, 5, 1, 1]}
    )  # fmt: skip
    found = _attention_checks.top_agreement(cells)
    assert found == {"top": 0.5, "top_by_chance": pytest.approx((1 / 2 + 1 / 3) / 2)}


def test_a_prompt_of_a_single_token_is_refused():
    with pytest.raises(ValueError, match="at least two tokens"):
        _attention_checks.cell_effects(model(), np.array([3]), 0, 0)


def test_random_weights_keep_the_shape():
    made = _prompts.with_random_weights(model(), 0)
    assert made.config == model().config
    assert not torch.equal(made.W_E, model().W_E)
