"""The table of derivatives: one row per operation, one vector-Jacobian product per argument.

In every vjp, g is ∂L/∂z, z the result, and x, y the arguments; what comes back is ∂L/∂argument,
before broadcasting is undone (`core.tensor` does that, in one place). Values may be arrays or
Tensors, so each formula is written once, in plain NumPy, and serves all orders of derivative.

Not listed means not supported: a Tensor given to such a function raises. So do keywords a row
doesn't name. Functions that are constant almost everywhere (sign, floor, comparisons, argmax)
return plain arrays.
"""

from __future__ import annotations

import functools
import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from core import special
from core.errors import InputError
from core.rows import Bound, composed, in_one_dtype, row, variadic
from core.tensor import CONSTANT, ROWS, Array, Row, Tensor, unbroadcast, value

# Arithmetic

row(np.add, lambda g, z, x, y: g, lambda g, z, x, y: g)
row(np.subtract, lambda g, z, x, y: g, lambda g, z, x, y: -g)
row(np.multiply, lambda g, z, x, y: g * y, lambda g, z, x, y: g * x)
row(np.divide, lambda g, z, x, y: g / y, lambda g, z, x, y: -g * z / y)
row(np.negative, lambda g, z, x: -g)
row(np.positive, lambda g, z, x: g)
row(np.reciprocal, lambda g, z, x: -g * z * z)
row(np.square, lambda g, z, x: g * (2 * x))
row(np.sqrt, lambda g, z, x: g / (2 * z))
row(np.cbrt, lambda g, z, x: g / (3 * z * z))
row(np.absolute, lambda g, z, x: g * np.sign(x))
row(
    np.hypot,
    lambda g, z, x, y: g * (x / _nonzero(z)),
    lambda g, z, x, y: g * (y / _nonzero(z)),
)


def _nonzero(z: Array) -> Array:
    """z with 1 for 0, so that a length divides its own parts, all 0 there."""
    return np.where(value(z) == 0, 1.0, z)


def _length(squares: Array) -> Array:
    """√squares of a sum of squares; derivative 0 at the kink at 0, as that of |x|."""
    return np.sqrt(_nonzero(squares)) * (value(squares) != 0)


def _like(x: Array, z: Array) -> Array:
    """A Python number in the dtype of z: a NumPy function of it alone would be float64."""
    return x if hasattr(x, "dtype") else z.dtype.type(x)


def _power_base(g: Array, z: Array, x: Array, y: Array) -> Array:
    # At exponent 0 the derivative is 0 even where x**(-1) is infinite.
    exponent = _nonzero(y) if hasattr(y, "dtype") else (y or 1)
    return g * y * x ** (exponent - 1)


def _power_exponent(g: Array, z: Array, x: Array, y: Array) -> Array:
    # x**y ln x -> 0 as x -> 0+ for y > 0; a 1 for the 0 keeps 0 · (−∞) out.
    return g * z * np.log(_nonzero(_like(x, z)))


row(np.power, _power_base, _power_exponent)

# Exponentials and logarithms

row(np.exp, lambda g, z, x: g * z)
row(np.exp2, lambda g, z, x: g * z * math.log(2))
row(np.expm1, lambda g, z, x: g * (z + 1))
row(np.log, lambda g, z, x: g / x)
row(np.log2, lambda g, z, x: g / (x * math.log(2)))
row(np.log10, lambda g, z, x: g / (x * math.log(10)))
row(np.log1p, lambda g, z, x: g / (x + 1))


def _share_of_two(x: Array, y: Array, z: Array) -> Array:
    """e^x / (e^x + e^y): 1 for the only +∞, ½ for each of two, 0 where both are −∞."""
    at = value(_like(x, z))
    limit = np.where(at < 0, at, np.where(value(y) == at, -math.log(2), 0.0)).astype(z.dtype)
    settled = np.isinf(at) & (at == value(z))
    return np.exp(np.where(settled, limit, x) - np.where(settled, 0.0, z))


row(
    np.logaddexp,
    lambda g, z, x, y: g * _share_of_two(x, y, z),
    lambda g, z, x, y: g * _share_of_two(y, x, z),
)

# Trigonometric and hyperbolic functions

