"""Drawing one variable after another on the CPU: the tokens of the readable loops (row K3).

All uniforms come first, and samples are independent, so the loop over variables runs on a few
samples at a time (rows of weights are read once for all of them) and threads share the samples out.
The arithmetic of a sample does not depend on the others. What is saved, beyond loops that compile:

NADE: as long as bits are 0 the hidden units stay what they were; a bit that is 1 multiplies their
e^(−a) by e^(−W_d), so that exponentials are taken of weights, once for all the samples.
MADE: a hidden unit depends on the inputs up to its degree only, so it is computed once, when the
last of them is known: all D conditionals of a sample cost one forward pass, not D.

`*_trace` returns (x, p): the bits and the probability that each was 1 when it was drawn.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import njit, prange
from numba.extending import overload

from core.errors import InputError
from kernels.numerics_numba import exp64, exps, log64

_SAMPLES = 24  # that go through the loop together, at most
_FEW = 8  # samples are not worth a parallel region, which costs 50 µs
_how: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}
_sums: dict[str, Any] = {**_how, "fastmath": {"reassoc", "nsz", "contract"}}
_LEAST32, _LEAST64 = np.float32(1e-30).view(np.uint32), np.float64(1e-30).view(np.uint64)
_END32, _END64 = (math.log(np.finfo(t).max) for t in (np.float32, np.float64))


# Where a positive number stands among its like, as one unsigned integer: below 1e-30 is above all.


@njit(**_how)
def _order_of32(x: Any) -> Any:
    return np.uint32(np.float32(x).view(np.uint32) - _LEAST32)


@njit(**_how)
def _order_of64(x: Any) -> Any:
    return np.uint64(np.float64(x).view(np.uint64) - _LEAST64)


def order_of(x: Any) -> Any:
    """The bits of x less those of 1e-30, from inside compiled code."""
    raise NotImplementedError


@overload(order_of)
def _order_of(x: Any) -> Any:
    which = _order_of32 if x == numba.float32 else _order_of64

    def run(x: Any) -> Any:
        return which(x)

    return run


@njit(**_how)
def _reaches(u: Any) -> Any:
    """log(u / (1 − u)) in float64: u < σ(l) where that is < l, and no exponential has to wait.

    Where u is 0, the l from which on σ(l) = 1 / (1 + e^(−l)) is not 0.
    """
    reach, least = np.empty(u.shape, np.float64), -_END32 if u.itemsize == 4 else -_END64
    for s in range(len(u)):
        for i in range(u.shape[1]):
            v = np.float64(u[s, i])
            reach[s, i] = log64(v / (1.0 - v)) if v > 0.0 else least
    return reach


@njit(**_how)
def _probabilities(p: Any) -> None:
    """p = σ(p), in float64 up to the last rounding."""
    for s in range(len(p)):
        for i in range(p.shape[1]):
            p[s, i] = 1.0 / (1.0 + exp64(-np.float64(p[s, i])))


@njit(**_sums)
def _dot(a: Any, b: Any, n: int, s: Any) -> Any:
    """S + Σ_{k<n} a_k b_k."""
    for k in range(n):
        s += a[k] * b[k]
    return s


@njit(**_sums)
def _add(a: Any, factor: Any, b: Any) -> None:
    """a += factor · b."""
    for k in range(a.size):
        a[k] += factor * b[k]


# The loops over variables, for a few samples


@njit(**_how)
def _decide(logit: Any, reach: Any, x: Any, p: Any, s: int, i: int) -> bool:
    """Draw variable i of sample s; p keeps the logit."""
    bit = bool(reach[s, i] < logit)
    p[s, i], x[s, i] = logit, bit
    return bit


@njit(**_how)
def _nade_far(reach: Any, W: Any, V: Any, b: Any, c: Any, order: Any, x: Any, p: Any) -> None:
    """One sample by the recursion itself, where e^(−a) would leave the range of its dtype."""
    one, a, h = b.dtype.type(1), c.copy(), np.empty_like(c)
    for d in range(order.size):
        exps(a, h)
        for k in range(h.size):
            h[k] = one / (one + h[k])
        if _decide(_dot(h, V[d], c.size, b[d]), reach, x, p, 0, order[d]):
            _add(a, one, W[d])


@njit(**_sums)
def _units(e: Any, factor: Any, h: Any, v: Any, logit: Any) -> tuple[bool, Any]:
    """e *= factor, h = 1 / (1 + e); whether one comes near the end of its range; logit + h·v."""
    one, most = e.dtype.type(1), e.dtype.type(1e30)
    worst = order_of(one)
    for k in range(e.size):
        e_k = e[k] * factor[k]
        h_k = one / (one + e_k)
        e[k], h[k] = e_k, h_k
        logit += h_k * v[k]
        worst = max(worst, max(order_of(e_k), order_of(factor[k])))
    return bool(worst > order_of(most)), logit


@njit(**_how)
def _copy(a: Any, b: Any) -> None:
    for k in range(a.size):  # a slice that is assigned costs more than the rest of a token
        b[k] = a[k]


@njit(**_how)
def _ones(rows: int, n: int, like: Any) -> Any:
    """Ones (rows, n) of this dtype, from the start of a cache line on."""
    raw = np.ones(rows * n + 64 // like.itemsize, like.dtype)
    start = -raw.ctypes.data % 64 // like.itemsize
    return raw[start : start + rows * n].reshape((rows, n))


@njit(**_how)
def _nade(u: Any, W: Any, V: Any, b: Any, c: Any, order: Any, x: Any, p: Any) -> None:
    """e^(−a) in the place of a: a bit multiplies it by e^(−W_d), which all samples share."""
    wide, reach = (c.size + 15) // 16 * 16, _reaches(u)  # whole registers
    e, h = _ones(len(u), wide, u), _ones(len(u), wide, u)
    shared = _ones(2, wide, u)
    factor, v = shared[0], shared[1]
    v[:] = 0
    far, logit = np.zeros(len(u), np.bool_), np.empty(len(u), u.dtype)
    ones, zeros = np.empty(len(u) + 1, np.int64), np.empty(len(u) + 1, np.int64)
    exps(c, factor)
    _copy(V[0], v)
    for s in range(len(u)):
        far[s], logit[s] = _units(e[s], factor, h[s], v, b[0])
    for d in range(order.size):
        some, others = 0, 0
        for s in range(len(u)):  # which are 1: a branch that nothing can foresee would cost more
            ones[some] = zeros[others] = s
            bit = _decide(logit[s], reach, x, p, s, order[d])
            some, others = some + bit, others + (not bit)
        if d + 1 == order.size:
            break
        _copy(V[d + 1], v)
        if some:
            exps(W[d], factor)
        for s in ones[:some]:
            over, logit[s] = _units(e[s], factor, h[s], v, b[d + 1])
            far[s] |= over
        for s in zeros[:others]:
            logit[s] = _dot(h[s], v, wide, b[d + 1])
    for s in range(len(u)):
        if far[s]:
            at = slice(s, s + 1)
            _nade_far(reach[at], W, V, b, c, order, x[at], p[at])
    _probabilities(p)


@njit(**_how)
def _fvsbn(u: Any, W: Any, b: Any, order: Any, x: Any, p: Any) -> None:
    """W and b in the order of the variables: row d weighs the d before it."""
    past, reach = np.zeros((len(u), order.size), u.dtype), _reaches(u)
    for d in range(order.size):
        for s in range(len(u)):
            logit = _dot(W[d], past[s], d, b[d])
            past[s, d] = _decide(logit, reach, x, p, s, order[d])
    _probabilities(p)


@njit(**_how)
def _made(u: Any, W: Any, b: Any, begin: Any, order: Any, x: Any, p: Any) -> None:
    """W, b, begin: of `made_plan`. At d, what the first d variables determine is worked out."""
    D, a, reach = order.size, np.empty((len(u), b.size), u.dtype), _reaches(u)
    for s in range(len(u)):
        a[s] = b
    for d in range(D):
        at, base = 0, 0  # of the layer's weights in W, of its units in a
        for layer in range(len(begin) - 1):
            units, above, low = begin[layer, -1], begin[layer + 1, -1], begin[layer + 1, d]
            for k in range(begin[layer, d], begin[layer, d + 1]):
                row = W[at + k * above + low : at + (k + 1) * above]
                for s in range(len(u)):
                    h = a[s, base + k]
                    if not h <= 0:  # ReLU, and bits that are 0
                        _add(a[s, base + units + low : base + units + above], h, row)
            at, base = at + units * above, base + units
        for s in range(len(u)):
            a[s, d] = _decide(a[s, base + d], reach, x, p, s, order[d])
    _probabilities(p)


# The same for many


@njit(parallel=True, **_how)
def _nade_parallel(
    u: Any, W: Any, V: Any, b: Any, c: Any, order: Any, x: Any, p: Any, size: int
) -> None:
    for task in prange((len(u) + size - 1) // size):
        i, j = task * size, min((task + 1) * size, len(u))
        _nade(u[i:j], W, V, b, c, order, x[i:j], p[i:j])


@njit(parallel=True, **_how)
def _fvsbn_parallel(u: Any, W: Any, b: Any, order: Any, x: Any, p: Any, size: int) -> None:
    for task in prange((len(u) + size - 1) // size):
        i, j = task * size, min((task + 1) * size, len(u))
        _fvsbn(u[i:j], W, b, order, x[i:j], p[i:j])


@njit(parallel=True, **_how)
def _made_parallel(
    u: Any, W: Any, b: Any, begin: Any, order: Any, x: Any, p: Any, size: int
) -> None:
    for task in prange((len(u) + size - 1) // size):
        i, j = task * size, min((task + 1) * size, len(u))
        _made(u[i:j], W, b, begin, order, x[i:j], p[i:j])


def _run(one: Any, many: Any, u: Any, *arguments: Any) -> tuple[Any, Any]:
    """Few samples on this thread, many on all."""
    x, p = np.empty_like(u), np.empty_like(u)
    if not u.size:
        return x, p
    if len(u) <= _FEW:
        one(u, *arguments, x, p)
    else:
        threads = numba.get_num_threads()
        shares = threads * -(-len(u) // (threads * _SAMPLES))  # as many for each thread
        many(u, *arguments, x, p, -(-len(u) // shares))
    return x, p


@njit(**_how)
def _outside(u: Any) -> int:
    """How many are not in [0, 1)."""
    n = 0
    for i in range(len(u)):
        for v in u[i]:
            n += not (v >= 0) & (v < 1)
    return n


def _uniforms(u: Any) -> Any:
    """u, rows contiguous. InputError unless it is a matrix of numbers in [0, 1)."""
    u = np.asarray(u)
    if u.ndim != 2 or u.dtype not in (np.float32, np.float64):
        raise InputError(f"u must be float32 or float64, (n, D), got {u.dtype} of shape {u.shape}")
    u = np.ascontiguousarray(u)
    if _outside(u):
        raise InputError(f"u must lie in [0, 1), got {u.min()}..{u.max()}")
    return u


def _like(u: Any, name: str, array: Any, *shape: int) -> Any:
    """The array, rows contiguous. InputError unless it has this shape and u's dtype."""
    array = np.asarray(array)
    if array.shape != shape or array.dtype != u.dtype:
        raise InputError(
            f"{name} must be {u.dtype} of shape {shape}, got {array.dtype} of shape {array.shape}"
        )
    return np.ascontiguousarray(array)


