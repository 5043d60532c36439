"""Distributions on the plane, with samples and exact densities.

    eight-gaussians   centres on a circle of radius 2, σ = 0.2                       1.698 nats
    grid              5 × 5 centres, spacing 2, σ = 0.05                             0.065
    checkerboard      the 8 black squares of a 4 × 4 board of side 8: area 32        3.466
    two-moons         two half circles of radius 2 in each other, noise σ = 0.2      2.394
    pinwheel          five elongated Gaussians, wound up                             2.315

Labels say which component made a point. Entropies are exact to the digits shown: no model can have
a lower expected test loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core import random
from core.checks import whole
from core.data.dataset import Dataset, Split
from core.errors import InputError
from core.functional import logsumexp
from core.tensor import Array, value

Points = NDArray[np.float64]
Labels = NDArray[np.int64]


class Toy(Protocol):
    """Standard draws in, points out; and the density of those points."""

    @property
    def doc(self) -> str:
        """One line."""

    @property
    def classes(self) -> int:
        """Number of components."""

    @property
    def entropy(self) -> float:
        """−E log p in nats."""

    def sample(self, k: Labels, u: Points, z: Points) -> Points:
        """Points (n, 2) from components k (n,), uniforms u (n, 2) and normals z (n, 2)."""

    def log_density(self, x: Array) -> Array:
        """log p(x) in nats: (B, 2) → (B,), dtype kept, Tensors welcome."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """p(x) = 1/K Σ_k N(x; c_k, σ² I)."""

    doc: str
    centres: Points  # (K, 2)
    sigma: float
    entropy: float

    @property
    def classes(self) -> int:
        """K."""
        return len(self.centres)

    def sample(self, k: Labels, u: Points, z: Points) -> Points:
        """Centre and noise."""
        return self.centres[k] + self.sigma * z

    def log_density(self, x: Array) -> Array:
        """Log of the sum, nats."""
        distance2 = _squared_distances(_plane(x), self.centres)  # (B, K)
        log_norm = math.log(self.classes * 2 * math.pi * self.sigma**2)
        return logsumexp(distance2 * (-0.5 / self.sigma**2), axis=1) - log_norm


@dataclass(frozen=True)
class Checkerboard:
    """p(x) = 1/32 on the squares [2i, 2i + 2] × [2j, 2j + 2], −2 ≤ i, j < 2, with i + j even."""

    doc: str = "uniform on the 8 black squares (side 2) of a 4 × 4 board"
    classes: int = 8
    entropy: float = math.log(32)

    def sample(self, k: Labels, u: Points, z: Points) -> Points:
        """Square k is the (k mod 2)-th black one of row k // 2."""
        row = k // 2
        corner = np.stack([2 * (k % 2) + row % 2, row], axis=1) - 2.0  # (n, 2)
        return 2 * (corner + u)

    def log_density(self, x: Array) -> Array:
        """−log 32 nats inside, −∞ outside."""
        x = _plane(x)
        return np.where(self._inside(value(x) / 2), x[:, 0] * 0.0 - math.log(32), -math.inf)

    @staticmethod
    def _inside(x: Array) -> Array:
        """Squares are closed: a sample that is rounded onto an edge keeps its density."""
        low, high = np.floor(x), np.ceil(x) - 1  # an edge belongs to the cells on both sides
        cells = [np.stack([a[:, 0], b[:, 1]], axis=1) for a in (low, high) for b in (low, high)]
        black = [(c.sum(1) % 2 == 0) & (c >= -2).all(1) & (c < 2).all(1) for c in cells]
        return np.any(black, axis=0)


@dataclass(frozen=True)
class TwoMoons:
    """p(x) = ½ Σ_m 1/π ∫₀^π N(x; c_m(θ), σ² I) dθ: scikit-learn's make_moons, twice as large.

    The integral is Gauss–Legendre with 128 nodes; its relative error is below 1e-11 wherever the
    density is above 1e-250.
    """

    doc: str = "two interleaved half circles of radius 2, noise 0.2"
    classes: int = 2
    entropy: float = 2.394
    sigma: float = 0.2

    def sample(self, k: Labels, u: Points, z: Points) -> Points:
        """A uniform angle on moon k, and noise."""
        return self._arc(math.pi * u[:, 0], k == 0) + self.sigma * z

    def log_density(self, x: Array) -> Array:
        """Log of the quadrature, nats."""
        nodes, weights = np.polynomial.legendre.leggauss(128)
        theta, both = (nodes + 1) * (math.pi / 2), np.ones(128, bool)
        centres = np.concatenate([self._arc(theta, both), self._arc(theta, ~both)])  # (256, 2)
        log_w = np.log(np.tile(weights, 2) / 4) - math.log(2 * math.pi * self.sigma**2)
        distance2 = _squared_distances(_plane(x), centres)  # (B, 256)
        return logsumexp(distance2 * (-0.5 / self.sigma**2) + log_w.astype(x.dtype), axis=1)

    @staticmethod
    def _arc(theta: Points, upper: NDArray[np.bool_]) -> Points:
        """Points (n, 2) of the upper or the lower moon."""
        sign = np.where(upper, 1.0, -1.0)
        circle = np.stack([np.cos(theta), np.sin(theta)], axis=1) * sign[:, None]
        return 2 * circle + np.where(upper[:, None], (-1.0, -0.2), (1.0, 0.8))


