"""Marked sentences of the small language, against what the words themselves say."""

import numpy as np
import pytest

from interp.corpus import Language
from interp.measures import language_suite, successors

N = 24
LANGUAGE = Language()


@pytest.fixture(scope="module")
def suite():
    return language_suite(N, seed=3)


def words(row):
    return LANGUAGE.tokenizer.str_tokens(row.tolist())


def scene_of(suite, role):
    return next(scene for scene in suite.scenes if role in scene.pairs)


def animals():
    """Every noun of an animal sentence, by sampling the grammar."""
    import random

    rng, found = random.Random(0), set()
    for _ in range(3000):
        parse = LANGUAGE.sample_sentence("animal", rng)
        found |= {w.word for w in parse.words if w.syntax in ("head", "attractor")}
    return found


def test_every_role_has_its_share(suite):
    for role in ("adjective_noun", "agreement", "name_mover"):
        assert len(scene_of(suite, role)) == N
    assert {scene.about for scene in suite.scenes if scene.asked is not None} == {
        "agreement", "adjective_noun", "name_mover",
    }  # fmt: skip


def test_adjectives_stand_before_their_noun_and_not_in_the_control(suite):
    scene = scene_of(suite, "adjective_noun")
    prompt, control = scene.versions["prompt"], scene.versions["control"]
    for number in range(N):
        marked = {tuple(pair) for pair in scene.pairs["adjective_noun"]["prompt"][number]}
        keys = {key for _, key in marked}
        (query,) = {query for query, _ in marked}
        assert all(0 < key < query for key in keys)
        differ = np.flatnonzero(prompt[number] != control[number])
        assert set(differ) == keys
        # All words from the determiner on are adjectives or the noun itself.
        assert words(prompt[number])[1] == "the" and keys <= set(range(2, query))


def test_agreement_controls_are_as_far_away(suite):
    scene = scene_of(suite, "agreement")
    nouns = animals()
    for number in range(N):
        ((query, key),) = scene.pairs["agreement"]["prompt"][number]
        ((other_query, other_key),) = scene.pairs["agreement"]["control"][number]
        assert query - key == other_query - other_key
        # Another noun than the subject's: its sentence has a noun before it.
        subject = words(scene.versions["prompt"][number])[key]
        assert other_key > 2 and subject in nouns
        assert words(scene.versions["control"][number])[other_key] in nouns


def test_names_are_asked_for_where_they_were_introduced(suite):
    scene = scene_of(suite, "name_mover")
    prompt, control = scene.versions["prompt"], scene.versions["control"]
    for number in range(N):
        pairs = {tuple(pair) for pair in scene.pairs["name_mover"]["prompt"][number]}
        ((query, key),) = pairs
        asked = scene.asked
        assert asked.pos[number] == query
        assert prompt[number, key] == asked.answers[number, 0]
        assert asked.answers[number, 0] not in asked.rivals[number]
        differ = np.flatnonzero(prompt[number] != control[number])
        assert differ.tolist() == [key]


def test_answers_stand_at_the_end_of_each_prompt(suite):
    for scene in suite.scenes:
        if scene.asked is None:
            continue
        tokens = scene.versions["prompt"]
        for row, pos in zip(scene.asked.row, scene.asked.pos, strict=True):
            # What follows only fills up.
            assert len(set(tokens[row, pos:].tolist())) == 1


def test_successors_are_days_and_numbers():
    table = successors(LANGUAGE)
    ids = LANGUAGE.tokenizer.ids
    assert table[ids["monday"]] == ids["tuesday"] and table[ids["eleven"]] == ids["twelve"]
    assert table[ids["sunday"]] == table[ids["twelve"]] == table[ids["the"]] == -1
    assert (table >= 0).sum() == 6 + 11


def test_the_same_seed_gives_the_same_prompts(suite):
    again, other = language_suite(N, seed=3), language_suite(N, seed=4)
    for one, two, three in zip(suite.scenes, again.scenes, other.scenes, strict=True):
        assert np.array_equal(one.versions["prompt"], two.versions["prompt"])
        assert not np.array_equal(one.versions["prompt"], three.versions["prompt"])
