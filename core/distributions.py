"""Probability distributions, with the names of torch.distributions and formulas of their own.

A distribution holds parameters: arrays, Tensors or Python numbers. Its shape has two parts, the
parameters' batch_shape B (independent distributions side by side) and one draw's event_shape E.

    log_prob(x)          nats, (…, *B), for x (…, *B, *E)
    sample(shape, rng)   plain array (*shape, *B, *E)
    rsample(shape, rng)  the same numbers as a differentiable function of the parameters
    entropy(), cdf(x), kl_divergence(p, q)   in closed form, where there is one

rng is a `core.random.Generator`, or a seed (stream "sample", from step 0). Where x or parameters
are Tensors, so are results, and gradients flow to both. There is one float dtype throughout,
float32 or float64, and results have it; Python numbers adopt it (float32 where nothing has one).

Bad input raises InputError: NaN, mixed dtypes, shapes that don't fit, parameters out of range, x
outside the support. Probabilities 0 and 1 are in range: 0 · ln 0 = 0, and a divergence may be ∞.

Source: Kingma & Welling 2014, §2.4 (rsample). MISSION rows F1, F3, F6, F7, A8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from core import functional as F
from core import special
from core.errors import InputError
from core.random import Generator
from core.tensor import Array, Tensor, no_grad, value

Shape = int | tuple[int, ...]
_LOG_2PI = math.log(2 * math.pi)


@runtime_checkable
class Distribution(Protocol):
    """What every distribution can do."""

    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]

    def log_prob(self, x: Array) -> Array:
        """Log-probability or log-density in nats."""

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """Independent draws, without gradient."""


class Bernoulli:
    """P(x = 1) = p = σ(logits), P(x = 0) = 1 − p. Give logits (±∞ allowed) or probs in [0, 1].

    x holds 0 and 1 in any dtype; draws have the parameter's.
    """

    event_shape: tuple[int, ...] = ()

    def __init__(self, logits: Array = None, *, probs: Array = None) -> None:
        if _only_one("logits", logits, "probs", probs) == "probs":
            (p,) = _parameters(probs=probs)
            _require("probs", p, "in [0, 1]", lambda p: (p >= 0) & (p <= 1))
            with np.errstate(divide="ignore"):  # p = 0 and p = 1 are logits −∞ and ∞
                logits = np.log(p) - np.log1p(-p)
        (self.logits,) = _parameters(finite=False, logits=logits)
        self.batch_shape = self.logits.shape

    @property
    def probs(self) -> Array:
        """p = σ(logits)."""
        return F.sigmoid(self.logits)

    @property
    def mean(self) -> Array:
        """p = σ(logits)."""
        return self.probs

    @property
    def variance(self) -> Array:
        """p (1 − p)."""
        return F.sigmoid(self.logits) * F.sigmoid(-self.logits)

    def log_prob(self, x: Array) -> Array:
        """ln p where x = 1, ln (1 − p) where x = 0."""
        x = _binary(x, self.logits.dtype, self)
        return F.log_sigmoid((2 * x - 1) * self.logits)  # 1 − σ(l) = σ(−l); no 0 · ∞

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """0 and 1 in the parameters' dtype: 1 where a uniform falls below p."""
        p = value(self.probs)
        return (_draw("uniform", self, shape, rng, p.dtype) < p).astype(p.dtype)

    def entropy(self) -> Array:
        """−p ln p − (1 − p) ln (1 − p)."""
        return _entropy(self._log_probs())

    def _log_probs(self) -> Array:
        return np.stack([F.log_sigmoid(-self.logits), F.log_sigmoid(self.logits)], axis=-1)


