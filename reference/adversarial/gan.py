"""GAN: a generator and a discriminator play a zero-sum game (Goodfellow et al. 2014). Row G1.

    min_G max_D V(D, G) = E_{x~p_r}[log D(x)] + E_{z~N(0, I)}[log(1 − D(G(z)))]         (Eq. 1)

The best D is D* = p_r/(p_r + p_g) (Eq. 2). There V = 2·JS(p_r‖p_g) − log 4 (Eq. 6): G minimises
the Jensen–Shannon divergence, and where it succeeds, p_g = p_r and D* = ½. The discriminator gives
logits l, D = sigmoid(l), so −log D = softplus(−l) and −log(1 − D) = softplus(l): no overflow, no
log 0. The generator has the choice of two losses:

    minimax           E[log(1 − D(G(z)))]   follows ∇ 2·JS, but vanishes when D sees through G
    non-saturating    −E[log D(G(z))]       follows ∇ (KL(p_g‖p_r) − 2·JS) (Arjovsky & Bottou 2017)

Training may circle or blow up instead of settling. The remedies hold down the slope of D:

    r1                + γ/2 E_{p_r} ‖∇_x l(x)‖²    none at the data (Mescheder et al. 2018, Eq. 9)
    gradient          + γ E (‖∇_x l(x̂)‖ − 1)²      1 on lines from data to samples (Gulrajani et
                                                   al. 2017, Eq. 3)
    spectral_norm     W ← W / σ_max(W)             ≤ 1 in every layer (Miyato et al. 2018, Eq. 8)

The model is implicit: it draws samples, but has no density to ask for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core import Array, Tensor, no_grad
from core.checks import flag, float_dtype, number, one_of, real, some, whole
from core.checks import sizes as widths
from core.functional import leaky_relu, relu, softplus
from core.model import Described, draws
from core.random import Generator, checked_generator, normal
from core.state import parameters
from reference.adversarial.implicit import Implicit
from reference.adversarial.penalties import gradient_penalty, r1_penalty
from reference.layers import MLP, SpectralNorm

Objective = tuple[Callable[..., Array], dict[str, Tensor]]


def real_loss(logits: Array) -> Array:
    """−log D, elementwise, in nats."""
    return softplus(-logits)


def fake_loss(logits: Array) -> Array:
    """−log(1 − D), elementwise, in nats."""
    return softplus(logits)


GENERATOR_LOSSES: dict[str, Callable[[Array], Array]] = {
    "minimax": lambda logits: -softplus(logits),  # log(1 − D)
    "non-saturating": lambda logits: softplus(-logits),  # −log D
}


def leaky(x: Array) -> Array:
    """max(x, x/5): the discriminator must have a slope everywhere, to be followed."""
    return leaky_relu(x, 0.2)


class GAN(Described, Implicit):
    """Samples x = G(z) (B, dim), z ~ N(0, I) (B, latent); G and D are multilayer perceptrons.

    bounded: the data lie in [−1, 1], and so do the samples; what G puts beyond is moved to the end.
    hidden: widths of the hidden layers, of G and of D alike.
    loss: "non-saturating" or "minimax". penalty: "r1", "gradient" or None, with weight `gamma`.
    spectral_norm: whether D's layers are divided by their largest singular value.

    >>> model = GAN(2, latent=2, hidden=[8])
    >>> model
    GAN(dim=2, bounded=False, latent=2, hidden=(8,), penalty='r1', gamma=1.0), 75 parameters
    >>> model.sample(3, seed=1).shape
    (3, 2)
    >>> [f"{loss.__name__} of {len(params)} arrays" for loss, params in model.objectives()]
    ['discriminator_loss of 4 arrays', 'generator_loss of 4 arrays']
    """

    def __init__(
        self,
        dim: int,
        *,
        bounded: bool = False,
        latent: int = 32,
        hidden: Sequence[int] = (256, 256),
        loss: str = "non-saturating",
        penalty: str | None = "r1",
        gamma: float = 1.0,
        spectral_norm: bool = False,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.latent = whole("dim", dim, 1), whole("latent", latent, 1)
        self.hidden, self.bounded = widths("hidden", hidden), flag("bounded", bounded)
        self.loss_of_fakes = GENERATOR_LOSSES[one_of("loss", loss, GENERATOR_LOSSES)]
        self.penalty = one_of("penalty", penalty, ("r1", "gradient", None))
        self.gamma, self.dtype = number("gamma", gamma, least=0), float_dtype(dtype)
        rng, gain = Generator(seed, stream="init"), math.sqrt(2)
        self.G = MLP((latent, *self.hidden, dim), rng, activation=relu, gain=gain, dtype=dtype)
        self.D = MLP((dim, *self.hidden, 1), rng, activation=leaky, gain=gain, dtype=dtype)
        if flag("spectral_norm", spectral_norm):
            self.D.layers = [SpectralNorm(layer, rng) for layer in self.D.layers]

    def generate(self, z: Array) -> Array:
        """G(z): z (B, latent) → x (B, dim)."""
        x = self.G(z)
        return np.clip(x, -1.0, 1.0) if self.bounded else x

    def discriminate(self, x: Array, y: Any = None) -> Array:
        """l(x), (B,): D takes x (B, dim) for data with probability sigmoid(l)."""
        return self.D(x)[:, 0]

    def objectives(self) -> list[Objective]:
        """The two players, to be improved in turn: the loss (x, y, rng) and parameters of each."""
        return [
            (self.discriminator_loss, parameters(self.D)),
            (self.generator_loss, parameters(self.G)),
        ]

    def advance(self) -> None:
        """What begins a turn: D's norms are followed by one more power iteration."""
        for layer in self.D.layers:
            if isinstance(layer, SpectralNorm):
                layer.follow()

    def discriminator_loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """−V(D, G) and the penalty, on data x (B, dim) and as many samples; labels are not used."""
        x, rng = real(some(x), self.dim, self.dtype), checked_generator(rng)
        with no_grad():
            fake = self.generate(rng.normal((len(x), self.latent), dtype=self.dtype))
        on_x, on_fake = self.discriminate(x), self.discriminate(fake)
        loss = np.mean(real_loss(on_x)) + np.mean(fake_loss(on_fake))  # −Eq. 1
        if self.penalty == "r1":
            return loss + self.gamma * r1_penalty(self.discriminate, x)
        if self.penalty == "gradient":
            u = rng.uniform((len(x), 1), dtype=self.dtype)
            return loss + self.gamma * gradient_penalty(self.discriminate, u * x + (1 - u) * fake)
        return loss

    def generator_loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """What G minimises, on as many samples as there are data; nothing else of x is used."""
        n = len(real(some(x), self.dim, self.dtype))
        z = checked_generator(rng).normal((n, self.latent), dtype=self.dtype)
        return np.mean(self.loss_of_fakes(self.discriminate(self.generate(z))))

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n samples (n, dim)."""
        return self.generate(normal(seed, (n, self.latent), stream="latent", dtype=self.dtype))
