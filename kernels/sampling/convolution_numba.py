"""Convolutions at one pixel after another of one image, which keep what they are given (row K3).

Features lie pixel by pixel, with zeros around the image, and in a pixel colour by colour: a row of
a window is one run of memory. What is not yet known is never read, so nothing need be cleared from
image to image, and of what only its own pixel sees, one pixel is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from kernels.numerics_numba import sums

WIDE = 8
"""Outputs are filled up to a multiple of it: SIMD has no remainder then."""
PLACE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "rows",  # of a window, above its last
            "width",  # numbers in a row
            "least",  # numbers in the last row that the first colour sees
            "more",  # and those that each later one sees beyond
            "colour",  # channels that come at once: of one colour, or all
            "outputs",  # channels that are made at once, filled up
            "row",  # from a pixel that is kept to the one below it
            "column",  # and to the next
            "begin",  # of what is kept
            "corner",  # from the corner of a window to its own pixel
            "size",  # rows of the matrix of weights
            "W",  # begin of the weights
            "b",  # and of the biases
        )
    ]
)
"""Where a convolution finds what is its own."""


class Conv(NamedTuple):
    """A convolution with W (O, I, h, w) and b (O,) whose window begins `up` and `left` of a pixel.

    own: whether a colour sees its own channels at the pixel, or those before only. whole: all
    colours come at once, and see h rows to their end; else the window ends at the pixel.
    """

    W: Any
    b: Any
    up: int
    left: int
    own: bool = True
    whole: bool = False


class Layers(NamedTuple):
    """Convolutions made ready: places (PLACE), all weights, all biases; how much they keep."""

    places: Any
    W: Any
    b: Any
    kept: int


def packed(convs: Sequence[Conv], shape: tuple[int, ...]) -> Layers:
    """For images (C, H, W)."""
    places = np.zeros(len(convs), PLACE)
    weights = [_matrices(conv, shape[0]) for conv in convs]
    W, b = zip(*weights, strict=True)
    for place, conv, matrices in zip(places, convs, W, strict=True):
        _, place["size"], place["outputs"] = matrices.shape
        for name, x in _window(conv, shape).items():
            place[name] = x
    kept = [_kept(conv, shape) for conv in convs]
    for name, sizes in (("W", [w.size for w in W]), ("b", [v.size for v in b]), ("begin", kept)):
        places[name] = np.cumsum([0, *sizes[:-1]])
    flat_W, flat_b = (np.concatenate([a.ravel() for a in some]) for some in (W, b))
    return Layers(places, flat_W, flat_b, sum(kept))


def _window(conv: Conv, shape: tuple[int, ...]) -> dict[str, int]:
    """What a window sees, and where pixels are kept."""
    _, n, h, w = conv.W.shape
    own = n if conv.whole else n // shape[0]
    place = {"rows": h - 1 if conv.whole else conv.up, "width": w * n, "colour": own}
    place |= {"least": conv.left * n + own * conv.own, "more": own}
    if conv.whole:
        place |= {"least": w * n, "more": 0}
    row = (shape[2] + w - 1) * n if conv.up else 0
    column = n if conv.up or w > 1 else 0
    return place | {"row": row, "column": column, "corner": conv.up * row + conv.left * column}


def _kept(conv: Conv, shape: tuple[int, ...]) -> int:
    """How many numbers: of all rows, of one, or of one pixel."""
    _, n, _, w = conv.W.shape
    wide = shape[2] + w - 1 if conv.up or w > 1 else 1
    return int((shape[1] + conv.up) * wide * n if conv.up else wide * n)


def _matrices(conv: Conv, C: int) -> tuple[Any, Any]:
    """W as (parts, K, outputs) and b as (parts, outputs), of the K inputs that a window sees."""
    n_out, n_in, h, w = conv.W.shape
    parts, seen = (1, h * w) if conv.whole else (C, conv.up * w + conv.left + 1)
    n = n_out // parts
    W, b = conv.W.reshape(n_out, n_in, h * w)[..., :seen], conv.b
    if C > 1:
        of, to = by_colour(n_out, C), by_colour(n_in, C)
        W, b = W[of][:, to], b[of]
    W_filled = np.zeros((parts, seen * n_in, n + -n % WIDE), W.dtype)
    b_filled = np.zeros((parts, n + -n % WIDE), W.dtype)
    by_tap = W.reshape(parts, n, n_in, seen).transpose(0, 3, 2, 1)
    W_filled.reshape(parts, seen, n_in, -1)[..., :n] = by_tap
    b_filled[:, :n] = b.reshape(parts, n)
    return W_filled, b_filled


def by_colour(channels: int, C: int) -> Any:
    """Channels 0, C, 2C, … of the first colour, 1, C + 1, … of the second, …"""
    return np.arange(channels).reshape(-1, C).T.ravel()


@njit(**sums)
def add_product(x: Any, W: Any, y: Any) -> None:
    """y += x W for x (K,), W (K, O), four rows of W at a time."""
    K, n, k = x.size, y.size, 0
    while k + 4 <= K:
        a, b, c, d = x[k], x[k + 1], x[k + 2], x[k + 3]
        for o in range(n):
            y[o] += (a * W[k, o] + b * W[k + 1, o]) + (c * W[k + 2, o] + d * W[k + 3, o])
        k += 4
    while k < K:
        a = x[k]
        for o in range(n):
            y[o] += a * W[k, o]
        k += 1


@njit(**sums)
def convolve(place: Any, W: Any, b: Any, kept: Any, i: int, j: int, c: int, y: Any) -> None:
    """y = the channels of colour c at pixel (i, j), as many as are filled up."""
    n, width = place.outputs, place.width
    first, at = place.W + c * place.size * n, place.begin + i * place.row + j * place.column
    weights = W[first : first + place.size * n].reshape((place.size, n))
    for o in range(n):
        y[o] = b[place.b + c * n + o]
    for r in range(place.rows):
        add_product(kept[at : at + width], weights[r * width : (r + 1) * width], y[:n])
        at += place.row
    last = place.least + c * place.more
    done = place.rows * width
    add_product(kept[at : at + last], weights[done : done + last], y[:n])


@njit(**sums)
def keep(place: Any, kept: Any, i: int, j: int, c: int, f: Any) -> None:
    """From now on f is what the convolution is given at colour c of pixel (i, j)."""
    n = place.colour
    at = place.begin + place.corner + i * place.row + j * place.column + c * n
    for k in range(n):
        kept[at + k] = f[k]


@njit(**sums)
def keep_relu(place: Any, kept: Any, i: int, j: int, c: int, f: Any) -> None:
    """The same of max(f, 0)."""
    n, zero = place.colour, f.dtype.type(0)
    at = place.begin + place.corner + i * place.row + j * place.column + c * n
    to = kept[at : at + n]
    for k in range(n):
        to[k] = max(f[k], zero)
