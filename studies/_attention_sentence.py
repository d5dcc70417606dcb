"""One sentence, several models side by side: the lectures' sentence, and why a noun looks where.

The planted model gives the known answer. Beside it stand the shipped small model and the model
under study (one column if that is the small model).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp import measures, planted, plots
from interp.reporting import Table
from studies import _adjectives, _attention_checks, _prompts

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT
    from studies._adjectives import Words

Tables = dict[str, Table]
SMALL = "small"
N_SENTENCES = 40  # from which the head of a model that only stands beside is chosen
N_PAIRS = 5  # pairs of sources drawn apart
# What the planted head's pairs of sources are, by construction.
PLANTED_SOURCES = {
    "token × token": "adjective class",
    "position × position": "one to three back",
    "bias × token": "sink (bias)",
}


@dataclass(frozen=True)
class Side:
    """One model on one prompt.

    Attributes:
        name: column and part of table names: "planted", "small" or "model".
        title: for pictures.
        model: the model.
        tokens: the prompt.
        texts: of its tokens.
        layer: of the head.
        head: the head.
        why: this head.
    """

    name: str
    title: str
    model: "HookedGPT"
    tokens: np.ndarray
    texts: list[str]
    layer: int
    head: int
    why: str

    @property
    def at(self) -> tuple[int, int]:
        """Layer and head."""
        return self.layer, self.head


def sides(
    model: "HookedGPT", fallback: np.ndarray, head: tuple[int, int], why: str, seed: int
) -> list[Side]:
    """The planted model, the small one, and this one, each with its head and its prompt.

    Args:
        model: the model under study.
        fallback: its prompt where its tokenizer cannot spell the sentence.
        head: its head.
        why: this head.
        seed: of the sentences that choose the small model's head.
    """
    subject = planted.plant("adjective_noun")
    ids = np.array(subject.model.tokenizer.encode(planted.LECTURE))
    (at,) = [answer.at for answer in subject.key.heads if "adjective_noun" in answer.roles]
    texts = subject.model.tokenizer.str_tokens(ids.tolist())
    made = [Side("planted", "planted model", subject.model, ids, texts, *at, "built for it")]
    if model.name != SMALL:
        made.append(_small(seed))
    title = f"{model.name}, {plots.head_label(*head)}"
    tokens, texts = _prompts.lecture_tokens(model, fallback)
    return [*made, Side("model", title, model, tokens, texts, *head, why)]


def _small(seed: int) -> Side:
    from interp.loading import load_model

    model = load_model(SMALL)
    suite = _adjectives.suites(_adjectives.words_of(model), N_SENTENCES, seed)[-1]
    heads = measures.detect_roles(
        model, [suite], roles=(_adjectives.ROLE,), n_permutations=1, n_resamples=1, seed=seed
    )
    best = heads.loc[heads["contrast_discovery"].idxmax()]
    at = int(best["layer"]), int(best["head"])
    tokens, texts = _prompts.lecture_tokens(model, np.zeros(0))
    why = "largest attention of nouns to adjectives, over the control"
    return Side("small", f"{SMALL}, {plots.head_label(*at)}", model, tokens, texts, *at, why)


# ----------------------------------------------------------------------------------- attention


def sentence_tables(all_sides: list[Side]) -> Tables:
    """Attention in the lectures' sentence, side by side, and every cell of every pattern."""
    import pandas as pd

    cells = {side.name: _attention_checks.cell_effects(side.model, side.tokens, *side.at)
             for side in all_sides}  # fmt: skip
    rows = []
    for relation, answer in _expected().items():
        query, _, key = relation.partition("->")
        row = {"query": query, "key": key.replace("|", " and "), "planted_answer": answer}
        for side in all_sides:
            places = _adjectives.places_in(side.texts)
            row[side.name] = _attention_on(cells[side.name], places, query, key)
        rows.append(row)
    lecture = pd.DataFrame(rows)
    # A model that cannot spell the sentence has no numbers on it.
    lecture = lecture.dropna(axis="columns")
    described = [
        {
            "side": side.name,
            "model": side.model.name,
            "head": plots.head_label(*side.at),
            "why": side.why,
            "prompt": " ".join(map(plots.visible_token, side.texts)),
            "n_tokens": len(side.texts),
        }
        for side in all_sides
    ]
    made = {
        "lecture": Table(
            lecture,
            "Attention in the lectures' sentence: what the planted weights must give, and what was "
            "measured on each model (probability)",
        ),
        "sides": Table(pd.DataFrame(described), "The models, their heads and their prompts"),
    }
    return made | {f"cells_{s.name}": cell_table(cells[s.name], s.texts) for s in all_sides}


