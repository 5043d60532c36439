"""The rows of `OPS` that draw images one colour of one pixel after another (MISSION rows K3, A10).

They are judged as tokens are (`rows`): the whole network is run, in one pass, on the image that was
drawn; each value must be what its conditional and the same u make it, or u lie within 64 eps of the
boundary between them, at most once in a call. In float64 values are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.convolution import conv2d
from core.functional import relu
from kernels.calls import Arguments
from kernels.table import Op
from reference.autoregressive.heads import of_levels
from reference.autoregressive.image_sampling import gated_pixelcnn_sample, pixelcnn_sample
from reference.autoregressive.images import by_pixel, gate, scaled
from reference.layers.kernel_mask import colour_mask

Dims = Mapping[str, int]
Twin = Callable[..., Any]


def _uniforms(rng: np.random.Generator, dims: Dims, dtype: str) -> Any:
    """Of images as square as their number of pixels lets them be, lying or standing."""
    pixels = dims["pixels"]
    short = max(k for k in range(1, math.isqrt(pixels) + 1) if pixels % k == 0)
    size = rng.permutation([short, pixels // short])
    shape = (dims["n"], dims["C"], *map(int, size))
    return (rng.integers(0, 2**24, shape) / 2**24).astype(dtype)  # below 1 in float32 too


def _layer(rng: np.random.Generator, dtype: str, mask: Any, *shape: int) -> list[Any]:
    """[W ⊙ M, b] with activations of size 1, as in a trained model."""
    W = rng.normal(size=shape) * mask
    W = W * (2 / max(np.count_nonzero(W) / shape[0], 1)) ** 0.5
    return [W.astype(dtype), rng.normal(size=shape[0]).astype(dtype)]


def _make_pixelcnn(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    C, levels, k = dims["C"], dims["levels"] + 1, 2 * dims["first"] + 1
    h, P = dims["h"] * C, of_levels(levels).size * C

    def masked(n_in: int, n_out: int, k: int, kind: str = "B") -> list[Any]:
        return _layer(rng, dtype, colour_mask(kind, (k, k), n_in, n_out, C), n_out, n_in, k, k)

    layers = [masked(C, 2 * h, k, "A")]
    for _ in range(dims["layers"]):
        layers += [masked(2 * h, h, 1), masked(h, h, 3), masked(h, 2 * h, 1)]
    layers += [masked(2 * h, 2 * h, 1), masked(2 * h, P, 1)]
    return {"u": _uniforms(rng, dims, dtype), "layers": layers, "levels": levels}


def _make_gated(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    C, levels, mixture = dims["C"], dims["levels"] + 1, dims["mixture"] or None
    p, P, layers = dims["h"] * C, of_levels(levels, mixture).size * C, []
    for at in range(dims["layers"]):
        k, n = (dims["first"] or 1) if at == 0 else 1, C if at == 0 else p
        mask = colour_mask("B" if at else "A", (1, 2 * k + 1), n, 2 * p, C)[..., : k + 1]
        layers.append(
            [
                _layer(rng, dtype, 1, 2 * p, n, k + (at > 0), 2 * k + 1),
                _layer(rng, dtype, mask, 2 * p, n, 1, k + 1),
                _layer(rng, dtype, 1, 2 * p, 2 * p, 1, 1),
                _layer(rng, dtype, colour_mask("B", (1, 1), p, p, C), p, p, 1, 1),
            ]
        )
    leave = [_layer(rng, dtype, colour_mask("B", (1, 1), p, m, C), m, p, 1, 1) for m in (p, P)]
    call = {"u": _uniforms(rng, dims, dtype), "layers": layers, "leave": leave, "levels": levels}
    told = rng.normal(size=(dims["n"], len(layers), 4 * p)).astype(dtype)
    return call | {"mixture": mixture} | ({"told": told} if dims["told"] else {})


# All conditionals of given images, in one pass


def pixelcnn_parameters(x: Any, layers: Any, levels: int) -> Any:
    """theta (n, C, H, W, P) of images x (n, C, H, W)."""

    def same(layer: Any, f: Any) -> Any:
        W, b = layer
        return conv2d(f, W, padding=(W.shape[2] // 2, W.shape[3] // 2)) + b[:, None, None]

    y = same(layers[0], scaled(x, levels, x.dtype))
    for k in range(1, len(layers) - 2, 3):
        r = y
        for layer in layers[k : k + 3]:
            r = same(layer, relu(r))
        y = y + r
    for layer in layers[-2:]:
        y = same(layer, relu(y))
    return by_pixel(y, x.shape[1])


def gated_pixelcnn_parameters(
    x: Any, layers: Any, leave: Any, levels: int, mixture: int | None = None, told: Any = None
) -> Any:
    """theta (n, C, H, W, P) of images x (n, C, H, W)."""
    v = h = scaled(x, levels, x.dtype)
    for at, (above, left, link, out) in enumerate(layers):
        k, reach = above[0].shape[3] // 2, left[0].shape[3] - 1
        a = conv2d(v, above[0], padding=k)[:, :, : x.shape[2]] + above[1][:, None, None]
        b = conv2d(h, left[0], padding=(0, reach))[..., : x.shape[3]] + left[1][:, None, None]
        if told is not None:
            to_a, to_b = np.split(told[:, at, :, None, None], 2, axis=1)
            a, b = a + to_a, b + to_b
        b = gate(b + conv2d(a, link[0]) + link[1][:, None, None])
        r = conv2d(b, out[0]) + out[1][:, None, None]
        v, h = gate(a), r if at == 0 else h + r
    for W, b in leave:
        h = conv2d(relu(h), W) + b[:, None, None]
    return by_pixel(h, x.shape[1])


def token_ties(x: Any, u: Any, p: Any) -> int:
    """How many whole numbers x aren't what u (…) draws of p (…, K), all with u within 64 eps of
    the boundary between the two; AssertionError if not.
    """
    tail = np.cumsum(p[..., ::-1], axis=-1)[..., ::-1]  # P(x ≥ k)
    least = np.concatenate([tail[..., 1:], np.zeros_like(tail[..., :1])], axis=-1)  # P(x > k)
    k = x[..., None].astype(np.int64)
    low, high = (np.take_along_axis(t, k, axis=-1)[..., 0] for t in (least, tail))
    high = np.where(x == 0, np.inf, high)
    off = np.maximum(low - u, u - high).max(initial=-1)
    assert off < 64 * np.finfo(u.dtype).eps, f"a value is wrong: u is off by {off:.3g}"
    return int(((u < low) | (u >= high)).sum())


def _judged(parameters: Twin) -> Callable[[Arguments, Any], None]:
    def values_are_what_u_and_p_make_them(arguments: Arguments, x: Any) -> None:
        rest = {k: v for k, v in arguments.items() if k != "u"}
        levels, u = arguments["levels"], arguments["u"]
        assert np.isin(x, np.arange(levels)).all(), "a value is none of 0 … levels − 1"
        head, theta = of_levels(levels, arguments.get("mixture")), parameters(x, **rest)
        p = np.stack([np.exp(head.log_prob(0 * x + k, theta)) for k in range(levels)], axis=-1)
        assert token_ties(x, u, p) <= 1

    return values_are_what_u_and_p_make_them


# Twins with a planted fault


def _with_layers(sample: Twin, change: Callable[[Any, Any], Any]) -> Twin:
    """The definition, of layers that are changed; change(C, layers)."""

    def run(u: Any, layers: Any, **rest: Any) -> Any:
        return sample(u=u, layers=change(u.shape[1], layers), **rest)

    return run


def _reused(sample: Twin) -> Twin:
    """The first image's uniforms for all."""
    return lambda u, **rest: sample(u=np.tile(u[:1], (len(u), 1, 1, 1)), **rest)