@dataclass(frozen=True)
class Pinwheel:
    """Five Gaussians N((1, 0), diag(0.3², 0.1²)), turned by 2πk/5 and by ¼ eʳ, scaled by 2.

    Johnson et al. (2016) turn a point by its first coordinate; here it is turned by its radius r,
    which moves area without stretching it, so the density is that of the unwound point. The turn
    stops growing at r = 5, 13 σ out, where eʳ would soon overflow.
    """

    doc: str = "five elongated Gaussians on a circle, wound up by their radius"
    classes: int = 5
    entropy: float = 2.321
    sigma: tuple[float, float] = (0.3, 0.1)

    def sample(self, k: Labels, u: Points, z: Points) -> Points:
        """A point of arm 0, turned."""
        arm = z * self.sigma + (1.0, 0.0)
        points: Points = 2 * self._turn(arm, 2 * math.pi / 5 * k, 1.0)
        return points

    def log_density(self, x: Array) -> Array:
        """Unwind by each arm's angle, ask the Gaussian; scaling by 2 costs 2 log 2 nats."""
        x, (s0, s1) = _plane(x) * 0.5, self.sigma
        arms = [self._turn(x, 2 * math.pi / 5 * k, -1.0) for k in range(5)]
        squares = [((a[:, 0] - 1.0) / s0) ** 2 + (a[:, 1] / s1) ** 2 for a in arms]
        log_norm = math.log(5 * 2 * math.pi * s0 * s1) + 2 * math.log(2)
        return logsumexp(np.stack(squares, axis=1) * -0.5, axis=1) - log_norm

    @staticmethod
    def _turn(x: Array, angle: Array, sign: float) -> Array:
        """Rotate the points (n, 2) by ±(angle + ¼ eʳ)."""
        r = np.sqrt(np.sum(x**2, axis=1))
        phi = sign * (angle + 0.25 * np.exp(np.minimum(r, 5.0)))
        cos, sin = np.cos(phi), np.sin(phi)
        return np.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], axis=1)


def _circle(n: int, radius: float) -> Points:
    angle = 2 * math.pi * np.arange(n) / n
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _lattice(n: int, spacing: float) -> Points:
    side = spacing * (np.arange(n) - (n - 1) / 2)
    return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)


TOYS: dict[str, Toy] = {
    "eight-gaussians": Gaussians(
        "8 Gaussians on a circle of radius 2, σ 0.2", _circle(8, 2.0), 0.2, 1.698
    ),
    "grid": Gaussians("5 × 5 Gaussians, spacing 2, σ 0.05", _lattice(5, 2.0), 0.05, 0.065),
    "checkerboard": Checkerboard(),
    "two-moons": TwoMoons(),
    "pinwheel": Pinwheel(),
}


def toy(name: str, *, n: int = 20_000, seed: int = 0) -> Dataset:
    """n training, 5 000 validation and 10 000 test points; more points prolong the same sequence.

    Raises InputError for a bad seed or n.
    """
    n = whole("n", n, 1)
    made = TOYS[name]
    return Dataset(
        name,
        train=_draw(made, seed, n, 0),
        validation=_draw(made, seed, 5_000, 1),
        test=_draw(made, seed, 10_000, 2),
        domain="continuous",
        classes=made.classes,
        log_density=made.log_density,
        entropy=made.entropy,
        doc=made.doc,
    )


def _draw(made: Toy, seed: int, n: int, part: int) -> Split:
    """Part p uses steps 3p, 3p + 1 and 3p + 2 of the stream "data": no two parts share noise."""
    k = random.integers(seed, 0, made.classes, (n,), step=3 * part, stream="data")
    u = random.uniform(seed, (n, 2), step=3 * part + 1, stream="data", dtype=np.float64)
    z = random.normal(seed, (n, 2), step=3 * part + 2, stream="data", dtype=np.float64)
    return Split(made.sample(k, u, z).astype(np.float32), k)


def _plane(x: Array) -> Array:
    """x itself, once it is seen to be points."""
    if x.ndim != 2 or x.shape[1] != 2 or x.dtype not in (np.float32, np.float64):
        raise InputError(f"x must be float32 or float64 of shape (B, 2), got {x.dtype} {x.shape}")
    if not np.isfinite(value(x)).all():
        raise InputError("x must be finite, got a NaN or an infinity")
    return x


def _squared_distances(x: Array, centres: Points) -> Array:
    """(B, 2) and (K, 2) → (B, K), in the dtype of x."""
    c = centres.astype(x.dtype)
    return (x[:, :1] - c[:, 0]) ** 2 + (x[:, 1:] - c[:, 1]) ** 2
