"""The table that ties an operation's fast twins to its definition, its proof and its price.

From a row come the property test, the rejection of every `wrong` twin, the benchmark (which runs
the same check before it times anything) and a page of documentation. Implementations are named by
string: a machine without Triton imports this and skips, visibly.

A family of operations is a folder, `kernels/<family>/`; its rows are the list `ROWS` of `rows.py`
there, and its name stands in FAMILIES.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from core.checks import one_of, whole
from core.errors import BackendError, InputError
from core.operation import BACKENDS
from kernels.calls import Arguments, Call, Narrow, narrowed, strategy

NEEDS = {"numba": ("numba",), "triton": ("triton", "torch")}
INSTALL = {"numba": "pip install numba", "triton": "pip install -e '.[gpu]' (Linux)"}
MISSION = Path(__file__).resolve().parent.parent / "docs/MISSION.md"
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.backward)?")


@dataclass(frozen=True)
class Op:
    """One operation: a row of the table.

    name: of the definition. mission: ids of docs/MISSION.md. definition, twins: "module:function",
        the twins by back end; "module:function.backward" is an operation's gradient.
    make(rng, dims, dtype): keyword arguments of one call, drawn from a NumPy Generator; `dims` are
        integers that hypothesis draws between the bounds given here, `dtypes` what it chooses from.
    without: what a call can do without, by name, and the dims that leave it out.
    entries: arguments with dims["n"] entries along their first axis, any run of which makes a call
        of its own: so a call that fails shrinks to the entries that make it fail.
    floor, cap: by dtype, for results of size 1 (larger ones in proportion): a floating result may
        be wrong by twice what the definition is wrong by in that dtype, plus floor, but by no more
        than cap. A floor by "triton float32" is for that twin alone.
    exact: the dtypes of calls whose integer results must be equal; all if None. Where a token can
        turn on a rounding, a law says which may differ.
    laws: functions (arguments, result) that raise AssertionError. wrong: twins with a planted
        fault; the check must reject each.
    bench: dims and dtype of the benchmarks, by label. peers: other libraries' versions of the call.
    flops(dims): arithmetic of one call, where it is the bound.

    Raises InputError, naming the row and the field, for a row that can't be proven or measured:
    a missing cap, an unknown id, a name that is none, no twin, no wrong twin, no benchmark.

    >>> from dataclasses import replace
    >>> from kernels import OPS
    >>> OPS["histogram"].load()([0.5, 2.5, 2.6], [0.0, 1.0, 2.0, 3.0])
    array([1, 0, 2])
    >>> replace(OPS["normal"], cap={"float32": 2e-6})
    Traceback (most recent call last):
    core.errors.InputError: cap of normal must name every floating dtype, got none for float64
    """

    name: str
    mission: tuple[str, ...]
    definition: str
    twins: Mapping[str, str]
    make: Callable[[np.random.Generator, Mapping[str, int], str], Arguments]
    dims: Mapping[str, tuple[int, int]]
    dtypes: tuple[str, ...] = ("float32", "float64")
    without: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    entries: tuple[str, ...] = ()
    floor: Mapping[str, float] = field(default_factory=dict)
    cap: Mapping[str, float] = field(default_factory=dict)
    exact: tuple[str, ...] | None = None
    laws: tuple[Callable[[Arguments, Any], None], ...] = ()
    wrong: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    bench: Mapping[str, tuple[Mapping[str, int], str]] = field(default_factory=dict)
    peers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    flops: Callable[[Mapping[str, int]], float] | None = None

    def __post_init__(self) -> None:
        self._check_names()
        self._check_draws()
        self._check_bounds()
        for what in ("twins", "wrong", "bench"):
            if not getattr(self, what):
                raise InputError(f"{what} of {self.name} must hold one at least, got none")

    def load(self, where: str = "") -> Callable[..., Any]:
        """The definition, or the twin on back end `where`. Raises BackendError."""
        if not where:
            function = _resolve(self.definition)
            definition: Any = getattr(function, "definition", function)
            forward: Callable[..., Any] = getattr(definition, "forward", definition)
            return forward
        if where not in self.twins:
            has = ", ".join(self.twins) or "none"
            raise BackendError(f"{self.name} has no {where} twin; it has {has}")
        require(where)
        return _resolve(self.twins[where])

    def call(
        self, seed: int, dtype: str, kept: tuple[int, int] | None = None, /, **dims: int
    ) -> Call:
        """The call that these numbers draw, the same every time; kept: (start, stop) of entries.

        >>> from kernels import OPS
        >>> OPS["count_categories"].call(3, "uint8", n=4, levels=5, step=1).arguments
        {'x': array([4, 0, 0, 1], dtype=uint8), 'levels': 5}
        >>> call = OPS["count_categories"].call(3, "uint8", (2, 4), n=4, levels=5, step=1)
        >>> call, call.arguments["x"]
        (OPS["count_categories"].call(3, "uint8", (2, 4), n=4, levels=5, step=1), array([0, 1], \
dtype=uint8))
        """
        one_of(f"dtype of {self.name}", dtype, self.dtypes)
        arguments = self.make(np.random.default_rng(seed), dims, dtype)
        if kept is not None:
            run = slice(*kept)
            arguments |= {k: arguments[k][run] for k in self.entries if k in arguments}
        numbers = [repr(seed), f'"{dtype}"', *([] if kept is None else [str(kept)])]
        numbers += [f"{name}={n}" for name, n in dims.items()]
        return Call(self, arguments, dtype, f'OPS["{self.name}"].call({", ".join(numbers)})')

    def draw(self, seed: int, dtypes: tuple[str, ...] = ()) -> Call:
        """A call of any dims, the same for a seed; dtypes: if not all of the row's."""
        rng = np.random.default_rng(seed)
        dims = {k: int(rng.integers(a, b + 1)) for k, (a, b) in self.dims.items()}
        dtypes = dtypes or self.dtypes
        return self.call(seed, dtypes[int(rng.integers(len(dtypes)))], **dims)

    def calls(
        self,
        *,
        dims: Narrow | None = None,
        dtypes: Iterable[str] = (),
        without: Iterable[str] = (),
    ) -> Any:
        """A hypothesis strategy of calls, which shrinks to few and small dims.

        dims: a number, or bounds within the row's, for some of its dims. dtypes: some of the row's.
        without: names of what no call shall have, of the row's `without`. Raises InputError for
        what the row doesn't have, BackendError without hypothesis.

        >>> from hypothesis import given, settings
        >>> from kernels import OPS, check
        >>> @settings(max_examples=20)
        ... @given(OPS["histogram"].calls(dims={"n": (0, 9)}, without=["weights"]))
        ... def test_mine(call):
        ...     check(lambda x, edges: np.histogram(x, edges)[0], call)
        >>> test_mine()
        """
        chosen = tuple(one_of(f"dtype of {self.name}", d, self.dtypes) for d in dtypes)
        return strategy(self, narrowed(self, dims or {}, without), chosen or self.dtypes)

    @staticmethod
    def installed(where: str) -> bool:
        """Whether the packages behind back end `where` are there."""
        return not _missing(where)

    def _check_names(self) -> None:
        if not self.name.isidentifier():
            raise InputError(f"name must be an identifier, got {self.name!r}")
        for path in (self.definition, *self.twins.values()):
            if not _PATH.fullmatch(path):
                raise InputError(f'{self.name} must name "module:function", got {path!r}')
        for where in self.twins:
            one_of(f"twins of {self.name}", where, BACKENDS)
        for number in self.mission:
            one_of(f"mission of {self.name}", number, _mission())

    def _check_draws(self) -> None:
        for name, bounds in self.dims.items():
            if len(bounds) != 2 or whole(f"{self.name}.{name}", bounds[0]) > bounds[1]:
                raise InputError(f"{name} of {self.name} must be (least, most), got {bounds}")
        if self.entries and "n" not in self.dims:
            raise InputError(f"dims of {self.name} must have n, for its entries, got none")
        if not self.dtypes:
            raise InputError(f"dtypes of {self.name} must name one at least, got none")
        for dtype in self.dtypes:
            _dtype(self.name, dtype)
        for dtype in self.exact or ():
            one_of(f"exact of {self.name}", dtype, self.dtypes)
        for what, left_out in self.without.items():
            narrowed(self, left_out, (), f"{self.name} without {what}: ")

    def _check_bounds(self) -> None:
        for which, limits in (("floor", self.floor), ("cap", self.cap)):
            for key, x in limits.items():
                one_of(f"{which} of {self.name}", key.split()[-1], self.dtypes)
                if not (0 <= x < math.inf):
                    raise InputError(f"{which} of {self.name} must be finite and >= 0, got {x}")
        floats = [d for d in self.dtypes if _dtype(self.name, d).kind == "f"]
        if missing := [d for d in floats if d not in self.cap]:
            raise InputError(
                f"cap of {self.name} must name every floating dtype, got none for "
                f"{', '.join(missing)}"
            )


