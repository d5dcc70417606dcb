"""What a user waits for: whole commands, from the shell, with the memory of all their processes.

    python benchmarks/commands.py [--tokenizer DIR] [--only WORD]

`from clone to report` clones the last commit of this repository into an empty folder and runs
`make report` there, so it needs the package index (or a cache of it). The probe of GPT-2's shape
has random weights and needs GPT-2's `vocab.json` and `merges.txt` in DIR; without it the row is
left out. Memory is the largest sum over the processes of a command, pages that several share
counted once (PSS), looked at every second; Linux only. `matmul_gflops` says how fast the
machine was in the same minute. Nothing here is a test. Run on an idle machine.
"""

import argparse
import csv
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from loading_memory import write_gpt2
from speed import matmul_rate

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "commands.csv"
SMALL_PROMPT = ("the calm creature", "--corrupted", "the shy creature", "--target", "sleeps",
                "--contrast", "hides")  # fmt: skip
GPT2_PROMPT = ("When Mary and John went to the store, John gave a drink to", "--target", " Mary",
               "--contrast", " John")  # fmt: skip
LOOK_EVERY_S = 1.0  # a look at a large process costs tens of milliseconds


class Command(NamedTuple):
    """A command and what was declared for it."""

    what: str
    words: tuple[str, ...]
    bar_s: float | None = None
    bar_mib: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 1)
    common = {"cores": os.cpu_count(), "load": load, "machine": platform.machine()}
    common |= {"matmul_gflops": round(matmul_rate() / 1e9), "torch": torch.__version__}
    common |= {"python": platform.python_version()}
    with tempfile.TemporaryDirectory() as folder:
        chosen = [c for c in commands(Path(folder), options.tokenizer) if options.only in c.what]
        rows = [measured(command, Path(folder)) | common for command in chosen]
    if options.only and RESULTS.exists():
        with RESULTS.open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if options.only not in r["what"]] + rows
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {RESULTS}")


def commands(folder: Path, tokenizer: Path | None) -> list[Command]:
    """What is timed, in the order in which a new user would come to it."""
    interp = str(Path(sys.executable).with_name("interp"))
    clone = folder / "clone"
    get = f"git clone --quiet {shlex.quote(str(ROOT))} {clone} && make -C {clone} report"
    found = [
        Command("from clone to report", ("sh", "-c", get), 300),
        Command("interp doctor", (interp, "doctor")),
        Command("interp report -m small", (interp, "report", "-m", "small"), 120, 2048),
        Command("interp probe on small", (interp, "probe", *SMALL_PROMPT), 10),
        Command("interp verify, the fast set", (interp, "verify"), 60),
    ]
    if tokenizer is not None:
        write_gpt2(folder, tokenizer)
        model = ("-m", str(folder / "checkpoint"))
        what = "interp probe on GPT-2 small's shape"
        found.append(Command(what, (interp, "probe", *GPT2_PROMPT, *model), 60))
    return found


def measured(command: Command, folder: Path) -> dict:
    """One run in a folder of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as here:
        started = time.perf_counter()
        process = psutil.Popen(
            command.words, cwd=here, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(process))
            try:
                process.communicate(timeout=LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                continue
        seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{shlex.join(command.words)} ended with {process.returncode}")
    row = {
        "what": command.what,
        "seconds": round(seconds, 1),
        "bar_s": command.bar_s,
        "peak_mib": round(peak / 2**20),
        "bar_mib": command.bar_mib,
    }
    print("{what:<38} {seconds:6.1f} s  {peak_mib:5} MiB".format(**row), flush=True)
    return row


def memory(process: psutil.Process) -> int:
    """Bytes that a process and those it started hold; one that has just ended holds none."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
    except psutil.NoSuchProcess:
        return total
    return total


if __name__ == "__main__":
    main()
