"""Run by test_bounds.py in a process with TRITON_INTERPRET=1: do the kernels keep to their arrays?

Two ways to tell. Exactly: every address that a program reads or writes belongs to a tensor of its
launch. And by canaries, as one could on a GPU: tensors lie inside larger ones; what surrounds them
stays as it was, and other surroundings change no result. Each case prints its name when it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from triton.runtime.interpreter import GridExecutor, InterpreterBuilder

from kernels.attention import twin_triton
from tests.kernels.triton_drivers import BLOCKS, DRIVERS, FAULTS, D, faulty

Driver = Callable[[Callable[[Any], Any]], list[Any]]
MARGIN = BLOCKS[1] * D  # elements on either side: a block of keys
AROUND = {
    torch.float32: (float("nan"), 3.0e38),
    torch.int32: (0, 1),
    torch.int64: (-1, 5),
    torch.uint8: (0, 255),
}
"""What surrounds a tensor in the first run and in the second."""


LAUNCHED: set[str] = set()


class OutOfBoundsError(Exception):
    """A kernel read or wrote what is not its own."""


def check(access: str, pointers: Any, mask: Any, tensors: list[Any]) -> None:
    """Every address that the mask lets through lies, whole, in one of the tensors."""
    at = pointers.data[np.broadcast_to(mask.data, pointers.data.shape)].astype(np.int64)
    size = pointers.get_element_ty().primitive_bitwidth // 8
    inside = np.zeros(at.shape, bool)
    for x in tensors:
        start = x.data_ptr()
        inside |= (start <= at) & (at + size <= start + x.numel() * x.element_size())
    if not inside.all():
        raise OutOfBoundsError(f"{access} at {(~inside).sum()} places that are no tensor's")


@contextmanager
def watched() -> Iterator[None]:
    """Triton's interpreter with every load and store checked."""
    prepare, load, store = (
        GridExecutor._init_args_hst,
        InterpreterBuilder.create_masked_load,
        InterpreterBuilder.create_masked_store,
    )
    tensors: list[Any] = []

    def launching(self: Any, arguments: Any, named: Any) -> Any:
        LAUNCHED.add(self.fn.__name__)
        found = prepare(self, arguments, named)
        tensors[:] = [x for x in (*found[0], *found[1].values()) if isinstance(x, torch.Tensor)]
        return found

    def loading(self: Any, pointers: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        check("reads", pointers, mask, tensors)
        return load(self, pointers, mask, *rest, **named)

    def storing(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        check("writes", pointers, mask, tensors)
        return store(self, pointers, value, mask, *rest)

    GridExecutor._init_args_hst = launching
    InterpreterBuilder.create_masked_load = loading
    InterpreterBuilder.create_masked_store = storing
    try:
        yield
    finally:
        GridExecutor._init_args_hst = prepare
        InterpreterBuilder.create_masked_load = load
        InterpreterBuilder.create_masked_store = store


def exactly(driver: Driver) -> None:
    with watched():
        driver(lambda x: surrounded(x, 0)[1])


def by_canaries(driver: Driver) -> None:
    results = []
    for which in (0, 1):
        placed: list[tuple[Any, Any]] = []

        def place(x: Any, which: int = which, placed: Any = placed) -> Any:
            placed.append(surrounded(x, which))
            return placed[-1][1]

        results.append([x.clone() for x in driver(place)])
        for whole, x in placed:
            fresh, _ = surrounded(x, which)
            if whole.numpy().tobytes() != fresh.numpy().tobytes():
                raise OutOfBoundsError("what surrounds a tensor has changed")
    for x, y in zip(*results, strict=True):
        if x.numpy().tobytes() != y.numpy().tobytes():
            raise OutOfBoundsError("what surrounds the tensors changes the result")


def surrounded(x: Any, which: int) -> tuple[Any, Any]:
    """A larger tensor, and a copy of x in the middle of it."""
    whole = torch.full((x.numel() + 2 * MARGIN,), AROUND[x.dtype][which], dtype=x.dtype)
    inner = whole[MARGIN : MARGIN + x.numel()].view(x.shape)
    return whole, inner.copy_(x)


def planted(case: str) -> None:
    """Both ways report the faulty kernel."""
    exact, canary = PLANTED[case]
    with faulty(case):
        for way, message in ((exactly, exact), (by_canaries, canary)):
            with np.errstate(all="ignore"), pytest.raises(Exception, match=message):
                way(DRIVERS["forward intervals"])


PLANTED = {
    "load without its mask": ("reads", "changes the result"),
    "store without its mask": ("writes", "has changed"),
    "one key too many": ("reads", "changes the result"),
}


def every_kernel() -> None:
    """No kernel lacks a driver."""
    sources = Path(twin_triton.__file__).parents[1].rglob("*_triton.py")
    named = {
        n for path in sources for n in re.findall(r"^def (\w+_kernel)", path.read_text(), re.M)
    }
    assert named == LAUNCHED, named ^ LAUNCHED


if __name__ == "__main__":
    for case, driver in DRIVERS.items():
        exactly(driver)
        by_canaries(driver)
        print(case)
    for case in FAULTS:
        planted(case)
        print(case)
    every_kernel()
    print("every kernel")
