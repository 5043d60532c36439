"""What every diffusion model is: a chain that turns data into noise, and one that undoes it.

Noise is added in T small steps (`schedule`), x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε; each is undone by a
Gaussian, in which the network's guess x̂_0 at the data (`heads`) stands for x_0:

    p_θ(x_{t−1} | x_t) = N(μ_θ(x_t, t), σ_t² I),    x_T ~ N(0, I)          (Eq. 1, and section 3.2)
    μ_θ(x_t, t) = μ̃_t(x_t, x̂_0) = 1/√α_t · (x_t − β_t/√(1−ᾱ_t) · ε_θ(x_t, t))            (Eq. 11)

where ε_θ is the noise that x̂_0 leaves in x_t. Samples are drawn step by step (`samplers`).
The chain is a latent-variable model with a fixed encoder q, and has its evidence lower bound
(`bound`), a sum of one term for each step. Training drops the terms' weights and is plain
regression (Algorithm 1, Eq. 14). The equations are Ho, Jain & Abbeel's (2020). MISSION rows D1 to
D3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array, value
from core.checks import float_dtype, images, labels, number, one_of, sizes, some, whole
from core.errors import InputError
from core.model import Described, draws
from core.random import Generator, checked_generator, normal
from reference.diffusion.bound import decoder_term, step_term, terms, total
from reference.diffusion.guidance import ClassifierFree
from reference.diffusion.heads import Categorical, Guess, Head, head_of
from reference.diffusion.langevin import Langevin
from reference.diffusion.samplers import DDIM, Ancestral
from reference.diffusion.schedule import make_schedule
from reference.diffusion.solvers import Heun, Multistep

VLB_WEIGHT = 0.001
"""Of the bound beside the regression, where σ_t² is learned: it moves nothing else."""


class Diffusion(Described):
    """A diffusion model of x (B, *shape); whoever inherits it brings the `denoiser`:

        (x_t (B, *shape), τ (B,) or (1,) in (0, 1000], y (B,) or None) ↦ (B, *shape, head.size)

    levels: the data take so many evenly spaced values in [−1, 1]. Then x̂_0 is kept in that range,
    and `elbo` bounds the log-probability of such values instead of a density.
    steps: T. schedule: one of SCHEDULES. prediction: what the network is asked for, one of
    PREDICTIONS. variance: of a step; σ_t² is "beta" (β_t), best for x_0 ~ N(0, I), "beta_tilde"
    (β̃_t), best for x_0 in one point (section 3.2), or "learned", between the two.
    classes: of labels y that the model may be told, or None. drop: the share of the labels that
    training forgets, so that the model knows p(x) beside p(x | y) (`guidance`).
    """

    denoiser: Callable[..., Array]

    def __init__(
        self,
        shape: Sequence[int],
        *,
        levels: int | None,
        steps: int,
        schedule: str,
        prediction: str,
        variance: str,
        classes: int | None,
        drop: float,
        dtype: Any,
    ) -> None:
        self.shape, self.dtype = sizes("shape", shape), float_dtype(dtype)
        self.levels = None if levels is None else whole("levels", levels, 2)
        self.schedule, self.steps = make_schedule(schedule, steps), whole("steps", steps, 2)
        self.prediction, self.variance = prediction, variance
        self.classes = None if classes is None else whole("classes", classes, 1)
        self.drop = number("drop", drop, least=0, most=1)
        self.head: Head = head_of(prediction, variance, self.levels)

    @property
    def alphas_cumprod(self) -> Any:
        """ᾱ_1 … ᾱ_T, (T,)."""
        return self.schedule.alphas_cumprod

    @property
    def clip(self) -> float | None:
        """x̂_0 is kept within [−clip, clip]; None: anywhere."""
        return None if self.levels is None else 1.0

    def guess(self, x_t: Array, t: Any, y: Any = None) -> Guess:
        """What the network sees in x_t (B, *shape) at times t in 1 … T, (B,) or one for all.

        y: labels (B,); `classes` itself is the null label, None is that for all.
        """
        if self.classes is not None and y is None:
            y = np.full(len(x_t), self.classes)
        tau = np.reshape(self.schedule.times(t, 1), -1) * (1000 / self.schedule.T)
        signal, noise = self.schedule.signal_and_noise(t, x_t)
        return self.head.guess(self.denoiser(x_t, tau, y), x_t, signal, noise)

    def says(self, x_t: Array, t: Any) -> dict[str, Any]:
        """What the network says, of the kind `prediction`, (B, *shape), as arguments of `step`."""
        return {"output": self.guess(x_t, t).output}

    def x_0(self, x_t: Array, t: Any) -> Array:
        """x̂_0, (B, *shape): the data that the network sees in x_t."""
        return self.guess(x_t, t).x_0

    def epsilon(self, x_t: Array, t: Any) -> Array:
        """ε_θ(x_t, t), (B, *shape): the noise that x̂_0 leaves in x_t."""
        signal, noise = self.schedule.signal_and_noise(t, x_t)
        return (x_t - signal * self.x_0(x_t, t)) / noise  # Eq. 4, solved for ε

    def loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """E‖what the network should have said − what it said‖² at one random t per row.

        For "eps" this is Algorithm 1. Where σ_t² is learned beside it, a little of the bound is
        added, in which x̂_0 is held still (Nichol & Dhariwal 2021, section 3.1).
        """
        x, rng = images(some(x), self.shape, self.dtype), checked_generator(rng)
        t = rng.integers(1, self.schedule.T + 1, (len(x),))
        eps = rng.normal(x.shape, dtype=self.dtype)
        x_t = self.schedule.add_noise(x, eps, t)
        guess = self.guess(x_t, t, self._forgetful(y, len(x), rng))
        error = self.head.error(guess, x, eps, *self.schedule.signal_and_noise(t, x))
        loss = np.mean(total(np.square(error)))
        if self.variance != "learned" or isinstance(self.head, Categorical):
            return loss
        still = guess._replace(x_0=value(guess.x_0))
        bound = np.where(t == 1, decoder_term(self, x, still), step_term(self, x, t, still))
        return loss + VLB_WEIGHT * self.schedule.T * np.mean(bound)

    def _forgetful(self, y: Any, n: int, rng: Generator) -> Any:
        """Labels y (n,), some of them dropped; None of a model that takes none."""
        if self.classes is None or y is None:
            return None
        dropped = rng.uniform((n,)) < self.drop
        return np.where(dropped, self.classes, labels(y, n, self.classes))

    def elbo(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """A lower bound on log p(x) in nats, (B,), given labels y (B,) on log p(x | y): Eq. 5."""
        return -np.sum(self.terms(x, y, rng), axis=0)

    def terms(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """L_0, L_1, …, L_T in nats, (T + 1, B): what the bound is the sum of."""
        x = images(x, self.shape, self.dtype)
        y = None if self.classes is None or y is None else labels(y, len(x), self.classes)
        return terms(self, x, y, checked_generator(rng))

    def reverse(self, x_t: Array, t: int, s: int) -> tuple[Array, Array]:
        """Mean and variance of p_θ(x_s | x_t), s < t, (B, *shape); the variance at s = 0 is 0."""
        guess = self.guess(x_t, t)
        return self.step_from(guess.x_0, guess, x_t, t, s)

    def step_from(
        self, x_0: Array, guess: Guess, x_t: Array, t: int, s: int
    ) -> tuple[Array, Array]:
        """The mean of a step at any x̂_0, and its variance by a guess."""
        mean, beta_tilde = self.schedule.posterior(x_0, x_t, t, s)
        r = self.head.ratio(guess, *self.schedule.gain_and_most(t, x_t, s))
        return mean, r * beta_tilde

    @draws
    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        y: Any = None,
        guidance: float = 1.0,
        sampler: str = "ddpm",
        steps: int | None = None,
        eta: float = 0.0,
    ) -> Any:
        """n samples (n, *shape). Row i depends on seed and i only, up to rounding in the network.

        y: the class of all or of each, (n,), None: of no class. guidance: s, how far to go from no
        class (0) to y (1) and beyond.
        sampler: "ddpm" (Algorithm 2), "ddim" with η = `eta`, "heun" or "multistep", solvers of
        second order, or "langevin". steps: how many (default T), evenly spaced over the chain;
        "heun" and "langevin" ask the network twice in each.
        """
        samplers: dict[str, Any] = {"ddpm": Ancestral(self.variance), "ddim": DDIM(eta)}
        samplers |= {"heun": Heun(), "multistep": Multistep(), "langevin": Langevin()}
        take_step = samplers[one_of("sampler", sampler, samplers)]
        seen = self._guided(n, y, guidance)
        x = normal(seed, (n, *self.shape), stream="latent", dtype=self.dtype)  # x_T
        for t, s in pairwise(self.schedule.timesteps(steps)):
            x = take_step(seen, x, t, s, seed=seed)
        return x

    def _guided(self, n: int, y: Any, s: float) -> Any:
        """The model as a sampler is to see it."""
        if y is None and s == 1:
            return self
        if y is None:
            raise InputError(f"guidance must come with a y to go to, got {s!r} alone")
        if self.classes is None:
            raise InputError(f"y must be left out: the model has no classes, got {y!r}")
        y = labels(np.asarray(y) if np.ndim(y) else np.full(n, y), n, self.classes)
        return ClassifierFree(self, y, number("guidance", s, least=0))
