"""Figures of `studies/probe.py`, from its tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from interp import plots
from interp.reporting import views
from interp.reporting.results import Cell, FigurePart, Sentence, Table

if TYPE_CHECKING:
    from studies.probe import Probe

Tables = dict[str, Table]
FACTS = {"n": "one prompt, so no interval"}


def made(asked: "Probe", tables: Tables, parts: Sequence[str]) -> tuple[FigurePart, ...]:
    """A figure for each part that was measured, in reading order."""
    makers = {
        "next token": _next_token,
        "attention": _attention,
        "lens": _lens,
        "attribution": _attribution,
        "patching the stream": _residual,
        "patching heads": _heads,
        "scores": _scores,
    }
    return tuple(makers[part](asked, tables) for part in parts)


def _cells(table: str, *names: str, row: int = 0) -> dict[str, Cell]:
    return {name: Cell(table, row, name) for name in names}


def _shown(texts: Sequence[str]) -> list[str]:
    return [plots.visible_token(text) for text in texts]


def _next_token(asked: "Probe", tables: Tables) -> FigurePart:
    import torch

    model = asked.model
    with torch.no_grad():
        tokens = torch.tensor([asked.ids], device=model.W_E.device)
        logits = model(tokens, logits_at=[-1])[0, 0].double().cpu().numpy()
    order = np.argsort(-logits, kind="stable")[:600]
    names = _shown(model.tokenizer.str_tokens(order.tolist()))
    cells = _cells("overview", "target", "contrast", "target_probability", "contrast_probability")
    best = {"best": Cell("next_tokens", 0, "token"), "most": Cell("next_tokens", 0, "probability")}
    return FigurePart(
        name="next_token",
        question="What comes next?",
        picture=plots.next_tokens(tables["next_tokens"].frame),
        alt=Sentence(
            "A point for each of the likeliest next tokens. The first is “{best}” with {most:.3f}; "
            "“{target}” has {target_probability:.3f} and “{contrast}” {contrast_probability:.3f}.",
            **cells,
            **best,
        ),
        answer=Sentence(
            "“{best}” with probability {most:.3f}. “{target}” has {target_probability:.3f} (rank "
            "{target_rank}), “{contrast}” {contrast_probability:.3f}: a logit difference of "
            "{logit_diff:.2f}; after the first token alone it is {logit_diff_without_prompt:.2f}.",
            **cells,
            **best,
            **_cells("overview", "target_rank", "logit_diff", "logit_diff_without_prompt"),
        ),
        tables=("next_tokens", "tokens", "overview", "left_out"),
        how_to_read="The open mark is the probability of the same token when the prompt is taken "
        "away: what the model says anyway. In the viewer, temperature, top-k and top-p change the "
        "probabilities. What this report leaves out stands in the last table, with the reason.",
        change_our_mind=Sentence(
            "The same preference without the prompt: there the difference is "
            "{logit_diff_without_prompt:.2f}.",
            **_cells("overview", "logit_diff_without_prompt"),
        ),
        facts=FACTS | {"null": "the first token alone"},
        view=views.temperature(_shown(asked.tokens), names, logits[order]),
    )


def _attention(asked: "Probe", tables: Tables) -> FigurePart:
    from interp import measures

    heads = tables["heads"].frame
    states = measures.attention_states(asked.model, np.array(asked.ids))
    roles = {
        plots.head_label(row.layer, row.head): row.role for row in heads.itertuples() if row.role
    }
    names = ("n_heads", "n_roles", "n_sinks", "n_unused_sinks", "roles")
    cells = _cells("attention_overview", *names)
    shown = {"weight": "weight", "use": "weighted by what is written"}
    return FigurePart(
        name="attention",
        question="Where does every head look?",
        picture=plots.pattern_mosaic(tables["patterns"].frame, shown),
        alt=Sentence(
            "A tile for each of the {n_heads} heads, layers down and heads across: its pattern on "
            "the prompt, as weights and weighted by the size of what is written.",
            n_heads=cells["n_heads"],
        ),
        answer=Sentence(
            "{n_roles} of {n_heads} heads have a role of their own, measured elsewhere ({roles}). "
            "{n_sinks} heads give more than half of their weight to the first token here; in "
            "{n_unused_sinks} of these it carries less than a quarter of what they write.",
            **cells,
        ),
        tables=("heads", "attention_overview"),
        how_to_read="A bright cell is a token that is looked at. Weight is not use: the right-hand "
        "tiles weigh each cell by the size of what it brings. In the viewer, one head at a time "
        "can be laid over the tokens; the roles stand beside the heads’ names.",
        change_our_mind=Sentence(
            "Roles come from other prompts ({roles}), with a matched control for each head; a "
            "pattern on one prompt names none.",
            roles=cells["roles"],
        ),
        scene="3Blue1Brown, chapter 6: the attention pattern",
        facts=FACTS | {"null": "matched controls of the roles"},
        view=views.attention(_shown(asked.tokens), states, roles),
    )


def _lens(asked: "Probe", tables: Tables) -> FigurePart:
    cells, ends = tables["lens"].frame, tables["lens_end"].frame
    last, first = len(ends) - 1, _first_above(ends["difference_nats"].to_numpy())
    named = {
        "target": Cell("overview", 0, "target"),
        "contrast": Cell("overview", 0, "contrast"),
        "label": Cell("lens_end", first, "label"),
        "nats": Cell("lens_end", first, "difference_nats"),
        "final": Cell("lens_end", last, "difference_nats"),
        "shuffled": Cell("lens_end", last, "shuffled_nats"),
    }
    return FigurePart(
        name="lens",
        question="When does the answer appear?",
        picture=plots.lens_reading(
            cells.drop(columns="probability").rename(columns={"top": "probability"}),
            ends,
            asked.tokens,
        ),
        alt=Sentence(
            "Left, the best token of each depth and position. Right, by depth, how far the last "
            "position favours “{target}”: {final:.2f} nats at the end.",
            **{name: named[name] for name in ("target", "final")},
        ),
        answer=Sentence(
            "From {label} on, the last position favours “{target}” over “{contrast}” at every "
            "depth ({nats:.2f} nats there, {final:.2f} at the end). With the unembedding dealt out "
            "anew it ends at {shuffled:.2f}.",
            **named,
        ),
        tables=("lens_end",),
        how_to_read="Each row is the residual stream at a depth, read through the final norm and "
        "the unembedding; the uppermost row is the model’s answer. Early rows read streams that "
        "were never meant for the unembedding.",
        change_our_mind=Sentence(
            "The same curve with the unembedding’s rows shuffled: {shuffled:.2f} nats at the end "
            "against {final:.2f}.",
            shuffled=named["shuffled"],
            final=named["final"],
        ),
        facts=FACTS | {"null": "shuffled unembedding"},
        view=_lens_view(asked, tables),
    )


def _first_above(values: np.ndarray) -> int:
    """First row from which on all values have the last one's sign."""
    same = np.sign(values) == np.sign(values[-1])
    others = np.flatnonzero(~same)
    return int(others[-1]) + 1 if len(others) else 0


