"""An arithmetic coder: what a model's likelihood is worth in bits.

A message of symbols x_1 … x_n is an interval of [0, 1): begin with all of it, and for each symbol
keep the part that p(x_i | x_<i) has of it. The interval's width is then p(x), and a binary fraction
of −log₂ p(x) bits, at most 2 more, lies in it with all its continuations: that is the code. The
decoder knows the model, sees in which part the fraction lies, and so reads the symbols one by one.

The interval is kept exactly, in whole numbers: probabilities are rounded to multiples of 2⁻⁴⁸ (and
none to 0 that was not), which costs less than 2⁻³⁰ of a bit a symbol.

So the mean length of a code is the cross-entropy: H(p) + KL(p ‖ q) bits for data from p under a
model q, and the divergence is the price of the wrong model. Rissanen & Langdon 1979; MISSION row
F3.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from core import Array
from core.errors import InputError

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
