"""The diffusion step on other back ends (MISSION K5): the definition's, noise included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from kernels import diffusion_numba as twin
from reference import ops
from reference.backend import backend
from reference.ddpm import DDPM

NOISY = ops.ddpm_coefficients(0.3, 0.5)
STILL = ops.ddim_coefficients(0.3, 0.5)


def arrays(*shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for _ in range(3)]


@given(
    st.integers(0, 5),
    st.integers(0, 30),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([None, 0.0, 1.0, 3.0]),
    st.sampled_from([None, 0.5]),
)
def test_without_noise_every_bit_is_the_definitions(B, E, dtype, guidance, clip):
    x, output, conditional = arrays(B, E, dtype=dtype)
    rest = {} if guidance is None else {"conditional": conditional, "guidance": guidance}
    call = (x, output, STILL), {"seed": 1, "t": 2, "clip": clip, **rest}
    own, expected = twin.step(*call[0], **call[1]), ops.step.definition(*call[0], **call[1])
    assert own.dtype == expected.dtype
    np.testing.assert_array_equal(own, expected)


def test_guidance_of_zero_is_unconditional_bit_for_bit():
    x, output, conditional = arrays(5, 33)
    conditional[::2] = np.nan
    alone = twin.step(x, output, NOISY, seed=3, t=7)
    guided = twin.step(x, output, NOISY, seed=3, t=7, conditional=conditional, guidance=0.0)
    np.testing.assert_array_equal(alone, guided)


@given(st.integers(0, 19), st.integers(1, 9), st.integers(0, 2**32 - 30))
def test_a_sample_does_not_see_its_batch(row, elements, first):
    x, output, _ = arrays(20, elements)
    batch = twin.step(x, output, NOISY, seed=3, t=7, first=first)
    one = slice(row, row + 1)
    alone = twin.step(x[one], output[one], NOISY, seed=3, t=7, first=first + row)
    np.testing.assert_array_equal(batch[one], alone)


def test_large_arrays_and_threads():
    import numba

    x, output, _ = arrays(3, 2**16 + 3)
    own = twin.step(x, output, NOISY, seed=3, t=7)
    expected = ops.step.definition(x, output, NOISY, seed=3, t=7)
    assert np.abs(own - expected).max() < 2e-6
    kept = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(own, twin.step(x, output, NOISY, seed=3, t=7))
    finally:
        numba.set_num_threads(kept)


def test_in_place():
    x, output, _ = arrays(4, 3, 5)
    expected = twin.step(x, output, NOISY, seed=3, t=7)
    assert twin.step(x, output, NOISY, seed=3, t=7, out=x) is x
    np.testing.assert_array_equal(x, expected)


def test_nan_is_not_clipped_away():
    x, output, _ = arrays(1, 4)
    output[0, 1] = np.nan
    out = twin.step(x, output, STILL, seed=0, t=1, clip=1.0)
    assert np.isnan(out).tolist() == [[False, True, False, False]]


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "heun"])
def test_a_model_samples_the_same_under_the_back_end(sampler):
    model = DDPM(6, hidden=8, blocks=1, steps=20, dtype=np.float64)
    expected = model.sample(5, seed=2, sampler=sampler, eta=0.5)
    with backend("numba"):
        own = model.sample(5, seed=2, sampler=sampler, eta=0.5)
    assert own.dtype == np.float64
    np.testing.assert_allclose(own, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": np.zeros((2, 4), np.float32)}, "^output is float32 of shape"),
        ({"output": np.zeros((2, 3))}, "^output is float64"),
        ({"conditional": np.zeros((1, 3), np.float32)}, "^conditional is float32 of shape"),
        ({"x_t": np.zeros((2, 3), np.float16)}, "^x_t is float16"),
        ({"seed": -1}, "^seed must be"),
        ({"t": -1}, "^step must be"),
        ({"out": np.zeros((2, 3))}, "^out must be contiguous, float32"),
    ],
)
def test_bad_arguments_are_named(change, message):
    zeros = np.zeros((2, 3), np.float32)
    call = {"x_t": zeros, "output": zeros, "coefficients": NOISY, "seed": 0, "t": 1}
    with pytest.raises(InputError, match=message):
        twin.step(**{**call, **change})
