"""Records of benchmarks as JSON files: written whole, and read again, or refused in one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from flyweight.errors import DataError
from flyweight.records.files import make_folder, write_json

Record = TypeVar("Record")


def write_stored(values: object, path: Path) -> Path:
    """Write values as a JSON file of that name.

    Raises:
        UsageError, MissingError: the folder cannot be made.
    """
    make_folder(path.parent)
    write_json(path, values)
    return path


def read_stored(path: Path, made: Callable[[Any], Record], *, command: str, fields: Iterable[str]) -> Record:
    """What `made` makes of the JSON of a file; `command` writes such files, and their tables have these `fields`.

    Raises:
        DataError: no such file, or one that holds something else.
    """
    try:
        return made(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(
            f"{path}: must be a record of `{command}`, found none ({error.strerror}); "
            f"`{command} --out {path}` makes one."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path}: must be a record of `{command}` with {', '.join(fields)}, found other content ({error}); make "
            f"it again with `{command} --out {path}`."
        ) from error