class Categorical:
    """P(x = k) ∝ e^logits_k (−∞ allowed), or ∝ probs_k ≥ 0, along the last axis, of length K.

    x and draws are integers in 0 … K−1. `logits` and `probs` hold the normalised values.
    """

    event_shape: tuple[int, ...] = ()

    def __init__(self, logits: Array = None, *, probs: Array = None) -> None:
        if _only_one("logits", logits, "probs", probs) == "probs":
            (p,) = _parameters(probs=probs)
            _require("probs", p, "at least 0", lambda p: p >= 0)
            with np.errstate(divide="ignore"):
                logits = np.log(p)
        (logits,) = _parameters(finite=False, logits=logits)
        if logits.ndim == 0 or logits.shape[-1] == 0:
            raise InputError(f"logits must have a last axis of length K ≥ 1, got {logits.shape}")
        top = value(logits).max(-1)
        _require("the largest of logits", top, "finite (some probs positive)", np.isfinite)
        self.logits = F.log_softmax(logits)  # (*batch_shape, K)
        self.batch_shape = self.logits.shape[:-1]

    @property
    def probs(self) -> Array:
        """P(x = k), (*batch_shape, K)."""
        return np.exp(self.logits)

    def log_prob(self, x: Array) -> Array:
        """ln P(x)."""
        K = self.logits.shape[-1]
        x = _integers(x, K, self)
        shape = np.broadcast_shapes(x.shape, self.batch_shape)
        logits = np.broadcast_to(self.logits, (*shape, K))
        index = np.broadcast_to(x, shape)[..., None]
        return np.take_along_axis(logits, index, axis=-1)[..., 0]

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """By inverse cdf: the number of cumulative probabilities that a uniform has reached."""
        cdf = np.cumsum(np.exp(value(self.logits).astype(np.float64)), axis=-1)
        cdf = cdf / cdf[..., -1:]  # ends in 1 exactly: outcomes of probability 0 never come
        u = _draw("uniform", self, shape, rng, np.float64)
        return np.sum(u[..., None] >= cdf, axis=-1)

    def entropy(self) -> Array:
        """−Σ p ln p."""
        return _entropy(self.logits)

    def _log_probs(self) -> Array:
        return self.logits


class Normal:
    """N(loc, scale²), scale > 0: p(x) = exp(−(x − μ)² / 2σ²) / σ√2π."""

    event_shape: tuple[int, ...] = ()

    def __init__(self, loc: Array, scale: Array) -> None:
        self.loc, self.scale = _parameters(loc=loc, scale=scale)
        _require("scale", self.scale, "positive", lambda s: s > 0)
        self.batch_shape = _broadcast(loc=np.shape(self.loc), scale=np.shape(self.scale))

    @property
    def mean(self) -> Array:
        """μ."""
        return _spread(self.loc, self.batch_shape)

    @property
    def variance(self) -> Array:
        """σ²."""
        return _spread(self.scale * self.scale, self.batch_shape)

    def log_prob(self, x: Array) -> Array:
        """−(x − μ)² / 2σ² − ln σ − ½ ln 2π."""
        z = (_point(x, self) - self.loc) / self.scale
        return -0.5 * (z * z) - _log(self.scale) - 0.5 * _LOG_2PI

    def cdf(self, x: Array) -> Array:
        """P(X ≤ x) = Φ((x − μ) / σ)."""
        return special.ndtr((_point(x, self) - self.loc) / self.scale)

    def rsample(self, shape: Shape, rng: Generator | int) -> Array:
        """μ + σ ε, ε ~ N(0, 1)."""
        return self.loc + self.scale * _draw("normal", self, shape, rng, _dtype_of(self.loc))

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """The numbers of `rsample`, without gradient."""
        with no_grad():
            return self.rsample(shape, rng)

    def entropy(self) -> Array:
        """½ ln 2πe + ln σ."""
        return _spread(0.5 + 0.5 * _LOG_2PI + _log(self.scale), self.batch_shape)


