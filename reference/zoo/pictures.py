"""Samples as something to look at or to hear: grids of images and films, plots, text, sounds.

Pictures are PNG bytes, films GIF, sounds WAV. Matplotlib and Pillow write the pictures and are
imported on demand; no display is needed.
"""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import some, whole
from core.data.tokenisers import Tokeniser
from core.errors import InputError
from core.samples import Batch

INK = "#3b6fb6"
PAPER = "#9a9a9a"


def image_grid(
    x: Array,
    image_shape: Sequence[int],
    *,
    low: float,
    high: float,
    columns: int | None = None,
    scale: int = 1,
) -> bytes:
    """Images `x` (N, …), (H, W) or (C, H, W) each, as one PNG, a pixel of white between them.

    Grey images are dark ink on white: `low` is drawn white and `high` black. In colours (C = 3)
    `high` is full light. `scale` repeats each pixel; the grid is near square unless `columns` is
    given.
    """
    return _png(_sheet(x, image_shape, low, high, columns, scale))


def film_grid(
    x: Array,
    film_shape: Sequence[int],
    *,
    fps: int,
    low: float,
    high: float,
    columns: int | None = None,
    scale: int = 1,
) -> bytes:
    """Films `x` (N, …), (T, C, H, W) each, side by side in one GIF of `fps` images a second."""
    from PIL import Image

    t, *image_shape = film_shape
    if len(x) == 0 or math.prod(x.shape[1:]) != math.prod(film_shape):
        raise InputError(f"x must be films of shape {tuple(film_shape)}, got {tuple(x.shape)}")
    frames = np.asarray(x).reshape(len(x), t, -1).transpose(1, 0, 2)
    sheets = [_sheet(f, image_shape, low, high, columns, scale) for f in frames]
    first, *rest = (Image.fromarray(sheet) for sheet in sheets)
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
    return out.getvalue()


def _sheet(
    x: Array,
    image_shape: Sequence[int],
    low: float,
    high: float,
    columns: int | None,
    scale: int,
) -> Array:
    """Images in rows and columns: (height, width, 3) uint8."""
    *colours, h, w = image_shape
    c = colours[0] if colours else 1
    flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    if len(x) == 0 or flat.shape[1] != c * h * w or c not in (1, 3):
        each = f"{c}×{h}×{w}" if c > 1 else f"{h}×{w}"
        raise InputError(f"x must be (N, {c * h * w}) for {each} images, got {tuple(x.shape)}")
    columns = columns or math.ceil(math.sqrt(len(x)))
    rows = math.ceil(len(x) / columns)
    level = np.clip((flat - low) / (high - low), 0.0, 1.0).reshape(-1, c, h, w)
    light = level if c == 3 else 1 - level
    sheet = np.ones((rows * columns, h + 1, w + 1, c))
    sheet[: len(x), :h, :w] = light.transpose(0, 2, 3, 1)
    tiles = sheet.reshape(rows, columns, h + 1, w + 1, c).transpose(0, 2, 1, 3, 4)
    whole = tiles.reshape(rows * (h + 1), columns * (w + 1), c)[:-1, :-1]
    framed = np.pad(whole, ((1, 1), (1, 1), (0, 0)), constant_values=1.0)
    large = framed.repeat(scale, axis=0).repeat(scale, axis=1)
    rgb: Array = np.broadcast_to(np.round(255 * large).astype(np.uint8), (*large.shape[:2], 3))
    return np.ascontiguousarray(rgb)


def _png(rgb: Array) -> bytes:
    from matplotlib.image import imsave

    out = io.BytesIO()
    imsave(out, rgb, format="png")
    return out.getvalue()


PAUSE = 0.25
"""Seconds of silence between two sounds."""


def sounds(x: Batch, rate: int) -> bytes:
    """Sounds `x` (N, T), in [−1, 1] (what is beyond is clipped), one after the other, as a WAV."""
    rate, x = whole("rate", rate, 1, 10**6), some(x)
    silence = np.zeros(round(PAUSE * rate), np.int16)
    parts = [silence]
    for row in x:
        parts += [np.round(32767 * np.clip(row, -1.0, 1.0)).astype("<i2"), silence]
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.concatenate(parts[1:-1]).tobytes())
    return out.getvalue()


SUFFIXES = {b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".wav"}


def suffix(picture: bytes | str) -> str:
    """What a file with this picture, sound or text should be called, by its first bytes."""
    return ".txt" if isinstance(picture, str) else SUFFIXES[picture[:4]]


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


def text(x: Batch, tokens: Tokeniser, end: int | None = None) -> list[str]:
    """Rows of `x` (N, L) as the strings that they are tokens of, up to the token `end`."""
    rows = []
    for row in x:
        stop = np.flatnonzero(row == end)
        rows.append(tokens.decode(row[: stop[0] if len(stop) else None]))
    return rows
