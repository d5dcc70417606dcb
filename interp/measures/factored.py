"""Products of two thin matrices, used without ever being multiplied out.

A head's circuits are products of a tall and a wide matrix: `W_V @ W_O` has d_model² numbers and
rank d_head at most. Everything below works on the two factors through small matrices of d_head
squared, so that not even the d_vocab × d_vocab circuit over tokens is formed.
"""

from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from interp.core.errors import InputError


def widened(values: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Half precision as float32: decompositions need it, and products would lose digits."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


class SVD(NamedTuple):
    """A singular value decomposition, `U @ diag(S) @ Vh`, largest singular value first."""

    U: Float[Tensor, "*batch row rank"]
    S: Float[Tensor, "*batch rank"]
    Vh: Float[Tensor, "*batch rank column"]


class FactoredMatrix:
    """`A @ B` by its factors; all leading axes are batch axes and broadcast.

    Args:
        A: the left factor; its columns are the inner axis.
        B: the right factor; its rows are the inner axis.

    Raises:
        InputError: the inner axes differ.

    Cost: with inner axis r and outer axes m, n, each decomposition needs `r² (m + n)` operations
    for two QR decompositions and `r³` for the rest, instead of `m n min(m, n)`; memory `r (m + n)`.

    Source: what `FactoredMatrix` of TransformerLens is for; here through QR, and `Vh` is what the
    name says.
    """

    def __init__(
        self, A: Float[Tensor, "*a_batch row inner"], B: Float[Tensor, "*b_batch inner2 column"]
    ) -> None:
        if A.shape[-1] != B.shape[-2]:
            raise InputError(
                f"A has {A.shape[-1]} columns and B has {B.shape[-2]} rows, which do not multiply; "
                "was one of them to be transposed?"
            )
        batch = torch.broadcast_shapes(A.shape[:-2], B.shape[:-2])
        self.A, self.B = A.expand(*batch, *A.shape[-2:]), B.expand(*batch, *B.shape[-2:])

    @property
    def shape(self) -> torch.Size:
        """Of the product, batch axes first."""
        return torch.Size((*self.A.shape[:-1], self.B.shape[-1]))

    @property
    def rank_bound(self) -> int:
        """No product of these shapes has a higher rank."""
        return min(self.A.shape[-2:] + self.B.shape[-1:])

    @property
    def T(self) -> "FactoredMatrix":
        """The transpose."""
        return FactoredMatrix(self.B.mT, self.A.mT)

    def __repr__(self) -> str:
        return f"FactoredMatrix(shape={tuple(self.shape)}, inner={self.A.shape[-1]})"

    def __getitem__(self, index: object) -> "FactoredMatrix":
        """Batch axes by number or slice, then rows and columns by slice.

        Raises:
            InputError: a single row or column is asked for, which is no matrix.
        """
        index = index if isinstance(index, tuple) else (index,)
        n_batch = self.A.ndim - 2
        if Ellipsis in index:
            at = index.index(Ellipsis)
            missing = (slice(None),) * (n_batch + 3 - len(index))
            index = (*index[:at], *missing, *index[at + 1 :])
        batch, rest = index[:n_batch], index[n_batch:]
        if any(isinstance(part, int) for part in rest) or len(rest) > 2:
            raise InputError(
                f"rows and columns are chosen by slices; got {rest} behind {n_batch} batch axes"
            )
        rows, columns = (*rest, *[slice(None)] * (2 - len(rest)))
        return FactoredMatrix(self.A[batch][..., rows, :], self.B[batch][..., :, columns])

    def __matmul__(self, other: "FactoredMatrix | Tensor") -> "FactoredMatrix":
        """The product with a matrix, again by factors, on the thinner side."""
        if not isinstance(other, FactoredMatrix):
            return FactoredMatrix(self.A, self.B @ other)
        middle = self.B @ other.A
        if middle.shape[-2] <= middle.shape[-1]:
            return FactoredMatrix(self.A, middle @ other.B)
        return FactoredMatrix(self.A @ middle, other.B)

    def __rmatmul__(self, other: Tensor) -> "FactoredMatrix":
        return FactoredMatrix(other @ self.A, self.B)

    def product(self) -> Float[Tensor, "*batch row column"]:
        """The matrix itself; for small ones."""
        return self.A @ self.B

    @cached_property
    def _reduced(self) -> tuple[Tensor, Tensor, Tensor]:
        """Orthonormal columns, the small matrix between them, orthonormal columns."""
        left, upper = torch.linalg.qr(self.A)
        right, lower = torch.linalg.qr(self.B.mT)
        return left, upper @ lower.mT, right

    @cached_property
    def svd(self) -> SVD:
        """Singular value decomposition, with as many values as the rank can be."""
        left, core, right = self._reduced
        u, s, vh = torch.linalg.svd(core, full_matrices=False)
        return SVD(left @ u, s, vh @ right.mT)

    @cached_property
    def singular_values(self) -> Float[Tensor, "*batch rank"]:
        """Largest first."""
        return torch.linalg.svdvals(self._reduced[1])

    @cached_property
    def norm(self) -> Float[Tensor, "*batch"]:
        """Frobenius norm."""
        return self._reduced[1].square().sum((-2, -1)).sqrt()

    @cached_property
    def eigenvalues(self) -> Tensor:
        """Eigenvalues, complex, in no order; those left out are 0.

        `A @ B` and `B @ A` have the same eigenvalues but for zeros, so the smaller one is used.

        Raises:
            InputError: the matrix is not square.
        """
        self._check_square()
        inside = self.A.shape[-1] < self.A.shape[-2]
        return torch.linalg.eigvals(self.B @ self.A if inside else self.product())

    @property
    def diagonal(self) -> Float[Tensor, "*batch row"]:
        """The diagonal.

        Raises:
            InputError: the matrix is not square.
        """
        self._check_square()
        return torch.einsum("...mr,...rm->...m", self.A, self.B)

    @property
    def trace(self) -> Float[Tensor, "*batch"]:
        """Sum of the diagonal, which is the sum of the eigenvalues."""
        return self.diagonal.sum(-1)

    def _check_square(self) -> None:
        rows, columns = self.shape[-2:]
        if rows != columns:
            raise InputError(
                f"only a square matrix has eigenvalues and a diagonal; this one is {rows}×{columns}"
            )