def _by_columns(sample: Twin) -> Twin:
    """Draws column by column."""

    def run(u: Any, **rest: Any) -> Any:
        return sample(u=u.swapaxes(2, 3), **rest).swapaxes(2, 3)

    return run


def _without(*taps: Any) -> Callable[[Any], Any]:
    """A layer whose weights at these taps are 0."""

    def change(layer: Any) -> Any:
        W = layer[0].copy()
        W[(..., *taps)] = 0
        return W, layer[1]

    return change


def forgets_the_row_above(C: int, layers: Any) -> Any:
    """Keeps the row only that is being drawn."""
    return [_without(slice(0, W.shape[2] // 2), slice(None))((W, b)) for W, b in layers]


def forgets_the_left(C: int, layers: Any) -> Any:
    """Keeps a pixel one step too late."""
    return [
        _without(W.shape[2] // 2, W.shape[3] // 2 - 1)((W, b)) if W.shape[3] > 1 else (W, b)
        for W, b in layers
    ]


def colours_apart(C: int, layers: Any) -> Any:
    """No colour sees another of its pixel."""
    apart = []
    for W, b in layers:
        W, colour = W.copy(), [np.arange(m) % C for m in W.shape[:2]]
        W[..., W.shape[2] // 2, W.shape[3] // 2] *= colour[0][:, None] == colour[1]
        apart.append((W, b))
    return apart


def misses_the_row_above(C: int, layers: Any) -> Any:
    """The vertical stack ends a row too early."""
    (above, *rest), *others = layers
    return [(_without(-1, slice(None))(above), *rest), *others]


def no_link(C: int, layers: Any) -> Any:
    """The horizontal stack isn't told what lies above."""
    return [(a, h, (0 * U, b), out) for a, h, (U, b), out in layers]


def halves_swapped(C: int, layers: Any) -> Any:
    """tanh of what σ should be of."""
    p = len(layers[0][0][1]) // 2

    def swapped(layer: Any) -> Any:
        return tuple(np.roll(a, p, axis=0) for a in layer)

    return [
        (swapped(a), swapped(h), swapped((np.roll(U, p, axis=1), b)), out)
        for a, h, (U, b), out in layers
    ]


def told_to_one_stack(told: Any = None, **rest: Any) -> Any:
    """The horizontal stack isn't told the class."""
    if told is not None:
        told = np.where(np.arange(told.shape[2]) < told.shape[2] // 2, told, 0).astype(told.dtype)
    return gated_pixelcnn_sample(told=told, **rest)


# Peers


def pass_for_each(parameters: Twin) -> Twin:
    """The whole network for every variable, in NumPy: the loop of the papers."""

    def run(u: Any, levels: int, mixture: int | None = None, **rest: Any) -> Any:
        x, head = np.zeros_like(u), of_levels(levels, mixture)
        rest |= {} if mixture is None else {"mixture": mixture}
        for i, j, c in np.ndindex(*u.shape[2:], u.shape[1]):
            theta = parameters(x[:, :, : i + 1], levels=levels, **rest)[:, c, i, j]
            x[:, c, i, j] = head.draw(theta, u[:, c, i, j, None])
        return x

    return run


def _torch_draws(network: Callable[[Any, Any], Any], layers: Any, u: Any, levels: int) -> Any:
    """Bits (n, 1, H, W) by the same loop in torch; network(v, layers) gives all their logits."""
    import torch

    if levels > 2 or u.shape[1] > 1:
        raise NotImplementedError("of bits only")
    with torch.inference_mode():
        t_u, layers = torch.from_numpy(u), _torch_layers(layers)
        v = torch.full_like(t_u, -1.0)
        for i, j in np.ndindex(*u.shape[2:]):
            p = torch.sigmoid(network(v, layers)[:, 0, i, j])
            v[:, 0, i, j] = 2 * (t_u[:, 0, i, j] < p).to(v.dtype) - 1
        return ((v + 1) / 2).numpy()


def _torch_layers(layers: Any) -> Any:
    import torch

    if isinstance(layers, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(layers))
    return [_torch_layers(layer) for layer in layers]


def torch_pixelcnn(u: Any, layers: Any, levels: int) -> Any:
    """A pass for every pixel, in torch."""
    from torch.nn.functional import conv2d, relu

    def network(v: Any, layers: Any) -> Any:
        y = conv2d(v, *layers[0], padding=layers[0][0].shape[2] // 2)
        for k in range(1, len(layers) - 2, 3):
            r = y
            for W, b in layers[k : k + 3]:
                r = conv2d(relu(r), W, b, padding=W.shape[2] // 2)
            y = y + r
        for W, b in layers[-2:]:
            y = conv2d(relu(y), W, b)
        return y

    return _torch_draws(network, layers, u, levels)


def torch_gated(
    u: Any, layers: Any, leave: Any, levels: int, mixture: int | None = None, told: Any = None
) -> Any:
    """A pass for every pixel, in torch."""
    import torch
    from torch.nn.functional import conv2d, relu

    def gate(a: Any) -> Any:
        first, second = a.chunk(2, dim=1)
        return torch.tanh(first) * torch.sigmoid(second)

    def network(v: Any, parts: Any) -> Any:
        (layers, leave), h, x = parts, v, v
        for at, (above, left, link, out) in enumerate(layers):
            a = conv2d(v, *above, padding=above[0].shape[3] // 2)[:, :, : x.shape[2]]
            b = conv2d(h, *left, padding=(0, left[0].shape[3] - 1))[..., : x.shape[3]]
            r = conv2d(gate(b + conv2d(a, *link)), *out)
            v, h = gate(a), h + r if at else r
        for W, b in leave:
            h = conv2d(relu(h), W, b)
        return h

    if mixture is not None or told is not None:
        raise NotImplementedError("of bits without a class only")
    return _torch_draws(network, [layers, leave], u, levels)


_VALUES: dict[str, Any] = {
    "mission": ("K3", "A6"),
    "floor": {"float32": 300.0, "float64": 0.0},
    "cap": {"float32": 300.0, "float64": 0.0},
}
_DIMS = {
    "n": (0, 5),
    "C": (1, 3),
    "pixels": (1, 12),
    "levels": (1, 4),
    "h": (1, 4),
    "first": (0, 2),
}
_BITS = {"C": 1, "levels": 1, "mixture": 0, "told": 0}
_MNIST, _SMALL = {**_BITS, "n": 1, "pixels": 784}, {**_BITS, "n": 32, "pixels": 256}
_PLAIN = {"h": 15, "layers": 7, "first": 3}
_GATED = {"h": 32, "layers": 6, "first": 3}

ROWS = [
    Op(
        name="pixelcnn_sample",
        definition="reference.autoregressive.image_sampling:pixelcnn_sample",
        twins={"numba": "kernels.sampling.pixelcnn_numba:pixelcnn_sample"},
        make=_make_pixelcnn,
        dims={**_DIMS, "layers": (0, 2)},
        entries=("u",),
        laws=(_judged(pixelcnn_parameters),),
        wrong={
            "forgets the row above": _with_layers(pixelcnn_sample, forgets_the_row_above),
            "forgets the left": _with_layers(pixelcnn_sample, forgets_the_left),
            "colours apart": _with_layers(pixelcnn_sample, colours_apart),
            "column by column": _by_columns(pixelcnn_sample),
            "uniforms reused": _reused(pixelcnn_sample),
        },
        bench={
            "PixelCNN 28 × 28, 7 blocks, one stream": ({**_MNIST, **_PLAIN}, "float32"),
            "PixelCNN 16 × 16, 7 blocks, 32 at once": ({**_SMALL, **_PLAIN}, "float32"),
        },
        peers={
            "torch, a pass for each": torch_pixelcnn,
            "numpy, a pass for each": pass_for_each(pixelcnn_parameters),
        },
        **_VALUES,
    ),
    Op(
        name="gated_pixelcnn_sample",
        definition="reference.autoregressive.image_sampling:gated_pixelcnn_sample",
        twins={"numba": "kernels.sampling.gated_pixelcnn_numba:gated_pixelcnn_sample"},
        make=_make_gated,
        dims={**_DIMS, "layers": (1, 3), "mixture": (0, 2), "told": (0, 1)},
        without={"told": {"told": 0}, "mixture": {"mixture": 0}},
        entries=("u", "told"),
        laws=(_judged(gated_pixelcnn_parameters),),
        wrong={
            "misses the row above": _with_layers(gated_pixelcnn_sample, misses_the_row_above),
            "no link": _with_layers(gated_pixelcnn_sample, no_link),
            "halves swapped": _with_layers(gated_pixelcnn_sample, halves_swapped),
            "told to one stack": told_to_one_stack,
            "column by column": _by_columns(gated_pixelcnn_sample),
            "uniforms reused": _reused(gated_pixelcnn_sample),
        },
        bench={
            "gated PixelCNN 28 × 28, 6 layers, one stream": ({**_MNIST, **_GATED}, "float32"),
            "gated PixelCNN 16 × 16, 6 layers, 32 at once": ({**_SMALL, **_GATED}, "float32"),
        },
        peers={
            "torch, a pass for each": torch_gated,
            "numpy, a pass for each": pass_for_each(gated_pixelcnn_parameters),
        },
        **_VALUES,
    ),
]
