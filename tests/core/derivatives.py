"""Derivatives by the tape beside central differences, along random directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from core import Tensor, grad, value


def random_like(arrays: Any, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=np.shape(value(a))).astype(value(a).dtype) for a in arrays]


def dot(a: Any, b: Any) -> Any:
    """Σ ⟨a_i, b_i⟩ over a list of arrays or Tensors."""
    total: Any = 0.0
    for p, q in zip(a, b, strict=True):
        total = np.sum(p * q) + total
    return total


def loss(f: Callable[..., Any], inputs: Any) -> Any:
    z = f(*inputs)
    (c,) = random_like([z], 11)
    return np.sum(c * z)


def gradients(f: Callable[..., Any], arrays: list[np.ndarray], create_graph: bool = False) -> Any:
    tensors = [Tensor(a) for a in arrays]
    return grad(loss(f, tensors), tensors, create_graph=create_graph), tensors


def central_difference(g: Callable[[list[np.ndarray]], Any], x: list[np.ndarray], u: Any) -> Any:
    """Central difference of g along u, fourth order."""
    h = 1e-4

    def at(s: float) -> Any:
        return g([a + s * d for a, d in zip(x, u, strict=True)])

    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)


def check_against_differences(f: Callable[..., Any], inputs: list[np.ndarray]) -> None:
    """First and second derivative of ⟨c, f⟩ along random directions."""
    u, v = random_like(inputs, 12), random_like(inputs, 13)
    first, _ = gradients(f, inputs)
    expected = central_difference(lambda x: loss(f, x), inputs, u)
    np.testing.assert_allclose(dot(first, u), expected, rtol=1e-7, atol=1e-7)

    def slope(x: list[np.ndarray]) -> Any:
        return dot(gradients(f, x)[0], u)

    graph, tensors = gradients(f, inputs, create_graph=True)
    second = directional(graph, tensors, u)
    expected = central_difference(slope, inputs, v)
    np.testing.assert_allclose(dot(second, v), expected, rtol=1e-6, atol=1e-6)


def directional(graph: list[Any], tensors: list[Tensor], u: list[np.ndarray]) -> list[Any]:
    """∇⟨∇L, u⟩; zeros where ∇L doesn't depend on anything (a linear f)."""
    along = dot(graph, u)
    if not isinstance(along, Tensor) or along._row is None:
        return [np.zeros_like(t.data) for t in tensors]
    return grad(along, tensors)