row(np.sin, lambda g, z, x: g * np.cos(x))
row(np.cos, lambda g, z, x: -g * np.sin(x))
row(np.tan, lambda g, z, x: g * (1 + z * z))
row(np.arcsin, lambda g, z, x: g / np.sqrt(1 - x * x))
row(np.arccos, lambda g, z, x: -g / np.sqrt(1 - x * x))
row(np.arctan, lambda g, z, x: g / (1 + x * x))
row(
    np.arctan2,
    lambda g, z, y, x: g * x / (x * x + y * y),
    lambda g, z, y, x: -g * y / (x * x + y * y),
)
row(np.sinh, lambda g, z, x: g * np.cosh(x))
row(np.cosh, lambda g, z, x: g * np.sinh(x))
row(np.tanh, lambda g, z, x: g * (1 - z * z))
row(np.arcsinh, lambda g, z, x: g / np.sqrt(x * x + 1))
row(np.arccosh, lambda g, z, x: g / np.sqrt(x * x - 1))
row(np.arctanh, lambda g, z, x: g / (1 - x * x))

# Special functions (SciPy's ufuncs; without SciPy there is nothing to differentiate)


def zeta(s: Any, q: Any) -> Any:
    """Σ_k (k + q)^(−s): the derivatives of digamma (SciPy's own zeta is no ufunc)."""
    return special.zeta(s, q)


_zeta: Row = row(zeta, None, lambda g, z, s, q: -g * s * _zeta(s + 1, q))


def mills(x: Any) -> Any:
    """φ(x)/Φ(x), the derivative of log Φ: −x far to the left, 0 far to the right, no overflow."""
    near = np.clip(x, -3, 40)
    ratio = np.exp(-0.5 * near * near - special.log_ndtr(near)) * (1 / math.sqrt(2 * math.pi))
    return np.where(x < -3, _left_excess(x) - x, np.where(x > 40, 0.0, ratio))


def mills_excess(x: Any) -> Any:
    """x + φ(x)/Φ(x), which would cancel far to the left."""
    near = np.clip(x, -3, _FAR)
    return np.where(x < -3, _left_excess(x), near + mills(near))


def _left_excess(x: Any) -> Any:
    """x + φ(x)/Φ(x) for x ≤ −3, by Laplace's continued fraction 1/(t + 2/(t + 3/(t + …)))."""
    t = np.clip(-x, 3, _FAR)
    rest = t
    for k in range(60, 1, -1):
        rest = t + k / rest
    return 1 / rest


_FAR = 1e18  # as good as infinite: there (φ/Φ)(x + φ/Φ) is its limit, 1 or 0, and not 0 · ∞
_excess: Row = row(mills_excess, lambda g, z, x: g * (1 - np.minimum(_mills(x), _FAR) * z))
_mills: Row = row(mills, lambda g, z, x: -g * (np.minimum(z, _FAR) * _excess(x)))


def _xlogy(x: Any, y: Any) -> Any:
    # SciPy's ufunc, unlike NumPy's, would make float64 of a number beside float32.
    return special.xlogy(_like(x, y), _like(y, x))


if special.INSTALLED:
    row(special.expit, lambda g, z, x: g * (z * (1 - z)))
    row(special.log_expit, lambda g, z, x: g * special.expit(-x))
    row(special.erf, lambda g, z, x: g * (2 / math.sqrt(math.pi)) * np.exp(-x * x))
    row(special.erfc, lambda g, z, x: -g * (2 / math.sqrt(math.pi)) * np.exp(-x * x))
    row(special.ndtr, lambda g, z, x: g * np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))
    row(special.ndtri, lambda g, z, x: g * np.exp(0.5 * z * z) * math.sqrt(2 * math.pi))
    row(special.log_ndtr, lambda g, z, x: g * _mills(x))
    row(special.gammaln, lambda g, z, x: g * special.psi(x))
    row(special.psi, lambda g, z, x: g * _zeta(2.0, x))
    row(
        _xlogy,
        lambda g, z, x, y: g * np.log(_like(y, z)),
        lambda g, z, x, y: g * (x / y),
        key=special.xlogy,
    )

# Choosing between values


def _wins(x: Array, y: Array, dtype: Any) -> Any:
    """1 where x > y, ½ at a tie, 0 where x < y."""
    x, y = value(x), value(y)
    return np.asarray(x > y, dtype) + np.asarray(x == y, dtype) * 0.5


row(
    np.maximum,
    lambda g, z, x, y: g * _wins(x, y, z.dtype),
    lambda g, z, x, y: g * _wins(y, x, z.dtype),
)
row(
    np.minimum,
    lambda g, z, x, y: g * _wins(y, x, z.dtype),
    lambda g, z, x, y: g * _wins(x, y, z.dtype),
)


