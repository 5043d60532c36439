"""Adversarial models on 28 × 28 digits (`genzoo reproduce`): figures of samples, beside real data.

None of the papers has these figures in these features: what is required is of the class asked for.
"""

from typing import Any

from reference.table import Published

_BESIDE = "beside fresh real digits"
_LONG: dict[str, Any] = {"schedule": "cosine", "ema_decay": 0.999, "checkpoint_seconds": 60}
_CONVOLUTIONAL: dict[str, Any] = {
    **_LONG, "epochs": 40, "batch_size": 100, "lr": 5e-4, "options": {"betas": [0.5, 0.99]},
}  # fmt: skip

PUBLISHED = [
    Published(
        "dcgan", "mnist", None, _BESIDE, 45, {"latent": 64, "width": 32}, _CONVOLUTIONAL,
        unit="frechet",
    ),
    Published(
        "conditional-gan", "mnist", None, _BESIDE, 40, {"latent": 64, "width": 32},
        {**_CONVOLUTIONAL, "epochs": 30}, unit="missed", most=5.0,
    ),
    Published(
        "stylegan", "mnist", None, _BESIDE, 45, {"latent": 64, "width": 8},
        {**_LONG, "epochs": 20, "batch_size": 100, "lr": 2e-3, "options": {"betas": [0.0, 0.99]}},
        unit="frechet",
    ),
]  # fmt: skip
