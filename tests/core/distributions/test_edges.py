"""Extreme parameters, the edges of their ranges, and of supports."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core import Tensor, grad, value
from core.distributions import (
    AffineTransform,
    Bernoulli,
    Categorical,
    ExpTransform,
    Logistic,
    Mixture,
    Normal,
    SigmoidTransform,
    TransformedDistribution,
    kl_divergence,
)
from core.errors import InputError
from tests.core.distributions.subjects import ALL, INF, SEEDS, each, reals, simplex

DTYPES = st.sampled_from([np.float32, np.float64])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_stay_finite(dtype):
    big = np.array([-1e30, -200.0, 0.0, 200.0, 1e30], dtype)
    for x in (0, 1):
        log_p = Bernoulli(big).log_prob(np.full(5, x))
        assert np.isfinite(log_p).all()
        assert (log_p <= 0).all()
    assert np.isfinite(Categorical(big).log_prob(np.arange(5))).all()
    assert np.isfinite(Bernoulli(big).entropy()).all()
    assert np.isfinite(Categorical(big).entropy())
    z = np.array([-1e18, -200.0, 0.0, 200.0, 1e18], dtype)
    assert np.isfinite(Logistic(dtype(0), dtype(1)).log_prob(z)).all()
    assert np.isfinite(Normal(dtype(0), dtype(1)).log_prob(z)).all()
    mixture = Mixture(Categorical(big), Normal(z, np.ones(5, dtype)))
    assert np.isfinite(mixture.log_prob(np.array([3.0], dtype))).all()
    leaf = Tensor(big)
    for y in (Bernoulli(leaf).log_prob(np.ones(5)), Categorical(leaf).log_prob(np.arange(5))):
        assert np.isfinite(grad(y, [leaf], np.ones(5, dtype))[0]).all()


def test_certain_outcomes():
    sure = Bernoulli(probs=np.array([0.0, 1.0]))
    np.testing.assert_array_equal(sure.log_prob([0, 1]), [0, 0])
    np.testing.assert_array_equal(sure.log_prob([1, 0]), [-INF, -INF])
    np.testing.assert_array_equal(sure.entropy(), [0, 0])
    np.testing.assert_array_equal(sure.variance, [0, 0])
    np.testing.assert_array_equal(sure.sample((500,), 0), np.tile([0.0, 1.0], (500, 1)))
    one = Categorical(probs=np.array([0.0, 1.0, 0.0]))
    np.testing.assert_array_equal(one.log_prob(np.arange(3)), [-INF, 0, -INF])
    assert one.entropy() == 0
    assert (one.sample((500,), 0) == 1).all()
    mixture = Mixture(one, Normal(np.arange(3.0), np.ones(3)))
    np.testing.assert_allclose(mixture.log_prob([0.5]), stats.norm.logpdf([0.5], 1))


def test_outcomes_of_probability_zero_never_come():
    d = Categorical(probs=np.array([0.0, 0.3, 0.0, 0.7, 0.0]))
    assert set(d.sample((20_000,), 3)) == {1, 3}


# Derivatives at the edge of a parameter's range are those just inside


def bits(p):
    return Bernoulli(probs=p)


def outcomes(p):
    return Categorical(probs=p)


def through_logits(p):
    """A planted fault: ln p − ln (1 − p) has the derivative ∞ where that of ln (1 − p) is −1."""
    return Bernoulli(logits=np.log(p) - np.log1p(-p))


def a_mixture(p):
    return Mixture(outcomes(p), Normal(np.array([0.0, 1.0, 2.0], p.dtype), np.ones(3, p.dtype)))


BITS = np.array([0.3, 0.6])
TABLE = np.array([0.2, 0.5, 0.3])
FUNCTIONS = {  # name: (function of p, p inside its range, its dual)
    "bernoulli log_prob": (lambda p: bits(p).log_prob(np.array([0, 1])), BITS),
    "bernoulli other": (lambda p: bits(p).log_prob(np.array([1, 0])), BITS),
    "bernoulli entropy": (lambda p: bits(p).entropy(), BITS),
    "bernoulli kl p": (lambda p: kl_divergence(bits(p), bits(BITS.astype(p.dtype))), BITS),
    "bernoulli kl q": (lambda p: kl_divergence(bits((BITS > 0.5).astype(p.dtype)), bits(p)), BITS),
    "bernoulli mean": (lambda p: bits(p).mean, BITS),
    "bernoulli variance": (lambda p: bits(p).variance, BITS),
    "categorical log_prob": (lambda p: outcomes(p).log_prob(1), TABLE),
    "categorical entropy": (lambda p: outcomes(p).entropy(), TABLE),
    "categorical probs": (lambda p: outcomes(p).probs, TABLE),
    "categorical kl p": (
        lambda p: kl_divergence(outcomes(p), outcomes(TABLE.astype(p.dtype))),
        TABLE,
    ),
    "categorical kl q": (
        lambda p: kl_divergence(outcomes(np.array([0, 1, 0], p.dtype)), outcomes(p)),
        TABLE,
    ),
    "mixture": (lambda p: a_mixture(p).log_prob(np.array([0.3, 1.5], p.dtype)), TABLE),
    "mixture cdf": (lambda p: a_mixture(p).cdf(np.array([0.3, 1.5], p.dtype)), TABLE),
}


def slope(f, p):
    """∂ Σ f / ∂p; ∞ is an answer, and NumPy's word about it no error (NaN is one below)."""
    leaf = Tensor(p)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = f(leaf)
        return grad(y, [leaf], np.ones(y.shape, y.dtype))[0]


