"""Sampling filters against Hugging Face, beams against exhaustive search, batches against rows."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.tiny import tiny_model, tiny_tokens
from scipy import stats
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from interp.core import InputError
from interp.core.generation import Sampling

LOGITS = 3 * torch.randn(7, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def prompts():
    return tiny_tokens(3, 5)


@pytest.mark.parametrize("top_k", [None, 1, 4, 31, 100])
@pytest.mark.parametrize("top_p", [None, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("min_p", [None, 0.2])
@pytest.mark.parametrize("temperature", [0.5, 1.7])
def test_filters_and_their_combination_equal_hugging_face(top_k, top_p, min_p, temperature):
    """Oracle: transformers' logits processors, in transformers' order."""
    chain = [TemperatureLogitsWarper(temperature)]
    chain += [TopKLogitsWarper(top_k)] if top_k else []
    chain += [TopPLogitsWarper(top_p)] if top_p and top_p < 1 else []
    chain += [MinPLogitsWarper(min_p)] if min_p else []
    expected = LOGITS
    for processor in chain:
        expected = processor(torch.zeros(7, 1, dtype=torch.long), expected)
    ours = Sampling(temperature, top_k, top_p, min_p).log_probs(LOGITS)
    assert torch.equal(ours > -torch.inf, expected > -torch.inf)
    assert (ours.exp() - expected.softmax(-1)).abs().max() < 1e-12


def test_repetition_penalty_equals_hugging_face():
    seen = torch.randint(0, 31, (7, 9), generator=torch.Generator().manual_seed(1))
    occurred = torch.zeros(7, 31, dtype=torch.bool).scatter_(1, seen, True)
    expected = RepetitionPenaltyLogitsProcessor(1.3)(seen, LOGITS.clone()).log_softmax(-1)
    ours = Sampling(repetition_penalty=1.3).log_probs(LOGITS, occurred)
    assert (ours - expected).abs().max() < 1e-12


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-30, 30), min_size=2, max_size=12),
    st.floats(0.01, 1.0),
    st.integers(1, 12),
)
def test_the_nucleus_is_the_smallest_set_that_reaches_p(logits, p, k):
    """Oracle: the definition, by adding up sorted probabilities in Python."""
    probs = np.exp(np.array(logits) - max(logits))
    probs /= probs.sum()
    mass, needed = 0.0, 0
    for prob in sorted(probs, reverse=True):
        if mass >= p - 1e-9:
            break
        mass, needed = mass + prob, needed + 1
    needed = len(logits) if p == 1 else max(needed, 1)
    tensor = torch.tensor([logits], dtype=torch.float64)
    assert int((Sampling(top_p=p).log_probs(tensor) > -torch.inf).sum()) == needed
    assert int((Sampling(top_k=k).log_probs(tensor) > -torch.inf).sum()) == min(k, len(logits))
    assert Sampling(top_k=1).log_probs(tensor).argmax() == tensor.argmax()
    assert Sampling(top_p=1e-12).log_probs(tensor).exp().max() == 1


def test_temperature_zero_is_the_exact_argmax_and_the_limits_hold():
    tie = torch.tensor([[1.0, 4.0, 4.0, 2.0]])
    assert Sampling(0).log_probs(tie).exp().tolist() == [[0, 1, 0, 0]]
    assert Sampling(1e-4).log_probs(tie).exp()[0].tolist() == pytest.approx([0, 0.5, 0.5, 0])
    assert Sampling(1e6).log_probs(tie).exp()[0].tolist() == pytest.approx([0.25] * 4, abs=1e-5)
    huge = torch.tensor([[-400.0, -300.0]])
    assert Sampling(0.01).log_probs(huge).exp().tolist() == [[0.0, 1.0]]


def test_greedy_is_the_argmax_of_a_full_pass_each_time(model, prompts):
    grown = prompts
    for _ in range(6):
        grown = torch.cat([grown, model(grown)[:, -1].argmax(-1, keepdim=True)], 1)
    out = model.generate(prompts, 6, temperature=0)
    assert torch.equal(out.tokens, grown)
    assert torch.equal(model.generate(prompts, 6, top_k=1, seed=4).tokens, grown)
    assert out.log_probs == [0.0] * 3


def test_draws_follow_the_distribution(model, prompts):
    """10,000 draws of one next token against the softmax: chi-square."""
    rows = prompts[:1].expand(10_000, -1)
    expected = Sampling(0.8, top_k=6).log_probs(model(prompts[:1])[:, -1]).exp()[0].numpy()
    drawn = model.generate(rows, 1, temperature=0.8, top_k=6, seed=11).tokens[:, -1]
    counts = np.bincount(drawn, minlength=31)
    assert counts[expected == 0].sum() == 0
    kept = expected > 0
    p = stats.chisquare(counts[kept], 10_000 * expected[kept] / expected[kept].sum()).pvalue
    assert p > 0.001


OPTIONS = {
    "greedy": {"temperature": 0},
    "sampled": {"temperature": 1.3},
    "filtered": {"top_k": 9, "top_p": 0.8, "min_p": 0.01, "repetition_penalty": 1.2},
    "stopped": {"stop_tokens": [3, 4, 5, 6, 7, 8]},
    "beams": {"beams": 3, "stop_tokens": [3, 9]},
}


@pytest.mark.parametrize("options", OPTIONS)
def test_a_batch_equals_its_rows_one_by_one(model, options):
    """Ragged prompts, padded on the left; row r alone takes seed + r."""
    rows = [tiny_tokens(1, n, seed=n)[0] for n in (6, 2, 4)]
    padded = torch.stack([torch.cat([torch.zeros(6 - len(r), dtype=torch.long), r]) for r in rows])
    real = torch.arange(6) >= torch.tensor([[0], [4], [2]])
    together = model.generate(padded, 8, attention_mask=real, seed=20, **OPTIONS[options])
    for i, row in enumerate(rows):
        alone = model.generate(row, 8, seed=20 + i, **OPTIONS[options])
        assert together.new_tokens[i] == alone.new_tokens[0]
        assert together.stopped[i] == alone.stopped[0]
        assert together.log_probs[i] == pytest.approx(alone.log_probs[0], abs=1e-9)
        whole = torch.cat([row, torch.tensor(alone.new_tokens[0])])
        assert torch.equal(together.tokens[i][together.attention_mask[i]], whole)
    assert torch.equal(
        together.tokens,
        model.generate(
            padded, 8, attention_mask=real, seed=[20, 21, 22], **OPTIONS[options]
        ).tokens,
    )


def test_stop_tokens_end_rows(model, prompts):
    free = model.generate(prompts, 10, seed=3)
    stop = free.new_tokens[0][2]
    out = model.generate(prompts, 10, seed=3, stop_tokens=[stop])
    for ours, before in zip(out.new_tokens, free.new_tokens, strict=True):
        cut = before.index(stop) + 1 if stop in before else len(before)
        assert ours == before[:cut]
    assert out.stopped[0] and out.new_tokens[0][-1] == stop


def test_the_log_probability_is_that_of_the_draws(model, prompts):
    out = model.generate(prompts, 4, temperature=0.7, seed=5)
    log_probs = (model(out.tokens)[:, 4:-1] / 0.7).log_softmax(-1)
    total = log_probs.gather(-1, out.tokens[:, 5:, None]).sum((1, 2))
    assert out.log_probs == pytest.approx(total.tolist(), abs=1e-10)


def test_recomputing_equals_the_key_value_cache(model, prompts):
    for options in ({"temperature": 0}, {"seed": 7}):
        cached = model.generate(prompts, 9, **options)
        again = model.generate(prompts, 9, use_kv_cache=False, **options)
        assert torch.equal(cached.tokens, again.tokens)


def test_a_generator_moves_on_and_repeats(model, prompts):
    one, two = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    first = model.generate(prompts, 5, generator=one).tokens
    assert not torch.equal(first, model.generate(prompts, 5, generator=one).tokens)
    assert torch.equal(first, model.generate(prompts, 5, generator=two).tokens)


@pytest.mark.parametrize("use_kv_cache", [True, False])
def test_captured_activations_equal_a_run_over_the_result(model, prompts, use_kv_cache):
    names = model.hook_names
    out = model.generate(prompts, 6, names=names, seed=2, use_kv_cache=use_kv_cache)
    _, cache = model.run_with_cache(out.tokens[:, :-1], names)
    for name in names:
        ours, expected = out.cache[name], cache[name]
        if name.endswith("scores_raw"):  # later keys do not exist yet when a query is read
            ours, expected = ours.tril(), expected.tril()
        finite = torch.isfinite(expected)
        assert torch.equal(torch.isfinite(ours) | ~finite, torch.ones_like(finite)), name
        assert (ours[finite] - expected[finite]).abs().max() < 1e-11, name


def exhaustive(model, prompt, depth, stops):
    """Every continuation of that depth, shorter where it stops, with its log-probability."""
    found = {}
    for path in itertools.product(range(31), repeat=depth):
        cut = next((i + 1 for i, t in enumerate(path) if t in stops), depth)
        found[path[:cut]] = None
    for path in found:
        log_probs = model(torch.cat([prompt, torch.tensor(path)])).log_softmax(-1)[0]
        steps = range(len(prompt) - 1, len(prompt) + len(path) - 1)
        found[path] = sum(log_probs[i, t].item() for i, t in zip(steps, path, strict=True))
    return sorted(found.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("stops", [(), (2, 5, 11)])
def test_wide_beams_equal_exhaustive_search(model, stops):
    """With as many beams as there are partial sequences nothing can be lost."""
    prompt = tiny_tokens(1, 3, seed=8)[0]
    best = exhaustive(model, prompt, 2, stops)[:31]
    out = model.generate(prompt, 2, beams=31, stop_tokens=stops)
    assert [tuple(ids) for ids, _ in out.beams[0]] == [path for path, _ in best]
    assert [s for _, s in out.beams[0]] == pytest.approx([s for _, s in best], abs=1e-9)
    assert out.log_probs[0] == pytest.approx(best[0][1], abs=1e-9)


@pytest.mark.parametrize("stops", [set(), {2, 5, 11, 17}])
def test_narrow_beams_equal_a_search_without_any_cache(model, stops):
    """Oracle: the definition over Python lists, every sequence read anew at each step."""
    prompt = tiny_tokens(1, 4, seed=9)[0]
    beams = [((), 0.0)]
    for _ in range(6):
        grown = [beam for beam in beams if beam[0] and beam[0][-1] in stops]
        for path, score in beams:
            if path and path[-1] in stops:
                continue
            read = torch.cat([prompt, torch.tensor(path, dtype=torch.long)])
            log_probs = model(read)[0, -1].log_softmax(-1).tolist()
            grown += [((*path, token), score + lp) for token, lp in enumerate(log_probs)]
        beams = sorted(grown, key=lambda beam: -beam[1])[:3]
    out = model.generate(prompt, 6, beams=3, stop_tokens=sorted(stops)).beams[0]
    assert [tuple(ids) for ids, _ in out] == [path for path, _ in beams]
    assert [s for _, s in out] == pytest.approx([s for _, s in beams], abs=1e-9)


BAD = {
    "past the context": ({"max_new_tokens": 15}, r"n_ctx=19; ask for at most 14"),
    "nothing to add": ({"max_new_tokens": 0}, "at least 1"),
    "negative temperature": ({"temperature": -1.0}, "temperature"),
    "not a number": ({"temperature": math.nan}, "temperature"),
    "k of zero": ({"top_k": 0}, "top_k"),
    "p of zero": ({"top_p": 0.0}, "top_p"),
    "p above one": ({"top_p": 1.01}, "top_p"),
    "min_p": ({"min_p": 1.5}, "min_p"),
    "penalty": ({"repetition_penalty": 0.0}, "repetition_penalty"),
    "no beams": ({"beams": 0}, "beams"),
    "beams that sample": ({"beams": 2, "temperature": 0.5}, "Beam search"),
    "beams that capture": ({"beams": 2, "names": "hook_embed"}, "captured"),
    "a stop token that is none": ({"stop_tokens": [31]}, "Stop token 31"),
    "seeds that do not match": ({"seed": [1, 2]}, "2 seeds came for 3 rows"),
    "pads on the right": ({"attention_mask": torch.tensor([[1, 1, 1, 1, 0]] * 3).bool()}, "left"),
    "a misspelt capture": ({"names": "hook_embd"}, "nearest are hook_embed"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_one_clear_error(model, prompts, case):
    options, message = BAD[case]
    with pytest.raises(InputError, match=message):
        model.generate(prompts, **({"max_new_tokens": 3} | options))
