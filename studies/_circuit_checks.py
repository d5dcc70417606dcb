"""What a head's values and the output matrix are, checked as identities in float64.

Also what the studies of circuits share: which tokens count as words, which word follows which, and
what two words must share to count as alike.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from interp import corpus, measures
from interp.core import HookedGPT, hook_name
from interp.core.processing import fold_value_biases
from interp.reporting import Cell, Table
from studies import _prompts

if TYPE_CHECKING:
    from interp.measures import PromptSet

TOLERANCE = 1e-10  # what rounding may do in float64
MOST_PARAMETERS = 20_000_000  # of a model that is copied to float64 whole
N_LAYERS_OF_LARGE = 2
MASK_FILL = -1e9  # in the lecture notes' code
NEIGHBOURS = 4  # words on each side that make a word's contexts


def cells_of(table: str, *names: str, row: int = 0, **renamed: str) -> dict[str, Cell]:
    """Cells of one row, under their columns' names or others."""
    wanted = {name: name for name in names} | renamed
    return {field: Cell(table, row, column) for field, column in wanted.items()}


def overview(row: dict, caption: str) -> Table:
    """A table of one row, whose cells the sentences take."""
    return Table(pd.DataFrame([row]), caption)


def text_of(model: HookedGPT, n_prompts: int, seed: int) -> tuple[np.ndarray, "PromptSet"]:
    """Windows of one length, random tokens where no text is known; and where they came from."""
    prompts = _prompts.text_prompts(model, n_prompts, seed)
    prompts = prompts or _prompts.random_prompts(model, n_prompts, seed)
    return _prompts.same_length(prompts, seed), prompts


def words_of(model: HookedGPT) -> np.ndarray:
    """All tokens but BOS and padding."""
    return np.asarray(measures.ordinary_tokens(model, _prompts.bos_of(model)))


def successor_of(model: HookedGPT) -> np.ndarray | None:
    """The next weekday, number, ...; None where no such words are known."""
    if _prompts.speaks_the_language(model):
        return measures.successors(corpus.Language())
    from studies import _english_pairs

    english = _english_pairs.english_of(model)
    return None if english is None else _english_pairs.successors(english, model.config.d_vocab)


def contexts_of(model: HookedGPT, n_windows: int, seed: int) -> tuple[np.ndarray, str]:
    """A vector per token, and what makes two tokens alike in it.

    For the small language, positive pointwise mutual information with the words around it in
    generated text, which the model's weights have no part in. Elsewhere, for want of enough text,
    the centred token embedding.
    """
    if not _prompts.speaks_the_language(model):
        W_E = model.W_E.detach().double().cpu().numpy()
        return W_E - W_E.mean(axis=0), "token embedding (centred)"
    windows = corpus.Language().batch(seed, n_windows, 64, namespace=_prompts.HELD_OUT)
    d_vocab = model.config.d_vocab
    together = np.zeros((d_vocab, d_vocab))
    for lag in range(1, NEIGHBOURS + 1):
        np.add.at(together, (windows[:, :-lag].ravel(), windows[:, lag:].ravel()), 1.0)
    together += together.T
    expected = together.sum(1, keepdims=True) * together.sum(0) / together.sum()
    ratio = np.divide(together, expected, out=np.ones_like(together), where=expected > 0)
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(ratio), 0.0), f"{n_windows} windows of the small language"


@torch.no_grad()
def double_copy(model: HookedGPT) -> HookedGPT:
    """The model in float64; of a large one the first layers, which is enough for identities."""
    config = model.config
    if model.n_params > MOST_PARAMETERS:
        mask = config.mask if isinstance(config.mask, str) else config.mask[:N_LAYERS_OF_LARGE]
        config = replace(config, n_layers=min(config.n_layers, N_LAYERS_OF_LARGE), mask=mask)
    made = HookedGPT(config, dtype=torch.float64, device=model.W_E.device, init=None)
    state = model.state_dict()
    made.load_state_dict({name: state[name] for name in made.state_dict()})
    made.name, made.tokenizer = model.name, model.tokenizer
    return made.requires_grad_(False).eval()


