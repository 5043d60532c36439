"""Codes that say nothing, and how to keep them in use. MISSION row L5.

The bound is E_q[ln p(x|z)] − KL(q(z|x) ‖ p(z)), and its second term is a price for whatever z says
of x. While the decoder cannot read z yet, the cheapest q(z|x) is the prior itself: KL = 0, and z is
noise. A decoder that is fed noise learns to pass it by, and then nothing calls z back: posterior
collapse, which costs likelihood and leaves nothing to read off the codes. It is counted by

    active units: dimensions j with Var_x E_q(z|x)[z_j] > 0.01                   (Burda et al. 2015)

Free bits (Kingma et al. 2016) let each dimension have λ nats before it pays, Σ_j max(λ, E KL_j), so
that none is driven to the prior before the decoder has learned to read it.

Here: digits, deep networks and a high rate, trained with and without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core import no_grad
from core.data import Dataset, load
from core.train import TrainSettings, fit
from reference.judges.codes import active_units, linear_probe
from reference.latent.free_bits_vae import FreeBitsVAE
from reference.latent.priors import kl_of_each
from reference.latent.vae import VAE
from reference.lessons import Fact, above, below, close, note
from reference.lessons._picture import ACCENT, INK, panels

LATENT, FREE = 16, 0.3
SIZES: dict[str, Any] = {"latent": LATENT, "hidden": (64, 64, 64)}


@dataclass(frozen=True)
class Codes:
    """Of one model: how many units are in use, the KL of each, the bound, what a probe reads."""

    active: int
    kl: tuple[float, ...]
    nats: float  # validation, the bound of 16 samples
    probe: float


@dataclass(frozen=True)
class Result:
    """Trained on the bound, and with free bits."""

    plain: Codes
    free: Codes


def trained(model: VAE, data: Dataset, seed: int) -> Codes:
    """A few epochs at a rate that is too high for deep networks."""
    how = TrainSettings(epochs=8, batch_size=50, lr=1e-2, seed=seed)
    nats = min(loss for loss in fit(model, data, settings=how).validation if loss is not None)
    with no_grad():
        mu, log_var = model.encode(data.train.x)
        seen = model.encode(data.validation.x)[0]
    return Codes(
        active=int(active_units(mu).sum()),
        kl=tuple(np.sort(kl_of_each(mu, log_var).mean(axis=0))[::-1].tolist()),
        nats=nats,
        probe=linear_probe(mu, data.train.y, seen, data.validation.y),
    )


def run(seed: int = 0) -> Result:
    """The same networks, first weights and data, twice.

    >>> run().free.active
    16
    """
    data = load("digits", domain="binary")
    plain = VAE(data.dim, **SIZES, seed=seed)
    return Result(
        trained(plain, data, seed),
        trained(FreeBitsVAE(data.dim, **SIZES, free=FREE, seed=seed), data, seed),
    )


def facts(result: Result) -> list[Fact]:
    """Free bits keep every unit in use, and that pays by any measure."""
    plain, free = result.plain, result.free
    return [
        below(f"active units of {LATENT}, trained on the bound", plain.active, LATENT - 2),
        close(f"active units of {LATENT}, with free bits", free.active, LATENT, within=0),
        note("KL(q(z|x) ‖ p(z)), nats, trained on the bound", sum(plain.kl)),
        above("the same with free bits", sum(free.kl), LATENT * FREE * 0.8),
        note("−bound on held-out digits, nats, trained on the bound", plain.nats),
        below("the same with free bits", free.nats, plain.nats - 1),
        note("classes that a linear probe reads off z, trained on the bound", plain.probe),
        above("the same with free bits", free.probe, plain.probe + 0.1),
    ]


def picture(result: Result) -> bytes:
    """What each dimension says, the most talkative first."""

    def draw(axes: Any) -> None:
        at = np.arange(LATENT)
        axes.bar(at - 0.2, result.plain.kl, 0.4, color=ACCENT, label="trained on the bound")
        axes.bar(at + 0.2, result.free.kl, 0.4, color=INK, label=f"free bits, λ = {FREE}")
        axes.axhline(FREE, color=INK, lw=0.6, ls=":")
        axes.set(xlabel="dimension of z, sorted", ylabel="KL to the prior, nats")
        axes.legend(frameon=False)

    return panels(draw)
