"""N1, N2, F7: an invertible map with a known log-determinant, and the density it gives.

The models have random parameters: at the initial ones every coupling is the identity.
"""

from __future__ import annotations

import itertools
import math
from types import MethodType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core import grad, jacobian, no_grad, value
from core.data import load
from core.errors import InputError
from core.learners import loss_of
from core.state import parameters
from core.train import GradientLearner, TrainSettings, fit
from reference.flows.real_nvp import Coupling, RealNVP

DIMS = (2, 3, 5)


def shaken(dim=2, layers=4, hidden=(8,), seed=0, size=0.3, smooth=False):
    """A small float64 flow with random parameters; smooth (tanh) where it is to be integrated."""
    model = RealNVP(dim, layers=layers, hidden=hidden, seed=seed, dtype=np.float64)
    rng = np.random.default_rng(seed)
    for p in parameters(model).values():
        p[...] = p.data + size * rng.normal(size=p.shape)
    for coupling in model.couplings if smooth else ():
        coupling.network.activation = np.tanh
    return model


def normals(n, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim))


def box(model, n):
    """Midpoints (n², 2) of a rectangle around all samples, area of a cell, [[low, high]] × 2."""
    x = model.sample(20_000, seed=9)
    low, high = x.min(axis=0), x.max(axis=0)
    low, high = low - 0.5 * (high - low), high + 0.5 * (high - low)
    step = (high - low) / n
    axes = low + step * (np.arange(n)[:, None] + 0.5)
    points = np.stack(np.meshgrid(*axes.T, indexing="ij"), -1).reshape(-1, 2)
    return points, np.prod(step), np.stack([low, high], axis=1)


def densities(model, x):
    with no_grad():
        return np.exp(model.log_prob(x))


# The laws, as functions of a way to make the model


def inverse_undoes_forward(make):
    for dim in DIMS:
        model, z = make(dim), normals(50, dim)
        with no_grad():
            x, log_det = model.forward(z)
            again, log_det_back = model.inverse(x)
        assert np.abs(x - z).max() > 0.5, "the identity proves nothing"
        np.testing.assert_allclose(again, z, rtol=0, atol=1e-10)
        np.testing.assert_allclose(log_det_back, -log_det, rtol=0, atol=1e-10)


def log_det_is_that_of_the_jacobian(make):
    for dim in DIMS:
        model = make(dim)
        for a, direction in itertools.product(normals(3, dim, 1), ("forward", "inverse")):
            f = getattr(model, direction)
            J = jacobian(lambda t, f=f: f(t[None])[0][0], a)
            log_det = value(f(a[None])[1])[0]
            assert abs(log_det) > 1e-3
            np.testing.assert_allclose(log_det, np.linalg.slogdet(J)[1], rtol=0, atol=1e-10)


def density_integrates_to_one(make):
    for seed in range(2):
        model = make(2, seed=seed, smooth=True)
        points, cell, _ = box(model, 300)
        np.testing.assert_allclose(densities(model, points).sum() * cell, 1, atol=1e-6)


def samples_follow_the_density(make):
    n, cells, fine = 20_000, 40, 15
    model = make(2, smooth=True)
    points, cell, sides = box(model, cells * fine)
    p = densities(model, points).reshape(cells, fine, cells, fine).sum(axis=(1, 3)).ravel() * cell
    observed = np.histogram2d(*model.sample(n, seed=1).T, bins=cells, range=sides)[0].ravel()
    rare = n * p < 10
    observed = np.append(observed[~rare], n - observed[~rare].sum())
    expected = np.append(n * p[~rare], n * (1 - p[~rare].sum()))
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def every_coordinate_is_changed_by_some_layer(make):
    """… and depends on every other coordinate, once there are three layers."""
    for dim in DIMS:
        forward = make(dim).forward
        J = jacobian(lambda t, f=forward: f(t[None])[0][0], normals(1, dim)[0])
        assert np.all(np.abs(J) > 1e-6)
        assert np.all(np.abs(np.diag(J) - 1) > 1e-6)


LAWS = (
    inverse_undoes_forward,
    log_det_is_that_of_the_jacobian,
    density_integrates_to_one,
    samples_follow_the_density,
    every_coordinate_is_changed_by_some_layer,
)


@pytest.mark.parametrize("law", LAWS)
def test_law(law):
    law(shaken)


