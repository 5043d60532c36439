"""The row of `OPS` that draws texts from recurrent networks (MISSION row K3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import no_grad, value
from core.random import Generator
from kernels.calls import Arguments
from kernels.decoding.draws import (
    FLOATS,
    KINDS,
    Dims,
    controls,
    given,
    late,
    one_for_all,
    uniforms,
    without_controls,
)
from kernels.decoding.ties import tau, ties
from kernels.layouts import normal
from kernels.table import Op
from reference.autoregressive.rnn import next_logits, packed, rnn_sample
from reference.layers import GRUCell, LSTMCell, RNNCell

_CELLS: tuple[Any, ...] = (RNNCell, GRUCell, LSTMCell)


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Networks that forget, so that rounding does not grow, and a state to go on from."""
    n, t, T, H, V = (dims[k] for k in ("n", "t", "T", "H", "V"))
    source = Generator(int(rng.integers(2**31)), stream="init")
    n_in = H + dims["wider"]
    shapes = [(n_in, H)] + [(H, H)] * (dims["layers"] - 1)
    cells = [_CELLS[dims["cell"]](*s, source, gain=0.7, dtype=dtype) for s in shapes]
    for cell in cells:
        value(cell.b)[...] += normal(rng, dtype, cell.b.size, scale=0.3)
    states = [cell.start(n) for cell in cells]
    state = packed(states)
    return {
        "u": uniforms(rng, dtype, n, T),
        "x": rng.integers(0, V + 1, (n, t)),
        "state": (state + 0.5 * rng.normal(size=state.shape)).astype(dtype),
        "E": normal(rng, dtype, V + 1, n_in),
        "cells": cells,
        "V": normal(rng, dtype, H, V, scale=2 / H**0.5),
        "c": normal(rng, dtype, V),
        **controls(rng, V, dims["controls"]),
    }


def _followed(arguments: Arguments, result: Any) -> None:
    """Given the tokens before it, each is the definition's, but for one tie; so is the state."""
    (drawn, state), u = result, arguments["u"]
    E, cells, V, c = (arguments[k] for k in ("E", "cells", "V", "c"))
    x, own, logits = arguments["x"], arguments["state"], []
    with no_grad():
        for t in range(u.shape[1]):
            z, own = next_logits(x, own, E, cells, V, c)
            x = drawn[:, t : t + 1]
            logits.append(value(z))
    if logits:
        assert ties(drawn, np.stack(logits, axis=1), u, **given(arguments)) <= 1
    off = np.abs(state - value(own)).max(initial=0.0)
    limit = tau(u.dtype) * max(1.0, np.abs(state).max(initial=0.0))
    assert off < limit, f"the state is off by {off:.3g}"


# Twins with a planted fault


def reads_the_last_only(u: Any, x: Any, **rest: Any) -> Any:
    """Of the prompt."""
    return rnn_sample(u, x[:, -1:], **rest)


def begins_anew(u: Any, x: Any, state: Any, **rest: Any) -> Any:
    """From a state of zeros."""
    return rnn_sample(u, x, np.zeros_like(state), **rest)


def forgets(u: Any, x: Any, state: Any, **rest: Any) -> Any:
    """Begins anew at every token."""
    drawn, last = np.zeros(u.shape, np.int64), state
    for t in range(u.shape[1]):
        own, last = rnn_sample(u[:, t : t + 1], x, state, **rest)
        drawn[:, t : t + 1] = x = own
    return drawn, last


def reads_one_too_many(u: Any, x: Any, state: Any, **rest: Any) -> Any:
    """The state has seen the last token as well."""
    drawn, state = rnn_sample(u, x, state, **rest)
    if not u.shape[1]:
        return drawn, state
    return drawn, rnn_sample(u[:, :1], drawn[:, -1:], state, **rest)[1]


def layers_swapped(
    u: Any, x: Any, state: Any, E: Any, cells: Any, V: Any, c: Any, **how: Any
) -> Any:
    """Each cell's state in the place of another's, or, of one cell, h and c."""
    return rnn_sample(u, x, np.flip(state, (0, 1)), E, cells, V, c, **how)


