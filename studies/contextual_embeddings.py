"""Does a word's vector take up its meaning from the context, and in which layer?

The lectures let "mole" and "tower" change their meaning with the words before them. Here the same
word is followed through the layers: how alike its uses stay, whether uses with one sense lie nearer
to each other than to others, what a cue before the word changes and one after it cannot, and what
two-dimensional pictures keep of all that. Beside each number stand its controls: random weights,
the words before without any model, and groups of uses that all have one sense.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from interp import measures
from interp.reporting import StudyResult, Table
from studies import NotApplicable, StudyConfig, _prompts, provenance, questions

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT
    from interp.measures import WordUses
    from studies._contexts import Contexts

NAME = "contextual_embeddings"
MARGIN = 0.05  # share of comparisons; declared beforehand: what counts as more than a control
SMALL_ENOUGH = 5_000_000  # parameters of a model whose identities are checked in double precision
KEYS = ("word", "sense", "cue")


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    n_uses: int = 260
    """Uses of ambiguous words, their senses in equal shares; English has 96 at most."""
    n_windows: int = 64
    """Windows of text for the words in general."""
    n_resamples: int = 1999
    """Bootstrap resamples for each interval."""


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Follows words through the layers; answers claims 26, 28, 30, 31 and 32.

    Args:
        model: a model of the small language, or one with English words.
        config: the options.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        NotApplicable: the model has no words whose senses are known.
    """
    from studies import _contextual_figures, _contextual_findings
    from studies._contexts import contexts_of

    config = _sized(config)
    say, steps = progress or (lambda *_: None), 5
    say("prompts", 0, steps)
    contexts = contexts_of(model, config.n_uses, config.n_windows, config.seed)
    if contexts is None:
        raise NotApplicable(
            f"{NAME} follows words with several senses, and {model.name} has no such words: it "
            "needs the small language's vocabulary or a tokenizer that can spell English"
        )
    random = _prompts.with_random_weights(model, config.seed)
    read, read_random = (_Reader(one, config.batch_size) for one in (model, random))
    say("words in general", 1, steps)
    tables = _general_tables(model, random, contexts, config)
    say("senses", 2, steps)
    tables |= _sense_tables(read, read_random, contexts, config)
    say("the lectures' phrases and pictures", 3, steps)
    tables |= _phrase_tables(read, read_random, contexts, config)
    tables |= _picture_tables(read, read_random, contexts, tables, config)
    say("cues before and after", 4, steps)
    tables |= _cue_tables(model, random, contexts, config)
    tables |= _identity_tables(model, contexts) | _class_tables(model, config)
    say("done", steps, steps)
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=_contextual_figures.headline(tables),
        tables=tables,
        figures=_contextual_figures.draw(tables),
        findings=_contextual_findings.conclude(tables),
        provenance=provenance(
            NAME,
            model,
            config,
            prompts=list(contexts.described),
            uses_of_words_in_pieces=contexts.n_in_pieces,
            smallest_effect_of_interest=f"{MARGIN} (share of comparisons)",
            layer="chosen on one half of the uses, measured on the other",
        ),
    )


def _sized(config: Config) -> Config:
    """`quick` and `limit` applied."""

    def at_most(n: int, quick: int, least: int) -> int:
        n = min(n, quick) if config.quick else n
        return n if config.limit is None else max(least, min(n, config.limit))

    return replace(
        config,
        n_uses=at_most(config.n_uses, 104, 52),
        n_windows=at_most(config.n_windows, 24, 24),
        n_resamples=min(config.n_resamples, 499) if config.quick else config.n_resamples,
    )


class _Reader:
    """`measures.word_vectors` of one model; a use that was read before costs nothing."""

    def __init__(self, model: "HookedGPT", batch_size: int) -> None:
        self.model = model
        self._batch_size = batch_size
        self._found: dict[tuple, np.ndarray] = {}

    def __call__(self, uses: "WordUses") -> np.ndarray:
        """Vectors of the uses, `[layer use d_model]`."""
        keys = list(zip(uses.tokens, uses.positions, strict=True))
        new = [i for i, key in enumerate(keys) if key not in self._found]
        if new:
            some = uses.only(new)
            read = measures.word_vectors(self.model, some.tokens, some.positions, self._batch_size)
            self._found |= {keys[i]: read[:, at] for at, i in enumerate(new)}
        return np.stack([self._found[key] for key in keys], axis=1)


# ------------------------------------------------------------------------------ words in general


