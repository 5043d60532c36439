"""The diffusion step on other back ends (MISSION K5): the definition's, noise included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.operation import backend
from kernels import OPS, check
from kernels.diffusion import twin_numba as twin
from reference.diffusion.coefficients import ddim_coefficients, ddpm_coefficients
from reference.diffusion.ddpm import DDPM
from reference.operations import diffusion_step as ops

NOISY = ddpm_coefficients(0.3, 0.5)
STILL = ddim_coefficients(0.3, 0.5)


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
        ({"output": np.zeros((2, 4), np.float32)}, "^output must .*got float32 of shape"),
        ({"output": np.zeros((2, 3))}, "^output must .*got float64"),
        ({"conditional": np.zeros((1, 3), np.float32)}, "^conditional must .*got float32 of shape"),
        ({"x_t": np.zeros((2, 3), np.float16)}, "^x_t must .*got float16"),
        ({"seed": -1}, "^seed must be"),
        ({"t": -1}, "^step must be"),
        ({"out": np.zeros((2, 3))}, "^out must .*got float64"),
        ({"out": np.zeros((3, 2), np.float32).T}, "^out must be a contiguous array"),
        ({"out": np.broadcast_to(np.float32(0), (2, 3))}, "^out must be a contiguous array"),
        ({"out": [0.0]}, "^out must be a contiguous array"),
    ],
)
def test_bad_arguments_are_named(change, message):
    zeros = np.zeros((2, 3), np.float32)
    call = {"x_t": zeros, "output": zeros, "coefficients": NOISY, "seed": 0, "t": 1}
    with pytest.raises(InputError, match=message):
        twin.step(**{**call, **change})


@pytest.mark.parametrize("step", [ops.step, twin.step])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coefficients": NOISY[:4]}, "^coefficients must be five finite numbers"),
        ({"coefficients": (*NOISY, 1.0)}, "^coefficients must be five finite numbers"),
        ({"coefficients": (1.0, 1.0, 1.0, 1.0, -1.0)}, "^coefficients .* the last ≥ 0"),
        ({"coefficients": (1.0, np.nan, 1.0, 1.0, 0.0)}, "^coefficients must be five finite"),
        ({"guidance": None}, "^guidance must be a finite number, got None"),
        ({"guidance": np.inf}, "^guidance must be a finite number, got inf"),
        ({"clip": -1.0}, "^clip must be a positive number or None, got -1.0"),
        ({"clip": np.nan}, "^clip must be a positive number or None, got nan"),
    ],
)
def test_bad_settings_are_named(step, change, message):
    x = np.zeros((2, 3), np.float32)
    call = {"x_t": x, "output": x, "coefficients": NOISY, "seed": 0, "t": 1, "conditional": x}
    with pytest.raises(InputError, match=message):
        step(**{**call, **change})


def test_tensors_on_the_cpu_are_named():
    """Outside the interpreter Triton itself would only say that it has no driver."""
    pytest.importorskip("triton")
    code = """
import torch
from core.errors import InputError
from kernels.diffusion import twin_triton as diffusion_triton
from kernels.philox import twin_triton as philox_triton
x = torch.zeros(2, 3)
for call in (
    lambda: diffusion_triton.step(x, x, (1.0, 0.0, 1.0, 0.0, 0.0), seed=0, t=1),
    lambda: philox_triton.normal(0, (2, 3), device="cpu"),
    lambda: philox_triton.normal(0, (2, 3), device="foo"),
):
    try:
        call()
    except InputError as error:
        print(error)
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.splitlines() == [
        "x_t must be on a GPU (or set TRITON_INTERPRET=1), got the CPU",
        "device must be on a GPU (or set TRITON_INTERPRET=1), got the CPU",
        "device must be such as 'cuda' or 'cuda:1', got 'foo'",
    ]


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
    op = OPS["step"]
    for seed in range(25):
        check(op.load("triton"), op.draw(seed, ("float32",)))


