"""What to feed each row of the table of derivatives, and PyTorch's name for the same operation.

A case is one call: `f` on arrays or Tensors, the differentiable inputs, and the same call in PyTorch
(None where it has none). Every row must have cases: `test_every_row_has_cases`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from core import vjps
from core.distributions import probabilities
from core.tensor import ROWS

Inputs = list[np.ndarray]


@dataclass(frozen=True)
class Case:
    """A call of the row `key` on inputs in float64; `twice` is False where a kink rules it out."""

    key: Any
    label: str
    f: Callable[..., Any]
    inputs: Inputs
    torch: Callable[..., Any] | None


def _away_from(x: np.ndarray, kinks: tuple[float, ...]) -> np.ndarray:
    """Move entries off the points where a function has no derivative."""
    for kink in kinks:
        x = np.where(np.abs(x - kink) < 0.05, kink + 0.1, x)
    return x


def _draw(rng: Any, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    return rng.uniform(low, high, shape)


def _unary(torch: Any) -> list[Case]:
    t = torch
    table: list[tuple[Any, Any, float, float]] = [
        (np.negative, t and t.neg, -2, 2),
        (np.positive, t and t.positive, -2, 2),
        (np.reciprocal, t and t.reciprocal, 0.5, 2),
        (np.square, t and t.square, -2, 2),
        (np.sqrt, t and t.sqrt, 0.3, 3),
        (np.cbrt, None, 0.3, 3),
        (np.absolute, t and t.abs, -2, 2),
        (np.exp, t and t.exp, -2, 2),
        (np.exp2, t and t.exp2, -2, 2),
        (np.expm1, t and t.expm1, -2, 2),
        (np.log, t and t.log, 0.3, 3),
        (np.log2, t and t.log2, 0.3, 3),
        (np.log10, t and t.log10, 0.3, 3),
        (np.log1p, t and t.log1p, -0.5, 3),
        (np.sin, t and t.sin, -2, 2),
        (np.cos, t and t.cos, -2, 2),
        (np.tan, t and t.tan, -1, 1),
        (np.arcsin, t and t.arcsin, -0.8, 0.8),
        (np.arccos, t and t.arccos, -0.8, 0.8),
        (np.arctan, t and t.arctan, -2, 2),
        (np.sinh, t and t.sinh, -2, 2),
        (np.cosh, t and t.cosh, -2, 2),
        (np.tanh, t and t.tanh, -2, 2),
        (np.arcsinh, t and t.arcsinh, -2, 2),
        (np.arccosh, t and t.arccosh, 1.3, 3),
        (np.arctanh, t and t.arctanh, -0.8, 0.8),
        (special.expit, t and t.sigmoid, -3, 3),
        (special.log_expit, t and t.nn.functional.logsigmoid, -3, 3),
        (special.erf, t and t.erf, -2, 2),
        (special.erfc, t and t.erfc, -2, 2),
        (special.ndtr, t and t.special.ndtr, -2, 2),
        (special.ndtri, t and t.special.ndtri, 0.05, 0.95),
        (special.log_ndtr, t and t.special.log_ndtr, -3, 2),
        (vjps.mills, None, -9, 3),
        (vjps.mills_excess, None, -9, 3),
        (special.gammaln, t and t.lgamma, 0.5, 3),
        (special.psi, t and t.digamma, 0.5, 3),
        (np.copy, t and t.clone, -2, 2),
    ]
    rng = np.random.default_rng(0)
    cases = []
    for function, peer, low, high in table:
        call = function if isinstance(function, np.ufunc) or function is np.copy else ROWS[function]
        for shape in ((3, 4), (), (0,), (1, 5, 1)):
            x = _away_from(_draw(rng, shape, low, high), (0.0,))
            cases.append(Case(function, f"{function.__name__}{shape}", call, [x], peer))
    return cases


def _binary(torch: Any) -> list[Case]:
    t = torch
    table: list[tuple[Any, Any, float, float]] = [
        (np.add, t and t.add, -2, 2),
        (np.subtract, t and t.subtract, -2, 2),
        (np.multiply, t and t.multiply, -2, 2),
        (np.divide, t and t.divide, 0.5, 2),
        (np.power, t and t.pow, 0.5, 2),
        (np.logaddexp, t and t.logaddexp, -3, 3),
        (np.arctan2, t and t.arctan2, 0.3, 2),
        (np.maximum, t and t.maximum, -2, 2),
        (np.minimum, t and t.minimum, -2, 2),
        (np.hypot, t and t.hypot, -2, 2),
        (special.xlogy, t and t.special.xlogy, 0.3, 2),
    ]
    pairs = [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 0), (1, 1))]
    pairs += [((2, 3, 1), (3, 4)), ((1,), (1, 1))]
    rng = np.random.default_rng(1)
    cases = []
    for function, peer, low, high in table:
        for a, b in pairs:
            inputs = [_draw(rng, a, low, high), _draw(rng, b, low, high)]
            cases.append(Case(function, f"{function.__name__}{a}{b}", function, inputs, peer))
    return cases


def _reductions(torch: Any) -> list[Case]:
    t = torch
    rng = np.random.default_rng(2)
    cases = []
    peers = {
        np.sum: t and (lambda x, axis, k: t.sum(x, dim=axis, keepdim=k)),
        np.mean: t and (lambda x, axis, k: t.mean(x, dim=axis, keepdim=k)),
        np.max: t and (lambda x, axis, k: t.amax(x, dim=axis, keepdim=k)),
        np.min: t and (lambda x, axis, k: t.amin(x, dim=axis, keepdim=k)),
    }
    for function, peer in peers.items():
        call = ROWS[function]
        for shape, axis in (((3, 4), (0, 1)), ((3, 4), 0), ((2, 3, 4), (0, -1)), ((1, 5), -1)):
            for keepdims in (False, True):
                cases.append(
                    Case(
                        function,
                        f"{function.__name__}{shape}{axis}{keepdims}",
                        lambda x, c=call, a=axis, k=keepdims: c(x, axis=a, keepdims=k),
                        [rng.normal(size=shape)],
                        peer and (lambda x, p=peer, a=axis, k=keepdims: p(x, a, k)),
                    )
                )
        cases.append(
            Case(function, f"{function.__name__} all", call, [rng.normal(size=(2, 3))], None)
        )
    nothing = Case(
        np.sum,
        "sum over nothing",
        lambda x: np.sum(x, axis=0),
        [np.zeros((0, 3))],
        t and (lambda x: t.sum(x, dim=0)),
    )
    return [*cases, nothing]


def _shapes(torch: Any) -> list[Case]:
    t = torch
    rng = np.random.default_rng(3)
    x, e = rng.normal(size=(2, 3, 4)), np.zeros((0, 3))
    table: list[tuple[Any, str, Any, Inputs, Any]] = [
        (np.reshape, "reshape", lambda x: np.reshape(x, (4, -1)), [x], t and (lambda x: x.reshape(4, -1))),
        (np.reshape, "reshape 0", lambda x: np.reshape(x, (3, 0)), [e], t and (lambda x: x.reshape(3, 0))),
        (np.transpose, "transpose", np.transpose, [x], t and (lambda x: x.permute(2, 1, 0))),
        (np.transpose, "transpose axes", lambda x: np.transpose(x, (1, 2, 0)), [x], t and (lambda x: x.permute(1, 2, 0))),
        (np.swapaxes, "swapaxes", lambda x: np.swapaxes(x, 0, -1), [x], t and (lambda x: x.swapaxes(0, -1))),
        (np.moveaxis, "moveaxis", lambda x: np.moveaxis(x, 0, -1), [x], t and (lambda x: x.movedim(0, -1))),
        (np.moveaxis, "moveaxis 2", lambda x: np.moveaxis(x, (0, 1), (-1, 0)), [x], t and (lambda x: x.movedim((0, 1), (-1, 0)))),
        (np.expand_dims, "expand_dims", lambda x: np.expand_dims(x, 1), [x], t and (lambda x: x.unsqueeze(1))),
        (np.squeeze, "squeeze", lambda x: np.squeeze(x, axis=1), [x[:, :1]], t and (lambda x: x.squeeze(1))),
        (np.broadcast_to, "broadcast_to", lambda x: np.broadcast_to(x, (5, 2, 4)), [x[:, 0, :]], t and (lambda x: x.broadcast_to((5, 2, 4)))),
        (np.broadcast_to, "broadcast_to 1", lambda x: np.broadcast_to(x, (3, 4)), [x[0, :1]], t and (lambda x: x.broadcast_to((3, 4)))),
        (vjps.spread, "spread", lambda x: ROWS[vjps.spread](x, (2, 5, 4)), [x[:, :1]], t and (lambda x: x.broadcast_to((2, 5, 4)))),
        (np.flip, "flip", lambda x: np.flip(x, 1), [x], t and (lambda x: x.flip(1))),
        (np.flip, "flip all", np.flip, [x], t and (lambda x: x.flip((0, 1, 2)))),
        (np.tril, "tril", lambda x: np.tril(x, -1), [x], t and (lambda x: x.tril(-1))),
        (np.triu, "triu", lambda x: np.triu(x, 1), [x], t and (lambda x: x.triu(1))),
        (np.concatenate, "concatenate", lambda x, y: np.concatenate([x, y], axis=-1), [x, x[..., :1] + 1], t and (lambda x, y: t.cat([x, y], -1))),
        (np.concatenate, "concatenate 0", lambda x, y: np.concatenate([x, y]), [x[0], np.zeros((0, 4))], t and (lambda x, y: t.cat([x, y]))),
        (np.stack, "stack", lambda x, y: np.stack([x, y, x], axis=1), [x, x + 1], t and (lambda x, y: t.stack([x, y, x], 1))),
        (np.stack, "stack last", lambda x, y: np.stack([x, y], axis=-1), [x, x + 1], t and (lambda x, y: t.stack([x, y], -1))),
        ("pad", "pad", lambda x: np.pad(x, ((0, 0), (1, 2), (0, 3))), [x], t and (lambda x: t.nn.functional.pad(x, (0, 3, 1, 2)))),
        ("pad", "pad 1", lambda x: np.pad(x, 1, constant_values=2.0), [x], t and (lambda x: t.nn.functional.pad(x, (1,) * 6, value=2.0))),
        (vjps.cumprod, "cumprod", lambda x: np.cumprod(x, axis=1), [x], t and (lambda x: x.cumprod(1))),
        (vjps.cumprod, "cumprod flat", np.cumprod, [np.where(x > 1, 0.0, x)], t and (lambda x: x.ravel().cumprod(0))),
        (vjps.recurrence, "recurrence", ROWS[vjps.recurrence], [x, x + 1], None),
        ("getitem", "repeat", lambda x: np.repeat(x, 2, axis=-1), [x], t and (lambda x: x.repeat_interleave(2, -1))),
        ("getitem", "repeat each", lambda x: np.repeat(x, [2, 0, 1], 1), [x], t and (lambda x: x.repeat_interleave(t.tensor([2, 0, 1]), 1))),
        (np.broadcast_to, "tile", lambda x: np.tile(x, (2, 1, 3)), [x], t and (lambda x: x.tile(2, 1, 3))),
        (np.broadcast_to, "tile 4", lambda x: np.tile(x, [2, 1, 1, 2]), [x], t and (lambda x: x.tile(2, 1, 1, 2))),
        ("cumsum", "cumsum", lambda x: np.cumsum(x, axis=1), [x], t and (lambda x: x.cumsum(1))),
        ("cumsum", "cumsum flat", np.cumsum, [x], t and (lambda x: x.ravel().cumsum(0))),
        ("astype", "astype", lambda x: x.astype(np.float64), [x], t and (lambda x: x.double())),
    ]  # fmt: skip
    return [Case(*line) for line in table]


def _choices(torch: Any) -> list[Case]:
    t = torch
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(4, 5)), rng.normal(size=(4, 1))
    mask = x > 0.3
    rows, order = np.array([[0], [2], [2]]), np.argsort(x, axis=1)
    tm, tr, to = (t and t.as_tensor(a) for a in (mask, rows, order))
    table: list[tuple[Any, str, Any, Inputs, Any]] = [
        (np.where, "where", lambda x, y: np.where(mask, x, y), [x, y], t and (lambda x, y: t.where(tm, x, y))),
        (np.where, "where constant", lambda x: np.where(mask, x, 0.0), [x], t and (lambda x: t.where(tm, x, 0.0))),
        (np.clip, "clip", lambda x: np.clip(x, -0.5, 0.4), [_away_from(x, (-0.5, 0.4))], t and (lambda x: x.clip(-0.5, 0.4))),
        (np.clip, "clip below", lambda x: np.clip(x, 0.1, None), [_away_from(x, (0.1,))], t and (lambda x: x.clip(0.1, None))),
        ("getitem", "getitem slice", lambda x: x[1:, ::2], [x], t and (lambda x: x[1:, ::2])),
        ("getitem", "getitem int", lambda x: x[2], [x], t and (lambda x: x[2])),
        ("getitem", "getitem none", lambda x: x[..., None, -1], [x], t and (lambda x: x[..., None, -1])),
        ("getitem", "getitem mask", lambda x: x[mask], [x], t and (lambda x: x[tm])),
        ("getitem", "getitem repeated", lambda x: x[rows, np.array([1, 1])], [x], t and (lambda x: x[tr, t.tensor([1, 1])])),
        ("getitem", "getitem list", lambda x: x[[3, 3, 0]], [x], t and (lambda x: x[[3, 3, 0]])),
        ("getitem", "getitem nothing", lambda x: x[0:0], [x], t and (lambda x: x[0:0])),
        (vjps.scatter, "scatter", lambda g: ROWS[vjps.scatter](g, (slice(1, None), slice(None, None, 2)), (5, 10)), [x], None),
        (vjps.scatter, "scatter repeated", lambda g: ROWS[vjps.scatter](g, [0, 2, 2, 0], (3, 5)), [x], None),
        ("getitem", "take_along_axis", lambda x: np.take_along_axis(x, rows, 0), [x], t and (lambda x: x[[0, 2, 2]])),
        ("getitem", "sort", lambda x: np.sort(x, axis=1), [x], t and (lambda x: x.gather(1, to))),
    ]  # fmt: skip
    return [Case(*line) for line in table if line is not None]


def _products(torch: Any) -> list[Case]:
    t = torch
    rng = np.random.default_rng(5)
    cases: list[Case] = []
    shapes = [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5))]
    shapes += [((2, 1, 3, 4), (5, 4, 2)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3)), ((0, 4), (4, 5))]
    shapes += [((3, 0), (0, 2)), ((1, 1), (1, 1))]
    for a, b in shapes:
        inputs = [rng.normal(size=a), rng.normal(size=b)]
        cases.append(Case(np.matmul, f"matmul{a}{b}", np.matmul, inputs, t and t.matmul))
    for spec, dims in (
        ("ij,jk->ik", ((2, 3), (3, 4))),
        ("bhqd,bhkd->bhqk", ((2, 1, 3, 4), (2, 1, 2, 4))),
        ("ij,ij->", ((2, 3), (2, 3))),
        ("ijk->j", ((2, 3, 4),)),
        ("i,j,k->ki", ((2,), (3,), (4,))),
        ("ij->ji", ((2, 3),)),
        ("ij,jk", ((2, 3), (3, 0))),
        ("ii->i", ((3, 3),)),
        ("ii", ((3, 3),)),
        ("iji,jk->ki", ((2, 3, 2), (3, 4))),
        ("iij,jjk,k", ((3, 3, 2), (2, 2, 4), (4,))),
        ("...ij,...jk->...ik", ((2, 1, 3, 4), (5, 4, 2))),
        ("b...,...b", ((2, 3, 4), (4, 2))),
        ("...ii->...", ((2, 3, 3),)),
        ("...,...->...", ((), (2, 3))),
    ):
        call, peer = (lambda *o, s=spec: np.einsum(s, *o)), (lambda *o, s=spec: t.einsum(s, *o))
        inputs = [rng.normal(size=d) for d in dims]
        cases.append(Case(np.einsum, f"einsum {spec}", call, inputs, t and peer))
    return cases


def _linalg(torch: Any) -> list[Case]:
    t = torch
    rng = np.random.default_rng(6)
    a = rng.normal(size=(2, 3, 3)) + 3 * np.eye(3)
    b, v = rng.normal(size=(2, 3, 2)), rng.normal(size=3)

    def spd(m: Any) -> Any:
        return m @ (np.swapaxes(m, -1, -2) if not hasattr(m, "numpy") else m.mT)

    table: list[tuple[Any, str, Any, Inputs, Any]] = [
        (np.linalg.inv, "inv", np.linalg.inv, [a], t and t.linalg.inv),
        (vjps.cofactors, "cofactors", ROWS[vjps.cofactors], [a], t and (lambda x: t.linalg.det(x)[:, None, None] * t.linalg.inv(x).mT)),
        (vjps.cofactor_slope, "cofactor_slope", ROWS[vjps.cofactor_slope], [a, a[::-1] - 1], None),
        (np.linalg.det, "det", np.linalg.det, [a], t and t.linalg.det),
        (vjps.log_abs_det, "slogdet", lambda x: np.linalg.slogdet(x)[1], [a], t and (lambda x: t.linalg.slogdet(x)[1])),
        (np.linalg.solve, "solve", np.linalg.solve, [a, b], t and t.linalg.solve),
        (np.linalg.solve, "solve vector", np.linalg.solve, [a[0], v], t and t.linalg.solve),
        (np.linalg.cholesky, "cholesky", lambda m: np.linalg.cholesky(spd(m)), [a], t and (lambda m: t.linalg.cholesky(spd(m)))),
        (vjps.zeta, "zeta", lambda q: ROWS[vjps.zeta](2.5, q), [np.array([0.7, 1.9])], None),
    ]  # fmt: skip
    return [Case(*line) for line in table]


def _probabilities(torch: Any) -> list[Case]:
    p = np.random.default_rng(0).uniform(0.1, 0.9, (3, 4))
    functions = probabilities.surprise, probabilities.binary_entropy
    peers = torch and torch.special.entr, None
    pairs = zip(functions, peers, strict=True)
    return [Case(f.__wrapped__, f.__name__, f, [p], peer) for f, peer in pairs]


def all_cases(torch: Any = None) -> list[Case]:
    """Every case; with PyTorch's module given, each knows its peer."""
    builders = (_unary, _binary, _reductions, _shapes, _choices, _products, _linalg)
    builders += (_probabilities,)
    return [case for build in builders for case in build(torch)]
