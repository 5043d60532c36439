"""What codes there are before anything is seen: p(z), of z (…, latent). MISSION row L5.

    StandardNormal      N(z; 0, I): nothing to learn, and the KL to it has a closed form
    MixtureOfGaussians  Σ_k π_k N(z; μ_k, diag σ_k²), all learned: the KL is estimated at one z

That the prior may be learned follows from the bound: on average over the data it is

    E_x E_q(z|x)[log p(x|z)] − I_q(x; z) − KL(q(z) ‖ p(z)),       q(z) = E_x q(z|x)

and only the last term knows the prior, so that the best one is q(z), the codes that are in use
(Hoffman & Johnson 2016; Tomczak & Welling 2018, who give it other components).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array, Tensor
from core.checks import whole
from core.distributions import Categorical, Independent, Mixture, Normal
from core.functional import softmax
from core.random import Generator, normal, uniform
from reference.counting.frequencies import draw


class StandardNormal:
    """N(0, I).

    >>> StandardNormal(3).log_prob(np.zeros((2, 3))).round(3)
    array([-2.757, -2.757])
    """

    def __init__(self, latent: int) -> None:
        self.latent = whole("latent", latent, 1)

    def log_prob(self, z: Array) -> Array:
        """log p(z) in nats, (…,)."""
        return np.sum(Normal(0.0, 1.0).log_prob(z), axis=-1)

    def kl(self, mu: Array, log_var: Array, z: Array) -> Array:
        """KL(N(μ, diag σ²) ‖ N(0, I)) in nats, (B,); at which z it is asked makes no difference."""
        return np.sum(kl_of_each(mu, log_var), axis=-1)

    def draw(self, n: int, seed: int, dtype: Any) -> Any:
        """n codes (n, latent)."""
        return normal(seed, (n, self.latent), stream="latent", dtype=dtype)


class MixtureOfGaussians:
    """Σ_k π_k N(μ_k, diag σ_k²); the first μ_k are drawn from N(0, I), with σ = 1 and equal π.

    >>> prior = MixtureOfGaussians(2, 5, Generator(0))
    >>> prior.log_prob(np.zeros((3, 2), np.float32)).shape, prior.draw(4, 0, np.float32).shape
    ((3,), (4, 2))
    """

    def __init__(
        self, latent: int, components: int, rng: Generator, dtype: Any = np.float32
    ) -> None:
        self.latent, K = whole("latent", latent, 1), whole("components", components, 1)
        self.logits = Tensor(np.zeros(K, dtype))
        self.means = Tensor(rng.normal((K, self.latent), dtype=dtype))
        self.log_sigmas = Tensor(np.zeros((K, self.latent), dtype))

    def log_prob(self, z: Array) -> Array:
        """log p(z) in nats, (…,)."""
        components = Independent(Normal(self.means, np.exp(self.log_sigmas)))
        return Mixture(Categorical(logits=self.logits), components).log_prob(z)

    def kl(self, mu: Array, log_var: Array, z: Array) -> Array:
        """log q(z) − log p(z) in nats, (B,), q = N(μ, diag σ²): at z ~ q an estimate of the KL."""
        log_q = np.sum(Normal(mu, np.exp(0.5 * log_var)).log_prob(z), axis=-1)
        return log_q - self.log_prob(z)

    def draw(self, n: int, seed: int, dtype: Any) -> Any:
        """n codes (n, latent): a component by its π_k, then one of its codes."""
        k = draw(softmax(self.logits), uniform(seed, (n,), stream="latent", step=1, dtype=dtype))
        epsilon = normal(seed, (n, self.latent), stream="latent", dtype=dtype)
        return self.means.data[k] + np.exp(self.log_sigmas.data[k]) * epsilon


def kl_of_each(mu: Array, log_var: Array) -> Array:
    """KL(N(μ_j, σ_j²) ‖ N(0, 1)) in nats, each, (…, latent) (Kingma & Welling, appendix B)."""
    return -0.5 * (1 + log_var - mu * mu - np.exp(log_var))
