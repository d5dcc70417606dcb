"""Do later layers look further back?"""

import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from interp import load_model, measures
from interp.reporting import FigurePart, Sentence, StudyResult, Table
from studies import StudyConfig, _prompts, provenance


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    n_prompts: int = 16
    """Texts."""


def run(model, config, progress=None):
    """Mean distance of what attention looks at, layer by layer, beside random weights."""
    text = _prompts.text_prompts(model, config.n_prompts, config.seed)
    prompts = _prompts.same_length(text, config.seed)
    lags, chance = (mean_lags(m, prompts) for m in (model, _prompts.with_random_weights(model, 0)))
    low, high = measures.bootstrap_interval(lags, seed=config.seed)
    means = {"mean_lag": lags.mean(0), "random": chance.mean(0), "ci_low": low, "ci_high": high}
    frame = pd.DataFrame(means).rename_axis("layer").reset_index()
    tables = {"layers": Table(frame, "Tokens back (95 % over texts), and with random weights")}
    last, null = (("layers", len(frame) - 1, name) for name in ("mean_lag", "random"))
    words = "The last layer looks {last:.1f} tokens back, with random weights {null:.1f}."
    answer = Sentence(words, last=last, null=null)
    control = Sentence("With random weights it looks {null:.1f} tokens back.", null=null)
    aid = "Points: means over texts and heads with intervals. Crosses: random weights."
    part = FigurePart("look_back", __doc__, draw(frame), answer, answer, ("layers",), aid, control)
    facts = provenance("look_back", model, config, prompts=text.description)
    return StudyResult("look_back", __doc__, model.name, answer, tables, (part,), (), facts)


def mean_lags(model, prompts):
    """Of each text, mean over heads: [text layer]."""
    frames = [measures.head_descriptors(model, [row[None]]) for row in prompts]
    return np.stack([frame.groupby("layer")["mean_lag"].mean() for frame in frames])


def draw(frame):
    """Distance by layer."""
    axes = Figure(figsize=(6, 3), layout="constrained").subplots()
    axes.vlines(frame["layer"], frame["ci_low"], frame["ci_high"])
    frame.plot(x="layer", y=["mean_lag", "random"], style=["o-", "kx"], ax=axes)
    axes.set(ylabel="tokens back", xticks=frame["layer"])
    return axes.figure


if __name__ == "__main__":
    result = run(load_model(*sys.argv[1:] or ["small"]), Config())
    print(result.headline.text(result.tables), result.save(), sep="\n")
