"""Per-head direct logit attribution beside TransformerLens's per-head route, in one run.

Same random weights (GPT-2 small's shape), same 256 tokens, same direction (logit of one token less
another). TransformerLens stacks every head's output, applies the final norm and takes the product
with the direction; ours carries the direction back through the output matrices. Turn by turn, the
least time of each counts, since other work on the machine disturbs; the peer's cache is copied for
every turn, because it keeps the stack once formed. Memory is the peak resident set during the
call, less what was held before.

    python benchmarks/attribution.py [--rounds N]
"""

import argparse
import csv
import ctypes
import gc
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from patching import models
from transformer_lens import ActivationCache

from interp.measures.attribution import direct_attribution, head_projections
from interp.measures.logit_differences import logit_directions

THREADS, N_POS = 2, 256
BAR, BAR_MIB = 10, 20
TARGET, CONTRAST = 1000, 2000
RESULTS = Path(__file__).parent / "results" / "attribution.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    bridge, model = models()
    tokens = torch.randint(0, 50257, (1, N_POS), generator=torch.Generator().manual_seed(0))
    rows = [measured(*sweep(bridge, model, tokens), rounds) for sweep in (by_head, whole)]
    common = {"positions": N_POS, "threads": THREADS, "rounds": rounds}
    common |= {"load": round(os.getloadavg()[0], 1), "torch": torch.__version__}
    rows = [row | common | {"machine": platform.machine()} for row in rows]
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {RESULTS}")


def by_head(bridge, model, tokens):
    """All heads at all positions, from a recorded run."""
    _, theirs = bridge.run_with_cache(tokens)
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(12)]
    _, own = model.run_with_cache(tokens, [*names, "ln_final.hook_scale"])
    scale = own["scale"]
    answers = torch.tensor([TARGET]), torch.tensor([CONTRAST])
    read = bridge.W_U[:, TARGET] - bridge.W_U[:, CONTRAST]

    def ours():
        found = head_projections(model, own, logit_directions(model, *answers))
        return (found[..., 0] / scale).permute(0, 3, 1, 2).flatten(0, 1)

    def peer():
        cache = ActivationCache(dict(theirs.cache_dict), bridge)
        return cache.stack_head_results(apply_ln=True) @ read

    return "shares of all heads, every position", ours, peer, BAR


def whole(bridge, model, tokens):
    """The last position, from tokens to numbers; ours gives MLPs, embeddings and biases too."""
    read = bridge.W_U[:, TARGET] - bridge.W_U[:, CONTRAST]

    def ours():
        frame = direct_attribution(model, tokens, TARGET, CONTRAST)
        heads = frame.loc[frame["component"] == "head", "contribution"]
        return torch.tensor(heads.to_numpy())[:, None]

    def peer():
        _, cache = bridge.run_with_cache(tokens)
        return cache.stack_head_results(apply_ln=True, pos_slice=-1) @ read

    return "run and shares, last position", ours, peer, ""


def measured(what: str, ours: Callable, peer: Callable, bar: int | str, rounds: int) -> dict:
    """Times, memory and the largest difference of the two, relative to the largest value."""
    found, expected = ours(), peer()
    apart = ((found - expected).abs().max() / expected.abs().max()).item()
    del found, expected
    seconds: dict[Callable, list[float]] = {ours: [], peer: []}
    growth: dict[Callable, list[float]] = {ours: [], peer: []}
    for _ in range(rounds):
        for call in (ours, peer):
            before = forget_peak()
            started = time.perf_counter()
            kept = call()
            seconds[call].append(time.perf_counter() - started)
            growth[call].append(memory("VmHWM") - before)
            del kept
    best, worst = min(seconds[ours]), min(seconds[peer])
    row = {
        "what": what,
        "ours_s": round(best, 5),
        "peer_s": round(worst, 5),
        "times": round(worst / best, 1),
        "bar": bar,
        "ours_mib": round(max(growth[ours]), 1),
        "bar_mib": BAR_MIB if bar else "",
        "peer_mib": round(max(growth[peer]), 1),
        "relative_difference": f"{apart:.1e}",
    }
    print(row)
    return row


def forget_peak() -> float:
    """Gives freed memory back and resets the peak of the resident set; what is held now, MiB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"this system does not report {field}")


if __name__ == "__main__":
    main()
