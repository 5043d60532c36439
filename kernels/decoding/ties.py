"""Which tokens two right implementations may differ in, and no others (MISSION row K3).

Logits of float32 round, so a token may be another where u, or what a control compares, lies within
τ = 64 eps of the boundary between the two: the sum of the tail, the gap at the k-th logit, the sum
of the nucleus, the share of the largest. A model's loop is run on the twin's own tokens (teacher
forcing), so that one such tie is no more than one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.operations.decoding import decode, weights


def tau(dtype: Any) -> float:
    """64 eps."""
    return 64 * float(np.finfo(dtype).eps)


def ties(tokens: Any, logits: Any, u: Any, **controls: Any) -> int:
    """How many tokens (…) are not those of logits (…, V) and u (…), but within τ of it.

    AssertionError for one that is not.
    """
    tokens, u, z = tokens.ravel(), u.ravel(), logits.reshape(-1, logits.shape[-1])
    differ = tokens != decode.definition(z, u, **controls)
    off = margins(tokens[differ], z[differ], u[differ], **controls).max(initial=0.0)
    assert off < tau(logits.dtype), f"a token is wrong: {off:.3g} from a boundary"
    return int(differ.sum())


def margins(
    tokens: Any,
    logits: Any,
    u: Any,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Any:
    """How far each row of logits (n, V) and u (n,) are from where its token would be drawn.

    That is by u; where a control's own comparison is nearer, any token might be.
    """
    z = logits.astype(np.float64)
    best = -np.sort(-z, axis=1)
    if temperature == 0:
        return best[:, 0] - np.take_along_axis(z, tokens[:, None], axis=1)[:, 0]
    kept: dict[str, Any] = {"temperature": temperature}
    near = [_beyond(tokens, weights(z, **kept, top_k=top_k, top_p=top_p, min_p=min_p), u)]
    if top_k is not None and top_k < z.shape[1]:
        near.append((best[:, top_k - 1] - best[:, top_k]) / temperature)
    if top_p is not None and top_p < 1:
        w = -np.sort(-weights(z, **kept, top_k=top_k), axis=1)
        near.append(np.abs(np.cumsum(w, axis=1) / w.sum(axis=1, keepdims=True) - top_p).min(axis=1))
    if min_p is not None:
        near.append(np.abs(weights(z, **kept) - min_p).min(axis=1))
    return np.min(near, axis=0)


def _beyond(tokens: Any, w: Any, u: Any) -> Any:
    """How far u is outside of the interval that draws the token."""
    tail = np.cumsum(w[:, ::-1], axis=1)[:, ::-1] / w.sum(axis=1, keepdims=True)
    ends = np.concatenate([tail, np.zeros_like(tail[:, :1])], axis=1)
    high, low = (np.take_along_axis(ends, (tokens + i)[:, None], axis=1)[:, 0] for i in (0, 1))
    return np.maximum(np.maximum(low - u, u - high), 0)
