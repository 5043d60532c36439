"""Images of a gated PixelCNN on the CPU, drawn in one pass of the network: row K3.

The vertical stack is worked out a row at a time, when the rows above are known, and with it what it
tells the horizontal one; that one goes colour by colour. Images are independent: threads share them
out. `gated_pixelcnn_trace` returns (x, theta): the values and the parameters they were drawn from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from core.checks import shaped
from core.errors import InputError
from kernels.numerics_numba import fused, sigmoid, tanh
from kernels.sampling.convolution_numba import (
    WIDE,
    Conv,
    by_colour,
    convolve,
    keep,
    keep_relu,
    packed,
)
from kernels.sampling.heads_numba import draw_value
from kernels.sampling.images import convolution, image_uniforms, parameters
from kernels.sharing import share


@njit(**fused)
def _gate(a: Any, n: int, z: Any) -> None:
    """z = tanh(a_1) σ(a_2) of halves of n numbers."""
    for k in range(n):
        z[k] = tanh(a[k]) * sigmoid(a[n + k])


@njit(**fused)
def _add(a: Any, b: Any, n: int) -> None:
    for k in range(n):
        a[k] += b[k]


@njit(**fused)
def _vertical(rows: Any, W: Any, b: Any, kept: Any, i: int, C: int, told: Any, linked: Any) -> None:
    """linked (layers, W, 2p) = what the vertical stack tells the other of row i, and the class."""
    n = linked.shape[2]
    a, v = np.empty(n + WIDE, W.dtype), np.empty(n // 2, W.dtype)
    r = np.empty_like(a)
    for k in range(len(linked)):
        for j in range(linked.shape[1]):
            convolve(rows[2 * k], W, b, kept, i, j, 0, a)
            _add(a, told[k, 0], n)
            keep(rows[2 * k + 1], kept, i, j, 0, a)
            convolve(rows[2 * k + 1], W, b, kept, i, j, 0, r)
            for o in range(n):
                linked[k, j, o] = r[o] + told[k, 1, o]
            if k + 1 < len(linked):
                for c in range(C):
                    at = c * (n // C)
                    _gate(a[at:], n // C // 2, v[at // 2 :])
                keep(rows[2 * k + 2], kept, i, j, 0, v)


@njit(**fused)
def _horizontal(
    places: Any, W: Any, b: Any, kept: Any, i: int, j: int, c: int, linked: Any, h: Any, room: Any
) -> None:
    """h = the parameters of colour c at pixel (i, j)."""
    last, a, z = len(places) - 2, room[0], room[1]
    n = places[1].colour  # p / C
    for k in range(0, last, 2):
        if k:
            keep(places[k], kept, i, j, c, h)
        convolve(places[k], W, b, kept, i, j, c, a)
        _add(a, linked[k // 2, j, c * 2 * n :], 2 * n)
        _gate(a, n, z)
        keep(places[k + 1], kept, i, j, c, z)
        convolve(places[k + 1], W, b, kept, i, j, c, a)
        if k:
            _add(h, a, n)
        else:
            h[:n] = a[:n]
    for k in range(last, last + 2):
        keep_relu(places[k], kept, i, j, c, h)
        convolve(places[k], W, b, kept, i, j, c, h)


@njit(**fused)
def _draw(
    u: Any,
    told: Any,
    x: Any,
    theta: Any,
    rows: Any,
    W_v: Any,
    b_v: Any,
    size_v: int,
    places: Any,
    W_h: Any,
    b_h: Any,
    size_h: int,
    levels: int,
    mixture: int,
) -> None:
    _, C, H, V = u.shape
    kept_v, kept_h = np.zeros(size_v, u.dtype), np.zeros(size_h, u.dtype)
    linked, w = (
        np.empty((told.shape[1], V, told.shape[3]), u.dtype),
        np.empty(max(levels, 2 * mixture)),
    )
    widest = 0
    for k in range(len(places)):
        widest = max(widest, places[k].outputs)
    room, v = np.empty((3, widest), u.dtype), np.empty(C, u.dtype)
    for s in range(len(u)):
        for i in range(H):
            _vertical(rows, W_v, b_v, kept_v, i, C, told[s], linked)
            for j in range(V):
                for c in range(C):
                    h = room[2]
                    _horizontal(places, W_h, b_h, kept_h, i, j, c, linked, h, room)
                    x[s, c, i, j] = k = draw_value(h, levels, mixture, u[s, c, i, j], w)
                    for p in range(theta.shape[4]):
                        theta[s, c, i, j, p] = h[p]
                    v[c] = k * (2 / (levels - 1)) - 1
                    keep(places[0], kept_h, i, j, c, v[c:])
                keep(rows[0], kept_v, i, j, 0, v)


def gated_pixelcnn_trace(
    u: Any, layers: Any, leave: Any, levels: int, mixture: int | None = None, told: Any = None
) -> tuple[Any, Any]:
    """Values like u (n, C, H, W), and the parameters (n, C, H, W, P) they were drawn from.

    Raises InputError as `gated_pixelcnn_sample` does.
    """
    return _run(u, layers, leave, levels, mixture, told, parameters(levels, mixture))


def gated_pixelcnn_sample(
    u: Any, layers: Any, leave: Any, levels: int, mixture: int | None = None, told: Any = None
) -> Any:
    """Twin of `gated_pixelcnn_sample`. Raises InputError for shapes and dtypes that don't fit."""
    return _run(u, layers, leave, levels, mixture, told, 0)[0]


