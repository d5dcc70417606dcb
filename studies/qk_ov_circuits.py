"""What do heads look for, and what do they pass on, by their weights alone?

A head is two circuits: queries and keys decide where it looks, values and output what it writes.
Both are products of two thin matrices. Here they are taken apart without running the model on text:
what a value is, how many directions a head uses, whether it repeats the token it attends to, who
reads what whom wrote, and what the directions say that it writes along.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interp import measures, plots
from interp.reporting import StudyResult, Table
from studies import StudyConfig, _prompts, provenance, questions

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT

NAME = "qk_ov_circuits"
PLANTS = ("copy", "anti_copy", "successor", "trap_rank_one", "trap_triangular")
N_CHECKED = 4  # windows for the identities
N_SOURCES_SHOWN = 8  # tokens of a token table, drawn at random
N_PAIRS_SHOWN = 5  # pairs of heads per kind of composition
N_EDGES = 60  # of the graph that can be explored
MOST_DIRECTIONS = 24  # directions in the figure of readouts
FAR = 4.0  # standard deviations from the rotation null that count as far
LARGE = 10_000  # heads times width; above, some parts take a sample of the heads
MOST_PRINTED = 160  # rows of a table in the page


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    n_null: int = 32
    """Random circuits with each head's singular values, for the null of copying."""
    n_random: int = 1999
    """Random directions per head, for the null of readouts."""
    n_windows: int = 200
    """Windows of text that tell which words have alike contexts (small language only)."""


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Takes the heads apart by their weights; claims 82, 83, 88 and 89.

    Args:
        model: any HookedGPT.
        config: the options.
        progress: called with what is being done, how much of it is done, and how much there is.
    """
    from studies import _circuit_checks, _circuit_figures, _circuit_findings

    config = _sized(model, config)
    done = progress or (lambda *_: None)
    windows, prompts = _circuit_checks.text_of(model, 2 * N_CHECKED, config.seed)
    tables = _value_tables(model, windows[:N_CHECKED], config)
    tables |= _spectrum_tables(model, config)
    done("circuits", 1, 5)
    tables |= _copying_tables(model, config)
    done("circuits", 2, 5)
    tables |= _token_tables(model, tables, config)
    done("circuits", 3, 5)
    tables |= _composition_tables(model, config)
    done("circuits", 4, 5)
    tables |= _readout_tables(model, config)
    done("circuits", 5, 5)
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=_circuit_figures.headline(tables),
        tables=tables,
        figures=_circuit_figures.draw(tables),
        findings=_circuit_findings.conclude(tables),
        provenance=provenance(
            NAME,
            model,
            config,
            prompts=f"{N_CHECKED} windows for the identities ({prompts.description}); weights only "
            "otherwise",
            prompts_sha256=_prompts.fingerprint(prompts),
            norm="centring and weight folded into reading weights, tokens normed alone; the final "
            "norm's scale left out",
            smallest_effect_of_interest=f"hit rate {measures.MIN_HIT}; gap {measures.MIN_GAP} of "
            "the largest singular value",
            correction="Benjamini-Hochberg over heads (copying) and over directions (readouts)",
        ),
    )


def _sized(model: "HookedGPT", config: Config) -> Config:
    if not config.quick:
        return config
    large = _is_large(model)
    return replace(
        config,
        n_null=1 if large else config.n_null,
        n_random=min(config.n_random, 39),
        n_windows=min(config.n_windows, 100),
    )


def _is_large(model: "HookedGPT") -> bool:
    shape = model.config
    return shape.n_layers * shape.n_heads * shape.d_model > LARGE


def _names(frame: "pd.DataFrame", layer: str = "layer", head: str = "head") -> list[str]:
    return [plots.head_label(*at) for at in zip(frame[layer], frame[head], strict=True)]


# -------------------------------------------------------------------------- values (82, 83, 88)


def _value_tables(model: "HookedGPT", windows: np.ndarray, config: Config) -> dict[str, Table]:
    from studies._circuit_checks import TOLERANCE, overview, value_checks

    checks = value_checks(model, windows, config.seed)
    shape = model.config
    names = ("plain", "full", "passed", "folded", "gauge", "moved")
    row = dict(zip(names, checks["deviation"], strict=True)) | {
        "tolerance": TOLERANCE,
        "n": len(windows),
        "d_head": shape.d_head,
        "d_model": shape.d_model,
        "n_heads": shape.n_heads,
        "share": shape.d_model / shape.n_heads,
    }
    return {
        "values": Table(
            checks, "Largest difference over the largest value, in float64; for entries of W_V the "
            "length of the change over the length",
        ),
        "value": overview(row, "What a value is: deviations of the formulas, and the widths"),
    }  # fmt: skip


# ----------------------------------------------------------------------------------- ranks (89)


def _spectrum_tables(model: "HookedGPT", config: Config) -> dict[str, Table]:
    import pandas as pd

    from studies._circuit_checks import overview

    weights = measures.head_weights(model)
    made = {
        "model": weights,
        "weights shuffled": measures.shuffled_weights(weights, config.seed),
        "random weights": measures.head_weights(_prompts.with_random_weights(model, config.seed)),
    }
    spectra, ranks = {}, {}
    for name, of_weights in made.items():
        frame = measures.spectrum_table(of_weights)
        squares = frame["value"] ** 2
        total = squares.groupby([frame[c] for c in ("circuit", "layer", "head")]).transform("sum")
        spectra[name] = frame.assign(share=np.divide(squares, total.clip(lower=1e-300)))
        ranks[name] = measures.rank_table(of_weights)
    means = pd.DataFrame(
        [
            {"weights": name, "circuit": circuit, **rows.drop(columns=["circuit"]).mean()}
            for name, frame in ranks.items()
            for circuit, rows in frame.groupby("circuit")
        ]
    ).drop(columns=["layer", "head"])
    own = ranks["model"].assign(name=_names(ranks["model"]))
    ov = own[own["circuit"] == "OV"]
    low, high = measures.bootstrap_interval(ov[["effective_rank"]].to_numpy(), 499, config.seed)
    by = means.set_index(["weights", "circuit"])["effective_rank"]
    row = {
        "largest_rank": int(ov["rank"].max()),
        "bound": model.config.d_head,
        "d_model": model.config.d_model,
        "effective_rank": ov["effective_rank"].mean(),
        "ci_low": low[0],
        "ci_high": high[0],
        "shuffled": by["weights shuffled", "OV"],
        "random": by["random weights", "OV"],
        "effective_rank_qk": by["model", "QK"],
        "shuffled_qk": by["weights shuffled", "QK"],
        "rank_90": ov["rank_90"].mean(),
        "n": len(ov),
    }
    index = ["circuit", "index"]
    lines = {
        name: frame.groupby([*index, "layer", "head"], as_index=False)["share"].first()
        for name, frame in spectra.items()
    }
    return {
        "ranks": Table(own, "Ranks of each head's circuits", in_page=len(own) <= MOST_PRINTED),
        "rank_means": Table(means, "Means over heads, beside shuffled and random weights"),
        "rank_total": overview(row, "OV circuits: rank, and effective rank with its interval"),
        **{
            f"spectrum_{place}": Table(frame, f"Squared singular values, {name}", in_page=False)
            for place, (name, frame) in enumerate(lines.items())
        },
    }


# --------------------------------------------------------------------------------------- copying


def _copying_tables(model: "HookedGPT", config: Config) -> dict[str, Table]:
    from interp import planted
    from interp.planted.lexicon import N_SPECIAL
    from studies._circuit_checks import overview, successor_of, words_of

    bench = planted.zoo(PLANTS, seed=config.seed)
    known = measures.copying_scores(
        bench.model,
        words=np.arange(N_SPECIAL, bench.key.d_vocab),
        successor=np.array(bench.key.tables["successor"]),
        n_null=24,
        seed=config.seed,
    )
    places = zip(known["layer"], known["head"], strict=True)
    known["name"] = [bench.key.head(at).part for at in places]
    known = known[known["norm"] > 0].reset_index(drop=True)
    quick = {"n_sources": 64} if config.quick and _is_large(model) else {}
    found = measures.copying_scores(
        model,
        words=words_of(model),
        successor=successor_of(model),
        n_null=config.n_null,
        seed=config.seed,
        **quick,
    )
    found.insert(0, "name", _names(found))
    random_init = _prompts.with_random_weights(model, config.seed)
    random = None
    if not (config.quick and _is_large(model)):
        random = measures.copying_scores(
            random_init, words=words_of(model), n_null=min(config.n_null, 8), seed=config.seed
        )
    matching = measures.self_matching(model, _some_words(model, config.seed), seed=config.seed)
    matching.insert(0, "name", _names(matching))
    best = found.sort_values(["top1", "eigenvalue_score"], ascending=False).iloc[0]
    looks = matching.sort_values(["self_top1", "self_z"], ascending=False).iloc[0]
    labels = found["label"].value_counts()
    row = {
        "best": best["name"],
        "layer": int(best["layer"]),
        "head": int(best["head"]),
        **{name: best[name] for name in ("top1", "top5", "eigenvalue_score", "diagonal_z")},
        "null": best["top1_null_high"],
        "q": best["q_copying"],
        "label": best["label"],
        "n": int(best["n"]),
        "n_heads": len(found),
        **{
            key: int(labels.get(label, 0))
            for key, label in {
                "n_copying": "copying",
                "n_anti": "anti-copying",
                "n_successor": "successor",
                "n_eigen": "eigenvalues only",
            }.items()
        },
        "n_labelled_random": np.nan if random is None else int((random["label"] != "none").sum()),
        "eigen_null_low": found["eigenvalue_score_null_low"].min(),
        "eigen_null_high": found["eigenvalue_score_null_high"].max(),
        "n_right": int((known["label"] == known["name"].map(_EXPECTED)).sum()),
        "n_planted": len(known),
        "trap_eigen": known.set_index("name")["eigenvalue_score"]["rank one"],
        "trap_top1": known.set_index("name")["top1"]["rank one"],
        "looks": looks["name"],
        "self_top1": looks["self_top1"],
        "self_z": looks["self_z"],
        "self_null": looks["self_top1_null"],
        "looks_layer": int(looks["layer"]),
        "looks_head": int(looks["head"]),
    }
    return {
        "copying": Table(
            found.sort_values("top1", ascending=False, ignore_index=True),
            "Every head's OV circuit over tokens: eigenvalue score, shares of words, z of the "
            "diagonal, 95 % of random circuits with the same singular values, q over heads",
            in_page=len(found) <= MOST_PRINTED,
        ),
        "planted": Table(known, "The same for heads whose circuit is known"),
        "matching": Table(
            matching.sort_values("self_z", ascending=False, ignore_index=True),
            "Every head's QK circuit over tokens: share of words that score themselves highest, z "
            "of the diagonal, random circuits with the same singular values",
            in_page=len(matching) <= MOST_PRINTED,
        ),
        "copying_total": overview(row, "The head that copies most, labels, and planted heads"),
    }


_EXPECTED = {
    "copy": "copying",
    "anti-copy": "anti-copying",
    "successor": "successor",
    "rank one": "eigenvalues only",
    "triangular": "none",
}


def _some_words(model: "HookedGPT", seed: int) -> Any:
    import torch

    from studies._circuit_checks import words_of

    words = words_of(model)
    drawn = np.random.default_rng(seed).permutation(words)[:512]
    return torch.as_tensor(np.sort(drawn), device=model.W_E.device)


def _token_tables(model: "HookedGPT", tables: dict[str, Table], config: Config) -> dict[str, Table]:
    """What the head that copies most, and the one that looks for itself most, make of words."""
    import pandas as pd
    import torch

    total = tables["copying_total"].frame.iloc[0]
    words = _some_words(model, config.seed)
    drawn = np.random.default_rng(config.seed).permutation(len(words))[:N_SOURCES_SHOWN]
    sources = words[torch.as_tensor(np.sort(drawn), device=words.device)]
    rows = []
    for circuit, layer, head in (
        ("OV", total["layer"], total["head"]),
        ("QK", total["looks_layer"], total["looks_head"]),
    ):
        table = measures.token_table(model, int(layer), int(head), circuit, sources, among=words)
        for token, best in table.groupby("token", sort=False):
            rows.append(
                {
                    "circuit": circuit,
                    "head": plots.head_label(int(layer), int(head)),
                    "token": _shown(model, token),
                    "promotes": ", ".join(_shown(model, word) for word in best["best"]),
                    "own_rank": int(best["own_rank"].iloc[0]),
                }
            )
    return {
        "tokens": Table(
            pd.DataFrame(rows),
            f"{N_SOURCES_SHOWN} words drawn at random: what attending to them raises most (OV), or "
            f"which keys they score highest (QK), among up to 512 words, and their own place",
        )
    }


def _shown(model: "HookedGPT", token: int) -> str:
    if model.tokenizer is None:
        return str(token)
    return plots.visible_token(model.tokenizer.str_tokens([int(token)])[0])


# ----------------------------------------------------------------------------------- composition


def _composition_tables(model: "HookedGPT", config: Config) -> dict[str, Table]:
    import pandas as pd

    from studies._circuit_checks import overview

    pairs = measures.composition_table(model)
    if not len(pairs):
        return {}
    random = None
    if not _is_large(model):
        random = measures.composition_table(_prompts.with_random_weights(model, config.seed))
    ordered = pairs.sort_values("z", ascending=False, kind="stable", ignore_index=True)
    shown = pd.concat(
        [ordered[ordered["kind"] == kind].head(N_PAIRS_SHOWN) for kind in ("Q", "K", "V")],
        ignore_index=True,
    )
    first = ordered.iloc[0]
    row = {
        "source": plots.head_label(int(first["source_layer"]), int(first["source_head"])),
        "target": plots.head_label(int(first["layer"]), int(first["head"])),
        **{name: first[name] for name in ("kind", "times_chance", "z", "overlap", "overlap_null")},
        "mean": (pairs["times_chance"] ** 2).mean() ** 0.5,
        "far": int((pairs["z"] > FAR).sum()),
        "n": len(pairs),
        "mean_random": np.nan if random is None else (random["times_chance"] ** 2).mean() ** 0.5,
        "far_random": np.nan if random is None else int((random["z"] > FAR).sum()),
        "limit": FAR,
    }
    return {
        "composition": Table(
            shown,
            f"The {N_PAIRS_SHOWN} pairs of heads farthest above a random rotation, by kind",
        ),
        "composition_all": Table(ordered, "All pairs of heads", in_page=False),
        "composition_total": overview(row, "The pair farthest above chance, and all pairs"),
    }


# -------------------------------------------------------------------------------------- readouts


def _readout_tables(model: "HookedGPT", config: Config) -> dict[str, Table]:
    from studies._circuit_checks import contexts_of, overview, words_of

    features, described = contexts_of(model, config.n_windows, config.seed)
    heads = None
    if _is_large(model):
        norms = measures.rank_table(measures.head_weights(model))
        largest = norms[norms["circuit"] == "OV"].nlargest(12, "norm")
        heads = list(zip(largest["layer"], largest["head"], strict=True))
    found = measures.singular_readout(
        model,
        features,
        words_of(model),
        heads=heads,
        n_random=config.n_random,
        seed=config.seed,
    )
    if not len(found):
        return {}
    found["words"] = [", ".join(_shown(model, w) for w in words) for words in found["words"]]
    found = found.sort_values("coherence", ascending=False, ignore_index=True)
    first = found.iloc[0]
    row = {
        "name": plots.head_label(int(first["layer"]), int(first["head"])),
        "words": first["words"],
        **{name: first[name] for name in ("coherence", "null", "null_high", "q")},
        "coherent": int((found["q"] < 0.05).sum()),
        "n": len(found),
        "n_random": config.n_random,
        "alike": described,
    }
    return {
        "readouts": Table(
            found.head(MOST_DIRECTIONS),
            "Separated singular directions that heads write along, the most coherent first: their "
            "ten words, mean cosine of the words' contexts, the same for random directions of the "
            "head, q over all directions",
        ),
        "readouts_all": Table(found, "The same for all directions read out", in_page=False),
        "readout_total": overview(row, "The most coherent direction, and all of them"),
    }
