"""L1, L3: EM climbs, the posterior is Bayes' rule, and the four forms of the ELBO agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits

from core.errors import InputError
from core.random import permutation
from reference.latent.bernoulli_mixture import EPSILON, BernoulliMixture

DIM, K = 5, 3
STATES = np.array(list(itertools.product((0.0, 1.0), repeat=DIM)))


def data(n=200, seed=0):
    rng = np.random.default_rng(seed)
    mu = rng.beta(0.5, 0.5, (K, DIM))
    return (rng.random((n, DIM)) < mu[rng.integers(0, K, n)]).astype(float)


def mixture(steps=5, cls=BernoulliMixture, x=None, **options):
    model = cls(DIM, components=K, dtype=np.float64, **options)
    for _ in range(steps):
        model.em_step(data() if x is None else x)
    return model


# Broken on purpose


class CreditsTheNextRow(BernoulliMixture):
    def _maximise(self, x, r):
        super()._maximise(x, np.roll(r, 1, axis=0))


class DividesByAll(BernoulliMixture):
    """μ_k = Σ r x / n, without the component's own mass."""

    def _maximise(self, x, r):
        super()._maximise(x, r)
        self.mu[...] = np.clip(r.T @ x / len(x), EPSILON, 1 - EPSILON)


class KeepsTheWeightsEqual(BernoulliMixture):
    def log_joint(self, x):
        return super().log_joint(x) - np.log(self.pi) - np.log(K)


class ForgetsToNormalise(BernoulliMixture):
    def _maximise(self, x, r):
        super()._maximise(x, r)
        self.pi *= 1.1


class SmoothsInSecret(BernoulliMixture):
    def _maximise(self, x, r):
        self.alpha = 2.0
        super()._maximise(x, r)
        self.alpha = 0.0


class SamplesTheWrongComponent(BernoulliMixture):
    def sample(self, n, *, seed=0):
        self.mu[...] = np.roll(self.mu, 1, axis=0)
        x = super().sample(n, seed=seed)
        self.mu[...] = np.roll(self.mu, -1, axis=0)
        return x


# EM


def objective(model, x):
    """What EM climbs: log-likelihood and log-prior, over the number of rows."""
    prior = model.alpha * (np.log(model.mu) + np.log1p(-model.mu)).sum()
    return model.log_prob(x).mean() + prior / len(x)


def never_falls(cls, seed, alpha=0.0, steps=25):
    x = data(60, seed)
    model = mixture(0, cls, alpha=alpha, seed=seed)
    model._start(x)
    path = [objective(model, x)]
    for _ in range(steps):
        model.em_step(x)
        path.append(objective(model, x))
    assert np.all(np.diff(path) >= -1e-11), np.diff(path).min()


@given(st.integers(0, 10_000))
def test_the_likelihood_never_falls(seed):
    never_falls(BernoulliMixture, seed)


@given(st.integers(0, 10_000), st.floats(0.01, 3))
def test_with_pseudo_counts_the_likelihood_times_the_prior_never_falls(seed, alpha):
    never_falls(BernoulliMixture, seed, alpha)


@pytest.mark.parametrize("broken", [CreditsTheNextRow, DividesByAll, SmoothsInSecret])
def test_a_wrong_m_step_is_noticed(broken):
    with pytest.raises(AssertionError):
        never_falls(broken, 0)


def test_em_step_returns_the_mean_log_likelihood_before_it():
    x = data()
    model = mixture(3)
    before = model.log_prob(x).mean()
    assert model.em_step(x) == pytest.approx(before, rel=1e-14)
    assert model.log_prob(x).mean() > before


def test_where_em_rests_the_likelihood_has_no_slope():
    """In logits of μ and π: Σ_i r_ik (x_i − μ_k) = 0 and Σ_i r_ik = n π_k."""
    x = data()
    model = mixture(1500)
    r = model.posterior(x)
    residual = r.T @ x - r.sum(axis=0)[:, None] * model.mu
    np.testing.assert_allclose(residual, 0, atol=1e-6)
    np.testing.assert_allclose(r.sum(axis=0), len(x) * model.pi, atol=1e-6)


