"""How to train, and what a step is: of gradients, of EM, or of counting.

A learner holds a model and what must be remembered between its steps; `core.train.fit` drives it.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from core import optim
from core.checks import number, one_of, some, whole
from core.errors import InputError
from core.optim import EMA, Diverged, Optimiser, Schedule
from core.random import Generator, checked_seed
from core.samples import take
from core.state import join, parameters, part
from core.tensor import Tensor, no_grad, value

Arrays = dict[str, NDArray[Any]]
Loss = Callable[..., Any]
"""(x, y=None, rng=None) → one number: of rows x (B, …), labels y or None, and noise."""

OPTIMISERS: dict[str, type[Optimiser]] = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
}
SCHEDULES: dict[str, Callable[[int, int], Schedule]] = {
    "constant": lambda total, warmup: optim.linear_warmup(warmup),
    "cosine": lambda total, warmup: optim.cosine(total, warmup),
}
"""Name → schedule, of the total number of steps and those of the warm-up."""

HUGE = 1e15
"""A loss beyond this, in nats, is that of a training that diverged."""

_EVALUATED = 1000  # rows per batch where no gradient is needed


@dataclass(frozen=True)
class TrainSettings:
    """How to train. Raises InputError for a value out of range.

    epochs: passes over the data; steps: no more than so many, if the last pass must be cut short.
    batch_size: rows per step; the last batch of an epoch may be smaller. lr, optimiser (sgd, adam,
    adamw), options (its further arguments: momentum, nesterov, betas, eps), weight_decay. schedule:
    constant or cosine (to 0 at the last step), after `warmup` steps of linear rise. clip_norm:
    largest norm of all gradients together. ema_decay: validate and keep the moving average of the
    weights. patience: stop after so many epochs without a better validation loss. seed: of the
    order of the rows and of what the losses draw.
    checkpoint_seconds: time between checkpoints; 0 makes one after every epoch.
    """

    epochs: int = 20
    batch_size: int = 100
    lr: float = 1e-3
    optimiser: str = "adam"
    options: Mapping[str, Any] = field(default_factory=dict)
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    ema_decay: float | None = None
    patience: int | None = None
    seed: int = 0
    checkpoint_seconds: float = 5.0
    steps: int | None = None

    def __post_init__(self) -> None:
        checked = {
            "epochs": whole("epochs", self.epochs, 1),
            "batch_size": whole("batch_size", self.batch_size, 1),
            "lr": number("lr", self.lr, least=0),
            "optimiser": one_of("optimiser", self.optimiser, OPTIMISERS),
            "schedule": one_of("schedule", self.schedule, SCHEDULES),
            "warmup": whole("warmup", self.warmup),
            "weight_decay": number("weight_decay", self.weight_decay, least=0),
            "seed": checked_seed(self.seed),
            "checkpoint_seconds": number("checkpoint_seconds", self.checkpoint_seconds, least=0),
        }
        if self.clip_norm is not None:
            checked["clip_norm"] = number("clip_norm", self.clip_norm, above=0)
        if self.ema_decay is not None:
            checked["ema_decay"] = number("ema_decay", self.ema_decay, least=0, below=1)
        if self.patience is not None:
            checked["patience"] = whole("patience", self.patience, 1)
        if self.steps is not None:
            checked["steps"] = whole("steps", self.steps, 1)
        for name, setting in checked.items():  # NumPy's numbers as Python's, which a file can hold
            object.__setattr__(self, name, setting)
        if not isinstance(self.options, Mapping):
            raise InputError(f"options must be a dict, got {self.options!r}")


# --------------------------------------------------------------------------------------- learners


class Learner:
    """What `fit` needs of a learner: `step`, and whatever of the rest is not as it is here."""

    def __init__(self, model: Any, settings: TrainSettings) -> None:
        self.model, self.settings = model, settings
        self.epochs = settings.epochs
        self.batch_size: int | None = None  # None: all rows at once, in their order

    def start(self, x: Any, rng: Generator) -> None:
        """Look at the first rows x (B, …) before the first step."""

    def step(self, x: Any, y: Any, rng: Generator, scale: float) -> list[float]:
        """Learn from rows x (B, …) and labels y (B,) or None; returns the loss (or several)."""
        raise NotImplementedError

    def averaged(self) -> AbstractContextManager[None]:
        """Within, the model has the parameters to validate and to keep."""
        return nullcontext()

    def state_dict(self) -> Arrays:
        """What the learner itself remembers from step to step."""
        return {}

    def load_state_dict(self, arrays: Arrays) -> None:
        """Restore what `state_dict` gave."""


class GradientLearner(Learner):
    """A gradient step on each of the model's `objectives` in turn, with an optimiser of its own.

    A step of one leaves the others' parameters alone (GAN: discriminator, then generator).
    Objectives of the same parameters are one player's, who takes several steps with one optimiser.
    A model that has `advance()` is told when a step begins: what it follows without a gradient goes
    on. One that has `begin(x, rng)` is shown the first rows, to take its first parameters from
    them.
    """

    def __init__(self, model: Any, settings: TrainSettings) -> None:
        super().__init__(model, settings)
        self.batch_size = settings.batch_size
        self.objectives = objectives(model)
        self.players = players(self.objectives)
        firsts = [self.players.index(i) for i in range(max(self.players) + 1)]
        self.optimisers = [make_optimiser(self.objectives[i][1], settings) for i in firsts]
        self.ema = (
            None if settings.ema_decay is None else EMA(parameters(model), settings.ema_decay)
        )

    def start(self, x: Any, rng: Generator) -> None:
        """Parameters that depend on data."""
        if hasattr(self.model, "begin"):
            self.model.begin(x, rng)

    def step(self, x: Any, y: Any, rng: Generator, scale: float) -> list[float]:
        """One update for every objective; each player's mean loss. Diverged before a bad one."""
        if hasattr(self.model, "advance"):
            self.model.advance()
        losses: list[list[float]] = [[] for _ in self.optimisers]
        for (loss, params), i in zip(self.objectives, self.players, strict=True):
            descended = self._descend(loss, params, self.optimisers[i], (x, y, rng), scale)
            losses[i].append(descended)
        if self.ema is not None:
            self.ema.update()
        return [sum(own) / len(own) for own in losses]

    def _descend(
        self, loss: Any, params: Any, optimiser: Optimiser, batch: Any, scale: float
    ) -> float:
        optimiser.zero_grad()
        L = loss(*batch)
        if not abs(L.item()) <= HUGE:
            raise Diverged(f"{getattr(loss, '__name__', 'the loss')} is {L.item()}")
        L.backward()
        if self.settings.clip_norm is not None:
            optim.clip_grad_norm(params, self.settings.clip_norm)
        optimiser.step(scale)
        return float(L.item())

    def averaged(self) -> AbstractContextManager[None]:
        """The averaged weights, if there are."""
        return nullcontext() if self.ema is None else self.ema.swapped()

    def state_dict(self) -> Arrays:
        """The optimisers' buffers and the averaged weights."""
        parts = {str(i): o.state_dict() for i, o in enumerate(self.optimisers)}
        if self.ema is not None:
            parts["ema"] = self.ema.state_dict()
        return join(parts)

    def load_state_dict(self, arrays: Arrays) -> None:
        """Restore what `state_dict` gave."""
        for i, optimiser in enumerate(self.optimisers):
            optimiser.load_state_dict(part(str(i), arrays))
        if self.ema is not None:
            self.ema.load_state_dict(part("ema", arrays))


