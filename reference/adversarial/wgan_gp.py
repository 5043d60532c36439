"""WGAN with gradient penalty: samples at the least transport distance from data. Row G1.

    W(p_r, p_g) = sup_{‖f‖_L ≤ 1} E_{p_r} f(x) − E_{p_g} f(x)        Arjovsky et al. 2017, Eq. 2

The critic f gives numbers, not probabilities. It is trained towards the supremum, and G follows the
slope of −E f(G(z)): that of W, which, other than JS, is finite and smooth also where the two
distributions do not meet. A best f has a slope of norm 1 almost everywhere between samples and
data, so f is held to be 1-Lipschitz by a penalty on just that (Gulrajani et al. 2017, Eq. 3):

    L = E f(G(z)) − E f(x) + λ E (‖∇f(x̂)‖ − 1)²,    x̂ = u x + (1 − u) G(z),  u ~ U(0, 1)

A turn is `critic_steps` steps of f, each on a share of the batch, and one of G (Algorithm 1). −L
without its penalty estimates W, and falls as samples get better: a loss that means something.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, no_grad
from core.checks import flag, float_dtype, number, real, some, whole
from core.checks import sizes as widths
from core.functional import relu
from core.learners import Loss
from core.model import Described, draws
from core.random import Generator, checked_generator, normal
from core.state import parameters
from reference.adversarial.convolutional import leaky
from reference.adversarial.implicit import Implicit
from reference.adversarial.penalties import gradient_penalty
from reference.layers import MLP
from reference.layers.initial import normal_weight


class WGANGP(Described, Implicit):
    """Samples x = G(z) (B, dim), z ~ N(0, I) (B, latent); G and f are multilayer perceptrons.

    bounded: the data lie in [−1, 1], and so do the samples; what G puts beyond is moved to the end.
    hidden: widths of the hidden layers, of G and of f alike. lambda_: weight of the penalty.

    >>> model = WGANGP(2, latent=2, hidden=[8])
    >>> model
    WGANGP(dim=2, bounded=False, latent=2, hidden=(8,), lambda_=10.0, critic_steps=5), 74 parameters
    >>> len(model.objectives()), model.sample(3, seed=1).shape
    (6, (3, 2))
    """

    def __init__(
        self,
        dim: int,
        *,
        bounded: bool = False,
        latent: int = 32,
        hidden: Sequence[int] = (256, 256),
        lambda_: float = 10.0,
        critic_steps: int = 5,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.latent = whole("dim", dim, 1), whole("latent", latent, 1)
        self.hidden, self.bounded = widths("hidden", hidden, 1), flag("bounded", bounded)
        self.lambda_ = number("lambda_", lambda_, least=0)
        self.critic_steps, self.dtype = whole("critic_steps", critic_steps, 1), float_dtype(dtype)
        rng, gain = Generator(seed, stream="init"), math.sqrt(2)
        self.G = MLP((latent, *self.hidden, dim), rng, activation=relu, gain=gain, dtype=dtype)
        self.phi = MLP((dim, *self.hidden), rng, activation=leaky, gain=gain, dtype=dtype)
        n = (dim, *self.hidden)[-1]
        self.v = normal_weight((n,), n, rng, 1.0, dtype)

    def discriminate(self, x: Array, y: Any = None) -> Array:
        """f(x) = vᵀ φ(x), (B,), of x (B, dim); a constant added to f would change nothing."""
        return leaky(self.phi(x)) @ self.v

    def generate(self, z: Array) -> Array:
        """G(z): z (B, latent) → x (B, dim)."""
        x = self.G(z)
        return np.clip(x, -1.0, 1.0) if self.bounded else x

    def objectives(self) -> list[tuple[Loss, dict[str, Any]]]:
        """The critic's steps, each on its own share of a batch, then one of the generator."""
        steps = [self.critic_loss_of(i) for i in range(self.critic_steps)]
        critic = {"v": self.v, **parameters(self.phi)}
        return [*((loss, critic) for loss in steps), (self.generator_loss, parameters(self.G))]

    def critic_loss_of(self, step: int) -> Loss:
        """L on the rows of a batch that are this step's: every `critic_steps`-th of them."""

        def critic_loss(x: Any, y: Any = None, rng: Generator | None = None) -> Array:
            share = self._share(real(some(x), self.dim, self.dtype), step)
            return self._critic_loss(share, checked_generator(rng))

        return critic_loss

    def _critic_loss(self, x: Array, rng: Generator) -> Array:
        with no_grad():
            fake = self.generate(rng.normal((len(x), self.latent), dtype=self.dtype))
        u = rng.uniform((len(x), 1), dtype=self.dtype)
        penalty = gradient_penalty(self.discriminate, u * x + (1 - u) * fake)
        transport = np.mean(self.discriminate(x)) - np.mean(self.discriminate(fake))
        return self.lambda_ * penalty - transport

    def generator_loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """−E f(G(z)), on as many samples as a step of the critic has data."""
        n = len(self._share(real(some(x), self.dim, self.dtype), 0))
        z = checked_generator(rng).normal((n, self.latent), dtype=self.dtype)
        return -np.mean(self.discriminate(self.generate(z)))

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n samples (n, dim)."""
        return self.generate(normal(seed, (n, self.latent), stream="latent", dtype=self.dtype))

    def _share(self, x: Array, step: int) -> Array:
        """Some rows of x for each step; where there are fewer than steps, the first come again."""
        n = -(-len(x) // self.critic_steps)
        return x[(step + self.critic_steps * np.arange(n)) % len(x)]
