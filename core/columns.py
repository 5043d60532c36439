"""Sums over windows of images as matrix products: the arithmetic behind core.convolution.

Images keep the shape (B, C, H, W) over channel-last memory: a patch is then a few long runs, which
are copied, some images at a time, into one buffer ("columns", it stays in the cache) that meets the
kernels in one product. Where there are far fewer outputs than inputs the product comes first, and
its terms are shifted and added up.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from core.operation import operation

Images = Any
_NUMBERS = 1 << 18  # in the buffer of columns
_FEWER = 4  # outputs, where the product comes first


@dataclass(frozen=True)
class Window:
    """Per axis, output m meets the pixels offset + stride·m + dilation·j, j < kernel."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    offset: tuple[int, int]
    size: tuple[int, int]

    def reach(self) -> tuple[int, int]:
        """Pixels from the first that is met to the last."""
        h, v = (
            self.stride[i] * (self.size[i] - 1) + self.dilation[i] * (self.kernel[i] - 1) + 1
            for i in (0, 1)
        )
        return h, v

    def seen_from_pixels(self, pixels: Any) -> Window:
        """At stride 1: which outputs a pixel meets; the taps come in reverse."""
        back = (-self.offset[i] - self.dilation[i] * (self.kernel[i] - 1) for i in (0, 1))
        h, v = back
        return Window(self.kernel, (1, 1), self.dilation, (h, v), (pixels[0], pixels[1]))


@operation(arrays=0)
def correlate(x: Images, taps: Images, window: Window, *, out: Images = None) -> Images:
    """y (B, O, H', W') from x (B, C, H, W) and taps (groups, h·w, C/groups, O/groups).

    out: where it is written, if there is a place: a view of larger images, say.

    >>> two = Window(kernel=(1, 2), stride=(1, 1), dilation=(1, 1), offset=(0, 0), size=(1, 3))
    >>> x, taps = np.arange(4.0).reshape(1, 1, 1, 4), np.array([10.0, 1.0]).reshape(1, 2, 1, 1)
    >>> correlate(x, taps, two)[0, 0]
    array([[ 1., 12., 23.]])
    """
    if out is not None:
        out[...] = correlate.definition(x, taps, window)
        return out
    g, _, c, o = taps.shape
    if _FEWER * o * math.prod(x.shape[2:]) <= c * math.prod(window.size):
        return _product_first(x, taps, window)
    y = np.empty((len(x), *window.size, g * o), x.dtype)  # (B, H', W', O)
    kernels = _matrices(taps)
    for columns, part in _columns(x, window, _by_group(y, g)):
        np.matmul(columns, kernels, out=part)
    return np.moveaxis(y, 3, 1)


@operation(arrays=0)
def correlate_taps(x: Images, y: Images, groups: int, window: Window) -> Images:
    """∂⟨y, correlate(x, taps)⟩/∂taps: (groups, h·w, C/groups, O/groups).

    >>> two = Window(kernel=(1, 2), stride=(1, 1), dilation=(1, 1), offset=(0, 0), size=(1, 3))
    >>> correlate_taps(np.arange(4.0).reshape(1, 1, 1, 4), np.ones((1, 1, 1, 3)), 1, two).ravel()
    array([3., 6.])
    """
    c, o = x.shape[1] // groups, y.shape[1] // groups
    if window.stride == (1, 1) and o < c and _FEWER * o <= c:
        swapped = correlate_taps(y, x, groups, window.seen_from_pixels(x.shape[2:]))
        return np.swapaxes(swapped[:, ::-1], 2, 3)
    total = np.zeros((groups, math.prod(window.kernel) * c, o), x.dtype)
    term = np.empty_like(total)
    for columns, part in _columns(x, window, _by_group(channels_last(y), groups)):
        total += np.matmul(np.swapaxes(columns, 1, 2), part, out=term)
    return total.reshape(groups, math.prod(window.kernel), c, o)


def _product_first(x: Images, taps: Images, window: Window) -> Images:
    """Few output channels: every pixel's product with every tap, then shifted and added up."""
    (b, _, h, v), (g, n, c, o) = x.shape, taps.shape
    y = np.zeros((b, g, o, *window.size), x.dtype)
    kernels = np.swapaxes(taps, 2, 3).reshape(g, n * o, c)
    images = _images_at_a_time(g * n * o * h * v)
    axes = [list(_met(window, i, x.shape[2 + i])) for i in (0, 1)]
    for start in range(0, b, images):
        some = x[start : start + images]
        some = some.reshape(len(some), g, c, h * v)
        products = (kernels @ some).reshape(len(some), g, n, o, h, v)
        for tap, ((rows, to), (columns, into)) in enumerate(itertools.product(*axes)):
            y[start : start + images, :, :, to, into] += products[:, :, tap, :, rows, columns]
    return y.reshape(b, g * o, *window.size)


