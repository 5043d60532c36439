"""The gates of recurrent networks at one step, on plain arrays, both ways: what has fast twins.

Gates lie one after another along the first axis, (G, …); the other axes are any. `out`: arrays in
order for the results, where a result may be written over an argument as said.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core.operation import operation

Out = tuple[Any, ...] | None


@operation(arrays=0)
def lstm_gates(a: Any, m: Any, c: Any, *, out: Out = None) -> tuple[Any, ...]:
    """(gates, c', tanh c', h') of an LSTM: a and m (4, …), c (…) → (4, …), (…), (…), (…).

        i, f, o = sigmoid(a + m),    g = tanh(a_g + m_g)
        c' = f c + i g
        h' = o tanh(c')

    with the gates in the order i, f, g, o. out[0] may be a.

    >>> gates, c, tanh_c, h = lstm_gates(np.zeros((4, 1)), np.zeros((4, 1)), np.ones(1))
    >>> gates[:, 0], c
    (array([0.5, 0.5, 0. , 0.5]), array([0.5]))
    """
    gates, new, tanh_c, h = out or (np.empty_like(x) for x in (a, c, c, c))
    np.add(a, m, out=gates)
    _sigmoid(gates[:2])
    _sigmoid(gates[3])
    i, f, g, o = gates
    np.tanh(g, out=g)
    np.multiply(f, c, out=new)
    new += np.multiply(i, g, out=h)
    np.tanh(new, out=tanh_c)
    np.multiply(o, tanh_c, out=h)
    return gates, new, tanh_c, h


@operation(arrays=0)
def lstm_gates_backward(
    gates: Any, c: Any, tanh_c: Any, dh: Any, dc: Any, *, out: Out = None
) -> tuple[Any, Any]:
    """Derivatives in a + m and c, given those in h' and c' of `lstm_gates`. out[1] may be dc.

        δ = dc + dh o (1 − tanh² c')
        da = (δ g, δ c, δ i, dh tanh c') × the slopes of sigmoid, sigmoid, tanh, sigmoid
        dc = δ f

    >>> da, dc = lstm_gates_backward(*np.full((5, 4, 1), 0.5)[:1], *np.ones((4, 1)))
    >>> da[:, 0], dc
    (array([0.125, 0.25 , 0.375, 0.25 ]), array([0.5]))
    """
    da, old = out or (np.empty_like(x) for x in (gates, dc))
    i, f, g, o = gates
    d_i, d_f, d_g, d_o = da
    np.subtract(1, gates, out=da)
    da *= gates
    np.multiply(g, g, out=d_g)
    np.subtract(1, d_g, out=d_g)
    delta = tanh_c * tanh_c
    np.subtract(1, delta, out=delta)
    delta *= o
    delta *= dh
    delta += dc
    da[:3] *= delta
    d_i *= g
    d_f *= c
    d_g *= i
    d_o *= dh
    d_o *= tanh_c
    np.multiply(delta, f, out=old)
    return da, old


@operation(arrays=0)
def gru_gates(a: Any, m: Any, h: Any, *, out: Out = None) -> tuple[Any, Any]:
    """(gates, h') of a GRU: a and m (3, …), h (…) → (3, …), (…). out[0] may be a.

        r, z = sigmoid(a + m),    n = tanh(a_n + r m_n)
        h' = (1 − z) n + z h

    with the gates in the order r, z, n.

    >>> gates, h = gru_gates(np.zeros((3, 1)), np.zeros((3, 1)), np.ones(1))
    >>> gates[:, 0], h
    (array([0.5, 0.5, 0. ]), array([0.5]))
    """
    gates, new = out or (np.empty_like(a), np.empty_like(h))
    np.add(a[:2], m[:2], out=gates[:2])
    _sigmoid(gates[:2])
    r, z, n = gates
    np.multiply(r, m[2], out=new)
    np.add(a[2], new, out=n)
    np.tanh(n, out=n)
    np.subtract(h, n, out=new)  # h' = n + z (h − n)
    new *= z
    new += n
    return gates, new


@operation(arrays=0)
def gru_gates_backward(
    gates: Any, m_n: Any, h: Any, dh: Any, *, out: Out = None
) -> tuple[Any, Any, Any]:
    """Derivatives in a, m and h (beside m), given that in h' of `gru_gates`.

        da_n = dh (1 − z) (1 − n²),   da_z = dh (h − n) z (1 − z),   da_r = da_n m_n r (1 − r)
        dm = (da_r, da_z, da_n r),    dh z

    >>> da, dm, direct = gru_gates_backward(np.full((3, 1), 0.5), *np.ones((3, 1)))
    >>> da[:, 0], dm[2], direct
    (array([0.09375, 0.125  , 0.375  ]), array([0.1875]), array([0.5]))
    """
    da, dm, direct = out or (np.empty_like(x) for x in (gates, gates, h))
    r, z, n = gates
    d_r, d_z, d_n = da
    np.subtract(1, gates, out=da)
    np.multiply(da[1], dh, out=dm[2])  # dh (1 − z)
    da *= gates
    np.multiply(n, n, out=d_n)
    np.subtract(1, d_n, out=d_n)
    d_n *= dm[2]
    d_r *= m_n
    d_r *= d_n
    d_z *= h - n
    d_z *= dh
    dm[:2] = da[:2]
    np.multiply(d_n, r, out=dm[2])
    np.multiply(dh, z, out=direct)
    return da, dm, direct


def _sigmoid(x: Any) -> None:
    """sigmoid x = ½ + ½ tanh ½x, in place: NumPy's tanh is an eighth of SciPy's expit."""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5
