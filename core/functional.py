"""The functions neural networks are made of, on arrays and on Tensors alike.

Each is stable in log space, keeps its dtype, and has one row of derivatives in `core.vjps` or is
composed of such rows here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import convolution, special, vjps
from core.errors import InputError
from core.tensor import ROWS, Array, value


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^(−x)), elementwise."""
    return special.expit(x)


def log_sigmoid(x: Array) -> Array:
    """log sigmoid(x), elementwise; no overflow at either end."""
    return special.log_expit(x)


def softplus(x: Array) -> Array:
    """log(1 + e^x), elementwise; no overflow."""
    return ROWS[vjps.softplus](x)


def relu(x: Array) -> Array:
    """max(x, 0), elementwise; derivative 0 at 0."""
    return ROWS[vjps.relu](x)


def silu(x: Array) -> Array:
    """x · sigmoid(x), elementwise (Hendrycks & Gimpel 2016)."""
    return x * special.expit(x)


def gelu(x: Array) -> Array:
    """x · Φ(x), elementwise, with the exact normal cdf (Hendrycks & Gimpel 2016, Eq. 2)."""
    return x * special.ndtr(x)


def logsumexp(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """log Σ e^x over an axis, several, or all; −∞ for an empty or all −∞ sum."""
    return ROWS[vjps.logsumexp](x, axis=axis, keepdims=keepdims)


def softmax(x: Array, axis: int = -1) -> Array:
    """e^x / Σ e^x along an axis."""
    return ROWS[vjps.softmax](x, axis=axis)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """x − log Σ e^x along an axis."""
    return ROWS[vjps.log_softmax](x, axis=axis)


def bernoulli_log_prob(x: Array, logits: Array) -> Array:
    """log p(x) of Bernoulli variables, elementwise, in nats: x·l − log(1 + e^l).

    x in {0, 1} and logits l broadcast; same float dtype.
    """
    return ROWS[vjps.bernoulli_log_prob](x, logits)


def cross_entropy(logits: Array, labels: Any) -> Array:
    """−log softmax(logits)[label], in nats: logits (…, K), integer labels (…) → (…)."""
    labels = np.asarray(value(labels))
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels must be integers, got {labels.dtype}")
    if labels.shape != logits.shape[:-1]:
        raise InputError(f"labels has shape {labels.shape}; logits expect {logits.shape[:-1]}")
    if labels.size and not (labels.min() >= 0 and labels.max() < logits.shape[-1]):
        raise InputError(
            f"labels must lie in 0..{logits.shape[-1] - 1}, got {labels.min()}..{labels.max()}"
        )
    picked = np.take_along_axis(log_softmax(logits), labels[..., None], axis=-1)
    return -np.squeeze(picked, axis=-1)


def linear(x: Array, W: Array, b: Array) -> Array:
    """x W + b for x (…, n), W (n, m), b (m,) → (…, m)."""
    return ROWS[vjps.linear](x, W, b)


def layer_norm(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> Array:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift (Ba et al. 2016)."""
    centred = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * gamma + beta


def one_hot(labels: Any, n: int, dtype: Any = np.float32) -> Any:
    """Rows of the identity: integer labels (…) in 0..n−1 → (…, n)."""
    labels = np.asarray(labels)
    if labels.size and not (labels.min() >= 0 and labels.max() < n):
        raise InputError(f"labels must lie in 0..{n - 1}, got {labels.min()}..{labels.max()}")
    return np.eye(n, dtype=dtype)[labels]


def conv2d(x: Array, w: Array, stride: int = 1, padding: int = 0, dilation: int = 1) -> Array:
    """Cross-correlation: x (B, C, H, W), w (O, C, h, w) → (B, O, H', W')."""
    return ROWS[convolution.conv2d](x, w, stride=stride, padding=padding, dilation=dilation)


def conv_transpose2d(
    y: Array,
    w: Array,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    size: tuple[int, int] | None = None,
) -> Array:
    """The adjoint of conv2d: y (B, O, H', W'), w (O, C, h, w) → (B, C, H, W).

    size: (H, W), where a stride leaves several possible; default the smallest.
    """
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    return ROWS[convolution.conv_transpose2d](y, w, **geometry, size=size)


def normal_log_prob(x: Array, mean: Array, log_std: Array) -> Array:
    """log N(x; mean, e^(2·log_std)), elementwise, in nats."""
    u = (x - mean) * np.exp(-log_std)
    return -0.5 * (u * u) - log_std - 0.5 * math.log(2 * math.pi)


def normal_kl(mean: Array, log_std: Array, mean_q: Array = 0.0, log_std_q: Array = 0.0) -> Array:
    """KL(N(mean, e^(2·log_std)) ‖ N(mean_q, e^(2·log_std_q))), elementwise, in nats.

    ½ (r² − 1) − ln r + ½ ((μ − μ_q) / σ_q)² with r = σ / σ_q. Python numbers adopt a dtype.
    """
    log_ratio = log_std - log_std_q
    gap = (mean - mean_q) * _of(math.exp, np.exp, -log_std_q)
    return 0.5 * (_of(math.expm1, np.expm1, 2 * log_ratio) + gap * gap) - log_ratio


def _of(plain: Any, numpy: Any, x: Array) -> Array:
    """A function of a Python number, which stays one, or of an array."""
    return plain(x) if isinstance(x, float) and not hasattr(x, "dtype") else numpy(x)
