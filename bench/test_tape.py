"""The tape's price: forward and backward of small operations, where bookkeeping is all there is.

The budget is relative to PyTorch on the same machine: no operation may cost more than its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.contest import contest
from core import Tensor

OPERATIONS: dict[str, tuple[Any, str]] = {
    "add": (lambda a, b: a + b, "add"),
    "multiply": (lambda a, b: a * b, "multiply"),
    "tanh": (lambda a, b: np.tanh(a), "tanh"),
    "matmul": (lambda a, b: a @ b, "matmul"),
    "reshape": (lambda a, b: a.reshape(16), "reshape"),
    "sum": (lambda a, b: a.sum(axis=0), "sum"),
    "concatenate": (lambda a, b: np.concatenate([a, b]), "cat"),
    "einsum": (lambda a, b: np.einsum("ij,jk->ik", a, b), "einsum"),
}


def _torch_call(torch: Any, name: str) -> Any:
    calls = {
        "reshape": lambda a, b: a.reshape(16),
        "sum": lambda a, b: a.sum(0),
        "cat": lambda a, b: torch.cat([a, b]),
        "einsum": lambda a, b: torch.einsum("ij,jk->ik", a, b),
        "tanh": lambda a, b: torch.tanh(a),
    }
    return calls.get(name) or getattr(torch, name)


def _step(f: Any, a: Any, b: Any, gradient: Any) -> Any:
    def step() -> Any:
        f(a, b).backward(gradient)
        found = a.grad
        a.grad = b.grad = None
        return found

    return step


def _ours(name: str) -> Any:
    a, b = (Tensor(np.random.default_rng(i).normal(size=(4, 4))) for i in (0, 1))
    f = OPERATIONS[name][0]
    return _step(f, a, b, np.ones_like(f(a, b).data))


def _theirs(name: str) -> Any:
    torch = pytest.importorskip("torch")
    a, b = (
        torch.tensor(np.random.default_rng(i).normal(size=(4, 4)), requires_grad=True)
        for i in (0, 1)
    )
    f = _torch_call(torch, OPERATIONS[name][1])
    return _step(f, a, b, torch.ones_like(f(a, b)))


@pytest.mark.parametrize("name", OPERATIONS)
def test_tape(benchmark: Any, name: str) -> None:
    steps = {"genzoo": _ours(name), "torch": _theirs(name)}
    first, second = (np.asarray(step()) for step in steps.values())
    np.testing.assert_allclose(first, second, rtol=1e-12)
    label = f"{name}, 4 × 4, forward + backward"
    benchmark.extra_info |= {"operation": "tape", "label": label, "dtype": "float64"}
    contest(benchmark, steps, lambda seed: {})
