"""Logistic regression: naive Bayes' discriminative twin.

    p(y | x) = softmax(x W + b)_y

says nothing of p(x), so it can't sample; it is what a naive Bayes model with a linear posterior
becomes when W and b maximise the likelihood of y given x instead of that of y and x together. Of
the pair the generative one learns faster, the discriminative one ends nearer the best line if the
features aren't independent (Ng & Jordan 2001).

Cox 1958; fitted by Newton's method, Bishop 2006, section 4.3.4. MISSION row H5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import labels, number, numbers, some, whole
from core.functional import log_softmax, one_hot
from core.model import Described
from reference.counting.frequencies import fitted
from reference.counting.gaussian_naive_bayes import SharedVarianceNaiveBayes


class LogisticRegression(Described):
    """p(y | x) of real x (B, dim) and y in 0, …, classes − 1; float64 throughout.

    l2: adds (l2 / 2n) ΣW² to the mean loss; 0 is maximum likelihood, which knows no units. With
    l2 > 0 it is W as it stands, of the columns of x in the units they come in, that is shrunk (b
    is not): standardise the columns to shrink all alike. steps: at most so many of Newton's. Where
    a plane separates the classes and l2 = 0 the likelihood has no maximum, and fit stops with W as
    large as the steps allow.

    >>> x = np.array([[-1.0], [0.0], [1.0], [2.0]])
    >>> model = LogisticRegression(1, 2).fit(x, [0, 1, 0, 1])
    >>> model.predict_proba(np.array([[0.5]])).round(3)
    array([[0.5, 0.5]])
    """

    def __init__(self, dim: int, classes: int, *, l2: float = 0.0, steps: int = 25) -> None:
        self.dim, self.classes = whole("dim", dim, 1), whole("classes", classes, 2)
        self.l2, self.steps = number("l2", l2, least=0), whole("steps", steps, 1)
        self.W = np.zeros((self.dim, self.classes))
        self.b = np.zeros(self.classes)
        self.class_counts = np.zeros(self.classes, np.int64)

    @property
    def num_parameters(self) -> int:
        """Free parameters: one class's are given by those of the others."""
        return (self.dim + 1) * (self.classes - 1)

    @classmethod
    def from_naive_bayes(cls, model: SharedVarianceNaiveBayes) -> LogisticRegression:
        """The same posterior, written as a linear function of x.

        The classes share σ², so the squares of x cancel, and with δ_y = μ_y − μ̄

            log p(y | x) = x·δ_y/σ² + log p(y) − (μ̄ + δ_y/2)·δ_y/σ² + const
        """
        twin = cls(model.dim, model.classes)
        twin.class_counts[...] = model.class_counts
        sigma2 = model.variance()[0]  # (D,)
        centre = model.mean.mean(axis=0)
        delta = model.mean - centre  # (C, D): squares of large means would cancel
        twin.W[...] = (delta / sigma2).T
        twin.b[...] = model.log_prior() - np.sum((centre + delta / 2) * delta / sigma2, axis=1)
        return twin

    def logits(self, x: Array) -> Array:
        """x W + b (B, classes), of x (B, dim)."""
        fitted(self.class_counts.sum(), self)
        return numbers(x, self.dim) @ self.W + self.b

    def predict_proba(self, x: Array) -> Array:
        """p(y | x) (B, classes), of x (B, dim)."""
        return np.exp(self.log_proba(x))

    def log_proba(self, x: Array) -> Array:
        """log p(y | x) in nats (B, classes), of x (B, dim)."""
        return log_softmax(self.logits(x))

    def predict(self, x: Array) -> Array:
        """The most probable class, int64 (B,), of x (B, dim)."""
        return np.argmax(self.logits(x), axis=1)

    def loss(self, x: Array, y: Any = None, rng: Any = None) -> Any:
        """−log p(y | x) in nats, the mean over x (B, dim) with labels y (B,)."""
        log_p = self.log_proba(x)
        return -log_p[np.arange(len(x)), labels(y, len(x), self.classes)].mean()

    def fit(self, x: Array, y: Any = None) -> LogisticRegression:
        """Maximise the likelihood of labels y (B,) given x (B, dim), from W = 0.

        Newton's steps are taken in standardised columns, whose units and offsets can't spoil them.
        """
        x, y = numbers(some(x), self.dim).astype(np.float64), labels(y, len(x), self.classes)
        centre, sigma = x.mean(axis=0), x.std(axis=0)
        sigma[sigma <= 1e-12 * np.abs(centre)] = (
            np.inf
        )  # constant but for rounding: it says nothing
        A = np.column_stack([(x - centre) / sigma, np.ones(len(x))])  # (n, D + 1)
        Y = one_hot(y, self.classes, np.float64)  # (n, C)
        l2 = np.append(self.l2 / sigma**2, 0.0)[:, None]  # W = θ/σ is shrunk, b is not
        theta = np.zeros((self.dim + 1, self.classes))
        for _ in range(self.steps):
            direction, slope = _newton(A, Y, theta, l2)
            if slope < 1e-14:
                break
            theta = _descend(A, Y, theta, l2, direction)
        self.W[...] = theta[:-1] / sigma[:, None]
        self.b[...] = theta[-1] - centre @ self.W
        self.class_counts[...] = np.bincount(y, minlength=self.classes)
        return self


def _loss(A: Array, Y: Array, theta: Array, l2: Array) -> Any:
    penalty = 0.5 * np.sum(l2 * theta**2)
    return (penalty - np.sum(Y * log_softmax(A @ theta))) / len(A)


def _newton(A: Array, Y: Array, theta: Array, l2: Array) -> tuple[Array, float]:
    """Newton's direction H⁻¹g, and the slope gᵀH⁻¹g down it (twice what it can still gain)."""
    p = np.exp(log_softmax(A @ theta))
    g = (A.T @ (p - Y) + l2 * theta) / len(A)  # (D + 1, C), Bishop Eq. 4.109
    # Bishop Eq. 4.110, which is printed with a minus: a misprint
    R = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :])  # (n, C, C)
    H = _weighted_products(A, R).reshape(g.size, g.size)
    H = (H + np.diag(np.repeat(l2, p.shape[1]))) / len(A)
    diagonal = np.diag(H).copy()
    s = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))  # a large l2 must not hide the rest
    # Least squares, since adding one vector to every column of θ changes no probability.
    direction = s * np.linalg.lstsq(s[:, None] * H * s, s * g.ravel(), rcond=1e-12)[0]
    return direction.reshape(g.shape), float(g.ravel() @ direction)


def _weighted_products(A: Array, R: Array) -> Array:
    """Σ_n A_ni R_ncd A_nj (D + 1, C, D + 1, C), of A (n, D + 1) and R (n, C, C)."""
    n, D = A.shape
    rows = [A.T @ (R_c[:, :, None] * A[:, None, :]).reshape(n, -1) for R_c in R.swapaxes(0, 1)]
    return np.stack(rows, axis=1).reshape(D, len(rows), -1, D).swapaxes(2, 3)


def _descend(A: Array, Y: Array, theta: Array, l2: Array, direction: Array) -> Array:
    """The longest of the steps 1, ½, ¼, … that lowers the loss; none if rounding forbids it."""
    now = _loss(A, Y, theta, l2)
    for halvings in range(40):
        candidate = theta - 0.5**halvings * direction
        if _loss(A, Y, candidate, l2) < now:
            return candidate
    return theta
