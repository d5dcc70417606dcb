"""How text becomes tokens: pieces per word, spaces, bytes, and byte-pair encoding step by step."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.core.errors import InputError

# As GPT-2 cuts text before merging: contractions, then words, numbers and marks, each with the
# space before it.
_BEFORE_MERGING = re.compile(
    r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+"
)


def byte_characters() -> dict[int, str]:
    """GPT-2's printable character for each byte: itself where it can be seen, else one from 256 on.

    Source: Radford et al. 2019; the space becomes "Ġ" and the line break "Ċ".
    """
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    seen += range(ord("®"), ord("ÿ") + 1)
    hidden = [byte for byte in range(256) if byte not in seen]
    return {b: chr(b) for b in seen} | {b: chr(256 + i) for i, b in enumerate(hidden)}


_CHARACTERS = byte_characters()
_BYTES = {character: byte for byte, character in _CHARACTERS.items()}


def readable(piece: str) -> str:
    """A byte-level piece as text; bytes that are no whole character stay in angle brackets."""
    raw = bytes(_BYTES[character] for character in piece)
    return "".join(
        f"<{ord(c) - 0xDC00:02X}>" if 0xDC00 <= ord(c) <= 0xDCFF else c
        for c in raw.decode("utf-8", errors="surrogateescape")
    )


# --------------------------------------------------------------------------- a real tokenizer


def pieces(tokenizer: Any, texts: Sequence[str]) -> pd.DataFrame:
    """The tokens of some texts.

    Args:
        tokenizer: has `encode(text, bos=...)`, `decode(ids)` and `str_tokens(ids)`.
        texts: any; one that the vocabulary cannot spell is reported, not dropped.

    Returns:
        One row per token: `text`, `place`, `token`, `piece`, `starts_with_space`, `error` (""); a
        text that cannot be encoded is one row with `place` −1 and the reason in `error`.
    """
    rows = []
    for text in texts:
        try:
            ids = [int(i) for i in tokenizer.encode(text, bos=False)]
        except InputError as problem:
            rows.append((text, -1, -1, "", False, str(problem)))
            continue
        shown = tokenizer.str_tokens(ids)
        rows += [
            (text, place, token, piece, piece.startswith(" "), "")
            for place, (token, piece) in enumerate(zip(ids, shown, strict=True))
        ]
    columns = ["text", "place", "token", "piece", "starts_with_space", "error"]
    return pd.DataFrame(rows, columns=columns)


def pieces_per_word(tokenizer: Any, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """How many tokens each word takes, at the start of a text and after a space.

    Args:
        tokenizer: as in `pieces`.
        groups: words by the name of their group.

    Returns:
        One row per word: `group`, `word`, `pieces` (of the bare word), `pieces_after_space`,
        `space_joined` (the first token after a space holds the space and more), `round_trip`
        (decoding gives the word back), `known` (False: the vocabulary cannot spell it, and the
        counts are NaN), `bytes` (UTF-8, the most a byte-level vocabulary can need), `characters`.
    """
    rows = []
    for group, words in groups.items():
        for word in words:
            row = {"group": group, "word": word}
            row |= {"bytes": len(word.encode()), "characters": len(word)}
            try:
                bare = list(tokenizer.encode(word, bos=False))
                spaced = list(tokenizer.encode(f" {word}", bos=False))
            except InputError:
                bare = spaced = None
            known = bare is not None
            rows.append(
                row
                | {
                    "pieces": float(len(bare)) if known else np.nan,
                    "pieces_after_space": float(len(spaced)) if known else np.nan,
                    "space_joined": bool(known and _joins_space(tokenizer, spaced)),
                    "round_trip": bool(known and tokenizer.decode(bare).strip() == word),
                    "known": known,
                }
            )
    order = ["group", "word", "pieces", "pieces_after_space", "space_joined", "round_trip", "known"]
    return pd.DataFrame(rows)[[*order, "bytes", "characters"]]


def _joins_space(tokenizer: Any, ids: Sequence[int]) -> bool:
    first = tokenizer.str_tokens(ids[:1])[0]
    return first.startswith(" ") and first != " "


def space_twins(
    tokenizer: Any, W_E: Float[np.ndarray, "d_vocab d_model"], words: Sequence[str], seed: int = 0
) -> pd.DataFrame:
    """Cosine of a word's embedding with and without the space before it, both single tokens.

    Returns:
        One row per word that is a single token in both forms: `word`, `token`, `token_after_space`,
        `cosine`, `other_cosine` (with another such word's spaced form, the null: a cyclic shift of
        a random order, so never the word itself; NaN for a single word). Empty where forms do not
        differ, as in a vocabulary of whole words.
    """
    found = []
    for word in dict.fromkeys(words):
        try:
            bare, spaced = (tokenizer.encode(form, bos=False) for form in (word, f" {word}"))
        except InputError:
            continue
        if len(bare) == len(spaced) == 1 and bare[0] != spaced[0]:
            found.append((word, int(bare[0]), int(spaced[0])))
    frame = pd.DataFrame(found, columns=["word", "token", "token_after_space"])
    frame = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    bare, spaced = (_unit_rows(W_E[frame[c]]) for c in ("token", "token_after_space"))
    frame["cosine"] = (bare * spaced).sum(axis=1)
    alone = len(frame) < 2
    frame["other_cosine"] = np.nan if alone else (bare * np.roll(spaced, 1, axis=0)).sum(axis=1)
    return frame


def _unit_rows(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(float)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)


# ------------------------------------------------------------------- byte-pair encoding, by hand

Merge = tuple[str, str]


def word_counts(text: str) -> Counter[str]:
    """The words of a text before merging, in byte characters, each with the space before it."""
    return Counter(
        "".join(_CHARACTERS[byte] for byte in word.encode())
        for word in _BEFORE_MERGING.findall(text)
    )


def train_bpe(text: str, n_merges: int) -> pd.DataFrame:
    """Byte-pair encoding, one merge at a time: the commonest pair of neighbours becomes a piece.

    Of equally common pairs the one whose pieces are older comes first (single bytes in the order
    of their characters, then merges in the order they were made), the left piece deciding.

    Args:
        text: what to learn from.
        n_merges: merges to make; fewer where no pair occurs twice any more.

    Returns:
        One row per merge: `step` (from 1), `left`, `right`, `piece` (byte characters),
        `readable`, `count` (occurrences when it was merged), `tokens` (of the whole text after
        it), `bytes_per_token`.

    Raises:
        InputError: an empty text, or no merge asked for.

    Cost: every word is looked at in every step: `n_merges * distinct words * their length`.

    Source: Sennrich et al. 2016, arXiv:1508.07909, on bytes as in Radford et al. 2019; the order of
    ties is that of the `tokenizers` library.
    """
    if not text.strip() or n_merges < 1:
        raise InputError(
            f"byte-pair encoding needs a text and at least 1 merge; {len(text)} characters and "
            f"n_merges={n_merges} came"
        )
    words = [(tuple(word), count) for word, count in word_counts(text).items()]
    age = {c: i for i, c in enumerate(sorted({c for word, _ in words for c in word}))}
    n_bytes = sum(len(word) * count for word, count in words)
    rows = []
    for step in range(1, n_merges + 1):
        pairs = _pair_counts(words)
        pair = min(pairs, key=lambda p: (-pairs[p], age[p[0]], age[p[1]]), default=None)
        if pair is None or pairs[pair] < 2:
            break
        piece = "".join(pair)
        age.setdefault(piece, len(age))
        words = [(_merged(word, pair), count) for word, count in words]
        tokens = sum(len(word) * count for word, count in words)
        rows.append((step, *pair, piece, readable(piece), pairs[pair], tokens, n_bytes / tokens))
    columns = [
        *("step", "left", "right", "piece", "readable"),
        *("count", "tokens", "bytes_per_token"),
    ]
    return pd.DataFrame(rows, columns=columns)


def bpe_pieces(merges: Iterable[Merge], word: str) -> list[str]:
    """The pieces of one word (byte characters) after all merges, in the order they were learned."""
    found = tuple(word)
    for pair in merges:
        found = _merged(found, pair)
    return list(found)


def bpe_steps(merges: Sequence[Merge], word: str) -> pd.DataFrame:
    """One word through the merges: its pieces after each merge that changes it.

    Returns:
        One row per stage, the bytes first: `merges` (made so far), `pieces` (readable), `n`.
    """
    found = tuple(word)
    rows = [(0, " | ".join(map(readable, found)), len(found))]
    for step, pair in enumerate(merges, 1):
        after = _merged(found, pair)
        if after != found:
            found = after
            rows.append((step, " | ".join(map(readable, found)), len(found)))
    return pd.DataFrame(rows, columns=["merges", "pieces", "n"])


def bpe_words(merges: Sequence[Merge], words: Sequence[str]) -> pd.DataFrame:
    """Pieces of words that stand after a space.

    Returns:
        One row per word: `word`, `pieces`, `bytes`, `space_joined` (the first piece holds the
        space and more).
    """
    rows = []
    for word in words:
        spelled = "".join(_CHARACTERS[byte] for byte in f" {word}".encode())
        found = bpe_pieces(merges, spelled)
        rows.append((word, len(found), len(spelled), len(found[0]) > 1))
    return pd.DataFrame(rows, columns=["word", "pieces", "bytes", "space_joined"])


def compression(text: str, merges: Sequence[Merge]) -> pd.DataFrame:
    """Tokens that a text takes after each merge.

    Returns:
        One row per number of merges, 0 first: `merges`, `tokens`, `bytes_per_token`.
    """
    words = [(tuple(word), count) for word, count in word_counts(text).items()]
    n_bytes = sum(len(word) * count for word, count in words)
    tokens = [n_bytes]
    for pair in merges:
        words = [(_merged(word, pair), count) for word, count in words]
        tokens.append(sum(len(word) * count for word, count in words))
    frame = pd.DataFrame({"merges": range(len(tokens)), "tokens": tokens})
    return frame.assign(bytes_per_token=n_bytes / frame["tokens"])


def random_merges(text: str, n_merges: int, seed: int = 0) -> list[Merge]:
    """As `train_bpe`, but each merge is any pair that occurs, whatever its count: the null."""
    rng = np.random.default_rng(seed)
    words = [(tuple(word), count) for word, count in word_counts(text).items()]
    merges = []
    for _ in range(n_merges):
        pairs = sorted(_pair_counts(words))
        if not pairs:
            break
        pair = pairs[int(rng.integers(len(pairs)))]
        merges.append(pair)
        words = [(_merged(word, pair), count) for word, count in words]
    return merges


def _pair_counts(words: list[tuple[tuple[str, ...], int]]) -> Counter[Merge]:
    pairs: Counter[Merge] = Counter()
    for word, count in words:
        for pair in pairwise(word):
            pairs[pair] += count
    return pairs


def _merged(word: tuple[str, ...], pair: Merge) -> tuple[str, ...]:
    """All occurrences of the pair joined, from left to right."""
    if pair[0] not in word:
        return word
    made, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            made.append("".join(pair))
            i += 2
        else:
            made.append(word[i])
            i += 1
    return tuple(made)
