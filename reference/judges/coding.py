"""An arithmetic coder: what a model's likelihood is worth in bits.

A message of symbols x_1 … x_n is an interval of [0, 1): begin with all of it, and for each symbol
keep the part that p(x_i | x_<i) has of it. The interval's width is then p(x), and a binary fraction
of −log₂ p(x) bits, at most 2 more, lies in it with all its continuations: that is the code. The
decoder knows the model, sees in which part the fraction lies, and so reads the symbols one by one.

The interval is kept exactly, in whole numbers: probabilities are rounded to multiples of 2⁻⁴⁸ (and
none to 0 that was not), which costs less than 2⁻³⁰ of a bit a symbol.

A chain's conditionals are asked for all at once to `compress`, each on the past of the data; to
`decompress` they are asked again for every symbol, on the past that was read so far. Whoever sees
the future while writing can't be read.

So the mean length of a code is the cross-entropy: H(p) + KL(p ‖ q) bits for data from p under a
model q, and the divergence is the price of the wrong model. Rissanen & Langdon 1979; MISSION row
F3.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from core import Array, no_grad, value
from core.errors import InputError

if TYPE_CHECKING:
    from reference.owes import Chain

Next = Callable[[Sequence[int]], Array]
"""p(· | x_<i) as an array of probabilities, of the symbols x_<i so far."""

_GRID = 48  # bits of a probability
_OFF = 1e-4  # how far from 1 the sum of float32 probabilities may be


def encode(symbols: Sequence[int], following: Next) -> str:
    """The code of a message, a string of 0 and 1.

    symbols: indices into what `following` gives. Raises InputError for a symbol of probability 0,
    or for what is no distribution.

    >>> fair = lambda past: np.array([0.5, 0.5])
    >>> code = encode([0, 1, 1, 0], fair)
    >>> code, decode(code, 4, fair)
    ('01100', [0, 1, 1, 0])
    """
    low, width = 0, 1
    past: list[int] = []
    for symbol in symbols:
        edges = _edges(following(past))
        if not 0 <= symbol < len(edges) - 1 or edges[symbol] == edges[symbol + 1]:
            raise InputError(f"symbols must have probability > 0, got {symbol} after {past[-3:]}")
        low = (low << _GRID) + width * edges[symbol]
        width *= edges[symbol + 1] - edges[symbol]
        past.append(int(symbol))
    scale = _GRID * len(past)
    length = scale - width.bit_length() + 2  # 2^-length ≤ width / 2, so all of it fits
    point = -(-low >> (scale - length)) if past else 0  # rounded up
    return f"{point:0{length}b}"


def decode(code: str, n: int, following: Next) -> list[int]:
    """The n symbols of a code. Raises InputError if it isn't one."""
    if not code or set(code) - {"0", "1"}:
        raise InputError(f"code must be a string of 0 and 1, got {code[:20]!r}")
    scale = max(0, _GRID * n - len(code)) + len(code)
    point = int(code, 2) << (scale - len(code))  # of 2^scale
    low, width = 0, 1
    past: list[int] = []
    for i in range(n):
        edges = _edges(following(past))
        at = (point >> (scale - _GRID * (i + 1))) - (low << _GRID)
        symbol = bisect_right(edges, at // width) - 1
        if not 0 <= at < width << _GRID:
            raise InputError("code must be of this model, got one that lies in no symbol's part")
        low = (low << _GRID) + width * edges[symbol]
        width *= edges[symbol + 1] - edges[symbol]
        past.append(symbol)
    return past


def _edges(p: Array) -> list[int]:
    """Cumulative probabilities as whole numbers 0 … 2^48; what is possible keeps a part."""
    p = np.asarray(p, np.float64)
    if p.ndim != 1 or not (p >= 0).all() or not abs(p.sum() - 1) < _OFF:
        raise InputError(f"following must give probabilities with sum 1, got {p!r}")
    parts = [max(int(q), int(q > 0)) for q in p / p.sum() * 2.0**_GRID]
    parts[int(np.argmax(p))] += (1 << _GRID) - sum(parts)
    return [0, *accumulate(parts)]


def by_enumeration(log_p: Array) -> Next:
    """One symbol for a whole state: `following` of a model whose every log p (states,) is known."""
    return lambda _: np.exp(log_p)


# A model's own codes


def compress(model: Chain, x: Array) -> list[str]:
    """The code of each row of x (B, …) under an autoregressive model of whole numbers.

    Raises InputError for a row of probability 0, and for a model that isn't a chain of whole
    numbers in one order: `by_enumeration` codes the states of any other.

    >>> from reference.counting.markov import MarkovTable
    >>> model = MarkovTable(8).fit(np.array([[0, 1] * 4] * 30 + [[1, 0] * 4] * 10))
    >>> compress(model, np.array([[0, 1] * 4, [1, 0] * 4]))
    ['01', '1101']
    >>> decompress(model, ['01', '1101'])
    array([[0., 1., 0., 1., 0., 1., 0., 1.],
           [1., 0., 1., 0., 1., 0., 1., 0.]], dtype=float32)
    """
    places, (shape, dtype) = _places(model), _form(model)
    rows = np.asarray(value(x)).reshape(-1, *shape).astype(dtype)
    return [_written(_chances(model, row), row.ravel(), places) for row in rows]


def decompress(model: Chain, codes: Sequence[str]) -> Array:
    """The rows (B, …) whose codes these are. Raises InputError for what is none of the model's."""
    places, (shape, dtype) = _places(model), _form(model)
    return np.stack([_read(model, code, places, np.zeros(shape, dtype)) for code in codes])


def _written(chances: Array, row: Array, places: Array) -> str:
    message = row[places].astype(np.int64).tolist()
    return encode(message, lambda past: chances[places[len(past)]])


def _read(model: Any, code: str, places: Array, row: Array) -> Array:
    flat = row.reshape(-1)

    def following(past: Sequence[int]) -> Array:
        flat[places[: len(past)]] = past
        return _chances(model, row)[places[len(past)]]

    flat[places] = decode(code, len(places), following)
    return row


def _chances(model: Any, row: Array) -> Array:
    """p(k | x_<i) of every variable of one row (…), (D, K)."""
    with no_grad():
        theta = np.asarray(value(model.conditionals(row[None]))).reshape(row.size, -1)
        if hasattr(model, "head"):
            every = [np.full(len(theta), k) for k in range(model.head.levels)]
            return np.exp(np.stack([value(model.head.log_prob(k, theta)) for k in every], axis=1))
    if theta.shape[1] == 1:
        return np.exp(-np.logaddexp(0, theta * np.array([1, -1])))  # of 0 and 1
    return np.exp(theta)


def _form(model: Any) -> tuple[tuple[int, ...], Any]:
    return tuple(getattr(model, "shape", (model.dim,))), model.dtype


def _places(model: Any) -> Array:
    """The variables of a row from first to last."""
    mixes = max(len(getattr(model, "orders", ())), getattr(model, "masks", 1)) > 1
    head = getattr(model, "head", None)
    if mixes or not hasattr(model, "conditionals") or (head and not hasattr(head, "levels")):
        raise InputError(
            "model must be a chain of whole numbers in one order, got "
            f"{type(model).__name__}; by_enumeration codes the states of others"
        )
    order: Any = getattr(model, "order", None)
    return np.asarray(order) if np.ndim(order) == 1 else np.arange(model.dim)
