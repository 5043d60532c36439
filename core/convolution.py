"""Convolutions as three bilinear maps, each the derivative of the others.

With images x (B, C, H, W), kernels w (O, C/groups, h, w) and outputs y (B, O, H', W'),

    y = conv2d(x, w)              y_bo[p] = Σ_c Σ_k x_bc[s·p + d·k − padding] w_oc[k]

is linear in x and in w; ⟨y, conv2d(x, w)⟩ is therefore one trilinear form, whose derivatives are

    ∂/∂x = conv_transpose2d(y, w)      ∂/∂w = conv2d_kernel(x, y)      ∂/∂y = conv2d(x, w).

Cross-correlation, as in every deep-learning library. Stride, padding and dilation are one integer
or a pair (rows, columns). Source: Dumoulin & Visin 2016.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.checks import pair, whole
from core.columns import Images, Window, by_tap, correlate, correlate_taps, from_taps
from core.errors import InputError
from core.rows import differentiable
from core.tensor import Array

Pair = int | tuple[int, int]
_OPTIONS = ("stride", "padding", "dilation", "groups")


@dataclass(frozen=True)
class _Geometry:
    """The arguments of a convolution, as (rows, columns)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def extent(self, axis: int) -> int:
        """How far a kernel reaches."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def window(self, size: Any) -> Window:
        """Of the convolution of images (H, W)."""
        h, v = (
            (size[i] + 2 * self.padding[i] - self.extent(i)) // self.stride[i] + 1 for i in (0, 1)
        )
        offset = (-self.padding[0], -self.padding[1])
        return Window(self.kernel, self.stride, self.dilation, offset, (h, v))

    def up(self, size: Any) -> tuple[int, int]:
        """The smallest (H, W) that gives (H', W')."""
        h, v = (
            self.stride[i] * (size[i] - 1) + self.extent(i) - 2 * self.padding[i] for i in (0, 1)
        )
        return h, v

    def phases(self, axis: int, size: int) -> Iterator[tuple[slice, list[int], int, int]]:
        """Pixels of the adjoint that the same taps reach, those taps, offset and number of pixels.

        Pixel r + s·m gets y[m + (r + p − d·k)/s] through each tap k for which that is whole.
        """
        s, p, d = self.stride[axis], self.padding[axis], self.dilation[axis]
        for r in range(min(s, size)):
            taps = [k for k in reversed(range(self.kernel[axis])) if (r + p - d * k) % s == 0]
            if taps:
                yield slice(r, None, s), taps, (r + p - d * taps[0]) // s, -(-(size - r) // s)


def _conv2d_x(g: Array, z: Array, x: Array, w: Array, **how: Any) -> Array:
    return conv_transpose2d(g, w, **how, size=x.shape[2:])


def _conv2d_w(g: Array, z: Array, x: Array, w: Array, **how: Any) -> Array:
    return conv2d_kernel(x, g, shape=w.shape, **how)


@differentiable(_conv2d_x, _conv2d_w, options=_OPTIONS)
def conv2d(
    x: Images,
    w: Images,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Images:
    """Cross-correlation: x (B, C, H, W), w (O, C/groups, h, w) → y (B, O, H', W').

    x and w have one float dtype, which is the result's. With `groups`, output channels see only
    the input channels of their group. Raises InputError.

    >>> conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)))
    array([[[[4., 4.],
             [4., 4.]]]])
    """
    how = _geometry(np.shape(w), stride, padding, dilation, groups)
    _check_images("x", x, w, w.shape[1] * how.groups)
    for i in (0, 1):
        if x.shape[2 + i] + 2 * how.padding[i] < how.extent(i):
            reach = (how.extent(0), how.extent(1))
            raise InputError(f"x must be at least {reach} with its padding, got {x.shape[2:]}")
    return correlate(x, by_tap(w, how.groups), how.window(x.shape[2:]))


def _kernel_x(g: Array, z: Array, x: Array, y: Array, shape: Any, **how: Any) -> Array:
    return conv_transpose2d(y, g, **how, size=x.shape[2:])


def _kernel_y(g: Array, z: Array, x: Array, y: Array, shape: Any, **how: Any) -> Array:
    return conv2d(x, g, **how)


@differentiable(_kernel_x, _kernel_y, options=("shape", *_OPTIONS))
def conv2d_kernel(
    x: Images,
    y: Images,
    shape: tuple[int, int, int, int],
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Images:
    """∂⟨y, conv2d(x, w)⟩/∂w, of the given shape (O, C/groups, h, w)."""
    how = _geometry(shape, stride, padding, dilation, groups)
    taps = correlate_taps(x, y, how.groups, how.window(x.shape[2:]))
    return from_taps(taps, shape)


def _transpose_y(g: Array, z: Array, y: Array, w: Array, size: Any = None, **how: Any) -> Array:
    return conv2d(g, w, **how)


def _transpose_w(g: Array, z: Array, y: Array, w: Array, size: Any = None, **how: Any) -> Array:
    return conv2d_kernel(g, y, shape=w.shape, **how)


@differentiable(_transpose_y, _transpose_w, options=(*_OPTIONS, "size"))
def conv_transpose2d(
    y: Images,
    w: Images,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    size: tuple[int, int] | None = None,
) -> Images:
    """The adjoint of conv2d: y (B, O, H', W'), w (O, C/groups, h, w) → x (B, C, H, W).

    size: (H, W), where a stride leaves several possible; default the smallest. Raises InputError.

    >>> conv_transpose2d(np.ones((1, 1, 1, 2)), np.ones((1, 1, 1, 2)), stride=2)
    array([[[[1., 1., 1., 1.]]]])
    """
    how = _geometry(np.shape(w), stride, padding, dilation, groups)
    _check_images("y", y, w, len(w))
    size = _check_size(size, how, y.shape[2:])
    rows, columns = (list(how.phases(i, size[i])) for i in (0, 1))
    d, e = (n // math.gcd(n, s) for n, s in zip(how.dilation, how.stride, strict=True))
    x = np.moveaxis(np.zeros((len(y), *size, w.shape[1] * how.groups), y.dtype), 3, 1)
    for (here, i, low, h), (there, j, left, v) in itertools.product(rows, columns):
        taps = np.swapaxes(by_tap(w[:, :, i][..., j], how.groups), 2, 3)
        window = Window((len(i), len(j)), (1, 1), (d, e), (low, left), (h, v))
        if how.stride == (1, 1):
            return correlate(y, taps, window)
        correlate(y, taps, window, out=x[:, :, here, there])
    return x


# One and two axes of these


def conv1d(
    x: Array, w: Array, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> Array:
    """Cross-correlation: x (B, C, L), w (O, C/groups, k) → (B, O, L'); as conv2d.

    >>> conv1d(np.array([[[1.0, 2.0, 4.0]]]), np.array([[[-1.0, 1.0]]]))
    array([[[1., 2.]]])
    """
    how = _one_axis(x, w, stride, padding, dilation)
    return np.squeeze(conv2d(_row(x), _row(w), **how, groups=groups), axis=2)


def causal_conv1d(x: Array, w: Array, dilation: int = 1, groups: int = 1) -> Array:
    """x (B, C, L), w (O, C/groups, k) → (B, O, L): output t sees x at t, t − d, …, t − d·(k−1).

    Zeros stand before the beginning (van den Oord et al. 2016, WaveNet, section 2.1).

    >>> causal_conv1d(np.array([[[1.0, 2.0, 4.0]]]), np.array([[[1.0, 1.0]]]))
    array([[[1., 3., 6.]]])
    """
    past = whole("dilation", dilation, 1) * (_axes("w", w, 3)[2] - 1)
    _axes("x", x, 3)
    return conv1d(np.pad(x, ((0, 0), (0, 0), (past, 0))), w, dilation=dilation, groups=groups)


def conv_transpose1d(
    y: Array,
    w: Array,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    size: int | None = None,
) -> Array:
    """The adjoint of conv1d: y (B, O, L'), w (O, C/groups, k) → (B, C, L).

    >>> conv_transpose1d(np.array([[[1.0, 2.0]]]), np.array([[[1.0, 3.0]]]), stride=2)
    array([[[1., 3., 2., 6.]]])
    """
    how = _one_axis(y, w, stride, padding, dilation)
    wide = None if size is None else (1, size)
    return np.squeeze(conv_transpose2d(_row(y), _row(w), **how, groups=groups, size=wide), axis=2)


# Kernels scaled for each sample


def modulated_conv2d(
    x: Array, w: Array, style: Array, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> Array:
    """conv2d with each sample's own kernels, style_c · w_oc: x (B, C, H, W), style (B, C).

    Scaling the input channels is the same map. Source: Karras et al. 2020 (StyleGAN2), section 2.2.

    >>> modulated_conv2d(np.ones((2, 1, 1, 1)), np.ones((1, 1, 1, 1)), np.array([[2.0], [3.0]]))
    array([[[[2.]]],
    <BLANKLINE>
    <BLANKLINE>
           [[[3.]]]])
    """
    return conv2d(x * _per_pixel("style", style, x), w, stride, padding, dilation)


def demodulated_conv2d(
    x: Array,
    w: Array,
    style: Array,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    eps: float = 1e-8,
) -> Array:
    """modulated_conv2d with each sample's kernels brought to norm 1, one output channel at a time.

    >>> demodulated_conv2d(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), np.array([[5.0]]))
    array([[[[1.]]]])
    """
    y = modulated_conv2d(x, w, style, stride, padding, dilation)
    return y * _per_pixel("style", demodulation(w, style, eps), y)


def demodulation(w: Array, style: Array, eps: float = 1e-8) -> Array:
    """1 / √(Σ_ck (style_c w_ock)² + eps): w (O, C, h, w), style (B, C) → (B, O).

    >>> demodulation(np.full((1, 1, 2, 2), 0.5), np.array([[1.0], [2.0]])).round(3)
    array([[1. ],
           [0.5]])
    """
    energy = np.sum(w * w, axis=(2, 3))  # (O, C)
    return 1 / np.sqrt((style * style) @ np.swapaxes(energy, 0, 1) + eps)


def _per_pixel(name: str, scale: Array, x: Array) -> Array:
    """(B, C) → (B, C, 1, 1), to go with x (B, C, H, W)."""
    _axes("x", x, 4)
    if scale.shape != x.shape[:2]:
        raise InputError(f"{name} must have shape {x.shape[:2]}, got {scale.shape}")
    return np.reshape(scale, (*scale.shape, 1, 1))


def _row(x: Array) -> Array:
    """A line as an image of one row."""
    return np.reshape(x, (*x.shape[:-1], 1, x.shape[-1]))


def _one_axis(x: Array, w: Array, stride: int, padding: int, dilation: int) -> dict[str, Any]:
    _axes("x", x, 3)
    _axes("w", w, 3)
    return {
        "stride": (1, whole("stride", stride, 1)),
        "padding": (0, whole("padding", padding, 0)),
        "dilation": (1, whole("dilation", dilation, 1)),
    }


# Arguments


def _geometry(shape: Any, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> _Geometry:
    if len(shape) != 4:
        raise InputError(f"w must have 4 axes, got {len(shape)}")
    o, _, *kernel = shape
    groups = whole("groups", groups, 1)
    if o % groups:
        raise InputError(f"w must have a multiple of {groups} output channels, got {o}")
    if min(kernel) < 1:
        raise InputError(f"w must reach over at least one pixel, got {tuple(kernel)}")
    return _Geometry(
        (kernel[0], kernel[1]),
        pair("stride", stride, 1),
        pair("padding", padding, 0),
        pair("dilation", dilation, 1),
        groups,
    )


def _axes(name: str, x: Array, n: int) -> tuple[int, ...]:
    if np.ndim(x) != n:
        raise InputError(f"{name} must have {n} axes, got {np.ndim(x)}")
    shape: tuple[int, ...] = x.shape
    return shape


def _check_images(name: str, x: Images, w: Images, channels: int) -> None:
    if _axes(name, x, 4)[1] != channels:
        raise InputError(f"{name} must have {channels} channels as w has, got {x.shape[1]}")
    if x.dtype != w.dtype or x.dtype.kind != "f":
        raise InputError(f"{name} and w must have one float dtype, got {x.dtype} and {w.dtype}")


def _check_size(size: Any, how: _Geometry, down: Any) -> tuple[int, int]:
    least = how.up(down)
    h, v = least if size is None else pair("size", size, 1)
    if not all(m <= n < m + s for m, n, s in zip(least, (h, v), how.stride, strict=True)):
        more = tuple(s - 1 for s in how.stride)
        raise InputError(f"size must be {least} or up to {more} more, got {(h, v)}")
    if min(h, v) < 1:
        raise InputError(f"padding must leave pixels, got {how.padding} for size {(h, v)}")
    return h, v
