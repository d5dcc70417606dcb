"""How fast the core is beside its peers: forward, cache, training step, import, help.

Every row times ours and the peer's turn by turn in one process (medians over the turns), on the
same weights' shape, tokens and thread count, and says what the machine's matrix-product rate would
allow. Nothing here is a test. Run on an idle machine: `make bench`.

Fairness. Peers run as their documentation says, in eval mode and without gradients where we have
none. Our cache forms attention scores and patterns when they are first read, so it is timed twice:
as recorded, and with every entry read that the peer stores.
"""

import csv
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from interp.core import GPTConfig, HookedGPT

THREADS = 2
RESULTS = Path(__file__).parent / "results" / "speed.csv"
GPT2 = GPTConfig(n_layers=12, d_model=768, n_heads=12, n_ctx=1024, d_vocab=50257)


def main() -> None:
    torch.set_num_threads(THREADS)
    rate = matmul_rate()
    print(f"matrix products: {rate / 1e9:.0f} GFLOP/s on {THREADS} threads")
    rows = [
        *forward_rows(rate),
        *cache_rows(rate),
        *training_rows(),
        *start_rows(),
    ]
    for row in rows:
        row |= {
            "matmul_gflops": round(rate / 1e9),
            "threads": THREADS,
            "machine": platform.machine(),
        }
        row |= {"torch": torch.__version__, "python": platform.python_version()}
        print("{what:<58} ours {ours_s:8.4f} s  peer {peer_s:>8}  ratio {ratio:>6}".format(**row))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {RESULTS}")