def _expected() -> dict[str, float]:
    """What the planted weights must give, by relation."""
    return {
        fact.relation: fact.value
        for fact in planted.plant("adjective_noun").key.facts
        if getattr(fact, "relation", "") and fact.prompts.endswith(":lecture")
    }


def cell_table(cells: "pd.DataFrame", texts: list[str]) -> Table:
    """Cells with their tokens, and effects as shares of the largest."""
    top = max(float(cells["effect_nats"].max()), 1e-300)
    cells = cells.assign(effect_share=cells["effect_nats"] / top)
    for side in ("query", "key"):
        cells[f"{side}_token"] = [texts[place] for place in cells[f"{side}_pos"]]
    return Table(
        cells,
        "Every cell of the head's pattern: attention, share of what is written, change of the "
        "prediction without it (nats, and as a share of the largest change)",
        in_page=False,
    )


def _attention_on(cells: "pd.DataFrame", places: dict, query: str, key: str) -> float:
    """From a word's last token to all tokens of other words; "bos" is position 0."""
    wanted = [
        position
        for word in key.split("|")
        for position in ([0] if word == "bos" else places.get(word, []))
    ]
    if query not in places or not wanted:
        return float("nan")
    row = cells[(cells["query_pos"] == places[query][-1]) & cells["key_pos"].isin(wanted)]
    return float(row["weight"].sum())


def swapped(side: Side, words: "Words | None") -> Side | None:
    """The sentence with an adjective that decides something, where the language has one."""
    at = _adjectives.places_in(side.texts)
    old = _adjectives.ADJECTIVES[0]
    if words is None or not words.useful or old not in at or _adjectives.NOUN not in at:
        return None
    new = words.kinds[words.useful][0]
    (place,) = at[old]
    tokens, texts = side.tokens.copy(), list(side.texts)
    tokens[place] = new
    texts[place] = new_text = words.texts[new]
    title = f"{side.title}, “{new_text}”"
    return Side(side.name, title, side.model, tokens, texts, *side.at, side.why)


def swapped_tables(side: Side, changed: Side) -> Tables:
    """What the noun makes of the other adjective."""
    import pandas as pd

    (place,) = np.flatnonzero(side.tokens != changed.tokens).tolist()
    noun = _adjectives.places_in(side.texts)[_adjectives.NOUN][-1]
    cells = _attention_checks.cell_effects(side.model, changed.tokens, *side.at)
    here = cells[(cells["query_pos"] == noun) & (cells["key_pos"] == place)].iloc[0]
    row = {
        "word": changed.texts[place],
        "instead_of": side.texts[place],
        **{name: here[name] for name in ("weight", "use", "effect_nats")},
    }
    return {
        "swapped": Table(
            pd.DataFrame([row]),
            "The same sentence with another adjective: attention of the noun to it, its share of "
            "what is written, and the change of the prediction without it (nats)",
        ),
        "cells_swapped": cell_table(cells, changed.texts),
    }


# ------------------------------------------------------------------------------ why this score


def split_tables(all_sides: list[Side], own_words: "Words | None") -> Tables:
    """Scores as sums, side by side; models whose stream is no sum are left out."""
    import pandas as pd

    parts, totals, scores = [], [], {}
    for side in all_sides:
        if side.model.config.norm == "post" or len(side.tokens) < 2:
            continue
        places = _adjectives.places_in(side.texts)
        if side.name != "planted":
            words = own_words if side.name == "model" else _adjectives.words_of(side.model)
            # A score that the head gives rather than one that it withholds.
            side = swapped(side, words) or side
        query, key, other = places_of_score(side, places)
        split = measures.split_scores(side.model, side.tokens, *side.at, query, N_PAIRS)
        frame, of_keys = _split_frames(side, split, query)
        parts.append(frame)
        totals.append(of_keys)
        if side.name == "model":
            scores = _score_tables(side, query, key, other)
    if not scores:
        return {}
    return {
        "split": Table(
            pd.concat(parts, ignore_index=True),
            "Scores of the noun's keys, each as a sum over pairs of what query and key were made "
            "of (no unit); “bias of the keys” is equal for all keys but for the scale of the norm",
        ),
        "split_total": Table(
            pd.concat(totals, ignore_index=True),
            "The same scores as the model computes them, the sum of their terms, what is left "
            "over, and the attention (probability)",
        ),
    } | scores


