"""The measurements behind `interp verify --published`, one function per section.

Sources of the published numbers: Radford et al. 2019 and its weights (counts), TransformerLens's
tests and exploratory-analysis notebook (loss, eight prompts), Wang et al. 2022 (arXiv:2211.00593),
Hanna et al. 2023 (arXiv:2305.00586), Olsson et al. 2022 (arXiv:2209.11895) and a replication with
50 sequences, Elhage et al. 2021, Ran-Milo et al. 2026 (arXiv:2604.14722) and its replications,
Yang et al. 2018 (arXiv:1711.03953). Tolerances were declared before anything was measured.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from studies._published import Row, Sizes

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from interp.core import HookedGPT

TL_TESTS, TL_DEMO = "TransformerLens tests", "TransformerLens demo"
WANG, HANNA = "Wang et al. 2022", "Hanna et al. 2023"
OLSSON, ELHAGE = "replication of Olsson et al. 2022", "Elhage et al. 2021"
RAN_MILO, LITERATURE = "Ran-Milo et al. 2026", "arithmetic"
OWN_TEXTS, OWN_SENTENCES = "our texts", "our sentences"
MIN_AUC = 0.9  # declared for sets of heads

COUNTS = {
    "parameters": 124_439_808,
    "parameters of attention": 28_348_416,
    "parameters of MLPs": 56_669_184,
    "parameters of norms": 38_400,
    "parameters of the token embedding": 38_597_376,
    "parameters of the position embedding": 786_432,
}
HELLO_LOSS = 5.331855773925781
INDUCTION = {(5, 5): 0.932, (6, 9): 0.913, (7, 10): 0.910, (5, 1): 0.908, (7, 2): 0.833}
PREVIOUS, DUPLICATE = ((4, 11), (2, 2)), ((0, 1), (3, 0))
NAME_MOVERS, NEGATIVE = ((9, 9), (9, 6), (10, 0)), ((10, 7), (11, 10))
COPYING_INDUCTION = ((5, 1), (5, 5), (6, 9))
K_COMPOSITION = (((3, 3), (5, 1)), ((2, 2), (5, 1)), ((3, 3), (6, 9)), ((3, 3), (5, 5)))
SURGICAL, GLOBAL = 0.01, 0.1  # tolerances of sink interventions
TOP_FIVE, N_EIGHT = 5, 8


# ----------------------------------------------------------------------------------- loading


def loading(model: "HookedGPT", sizes: Sizes) -> Iterator[Row]:
    """Counts, the loss of "Hello world!", the eight prompts, and what processing must keep."""
    for what, measured in zip(COUNTS, _counts(model), strict=True):
        yield Row("loading", what, COUNTS[what], measured, tolerance=0.0, source="Radford et al.",
                  kind="identity")  # fmt: skip
    tokens, _ = model.to_tokens("Hello world!")
    yield Row("loading", 'loss of "Hello world!" (nats)', HELLO_LOSS, _loss(model, tokens),
              tolerance=1e-3, source=TL_TESTS)  # fmt: skip
    yield from _eight(model)
    yield from _first_prompt(model)
    b_U = _folded_bias(model)
    john, mary = (_token(model, name) for name in (" John", " Mary"))
    yield Row("loading", "folded unembedding bias: John minus Mary (logits)", 1.2,
              float(b_U[john] - b_U[mary]), tolerance=0.05, source=TL_DEMO)  # fmt: skip
    yield from _identities(model)


def _counts(model: "HookedGPT") -> list[int]:
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}

    def of(*parts: str) -> int:
        return sum(n for name, n in sizes.items() if any(part in name for part in parts))

    parts = (".attn.",), (".mlp.",), (".ln1.", ".ln2.", "ln_final."), ("W_E",), ("W_pos",)
    return [sum(sizes.values()), *(of(*part) for part in parts)]


def _loss(model: "HookedGPT", tokens: "Tensor") -> float:
    import torch

    with torch.no_grad():
        return float(model.loss(tokens))


def _token(model: "HookedGPT", text: str) -> int:
    (token,) = model.tokenizer.encode(text, bos=False)
    return token


def _eight(model: "HookedGPT") -> Iterator[Row]:
    """Logit differences of the demo's prompts, one by one."""
    from studies._published_circuits import EIGHT_DIFFERENCES, eight_prompts

    prompts = zip(eight_prompts(), EIGHT_DIFFERENCES, strict=True)
    for number, ((text, receiver, giver), published) in enumerate(prompts, start=1):
        logits = _last_logits(model, text)
        measured = float(logits[_token(model, receiver)] - logits[_token(model, giver)])
        yield Row("loading", f"prompt {number} of eight:{receiver} against{giver} (logits)",
                  published, measured, tolerance=2e-3, source=TL_DEMO)  # fmt: skip


