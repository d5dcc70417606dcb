"""How far this library's numbers are from Hugging Face's and TransformerLens's.

Random checkpoints are written by transformers, loaded by each library in its own way, and run on
the same tokens. Every quantity that two libraries share is compared: logits and hidden states with
Hugging Face (eager and sdpa attention), attention patterns with its eager attention, and all shared
hook points with TransformerLens's raw bridge.

In float64 the libraries must agree to 1e-10. In float32 they cannot, so each is measured against
the peer's float64 run of the same weights. `error_ours` and `error_peer` are root mean squares over
all entries; `ratio`, the one over the other, must not exceed 2. The largest errors are given too,
but one entry of thousands decides them, and so which library is ahead is luck.

    python benchmarks/parity.py            # prints the table, writes benchmarks/results/parity.csv
    python benchmarks/parity.py --tiny     # tiny shapes only, writes nothing
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging as hf_logging

from interp.core import HookedGPT
from interp.loading import load_model

RESULTS = Path(__file__).parent / "results" / "parity.csv"
FLOAT64_LIMIT, RATIO_LIMIT = 1e-10, 2.0

# Where a peer does not compute what the config says, so that there is nothing to agree on.
# tests/loading/test_parity.py keeps the claim true.
PEER_IGNORES = {"transformer_lens": {"scale_attn_weights": False}}

# A distinct prime for every size, so that a swapped axis cannot pass.
TINY = {"n_layer": 3, "n_head": 5, "n_embd": 5 * 11, "n_positions": 37, "vocab_size": 211,
        "n_inner": 101}  # fmt: skip
SMALL = {"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024, "vocab_size": 50257}


@dataclass(frozen=True)
class Case:
    """One checkpoint to compare on.

    Attributes:
        shape: "tiny" or "gpt2", for the table.
        variant: what is unusual about its config.
        fields: fields of `GPT2Config`.
        std: of the random weights; chosen so that attention is far from uniform.
        batch: rows of tokens.
        n_tokens: tokens per row.
    """

    shape: str
    variant: str
    fields: dict
    std: float
    batch: int
    n_tokens: int
    seed: int = field(default=0)


def tiny_cases() -> list[Case]:
    """GPT-2's own config, each field that changes the result by itself, and all of them at once."""
    changes = {
        "default": {},
        "n_inner=None": {"n_inner": None},
        "activation_function=gelu": {"activation_function": "gelu"},
        "activation_function=relu": {"activation_function": "relu"},
        "layer_norm_epsilon=0.03": {"layer_norm_epsilon": 0.03},
        "scale_attn_weights=false": {"scale_attn_weights": False},
        "scale_attn_by_inverse_layer_idx": {"scale_attn_by_inverse_layer_idx": True},
        "reorder_and_upcast_attn": {"reorder_and_upcast_attn": True},
        "tie_word_embeddings=false": {"tie_word_embeddings": False},
    }
    every = {name: value for change in changes.values() for name, value in change.items()}
    changes["all of these"] = every
    changes["all but scale_attn_weights"] = every | {"scale_attn_weights": True}
    return [
        Case("tiny", variant, TINY | change, std=0.3, batch=7, n_tokens=31)
        for variant, change in changes.items()
    ]


def small_cases() -> list[Case]:
    """GPT-2 small's exact shape."""
    return [Case("gpt2", "default", SMALL, std=0.08, batch=2, n_tokens=61)]


