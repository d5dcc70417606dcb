"""How many parameters are there, where are they, and what does a token cost?

The lecture notes count GPT-2 and arrive at a third of the truth. Here the closed form is held
against the model's own tensors, the notes' number is made again with each missing term named, and
GPT-2, GPT-3 and the model stand side by side to scale. Everything is arithmetic: the null of each
number is a difference that must be 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interp import measures, plots
from interp.reporting import FigurePart, Finding, Sentence, StudyResult, Table
from studies import StudyConfig, provenance, questions

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT

NAME = "parameter_count"
SCENE = "counting the parameters of GPT-3 in chapters 5 and 6"
GPT2, LARGEST = "GPT-2 small", "GPT-2 XL"
PUBLISHED = {  # distinct parameters of the published checkpoints
    "GPT-2 small": 124_439_808,
    "GPT-2 medium": 354_823_168,
    "GPT-2 large": 774_030_080,
    "GPT-2 XL": 1_557_611_200,
}
GPT3_PUBLISHED = {"count": 175_181_291_520, "matrices": 27_938}
NOTES = {"head": 147_456, "attention": 1_778_688, "mlp": 35_426_304, "total": 37_204_992}


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study; it draws nothing, so seed, limit and quick change nothing."""


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Counts, and says what that means for claims 90 to 96.

    Args:
        model: any HookedGPT; the counts of GPT-2 and GPT-3 do not depend on it.
        config: the options.
        progress: not used; the study is arithmetic.
    """
    tables = _model_tables(model) | _gpt2_tables() | _gpt3_tables() | _cost_tables(model)
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=Sentence(
            "{model} has {count:,} parameters, {attention:.1%} of its blocks in attention and "
            "{mlp:.1%} in the MLPs; the lecture notes' count of GPT-2 small misses {missing:,} of "
            "{right:,}.",
            **cells("model", "model", "count", attention="attention_share", mlp="mlp_share"),
            **cells("notes", "missing", right="count"),
        ),
        tables=tables,
        figures=(_areas(tables), _notes(tables), _costs(tables)),
        findings=_conclude(tables),
        provenance=provenance(NAME, model, config, prompts="none: arithmetic on shapes"),
    )


def cells(table: str, *names: str, row: int = 0, **renamed: str) -> dict:
    """Cells of one row, under their columns' names or others."""
    from studies._circuit_checks import cells_of

    return cells_of(table, *names, row=row, **renamed)


# ------------------------------------------------------------------------------------- tables


def _one(row: dict, caption: str) -> Table:
    from studies._circuit_checks import overview

    return overview(row, caption)


def _model_tables(model: "HookedGPT") -> dict[str, Table]:
    ledger, live = measures.parameter_ledger(model.config), measures.live_parameters(model)
    by_group = live.groupby("group")["count"].sum()
    blocks = by_group.reindex(["attention", "MLP"], fill_value=0)
    in_blocks = int(blocks.sum())
    total = int(live["count"].sum())
    row = {
        "model": model.name,
        "count": total,
        "closed_form": int(ledger["count"].sum()),
        "difference": total - int(ledger["count"].sum()),
        "tensors": len(live),
        "shared": int((live["same_as"] != "").sum()),
        "attention_share": blocks["attention"] / in_blocks,
        "mlp_share": blocks["MLP"] / in_blocks,
        "blocks_share": in_blocks / total,
    }
    return {
        "model": _one(row, "The model's own tensors, each storage once, against the closed form"),
        "ledger": Table(ledger, "Every kind of tensor of the model, by the closed form"),
        "tensors": Table(live, "Every tensor of the model as it is held", in_page=False),
        "conventions": Table(
            measures.conventions(model.config),
            "What others call the number of parameters of this model",
        ),
    }


