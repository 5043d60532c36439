"""Files whole or absent, whatever happens meanwhile; runs; a model's state by name."""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core import Tensor, checkpoint, value
from core.checkpoint import (
    Run,
    environment,
    load_arrays,
    read_json,
    save_arrays,
    write_atomic,
    write_json,
)
from core.errors import CheckpointError, InputError
from core.state import load_state, parameters, state

ROOT = Path(__file__).parents[2]


def files(folder):
    return sorted(entry.name for entry in Path(folder).iterdir())


# ------------------------------------------------------------------------------------ round trip

KINDS = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "transposed": lambda a: a.T,
    "reversed": lambda a: a[::-1] if a.ndim else a,
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
    "broadcast": lambda a: np.broadcast_to(a, (3, *a.shape)),
    "unaligned": lambda a: np.ndarray(a.shape, a.dtype, b"\0" + a.tobytes(), 1),
}

ARRAYS = hnp.arrays(
    dtype=st.builds(lambda kind, order: np.dtype(kind).newbyteorder(order), st.sampled_from(KINDS),
                    st.sampled_from("<>")),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)  # fmt: skip


def same(a, b):
    """Equal bits (NaN included), in native byte order."""
    native = a.astype(a.dtype.newbyteorder("="))
    return (native.shape, native.dtype, native.tobytes()) == (b.shape, b.dtype, b.tobytes())


def round_trips(save, array, path):
    save(path, {"a": array, "again/a.0": array}, {"model": "NADE", "π": "3\n\0"})
    arrays, metadata = load_arrays(path)
    return (
        list(arrays) == ["a", "again/a.0"]
        and all(same(array, b) for b in arrays.values())
        and metadata == {"model": "NADE", "π": "3\n\0"}
    )


@given(array=ARRAYS, layout=st.sampled_from(sorted(LAYOUTS)))
def test_every_array_comes_back_bit_for_bit(tmp_path_factory, array, layout):
    path = tmp_path_factory.mktemp("round") / "x.safetensors"
    laid_out = LAYOUTS[layout](array)
    before = laid_out.copy()
    assert round_trips(save_arrays, laid_out, path)
    assert same(before, laid_out.astype(laid_out.dtype.newbyteorder("=")))


def as_it_lies(path, arrays, metadata):
    """Wrong: the format's own writer, which takes the memory of any layout for C order."""
    from safetensors.numpy import save_file

    save_file(arrays, path, metadata=metadata)


def flattened(path, arrays, metadata):
    """Wrong: np.ascontiguousarray makes a vector of a single number."""
    as_it_lies(path, {k: np.ascontiguousarray(a) for k, a in arrays.items()}, metadata)


def test_wrong_writers_are_rejected(tmp_path):
    path = tmp_path / "x.safetensors"
    grid = np.arange(6.0).reshape(2, 3)
    assert round_trips(as_it_lies, grid, path)
    assert not round_trips(as_it_lies, grid.T, path)
    assert not round_trips(flattened, np.array(1.0), path)


def test_loaded_arrays_are_writable_and_own_their_memory(tmp_path):
    path = tmp_path / "x.safetensors"
    save_arrays(path, {"a": np.zeros(3), "b": np.zeros(0)})
    arrays, metadata = load_arrays(path)
    arrays["a"][...] = 7
    assert metadata == {}
    assert not load_arrays(path)[0]["a"].any()


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.array([None]), np.zeros(1, "c16"), np.zeros(1, "M8[s]")]
)
def test_arrays_without_a_place_in_the_format_are_refused(tmp_path, array):
    with pytest.raises(InputError, match="vocabulary: an array of dtype"):
        save_arrays(tmp_path / "x.safetensors", {"vocabulary": array})
    assert files(tmp_path) == []


# --------------------------------------------------------------------------------- hostile files


