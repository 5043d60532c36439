"""Arrays that remember how they were made: reverse-mode differentiation of plain NumPy.

A `Tensor` is a NumPy duck array. `np.exp(t)`, `t @ w`, `np.where(m, t, 0.0)` compute with NumPy and
record, in the new Tensor, which row of the table in `core.vjps` made it and from what. `backward`
walks those records from the newest to the oldest and applies each row's vector-Jacobian products:

    z = f(x_1, …, x_n),   g = ∂L/∂z   →   ∂L/∂x_i += vjp_i(g, z, x_1, …, x_n)

The same vjp runs on arrays (first derivatives, at NumPy's speed) and on Tensors
(`create_graph=True`: the derivative is itself differentiable). Plain arrays are the constants.

Source: Griewank & Walther, Evaluating Derivatives (2008), chapter 3. MISSION rows F6, F7, G1.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, overload

import numpy as np

from core.errors import InputError

Array = Any
"""A value that may be an ndarray or a Tensor: what a definition written in plain NumPy takes."""

Options = dict[str, Any]
_NO_OPTIONS: Options = {}
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_SILENT, _RECORD, _CHECKED = 0, 1, 2
_mode: ContextVar[int] = ContextVar("genzoo_tape_mode", default=_RECORD)
_clock = itertools.count()


class Row:
    """One row of the table of derivatives: an operation and its vector-Jacobian products.

    forward: plain NumPy, arrays in, array out.
    vjps: one function per array argument, `vjp(g, z, *arguments, **options)`, or None where the
        operation has no derivative in that argument. For operations on any number of arrays, a
        single function `vjp(i, g, z, *arguments, **options)` stands instead of the tuple.
    bind: turns the caller's (args, kwargs) into (arrays, options), refusing what is unsupported.
    adds: `adds(sum, g, **options)`, where a vjp of one argument can be added into a sum in place.
    """

    __slots__ = ("__dict__", "adds", "bind", "casts", "forward", "name", "variadic", "vjps")

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        vjps: Any,
        bind: Callable[..., tuple[tuple[Any, ...], Options]],
        casts: bool = False,
    ) -> None:
        self.name, self.forward, self.vjps, self.bind = name, forward, vjps, bind
        self.casts, self.variadic = casts, not isinstance(vjps, tuple)
        self.adds: Callable[..., None] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Apply the operation: recorded where an argument is a Tensor, plain NumPy otherwise."""
        arrays, options = self.bind(*args, **kwargs)
        for a in arrays:
            if type(a) is Tensor:
                return apply(self, arrays, options)
        return self.forward(*arrays, **options)

    def __repr__(self) -> str:
        return f"Row({self.name})"

    def __reduce__(self) -> Any:
        """A function of ours that is a row is pickled by its name, as functions are."""
        wrapped = getattr(self, "__wrapped__", None)
        return super().__reduce__() if wrapped is None else wrapped.__qualname__


class JointRow(Row):
    """A row whose vjps come from one function, `joint(g, z, *arguments)`, all at once.

    Such are an operation that runs on a back end, and a norm: one backward for all arguments.
    """

    __slots__ = ("joint",)

    def __init__(self, name: str, forward: Callable[..., Any], joint: Callable[..., Any]) -> None:
        super().__init__(name, forward, (), lambda *args, **kwargs: (args, kwargs))
        self.joint = joint


ROWS: dict[Any, Row] = {}
"""The table: NumPy function (or one of ours) → its row. Filled by `core.vjps`."""

COMPOSED: dict[Any, Callable[..., Any]] = {}
"""NumPy functions written in terms of rows. Filled by `core.vjps`."""

CONSTANT: set[Any] = set()
"""NumPy functions whose result carries no derivative: they return plain arrays."""


