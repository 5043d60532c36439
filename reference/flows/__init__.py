"""Normalizing flows: an invertible map between data and noise, and its determinant.

    log p(x) = log p_z(f(x)) + log |det ∂f/∂x|

A flow is exact both ways: a density by f, a sample by its inverse. MISSION rows N1, N2.
"""

from reference.table import Demo, Model, dim

ROWS = [
    Model(
        "real-nvp", "reference.flows.real_nvp:RealNVP", "flow", ("N1",), "continuous",
        title="RealNVP", year=2016, parents=(),
        tiny={"dim": 2, "layers": 4, "hidden": [8]},
        arguments=dim,
        demos=(Demo("eight-gaussians", train={
            "epochs": 80, "batch_size": 512, "lr": 3e-3, "options": {"betas": [0.9, 0.99]},
            "schedule": "cosine", "warmup": 20, "clip_norm": 10.0, "ema_decay": 0.995}),),
    ),
]  # fmt: skip
