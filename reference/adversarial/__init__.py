"""Adversarial models: a generator that a discriminator can't tell from data.

    min_G max_D E_data log D(x) + E_z log (1 − D(G(z)))  =  2·JS(p_data ‖ p_G) − ln 4  at the best D

There are samples, and no likelihood: an implicit model. MISSION rows G1 to G4.
"""

from typing import Any

from reference.adversarial.published import PUBLISHED
from reference.table import (
    TWO_PLAYERS,
    Demo,
    Model,
    dim_and_bounded,
    shape,
    shape_and_classes,
)

__all__ = ["PUBLISHED", "ROWS"]

CONVOLUTIONAL: dict[str, Any] = {
    "lr": 3e-3, "options": {"betas": [0.5, 0.99]}, "schedule": "cosine", "ema_decay": 0.98,
    "batch_size": 32, "epochs": 14,
}  # fmt: skip
"""Radford et al. 2015, with larger steps, for the few that small sets take."""
WASSERSTEIN: dict[str, Any] = {
    "lr": 1e-3, "options": {"betas": [0.0, 0.9]}, "schedule": "cosine", "ema_decay": 0.99,
}  # fmt: skip
"""Gulrajani et al. 2017, Algorithm 1, with larger steps that end small."""
STYLED: dict[str, Any] = {
    "lr": 2e-3, "options": {"betas": [0.0, 0.99]}, "schedule": "cosine", "ema_decay": 0.99,
    "batch_size": 64,
}  # fmt: skip
"""Karras et al. 2018, appendix C."""

ROWS = [
    Model(
        "gan", "reference.adversarial.gan:GAN", "adversarial", ("G1",), "continuous",
        title="Generative adversarial network", year=2014, parents=(),
        tiny={"dim": 2, "latent": 2, "hidden": [8]},
        arguments=dim_and_bounded,
        demos=(
            Demo("digits", {"latent": 64, "hidden": [256, 256], "gamma": 1.0},
                 {**TWO_PLAYERS, "ema_decay": 0.999, "epochs": 240, "batch_size": 64}),
            Demo("eight-gaussians", {"latent": 8, "hidden": [96, 96, 96], "gamma": 0.1},
                 {**TWO_PLAYERS, "ema_decay": 0.999, "epochs": 32, "batch_size": 128}),
        ),
    ),
    Model(
        "wgan-gp", "reference.adversarial.wgan_gp:WGANGP", "adversarial", ("G1",), "continuous",
        title="WGAN with gradient penalty", year=2017, parents=("gan",),
        tiny={"dim": 2, "latent": 2, "hidden": [8], "critic_steps": 2},
        arguments=dim_and_bounded,
        demos=(
            Demo("digits", {"latent": 32, "hidden": [128, 128]},
                 {**WASSERSTEIN, "epochs": 70, "batch_size": 160}),
            Demo("eight-gaussians", {"latent": 8, "hidden": [64, 64], "lambda_": 0.1},
                 {**WASSERSTEIN, "epochs": 12, "batch_size": 640}, full=True),
        ),
    ),
    Model(
        "dcgan", "reference.adversarial.dcgan:DCGAN", "adversarial", ("G2",), "continuous",
        title="DCGAN", year=2015, parents=("gan",),
        tiny={"shape": [1, 4, 4], "latent": 3, "width": 2},
        arguments=shape,
        demos=(Demo("digits", {"latent": 32, "width": 16}, CONVOLUTIONAL),),
        shape="image",
    ),
    Model(
        "sngan", "reference.adversarial.sngan:SNGAN", "adversarial", ("G1", "G2"), "continuous",
        title="GAN with spectral normalisation", year=2018, parents=("dcgan",),
        tiny={"shape": [1, 4, 4], "latent": 3, "width": 2},
        arguments=shape,
        demos=(Demo("digits", {"latent": 32, "width": 16}, CONVOLUTIONAL),),
        shape="image",
    ),
    Model(
        "conditional-gan", "reference.adversarial.conditional_gan:ConditionalGAN", "adversarial",
        ("G3",), "continuous",
        title="Conditional GAN", year=2014, parents=("gan",),
        tiny={"shape": [1, 4, 4], "classes": 2, "latent": 3, "width": 2},
        arguments=shape_and_classes,
        demos=(Demo("digits", {"latent": 32, "width": 16}, CONVOLUTIONAL),),
        shape="image",
    ),
    Model(
        "stylegan", "reference.adversarial.stylegan:StyleGAN", "adversarial", ("G4",),
        "continuous",
        title="StyleGAN", year=2018, parents=("dcgan",),
        tiny={"shape": [1, 8, 8], "latent": 3, "width": 2},
        arguments=shape,
        demos=(Demo("digits", {"latent": 32, "width": 8}, {**STYLED, "epochs": 60}, full=True),),
        shape="image",
    ),
    Model(
        "stylegan2", "reference.adversarial.stylegan2:StyleGAN2", "adversarial", ("G4",),
        "continuous",
        title="StyleGAN2", year=2019, parents=("stylegan",),
        tiny={"shape": [1, 8, 8], "latent": 3, "width": 2},
        arguments=shape,
        demos=(Demo("digits", {"latent": 32, "width": 8}, {**STYLED, "epochs": 60}, full=True),),
        shape="image",
    ),
]  # fmt: skip
