"""The readable truth: one file per model, and `MODELS`, the table that lists them.

A model that is not in the table is in no test, cannot be trained from the command line and is not
in the zoo's report; a row is all it takes to be in all three. Nothing heavy is imported here: a
row names its class as a string, and `Model.load` imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.data import Dataset

FAMILIES = {
    "exact likelihood": ("histogram", "class-conditional", "mixture", "autoregressive", "flow"),
    "bounded likelihood": ("latent", "diffusion"),
    "samples only": ("adversarial",),
}
"""What can be asked of a model, and which kinds can answer."""

KINDS = tuple(kind for kinds in FAMILIES.values() for kind in kinds)


@dataclass(frozen=True)
class Demo:
    """How the zoo trains a model on one data set.

    `arguments` go to the model's constructor (over those that follow from the data), `train` to
    `core.train.TrainSettings`; the two `quick_…` are laid over them by `genzoo zoo --quick`.
    """

    data: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    quick_arguments: Mapping[str, Any] = field(default_factory=dict)
    quick_train: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """One row of the table: what the model is, how it is trained, which laws it owes.

    `kind` decides the laws, `domain` how data sets are converted for it ("binary", "integer",
    "continuous" or "text"), `training` the learner ("counts", "em" or "gradient"), `tiny` is the
    configuration the laws are checked at, `parents` are the rows it grew out of, and
    `arguments(data)` gives the constructor arguments that follow from a data set.
    """

    name: str
    target: str
    kind: str
    rows: tuple[str, ...]
    domain: str
    training: str
    title: str
    year: int
    parents: tuple[str, ...]
    tiny: Mapping[str, Any]
    arguments: Callable[[Dataset], dict[str, Any]]
    demos: tuple[Demo, ...]

    @property
    def family(self) -> str:
        """The key of FAMILIES that the kind belongs to."""
        return next(name for name, kinds in FAMILIES.items() if self.kind in kinds)

    def load(self) -> type:
        """Import and return the model's class."""
        module, _, name = self.target.partition(":")
        cls: type = getattr(import_module(module), name)
        return cls


def _dim(data: Dataset) -> dict[str, Any]:
    return {"dim": data.train.x.shape[1]}


def _dim_and_box(data: Dataset) -> dict[str, Any]:
    """A box around the training data, a quarter wider on every side for data yet unseen."""
    low, high = float(data.train.x.min()), float(data.train.x.max())
    margin = 0.25 * (high - low)
    return {**_dim(data), "low": low - margin, "high": high + margin}


def _dim_and_classes(data: Dataset) -> dict[str, Any]:
    return {**_dim(data), "classes": data.classes}


def _dim_and_bounded(data: Dataset) -> dict[str, Any]:
    """Whether the data lie in [−1, 1], as pixels do."""
    return {**_dim(data), "bounded": bool(abs(data.train.x).max() <= 1)}


def _dim_and_levels(data: Dataset) -> dict[str, Any]:
    """How many evenly spaced values in [−1, 1] the data take, if at most 256; None otherwise."""
    import numpy as np

    values = np.unique(data.train.x)
    n = len(values)
    on_grid = 2 <= n <= 256 and np.allclose(values, np.linspace(-1, 1, n), atol=1e-5)
    return {**_dim(data), "levels": n if on_grid else None}


_GAN_TRAIN = {
    "lr": 2e-3,
    "options": {"betas": [0.0, 0.99]},  # momentum makes two players circle
    "schedule": "cosine",
    "ema_decay": 0.999,
}
_DDPM_TRAIN = {"schedule": "cosine", "warmup": 100, "ema_decay": 0.999}