def _bind_where(c: Any, x: Any, y: Any) -> Bound:
    if type(x) is not Tensor and type(y) is not Tensor:
        raise TypeError("where: neither x nor y is a Tensor; choose by value(c)")
    return (value(c), x, y), {}


_WHERE_VJPS = (
    None,
    lambda g, z, c, x, y: np.where(c, g, 0.0),
    lambda g, z, c, x, y: np.where(c, 0.0, g),
)
ROWS[np.where] = Row("where", np.where, _WHERE_VJPS, _bind_where)


def _clip_vjp(g: Array, z: Array, x: Array, a_min: Any = None, a_max: Any = None) -> Array:
    inside = value(z) == value(x)
    return np.where(inside, g, 0.0)


row(np.clip, _clip_vjp, options=("a_min", "a_max"))

# Reductions


def _restore(g: Array, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Array:
    """Undo a reduction of the shape of g: put the reduced axes back, with length 1."""
    if keepdims or g.ndim == len(shape):
        return g
    reduced = _normal_axes(axis, len(shape))
    return np.reshape(g, tuple(1 if i in reduced else n for i, n in enumerate(shape)))


def _normal_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes counted from 0, or NumPy's error; a single number has an axis 0 to reduce, too."""
    if axis is None or (ndim == 0 and axis in (0, -1)):
        return tuple(range(ndim))
    return normalize_axis_tuple(axis if isinstance(axis, tuple) else (axis,), ndim)


def spread(g: Any, shape: tuple[int, ...]) -> Any:
    """g repeated along its axes of length 1: np.broadcast_to, but an array of its own."""
    out = np.empty(shape, g.dtype)
    out[...] = g
    return out


_spread = row(spread, lambda g, z, x, shape: g, options=("shape",))


_reduce: Any = np.add.reduce  # np.sum without its Python wrapper


def _sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return _reduce(x, axis=axis, keepdims=keepdims)


def _sum_vjp(g: Array, z: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return _spread(_restore(g, x.shape, axis, keepdims), x.shape)


def _mean_vjp(g: Array, z: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return _sum_vjp(g * (z.size / max(x.size, 1)), z, x, axis, keepdims)


def _extreme_vjp(g: Array, z: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    best = _restore(value(z), x.shape, axis, keepdims)
    ties = np.asarray(value(x) == best, x.dtype)
    share = ties / ties.sum(axis=axis, keepdims=True)
    return _restore(g, x.shape, axis, keepdims) * share


row(_sum, _sum_vjp, options=("axis",), keywords=("keepdims",), key=np.sum)
row(np.mean, _mean_vjp, options=("axis",), keywords=("keepdims",))
row(np.max, _extreme_vjp, options=("axis",), keywords=("keepdims",))
row(np.min, _extreme_vjp, options=("axis",), keywords=("keepdims",))


def _cumsum_vjp(g: Array, z: Array, x: Array, axis: int) -> Array:
    return np.flip(_cumsum(np.flip(g, axis), axis), axis)


def cumsum(x: Any, axis: int) -> Any:
    """np.cumsum, slice by slice along an inner axis: the same bits, several times as fast."""
    if axis % x.ndim == x.ndim - 1 or not x.size:
        return np.cumsum(x, axis)
    z = np.array(x)
    slices = np.moveaxis(z, axis, 0)
    for before, now in pairwise(slices):
        now += before
    return z


_cumsum = row(cumsum, _cumsum_vjp, options=("axis",), key="cumsum")


@composed(np.cumsum)
def _cumsum_any(x: Array, axis: int | None = None) -> Array:
    return _cumsum(*_flat(x, axis))


def _flat(x: Array, axis: int | None) -> tuple[Array, int]:
    """What NumPy does without an axis, and with axis 0 of a single number."""
    if axis is None or x.ndim == 0:
        return np.ravel(x), 0 if axis is None else normalize_axis_index(axis, 1)
    return x, normalize_axis_index(axis, x.ndim)


def recurrence(a: Any, b: Any) -> Any:
    """z_k = b_k + a_k z_{k−1} along the first axis, with z_{−1} = 0."""
    z = np.array(b)
    for k in range(1, len(z)):
        z[k] += a[k] * z[k - 1]
    return z


def _delayed(z: Array, first: float) -> Array:
    """z_{k−1} for z_k along the first axis."""
    return np.concatenate([np.full_like(value(z)[:1], first), z[:-1]])


def _recurrence_b(g: Array, z: Array, a: Array, b: Array) -> Array:
    # r_k = g_k + a_{k+1} r_{k+1}: the same recurrence from the other end.
    return np.flip(_recurrence(_delayed(np.flip(a, 0), 0.0), np.flip(g, 0)), 0)


def _recurrence_a(g: Array, z: Array, a: Array, b: Array) -> Array:
    return _recurrence_b(g, z, a, b) * _delayed(z, 0.0)


_recurrence = row(recurrence, _recurrence_a, _recurrence_b)


def cumprod(x: Any) -> Any:
    """np.cumprod along the first axis."""
    return np.cumprod(x, axis=0)


def _cumprod_vjp(g: Array, z: Array, x: Array) -> Array:
    # ∂z_j/∂x_k = z_{k−1} · x_{k+1} ⋯ x_j, with no division: zeros are no special case.
    return _recurrence_b(g, z, x, x) * _delayed(z, 1.0)


_cumprod = row(cumprod, _cumprod_vjp)


@composed(np.cumprod)
def _cumprod_any(x: Array, axis: int | None = None) -> Array:
    x, axis = _flat(x, axis)
    return np.moveaxis(_cumprod(np.moveaxis(x, axis, 0)), 0, axis)


@composed(np.var)
def _var(x: Array, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Array:
    centred = x - np.mean(x, axis=axis, keepdims=True)
    total = np.sum(centred * centred, axis=axis, keepdims=keepdims)
    count = math.prod(x.shape[a] for a in _normal_axes(axis, x.ndim))
    return total / max(count - ddof, 0)


@composed(np.std)
def _std(x: Array, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Array:
    return _length(_var(x, axis, ddof=ddof, keepdims=keepdims))


@composed(np.prod)
def _prod(x: Array, axis: Any = None, *, keepdims: bool = False) -> Array:
    # Halving the axis by products needs no division, so zeros are no special case.
    axes = _normal_axes(axis, x.ndim)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    moved = np.moveaxis(x, axes, tuple(range(len(axes))))
    rest = moved.shape[len(axes) :]
    flat = np.reshape(moved, (math.prod(moved.shape[: len(axes)]), *rest))
    if flat.shape[0] == 0:
        flat = np.concatenate([flat, np.ones((1, *rest), x.dtype)])
    while (n := flat.shape[0]) > 1:
        pairs = flat[: n // 2] * flat[n // 2 : 2 * (n // 2)]
        flat = pairs if n % 2 == 0 else np.concatenate([pairs, flat[-1:]])
    return np.reshape(flat, kept if keepdims else rest)


# Shape


def _inverse(axes: Any, ndim: int) -> tuple[int, ...]:
    """The permutation that undoes `axes`, which may count from the end."""
    return tuple(np.argsort(normalize_axis_tuple(axes, ndim)).tolist())


row(
    np.reshape,
    lambda g, z, x, shape: np.reshape(g, x.shape),
    options=("shape",),
)
row(
    np.transpose,
    lambda g, z, x, axes=None: np.transpose(g, None if axes is None else _inverse(axes, g.ndim)),
    options=("axes",),
)
row(
    np.swapaxes,
    lambda g, z, x, axis1, axis2: np.swapaxes(g, axis1, axis2),
    options=("axis1", "axis2"),
)
row(
    np.moveaxis,
    lambda g, z, x, source, destination: np.moveaxis(g, destination, source),
    options=("source", "destination"),
)
row(np.expand_dims, lambda g, z, x, axis: np.reshape(g, x.shape), options=("axis",))
row(np.squeeze, lambda g, z, x, axis=None: np.reshape(g, x.shape), options=("axis",))
row(np.broadcast_to, lambda g, z, x, shape: g, options=("shape",))
row(np.flip, lambda g, z, x, axis=None: np.flip(g, axis), options=("axis",))
row(np.tril, lambda g, z, x, k=0: np.tril(g, k), options=("k",))
row(np.triu, lambda g, z, x, k=0: np.triu(g, k), options=("k",))
row(np.copy, lambda g, z, x: g)


@composed(np.ravel)
def _ravel(x: Array) -> Array:
    return np.reshape(x, (-1,))


@composed(np.roll)
def _roll(x: Array, shift: Any, axis: Any = None) -> Array:
    if axis is None:
        return np.reshape(_roll(np.ravel(x), shift, 0), x.shape)
    for s, a in np.broadcast(shift, normalize_axis_tuple(axis, x.ndim, allow_duplicate=True)):
        x = np.take(x, np.roll(np.arange(x.shape[a]), s), a)
    return x


@composed(np.repeat)
def _repeat(x: Array, repeats: Any, axis: int | None = None) -> Array:
    x, axis = _flat(x, axis)
    return np.take(x, np.repeat(np.arange(x.shape[axis]), repeats), axis)


@composed(np.tile)
def _tile(x: Array, reps: Any) -> Array:
    counts = tuple(reps) if np.ndim(reps) else (reps,)
    counts = (1,) * (x.ndim - len(counts)) + counts
    lengths = (1,) * (len(counts) - x.ndim) + x.shape
    apart = np.reshape(x, tuple(k for n in lengths for k in (1, n)))
    pairs = tuple(zip(counts, lengths, strict=True))
    repeated = np.broadcast_to(apart, tuple(k for pair in pairs for k in pair))
    return np.reshape(repeated, tuple(r * n for r, n in pairs))


# Joining and padding


def _concatenate_vjp(i: int, g: Array, z: Array, *arrays: Array, axis: int = 0) -> Array:
    if axis is None:
        start = sum(np.size(a) for a in arrays[:i])
        return np.reshape(g[start : start + arrays[i].size], arrays[i].shape)
    start = sum(np.shape(a)[axis] for a in arrays[:i])
    index: list[Any] = [slice(None)] * g.ndim
    index[axis] = slice(start, start + arrays[i].shape[axis])
    return g[tuple(index)]


def _stack_vjp(i: int, g: Array, z: Array, *arrays: Array, axis: int = 0) -> Array:
    index: list[Any] = [slice(None)] * g.ndim
    index[axis] = i
    return g[tuple(index)]


variadic(np.concatenate, _concatenate_vjp, ("axis",))
variadic(np.stack, _stack_vjp, ("axis",))


def _pad_vjp(g: Array, z: Array, x: Array, pad_width: Any, **_: Any) -> Array:
    before = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))[:, 0]
    return g[tuple(slice(b, b + n) for b, n in zip(before.tolist(), x.shape, strict=True))]


_pad = row(np.pad, _pad_vjp, options=("pad_width",), keywords=("constant_values",), key="pad")


@composed(np.pad)
def _pad_constant(x: Array, pad_width: Any, mode: str = "constant", **settings: Any) -> Array:
    if mode != "constant":
        raise TypeError(f"pad: mode {mode!r} is not supported on a Tensor, only 'constant'")
    return _pad(x, pad_width, **settings)


@composed(np.split)
def _split(x: Array, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    pieces = np.split(np.arange(x.shape[axis]), indices_or_sections)
    index: list[Any] = [slice(None)] * x.ndim
    parts = []
    for piece in pieces:
        index[axis] = slice(piece[0], piece[-1] + 1) if piece.size else slice(0, 0)
        parts.append(x[tuple(index)])
    return parts


# Indexing, gathering, sorting


def scatter(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of this shape with g added at x[index]: the adjoint of indexing."""
    out = np.zeros(shape, g.dtype)
    _add_at(out, g, index)
    return out


def _add_at(out: Any, g: Any, index: Any) -> None:
    if _repeats(index):
        np.add.at(out, index, g)
    else:
        out[index] += g


def _repeats(index: Any) -> bool:
    """Whether an index may name an entry twice (integer arrays and lists may)."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(np.ndim(p) > 0 and np.asarray(p).dtype != bool for p in parts)


def getitem(x: Any, index: Any) -> Any:
    """x[index], as a function with a row."""
    return x[index]


def _getitem_vjp(g: Array, z: Array, x: Array, index: Any) -> Array:
    return _scatter(g, index=index, shape=x.shape)


_scatter = row(scatter, lambda g, z, x, index, shape: g[index], options=("index", "shape"))
row(getitem, _getitem_vjp, options=("index",), key="getitem").adds = _add_at


@composed(np.take)
def _take(x: Array, indices: Any, axis: int | None = None) -> Array:
    x, axis = _flat(x, axis)
    if np.asarray(indices).dtype == bool:  # numbers here, a mask in brackets
        indices = np.asarray(indices, np.intp)
    return x[(slice(None),) * axis + (indices,)]


@composed(np.take_along_axis)
def _take_along_axis(x: Array, indices: Any, axis: int | None = -1) -> Array:
    if axis is None:
        x, axis = np.ravel(x), 0
    axis = normalize_axis_index(axis, x.ndim)
    if np.ndim(indices) != x.ndim:
        raise ValueError(f"indices must have the {x.ndim} axes of x, got {np.ndim(indices)}")
    index: list[Any] = [
        np.arange(n).reshape([-1 if i == j else 1 for j in range(x.ndim)])
        for i, n in enumerate(x.shape)
    ]
    index[axis] = value(indices)
    return x[tuple(index)]


@composed(np.sort)
def _sort(x: Array, axis: int | None = -1) -> Array:
    if axis is None:
        x, axis = np.ravel(x), 0
    return _take_along_axis(x, np.argsort(value(x), axis=axis, stable=True), axis)


@composed(np.diagonal)
def _diagonal(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    moved = np.moveaxis(x, (axis1, axis2), (-2, -1))
    n = len(np.diagonal(np.empty(moved.shape[-2:]), offset))
    start = np.arange(n)
    return moved[..., start + max(-offset, 0), start + max(offset, 0)]


# Products


def _matmul_left(g: Array, z: Array, x: Array, y: Array) -> Array:
    if y.ndim == 1:
        return g[..., None] * y
    if x.ndim == 1:
        return np.sum(y * g[..., None, :], axis=-1)
    return g @ np.swapaxes(y, -1, -2)


def _matmul_right(g: Array, z: Array, x: Array, y: Array) -> Array:
    if x.ndim == 1:
        return x * g if y.ndim == 1 else x[:, None] * g[..., None, :]
    if y.ndim == 1:
        return np.sum(x * g[..., None], axis=tuple(range(x.ndim - 1)))
    return np.swapaxes(x, -1, -2) @ g


row(np.matmul, _matmul_left, _matmul_right)


@composed(np.dot)
def _dot(x: Array, y: Array) -> Array:
    if max(np.ndim(x), np.ndim(y)) > 2:
        raise TypeError("np.dot on a Tensor takes at most 2 axes; use np.matmul or np.einsum")
    return x * y if min(np.ndim(x), np.ndim(y)) == 0 else x @ y


@composed(np.outer)
def _outer(x: Array, y: Array) -> Array:
    x, y = _like(x, y), _like(y, x)
    return np.reshape(x, (-1, 1)) * np.reshape(y, (1, -1))


def _einsum(*operands: Any, subscripts: str) -> Any:
    return np.einsum(subscripts, *operands)


@functools.lru_cache(maxsize=1024)
def _einsum_plan(i: int, subscripts: str) -> tuple[str, str, str]:
    """The einsum that gives ∂L/∂(operand i) from g and the others, its letters, the operand's own.

    A letter found in operand i alone was summed over; it is missing here and broadcast later.
    """
    inputs, output = subscripts.split("->")
    terms = inputs.split(",")
    sources = [output, *terms[:i], *terms[i + 1 :]]
    letters = dict.fromkeys(terms[i])
    known = "".join(letter for letter in letters if any(letter in t for t in sources))
    return ",".join(sources) + "->" + known, known, terms[i]


def _einsum_vjp(i: int, g: Array, z: Array, *operands: Array, subscripts: str) -> Array:
    spec, known, term = _einsum_plan(i, subscripts)
    part = np.einsum(spec, g, *operands[:i], *operands[i + 1 :])
    if known == term and part.shape == operands[i].shape:
        return part
    return _einsum_fitted(part, known, term, operands[i].shape)


def _einsum_fitted(part: Array, known: str, term: str, shape: tuple[int, ...]) -> Array:
    """From the known letters to all of the operand's, some of them perhaps repeated."""
    own = dict(zip(term, shape, strict=True))
    found = dict(zip(known, part.shape, strict=True))
    part = np.reshape(part, tuple(found.get(s, 1) for s in own))
    # An axis of length 1 was stretched to its letter's length: here, or in another operand.
    whole = tuple(found.get(s, 1) if n == 1 else n for s, n in own.items())
    part = unbroadcast(_spread(part, whole), tuple(own.values()))
    return part if len(own) == len(term) else _on_diagonal(part, term, shape)


def _on_diagonal(part: Array, term: str, shape: tuple[int, ...]) -> Array:
    """Zeros of this shape with part where all axes of one letter have one index."""
    letters = "".join(dict.fromkeys(term))
    index = tuple(
        np.arange(n).reshape([-1 if s == letter else 1 for letter in letters])
        for s, n in zip(term, shape, strict=True)
    )
    return _scatter(part, index=index, shape=shape)


@functools.lru_cache(maxsize=1024)
def _explicit(subscripts: str, ndims: tuple[int, ...]) -> str:
    """The subscripts with their output, and the axes of an ellipsis, spelled out.

    ndims: of the operands, where there is an ellipsis; () otherwise.
    """
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if ndims and len(terms) != len(ndims):
        raise ValueError(f"einsum: {subscripts!r} names {len(terms)} operands, got {len(ndims)}")
    hidden = [n - len(t) + 3 if "..." in t else 0 for t, n in zip(terms, ndims, strict=False)]
    free = [s for s in _LETTERS if s not in subscripts][: max([0, *hidden])]
    if not arrow:
        single = sorted(s for s in _LETTERS if inputs.count(s) == 1)
        output = ("..." if "..." in inputs else "") + "".join(single)
    elif free and "..." not in output:
        raise ValueError(f"einsum: the output of {subscripts!r} must have the ellipsis")
    own = ["".join(free[len(free) - max(0, n) :]) for n in hidden]  # aligned at the right
    terms = [t.replace("...", s) for t, s in zip(terms, own, strict=True)] if ndims else terms
    return ",".join(terms) + "->" + output.replace("...", "".join(free))


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _bind_einsum(subscripts: str, *operands: Any, **kwargs: Any) -> Bound:
    if kwargs:
        raise TypeError(f"einsum: keyword {sorted(kwargs)[0]!r} is not supported on a Tensor")
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: subscripts must be a str, got {type(subscripts).__name__}")
    operands = in_one_dtype(operands)
    ndims = tuple(np.ndim(a) for a in operands) if "." in subscripts else ()
    return operands, {"subscripts": _explicit(subscripts, ndims)}


ROWS[np.einsum] = Row("einsum", _einsum, _einsum_vjp, _bind_einsum)

# Linear algebra (over the last two axes)


def _inv_vjp(g: Array, z: Array, x: Array) -> Array:
    zt = np.swapaxes(z, -1, -2)
    return -(zt @ g @ zt)


def _solve_transposed(a: Array, g: Array, b: Array) -> Array:
    # As NumPy 2 has it: b is a vector if it has one axis, else a stack of matrices.
    at = np.swapaxes(a, -1, -2)
    return np.linalg.solve(at, g[..., None])[..., 0] if b.ndim == 1 else np.linalg.solve(at, g)


def _solve_left(g: Array, z: Array, a: Array, b: Array) -> Array:
    w = _solve_transposed(a, g, b)
    return -(w[..., :, None] * z[..., None, :]) if b.ndim == 1 else -(w @ np.swapaxes(z, -1, -2))


def _solve_right(g: Array, z: Array, a: Array, b: Array) -> Array:
    return _solve_transposed(a, g, b)


# det is a polynomial: its derivatives exist where the inverse doesn't. By singular values they are
# as exact there as anywhere, with x = U diag(s) Vᵀ and products of the s that leave some out.


def cofactors(x: Any) -> Any:
    """∂det x/∂x = det(x) x⁻ᵀ of square matrices (…, n, n), singular ones too."""
    u, s, vt, sign = _singular(x)
    return sign * ((u * _products_without(s, 1)[..., None, :]) @ vt)


def cofactor_slope(x: Any, e: Any) -> Any:
    """∂⟨cofactors(x), e⟩/∂x = Σ e ∂²det x/∂x∂x, symmetric in its two directions."""
    u, s, vt, sign = _singular(x)
    inner = np.swapaxes(u, -1, -2) @ e @ np.swapaxes(vt, -1, -2)
    pairs = _products_without(s, 2)  # (…, n, n), 0 on the diagonal
    along = (pairs @ np.diagonal(inner, axis1=-2, axis2=-1)[..., None])[..., 0]
    h = along[..., None] * np.eye(s.shape[-1], dtype=s.dtype) - pairs * np.swapaxes(inner, -1, -2)
    return sign * (u @ h @ vt)


def _singular(x: Any) -> tuple[Any, Any, Any, Any]:
    u, s, vt = np.linalg.svd(x)
    return u, s, vt, np.rint(np.linalg.det(u) * np.linalg.det(vt))[..., None, None]


def _products_without(s: Any, left_out: int) -> Any:
    """Products of all s but s_i (…, n), or all but s_i and s_j (…, n, n; 0 where i = j)."""
    eye = np.eye(s.shape[-1], dtype=bool)
    if left_out == 1:
        return np.prod(np.where(eye, 1.0, s[..., None, :]), axis=-1)
    kept = np.where(eye[:, None] | eye, 1.0, s[..., None, None, :])  # (…, n, n, n)
    return np.prod(kept, axis=-1) * ~eye


def _cofactor_slope_x(g: Array, z: Array, x: Array, e: Array) -> Array:
    # The third derivative, where there is an inverse y: of det(x) (tr(ye) tr(yg) − tr(yeyg)).
    y, d = np.linalg.inv(x), np.linalg.det(x)[..., None, None]
    ye, yg = y @ e, y @ g
    a, b, ab = (np.trace(m, axis1=-2, axis2=-1)[..., None, None] for m in (ye, yg, ye @ yg))
    turned = (a * b - ab) * y - a * (yg @ y) - b * (ye @ y) + (ye @ yg + yg @ ye) @ y
    return np.swapaxes(d * turned, -1, -2)


_cofactor_slope: Row = row(
    cofactor_slope, _cofactor_slope_x, lambda g, z, x, e: _cofactor_slope(x, g)
)
_cofactors = row(cofactors, lambda g, z, x: _cofactor_slope(x, g))


def _det_vjp(g: Array, z: Array, x: Array) -> Array:
    return g[..., None, None] * _cofactors(x)


def log_abs_det(x: Any) -> Any:
    """log|det x| of square matrices (…, n, n)."""
    return np.linalg.slogdet(x)[1]


def _log_abs_det_vjp(g: Array, z: Array, x: Array) -> Array:
    return g[..., None, None] * np.swapaxes(np.linalg.inv(x), -1, -2)


def _cholesky_vjp(g: Array, z: Array, x: Array) -> Array:
    # Murray 2016, Eqs. 9, 10: L⁻ᵀ Φ(Lᵀ ḡ) L⁻¹, made symmetric; Φ is the lower part with its
    # diagonal halved.
    zt = np.swapaxes(z, -1, -2)
    inner = np.tril(zt @ np.tril(g))
    inner = inner - inner * (0.5 * np.eye(x.shape[-1], dtype=x.dtype))
    outer = np.linalg.solve(
        zt, np.swapaxes(np.linalg.solve(zt, np.swapaxes(inner, -1, -2)), -1, -2)
    )
    return (outer + np.swapaxes(outer, -1, -2)) * 0.5


row(np.linalg.inv, _inv_vjp)
row(np.linalg.solve, _solve_left, _solve_right)
row(np.linalg.det, _det_vjp)
row(np.linalg.cholesky, _cholesky_vjp)
_log_abs_det = row(log_abs_det, _log_abs_det_vjp)


@composed(np.linalg.slogdet)
def _slogdet(x: Array) -> tuple[Any, Array]:
    return np.linalg.slogdet(value(x))[0], _log_abs_det(x)


@composed(np.trace)
def _trace(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    return np.sum(np.diagonal(x, offset, axis1, axis2), axis=-1)


@composed(np.linalg.norm)
def _norm(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    if axis is not None:
        axis = normalize_axis_tuple(axis if isinstance(axis, tuple) else (axis,), x.ndim)
        if len(axis) not in (1, 2):
            raise ValueError(f"norm: axis must be one axis or two, got {axis}")
    return _length(np.sum(x * x, axis=axis, keepdims=keepdims))


# Casting, and what carries no derivative


def astype(x: Any, dtype: Any) -> Any:
    """x as float32 or float64."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise InputError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    return x.astype(dtype)


def _astype_vjp(g: Array, z: Array, x: Array, dtype: Any) -> Array:
    return g.astype(x.dtype)


row(astype, _astype_vjp, options=("dtype",), key="astype", casts=True)


@composed(np.full_like)
def _full_like(x: Array, fill_value: Any) -> Array:
    if isinstance(fill_value, Tensor):
        raise TypeError("full_like: fill_value is a Tensor; write np.zeros_like(x) + fill_value")
    return np.full_like(value(x), fill_value)


CONSTANT.update(
    (np.sign, np.floor, np.ceil, np.rint, np.trunc, np.round, np.isnan, np.isfinite, np.isinf)
)
CONSTANT.update((np.isneginf, np.isposinf, np.signbit, np.logical_not, np.floor_divide))
CONSTANT.update((np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal))
CONSTANT.update((np.argmax, np.argmin, np.argsort, np.shape, np.ndim, np.size, np.result_type))
CONSTANT.update((np.zeros_like, np.ones_like, np.empty_like, np.searchsorted))
CONSTANT.update((np.array_equal, np.allclose, np.isclose, np.iscomplexobj, np.may_share_memory))
