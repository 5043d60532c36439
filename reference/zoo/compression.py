"""`genzoo compress` and `decompress`: data as a file of a model's codes (row F3).

A code is as long as the model finds the row improbable, so the file says in bytes what `score` says
in nats. Whoever unpacks needs the same run, and arithmetic that rounds as it did when packing.
"""

from __future__ import annotations

import io
import sys
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reference.zoo import printing
from reference.zoo.commands import DataDir, RunFolder

if TYPE_CHECKING:
    from core import Array

Codes = Annotated[Path, typer.Argument(metavar="FILE", help="Made by `genzoo compress`.")]


def compress(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="The file of codes, .npz.")],
    data: Annotated[str | None, typer.Option(help="Default: what it was trained on.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    first: Annotated[int | None, typer.Option("-n", min=1, help="Only the first rows.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Pack data into the codes of a trained chain, and say what zlib and LZMA make of them.

    For models that write one whole number after another: NADE, MADE in one order, PixelCNN, text.
    """
    import lzma
    import math

    from reference.judges import coding
    from reference.zoo import commands, runs, sources

    commands.check_part("--split", split)
    _check_suffix(out)
    opened = runs.open_run(run)
    loaded = sources.read_again(opened, data, seed=opened.config["seed"], data_dir=data_dir)
    x = _rows(opened.model, getattr(loaded, split).take(slice(first)).x)
    codes = coding.compress(opened.model, x)
    size = _write(out, codes, x)
    plain = _plain(x)
    bits, ideal = sum(map(len, codes)), -_nats(opened.model, x) / math.log(2)
    print(f"{loaded.name}, {split}, {len(x)} rows: {bits / len(x):.2f} bits a row")
    print(f"−log₂ p, the least of this model: {ideal / len(x):.2f} bits a row")
    sizes = {
        "as they are": len(plain),
        "zlib": len(zlib.compress(plain, 9)),
        "LZMA": len(lzma.compress(plain, preset=9)),
        f"{opened.row.name}'s codes": -(-bits // 8),
        f"{out}, with the lengths": size,
    }
    rows = [(name, f"{n:,}", f"{n / len(plain):.3f}") for name, n in sizes.items()]
    printing.print_table(("what", "bytes", "of all"), rows)


def decompress(
    run: RunFolder,
    file: Codes,
    out: Annotated[Path, typer.Option(help="A .npy, .npz, .png or .txt file for the rows.")],
) -> None:
    """Unpack what `genzoo compress` packed with the same run, exactly."""
    from core.errors import InputError
    from reference.judges import coding
    from reference.zoo import runs, saving

    opened = runs.open_run(run)
    codes, check = _read(file)
    x = coding.decompress(opened.model, codes)
    if _checksum(x) != check:
        raise InputError(f"{file} must be packed by the run {run}: it unpacks to something else")
    if out.suffix in (".npy", ".npz"):
        saving.save_arrays(x, out)
    else:
        saving.save_picture(runs.show_run(opened, x)["samples"], run, "samples", out)
    print(f"{len(x)} rows are in {out}", file=sys.stderr)


def _rows(model: Any, x: Any) -> Array:
    from core.errors import InputError
    from core.samples import Padded
    from reference.judges.likelihood import takes_condition

    if isinstance(x, Padded):
        raise InputError("--data must have rows of one length, got sequences of several")
    if takes_condition(model):
        raise InputError("RUN must hold a model of x alone, got one of x given something")
    if not len(x):
        raise InputError("--split must have rows, got none")
    return x


def _plain(x: Array) -> bytes:
    """The rows in as few bits as whole numbers of their size need: what others have to beat."""
    import numpy as np

    if x.max() <= 1:
        return bytes(np.packbits(x.astype(bool)))
    return bytes(x.astype(np.uint8 if x.max() < 256 else np.uint16))


def _nats(model: Any, x: Array, rows: int = 100) -> float:
    from core import no_grad, value

    with no_grad():
        parts = (model.log_prob(x[i : i + rows]) for i in range(0, len(x), rows))
        return float(sum(value(part).sum(dtype="float64") for part in parts))


def _checksum(x: Array) -> int:
    """Of the numbers, whatever their type."""
    return zlib.crc32(x.astype("int64").tobytes())


def _check_suffix(out: Path) -> None:
    from core.errors import InputError

    if out.suffix != ".npz":
        raise InputError(f"--out must end in .npz, got {out}")


def _write(out: Path, codes: list[str], x: Array) -> int:
    """The codes one after another, bit by bit, and how long each is."""
    import numpy as np

    from core.checkpoint import write_atomic

    bits = np.frombuffer("".join(codes).encode(), np.uint8) == ord("1")
    lengths = np.array([len(code) for code in codes], np.uint32)
    file = io.BytesIO()
    np.savez_compressed(
        file, bits=np.packbits(bits), lengths=lengths, check=np.uint32(_checksum(x))
    )
    write_atomic(out, file.getvalue())
    return len(file.getvalue())


def _read(file: Path) -> tuple[list[str], int]:
    import numpy as np

    from core.errors import InputError

    try:
        with np.load(file, allow_pickle=False) as stored:
            packed, lengths, check = stored["bits"], stored["lengths"], int(stored["check"])
        bits = np.unpackbits(packed, count=int(lengths.sum()))
    except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} must be a file made by `genzoo compress`") from error
    whole = (bits + ord("0")).tobytes().decode()
    ends = lengths.cumsum().tolist()
    return [whole[end - n : end] for end, n in zip(ends, lengths.tolist(), strict=True)], check
