"""Texts from transformers on the CPU, with keys and values kept, all of the loop compiled (row K3).

What one token of a few texts costs is a read of all weights. A prompt, and the window when it has
moved, go through the network together, text by text, as products of matrices. Keys lie feature by
feature, so that the scores of all of them are one product; values lie place by place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from core import value
from core.checks import shaped
from core.checks import tokens as checked_tokens
from core.errors import InputError
from kernels.activations.twin_numba import gelu_units
from kernels.blas import one_blas_thread, small_product
from kernels.decoding.decode_numba import controls_of, draw_tokens, drawn
from kernels.decoding.products_numba import (
    add_product,
    addresses,
    in_one_block,
    matrix_at,
    set_dots,
    vector_at,
)
from kernels.gemm_numba import set_product
from kernels.normalisation.twin_numba import layer_rows
from kernels.numerics_numba import exp, how, sums
from kernels.sharing import floating, share_rows
from reference.layers import LayerNorm, TransformerBlock
from reference.operations.decoding import checked_uniforms

_TEXTS = 16
"""That go through the loop together, at most."""
_MANY = 32
"""Tokens of a call that are worth a copy of the weights."""
_PARTS = 16
"""Arrays of a block."""


@njit(**how)
def _add_affine(x: Any, W: int, b: int, n: int, y: Any, plan: Any) -> None:
    """Y (B, m) += x (B, n) W + b, by where W and b begin; a text's many places by BLAS."""
    m = y.shape[1]
    weight, bias = matrix_at(W, n, m, y), vector_at(b, m, y)
    for s in range(len(y)):
        for j in range(m):
            y[s, j] += bias[j]
    ones, most, together = plan
    if together:
        set_product(x, weight, y, ones, most)
    else:
        add_product(x, weight, y)


@njit(**how)
def _set_affine(x: Any, W: int, b: int, n: int, y: Any, plan: Any) -> None:
    """Y = x W + b."""
    for s in range(len(y)):
        for j in range(y.shape[1]):
            y[s, j] = 0
    _add_affine(x, W, b, n, y, plan)


@njit(**sums)
def _shares(s: Any, scale: Any) -> Any:
    """s = e^(scale (s − max)), and one over its sum."""
    top, total = s[0], s.dtype.type(0)
    for t in range(s.size):
        top = max(top, s[t])
    for t in range(s.size):
        s[t] = exp((s[t] - top) * scale)
        total += s[t]
    return s.dtype.type(1) / total


@njit(**how)
def _attend(q: Any, keys: Any, values: Any, T: int, o: Any, room: Any) -> None:
    """One query q (n,) over the first T places of keys (heads, D, M) and values (heads, M, D)."""
    heads, D, _ = keys.shape
    scale, scores = o.dtype.type(1 / math.sqrt(D)), room[:T].reshape(1, T)
    for head in range(heads):
        own = slice(head * D, (head + 1) * D)
        for t in range(T):
            scores[0, t] = 0
        add_product(q[own].reshape(1, D), keys[head], scores)
        share = _shares(scores[0], scale)
        for d in range(D):
            o[head * D + d] = 0
        add_product(scores, values[head, :T], o[own].reshape(1, D))
        for d in range(D):
            o[head * D + d] *= share


@njit(**how)
def _keep(k: Any, v: Any, keys: Any, values: Any, t: int) -> None:
    """A place's key and value (n,) into keys (heads, D, M) and values (heads, M, D)."""
    heads, D, _ = keys.shape
    for head in range(heads):
        for d in range(D):
            keys[head, d, t] = k[head * D + d]
            values[head, t, d] = v[head * D + d]