def _general_tables(
    model: "HookedGPT", random: "HookedGPT", contexts: "Contexts", config: Config
) -> dict[str, Table]:
    tokens = [row for window in contexts.windows for row in window.tolist()]
    places = [(row, at) for row, prompt in enumerate(tokens) for at in range(1, len(prompt))]
    rows, positions = np.array(places).T
    words = np.array([tokens[row][at] for row, at in places])
    options = {"n_resamples": config.n_resamples, "seed": config.seed}

    def of(subject: "HookedGPT") -> tuple[np.ndarray, "pd.DataFrame"]:
        vectors = _all_positions(subject, tokens, rows, positions, config.batch_size)
        return vectors, measures.context_specificity(vectors, words, rows, **options)[0]

    vectors, frame = of(model)
    blocks = measures.layer_changes(vectors, rows, **options)
    _, control = of(random)
    columns = ["self_similarity", "baseline", "adjusted", "ci_low", "ci_high"]
    for name in columns:
        frame[f"random_{name}"] = control[name]
    return {
        "similarity": Table(
            frame,
            "Mean cosine of uses of one word in different prompts (self-similarity), of different "
            "words (baseline), and the difference with its 95 % interval over words; then the same "
            "for random weights. One row per layer; position 0 left out",
        ),
        "blocks": Table(
            blocks,
            "How far each block moves a word's vector: length of the step over the vector's, its "
            "share of all steps, and the cosine with the vector before the first block",
        ),
    }


def _all_positions(
    model: "HookedGPT",
    tokens: list[list[int]],
    rows: np.ndarray,
    positions: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    """Vectors of all positions of all prompts, `[layer use d_model]`, in single precision."""
    parts = []
    for start in range(0, len(tokens), batch_size):
        here = (rows >= start) & (rows < start + batch_size)
        parts.append(
            measures.prompt_vectors(
                model, tokens[start : start + batch_size], rows[here] - start, positions[here]
            )
        )
    return np.concatenate(parts, axis=1)


# --------------------------------------------------------------------------------------- senses


def _halves(uses: "WordUses") -> tuple[list[int], list[int]]:
    """Every other use of each cue of a sense, so that both halves hold all cues that they can."""
    seen: dict[tuple[str, str, str], int] = {}
    sides: tuple[list[int], list[int]] = ([], [])
    singles: dict[tuple[str, str], int] = {}
    for i, key in enumerate(zip(uses.words, uses.senses, uses.cues, strict=True)):
        if key not in seen:  # a cue's first use goes to the sides in turn
            seen[key] = singles[key[:2]] = singles.get(key[:2], -1) + 1
        else:
            seen[key] += 1
        sides[seen[key] % 2].append(i)
    return sides


def _sense_tables(
    read: "_Reader", read_random: "_Reader", contexts: "Contexts", config: Config
) -> dict[str, Table]:
    import pandas as pd

    uses, options = contexts.uses, {"n_resamples": config.n_resamples, "seed": config.seed}
    vectors, random_vectors = read(uses), read_random(uses)
    bags = measures.context_bags(read.model, uses)
    choose, confirm = _halves(uses)
    chosen = measures.sense_separation(vectors[:, choose], uses.only(choose))
    by_layer = measures.separation_by_layer(chosen, **options)
    layer = int(by_layer["layer"].iloc[by_layer["auc"].to_numpy().argmax()])
    tested = uses.only(confirm)
    cells = measures.sense_separation(vectors[:, confirm], tested)
    control = measures.sense_separation(random_vectors[:, confirm], tested)
    bag = measures.sense_separation(bags[:, confirm], tested)
    frame = measures.separation_by_layer(cells, **options)
    random_frame = measures.separation_by_layer(control, **options)
    for name in ("auc", "ci_low", "ci_high"):
        frame[f"random_{name}"] = random_frame[name]
    corrected = _without_position(read.model, vectors, uses)[:, confirm]
    frame["corrected_auc"] = measures.separation_by_layer(
        measures.sense_separation(corrected, tested), **options
    )["auc"]
    frame["halves_auc"] = _one_sense(vectors, uses, options)
    frame["bag"] = measures.separation_by_layer(bag, **options)["auc"].iloc[0]
    overview = {
        "layer": layer,
        "last_layer": len(frame) - 1,
        "auc_discovery": by_layer["auc"].max(),
        **frame.iloc[layer][["auc", "ci_low", "ci_high"]],
        "first_auc": frame["auc"].iloc[0],
        "random_auc": frame["random_auc"].iloc[layer],
        "random_high": frame["random_ci_high"].iloc[layer],
        "bag": frame["bag"].iloc[0],
        "halves_auc": frame["halves_auc"].iloc[layer],
        "corrected_auc": frame["corrected_auc"].iloc[layer],
        "n": int(frame["n"].iloc[0]),
        "n_uses": len(tested),
        **_against_bag(cells, bag, layer, config),
        **_arrival(cells, config),
    }
    cells.insert(0, "of", "the model")
    control.insert(0, "of", "random weights")
    return {
        "senses": Table(
            frame,
            "Share of comparisons in which a use lies nearer to one with its sense (and another "
            "cue) than to one with another sense; 0.5 is chance; n counts cues of senses. Beside "
            "it: random weights, vectors without position at one scale "
            "per coordinate (corrected), groups of cues that share a sense, words before (bag)",
        ),
        "senses_overview": Table(
            pd.DataFrame([overview]),
            "The layer that was chosen on one half of the uses, and the numbers of the other half",
        ),
        "senses_by_cue": Table(
            pd.concat([cells, control], ignore_index=True),
            "The same for each cue of each sense",
            in_page=False,
        ),
    }


def _without_position(model: "HookedGPT", vectors: np.ndarray, uses: "WordUses") -> np.ndarray:
    """Vectors without their positional embedding, every coordinate brought to one scale.

    A conclusion that depends on a few loud coordinates, or on where the word stands, would flip.
    """
    if model.config.positions != "none":
        vectors = vectors - model.W_pos.detach().double().cpu().numpy()[list(uses.positions)]
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    return centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-12)