class EMLearner(Learner):
    """A step of EM on all rows: `model.em_step(x)` gives the mean log-likelihood before it."""

    def step(self, x: Any, y: Any, rng: Generator, scale: float) -> list[float]:
        """One E and one M step."""
        return [-float(self.model.em_step(x))]


class CountLearner(Learner):
    """All there is to learn in one look at all rows: `model.fit(x, y)`."""

    def __init__(self, model: Any, settings: TrainSettings) -> None:
        super().__init__(model, settings)
        self.epochs = 1

    def step(self, x: Any, y: Any, rng: Generator, scale: float) -> list[float]:
        """Count, then −log p of what was counted."""
        self.model.fit(x, y)
        loss = mean_loss(self.model, x, y, seed=self.settings.seed)
        return [] if loss is None else [loss]


def learner_of(model: Any, settings: TrainSettings | None = None) -> Learner:
    """What takes the model's training steps, by the methods that it has; a Learner is one.

    Raises InputError for an object that can't be trained.
    """
    if isinstance(model, Learner):
        return model
    ways = {"fit": CountLearner, "em_step": EMLearner, "loss": GradientLearner}
    ways |= {"objectives": GradientLearner, "log_prob": GradientLearner}
    make = next((way for method, way in ways.items() if hasattr(model, method)), None)
    if isinstance(model, type) or make is None:
        raise InputError(
            f"model must have one of {', '.join(ways)}, got "
            f"{'the class ' + model.__name__ if isinstance(model, type) else type(model).__name__}"
        )
    return make(model, settings or TrainSettings())


