"""A token from its logits on the CPU: `decode`, and what the loops over tokens call (rows F9, K3).

All is float64. Nothing is sorted: the least logit that is kept is selected, as quicksort would find
it in the one half that it lies in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from core.errors import InputError
from kernels.numerics_numba import exp, fused, how
from reference.operations.decoding import check_controls, checked_logits, checked_uniforms

Controls = tuple[float, int, float, float]


def controls_of(
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Controls:
    """The controls as numbers for compiled code, what is not given letting all pass."""
    check_controls(temperature, top_k, top_p, min_p)
    k = np.iinfo(np.int64).max if top_k is None else min(top_k, np.iinfo(np.int64).max)
    p = 1.0 if top_p is None else float(top_p)
    return float(temperature), int(k), p, 0.0 if min_p is None else float(min_p)


@njit(**how)
def _top(z: Any) -> Any:
    """The first of the largest logits; −1 unless all are below +∞ and one is above −∞."""
    top = -1
    for j in range(z.size):
        if not z[j] < np.inf:
            return -1
        if z[j] > (z[top] if top >= 0 else -np.inf):
            top = j
    return top


@njit(**fused)
def _weigh(z: Any, top: float, temperature: float, w: Any) -> None:
    """w = e^((z − top) / T)."""
    for j in range(z.size):
        w[j] = exp((np.float64(z[j]) - top) / temperature)


@njit(**how)
def _sum(w: Any) -> Any:
    """From the last to the first, as the definition adds."""
    total = 0.0
    for j in range(w.size - 1, -1, -1):
        total += w[j]
    return total


@njit(**how)
def _three_ways(z: Any, w: Any, start: int, stop: int, pivot: float) -> tuple[int, int]:
    """Put larger logits than the pivot first, equal ones next; where these begin and end.

    Weights go where their logits go.
    """
    equal, i, less = start, start, stop
    while i < less:
        if z[i] == pivot:
            i += 1
            continue
        if z[i] > pivot:
            other, equal, step = equal, equal + 1, 1
        else:
            less, step = less - 1, 0
            other = less
        z[i], z[other], w[i], w[other] = z[other], z[i], w[other], w[i]
        i += step
    return equal, less


@njit(**how)
def _least_reaching(z: Any, w: Any, amount: float) -> Any:
    """The logit of the last of the fewest tokens, largest first, whose weights reach an amount."""
    z, w, start, stop, so_far, least = z.copy(), w.copy(), 0, z.size, 0.0, z[0]
    while start < stop:
        least = z[(start + stop) // 2]
        equal, less = _three_ways(z, w, start, stop, least)
        larger = so_far + _sum(w[start:equal])
        if larger >= amount:
            stop = equal
            continue
        so_far = larger + _sum(w[equal:less])
        if so_far >= amount:
            break
        start = less
    return least


@njit(**how)
def _keep(z: Any, least: float, w: Any) -> None:
    for j in range(z.size):
        if z[j] < least:
            w[j] = 0.0


@njit(**how)
def _inverted(w: Any, u: float) -> Any:
    """How many j ≥ 1 have u · Σ w < Σ_{i≥j} w_i."""
    reach, tail = u * _sum(w), 0.0
    for j in range(w.size - 1, 0, -1):
        tail += w[j]
        if reach < tail:
            return j
    return 0


@njit(**how)
def draw_token(z: Any, u: float, controls: Controls, w: Any) -> Any:
    """The token of logits z (V,) and u, −1 if there is none; w (V,) float64 is written over."""
    temperature, k, p, least = controls
    top = _top(z)
    if top < 0 or temperature == 0.0:
        return top
    _weigh(z, np.float64(z[top]), temperature, w)
    if k < z.size:
        _keep(z, _least_reaching(z, np.ones(w.size), np.float64(k)), w)
    if p < 1.0:
        _keep(z, _least_reaching(z, w, p * _sum(w)), w)
    if least > 0.0:
        for j in range(w.size):
            if w[j] < least:
                w[j] = 0.0
    return _inverted(w, u)


@njit(**how)
def draw_tokens(z: Any, u: Any, controls: Controls, w: Any, tokens: Any) -> bool:
    """One of each row z (n, V) into tokens (n,); whether every row had one."""
    for s in range(len(z)):
        tokens[s] = draw_token(z[s], np.float64(u[s]), controls, w)
        if tokens[s] < 0:
            return False
    return True


def decode(logits: Any, u: Any, **controls: Any) -> Any:
    """Twin of `decode`. Raises InputError as it does."""
    chosen = controls_of(**controls)
    z = np.ascontiguousarray(checked_logits(logits))
    u = np.ascontiguousarray(checked_uniforms(u, len(z)), np.float64)
    tokens = np.empty(len(z), np.int64)
    draw_tokens(z, u, chosen, np.empty(z.shape[1]), tokens)
    return tokens


def drawn(tokens: Any) -> Any:
    """The tokens; InputError where a loop met logits that make none."""
    if (tokens < 0).any():
        raise InputError("logits must be finite or -inf, and finite for a token of each row")
    return tokens
