"""Cosines between uses of a word: how much context is in them, and whether it is the sense."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from interp.core import InputError
from interp.measures.contextual import WordUses
from interp.measures.statistics import LEVEL, N_RESAMPLES, bootstrap_interval

MIN_PROMPTS = 4  # prompts that a word must occur in for its self-similarity to count
_TIE = 1e-9  # cosines nearer than this differ by rounding alone

Vectors = Float[np.ndarray, "layer use d_model"]


# ------------------------------------------------------------------------------ all the words


def context_specificity(
    vectors: Vectors,
    words: Int[np.ndarray, " use"],
    prompts: Int[np.ndarray, " use"],
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How alike the uses of one word are, against how alike any words are.

    Self-similarity is the mean cosine of pairs of uses of a word in different prompts. The baseline
    (anisotropy) is the mean cosine of uses of different words, every word weighing the same. Only
    the difference tells of context: where all vectors share a direction, both are high.

    Args:
        vectors: a use per row, position 0 left out.
        words: token id of each use.
        prompts: number of the prompt of each use.
        n_resamples: bootstrap resamples, over words.
        seed: of the resamples.

    Returns:
        By layer: `layer`, `self_similarity`, `baseline`, `adjusted` (their difference), `ci_low`,
        `ci_high` (95 %, of `adjusted`), `n_words`. By word and layer: `layer`, `word`,
        `self_similarity`, `n_prompts`.

    Raises:
        InputError: fewer than 2 words occur in `MIN_PROMPTS` prompts.

    Cost: time and memory of `layer * (use * d_model + word**2)`; no pair is formed.

    Source: Ethayarajh 2019, arXiv:1909.00512, sections 3.2 and 3.3; pairs within one prompt are
    left out, and the baseline is the exact mean instead of a sample of pairs.
    """
    kept = _frequent(words, prompts)
    if len(kept) < 2:
        raise InputError(
            f"only {len(kept)} words occur in {MIN_PROMPTS} prompts or more; self-similarity and "
            "its baseline need at least 2: give more prompts"
        )
    by_layer, by_word = [], []
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(kept), [1 / len(kept)] * len(kept), size=n_resamples)
    for layer, of_layer in enumerate(vectors):
        unit = _unit(of_layer)
        own, means, n_prompts = _pairs_of_words(unit, words, prompts, kept)
        gram = means @ means.T
        baseline = _mean_off_diagonal(gram, np.ones((1, len(kept))))[0]
        drawn = counts @ own / len(kept) - _mean_off_diagonal(gram, counts)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        adjusted = own.mean() - baseline
        by_layer.append((layer, own.mean(), baseline, adjusted, low, high, len(kept)))
        by_word += list(zip([layer] * len(kept), kept, own, n_prompts, strict=True))
    names = ["layer", "self_similarity", "baseline", "adjusted", "ci_low", "ci_high", "n_words"]
    word_names = ["layer", "word", "self_similarity", "n_prompts"]
    return pd.DataFrame(by_layer, columns=names), pd.DataFrame(by_word, columns=word_names)


