"""The page about benchmarks: one table over all files of `benchmarks/results`, then the files.

Every number comes from the files. Bars stand in them too, but for those in `BARS`, which were
declared in words. What is measured is a cost (seconds, MiB, an error), so that `peer / ours` is
above 1 where ours is better; where more is better (`better="more"`), it is turned round.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
Cells = dict[str, str]

BARS = {  # declared before measuring; the other bars are in the files
    "analogies, times": 5.0,
    "analogies, MiB": 300.0,
    "parity, float32, times": 0.5,
    "parity, float64": 1e-10,
    "patching, rate": 0.6,
    "patching, difference": 1e-5,
}
ABOUT = {
    "analogies": "Analogies and neighbours over GPT-2's vocabulary, against gensim.",
    "attribution": "Direct logit attribution, against TransformerLens's per-head route.",
    "circuits": "Copying and composition scores of all heads.",
    "commands": "What a user waits for: whole commands, with the memory of all their processes.",
    "cuda": "Forward, cache and patching sweep on a GPU, beside the CPU of the same machine.",
    "head_roles": "All head roles with their nulls, against bare forward passes.",
    "lenses": "The logit lens over a text, against TransformerLens's `logit_lens`.",
    "loading": "Time and memory of loading GPT-2 small's shape.",
    "parity": "Every shared hook point: float32 error against a float64 reference.",
    "patching": "Exact patching sweeps against TransformerLens at its defaults and by hand. A path "
    "changes a logit by thousandths here, so that the rounding of both sides in float32 shows.",
    "speed": "Forward pass, cache and training step; starting up.",
    "sweep": "Two workers of a sweep against one, on two cores.",
}
NO_BREAK = "\u00a0"
LONG = 60  # rows; longer files are summed up in the first table alone


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        what: is measured.
        peer: that it is measured against; "" for none.
        ours: our figure.
        other: the peer's.
        unit: of both.
        bar: least `times`, or with `absolute` the limit of our own figure; None if there is none.
        absolute: the bar is one of `ours`, not of `times`.
        better: whether less or more of it is better.
        where: threads and load of the machine.
    """

    what: str
    peer: str
    ours: float
    other: float | None = None
    unit: str = "s"
    bar: float | None = None
    absolute: bool = False
    better: str = "less"
    where: str = ""

    @property
    def times(self) -> float | None:
        """How many times better than the peer."""
        if self.other is None:
            return None
        return self.other / self.ours if self.better == "less" else self.ours / self.other

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None without one."""
        if self.bar is None:
            return None
        if not self.absolute:
            return self.times >= self.bar
        return self.ours <= self.bar if self.better == "less" else self.ours >= self.bar

    def cells(self) -> list[str]:
        """As they stand in the table."""
        unit = f"{NO_BREAK}{self.unit}" if self.unit else ""
        bar, said = "–", {True: "yes", False: "**no, missed**", None: "no bar"}[self.met]
        if self.bar is not None and self.absolute:
            bar = f"at {'most' if self.better == 'less' else 'least'} {shown(self.bar)}{unit}"
        elif self.bar is not None:
            bar = f"at least {shown(self.bar)}{NO_BREAK}×"
        other = "–" if self.other is None else shown(self.other) + unit
        times = "–" if self.times is None else f"{shown(self.times)}{NO_BREAK}×"
        peer = self.peer or "–"
        return [self.what, peer, shown(self.ours) + unit, other, times, bar, said, self.where]


def shown(value: float) -> str:
    """Three digits, or all before the point, without an exponent where one can read it."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if value == 0 or abs(value) >= 1e-3:
        return f"{float(f'{value:.3g}'):g}"
    return f"{value:.1e}"


# ------------------------------------------------------------------------------ one file each


def where(cells: Cells) -> str:
    """Threads and load, as far as the file says."""
    said = []
    if "cores" in cells:
        said.append(f"{cells['cores']} cores")
    if "threads" in cells:
        said.append(f"{cells['threads']} thread{'s' * (cells['threads'] != '1')}")
    if "load" in cells:
        said.append(f"load {cells['load']}")
    return ", ".join(said)


