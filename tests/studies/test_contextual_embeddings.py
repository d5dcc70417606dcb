from dataclasses import replace

import numpy as np
import pytest

import studies
from interp import measures
from interp.core import GPTConfig, HookedGPT, InitScales
from interp.corpus import Language, TriggerTask, lexicon
from interp.loading import load_model
from studies import NotApplicable, _contexts, _english_senses, contextual_embeddings

QUICK = contextual_embeddings.Config(quick=True, n_windows=8, n_resamples=99, seed=2)
CLAIMS = [26, 28, 30, 31, 32]


def model(tokenizer=None, **changes):
    shape = {"n_layers": 2, "d_model": 14, "n_heads": 2, "n_ctx": 64, "d_vocab": 67}
    init = InitScales(token=0.5, position=0.4, qkv=0.5)
    made = HookedGPT(GPTConfig(**(shape | changes)), init=init)
    made.name, made.tokenizer = "tiny", tokenizer
    return made.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def on_small():
    return contextual_embeddings.run(load_model("small"), QUICK)


@pytest.fixture(scope="module")
def on_random():
    tokenizer = Language().tokenizer
    return contextual_embeddings.run(model(tokenizer, d_vocab=tokenizer.vocab_size), QUICK)


def numbers(result):
    for name, table in result.tables.items():
        for column in table.frame.select_dtypes("number"):
            yield f"{name}/{column}", table.frame[column].to_numpy(dtype=float)


def test_every_claim_has_a_number_with_its_null(on_small):
    assert [finding.claim for finding in on_small.findings] == CLAIMS
    shown = {figure.name for figure in on_small.figures}
    for finding in on_small.findings:
        assert finding.figure in shown
        assert finding.value is not None and finding.null is not None and finding.null_name
        assert finding.n
        assert finding.ci_low is not None or finding.claim == 30  # exact


def test_the_shipped_model_tells_senses_apart(on_small):
    row = on_small.tables["senses_overview"].frame.iloc[0]
    assert row["auc"] > 0.95
    assert row["first_auc"] == pytest.approx(0.5, abs=0.06)
    assert row["random_auc"] == pytest.approx(0.5, abs=0.1)
    assert row["halves_auc"] < 0.7
    assert row["bag"] < 0.7
    assert row["corrected_auc"] > 0.95
    verdicts = {finding.claim: finding.verdict for finding in on_small.findings}
    assert verdicts[26] == verdicts[30] == "holds"
    assert not any(figure.uninformative for figure in on_small.figures)


def test_a_cue_behind_the_word_changes_nothing(on_small, on_random):
    for result in (on_small, on_random):
        row = result.tables["cues_overview"].frame.iloc[0]
        assert row["after_largest"] == 0
        assert row["first_layer_largest"] == 0
        assert row["before"] > 0


def test_without_the_mask_a_cue_behind_the_word_does():
    tokenizer = Language().tokenizer
    made = model(tokenizer, d_vocab=tokenizer.vocab_size, mask="none")
    pairs = [p for p in _contexts.contexts_of(made, 52, 8, 0).pairs if p.kind == "after"]
    by_layer = measures.cue_effects(made, pairs).groupby("layer")["largest"]
    assert by_layer.min().iloc[-1] > 1e-3
    assert by_layer.max().iloc[0] == 0


def test_layer_0_is_exact(on_small):
    identity = on_small.tables["identity"].frame
    assert identity["deviation"].iloc[0] == 0
    assert identity["pair_deviation"].iloc[0] <= 1e-10
    assert (identity["deviation"].iloc[1:] > 0.1).all()


def test_random_weights_are_marked(on_random):
    unread = {figure.name for figure in on_random.figures if figure.uninformative}
    assert {"lecture_phrases", "senses_by_layer", "cue_before_or_after"} <= unread
    verdicts = {finding.claim: finding.verdict for finding in on_random.findings}
    assert verdicts[26] in ("fails", "undecided")
    assert verdicts[31] in ("fails", "undecided")
    assert verdicts[30] == "holds"


def test_no_number_is_missing(on_small, on_random):
    for result in (on_small, on_random):
        for name, values in numbers(result):
            assert np.isfinite(values).all(), name
        assert result.headline.text(result.tables)
        for figure in result.figures:
            for sentence in (figure.alt, figure.answer, figure.change_our_mind):
                assert sentence.text(result.tables)


def test_every_text_is_there_in_korean(on_small, on_random):
    korean = studies.texts("ko")[contextual_embeddings.NAME]
    for result in (on_small, on_random):
        texts = [result.question, result.headline.template]
        texts += [table.caption for table in result.tables.values()]
        for part in result.figures:
            texts += [part.question, part.how_to_read, part.scene, part.uninformative]
            texts += [part.alt.template, part.answer.template, part.change_our_mind.template]
        for finding in result.findings:
            texts += [finding.unit, finding.null_name]
        assert [text for text in texts if text and text not in korean] == []


def test_findings_repeat_the_tables(on_small):
    by_claim = {finding.claim: finding for finding in on_small.findings}
    senses = on_small.tables["senses"].frame
    layer = int(on_small.tables["senses_overview"].frame["layer"].iloc[0])
    assert by_claim[26].value == senses["auc"].iloc[layer]
    cells = on_small.tables["senses_by_cue"].frame
    ours = cells[(cells["of"] == "the model") & (cells["layer"] == layer)]
    assert by_claim[26].value == pytest.approx(ours["auc"].mean())
    assert by_claim[26].n == len(ours)
    table = cells[cells["of"] == "the model"].groupby("layer")["auc"].mean().to_numpy()
    gain = (table[-1] - table[0], np.diff(table).max() / (table[-1] - table[0]))
    overview = on_small.tables["senses_overview"].frame.iloc[0]
    assert (overview["gain"], overview["largest_share"]) == pytest.approx(gain)


