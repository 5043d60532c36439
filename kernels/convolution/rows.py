"""The rows of `OPS` of sums over windows of images, behind convolutions (MISSION row K1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.columns import Window
from kernels.calls import Arguments
from kernels.layouts import normal
from kernels.table import Op

Dims = Mapping[str, int]


def _both(rng: np.random.Generator, dims: Dims, name: str) -> tuple[int, int]:
    """Of rows; of columns the same, or any less."""
    n = dims[name]
    return n, n if dims["square"] else int(rng.integers(min(n, 1), n + 1))


def _window(rng: np.random.Generator, dims: Dims) -> Window:
    """Any: it may reach beyond the image on every side, or not reach it at all."""
    names = ("kernel", "stride", "dilation", "padding", "pixels")
    kernel, stride, dilation, (low, left), size = (_both(rng, dims, name) for name in names)
    return Window(kernel, stride, dilation, (-low, -left), size)


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Output channels in whole vectors, and a few more; images of any size."""
    window, g = _window(rng, dims), dims["groups"]
    o = 8 * dims["eights"] + dims["more"]
    x = normal(rng, dtype, dims["n"], g * dims["c"], *_both(rng, dims, "image"))
    taps = normal(rng, dtype, g, window.kernel[0] * window.kernel[1], dims["c"], o)
    return {"x": x, "taps": taps, "window": window}


def _make_taps(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    made = _make(rng, dims, dtype)
    window, o = made["window"], dims["groups"] * made["taps"].shape[3]
    y = normal(rng, dtype, dims["n"], o, *window.size)
    return {"x": made["x"], "y": y, "groups": dims["groups"], "window": window}


# Twins with a planted fault: every tap's pixels gathered by index, zeros outside


def _met(x: Any, window: Window, fault: str) -> Any:
    """x (B, C, H, W) → what each output meets under each tap: (B, C, H', h, W', w)."""
    inside = np.ones((), bool)
    for axis in (0, 1):
        s, d = window.stride[axis], window.dilation[axis]
        s, d = (1 if fault == "stride 1" else s), (1 if fault == "dilation 1" else d)
        low = window.offset[axis] + (fault == "one pixel further" and axis)
        m, j = np.arange(window.size[axis]), np.arange(window.kernel[axis])
        at = low + s * m[:, None] + d * j
        there = (at >= 0) & (at < x.shape[2 + 2 * axis])
        inside = inside[..., None, None] & there
        x = np.take(x, np.clip(at, 0, x.shape[2 + 2 * axis] - 1), axis=2 + 2 * axis)
    return x if fault == "edges repeated" else np.where(inside, x, x.dtype.type(0))


def correlate_by_hand(fault: str = "") -> Callable[..., Any]:
    """The sum written out; right, but for the fault named."""

    def run(x: Any, taps: Any, window: Window) -> Any:
        (g, _, c, o), (h, v) = taps.shape, window.kernel
        taps = taps[:, ::-1] if fault == "kernels flipped" else taps
        met = _met(x, window, fault)
        met = met.reshape(len(x), g, c, *met.shape[2:])
        met = met[:, ::-1] if fault == "the other group" else met
        y = np.einsum("bgchivj,gijco->bgohv", met, taps.reshape(g, h, v, c, o), dtype=x.dtype)
        return y.reshape(len(x), g * o, *window.size)

    return run


def taps_by_hand(fault: str = "") -> Callable[..., Any]:
    """Its derivative by the taps; right, but for the fault named."""

    def run(x: Any, y: Any, groups: int, window: Window) -> Any:
        b, c, o = len(x), x.shape[1] // groups, y.shape[1] // groups
        met = _met(x, window, fault)
        met, y = met.reshape(b, groups, c, *met.shape[2:]), y.reshape(b, groups, o, *window.size)
        if fault == "forgets the last image":
            met, y = met[:-1], y[:-1]
        taps = np.einsum("bgchivj,bgohv->gijco", met, y, dtype=x.dtype)
        taps = taps.reshape(groups, math.prod(window.kernel), c, o)
        return taps[:, ::-1] if fault == "kernels flipped" else taps

    return run


# Peers


def torch_correlate(x: Any, taps: Any, window: Window) -> Any:
    """torch.nn.functional.conv2d."""
    import torch

    w = torch.from_numpy(_kernels(taps, window))
    y = torch.nn.functional.conv2d(torch.from_numpy(x), w, **_options(window, len(taps)))
    return y.numpy()


def torch_taps(x: Any, y: Any, groups: int, window: Window) -> Any:
    """torch.nn.grad.conv2d_weight."""
    import torch

    c, o = x.shape[1] // groups, y.shape[1]
    how = _options(window, groups)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    w = torch.nn.grad.conv2d_weight(x, (o, c, *window.kernel), y, **how).numpy()
    split = w.reshape(groups, o // groups, c, math.prod(window.kernel))
    return np.ascontiguousarray(split.transpose(0, 3, 2, 1))


def _kernels(taps: Any, window: Window) -> Any:
    g, _, c, o = taps.shape
    return np.ascontiguousarray(taps.transpose(0, 3, 2, 1)).reshape(g * o, c, *window.kernel)


def _options(window: Window, groups: int) -> dict[str, Any]:
    padding = tuple(-low for low in window.offset)
    stride, dilation = window.stride, window.dilation
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


_HERE = "kernels.convolution.twin_numba"
_FAULTS = ("kernels flipped", "stride 1", "dilation 1", "one pixel further", "edges repeated")
_LAYER = {
    "n": 32, "groups": 1, "c": 64, "eights": 8, "more": 0, "kernel": 3, "stride": 1, "dilation": 1,
    "padding": 1, "pixels": 14, "image": 14, "square": 1,
}  # fmt: skip
_ALL: dict[str, Any] = {
    "mission": ("K1",),
    "dims": {
        "n": (0, 3), "groups": (1, 2), "c": (0, 40), "eights": (0, 9), "more": (0, 1),
        "kernel": (1, 4), "stride": (1, 3), "dilation": (1, 3), "padding": (0, 3), "pixels": (1, 9),
        "image": (1, 12), "square": (0, 1),
    },
    "flops": lambda d: 2.0 * d["n"] * d["groups"] * d["c"] * (8 * d["eights"] + d["more"])
    * d["kernel"] ** 2 * d["pixels"] ** 2,
    "bench": {"32 × 64 × 14 × 14, 3 × 3, float32": (_LAYER, "float32")},
}  # fmt: skip

ROWS = [
    Op(
        name="correlate",
        definition="core.columns:correlate",
        twins={"numba": f"{_HERE}:correlate"},
        make=_make,
        entries=("x",),
        floor={"float32": 3e-07, "float64": 1e-15},
        cap={"float32": 2e-06, "float64": 2e-15},
        wrong={fault: correlate_by_hand(fault) for fault in (*_FAULTS, "the other group")},
        peers={"torch": torch_correlate},
        **_ALL,
    ),
    Op(
        name="correlate_taps",
        definition="core.columns:correlate_taps",
        twins={"numba": f"{_HERE}:correlate_taps"},
        make=_make_taps,
        entries=("x", "y"),
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 4e-06, "float64": 2e-15},  # a layer's sums have thousands of terms
        wrong={fault: taps_by_hand(fault) for fault in (*_FAULTS, "forgets the last image")},
        peers={"torch": torch_taps},
        **_ALL,
    ),
]