@njit(**_how)
def _each_once(order: Any) -> bool:
    seen = np.zeros(order.size, np.bool_)
    for i in order:
        if i < 0 or i >= order.size or seen[i]:
            return False
        seen[i] = True
    return True


def _order(order: Any, dim: int) -> Any:
    """As int64 (dim,). InputError unless each variable is in it once."""
    found = np.asarray(order)
    whole = found.dtype.kind in "iu" or not found.size
    if whole and found.shape == (dim,) and _each_once(found := found.astype(np.int64)):
        return found
    raise InputError(
        f"order must hold each of 0, …, {dim - 1} once, got {found.dtype} of shape {found.shape}"
    )


def nade_trace(u: Any, W: Any, V: Any, b: Any, c: Any, order: Any) -> tuple[Any, Any]:
    """Bits and their probabilities, both like u. Raises InputError as `nade_sample` does."""
    u = _uniforms(u)
    D, H = u.shape[1], np.size(c)
    W, V = _like(u, "W", W, D, H), _like(u, "V", V, D, H)
    b, c = _like(u, "b", b, D), _like(u, "c", c, H)
    return _run(_nade, _nade_parallel, u, W, V, b, c, _order(order, D))


def nade_sample(u: Any, W: Any, V: Any, b: Any, c: Any, order: Any) -> Any:
    """Twin of `nade_sample`. Raises InputError for mismatched shapes or dtypes."""
    return nade_trace(u, W, V, b, c, order)[0]