def interpreted_layouts():
    """Programs across samples and within one; elements in eights, fours and neither."""
    from kernels.philox import twin_triton as philox_triton

    op = OPS["step"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(philox_triton, "BLOCK", 16)
        for elements in (60, 63, 64, 65, 68, 72, 131):
            dims = {"B": 3, "E": elements, "axes": 2, "t": 20, "clip": 1, "guided": 1, "ddpm": 1}
            check(op.load("triton"), op.call(elements, "float32", **dims))


def interpreted_float16():
    """Arithmetic is float32: the error is at most that of the formula in float16, twice, + ulp."""
    from kernels.diffusion.twin_triton import step
    from reference.operations.diffusion_step import guide, normal, step_mean

    for B, E, s in ((3, 40, None), (2, 33, 2.0)):
        x, output, conditional = arrays(B, E, dtype=np.float16)
        rest = {} if s is None else {"conditional": conditional, "guidance": s}
        own = step(x, output, NOISY, seed=3, t=7, clip=1.0, **rest)
        wide = {k: np.float64(v) for k, v in rest.items()}
        x64, o64 = x.astype(np.float64), output.astype(np.float64)
        truth = ops.step.definition(x64, o64, NOISY, seed=3, t=7, clip=1.0, **wide)
        z = normal(3, x.shape, step=7, stream="noise").astype(np.float16)
        if s is not None:
            output = guide(output, conditional, s)
        plain = step_mean(x, output, NOISY, 1.0) + NOISY.sigma * z
        assert own.dtype == plain.dtype == np.float16
        allowed = 2 * np.abs(plain - truth).max() + 2**-10
        assert np.abs(own - truth).max() <= min(allowed, 0.02)


def interpreted_laws():
    """Batches, guidance of 0, in place with canaries around, no noise in the last step."""
    import torch

    from kernels.diffusion.twin_triton import diffusion_step, diffusion_step_, pack, step

    x, output, conditional = arrays(5, 23)
    batch = step(x, output, NOISY, seed=3, t=7, first=4)
    one = step(x[2:3], output[2:3], NOISY, seed=3, t=7, first=6)
    np.testing.assert_array_equal(batch[2:3], one)
    junk = np.full_like(conditional, np.nan)
    free = step(x, output, NOISY, seed=3, t=7, first=4, conditional=junk, guidance=0.0)
    np.testing.assert_array_equal(batch, free)
    assert np.abs(batch - step(x, output, NOISY, seed=3, t=8, first=4)).max() > 0.1
    still = step(x, output, STILL, seed=3, t=7)
    np.testing.assert_array_equal(still, step(x, output, STILL, seed=4, t=8, first=9))

    buffer = torch.full((5 * 23 + 64,), 77.0)
    inside = buffer[32:-32].view(5, 23)
    inside.copy_(torch.from_numpy(x))
    rest = torch.from_numpy(output), None, pack(NOISY, device="cpu"), torch.tensor([3, 7]), 4
    np.testing.assert_array_equal(diffusion_step(inside, *rest), batch)
    diffusion_step_(inside, *rest)
    np.testing.assert_array_equal(inside, batch)
    assert (buffer[:32] == 77).all()
    assert (buffer[-32:] == 77).all()


def interpreted_registration():
    import torch

    from kernels.diffusion.twin_triton import diffusion_step, diffusion_step_, pack

    x, output, conditional = (torch.from_numpy(v) for v in arrays(2, 5))
    rest = pack(NOISY, guidance=2.0, device="cpu"), torch.tensor([3, 7]), 0
    for op in (diffusion_step, diffusion_step_):
        torch.library.opcheck(op, (x.clone(), output, conditional, *rest))
    compiled = torch.compile(lambda x: diffusion_step(x, output, None, *rest), backend="aot_eager")
    torch.testing.assert_close(compiled(x), diffusion_step(x, output, None, *rest))


def interpreted_errors():
    import torch

    from kernels.diffusion.twin_triton import step

    x = np.zeros((2, 3), np.float32)
    for change, message in (
        ({"output": np.zeros((2, 4), np.float32)}, "output must .*got torch.float32 .2, 4."),
        ({"conditional": np.zeros((2, 3))}, "conditional must be .* array, got float64"),
        ({"x_t": np.zeros((2, 3), ">f4")}, "x_t must be a float16 or float32 array, got >f4"),
        ({"coefficients": NOISY[:4]}, "coefficients must be five finite numbers"),
        ({"seed": -1}, "seed must be"),
        ({"first": -1}, "first must be"),
        ({"x_t": torch.zeros(2, 3, dtype=torch.int32)}, "x_t must .*got torch.int32"),
    ):
        call = {"x_t": x, "output": x, "coefficients": NOISY, "seed": 0, "t": 1, **change}
        if isinstance(call["x_t"], torch.Tensor):
            call["output"] = torch.from_numpy(x)
        with pytest.raises(InputError, match=message):
            step(**call)


if __name__ == "__main__":
    interpreted_calls()
    interpreted_layouts()
    interpreted_float16()
    interpreted_laws()
    interpreted_registration()
    interpreted_errors()
