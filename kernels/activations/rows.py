"""The rows of `OPS` of activations, both ways (MISSION row K1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.activations import gelu, relu, silu
from core.functional import sigmoid
from kernels.calls import Arguments
from kernels.layouts import normal
from kernels.table import Op

Dims = Mapping[str, int]


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """From near 0 to far beyond where the function is straight, with a NaN now and then."""
    x = normal(rng, dtype, dims["n"], dims["m"], scale=2.0 ** dims["size"])
    if x.size and dims["odd"]:
        x[0, 0] = math.nan
    return {"x": x}


def _make_backward(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    return {**_make(rng, dims, dtype), "g": normal(rng, dtype, dims["n"], dims["m"])}


# Twins with a planted fault


def magnitude(x: Any) -> Any:
    """|x|."""
    return np.abs(x)


def leaks(x: Any) -> Any:
    """A hundredth of what is below 0, as a leaky one."""
    return np.maximum(x, x * x.dtype.type(0.01))


def leaks_back(x: Any, g: Any) -> tuple[Any]:
    """Its slope."""
    return (g * np.where(x > 0, x.dtype.type(1), x.dtype.type(0.01)),)


def by_g(x: Any, g: Any) -> tuple[Any]:
    """On the side where g is, not x."""
    return (g * (g > 0),)


def by_tanh(x: Any) -> Any:
    """GELU's approximation: ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def by_sigmoid(x: Any) -> Any:
    """GELU's other approximation."""
    return x * sigmoid(1.702 * x)


def no_bell(x: Any, g: Any) -> tuple[Any]:
    """Φ(x) without x φ(x)."""
    return (g * np.where(x == 0, x.dtype.type(0.5), gelu(x) / x),)


def no_slope(x: Any, g: Any) -> tuple[Any]:
    """σ(x) without its own derivative."""
    return (g * sigmoid(x),)


def no_g(of: Any) -> Callable[..., Any]:
    """The slope itself."""
    return lambda x, g: of.backward.definition(x, np.ones_like(g))


def zero_for_nan(of: Any) -> Callable[..., Any]:
    """0 where the input is NaN, as a careless maximum has it."""
    return lambda x: np.nan_to_num(of(x))


# Peers


def _torch(name: str) -> Callable[..., Any]:
    def run(x: Any) -> Any:
        import torch

        return getattr(torch.nn.functional, name)(torch.from_numpy(x)).numpy()

    return run


def _torch_backward(name: str) -> Callable[..., Any]:
    """Forward and backward."""

    def run(x: Any, g: Any) -> tuple[Any]:
        import torch

        leaf = torch.from_numpy(x).requires_grad_()
        z = getattr(torch.nn.functional, name)(leaf)
        return (torch.autograd.grad(z, leaf, torch.from_numpy(g))[0].numpy(),)

    return run


_HERE = "kernels.activations.twin_numba"
_ALL: dict[str, Any] = {
    "mission": ("K1",),
    "dims": {"n": (0, 40), "m": (0, 70), "size": (0, 7), "odd": (0, 1)},
    "bench": {"768 × 512, float32": ({"n": 768, "m": 512, "size": 0, "odd": 0}, "float32")},
}

ROWS = [
    Op(
        name="relu",
        definition="core.activations:relu",
        twins={"numba": f"{_HERE}:relu"},
        make=_make,
        floor={},
        cap={"float32": 1e-07, "float64": 1e-16},
        wrong={"magnitude": magnitude, "leaky": leaks, "0 for NaN": zero_for_nan(relu)},
        peers={"torch": _torch("relu")},
        **_ALL,
    ),
    Op(
        name="relu_backward",
        definition="core.activations:relu.backward",
        twins={"numba": f"{_HERE}:relu_backward"},
        make=_make_backward,
        floor={},
        cap={"float32": 1e-07, "float64": 1e-16},
        wrong={"leaky": leaks_back, "g's side": by_g, "without g": no_g(relu)},
        peers={"torch, both ways": _torch_backward("relu")},
        **_ALL,
    ),
    Op(
        name="gelu",
        definition="core.activations:gelu",
        twins={"numba": f"{_HERE}:gelu"},
        make=_make,
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 3e-07, "float64": 5e-16},
        wrong={"tanh": by_tanh, "sigmoid": by_sigmoid, "0 for NaN": zero_for_nan(gelu)},
        peers={"torch": _torch("gelu")},
        **_ALL,
    ),
    Op(
        name="gelu_backward",
        definition="core.activations:gelu.backward",
        twins={"numba": f"{_HERE}:gelu_backward"},
        make=_make_backward,
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 3e-07, "float64": 7e-16},
        wrong={"without the bell": no_bell, "without g": no_g(gelu)},
        peers={"torch, both ways": _torch_backward("gelu")},
        **_ALL,
    ),
    Op(
        name="silu",
        definition="core.activations:silu",
        twins={"numba": f"{_HERE}:silu"},
        make=_make,
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 3e-07, "float64": 5e-16},
        wrong={"sigmoid of 1.7 x": by_sigmoid, "0 for NaN": zero_for_nan(silu)},
        peers={"torch": _torch("silu")},
        **_ALL,
    ),
    Op(
        name="silu_backward",
        definition="core.activations:silu.backward",
        twins={"numba": f"{_HERE}:silu_backward"},
        make=_make_backward,
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 2e-06, "float64": 6e-16},
        wrong={"without its slope": no_slope, "without g": no_g(silu)},
        peers={"torch, both ways": _torch_backward("silu")},
        **_ALL,
    ),
]
