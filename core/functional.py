"""The functions neural networks are made of, on arrays and on Tensors alike.

Each is stable in log space, keeps its dtype, and is a row of the table of derivatives where it is
defined, or is composed of such rows. Here is the index, and what has no file of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core.activations import gelu, leaky_relu, log_sigmoid, relu, sigmoid, silu, softplus
from core.checks import number
from core.convolution import (
    causal_conv1d,
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    demodulated_conv2d,
    demodulation,
    modulated_conv2d,
)
from core.errors import InputError
from core.normalisation import (
    batch_norm,
    batch_norm_by,
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from core.operation import operation
from core.random import Generator
from core.resampling import avg_pool2d, max_pool2d, upsample_bilinear2d, upsample_nearest2d
from core.rows import differentiable
from core.softmax import cross_entropy, inside, log_softmax, logsumexp, softmax
from core.tensor import Array

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "batch_norm_by",
    "bernoulli_log_prob",
    "causal_conv1d",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "cross_entropy",
    "demodulated_conv2d",
    "demodulation",
    "dropout",
    "embedding",
    "gelu",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "max_pool2d",
    "modulated_conv2d",
    "normal_log_prob",
    "one_hot",
    "relu",
    "rms_norm",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "upsample_bilinear2d",
    "upsample_nearest2d",
]

_FAR = 80.0  # e^_FAR is finite in float32, e^(−_FAR) is nothing beside 1
_FEW = 256  # rows of a table up to which a product with one-hot labels beats sorting


def _linear_x(g: Array, z: Array, x: Array, W: Array, b: Array) -> Array:
    dx = _rows(g) @ np.swapaxes(W, 0, 1)
    return dx if x.ndim == 2 else np.reshape(dx, x.shape)


def _linear_weight(g: Array, z: Array, x: Array, W: Array, b: Array) -> Array:
    return np.swapaxes(_rows(x), 0, 1) @ _rows(g)


def _linear_bias(g: Array, z: Array, x: Array, W: Array, b: Array) -> Array:
    g = _rows(g)
    return np.ones(len(g), g.dtype) @ g  # half the time of np.sum


@differentiable(_linear_x, _linear_weight, _linear_bias)
def linear(x: Any, W: Any, b: Any) -> Any:
    """x W + b for x (…, n), W (n, m), b (m,) → (…, m).

    >>> linear(np.ones((1, 2)), np.ones((2, 3)), np.zeros(3))
    array([[2., 2., 2.]])
    """
    z = _rows(x) @ W
    z += b
    return z if x.ndim == 2 else z.reshape(*x.shape[:-1], W.shape[-1])


def _rows(x: Array) -> Array:
    """x (…, n) as one matrix: one product is faster than many."""
    return x if x.ndim == 2 else np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def _embedding_table(g: Array, z: Array, ids: Any, W: Array) -> Array:
    return gathered(g, ids, len(W))


@differentiable(None, _embedding_table)
def embedding(ids: Any, W: Any) -> Any:
    """Rows of a table: integer ids (…) in 0 … V − 1, W (V, D) → (…, D). Raises InputError.

    >>> embedding(np.array([1, 1, 0]), np.array([[0.0, 1.0], [2.0, 3.0]]))
    array([[2., 3.],
           [2., 3.],
           [0., 1.]])
    """
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise InputError(f"ids must be integers, got {ids.dtype}")
    inside(ids, len(W), "ids")
    return W[ids]


@differentiable(lambda g, z, x, ids, n: embedding(ids, g), options=("ids", "n"))
def gathered(x: Any, ids: Any, n: int) -> Any:
    """The adjoint of `embedding`: x (…, D) added up by id → (n, D)."""
    ids, x = np.ravel(ids), np.reshape(x, (-1, x.shape[-1]))
    if n <= _FEW:
        return (ids == np.arange(n)[:, None]).astype(x.dtype) @ x
    order = np.argsort(ids, stable=True)
    found, first = np.unique(ids[order], return_index=True)
    total = np.zeros((n, x.shape[1]), x.dtype)
    if len(found):
        total[found] = np.add.reduceat(x[order], first, axis=0)
    return total


def dropout(x: Array, rate: float, rng: Generator | None) -> Array:
    """x with each entry 0 with probability `rate`, the others divided by 1 − rate.

    rng None is evaluation: x itself (Srivastava et al. 2014, section 10). Raises InputError.

    >>> dropout(np.ones(3), 0.5, None)
    array([1., 1., 1.])
    """
    number("rate", rate, least=0, below=1)
    if rng is None:
        return x
    kept = rng.uniform(x.shape) >= rate
    return np.where(kept, x * (1 / (1 - rate)), 0.0)


def one_hot(labels: Any, n: int, dtype: Any = np.float32) -> Any:
    """Rows of the identity: integer labels (…) in 0 … n − 1 → (…, n). Raises InputError.

    >>> one_hot(np.array([1]), 3)
    array([[0., 1., 0.]], dtype=float32)
    """
    labels = np.asarray(labels)
    inside(labels, n)
    return np.eye(n, dtype=dtype)[labels]


def _bernoulli_logits(g: Array, z: Array, x: Array, logits: Array) -> Array:
    """g (x − sigmoid(l)), by NumPy's exponential: SciPy's expit takes three times as long."""
    return g * (x - 1 / (1 + np.exp(-np.maximum(logits, -_FAR))))


@operation(arrays=2)
@differentiable(lambda g, z, x, logits: g * logits, _bernoulli_logits)
def bernoulli_log_prob(x: Any, logits: Any) -> Any:
    """log p(x) of Bernoulli variables, elementwise, in nats: x·l − log(1 + e^l).

    x in {0, 1} (or a mean of such) and logits l broadcast; same float dtype.

    >>> bernoulli_log_prob(np.array([1.0]), np.array([0.0])).round(3)
    array([-0.693])
    """
    return x * logits - softplus.forward(logits)


def normal_log_prob(x: Array, mean: Array, log_std: Array) -> Array:
    """log N(x; mean, e^(2·log_std)), elementwise, in nats. Python numbers adopt the dtype of x.

    >>> normal_log_prob(np.array([0.0]), 0.0, 0.0).round(3)
    array([-0.919])
    """
    u = (x - mean) * _of(math.exp, np.exp, -log_std)
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
