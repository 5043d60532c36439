"""The laws: what every model of a kind owes, as functions that raise AssertionError when broken.

A law takes a model at tiny size, in float64, with random (not initial) parameters. `LAWS` says
which kinds owe it; `test_laws.py` applies each to every row of `MODELS`, and to models that
were broken on purpose. The rows of MISSION.md are cited as F1, A3, ….
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from core import Tensor, grad, no_grad, value
from core import random as philox
from core.checkpoint import load_arrays, save_arrays
from core.errors import InputError
from core.random import Generator
from core.state import load_state, parameters, state
from reference import Model

EXPLICIT = ("histogram", "class-conditional", "mixture", "autoregressive", "flow")
IMPLICIT = ("adversarial", "diffusion")
TRAINED = ("autoregressive", "latent", "flow", "adversarial", "diffusion")
ALL = (*EXPLICIT, "latent", *IMPLICIT)


@dataclass(frozen=True)
class Subject:
    """A model under test, with the row of the table it belongs to."""

    row: Model
    model: Any

    @property
    def discrete(self) -> bool:
        """Whether the whole domain can be enumerated."""
        return self.row.domain == "binary"

    @property
    def dim(self) -> int:
        """Number of variables."""
        return int(self.row.tiny["dim"])


def make(row: Model, seed: int = 0) -> Subject:
    """The row's model at tiny size, in float64, away from its initial parameters."""
    model = build(row, seed)
    if row.training == "gradient":
        rng = np.random.default_rng(seed)
        for p in parameters(model).values():
            p[...] = p.data + 0.4 * rng.normal(size=p.shape)
        return Subject(row, model)
    x, y = examples(row, 300, seed)
    if row.training == "counts":
        model.fit(x, y)
    else:
        for _ in range(3):
            model.em_step(x)
    return Subject(row, model)


def build(row: Model, seed: int = 0) -> Any:
    """A new model of the row's tiny configuration."""
    cls = row.load()
    accepted = inspect.signature(cls).parameters
    extra = {"dtype": np.float64, "seed": seed}
    return cls(**row.tiny, **{k: v for k, v in extra.items() if k in accepted})


