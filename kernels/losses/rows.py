"""The rows of `OPS` of losses, both ways (MISSION row K1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.functional import bernoulli_log_prob, cross_entropy, sigmoid
from kernels.calls import Arguments
from kernels.layouts import laid, normal
from kernels.table import Op

Dims = Mapping[str, int]


def _make_cross_entropy(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Logits of any size; some of −∞, a row of nothing else, a NaN, a +∞, where hidden is 1."""
    n, K = dims["n"], dims["K"]
    x = normal(rng, dtype, n, K, scale=2.0 ** dims["size"])
    if dims["hidden"] and n:
        x[rng.random((n, K)) < 0.2] = -math.inf
        x[0] = -math.inf
        x[n // 2, K - 1] = rng.choice([math.nan, math.inf])
    labels = rng.integers(0, K, n).astype(rng.choice(["uint8", "int64"]))
    return {"logits": x, "labels": laid(rng, labels)}


def _make_cross_entropy_backward(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    return {**_make_cross_entropy(rng, dims, dtype), "g": normal(rng, dtype, dims["n"])}


def _make_bernoulli(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """x broadcasts along rows where dims say so, logits along an axis in front."""
    n, m, size = dims["n"], dims["m"], 2.0 ** dims["size"]
    x = laid(rng, (rng.random((1 if dims["shared"] else n, m)) < 0.5).astype(dtype))
    front = (2,) if dims["front"] else ()
    return {"x": x, "logits": normal(rng, dtype, *front, n, m, scale=size)}


def _make_bernoulli_backward(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    arguments = _make_bernoulli(rng, dims, dtype)
    return {**arguments, "g": normal(rng, dtype, *arguments["logits"].shape)}


# Twins with a planted fault


def no_top(logits: Any, labels: Any) -> Any:
    """log Σ e^l without the largest taken out: overflows."""
    own = np.take_along_axis(logits, labels[:, None].astype(int), axis=-1)[:, 0]
    return np.log(np.exp(logits).sum(axis=-1)) - own


def next_label(logits: Any, labels: Any) -> Any:
    """The label after the one that is meant."""
    return cross_entropy(logits, (labels + 1) % logits.shape[-1])


def in_bits(logits: Any, labels: Any) -> Any:
    """Bits for nats."""
    return cross_entropy(logits, labels) / logits.dtype.type(math.log(2))


def no_label(logits: Any, labels: Any, g: Any) -> tuple[Any]:
    """softmax, without the 1 at the label."""
    (dx,) = cross_entropy.backward.definition(logits, g, labels)
    at = np.arange(len(labels)), labels
    dx[at] += g
    return (dx,)


def no_g(logits: Any, labels: Any, g: Any) -> tuple[Any]:
    """As if every g were 1."""
    gradients: tuple[Any] = cross_entropy.backward.definition(logits, np.ones_like(g), labels)
    return gradients


def naive(x: Any, logits: Any) -> Any:
    """log σ taken of σ: −∞ where that rounds to 0 or 1."""
    p = sigmoid(logits)
    return x * np.log(p) + (1 - x) * np.log1p(-p)


def of_ones(x: Any, logits: Any) -> Any:
    """log p(1), whatever x."""
    return bernoulli_log_prob(np.ones_like(x), logits)


def no_target(x: Any, logits: Any, g: Any) -> tuple[Any, Any]:
    """−σ(l) for the derivative by l."""
    dx, _ = bernoulli_log_prob.backward.definition(x, logits, g)
    return dx, -g * sigmoid(logits)


def unsummed(x: Any, logits: Any, g: Any) -> tuple[Any, Any]:
    """The derivative of a shared x by one of its rows only."""
    dx, dl = bernoulli_log_prob.backward.definition(x, logits, g)
    return dx / (g.size / max(x.size, 1)), dl


# Peers


def torch_cross_entropy(logits: Any, labels: Any) -> Any:
    """torch.nn.functional.cross_entropy."""
    import torch

    x, y = torch.from_numpy(logits), torch.from_numpy(labels.astype(np.int64))
    return torch.nn.functional.cross_entropy(x, y, reduction="none").numpy()


def torch_cross_entropy_backward(logits: Any, labels: Any, g: Any) -> tuple[Any]:
    """Forward and backward."""
    import torch

    x, y = torch.from_numpy(logits).requires_grad_(), torch.from_numpy(labels.astype(np.int64))
    z = torch.nn.functional.cross_entropy(x, y, reduction="none")
    return (torch.autograd.grad(z, x, torch.from_numpy(g))[0].numpy(),)


def torch_bernoulli(x: Any, logits: Any) -> Any:
    """torch's binary_cross_entropy_with_logits, its sign turned."""
    import torch

    cost = torch.nn.functional.binary_cross_entropy_with_logits
    return -cost(torch.from_numpy(logits), torch.from_numpy(x), reduction="none").numpy()


_HERE = "kernels.losses.twin_numba"
_CE: dict[str, Any] = {
    "mission": ("K1",),
    "dims": {"n": (0, 60), "K": (1, 70), "size": (0, 8), "hidden": (0, 1)},
    "bench": {"768 × 65, float32": ({"n": 768, "K": 65, "size": 0, "hidden": 0}, "float32")},
}
_BERNOULLI: dict[str, Any] = {
    "mission": ("K1",),
    "dims": {"n": (0, 40), "m": (0, 70), "size": (0, 8), "shared": (0, 1), "front": (0, 1)},
    "bench": {
        "100 × 784, float32": ({"n": 100, "m": 784, "size": 0, "shared": 0, "front": 0}, "float32")
    },
}

ROWS = [
    Op(
        name="cross_entropy",
        definition="core.softmax:cross_entropy",
        twins={"numba": f"{_HERE}:cross_entropy"},
        make=_make_cross_entropy,
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 3e-07, "float64": 5e-16},
        wrong={"overflows": no_top, "next label": next_label, "bits": in_bits},
        peers={"torch": torch_cross_entropy},
        **_CE,
    ),
    Op(
        name="cross_entropy_backward",
        definition="core.softmax:cross_entropy.backward",
        twins={"numba": f"{_HERE}:cross_entropy_backward"},
        make=_make_cross_entropy_backward,
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 3e-07, "float64": 8e-16},
        wrong={"without the label": no_label, "without g": no_g},
        peers={"torch, both ways": torch_cross_entropy_backward},
        **_CE,
    ),
    Op(
        name="bernoulli_log_prob",
        definition="core.functional:bernoulli_log_prob",
        twins={"numba": f"{_HERE}:bernoulli_log_prob"},
        make=_make_bernoulli,
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 3e-07, "float64": 5e-16},
        wrong={"log of σ": naive, "of ones": of_ones},
        peers={"torch": torch_bernoulli},
        **_BERNOULLI,
    ),
    Op(
        name="bernoulli_log_prob_backward",
        definition="core.functional:bernoulli_log_prob.backward",
        twins={"numba": f"{_HERE}:bernoulli_log_prob_backward"},
        make=_make_bernoulli_backward,
        floor={"float32": 3e-07, "float64": 6e-16},
        cap={"float32": 2e-06, "float64": 2e-15},
        wrong={"without x": no_target, "x's unsummed": unsummed},
        **_BERNOULLI,
    ),
]
