"""DiT: diffusion with a transformer over patches of the image (Peebles & Xie 2023).

The image is cut into p × p patches, each a token; where it ends within one, zeros fill it up. The
blocks are a transformer's, but for what is told, which sets the scale, shift and gate of each half:

    x ↦ x + g_1 ⊙ attention((1 + s_1) ⊙ norm(x) + t_1)
    x ↦ x + g_2 ⊙ MLP((1 + s_2) ⊙ norm(x) + t_2),      (s, t, g)_{1,2} = U silu(c(τ))

U is 0 at first (adaLN-Zero), so that every block begins as the identity. MISSION row D4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import image_shape, multiple, whole
from core.functional import gelu, layer_norm, silu
from core.random import Generator
from reference.diffusion.condition import Condition
from reference.diffusion.diffusion import Diffusion
from reference.layers import MLP, Attention, Linear, sinusoidal


class DiT(Diffusion):
    """A diffusion model of images x (B, C, H, W).

    patch: p. width: of a token, a multiple of 4; layers: blocks; heads: of attention. The rest:
    Diffusion.

    >>> model = DiT([1, 5, 7], width=8, layers=1, heads=2, steps=10)
    >>> model
    DiT(shape=(1, 5, 7), levels=None, patch=2, width=8, layers=1, heads=2, steps=10, \
prediction='v', variance='beta', classes=None, drop=0.1), 1,700 parameters
    >>> model.sample(2, sampler="ddim", steps=2).shape
    (2, 1, 5, 7)
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        levels: int | None = None,
        patch: int = 2,
        width: int = 64,
        layers: int = 4,
        heads: int = 4,
        steps: int = 200,
        schedule: str = "cosine",
        prediction: str = "v",
        variance: str = "beta",
        classes: int | None = None,
        drop: float = 0.1,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.patch, self.width = whole("patch", patch, 1), multiple("width", width, 4)
        self.layers, self.heads = whole("layers", layers, 1), whole("heads", heads, 1)
        chain: dict[str, Any] = {"levels": levels, "steps": steps, "schedule": schedule}
        chain |= {"prediction": prediction, "variance": variance, "dtype": dtype}
        super().__init__(image_shape(shape), classes=classes, drop=drop, **chain)
        how = dict[str, Any](patch=patch, width=width, layers=layers, heads=heads)
        rng = Generator(seed, stream="init")
        how |= {"classes": self.classes, "rng": rng, "dtype": dtype}
        self.denoiser = PatchTransformer(self.shape[0], self.head.size, **how)


class PatchTransformer:
    """x_t (B, C, H, W), τ (B,) or (1,), labels y (B,) or None ↦ (B, C, H, W, size)."""

    def __init__(
        self,
        colours: int,
        size: int,
        *,
        patch: int,
        width: int,
        layers: int,
        heads: int,
        rng: Generator,
        classes: int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.patch, self.colours, self.size, self.width = patch, colours, size, width
        n = colours * patch**2
        self.first = Linear(n, width, rng, dtype=dtype)
        self.condition = Condition(width, classes, rng, dtype)
        self.blocks = [DiTBlock(width, heads, rng, dtype) for _ in range(layers)]
        self.tell = Linear(width, 2 * width, rng, gain=0.0, dtype=dtype)
        self.last = Linear(width, n * size, rng, gain=0.0, dtype=dtype)

    def __call__(self, x_t: Array, tau: Any, y: Any = None) -> Array:
        """Patches, blocks, and the image put together again."""
        H, W = x_t.shape[2:]
        tokens, (h, w) = patches(x_t, self.patch)  # (B, h·w, C·p²)
        where = positions(h, w, self.width).astype(x_t.dtype)
        x, c = self.first(tokens) + where, silu(self.condition(tau, y))[:, None]
        for block in self.blocks:
            x = block(x, c)
        s, t = np.split(self.tell(c), 2, axis=-1)  # (B or 1, 1, width)
        said = self.last((1 + s) * unit(x) + t)
        return image(said, (h, w), self.patch, self.colours, self.size)[:, :, :H, :W]


class DiTBlock:
    """x (B, T, n), c (B or 1, 1, n) ↦ (B, T, n), as above."""

    def __init__(self, n: int, heads: int, rng: Generator, dtype: Any) -> None:
        self.attention = Attention(n, n, heads, rng, dtype=dtype)
        self.mlp = MLP((n, 4 * n, n), rng, activation=gelu, dtype=dtype)
        self.tell = Linear(n, 6 * n, rng, gain=0.0, dtype=dtype)

    def __call__(self, x: Array, c: Array) -> Array:
        """The block."""
        s_1, t_1, g_1, s_2, t_2, g_2 = np.split(self.tell(c), 6, axis=-1)
        x = x + g_1 * self.attention((1 + s_1) * unit(x) + t_1)
        return x + g_2 * self.mlp((1 + s_2) * unit(x) + t_2)


def unit(x: Array) -> Array:
    """Layer norm with no scale or shift of its own."""
    n = x.shape[-1]
    return layer_norm(x, np.ones(n, x.dtype), np.zeros(n, x.dtype))


def patches(x: Array, p: int) -> tuple[Array, tuple[int, int]]:
    """Images (B, C, H, W) → tokens (B, h·w, C·p²) and (h, w); the last are filled with zeros.

    >>> patches(np.arange(6.0).reshape(1, 1, 2, 3), 2)[0].tolist()
    [[[0.0, 1.0, 3.0, 4.0], [2.0, 0.0, 5.0, 0.0]]]
    """
    B, C, H, W = x.shape
    h, w = -(-H // p), -(-W // p)
    x = np.pad(x, ((0, 0), (0, 0), (0, h * p - H), (0, w * p - W)))
    x = np.transpose(np.reshape(x, (B, C, h, p, w, p)), (0, 2, 4, 1, 3, 5))
    return np.reshape(x, (B, h * w, C * p * p)), (h, w)


def image(tokens: Array, grid: tuple[int, int], p: int, C: int, size: int) -> Array:
    """Tokens (B, h·w, C·p²·size) → (B, C, h·p, w·p, size): undoes `patches`."""
    B, (h, w) = len(tokens), grid
    x = np.transpose(np.reshape(tokens, (B, h, w, C, p, p, size)), (0, 3, 1, 4, 2, 5, 6))
    return np.reshape(x, (B, C, h * p, w * p, size))


def positions(h: int, w: int, n: int) -> Any:
    """Half of the n features for the row, half for the column, (h·w, n), float64."""
    rows, columns = sinusoidal(np.arange(h), n // 2), sinusoidal(np.arange(w), n // 2)
    return np.concatenate([np.repeat(rows, w, axis=0), np.tile(columns, (h, 1))], axis=1)
