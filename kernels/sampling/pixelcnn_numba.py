"""Images of a PixelCNN on the CPU, drawn in one pass of the network: row K3.

Images are independent, and threads share them out; the arithmetic of one does not depend on the
others. `pixelcnn_trace` returns (x, theta): the values, and the parameters they were drawn from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from core.errors import InputError
from kernels.numerics_numba import sums
from kernels.sampling.convolution_numba import Conv, convolve, keep, keep_relu, packed
from kernels.sampling.heads_numba import draw_value
from kernels.sampling.images import convolution, image_uniforms, parameters
from kernels.sharing import share


@njit(**sums)
def _network(
    places: Any, W: Any, b: Any, kept: Any, i: int, j: int, c: int, y: Any, r: Any
) -> None:
    """y = the parameters of colour c at pixel (i, j); r is room for as much."""
    last = len(places) - 2
    convolve(places[0], W, b, kept, i, j, c, y)
    for block in range(1, last, 3):
        keep_relu(places[block], kept, i, j, c, y)
        convolve(places[block], W, b, kept, i, j, c, r)
        for k in range(block + 1, block + 3):
            keep_relu(places[k], kept, i, j, c, r)
            convolve(places[k], W, b, kept, i, j, c, r)
        for o in range(places[block].colour):
            y[o] += r[o]
    for k in range(last, last + 2):
        keep_relu(places[k], kept, i, j, c, y)
        convolve(places[k], W, b, kept, i, j, c, y)


@njit(**sums)
def _draw(u: Any, x: Any, theta: Any, places: Any, W: Any, b: Any, size: int, levels: int) -> None:
    kept, w = np.zeros(size, u.dtype), np.empty(levels)
    widest = 0
    for k in range(len(places)):
        widest = max(widest, places[k].outputs)
    y, r, v = np.empty(widest, u.dtype), np.empty(widest, u.dtype), np.empty(1, u.dtype)
    for s in range(len(u)):
        for i in range(u.shape[2]):
            for j in range(u.shape[3]):
                for c in range(u.shape[1]):
                    _network(places, W, b, kept, i, j, c, y, r)
                    k = draw_value(y, levels, 0, u[s, c, i, j], w)
                    for p in range(theta.shape[4]):
                        theta[s, c, i, j, p] = y[p]
                    x[s, c, i, j] = k
                    v[0] = k * (2 / (levels - 1)) - 1
                    keep(places[0], kept, i, j, c, v)


def pixelcnn_trace(u: Any, layers: Any, levels: int) -> tuple[Any, Any]:
    """Values like u (n, C, H, W), and the parameters (n, C, H, W, P) they were drawn from.

    Raises InputError as `pixelcnn_sample` does.
    """
    return _run(u, layers, levels, parameters(levels))


def pixelcnn_sample(u: Any, layers: Any, levels: int) -> Any:
    """Twin of `pixelcnn_sample`. Raises InputError for shapes and dtypes that don't fit."""
    return _run(u, layers, levels, 0)[0]


def _run(u: Any, layers: Any, levels: int, shown: int) -> tuple[Any, Any]:
    u = image_uniforms(u)
    made = packed(_checked(u, layers, parameters(levels)), u.shape[1:])
    x, theta = np.empty_like(u), np.empty((*u.shape, shown), u.dtype)
    one_by_one = [slice(s, s + 1) for s in range(len(u))]
    share(_draw, [u, x, theta], [*made, levels], slices=one_by_one, worth=0)
    return x, theta


def _checked(u: Any, layers: Any, P: int) -> list[Conv]:
    """The layers: each takes what the one before makes, a block makes what it is added to."""
    C, last, convs, n_in = u.shape[1], len(layers) - 1, list[Conv](), u.shape[1]
    if last < 2 or last % 3 != 2:
        raise InputError(f"layers must be 1, 3 for each block and 2, got {len(layers)}")
    for k, layer in enumerate(layers):
        added = 0 < k < last - 1 and k % 3 == 0
        wanted = P * C if k == last else len(convs[0].b) if added else "O"
        W, b = convolution(f"layer {k}", layer, (wanted, n_in, "h", "w"), u)
        n_in, _, h, w = W.shape
        if h % 2 == 0 or w % 2 == 0 or n_in % C:
            raise InputError(
                f"layer {k} must have odd kernels and a multiple of {C} outputs, got {W.shape}"
            )
        convs.append(Conv(W, b, h // 2, w // 2, own=k > 0))
    return convs