def _gpt2_tables() -> dict[str, Table]:
    import pandas as pd

    shape = measures.GPT2_SHAPES[GPT2]
    steps = measures.notes_count(shape)
    steps.insert(4, "before", steps["count"].cumsum() - steps["count"])
    ours = measures.parameter_ledger(shape)
    by_group = ours.groupby("group")["count"].sum()
    noted = steps[steps["step"] == "notes"].groupby("group")["count"].sum()
    blocks = int(by_group["attention"] + by_group["MLP"])
    in_one_head = 3 * shape.d_head * shape.d_model
    row = {
        "count": int(ours["count"].sum()),
        "noted": int(noted.sum()),
        "missing": int(ours["count"].sum() - noted.sum()),
        "one_head": in_one_head,
        "one_head_noted": NOTES["head"],
        "attention": int(by_group["attention"]),
        "attention_noted": int(noted["attention"]),
        "mlp": int(by_group["MLP"]),
        "mlp_noted": int(noted["MLP"]),
        "embeddings": int(by_group["embedding"]),
        "norms": int(by_group["norms"]),
        "attention_share": by_group["attention"] / blocks,
        "mlp_share": by_group["MLP"] / blocks,
        "attention_share_noted": noted["attention"] / noted.sum(),
        "attention_of_all": by_group["attention"] / by_group.sum(),
        "notes_difference": int(noted.sum()) - NOTES["total"],
        "tl_n_params": int(
            measures.conventions(shape).set_index("convention")["count"].filter(like="Lens").iloc[0]
        ),
    }
    sizes = [
        {
            "model": name,
            "closed_form": int(measures.parameter_ledger(size)["count"].sum()),
            "published": PUBLISHED[name],
            "attention_of_blocks": _attention_of_blocks(size),
        }
        for name, size in measures.GPT2_SHAPES.items()
    ]
    sizes = pd.DataFrame(sizes)
    sizes["difference"] = sizes["closed_form"] - sizes["published"]
    return {
        "notes": _one(row, "GPT-2 small: the notes' numbers and the right ones"),
        "steps": Table(
            steps, "From the notes' count of GPT-2 small to the right one, a term at a time"
        ),
        "sizes": Table(
            sizes, "GPT-2 in four sizes: closed form, and parameters of the published checkpoints"
        ),
    }


def _attention_of_blocks(shape) -> float:
    by_group = measures.parameter_ledger(shape).groupby("group")["count"].sum()
    return by_group["attention"] / (by_group["attention"] + by_group["MLP"])


def _gpt3_tables() -> dict[str, Table]:
    ledger = measures.gpt3_ledger()
    by_group = ledger.groupby("group")["count"].sum()
    total = int(ledger["count"].sum())
    row = {
        "count": total,
        "matrices": int(ledger["copies"].sum()),
        "difference": total - GPT3_PUBLISHED["count"],
        "matrix_difference": int(ledger["copies"].sum()) - GPT3_PUBLISHED["matrices"],
        "attention": int(by_group["attention"]),
        "attention_share": by_group["attention"] / total,
        "mlp": int(by_group["MLP"]),
    }
    return {
        "gpt3": _one(row, "GPT-3 as 3Blue1Brown counts it, against the number in the video"),
        "gpt3_ledger": Table(ledger, "GPT-3's matrices; no biases, norms and positions"),
    }


def _cost_tables(model: "HookedGPT") -> dict[str, Table]:
    contexts = [2**power for power in range(4, 18)]
    shapes = {"model": model.config, "gpt2": measures.GPT2_SHAPES[GPT2]}
    tables = {
        f"costs_{name}": Table(
            measures.per_token_costs(shape, contexts),
            "Operations per token (2 per multiplication and addition) and bytes kept, by context",
            in_page=name == "model",
        )
        for name, shape in shapes.items()
    }
    depth = sorted({1, 2, 4, 8, 16, model.config.n_layers})
    tables["depths"] = Table(
        measures.shape_sweep(model.config, "n_layers", depth),
        "The same shape with other depths, at a full context",
    )
    config = model.config
    cost = measures.per_token_costs(config, [config.n_ctx]).iloc[0]
    row = {
        "context": config.n_ctx,
        "total": int(cost["total"]),
        "scores_share": cost["scores"] / cost["total"],
        "kv_cache_bytes": int(cost["kv_cache_bytes"]),
        "equal": _equal_context(config),
        "equal_gpt2": _equal_context(shapes["gpt2"]),
        "per_parameter": cost["total"] / measures.parameter_ledger(config)["count"].sum(),
    }
    return tables | {"cost": _one(row, "One more token behind a full context")}


def _equal_context(config) -> int:
    """The context at which scores cost as much as the matrices of the blocks."""
    cost = measures.per_token_costs(config, [1]).iloc[0]
    return round((cost["projections"] + cost["mlp"]) / cost["scores"])


# ------------------------------------------------------------------------------------ figures


def _items(tables: dict[str, Table]) -> "pd.DataFrame":
    import pandas as pd

    model = tables["model"].frame["model"].iloc[0]
    parts = []
    for name, ledger in (
        (LARGEST, measures.parameter_ledger(measures.GPT2_SHAPES[LARGEST])),
        (GPT2, measures.parameter_ledger(measures.GPT2_SHAPES[GPT2])),
        (model, tables["ledger"].frame),
    ):
        parts.append(ledger.assign(model=name))
    columns = ["model", "group", "name", "count", "formula", "shape"]
    return pd.concat(parts, ignore_index=True)[columns]


