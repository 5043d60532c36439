"""Two-dimensional convolution as three bilinear maps, each the derivative of the others.

With images x (B, C, H, W), kernels w (O, C, h, w) and outputs y (B, O, H', W'),

    y = conv2d(x, w)              y_bo[p] = Σ_c Σ_k x_bc[s·p + d·k − padding] w_oc[k]

is linear in x and in w; ⟨y, conv2d(x, w)⟩ is therefore one trilinear form, whose derivatives are

    ∂/∂x = conv_transpose2d(y, w)      ∂/∂w = conv2d_kernel(x, y)      ∂/∂y = conv2d(x, w).

Cross-correlation, as in every deep-learning library. Source: Dumoulin & Visin 2016.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from core.errors import InputError

Images = Any


def windows(x: Images, kernel: tuple[int, int], stride: int, padding: int, dilation: int) -> Images:
    """Every patch the kernel meets: a view (B, C, H', W', h, w) of the zero-padded x."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    extent = tuple(dilation * (k - 1) + 1 for k in kernel)
    if x.shape[2] < extent[0] or x.shape[3] < extent[1]:
        raise InputError(f"w reaches over {extent} pixels; the padded x has {x.shape[2:]}")
    every = sliding_window_view(x, extent, axis=(2, 3))  # (B, C, ·, ·, extent, extent)
    return every[:, :, ::stride, ::stride, ::dilation, ::dilation]


def conv2d(x: Images, w: Images, stride: int = 1, padding: int = 0, dilation: int = 1) -> Images:
    """y (B, O, H', W') from x (B, C, H, W) and w (O, C, h, w); dtype of x."""
    _check(x, w, stride, padding, dilation)
    patches = windows(x, w.shape[2:], stride, padding, dilation)
    y = np.tensordot(patches, w, axes=((1, 4, 5), (1, 2, 3)))  # (B, H', W', O)
    return np.moveaxis(y, 3, 1)


def conv2d_kernel(
    x: Images, y: Images, shape: tuple[int, ...], stride: int, padding: int, dilation: int
) -> Images:
    """∂⟨y, conv2d(x, w)⟩/∂w, of the given shape (O, C, h, w)."""
    patches = windows(x, (shape[2], shape[3]), stride, padding, dilation)
    return np.tensordot(y, patches, axes=((0, 2, 3), (0, 2, 3)))  # (O, C, h, w)


def conv_transpose2d(
    y: Images,
    w: Images,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    size: tuple[int, int] | None = None,
) -> Images:
    """∂⟨y, conv2d(x, w)⟩/∂x: x (B, C, H, W) from y (B, O, H', W') and w (O, C, h, w).

    size: (H, W), needed where a stride leaves several sizes possible; default the smallest.
    """
    _check(y, np.swapaxes(w, 0, 1), stride, padding, dilation)
    h, v = y.shape[2:]
    smallest = tuple(
        stride * (n - 1) + dilation * (k - 1) + 1 - 2 * padding
        for n, k in zip((h, v), w.shape[2:], strict=True)
    )
    size = smallest if size is None else size
    for axis in (0, 1):
        if not smallest[axis] <= size[axis] < smallest[axis] + stride:
            raise InputError(
                f"size must be {smallest} or up to {stride - 1} more, got {tuple(size)}"
            )
    spread = np.tensordot(y, w, axes=((1,), (0,)))  # (B, H', W', C, h, w)
    x = np.zeros((y.shape[0], w.shape[1], *(n + 2 * padding for n in size)), y.dtype)
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            rows = slice(i * dilation, i * dilation + stride * (h - 1) + 1, stride)
            columns = slice(j * dilation, j * dilation + stride * (v - 1) + 1, stride)
            x[:, :, rows, columns] += np.moveaxis(spread[..., i, j], 3, 1)
    return x[:, :, padding : padding + size[0], padding : padding + size[1]]


def _check(x: Images, w: Images, stride: int, padding: int, dilation: int) -> None:
    if x.ndim != 4 or w.ndim != 4:
        raise InputError(f"x and w must have 4 axes each, got {x.ndim} and {w.ndim}")
    if x.shape[1] != w.shape[1]:
        raise InputError(f"x has {x.shape[1]} channels; w expects {w.shape[1]}")
    for name, n, least in (
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):
        if not isinstance(n, int) or n < least:
            raise InputError(f"{name} must be an integer of at least {least}, got {n!r}")
