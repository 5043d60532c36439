"""The row of `OPS` that decodes a token (MISSION rows F9, K3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.calls import Arguments
from kernels.decoding.draws import FLOATS, KINDS, Dims, controls, uniforms, without_controls
from kernels.table import Op
from reference.operations.decoding import decode, weights


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Logits of any size, many of them equal and some −∞."""
    n, V = dims["n"], dims["V"]
    z = rng.normal(size=(n, V)) * 3.0 ** dims["size"]
    z = z.round() if rng.random() < 0.8 else z
    z[rng.random((n, V)) < 0.1] = -np.inf
    z[:, -1] = np.where(np.isneginf(z).all(axis=1), 0, z[:, -1])
    z[:, rng.integers(V)] = z.max(axis=1)
    u = uniforms(rng, dtype, n, 1)[:, 0]
    return {"logits": z.astype(dtype), "u": u, **controls(rng, V, dims["controls"])}


def _kept(arguments: Arguments, tokens: Any) -> None:
    """A token that is not kept is never drawn."""
    how = {k: v for k, v in arguments.items() if k not in ("logits", "u")}
    w = weights(arguments["logits"], **how)
    assert (np.take_along_axis(w, tokens[:, None], axis=1) > 0).all()


# Twins with a planted fault


def _inverted(w: Any, u: Any) -> Any:
    tail = np.cumsum(w[:, ::-1], axis=1)[:, ::-1]
    return np.sum(u[:, None] * tail[:, :1] < tail[:, 1:], axis=1)


def from_the_first(logits: Any, u: Any, **how: Any) -> Any:
    """The distribution function summed from the first token on."""
    total = np.cumsum(weights(logits, **how), axis=1)
    return np.sum(total[:, :-1] <= u[:, None] * total[:, -1:], axis=1)


def breaks_ties(logits: Any, u: Any, *, top_k: int | None = None, **how: Any) -> Any:
    """Keeps k tokens, and no more that are as likely as the last of them."""
    if top_k is None or how.get("temperature") == 0:
        return decode(logits, u, top_k=top_k, **how)
    order = np.argsort(-logits, axis=1, kind="stable")
    fewer = logits.copy()
    np.put_along_axis(fewer, order[:, top_k:], -np.inf, axis=1)
    return decode(fewer, u, **how)


def nucleus_less_one(logits: Any, u: Any, **how: Any) -> Any:
    """The nucleus less its last token."""
    w = weights(logits, **how)
    if how.get("top_p") is not None:
        positive = np.where(w > 0, w, np.inf)
        several = (w > 0).sum(axis=1, keepdims=True) > 1
        w[(w == positive.min(axis=1, keepdims=True)) & several & (w < 1)] = 0
    return _inverted(w, u)


def too_hot(logits: Any, u: Any, *, temperature: float = 1.0, **how: Any) -> Any:
    """The temperature twice as high."""
    return decode(logits, u, temperature=2 * temperature, **how)


def last_of_equals(logits: Any, u: Any, **how: Any) -> Any:
    """Greedy takes the last of the largest."""
    if how.get("temperature") == 0:
        return logits.shape[1] - 1 - np.argmax(logits[:, ::-1], axis=1)
    return decode(logits, u, **how)


# Peers


def torch_decode(logits: Any, u: Any, **how: Any) -> Any:
    """As many draws from the softmax (with other random numbers)."""
    import torch

    if how:
        raise NotImplementedError("torch has no controls")
    with torch.inference_mode():
        p = torch.softmax(torch.from_numpy(logits), dim=-1)
        return torch.multinomial(p, 1)[:, 0].numpy()


ROWS = [
    Op(
        name="decode",
        mission=("F9", "K3"),
        definition="reference.operations.decoding:decode",
        twins={"numba": "kernels.decoding.decode_numba:decode"},
        make=_make,
        dims={"n": (0, 80), "V": (1, 20), "size": (0, 2), "controls": (0, KINDS)},
        dtypes=FLOATS,
        entries=("logits", "u"),
        floor={},
        cap={"float32": 0.0, "float64": 0.0},
        laws=(_kept,),
        wrong={
            "from the first": from_the_first,
            "breaks ties": breaks_ties,
            "nucleus less one": nucleus_less_one,
            "too hot": too_hot,
            "last of equals": last_of_equals,
            "without controls": without_controls(decode),
        },
        bench={
            "64 × 256": ({"n": 64, "V": 256, "size": 0, "controls": 0}, "float32"),
            "64 × 256, all controls": ({"n": 64, "V": 256, "size": 0, "controls": 10}, "float32"),
            "4 × 50 257, top-p": ({"n": 4, "V": 50257, "size": 0, "controls": 4}, "float32"),
        },
        peers={"torch": torch_decode},
    ),
]
