"""Adam's step in one pass over memory (row K1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from core.checks import shaped
from core.errors import InputError
from kernels.numerics_numba import fused
from kernels.sharing import floating, share


@njit(**fused)
def _adam(g: Any, m: Any, v: Any, betas: Any, others: Any, rate: Any, eps: Any) -> None:
    """In place; others: 1 − β, not what is left of it once β is rounded."""
    for i in range(g.size):
        m_new = betas[0] * m[i] + others[0] * g[i]
        v_new = betas[1] * v[i] + others[1] * (g[i] * g[i])
        m[i], v[i] = m_new, v_new
        g[i] = rate * (m_new / (np.sqrt(v_new) + eps))


def adam_step(
    g: Any,
    m: Any,
    v: Any,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    t: int,
    out: tuple[Any, Any, Any] | None = None,
    scratch: Any = None,
) -> tuple[Any, Any, Any]:
    """Twin of `adam_step`; it needs no scratch.

    Raises InputError for arrays of several shapes or dtypes, or an `out` that isn't contiguous.
    """
    g, m, v = floating(g=g, m=m, v=v)
    m, v = shaped("m", m, g.shape, g.dtype), shaped("v", v, g.shape, g.dtype)
    made = [np.empty(g.shape, g.dtype) for _ in range(3)] if out is None else list(out)
    if not all(x.flags.c_contiguous and x.shape == g.shape and x.dtype == g.dtype for x in made):
        raise InputError(f"out must be contiguous arrays of {g.dtype} {g.shape}, like g")
    for x, start in zip(made, (g, m, v), strict=True):
        if x is not start:
            np.copyto(x, start)
    real, c = g.dtype.type, math.sqrt(1 - betas[1] ** t)
    scalars = lr * c / (1 - betas[0] ** t), max(c * eps, float(np.finfo(g.dtype).tiny))
    pairs = tuple(map(real, betas)), tuple(real(1 - beta) for beta in betas)
    share(_adam, [x.reshape(-1) for x in made], (*pairs, *map(real, scalars)))
    return made[0], made[1], made[2]
