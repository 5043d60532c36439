"""Every operation of the table: the definition, its twin and other libraries, checked then timed.

Where timing is off (`make test`) sizes are cut, so that a benchmark can't rot unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from bench.contest import contest
from bench.peers import judge, off_on_round_numbers
from kernels import OPS, Call, Op, check

CALLS = [(op, label) for op in OPS.values() if "numba" in op.twins for label in op.bench]
PEERS = [(op, label, who) for op, label in CALLS for who in op.peers]
_SMALL = 64


def name_of(value: Any) -> str:
    return value.name if isinstance(value, Op) else str(value)


def small(op: Op, label: str) -> dict[str, int]:
    return {k: min(n, _SMALL) for k, n in op.bench[label][0].items()}


def arguments(op: Op, label: str, dims: Any, seed: int) -> dict[str, Any]:
    return op.make(np.random.default_rng(seed), dims, op.bench[label][1])


@pytest.mark.parametrize(("op", "label", "who"), PEERS, ids=name_of)
def test_a_peer_answers_the_same_question(op: Op, label: str, who: str) -> None:
    """On a small case; the contest asks again on its own. A peer that isn't there is skipped."""
    try:
        judge(op, who, op.peers[who], arguments(op, label, small(op, label), 0))
    except (ModuleNotFoundError, NotImplementedError) as absent:
        pytest.skip(f"{who}: {absent}")


def present(op: Op, label: str) -> dict[str, Callable[..., Any]]:
    """The peers that are installed and can do this call."""
    found = {}
    for who, run in op.peers.items():
        try:
            run(**arguments(op, label, small(op, label), 0))
        except (ModuleNotFoundError, NotImplementedError):
            continue
        found[who] = run
    return found


def nbytes(value: Any) -> int:
    """Bytes of every array in an argument or result."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(nbytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(nbytes, value))
    if is_dataclass(value):
        return sum(nbytes(getattr(value, f.name)) for f in fields(value))
    return 0


@pytest.mark.parametrize(("op", "label"), CALLS, ids=name_of)
def test_operation(benchmark: Any, op: Op, label: str) -> None:
    dims = small(op, label) if benchmark.disabled else op.bench[label][0]
    call, dtype = arguments(op, label, dims, 0), op.bench[label][1]
    twin, peers = op.load("numba"), present(op, label)
    note = benchmark.extra_info
    result = check(twin, Call(op, call, dtype))
    note["notes"] = {who: judge(op, who, run, call) for who, run in peers.items()}
    note |= {"operation": op.name, "label": label, "dtype": dtype}
    note["bytes"] = nbytes(call) + nbytes(result)
    if op.flops:
        note["flops"] = op.flops(dims)
    everyone = {"genzoo": twin, "definition": op.load(), **peers}
    if "edges" in call:
        note["off_on_round_numbers"] = off_on_round_numbers(op, everyone, call)
    contest(benchmark, everyone, lambda seed: arguments(op, label, dims, seed))
