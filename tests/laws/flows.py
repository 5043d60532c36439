"""What every flow owes, of numbers or of pixels (MISSION rows N1, F7)."""

from __future__ import annotations

import numpy as np

from core import jacobian, no_grad
from core.random import Generator
from core.state import parameters
from tests.laws.explicit import chi_square
from tests.laws.subject import Subject, all_states, evaluate, flat, in_shape


def inverse_undoes_forward(s: Subject) -> None:
    """inverse(forward(z)) = z, and the two log-determinants cancel; of pixels forward(inverse(x)).

    What is far out in z is next to the end of a pixel's range, where x no longer tells it.
    """
    flow, a = getattr(s.model, "flow", s.model), points_of(s, 32, 0)
    there, back = flow.forward, flow.inverse
    if s.row.kind == "dequantised":
        there, back = back, there
    with no_grad():
        b, log_det = there(a)
        again, log_det_back = back(b)
    np.testing.assert_allclose(again, a, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-9, atol=1e-9)
    assert np.abs(flat(b) - flat(a)).max() > 0.1, "the map is the identity: the law says nothing"


def points_of(s: Subject, n: int, seed: int) -> np.ndarray:
    """Normals (n, D); of pixels images of real numbers in [0, levels)."""
    rng = np.random.default_rng(seed)
    if s.row.kind == "dequantised":
        return s.levels * rng.random((n, *s.shape))
    return rng.normal(size=(n, s.dim))


def log_det_is_that_of_the_jacobian(s: Subject) -> None:
    """The reported log|det ∂x/∂z| is slogdet of autograd's Jacobian."""
    forward = getattr(s.model, "flow", s.model).forward
    for z in np.random.default_rng(1).normal(size=(4, s.dim)):
        J = jacobian(lambda t: np.reshape(forward(t[None, :])[0], (s.dim,)), z)
        with no_grad():
            _, log_det = forward(z[None, :])
        np.testing.assert_allclose(log_det[0], np.linalg.slogdet(J)[1], rtol=1e-9, atol=1e-10)


def dequantised_bound_is_below_log_p(s: Subject) -> None:
    """E ELBO ≤ ln P(x) = ln ∫ p(x + u) du for every x, by quadrature over the cube."""
    x, log_p = probabilities(s)
    many = np.tile(x, (200, 1, 1, 1))
    elbo = evaluate(lambda x: s.model.elbo(x, rng=Generator(0)), many).reshape(200, len(x))
    slack = 5 * elbo.std(axis=0) / np.sqrt(200) + 0.05
    assert np.all(elbo.mean(axis=0) <= log_p + slack), (elbo.mean(axis=0) - log_p).max()
    gap = np.exp(log_p) @ (log_p - elbo.mean(axis=0))
    assert gap < 3, "so loose that it says nothing"


def pixels_are_as_frequent_as_their_probability(s: Subject) -> None:
    """Draws of the flow, rounded down, follow P(x); and as many are images as Σ P(x) says."""
    n = 20_000
    x, log_p = probabilities(s)
    drawn = np.floor(flat(s.model.flow.sample(n, seed=3)))
    inside = ((drawn >= 0) & (drawn < s.levels)).all(axis=1)
    places = s.levels ** np.arange(s.dim - 1, -1, -1)
    counts = np.bincount((drawn[inside] @ places).astype(int), minlength=len(x))
    p = np.exp(log_p)
    outside = n - counts.sum(), n * (1 - p.sum())
    assert chi_square(np.append(counts, outside[0]), np.append(n * p, outside[1])) > 1e-4


def probabilities(s: Subject, nodes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Every image, and its ln P(x) by Gauss and Legendre's rule in each of its pixels.

    Parameters are made so small that the density is smooth enough for few nodes.
    """
    for p in parameters(s.model).values():
        p[...] = 0.3 * p.data
    at, weight = np.polynomial.legendre.leggauss(nodes)
    index = all_states(s.dim, nodes).astype(int)
    u, log_w = (1 + at[index]) / 2, np.log(weight[index] / 2).sum(axis=1)
    x = in_shape(s.model, all_states(s.dim, s.levels))
    spread = x[:, None] + u.reshape(1, len(u), *s.shape)
    log_p = evaluate(s.model.flow.log_prob, spread.reshape(-1, *s.shape))
    return x, np.logaddexp.reduce(log_p.reshape(len(x), len(u)) + log_w, axis=1)