def _last_logits(model: "HookedGPT", text: str) -> "Tensor":
    import torch

    tokens, _ = model.to_tokens(text)
    with torch.no_grad():
        return model(tokens, logits_at=[-1])[0, 0].double()


def _first_prompt(model: "HookedGPT") -> Iterator[Row]:
    """The notebook's first prompt; its digits are printed with two decimals."""
    text = "After John and Mary went to the store, John gave a bottle of milk to"
    logits = _last_logits(model, text)
    shares = logits.softmax(-1)
    what = "the notebook's first prompt"
    mary = _token(model, " Mary")
    centred = float(logits[mary] - logits.mean())
    yield Row("loading", f"{what}: centred logit of Mary", 18.09, centred, tolerance=0.01,
              source=TL_DEMO)  # fmt: skip
    for word, published in ((" Mary", 0.7007), (" the", 0.0467), (" John", 0.0453)):
        yield Row("loading", f"{what}: probability of{word}", published,
                  float(shares[_token(model, word)]), tolerance=5e-4, source=TL_DEMO)  # fmt: skip


def _folded_bias(model: "HookedGPT") -> "Tensor":
    from interp.measures import folded_unembedding

    return folded_unembedding(model).b_U


def _identities(model: "HookedGPT") -> Iterator[Row]:
    """What processing and algebra must keep; the last four in float64, where they are exact."""
    import copy

    import torch

    from interp.core import hook_name, processing
    from interp.measures.gauge import with_gauge

    tokens, _ = model.to_tokens("The old town lies between two rivers, and its bridges are")

    def row(what: str, bound: float, apart: "Tensor | float") -> Row:
        return Row("loading", what, bound, float(apart), "at most", source=LITERATURE,
                   kind="identity")  # fmt: skip

    with torch.no_grad():
        plain = model(tokens).log_softmax(-1)
        folded = processing.fold_ln(model)
        for step in ("center_writing_weights", "center_unembed", "fold_value_biases"):
            folded = getattr(processing, step)(folded)
        apart = (folded(tokens).log_softmax(-1) - plain).abs().max()
        yield row("folded and centred weights: change of a log-probability", 1e-4, apart)
        del folded
        exact = copy.deepcopy(model).double()
        logits = exact(tokens)
        apart = (processing.fold_value_biases(exact)(tokens) - logits).abs().max()
        yield row("value biases folded into b_O: change of a logit", 1e-6, apart)
        apart = (with_gauge(exact)(tokens) - logits).abs().max()
        yield row("another basis within every head: change of a logit", 1e-6, apart)
        names = [hook_name(part, layer) for part in ("result", "attn_out", "pattern")
                 for layer in range(exact.config.n_layers)]  # fmt: skip
        _, cache = exact.run_with_cache(tokens, names)
        apart = max(
            (cache["result", layer].sum(2) + block.attn.b_O - cache["attn_out", layer]).abs().max()
            for layer, block in enumerate(exact.blocks)
        )
        yield row("heads and b_O against what attention writes", 1e-5, apart)
        for block in exact.blocks:
            block.attn.b_K.zero_()
        _, without = exact.run_with_cache(tokens, names)
        layers = range(exact.config.n_layers)
        apart = max((without["pattern", la] - cache["pattern", la]).abs().max() for la in layers)
        yield row("key biases taken away: change of a pattern", 1e-6, apart)


