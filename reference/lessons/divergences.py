"""How far is one distribution from another, and what that costs in bits. MISSION row F3.

    KL(p ‖ q) = Σ p ln p/q        0 iff p = q; not symmetric; 0 · ln 0 = 0; ∞ where q lacks support
    H(p, q) = −Σ p ln q = H(p) + KL(p ‖ q)                     cross-entropy
    JS(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m),  m = ½ (p + q)       symmetric, at most ln 2

A code that was made for q spends −log₂ q(x) bits on x. On data from p that is H(p, q) / ln 2 bits a
symbol, H(p) / ln 2 if it was made for p: the divergence is the number of extra bits. An arithmetic
coder gets within 2 bits of it for a whole message, so the claim can be counted.

Where no sum can be had, KL is a mean over samples of p: ln p(x)/q(x), with its standard error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.distributions import Categorical, Normal, js_divergence, kl_divergence
from core.random import Generator
from reference.judges.coding import decode, encode
from reference.judges.estimates import kl
from reference.lessons import Fact, above, below, close, note
from reference.lessons._picture import ACCENT, INK, panels

LETTERS, PAIRS, LENGTH, SAMPLES = 8, 200, 2000, 20_000


def distributions(rng: Generator, n: int) -> Categorical:
    """n random distributions of LETTERS letters."""
    return Categorical(logits=rng.normal((n, LETTERS), dtype=np.float64))


@dataclass(frozen=True)
class Result:
    """What `run` found."""

    least: float  # KL over random pairs
    self_kl: float
    asymmetry: float  # largest |KL(p ‖ q) − KL(q ‖ p)|
    cross: float  # largest |H(p, q) − H(p) − KL(p ‖ q)|
    js_asymmetry: float
    js_most: float
    js_apart: float  # of two that share no letter
    off_support: float
    monte_carlo: tuple[float, float, float]  # mean, standard error, closed form: two Gaussians
    entropy_bits: float  # of a message's letters under p, in all
    own_code: int
    cross_bits: float  # −log₂ q of the message
    other_code: int
    lossless: bool


def run(seed: int = 0) -> Result:
    """Random pairs, two Gaussians, and a message that is coded under both p and q.

    >>> run().lossless
    True
    """
    rng = Generator(seed)
    p, q = distributions(rng, PAIRS), distributions(rng, PAIRS)
    forward, back = kl_divergence(p, q), kl_divergence(q, p)
    cross = -np.sum(p.probs * q.logits, axis=1)
    left = Categorical(probs=np.array([0.5, 0.5, 0.0, 0.0]))
    right = Categorical(probs=np.array([0.0, 0.0, 0.25, 0.75]))
    n, m = Normal(np.array(0.0), np.array(1.0)), Normal(np.array(1.0), np.array(1.5))
    x = n.sample((SAMPLES,), rng)
    estimate = kl(x, n, m)
    return Result(
        least=float(forward.min()),
        self_kl=float(np.abs(kl_divergence(p, p)).max()),
        asymmetry=float(np.abs(forward - back).max()),
        cross=float(np.abs(cross - p.entropy() - forward).max()),
        js_asymmetry=float(np.abs(js_divergence(p, q) - js_divergence(q, p)).max()),
        js_most=float(js_divergence(p, q).max()),
        js_apart=float(js_divergence(left, right)),
        off_support=float(kl_divergence(left, right)),
        monte_carlo=(estimate.mean, estimate.se, float(kl_divergence(n, m))),
        **_coded(rng),
    )


def _coded(rng: Generator) -> dict[str, Any]:
    """A message from p, and its codes under p and under q."""
    p, q = (d.probs[0] for d in (distributions(rng, 1), distributions(rng, 1)))
    message = np.asarray(Categorical(probs=p).sample((LENGTH,), rng)).tolist()
    own, other = encode(message, lambda _: p), encode(message, lambda _: q)
    return {
        "entropy_bits": float(-np.log2(p[message]).sum()),
        "own_code": len(own),
        "cross_bits": float(-np.log2(q[message]).sum()),
        "other_code": len(other),
        "lossless": decode(own, LENGTH, lambda _: p)
        == message
        == decode(other, LENGTH, lambda _: q),
    }


def facts(result: Result) -> list[Fact]:
    """The laws of KL and JS, then bits that were counted."""
    mean, se, closed = result.monte_carlo
    return [
        above(f"least KL of {PAIRS} random pairs", result.least, 0.0),
        below("KL(p ‖ p)", result.self_kl, 1e-15),
        note("largest |KL(p ‖ q) − KL(q ‖ p)|: it is no distance", result.asymmetry),
        below("|H(p, q) − H(p) − KL(p ‖ q)|", result.cross, 1e-12),
        below("|JS(p, q) − JS(q, p)|", result.js_asymmetry, 1e-15),
        below("largest JS", result.js_most, math.log(2)),
        close("JS of two that share no letter", result.js_apart, math.log(2), within=1e-12),
        Fact("their KL", f"{result.off_support}", "= inf", result.off_support == math.inf),
        close(f"KL of two Gaussians by {SAMPLES} samples", mean, closed, within=4 * se),
        note(f"−log₂ p of a message of {LENGTH} letters from p", result.entropy_bits),
        below("bits of its code beyond it", result.own_code - result.entropy_bits, 2.0),
        note("−log₂ q of the same message", result.cross_bits),
        below("bits of its code under q beyond it", result.other_code - result.cross_bits, 2.0),
        note("extra bits for the wrong model", result.other_code - result.own_code),
        Fact("both codes read back", str(result.lossless), "True", result.lossless),
    ]


def picture(result: Result) -> bytes:
    """KL in both directions and JS, between two coins."""

    def draw(axes: Any) -> None:
        b = np.linspace(0.01, 0.99, 99)
        p = Categorical(probs=np.array([0.7, 0.3]))
        q = Categorical(probs=np.stack([1 - b, b], axis=1))
        axes.plot(b, kl_divergence(p, q), color=INK)
        axes.plot(b, kl_divergence(q, p), color=INK, linestyle="--")
        axes.plot(b, js_divergence(p, q), color=ACCENT)
        axes.set(xlabel="q(heads); p(heads) = 0.3", ylabel="nats", ylim=(0, 1.2))
        axes.set_title("KL(p ‖ q) · KL(q ‖ p), dashed · JS")

    return panels(draw)