def apply(row: Row, args: Sequence[Any], options: Options = _NO_OPTIONS) -> Array:
    """Compute `row` on the values of `args`; record it unless inside `no_grad`."""
    values = [a._data if type(a) is Tensor else a for a in args]
    z = row.forward(*values, **options) if options else row.forward(*values)
    mode = _mode.get()
    return z if mode == _SILENT else _record(z, row, args, options, mode)


def _record(z: Any, row: Row, args: Sequence[Any], options: Options, mode: int) -> Tensor:
    out = _new(Tensor)
    out._data = z if type(z) is np.ndarray else np.asarray(z)
    out.grad = None
    out._row, out._args, out._options = row, args, options
    out._index, out._version = next(_clock), 0
    out._stamp = _stamp(out._data.dtype, row, args)
    out._checksums = _checksums(out) if mode == _CHECKED else None
    return out


def _stamp(dtype: Any, row: Row, args: Sequence[Any]) -> int:
    """Sum of the arguments' versions (they only grow). Refuses mixed float dtypes on the way."""
    stamp = 0
    for a in args:
        if type(a) is Tensor:
            stamp += a._version
            if a._data.dtype != dtype and not row.casts:
                _raise_mixed(row, args)
        elif isinstance(a, (np.ndarray, np.generic)) and a.dtype.kind == "f" and a.dtype != dtype:
            _raise_mixed(row, args)
    return stamp


def _raise_mixed(row: Row, args: Sequence[Any]) -> NoReturn:
    kinds = [str(a.dtype) if hasattr(a, "dtype") else type(a).__name__ for a in args]
    raise TypeError(
        f"{row.name}: arguments must have one float dtype, got {', '.join(kinds)} "
        "(use Python numbers for constants, .astype for arrays)"
    )


