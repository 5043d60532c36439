"""Where the files of a data set are found, and how they get there.

Looked for in this order, each file by its path in the catalogue, each checked against its checksum:

1. `data_dir`, or the folder that the environment variable GENZOO_DATA names. A damaged file here is
   an error: it is the user's, and is not replaced.
2. the cache: GENZOO_CACHE, or the user's cache folder for genzoo
3. the data set's public homes, in order. A download lands in the cache under a temporary name and
   takes its place only once its checksum is right, so a good file is never lost.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.arrays import one_line, reading
from core.data.dataset import Dataset
from core.errors import DataError


@dataclass(frozen=True)
class File:
    """path inside a data folder, "sha256:…" or "md5:…" of each good version (first: the url's)."""

    path: str
    hashes: tuple[str, ...]
    url: str | None = None


@dataclass(frozen=True)
class Source:
    """A data set kept in files: any one of `ways` is all of it.

    read: the paths of one way → Dataset. size: bytes of the first way that has a home, about.
    """

    name: str
    doc: str
    licence: str
    size: int
    ways: tuple[tuple[File, ...], ...]
    read: Callable[..., Dataset]


def data_folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """data_dir, else GENZOO_DATA, else None. Raises DataError if it is not a folder."""
    given = os.environ.get("GENZOO_DATA") if data_dir is None else data_dir
    if not given:
        return None
    label = "GENZOO_DATA" if data_dir is None else "data_dir"
    if not Path(given).is_dir():
        raise DataError(f"{label} must be a folder, got {os.fspath(given)!r}")
    return Path(given)


def cache_folder() -> Path:
    """GENZOO_CACHE, else the user's cache folder for genzoo. It may not exist yet."""
    if given := os.environ.get("GENZOO_CACHE"):
        return Path(given)
    import pooch

    return Path(pooch.os_cache("genzoo"))


def place(source: Source, data_dir: str | os.PathLike[str] | None) -> str:
    """ "local", "cached" or "absent", by the names of the files alone."""
    folder = data_folder(data_dir)
    if folder is not None and _present(source, folder):
        return "local"
    return "cached" if _present(source, cache_folder()) else "absent"


def paths(
    source: Source,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: bool = False,
) -> tuple[Path, ...]:
    """The files of the first way that is there, checked; downloaded if none is and download is set.

    progress: draw bars on stderr. Raises DataError: a damaged local file, a download that failed.
    """
    folder = data_folder(data_dir)
    if folder is not None and (files := _present(source, folder)):
        for file in files:
            _check(source, folder, file)
        return tuple(folder / file.path for file in files)
    cache = cache_folder()
    for way in source.ways:
        if all(_is_good(cache, file) for file in way):
            return tuple(cache / file.path for file in way)
    if not download:
        raise DataError(f"{source.name}: not found; {_help(source)}")
    return _download(source, cache, progress)


def _present(source: Source, folder: Path) -> tuple[File, ...]:
    """The first way whose files all exist in folder, or ()."""
    complete = (way for way in source.ways if all((folder / file.path).is_file() for file in way))
    return next(complete, ())


def _check(source: Source, folder: Path, file: File) -> None:
    if not _is_good(folder, file):
        raise DataError(
            f"{folder / file.path}: damaged, its checksum is not that of {source.name}; "
            f"delete it and run `genzoo data fetch {source.name}`"
        )


def _is_good(folder: Path, file: File) -> bool:
    path = folder / file.path
    return path.is_file() and any(_digest(path, h.split(":")[0]) == h for h in file.hashes)


def _digest(path: Path, algorithm: str) -> str:
    with reading(path), path.open("rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


def _help(source: Source) -> str:
    fetch = f"run `genzoo data fetch {source.name}`, or " if _has_a_home(source) else ""
    ways = " or ".join(", ".join(file.path for file in way) for way in source.ways)
    return f"{fetch}put {ways} in a folder and name it by --data-dir or GENZOO_DATA"


def _has_a_home(source: Source) -> bool:
    return any(all(file.url for file in way) for way in source.ways)


def _download(source: Source, cache: Path, progress: bool) -> tuple[Path, ...]:
    """The first way whose every file arrives."""
    if not _has_a_home(source):
        raise DataError(f"{source.name}: has no public home to be downloaded from; {_help(source)}")
    failures = []
    for way in source.ways:
        if all(file.url for file in way):
            try:
                for file in way:
                    _retrieve(source, cache, file, progress)
            except DataError as failure:
                failures.append(str(failure))
            else:
                return tuple(cache / file.path for file in way)
    raise DataError(f"{source.name}: {'; '.join(failures)}; when that is mended, {_help(source)}")


def _retrieve(source: Source, cache: Path, file: File, progress: bool) -> None:
    """One file into the cache, unless a good one is there. Raises DataError in one line."""
    if _is_good(cache, file):
        return
    import pooch

    pooch.get_logger().setLevel("WARNING")
    target = cache / file.path
    with _bar(f"{source.name}/{target.name}", progress) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar)
        try:
            pooch.retrieve(
                file.url, file.hashes[0], target.name, target.parent, downloader=downloader
            )
        except (OSError, ValueError) as error:
            raise DataError(f"could not get {file.url}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What went wrong with a download, short."""
    import requests

    match error:
        case requests.HTTPError(response=requests.Response(status_code=status)):
            return f"HTTP status {status}"
        case (
            requests.exceptions.ChunkedEncodingError() | requests.exceptions.ContentDecodingError()
        ):
            return "the connection broke off"
        case requests.Timeout():
            return "the server did not answer in time"
        case requests.ConnectionError():
            return "no connection"
        case ValueError() if "hash" in str(error):
            return "what arrived has the wrong checksum (damaged, or changed at its home)"
    return one_line(error)


@contextmanager
def _bar(label: str, wanted: bool) -> Iterator[Any]:
    """A progress bar that pooch understands, drawn by rich on stderr; False if not wanted."""
    if not wanted:
        yield False
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = "{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _PoochBar(progress, progress.add_task(label, total=None))


class _PoochBar:
    """pooch's protocol: it sets total, then calls update, and at the end reset, update, close."""

    def __init__(self, progress: Any, task: Any) -> None:
        self.progress, self.task = progress, task

    @property
    def total(self) -> int:
        """Bytes to come; 0 if the server did not say."""
        return int(self.progress.tasks[0].total or 0)

    @total.setter
    def total(self, total: int) -> None:
        self.progress.update(self.task, total=total or None)

    def update(self, n: int) -> None:
        """n more bytes."""
        self.progress.update(self.task, advance=n)

    def reset(self) -> None:
        """Back to the start."""
        self.progress.update(self.task, completed=0)

    def close(self) -> None:
        """The context manager closes the bar."""
