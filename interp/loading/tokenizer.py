"""Text in and out of token ids, from the files that Hugging Face writes.

The BOS policy of the library lives here: **one beginning-of-sequence token is put before every
text, as in training and as TransformerLens does for GPT-2; `encode(text, bos=False)` leaves it
out.** For GPT-2 that token is `<|endoftext|>`. The tokens of a text are never cut or padded,
whatever a tokenizer.json says about truncation.
"""

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from interp.core.errors import InputError
from interp.loading.hf_config import read_json

# In tokenizer_config.json: these files were written by the library's own word tokenizer.
WORDS_MARK = {"interp_tokenizer": "WordTokenizer"}

_GPT2_SPECIAL = "<|endoftext|>"
_GPT2_CLASSES = ("GPT2Tokenizer", "GPT2TokenizerFast")
_ROLES = ("bos_token", "eos_token", "pad_token", "unk_token")


def read_tokenizer(directory: Path, *, gpt2: bool, bos_id: int | None) -> Any:
    """The tokenizer of a model directory, None if it has none; arguments as in `from_directory`.

    Returns:
        The language's own `WordTokenizer` where the files say that it wrote them, else a
        `TextTokenizer`.

    Raises:
        InputError: a file is damaged.
    """
    general = TextTokenizer.from_directory(directory, gpt2=gpt2, bos_id=bos_id)
    facts = _optional_json(directory / "tokenizer_config.json")
    if general is None or not WORDS_MARK.items() <= facts.items():
        return general
    from interp.corpus.tokenizer import WordTokenizer

    words = WordTokenizer.load(directory)
    if words.ids != general.vocab:
        raise InputError(
            f"The ids in {directory / 'tokenizer.json'} are not those of the language's word "
            "tokenizer, though tokenizer_config.json says so; was the file edited?"
        )
    return words


