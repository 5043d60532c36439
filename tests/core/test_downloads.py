"""Downloads, against a server on this machine that misbehaves in every way a network does."""

import dataclasses
import hashlib
import http.server
import io
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from core.data import catalogue, fetch, homes, load, sets
from core.data.homes import File, Source
from core.errors import DataError
from tests.core.test_data_files import idx_bytes

TEXT = "".join(f"{i} green bottles\n" for i in range(500)).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves server.pages: path → (body, behaviour)."""

    def do_GET(self) -> None:
        self.server.hits.append(self.path)
        body, behaviour = self.server.pages.get(self.path, (b"gone", "404"))
        self.send_response({"404": 404, "503": 503}.get(behaviour, 200))
        if behaviour != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if behaviour in ("cut", "no length") else body)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server, an empty cache, and no GENZOO_DATA."""
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.delenv("GENZOO_DATA", raising=False)
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.pages, httpd.hits = {}, []
        httpd.url = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def sha256(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def serve(monkeypatch, server, name: str, *ways: dict[str, bytes]) -> Source:
    """Make the named set consist of these files, at home on the server."""
    for way in ways:
        server.pages |= {f"/{path}": (body, "good") for path, body in way.items()}
    made = tuple(
        tuple(File(path, (sha256(body),), f"{server.url}/{path}") for path, body in way.items())
        for way in ways
    )
    source = dataclasses.replace(sets.SOURCES[name], ways=made)
    monkeypatch.setitem(sets.SOURCES, name, source)
    return source


@pytest.fixture
def play(server, monkeypatch) -> Source:
    """A text at /play.txt that stands for Shakespeare."""
    return serve(monkeypatch, server, "shakespeare", {"play.txt": TEXT})


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# What goes well


def test_a_download_lands_in_the_cache_and_is_asked_for_once(server, play, cache):
    assert {e.name: e.where for e in catalogue()}["shakespeare"] == "absent"
    data = load("shakespeare", block=32)
    assert data.decode(data.train.x[0]) == TEXT[:32].decode()
    assert fetch("shakespeare") == (cache / "play.txt",)
    assert server.hits == ["/play.txt"]
    assert files_in(cache) == {"play.txt": TEXT}
    assert {e.name: e.where for e in catalogue()}["shakespeare"] == "cached"


def test_the_users_folder_comes_first(server, play, tmp_path, monkeypatch):
    (tmp_path / "play.txt").write_bytes(TEXT)
    load("shakespeare", data_dir=tmp_path)
    monkeypatch.setenv("GENZOO_DATA", str(tmp_path))
    load("shakespeare")
    assert server.hits == []


def test_the_cache_works_without_the_server(server, play):
    load("shakespeare")
    server.pages.clear()
    load("shakespeare")
    assert server.hits == ["/play.txt"]


def test_progress_is_drawn_on_stderr(server, play, capsys):
    fetch("shakespeare", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "shakespeare/play.txt" in err


def test_nothing_is_printed_unless_asked(server, play, capfd):
    fetch("shakespeare")
    assert capfd.readouterr() == ("", "")


# What goes badly


def law_a_failed_download_loses_nothing(server, source: Source, cache: Path, reason: str) -> None:
    """An error in one line; every file in the cache as it was, and no other."""
    before = files_in(cache)
    with pytest.raises(DataError) as caught:
        load(source.name)
    message = str(caught.value)
    assert "\n" not in message
    assert source.name in message
    assert reason in message
    assert f"genzoo data fetch {source.name}" in message
    assert files_in(cache) == before


FAULTS = {
    "404": (TEXT, "404", "HTTP status 404"),
    "503": (TEXT, "503", "HTTP status 503"),
    "other bytes": (TEXT[:-1] + b"?", "good", "wrong checksum"),
    "empty": (b"", "good", "wrong checksum"),
    "truncated": (TEXT[:999], "good", "wrong checksum"),
    "cut off": (TEXT, "cut", "broke off"),
    "cut off, no length": (TEXT, "no length", "wrong checksum"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("cached", ["nothing", "an older good file", "a damaged file"])
def test_failed_downloads(server, play, cache, fault, cached):
    cache.mkdir()
    (cache / "other.txt").write_text("something else")
    if cached != "nothing":
        (cache / "play.txt").write_bytes(TEXT[: 700 if cached == "a damaged file" else 5000])
    body, behaviour, reason = FAULTS[fault]
    server.pages["/play.txt"] = (body, behaviour)
    law_a_failed_download_loses_nothing(server, play, cache, reason)
    assert server.hits == ["/play.txt"]
    server.pages["/play.txt"] = (TEXT, "good")
    load("shakespeare")
    assert (cache / "play.txt").read_bytes() == TEXT


def test_a_careless_downloader_is_rejected(server, play, cache, monkeypatch):
    """One that writes in place and checks afterwards breaks the law."""
    import pooch
    import requests

    def careless(url, known_hash, fname, path, downloader):
        target = Path(path) / fname
        target.write_bytes(requests.get(url, timeout=5).content)
        raise ValueError("hash of downloaded file does not match")

    monkeypatch.setattr(pooch, "retrieve", careless)
    cache.mkdir()
    (cache / "play.txt").write_bytes(TEXT[:5000])
    server.pages["/play.txt"] = (TEXT[:999], "good")
    with pytest.raises(AssertionError):
        law_a_failed_download_loses_nothing(server, play, cache, "wrong checksum")


def test_no_server_at_all(server, play, cache, monkeypatch):
    dead = File("play.txt", (sha256(TEXT),), "http://127.0.0.1:9/play.txt")
    source = dataclasses.replace(play, ways=((dead,),))
    monkeypatch.setitem(sets.SOURCES, "shakespeare", source)
    law_a_failed_download_loses_nothing(server, source, cache, "no connection")


def test_a_server_that_stalls(server, play, cache, monkeypatch):
    import requests

    def stalled(*args, **kwargs):
        raise requests.ReadTimeout("read timed out")

    monkeypatch.setattr(requests, "get", stalled)
    law_a_failed_download_loses_nothing(server, play, cache, "did not answer in time")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(server, play, cache):
    cache.mkdir(mode=0o500)
    law_a_failed_download_loses_nothing(server, play, cache, "denied")


def test_a_cache_that_is_a_file(server, play, cache):
    cache.write_text("not a folder")
    with pytest.raises(DataError, match=r"could not get http.*play\.txt: .*cache"):
        load("shakespeare")
    assert cache.read_text() == "not a folder"


def test_a_full_disk(server, play, cache, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.move", full)
    law_a_failed_download_loses_nothing(server, play, cache, "No space left on device")


def test_a_damaged_local_file_is_an_error_and_is_left_alone(server, play, tmp_path):
    (tmp_path / "play.txt").write_bytes(TEXT[:-1])
    with pytest.raises(DataError, match=r"play\.txt: damaged.*genzoo data fetch shakespeare"):
        load("shakespeare", data_dir=tmp_path)
    assert (tmp_path / "play.txt").read_bytes() == TEXT[:-1]
    assert server.hits == []


def test_without_download_the_error_says_how_to_get_it(server, play):
    with pytest.raises(
        DataError, match=r"not found; run `genzoo data fetch shakespeare`.*play\.txt"
    ):
        load("shakespeare", download=False)
    assert server.hits == []


def test_a_damaged_copy_of_a_real_file(server, tmp_path, monkeypatch):
    monkeypatch.setenv("GENZOO_DATA", str(tmp_path))
    for name, file in {"mnist": "mnist.npz", "nips": "uci_binary_nade.npz"}.items():
        (tmp_path / file).write_bytes(b"PK\x03\x04 not all of it")
        with pytest.raises(DataError, match=re.escape(f"{file}: damaged")):
            load(name)


# Second homes, and the formats of the first ones

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 3, 2)).astype(np.uint8)
LABELS = np.arange(16) % 10
MNIST = {
    "m/train-images": idx_bytes(PIXELS[:12]),
    "m/train-labels": idx_bytes(LABELS[:12]),
    "m/t10k-images": idx_bytes(PIXELS[12:]),
    "m/t10k-labels": idx_bytes(LABELS[12:]),
}


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


KERAS = npz(x_train=PIXELS[:12], y_train=LABELS[:12], x_test=PIXELS[12:], y_test=LABELS[12:])


@pytest.mark.parametrize("broken", [[], ["/m/train-images"], ["/m/t10k-labels"]])
def test_mnist_from_either_home(server, monkeypatch, broken):
    serve(monkeypatch, server, "mnist", MNIST, {"mnist.npz": KERAS})
    for path in broken:
        server.pages[path] = (b"", "404")
    data = load("mnist")
    assert ("/mnist.npz" in server.hits) == bool(broken)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [10, 2, 4]
    x = np.concatenate([part.x for part in (data.train, data.validation, data.test)])
    y = np.concatenate([part.y for part in (data.train, data.validation, data.test)])
    np.testing.assert_array_equal(x, PIXELS.reshape(16, 6))
    np.testing.assert_array_equal(y, LABELS)
    assert (data.image_shape, data.levels) == ((3, 2), 256)


def test_if_every_home_fails_each_is_named(server, monkeypatch):
    serve(monkeypatch, server, "mnist", MNIST, {"mnist.npz": KERAS})
    server.pages.clear()
    with pytest.raises(DataError, match=r"train-images: HTTP status 404; .*npz: HTTP status 404"):
        load("mnist")


def test_files_that_arrived_are_not_asked_for_again(server, monkeypatch):
    serve(monkeypatch, server, "fashion-mnist", MNIST)
    server.pages["/m/t10k-labels"] = (b"", "404")
    with pytest.raises(DataError, match="t10k-labels"):
        load("fashion-mnist")
    server.pages["/m/t10k-labels"] = (MNIST["m/t10k-labels"], "good")
    load("fashion-mnist")
    assert sorted(server.hits) == sorted([*(f"/{path}" for path in MNIST), "/m/t10k-labels"])


def amat(bits: np.ndarray) -> bytes:
    return "".join(" ".join(map(str, row)) + "\n" for row in bits.tolist()).encode()


def test_binarized_mnist_from_either_form(server, monkeypatch, tmp_path):
    bits = np.random.default_rng(1).integers(0, 2, (6, 784)).astype(np.uint8)
    cut = {"train": bits[:3], "valid": bits[3:5], "test": bits[5:]}
    packed = npz(**{part: np.packbits(x, axis=1) for part, x in cut.items()})
    (tmp_path / "packed.npz").write_bytes(packed)
    tables = {f"{part}.amat": amat(x) for part, x in cut.items()}
    serve(monkeypatch, server, "binarized-mnist", {"packed.npz": packed}, tables)
    local = load("binarized-mnist", data_dir=tmp_path)
    server.pages["/packed.npz"] = (b"", "404")
    remote = load("binarized-mnist")
    for data in (local, remote):
        assert np.array_equal(np.r_[data.train.x, data.validation.x, data.test.x], bits)
        assert (data.domain, data.train.x.dtype, data.train.y) == ("binary", np.float32, None)


def test_a_nade_table_from_either_form(server, monkeypatch, tmp_path):
    bits = np.random.default_rng(2).integers(0, 2, (6, 5))
    parts = {"train": bits[:3], "valid": bits[3:5], "test": bits[5:]}
    own = npz(**{f"{part}_data": x.astype(np.float32) for part, x in parts.items()})
    together = npz(**{f"dna_{part}": x.astype(np.uint8) for part, x in parts.items()})
    (tmp_path / "all.npz").write_bytes(together)
    serve(monkeypatch, server, "dna", {"all.npz": together}, {"dna.npz": own})
    server.pages["/all.npz"] = (b"", "404")
    for data in (load("dna"), load("dna", data_dir=tmp_path)):
        assert np.array_equal(np.r_[data.train.x, data.validation.x, data.test.x], bits)
        assert data.domain == "binary"


def test_names_from_their_home(server, monkeypatch):
    names = [f"na{c}{d}" for c in "abcdef" for d in "xyz"]
    serve(monkeypatch, server, "names", {"names.txt": "\n".join(names).encode()})
    data = load("names")
    everyone = np.r_[data.train.x, data.validation.x, data.test.x]
    assert sorted(data.decode(everyone).split("\n")) == names


def test_a_file_with_the_right_checksum_and_the_wrong_contents(server, monkeypatch):
    serve(monkeypatch, server, "dna", {"dna.npz": npz(other=LABELS)})
    with pytest.raises(DataError, match=r"dna\.npz: has no array 'train_data', only other"):
        load("dna")
    serve(monkeypatch, server, "mnist", MNIST | {"m/train-images": MNIST["m/train-labels"]})
    with pytest.raises(DataError, match="images must be"):
        load("mnist")


# The catalogue's own promises


def test_homes_and_checksums_are_well_formed():
    for source in sets.SOURCES.values():
        homeless = not any(all(file.url for file in way) for way in source.ways)
        assert homeless == (source.name == "english-russian")
        for file in (file for way in source.ways for file in way):
            assert not Path(file.path).is_absolute()
            assert ".." not in Path(file.path).parts
            assert all(
                re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", h) for h in file.hashes
            )
            assert file.url is None or file.url.startswith(("https://", "http://"))


def test_the_cache_is_the_users_unless_told(monkeypatch):
    monkeypatch.delenv("GENZOO_CACHE", raising=False)
    assert homes.cache_folder().name == "genzoo"


def test_a_set_without_a_public_home_says_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.delenv("GENZOO_DATA", raising=False)
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path))
    said = r"no public home to be downloaded from; put tatoeba_eng_rus_1000\.tsv in a folder"
    with pytest.raises(DataError, match=said):
        load("english-russian")