class Tensor:
    """An array with a derivative.

    data: float32 or float64 ndarray, any shape; shared with the array it was made from. Reading
        gives a read-only view: what writes to a leaf is `w[...] = values`, which backward sees.
    grad: None, or the derivative that `backward` accumulated (leaves only), same shape and dtype.

    NumPy's functions and operators take it. Raises TypeError for any other dtype, and where NumPy
    would lose the graph. Inside `no_grad`, operations return plain ndarrays.

    >>> x = Tensor(np.array([1.0, 2.0]))
    >>> y = np.sum(x * x)
    >>> y
    Tensor(5., dtype=float64)
    >>> y.backward()
    >>> x.grad
    array([2., 4.])
    >>> x[0] = 3.0
    >>> f"{np.sum(x * x):.2f}"
    '13.00'
    """

    __slots__ = (
        "__weakref__",
        "_args",
        "_checksums",
        "_data",
        "_index",
        "_options",
        "_row",
        "_stamp",
        "_version",
        "grad",
    )

    grad: Array
    _data: np.ndarray[tuple[int, ...], np.dtype[Any]]
    _row: Row | None
    _args: Sequence[Any]
    _options: Options
    _index: int
    _version: int
    _stamp: int
    _checksums: list[Any] | None

    def __init__(self, data: Any) -> None:
        if isinstance(data, Tensor):
            raise TypeError("data is already a Tensor; its values are in .data")
        array = np.asarray(data)
        if array.dtype not in _FLOATS or not array.dtype.isnative:
            raise TypeError(f"data must be native float32 or float64, got {array.dtype}")
        self._data, self.grad = array, None
        self._row, self._args, self._options = None, (), _NO_OPTIONS
        self._index, self._version, self._stamp, self._checksums = next(_clock), 0, 0, None

    # The duck-array protocols (NEP 13 and NEP 18)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Array:
        if method != "__call__":
            raise TypeError(f"np.{ufunc.__name__}.{method} is not supported on a Tensor")
        if ufunc in CONSTANT:
            return ufunc(*[value(a) for a in inputs], **kwargs)
        if kwargs:
            self._refuse(ufunc.__name__, kwargs)
        row = ROWS.get(ufunc)
        if row is None:
            raise TypeError(f"{ufunc.__name__} has no derivative in core.vjps")
        return apply(row, inputs)

    @staticmethod
    def _refuse(name: str, kwargs: Options) -> NoReturn:
        if "out" in kwargs:
            raise TypeError(
                f"{name}: an array can't take in a Tensor (its graph would be lost): without out=, "
                "and y = y + x for y += x, the result is a new Tensor"
            )
        raise TypeError(f"{name}: keyword {sorted(kwargs)[0]!r} is not supported on a Tensor")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Array:
        row = ROWS.get(function)
        if row is not None:
            arrays, options = row.bind(*args, **kwargs)
            return apply(row, arrays, options)
        composed = COMPOSED.get(function)
        if composed is not None:
            return composed(*args, **kwargs)
        if function in CONSTANT:
            return function(*[value(a) for a in args], **kwargs)
        raise TypeError(f"np.{function.__name__} has no derivative in core.vjps")

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "a Tensor does not turn into an ndarray silently (its graph would be lost); use .data, "
            "or np.stack / np.concatenate to build arrays from Tensors"
        )

    # Shape and values

    @property
    def data(self) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
        """The values, as a read-only view; `value(t)` is the array itself."""
        view = self._data.view()
        view.flags.writeable = False
        return view

    @data.setter
    def data(self, values: Any) -> NoReturn:
        raise AttributeError("data can't be replaced; write t[...] = values, which backward sees")

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self._data.dtype

    @property
    def T(self) -> Array:
        """All axes reversed."""
        return np.transpose(self)

    @property
    def mT(self) -> Array:
        """The last two axes swapped."""
        return np.swapaxes(self, -1, -2)

    def item(self) -> float:
        """The only entry, as a Python float.

        `float(t)` raises: NumPy calls it in `buffer[0] = t`, and would lose the graph.
        """
        return float(self._data.item())

    def __float__(self) -> NoReturn:
        raise TypeError(
            "a Tensor does not turn into a number silently (its graph would be lost); write "
            "t.item(), or np.stack / np.concatenate to build arrays from Tensors"
        )

    __int__ = __complex__ = __float__

    def __format__(self, spec: str) -> str:
        """A single number as a float is written; without a specification what repr gives."""
        if not spec:
            return repr(self)
        if self.size != 1:
            raise TypeError(f"format {spec!r} is for a single number, got shape {self.shape}")
        return format(self.item(), spec)

    def __bool__(self) -> bool:
        return bool(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Tensor({np.array2string(self._data, separator=', ')}, dtype={self.dtype})"

    # Writing

    def __setitem__(self, index: Any, values: Any) -> None:
        if isinstance(values, Tensor):
            raise TypeError(
                "values is a Tensor, and its graph would be lost here; write "
                "y = np.where(mask, values, y), or join parts by np.stack or np.concatenate"
            )
        if self._row is not None:
            raise TypeError(
                "only a leaf Tensor can be written to; write y = np.where(mask, values, y)"
            )
        self._data[index] = values
        self.touch()

    def touch(self) -> None:
        """Say that `value(t)` was written in place: backward through older uses then raises."""
        self._version += 1

    # Copies and pickles

    def __reduce__(self) -> Any:
        if self._row is not None:
            raise TypeError(
                f"only a leaf Tensor can be copied or pickled; this one was computed by "
                f"{self._row.name}: use value(t), the array without its graph"
            )
        return _leaf, (self._data.copy(), self.grad)

    # Differentiation

    def backward(self, gradient: Array = None, create_graph: bool = False) -> None:
        """Add ∂(Σ gradient·self)/∂leaf to `.grad` of every leaf this Tensor was made from.

        gradient: same shape and dtype as self; may be left out for a single number.
        create_graph: keep the derivatives differentiable (`.grad` becomes a Tensor).

        Raises InputError for a missing or misfitting gradient, RuntimeError if an array was
        written to after it was used.

        >>> w = Tensor(np.array([1.0, 2.0]))
        >>> (3 * w).backward(np.array([1.0, 10.0]))
        >>> w.grad
        array([ 3., 30.])
        """
        if self._row is None:
            raise InputError("backward: this Tensor is a leaf; it was not computed from anything")
        grads, leaves, owned = _pull_back(self, gradient, create_graph, None)
        for leaf in leaves:
            g = grads[id(leaf)]
            if leaf.grad is not None:
                leaf.grad = leaf.grad + g
            elif create_graph:
                leaf.grad = g
            else:
                leaf.grad = g if id(leaf) in owned else np.array(g)

    # Methods that NumPy arrays have too

    def astype(self, dtype: Any) -> Array:
        """The same values as float32 or float64; the derivative is cast back."""
        return ROWS["astype"](self, dtype=dtype)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Array:
        """np.sum."""
        return apply(ROWS[np.sum], (self,), {"axis": axis, "keepdims": keepdims})

    def mean(self, axis: Any = None, keepdims: bool = False) -> Array:
        """np.mean."""
        return apply(ROWS[np.mean], (self,), {"axis": axis, "keepdims": keepdims})

    def var(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Array:
        """np.var."""
        return np.var(self, axis=axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Array:
        """np.std."""
        return np.std(self, axis=axis, ddof=ddof, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Array:
        """np.prod."""
        return np.prod(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Array:
        """np.max; ties share the derivative equally."""
        return np.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Array:
        """np.min; ties share the derivative equally."""
        return np.min(self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: Any = None) -> Any:
        """np.argmax: a plain integer array."""
        return self._data.argmax(axis=axis)

    def argmin(self, axis: Any = None) -> Any:
        """np.argmin: a plain integer array."""
        return self._data.argmin(axis=axis)

    def cumsum(self, axis: int | None = None) -> Array:
        """np.cumsum."""
        return np.cumsum(self, axis=axis)

    def clip(self, a_min: Any = None, a_max: Any = None) -> Array:
        """np.clip."""
        return np.clip(self, a_min, a_max)

    def reshape(self, *shape: Any) -> Array:
        """np.reshape."""
        shape = shape[0] if len(shape) == 1 else shape
        return apply(ROWS[np.reshape], (self,), {"shape": shape})

    def ravel(self) -> Array:
        """np.ravel."""
        return np.reshape(self, (-1,))

    def flatten(self) -> Array:
        """np.ravel."""
        return np.reshape(self, (-1,))

    def transpose(self, *axes: Any) -> Array:
        """np.transpose."""
        if not axes:
            return np.transpose(self)
        return np.transpose(self, axes[0] if len(axes) == 1 else axes)

    def swapaxes(self, axis1: int, axis2: int) -> Array:
        """np.swapaxes."""
        return np.swapaxes(self, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Array:
        """np.squeeze."""
        return np.squeeze(self, axis=axis)

    def __getitem__(self, index: Any) -> Array:
        return apply(ROWS["getitem"], (self,), {"index": index})

    # Operators

    def __add__(self, other: Any) -> Array:
        return apply(ROWS[np.add], (self, other))

    def __radd__(self, other: Any) -> Array:
        return apply(ROWS[np.add], (other, self))

    def __sub__(self, other: Any) -> Array:
        return apply(ROWS[np.subtract], (self, other))

    def __rsub__(self, other: Any) -> Array:
        return apply(ROWS[np.subtract], (other, self))

    def __mul__(self, other: Any) -> Array:
        return apply(ROWS[np.multiply], (self, other))

    def __rmul__(self, other: Any) -> Array:
        return apply(ROWS[np.multiply], (other, self))

    def __truediv__(self, other: Any) -> Array:
        return apply(ROWS[np.divide], (self, other))

    def __rtruediv__(self, other: Any) -> Array:
        return apply(ROWS[np.divide], (other, self))

    def __matmul__(self, other: Any) -> Array:
        return apply(ROWS[np.matmul], (self, other))

    def __rmatmul__(self, other: Any) -> Array:
        return apply(ROWS[np.matmul], (other, self))

    def __pow__(self, other: Any) -> Array:
        if isinstance(other, (int, float)) and other == 2:
            return apply(ROWS[np.square], (self,))
        return apply(ROWS[np.power], (self, other))

    def __rpow__(self, other: Any) -> Array:
        return apply(ROWS[np.power], (other, self))

    def __neg__(self) -> Array:
        return apply(ROWS[np.negative], (self,))

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Array:
        return apply(ROWS[np.absolute], (self,))

    def __eq__(self, other: Any) -> Any:
        return self._data == value(other)

    def __ne__(self, other: Any) -> Any:
        return self._data != value(other)

    def __lt__(self, other: Any) -> Any:
        return self._data < value(other)

    def __le__(self, other: Any) -> Any:
        return self._data <= value(other)

    def __gt__(self, other: Any) -> Any:
        return self._data > value(other)

    def __ge__(self, other: Any) -> Any:
        return self._data >= value(other)

    __hash__ = object.__hash__


_new = Tensor.__new__


def _leaf(data: Any, gradient: Array) -> Tensor:
    leaf = Tensor(data)
    leaf.grad = gradient
    return leaf


def value(a: Array) -> Any:
    """The plain array behind a Tensor; anything else as it is.

    >>> value(Tensor(np.array([1.0, 2.0]))), value(3)
    (array([1., 2.]), 3)
    """
    return a._data if isinstance(a, Tensor) else a


def detach(a: Array) -> Any:
    """`value`, said where a derivative is meant to stop.

    >>> x = Tensor(np.array(2.0))
    >>> float(grad(x * detach(x), x))
    2.0
    """
    return value(a)


@overload
def grad(y: Array, inputs: Tensor, gradient: Array = None, create_graph: bool = False) -> Array: ...
@overload
def grad(
    y: Array, inputs: Iterable[Tensor], gradient: Array = None, create_graph: bool = False
) -> list[Any]: ...
def grad(y: Array, inputs: Any, gradient: Array = None, create_graph: bool = False) -> Any:
    """[∂(Σ gradient·y)/∂x for x in inputs], as arrays (Tensors with `create_graph`).

    inputs: several Tensors, or one, for which the result is one array.

    Leaves every `.grad` alone. An input that y doesn't depend on gets zeros.
    Raises as `Tensor.backward` does.

    >>> x = Tensor(np.array([1.0, 2.0]))
    >>> grad(np.sum(x**3), x)
    array([ 3., 12.])
    >>> (slope,) = grad(np.sum(x**3), [x], create_graph=True)
    >>> grad(np.sum(slope), x)
    array([ 6., 12.])
    """
    if isinstance(inputs, Tensor):
        return grad(y, [inputs], gradient, create_graph)[0]
    inputs = list(inputs)
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor):
            raise InputError(f"inputs[{i}] must be a Tensor, got {type(x).__name__}")
    grads, _, owned = _pull_back(y, gradient, create_graph, inputs)
    found = [grads.get(id(x)) for x in inputs]
    return [_own(g, x, id(x) in owned or create_graph) for g, x in zip(found, inputs, strict=True)]


def _own(g: Array, x: Tensor, owned: bool) -> Array:
    if g is None:
        return np.zeros_like(x._data)
    return g if owned else np.array(g)


def jacobian(f: Callable[[Tensor], Array], x: Any, create_graph: bool = False) -> Array:
    """∂f/∂x at x, shape (*f(x).shape, *x.shape): one backward pass per entry of f(x).

    x: array (or Tensor, when the result is to be differentiated in turn with `create_graph`).

    >>> jacobian(lambda x: x * x[0], np.array([2.0, 5.0]))
    array([[4., 0.],
           [5., 2.]])
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    y = f(x)
    basis = np.eye(y.size, dtype=x.dtype).reshape(y.size, *y.shape)
    rows = [grad(y, [x], e, create_graph)[0] for e in basis]
    if not rows:
        return np.zeros((*y.shape, *x.shape), x.dtype)
    return np.reshape(np.stack(rows), (*y.shape, *x.shape))


def _pull_back(
    root: Tensor, gradient: Array, create_graph: bool, inputs: Sequence[Tensor] | None
) -> tuple[dict[int, Any], list[Tensor], set[int]]:
    """Gradients by id of Tensor, the leaves met, and the ids whose array nobody else holds."""
    nodes, leaves = _ancestors(root)
    wanted = None if inputs is None else _leading_to(inputs, nodes)
    keep = set() if inputs is None else {id(x) for x in inputs}
    grads: dict[int, Any] = {id(root): _seed(root, gradient, create_graph)}
    owned: set[int] = set()
    for node in nodes:
        k = id(node)
        if k not in grads:
            continue
        g = grads[k] if k in keep else grads.pop(k)
        owned.discard(k)
        _visit(node, g, grads, owned, wanted, create_graph)
    reached = [leaf for leaf in leaves if id(leaf) in grads]
    return grads, reached, owned


def _visit(
    node: Tensor,
    g: Array,
    grads: dict[int, Any],
    owned: set[int],
    wanted: set[int] | None,
    create_graph: bool,
) -> None:
    """Push g = ∂L/∂node on to the node's arguments."""
    row, args, options = node._row, node._args, node._options
    assert row is not None
    _check_unwritten(node, row)
    values = args if create_graph else [a._data if type(a) is Tensor else a for a in args]
    z = node if create_graph else node._data
    joint = row.joint(g, z, *values) if isinstance(row, JointRow) else None
    for i, a in enumerate(args):
        if type(a) is not Tensor or (wanted is not None and id(a) not in wanted):
            continue
        if row.adds is not None and not create_graph:
            row.adds(_own_sum(a, grads, owned), g, **options)
            continue
        if joint is not None:
            gi = joint[i]
        elif row.variadic:
            gi = row.vjps(i, g, z, *values, **options)
        elif row.vjps[i] is None:
            continue
        else:
            gi = row.vjps[i](g, z, *values, **options)
        if gi.shape != a._data.shape:
            gi = unbroadcast(gi, a._data.shape, row.name)
        _accumulate(id(a), gi, g, grads, owned)


def _accumulate(k: int, gi: Array, g: Array, grads: dict[int, Any], owned: set[int]) -> None:
    """grads[k] += gi, in place only where nobody else can hold the array."""
    if k not in grads:
        grads[k] = gi
        if gi is not g and type(gi) is np.ndarray and gi.base is None:
            owned.add(k)
    elif k in owned:
        grads[k] += gi
    else:
        grads[k] = grads[k] + gi
        if type(grads[k]) is np.ndarray:
            owned.add(k)


def _own_sum(a: Tensor, grads: dict[int, Any], owned: set[int]) -> Array:
    """∂L/∂a as far as it has come, in an array that nobody else holds."""
    k = id(a)
    if k not in owned:
        grads[k] = np.array(grads[k]) if k in grads else np.zeros_like(a._data)
        owned.add(k)
    return grads[k]


def _ancestors(root: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Computed Tensors behind root, newest first, and the leaves behind them."""
    if not isinstance(root, Tensor):
        raise InputError(f"y must be a Tensor, got {type(root).__name__} (made inside no_grad?)")
    seen, stack = {id(root)}, [root]
    nodes: list[Tensor] = []
    leaves: list[Tensor] = []
    while stack:
        node = stack.pop()
        if node._row is None:
            leaves.append(node)
            continue
        nodes.append(node)
        for a in node._args:
            if type(a) is Tensor and id(a) not in seen:
                seen.add(id(a))
                stack.append(a)
    # A Tensor is made after its arguments, so the order of making is a topological order.
    nodes.sort(key=_age, reverse=True)
    return nodes, leaves


def _age(node: Tensor) -> int:
    return node._index


def _leading_to(inputs: Sequence[Tensor], nodes: list[Tensor]) -> set[int]:
    """Ids of the Tensors that depend on one of `inputs`: the others need no gradient."""
    wanted = {id(x) for x in inputs}
    for node in reversed(nodes):
        if any(type(a) is Tensor and id(a) in wanted for a in node._args):
            wanted.add(id(node))
    return wanted


def _seed(root: Tensor, gradient: Array, create_graph: bool) -> Array:
    if gradient is None:
        if root.size != 1:
            raise InputError(
                f"gradient must be given for y of shape {root.shape}, which is no single number"
            )
        gradient = np.ones_like(root._data)
    fits = hasattr(gradient, "dtype") and gradient.dtype == root.dtype
    if not fits or gradient.shape != root.shape:
        kind = getattr(gradient, "dtype", type(gradient).__name__)
        raise InputError(
            f"gradient must be {root.dtype}{root.shape}, got {kind}{np.shape(gradient)}"
        )
    if create_graph:
        return gradient if isinstance(gradient, Tensor) else Tensor(gradient)
    return value(gradient)


def unbroadcast(g: Array, shape: tuple[int, ...], name: str = "row") -> Array:
    """Sum g over the axes along which an argument of this shape was repeated.

    Raises RuntimeError where such an argument can't have been broadcast to the shape of g: the
    row that made g is wrong.
    """
    extra = g.ndim - len(shape)
    if extra < 0 or any(m not in (1, n) for m, n in zip(shape, g.shape[extra:], strict=True)):
        raise RuntimeError(f"{name}: derivative of shape {g.shape} for an argument of {shape}")
    stretched = tuple(
        i for i, n in enumerate(g.shape) if i < extra or (shape[i - extra] == 1 and n != 1)
    )
    return np.reshape(np.sum(g, axis=stretched), shape)


def _check_unwritten(node: Tensor, row: Row) -> None:
    stamp = 0
    for a in node._args:
        if type(a) is Tensor:
            stamp += a._version
    if stamp != node._stamp:
        raise RuntimeError(f"{row.name}: an argument was written to after it was used here")
    if node._checksums is not None and node._checksums != _checksums(node):
        raise RuntimeError(f"{row.name}: an array was written to behind its Tensor's back")


def _checksums(node: Tensor) -> list[Any]:
    """Checksums of all arrays behind a record, those among the options (an index) as well."""
    return list(_digest((*node._args, node, *node._options.values())))


def _digest(parts: Any) -> Iterator[Any]:
    for part in map(value, parts):
        if isinstance(part, (np.ndarray, np.generic)):
            yield zlib.crc32(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, (list, tuple)):
            yield from _digest(part)
        else:
            yield part


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside, nothing is recorded: operations on Tensors return plain ndarrays.

    >>> with no_grad():
    ...     Tensor(np.array([1.0, 2.0])) * 3
    array([3., 6.])
    """
    token = _mode.set(_SILENT)
    try:
        yield
    finally:
        _mode.reset(token)


def recording() -> bool:
    """Whether operations on Tensors are recorded: outside `no_grad`."""
    return _mode.get() != _SILENT


@contextmanager
def debug() -> Iterator[None]:
    """Inside, every array is checksummed; `backward` raises if one was changed under its Tensor.

    >>> w = Tensor(np.array([1.0, 2.0]))
    >>> with debug():
    ...     y = np.sum(w * w)
    >>> value(w)[0] = 5.0
    >>> y.backward()
    Traceback (most recent call last):
    RuntimeError: multiply: an array was written to behind its Tensor's back
    """
    token = _mode.set(_CHECKED)
    try:
        yield
    finally:
        _mode.reset(token)
