"""Peak memory and time of loading GPT-2 small's shape, both ways and in the libraries we build on.

Each way runs in a process of its own: first the imports, then the load. Memory is the process's
peak resident set during the load minus what it held after the imports, over the size of the
weights. The limits are 1.3 for a directory and 2.5 through TransformerLens.

    python benchmarks/loading_memory.py    # prints the table, writes benchmarks/results/loading.csv
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "results" / "loading.csv"
REPEATS = 3
LIMITS = {"interp, directory": 1.3, "interp, through TransformerLens": 2.5}

# name -> (imports, load); `directory` is the checkpoint, and the cache holds it as "gpt2".
WAYS = {
    "interp, directory": (
        "import torch; from interp.loading.load import load_model",
        "model = load_model(directory)",
    ),
    "interp, through TransformerLens": (
        "import torch; from interp.loading.load import load_model\n"
        "from transformer_lens import TransformerBridge; import interp.loading.transformerlens",
        "model = load_model('gpt2')",
    ),
    "transformers": (
        "import torch; from transformers import GPT2LMHeadModel",
        "model = GPT2LMHeadModel.from_pretrained(directory)",
    ),
    "TransformerLens, raw": (
        "from transformer_lens import TransformerBridge",
        "model = TransformerBridge.boot_transformers(directory, device='cpu')",
    ),
    "TransformerLens, compatibility mode": (
        "from transformer_lens import TransformerBridge",
        "model = TransformerBridge.boot_transformers(directory, device='cpu')\n"
        "model.enable_compatibility_mode()",
    ),
}

_CHILD = """
import json, sys, time
directory = sys.argv[1]
def memory(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) / 1024
started = time.perf_counter()
{imports}
imported = time.perf_counter() - started
open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
before, started = memory("VmRSS"), time.perf_counter()
{load}
seconds, peak = time.perf_counter() - started, memory("VmHWM")
# Touch every weight: a memory-mapped file costs nothing until it is read.
total = sum(float(p.sum()) for p in model.parameters())
peak = max(peak, memory("VmHWM"))
memory_used = dict(imports_mib=before, peak_mib=peak - before)
print(json.dumps(dict(import_s=imported, load_s=seconds, **memory_used)))
"""


def write_gpt2(folder: Path, tokenizer: Path | None = None) -> float:
    """A random checkpoint of GPT-2 small's shape, in a hand-made Hugging Face cache as well.

    Args:
        folder: gets `checkpoint/` and the cache `home/hub/models--gpt2`.
        tokenizer: a folder with vocab.json and merges.txt; a minimal one is made up without it.

    Returns:
        Size of the weights in MiB.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    checkpoint = folder / "checkpoint"
    GPT2LMHeadModel(GPT2Config()).save_pretrained(checkpoint)
    for name, made_up in (
        ("vocab.json", json.dumps({"<|endoftext|>": 0, "a": 1})),
        ("merges.txt", "#version: 0.2\n"),
    ):
        text = made_up if tokenizer is None else (tokenizer / name).read_text("utf-8")
        (checkpoint / name).write_text(text, "utf-8")
    repository = folder / "home" / "hub" / "models--gpt2"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("0" * 40)).symlink_to(checkpoint, target_is_directory=True)
    return (checkpoint / "model.safetensors").stat().st_size / 2**20


def measure(way: str, folder: Path) -> dict[str, float]:
    """One load in a fresh process, without a network."""
    imports, load = WAYS[way]
    environment = os.environ | {
        "HF_HOME": str(folder / "home"),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", _CHILD.format(imports=imports, load=load), folder / "checkpoint"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def table(folder: Path, ways: list[str], repeats: int) -> pd.DataFrame:
    """Medians over the repeats, one row per way to load."""
    weights = write_gpt2(folder)
    rows = []
    for way in ways:
        runs = pd.DataFrame([measure(way, folder) for _ in range(repeats)])
        median = runs.median().to_dict()
        rows.append({"way": way, **median, "weights_mib": weights})
    frame = pd.DataFrame(rows)
    frame["peak_over_weights"] = frame.peak_mib / frame.weights_mib
    frame["limit"] = frame.way.map(LIMITS)
    return frame


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        frame = table(Path(folder), list(WAYS), REPEATS)
    print(frame.to_string(index=False, float_format=lambda x: f"{x:.2f}"))
    RESULTS.parent.mkdir(exist_ok=True)
    frame.to_csv(RESULTS, index=False, float_format="%.4g")
    print(f"Written to {RESULTS}")


if __name__ == "__main__":
    main()
