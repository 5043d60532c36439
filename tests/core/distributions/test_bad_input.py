"""What is refused, and in which words."""

import numpy as np
import pytest

from core import Tensor
from core.distributions import (
    AffineTransform,
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    ExpTransform,
    Independent,
    Logistic,
    Mixture,
    MultivariateNormal,
    Normal,
    SigmoidTransform,
    TransformedDistribution,
    kl_divergence,
)
from core.errors import InputError
from tests.core.distributions.subjects import (
    INF,
    mixture_of_normals,
)


def bad(message):
    return pytest.raises(InputError, match=message)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(0.0, 0.0), "scale must be positive, got 0.0"),
        (lambda: Normal(0.0, np.array([1.0, -2.0])), "scale must be positive, got -2.0"),
        (lambda: Normal(np.array([0.0, np.nan]), 1.0), "loc must be finite, got nan"),
        (lambda: Normal(INF, 1.0), "loc must be finite, got inf"),
        (lambda: Normal(np.zeros(2), np.ones(3)), r"shapes don't broadcast: loc \(2,\) and scale"),
        (lambda: Normal(np.zeros(2, np.float32), np.ones(2)), "one dtype, got loc float32 and"),
        (lambda: Normal(np.zeros(2, int), 1.0), "loc must be float32 or float64, got int64"),
        (lambda: Normal("a", 1.0), "loc must be numbers, got str"),
        (lambda: Logistic(0.0, -1.0), "scale must be positive, got -1.0"),
        (lambda: Bernoulli(), "logits or probs must be given, one of them"),
        (lambda: Bernoulli(0.0, probs=0.5), "logits or probs must be given, one of them"),
        (lambda: Bernoulli(probs=np.array([0.5, 1.5])), r"probs must be in \[0, 1\], got 1.5"),
        (lambda: Bernoulli(np.array(np.nan)), "logits must be a number, got nan"),
        (lambda: Categorical(probs=np.array([0.5, -0.1])), "probs must be at least 0, got -0.1"),
        (lambda: Categorical(probs=np.zeros(3)), "largest of probs must be positive, got 0"),
        (lambda: Categorical(np.array([0.0, INF])), "largest of logits must be finite .*, got inf"),
        (lambda: Categorical(np.array(0.0)), "logits must have a last axis"),
        (lambda: Categorical(np.zeros((2, 0))), "logits must have a last axis"),
        (lambda: MultivariateNormal(np.zeros(2)), "covariance_matrix or scale_tril must be given"),
        (lambda: MultivariateNormal(np.zeros(2), np.eye(3)), r"shapes \(…, D\) and \(…, D, D\)"),
        (lambda: MultivariateNormal(np.array(0.0), np.eye(1)), r"got \(\) and \(1, 1\)"),
        (lambda: MultivariateNormal(np.zeros(2), -np.eye(2)), "must be positive definite"),
        (lambda: MultivariateNormal(np.zeros(2), np.array([[1, 0.5], [0, 1]])), "symmetric"),
        (lambda: MultivariateNormal(np.zeros(2), scale_tril=np.ones((2, 2))), "0 above its diag"),
        (lambda: MultivariateNormal(np.zeros(2), scale_tril=-np.eye(2)), "positive on its diag"),
        (lambda: DiscretizedLogistic(0.0, 1.0, 1), "levels must be an int >= 2, got 1"),
        (lambda: DiscretizedLogistic(0.0, 1.0, 2.5), "levels must be an int"),
        (lambda: DiscretizedLogistic(0.0, 0.0), "scale must be positive, got 0.0"),
        (lambda: Mixture(Categorical(np.zeros(3)), Normal(np.zeros(2), 1.0)), r"\(…, 3\)"),
        (
            lambda: Mixture(Categorical(np.zeros((2, 3))), Normal(np.zeros(3), 1.0)),
            r"mixing must have",
        ),
        (
            lambda: Independent(Normal(np.zeros(3), 1.0), 2),
            r"ndims must be .*, got 2",
        ),
        (lambda: AffineTransform(0.0, 0.0), "scale must be different from 0, got 0.0"),
        (
            lambda: TransformedDistribution(Normal(0, 1), AffineTransform(np.zeros(3), 1.0)),
            r"transform must fit base\'s shape \(\), got \(3,\)",
        ),
    ],
)
def test_bad_parameters(make, message):
    with bad(message):
        make()


