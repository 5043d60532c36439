"""The conditional VAE: told the class, the code need only say what else there is to an image.

    p(x|y) = ∫ p(z) p(x|z, y) dz,      q(z|x, y) = N(μ(x, y), diag σ²(x, y))

Encoder and decoder read the class as well, as one bit of K that is 1; z is drawn without it, so
that class and style can be chosen apart: one z decodes to the same hand writing each digit. The
bounds are those of `variational`, on log p(x|y). Where no class is given it is one more
thing unseen, with all K as likely:

    p(x) = 1/K Σ_y p(x|y),      and with w_i as ever, the bound is E log 1/K Σ_y 1/k Σ_i w_i(y)

Sohn, Lee & Yan 2015, with a prior that is not conditional; Kingma et al. 2014 (their M2). MISSION
row L6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import labels, some, whole
from core.checks import sizes as widths
from core.functional import one_hot, relu
from core.model import draws
from core.random import Generator, uniform
from reference.latent.likelihoods import Bernoulli
from reference.latent.priors import StandardNormal
from reference.latent.variational import Variational
from reference.layers import MLP


class ConditionalVAE(Variational):
    """Binary x (B, dim) of labels y (B,) in 0 … classes − 1. Arguments as of `VAE`.

    >>> model = ConditionalVAE(4, 3, latent=2, hidden=[8])
    >>> model
    ConditionalVAE(dim=4, classes=3, latent=2, hidden=(8,)), 184 parameters
    >>> x = model.sample(5, seed=1, y=2)
    >>> model.elbo(x, np.full(5, 2), Generator(0)).shape
    (5,)
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        latent: int = 12,
        hidden: Sequence[int] = (128, 128),
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        dim, latent = whole("dim", dim, 1), whole("latent", latent, 1)
        self.classes, self.hidden = whole("classes", classes, 1), widths("hidden", hidden)
        rng = Generator(seed, stream="init")
        how: dict[str, Any] = {"activation": relu, "gain": math.sqrt(2), "dtype": dtype}
        encoder = MLP((dim + classes, *self.hidden, 2 * latent), rng, **how)
        decoder = MLP((latent + classes, *reversed(self.hidden), dim), rng, **how)
        parts = encoder, decoder, Bernoulli(), StandardNormal(latent)
        super().__init__((dim,), latent, *parts, dtype=dtype)

    def decode(self, z: Array, y: Any = None) -> Array:
        """Logits (…, dim) of z (…, B, latent) and labels y (B,)."""
        z = self._checked_code(z)
        return self.decoder(self._beside(z, labels(y, z.shape[-2], self.classes)))

    def elbo(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """The bound on log p(x|y), or without y on log p(x), in nats, (B,), of x (B, dim)."""
        if y is None:
            return self.importance_log_prob(x, None, rng, k=1)
        return super().elbo(x, y, rng)

    def loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """Mean of the negative bound, in nats."""
        return -np.mean(self.elbo(some(x), y, rng))

    def log_weights(self, x: Array, rng: Generator, k: int, y: Any = None) -> Array:
        """log w (k, B) given y; without, those of every class, less log K each: (K·k, B)."""
        if y is not None:
            return super().log_weights(x, rng, k, y)
        K, n = self.classes, len(self._read(x))
        each = [super(ConditionalVAE, self).log_weights(x, rng, k, np.full(n, c)) for c in range(K)]
        return np.concatenate(each) - math.log(K)

    @draws
    def sample(self, n: int, *, seed: int = 0, y: Any = None) -> Any:
        """n draws (n, dim). y: the class of all or of each, (n,); None draws it."""
        if y is None:
            u = uniform(seed, (n,), stream="latent", step=1, dtype=np.float64)
            y = (u * self.classes).astype(np.int64)
        y = labels(y if np.ndim(y) else np.full(n, y), n, self.classes)
        z = self.prior.draw(n, seed, self.dtype)
        return self.likelihood.draw(self.decode(z, y), seed).astype(self.dtype)

    def _code(self, x: Array, y: Any) -> tuple[Array, Array]:
        y = labels(y, len(x), self.classes)
        mu, log_var = np.split(self.encoder(self._beside(x, y)), 2, axis=-1)
        return mu, log_var

    def _beside(self, a: Array, y: Any) -> Array:
        """a (…, B, n) and the classes y (B,) as bits: (…, B, n + classes)."""
        bits = one_hot(y, self.classes, self.dtype)
        return np.concatenate([a, np.broadcast_to(bits, (*a.shape[:-1], self.classes))], axis=-1)
