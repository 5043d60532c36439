"""BLAS gets its threads back, whoever leaves first."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import permutations
from typing import Any

import pytest

from kernels import blas

pytest.importorskip("threadpoolctl")


class Library:
    """In the place of threadpoolctl: one number of threads, and the limits as they nest."""

    def __init__(self) -> None:
        self.threads = 4

    def limit(self, limits: int) -> Any:
        before, self.threads = self.threads, limits
        library = self

        class Limit:
            def restore_original_limits(self) -> None:
                library.threads = before

        return Limit()


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_threads_come_back_when_the_last_has_left(order: Any, monkeypatch: pytest.MonkeyPatch):
    library = Library()
    monkeypatch.setattr(blas, "libraries", lambda: library)
    for _ in range(2):
        users = [ExitStack() for _ in range(3)]
        for user in users:
            user.enter_context(blas.one_blas_thread())
            assert library.threads == 1
        for n, who in enumerate(order):
            users[who].close()
            assert library.threads == (4 if n == 2 else 1)


def test_threads_come_back_after_an_error(monkeypatch: pytest.MonkeyPatch):
    library = Library()
    monkeypatch.setattr(blas, "libraries", lambda: library)
    with pytest.raises(ZeroDivisionError), blas.one_blas_thread():
        1 / 0
    assert library.threads == 4
