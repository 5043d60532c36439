"""Operations on a back end: what runs, what is recorded, and what is refused."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Tensor, backend, grad, no_grad, operation, random
from core.errors import BackendError, InputError
from core.state import load_state, parameters, state
from kernels import OPS
from reference.layers import Attention, Rotary
from reference.operations import masks
from reference.operations.attention import masked_attention
from tests.reference.layers.cases import normal, shaken, sizes, source

registry = import_module("core.operation")  # `core.operation` itself is the decorator
SEEDS = st.integers(0, 2**31)
ATTENTION = "reference.operations.attention:masked_attention"
BACKWARD = ATTENTION + "_backward"


# Training an attention layer


def attention(seed: int, dtype: Any) -> tuple[Any, Any, Any, Any]:
    """A layer, its float64 copy, a batch and a mask."""
    rng = np.random.default_rng(seed)
    groups, key_heads, half, n, B, T = sizes(rng, 6)
    heads = groups * key_heads
    how = {"key_heads": key_heads, "rotary": Rotary(2 * half)}
    make = lambda d: Attention(n, 2 * half * heads, heads, source(rng), dtype=d, **how)  # noqa: E731
    layer, exact = shaken(make(dtype), rng), make(np.float64)
    load_state(exact, {name: a.astype(np.float64) for name, a in state(layer).items()})
    any_keys = masks.boolean(rng.random((9 * T, 9 * T)) < 0.5)
    some = (None, masks.causal(), masks.window(1, 2), any_keys)
    return layer, exact, normal(rng, dtype, B, 9 * T, n), some[rng.integers(4)]


def gradients(layer: Any, x: Any, mask: Any, where: str | None = None) -> dict[str, Any]:
    """Of a step of training: the derivatives of Σ y²/2 by every parameter and the input."""
    leaves = {**parameters(layer), "x": Tensor(x)}
    with backend(where):
        y = layer(leaves["x"], mask)
    found = grad(0.5 * np.sum(y * y), list(leaves.values()))  # also outside `backend`
    return dict(zip(leaves, found, strict=True))


def check_step(seed: int, dtype: Any) -> None:
    """The table's rule: at most twice the definition's own error, a floor, and a cap."""
    layer, exact, x, mask = attention(seed, dtype)
    truth = gradients(exact, x.astype(np.float64), mask)
    own, found = gradients(layer, x, mask), gradients(layer, x, mask, "numba")
    floor, cap = OPS["masked_attention_backward"].floor, OPS["masked_attention_backward"].cap
    name = np.dtype(dtype).name
    for key, t in truth.items():
        assert found[key].dtype == dtype
        scale = max(1.0, np.abs(t).max(initial=0.0))
        error, own_error = (np.abs(g[key] - t).max(initial=0.0) for g in (found, own))
        allowed = min(2 * own_error + floor[name] * scale, cap[name] * scale)
        assert error <= allowed, f"{key}: error {error:.3g}, allowed {allowed:.3g}"


@given(seed=SEEDS, dtype=st.sampled_from([np.float32, np.float64]))
def test_a_step_of_training_on_numba_equals_the_definition(seed: int, dtype: Any):
    check_step(seed, dtype)


@pytest.mark.parametrize("fault", ["forgets delta", "unscaled", "forgets scale in dq", "zeros"])
def test_a_wrong_backward_is_rejected(fault: str, monkeypatch: pytest.MonkeyPatch):
    wrong = OPS["masked_attention_backward"].wrong[fault]
    monkeypatch.setitem(registry._twins, BACKWARD, Provider(BACKWARD, wrong))
    rejected = 0
    for seed in range(10):
        try:
            check_step(seed, np.float64)
        except AssertionError:
            rejected += 1
    assert rejected >= 5


def test_both_twins_run_and_none_without_a_back_end():
    q = Tensor(np.ones((1, 1, 2, 2)))
    with backend("numba") as used:
        y = masked_attention(q, q, q)
        assert used == {ATTENTION}
    y.backward(np.ones(y.shape))
    assert used == {ATTENTION, BACKWARD}
    with backend("numba") as used, backend(None):
        masked_attention(q, q, q)
    assert not used


@given(seed=SEEDS)
def test_arguments_arrive_whichever_way_they_are_given(seed: int):
    rng = np.random.default_rng(seed)
    B, H, Q, D, more = sizes(rng, 5)
    q, k, v = (normal(rng, np.float64, B, H, n, D) for n in (Q, Q + more, Q + more))
    seen = rng.random((Q, Q + more)) < 0.7
    plain = [Tensor(a) for a in (q, k, v)]
    expected = masked_attention(*plain, seen, scale=0.3)
    ways = (
        lambda q, k, v: masked_attention(q, k, v, seen, scale=0.3),
        lambda q, k, v: masked_attention(scale=np.float32(0.3), mask=seen, v=v, k=k, q=q),
        lambda q, k, v: masked_attention(q, k, mask=masks.boolean(seen), v=v, scale=0.3),
        lambda q, k, v: masked_attention(q, k, v, seen, scale=0.3, return_lse=False),
    )
    c = normal(rng, np.float64, *q.shape)
    for way in ways:
        t = [Tensor(a) for a in (q, k, v)]
        with backend("numba"):
            y = way(*t)
        np.testing.assert_allclose(y.data, expected.data, atol=1e-7)
        for a, b in zip(grad(np.sum(c * y), t), grad(np.sum(c * expected), plain), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_constant_beside_a_tensor():
    rng = np.random.default_rng(0)
    q, k, v = (normal(rng, np.float64, 1, 2, 3, 4) for _ in range(3))
    t, u = Tensor(k), Tensor(k)
    with backend("numba"):
        y = masked_attention(q, t, v)
    np.testing.assert_allclose(
        grad(np.sum(y * y), [t])[0], grad(np.sum(np.square(masked_attention(q, u, v))), [u])[0]
    )


def test_a_second_derivative_is_refused():
    q = Tensor(np.ones((1, 1, 2, 2)))
    with backend("numba"):
        y = np.sum(masked_attention(q, q, q))
    with pytest.raises(BackendError, match="masked_attention has a first derivative only"):
        y.backward(create_graph=True)
    grad(np.sum(masked_attention(q, q, q)), [q], create_graph=True)


def test_several_results_are_not_differentiated():
    q = Tensor(np.ones((1, 1, 2, 2)))
    with backend("numba"):
        with pytest.raises(BackendError, match="masked_attention with return_lse has no deriv"):
            masked_attention(q, q, q, return_lse=True)
        _, lse = masked_attention(q.data, q.data, q.data, return_lse=True)
        with no_grad():
            out, again = masked_attention(q, q, q, return_lse=True)
    assert isinstance(out, np.ndarray)
    np.testing.assert_array_equal(lse, again)
    np.testing.assert_allclose(lse, math.sqrt(2) + math.log(2))


# An operation of one's own


class Provider:
    """What provides the twin of one operation."""

    rows, twins = ("K1",), {"numba": "here"}

    def __init__(self, definition: str, twin: Any) -> None:
        self.definition, self.twin, self.name = definition, twin, definition.partition(":")[2]

    def load(self, where: str = "") -> Any:
        return self.twin

    @staticmethod
    def installed(where: str) -> bool:
        return True


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registers a twin for the length of a test."""
    registry.operations()
    for table in ("_twins", "_definitions"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))

    def register(marked: Any, function: Any) -> None:
        key = f"{marked.__module__}:{marked.__qualname__}"
        registry.register_twins(Provider(key, function))

    return register