def fvsbn_trace(u: Any, W: Any, b: Any, order: Any) -> tuple[Any, Any]:
    """Bits and their probabilities, both like u. Raises InputError as `fvsbn_sample` does."""
    u = _uniforms(u)
    D = u.shape[1]
    W, b, order = _like(u, "W", W, D, D), _like(u, "b", b, D), _order(order, D)
    if not np.array_equal(order, np.arange(D)):
        W, b = W[np.ix_(order, order)], b[order]
    return _run(_fvsbn, _fvsbn_parallel, u, W, b, order)


def fvsbn_sample(u: Any, W: Any, b: Any, order: Any) -> Any:
    """Twin of `fvsbn_sample`. Raises InputError for wrong shapes or dtypes."""
    return fvsbn_trace(u, W, b, order)[0]


# MADE: who is known when


@njit(**_how)
def _last_row(W: Any, rows: Any) -> Any:
    """For each column of W the largest i with W[rows[i]] not 0 there; −1 if there is none."""
    last = np.full(W.shape[1], -1)
    for i in range(rows.size):
        w = W[rows[i]]
        for k in range(w.size):
            last[k] = i if w[k] != 0 else last[k]
    return last


@njit(**_how)
def _column_sums(W: Any) -> Any:
    total = np.zeros(W.shape[1])
    for i in range(len(W)):
        w = W[i]
        for k in range(w.size):
            total[k] += w[k]
    return total


