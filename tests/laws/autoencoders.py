"""What every autoencoder owes (MISSION row L4)."""

from __future__ import annotations

import numpy as np

from tests.laws.subject import Subject, evaluate, examples


def knows_no_distribution(s: Subject) -> None:
    """It offers neither a likelihood, nor a bound on one, nor samples."""
    for name in ("log_prob", "elbo", "importance_log_prob", "sample"):
        assert not hasattr(s.model, name), name


def reconstructs_from_the_code_alone(s: Subject) -> None:
    """reconstruct(x) = decode(encode(x)), one row at a time, and it moves with every code."""
    x, _ = examples(s.row, 9, 3)
    z = evaluate(s.model.encode, x)
    again = evaluate(s.model.reconstruct, x)
    assert z.shape == (9, s.model.latent)
    assert again.shape == x.shape
    np.testing.assert_array_equal(evaluate(s.model.decode, z), again)
    for row in (0, 8):
        alone = evaluate(s.model.reconstruct, x[row : row + 1])
        np.testing.assert_allclose(alone[0], again[row], rtol=1e-10)
    for j in range(s.model.latent):
        moved = z + np.eye(s.model.latent)[j]
        assert np.abs(evaluate(s.model.decode, moved) - again).max() > 1e-6, f"z_{j} is idle"
