"""By what rule a kernel on a GPU is right, and the traps that a wrong one falls into."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

FLOOR = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
CAP = {torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 0.4}


class Where(NamedTuple):
    """The device, its dtypes (the interpreter gets bfloat16 wrong), and whether only a sample of
    small cases is wanted."""

    device: str
    dtypes: tuple[Any, ...]
    small: bool


GPU = Where("cuda", (torch.bfloat16, torch.float16, torch.float32), False)
INTERPRETER = Where("cpu", (torch.float32, torch.float16), True)
Proof = tuple[str, Callable[[], None]]


def wide(x: Any) -> Any:
    """A tensor as float64, in NumPy."""
    return x.double().cpu().numpy()


def within(name: str, found: Any, plain: Any, truth: Any, dtype: Any) -> None:
    """FlashAttention's rule, in units of the largest entry where that is above 1."""
    found, plain = wide(found), wide(plain)
    assert found.shape == truth.shape, f"{name}: {found.shape} is not {truth.shape}"
    assert np.isfinite(found).all(), f"{name}: NaN or infinity"
    scale = max(1.0, np.abs(truth).max(initial=0))
    error, own = (np.abs(x - truth).max(initial=0) / scale for x in (found, plain))
    allowed = min(2 * own + FLOOR[dtype], CAP[dtype])
    assert error <= allowed, f"{name}: error {error:.3g}, allowed {allowed:.3g}"


def complaint(run: Callable[[], None]) -> str:
    """What a check that should fail says; empty if it passes."""
    try:
        run()
    except AssertionError as error:
        return str(error)
    return ""


def same_bits(run: Callable[[], Any], n: int) -> None:
    """AssertionError if two of n runs differ in a bit."""
    first = run()
    for i in range(1, n):
        for x, y in zip(run(), first, strict=True):
            assert x.equal(y), f"run {i} differs in {int((x != y).sum())} entries"


class Guarded:
    """A tensor of NaN between two stretches of NaN: all of it must be written, they must not."""

    def __init__(self, shape: Any, dtype: Any, device: str, margin: int = 4096) -> None:
        self.buffer = torch.full((math.prod(shape) + 2 * margin,), math.nan, device=device)
        self.buffer = self.buffer.to(dtype)
        self.margin = margin
        self.inside = self.buffer[margin:-margin].view(shape)

    def check(self) -> None:
        """AssertionError if a write went outside, or left a hole inside."""
        outside = torch.cat([self.buffer[: self.margin], self.buffer[-self.margin :]])
        assert outside.isnan().all(), "written outside the result"
        assert not self.inside.isnan().any(), "a part of the result was not written"


def name_of(dtype: Any) -> str:
    """Of a torch dtype, as people say it."""
    return str(dtype).removeprefix("torch.")