@given(st.integers(2, 7), st.integers(1, 6), st.integers(0, 10**6))
def test_the_inverse_undoes_forward_at_any_size(dim, layers, seed):
    model, z = shaken(dim, layers, (5, 4), seed), normals(8, dim, seed)
    with no_grad():
        x, log_det = model.forward(z)
        again, log_det_back = model.inverse(x)
    np.testing.assert_allclose(again, z, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-8, atol=1e-8)


# The same laws on models with one fault


def _forgets_a_log_det(model):
    first = model.couplings[0]
    forward, inverse = first.forward, first.inverse
    first.forward = lambda x: (forward(x)[0], 0.0)
    first.inverse = lambda y: (inverse(y)[0], 0.0)


def _log_det_has_the_wrong_sign(model):
    for name in ("forward", "inverse"):
        right = getattr(model, name)
        setattr(model, name, lambda a, right=right: (right(a)[0], -right(a)[1]))


def _mask_does_not_alternate(model):
    for coupling in model.couplings:
        coupling.b = model.couplings[0].b


def _looks_at_what_it_changes(model):
    """s and t of (1 − b)⊙x: neither invertible this way, nor triangular."""
    for coupling in model.couplings:
        right = Coupling._s_and_t
        coupling._s_and_t = MethodType(
            lambda self, passed, right=right: right(self, self.everything * (1 - self.b)), coupling
        )
        _remember_input(coupling)


def _remember_input(coupling):
    for name in ("forward", "inverse"):
        right = getattr(coupling, name)

        def wrapped(a, right=right):
            coupling.everything = a
            return right(a)

        setattr(coupling, name, wrapped)


def _scale_is_not_inverted(model):
    for coupling in model.couplings:

        def inverse(y, c=coupling):
            s, t = c._s_and_t(c.b * y)
            return (y - t) * np.exp(s), -np.sum(s, axis=-1)

        coupling.inverse = inverse


def _shift_is_undone_after_the_scale(model):
    for coupling in model.couplings:

        def inverse(y, c=coupling):
            s, t = c._s_and_t(c.b * y)
            return y * np.exp(-s) - t, -np.sum(s, axis=-1)

        coupling.inverse = inverse


def _inverse_runs_in_the_same_order(model):
    def inverse(x):
        log_det = 0.0
        for coupling in model.couplings:
            x, term = coupling.inverse(x)
            log_det = log_det + term
        return x, log_det

    model.inverse = inverse


def _prior_is_unnormalised(model):
    right = model.log_prob
    model.log_prob = lambda x: right(x) + 0.5 * math.log(2 * math.pi)


def _samples_without_the_flow(model):
    model.sample = lambda n, seed=0: normals(n, model.dim, seed)


FAULTS = {
    _forgets_a_log_det: {log_det_is_that_of_the_jacobian, density_integrates_to_one},
    _log_det_has_the_wrong_sign: {log_det_is_that_of_the_jacobian, density_integrates_to_one},
    _mask_does_not_alternate: {every_coordinate_is_changed_by_some_layer},
    _looks_at_what_it_changes: {inverse_undoes_forward, log_det_is_that_of_the_jacobian},
    _scale_is_not_inverted: {inverse_undoes_forward, log_det_is_that_of_the_jacobian},
    _shift_is_undone_after_the_scale: {inverse_undoes_forward, samples_follow_the_density},
    _inverse_runs_in_the_same_order: {inverse_undoes_forward, samples_follow_the_density},
    _prior_is_unnormalised: {density_integrates_to_one},
    _samples_without_the_flow: {samples_follow_the_density},
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__.strip("_"))
def test_a_planted_fault_is_rejected(fault):
    def make(*args, **kwargs):
        model = shaken(*args, **kwargs)
        fault(model)
        return model

    for law in FAULTS[fault]:
        with pytest.raises(AssertionError):
            law(make)


# One coupling


def test_a_coupling_passes_half_of_its_input_untouched_and_its_jacobian_is_triangular():
    coupling, x = shaken(5, 1).couplings[0], normals(1, 5)[0]
    passed = coupling.b == 1
    y, log_det = (value(a) for a in coupling.forward(x[None]))
    np.testing.assert_array_equal(y[0, passed], x[passed])
    J = jacobian(lambda t: coupling.forward(t[None])[0][0], x)
    changed = np.ix_(~passed, ~passed)
    np.testing.assert_array_equal(J[changed], np.diag(np.diag(J[changed])))  # Eq. 6
    np.testing.assert_array_equal(J[np.ix_(passed, ~passed)], 0)
    np.testing.assert_allclose(log_det[0], np.log(np.diag(J)).sum(), rtol=1e-12)


