"""What every model owes: gradients, files, seeds, dtypes, and clear words for bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core import Tensor, grad
from core.checkpoint import load_arrays, save_arrays
from core.random import Generator
from core.state import load_state, parameters, state
from tests.laws.subject import Subject, build, examples, log_prob, objectives, reconstruct

EXPLICIT = (
    "histogram",
    "class-conditional",
    "mixture",
    "linear",
    "autoregressive",
    "encoder-decoder",
    "flow",
)


def gradient_matches_differences(s: Subject) -> None:
    """⟨∇ loss, u⟩ = d/ds loss(θ + s·u), for every objective the model trains on."""
    if s.row.training != "gradient":
        return
    x, y = examples(s.row, 6, 2)
    for loss, params in objectives(s.model):
        _check_slope(lambda f=loss: f(x, y, Generator(4)), params)


def _check_slope(loss: Callable[[], Any], params: dict[str, Tensor]) -> None:
    tensors = list(params.values())
    u = [np.random.default_rng(8).normal(size=p.shape) for p in tensors]
    slope = sum(float(np.sum(g * d)) for g, d in zip(grad(loss(), tensors), u, strict=True))
    h, values = 1e-5, []
    original = [p.data.copy() for p in tensors]
    for shift in (h, -h):
        for p, o, d in zip(tensors, original, u, strict=True):
            p[...] = o + shift * d
        values.append(loss().item())
    for p, o in zip(tensors, original, strict=True):
        p[...] = o
    assert abs(slope) > 1e-8, "the loss does not depend on the parameters"
    np.testing.assert_allclose(slope, (values[0] - values[1]) / (2 * h), rtol=2e-5, atol=1e-7)


def every_parameter_has_a_gradient(s: Subject) -> None:
    """No parameter is left out of the training loss."""
    if s.row.training != "gradient":
        return
    x, y = examples(s.row, 6, 2)
    covered: set[str] = set()
    for loss, params in objectives(s.model):
        found = grad(loss(x, y, Generator(4)), list(params.values()))
        covered |= {id(p) for p, g in zip(params.values(), found, strict=True) if np.any(g != 0)}
    idle = [n for n, p in parameters(s.model).items() if id(p) not in covered]
    assert not idle, f"no gradient reaches {idle}"


def save_and_load_give_the_same_model(s: Subject, folder: Path) -> None:
    """A model written and read into a fresh one samples and scores the same, bit for bit."""
    path = folder / "model.safetensors"
    save_arrays(path, state(s.model))
    other = build(s.row, seed=99)
    load_state(other, load_arrays(path)[0])
    x, y = examples(s.row, 9, 3)
    if hasattr(s.model, "predict_proba"):
        np.testing.assert_array_equal(other.predict_proba(x), s.model.predict_proba(x))
    if hasattr(s.model, "reconstruct"):
        np.testing.assert_array_equal(reconstruct(other, x, y), reconstruct(s.model, x, y))
    if hasattr(s.model, "sample"):
        np.testing.assert_array_equal(other.sample(5, seed=1), s.model.sample(5, seed=1))
    if s.row.kind in EXPLICIT:
        np.testing.assert_array_equal(log_prob(other, x), log_prob(s.model, x))


def samples_are_reproducible(s: Subject) -> None:
    """The seed decides the samples: same seed same samples, another seed others, any batch size."""
    x = s.model.sample(12, seed=4)
    assert x.shape == (12, *s.shape)
    assert np.all(np.isfinite(x))
    np.testing.assert_array_equal(s.model.sample(12, seed=4), x)
    np.testing.assert_allclose(s.model.sample(7, seed=4), x[:7], rtol=1e-9, atol=1e-9)
    assert np.any(s.model.sample(12, seed=5) != x)
    if s.discrete:
        assert np.isin(x, np.arange(s.levels)).all()


def keeps_float32(s: Subject) -> None:
    """A float32 model computes in float32: loss, gradients, samples but for tokens, what it
    reconstructs.
    """
    if s.row.training != "gradient":
        return
    model = s.row.load()(**s.row.tiny, dtype=np.float32)
    x, y = examples(s.row, 6, 2)
    x = x.astype(np.float32)
    assert all(p.dtype == np.float32 for p in parameters(model).values())
    for loss, params in objectives(model):
        out = loss(x, y, Generator(0))
        assert out.dtype == np.float32
        assert all(g.dtype == np.float32 for g in grad(out, list(params.values())))
    drawn = np.int64 if s.row.domain == "text" else np.float32
    if hasattr(model, "sample"):
        assert model.sample(3, seed=0).dtype == drawn
    if hasattr(model, "reconstruct"):
        assert reconstruct(model, x, y).dtype == np.float32
