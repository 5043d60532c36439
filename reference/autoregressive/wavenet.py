"""WaveNet: causal convolutions whose reach doubles from layer to layer (van den Oord et al. 2016).

    z = tanh(W_f ∗ h) ⊙ σ(W_g ∗ h)                                                           Eq. 2
    h ← h + W_r z,      s ← s + W_s z                        residual and skip connections
    logits = ReLU(ReLU(s) W_1) W_2

With kernels of length 2 and dilations 1, 2, 4, …, 2^(L−1), once in each of N stacks, a token is
predicted from the last R = 1 + N (2^L − 1) (section 2.1): a window that grows with the exponential
of the depth, all of whose positions are computed at once. It was made for sound, of which each
number is one of 256 (`mu_law`), and works on text. MISSION row A6.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array, value
from core.checks import whole
from core.functional import relu
from core.operation import operation
from core.random import Generator
from reference.autoregressive.images import gate
from reference.autoregressive.language_model import LanguageModel
from reference.layers import CausalConv1d, Conv1d, Embedding
from reference.operations.decoding import one_by_one


class WaveNet(LanguageModel):
    """`stacks` of `layers` dilated convolutions of `width` features, over rows of tokens (B, T).

    levels, end: as in LanguageModel. seed names the first parameters' draw.

    >>> model = WaveNet(8, 5, end=0, layers=3, width=8)
    >>> model, model.window
    (WaveNet(dim=8, levels=5, end=0, layers=3, stacks=1, width=8), 1,341 parameters, 8)
    >>> model.log_prob(np.array([[3, 1, 0, 0]])).shape, model.sample(2, seed=1).shape
    ((1,), (2, 8))
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        *,
        end: int | None = None,
        layers: int = 6,
        stacks: int = 1,
        width: int = 32,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(dim, levels, end, dtype)
        self.layers, self.stacks = whole("layers", layers, 1), whole("stacks", stacks, 1)
        self.width, rng = whole("width", width, 1), Generator(seed, stream="init")
        n, how = self.width, dict[str, Any](rng=rng, dtype=dtype)
        self.embedding = Embedding(self.levels + 1, n, **how)
        self.dilated = [
            CausalConv1d(n, 2 * n, 2, dilation=2**i, **how)
            for _ in range(self.stacks)
            for i in range(self.layers)
        ]
        self.residual = [Conv1d(n, n, 1, **how) for _ in self.dilated[1:]]
        self.skip = [Conv1d(n, n, 1, **how) for _ in self.dilated]
        self.leave = [Conv1d(n, n, 1, **how), Conv1d(n, self.levels, 1, **how)]

    @property
    def window(self) -> int:
        """R, how many tokens a conditional looks back."""
        return 1 + self.stacks * int(2**self.layers - 1)

    def network(self, h: Array) -> Array:
        """Features (B, width, T) → logits (B, levels, T), each of the last `window` features."""
        s: Array = 0.0
        for i, conv in enumerate(self.dilated):
            z = gate(conv(h))  # Eq. 2
            s = s + self.skip[i](z)
            h = h + self.residual[i](z) if i < len(self.residual) else h
        for layer in self.leave:
            s = layer(relu(s))
        return s

    def logits(self, x: Any) -> Array:
        """Of every token of x (B, T), given the `window` before it: (B, T, V)."""
        h = self.embedding(self.begun(x[:, :-1]))  # (B, T, n)
        return np.swapaxes(self.network(np.swapaxes(h, 1, 2)), 1, 2)

    def start(self, n: int) -> Any:
        """Nothing yet."""
        return None

    def step(self, x: Any, state: Any) -> tuple[Array, Any]:
        """The logits (n, V) of what follows the tokens x (n, T), and the state, as in `read`."""
        logits, state = read(*self._after(x, state), *self._network())
        return logits[:, -1], state

    def draw(self, x: Any, state: Any, u: Any, **controls: Any) -> tuple[Any, Any]:
        """As in LanguageModel."""
        tokens, state = wavenet_sample(u, *self._after(x, state), *self._network(), **controls)
        return tokens, state

    def _after(self, x: Any, state: Any) -> tuple[Any, Any]:
        """What is to be read, and the state before it."""
        if state is not None:
            return x, state
        return self.begun(x), np.zeros((len(x), self.width, self.window - 1), self.dtype)

    def _network(self) -> tuple[Any, ...]:
        """What `read` takes of it."""
        groups = (self.dilated, self.skip, self.residual, self.leave)
        weights = [[[value(conv.W), value(conv.b)] for conv in convs] for convs in groups]
        return value(self.embedding.W), [conv.dilation for conv in self.dilated], *weights


