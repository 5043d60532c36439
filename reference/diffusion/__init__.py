"""Diffusion: data become noise by small steps, and a network learns to undo each.

    q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I)        from data to noise, no learning
    p(x_{t−1} | x_t) = N(μ_θ(x_t, t), σ_t² I)      from noise to data

Read `schedule` (the ᾱ), `diffusion` (the chain, its bound, training), then `heads` (what a network
says of the data), `bound`, and `samplers`; `ddpm` is the first whole model. Then other denoisers,
`unet` and `dit`; other ways from noise to data, `solvers` and `langevin`; and samples under a
condition, `guidance`. One step of sampling is an operation of its own, in
`reference/operations/diffusion_step.py`. MISSION rows D1 to D8.
"""

from reference.diffusion.published import PUBLISHED
from reference.table import WARM_COSINE, Demo, Model, dim_and_levels, shape_and_levels

__all__ = ["PUBLISHED", "ROWS"]

ROWS = [
    Model(
        "ddpm", "reference.diffusion.ddpm:DDPM", "diffusion", ("D1", "D2", "D3"), "continuous",
        title="Denoising diffusion", year=2020, parents=("vae",),
        tiny={"dim": 2, "steps": 8, "hidden": 8, "blocks": 1},
        arguments=dim_and_levels,
        demos=(
            Demo("digits", {"hidden": 256, "blocks": 1, "steps": 50, "prediction": "levels",
                            "variance": "learned"},
                 {**WARM_COSINE, "epochs": 40, "batch_size": 100, "lr": 2e-3}),
            Demo("eight-gaussians", {"hidden": 96, "blocks": 2, "steps": 100},
                 {**WARM_COSINE, "epochs": 60, "batch_size": 200, "lr": 4e-3}),
        ),
    ),
    Model(
        "ddpm-unet", "reference.diffusion.unet:DDPMUNet", "diffusion", ("D4", "D2"), "continuous",
        title="DDPM with a U-Net", year=2020, parents=("ddpm",),
        tiny={"shape": [1, 3, 2], "steps": 4, "channels": [4, 4], "blocks": 1},
        arguments=shape_and_levels,
        demos=(
            Demo("digits", {"channels": [16, 32], "steps": 50, "prediction": "levels",
                            "variance": "learned"},
                 {**WARM_COSINE, "epochs": 30, "batch_size": 50, "lr": 2e-3}, full=True),
        ),
        shape="image",
    ),
    Model(
        "dit", "reference.diffusion.dit:DiT", "diffusion", ("D4", "D2"), "continuous",
        title="Diffusion transformer", year=2022, parents=("ddpm-unet", "transformer"),
        tiny={"shape": [1, 3, 2], "steps": 4, "width": 8, "layers": 1, "heads": 2},
        arguments=shape_and_levels,
        demos=(
            Demo("digits", {"width": 64, "layers": 3, "steps": 50, "prediction": "levels",
                            "variance": "learned"},
                 {**WARM_COSINE, "epochs": 40, "batch_size": 50, "lr": 2e-3}, full=True),
        ),
        shape="image",
    ),
]  # fmt: skip
