"""Files that are either whole or not there, and the folder that holds a run.

A file is written under a temporary name in its own folder, synced to the disk, and then renamed:
that happens at once or not at all (POSIX rename(2)), so whoever opens the file finds all of the old
version or all of the new one. Arrays are stored in the safetensors format, which holds no code.

A run is a folder:

    config.json         model, arguments, data, seed; versions, thread count, BLAS
    model.safetensors   the model to use: what `sample` and `score` load
    state.safetensors   what training needs to go on: optimiser, step, generator …
    log.jsonl           one line per epoch
"""

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointError, InputError
from core.machine import environment
from core.state import load_state, state

Arrays = dict[str, NDArray[Any]]
PathLike = str | os.PathLike[str]

_KINDS = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}  # bytes per entry

# ----------------------------------------------------------------------------------- whole files


def write_atomic(path: PathLike, data: bytes) -> None:
    """Put `data` where `path` (or the file it links to) is, or raise and leave that untouched.

    Raises CheckpointError if the disk is full, the folder is missing or may not be written to, and
    for a device or a pipe, which a file must not replace.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise CheckpointError(f"{path} could not be written: it is no file")
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        _remove_stale(target)
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise CheckpointError(f"{path} could not be written: {_reason(error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def write_json(path: PathLike, content: Any) -> None:
    """`content` as indented JSON, written atomically; InputError if it is no JSON (NaN isn't)."""
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: the content is not JSON: {error}") from error
    write_atomic(path, (text + "\n").encode())


def read_json(path: PathLike) -> Any:
    """The content of a JSON file; CheckpointError if it can't be read or isn't JSON."""
    return _parse_json(path, _read(path))


def save_arrays(
    path: PathLike, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays (bool, integers, floats; any shape and layout) and strings, atomically.

    Equal arrays make equal files if there is at most one string (the format shuffles several).
    Raises InputError for arrays the format has no place for, CheckpointError as `write_atomic`.
    """
    from safetensors.numpy import save

    # The format's own writer takes an array's memory as it lies: it must be dense and native.
    dense = {name: _dense(name, array) for name, array in arrays.items()}
    write_atomic(path, save(dense, metadata=dict(metadata or {})))


def load_arrays(path: PathLike) -> tuple[Arrays, dict[str, str]]:
    """The arrays (by name in alphabetical order, writable) and the strings of a safetensors file.

    Raises CheckpointError, in one line with the file's name, for anything else: a file that is
    absent, cut short, of another format, or made to harm.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = _read(path)
    try:
        arrays = load(data)  # checks header, offsets and sizes against the file's length
    except KeyError as error:
        raise CheckpointError(f"{path} holds arrays of an unsupported dtype, {error}") from error
    except (SafetensorError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return dict(sorted(arrays.items())), header.get("__metadata__") or {}


def _dense(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if name == "__metadata__" or array.itemsize not in _KINDS.get(array.dtype.kind, ()):
        raise InputError(f"{name}: an array of dtype {array.dtype} can't be stored")
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _read(path: PathLike) -> bytes:
    if os.path.exists(path) and not os.path.isfile(path):
        raise CheckpointError(f"{path} is not a file")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} could not be read: {_reason(error)}") from error


def _parse_json(where: object, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is not JSON: {error}") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _remove_stale(target: Path) -> None:
    """Delete what killed processes left of earlier attempts to write this file."""
    prefix = f".{target.name}."
    for name in os.listdir(target.parent):
        if name.startswith(prefix) and name.endswith(".tmp"):
            writer = name.removeprefix(prefix).partition("-")[0]
            if writer.isdecimal() and not _alive(int(writer)):
                with suppress(OSError):
                    os.unlink(target.with_name(name))


def _alive(pid: int) -> bool:
    if os.name != "posix":  # there, asking would be a signal
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some systems can't sync a folder; the file itself is synced
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ------------------------------------------------------------------------------------------ runs


@dataclass(frozen=True)
class Run:
    """A folder with one model's configuration, parameters, training state and log."""

    path: Path
    config: dict[str, Any]

    @classmethod
    def create(cls, path: PathLike, config: Mapping[str, Any], *, overwrite: bool = False) -> "Run":
        """Make the folder and its config.json (`config` and the environment).

        If it already holds a run of the same config, that run, as it is, is returned. One of
        another config raises CheckpointError. `overwrite` deletes whatever run was there.
        """
        folder = Path(path)
        if os.path.exists(folder / "config.json") and not overwrite:
            run = cls.open(folder)
            run._check_config(config)
            return run
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("state.safetensors", "model.safetensors", "log.jsonl"):
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(f"{path} can't hold a run: {_reason(error)}") from error
        write_json(folder / "config.json", {**config, **environment()})
        return cls.open(folder)

    @classmethod
    def open(cls, path: PathLike) -> "Run":
        """The run in this folder; CheckpointError if there is none."""
        file = Path(path) / "config.json"
        if not os.path.exists(file):
            raise CheckpointError(f"{path} is not a run: it has no config.json")
        config = read_json(file)
        if not isinstance(config, dict):
            raise CheckpointError(f"{file} must hold a JSON object, got {type(config).__name__}")
        return cls(Path(path), config)

    def has_model(self) -> bool:
        """Whether a model was saved: there is something to sample from."""
        return (self.path / "model.safetensors").exists()

    def has_state(self) -> bool:
        """Whether training was begun here and can go on."""
        return (self.path / "state.safetensors").exists()

    def save_model(self, model: object, arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Store the model's state, or the given `arrays` in its place."""
        stored = state(model) if arrays is None else arrays
        save_arrays(self.path / "model.safetensors", stored, {"model": type(model).__qualname__})

    def load_model(self, model: object) -> None:
        """Write the stored state into `model`; CheckpointError if it is not of this model."""
        file = self.path / "model.safetensors"
        arrays, metadata = load_arrays(file)
        stored, wanted = metadata.get("model"), type(model).__qualname__
        if stored != wanted:
            raise CheckpointError(f"{file} holds a model of class {stored}, not {wanted}")
        load_state(model, arrays, source=str(file))

    def save_state(self, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
        """Store what training needs to go on."""
        save_arrays(self.path / "state.safetensors", arrays, metadata)

    def load_state(self) -> tuple[Arrays, dict[str, str]]:
        """What `save_state` stored."""
        return load_arrays(self.path / "state.safetensors")

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Add one line to log.jsonl."""
        try:
            with open(self.path / "log.jsonl", "ab") as file:
                file.write(_line(entry))
        except OSError as error:
            where = self.path / "log.jsonl"
            raise CheckpointError(f"{where} could not be written: {_reason(error)}") from error

    def write_log(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Replace log.jsonl: on resuming, lines of work that was lost must go."""
        write_atomic(self.path / "log.jsonl", b"".join(map(_line, entries)))

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl; a last line that was cut off in mid-write doesn't count."""
        file = self.path / "log.jsonl"
        lines = _read(file).split(b"\n")[:-1] if file.exists() else []
        return [_parse_json(f"{file} line {i}", line) for i, line in enumerate(lines, 1)]

    def _check_config(self, config: Mapping[str, Any]) -> None:
        for key, wanted in json.loads(json.dumps(config)).items():
            if self.config.get(key) != wanted:
                got = f"{key} = {self.config.get(key)!r}, not {wanted!r}"
                raise CheckpointError(f"{self.path} already holds another run: {got}")


def _line(entry: Mapping[str, Any]) -> bytes:
    return (json.dumps(entry, allow_nan=False) + "\n").encode()