def products(a: Any, n: Any, b: Any, *, c: float = 1.0) -> Any:
    return c * n * a * b


def product_rule(a: Any, b: Any, g: Any, n: Any, c: float = 1.0) -> Any:
    return c * n * b * g, c * n * a * g


def test_arrays_and_options_are_told_apart(twin: Any):
    """n is an array of integers and c a NumPy number: no derivative in them."""
    backward = operation(product_rule)
    marked = operation(backward=backward)(products)
    twin(marked, products)
    twin(backward, product_rule)
    a, b, n = Tensor(np.array([2.0, 3.0])), Tensor(np.array([5.0, 7.0])), np.array([1, 4])
    with backend("numba"):
        y = marked(a, n, b, c=np.float64(0.5))
    da, db = grad(y, [a, b], np.ones(2))
    np.testing.assert_array_equal(y.data, [5, 42])
    np.testing.assert_array_equal(da, [2.5, 14])
    np.testing.assert_array_equal(db, [1, 6])


def test_without_a_backward_there_is_no_derivative(twin: Any):
    marked = operation(products)
    twin(marked, products)
    a = Tensor(np.ones(2))
    with backend("numba"):
        with pytest.raises(BackendError, match="products has no derivative on a back end"):
            marked(a, 2, 3.0)
        with no_grad():
            np.testing.assert_array_equal(marked(a, 2, 3.0), [6, 6])
        np.testing.assert_array_equal(marked(a.data, 2, 3.0), [6, 6])
    np.testing.assert_array_equal(grad(marked(a, 2, 3.0), [a], np.ones(2))[0], [6, 6])


