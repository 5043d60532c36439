"""DDPM with a U-Net: images are looked at in ever smaller copies, and put together again.

Down: residual blocks, and a convolution that halves the image. In the middle every pixel attends to
all others. Up: doubled again, each block is shown once more what the block at its size saw on the
way down (the skips), so that no detail need go through the middle. Every block is told the time
c(τ) as a scale and a shift of its channels, behind the norm, which would take out a shift again:

    h ↦ S h + W_2 ∗ silu((1 + s) norm(W_1 ∗ silu(norm(h))) + t),      (s, t) = U silu(c(τ))

Sides that are odd are halved upwards, and what is doubled is cut to the skip beside it.
Ronneberger, Fischer & Brox 2015; Ho, Jain & Abbeel 2020, appendix B; scale and shift: Dhariwal &
Nichol 2021, section 3. MISSION row D4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import image_shape, sizes, whole
from core.errors import InputError
from core.functional import silu, upsample_nearest2d
from core.random import Generator
from reference.autoregressive.images import by_pixel
from reference.diffusion.condition import Condition
from reference.diffusion.diffusion import Diffusion
from reference.layers import Attention, Conv2d, GroupNorm, Linear


class DDPMUNet(Diffusion):
    """A diffusion model of images x (B, C, H, W).

    channels: how many at each size of the image, from whole to smallest; blocks: residual blocks at
    each on the way down (one more on the way up); heads: of attention in the middle. The rest:
    Diffusion.

    >>> model = DDPMUNet([1, 5, 7], channels=[8, 16], blocks=1, steps=10)
    >>> model
    DDPMUNet(shape=(1, 5, 7), levels=None, channels=(8, 16), blocks=1, heads=1, steps=10, \
prediction='v', variance='beta', classes=None, drop=0.1), 46,833 parameters
    >>> model.sample(2, sampler="ddim", steps=2).shape
    (2, 1, 5, 7)
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        levels: int | None = None,
        channels: Sequence[int] = (32, 64, 64),
        blocks: int = 1,
        heads: int = 1,
        steps: int = 200,
        schedule: str = "cosine",
        prediction: str = "v",
        variance: str = "beta",
        classes: int | None = None,
        drop: float = 0.1,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.channels, self.blocks = checked_channels(channels, shape), whole("blocks", blocks, 1)
        self.heads = whole("heads", heads, 1)
        chain: dict[str, Any] = {"levels": levels, "steps": steps, "schedule": schedule}
        chain |= {"prediction": prediction, "variance": variance, "dtype": dtype}
        super().__init__(image_shape(shape), classes=classes, drop=drop, **chain)
        how = dict[str, Any](blocks=self.blocks, heads=self.heads, classes=self.classes)
        rng = Generator(seed, stream="init")
        size = self.head.size
        self.denoiser = UNet(self.shape[0], size, self.channels, rng=rng, dtype=dtype, **how)


def checked_channels(channels: Any, shape: Any) -> tuple[int, ...]:
    """Numbers ≥ 1, no more than an image (C, H, W) has sizes down to one pixel; or InputError."""
    found, (_, H, W) = sizes("channels", channels), image_shape(shape)
    most = 1 + (max(H, W) - 1).bit_length()
    if len(found) > most:
        raise InputError(f"channels must be at most {most} for {H} × {W} pixels, got {len(found)}")
    return found