@njit(**how)
def _blocks(
    h: Any, who: Any, at: Any, keys: Any, values: Any, layers: Any, room: Any, plan: Any, eps: Any
) -> None:
    """H (B, n) through all blocks; row b is of text who[b], at place at[b].

    layers (L, 16): where each block's γ_1, β_1, W_q, b_q, W_k, b_k, W_v, b_v, W_o, b_o, γ_2, β_2,
    W_1, b_1, W_2, b_2 begin. room: of 7 arrays.
    """
    B, n = h.shape
    a, q, k, v, wide, active, scores = room
    a, q, k, v, wide, active = a[:B], q[:B], k[:B], v[:B], wide[:B], active[:B]
    for layer in range(len(layers)):
        w = layers[layer]
        layer_rows(h, a, vector_at(w[0], n, h), vector_at(w[1], n, h), eps)
        _set_affine(a, w[2], w[3], n, q, plan)
        _set_affine(a, w[4], w[5], n, k, plan)
        _set_affine(a, w[6], w[7], n, v, plan)
        for b in range(B):
            _keep(k[b], v[b], keys[layer, who[b]], values[layer, who[b]], at[b])
        for b in range(B):
            own_keys, own_values = keys[layer, who[b]], values[layer, who[b]]
            _attend(q[b], own_keys, own_values, at[b] + 1, a[b], scores)
        _add_affine(a, w[8], w[9], n, h, plan)
        layer_rows(h, a, vector_at(w[10], n, h), vector_at(w[11], n, h), eps)
        _set_affine(a, w[12], w[13], n, wide, plan)
        for b in range(B):
            gelu_units(wide[b], active[b])
        _add_affine(active, w[14], w[15], wide.shape[1], h, plan)


@njit(**how)
def _move(cache: Any, start: int, keys: Any, values: Any, into: bool) -> None:
    """Texts of a cache (L, 2, n, heads, T, D), from `start` on, into keys and values, or back."""
    L, _, _, heads, T, D = cache.shape
    for layer in range(L):
        for s in range(keys.shape[1]):
            for head in range(heads):
                k, v = cache[layer, 0, start + s, head], cache[layer, 1, start + s, head]
                for t in range(T):
                    for d in range(D):
                        if into:
                            keys[layer, s, head, d, t] = k[t, d]
                            values[layer, s, head, t, d] = v[t, d]
                        else:
                            k[t, d] = keys[layer, s, head, d, t]
                            v[t, d] = values[layer, s, head, t, d]


@njit(**how)
def _embed(text: Any, places: Any, E: Any, P: Any, h: Any) -> None:
    """H (B, n) of the tokens that stand at places[b] of the window of a text, which ends with it.

    The window is the first token and the last of the others.
    """
    beyond = max(text.size - len(P), 0)
    for b in range(len(h)):
        t = places[b]
        k = text[t + beyond] if t > 0 else text[0]
        for j in range(h.shape[1]):
            h[b, j] = E[k, j] + P[t, j]


@njit(**how)
def _texts(
    rows: Any, u: Any, text: Any, cache: Any, after: Any,
    E: Any, P: Any, layers: Any, gamma: Any, beta: Any, V: Any, c: Any,
    wide: int, eps: Any, controls: Any, ones: Any, most: int,
) -> None:  # fmt: skip
    """Some rows of text and cache: tokens follow the known ones of text (n, known + T).

    gamma, beta: of the last norm. V (K, n), c: of the logits. after: what the cache becomes.
    """
    L, _, _, heads, M, D = after.shape
    (T, n), R, start = (u.shape[1], E.shape[1]), rows.size, rows[0]
    known, filled = text.shape[1] - T, cache.shape[4]
    keys = np.empty((L, R, heads, D, M), E.dtype)
    values = np.empty((L, R, heads, M, D), E.dtype)
    _move(cache, start, keys, values, True)
    B = max(R, M if known + T - 1 > len(P) else min(known, len(P)) - min(filled, known))
    h, last = np.empty((B, n), E.dtype), np.empty((R, n), E.dtype)
    a, q, k, v = (np.empty((B, n), E.dtype), np.empty((B, n), E.dtype),
                  np.empty((B, n), E.dtype), np.empty((B, n), E.dtype))  # fmt: skip
    active, scores = np.empty((B, wide), E.dtype), np.empty(M, E.dtype)
    room = a, q, k, v, np.empty((B, wide), E.dtype), active, scores
    each, logits, w = np.arange(R), np.empty((R, c.size), E.dtype), np.empty(c.size)
    for i in range(T):
        length = known + i
        filled = 0 if length > len(P) else filled
        places = np.arange(filled, min(length, len(P)))
        if places.size == 1:
            at = np.full(R, filled)
            for s in range(R):
                _embed(text[start + s, :length], places, E, P, h[s : s + 1])
            _blocks(h[:R], each, at, keys, values, layers, room, (ones, most, False), eps)
            layer_rows(h[:R], last, gamma, beta, eps)
        else:
            for s in range(R):
                own = h[: places.size]
                _embed(text[start + s, :length], places, E, P, own)
                who = np.full(places.size, s)
                _blocks(own, who, places, keys, values, layers, room, (ones, most, True), eps)
                layer_rows(own[-1:], last[s : s + 1], gamma, beta, eps)
        filled += places.size
        set_dots(last, V, c, logits)
        here = slice(start, start + R)
        if not draw_tokens(logits, u[here, i], controls, w, text[here, length]):
            return
    _move(after, start, keys, values, False)


