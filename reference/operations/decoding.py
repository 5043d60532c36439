"""Decoding: from the logits of one token to the token itself, with the field's controls.

    p_j  ∝  exp(l_j / T)  for j in the kept set,  0 elsewhere

and the kept set is what every control that is given lets pass:

    top-k    fewer than k logits are larger than l_j
    top-p    the tokens more probable than j (of those that top-k kept) have less than p together
    min-p    p_j is at least min_p times the largest probability

Each asks how many are *larger*, so equal logits stay or go together, whatever their order: k = 2 of
(1, 1, 1) keeps three. Temperature comes first, then top-k, then top-p of what that kept, its
probabilities made to sum to 1 again; min-p is a ratio, and may come at any time. T = 0 is greedy
decoding, the limit of T → 0 but for ties: the first of the largest.

A token comes from one uniform by inverting its distribution, from the last token to the first,

    token = #{j ≥ 1 : u · Σ_i w_i < Σ_{i≥j} w_i},       w = exp((l − max l) / T),

so that of two tokens the second is drawn where u < p_1, as in all our models, and a token that is
not kept never is. Everything is float64, whatever the logits are: the kept set is the defined one
unless a sum lies within 1e-15 of p.

Holtzman et al. 2020 (top-p); Fan, Lewis & Dauphin 2018 (top-k); Nguyen et al. 2024 (min-p).
MISSION rows F9, A10.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from core import Array
from core.checks import number, shaped, whole
from core.errors import InputError
from core.operation import operation
from core.tensor import value


def check_controls(
    temperature: float, top_k: int | None, top_p: float | None, min_p: float | None
) -> None:
    """InputError unless T ≥ 0, k ≥ 1, p in (0, 1] and min_p in [0, 1]; None is no control."""
    number("temperature", temperature, least=0)
    if top_k is not None:
        whole("top_k", top_k, 1)
    if top_p is not None:
        number("top_p", top_p, above=0, most=1)
    if min_p is not None:
        number("min_p", min_p, least=0, most=1)


@operation(arrays=0)
def decode(
    logits: Array,
    u: Array,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Any:
    """Tokens int64 (B,) of logits (B, V) and uniforms u (B,) in [0, 1), both floats.

    A logit of −∞ forbids its token. InputError for NaN and +∞, for a row that forbids all, for u
    out of [0, 1), and for controls out of range (`check_controls`).

    >>> logits, u = np.log([[0.1, 0.2, 0.7]]), np.array([0.95])
    >>> decode(logits, u), decode(logits, u, top_k=2), decode(logits, u, temperature=0)
    (array([0]), array([1]), array([2]))
    """
    w = weights(logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    u = checked_uniforms(u, len(w))
    tail = np.cumsum(w[:, ::-1], axis=1)[:, ::-1]  # Σ_{i≥j} w_i, (B, V)
    return np.sum(u[:, None] * tail[:, :1] < tail[:, 1:], axis=1)


def one_by_one(
    step: Callable[[Any, Any], tuple[Array, Any]], x: Any, state: Any, u: Any, **controls: Any
) -> tuple[Any, Any]:
    """Tokens int64 (n, T) from uniforms u (n, T), each drawn from what those before it make likely.

    step(x, state): the logits (n, V) of what follows the tokens x (n, t), and the state after them.
    x: what is read first. Returned as well: the state after all tokens but the last.

    >>> counts_up = lambda x, _: (np.log(np.eye(4)[(x[:, -1] + 1) % 4] + 1e-9), None)
    >>> one_by_one(counts_up, np.array([[1]]), None, np.full((1, 4), 0.5))[0]
    array([[2, 3, 0, 1]])
    """
    drawn = np.empty(u.shape, np.int64)
    for t in range(u.shape[1]):
        logits, state = step(x, state)
        drawn[:, t] = decode(value(logits), u[:, t], **controls)
        x = drawn[:, t : t + 1]
    return drawn, state


def probabilities(logits: Array, **controls: Any) -> Any:
    """The distribution that `decode` draws from, float64 (B, V); its arguments and errors.

    >>> probabilities(np.log([[0.1, 0.2, 0.7]]), top_p=0.8).round(3)
    array([[0.   , 0.222, 0.778]])
    """
    w = weights(logits, **controls)
    return w / w.sum(axis=1, keepdims=True)


def weights(
    logits: Array,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Any:
    """w (B, V), float64: exp((l − max l) / T) of the tokens kept, 0 of others; as in `decode`.

    >>> weights(np.log([[1.0, 2.0, 4.0]]), min_p=0.5)
    array([[0. , 0.5, 1. ]])
    """
    check_controls(temperature, top_k, top_p, min_p)
    z = checked_logits(logits)
    if temperature == 0:
        return (np.arange(z.shape[1]) == z.argmax(axis=1)[:, None]).astype(np.float64)
    with np.errstate(over="ignore"):  # far below the top is −∞
        w = np.exp((z - z.max(axis=1, keepdims=True)) / temperature)
    if top_k is not None and top_k < z.shape[1]:
        w[z < np.partition(z, -top_k, axis=1)[:, [-top_k]]] = 0
    if top_p is not None and top_p < 1:
        w[z < _least_of_nucleus(z, w, top_p)] = 0
    if min_p is not None:
        w[w < min_p] = 0
    return w


def _least_of_nucleus(z: Any, w: Any, p: float) -> Any:
    """The least logit of the fewest that have p of all weight together, largest first: (B, 1)."""
    order = np.argsort(-z, axis=1, kind="stable")
    total = np.cumsum(np.take_along_axis(w, order, axis=1), axis=1)
    n = np.sum(total < p * total[:, -1:], axis=1, keepdims=True)  # all before the last of them
    return np.take_along_axis(z, np.take_along_axis(order, n, axis=1), axis=1)


def checked_logits(logits: Array) -> Any:
    """Logits as float64 (B, V), or InputError."""
    z = value(shaped("logits", logits, ("B", "V"), None)).astype(np.float64)
    if z.shape[1] == 0:
        raise InputError(f"logits must have at least one token, got {z.shape}")
    if not (z < np.inf).all():
        raise InputError(f"logits must be finite or -inf, got {z[~(z < np.inf)][0]}")
    if np.isneginf(z.max(axis=1)).any():
        raise InputError("logits must be finite for a token of each row, got a row of -inf")
    return z


def checked_uniforms(u: Array, *shape: int | str) -> Any:
    """Uniforms of this shape, or InputError."""
    u = shaped("u", u, shape, None)
    if not ((u >= 0) & (u < 1)).all():
        raise InputError(f"u must lie in [0, 1), got {u[~((u >= 0) & (u < 1))][0]}")
    return u
