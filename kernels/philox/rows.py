"""The rows of `OPS` that draw random numbers (MISSION row K6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core import random
from kernels.calls import Arguments
from kernels.table import Op

Dims = Mapping[str, int]
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Any seed, a shape of one to three axes, and counters up to their last values."""
    shape: tuple[int, ...] = (dims["samples"], dims["elements"])
    if dims["axes"] != 2:
        shape = shape[:1] if dims["axes"] == 1 else (*shape, 2)
    arguments: Arguments = {
        "seed": int(rng.integers(0, 2**63)) if rng.random() < 0.9 else int(rng.integers(0, 3)),
        "shape": shape,
        "step": int(rng.choice([0, 1, 999, 2**32 - 1])),
        "stream": str(rng.choice(list(random.STREAMS))),
        "first": int(rng.choice([0, 3, 2**31, 2**32 - max(20, dims["samples"])])),
    }
    return arguments if dtype == "uint32" else {**arguments, "dtype": dtype}


def ulps(z: Any, expected: Any) -> float:
    """The largest difference, in units of the last place of float32."""
    off = np.abs(np.float64(z) - expected) / np.spacing(np.abs(np.float32(expected)))
    return float(off.max(initial=0.0))


def _within_four_ulp(arguments: Arguments, result: Any) -> None:
    off = ulps(result, random.normal(**arguments))
    assert off <= 4, f"a normal is {off:.3g} ulp off"


# Twins with a planted fault


def _words(
    shape: Any, seed: int, at: Mapping[str, Any], rounds: int = 10, swapped: bool = False
) -> Any:
    """The generator with another number of rounds, or the halves of its key exchanged."""
    samples, elements = shape[0], int(np.prod(shape[1:]))
    quads = -(-elements // 4)
    row = np.arange(samples, dtype=np.uint64)[:, None] + np.uint64(at["first"])
    counters = (np.arange(quads), row, at["step"], random.STREAMS[at["stream"]])
    c = list(np.broadcast_arrays(*(np.asarray(v, np.uint64) for v in counters)))
    k = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)][:: -1 if swapped else 1]
    for _ in range(rounds):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> _32) ^ c[1] ^ k[0], p1 & _LOW, (p0 >> _32) ^ c[3] ^ k[1], p0 & _LOW]
        k = [(k[0] + np.uint64(0x9E3779B9)) & _LOW, (k[1] + np.uint64(0xBB67AE85)) & _LOW]
    words = np.stack(c, axis=-1).astype(np.uint32).reshape(samples, 4 * quads)
    return words[:, :elements].reshape(shape)


def nine_rounds(seed: int, shape: Any, **at: Any) -> Any:
    """One round too few: still random to the eye."""
    return _words(shape, seed, at, rounds=9)


def key_swapped(seed: int, shape: Any, **at: Any) -> Any:
    """The seed's high half first."""
    return _words(shape, seed, at, swapped=True)


def by_position(seed: int, shape: Any, **at: Any) -> Any:
    """Numbers the elements of the whole batch: sample 3 alone is not sample 3 of four."""
    return random.bits(seed, (1, int(np.prod(shape))), **at).reshape(shape)


def _by_position(draw: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(seed: int, shape: Any, **at: Any) -> Any:
        return draw(seed, (1, int(np.prod(shape))), **at).reshape(shape)

    return wrong


def divides_by_two_to_the_32(seed: int, shape: Any, *, dtype: Any, **at: Any) -> Any:
    """Uniforms without folding; 1.0 occurs."""
    return (random.bits(seed, shape, **at).astype(np.float32) * np.float32(2**-32)).astype(dtype)


def only_cosines(seed: int, shape: Any, **at: Any) -> Any:
    """The cosine of a pair twice: normal, but half of them are copies."""
    z = random.normal(seed, shape, **at)
    flat = z.reshape(shape[0], int(np.prod(shape[1:]))).copy()
    flat[:, 1::2] = flat[:, 0::2][:, : flat[:, 1::2].shape[1]]
    return flat.reshape(shape)


_DIMS = {"samples": (0, 9), "elements": (0, 70), "axes": (1, 3)}
_BENCH = {"samples": 64, "elements": 2**16, "axes": 2}
_FLOATS = ("float32", "float64")

ROWS = [
    Op(
        name="bits",
        mission=("K6",),
        definition="core.random:bits",
        twins={
            "numba": "kernels.philox.twin_numba:bits",
            "triton": "kernels.philox.twin_triton:bits",
        },
        make=_make,
        dims=_DIMS,
        dtypes=("uint32",),
        wrong={
            "nine rounds": nine_rounds,
            "key swapped": key_swapped,
            "depends on the batch's layout": by_position,
        },
        bench={"4·10⁶ words": (_BENCH, "uint32")},
    ),
    Op(
        name="uniform",
        mission=("K6",),
        definition="core.random:uniform",
        twins={
            "numba": "kernels.philox.twin_numba:uniform",
            "triton": "kernels.philox.twin_triton:uniform",
        },
        make=_make,
        dims=_DIMS,
        dtypes=_FLOATS,
        floor=dict.fromkeys(_FLOATS, 0.0),
        cap=dict.fromkeys(_FLOATS, 0.0),
        wrong={
            "not folded": divides_by_two_to_the_32,
            "depends on the batch's layout": _by_position(random.uniform),
        },
        bench={"4·10⁶ uniforms": (_BENCH, "float32")},
    ),
    Op(
        name="normal",
        mission=("K6",),
        definition="core.random:normal",
        twins={
            "numba": "kernels.philox.twin_numba:normal",
            "triton": "kernels.philox.twin_triton:normal",
        },
        make=_make,
        dims=_DIMS,
        dtypes=_FLOATS,
        floor=dict.fromkeys(_FLOATS, 2e-6),
        cap=dict.fromkeys(_FLOATS, 2e-6),
        laws=(_within_four_ulp,),
        wrong={
            "only cosines": only_cosines,
            "depends on the batch's layout": _by_position(random.normal),
        },
        bench={"4·10⁶ normals": (_BENCH, "float32")},
    ),
]
