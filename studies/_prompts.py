"""Which text a model is measured on: its own language where that is known, else English."""

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from interp import corpus, measures
from interp.core.errors import InputError
from studies._english import stories

if TYPE_CHECKING:
    from interp.core import HookedGPT
    from interp.measures import PromptSet

LONGEST_WINDOW = 64
HELD_OUT = "study"  # namespace of windows that training never draws
LECTURE_SENTENCE = "a fluffy blue creature roaming through the verdant forest"


def random_prompts(model: "HookedGPT", n_prompts: int, seed: int) -> "PromptSet":
    """Random tokens shown twice; see `interp.measures.random_token_prompts`."""
    bos_id = bos_of(model)
    return measures.random_token_prompts(
        measures.ordinary_tokens(model, bos_id),
        n_prompts,
        min(model.config.n_ctx, 1 + LONGEST_WINDOW),
        bos_id,
        seed,
    )


def text_prompts(model: "HookedGPT", n_prompts: int, seed: int) -> "PromptSet | None":
    """Text like that which the model was trained on; None if that is not known.

    Windows of the small language (held out from training) or of the trigger task for models of
    their vocabulary; short English stories for models with another tokenizer.
    """
    n_ctx = min(model.config.n_ctx, LONGEST_WINDOW)
    task = corpus.TriggerTask()
    if speaks_the_language(model):
        windows = corpus.Language().batch(seed, n_prompts, n_ctx, namespace=HELD_OUT)
        return measures.text_prompts(
            [windows],
            special=_special(model),
            seed=seed,
            name="own language",
            description=f"{n_prompts} held-out windows of {n_ctx} tokens of the small language",
        )
    if model.tokenizer is not None:
        return _english(model, n_prompts, n_ctx, seed)
    if (model.config.d_vocab, model.config.n_ctx) == (task.d_vocab, task.n_ctx):
        windows = task.batch(seed, n_prompts, n_ctx).tokens
        return measures.text_prompts(
            [windows],
            special=[task.bos_id],
            seed=seed,
            name="trigger task",
            description=f"{n_prompts} windows of {n_ctx} tokens of the trigger task",
        )
    return None


def same_length(prompts: "PromptSet", seed: int) -> np.ndarray:
    """All prompts without artificial repeats, cut to the shortest, in random order.

    In random order, because neighbours of one length may come from one template.
    """
    sides = [getattr(batch, prompts.plain) for batch in prompts.batches]
    shortest = min(side.shape[1] for side in sides)
    rows = np.concatenate([side[:, :shortest] for side in sides])
    return np.random.default_rng(seed).permutation(rows)


def lecture_tokens(model: "HookedGPT", fallback: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The lectures' sentence in the model's tokens, with their texts; else the fallback's start."""
    if model.tokenizer is None:
        tokens = fallback[:12]
        return tokens, [str(token) for token in tokens]
    try:
        tokens = np.array(model.tokenizer.encode(LECTURE_SENTENCE))[: model.config.n_ctx]
    except InputError:  # words that this model does not have
        tokens = fallback[:12]
    return tokens, model.tokenizer.str_tokens(tokens.tolist())


def bos_of(model: "HookedGPT") -> int | None:
    """The token that begins every prompt; 0, as in all our corpora, without a tokenizer."""
    return 0 if model.tokenizer is None else model.tokenizer.bos_id


def fingerprint(*prompt_sets: "PromptSet") -> str:
    """Twelve hexadecimal digits that change when any token of any prompt does."""
    digest = hashlib.sha256()
    for prompts in prompt_sets:
        for batch in prompts.batches:
            for side in (batch.tokens, batch.control, batch.queries, batch.unit):
                digest.update(str(side.shape).encode() + np.ascontiguousarray(side, int).tobytes())
    return digest.hexdigest()[:12]


def speaks_the_language(model: "HookedGPT") -> bool:
    """Whether the model's vocabulary is that of the small language, word for word."""
    vocab = corpus.Language().vocab
    tokenizer = model.tokenizer
    if tokenizer is None or tokenizer.vocab_size != len(vocab):
        return False
    return list(tokenizer.str_tokens(range(len(vocab)))) == vocab


def _special(model: "HookedGPT") -> list[int]:
    ids = (model.tokenizer.bos_id, model.tokenizer.pad_id)
    return [token for token in ids if token is not None]


def _english(model: "HookedGPT", n_prompts: int, n_ctx: int, seed: int) -> "PromptSet | None":
    by_length: dict[int, list[tuple[int, list[int]]]] = defaultdict(list)
    try:
        for template, text in stories(n_prompts, seed):
            tokens = model.tokenizer.encode(text)[:n_ctx]
            by_length[len(tokens)].append((template, tokens))
    except InputError:  # a vocabulary without English words
        return None
    groups = [by_length[length] for length in sorted(by_length)]
    templates = {template for group in groups for template, _ in group}
    return measures.text_prompts(
        [np.array([tokens for _, tokens in group]) for group in groups],
        units=[np.array([template for template, _ in group]) for group in groups],
        special=_special(model),
        seed=seed,
        name="English stories",
        description=f"{n_prompts} English stories from {len(templates)} templates",
    )


def with_random_weights(model: "HookedGPT", seed: int) -> "HookedGPT":
    """The same shape with GPT-2's initial weights: what the measures say of an untrained model."""
    from interp.core import HookedGPT

    made = HookedGPT(model.config, dtype=model.W_E.dtype, device=model.W_E.device, seed=seed + 1)
    made.name, made.tokenizer = f"{model.name}, random weights", model.tokenizer
    return made.requires_grad_(False).eval()
