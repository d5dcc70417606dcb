import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from interp.core import GPTConfig, HookedGPT, InitScales
from interp.core.errors import InputError
from interp.corpus import Language, WordTokenizer, lexicon
from interp.loading.word_vectors import read_parquet, read_word2vec
from studies import NotApplicable, _word_pairs, embedding_directions

QUICK = embedding_directions.Config(quick=True, n_windows=120, n_draws=139, limit=4, seed=1)
CLAIMS = list(embedding_directions.CLAIMS)
FIGURES = [
    "words_on_a_direction", "relations", "analogies", "parallelogram", "steering", "cosines",
]  # fmt: skip


@pytest.fixture(autouse=True)
def few_parses(monkeypatch):
    """The type checks that only tests install make the grammar slow."""
    monkeypatch.setattr(_word_pairs, "N_PARSED", 25)


def model(tokenizer=None, name="tiny", **changes):
    shape = {"n_layers": 1, "d_model": 22, "n_heads": 2, "n_ctx": 16, "d_vocab": 67}
    if tokenizer is not None:
        shape["d_vocab"] = tokenizer.vocab_size
    made = HookedGPT(GPTConfig(**(shape | changes)), init=InitScales(qkv=0.3))
    made.name, made.tokenizer = name, tokenizer
    return made.requires_grad_(False).eval()


def gendered(noise=0.02):
    """A model of the small language whose embedding holds planted pairs."""
    made = model(Language().tokenizer, "gendered", d_model=64)
    ids, rng = made.tokenizer.ids, torch.Generator().manual_seed(3)
    g = torch.randn(64, generator=rng)
    with torch.no_grad():
        made.embed.W_E[:] = torch.randn(made.W_E.shape, generator=rng)
        for man, woman in lexicon.GENDER_PAIRS:
            own = noise * torch.randn(64, generator=rng)
            made.embed.W_E[ids[woman]] = made.embed.W_E[ids[man]] + 0.6 * g + own
    return made


@pytest.fixture(scope="module")
def on_random():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_word_pairs, "N_PARSED", 25)
        return embedding_directions.run(model(Language().tokenizer), QUICK)


@pytest.fixture(scope="module")
def on_planted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_word_pairs, "N_PARSED", 25)
        return embedding_directions.run(gendered(), QUICK)


def test_every_claim_has_a_finding_with_its_number(on_planted):
    assert [finding.claim for finding in on_planted.findings] == CLAIMS
    shown = {figure.name for figure in on_planted.figures}
    for finding in on_planted.findings:
        assert finding.verdict != "not applicable"
        assert finding.value is not None and finding.null is not None and finding.null_name
        assert finding.ci_low <= finding.value <= finding.ci_high
        assert finding.n and finding.figure in shown


def test_the_figures_and_their_views(on_planted):
    assert [figure.name for figure in on_planted.figures] == FIGURES
    views = {figure.name: figure.view for figure in on_planted.figures if figure.view}
    assert views["words_on_a_direction"].kind == "number_line"
    assert views["parallelogram"].kind == "plane"
    line = on_planted.tables["line_overview"].frame.iloc[0]
    assert views["words_on_a_direction"].data["null_high"] == pytest.approx(line["band"])
    numbers = on_planted.tables["plane"].frame.iloc[0]
    drawn = on_planted.figures[3].picture.axes[0].get_title()
    assert f"{numbers['cosine']:.2f} in space" in drawn  # the unprojected cosine


def test_a_planted_direction_is_found_and_a_planted_null_is_not(on_planted):
    relations = on_planted.tables["relations"].frame.set_index("relation")
    gender, null = relations.loc["gender"], relations.loc["neutral pairs (null)"]
    assert gender["found"] and gender["consistency"] > 0.9 and gender["order_accuracy"] == 1
    assert not null["found"] and null["consistency"] < 0.2
    analogies = on_planted.tables["analogies"].frame.set_index(["relation", "method", "way"])
    row = analogies.loc["gender", "3CosAdd"]
    assert row.loc["excluded", "top_1"] == 1.0 and row.loc["included", "top_1"] == 1.0
    assert "neutral pairs (null)" not in set(on_planted.tables["analogies"].frame["relation"])
    by_claim = {finding.claim: finding for finding in on_planted.findings}
    assert by_claim[20].verdict in ("holds", "imprecise")
    assert by_claim[20].value == pytest.approx(gender["consistency"])


