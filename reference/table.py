"""What a row of `MODELS` is; what the model behind it owes stands in `owes`.

A model that is not in the table is in no test, cannot be trained from the command line and is not
in the zoo's report; a row is all it takes to be in all three. Nothing heavy is imported here: a
row names its class as a string, and `Model.load` imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.data import Dataset

FAMILIES = {
    "exact likelihood": (
        "histogram",
        "class-conditional",
        "mixture",
        "linear",
        "autoregressive",
        "encoder-decoder",
        "flow",
    ),
    "bounded likelihood": ("latent", "dequantised", "diffusion"),
    "samples only": ("adversarial",),
    "reconstructs only": ("autoencoder",),
    "classifies only": ("discriminative",),
}
"""What can be asked of a model, and which kinds can answer."""

KINDS = tuple(kind for kinds in FAMILIES.values() for kind in kinds)
QUICK = 30
"""`genzoo zoo --quick` trains for a 30th of the epochs."""


@dataclass(frozen=True)
class Demo:
    """How the zoo trains a model on one data set.

    `arguments` go to the model's constructor (over those that follow from the data), `train` to
    `core.train.TrainSettings`. A `full` one takes longer: `genzoo zoo --full` trains it as well.
    """

    data: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    full: bool = False

    @property
    def quick(self) -> dict[str, Any]:
        """`train`, cut short to see it run."""
        return {**self.train, "epochs": max(1, self.train.get("epochs", 1) // QUICK)}


@dataclass(frozen=True)
class Published:
    """A figure of a paper's, and the settings by which `genzoo reproduce` comes to its own.

    figure: of the test part, in `unit`; None where it stands beside others only. source: who
    published it, and of what. unit: "nats" a sample, with `characters` a character; "bits" a
    dimension; "gap", the nats above the density that made the data, on the same points; "frechet",
    the distance of samples of digits in a classifier's features; "missed", the percentage of them
    that are not of the class asked for; "wrong", the percentage of greedy answers to what is given
    that are not the data's.

    What is required of ours: at most figure · (1 + within), or `most`, or the same `digits`, or
    less than the baseline `beats` of `judges.likelihood`; nothing if none of these is given.

    arguments, train: as in a Demo. choose: of some arguments the values of which validation picks
    the best. seeds: ours is the mean of so many runs. minutes: about, on one core with Numba.

    data: read as the model takes them, or in another `domain`; text in rows of `block` characters;
    of images only the k × k pixels in the `centre`; `whole`: all parts are trained on and scored;
    `parts`: those that are scored, as one. variant: tells it from others of this model and data.
    """

    model: str
    data: str
    figure: float | None
    source: str
    minutes: float
    arguments: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    choose: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    seeds: int = 1
    within: float | None = None
    most: float | None = None
    digits: int | None = None
    beats: str | None = None
    unit: str = "nats"
    characters: bool = False
    domain: str | None = None
    block: int = 64
    centre: int | None = None
    whole: bool = False
    parts: tuple[str, ...] = ("test",)
    variant: str = ""
    samples: int | None = None

    @property
    def name(self) -> str:
        """What `genzoo reproduce` calls it."""
        return "-".join(word for word in (self.model, self.data, self.variant) if word)


@dataclass(frozen=True)
class Model:
    """One row of the table: what the model is, how it is trained, which laws it owes.

    `target` is "module:class"; `kind` decides the laws; `rows` are of MISSION.md, the first names
    the family's folder; `domain` says how data sets are converted for it ("binary", "integer",
    "continuous" or "text"); `year` is that of the first public version (arXiv's, where it was
    there first); `parents` are the rows it grew out of; `tiny` is the configuration the laws are
    checked at; `arguments(data)` gives the constructor arguments that follow from a data set;
    `shape` is that of the samples it takes (core.data.SHAPES): flat rows unless said.
    """

    name: str
    target: str
    kind: str
    rows: tuple[str, ...]
    domain: str
    title: str
    year: int
    parents: tuple[str, ...]
    tiny: Mapping[str, Any]
    arguments: Callable[[Dataset], dict[str, Any]]
    demos: tuple[Demo, ...]
    shape: str = "flat"

    @property
    def family(self) -> str:
        """The key of FAMILIES that the kind belongs to."""
        return next(name for name, kinds in FAMILIES.items() if self.kind in kinds)

    @property
    def training(self) -> str:
        """What learns it: "counts" (it has `fit`), "em" (`em_step`), or "gradient"."""
        cls = self.load()
        return next((how for how, m in LEARNS_BY.items() if hasattr(cls, m)), "gradient")

    def load(self) -> type:
        """Import and return the model's class."""
        module, _, name = self.target.partition(":")
        cls: type = getattr(import_module(module), name)
        return cls