def _lens_view(asked: "Probe", tables: Tables) -> views.View:
    cells = tables["lens"].frame

    def table(name: str) -> np.ndarray:
        return cells.pivot(index="row", columns="pos", values=name).to_numpy()

    values = {"probability": table("top")}
    values |= {name: table(name) for name in ("entropy_nats", "kl_nats")}
    pinned = {
        plots.visible_token(asked.named(token)): {
            name: table(f"{prefix}{name}") for name in ("probability", "rank")
        }
        for token, prefix in ((asked.target, ""), (asked.contrast, "contrast_"))
    }
    labels = cells.drop_duplicates("row").sort_values("row")["label"].tolist()
    words = [_shown(row) for row in table("top_token").tolist()]
    return views.lens(_shown(asked.tokens), labels, words, values, pinned)


def _attribution(asked: "Probe", tables: Tables) -> FigurePart:
    frame = tables["contributions"].frame
    names = asked.named(asked.target), asked.named(asked.contrast)
    cells = _cells("attribution_overview", "sum", "logit_diff", "missing", "norm_scale")
    first = {
        "part": Cell("contributions", 0, "part"),
        "most": Cell("contributions", 0, "contribution"),
    }
    total = float(tables["attribution_overview"].frame["logit_diff"].iloc[0])
    return FigurePart(
        name="attribution",
        question="Who writes the answer?",
        picture=plots.waterfall(frame, total, names),
        alt=Sentence(
            "Bars from part to part that add up to the logit difference of {logit_diff:.2f}; the "
            "largest is {part} with {most:+.2f}.",
            logit_diff=cells["logit_diff"],
            **first,
        ),
        answer=Sentence(
            "{part} writes most of it ({most:+.2f} logits). All parts sum to {sum:.4f}, the logit "
            "difference is {logit_diff:.4f} (missing: {missing:.1e}), with the final norm’s scale "
            "held at {norm_scale:.2f}.",
            **first,
            **cells,
        ),
        tables=("contributions", "attribution_overview"),
        how_to_read="Every bar begins where the one above ends. A diamond is where the same bar "
        "would end in the corrupted prompt: what stays there is not about the answer. A share says "
        "who writes, not what would happen without it: later parts may erase or replace it.",
        change_our_mind=Sentence(
            "Parts that do not sum to the logit difference: {missing:.1e} is missing. Whether a "
            "part matters is told by patching, below.",
            missing=cells["missing"],
        ),
        scene="3Blue1Brown, chapter 5: the residual stream as a sum",
        facts=FACTS | {"null": "the same parts in the corrupted prompt"},
    )


