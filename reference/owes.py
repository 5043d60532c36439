"""What a model owes, by its kind: the methods that it has, and how they are called.

A class constructs as (what the data give, *, sizes, seed, dtype): by position only what follows
from the data and has no default, by name everything that has one. Where a model is conditional,
`log_prob` and `sample` take `y=None` as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from core import Array
    from core.random import Generator


@runtime_checkable
class Samples(Protocol):
    """Every generative model: every one but those that classify or reconstruct only."""

    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n draws (n, …), the same for a seed."""


@runtime_checkable
class Explicit(Samples, Protocol):
    """A likelihood that can be computed. Without a `loss` of its own, it trains on its mean."""

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats, (B,), of x (B, …)."""


@runtime_checkable
class Learns(Protocol):
    """It learns all there is in one look at the data."""

    def fit(self, x: Array, y: Any = None) -> Any:
        """Learn from x (B, …), with labels y (B,) where it needs them; returns the model."""


@runtime_checkable
class Counts(Learns, Explicit, Protocol):
    """What it knows, it has counted, and counts add."""

    def partial_fit(self, x: Array, y: Any = None) -> Any:
        """Learn from x (B, …) on top of what was learned before; returns the model."""

    def merge(self, other: Any) -> Any:
        """Add what another model of the same form has learned; returns the model of both data."""


@runtime_checkable
class Classifies(Protocol):
    """It knows p(y | x)."""

    def predict_proba(self, x: Array) -> Array:
        """p(y | x), (B, classes)."""

    def predict(self, x: Array) -> Array:
        """The most probable class of each x, (B,)."""


@runtime_checkable
class Infers(Protocol):
    """It knows p(z | x), of a z that has few values."""

    def posterior(self, x: Array) -> Array:
        """p(z | x), (B, values of z)."""


@runtime_checkable
class Chain(Explicit, Protocol):
    """One variable after another: p(x) = Π p(x_i | x_<i)."""

    def conditionals(self, x: Array) -> Array:
        """Parameters of every p(x_i | x_<i) at once, of x (B, …): (B, …) logits for bits.

        With several for each, (B, …, P), the model's `head` says what they mean.
        """


@runtime_checkable
class Told(Samples, Protocol):
    """Of x given something, y, that is no label: a batch as `core.samples` has them."""

    def greedy(self, y: Any) -> Any:
        """The most probable value of each variable in turn, given each of y: (B, …)."""


@runtime_checkable
class Invertible(Explicit, Protocol):
    """x = g(z), with an inverse and a determinant."""

    def forward(self, z: Array) -> tuple[Array, Array]:
        """z (B, …) → x (B, …) and log |det ∂x/∂z| (B,)."""

    def inverse(self, x: Array) -> tuple[Array, Array]:
        """x (B, …) → z (B, …) and log |det ∂z/∂x| (B,)."""


@runtime_checkable
class Bounded(Samples, Protocol):
    """A lower bound on the likelihood."""

    def elbo(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """A lower bound on log p(x) in nats, (B,), estimated with the noise of `rng`."""

    def loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """What training minimises, one number."""


@runtime_checkable
class Reconstructs(Protocol):
    """It makes x again from a code, and knows no distribution."""

    def encode(self, x: Array) -> Array:
        """The code of x (B, …), (B, latent)."""

    def decode(self, z: Array) -> Array:
        """What a code z (…, latent) stands for."""

    def reconstruct(self, x: Array) -> Array:
        """x (B, …) from its code."""

    def loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """What training minimises, one number."""


@runtime_checkable
class Plays(Samples, Protocol):
    """Several players with losses of their own."""

    def objectives(self) -> list[tuple[Callable[..., Array], dict[str, Any]]]:
        """Each player's loss (x, y=None, rng=None) and its parameters by name."""

    def discriminate(self, x: Array, y: Any = None) -> Array:
        """What a player says of x (B, …): (B,), the larger, the more it takes x for data."""


OWES: dict[str, tuple[type, ...]] = {
    "histogram": (Counts,),
    "class-conditional": (Counts, Classifies),
    "mixture": (Explicit, Infers),
    "linear": (Explicit, Learns),
    "autoregressive": (Chain,),
    "encoder-decoder": (Chain, Told),
    "flow": (Invertible,),
    "latent": (Bounded,),
    "dequantised": (Bounded,),
    "diffusion": (Bounded,),
    "adversarial": (Plays,),
    "autoencoder": (Reconstructs,),
    "discriminative": (Learns, Classifies),
}
"""Kind → the Protocols that its models meet."""
