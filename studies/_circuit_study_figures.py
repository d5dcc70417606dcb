"""Figures, headline and result of the studies that `studies/_circuit_study.py` measures for."""

from typing import TYPE_CHECKING, Any

import numpy as np

from interp import plots
from interp.reporting import views
from interp.reporting.results import Cell, FigurePart, Finding, Sentence, StudyResult
from studies import StudyConfig, provenance, questions
from studies._circuit_study import MIN_SHARE, SITES, WAYS, Circuit, Tables, knows

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT

NOT_KNOWN = "the model does not prefer the right answers, so there is nothing to find the place of"


def result(
    name: str,
    model: "HookedGPT",
    config: StudyConfig,
    circuit: Circuit,
    findings: tuple[Finding, ...],
    further: tuple[FigurePart, ...] = (),
) -> StudyResult:
    """What a study hands over."""
    tables = circuit.tables
    figures = (_stream(circuit), _heads(circuit), _confirmed(tables), *further)
    return StudyResult(
        study=name,
        question=questions()[name],
        model=model.name,
        headline=_headline(tables),
        tables=tables,
        figures=figures,
        findings=findings,
        provenance=provenance(
            name,
            model,
            config,
            prompts=f"{len(circuit.pairs)} prompts of one layout in two versions",
            smallest_effect_of_interest=f"{MIN_SHARE} of the clean-corrupted difference",
            heads="chosen on the discovery half of the units, reported on the other",
        ),
    )


def cells(table: str, *names: str, row: int = 0) -> dict[str, Cell]:
    """Cells of one row by their columns' names."""
    return {name: Cell(table, row, name) for name in names}


def _headline(tables: Tables) -> Sentence:
    return Sentence(
        "{right:.2f} of {n_prompts} answers right (random weights {random_right:.2f}); {name}, "
        "chosen on other prompts, brings {denoise:.2f} of {whole:.2f} logits back.",
        **cells("overview", "right", "n_prompts", "random_right"),
        **cells("chosen", "name", "denoise", "whole"),
    )


def _ends(tables: Tables) -> dict[str, float]:
    return {"corrupted": 0.0, "clean": float(tables["overview"].frame["whole"].iloc[0])}


def _stream(circuit: Circuit) -> FigurePart:
    tables, places = circuit.tables, circuit.pairs.places
    frame = tables["stream"].frame
    panels, best = {}, {}
    for site in dict.fromkeys(frame["site"]):
        rows = frame[frame["site"] == site]
        table = rows.pivot(index="layer", columns="pos", values="effect")
        table.index, table.columns = [f"L{layer}" for layer in table.index], places
        panels[SITES[site]] = table
        best[site] = int(rows["effect"].idxmax())
    view = views.grid(
        list(panels[SITES["resid_pre"]].index), [plots.visible_token(p) for p in places],
        panels[SITES["resid_pre"]].to_numpy(), "logits", _ends(tables), ("layer", "position"),
    )  # fmt: skip
    attn = best["attn_out"]
    mlp = best.get("mlp_out", attn)
    named = {
        "attn_layer": Cell("stream", attn, "layer"),
        "attn_place": Cell("stream", attn, "place"),
        "attn_effect": Cell("stream", attn, "effect"),
        "attn_low": Cell("stream", attn, "ci_low"),
        "attn_high": Cell("stream", attn, "ci_high"),
        "mlp_layer": Cell("stream", mlp, "layer"),
        "mlp_place": Cell("stream", mlp, "place"),
        "mlp_effect": Cell("stream", mlp, "effect"),
    }
    overview = cells("overview", "clean", "corrupted", "whole", "random_clean", "n_units",
                     "example", "corrupted_example")  # fmt: skip
    null = int(frame.index[(frame["site"] == "resid_pre") & (frame["pos"] == 0)][0])
    return FigurePart(
        name="stream",
        question="Where in the prompt is the answer decided, and where does it travel?",
        picture=plots.effect_grids(panels, _ends(tables), ("layer", "position")),
        alt=Sentence(
            "Grids of layers and positions, one for each place of the patch. What attention writes "
            "matters most in layer {attn_layer} at “{attn_place}” ({attn_effect:.2f} logits), what "
            "the MLP writes in layer {mlp_layer} at “{mlp_place}” ({mlp_effect:.2f}).",
            **{k: named[k] for k in ("attn_layer", "attn_place", "attn_effect", "mlp_layer",
                                     "mlp_place", "mlp_effect")},
        ),
        answer=Sentence(
            "“{example}” against “{corrupted_example}”: {clean:.2f} logits for the right answer "
            "against {corrupted:.2f}. Of the {whole:.2f} between them, attention in layer "
            "{attn_layer} brings {attn_effect:.2f} to “{attn_place}” (95 % interval {attn_low:.2f} "
            "to {attn_high:.2f}, n = {n_units}) and the MLP of layer {mlp_layer} {mlp_effect:.2f} "
            "at “{mlp_place}”.",
            **{name: cell for name, cell in overview.items() if name != "random_clean"},
            **named,
        ),
        tables=("overview",),
        how_to_read="Each cell is a run of the corrupted prompts with one clean activation. Words "
        "in angle brackets differ from prompt to prompt, … stands for other such places. A column "
        "that is dark above and light below hands its information on in between.",
        change_our_mind=Sentence(
            "An effect at the first token, where nothing differs ({null:.2f}), or a model with "
            "random weights that prefers the right answers too ({random_clean:.2f} logits).",
            null=Cell("stream", null, "effect"),
            random_clean=overview["random_clean"],
        ),
        facts={"null": "positions before the first difference; random weights"},
        uninformative="" if knows(tables) else NOT_KNOWN,
        view=view,
    )  # fmt: skip


