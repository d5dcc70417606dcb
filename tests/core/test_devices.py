"""No tensor is made on the wrong device: on a pretended GPU everywhere, on a real one where it is.

Oracle: the same call on the CPU.
"""

import pandas as pd
import pytest
import torch
from oracles.pretend_gpu import Pretended, pretended_gpu, to_pretended
from oracles.tiny import tiny_model, tiny_tokens

from interp import measures
from interp.core import KVCache
from interp.measures import patching

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def gpu():
    with pretended_gpu() as device:
        yield device


@pytest.fixture
def there(gpu):
    """The tiny model on the pretended GPU."""
    return to_pretended(tiny_model())


def test_the_pretended_gpu_refuses_what_a_gpu_refuses(gpu):
    there, here = torch.ones(3, device=gpu), torch.ones(3)
    assert isinstance(there, Pretended)
    for wrong in (lambda: there + here, lambda: there.masked_fill(here > 0, 0.0),
                  lambda: torch.cat([there, here]), lambda: here[there > 0],
                  lambda: torch.stack([there[0], here[0]]),
                  lambda: torch.zeros(()).add_(there[0])):  # fmt: skip
        with pytest.raises(RuntimeError, match="same device"):
            wrong()
    with pytest.raises(TypeError, match="copy it to the CPU"):
        there.numpy()
    with pytest.raises(RuntimeError, match="Expected a generator"):
        torch.randn(3, device=gpu, generator=torch.Generator())
    assert (there + torch.tensor(2.0))[[0, 2]].cpu().tolist() == [3.0, 3.0]


@pytest.mark.parametrize("how", [{}, {"mask": "window:3"}, {"logits_at": [-1, 2]}, {"pads": True}])
def test_logits_and_every_activation(there, gpu, how):
    tokens, model = tiny_tokens(), tiny_model()
    at, forward = tokens.to(gpu), dict(how)
    if forward.pop("pads", False):
        forward["attention_mask"] = torch.ones(2, 11, dtype=torch.bool).index_fill(
            1, torch.tensor([0]), False
        )
    logits, cache = there.run_with_cache(at, **forward)
    expected, of_cpu = model.run_with_cache(tokens, **forward)
    assert (logits.cpu() - expected).abs().max() < 1e-10
    for name, value in cache.items():
        assert value.device == gpu, name
        torch.testing.assert_close(value.cpu(), of_cpu[name], rtol=0, atol=1e-10)


def test_keys_and_values_are_kept_there(there, gpu):
    tokens = tiny_tokens()
    cache = KVCache(there)
    parts = [there(part, kv_cache=cache) for part in tokens.to(gpu).split([4, 1, 6], dim=1)]
    assert (torch.cat(parts, 1).cpu() - tiny_model()(tokens)).abs().max() < 1e-10


@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_k": 3}, {"beams": 2}])
def test_generation(there, gpu, options):
    tokens = tiny_tokens(pos=4)
    found = there.generate(tokens.to(gpu), 3, **options)
    assert torch.equal(found.tokens.cpu(), tiny_model().generate(tokens, 3, **options).tokens)


def test_patching_and_attribution(there, gpu):
    sides = tiny_tokens(), tiny_tokens(seed=1)
    answers = torch.tensor([3, 4]), torch.tensor([5, 6])

    def frames(model, device):
        pairs = patching.Pairs(*(side.to(device) for side in sides))
        metric = patching.logit_diff(*(ids.to(device) for ids in answers), 10)
        yield patching.patch_residual(model, pairs, [metric], per_prompt=True)
        for site in ("z", "q", "pattern"):
            yield patching.patch_heads(model, pairs, [metric], site=site)
        yield patching.patch_paths(model, pairs, [metric])
        yield measures.estimate_patches(model, pairs, metric)
        yield measures.direct_attribution(model, sides[0].to(device), *answers)
        yield measures.read_lens(model, sides[0].to(device))

    for found, expected in zip(frames(there, gpu), frames(tiny_model(), "cpu"), strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=False, atol=1e-9)


def test_measures_in_smaller_batches(there, gpu):
    tokens = tiny_tokens(batch=5).numpy()
    readouts = [measures.Readout("plain", norm=False), measures.Readout("layer", layer=1)]

    def frames(model, n):
        yield measures.pattern_sums(model, tokens, n)
        yield measures.head_descriptors(model, [tokens], batch_size=n)
        yield measures.sink_scores(model, tokens, n)
        yield measures.sink_interventions(model, tokens, batch_size=n)
        yield measures.massive_activations(model, tokens, n)
        yield measures.readout_effects(model, [tokens], readouts, n)
        yield measures.copying_scores(model, n_null=2)
        yield measures.composition_table(model)
        yield measures.self_matching(model, torch.arange(7, device=model.W_E.device), 2)
        yield measures.spectrum_table(measures.head_weights(model))

    for found, expected in zip(frames(there, 2), frames(tiny_model(), 32), strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-8, atol=1e-9)


def test_a_stored_cache(there, gpu, tmp_path):
    tokens = tiny_tokens(batch=5)
    _, stored = there.run_with_cache(tokens, to=tmp_path / "c", batch_size=2)
    _, cache = tiny_model().run_with_cache(tokens)
    for name, value in cache.items():
        torch.testing.assert_close(stored[name], value, rtol=0, atol=1e-10)


@CUDA
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-3), (torch.bfloat16, 0.5)])
def test_a_real_gpu_says_what_the_cpu_says(dtype, atol):
    tokens = tiny_tokens()
    model = tiny_model(dtype=dtype).to("cuda")
    logits, cache = model.run_with_cache(tokens.cuda())
    assert all(value.is_cuda for value in cache.values())
    expected = tiny_model()(tokens)
    assert (logits.double().cpu() - expected).abs().max() < atol


@CUDA
def test_patching_on_a_real_gpu():
    sides = tiny_tokens(), tiny_tokens(seed=1)
    answers = torch.tensor([3, 4]), torch.tensor([5, 6])
    frames = []
    for device in ("cuda", "cpu"):
        pairs = patching.Pairs(*(side.to(device) for side in sides))
        metric = patching.logit_diff(*(ids.to(device) for ids in answers), 10)
        frames.append(patching.patch_heads(tiny_model().to(device), pairs, [metric]))
    pd.testing.assert_frame_equal(*frames, check_exact=False, atol=1e-8)
