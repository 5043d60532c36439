"""Laws of solvers, of inversion and of Langevin dynamics (D3, D5), and of schedules that end at 0.

The data are N(M, V) with its exact denoiser, under which every sampler is a linear map of x and of
its noise: mean and variance follow a recursion in closed form.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Tensor, grad
from core.errors import InputError
from core.random import normal
from reference.diffusion.langevin import Langevin, langevin_step
from reference.diffusion.samplers import DDIM
from reference.diffusion.schedule import SCHEDULES, Schedule, linear_betas, make_schedule
from reference.diffusion.solvers import Heun, Multistep, invert

M, V = 0.7, 0.3


class Gaussian:
    """N(M, V) as samplers see it: E[x_0 | x_t] = M + √ᾱ V/(ᾱ V + 1 − ᾱ) (x_t − √ᾱ M)."""

    prediction, clip = "x0", None

    def __init__(self, schedule):
        self.schedule = schedule

    def slope(self, t):
        a = float(self.schedule.alpha_bar[t])
        return math.sqrt(a) * V / (a * V + 1 - a)

    def x_0(self, x_t, t):
        return M + self.slope(t) * (x_t - math.sqrt(self.schedule.alpha_bar[t]) * M)

    def says(self, x_t, t):
        return {"output": self.x_0(x_t, t)}


def run(take_step, model, x, times):
    for t, s in pairwise(times):
        x = take_step(model, x, t, s, seed=0)
    return x


# Schedules that end in noise and nothing else


@pytest.mark.parametrize("T", [2, 10, 1000])
def test_the_zero_terminal_schedule_is_the_linear_one_moved(T):
    s, linear = make_schedule("zero-terminal", T), np.sqrt(np.cumprod(1 - linear_betas(T)))
    assert s.alpha_bar[-1] == 0
    root = np.sqrt(s.alpha_bar[1:])
    np.testing.assert_allclose(root[0], linear[0], rtol=1e-12)
    np.testing.assert_allclose(
        np.diff(root, 2), np.diff(linear, 2) * root[0] / (linear[0] - linear[-1]), atol=1e-12
    )
    assert s.snr()[-1] == 0
    np.testing.assert_allclose(s.snr()[:-1], s.alpha_bar[1:-1] / (1 - s.alpha_bar[1:-1]))
    assert np.all(np.diff(s.snr()) < 0)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_other_schedules_leave_a_signal(name):
    assert make_schedule(name, 100).alpha_bar[-1] > 0


@pytest.mark.parametrize("make", [DDIM, Heun, Multistep, Langevin])
def test_samplers_begin_where_there_is_no_signal(make):
    model, x = Gaussian(make_schedule("zero-terminal", 200)), normal(0, (64, 1), dtype=np.float64)
    out = run(make(), model, x, model.schedule.timesteps(100))
    drawn = 0.2 if make is Langevin else 0.0  # 3 errors of 64 draws of its own
    np.testing.assert_allclose(out.mean() - M, math.sqrt(V) * x.mean(), atol=0.05 + drawn)
    np.testing.assert_allclose(out.std(), math.sqrt(V) * x.std(), atol=0.03 + drawn)


# The multistep solver


def multistep_recursion(model, times):
    """(A, C) of x_0 = A x_T + C, by a state of two numbers: x_t and the last x̂_0."""
    s = model.schedule

    def lam(t):
        return 0.5 * math.log(s.alpha_bar[t] / (1 - s.alpha_bar[t]))

    def chain(x, affine):
        """x from start to end; affine: whether M counts."""
        last = None
        for t, u in pairwise(times):
            root_t, root_u = (math.sqrt(s.alpha_bar[i]) for i in (t, u))
            sigma_t, sigma_u = (math.sqrt(1 - s.alpha_bar[i]) for i in (t, u))
            d = model.slope(t) * x + (M - model.slope(t) * root_t * M) * affine
            D = d
            if last is not None and u > 0:  # Lu et al. 2022: (1 + 1/2r) x̂_0 − 1/2r x̂_0 before
                r = (lam(t) - lam(last[1])) / (lam(u) - lam(t))
                D = (1 + 1 / (2 * r)) * d - 1 / (2 * r) * last[0]
            last = d, t
            if u == 0:
                x = D
            else:  # x_u = σ_u/σ_t x_t − √ᾱ_u (e^{−h} − 1) D
                x = sigma_u / sigma_t * x - root_u * math.expm1(lam(t) - lam(u)) * D
        return x

    C = chain(0.0, affine=1.0)
    return chain(1.0, affine=0.0), C


@given(T=st.integers(2, 60), n=st.integers(1, 60), name=st.sampled_from(["linear", "cosine"]))
def test_the_multistep_solver_follows_its_recursion(T, n, name):
    model, x = Gaussian(make_schedule(name, T)), normal(1, (8, 1), dtype=np.float64)
    times = model.schedule.timesteps(min(n, T))
    A, C = multistep_recursion(model, times)
    got = run(Multistep(), model, x, times)
    np.testing.assert_allclose(got, A * x + C, atol=1e-10)


def even_in_log_snr(T):
    lam = np.linspace(3.5, -3.5, T)
    alpha_bar = np.concatenate([[1.0], 1 / (1 + np.exp(-2 * lam))])
    beta = np.concatenate([[0.0], 1 - alpha_bar[1:] / alpha_bar[:-1]])
    return Schedule(beta, 1 - beta, alpha_bar)


def order(make, n=32):
    """log₂ of how much smaller the error becomes with twice the steps, from t = T to t = 1."""
    model, x = Gaussian(even_in_log_snr(1025)), np.ones((1, 1))
    a, b = (float(model.schedule.alpha_bar[t]) for t in (1025, 1))
    exact = math.sqrt(b) * M + math.sqrt((b * V + 1 - b) / (a * V + 1 - a)) * (1 - math.sqrt(a) * M)
    errors = []
    for k in (n, 2 * n):
        times = [1025 - i * (1024 // k) for i in range(k + 1)]
        errors.append(abs(run(make(), model, x, times).item() - exact))
    return math.log2(errors[0] / errors[1])


def test_multistep_and_heun_are_of_second_order_ddim_of_first():
    assert abs(order(DDIM) - 1) < 0.15
    assert abs(order(Heun) - 2) < 0.15
    assert abs(order(Multistep) - 2) < 0.15


class Wrong(Multistep):
    """Goes on from the step before with the ratio turned round."""

    def __call__(self, model, x_t, t, s, *, seed):
        if self._before is not None:
            self._before = 2 * self._before[0] - model.x_0(x_t, t), self._before[1]
        return super().__call__(model, x_t, t, s, seed=seed)


def test_a_wrong_multistep_solver_is_of_first_order():
    assert order(Wrong) < 1.3


# Inversion


class Bent(Gaussian):
    """A denoiser that is no straight line: of a mixture of two Gaussians at ±1."""

    def x_0(self, x_t, t):
        a = float(self.schedule.alpha_bar[t])
        k, r = a * 0.1 + 1 - a, math.sqrt(a)
        p = 1 / (1 + np.exp(-2 * r * x_t / k))
        means = [m + r * 0.1 / k * (x_t - r * m) for m in (-1, 1)]
        return (1 - p) * means[0] + p * means[1]


def inversion_returns_the_start(solve, kind, steps):
    model = kind(make_schedule("cosine", 100))
    times = model.schedule.timesteps(steps)
    x_T = normal(3, (50, 2), dtype=np.float64)
    x_1 = run(DDIM(), model, x_T, times[:-1])
    np.testing.assert_allclose(solve(model, x_1, times), x_T, atol=1e-10)
    back = run(DDIM(), model, solve(model, x_1, times), times[:-1])
    np.testing.assert_allclose(back, x_1, atol=1e-10)


@pytest.mark.parametrize("kind", [Gaussian, Bent])
@pytest.mark.parametrize("steps", [50, 100])
def test_inversion_returns_the_start(kind, steps):
    inversion_returns_the_start(invert, kind, steps)


def without_a_solve(model, x, times):
    """x̂_0 of x_s in the place of x_t's, as inversion is often done."""
    for s, t in pairwise([s for s in reversed(times) if s > 0]):
        a_t, a_s = model.schedule.alpha_bar[[t, s]]
        a = math.sqrt((1 - a_s) / (1 - a_t))
        x = (x - (math.sqrt(a_s) - a * math.sqrt(a_t)) * model.x_0(x, s)) / a
    return x


