"""How many numbers a GPT has, where they are, and what one more token costs.

Closed forms from the shape alone, to be held against the live tensors (`live_parameters`), against
the count in the lecture notes (`notes_count`), and against other people's conventions. A number
that two tensors share, as a tied unembedding does with the embedding, counts once.

Source: shapes of Radford et al. 2019 and Brown et al. 2020 (GPT-3, counted as in 3Blue1Brown's
chapter 5: matrices only, the unembedding apart). The notes' formulas are quoted as they stand.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from interp.core import GPTConfig, HookedGPT

GPT2_SHAPES = {
    "GPT-2 small": GPTConfig(n_layers=12, d_model=768, n_heads=12, n_ctx=1024, d_vocab=50257),
    "GPT-2 medium": GPTConfig(n_layers=24, d_model=1024, n_heads=16, n_ctx=1024, d_vocab=50257),
    "GPT-2 large": GPTConfig(n_layers=36, d_model=1280, n_heads=20, n_ctx=1024, d_vocab=50257),
    "GPT-2 XL": GPTConfig(n_layers=48, d_model=1600, n_heads=25, n_ctx=1024, d_vocab=50257),
}
GPT3 = GPTConfig(n_layers=96, d_model=12288, n_heads=96, n_ctx=2048, d_vocab=50257, tied=False)
ATTENTION, MLP, NORM, EMBEDDING = "attention", "MLP", "norms", "embedding"
BYTES = 4  # float32


def parameter_ledger(config: GPTConfig) -> pd.DataFrame:
    """Every kind of tensor of a model.

    Returns:
        One row per kind: `group`, `name`, `formula`, `shape`, `each` (numbers in one), `copies`,
        `count` (`each * copies`), `matrix` (whether it is one, not a bias or a norm), `share`.
    """
    L, d, h, e, m = (
        config.n_layers, config.d_model, config.n_heads, config.d_head, config.d_mlp
    )  # fmt: skip
    inside = h * e
    rows = [
        (EMBEDDING, "W_E", "d_vocab × d_model", (config.d_vocab, d), 1),
        (EMBEDDING, "W_pos", "n_ctx × d_model", (config.n_ctx, d), config.positions == "learned"),
        *(
            (ATTENTION, name, "n_layers × n_heads × d_model × d_head", (d, e), L * h)
            for name in ("W_Q", "W_K", "W_V")
        ),
        (ATTENTION, "b_Q, b_K, b_V", "n_layers × 3 × n_heads × d_head", (inside,), 3 * L),
        (ATTENTION, "W_O", "n_layers × (n_heads × d_head) × d_model", (inside, d), L),
        (ATTENTION, "b_O", "n_layers × d_model", (d,), L),
        (MLP, "W_in", "n_layers × d_model × d_mlp", (d, m), L * (m > 0)),
        (MLP, "b_in", "n_layers × d_mlp", (m,), L * (m > 0)),
        (MLP, "W_out", "n_layers × d_mlp × d_model", (m, d), L * (m > 0)),
        (MLP, "b_out", "n_layers × d_model", (d,), L * (m > 0)),
        (NORM, "weights and biases", "2 × norms × d_model", (d,), 2 * _n_norms(config)),
        (EMBEDDING, "W_U", "d_model × d_vocab", (d, config.d_vocab), not config.tied),
        (EMBEDDING, "b_U", "d_vocab", (config.d_vocab,), config.unembed_bias),
    ]
    made = []
    for group, name, formula, shape, copies in rows:
        each = shape[0] * (shape[1] if len(shape) == 2 else 1)
        if copies:
            text = " × ".join(f"{size:,}" for size in shape)
            is_matrix = len(shape) == 2
            made.append((group, name, formula, text, each, int(copies), each * copies, is_matrix))
    columns = ["group", "name", "formula", "shape", "each", "copies", "count", "matrix"]
    frame = pd.DataFrame(made, columns=columns)
    return frame.assign(share=frame["count"] / frame["count"].sum())


def _n_norms(config: GPTConfig) -> int:
    if config.norm == "none":
        return 0
    in_blocks = config.n_layers * (1 if config.attn_only else 2)
    return in_blocks + (config.norm == "pre")


def gpt3_ledger() -> pd.DataFrame:
    """GPT-3's matrices, as 3Blue1Brown counts them: no biases, norms or positions."""
    ledger = parameter_ledger(GPT3)
    ledger = ledger[ledger["matrix"] & (ledger["name"] != "W_pos")]
    return ledger.assign(share=ledger["count"] / ledger["count"].sum()).reset_index(drop=True)


def live_parameters(model: HookedGPT) -> pd.DataFrame:
    """The numbers that a model holds, each storage once.

    Returns:
        One row per tensor: `name`, `group`, `shape`, `count` (0 for a tensor that is another's
        storage), `same_as` (that other tensor's name, or "").
    """
    seen: dict[int, str] = {}
    rows = []
    for name, tensor in model.named_parameters(remove_duplicate=False):
        first = seen.setdefault(tensor.untyped_storage().data_ptr(), name)
        count = tensor.numel() if first == name else 0
        shape = " × ".join(f"{size:,}" for size in tensor.shape)
        rows.append((name, _group(name), shape, count, "" if first == name else first))
    return pd.DataFrame(rows, columns=["name", "group", "shape", "count", "same_as"])


def _group(name: str) -> str:
    parts = name.split(".")
    if any(part.startswith("ln") for part in parts):
        return NORM
    return ATTENTION if "attn" in parts else MLP if "mlp" in parts else EMBEDDING


