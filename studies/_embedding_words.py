"""The words that an embedding is measured on, as tokens of the model at hand."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from interp.core.errors import InputError
from studies import NotApplicable, _prompts, _word_pairs

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from interp.core import HookedGPT


@dataclass(frozen=True)
class Material:
    """Words as tokens.

    Attributes:
        lists: the word lists.
        own: whether the model speaks the small language.
        pairs: usable pairs: `relation`, `first`, `second`, `first_id`, `second_id`.
        lost: words and pairs that could not be used, with the reason.
        order: tokens that are words, from the most frequent to the rarest.
        words: tokens that are no special ones: the rows of the embedding that are measured.
        special: the others.
        spelt: token id of every word of the lists that is one token.
        corpus: text of the model's own language, for counts; None if it is not known.
        questions: questions of an analogy file by category, as token ids.
        frequency: how the frequency order was found.
        ratings: rated pairs of words, by where the ratings come from.
    """

    lists: "_word_pairs.Lists"
    own: bool
    pairs: "pd.DataFrame"
    lost: "pd.DataFrame"
    order: "np.ndarray"
    words: "np.ndarray"
    special: "np.ndarray"
    spelt: dict[str, int]
    corpus: "np.ndarray | None"
    frequency: str
    questions: "dict[str, np.ndarray]" = field(default_factory=dict)
    ratings: dict[str, list[tuple[str, str, float]]] = field(default_factory=dict)

    @property
    def relations(self) -> "dict[str, np.ndarray]":
        """Token ids of the pairs, by relation."""
        return {
            name: some[["first_id", "second_id"]].to_numpy()
            for name, some in self.pairs.groupby("relation", sort=False)
        }

    def ids(self, words: Any) -> "np.ndarray":
        """Tokens of those words that have one."""
        import numpy as np

        return np.array([self.spelt[word] for word in words if word in self.spelt], dtype=int)


def material(model: "HookedGPT", config: Any) -> Material:
    """The words of a model's language, with what the user's files add.

    Raises:
        NotApplicable: the model has no words: no tokenizer, or none of ours is in its vocabulary.
        InputError: a file of the user is damaged.
    """
    import numpy as np
    import pandas as pd

    from interp.measures.words import token_pairs

    if model.tokenizer is None:
        raise NotApplicable("this model's tokens are no words, so no two differ in a meaning")
    own = _prompts.speaks_the_language(model)
    lists = _word_pairs.own_language(config.seed) if own else _word_pairs.english()
    # The user's files come first: a mistake in one is told before anything takes long.
    relations = {**_user_pairs(config), **lists.relations}
    ratings = {lists.rated_by: lists.similarity, **_user_ratings(config)}
    questions, lost_questions = _questions(model, config)
    if own:
        corpus = _corpus(config)
        counts = np.bincount(corpus.ravel(), minlength=model.config.d_vocab)
        frequency = f"counts in {corpus.size} tokens"
    else:
        corpus, counts = None, None
        frequency = "order of the token ids: byte pairs are merged from the most frequent on"
    frame = pd.DataFrame(
        [(name, a, b) for name, pairs in relations.items() for a, b in pairs],
        columns=["relation", "first", "second"],
    )
    try:
        pairs, lost = token_pairs(model.tokenizer, frame)
    except InputError as error:
        if config.pairs is not None:
            raise
        raise NotApplicable(f"no words of ours are tokens of this model: {error}") from None
    spelt, lost_words = _spelt(model, lists, ratings)
    special = np.array(sorted(_special(model)), dtype=int)
    order = _order(model, counts, special)
    return Material(
        lists, own, pairs, pd.concat([lost, lost_words, lost_questions], ignore_index=True),
        order, np.setdiff1d(np.arange(len(model.W_E)), special), special, spelt, corpus, frequency,
        questions,
        ratings,
    )  # fmt: skip


def _corpus(config: Any) -> "np.ndarray":
    from interp.corpus import Language

    windows = Language().batch(config.seed, config.n_windows, 64, namespace=_prompts.HELD_OUT)
    return windows[:, 1:]  # <bos> stands near everything and says nothing


def _user_pairs(config: Any) -> dict[str, list[tuple[str, str]]]:
    if config.pairs is None:
        return {}
    from interp.loading.word_lists import read_pairs

    found: dict[str, list[tuple[str, str]]] = {}
    for pair in read_pairs(config.pairs):
        found.setdefault(pair.relation, []).append((pair.first, pair.second))
    return found


def _user_ratings(config: Any) -> dict[str, list[tuple[str, str, float]]]:
    if config.similarity is None:
        return {}
    from interp.loading.word_lists import read_rated_pairs

    rated = [(a, b, rating) for a, b, rating in read_rated_pairs(config.similarity)]
    return {config.similarity.name: rated}


def _spelt(
    model: "HookedGPT", lists: Any, ratings: dict[str, Any]
) -> tuple[dict[str, int], "pd.DataFrame"]:
    """Tokens of all other words, and those that have none of their own."""
    from interp.measures.words import ONE_TOKEN, word_tokens

    words = [*lists.classes, *lists.occupations, *lists.looked_up, *lists.example]
    words += [word for pair in lists.synonyms for word in pair]
    words += [word for pairs in ratings.values() for a, b, _ in pairs for word in (a, b)]
    for _, *four in (*lists.bias, *lists.null_bias):
        words += [word for one in four for word in one]
    for _, _, up, down in lists.readouts:
        words += [*up, *down]
    found = word_tokens(model.tokenizer, words)
    usable = found[found["status"] == ONE_TOKEN]
    lost = found[found["status"] != ONE_TOKEN]
    reason = lost["status"] + ": " + lost["pieces"]
    return dict(zip(usable["word"], usable["token_id"], strict=True)), _lost(lost["word"], reason)


def _lost(words: Any, reasons: Any) -> "pd.DataFrame":
    import pandas as pd

    made = pd.DataFrame(
        {"relation": "other lists", "first": words, "second": "", "reason": reasons}
    )
    return made.reset_index(drop=True)


def _questions(model: "HookedGPT", config: Any) -> "tuple[dict[str, np.ndarray], pd.DataFrame]":
    """Questions of the user's analogy file whose words are tokens, by category."""
    if config.analogies is None:
        return {}, _lost([], [])
    import numpy as np

    from interp.loading.word_lists import read_analogies
    from interp.measures.words import ONE_TOKEN, word_tokens

    asked = read_analogies(config.analogies)
    found = word_tokens(model.tokenizer, [word for one in asked for word in one[1:]])
    usable = found[found["status"] == ONE_TOKEN]
    ids = dict(zip(usable["word"], usable["token_id"], strict=True))
    kept: dict[str, list[list[int]]] = {}
    for one in asked:
        if all(word in ids for word in one[1:]):
            kept.setdefault(one.category or "file", []).append([ids[word] for word in one[1:]])
    if not kept:
        raise InputError(
            f"none of the {len(asked)} analogies of {config.analogies} consists of words that are "
            f"one token of this model; {found['word'].iloc[0]!r} for instance is "
            f"{found['status'].iloc[0]}"
        )
    lost = found[found["status"] != ONE_TOKEN]
    table = _lost(lost["word"], lost["status"] + ": " + lost["pieces"])
    return {name: np.array(rows) for name, rows in kept.items()}, table.assign(
        relation=f"analogy file ({sum(map(len, kept.values()))} of {len(asked)} questions usable)"
    )


def _special(model: "HookedGPT") -> set[int]:
    ids = {model.tokenizer.bos_id, model.tokenizer.pad_id}
    if _prompts.speaks_the_language(model):
        return {token for token in ids if token is not None}
    return {token for token in ids if token is not None and token >= len(model.W_E) - 1}


def _order(model: "HookedGPT", counts: "np.ndarray | None", special: "np.ndarray") -> "np.ndarray":
    """Tokens that are whole words, the most frequent first."""
    import numpy as np

    if counts is not None:
        order = np.argsort(-counts, kind="stable")
        letters = np.array([word.isalpha() for word in model.tokenizer.vocab])
        return order[letters[order] & ~np.isin(order, special)]
    texts = model.tokenizer.str_tokens(range(min(model.tokenizer.vocab_size, len(model.W_E))))
    words = [i for i, text in enumerate(texts) if text[:1] == " " and text[1:].isalpha()]
    if len(words) < 100:  # a vocabulary that keeps no spaces
        words = [i for i, text in enumerate(texts) if text.isalpha()]
    return np.setdiff1d(np.array(words, dtype=int), special)
