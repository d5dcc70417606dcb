"""Figures of the study of the unembedding, from its tables."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp import plots
from interp.reporting import Cell, FigurePart, Sentence, Table, views
from studies._attention_figures import cells_of
from studies.unembedding import NOISE, ROUNDED

if TYPE_CHECKING:
    from collections.abc import Mapping

Tables = dict[str, Table]
SCENE = "the unembedding at the end of chapter 5"
KNOWS_NOTHING = "The model predicts no better than chance, so there is nothing to lose or to read."
NEAR_UNIFORM = 0.1  # nats


def row_of(tables: Tables, table: str, index: int = 0) -> pd.Series:
    """One row of a table."""
    return tables[table].frame.iloc[index]


def place(tables: Tables, table: str, column: str, value: str) -> int:
    """Number of the row that has this value."""
    return int(np.flatnonzero(tables[table].frame[column] == value)[0])


def cell_map(table: str, row: int, names: "Mapping[str, str]") -> dict[str, Cell]:
    """Cells of one row, by the field that each fills."""
    return {field: Cell(table, row, column) for field, column in names.items()}


def knows_nothing(tables: Tables) -> bool:
    """Whether the model's loss is that of a uniform guess."""
    losses = tables["losses"].frame.set_index("of")
    return bool(losses.loc["the model", "ci_low"] > losses.loc["uniform", "loss"] - NEAR_UNIFORM)


def headline(tables: Tables) -> Sentence:
    """The answer in one sentence."""
    eight = place(tables, "rounding", "readout", ROUNDED.format(8))
    cost = cells_of("cost_overview", "share", "d_vocab")
    rounding = cell_map("rounding", eight, {"kl": "kl_nats", "top1": "top1"})
    if "paths" not in tables:
        return Sentence(
            "The unembedding takes {share:.2f} of the operations at {d_vocab:,} tokens; rounded to "
            "8 bits it keeps {top1:.3f} of the first choices (KL {kl:.1e} nats).",
            **cost,
            **rounding,
        )
    row = row_of(tables, "paths_overview")
    return Sentence(
        "By itself the unembedding knows {raw:.2f} nats of which word follows which, with the "
        "first MLP {path:.2f}; rounded to 8 bits it keeps {top1:.3f} of the first choices; it "
        "takes {share:.2f} of the operations.",
        raw=Cell("paths", 0, "gain_nats"),
        path=Cell("paths", int(row["path_row"]), "gain_nats"),
        top1=rounding["top1"],
        share=cost["share"],
    )


def draw(tables: Tables) -> tuple[FigurePart, ...]:
    """All figures that the tables allow, in reading order."""
    parts = [_losses(tables), _rounding(tables), _lens(tables)]
    if "paths" in tables:
        parts.insert(0, _paths(tables))
    if "bias" in tables:
        parts.append(_bias(tables))
    return (*parts, _cost(tables), _rank(tables))


