"""What every flow owes (MISSION rows N1, F7)."""

from __future__ import annotations

import numpy as np

from core import jacobian, no_grad
from tests.laws.subject import Subject


def inverse_undoes_forward(s: Subject) -> None:
    """inverse(forward(z)) = z, and the two log-determinants cancel."""
    z = np.random.default_rng(0).normal(size=(32, s.dim))
    with no_grad():
        x, log_det = s.model.forward(z)
        again, log_det_back = s.model.inverse(x)
    np.testing.assert_allclose(again, z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-9, atol=1e-9)
    assert np.abs(x - z).max() > 0.1, "the map is the identity: the law says nothing"


def log_det_is_that_of_the_jacobian(s: Subject) -> None:
    """The reported log|det ∂x/∂z| is slogdet of autograd's Jacobian."""
    for z in np.random.default_rng(1).normal(size=(4, s.dim)):
        J = jacobian(lambda t: s.model.forward(t[None, :])[0][0], z)
        with no_grad():
            _, log_det = s.model.forward(z[None, :])
        np.testing.assert_allclose(log_det[0], np.linalg.slogdet(J)[1], rtol=1e-9, atol=1e-10)
