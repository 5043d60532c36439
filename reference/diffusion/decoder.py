"""The last decoder of a diffusion model whose data take few values: the mass of a bin.

Ho, Jain & Abbeel 2020, Eq. 13. MISSION row D2.
"""

from __future__ import annotations

import numpy as np

from core import Array, special, value

FAR = 1e9
"""Standard deviations beyond which there is nothing; at infinity no derivative could be taken."""


def discretised_log_prob(x: Array, mean: Array, std: Array, levels: int) -> Array:
    """log of the mass that N(mean, std²) puts nearest to x, one of `levels` values in [−1, 1].

    Eq. 13, elementwise, in nats. The outermost bins reach to ±∞, so the masses add up to 1.
    """
    half = 1 / (levels - 1)
    lower = np.where(x < -1 + half, -FAR, (x - half - mean) / std)
    upper = np.where(x > 1 - half, FAR, (x + half - mean) / std)
    # Φ(upper) − Φ(lower) = Φ(−lower) − Φ(−upper): the smaller pair keeps all its digits.
    flip = value(lower + upper) > 0
    low, high = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    log_cdf = special.log_ndtr
    return log_cdf(high) + np.log1p(-np.exp(log_cdf(low) - log_cdf(high)))
