"""Files written whole or not at all. What is in them, and in which folder they are, is not known here."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from flyweight.errors import DataError, MissingError, UsageError

_UNFINISHED = ".unfinished-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside the real one to write to; it takes the real name at the end, or vanishes if the block fails.

    It keeps the suffix, by which some writers choose the format. A reader sees the old file or the new, never half.
    """
    if not path.name or path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{_UNFINISHED}{secrets.token_hex(4)}-{path.name}")
    try:
        yield unfinished
        _sync(unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write the file whole or not at all; it survives a power cut once this returns."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write the text as UTF-8 with plain line ends, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, keys sorted; what is not a number becomes null, since JSON has no word for it."""
    text = json.dumps(_without_nan(value), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, f"{text}\n")


def make_folder(path: Path) -> Path:
    """The folder of that name, made where it is not there yet.

    Raises:
        UsageError: a file has that name. MissingError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{path} must be a folder, found a file; choose another name.") from None
    except OSError as error:
        raise MissingError(
            f"cannot make the folder {path}: {error.strerror}; choose one that can be written."
        ) from error
    return path


def require_free(path: Path, *, overwrite: bool) -> None:
    """Refuse (UsageError) a path that is a folder, or a file that may not be replaced."""
    if path.is_dir() or (path.exists() and not overwrite):
        way_out = "choose another name" if path.is_dir() else "choose another name, or add --overwrite"
        raise UsageError(f"{path} already exists; {way_out}.")


def is_unfinished(path: Path) -> bool:
    """Whether somebody is writing it just now, or was stopped."""
    return path.name.startswith(_UNFINISHED)


def remove_unfinished(folder: Path) -> None:
    """Remove the files that stopped writers have left in a folder; nobody may be writing to it."""
    for path in folder.iterdir():
        if is_unfinished(path):
            path.unlink(missing_ok=True)
    _sync(folder)


_KINDS: Final = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


def read_bytes(path: Path, *, max_bytes: int | None = None) -> bytes:
    """The content of a plain file. A pipe, a device, a socket or a folder is refused: reading it may never end.

    Raises:
        DataError: another kind of file, or a longer one. OSError: it cannot be read.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "something else")
        raise DataError(f"{path} must be a file, found {kind}; give the path of a file.")
    if max_bytes is not None and found.st_size > max_bytes:
        raise DataError(f"{path} must have at most {max_bytes:,} bytes, found {found.st_size:,}.")
    return path.read_bytes()


def sha256(path: Path) -> str:
    """The file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _without_nan(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