class MultivariateNormal:
    """N(loc, Σ) on vectors of length D, with Σ = L Lᵀ. Give covariance_matrix Σ or scale_tril L.

    loc (…, D), Σ or L (…, D, D), whose leading axes broadcast. Σ symmetric and positive definite;
    L lower triangular with a positive diagonal.
    """

    def __init__(
        self, loc: Array, covariance_matrix: Array = None, *, scale_tril: Array = None
    ) -> None:
        form = _only_one("covariance_matrix", covariance_matrix, "scale_tril", scale_tril)
        matrix = covariance_matrix if scale_tril is None else scale_tril
        self.loc, matrix = _parameters(**{"loc": loc, form: matrix})
        D = np.shape(self.loc)[-1:]
        if not D or np.shape(matrix)[-2:] != D + D:
            raise InputError(
                f"loc and {form} must have shapes (…, D) and (…, D, D), "
                f"got {np.shape(self.loc)} and {np.shape(matrix)}"
            )
        self.scale_tril = matrix if form == "scale_tril" else _cholesky(matrix)
        L = value(self.scale_tril)
        _require("scale_tril", L, "0 above its diagonal", lambda L: np.tril(L) == L)
        _require("scale_tril", _diagonal(L), "positive on its diagonal", lambda d: d > 0)
        self.batch_shape = _broadcast(loc=self.loc.shape[:-1], **{form: matrix.shape[:-2]})
        self.event_shape: tuple[int, ...] = D

    @property
    def mean(self) -> Array:
        """μ, (*batch_shape, D)."""
        return _spread(self.loc, self.batch_shape + self.event_shape)

    @property
    def covariance_matrix(self) -> Array:
        """Σ = L Lᵀ."""
        return self.scale_tril @ np.swapaxes(self.scale_tril, -1, -2)

    def log_prob(self, x: Array) -> Array:
        """−½ |y|² − ln |L| − D/2 ln 2π, with L y = x − μ."""
        y = _solve(self.scale_tril, _point(x, self) - self.loc)
        D = self.event_shape[0]
        return -0.5 * np.sum(y * y, axis=-1) - _log_det(self.scale_tril) - 0.5 * D * _LOG_2PI

    def rsample(self, shape: Shape, rng: Generator | int) -> Array:
        """μ + L ε, ε ~ N(0, 1)."""
        eps = _draw("normal", self, shape, rng, self.loc.dtype)
        return self.loc + (self.scale_tril @ eps[..., None])[..., 0]

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """The numbers of `rsample`, without gradient."""
        with no_grad():
            return self.rsample(shape, rng)

    def entropy(self) -> Array:
        """D/2 ln 2πe + ln |L|."""
        h = _log_det(self.scale_tril) + 0.5 * self.event_shape[0] * (1 + _LOG_2PI)
        return _spread(h, self.batch_shape)


class Logistic:
    """cdf σ((x − loc) / scale), scale > 0: p(x) = σ(z) σ(−z) / s with z = (x − μ) / s."""

    event_shape: tuple[int, ...] = ()

    def __init__(self, loc: Array, scale: Array) -> None:
        self.loc, self.scale = _parameters(loc=loc, scale=scale)
        _require("scale", self.scale, "positive", lambda s: s > 0)
        self.batch_shape = _broadcast(loc=np.shape(self.loc), scale=np.shape(self.scale))

    @property
    def mean(self) -> Array:
        """μ."""
        return _spread(self.loc, self.batch_shape)

    @property
    def variance(self) -> Array:
        """s² π² / 3."""
        return _spread(self.scale * self.scale * (math.pi**2 / 3), self.batch_shape)

    def log_prob(self, x: Array) -> Array:
        """ln σ(z) + ln σ(−z) − ln s."""
        z = (_point(x, self) - self.loc) / self.scale
        return F.log_sigmoid(z) + F.log_sigmoid(-z) - _log(self.scale)

    def cdf(self, x: Array) -> Array:
        """σ(z)."""
        return F.sigmoid((_point(x, self) - self.loc) / self.scale)

    def rsample(self, shape: Shape, rng: Generator | int) -> Array:
        """μ + s · logit u; u ≥ 10⁻⁷ as for normals, so |logit u| < 16.7."""
        u = _draw("uniform", self, shape, rng, _dtype_of(self.loc))
        return self.loc + self.scale * special.logit(np.maximum(u, u.dtype.type(1e-7)))

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """The numbers of `rsample`, without gradient."""
        with no_grad():
            return self.rsample(shape, rng)

    def entropy(self) -> Array:
        """2 + ln s."""
        return _spread(2.0 + _log(self.scale), self.batch_shape)


