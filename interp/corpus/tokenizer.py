"""Word-level tokenizer of the small language."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from interp.core.errors import InputError
from interp.core.reading import read_json

BOS, PAD = "<bos>", "<pad>"


class WordTokenizer:
    """One token per word or punctuation mark; text is lower-cased; no unknown word is let in.

    Args:
        words: the vocabulary in the order of its ids, which follow `<bos>` = 0 and `<pad>` = 1.
    """

    bos_policy = "<bos> is put in front of every text and counts as position 0."

    def __init__(self, words: Sequence[str]):
        self.vocab: list[str] = [BOS, PAD, *words]
        self.ids: dict[str, int] = {word: i for i, word in enumerate(self.vocab)}
        self.bos_id, self.pad_id = self.ids[BOS], self.ids[PAD]
        self.vocab_size = len(self.vocab)
        self._tokenizer = _build(self.ids)

    @classmethod
    def load(cls, directory: str | Path) -> WordTokenizer:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, damaged or another tokenizer's.
        """
        path = Path(directory) / "tokenizer.json"
        spec = read_json(path)
        model = spec.get("model") if isinstance(spec, dict) else None
        ids = model.get("vocab") if isinstance(model, dict) else None
        if not isinstance(ids, dict) or not all(isinstance(i, int) for i in ids.values()):
            raise InputError(f"{path} holds no words with their numbers.")
        return cls(sorted((w for w in ids if w not in (BOS, PAD)), key=ids.get))

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Ids of a text, `<bos>` first unless `bos` is False.

        Raises:
            InputError: if a word is not in the vocabulary; names the nearest ones.
        """
        pieces = text.replace(BOS, f" {BOS} ").replace(PAD, f" {PAD} ").split()
        words: list[str] = []
        for piece in pieces:
            if piece in (BOS, PAD):
                words.append(piece)
            else:
                split = self._tokenizer.pre_tokenizer.pre_tokenize_str(piece.lower())
                words += [word for word, _ in split]
        unknown = [word for word in words if word not in self.ids]
        if unknown:
            near = difflib.get_close_matches(unknown[0], self.vocab[2:], n=3, cutoff=0.5)
            hint = f"; the nearest words are {', '.join(near)}" if near else ""
            raise InputError(
                f"{unknown[0]!r} is not among the {self.vocab_size - 2} words of the small "
                f"model's language{hint}"
            )
        ids = [self.ids[word] for word in words]
        return [self.bos_id, *ids] if bos else ids

    def decode(self, ids: Sequence[int]) -> str:
        """The tokens with spaces between them, `<bos>` and `<pad>` included."""
        return " ".join(self.str_tokens(ids))

    def str_tokens(self, ids: Sequence[int]) -> list[str]:
        """Each token as text.

        Raises:
            InputError: if an id is outside the vocabulary.
        """
        for i in ids:
            if not 0 <= int(i) < self.vocab_size:
                raise InputError(f"token id {int(i)} is outside 0 to {self.vocab_size - 1}")
        return [self.vocab[int(i)] for i in ids]

    def save(self, directory: str | Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, as `AutoTokenizer` reads them."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self._tokenizer.save(str(directory / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BOS,
            "pad_token": PAD,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
        }
        text = json.dumps(config, indent=2) + "\n"
        (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _build(ids: dict[str, int]) -> Tokenizer:
    """The same mapping as a `tokenizers` pipeline."""
    tokenizer = Tokenizer(models.WordLevel(ids))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, ids[BOS])]
    )
    tokenizer.add_special_tokens([BOS, PAD])
    return tokenizer
