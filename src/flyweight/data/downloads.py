"""Files of named image sets, fetched once: mirror by mirror, checked, kept in a cache that several processes share.

Goes in: a file with its places and a folder. Comes out: a path to a file with the right checksum, or one error. What
is in the folder under a file's name is whole: downloads become visible only after their checksum was compared.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from flyweight.data.catalogue import Place, RemoteFile
from flyweight.errors import DataError, MissingError

CACHE_VARIABLE: Final = "FLYWEIGHT_CACHE"
ATTEMPTS: Final = 2
TIMEOUT_SECONDS: Final = 30
LOCK_SECONDS: Final = 3600

# identity: .gz files must arrive as they are. NIST answers 403 to agents that are nothing but a library's name.
_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "Mozilla/5.0 (compatible; flyweight)"}
_CHUNK: Final = 2**16


def default_cache() -> Path:
    """Where downloads are kept: `FLYWEIGHT_CACHE`, else the platform's cache folder for this user."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("flyweight")


def fetch(files: Sequence[RemoteFile], folder: Path, *, attempts: int = ATTEMPTS) -> tuple[Path, ...]:
    """The paths of `files` in `folder`; what is missing or damaged there is downloaded, each mirror in turn.

    Raises:
        MissingError: no place could be reached, or the folder cannot be written to.
        DataError: a place answered, but no place had the file that the checksum asks for.
    """
    # Without a lock while all is there: the cache may be read-only.
    if not all(_is_whole(folder / file.name, file) for file in files):
        with _locked(folder):
            for file in files:
                if not _is_whole(folder / file.name, file):
                    _download(file, folder, attempts)
    return tuple(folder / file.name for file in files)


def _is_whole(path: Path, file: RemoteFile) -> bool:
    """Whether the file is there with a checksum that one of its places promises."""
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
    """Hold the folder against other processes, swept clean of what a killed one has left behind."""
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
            f"{folder}: downloads are kept there, and it cannot be written to ({error.strerror or error}). "
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
                break  # what a server refuses it will refuse again
            except requests.RequestException as error:
                faults.append(f"{place.url}: {_reason(error)}")
            except ValueError:  # pooch: the checksum differs
                faults.append(f"{place.url}: another file than the one with {place.checksum}")
                is_wrong = True
    tried = "; ".join(dict.fromkeys(faults))
    if is_wrong:
        raise DataError(f"{file.name}: no place has the file that was expected. Tried {tried}. Nothing was kept.")
    raise MissingError(
        f"{file.name}: could not be downloaded. Tried {tried}. Check the network and run it again, "
        f"or put the file into {folder} yourself."
    )


def _retrieve(place: Place, folder: Path, name: str) -> None:
    import pooch  # type: ignore[import-untyped]  # it brings no types

    pooch.get_logger().setLevel(logging.ERROR)  # what there is to say is said here
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
        return "cut off half-way"
    return "not reachable" if isinstance(error, requests.ConnectionError) else type(error).__name__


class Progress(Protocol):
    """What pooch asks of a progress bar."""

    total: int

    def update(self, n_bytes: int) -> None: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...


@contextmanager
def _progress(name: str) -> Iterator[Progress | None]:
    """A bar on stderr where that is a terminal, else one line."""
    if not sys.stderr.isatty():
        print(f"Downloading {name}", file=sys.stderr)
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        yield _RichBar(bars, name)


class _RichBar:
    """One bar of rich in the form that pooch asks for; pooch sets `total` after the first answer."""

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
        """Nothing: the bars end with the block that opened them."""