def _paths(tables: Tables) -> FigurePart:
    row = row_of(tables, "paths_overview")
    best, shuffled, counted = (
        int(row[name]) for name in ("path_row", "shuffled_row", "counted_row")
    )
    frame = tables["paths"].frame
    ours = cell_map(
        "paths",
        best,
        {"path": "path", "gain": "gain_nats", "low": "ci_low", "high": "ci_high",
         "order": "order", "n": "n", "r_gain": "random_gain_nats"},
    )  # fmt: skip
    raw = cell_map(
        "paths", 0, {"raw": "gain_nats", "raw_order": "order", "symmetry": "antisymmetric"}
    )
    truth = cell_map("paths", counted, {"counted": "gain_nats", "lopsided": "antisymmetric"})
    return FigurePart(
        name="direct_path",
        question="Do embedding and unembedding alone know which word follows which?",
        picture=plots.path_dots(frame),
        alt=Sentence(
            "Dots for each path from the present token to the next, on the left what it adds to "
            "token frequencies, on the right whether it has pairs in the right order. W_E W_U: "
            "{raw:.2f} nats and {raw_order:.2f}; {path}: {gain:.2f} nats and {order:.2f}.",
            **{name: raw[name] for name in ("raw", "raw_order")},
            **{name: ours[name] for name in ("path", "gain", "order")},
        ),
        answer=Sentence(
            "W_E W_U adds {raw:.3f} nats per token to frequencies and has {raw_order:.3f} of the "
            "pairs in the right order. {path} adds {gain:.2f} (95 % interval {low:.2f} to "
            "{high:.2f}, {n} tokens) and has {order:.2f} in order; a table of counted pairs adds "
            "{counted:.2f}.",
            **{name: raw[name] for name in ("raw", "raw_order")},
            **{name: ours[name] for name in ("path", "gain", "low", "high", "n", "order")},
            counted=truth["counted"],
        ),
        tables=("paths", "paths_overview"),
        how_to_read="Each path is scaled to predict best together with frequencies, on one half of "
        "a text, and scored on the other. With tied weights W_E W_U is a table of dot products, "
        "the same in both directions, so it must be at 0.5 on the right: it cannot know that “a” "
        "comes before “b” and not after it.",
        scene=SCENE,
        change_our_mind=Sentence(
            "The same path with its rows exchanged adds {shuffled:.2f} nats, and with random "
            "weights {r_gain:.2f}. Of the squared size of W_E W_U {symmetry:.0%} changes sign when "
            "rows and columns are exchanged; of the true table {lopsided:.0%}.",
            shuffled=Cell("paths", shuffled, "gain_nats"),
            r_gain=ours["r_gain"],
            symmetry=raw["symmetry"],
            lopsided=truth["lopsided"],
        ),
        facts={"null": "token frequencies; rows exchanged; random weights"},
        uninformative=(
            "No path knows more than token frequencies."
            if frame["ci_low"].iloc[best] <= max(0.0, frame["ci_high"].iloc[shuffled])
            else ""
        ),
    )


def _losses(tables: Tables) -> FigurePart:
    own = place(tables, "losses", "of", "the model")
    frame = tables["losses"].frame
    floor = frame["of"].str.startswith("exact")
    cells = cell_map(
        "losses", own,
        {"loss": "loss", "perplexity": "perplexity", "low": "perplexity_low",
         "high": "perplexity_high", "n": "n"},
    )  # fmt: skip
    said = "Without the language's own entropy there is no floor to compare with."
    extra: dict[str, Cell] = {}
    if floor.any():
        said = (
            "The language's exact entropy allows {best:.4g}; on the same prompts the model is "
            "{gap:.3f} nats above it ({gap_low:.3f} to {gap_high:.3f})."
        )
        extra["best"] = Cell("losses", int(np.flatnonzero(floor)[0]), "perplexity")
        extra |= cells_of("gap", "gap", gap_low="ci_low", gap_high="ci_high")
    without = (frame["of"] == "without the final norm").any()
    norm: dict[str, Cell] = {}
    norm_said = "There is no final norm that could be skipped."
    if without:
        norm_said = "Without the final norm it would be {norm:.4g}."
        at = place(tables, "losses", "of", "without the final norm")
        norm["norm"] = Cell("losses", at, "perplexity")
    uniform = Cell("losses", place(tables, "losses", "of", "uniform"), "perplexity")
    return FigurePart(
        name="losses",
        question="How well do the last vectors predict, and does the final norm matter?",
        picture=plots.loss_ladder(frame),
        alt=Sentence(
            "Losses as dots, the worst on top; the model has perplexity {perplexity:.4g}, a "
            "uniform guess {uniform:.4g}.",
            perplexity=cells["perplexity"],
            uniform=uniform,
        ),
        answer=Sentence(
            "Perplexity {perplexity:.4g} (95 % interval {low:.4g} to {high:.4g}, {n} prompts), "
            "{loss:.3f} nats per token. " + said + " " + norm_said,
            **cells,
            **extra,
            **norm,
        ),
        tables=("losses", "identities", *(["words"] if "words" in tables else [])),
        how_to_read="Further left is better; perplexity is e to the loss. No model can be left of "
        "the exact entropy in the long run; on a few prompts both move together.",
        scene=SCENE,
        change_our_mind=Sentence(
            "A guess that never looks: uniform {uniform:.4g}. The last vector read through norm "
            "and matrix is the model within {same:.2g}.",
            uniform=uniform,
            same=Cell("identities", 0, "last_layer_deviation"),
        ),
        facts={"null": "uniform, token frequencies, word pairs; exact entropy as the floor"},
        uninformative=KNOWS_NOTHING if knows_nothing(tables) else "",
    )


