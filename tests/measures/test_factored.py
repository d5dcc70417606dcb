import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.core import InputError
from interp.measures.factored import FactoredMatrix

SIZES = st.integers(1, 9)


def factors(rows, inner, columns, seed, batch=()):
    generator = torch.Generator().manual_seed(seed)
    shape = {"generator": generator, "dtype": torch.float64}
    return torch.randn(*batch, rows, inner, **shape), torch.randn(*batch, inner, columns, **shape)


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, SIZES, st.integers(0, 99))
def test_decompositions_are_those_of_the_product(rows, inner, columns, seed):
    """Oracle: NumPy on the product itself."""
    A, B = factors(rows, inner, columns, seed)
    made, full = FactoredMatrix(A, B), (A @ B).numpy()
    bound = min(rows, inner, columns)
    values = np.linalg.svd(full, compute_uv=False)[:bound]
    assert made.rank_bound == bound
    np.testing.assert_allclose(made.singular_values[:bound].numpy(), values, atol=1e-10)
    np.testing.assert_allclose(float(made.norm), np.linalg.norm(full), atol=1e-10)
    u, s, vh = made.svd
    np.testing.assert_allclose((u * s @ vh).numpy(), full, atol=1e-10)
    assert u.shape[0] == rows and vh.shape[1] == columns
    np.testing.assert_allclose((vh @ vh.T).numpy(), np.eye(len(s)), atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, st.integers(0, 99))
def test_eigenvalues_in_the_small_space(size, inner, seed):
    """All but zeros: power sums, which no order and no missing zero changes."""
    A, B = factors(size, inner, size, seed)
    made, full = FactoredMatrix(A, B), (A @ B).numpy()
    found, expected = made.eigenvalues.numpy(), np.linalg.eigvals(full)
    for power in (1, 2, 3):
        scale = (np.abs(expected) ** power).sum() + 1
        assert abs((found**power).sum() - (expected**power).sum()) < 1e-9 * scale
    assert float(made.trace) == pytest.approx(np.trace(full), abs=1e-10)
    np.testing.assert_allclose(made.diagonal.numpy(), np.diag(full), atol=1e-10)


def test_batches_slices_and_products():
    A, B = factors(11, 3, 7, 0, batch=(5, 2))
    made, full = FactoredMatrix(A, B), A @ B
    assert made.shape == (5, 2, 11, 7)
    for index in (
        3,
        (3, 1),
        (slice(1, 4),),
        (..., slice(2, 5), slice(None)),
        (2, 1, slice(4), slice(3, 6)),
    ):
        torch.testing.assert_close(made[index].product(), full[index])
    torch.testing.assert_close(made.T.product(), full.mT)
    other = torch.randn(7, 4, dtype=torch.float64)
    torch.testing.assert_close((made @ other).product(), full @ other)
    left = torch.randn(6, 11, dtype=torch.float64)
    torch.testing.assert_close(made.__rmatmul__(left).product(), left @ full)
    for inner in (2, 5):
        C, D = factors(7, inner, 13, 1, batch=(5, 2))
        both = made @ FactoredMatrix(C, D)
        assert both.A.shape[-1] == min(3, inner)
        torch.testing.assert_close(both.product(), full @ C @ D)


def test_factors_broadcast():
    A, _ = factors(4, 3, 1, 0, batch=(5, 2))
    _, B = factors(1, 3, 6, 1)
    assert FactoredMatrix(A, B).shape == (5, 2, 4, 6)
    torch.testing.assert_close(FactoredMatrix(A, B).product(), A @ B)


def test_no_large_product_is_formed():
    """A circuit over 100,000 tokens: its matrix would need 80 GB."""
    A, B = factors(100_000, 2, 100_000, 0)
    made = FactoredMatrix(A, B)
    assert made.singular_values.shape == (2,)
    assert made.eigenvalues.shape == (2,)
    assert float(made.norm) == pytest.approx(float(made.singular_values.norm()))


def test_what_is_no_matrix_is_refused():
    A, B = factors(4, 3, 5, 0)
    with pytest.raises(InputError, match="3 columns and B has 5 rows"):
        FactoredMatrix(A, B.T)
    with pytest.raises(InputError, match="chosen by slices"):
        FactoredMatrix(A, B)[0]
    with pytest.raises(InputError, match="4×5"):
        FactoredMatrix(A, B).eigenvalues  # noqa: B018