def require(where: str) -> None:
    """Raise BackendError, saying what to install, unless back end `where` is installed."""
    if missing := _missing(where):
        needs = " and ".join(missing)
        raise BackendError(f"backend {where} needs {needs}; install with {INSTALL[where]}")


def arrays(result: Any) -> tuple[Any, ...]:
    """The arrays of a result: itself, or a tuple's entries."""
    return result if isinstance(result, tuple) else (result,)


def _missing(where: str) -> list[str]:
    return [package for package in NEEDS[where] if find_spec(package) is None]


def _resolve(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    function: Callable[..., Any] = attrgetter(name)(import_module(module))
    return function


def _dtype(op: str, name: str) -> np.dtype[Any]:
    try:
        return np.dtype(name)
    except TypeError:
        raise InputError(f"dtypes of {op} must be NumPy's, got {name!r}") from None


@cache
def _mission() -> frozenset[str]:
    """The ids in docs/MISSION.md."""
    return frozenset(re.findall(r"^\| ([A-Z]+\d+) \|", MISSION.read_text(encoding="utf-8"), re.M))


FAMILIES = (
    "histogram",
    "masks",
    "attention",
    "philox",
    "sampling",
    "diffusion",
    "activations",
    "convolution",
    "normalisation",
    "losses",
    "recurrent",
    "optimisation",
    "autoregressive",
    "decoding",
)


def rows() -> dict[str, Op]:
    """Name of the operation → its row, over all families."""
    modules = [import_module(f"kernels.{family}.rows") for family in FAMILIES]
    return {op.name: op for module in modules for op in module.ROWS}
