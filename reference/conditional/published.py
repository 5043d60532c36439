"""Figures under a condition (`genzoo reproduce`): how many held-out prompts are answered wrongly.

The data sets are ours, and so there is nothing published to stand beside: what is required is said.
"""

from reference.table import Published

TEXT = {"batch_size": 64, "optimiser": "adamw", "schedule": "cosine", "warmup": 50,
        "clip_norm": 10.0}  # fmt: skip
NUMBERS = {**TEXT, "epochs": 6, "lr": 6e-3}

_HELD_OUT = "held-out prompts"

PUBLISHED = [
    Published(
        "translator", "numbers", None, _HELD_OUT, 1, {"layers": 2, "width": 48}, NUMBERS,
        unit="wrong", most=1.0,
    ),
    Published(
        "translator", "dates", None, _HELD_OUT, 0.2, {"layers": 1, "width": 32},
        {**TEXT, "epochs": 1, "lr": 8e-3}, unit="wrong", most=1.0,
    ),
]  # fmt: skip
