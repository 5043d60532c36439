"""Conditional GAN: both players are told the class (Mirza & Osindero 2014). Row G3.

    min_G max_D E[log D(x | y)] + E[log(1 − D(G(z | y) | y))]                            (Eq. 2)

G is given y beside z. D is told y by a projection: of the log-odds log p_r(x, y) − log p_g(x, y),
the part that y has a say in is linear in features φ of x, for each class a vector of its own
(Miyato & Koyama 2018, Eq. 3):

    l(x, y) = ψ(φ(x)) + v_yᵀ φ(x),        D = sigmoid(l)

A sample of the wrong class is no better for being a good digit. Networks: `convolutional`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, no_grad
from core.checks import float_dtype, images, labels, some, whole
from core.functional import one_hot
from core.learners import Loss
from core.model import Described, draws
from core.random import Generator, checked_generator, integers, normal
from core.state import parameters
from reference.adversarial.convolutional import STANDING, SpectralDownward, Upward, image_sides
from reference.adversarial.gan import fake_loss, real_loss
from reference.adversarial.implicit import Implicit
from reference.layers import Embedding


class ConditionalGAN(Described, Implicit):
    """Images x = G(z | y) (B, C, H, W) in (−1, 1) of classes y (B,), z ~ N(0, I) (B, latent).

    >>> model = ConditionalGAN((1, 8, 8), 10, latent=4, width=2)
    >>> model
    ConditionalGAN(shape=(1, 8, 8), classes=10, latent=4, width=2), 740 parameters
    >>> model.sample(3, seed=1, y=np.array([7, 7, 2])).shape
    (3, 1, 8, 8)
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        *,
        latent: int = 64,
        width: int = 32,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.shape, self.classes = image_sides(shape), whole("classes", classes, 1)
        self.latent, self.width = whole("latent", latent, 1), whole("width", width, 1)
        self.dtype, rng = float_dtype(dtype), Generator(seed, stream="init")
        self.G = Upward(latent + classes, self.shape, width, rng, dtype)
        self.D = SpectralDownward(self.shape, width, rng, dtype)
        self.v = Embedding(classes, self.D.n, rng, gain=self.D.n**-0.5, dtype=dtype)

    def discriminate(self, x: Array, y: Any = None) -> Array:
        """l(x, y), (B,): D takes x (B, C, H, W) for data of class y with probability sigmoid(l)."""
        phi = self.D.features(x)  # (B, n)
        v = self.v(labels(y, len(x), self.classes))
        return self.D.out(phi)[:, 0] + np.sum(v * phi, axis=1)

    def objectives(self) -> list[tuple[Loss, dict[str, Any]]]:
        """The two players, to be improved in turn."""
        projection = {f"v.{name}": p for name, p in parameters(self.v).items()}
        return [
            (self.discriminator_loss, {**parameters(self.D), **projection}),
            (self.generator_loss, parameters(self.G)),
        ]

    def advance(self) -> None:
        """What begins a turn: D's norms are followed by one more power iteration."""
        self.D.follow()

    def discriminator_loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """−E log D(x | y) − E log(1 − D(G(z | y) | y)), with the labels y (B,) of x for both."""
        x = images(some(x), self.shape, self.dtype)
        y = labels(y, len(x), self.classes)
        with no_grad():
            fake = self._fakes(y, rng)
        on_x, on_fake = self.discriminate(x, y), self.discriminate(fake, y)
        return np.mean(real_loss(on_x)) + np.mean(fake_loss(on_fake))

    def generator_loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """−E log D(G(z | y) | y), with the labels y (B,) of x; nothing else of x is used."""
        y = labels(y, len(images(some(x), self.shape, self.dtype)), self.classes)
        return np.mean(real_loss(self.discriminate(self._fakes(y, rng), y)))

    def _fakes(self, y: Any, rng: Generator | None) -> Array:
        z = checked_generator(rng).normal((len(y), self.latent), dtype=self.dtype)
        return self.G.batch(self._with_class(z, y))[0]

    def _with_class(self, z: Any, y: Any) -> Any:
        """z (B, latent) and y (B,) as (B, latent + classes)."""
        return np.concatenate([z, one_hot(y, self.classes, self.dtype)], axis=1)

    @draws
    def sample(self, n: int, *, seed: int = 0, y: Any = None) -> Any:
        """n images (n, C, H, W). y: the class of all or of each, (n,); None: all equally often."""
        if y is None:
            y = integers(seed, 0, self.classes, (n,), stream="sample")
        y = labels(y if np.ndim(y) else np.full(n, y), n, self.classes)
        z = normal(seed, (n, self.latent), stream="latent", dtype=self.dtype)
        every = one_hot(np.arange(STANDING) % self.classes, self.classes, self.dtype)
        return self.G(self._with_class(z, y), self.G.standing(every))
