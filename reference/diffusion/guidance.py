"""Guidance: samples under a condition y, more strongly than the model itself would have it.

Classifier-free (Ho & Salimans 2022): one network is trained with labels and, now and then, without;
its two answers part where the label matters, and a sampler goes s times as far:

    ε̂ = ε∅ + s (ε_y − ε∅)           s = 0: no condition;  s = 1: the model's own p(x | y)

(theirs is Eq. 6, with w = s − 1). What the network is asked for need not be ε: x_0 and v are affine
in it, and the two weights sum to 1.

By a classifier of noisy data (Dhariwal & Nichol 2021, Algorithm 2), of a model with or without y:

    ε̂ = ε_θ − s √(1−ᾱ_t) ∇_{x_t} log p(y | x_t)

With s = 1, on a model without y, that is the score of p(x_t | y), by Bayes' rule. MISSION row D7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array, Tensor, grad, value
from reference.diffusion.heads import Guess
from reference.diffusion.samplers import Denoises
from reference.diffusion.schedule import Schedule
from reference.operations.diffusion_step import guide


@dataclass(frozen=True)
class ClassifierFree:
    """A model that knows labels y (n,), as samplers see it: guided to them, s ≥ 0."""

    model: Any
    y: Any
    s: float

    @property
    def schedule(self) -> Schedule:
        """The model's."""
        schedule: Schedule = self.model.schedule
        return schedule

    @property
    def prediction(self) -> str:
        """The model's."""
        return str(self.model.prediction)

    @property
    def clip(self) -> float | None:
        """The model's."""
        clip: float | None = self.model.clip
        return clip

    def says(self, x_t: Array, t: Any) -> dict[str, Any]:
        """Both answers, for `step` to combine; at s = 0 and 1 there is no need of the other."""
        if self.s in (0, 1):
            return {"output": self._own(x_t, t).output}
        null, told = self._answers(x_t, t)
        return {"output": null.output, "conditional": told.output, "guidance": self.s}

    def x_0(self, x_t: Array, t: Any) -> Array:
        """x̂_0, (n, …): of the two answers combined, and then kept in range."""
        return self._own(x_t, t).x_0 if self.s in (0, 1) else self._combined(*self._answers(x_t, t))

    def reverse(self, x_t: Array, t: int, s: int) -> tuple[Array, Array]:
        """Mean of the step at that x̂_0; its variance as the model has it for y, or at s = 0 not."""
        if self.s in (0, 1):
            guess = self._own(x_t, t)
            mean, variance = self.model.step_from(guess.x_0, guess, x_t, t, s)
        else:
            null, told = self._answers(x_t, t)
            mean, variance = self.model.step_from(self._combined(null, told), told, x_t, t, s)
        return mean, variance

    def _own(self, x_t: Array, t: Any) -> Guess:
        """The only answer that counts at s = 0 and at s = 1."""
        guess: Guess = self.model.guess(x_t, t, self.y if self.s else None)
        return guess

    def _answers(self, x_t: Array, t: Any) -> tuple[Guess, Guess]:
        return self.model.guess(x_t, t), self.model.guess(x_t, t, self.y)

    def _combined(self, null: Guess, told: Guess) -> Array:
        x_0 = guide(null.x_0, told.x_0, self.s)
        return x_0 if self.clip is None else np.clip(x_0, -self.clip, self.clip)


@dataclass(frozen=True)
class ByClassifier:
    """A model as samplers see it, guided to y by log_prob(x_t, t) = log p(y | x_t), (B,), s ≥ 0."""

    model: Denoises
    log_prob: Callable[[Array, int], Array]
    s: float = 1.0
    prediction: str = "eps"

    @property
    def schedule(self) -> Schedule:
        """The model's."""
        return self.model.schedule

    @property
    def clip(self) -> float | None:
        """The model's."""
        return self.model.clip

    def epsilon(self, x_t: Array, t: int) -> Array:
        """ε̂, (B, …)."""
        signal, noise = self.schedule.signal_and_noise(t, x_t)
        eps = (x_t - signal * self.model.x_0(x_t, t)) / noise
        at = Tensor(value(x_t))
        (slope,) = grad(np.sum(self.log_prob(at, t)), [at])
        return eps - self.s * noise * value(slope)

    def says(self, x_t: Array, t: int) -> dict[str, Any]:
        """ε̂, for `step`."""
        return {"output": self.epsilon(x_t, t)}

    def x_0(self, x_t: Array, t: int) -> Array:
        """x̂_0, (B, …), of ε̂."""
        signal, noise = self.schedule.signal_and_noise(t, x_t)
        x_0 = (x_t - noise * self.epsilon(x_t, t)) / signal
        return x_0 if self.clip is None else np.clip(x_0, -self.clip, self.clip)
