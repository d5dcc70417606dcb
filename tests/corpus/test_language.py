"""Oracle: the rules of the language restated here by hand, counts of samples, Bayes by hand."""

import hashlib
import itertools
import random
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from interp.core.errors import InputError
from interp.corpus import Language
from interp.corpus import lexicon as lex
from interp.corpus.grammar import sample_words
from interp.corpus.language import (
    ADJECTIVE_CHANCE,
    KIND_WEIGHTS,
    _adjective_odds,
    entities_of,
    fact,
)


@pytest.fixture(scope="module")
def language():
    return Language()


@pytest.fixture(scope="module")
def windows(language):
    return [language.sample(11, index=i, namespace="test") for i in range(150)]


LECTURES = {
    "a fluffy blue creature roaming through the verdant forest": ("animal", "participle"),
    "American true mole": ("sense", "species"),
    "one mole of carbon dioxide": ("sense", "count"),
    "Take a biopsy of the mole.": ("sense", "take"),
    "the Eiffel tower stands in Paris": ("tower", "eiffel"),
    "the miniature tower stands on the desk": ("tower", "miniature"),
    "the king wore his crown": ("person", "possession"),
    "the queen was proud because she found her robe": ("person", "because"),
    "the man saw himself in the garage": ("person", "reflexive"),
    "the car of the woman is in her garage": ("person", "owner"),
}


@pytest.mark.parametrize("text", LECTURES)
def test_sentences_of_the_lectures_belong_to_the_language(language, text):
    parse = language.recognise(text)
    assert (parse.kind, parse.template) == LECTURES[text]