class DiscretizedLogistic:
    """A logistic variable rounded to one of `levels` values x = 0 … L−1, placed evenly on [−1, 1].

    Value x sits at 2x / (L−1) − 1 and takes what falls within half a step 1 / (L−1) of it; the two
    outermost take their whole tails, so the probabilities sum to 1 (Salimans et al. 2017, Eq. 2).
    With a > b the edges of the bin in units of the scale, and δ = a − b = 2 / (L−1)s,

        P(x) = σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(−δ))

    and the right-hand side has a logarithm that neither cancels nor overflows, at any scale.
    """

    event_shape: tuple[int, ...] = ()

    def __init__(self, loc: Array, scale: Array, levels: int = 256) -> None:
        if not isinstance(levels, int) or levels < 2:
            raise InputError(f"levels must be an int of at least 2, got {levels!r}")
        self.logistic, self.levels = Logistic(*_arrays(loc=loc, scale=scale)), levels
        self.batch_shape = self.logistic.batch_shape

    def log_prob(self, x: Array) -> Array:
        """ln P(x) for integers x."""
        x = _integers(x, self.levels, self)
        scale = self.logistic.scale
        below = F.log_sigmoid(self._edge(x, 1))  # ln P(X ≤ x)
        above = F.log_sigmoid(-self._edge(x, -1))  # ln P(X ≥ x)
        width = np.log(-np.expm1(-2 / (self.levels - 1) / scale))
        inner = np.where(x == self.levels - 1, above, below + above + width)
        return np.where(x == 0, below, inner)

    def _edge(self, x: Any, side: int) -> Array:
        """(upper (1) or lower (−1) edge of the bin − μ) / s."""
        edge = ((2 * x + side) / (self.levels - 1) - 1).astype(self.logistic.loc.dtype)
        return (edge - self.logistic.loc) / self.logistic.scale

    def cdf(self, x: Array) -> Array:
        """P(X ≤ x) for integers x."""
        x = _integers(x, self.levels, self)
        return np.where(x == self.levels - 1, 1.0, F.sigmoid(self._edge(x, 1)))

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """A logistic draw, rounded to the nearest level (int64)."""
        y = self.logistic.sample(shape, rng)
        x = np.floor((y + 1) * ((self.levels - 1) / 2) + 0.5)
        return np.clip(x, 0, self.levels - 1).astype(np.int64)

    def entropy(self) -> Array:
        """−Σ P ln P over the levels."""
        return _entropy_by_levels(self, self.levels)


class Mixture:
    """Σ_k π_k p_k(x): `mixing` holds π, (…, K); `component` has batch_shape (…, K).

    The K components are the last batch axis of one distribution of any kind; the batch axes before
    it are the mixture's, and π broadcasts to them.
    """

    def __init__(self, mixing: Categorical, component: Distribution) -> None:
        K = mixing.logits.shape[-1]
        if component.batch_shape[-1:] != (K,):
            raise InputError(
                f"component must have batch_shape (…, {K}) for {K} mixing probabilities, "
                f"got {component.batch_shape}"
            )
        batch = component.batch_shape[:-1]
        if _broadcast(mixing=mixing.batch_shape, component=batch) != batch:
            raise InputError(f"mixing has batch_shape {mixing.batch_shape}; component has {batch}")
        spread = _spread(mixing.logits, (*batch, K))
        self.mixing, self.component = Categorical(logits=spread), component
        self.batch_shape, self.event_shape = batch, component.event_shape

    def log_prob(self, x: Array) -> Array:
        """ln Σ_k π_k p_k(x), from logarithms only."""
        return F.logsumexp(self._log_joint(x), axis=-1)

    def _log_joint(self, x: Array) -> Array:
        """ln π_k + ln p_k(x), (…, K)."""
        return self.mixing.logits + self.component.log_prob(self._beside(x))

    def _beside(self, x: Array) -> Array:
        """Give x an axis to meet the K components on."""
        if not hasattr(x, "dtype"):
            x = np.asarray(x)
            x = x.astype(self.mixing.logits.dtype) if x.dtype.kind == "f" else x
        return np.expand_dims(x, x.ndim - len(self.event_shape))

    def cdf(self, x: Array) -> Array:
        """Σ_k π_k P_k(X ≤ x), where the components have a cdf."""
        if not hasattr(self.component, "cdf"):
            raise InputError(f"component {type(self.component).__name__} has no cdf")
        return np.sum(self.mixing.probs * self.component.cdf(self._beside(x)), axis=-1)

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """Draw from every component, and keep the one that `mixing` draws."""
        rng = _generator(rng)
        k = self.mixing.sample(shape, rng)  # (*shape, *batch)
        every = self.component.sample(shape, rng)  # (*shape, *batch, K, *event)
        index = k.reshape(k.shape + (1,) * (every.ndim - k.ndim))
        return np.take_along_axis(every, index, axis=k.ndim).squeeze(k.ndim)