def _ends(tables: Tables) -> dict[str, float]:
    overview = tables["overview"].frame.iloc[0]
    whole = float(overview["logit_diff"] - overview["corrupted_logit_diff"])
    return {"corrupted": 0.0, "clean": whole}


def _residual(asked: "Probe", tables: Tables) -> FigurePart:
    frame = tables["residual"].frame
    table = frame.pivot(index="layer", columns="pos", values="effect")
    view = views.grid(
        [f"L{layer}" for layer in table.index], _shown(asked.tokens), table.to_numpy(), "logits",
        _ends(tables), ("layer", "position"),
    )  # fmt: skip
    table.index = [f"L{layer}" for layer in table.index]
    table.columns = asked.tokens
    cells = {
        "logit_diff": Cell("overview", 0, "logit_diff"),
        "corrupted": Cell("overview", 0, "corrupted_logit_diff"),
        "how": Cell("overview", 0, "corruption"),
        "token": Cell("residual", 0, "token"),
        "layer": Cell("residual", 0, "layer"),
        "fraction": Cell("residual", 0, "recovered_fraction"),
    }
    first = next(i for i, (a, b) in enumerate(zip(asked.ids, asked.other.ids, strict=True))
                 if a != b)  # fmt: skip
    before = frame.index[frame["pos"] < first] if first else frame.index[:0]
    same = int(before[0]) if len(before) else len(frame) - 1
    return FigurePart(
        name="residual_patching",
        question="Where does the answer travel?",
        picture=plots.effect_grids(
            {"clean stream into the corrupted run": table}, _ends(tables), ("layer", "position")
        ),
        alt=Sentence(
            "A grid of layers and positions. Patching the stream before layer {layer} at “{token}” "
            "recovers {fraction:.2f} of the difference between the two prompts.",
            **{name: cells[name] for name in ("layer", "token", "fraction")},
        ),
        answer=Sentence(
            "The corrupted prompt ({how}) has a logit difference of {corrupted:.2f}, the clean one "
            "{logit_diff:.2f}. The clean stream before layer {layer} at “{token}” alone recovers "
            "{fraction:.2f} of what lies between.",
            **cells,
        ),
        tables=("residual",),
        how_to_read="Each cell is a run of the corrupted prompt with the clean residual stream at "
        "one position, before one layer. The two marks on the bar are the unpatched runs. A bright "
        "column that ends where another begins shows information that moves.",
        change_our_mind=Sentence(
            "A position before the first word that differs: nothing can change there, and the "
            "effect is {null:.2f}.",
            null=Cell("residual", same, "effect"),
        )
        if len(before)
        else Sentence("The prompts differ from their first token on, so no cell is a control."),
        facts=FACTS | {"null": "positions before the first difference", "metric": "logit diff"},
        view=view,
    )