LEARNS_BY = {"counts": "fit", "em": "em_step"}
"""Method by which a class says that it needs no gradient."""


# Constructor arguments that follow from a data set


def dim(data: Dataset) -> dict[str, Any]:
    """The numbers in a sample."""
    return {"dim": data.dim}


def dim_and_vocabulary(data: Dataset) -> dict[str, Any]:
    """Of text: how many tokens there are, and which one ends a row."""
    return {**dim(data), "levels": len(data.vocabulary or ()), "end": data.end}


def dim_and_box(data: Dataset) -> dict[str, Any]:
    """A box around the training data, on each axis a quarter wider at both ends for data unseen."""
    low, high = data.train.x.min(axis=0), data.train.x.max(axis=0)
    margin = 0.25 * (high - low)
    margin[high == low] = 0.5  # a column that is the same throughout still needs a cell
    return {**dim(data), "low": (low - margin).tolist(), "high": (high + margin).tolist()}


def dim_and_classes(data: Dataset) -> dict[str, Any]:
    """The number of classes too."""
    return {**dim(data), "classes": data.classes}


def dim_classes_and_levels(data: Dataset) -> dict[str, Any]:
    """The number of values that each number takes too."""
    return {**dim_and_classes(data), "levels": data.levels}


def dim_classes_and_examples(data: Dataset) -> dict[str, Any]:
    """Room for all rows that are trained on too."""
    return {**dim_and_classes(data), "examples": len(data.train.x)}


def dim_and_values(data: Dataset) -> dict[str, Any]:
    """The number of values that each number takes too."""
    return {**dim(data), "levels": data.levels}


def shape_and_values(data: Dataset) -> dict[str, Any]:
    """The shape of an image, (C, H, W), and the number of values that each pixel takes."""
    return {"shape": list(data.train.x.shape[1:]), "levels": data.levels}


def shape(data: Dataset) -> dict[str, Any]:
    """The shape of an image, (C, H, W)."""
    return {"shape": list(data.train.x.shape[1:])}


def shape_and_classes(data: Dataset) -> dict[str, Any]:
    """The number of classes too."""
    return {**shape(data), "classes": data.classes}


def shape_and_palette(data: Dataset) -> dict[str, Any]:
    """At most 32 colours that the training images are painted with too."""
    from reference.autoregressive.palette import learned_palette  # as in `dim_and_levels`

    return {**shape_and_values(data), "palette": learned_palette(data.train.x, 32).tolist()}


def dim_and_bounded(data: Dataset) -> dict[str, Any]:
    """Whether the data lie in [−1, 1], as pixels do."""
    return {**dim(data), "bounded": bool(abs(data.train.x).max() <= 1)}


def dim_and_levels(data: Dataset) -> dict[str, Any]:
    """How many evenly spaced values in [−1, 1] the data take, if at most 256; None otherwise."""
    return {**dim(data), "levels": grid_levels(data)}


def shape_and_levels(data: Dataset) -> dict[str, Any]:
    """The shape of an image, (C, H, W), and the number of its levels, as `dim_and_levels`."""
    return {"shape": list(data.train.x.shape[1:]), "levels": grid_levels(data)}


def grid_levels(data: Dataset) -> int | None:
    """How many evenly spaced values in [−1, 1] the data take, if at most 256; None otherwise."""
    import numpy as np  # the command line answers --help without it

    values = np.unique(data.train.x)
    n = len(values)
    on_grid = 2 <= n <= 256 and np.allclose(values, np.linspace(-1, 1, n), atol=1e-5)
    return n if on_grid else None


# Training presets

ADAMW_32 = {"batch_size": 32, "optimiser": "adamw", "schedule": "cosine"}
"""For small sets of digits: much decay, little data."""
TWO_PLAYERS = {"lr": 2e-3, "options": {"betas": [0.0, 0.99]}, "schedule": "cosine"}
"""Adam without momentum, which makes two players circle."""
WARM_COSINE = {"schedule": "cosine", "warmup": 100, "ema_decay": 0.999}