def _met(window: Window, axis: int, length: int) -> Iterator[tuple[slice, slice]]:
    """For each tap along an axis: the pixels it meets, and the outputs that meet them."""
    s, n = window.stride[axis], window.size[axis]
    for j in range(window.kernel[axis]):
        at = window.offset[axis] + window.dilation[axis] * j
        first = max(-(at // s), 0)
        last = max(min((length - 1 - at) // s + 1, n), first)
        yield slice(at + s * first, max(at + s * (last - 1) + 1, 0), s), slice(first, last)


def channels_last(x: Images) -> Images:
    """x (B, C, H, W) as a contiguous (B, H, W, C)."""
    return np.ascontiguousarray(np.moveaxis(x, 1, 3))


def _columns(x: Images, window: Window, y: Images) -> Iterator[tuple[Images, Images]]:
    """Pairs of columns (groups, n, h·w·C/groups) and the n pixels of y (groups, B·H'·W', ·)."""
    pixels, groups, (h, v) = np.moveaxis(x, 1, 3), len(y), window.size
    if window == Window((1, 1), (1, 1), window.dilation, (0, 0), x.shape[2:]):
        yield _by_group(np.ascontiguousarray(pixels), groups), y
        return
    width = x.shape[1] * math.prod(window.kernel)
    images = min(_images_at_a_time(h * v * width), len(x))
    room = np.zeros((images, *window.reach(), x.shape[1]), x.dtype)
    inside, source = _overlap(window, x.shape[2:])
    patches = _patches(room, window, groups)
    buffer = _buffer(patches)
    for start in range(0, len(x), max(images, 1)):
        some = pixels[start : start + images]
        n = len(some)
        room[:n, *inside] = some[:, *source]
        columns = buffer[:, :n]
        columns[...] = patches[:, :n]
        part = y[:, start * h * v : (start + n) * h * v]
        yield columns.reshape(groups, n * h * v, width // groups), part


def _overlap(window: Window, size: Any) -> tuple[list[slice], list[slice]]:
    """Where the pixels that are met lie in what the window reaches over, and in the image."""
    inside, source = [], []
    for low, reach, n in zip(window.offset, window.reach(), size, strict=True):
        first = max(low, 0)
        last = max(min(low + reach, n), first)
        source.append(slice(first, last))
        inside.append(slice(first - low, last - low))
    return inside, source


def _patches(room: Images, window: Window, groups: int) -> Images:
    """Every patch of (B, H, W, C): a view (groups, B, H', W', h, w, C/groups)."""
    (along, s, t, one), (d, e) = room.strides, window.dilation
    c = room.shape[3] // groups
    strides = (c * one, along, s * window.stride[0], t * window.stride[1], s * d, t * e, one)
    shape = (groups, len(room), *window.size, *window.kernel, c)
    return as_strided(room, shape, strides, writeable=False)


def _buffer(patches: Images) -> Images:
    """Room for columns: what is a longer run in the patches is one here."""
    g, b, h, v, *kernel = patches.shape
    if kernel[1] * kernel[2] >= v:
        return np.empty(patches.shape, patches.dtype)
    return np.empty((g, *kernel, b, h, v), patches.dtype).transpose(0, 4, 5, 6, 1, 2, 3)


def _images_at_a_time(numbers: int) -> int:
    return max(1, _NUMBERS // max(numbers, 1))


def _by_group(y: Images, groups: int) -> Images:
    """Contiguous y (B, H, W, O) as (groups, B·H·W, O/groups), the same memory."""
    pixels = math.prod(y.shape[:3])
    return np.swapaxes(y.reshape(pixels, groups, y.shape[3] // groups), 0, 1)


def by_tap(w: Images, groups: int) -> Images:
    """Kernels (O, C/groups, h, w) as (groups, h·w, C/groups, O/groups)."""
    o, c, h, v = w.shape
    split = w.reshape(groups, o // groups, c, h, v).transpose(0, 3, 4, 2, 1)
    return split.reshape(groups, h * v, c, o // groups)


def _matrices(taps: Images) -> Images:
    """(groups, h·w, C/groups, O/groups) → (groups, h·w·C/groups, O/groups)."""
    g, n, c, o = taps.shape
    return taps.reshape(g, n * c, o)


def from_taps(taps: Images, shape: tuple[int, int, int, int]) -> Images:
    """Undo `by_tap`: kernels of the shape (O, C/groups, h, w)."""
    (o, c, h, v), g = shape, len(taps)
    return taps.reshape(g, h, v, c, o // g).transpose(0, 4, 3, 1, 2).reshape(shape)