def safetensors(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(shape, start, stop, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


HOSTILE = {
    "empty": b"",
    "short": b"\x08\0\0",
    "garbage": bytes(range(256)) * 4,
    "pickle": b"\x80\x04\x95\x1a\0\0\0\0\0\0\0\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    "npz": b"PK\x03\x04" + b"\0" * 60,
    "header length 2**63": struct.pack("<Q", 2**63) + b"{}",
    "header length 2**40": struct.pack("<Q", 2**40) + b"{}",
    "header not JSON": safetensors(b"{'a': 1}"),
    "header a list": safetensors([1, 2]),
    "header nested": safetensors(b'{"a":' * 50_000),
    "metadata of numbers": safetensors({"__metadata__": {"step": 1}}),
    "overlapping": safetensors({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, b"\0" * 4),
    "hole": safetensors({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, b"\0" * 12),
    "backwards": safetensors({"a": entry([1], 4, 0)}, b"\0" * 4),
    "negative": safetensors({"a": entry([-1], 0, 4)}, b"\0" * 4),
    "shape too large": safetensors({"a": entry([2**62, 2**62], 0, 4)}, b"\0" * 4),
    "shape too large, no data": safetensors({"a": entry([0, 2**62, 2**62], 0, 0)}),
    "100 axes": safetensors({"a": entry([1] * 100, 0, 4)}, b"\0" * 4),
    "data cut off": safetensors({"a": entry([4], 0, 16)}, b"\0" * 8),
    "data left over": safetensors({"a": entry([1], 0, 4)}, b"\0" * 8),
    "bfloat16": safetensors({"a": entry([2], 0, 4, "BF16")}, b"\0" * 4),
    "unknown dtype": safetensors({"a": entry([2], 0, 4, "X9")}, b"\0" * 4),
}


def refusal(path, load=load_arrays):
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_files_are_refused_in_one_line(tmp_path, name):
    path = tmp_path / "x.safetensors"
    path.write_bytes(HOSTILE[name])
    refusal(path)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_arrays(path, {"W": np.ones((3, 2)), "b": np.ones(2)}, {"model": "NADE"})
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        refusal(path)


@given(position=st.integers(0, 199), byte=st.integers(0, 255))
def test_a_changed_header_byte_never_gives_another_kind_of_error(tmp_path_factory, position, byte):
    path = tmp_path_factory.mktemp("flip") / "x.safetensors"
    save_arrays(path, {"W": np.ones((3, 2)), "b": np.ones(2)}, {"model": "NADE"})
    data = bytearray(path.read_bytes())
    data[position] = byte
    path.write_bytes(data)
    with suppress(CheckpointError):
        load_arrays(path)


def test_things_that_are_no_files(tmp_path):
    assert "not a file" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in refusal(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    refusal(tmp_path / "loop")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[" * 100_000, b"1" * 5000])
def test_json_that_is_none(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    refusal(tmp_path / "config.json", read_json)


def test_json_round_trip_and_refusal(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"größe": [1, 0.1, None]})
    assert read_json(path) == {"größe": [1, 0.1, None]}
    for bad in (float("nan"), {1j: 2}, object()):
        with pytest.raises(InputError, match="not JSON"):
            write_json(path, bad)
    assert read_json(path) == {"größe": [1, 0.1, None]}


# ------------------------------------------------------------------------------ nothing is lost


def test_symlinks_are_written_and_read_through(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "x"
    link.symlink_to("elsewhere/real")
    write_atomic(link, b"one")
    write_atomic(link, b"two")
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "real").read_bytes() == b"two"
    assert files(tmp_path / "elsewhere") == ["real"]


def fail_with(code):
    def operation(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return operation


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch, call, code):
    path = tmp_path / "x"
    write_atomic(path, b"old")
    with monkeypatch.context() as patch:
        if call == "open":
            patch.setattr(checkpoint, "open", fail_with(code), raising=False)
        else:
            patch.setattr(os, call, fail_with(code))
        with pytest.raises(CheckpointError, match=os.strerror(code)):
            write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["x"]


def run_python(code, folder, **kwargs):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, timeout=60, **kwargs
    )


FULL = """
import resource, numpy as np
from core.checkpoint import save_arrays
from core.errors import CheckpointError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_arrays("x.safetensors", {"a": np.ones(100_000)})
except CheckpointError as error:
    print(error)
"""


def test_a_file_that_can_not_grow_leaves_the_old_one(tmp_path):
    save_arrays(tmp_path / "x.safetensors", {"a": np.zeros(3)})
    done = run_python(FULL, tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "x.safetensors could not be written: File too large\n"
    assert files(tmp_path) == ["x.safetensors"]
    assert not load_arrays(tmp_path / "x.safetensors")[0]["a"].any()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomic(path, b"old")
    opened = partial(open, "/dev/full", "wb")
    monkeypatch.setattr(checkpoint, "open", lambda *args: opened(), raising=False)
    with pytest.raises(CheckpointError, match="No space left on device"):
        write_atomic(path, b"new" * 100_000)
    assert path.read_bytes() == b"old"


KILLED = """
import os, signal, numpy as np
from core import checkpoint
os.replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save_arrays("x.safetensors", {"a": np.ones(3)})
"""


def test_a_process_killed_before_the_rename_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.safetensors"
    save_arrays(path, {"a": np.zeros(3)})
    assert run_python(KILLED, tmp_path).returncode == -signal.SIGKILL
    stale, kept = files(tmp_path)
    assert (stale.endswith(".tmp"), kept) == (True, "x.safetensors")
    assert not load_arrays(path)[0]["a"].any()
    save_arrays(path, {"a": np.full(3, 2.0)})
    assert files(tmp_path) == ["x.safetensors"]
    assert load_arrays(path)[0]["a"].sum() == 6


def test_only_what_dead_writers_left_of_this_file_is_removed(tmp_path):
    alive = f".x.{os.getpid()}-0000.tmp"
    foreign = [alive, ".x.tmp", ".y.999999999-0000.tmp", ".x.999999999-0000.txt", "x.1-0.tmp"]
    dead = [".x.999999999-0000.tmp", f".x.{10**30}-0000.tmp"]
    for name in foreign + dead:
        (tmp_path / name).touch()
    write_atomic(tmp_path / "x", b"")
    assert files(tmp_path) == sorted([*foreign, "x"])


def test_an_interrupted_write_cleans_up(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    write_atomic(tmp_path / "x", b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "x", b"new")
    assert files(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_pipe_is_not_replaced(tmp_path):
    """As /dev/null would be, for anyone who may write there."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CheckpointError, match="pipe could not be written: it is no file"):
        checkpoint.write_atomic(pipe, b"x")
    assert pipe.is_fifo()


def test_a_folder_that_is_missing_or_a_file(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent" / "x", tmp_path / "file" / "x", tmp_path):
        with pytest.raises(CheckpointError, match="could not be written"):
            write_atomic(path, b"")


# ----------------------------------------------------------------------------- a model's state


class Layer:
    def __init__(self, n):
        self.W, self.b = Tensor(np.ones((n, 2), np.float32)), Tensor(np.zeros(2, np.float32))


class Net:
    def __init__(self):
        shared = Layer(3)
        self.layers = [shared, Layer(2), shared]
        self.heads = {"mean": Tensor(np.zeros(2, np.float32)), 1: (np.arange(4), 5)}
        self.activation, self.scale, self.owner = np.tanh, 0.5, self


class Other(Net):
    pass


NAMES = ["layers.0.W", "layers.0.b", "layers.1.W", "layers.1.b", "heads.mean"]


def test_parameters_and_state_are_named_by_their_way_through_the_model():
    net = Net()
    assert list(parameters(net)) == NAMES
    assert parameters(net)["layers.1.W"] is net.layers[1].W
    arrays = state(net)
    assert list(arrays) == [*NAMES, "heads.1.0"]
    arrays["heads.1.0"][0] = 9
    assert net.heads[1][0][0] == 0


def test_state_restored_in_place():
    net, other = Net(), Net()
    data = value(net.layers[0].W)
    for array in (arrays := state(other)).values():
        array += 1
    load_state(net, arrays)
    assert value(net.layers[0].W) is data
    assert all(np.array_equal(a, arrays[name]) for name, a in state(net).items())


def spoil(name, value):
    def change(arrays):
        arrays[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("layers.1.b"), "layers.1.b is missing"),
        (spoil("extra", np.zeros(1)), "it has no extra"),
        (spoil("heads.mean", np.zeros(3, "f4")), r"heads.mean must be float32 \(2,\)"),
        (spoil("heads.mean", np.zeros(2)), "got float64"),
        (spoil("heads.mean", np.array([0, np.nan], "f4")), "heads.mean holds NaN"),
        (spoil("heads.mean", np.array([0, np.inf], "f4")), "heads.mean holds an infinity"),
    ],
)
def test_state_that_does_not_fit_changes_nothing(tmp_path, change, message):
    net, run = Net(), Run.create(tmp_path / "run", {})
    arrays = {name: a + 1 for name, a in state(net).items()}
    change(arrays)
    run.save_model(net, arrays)
    with pytest.raises(CheckpointError, match=message) as caught:
        run.load_model(net)
    assert str(tmp_path / "run" / "model.safetensors") in str(caught.value)
    assert all(np.array_equal(a, state(net)[name]) for name, a in state(Net()).items())


def test_counted_log_probabilities_may_be_minus_infinity():
    model = Layer(1)
    model.log_p = np.zeros(2)
    load_state(model, {**state(model), "log_p": np.array([0.0, -np.inf])})
    assert model.log_p[1] == -np.inf


def test_names_that_collide_and_parameters_that_are_none():
    model = Layer(1)
    model.__dict__["a.b"], model.a = np.zeros(1), {"b": np.zeros(1)}
    with pytest.raises(InputError, match=r"two parameters of Layer are named a\.b"):
        state(model)
    model = Layer(1)
    model.W = 0.1 * model.W
    with pytest.raises(InputError, match="W must be made as Tensor"):
        parameters(model)


# ------------------------------------------------------------------------------------------ runs

CONFIG = {"model": "nade", "arguments": {"dim": 64, "sizes": (3, 4)}, "data": "digits", "seed": 0}


def test_a_run_says_what_its_bits_depend_on(tmp_path):
    run = Run.create(tmp_path / "a" / "run", CONFIG)
    assert files(run.path) == ["config.json"]
    found = Run.open(str(run.path)).config
    assert found == run.config == json.loads((run.path / "config.json").read_text())
    assert {"model", "arguments", "data", "seed"} | environment().keys() == found.keys()
    assert found["versions"]["numpy"] == np.__version__
    assert found["threads"] >= 1
    assert found["blas"]


def test_environment_without_threadpoolctl(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert environment()["threads"] >= 1
    assert environment()["blas"]


def test_another_run_is_overwritten_only_when_told(tmp_path):
    run = Run.create(tmp_path, CONFIG)
    run.save_model(Net())
    run.save_state({}, {})
    run.append_log({"epoch": 1})
    assert Run.create(tmp_path, CONFIG).has_model()
    with pytest.raises(CheckpointError, match="already holds another run: seed = 0, not 1"):
        Run.create(tmp_path, {**CONFIG, "seed": 1})
    assert run.has_model()
    assert run.has_state()
    again = Run.create(tmp_path, {**CONFIG, "seed": 1}, overwrite=True)
    assert files(tmp_path) == ["config.json"]
    assert not again.has_model()
    assert not again.has_state()
    assert again.read_log() == []


def test_folders_that_are_no_runs(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(CheckpointError, match="is not a run"):
            Run.open(path)
    with pytest.raises(CheckpointError, match="can't hold a run"):
        Run.create(tmp_path / "file", {})
    write_json(tmp_path / "config.json", [1])
    with pytest.raises(CheckpointError, match="must hold a JSON object, got list"):
        Run.open(tmp_path)


def test_a_model_of_another_class_is_refused(tmp_path):
    run = Run.create(tmp_path, CONFIG)
    run.save_model(Net())
    run.load_model(Net())
    with pytest.raises(CheckpointError, match="holds a model of class Net, not Other"):
        run.load_model(Other())


def test_the_log_survives_a_torn_last_line(tmp_path):
    run = Run.create(tmp_path, CONFIG)
    entries = [{"epoch": k, "train": 0.1 + k} for k in range(3)]
    for item in entries:
        run.append_log(item)
    with open(tmp_path / "log.jsonl", "ab") as file:
        file.write(b'{"epoch": 3, "tr')
    assert run.read_log() == entries
    run.write_log(entries[:2])
    assert run.read_log() == entries[:2]
    (tmp_path / "log.jsonl").write_bytes(b'{"epoch": 0}\n{"ep\n')
    with pytest.raises(CheckpointError, match=r"log\.jsonl line 2 is not JSON"):
        run.read_log()


def test_a_log_that_can_not_be_written(tmp_path):
    run = Run.create(tmp_path, CONFIG)
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(CheckpointError, match=r"log\.jsonl could not be written"):
        run.append_log({})