class UNet:
    """x_t (B, C, H, W), τ (B,) or (1,), labels y (B,) or None ↦ (B, C, H, W, size).

    >>> network = UNet(3, 2, (8, 16), blocks=1, heads=2, rng=Generator(0, stream="init"))
    >>> network(np.ones((2, 3, 5, 5), np.float32), np.array([500.0])).shape
    (2, 3, 5, 5, 2)
    """

    def __init__(
        self,
        colours: int,
        size: int,
        channels: Sequence[int],
        *,
        blocks: int,
        heads: int,
        rng: Generator,
        classes: int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.colours, widths = colours, sizes("channels", channels)
        n = whole("the number of channels", len(widths), 1) and widths[0]
        told, how = 4 * n, dict[str, Any](rng=rng, dtype=dtype)
        self.condition = Condition(told, classes, rng, dtype)
        self.first = Conv2d(colours, n, 3, padding=1, **how)
        self.down: list[list[Any]] = []
        self.halve: list[Any] = []
        seen = [n]  # channels of the skips
        for width in widths:
            if self.down:
                self.halve.append(Conv2d(n, n, 3, stride=2, padding=1, **how))
                seen.append(n)
            self.down.append([])
            for _ in range(blocks):
                self.down[-1].append(ResidualBlock(n, width, told, **how))
                n = width
                seen.append(n)
        self.middle = [ResidualBlock(n, n, told, **how) for _ in range(2)]
        self.attention = PixelAttention(n, heads, **how)
        self.up: list[list[Any]] = []
        self.double: list[Any] = []
        for width in reversed(widths):
            if self.up:
                self.double.append(Conv2d(n, n, 3, padding=1, **how))
            self.up.append([])
            for _ in range(blocks + 1):
                self.up[-1].append(ResidualBlock(n + seen.pop(), width, told, **how))
                n = width
        self.norm = normed(n, dtype)
        self.last = Conv2d(n, colours * size, 3, padding=1, gain=0.0, **how)  # starts at zero

    def __call__(self, x_t: Array, tau: Any, y: Any = None) -> Array:
        """Down, the middle, and up."""
        c = silu(self.condition(tau, y))  # (B or 1, told)
        h, skips = self._descend(self.first(x_t), c)
        h = self.middle[1](self.attention(self.middle[0](h, c)), c)
        h = self._ascend(h, c, skips)
        return by_pixel(self.last(silu(self.norm(h))), self.colours)

    def _descend(self, h: Array, c: Array) -> tuple[Array, list[Array]]:
        skips = [h]
        for i, blocks in enumerate(self.down):
            if i > 0:
                h = self.halve[i - 1](h)
                skips.append(h)
            for block in blocks:
                h = block(h, c)
                skips.append(h)
        return h, skips

    def _ascend(self, h: Array, c: Array, skips: list[Array]) -> Array:
        for i, blocks in enumerate(self.up):
            if i > 0:
                h = self.double[i - 1](upsample_nearest2d(h, 2))
            for block in blocks:
                skip = skips.pop()
                H, W = skip.shape[2:]
                h = block(np.concatenate([h[:, :, :H, :W], skip], axis=1), c)
        return h


class ResidualBlock:
    """h (B, n_in, H, W), c (B or 1, told) ↦ (B, n_out, H, W), as above; S is 1 where it can be."""

    def __init__(self, n_in: int, n_out: int, told: int, rng: Generator, dtype: Any) -> None:
        how = dict[str, Any](rng=rng, dtype=dtype)
        self.norms = [normed(n, dtype) for n in (n_in, n_out)]
        self.conv = Conv2d(n_in, n_out, 3, padding=1, **how)
        self.told = Linear(told, 2 * n_out, **how)
        self.out = Conv2d(n_out, n_out, 3, padding=1, gain=0.5, **how)
        self.straight = None if n_in == n_out else Conv2d(n_in, n_out, 1, **how)

    def __call__(self, h: Array, c: Array) -> Array:
        """The block."""
        s, t = np.split(self.told(c)[:, :, None, None], 2, axis=1)  # (B or 1, n_out, 1, 1)
        a = (1 + s) * self.norms[1](self.conv(silu(self.norms[0](h)))) + t
        return self.out(silu(a)) + (h if self.straight is None else self.straight(h))


class PixelAttention:
    """h (B, n, H, W) ↦ h + attention(norm(h)), of each pixel to all."""

    def __init__(self, n: int, heads: int, rng: Generator, dtype: Any) -> None:
        self.norm = normed(n, dtype)
        self.attention = Attention(n, n, heads, rng, last_gain=0.5, dtype=dtype)

    def __call__(self, h: Array) -> Array:
        """Pixels as a sequence, and back."""
        B, n, H, W = h.shape
        flat = np.swapaxes(np.reshape(self.norm(h), (B, n, H * W)), 1, 2)  # (B, HW, n)
        return h + np.reshape(np.swapaxes(self.attention(flat), 1, 2), (B, n, H, W))


def normed(n: int, dtype: Any) -> GroupNorm:
    """Group norm with four channels in a group, if that can be."""
    return GroupNorm(n, n // 4 if n % 4 == 0 else 1, dtype=dtype)
