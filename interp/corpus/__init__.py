"""The small language: sentences whose structure is known, prompt sets, the word tokenizer."""

from interp.corpus.grammar import Annotation, Parse, ParsedWord
from interp.corpus.language import Entropy, Language, Window
from interp.corpus.tokenizer import WordTokenizer
from interp.corpus.triggers import TriggerBatch, TriggerTask

__all__ = [
    "Annotation",
    "Entropy",
    "Language",
    "Parse",
    "ParsedWord",
    "TriggerBatch",
    "TriggerTask",
    "Window",
    "WordTokenizer",
]