@njit(**_how)
def _gather(W: Any, rows: Any, columns: Any, scale: int, out: Any) -> None:
    for i in range(rows.size):
        w = W[rows[i]]
        for k in range(columns.size):
            out[i * columns.size + k] = scale * w[columns[k]]


def _dtype(layers: Any) -> Any:
    """Of the first layer's matrix. InputError unless there is one, of real numbers."""
    if not len(layers):
        raise InputError("layers must hold at least one (matrix, bias), got none")
    dtype = np.asarray(layers[0][0]).dtype
    if dtype not in (np.float32, np.float64):
        raise InputError(f"layers must be float32 or float64, got {dtype}")
    return dtype


def made_plan(layers: Any, order: Any) -> tuple[Any, Any, Any, Any]:
    """(W, b, begin, order) for `made_draw`: each layer's units sorted by when they are known.

    A unit is known at d if its last input of weight ≠ 0 is the d-th variable, or a unit known at d.
    begin[l, d]: the first unit of layer l, inputs being 0 and logits last, known at d or later; a
    logit needs what is known before its own variable. W: the matrices, sorted, one after another,
    the first for inputs 0 and 1 in place of −1 and 1.

    Raises InputError for shapes that don't fit, mixed dtypes, and layers in which a logit depends
    on its own variable or a later one.
    """
    order = _order(order, np.size(order))
    D, dtype = order.size, _dtype(layers)
    rows, known, begin = order, np.arange(1, D + 1), [np.maximum(np.arange(D + 2) - 1, 0)]
    flat, biases = [], [np.zeros(D, dtype)]
    for number, (W, b) in enumerate(layers):
        last_layer = number + 1 == len(layers)
        b = _like(np.empty(0, dtype), f"bias {number}", b, D if last_layer else np.size(b))
        W = _like(b, f"matrix {number}", W, rows.size, b.size)
        if number == 0:  # W (2x − 1) = 2W x − Σ W: what is 0 costs nothing
            b = (b - _column_sums(W)).astype(dtype)
        last = _last_row(W, rows)
        when = np.append(known, 0)[last]
        columns = order if last_layer else np.argsort(when, kind="stable")
        flat.append(np.empty(W.size, dtype))
        _gather(W, rows, columns, 2 if number == 0 else 1, flat[-1])
        biases.append(b[columns])
        rows, known = columns, when[columns]
        begin.append(np.searchsorted(known, np.arange(D + 2)))
    if (late := known > np.arange(D)).any():
        raise InputError(
            f"layers: the logit of variable {order[late][0]} sees itself or the future"
        )
    begin[-1] = np.minimum(np.arange(D + 2), D)
    return np.concatenate(flat), np.concatenate(biases), np.stack(begin), order


