"""Masks as the attention kernels read them: on the device, and through torch.compile (row K4).

A mask of the algebra is lowered on the host, and its O(S) integers are copied to the device
without waiting for it; nothing is remembered, so a mask whose arrays change is never stale. A bool
tensor is packed on the device where it lies. torch.compile traces neither: to it a mask is a list
of integers and of arrays, taken apart by `encoded` and lowered when the operator runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.errors import InputError
from reference.operations import masks
from reference.operations.attention import fitted
from reference.operations.lowering import Intervals, takes_part
from reference.operations.masks import Mask

if find_spec("numba"):  # the same arrays, sooner
    from kernels.masks.twin_numba import lower
else:
    from reference.operations.lowering import lower

REACH = 2**31
"""What a 32-bit offset inside a head can tell apart."""


class DeviceMask(NamedTuple):
    """A mask as the kernels read it, on the device; made by `prepare`.

    start, stop: int32 (B', H', Q), or empty if packed; bits: uint8 (B', H', Q, ⌈K/8⌉), or empty;
    B' is 1 or B, H' 1 or H. sees: bool (…, Q, 1), which queries see a key; used: bool (…, K, 1),
    which keys must be read; None means all. heads: (H, H_kv) that `used` was made for, if it must
    be those; None where all heads see the same.
    """

    start: Tensor
    stop: Tensor
    bits: Tensor
    sees: Tensor | None
    used: Tensor | None
    lengths: tuple[int, int]
    heads: tuple[int, int] | None


def prepare(mask: Mask | DeviceMask | Any, q: Tensor, k: Tensor) -> DeviceMask:
    """Lower a mask once for many calls with q and k of these shapes: for all layers, for a graph.

    mask: as in `kernels.masked_attention`.
    Raises InputError for a mask made for other lengths, batch or heads, and for one that would
    have to come from the host while a CUDA graph is recorded.
    """
    lengths = q.shape[2], k.shape[2]
    if isinstance(mask, DeviceMask):
        if mask.lengths != lengths:
            raise InputError(
                f"mask must be prepared for lengths {lengths}, got one for {mask.lengths}"
            )
        _check_fits(mask.bits if mask.bits.ndim == 4 else mask.start, q)
        heads = q.shape[1], k.shape[1]
        if mask.heads not in (None, heads):
            raise InputError(
                f"mask must be prepared for (H, H_kv) {heads}, got one for {mask.heads}"
            )
        return mask
    if isinstance(mask, Tensor) and mask.device == q.device:
        return _from_device(mask, q, k)
    if q.is_cuda and torch.cuda.is_current_stream_capturing():
        raise InputError("mask must be prepared before a CUDA graph is recorded: see `prepare`")
    return _from_host(masks.as_mask(mask.cpu() if isinstance(mask, Tensor) else mask), q, k)


def _from_host(mask: Mask, q: Tensor, k: Tensor) -> DeviceMask:
    lowered = lower(mask, q.shape[2], k.shape[2])
    lead = lowered.start.shape if isinstance(lowered, Intervals) else lowered.bits.shape[:-1]
    fitted(np.empty(lead, np.bool_), tuple(q.shape[:3]))  # before heads are counted in groups
    sees, used = _parts_taken(lowered, q.shape[1] // k.shape[1])
    sees, used = (None if x is None else _moved(x, q.device)[..., None] for x in (sees, used))
    if isinstance(lowered, Intervals):
        start, stop = _moved_together(_four(lowered.start, 1), _four(lowered.stop, 1), q.device)
        bits = torch.empty(0, dtype=torch.uint8, device=q.device)
    else:
        _check_reach(q.shape[2], k.shape[2])
        start = stop = torch.empty(0, dtype=torch.int32, device=q.device)
        bits = _moved(_four(lowered.bits, 2), q.device)
    heads = _heads_needed(lead[1] if len(lead) == 3 else 1, q, k)
    return DeviceMask(start, stop, bits, sees, used, (q.shape[2], k.shape[2]), heads)


def _heads_needed(own: int, q: Tensor, k: Tensor) -> tuple[int, int] | None:
    """(H, H_kv) for a mask of several heads: those that share a key head decide what is read."""
    return (q.shape[1], k.shape[1]) if own > 1 else None


def _parts_taken(lowered: Any, group: int) -> tuple[Any, Any]:
    """(queries that see some key, keys that must be read), bool, each None if that is all.

    A kernel never reads keys before the first or after the last that its queries see, so intervals
    need an unseen key made 0 only between seen ones; not where each interval meets the next.
    """
    if isinstance(lowered, Intervals):
        start, stop = lowered.start, lowered.stop
        sees = start < stop
        if (start[..., 1:] <= stop[..., :-1]).all() and (start[..., :-1] <= stop[..., 1:]).all():
            return None if sees.all() else sees, None
    used, sees = takes_part(lowered, group)
    if isinstance(lowered, Intervals):
        after = np.logical_or.accumulate(used[..., ::-1], -1)[..., ::-1]
        used = used | ~np.logical_or.accumulate(used, -1) | ~after
    return None if sees.all() else sees, None if used.all() else used


def _moved(x: Any, device: Any) -> Tensor:
    """A copy on the device; from pinned memory, so that the host need not wait for it."""
    kept = torch.empty(x.shape, dtype=_torch_dtype(x), pin_memory=device.type == "cuda")
    kept.numpy()[...] = x
    return kept.to(device, non_blocking=True)


def _torch_dtype(x: Any) -> torch.dtype:
    return {"bool": torch.bool, "uint8": torch.uint8, "int32": torch.int32}[x.dtype.name]


def _moved_together(start: Any, stop: Any, device: Any) -> tuple[Tensor, Tensor]:
    """Both in one copy, each aligned to 128 bytes."""
    both = np.empty((2, -(-start.size // 32) * 32), np.int32)
    both[0, : start.size], both[1, : start.size] = start.reshape(-1), stop.reshape(-1)
    moved = _moved(both, device)[:, : start.size]
    return moved[0].view(start.shape), moved[1].view(start.shape)


def _four(x: Any, ndim: int) -> Any:
    return x[None, None] if x.ndim == ndim else x


def _from_device(seen: Tensor, q: Tensor, k: Tensor) -> DeviceMask:
    """A bool tensor packed where it is, without waiting: what is unused is always made 0."""
    (_, H, Q, _), (_, H_kv, K, _) = q.shape, k.shape
    if seen.dtype != torch.bool or seen.ndim not in (2, 4):
        shape = tuple(seen.shape)
        raise InputError(f"mask must be bool (Q, K) or (B, H, Q, K), got {seen.dtype} {shape}")
    seen = _four(seen, 2)
    if tuple(seen.shape[2:]) != (Q, K):
        raise InputError(
            f"mask must be for (queries, keys) {(Q, K)}, got one for {tuple(seen.shape[2:])}"
        )
    _check_fits(seen, q)
    _check_reach(Q, K)
    if Q == 0 or K == 0:
        return _from_host(masks.full(), q, k)
    used = seen.any(-2)
    if H_kv < seen.shape[1]:
        used = used.unflatten(1, (H_kv, H // H_kv)).any(2)
    octets = torch.nn.functional.pad(seen, (0, -K % 8)).view(torch.uint8).unflatten(-1, (-1, 8))
    shift = torch.arange(8, dtype=torch.uint8, device=q.device)
    bits = (octets << shift).sum(-1, dtype=torch.uint8)
    none = torch.empty(0, dtype=torch.int32, device=q.device)
    sees, heads = seen.any(-1)[..., None], _heads_needed(seen.shape[1], q, k)
    return DeviceMask(none, none, bits, sees, used[..., None], (Q, K), heads)


def _check_fits(x: Tensor, q: Tensor) -> None:
    (b, h), (B, H) = x.shape[:2], q.shape[:2]
    if b not in (1, B) or h not in (1, H):
        raise InputError(f"mask must be for (batch, heads) {(B, H)}, got one for {(b, h)}")


def _check_reach(q_len: int, k_len: int) -> None:
    if q_len * -(-k_len // 8) >= REACH:
        raise InputError(f"mask of {q_len} × {k_len} must take fewer than 2**31 bytes a head")


# Through torch.compile

_WINDOW, _BEFORE, _DOCUMENTS, _RASTER, _BOOLEAN, _AND, _OR, _TENSOR = range(8)


def encoded(mask: Mask | Tensor) -> tuple[list[int], list[Tensor]]:
    """A mask as integers, in prefix order, and the arrays it holds: what an operator can take."""
    if isinstance(mask, Tensor):
        return [_TENSOR], [mask]
    code: list[int] = []
    arrays: list[Tensor] = []
    _encode(mask, code, arrays)
    return code, arrays


def _encode(mask: Any, code: list[int], arrays: list[Tensor]) -> None:
    if isinstance(mask, masks.Window):
        code.extend([_WINDOW, _or_none(mask.left), _or_none(mask.right)])
    elif isinstance(mask, masks.Raster):
        code.extend([_RASTER, mask.height, mask.width, _or_none(mask.reach), int(mask.own)])
    elif isinstance(mask, (masks.And, masks.Or)):
        code.append(_AND if isinstance(mask, masks.And) else _OR)
        _encode(mask.a, code, arrays)
        _encode(mask.b, code, arrays)
    elif isinstance(mask, masks.Before):
        code.append(_BEFORE)
        arrays.append(torch.as_tensor(mask.length))
    elif isinstance(mask, masks.Documents):
        code.append(_DOCUMENTS)
        arrays.append(torch.as_tensor(mask.ids))
    elif isinstance(mask, masks.Boolean):
        code.append(_BOOLEAN)
        arrays.append(torch.as_tensor(mask.seen))
    else:
        raise InputError(
            f"mask must be of reference.operations.masks here, got {type(mask).__name__}"
        )


def _or_none(n: int | None) -> int:
    return -1 if n is None else n


def decoded(code: Sequence[int], arrays: Sequence[Tensor]) -> Mask | Tensor:
    """The mask that `encoded` took apart."""
    return arrays[0] if code[0] == _TENSOR else _decode(iter(code), iter(arrays))


def _decode(code: Iterator[int], arrays: Iterator[Tensor]) -> Mask:
    kind = next(code)
    if kind in (_AND, _OR):
        a, b = _decode(code, arrays), _decode(code, arrays)
        return a & b if kind == _AND else a | b
    if kind == _WINDOW:
        return masks.Window(_none_or(next(code)), _none_or(next(code)))
    if kind == _RASTER:
        height, width, reach, own = (next(code) for _ in range(4))
        return masks.Raster(height, width, _none_or(reach), bool(own))
    made = {_BEFORE: masks.Before, _DOCUMENTS: masks.Documents, _BOOLEAN: masks.Boolean}[kind]
    return made(next(arrays).numpy())


def _none_or(n: int) -> int | None:
    return None if n < 0 else n