def number(text: str | None) -> float | None:
    """A figure, or None for an empty cell."""
    return float(text) if text else None


def of_analogies(rows: list[Cells]) -> Iterator[Row]:
    """Against gensim; in one pass, its extra memory."""
    for cells in rows:
        what = f"{cells['task']}, {int(cells['n']):,}"
        if cells["gensim_s"]:
            seconds = float(cells["ours_s"]), float(cells["gensim_s"])
            yield Row(what, "gensim", *seconds, bar=BARS["analogies, times"], where=where(cells))
        if cells["extra_mib"]:
            extra, bar = float(cells["extra_mib"]), BARS["analogies, MiB"]
            yield Row(
                f"{what}: extra memory", "", extra, None, "MiB", bar, True, where=where(cells)
            )


def of_attribution(rows: list[Cells]) -> Iterator[Row]:
    """Time and extra memory."""
    for cells in rows:
        seconds = float(cells["ours_s"]), float(cells["peer_s"])
        yield Row(f"attribution: {cells['what']}", "TransformerLens", *seconds,
                  bar=number(cells["bar"]), where=where(cells))  # fmt: skip
        yield memory(f"attribution: {cells['what']}", cells)


def memory(what: str, cells: Cells) -> Row:
    """Extra memory of a row that has `ours_mib`, `peer_mib` and `bar_mib`."""
    figures = float(cells["ours_mib"]), float(cells["peer_mib"])
    bar = number(cells["bar_mib"])
    return Row(f"{what}: extra memory", "TransformerLens", *figures, "MiB", bar, True,
               where=where(cells))  # fmt: skip


def of_circuits(rows: list[Cells]) -> Iterator[Row]:
    """The bar is in words: "10 or more" times, or "at most" so much."""
    for cells in rows:
        bar = float(re.search(r"[\d.]+", cells["bar"])[0])
        figures = float(cells["ours"]), float(cells["peer_value"])
        peer = cells["peer"].partition(":")[0]
        yield Row(cells["what"], peer, *figures, cells["unit"], bar, "at most" in cells["bar"],
                  where=where(cells))  # fmt: skip


def of_commands(rows: list[Cells]) -> Iterator[Row]:
    """Limits of time and memory; there is no peer for a whole command."""
    for cells in rows:
        what, said = cells["what"], where(cells)
        if rate := cells.get("matmul_gflops"):  # machines lend more or less of themselves
            said += f", matrix products at {rate}{NO_BREAK}GFLOP/s"
        yield Row(f"{what}: time", "", float(cells["seconds"]), None, "s", number(cells["bar_s"]),
                  True, where=said)  # fmt: skip
        yield Row(f"{what}: memory", "", float(cells["peak_mib"]), None, "MiB",
                  number(cells["bar_mib"]), True, where=said)  # fmt: skip


def of_cuda(rows: list[Cells]) -> Iterator[Row]:
    """On the GPU, beside float32 on the CPU of that machine."""
    on_cpu = {cells["what"]: float(cells["seconds"]) for cells in rows if cells["device"] == "cpu"}
    for cells in rows:
        if cells["device"] != "cpu":
            what = f"{cells['what']}, {cells['dtype']}"
            peer = "our own float32 on the CPU"
            yield Row(what, peer, float(cells["seconds"]), on_cpu.get(cells["what"]),
                      where=cells["gpu"])  # fmt: skip


def of_head_roles(rows: list[Cells]) -> Iterator[Row]:
    """The bar is in times of the forward passes."""
    for cells in rows:
        peer = f"{cells['against']}, {cells['passes']} passes"
        seconds = float(cells["roles_s"]), float(cells["peer_s"])
        yield Row("all head roles with their nulls", peer, *seconds, bar=1 / float(cells["bar"]),
                  where=where(cells))  # fmt: skip


def of_lenses(rows: list[Cells]) -> Iterator[Row]:
    """The peer asked for three sets of readings; memory for the one that is like ours."""
    for cells in rows:
        what = f"logit lens, all our readings, {cells['positions']} positions"
        peer = f"TransformerLens, asked for {cells['peer_asked_for']}"
        seconds = float(cells["ours_s"]), float(cells["peer_s"])
        yield Row(what, peer, *seconds, bar=number(cells["bar"]), where=where(cells))
        if cells["bar"]:
            yield memory(what, cells)


