"""Images made smaller or larger: pooling and upsampling, over the last two axes of (B, C, H, W).

A window and its stride are one integer or a pair (rows, columns). Every map here is linear, but for
the choice of the largest; each has its adjoint as a row, and the adjoint has the map.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from core.checks import pair
from core.errors import InputError
from core.rows import differentiable
from core.tensor import Array, value

Images = Any
Pair = int | tuple[int, int]
_WINDOW = ("window", "stride")


def _avg_pool2d_x(g: Array, z: Array, x: Array, window: Pair, stride: Pair | None = None) -> Array:
    return unpool(g, x.shape, window, stride) * _share(window)


@differentiable(_avg_pool2d_x, options=_WINDOW)
def avg_pool2d(x: Images, window: Pair, stride: Pair | None = None) -> Images:
    """Mean over each window, (B, C, H, W) → (B, C, H', W'); stride None: the window's own size.

    What is left over at the right and below is not seen. Raises InputError.

    >>> avg_pool2d(np.arange(4.0).reshape(1, 1, 2, 2), 2)
    array([[[[1.5]]]])
    """
    z = pool(x, window, stride)
    z *= _share(window)
    return z


def _pool_x(g: Array, z: Array, x: Array, window: Pair, stride: Pair | None = None) -> Array:
    return unpool(g, x.shape, window, stride)


@differentiable(_pool_x, options=_WINDOW)
def pool(x: Images, window: Pair, stride: Pair | None = None) -> Images:
    """Sum over each window."""
    first, *others = _taps(x.shape, window, stride)
    z = np.array(x[first])
    for tap in others:
        z += x[tap]
    return z


@differentiable(
    lambda g, z, y, shape, window, stride=None: pool(g, window, stride),
    options=("shape", *_WINDOW),
)
def unpool(y: Images, shape: tuple[int, ...], window: Pair, stride: Pair | None = None) -> Images:
    """The adjoint of `pool`: every output added to all pixels of its window."""
    x = _zeros(y, shape)
    for tap in _taps(shape, window, stride):
        x[tap] += y
    return x


def _max_pool2d_x(g: Array, z: Array, x: Array, window: Pair, stride: Pair | None = None) -> Array:
    winner = _winner(value(x), value(z), window, stride)
    return put_back(g, winner, x.shape, window, stride)


@differentiable(_max_pool2d_x, options=_WINDOW)
def max_pool2d(x: Images, window: Pair, stride: Pair | None = None) -> Images:
    """Largest of each window, (B, C, H, W) → (B, C, H', W'); stride None: the window's own size.

    The derivative goes to the first of equals. Raises InputError.

    >>> max_pool2d(np.arange(4.0).reshape(1, 1, 2, 2), 2)
    array([[[[3.]]]])
    """
    first, *others = _taps(x.shape, window, stride)
    z = np.array(x[first])
    for tap in others:
        np.maximum(z, x[tap], out=z)
    return z


def _winner(x: Images, z: Images, window: Pair, stride: Pair | None) -> Images:
    """Number of the first tap at which x is z, as int16 like z."""
    winner = np.zeros_like(z, np.int16)
    taps = list(_taps(x.shape, window, stride))
    for n, tap in reversed(list(enumerate(taps))):
        np.copyto(winner, n, where=x[tap] == z)
    return winner


def _picked_x(g: Array, z: Array, x: Array, winner: Any, window: Any, stride: Any = None) -> Array:
    return put_back(g, winner, x.shape, window, stride)


@differentiable(_picked_x, options=("winner", *_WINDOW))
def picked(x: Images, winner: Images, window: Pair, stride: Pair | None = None) -> Images:
    """Of each window the pixel at the tap that `winner` names."""
    z = np.zeros_like(winner, x.dtype)
    for n, tap in enumerate(_taps(x.shape, window, stride)):
        np.copyto(z, x[tap], where=winner == n)
    return z


@differentiable(
    lambda g, z, y, winner, shape, window, stride=None: picked(g, winner, window, stride),
    options=("winner", "shape", *_WINDOW),
)
def put_back(
    y: Images, winner: Images, shape: tuple[int, ...], window: Pair, stride: Pair | None = None
) -> Images:
    """The adjoint of `picked`."""
    x = _zeros(y, shape)
    for n, tap in enumerate(_taps(shape, window, stride)):
        x[tap] += np.where(winner == n, y, 0)
    return x


@differentiable(lambda g, z, x, scale: pool(g, scale), options=("scale",))
def upsample_nearest2d(x: Images, scale: Pair) -> Images:
    """Every pixel repeated: (B, C, H, W) → (B, C, H·scale, W·scale). Raises InputError.

    >>> upsample_nearest2d(np.array([[[[1.0, 2.0]]]]), (1, 2))
    array([[[[1., 1., 2., 2.]]]])
    """
    rows, columns = pair("scale", scale, 1)
    (b, c, h, v) = _four("x", x.shape)
    z = np.empty((b, h, rows, v, columns, c), x.dtype)
    z[...] = np.moveaxis(x, 1, 3)[:, :, None, :, None]
    return np.moveaxis(z.reshape(b, h * rows, v * columns, c), 3, 1)


def upsample_bilinear2d(x: Array, scale: Pair) -> Array:
    """Linear between pixels' centres, constant beyond: (B, C, H, W) → (B, C, H·scale, W·scale).

    PyTorch's align_corners=False. Raises InputError.

    >>> upsample_bilinear2d(np.array([[[[0.0, 4.0]]]]), (1, 2))
    array([[[[0., 1., 3., 4.]]]])
    """
    rows, columns = pair("scale", scale, 1)
    _, _, h, v = _four("x", x.shape)
    across = _interpolation(v, columns).astype(x.dtype)
    down = _interpolation(h, rows).astype(x.dtype)
    return down.T @ (x @ across)


@lru_cache(maxsize=64)
def _interpolation(n: int, scale: int) -> Any:
    """Column i holds the weights of n pixels in the i-th of n·scale new ones."""
    centre = np.clip((np.arange(n * scale) + 0.5) / scale - 0.5, 0, max(n - 1, 0))
    return np.maximum(1 - np.abs(centre - np.arange(n)[:, None]), 0)


def _taps(shape: tuple[int, ...], window: Pair, stride: Pair | None) -> Iterator[Any]:
    """For each place in the window: an index of the pixels that all windows have there."""
    size = pair("window", window, 1)
    step = size if stride is None else pair("stride", stride, 1)
    pixels = _four("x", shape)[2:]
    if pixels[0] < size[0] or pixels[1] < size[1]:
        raise InputError(f"x must be at least {size} pixels as window is, got {pixels}")
    reach = [(n - k) // s * s + 1 for n, k, s in zip(pixels, size, step, strict=True)]
    for i in range(size[0]):
        for j in range(size[1]):
            rows, columns = slice(i, i + reach[0], step[0]), slice(j, j + reach[1], step[1])
            yield (slice(None), slice(None), rows, columns)


def _share(window: Pair) -> float:
    rows, columns = pair("window", window, 1)
    return 1 / (rows * columns)


def _zeros(y: Images, shape: tuple[int, ...]) -> Images:
    """Zeros of this shape over channel-last memory, as convolutions have it."""
    b, c, h, v = shape
    return np.moveaxis(np.zeros((b, h, v, c), y.dtype), 3, 1)


def _four(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 4:
        raise InputError(f"{name} must have 4 axes, got {len(shape)}")
    return shape