class DiscretizedLogisticMixture(Mixture):
    """Mixture of discretised logistics, the conditional of PixelCNN++ (Salimans et al. 2017).

    logits, loc, scale (…, K): K components on [−1, 1]; x (…) integers in 0 … levels−1.
    """

    def __init__(self, logits: Array, loc: Array, scale: Array, levels: int = 256) -> None:
        super().__init__(Categorical(logits=logits), DiscretizedLogistic(loc, scale, levels))
        self.levels = levels

    def entropy(self) -> Array:
        """−Σ P ln P over the levels."""
        return _entropy_by_levels(self, self.levels)


class Independent:
    """`base` with its last `ndims` batch axes read as part of the event: log-probabilities add."""

    def __init__(self, base: Distribution, ndims: int = 1) -> None:
        if not 0 <= ndims <= len(base.batch_shape):
            raise InputError(f"ndims must be in [0, {len(base.batch_shape)}], got {ndims}")
        split = len(base.batch_shape) - ndims
        self.base, self.axes = base, tuple(range(-ndims, 0))
        self.batch_shape = base.batch_shape[:split]
        self.event_shape = base.batch_shape[split:] + base.event_shape

    def log_prob(self, x: Array) -> Array:
        """Σ ln p(x_i)."""
        return np.sum(self.base.log_prob(x), axis=self.axes)

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """The draws of `base`."""
        return self.base.sample(shape, rng)

    def rsample(self, shape: Shape, rng: Generator | int) -> Array:
        """The differentiable draws of `base`."""
        return _reparametrised(self.base).rsample(shape, rng)

    def entropy(self) -> Array:
        """Σ H_i, where `base` has an entropy."""
        if not hasattr(self.base, "entropy"):
            raise InputError(f"base {type(self.base).__name__} has no entropy in closed form")
        return np.sum(self.base.entropy(), axis=self.axes)


# Change of variables


class Transform(Protocol):
    """An invertible, differentiable map of each entry by itself.

    sign: 1 where it increases, −1 where it decreases; its shape must broadcast to the base's.
    """

    sign: Any

    def forward(self, x: Array) -> Array:
        """y = f(x)."""

    def inverse(self, y: Array) -> Array:
        """x = f⁻¹(y). Raises InputError where there is none."""

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        """ln |dy/dx|, elementwise."""


class AffineTransform:
    """y = loc + scale · x, scale ≠ 0."""

    def __init__(self, loc: Array, scale: Array) -> None:
        self.loc, self.scale = _parameters(loc=loc, scale=scale)
        _require("scale", self.scale, "different from 0", lambda s: s != 0)
        shape = _broadcast(loc=np.shape(self.loc), scale=np.shape(self.scale))
        self.sign = np.broadcast_to(np.sign(value(self.scale)), shape)

    def forward(self, x: Array) -> Array:
        """loc + scale · x."""
        return self.loc + self.scale * x

    def inverse(self, y: Array) -> Array:
        """(y − loc) / scale."""
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        """ln |scale|."""
        return _log(abs(self.scale)) + np.zeros_like(value(y))


class ExpTransform:
    """y = e^x > 0."""

    sign = 1

    def forward(self, x: Array) -> Array:
        """e^x."""
        return np.exp(x)

    def inverse(self, y: Array) -> Array:
        """ln y."""
        _require("x", y, "positive", lambda y: y > 0)
        return np.log(y)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        """ln e^x = x."""
        return x


