"""DCGAN: the game of generator and discriminator with convolutions (Radford et al. 2015). Row G2.

The game is that of `gan`, with the non-saturating loss; what the paper found is which networks let
it settle. In place of pooling, strides that are learned; batch norm in both; ReLU in G and leaky
ReLU in D; no hidden layer that is fully connected; tanh at the end of G; Adam with β₁ = ½.

G's batch norm makes the samples of a batch depend on one another, which training may, but sampling
must not: there the moments are those of a large batch of latents that is always the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, no_grad
from core.checks import float_dtype, images, some, whole
from core.learners import Loss
from core.model import Described, draws
from core.random import Generator, checked_generator, normal
from core.state import parameters
from reference.adversarial.convolutional import Downward, Upward, image_sides
from reference.adversarial.gan import fake_loss, real_loss
from reference.adversarial.implicit import Implicit


class DCGAN(Described, Implicit):
    """Images x = G(z) (B, C, H, W) in (−1, 1), z ~ N(0, I) (B, latent).

    shape: (C, H, W), H and W at least 4. width: channels at half the side; twice as many at a
    quarter.

    >>> model = DCGAN((1, 8, 8), latent=4, width=2)
    >>> model, model.sample(3, seed=1).shape
    (DCGAN(shape=(1, 8, 8), latent=4, width=2), 424 parameters, (3, 1, 8, 8))
    """

    network: Any = Downward
    """What D is made as."""

    def __init__(
        self,
        shape: Sequence[int],
        *,
        latent: int = 64,
        width: int = 32,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.shape, self.latent = image_sides(shape), whole("latent", latent, 1)
        self.width, self.dtype = whole("width", width, 1), float_dtype(dtype)
        rng = Generator(seed, stream="init")
        self.G = Upward(latent, self.shape, width, rng, dtype)
        self.D = self.network(self.shape, width, rng, dtype)

    def objectives(self) -> list[tuple[Loss, dict[str, Any]]]:
        """The two players, to be improved in turn."""
        return [
            (self.discriminator_loss, parameters(self.D)),
            (self.generator_loss, parameters(self.G)),
        ]

    def discriminate(self, x: Array, y: Any = None) -> Array:
        """l(x), (B,): D takes x (B, C, H, W) for data with probability sigmoid(l)."""
        return self.D(x)

    def discriminator_loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """−E log D(x) − E log(1 − D(G(z))), on as many samples as data; labels are not used."""
        x = images(some(x), self.shape, self.dtype)
        with no_grad():
            fake = self._fakes(len(x), rng)
        on_x, on_fake = self.discriminate(x), self.discriminate(fake)
        return np.mean(real_loss(on_x)) + np.mean(fake_loss(on_fake))

    def generator_loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """−E log D(G(z)), on as many samples as there are data; nothing else of x is used."""
        n = len(images(some(x), self.shape, self.dtype))
        return np.mean(real_loss(self.discriminate(self._fakes(n, rng))))

    def _fakes(self, n: int, rng: Generator | None) -> Array:
        z = checked_generator(rng).normal((n, self.latent), dtype=self.dtype)
        return self.G.batch(z)[0]

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n images (n, C, H, W)."""
        z = normal(seed, (n, self.latent), stream="latent", dtype=self.dtype)
        return self.G(z, self.G.standing())