def _rounding(tables: Tables) -> FigurePart:
    eight, four = (place(tables, "rounding", "readout", ROUNDED.format(bits)) for bits in (8, 4))
    noisy = place(tables, "rounding", "readout", NOISE.format(8))
    four_noisy = place(tables, "rounding", "readout", NOISE.format(4))
    e = cell_map(
        "rounding", eight,
        {"kl": "kl_nats", "low": "kl_nats_low", "high": "kl_nats_high", "top1": "top1",
         "cost": "cost_nats", "bytes": "bytes", "full": "full_bytes", "n": "n"},
    )  # fmt: skip
    f = cell_map(
        "rounding", four,
        {"kl4": "kl_nats", "top4": "top1", "cost4": "cost_nats", "bytes4": "bytes"},
    )  # fmt: skip
    return FigurePart(
        name="rounded_unembedding",
        question="How many bits does the unembedding need?",
        picture=plots.rounding_dots(tables["rounding"].frame),
        alt=Sentence(
            "Three panels for 8 and 4 bits, rounded and with noise of equal length: KL, first "
            "choices, loss. 8 bits: KL {kl:.1e}, {top1:.3f} of first choices; 4 bits: {kl4:.1e}, "
            "{top4:.3f}.",
            **{name: e[name] for name in ("kl", "top1")},
            **{name: f[name] for name in ("kl4", "top4")},
        ),
        answer=Sentence(
            "8 bits: KL {kl:.1e} nats (95 % interval {low:.1e} to {high:.1e}, {n} prompts), "
            "{top1:.3f} of first choices kept, loss {cost:+.4f} nats, {bytes:,} bytes instead of "
            "{full:,}. 4 bits: {kl4:.1e}, {top4:.3f}, {cost4:+.4f}, {bytes4:,} bytes.",
            **e,
            **f,
        ),
        tables=("rounding",),
        how_to_read="Each token's vector is rounded to whole numbers with a scale of its own; the "
        "embedding at the other end stays as it is. The square is noise that moves each vector "
        "just as far.",
        change_our_mind=Sentence(
            "Noise as long as the rounding: KL {noise:.1e} against {kl:.1e} at 8 bits, "
            "{noise4:.1e} against {kl4:.1e} at 4. Where both are alike, the length of the change "
            "matters and the grid does not.",
            noise=Cell("rounding", noisy, "kl_nats"),
            kl=e["kl"],
            noise4=Cell("rounding", four_noisy, "kl_nats"),
            kl4=f["kl4"],
        ),
        facts={"null": "Gaussian noise, equal length row by row"},
        uninformative=KNOWS_NOTHING if knows_nothing(tables) else "",
    )


