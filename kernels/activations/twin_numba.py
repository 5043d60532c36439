"""Activations and the Bernoulli log-likelihood in one pass over memory, both ways (row K1).

What the backward needs of the forward is worked out again: an exponential costs less than a read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kernels.numerics_numba import fused, normal, sigmoid
from kernels.sharing import flat, floating, share


@njit(**fused)
def _relu(x: Any, z: Any) -> None:
    zero = x.dtype.type(0)
    for i in range(x.size):
        z[i] = zero if x[i] <= zero else x[i]  # NaN stays


@njit(**fused)
def _relu_backward(x: Any, g: Any, dx: Any) -> None:
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for i in range(x.size):
        dx[i] = g[i] * (one if x[i] > zero else zero)


@njit(**fused)
def gelu_units(x: Any, z: Any) -> None:
    """Z = gelu(x), both (n,)."""
    zero = x.dtype.type(0)
    for i in range(x.size):  # max(x, 0) − |x| Φ(−|x|): no digit cancels
        _, below, _ = normal(x[i])
        z[i] = (x[i] if x[i] > zero else zero) - abs(x[i]) * below if below > zero else x[i]


@njit(**fused)
def _gelu_backward(x: Any, g: Any, dx: Any) -> None:
    for i in range(x.size):
        whole, _, bell = normal(x[i])
        dx[i] = g[i] * (whole + x[i] * bell)


@njit(**fused)
def _silu(x: Any, z: Any) -> None:
    for i in range(x.size):
        z[i] = x[i] * sigmoid(x[i])


@njit(**fused)
def _silu_backward(x: Any, g: Any, dx: Any) -> None:
    one = x.dtype.type(1)
    for i in range(x.size):
        s = sigmoid(x[i])
        dx[i] = g[i] * (s * (one + x[i] * (one - s)))


def _mapped(kernel: Any, *arrays: Any) -> Any:
    """z, like the first array, filled by kernel(*arrays, z)."""
    z = np.empty_like(arrays[0])
    share(kernel, [flat(a, arrays[0]) for a in (*arrays, z)])
    return z


def relu(x: Any) -> Any:
    """Twin of `relu`. Raises InputError for what is no float32 or float64."""
    return _mapped(_relu, *floating(x=x))


def relu_backward(x: Any, g: Any) -> tuple[Any]:
    """Its derivative."""
    return (_mapped(_relu_backward, *floating(x=x, g=g)),)


def gelu(x: Any) -> Any:
    """Twin of `gelu`. Raises InputError for what is no float32 or float64."""
    return _mapped(gelu_units, *floating(x=x))


def gelu_backward(x: Any, g: Any) -> tuple[Any]:
    """Its derivative."""
    return (_mapped(_gelu_backward, *floating(x=x, g=g)),)


def silu(x: Any) -> Any:
    """Twin of `silu`. Raises InputError for what is no float32 or float64."""
    return _mapped(_silu, *floating(x=x))


def silu_backward(x: Any, g: Any) -> tuple[Any]:
    """Its derivative."""
    return (_mapped(_silu_backward, *floating(x=x, g=g)),)
