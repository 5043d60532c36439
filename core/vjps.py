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

from core import special
from core.errors import InputError
from core.rows import Bound, composed, row, variadic
from core.tensor import CONSTANT, ROWS, Array, Row, value

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


def _power_base(g: Array, z: Array, x: Array, y: Array) -> Array:
    # At exponent 0 the derivative is 0 even where x**(-1) is infinite.
    exponent = np.where(value(y) == 0, 1.0, y) if hasattr(y, "dtype") else (y or 1)
    return g * y * x ** (exponent - 1)


def _power_exponent(g: Array, z: Array, x: Array, y: Array) -> Array:
    # x**y ln x -> 0 as x -> 0+ for y > 0; where() keeps 0 · (−∞) out.
    return g * z * np.log(np.where(value(x) == 0, 1.0, x))


row(np.power, _power_base, _power_exponent)

# Exponentials and logarithms

row(np.exp, lambda g, z, x: g * z)
row(np.exp2, lambda g, z, x: g * z * math.log(2))
row(np.expm1, lambda g, z, x: g * (z + 1))
row(np.log, lambda g, z, x: g / x)
row(np.log2, lambda g, z, x: g / (x * math.log(2)))
row(np.log10, lambda g, z, x: g / (x * math.log(10)))
row(np.log1p, lambda g, z, x: g / (x + 1))


def _share(x: Array, z: Array) -> Array:
    """e^(x − z), the share of x in z = log Σ e^x; 0 where everything is −∞, not NaN."""
    return np.exp(x - np.where(np.isneginf(z), 0.0, z))


