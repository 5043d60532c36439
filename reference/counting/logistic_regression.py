"""Logistic regression: naive Bayes' discriminative twin.

    p(y | x) = softmax(x W + b)_y

says nothing of p(x), so it can't sample; it is what a naive Bayes model with a linear posterior
becomes when W and b maximise the likelihood of y given x instead of that of y and x together. Of
the pair the generative one learns faster, the discriminative one ends nearer the best line if the
features aren't independent (Ng & Jordan 2001).

Fitted by Newton's method, Bishop 2006, section 4.3.4. MISSION row H5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import labels, number, numbers, some, whole
from core.functional import log_softmax, one_hot
from reference.counting.frequencies import fitted
from reference.counting.gaussian_naive_bayes import SharedVarianceNaiveBayes


class LogisticRegression:
    """p(y | x) of real x (B, dim) and y in 0, …, classes − 1; float64 throughout.

    l2: adds (l2 / 2n) ΣW² to the mean loss; 0 is maximum likelihood. steps: at most so many of
    Newton's. Where a plane separates the classes and l2 = 0 the likelihood has no maximum, and fit
    stops with W as large as the steps allow.
    """

    def __init__(self, dim: int, classes: int, *, l2: float = 0.0, steps: int = 25) -> None:
        self.dim, self.classes = whole("dim", dim, 1), whole("classes", classes, 2)
        self.l2, self.steps = number("l2", l2, least=0), whole("steps", steps, 1)
        self.W = np.zeros((dim, classes))
        self.b = np.zeros(classes)
        self.class_counts = np.zeros(classes, np.int64)

    @classmethod
    def from_naive_bayes(cls, model: SharedVarianceNaiveBayes) -> LogisticRegression:
        """The same posterior, written as a linear function of x.

        The classes share σ², so the squares of x cancel: log p(y | x) = x·μ_y/σ² + b_y + const.
        """
        twin = cls(model.dim, model.classes)
        twin.class_counts[...] = model.class_counts
        sigma2 = model.variance()[0]  # (D,)
        twin.W[...] = (model.mean / sigma2).T
        twin.b[...] = model.log_prior() - 0.5 * np.sum(model.mean**2 / sigma2, axis=1)
        return twin

    def logits(self, x: Array) -> Array:
        """x W + b (B, classes), of x (B, dim)."""
        fitted(self.class_counts.sum(), self)
        return numbers(x, self.dim) @ self.W + self.b

    def predict_proba(self, x: Array) -> Array:
        """p(y | x) (B, classes), of x (B, dim)."""
        return np.exp(log_softmax(self.logits(x)))

    def predict(self, x: Array) -> Array:
        """The most probable class, int64 (B,), of x (B, dim)."""
        return np.argmax(self.logits(x), axis=1)

    def fit(self, x: Array, y: Any) -> LogisticRegression:
        """Maximise the likelihood of labels y (B,) given x (B, dim), from W = 0."""
        x, y = numbers(some(x), self.dim), labels(y, len(x), self.classes)
        A = np.column_stack([x, np.ones(len(x))])  # (n, D + 1)
        Y = one_hot(y, self.classes, np.float64)  # (n, C)
        theta = np.zeros((self.dim + 1, self.classes))
        for _ in range(self.steps):
            direction, slope = self._newton(A, Y, theta)
            if slope < 1e-14:
                break
            theta = self._descend(A, Y, theta, direction)
        self.W[...], self.b[...] = theta[:-1], theta[-1]
        self.class_counts[...] = np.bincount(y, minlength=self.classes)
        return self

    def _loss(self, A: Array, Y: Array, theta: Array) -> Any:
        penalty = 0.5 * self.l2 * np.sum(theta[:-1] ** 2)
        return (penalty - np.sum(Y * log_softmax(A @ theta))) / len(A)

    def _newton(self, A: Array, Y: Array, theta: Array) -> tuple[Array, float]:
        """Newton's direction H⁻¹g, and the slope gᵀH⁻¹g down it (twice what it can still gain)."""
        p = np.exp(log_softmax(A @ theta))
        l2 = np.append(np.full(self.dim, self.l2), 0.0)[:, None]  # b is not shrunk
        g = (A.T @ (p - Y) + l2 * theta) / len(A)  # (D + 1, C), Bishop Eq. 4.109
        R = p[:, :, None] * (np.eye(self.classes) - p[:, None, :])  # (n, C, C), Eq. 4.110
        H = np.einsum("ni,ncd,nj->icjd", A, R, A, optimize=True).reshape(g.size, g.size)
        H = (H + np.diag(np.repeat(l2, self.classes))) / len(A)
        # Least squares, since adding one vector to every column of θ changes no probability.
        direction = np.linalg.lstsq(H, g.ravel(), rcond=1e-12)[0]
        return direction.reshape(g.shape), float(g.ravel() @ direction)

    def _descend(self, A: Array, Y: Array, theta: Array, direction: Array) -> Array:
        """The longest of the steps 1, ½, ¼, … that lowers the loss; none if rounding forbids it."""
        now = self._loss(A, Y, theta)
        for halvings in range(40):
            candidate = theta - 0.5**halvings * direction
            if self._loss(A, Y, candidate) < now:
                return candidate
        return theta
