"""English prompts with marked places, spelt by GPT-2's own tokenizer.

Oracle: the decoded text, read with rules that know nothing of the frames (a name that stands once,
the last noun, the week).
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from interp.core import GPTConfig, HookedGPT
from interp.loading.tokenizer import TextTokenizer
from interp.measures import detect_roles, missing_roles
from interp.measures.roles import REGISTRY
from studies import _english, _english_pairs, _english_scenes, _english_words, _prompts, _scenes

GPT2_TOKENIZER = Path(__file__).parents[2].parent / "shared" / "gpt2-tokenizer"
pytestmark = pytest.mark.skipif(
    not GPT2_TOKENIZER.is_dir(), reason=f"GPT-2's tokenizer files are not at {GPT2_TOKENIZER}"
)
N = 48
NOUNS = {form for pair in _english_words.COUNTED for form in pair}
PLURAL = {plural for _, plural in _english_words.COUNTED}
BEFORE = ("The", "I know that the", "After the storm the", "In this small town the")


@pytest.fixture(scope="module")
def english():
    return _english_pairs.English(TextTokenizer.from_directory(GPT2_TOKENIZER, gpt2=True))


@pytest.fixture(scope="module")
def scenes(english):
    return _english_scenes.scenes(english, N, 0, 1024)


def texts(english, row):
    return [text.strip() for text in english.tokenizer.str_tokens([int(token) for token in row])]


def test_all_words_are_single_tokens_of_gpt2(english):
    assert english.reads_english
    assert english.left_out == []


def test_words_of_several_tokens_are_left_out_and_listed(english):
    known = english.known(["cat", "hippopotamuses", "Mary"])
    assert known == ["cat", "Mary"]
    assert english.left_out == ["hippopotamuses"]
    english.left_out.clear()


def test_a_slot_of_several_tokens_is_refused(english):
    with pytest.raises(ValueError, match="not one token"):
        english.spelt("a {x} here", {"x": "hippopotamuses"})


def test_marks_are_where_the_text_says(english):
    ids, marks = english.spelt("It rained, {a} said: {b}, {b2}!", {"a": "Tom", "b": "x", "b2": "y"})
    said = texts(english, ids)
    assert said[0] == "<|endoftext|>"
    assert {slot: said[place] for slot, place in marks.items()} == {
        "a": "Tom", "b": "x", "b2": "y", "end": "!",
    }  # fmt: skip
    assert ids[1:] == english.tokenizer.encode("It rained, Tom said: x, y!", bos=False)


# ------------------------------------------------------------------------------- the prompt sets


def test_the_receiver_is_the_name_that_stands_once(english):
    for pair in _english_pairs.indirect_objects(english, N):
        said, marks = texts(english, pair.prompt_ids), pair.meta["marks"]
        names = [word for word in said if word in _english_words.PEOPLE]
        (once,) = [name for name in names if names.count(name) == 1]
        (twice,) = {name for name in names if names.count(name) == 2}
        assert said[marks["io"]] == once == texts(english, pair.correct_ids)[0]
        assert [said[marks["s1"]], said[marks["s2"]]] == [twice] * 2
        assert marks["s1"] < marks["s2"] and texts(english, pair.rival_ids) == [twice]
        assert marks["end"] == len(said) - 1 and said[-1] == "to"
        assert marks["s1+1"] == marks["s1"] + 1
        assert pair.meta["order"] == ("ABB" if marks["io"] < marks["s1"] else "BAB")


def test_matched_versions_differ_in_the_names_alone(english):
    for pair in _english_pairs.indirect_objects(english, N, seed=1):
        marks, controls = pair.meta["marks"], pair.meta["controls"]
        people = {marks[name] for name in ("io", "s1", "s2")}
        differ = {
            name: set(np.flatnonzero(np.array(ids) != pair.prompt_ids).tolist())
            for name, ids in controls.items()
        }
        assert differ == {"abc": people, "other": people, "no name": {marks["io"]}}
        abc = texts(english, controls["abc"])
        assert len({abc[place] for place in people}) == 3
        other = texts(english, controls["other"])
        assert other[marks["s1"]] == other[marks["s2"]] != other[marks["io"]]
        assert {abc[p] for p in people} | {other[p] for p in people} <= set(_english_words.PEOPLE)
        assert texts(english, controls["no name"])[marks["io"]] in _english_words.NOT_NAMES


def test_half_of_the_receivers_come_first_and_units_differ_at_first(english):
    pairs = _english_pairs.indirect_objects(english, N)
    assert sum(pair.meta["order"] == "ABB" for pair in pairs) == N // 2
    for made in (pairs, _english_pairs.agreement(english, N), _english_pairs.sequences(english, N)):
        assert len({pair.meta["unit"] for pair in made[: N // 2]}) == N // 2


@pytest.mark.parametrize("conflicting", [True, False, None])
def test_verbs_agree_with_the_subject(english, conflicting):
    pairs = _english_pairs.agreement(english, N, conflicting=conflicting)
    seen = []
    for pair in pairs:
        said, marks = texts(english, pair.prompt_ids), pair.meta["marks"]
        (start,) = [b for b in BEFORE if " ".join(said[1 : marks["head"]]) == b]
        nouns = [p for p, word in enumerate(said) if word in NOUNS and p >= marks["head"]]
        assert [marks["head"], marks["other"]] == nouns
        plural = said[marks["head"]] in PLURAL
        assert pair.meta["number"] == ("plural" if plural else "singular")
        verbs = texts(english, pair.correct_ids)
        assert verbs == (["are", "were", "have"] if plural else ["is", "was", "has"])
        assert not set(verbs) & set(texts(english, pair.rival_ids))
        conflict = plural != (said[marks["other"]] in PLURAL)
        assert pair.meta["conflicting"] == conflict
        seen.append((conflict, plural, start, pair.meta["construction"]))
    conflicts, plurals, starts, constructions = map(set, zip(*seen, strict=True))
    assert conflicts == ({True, False} if conflicting is None else {conflicting})
    assert plurals == {True, False} and starts == set(BEFORE) and len(constructions) == 3


def test_agreement_controls_keep_words_and_distances(english):
    for pair in _english_pairs.agreement(english, N, seed=2):
        said, marks = texts(english, pair.prompt_ids), pair.meta["marks"]
        for name, ids in pair.meta["controls"].items():
            other, places = texts(english, ids), pair.meta["control_marks"][name]
            for noun in ("head", "other"):
                assert places["end"] - places[noun] == marks["end"] - marks[noun]
            assert other[places["head"]] == said[marks["head"]]
            assert other[places["end"]] == said[marks["end"]]
            if name == "deeper":
                assert other[places["head"] - 3] in NOUNS  # the subject now
                assert other[-3:] == said[-3:]
            else:
                assert other[places["other"]] in ("there", "here")
                assert len(other) == len(said)


def test_sequences_go_on_in_their_order(english):
    week = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    for pair in _english_pairs.sequences(english, 2 * N, length=3):
        said = texts(english, pair.prompt_ids)
        (following,) = texts(english, pair.correct_ids)
        marks, kind = pair.meta["marks"], pair.meta["kind"]
        assert marks["end"] - marks["first"] == 2 and marks["end"] == len(said) - 1
        last = said[-1]
        if kind == "weekdays":
            assert following == week[(week.index(last) + 1) % 7]
        elif kind == "digits":
            assert int(following) == int(last) + 1
        elif kind == "letters":
            assert ord(following) == ord(last) + 1
        rivals = texts(english, pair.rival_ids)
        assert following not in rivals and last in rivals


def test_weeks_and_years_begin_again(english):
    pairs = _english_pairs.sequences(english, 84)
    following = {kind: set() for kind in _english_words.SEQUENCES}
    for pair in pairs:
        following[pair.meta["kind"]] |= set(texts(english, pair.correct_ids))
    assert following["weekdays"] == set(_english_words.SEQUENCES["weekdays"])
    assert following["months"] == set(_english_words.SEQUENCES["months"])
    assert "one" not in following["numbers"] and "twelve" in following["numbers"]


def test_successors_know_the_order_and_nothing_else(english):
    table = _english_pairs.successors(english, english.tokenizer.vocab_size)
    step = {
        one: texts(english, [table[english.id_of(one)]])[0]
        for one in ("Sunday", "December", "three", "second", "9", "H", "K")
    }
    assert step == {
        "Sunday": "Monday", "December": "January", "three": "four", "second": "third", "9": "10",
        "H": "I", "K": "L",
    }  # fmt: skip
    for last in ("twelve", "tenth", "30", "Z", "I", "A", "cat"):
        assert table[english.id_of(last)] == -1
    assert (table >= 0).sum() == 7 + 12 + 11 + 9 + 29 + 23


def test_calendar_texts_hold_words_with_a_successor(english):
    table = _english_pairs.successors(english, english.tokenizer.vocab_size)
    rows, units = _english_pairs.calendar_texts(english, 2 * N)
    shortest = min(map(len, rows))
    assert shortest >= 12
    for row in rows:
        assert (table[row[:shortest]] >= 0).any()
        assert "one" not in texts(english, row) and "1" not in texts(english, row)
    assert len(set(units)) == len(_english_words.CALENDAR) >= 16


# ------------------------------------------------------------------- scenes, on known attention


def attention(english, rows, rule):
    """A pattern of one head that follows a rule on the text: from the last token to one place."""
    made = torch.zeros(*rows.shape, rows.shape[1], dtype=torch.float64)
    for number, row in enumerate(rows):
        said = texts(english, row)
        for query in range(len(said)):
            made[number, query, rule(said[: query + 1])] = 1
    return made


def scores(english, scene, role, rule):
    """Mean score and control of a head that follows the rule, as the detectors read them."""
    cells = REGISTRY[role].cells(scene, torch.device("cpu"))
    means = []
    for side in (cells.target, cells.control):
        pattern = attention(english, scene.versions[side.version], rule)
        means.append((pattern * side.weights).sum((1, 2)).mean().item())
    return means


def name_once(said):
    names = [word for word in said if word in _english_words.PEOPLE]
    return next((p for p, word in enumerate(said) if names.count(word) == 1), 0)


def nouns_of(said):
    start = next((len(b.split()) for b in BEFORE[::-1] if said[1:] and
                  " ".join(said[1 : 1 + len(b.split())]) == b), 1)  # fmt: skip
    return [p for p, word in enumerate(said) if word in NOUNS and p > start]


RULES = {
    "receiver": name_once,
    "subject": lambda said: (nouns_of(said) or [0])[0],
    "last noun": lambda said: ([0] + [p for p in nouns_of(said) if p < len(said) - 1])[-1],
    "place 2": lambda said: min(2, len(said) - 1),
    "one back": lambda said: max(0, len(said) - 2),
    "four back": lambda said: max(0, len(said) - 5),
}


def scene_of(scenes, role):
    (found,) = [scene for scene in scenes if role in scene.pairs]
    return found


@pytest.mark.parametrize(
    "role, rule", [("name_mover", "receiver"), ("agreement", "subject"),
                   ("nearest_noun", "last noun")],
)  # fmt: skip
def test_a_head_that_does_it_scores_1_and_its_control_0(english, scenes, role, rule):
    score, control = scores(english, scene_of(scenes, role), role, RULES[rule])
    assert (score, control) == (pytest.approx(1), pytest.approx(0))


@pytest.mark.parametrize("role", ["name_mover", "agreement", "nearest_noun"])
@pytest.mark.parametrize("rule", ["one back", "four back", "place 2"])
def test_heads_that_go_by_places_do_not_pass(english, scenes, role, rule):
    score, control = scores(english, scene_of(scenes, role), role, RULES[rule])
    if rule != "place 2":
        assert score == control
    # A fixed place is the subject's in a quarter of the sentences, and never in the control.
    assert score - control <= 0.26


@pytest.mark.parametrize("role, wrong", [("agreement", "last noun"), ("nearest_noun", "subject")])
def test_the_wrong_noun_is_told_apart(english, scenes, role, wrong):
    score, control = scores(english, scene_of(scenes, role), role, RULES[wrong])
    assert score == control == 0


def test_answers_stand_at_the_marked_query(scenes):
    for role in ("name_mover", "agreement", "nearest_noun"):
        scene = scene_of(scenes, role)
        assert scene.about == role
        assert (scene.pairs[role]["prompt"][:, 0, 0] == scene.asked.pos).all()
        assert len(scene.asked.row) == N


def test_prompts_of_the_same_words_are_one_unit(english, scenes):
    """The singular and the plural of a sentence count once; texts are units apart from stories."""
    scene = scene_of(scenes, "agreement")
    assert len(set(scene.unit)) == N // 2
    of_unit = [scene.versions["prompt"][scene.unit == unit] for unit in set(scene.unit)]
    assert all(len(rows) == 2 and (rows[0] != rows[1]).sum() == 2 for rows in of_unit)
    (calendar,) = [one for one in scenes if one.plain]
    assert calendar.unit.min() >= len(_english.TEMPLATES)


def test_the_decoy_serves_the_wrong_verb(english, scenes):
    """What a head on the nearest noun serves is that noun's verb, where it disagrees."""
    scene = scene_of(scenes, "nearest_noun")
    for number, row in enumerate(scene.versions["prompt"]):
        noun = texts(english, row)[scene.pairs["nearest_noun"]["prompt"][number, 0, 1]]
        verbs = texts(english, scene.asked.answers[number])
        assert ("are" in verbs) == (noun in PLURAL)


