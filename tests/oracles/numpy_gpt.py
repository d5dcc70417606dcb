"""A GPT in NumPy, head by head and query by query: the oracle for the real one.

Written from the papers (Vaswani et al. 2017, Radford et al. 2019, Ba et al. 2016), not from the
library: no shared code, no shared layout beyond the weight names.
"""

import math

import numpy as np


def activations(model, tokens, allowed=None):
    """All activations of one sequence under TransformerLens's names, float64.

    Args:
        model: a HookedGPT; only its config and its TransformerLens-named weights are read.
        tokens: list of ids.
        allowed: (layer, head, query, key) -> bool; causal unless given.
    """
    config = model.config
    weights = {name: array(value) for name, value in model.state_dict().items()}
    allowed = allowed or (lambda layer, head, query, key: key <= query)
    out = {}
    stream = np.stack([weights["embed.W_E"][t] for t in tokens])
    out["hook_embed"] = stream
    if config.positions != "none":
        rows = positions(config, weights)[: len(tokens)]
        out["hook_pos_embed"] = rows
        stream = stream + rows
    for layer in range(config.n_layers):
        stream = block(config, weights, layer, stream, allowed, out)
    if config.norm == "pre":
        stream = norm(config, weights, "ln_final", stream, out)
    W_U = weights["embed.W_E"].T if config.tied else weights["unembed.W_U"]
    b_U = weights.get("unembed.b_U", 0.0)
    out["logits"] = stream @ W_U + b_U
    return out


def block(config, weights, layer, stream, allowed, out):
    name = f"blocks.{layer}"
    out[f"{name}.hook_resid_pre"] = stream
    read = norm(config, weights, f"{name}.ln1", stream, out) if config.norm == "pre" else stream
    written = attention(config, weights, layer, read, allowed, out)
    out[f"{name}.hook_attn_out"] = written
    stream = stream + written if config.residual else written
    if config.norm == "post":
        stream = norm(config, weights, f"{name}.ln1", stream, out)
    if config.d_mlp:
        out[f"{name}.hook_resid_mid"] = stream
        read = norm(config, weights, f"{name}.ln2", stream, out) if config.norm == "pre" else stream
        pre = read @ weights[f"{name}.mlp.W_in"] + weights[f"{name}.mlp.b_in"]
        post = np.vectorize(BENDS[config.activation])(pre)
        written = post @ weights[f"{name}.mlp.W_out"] + weights[f"{name}.mlp.b_out"]
        out[f"{name}.mlp.hook_pre"], out[f"{name}.mlp.hook_post"] = pre, post
        out[f"{name}.hook_mlp_out"] = written
        stream = stream + written if config.residual else written
        if config.norm == "post":
            stream = norm(config, weights, f"{name}.ln2", stream, out)
    out[f"{name}.hook_resid_post"] = stream
    return stream


def attention(config, weights, layer, read, allowed, out):
    name = f"blocks.{layer}.attn"
    n_pos, heads, width = len(read), config.n_heads, config.d_head
    packed, bias = weights[f"{name}.W_QKV"], weights[f"{name}.b_QKV"]
    q, k, v = (np.zeros((n_pos, heads, width)) for _ in range(3))
    for which, target in enumerate((q, k, v)):
        for head in range(heads):
            start = (which * heads + head) * width
            columns = slice(start, start + width)
            target[:, head] = read @ packed[:, columns] + bias[columns]
    raw, pattern = np.zeros((heads, n_pos, n_pos)), np.zeros((heads, n_pos, n_pos))
    masked = np.full((heads, n_pos, n_pos), -np.inf)
    z, result = np.zeros((n_pos, heads, width)), np.zeros((n_pos, heads, config.d_model))
    scale = math.sqrt(width) if config.attn_scale else 1.0
    if config.scale_by_inverse_layer:
        scale *= layer + 1
    for head in range(heads):
        for query in range(n_pos):
            for key in range(n_pos):
                raw[head, query, key] = q[query, head] @ k[key, head] / scale
            seen = [key for key in range(n_pos) if allowed(layer, head, query, key)]
            top = max(raw[head, query, key] for key in seen)
            exps = {key: math.exp(raw[head, query, key] - top) for key in seen}
            for key in seen:
                masked[head, query, key] = raw[head, query, key]
                pattern[head, query, key] = exps[key] / sum(exps.values())
                z[query, head] += pattern[head, query, key] * v[key, head]
        rows = slice(head * width, (head + 1) * width)
        result[:, head] = z[:, head] @ weights[f"{name}.W_O_flat"][rows]
    out |= {f"{name}.hook_q": q, f"{name}.hook_k": k, f"{name}.hook_v": v, f"{name}.hook_z": z}
    out |= {f"{name}.hook_attn_scores_raw": raw, f"{name}.hook_attn_scores": masked}
    out |= {f"{name}.hook_pattern": pattern, f"{name}.hook_result": result}
    return result.sum(1) + weights[f"{name}.b_O"]


def norm(config, weights, name, stream, out):
    rows, scales = [], []
    for row in stream:
        mean = sum(row) / len(row)
        scale = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row) + config.eps)
        rows.append((row - mean) / scale)
        scales.append([scale])
    out[f"{name}.hook_scale"], out[f"{name}.hook_normalized"] = np.array(scales), np.stack(rows)
    return np.stack(rows) * weights[f"{name}.w"] + weights[f"{name}.b"]


def positions(config, weights):
    if config.positions == "learned":
        return weights["pos_embed.W_pos"]
    table = np.zeros((config.n_ctx, config.d_model))
    for pos in range(config.n_ctx):
        for i in range(config.d_model // 2):
            angle = pos / 10_000 ** (2 * i / config.d_model)
            table[pos, 2 * i], table[pos, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return table


def gelu_new(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu(x):
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


BENDS = {"gelu_new": gelu_new, "gelu": gelu, "relu": lambda x: max(x, 0.0)}


def allowed_by(mask):
    """The masks written out again, one question at a time."""

    def one(spec, query, key):
        kind, _, argument = spec.partition(":")
        if kind == "none":
            return True
        if kind == "prefix":
            return key <= query or (query < int(argument) and key < int(argument))
        if kind == "window":
            width, _, sinks = argument.partition("+")
            return key <= query and (query - key < int(width) or key < int(sinks or 0))
        return key <= query

    def allowed(layer, head, query, key):
        entry = mask if isinstance(mask, str) else mask[layer]
        return one(entry if isinstance(entry, str) else entry[head], query, key)

    return allowed


def close(ours, expected, tolerance=1e-11):
    """Equal to rounding; without norms the stream grows to thousands, and rounding with it."""
    return np.abs(ours - expected).max() < tolerance * max(1.0, np.abs(expected).max())


def array(tensor):
    return tensor.detach().double().numpy()
