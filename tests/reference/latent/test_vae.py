"""L5 (and L2, L3, F5, F6): bounds below the exact likelihood, and the gradient of the bound.

With one or two latent dimensions the integral over z is done on a grid. The networks get tanh here:
on a smooth integrand that vanishes at both ends the trapezoid rule is exact to rounding.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

from core import Tensor, grad, no_grad, value
from core.data import load
from core.errors import InputError
from core.functional import normal_log_prob, sigmoid
from core.random import Generator, uniform
from core.state import parameters
from core.train import GradientLearner, TrainSettings, fit
from reference.latent import variational
from reference.latent.gaussian_vae import GaussianVAE
from reference.latent.likelihoods import Bernoulli
from reference.latent.priors import StandardNormal, kl_of_each
from reference.latent.vae import VAE
from reference.latent.variational import reparametrise

DIM = 4
STATES = np.array(list(itertools.product((0.0, 1.0), repeat=DIM)))
GRID = np.linspace(-10, 10, 801)
STEP = GRID[1] - GRID[0]
WEIGHTS = stats.norm.pdf(GRID) * STEP  # of ε ~ N(0, 1)


def tiny(cls=VAE, latent=1, hidden=(6,), dim=DIM, seed=0, size=0.7):
    """A small float64 model with random parameters, not those it starts from."""
    model = cls(dim, latent=latent, hidden=hidden, seed=seed, dtype=np.float64)
    rng = np.random.default_rng(seed)
    for p in parameters(model).values():
        p[...] = size * rng.normal(size=p.shape)
    model.encoder.activation = model.decoder.activation = np.tanh
    return model


def kl_to_prior(mu, log_var):
    return StandardNormal(1).kl(mu, log_var, None)


class Noise(Generator):
    """Hands out the noise it was given."""

    def __init__(self, epsilon):
        self.epsilon = epsilon

    def normal(self, shape, dtype):
        return np.asarray(self.epsilon, dtype).reshape(shape)


def expected_elbo(model, x):
    """E ELBO (B,) over the noise of `model.elbo` itself, latent 1 or 2, by quadrature."""
    nodes = np.array(list(itertools.product(GRID[::8], repeat=model.latent)))  # (N, latent)
    weights = np.prod(stats.norm.pdf(nodes), axis=1) * (8 * STEP) ** model.latent
    many = model.elbo(np.repeat(x, len(nodes), axis=0), rng=Noise(np.tile(nodes, (len(x), 1))))
    return np.reshape(many, (len(x), len(nodes))) @ weights


def exact_log_prob(model, x):
    """log ∫ p(x|z) p(z) dz, (B,), latent 1 or 2, by quadrature over z."""
    z = np.array(list(itertools.product(GRID[::4], repeat=model.latent)))  # (N, latent)
    log_weights = stats.norm.logpdf(z).sum(axis=1) + model.latent * math.log(4 * STEP)
    with no_grad():
        return logsumexp(model.log_likelihood(x[:, None], z) + log_weights, axis=1)


def estimates(bound, times, seed=0):
    """`times` independent estimates, (times, B)."""
    rng = Generator(seed)
    with no_grad():
        return np.stack([bound(rng) for _ in range(times)])


# The laws, as functions that raise AssertionError


def kl_is_the_integral(mu=0.7, log_var=-1.1):
    z = mu + math.exp(log_var / 2) * GRID
    log_ratio = stats.norm.logpdf(z, mu, math.exp(log_var / 2)) - stats.norm.logpdf(z)
    kl = kl_to_prior(np.array([mu]), np.array([log_var]))
    np.testing.assert_allclose(kl, WEIGHTS @ log_ratio, rtol=1e-10, atol=1e-12)


def decoder_is_a_distribution():
    """Σ_x p(x|z) = 1 for every z, so p(x) sums to 1."""
    for model in (tiny(), tiny(latent=2)):
        z = np.random.default_rng(1).normal(size=(5, model.latent))
        with no_grad():
            log_p = model.log_likelihood(STATES[:, None], z)
        np.testing.assert_allclose(np.exp(log_p).sum(axis=0), 1, rtol=1e-12)
        np.testing.assert_allclose(np.exp(exact_log_prob(model, STATES)).sum(), 1, rtol=1e-10)


def weights_are_unbiased():
    """E_q w = p(x), and E_q log w = ELBO, for the w = p(x, z)/q(z|x) of the importance bound."""
    model, x = tiny(), STATES[::5]
    with no_grad():
        log_w = model.log_weights(x, Noise(GRID), len(GRID)).T
        np.testing.assert_allclose(log_w @ WEIGHTS, expected_elbo(model, x), rtol=1e-10)
    np.testing.assert_allclose(np.exp(log_w) @ WEIGHTS, np.exp(exact_log_prob(model, x)), rtol=1e-9)


def bounds_are_ordered():
    """E ELBO = bound with k = 1 ≤ … rising with k … → log p(x), within four standard errors."""
    model, x, times = tiny(), STATES[[1, 4]], 200
    exact = exact_log_prob(model, x)
    with no_grad():
        elbo = expected_elbo(model, x)
    assert_mean(estimates(lambda rng: model.elbo(x, rng=rng), 1000), elbo)
    bounds = [
        estimates(lambda rng, k=k: model.importance_log_prob(x, rng=rng, k=k), times, seed=k)
        for k in (1, 4, 128)
    ]
    assert_mean(bounds[0], elbo)
    for looser, tighter in itertools.pairwise(bounds):
        slack = 4 * np.hypot(standard_error(looser), standard_error(tighter))
        assert np.all(looser.mean(axis=0) <= tighter.mean(axis=0) + slack)
    for bound in bounds:
        assert np.all(bound.mean(axis=0) <= exact + 4 * standard_error(bound))
    # The log of an average of k is too low by about var(w)/2k (F5): here, next to nothing.
    np.testing.assert_allclose(bounds[-1].mean(axis=0), exact, atol=0.02)
    assert np.all(exact - elbo > 0.1), "too tight to tell the bounds apart"


def assert_mean(estimates, expected):
    wrong_by = np.abs(estimates.mean(axis=0) - expected)
    assert np.all(wrong_by <= 4.5 * standard_error(estimates))


def standard_error(estimates):
    return estimates.std(axis=0, ddof=1) / math.sqrt(len(estimates)) + 1e-12


def gradient_is_that_of_the_integral():
    """∇ E ELBO through the reparametrised z = ∇ ∫ q(z|x) (log p(x, z) − log q(z|x)) dz."""
    model, x = tiny(), STATES[[3, 5]]
    theta = list(parameters(model).values())
    through_samples = grad(np.sum(expected_elbo(model, x)), theta)
    for a, b in zip(through_samples, grad(elbo_integral(model, x), theta), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


def elbo_integral(model, x):
    """Σ_x ∫ q(z|x) (log p(x, z) − log q(z|x)) dz on a grid of z: nothing is reparametrised."""
    mu, log_var = model.encode(x)  # (B, 1)
    log_q = normal_log_prob(GRID[None, :], mu, 0.5 * log_var)  # (B, N)
    log_p = model.log_likelihood(x[:, None], GRID[:, None]) + stats.norm.logpdf(GRID)
    return np.sum(np.exp(log_q) * (log_p - log_q)) * STEP


def samples_follow_the_density():
    model, n = tiny(), 20_000
    observed = np.bincount(
        (model.sample(n, seed=1) @ (8, 4, 2, 1)).astype(int), minlength=len(STATES)
    )
    expected = n * np.exp(exact_log_prob(model, STATES))
    assert stats.chisquare(observed, expected * n / expected.sum()).pvalue > 1e-4


LAWS = (
    kl_is_the_integral,
    decoder_is_a_distribution,
    weights_are_unbiased,
    bounds_are_ordered,
    gradient_is_that_of_the_integral,
    samples_follow_the_density,
)


@pytest.mark.parametrize("law", LAWS)
def test_law(law):
    law()


# The same laws on models with one fault


def _mean_of_logs(self, x, rng, k):
    return np.mean(self.log_weights(x, rng, k), axis=0)


def _forgets_log_k(self, x, rng, k):
    return right_bound(self, x, rng=rng, k=k) + math.log(k)


def _averages_over_x(self, x, rng, k):
    return logsumexp(self.log_weights(x, rng, k), axis=1) - math.log(len(x))


def _forgets_the_normaliser(self, x, theta):
    return np.sum(x * theta, axis=-1)


def _logits_as_probabilities(self, x, theta):
    p = np.clip(theta, 1e-3, 1 - 1e-3)
    return np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=-1)


def _draws_the_likeliest(self, logits, seed):
    return logits > 0


def _draws_with_logits(self, logits, seed):
    return uniform(seed, logits.shape, dtype=logits.dtype) < logits


right_bound = VAE.importance_log_prob
right_draw = Bernoulli.draw

FAULTS = {
    "sign of the KL": (
        StandardNormal,
        "kl",
        lambda self, mu, log_var, z: -np.sum(kl_of_each(mu, log_var), axis=-1),
        {kl_is_the_integral, weights_are_unbiased, gradient_is_that_of_the_integral},
    ),
    "log σ² taken for log σ in the KL": (
        StandardNormal,
        "kl",
        lambda self, mu, log_var, z: np.sum(kl_of_each(mu, 2 * log_var), axis=-1),
        {kl_is_the_integral, weights_are_unbiased, gradient_is_that_of_the_integral},
    ),
    "log σ² taken for σ in z": (
        variational,
        "reparametrise",
        lambda mu, log_var, epsilon: mu + log_var * epsilon,
        {weights_are_unbiased, gradient_is_that_of_the_integral},
    ),
    "no noise": (
        variational,
        "reparametrise",
        lambda mu, log_var, epsilon: mu + 0 * epsilon,
        {weights_are_unbiased, gradient_is_that_of_the_integral},
    ),
    "no gradient through z": (
        variational,
        "reparametrise",
        lambda mu, log_var, epsilon: value(mu) + np.exp(0.5 * value(log_var)) * epsilon,
        {gradient_is_that_of_the_integral},
    ),
    "mean of the log-weights": (VAE, "importance_log_prob", _mean_of_logs, {bounds_are_ordered}),
    "average over x": (VAE, "importance_log_prob", _averages_over_x, {bounds_are_ordered}),
    "sum of the weights": (VAE, "importance_log_prob", _forgets_log_k, {bounds_are_ordered}),
    "logits scored as probabilities": (
        Bernoulli,
        "log_prob",
        _logits_as_probabilities,
        {samples_follow_the_density},
    ),
    "unnormalised decoder": (
        Bernoulli,
        "log_prob",
        _forgets_the_normaliser,
        {decoder_is_a_distribution},
    ),
    "logits drawn from as probabilities": (
        Bernoulli,
        "draw",
        _draws_with_logits,
        {samples_follow_the_density},
    ),
    "the likeliest pixels": (Bernoulli, "draw", _draws_the_likeliest, {samples_follow_the_density}),
    "one noise for z and x": (
        Bernoulli,
        "draw",
        lambda self, logits, seed: np.repeat(right_draw(self, logits, seed)[:, :1], DIM, axis=1),
        {samples_follow_the_density},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_rejected(fault, monkeypatch):
    where, name, wrong, laws = FAULTS[fault]
    monkeypatch.setattr(where, name, wrong)
    for law in laws:
        with pytest.raises(AssertionError):
            law()


# L3: the four forms of the ELBO


@given(mu=st.floats(-3, 3), log_var=st.floats(-3, 1.5))
def test_the_kl_is_the_integral_everywhere(mu, log_var):
    kl_is_the_integral(mu, log_var)


def test_the_kl_is_0_at_the_prior_only():
    assert value(kl_to_prior(np.zeros(3), np.zeros(3))) == 0
    assert kl_to_prior(np.array([1e-3]), np.array([0.0])) > 0
    assert kl_to_prior(np.array([0.0]), np.array([1e-3])) > 0


@pytest.mark.parametrize("cls", [VAE, GaussianVAE])
def test_the_four_forms_of_the_elbo_agree(cls):
    model, x = tiny(cls, seed=3), STATES[5:9]
    with no_grad():
        mu, log_var = model.encode(x)  # (B, 1)
        sigma = np.exp(0.5 * log_var)
        z = mu + sigma * GRID  # (B, N)
        log_x_given_z = model.log_likelihood(x[:, None], z[:, :, None])  # (B, N)
        one = expected_elbo(model, x)  # E log p(x|z) − KL(q ‖ p(z))
    log_joint = log_x_given_z + stats.norm.logpdf(z)
    log_q = stats.norm.logpdf(z, mu, sigma)
    entropy = stats.norm.entropy(mu, sigma)[:, 0]
    log_p = exact_log_prob(model, x)
    two = (log_joint - log_q) @ WEIGHTS
    three = log_joint @ WEIGHTS + entropy
    kl_to_posterior = (log_q - (log_joint - log_p[:, None])) @ WEIGHTS
    for form in (two, three, log_p - kl_to_posterior):
        np.testing.assert_allclose(form, one, rtol=0, atol=1e-10)
    assert np.all(kl_to_posterior > 1e-4)


# L2: without hidden layers the Gaussian VAE is probabilistic PCA, in closed form


def linear_gaussian(seed=0):
    """The model, and W (2, D), b (D,), σ² of x = zW + b + σ·noise."""
    model = tiny(GaussianVAE, latent=2, hidden=(), seed=seed)
    layer = model.decoder.layers[0]
    return model, value(layer.W), value(layer.b), math.exp(2 * model.likelihood.log_sigma.data[0])


def pca_log_prob(x, W, b, s2):
    return stats.multivariate_normal(b, W.T @ W + s2 * np.eye(len(b))).logpdf(x)


def pca_posterior(x, W, b, s2):
    """Mean (B, 2) and covariance (2, 2) of z given x (Tipping & Bishop 1999, section 3.2)."""
    covariance = np.linalg.inv(np.eye(2) + W @ W.T / s2)
    return (x - b) @ W.T / s2 @ covariance, covariance


def some_reals(n=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, DIM))


def test_quadrature_finds_the_likelihood_of_probabilistic_pca():
    model, *pca = linear_gaussian()
    np.testing.assert_allclose(
        exact_log_prob(model, some_reals()), pca_log_prob(some_reals(), *pca), rtol=1e-10
    )


def test_the_elbo_of_any_q_is_log_p_minus_the_kl_to_the_posterior():
    model, *pca = linear_gaussian()
    x = some_reals()
    with no_grad():
        mu, log_var = model.encode(x)
        elbo = expected_elbo(model, x)
    mean, covariance = pca_posterior(x, *pca)
    precision, d = np.linalg.inv(covariance), mean - mu
    kl = 0.5 * (
        np.exp(log_var) @ np.diag(precision)
        + np.einsum("bi,ij,bj->b", d, precision, d)
        - 2
        + np.linalg.slogdet(covariance)[1]
        - log_var.sum(axis=1)
    )
    np.testing.assert_allclose(elbo, pca_log_prob(x, *pca) - kl, rtol=0, atol=1e-9)


def test_every_bound_is_tight_at_the_exact_posterior():
    model, W, b, s2 = linear_gaussian()
    W[1] -= W[0] * (W[1] @ W[0]) / (W[0] @ W[0])  # then the posterior is diagonal, as q is
    layer, (_, covariance) = model.encoder.layers[0], pca_posterior(b[None], W, b, s2)
    layer.W[...] = np.concatenate([W.T / s2 @ covariance, np.zeros((DIM, 2))], axis=1)
    layer.b[...] = np.concatenate([-b @ W.T / s2 @ covariance, np.log(np.diag(covariance))])
    x, rng = some_reals(), Generator(5)
    log_p = pca_log_prob(x, W, b, s2)
    with no_grad():
        np.testing.assert_allclose(expected_elbo(model, x), log_p, rtol=0, atol=1e-10)
        for k in (1, 3):  # whatever z is drawn, p(x, z) / q(z|x) is p(x)
            bound = model.importance_log_prob(x, rng=rng, k=k)
            np.testing.assert_allclose(bound, log_p, rtol=0, atol=1e-10)


def test_gaussian_samples_have_the_moments_of_probabilistic_pca():
    model, W, b, s2 = linear_gaussian()
    n = 50_000
    x = model.sample(n, seed=2)
    covariance = W.T @ W + s2 * np.eye(DIM)
    assert np.all(np.abs(x.mean(axis=0) - b) < 4.5 * np.sqrt(np.diag(covariance) / n))
    spread = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2)
    assert np.all(np.abs(np.cov(x.T) - covariance) < 4.5 * spread / math.sqrt(n))


# F6: the gradient estimated from samples, with the reparametrisation and without


def test_both_gradient_estimators_are_unbiased_and_the_reparametrised_one_is_quieter():
    model, n = tiny(), 20_000
    x = np.repeat(STATES[[3]], n, axis=0)
    (bias,) = [model.encoder.layers[-1].b]  # its gradient is that in μ and log σ²
    exact = grad(elbo_integral(model, x[:1]), [bias])[0]
    mu, log_var = (Tensor(value(a)) for a in model.encode(x))  # (n, 1), one for each sample
    epsilon = Generator(3).normal(mu.shape, dtype=np.float64)
    z = reparametrise(mu, log_var, epsilon)
    pathwise = model.log_likelihood(x, z) - kl_to_prior(mu, log_var)
    log_q = np.sum(normal_log_prob(value(z), mu, 0.5 * log_var), axis=-1)
    reward = value(model.log_likelihood(x, value(z))) + stats.norm.logpdf(value(z)[:, 0])
    score = (reward - value(log_q)) * log_q  # ∇ E_q r = E_q[r ∇ log q], and E_q ∇ log q = 0
    variances = []
    for estimator in (pathwise, score):
        each = np.concatenate(grad(np.sum(estimator), [mu, log_var]), axis=1)  # (n, 2)
        assert_mean(each, exact)
        variances.append(each.var(axis=0))
    assert np.all(variances[0] < variances[1])


# Against PyTorch


@pytest.mark.parametrize("cls", [VAE, GaussianVAE])
def test_loss_and_gradients_equal_pytorchs(cls):
    torch = pytest.importorskip("torch")
    from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

    model = tiny(cls, latent=3, hidden=(7, 5))
    model.beta = 0.6
    x, epsilon = STATES[2:12], np.random.default_rng(0).normal(size=(10, 3))
    ours = model.loss(x, None, Noise(epsilon))
    twins = {n: torch.tensor(p.data, requires_grad=True) for n, p in parameters(model).items()}

    def run(name, h):
        layers = range(len(getattr(model, name).layers))
        for i in layers:
            h = h @ twins[f"{name}.layers.{i}.W"] + twins[f"{name}.layers.{i}.b"]
            h = torch.tanh(h) if i + 1 < len(layers) else h
        return h

    mu, log_var = run("encoder", torch.tensor(x)).chunk(2, dim=-1)
    q = Independent(Normal(mu, (log_var / 2).exp()), 1)
    out = run("decoder", mu + (log_var / 2).exp() * torch.tensor(epsilon))
    p = (
        Normal(out, twins["likelihood.log_sigma"].exp())
        if cls is GaussianVAE
        else Bernoulli(logits=out)
    )
    prior = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
    nll = -p.log_prob(torch.tensor(x)).sum(-1)
    theirs = (nll + 0.6 * kl_divergence(q, prior)).mean()
    theirs.backward()
    np.testing.assert_allclose(ours.item(), theirs.item(), rtol=1e-13)
    gradients = grad(ours, list(parameters(model).values()))
    for g, twin in zip(gradients, twins.values(), strict=True):
        np.testing.assert_allclose(g, twin.grad.numpy(), rtol=1e-10, atol=1e-13)


# What the methods say they do


def test_importance_weighted_training_is_on_the_bound_of_k_weights():
    """Burda's Eq. 8 with the same noise; its mean lies above the ELBO's, and rises with k."""
    model, losses = tiny(), {}
    for k in (1, 2, 16):
        model.importance = k
        if k > 1:
            bound = model.importance_log_prob(STATES, rng=Generator(3), k=k)
            assert value(model.loss(STATES, rng=Generator(3))) == -value(bound).mean()
        each = [float(value(model.loss(STATES, rng=Generator(i)))) for i in range(40)]
        losses[k] = np.mean(each)
    assert losses[1] > losses[2] > losses[16]


def test_importance_and_beta_exclude_each_other():
    with pytest.raises(InputError, match="beta must be 1 with importance = 5, got 2"):
        VAE(4, importance=5, beta=2.0)


def test_the_loss_is_minus_the_elbo_and_beta_weighs_the_kl():
    model, x = tiny(), STATES
    loss, elbo = model.loss(x, None, Generator(0)), model.elbo(x, rng=Generator(0))
    np.testing.assert_allclose(value(loss), -value(elbo).mean(), rtol=1e-14)
    model.beta = 3.0
    kl = value(kl_to_prior(*model.encode(x))).mean()
    weighted = model.loss(x, None, Generator(0))
    np.testing.assert_allclose(value(weighted), value(loss) + 2 * kl, rtol=1e-13)
    assert np.all(value(model.elbo(x, rng=Generator(0))) == value(elbo)), "the bound has no beta"


def test_a_line_between_two_images_and_along_one_latent():
    model = tiny(latent=2)
    x0, x1 = STATES[:3], STATES[5:8]
    line = model.interpolate(x0, x1, steps=5)
    assert line.shape == (5, 3, DIM)
    with no_grad():
        ends = [model.mean(model.encode(x)[0]) for x in (x0, x1)]
        np.testing.assert_allclose(line[[0, -1]], ends, rtol=1e-12)
        mu = model.encode(x0)[0]
        walk = model.traverse(x0, 1, (-2.0, 0.5))
        mu[:, 1] = 0.5
        np.testing.assert_allclose(walk[1], sigmoid(model.decode(mu)), rtol=1e-12)
        np.testing.assert_array_equal(model.reconstruct(x0), line[0])


def test_it_learns_digits():
    data = load("digits", domain="binary").subset(400)
    model = VAE(64, latent=8, hidden=(64,), seed=0)
    settings = TrainSettings(epochs=10, batch_size=32, lr=3e-3)
    history = fit(GradientLearner(model, settings), data, settings=settings)
    assert history.validation[history.best_epoch - 1] < 24  # independent pixels: 25.2


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda m: m.elbo(STATES[:, :3], rng=Generator(0)), r"x must have shape .*got \(16, 3\)"),
        (lambda m: m.encode(STATES[0]), r"x must have shape .*got \(4,\)"),
        (lambda m: m.loss(STATES * np.nan, None, Generator(0)), "x must .*got nan"),
        (lambda m: m.loss(STATES + 0.5, None, Generator(0)), "x must .*got 0.5"),
        (lambda m: m.importance_log_prob(STATES, rng=Generator(0), k=0), "k must .*got 0"),
        (lambda m: m.traverse(STATES, 1, [0.0]), "j must .*got 1"),
        (lambda m: VAE(4, latent=0), "latent must .*got 0"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(InputError, match=names):
        call(tiny())


def test_a_gaussian_decoder_takes_any_reals():
    model = tiny(GaussianVAE)
    assert np.isfinite(value(model.elbo(some_reals(), rng=Generator(0)))).all()
    with pytest.raises(InputError, match=r"x must .*got inf"):
        model.elbo(some_reals() * np.inf, rng=Generator(0))


def test_the_bound_is_the_only_likelihood():
    assert not hasattr(tiny(), "log_prob")