def transformer_sample(
    u: Any, x: Any, seen: Any, cache: Any,
    E: Any, P: Any, blocks: Any, norm: Any, V: Any, c: Any, **controls: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Twin of `transformer_sample`. Raises InputError as it does, and for what does not fit."""
    chosen, u = controls_of(**controls), checked_uniforms(u, "n", "T")
    E, P, V, c, cache = floating(E=E, P=P, V=V, c=c, cache=cache)
    (count, T), dtype = u.shape, E.dtype
    x = checked_tokens(x, len(shaped("E", E, ("rows", "n"), dtype)))
    places, n = shaped("P", P, ("places", E.shape[1]), dtype).shape
    a, weights = _blocks_of(blocks, n, dtype)
    shape = (len(blocks), 2, count, a.heads, seen.shape[1], a.D)
    shaped("cache", cache, shape, dtype)
    if not T:
        return np.zeros((count, 0), np.int64), seen.copy(), cache.copy()
    text = np.concatenate([seen, x, np.zeros((count, T), np.int64)], axis=1)
    known = text.shape[1] - T
    weights = in_one_block(weights) if T >= _MANY else weights
    after = np.empty((*shape[:4], min(known + T - 1, places), a.D), dtype)
    V = np.ascontiguousarray(shaped("V", V, (n, "K"), dtype).T)
    c = np.ascontiguousarray(shaped("c", c, (len(V),), dtype))
    arguments = (
        u, text, np.ascontiguousarray(cache), after, np.ascontiguousarray(E),
        np.ascontiguousarray(P), addresses(*weights).reshape(-1, _PARTS), *_norm_of(norm, n, dtype),
        V, c, weights[13].size, dtype.type(norm.eps), chosen, np.ones(2, dtype), small_product(),
    )  # fmt: skip
    with one_blas_thread():
        share_rows(_texts, count, _TEXTS, *arguments)
    beyond = max(known + T - 1 - places, 0)
    return drawn(text[:, known:]), np.delete(text[:, :-1], slice(1, 1 + beyond), axis=1), after


def _blocks_of(blocks: Any, n: int, dtype: Any) -> tuple[Any, list[Any]]:
    """The first block's attention, and 16 arrays of each block; InputError unless they fit."""
    if not blocks or any(not isinstance(block, TransformerBlock) for block in blocks):
        raise InputError("blocks must be TransformerBlocks, one at least")
    weights: list[Any] = []
    for block in blocks:
        a, (first, second) = block.attention, block.mlp.layers
        weights += _norm_of(block.norm_1, n, dtype)
        for layer in (a.q, a.k, a.v, a.o):
            weights += _linear_of(layer, n, n, dtype)
        weights += _norm_of(block.norm_2, n, dtype)
        wide = blocks[0].mlp.layers[0].n_out
        weights += [*_linear_of(first, n, wide, dtype), *_linear_of(second, wide, n, dtype)]
    return blocks[0].attention, weights


def _norm_of(norm: LayerNorm, n: int, dtype: Any) -> list[Any]:
    return [np.ascontiguousarray(shaped("norm", value(p), (n,), dtype))
            for p in (norm.gamma, norm.beta)]  # fmt: skip


def _linear_of(layer: Any, n_in: int, n_out: int, dtype: Any) -> list[Any]:
    W, b = value(layer.W), value(layer.b)
    return [np.ascontiguousarray(shaped("W", W, (n_in, n_out), dtype)),
            np.ascontiguousarray(shaped("b", b, (n_out,), dtype))]  # fmt: skip