class TextTokenizer:
    """A tokenizer.json (or GPT-2's vocab.json and merges.txt) under the library's protocol.

    Attributes:
        vocab: id of every token.
        bos_id: the beginning-of-sequence token, None if the vocabulary has none.
        pad_id: what shorter texts of a batch are filled up with; pads are masked, so any id serves.
        vocab_size: number of token types.
        bos_policy: one sentence for reports.
    """

    def __init__(self, backend: Tokenizer, roles: dict[str, str | None] | None = None) -> None:
        """Wrap a tokenizer of the `tokenizers` library; it is not modified.

        Args:
            backend: the tokenizer.
            roles: the texts of `bos_token`, `eos_token`, `pad_token` and `unk_token`; a role that
                is missing or names no known token is left empty.
        """
        self._backend = Tokenizer.from_str(backend.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self.vocab = self._backend.get_vocab(with_added_tokens=True)
        self._known = set(self.vocab.values())
        self.roles = {
            role: token
            for role in _ROLES
            if (token := (roles or {}).get(role)) is not None and token in self.vocab
        }
        self.bos_id = self._id_of("bos_token")
        self.eos_id = self._id_of("eos_token")
        fallbacks = (self._id_of("pad_token"), self.eos_id, self.bos_id, 0)
        self.pad_id = next(token for token in fallbacks if token is not None)
        self.vocab_size = max(self.vocab.values(), default=-1) + 1
        self.bos_policy = self._describe_bos()
        self._spells_everything = _spells_everything(self._backend)

    @classmethod
    def from_directory(
        cls, directory: Path, *, gpt2: bool, bos_id: int | None = None
    ) -> "TextTokenizer | None":
        """The tokenizer of a model directory; None if there are no tokenizer files.

        Args:
            directory: holds tokenizer.json, or vocab.json and merges.txt; tokenizer_config.json and
                special_tokens_map.json are read where they exist.
            gpt2: the model is a GPT-2, whose tokens have default roles.
            bos_id: the model config's BOS token, used if the tokenizer files name none.

        Raises:
            InputError: a file is damaged, or one of the pair is missing.
        """
        facts = _optional_json(directory / "tokenizer_config.json")
        if (directory / "tokenizer.json").is_file():
            backend = _read_backend(directory / "tokenizer.json")
            _apply_prefix_space(backend, facts)
        elif (directory / "vocab.json").is_file() or (directory / "merges.txt").is_file():
            backend = _from_vocab_and_merges(directory, facts)
        else:
            return None
        roles = {role: None for role in _ROLES}
        if gpt2 and backend.token_to_id(_GPT2_SPECIAL) is not None:
            roles |= {role: _GPT2_SPECIAL for role in ("bos_token", "eos_token", "unk_token")}
        for file_facts in (_optional_json(directory / "special_tokens_map.json"), facts):
            roles |= {role: _content(file_facts[role]) for role in _ROLES if role in file_facts}
        if roles["bos_token"] is None and bos_id is not None:
            tokens = {i: token for token, i in backend.get_vocab(with_added_tokens=True).items()}
            roles["bos_token"] = tokens.get(bos_id)
        return cls(backend, roles)

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Token ids of a text.

        Args:
            text: any text; a special token spelt out in it is that token.
            bos: put the BOS token first (where the vocabulary has one).

        Raises:
            InputError: a part of the text is not in the vocabulary; it is named.
        """
        try:
            text.encode("utf-8")
        except UnicodeError as error:
            raise InputError(
                f"{text[:80]!r} is no valid text and cannot be encoded: {error}."
            ) from None
        try:
            encoding = self._backend.encode(text, add_special_tokens=False)
        except Exception as error:  # the Rust library raises bare Exception
            word = self._first_unknown(text)
            message = f"{text[:80]!r} cannot be encoded: {error}."
            raise InputError(self._unknown_message(word) if word else message) from None
        self._refuse_unknown(text, encoding)
        start = [self.bos_id] if bos and self.bos_id is not None else []
        return start + encoding.ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens, special tokens included.

        An id that the tokenizer lacks (a padded vocabulary has such) appears as `<50300>`.
        """
        pieces, run = [], []
        for token in (int(i) for i in ids):
            if _not_negative(token) in self._known:
                run.append(token)
                continue
            pieces += [self._text(run), f"<{token}>"]
            run = []
        return "".join([*pieces, self._text(run)])

    def str_tokens(self, ids: Sequence[int]) -> list[str]:
        """Each token's own text; a token that is a part of a character appears as `�`."""
        return [self.decode([token]) for token in ids]

    def save(self, directory: str | Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, which `AutoTokenizer` loads."""
        directory = Path(directory)
        settings = {role: self.roles.get(role) for role in _ROLES}
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        pre = json.loads(self._backend.to_str())["pre_tokenizer"] or {}
        if pre.get("type") == "ByteLevel":
            settings["tokenizer_class"] = "GPT2Tokenizer"
            settings["add_prefix_space"] = pre["add_prefix_space"]
        (directory / "tokenizer.json").write_text(self._backend.to_str(pretty=True), "utf-8")
        text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
        (directory / "tokenizer_config.json").write_text(text + "\n", "utf-8")

    def _id_of(self, role: str) -> int | None:
        token = self.roles.get(role)
        return None if token is None else self.vocab[token]

    def _describe_bos(self) -> str:
        if self.bos_id is None:
            return "The vocabulary has no beginning-of-sequence token, so none is prepended."
        return (
            f"{self.roles['bos_token']} (id {self.bos_id}) is put once before every text, as "
            "TransformerLens does; encode(text, bos=False) leaves it out."
        )

    def _text(self, ids: list[int]) -> str:
        return self._backend.decode(ids, skip_special_tokens=False) if ids else ""

    def _refuse_unknown(self, text: str, encoding: Any) -> None:
        unknown, spelling = self._id_of("unk_token"), self.roles.get("unk_token")
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            piece = text[start:end]
            if token == unknown and piece.strip() != spelling:
                raise InputError(self._unknown_message(piece.strip() or piece))
        # A byte-level vocabulary without all 256 bytes drops what it cannot spell, silently.
        if not self._spells_everything and self._text(encoding.ids).strip() != text.strip():
            raise InputError(
                f"{text!r} cannot be spelt in this vocabulary; it would become "
                f"{self._text(encoding.ids)!r}."
            )

    def _first_unknown(self, text: str) -> str | None:
        """The first piece of the text that is no token, for a vocabulary of whole words."""
        backend = self._backend
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        pieces = [(text, None)]
        if backend.pre_tokenizer is not None:
            pieces = backend.pre_tokenizer.pre_tokenize_str(text)
        return next((piece for piece, _ in pieces if piece not in self.vocab), None)

    def _unknown_message(self, word: str) -> str:
        near = get_close_matches(word, list(self.vocab), n=3, cutoff=0.6)
        hint = f"; near it are {', '.join(near)}" if near else ""
        return f"{word!r} is not in this model's vocabulary of {self.vocab_size} tokens{hint}."


def _read_backend(path: Path) -> Tokenizer:
    read_json(path)  # Says more about a damaged file than the parser below.
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises bare Exception
        raise InputError(f"{path} is not a tokenizer file: {_line(error)}.") from None


def _from_vocab_and_merges(directory: Path, facts: dict[str, Any]) -> Tokenizer:
    vocab, merges = directory / "vocab.json", directory / "merges.txt"
    for path, other in ((vocab, merges), (merges, vocab)):
        if not path.is_file():
            raise InputError(f"{directory} holds {other.name} but no {path.name}; copy both.")
    ids = list(read_json(vocab).values())
    if any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in ids):
        raise InputError(f"{vocab} must map tokens to whole numbers of at least 0.")
    if len(set(ids)) != len(ids):
        raise InputError(f"{vocab} gives one id to several tokens.")
    try:
        backend = Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
    except Exception as error:  # the Rust library raises bare Exception
        raise InputError(f"{vocab} and {merges.name} make no tokenizer: {_line(error)}.") from None
    prefix = facts.get("add_prefix_space") is True
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    if backend.token_to_id(_GPT2_SPECIAL) is not None:
        backend.add_special_tokens([AddedToken(_GPT2_SPECIAL, normalized=False, special=True)])
    return backend


def _apply_prefix_space(backend: Tokenizer, facts: dict[str, Any]) -> None:
    """tokenizer_config.json overrules tokenizer.json here, as in transformers' GPT2Tokenizer."""
    wanted = facts.get("add_prefix_space")
    if facts.get("tokenizer_class") in _GPT2_CLASSES and isinstance(wanted, bool):
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=wanted)


def _spells_everything(backend: Tokenizer) -> bool:
    """Whether no text can be lost: an unknown token marks the gap, or every byte has a token."""
    model = json.loads(backend.to_str())["model"]
    if model.get("type") != "BPE" or model.get("unk_token") is not None:
        return True
    vocab = backend.get_vocab()
    return all(letter in vocab for letter in pre_tokenizers.ByteLevel.alphabet())


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _line(error: Exception) -> str:
    """What the Rust library says, which may quote the whole file."""
    return " ".join(str(error).split())[:200]


def _content(token: Any) -> str | None:
    """A special token is written as its text, or as an object that holds its text."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _not_negative(token: int) -> int:
    if token < 0:
        raise InputError(f"Token ids are whole numbers of at least 0, but {token} came.")
    return token
