"""The tape's price: forward and backward of small operations, where bookkeeping is all there is.

The budget is relative to PyTorch on the same machine: no operation may cost more than its own.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from bench.cases import Case, Contest, Notes, by_id
from bench.entries import entries
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
    import torch

    a, b = (
        torch.tensor(np.random.default_rng(i).normal(size=(4, 4)), requires_grad=True)
        for i in (0, 1)
    )
    f = _torch_call(torch, OPERATIONS[name][1])
    return _step(f, a, b, torch.ones_like(f(a, b)))


def _contest(name: str, small: bool) -> Contest:
    runs = {"genzoo": _ours(name)}
    with suppress(ModuleNotFoundError):
        runs["torch"] = _theirs(name)

    def judge(who: str) -> Notes:
        if who not in runs:
            raise ModuleNotFoundError("torch is not installed")
        other = next((run for rival, run in runs.items() if rival != who), runs[who])
        np.testing.assert_allclose(np.asarray(runs[who]()), np.asarray(other()), rtol=1e-12)
        return {}

    return Contest(runs, lambda seed: {}, judge, {"dtype": "float64"})


CASES = by_id(
    Case("tape", f"{name}, 4 × 4, forward + backward", ("genzoo", "torch"), partial(_contest, name))
    for name in OPERATIONS
)


@entries(CASES)
def test_tape(enter: Any, operation: str, case: str, contestant: str) -> None:
    enter(CASES[operation, case], contestant)