def made_draw(u: Any, plan: tuple[Any, Any, Any, Any]) -> tuple[Any, Any]:
    """Bits and their probabilities, both like u (n, D), for the cost of one forward pass each.

    Raises InputError if u does not fit the plan.
    """
    W, b, begin, order = plan
    u = _uniforms(u)
    _like(b, "u", u, len(u), order.size)
    return _run(_made, _made_parallel, u, W, b, begin, order)


def made_sample(u: Any, layers: Any, order: Any) -> Any:
    """Twin of `made_sample`; raises what `made_plan` and `made_draw` raise."""
    return made_draw(u, made_plan(layers, order))[0]


# Tables


@njit(**_how)
def _above(tail: Any, u: Any) -> int:
    """How many entries of a falling row exceed u."""
    low, high = 0, tail.size
    while low < high:
        middle = (low + high) // 2
        if u < tail[middle]:
            low = middle + 1
        else:
            high = middle
    return low


@njit(**_how)
def _walk(u: Any, first: Any, tails: Any, x: Any) -> None:
    for s in range(len(u)):
        k = _above(first, u[s, 0])
        x[s, 0] = k
        for j in range(1, u.shape[1]):
            k = _above(tails[k], u[s, j])
            x[s, j] = k


def chain_sample(u: Any, first: Any, transitions: Any) -> Any:
    """Twin of `chain_sample`, a binary search for each value.

    Raises InputError unless transitions are (K, K) for first (K,), of u's dtype, K at least 1.
    """
    u = _uniforms(u)
    if not (K := np.size(first)):
        raise InputError("first must hold at least one probability, got none")
    rows = _like(u, "first", first, K), _like(u, "transitions", transitions, K, K)
    # P(x > k) with the sums in the definition's order, so that the comparisons are its own.
    tails = [np.cumsum(p[..., ::-1], axis=-1)[..., -2::-1] for p in rows]
    x = np.empty(u.shape, np.int64)
    if u.shape[1]:
        _walk(u, *tails, x)
    return x


@njit(**_how)
def _pick(u: Any, v: Any, threshold: Any, other: Any, x: Any) -> bool:
    """Whether all of u was in [0, 1)."""
    good, K = True, threshold.size
    for i in range(u.size):
        column = np.float64(u[i]) * K
        inside = (column >= 0) & (column < K)
        k = np.int64(column) if inside else 0
        keep = np.int64(v[i] < threshold[k])  # not a branch, which could not be predicted
        x[i] = other[k] + keep * (k - other[k])
        good &= inside
    return good


def alias_draw(u: Any, threshold: Any, other: Any) -> Any:
    """Twin of `alias_draw`. Raises InputError for shapes that don't fit."""
    u, threshold, other = np.asarray(u), np.asarray(threshold), np.asarray(other)
    if u.ndim != 2 or u.shape[1] != 2 or threshold.shape != other.shape or threshold.ndim != 1:
        raise InputError(
            "u, threshold and other must have shapes (n, 2), (K,) and (K,), "
            f"got {u.shape}, {threshold.shape} and {other.shape}"
        )
    for name, x in (("u", u), ("threshold", threshold)):
        if x.dtype not in (np.float32, np.float64):
            raise InputError(f"{name} must be float32 or float64, got {x.dtype}")
    if (
        other.dtype.kind not in "iu"
        or not other.size
        or not 0 <= other.min() <= other.max() < other.size
    ):
        raise InputError(
            f"other must be integers in 0..{other.size - 1}, at least one, got {other.dtype}"
        )
    x = np.empty(len(u), np.int64)
    if not _pick(u[:, 0], u[:, 1], threshold, other.astype(np.int64, copy=False), x):
        raise InputError(f"u must lie in [0, 1), got {u.min()}..{u.max()}")
    return x
