"""Adversarial models: a generator that a discriminator can't tell from data.

    min_G max_D E_data log D(x) + E_z log (1 − D(G(z)))  =  2·JS(p_data ‖ p_G) − ln 4  at the best D

There are samples, and no likelihood: an implicit model. MISSION rows G1 to G4.
"""

from reference.table import TWO_PLAYERS, Demo, Model, dim_and_bounded

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
]  # fmt: skip
