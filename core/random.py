"""Random numbers that depend on nothing but their name: Philox 4×32-10, counter based.

Every random number of the project has a name, and the generator is a function of it:

    (seed, stream, step, sample, element)  →  one 32-bit word

    key      k0, k1 = low, high half of the seed                    (0 ≤ seed < 2⁶³)
    counter  c0 = element // 4    c1 = sample    c2 = step    c3 = stream
    word     lane `element % 4` of the four words that Philox makes of that counter

so the noise of sample 7 is the same whether it is drawn alone or in a batch, on whichever back end.
An array of shape (N, …) holds N samples; the axes after the first, flattened, are the elements.

    uniform  u = |x| · 2⁻³¹ with x the word as int32, folded (x < 0 → −x−1): 0 occurs, 1 never
    normal   lanes (0, 1) and (2, 3) are the pairs (u₁, u₂) of Box & Muller; element 2i of a sample
             is √(−2 ln u₁) cos 2πu₂, element 2i+1 the same with sin; u₁ ≥ 10⁻⁷, so |z| ≤ 5.68

float64 asks for the same numbers, widened: both precisions see the same noise.
Uniforms and integers are equal bit for bit everywhere; normals to 4 ulp (logarithms, sines and
cosines differ between libraries).

Sources: Salmon, Moraes, Dror & Shaw, Parallel Random Numbers: As Easy as 1, 2, 3 (2011); Box &
Muller (1958); Lemire, Fast Random Integer Generation in an Interval (2019). MISSION row K6.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from core.checks import float_dtype, whole
from core.errors import InputError
from core.operation import operation

T = TypeVar("T")
Shape = int | tuple[int, ...]
Words = NDArray[np.uint32]

STREAMS = {
    "sample": 0,  # samples of a model
    "init": 1,  # initial parameters
    "train": 2,  # whatever a loss draws
    "shuffle": 3,  # order of the training examples
    "data": 4,  # synthetic data, splits
    "latent": 5,  # latent variables
    "noise": 6,  # noise added by a diffusion step
    "dequantise": 7,  # uniform noise that makes integers continuous
    "dropout": 8,
    "evaluate": 9,  # bounds and estimates on held-out data
    "order": 10,  # orders and masks of autoregressive models
    "bench": 11,  # arguments of benchmarks
    "test": 12,  # arguments of tests
}
"""Stream name → c3. Numbers are part of the definition: never change one, only add (below 2¹⁶)."""

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_MASK = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_BLOCK = 1 << 14  # counters at a time: temporaries stay in cache
_OWN = 1 << 15  # streams of one's own begin here
_owners: dict[int, str] = {}
_RETRIES = 1 << 16  # stream + attempt · 2¹⁶ is where `integers` looks for further words


def philox(c0: Any, c1: Any, c2: Any, c3: Any, seed: int) -> tuple[Words, Words, Words, Words]:
    """Philox 4×32-10: the four words of each counter, which broadcast together.

    c0 … c3: integers or integer arrays in [0, 2³²). seed: the key, in [0, 2⁶⁴).
    """
    key = whole("seed", seed, 0, 2**64 - 1)
    counters = [_counter(f"c{i}", c) for i, c in enumerate((c0, c1, c2, c3))]
    words = _ten_rounds(key, *np.broadcast_arrays(*counters))
    x0, x1, x2, x3 = (np.asarray(w, np.uint32) for w in words)
    return x0, x1, x2, x3


def _ten_rounds(key: int, c0: Any, c1: Any, c2: Any, c3: Any) -> tuple[Any, ...]:
    """The bijection on counters, as uint64 arrays that hold 32-bit values."""
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (p1 >> _32) ^ (c1 ^ np.uint64(k0)), p1 & _MASK
        c2, c3 = (p0 >> _32) ^ (c3 ^ np.uint64(k1)), p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


@operation
def bits(
    seed: int, shape: Shape, *, step: int = 0, stream: str | int = "sample", first: int = 0
) -> Words:
    """The uint32 words themselves, of the given shape.

    shape: shape[0] samples, the product of the rest (at most 2³⁴) elements; () is one element.
    step: the time at which they are drawn, in [0, 2³²). stream: a name of STREAMS, or its number.
    first: index of the first sample; first + shape[0] ≤ 2³².

    Raises InputError for a seed, shape, step, stream or first outside these ranges.

    >>> bits(0, (2, 3)).dtype, bool(np.array_equal(bits(0, (2, 3))[1:], bits(0, (1, 3), first=1)))
    (dtype('uint32'), True)
    """
    shape, samples, elements = checked_layout(shape, first)
    words = _words(
        checked_seed(seed), samples, elements, checked_step(step), checked_stream(stream), first
    )
    return words[:, :elements].reshape(shape)


@operation
def uniform(
    seed: int,
    shape: Shape,
    *,
    step: int = 0,
    stream: str | int = "sample",
    first: int = 0,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Uniform on [0, 1): multiples of 2⁻³¹ rounded to float32. Arguments as in `bits`.

    >>> uniform(0, (2, 2))
    array([[0.7980929 , 0.2389596 ],
           [0.8344962 , 0.17079516]], dtype=float32)
    """
    return _fold(bits(seed, shape, step=step, stream=stream, first=first)).astype(
        float_dtype(dtype)
    )


