"""Figures of diffusion models (`genzoo reproduce`).

Of 17-level digits nobody has published one: the bound stands beside what independent pixels have,
each with its own frequencies. Sizes and epochs were picked on validation data.
"""

from reference.table import WARM_COSINE, Published

PUBLISHED = [
    Published(
        "ddpm", "digits", 107.4, "independent pixels, of these digits", 1,
        {"hidden": 256, "blocks": 2, "steps": 50, "prediction": "levels", "variance": "learned"},
        {**WARM_COSINE, "epochs": 120, "batch_size": 100, "lr": 2e-3}, most=95,
    ),
]  # fmt: skip
