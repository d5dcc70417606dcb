"""Analogies and nearest neighbours over a matrix of GPT-2's size, against gensim.

The matrix has 50,257 rows of 768 numbers (float32): normal numbers with a common offset, and pairs
of rows that differ by their category's direction, so that answers are decided as in a real
embedding. The questions have the number and make-up of Google's list: 19,544 in 14 categories.

Ours answers all of them in one call. gensim is asked as its users ask it, one `most_similar` after
the other, with norms computed beforehand, without `restrict_vocab`, and for the best word only,
which is the least it can be asked for. Both have the same vectors, one process and one thread;
times are processor times, which other programs on the machine disturb little, and the least over
rounds. Answers must be the same, except where two words' exact scores (float64) differ by less than
float32 can tell.

gensim is no dependency of this library. To run this:

    python -m pip install --target /tmp/gensim gensim
    python benchmarks/analogies.py --gensim /tmp/gensim

The folder comes last on Python's path, so NumPy and SciPy are those that this library uses.

    python benchmarks/analogies.py --gensim DIR --every 8   # both on every 8th question
    python benchmarks/analogies.py --gensim DIR --few       # 400 questions, writes nothing
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = 1
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(THREADS)

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402

from interp import measures  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "analogies.csv"
N_WORDS, WIDTH = 50_257, 768
# Pairs and questions of each category of Google's list.
CATEGORIES = (
    (23, 506), (116, 4524), (30, 866), (67, 2467), (23, 506), (32, 992), (29, 812),
    (37, 1332), (34, 1122), (33, 1056), (41, 1599), (40, 1560), (37, 1332), (30, 870),
)  # fmt: skip
N_NEIGHBOURS, N_QUERIES = 10, 1000
MOST_MEMORY, LEAST_RATIO = 300.0, 5.0  # MiB beyond the vectors; how often faster
ROUNDING = 1e-6  # of a cosine in float32, over 768 products


def matrix(seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """Vectors, and the pairs of each category as row numbers."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((N_WORDS, WIDTH), dtype=np.float32)
    vectors += 0.5 * rng.standard_normal(WIDTH, dtype=np.float32)
    rows = rng.permutation(N_WORDS)
    pairs, start = [], 0
    for n_pairs, _ in CATEGORIES:
        ids = rows[start : start + 2 * n_pairs].reshape(-1, 2)
        start += 2 * n_pairs
        direction = rng.standard_normal(WIDTH, dtype=np.float32)
        own = rng.standard_normal((n_pairs, WIDTH), dtype=np.float32)
        vectors[ids[:, 1]] = vectors[ids[:, 0]] + 0.5 * direction + 0.4 * own
        pairs.append(ids)
    return vectors, pairs


def questions(pairs: list[np.ndarray], seed: int = 0) -> np.ndarray:
    """As many questions of each category as in Google's list."""
    rng = np.random.default_rng(seed)
    asked = []
    for ids, (_, n_questions) in zip(pairs, CATEGORIES, strict=True):
        every = measures.all_questions(ids)
        asked.append(every[np.sort(rng.permutation(len(every))[:n_questions])])
    return np.concatenate(asked)


class Peak:
    """Largest memory of this process while the block runs, above that at its start (MiB)."""

    def __enter__(self) -> "Peak":
        self.start = self.most = _resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.most = max(self.most, _resident())

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def extra(self) -> float:
        """MiB."""
        return self.most - self.start


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def best_of(n_rounds: int, call: Callable[[], Any]) -> tuple[float, Any]:
    """Least time of some rounds, and the last result."""
    times, result = [], None
    for _ in range(n_rounds):
        start = time.process_time()
        result = call()
        times.append(time.process_time() - start)
    return min(times), result


def our_answers(vectors: torch.Tensor, asked: np.ndarray) -> np.ndarray:
    """The best word of each question, a, b and c struck out."""
    ranks = measures.analogy_ranks(vectors, asked, ("3CosAdd",), ("excluded",))
    return ranks["answer"].to_numpy()


def their_answers(keyed: Any, asked: np.ndarray) -> np.ndarray:
    """The same from gensim, one question after the other."""
    names = keyed.index_to_key
    return np.array([
        keyed.key_to_index[
            keyed.most_similar(positive=[names[b], names[c]], negative=[names[a]], topn=1)[0][0]
        ]
        for a, b, c, _ in asked
    ])  # fmt: skip


def their_neighbours(keyed: Any, queries: np.ndarray) -> np.ndarray:
    """Neighbours of each word from gensim, one word after the other."""
    return np.array([
        [keyed.key_to_index[word] for word, _ in keyed.most_similar(names, topn=N_NEIGHBOURS)]
        for names in (keyed.index_to_key[query] for query in queries)
    ])  # fmt: skip