# ------------------------------------------------------------------------------------- heads


def heads(model: "HookedGPT", sizes: Sizes) -> Iterator[Row]:
    """Induction scores, ranks of published heads, and what name movers copy."""
    scores = _stripes(model, sizes)
    for (layer, head), published in INDUCTION.items():
        yield Row("heads", f"induction score of L{layer}H{head}", published,
                  float(scores["induction"][layer, head]), tolerance=0.03, source=OLSSON,
                  note=f"{sizes.n_sequences} sequences of random tokens")  # fmt: skip
    for role, named, source in (
        ("previous", PREVIOUS, OLSSON), ("duplicate", DUPLICATE, WANG),
        ("induction", tuple(INDUCTION), OLSSON),
    ):  # fmt: skip
        yield _rank_row("heads", f"{role} token" if role != "induction" else role, named,
                        scores[role], source)  # fmt: skip
    for (layer, head), score in zip(COPYING_INDUCTION, _eigenvalue_scores(model), strict=True):
        yield Row("heads", f"copying eigenvalue score of L{layer}H{head}", 0.0, score, "at least",
                  source=ELHAGE)  # fmt: skip
    yield from _names_copied(model, sizes)


def _stripes(model: "HookedGPT", sizes: Sizes) -> dict[str, np.ndarray]:
    """Mean attention by head: one back, to the first showing, and to what followed it there."""
    import torch

    from interp import measures
    from interp.core import hook_name

    bos, n = model.tokenizer.bos_id, sizes.block
    rng = np.random.default_rng(0)
    words = measures.ordinary_tokens(model, bos)
    blocks = rng.choice(words, (sizes.n_sequences, n))
    tokens = np.concatenate([np.full((len(blocks), 1), bos), blocks, blocks], axis=1)
    layers = range(model.config.n_layers)
    sums = {role: np.zeros((len(layers), model.config.n_heads)) for role in _BACK}
    for rows in torch.as_tensor(tokens, device=model.W_E.device).split(8):
        with torch.no_grad():
            _, cache = model.run_with_cache(rows, [hook_name("pattern", la) for la in layers])
        for layer in layers:
            pattern = cache["pattern", layer]
            for role, back in _BACK.items():
                distance = back(n)
                stripe = pattern.diagonal(-distance, -2, -1)
                # Queries of the second showing; for one back, all but the first two.
                start = 2 - distance if distance == 1 else n + 1 - distance
                sums[role][layer] += stripe[..., start:].mean(-1).sum(0).cpu().numpy()
    return {role: total / len(tokens) for role, total in sums.items()}


_BACK: dict[str, Callable[[int], int]] = {
    "previous": lambda n: 1,
    "duplicate": lambda n: n,
    "induction": lambda n: n - 1,
}


def _rank_row(
    section: str, what: str, named: Sequence[tuple[int, ...]], values: np.ndarray, source: str,
    label: str = "heads",
) -> Row:  # fmt: skip
    from studies._head_roles_others import rank_auc

    mask = np.zeros(values.shape, dtype=bool)
    for at in named:
        mask[at] = True
    names = ", ".join(f"L{at[0]}H{at[1]}" for at in named)
    found = rank_auc(values.ravel(), mask.ravel())
    return Row(section, f"{what}: rank of {names} among all {label} (AUC)", MIN_AUC, found,
               "at least", source=source)  # fmt: skip


