"""Normalisation of each sample alone (MISSION rows A7, D4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import divisor, number, shaped, whole
from core.functional import group_norm, layer_norm, rms_norm
from reference.layers.initial import ones, zeros


class LayerNorm:
    """Mean 0 and variance 1 over the last axis, then γ and β (n,) (Ba, Kiros & Hinton 2016).

    >>> LayerNorm(2)(np.array([[1.0, 3.0]], np.float32)).data.round(3).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(self, n: int, *, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        self.n, self.eps = whole("n", n, 1), number("eps", eps, least=0)
        self.gamma, self.beta = ones(self.n, dtype), zeros(self.n, dtype)

    def __call__(self, x: Array) -> Array:
        """x (…, n) → (…, n)."""
        x = shaped("x", x, ("…", self.n), self.gamma.dtype)
        return layer_norm(x, self.gamma, self.beta, self.eps)

    def __repr__(self) -> str:
        return f"LayerNorm({self.n})"


class RMSNorm:
    """Mean square 1 over the last axis, then γ (n,) (Zhang & Sennrich 2019).

    >>> RMSNorm(2)(np.array([[3.0, -3.0]], np.float32)).data.round(3).tolist()
    [[1.0, -1.0]]
    """

    def __init__(self, n: int, *, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        self.n, self.eps = whole("n", n, 1), number("eps", eps, least=0)
        self.gamma = ones(self.n, dtype)

    def __call__(self, x: Array) -> Array:
        """x (…, n) → (…, n)."""
        x = shaped("x", x, ("…", self.n), self.gamma.dtype)
        return rms_norm(x, self.gamma, self.eps)

    def __repr__(self) -> str:
        return f"RMSNorm({self.n})"


class GroupNorm:
    """Mean 0 and variance 1 over all pixels of n/groups channels, then γ and β (n,).

    groups = n is instance norm (Wu & He 2018).

    >>> GroupNorm(4, 2), GroupNorm(4, 2)(np.ones((1, 4, 3, 3), np.float32)).shape
    (GroupNorm(4, 2 groups), (1, 4, 3, 3))
    """

    def __init__(self, n: int, groups: int, *, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        self.n, self.eps = whole("n", n, 1), number("eps", eps, least=0)
        self.groups = divisor("groups", groups, "n", self.n)
        self.gamma, self.beta = ones(self.n, dtype), zeros(self.n, dtype)

    def __call__(self, x: Array) -> Array:
        """x (B, n, …) → (B, n, …)."""
        x = shaped("x", x, ("B", self.n, "…"), self.gamma.dtype)
        return group_norm(x, self.gamma, self.beta, self.groups, self.eps)

    def __repr__(self) -> str:
        return f"GroupNorm({self.n}, {self.groups} groups)"
