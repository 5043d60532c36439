"""The definition of each operation that has a fast twin: the shortest correct NumPy.

Here: one step of a diffusion sampler, from time t to an earlier time s.

    ε̂  = ε∅ + s·(ε_y − ε∅)              guidance (if any)
    x̂_0 = p·x_t + q·ε̂                   what the network's output says about the data
    x_s = a·x_t + b·x̂_0 + σ·z           z ~ N(0, I), drawn for (seed, step t, sample)

Samplers are these three lines with five numbers of their own: `reference.diffusion.samplers` has
them. MISSION rows D3, D7, K5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np

from core import Array
from core.errors import InputError
from core.operation import operation
from core.random import normal


class StepCoefficients(NamedTuple):
    """x̂_0 = p·x_t + q·output;  x_s = a·x_t + b·x̂_0 + σ·z. Plain floats."""

    p: float
    q: float
    a: float
    b: float
    sigma: float


def guide(null: Array, conditional: Array, s: float) -> Array:
    """Classifier-free guidance ε∅ + s(ε_y − ε∅): s = 0 is ε∅, bit for bit; s = 1 is ε_y.

    The lecture's formula; Ho & Salimans 2022, Eq. 6, write w = s − 1.
    """
    return null if s == 0 else null + s * (conditional - null)


def check_step(coefficients: Sequence[float], guidance: float, clip: float | None) -> None:
    """InputError unless coefficients are five finite numbers, σ ≥ 0, guidance finite, clip > 0."""
    numbers = [c for c in coefficients if isinstance(c, Real) and math.isfinite(c)]
    if len(coefficients) != 5 or len(numbers) != 5 or coefficients[4] < 0:
        found = tuple(coefficients)
        raise InputError(f"coefficients must be five finite numbers, the last ≥ 0, got {found}")
    if not isinstance(guidance, Real) or not math.isfinite(guidance):
        raise InputError(f"guidance must be a finite number, got {guidance!r}")
    if clip is not None and not (isinstance(clip, Real) and clip > 0):
        raise InputError(f"clip must be a positive number or None, got {clip!r}")


def step_mean(
    x_t: Array, output: Array, coefficients: StepCoefficients, clip: float | None = None
) -> Array:
    """Where a step goes before noise is added: a·x_t + b·x̂_0; arguments as in `step`."""
    p, q, a, b, _ = coefficients
    x_0 = p * x_t + q * output
    if clip is not None:
        x_0 = np.clip(x_0, -clip, clip)
    return a * x_t + b * x_0


@operation
def step(
    x_t: Array,
    output: Array,
    coefficients: StepCoefficients,
    *,
    seed: int,
    t: int,
    first: int = 0,
    conditional: Array | None = None,
    guidance: float = 0.0,
    clip: float | None = None,
) -> Array:
    """x_s from x_t and the network's output, both (B, …) of one float dtype, which is the result's.

    seed, t, first: name the noise; row i of the batch is sample first + i. None is drawn at σ = 0.
    conditional, guidance: the output given a condition, and how far to go in its direction.
    clip: x̂_0 is kept within [−clip, clip]. InputError as `check_step` says.

    >>> x_t = np.ones((1, 2))
    >>> step(x_t, 0.5 * x_t, StepCoefficients(p=2, q=-1, a=0.5, b=0.25, sigma=0), seed=0, t=1)
    array([[0.875, 0.875]])
    """
    check_step(coefficients, guidance, clip)
    if conditional is not None:
        output = guide(output, conditional, guidance)
    x_s = step_mean(x_t, output, coefficients, clip)
    if coefficients.sigma == 0:
        return x_s
    z = normal(seed, x_t.shape, step=t, stream="noise", first=first, dtype=x_t.dtype)
    return x_s + coefficients.sigma * z
