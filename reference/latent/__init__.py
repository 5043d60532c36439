"""Latent-variable models: something unseen, z, explains what is seen.

    p(x) = Σ_z p(z) p(x|z)   or   ∫ p(z) p(x|z) dz;      p(z|x) = p(z) p(x|z) / p(x)

Where the sum can be done, EM climbs the likelihood (`bernoulli_mixture`, `gaussian_mixture`). Where
all is linear and Gaussian, the integral has a formula (`ppca`). Where it has none, a network
proposes z and the likelihood is bounded (`vae`, and for reals `gaussian_vae`). Without p(z) there
is a code and no distribution (`autoencoder`), or its slope alone (`denoising_autoencoder`).
MISSION rows L1 to L6.
"""

from reference.latent.published import PUBLISHED
from reference.table import Demo, Model, dim

__all__ = ["PUBLISHED", "ROWS"]

ROWS = [
    Model(
        "bernoulli-mixture", "reference.latent.bernoulli_mixture:BernoulliMixture",
        "mixture", ("L1",), "binary",
        title="Bernoulli mixture by EM", year=1977, parents=("naive-bayes",),
        tiny={"dim": 6, "components": 3},
        arguments=dim,
        demos=(Demo("digits", {"components": 80, "alpha": 0.1}, {"epochs": 60}),),
    ),
    Model(
        "gaussian-mixture", "reference.latent.gaussian_mixture:GaussianMixture",
        "mixture", ("L1",), "continuous",
        title="Gaussian mixture by EM", year=1969, parents=("histogram",),
        tiny={"dim": 2, "components": 3},
        arguments=dim,
        demos=(Demo("eight-gaussians", {"components": 8}, {"epochs": 60}),),
    ),
    Model(
        "ppca", "reference.latent.ppca:PPCA", "linear", ("L2",), "continuous",
        title="Probabilistic PCA", year=1999, parents=("gaussian-mixture",),
        tiny={"dim": 2, "latent": 1},
        arguments=dim,
        demos=(Demo("digits", {"latent": 20}),),
    ),
    Model(
        "autoencoder", "reference.latent.autoencoder:Autoencoder", "autoencoder", ("L4",),
        "continuous",
        title="Autoencoder", year=1986, parents=(),
        tiny={"dim": 4, "latent": 2, "hidden": [8]},
        arguments=dim,
        demos=(Demo("digits", train={"epochs": 60, "batch_size": 32, "lr": 2e-3,
                                     "schedule": "cosine"}),),
    ),
    Model(
        "denoising-autoencoder",
        "reference.latent.denoising_autoencoder:DenoisingAutoencoder", "autoencoder", ("L4", "D5"),
        "continuous",
        title="Denoising autoencoder", year=2008, parents=("autoencoder",),
        tiny={"dim": 4, "latent": 3, "hidden": [8]},
        arguments=dim,
        demos=(Demo("digits", train={"epochs": 60, "batch_size": 32, "lr": 1e-3,
                                     "schedule": "cosine"}),),
    ),
    Model(
        "vae", "reference.latent.vae:VAE", "latent", ("L5",), "binary",
        title="Variational autoencoder", year=2013, parents=("bernoulli-mixture",),
        tiny={"dim": 6, "latent": 1, "hidden": [8]},
        arguments=dim,
        demos=(Demo("digits", train={"epochs": 150, "batch_size": 32, "lr": 3e-3,
                                     "schedule": "cosine"}),),
    ),
    Model(
        "gaussian-vae", "reference.latent.gaussian_vae:GaussianVAE", "latent", ("L5", "L2"),
        "continuous",
        title="Gaussian VAE", year=2013, parents=("vae",),
        tiny={"dim": 2, "latent": 1, "hidden": [8]},
        arguments=dim,
        demos=(Demo("eight-gaussians", {"latent": 2, "hidden": [64, 64]},
                    {"epochs": 30, "batch_size": 250, "lr": 5e-3, "schedule": "cosine"}),),
    ),
]  # fmt: skip
