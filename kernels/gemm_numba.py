"""Matrix products inside compiled code, by the BLAS that Numba's own `np.dot` calls (row K4).

`np.dot` wants contiguous matrices and overwrites its result. BLAS itself takes any matrix whose
rows are contiguous, multiplies by a scalar and adds to what is there, all in the same pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.numerics_numba import how

_AS_IT_IS, _TRANSPOSED = np.uint8(ord("n")), np.uint8(ord("t"))
_SINGLE, _DOUBLE = np.uint8(ord("s")), np.uint8(ord("d"))
_size, _at = types.intp, types.voidptr
_blas: Any = types.ExternalFunction(
    "numba_xxgemm",
    types.intc(
        types.char, types.char, types.char, _size, _size, _size,
        _at, _at, _size, _at, _size, _at, _at, _size,
    ),
)  # fmt: skip


def _begin(typing: Any, array: Any) -> Any:
    """Where the memory of an array begins, for compiled code."""

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.bitcast(made.data, cgutils.voidptr_t)

    return types.voidptr(array), generated


_address: Any = intrinsic(_begin)


@njit(**how)
def _product(a: Any, b: Any, c: Any, scalars: Any, of_a: Any) -> None:
    """By columns, as BLAS reads memory, it is cᵀ ← α bᵀ aᵀ + β cᵀ."""
    m, n = c.shape
    unit = c.itemsize
    kind = _SINGLE if unit == 4 else _DOUBLE
    _blas(
        kind, _AS_IT_IS, of_a, n, m, b.shape[0],
        _address(scalars[0:]), _address(b), max(b.strides[0] // unit, n),
        _address(a), max(a.strides[0] // unit, a.shape[1]),
        _address(scalars[1:]), _address(c), max(c.strides[0] // unit, n),
    )  # fmt: skip


@njit(**how)
def set_product(a: Any, b: Any, c: Any, scalars: Any, most: int) -> None:
    """c ← α a b + β c, scalars = (α, β) in their dtype, in runs of rows of c; see `small_product`.

    a (m, k), b (k, n), c (m, n), float32 or float64: each row is contiguous, and any distance from
    the next. β = 0 reads no c.
    """
    m, n = c.shape
    step = max(1, most // max(n * b.shape[0], 1))
    for i in range(0, m if n else 0, step):
        _product(a[i : i + step], b, c[i : i + step], scalars, _AS_IT_IS)


@njit(**how)
def add_product_T(a: Any, b: Any, c: Any, one: Any, most: int) -> None:
    """c ← aᵀ b + c likewise, a (k, m), in runs of rows of a and b. one = (1, 1)."""
    m, n = c.shape
    step = max(1, most // max(m * n, 1))
    for j in range(0, len(a) if m * n else 0, step):
        _product(a[j : j + step], b[j : j + step], c, one, _TRANSPOSED)
