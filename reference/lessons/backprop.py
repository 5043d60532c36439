"""Backpropagation: all derivatives of a number in one walk backwards. MISSION row F7.

A computation is a graph: every value z knows the values x it was made of. The chain rule,

    ∂L/∂x = Σ_z ∂L/∂z · ∂z/∂x        over the z that x went into,

asks for z before x. So walk from L backwards, each node after all that it went into, and hand its
derivative g = ∂L/∂z on to the nodes it was made of: g ↦ g · ∂z/∂x, a vector-Jacobian product.

Claim: one walk gives the derivative by every input, and visits each node once, though the sum that
it stands for runs over all paths from L to the input, of which there may be exponentially many.
`core.tensor` does the same for all of NumPy. Griewank & Walther 2008, chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Tensor, grad
from core.random import Generator
from reference.lessons import Fact, below, close, note

Step = tuple[str, list[int]]


class Node:
    """A value, and of each value it was made of: that node, and how g = ∂L/∂z becomes its share."""

    def __init__(self, data: Any, *parents: tuple[Node, Callable[[Any], Any]]) -> None:
        self.data, self.parents, self.grad = data, parents, 0.0


def add(a: Node, b: Node) -> Node:
    """a + b, of equal shapes."""
    return Node(a.data + b.data, (a, lambda g: g), (b, lambda g: g))


def multiply(a: Node, b: Node) -> Node:
    """a · b elementwise, of equal shapes."""
    return Node(a.data * b.data, (a, lambda g: g * b.data), (b, lambda g: g * a.data))


def matmul(a: Node, b: Node) -> Node:
    """The product of two matrices."""
    return Node(a.data @ b.data, (a, lambda g: g @ b.data.T), (b, lambda g: a.data.T @ g))


def tanh(a: Node) -> Node:
    """tanh a, whose derivative is 1 − tanh² a."""
    z = np.tanh(a.data)
    return Node(z, (a, lambda g: g * (1 - z * z)))


def total(a: Node) -> Node:
    """The sum of all entries."""
    return Node(np.sum(a.data), (a, lambda g: g * np.ones_like(a.data)))


def backward(L: Node) -> int:
    """Leave in every node's `grad` the derivative of L by it; returns how many were visited."""
    order: list[Node] = []  # every node after those it was made of
    seen: set[Node] = set()

    def visit(node: Node) -> None:
        if node not in seen:
            seen.add(node)
            for parent, _ in node.parents:
                visit(parent)
            order.append(node)

    visit(L)
    L.grad = 1.0
    for node in reversed(order):
        for parent, share in node.parents:
            parent.grad = parent.grad + share(node.grad)
    return len(order)


OURS: Mapping[str, Callable[..., Node]] = {
    "add": add,
    "multiply": multiply,
    "matmul": matmul,
    "tanh": tanh,
}
NUMPY: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "multiply": np.multiply,
    "matmul": np.matmul,
    "tanh": np.tanh,
}


def random_program(rng: Generator, steps: int, inputs: int) -> list[Step]:
    """Operations and the earlier values that each takes; products are kept small by a tanh."""
    program: list[Step] = []
    while len(program) < steps:
        known = inputs + len(program)
        name = list(OURS)[int(rng.integers(0, len(OURS), ()))]
        i, j = rng.integers(0, known, (2,)).tolist()
        program.append((name, [i] if name == "tanh" else [i, j]))
        if name in ("multiply", "matmul"):
            program.append(("tanh", [known]))
    return program


def perform(program: Sequence[Step], how: Mapping[str, Any], values: Sequence[Any]) -> Any:
    """The last value of a program, by ours or NumPy's operations."""
    values = list(values)
    for name, taken in program:
        values.append(how[name](*(values[i] for i in taken)))
    return values[-1]


def difference(program: Sequence[Step], inputs: Sequence[Any]) -> float:
    """The largest between our derivatives and core's, relative to the largest derivative."""
    nodes, tensors = [Node(x) for x in inputs], [Tensor(x) for x in inputs]
    backward(total(perform(program, OURS, nodes)))
    expected = grad(np.sum(perform(program, NUMPY, tensors)), tensors)
    scale = max(1.0, *(float(np.abs(g).max()) for g in expected))
    errors = (np.abs(n.grad - g).max() for n, g in zip(nodes, expected, strict=True))
    return max(float(e) for e in errors) / scale


@dataclass(frozen=True)
class Result:
    """What `run` found."""

    expressions: int
    largest_difference: float  # from core, over all expressions
    visited: int  # nodes of a chain of doublings
    paths: int  # from its end to its input, which its derivative counts


def run(seed: int = 0) -> Result:
    """Random expressions of matrices, by this page and by core; and a chain with 2³⁰ paths.

    >>> run().visited, run().paths == 2**30
    (31, True)
    """
    rng = Generator(seed)
    programs = [random_program(rng, steps=20, inputs=3) for _ in range(50)]
    errors = [difference(p, list(rng.normal((3, 4, 4), dtype=np.float64))) for p in programs]
    x = end = Node(1.0)
    for _ in range(30):
        end = add(end, end)
    visited = backward(end)
    return Result(len(programs), max(errors), visited, round(x.grad))


def facts(result: Result) -> list[Fact]:
    """The claim, number by number."""
    return [
        note("random expressions of 4 × 4 matrices", result.expressions),
        below("largest difference from core's derivatives", result.largest_difference, 1e-12),
        close("nodes visited in a chain of 30 doublings", result.visited, 31, within=0),
        close("paths through it: its derivative", result.paths, 2**30, within=0),
    ]
