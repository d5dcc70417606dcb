"""Masks decide what can reach what: random ones, in every form, against powers of a matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.numpy_gpt import allowed_by, close
from oracles.strategies import SEEDS, bounded, config_masks, mask_specs, models, tokens_for
from oracles.tiny import tiny_model, tiny_tokens

from interp.core import GPTConfig, InputError

POS = 6


@st.composite
def matrices(draw, *heads):
    """A boolean matrix in which every query may attend to something, not always to itself."""
    rng = np.random.default_rng(draw(SEEDS))
    allowed = rng.random((*heads, POS, POS)) < draw(st.sampled_from([0.1, 0.3, 0.7]))
    always = rng.integers(POS, size=(*heads, POS, 1))
    return torch.from_numpy(allowed | (np.arange(POS) == always))


@st.composite
def masks_of_a_run(draw, config):
    """What a run can be given (or None), and who attends to whom: layer head query_pos key_pos."""
    of_config = allowed_by(config.mask)
    here = np.array(
        [
            [[[of_config(la, he, q, k) for k in range(POS)] for q in range(POS)]
             for he in range(config.n_heads)]
            for la in range(config.n_layers)
        ]
    )  # fmt: skip
    one = st.one_of(mask_specs(), matrices(), matrices(config.n_heads))
    layers = st.integers(0, config.n_layers - 1)
    by_layer = st.dictionaries(layers, one, min_size=config.n_layers)
    given_mask = draw(st.none() | one | st.dictionaries(layers, one) | by_layer)
    if given_mask is not None:
        by_layer = given_mask
        if not isinstance(given_mask, dict):
            by_layer = dict.fromkeys(range(config.n_layers), given_mask)
        for layer, source in by_layer.items():
            if isinstance(source, str):
                asked = allowed_by(source)
                here[layer] = [[asked(0, 0, q, k) for k in range(POS)] for q in range(POS)]
            else:
                here[layer] = source.numpy()
    return given_mask, here


@bounded(50)
@given(st.data())
def test_a_token_reaches_only_where_a_path_of_allowed_edges_leads(data):
    """Oracle: the product of the layers' boolean matrices, with the residual stream's own edges."""
    model = data.draw(models())
    config = model.config
    mask, allowed = data.draw(masks_of_a_run(config))
    tokens = data.draw(tokens_for(model, pos=(POS, POS)))
    reach = np.eye(POS, dtype=int)
    for layer in range(config.n_layers):
        edges = allowed[layer].any(0) | (np.eye(POS, dtype=bool) & config.residual)
        reach = edges.astype(int) @ reach
    at = data.draw(st.integers(0, POS - 1))
    changed = tokens.clone()
    changed[:, at] = (changed[:, at] + 1) % config.d_vocab
    if data.draw(st.booleans()):  # the explicit path
        watch = [(lambda name: name.endswith("pattern"), lambda value, hook: None)]
        run = lambda ids: model.run_with_hooks(ids, watch, mask=mask)  # noqa: E731
    else:
        run = lambda ids: model(ids, mask=mask)  # noqa: E731
    moved = (run(changed) - run(tokens)).abs().amax((0, 2)).numpy()
    assert (moved[reach[:, at] == 0] == 0).all()


@bounded(10)
@given(st.data())
def test_where_a_path_leads_something_arrives(data):
    """The control: gentle weights, attention alone, nothing that could be shut by chance."""
    config = {"d_mlp": 0, "norm": "none", "residual": True, "positions": "learned", "d_head": 5}
    config |= {"d_model": 7, "d_vocab": 17, "tied": False}
    model = data.draw(models(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    mask, allowed = data.draw(masks_of_a_run(model.config))
    tokens = data.draw(tokens_for(model, batch=(1, 1), pos=(POS, POS)))
    reach = np.eye(POS, dtype=int)
    for layer in allowed:
        reach = (layer.any(0) | np.eye(POS, dtype=bool)).astype(int) @ reach
    for at in range(POS):
        changed = tokens.clone()
        changed[:, at] = (changed[:, at] + 1) % 17
        moved = (model(changed, mask=mask) - model(tokens, mask=mask)).abs().amax((0, 2)).numpy()
        assert ((moved > 0) == (reach[:, at] > 0)).all()


@bounded(20)
@given(st.data())
def test_a_spec_is_its_matrix_in_every_form(data):
    """As a config, per call, per layer, per head: the same mask gives the same logits."""
    model = data.draw(models(mask="causal"))
    config = model.config
    mask = data.draw(config_masks(config.n_layers, config.n_heads))
    tokens = data.draw(tokens_for(model, pos=(POS, POS)))
    allowed = allowed_by(mask)
    of_layer = {
        layer: torch.tensor(
            [[[allowed(layer, h, q, k) for k in range(POS)] for q in range(POS)]
             for h in range(config.n_heads)]
        )
        for layer in range(config.n_layers)
    }  # fmt: skip
    expected = model(tokens, mask=of_layer).numpy()
    fields = config.to_dict() | {"mask": mask}
    twin = type(model)(GPTConfig(**fields), dtype=torch.float64, init=None)
    twin.load_state_dict(model.state_dict())
    assert close(twin.eval().requires_grad_(False)(tokens).numpy(), expected)
    if isinstance(mask, str):
        assert close(model(tokens, mask=mask).numpy(), expected)
        assert close(model(tokens, mask=of_layer[0][0]).numpy(), expected)
    causal = torch.ones(POS, POS, dtype=torch.bool).tril()
    assert close(model(tokens, mask=causal).numpy(), model(tokens).numpy())
    assert close(model(tokens, mask=f"window:{POS}").numpy(), model(tokens).numpy())


def shut(row):
    matrix = torch.ones(POS, POS, dtype=torch.bool)
    matrix[row] = False
    return matrix


WRONG_MASKS = st.one_of(
    st.integers(0, POS - 1).map(shut),
    st.integers(0, POS - 1).map(lambda row: torch.stack([shut(0) | ~shut(0)] * 4 + [shut(row)])),
    st.sampled_from([POS - 1, POS + 1, 1]).map(lambda n: torch.ones(n, n, dtype=torch.bool)),
    st.sampled_from([1, 4, 6]).map(lambda h: torch.ones(h, POS, POS, dtype=torch.bool)),
    st.sampled_from([(POS,), (1, 5, POS, POS), (0, 0), ()]).map(
        lambda shape: torch.ones(shape, dtype=torch.bool)
    ),
    st.sampled_from([torch.float64, torch.int64, torch.uint8]).map(
        lambda dtype: torch.ones(POS, POS, dtype=dtype)
    ),
    st.sampled_from(
        [
            "", "Causal", "window", "window:0", "window:-1", "window:2+", "window:2 + 1",
            "prefix:", "prefix:1.5", "causal\n", "window:٣", 3, True, ["causal"] * 3,
            ("causal",) * 3, ("causal",) * 5, np.ones((POS, POS), bool), 0.5,
        ]
    ),
)  # fmt: skip


@bounded(50)
@given(mask=WRONG_MASKS, layer=st.none() | st.integers(0, 2))
def test_every_wrong_mask_is_refused_in_one_sentence_before_any_block_runs(mask, layer):
    model = tiny_model()
    model.blocks[0].register_forward_pre_hook(lambda *_: pytest.fail("computed before the check"))
    with pytest.raises(InputError) as error:
        model(tiny_tokens(2, POS), mask=mask if layer is None else {layer: mask})
    told = str(error.value)
    assert "mask" in told and "\n" not in told and len(told) < 300


@pytest.mark.parametrize("layer", [-1, 3, "0", None, 1.5])
def test_a_layer_that_is_none_is_refused(layer, no_type_checks):
    with pytest.raises(InputError, match="mask names layer"):
        tiny_model()(tiny_tokens(), mask={layer: "none"})
