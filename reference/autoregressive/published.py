"""Figures of autoregressive models, beside published ones (`genzoo reproduce`).

The published ones are as Germain et al. 2015 (MADE) collect them. Widths, rates and weight decay
were picked on validation data, as epochs are.
"""

from reference.table import ADAMW_32, Published

_FROM = "Germain et al. 2015"
_UCI = {**ADAMW_32, "ema_decay": 0.99}
_MNIST = {**ADAMW_32, "batch_size": 100, "ema_decay": 0.999}
_MADE_UCI = {**ADAMW_32, "ema_decay": 0.995, "epochs": 100}

_NANOGPT = {
    "optimiser": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.1,
    "options": {"betas": [0.9, 0.99]},
    "schedule": "cosine",
    "warmup": 100,
}
"""nanoGPT's, but for the clip: its 1.0 is of the mean over a block's 64 characters, ours a sum."""

PUBLISHED = [
    Published(
        "fvsbn", "mushrooms", 10.27, _FROM, 0.3, within=0.01,
        train={**_UCI, "epochs": 200, "lr": 0.03, "weight_decay": 0.003},
    ),
    Published(
        "fvsbn", "dna", 83.64, _FROM, 0.1, within=0.01,
        train={**_UCI, "epochs": 40, "lr": 0.03, "weight_decay": 0.1},
    ),
    Published(
        "fvsbn", "nips", 276.88, _FROM, 0.1, within=0.01,
        train={**_UCI, "epochs": 40, "lr": 0.01, "weight_decay": 1.0},
    ),
    Published(
        "nade", "mushrooms", 9.81, _FROM, 0.2, {"hidden": 200}, within=0.015,
        train={**_UCI, "epochs": 60, "lr": 0.03, "weight_decay": 0.03},
    ),
    Published(
        "nade", "dna", 84.81, _FROM, 0.2, {"hidden": 200}, within=0.015,
        train={**_UCI, "epochs": 60, "lr": 0.01, "weight_decay": 0.1},
    ),
    Published(
        "nade", "nips", 273.08, _FROM, 0.2, {"hidden": 200}, within=0.015,
        train={**_UCI, "epochs": 60, "lr": 0.01, "weight_decay": 1.0},
    ),
    Published(
        "made", "mushrooms", 9.68, _FROM, 0.5, {"hidden": [500]}, within=0.02,
        train={**_MADE_UCI, "lr": 0.01, "weight_decay": 0.1},
    ),
    Published(
        "made", "dna", 83.63, _FROM, 2, {"hidden": [2000], "masks": 16}, within=0.02,
        train={**_MADE_UCI, "epochs": 150, "batch_size": 50, "lr": 0.003, "weight_decay": 1.0},
    ),
    Published(
        "made", "nips", 280.25, _FROM, 1, {"hidden": [500], "masks": 16}, within=0.02,
        train={**_MADE_UCI, "lr": 0.003, "weight_decay": 1.0},
    ),
    Published(
        "fvsbn", "binarized-mnist", 97.45, _FROM, 2, most=98,
        train={"epochs": 40, "lr": 0.02, "optimiser": "sgd", "options": {"momentum": 0.9},
               "schedule": "cosine", "ema_decay": 0.999},
    ),
    Published(
        "nade", "binarized-mnist", 88.33, _FROM, 13, {"hidden": 500}, most=88.9,
        train={**_MNIST, "epochs": 50, "lr": 0.002, "weight_decay": 0.01, "warmup": 200,
               "checkpoint_seconds": 60},
    ),
    Published(
        "made", "binarized-mnist", 88.40, _FROM, 20, {"hidden": [8000]}, most=88.9,
        train={**_MNIST, "epochs": 24, "batch_size": 250, "lr": 0.001, "weight_decay": 0.1,
               "warmup": 100, "ema_decay": 0.99, "checkpoint_seconds": 120},
        variant="8000",
    ),
    Published(
        "made", "binarized-mnist", 86.64, _FROM, 60,
        {"hidden": [2000, 2000], "masks": 32}, most=88,
        train={**_MNIST, "epochs": 60, "batch_size": 250, "lr": 0.001, "weight_decay": 0.01,
               "warmup": 100, "checkpoint_seconds": 120},
        variant="2000-2000",
    ),
    Published(
        "transformer", "shakespeare", 1.88, "Karpathy 2022, nanoGPT's recipe for a CPU", 18,
        {"layers": 4, "heads": 4, "width": 128}, most=1.90, seeds=3, characters=True,
        parts=("validation", "test"),
        train={**_NANOGPT, "epochs": 2, "steps": 2000, "batch_size": 12, "clip_norm": 64.0,
               "checkpoint_seconds": 60},
    ),
    Published(
        "transformer", "names", 1.92, "Karpathy 2022, makemore", 20,
        {"layers": 4, "heads": 4, "width": 64}, most=2.0, characters=True,
        train={**_NANOGPT, "epochs": 20, "batch_size": 64, "lr": 2e-3, "clip_norm": 10.0,
               "checkpoint_seconds": 60},
    ),
    Published(
        "gated-pixelcnn", "binarized-mnist", 81.30, "van den Oord et al. 2016, PixelCNN", 100,
        {"features": 32, "layers": 7}, most=85,
        train={"epochs": 6, "batch_size": 20, "lr": 0.002, "schedule": "cosine", "warmup": 200,
               "ema_decay": 0.999, "clip_norm": 10.0, "checkpoint_seconds": 120},
    ),
]  # fmt: skip
