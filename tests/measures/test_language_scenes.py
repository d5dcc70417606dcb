"""Marked sentences of the small language, against what the words themselves say."""

import numpy as np
import pytest

from interp.corpus import Language, lexicon
from interp.corpus.prompts import MinimalPair
from interp.measures import answers_of, answers_scene, language_suite, successors

N = 24
LANGUAGE = Language()
FORM_OF = {word: form for pair in lexicon.SYNONYMS for forms in pair for form, word in
           enumerate(forms)}  # fmt: skip


@pytest.fixture(scope="module")
def suite():
    return language_suite(N, seed=3)


def words(row):
    return LANGUAGE.tokenizer.str_tokens([int(token) for token in row])


def scene_of(suite, role):
    (found,) = [scene for scene in suite.scenes if role in scene.pairs]
    return found


def marked(scene, role, version="prompt"):
    return [tuple(map(int, pairs[0])) for pairs in scene.pairs[role][version]]


def test_every_role_has_its_share(suite):
    for role in ("adjective_noun", "agreement", "name_mover"):
        scene = scene_of(suite, role)
        assert len(scene) == N
        assert scene.about == role and len(scene.asked.row) == N


def test_adjectives_stand_before_their_noun_and_not_in_the_control(suite):
    scene = scene_of(suite, "adjective_noun")
    prompt, control = scene.versions["prompt"], scene.versions["control"]
    for number in range(N):
        marked_places = {tuple(pair) for pair in scene.pairs["adjective_noun"]["prompt"][number]}
        keys = {key for _, key in marked_places}
        (query,) = {query for query, _ in marked_places}
        assert all(0 < key < query for key in keys)
        differ = np.flatnonzero(prompt[number] != control[number])
        assert set(differ) == keys
        # All words from the determiner on are adjectives or the noun itself.
        assert words(prompt[number])[1] == "the" and keys <= set(range(2, query))
        said = words(prompt[number])
        (temper,) = [t for t, of in lexicon.TEMPERS.items() if set(of) & set(said[:query])]
        expected = {verb[FORM_OF[said[query]]] for verb in lexicon.TEMPER_VERBS[temper]}
        assert set(words(scene.asked.answers[number])) == expected


def test_the_language_itself_says_which_noun_the_verb_follows(suite):
    """Oracle: the exact next-word distribution, and the words' own number."""
    scene = scene_of(suite, "agreement")
    for number, row in enumerate(scene.versions["prompt"]):
        query, key = marked(scene, "agreement")[number]
        following = LANGUAGE.next_token_distribution(row[: query + 1].tolist())
        assert following[scene.asked.answers[number]].sum() > 0
        assert following[scene.asked.rivals[number]].sum() == 0
        first = next(place for place, word in enumerate(words(row)) if word in FORM_OF)
        assert key == first
        assert any(word in FORM_OF for word in words(row)[key + 1 : query + 1])


def test_agreement_controls_are_other_nouns_as_far_away(suite):
    scene = scene_of(suite, "agreement")
    both = zip(marked(scene, "agreement"), marked(scene, "agreement", "control"), strict=True)
    for number, ((query, key), (other_query, other_key)) in enumerate(both):
        assert query - key == other_query - other_key
        said = words(scene.versions["control"][number])
        assert said[other_key] in FORM_OF
        assert any(word in FORM_OF for word in said[:other_key])  # the subject stands before it


def test_the_nearest_noun_stands_right_before_every_verb():
    """Why `nearest_noun` has no scene here."""
    import random

    rng, n = random.Random(1), 0
    while n < 200:
        parse = LANGUAGE.sample_sentence("animal", rng)
        if parse.template == "clause":
            verb = parse.find(syntax="verb")[0]
            assert parse.words[verb - 1].word in FORM_OF
            n += 1


def test_names_are_asked_for_where_they_were_introduced(suite):
    scene = scene_of(suite, "name_mover")
    prompt, control = scene.versions["prompt"], scene.versions["control"]
    for number in range(N):
        pairs = {tuple(pair) for pair in scene.pairs["name_mover"]["prompt"][number]}
        keys = {int(key) for _, key in pairs}
        (query,) = {query for query, _ in pairs}
        name = scene.asked.answers[number, 0]
        assert scene.asked.pos[number] == query
        assert keys == set(np.flatnonzero(prompt[number, : query + 1] == name))
        assert name not in scene.asked.rivals[number]
        assert set(np.flatnonzero(prompt[number] != control[number])) == keys


def test_prompts_fit_into_the_context():
    short = language_suite(N, seed=1, n_ctx=13)
    for scene in short.scenes:
        assert all(rows.shape[1] <= 13 for rows in scene.versions.values())
    assert {scene.about for scene in short.scenes} >= {"agreement", "adjective_noun"}


def test_answers_stand_at_the_end_of_each_prompt():
    pairs = [MinimalPair((5, 6, 7), (1, 2), (3,), "x"), MinimalPair((5, 6), (4,), (8, 9), "x")]
    asked = answers_of(pairs)
    assert asked.pos.tolist() == [2, 1]
    assert asked.answers.tolist() == [[1, 2], [4, -1]]
    assert asked.rivals.tolist() == [[3, -1], [8, 9]]
    scene = answers_scene("facts", pairs, units=[7, 4])
    assert scene.versions["prompt"].tolist() == [[5, 6, 7], [5, 6, 6]]
    assert scene.unit.tolist() == [7, 4] and scene.about == "facts" and not scene.pairs


def test_successors_are_days_and_numbers():
    table = successors(LANGUAGE)
    ids = LANGUAGE.tokenizer.ids
    assert table[ids["monday"]] == ids["tuesday"] and table[ids["eleven"]] == ids["twelve"]
    assert table[ids["sunday"]] == ids["monday"]
    assert table[ids["the"]] == table[ids["twelve"]] == -1
    assert (table >= 0).sum() == 7 + 11


def test_the_same_seed_gives_the_same_prompts(suite):
    again, other = language_suite(N, seed=3), language_suite(N, seed=4)
    for one, two, three in zip(suite.scenes, again.scenes, other.scenes, strict=True):
        assert np.array_equal(one.versions["prompt"], two.versions["prompt"])
        assert not np.array_equal(one.versions["prompt"], three.versions["prompt"])
