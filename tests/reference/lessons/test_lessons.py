"""Every lesson is listed, loads, runs, and says which rows of the mission it teaches."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.distributions import kl_divergence
from reference import lessons
from reference.lessons import (
    LESSONS,
    denoising,
    discrete_sampling,
    exposure_bias,
    gradients,
    langevin,
    lotus,
    maximum_likelihood,
    pair,
    warm_up,
)

FOLDER = Path(lessons.__file__).parent


def test_every_module_is_listed_once():
    modules = {f"reference.lessons.{path.stem}" for path in FOLDER.glob("[!_]*.py")}
    assert [lesson.module for lesson in LESSONS.values()] == sorted(
        {lesson.module for lesson in LESSONS.values()}
    )
    assert {lesson.module for lesson in LESSONS.values()} == modules


@pytest.mark.parametrize("name", LESSONS)
def test_lessons_have_one_form(name: str):
    lesson = LESSONS[name]
    module = lesson.load()
    assert lesson.name == name
    assert lesson.title
    assert lesson.rows
    assert all(re.fullmatch(r"[A-Z]\d+", row) for row in lesson.rows)
    assert all(re.search(rf"\b{row}\b", module.__doc__ or "") for row in lesson.rows)
    assert inspect.signature(module.run).parameters["seed"].default == 0
    assert not doctest.testmod(module).failed


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", LESSONS)
def test_its_law_holds(name: str, seed: int):
    page = LESSONS[name].load()
    facts = page.facts(page.run(seed))
    assert [fact for fact in facts if not fact.holds] == []
    assert any(fact.law for fact in facts)


@pytest.mark.parametrize("name", LESSONS)
def test_its_picture_is_one(name: str):
    page = LESSONS[name].load()
    if hasattr(page, "picture"):
        assert page.picture(page.run()).startswith(b"\x89PNG")


def on_given_pasts(model: Any, seed: int) -> Any:
    """Errors as often as the loss has them, whatever came before."""
    rate = exposure_bias.forced_errors(model, exposure_bias.right_sequences())
    return np.random.default_rng(seed).random((exposure_bias.SAMPLES, len(rate))) < rate


WRONG: dict[str, dict[str, Callable[[Any], Any]]] = {
    "amortisation": {
        "log_prob": lambda right: lambda model, x: right(model, x) - 5,
        "best_bound": lambda right: lambda model, x: right(model, x) + 0.2,
        "amortisation_gap": lambda right: lambda *a, **how: right(*a, **{**how, "steps": 1}),
    },
    "bayes": {
        "conditional": lambda _: lambda p, given: p / p.sum(axis=given, keepdims=True),
        "by_chain_rule": lambda right: lambda p, order: right(p, order[:-1]),
    },
    "change_of_variables": {
        "slope": lambda right: lambda f, x: 1 / right(f, x),
        "inverse": lambda _: lambda y: y,
    },
    "collapse": {
        "FreeBitsVAE": lambda right: lambda dim, *, free, **how: right(dim, free=0.0, **how),
        "active_units": lambda _: lambda mu: np.ones(mu.shape[1], bool),
    },
    "denoising": {
        "score": lambda right: lambda x, sigma: right(x, 0.9 * sigma),
        "denoised": lambda right: lambda x, sigma: x + 0.5 * (right(x, sigma) - x),
        "network": lambda _: lambda seed: denoising.DenoisingAutoencoder(1, sigma=1.0, seed=seed),
    },
    "dimensionality": {
        "chain": lambda _: lambda m, d: m * 2**d,
        "full_table": lambda _: lambda m: 2**m,
        "rank": lambda right: lambda model: right(model) - (model.dim > 1),
        "share_seen": lambda _: lambda x, test: 1.0,
    },
    "discrete_sampling": {
        "by_inverse": lambda right: lambda z, rng: right(z, rng) % (discrete_sampling.K - 1),
        "by_gumbel": lambda _: lambda z, rng: np.argmax(z - np.log(rng.uniform((20_000, 12))), 1),
        "alias_draw": lambda _: lambda u, threshold, other: (u[:, 0] * len(other)).astype(int),
        "decode": lambda right: lambda z, u, **_: right(z, u),
        "probabilities": lambda right: lambda z, **c: right(z - 1e-9 * np.arange(12), **c),
    },
    "divergences": {
        "kl": lambda right: lambda x, p, q: right(x, q, p),
        "kl_divergence": lambda right: lambda p, q: right(q, p),
        "js_divergence": lambda _: lambda p, q: kl_divergence(p, q) / 2,
        "encode": lambda right: lambda message, p: right(message, p) + "000",
    },
    "elbo": {
        "kl_divergence": lambda right: lambda p, q: right(q, p),
        "of_ppca": lambda right: lambda model, x, mean, root: right(model, x, 0.5 * mean, root),
    },
    "exposure_bias": {
        "one_at_a_time": lambda right: lambda model, x: right(model, 0 * x),
        "forced_errors": lambda right: lambda model, x: 2 * right(model, x),
        "free_errors": lambda _: lambda model, seed: on_given_pasts(model, seed),
    },
    "gradients": {
        "by_score": lambda right: lambda x, b=0.0: right(x, b) / gradients.f(x)[:, None],
        "by_path": lambda right: lambda rng, n: 2 * right(rng, n),
        "score": lambda right: lambda x: np.abs(right(x)),
    },
    "langevin": {
        "langevin_step": lambda right: lambda x, score, eta, z: right(x, score, eta, 0.8 * z),
        "slope": lambda right: lambda E, x: 0.7 * right(E, x),
        "energy": lambda right: lambda x, alpha_bar=1.0: right(x, 1.0),
        "trained": lambda _: lambda seed: langevin.DDPM(2, hidden=8, steps=20, dtype=np.float64),
    },
    "lotus": {
        "over_y": lambda _: lambda: lotus.integral(lambda t: np.exp(-t * t / 2), 0, 12),
        "sifted": lambda right: lambda sigma: right(2 * sigma),
    },
    "maximum_likelihood": {
        "forward_kl": lambda _: maximum_likelihood.reverse_kl,
        "reverse_kl": lambda _: maximum_likelihood.forward_kl,
    },
    "monte_carlo": {
        "weighted": lambda right: lambda *a: (2 * right(*a)[0], right(*a)[1]),
        "log_likelihoods": lambda right: (
            lambda *a: np.log(np.exp(right(*a)).mean()) + 0 * right(*a)
        ),
    },
    "pair": {
        "naive_bayes": lambda _: pair.logistic,
        "logistic": lambda _: pair.naive_bayes,
        "independent": lambda _: pair.dependent,
    },
    "rareness": {
        "by_counting": lambda right: lambda *a: (replace(right(*a)[0], mean=2e-3), right(*a)[1]),
        "by_weighting": lambda right: lambda model, m, rng: right(model, 0 * m, rng),
        "by_quadrature": lambda right: lambda model: 2 * right(model),
        "foreign": lambda right: lambda x, mean, rng: dict.fromkeys(right(x, mean, rng), x),
        "told_apart": lambda right: lambda strange, usual: right(usual, strange),
    },
    "warm_up": {
        "bumps": lambda _: warm_up.gaussian,
        "mixture": lambda _: warm_up.independent,
        "oddities": lambda _: lambda x, rng: {"gibberish": x, "noise": x, "another style": x},
    },
}
"""Lesson → a function of it → a wrong one in its place, made from the right one."""


@pytest.mark.parametrize(
    ("name", "function"), [(name, function) for name, wrong in WRONG.items() for function in wrong]
)
def test_a_wrong_page_breaks_its_law(name: str, function: str, monkeypatch: pytest.MonkeyPatch):
    page = LESSONS[name].load()
    monkeypatch.setattr(page, function, WRONG[name][function](getattr(page, function)))
    assert not all(fact.holds for fact in page.facts(page.run()))


def test_every_lesson_has_been_broken_on_purpose():
    assert set(LESSONS) == {*WRONG, "backprop"}  # broken in a file of its own


@pytest.mark.parametrize("name", LESSONS)
def test_the_same_seed_gives_the_same_numbers(name: str):
    run = LESSONS[name].load().run
    assert run(1) == run(1)


def test_the_list_is_light():
    code = "import sys, reference.lessons; print('reference.lessons.backprop' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER.parents[1], capture_output=True, text=True
    )
    assert out.stdout.strip() == "False"


# Langevin dynamics


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda x, score, eta, z: x + eta * score + eta**0.5 * z, "variance at rest"),
        (lambda x, score, eta, z: x - eta * score + (2 * eta) ** 0.5 * z, "variance at rest"),
    ],
)
def test_a_wrong_walk_does_not_rest_where_it_must(monkeypatch, fault, said):
    monkeypatch.setattr(langevin, "langevin_step", fault)
    monkeypatch.setattr(langevin, "trained", lambda seed: None)
    monkeypatch.setattr(langevin, "score_error", lambda *_: 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        wrong = [fact.what for fact in langevin.facts(langevin.run()) if not fact.holds]
    assert any(what.startswith(said) for what in wrong)


def test_a_score_of_another_level_is_told_from_the_right_one():
    """The noise of level t, scaled as another level's, is off by more than what is stated."""
    model = langevin.trained(0)
    epsilon = model.epsilon
    model.epsilon = lambda x, t: epsilon(x, t) * 1.5
    assert langevin.score_error(model, 10, 0) > 0.05