_ROWS = [
    Model(
        name="histogram",
        target="reference.histogram:Histogram",
        kind="histogram",
        rows=("H1",),
        domain="continuous",
        training="counts",
        title="Histogram",
        year=1895,
        parents=(),
        tiny={"dim": 2, "bins": 6, "low": -3.0, "high": 3.0},
        arguments=_dim_and_box,
        demos=(Demo("eight-gaussians", arguments={"bins": 60, "alpha": 0.05}),),
    ),
    Model(
        name="markov-table",
        target="reference.markov:MarkovTable",
        kind="autoregressive",
        rows=("H2",),
        domain="binary",
        training="counts",
        title="Markov chain by counting",
        year=1906,
        parents=("histogram",),
        tiny={"dim": 6, "order": 2},
        arguments=_dim,
        demos=(Demo("digits", arguments={"order": 9, "alpha": 0.2}),),
    ),
    Model(
        name="naive-bayes",
        target="reference.naive_bayes:BernoulliNaiveBayes",
        kind="class-conditional",
        rows=("H3", "H4"),
        domain="binary",
        training="counts",
        title="Naive Bayes",
        year=1961,
        parents=("histogram",),
        tiny={"dim": 6, "classes": 3},
        arguments=_dim_and_classes,
        demos=(Demo("digits", arguments={"alpha": 0.01}),),
    ),
    Model(
        name="gaussian-naive-bayes",
        target="reference.gaussian_naive_bayes:GaussianNaiveBayes",
        kind="class-conditional",
        rows=("H3", "H4"),
        domain="continuous",
        training="counts",
        title="Gaussian naive Bayes",
        year=1973,
        parents=("naive-bayes",),
        tiny={"dim": 2, "classes": 3},
        arguments=_dim_and_classes,
        demos=(Demo("eight-gaussians"),),
    ),
    Model(
        name="bernoulli-mixture",
        target="reference.bernoulli_mixture:BernoulliMixture",
        kind="mixture",
        rows=("L1",),
        domain="binary",
        training="em",
        title="Bernoulli mixture by EM",
        year=1977,
        parents=("naive-bayes",),
        tiny={"dim": 6, "components": 3},
        arguments=_dim,
        demos=(
            Demo(
                "digits",
                arguments={"components": 80, "alpha": 0.1},
                train={"epochs": 60},
                quick_train={"epochs": 10},
            ),
        ),
    ),
    Model(
        name="fvsbn",
        target="reference.fvsbn:FVSBN",
        kind="autoregressive",
        rows=("A1",),
        domain="binary",
        training="gradient",
        title="FVSBN",
        year=1996,
        parents=("markov-table",),
        tiny={"dim": 6},
        arguments=_dim,
        demos=(
            Demo(
                "digits",
                train={
                    "epochs": 40,
                    "batch_size": 32,
                    "optimiser": "adamw",
                    "lr": 0.03,
                    "weight_decay": 0.03,
                    "schedule": "cosine",
                    "ema_decay": 0.99,
                },
                quick_train={"epochs": 3},
            ),
        ),
    ),
    Model(
        name="nade",
        target="reference.nade:NADE",
        kind="autoregressive",
        rows=("A2",),
        domain="binary",
        training="gradient",
        title="NADE",
        year=2011,
        parents=("fvsbn",),
        tiny={"dim": 6, "hidden": 5},
        arguments=_dim,
        demos=(
            Demo(
                "digits",
                arguments={"hidden": 100},
                train={
                    "epochs": 30,
                    "batch_size": 32,
                    "optimiser": "adamw",
                    "lr": 0.05,
                    "weight_decay": 0.05,
                    "schedule": "cosine",
                    "ema_decay": 0.99,
                },
                quick_train={"epochs": 2},
            ),
        ),
    ),
    Model(
        name="made",
        target="reference.made:MADE",
        kind="autoregressive",
        rows=("A3",),
        domain="binary",
        training="gradient",
        title="MADE",
        year=2015,
        parents=("nade",),
        tiny={"dim": 6, "hidden": [16]},
        arguments=_dim,
        demos=(
            Demo(
                "digits",
                arguments={"hidden": [500], "masks": 16},
                train={
                    "epochs": 150,
                    "batch_size": 32,
                    "optimiser": "adamw",
                    "lr": 0.01,
                    "weight_decay": 0.03,
                    "schedule": "cosine",
                    "ema_decay": 0.995,
                },
                quick_train={"epochs": 3},
            ),
        ),
    ),
    Model(
        name="vae",
        target="reference.vae:VAE",
        kind="latent",
        rows=("L5",),
        domain="binary",
        training="gradient",
        title="Variational autoencoder",
        year=2013,
        parents=("bernoulli-mixture",),
        tiny={"dim": 6, "latent": 1, "hidden": [8]},
        arguments=_dim,
        demos=(
            Demo(
                "digits",
                train={"epochs": 150, "batch_size": 32, "lr": 3e-3, "schedule": "cosine"},
                quick_train={"epochs": 10},
            ),
        ),
    ),
    Model(
        name="real-nvp",
        target="reference.real_nvp:RealNVP",
        kind="flow",
        rows=("N1",),
        domain="continuous",
        training="gradient",
        title="RealNVP",
        year=2016,
        parents=(),
        tiny={"dim": 2, "layers": 4, "hidden": [8]},
        arguments=_dim,
        demos=(
            Demo(
                "eight-gaussians",
                train={
                    "epochs": 80,
                    "batch_size": 512,
                    "lr": 3e-3,
                    "options": {"betas": [0.9, 0.99]},
                    "schedule": "cosine",
                    "warmup": 20,
                    "clip_norm": 10.0,
                    "ema_decay": 0.995,
                },
                quick_train={"epochs": 6},
            ),
        ),
    ),
    Model(
        name="gan",
        target="reference.gan:GAN",
        kind="adversarial",
        rows=("G1",),
        domain="continuous",
        training="gradient",
        title="Generative adversarial network",
        year=2014,
        parents=(),
        tiny={"dim": 2, "latent": 2, "hidden": [8]},
        arguments=_dim_and_bounded,
        demos=(
            Demo(
                "digits",
                arguments={"latent": 64, "hidden": [256, 256], "gamma": 1.0},
                train={**_GAN_TRAIN, "epochs": 240, "batch_size": 64},
                quick_train={"epochs": 5},
            ),
            Demo(
                "eight-gaussians",
                arguments={"latent": 8, "hidden": [96, 96, 96], "gamma": 0.1},
                train={**_GAN_TRAIN, "epochs": 32, "batch_size": 128},
                quick_train={"epochs": 1},
            ),
        ),
    ),
    Model(
        name="ddpm",
        target="reference.ddpm:DDPM",
        kind="diffusion",
        rows=("D1", "D2", "D3"),
        domain="continuous",
        training="gradient",
        title="Denoising diffusion",
        year=2020,
        parents=("vae",),
        tiny={"dim": 2, "steps": 8, "hidden": 8, "blocks": 1},
        arguments=_dim_and_levels,
        demos=(
            Demo(
                "digits",
                arguments={"hidden": 256, "blocks": 2, "steps": 200},
                train={**_DDPM_TRAIN, "epochs": 240, "batch_size": 100, "lr": 2e-3},
                quick_train={"epochs": 5},
            ),
            Demo(
                "eight-gaussians",
                arguments={"hidden": 96, "blocks": 2, "steps": 100},
                train={**_DDPM_TRAIN, "epochs": 60, "batch_size": 200, "lr": 4e-3},
                quick_train={"epochs": 1},
            ),
        ),
    ),
]

MODELS: dict[str, Model] = {row.name: row for row in _ROWS}
