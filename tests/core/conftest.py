import pytest
from oracles.tiny import tiny_model, tiny_tokens


@pytest.fixture
def model():
    return tiny_model()


@pytest.fixture
def tokens():
    return tiny_tokens()
