"""One view of each kind, with numbers that a test can compute again."""

import dataclasses

import numpy as np
import pandas as pd

from interp.reporting import Cell, Sentence, views

from .conftest import drawing, make_result

TOKENS = ["<bos>", "a", " fluffy", " blue", " creature", " roamed", " the", " verdant", " forest"]
ROLES = {
    "L0H1": "previous_token",
    "L1H2": "induction",
    "L2H0": "previous_token",
    "L2H4": "first_token",
}
N_TOKENS, N_LAYERS, N_HEADS = len(TOKENS), 3, 5


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def attention_arrays(n=N_TOKENS, layers=N_LAYERS, heads=N_HEADS, seed=3):
    rng = np.random.default_rng(seed)
    raw = rng.normal(0, 2, (layers, heads, n, n))
    diagonal = np.arange(1, n)
    raw[0, 1 % heads, diagonal, diagonal - 1] += 9  # a head that looks one back
    raw[:, :, :, 0] += 3  # and all like the first
    later = np.triu(np.ones((n, n), bool), 1)
    masked = np.where(later, -np.inf, raw)
    weight = softmax(masked)
    norm = weight * rng.uniform(0.5, 4, (layers, heads, 1, n))
    return {"weight": weight, "raw score": raw, "masked score": masked, "norm-weighted": norm}


def attention(tokens=TOKENS, roles=ROLES):
    return views.attention(tokens, attention_arrays(len(tokens)), roles)


LAYERS = ["embedding", *(f"after layer {i}" for i in range(4))]


def lens_arrays(n=N_TOKENS, seed=5):
    rng = np.random.default_rng(seed)
    shape = (len(LAYERS), n)
    probability = np.sort(rng.uniform(0.02, 0.97, shape), axis=0)
    values = {"probability": probability, "entropy_nats": rng.uniform(0.1, 6, shape)}
    pinned = {}
    for name in (" forest", " field", " sea"):
        own = np.sort(rng.uniform(0, 0.6, shape), axis=0)
        pinned[name] = {
            "probability": own,
            "rank": np.sort(rng.integers(1, 900, shape), axis=0)[::-1],
        }
    return values, pinned


def lens(tokens=TOKENS, words=(" forest", " field", " the", " of", " blue")):
    values, pinned = lens_arrays(len(tokens))
    best = [
        [words[(row * 3 + column) % len(words)] for column in range(len(tokens))]
        for row in range(len(LAYERS))
    ]
    pinned = {(words[0] if i == 0 else name): own for i, (name, own) in enumerate(pinned.items())}
    return views.lens(tokens, LAYERS, best, values, pinned)


def score_arrays(n=N_TOKENS, sources=7, seed=7):
    rng = np.random.default_rng(seed)
    terms = rng.normal(0, 1.5, (sources, n, n))
    terms[:, np.triu_indices(n, 1)[0], np.triu_indices(n, 1)[1]] = np.nan
    return terms


SOURCES = ["token", "position", "L0H0", "L0H1", "L1H2", "MLP 0", "bias"]


def score_terms(tokens=TOKENS, sources=SOURCES, title="L2H4"):
    return views.score_terms(
        tokens, tokens, sources, score_arrays(len(tokens), len(sources)), title
    )


def logits(n=211, seed=11):
    return np.random.default_rng(seed).normal(0, 3, n).astype(np.float32)


def temperature(prompt=TOKENS, words=()):
    names = [*words, *(f" word{i}" for i in range(len(words), 211))]
    return views.temperature(prompt, names, logits())


def number_line(
    words=("king", "queen", "man", "woman", "uncle", "aunt", "table"),
    axis="dot product with woman − man",
):
    rng = np.random.default_rng(13)
    values = rng.normal(0, 2, len(words)) + np.where(np.arange(len(words)) % 2, 2.5, -2.5)
    groups = [("male", "female")[i % 2] for i in range(len(words) - 1)] + ["held out"]
    points = pd.DataFrame(
        {"word": pd.Series(words, dtype=object), "value": values, "group": groups}
    )
    return views.number_line(points, axis, -1.1, 1.3)


def plane(words=("king", "queen", "man", "woman"), axes=("first direction", "second direction")):
    points = pd.DataFrame(
        {
            "word": pd.Series(words, dtype=object),
            "x": [0.5, 0.7, -2.1, -1.8],
            "y": [1.9, -0.9, 1.7, -1.2],
            "group": ["royal", "royal", "common", "common"],
        }
    )
    return views.plane(points, [(words[0], words[1]), (words[2], words[3])], axes)


def rectangles(names=("W_E", "W_pos", "attention", "MLP")):
    rows = []
    for model, counts in (
        ("gpt2", (38_597_376, 786_432, 28_348_416, 56_669_184)),
        ("distilgpt2", (38_597_376, 786_432, 14_174_208, 28_334_592)),
        ("small", (60_000, 12_000, 200_000, 400_000)),
    ):
        for name, group, count in zip(
            names, ("embedding", "embedding", "attention", "MLP"), counts, strict=True
        ):
            rows.append((model, group, name, count, "d_vocab · d_model", "50257 × 768"))
    columns = ["model", "group", "name", "count", "formula", "shape"]
    return views.rectangles(pd.DataFrame(rows, columns=columns), "parameters")


def grid_values(rows=6, columns=N_TOKENS):
    values = np.random.default_rng(17).normal(0.1, 0.3, (rows, columns))
    values[3, 4] = 0.94
    values[1, 0] = np.nan
    return values


def grid(tokens=TOKENS, axes=("layer", "position")):
    rows = [f"layer {i}" for i in range(6)]
    return views.grid(
        rows, tokens, grid_values(), "recovered fraction", {"corrupted": 0.0, "clean": 1.0}, axes
    )


def flow(words=None):
    names = ["embedding", *(f"L{i}H{k}" for i in range(3) for k in range(4)), "logits"]
    if words is not None:
        names[1 : 1 + len(words)] = words
    places = [1.5, *(k for _ in range(3) for k in range(4)), 1.5]
    nodes = pd.DataFrame(
        {
            "name": pd.Series(names, dtype=object),
            "layer": [0, *(1 + i for i in range(3) for _ in range(4)), 4],
            "place": places,
        }
    )
    rng = np.random.default_rng(19)
    pairs = [(a, b) for a in range(14) for b in range(14) if nodes["layer"][a] < nodes["layer"][b]]
    edges = pd.DataFrame(
        {
            "source": pd.Series([names[a] for a, _ in pairs], dtype=object),
            "target": pd.Series([names[b] for _, b in pairs], dtype=object),
            "weight": rng.normal(0, 1, len(pairs)) ** 3,
        }
    )
    return views.flow(nodes, edges, "logit difference")


ALL = {
    "attention": attention,
    "lens": lens,
    "scores": score_terms,
    "temperature": temperature,
    "line": number_line,
    "plane": plane,
    "areas": rectangles,
    "grid": grid,
    "flow": flow,
}


def report_of(made, **changes):
    """A result with one figure for each view."""
    first = Cell("tokens", 0, "contrast")
    part = make_result().figures[0]
    figures = tuple(
        dataclasses.replace(
            part,
            name=name,
            question=f"What does the view of {name} show?",
            picture=drawing(name),
            answer=Sentence("It is {first:.2f}.", first=first),
            tables=(f"numbers_{name}",),
            view=view,
        )
        for name, view in made.items()
    )
    result = make_result(figures=figures, **changes)
    one = result.tables["tokens"]
    return dataclasses.replace(
        result, tables=result.tables | {f"numbers_{name}": one for name in made}
    )