def of_loading(rows: list[Cells]) -> Iterator[Row]:
    """Peak memory and time, above the imports."""
    by_way = {cells["way"]: cells for cells in rows}
    peers = {
        "interp, directory": ("transformers",),
        "interp, through TransformerLens": ("TransformerLens, raw",
                                            "TransformerLens, compatibility mode"),
    }  # fmt: skip
    for way, others in peers.items():
        ours = by_way[way]
        peak, weights = float(ours["peak_mib"]), float(ours["weights_mib"])
        bar, what = float(ours["limit"]) * weights, f"loading GPT-2 small's shape ({way})"
        yield Row(f"{what}: peak memory", "the weights themselves", peak, weights, "MiB", bar, True)
        for name in others:
            other = by_way[name]
            yield Row(f"{what}: peak memory", name, peak, float(other["peak_mib"]), "MiB")
            yield Row(f"{what}: time", name, float(ours["load_s"]), float(other["load_s"]))


def of_parity(rows: list[Cells]) -> Iterator[Row]:
    """Of each peer the worst row; rows with a note are known differences of the peer."""
    kept = [cells for cells in rows if not cells["note"]]
    for peer in dict.fromkeys(cells["peer"] for cells in kept):
        of_peer = [cells for cells in kept if cells["peer"] == peer]
        narrow = [cells for cells in of_peer if cells["dtype"] == "float32"]
        worst = max(narrow, key=lambda cells: float(cells["ratio"]))
        errors = float(worst["error_ours"]), float(worst["error_peer"])
        yield Row(f"float32 error against float64, worst of {len(narrow)} rows", peer, *errors, "",
                  BARS["parity, float32, times"])  # fmt: skip
        wide = [float(c["max_difference"]) for c in of_peer if c["dtype"] == "float64"]
        yield Row(f"largest float64 difference, {len(wide)} rows", peer, max(wide), None, "",
                  BARS["parity, float64"], True)  # fmt: skip


def of_patching(rows: list[Cells]) -> Iterator[Row]:
    """Against both peers; the rate reached, and how far results differ."""
    for cells in rows:
        what, said = cells["sweep"], where(cells)
        ours = float(cells["ours_s"])
        yield Row(what, "TransformerLens at its defaults", ours, float(cells["peer_s"]),
                  bar=number(cells["bar_default"]), where=said)  # fmt: skip
        yield Row(what, "TransformerLens batched by hand", ours, float(cells["by_hand_s"]),
                  bar=number(cells["bar_by_hand"]), where=said)  # fmt: skip
        has_bar = bool(cells["bar_default"])
        yield Row(f"{what}: rate over the machine's matrix-product rate", "",
                  float(cells["rate"]), None, "", BARS["patching, rate"] if has_bar else None,
                  True, "more", said)  # fmt: skip
        difference = float(cells["difference_over_largest_effect"])
        yield Row(f"{what}: largest difference over the largest effect, float32", "", difference,
                  None, "", BARS["patching, difference"] if has_bar else None, True,
                  where=said)  # fmt: skip


def of_speed(rows: list[Cells]) -> Iterator[Row]:
    """The bar is `ours / peer`, or a limit in seconds above the interpreter's own start."""
    for cells in rows:
        ours, other = float(cells["ours_s"]), float(cells["peer_s"])
        limit = re.fullmatch(r"([\d.]+) s(?: over the interpreter)?", cells["bar"])
        if limit:  # a limit in seconds, above what the interpreter needs by itself
            yield Row(f"{cells['what']}: time over {cells['peer']}", "", max(0.0, ours - other),
                      None, "s", float(limit[1]), True, where=where(cells))  # fmt: skip
            continue
        bar = 1 / float(cells["bar"]) if cells["bar"] else None
        yield Row(cells["what"], cells["peer"], ours, other, bar=bar, where=where(cells))