def examples(row: Model, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n points of the row's domain, with dependent coordinates, and labels that go with them."""
    rng = np.random.default_rng(seed)
    dim, classes = int(row.tiny["dim"]), int(row.tiny.get("classes", 2))
    y = rng.integers(0, classes, n)
    centre = rng.normal(size=(classes, dim))[y]
    x = centre + 0.5 * rng.normal(size=(n, dim))
    return ((x > 0).astype(np.float64) if row.domain == "binary" else np.clip(x, -2.9, 2.9)), y


def all_states(dim: int) -> np.ndarray:
    """{0, 1}^dim, row by row: (2^dim, dim) float64."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=dim)))


def grid(low: float, high: float, n: int) -> tuple[np.ndarray, float]:
    """Midpoints of an n × n grid over [low, high]² and the area of a cell."""
    step = (high - low) / n
    axis = low + step * (np.arange(n) + 0.5)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2), step * step


def log_prob(model: Any, x: np.ndarray) -> np.ndarray:
    """The model's log p(x) as an array, without a graph."""
    with no_grad():
        return np.asarray(value(model.log_prob(x)))


# Laws of explicit models (F1)


def normalises(s: Subject) -> None:
    """Σ p(x) = 1 over {0, 1}^D, or ∫ p(x) dx = 1 over the plane."""
    if s.discrete:
        total = np.exp(log_prob(s.model, all_states(s.dim))).sum()
        np.testing.assert_allclose(total, 1, rtol=1e-10)
    else:
        points, area = grid(*_box(s), 600)
        np.testing.assert_allclose(np.exp(log_prob(s.model, points)).sum() * area, 1, atol=2e-3)


def _box(s: Subject) -> tuple[float, float]:
    """A square that holds all but 1e-3 of the model's samples, and where a histogram ends."""
    if "low" in s.row.tiny:
        return float(s.row.tiny["low"]), float(s.row.tiny["high"])
    edge = 1.5 * np.abs(s.model.sample(4000, seed=5)).max()
    return -edge, edge


def samples_follow_log_prob(s: Subject) -> None:
    """Frequencies of samples against exp(log_prob): Pearson's chi-square, p > 1e-4."""
    n = 20_000
    x = s.model.sample(n, seed=3)
    if s.discrete:
        places = 2 ** np.arange(s.dim - 1, -1, -1)
        observed = np.bincount((x @ places).astype(int), minlength=2**s.dim)
        expected = n * np.exp(log_prob(s.model, all_states(s.dim)))
    else:
        observed, expected = _cells(s, x)
    assert chi_square(observed, expected) > 1e-4


def _cells(s: Subject, x: np.ndarray, cells: int = 12, fine: int = 40) -> tuple[Any, Any]:
    """Counts of samples in a cells² grid, and what log_prob expects there (midpoint rule)."""
    low, high = _box(s)
    observed = np.histogram2d(*x.T, bins=cells, range=[[low, high]] * 2)[0]
    points, area = grid(low, high, cells * fine)
    p = (np.exp(log_prob(s.model, points)) * area).reshape(cells, fine, cells, fine)
    return observed.ravel(), len(x) * p.sum(axis=(1, 3)).ravel()


def chi_square(observed: np.ndarray, expected: np.ndarray) -> float:
    """p-value of Pearson's test; cells that expect fewer than 8 are pooled into one."""
    rare = expected < 8
    o = np.append(observed[~rare], observed[rare].sum())
    e = np.append(expected[~rare], max(expected[rare].sum(), 1e-9))
    statistic = float(np.sum((o - e) ** 2 / np.maximum(e, 1)))
    return float(stats.chi2.sf(statistic, len(o) - 1))


def loss_is_negative_log_prob(s: Subject) -> None:
    """A likelihood model trains on −log_prob(x).mean(), and on nothing else."""
    if s.row.training != "gradient" or _resamples(s.model):
        return
    x, y = examples(s.row, 16, 7)
    loss = s.model.loss(x, y, Generator(0))
    np.testing.assert_allclose(loss.item(), -log_prob(s.model, x).mean(), rtol=1e-12)


def _resamples(model: Any) -> bool:
    """Whether training sees one of several orders or masks, evaluation their average (MADE)."""
    return getattr(model, "resamples", False)


# Laws of autoregressive models (A1–A9)


def conditionals_see_only_the_past(s: Subject) -> None:
    """Changing x_j moves no conditional at or before j by a bit, and moves some one after it."""
    x, _ = examples(s.row, 8, 1)
    order = np.asarray(getattr(s.model, "order", np.arange(s.dim)))
    order = order if order.ndim == 1 and order.size == s.dim else np.arange(s.dim)
    before = _conditionals(s.model, x)
    for place, j in enumerate(order):
        flipped = x.copy()
        flipped[:, j] = 1 - flipped[:, j]
        changed = _conditionals(s.model, flipped) != before  # (B, D)
        assert not changed[:, order[: place + 1]].any(), f"a conditional sees x_{j} too early"
        if place + 1 < s.dim:
            assert changed[:, order[place + 1]].any(), f"the next conditional is blind to x_{j}"


def _conditionals(model: Any, x: np.ndarray) -> np.ndarray:
    with no_grad():
        logits = np.asarray(value(model.conditionals(x)))
    return logits.reshape(len(x), x.shape[1], -1)[..., -1]


def log_prob_sums_the_conditionals(s: Subject) -> None:
    """log p(x) = Σ_i log p(x_i | x_<i) with the conditionals that the model reports."""
    if _resamples(s.model):
        return
    x = all_states(s.dim)
    logits = _conditionals(s.model, x)
    terms = x * logits - np.logaddexp(0, logits)
    np.testing.assert_allclose(log_prob(s.model, x), terms.sum(axis=1), rtol=1e-10)


def sampling_inverts_the_conditionals(s: Subject) -> None:
    """Sample i is x_i = 1 where u_i < p_i, with the generator's own u: no other randomness."""
    if _resamples(s.model):
        return
    x = s.model.sample(64, seed=9)
    u = philox.uniform(9, (64, s.dim), dtype=np.float64)
    p = 1 / (1 + np.exp(-_conditionals(s.model, x)))
    np.testing.assert_array_equal(x, (u < p).astype(x.dtype))


# Laws of flows (N1, F7)


def inverse_undoes_forward(s: Subject) -> None:
    """inverse(forward(z)) = z, and the two log-determinants cancel."""
    z = np.random.default_rng(0).normal(size=(32, s.dim))
    with no_grad():
        x, log_det = s.model.forward(z)
        again, log_det_back = s.model.inverse(x)
    np.testing.assert_allclose(again, z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-9, atol=1e-9)
    assert np.abs(x - z).max() > 0.1, "the map is the identity: the law says nothing"


def log_det_is_that_of_the_jacobian(s: Subject) -> None:
    """The reported log|det ∂x/∂z| is slogdet of autograd's Jacobian."""
    from core import jacobian

    for z in np.random.default_rng(1).normal(size=(4, s.dim)):
        J = jacobian(lambda t: s.model.forward(t[None, :])[0][0], z)
        with no_grad():
            _, log_det = s.model.forward(z[None, :])
        np.testing.assert_allclose(log_det[0], np.linalg.slogdet(J)[1], rtol=1e-9, atol=1e-10)


# Laws of latent models (L3, L5)


def bounds_are_ordered(s: Subject) -> None:
    """E ELBO ≤ E importance-weighted bound ≤ log p(x), by quadrature over a one-dimensional z."""
    x = all_states(s.dim)[::7]
    exact = exact_log_prob(s.model, x)
    elbo = _repeat(lambda rng: s.model.elbo(x, rng), 400)
    weighted = _repeat(lambda rng: s.model.importance_log_prob(x, 8, rng), 400)
    slack = 4 * np.sqrt(elbo.var(axis=0) / 400 + weighted.var(axis=0) / 400)
    assert np.all(elbo.mean(axis=0) <= weighted.mean(axis=0) + slack)
    assert np.all(weighted.mean(axis=0) <= exact + slack)
    tight = value(s.model.importance_log_prob(x, 20_000, Generator(1)))
    np.testing.assert_allclose(tight, exact, atol=0.1)


def exact_log_prob(model: Any, x: np.ndarray) -> np.ndarray:
    """log ∫ p(x|z) N(z; 0, 1) dz by the midpoint rule over [−9, 9], z one-dimensional."""
    z = np.linspace(-9, 9, 4001)[:, None]
    with no_grad():
        logits = np.asarray(value(model.decode(z)))  # (Z, D)
    terms = x[:, None, :] * logits - np.logaddexp(0, logits)
    log_joint = terms.sum(-1) + stats.norm.logpdf(z[:, 0])
    return np.logaddexp.reduce(log_joint, axis=1) + np.log(z[1, 0] - z[0, 0])


def _repeat(estimate: Callable[[Generator], Any], times: int) -> np.ndarray:
    rng = Generator(0)
    with no_grad():
        return np.stack([np.asarray(value(estimate(rng))) for _ in range(times)])


def importance_estimate_sums_to_one(s: Subject) -> None:
    """Σ_x exp(importance-weighted bound) → 1 as k grows: the weights are p(x, z)/q(z|x)."""
    with no_grad():
        log_p = value(s.model.importance_log_prob(all_states(s.dim), 5_000, Generator(2)))
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, atol=0.03)


