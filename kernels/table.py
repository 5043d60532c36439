"""The table that ties an operation's fast twins to its definition, its proof and its price.

From a row come the property test, the rejection of every `wrong` twin, the benchmark (which runs
the same check before it times anything) and a page of documentation. Implementations are named by
string: a machine without Triton imports this and skips, visibly.

A family of operations is a folder, `kernels/<family>/`; its rows are the list `ROWS` of `rows.py`
there, and its name stands in FAMILIES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from core.errors import BackendError, InputError

Arguments = dict[str, Any]
NEEDS = {"numba": ("numba",), "triton": ("triton", "torch")}
INSTALL = {"numba": "pip install numba", "triton": "pip install -e '.[gpu]' (Linux)"}


@dataclass(frozen=True)
class Op:
    """One operation.

    name: of the definition. definition, twins: "module:function", the twins by back end.
    make(rng, dims, dtype): keyword arguments of one call, drawn from a NumPy Generator; `dims` are
        integers that hypothesis draws between the bounds given here, `dtypes` what it chooses from.
    floor, cap: by dtype, for results of size 1 (larger ones in proportion): a floating result may
        be wrong by twice what the definition is wrong by in that dtype, plus floor, but by no more
        than cap. Integer results are exact. A floor by "triton float32" is for that twin alone.
    laws: functions (arguments, result) that raise AssertionError. wrong: twins with a planted
        fault; the check must reject each.
    bench: dims of the benchmarks, by label. peers: other libraries' versions of the same call.
    flops(dims): arithmetic of one call, where it is the bound.
    """

    name: str
    rows: tuple[str, ...]
    definition: str
    twins: Mapping[str, str]
    make: Callable[[np.random.Generator, Mapping[str, int], str], Arguments]
    dims: Mapping[str, tuple[int, int]]
    dtypes: tuple[str, ...] = ("float32", "float64")
    floor: Mapping[str, float] = field(default_factory=dict)
    cap: Mapping[str, float] = field(default_factory=dict)
    laws: tuple[Callable[[Arguments, Any], None], ...] = ()
    wrong: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    bench: Mapping[str, tuple[Mapping[str, int], str]] = field(default_factory=dict)
    peers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    flops: Callable[[Mapping[str, int]], float] | None = None

    def load(self, where: str = "") -> Callable[..., Any]:
        """The definition, or the twin on back end `where`. Raises BackendError."""
        if not where:
            function = _resolve(self.definition)
            return getattr(function, "definition", function)
        if where not in self.twins:
            has = ", ".join(self.twins) or "none"
            raise BackendError(f"{self.name} has no {where} twin; it has {has}")
        require(where)
        return _resolve(self.twins[where])

    def draw(self, seed: int, dtypes: tuple[str, ...] = ()) -> tuple[Arguments, str]:
        """(arguments, dtype) of one call, the same for a seed; dtypes: if not all of the row's."""
        rng = np.random.default_rng(seed)
        dims = {k: int(rng.integers(a, b + 1)) for k, (a, b) in self.dims.items()}
        dtypes = dtypes or self.dtypes
        dtype = dtypes[int(rng.integers(len(dtypes)))]
        return self.make(np.random.default_rng(seed), dims, dtype), dtype

    @staticmethod
    def installed(where: str) -> bool:
        """Whether the packages behind back end `where` are there."""
        return not _missing(where)


def require(where: str) -> None:
    """Raise BackendError, saying what to install, unless back end `where` is installed."""
    if missing := _missing(where):
        needs = " and ".join(missing)
        raise BackendError(f"backend {where} needs {needs}; install with {INSTALL[where]}")


def _missing(where: str) -> list[str]:
    return [package for package in NEEDS[where] if find_spec(package) is None]


