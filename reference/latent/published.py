"""Figures of latent-variable models, beside published ones (`genzoo reproduce`).

The published ones are as Germain et al. 2015 (MADE) collect them; those of autoencoders are of
Burda et al. 2015, appendix D: one stochastic layer, bounds from 5 000 samples.
"""

from typing import Any

from reference.table import Published

_FROM = "Germain et al. 2015"
_EM: Any = {"within": 0.01, "train": {"epochs": 300, "patience": 15}}
_BURDA: Any = {"latent": 50, "hidden": [200, 200]}
_ADAM: Any = {
    "batch_size": 100,
    "lr": 1e-3,
    "schedule": "cosine",
    "ema_decay": 0.999,
    "checkpoint_seconds": 120,
}

PUBLISHED = [
    Published(
        "bernoulli-mixture", "mushrooms", 14.46, _FROM, 0.1,
        {"components": 100}, choose={"alpha": [0.003, 0.01, 0.03]}, **_EM,
    ),
    Published(
        "bernoulli-mixture", "dna", 98.19, _FROM, 0.1,
        {"alpha": 0.1}, choose={"components": [10, 15, 20, 30]}, **_EM,
    ),
    Published(
        "bernoulli-mixture", "nips", 290.02, _FROM, 0.1,
        {"alpha": 1.0}, choose={"components": [5, 7, 10, 15, 25]}, **_EM,
    ),
    Published(
        "bernoulli-mixture", "binarized-mnist", None, "beside the table of all states", 1,
        {"components": 100, "alpha": 0.1}, train={"epochs": 100, "patience": 10},
        beats="independent Bernoulli", domain="binary", centre=4, variant="centre",
    ),
    Published(
        "vae", "binarized-mnist", 88.71, "Burda et al. 2015, VAE", 60,
        _BURDA, most=89.5, samples=5000, train={**_ADAM, "epochs": 300},
    ),
    Published(
        "vae", "binarized-mnist", 87.10, "Burda et al. 2015, IWAE with k = 50", 60,
        {**_BURDA, "importance": 10}, most=87.5, samples=5000, train={**_ADAM, "epochs": 120},
        variant="importance-weighted",
    ),
]  # fmt: skip
