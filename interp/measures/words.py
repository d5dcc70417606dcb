"""Words as tokens: which words of a list a vocabulary holds in one piece, and which it does not.

Nothing is dropped silently: every word that cannot be used comes back with its reason.
"""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from interp.core.errors import InputError

ONE_TOKEN, SEVERAL, UNKNOWN = "one token", "several tokens", "unknown"
WORD_COLUMNS = ["word", "status", "token_id", "n_tokens", "pieces"]
FEWEST_PAIRS = 3  # fewer leave no pair to hold out and two to agree


def word_tokens(tokenizer: Any, words: Iterable[str]) -> pd.DataFrame:
    """How a vocabulary spells each word in the middle of a text.

    A tokenizer that keeps spaces (GPT-2's) spells a word with the space before it; only if that
    takes several pieces is the word tried without one, as at the beginning of a text.

    Args:
        tokenizer: of the model: `encode(text, bos=False)` and `str_tokens(ids)`.
        words: in any order; a word that comes twice gets one row.

    Returns:
        One row per word: `word`, `status` ("one token", "several tokens", "unknown"), `token_id`
        (-1 unless one token), `n_tokens` (0 if unknown), `pieces` (texts, joined by "|").
    """
    rows = [_spelling(tokenizer, word) for word in dict.fromkeys(words)]
    return pd.DataFrame(rows, columns=WORD_COLUMNS)


def token_of(tokenizer: Any, word: str) -> int:
    """The single token of a word.

    Raises:
        InputError: the word is unknown, or takes several tokens (they are shown).
    """
    _, status, token, n_tokens, pieces = _spelling(tokenizer, word)
    if status == UNKNOWN:
        tokenizer.encode(word, bos=False)  # its own error names the nearest words
        raise InputError(f"{word!r} is not in this vocabulary")
    if status == SEVERAL:
        raise InputError(
            f"{word!r} takes {n_tokens} tokens ({pieces}), and has no vector of its own; give a "
            "word that is one token"
        )
    return token


def _spelling(tokenizer: Any, word: str) -> tuple[str, str, int, int, str]:
    found: tuple[str, str, int, int, str] = (word, UNKNOWN, -1, 0, "")
    for text in (f" {word}", word):
        try:
            ids = tokenizer.encode(text, bos=False)
        except InputError:
            continue
        if len(ids) == 1:
            return word, ONE_TOKEN, int(ids[0]), 1, tokenizer.str_tokens(ids)[0]
        if ids and found[1] == UNKNOWN:
            found = (word, SEVERAL, -1, len(ids), "|".join(tokenizer.str_tokens(ids)))
    return found


def token_pairs(
    tokenizer: Any, pairs: pd.DataFrame, least: int = FEWEST_PAIRS
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Word pairs as token ids, and a list of what could not be used.

    Args:
        tokenizer: of the model.
        pairs: `relation`, `first`, `second`: words of the same relation differ in the same way,
            and in the same order.
        least: relations with fewer usable pairs are left out whole.

    Returns:
        The usable pairs, with `first_id` and `second_id` added, and one row per pair left out:
        `relation`, `first`, `second`, `reason`.

    Raises:
        InputError: there is no pair, a pair comes twice, a word is paired with itself, or no
            relation keeps `least` pairs.
    """
    _check_pairs(pairs)
    spelt = word_tokens(tokenizer, [*pairs["first"], *pairs["second"]]).set_index("word")
    kept = pairs.reset_index(drop=True).copy()
    reasons = pd.Series("", index=kept.index)
    for side in ("first", "second"):
        kept[f"{side}_id"] = spelt["token_id"].loc[kept[side]].to_numpy()
        for row in spelt[spelt["status"] != ONE_TOKEN].itertuples():
            reason = UNKNOWN if row.status == UNKNOWN else f"{SEVERAL}: {row.pieces}"
            reasons[kept[side] == row.Index] += f"{row.Index}: {reason}. "
    same = (reasons == "") & (kept["first_id"] == kept["second_id"])
    reasons[same] = "both words are the same token. "
    again = (reasons == "") & kept.assign(ok=reasons == "").duplicated(
        ["relation", "first_id", "second_id", "ok"]
    )
    reasons[again] = "the same tokens as an earlier pair. "
    left = kept[reasons == ""].groupby("relation", sort=False)["first"].count()
    few = kept["relation"].map(left).fillna(0) < least
    reasons[(reasons == "") & few] = f"fewer than {least} pairs of this relation are left. "
    lost = kept[["relation", "first", "second"]].assign(reason=reasons.str.strip())
    kept = kept[reasons == ""].reset_index(drop=True)
    if not len(kept):
        example = lost.iloc[0]
        raise InputError(
            f"no relation has {least} pairs of words that are one token each: of {len(pairs)} "
            f"pairs none is left; the first is {example['first']!r}, {example['second']!r} "
            f"({example['reason'].rstrip('.')})"
        )
    return kept, lost[lost["reason"] != ""].reset_index(drop=True)


def _check_pairs(pairs: pd.DataFrame) -> None:
    if not len(pairs):
        raise InputError("there are no word pairs; a direction needs at least "
                         f"{FEWEST_PAIRS} of one relation")  # fmt: skip
    twice = pairs[pairs.duplicated(["relation", "first", "second"])]
    if len(twice):
        row = twice.iloc[0]
        raise InputError(
            f"the pair {row['first']!r}, {row['second']!r} comes twice in {row['relation']!r}; "
            "counted twice it would look like evidence"
        )
    same = pairs[pairs["first"] == pairs["second"]]
    if len(same):
        row = same.iloc[0]
        raise InputError(f"{row['first']!r} is paired with itself in {row['relation']!r}")
    sizes = pairs.groupby("relation", sort=False).size()
    if (sizes < FEWEST_PAIRS).all():
        raise InputError(
            f"{sizes.index[0]!r} has {sizes.iloc[0]} "
            f"{'pair' if sizes.iloc[0] == 1 else 'pairs'}; a direction that is tested on pairs "
            f"held out needs at least {FEWEST_PAIRS}"
        )