def _heads(asked: "Probe", tables: Tables) -> FigurePart:
    frame = tables["head_patching"].frame
    grids = {
        way: frame.pivot(index="layer", columns="head", values=way) for way in ("denoise", "noise")
    }
    rows = [f"L{layer}" for layer in grids["denoise"].index]
    columns = [f"H{head}" for head in grids["denoise"].columns]
    for grid in grids.values():
        grid.index, grid.columns = rows, columns
    view = views.grid(
        rows, columns, grids["denoise"].to_numpy(), "logits", _ends(tables), ("layer", "head")
    )
    middle = len(frame) // 2
    cells = {
        "name": Cell("head_patching", 0, "name"),
        "denoise": Cell("head_patching", 0, "denoise"),
        "noise": Cell("head_patching", 0, "noise"),
    }
    return FigurePart(
        name="head_patching",
        question="Which heads carry it?",
        picture=plots.effect_grids(
            {"denoise: clean into corrupted": grids["denoise"],
             "noise: corrupted into clean": grids["noise"]},
            _ends(tables), ("layer", "head"),
        ),
        alt=Sentence(
            "Two grids of layers and heads. {name} has the largest effect: {denoise:+.2f} logits "
            "when its clean output is put into the corrupted run.",
            name=cells["name"],
            denoise=cells["denoise"],
        ),
        answer=Sentence(
            "{name} brings {denoise:+.2f} logits into the corrupted run and changes the clean one "
            "by {noise:+.2f}; the head in the middle of the list has {median:+.2f}.",
            **cells,
            median=Cell("head_patching", middle, "denoise"),
        ),
        tables=("head_patching",),
        how_to_read="Denoising asks what suffices, noising what is needed. A head that is strong "
        "on the left and weak on the right has others that can do its work.",
        change_our_mind=Sentence(
            "As large an effect from most heads: the middle one has {median:+.2f} against "
            "{denoise:+.2f}.",
            median=Cell("head_patching", middle, "denoise"),
            denoise=cells["denoise"],
        ),
        facts=FACTS | {"null": "the other heads", "metric": "logit diff"},
        view=view,
    )  # fmt: skip


def _scores(asked: "Probe", tables: Tables) -> FigurePart:
    from interp import measures
    from studies.probe import top_heads

    parts, totals = tables["score_parts"].frame, tables["score_totals"].frame
    layer, head = top_heads(tables)[0]
    ids = np.array(asked.ids)
    split = measures.split_scores(asked.model, ids, layer, head, len(ids) - 1)
    shown = _shown(asked.tokens)
    of_first = totals.index[totals["title"] == plots.head_label(layer, head)]
    best = int(totals.loc[of_first, "weight"].idxmax())
    of_best = parts[(parts["title"] == totals["title"][best])
                    & (parts["key_pos"] == totals["key_pos"][best])]  # fmt: skip
    largest = int(of_best["term"].abs().idxmax())
    cells = {
        "head": Cell("score_totals", best, "title"),
        "key": Cell("score_totals", best, "key"),
        "weight": Cell("score_totals", best, "weight"),
        "score": Cell("score_totals", best, "score"),
        "source": Cell("score_parts", largest, "source"),
        "term": Cell("score_parts", largest, "term"),
    }
    return FigurePart(
        name="scores",
        question="Why do these heads look there?",
        picture=plots.score_split(parts, totals),
        alt=Sentence(
            "Stacked bars, one per key, for the last token’s scores in the heads with the largest "
            "effect; {head} looks most at “{key}” ({weight:.2f}).",
            **{name: cells[name] for name in ("head", "key", "weight")},
        ),
        answer=Sentence(
            "From the last token, {head} gives “{key}” {weight:.2f} of its attention (score "
            "{score:.2f}); the largest term of that score is {source} ({term:+.2f}).",
            **cells,
        ),
        tables=("score_totals",),
        how_to_read="A score is a sum over pairs: what wrote into the query times what wrote into "
        "the key. What is equal for all keys changes no attention, so look for terms that differ "
        "from key to key.",
        change_our_mind=Sentence(
            "Terms that do not add up to the score {score:.2f}; the diamond is the score itself.",
            score=cells["score"],
        ),
        scene="3Blue1Brown, chapter 6: queries and keys",
        facts=FACTS | {"null": "the other keys"},
        view=views.score_terms(
            shown, shown, split.sources, split.terms, plots.head_label(layer, head)
        ),
    )
