"""Figures of the lectures' sentence: models side by side, and why a noun looks where it does."""

from typing import TYPE_CHECKING

import numpy as np

from interp import measures, plots
from interp.reporting import Cell, FigurePart, Sentence, Table, views

if TYPE_CHECKING:
    import pandas as pd

    from studies._attention_sentence import Side

Tables = dict[str, Table]
CHAPTER = "the attention pattern of “a fluffy blue creature” in chapter 6"
ADD_GPT2 = "interp run attention_pattern -m gpt2"
NOUN_ROLE = "adjectives to nouns"


def cells_of(table: str, *names: str, row: int = 0, **renamed: str) -> dict[str, Cell]:
    """Cells of one row, under their columns' names or others."""
    wanted = {name: name for name in names} | renamed
    return {field: Cell(table, row, column) for field, column in wanted.items()}


def panel(tables: Tables, side: str, title: str, column: str = "weight") -> plots.Panel:
    """A matrix of one side's cells."""
    cells = tables[f"cells_{side}"].frame
    tokens = cells.drop_duplicates("query_pos").sort_values("query_pos")["query_token"].tolist()
    return plots.Panel(title, cells, column, tokens)


# ------------------------------------------------------------------------------- the sentence


def lecture(tables: Tables, sides: "list[Side]") -> FigurePart:
    """The sentence in every model, side by side."""
    answer = {
        **cells_of("lecture", fluffy="planted", fluffy_answer="planted_answer"),
        **cells_of("lecture", row=1, blue="planted", blue_answer="planted_answer"),
        **cells_of("lecture", row=2, verdant="planted", verdant_answer="planted_answer"),
        **cells_of("lecture", row=3, rest="planted", rest_answer="planted_answer"),
    }
    panels = [panel(tables, side.name, side.title) for side in sides]
    said, of_models = _said_of_models(tables, sides)
    if "swapped" in tables and len(sides) == 2:
        row = tables["swapped"].frame.iloc[0]
        panels.append(panel(tables, "swapped", f"“{row['word']}” for “{row['instead_of']}”"))
    last = len(sides) - 1
    return FigurePart(
        name="lecture_sentence",
        question="Does “creature” look at “fluffy” and “blue”?",
        picture=plots.token_matrices(panels, "attention weight"),
        alt=Sentence(
            "Token-labelled attention matrices side by side. Planted: “creature” gives "
            "{fluffy:.3f} to “fluffy” and {blue:.3f} to “blue”. {model}, {name}: on “{prompt}”.",
            **{key: answer[key] for key in ("fluffy", "blue")},
            model=Cell("sides", last, "model"),
            name=Cell("sides", last, "head"),
            prompt=Cell("sides", last, "prompt"),
        ),
        answer=Sentence(
            "In the planted model “creature” → “fluffy” is {fluffy:.3f} (known answer "
            "{fluffy_answer:.3f}), → “blue” {blue:.3f} ({blue_answer:.3f}), “forest” → “verdant” "
            "{verdant:.3f} ({verdant_answer:.3f}), and “roaming” rests on the first token with "
            "{rest:.3f} ({rest_answer:.3f})." + said,
            **answer,
            **of_models,
        ),
        tables=("lecture", "sides", *(["swapped"] if "swapped" in tables else [])),
        how_to_read="Each row is a word that asks, each column a word that may be looked at; a row "
        "sums to 1, and numbers below 0.05 are left out. On the left, weights that were built to "
        "do what the lectures say; then, in each model, the head whose nouns look at adjectives "
        "most (without such words, whose pattern depends on the words most)." + _missing(sides),
        scene=CHAPTER,
        change_our_mind=Sentence(
            "One sentence is an example, no evidence. The known answer checks the measurement: "
            "{fluffy:.6f} against {fluffy_answer:.6f}. The sections below ask whether {name} does "
            "the same in other sentences.",
            **{key: answer[key] for key in ("fluffy", "fluffy_answer")},
            name=Cell("head", 0, "name"),
        ),
        facts={"null": "planted weights with a known answer"},
        view=_states(tables, sides[-1]),
    )


def _said_of_models(tables: Tables, sides: "list[Side]") -> tuple[str, dict[str, Cell]]:
    """What the models do, sentence by sentence, and the cells of these sentences."""
    said, cells = "", {}
    for number, side in enumerate(sides):
        if side.name == "planted" or side.name not in tables["lecture"].frame:
            continue
        own = side.name
        said += (
            f" {{{own}_model}}'s {{{own}_head}} gives “creature” → “fluffy” {{{own}_fluffy:.2f}} "
            f"and “blue” {{{own}_blue:.2f}}."
        )
        cells |= {
            f"{own}_model": Cell("sides", number, "model"),
            f"{own}_head": Cell("sides", number, "head"),
            f"{own}_fluffy": Cell("lecture", 0, own),
            f"{own}_blue": Cell("lecture", 1, own),
        }
    if "swapped" in tables:
        said += (
            " With “{word}” for “{instead_of}”, which in the model's language decides what "
            "follows, it gives that word {swapped:.2f}."
        )
        cells |= cells_of("swapped", "word", "instead_of", swapped="weight")
    return said, cells


