"""Normalizing flows: an invertible map between data and noise, and its determinant.

    log p(x) = log p_z(f(x)) + log |det ∂f/∂x|

A flow is exact both ways: a density by f, a sample by its inverse. Read `flow` (what all of them
are), `planar` (one bend after another), `nice` (half of x shifts the other half), `real_nvp` (and
scales it), `spline_flow` (and bends it), `maf` (an autoregressive model as a flow) and `iaf` (that
one turned round).

For images: `squeeze`, `multi_scale` and `image_flow` (what makes a flow one of pixels), then
`multi_scale_real_nvp`, and `actnorm`, `invertible_1x1` and `gaussianise` before `glow`.
MISSION rows N1, N2.
"""

from reference.flows.published import PUBLISHED
from reference.table import Demo, Model, dim, shape_and_values

__all__ = ["PUBLISHED", "ROWS"]

CLIMB = {"batch_size": 500, "lr": 5e-3, "schedule": "cosine", "clip_norm": 10.0}
DIGITS = {"batch_size": 50, "lr": 5e-3, "schedule": "cosine", "clip_norm": 100.0, "ema_decay": 0.99}

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
    Model(
        "nice", "reference.flows.nice:NICE", "flow", ("N1",), "continuous",
        title="NICE", year=2014, parents=(),
        tiny={"dim": 2, "layers": 4, "hidden": [8]},
        arguments=dim,
        demos=(Demo("two-moons", {"layers": 6, "hidden": [32]}, {**CLIMB, "epochs": 6}),),
    ),
    Model(
        "planar-flow", "reference.flows.planar:PlanarFlow", "flow", ("N1",), "continuous",
        title="Planar flow", year=2015, parents=(),
        tiny={"dim": 2, "layers": 4},
        arguments=dim,
        demos=(Demo("two-moons", {"layers": 8}, {**CLIMB, "epochs": 6}),),
    ),
    Model(
        "maf", "reference.flows.maf:MAF", "flow", ("N1", "A3"), "continuous",
        title="MAF", year=2017, parents=("made", "real-nvp"),
        tiny={"dim": 2, "layers": 3, "hidden": [8]},
        arguments=dim,
        demos=(Demo("pinwheel", {"layers": 10, "hidden": [64]}, {**CLIMB, "epochs": 12}),),
    ),
    Model(
        "iaf", "reference.flows.iaf:IAF", "flow", ("N1",), "continuous",
        title="IAF", year=2016, parents=("made",),
        tiny={"dim": 2, "layers": 3, "hidden": [8]},
        arguments=dim,
        demos=(Demo("two-moons", {"layers": 4, "hidden": [32]}, {**CLIMB, "epochs": 6}),),
    ),
    Model(
        "spline-flow", "reference.flows.spline_flow:SplineFlow", "flow", ("N1",), "continuous",
        title="Spline flow", year=2019, parents=("real-nvp",),
        tiny={"dim": 2, "layers": 3, "bins": 4, "hidden": [8]},
        arguments=dim,
        demos=(Demo("checkerboard", {"layers": 4, "hidden": [64, 64]}, {**CLIMB, "epochs": 12}),),
    ),
    Model(
        "multi-scale-real-nvp", "reference.flows.multi_scale_real_nvp:MultiScaleRealNVP",
        "dequantised", ("N1",), "integer",
        title="Multi-scale RealNVP", year=2016, parents=("real-nvp",),
        tiny={"shape": [1, 2, 2], "levels": 3, "scales": 1, "width": 5},
        arguments=shape_and_values,
        demos=(Demo("digits", {"width": 16}, {**DIGITS, "epochs": 6}),),
        shape="image",
    ),
    Model(
        "glow", "reference.flows.glow:Glow", "dequantised", ("N1",), "integer",
        title="Glow", year=2018, parents=("multi-scale-real-nvp",),
        tiny={"shape": [1, 2, 2], "levels": 3, "scales": 1, "steps": 2, "width": 3},
        arguments=shape_and_values,
        demos=(Demo("digits", {"steps": 4, "width": 24}, {**DIGITS, "epochs": 10}),),
        shape="image",
    ),
]  # fmt: skip