def compare(
    ours: Callable[[], object], peer: Callable[[], object], turns: int
) -> tuple[float, float]:
    """Medians of the two, taking turns after a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 2):
        for which, call in enumerate((ours, peer)):
            start = time.perf_counter()
            kept = call()
            elapsed = time.perf_counter() - start
            del kept
            if turn >= 2:
                times[which].append(elapsed)
    return statistics.median(times[0]), statistics.median(times[1])


def row(what: str, peer: str, bar: float | str, ours_s: float, peer_s: float, limit: str) -> dict:
    return {
        "what": what,
        "peer": peer,
        "ours_s": round(ours_s, 5),
        "peer_s": round(peer_s, 5),
        "ratio": round(ours_s / peer_s, 3),
        "bar": bar,
        "limit": limit,
    }


def matmul_rate() -> float:
    """Floating-point operations per second of a large float32 product."""
    a = torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def forward_flops(config: GPTConfig, batch: int, pos: int) -> float:
    """Matrix products of one pass; causal attention at full width, as the kernels compute it."""
    blocks = config.n_layers * 12 * config.d_model**2
    attention = config.n_layers * 2 * config.n_heads * config.d_head * pos
    return 2 * batch * pos * (blocks + attention + config.d_model * config.d_vocab)


def shares(rate: float, config: GPTConfig, shape: tuple[int, int], seconds: float) -> str:
    flops = forward_flops(config, *shape)
    return (
        f"{flops / 1e9:.1f} GFLOP need {flops / rate:.3f} s at the matrix-product rate; "
        f"{flops / rate / seconds:.0%} of it reached"
    )


def forward_rows(rate: float) -> list[dict]:
    hf = GPT2LMHeadModel(GPT2Config(attn_implementation="sdpa")).eval()
    model = HookedGPT(GPT2).eval()
    rows = []
    with torch.no_grad():
        for shape in ((8, 16), (1, 512)):
            tokens = torch.randint(0, 50257, shape)
            ours_s, peer_s = compare(lambda t=tokens: model(t), lambda t=tokens: hf(t).logits, 15)
            what = f"forward, GPT-2 small's shape, {shape[0]}x{shape[1]} tokens"
            limit = shares(rate, GPT2, shape, ours_s)
            rows.append(row(what, "transformers, sdpa", 1.0, ours_s, peer_s, limit))
    return rows


def cache_rows(rate: float) -> list[dict]:
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    hf = GPT2LMHeadModel(GPT2Config()).eval()
    bridge = build_bridge_from_module(hf, "GPT2LMHeadModel", hf_config=hf.config)
    model = HookedGPT(GPT2).eval()
    rows = []
    with torch.no_grad():
        for shape in ((8, 16), (1, 512)):
            tokens = torch.randint(0, 50257, shape)
            _, theirs = bridge.run_with_cache(tokens)
            shared = [name for name in model.hook_names if name in theirs]
            del theirs

            def recorded(t=tokens):
                return model.run_with_cache(t)

            def read(t=tokens, names=shared):
                _, cache = model.run_with_cache(t)
                return [cache[name] for name in names]

            for label, ours in (("recorded", recorded), (f"all {len(shared)} entries read", read)):
                ours_s, peer_s = compare(ours, lambda t=tokens: bridge.run_with_cache(t), 9)
                what = f"run_with_cache of everything, {shape[0]}x{shape[1]} tokens, {label}"
                limit = shares(rate, GPT2, shape, ours_s)
                bar = 0.8 if label == "recorded" else ""
                rows.append(row(what, "TransformerLens", bar, ours_s, peer_s, limit))
    return rows


def training_rows() -> list[dict]:
    """One step of the shipped recipe: forward, backward, clip, AdamW; one thread, as it trains."""
    from interp.learning import RECIPES
    from interp.learning.trainer import make_optimizer, training_step

    recipe = RECIPES["small"]
    config = recipe.config
    torch.set_num_threads(1)
    tokens = torch.randint(0, config.d_vocab, (recipe.batch_size, config.n_ctx + 1))
    model = HookedGPT(config).train()
    optimizer = make_optimizer(model, recipe)
    hf = GPT2LMHeadModel(
        GPT2Config(
            n_layer=config.n_layers,
            n_embd=config.d_model,
            n_head=config.n_heads,
            n_positions=config.n_ctx,
            vocab_size=config.d_vocab,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            attn_implementation="sdpa",
        )
    ).train()
    matrices = [p for p in hf.parameters() if p.ndim > 1]
    rest = [p for p in hf.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    hf_optimizer = torch.optim.AdamW(groups, lr=2e-3, betas=recipe.betas, fused=True)

    def peer_step() -> None:
        # The last target lies outside HF's own shift, so the window goes in as inputs and labels
        # of equal length: the same 2,048 predictions.
        logits = hf(tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(hf.parameters(), recipe.clip)
        hf_optimizer.step()
        hf_optimizer.zero_grad(set_to_none=True)

    ours_s, peer_s = compare(
        lambda: training_step(model, optimizer, tokens, recipe.clip), peer_step, 25
    )
    torch.set_num_threads(THREADS)
    flops = 3 * forward_flops(config, recipe.batch_size, config.n_ctx)
    limit = (
        f"{flops / 1e9:.1f} GFLOP of matrix products; {flops / ours_s / 1e9:.0f} GFLOP/s reached"
    )
    what = "training step, the shipped model's shape, 32x64 tokens, 1 thread"
    return [row(what, "transformers, sdpa, fused AdamW", 0.9, ours_s, peer_s, limit)]


def start_rows() -> list[dict]:
    """Starting up, beside a bare interpreter; here the bars are in seconds, not in ratios."""
    bare = [sys.executable, "-c", "pass"]
    rows = []
    for what, command, bar in (
        ("import interp", [sys.executable, "-c", "import interp"], "0.1 s over the interpreter"),
        ("interp --help", [sys.executable, "-m", "interp", "--help"], "0.4 s"),
    ):
        ours_s, peer_s = compare(lambda c=command: silent(c), lambda: silent(bare), 9)
        over = ours_s - peer_s
        rows.append(
            row(what, "bare python", bar, ours_s, peer_s, f"{over:.3f} s over the interpreter")
        )
    return rows


def silent(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
