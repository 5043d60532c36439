"""H3, H4: naive Bayes is Bayes' rule, agrees with scikit-learn, streams, and samples itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import naive_bayes as peers
from sklearn.datasets import load_digits
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler

from core.errors import InputError
from reference.counting.categorical_naive_bayes import CategoricalNaiveBayes
from reference.counting.gaussian_naive_bayes import GaussianNaiveBayes
from reference.counting.kernel_naive_bayes import KernelNaiveBayes
from reference.counting.naive_bayes import BernoulliNaiveBayes

DIM, CLASSES = 4, 3


def labelled(n, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.choice(CLASSES, n, p=[0.2, 0.5, 0.3])
    y[:CLASSES] = range(CLASSES)
    return rng, y


def binary(n=200, seed=0):
    rng, y = labelled(n, seed)
    p = np.random.default_rng(7).random((CLASSES, DIM))
    return (rng.random((n, DIM)) < p[y]).astype(float), y


def categorical(n=200, seed=0):
    rng, y = labelled(n, seed)
    p = np.random.default_rng(7).dirichlet([1.0] * 3, (CLASSES, DIM))
    return (rng.random((n, DIM, 1)) > np.cumsum(p, axis=2)[y]).sum(axis=2).clip(max=2), y


def real(n=200, seed=0):
    rng, y = labelled(n, seed)
    mean = 2 * np.random.default_rng(7).normal(size=(CLASSES, DIM))
    return mean[y] + rng.normal(size=(n, DIM)) * (0.5 + y[:, None]), y


def bernoulli(dim=DIM, **options):
    return BernoulliNaiveBayes(dim, CLASSES, dtype=np.float64, **options)


def levels3(dim=DIM, **options):
    return CategoricalNaiveBayes(dim, CLASSES, levels=3, dtype=np.float64, **options)


def gaussian(cls=GaussianNaiveBayes, dim=DIM, **options):
    return cls(dim, CLASSES, dtype=np.float64, **options)


def kernel(dim=DIM, **options):
    return KernelNaiveBayes(dim, CLASSES, 1000, dtype=np.float64, **options)


KINDS = {
    "bernoulli": (bernoulli, binary),
    "categorical": (levels3, categorical),
    "gaussian": (gaussian, real),
    "kernel": (kernel, real),
}
EVERY_KIND = pytest.mark.parametrize(("make", "data"), KINDS.values(), ids=KINDS)
DISCRETE = pytest.mark.parametrize(
    ("make", "data", "levels"), [(bernoulli, binary, 2), (levels3, categorical, 3)]
)


def states(levels):
    return np.array(list(itertools.product(range(levels), repeat=DIM)))


# Broken on purpose


class DividesByOneLess(GaussianNaiveBayes):
    def variance(self):
        n = self.class_counts[:, None]
        return super().variance() * n / (n - 1)


class ForgetsThePrior(GaussianNaiveBayes):
    def log_prior(self):
        return np.full(self.classes, -np.log(self.classes))


class ForgetsThePriorOfBits(BernoulliNaiveBayes):
    log_prior = ForgetsThePrior.log_prior


class SamplesTheWrongClass(GaussianNaiveBayes):
    def _draw(self, y, seed):
        return super()._draw((y + 1) % self.classes, seed)


class AveragesTheParts(GaussianNaiveBayes):
    """Variances of the parts, without the distance between their means."""

    def _count(self, x, y, w):
        before = self.squares.copy()
        alone = GaussianNaiveBayes(self.dim, self.classes)
        alone._count(x, y, w)
        super()._count(x, y, w)
        self.squares = before + alone.squares


# Bayes' rule (F2)


def obeys_bayes_rule(model, x, y, levels):
    """Every table by enumeration, from p(y) and p(x | y) estimated by counting with α = ½."""
    all_x = states(levels)
    p_y = np.bincount(y) / len(y)
    n = (x[:, :, None] == np.arange(levels)).astype(float)  # (B, D, K)
    theta = np.array([n[y == c].sum(0) + 0.5 for c in range(CLASSES)])
    theta /= theta.sum(axis=2, keepdims=True)
    p_x_given_y = theta[:, np.arange(DIM), all_x].prod(axis=2)  # (C, states)
    joint = p_y[:, None] * p_x_given_y
    posterior = joint / joint.sum(axis=0)
    np.testing.assert_allclose(np.exp(model.log_joint(all_x)).T, joint, rtol=1e-10)
    np.testing.assert_allclose(np.exp(model.log_prob(all_x)), joint.sum(axis=0), rtol=1e-10)
    np.testing.assert_allclose(model.predict_proba(all_x).T, posterior, rtol=1e-10)
    np.testing.assert_array_equal(model.predict(all_x), posterior.argmax(axis=0))
    # and back: p(x | y) = p(y | x) p(x) / p(y)
    evidence = np.exp(model.log_prob(all_x))
    back = model.predict_proba(all_x).T * evidence / np.exp(model.log_prior())[:, None]
    np.testing.assert_allclose(back, np.exp(model.log_likelihood(all_x)).T, rtol=1e-10)


@DISCRETE
def test_posteriors_match_enumeration(make, data, levels):
    x, y = data()
    obeys_bayes_rule(make(alpha=0.5).fit(x, y), x, y, levels)


def test_a_forgotten_prior_is_noticed():
    x, y = binary()
    broken = ForgetsThePriorOfBits(DIM, CLASSES, alpha=0.5).fit(x, y)
    with pytest.raises(AssertionError):
        obeys_bayes_rule(broken, x, y, 2)


@DISCRETE
def test_probabilities_sum_to_one(make, data, levels):
    model = make().fit(*data(30))
    np.testing.assert_allclose(np.exp(model.log_prob(states(levels))).sum(), 1, rtol=1e-12)
    per_class = np.exp(model.log_likelihood(states(levels))).sum(axis=0)
    np.testing.assert_allclose(per_class, 1, rtol=1e-12)


@pytest.mark.parametrize("sizes", [(GaussianNaiveBayes,), (KernelNaiveBayes, 60)])
def test_densities_integrate_to_one(sizes):
    x, y = real(60)
    cls, *room = sizes
    model = cls(1, CLASSES, *room).fit(x[:, :1], y)
    grid = np.linspace(-25, 25, 20_001)[:, None]
    total = np.exp(model.log_prob(grid)).sum() * (grid[1, 0] - grid[0, 0])
    np.testing.assert_allclose(total, 1, rtol=1e-8)


@EVERY_KIND
def test_given_priors_replace_the_counted_ones(make, data):
    x, y = data()
    model = make(priors=[0.5, 0.25, 0.25]).fit(x, y)
    shift = model.log_joint(x) - make().fit(x, y).log_joint(x)
    expected = np.log([0.5, 0.25, 0.25]) - np.log(np.bincount(y) / len(y))
    np.testing.assert_allclose(shift, np.broadcast_to(expected, shift.shape), rtol=1e-8)


@EVERY_KIND
def test_a_class_never_seen_has_probability_zero(make, data):
    x, y = data()
    model = make().fit(x[y != 1], y[y != 1])
    np.testing.assert_array_equal(model.predict_proba(x)[:, 1], 0)
    assert np.isfinite(model.log_prob(x)).all()
    assert set(model.predict(x)) == {0, 2}
    with pytest.raises(InputError, match="y asks for class 1"):
        model.sample(3, y=1)


# Agreement with scikit-learn


def agrees(ours, theirs, x, y):
    theirs.fit(x, y)
    with np.errstate(divide="ignore"):  # scikit-learn takes log 0
        np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-7)
        joint = theirs.predict_joint_log_proba(x)
    np.testing.assert_allclose(ours.log_joint(x), joint, rtol=1e-7)


@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_discrete_kinds_agree_with_scikit_learn_on_digits(alpha):
    digits = load_digits()
    x, y = digits.data, digits.target
    bits = (x >= 8).astype(float)
    ours = BernoulliNaiveBayes(64, 10, alpha=alpha).fit(bits, y)
    agrees(ours, peers.BernoulliNB(alpha=alpha), bits, y)
    ours = CategoricalNaiveBayes(64, 10, levels=17, alpha=alpha).fit(x, y)
    agrees(ours, peers.CategoricalNB(alpha=alpha, min_categories=17), x, y)


@pytest.mark.parametrize("smoothing", [1e-9, 1e-2])
def test_gaussian_agrees_with_scikit_learn_on_digits_with_their_zero_variances(smoothing):
    digits = load_digits()
    x, y = StandardScaler().fit_transform(digits.data), digits.target  # its σ² grow by one unit
    assert sum((digits.data[y == c].var(axis=0) == 0).sum() for c in range(10)) == 123
    ours = GaussianNaiveBayes(64, 10, variance_smoothing=smoothing).fit(x, y)
    agrees(ours, peers.GaussianNB(var_smoothing=smoothing), x, y)


@pytest.mark.parametrize("broken", [DividesByOneLess, ForgetsThePrior])
def test_a_gaussian_that_differs_from_scikit_learn_is_noticed(broken):
    x, y = real(60)
    agrees(gaussian().fit(x, y), peers.GaussianNB(), x, y)
    with pytest.raises(AssertionError):
        agrees(gaussian(broken).fit(x, y), peers.GaussianNB(), x, y)


def test_gaussian_parameters_are_the_seeds_formulas():
    x, y = real()
    model = gaussian(variance_smoothing=0.0).fit(x, y)
    for c in range(CLASSES):
        np.testing.assert_allclose(model.mean[c], x[y == c].mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(model.variance()[c], x[y == c].var(axis=0), rtol=1e-12)
        expected = stats.norm.logpdf(x, x[y == c].mean(axis=0), x[y == c].std(axis=0)).sum(axis=1)
        np.testing.assert_allclose(model.log_likelihood(x)[:, c], expected, rtol=1e-10)


def test_kernel_features_agree_with_scikit_learn():
    x, y = real(80)
    model = kernel(bandwidth=0.3).fit(x, y)
    points = real(20, seed=1)[0]
    for c in range(CLASSES):
        columns = [
            KernelDensity(bandwidth=0.3).fit(x[y == c, j : j + 1]).score_samples(points[:, [j]])
            for j in range(DIM)
        ]
        np.testing.assert_allclose(model.log_likelihood(points)[:, c], sum(columns), rtol=1e-8)


def follows_silvermans_rule(model, x, y):
    for c in range(CLASSES):
        own = x[y == c]
        spread = np.minimum(own.std(axis=0), stats.iqr(own, axis=0) / 1.34)
        np.testing.assert_allclose(model.widths()[c], 0.9 * spread * len(own) ** -0.2, rtol=1e-12)


def test_bandwidths_are_silvermans_of_class_and_column():
    x, y = real()
    x[y == 1] **= 3  # heavy tails, where the quartiles decide
    follows_silvermans_rule(kernel().fit(x, y), x, y)
    for broken in (kernel(bandwidth=1.0).fit(x, y), kernel().fit(x, np.roll(y, 1))):
        with pytest.raises(AssertionError):
            follows_silvermans_rule(broken, x, y)


def test_a_column_that_is_constant_takes_the_bandwidth_of_all_classes():
    x, y = real(60)
    x[y == 0, 0], x[:, 1] = 3.0, 7.0
    x[y == 2, 2] = np.repeat([0.0, 1.0], [(y == 2).sum() - 2, 2])  # quartiles that are equal
    h = kernel().fit(x, y).widths()
    of_all = kernel().fit(x, np.zeros_like(y)).widths()[0]
    assert h[0, 0] == of_all[0]
    np.testing.assert_array_equal(h[:, 1], 1.0)
    sigma = x[y == 2, 2].std()
    np.testing.assert_allclose(h[2, 2], 0.9 * sigma * (y == 2).sum() ** -0.2)


# What independence costs


@EVERY_KIND
def test_a_duplicated_feature_doubles_its_log_odds(make, data):
    x, y = data()
    twice = make(dim=DIM + 1).fit(x[:, [0, *range(DIM)]], y)
    alone = make(dim=1).fit(x[:, :1], y)

    def log_odds(model, x):
        log_joint = model.log_joint(x) - model.log_prior()
        return log_joint[:, :2] - log_joint[:, 2:]

    extra = log_odds(twice, x[:, [0, *range(DIM)]]) - log_odds(make().fit(x, y), x)
    np.testing.assert_allclose(extra, log_odds(alone, x[:, :1]), rtol=1e-6, atol=1e-6)
    assert np.abs(extra).max() > 0.1


def test_repeated_pixels_spoil_the_probabilities_but_hardly_the_classes():
    digits = load_digits()
    x, y = (digits.data >= 8).astype(float), digits.target
    thrice = np.tile(x, 3)
    once = BernoulliNaiveBayes(64, 10).fit(x[:900], y[:900])
    more = BernoulliNaiveBayes(192, 10).fit(thrice[:900], y[:900])
    np.testing.assert_allclose(more.log_likelihood(thrice), 3 * once.log_likelihood(x), rtol=1e-10)

    def surprise(model, x):
        return -np.log(model.predict_proba(x[900:])[np.arange(len(y) - 900), y[900:]]).mean()

    assert surprise(more, thrice) > 2 * surprise(once, x)
    assert (more.predict(thrice[900:]) == once.predict(x[900:])).mean() > 0.99


def test_the_log_odds_of_binary_features_are_linear():
    """w_j = logit θ_1j − logit θ_0j, so naive Bayes is a linear classifier."""
    model = bernoulli().fit(*binary())
    at_zero = model.log_joint(np.zeros((1, DIM)))
    W = model.log_joint(np.eye(DIM)) - at_zero
    np.testing.assert_allclose(model.log_joint(states(2)), states(2) @ W + at_zero, rtol=1e-12)


# Streams


def streams(make, data, cuts, seed):
    x, y = data(60, seed)
    whole, streamed = make().fit(x, y), make()
    for part in np.split(np.arange(60), cuts):
        streamed.partial_fit(x[part], y[part])
    np.testing.assert_allclose(streamed.log_joint(x), whole.log_joint(x), rtol=1e-9)
    np.testing.assert_array_equal(streamed.class_counts, np.bincount(y, minlength=CLASSES))


@EVERY_KIND
@given(st.lists(st.integers(0, 60), max_size=4), st.integers(0, 1000))
def test_data_in_parts_give_the_model_of_the_whole(make, data, cuts, seed):
    streams(make, data, sorted(cuts), seed)


def test_a_variance_that_forgets_how_far_apart_the_parts_are_is_noticed():
    with pytest.raises(AssertionError):
        streams(lambda: gaussian(AveragesTheParts), real, [10, 35], 0)


def test_streamed_variances_survive_a_large_offset():
    """Σx² − (Σx)²/n would lose all digits here."""
    x, y = real()
    far = gaussian(variance_smoothing=0.0)
    for part in np.split(np.arange(200), 8):
        far.partial_fit(x[part] + 1e9, y[part])
    near = gaussian(variance_smoothing=0.0).fit(x, y)
    np.testing.assert_allclose(far.variance(), near.variance(), rtol=1e-5)


@EVERY_KIND
def test_a_failed_fit_keeps_what_was_learned(make, data):
    x, y = data()
    model = make().fit(x, y)
    for bad in (y + 1, y[:-1]):
        with pytest.raises(InputError):
            model.fit(x, bad)
    np.testing.assert_array_equal(model.log_prob(x), make().fit(x, y).log_prob(x))


# Samples, row H4

N = 40_000


def within(estimate, exact, error):
    """All within 5 standard errors of the exact value."""
    np.testing.assert_array_less(np.abs(estimate - exact), 5 * error + 1e-12)


def gaussian_samples_have_the_fitted_moments(cls):
    model = gaussian(cls).fit(*real())
    for c in range(CLASSES):
        x = model.sample(N, seed=1, y=c)
        sigma2 = model.variance()[c]
        within(x.mean(axis=0), model.mean[c], np.sqrt(sigma2 / N))
        within(x.var(axis=0), sigma2, sigma2 * np.sqrt(2 / N))
        correlation = np.corrcoef(x.T) - np.eye(DIM)
        within(correlation, 0, 1 / np.sqrt(N))  # independent given the class


def test_gaussian_samples_have_the_fitted_moments():
    gaussian_samples_have_the_fitted_moments(GaussianNaiveBayes)
    with pytest.raises(AssertionError):
        gaussian_samples_have_the_fitted_moments(SamplesTheWrongClass)


@DISCRETE
def test_discrete_samples_have_the_frequencies_of_their_class(make, data, levels):
    model = make().fit(*data())
    everything = states(levels)
    places = levels ** np.arange(DIM)[::-1]
    for c in range(CLASSES):
        x = model.sample(N, seed=2, y=c).astype(int)
        expected = N * np.exp(model.log_likelihood(everything)[:, c])
        often = expected > 5
        observed = np.bincount(x @ places, minlength=levels**DIM)
        o = np.append(observed[often], observed[~often].sum())
        e = np.append(expected[often], expected[~often].sum() + 1e-9)
        assert stats.chi2.sf(((o - e) ** 2 / np.maximum(e, 1)).sum(), len(o) - 1) > 1e-4


def test_kernel_samples_have_the_moments_of_data_plus_noise():
    x, y = real()
    model = kernel(bandwidth=0.5).fit(x, y)
    for c in range(CLASSES):
        drawn = model.sample(N, seed=3, y=c)
        sigma2 = x[y == c].var(axis=0) + 0.25
        within(drawn.mean(axis=0), x[y == c].mean(axis=0), np.sqrt(sigma2 / N))
        within(drawn.var(axis=0), sigma2, sigma2 * 2 / np.sqrt(N))
        within(np.corrcoef(drawn.T) - np.eye(DIM), 0, 1 / np.sqrt(N))


@EVERY_KIND
def test_without_a_class_the_prior_decides(make, data):
    x, y = data()
    model = make(priors=[0.7, 0.2, 0.1]).fit(x, y)
    means = np.array([model.sample(N, seed=c + 1, y=c).mean(axis=0) for c in range(CLASSES)])
    mixed = model.sample(N, seed=0)
    expected = np.array([0.7, 0.2, 0.1]) @ means
    within(mixed.mean(axis=0), expected, 1.5 * mixed.std(axis=0) / np.sqrt(N))


@EVERY_KIND
def test_one_label_each_and_samples_are_named_by_their_seed(make, data):
    model = make().fit(*data())
    y = np.arange(9) % CLASSES
    x = model.sample(9, seed=5, y=y)
    np.testing.assert_array_equal(model.sample(4, seed=5, y=y[:4]), x[:4])
    np.testing.assert_array_equal(model.sample(9, seed=5, y=2)[y == 2], x[y == 2])
    assert (model.sample(9, seed=6, y=y) != x).any()
    assert model.sample(0).shape == (0, DIM)


# Real digits, one protocol for every binary model


def test_digits_as_a_class_mixture():
    digits = load_digits()
    order = np.random.default_rng(0).permutation(1797)
    x, y = (digits.data[order] >= 8).astype(np.float32), digits.target[order]
    model = BernoulliNaiveBayes(64, 10, alpha=0.01).fit(x[:1297], y[:1297])
    assert -model.log_prob(x[1497:]).mean() <= 20.3
    assert (model.predict(x[1497:]) == y[1497:]).mean() > 0.85


# Bad input

X, Y = binary(20)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: BernoulliNaiveBayes(0, 3), "dim"),
        (lambda: BernoulliNaiveBayes(4, 0), "classes"),
        (lambda: bernoulli(alpha=0), "alpha must .*got 0"),
        (lambda: levels3(alpha=-1), "alpha"),
        (lambda: bernoulli(alpha=float("nan")), "alpha"),
        (lambda: gaussian(variance_smoothing=-1), "variance_smoothing"),
        (lambda: kernel(bandwidth=0), "bandwidth"),
        (lambda: bernoulli(priors=[0.5, 0.5]), "priors"),
        (lambda: bernoulli(priors=[0.5, 0.5, 0.5]), "priors"),
        (lambda: bernoulli(priors=[1.0, 0.0, 0.0]), "priors"),
        (lambda: bernoulli().fit(X, None), "y must be 20 labels"),
        (lambda: bernoulli().fit(X, Y[:-1]), "y must .*got int64 of shape"),
        (lambda: bernoulli().fit(X, Y.astype(float)), "y must .*got float64"),
        (lambda: bernoulli().fit(X, Y + 1), "y must lie in .*got 1 … 3"),
        (lambda: bernoulli().fit(X, Y - 1), "y must lie in"),
        (lambda: bernoulli().fit(X[:0], Y[:0]), "x must have at least one row"),
        (lambda: bernoulli().fit(X + 0.5, Y), "x must .*got "),
        (lambda: bernoulli().fit(X[:, :3], Y), "x must have shape"),
        (lambda: gaussian().fit(X * np.nan, Y), "x must .*got nan"),
        (lambda: gaussian(variance_smoothing=0).fit(X * 0, Y).log_prob(X), "variance_smoothing"),
        (
            lambda: levels3(alpha=0).fit(X * 0, Y).predict_proba(X * 0 + 2),
            "x must have probability > 0 in every row, got 20 rows",
        ),
        (lambda: levels3().fit(X + 2, Y), "x must .*got 3.0"),
        (lambda: bernoulli().log_prob(X), "call fit first"),
        (lambda: gaussian().log_prob(X), "call fit first"),
        (lambda: kernel().sample(3), "call fit first"),
        (lambda: bernoulli().fit(X, Y).sample(3, y=3), "y must lie in"),
        (lambda: bernoulli().fit(X, Y).sample(3, y=[0, 1]), "y"),
        (lambda: bernoulli().fit(X, Y).sample(3, y=0.5), "y must .*got float64"),
        (lambda: bernoulli().fit(X, Y).sample(-1), "n must be"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(InputError, match=names):
        call()


@pytest.mark.parametrize(
    ("make", "features"), [(bernoulli, 12), (levels3, 24), (lambda: GaussianNaiveBayes(4, 3), 24)]
)
def test_parameters_are_counted(make, features):
    """H2: probabilities of a distribution over K values are K − 1 free numbers."""
    assert make().num_parameters == features + CLASSES - 1
