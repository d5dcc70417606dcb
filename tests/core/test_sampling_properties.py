"""Sampling against its definition, number by number; generation in batches, steps and beams."""

import math

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles.strategies import SEEDS, bounded, models, tokens_for

from interp.core.generation import Sampling, draw

# Eighths: equals are common, and no sum of them is rounded.
LOGITS = st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=9)
OPTIONS = st.fixed_dictionaries(
    {"temperature": st.sampled_from([0, 0.3, 1, 1.0, 2.5])},
    optional={
        "top_k": st.integers(1, 10),
        "top_p": st.floats(0.01, 1) | st.just(1),
        "min_p": st.floats(0.001, 1),
        "repetition_penalty": st.sampled_from([0.5, 1.0, 1.3]),
    },
)


def by_definition(logits, occurred, temperature=1, top_k=None, top_p=None, min_p=None,
                  repetition_penalty=1):  # fmt: skip
    """Probabilities in plain Python, one filter after another; None where a filter is undecided."""
    scores = [
        (x / repetition_penalty if x > 0 else x * repetition_penalty) if seen else x
        for x, seen in zip(logits, occurred, strict=True)
    ]
    if temperature == 0:
        best = scores.index(max(scores))
        return [float(i == best) for i in range(len(scores))]
    kept = sorted(range(len(scores)), key=lambda i: (-scores[i], i))

    def shares(tokens):
        exps = {i: math.exp((scores[i] - max(scores)) / temperature) for i in tokens}
        total = math.fsum(exps.values())
        return {i: value / total for i, value in exps.items()}

    if top_k is not None:
        kept = kept[:top_k]
    if top_p is not None and top_p < 1:
        share, nucleus = shares(kept), []
        for token in kept:
            mass = math.fsum(share[i] for i in nucleus)
            if abs(mass - top_p) < 1e-7:
                return None
            if mass >= top_p:
                break
            nucleus.append(token)
        kept = nucleus
    if min_p is not None:
        share = shares(kept)
        least = min_p * max(share.values())
        if any(abs(value - least) < 1e-9 and min_p < 1 for value in share.values()):
            return None
        kept = [i for i in kept if share[i] >= least - 1e-12]
    share = shares(kept)
    return [share.get(i, 0.0) for i in range(len(scores))]


@bounded(150)
@given(st.lists(LOGITS, min_size=1, max_size=3), OPTIONS, SEEDS)
def test_any_filters_together_are_their_definition(rows, options, seed):
    """Oracle: the definition in plain Python. Rows of one batch do not know of each other."""
    width = max(len(row) for row in rows)
    rows = [(row * width)[:width] for row in rows]
    occurred = np.random.default_rng(seed).random((len(rows), width)) < 0.4
    expected = [by_definition(row, o, **options) for row, o in zip(rows, occurred, strict=True)]
    assume(None not in expected)
    logits = torch.tensor(rows, dtype=torch.float64)
    before = logits.clone()
    found = Sampling(**options).log_probs(logits, torch.from_numpy(occurred)).exp()
    assert np.array_equal(found.numpy() > 0, np.array(expected) > 0)
    assert np.abs(found.numpy() - np.array(expected)).max() < 1e-12
    assert torch.equal(logits, before)


@bounded(40)
@given(LOGITS, st.sampled_from([0.3, 1.0, 2.5]))
def test_filters_that_keep_everything_change_nothing_and_cold_is_the_argmax(row, temperature):
    logits = torch.tensor([row], dtype=torch.float64)
    plain = Sampling(temperature).log_probs(logits)
    open_wide = Sampling(temperature, top_k=len(row), top_p=1, min_p=1e-30)
    assert torch.equal(open_wide.log_probs(logits), plain)
    assert (plain - (logits / temperature).log_softmax(-1)).abs().max() < 1e-12
    alone = len(row) == 1 or sorted(row)[-1] > sorted(row)[-2]
    cold = Sampling(1e-3).log_probs(logits).exp()
    exact = Sampling(0).log_probs(logits).exp()
    assert exact[0, row.index(max(row))] == 1 and exact.sum() == 1
    assert not alone or (cold - exact).abs().max() < 1e-12


@bounded(50)
@given(LOGITS, OPTIONS)
def test_draws_spread_evenly_over_the_unit_interval(row, options):
    """Numbers in equal steps draw each token as often as its probability says, to one draw."""
    log_probs = Sampling(**options).log_probs(torch.tensor([row], dtype=torch.float64))
    n = 997
    drawn = draw(log_probs, ((torch.arange(n) + 0.5) / n)[None].double())[0]
    counts = torch.bincount(drawn, minlength=len(row))
    assert (counts - n * log_probs[0].exp()).abs().max() <= 1 + 1e-9
    assert not counts[log_probs[0] == -torch.inf].any()
    assert (drawn.diff() >= 0).all()
    ends = draw(log_probs, torch.tensor([[0.0, 1 - 2**-53]], dtype=torch.float64))[0].tolist()
    kept = (log_probs[0].exp() > 1e-15).nonzero()[:, 0].tolist()
    assert ends == [kept[0], kept[-1]]