def test_prompts_that_do_not_fit_are_left_out(english):
    kept = _english_scenes.scenes(english, 12, 0, 10)
    assert {role for scene in kept for role in scene.pairs} == set()
    assert [scene.about for scene in kept] == ["successor"]


# --------------------------------------------------------------------------- on a whole model


@pytest.fixture(scope="module")
def model():
    tokenizer = TextTokenizer.from_directory(GPT2_TOKENIZER, gpt2=True)
    config = GPTConfig(n_layers=1, d_model=6, n_heads=2, n_ctx=67, d_vocab=tokenizer.vocab_size)
    made = HookedGPT(config)
    made.name, made.tokenizer = "tiny", tokenizer
    return made.requires_grad_(False).eval()


def test_every_role_is_measured_on_models_that_read_english(model):
    sets = [_prompts.random_prompts(model, 16, 0), _prompts.text_prompts(model, 24, 0)]
    suites = _scenes.suites(model, sets, 24, 0)
    frame = detect_roles(model, suites, n_permutations=20, n_resamples=20)
    assert missing_roles(frame).empty
    assert np.isfinite(frame.select_dtypes("number")).all(axis=None)
    on_text = frame[frame["prompts"] == suites[-1].name]
    assert {"name_mover", "agreement", "nearest_noun", "successor", "adjective_noun",
            "copy_suppression"} <= set(on_text["role"])  # fmt: skip


def test_a_tokenizer_without_the_words_gets_no_english():
    class Letters:
        bos_id = None

        def encode(self, text, bos=True):
            return [ord(letter) for letter in text]

        def str_tokens(self, ids):
            return [chr(i) for i in ids]

    assert not _english_pairs.English(Letters()).reads_english