def _split_frames(
    side: Side, split: "measures.SplitScores", query: int
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Terms and totals of one query's keys."""
    import pandas as pd

    known = PLANTED_SOURCES if side.name == "planted" else {}
    sources = [known.get(name, name) for name in split.sources]
    keys = np.flatnonzero(np.isfinite(split.score[query])).tolist()
    common = {"side": side.name, "title": side.title, "query": side.texts[query]}
    parts = [
        common | {"key_pos": k, "key": side.texts[k], "source": source,
                  "term": float(split.terms[number, query, k])}
        for k in keys
        for number, source in enumerate(sources)
    ]  # fmt: skip
    totals = [
        common | {"key_pos": k, "key": side.texts[k], "score": float(split.score[query, k]),
                  "sum_of_terms": float(split.terms[:, query, k].sum()),
                  "weight": float(split.weight[query, k])}
        for k in keys
    ]  # fmt: skip
    parts, totals = pd.DataFrame(parts), pd.DataFrame(totals)
    # Sources without any part in this query's scores: a planted head has three.
    parts = parts[parts.groupby("source")["term"].transform(lambda t: t.abs().max()) > 1e-9]
    totals["residual"] = (totals["sum_of_terms"] - totals["score"]).abs()
    return parts, totals


def _score_tables(side: Side, query: int, key: int, other: int) -> Tables:
    """One score, and why it is higher than another one, by what the keys were made of."""
    import pandas as pd

    terms = measures.attention_pattern(side.model, side.tokens, *side.at, [query])
    preference = measures.sources_of_preference(terms, query, key, other)
    of_key = terms[terms["key_pos"] == key]
    score, weight = of_key["score"].iloc[0], of_key["weight"].iloc[0]
    by_key = preference.groupby("key_source", sort=False)["difference"].sum()
    top = preference.iloc[0]
    row = {
        "query": plots.visible_token(side.texts[query]),
        "key": plots.visible_token(side.texts[key]),
        "other": plots.visible_token(side.texts[other]),
        "score": score,
        "sum_of_terms": of_key["term"].sum(),
        "residual": abs(of_key["term"].sum() - score),
        "weight": weight,
        "preference": preference["difference"].sum(),
        "n_terms": len(of_key),
        "top_key_source": by_key.abs().idxmax(),
        "top_key_share": by_key[by_key.abs().idxmax()],
        "top_query_source_of_pair": top["query_source"],
        "top_key_source_of_pair": top["key_source"],
        "top_pair": top["difference"],
        "bias_as_key": by_key.get("bias", 0.0),
    }
    return {
        "score": Table(
            pd.DataFrame([row]),
            "One score of the head, the sum of all its terms and what is left over; and by how "
            "much the key scores above another one (scores, no unit)",
        ),
        "key_sources": Table(
            by_key.rename("preference").sort_values(key=abs, ascending=False).reset_index(),
            "Why this key rather than the other, by what the keys were made of (scores, no unit)",
            in_page=len(by_key) <= 40,
        ),
    }


def places_of_score(side: Side, places: dict[str, list[int]]) -> tuple[int, int, int]:
    """Query, key, and the key it is held against.

    Noun, adjective (the one attended to more) and article where the sentence has them, else the
    largest weight behind position 0.
    """
    weight = measures.attention_states(side.model, side.tokens)["weight"][side.layer, side.head]
    noun = places.get(_adjectives.NOUN)
    adjectives = [at for word in _adjectives.ADJECTIVES for at in places.get(word, [])]
    if noun and adjectives:
        key = max(adjectives, key=lambda at: weight[noun[-1], at])
        return noun[-1], key, max(0, min(adjectives) - 1)
    earlier = np.tril(weight, -1)
    earlier[:, 0] = 0 if len(weight) > 2 else earlier[:, 0]
    query, key = (int(place) for place in np.unravel_index(earlier.argmax(), earlier.shape))
    return query, key, 0 if key else query