def _eigenvalue_scores(
    model: "HookedGPT", heads: Sequence[tuple[int, int]] = COPYING_INDUCTION
) -> list[float]:
    """Of the circuits from token to token, which are `W_V W_O` between the two vocabularies.

    The product of the vocabularies is formed once: layers behind the first read the same tokens.
    """
    import torch

    from interp.measures import FactoredMatrix, head_weights
    from interp.measures.circuits import in_chunks, token_inputs, token_outputs, vocabulary

    weights = head_weights(model)
    with torch.no_grad():
        between = sum(
            token_outputs(model, chunk) @ token_inputs(model, heads[0][0], chunk)
            for chunk in in_chunks(vocabulary(model))
        )
    scores = []
    for at in heads:
        eigenvalues = FactoredMatrix(between @ weights.W_V[at], weights.W_O[at]).eigenvalues
        size = float(eigenvalues.abs().sum())
        scores.append(float(eigenvalues.real.sum()) / size if size else 0.0)
    return scores


def _names_copied(model: "HookedGPT", sizes: Sizes) -> Iterator[Row]:
    """Share of names among the five words that a head's output raises, or lowers, most."""
    pairs = _two_names(model, sizes)
    raised, lowered = _name_copies(model, pairs)
    for layer, head in NAME_MOVERS:
        yield Row("heads", f"names that L{layer}H{head} copies (among its first five)", 0.95,
                  float(raised[layer, head]), "at least", source=WANG,
                  note=OWN_SENTENCES)  # fmt: skip
    others = _mean_of_others(raised, NAME_MOVERS)
    yield Row("heads", "the same, mean of the other heads", 0.2, others, "at most", source=WANG,
              note=OWN_SENTENCES)  # fmt: skip
    for layer, head in NEGATIVE:
        yield Row("heads", f"names that L{layer}H{head} lowers (among its last five)", 0.98,
                  float(lowered[layer, head]), source=WANG, note=OWN_SENTENCES)  # fmt: skip
    others = _mean_of_others(lowered, NEGATIVE)
    yield Row("heads", "the same, mean of the other heads", 0.12, others, source=WANG,
              note=OWN_SENTENCES)  # fmt: skip


def _mean_of_others(values: np.ndarray, named: Sequence[tuple[int, int]]) -> float:
    kept = np.ones(values.shape, dtype=bool)
    for at in named:
        kept[at] = False
    return float(values[kept].mean())


def _two_names(model: "HookedGPT", sizes: Sizes) -> Any:
    from studies import _pairs

    pairs = _pairs.answer_pairs(model, "indirect_objects", sizes.n_pairs, 0)
    assert pairs is not None  # the tokenizer is GPT-2's
    return pairs


def _name_copies(model: "HookedGPT", pairs: Any) -> tuple[np.ndarray, np.ndarray]:
    """The stream behind the first block, at the names, through each head to the logits."""
    import torch

    from interp.core import hook_name

    at = [pairs.marks[mark] for mark in ("name 1", "name 2", "giver again")]
    tokens = pairs.pairs.clean
    name = tokens[:, at].flatten()
    shape = (model.config.n_layers, model.config.n_heads)
    raised, lowered = np.zeros(shape), np.zeros(shape)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, [hook_name("resid_post", 0)])
        stream = cache["resid_post", 0][:, at].flatten(0, 1)[None]
        for layer, block in enumerate(model.blocks):
            values = block.attn.queries_keys_values(block.ln1(stream))[2][0]
            written = torch.einsum("nhe,hed->hnd", values, block.attn.W_O)
            for sign, shares in ((1, raised), (-1, lowered)):
                logits = model.logits(sign * written)
                five = logits.topk(TOP_FIVE, dim=-1).indices
                shares[layer] = (five == name[:, None]).any(-1).double().mean(-1).cpu().numpy()
    return raised, lowered


# -------------------------------------------------------------------------------------- mask


