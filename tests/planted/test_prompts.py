import pytest

from interp.core import InputError
from interp.planted import Family, make_prompts, periods, plant

SIZES = {"d_vocab": 31, "n_ctx": 23, "seed": 5}


@pytest.fixture(scope="module")
def key():
    return plant("induction_k", **SIZES).key


def test_repeated_blocks_and_their_controls(key):
    prompts = make_prompts(key, Family("repeated", 7, options={"period": 11}))
    for row, control in zip(prompts.tokens.tolist(), prompts.control.tolist(), strict=True):
        assert row[0] == control[0] == 0
        first, second = row[1:12], row[12:]
        assert first == second and len(set(first)) == 11 and min(first) >= 2
        assert control[12:] == second
        assert not set(control[1:12]) & set(second)
    assert prompts.queries[0].tolist() == [False] * 12 + [True] * 11


def test_answers_of_repeats_are_the_next_tokens_of_the_block(key):
    for half, start in (("second", 12), ("first", 1)):
        family = Family("repeated", 3, options={"period": 11, "half": half})
        prompts = make_prompts(key, family)
        rows = zip(
            prompts.tokens.tolist(), prompts.answers.tolist(), prompts.rivals.tolist(), strict=True
        )
        for row, answers, rivals in rows:
            for place in range(23):
                if start <= place < start + 10:
                    assert answers[place] == row[place + 1]
                    assert rivals[place] not in row
                else:
                    assert answers[place] == rivals[place] == -1


def test_random_prompts_are_distinct_words_and_leave_a_rival_out(key):
    prompts = make_prompts(key, Family("random", 5, options={"answer": "lag:2"}))
    assert prompts.tokens.shape == (5, 23)
    for row, answers, rivals in zip(prompts.tokens, prompts.answers, prompts.rivals, strict=True):
        row = row.tolist()
        assert row[0] == 0 and len(set(row)) == 23 and 1 not in row
        assert answers.tolist() == [-1, -1, -1, *row[1:21]]
        assert not set(rivals[3:].tolist()) & set(row)


def test_without_bos_no_bos(key):
    prompts = make_prompts(key, Family("random", 5, options={"bos": False}))
    assert prompts.tokens.min() >= 2


def test_seeds_and_numbers_can_be_chosen(key):
    name = next(iter(key.families))
    same, again, other = (make_prompts(key, name, 9, seed).tokens for seed in (1, 1, 2))
    assert same.shape[0] == 9 and same.equal(again) and not same.equal(other)


def test_agreement_sentences():
    planted = plant("agreement", **SIZES)
    words = planted.model.tokenizer
    for attractors in (0, 1, 2):
        prompts = planted.prompts(f"agreement:attractors_{attractors}")
        for i, row in enumerate(prompts.tokens.tolist()):
            kinds = [_class_of(planted.key, token) for token in row]
            nouns = [k for k in kinds if k.startswith("noun")]
            head = kinds[prompts.marks["head_noun"][i]]
            assert kinds[prompts.marks["head_noun"][i] - 1] == "determiner"
            assert kinds.count("determiner") == 1 and kinds[-1] == "slot"
            assert nouns == [head] + [_other(head)] * attractors
            last = max(place for place, k in enumerate(kinds) if k.startswith("noun"))
            assert last == prompts.marks["nearest_noun"][i]
            verb = _class_of(planted.key, int(prompts.answers[i, -1]))
            assert verb.removeprefix("verb_") == head.removeprefix("noun_")
            assert _class_of(planted.key, int(prompts.rivals[i, -1])).startswith("verb")
            assert prompts.answers[i, -1] != prompts.rivals[i, -1]
            assert len(words.str_tokens(row)) == len(row)


def test_facts_are_corrupted_at_the_subject_only():
    planted = plant("fact_memory", **SIZES)
    prompts = planted.prompts("fact_memory:relation_1")
    changed = prompts.tokens != prompts.corrupted
    assert (changed.sum(1) == 1).all()
    assert changed.long().argmax(1).equal(prompts.marks["subject"])
    subjects, table = planted.key.lexicon["subject"], planted.key.tables["answers_1"]
    for clean, corrupted, answer, rival in zip(
        prompts.tokens[changed].tolist(),
        prompts.corrupted[changed].tolist(),
        prompts.answers[:, -1].tolist(),
        prompts.rivals[:, -1].tolist(),
        strict=True,
    ):
        assert answer == table[subjects.index(clean)]
        assert rival == table[subjects.index(corrupted)] != answer


def test_phrases_have_the_lectures_shape():
    planted = plant("adjective_noun", d_vocab=29, n_ctx=11)
    prompts = planted.prompts("adjective_noun:phrases")
    shape = ["determiner", "adjective", "adjective", "noun", "other", "other"]
    shape += ["determiner", "adjective", "noun"]
    for row, control in zip(prompts.tokens.tolist(), prompts.control.tolist(), strict=True):
        assert [_class_of(planted.key, token) for token in row[1:]] == shape
        replaced = ["other" if kind == "adjective" else kind for kind in shape]
        assert [_class_of(planted.key, token) for token in control[1:]] == replaced


def test_periods_fit_context_and_vocabulary():
    assert periods(32, 32) == (15, 11, 7)
    assert periods(100, 12) == (5, 3)
    with pytest.raises(InputError, match="3 or more"):
        periods(6, 32)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("no such", "it has"),
        (Family("repeated", options={"period": 12}), "do not fit"),
        (Family("random", options={"n_words": 40}), "at most"),
    ],
)
def test_impossible_prompts(key, family, message):
    with pytest.raises(InputError, match=message):
        make_prompts(key, family)


def _class_of(key, token):
    return next((name for name, ids in key.lexicon.items() if token in ids), "special")


def _other(noun):
    return {"noun_singular": "noun_plural", "noun_plural": "noun_singular"}[noun]
