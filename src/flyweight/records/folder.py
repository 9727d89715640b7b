"""Files of a run: written whole or not at all, and checked against their sums when they are read again."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flyweight.errors import DataError, MissingError, UsageError

CHECKSUMS = "checksums.json"
TOLD = "told.json"
_UNFINISHED = ".unfinished-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside the real one to write to; it takes the real name at the end, or vanishes if the block fails.

    It keeps the suffix, by which some writers choose the format. A reader sees the old file or the new, never half.
    """
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


def read_result(folder: Path) -> dict[str, Any]:
    """The figures of a run that is over, from its result.json.

    Raises:
        DataError: a run that is not over has none; or the file holds something else.
    """
    path = folder / "result.json"
    if not folder.is_dir():
        raise DataError(f"run {folder.name}: its folder {folder} is gone; only what `flyweight runs` lists is left.")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"run {folder.name}: there must be figures in {path}, found none; a run has them when it is over "
            f"(`flyweight train --resume {folder.name}` goes on with one that was stopped)."
        ) from None
    except ValueError as error:
        raise DataError(f"{path}: must hold JSON, found something else ({error}); train again.") from error
    if not isinstance(result, dict):
        raise DataError(f"{path}: must hold the figures of a run by name, found other JSON; train again.")
    return result


def read_told(folder: Path) -> dict[str, Any]:
    """What the protocol of a run tells, a row per epoch and the images of each class; nothing where it has none."""
    path = folder / TOLD
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{path}: must hold JSON, found something else ({error}); train again.") from error
    return told


def write_checksums(folder: Path, files: Iterable[str] | None = None) -> None:
    """Write checksums.json over the named files; by default over all that are in the folder now."""
    names = _files_in(folder) if files is None else files
    write_json(folder / CHECKSUMS, {name: sha256(folder / name) for name in names})


def verify(folder: Path) -> None:
    """Check every file that checksums.json names.

    Raises:
        DataError: naming each file that has changed or is missing.
    """
    faults = [_fault(folder / name, expected) for name, expected in _read_checksums(folder).items()]
    found = [fault for fault in faults if fault]
    if found:
        raise DataError(
            f"the run folder {folder} is not as it was written: {'; '.join(found)}. Restore it, or train again."
        )


def sha256(path: Path) -> str:
    """The file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_in(folder: Path) -> list[str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(_UNFINISHED)]
    return sorted(path.relative_to(folder).as_posix() for path in paths if path != folder / CHECKSUMS)


def _read_checksums(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS
    try:
        sums = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the run has not ended, or its folder is not whole") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(sums, dict) or not all(isinstance(value, str) for value in sums.values()):
        raise DataError(f"{path} must map file names to checksums")
    return sums


def _fault(path: Path, expected: str) -> str | None:
    try:
        found = sha256(path)
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    if found == expected:
        return None
    return f"{path.name} has changed (sha256 {found[:12]}..., was {expected[:12]}...)"


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
