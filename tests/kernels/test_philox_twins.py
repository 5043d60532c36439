"""Philox on other back ends (MISSION K6): the same integers and uniforms, normals to 2 ulp."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import random
from core.errors import InputError
from kernels import OPS, check
from kernels.philox import twin_numba as twin
from kernels.philox.rows import nine_rounds, ulps

ONES = 2**32 - 1
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), 0x299F31D0A4093822
KNOWN = [  # published with Salmon et al. 2011, in the authors' Random123
    ((0, 0, 0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((ONES,) * 4, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (*PI, "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "seed", "answer"), KNOWN)
def test_known_answers(counter, seed, answer):
    assert [f"{int(w):08x}" for w in twin.philox(*counter, seed)] == answer.split()


def test_the_known_answer_of_zero_is_where_the_layout_says():
    words = ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]
    assert [f"{w:08x}" for w in twin.bits(0, (1, 4))[0]] == words
    nine = nine_rounds(0, (1, 4), step=0, first=0, stream="sample")
    assert [f"{w:08x}" for w in nine[0]] != words


@given(*[st.integers(0, ONES)] * 4, st.integers(0, 2**64 - 1))
def test_the_bijection_is_the_definitions(c0, c1, c2, c3, seed):
    assert twin.philox(c0, c1, c2, c3, seed) == random.philox(c0, c1, c2, c3, seed)


def test_counters_broadcast_together():
    c = np.arange(600, dtype=np.uint32)[:, None], np.arange(3)
    for own, theirs in zip(twin.philox(*c, 5, 6, 7), random.philox(*c, 5, 6, 7), strict=True):
        assert own.shape == (600, 3)
        np.testing.assert_array_equal(own, theirs)


def test_a_million_normals_stay_within_two_ulp():
    at = {"step": 3, "stream": "noise", "first": 5}
    z, expected = twin.normal(11, (10, 100_003), **at), random.normal(11, (10, 100_003), **at)
    assert z.dtype == np.float32
    assert ulps(z, expected) <= 2
    assert np.mean(z != expected) < 1e-3


def test_the_clamp_and_the_ends_of_the_circle():
    """u₁ from 0 to just below 1, u₂ at every eighth of the circle and next to it."""
    top = 2**31 - 1
    eighths = [min(k * 2**28 + d, top) for k in range(9) for d in (-129, -1, 0, 1, 129)]
    words = np.array([[a, b] for a in (0, 1, 214, 215, 2**30, top) for b in eighths if b >= 0])
    w = np.zeros((4, len(words)), np.uint64)
    w[0], w[1] = words.T
    z = np.empty(4 * len(words), np.float32)
    twin._normals(w, 0, len(words), z)
    u1, u2 = (random._fold(c.astype(np.uint32)) for c in words.T)
    for k, expected in enumerate(random.box_muller(u1, u2)):
        own = z[k::4]
        sizeable = np.abs(expected) > 1e-6
        assert ulps(own[sizeable], expected[sizeable].astype(np.float32)) <= 2
        assert np.abs(own - expected)[~sizeable].max(initial=0) < 1e-12
    assert np.abs(z.reshape(-1, 4)[:, :2]).max() < 5.69


@given(st.integers(0, 40), st.integers(0, 2**32 - 60), st.integers(1, 9))
def test_a_sample_does_not_see_its_batch(row, first, elements):
    batch = twin.normal(3, (41, elements), stream="noise", step=2, first=first)
    alone = twin.normal(3, (1, elements), stream="noise", step=2, first=first + row)
    np.testing.assert_array_equal(batch[row], alone[0])


def test_threads_change_nothing():
    import numba

    kept = numba.get_num_threads()
    shape = (3, 2**17 + 1)
    assert twin.tasks(3 * 2**15) > 1 or kept == 1
    try:
        many = twin.normal(7, shape)
        numba.set_num_threads(1)
        np.testing.assert_array_equal(many, twin.normal(7, shape))
    finally:
        numba.set_num_threads(kept)


def test_both_precisions_see_the_same_noise():
    for draw in (twin.uniform, twin.normal):
        wide = draw(5, (6, 7), dtype=np.float64)
        assert wide.dtype == np.float64
        np.testing.assert_array_equal(wide, draw(5, (6, 7)).astype(np.float64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"seed must be an int in \[0, 2\*\*63\)"),
        ({"stream": "nile"}, "stream must be one of"),
        ({"step": 2**32}, "step must be"),
        ({"first": 2**32}, "first must be|first \\+ shape"),
        ({"shape": (-1, 2)}, "a length in shape"),
        ({"dtype": np.float16}, "dtype must be float32 or float64"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        twin.normal(**{"seed": 0, "shape": (2, 3), **arguments})


def test_counters_beyond_32_bits_are_named():
    with pytest.raises(InputError, match="c2 must hold"):
        twin.philox(0, 0, 2**32, 0, 1)


# Triton, in its interpreter: a process of its own, this file run as a script


def test_triton_in_the_interpreter():
    pytest.importorskip("triton")
    out = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 0, out.stdout + out.stderr


def interpreted_calls():
    """Every kind of draw, small, through the table's check."""
    for name in ("bits", "uniform", "normal"):
        op = OPS[name]
        for seed in range(12):
            dtype = op.dtypes[seed % len(op.dtypes)]
            check(op.load("triton"), op.draw(seed, (dtype,)))