def notes_count(config: GPTConfig) -> pd.DataFrame:
    """From the count of the lecture notes to the right one, a missing term at a time.

    The notes count `3 (d / h) d` for a head's queries, keys and values, multiply by the layers but
    not by the heads, count the output matrix as `d` numbers, the second MLP matrix as `d × d`, and
    leave out biases, norms and embeddings.

    Returns:
        One row per term: `step` ("notes" or "missing"), `group`, `term`, `formula`, `count`; the
        counts sum to the model's parameters.
    """
    L, d, h, e, m = (
        config.n_layers, config.d_model, config.n_heads, config.d_head, config.d_mlp
    )  # fmt: skip
    one = 3 * (d // h) * d
    ledger = parameter_ledger(config)
    rest = ledger[ledger["group"].isin([NORM, EMBEDDING])]
    has_mlp = m > 0
    rows = [
        ("notes", ATTENTION, "queries, keys, values of one head per layer",
         "L × 3 × (d / h) × d", L * one),
        ("notes", ATTENTION, "output matrix, counted as d numbers", "L × d", L * d),
        ("notes", MLP, "first matrix and its biases", "L × (d × m + m)", L * (d * m + m)),
        ("notes", MLP, "second matrix, counted as d × d", "L × d × d", L * d * d),
        ("missing", ATTENTION, "the other heads", "L × (h × 3 × d_head × d − 3 × (d / h) × d)",
         L * (h * 3 * e * d - one)),
        ("missing", ATTENTION, "output matrix instead of d numbers", "L × (h × d_head × d − d)",
         L * (h * e * d - d)),
        ("missing", ATTENTION, "biases", "L × (3 × h × d_head + d)", L * (3 * h * e + d)),
        ("missing", MLP, "second matrix is m × d", "L × (m × d − d × d)",
         L * (m * d - d * d) if has_mlp else -L * d * d),
        ("missing", MLP, "bias of the second matrix", "L × d", L * d * has_mlp),
        *(("missing", row.group, row.name, row.formula, row.count)
          for row in rest.itertuples(index=False, name="Row")),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["step", "group", "term", "formula", "count"])


def conventions(config: GPTConfig) -> pd.DataFrame:
    """What others call the number of parameters of the same model.

    Returns:
        One row per convention: `convention`, `count`, `left_out`.
    """
    ledger = parameter_ledger(config)
    total = int(ledger["count"].sum())
    unembedding = config.d_model * config.d_vocab
    in_blocks = ledger["matrix"] & ledger["group"].isin([ATTENTION, MLP])
    rows = [
        ("distinct numbers (ours; Hugging Face's num_parameters)", total, "nothing"),
        (
            "unembedding counted apart",
            total + unembedding * config.tied,
            "nothing; a tied embedding counts twice",
        ),
        (
            "matrices of attention and MLP (TransformerLens's cfg.n_params)",
            int(ledger.loc[in_blocks, "count"].sum()),
            "embeddings, biases, norms",
        ),
        (
            "without positions (nanoGPT's get_num_params)",
            total - config.n_ctx * config.d_model * (config.positions == "learned"),
            "positional embedding",
        ),
    ]
    return pd.DataFrame(rows, columns=["convention", "count", "left_out"])


def per_token_costs(config: GPTConfig, contexts: Sequence[int]) -> pd.DataFrame:
    """What one more token costs behind a context of so many.

    One multiplication and one addition are two operations. Norms, softmax and activation functions
    are left out. The scores are counted in full; a kernel that leaves out masked ones needs half.

    Returns:
        One row per context: `context`; operations per token `projections` (Q, K, V, O), `scores`
        (queries with keys, and mixing the values), `mlp`, `unembedding`, `total`; numbers kept,
        in bytes of float32: `kv_cache_bytes` (all layers), `score_bytes` (scores of one layer for
        a whole prompt of that length, if they are formed).
    """
    L, d, h, e = config.n_layers, config.d_model, config.n_heads, config.d_head
    rows = []
    for context in contexts:
        parts = {
            "projections": 8 * L * d * h * e,
            "scores": 4 * L * h * e * context,
            "mlp": 4 * L * d * config.d_mlp,
            "unembedding": 2 * d * config.d_vocab,
        }
        kept = {
            "kv_cache_bytes": 2 * L * h * e * context * BYTES,
            "score_bytes": h * context**2 * BYTES,
        }
        rows.append({"context": context} | parts | {"total": sum(parts.values())} | kept)
    return pd.DataFrame(rows)


def shape_sweep(config: GPTConfig, axis: str, values: Sequence[int]) -> pd.DataFrame:
    """Parameters and costs of the same shape with other heads, depth or context.

    Args:
        config: the shape.
        axis: "n_heads" (`d_head` is what remains of `d_model`), "n_layers" or "n_ctx".
        values: along it.

    Returns:
        One row per value: `axis`, `value`, `d_head`, `parameters`, and the columns of
        `per_token_costs` at a full context.
    """
    rows = []
    for value in values:
        changes = {axis: value} | ({"d_head": None} if axis == "n_heads" else {})
        shape = replace(config, **changes, mask="causal")
        cost = per_token_costs(shape, [shape.n_ctx]).iloc[0].to_dict()
        count = int(parameter_ledger(shape)["count"].sum())
        known = {"axis": axis, "value": value, "d_head": shape.d_head, "parameters": count}
        rows.append(known | cost)
    return pd.DataFrame(rows)
