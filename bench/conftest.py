"""Threads, and the fixture that every benchmark is entered by."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from bench.threads import THREAD_VARIABLES

if TYPE_CHECKING:
    from bench.cases import Case
    from bench.entries import Session

# One thread unless something else was asked for; before NumPy is imported, which reads it once.
for name in (*THREAD_VARIABLES, "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")


@pytest.fixture(scope="session")
def contests(pytestconfig: pytest.Config) -> Session:
    """Those of this run of pytest."""
    from bench.entries import Session, timer_of

    return Session(timer_of(pytestconfig.getoption("benchmark_timer")))


@pytest.fixture
def enter(
    benchmark: Any, request: pytest.FixtureRequest, contests: Session
) -> Callable[[Case, str], None]:
    """enter(case, who): report who's samples in the contest of all that were selected."""

    def run(case: Case, who: str) -> None:
        contests.enter(benchmark, case, who, rivals(request.session.items, case))

    return run


def rivals(items: list[pytest.Item], case: Case) -> list[str]:
    """The contestants of a case among the tests that were selected, each once."""
    params = [getattr(item, "callspec", None) and item.callspec.params for item in items]
    here = [
        p for p in params if p and (p.get("operation"), p.get("case")) == (case.operation, case.id)
    ]
    return list(dict.fromkeys(p["contestant"] for p in here))