class SigmoidTransform:
    """y = σ(x) in (0, 1)."""

    sign = 1

    def forward(self, x: Array) -> Array:
        """σ(x)."""
        return F.sigmoid(x)

    def inverse(self, y: Array) -> Array:
        """ln y − ln (1 − y)."""
        _require("x", y, "between 0 and 1, ends excluded", lambda y: (y > 0) & (y < 1))
        return np.log(y) - np.log1p(-y)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        """ln σ(x) + ln σ(−x)."""
        return F.log_sigmoid(x) + F.log_sigmoid(-x)


class TransformedDistribution:
    """y = f_n(… f_1(x)) for x ~ base: ln p(y) = ln p_base(x) − Σ ln |dy/dx|."""

    def __init__(self, base: Distribution, transforms: Transform | Sequence[Transform]) -> None:
        self.base = base
        self.transforms = list(transforms) if isinstance(transforms, Sequence) else [transforms]
        self.batch_shape, self.event_shape = base.batch_shape, base.event_shape
        whole = base.batch_shape + base.event_shape
        for t in self.transforms:
            if _broadcast(base=whole, transform=np.shape(t.sign)) != whole:
                raise InputError(f"transform has shape {np.shape(t.sign)}; base has {whole}")

    def log_prob(self, x: Array) -> Array:
        """ln p_base(f⁻¹(x)) − Σ ln |df/dx|."""
        y, log_det = _point(x, self), 0.0
        for t in reversed(self.transforms):
            x = t.inverse(y)
            log_det = log_det + t.log_abs_det_jacobian(x, y)
            y = x
        axes = tuple(range(-len(self.event_shape), 0))
        return self.base.log_prob(y) - (np.sum(log_det, axis=axes) if axes else log_det)

    def cdf(self, x: Array) -> Array:
        """P_base(X ≤ f⁻¹(x)), or its complement where f decreases; scalar events, base with cdf."""
        if not hasattr(self.base, "cdf") or self.event_shape:
            raise InputError(f"base {type(self.base).__name__} has no cdf")
        y, sign = _point(x, self), 1
        for t in reversed(self.transforms):
            y, sign = t.inverse(y), sign * t.sign
        c = self.base.cdf(y)
        return np.where(sign > 0, c, 1 - c)

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """f(x) for draws x of the base."""
        with no_grad():
            return self._forward(self.base.sample(shape, rng))

    def rsample(self, shape: Shape, rng: Generator | int) -> Array:
        """f(x) for differentiable draws x of the base."""
        return self._forward(_reparametrised(self.base).rsample(shape, rng))

    def _forward(self, x: Array) -> Array:
        for t in self.transforms:
            x = t.forward(x)
        return x


# Divergence


def kl_divergence(p: Distribution, q: Distribution) -> Array:
    """KL(p ‖ q) = E_p[ln p − ln q] in nats, (*batch_shape): 0 iff equal; ∞ where q lacks support.

    For two Bernoulli, Categorical, Normal or MultivariateNormal distributions, or two Independent
    ones of such. Raises InputError for others, and for shapes that don't fit.
    """
    formula = _KL.get(type(p))
    if formula is None or type(p) is not type(q):
        pair = f"{type(p).__name__} and {type(q).__name__}"
        raise InputError(f"kl_divergence has no closed form for {pair}")
    if p.event_shape != q.event_shape:
        raise InputError(f"p has event_shape {p.event_shape}; q has {q.event_shape}")
    _broadcast(p=p.batch_shape, q=q.batch_shape)
    return formula(p, q)


def _kl_discrete(p: Any, q: Any) -> Array:
    lp, lq = p._log_probs(), q._log_probs()
    if lp.shape[-1] != lq.shape[-1]:
        raise InputError(f"p has {lp.shape[-1]} outcomes; q has {lq.shape[-1]}")
    seen = value(lp) > -math.inf
    both = seen & (value(lq) > -math.inf)
    kl = np.sum(np.exp(lp) * (np.where(both, lp, 0.0) - np.where(both, lq, 0.0)), axis=-1)
    return np.where((seen & ~both).any(-1), math.inf, kl)


