"""All composition scores beside TransformerLens's, and what copying scores need in memory.

Composition: the scores of all pairs of GPT-2 small's 144 heads by queries, keys and values, on the
same random weights, turn by turn in one process; the least of the turns counts. The largest
difference of the scores is given too.

Copying: extra peak memory of `copying_scores` for 144 heads over 50,257 tokens, from Linux's
high-water mark, after a first call on a tiny model has loaded everything.

    python benchmarks/circuits.py [--rounds N]
"""

import argparse
import csv
import os
import platform
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from interp.core import GPTConfig, HookedGPT
from interp.measures import composition_scores, copying_scores, head_weights

THREADS = 1
RESULTS = Path(__file__).parent / "results" / "circuits.csv"
GPT2 = GPTConfig(n_layers=12, d_model=768, n_heads=12, n_ctx=1024, d_vocab=50257)
MODES = ("Q", "K", "V")


def main() -> None:
    """Prints the rows and writes `benchmarks/results/circuits.csv`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    rows = [memory_row(), composition_row(rounds)]
    common = {"threads": THREADS, "load": round(os.getloadavg()[0], 1), "torch": torch.__version__}
    rows = [row | common | {"machine": platform.machine()} for row in rows]
    for row in rows:
        print(row)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def composition_row(rounds: int) -> dict:
    """Ours and TransformerLens's scores of the same weights."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    hf = GPT2LMHeadModel(GPT2Config()).eval()
    bridge = build_bridge_from_module(hf, "GPT2LMHeadModel", hf_config=hf.config)
    model = HookedGPT(GPT2, init=None).requires_grad_(False)
    for layer, block in enumerate(model.blocks):
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            getattr(block.attn, name).copy_(getattr(bridge, name)[layer])

    def ours() -> torch.Tensor:
        return composition_scores(head_weights(model, fold_norm=False))

    def theirs() -> torch.Tensor:
        return torch.stack([bridge.all_composition_scores(mode).scores for mode in MODES])

    best = [float("inf")] * 2
    results: list[torch.Tensor] = [torch.empty(0)] * 2
    for _ in range(rounds):
        for place, call in enumerate((ours, theirs)):
            start = time.perf_counter()
            results[place] = call()
            best[place] = min(best[place], time.perf_counter() - start)
    difference = (results[0].view_as(results[1]) - results[1]).abs().max()
    return {
        "what": "all Q, K and V composition scores of 144 heads",
        "peer": "TransformerLens all_composition_scores",
        "ours": round(best[0], 3),
        "peer_value": round(best[1], 3),
        "unit": "s",
        "ratio": round(best[1] / best[0], 1),
        "bar": "10 or more",
        "rounds": rounds,
        "largest_difference": f"{float(difference):.1e}",
    }


def memory_row() -> dict:
    """Extra peak memory of the copying scores, with one random circuit per head as the null."""
    tiny = GPTConfig(n_layers=2, d_model=24, n_heads=2, n_ctx=8, d_vocab=50)
    copying_scores(HookedGPT(tiny), n_null=1)
    model = HookedGPT(GPT2).requires_grad_(False).eval()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    start = time.perf_counter()
    frame = copying_scores(model, n_null=1)
    seconds = time.perf_counter() - start
    return {
        "what": f"copying scores of {len(frame)} heads over {GPT2.d_vocab} tokens, extra memory",
        "peer": f"one d_vocab × d_vocab circuit: {4 * GPT2.d_vocab**2 / 2**20:.0f} MiB",
        "ours": round(_status("VmHWM") - before),
        "peer_value": round(4 * GPT2.d_vocab**2 / 2**20),
        "unit": "MiB",
        "ratio": round(4 * GPT2.d_vocab**2 / 2**20 / max(_status("VmHWM") - before, 1), 1),
        "bar": "at most 300 MiB",
        "rounds": f"1, {seconds:.0f} s",
        "largest_difference": "",
    }


def _status(field: str) -> float:
    """A line of this process's status, in MiB."""
    text = Path("/proc/self/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