# Peers


def torch_loop(
    u: Any, x: Any, state: Any, E: Any, cells: list[Any], V: Any, c: Any, **controls: Any
) -> Any:
    """The loop in torch's cells, eager, as one would write it; its tokens are random as well."""
    if len(cells) > 1 or controls or x.shape[1] > 1:
        raise NotImplementedError("torch_loop is one layer's, with no controls and no prompt")
    import torch
    from torch.nn import functional as F

    with torch.inference_mode():
        table, W, b = (torch.from_numpy(np.ascontiguousarray(a)) for a in (E, V.T, c))
        cell, h = _torch_cell(cells[0]), [torch.from_numpy(s.copy()) for s in state[0]]
        token, drawn = torch.from_numpy(x[:, 0]), []
        for _ in range(u.shape[1]):
            after = cell(F.embedding(token, table), tuple(h) if len(h) > 1 else h[0])
            h = list(after) if len(h) > 1 else [after]
            p = torch.softmax(F.linear(h[0], W, b), dim=-1)
            token = torch.multinomial(p, 1)[:, 0]
            drawn.append(token)
        return torch.stack(drawn, dim=1).numpy(), torch.stack(h)[None].numpy()


def _torch_cell(cell: Any) -> Any:
    """A cell of torch's with the same weights."""
    import torch

    kinds = {RNNCell: torch.nn.RNNCell, GRUCell: torch.nn.GRUCell, LSTMCell: torch.nn.LSTMCell}
    other = kinds[type(cell)](cell.n_in, cell.n_out)
    with torch.no_grad():
        other.weight_ih.copy_(torch.from_numpy(value(cell.W).T))
        other.weight_hh.copy_(torch.from_numpy(value(cell.U).T))
        other.bias_ih.copy_(torch.from_numpy(value(cell.b)))
        other.bias_hh.zero_()
        if isinstance(cell, GRUCell):
            other.bias_hh[2 * cell.n_out :] = torch.from_numpy(value(cell.c_n))
    return other


def _bench(cell: int, H: int, n: int, T: int) -> tuple[Dims, str]:
    dims = {"n": n, "t": 1, "T": T, "H": H, "wider": 0, "layers": 1, "V": 65, "cell": cell}
    return {**dims, "controls": 0}, "float32"


ROWS = [
    Op(
        name="rnn_sample",
        mission=("K3", "A5"),
        definition="reference.autoregressive.rnn:rnn_sample",
        twins={"numba": "kernels.decoding.recurrent_numba:rnn_sample"},
        make=_make,
        dims={
            "n": (0, 6),
            "t": (1, 4),
            "T": (0, 8),
            "H": (1, 20),
            "wider": (0, 3),
            "layers": (1, 2),
            "V": (1, 12),
            "cell": (0, 2),
            "controls": (0, KINDS),
        },
        dtypes=FLOATS,
        floor={"float32": 4.0, "float64": 1e-13},
        cap={"float32": 4.0, "float64": 1e-12},
        exact=("float64",),
        laws=(_followed,),
        wrong={
            "reads the last only": reads_the_last_only,
            "begins anew": begins_anew,
            "forgets": forgets,
            "reads one too many": reads_one_too_many,
            "layers swapped": layers_swapped,
            "without controls": without_controls(rnn_sample),
            "one for all": one_for_all(rnn_sample),
            "late": late(rnn_sample),
        },
        bench={
            "LSTM 128, 1000 tokens, one stream": _bench(2, 128, 1, 1000),
            "LSTM 256, 1000 tokens, one stream": _bench(2, 256, 1, 1000),
            "LSTM 256, 100 tokens, 64 at once": _bench(2, 256, 64, 100),
            "GRU 128, 1000 tokens, one stream": _bench(1, 128, 1, 1000),
            "RNN 128, 1000 tokens, one stream": _bench(0, 128, 1, 1000),
        },
        peers={"torch": torch_loop},
    ),
]
