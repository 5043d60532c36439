"""Rows of the table of derivatives over the space of their calls, not over chosen ones.

Whatever NumPy accepts has the right first and second derivative in every spelling and layout; what
NumPy refuses raises NumPy's error. Python numbers never widen float32. Planted wrong rows fail.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core import Tensor, grad, value
from core.tensor import COMPOSED, ROWS, Row, unbroadcast
from tests.core import vjp_space as space
from tests.core.derivatives import check_against_differences, gradients

ERRORS = (TypeError, ValueError, IndexError)


def check_call(f: Callable[..., Any], inputs: list[np.ndarray]) -> None:
    """As NumPy on arrays: the same error, or the same values with the right derivatives."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            plain = f(*inputs)
        except ERRORS as error:
            with pytest.raises(type(error)):
                f(*[Tensor(a) for a in inputs])
            return
        except RuntimeWarning:
            assume(False)
    np.testing.assert_allclose(f(*[Tensor(a) for a in inputs]).data, plain, rtol=1e-12, atol=1e-14)
    if not np.isfinite(plain).all():
        return
    check_against_differences(f, inputs)
    narrow, _ = gradients(f, [a.astype(np.float32) for a in inputs], create_graph=True)
    for g, w in zip(narrow, gradients(f, inputs)[0], strict=True):
        assert g.dtype == np.float32
        np.testing.assert_allclose(g.data, w, rtol=1e-3, atol=1e-3 * (1 + np.abs(w).max(initial=0)))


@pytest.mark.parametrize("name", space.AXES)
@given(data=st.data())
def test_axes_in_every_spelling(name: str, data: st.DataObject):
    check_call(*data.draw(space.calls_with_axes(name)))


@pytest.mark.parametrize("name", space.BATCHED)
@given(data=st.data())
def test_batches_that_broadcast(name: str, data: st.DataObject):
    check_call(*data.draw(space.calls_on_batches(name)))


@given(space.calls_of_einsum())
def test_subscripts(call: space.Call):
    check_call(*call)


def test_every_row_that_takes_axes_is_drawn():
    """By the names of the parameters of the functions in the table."""
    axes = {"axis", "axes", "axis1", "source"}
    functions = [k for k in (*ROWS, *COMPOSED) if callable(k) and not isinstance(k, np.ufunc)]
    taking = {f.__name__ for f in functions if axes & set(inspect.signature(f).parameters)}
    assert taking <= set(space.AXES)


@pytest.mark.parametrize("reps", [2, 0, (2, 3), [1, 2, 2], (), (0, 2)])
@given(x=space.arrays())
def test_tile(reps: Any, x: np.ndarray):
    check_call(lambda x: np.tile(x, reps), [x])


@given(x=space.arrays(least=1), data=st.data())
def test_repeat_each_its_own_times(x: np.ndarray, data: st.DataObject):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    times = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    check_call(lambda x: np.repeat(x, times, axis), [x])


# Broadcasting is undone where it was done, and nowhere else