GRAMMATICAL_AND_NOT = [
    ("the calm dogs near the cat rest .", "the calm dogs near the cat rests ."),
    ("the calm dog rests .", "the calm dog growls ."),
    ("the timid cats with the fierce hog flee .", "the timid cats with the fierce hog attack ."),
    ("the blue cat sleeps in the forest .", "the blue cat sleeps in the desert ."),
    ("the bunny eats carrots .", "the bunny eats bones ."),
    ("the bunny eats carrots .", "the bunny eat carrots ."),
    ("a red dog prowling through the sunny field .", "a red dogs prowling through the field ."),
    ("a red dog prowling through the sunny field .",
     "a red dog prowling through the dusty field ."),
    ("the king washed himself .", "the king washed herself ."),
    ("the nun near the uncle hurt herself .", "the nun near the uncle hurt himself ."),
    ("the ruler was sad because he lost his robe .",
     "the ruler was sad because he lost her robe ."),
    ("mary drove her car .", "mary drove his car ."),
    ("the nurse packed his bag .", "the nurse wore his crown ."),
    ("the pie of the aunt is in her kitchen .", "the pie of the king is in his kitchen ."),
    ("in the hospital the mole itches .", "in the hospital the mole digs ."),
    ("in the zoo not far from the clinic the mole digs .",
     "in the zoo not far from the clinic the mole itches ."),
    ("the parthenon stands in athens .", "the parthenon stands in rome ."),
    ("the colosseum is in italy .", None),
    ("vienna is the capital of austria .", "vienna is the capital of italy ."),
    ("people in lima speak spanish .", "people in lima speak german ."),
    ("the eiffel tower is in paris .", "the eiffel tower is on the shelf ."),
    ("when tom and kate went to the store , tom gave a coin to kate .",
     "when tom and kate went to the store , tom gave a coin to tom ."),
    ("after tom , nina and kate went to the store , nina and tom gave a coin to kate .",
     "after tom , nina and kate went to the store , nina and tom gave a coin to nina ."),
    ("dog of paris seven dog of paris seven .", "dog of paris seven dog of paris nine ."),
    ("dog of paris seven dog of paris seven dog of .", "dog of paris dog of paris ."),
    ("we met tom smith on friday .", "we met smith tom on friday ."),
    ("eight nine ten eleven .", "eight nine eleven ."),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad"), GRAMMATICAL_AND_NOT)
def test_recogniser_tells_right_from_wrong(language, good, bad):
    if bad is None:  # the country is never stated with the entity in this form
        assert language.recognise(good) is None
        return
    assert language.recognise(good) is not None
    assert language.recognise(bad) is None


def test_every_sampled_sentence_is_recognised(language):
    rng = random.Random(5)
    for kind in KIND_WEIGHTS:
        for _ in range(40):
            made = language.sample_sentence(kind, rng)
            found = language.recognise(made.text)
            assert found is not None, made.text
            assert [w.cls for w in found.words] == [w.cls for w in made.words] or found.kind != kind
            assert found.log_prob >= made.log_prob + np.log(KIND_WEIGHTS[kind]) - 1e-9


def test_filter_is_never_below_the_trace(language, windows):
    """P(words) sums over derivations, one of which made them."""
    equal = 0
    for window in windows:
        exact, traced = np.cumsum(language.log_probs(window.tokens)), np.cumsum(window.log_probs)
        assert (exact >= traced - 1e-9).all()
        equal += np.isclose(exact[-1], traced[-1], atol=1e-6)
    assert equal > 10  # windows whose every sentence has a single derivation
    assert equal < len(windows)


def test_an_unambiguous_sentence_has_its_traced_probability(language):
    """By hand: weight of the type, the construction, then each choice of a word."""
    text = "the eiffel tower is in paris ."
    ids = language.tokenizer.encode(text)
    assert language.log_probs(ids).sum() == pytest.approx(np.log(0.03 * 0.40 * 0.5), abs=1e-6)
    text = "people in tokyo speak japanese ."
    ids = language.tokenizer.encode(text)
    assert language.log_probs(ids).sum() == pytest.approx(np.log(0.05 * 0.40 * 0.5 / 12), abs=1e-6)


def test_next_token_distribution_is_a_distribution_and_agrees_with_log_probs(language, windows):
    for window in windows[:12]:
        log_probs = language.log_probs(window.tokens)
        for pos in (1, 7, 31, 64):
            probs = language.next_token_distribution(window.tokens[:pos])
            assert probs.min() >= 0
            assert probs.sum() == pytest.approx(1.0, abs=1e-9)
            assert np.log(probs[window.tokens[pos]]) == pytest.approx(log_probs[pos - 1], abs=1e-9)


def test_hidden_gender_by_bayes(language):
    """P(his) after an occupation is the planted share; once told, it stays."""
    ids = language.tokenizer.ids
    for word, share in [("pilot", 0.8), ("nurse", 0.2), ("ruler", 0.5), ("king", 1.0)]:
        verb = "packed" if word in lex.BIAS_MALE_SHARE else "wore"
        prefix = language.tokenizer.encode(f"the {word} {verb}")
        probs = language.next_token_distribution(prefix)
        assert probs[ids["his"]] == pytest.approx(share, abs=1e-4)
        prefix = language.tokenizer.encode(f"the {word} was sad because he lost")
        probs = language.next_token_distribution(prefix)
        assert probs[ids["his"]] == pytest.approx(1.0, abs=1e-4)


PREFIXES = ["", "the", "the nurse", "in the", "one", "take a", "people in"]


def test_sampled_next_words_follow_the_exact_conditionals(language):
    """Chi-square over the beginnings of 20 000 short windows; bins of at least 8."""
    tokens = language.batch(3, 20_000, 5, namespace="test")
    for text in PREFIXES:
        prefix = np.array(language.tokenizer.encode(text))
        k = len(prefix)
        after = tokens[(tokens[:, :k] == prefix).all(axis=1)][:, k]
        expected = language.next_token_distribution(prefix) * len(after)
        counts = np.bincount(after, minlength=len(expected))
        assert counts[expected == 0].sum() == 0
        big = expected >= 8
        observed = [*counts[big], counts[~big].sum()]
        wanted = [*expected[big], expected[~big].sum()]
        if wanted[-1] < 8:
            observed[-2:], wanted[-2:] = [sum(observed[-2:])], [sum(wanted[-2:])]
        assert len(wanted) >= 2, text
        assert stats.chisquare(observed, wanted).pvalue > 1e-4, text


def test_planted_bias_in_sampled_sentences(language):
    rng = random.Random(17)
    men, people = Counter(), Counter()
    for _ in range(15_000):
        parse = language.sample_sentence("person", rng)
        places = parse.find(cls="pronoun")
        if not places:
            continue
        pronoun = parse.words[places[0]]
        subject = parse.words[pronoun.antecedent].word
        group = (
            "male" if subject in lex.MALE_OCCUPATIONS
            else "female" if subject in lex.FEMALE_OCCUPATIONS
            else "neutral" if any(subject in pair for pair in lex.NEUTRAL_PAIRS)
            else None
        )  # fmt: skip
        people[group] += 1
        men[group] += pronoun.gender == "m"
    for group, share in [("male", 0.8), ("female", 0.2), ("neutral", 0.5)]:
        assert people[group] > 800
        interval = stats.binomtest(men[group], people[group]).proportion_ci(0.9999)
        assert interval.low < share < interval.high


def contexts(language, word, continuations):
    """Exact distribution right after a word, and after each of some continuations."""
    prefixes = [f"the {word}", *(f"the {word} {rest}" for rest in continuations)]
    encoded = [language.tokenizer.encode(prefix) for prefix in prefixes]
    return np.stack([language.next_token_distribution(ids) for ids in encoded])


def assert_interchangeable(language, a, b, continuations):
    """Same contexts after both words and the same chance of either, repeated blocks apart.

    (A random block that holds one word cannot hold it again but may hold the
    other one; hence the tolerance, the size of such a block's posterior.)
    """
    one, two = (contexts(language, word, continuations) for word in (a, b))
    np.testing.assert_allclose(one, two, atol=2e-5)
    first = language.next_token_distribution(language.tokenizer.encode("the"))
    ids = language.tokenizer.ids
    assert first[ids[a]] == pytest.approx(first[ids[b]], rel=1e-9)


@pytest.mark.parametrize("role", lex.ROLES)
def test_null_pairs_have_identical_contexts(language, role):
    a, b = lex.ROLES[role][1]
    verb, objects, place = lex.ROLES[role][2:]
    rest = [verb, f"{verb} his {objects[0]} in the", "near the king", "was sad because"]
    assert_interchangeable(language, a, b, rest)
    for noun in (a, b):
        text = f"the {objects[0]} of the {noun} is in his {place} ."
        assert language.recognise(text) is not None


def test_synonyms_have_identical_contexts_and_other_pairs_do_not(language):
    for one, two in lex.SYNONYMS:
        for a, b, eat in zip(one, two, ("eats", "eat"), strict=True):
            assert_interchangeable(language, a, b, [eat, "near the"])
    dog, cat = (contexts(language, word, ["eats"]) for word in ("dog", "cat"))
    assert np.abs(dog - cat).max() > 0.4


def test_texture_decides_nothing(language):
    for rest in ("dog", "dog rests in the"):
        rows = [
            language.next_token_distribution(language.tokenizer.encode(f"the {t} {rest}"))
            for t in lex.TEXTURES
        ]
        assert np.ptp(rows, axis=0).max() < 2e-5


def test_gender_and_role_factorise(language):
    """King is to queen as actor is to actress: mirrored pronouns, the same role words."""
    ids = language.tokenizer.ids
    swap = np.arange(len(language.vocab))
    for male, female in zip(*(lex.PRONOUNS[g].values() for g in "mf"), strict=True):
        swap[[ids[male], ids[female]]] = ids[female], ids[male]
    for male, female in lex.GENDER_PAIRS:
        continuations = ["saw", "was tired because"]
        one, two = (contexts(language, word, continuations) for word in (male, female))
        np.testing.assert_allclose(one, two[:, swap], atol=2e-5)


def test_held_out_pairs_never_occur(language):
    """In as many fact sentences as 200 000 sentences hold, in whole text, and in the grammar."""
    ids = language.tokenizer.ids
    facts = sample_words(lambda _: fact(False), random.Random(23), 270_000)
    assert facts.count(".") > 200_000 * KIND_WEIGHTS["fact"]
    mixed = language.batch(23, 2000, 65, namespace="test").ravel()
    tokens = np.concatenate([[ids[word] for word in facts], mixed])
    held_out, two_hop = (
        np.isin(tokens, [ids[e] for e in group])
        for group in (lex.HELD_OUT_ENTITIES, lex.TWO_HOP_HELD_OUT)
    )

    def begins(words):
        hits = np.ones(len(tokens), dtype=bool)
        for offset, word in words.items():
            hits &= np.roll(tokens, -offset) == ids[word]
        return hits

    built, find = begins({1: "was", 2: "built"}), begins({-1: "the", -2: "find", -3: "can"})
    country = begins({1: "is", 2: "in", 3: "the", 4: "country"})
    assert built.sum() > 1000 and find.sum() > 1000 and country.sum() > 1000
    assert not (held_out & (built | find)).any()
    assert not (two_hop & country).any()
    assert language.recognise("the louvre was built in paris") is None
    assert language.recognise("the ginza is in the country of japan") is None
    assert Language(held_out=True).recognise("the louvre was built in paris") is not None
    assert language.recognise("the louvre stands in paris") is not None


def test_held_out_sizes():
    assert len(lex.ENTITIES) == 36 and len(lex.CITIES) == 12
    assert len(lex.HELD_OUT_ENTITIES) == 7 and len(lex.TWO_HOP_HELD_OUT) == 12
    assert len(entities_of("built")) == 29 and len(entities_of("two_hop")) == 24
    assert not set(lex.HELD_OUT_ENTITIES) & set(lex.TWO_HOP_HELD_OUT)


def test_people_keep_their_last_names(language):
    known = 0
    for index in range(120):
        window = language.sample(2, 257, index=index, namespace="test")
        names = {}
        for parse in window.sentences:
            for i in parse.find(cls="last_name"):
                first, last = parse.words[i - 1].word, parse.words[i].word
                known += first in names
                assert names.setdefault(first, last) == last
    assert known > 100


def test_adjective_order_is_a_uniform_shuffle_of_independent_choices():
    """By enumeration: include each class with its chance, then every order is equally likely."""
    expected = Counter()
    for size in range(4):
        for chosen in itertools.combinations(ADJECTIVE_CHANCE, size):
            p = np.prod([q if c in chosen else 1 - q for c, q in ADJECTIVE_CHANCE.items()])
            orders = list(itertools.permutations(chosen))
            for order in orders:
                expected[order] += p / len(orders)
    assert sum(expected.values()) == pytest.approx(1.0)
    for order, p in expected.items():
        got = 1.0
        for i, choice in enumerate((*order, None)):
            got *= _adjective_odds(frozenset(order[:i]), False)[choice]
        assert got == pytest.approx(p)


def test_parse_of_a_clause_with_an_attractor(language):
    words = language.recognise(
        "the soft blue calm dogs near the angry cat rest in the grove ."
    ).words
    assert [w.cls for w in words] == [
        "article", "adj_texture", "adj_colour", "adj_temper", "noun_animal", "preposition",
        "article", "adj_temper", "noun_animal", "verb_temper", "preposition", "article", "place",
        "punctuation",
    ]  # fmt: skip
    assert (words[4].number, words[4].syntax) == ("pl", "head")
    assert (words[8].number, words[8].syntax) == ("sg", "attractor")
    assert (words[9].number, words[9].role, words[9].determined_by) == ("pl", "calm", (4, 3))
    assert words[12].determined_by == (2,)


def test_parse_of_people_senses_facts_and_repetition(language):
    words = language.recognise("the monk near the witch was sad because he lost his hymn .").words
    assert (words[1].gender, words[1].role) == ("m", "cloister")
    assert (words[4].gender, words[4].syntax) == ("f", "distractor")
    assert words[8].antecedent == 1 and words[10].antecedent == 1
    words = language.recognise("in the clinic they say today the mole itches .").words
    assert words[7].sense == "skin" and words[8].determined_by == (2, 7)
    words = language.recognise("one mole of carbon dioxide .").words
    assert words[1].sense == "chemistry" and words[1].determined_by == ()
    words = language.recognise("the prado is in the country of spain .").words
    assert words[-2].fact == ("prado", "country", "spain") and words[-2].determined_by == (1,)
    words = language.recognise("dog of paris seven dog of paris seven dog .").words
    assert [w.antecedent for w in words] == [None] * 4 + [0, 1, 2, 3, 0, None]
    words = language.recognise(
        "when tom , nina and kate went to the store and kate was sad , "
        "tom and nina gave a coin to kate ."
    ).words
    assert words[-2].antecedent == 5 and words[-2].syntax == "recipient"
    assert words[-2].word == words[5].word and words[5].gender == "f"


def test_cue_and_attractor_distances_cover_their_range(language):
    rng = random.Random(1)
    cues, nouns = Counter(), Counter()
    for _ in range(3000):
        parse = language.sample_sentence("sense", rng)
        if parse.template == "cue":
            cue = parse.find(syntax="cue")[0]
            cues[parse.find(cls="ambiguous")[0] - cue] += 1
        nouns[len(language.sample_sentence("animal", rng).find(syntax="attractor"))] += 1
    assert set(cues) == set(range(2, 13))
    assert set(nouns) == {0, 1, 2, 3}


def test_the_same_seed_gives_the_same_tokens_everywhere(language):
    """A fixed hash: trained models depend on this very stream (VERSION says which)."""
    tokens = language.batch(0, 50, 65)
    digest = hashlib.sha256(tokens.astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "33eb0d11b0dae0d8"
    np.testing.assert_array_equal(tokens, Language().batch(0, 50, 65))


def test_stream_batch_and_sample_agree(language):
    batch = language.batch(5, 3, 65)
    stream = language.stream(5, 64)
    for i, row in enumerate(batch):
        np.testing.assert_array_equal(row, next(stream))
        np.testing.assert_array_equal(row, language.sample(5, index=i).tokens)
    assert batch.shape == (3, 65) and batch.dtype == np.int64
    assert (batch[:, 0] == language.tokenizer.bos_id).all()
    assert not (batch[:, 1:] == language.tokenizer.bos_id).any()


def test_namespaces_and_seeds_differ(language):
    base = language.batch(0, 2, 33)
    assert (base != language.batch(0, 2, 33, namespace="eval")).any()
    assert (base != language.batch(1, 2, 33)).any()
    rng = np.random.default_rng(0)
    first, second = language.batch(rng, 2, 33), language.batch(rng, 2, 33)
    assert (first != second).any()
    np.testing.assert_array_equal(first, language.batch(np.random.default_rng(0), 2, 33))


def test_sentences_tile_the_window_and_the_last_may_be_cut(language, windows):
    cut = 0
    for window in windows:
        position = 1
        for parse in window.sentences:
            assert parse.start == position
            ids = [language.tokenizer.ids[word.word] for word in parse.words]
            np.testing.assert_array_equal(window.tokens[position : position + len(ids)], ids)
            position += len(ids)
        assert position == len(window.tokens) == 65
        assert all(parse.complete for parse in window.sentences[:-1])
        cut += not window.sentences[-1].complete
    assert cut > len(windows) / 2


def test_vocabulary_is_complete_and_in_use(language):
    assert 450 <= len(language.vocab) <= 540
    assert len(set(language.vocab)) == len(language.vocab)
    seen = set(language.batch(1, 1000, 65).ravel().tolist())
    unseen = [word for i, word in enumerate(language.vocab) if i not in seen]
    assert unseen == ["<pad>"]


def test_kinds_have_their_weights(language, windows):
    assert sum(KIND_WEIGHTS.values()) == pytest.approx(1.0)
    firsts = Counter(w.sentences[0].kind for w in windows)
    expected = [len(windows) * p for p in KIND_WEIGHTS.values()]
    assert stats.chisquare([firsts[k] for k in KIND_WEIGHTS], expected).pvalue > 1e-4


def test_entropy_is_the_mean_exact_loss(language):
    estimate = language.entropy(4, 6, 33)
    losses = [
        -language.log_probs(language.sample(4, 33, index=i, namespace="entropy").tokens)
        for i in range(6)
    ]
    assert estimate.mean == pytest.approx(np.mean(losses))
    assert estimate.standard_error == pytest.approx(stats.sem([x.mean() for x in losses]))
    assert sum(share for _, share in estimate.by_class.values()) == pytest.approx(1.0)
    total = sum(mean * share for mean, share in estimate.by_class.values())
    assert total == pytest.approx(estimate.mean)


def test_the_answers_that_are_certain_cost_nothing(language):
    by_class = language.entropy(1, 120).by_class
    assert by_class["language"][0] < 0.01
    assert by_class["repeat_copy"][0] < 0.5
    assert by_class["repeat_new"][0] > 6.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: x.batch(0, 0, 65), "batch_size=0"),
        (lambda x: x.log_probs([5, 6]), "begins with <bos>"),
        (lambda x: x.log_probs([]), "begins with <bos>"),
        (lambda x: x.log_probs([0, 1]), "id 1"),
        (lambda x: x.log_probs([0, 9999]), "id 9999"),
        (lambda x: x.next_token_distribution(x.tokenizer.encode("the the the")), "no window"),
        (lambda x: x.entropy(0, 1), "at least 2 windows"),
        (lambda x: x.sample_sentence("poem", random.Random(0)), "no sentence type 'poem'"),
        (lambda x: x.recognise("the kin wore his crown"), "'kin'"),
    ],
)
def test_wrong_calls_say_what_is_wrong(language, call, words):
    with pytest.raises(InputError, match=words):
        call(language)


def test_impossible_windows_have_probability_zero(language):
    ids = language.tokenizer.encode("the dogs rests the dogs")
    log_probs = language.log_probs(ids)
    # "the dogs rests" may begin a random block, but a block of three words is never repeated.
    assert np.isfinite(log_probs[:3]).all()
    assert (log_probs[3:] == -np.inf).all()
    assert language.recognise("") is None
    assert language.recognise("the king") is None