def _lens(tables: Tables) -> FigurePart:
    frame = tables["lens"].frame
    last = len(frame) - 1
    before = max(0, last - 1)
    cells = cell_map(
        "lens", before,
        {"layer": "layer", "kl": "kl_nats", "low": "ci_low", "high": "ci_high",
         "shuffled": "shuffled_kl", "top1": "top1", "n": "n"},
    )  # fmt: skip
    never = Cell("lens", 0, "never_looks_kl")
    useless = not (frame["ci_high"] < frame["shuffled_low"]).iloc[:last].any()
    return FigurePart(
        name="lens_by_layer",
        question="Can vectors before the last be read through the unembedding?",
        picture=plots.lens_trust(frame),
        alt=Sentence(
            "KL to the model's answer by layer, from {first:.2f} nats at layer 0 to {kl:.2f} at "
            "layer {layer}; with shuffled tokens {shuffled:.2f} there.",
            first=Cell("lens", 0, "kl_nats"),
            kl=cells["kl"],
            layer=cells["layer"],
            shuffled=cells["shuffled"],
        ),
        answer=Sentence(
            "Layer {layer} read through final norm and unembedding is {kl:.2f} nats from the "
            "model's answer (95 % interval {low:.2f} to {high:.2f}, {n} prompts) and has "
            "{top1:.2f} of its first choices; with shuffled tokens it is {shuffled:.2f} away, and "
            "a guess that never looks {never:.2f}.",
            **cells,
            never=never,
        ),
        tables=("lens",),
        how_to_read="A reading worse than the dashed grey line says less than a mixed-up "
        "vocabulary; one above the green line says less than a guess that never looks. The last "
        "point is the model itself, so it must be 0.",
        scene="",
        change_our_mind=Sentence(
            "At layer 0 the reading is {first:.2f} nats away; if a guess that never looks is "
            "nearer, at {never:.2f}, the vector is not in the unembedding's language there.",
            first=Cell("lens", 0, "kl_nats"),
            never=never,
        ),
        facts={"null": "shuffled unembedding; token frequencies"},
        uninformative=(
            KNOWS_NOTHING
            if knows_nothing(tables)
            else "No layer is nearer than a shuffled vocabulary."
            if useless
            else ""
        ),
    )


def _bias(tables: Tables) -> FigurePart:
    points = tables["bias_by_token"].frame
    frequency = row_of(tables, "bias")["frequency"]
    label = (
        "how often the token occurs (log₁₀)"
        if frequency == "count in text"
        else "order of merging, −log₁₀ of the token's number"
    )
    b = cells_of("bias", "rho", "ci_low", "ci_high", "null_high", "n")
    return FigurePart(
        name="bias_and_frequency",
        question="Does the folded bias know how frequent a token is?",
        picture=plots.bias_scatter(points, tables["bias"].frame, label),
        alt=Sentence(
            "Two scatter plots over tokens: bias against frequency (rank correlation {rho:.2f}) "
            "and length of the token's vector against frequency ({length:.2f}).",
            rho=b["rho"],
            length=Cell("bias", 1, "rho"),
        ),
        answer=Sentence(
            "The bias that folding the final norm makes has a rank correlation of {rho:.2f} with "
            "frequency (95 % interval {ci_low:.2f} to {ci_high:.2f}, {n} tokens); shuffled "
            "vocabularies reach {null_high:.2f}. For the lengths it is {length:.2f}.",
            **b,
            length=Cell("bias", 1, "rho"),
        ),
        tables=("bias", "tying"),
        how_to_read="GPT-2's unembedding has no bias of its own; folding the final norm's shift "
        "into it makes one. A token's bias is added to its logit everywhere, so a single answer's "
        "attribution without a contrast carries it.",
        change_our_mind=Sentence(
            "A correlation inside the band of shuffled vocabularies, {null_low:.2f} to "
            "{null_high:.2f}.",
            **cells_of("bias", "null_low", "null_high"),
        ),
        facts={"null": "shuffled vocabulary"},
        uninformative=(
            "" if row_of(tables, "bias")["exists"] else "The final norm's shift is 0: no bias."
        ),
    )


