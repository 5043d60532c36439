"""Products of a few rows with a large matrix, and matrices by where they lie (row K3).

Weights are read as they are, each row once for all rows of x. The order in which a sum is added
does not depend on how many rows there are: a text does not see its batch, to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from kernels.numerics_numba import fused, how, sums


@njit(**fused)
def _add_eight(x: Any, W: Any, y: Any) -> None:
    """Y (m,) += x (8,) W (8, m), read in one pass."""
    a, b, c, d, e, f, g, h = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
    A, B, C, D, E, F, G, H = W[0], W[1], W[2], W[3], W[4], W[5], W[6], W[7]
    for j in range(y.size):
        first = (((y[j] + a * A[j]) + b * B[j]) + c * C[j]) + d * D[j]
        y[j] = (((first + e * E[j]) + f * F[j]) + g * G[j]) + h * H[j]


@njit(**fused)
def add_product(x: Any, W: Any, y: Any) -> None:
    """Y (R, m) += x (R, n) W (n, m or more)."""
    n, m = len(W), y.shape[1]
    for k in range(0, n - 7, 8):
        for s in range(len(x)):
            _add_eight(x[s, k : k + 8], W[k : k + 8], y[s])
    for k in range(n - n % 8, n):
        for s in range(len(x)):
            a, w, out = x[s, k], W[k], y[s]
            for j in range(m):
                out[j] += a * w[j]


@njit(**sums)
def set_dots(x: Any, rows: Any, b: Any, y: Any) -> None:
    """Y (R, m) = x (R, n) · each of rows (m, n) + b (m,): for matrices that lie on their side."""
    for j in range(len(rows)):
        w = rows[j]
        for s in range(len(x)):
            total, a = b[j], x[s]
            for k in range(w.size):
                total += a[k] * w[k]
            y[s, j] = total


@njit(**how)
def fill_rows(y: Any, b: Any) -> None:
    """Every row of y (R, m) = b (m,)."""
    for s in range(len(y)):
        for j in range(b.size):
            y[s, j] = b[j]


@njit(**how)
def copy_row(a: Any, b: Any) -> None:
    """B = a: a slice that is assigned costs more than the rest of a token."""
    for k in range(a.size):
        b[k] = a[k]


# A list of matrices for compiled code: where each of them begins


def addresses(*arrays: Any) -> Any:
    """Where contiguous arrays begin, int64; whoever asks keeps them alive meanwhile."""
    return np.array([a.ctypes.data for a in arrays], np.int64)


def in_one_block(arrays: list[Any]) -> list[Any]:
    """The same in memory of its own, one after another: NumPy asks for large pages there.

    A plain sum reads such a block 1.5 times as fast as arrays of 1 MB on small pages.
    """
    ends = np.cumsum([-(-a.size // 16) * 16 for a in arrays])  # whole cache lines, or two
    block, moved = np.empty(int(ends[-1]), arrays[0].dtype), []
    for a, end in zip(arrays, ends, strict=True):
        start = end - -(-a.size // 16) * 16
        moved.append(block[start : start + a.size].reshape(a.shape))
        moved[-1][...] = a
    return moved


def _as_pointer(typing: Any, address: Any) -> Any:
    """An address as a pointer, for compiled code."""

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generated


_pointer: Any = intrinsic(_as_pointer)


@njit(**how)
def matrix_at(address: int, n: int, m: int, like: Any) -> Any:
    """The matrix (n, m) that begins there, of the dtype of `like`."""
    return carray(_pointer(address), (n, m), like.dtype)


@njit(**how)
def vector_at(address: int, n: int, like: Any) -> Any:
    """The vector (n,) that begins there."""
    return carray(_pointer(address), (n,), like.dtype)
