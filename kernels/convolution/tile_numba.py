"""A small matrix product whose result stays in vector registers: what convolutions are made of.

    c[r, :] += Σ_q Σ_k a[q, k, r] b[q, k, :]      r < R rows, V vectors of columns

It is written in LLVM's own vectors, because its vectoriser keeps to half of AVX-512's width and
doesn't hold a block of sums in registers. The matrices are runs of strided numbers in flat arrays,
so pixels are read where they lie and no patch is copied (row K1).
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.numerics_numba import fused


def _has(feature: str) -> bool:
    """Whether Numba compiles for a processor with it: this one, or what NUMBA_CPU_FEATURES says."""
    asked: str | None = getattr(config, "CPU_FEATURES", None)
    if asked is None:
        return bool(binding.get_host_cpu_features().get(feature, False))
    return f"+{feature}" in asked.split(",")


_WIDE = _has("avx512f")
_BYTES = 64 if _WIDE else 32
_SUMS = 24 if _WIDE else 12  # vectors of them, besides which the factors have registers as well
_MOST = 12  # rows
_ROWS = {v: min(_SUMS // v, _MOST) for v in (1, 2, 4) if _SUMS // v >= 6}
VECTORS = max(_ROWS)
"""In a row of a tile, at most."""
_KEYS = 8  # more than VECTORS


@njit(**fused)
def most_rows(vectors: Any) -> Any:
    """Of a tile that is 1, 2, … VECTORS wide."""
    return min(_SUMS // vectors, _MOST)


def lanes(dtype: Any) -> int:
    """Numbers in a vector."""
    return _BYTES // int(dtype.itemsize)


def _tile(
    typing: Any, rows: Any, vectors: Any, a: Any, a0: Any, ar: Any, aq: Any, ak: Any, b: Any,
    b0: Any, bq: Any, bk: Any, c: Any, c0: Any, cr: Any, Q: Any, K: Any,
) -> Any:  # fmt: skip
    """c[r, :] += Σ_q Σ_k a[q, k, r] b[q, k, :], c (rows, vectors times `lanes`).

    vectors: 1, 2, … VECTORS, powers of two; rows: 1 … most_rows(vectors).
    a, b, c: flat contiguous arrays of one dtype; a0, b0, c0: the first number of each; the others
    are strides, in numbers.
    """
    kinds = (rows, vectors, a, a0, ar, aq, ak, b, b0, bq, bk, c, c0, cr, Q, K)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        flat = [_Flat(context, builder, signature.args[i], args[i]) for i in (2, 7, 11)]
        numbers = [x for i, x in enumerate(args) if i not in (0, 1, 2, 7, 11)]
        key = builder.add(builder.mul(args[0], args[0].type(_KEYS)), args[1])
        after = builder.append_basic_block("after")
        switch = builder.switch(key, after)
        for r, v in ((r, v) for v, most in _ROWS.items() for r in range(1, most + 1)):
            case = builder.append_basic_block(f"tile {r} x {v}")
            switch.add_case(key.type(r * _KEYS + v), case)
            with builder.goto_block(case):
                _emit(builder, r, v, *flat, *numbers)
                builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(*kinds), build


tile: Any = intrinsic(_tile)
"""For compiled code: `_tile` without its first argument."""


class _Flat:
    """A flat array, read and written at a place or a vector at a time."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
        self.builder = builder
        self.data = context.make_array(kind)(context, builder, array).data
        self.number = context.get_value_type(kind.dtype)
        self.align = kind.dtype.bitwidth // 8
        self.lanes = _BYTES // self.align
        self.vector = ir.VectorType(self.number, self.lanes)

    def everywhere(self, place: Any) -> Any:
        """The number there, in all lanes."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        x = self.builder.load(self.builder.gep(self.data, [place]))
        one = self.builder.insert_element(undefined, x, ir.Constant(ir.IntType(32), 0))
        none = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undefined, none)

    def at(self, place: Any, vector: int) -> Any:
        """Where the vector lies that is this many after place."""
        last = ir.Constant(ir.IntType(64), vector * self.lanes)
        pointer = self.builder.gep(self.data, [self.builder.add(place, last)])
        return self.builder.bitcast(pointer, self.vector.as_pointer())

    def load(self, place: Any, vector: int) -> Any:
        return self.builder.load(self.at(place, vector), align=self.align)

    def store(self, x: Any, place: Any, vector: int) -> None:
        self.builder.store(x, self.at(place, vector), align=self.align)


def _emit(
    builder: Any, rows: int, vectors: int, a: _Flat, b: _Flat, c: _Flat,
    a0: Any, ar: Any, aq: Any, ak: Any, b0: Any, bq: Any, bk: Any, c0: Any, cr: Any, Q: Any, K: Any,
) -> None:  # fmt: skip
    def plus(start: Any, n: Any, stride: Any) -> Any:
        return builder.add(start, builder.mul(n, stride))

    row = [ir.Constant(ir.IntType(64), r) for r in range(rows)]
    places = [(r, v) for r in range(rows) for v in range(vectors)]
    room: Any = cgutils.alloca_once
    sums = {at: room(builder, c.vector) for at in places}
    for (r, v), total in sums.items():
        builder.store(c.load(plus(c0, row[r], cr), v), total)
    with cgutils.for_range(builder, Q) as outer, cgutils.for_range(builder, K) as inner:
        q, k = outer.index, inner.index
        here, there = plus(plus(a0, q, aq), k, ak), plus(plus(b0, q, bq), k, bk)
        factors = [b.load(there, v) for v in range(vectors)]
        for r in range(rows):
            x = a.everywhere(plus(here, row[r], ar))
            for v in range(vectors):
                term = builder.fmul(x, factors[v], flags=("contract",))
                total = builder.fadd(builder.load(sums[r, v]), term, flags=("contract",))
                builder.store(total, sums[r, v])
    for (r, v), total in sums.items():
        c.store(builder.load(total), plus(c0, row[r], cr), v)