def mask(model: "HookedGPT", sizes: Sizes) -> Iterator[Row]:
    """Nothing leaks, and what becomes of attention on position 0 after each intervention."""
    from interp.measures.sink_causes import PUBLISHED, sink_interventions

    tokens = _texts(model, sizes)
    yield Row("mask", "change of a logit before a changed token", 0.0, _leak(model, tokens),
              "at most", source=LITERATURE, kind="identity")  # fmt: skip
    note = f"layers 4 to 11; {len(tokens)} texts of ours, {sizes.text_tokens} tokens each"
    frame = sink_interventions(model, tokens).set_index("intervention")
    for name, published in PUBLISHED.items():
        if published is not None:
            broad = name in ("no MLP", "no positions")
            yield Row("mask", f"attention on position 0: {name}", published,
                      float(frame.loc[name, "first"]), tolerance=GLOBAL if broad else SURGICAL,
                      source=RAN_MILO, note=note)  # fmt: skip
    yield Row("mask", "the same, the BOS token's own vector set to 0", 0.561,
              _without_bos_vector(model, tokens), tolerance=SURGICAL, source=RAN_MILO,
              note=note)  # fmt: skip


def _texts(model: "HookedGPT", sizes: Sizes) -> np.ndarray:
    """English stories of ours, two behind each other, BOS first, cut to one length."""
    from studies._english import stories

    told = [text for _, text in stories(2 * sizes.n_texts, 0)]
    ids = [
        model.tokenizer.encode(f"{one} {two} {one}")[: sizes.text_tokens]
        for one, two in zip(told[::2], told[1::2], strict=True)
    ]
    return np.array(ids)


def _leak(model: "HookedGPT", tokens: np.ndarray) -> float:
    import torch

    rows = torch.as_tensor(tokens[:1], device=model.W_E.device)
    middle = rows.shape[1] // 2
    other = rows.clone()
    other[0, middle] = int(rows[0, middle]) ^ 1
    with torch.no_grad():
        return float((model(rows) - model(other))[:, :middle].abs().max())


def _without_bos_vector(model: "HookedGPT", tokens: np.ndarray) -> float:
    from interp.measures.sink_causes import sink_layers
    from interp.measures.sinks import attention_to

    def nothing_at_first(value: "torch.Tensor", point: object) -> "torch.Tensor":
        value[:, 0] = 0.0
        return value

    with model.hooks(fwd_hooks=[("hook_embed", nothing_at_first)]):
        found = attention_to(model, tokens, 0)
    return float(found[:, list(sink_layers(model.config.n_layers))].mean())


# ---------------------------------------------------------------------------------- circuits


def circuits(model: "HookedGPT", sizes: Sizes) -> Iterator[Row]:
    """Composition beside its null, and the rank of what can be said."""
    from interp.measures import composition_scores, head_weights

    n_heads = model.config.n_heads
    weights = head_weights(model)
    keys = composition_scores(weights)[1].cpu().numpy()
    named = [(a * n_heads + b, c * n_heads + d) for (a, b), (c, d) in K_COMPOSITION]
    earlier = np.arange(len(keys))[:, None] // n_heads < np.arange(len(keys))[None] // n_heads
    where = np.full(keys.shape, -1)
    where[earlier] = np.arange(earlier.sum())
    row = _rank_row("circuits", "K-composition", [(where[at], 0) for at in named],
                    keys[earlier][:, None], OLSSON, "pairs")  # fmt: skip
    pairs = ", ".join(f"L{a}H{b} to L{c}H{d}" for (a, b), (c, d) in K_COMPOSITION)
    yield Row("circuits", f"K-composition: rank of {pairs} (AUC)", MIN_AUC, row.measured,
              "at least", source="public replication")  # fmt: skip
    yield Row("circuits", "composition score after a random rotation (root mean square)",
              model.config.d_model**-0.5, _rotated_scores(weights, sizes.n_rotations),
              tolerance=0.001, source=LITERATURE, kind="identity")  # fmt: skip
    most = model.config.d_model + 1
    yield Row("circuits", "rank of all logits, at most d_model + 1", most, _logit_rank(model),
              "at most", source="Yang et al. 2018", kind="identity")  # fmt: skip