def test_random_weights_are_marked_as_saying_nothing(on_random):
    useless = {figure.name for figure in on_random.figures if figure.uninformative}
    assert {"words_on_a_direction", "relations", "analogies", "cosines"} <= useless
    verdicts = {finding.claim: finding.verdict for finding in on_random.findings}
    assert (verdicts[19], verdicts[20], verdicts[21]) == ("fails", "fails", "fails")
    assert verdicts[22] != "holds" and verdicts[27] == "undecided"


def test_planted_figures_are_informative(on_planted):
    assert not on_planted.figures[0].uninformative
    assert not on_planted.figures[1].uninformative


def test_findings_repeat_the_tables(on_planted):
    by_claim = {finding.claim: finding for finding in on_planted.findings}
    tables = {name: table.frame for name, table in on_planted.tables.items()}
    pooled = tables["analogies_pooled"].iloc[0]
    assert (by_claim[19].value, by_claim[19].null) == (pooled["excluded"], pooled["nearest"])
    some = tables["analogies"].query("method == '3CosAdd' and way == 'excluded'")
    assert pooled["excluded"] == pytest.approx(some["top_1"].mean())
    assert by_claim[28].value == tables["illusion"].query("kind == 'random'")["plane"].iloc[0]
    assert by_claim[24].value == tables["dimensions"]["n_components"].iloc[0]
    jobs = tables["bias"].query("weights == 'the model' and kind == 'lists'").iloc[0]
    assert (by_claim[27].value, by_claim[27].p) == (jobs["effect_size"], jobs["p"])
    gains = tables["steering_gain"].iloc[0]
    moved = tables["steering"].query("alpha == 1.0 and readout == 'gender'").set_index("direction")
    assert gains["gain"] == pytest.approx(
        moved.loc["gender", "moved"] - moved.loc["random direction", "moved"], abs=1e-9
    )
    assert tables["rotation"]["largest_change"].iloc[0] < 1e-10


def test_the_same_call_gives_the_same_tables(on_random):
    again = embedding_directions.run(model(Language().tokenizer), QUICK)
    for name, table in on_random.tables.items():
        assert table.frame.equals(again.tables[name].frame), name
    assert on_random.findings == again.findings


def test_no_sentence_is_broken(on_planted, on_random):
    for result in (on_planted, on_random):
        for figure in result.figures:
            for sentence in (figure.answer, figure.alt, figure.change_our_mind):
                text = sentence.text(result.tables)
                assert "nan" not in text.lower().split() and "{" not in text