def _frequent(words: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    seen = np.unique(np.stack([words, prompts]), axis=1)[0]
    ids, counts = np.unique(seen, return_counts=True)
    return ids[counts >= MIN_PROMPTS]


def _pairs_of_words(
    unit: np.ndarray, words: np.ndarray, prompts: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per word: mean cosine of uses in different prompts, mean unit vector, number of prompts."""
    own, means, n_prompts = [], [], []
    for word in kept:
        uses = words == word
        _, prompt, sizes = np.unique(prompts[uses], return_inverse=True, return_counts=True)
        sums = np.zeros((len(sizes), unit.shape[1]))
        np.add.at(sums, prompt, unit[uses])
        total = sums.sum(axis=0)
        n = sizes.sum()
        # |sum|² counts every ordered pair of uses; the pairs within a prompt are taken out again.
        own.append((total @ total - (sums**2).sum()) / (n**2 - (sizes**2).sum()))
        means.append(total / n)
        n_prompts.append(len(sizes))
    return np.array(own), np.array(means), np.array(n_prompts)


def _mean_off_diagonal(gram: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over pairs of different words, each word counted `counts` times; one per row."""
    pairs = ((counts @ gram) * counts).sum(axis=1) - counts**2 @ np.diag(gram)
    return pairs / (counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1))


def layer_changes(
    vectors: Vectors,
    prompts: Int[np.ndarray, " use"],
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """How far each block moves a word's vector.

    Returns:
        One row per block: `layer`; `step`, ‖x_after − x_before‖ / ‖x_before‖ (mean over uses, then
        prompts; no unit) with `ci_low`, `ci_high`; `cosine_to_start`, of x_after with the vector
        before the first block; `share`, of the sum of all steps' lengths; `n` (prompts).

    Cost: time of `layer * use * d_model`.
    """
    steps = np.linalg.norm(np.diff(vectors, axis=0), axis=-1)
    sizes = np.linalg.norm(vectors[:-1], axis=-1)
    start, after = _unit(vectors[0]), _unit(vectors[1:])
    columns = np.concatenate(
        [steps / np.maximum(sizes, 1e-300), (after * start).sum(axis=-1), steps / steps.sum(axis=0)]
    )
    n_blocks = len(steps)
    _, prompt, counts = np.unique(prompts, return_inverse=True, return_counts=True)
    by_prompt = np.zeros((len(counts), len(columns)))
    np.add.at(by_prompt, prompt, columns.T)
    by_prompt /= counts[:, None]
    low, high = bootstrap_interval(by_prompt[:, :n_blocks], n_resamples, seed)
    step, cosine, share = np.split(by_prompt.mean(axis=0), 3)
    return pd.DataFrame(
        {
            "layer": range(n_blocks),
            "step": step,
            "ci_low": low,
            "ci_high": high,
            "cosine_to_start": cosine,
            "share": share,
            "n": len(counts),
        }
    )


# ---------------------------------------------------------------------- words with several senses


def sense_separation(vectors: Vectors, uses: WordUses) -> pd.DataFrame:
    """Does a use lie nearer to uses with its sense than to uses with another?

    For each use, its cosines with uses of the same word and sense *but another cue* are compared
    with those of the word's other senses; the score is the share of comparisons that the same sense
    wins, ties counting half: 0.5 is chance. A shared cue word can win nothing, and neither can a
    direction that all vectors share, since the mean over the word's senses is subtracted first.

    Args:
        vectors: a row per use.
        uses: their words, senses and cues.

    Returns:
        One row per layer, word, sense and cue that has both kinds of comparison: `layer`, `word`,
        `sense`, `cue`, `auc` (share won), `same`, `different` (mean cosines after centring),
        `n_uses`.

    Raises:
        InputError: no use has both.

    Cost: time and memory of `layer * (uses of one word)**2`.

    Source: the area under the ROC curve (Mann & Whitney 1947), anchor by anchor.
    """
    if vectors.shape[1] != len(uses):
        raise InputError(f"{vectors.shape[1]} vectors came for {len(uses)} uses")
    words, senses, cues = (np.array(column) for column in (uses.words, uses.senses, uses.cues))
    rows = []
    for word in dict.fromkeys(uses.words):
        of_word = np.flatnonzero(words == word)
        same_sense = senses[of_word][:, None] == senses[of_word]
        other_cue = cues[of_word][:, None] != cues[of_word]
        for layer, of_layer in enumerate(vectors):
            cosines = _centred_cosines(of_layer[of_word], senses[of_word])
            for i, anchor in enumerate(of_word):
                alike, unlike = cosines[i, same_sense[i] & other_cue[i]], cosines[i, ~same_sense[i]]
                if len(alike) and len(unlike):
                    at = (layer, word, senses[anchor], cues[anchor])
                    rows.append((*at, _share_won(alike, unlike), alike.mean(), unlike.mean()))
    if not rows:
        raise InputError(
            "no use has both another use of its sense with another cue and one of another sense"
        )
    names = ["layer", "word", "sense", "cue", "auc", "same", "different"]
    each = pd.DataFrame(rows, columns=names)
    keys = ["layer", "word", "sense", "cue"]
    grouped = each.groupby(keys, sort=False)
    return grouped.mean().assign(n_uses=grouped.size()).reset_index()


def separation_by_layer(
    cells: pd.DataFrame, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """`sense_separation` summed up; the unit is a cue of a sense of a word.

    Returns:
        One row per layer: `layer`, `auc`, `ci_low`, `ci_high` (95 %), `n` (units).
    """
    table = cells.pivot_table(index=["word", "sense", "cue"], columns="layer", values="auc")
    values = table.to_numpy()
    low, high = bootstrap_interval(values, n_resamples, seed)
    return pd.DataFrame(
        {
            "layer": table.columns.to_numpy(),
            "auc": values.mean(axis=0),
            "ci_low": low,
            "ci_high": high,
            "n": len(values),
        }
    )


def same_sense_halves(uses: WordUses) -> tuple[WordUses, Int[np.ndarray, " use"]]:
    """The null of `sense_separation`: groups of cues that all mean the same.

    The cues of each sense that has four or more are parted in two by the alphabet, and the halves
    take the place of senses. What separates them is the cue word, not the sense.

    Returns:
        The uses, relabelled, and their numbers among those given.

    Raises:
        InputError: no sense has four cues.
    """
    kept, words, senses = [], [], []
    for i, (word, sense) in enumerate(zip(uses.words, uses.senses, strict=True)):
        cues = sorted(
            {
                cue
                for w, s, cue in zip(uses.words, uses.senses, uses.cues, strict=True)
                if (w, s) == (word, sense)
            }
        )
        if len(cues) >= 4:
            kept.append(i)
            words.append(f"{word}: {sense}")
            senses.append("first" if cues.index(uses.cues[i]) < len(cues) // 2 else "second")
    if not kept:
        raise InputError("no sense has four cues, so none can be parted into halves of two")
    chosen = uses.only(kept)
    relabelled = WordUses(chosen.tokens, chosen.positions, tuple(words), tuple(senses), chosen.cues)
    return relabelled, np.array(kept)


def sense_profile(
    examples: Float[np.ndarray, "layer example d_model"],
    example_names: list[Any],
    vectors: Vectors,
    senses: list[str],
) -> pd.DataFrame:
    """How near some uses of a word lie to the mean of each of its senses, layer by layer.

    Args:
        examples: a row per example; none of them among `vectors`.
        example_names: what the examples are called.
        vectors: uses of the same word whose sense is known.
        senses: their senses.

    Returns:
        One row per layer, example and sense: `layer`, `example`, `sense`, `cosine` (both sides
        minus the mean over senses; −1 to 1), `plain_cosine` (nothing subtracted).
    """
    names = list(dict.fromkeys(senses))
    labels, rows = np.array(senses), []
    for layer, (some, known) in enumerate(zip(examples, vectors, strict=True)):
        means = np.stack([known[labels == name].mean(axis=0) for name in names])
        middle = means.mean(axis=0)
        centred = _unit(some - middle) @ _unit(means - middle).T
        plain = _unit(some) @ _unit(means).T
        rows += [
            (layer, example, sense, centred[i, j], plain[i, j])
            for i, example in enumerate(example_names)
            for j, sense in enumerate(names)
        ]
    return pd.DataFrame(rows, columns=["layer", "example", "sense", "cosine", "plain_cosine"])


# ------------------------------------------------------------------------------------ pictures


def pictures(
    vectors: Float[np.ndarray, "use d_model"], labels: list[str], seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two-dimensional pictures of vectors, and what they keep of the space they come from.

    Args:
        vectors: a row per point.
        labels: the group of each.
        seed: of t-SNE.

    Returns:
        Points: `method` ("PCA", "t-SNE"), `point`, `label`, `x`, `y`. Facts, one row per method:
        `method`; `cosine_same`, `cosine_different`, mean cosines of pairs with the same and with
        different labels *before* projection; `nearest_same`, share of points whose nearest
        neighbour before projection has their label; `nearest_same_picture`, the same in the
        picture; `kept`, share of the variance in the two directions (PCA; NaN for t-SNE, whose
        distances have no unit).

    Raises:
        InputError: fewer than 8 points or 2 labels.

    Cost: time and memory of `use**2`; about a second for a hundred points.

    Source: PCA and t-SNE (van der Maaten & Hinton 2008) of scikit-learn.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(vectors) < 8 or len(set(labels)) < 2:
        raise InputError(
            f"a picture needs at least 8 points and 2 labels, but {len(vectors)} points with "
            f"{len(set(labels))} labels came"
        )
    names = np.array(labels)
    same = names[:, None] == names
    cosines = _unit(vectors) @ _unit(vectors).T
    off = ~np.eye(len(names), dtype=bool)
    true = {
        "cosine_same": cosines[same & off].mean(),
        "cosine_different": cosines[~same].mean(),
        "nearest_same": _nearest_same(vectors, same),
    }
    pca = PCA(2, svd_solver="full").fit(vectors)
    # t-SNE cannot start from points that coincide up to rounding.
    scale = max(float(np.abs(vectors - vectors.mean(axis=0)).max()), 1e-12)
    perplexity = min(20.0, (len(vectors) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, max_iter=500)
    spread = pca.explained_variance_ratio_.sum() if scale > 1e-12 else np.nan
    layouts = {
        "PCA": (pca.transform(vectors), spread),
        "t-SNE": (tsne.fit_transform((vectors - vectors.mean(axis=0)) / scale), np.nan),
    }
    points, facts = [], []
    for method, (places, kept) in layouts.items():
        points.append(
            pd.DataFrame(
                {"method": method, "point": range(len(names)), "label": names, "x": places[:, 0],
                 "y": places[:, 1]}
            )
        )  # fmt: skip
        facts.append(
            {"method": method, **true, "nearest_same_picture": _nearest_same(places, same),
             "kept": kept}
        )  # fmt: skip
    return pd.concat(points, ignore_index=True), pd.DataFrame(facts)


def _nearest_same(places: np.ndarray, same: np.ndarray) -> float:
    distances = ((places[:, None] - places) ** 2).sum(axis=-1)
    np.fill_diagonal(distances, np.inf)
    return float(same[np.arange(len(same)), distances.argmin(axis=1)].mean())


# --------------------------------------------------------------------------------------- parts


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def _centred_cosines(vectors: np.ndarray, senses: np.ndarray) -> np.ndarray:
    """Cosines after subtracting the mean over senses, each sense weighing the same."""
    middle = np.mean([vectors[senses == s].mean(axis=0) for s in np.unique(senses)], axis=0)
    # Differences of rounding size have no direction.
    scale = np.abs(vectors).max()
    centred = np.where(np.abs(vectors - middle) <= _TIE * scale, 0.0, vectors - middle)
    unit = _unit(centred)
    return unit @ unit.T


def _share_won(alike: np.ndarray, unlike: np.ndarray) -> float:
    ranked = np.sort(unlike)
    below = np.searchsorted(ranked, alike - _TIE, side="left")
    not_above = np.searchsorted(ranked, alike + _TIE, side="right")
    return float((below + not_above).sum() / (2 * len(alike) * len(ranked)))
