"""DDPM with a multilayer perceptron: for points, and for small images read flat.

The chain, its bound, training and sampling are `diffusion`'s; this is the denoiser. Ho, Jain &
Abbeel 2020. MISSION rows D1 to D3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core.checks import whole
from core.random import Generator
from reference.diffusion.denoiser import Denoiser
from reference.diffusion.diffusion import Diffusion


class DDPM(Diffusion):
    """A diffusion model of x (B, dim). hidden, blocks: size of the denoiser; the rest: Diffusion.

    >>> model = DDPM(2, hidden=8, blocks=1, steps=10)
    >>> model
    DDPM(dim=2, levels=None, hidden=8, blocks=1, steps=10, prediction='v', variance='beta', \
classes=None, drop=0.1), 450 parameters
    >>> model.loss(np.zeros((5, 2)), rng=Generator(0)).shape
    ()
    >>> model.sample(3, seed=1, sampler="ddim", steps=5).shape
    (3, 2)
    """

    def __init__(
        self,
        dim: int,
        *,
        levels: int | None = None,
        hidden: int = 256,
        blocks: int = 2,
        steps: int = 200,
        schedule: str = "cosine",
        prediction: str = "v",
        variance: str = "beta",
        classes: int | None = None,
        drop: float = 0.1,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim = whole("dim", dim, 1)
        self.hidden, self.blocks = whole("hidden", hidden, 1), whole("blocks", blocks)
        chain: dict[str, Any] = {"levels": levels, "steps": steps, "schedule": schedule}
        chain |= {"prediction": prediction, "variance": variance, "dtype": dtype}
        super().__init__((dim,), classes=classes, drop=drop, **chain)
        how = dict[str, Any](hidden=self.hidden, blocks=self.blocks, classes=self.classes)
        rng = Generator(seed, stream="init")
        self.denoiser = Denoiser(dim, self.head.size, rng=rng, dtype=dtype, **how)