def _heads(circuit: Circuit) -> FigurePart:
    tables = circuit.tables
    frame = tables["heads"].frame
    grids = {}
    titles = {"denoise": "clean into corrupted", "noise": "corrupted into clean, sign turned"}
    for way, title in titles.items():
        grid = frame.pivot(index="layer", columns="head", values=way)
        grid.index = [f"L{layer}" for layer in grid.index]
        grid.columns = [f"H{head}" for head in grid.columns]
        grids[title] = grid
    first = grids[titles["denoise"]]
    middle = len(frame) // 2
    named = {
        **cells("heads", "name", "denoise", "noise"),
        "middle": Cell("heads", middle, "denoise"),
        **cells("overview", "n_discovery"),
        "whole": Cell("overview", 0, "whole_discovery"),
    }
    return FigurePart(
        name="heads",
        question="Which heads carry it?",
        picture=plots.effect_grids(grids, _ends(tables), ("layer", "head")),
        alt=Sentence(
            "Two grids of layers and heads; {name} has the largest effect, {denoise:.2f} logits.",
            name=named["name"],
            denoise=named["denoise"],
        ),
        answer=Sentence(
            "On the discovery half ({n_discovery} units), {name} brings {denoise:.2f} of "
            "{whole:.2f} logits back and {noise:.2f} are lost without it; the head in the middle "
            "of the list has {middle:.2f}.",
            **named,
        ),
        tables=("heads",),
        how_to_read="Left: what suffices to bring the answer back. Right: what is needed to keep "
        "it, with its sign turned, so that red helps the answer in both. The largest of many "
        "effects is too large by selection; the next figure measures it on other prompts.",
        change_our_mind=Sentence(
            "Most heads with as large an effect: the middle one has {middle:.2f} against "
            "{denoise:.2f}.",
            middle=named["middle"],
            denoise=named["denoise"],
        ),
        facts={"null": "the other heads", "half": "discovery"},
        uninformative="" if knows(tables) else NOT_KNOWN,
        view=views.grid(
            list(first.index), list(first.columns), first.to_numpy(), "logits", _ends(tables),
            ("layer", "head"),
        ),
    )  # fmt: skip


PASSED = (
    "{n_pass} of {n_chosen} heads pass. {name}: {discovery:.2f} logits on the prompts it was "
    "chosen on, {denoise:.2f} on others (95 % interval {denoise_low:.2f} to {denoise_high:.2f}, "
    "n = {n}); {n_ablations} of 3 ablations take something away; directly it writes {writes:.2f}. "
    "Heads drawn at random: {null:.2f}."
)
SEEDED = (
    " From three training seeds, the best head alone recovers {fraction_0:.2f} ({head_0}), "
    "{fraction_1:.2f} ({head_1}) and {fraction_2:.2f} ({head_2}) of the difference."
)


def _seed_cells() -> dict[str, Cell]:
    named = {}
    for row in range(3):
        named[f"head_{row}"] = Cell("seeds", row, "best_head")
        named[f"fraction_{row}"] = Cell("seeds", row, "recovered_fraction")
    return named