@operation
def normal(
    seed: int,
    shape: Shape,
    *,
    step: int = 0,
    stream: str | int = "sample",
    first: int = 0,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Standard normal by Box and Muller, |z| ≤ 5.68. Arguments as in `bits`.

    >>> normal(0, (1, 3)).round(3)
    array([[0.047, 0.67 , 0.274]], dtype=float32)
    """
    shape, samples, elements = checked_layout(shape, first)
    words = _words(
        checked_seed(seed), samples, elements, checked_step(step), checked_stream(stream), first
    )
    z = _normal(words).astype(float_dtype(dtype), copy=False)
    return z[:, :elements].reshape(shape)


def integers(
    seed: int,
    low: int,
    high: int,
    shape: Shape,
    *,
    step: int = 0,
    stream: str | int = "sample",
    first: int = 0,
) -> NDArray[np.int64]:
    """Uniform int64 in [low, high), at most 2³² values, without bias. The rest as in `bits`.

    Lemire's method: with n = high − low, word · n = 2³² · result + remainder; the few words whose
    remainder is below 2³² mod n are drawn again, attempt a from stream + a · 2¹⁶.
    """
    low, high = whole("low", low, -(2**63), 2**63 - 1), whole("high", high, -(2**63), 2**63 - 1)
    n = whole("high - low", high - low, 1, 2**32)
    shape, _, elements = checked_layout(shape, first)
    words = bits(seed, shape, step=step, stream=stream, first=first)
    products = words.ravel().astype(np.uint64) * np.uint64(n)
    rejected = np.flatnonzero((products & _MASK) < 2**32 % n)
    attempt = 0
    while rejected.size:
        attempt += 1
        sample, element = np.divmod(rejected, elements)
        c3 = checked_stream(stream) + attempt * _RETRIES
        lanes = np.stack(philox(element // 4, sample + first, step, c3, seed))
        again = lanes[element % 4, np.arange(rejected.size)].astype(np.uint64)
        products[rejected] = again * np.uint64(n)
        rejected = rejected[(products[rejected] & _MASK) < 2**32 % n]
    drawn: NDArray[np.int64] = (products >> _32).astype(np.int64) + low
    return drawn.reshape(shape)


def permutation(
    seed: int, n: int, *, step: int = 0, stream: str | int = "shuffle"
) -> NDArray[np.int64]:
    """A random order of 0 … n−1 (int64): the order that sorts n 64-bit words.

    Word i is elements 2i (low half) and 2i+1 of sample 0. Two equal words, the only source of bias,
    keep their order; that happens to one permutation in 2⁶⁵/n².
    """
    n = whole("n", n, 0, 2**33)
    halves = bits(seed, (1, 2 * n), step=step, stream=stream)[0].astype(np.uint64)
    return np.argsort(halves[0::2] | halves[1::2] << _32, kind="stable")


class Generator:
    """Random numbers one call after the other: call number t draws at step t of its stream.

    seed: in [0, 2⁶³). stream: a name of STREAMS, or its number. step: the next call's.
    Shapes are read as in `bits`: the first axis counts samples.
    """

    def __init__(self, seed: int, stream: str | int = "train", step: int = 0) -> None:
        self.seed, self.stream, self.step = checked_seed(seed), stream, checked_step(step)
        checked_stream(stream)

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed}, stream={self.stream!r}, step={self.step})"

    def bits(self, shape: Shape) -> Words:
        """uint32 words."""
        return self._next(bits, shape)

    def uniform(self, shape: Shape, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Uniform on [0, 1)."""
        return self._next(uniform, shape, dtype=dtype)

    def normal(self, shape: Shape, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Standard normal."""
        return self._next(normal, shape, dtype=dtype)

    def integers(self, low: int, high: int, shape: Shape) -> NDArray[np.int64]:
        """Uniform int64 in [low, high)."""
        return self._next(integers, low, high, shape)

    def permutation(self, n: int) -> NDArray[np.int64]:
        """A random order of 0 … n−1."""
        return self._next(permutation, n)

    def _next(self, draw: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        out = draw(self.seed, *args, step=self.step, stream=self.stream, **kwargs)
        self.step += 1
        return out

    @property
    def state(self) -> dict[str, Any]:
        """All there is to know, JSON-able: what a checkpoint stores."""
        return {"seed": self.seed, "stream": self.stream, "step": self.step}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Generator:
        """The generator that `state` describes. Raises InputError if it describes none."""
        if not isinstance(state, dict) or set(state) != {"seed", "stream", "step"}:
            raise InputError(f"state must have exactly seed, stream and step, got {state!r}")
        return cls(**state)


# The recipe, bit by bit: what every back end must do


def _words(seed: int, samples: int, elements: int, step: int, c3: int, first: int) -> Words:
    """Words (samples, 4 ⌈elements / 4⌉): whole counters, of which `elements` are asked for."""
    n_quads = -(-elements // 4)
    out = np.empty((samples, n_quads, 4), np.uint32)
    c0 = np.arange(n_quads, dtype=np.uint64)
    c1 = np.arange(first, first + samples, dtype=np.uint64)[:, None]
    c2, c3_ = np.uint64(step), np.uint64(c3)
    width = min(max(n_quads, 1), _BLOCK)
    height = max(1, _BLOCK // width)
    for i in range(0, samples, height):
        for j in range(0, n_quads, width):
            block = out[i : i + height, j : j + width]
            words = _ten_rounds(seed, c0[j : j + width], c1[i : i + height], c2, c3_)
            for lane, word in enumerate(words):
                block[..., lane] = word
    return out.reshape(samples, 4 * n_quads)


def _fold(words: Words) -> NDArray[np.float32]:
    """uint32 → float32 in [0, 1). The scale is the largest that keeps 2³¹ below 1."""
    x = words.view(np.int32)
    return (x ^ (x >> 31)).astype(np.float32) * np.float32(4.6566127342e-10)  # ~x = −x−1


def _normal(words: Words) -> NDArray[np.float32]:
    """Normals from words, pair by pair along the flattened array; same shape."""
    pairs = words.reshape(words.size // 2, 2)
    z = np.empty(pairs.shape, np.float32)
    for i in range(0, len(pairs), _BLOCK):
        u = _fold(pairs[i : i + _BLOCK])
        z[i : i + _BLOCK, 0], z[i : i + _BLOCK, 1] = box_muller(u[:, 0], u[:, 1])
    return z.reshape(words.shape)


def box_muller(u1: NDArray[Any], u2: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two independent normals from two independent uniforms, as float64 yet to be rounded.

    The angle is taken in float32, as a GPU does; logarithm, root, cosine and sine in float64.
    """
    r = np.sqrt(-2.0 * np.log(np.maximum(u1, np.float32(1e-7)).astype(np.float64)))
    angle = (np.float32(math.tau) * u2).astype(np.float64)
    return r * np.cos(angle), r * np.sin(angle)


# Arguments


def checked_seed(seed: Any) -> int:
    """The seed as an int in [0, 2⁶³), else InputError."""
    return whole("seed", seed, 0, 2**63 - 1)


def own_stream(name: str) -> int:
    """The number of a stream of one's own, for `stream=`: the same for a name, none of STREAMS.

    It lies in [2¹⁵, 2¹⁶). InputError if an earlier name of this process has the same number, which
    would repeat its draws.

    >>> uniform(0, 2, stream=own_stream("my model's labels"))
    array([0.04059245, 0.15330462], dtype=float32)
    """
    if not isinstance(name, str) or not name or name in STREAMS:
        raise InputError(f"name must be a new stream's name, got {name!r}")
    number = _OWN + zlib.crc32(name.encode()) % _OWN
    if _owners.setdefault(number, name) != name:
        raise InputError(f"name must be another than {name!r}: {_owners[number]!r} has its number")
    return number


def checked_step(step: Any) -> int:
    """The step as an int in [0, 2³²), else InputError."""
    return whole("step", step, 0, 2**32 - 1)


def checked_stream(stream: Any) -> int:
    """The number of a stream, given by its name or number, else InputError."""
    if isinstance(stream, str):
        if stream not in STREAMS:
            known = ", ".join(STREAMS)
            raise InputError(f"stream must be one of {known}, or an own_stream, got {stream!r}")
        return STREAMS[stream]
    return whole("stream", stream, 0, _RETRIES - 1)


def checked_generator(rng: Any) -> Generator:
    """The source of noise of a method that draws; InputError unless it is a Generator."""
    if not isinstance(rng, Generator):
        raise InputError(f"rng must be a core.random.Generator, got {type(rng).__name__}")
    return rng


def checked_layout(shape: Any, first: Any) -> tuple[tuple[int, ...], int, int]:
    """(shape as a tuple, number of samples, elements in each)."""
    lengths = shape if isinstance(shape, (tuple, list)) else (shape,)
    lengths = tuple(whole("a length in shape", n, 0, 2**63 - 1) for n in lengths)
    samples, elements = (lengths or (1,))[0], math.prod(lengths[1:])
    if elements > 2**34:
        raise InputError(f"shape must have at most 2**34 elements a sample, got {elements}")
    if whole("first", first, 0, 2**32 - 1) + samples > 2**32:
        raise InputError(f"first + shape[0] must be at most 2**32, got {first} + {samples}")
    return lengths, samples, elements


def _counter(name: str, c: Any) -> NDArray[np.uint64]:
    c = np.asarray(c)
    if c.dtype.kind not in "iu" or (c.size and (int(c.min()) < 0 or int(c.max()) >= 2**32)):
        raise InputError(f"{name} must hold integers in [0, 2**32)")
    return np.asarray(c, np.uint64)