def _one_sense(vectors: np.ndarray, uses: "WordUses", options: dict) -> np.ndarray:
    """The same measure where both groups have one sense; NaN where no sense has enough cues."""
    from interp.core import InputError

    try:
        relabelled, kept = measures.same_sense_halves(uses)
    except InputError:
        return np.full(len(vectors), np.nan)
    cells = measures.sense_separation(vectors[:, kept], relabelled)
    return measures.separation_by_layer(cells, **options)["auc"].to_numpy()


def _against_bag(
    cells: "pd.DataFrame", bag: "pd.DataFrame", layer: int, config: Config
) -> dict[str, float]:
    """How far the model lies above the words before, cue by cue."""
    ours = cells[cells["layer"] == layer].set_index(list(KEYS))["auc"]
    difference = (ours - bag.set_index(list(KEYS))["auc"]).to_numpy()[:, None]
    low, high = measures.bootstrap_interval(difference, config.n_resamples, config.seed)
    return {"above_bag": difference.mean(), "above_bag_low": low[0], "above_bag_high": high[0]}


def _arrival(cells: "pd.DataFrame", config: Config) -> dict[str, float]:
    """How the gain from first to last layer falls to the blocks; the interval is over cues."""
    table = cells.pivot_table(index=list(KEYS), columns="layer", values="auc").to_numpy()
    rng = np.random.default_rng(config.seed)
    drawn = rng.integers(0, len(table), (config.n_resamples, len(table)))
    means = np.concatenate([table.mean(axis=0)[None], table[drawn].mean(axis=1)])
    gains, total = np.diff(means, axis=1), means[:, -1] - means[:, 0]
    low, high = np.quantile(total[1:], [0.025, 0.975])
    block = int(gains[0].argmax())
    # A share of nothing is no number; the verdict then does not use it.
    share = gains[:, block] / np.where(np.abs(total) > MARGIN, total, np.inf)
    share_low, share_high = np.quantile(share[1:], [0.025, 0.975])
    return {
        "gain": total[0],
        "gain_low": low,
        "gain_high": high,
        "largest_block": block,
        "largest_share": share[0],
        "share_low": share_low,
        "share_high": share_high,
        "even_share": 1 / gains.shape[1],
    }


# ------------------------------------------------------------------- the lectures' phrases


