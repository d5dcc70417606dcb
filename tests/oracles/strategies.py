"""Random small models, tokens and masks for property tests; every draw is cheap and shrinks."""

from functools import wraps

import jaxtyping
from hypothesis import Phase, note, settings
from hypothesis import strategies as st
from oracles.tiny import tiny_model, tiny_tokens


def bounded(n_examples):
    """At most that many examples, the same on every machine, and called as users call.

    The run-time type checks that the tests install would cost several times the tests themselves.
    """
    how = settings(
        max_examples=n_examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=set(Phase) - {Phase.explain, Phase.reuse},
    )

    def decorate(test):
        @wraps(test)
        def unchecked(*arguments, **named):
            jaxtyping.config.update("jaxtyping_disable", True)
            try:
                how(test)(*arguments, **named)
            finally:
                jaxtyping.config.update("jaxtyping_disable", False)

        return unchecked

    return decorate


SEEDS = st.integers(0, 999)


@st.composite
def mask_specs(draw, longest=4):
    """One spec of any kind; the numbers may lie beyond the text's end."""
    kind = draw(st.sampled_from(["causal", "none", "window", "sinks", "prefix"]))
    if kind in ("causal", "none"):
        return kind
    if kind == "prefix":
        return f"prefix:{draw(st.integers(0, longest))}"
    window = f"window:{draw(st.integers(1, longest))}"
    return window if kind == "window" else f"{window}+{draw(st.integers(0, 3))}"


SPECS = mask_specs()


@st.composite
def config_masks(draw, n_layers, n_heads, specs=SPECS):
    """A mask of a config: one spec, one per layer, or one per head in some layers."""
    if draw(st.booleans()):
        return draw(specs)
    per_head = st.lists(specs, min_size=n_heads, max_size=n_heads).map(tuple)
    return tuple(draw(st.one_of(specs, per_head)) for _ in range(n_layers))


@st.composite
def shapes(draw, specs=SPECS, **fixed):
    """Fields of a GPTConfig over everything that it allows; `fixed` ones are not drawn."""
    fields = {
        "n_layers": draw(st.integers(1, 3)),
        "n_heads": draw(st.sampled_from([1, 2, 3])),
        "d_head": draw(st.sampled_from([1, 2, 5])),
        "d_model": draw(st.sampled_from([2, 4, 7, 11])),
        "d_mlp": draw(st.sampled_from([0, 1, 13])),
        "d_vocab": draw(st.sampled_from([2, 5, 17])),
        "n_ctx": draw(st.integers(7, 9)),
        "norm": draw(st.sampled_from(["pre", "post", "none"])),
        "positions": draw(st.sampled_from(["learned", "sinusoidal", "none"])),
        "activation": draw(st.sampled_from(["gelu_new", "gelu", "relu"])),
        "tied": draw(st.booleans()),
        "unembed_bias": draw(st.booleans()),
        "eps": draw(st.sampled_from([1e-5, 0.3])),
        "attn_scale": draw(st.booleans()),
        "scale_by_inverse_layer": draw(st.booleans()),
        "residual": draw(st.sampled_from([True, True, False])),
    } | fixed
    if fields["positions"] == "sinusoidal":
        fields["d_model"] += fields["d_model"] % 2
    if "mask" not in fields:
        fields["mask"] = draw(config_masks(fields["n_layers"], fields["n_heads"], specs))
    return fields


@st.composite
def models(draw, specs=SPECS, **fixed):
    """A random float64 model of a random shape, its norms and biases random too."""
    seed, fields = draw(SEEDS), draw(shapes(specs, **fixed))
    note(f"tiny_model(seed={seed}, **{fields})")
    return tiny_model(seed=seed, **fields)


@st.composite
def tokens_for(draw, model, batch=(1, 3), pos=(1, 7)):
    """Random prompts of one length."""
    size = (draw(st.integers(*batch)), draw(st.integers(*pos)))
    return tiny_tokens(*size, model.config.d_vocab, seed=draw(SEEDS))


def some_of(names):
    """A few of some names, each once, in any order."""
    return st.lists(st.sampled_from(names), min_size=1, max_size=5, unique=True)
