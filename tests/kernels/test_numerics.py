"""Functions of one number in compiled code: how far off, at the ends, and for NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit
from scipy import special

from kernels import numerics_numba as numerics


def mapped(function: Any) -> Any:
    """The function over an array, compiled as a twin compiles it."""

    @njit(**{**numerics.how, "cache": False})
    def run(x: Any, z: Any) -> None:
        for i in range(x.size):
            z[i] = function(x[i])

    return run


def values(function: Any, x: Any) -> Any:
    z = np.empty_like(x)
    mapped(function)(x, z)
    return z


WITHIN = {  # name: exact, least and most x by dtype, eps that it may be off by, and at ±∞
    "exp": (np.exp, (-87, 2), (-700, 2), 2, (0, None)),
    "exp2": (np.exp2, (-125, 0), (-1021, 0), 2, (0, None)),
    "tanh": (np.tanh, (-40, 40), (-40, 40), 3, (-1, 1)),
    "sigmoid": (special.expit, (-87, 40), (-700, 40), 3, (0, 1)),
    "softplus": (lambda x: np.logaddexp(0, x), (-87, 80), (-700, 80), 3, (0, np.inf)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", WITHIN)
def test_functions_are_within_some_eps_of_their_own_size(name: str, dtype: Any):
    exact, *ranges, eps, ends = WITHIN[name]
    low, high = ranges[dtype == np.float64]
    around = [x for x in np.linspace(-2, 2, 10_001) if low <= x <= high]
    tiny = [x for x in (0.0, -0.0, 1e-30, -1e-30, -1e-7, 1e-4) if low <= x <= high]
    x = np.concatenate([np.linspace(low, high, 100_001), around, tiny]).astype(dtype)
    truth = exact(x.astype(np.float64) if dtype == np.float32 else x)
    off = np.abs(values(getattr(numerics, name), x) - truth)
    assert (off <= eps * np.finfo(dtype).eps * np.abs(truth)).all()
    outside = values(getattr(numerics, name), np.array([-np.inf, np.inf, np.nan], dtype))
    assert np.isnan(outside[2])
    for found, end in zip(outside, ends, strict=False):
        if end is not None:
            np.testing.assert_allclose(found, end, atol=1e-37)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_normal_tail_and_bell(dtype: Any):
    x = np.concatenate([np.linspace(-12, 12, 20_001), [0.0, -0.0]]).astype(dtype)

    @njit(**{**numerics.how, "cache": False})
    def run(x: Any, z: Any) -> None:
        for i in range(x.size):
            z[0, i], z[1, i], z[2, i] = numerics.normal(x[i])

    z = np.empty((3, x.size), dtype)
    run(x, z)
    wide = x.astype(np.float64)
    bell = np.exp(-0.5 * wide**2) / np.sqrt(2 * np.pi)
    for found, truth in zip(
        z, (special.ndtr(wide), special.ndtr(-np.abs(wide)), bell), strict=True
    ):
        assert (np.abs(found - truth) <= 4 * np.finfo(dtype).eps).all()


@pytest.mark.parametrize(("dtype", "end"), [(np.float32, 87), (np.float64, 700)])
def test_exps_are_within_two_eps(dtype: Any, end: float):
    a = np.concatenate([np.linspace(-end, end, 100_001), np.linspace(-2, 2, 10_001)]).astype(dtype)
    e, outside = np.empty_like(a), np.empty(4, dtype)
    run = numerics._exps32 if dtype == np.float32 else numerics._exps64
    run(a, e)
    exact = np.exp(-a.astype(np.longdouble))
    assert (np.abs(e - exact) / exact).max() < 2 * np.finfo(dtype).eps
    run(np.array([-np.inf, -1e30, 1e30, np.inf], dtype), outside)
    np.testing.assert_allclose(1 / (1 + outside), [0, 0, 1, 1], atol=1e-37)


def test_log_is_within_two_ulp():
    rng = np.random.default_rng(0)
    x = np.exp(np.concatenate([rng.uniform(-700, 700, 100_000), rng.uniform(-1, 1, 100_000)]))
    x = np.append(x, [1, 2, 0.5, np.nextafter(1, 0), np.nextafter(1, 2), np.sqrt(0.5), 2**0.5])
    found = np.array([numerics.log64(v) for v in x])
    exact = np.log(x.astype(np.longdouble))
    assert (np.abs(found - exact) <= 2 * np.spacing(np.abs(exact).astype(float))).all()
