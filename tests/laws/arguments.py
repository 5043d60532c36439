"""What a model's methods do with wrong arguments: InputError that names them, in one line.

Constructors: `test_arguments.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from core import value
from core.errors import InputError
from core.random import Generator
from tests.laws.subject import Subject, examples, objectives, reconstruct


def methods_name_what_is_wrong(s: Subject) -> None:
    """NaN, foreign values, types, dtypes and shapes of x; sizes and seeds of samples."""
    x, y = examples(s.row, 6, 2)
    for call in _readers(s, y):
        for what, wrong in _wrong_data(x, s.discrete, fixed=s.row.domain != "text").items():
            must_refuse(lambda f=call, x=wrong: f(x), "x", what)
        _empty_is_empty(call, x[:0])
    if not hasattr(s.model, "sample"):
        return
    for n in (-1, 2.5, "3", True, None, float("nan")):
        must_refuse(lambda n=n: s.model.sample(n, seed=0), "n", f"n={n!r}")
    for seed in (-1, 2.5, "3", True, None, 2**63):
        must_refuse(lambda seed=seed: s.model.sample(2, seed=seed), "seed", f"seed={seed!r}")


def _readers(s: Subject, y: Any) -> list[Callable[[Any], Any]]:
    """Everything of a model that reads x."""
    found: list[Callable[[Any], Any]] = []
    if hasattr(s.model, "log_prob"):
        found.append(s.model.log_prob)
    if hasattr(s.model, "elbo"):
        found.append(lambda x: s.model.elbo(x, rng=Generator(0)))
    if s.row.training == "gradient":
        found += [lambda x, f=f: f(x, _fitting(y, x), Generator(0)) for f, _ in objectives(s.model)]
    if hasattr(s.model, "reconstruct"):
        found.append(lambda x: reconstruct(s.model, x, _fitting(y, x)))
    if hasattr(s.model, "predict_proba"):
        found.append(s.model.predict_proba)
    if s.row.training == "counts":
        found.append(lambda x: s.row.load()(**s.row.tiny).fit(x, _fitting(y, x)))
    return found


def _fitting(y: Any, x: Any) -> Any:
    """As many labels as there are rows."""
    return y if x is None else y[: len(x)]


def _wrong_data(x: np.ndarray, discrete: bool, fixed: bool) -> dict[str, Any]:
    """fixed: whether all samples have one size."""
    wrong = {
        "NaN": x * np.nan,
        "infinity": np.where(x == x.flat[0], np.inf, x),
        "a column too few": x[:, : -1 if fixed else 0],
        "one axis": x[0],
        "three axes": x[None],
        "a list": x.tolist(),
        "text": x.astype(str),
        "complex": x.astype(complex),
        "objects": x.astype(object),
        "None": None,
    }
    return wrong | ({"a foreign value": x + 0.5, "a third value": x + 2} if discrete else {})


def _empty_is_empty(call: Callable[[Any], Any], nothing: np.ndarray) -> None:
    """No rows give no numbers, or are refused; a mean over nothing must not be a NaN."""
    said, found = outcome(lambda: call(nothing), "no rows")
    if said is not None:
        _names(said, "x", "no rows")
    else:
        assert np.shape(value(found))[:1] == (0,), f"of no rows came {found!r}"


def must_refuse(call: Callable[[], Any], name: str, what: str) -> None:
    """InputError, in one line that names the argument."""
    said, _ = outcome(call, what)
    assert said is not None, f"{what} was accepted"
    _names(said, name, what)


def outcome(call: Callable[[], Any], what: str) -> tuple[str | None, Any]:
    """(what an InputError said, or None; the result, or None). No other error may come."""
    try:
        with np.errstate(all="ignore"):
            return None, call()
    except InputError as error:
        return str(error), None
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


def _names(said: str, name: str, what: str) -> None:
    assert re.search(rf"\b{name}\b", said), f"{what}: {said}"
    assert "\n" not in said, f"{what}: more than one line"