def make_optimiser(params: Mapping[str, Any], settings: TrainSettings) -> Optimiser:
    """The optimiser that the settings describe."""
    make: Any = OPTIMISERS[settings.optimiser]
    made: Optimiser = make(
        params, lr=settings.lr, weight_decay=settings.weight_decay, **settings.options
    )
    return made


def objectives(model: Any) -> list[tuple[Loss, Mapping[str, Tensor]]]:
    """What a model trains on: `model.objectives()` if it has several, else its loss.

    A list of pairs, a loss and the parameters by name that are to make it small.
    """
    if hasattr(model, "objectives"):
        return list(model.objectives())
    return [(loss_of(model), parameters(model))]


def players(objectives: list[tuple[Loss, Mapping[str, Tensor]]]) -> list[int]:
    """Whose each objective is, numbered as they come: one player has one set of parameters."""
    sets = [frozenset(map(id, params.values())) for _, params in objectives]
    order = list(dict.fromkeys(sets))
    return [order.index(one) for one in sets]


def loss_of(model: Any) -> Loss:
    """`model.loss`; for an explicit model without one, −mean log p(x), or −mean log p(x|y)."""
    return cast(Loss, model.loss) if hasattr(model, "loss") else _negative_log_prob(model)


def _negative_log_prob(model: Any) -> Loss:
    conditional = "y" in inspect.signature(model.log_prob).parameters

    def loss(x: Any, y: Any = None, rng: Generator | None = None) -> Any:
        return -np.mean(model.log_prob(some(x), y) if conditional else model.log_prob(some(x)))

    return loss


def can_validate(model: Any) -> bool:
    """Whether `mean_loss` has something to compute: a GAN's loss, say, measures nothing."""
    return _evaluation_of(model) is not None


def mean_loss(model: Any, x: Any, y: Any, *, seed: int = 0) -> float | None:
    """Mean over the rows of model.validation_loss, or −log_prob, or loss, whichever exists first.

    Draws the same noise at every call. None if there are no rows, or none of the three.
    """
    rng, loss = Generator(seed, stream="evaluate"), _evaluation_of(model)
    if loss is None or len(x) == 0:
        return None
    total = 0.0
    for start in range(0, len(x), _EVALUATED):
        rows = slice(start, start + _EVALUATED)
        with no_grad():
            total += float(value(loss(x[rows], take(y, rows), rng))) * len(x[rows])
    return total / len(x)


def _evaluation_of(model: Any) -> Loss | None:
    if hasattr(model, "validation_loss"):
        return cast(Loss, model.validation_loss)
    if hasattr(model, "log_prob"):
        return _negative_log_prob(model)
    return cast(Loss, model.loss) if hasattr(model, "loss") else None
