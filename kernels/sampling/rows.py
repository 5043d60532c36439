"""The rows of `OPS` that draw one variable after another, and single values (MISSION row K3).

Two correct implementations add in different orders, and may part where u lies within rounding of
p. In float64 that does not happen, and tokens must be equal. In float32 the definition is run on
the twin's own tokens (teacher forcing): each token must be what its p and the same u make it, or u
lie within τ = 64 eps of p, at most once in a call. That law judges; cap and floor let it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from core.functional import sigmoid
from kernels.calls import Arguments
from kernels.sampling import image_rows, markov_rows
from kernels.table import Op
from reference.autoregressive.fvsbn import fvsbn_sample
from reference.autoregressive.made import made_logits, made_sample
from reference.autoregressive.nade import nade_sample
from reference.counting.homogeneous_chain import chain_sample
from reference.operations.alias import alias_draw, alias_table

Dims = Mapping[str, int]
Twin = Callable[..., Any]


def _uniforms(rng: np.random.Generator, dims: Dims, dtype: Any) -> Any:
    u = rng.random((dims["n"], dims["D"]), dtype)
    return u if rng.random() < 0.5 else np.asfortranarray(u)


def _weights(rng: np.random.Generator, dtype: str, *shape: int) -> Any:
    """Activations of size 1, as in a trained model."""
    return (rng.normal(size=shape) * (2 / shape[0] ** 0.5)).astype(dtype)


def _order(rng: np.random.Generator, D: int) -> Any:
    return rng.permutation(D) if rng.random() < 0.7 else np.arange(D)


def _make_nade(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    D, H = dims["D"], dims["H"]
    return {
        "u": _uniforms(rng, dims, dtype),
        "W": _weights(rng, dtype, D, H),
        "V": _weights(rng, dtype, D, H),
        "b": _weights(rng, dtype, D),
        "c": _weights(rng, dtype, H),
        "order": _order(rng, D),
    }


def _make_fvsbn(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    D = dims["D"]
    W, b = _weights(rng, dtype, D, D), _weights(rng, dtype, D)
    return {"u": _uniforms(rng, dims, dtype), "W": W, "b": b, "order": _order(rng, D)}


def _make_made(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Random degrees, some of them 0 or of units without an input of that degree."""
    D, order = dims["D"], _order(rng, dims["D"])
    place = 1 + np.argsort(order)
    m = [place, *(rng.integers(0, D, dims["H"] + i) for i in range(dims["L"])), place - 1]
    layers = []
    for below, above in pairwise(m):
        W = _weights(rng, dtype, len(below), len(above)) * (below[:, None] <= above)
        layers.append((W.astype(dtype), _weights(rng, dtype, len(above))))
    return {"u": _uniforms(rng, dims, dtype), "layers": layers, "order": order}


