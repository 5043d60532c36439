"""Latent-variable models: something unseen, z, explains what is seen.

    p(x) = Σ_z p(z) p(x|z)   or   ∫ p(z) p(x|z) dz;      p(z|x) = p(z) p(x|z) / p(x)

Where the sum can be done, EM climbs the likelihood (`bernoulli_mixture`, `gaussian_mixture`). Where
all is linear and Gaussian, the integral has a formula (`ppca`). Where it has none, a network
proposes z and the likelihood is bounded: `variational` has the bounds, and the models are made of
its four parts. `vae` is the first; then each takes another part: for reals `gaussian_vae`, for
images `conv_vae`, for grey levels `logistic_vae`, with clustered codes `mixture_vae`, with codes
that stay in use `free_bits_vae`, of a class that is given `conditional_vae`. Without p(z) there is
a code and no distribution (`autoencoder`), or its slope alone (`denoising_autoencoder`). MISSION
rows L1 to L6.
"""

from reference.latent.published import PUBLISHED
from reference.table import Demo, Model, dim, dim_and_classes, shape, shape_and_values

__all__ = ["PUBLISHED", "ROWS"]

_SMALL = {"batch_size": 32, "lr": 3e-3, "schedule": "cosine"}

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
        demos=(Demo("digits", train={"epochs": 150, **_SMALL}),),
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
    Model(
        "conv-vae", "reference.latent.conv_vae:ConvVAE", "latent", ("L5",), "binary",
        title="Convolutional VAE", year=2014, parents=("vae",), shape="image",
        tiny={"shape": [1, 2, 4], "latent": 1, "channels": [3]},
        arguments=shape,
        demos=(Demo("digits", {"channels": [16, 32]}, {"epochs": 30, **_SMALL}),),
    ),
    Model(
        "logistic-vae", "reference.latent.logistic_vae:LogisticVAE", "latent", ("L5", "A8"),
        "integer",
        title="VAE of grey levels", year=2016, parents=("conv-vae",), shape="image",
        tiny={"shape": [1, 2, 2], "levels": 4, "latent": 1, "channels": [2]},
        arguments=shape_and_values,
        demos=(Demo("digits", {"channels": [16, 32]}, {"epochs": 30, **_SMALL}),),
    ),
    Model(
        "mixture-vae", "reference.latent.mixture_vae:MixtureVAE", "latent", ("L5",), "binary",
        title="VAE with a learned prior", year=2016, parents=("vae",),
        tiny={"dim": 6, "latent": 1, "hidden": [8], "components": 3},
        arguments=dim,
        demos=(Demo("digits", train={"epochs": 60, **_SMALL}),),
    ),
    Model(
        "free-bits-vae", "reference.latent.free_bits_vae:FreeBitsVAE", "latent", ("L5",), "binary",
        title="VAE with free bits", year=2016, parents=("vae",),
        tiny={"dim": 6, "latent": 1, "hidden": [8]},
        arguments=dim,
        demos=(Demo("digits", train={"epochs": 60, **_SMALL}),),
    ),
    Model(
        "conditional-vae", "reference.latent.conditional_vae:ConditionalVAE", "latent", ("L6",),
        "binary",
        title="Conditional VAE", year=2014, parents=("vae",),
        tiny={"dim": 6, "classes": 3, "latent": 1, "hidden": [8]},
        arguments=dim_and_classes,
        demos=(Demo("digits", {"latent": 8}, {"epochs": 120, **_SMALL, "optimiser": "adamw",
                                              "weight_decay": 0.03}),),
    ),
]  # fmt: skip