def _resolve(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def check(
    op: Op, implementation: Callable[..., Any], arguments: Arguments, dtype: str, where: str = ""
) -> Any:
    """Run one call both ways; AssertionError unless `implementation` is right. Returns its result.

    Right: the arguments are untouched, shape and dtype are the definition's, every law holds,
    integers are equal, and the error of floats against the float64 definition is at most twice the
    definition's own in that dtype plus the row's floor, and below its cap. In float64 the own error
    is taken from float32, in proportion. Of a tuple, each array is judged alone. where: the back
    end, if the row has a floor for it. Raises InputError for a dtype that the row doesn't have.
    """
    if dtype not in op.dtypes:
        raise InputError(f"dtype of {op.name} must be one of {', '.join(op.dtypes)}, got {dtype!r}")
    floor = op.floor.get(f"{where} {dtype}", op.floor.get(dtype, 0.0))
    before = deepcopy(arguments)
    result = implementation(**arguments)
    for key, old in before.items():
        assert _same(old, arguments[key]), f"{op.name} changed its argument {key}"
    expected = op.load()(**arguments)
    _check_kinds(op, arrays(result), arrays(expected))
    for law in op.laws:
        _check_law(op, law, arguments, result)
    truth = _truth(op, arguments, expected)
    own = _own_errors(op, arguments, expected, truth)
    for x, y, t, e in zip(*map(arrays, (result, expected, truth)), own, strict=True):
        if y.dtype.kind in "iub":
            np.testing.assert_array_equal(x, y, err_msg=op.name)
        else:
            _check_error(op, x, t, e, floor, op.cap[dtype])
    return result


def arrays(result: Any) -> tuple[Any, ...]:
    """The arrays of a result: itself, or a tuple's entries."""
    return result if isinstance(result, tuple) else (result,)


def _check_kinds(op: Op, found: tuple[Any, ...], wanted: tuple[Any, ...]) -> None:
    assert len(found) == len(wanted), f"{op.name}: {len(found)} results are not {len(wanted)}"
    for x, y in zip(found, wanted, strict=True):
        kind = f"{op.name}: {type(x).__name__} is not an array"
        assert isinstance(x, (np.ndarray, np.generic)), kind
        assert x.shape == y.shape, f"{op.name}: {x.shape} is not {y.shape}"
        assert x.dtype == y.dtype, f"{op.name}: {x.dtype} is not {y.dtype}"


def _check_law(op: Op, law: Callable[..., None], arguments: Arguments, result: Any) -> None:
    try:
        law(arguments, result)
    except AssertionError as error:
        said = (law.__doc__ or law.__name__).split("\n")[0].rstrip(".")
        raise AssertionError(f"{op.name} breaks a law: {said}: {error}".rstrip(": ")) from error


def _truth(op: Op, arguments: Arguments, expected: Any) -> Any:
    """The definition's result in float64; `expected` itself where nothing would be wider."""
    wide = _widened(arguments)
    exact = all(y.dtype.kind in "iub" for y in arrays(expected))
    if exact or all(wide[k] is v for k, v in arguments.items()):
        return expected
    return op.load()(**wide)


def _own_errors(op: Op, arguments: Arguments, expected: Any, truth: Any) -> list[float]:
    """What the definition is wrong by, for each result.

    Nothing is wider than float64: there it is what the definition loses in float32 on the same
    arguments, less by the ratio of the two eps.
    """
    if truth is not expected:
        return [_error(y, t) for y, t in zip(arrays(expected), arrays(truth), strict=True)]
    narrow = {k: _as_float32(v) for k, v in arguments.items()}
    same = all(narrow[k] is v for k, v in arguments.items())
    if same or all(y.dtype.kind in "iub" for y in arrays(expected)):
        return [0.0 for _ in arrays(expected)]
    try:
        rounded, exact = op.load()(**narrow), op.load()(**_widened(narrow))
    except InputError:  # such as edges that float32 can't tell apart
        return [0.0 for _ in arrays(expected)]
    ratio = float(np.finfo(np.float64).eps / np.finfo(np.float32).eps)
    return [ratio * _error(y, t) for y, t in zip(arrays(rounded), arrays(exact), strict=True)]


def _as_float32(v: Any) -> Any:
    return v.astype(np.float32) if isinstance(v, np.ndarray) and v.dtype == np.float64 else v


def _error(result: Any, truth: Any) -> float:
    """The largest, where both are finite."""
    finite = np.isfinite(truth) & np.isfinite(result)
    return float(np.abs(result.astype(np.float64) - truth)[finite].max(initial=0.0))


def _check_error(op: Op, result: Any, truth: Any, own: float, floor: float, cap: float) -> None:
    finite = np.isfinite(truth)
    assert np.array_equal(np.isfinite(result), finite), f"{op.name}: NaN or infinity"
    error = _error(result, truth)
    scale = max(1.0, np.abs(truth)[finite].max(initial=0.0))  # an eps is relative to the result
    allowed = min(2 * own + floor * scale, cap * scale)
    assert error <= allowed, f"{op.name}: error {error:.3g}, allowed {allowed:.3g}"


def _widened(arguments: Arguments) -> Arguments:
    def widen(v: Any) -> Any:
        if isinstance(v, np.ndarray) and v.dtype.kind == "f":
            return v.astype(np.float64, copy=False)
        return v

    return {k: widen(v) for k, v in arguments.items()}


def _same(old: Any, new: Any) -> bool:
    """Whether nothing in an argument changed: in an array, in what holds arrays, or in itself."""
    if isinstance(old, np.ndarray):
        return bool(np.array_equal(old, new, equal_nan=old.dtype.kind == "f"))
    if isinstance(old, list | tuple):
        return len(old) == len(new) and all(map(_same, old, new))
    if is_dataclass(old):
        return all(_same(getattr(old, f.name), getattr(new, f.name)) for f in fields(old))
    return bool(old == new)


FAMILIES = (
    "histogram",
    "masks",
    "attention",
    "philox",
    "sampling",
    "diffusion",
)


def rows() -> dict[str, Op]:
    """Name of the operation → its row, over all families."""
    modules = [import_module(f"kernels.{family}.rows") for family in FAMILIES]
    return {op.name: op for module in modules for op in module.ROWS}
