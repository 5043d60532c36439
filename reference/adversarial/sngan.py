"""SNGAN: a discriminator whose every layer stretches nothing (Miyato et al. 2018). Rows G1, G2.

    W ← W / σ_max(W)                                                                     (Eq. 8)

With leaky ReLUs between, that holds D to a Lipschitz constant of 1 everywhere, at the price of one
power iteration a turn. Batch norm, which would undo it, is gone from D; G is DCGAN's, and the game
that of `gan`, with the non-saturating loss.
"""

from __future__ import annotations

from reference.adversarial.convolutional import SpectralDownward
from reference.adversarial.dcgan import DCGAN


class SNGAN(DCGAN):
    """Images x = G(z) (B, C, H, W) in (−1, 1), z ~ N(0, I) (B, latent). Arguments: as of DCGAN.

    >>> model = SNGAN((1, 8, 8), latent=4, width=2)
    >>> model, model.sample(3, seed=1).shape
    (SNGAN(shape=(1, 8, 8), latent=4, width=2), 420 parameters, (3, 1, 8, 8))
    """

    network = SpectralDownward

    def advance(self) -> None:
        """What begins a turn: D's norms are followed by one more power iteration."""
        self.D.follow()
