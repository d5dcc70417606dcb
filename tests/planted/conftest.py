import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """The models are tiny: handing work to threads costs more than it saves."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