def _phrase_tables(
    read: "_Reader", read_random: "_Reader", contexts: "Contexts", config: Config
) -> dict[str, Table]:
    import pandas as pd

    parts, nearest = [], []
    for word, known in contexts.known.items():
        part = _profile(read, known, contexts.examples[word], config)
        control = _profile(read_random, known, contexts.examples[word], config)
        part.insert(0, "word", word)
        part["random_cosine"] = control["cosine"]
        part["meant"] = [contexts.meant[word, e] == s for e, s in part[["example", "sense"]].values]
        parts.append(part)
        for example, rows in part.groupby("example", sort=False):
            # Where it is nearest, over the layers: a phrase may lose its sense again.
            best = rows.loc[rows["cosine"].idxmax()]
            last = rows[rows["layer"] == rows["layer"].max()]
            meant = contexts.meant[word, example]
            right = last.loc[last["cosine"].idxmax(), "sense"] == meant
            nearest.append(
                {
                    "word": word,
                    "phrase": example,
                    "meant": meant,
                    "nearest_at_last_layer": last.loc[last["cosine"].idxmax(), "sense"],
                    "right_at_last_layer": bool(right),
                    "largest_cosine": best["cosine"],
                    "its_sense": best["sense"],
                    "its_layer": int(best["layer"]),
                    "n": int(best["n"]),
                }
            )
    found = pd.DataFrame(nearest)
    overview = {
        "n_phrases": len(found),
        "n_right": int(found["right_at_last_layer"].sum()),
        "n_right_any": int((found["its_sense"] == found["meant"]).sum()),
    }
    return {
        "phrases": Table(
            pd.concat(parts, ignore_index=True),
            "Cosine of a phrase's vector at its word with the mean vector of each sense, both "
            "minus the mean of the senses; 95 % interval over n paraphrases; then random weights",
        ),
        "phrases_nearest": Table(found, "The sense that each phrase lies nearest to"),
        "phrases_overview": Table(
            pd.DataFrame([overview]), "How many lie nearest to what is meant"
        ),
    }


def _profile(
    read: "_Reader", known: "WordUses", shown: "WordUses", config: Config
) -> "pd.DataFrame":
    """Cosines of phrases with senses, one row per phrase, sense and layer, over paraphrases."""
    import pandas as pd

    profile = measures.sense_profile(
        read(shown),
        list(range(len(shown))),
        read(known),
        list(known.senses),
    )
    parts = []
    for example in dict.fromkeys(shown.senses):
        of_example = profile[profile["example"].map(shown.senses.__getitem__) == example]
        table = of_example.pivot_table(
            index="example", columns=["sense", "layer"], values="cosine", sort=False
        )
        low, high = measures.bootstrap_interval(table.to_numpy(), config.n_resamples, config.seed)
        part = table.columns.to_frame(index=False).assign(
            cosine=table.mean().to_numpy(), ci_low=low, ci_high=high, n=len(table)
        )
        part.insert(0, "example", example)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _picture_tables(
    read: "_Reader",
    read_random: "_Reader",
    contexts: "Contexts",
    tables: dict[str, Table],
    config: Config,
) -> dict[str, Table]:
    """PCA and t-SNE of the uses of "mole", at the layer where senses are apart."""
    import pandas as pd

    layer = int(tables["senses_overview"].frame["layer"].iloc[0])
    uses = contexts.known["mole"]
    points, facts = [], []
    for name, reader in (("the model", read), ("random weights", read_random)):
        some, fact = measures.pictures(reader(uses)[layer], list(uses.senses), config.seed)
        some.insert(0, "of", name)
        fact.insert(0, "of", name)
        points.append(some)
        facts.append(fact)
    frame = pd.concat(facts, ignore_index=True)
    frame["layer"], frame["n"] = layer, len(uses)
    low, high = zip(
        *(_share_interval(row, len(uses)) for row in frame["nearest_same_picture"]), strict=True
    )
    frame["ci_low"], frame["ci_high"] = low, high
    frame["shuffled"] = _chance_of_same(list(uses.senses))
    return {
        "picture": Table(
            frame.drop(columns="kept").assign(kept=frame["kept"].fillna(0.0)),
            "Mean cosines before projection, and how many points have a nearest neighbour of their "
            "sense, before projection and in the picture (95 % Wilson interval); chance if labels "
            "were shuffled; share of the variance in the two directions (PCA)",
        ),
        "picture_points": Table(
            pd.concat(points, ignore_index=True), "The points of the pictures", in_page=False
        ),
    }


def _share_interval(share: float, n: int) -> tuple[float, float]:
    from interp.learning.evaluation import wilson_interval

    return wilson_interval(share, n)


def _chance_of_same(labels: list[str]) -> float:
    counts = np.unique(labels, return_counts=True)[1]
    n = counts.sum()
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))


# ------------------------------------------------------------------------------ cues, layer 0