def check_the_edge(f, inside, edge):
    """The derivative at the edge is its limit from inside: equal, or infinite of the same sign."""
    at, near = slope(f, np.where(edge == 0.5, inside, edge)), slope(f, beside(inside, edge))
    assert not np.isnan(at).any()
    steep = np.abs(near) > 10
    np.testing.assert_array_equal(at[steep], np.sign(near[steep]) * INF)
    np.testing.assert_allclose(at[~steep], near[~steep], rtol=1e-3, atol=1e-3)


def beside(inside, edge):
    step = inside.dtype.type(1e-6)
    return np.where(edge == 0.5, inside, np.clip(edge, step, 1 - step))


def edges_of(inside, dtype, choice):
    """Some entries at 0 or 1, as choice says; 0.5 stands for an entry that stays inside."""
    edge = np.full(len(inside), 0.5, dtype)
    if len(inside) == 2:  # each on its own
        return np.array(choice[:2], dtype)
    edge[choice[2]] = 0  # of a table one at most, and never the outcome that is asked for
    return edge


@each(FUNCTIONS)
@given(dtype=DTYPES, pair=st.tuples(*[st.sampled_from([0, 0.5, 1])] * 2), k=st.sampled_from([0, 2]))
def test_derivatives_at_the_edge_are_those_just_inside(name, dtype, pair, k):
    f, inside = FUNCTIONS[name]
    if name == "bernoulli kl q":  # finite only where q allows what p does
        pair = tuple(abs(b - a) if a != 0.5 else a for a, b in zip(pair, (0, 0), strict=True))
        pair = tuple(0.5 if a != b else a for a, b in zip(pair, (0, 1), strict=True))
    check_the_edge(f, inside.astype(dtype), edges_of(inside, dtype, (*pair, k)))


def test_derivatives_through_logits_are_rejected():
    wrong = lambda p: through_logits(p).log_prob(np.array([0, 1]))  # noqa: E731
    with pytest.raises(AssertionError):
        check_the_edge(wrong, BITS, np.array([0.0, 0.5]))


@given(dtype=DTYPES, seed=SEEDS, signs=st.tuples(*[st.sampled_from([-INF, 0.3, INF])] * 3))
def test_infinite_logits_have_derivatives(dtype, seed, signs):
    logits = np.array(signs, dtype)
    likely = (logits > 0).astype(int)
    for f in (lambda a: Bernoulli(a).log_prob(likely), lambda a: Bernoulli(a).entropy()):
        found = slope(f, logits)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found[np.isinf(logits)], 0)
    table = np.append(np.where(logits > 0, -INF, logits), 0.5).astype(dtype)
    for f in (lambda a: Categorical(a).log_prob(3), lambda a: Categorical(a).entropy()):
        found = slope(f, table)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found[np.isinf(table)], 0)


@given(dtype=DTYPES, log10=st.floats(-30, -1))
def test_the_rarest_bit_keeps_its_entropy_and_divergence(dtype, log10):
    """Where 1 − p rounds to 1, the part of −(1 − p) ln (1 − p) that is left is p."""
    p = dtype(10.0**log10)
    exact = -float(p) * math.log(p) - (1 - float(p)) * math.log1p(-float(p))
    np.testing.assert_allclose(Bernoulli(probs=np.array(p)).entropy(), exact, rtol=1e-5)
    np.testing.assert_allclose(Bernoulli(probs=np.array(p)).log_prob(0), math.log1p(-p), rtol=1e-5)