def write_checkpoint(case: Case, directory: Path) -> None:
    """A random checkpoint, written by transformers itself."""
    torch.manual_seed(case.seed)
    config = GPT2Config(**case.fields, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases and norms too: left at 0 and 1 they would hide what is done with them.
            shift = 1.0 if ".ln_" in name and name.endswith("weight") else 0.0
            parameter.normal_(std=case.std).add_(shift)
    with _without_bars():
        model.save_pretrained(directory)


def tokens_of(case: Case) -> Tensor:
    """Random token ids."""
    generator = torch.Generator().manual_seed(case.seed + 1)
    shape = (case.batch, case.n_tokens)
    return torch.randint(case.fields["vocab_size"], shape, generator=generator)


def ours(directory: Path, tokens: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """Logits and every hook point of our model."""
    return _run_ours(load_model(directory, dtype=dtype), tokens)


@torch.no_grad()
def _run_ours(model: HookedGPT, tokens: Tensor) -> dict[str, Tensor]:
    fused = model(tokens)
    _, cache = model.run_with_cache(tokens)
    values = {name: cache[name] for name in cache}
    values["logits"] = fused
    last = cache[f"blocks.{model.config.n_layers - 1}.hook_resid_post"]
    values["ln_final.hook_out"] = model.ln_final(last)
    _, results = model.run_with_cache(tokens, _is_result)
    return values | {name: results[name] for name in results}


def _is_result(name: str) -> bool:
    return name.endswith("hook_result")


@torch.no_grad()
def hugging_face(
    directory: Path, tokens: Tensor, dtype: torch.dtype, attention: str
) -> dict[str, Tensor]:
    """Logits, hidden states and (eager only) attention of transformers' GPT-2, by our names."""
    with _without_bars():
        model = GPT2LMHeadModel.from_pretrained(
            directory, dtype=dtype, attn_implementation=attention
        ).eval()
    eager = attention == "eager"
    out = model(tokens, output_hidden_states=True, output_attentions=eager)
    values = {"logits": out.logits, "ln_final.hook_out": out.hidden_states[-1]}
    for layer, hidden in enumerate(out.hidden_states[:-1]):
        values[f"blocks.{layer}.hook_resid_pre"] = hidden
    for layer, pattern in enumerate(out.attentions if eager else ()):
        values[f"blocks.{layer}.attn.hook_pattern"] = pattern
    return values


@torch.no_grad()
def transformer_lens(directory: Path, tokens: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """Logits and every recorded hook point of TransformerLens's raw bridge."""
    from transformer_lens import TransformerBridge

    with _without_bars():
        bridge = TransformerBridge.boot_transformers(str(directory), device="cpu", dtype=dtype)
    logits, cache = bridge.run_with_cache(tokens)
    values = {"logits": logits} | dict(cache.items())
    # Per-head results only on request, in a run of their own: they change how the sum is formed.
    bridge.set_use_attn_result(True)
    _, results = bridge.run_with_cache(tokens, names_filter=_is_result)
    return values | dict(results.items())


PEERS: dict[str, Callable[[Path, Tensor, torch.dtype], dict[str, Tensor]]] = {
    "transformers eager": lambda *args: hugging_face(*args, attention="eager"),
    "transformers sdpa": lambda *args: hugging_face(*args, attention="sdpa"),
    "transformer_lens": transformer_lens,
}


def compare(case: Case, directory: Path, peer: str) -> pd.DataFrame:
    """Our numbers beside a peer's on one checkpoint.

    Returns:
        One row per quantity and dtype. A quantity is a hook point, over all layers and entries;
        `n_points` counts the layers. `max_difference` is between the two libraries; errors are
        against the peer's float64 run.
    """
    tokens, run = tokens_of(case), PEERS[peer]
    mine, theirs = ours(directory, tokens, torch.float32), run(directory, tokens, torch.float32)
    exact = ours(directory, tokens, torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        truth = run(_without_upcast(directory, Path(folder)), tokens, torch.float64)
    kinds: dict[str, list[str]] = {}
    for name in [name for name in mine if name in theirs]:
        kinds.setdefault(_kind(name), []).append(name)
    rows = []
    for kind, names in kinds.items():
        here, there, reference, here64 = (
            _flat(values, names) for values in (mine, theirs, truth, exact)
        )
        narrow = _errors(here, there, reference)
        wide = {"max_difference": _largest(here64 - reference)}
        for dtype, numbers in (("float32", narrow), ("float64", wide)):
            rows.append({"quantity": kind, "dtype": dtype, "n_points": len(names), **numbers})
    keys = {"peer": peer, "shape": case.shape, "variant": case.variant}
    frame = pd.DataFrame(rows).assign(note=_note(case, peer))
    return pd.concat([pd.DataFrame([keys] * len(frame)), frame], axis="columns")


def _errors(here: Tensor, there: Tensor, reference: Tensor) -> dict[str, float]:
    """Both libraries' float32 errors; equally exact ones have the ratio 1."""
    mine, theirs = here - reference, there - reference
    error_ours, error_peer = (float(e.pow(2).mean().sqrt()) for e in (mine, theirs))
    return {
        "max_difference": _largest(here - there),
        "error_ours": error_ours,
        "error_peer": error_peer,
        "ratio": 1.0 if error_ours == error_peer else error_ours / max(error_peer, 1e-300),
        "max_error_ours": _largest(mine),
        "max_error_peer": _largest(theirs),
    }


def _without_upcast(directory: Path, copy: Path) -> Path:
    """The same model without `reorder_and_upcast_attn`.

    With it, transformers computes attention in float32 even of a float64 model; exactly it makes no
    difference.
    """
    shutil.copytree(directory, copy, dirs_exist_ok=True)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"reorder_and_upcast_attn": False}))
    return copy


def _note(case: Case, peer: str) -> str:
    ignored = PEER_IGNORES.get(peer, {})
    names = [name for name, value in ignored.items() if case.fields.get(name, not value) == value]
    return f"{peer} ignores {names[0]}" if names else ""


def _flat(values: dict[str, Tensor], names: list[str]) -> Tensor:
    """All entries of some hook points in float64, masked scores left out.

    Masked scores are -inf here and the smallest float there; only the rest is a number.
    """
    parts = []
    for name in names:
        value = values[name].double()
        if name.endswith("hook_attn_scores"):
            value = value[..., torch.ones(value.shape[-2:], dtype=torch.bool).tril()]
        parts.append(value.flatten())
    return torch.cat(parts)


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def _kind(name: str) -> str:
    """A hook's name without its layer."""
    return name.split(".", 2)[2] if name.startswith("blocks.") else name


def within_limits(frame: pd.DataFrame) -> pd.Series:
    """Whether a row keeps the limit for its dtype."""
    narrow = (frame.dtype == "float32") & (frame.ratio <= RATIO_LIMIT)
    return narrow | ((frame.dtype == "float64") & (frame.max_difference <= FLOAT64_LIMIT))


def attention_sharpness(directory: Path, tokens: Tensor) -> float:
    """Mean entropy of attention over that of uniform attention, 0 to 1; 1 would test nothing."""
    model = load_model(directory)
    patterns = model.run_with_cache(tokens, lambda name: name.endswith("hook_pattern"))[1]
    pattern = torch.stack([patterns[name] for name in patterns])[..., 1:, :]
    uniform = torch.arange(2, tokens.shape[1] + 1).log()
    return float((torch.special.entr(pattern).sum(-1) / uniform).mean())


def measure(cases: list[Case]) -> Iterator[pd.DataFrame]:
    """The rows of every case and peer."""
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(case, Path(folder))
            sharpness = attention_sharpness(Path(folder), tokens_of(case))
            for peer in PEERS:
                yield compare(case, Path(folder), peer).assign(attention_entropy=sharpness)


@contextmanager
def _without_bars() -> Iterator[None]:
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.enable_progress_bar()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="tiny shapes only; writes no file")
    arguments = parser.parse_args()
    cases = tiny_cases() + ([] if arguments.tiny else small_cases())
    frame = pd.concat(measure(cases), ignore_index=True)
    print(frame.to_string(index=False, float_format=lambda x: f"{x:.2g}"))
    fair = frame[frame.note == ""]
    print(
        f"\n{int(within_limits(fair).sum())} of {len(fair)} rows keep the limits (ratio at most "
        f"{RATIO_LIMIT:g} in float32, difference at most {FLOAT64_LIMIT:g} in float64); "
        f"{len(frame) - len(fair)} rows where the peer ignores the config are not counted."
    )
    if not arguments.tiny:
        RESULTS.parent.mkdir(exist_ok=True)
        frame.to_csv(RESULTS, index=False, float_format="%.6g")
        print(f"Written to {RESULTS}")


if __name__ == "__main__":
    main()