@bounded(20)
@given(st.data())
def test_a_row_of_a_ragged_batch_is_that_prompt_alone(data):
    """Row r draws from the stream seed + r, with or without a key-value cache, under any mask."""
    model = data.draw(models())
    vocab = model.config.d_vocab
    n = data.draw(st.integers(1, 4))
    tokens = data.draw(tokens_for(model, batch=(1, 3), pos=(n, n)))
    pads = [data.draw(st.integers(0, n - 1)) for _ in tokens]
    real = torch.arange(n) >= torch.tensor(pads)[:, None]
    options = data.draw(OPTIONS) | {"seed": data.draw(SEEDS)}
    options["repetition_penalty"] = data.draw(st.sampled_from([1.0, 1.5, 3]))
    options["stop_tokens"] = data.draw(st.lists(st.integers(0, vocab - 1), max_size=1))
    cached = data.draw(st.booleans())
    batch = model.generate(tokens, 3, attention_mask=real, use_kv_cache=cached, **options)
    for row, prompt in enumerate(tokens):
        own = options | {"seed": options["seed"] + row, "use_kv_cache": not cached}
        alone = model.generate(prompt[pads[row] :], 3, **own)
        assert batch.new_tokens[row] == alone.new_tokens[0]
        assert batch.stopped[row] == alone.stopped[0]
        assert abs(batch.log_probs[row] - alone.log_probs[0]) < 1e-9
        written = batch.tokens[row][batch.attention_mask[row]].tolist()
        assert written == prompt[pads[row] :].tolist() + alone.new_tokens[0]


@bounded(15)
@given(st.data())
def test_generation_is_one_draw_from_each_full_pass(data):
    """Oracle: the loop of the definition, which reads everything again for each token."""
    model = data.draw(models())
    prompt = data.draw(tokens_for(model, batch=(1, 1), pos=(1, 4)))[0]
    options, seed = data.draw(OPTIONS), data.draw(SEEDS)
    source = torch.Generator().manual_seed(seed)
    ids, occurred = prompt.tolist(), torch.zeros(1, model.config.d_vocab, dtype=torch.bool)
    for _ in range(3):
        occurred[0, ids] = True
        logits = model(torch.tensor([ids]))[:, -1]
        log_probs = Sampling(**options).log_probs(logits, occurred)
        uniform = torch.rand((), dtype=torch.float64, generator=source)
        cumulative = log_probs[0].exp().cumsum(0)
        ids.append(int((cumulative <= uniform * cumulative[-1]).sum()))
    assert model.generate(prompt, 3, seed=seed, **options).tokens[0].tolist() == ids


@bounded(12)
@given(st.data())
def test_beams_of_two_tokens_are_the_best_of_all_and_longer_ones_need_no_cache(data):
    """Oracle: every continuation, scored in one pass each. With as many beams as tokens, nothing
    of two tokens can be lost; greedy is among them."""
    model = data.draw(models())
    vocab = model.config.d_vocab
    prompt = data.draw(tokens_for(model, batch=(1, 1), pos=(1, 4)))[0]
    first = model(prompt)[0, -1].log_softmax(-1)
    pairs = torch.cartesian_prod(torch.arange(vocab), torch.arange(vocab))
    whole = torch.cat([prompt.expand(len(pairs), -1), pairs], 1)
    scores = first[pairs[:, 0]]
    second = torch.stack([model(ids[:-1])[0, -1].log_softmax(-1) for ids in whole[::vocab]])
    scores = scores + second.flatten()
    width = max(vocab, 2)
    found = model.generate(prompt, 2, beams=width)
    best = scores.sort(descending=True).values[:width]
    assert np.abs(np.array([s for _, s in found.beams[0]]) - best.numpy()).max() < 1e-9
    for path, score in found.beams[0]:
        assert abs(scores[path[0] * vocab + path[1]] - score) < 1e-9
    cached, anew = (
        model.generate(prompt, 3, beams=3, use_kv_cache=use).beams[0] for use in (True, False)
    )
    assert [path for path, _ in cached] == [path for path, _ in anew]
    greedy = model.generate(prompt, 2, temperature=0).new_tokens[0]
    assert found.log_probs[0] >= scores[greedy[0] * vocab + greedy[1]] - 1e-9
