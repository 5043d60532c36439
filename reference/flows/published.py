"""Figures of flows (`genzoo reproduce`): of pixels and of points.

Of points the density is known that made them; a figure is how many nats a model is above it, on the
same points, and 0 is the least there is. Sizes, rates and epochs were picked on validation data.
"""

from reference.table import Published

_TRUTH = "the density that made the points"
_CLIMB = {"batch_size": 500, "schedule": "cosine", "clip_norm": 10.0, "ema_decay": 0.995}
_COUPLINGS = {**_CLIMB, "epochs": 80, "lr": 3e-3, "warmup": 20, "options": {"betas": [0.9, 0.99]}}
_SPLINES = {**_CLIMB, "epochs": 40, "lr": 5e-3}

PUBLISHED = [
    Published(
        "real-nvp", "eight-gaussians", 0.0, _TRUTH, 3, {"layers": 16}, most=0.06, unit="gap",
        train=_COUPLINGS,
    ),
    Published(
        "maf", "eight-gaussians", 0.0, _TRUTH, 3, {"layers": 12}, most=0.06, unit="gap",
        train={**_CLIMB, "epochs": 80, "lr": 3e-3, "warmup": 20},
    ),
    Published(
        "spline-flow", "eight-gaussians", 0.0, _TRUTH, 1, {"layers": 4}, most=0.03, unit="gap",
        train=_SPLINES,
    ),
    Published(
        "real-nvp", "checkerboard", 0.0, _TRUTH, 3, {"layers": 16}, most=0.30, unit="gap",
        train=_COUPLINGS,
    ),
    Published(
        "spline-flow", "checkerboard", 0.0, _TRUTH, 1, {"layers": 4}, most=0.10, unit="gap",
        train=_SPLINES,
    ),
    Published(
        "glow", "mnist", 1.06, "Grathwohl et al. 2018, RealNVP", 40, {}, most=1.30, unit="bits",
        train={"epochs": 10, "batch_size": 50, "lr": 1e-3, "schedule": "cosine", "warmup": 200,
               "clip_norm": 100.0, "ema_decay": 0.999, "checkpoint_seconds": 60},
    ),
]  # fmt: skip