def _confirmed(tables: Tables) -> FigurePart:
    named = cells("chosen", "name", "discovery", "denoise", "denoise_low", "denoise_high",
                  "n_ablations", "writes", "null", "n", "n_pass", "n_chosen")  # fmt: skip
    shown: tuple[str, ...] = ("confirmed", "chosen")
    return FigurePart(
        name="confirmed",
        question="Do they do it on other prompts, and do three ablations agree?",
        picture=plots.head_effects(ways(tables["confirmed"].frame, WAYS)),
        alt=Sentence(
            "Points with intervals for each head in six ways. {name} has {denoise:.2f} logits when "
            "patched in; heads drawn at random have {null:.2f}.",
            **{k: named[k] for k in ("name", "denoise", "null")},
        ),
        answer=Sentence(PASSED + SEEDED, **named, **_seed_cells())
        if "seeds" in tables
        else Sentence(PASSED, **named),
        tables=(*shown, "seeds") if "seeds" in tables else shown,
        how_to_read="To the right helps the answer, in every way of asking. A head that suffices "
        "and is needed but writes little acts through later layers. Open marks on grey are heads "
        "drawn at random from the rest.",
        change_our_mind=Sentence(
            "Chosen heads that fall back among the random ones ({null:.2f}) on new prompts; "
            "{name} has {denoise:.2f}.",
            **{k: named[k] for k in ("name", "denoise", "null")},
        ),
        facts={"null": "as many random heads", "half": "confirmation",
               "smallest_effect": f"{MIN_SHARE} of the difference"},
        uninformative="" if knows(tables) else NOT_KNOWN,
    )  # fmt: skip


def ways(frame: "pd.DataFrame", names: dict[str, str]) -> "pd.DataFrame":
    """A frame of effects with the ways' names as they stand in legends."""
    order = list(names)
    kept = frame[frame["way"].isin(order)]
    place = kept["way"].map(order.index)
    kept = kept.iloc[np.argsort(place, kind="stable")]
    first = {name: i for i, name in enumerate(dict.fromkeys(frame["name"]))}
    kept = kept.iloc[np.argsort(kept["name"].map(first), kind="stable")]
    return kept.assign(way=kept["way"].map(names))


def finite(value: float) -> float | None:
    """None where there is no number, as for an interval from too few units."""
    return float(value) if np.isfinite(value) else None


def head_finding(claim: int, tables: Tables, what: str, unless: str) -> Finding:
    """Whether the best head does it on prompts that it was not chosen on.

    Args:
        claim: its number.
        tables: of the study.
        what: what the head does, as the end of the sentence that begins with its name.
        unless: the sentence for a model that does not give the right answers.
    """
    row: Any = tables["chosen"].frame.iloc[0]
    overview = tables["overview"].frame.iloc[0]
    known = knows(tables)
    agree = row["n_ablations"] >= 2
    verdict = "holds" if known and row["passes"] and agree else "undecided" if known else "fails"
    if not np.isfinite([overview["right_low"], row["denoise_low"]]).all():
        verdict = "undecided"  # too few units for an interval
    said = Sentence(
        "{name} " + what + ": patched in, it brings {denoise:.2f} of {whole:.2f} logits back (95 % "
        "interval {denoise_low:.2f} to {denoise_high:.2f}, {n} units that it was not chosen on), "
        "and {n_ablations} of 3 ablations take something away; {right:.2f} of the answers are "
        "right.",
        **cells("chosen", "name", "denoise", "denoise_low", "denoise_high", "n", "n_ablations"),
        **cells("chosen", "whole"),
        **cells("overview", "right"),
    )
    if not known:
        said = Sentence(unless + " ({right:.2f} right).", **cells("overview", "right"))
    return Finding(
        claim,
        verdict,
        said.text(tables),
        value=row["denoise"] if known else overview["right"],
        unit="logits brought back by the best head" if known else "share right",
        ci_low=finite(row["denoise_low"] if known else overview["right_low"]),
        ci_high=finite(row["denoise_high"] if known else overview["right_high"]),
        null=finite(row["null"]) if known else 0.5,
        null_name="heads drawn at random" if known else "chance",
        n=row["n"] if known else overview["n_units"],
        figure="confirmed",
    )