def _make_chain(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    K = dims["K"]
    p = rng.random((K + 1, K)) ** 4 * (rng.random((K + 1, K)) < 0.7) + 1e-12
    p = (p / p.sum(axis=1, keepdims=True)).astype(dtype)
    return {"u": _uniforms(rng, dims, dtype), "first": p[0], "transitions": p[1:]}


def _make_alias(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    p = rng.random(dims["K"]) ** 4 * (rng.random(dims["K"]) < 0.7) + 1e-12
    threshold, other = alias_table(p / p.sum())
    u = _uniforms(rng, {**dims, "D": 2}, dtype)
    return {"u": u, "threshold": threshold, "other": other}


# The definitions' conditionals on given bits


def nade_probabilities(x: Any, W: Any, V: Any, b: Any, c: Any, order: Any) -> Any:
    """p(x_i = 1 | x_<i) for given x, like x."""
    p, a = np.empty_like(x), np.tile(c, (len(x), 1))
    for d, i in enumerate(order):
        p[:, i] = sigmoid(b[d] + sigmoid(a) @ V[d])
        a += x[:, i : i + 1] * W[d]
    return p


def fvsbn_probabilities(x: Any, W: Any, b: Any, order: Any) -> Any:
    """p(x_i = 1 | x_<i) for given x, like x."""
    place = np.argsort(order)
    return sigmoid(x @ (W * (place < place[:, None])).T + b)


def made_probabilities(x: Any, layers: Any, order: Any) -> Any:
    """p(x_i = 1 | x_<i) for given x, like x."""
    return sigmoid(made_logits(x, layers))


def ties(x: Any, u: Any, p: Any) -> int:
    """How many tokens differ from [u < p], all with u within 64 eps of p; AssertionError if not."""
    differ = x != (u < p)
    off = np.abs(u - p)[differ].max(initial=0)
    assert off < 64 * np.finfo(u.dtype).eps, f"a token is wrong: u and p differ by {off:.3g}"
    return int(differ.sum())


def _judged(probabilities: Twin) -> Callable[[Arguments, Any], None]:
    def tokens_are_what_u_and_p_make_them(arguments: Arguments, x: Any) -> None:
        rest = {k: v for k, v in arguments.items() if k != "u"}
        assert ((x == 0) | (x == 1)).all(), "a token is neither 0 nor 1"
        assert ties(x, arguments["u"], probabilities(x, **rest)) <= 1

    return tokens_are_what_u_and_p_make_them


# Twins with a planted fault


def _raster(sample: Twin) -> Twin:
    """Draws 0, 1, 2, … whatever the order."""
    return lambda order, **rest: sample(order=np.sort(order), **rest)


def _reused(sample: Twin) -> Twin:
    """The first sample's uniforms for all."""
    return lambda u, **rest: sample(u=np.tile(u[:1], (len(u), 1)), **rest)


def updates_before_predicting(u: Any, W: Any, V: Any, b: Any, c: Any, order: Any) -> Any:
    """Adds W's row of the variable that is being predicted, not of the last one that is known."""
    return nade_sample(u, np.concatenate([W[1:], W[:1]]), V, b, c, order)


def lags_behind(u: Any, W: Any, V: Any, b: Any, c: Any, order: Any) -> Any:
    """Predicts before the newest bit is added."""
    x, a, late = np.zeros_like(u), np.tile(c, (len(u), 1)), 0
    for d, i in enumerate(order):
        x[:, i] = u[:, i] < sigmoid(b[d] + sigmoid(a) @ V[d])
        a = a + late
        late = x[:, i : i + 1] * W[d]
    return x


def units_too_early(u: Any, layers: Any, order: Any) -> Any:
    """Computes hidden units before their last input is known."""
    (W, b), *rest = layers
    W = W.copy()
    for k in range(W.shape[1]):
        inputs = [i for i in order if W[i, k] != 0]
        W[inputs[-1:], k] *= -1
    return made_sample(u, [(W, b), *rest], order)


def column_for_row(u: Any, first: Any, transitions: Any) -> Any:
    """Reads transitions as x_j → x_{j−1}."""
    return chain_sample(u, first, transitions.T)


def forgets(u: Any, first: Any, transitions: Any) -> Any:
    """Every value from the first one's distribution."""
    return chain_sample(u, first, np.tile(first, (len(first), 1)))


def never_the_other(u: Any, threshold: Any, other: Any) -> Any:
    """Uniform over the columns."""
    return alias_draw(u, threshold, np.arange(len(other)))


def one_uniform(u: Any, threshold: Any, other: Any) -> Any:
    """The column's uniform as the height as well."""
    return alias_draw(u[:, [0, 0]], threshold, other)


# Peers


def torch_nade(u: Any, W: Any, V: Any, b: Any, c: Any, order: Any) -> Any:
    """The loop in torch."""
    import torch

    args = (torch.from_numpy(np.ascontiguousarray(v)) for v in (u, W, V, b, c))
    with torch.inference_mode():
        t_u, t_W, t_V, t_b, t_c = args
        x, a = torch.zeros_like(t_u), t_c.repeat(len(t_u), 1)
        for d, i in enumerate(order):
            x[:, i] = (t_u[:, i] < torch.sigmoid(t_b[d] + torch.sigmoid(a) @ t_V[d])).to(x.dtype)
            a += x[:, i : i + 1] * t_W[d]
    return x.numpy()


def numpy_choice(u: Any, threshold: Any, other: Any) -> Any:
    """As many draws from the same distribution, by binary search (with other random numbers)."""
    K = len(threshold)
    p = np.bincount(other, 1 - threshold, K) + threshold
    return np.random.default_rng(0).choice(K, len(u), p=p / p.sum())


_FLOATS = ("float32", "float64")
_TOKENS: dict[str, Any] = {
    "mission": ("K3",),
    "dtypes": _FLOATS,
    "entries": ("u",),
    "floor": {"float32": 1.0, "float64": 0.0},
    "cap": {"float32": 1.0, "float64": 0.0},
}
_MNIST = {"D": 784, "H": 500, "L": 2}

ROWS = [
    Op(
        name="nade_sample",
        definition="reference.autoregressive.nade:nade_sample",
        twins={"numba": "kernels.sampling.twin_numba:nade_sample"},
        make=_make_nade,
        dims={"n": (0, 20), "D": (1, 12), "H": (1, 20)},
        laws=(_judged(nade_probabilities),),
        wrong={
            "updates before predicting": updates_before_predicting,
            "lags behind": lags_behind,
            "raster order": _raster(nade_sample),
            "uniforms reused": _reused(nade_sample),
        },
        bench={
            "NADE 784/500, one stream": ({"n": 1, **_MNIST}, "float32"),
            "NADE 784/500, 96 at once": ({"n": 96, **_MNIST}, "float32"),
        },
        peers={"torch": torch_nade},
        **_TOKENS,
    ),
    Op(
        name="made_sample",
        definition="reference.autoregressive.made:made_sample",
        twins={"numba": "kernels.sampling.twin_numba:made_sample"},
        make=_make_made,
        dims={"n": (0, 20), "D": (1, 12), "H": (1, 20), "L": (0, 3)},
        laws=(_judged(made_probabilities),),
        wrong={
            "units too early": units_too_early,
            "raster order": _raster(made_sample),
            "uniforms reused": _reused(made_sample),
        },
        bench={
            "MADE 784-500-500, one stream, plan included": ({"n": 1, **_MNIST}, "float32"),
            "MADE 784-500-500, 64 at once, plan included": ({"n": 64, **_MNIST}, "float32"),
        },
        **_TOKENS,
    ),
    Op(
        name="fvsbn_sample",
        definition="reference.autoregressive.fvsbn:fvsbn_sample",
        twins={"numba": "kernels.sampling.twin_numba:fvsbn_sample"},
        make=_make_fvsbn,
        dims={"n": (0, 20), "D": (1, 20)},
        laws=(_judged(fvsbn_probabilities),),
        wrong={
            "raster order": _raster(fvsbn_sample),
            "uniforms reused": _reused(fvsbn_sample),
        },
        bench={"FVSBN 784, 96 at once": ({"n": 96, **_MNIST}, "float32")},
        **_TOKENS,
    ),
    Op(
        name="chain_sample",
        definition="reference.counting.homogeneous_chain:chain_sample",
        twins={"numba": "kernels.sampling.twin_numba:chain_sample"},
        make=_make_chain,
        dims={"n": (0, 30), "D": (0, 12), "K": (1, 30)},
        wrong={"column for row": column_for_row, "forgets": forgets},
        bench={"bigrams, 100 levels, 256 × 256": ({"n": 256, "D": 256, "K": 100}, "float64")},
        **_TOKENS,
    ),
    Op(
        name="alias_draw",
        definition="reference.operations.alias:alias_draw",
        twins={"numba": "kernels.sampling.twin_numba:alias_draw"},
        make=_make_alias,
        dims={"n": (0, 300), "K": (1, 60)},
        wrong={"never the other": never_the_other, "one uniform": one_uniform},
        bench={"10⁶ of 1000": ({"n": 1_000_000, "K": 1000}, "float64")},
        peers={"numpy choice": numpy_choice},
        **_TOKENS,
    ),
    *image_rows.ROWS,
    *markov_rows.ROWS,
]
