"""The architectures that are timed: parameters, a batch, and the loss, each written once.

`Loss` is a function (engine, parameters by name, batch) → mean loss in nats; `e` is an Engine and
offers what a network needs and no more. Images are (B, C, H, W), sequences (B, T, features).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

Sizes = Mapping[str, int]
Shapes = dict[str, tuple[int, ...]]
Loss = Callable[[Any, Any, Any, Sizes], Any]


@dataclass(frozen=True)
class Architecture:
    """One line of the bench.

    sizes: what is doubled to see how the cost grows. shapes(sizes): of the parameters, by name; a
    weight's are drawn with variance 1/fan-in, a bias (one axis) begins at 0, a gain ("…gain") at 1.
    batch(sizes, rng): the data. loss(engine, parameters, batch, sizes).
    """

    name: str
    sizes: Sizes
    shapes: Callable[[Sizes], Shapes]
    batch: Callable[[Sizes, np.random.Generator], dict[str, Any]]
    loss: Loss

    def parameters(self, rng: np.random.Generator) -> dict[str, Any]:
        """Name → float32 array."""
        return {name: _drawn(name, shape, rng) for name, shape in self.shapes(self.sizes).items()}

    def data(self, rng: np.random.Generator) -> dict[str, Any]:
        """Name → array of one batch."""
        return self.batch(self.sizes, rng)

    def resized(self, **sizes: int) -> Architecture:
        """The same with other sizes."""
        return replace(self, sizes={**self.sizes, **sizes})


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    if len(shape) == 1:
        return np.full(shape, 1.0 if name.endswith("gain") else 0.0, np.float32)
    fan_in = math.prod(shape[1:]) if len(shape) == 4 else shape[0]
    return (rng.normal(size=shape) / math.sqrt(fan_in)).astype(np.float32)


def _bits(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    return (rng.random(shape) < 0.3).astype(np.float32)


def _dense(names: str, widths: list[int]) -> Shapes:
    """W and b of each layer of a stack: "name0.W", "name0.b", …"""
    pairs = enumerate(pairwise(widths))
    return {k: v for i, (n, m) in pairs for k, v in
            ((f"{names}{i}.W", (n, m)), (f"{names}{i}.b", (m,)))}  # fmt: skip


def _stack(e: Any, p: Any, names: str, x: Any, layers: int) -> Any:
    """Affine maps with ReLUs between them."""
    for i in range(layers):
        x = e.linear(x, p[f"{names}{i}.W"], p[f"{names}{i}.b"])
        x = e.relu(x) if i + 1 < layers else x
    return x


# MLP, MADE, VAE


def _mlp_loss(e: Any, p: Any, d: Any, s: Sizes) -> Any:
    return e.cross_entropy(_stack(e, p, "layer", d["x"], 3), d["y"])


MLP = Architecture(
    "MLP 784-256-256-10",
    {"batch": 128, "width": 256},
    lambda s: _dense("layer", [784, s["width"], s["width"], 10]),
    lambda s, rng: {"x": rng.normal(size=(s["batch"], 784)).astype(np.float32),
                    "y": rng.integers(0, 10, s["batch"])},
    _mlp_loss,
)  # fmt: skip


def _made_masks(s: Sizes) -> tuple[Any, Any]:
    """Of W (784, H) and V (H, 784), for the natural order and degrees dealt out evenly."""
    place, m = np.arange(1, 785), 1 + np.arange(s["width"]) % 783
    W, V = place[:, None] <= m, m[:, None] < place
    return W.astype(np.float32), V.astype(np.float32)


def _made_batch(s: Sizes, rng: np.random.Generator) -> dict[str, Any]:
    M_W, M_V = _made_masks(s)
    return {"x": _bits((s["batch"], 784), rng), "M_W": M_W, "M_V": M_V}


def _made_loss(e: Any, p: Any, d: Any, s: Sizes) -> Any:
    h = e.relu(e.linear(2 * d["x"] - 1, p["hidden.W"] * d["M_W"], p["hidden.b"]))
    return e.bernoulli(d["x"], e.linear(h, p["out.W"] * d["M_V"], p["out.b"]))


MADE = Architecture(
    "MADE 784-500",
    {"batch": 100, "width": 500},
    lambda s: {"hidden.W": (784, s["width"]), "hidden.b": (s["width"],),
               "out.W": (s["width"], 784), "out.b": (784,)},
    _made_batch,
    _made_loss,
)  # fmt: skip


def _vae_loss(e: Any, p: Any, d: Any, s: Sizes) -> Any:
    code = _stack(e, p, "encoder", d["x"], 2)
    mu, log_var = code[:, : s["latent"]], code[:, s["latent"] :]
    z = mu + e.exp(0.5 * log_var) * d["epsilon"]
    kl = -0.5 * e.mean(e.sum(1 + log_var - mu * mu - e.exp(log_var)))
    return kl + e.bernoulli(d["x"], _stack(e, p, "decoder", z, 2))


VAE = Architecture(
    "VAE 784-400-20",
    {"batch": 100, "width": 400, "latent": 20},
    lambda s: {**_dense("encoder", [784, s["width"], 2 * s["latent"]]),
               **_dense("decoder", [s["latent"], s["width"], 784])},
    lambda s, rng: {"x": _bits((s["batch"], 784), rng),
                    "epsilon": rng.normal(size=(s["batch"], s["latent"])).astype(np.float32)},
    _vae_loss,
)  # fmt: skip


# Sequences


def _tokens(s: Sizes, rng: np.random.Generator) -> dict[str, Any]:
    ids = rng.integers(0, 65, (s["batch"], s["length"] + 1))
    return {"x": ids[:, :-1], "y": ids[:, 1:]}


def _transformer_shapes(s: Sizes) -> Shapes:
    d = s["width"]
    shapes: Shapes = {"tokens": (65, d), "places": (s["length"], d)}
    for i in range(s["depth"]):
        for part, n, m in (("qkv", d, 3 * d), ("o", d, d), ("up", d, 4 * d), ("down", 4 * d, d)):
            shapes |= {f"{i}.{part}.W": (n, m), f"{i}.{part}.b": (m,)}
        for norm in ("first", "second"):
            shapes |= {f"{i}.{norm}.gain": (d,), f"{i}.{norm}.shift": (d,)}
    return shapes | {"last.gain": (d,), "last.shift": (d,), "out.W": (d, 65), "out.b": (65,)}


def _transformer_loss(e: Any, p: Any, d: Any, s: Sizes) -> Any:
    h = e.embedding(d["x"], p["tokens"]) + p["places"]
    for i in range(s["depth"]):
        u = e.layer_norm(h, p[f"{i}.first.gain"], p[f"{i}.first.shift"])
        qkv = e.linear(u, p[f"{i}.qkv.W"], p[f"{i}.qkv.b"])
        h = h + e.linear(e.causal_attention(qkv, s["heads"]), p[f"{i}.o.W"], p[f"{i}.o.b"])
        u = e.layer_norm(h, p[f"{i}.second.gain"], p[f"{i}.second.shift"])
        u = e.gelu(e.linear(u, p[f"{i}.up.W"], p[f"{i}.up.b"]))
        h = h + e.linear(u, p[f"{i}.down.W"], p[f"{i}.down.b"])
    h = e.layer_norm(h, p["last.gain"], p["last.shift"])
    return e.cross_entropy(e.linear(h, p["out.W"], p["out.b"]), d["y"])


TRANSFORMER = Architecture(
    "transformer, 4 layers of 128, block 64",
    {"batch": 12, "width": 128, "depth": 4, "length": 64, "heads": 4},
    _transformer_shapes,
    _tokens,
    _transformer_loss,
)


def _lstm_loss(e: Any, p: Any, d: Any, s: Sizes) -> Any:
    h = e.lstm(e.embedding(d["x"], p["tokens"]), p["W"], p["U"], p["b"])
    return e.cross_entropy(e.linear(h, p["out.W"], p["out.b"]), d["y"])


LSTM = Architecture(
    "LSTM 128, 64 steps",
    {"batch": 32, "width": 128, "length": 64},
    lambda s: {"tokens": (65, s["width"]), "W": (s["width"], 4 * s["width"]),
               "U": (s["width"], 4 * s["width"]), "b": (4 * s["width"],),
               "out.W": (s["width"], 65), "out.b": (65,)},
    _tokens,
    _lstm_loss,
)  # fmt: skip


# Images


def _conv_loss(e: Any, p: Any, d: Any, s: Sizes) -> Any:
    h = d["x"]
    for i in range(3):  # 28 → 14 → 7 → 4
        h = e.relu(e.conv2d(h, p[f"{i}.w"], stride=2, padding=1))
    h = e.reshape(h, (s["batch"], 16 * 4 * s["width"]))
    return e.cross_entropy(e.linear(h, p["out.W"], p["out.b"]), d["y"])


CONVOLUTIONS = Architecture(
    "convolutions 1-32-64-128 on 28 × 28",
    {"batch": 64, "width": 32},
    lambda s: {"0.w": (s["width"], 1, 3, 3), "1.w": (2 * s["width"], s["width"], 3, 3),
               "2.w": (4 * s["width"], 2 * s["width"], 3, 3),
               "out.W": (64 * s["width"], 10), "out.b": (10,)},
    lambda s, rng: {"x": rng.normal(size=(s["batch"], 1, 28, 28)).astype(np.float32),
                    "y": rng.integers(0, 10, s["batch"])},
    _conv_loss,
)  # fmt: skip


def _transposed_loss(e: Any, p: Any, d: Any, s: Sizes) -> Any:
    h = e.relu(e.linear(d["z"], p["in.W"], p["in.b"]))
    h = e.reshape(h, (s["batch"], 2 * s["width"], 7, 7))
    h = e.relu(e.conv_transpose2d(h, p["0.w"], stride=2, padding=1))  # 14 × 14
    return e.bernoulli(d["x"], e.conv_transpose2d(h, p["1.w"], stride=2, padding=1))  # 28 × 28


TRANSPOSED = Architecture(
    "transposed convolutions 128-64-1 to 28 × 28",
    {"batch": 64, "width": 64},
    lambda s: {"in.W": (64, 98 * s["width"]), "in.b": (98 * s["width"],),
               "0.w": (2 * s["width"], s["width"], 4, 4), "1.w": (s["width"], 1, 4, 4)},
    lambda s, rng: {"z": rng.normal(size=(s["batch"], 64)).astype(np.float32),
                    "x": _bits((s["batch"], 1, 28, 28), rng)},
    _transposed_loss,
)  # fmt: skip


def _residual(e: Any, p: Any, h: Any, i: int | str) -> Any:
    """h + conv(silu(norm(conv(silu(norm(h))))))."""
    u = h
    for j in (0, 1):
        u = e.group_norm(u, 8, p[f"{i}.{j}.gain"], p[f"{i}.{j}.shift"])
        u = e.conv2d(e.silu(u), p[f"{i}.{j}.w"], stride=1, padding=1)
    return h + u


def _residual_shapes(i: int | str, c: int) -> Shapes:
    return {k: v for j in (0, 1) for k, v in ((f"{i}.{j}.gain", (c,)), (f"{i}.{j}.shift", (c,)),
                                              (f"{i}.{j}.w", (c, c, 3, 3)))}  # fmt: skip


RESIDUAL = Architecture(
    "residual block 64-64-64 on 14 × 14",
    {"batch": 32, "width": 64},
    lambda s: _residual_shapes(0, s["width"]),
    lambda s, rng: {"x": rng.normal(size=(s["batch"], s["width"], 14, 14)).astype(np.float32)},
    lambda e, p, d, s: e.mean(_residual(e, p, d["x"], 0) ** 2),
)


def _raster(k: int, own: bool) -> Any:
    """(k, k): the pixels of a kernel before its centre in raster order, and the centre itself."""
    seen = np.zeros(k * k, np.float32)
    seen[: k * k // 2 + own] = 1
    return seen.reshape(k, k)


def _pixelcnn_loss(e: Any, p: Any, d: Any, s: Sizes) -> Any:
    h = e.conv2d(d["x"], p["first.w"] * d["A"], stride=1, padding=3)
    for i in range(s["depth"]):
        u = e.relu(e.conv2d(e.relu(h), p[f"{i}.down.w"], stride=1, padding=0))
        u = e.conv2d(u, p[f"{i}.mid.w"] * d["B"], stride=1, padding=1)
        h = h + e.conv2d(e.relu(u), p[f"{i}.up.w"], stride=1, padding=0)
    return e.bernoulli(d["x"], e.conv2d(e.relu(h), p["last.w"], stride=1, padding=0))


def _pixelcnn_shapes(s: Sizes) -> Shapes:
    c = s["width"]
    shapes: Shapes = {"first.w": (c, 1, 7, 7), "last.w": (1, c, 1, 1)}
    for i in range(s["depth"]):
        shapes |= {f"{i}.down.w": (c // 2, c, 1, 1), f"{i}.mid.w": (c // 2, c // 2, 3, 3),
                   f"{i}.up.w": (c, c // 2, 1, 1)}  # fmt: skip
    return shapes


PIXELCNN = Architecture(
    "PixelCNN, 4 blocks of 64 on 28 × 28",
    {"batch": 16, "width": 64, "depth": 4},
    _pixelcnn_shapes,
    lambda s, rng: {"x": _bits((s["batch"], 1, 28, 28), rng),
                    "A": _raster(7, own=False), "B": _raster(3, own=True)},
    _pixelcnn_loss,
)  # fmt: skip


def _unet_loss(e: Any, p: Any, d: Any, s: Sizes) -> Any:
    h = e.conv2d(d["x"], p["in.w"], stride=1, padding=1)  # 28 × 28
    skip = h = _residual(e, p, h, "fine")
    h = _residual(e, p, e.conv2d(h, p["down.w"], stride=2, padding=1), "coarse")  # 14 × 14
    h = e.conv_transpose2d(h, p["up.w"], stride=2, padding=1)
    h = _residual(e, p, h + skip, "again")
    return e.mean((e.conv2d(h, p["out.w"], stride=1, padding=1) - d["noise"]) ** 2)


def _unet_shapes(s: Sizes) -> Shapes:
    c = s["width"]
    return {"in.w": (c, 1, 3, 3), **_residual_shapes("fine", c), "down.w": (2 * c, c, 3, 3),
            **_residual_shapes("coarse", 2 * c), "up.w": (2 * c, c, 4, 4),
            **_residual_shapes("again", c), "out.w": (1, c, 3, 3)}  # fmt: skip


UNET = Architecture(
    "U-Net, 32 and 64 channels on 28 × 28",
    {"batch": 16, "width": 32},
    _unet_shapes,
    lambda s, rng: {k: rng.normal(size=(s["batch"], 1, 28, 28)).astype(np.float32)
                    for k in ("x", "noise")},
    _unet_loss,
)  # fmt: skip


def _style_loss(e: Any, p: Any, d: Any, s: Sizes) -> Any:
    style = _stack(e, p, "map", d["z"], 2)
    h = e.modulated(d["start"], p["0.w"], e.linear(style, p["0.A"], p["0.a"]))
    h = e.leaky_relu(h + p["0.noise"] * d["noise7"])
    h = e.modulated(e.upsample(h), p["1.w"], e.linear(style, p["1.A"], p["1.a"]))
    h = e.leaky_relu(h + p["1.noise"] * d["noise14"])
    return e.mean((e.conv2d(h, p["out.w"], stride=1, padding=0) - d["x"]) ** 2)


def _style_shapes(s: Sizes) -> Shapes:
    c = s["width"]
    shapes = _dense("map", [64, 64, 64])
    for i in (0, 1):
        shapes |= {f"{i}.w": (c, c, 3, 3), f"{i}.A": (64, c), f"{i}.a": (c,), f"{i}.noise": (1,)}
    return {**shapes, "out.w": (1, c, 1, 1)}


def _style_batch(s: Sizes, rng: np.random.Generator) -> dict[str, Any]:
    shapes = {"z": (64,), "start": (s["width"], 7, 7), "noise7": (1, 7, 7), "noise14": (1, 14, 14),
              "x": (1, 14, 14)}  # fmt: skip
    return {k: rng.normal(size=(s["batch"], *v)).astype(np.float32) for k, v in shapes.items()}


STYLE = Architecture(
    "StyleGAN generator, two modulated layers of 64",
    {"batch": 16, "width": 64},
    _style_shapes,
    _style_batch,
    _style_loss,
)

ARCHITECTURES = {
    "mlp": MLP,
    "made": MADE,
    "vae": VAE,
    "transformer": TRANSFORMER,
    "lstm": LSTM,
    "convolutions": CONVOLUTIONS,
    "transposed": TRANSPOSED,
    "residual": RESIDUAL,
    "pixelcnn": PIXELCNN,
    "unet": UNET,
    "style": STYLE,
}
