"""Invertible 1 × 1 convolution: the channels are mixed (Kingma & Dhariwal 2018, section 3.2).

    z_p = W x_p  at every pixel p,      log |det ∂z/∂x| = H · W · log |det W|                Eq. 9

A coupling changes only half of the channels; which ones take turns, RealNVP settled by reversing
their order. Here any linear map may do it. Its determinant would cost C³, but not in the form

    W = P L (U + diag(s)),      log |det W| = Σ_c log |s_c|                          Eqs. 10 and 11

with L lower triangular and 1 on its diagonal, U upper triangular and 0 there. It starts as a random
rotation; P and the signs of s stay as they were, so that W never becomes singular.
MISSION row N1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import lu

from core import Array, Tensor
from core.checks import float_dtype
from core.errors import InputError
from core.random import Generator
from reference.flows.squeeze import nothing


class Invertible1x1:
    """W (C, C) at every pixel of images (B, C, H, W).

    Raises InputError for a W that is not square, not finite, or not invertible.

    >>> mix = Invertible1x1(np.array([[0.0, 2.0], [1.0, 0.0]]))
    >>> z, log_det = mix.inverse(np.array([3.0, 5.0]).reshape(1, 2, 1, 1))
    >>> z.data.ravel().tolist(), round(log_det.item(), 4)  # W x, ln 2
    ([10.0, 3.0], 0.6931)
    """

    def __init__(self, W: Any) -> None:
        W = invertible(W)
        self.P, L, U = (a.astype(W.dtype) for a in lu(W))
        s = np.diag(U).copy()
        self.sign, self.log_s = np.sign(s), Tensor(np.log(np.abs(s)))
        self.L, self.U = Tensor(np.tril(L, -1)), Tensor(np.triu(U, 1))
        self._below = np.tril(np.ones_like(W), -1)
        self._one = np.eye(len(W), dtype=W.dtype)

    @property
    def W(self) -> Array:
        """The matrix (C, C), Eq. 10."""
        L = self.L * self._below + self._one
        U = self.U * self._below.T + self._one * (self.sign * np.exp(self.log_s))
        return self.P @ L @ U

    def inverse(self, x: Array) -> tuple[Array, Array]:
        """x (B, C, H, W) → z = W x and log |det ∂z/∂x| (B,)."""
        return at_every_pixel(self.W, x), self._log_det(x)

    def forward(self, z: Array) -> tuple[Array, Array]:
        """z (B, C, H, W) → x = W⁻¹ z and log |det ∂x/∂z| (B,)."""
        return at_every_pixel(np.linalg.inv(self.W), z), -self._log_det(z)

    def _log_det(self, x: Array) -> Array:
        H, W = x.shape[2:]
        return H * W * np.sum(self.log_s) + nothing(x)  # Eq. 11


def at_every_pixel(W: Array, x: Array) -> Array:
    """W x_p, of W (C, C) and x (B, C, H, W)."""
    B, C, height, width = x.shape
    return np.reshape(W @ np.reshape(x, (B, C, height * width)), x.shape)


def rotation(n: int, rng: Generator, dtype: Any = np.float32) -> Any:
    """A random orthogonal matrix (n, n)."""
    q, r = np.linalg.qr(rng.normal((n, n), dtype=np.float64))
    return (q * np.sign(np.diag(r))).astype(dtype)  # uniform: QR alone is not


def invertible(W: Any) -> Any:
    """W (C, C); InputError unless it is square, finite, and has an inverse that its dtype sees."""
    W = np.asarray(W)
    if W.ndim != 2 or W.shape[0] != W.shape[1] or W.size == 0:
        raise InputError(f"W must be a matrix (C, C), got shape {W.shape}")
    if not np.isfinite(W.astype(float_dtype(W.dtype))).all():
        raise InputError("W must hold finite numbers only")
    condition = np.linalg.cond(W.astype(np.float64))
    if not condition < 1 / np.finfo(W.dtype).eps:
        raise InputError(f"W must be invertible, got a matrix of condition number {condition:.2g}")
    return W