def _missing(sides: "list[Side]") -> str:
    """GPT-2 belongs beside them; where it is not, the page says how to add it."""
    from interp.loading.names import family_name

    if family_name(sides[-1].model.name) is not None:
        return ""
    return f" GPT-2 is not on this page: “{ADD_GPT2}” makes one with it."


def _states(tables: Tables, side: "Side") -> views.View:
    states = measures.attention_states(side.model, side.tokens)
    by_adjectives = "adjectives_overview" in tables
    return views.attention(
        [plots.visible_token(text) for text in side.texts],
        states,
        {plots.head_label(*side.at): NOUN_ROLE} if by_adjectives else {},
    )


# ------------------------------------------------------------------------------ why this score


def why(tables: Tables, sides: "list[Side]") -> FigurePart:
    """Scores as sums, the planted model's beside the others'."""
    names = tuple(tables["score"].frame.columns)
    cells = cells_of("score", *names)

    def some(*wanted: str) -> dict[str, Cell]:
        return {name: cells[name] for name in wanted}

    name = Cell("head", 0, "name")
    planted = _planted_cells(tables)
    return FigurePart(
        name="why_this_score",
        question="Why does this head attend here?",
        picture=plots.score_split(tables["split"].frame, tables["split_total"].frame),
        alt=Sentence(
            "For each model, the scores of a noun's keys as stacked bars of terms. Planted: an "
            "adjective in reach scores {p_class:.0f} for its class and {p_place:.0f} for its "
            "place, the first token {p_sink:.0f} as a sink. {name}: “{query}” scores “{key}” "
            "{score:.2f}.",
            **planted,
            **some("query", "key", "score"),
            name=name,
        ),
        answer=Sentence(
            "In the planted model “fluffy” scores {p_class:.2f} for being an adjective and "
            "{p_place:.2f} for standing near, which beats the first token's {p_sink:.2f}; either "
            "alone would not. In {name} “{query}” scores “{key}” {score:.2f} (attention "
            "{weight:.2f}), {preference:.2f} above “{other}”. Of this, {top_key_share:.2f} comes "
            "from what the keys hold of {top_key_source}; the largest single pair is "
            "{top_query_source_of_pair} asking and {top_key_source_of_pair} answering, "
            "{top_pair:.2f}.",
            **planted,
            **{k: v for k, v in cells.items() if k in _ANSWERED},
            name=name,
        ),
        tables=("split", "split_total", "score", "key_sources"),
        how_to_read="A query is a sum of what was written to its place (token, position, earlier "
        "heads and MLPs, biases), a key likewise, and a score is the sum over all pairs. Bars to "
        "the right raise a key's score, bars to the left lower it, the diamond is their sum. What "
        "is equal for all keys drops out in the softmax: only differences between rows tell why.",
        scene="the dot products of queries and keys in chapter 6",
        change_our_mind=Sentence(
            "Terms that do not sum to the score: the {n_terms} terms of this one sum to "
            "{sum_of_terms:.6f}, which leaves {residual:.1e}; in the planted model {p_residual:.1e}"
            " is left. The scale of the norm is held at its value; another input would have "
            "another one.",
            **some("n_terms", "sum_of_terms", "residual"),
            p_residual=Cell("split_total", 0, "residual"),
        ),
        facts={"null": "the other key: a score matters only relative to those of other keys"},
        view=_terms_view(tables, sides[-1]),
    )


_ANSWERED = {
    "query",
    "key",
    "other",
    "score",
    "weight",
    "preference",
    "top_key_share",
    "top_key_source",
    "top_query_source_of_pair",
    "top_key_source_of_pair",
    "top_pair",
}


def _planted_cells(tables: Tables) -> dict[str, Cell]:
    """Where the planted terms of “fluffy” and of the first token stand."""
    frame = tables["split"].frame
    wanted = {
        "p_class": ("fluffy", "adjective class"),
        "p_place": ("fluffy", "one to three back"),
        "p_sink": ("<bos>", "sink (bias)"),
    }
    planted = frame["side"] == "planted"
    found = {}
    for name, (key, source) in wanted.items():
        rows = frame.index[planted & (frame["key"] == key) & (frame["source"] == source)]
        found[name] = Cell("split", int(rows[0]), "term")
    return found


def _terms_view(tables: Tables, side: "Side") -> views.View:
    """The model's part of the figure, key by key."""
    parts = _of_side(tables["split"].frame, side)
    totals = _of_side(tables["split_total"].frame, side)
    keys = totals["key_pos"].tolist()
    sources = list(dict.fromkeys(parts["source"]))
    terms = np.zeros((len(sources), 1, len(keys)))
    for row in parts.itertuples():
        terms[sources.index(row.source), 0, keys.index(row.key_pos)] = row.term
    texts = [plots.visible_token(text) for text in totals["key"]]
    query = plots.visible_token(totals["query"].iloc[0])
    return views.score_terms([query], texts, sources, terms, side.title)


def _of_side(frame: "pd.DataFrame", side: "Side") -> "pd.DataFrame":
    return frame[frame["side"] == side.name]