def _kl_normal(p: Normal, q: Normal) -> Array:
    ratio, gap = p.scale / q.scale, (p.loc - q.loc) / q.scale
    return 0.5 * (ratio * ratio + gap * gap - 1) - _log(ratio)


def _kl_multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Array:
    m = np.linalg.solve(q.scale_tril, p.scale_tril)  # tr Σ_q⁻¹ Σ_p = |m|²
    gap = _solve(q.scale_tril, p.loc - q.loc)
    spread = np.sum(m * m, axis=(-2, -1)) + np.sum(gap * gap, axis=-1) - p.event_shape[0]
    return 0.5 * spread + _log_det(q.scale_tril) - _log_det(p.scale_tril)


def _kl_independent(p: Independent, q: Independent) -> Array:
    if p.axes != q.axes:
        raise InputError(f"p and q must have equal ndims, got {len(p.axes)} and {len(q.axes)}")
    return np.sum(kl_divergence(p.base, q.base), axis=p.axes)


_KL: dict[type, Callable[[Any, Any], Array]] = {
    Bernoulli: _kl_discrete,
    Categorical: _kl_discrete,
    Normal: _kl_normal,
    MultivariateNormal: _kl_multivariate_normal,
    Independent: _kl_independent,
}


# Formulas used more than once


def _entropy(log_p: Array) -> Array:
    """−Σ p ln p over the last axis, with 0 · ln 0 = 0."""
    surprise = np.where(value(log_p) > -math.inf, -log_p, 0.0)
    return np.sum(np.exp(log_p) * surprise, axis=-1)


def _entropy_by_levels(d: Distribution, levels: int) -> Array:
    every = np.arange(levels).reshape(levels, *(1 for _ in d.batch_shape))
    return _entropy(np.moveaxis(d.log_prob(every), 0, -1))


def _log(x: Array) -> Array:
    """ln x; a Python number stays one, so that it adopts the dtype it meets."""
    return math.log(x) if isinstance(x, float) else np.log(x)


def _diagonal(L: Array) -> Array:
    return np.diagonal(L, axis1=-2, axis2=-1)


def _log_det(L: Array) -> Array:
    return np.sum(np.log(_diagonal(L)), axis=-1)


def _solve(L: Array, x: Array) -> Array:
    """y with L y = x, for L (…, D, D) and vectors x (…, D)."""
    if L.ndim > 2 or x.ndim == 1:
        return np.linalg.solve(L, x[..., None])[..., 0]
    flat = np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
    return np.reshape(np.linalg.solve(L, flat.T).T, x.shape)


def _cholesky(covariance: Array) -> Array:
    _require("covariance_matrix", covariance, "symmetric", _is_symmetric)
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise InputError("covariance_matrix must be positive definite") from None


def _is_symmetric(S: Any) -> Any:
    """Entry by entry, up to rounding in the dtype of S."""
    slack = 100 * np.finfo(S.dtype).eps * np.abs(S).max(initial=0)
    return np.abs(S - np.swapaxes(S, -1, -2)) <= slack


def _spread(x: Array, shape: tuple[int, ...]) -> Array:
    return x if np.shape(x) == shape else np.broadcast_to(x, shape)


# Draws


def _draw(kind: str, d: Distribution, shape: Shape, rng: Generator | int, dtype: Any) -> Any:
    """Uniforms or normals, (*shape, *batch_shape, *event_shape)."""
    lead = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    draw = getattr(_generator(rng), kind)
    return draw((*lead, *d.batch_shape, *d.event_shape), dtype=dtype or np.float32)


def _generator(rng: Generator | int) -> Generator:
    return rng if isinstance(rng, Generator) else Generator(rng, "sample")


def _reparametrised(d: Any) -> Any:
    if not hasattr(d, "rsample"):
        raise InputError(f"{type(d).__name__} has no reparametrised sample; use sample")
    return d


# Arguments


def _only_one(first: str, a: Any, second: str, b: Any) -> str:
    """The name of the argument that was given."""
    if (a is None) == (b is None):
        raise InputError(f"give {first} or {second}, one of them")
    return first if b is None else second