def _areas(tables: dict[str, Table]) -> FigurePart:
    from interp.reporting import views

    items = _items(tables)
    return FigurePart(
        name="parameters_to_scale",
        question="Where are the parameters?",
        picture=plots.parameter_rectangles(items),
        alt=Sentence(
            "Squares to scale for GPT-2 XL, GPT-2 small and {model}, each divided into attention, "
            "MLP, embedding and norms; {model} has {count:,} parameters.",
            **cells("model", "model", "count"),
        ),
        answer=Sentence(
            "{model} holds {count:,} numbers in {tensors} tensors ({shared} of them shared); the "
            "closed form gives {closed_form:,}, a difference of {difference}. Of the blocks, "
            "{attention_share:.1%} are attention and {mlp_share:.1%} MLP.",
            **cells(
                "model",
                "model",
                "count",
                "tensors",
                "shared",
                "closed_form",
                "difference",
                "attention_share",
                "mlp_share",
            ),
        ),
        tables=("ledger", "model", "conventions", "sizes", "gpt3_ledger", "gpt3"),
        how_to_read="Areas are to one scale over all models. Columns of a square are its groups, "
        "and each is divided by kind of tensor. A tied unembedding is the embedding and has no "
        "area of its own.",
        scene=SCENE,
        change_our_mind=Sentence(
            "A difference that is not 0: the four sizes of GPT-2 differ from the published "
            "checkpoints by {gpt2}, GPT-3 from the video's number by {gpt3}, the model from its "
            "tensors by {own}. Other conventions leave things out: TransformerLens's n_params of "
            "GPT-2 small, {tl:,}, counts no embeddings, biases and norms.",
            gpt2=("sizes", 0, "difference"),
            gpt3=("gpt3", 0, "difference"),
            own=("model", 0, "difference"),
            tl=("notes", 0, "tl_n_params"),
        ),
        facts={"null": "0: closed form and tensors agree"},
        view=views.rectangles(items, "parameters"),
    )


def _notes(tables: dict[str, Table]) -> FigurePart:
    return FigurePart(
        name="notes_and_truth",
        question="What does the lecture notes' count leave out?",
        picture=plots.count_steps(tables["steps"].frame),
        alt=Sentence(
            "Bars that add up from the notes' {noted:,} parameters of GPT-2 small to the right "
            "{count:,}.",
            **cells("notes", "noted", "count"),
        ),
        answer=Sentence(
            "The notes count {noted:,} parameters of GPT-2 small; it has {count:,}. Attention has "
            "{attention:,} instead of {attention_noted:,} (one head per layer was counted, and the "
            "output matrix as one row), the MLPs {mlp:,} instead of {mlp_noted:,}; embeddings, "
            "{embeddings:,}, are missing.",
            **cells(
                "notes",
                "noted",
                "count",
                "attention",
                "attention_noted",
                "mlp",
                "mlp_noted",
                "embeddings",
            ),
        ),
        tables=("steps", "notes"),
        how_to_read="Each bar starts where the one above ends. Pale bars are what the notes count, "
        "full ones what is missing; together they end at the right number.",
        scene=SCENE,
        change_our_mind=Sentence(
            "Terms that do not add up: the notes' own formulas give their number with a difference "
            "of {difference}, and all terms together the closed form.",
            difference=("notes", 0, "notes_difference"),
        ),
        facts={"null": "0: the terms add up"},
    )