MULTI = MultivariateNormal(np.zeros(2), np.eye(2))


@pytest.mark.parametrize(
    ("d", "x", "message"),
    [
        (Normal(np.zeros(2), 1.0), np.array([0.0, np.nan]), "x must be a number, got nan"),
        (Normal(np.zeros(2), 1.0), np.zeros(3), r"shapes don't broadcast: x \(3,\)"),
        (
            Normal(np.zeros(2), 1.0),
            np.zeros(2, np.float32),
            "parameters' dtype float64, got float32",
        ),
        (Normal(np.zeros(2), 1.0), np.zeros(2, int), "x must be float32 or float64, got int64"),
        (Normal(0.0, 1.0), None, "x must be"),
        (Bernoulli(np.zeros(2)), np.array([0, 2]), "x must be 0 or 1, got 2"),
        (Bernoulli(np.zeros(2)), np.array([0.5, np.nan]), "x must be 0 or 1, got 0.5"),
        (Categorical(np.zeros(3)), np.array([0, 3]), r"x must be in \[0, 3\), got 3"),
        (Categorical(np.zeros(3)), np.array([-1]), r"x must be in \[0, 3\), got -1"),
        (Categorical(np.zeros(3)), np.array([1.0]), r"x must be integers in \[0, 3\), got float64"),
        (DiscretizedLogistic(0.0, 1.0, 16), np.array([16]), r"x must be in \[0, 16\), got 16"),
        (MULTI, np.zeros(3), r"x must end in the event_shape \(2,\), got shape \(3,\)"),
        (MULTI, np.zeros(()), r"x must end in the event_shape \(2,\), got shape \(\)"),
        (
            TransformedDistribution(Normal(0, 1), ExpTransform()),
            [-1.0],
            "in the support, .*, got -1",
        ),
        (
            TransformedDistribution(Normal(0, 1), SigmoidTransform()),
            [1.0],
            "in the support, .*, got 1",
        ),
    ],
)
def test_bad_points(d, x, message):
    with bad(message):
        d.log_prob(x)


def test_what_has_no_closed_form_says_so():
    p = Normal(0.0, 1.0)
    with bad("kl_divergence has no closed form for Logistic and Logistic"):
        kl_divergence(Logistic(0.0, 1.0), Logistic(0.0, 1.0))
    with bad("kl_divergence has no closed form for Normal and Bernoulli"):
        kl_divergence(p, Bernoulli(0.0))
    with bad("q must have p's 2 outcomes, got 3"):
        kl_divergence(Categorical(np.zeros(2)), Categorical(np.zeros(3)))
    with bad(r"q must have p\'s event_shape \(2,\), got \(3,\)"):
        kl_divergence(MULTI, MultivariateNormal(np.zeros(3), np.eye(3)))
    with bad("shapes don't broadcast: p"):
        kl_divergence(Normal(np.zeros(2), 1.0), Normal(np.zeros(3), 1.0))
    one, two = (Independent(Normal(np.zeros((n, 2)), 1.0), n) for n in (1, 2))
    with bad("event_shape"):
        kl_divergence(one, two)
    with bad("Bernoulli has no reparametrised sample; use sample"):
        Independent(Bernoulli(np.zeros(2))).rsample((2,), 0)
    with bad("no cdf"):
        TransformedDistribution(Bernoulli(0.0), AffineTransform(0.0, 1.0)).cdf([1.0])
    with bad("no cdf"):
        Mixture(Categorical(np.zeros(2)), Bernoulli(np.zeros(2))).cdf(1)
    with bad("no entropy"):
        Independent(mixture_of_normals(1), 0).entropy()
    with bad("seed must be an int"):
        p.sample((2,), -1)
    with bad("a length in shape must be an int"):
        p.sample((2.5,), 0)


def test_mixed_precision_on_the_tape_is_refused():
    d = Normal(Tensor(np.zeros(2)), 1.0)
    with bad("dtype"):
        d.log_prob(Tensor(np.zeros(2, np.float32)))
