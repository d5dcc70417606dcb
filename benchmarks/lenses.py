"""Logit lens of a whole prompt: ours beside TransformerLens's, time and memory.

One prompt of 512 tokens on GPT-2 small's shape, all 13 depths between blocks. The readings: for the
next token its probability, rank and log-probability difference to another token, and at every
position entropy, KL to the model and agreement of the best token. TransformerLens's `logit_lens`
gives either the readings of targets (probability, rank, entropy) or whole distributions, from which
the rest follows by hand; both ways are timed, and ours, which always gives all, beside each.
Interleaved rounds in one process, the fastest of each counts. Nothing here is a test.
"""

import csv
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch

from interp.core import GPTConfig, HookedGPT
from interp.measures import layer_depths, read_lens

THREADS, ROUNDS, N_POS = 2, 2, 512
RESULTS = Path(__file__).parent / "results" / "lenses.csv"
GPT2 = GPTConfig(n_layers=12, d_model=768, n_heads=12, n_ctx=1024, d_vocab=50257)


def main() -> None:
    torch.set_num_threads(THREADS)
    model = HookedGPT(GPT2).eval().requires_grad_(False)
    bridge = _peer(model)
    tokens = torch.randint(0, GPT2.d_vocab, (1, N_POS), generator=torch.Generator().manual_seed(0))
    calls = {
        "ours": lambda: ours(model, tokens),
        "targets": lambda: peer_targets(bridge, tokens),
        "all": lambda: peer_all(bridge, tokens),
    }
    times, results = _timed(calls)
    largest = max(
        float(np.abs(results["ours"][name] - results["all"][name]).max()) for name in results["all"]
    )
    memory = {which: _peak_growth(which) for which in ("ours", "targets", "all")}
    rows = []
    for which, what in (
        ("targets", "probability, rank, entropy of the next token"),
        ("all", "those, KL, agreement, difference of two tokens"),
    ):
        rows.append(
            {
                "what": what,
                "peer": "transformer-lens 4.3 logit_lens",
                "ours_s": round(times["ours"], 3),
                "peer_s": round(times[which], 3),
                "speedup": round(times[which] / times["ours"], 2),
                "bar": 2.0 if which == "all" else "",
                "ours_peak_mib": round(memory["ours"]),
                "peer_peak_mib": round(memory[which]),
                "largest_difference": f"{largest:.1e}" if which == "all" else "",
                "rounds": ROUNDS,
                "threads": THREADS,
                "machine": platform.machine(),
                "torch": torch.__version__,
            }
        )
        print(rows[-1])
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _peer(model: HookedGPT):
    """TransformerLens with the same weights."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
    from transformers import GPT2Config, GPT2LMHeadModel

    hf = GPT2LMHeadModel(GPT2Config()).eval().requires_grad_(False)
    for ours, theirs in _pairs(model, hf.transformer):
        theirs.data = ours.data
    return build_bridge_from_module(hf, "GPT2LMHeadModel", hf_config=hf.config)


def _pairs(model: HookedGPT, hf):
    yield model.embed.W_E, hf.wte.weight
    yield model.pos_embed.W_pos, hf.wpe.weight
    yield from ((model.ln_final.w, hf.ln_f.weight), (model.ln_final.b, hf.ln_f.bias))
    for ours, theirs in zip(model.blocks, hf.h, strict=True):
        for mine, other in ((ours.ln1, theirs.ln_1), (ours.ln2, theirs.ln_2)):
            yield from ((mine.w, other.weight), (mine.b, other.bias))
        yield from ((ours.attn.W_QKV, theirs.attn.c_attn.weight),)
        yield from ((ours.attn.b_QKV, theirs.attn.c_attn.bias),)
        yield from ((ours.attn.W_O_flat, theirs.attn.c_proj.weight),)
        yield from ((ours.attn.b_O, theirs.attn.c_proj.bias),)
        yield from ((ours.mlp.W_in, theirs.mlp.c_fc.weight), (ours.mlp.b_in, theirs.mlp.c_fc.bias))
        yield from ((ours.mlp.W_out, theirs.mlp.c_proj.weight),)
        yield from ((ours.mlp.b_out, theirs.mlp.c_proj.bias),)


CONTRAST = 17


def ours(model: HookedGPT, tokens: torch.Tensor) -> dict[str, np.ndarray]:
    frame = read_lens(model, tokens, depths=layer_depths(model), contrast=CONTRAST)
    names = ("surprisal_nats", "entropy_nats", "kl_nats", "difference_nats")
    asked = frame[frame["target"] >= 0]
    return {name: asked[name].to_numpy() for name in names}


@torch.no_grad()
def peer_targets(bridge, tokens: torch.Tensor):
    from transformer_lens.tools.analysis import logit_lens

    following = torch.cat((tokens[:, 1:], tokens[:, :1]), 1)
    return logit_lens(
        bridge, tokens, positions=None, targets=following, return_type="log_probs"
    ).rank_trajectory()


@torch.no_grad()
def peer_all(bridge, tokens: torch.Tensor) -> dict[str, np.ndarray]:
    """From the distributions that one call gives, a depth at a time."""
    from transformer_lens.tools.analysis import logit_lens

    read = logit_lens(bridge, tokens, positions=None, return_type="log_probs")
    said = read.values[:, 0, :-1]
    following = tokens[0, 1:, None]
    final = said[-1]
    probs, best = final.exp(), final.argmax(-1)
    found: dict[str, list] = {
        n: [] for n in ("surprisal_nats", "kl_nats", "difference_nats", "rank", "agrees")
    }
    for depth in said:
        asked = depth.gather(-1, following)
        found["surprisal_nats"].append(-asked[:, 0])
        found["kl_nats"].append((probs * (final - depth)).sum(-1))
        found["difference_nats"].append(asked[:, 0] - depth[:, CONTRAST])
        found["rank"].append((depth > asked).sum(-1))
        found["agrees"].append(depth.argmax(-1) == best)
    del found["rank"], found["agrees"]
    flat = {name: torch.stack(values).flatten().numpy() for name, values in found.items()}
    return flat | {"entropy_nats": read.readout.entropy[:, 0, :-1].flatten().numpy()}


def _timed(calls: dict[str, Callable]) -> tuple[dict[str, float], dict[str, object]]:
    best, results = dict.fromkeys(calls, float("inf")), {}
    for number in range(ROUNDS + 1):  # the first warms up
        for name, call in calls.items():
            start = time.perf_counter()
            results[name] = call()
            if number:
                best[name] = min(best[name], time.perf_counter() - start)
    return best, results


def _peak_growth(which: str) -> float:
    """MiB by which the largest resident size grows in a fresh process."""
    command = [sys.executable, __file__, "--memory", which]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory_of(which: str) -> None:
    torch.set_num_threads(THREADS)
    model = HookedGPT(GPT2).eval().requires_grad_(False)
    tokens = torch.randint(0, GPT2.d_vocab, (1, N_POS))
    subject = model if which == "ours" else _peer(model)
    call = {"ours": ours, "targets": peer_targets, "all": peer_all}[which]
    # Libraries allocate on first use.
    call(subject, tokens[:, :8])
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call(subject, tokens)
    print((_status("VmHWM") - before) / 1024)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        memory_of(sys.argv[2])
    else:
        main()