def parts_two_kinds_of_rows(cls, seed, share):
    """Rows of two values, few of one: each becomes a component, whichever rows EM starts from."""
    n = 200
    x = np.where(np.arange(n)[:, None] < share * n, [1, 1, 0, 0, 1], [0, 1, 1, 0, 0])
    model = cls(DIM, components=2, seed=seed)
    for _ in range(30):
        model.em_step(x)
    np.testing.assert_allclose(sorted(model.pi), sorted([share, 1 - share]), atol=1e-3)


@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.1, 0.5, 0.9]))
def test_rows_of_two_values_become_two_components(seed, share):
    parts_two_kinds_of_rows(BernoulliMixture, seed, share)


class StartsFromAnyRows(BernoulliMixture):
    def _start(self, x):
        super()._start(x)
        chosen = x[permutation(self.seed, len(x), stream="init")[: self.components]]
        self.mu[...] = np.clip((chosen + x.mean(axis=0)) / 2, 0.05, 0.95)


def test_starts_that_may_be_equal_are_noticed():
    def every_seed():
        for seed in range(20):
            parts_two_kinds_of_rows(StartsFromAnyRows, seed, 0.1)

    with pytest.raises(AssertionError):
        every_seed()


@given(st.integers(0, 10_000))
def test_starts_are_the_first_rows_where_those_differ(seed):
    """As they were before equal rows were passed over: seeded figures stay."""
    x = np.unique(data(40, seed), axis=0)
    one, other = (
        cls(DIM, components=K, seed=seed) for cls in (BernoulliMixture, StartsFromAnyRows)
    )
    if len(x) >= K:
        one._start(x)
        other._start(x)
        np.testing.assert_array_equal(one.mu, other.mu)


def test_fewer_kinds_of_rows_than_components_are_no_error():
    model = mixture(5, x=np.ones((9, DIM)))
    assert np.isfinite(model.log_prob(np.ones((1, DIM)))).all()