def _run(
    u: Any, layers: Any, leave: Any, levels: int, mixture: int | None, told: Any, shown: int
) -> tuple[Any, Any]:
    u = image_uniforms(u)
    P, C = parameters(levels, mixture), u.shape[1]
    rows, pixels = _stacks(u, layers, leave, P)
    p = len(rows[0].b) // 2
    if told is None:
        told = np.zeros((len(u), len(layers), 4 * p), u.dtype)
    shaped("told", told, (len(u), len(layers), 4 * p), u.dtype)
    halves = told.reshape(len(u), len(layers), 2, 2 * p)[..., by_colour(2 * p, C)]
    x, theta = np.empty_like(u), np.empty((*u.shape, shown), u.dtype)
    made = [*packed(rows, u.shape[1:]), *packed(pixels, u.shape[1:])]
    one_by_one = [slice(s, s + 1) for s in range(len(u))]
    share(_draw, [u, halves, x, theta], [*made, levels, mixture or 0], slices=one_by_one, worth=0)
    return x, theta


def _stacks(u: Any, layers: Any, leave: Any, P: int) -> tuple[list[Conv], list[Conv]]:
    """The convolutions of whole rows and those of pixels, in the order in which they are used."""
    rows, pixels = list[Conv](), list[Conv]()
    if not len(layers) or len(leave) != 2:
        raise InputError(
            f"layers must be one or more, and leave two, got {len(layers)} and {len(leave)}"
        )
    for k, layer in enumerate(layers):
        above, left, link, out = _gated(k, layer, len(pixels[-1].b) if k else u.shape[1], u)
        rows += [above, link]
        pixels += [left, out]
    W, b = convolution("leave 0", leave[0], ("O", len(pixels[-1].b), 1, 1), u)
    if len(b) % u.shape[1]:
        raise InputError(f"leave 0 must have a multiple of {u.shape[1]} outputs, got {len(b)}")
    last = convolution("leave 1", leave[1], (P * u.shape[1], len(b), 1, 1), u)
    return rows, [*pixels, Conv(W, b, 0, 0), Conv(*last, 0, 0)]


def _gated(k: int, layer: Any, n_in: int, u: Any) -> tuple[Conv, Conv, Conv, Conv]:
    """above, left, link and out of layer k."""
    if len(layer) != 4:
        raise InputError(f"layer {k} must be above, left, link and out, got {len(layer)}")
    name, first = f"of layer {k}", k == 0
    W, b = convolution(f"above {name}", layer[0], ("2p" if first else 2 * n_in, n_in, "h", "w"), u)
    n, _, h, w = W.shape
    rows, C = w // 2 if first else w // 2 + 1, u.shape[1]
    if w % 2 == 0 or h != rows or n % (2 * C):
        raise InputError(
            f"above {name} must have {2 * C}, {4 * C}, … outputs and a kernel of odd width w and "
            f"{'w // 2' if first else 'w // 2 + 1'} rows, got {W.shape}"
        )
    shapes = ((n, n_in, 1, "w"), (n, n, 1, 1), (n // 2, n // 2, 1, 1))
    left, link, out = (
        convolution(f"{what} {name}", part, shape, u)
        for what, part, shape in zip(("left", "link", "out"), layer[1:], shapes, strict=True)
    )
    reach = left[0].shape[3] - 1
    return (
        Conv(W, b, w // 2, w // 2, whole=True),
        Conv(*left, 0, reach, own=not first),
        Conv(*link, 0, 0, whole=True),
        Conv(*out, 0, 0),
    )
