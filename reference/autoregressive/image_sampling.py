"""Drawing from PixelCNNs, plain and gated, in one pass: nothing is computed twice.

The loop of the papers runs the network anew for every variable and keeps one of its numbers. But a
feature sees the past only, and the past stays: so each layer is worked out at a pixel, colour by
colour, when the pixel is due, from what the layers below it have kept of the pixels before. All
conditionals of an image cost one pass of the network, instead of C·H·W (Ramachandran et al. 2017,
Fast generation for convolutional autoregressive models). MISSION rows A6, A10.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from core import value
from core.convolution import conv2d
from core.functional import relu
from core.operation import operation
from reference.autoregressive.heads import Softmax, of_levels
from reference.autoregressive.images import gate, scaled

At = tuple[int, int, int]
"""Row, column and colour."""


def in_raster(shape: tuple[int, ...]) -> Iterator[At]:
    """Every variable of images (n, C, H, W), from first to last."""
    _, C, H, W = shape
    return itertools.product(range(H), range(W), range(C))


def plain(convs: Iterable[Any]) -> list[tuple[Any, Any]]:
    """(W ⊙ M, b) of each layer, as arrays."""
    return [(value(conv.weight()), value(conv.b)) for conv in convs]


class Kept:
    """A masked convolution of what becomes known one colour of one pixel after another.

    u (n, C, H, W) says for how many images. W (O, I, h, w) and b (O,): the output at (i, j) is made
    of inputs in h rows from i − up and w columns from j − left on, those not yet known being 0.
    What it is given is kept. Channel k, of outputs and inputs, is of colour k mod C.

    >>> conv = Kept(np.zeros((1, 1, 2, 2)), np.ones((1, 1, 1, 2)), np.zeros(1), up=0, left=1)
    >>> [conv((0, j, 0), np.array([[j + 1.0]])).item() for j in range(2)]
    [1.0, 3.0]
    """

    def __init__(self, u: Any, W: Any, b: Any, up: int, left: int) -> None:
        (n, C, *size), self.kernel = u.shape, W.shape[2:]
        wide = (m + k - 1 for m, k in zip(size, self.kernel, strict=True))
        self.seen = np.zeros((n, W.shape[1], *wide), u.dtype)  # 0 around the image
        self.colours, self.corner = C, (up, left)
        self.W = [W[c::C].reshape(-1, W[0].size).T for c in range(C)]
        self.b = [b[c::C] for c in range(C)]

    def __call__(self, at: At, f: Any = None) -> Any:
        """The outputs (n, O/C) at a colour of a pixel, once the inputs there are f (n, I/C)."""
        if f is not None:
            self.keep(at, f)
        (i, j, c), (h, w) = at, self.kernel
        window = self.seen[:, :, i : i + h, j : j + w]  # (n, I, h, w)
        return window.reshape(-1, len(self.W[c])) @ self.W[c] + self.b[c]

    def keep(self, at: At, f: Any) -> None:
        """Inputs f (n, I/C) at a colour of a pixel."""
        (i, j, c), (up, left) = at, self.corner
        self.seen[:, c :: self.colours, i + up, j + left] = f


class KeptRows:
    """A convolution of images that become known row by row, as Kept has it.

    W (O, I, h, 2k + 1): row i of the output is made of h rows from i − k on.
    """

    def __init__(self, u: Any, W: Any, b: Any) -> None:
        (n, _, *size), self.k = u.shape, W.shape[3] // 2
        self.seen = np.zeros((n, W.shape[1], size[0] + self.k, size[1] + 2 * self.k), u.dtype)
        self.W, self.b = W, b

    def __call__(self, i: int, f: Any = None) -> Any:
        """Row i of the outputs (n, O, 1, W), once that of the inputs is f (n, I, 1, W)."""
        if f is not None:
            self.keep(i, f)
        return conv2d(self.seen[:, :, i : i + self.W.shape[2]], self.W) + self.b[:, None, None]

    def keep(self, i: int, f: Any) -> None:
        """Row i of the inputs is f (n, I, 1, W)."""
        self.seen[:, :, [i + self.k], self.k : self.k + f.shape[3]] = f


@operation
def pixelcnn_sample(u: Any, layers: Any, levels: int) -> Any:
    """Images x of whole numbers < levels from uniforms u, both (n, C, H, W), dtype kept.

    layers: (W ⊙ M, b) of PixelCNN's, from the first to the last: the one that the image enters by,
    three for each block, two to leave by.

    >>> layer = (np.zeros((1, 1, 1, 1)), np.zeros(1))
    >>> pixelcnn_sample(np.array([[[[0.4, 0.6]]]]), [layer, layer, layer], 2)  # two coins
    array([[[[1., 0.]]]])
    """
    x, head = np.zeros(u.shape, np.int64), Softmax(levels)
    first, *inner = (Kept(u, W, b, W.shape[2] // 2, W.shape[3] // 2) for W, b in layers)
    for at in in_raster(u.shape):
        (i, j, c), y = at, first(at)  # (n, 2h/C)
        for k in range(0, len(inner) - 2, 3):
            r = y
            for conv in inner[k : k + 3]:
                r = conv(at, relu(r))
            y = y + r
        for conv in inner[-2:]:
            y = conv(at, relu(y))
        x[:, c, i, j] = head.draw(y, u[:, c, i, j, None])
        first.keep(at, scaled(x[:, [c], i, j], levels, u.dtype))
    return x.astype(u.dtype)


@operation
def gated_pixelcnn_sample(
    u: Any, layers: Any, leave: Any, levels: int, mixture: int | None = None, told: Any = None
) -> Any:
    """Images x of whole numbers < levels from uniforms u, both (n, C, H, W), dtype kept.

    layers: of each GatedLayer (W, b) of above, left (W ⊙ M), link and out (W ⊙ M). leave: of both.
    mixture: how many logistics a conditional is made of; None: softmax. told (n, layers, 4p): what
    a class adds to a and to b. The vertical stack sees whole rows, so it is worked out by the row.

    >>> one, two = (np.zeros((2, 1, 1, 1)), np.zeros(2)), (np.zeros((2, 2, 1, 1)), np.zeros(2))
    >>> end = (np.zeros((1, 1, 1, 1)), np.zeros(1))
    >>> above = (np.zeros((2, 1, 1, 3)), np.zeros(2))
    >>> gated_pixelcnn_sample(np.array([[[[0.4, 0.6]]]]), [(above, one, two, end)], [end, end], 2)
    array([[[[1., 0.]]]])
    """
    x, head = np.zeros(u.shape, np.int64), of_levels(levels, mixture)
    if told is None:
        told = np.zeros((len(u), len(layers), 2 * len(layers[0][0][1])), u.dtype)
    told_v, told_h = np.split(np.moveaxis(told, 1, 0), 2, axis=-1)  # (layers, n, 2p)
    convs = list(zip(*layers, strict=True))
    above = [KeptRows(u, W, b) for W, b in convs[0]]
    left = [Kept(u, W, b, 0, W.shape[3] - 1) for W, b in convs[1]]
    out, end = ([Kept(u, W, b, 0, 0) for W, b in some] for some in (convs[3], leave))
    for i in range(u.shape[2]):
        v, linked = None, []
        for rows, (U, b), t in zip(above, convs[2], told_v, strict=True):
            a = rows(i, v) + t[:, :, None, None]  # (n, 2p, 1, W)
            linked.append(conv2d(a, U) + b[:, None, None])
            v = gate(a)
        for j, c in itertools.product(range(u.shape[3]), range(u.shape[1])):
            at, own, h = (i, j, c), slice(c, None, u.shape[1]), None
            for conv, lin, t, a in zip(left, out, told_h, linked, strict=True):
                r = lin(at, gate(conv(at, h) + a[:, own, 0, j] + t[:, own]))  # (n, p/C)
                h = r if h is None else h + r
            for conv in end:
                h = conv(at, relu(h))
            x[:, c, i, j] = head.draw(h, u[:, c, i, j, None])
            left[0].keep(at, scaled(x[:, [c], i, j], levels, u.dtype))
        above[0].keep(i, scaled(x[:, :, [i]], levels, u.dtype))
    return x.astype(u.dtype)
