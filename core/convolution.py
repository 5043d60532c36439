"""Convolutions as three bilinear maps, each the derivative of the others.

With images x (B, C, H, W), kernels w (O, C/groups, h, w) and outputs y (B, O, H', W'),

    y = conv2d(x, w)              y_bo[p] = Σ_c Σ_k x_bc[s·p + d·k − padding] w_oc[k]

is linear in x and in w; ⟨y, conv2d(x, w)⟩ is therefore one trilinear form, whose derivatives are

    ∂/∂x = conv_transpose2d(y, w)      ∂/∂w = conv2d_kernel(x, y)      ∂/∂y = conv2d(x, w).

Cross-correlation, as in every deep-learning library. Stride, padding and dilation are one integer
or a pair (rows, columns). Source: Dumoulin & Visin 2016.

Images have this shape over channel-last memory: a patch is then a few long runs, which are copied,
some images at a time, into one buffer ("columns") that meets the kernels in one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from core.checks import pair, whole
from core.errors import InputError
from core.rows import differentiable
from core.tensor import Array

Images = Any
Pair = int | tuple[int, int]
_OPTIONS = ("stride", "padding", "dilation", "groups")
_COLUMNS = 1 << 18  # numbers in the buffer of columns: it stays in the cache


@dataclass(frozen=True)
class _Geometry:
    """Where the kernel's taps lie: everything as (rows, columns)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def extent(self, axis: int) -> int:
        """How far a kernel reaches."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def down(self, size: Any) -> tuple[int, int]:
        """(H', W') from (H, W)."""
        h, v = (
            (size[i] + 2 * self.padding[i] - self.extent(i)) // self.stride[i] + 1 for i in (0, 1)
        )
        return h, v

    def up(self, size: Any) -> tuple[int, int]:
        """The smallest (H, W) that gives (H', W')."""
        h, v = (
            self.stride[i] * (size[i] - 1) + self.extent(i) - 2 * self.padding[i] for i in (0, 1)
        )
        return h, v


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
    how = _geometry(w, stride, padding, dilation, groups)
    _check_images("x", x, w, w.shape[1] * how.groups)
    for i in (0, 1):
        if x.shape[2 + i] + 2 * how.padding[i] < how.extent(i):
            reach = (how.extent(0), how.extent(1))
            raise InputError(f"x must be at least {reach} with its padding, got {x.shape[2:]}")
    y = np.empty((len(x), *how.down(x.shape[2:]), len(w)), x.dtype)  # (B, H', W', O)
    kernels = _as_matrices(w, how.groups)
    for columns, part in _columns(x, how, _by_group(y, how.groups)):
        np.matmul(columns, kernels, out=part)
    return np.moveaxis(y, 3, 1)


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
    w = np.zeros(shape, x.dtype)
    how = _geometry(w, stride, padding, dilation, groups)
    total = np.zeros_like(_as_matrices(w, how.groups))  # (groups, h·w·C/groups, O/groups)
    term = np.empty_like(total)
    for columns, part in _columns(x, how, _by_group(channels_last(y), how.groups)):
        total += np.matmul(np.swapaxes(columns, 1, 2), part, out=term)
    return _from_matrices(total, shape)


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
    how = _geometry(w, stride, padding, dilation, groups)
    _check_images("y", y, w, len(w))
    size = _check_size(size, how, y.shape[2:])
    if how.stride == (1, 1):
        return _transpose_unstrided(y, w, how)
    padded = tuple(n + 2 * p for n, p in zip(size, how.padding, strict=True))
    x = np.zeros((len(y), *padded, w.shape[1] * how.groups), y.dtype)  # (B, H + 2p, W + 2p, C)
    _add_taps(x, channels_last(y), _as_matrices(w, how.groups), how)
    (top, left), (h, v) = how.padding, size
    return np.moveaxis(x[:, top : top + h, left : left + v], 3, 1)


def _transpose_unstrided(y: Images, w: Images, how: _Geometry) -> Images:
    """At stride 1 the adjoint is a convolution: kernels flipped, their channels swapped."""
    o, c, *kernel = w.shape
    split = np.reshape(w, (how.groups, o // how.groups, c, *kernel))[..., ::-1, ::-1]
    flipped = np.reshape(np.swapaxes(split, 1, 2), (how.groups * c, o // how.groups, *kernel))
    margin = [how.extent(i) - 1 - how.padding[i] for i in (0, 1)]
    cut = tuple(slice(max(-m, 0), n + min(m, 0)) for m, n in zip(margin, y.shape[2:], strict=True))
    padding = (max(margin[0], 0), max(margin[1], 0))
    return conv2d.forward(y[:, :, *cut], flipped, 1, padding, how.dilation, how.groups)


def _add_taps(x: Images, y: Images, kernels: Images, how: _Geometry) -> None:
    """Add each output's share to the pixels under its kernel, a few images at a time."""
    (h, v), (s, t), (d, e) = y.shape[1:3], how.stride, how.dilation
    width = kernels.shape[1] // (how.kernel[0] * how.kernel[1])  # C/groups
    images = _images_at_a_time(h * v * kernels.shape[0] * kernels.shape[1])
    for b in range(0, len(y), images):
        part = _by_group(y[b : b + images], how.groups)  # (groups, b·H'·W', O/groups)
        share = np.matmul(part, np.swapaxes(kernels, 1, 2))
        share = share.reshape(how.groups, -1, h, v, *how.kernel, width)
        for i in range(how.kernel[0]):
            for j in range(how.kernel[1]):
                rows = slice(i * d, i * d + s * (h - 1) + 1, s)
                columns = slice(j * e, j * e + t * (v - 1) + 1, t)
                here = x[b : b + images, rows, columns].reshape(-1, h, v, how.groups, width)
                here += np.moveaxis(share[..., i, j, :], 0, 3)


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


