"""Do words that differ in one way lie in one direction of the embedding, and does it show?

Pairs of words (man and woman, dog and dogs, Paris and France, and any list of the user's) give
directions; each is tested on pairs held out, and stands beside mismatched, shuffled and random
pairs and random weights. Analogies are asked in four ways, because the usual one strikes out the
words that would answer. Words are moved along directions and the next word is read, with random
directions of equal length as the control. Cosines are given plain, centred, without the largest
components, and under the causal inner product. Counts of the model's own language, without any
network, are the baseline, where that language is known.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.core.errors import InputError
from interp.reporting import Cell, Sentence, StudyResult, Table
from studies import StudyConfig, _embedding_findings, provenance, questions
from studies._embedding_tables import Sizes, Tables

if TYPE_CHECKING:
    from interp.core import HookedGPT
    from studies._embedding_words import Material

NAME = "embedding_directions"
CLAIMS = (19, 20, 21, 22, 23, 24, 25, 27, 28, 32)
LARGE = 4_000_000  # numbers in an embedding, above which fewer draws keep the study short


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    pairs: Path | None = None
    """CSV file of your own pairs: relation,first,second. Its first relation is the one drawn."""
    analogies: Path | None = None
    """Analogies in Google's format: lines of four words, categories after a colon."""
    similarity: Path | None = None
    """CSV file of rated pairs: word,word,rating."""
    export: Path | None = None
    """Also write the embedding there, for the TensorBoard projector, Parquet and gensim."""
    n_windows: int = 3000
    """Windows of 64 tokens of the own language that are counted."""
    n_draws: int = 300
    """Draws of each null."""


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Measures the embedding and says what that means for claims 19 to 25, 27, 28 and 32.

    Args:
        model: any HookedGPT whose tokens are words of English or of the small language.
        config: the options.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        NotApplicable: the model's tokens are no words.
        InputError: a file of the user is damaged, or holds no word of the model.
    """
    from studies import _embedding_figures
    from studies._embedding_words import material

    sizes = _sizes(model, config)
    if config.quick:
        config = replace(config, n_windows=min(config.n_windows, 1000))
    words = material(model, config)
    tables = _measure(model, words, sizes, progress)
    if config.export is not None:
        export(model, words, config.export)
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=_headline(),
        tables=tables,
        figures=_embedding_figures.draw(tables),
        findings=_embedding_findings.conclude(tables),
        provenance=provenance(NAME, model, _plain(config), **_facts(words)),
    )


def _plain(config: Config) -> Config:
    """Files by name: the result depends on what they hold, not on where they lie."""
    names = {
        name: None if (path := getattr(config, name)) is None else path.name
        for name in ("pairs", "analogies", "similarity", "export")
    }
    return replace(config, **names)


def _sizes(model: "HookedGPT", config: Config) -> Sizes:
    """`quick`, `limit` and the size of the model applied."""
    large = model.W_E.numel() > LARGE
    # With 240 draws and 12 relations a single one can still reach q < 0.05.
    few = 240 if large or config.quick else config.n_draws
    steered = 6 if config.quick else 14
    return Sizes(
        n_draws=min(few, config.n_draws),
        n_rotations=10 if large else 100,
        n_random_directions=(2 if large else 4) if config.quick else 8,
        n_other_directions=3 if large and config.quick else 8,
        n_steered=steered if config.limit is None else min(steered, config.limit),
        n_pairs=8_000,
        n_boot=6 if large else 20,
        batch_size=config.batch_size,
        seed=config.seed,
    )


def _measure(model: "HookedGPT", words: "Material", sizes: Sizes, progress: Any) -> Tables:
    from studies import _embedding_space, _embedding_tables
    from studies._embedding_steering import steering_tables

    given = _embedding_tables.arrays(model, sizes.seed)
    steps: dict[str, Callable[[], Tables]] = {
        "directions": lambda: _embedding_tables.relation_tables(given, words, sizes),
        "words": lambda: _embedding_tables.word_tables(given, words, sizes),
        "planes": lambda: _embedding_tables.plane_tables(given, words, sizes),
        "analogies": lambda: _embedding_space.analogy_tables(model, given, words),
        "steering": lambda: steering_tables(model, given.W_E, words, sizes),
        "space": lambda: _embedding_space.space_tables(given, words, sizes),
        "counts": lambda: _embedding_space.baseline_tables(given, words),
        "bias": lambda: _embedding_space.bias_tables(given, words, sizes),
        "similarity": lambda: _embedding_space.similarity_tables(given, words, sizes),
    }
    tables: Tables = {}
    for done, (name, make) in enumerate(steps.items()):
        if progress is not None:
            progress(name, done, len(steps))
        tables |= make()
    if progress is not None:
        progress("done", len(steps), len(steps))
    tables["overview"] = _overview(tables)
    tables["left_out"] = Table(
        words.lost,
        "Words and pairs that could not be used, and why; everything else was",
    )
    return tables


def _overview(tables: Tables) -> Table:
    import numpy as np
    import pandas as pd

    relations = tables["relations"].frame
    real = relations[relations["kind"] == "relation"]
    cross = tables["cross_cosines"].frame
    names = set(real["relation"])
    cross = cross[cross["relation"].isin(names) & cross["other"].isin(names)]
    same = cross["relation"] == cross["other"]
    plain, causal = cross["geometry"] == "plain", cross["geometry"] == "causal"
    diagonal = cross[same & plain]["cosine"].to_numpy()
    rng = np.random.default_rng(0)
    boot = diagonal[rng.integers(0, len(diagonal), (999, len(diagonal)))].mean(axis=1)
    off = {
        name: float(cross[~same & of]["cosine"].abs().mean()) if len(names) > 1 else 0.0
        for name, of in (("off_diagonal", plain), ("off_diagonal_causal", causal))
    }
    first = relations.iloc[0]
    row = {
        "n_relations": len(real),
        "n_found": int(real["found"].sum()),
        "n_relations_random": int((real["random_weights"] > real["consistency"]).sum()),
        "null_relations_found": int(relations[relations["kind"] != "relation"]["found"].sum()),
        "consistency_mean": real["consistency"].mean(),
        "mismatched_mean": real["mismatched"].mean(),
        "random_weights_mean": real["random_weights"].mean(),
        "diagonal": diagonal.mean(),
        "diagonal_low": np.quantile(boot, 0.025),
        "diagonal_high": np.quantile(boot, 0.975),
        **off,
        "relation": first["relation"],
        "accuracy": first["order_accuracy"],
    }
    return Table(pd.DataFrame([row]), "In all")


def _headline() -> Sentence:
    return Sentence(
        "{n_found} of {n_relations} relations have a direction that chance does not explain; "
        "analogies are answered to {excluded:.2f}, of which the nearest neighbour alone gives "
        "{nearest:.2f}.",
        n_found=Cell("overview", 0, "n_found"),
        n_relations=Cell("overview", 0, "n_relations"),
        excluded=Cell("analogies_pooled", 0, "excluded"),
        nearest=Cell("analogies_pooled", 0, "nearest"),
    )


def _facts(words: "Material") -> dict[str, Any]:
    lost = len(words.lost)
    return {
        "words": f"{len(words.pairs)} pairs of {len(words.relations)} relations; {lost} words or "
        "pairs left out (table left_out)",
        "frequencies": words.frequency,
        "smallest_effects_of_interest": _embedding_findings.SMALLEST,
        "nulls": "mismatched, shuffled and frequency-matched random pairs; normal random weights",
    }


def export(model: "HookedGPT", words: "Material", directory: Path) -> list[Path]:
    """The embedding as files for other tools.

    Returns:
        `vectors.tsv` and `metadata.tsv` (TensorBoard projector; the 10,000 most frequent words at
        most), `embedding.parquet` and `embedding.txt` (word2vec's format, for gensim).

    Raises:
        InputError: the directory cannot be written.
    """
    import numpy as np

    from interp.loading import word_vectors as files

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory} cannot be written: {error.strerror or error}") from None
    names = files.token_words(model.tokenizer)
    vectors = model.W_E.detach().float().cpu().numpy()
    names = [*names, *(f"<{i}>" for i in range(len(names), len(vectors)))][: len(vectors)]
    everything = files.WordVectors(names, vectors)
    few = words.order[: files.MOST_PROJECTED]
    some = files.WordVectors([names[i] for i in few], vectors[few])
    rank = np.arange(1, len(few) + 1)
    written = files.write_projector(some, directory, {"frequency_rank": rank.tolist()})
    files.write_parquet(everything, directory / "embedding.parquet")
    files.write_word2vec(everything, directory / "embedding.txt")
    return [*written, directory / "embedding.parquet", directory / "embedding.txt"]


if __name__ == "__main__":
    import sys

    from interp.cli import main

    raise SystemExit(main(["run", NAME, *sys.argv[1:]]))
