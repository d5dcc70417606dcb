"""Text with the model's logits at each position, for studies of the predicted distribution."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from interp.core.errors import InputError
from studies import NotApplicable, _prompts

if TYPE_CHECKING:
    from interp.core import HookedGPT

MOST_NUMBERS = 8_000_000  # logits kept; with a large vocabulary fewer positions are scored


class ScoredText(NamedTuple):
    """Positions of some texts with what the model says there.

    Attributes:
        logits: one row per scored position, [row d_vocab], float32.
        targets: the token that came.
        unit: prompt (or template) of each row, 0 to n − 1.
        windows: the texts themselves where all positions of all are scored, else None.
        description: one clause for reports.
    """

    logits: np.ndarray
    targets: np.ndarray
    unit: np.ndarray
    windows: np.ndarray | None
    description: str


def scored_text(model: "HookedGPT", n_prompts: int, seed: int, batch_size: int) -> ScoredText:
    """The model's logits on text like that which it was trained on.

    Raises:
        NotApplicable: no such text is known for the model.
    """
    import torch

    prompts = text_of(model, n_prompts, seed)
    sides = [np.asarray(getattr(batch, prompts.plain)) for batch in prompts.batches]
    n_positions = sum(side.shape[0] * (side.shape[1] - 1) for side in sides)
    most = max(MOST_NUMBERS // model.config.d_vocab, n_prompts)
    share = min(1.0, most / n_positions)
    logits, targets, unit = [], [], []
    for batch, side in zip(prompts.batches, sides, strict=True):
        length = side.shape[1] - 1
        places = np.unique(np.linspace(0, length - 1, max(1, int(share * length))).round())
        places = places.astype(int)
        for start in range(0, len(side), batch_size):
            rows = torch.from_numpy(side[start : start + batch_size, :-1]).to(model.W_E.device)
            with torch.no_grad():
                read = model(rows, logits_at=places.tolist())
            logits.append(read.float().cpu().numpy().reshape(-1, model.config.d_vocab))
        targets.append(side[:, places + 1].ravel())
        unit.append(np.repeat(batch.unit, len(places)))
    whole = len(sides) == 1 and share == 1.0
    return ScoredText(
        np.concatenate(logits),
        np.concatenate(targets),
        np.unique(np.concatenate(unit), return_inverse=True)[1],
        sides[0] if whole else None,
        prompts.description,
    )


def text_of(model: "HookedGPT", n_prompts: int, seed: int):
    """The model's own kind of text as a `PromptSet`.

    Raises:
        NotApplicable: none is known for the model.
    """
    prompts = _prompts.text_prompts(model, n_prompts, seed)
    if prompts is None:
        raise NotApplicable(
            f"no text is known that {model.name} was trained on: it has no tokenizer, or one that "
            "knows neither the small language nor English"
        )
    return prompts


def starts(model: "HookedGPT", n_prompts: int, n_tokens: int, seed: int) -> np.ndarray:
    """The first tokens of texts, [prompt pos]; all texts are at least that long.

    Raises:
        NotApplicable: as `text_of`.
        InputError: no text is long enough.
    """
    prompts = text_of(model, n_prompts, seed)
    sides = [np.asarray(getattr(batch, prompts.plain)) for batch in prompts.batches]
    rows = [side[:, :n_tokens] for side in sides if side.shape[1] >= n_tokens]
    if not rows:
        raise InputError(f"no text of {model.name} has {n_tokens} tokens")
    return np.random.default_rng(seed).permutation(np.concatenate(rows))[:n_prompts]


def shown(model: "HookedGPT", tokens) -> list[str]:
    """Each token as text; its number where the model has no tokenizer."""
    ids = [int(token) for token in tokens]
    return [str(i) for i in ids] if model.tokenizer is None else model.tokenizer.str_tokens(ids)
