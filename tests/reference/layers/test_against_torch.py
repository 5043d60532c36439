"""Every layer against PyTorch on the same weights: values, gradients of every parameter and input,
and the second derivative along a random direction, in float32 and float64. Planted faults must not
pass.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Array, Tensor, grad
from core.functional import linear, sigmoid, silu
from core.random import Generator
from core.state import parameters
from reference import layers
from reference.layers.spectral import power_iteration
from reference.operations.attention import masked_attention
from tests.core.derivatives import dot, random_like
from tests.reference.layers.cases import CASES, Case

torch = pytest.importorskip("torch")
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}
SEEDS = st.integers(0, 2**31)
DTYPES = st.sampled_from([np.float32, np.float64])


def assert_close(ours: Any, theirs: Any, dtype: Any, what: str, factor: float = 1.0) -> None:
    a, b = np.asarray(ours), theirs.detach().numpy()
    assert a.shape == b.shape, f"{what}: {a.shape} is not {b.shape}"
    assert a.dtype == b.dtype == dtype, f"{what}: {a.dtype} is not {b.dtype}"
    scale = 1 + np.abs(b).max(initial=0)
    np.testing.assert_allclose(a, b, rtol=0, atol=factor * TOLERANCE[dtype] * scale, err_msg=what)


def compare(make: Case, seed: int, dtype: Any, **how: Any) -> None:
    pair = make(np.random.default_rng(seed), dtype, **how)
    learned = parameters(pair.layer)
    inputs = [Tensor(x) for x in pair.inputs]
    leaves = {t: torch.tensor(t.data, requires_grad=True) for t in (*learned.values(), *inputs)}
    ours = list(pair.ours(pair.layer, *inputs))
    theirs = pair.theirs({n: leaves[t] for n, t in learned.items()}, *(leaves[t] for t in inputs))
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert_close(a.data, b, dtype, f"output {i}")
    if leaves:
        names = [*learned, *(f"input {i}" for i in range(len(inputs)))]
        compare_gradients(ours, theirs, leaves, names, dtype)


def compare_gradients(ours: Any, theirs: Any, leaves: Any, names: Any, dtype: Any) -> None:
    c = random_like(ours, 11)
    along = sum((torch.tensor(w) * y).sum() for w, y in zip(c, theirs, strict=True))
    expected = torch.autograd.grad(along, list(leaves.values()), create_graph=True)
    found = grad(dot(c, ours), list(leaves), create_graph=True)
    for name, a, b in zip(names, found, expected, strict=True):
        assert_close(a.data, b, dtype, f"gradient of {name}", 10)
    u = random_like(leaves, 12)
    slope = sum((torch.tensor(w) * g).sum() for w, g in zip(u, expected, strict=True))
    if not slope.requires_grad:  # linear in everything
        return
    second = torch.autograd.grad(slope, list(leaves.values()), materialize_grads=True)
    again = grad(dot(u, found), list(leaves))
    for name, a, b in zip(names, again, second, strict=True):
        assert_close(a, b, dtype, f"second derivative in {name}", 100)


@pytest.mark.parametrize("name", CASES)
@given(seed=SEEDS, dtype=DTYPES)
def test_equals_torch(name: str, seed: int, dtype: Any):
    compare(CASES[name], seed, dtype)


def test_every_layer_has_a_case():
    kinds = {inspect.signature(make).parameters["kind"].default for make in CASES.values()}
    listed = {getattr(layers, name) for name in layers.__all__}
    assert {c for c in listed if inspect.isclass(c)} - kinds == {layers.Cache, layers.Moments}


# Planted faults


class AddsNoBias(layers.Linear):
    def using(self, W: Array, x: Array) -> Array:
        return x @ W


class LosesTheGraph(layers.Linear):
    def using(self, W: Array, x: Array) -> Array:
        return linear(x, W, self.b.data)


class ActivatesLast(layers.MLP):
    def __call__(self, x: Array) -> Array:
        return self.activation(super().__call__(x))


class CountsFromOne(layers.Embedding):
    def __call__(self, x: Any) -> Array:
        return super().__call__((x + 1) % self.n_in)


class ForgetsStart(layers.LearnedPositions):
    def __call__(self, x: Array, start: int = 0) -> Array:
        return super().__call__(x)


class SinesFirst(layers.SinusoidalPositions):
    def __call__(self, x: Array, start: int = 0) -> Array:
        added = super().__call__(x, start) - x
        return x + np.concatenate([added[..., 0::2], added[..., 1::2]], axis=-1)


class TurnsHalves(layers.Rotary):
    def __call__(self, x: Array, start: int = 0) -> Array:
        half = np.stack(np.split(x, 2, axis=-1), axis=-1)
        turned = np.reshape(super().__call__(np.reshape(half, x.shape), start), half.shape)
        return np.concatenate([turned[..., 0], turned[..., 1]], axis=-1)


class TurnsBack(layers.Rotary):
    def __call__(self, x: Array, start: int = 0) -> Array:
        sign = np.where(np.arange(self.n) % 2, -1, 1).astype(x.dtype)
        return super().__call__(x * sign, start) * sign


class TellsNoTime(layers.TimeEmbedding):
    def __call__(self, t: Any) -> Array:
        return super().__call__(0 * t)


class ActivatesTime(layers.TimeEmbedding):
    def __call__(self, t: Any) -> Array:
        return silu(super().__call__(t))


class ByCalls:
    """A cell whose sequence is a loop of its calls, so that a fault of those shows."""

    def sequence(self: Any, x: Array, state: Any) -> Any:
        outputs = []
        for t in range(x.shape[1]):
            state = self(x[:, t], state)
            outputs.append(self.output(state))
        return np.stack(outputs, axis=1), state


class AddsAfter(ByCalls, layers.RNNCell):
    def __call__(self, x: Array, state: Array) -> Array:
        return np.tanh(x @ self.W + state @ self.U) + self.b


class ResetsBefore(ByCalls, layers.GRUCell):
    """As in Cho et al.: the state, not its product."""

    def __call__(self, x: Array, state: Array) -> Array:
        x_r, x_z, x_n = np.split(linear(x, self.W, self.b), 3, axis=-1)
        U_r, U_z, U_n = np.split(self.U, 3, axis=-1)
        r, z = sigmoid(x_r + state @ U_r), sigmoid(x_z + state @ U_z)
        n = np.tanh(x_n + linear(r * state, U_n, self.c_n))
        return (1 - z) * n + z * state


class UpdatesTheOther(ByCalls, layers.GRUCell):
    def __call__(self, x: Array, state: Array) -> Array:
        x_r, x_z, x_n = np.split(linear(x, self.W, self.b), 3, axis=-1)
        h_r, h_z, h_n = np.split(state @ self.U, 3, axis=-1)
        n = np.tanh(x_n + sigmoid(x_r + h_r) * (h_n + self.c_n))
        return sigmoid(x_z + h_z) * n + (1 - sigmoid(x_z + h_z)) * state


class ShowsTheMemory(ByCalls, layers.LSTMCell):
    def output(self, state: Any) -> Array:
        return state[1]


class SwapsGates(ByCalls, layers.LSTMCell):
    def __call__(self, x: Array, state: Any) -> Any:
        i, f, g, o = np.split(linear(x, self.W, self.b) + state[0] @ self.U, 4, axis=-1)
        c = sigmoid(i) * state[1] + sigmoid(f) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c


class ScalesByD(layers.Attention):
    def attend(self, x: Array, cache: Any, mask: Any = None) -> Array:
        B, Q, _ = x.shape
        q = self._split(self.q(x), self.heads)
        h = masked_attention(q, *cache, mask, scale=1 / q.shape[-1])
        return self.o(np.reshape(np.swapaxes(h, 1, 2), (B, Q, self.n_out)))


class SharesKeysInTurn(layers.Attention):
    """Query head i reads key head i mod H_kv."""

    def memory(self, context: Array, start: int = 0) -> Any:
        k, v = super().memory(context, start)
        copies = self.heads // self.key_heads
        return layers.Cache(*(np.concatenate([a] * copies, axis=1) for a in (k, v)))


class MixesHeads(layers.Attention):
    """Head i has every heads-th feature."""

    def _split(self, a: Array, heads: int) -> Array:
        B, T, n = a.shape
        return np.transpose(np.reshape(a, (B, T, n // heads, heads)), (0, 3, 1, 2))


class TurnsKeysOnly(layers.Attention):
    def attend(self, x: Array, cache: Any, mask: Any = None) -> Array:
        turn, self.rotary = self.rotary, None
        y = super().attend(x, cache, mask)
        self.rotary = turn
        return y


class MissesTheLast(layers.Attention):
    def memory(self, context: Array, start: int = 0) -> Any:
        return super().memory(context[:, : max(1, context.shape[1] - 1)], start)


class SeesAll(layers.Attention):
    def attend(self, x: Array, cache: Any, mask: Any = None) -> Array:
        return super().attend(x, cache)


class NormsAfter(layers.TransformerBlock):
    """As in Vaswani et al."""

    def __call__(self, x: Array, mask: Any = None) -> Array:
        y = self.norm_1(x + self.attention(x, mask))
        return self.norm_2(y + self.mlp(y))


class AddsTheNormed(layers.TransformerBlock):
    def _transformed(self, x: Array) -> Array:
        return self.norm_2(x) + self.mlp(self.norm_2(x))


class StepsBlindly(layers.TransformerBlock):
    def step(self, x: Array, cache: Any, mask: Any = None) -> Any:
        return self(x, mask), cache


class IgnoresTheContext(layers.DecoderBlock):
    def memory(self, context: Array) -> Any:
        return super().memory(0 * context)


class SeesAllOfTheContext(layers.DecoderBlock):
    def _told(self, x: Array, memory: Any, context_mask: Any) -> Array:
        return super()._told(x, memory, None)


class LooksAtTheContextFirst(layers.DecoderBlock):
    def __call__(self, x: Array, context: Array, mask: Any = None, context_mask: Any = None) -> Any:
        x = self._told(x, self.memory(context), context_mask)
        return x + self.attention(self.norm_1(x), mask)


class FollowsWhenCalled(layers.SpectralNorm):
    def __call__(self, x: Array) -> Array:
        self.follow()
        return super().__call__(x)


class DividesByFrobenius(layers.SpectralNorm):
    def sigma(self) -> Array:
        W = self.layer.weight()
        return np.sqrt(np.sum(W * W))


class TakesSigmaForConstant(layers.SpectralNorm):
    def sigma(self) -> Array:
        W = self.layer.weight().data
        return float(power_iteration(W, self.v)[0] @ W @ self.v)


class SeesTheCentre(layers.Conv2d):
    """Mask B for A."""

    def __init__(self, *args: Any, mask: Any = None, **how: Any) -> None:
        super().__init__(*args, mask="B" if isinstance(mask, str) else mask, **how)


class MasksNothing(layers.Conv1d):
    def weight(self) -> Array:
        return self.W


class FlipsTheKernel(layers.Conv2d):
    def weight(self) -> Array:
        return super().weight()[..., ::-1, ::-1]


class LooksAhead(layers.CausalConv1d):
    def using(self, W: Array, x: Array) -> Array:
        return super().using(W, x[..., ::-1])[..., ::-1]


class AddsNoBiasBack(layers.ConvTranspose1d):
    def using(self, W: Array, x: Array, size: Any = None) -> Array:
        return super().using(W, x, size) - np.reshape(self.b, (-1, 1))


class ForgetsTheSize(layers.ConvTranspose2d):
    def using(self, W: Array, x: Array, size: Any = None) -> Array:
        return super().using(W, x)


class WithoutBias(layers.LayerNorm):
    """n − 1 for n."""

    def __call__(self, x: Array) -> Array:
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.sum(centred * centred, axis=-1, keepdims=True) / (self.n - 1)
        return centred / np.sqrt(variance + self.eps) * self.gamma + self.beta


class Centres(layers.RMSNorm):
    def __call__(self, x: Array) -> Array:
        return super().__call__(x - np.mean(x, axis=-1, keepdims=True))


class OneGroup(layers.GroupNorm):
    def __init__(self, n: int, groups: int, **how: Any) -> None:
        super().__init__(n, 1, **how)


class KeepsBias(layers.BatchNorm):
    """The running variance divided by n, not n − 1."""

    def batch(self, x: Array) -> Any:
        y, m = super().batch(x)
        count = x.size // self.n
        return y, layers.Moments(m.mean, m.variance * ((count - 1) / count))


class FollowsTheOtherWay(layers.BatchNorm):
    def follow(self, moments: Any) -> None:
        self.momentum = 1 - self.momentum
        super().follow(moments)
        self.momentum = 1 - self.momentum


class CallsByTheBatch(layers.BatchNorm):
    def __call__(self, x: Array) -> Array:
        return self.batch(x)[0]


class ScalesByS(layers.AdaIN):
    def __call__(self, x: Array, style: Array) -> Array:
        return super().__call__(x, style) - super().__call__(x, 0 * style)


class DropsWithoutScale(layers.Dropout):
    def __call__(self, x: Array, rng: Any = None) -> Array:
        return super().__call__(x, rng) * (1 - self.rate if rng else 1.0)


class DropsAlways(layers.Dropout):
    def __call__(self, x: Array, rng: Any = None) -> Array:
        return super().__call__(x, rng or Generator(3, "dropout"))


class FoldsByTheFirstAxis(layers.SpectralNorm):
    """Right for a Conv2d, wrong for a transposed one; and the columns come last."""

    def _matrix(self, W: Array) -> Array:
        return np.reshape(W, (-1, W.shape[self.output_axis]))


WRONG = [
    ("conv1d", MasksNothing),
    ("conv2d", SeesTheCentre),
    ("conv2d", FlipsTheKernel),
    ("causal_conv1d", LooksAhead),
    ("conv_transpose1d", AddsNoBiasBack),
    ("conv_transpose2d", ForgetsTheSize),
    ("layer_norm", WithoutBias),
    ("rms_norm", Centres),
    ("group_norm", OneGroup),
    ("batch_norm", KeepsBias),
    ("batch_norm", FollowsTheOtherWay),
    ("batch_norm", CallsByTheBatch),
    ("adain", ScalesByS),
    ("dropout", DropsWithoutScale),
    ("dropout", DropsAlways),
    ("spectral_norm_of_kernels", FoldsByTheFirstAxis),
    ("linear", AddsNoBias),
    ("linear", LosesTheGraph),
    ("mlp", ActivatesLast),
    ("embedding", CountsFromOne),
    ("learned_positions", ForgetsStart),
    ("sinusoidal_positions", SinesFirst),
    ("rotary", TurnsHalves),
    ("rotary", TurnsBack),
    ("time_embedding", TellsNoTime),
    ("time_embedding", ActivatesTime),
    ("rnn", AddsAfter),
    ("gru", ResetsBefore),
    ("gru", UpdatesTheOther),
    ("lstm", ShowsTheMemory),
    ("lstm", SwapsGates),
    ("self_attention", ScalesByD),
    ("self_attention", MixesHeads),
    ("self_attention", SeesAll),
    ("grouped_attention", SharesKeysInTurn),
    ("grouped_attention", TurnsKeysOnly),
    ("cross_attention", MissesTheLast),
    ("transformer_block", NormsAfter),
    ("transformer_block", AddsTheNormed),
    ("transformer_block", StepsBlindly),
    ("decoder_block", IgnoresTheContext),
    ("decoder_block", SeesAllOfTheContext),
    ("decoder_block", LooksAtTheContextFirst),
    ("spectral_norm", FollowsWhenCalled),
    ("spectral_norm", DividesByFrobenius),
    ("spectral_norm", TakesSigmaForConstant),
]


@pytest.mark.parametrize(("name", "kind"), WRONG, ids=lambda w: getattr(w, "__name__", w))
def test_planted_faults_are_rejected(name: str, kind: Any):
    """By many of forty seeds: for some sizes, such as one head, the fault is none."""
    rejected = sum(rejects(CASES[name], seed, kind) for seed in range(40))
    assert rejected >= 8


def rejects(make: Case, seed: int, kind: Any) -> bool:
    try:
        compare(make, seed, np.float64, kind=kind)
    except AssertionError:
        return True
    return False


def test_every_case_rejects_something():
    assert set(CASES) == {name for name, _ in WRONG}
