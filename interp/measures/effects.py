"""From values of patched runs to frames: effects with intervals, or one row for each prompt."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from interp.measures.resampling import resample_weights
from interp.measures.statistics import MIN_UNITS, N_RESAMPLES

MIN_DIFFERENCE = 0.1  # of the metric between the runs; below it a fraction of it means nothing


def effects_frame(
    values: Float[np.ndarray, "cell prompt"],
    start: Float[np.ndarray, " prompt"],
    clean: Float[np.ndarray, " prompt"],
    corrupted: Float[np.ndarray, " prompt"],
    units: np.ndarray,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
) -> pd.DataFrame:
    """Per cell: what the patch did, with a 95 % bootstrap interval over units.

    Args:
        values: the metric of each patched run.
        start: the metric of the run that was patched.
        clean: the metric of the clean run.
        corrupted: that of the corrupted run.
        units: what was drawn independently; units are resampled, prompts within one go together.
        seed: of the resamples; the same for all cells.
        n_resamples: bootstrap resamples.

    Returns:
        `value`, `effect` (value minus that of the run that was patched), `ci_low`, `ci_high` (of
        the effect), `recovered_fraction` (0 corrupted, 1 clean; the ratio of means, since single
        prompts may have a difference near 0) with `fraction_low`, `fraction_high`, all three NaN
        where the runs differ by less than `MIN_DIFFERENCE`; `n` (units). With fewer than
        `MIN_UNITS` units the ends of the intervals are NaN: they would mean nothing.
    """
    n_units = len(np.unique(units))
    weights = resample_weights(units, n_resamples, seed)
    difference = clean - corrupted
    effects = values - start
    drawn = weights @ effects.T
    frame = pd.DataFrame({"value": values.mean(1), "effect": effects.mean(1)})
    frame["ci_low"], frame["ci_high"] = np.quantile(drawn, [0.025, 0.975], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):  # runs that agree have no fractions
        recovered = (values - corrupted).mean(1) / difference.mean()
        drawn = (weights @ (values - corrupted).T) / (weights @ difference)[:, None]
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    known = abs(difference.mean()) >= MIN_DIFFERENCE
    fractions = {"recovered_fraction": recovered, "fraction_low": low, "fraction_high": high}
    for name, column in fractions.items():
        frame[name] = column if known else np.nan
    if n_units < MIN_UNITS:
        frame[["ci_low", "ci_high", "fraction_low", "fraction_high"]] = np.nan
    frame["n"] = n_units
    return frame


def by_prompt(
    about: pd.DataFrame,
    values: Float[np.ndarray, "cell prompt"],
    start: Float[np.ndarray, " prompt"],
    clean: Float[np.ndarray, " prompt"],
    corrupted: Float[np.ndarray, " prompt"],
    kept: Bool[np.ndarray, " prompt"],
) -> pd.DataFrame:
    """Per cell and prompt: what the patch did, so that distributions can be seen.

    Args:
        about: the columns that name each cell.
        values: the metric of each patched run.
        start: the metric of the run that was patched.
        clean: the metric of the clean run.
        corrupted: that of the corrupted run.
        kept: whether the pair counts in means, by the metric's rule.

    Returns:
        The columns of `about`, `prompt`, `value`, `effect` (value minus that of the run that was
        patched), `clean`, `corrupted`, `recovered_fraction` (NaN where the prompt's runs differ by
        less than `MIN_DIFFERENCE`), `kept`.
    """
    n_cells, n_prompts = values.shape
    frame = about.loc[about.index.repeat(n_prompts)].reset_index(drop=True)
    difference = np.where(np.abs(clean - corrupted) >= MIN_DIFFERENCE, clean - corrupted, np.nan)
    return frame.assign(
        prompt=np.tile(np.arange(n_prompts), n_cells),
        value=values.ravel(),
        effect=(values - start).ravel(),
        clean=np.tile(clean, n_cells),
        corrupted=np.tile(corrupted, n_cells),
        recovered_fraction=((values - corrupted) / difference).ravel(),
        kept=np.tile(kept, n_cells),
    )