@st.composite
def broadcasts(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    (shape,), lead = draw(space.batch_shapes(1)), draw(space.batch_shapes(1))[0]
    return shape, lead + tuple(draw(st.integers(0, 3)) if n == 1 else n for n in shape)


def check_unbroadcast(undo: Callable[..., Any]) -> None:
    @settings(database=None, max_examples=200, report_multiple_bugs=False)
    @given(broadcasts(), st.randoms(use_true_random=False))
    def sums_or_refuses(pair: Any, random: Any) -> None:
        shape, whole = pair
        g, x = space.distinct(whole, 1), space.distinct(shape, 2)
        assert undo(g, shape).shape == shape
        direct = np.sum(g * np.broadcast_to(x, whole))
        np.testing.assert_allclose(np.sum(undo(g, shape) * x), direct, rtol=1e-12, atol=1e-12)
        other = tuple(random.sample(whole, len(whole)))
        try:
            fits = np.broadcast_shapes(other, whole) == whole
        except ValueError:
            fits = False
        if not fits:
            with pytest.raises((RuntimeError, ValueError)):
                undo(g, other)

    sums_or_refuses()


def test_unbroadcast_sums_what_was_repeated_and_refuses_the_rest():
    check_unbroadcast(unbroadcast)


def test_an_unbroadcast_that_reshapes_is_rejected():
    def reshapes(g: Any, shape: tuple[int, ...], name: str = "") -> Any:
        extra = g.ndim - len(shape)
        pairs = enumerate(g.shape)
        many = (i for i, n in pairs if i < extra or (shape[i - extra] == 1 and n != 1))
        return np.reshape(np.sum(g, axis=tuple(many)), shape)

    with pytest.raises(pytest.fail.Exception):
        check_unbroadcast(reshapes)


# Planted wrong rows

WRONG: dict[str, tuple[Any, Any, Any]] = {
    "transpose by argsort of what was given": (
        np.transpose,
        (lambda g, z, x, axes=None: np.transpose(g, None if axes is None else np.argsort(axes)),),
        space.calls_with_axes("transpose"),
    ),
    "swapaxes that leaves them": (
        np.swapaxes,
        (lambda g, z, x, axis1, axis2: np.reshape(g, x.shape),),
        space.calls_with_axes("swapaxes"),
    ),
    "moveaxis once more": (
        np.moveaxis,
        (lambda g, z, x, source, destination: np.moveaxis(g, source, destination),),
        space.calls_with_axes("moveaxis"),
    ),
    "stack from the front": (
        np.stack,
        lambda i, g, z, *arrays, axis=0: g[(slice(None),) * axis + (i,)],
        space.calls_with_axes("stack"),
    ),
    "solve of a vector as a matrix": (
        np.linalg.solve,
        (
            lambda g, z, a, b: (
                -np.linalg.solve(np.swapaxes(a, -1, -2), g)[..., :, None] * z[..., None, :]
                if b.ndim == 1
                else -(np.linalg.solve(np.swapaxes(a, -1, -2), g) @ np.swapaxes(z, -1, -2))
            ),
            lambda g, z, a, b: np.linalg.solve(np.swapaxes(a, -1, -2), g),
        ),
        space.calls_on_batches("solve a vector"),
    ),
    "det by the inverse": (
        np.linalg.det,
        (lambda g, z, x: (g * z)[..., None, None] * np.swapaxes(np.linalg.inv(x), -1, -2),),
        space.calls_on_batches("det of a singular"),
    ),
    "einsum whose lengths are all the operand's": (
        np.einsum,
        lambda i, g, z, *operands, subscripts: np.reshape(
            np.einsum(
                ",".join([subscripts.split("->")[1], *subscripts.split("->")[0].split(",")[:i],
                          *subscripts.split("->")[0].split(",")[i + 1 :]])
                + "->" + subscripts.split("->")[0].split(",")[i],
                g, *operands[:i], *operands[i + 1 :],
            ),
            operands[i].shape,
        ),
        space.calls_of_einsum(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rows_are_rejected(name: str, monkeypatch: pytest.MonkeyPatch):
    key, vjps, calls = WRONG[name]
    row = ROWS[key]
    monkeypatch.setitem(ROWS, key, Row(row.name, row.forward, vjps, row.bind))

    @settings(database=None, max_examples=200, report_multiple_bugs=False)
    @given(calls)
    def is_right(call: space.Call) -> None:
        check_call(*call)

    with pytest.raises((AssertionError, RuntimeError, *ERRORS, pytest.fail.Exception)):
        is_right()


# Python numbers are weak: they take the dtype of the array beside them, at every order


def _einsum_with(a: Any, b: Any) -> Any:
    return np.einsum("...,...->...", a, b)


ELEMENTWISE = [k for k in ROWS if isinstance(k, np.ufunc) and k.nin == 2 and k is not np.matmul]
WITH_NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    **{f.__name__: f for f in ELEMENTWISE},
    "where": lambda a, b: np.where(np.array([True, False]), a, b),
    "where true": lambda a, b: np.where(True, a, b),
    "clip": lambda a, b: np.clip(a, b, None) if isinstance(a, Tensor) else np.clip(b, a, 9.0),
    "outer": np.outer,
    "dot": np.dot,
    "einsum": _einsum_with,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
}


def derivatives(f: Callable[[Any], Any], x: np.ndarray) -> list[Any]:
    """Sums of f(x) and of its first three derivatives, each summed before the next is taken."""
    t = Tensor(x)
    y = np.sum(f(t))
    found = [value(y)]
    while isinstance(y, Tensor) and y._row is not None and len(found) < 4:
        y = np.sum(grad(y, t, create_graph=True))
        found.append(value(y))
    return found


def check_number(f: Callable[[Any, Any], Any], x: np.ndarray, c: float) -> None:
    narrow = derivatives(lambda t: f(t, c), x.astype(np.float32))
    wide = derivatives(lambda t: f(t, c), x)
    spelt = derivatives(lambda t: f(t, np.asarray(c, np.float64)), x)
    assert {z.dtype for z in narrow} == {np.dtype(np.float32)}
    assert {z.dtype for z in wide} == {np.dtype(np.float64)}
    np.testing.assert_allclose(narrow, wide, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(wide, spelt, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("first", [True, False], ids=["number first", "number second"])
@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_python_numbers_are_weak(name: str, first: bool):
    f = WITH_NUMBERS[name]
    for c in (2.0, 3, 0.5, 1):
        for shape in ((2,), () if name != "where" else (1,)):
            check_number((lambda t, c: f(c, t)) if first else f, np.full(shape, 0.7), c)


@pytest.mark.parametrize(
    "join", [lambda t: np.stack([t[0], 2.0, t[1]]), lambda t: np.stack([1, t[0]])]
)
def test_numbers_among_joined_tensors_are_weak(join: Callable[[Any], Any]):
    t = Tensor(np.array([1.5, 2.5], np.float32))
    assert join(t).dtype == np.float32
    assert grad(np.sum(join(t)), t).dtype == np.float32


def test_a_row_that_widens_a_number_is_rejected(monkeypatch: pytest.MonkeyPatch):
    row = ROWS[np.power]
    wrong = (row.vjps[0], lambda g, z, x, y: g * z * np.log(np.where(np.equal(x, 0), 1.0, x)))
    monkeypatch.setitem(ROWS, np.power, Row("power", row.forward, wrong, row.bind))
    with pytest.raises((AssertionError, TypeError)):
        test_python_numbers_are_weak("**", True)
