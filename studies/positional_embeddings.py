"""Are position embeddings waves, do scores depend on distance, and do they keep clear of words?

The positions' principal components are compared with those of a random walk, which is smooth and
so has components like sines by itself, with independent normal numbers, and with the same vectors
in another order. The first layer's attention scores between positions are split into what distance
explains and what it does not. The directions that positions use are compared with those of words,
and with random subspaces of the same dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interp import plots
from interp.reporting import Cell, FigurePart, Finding, Sentence, StudyResult, Table
from studies import NotApplicable, StudyConfig, provenance, questions

if TYPE_CHECKING:
    import numpy as np

    from interp.core import HookedGPT

NAME = "positional_embeddings"
CLAIMS = (17, 29)
INIT_STD = 0.02  # of GPT-2's initial position embeddings
MIN_SHARE = 0.1  # of the variance, above the null; declared beforehand
LARGE = 200_000  # numbers in W_pos, above which fewer draws keep the study short
Tables = dict[str, Table]


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    n_draws: int = 100
    """Draws of each null."""


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Measures the position embeddings and says what that means for claims 17 and 29.

    Args:
        model: any HookedGPT with position embeddings.
        config: the options.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        NotApplicable: the model has no positions, or fewer than 8.
    """
    if model.config.positions == "none":
        raise NotApplicable("this model has no position embeddings")
    if model.config.n_ctx < 8:
        raise NotApplicable(f"the shape of {model.config.n_ctx} positions cannot be told; 8 can")
    tables = _measure(model, config, progress or (lambda *_: None))
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=Sentence(
            "{n_components:.0f} components hold 90 % of the positions' variance (random walk "
            "{n_components_random_walk:.1f}, normal numbers {n_components_normal_numbers:.1f}); "
            "words overlap with them by {overlap:.3f}, random subspaces by {expected:.3f}.",
            **_cells("spectrum", "n_components", "n_components_random_walk",
                     "n_components_normal_numbers"),
            **_cells("overlap", "overlap", "expected"),
        ),
        tables=tables,
        figures=(_shapes(tables), _lags(tables)),
        findings=(_on_positions(tables), _on_sharing(tables)),
        provenance=provenance(
            NAME, model, config,
            positions=model.config.positions,
            smallest_effect_of_interest=f"{MIN_SHARE} (share of variance, above the null)",
            nulls="random walk, independent normal numbers, shuffled rows, random subspaces",
        ),
    )  # fmt: skip


def _cells(table: str, *columns: str, row: int = 0) -> dict[str, Cell]:
    return {column: Cell(table, row, column) for column in columns}


# ---------------------------------------------------------------------------------- measure