# Memory: patches, columns, groups


def channels_last(x: Images) -> Images:
    """x (B, C, H, W) as a contiguous (B, H, W, C)."""
    return np.ascontiguousarray(np.moveaxis(x, 1, 3))


def _padded(x: Images, padding: tuple[int, int]) -> Images:
    """channels_last(x) with zeros around the pixels."""
    if padding == (0, 0):
        return channels_last(x)
    (b, c, h, v), (top, left) = x.shape, padding
    wide = np.zeros((b, h + 2 * top, v + 2 * left, c), x.dtype)
    wide[:, top : top + h, left : left + v] = np.moveaxis(x, 1, 3)
    return wide


def _patches(x: Images, how: _Geometry) -> Images:
    """Every patch the kernel meets: a view (groups, B, H', W', h, w, C/groups) of padded images."""
    b, c = len(x), x.shape[3] // how.groups
    (along, s, t, one), (d, e) = x.strides, how.dilation
    down = [(x.shape[1 + i] - how.extent(i)) // how.stride[i] + 1 for i in (0, 1)]
    strides = (c * one, along, s * how.stride[0], t * how.stride[1], s * d, t * e, one)
    shape = (how.groups, b, *down, *how.kernel, c)
    return as_strided(x, shape, strides, writeable=False)


def _columns(x: Images, how: _Geometry, y: Images) -> Iterator[tuple[Images, Images]]:
    """Pairs of columns (groups, n, h·w·C/groups) and the n pixels of y (groups, B·H'·W', ·)."""
    patches = _patches(_padded(x, how.padding), how)
    g, b, h, v, *kernel = patches.shape
    if how.kernel == (1, 1) and how.stride == (1, 1):
        yield patches.reshape(g, b * h * v, -1) if b else patches.reshape(g, 0, kernel[2]), y
        return
    images = min(_images_at_a_time(math.prod(patches.shape[2:]) * g), b)
    buffer = _buffer(images, patches)
    for start in range(0, b, max(images, 1)):
        some = patches[:, start : start + images]
        columns = buffer[:, : some.shape[1]]
        columns[...] = some
        n = some.shape[1] * h * v
        yield columns.reshape(g, n, math.prod(kernel)), y[:, start * h * v : start * h * v + n]


def _buffer(images: int, patches: Images) -> Images:
    """Room for the columns of some images; what is a longer run in the patches is one here."""
    g, _, h, v, *kernel = patches.shape
    if kernel[1] * kernel[2] >= v:
        return np.empty((g, images, h, v, *kernel), patches.dtype)
    return np.empty((g, *kernel, images, h, v), patches.dtype).transpose(0, 4, 5, 6, 1, 2, 3)


def _images_at_a_time(numbers: int) -> int:
    return max(1, _COLUMNS // max(numbers, 1))


def _by_group(y: Images, groups: int) -> Images:
    """Contiguous y (B, H, W, O) as (groups, B·H·W, O/groups), the same memory."""
    pixels = math.prod(y.shape[:3])
    return np.swapaxes(y.reshape(pixels, groups, y.shape[3] // groups), 0, 1)


def _as_matrices(w: Images, groups: int) -> Images:
    """Kernels (O, C/groups, h, w) as (groups, h·w·C/groups, O/groups)."""
    o, c, h, v = w.shape
    split = w.reshape(groups, o // groups, c, h, v).transpose(0, 3, 4, 2, 1)
    return split.reshape(groups, h * v * c, o // groups)


def _from_matrices(m: Images, shape: tuple[int, int, int, int]) -> Images:
    o, c, h, v = shape
    return m.reshape(len(m), h, v, c, o // len(m)).transpose(0, 4, 3, 1, 2).reshape(shape)


# Arguments


def _geometry(w: Images, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> _Geometry:
    o, _, *kernel = _axes("w", w, 4)
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
