import pytest
import torch

from interp.core import GPTConfig, InitScales
from interp.learning import Recipe


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in another order are other sums: every run that is compared uses one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def micro() -> Recipe:
    """A run of a second that logs, evaluates and saves at different steps."""
    return Recipe(
        name="micro",
        config=GPTConfig(n_layers=1, d_model=10, n_heads=2, n_ctx=11, d_vocab=13, d_mlp=17),
        init=InitScales(token=0.3, position=0.3),
        task="trigger",
        n_steps=60,
        batch_size=7,
        lr=0.01,
        warmup=5,
        log_every=3,
        eval_every=6,
        checkpoint_every=20,
        seed=5,
    )