def _measure(model: "HookedGPT", config: Config, say: Any) -> Tables:
    import pandas as pd

    from interp import measures

    W_E, W_pos = _array(model.W_E), _array(model.W_pos)
    W_E = W_E[_ordinary(model)]
    n_draws = _draws(model, config)
    say("spectrum", 0, 3)
    components, whole = measures.position_spectrum(W_pos, n_draws, config.seed)
    at_random = _random_positions(W_pos, config.seed)
    of_random = measures.position_spectrum(at_random, 1, config.seed)[1].iloc[0]
    whole["n_components_random_weights"] = of_random["n_components"]
    whole["helix_random_weights"] = of_random["helix"]
    whole["ci_low"], whole["ci_high"] = _jackknife(W_pos)
    say("distance", 1, 3)
    heads = measures.toeplitz_scores(
        W_pos, _scores_of(model, W_E.mean(axis=0)), max(5, n_draws // 3), config.seed
    )
    heads["name"] = [
        "inner products" if head < 0 else plots.head_label(0, head) for head in heads["head"]
    ]
    say("overlap", 2, 3)
    n_boot, n_subspaces = (10, 40) if len(W_E) > 10_000 else (40, 200)
    rows = [
        {
            "weights": name,
            **measures.subspace_overlap(
                words, positions, n_draws=n_subspaces, n_boot=n_boot, seed=config.seed
            ),
        }
        for name, words, positions in (
            ("the model", W_E, W_pos),
            ("random weights", _random_positions(W_E, config.seed + 1), at_random),
        )
    ]
    say("done", 3, 3)
    return {
        "components": Table(
            components,
            "The positions' largest principal components: share of the variance, cycles over all "
            "positions where the power is largest, and its share of the component's variance; "
            "with mean and 95 % band of the nulls",
        ),
        "spectrum": Table(
            whole,
            "In all: components for 90 % of the variance, effective number, R² of a helix, lag-1 "
            "autocorrelation, length of row 0 against the median; with the nulls. ci_low and "
            "ci_high: helix, jackknife over blocks of positions",
        ),
        "places": Table(
            measures.position_map(W_pos), "Each position along the largest components",
            in_page=False,
        ),
        "lags": Table(
            heads,
            "Share of the variance within queries of position-position scores that distance "
            "explains: first layer's heads, and the inner products of the positions",
        ),
        "lags_overview": Table(pd.DataFrame([_lag_row(heads)]), "The heads together"),
        "overlap": Table(
            pd.DataFrame(rows),
            "Mean squared cosine between the positions' axes (90 % of their variance, k of them) "
            "and the k largest axes of the words; k/d and the 95 % band for random subspaces",
        ),
    }  # fmt: skip


def _array(weight: Any) -> "np.ndarray":
    import torch

    weight = weight.detach().cpu()
    return (weight if weight.dtype == torch.float64 else weight.float()).numpy()


def _ordinary(model: "HookedGPT") -> "np.ndarray":
    """Tokens that are words: the special ones are few and may be far from all others."""
    import numpy as np

    from interp import measures
    from studies import _prompts

    return np.asarray(measures.ordinary_tokens(model, _prompts.bos_of(model)), dtype=int)


def _draws(model: "HookedGPT", config: Config) -> int:
    large = model.W_pos.numel() > LARGE
    most = (6 if config.quick else 20) if large else (30 if config.quick else config.n_draws)
    return min(most, config.n_draws)


def _random_positions(like: "np.ndarray", seed: int) -> "np.ndarray":
    import numpy as np

    rng = np.random.default_rng([seed, 2])
    return (rng.standard_normal(like.shape, dtype=np.float32) * INIT_STD).astype(like.dtype)


def _jackknife(W_pos: "np.ndarray", n_blocks: int = 8) -> tuple[float, float]:
    """Interval of the helix's R²; neighbours are alike, so blocks of positions are left out."""
    import numpy as np

    from interp.measures.positions import helix_of

    value = helix_of(W_pos)
    left = [
        helix_of(W_pos, np.delete(np.arange(len(W_pos)), block))
        for block in np.array_split(np.arange(len(W_pos)), n_blocks)
    ]
    half = 1.96 * np.sqrt((n_blocks - 1) / n_blocks * ((left - np.mean(left)) ** 2).sum())
    return max(0.0, value - half), min(1.0, value + half)


def _scores_of(model: "HookedGPT", mean_word: "np.ndarray") -> Callable[..., "np.ndarray"]:
    import torch

    from interp import measures

    block = model.blocks[0]
    attn = block.attn
    W_Q, b_Q, W_K = (_array(w).astype(float) for w in (attn.W_Q, attn.b_Q, attn.W_K))

    def normalise(x: "np.ndarray") -> "np.ndarray":
        if model.config.norm != "pre":
            return x
        given = torch.as_tensor(x, dtype=torch.float64)
        w, b = (p.detach().cpu().double() for p in (block.ln1.w, block.ln1.b))
        return torch.nn.functional.layer_norm(given, w.shape, w, b, model.config.eps).numpy()

    return lambda positions: measures.position_scores(
        positions, mean_word.astype(float), W_Q, b_Q, W_K, attn.scale, normalise
    )


def _lag_row(heads: Any) -> dict[str, float]:
    from interp import measures

    of_heads = heads[heads["head"] >= 0]
    walks = of_heads["lag_share_random_walk"]
    values = of_heads["lag_share"].to_numpy()
    low, high = measures.bootstrap_interval(values[:, None], 999)
    best = of_heads["lag_share"].idxmax()
    return {
        "mean": values.mean(),
        "ci_low": low[0],
        "ci_high": high[0],
        "random_walk": walks.mean(),
        "shuffled_rows": of_heads["lag_share_shuffled_rows"].mean(),
        "best": heads.loc[best, "name"],
        "best_share": heads.loc[best, "lag_share"],
        "n_above_walk": int((values > of_heads["lag_share_random_walk_high"]).sum()),
        "n_heads": len(of_heads),
    }


# ------------------------------------------------------------------------------------- draw


def _structured(tables: Tables) -> bool:
    """Whether the spectrum differs from independent numbers, and from its own shuffled rows."""
    row = tables["spectrum"].frame.iloc[0]
    few = row["n_components"] < row["n_components_normal_numbers_low"]
    smooth = row["helix"] > row["helix_shuffled_rows_high"] + MIN_SHARE
    return bool(few and smooth)


def _shapes(tables: Tables) -> FigurePart:
    about = _cells(
        "spectrum", "n_components", "n_components_random_walk", "n_components_normal_numbers",
        "helix", "helix_random_walk", "helix_random_walk_low", "helix_shuffled_rows", "first_row",
        "smoothness", "smoothness_random_walk", "n",
    )  # fmt: skip
    about |= {
        "share": Cell("components", 0, "share"),
        "period": Cell("components", 0, "period"),
        "power": Cell("components", 0, "power"),
        "power_random_walk": Cell("components", 0, "power_random_walk"),
    }
    return FigurePart(
        name="shapes",
        question="Do the position embeddings form waves, and more than a random walk would?",
        picture=plots.position_shapes(tables["places"].frame, tables["components"].frame),
        alt=Sentence(
            "The three largest components by position, the first two against each other, and the "
            "share of each of the first eight beside two nulls. The first holds {share:.2f} of the "
            "variance.",
            share=about["share"],
        ),
        answer=Sentence(
            "{n_components:.0f} components hold 90 % of the variance of {n} positions (a random "
            "walk has {n_components_random_walk:.1f}, normal numbers "
            "{n_components_normal_numbers:.1f}). A helix explains {helix:.2f} of the first three, "
            "of a random walk's {helix_random_walk:.2f}, of shuffled rows {helix_shuffled_rows:.2f}"
            ". The first has period {period:.0f} and {power:.2f} of its power there (random walk "
            "{power_random_walk:.2f}). Row 0 is {first_row:.2f} times as long as the median.",
            **{k: about[k] for k in (
                "n_components", "n", "n_components_random_walk", "n_components_normal_numbers",
                "helix", "helix_random_walk", "helix_shuffled_rows", "period", "power",
                "power_random_walk", "first_row",
            )},
        ),
        tables=("components", "spectrum", "places"),
        how_to_read="Smooth curves on the left are no proof of waves: a random walk in as many "
        "dimensions has the same sines as components. Compare the shares on the right with its "
        "band.",
        change_our_mind=Sentence(
            "A random walk that fits a helix as well: it reaches {helix_random_walk:.2f} "
            "(95 % from {helix_random_walk_low:.2f}), these positions {helix:.2f}. Being smooth is "
            "all that is shown; autocorrelation {smoothness:.2f}, random walk "
            "{smoothness_random_walk:.2f}.",
            **{k: about[k] for k in ("helix_random_walk", "helix_random_walk_low", "helix",
                                     "smoothness", "smoothness_random_walk")},
        ),
        facts={"null": "random walk, independent normal numbers, shuffled rows"},
        uninformative="" if _structured(tables) else
        "Independent normal numbers or shuffled rows look the same.",
    )  # fmt: skip


def _lags(tables: Tables) -> FigurePart:
    about = _cells("lags_overview", "mean", "random_walk", "shuffled_rows", "best", "best_share",
                   "n_above_walk", "n_heads")  # fmt: skip
    about |= _cells("overlap", "overlap", "expected", "null_low", "k", "words_share")
    heads = tables["lags"].frame
    overlap = tables["overlap"].frame.iloc[0]
    of_heads = heads[heads["head"] >= 0]
    above = (of_heads["lag_share"] > of_heads["lag_share_shuffled_rows_high"] + MIN_SHARE).any()
    # One time in twenty chance alone leaves the band, so twice its width is asked for.
    width = overlap["null_high"] - overlap["null_low"]
    inside = abs(overlap["overlap"] - overlap["expected"]) <= width
    return FigurePart(
        name="lags_and_overlap",
        question="Do scores between positions depend on distance, and do words keep clear of them?",
        picture=plots.lag_and_overlap(heads, tables["overlap"].frame),
        alt=Sentence(
            "Left, for each first-layer head the share of position-position scores that distance "
            "explains, with two nulls; the mean is {mean:.2f}. Right, overlap of words and "
            "positions, {overlap:.3f}, beside random subspaces, {expected:.3f}.",
            **{k: about[k] for k in ("mean", "overlap", "expected")},
        ),
        answer=Sentence(
            "In the first layer distance explains {mean:.2f} of the scores between positions "
            "(random walk {random_walk:.2f}, shuffled rows {shuffled_rows:.2f}), most in {best}, "
            "{best_share:.2f}; {n_above_walk} of {n_heads} heads are above the random walk's band. "
            "The {k} axes of the positions overlap with those of the words by {overlap:.3f}, "
            "random subspaces by {expected:.3f} (95 % from {null_low:.3f}); {words_share:.3f} of "
            "the words' variance lies in them.",
            **about,
        ),
        tables=("lags", "lags_overview", "overlap"),
        how_to_read="1 would be a Toeplitz matrix: the score depends on how far back the key is, "
        "and on nothing else. On the right, a point left of the grey band means that words and "
        "positions avoid each other, one inside it that they are as independent as chance makes "
        "them.",
        change_our_mind=Sentence(
            "A random walk through the same heads that is as distance-like: its mean is "
            "{random_walk:.2f}. Overlap inside the band of random subspaces, which begins at "
            "{null_low:.3f}.",
            random_walk=about["random_walk"],
            null_low=about["null_low"],
        ),
        facts={
            "null": "random walk and shuffled rows through the same heads; random subspaces",
            "smallest effect of interest": f"{MIN_SHARE} (share of variance)",
        },
        uninformative="" if above or not inside else
        "Shuffled positions and random subspaces look the same.",
    )  # fmt: skip


# --------------------------------------------------------------------------------- conclude


def _on_positions(tables: Tables) -> Finding:
    row = tables["spectrum"].frame.iloc[0]
    structured = _structured(tables)
    return Finding(
        17,
        "holds" if structured else "undecided",
        Sentence(
            "Position vectors are added to the words' and have a shape: {n_components:.0f} "
            "components hold 90 % of their variance (normal numbers "
            "{n_components_normal_numbers:.1f}), a helix explains {helix:.2f} of the first three "
            "(shuffled rows {helix_shuffled_rows:.2f}). It is not more wave-like than a random "
            "walk's ({helix_random_walk:.2f})."
            if row["helix"] <= row["helix_random_walk_high"]
            else "Position vectors are added to the words' and have a shape: {n_components:.0f} "
            "components hold 90 % of their variance (normal numbers "
            "{n_components_normal_numbers:.1f}), a helix explains {helix:.2f} of the first three "
            "(shuffled rows {helix_shuffled_rows:.2f}, random walk {helix_random_walk:.2f}).",
            **_cells("spectrum", "n_components", "n_components_normal_numbers", "helix",
                     "helix_shuffled_rows", "helix_random_walk"),
        ).text(tables),
        value=row["helix"],
        unit="R² of a helix on the first three components",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=row["helix_random_walk"],
        null_name="random walk",
        n=row["n"],
        figure="shapes",
    )  # fmt: skip


def _on_sharing(tables: Tables) -> Finding:
    row = tables["overlap"].frame.iloc[0]
    if row["ci_high"] <= row["null_high"]:
        verdict = "holds"
    elif row["ci_low"] > row["null_high"]:
        verdict = "imprecise"
    else:
        verdict = "undecided"
    return Finding(
        29,
        verdict,
        Sentence(
            "Words and positions are added, and stay apart: their main axes overlap by "
            "{overlap:.3f}, random subspaces of {k} in {d_model} dimensions by {expected:.3f}."
            if verdict == "holds"
            else "Words and positions are added; their main axes overlap by {overlap:.3f}, random "
            "subspaces of {k} in {d_model} dimensions by {expected:.3f}.",
            **_cells("overlap", "overlap", "k", "d_model", "expected"),
        ).text(tables),
        value=row["overlap"],
        unit="mean squared cosine of principal angles",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=row["expected"],
        null_name="random subspaces, k/d",
        n=row["n"],
        figure="lags_and_overlap",
    )


if __name__ == "__main__":
    import sys

    from interp.cli import main

    raise SystemExit(main(["run", NAME, *sys.argv[1:]]))