def test_an_option_that_the_backward_ignores_is_refused(twin: Any):
    backward = operation(lambda a, b, g, n: product_rule(a, b, g, n))
    marked = operation(backward=backward)(products)
    twin(marked, products)
    a = Tensor(np.ones(2))
    with backend("numba"):
        marked(a, 2, a)
        with pytest.raises(BackendError, match="products with c has no derivative"):
            marked(a, 2, a, c=3.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda a, b, g, n, c=1.0: (g,),
        lambda a, b, g, n, c=1.0: (g, g, g),
        lambda a, b, g, n, c=1.0: (g, g[:1]),
        lambda a, b, g, n, c=1.0: (g[None], g),
    ],
)
def test_a_backward_of_other_shapes_is_refused(twin: Any, wrong: Any):
    marked = operation(backward=wrong)(products)
    twin(marked, products)
    a = Tensor(np.ones(2))
    with backend("numba"):
        y = marked(a, 2, a)
    with pytest.raises(BackendError, match=r"the backward's shapes must be \[\(2,\), \(2,\)\]"):
        grad(y, [a], np.ones(2))


def test_one_name_is_one_operation(twin: Any):
    operation(products)
    with pytest.raises(ValueError, match="products is an operation already"):
        operation(products)
    with pytest.raises(ValueError, match="products is an operation already"):
        operation(backward=product_rule)(products)
    key = f"{__name__}:products"
    registry.register_twins(Provider(key, products))
    with pytest.raises(ValueError, match="products has its twins already"):
        registry.register_twins(Provider(key, products))


def test_same_names_in_two_modules_are_two_operations(twin: Any):
    def step(x: Any) -> Any:
        return x

    def other(x: Any) -> Any:
        return 2 * x

    for function, module in ((step, "one"), (other, "two")):
        function.__module__, function.__qualname__ = module, "step"
    first, second = operation(step), operation(other)
    twin(first, lambda x: x + 10)
    twin(second, lambda x: x + 20)
    with backend("numba"):
        assert (first(1), second(1)) == (11, 21)
    assert (first(1), second(1)) == (1, 2)


# Random numbers


@pytest.mark.parametrize("name", ["bits", "uniform", "normal"])
def test_random_numbers_have_twins(name: str):
    draw = getattr(random, name)
    expected = draw(7, (5, 3, 2), step=4, stream="noise", first=2)
    with backend("numba") as used:
        found = draw(7, (5, 3, 2), step=4, stream="noise", first=2)
        generated = getattr(random.Generator(7, "noise", 4), name)((7, 3, 2))
    assert used == {f"core.random:{name}"}
    assert found.dtype == expected.dtype
    if name == "normal":
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(generated[2:], found)
    with pytest.raises(InputError, match="seed"), backend("numba"):
        draw(-1, (2,))