def _costs(tables: dict[str, Table]) -> FigurePart:
    row = tables["cost"].frame.iloc[0]
    marks = {
        f"full context, {int(row['context']):,}": row["context"],
        f"scores cost as much as the blocks' matrices, {int(row['equal']):,}": row["equal"],
    }
    return FigurePart(
        name="cost_of_a_token",
        question="What does one more token cost?",
        picture=plots.costs_by_context(tables["costs_model"].frame, marks),
        alt=Sentence(
            "Operations per token by context: projections, MLP and unembedding are level, scores "
            "rise; at {context} tokens scores are {scores_share:.1%} of all.",
            **cells("cost", "context", "scores_share"),
        ),
        answer=Sentence(
            "At a full context of {context} tokens one more token costs {total:,} operations, "
            "{scores_share:.1%} of them for scores, and {kv_cache_bytes:,} bytes of keys and "
            "values are kept. Scores cost as much as the blocks' matrices from {equal:,} tokens "
            "on (GPT-2 small: {equal_gpt2:,}).",
            **cells(
                "cost",
                "context",
                "total",
                "scores_share",
                "kv_cache_bytes",
                "equal",
                "equal_gpt2",
            ),
        ),
        tables=("costs_model", "cost", "depths"),
        how_to_read="Matrices cost the same for every token, whatever stands before it; scores "
        "grow with the context. Both axes are logarithmic. Norms, softmax and activation functions "
        "are left out.",
        scene="the size of the attention pattern in chapter 6",
        change_our_mind=Sentence(
            "A cost that grows with the square of the context per token: {per_parameter:.2f} "
            "operations per parameter at a full context say that matrices decide here.",
            per_parameter=("cost", 0, "per_parameter"),
        ),
        facts={"null": "operations counted from shapes, not timed"},
    )


# ----------------------------------------------------------------------------------- findings


def _conclude(tables: dict[str, Table]) -> tuple[Finding, ...]:
    row, gpt3 = tables["notes"].frame.iloc[0], tables["gpt3"].frame.iloc[0]

    def found(claim, right, said, template, value, null, null_name, unit="parameters", **more):
        names = {name: ("notes", 0, name) for name in more.pop("names", ())}
        return Finding(
            claim,
            "holds" if right else said,
            Sentence(template, **names, **more).text(tables),
            value=value,
            unit=unit,
            null=null,
            null_name=null_name,
            n=1,
            figure="notes_and_truth" if claim != 96 else "parameters_to_scale",
        )

    noted = "the notes' number"
    return (
        found(
            90, row["one_head"] == NOTES["head"], "fails",
            "Queries, keys and values of one head of GPT-2 small are {one_head:,} weights, as the "
            "notes say; its share of the output matrix is not among them.",
            row["one_head"], row["one_head_noted"], noted, names=("one_head",),
        ),
        found(
            91, row["attention"] == row["attention_noted"], "fails",
            "Attention of GPT-2 small has {attention:,} parameters, not {attention_noted:,}: the "
            "notes count one of 12 heads and the output matrix as one row.",
            row["attention"], row["attention_noted"], noted,
            names=("attention", "attention_noted"),
        ),
        found(
            92, row["mlp"] == row["mlp_noted"], "fails",
            "The MLPs of GPT-2 small have {mlp:,} parameters, not {mlp_noted:,}: the second matrix "
            "is d_mlp × d_model, and its bias is missing.",
            row["mlp"], row["mlp_noted"], noted, names=("mlp", "mlp_noted"),
        ),
        found(
            93, row["count"] == row["noted"], "fails",
            "GPT-2 small has {count:,} parameters, not {noted:,}; {missing:,} are missing. This "
            "model has {own:,}, {difference} off the closed form.",
            row["count"], row["noted"], noted, names=("count", "noted", "missing"),
            own=("model", 0, "count"), difference=("model", 0, "difference"),
        ),
        found(
            94, abs(row["attention_share"] - row["attention_share_noted"]) < 0.01, "fails",
            "Attention has {attention_share:.2%} of the parameters of GPT-2 small's blocks "
            "({attention_of_all:.1%} of all), not {attention_share_noted:.1%}.",
            row["attention_share"], row["attention_share_noted"], noted, "share of the blocks",
            names=("attention_share", "attention_of_all", "attention_share_noted"),
        ),
        found(
            95, False, "imprecise",
            "Attention has {own:.1%} of the blocks of this model and {attention_share:.1%} of "
            "GPT-2 small's: 4 d² against 8 d² per layer, one third of the weights in every model "
            "with an MLP four times as wide, and not a few.",
            tables["model"].frame["attention_share"].iloc[0], 1 / 3,
            "4 d² of 12 d², biases left out", "share of the blocks", names=("attention_share",),
            own=("model", 0, "attention_share"),
        ),
        found(
            96, gpt3["difference"] == 0 and gpt3["matrix_difference"] == 0, "fails",
            "GPT-3 by the video's rules has {count:,} parameters in {matrices:,} matrices, as it "
            "says; {share:.1%} of them are attention.",
            gpt3["count"], GPT3_PUBLISHED["count"], "the video's number",
            count=("gpt3", 0, "count"), matrices=("gpt3", 0, "matrices"),
            share=("gpt3", 0, "attention_share"),
        ),
    )  # fmt: skip