def test_own_lists_come_first_and_left_out_words_are_shown(tmp_path):
    pairs, rated = tmp_path / "mine.csv", tmp_path / "rated.csv"
    pairs.write_text(
        "relation,first,second\nsize,king,crown\nsize,man,car\nsize,boy,kite\nsize,girl,zebra\n"
    )
    rated.write_text(
        "king,queen,4\nman,boy,3\nking,crown,2\ndog,hound,4\ncat,tower,0\nzebra,cat,1\n"
    )
    questions = tmp_path / "questions.txt"
    questions.write_text(
        ": family\nman woman king queen\nman woman boy girl\nman woman zebra dog\n"
    )
    config = replace(QUICK, pairs=pairs, similarity=rated, analogies=questions)
    result = embedding_directions.run(model(Language().tokenizer), config)
    assert result.tables["relations"].frame["relation"].iloc[0] == "size"
    assert result.tables["line_overview"].frame["relation"].iloc[0] == "size"
    # The lectures' claim stays about gender.
    gender = result.tables["relations"].frame.set_index("relation").loc["gender"]
    by_claim = {finding.claim: finding for finding in result.findings}
    assert by_claim[20].value == gender["consistency"]
    lost = result.tables["left_out"].frame
    assert "zebra: unknown." in set(lost[lost["relation"] == "size"]["reason"])
    assert "analogy file (2 of 3 questions usable)" in set(lost["relation"])
    analogies = result.tables["analogies"].frame
    file = analogies[analogies["relation"] == "file: family"]
    assert set(file["n_questions"]) == {2}
    ratings = result.tables["similarity"].frame.set_index("ratings").loc["rated.csv"]
    assert set(ratings["n"]) == {5} and set(ratings["n_left_out"]) == {1}
    # The report must not depend on where the user's files lie.
    assert str(tmp_path) not in json.dumps(result.provenance, default=str)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("pairs", "", "is empty"),
        ("pairs", "size,a\nb\n", "line 2"),
        ("pairs", "size,king,king\nsize,a,b\nsize,c,d\n", "paired with itself"),
        ("analogies", "king queen\n", "line 1: .* but 2 came"),
        ("analogies", "zebra okapi gnu yak\n", "none of the 1 analogies"),
        ("similarity", "king,queen,1\nx,y,many\n", "line 2: the rating 'many' is no number"),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path, field, text, message):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        embedding_directions.run(model(Language().tokenizer), replace(QUICK, **{field: path}))


def test_one_pair_only_is_reported_as_left_out(tmp_path):
    from studies._embedding_words import material

    path = tmp_path / "mine.csv"
    path.write_text("size,king,crown\n")
    lost = material(model(Language().tokenizer), replace(QUICK, pairs=path)).lost
    assert lost.iloc[0].tolist() == [
        "size", "king", "crown", "fewer than 3 pairs of this relation are left.",
    ]  # fmt: skip


def test_the_embedding_is_exported(tmp_path):
    made = model(Language().tokenizer)
    from studies._embedding_words import material

    written = embedding_directions.export(made, material(made, QUICK), tmp_path / "out")
    assert {path.name for path in written} == {
        "vectors.tsv", "metadata.tsv", "embedding.parquet", "embedding.txt",
    }  # fmt: skip
    for read in (read_word2vec(tmp_path / "out/embedding.txt"),
                 read_parquet(tmp_path / "out/embedding.parquet")):  # fmt: skip
        assert read.words == made.tokenizer.vocab
        assert (read.vectors == made.W_E.numpy()).all()
    shown = (tmp_path / "out/metadata.tsv").read_text().splitlines()
    vectors = np.loadtxt(tmp_path / "out/vectors.tsv")
    assert len(shown) == 1 + len(vectors) and shown[0] == "word\tfrequency_rank"
    word = shown[1].split("\t")[0]
    assert vectors[0] == pytest.approx(made.W_E[made.tokenizer.ids[word]].numpy(), abs=1e-6)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        embedding_directions.export(made, material(made, QUICK), tmp_path / "file/out")


def test_a_model_without_words_has_no_directions():
    with pytest.raises(NotApplicable, match="tokens are no words"):
        embedding_directions.run(model(), QUICK)
    with pytest.raises(NotApplicable, match="no words of ours are tokens"):
        embedding_directions.run(model(WordTokenizer(["uno", "dos", "tres"])), QUICK)


def test_a_model_of_english_words():
    """Counts are not known for it; everything else is measured."""
    words = {w for pairs in _word_pairs.english().relations.values() for p in pairs for w in p}
    tokenizer = WordTokenizer(sorted({word.lower() for word in words}))
    result = embedding_directions.run(model(tokenizer), QUICK)
    verdicts = {finding.claim: finding.verdict for finding in result.findings}
    assert list(verdicts) == CLAIMS
    assert verdicts[25] == "not applicable"
    assert len(result.tables["relations"].frame) >= 10
    assert "baseline" not in result.tables