def _cue_tables(
    model: "HookedGPT", random: "HookedGPT", contexts: "Contexts", config: Config
) -> dict[str, Table]:
    import pandas as pd

    pairs = contexts.pairs
    if config.quick:  # each pair takes two passes of its own
        firsts = {
            kind: [p for p in pairs if p.kind == kind][:6]
            for kind in ("before", "after", "same sense")
        }
        pairs = tuple(pair for some in firsts.values() for pair in some)
    each = measures.cue_effects(model, pairs)
    control = measures.cue_effects(random, pairs)
    frame = _by_kind(each, config)
    last = frame[frame["layer"] == frame["layer"].max()].set_index("kind")
    random_last = (
        control[control["layer"] == control["layer"].max()].groupby("kind")["change"].mean()
    )
    first = each[each["layer"] == 0]
    overview = {
        "before": last.loc["before", "change"],
        "before_low": last.loc["before", "ci_low"],
        "before_high": last.loc["before", "ci_high"],
        "same_sense": last.loc["same sense", "change"],
        "same_sense_high": last.loc["same sense", "ci_high"],
        "after_largest": each.loc[each["kind"] == "after", "largest"].max(),
        "first_layer_largest": first["largest"].max(),
        "random_before": random_last["before"],
        "random_same_sense": random_last["same sense"],
        "n_before": int(last.loc["before", "n"]),
        "n_same_sense": int(last.loc["same sense", "n"]),
        "n_after": int(last.loc["after", "n"]),
        "last_layer": int(frame["layer"].max()),
    }
    return {
        "cues": Table(
            frame,
            "Change of the word's vector when one cue is exchanged, as a share of its length, with "
            "95 % interval over n pairs of prompts; and the largest change of any coordinate",
        ),
        "cues_overview": Table(
            pd.DataFrame([overview]), "The same at the last layer, and for random weights"
        ),
        "cues_by_pair": Table(each, "Each pair and layer", in_page=False),
    }


def _by_kind(each: "pd.DataFrame", config: Config) -> "pd.DataFrame":
    import pandas as pd

    parts = []
    for kind, rows in each.groupby("kind", sort=False):
        table = rows.pivot_table(index="pair", columns="layer", values="change")
        low, high = measures.bootstrap_interval(table.to_numpy(), config.n_resamples, config.seed)
        parts.append(
            pd.DataFrame(
                {
                    "kind": kind,
                    "layer": table.columns,
                    "change": table.mean().to_numpy(),
                    "ci_low": low,
                    "ci_high": high,
                    "largest": rows.groupby("layer")["largest"].max().to_numpy(),
                    "n": len(table),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _identity_tables(model: "HookedGPT", contexts: "Contexts") -> dict[str, Table]:
    """Claim 30: at layer 0 "mole" is the same vector everywhere, up to its position."""
    uses = [contexts.known["mole"], contexts.examples["mole"]]
    tokens = [prompt for some in uses for prompt in some.tokens]
    positions = [at for some in uses for at in some.positions]
    # English begins a text with another "Mole" than it puts inside one; one token is enough here.
    word = tokens[0][positions[0]]
    kept = [i for i, at in enumerate(positions) if tokens[i][at] == word]
    subject = model
    if model.n_params < SMALL_ENOUGH:
        subject = copy.deepcopy(model).double()
    frame = measures.embedding_identity(
        subject, [tokens[i] for i in kept], [positions[i] for i in kept]
    )
    frame["tolerance"] = 1e-10 if subject is not model else 1e-5
    return {
        "identity": Table(
            frame,
            "Largest |x − (W_E[t] + W_pos[i])| over uses of “mole”, and the largest |(x_a − x_b) − "
            "(W_pos[i_a] − W_pos[i_b])| over pairs of uses; layers after 0 are the control",
        )
    }


def _class_tables(model: "HookedGPT", config: Config) -> dict[str, Table]:
    from studies._contexts import word_classes

    ids, classes, left_out = word_classes(model)
    vectors = model.W_E.detach()[ids].double().cpu().numpy()
    frame = measures.class_judgements(
        vectors, classes, 99 if config.quick else 199, config.n_resamples, config.seed
    )
    frame["n_left_out"] = left_out
    return {
        "classes": Table(
            frame,
            "Token embeddings judged by themselves (intrinsic: does a word of the same class lie "
            "nearer?) and by a task (extrinsic: a linear probe sorts words it has not seen), each "
            "against words sorted at random; n_left_out words have several tokens",
        )
    }


if __name__ == "__main__":
    import sys

    from interp.cli import main

    raise SystemExit(main(["run", NAME, *sys.argv[1:]]))
