"""Samples as something to look at: image grids, scatter plots, text.

Pictures are PNG bytes. Matplotlib writes them and is imported on demand; no display is needed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core import Array
from core.errors import InputError

INK = "#3b6fb6"
PAPER = "#9a9a9a"


def image_grid(
    x: Array,
    image_shape: tuple[int, int],
    *,
    low: float,
    high: float,
    columns: int | None = None,
    scale: int = 1,
) -> bytes:
    """Rows of `x` (N, H·W) as one PNG: dark ink on white, a pixel of white between images.

    `low` is drawn white and `high` black; `scale` repeats each pixel. The grid is near square
    unless `columns` is given.
    """
    h, w = image_shape
    if x.ndim != 2 or len(x) == 0 or x.shape[1] != h * w:
        raise InputError(f"x must be (N, {h * w}) for {h}×{w} images, got {tuple(x.shape)}")
    columns = columns or math.ceil(math.sqrt(len(x)))
    rows = math.ceil(len(x) / columns)
    ink = np.clip((np.asarray(x, dtype=np.float64) - low) / (high - low), 0.0, 1.0)
    sheet = np.zeros((rows * columns, h + 1, w + 1))
    sheet[: len(x), :h, :w] = ink.reshape(-1, h, w)
    tiles = sheet.reshape(rows, columns, h + 1, w + 1).transpose(0, 2, 1, 3)
    flat = tiles.reshape(rows * (h + 1), columns * (w + 1))[:-1, :-1]
    return _gray_png(np.kron(np.pad(flat, 1), np.ones((scale, scale))))


def _gray_png(ink: Array) -> bytes:
    from matplotlib.image import imsave

    out = io.BytesIO()
    gray = np.round(255 * (1 - ink)).astype(np.uint8)
    rgb = np.repeat(gray[:, :, None], 3, axis=2)
    imsave(out, rgb, format="png")
    return out.getvalue()


def scatter(
    x: Array,
    *,
    box: tuple[float, float, float, float],
    density: Callable[[Array], Array] | None = None,
    color: str = INK,
    pixels: int = 480,
) -> bytes:
    """Points `x` (N, 2) in `box` = (left, right, bottom, top) as a square PNG without axes.

    With `density`, a map from points (N, 2) to log-densities, its contours of equal probability
    lie under the points. The background is transparent.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if x.ndim != 2 or x.shape[1] != 2:
        raise InputError(f"x must be (N, 2) to be scattered, got {tuple(x.shape)}")
    figure = Figure(figsize=(4, 4), dpi=pixels / 4)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    if density is not None:
        _shade(axes, density, box)
    size = 24 * (250 / max(len(x), 250)) ** 0.75
    axes.scatter(x[:, 0], x[:, 1], s=size, c=color, alpha=0.55, linewidths=0, rasterized=True)
    axes.set(xlim=box[:2], ylim=box[2:], aspect="equal")
    axes.set_axis_off()
    out = io.BytesIO()
    figure.savefig(out, format="png", transparent=True)
    return out.getvalue()


def _shade(axes: Any, density: Callable[[Array], Array], box: tuple[float, ...]) -> None:
    """The density itself as a wash of ink, its square root so that faint bridges show."""
    side = 160
    u, v = np.linspace(box[0], box[1], side), np.linspace(box[2], box[3], side)
    points = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    p = np.exp(np.asarray(density(points), dtype=np.float64)).reshape(side, side)
    wash = np.zeros((side, side, 4))
    wash[..., :3] = 0x3B / 255, 0x6F / 255, 0xB6 / 255
    wash[..., 3] = 0.85 * np.sqrt(p / p.max())
    axes.imshow(wash, extent=box, origin="lower", interpolation="bilinear", aspect="equal")


def square_box(x: Array, margin: float = 0.08) -> tuple[float, float, float, float]:
    """The smallest square around the rows of `x` (N, 2), and a margin."""
    low, high = x.min(axis=0), x.max(axis=0)
    centre, half = (low + high) / 2, (0.5 + margin) * float((high - low).max() or 1.0)
    return tuple(float(c + s * half) for c in centre for s in (-1, 1))  # type: ignore[return-value]


def text(x: Array, vocabulary: Sequence[str], end: int | None = None) -> list[str]:
    """Rows of `x` (N, L), indices into `vocabulary`, as strings that stop before id `end`."""
    rows = []
    for row in np.asarray(x):
        stop = np.flatnonzero(row == end)
        rows.append("".join(vocabulary[int(i)] for i in row[: stop[0] if len(stop) else None]))
    return rows
