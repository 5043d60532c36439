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
from typing import Any, NoReturn

import numpy as np

from core import Array, Tensor, grad, no_grad
from core.checks import real
from core.errors import InputError
from core.functional import linear, relu, softplus
from core.random import Generator, normal
from core.state import parameters
from reference.layers import MLP, Linear

Objective = tuple[Callable[[Any, Any, Generator], Array], dict[str, Tensor]]


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


def squared_slope(f: Callable[[Array], Array], x: Any) -> Array:
    """‖∇_x f(x)‖² at each row of the array x (B, dim), (B,), differentiable in f's parameters."""
    x = Tensor(x)
    (slope,) = grad(np.sum(f(x)), [x], create_graph=True)  # (B, dim)
    return np.sum(slope * slope, axis=1)


def r1_penalty(f: Callable[[Array], Array], x: Any) -> Array:
    """½ E‖∇f(x)‖² over the rows of x (B, dim)."""
    return 0.5 * np.mean(squared_slope(f, x))


def gradient_penalty(f: Callable[[Array], Array], x_hat: Any) -> Array:
    """E(‖∇f(x̂)‖ − 1)² over the rows of x̂ (B, dim)."""
    return np.mean(np.square(np.sqrt(squared_slope(f, x_hat)) - 1))


def power_iteration(W: Any, v: Any) -> tuple[Any, Any]:
    """One step towards the leading singular vectors, u (n,) and v (m,), of W (n, m).

    Miyato et al., Algorithm 1. From then on uᵀWv approaches σ_max(W) from below.
    """
    u = W @ v
    u = u / np.linalg.norm(u)
    v = u @ W
    return u, v / np.linalg.norm(v)


def leaky_relu(x: Array) -> Array:
    """max(x, x/5): the discriminator must have a slope everywhere, to be followed."""
    return np.maximum(x, 0.2 * x)


class SpectralLinear(Linear):
    """x ↦ x W/σ(W) + b, with σ(W) = uᵀWv followed by power iteration. v (n_out,) is state."""

    def __init__(self, layer: Linear, rng: Generator) -> None:
        self.W, self.b = layer.W, layer.b
        self.v = rng.normal((1, self.b.size), dtype=self.b.dtype)[0]

    def __call__(self, x: Array) -> Array:
        """x (…, n_in) → (…, n_out). u and v count as constants in the derivative (their Eq. 12)."""
        u, _ = power_iteration(self.W.data, self.v)
        sigma = np.sum((u @ self.W) * self.v)
        return linear(x, self.W / sigma, self.b)

    def follow(self) -> None:
        """One more power iteration, to keep up with a W that has changed."""
        self.v[...] = power_iteration(self.W.data, self.v)[1]


class GAN:
    """Samples x = G(z) (B, dim), z ~ N(0, I) (B, latent); G and D are multilayer perceptrons.

    hidden: widths of the hidden layers, of G and of D alike.
    loss: "non-saturating" or "minimax". penalty: "r1", "gradient" or None, with weight `gamma`.
    spectral_norm: whether D's layers are divided by their largest singular value.
    bounded: the data lie in [−1, 1], and so do the samples; what G puts beyond is moved to the end.

    Raises InputError for an unknown loss or penalty.
    """

    def __init__(
        self,
        dim: int,
        latent: int = 32,
        hidden: Sequence[int] = (256, 256),
        loss: str = "non-saturating",
        penalty: str | None = "r1",
        gamma: float = 1.0,
        spectral_norm: bool = False,
        bounded: bool = False,
        *,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        if loss not in GENERATOR_LOSSES:
            raise InputError(f"loss must be one of {', '.join(GENERATOR_LOSSES)}, got {loss!r}")
        if penalty not in ("r1", "gradient", None):
            raise InputError(f"penalty must be 'r1', 'gradient' or None, got {penalty!r}")
        self.dim, self.latent, self.bounded, self.dtype = dim, latent, bounded, dtype
        self.loss_of_fakes, self.penalty, self.gamma = GENERATOR_LOSSES[loss], penalty, gamma
        rng, gain = Generator(seed, stream="init"), math.sqrt(2)
        self.G = MLP((latent, *hidden, dim), rng, activation=relu, gain=gain, dtype=dtype)
        self.D = MLP((dim, *hidden, 1), rng, activation=leaky_relu, gain=gain, dtype=dtype)
        if spectral_norm:
            self.D.layers = [SpectralLinear(layer, rng) for layer in self.D.layers]

    def generate(self, z: Array) -> Array:
        """G(z): z (B, latent) → x (B, dim)."""
        x = self.G(z)
        return np.clip(x, -1.0, 1.0) if self.bounded else x

    def logits(self, x: Array) -> Array:
        """l(x), (B,): D takes x (B, dim) for data with probability sigmoid(l)."""
        return self.D(x)[:, 0]

    def objectives(self) -> list[Objective]:
        """The two players, to be improved in turn: the loss (x, y, rng) and parameters of each."""
        return [
            (self.discriminator_loss, parameters(self.D)),
            (self.generator_loss, parameters(self.G)),
        ]

    def discriminator_loss(self, x: Any, y: Any, rng: Generator) -> Array:
        """−V(D, G) and the penalty, on data x (B, dim) and as many samples; labels are not used."""
        z = rng.normal((len(real(x, self.dim)), self.latent), dtype=x.dtype)
        with no_grad():
            fake = self.generate(z)
        for layer in self.D.layers:
            if isinstance(layer, SpectralLinear):
                layer.follow()
        loss = np.mean(real_loss(self.logits(x))) + np.mean(fake_loss(self.logits(fake)))
        if self.penalty == "r1":
            return loss + self.gamma * r1_penalty(self.logits, x)
        if self.penalty == "gradient":
            u = rng.uniform((len(x), 1), dtype=x.dtype)
            return loss + self.gamma * gradient_penalty(self.logits, u * x + (1 - u) * fake)
        return loss

    def generator_loss(self, x: Any, y: Any, rng: Generator) -> Array:
        """What G minimises, on as many samples as there are data; nothing else of x is used."""
        z = rng.normal((len(x), self.latent), dtype=x.dtype)
        return np.mean(self.loss_of_fakes(self.logits(self.generate(z))))

    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n samples (n, dim)."""
        with no_grad():
            return self.generate(normal(seed, (n, self.latent), stream="latent", dtype=self.dtype))

    def __getattr__(self, name: str) -> NoReturn:
        """Asked for something that isn't there, such as a likelihood."""
        why = ": an implicit model has samples, but no likelihood" if name == "log_prob" else ""
        raise AttributeError(f"{type(self).__name__} has no {name}{why}")
