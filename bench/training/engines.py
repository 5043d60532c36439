"""One step of training on genzoo, PyTorch (eager and compiled) and JAX.

An Engine offers the operations that `architectures` are written in. Attention takes one packed
product (B, T, 3·width) of queries, keys and values; convolutions have no bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from bench.training.architectures import Architecture

Step = Callable[[], float]
Sides = list[Any]
"""For each ReLU of a loss, in order: where its argument was positive."""
LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


class Genzoo:
    """The project's own functions."""

    def __init__(self) -> None:
        from core import convolution, functional

        self.relu, self.gelu, self.silu = functional.relu, functional.gelu, functional.silu
        self.linear, self.embedding = functional.linear, functional.embedding
        self.conv2d = convolution.conv2d
        self.conv_transpose2d = convolution.conv_transpose2d
        self.layer_norm = functional.layer_norm
        self.reshape, self.exp, self.mean = np.reshape, np.exp, np.mean
        self.array = np.asarray

    def sum(self, x: Any) -> Any:
        return np.sum(x, axis=-1)

    def upsample(self, x: Any) -> Any:
        from core.functional import upsample_nearest2d

        return upsample_nearest2d(x, 2)

    def leaky_relu(self, x: Any) -> Any:
        from core.functional import leaky_relu

        return leaky_relu(x, 0.2)

    def group_norm(self, x: Any, groups: int, gain: Any, shift: Any) -> Any:
        from core.functional import group_norm

        return group_norm(x, gain, shift, groups)

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        from core.functional import cross_entropy

        return np.mean(cross_entropy(logits, labels))

    def bernoulli(self, x: Any, logits: Any) -> Any:
        from core.functional import bernoulli_log_prob

        return -np.sum(bernoulli_log_prob(x, logits)) * (1.0 / len(x))

    def causal_attention(self, qkv: Any, heads: int) -> Any:
        from reference.operations.attention import masked_attention
        from reference.operations.masks import causal

        B, T, d = qkv.shape
        parts = np.reshape(qkv, (B, T, 3, heads, d // (3 * heads)))
        q, k, v = np.transpose(parts, (2, 0, 3, 1, 4))
        h = masked_attention(q, k, v, causal())
        return np.reshape(np.swapaxes(h, 1, 2), (B, T, d // 3))

    def lstm(self, x: Any, W: Any, U: Any, b: Any) -> Any:
        from core.recurrent import lstm

        zeros = np.zeros((len(x), U.shape[0]), x.dtype)
        return lstm(x, W, U, b, zeros, zeros)[:, :-1]

    def modulated(self, x: Any, w: Any, style: Any) -> Any:
        from core.convolution import demodulated_conv2d

        return demodulated_conv2d(x, w, style, padding=1)


class Torch:
    """torch.nn.functional, its fused kernels where it has them."""

    def __init__(self) -> None:
        import torch
        import torch.nn.functional as F

        self.torch, self.F = torch, F
        self.relu, self.gelu, self.silu = F.relu, F.gelu, F.silu
        self.embedding, self.reshape, self.exp, self.mean = (
            F.embedding, torch.reshape, torch.exp, torch.mean,
        )  # fmt: skip
        self.array = torch.as_tensor

    def linear(self, x: Any, W: Any, b: Any) -> Any:
        return self.F.linear(x, W.T, b)

    def conv2d(self, x: Any, w: Any, stride: int, padding: int) -> Any:
        return self.F.conv2d(x, w, stride=stride, padding=padding)

    def conv_transpose2d(self, x: Any, w: Any, stride: int, padding: int) -> Any:
        return self.F.conv_transpose2d(x, w, stride=stride, padding=padding)

    def layer_norm(self, x: Any, gain: Any, shift: Any) -> Any:
        return self.F.layer_norm(x, x.shape[-1:], gain, shift)

    def group_norm(self, x: Any, groups: int, gain: Any, shift: Any) -> Any:
        return self.F.group_norm(x, groups, gain, shift)

    def sum(self, x: Any) -> Any:
        return x.sum(-1)

    def leaky_relu(self, x: Any) -> Any:
        return self.F.leaky_relu(x, 0.2)

    def upsample(self, x: Any) -> Any:
        return self.F.interpolate(x, scale_factor=2, mode="nearest")

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        return self.F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))

    def bernoulli(self, x: Any, logits: Any) -> Any:
        cost = self.F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return cost / len(x)

    def causal_attention(self, qkv: Any, heads: int) -> Any:
        B, T, d = qkv.shape
        q, k, v = qkv.reshape(B, T, 3, heads, d // (3 * heads)).permute(2, 0, 3, 1, 4)
        h = self.F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return h.transpose(1, 2).reshape(B, T, d // 3)

    def lstm(self, x: Any, W: Any, U: Any, b: Any) -> Any:
        zeros = x.new_zeros(1, x.shape[0], U.shape[0])
        weights = [W.T.contiguous(), U.T.contiguous(), b, self.torch.zeros_like(b)]
        run = self.torch._VF.lstm
        return run(x, (zeros, zeros), weights, True, 1, 0.0, True, False, True)[0]

    def modulated(self, x: Any, w: Any, style: Any) -> Any:
        B, C, h, v = x.shape
        w = w[None] * style[:, None, :, None, None]
        w = w / (w.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
        y = self.F.conv2d(
            x.reshape(1, B * C, h, v), w.reshape(-1, *w.shape[2:]), padding=1, groups=B
        )
        return y.reshape(B, -1, h, v)


class Jax:
    """jax.numpy and jax.lax, in one function that is jitted whole."""

    def __init__(self) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.jnp = jax, jnp
        self.relu, self.silu = jax.nn.relu, jax.nn.silu
        self.reshape, self.exp, self.mean = jnp.reshape, jnp.exp, jnp.mean
        self.array = jnp.asarray

    def gelu(self, x: Any) -> Any:
        return self.jax.nn.gelu(x, approximate=False)

    def linear(self, x: Any, W: Any, b: Any) -> Any:
        return x @ W + b

    def embedding(self, ids: Any, W: Any) -> Any:
        return W[ids]

    def conv2d(self, x: Any, w: Any, stride: int, padding: int) -> Any:
        return self.jax.lax.conv(x, w, (stride, stride), [(padding, padding)] * 2)

    def conv_transpose2d(self, x: Any, w: Any, stride: int, padding: int) -> Any:
        k = w.shape[2] - 1 - padding
        return self.jax.lax.conv_general_dilated(
            x, w[:, :, ::-1, ::-1].swapaxes(0, 1), (1, 1), [(k, k)] * 2, (stride, stride)
        )

    def layer_norm(self, x: Any, gain: Any, shift: Any) -> Any:
        return self._standard(x, -1) * gain + shift

    def group_norm(self, x: Any, groups: int, gain: Any, shift: Any) -> Any:
        parts = x.reshape(len(x), groups, -1)
        normal = self._standard(parts, -1).reshape(x.shape)
        return normal * gain[:, None, None] + shift[:, None, None]

    def _standard(self, x: Any, axis: int) -> Any:
        mean = x.mean(axis, keepdims=True)
        return (x - mean) / self.jnp.sqrt(x.var(axis, keepdims=True) + 1e-5)

    def sum(self, x: Any) -> Any:
        return x.sum(-1)

    def leaky_relu(self, x: Any) -> Any:
        return self.jax.nn.leaky_relu(x, 0.2)

    def upsample(self, x: Any) -> Any:
        return x.repeat(2, axis=2).repeat(2, axis=3)

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        log_p = self.jax.nn.log_softmax(logits)
        return -self.jnp.take_along_axis(log_p, labels[..., None], axis=-1).mean()

    def bernoulli(self, x: Any, logits: Any) -> Any:
        return (self.jax.nn.softplus(logits) - x * logits).sum() / len(x)

    def causal_attention(self, qkv: Any, heads: int) -> Any:
        B, T, d = qkv.shape
        q, k, v = qkv.reshape(B, T, 3, heads, d // (3 * heads)).transpose(2, 0, 3, 1, 4)
        s = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
        seen = self.jnp.tril(self.jnp.ones((T, T), bool))
        h = self.jax.nn.softmax(self.jnp.where(seen, s, -self.jnp.inf)) @ v
        return h.swapaxes(1, 2).reshape(B, T, d // 3)

    def lstm(self, x: Any, W: Any, U: Any, b: Any) -> Any:
        def cell(carry: Any, now: Any) -> Any:
            h, c = carry
            i, f, g, o = self.jnp.split(now + h @ U, 4, axis=-1)
            sigmoid = self.jax.nn.sigmoid
            c = sigmoid(f) * c + sigmoid(i) * self.jnp.tanh(g)
            h = sigmoid(o) * self.jnp.tanh(c)
            return (h, c), h

        start = self.jnp.zeros((len(x), U.shape[0]), x.dtype)
        seen = (x @ W + b).swapaxes(0, 1)
        return self.jax.lax.scan(cell, (start, start), seen)[1].swapaxes(0, 1)

    def modulated(self, x: Any, w: Any, style: Any) -> Any:
        B, C, h, v = x.shape
        w = w[None] * style[:, None, :, None, None]
        w = w / self.jnp.sqrt(self.jnp.square(w).sum((2, 3, 4), keepdims=True) + 1e-8)
        y = self.jax.lax.conv_general_dilated(
            x.reshape(1, B * C, h, v), w.reshape(-1, *w.shape[2:]), (1, 1), [(1, 1)] * 2,
            feature_group_count=B,
        )  # fmt: skip
        return y.reshape(B, -1, h, v)


# The derivative of a ReLU jumps where its argument is 0. One of the 12 million arguments of a deep
# PixelCNN is 2e-8 and rounds to either side, and with it 3e-4 of a gradient comes or goes: so
# gradients are compared with every ReLU on the same side in all engines.


def _noting(e: Any, sides: Sides) -> Any:
    """The engine e, but its ReLUs note their sides."""

    def noted(relu: Any) -> Any:
        def run(x: Any) -> Any:
            sides.append(x.data > 0)
            return relu(x)

        return run

    e = copy(e)
    e.relu, e.leaky_relu = noted(e.relu), noted(e.leaky_relu)
    return e


def _on(sides: Sides, e: Any) -> Any:
    """The engine e, but its ReLUs are on these sides, if there are any."""
    if not sides:
        return e
    e, left = copy(e), iter(sides)

    def factor(slope: float) -> Any:
        return e.array(np.where(next(left), 1, slope).astype(np.float32))

    e.relu, e.leaky_relu = lambda x: x * factor(0), lambda x: x * factor(0.2)
    return e


# Steps: a function that trains one step and gives the loss before it, and the gradients of a first


def genzoo(
    a: Architecture, params: dict[str, Any], data: dict[str, Any], sides: Sides
) -> tuple[Step, Any]:
    """On genzoo's tape and Adam; whichever back end is chosen. Its first loss gives the sides."""
    from core import Tensor, grad
    from core.optim import Adam

    e, p = Genzoo(), {name: Tensor(v.copy()) for name, v in params.items()}
    optimiser = Adam(p, lr=LR, betas=(BETA1, BETA2), eps=EPS)

    def step() -> float:
        optimiser.zero_grad()
        loss = a.loss(e, p, data, a.sizes)
        loss.backward()
        optimiser.step()
        return float(loss.item())

    first = grad(a.loss(_noting(e, sides), p, data, a.sizes), list(p.values()))
    return step, dict(zip(p, first, strict=True))


def torch_eager(
    a: Architecture,
    params: dict[str, Any],
    data: dict[str, Any],
    sides: Sides,
    compiled: bool = False,
) -> tuple[Step, Any]:
    """torch.optim.Adam; `compiled`: the loss goes through torch.compile."""
    import torch

    e = Torch()
    p = {name: torch.tensor(v, requires_grad=True) for name, v in params.items()}
    d = {name: torch.as_tensor(v) for name, v in data.items()}
    optimiser = torch.optim.Adam(p.values(), lr=LR, betas=(BETA1, BETA2), eps=EPS)

    def loss_of() -> Any:
        return a.loss(e, p, d, a.sizes)

    run = torch.compile(loss_of) if compiled else loss_of

    def step() -> float:
        optimiser.zero_grad()
        loss = run()
        loss.backward()
        optimiser.step()
        return float(loss.item())

    loss_on_sides = a.loss(_on(sides, e), p, d, a.sizes)
    first = torch.autograd.grad(loss_on_sides, list(p.values()))
    return step, {name: g.numpy() for name, g in zip(p, first, strict=True)}


def torch_compile(
    a: Architecture, params: dict[str, Any], data: dict[str, Any], sides: Sides
) -> Any:
    """`torch_eager`, compiled."""
    return torch_eager(a, params, data, sides, compiled=True)


def jax_jit(
    a: Architecture, params: dict[str, Any], data: dict[str, Any], sides: Sides
) -> tuple[Step, Any]:
    """Loss, gradients and Adam in one jitted function, whose buffers are given back."""
    import jax
    import jax.numpy as jnp

    e, d = Jax(), {name: jnp.asarray(v) for name, v in data.items()}
    p = {name: jnp.asarray(v) for name, v in params.items()}
    value_and_grad = jax.value_and_grad(lambda p: a.loss(e, p, d, a.sizes))

    @jax.jit
    def update(p: Any, m: Any, v: Any, t: Any) -> Any:
        loss, g = value_and_grad(p)
        m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
        rate = LR * jnp.sqrt(1 - BETA2**t) / (1 - BETA1**t)
        p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPS), p, m, v)
        return loss, p, m, v

    zeros = jax.tree.map(jnp.zeros_like, p)
    now = {"p": p, "m": zeros, "v": zeros, "t": 0.0}

    def step() -> float:
        now["t"] += 1.0
        loss, now["p"], now["m"], now["v"] = update(now["p"], now["m"], now["v"], now["t"])
        return float(loss)

    first = jax.grad(lambda p: a.loss(_on(sides, e), p, d, a.sizes))(p)
    return step, {name: np.asarray(g) for name, g in first.items()}


ENGINES: dict[str, Callable[..., tuple[Step, Any]]] = {
    "genzoo": genzoo,
    "torch": torch_eager,
    "torch.compile": torch_compile,
    "jax": jax_jit,
}
