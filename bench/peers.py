"""Whether another library's call answers the same question: no number stands where it doesn't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels import Op
from kernels.table import arrays

COUNTS_OFF = 1e-5
"""The share of values that an inexact histogram may count elsewhere."""

OTHER_NUMBERS = {
    ("wavenet_sample", "torch, queues"),
    ("wavenet_sample", "torch, windows"),
    ("wavenet_sample", "numpy, windows"),
    ("alias_draw", "numpy choice"),
    ("decode", "torch"),
    ("rnn_sample", "torch"),
    ("transformer_sample", "torch"),
}
"""Peers that draw from the same distribution with random numbers of their own: shape is all."""


def judge(op: Op, who: str, run: Callable[..., Any], arguments: Any) -> dict[str, int]:
    """Run a peer once; AssertionError unless its result is right. Returns what is to be noted.

    Counts may be few off, and "counts_off" says how many. Where the peer adds noise of its own,
    that noise must be standard normal. Every law of the row must hold; floats may be wrong by the
    row's cap.
    """
    result, expected = run(**arguments), op.load()(**arguments)
    shapes, wanted = ([x.shape for x in arrays(r)] for r in (result, expected))
    assert shapes == wanted, f"{who}: {shapes} is not {wanted}"
    if (op.name, who) in OTHER_NUMBERS:
        return {}
    if "edges" in arguments or {"x", "levels"} <= arguments.keys():
        return _counts(who, result, expected, len(arguments["x"]))
    for law in op.laws:
        law(arguments, result)
    if getattr(arguments.get("coefficients"), "sigma", 0):
        _check_noise(op, who, result, arguments)
    else:
        for x, y in zip(arrays(result), arrays(expected), strict=True):
            _check_equal(op, who, x, y)
    return {}


def off_on_round_numbers(op: Op, run: Callable[..., Any], arguments: Any) -> int:
    """Counts by which a histogram is off when x has two decimals, so that many lie on edges."""
    call = {**arguments, "x": arguments["x"].round(2)}
    return int(np.abs(run(**call) - op.load()(**call)).sum())


def _counts(who: str, result: Any, expected: Any, n: int) -> dict[str, int]:
    off = int(np.abs(result - expected).sum())
    assert off <= COUNTS_OFF * n, f"{who}: {off} counts differ"
    return {"counts_off": off}


def _check_noise(op: Op, who: str, result: Any, arguments: Any) -> None:
    c = arguments["coefficients"]
    mean = op.load()(**{**arguments, "coefficients": c._replace(sigma=0.0)})
    z = (result - mean).astype(np.float64) / c.sigma
    off = abs(z.mean()), abs(z.var() - 1) / 2**0.5
    assert max(off) < 6 / z.size**0.5, f"{who}: its noise has mean {z.mean()}, variance {z.var()}"


def _check_equal(op: Op, who: str, result: Any, expected: Any) -> None:
    if expected.dtype.kind in "iub":
        np.testing.assert_array_equal(result, expected, err_msg=who)
        return
    scale = max(1.0, np.abs(expected).max(initial=0.0))
    error = np.abs(result - expected).max(initial=0.0)
    assert error <= op.cap[str(expected.dtype)] * scale, f"{who}: error {error:.3g}"