def test_inversion_without_a_solve_is_rejected():
    with pytest.raises(AssertionError):
        inversion_returns_the_start(without_a_solve, Bent, 50)


def test_inversion_says_where_it_does_not_come_to_rest():
    model = Bent(make_schedule("cosine", 100))
    model.x_0 = lambda x_t, t: 40 * np.sin(40 * x_t)
    with pytest.raises(InputError, match=r"^times must lie closer together to be inverted, got 1 "):
        invert(model, np.ones((2, 1)), [100, 60, 1, 0])


# Langevin dynamics


def rests_at_its_variance(take, eta):
    """On N(0, 1): of v the variance (1 − η)² v + 2η, at rest 1/(1 − η/2)."""
    x = np.array([[1.0], [0.0]])  # what is kept of x, and of one draw of noise
    z = np.array([[0.0], [1.0]])
    kept, added = (take(x, -x, eta, z)).ravel()
    np.testing.assert_allclose(added**2 / (1 - kept**2), 1 / (1 - eta / 2), rtol=1e-12)


@given(eta=st.floats(1e-3, 1.5))
def test_langevin_rests_at_its_variance(eta):
    rests_at_its_variance(langevin_step, eta)


def test_wrong_langevin_steps_are_rejected():
    for wrong in (
        lambda x, score, eta, z: x + eta * score + math.sqrt(eta) * z,
        lambda x, score, eta, z: x + 0.5 * eta * score + math.sqrt(2 * eta) * z,
    ):
        with pytest.raises(AssertionError):
            rests_at_its_variance(wrong, 0.4)


