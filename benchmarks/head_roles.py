"""All head roles with their nulls against the forward passes that they need.

GPT-2 small's shape with random weights, 64 prompts of 64 tokens, 5,000 permutations. The detectors
run every version of the prompts once. Two rows are written: against `forward` as a user calls it,
which is the bar, and against the blocks alone, without the unembedding that the detectors do not
need. Times are processor seconds, and ours and the passes take turns for some rounds, of which the
shortest counts, since other work on the machine disturbs. Writes benchmarks/results/head_roles.csv.

    python benchmarks/head_roles.py [--layers 12] [--prompts 64] [--rounds 3] [--threads 1]
"""

import argparse
import csv
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from interp.core import GPTConfig, HookedGPT
from interp.measures import detect_roles, random_token_prompts, suite_of

BAR = 1.5
OUT = Path(__file__).parent / "results" / "head_roles.csv"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--permutations", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = GPTConfig(n_layers=options.layers, d_model=768, n_heads=12, n_ctx=1024, d_vocab=50257)
    model = HookedGPT(config).requires_grad_(False).eval()
    words = np.arange(config.d_vocab - 1)
    prompts = random_token_prompts(
        words, options.prompts, options.tokens, config.d_vocab - 1, seed=0
    )
    successor = np.arange(1, config.d_vocab + 1)
    successor[-2:] = -1
    suite = suite_of(prompts, config.d_vocab - 1, successor=successor)
    jobs = {
        "blocks": lambda: run_versions(model, suite, config.n_layers),
        "roles": lambda: detect_roles(model, [suite], n_permutations=options.permutations),
        "forward": lambda: run_versions(model, suite, None),
    }
    seconds = {name: [] for name in jobs}
    with torch.no_grad():
        model(torch.zeros(1, 8, dtype=torch.long))
        for _ in range(options.rounds):
            for name, job in jobs.items():
                seconds[name].append(timed(job))
    shortest = {name: min(times) for name, times in seconds.items()}
    facts = {
        "layers": options.layers,
        "prompts": options.prompts,
        "tokens": options.tokens,
        "passes": sum(len(scene.versions) * len(scene) for scene in suite.scenes),
        "permutations": options.permutations,
        "threads": options.threads,
        "rounds": options.rounds,
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
    }
    rows = [
        {
            "against": said,
            "peer_s": round(shortest[peer], 2),
            "roles_s": round(shortest["roles"], 2),
            "ratio": round(shortest["roles"] / shortest[peer], 2),
            "bar": BAR,
            **facts,
        }
        for peer, said in (("forward", "forward"), ("blocks", "blocks without unembedding"))
    ]
    options.out.parent.mkdir(exist_ok=True)
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(f"{row['against']}: {row['ratio']}× ({row['roles_s']} s against {row['peer_s']} s)")
    print(f"bar of {BAR}× against forward reached: {rows[0]['ratio'] <= BAR}")


def run_versions(model, suite, stop_at_layer):
    """Every version of every prompt, 32 at a time, as the detectors run them."""
    for scene in suite.scenes:
        for tokens in scene.versions.values():
            for start in range(0, len(tokens), 32):
                rows = torch.as_tensor(tokens[start : start + 32])
                model(rows, stop_at_layer=stop_at_layer)


def timed(call):
    started = time.process_time()
    call()
    return time.process_time() - started


if __name__ == "__main__":
    main()