def test_the_log_scale_stays_within_the_learned_bound():
    coupling = shaken(2, 1).couplings[0]
    s, _ = coupling._s_and_t(coupling.b * 1e6 * normals(50, 2))
    assert np.all(np.abs(value(s)) <= np.abs(coupling.scale.data) + 1e-12)


def test_a_new_flow_is_the_standard_normal():
    x = normals(20, 3)
    log_p = value(RealNVP(3, dtype=np.float64).log_prob(x))
    np.testing.assert_allclose(log_p, stats.norm.logpdf(x).sum(axis=1), rtol=1e-12)


# Against PyTorch


def test_loss_and_gradients_equal_pytorchs():
    torch = pytest.importorskip("torch")
    model, x = shaken(3, 5, (6, 4)), normals(16, 3)
    twins = {n: torch.tensor(p.data, requires_grad=True) for n, p in parameters(model).items()}
    z, log_det = torch.tensor(x), torch.zeros(16, dtype=torch.float64)
    for k in reversed(range(5)):
        h = z * (b := torch.tensor([(i + k + 1) % 2 for i in range(3)]))
        for i in range(3):
            at = f"couplings.{k}.network.layers.{i}"
            h = h @ twins[f"{at}.W"] + twins[f"{at}.b"]
            h = torch.relu(h) if i < 2 else h
        s = torch.tanh(h[:, :3]) * twins[f"couplings.{k}.scale"]
        z = torch.where(b == 1, z, (z - h[:, 3:]) / torch.exp(s))
        log_det = log_det - torch.where(b == 1, 0.0, s).sum(1)
    prior = torch.distributions.MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    theirs = -(prior.log_prob(z) + log_det).mean()
    theirs.backward()
    ours = loss_of(model)(x)
    np.testing.assert_allclose(ours.item(), theirs.item(), rtol=1e-13)
    gradients = grad(ours, list(parameters(model).values()))
    for g, twin in zip(gradients, twins.values(), strict=True):
        np.testing.assert_allclose(g, twin.grad.numpy(), rtol=1e-9, atol=1e-12)


# N2: how rare is an event?


def test_the_probability_of_an_event_matches_quadrature():
    model, n = shaken(seed=1, smooth=True), 50_000
    points, cell, _ = box(model, 300)
    p = densities(model, points)
    p_samples = densities(model, model.sample(n, seed=4))
    for level in (0.5, 0.1, 0.01):
        threshold = np.quantile(p_samples, level)  # "as improbable as this, or more"
        tail = 1 - p[p > threshold].sum() * cell
        assert abs(tail - level) < 4.5 * math.sqrt(level * (1 - level) / n) + 5e-4


# Training, and what it refuses


def test_it_learns_eight_gaussians():
    data = load("eight-gaussians", n=5000)
    model = RealNVP(2, layers=6, hidden=(32, 32), seed=0)
    settings = TrainSettings(epochs=8, batch_size=100, lr=5e-3, schedule="cosine", clip_norm=10.0)
    fit(GradientLearner(model, settings), data, settings=settings)
    with no_grad():
        gap = np.mean(data.log_density(data.test.x) - model.log_prob(data.test.x))
    assert 0 < gap < 0.7  # a single Gaussian: 1.8


def test_it_takes_the_precision_it_is_asked_for():
    x = normals(4, 2).astype(np.float32)
    assert RealNVP(2).log_prob(x).dtype == np.float32
    assert RealNVP(2).sample(3).dtype == np.float32
    assert RealNVP(2, dtype=np.float64).sample(3).dtype == np.float64


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: RealNVP(1), "dim must .*got 1"),
        (lambda: RealNVP(2, layers=0), "layers must .*got 0"),
        (lambda: shaken().log_prob(normals(4, 3)), r"x must have shape .*got \(4, 3\)"),
        (lambda: shaken().log_prob(normals(4, 2)[0]), r"x must have shape .*got \(2,\)"),
        (lambda: shaken().log_prob(normals(4, 2) * np.nan), "x must .*got nan"),
        (lambda: shaken().log_prob(np.array([["a", "b"]])), "x must hold numbers, got <U1"),
        (lambda: shaken().log_prob([[0.0, 1.0]]), "x must .*got list"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(InputError, match=names):
        call()