def _rotated_scores(weights: Any, n_rotations: int) -> float:
    """Root mean square K-composition of real heads, the reader turned by random rotations."""
    import torch

    generator = torch.Generator().manual_seed(0)
    n_layers, _, d_model, _ = weights.W_Q.shape
    squares = []
    for number in range(n_rotations):
        drawn = torch.randn(d_model, d_model, generator=generator)
        turn = torch.linalg.qr(drawn)[0].to(weights.W_Q)
        source = number % (n_layers // 2)
        target = n_layers - 1 - source
        written = (weights.W_V[source] @ weights.W_O[source])[:2]  # two heads are enough
        sought = (weights.W_K[target] @ weights.W_Q[target].mT)[:2]
        product = torch.einsum("adm,mn,bne->abde", written, turn, sought)
        norms = written.flatten(1).norm(dim=1)[:, None] * sought.flatten(1).norm(dim=1)
        squares.append((product.flatten(2).norm(dim=2) / norms).square().mean())
    return math.sqrt(float(torch.stack(squares).mean()))


def _logit_rank(model: "HookedGPT") -> int:
    """Rank of what maps the normed stream, and a constant, to the logits."""
    import torch

    from interp.measures import folded_unembedding

    folded = folded_unembedding(model)
    rows = torch.cat([folded.W_U, folded.b_U[None]]).double()
    gram = rows @ rows.T
    lengths = gram.diagonal().clamp(min=1e-300).rsqrt()
    eigenvalues = torch.linalg.eigvalsh(lengths[:, None] * gram * lengths)
    return int((eigenvalues > 1e-10 * eigenvalues.max()).sum())


# -------------------------------------------------------------------------------------- lens


def lens(model: "HookedGPT", sizes: Sizes) -> Iterator[Row]:
    """The eight prompts through the lens, and which head writes the answer."""
    import pandas as pd

    from interp.measures import depths_of
    from interp.measures.attribution import direct_attribution
    from studies._published_circuits import EIGHT_MEAN, eight_prompts

    depths = depths_of(model)
    read, frames, said = [], [], 0.0
    for text, receiver, giver in eight_prompts():
        right, wrong = _token(model, receiver), _token(model, giver)
        read.append(_lens_differences(model, text, right, wrong))
        tokens, _ = model.to_tokens(text)
        frames.append(direct_attribution(model, tokens, right, wrong))
        logits = _last_logits(model, text)
        said += float(logits[right] - logits[wrong]) / N_EIGHT
    by_depth = dict(zip([depth.label for depth in depths], np.mean(read, axis=0), strict=True))
    yield from _lens_rows(by_depth, EIGHT_MEAN)
    parts = pd.concat(frames)
    total = parts["contribution"].sum() / len(frames)
    yield Row("lens", "logit lens at the end against the model itself (logits)", 1e-3,
              abs(float(np.mean(read, axis=0)[-1]) - said), "at most", source=LITERATURE,
              kind="identity")  # fmt: skip
    yield Row("lens", "direct contributions of all parts against the model itself (logits)", 1e-3,
              abs(float(total) - said), "at most", source=LITERATURE, kind="identity")  # fmt: skip
    yield Row("lens", "direct contributions of all parts, in all (logits)", EIGHT_MEAN,
              float(total), tolerance=2e-3, source=TL_DEMO)  # fmt: skip
    writes = parts[parts["component"] == "head"].groupby(["layer", "head"])["contribution"].sum()
    values = writes.unstack().to_numpy()
    yield _rank_row("lens", "direct contribution", ((9, 9), (9, 6)), values, WANG)
    yield _rank_row("lens", "direct contribution against", NEGATIVE, -values, WANG)


def _lens_differences(model: "HookedGPT", text: str, right: int, wrong: int) -> list[float]:
    """The logit difference that norm and unembedding read at each depth, at the end."""
    import torch

    from interp.measures import depths_of

    tokens, _ = model.to_tokens(text)
    names = [depth.hook for depth in depths_of(model)]
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names)
        stream = torch.stack([cache[name][0, -1] for name in names])[None]
        logits = model.logits(stream)[0].double()
    return (logits[:, right] - logits[:, wrong]).tolist()