def test_a_walk_on_an_energy_does_not_mind_a_constant():
    """p ∝ e^{−E}: E and E + c have one score, and one walk, which rests at the density."""

    def walk(constant, n=500, eta=0.01):
        x = normal(0, (2000, 1), dtype=np.float64)
        for i in range(n):
            at = Tensor(x)
            (slope,) = grad(np.sum((at * at - 1) ** 2 + constant), [at])  # two wells, at ±1
            z = normal(1, x.shape, step=i, dtype=np.float64)
            x = langevin_step(x, -np.asarray(slope), eta, z)
        return x

    plain = walk(0.0)
    np.testing.assert_allclose(walk(1000.0), plain, atol=1e-9)
    grid = np.linspace(-3, 3, 2001)
    p = np.exp(-((grid**2 - 1) ** 2))
    expected = np.sum(p * grid**2) / np.sum(p)
    np.testing.assert_allclose(np.mean(plain**2), expected, atol=0.08)


@pytest.mark.parametrize("corrections", [1, 3])
def test_the_corrected_sampler_follows_its_recursion(monkeypatch, corrections):
    """Mean and variance by the linear recursion of each prediction and each correction."""
    from reference.diffusion import langevin

    model, eta = Gaussian(make_schedule("cosine", 6)), 0.2
    n, s = 64, model.schedule
    columns = np.linalg.qr(np.c_[np.ones(n), np.random.default_rng(0).normal(size=(n, 40))])[0]
    columns = columns[:, 1:] * math.sqrt(n)  # mean 0, variance 1, no two correlate
    taken = iter(range(1, 40))
    monkeypatch.setattr(langevin, "normal", lambda *_, **__: columns[:, [next(taken)]])
    x = run(Langevin(corrections, eta), model, columns[:, [0]], s.timesteps())
    mean, var = 0.0, 1.0
    for t in range(6, 0, -1):
        a_t, a_s = float(s.alpha_bar[t]), float(s.alpha_bar[t - 1])
        a = math.sqrt((1 - a_s) / (1 - a_t))
        b, k = math.sqrt(a_s) - a * math.sqrt(a_t), model.slope(t)
        mean = a * mean + b * (M + k * (mean - math.sqrt(a_t) * M))
        var = (a + b * k) ** 2 * var
        for _ in range(corrections if t > 1 else 0):
            h, kept = eta * (1 - a_s), 1 - eta * (1 - a_s) / (a_s * V + 1 - a_s)
            mean = math.sqrt(a_s) * M + kept * (mean - math.sqrt(a_s) * M)
            var = kept**2 * var + 2 * h
    np.testing.assert_allclose([x.mean(), x.var()], [mean, var], atol=1e-10)


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match=r"^corrections must be an int >= 0"):
        Langevin(-1)
    with pytest.raises(InputError, match=r"^eta must be a finite number > 0 and <= 1"):
        Langevin(1, 0.0)
    assert set(SCHEDULES) == {"linear", "cosine", "zero-terminal"}
