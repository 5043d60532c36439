"""N1 over all flows: undone at any size and parameters; determinants, splines, planar bends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Tensor, grad, jacobian, no_grad, value
from core.learners import loss_of
from core.random import Generator
from core.state import parameters
from reference.flows.iaf import IAF
from reference.flows.maf import MAF
from reference.flows.masked_mlp import MaskedMLP
from reference.flows.planar import Bend, PlanarFlow
from reference.flows.rational_quadratic import Spline, spline
from reference.flows.real_nvp import RealNVP
from reference.flows.spline_flow import SplineFlow

FLOWS = {
    "real-nvp": lambda d, k, **how: RealNVP(d, layers=k, hidden=(6,), **how),
    "planar": lambda d, k, **how: PlanarFlow(d, layers=k, **how),
    "maf": lambda d, k, **how: MAF(d, layers=k, hidden=(7,), **how),
    "iaf": lambda d, k, **how: IAF(d, layers=k, hidden=(7,), **how),
    "spline": lambda d, k, **how: SplineFlow(d, layers=k, hidden=(6,), bins=5, bound=2.0, **how),
}
seeds = st.integers(0, 10_000)
flows = st.sampled_from(sorted(FLOWS))


def shaken(name, dim=3, layers=3, seed=0, dtype=np.float64, size=0.4):
    model = FLOWS[name](dim, layers, seed=seed, dtype=dtype)
    rng = np.random.default_rng(seed)
    for p in parameters(model).values():
        p[...] = p.data + (size * rng.normal(size=p.shape)).astype(dtype)
    return model


def points(n, dim, seed, scale=1.5):
    return scale * np.random.default_rng(seed).normal(size=(n, dim))


@given(flows, st.integers(2, 5), st.integers(1, 4), seeds, st.booleans())
def test_a_flow_is_undone(name, dim, layers, seed, double):
    dtype = np.float64 if double else np.float32
    model, z = shaken(name, dim, layers, seed, dtype), points(9, dim, seed).astype(dtype)
    with no_grad():
        x, log_det = model.forward(z)
        again, back = model.inverse(x)
    slope = float(np.exp(np.abs(log_det)).max()) + 1
    tolerance = (1e-10 if double else 1e-4) * slope
    np.testing.assert_allclose(again, z, atol=tolerance, rtol=tolerance)
    np.testing.assert_allclose(back, -log_det, atol=10 * tolerance, rtol=10 * tolerance)


@given(flows, st.integers(2, 4), seeds, st.sampled_from(["forward", "inverse"]))
def test_the_log_determinant_is_that_of_autograds_jacobian(name, dim, seed, way):
    model, a = shaken(name, dim, 2, seed), points(1, dim, seed)[0]
    f = getattr(model, way)
    J = jacobian(lambda t: f(t[None])[0][0], a)
    with no_grad():
        log_det = value(f(a[None])[1])[0]
    np.testing.assert_allclose(log_det, np.linalg.slogdet(J)[1], atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_the_gradient_of_the_loss_goes_through_the_inverse(name):
    model, x = shaken(name), points(8, 3, 1)
    weights = list(parameters(model).values())
    gradients = grad(loss_of(model)(x), weights)
    rng = np.random.default_rng(5)
    direction = [rng.normal(size=w.shape) for w in weights]
    slope = sum(float(np.sum(g * d)) for g, d in zip(gradients, direction, strict=True))

    def at(step):
        for w, d in zip(weights, direction, strict=True):
            w[...] = w.data + step * d
        with no_grad():
            loss = float(value(loss_of(model)(x)))
        for w, d in zip(weights, direction, strict=True):
            w[...] = w.data - step * d
        return loss

    assert slope == pytest.approx((at(1e-6) - at(-1e-6)) / 2e-6, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["real-nvp", "maf", "iaf", "spline"])
def test_a_new_flow_is_the_standard_normal(name):
    x = points(20, 3, 0)
    expected = -0.5 * (x**2).sum(1) - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(
        value(FLOWS[name](3, 3).log_prob(x.astype(np.float32))), expected, rtol=1e-4
    )


# Autoregressive flows


@given(st.integers(1, 6), seeds, st.data())
def test_a_masked_network_sees_what_comes_before_and_all_of_it(n, seed, data):
    order = data.draw(st.permutations(range(n)))
    net = MaskedMLP(
        n, [max(n, 4)], 2, Generator(seed), order=order, activation=np.tanh, dtype=np.float64
    )
    rng = np.random.default_rng(seed)
    for w in (*net.W, *net.b):
        w[...] = rng.normal(size=w.shape)
    J = jacobian(lambda t: net(t[None])[0], rng.normal(size=n))  # (2, n, n)
    place = np.argsort(order)
    before = place[None, :] < place[:, None]
    assert (J[:, ~before] == 0).all()
    assert (J[:, before] != 0).all()


def test_maf_and_iaf_are_each_others_inverse():
    maf, iaf = shaken("maf", 3, 1), shaken("iaf", 3, 1)
    x = points(5, 3, 2)
    with no_grad():
        for a, b in zip(maf.inverse(x), iaf.forward(x), strict=True):
            np.testing.assert_array_equal(a, b)


def test_maf_is_gaussian_conditionals():
    model, x = shaken("maf", 3, 1), points(6, 3, 3)
    with no_grad():
        mu, alpha = model.models[0]._mu_and_alpha(x)
        log_p = value(model.log_prob(x))
    z = (x - mu) / np.exp(alpha)
    expected = (-0.5 * z**2 - alpha - 0.5 * np.log(2 * np.pi)).sum(1)
    np.testing.assert_allclose(log_p, expected, rtol=1e-12)


# Splines


def random_spline(seed, bins=6, bound=2.0):
    return spline(2 * np.random.default_rng(seed).normal(size=(1, 3 * bins - 1)), bound)


@given(seeds, st.integers(2, 9))
def test_a_spline_rises_through_its_knots_with_its_slopes(seed, bins):
    s = random_spline(seed, bins)
    knots, heights, slopes = (a[0] for a in (s.x, s.y, s.slope))
    inner = knots[1:-1]
    wide = Spline(*(np.broadcast_to(a, (len(inner), bins + 1)) for a in (s.x, s.y, s.slope)), 2.0)
    y, log_slope = wide.forward(inner)
    np.testing.assert_allclose(y, heights[1:-1], atol=1e-12)
    np.testing.assert_allclose(np.exp(log_slope), slopes[1:-1], rtol=1e-9)
    assert slopes[0] == slopes[-1] == 1


@given(seeds, st.integers(2, 9))
def test_a_splines_slope_is_its_derivative_and_it_is_undone(seed, bins):
    x = np.sort(np.random.default_rng(seed).uniform(-3, 3, 40))
    s = random_spline(seed, bins)
    s = Spline(*(np.broadcast_to(a, (40, bins + 1)) for a in (s.x, s.y, s.slope)), 2.0)
    t = Tensor(x)
    y, log_slope = s.forward(t)
    np.testing.assert_allclose(grad(np.sum(y), [t])[0], np.exp(value(log_slope)), rtol=1e-8)
    assert (np.diff(value(y)) > 0).all()
    again, back = s.inverse(value(y))
    np.testing.assert_allclose(again, x, atol=1e-8)
    np.testing.assert_allclose(back, -value(log_slope), atol=1e-6)
    outside = np.abs(x) >= 2
    np.testing.assert_array_equal(value(y)[outside], x[outside])


def test_wrong_splines_are_rejected(monkeypatch):
    """The slope of Eq. 5 without its square, an inverse with the other root's sign."""
    right = Spline._log_slope
    monkeypatch.setattr(Spline, "_log_slope", staticmethod(lambda *a: right(*a) / 2))
    with pytest.raises(AssertionError):
        test_a_splines_slope_is_its_derivative_and_it_is_undone.hypothesis.inner_test(0, 5)


# Planar


@given(seeds, st.integers(1, 5), st.floats(0.1, 5))
def test_a_bend_is_invertible_whatever_its_u(seed, dim, size):
    bend = Bend(dim, Generator(seed), np.float64)
    rng = np.random.default_rng(seed)
    for p in (bend.w, bend.u, bend.b):
        p[...] = size * rng.normal(size=p.shape)
    with no_grad():
        assert float(value(np.sum(bend._u() * bend.w))) > -1
        x, _ = bend.forward(z := points(20, dim, seed))
        np.testing.assert_allclose(bend.inverse(x)[0], z, atol=1e-6, rtol=1e-6)


def test_a_bend_with_u_as_it_comes_folds(monkeypatch):
    monkeypatch.setattr(Bend, "_u", lambda self: self.u)
    bend = Bend(1, Generator(0), np.float64)
    bend.w[...], bend.u[...] = 2.0, -2.0
    with no_grad():
        x, _ = bend.forward(z := points(50, 1, 0))
        assert np.abs(bend.inverse(x)[0] - z).max() > 0.1