def test_halves_share_cues_and_no_use():
    language = load_model("small")
    uses = _contexts.contexts_of(language, 130, 8, 0).uses
    one, two = contextual_embeddings._halves(uses)
    assert sorted(one + two) == list(range(len(uses)))
    assert abs(len(one) - len(two)) < len(uses) / 4


# ------------------------------------------------------------------------------------- prompts


def test_own_uses_stand_at_their_word_and_have_its_cue():
    contexts = _contexts.contexts_of(load_model("small"), 52, 8, 3)
    vocab = Language().vocab
    for tokens, at, word, sense, cue in zip(
        *(
            getattr(contexts.uses, name)
            for name in ("tokens", "positions", "words", "senses", "cues")
        ),
        strict=True,
    ):
        assert vocab[tokens[at]] == word and at == len(tokens) - 1
        topic = next(t for t, (name, _) in lexicon.SENSES[word].items() if name == sense)
        assert cue in lexicon.TOPIC_CUES[topic]
        assert cue in [vocab[i] for i in tokens]


def test_phrases_of_the_lectures_and_what_they_mean():
    contexts = _contexts.contexts_of(load_model("small"), 52, 8, 3)
    vocab = Language().vocab
    for word, uses in contexts.examples.items():
        for tokens, at, phrase in zip(uses.tokens, uses.positions, uses.senses, strict=True):
            text = " ".join(vocab[i] for i in tokens[1 : at + 1])
            assert text.endswith(word) and at == len(tokens) - 1
            meant = contexts.meant[word, phrase]
            assert meant in contexts.known[word].senses
            if phrase == "biopsy of the mole":
                assert text.endswith("take a biopsy of the mole")
            if phrase.startswith("one mole"):
                assert text.endswith("one mole")
    known = set(contexts.known["tower"].tokens)
    assert not known & set(contexts.examples["tower"].tokens)


def test_pairs_differ_in_the_cue():
    contexts = _contexts.contexts_of(load_model("small"), 52, 8, 3)
    vocab = Language().vocab
    kinds = {
        kind: [p for p in contexts.pairs if p.kind == kind]
        for kind in ("before", "after", "same sense")
    }
    assert all(len(pairs) >= 6 for pairs in kinds.values())
    for pair in contexts.pairs:
        assert vocab[pair.tokens[0][pair.position]] == pair.word
        if pair.kind == "same sense":
            topics = [t for t, cues in lexicon.TOPIC_CUES.items() if pair.cues[0] in cues]
            assert pair.cues[1] in lexicon.TOPIC_CUES[topics[0]]


class Letters:
    """A tokenizer that spells English letter by letter."""

    vocab_size, bos_id, pad_id, bos_policy = 130, 128, 129, "letters"

    def encode(self, text, bos=True):
        return [128] * bos + [min(ord(c), 127) for c in text]

    def str_tokens(self, ids):
        return [chr(i) for i in ids]

    decode = "".join


class Words(Letters):
    """A tokenizer with a token per English word."""

    vocab_size, bos_id, pad_id = 4000, 0, 1

    def __init__(self):
        self.ids = {}

    def encode(self, text, bos=True):
        return [0] * bos + [self.ids.setdefault(w, len(self.ids) + 2) for w in text.split()]

    def str_tokens(self, ids):
        words = {i: word for word, i in self.ids.items()}
        return [words.get(i, f"<{i}>") for i in ids]

    def decode(self, ids):
        return " ".join(self.str_tokens(ids))


def test_english_models_run_through():
    config = replace(QUICK, n_windows=24)  # of few stories no word comes back often enough
    result = contextual_embeddings.run(model(Words(), d_vocab=4000), config)
    assert [finding.claim for finding in result.findings] == CLAIMS
    for name, values in numbers(result):
        assert np.isfinite(values).all() or name.startswith("senses/halves"), name
    assert result.provenance["uses_of_words_in_pieces"] == 0
    assert result.tables["cues_overview"].frame["after_largest"].iloc[0] == 0


def test_words_in_pieces_are_counted_and_left_out_of_classes():
    contexts = _contexts.contexts_of(model(Letters(), d_vocab=130, n_ctx=256), 104, 8, 0)
    assert contexts.n_in_pieces == len(contexts.uses)
    ids, _, left_out = _contexts.word_classes(model(Words(), d_vocab=4000))
    assert left_out == 0 and len(ids) == sum(map(len, _english_senses.CLASSES.values()))


@pytest.mark.parametrize(
    "made", [lambda: model(), lambda: model(n_ctx=32, d_vocab=TriggerTask().d_vocab)]
)
def test_models_without_words_have_nothing_to_follow(made):
    with pytest.raises(NotApplicable, match="several senses"):
        contextual_embeddings.run(made(), QUICK)


def test_the_same_seed_gives_the_same_result(on_random):
    tokenizer = Language().tokenizer
    again = contextual_embeddings.run(model(tokenizer, d_vocab=tokenizer.vocab_size), QUICK)
    for name, table in on_random.tables.items():
        assert table.frame.equals(again.tables[name].frame), name