def of_sweep(rows: list[Cells]) -> Iterator[Row]:
    """Cells per second of several workers, beside one."""
    one = {cells["engine"]: float(cells["rate"]) for cells in rows if cells["workers"] == "1"}
    for cells in rows:
        if cells["workers"] != "1":
            what = f"{cells['workers']} workers of a sweep, engine {cells['engine']}"
            yield Row(what, "one worker", float(cells["rate"]), one[cells["engine"]], "cells/s",
                      float(cells["bar"]), better="more", where=where(cells))  # fmt: skip


READERS = {
    "commands": of_commands,
    "speed": of_speed,
    "head_roles": of_head_roles,
    "patching": of_patching,
    "attribution": of_attribution,
    "lenses": of_lenses,
    "circuits": of_circuits,
    "analogies": of_analogies,
    "loading": of_loading,
    "sweep": of_sweep,
    "parity": of_parity,
    "cuda": of_cuda,
}

# ------------------------------------------------------------------------------------ the page


def read(path: Path) -> tuple[list[str], list[Cells]]:
    """Header and rows of a file."""
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or ()), list(reader)


def comparisons(results: Path = RESULTS) -> list[Row]:
    """All rows of the one table, file after file."""
    found = []
    for stem, of_file in READERS.items():
        path = results / f"{stem}.csv"
        if path.exists():
            found += of_file(read(path)[1])
    return found


HEADER = ["what", "against", "ours", "peer", "times better", "bar", "met?", "measured with"]


def benchmark_page(results: Path = RESULTS) -> str:
    """The one table, and every file below it."""
    rows = comparisons(results)
    missed = [row for row in rows if row.met is False]
    n_bars = sum(row.bar is not None for row in rows)
    parts = [
        "---", "hide: [toc]", "---", "", "# Benchmarks", "",
        "Made from `benchmarks/results/*.csv` when this page is built; `make bench` measures them",
        "again, ours and the peer in one run each. **Times better** has one direction throughout:",
        "above 1 ours needs less (time, memory, error) or does more than the peer. A bar is the",
        "least number of times, or a limit of our own figure. Load is that of the whole machine.",
        f"Named in the files: {machines(results)}.",
        "",
        f"Of {n_bars} bars, {n_bars - len(missed)} are met and {len(missed)} missed.",
        "" if not missed else "Missed: " + "; ".join(_in_words(row) for row in missed) + ".",
        "",
        lines(HEADER, [row.cells() for row in rows]),
        "",
        "## The files",
        "",
    ]  # fmt: skip
    for path in sorted(results.glob("*.csv")):
        header, body = read(path)
        parts += [f"### {path.stem}", "", ABOUT.get(path.stem, ""), ""]
        if len(body) > LONG:
            parts += [f"{len(body)} rows: see `benchmarks/results/{path.name}`.", ""]
        else:
            parts += [table([header, *([row[name] for name in header] for row in body)]), ""]
    return "\n".join(parts)


def machines(results: Path) -> str:
    """What the files say of machine and software, each once."""
    said: dict[str, dict[str, None]] = {name: {} for name in ("machine", "gpu", "torch", "python")}
    for path in sorted(results.glob("*.csv")):
        for cells in read(path)[1]:
            for name, values in said.items():
                if cells.get(name):
                    values[cells[name]] = None
    return "; ".join(f"{name} {', '.join(values)}" for name, values in said.items() if values)


def _in_words(row: Row) -> str:
    """A missed bar as a sentence has it."""
    _, peer, ours, _, times, bar, _, _ = row.cells()
    found = ours if row.absolute else f"{times} against {peer}"
    return f"{row.what}: {found}, asked for {bar}"


def table(rows: list[list[str]]) -> str:
    """Markdown; a column that says the same in every row is said once, underneath."""
    header, *body = rows
    kept = [i for i in range(len(header)) if len(body) < 2 or len({row[i] for row in body}) > 1]
    kept = sorted({0, *kept})
    made = lines([header[i] for i in kept], [[row[i] for i in kept] for row in body])
    same = [f"{header[i]} {body[0][i]}" for i in range(len(header)) if i not in kept and body[0][i]]
    return made + (f"\n\nIn every row: {', '.join(same)}." if same else "")


def lines(header: list[str], body: list[list[str]]) -> str:
    """Markdown rows."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in body]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *escaped])