# Laws of implicit models (D1, G1)


def has_no_log_prob(s: Subject) -> None:
    """An implicit model says that it has no likelihood, rather than give a number."""
    with pytest.raises((AttributeError, TypeError, InputError)):
        s.model.log_prob(s.model.sample(4, seed=0))


def noise_schedule_ends_in_noise(s: Subject) -> None:
    """ᾱ falls from below 1 to below 1e-3 (D1)."""
    alpha_bar = np.asarray(s.model.alphas_cumprod)
    assert np.all(np.diff(alpha_bar) < 0)
    assert alpha_bar[-1] < 1e-3


# Laws of everything


def gradient_matches_differences(s: Subject) -> None:
    """⟨∇ loss, u⟩ = d/ds loss(θ + s·u), for every objective the model trains on."""
    if s.row.training != "gradient":
        return
    x, y = examples(s.row, 6, 2)
    own = getattr(s.model, "objectives", None)
    objectives = own() if own else [(s.model.loss, parameters(s.model))]
    for loss, params in objectives:
        _check_slope(lambda f=loss: f(x, y, Generator(4)), params)


def _check_slope(loss: Callable[[], Any], params: dict[str, Tensor]) -> None:
    tensors = list(params.values())
    u = [np.random.default_rng(8).normal(size=p.shape) for p in tensors]
    slope = sum(float(np.sum(g * d)) for g, d in zip(grad(loss(), tensors), u, strict=True))
    h, values = 1e-5, []
    original = [p.data.copy() for p in tensors]
    for shift in (h, -h):
        for p, o, d in zip(tensors, original, u, strict=True):
            p[...] = o + shift * d
        values.append(loss().item())
    for p, o in zip(tensors, original, strict=True):
        p[...] = o
    assert abs(slope) > 1e-8, "the loss does not depend on the parameters"
    np.testing.assert_allclose(slope, (values[0] - values[1]) / (2 * h), rtol=2e-5, atol=1e-7)


