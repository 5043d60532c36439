"""StyleGAN: a style for every layer, and noise for what is left to chance (Karras et al. 2018). G4.

    w = f(z)         the mapping network takes z from its sphere to the space of styles
    x = g(w, noise)  the synthesis network begins at a constant; in every layer l, w sets the style,
                     here by AdaIN (`style_by_adain`), and noise is added to every pixel

Each layer has its own w, so that styles can be mixed: coarse layers from one latent, fine ones from
another. Training mixes too, for a layer must not lean on the next one's having the same w (section
3.1). Truncation draws w towards the mean: w̄ + ψ (w − w̄), fewer kinds of samples, each more like
the data (appendix B).

Losses: the non-saturating game with R1 (Mescheder et al. 2018, Eq. 9).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, no_grad
from core.checks import float_dtype, images, number, real, some, whole
from core.learners import Loss
from core.model import Described, draws
from core.random import Generator, checked_generator, normal
from core.state import parameters
from reference.adversarial.convolutional import leaky
from reference.adversarial.gan import fake_loss, real_loss
from reference.adversarial.implicit import Implicit
from reference.adversarial.penalties import r1_penalty
from reference.adversarial.style_by_adain import AdaINSynthesis
from reference.adversarial.style_networks import PlainDownward, quarters
from reference.layers import MLP

MIXED = 0.5
"""Share of training samples that have styles of two latents (the paper: 0.9)."""
MEAN_OF = 1000
"""Latents whose styles' mean is w̄."""


class StyleGAN(Described, Implicit):
    """Images x (B, C, H, W) of styles w (layers, B, latent), one for each layer of the synthesis.

    shape: (C, H, W), H and W multiples of 4. width: channels at full size, twice as many below.
    depth: layers of the mapping network. gamma: weight of R1.

    >>> model = StyleGAN((1, 8, 8), latent=4, width=2)
    >>> model
    StyleGAN(shape=(1, 8, 8), latent=4, width=2, depth=2, gamma=1.0), 1,496 parameters
    >>> model.sample(3, seed=1, psi=0.7).shape, model.mix(3, seed=1, other=2, layers=[3, 4]).shape
    ((3, 1, 8, 8), (3, 1, 8, 8))
    """

    synthesis: Any = AdaINSynthesis

    def __init__(
        self,
        shape: Sequence[int],
        *,
        latent: int = 64,
        width: int = 16,
        depth: int = 2,
        gamma: float = 1.0,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.shape, self.latent = quarters(shape), whole("latent", latent, 1)
        self.width, self.depth = whole("width", width, 1), whole("depth", depth, 1)
        self.gamma, self.dtype = number("gamma", gamma, least=0), float_dtype(dtype)
        rng, gain = Generator(seed, stream="init"), math.sqrt(2)
        self.f = MLP((latent,) * (depth + 1), rng, activation=leaky, gain=gain, dtype=dtype)
        self.g = self.synthesis(latent, self.shape, width, rng, dtype)
        self.D = PlainDownward(self.shape, width, rng, dtype)

    @property
    def layers(self) -> int:
        """How many layers of the synthesis take a style, from coarse to fine."""
        return len(self.g.sizes)

    def mapping(self, z: Array) -> Array:
        """w = f(z/‖z‖·√n), (B, latent): directions of z, all of one length, become styles."""
        return self.f(z / np.sqrt(np.mean(z * z, axis=1, keepdims=True) + 1e-8))

    def styles(self, z: Array) -> Array:
        """The same w for every layer, (layers, B, latent), of z (B, latent)."""
        w = self.mapping(real(z, self.latent, self.dtype, name="z"))
        return np.broadcast_to(w, (self.layers, *w.shape))

    def noise(self, rng: Generator, n: int) -> list[Any]:
        """Noise for every layer, (n, 1, h, w) each."""
        return [rng.normal((n, 1, *size), dtype=self.dtype) for size in self.g.sizes]

    # The game

    def objectives(self) -> list[tuple[Loss, dict[str, Any]]]:
        """The two players, to be improved in turn."""
        mapping = {f"f.{name}": p for name, p in parameters(self.f).items()}
        return [
            (self.discriminator_loss, parameters(self.D)),
            (self.generator_loss, {**mapping, **parameters(self.g)}),
        ]

    def discriminate(self, x: Array, y: Any = None) -> Array:
        """l(x), (B,): D takes x (B, C, H, W) for data with probability sigmoid(l)."""
        return self.D(x)

    def discriminator_loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """The game's, and R1 of a quarter of the data, which is as much on average."""
        x = images(some(x), self.shape, self.dtype)
        with no_grad():
            fake = self._fakes(len(x), rng)
        on_x, on_fake = self.discriminate(x), self.discriminate(fake)
        game = np.mean(real_loss(on_x)) + np.mean(fake_loss(on_fake))
        return game + self.gamma * r1_penalty(self.discriminate, x[::4])

    def generator_loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """−E log D(x), on as many samples as there are data; nothing else of these is used."""
        n = len(images(some(x), self.shape, self.dtype))
        return np.mean(real_loss(self.discriminate(self._fakes(n, rng))))

    def _fakes(self, n: int, rng: Generator | None) -> Array:
        """Samples, some of which have their styles from a layer on of another latent."""
        rng = checked_generator(rng)
        one, two = (self.styles(rng.normal((n, self.latent), dtype=self.dtype)) for _ in range(2))
        cut = rng.integers(1, self.layers + 1, (n,))  # from 1: the first layer is always of `one`
        cut = np.where(rng.uniform((n,)) < MIXED, cut, self.layers)
        other = np.arange(self.layers)[:, None] >= cut  # (layers, B)
        w = np.where(other[:, :, None], two, one)
        return self.g(w, self.noise(rng, n))

    # Samples

    @draws
    def sample(self, n: int, *, seed: int = 0, psi: float = 1.0) -> Any:
        """n images (n, C, H, W). psi: of the truncation, 1 for none, 0 for the mean style only."""
        return self.images_of(self._truncated(self._latents(n, seed), psi), seed)

    @draws
    def mix(
        self, n: int, *, seed: int = 0, other: int = 1, layers: Sequence[int], psi: float = 1.0
    ) -> Any:
        """The n images of `seed`, but for some layers' styles: those of the images of `other`."""
        chosen = [whole("layers", layer, 0, self.layers - 1) for layer in layers]
        w = self._truncated(self._latents(n, seed), psi).copy()
        w[chosen] = self._truncated(self._latents(n, other), psi)[chosen]
        return self.images_of(w, seed)

    def images_of(self, w: Array, seed: int) -> Array:
        """Images (n, C, H, W) of styles (layers, n, latent), with the noise of this seed."""
        n = w.shape[1]
        noise = [
            normal(seed, (n, 1, *size), step=i, stream="noise", dtype=self.dtype)
            for i, size in enumerate(self.g.sizes)
        ]
        return self.g(w, noise)

    def _truncated(self, z: Any, psi: float) -> Any:
        """w̄ + ψ (w − w̄), (layers, n, latent), which is w to the bit for ψ = 1."""
        mean, w = np.mean(self.mapping(self._latents(MEAN_OF, 0)), axis=0), self.styles(z)
        return w + (1 - number("psi", psi, least=0)) * (mean - w)

    def _latents(self, n: int, seed: int) -> Any:
        return normal(seed, (n, self.latent), stream="latent", dtype=self.dtype)
