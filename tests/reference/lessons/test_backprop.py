"""The page's claim: its derivatives are core's, each node is visited once; wrong walks fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.random import Generator
from reference.lessons import backprop
from reference.lessons.backprop import Node, difference, random_program


@given(seed=st.integers(0, 2**31), steps=st.integers(1, 40), n=st.integers(1, 4))
def test_derivatives_are_those_of_core(seed: int, steps: int, n: int):
    rng = Generator(seed)
    program = random_program(rng, steps, inputs=3)
    assert difference(program, list(rng.normal((3, n, n), dtype=np.float64))) < 1e-12


def test_run():
    found = backprop.run()
    assert found.expressions == 50
    assert found.largest_difference < 1e-12
    assert (found.visited, found.paths) == (31, 2**30)
    assert backprop.run(1).largest_difference != found.largest_difference


def in_order_of_discovery(L: Node) -> int:
    """Breadth first: a node may hand on before it has heard from all."""
    order, i = [L], 0
    while i < len(order):
        order += [p for p, _ in order[i].parents if p not in order]
        i += 1
    return hand_on(L, order)


def by_paths(L: Node) -> int:
    """Right, but a visit for every path."""

    def visit(node: Node, g: Any) -> int:
        node.grad = node.grad + g
        return 1 + sum(visit(parent, share(g)) for parent, share in node.parents)

    return visit(L, 1.0)


def forgets_other_uses(L: Node) -> int:
    """The last share stands for the sum."""
    return hand_on(L, topological(L), lambda old, new: 0.0 * old + new)


def topological(L: Node) -> list[Node]:
    order: list[Node] = []

    def visit(node: Node) -> None:
        if node not in order:
            for parent, _ in node.parents:
                visit(parent)
            order.append(node)

    visit(L)
    return order[::-1]


def hand_on(L: Node, order: list[Node], join: Callable[..., Any] = np.add) -> int:
    L.grad = 1.0
    for node in order:
        for parent, share in node.parents:
            parent.grad = join(parent.grad, share(node.grad))
    return len(order)


@pytest.mark.parametrize("walk", [in_order_of_discovery, forgets_other_uses])
def test_wrong_walks_are_rejected(walk: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backprop, "backward", walk)
    rng = Generator(0)
    programs = [random_program(rng, 20, inputs=3) for _ in range(20)]
    x = list(rng.normal((3, 2, 2), dtype=np.float64))
    assert sum(difference(p, x) > 1e-6 for p in programs) >= 5


def test_a_wrong_derivative_is_rejected(monkeypatch: pytest.MonkeyPatch):
    def wrong(a: Node, b: Node) -> Node:
        z = a.data @ b.data
        return Node(z, (a, lambda g: g @ b.data), (b, lambda g: a.data.T @ g))

    monkeypatch.setitem(backprop.OURS, "matmul", wrong)  # type: ignore[misc]
    assert backprop.run().largest_difference > 1e-3


def test_visiting_every_path_takes_exponentially_long():
    x = end = Node(1.0)
    for _ in range(10):
        end = backprop.add(end, end)
    assert by_paths(end) == 2**11 - 1
    assert x.grad == 2**10
    fresh = last = Node(1.0)
    for _ in range(10):
        last = backprop.add(last, last)
    assert backprop.backward(last) == 11
    assert fresh.grad == 2**10
