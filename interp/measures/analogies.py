"""Analogies a : b = c : ?, asked in a way that shows what the offset itself contributes.

man : woman = king : ? finds queen mainly because the words of the question are struck out, and
because queen is near king anyway. So each question is answered four ways:

- `excluded`: the usual way; a, b and c cannot be the answer;
- `included`: they can, and often one of them is;
- `nearest`: the word nearest to c, without any offset (a, b, c struck out);
- `offset`: the word nearest to the offset alone, without c (a, b, c struck out).

Sources: Mikolov et al. 2013; Levy & Goldberg 2014 (3CosMul); Linzen 2016, arXiv:1606.07736, and
Nissim et al. 2020, arXiv:1905.09866 (the controls).
"""

from collections.abc import Iterator
from itertools import permutations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core.errors import InputError
from interp.learning.evaluation import wilson_interval
from interp.measures.factored import widened

METHODS = ("3CosAdd", "3CosMul", "mean difference")
WAYS = ("excluded", "included", "nearest", "offset")
EPSILON = 1e-3  # keeps 3CosMul's denominator above 0; Levy & Goldberg's
_WORDS_AT_ONCE = 256  # words whose cosines with all others are held at a time
_CELLS_AT_ONCE = 1 << 18  # scores of questions held at a time; more would not stay in the cache

Questions = Int[np.ndarray, "question 4"]


def all_questions(pairs: Int[np.ndarray, "pair 2"]) -> Questions:
    """Every ordered choice of two pairs as a question a, b, c, d."""
    if len(pairs) < 2:
        raise InputError(f"an analogy needs two pairs, but {len(pairs)} came")
    return np.array([[*one, *other] for one, other in permutations(pairs.tolist(), 2)])