@torch.no_grad()
def value_checks(model: HookedGPT, tokens: np.ndarray, seed: int) -> pd.DataFrame:
    """What a value is, and that its dimensions are a matter of basis.

    Returns:
        One row per formula: `formula`, `deviation` (largest difference over the largest value),
        `exact` (within `TOLERANCE`).
    """
    model = double_copy(model)
    rows, cache = _cached(model, tokens)
    plain, full, passed = [], [], []
    for layer, block in enumerate(model.blocks):
        stream = cache[hook_name("resid_pre", layer)]
        x = block.ln1(stream) if model.config.norm == "pre" else stream
        v, z = cache[hook_name("v", layer)], cache[hook_name("z", layer)]
        pattern, bias = cache[hook_name("pattern", layer)], block.attn.b_V
        made = torch.einsum("bpd,hde->bphe", x, block.attn.W_V)
        plain.append(_relative(torch.einsum("bpd,hde->bphe", stream, block.attn.W_V), v))
        full.append(_relative(made + bias, v))
        mixed = torch.einsum("bhqk,bkhe->bqhe", pattern, made)
        passed.append(_relative(mixed + bias, z))
    logits = model(rows)
    other = measures.with_gauge(model, seed)
    moved = [
        float((a.attn.W_V - b.attn.W_V).norm() / b.attn.W_V.norm().clamp(min=1e-300))
        for a, b in zip(other.blocks, model.blocks, strict=True)
    ]
    found = {
        "value = W_V x, nothing else": max(plain),
        "value = W_V · norm(x) + b_V": max(full),
        "b_V passes through the pattern untouched": max(passed),
        "b_V moved into b_O: logits": _relative(fold_value_biases(model)(rows), logits),
        "another basis in every head: logits": _relative(other(rows), logits),
        "another basis in every head: entries of W_V": max(moved),
    }
    return _as_frame(found)


@torch.no_grad()
def output_checks(model: HookedGPT, tokens: np.ndarray) -> pd.DataFrame:
    """That one output matrix behind concatenated heads is a sum over heads; columns as above."""
    model = double_copy(model)
    _, cache = _cached(model, tokens)
    summed, single = [], []
    for layer, block in enumerate(model.blocks):
        z, out = cache[hook_name("z", layer)], cache[hook_name("attn_out", layer)]
        concatenated = z.flatten(2) @ block.attn.W_O_flat + block.attn.b_O
        by_head = torch.einsum("bphe,hed->bphd", z, block.attn.W_O)
        summed.append(_relative(by_head.sum(2) + block.attn.b_O, concatenated))
        single.append(_relative(concatenated, out))
    found = {
        "concatenate, then W_O: the model's output": max(single),
        "sum over heads of z W_O": max(summed),
    }
    return _as_frame(found)


@torch.no_grad()
def mask_fill_checks() -> pd.DataFrame:
    """What filling masked scores with −1e9, as the notes do, gives in each precision.

    Returns:
        One row per precision: `dtype`, `lowest` (its smallest number), `fits` (whether −1e9 does),
        `notes` ("weights sum to 1", "not a number", or the error), `leak` (weight on masked keys),
        `own_leak` (the same for −∞).
    """
    rows = []
    hidden = torch.tensor([[False, True, True], [True, True, True]])
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        scores = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], dtype=dtype)
        try:
            weights = scores.masked_fill(hidden, MASK_FILL).softmax(-1)
            said = "weights sum to 1" if weights.isfinite().all() else "not a number"
            leak = float(weights[0][hidden[0]].sum())
            whole = float(weights[1].max())
        except RuntimeError:
            said, leak, whole = "error: cannot be converted without overflow", np.nan, np.nan
        own = scores[:1].masked_fill(hidden[:1], -torch.inf).softmax(-1)
        lowest = torch.finfo(dtype).min
        rows.append(
            {
                "dtype": str(dtype).removeprefix("torch."),
                "lowest": lowest,
                "fits": lowest <= MASK_FILL,
                "notes": said,
                "leak": leak,
                "all_masked_weight": whole,
                "own_leak": float(own[0][hidden[0]].sum()),
            }
        )
    return pd.DataFrame(rows)


def _cached(model: HookedGPT, tokens: np.ndarray):
    rows = torch.as_tensor(tokens, device=model.W_E.device)
    shorts = ("resid_pre", "v", "z", "pattern", "attn_out")
    names = [hook_name(short, layer) for layer in range(model.config.n_layers) for short in shorts]
    return rows, model.run_with_cache(rows, names=names)[1]


def _relative(made: torch.Tensor, own: torch.Tensor) -> float:
    return float((made - own).abs().max() / own.abs().max().clamp(min=1e-300))


def _as_frame(found: dict[str, float]) -> pd.DataFrame:
    frame = pd.DataFrame({"formula": list(found), "deviation": list(found.values())})
    return frame.assign(exact=frame["deviation"] <= TOLERANCE)