def read(
    x: Any, state: Any, E: Any, dilations: Any, dilated: Any, skip: Any, residual: Any, leave: Any
) -> tuple[Any, Any]:
    """The logits (n, T, V) of what follows each of the tokens x (n, T), and the state after them.

    state (n, width, Σ d): what every layer was given at the last d times, the first layer's before
    the second's, the oldest first. So a token costs one step of each layer, however far they reach.
    E: the vector of each token; [W, b] of every layer, the last one having no residual.
    """

    def at_once(layer: Any, z: Any) -> Any:
        W, b = layer
        return W[:, :, 0] @ z + b[:, None]

    h, s, after = np.swapaxes(E[x], 1, 2), 0.0, []  # (n, width, T)
    before = np.split(state, np.cumsum(dilations)[:-1], axis=2)
    for i, (queue, (W, b)) in enumerate(zip(before, dilated, strict=True)):
        queue = np.concatenate([queue, h], axis=2)  # (n, width, d + T)
        a = W[:, :, 0] @ queue[:, :, : x.shape[1]] + W[:, :, 1] @ h + b[:, None]
        z = gate(a)
        s = s + at_once(skip[i], z)
        h = h + at_once(residual[i], z) if i < len(residual) else h
        after.append(queue[:, :, x.shape[1] :])
    for layer in leave:
        s = at_once(layer, relu(s))
    return np.swapaxes(s, 1, 2), np.concatenate(after, axis=2)


@operation
def wavenet_sample(
    u: Any,
    x: Any,
    state: Any,
    E: Any,
    dilations: Any,
    dilated: Any,
    skip: Any,
    residual: Any,
    leave: Any,
    **controls: Any,
) -> tuple[Any, Any]:
    """Tokens int64 (n, T) from uniforms u (n, T), and the state after all but the last of them.

    x: the tokens (n, t) to be read first, t ≥ 1, in this state; the others as in `read` (the queues
    of Le Paine et al. 2016, Fast WaveNet generation). controls: as in `decode`.

    >>> E, one = np.zeros((3, 1)), [np.zeros((1, 1, 1)), np.zeros(1)]
    >>> end = [np.zeros((2, 1, 1)), np.array([0.0, 9.0])]
    >>> taps, state = [np.zeros((2, 1, 2)), np.zeros(2)], np.zeros((1, 1, 1))
    >>> u, x = np.full((1, 4), 0.4), np.array([[2]])
    >>> wavenet_sample(u, x, state, E, [1], [taps], [one], [], [one, end])[0]
    array([[1, 1, 1, 1]])
    """

    def step(x: Any, state: Any) -> tuple[Any, Any]:
        logits, state = read(x, state, E, dilations, dilated, skip, residual, leave)
        return logits[:, -1], state

    return one_by_one(step, x, state, u, **controls)


def mu_law(x: Any, levels: int = 256) -> Any:
    """Sound x in [−1, 1] as whole numbers in 0 … levels − 1, finer where it is quiet (section 2.2).

    f(x) = sign(x) ln(1 + μ|x|) / ln(1 + μ),  μ = levels − 1; then rounded.

    >>> mu_law(np.array([-1.0, 0.0, 0.01, 1.0]))
    array([  0, 128, 157, 255])
    """
    mu = whole("levels", levels, 2) - 1
    f = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
    return np.clip(np.floor((f + 1) / 2 * mu + 0.5), 0, mu).astype(np.int64)


def inverse_mu_law(k: Any, levels: int = 256) -> Any:
    """The sound in [−1, 1] that `mu_law` makes k of, in the middle of what it rounds to k."""
    mu = whole("levels", levels, 2) - 1
    f = 2 * np.asarray(k, np.float64) / mu - 1
    return np.sign(f) * np.expm1(np.abs(f) * np.log1p(mu)) / mu
