"""Downloads the files of named image sets: mirror by mirror, checked, into a cache that several processes share.

Goes in: a file with its places and a folder. Comes out: a path to a file with the right checksum, or one error. A file
in the folder is complete: a download gets its name only after its checksum was compared.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from flyweight.data.catalogue import Place, RemoteFile
from flyweight.errors import DataError, MissingError

CACHE_VARIABLE: Final = "FLYWEIGHT_CACHE"
ATTEMPTS: Final = 2
TIMEOUT_SECONDS: Final = 30
LOCK_SECONDS: Final = 3600

# identity: .gz files must not be unpacked on the way. NIST refuses (403) agents that only name a library.
_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "Mozilla/5.0 (compatible; flyweight)"}
_CHUNK: Final = 2**16


def default_cache() -> Path:
    """The folder of downloads: `FLYWEIGHT_CACHE`, else the platform's cache folder for this user."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("flyweight")


def fetch(files: Sequence[RemoteFile], folder: Path, *, attempts: int = ATTEMPTS) -> tuple[Path, ...]:
    """The paths of `files` in `folder`; missing or damaged files are downloaded, each mirror in turn.

    Raises:
        MissingError: no place could be reached, or the folder cannot be written to.
        DataError: a place answered, but no place had a file with the right checksum.
    """
    # No lock if all files are there: the cache may be read-only.
    if not all(_is_whole(folder / file.name, file) for file in files):
        with _locked(folder):
            for file in files:
                if not _is_whole(folder / file.name, file):
                    _download(file, folder, attempts)
    return tuple(folder / file.name for file in files)


def _is_whole(path: Path, file: RemoteFile) -> bool:
    """Whether the file exists, with the checksum of one of its places."""
    if not path.is_file():
        return False
    promised = {place.checksum for place in file.places}
    algorithms = sorted({checksum.partition(":")[0] for checksum in promised})
    return any(f"{algorithm}:{_digest(path, algorithm)}" in promised for algorithm in algorithms)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process, and remove what a killed process left in it."""
    import filelock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".lock", timeout=LOCK_SECONDS):
            for left in folder.glob("tmp*"):
                left.unlink()
            yield
    except filelock.Timeout as error:
        raise MissingError(
            f"{folder}: another process has been downloading for {LOCK_SECONDS // 60} minutes; "
            "end it, or set FLYWEIGHT_CACHE to another folder."
        ) from error
    except OSError as error:
        raise MissingError(
            f"{folder}: the folder of downloads cannot be written to ({error.strerror or error}). "
            f"Set {CACHE_VARIABLE} to a folder with space that you may write to."
        ) from error


def _download(file: RemoteFile, folder: Path, attempts: int) -> None:
    """The file from the first place that has it; every place is tried `attempts` times."""
    import requests

    faults: list[str] = []
    is_wrong = False
    for place in file.places:
        for _ in range(attempts):
            try:
                _retrieve(place, folder, file.name)
                return
            except requests.HTTPError as error:
                faults.append(f"{place.url}: {_status(error)}")
                break  # a server that refuses once will refuse again
            except requests.RequestException as error:
                faults.append(f"{place.url}: {_reason(error)}")
            except ValueError:  # pooch: the checksum differs
                faults.append(f"{place.url}: the checksum is not {place.checksum}")
                is_wrong = True
    tried = "; ".join(dict.fromkeys(faults))
    if is_wrong:
        raise DataError(f"{file.name}: no place has a file with the right checksum. Tried {tried}. Nothing was stored.")
    raise MissingError(
        f"{file.name}: could not be downloaded. Tried {tried}. Check the network and run it again, "
        f"or put the file into {folder} yourself."
    )


def _retrieve(place: Place, folder: Path, name: str) -> None:
    import pooch  # type: ignore[import-untyped]  # it brings no types

    pooch.get_logger().setLevel(logging.ERROR)  # progress and errors are printed here
    with _progress(name) as progress:
        downloader = pooch.HTTPDownloader(
            progressbar=progress or False, chunk_size=_CHUNK, headers=_HEADERS, timeout=TIMEOUT_SECONDS
        )
        # Writes to a temporary file beside the target, compares the checksum, moves: a fault leaves nothing.
        pooch.retrieve(place.url, known_hash=place.checksum, fname=name, path=folder, downloader=downloader)


def _status(error: Any) -> str:
    return f"answered {error.response.status_code} {error.response.reason}"


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return f"no answer in {TIMEOUT_SECONDS} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "ended before the file was complete"
    return "not reachable" if isinstance(error, requests.ConnectionError) else type(error).__name__


@contextmanager
def _progress(name: str) -> Iterator[_RichBar | None]:
    """A bar on stderr if that is a terminal, else one line."""
    if not sys.stderr.isatty():
        print(f"Downloading {name}", file=sys.stderr)
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        yield _RichBar(bars, name)


class _RichBar:
    """A bar of rich with the methods that pooch calls; pooch sets `total` after the first answer."""

    def __init__(self, bars: Any, name: str) -> None:
        self._bars = bars
        self._task = bars.add_task(f"Downloading {name}", total=None)
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, n_bytes: int) -> None:
        self._total = n_bytes
        self._bars.update(self._task, total=n_bytes or None)

    def update(self, n_bytes: int) -> None:
        self._bars.advance(self._task, n_bytes)

    def reset(self) -> None:
        self._bars.update(self._task, completed=0)

    def close(self) -> None:
        """Nothing to do: the bars end with the block that opened them."""
