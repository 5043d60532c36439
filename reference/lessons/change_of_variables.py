"""Change of variables: what a map does to a density. MISSION row F7.

    y = f(x), f invertible:   p_Y(y) = p_X(f⁻¹(y)) |det ∂f⁻¹/∂y| = p_X(x) / |det ∂f/∂x|

A map that stretches thins the density out; the absolute value is there because a decreasing map
has a negative slope, and a density has not. The Jacobian is autograd's.

Three maps: x ↦ sinh x, which increases; x ↦ −x − x³, which decreases; and of the plane
(a, b) ↦ (u, v) with u = a eˢ, s = tanh b, and v = b + sin u, undone in the opposite order. Each
density is integrated, and compared with a fine histogram of samples that were mapped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array, Tensor, grad
from core.random import Generator
from reference.lessons import Fact, below, close
from reference.lessons._picture import ACCENT, INK, panels

N = 200_000
LINE = np.linspace(-7.0, 7.0, 8001)  # of x; beyond it a standard normal has 1e-11
EDGES = np.linspace(-3.0, 3.0, 25)  # of the histogram's cells, on each axis
FINE = 8  # quadrature points in a cell, on each axis

Map = Callable[[Array], Array]


def rising(x: Array) -> Array:
    """y = sinh x."""
    return np.sinh(x)


def falling(x: Array) -> Array:
    """y = −x − x³."""
    return -x - x * x * x


def log_normal(x: Array) -> Array:
    """ln N(x; 0, I), (B, D) → (B,)."""
    return -0.5 * np.sum(x * x, axis=1) - 0.5 * x.shape[1] * np.log(2 * np.pi)


def slope(f: Map, x: Array) -> Array:
    """∂f/∂x at every x (B,), by autograd."""
    t = Tensor(x)
    return grad(np.sum(f(t)), [t])[0]


def density_on_the_line(f: Map) -> tuple[Array, Array]:
    """y = f(x) along LINE, and p_Y there."""
    return f(LINE), np.exp(log_normal(LINE[:, None])) / np.abs(slope(f, LINE))


def forward(x: Array) -> Array:
    """(a, b) to (u, v), (B, 2)."""
    a, b = x[:, 0], x[:, 1]
    u = a * np.exp(np.tanh(b))
    return np.stack([u, b + np.sin(u)], axis=1)


def inverse(y: Array) -> Array:
    """(u, v) to (a, b), (B, 2)."""
    u, v = y[:, 0], y[:, 1]
    b = v - np.sin(u)
    return np.stack([u * np.exp(-np.tanh(b)), b], axis=1)


def density_on_the_plane(y: Array) -> Array:
    """p_Y(y) = p_X(f⁻¹(y)) |det ∂f⁻¹/∂y|, (B, 2) → (B,)."""
    t = Tensor(y)
    x = inverse(t)
    rows = [grad(np.sum(x[:, i]), [t])[0] for i in range(2)]  # ∂x_i/∂y of every sample at once
    det = np.linalg.det(np.stack(rows, axis=1))
    return np.exp(log_normal(x.data)) * np.abs(det)


def in_cells(density: Callable[[Array], Array]) -> Array:
    """Probabilities of the histogram's cells by the midpoint rule, (24, 24)."""
    k = (len(EDGES) - 1) * FINE
    step = (EDGES[-1] - EDGES[0]) / k
    middle = EDGES[0] + step * (np.arange(k) + 0.5)
    points = np.stack(np.meshgrid(middle, middle, indexing="ij"), axis=-1).reshape(-1, 2)
    cells = density(points).reshape(k // FINE, FINE, k // FINE, FINE)
    return cells.sum(axis=(1, 3)) * step**2


def deviation(counts: Array, p: Array) -> float:
    """χ² per cell of counts of N samples, about 1 if p is right; cells that expect 20 or more."""
    many = N * p >= 20
    return float(((counts - N * p)[many] ** 2 / (N * p)[many]).mean())


def on_the_line(f: Map, rng: Generator) -> tuple[float, float]:
    """The integral of p_Y, and χ² per cell of mapped samples."""
    y, p = density_on_the_line(f)
    order = np.argsort(y)
    y, p = y[order], p[order]
    cumulative = np.concatenate([[0], np.cumsum(np.diff(y) * (p[1:] + p[:-1]) / 2)])
    counts, _ = np.histogram(f(rng.normal((N,), dtype=np.float64)), EDGES)
    return float(cumulative[-1]), deviation(counts, np.diff(np.interp(EDGES, y, cumulative)))


@dataclass(frozen=True)
class Result:
    """Integral and χ² per cell of each map."""

    rising: tuple[float, float]
    falling: tuple[float, float]
    plane: tuple[float, float]
    undone: float  # largest |f⁻¹(f(x)) − x| on the plane


def run(seed: int = 0) -> Result:
    """Two hundred thousand samples through each map.

    >>> round(run().plane[0], 3)
    1.0
    """
    rng = Generator(seed)
    lines = [on_the_line(f, rng) for f in (rising, falling)]
    x = rng.normal((N, 2), dtype=np.float64)
    y = forward(x)
    counts, _, _ = np.histogram2d(y[:, 0], y[:, 1], (EDGES, EDGES))
    side = np.linspace(-16.0, 16.0, 801)
    whole = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    total = float(density_on_the_plane(whole).sum() * (side[1] - side[0]) ** 2)
    return Result(
        rising=lines[0],
        falling=lines[1],
        plane=(total, deviation(counts, in_cells(density_on_the_plane))),
        undone=float(np.abs(inverse(y) - x).max()),
    )


def facts(result: Result) -> list[Fact]:
    """Each density integrates to 1 and is that of mapped samples."""
    told = []
    for name, (total, chi2) in (
        ("y = sinh x", result.rising),
        ("y = −x − x³", result.falling),
        ("the map of the plane", result.plane),
    ):
        told.append(close(f"{name}: ∫ p_Y", total, 1.0, within=1e-3))
        told.append(below(f"{name}: χ² per cell of {N} samples", chi2, 2.0))
    return [*told, below("the plane's map undone, largest error", result.undone, 1e-9)]


def picture(result: Result) -> bytes:
    """The three densities; of the plane's, samples too."""

    def line(axes: Any) -> None:
        for f, color in ((rising, INK), (falling, ACCENT)):
            axes.plot(*density_on_the_line(f), color=color)
        axes.set(xlim=(-4, 4), yticks=[], xlabel="y", title="sinh x · −x − x³")

    def plane(axes: Any) -> None:
        p = in_cells(density_on_the_plane)
        axes.imshow(p.T, origin="lower", extent=(-3, 3, -3, 3), cmap="Blues")
        y = forward(Generator(0).normal((400, 2), dtype=np.float64))
        axes.scatter(y[:, 0], y[:, 1], s=3, color=ACCENT)
        axes.set(xlim=(-3, 3), ylim=(-3, 3), title="a normal, mapped")

    return panels(line, plane)
