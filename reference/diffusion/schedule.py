"""The forward chain of diffusion models: how much noise, and when.

    q(x_t | x_{t−1}) = N(√(1−β_t) x_{t−1}, β_t I),    t = 1 … T                           (Eq. 2)
    q(x_t | x_0)     = N(√ᾱ_t x_0, (1−ᾱ_t) I),        α_t = 1 − β_t,  ᾱ_t = ∏_{s≤t} α_s    (Eq. 4)

and backwards, where the data are known, by Bayes' rule:

    q(x_{t−1} | x_t, x_0) = N(μ̃_t(x_t, x_0), β̃_t I)                                      (Eq. 6)

Ho, Jain & Abbeel, Denoising Diffusion Probabilistic Models (2020), whose equations are numbered
here; cosine schedule: Nichol & Dhariwal 2021, Eq. 17. MISSION rows D1, D2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import Array
from core.checks import one_of, whole
from core.errors import InputError

BETA_MAX = 0.999
"""No β_t is larger: a step that forgets everything could not be undone (Nichol & Dhariwal)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """β_t, α_t and ᾱ_t as float64 arrays (T+1,), indexed by the papers' t = 0 … T.

    Entry 0 stands for the data themselves: β_0 = 0, ᾱ_0 = 1.

    >>> schedule = make_schedule("cosine", 4)
    >>> schedule.alpha_bar.round(3)
    array([1.   , 0.847, 0.494, 0.144, 0.   ])
    >>> schedule.timesteps(2)
    [4, 2, 0]
    """

    beta: NDArray[np.float64]
    alpha: NDArray[np.float64]
    alpha_bar: NDArray[np.float64]

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.beta) - 1

    @property
    def alphas_cumprod(self) -> NDArray[np.float64]:
        """ᾱ_1 … ᾱ_T, (T,): other libraries' name and indexing."""
        return self.alpha_bar[1:]

    def snr(self) -> NDArray[np.float64]:
        """Signal-to-noise ratio ᾱ_t / (1−ᾱ_t) for t = 1 … T, (T,)."""
        return self.alpha_bar[1:] / (1 - self.alpha_bar[1:])

    def phi(self, t: int) -> float:
        """The angle between x_t and the data: √ᾱ_t = cos φ_t, √(1−ᾱ_t) = sin φ_t."""
        return math.atan2(math.sqrt(1 - self.alpha_bar[t]), math.sqrt(self.alpha_bar[t]))

    def times(self, t: Any, least: int = 0) -> Any:
        """t; InputError unless it is integers in least … T: −1 would be the last, in silence."""
        found = np.asarray(t)
        if found.dtype.kind not in "iu":
            raise InputError(f"t must be integers, got {found.dtype}")
        if found.size and not (found.min() >= least and found.max() <= self.T):
            raise InputError(f"t must lie in {least} … {self.T}, got {found.min()} … {found.max()}")
        return t

    def signal_and_noise(self, t: Any, x: Array) -> tuple[Any, Any]:
        """√ᾱ_t and √(1−ᾱ_t) as columns beside x (B, …).

        t: integers in 0 … T, (B,) or one for all. In the dtype of x.
        """
        alpha_bar = self.alpha_bar[self.times(t)]
        column = (-1, *[1] * (x.ndim - 1))
        signal, noise = (np.sqrt(a).astype(x.dtype) for a in (alpha_bar, 1 - alpha_bar))
        return signal.reshape(column), noise.reshape(column)

    def add_noise(self, x_0: Array, eps: Array, t: Any) -> Array:
        """x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε: a draw from q(x_t | x_0) if ε ~ N(0, I); Eq. 4.

        x_0, eps: (B, …), the dtype of the result. t: as in `signal_and_noise`.
        """
        signal, noise = self.signal_and_noise(t, x_0)
        return signal * x_0 + noise * eps

    def posterior(
        self, x_0: Array, x_t: Array, t: int, s: int | None = None
    ) -> tuple[Array, float]:
        """μ̃_t (B, …) and β̃_t of q(x_s | x_t, x_0), s = t − 1 unless given; Eq. 6."""
        s = t - 1 if s is None else s
        a, b, beta_tilde = posterior_coefficients(self.alpha_bar[t], self.alpha_bar[s])
        return a * x_t + b * x_0, beta_tilde

    def posterior_variance(self, t: int) -> float:
        """β̃_t; Eq. 7."""
        return posterior_coefficients(self.alpha_bar[t], self.alpha_bar[t - 1])[2]

    def gain_and_most(self, t: Any, x: Array, s: int | None = None) -> tuple[Any, Any]:
        """SNR_s − SNR_t, what a step back to s = t − 1 tells of the data; and β_t/β̃_t.

        With b and β̃ of Eq. 7 the first is b²/β̃. Columns beside x (B, …), in its dtype, as in
        `signal_and_noise`. At s = 0, where the first is infinite and β̃ is 0, they are 0 and 1.
        """
        t = np.asarray(self.times(t, 1))
        a, before = self.alpha_bar[t], self.alpha_bar[t - 1 if s is None else s]
        known = before < 1
        rest = np.where(known, 1 - before, 1.0)
        gain = np.where(known, before / rest - a / (1 - a), 0.0)
        most = np.where(known, (1 - a) / rest, 1.0)
        column = (-1, *[1] * (x.ndim - 1))
        return gain.reshape(column).astype(x.dtype), most.reshape(column).astype(x.dtype)

    def timesteps(self, n: int | None = None) -> list[int]:
        """n + 1 times from T down to 0, evenly spaced: where a sampler of n steps stops by.

        The default n = T visits every time. Raises InputError unless 1 ≤ n ≤ T.
        """
        n = self.T if n is None else whole("steps", n, 1, self.T)
        return [self.T * i // n for i in range(n, -1, -1)]


def posterior_coefficients(alpha_bar_t: float, alpha_bar_s: float) -> tuple[float, float, float]:
    """(a, b, β̃) with q(x_s | x_t, x_0) = N(a x_t + b x_0, β̃ I) for times s < t.

    Eq. 7, with the step from s to t, α = ᾱ_t / ᾱ_s and β = 1 − α, in the place of one from t−1.
    """
    alpha = float(alpha_bar_t / alpha_bar_s)
    beta = 1 - alpha
    a = math.sqrt(alpha) * (1 - alpha_bar_s) / (1 - alpha_bar_t)
    b = math.sqrt(alpha_bar_s) * beta / (1 - alpha_bar_t)
    beta_tilde = (1 - alpha_bar_s) / (1 - alpha_bar_t) * beta
    return float(a), float(b), float(beta_tilde)


def linear_betas(T: int) -> NDArray[np.float64]:
    """Section 4: from 1e-4 to 0.02 in T = 1000 steps.

    Fewer steps must each add more noise, or x_T would still show the data: × 1000/T.
    """
    return np.minimum(np.linspace(1e-4, 0.02, T) * (1000 / T), BETA_MAX)


def cosine_betas(T: int, offset: float = 0.008) -> NDArray[np.float64]:
    """The β_t for which ᾱ_t = f(t)/f(0), f(t) = cos²(π/2 · (t/T + offset)/(1 + offset))."""
    f = np.cos((np.arange(T + 1) / T + offset) / (1 + offset) * (math.pi / 2)) ** 2
    betas: NDArray[np.float64] = np.minimum(1 - f[1:] / f[:-1], BETA_MAX)
    return betas


def zero_terminal_betas(T: int) -> NDArray[np.float64]:
    """The linear schedule, its √ᾱ shifted and scaled so that the last is 0 and the first is kept.

    Lin et al. 2023, Algorithm 1. x_T is then noise and nothing else, as what sampling begins with
    is; "eps" can't be asked for there.
    """
    root = np.sqrt(np.cumprod(1 - linear_betas(T)))
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    alpha_bar = np.concatenate([[1.0], root**2])
    betas: NDArray[np.float64] = 1 - alpha_bar[1:] / alpha_bar[:-1]
    return betas


SCHEDULES = {
    "linear": linear_betas,
    "cosine": cosine_betas,
    "zero-terminal": zero_terminal_betas,
}


def make_schedule(name: str, T: int) -> Schedule:
    """The schedule `name`, a key of SCHEDULES, with T steps; ᾱ_T < 1e-3 for every T ≥ 2.

    Raises InputError for another name or T < 2: one step of at most BETA_MAX can't reach noise.
    """
    betas = SCHEDULES[one_of("schedule", name, SCHEDULES)](whole("steps", T, 2))
    beta = np.concatenate([[0.0], betas])
    return Schedule(beta, 1 - beta, np.cumprod(1 - beta))
