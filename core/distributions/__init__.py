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

Source: Kingma & Welling 2013, section 2.4 (rsample). MISSION rows F1, F3, F6, F7, A8.
"""

from core.distributions.continuous import Logistic, MultivariateNormal, Normal
from core.distributions.discrete import Bernoulli, Categorical, DiscretizedLogistic
from core.distributions.draws import Distribution
from core.distributions.kl import js_divergence, kl_divergence
from core.distributions.mixture import DiscretizedLogisticMixture, Independent, Mixture
from core.distributions.transformed import (
    AffineTransform,
    ExpTransform,
    SigmoidTransform,
    Transform,
    TransformedDistribution,
)

__all__ = [
    "AffineTransform",
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Distribution",
    "ExpTransform",
    "Independent",
    "Logistic",
    "Mixture",
    "MultivariateNormal",
    "Normal",
    "SigmoidTransform",
    "Transform",
    "TransformedDistribution",
    "js_divergence",
    "kl_divergence",
]