def _lens_rows(by_depth: dict[str, float], mean: float) -> Iterator[Row]:
    labels, values = list(by_depth), np.array(list(by_depth.values()))
    before = [abs(value) for name, value in by_depth.items() if _layer_of(name) < 7]
    steps = np.diff(values)
    yield Row("lens", "logit lens, largest difference before layer 7 (about 0; logits)", 1.0,
              float(max(before)), "at most", source=TL_DEMO)  # fmt: skip
    at = labels.index("L9 attn") - 1
    yield Row("lens", "logit lens, rank of layer 9's attention among all steps", 1.0,
              float(1 + (steps > steps[at]).sum()), tolerance=0.0, source=TL_DEMO)  # fmt: skip
    yield Row("lens", "logit lens, change over layers 10 and 11 (a drop; logits)", 0.0,
              float(values[-1] - by_depth["L9 mlp"]), "at most", source=TL_DEMO)  # fmt: skip
    yield Row("lens", "logit lens, difference at the end (logits)", mean, float(values[-1]),
              tolerance=2e-3, source=TL_DEMO)  # fmt: skip


def _layer_of(label: str) -> int:
    return -1 if label == "embed" else int(label.split()[0][1:])


# ---------------------------------------------------------------------------------- patching


def patching(model: "HookedGPT", sizes: Sizes) -> Iterator[Row]:
    """Indirect objects and greater-than on sentences of ours; gradients against exact patches."""
    import pandas as pd

    from interp.measures import approximation_quality, compare_with_exact, estimate_patches
    from interp.measures.patching import patch_heads
    from interp.reporting.results import Table
    from studies import StudyConfig, _circuit_study, _published_circuits

    pairs, config = _two_names(model, sizes), StudyConfig(quick=sizes.n_pairs < Sizes.n_pairs)
    sweep = _circuit_study.head_sweep(model, pairs, config)
    tables = {
        "heads": Table(sweep, "heads"),
        "overview": Table(pd.DataFrame({"n_prompts": [len(pairs)]}), "in all"),
    }
    circuit = _circuit_study.Circuit(pairs, pairs, tables, [])
    found = _published_circuits.compared(model, circuit, config)
    for row in found["published"].frame.itertuples():
        judged = not math.isnan(row.tolerance)
        yield Row("patching", row.what, row.published, row.measured, tolerance=row.tolerance,
                  source=_source_of(row.what), note="" if judged else OWN_SENTENCES)  # fmt: skip
    for row in found["published_heads"].frame.itertuples():
        yield Row("patching", f"{row.role}: rank of {row.published_heads} by {row.by} (AUC)",
                  MIN_AUC, row.rank_auc, "at least", source=_source_of(row.role),
                  note=OWN_SENTENCES)  # fmt: skip
    exact = patch_heads(model, pairs.pairs, [pairs.metric])
    estimates = estimate_patches(model, pairs.pairs, pairs.metric)
    quality = approximation_quality(compare_with_exact(estimates, exact))
    yield Row("patching", "gradients against exact patches of heads: correlation", 0.9,
              float(quality["r"].iloc[0]), "at least", source="Nanda 2023",
              note=OWN_SENTENCES)  # fmt: skip


def _source_of(what: str) -> str:
    if "greater-than" in what:
        return HANNA
    return TL_DEMO if "eight" in what or "the same" in what else WANG


SECTIONS: dict[str, Callable[["HookedGPT", Sizes], Iterator[Row]]] = {
    "loading": loading,
    "heads": heads,
    "mask": mask,
    "circuits": circuits,
    "lens": lens,
    "patching": patching,
}