row(
    np.logaddexp,
    lambda g, z, x, y: g * _share(x, z),
    lambda g, z, x, y: g * _share(y, z),
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

if special.INSTALLED:
    row(special.expit, lambda g, z, x: g * (z * (1 - z)))
    row(special.log_expit, lambda g, z, x: g * special.expit(-x))
    row(special.erf, lambda g, z, x: g * (2 / math.sqrt(math.pi)) * np.exp(-x * x))
    row(special.erfc, lambda g, z, x: -g * (2 / math.sqrt(math.pi)) * np.exp(-x * x))
    row(special.ndtr, lambda g, z, x: g * np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))
    row(
        special.log_ndtr,
        lambda g, z, x: g * np.exp(-0.5 * x * x - z) * (1 / math.sqrt(2 * math.pi)),
    )
    row(special.gammaln, lambda g, z, x: g * special.psi(x))
    row(special.psi, lambda g, z, x: g * _zeta(2.0, x))
    row(
        special.xlogy,
        lambda g, z, x, y: g * np.log(y),
        lambda g, z, x, y: g * (x / y),
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
row(
    np.where,
    None,
    lambda g, z, c, x, y: np.where(value(c), g, 0.0),
    lambda g, z, c, x, y: np.where(value(c), 0.0, g),
)


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
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    return tuple(a % ndim for a in axes)


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
    return _cumsum(x, axis) if axis is not None else _cumsum(np.ravel(x), 0)


@composed(np.var)
def _var(x: Array, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Array:
    centred = x - np.mean(x, axis=axis, keepdims=True)
    total = np.sum(centred * centred, axis=axis, keepdims=keepdims)
    count = x.size // max(total.size, 1)
    return total * (1 / (count - ddof))


@composed(np.std)
def _std(x: Array, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Array:
    return np.sqrt(_var(x, axis, ddof=ddof, keepdims=keepdims))


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


row(
    np.reshape,
    lambda g, z, x, shape: np.reshape(g, x.shape),
    options=("shape",),
)
row(
    np.transpose,
    lambda g, z, x, axes=None: np.transpose(g, None if axes is None else np.argsort(axes)),
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
def _roll(x: Array, shift: int, axis: int) -> Array:
    return np.take(x, (np.arange(x.shape[axis]) - shift) % max(x.shape[axis], 1), axis)


# Joining and padding


def _concatenate_vjp(i: int, g: Array, z: Array, *arrays: Array, axis: int = 0) -> Array:
    start = sum(a.shape[axis] for a in arrays[:i])
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
    if _repeats(index):
        np.add.at(out, index, g)
    else:
        out[index] = g
    return out


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
row(getitem, _getitem_vjp, options=("index",), key="getitem")


@composed(np.take)
def _take(x: Array, indices: Any, axis: int | None = None) -> Array:
    if axis is None:
        return np.reshape(x, (-1,))[indices]
    return x[(slice(None),) * (axis % x.ndim) + (indices,)]


@composed(np.take_along_axis)
def _take_along_axis(x: Array, indices: Any, axis: int = -1) -> Array:
    index: list[Any] = [
        np.arange(n).reshape([-1 if i == j else 1 for j in range(x.ndim)])
        for i, n in enumerate(x.shape)
    ]
    index[axis] = value(indices)
    return x[tuple(index)]


@composed(np.sort)
def _sort(x: Array, axis: int = -1) -> Array:
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
    return np.reshape(x, (-1, 1)) * np.reshape(y, (1, -1))


def _einsum(*operands: Any, subscripts: str) -> Any:
    return np.einsum(subscripts, *operands)


@functools.lru_cache(maxsize=1024)
def _einsum_plan(i: int, subscripts: str) -> tuple[str, str]:
    """The einsum that gives ∂L/∂(operand i) from g and the others, and the letters it yields.

    A letter found in operand i alone was summed over; it is missing here and broadcast later.
    """
    inputs, output = subscripts.split("->")
    terms = inputs.split(",")
    sources = [output, *terms[:i], *terms[i + 1 :]]
    known = "".join(letter for letter in terms[i] if any(letter in t for t in sources))
    return ",".join(sources) + "->" + known, terms[i]


def _einsum_vjp(i: int, g: Array, z: Array, *operands: Array, subscripts: str) -> Array:
    spec, term = _einsum_plan(i, subscripts)
    part = np.einsum(spec, g, *operands[:i], *operands[i + 1 :])
    known, shape = spec.split("->")[1], operands[i].shape
    if known == term:
        return part
    lengths = tuple(n if s in known else 1 for s, n in zip(term, shape, strict=True))
    return _spread(np.reshape(part, lengths), shape)


@functools.lru_cache(maxsize=1024)
def _explicit(subscripts: str) -> str:
    """The subscripts with their output spelled out; raises for what has no row."""
    spec = subscripts.replace(" ", "")
    if "." in spec:
        raise TypeError(f"einsum: subscripts {subscripts!r} has an ellipsis; name every axis")
    if "->" not in spec:
        letters = spec.replace(",", "")
        spec += "->" + "".join(sorted(s for s in set(letters) if letters.count(s) == 1))
    if any(len(set(term)) != len(term) for term in spec.split("->")[0].split(",")):
        raise TypeError(f"einsum: {subscripts!r} repeats a letter within one operand")
    return spec


def _bind_einsum(subscripts: str, *operands: Any, **kwargs: Any) -> Bound:
    if kwargs:
        raise TypeError(f"einsum: keyword {sorted(kwargs)[0]!r} is not supported on a Tensor")
    return operands, {"subscripts": _explicit(subscripts)}


ROWS[np.einsum] = Row("einsum", _einsum, _einsum_vjp, _bind_einsum)

# Linear algebra (over the last two axes)


def _inv_vjp(g: Array, z: Array, x: Array) -> Array:
    zt = np.swapaxes(z, -1, -2)
    return -(zt @ g @ zt)


def _solve_left(g: Array, z: Array, a: Array, b: Array) -> Array:
    w = np.linalg.solve(np.swapaxes(a, -1, -2), g)
    return -(w[..., :, None] * z[..., None, :]) if b.ndim == 1 else -(w @ np.swapaxes(z, -1, -2))


def _solve_right(g: Array, z: Array, a: Array, b: Array) -> Array:
    return np.linalg.solve(np.swapaxes(a, -1, -2), g)


def _det_vjp(g: Array, z: Array, x: Array) -> Array:
    return (g * z)[..., None, None] * np.swapaxes(np.linalg.inv(x), -1, -2)


def log_abs_det(x: Any) -> Any:
    """log|det x| of square matrices (…, n, n)."""
    return np.linalg.slogdet(x)[1]


def _log_abs_det_vjp(g: Array, z: Array, x: Array) -> Array:
    return g[..., None, None] * np.swapaxes(np.linalg.inv(x), -1, -2)


def _cholesky_vjp(g: Array, z: Array, x: Array) -> Array:
    # Murray 2016, Eq. 10: L⁻ᵀ Φ(Lᵀ ḡ) L⁻¹, made symmetric; Φ halves the diagonal of the lower part.
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
def _trace(x: Array) -> Array:
    return np.sum(np.diagonal(x, axis1=0, axis2=1), axis=-1)


@composed(np.linalg.norm)
def _norm(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


# Casting, and what carries no derivative


def astype(x: Any, dtype: Any) -> Any:
    """x as float32 or float64."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise InputError(f"dtype is {np.dtype(dtype)}; a Tensor is float32 or float64")
    return x.astype(dtype)


def _astype_vjp(g: Array, z: Array, x: Array, dtype: Any) -> Array:
    return g.astype(x.dtype)


row(astype, _astype_vjp, options=("dtype",), key="astype", casts=True)

CONSTANT.update(
    (np.sign, np.floor, np.ceil, np.rint, np.trunc, np.round, np.isnan, np.isfinite, np.isinf)
)
CONSTANT.update((np.isneginf, np.isposinf, np.signbit, np.logical_not, np.floor_divide))
CONSTANT.update((np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal))
CONSTANT.update((np.argmax, np.argmin, np.argsort, np.shape, np.ndim, np.size, np.result_type))
CONSTANT.update((np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.searchsorted))
CONSTANT.update((np.array_equal, np.allclose, np.isclose, np.iscomplexobj, np.may_share_memory))