def really_different(
    vectors: np.ndarray, targets: np.ndarray, ours: np.ndarray, theirs: np.ndarray
) -> tuple[int, int]:
    """How many answers differ, and how many of these by more than rounding.

    Args:
        vectors: one row per word.
        targets: what the words were compared with, float64, one row per answer.
        ours: row of each answer.
        theirs: the same from gensim.
    """
    other = np.flatnonzero(ours != theirs)
    gaps = []
    for i in other:
        target = targets[i] / np.linalg.norm(targets[i])
        scores = [
            vectors[word].astype(float) @ target / np.linalg.norm(vectors[word].astype(float))
            for word in (ours[i], theirs[i])
        ]
        gaps.append(abs(scores[0] - scores[1]))
    return len(other), int((np.array(gaps) > ROUNDING).sum()) if gaps else 0


def keyed_vectors(folder: Path | None, vectors: np.ndarray) -> Any:
    """The same vectors in gensim's object."""
    if folder is not None:
        sys.path.append(str(folder))
    try:
        from gensim.models import KeyedVectors
    except ImportError as error:
        raise SystemExit(
            f"gensim is not installed ({error}). Install it apart from this library:\n"
            "    python -m pip install --target /tmp/gensim gensim\n"
            "    python benchmarks/analogies.py --gensim /tmp/gensim"
        ) from None
    keyed = KeyedVectors(WIDTH, count=0)
    keyed.add_vectors([f"w{i}" for i in range(len(vectors))], vectors)
    keyed.fill_norms()
    return keyed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gensim", type=Path, help="folder in which pip put gensim")
    parser.add_argument("--few", action="store_true", help="400 questions, write nothing")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all but gensim's long one")
    parser.add_argument(
        "--every", type=int, default=1, help="compare on every Nth question; ours still does all"
    )
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    array, pairs = matrix()
    vectors, everything = torch.from_numpy(array), questions(pairs)
    every = len(everything) // 400 if options.few else options.every
    asked = everything[::every]
    our_answers(vectors, asked[:8])  # what is loaded once is no part of a pass
    with Peak() as memory:
        all_s, ours = best_of(1, lambda: our_answers(vectors, everything))
    print(f"all {len(everything)} questions: {all_s:.1f} s, {memory.extra:.0f} MiB", flush=True)
    right = float((ours == everything[:, 3]).mean())
    ours_s, ours = best_of(options.rounds, lambda: our_answers(vectors, asked))
    n_queries = max(50, N_QUERIES // every)
    queries = np.random.default_rng(1).permutation(N_WORDS)[:n_queries]
    near_s, near = best_of(
        options.rounds,
        lambda: measures.nearest_neighbours(vectors, torch.from_numpy(queries), N_NEIGHBOURS),
    )
    near = near["word"].to_numpy().reshape(-1, N_NEIGHBOURS)
    keyed = keyed_vectors(options.gensim, array)
    their_answers(keyed, asked[:8])
    theirs_s, theirs = best_of(1, lambda: their_answers(keyed, asked))
    near_theirs_s, near_theirs = best_of(options.rounds, lambda: their_neighbours(keyed, queries))
    unit = array[asked[:, :3]].astype(float)
    unit /= np.linalg.norm(unit, axis=2, keepdims=True)
    different = really_different(array, unit[:, 1] - unit[:, 0] + unit[:, 2], ours, theirs)
    flat = np.repeat(array[queries].astype(float), N_NEIGHBOURS, axis=0)
    near_different = really_different(array, flat, near.ravel(), near_theirs.ravel())
    frame = pd.DataFrame(
        [
            ("analogies, 3CosAdd", len(asked), ours_s, theirs_s, *different),
            ("10 nearest neighbours", len(queries), near_s, near_theirs_s, *near_different),
        ],
        columns=["task", "n", "ours_s", "gensim_s", "different", "different_beyond_rounding"],
    )
    frame.insert(4, "ratio", frame["gensim_s"] / frame["ours_s"])
    whole = {"task": "analogies, 3CosAdd, all in one pass", "n": len(everything)}
    whole |= {"ours_s": all_s, "extra_mib": memory.extra, "right": right}
    good = (frame["ratio"] >= LEAST_RATIO).all() and memory.extra < MOST_MEMORY
    same = not frame["different_beyond_rounding"].any()
    frame = pd.concat([frame, pd.DataFrame([whole])], ignore_index=True)
    frame["threads"] = THREADS
    print(frame.round(4).to_string(index=False))
    if not options.few:
        frame.round(4).to_csv(RESULTS, index=False)
    print("identical answers" if same else "answers differ", "· bars", "met" if good else "missed")
    raise SystemExit(0 if good and same else 1)


if __name__ == "__main__":
    main()
