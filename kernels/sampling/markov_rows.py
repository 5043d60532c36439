"""The row of `OPS` that draws from Markov MLPs (MISSION rows A4, K3), judged as images are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from kernels.calls import Arguments
from kernels.sampling.image_rows import token_ties
from kernels.table import Op
from reference.autoregressive.heads import Softmax
from reference.autoregressive.markov_mlp import contexts, markov_mlp, markov_mlp_sample

Dims = Mapping[str, int]
Layers = list[tuple[Any, Any]]


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Activations of size 1, as in a trained model; one network, or one for each variable."""
    n, D, window, levels = dims["n"], dims["D"], dims["window"], dims["levels"] + 1
    N = D if dims["apart"] else 1
    sizes = [2 * window, *[dims["h"]] * dims["hidden"], Softmax(levels).size]
    layers = [
        (
            (rng.normal(size=(N, a, b)) * (4 / a) ** 0.5).astype(dtype),
            rng.normal(size=(N, 1, b)).astype(dtype),
        )
        for a, b in pairwise(sizes)
    ]
    u = (rng.integers(0, 2**24, (n, D)) / 2**24).astype(dtype)
    if rng.random() < 0.5:
        u = np.asfortranarray(u)
    return {"u": u, "layers": layers, "window": window, "levels": levels}


def _followed(arguments: Arguments, x: Any) -> None:
    """Read at once, the numbers make each other what they are, but for one tie."""
    u, levels, window = arguments["u"], arguments["levels"], arguments["window"]
    assert np.isin(x, np.arange(levels)).all(), "a value is none of 0 … levels − 1"
    theta = markov_mlp(contexts(x, window, levels, u.dtype), arguments["layers"]).swapaxes(0, 1)
    head = Softmax(levels)
    p = np.stack([np.exp(head.log_prob(0 * x + k, theta)) for k in range(levels)], axis=-1)
    assert token_ties(x, u, p) <= 1


# Twins with a planted fault


def _with_first(change: Callable[[Any], Any]) -> Callable[..., Any]:
    """The definition, of a first layer that is changed."""

    def run(u: Any, layers: Layers, **rest: Any) -> Any:
        (W, b), *others = layers
        return markov_mlp_sample(u, [(change(W), b), *others], **rest)

    return run


def _keeping(rows: slice) -> Callable[[Any], Any]:
    """These inputs' weights only."""

    def change(W: Any) -> Any:
        kept = np.zeros_like(W)
        kept[:, rows] = W[:, rows]
        return kept

    return change


def oldest_first(W: Any) -> Any:
    """The window the wrong way round."""
    return W.reshape(len(W), -1, 2, W.shape[2])[:, ::-1].reshape(W.shape)


def one_network(u: Any, layers: Layers, **rest: Any) -> Any:
    """The first variable's network for all."""
    return markov_mlp_sample(u, [(W[:1], b[:1]) for W, b in layers], **rest)


def no_bend(u: Any, layers: Layers, **rest: Any) -> Any:
    """The network without its ReLUs: one matrix."""
    (W, b), *others = layers
    for V, a in others:
        W, b = W @ V, b @ V + a
    return markov_mlp_sample(u, [(W, b)], **rest)


def _torch_loop(u: Any, layers: Layers, window: int, levels: int) -> Any:
    """The same loop in torch, eager, from the same uniforms."""
    import torch
    from torch.nn.functional import relu

    n, D = u.shape
    with torch.inference_mode():
        weights = [tuple(torch.from_numpy(a) for a in layer) for layer in layers]
        c, at, drawn = torch.zeros((n, 2 * window), dtype=weights[0][0].dtype), u[..., None], []
        for j in range(D):
            h = c
            for i, (W, b) in enumerate(weights):
                h = torch.addmm(b[j % len(b)], h if i == 0 else relu(h), W[j % len(W)])
            p = torch.softmax(h.double(), 1) if levels > 2 else h.double().sigmoid()
            tail = p.flip(1).cumsum(1).flip(1)[:, levels > 2 :]  # P(x ≥ k), k ≥ 1
            x = (torch.from_numpy(at[:, j]) < tail).sum(dim=1, keepdim=True)
            drawn.append(x)
            new = torch.cat([x * (2 / (levels - 1)) - 1, torch.ones_like(x)], dim=1).to(c.dtype)
            c = torch.cat([new, c[:, :-2]], dim=1)
        return torch.cat(drawn, dim=1).numpy()


_SEED = {"D": 784, "window": 2, "levels": 255, "h": 128, "hidden": 1, "apart": 0}
"""The pixel example of the lecture notes: two pixels before, a 256-way softmax."""

ROWS = [
    Op(
        name="markov_mlp_sample",
        mission=("K3", "A4"),
        definition="reference.autoregressive.markov_mlp:markov_mlp_sample",
        twins={"numba": "kernels.sampling.markov_numba:markov_mlp_sample"},
        make=_make,
        dims={
            "n": (0, 5),
            "D": (1, 9),
            "window": (1, 4),
            "levels": (1, 5),
            "h": (1, 9),
            "hidden": (0, 2),
            "apart": (0, 1),
        },
        entries=("u",),
        floor={"float32": 300.0, "float64": 0.0},
        cap={"float32": 300.0, "float64": 0.0},
        laws=(_followed,),
        wrong={
            "the latest only": _with_first(_keeping(slice(0, 2))),
            "no beginning": _with_first(_keeping(slice(0, None, 2))),
            "oldest first": _with_first(oldest_first),
            "one network": one_network,
            "no bend": no_bend,
            "uniforms reused": lambda u, **rest: markov_mlp_sample(
                np.tile(u[:1], (len(u), 1)), **rest
            ),
        },
        bench={
            "Markov MLP 784, window 2, 256 levels, one stream": ({**_SEED, "n": 1}, "float32"),
            "Markov MLP 784, window 2, 256 levels, 32 at once": ({**_SEED, "n": 32}, "float32"),
        },
        peers={"torch": _torch_loop},
    ),
]
