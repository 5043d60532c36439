"""What models share whatever they are: how one shows itself, and how its sampling begins."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from core.checks import whole
from core.errors import InputError
from core.state import flaw, parameters
from core.tensor import no_grad

F = TypeVar("F", bound=Callable[..., Any])
_PLAIN = (int, float, str, tuple, type(None))


class Described:
    """Gives a model its `repr`: the class, the arguments it keeps, the number of its parameters.

    An argument is shown when the attribute of its name is a number, a string, a tuple or None.
    """

    def __repr__(self) -> str:
        names = (n for n in inspect.signature(type(self)).parameters if n not in ("seed", "dtype"))
        kept = ((n, getattr(self, n, self)) for n in names)
        told = ", ".join(f"{n}={v!r}" for n, v in kept if isinstance(v, _PLAIN))
        count = getattr(self, "num_parameters", None)
        if count is None:
            count = sum(p.size for p in parameters(self).values())
        return f"{type(self).__name__}({told}), {count:,} parameters"


def draws(sample: F) -> F:
    """Mark a method `sample(self, n, *, seed, …)`: it is checked first, and leaves no graph.

    Raises InputError unless n is an integer ≥ 0 and every parameter is finite: u < NaN is False, so
    that a model gone wrong would draw zeros that look like any others.
    """

    @wraps(sample)
    def checked(self: Any, n: int, **how: Any) -> Any:
        n = whole("n", n)
        if found := flaw(self):
            raise InputError(f"parameters of {type(self).__name__} must be finite, but {found}")
        with no_grad():
            return sample(self, n, **how)

    return cast(F, checked)