@given(seed=SEEDS, dtype=DTYPES)
def test_a_distribution_has_no_divergence_from_itself(seed, dtype):
    p = simplex(seed, 5).astype(dtype)
    for d in (Categorical(probs=p), Bernoulli(probs=p), Categorical(p), Bernoulli(reals(seed, 4))):
        np.testing.assert_array_equal(kl_divergence(d, d), np.zeros(d.batch_shape))


@given(seed=SEEDS, dtype=DTYPES, far=st.floats(-20, 20))
def test_forms_agree(seed, dtype, far):
    """Probabilities given by themselves and by logarithms are the same distribution."""
    logits = (reals(seed, 4) + far * np.array([1, 0, 0, 0])).astype(dtype)
    by_logs = Categorical(logits)
    by_p = Categorical(probs=np.exp(logits - logits.max()))
    components = Normal(np.arange(4).astype(dtype), np.ones(4, dtype))
    x = np.array([0.5, 3.5], dtype)
    tolerance = (
        {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-13}
    )
    for a, b in (
        (by_logs.log_prob(np.arange(4)), by_p.log_prob(np.arange(4))),
        (by_logs.entropy(), by_p.entropy()),
        (Mixture(by_logs, components).log_prob(x), Mixture(by_p, components).log_prob(x)),
    ):
        np.testing.assert_allclose(a, b, **tolerance)


# Draws lie in the support, and have a log-probability


STEPS = {
    "exp": lambda a, b: [ExpTransform()],
    "sigmoid": lambda a, b: [SigmoidTransform()],
    "sigmoid, affine": lambda a, b: [SigmoidTransform(), AffineTransform(a, b)],
    "exp, affine": lambda a, b: [ExpTransform(), AffineTransform(a, b / 1e4)],
    "affine, sigmoid, affine, sigmoid": lambda a, b: [
        AffineTransform(a, b),
        SigmoidTransform(),
        AffineTransform(a, -b),
        SigmoidTransform(),
    ],
    "sigmoid, exp": lambda a, b: [SigmoidTransform(), ExpTransform()],
}


def check_draws_score(d, seed):
    x = d.sample((64,), seed)
    assert np.isfinite(x).all()
    log_p = d.log_prob(x)
    assert np.isfinite(value(log_p)).all()


@each(STEPS)
@given(
    seed=SEEDS,
    dtype=DTYPES,
    loc=st.floats(-200, 200),
    log_scale=st.floats(-3, 4),
    a=st.floats(-1e4, 1e4),
    b=st.floats(1e-3, 1e4) | st.floats(-1e4, -1e-3),
)
def test_a_transformed_draw_has_a_log_probability(name, seed, dtype, loc, log_scale, a, b):
    base = Normal(np.array(loc, dtype), np.array(math.exp(log_scale), dtype))
    check_draws_score(TransformedDistribution(base, STEPS[name](a, b)), seed)
    inner = TransformedDistribution(base, STEPS[name](a, b)[:1])
    nested = TransformedDistribution(inner, STEPS[name](a, b)[1:])
    check_draws_score(nested, seed)


class RoundsAway(TransformedDistribution):
    """A planted fault: the inverse of the last step is believed as it comes."""

    def log_prob(self, x):
        y = x
        for t in reversed(self.transforms):
            y = t.inverse(y)
        return self.base.log_prob(y)


def test_a_distribution_that_refuses_its_draws_is_rejected():
    base = Normal(np.array(12.0, np.float32), np.array(1.0, np.float32))
    wrong = RoundsAway(base, [SigmoidTransform(), AffineTransform(100.0, 1.0)])
    with pytest.raises(InputError):
        check_draws_score(wrong, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_beyond_the_support_is_refused(dtype):
    base = Normal(np.array(0.0, dtype), np.array(1.0, dtype))
    d = TransformedDistribution(base, [SigmoidTransform(), AffineTransform(100.0, -2.0)])
    for x in (97.9, 100.1):
        with pytest.raises(InputError, match="x must be in the support, 98 … 100"):
            d.log_prob(np.array(x, dtype))


@each(ALL)
@given(seed=SEEDS, draw=st.integers(0, 1000))
def test_every_draw_has_a_log_probability(name, seed, draw):
    check_draws_score(ALL[name](seed), draw)
