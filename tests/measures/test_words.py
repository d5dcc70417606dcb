import pandas as pd
import pytest

from interp.core.errors import InputError
from interp.corpus import WordTokenizer
from interp.measures import token_of, token_pairs, word_tokens


class Pieces:
    """Spells words with GPT-2's habit: a space belongs to the word after it."""

    vocab_size = 7
    texts = (" cat", " dog", "cat", "un", "do", " s", "king")

    def encode(self, text, bos=True):
        ids = []
        while text:
            token = max((t for t in self.texts if text.startswith(t)), key=len, default=None)
            if token is None:
                raise InputError(f"{text!r} is unknown")
            ids.append(self.texts.index(token))
            text = text[len(token) :]
        return ids

    def str_tokens(self, ids):
        return [self.texts[i] for i in ids]


def frame(*rows):
    return pd.DataFrame(rows, columns=["relation", "first", "second"])


def test_a_word_is_spelt_as_in_the_middle_of_a_text():
    found = word_tokens(Pieces(), ["cat", "king", "undo", "zebra", "cat"])
    assert found["word"].tolist() == ["cat", "king", "undo", "zebra"]
    assert found["status"].tolist() == ["one token", "one token", "several tokens", "unknown"]
    # " cat" rather than "cat"; "king" has no form with a space, so the one without serves.
    assert found["token_id"].tolist() == [0, 6, -1, -1]
    assert found["n_tokens"].tolist() == [1, 1, 2, 0]
    assert found["pieces"].tolist() == [" cat", "king", "un|do", ""]


def test_a_single_word_that_is_no_single_token_is_an_error():
    assert token_of(Pieces(), "dog") == 1
    with pytest.raises(InputError, match=r"'undo' takes 2 tokens \(un\|do\)"):
        token_of(Pieces(), "undo")
    with pytest.raises(InputError, match="zebra"):
        token_of(Pieces(), "zebra")
    with pytest.raises(InputError, match="the nearest words are"):
        token_of(WordTokenizer(["queen", "king"]), "qeen")


def test_pairs_that_cannot_be_used_are_reported_with_their_reason():
    words = WordTokenizer(["a", "b", "c", "d", "e", "f", "g", "h"])
    pairs = frame(
        ("x", "a", "b"), ("x", "c", "d"), ("x", "e", "f"), ("x", "g", "zebra"),
        ("y", "a", "c"), ("y", "b", "d"), ("x", "A", "B"), ("x", "g", "G"),
    )  # fmt: skip
    kept, lost = token_pairs(words, pairs)
    assert kept[["first", "second"]].values.tolist() == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert kept["first_id"].tolist() == [words.ids[w] for w in "ace"]
    assert kept["second_id"].tolist() == [words.ids[w] for w in "bdf"]
    assert len(kept) + len(lost) == len(pairs)  # nothing is dropped silently
    reasons = dict(zip(zip(lost["first"], lost["second"], strict=True), lost["reason"],
                       strict=True))  # fmt: skip
    assert reasons["g", "zebra"] == "zebra: unknown."
    assert reasons["a", "c"] == reasons["b", "d"] == "fewer than 3 pairs of this relation are left."
    assert reasons["A", "B"] == "the same tokens as an earlier pair."
    assert reasons["g", "G"] == "both words are the same token."


def test_several_tokens_are_shown():
    _, lost = token_pairs(Pieces(), frame(("x", "cat", "dog"), ("x", "king", "undo"),
                                          ("x", "dog", "cat")), least=2)  # fmt: skip
    assert lost["reason"].tolist() == ["undo: several tokens: un|do."]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (frame(), "there are no word pairs"),
        (frame(("x", "a", "b"), ("x", "c", "d"), ("x", "a", "b")), "'a', 'b' comes twice in 'x'"),
        (frame(("x", "a", "a"), ("x", "c", "d"), ("x", "e", "f")), "'a' is paired with itself"),
        (frame(("x", "a", "b")), "'x' has 1 pair; a direction"),
        (frame(("x", "a", "b"), ("x", "q", "r"), ("x", "s", "t")), "no relation has 3 pairs"),
    ],
)
def test_pairs_that_prove_nothing_are_refused(pairs, message):
    with pytest.raises(InputError, match=message):
        token_pairs(WordTokenizer(["a", "b", "c", "d", "e", "f"]), pairs)


def test_all_built_in_relations_are_large_enough(monkeypatch):
    from interp.corpus import Language
    from studies import _word_pairs

    few = {word: ("noun", "", "", "") for word in "abcdefghijklmnopqrstuvwxyz"}
    monkeypatch.setattr(_word_pairs, "parsed_features", lambda seed: few)
    own = _word_pairs.own_language(0)
    words = Language().tokenizer
    for name, pairs in own.relations.items():
        assert len(pairs) >= 8, name
        assert len(set(pairs)) == len(pairs)
        assert (word_tokens(words, [w for p in pairs for w in p])["status"] == "one token").all()
    english = _word_pairs.english()
    assert len(english.relations) >= 10
    for name, pairs in english.relations.items():
        assert len(pairs) >= 10, name
        assert len(set(pairs)) == len(pairs)
        assert all(a != b for a, b in pairs)


def test_the_parse_agrees_with_the_lists():
    """Gender and number of the pairs are also what the grammar notes at these words."""
    from interp.corpus import lexicon
    from studies import _word_pairs

    features = _word_pairs.parsed_features(3, n_windows=40)
    men, women = zip(*lexicon.GENDER_PAIRS, strict=True)
    assert {features[word][2] for word in men if word in features} == {"m"}
    assert {features[word][2] for word in women if word in features} == {"f"}
    known = [pair for pair in lexicon.GENDER_PAIRS if set(pair) <= set(features)]
    assert known and all(features[a][3] == features[b][3] != "" for a, b in known)
    forms = [form for pair in lexicon.SYNONYMS for form in pair]
    numbers = {(features.get(a, "??")[1], features.get(b, "??")[1]) for a, b in forms}
    assert ("sg", "pl") in numbers
    assert numbers <= {("sg", "pl"), ("?", "pl"), ("sg", "?"), ("?", "?")}
