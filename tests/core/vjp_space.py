"""The space of calls that the rows of the table of derivatives accept: axes, batches, subscripts.

Each strategy draws a call `f` of NumPy's functions on arrays or Tensors alike, and its inputs. What
NumPy refuses is drawn as well: an axis out of range, one named twice, a list where a tuple belongs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from core import functional as F

Call = tuple[Callable[..., Any], list[np.ndarray]]

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "backwards": lambda a: np.flip(np.flip(a).copy()),
    "every other": lambda a: np.repeat(a[..., None], 2, axis=-1)[..., 1],
}


def distinct(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Values of either sign and sizes 0.5 … 1.5, no two of one size: no kink, no tie is near."""
    rng = np.random.default_rng(seed)
    n = int(np.prod(shape))
    sizes = 0.5 + (rng.permutation(n) + 0.5) / max(n, 1)
    return (sizes * rng.choice([-1.0, 1.0], n)).reshape(shape)


@st.composite
def arrays(draw: Any, least: int = 0) -> np.ndarray:
    shape = draw(st.lists(st.sampled_from([2, 1, 3, 0]), min_size=least, max_size=4))
    x = distinct(tuple(shape[:3]) if 0 not in shape else tuple(shape), draw(st.integers(0, 99)))
    return draw(st.sampled_from(list(LAYOUTS.values())))(x)


# Axes


def axis_of(ndim: int) -> st.SearchStrategy[Any]:
    """One axis: counted from either end, of Python or NumPy, or just outside."""
    spellings: tuple[Any, ...] = (int, np.int64, np.int8, np.array)
    whole = st.integers(-ndim - 1, ndim) if ndim else st.sampled_from([0, -1, 1])
    return st.builds(lambda a, spelt: spelt(a), whole, st.sampled_from(spellings))


def axes_of(ndim: int) -> st.SearchStrategy[Any]:
    """All axes, one, several (perhaps one of them twice), in a tuple or a list."""
    several = st.lists(axis_of(ndim), max_size=3)
    return st.one_of(st.none(), axis_of(ndim), several.map(tuple), several)


def orders_of(ndim: int) -> st.SearchStrategy[Any]:
    """A permutation, each axis counted from either end; sometimes none, or no permutation."""
    order = st.permutations(range(ndim)).flatmap(
        lambda order: st.tuples(
            *[st.sampled_from([a, a - ndim, np.int64(a - ndim)]) for a in order]
        )
    )
    spelt = st.one_of(order, order.map(list), order.map(lambda a: np.array(a, int)))
    return st.one_of(spelt, st.none(), axes_of(ndim))


OneAxis = Callable[[Any, Any], Any]

REDUCTIONS: dict[str, OneAxis] = {
    "sum": lambda x, a: np.sum(x, axis=a),
    "mean": lambda x, a: np.mean(x, a),
    "max": lambda x, a: np.max(x, axis=a),
    "min": lambda x, a: np.min(x, axis=a),
    "prod": lambda x, a: np.prod(x, axis=a),
    "var": lambda x, a: np.var(x, axis=a),
    "std": lambda x, a: np.std(x, a),
    "norm": lambda x, a: np.linalg.norm(x, axis=a),
    "logsumexp": lambda x, a: F.logsumexp(x, axis=a),
    "squeeze": lambda x, a: np.squeeze(x, axis=a),
    "expand_dims": lambda x, a: np.expand_dims(x, a),
    "flip": lambda x, a: np.flip(x, a),
    "sum kept": lambda x, a: np.sum(x, axis=a, keepdims=True),
    "mean kept": lambda x, a: np.mean(x, axis=a, keepdims=True),
    "max kept": lambda x, a: np.max(x, axis=a, keepdims=True),
    "prod kept": lambda x, a: np.prod(x, axis=a, keepdims=True),
    "var kept": lambda x, a: np.var(x, axis=a, keepdims=True),
    "norm kept": lambda x, a: np.linalg.norm(x, axis=a, keepdims=True),
    "x.sum": lambda x, a: x.sum(a),
    "x.mean": lambda x, a: x.mean(a, keepdims=True),
    "x.max": lambda x, a: x.max(axis=a),
    "x.prod": lambda x, a: x.prod(axis=a),
    "x.std": lambda x, a: x.std(axis=a),
    "x.squeeze": lambda x, a: x.squeeze(a),
}

ALONG: dict[str, OneAxis] = {
    "cumsum": lambda x, a: np.cumsum(x, axis=a),
    "cumprod": lambda x, a: np.cumprod(x, axis=a),
    "sort": lambda x, a: np.sort(x, axis=a),
    "take": lambda x, a: np.take(x, [0, -1, 0], axis=a),
    "take one": lambda x, a: np.take(x, 0, axis=a),
    "take_along_axis": lambda x, a: np.take_along_axis(x, np.zeros((1,) * x.ndim, int), a),
    "repeat": lambda x, a: np.repeat(x, 2, axis=a),
    "roll": lambda x, a: np.roll(x, -2, axis=a),
    "roll twice": lambda x, a: np.roll(x, (1, 3), axis=a),
    "concatenate": lambda x, a: np.concatenate([x, np.ones_like(x), x], axis=a),
    "concatenate itself": lambda x, a: np.concatenate([x, 2 * x], axis=a),
    "stack": lambda x, a: np.stack([x, x * x], axis=a),
    "split": lambda x, a: np.split(x, [1], axis=a)[0],
    "softmax": lambda x, a: F.softmax(x, axis=a),
    "log_softmax": lambda x, a: F.log_softmax(x, axis=a),
    "x.cumsum": lambda x, a: x.cumsum(a),
}