def every_parameter_has_a_gradient(s: Subject) -> None:
    """No parameter is left out of the training loss."""
    if s.row.training != "gradient":
        return
    x, y = examples(s.row, 6, 2)
    own = getattr(s.model, "objectives", None)
    covered: set[str] = set()
    for loss, params in own() if own else [(s.model.loss, parameters(s.model))]:
        found = grad(loss(x, y, Generator(4)), list(params.values()))
        covered |= {id(p) for p, g in zip(params.values(), found, strict=True) if np.any(g != 0)}
    idle = [n for n, p in parameters(s.model).items() if id(p) not in covered]
    assert not idle, f"no gradient reaches {idle}"


def save_and_load_give_the_same_model(s: Subject, folder: Path) -> None:
    """A model written and read into a fresh one samples and scores the same, bit for bit."""
    path = folder / "model.safetensors"
    save_arrays(path, state(s.model))
    other = build(s.row, seed=99)
    load_state(other, load_arrays(path)[0])
    np.testing.assert_array_equal(other.sample(5, seed=1), s.model.sample(5, seed=1))
    if s.row.kind in EXPLICIT:
        x, _ = examples(s.row, 9, 3)
        np.testing.assert_array_equal(log_prob(other, x), log_prob(s.model, x))


def samples_are_reproducible(s: Subject) -> None:
    """The seed decides the samples: same seed same samples, another seed others, any batch size."""
    x = s.model.sample(12, seed=4)
    assert x.shape == (12, s.dim)
    assert np.all(np.isfinite(x))
    np.testing.assert_array_equal(s.model.sample(12, seed=4), x)
    np.testing.assert_allclose(s.model.sample(7, seed=4), x[:7], rtol=1e-9, atol=1e-9)
    assert np.any(s.model.sample(12, seed=5) != x)
    if s.discrete:
        assert np.all((x == 0) | (x == 1))


def keeps_float32(s: Subject) -> None:
    """A float32 model computes in float32: loss, gradients and samples."""
    if s.row.training != "gradient":
        return
    model = s.row.load()(**s.row.tiny, dtype=np.float32)
    x, y = examples(s.row, 6, 2)
    x = x.astype(np.float32)
    assert all(p.dtype == np.float32 for p in parameters(model).values())
    own = getattr(model, "objectives", None)
    for loss, params in own() if own else [(model.loss, parameters(model))]:
        out = loss(x, y, Generator(0))
        assert out.dtype == np.float32
        assert all(g.dtype == np.float32 for g in grad(out, list(params.values())))
    assert model.sample(3, seed=0).dtype == np.float32


def names_what_is_wrong_with_the_input(s: Subject) -> None:
    """NaN, a wrong width, a wrong number of axes or a foreign value raise InputError naming x."""
    x, _ = examples(s.row, 6, 2)
    bad = {"NaN": x * np.nan, "width": x[:, :-1], "axes": x[0]}
    if s.discrete:
        bad["foreign value"] = x + 0.5
    use = _scorer(s)
    for what, wrong in bad.items():
        _must_refuse(lambda x=wrong: use(x), r"\bx\b", what)
    for n in (-1, 2.5, "3"):
        _must_refuse(lambda n=n: s.model.sample(n, seed=0), r"\bn\b|shape", f"n = {n!r}")


def _must_refuse(call: Callable[[], Any], names: str, what: str) -> None:
    with pytest.raises(InputError, match=names) as caught:
        call()
    assert "\n" not in str(caught.value), f"{what}: more than one line"


def _scorer(s: Subject) -> Callable[[Any], Any]:
    if s.row.kind in EXPLICIT:
        return lambda x: s.model.log_prob(x)
    own = getattr(s.model, "objectives", None)
    loss = own()[0][0] if own else s.model.loss
    return lambda x: loss(x, None, Generator(0))


LAWS: dict[Callable[..., None], tuple[str, ...]] = {
    normalises: EXPLICIT,
    samples_follow_log_prob: EXPLICIT,
    loss_is_negative_log_prob: ("autoregressive", "flow"),
    conditionals_see_only_the_past: ("autoregressive",),
    log_prob_sums_the_conditionals: ("autoregressive",),
    sampling_inverts_the_conditionals: ("autoregressive",),
    inverse_undoes_forward: ("flow",),
    log_det_is_that_of_the_jacobian: ("flow",),
    bounds_are_ordered: ("latent",),
    importance_estimate_sums_to_one: ("latent",),
    has_no_log_prob: IMPLICIT,
    noise_schedule_ends_in_noise: ("diffusion",),
    gradient_matches_differences: TRAINED,
    every_parameter_has_a_gradient: TRAINED,
    save_and_load_give_the_same_model: ALL,
    samples_are_reproducible: ALL,
    keeps_float32: ALL,
    names_what_is_wrong_with_the_input: ALL,
}
"""Law → the kinds of model that owe it."""
