import jaxtyping
import pytest


@pytest.fixture
def no_type_checks():
    """Calls as users make them: without the run-time type checks that only the tests install."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