def _cost(tables: Tables) -> FigurePart:
    o = cells_of(
        "cost_overview", "share", "share_gpt2", "share_full_context", "quarter", "fourfold",
        "d_vocab",
    )  # fmt: skip
    frame = tables["cost"].frame
    short = frame[frame["n_pos"] == 0]
    items = pd.DataFrame(
        {
            "model": short["model"],
            "group": short["part"],
            "name": short["part"],
            "count": short["flops"],
            "formula": short["part"].map(_FORMULAS),
            "shape": "per token",
        }
    )
    return FigurePart(
        name="cost_of_the_vocabulary",
        question="What share of the work is the unembedding?",
        picture=plots.cost_curves(tables["cost_curve"].frame),
        alt=Sentence(
            "Rising curves of the unembedding's share over the size of the vocabulary, a marker at "
            "each model's own: here {share:.2f}, GPT-2 {share_gpt2:.2f}.",
            share=o["share"],
            share_gpt2=o["share_gpt2"],
        ),
        answer=Sentence(
            "With {d_vocab:,} tokens the unembedding takes {share:.3f} of the operations at short "
            "context ({share_full_context:.3f} at full context); with a quarter of the tokens "
            "{quarter:.3f}, with four times as many {fourfold:.3f}. For GPT-2 it is "
            "{share_gpt2:.3f}.",
            **o,
        ),
        tables=("cost_overview", "cost", "cost_curve"),
        how_to_read="Markers are vocabularies as they are, lines what they would cost at other "
        "sizes. Products of matrices only, two operations per multiplication.",
        scene=SCENE,
        change_our_mind=Sentence(
            "It is arithmetic on the shape, the same for random weights: {quarter:.3f} at a "
            "quarter of the vocabulary.",
            quarter=o["quarter"],
        ),
        facts={"null": "other sizes of the vocabulary, same blocks"},
        view=views.rectangles(items.reset_index(drop=True), "operations per token"),
    )


_FORMULAS = {
    "attention weights": "2 · layers · 4 · d_model · heads · d_head",
    "attention between positions": "4 · layers · heads · d_head · positions",
    "MLP": "2 · layers · 2 · d_model · d_mlp",
    "unembedding": "2 · d_model · d_vocab",
}


def _rank(tables: Tables) -> FigurePart:
    row = row_of(tables, "rank")
    r = cells_of(
        "rank", "d_model", "bound", "logit_rank", "log_prob_rank", "noisy_rank", "n_contexts",
        "n_tokens",
    )  # fmt: skip
    known = row["language_rank"] > 0
    said = " The language's own table has rank {language}." if known else ""
    extra = {"language": Cell("rank", 0, "language_rank")} if known else {}
    return FigurePart(
        name="softmax_bottleneck",
        question="Which probabilities can the model not express?",
        picture=plots.centred_spectra(tables["spectrum"].frame, int(row["bound"])),
        alt=Sentence(
            "Singular values on a logarithmic axis; those of the model's log-probabilities fall to "
            "rounding after number {log_prob_rank}, the dashed line stands at {bound}.",
            log_prob_rank=r["log_prob_rank"],
            bound=r["bound"],
        ),
        answer=Sentence(
            "Over {n_contexts} contexts and {n_tokens} tokens the logits have rank {logit_rank} "
            "and the log-probabilities {log_prob_rank}; a width of {d_model} allows {bound} at "
            "most." + said,
            **{name: r[name] for name in r if name != "noisy_rank"},
            **extra,
        ),
        tables=("rank",),
        how_to_read="Left of the dashed line a curve may be anything; right of it the model's "
        "curves must be rounding, whatever its weights. A language whose table stays high there "
        "holds distinctions that this width cannot make exactly.",
        change_our_mind=Sentence(
            "The same table with 1 % noise has rank {noisy_rank}: the measure can see more where "
            "there is more.",
            noisy_rank=r["noisy_rank"],
        ),
        facts={"null": "noise of 1 %; the language's own log-probabilities, at least 1e-6 each"},
        uninformative="" if known else "Every model of this width has this rank.",
    )