def test_well_separated_components_are_found():
    rng = np.random.default_rng(0)
    mu = np.where(np.arange(12) // 4 == np.arange(3)[:, None], 0.95, 0.05)
    x = (rng.random((6000, 12)) < mu[rng.choice(3, 6000, p=[0.5, 0.3, 0.2])]).astype(float)
    model = BernoulliMixture(12, components=3, seed=1)
    for _ in range(40):
        model.em_step(x)
    order = np.argsort(-model.pi)
    np.testing.assert_allclose(model.pi[order], [0.5, 0.3, 0.2], atol=0.03)
    np.testing.assert_allclose(model.mu[order], mu, atol=0.04)


def test_one_component_is_independence():
    x = data()
    model = BernoulliMixture(DIM, components=1)
    model.em_step(x)
    np.testing.assert_allclose(model.mu[0], x.mean(axis=0), rtol=1e-12)
    assert model.num_parameters == DIM


def test_a_component_can_die_and_impossible_pixels_stay_finite():
    x = np.repeat([[0.0, 0.0], [1.0, 1.0]], 20, axis=0)
    model = BernoulliMixture(2, components=3)
    for _ in range(200):
        model.em_step(x)
    model.pi[...] = [0.5, 0.5, 0.0]
    model.em_step(x)
    assert model.pi[2] == 0
    assert np.isfinite(model.log_prob(x)).all()
    assert model.log_prob(np.array([[0.0, 1.0]])) < -20


# A distribution, and Bayes' rule


def by_enumeration(model):
    """p(x, z) over all states, multiplied out."""
    bits = STATES[:, None, :]  # (2^D, 1, D)
    p = np.where(bits == 1, model.mu, 1 - model.mu).prod(axis=2)
    return p * model.pi


def is_a_distribution(model):
    joint = by_enumeration(model)
    np.testing.assert_allclose(np.exp(model.log_joint(STATES)), joint, rtol=1e-10)
    np.testing.assert_allclose(np.exp(model.log_prob(STATES)), joint.sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(np.exp(model.log_prob(STATES)).sum(), 1, rtol=1e-12)
    posterior = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.posterior(STATES), posterior, rtol=1e-10)


@pytest.mark.parametrize("steps", [1, 20])
def test_probabilities_and_posteriors_match_enumeration(steps):
    is_a_distribution(mixture(steps))
    is_a_distribution(mixture(steps, alpha=0.5))


@pytest.mark.parametrize("broken", [KeepsTheWeightsEqual, ForgetsToNormalise])
def test_a_mixture_that_is_no_distribution_is_noticed(broken):
    with pytest.raises(AssertionError):
        is_a_distribution(mixture(5, broken))


def test_the_four_forms_of_the_elbo_agree_for_any_q_and_are_tight_at_the_posterior():
    """L3, with x fixed and q(z|x) arbitrary."""
    model = mixture()
    log_joint, log_p, r = model.log_joint(STATES), model.log_prob(STATES), model.posterior(STATES)
    q = np.random.default_rng(0).dirichlet(np.ones(K), len(STATES))

    def expect(f):
        return (q * f).sum(axis=1)

    log_prior = np.log(model.pi)
    forms = [
        expect(log_joint - np.log(q)),
        expect(log_joint) - expect(np.log(q)),
        expect(log_joint - log_prior) - expect(np.log(q) - log_prior),
        log_p - expect(np.log(q) - np.log(r)),
    ]
    for form in forms[1:]:
        np.testing.assert_allclose(form, forms[0], rtol=1e-10, atol=1e-10)
    assert np.all(forms[0] <= log_p)
    tight = (r * (log_joint - np.log(r))).sum(axis=1)
    np.testing.assert_allclose(tight, log_p, rtol=1e-10)


# Samples


def samples_follow(model):
    n = 20_000
    x = model.sample(n, seed=1)
    observed = np.bincount((x @ 2.0 ** np.arange(DIM)[::-1]).astype(int), minlength=2**DIM)
    expected = n * np.exp(model.log_prob(STATES))
    often = expected > 5
    o = np.append(observed[often], observed[~often].sum())
    e = np.append(expected[often], expected[~often].sum() + 1e-9)
    assert stats.chi2.sf(((o - e) ** 2 / np.maximum(e, 1)).sum(), len(o) - 1) > 1e-4


def test_sample_frequencies_pass_a_chi_square_test():
    samples_follow(mixture())
    with pytest.raises(AssertionError):
        samples_follow(mixture(5, SamplesTheWrongComponent))


def test_samples_are_named_by_their_seed():
    model = mixture()
    np.testing.assert_array_equal(model.sample(9, seed=2)[:4], model.sample(4, seed=2))
    assert (model.sample(9, seed=2) != model.sample(9, seed=3)).any()
    assert BernoulliMixture(DIM, components=K).dtype == np.float32


def test_the_seed_chooses_the_examples_em_starts_from():
    one, again, other = mixture(1, seed=4), mixture(1, seed=4), mixture(1, seed=5)
    np.testing.assert_array_equal(one.mu, again.mu)
    assert (one.mu != other.mu).any()


# Real digits, one protocol for every binary model


def test_digits():
    digits = load_digits()
    order = np.random.default_rng(0).permutation(1797)
    x = (digits.data[order] >= 8).astype(np.float32)
    train, validation, test = np.split(x, [1297, 1497])
    floor = BernoulliMixture(64, components=1)
    floor.em_step(train)
    assert -floor.log_prob(test).mean() == pytest.approx(25.20, abs=0.01)
    model = BernoulliMixture(64, components=80, alpha=0.1)
    scores = []
    for _ in range(30):
        model.em_step(train)
        scores.append((-model.log_prob(validation).mean(), -model.log_prob(test).mean()))
    assert min(scores)[1] <= 18.1  # the epoch that validation picks


# Bad input

X = data()


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: BernoulliMixture(0), "dim"),
        (lambda: BernoulliMixture(3, components=0), "components"),
        (lambda: BernoulliMixture(3, components=2.0), "components"),
        (lambda: BernoulliMixture(3, alpha=-0.1), "alpha"),
        (lambda: mixture(1, x=X * np.nan), "x must .*got nan"),
        (lambda: mixture(1, x=X / 2), "x must .*got 0.5"),
        (lambda: mixture(1, x=X[:0]), "x must have at least one row"),
        (lambda: mixture(1, x=X[:2]), "components = 3 rows, got 2"),
        (lambda: mixture(1, x=X[:, :4]), "x must have shape"),
        (lambda: mixture(1, seed=-1), "seed"),
        (lambda: mixture(0).log_prob(X), "call fit first"),
        (lambda: mixture(0).posterior(X), "call fit first"),
        (lambda: mixture(0).sample(2), "call fit first"),
        (lambda: mixture().sample(-1), "n must be"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(InputError, match=names):
        call()
