"""Optimisers, learning-rate schedules, gradient clipping and weight averaging.

Every optimiser sees its parameters as one long vector θ (the papers' letter), so an update is a few
lines of vector arithmetic, done in place and in blocks that stay in the cache. The dtype of the
parameters is the dtype of everything here.

Sources: Nesterov momentum after Sutskever et al. 2013, in PyTorch's form: the gradient is taken at
θ, not at the look-ahead point, and lr stands outside v; the two part when lr changes. Adam is
Kingma & Ba 2015, Algorithm 1. AdamW is Loshchilov & Hutter 2019, Algorithm 2, but decays by lr·λ
as PyTorch does, where the paper's decay follows the schedule alone. Cosine decay is Loshchilov &
Hutter 2017, Eq. 5.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.checks import number, whole
from core.errors import CheckpointError, GenzooError, InputError
from core.operation import operation
from core.tensor import Tensor, value

Arrays = dict[str, NDArray[Any]]
Schedule = Callable[[int], float]

_BLOCK = 1 << 15  # entries per block: gradient, buffers and scratch then stay in the cache


class Diverged(GenzooError, ArithmeticError):
    """A loss, gradient or parameter became NaN or infinite."""


# ------------------------------------------------------------------------------------- optimisers


class Optimiser:
    """What the optimisers share: θ as one vector, its gradient g, and buffers named by `letters`.

    `step` goes through θ in blocks: it copies a block of g, lets `_direction` turn it into the step
    Δ in place, and subtracts Δ from θ. A parameter without a gradient is skipped: neither it nor
    its buffers nor its step count t move.
    """

    letters: tuple[str, ...] = ()

    def __init__(self, params: Mapping[str, Tensor], lr: float, weight_decay: float = 0.0):
        self.params = _checked(params)
        self.lr = number("lr", lr, least=0)
        self.weight_decay = number("weight_decay", weight_decay, least=0)
        ends = np.cumsum([0, *(p.size for p in self.params.values())]).tolist()
        self._slices = [slice(a, b) for a, b in pairwise(ends)]
        dtype = next(iter(self.params.values())).dtype
        self._g, self._scratch = np.empty((2, min(ends[-1], _BLOCK)), dtype)
        self._buffers = {letter: np.zeros(ends[-1], dtype) for letter in self.letters}
        self._plans: dict[tuple[int, int], list[Block]] = {}
        self.t = np.zeros(len(self.params), np.int64)  # updates that each parameter has had

    def zero_grad(self) -> None:
        """Forget the gradients of these parameters (and of no others)."""
        for p in self.params.values():
            p.grad = None

    def step(self, scale: float = 1.0) -> None:
        """θ ← θ − Δ, with the learning rate times `scale` (a schedule's multiplier).

        Raises Diverged, before anything has moved, if a gradient holds NaN or infinity.
        """
        lr = self.lr * scale
        gradients, small = self._gather()
        self.t[list(gradients)] += 1
        tensors = list(self.params.values())
        theta = {i: value(tensors[i]).reshape(-1) for i in gradients}
        for part, t in self._parts(list(gradients)):
            for block, pieces in self._plan(part):
                g = self._g[: block.stop - block.start]
                for i, here, there in pieces:
                    g[there] = gradients[i][here]
                    if self.weight_decay:
                        self._decay(g[there], theta[i][here], lr)
                if not small:
                    self._bound(g)
                buffers = [b[block] for b in self._buffers.values()]
                self._direction(g, *buffers, scratch=self._scratch[: g.size], lr=lr, t=t)
                for i, here, there in pieces:
                    theta[i][here] -= g[there]
        for i, moved in theta.items():
            _put(tensors[i], moved)

    def state_dict(self) -> Arrays:
        """The buffers under 'letter.parameter', and the step counts under 't'. Copies."""
        named = {
            f"{letter}.{name}": buffer[part].reshape(p.shape).copy()
            for letter, buffer in self._buffers.items()
            for (name, p), part in zip(self.params.items(), self._slices, strict=True)
        }
        return {**named, "t": self.t.copy()}

    def load_state_dict(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `state_dict` gave; CheckpointError if it belongs to other parameters."""
        _check_same(self.state_dict(), arrays, "optimiser state")
        self.t[...] = arrays["t"]
        for letter, buffer in self._buffers.items():
            for name, part in zip(self.params, self._slices, strict=True):
                buffer[part] = arrays[f"{letter}.{name}"].reshape(-1)

    def _direction(self, g: Any, *buffers: Any, scratch: NDArray[Any], lr: float, t: int) -> None:
        raise NotImplementedError

    def _gather(self) -> tuple[dict[int, Any], bool]:
        """Flat gradients of the parameters that have one, and whether all squares are finite.

        Raises Diverged for a gradient that holds NaN or infinity.
        """
        tensors = enumerate(self.params.values())
        found = {i: value(p.grad).reshape(-1) for i, p in tensors if p.grad is not None}
        # Dot products see every NaN and infinity; only if they do are the gradients searched.
        if math.isfinite(sum(float(np.vdot(g, g)) for g in found.values())):
            return found, True
        names = list(self.params)
        for i, g in found.items():
            if not np.isfinite(g).all():
                raise Diverged(f"the gradient of {names[i]} holds NaN or infinity")
        return found, False

    def _bound(self, g: Any) -> None:
        """Deal with finite entries of g so large that their squares may not be."""

    def _decay(self, g: Any, theta: Any, lr: float) -> None:
        """Coupled (L2) decay: g ← g + λθ, as if ½λ‖θ‖² were part of the loss."""
        g += self.weight_decay * theta

    def _parts(self, present: list[int]) -> list[tuple[slice, int]]:
        """Stretches of the vector that share a step count t: usually all of it, at once."""
        if len(present) == len(self.params) and (self.t == self.t[0]).all():
            return [(slice(0, self._slices[-1].stop), int(self.t[0]))]
        return [(self._slices[i], int(self.t[i])) for i in present]

    def _plan(self, part: slice) -> "list[Block]":
        """The blocks of a stretch of the vector, and what lies in each."""
        key = part.start, part.stop
        if key not in self._plans:
            starts = range(part.start, part.stop, _BLOCK)
            blocks = [slice(a, min(a + _BLOCK, part.stop)) for a in starts]
            self._plans[key] = [(block, self._pieces(block)) for block in blocks]
        return self._plans[key]

    def _pieces(self, block: slice) -> list[tuple[int, slice, slice]]:
        """(number of a parameter, where in the parameter, where in the block), in order."""
        found = []
        for i, own in enumerate(self._slices):
            a, b = max(own.start, block.start), min(own.stop, block.stop)
            if a < b:
                here = slice(a - own.start, b - own.start)
                found.append((i, here, slice(a - block.start, b - block.start)))
        return found


Block = tuple[slice, list[tuple[int, slice, slice]]]


def _put(p: Tensor, flat: Any) -> None:
    """Say that p has moved, and where its memory is not one line, move it."""
    if not value(p).flags.c_contiguous:
        value(p)[...] = flat.reshape(p.shape)
    p.touch()


class SGD(Optimiser):
    """Stochastic gradient descent: v ← μv + g; θ ← θ − lr·v, or θ − lr·(g + μv) with Nesterov.

    >>> w = Tensor(np.array([1.0, 2.0]))
    >>> optimiser = SGD({"w": w}, lr=0.1)
    >>> np.sum(w * w).backward()
    >>> optimiser.step()
    >>> w.data
    array([0.8, 1.6])
    """

    def __init__(
        self,
        params: Mapping[str, Tensor],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        self.momentum = _fraction("momentum", momentum)
        self.nesterov = nesterov
        if nesterov and not self.momentum:
            raise InputError("momentum must be > 0 with nesterov, got 0")
        self.letters = ("v",) if self.momentum else ()
        super().__init__(params, lr, weight_decay)

    def _direction(self, g: Any, *buffers: Any, scratch: NDArray[Any], lr: float, t: int) -> None:
        for v in buffers:  # none without momentum
            v *= self.momentum
            v += g
            if self.nesterov:
                np.multiply(v, self.momentum, out=scratch)
                g += scratch
            else:
                g[...] = v
        g *= lr


class Adam(Optimiser):
    """Adam, Algorithm 1 of Kingma & Ba; `weight_decay` adds λθ to the gradient (L2).

    An entry of the gradient beyond ±2⁶³ (±2⁵¹¹ in float64) counts as that: its square, and v with
    it, would be infinite, and the parameter would never move again.

    >>> w = Tensor(np.array([1.0, -20.0]))
    >>> optimiser = Adam({"w": w}, lr=0.1)
    >>> w.grad = np.array([3.0, -0.02])
    >>> optimiser.step()  # by lr at first, whatever the gradient
    >>> w.data.round(5)
    array([  0.9, -19.9])
    """

    letters = ("m", "v")

    def __init__(
        self,
        params: Mapping[str, Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        self.betas = tuple(_fraction(f"betas[{i}]", beta) for i, beta in enumerate(betas))
        if len(self.betas) != 2:
            raise InputError(f"betas must be two numbers, got {betas!r}")
        self.eps = number("eps", eps, above=0)
        super().__init__(params, lr, weight_decay)

    def _bound(self, g: Any) -> None:
        largest = 2.0 ** (np.finfo(g.dtype).maxexp // 2 - 1)
        np.clip(g, -largest, largest, out=g)

    def _direction(self, g: Any, *buffers: Any, scratch: NDArray[Any], lr: float, t: int) -> None:
        m, v = buffers
        how = {"lr": lr, "betas": self.betas, "eps": self.eps, "t": t}
        adam_step(g, m, v, **how, out=(g, m, v), scratch=scratch)


@operation(arrays=0)
def adam_step(
    g: Any,
    m: Any,
    v: Any,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    t: int,
    out: tuple[Any, Any, Any] | None = None,
    scratch: Any = None,
) -> tuple[Any, Any, Any]:
    """(Δ, m, v) of Adam's step t = 1, 2, …: the step to subtract, and the moments after it.

    g, m, v: arrays of one shape and dtype. out: three such for the results, g, m and v themselves
    if wanted. scratch: one more, or None.

    >>> step, m, v = adam_step(np.ones(1), np.zeros(1), np.zeros(1), lr=0.1, betas=(0.9, 0.99),
    ...                        eps=1e-8, t=1)
    >>> step.round(6), m.round(6), v.round(6)
    (array([0.1]), array([0.1]), array([0.01]))
    """
    (beta1, beta2), given = betas, (g, m, v)
    g, m, v = out or (np.empty_like(x) for x in given)
    for x, start in zip((g, m, v), given, strict=True):
        if x is not start:
            np.copyto(x, start)
    m *= beta1  # m ← β₁m + (1 − β₁)g
    m += np.multiply(g, 1 - beta1, out=scratch)
    v *= beta2  # v ← β₂v + (1 − β₂)g²
    g *= g
    v += np.multiply(g, 1 - beta2, out=scratch)
    # The two bias corrections as scalars, as the paper has it just before section 2.1 (the ε̂
    # that it leaves free is c·ε here):
    # lr·m̂ / (√v̂ + ε) = (lr·c / (1 − β₁ᵗ)) · m / (√v + c·ε), with c = √(1 − β₂ᵗ).
    c = math.sqrt(1 - beta2**t)
    denominator = np.sqrt(v, out=scratch)
    denominator += max(c * eps, float(np.finfo(g.dtype).tiny))  # never 0 / 0
    np.divide(m, denominator, out=g)
    g *= lr * c / (1 - beta1**t)
    return g, m, v


class AdamW(Adam):
    """Adam with decoupled decay, which v does not rescale: θ ← θ − lr·(m̂ / (√v̂ + ε) + λθ).

    >>> w = Tensor(np.array([1.0]))
    >>> optimiser = AdamW({"w": w}, lr=0.1, weight_decay=0.5)
    >>> w.grad = np.array([0.0])
    >>> optimiser.step()
    >>> w.data
    array([0.95])
    """

    def __init__(
        self,
        params: Mapping[str, Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)

    def _decay(self, g: Any, theta: Any, lr: float) -> None:
        theta *= 1 - lr * self.weight_decay


# --------------------------------------------------------------------------------------- clipping


def clip_grad_norm(params: Mapping[str, Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor so that their joint Euclidean norm is at most `max_norm`.

    Returns the norm before clipping (Pascanu et al. 2013, Algorithm 1). Raises Diverged, naming the
    parameter, if a gradient holds NaN or infinity.

    >>> w = Tensor(np.zeros(2))
    >>> w.grad = np.array([3.0, 4.0])
    >>> float(clip_grad_norm({"w": w}, 1.0)), w.grad
    (5.0, array([0.6, 0.8]))
    """
    if not max_norm > 0:
        raise InputError(f"max_norm must be > 0, got {max_norm}")
    gradients = {name: value(p.grad) for name, p in params.items() if p.grad is not None}
    top, relative = 1.0, _norm(gradients)
    if not _SMALL < relative < _LARGE:  # squares that are 0 or ∞ say nothing
        top = _largest(gradients)
        relative = _norm({name: g / g.dtype.type(top) for name, g in gradients.items()})
    if top * relative > max_norm:
        for name, g in gradients.items():  # new arrays: gradients may share memory
            scaled = g if top == 1 else g / g.dtype.type(top)
            params[name].grad = scaled * (max_norm / relative)
    return top * relative


_SMALL, _LARGE = 1e-15, 1e15  # between them no square leaves float32's range by itself


def _norm(gradients: Arrays) -> float:
    squares = (g.reshape(-1) for g in gradients.values())
    return math.sqrt(sum(float(np.vdot(g, g)) for g in squares))


def _largest(gradients: Arrays) -> float:
    """The largest magnitude; Diverged for NaN and infinity."""
    for name, g in gradients.items():
        if not np.isfinite(g).all():
            raise Diverged(f"the gradient of {name} holds NaN or infinity")
    return max((float(np.abs(g).max(initial=0)) for g in gradients.values()), default=0.0) or 1.0


# -------------------------------------------------------------------------------------- schedules


def constant() -> Schedule:
    """The multiplier 1 at every step."""
    return lambda step: 1.0


def linear_warmup(n: int) -> Schedule:
    """1/n, 2/n, …, 1 over the first n steps (counted from 0), then 1."""
    n = whole("n", n)
    return lambda step: min(1.0, (step + 1) / n) if n else 1.0


def cosine(total: int, warmup: int = 0, floor: float = 0.0) -> Schedule:
    """Linear warm-up, then half a cosine from 1 at step `warmup` to `floor` at step `total`.

    >>> multiplier = cosine(8, warmup=4)
    >>> [round(multiplier(step), 3) for step in range(9)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    total, warmup = whole("total", total), whole("warmup", warmup)
    floor, rise = number("floor", floor, least=0, most=1), linear_warmup(warmup)

    def multiplier(step: int) -> float:
        if step < warmup:
            return rise(step)
        done = min(1.0, (step - warmup) / max(1, total - warmup))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return multiplier


def step_decay(every: int, factor: float = 0.1) -> Schedule:
    """factor^⌊step / every⌋: a staircase."""
    every, factor = whole("every", every, 1), number("factor", factor, above=0, most=1)
    return lambda step: factor ** (step // every)


# ------------------------------------------------------------------------------ weight averaging


class EMA:
    """Exponential moving average of parameters θ₁ … θ_K, without the pull of a starting value:

        average_K = (1 − d) Σ_k d^(K−k) θ_k / (1 − d^K),

    which is Adam's bias-corrected average. Before the first `update` it is the parameters given.

    >>> w = Tensor(np.zeros(1))
    >>> ema = EMA({"w": w}, decay=0.5)
    >>> for step in (1.0, 4.0):
    ...     w[...] = step
    ...     ema.update()
    >>> with ema.swapped():
    ...     float(w.data[0])  # (1 + 2 · 4) / 3
    3.0
    """

    def __init__(self, params: Mapping[str, Tensor], decay: float):
        self.params = _checked(params)
        self.decay = _fraction("decay", decay)
        self.k = 0
        self._average = {name: p.data.copy() for name, p in self.params.items()}

    def update(self) -> None:
        """Take the present parameters into the average: a ← a + w(θ − a), w = (1−d)/(1−d^K)."""
        self.k += 1
        w = (1 - self.decay) / (1 - self.decay**self.k)
        for name, p in self.params.items():
            average = self._average[name]
            average += w * (p.data - average)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Within the block the parameters hold their averages; after it, their own values again."""
        own = {name: p.data.copy() for name, p in self.params.items()}
        self._write(self._average)
        try:
            yield
        finally:
            self._write(own)

    def state_dict(self) -> Arrays:
        """The averages under 'average.parameter', the number of updates under 'k'. Copies."""
        named = {f"average.{name}": average.copy() for name, average in self._average.items()}
        return {**named, "k": np.array(self.k)}

    def load_state_dict(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `state_dict` gave; CheckpointError if it belongs to other parameters."""
        _check_same(self.state_dict(), arrays, "average")
        self.k = int(arrays["k"])
        for name, average in self._average.items():
            average[...] = arrays[f"average.{name}"]

    def _write(self, values: Arrays) -> None:
        for name, p in self.params.items():
            p[...] = values[name]


# ------------------------------------------------------------------------------------- the checks


def _checked(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not isinstance(params, Mapping):
        got = type(params).__name__
        raise InputError(f"params must be Tensors by name, as parameters(model), got {got}")
    if not params:
        raise InputError("params must hold at least one Tensor, got none")
    dtypes = sorted({str(p.dtype) for p in params.values()})
    if len(dtypes) > 1:
        raise InputError(f"params must share one dtype, got {' and '.join(dtypes)}")
    return dict(params)


def _check_same(own: Arrays, arrays: Mapping[str, NDArray[Any]], what: str) -> None:
    if own.keys() != arrays.keys():
        odd = sorted(own.keys() ^ arrays.keys())[0]
        raise CheckpointError(f"the {what} fits other parameters: {odd} is on one side only")
    for name, a in own.items():
        b = arrays[name]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise CheckpointError(
                f"the {what} {name} must be {a.dtype} {a.shape}, got {b.dtype} {b.shape}"
            )


def _fraction(name: str, x: float) -> float:
    return number(name, x, least=0, below=1)