def interpreted_layouts():
    """Programs across samples and within one; elements in eights, fours and neither: one stream."""
    from kernels.philox import twin_triton as philox_triton

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(philox_triton, "BLOCK", 16)
        for elements in (1, 4, 5, 56, 60, 63, 64, 65, 68, 72, 128, 131):
            shape, at = (3, elements), {"step": 2, "first": 2**32 - 3}
            for draw in ("bits", "uniform"):
                found = getattr(philox_triton, draw)(5, shape, **at)
                np.testing.assert_array_equal(found, getattr(random, draw)(5, shape, **at))


def interpreted_known_answers():
    from kernels.philox import twin_triton as philox_triton

    words = philox_triton.bits(0, (1, 4))[0]
    assert [f"{w:08x}" for w in words] == KNOWN[0][2].split()
    at = {"step": 3, "stream": "noise", "first": 2**32 - 40}
    assert ulps(philox_triton.normal(5, (40, 1001), **at), random.normal(5, (40, 1001), **at)) <= 4


def interpreted_angles():
    """Sine and cosine where u₂ is at every eighth of the circle and next to it."""
    global cos_sin  # the interpreter looks for what a kernel calls among a module's names
    import torch
    import triton
    import triton.language as tl

    from kernels.philox.twin_triton import cos_sin

    @triton.jit
    def kernel(angle_ptr, out_ptr, N: tl.constexpr):
        i = tl.arange(0, N)
        c, s = cos_sin(tl.load(angle_ptr + i))
        tl.store(out_ptr + i, c)
        tl.store(out_ptr + N + i, s)

    at = np.linspace(0, 2 * np.pi, 1009 * 8 + 1).astype(np.float32)
    near = [np.float32(k * np.pi / 4) for k in range(9)]
    near += [np.nextafter(a, np.float32(d)) for a in near[1:-1] for d in (0, 9)]
    angle = np.concatenate([at, near, np.zeros(2**14 - at.size - len(near))]).astype(np.float32)
    out = torch.zeros(2 * angle.size)
    kernel[(1,)](torch.from_numpy(angle), out, N=angle.size)
    exact = np.concatenate([np.cos(angle.astype(float)), np.sin(angle.astype(float))])
    assert (np.abs(out.numpy() - exact) / np.spacing(np.abs(np.float32(exact)))).max() <= 3


def interpreted_wide_counters():
    """What the cast to uint32 is for: without it the words are another generator's."""
    import torch
    import triton
    import triton.language as tl

    @triton.jit
    def kernel(out_ptr):
        c = tl.arange(0, 4).to(tl.int64)
        words = tl.philox(0, c, c * 0, c * 0, c * 0)
        tl.store(out_ptr + tl.arange(0, 4), words[0].to(tl.int64, bitcast=True))

    out = torch.zeros(4, dtype=torch.int64)
    kernel[(1,)](out)
    assert (out.numpy() & 0xFFFFFFFF != random.bits(0, (1, 16))[0, ::4]).all()


if __name__ == "__main__":
    interpreted_calls()
    interpreted_layouts()
    interpreted_known_answers()
    interpreted_angles()
    interpreted_wide_counters()
