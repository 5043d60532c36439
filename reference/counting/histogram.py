"""The histogram as a generative model: count, divide, and you have a density.

For a categorical x ~ Categorical(π) maximum likelihood is the relative frequency (lecture 002)

    π̂_k = (1/n) Σ_i [x_i = k],        p(x) = π̂_{k(x)} / volume of cell k(x).

A continuous x falls into one of the cells of a grid, within which the density is constant; a
categorical one has a cell of volume 1 for every value. Counts add, so histograms of parts merge
into the histogram of the whole. The grid's size is exponential in dim: 2⁷⁸⁴ − 1 free parameters for
a 28×28 binary image, which is why every other model of the zoo exists.

Pearson 1895. MISSION row H1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import categories, float_dtype, number, numbers, some, whole
from core.errors import InputError
from core.model import Described, draws
from core.random import uniform
from reference.counting.frequencies import fitted, weighed
from reference.counting.grid import (
    Each,
    as_edges,
    check_edges,
    check_size,
    equal_cells,
    within,
)
from reference.operations.histogram import histogram_nd


class Histogram(Described):
    """Piecewise constant density of x (B, dim); cells are [a, b), the last of each axis [a, b].

    The support is given in one of three ways, or left to the first fit:
    bins, low, high: equal cells from low to high, a number for all axes or a list with one each;
    without low and high it is the range of the data that `fit` sees.
    edges: one increasing list for each axis. levels: K, for whole numbers 0, …, K − 1.

    alpha: pseudo-count of every cell; with 0, an empty cell has probability 0. dtype: x is read in
    it, and it is the samples'. Raises InputError for a grid that is empty or larger than 2²⁶ cells.

    >>> x = np.array([[0.1], [0.2], [0.9]])
    >>> np.exp(Histogram(1, bins=2, low=0, high=1).fit(x).log_prob(x)).round(3)
    array([1.333, 1.333, 0.667])
    """

    def __init__(
        self,
        dim: int,
        *,
        bins: int | Sequence[int] | None = None,
        low: Each = None,
        high: Each = None,
        edges: Sequence[Sequence[float]] | None = None,
        levels: int | None = None,
        alpha: float = 0.0,
        dtype: Any = np.float32,
    ) -> None:
        if sum(option is not None for option in (bins, edges, levels)) > 1:
            raise InputError("bins, edges and levels must not be given together, got several")
        other = edges is not None or levels is not None
        if (low is None) != (high is None) or (low is not None and other):
            raise InputError("low and high must be given together, with bins, got one")
        self.dim, self.dtype = whole("dim", dim, 1), float_dtype(dtype)
        self.levels = None if levels is None else whole("levels", levels, 1)
        self.alpha = number("alpha", alpha, least=0)
        self.fixed = low is not None or other
        if self.levels is not None:
            check_size([self.levels] * self.dim)
            edges = [[k - 0.5 for k in range(self.levels + 1)]] * self.dim
        elif edges is None:
            edges = equal_cells(self.dim, 10 if bins is None else bins, low, high)
        self.edges = as_edges(edges, self.dim, self.dtype)  # dim × (K_j + 1,)
        if self.fixed:
            check_edges(self.edges)
        check_size(self.shape)
        self.counts = np.zeros(self.shape, np.int64)  # (K_1, …, K_dim)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return tuple(len(e) - 1 for e in self.edges)

    @property
    def num_parameters(self) -> int:
        """Free parameters: one for each cell, less one since they sum to 1."""
        return math.prod(self.shape) - 1

    def fit(self, x: Array, y: Any = None, *, weights: Any = None) -> Histogram:
        """Count x (B, dim), each once or `weights` times, forgetting what was counted before."""
        x, weights = self._read(some(x)), weighed(weights, len(x))
        if not self.fixed:
            columns = zip(x.T.astype(np.float64), self.shape, strict=True)
            edges = [np.histogram_bin_edges(c, K).astype(self.dtype) for c, K in columns]
            self.edges = check_edges(edges, of="x")
        self.counts = self._count(x, weights)
        return self

    def partial_fit(self, x: Array, y: Any = None, *, weights: Any = None) -> Histogram:
        """Count x (B, dim) on top of what was counted before; the support must be a given one."""
        if not self.fixed:
            raise InputError("low and high are not given; partial_fit can't know the support")
        self.counts = self.counts + self._count(self._read(x), weighed(weights, len(x)))
        return self

    def merge(self, other: Histogram) -> Histogram:
        """Add the counts of another histogram with the same cells: the histogram of both data."""
        same = isinstance(other, Histogram) and self.shape == other.shape
        if not same or any((a != b).any() for a, b in zip(self.edges, other.edges, strict=True)):
            raise InputError("other must be a histogram with equal edges, got other cells")
        self.counts = self.counts + other.counts
        return self

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats (B,), of x (B, dim): −∞ outside the support and in empty cells."""
        fitted(self.counts.sum(), self)
        k, inside = self._cells(self._read(x))
        n = self.counts.sum() + self.alpha * self.counts.size
        widths = [np.diff(e.astype(np.float64))[k_j] for e, k_j in zip(self.edges, k, strict=True)]
        with np.errstate(divide="ignore"):
            log_pi = np.log(self.counts[k] + self.alpha) - math.log(n)
        return np.where(inside, log_pi - np.log(widths).sum(axis=0), -np.inf)

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Array:
        """n points (n, dim): a cell by its probability, then a uniform point within it."""
        fitted(self.counts.sum(), self)
        u = uniform(seed, (n, 1 + self.dim), dtype=np.float64)
        cdf = np.cumsum(self.counts.ravel() + self.alpha)
        cell = np.searchsorted(cdf, u[:, 0] * cdf[-1], side="right")
        k = np.unravel_index(cell, self.shape)
        if self.levels is not None:
            return np.stack(k, axis=1).astype(self.dtype)
        columns = [within(e, k_j, v) for e, k_j, v in zip(self.edges, k, u.T[1:], strict=True)]
        return np.stack(columns, axis=1)

    def _read(self, x: Array) -> Array:
        if self.levels is not None:
            return categories(x, self.dim, self.levels)
        return numbers(x, self.dim).astype(self.dtype)

    def _count(self, x: Array, weights: Any) -> Array:
        """Points in each cell (K_1, …, K_dim). InputError for a point outside the support."""
        inside = self._cells(x)[1]
        if not inside.all():
            ranges = ", ".join(f"[{e[0]}, {e[-1]}]" for e in self.edges[:4])
            raise InputError(f"x must lie in the support, {ranges}, got {x[~inside][0]}")
        return histogram_nd(x, self.edges, None if weights.dtype == np.int64 else weights)

    def _cells(self, x: Array) -> tuple[tuple[Any, ...], Any]:
        """Index of the cell along each axis, dim × (B,), and whether x (B, dim) has one at all."""
        inside, k = np.ones(len(x), bool), []
        for e, column in zip(self.edges, x.T, strict=True):
            inside &= (column >= e[0]) & (column <= e[-1])
            index = np.searchsorted(e, column, side="right") - 1
            k.append(np.clip(index, 0, len(e) - 2))  # the right edge belongs to the last cell
        return tuple(k), inside
