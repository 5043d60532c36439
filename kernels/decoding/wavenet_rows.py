"""The row of `OPS` that draws texts and sounds from WaveNets (MISSION row K3)."""

from __future__ import annotations

from typing import Any

import numpy as np

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
from reference.autoregressive.wavenet import read, wavenet_sample
from reference.operations.decoding import one_by_one

_WEIGHTS = ("E", "dilations", "dilated", "skip", "residual", "leave")


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Activations of size 1; any dilations, a state that was read from something."""
    n, t, T, p, V, layers = (dims[k] for k in ("n", "t", "T", "p", "V", "layers"))
    dilations = [2 ** (i % 6) for i in range(layers)]
    if dims["odd"]:
        dilations = [int(d) for d in rng.integers(1, 6, layers)]

    def layer(n_out: int, n_in: int, kernel: int = 1, gain: float = 1) -> list[Any]:
        scale = gain / (n_in * kernel) ** 0.5
        return [normal(rng, dtype, n_out, n_in, kernel, scale=scale), normal(rng, dtype, n_out)]

    return {
        "u": uniforms(rng, dtype, n, T),
        "x": rng.integers(0, V + 1, (n, t)),
        "state": normal(rng, dtype, n, p, sum(dilations)),
        "E": normal(rng, dtype, V + 1, p),
        "dilations": dilations,
        "dilated": [layer(2 * p, p, 2, gain=2) for _ in dilations],
        "skip": [layer(p, p, gain=2) for _ in dilations],
        "residual": [layer(p, p) for _ in dilations[1:]],
        "leave": [layer(p, p, gain=2), layer(V, p, gain=2)],
        **controls(rng, V, dims["controls"]),
    }


def _followed(arguments: Arguments, result: Any) -> None:
    """Read at once, the tokens make each other what they are, but for one tie; so is the state."""
    (drawn, state), u, x = result, arguments["u"], arguments["x"]
    weights = [arguments[name] for name in _WEIGHTS]
    if not u.shape[1]:
        assert (state == arguments["state"]).all(), "nothing was read"
        return
    x = np.concatenate([x, drawn[:, :-1]], axis=1)
    logits, own = read(x, arguments["state"], *weights)
    logits = logits[:, arguments["x"].shape[1] - 1 :]
    assert ties(drawn, logits, u, **given(arguments)) <= 1
    off = np.abs(state - own).max(initial=0.0)
    limit = tau(u.dtype) * max(1.0, np.abs(own).max(initial=0.0))
    assert off < limit, f"the state is off by {off:.3g}"


# Twins with a planted fault


def begins_anew(state: Any, **rest: Any) -> Any:
    """From a state of zeros."""
    return wavenet_sample(state=np.zeros_like(state), **rest)


def forgets(u: Any, x: Any, state: Any, **rest: Any) -> Any:
    """Begins anew at every token."""
    drawn, last = np.zeros(u.shape, np.int64), state
    for t in range(u.shape[1]):
        own, last = wavenet_sample(u[:, t : t + 1], x, state, **rest)
        drawn[:, t : t + 1] = x = own
    return drawn, last


def reads_one_too_many(u: Any, x: Any, state: Any, **rest: Any) -> Any:
    """The state has seen the last token as well."""
    drawn, state = wavenet_sample(u, x, state, **rest)
    if not u.shape[1]:
        return drawn, state
    return drawn, wavenet_sample(u[:, :1], drawn[:, -1:], state, **rest)[1]


def taps_swapped(dilated: Any, **rest: Any) -> Any:
    """The present's weights for the past's."""
    return wavenet_sample(dilated=[[W[..., ::-1], b] for W, b in dilated], **rest)


def halves_swapped(dilated: Any, **rest: Any) -> Any:
    """tanh of what σ should be of."""
    swapped = [[np.roll(a, len(a) // 2, axis=0) for a in layer] for layer in dilated]
    return wavenet_sample(dilated=swapped, **rest)


def the_newest_first(state: Any, dilations: Any, **rest: Any) -> Any:
    """Each queue the wrong way round."""
    queues = np.split(state, np.cumsum(dilations)[:-1], axis=2)
    state = np.concatenate([queue[..., ::-1] for queue in queues], axis=2)
    return wavenet_sample(state=state, dilations=dilations, **rest)


# Peers


def torch_queues(u: Any, x: Any, state: Any, dilations: Any, **rest: Any) -> Any:
    """The same queues in torch, eager, as one would write them; random numbers of its own."""
    import torch

    E, dilated, skip, residual, leave = _torch(x, rest)
    parts = torch.from_numpy(state).split(dilations, dim=2)
    queues = [list(part.unbind(dim=2)) for part in parts]

    def logits(tokens: Any) -> Any:
        h: Any = E[tokens[:, -1]]
        total: Any = 0
        for i, (queue, (W, b)) in enumerate(zip(queues, dilated, strict=True)):
            taps = torch.cat([W[..., 0], W[..., 1]], dim=1)
            a = torch.addmm(b, torch.cat([queue.pop(0), h], dim=1), taps.T)
            queue.append(h)
            first, second = a.chunk(2, dim=1)
            z = torch.tanh(first) * torch.sigmoid(second)
            total = total + torch.addmm(skip[i][1], z, skip[i][0][..., 0].T)
            if i < len(residual):
                h = h + torch.addmm(residual[i][1], z, residual[i][0][..., 0].T)
        for W, b in leave:
            total = torch.addmm(b, torch.relu(total), W[..., 0].T)
        return total

    drawn = _torch_draws(logits, x, u.shape[1])
    after = [torch.stack(queue, dim=2) for queue in queues]
    return drawn, torch.cat(after, dim=2).numpy()


def torch_windows(u: Any, x: Any, state: Any, dilations: Any, **rest: Any) -> Any:
    """The whole window anew for each token, in torch; there is no state."""
    import torch
    from torch.nn.functional import conv1d, pad

    E, dilated, skip, residual, leave = _torch(x, rest)

    def logits(tokens: Any) -> Any:
        h: Any = E[tokens[:, -1 - sum(dilations) :]].transpose(1, 2)
        total: Any = 0
        for i, (d, (W, b)) in enumerate(zip(dilations, dilated, strict=True)):
            first, second = conv1d(pad(h, (d, 0)), W, b, dilation=d).chunk(2, dim=1)
            z = torch.tanh(first) * torch.sigmoid(second)
            total = total + conv1d(z, *skip[i])
            h = h + conv1d(z, *residual[i]) if i < len(residual) else h
        for W, b in leave:
            total = conv1d(torch.relu(total), W, b)
        return total[:, :, -1]

    return _torch_draws(logits, x, u.shape[1]), state


def numpy_windows(u: Any, x: Any, state: Any, **rest: Any) -> Any:
    """The whole window anew for each token, in NumPy."""
    window = 1 + sum(rest["dilations"])

    def step(x: Any, seen: Any) -> tuple[Any, Any]:
        seen = np.concatenate([seen, x], axis=1)[:, -window:]
        return read(seen, np.zeros_like(state), **weights)[0][:, -1], seen

    weights = {name: rest[name] for name in _WEIGHTS}
    return one_by_one(step, x, x[:, :0], u, **given(rest))[0], state


def _torch(x: Any, rest: Arguments) -> list[Any]:
    """E, and [W, b] of all layers."""
    import torch

    if x.shape[1] > 1 or given(rest):
        raise NotImplementedError("of one token to begin with, and without controls")

    def tensors(v: Any) -> Any:
        return torch.from_numpy(v) if isinstance(v, np.ndarray) else [tensors(w) for w in v]

    return [tensors(rest[name]) for name in _WEIGHTS if name != "dilations"]


def _torch_draws(logits: Any, x: Any, T: int) -> Any:
    """T tokens, of the logits of all that came before."""
    import torch

    with torch.inference_mode():
        tokens = torch.from_numpy(x)
        for _ in range(T):
            p = torch.softmax(logits(tokens), dim=-1)
            tokens = torch.cat([tokens, torch.multinomial(p, 1)], dim=1)
        return tokens[:, x.shape[1] :].numpy()


def _bench(p: int, layers: int, n: int, T: int) -> tuple[Dims, str]:
    dims = {"n": n, "t": 1, "T": T, "p": p, "V": 256, "layers": layers, "odd": 0, "controls": 0}
    return dims, "float32"


ROWS = [
    Op(
        name="wavenet_sample",
        mission=("K3", "A6"),
        definition="reference.autoregressive.wavenet:wavenet_sample",
        twins={"numba": "kernels.decoding.wavenet_numba:wavenet_sample"},
        make=_make,
        dims={
            "n": (0, 6),
            "t": (1, 9),
            "T": (0, 9),
            "p": (1, 12),
            "V": (1, 12),
            "layers": (1, 4),
            "odd": (0, 1),
            "controls": (0, KINDS),
        },
        dtypes=FLOATS,
        floor={"float32": 100.0, "float64": 1e-13},
        cap={"float32": 100.0, "float64": 1e-12},
        exact=("float64",),
        laws=(_followed,),
        wrong={
            "begins anew": begins_anew,
            "forgets": forgets,
            "reads one too many": reads_one_too_many,
            "taps swapped": taps_swapped,
            "halves swapped": halves_swapped,
            "the newest first": the_newest_first,
            "without controls": without_controls(wavenet_sample),
            "one for all": one_for_all(wavenet_sample),
            "late": late(wavenet_sample),
        },
        bench={
            "WaveNet 6 × 32, 1000 tokens, one stream": _bench(32, 6, 1, 1000),
            "WaveNet 12 × 64, 1000 tokens, one stream": _bench(64, 12, 1, 1000),
            "WaveNet 6 × 32, 100 tokens, 64 at once": _bench(32, 6, 64, 100),
        },
        peers={
            "torch, queues": torch_queues,
            "torch, windows": torch_windows,
            "numpy, windows": numpy_windows,
        },
    ),
]