def analogy_ranks(
    vectors: Float[Tensor, "word d_model"],
    questions: Questions,
    methods: tuple[str, ...] = METHODS,
    ways: tuple[str, ...] = WAYS,
    left_out: Int[np.ndarray, " some"] | None = None,
) -> pd.DataFrame:
    """Where the expected word comes, for each question, method and way.

    Args:
        vectors: one row per word; they stay on their device.
        questions: rows of a, b, c and the expected d, of one relation. For "mean difference" the
            offset is the mean over all pairs of the questions but (a, b) and (c, d).
        methods: of `METHODS`. Cosines are of unit vectors, as usual.
        ways: of `WAYS`. "nearest" is the same for all methods.
        left_out: words that no question may answer with, such as `<pad>`.

    Returns:
        One row per question, method and way: `question` (its number), `method`, `way`, `answer`
        (row of the best word), `rank` (of d, from 1; equal scores count against it).

    Raises:
        InputError: a method or way is unknown, no question came, or an id is outside the rows.

    Cost: `2 * (words in questions) * word * d_model` operations, and about ten passes over the
    words per question; cosines of 256 words, about `1.1 KB * word`, are held at a time. All 19,544
    questions of Google's list over 50,257 words of width 768: one pass, under 300 MiB.
    """
    _check(vectors, questions, methods, ways)
    vectors = widened(vectors)  # else cosines would tie
    inverse, n_pairs = _inverse_lengths(vectors), len(_pairs_of(questions))
    banned = None if left_out is None else torch.as_tensor(left_out, device=vectors.device)
    # Made beforehand: small results kept between large passing ones would tear the heap apart.
    asked = [(method, way) for method in METHODS for way in WAYS if method in methods]
    found = {key: np.empty((2, len(questions)), dtype=np.int64) for key in asked if key[1] in ways}
    step = max(1, _CELLS_AT_ONCE // len(vectors))
    for start, stop, local, cosines, total in _blocks(vectors, inverse, questions, methods):
        for at in range(start, stop, step):
            rows = slice(at, min(at + step, stop))
            words = torch.as_tensor(questions[rows], device=vectors.device)
            inside = torch.as_tensor(local[at - start : rows.stop - start], device=vectors.device)
            for method, way, scores in _scores(cosines, inside, total, n_pairs, methods, ways):
                if banned is not None:
                    scores[:, banned] = -torch.inf
                if way != "included":
                    scores.scatter_(1, words[:, :3], -torch.inf)
                found[method, way][:, rows] = _ranked(scores, words[:, 3])
                del scores  # before the next ones are made
    parts = []
    for (method, way), (answers, ranks) in found.items():
        frame = {"question": np.arange(len(questions)), "method": method, "way": way}
        parts.append(pd.DataFrame(frame | {"answer": answers, "rank": ranks}))
    return pd.concat(parts, ignore_index=True)


def _ranked(scores: Tensor, expected: Tensor) -> Int[np.ndarray, "2 question"]:
    """The best word of each row, and the rank of the expected one."""
    own = scores.gather(1, expected[:, None])
    # The expected word is one of those that reach its score; struck out, it comes last of all.
    rank = (scores >= own).sum(1)
    best = scores.max(1).indices  # faster than argmax
    return torch.stack([best, rank]).cpu().numpy()


def _blocks(
    vectors: Tensor, inverse: Tensor, questions: Questions, methods: tuple[str, ...]
) -> Iterator[tuple[int, int, np.ndarray, Tensor, Tensor | None]]:
    """Runs of questions that share few words, with those words' cosines with all words.

    Yields first and last question, the questions as rows of the cosines, the cosines, and the sum
    of all pairs' offsets as one more row of cosines.
    """
    total = None
    if "mean difference" in methods:
        pairs = torch.as_tensor(_pairs_of(questions), device=vectors.device)
        units = vectors[pairs] * inverse[pairs][..., None]
        total = _cosines(vectors, inverse, (units[:, 1] - units[:, 0]).sum(0, keepdim=True))[0]
    start = 0
    while start < len(questions):
        stop, words = start, set()
        while stop < len(questions):
            more = words | set(questions[stop].tolist())
            if len(more) > _WORDS_AT_ONCE and stop > start:
                break
            words, stop = more, stop + 1
        ids = np.array(sorted(words))
        rows = torch.as_tensor(ids, device=vectors.device)
        cosines = _cosines(vectors, inverse, vectors[rows] * inverse[rows, None])
        yield start, stop, np.searchsorted(ids, questions[start:stop]), cosines, total
        start = stop


def _cosines(vectors: Tensor, inverse: Tensor, queries: Tensor) -> Tensor:
    return (queries @ vectors.T).mul_(inverse)


def _inverse_lengths(vectors: Tensor) -> Tensor:
    length = vectors.norm(dim=1)
    return torch.where(length > 0, length, torch.ones_like(length)).reciprocal()


def _pairs_of(questions: Questions) -> Int[np.ndarray, "pair 2"]:
    return np.unique(questions.reshape(-1, 2), axis=0)


def _scores(
    cosines: Tensor,
    inside: Tensor,
    total: Tensor | None,
    n_pairs: int,
    methods: tuple[str, ...],
    ways: tuple[str, ...],
) -> Iterator[tuple[str, str, Tensor]]:
    """Scores of all words for some questions; every yielded matrix may be written into."""
    a, b, c, d = inside.unbind(1)
    with_c = [way for way in ways if way in ("excluded", "included")]
    for method in methods:
        if "nearest" in ways:
            yield method, "nearest", cosines[c]
        if method == "3CosMul":
            ratio = _shifted(cosines[b]).div_(_shifted(cosines[a]).add_(EPSILON))
            if "offset" in ways:
                yield method, "offset", ratio.clone()
            whole = ratio.mul_(_shifted(cosines[c]))
        else:
            offset = cosines[b] - cosines[a]
            if method == "mean difference" and total is not None:
                own = offset + cosines[d] - cosines[c]
                offset = (total - own) / max(n_pairs - 2, 1)
            if "offset" in ways:
                yield method, "offset", offset.clone()
            whole = offset.add_(cosines[c])
        for place, way in enumerate(with_c):
            yield method, way, whole.clone() if place + 1 < len(with_c) else whole


def _shifted(cosines: Tensor) -> Tensor:
    """Cosines moved to 0...1, so that a product of them makes sense."""
    return cosines.add(1).div_(2)


def _check(
    vectors: Tensor, questions: Questions, methods: tuple[str, ...], ways: tuple[str, ...]
) -> None:
    for given, known, what in ((methods, METHODS, "method"), (ways, WAYS, "way")):
        unknown = [name for name in given if name not in known]
        if unknown or not given:
            raise InputError(f"{what} {''.join(unknown[:1])!r} is none of {', '.join(known)}")
    if not len(questions):
        raise InputError("no analogy came; is the file empty, or are all its words unknown?")
    if questions.min() < 0 or questions.max() >= len(vectors):
        raise InputError(
            f"the questions name rows {questions.min()} to {questions.max()}, but there are "
            f"{len(vectors)} vectors"
        )
    if "mean difference" in methods and len(_pairs_of(questions)) < 3:
        raise InputError(
            "a mean difference leaves out the two pairs of a question, so it needs at least 3 "
            f"pairs; there are {len(_pairs_of(questions))}"
        )


def analogy_accuracy(ranks: pd.DataFrame, n_pairs: int) -> pd.DataFrame:
    """Shares right by method and way.

    Args:
        ranks: from `analogy_ranks`, one relation.
        n_pairs: different pairs in the questions. Questions that share a pair are not
            independent, so intervals take this as n: they are wider than those over questions.

    Returns:
        One row per method and way: `top_1`, `top_5`, `top_10` (shares), each with Wilson's
        95 % bounds (`top_1_low`, ...), `median_rank`, `n_questions`, `n_pairs`.
    """
    rows = []
    for (method, way), some in ranks.groupby(["method", "way"], sort=False):
        row = {"method": method, "way": way}
        for k in (1, 5, 10):
            share = float((some["rank"] <= k).mean())
            low, high = wilson_interval(share, n_pairs)
            row |= {f"top_{k}": share, f"top_{k}_low": low, f"top_{k}_high": high}
        row |= {
            "median_rank": float(some["rank"].median()),
            "n_questions": len(some),
            "n_pairs": n_pairs,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def analogy_answers(
    vectors: Float[Tensor, "word d_model"],
    questions: Int[np.ndarray, "question 3"],
    k: int = 10,
    include: bool = False,
    left_out: Int[np.ndarray, " some"] | None = None,
) -> pd.DataFrame:
    """The k best answers by 3CosAdd.

    Args:
        vectors: one row per word.
        questions: rows of a, b and c.
        k: answers wanted.
        include: a, b and c may be answers.
        left_out: words that may not be answers.

    Returns:
        One row per question and rank: `question`, `rank`, `word` (row), `score` (cosine between
        the word and b − a + c, made of unit vectors).

    Raises:
        InputError: as `analogy_ranks`; `k` is above the number of words.
    """
    padded = np.concatenate([questions, questions[:, :1]], axis=1)
    _check(vectors, padded, ("3CosAdd",), ("excluded",))
    if not 1 <= k <= len(vectors) - 3:
        raise InputError(f"{k} answers were asked for; there are {len(vectors)} words")
    vectors = widened(vectors)
    inverse = _inverse_lengths(vectors)
    banned = None if left_out is None else torch.as_tensor(left_out, device=vectors.device)
    words, scores = [], []
    step = max(1, _CELLS_AT_ONCE // len(vectors))
    for start, stop, local, cosines, _ in _blocks(vectors, inverse, padded, ("3CosAdd",)):
        for at in range(start, stop, step):
            end = min(at + step, stop)
            asked = torch.as_tensor(questions[at:end], device=vectors.device)
            inside = torch.as_tensor(local[at - start : end - start], device=vectors.device)
            a, b, c, _ = inside.unbind(1)
            block = (cosines[b] - cosines[a]).add_(cosines[c])
            target = _targets(vectors, inverse, asked)
            block.div_(target.norm(dim=1, keepdim=True).clamp_min(1e-30))
            if not include:
                block.scatter_(1, asked, -torch.inf)
            if banned is not None:
                block[:, banned] = -torch.inf
            top = block.topk(k, dim=1)
            words.append(top.indices.cpu())
            scores.append(top.values.cpu())
    n = len(questions)
    return pd.DataFrame(
        {
            "question": np.repeat(np.arange(n), k),
            "rank": np.tile(np.arange(1, k + 1), n),
            "word": torch.cat(words).numpy().ravel(),
            "score": torch.cat(scores).numpy().ravel(),
        }
    )


def _targets(vectors: Tensor, inverse: Tensor, asked: Tensor) -> Tensor:
    unit = vectors[asked] * inverse[asked][..., None]
    return unit[:, 1] - unit[:, 0] + unit[:, 2]