TWO: dict[str, Callable[[Any, Any, Any], Any]] = {
    "swapaxes": lambda x, a, b: np.swapaxes(x, a, b),
    "diagonal": lambda x, a, b: np.diagonal(x, 0, a, b),
    "diagonal below": lambda x, a, b: np.diagonal(x, -1, axis1=a, axis2=b),
    "trace": lambda x, a, b: np.trace(x, 1, a, b),
    "moveaxis": lambda x, a, b: np.moveaxis(x, a, b),
    "moveaxis 2": lambda x, a, b: np.moveaxis(x, [a, 0], (b, -1)),
    "x.swapaxes": lambda x, a, b: x.swapaxes(a, b),
}

ORDERED: dict[str, OneAxis] = {
    "transpose": lambda x, a: np.transpose(x, a),
    "x.transpose": lambda x, a: x.transpose(a),
}


@st.composite
def calls_with_axes(draw: Any, name: str) -> Call:
    # NumPy trips over roll(number, axis=()), and takes what isn't there from a (0, 0).
    x = draw(arrays(least="roll" in name).filter(lambda x: x.shape.count(0) < 2))
    if name in TWO:
        a, b = draw(axis_of(x.ndim)), draw(axis_of(x.ndim))
        return (lambda x: TWO[name](x, a, b)), [x]
    if name in ORDERED:
        a = draw(orders_of(x.ndim))
        return (lambda x: ORDERED[name](x, a)), [x]
    a = draw(axes_of(x.ndim))
    return (lambda x: (REDUCTIONS | ALONG)[name](x, a)), [x]


AXES = [*REDUCTIONS, *ALONG, *TWO, *ORDERED]


# Batches


@st.composite
def batch_shapes(draw: Any, operands: int) -> list[tuple[int, ...]]:
    """Shapes that broadcast: ends of one shape, with some lengths 1."""
    whole = draw(st.lists(st.sampled_from([2, 3, 1, 0]), max_size=2))
    shapes = []
    for _ in range(operands):
        end = whole[draw(st.integers(0, len(whole))) :]
        shapes.append(tuple(1 if draw(st.booleans()) else n for n in end))
    return shapes


def regular(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Square matrices far from singular."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) * 0.3 + 2 * np.eye(shape[-1])


def singular(shape: tuple[int, ...], rank: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    left, right = (*shape[:-1], rank), (*shape[:-2], rank, shape[-1])
    return rng.normal(size=left) @ rng.normal(size=right)


def _positive(m: Any) -> Any:
    return m @ np.swapaxes(m, -1, -2)


SQUARE: dict[str, Callable[[Any], Any]] = {
    "inv": np.linalg.inv,
    "det": np.linalg.det,
    "slogdet": lambda a: np.linalg.slogdet(a)[1],
    "cholesky": lambda a: np.linalg.cholesky(_positive(a)),
    "norm": lambda a: np.linalg.norm(a, axis=(-1, -2)),
    "trace": lambda a: np.trace(a, axis1=-2, axis2=-1),
    "det of a singular": np.linalg.det,
}
PAIRS: dict[str, Callable[[Any, Any], Any]] = {
    "solve": np.linalg.solve,
    "solve a vector": np.linalg.solve,
    "matmul": np.matmul,
    "matmul by a vector": np.matmul,
    "matmul of a vector": lambda a, b: np.matmul(b, a),
    "einsum": lambda a, b: np.einsum("...ij,...jk->...ki", a, b),
}
BATCHED = [*SQUARE, *PAIRS]


@st.composite
def calls_on_batches(draw: Any, name: str) -> Call:
    n, seed = draw(st.sampled_from([2, 3, 1, 0])), draw(st.integers(0, 99))
    first, second = draw(batch_shapes(2))
    if name == "det of a singular":
        return SQUARE[name], [singular((*first, n, n), draw(st.integers(0, max(n - 1, 0))), seed)]
    a = regular((*first, n, n), seed)
    if name in SQUARE:
        return SQUARE[name], [a]
    shape = (n,) if "vector" in name else (*second, n, draw(st.integers(0, 3)))
    return PAIRS[name], [a, distinct(shape, seed + 1)]


# Subscripts


@st.composite
def calls_of_einsum(draw: Any) -> Call:
    """Letters repeated within an operand, summed, stretched from 1; ellipses of any length."""
    lengths = {s: draw(st.sampled_from([2, 3, 1, 0])) for s in "abc"}
    count = draw(st.integers(1, 3))
    hidden = draw(batch_shapes(count))
    terms, shapes = [], []
    for lead in hidden:
        letters = draw(st.lists(st.sampled_from("abc"), max_size=3))
        ones = draw(st.sets(st.sampled_from("abc")))
        tail = tuple(1 if s in ones else lengths[s] for s in letters)
        at = draw(st.integers(0, len(letters)))
        dots = draw(st.booleans())
        terms.append("".join(letters[:at]) + "..." * dots + "".join(letters[at:]))
        shapes.append(tail[:at] + lead * dots + tail[at:])
    spec = ",".join(terms)
    if draw(st.booleans()):
        used = [s for s in "abc" if s in spec]
        kept = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
        spec += "->" + "".join(kept) + "..." * ("." in spec)
    inputs = [distinct(s, i) for i, s in enumerate(shapes)]
    return (lambda *operands: np.einsum(spec, *operands)), inputs