def _dtype_of(x: Any) -> Any:
    """The dtype of an array or Tensor; None for a Python number."""
    return getattr(x, "dtype", None)


def _parameters(finite: bool = True, **given: Any) -> list[Any]:
    """Checked parameters of one dtype. Two Python numbers stay numbers: they have no dtype."""
    dtypes = {name: x.dtype for name, x in given.items() if hasattr(x, "dtype")}
    if len(set(dtypes.values())) > 1:
        kinds = " and ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise InputError(f"parameters must have one dtype, got {kinds}")
    weak = len(given) > 1 and all(isinstance(x, (int, float)) for x in given.values())
    if weak:
        checked = {name: float(x) for name, x in given.items()}
    else:
        dtype = next(iter(dtypes.values()), np.dtype(np.float32))
        checked = {name: _as_float(name, x, dtype) for name, x in given.items()}
    for name, x in checked.items():
        if finite:
            _require(name, x, "finite", np.isfinite)
        else:
            _require(name, x, "a number", _not_nan)
    return list(checked.values())


def _arrays(**given: Any) -> list[Any]:
    """Checked parameters, Python numbers as float32 arrays."""
    dtype = next((x.dtype for x in given.values() if hasattr(x, "dtype")), np.dtype(np.float32))
    return _parameters(**{name: _as_float(name, x, dtype) for name, x in given.items()})


def _as_float(name: str, x: Any, dtype: Any) -> Any:
    if isinstance(x, Tensor):
        return x
    try:
        x = np.asarray(x) if hasattr(x, "dtype") else np.asarray(x, dtype)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numbers, got {type(x).__name__}") from None
    if x.dtype not in (np.float32, np.float64):
        raise InputError(f"{name} must be float32 or float64, got {x.dtype}")
    return x


def _not_nan(x: Any) -> Any:
    return x == x


def _require(name: str, x: Array, what: str, holds: Callable[[Any], Any]) -> None:
    """Refuse x, naming its first bad entry, unless every entry is as it must be."""
    x = np.asarray(value(x))
    if not (good := np.asarray(holds(x))).all():
        raise InputError(f"{name} must be {what}, got {x[~good][0]}")


def _broadcast(**shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        pair = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"shapes don't broadcast: {pair}") from None


def _check_shape(shape: tuple[int, ...], d: Distribution) -> None:
    split = len(shape) - len(d.event_shape)
    if split < 0 or shape[split:] != d.event_shape:
        raise InputError(f"x must end in the event_shape {d.event_shape}, got shape {shape}")
    _broadcast(x=shape[:split], batch_shape=d.batch_shape)


def _point(x: Array, d: Any) -> Array:
    """x as floats in the dtype of the location of d, without NaN, of a shape that fits d."""
    inner = d
    while hasattr(inner, "base"):
        inner = inner.base
    dtype = _dtype_of(getattr(inner, "loc", None))
    x = _as_float("x", x, dtype or np.float32)
    if dtype is not None and x.dtype != dtype:
        raise InputError(f"x must have the parameters' dtype {dtype}, got {x.dtype}")
    _require("x", x, "a number", _not_nan)
    _check_shape(x.shape, d)
    return x


def _binary(x: Array, dtype: Any, d: Distribution) -> Array:
    """x as 0 and 1 in this dtype."""
    x = x if isinstance(x, Tensor) else np.asarray(x)
    _require("x", x, "0 or 1", lambda x: (x == 0) | (x == 1))
    _check_shape(x.shape, d)
    return x if isinstance(x, Tensor) else x.astype(dtype, copy=False)


def _integers(x: Any, n: int, d: Distribution) -> Any:
    """x as int64 in 0 … n−1."""
    x = np.asarray(value(x))
    if x.dtype.kind not in "iub":
        raise InputError(f"x must be integers in [0, {n}), got {x.dtype}")
    _require("x", x, f"in [0, {n})", lambda x: (x >= 0) & (x < n))
    _check_shape(x.shape, d)
    return x.astype(np.int64)
