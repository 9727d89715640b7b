"""Results of benchmarks as JSON files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from flyweight.errors import DataError
from flyweight.files import make_folder, write_json

Record = TypeVar("Record")


def write_stored(values: object, path: Path) -> Path:
    """Write values to this JSON file.

    Raises:
        UsageError, MissingError: the folder cannot be created.
    """
    make_folder(path.parent)
    write_json(path, values)
    return path


def read_stored(path: Path, convert: Callable[[Any], Record], *, command: str, fields: Iterable[str]) -> Record:
    """Read a JSON file and convert it with `convert`; `command` and `fields` (its keys) are for the error message.

    Raises:
        DataError: there is no such file, or its content is something else.
    """
    try:
        return convert(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(
            f"{path}: cannot read a result of `{command}` ({error.strerror}); create one with: {command} --out {path}"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path}: must be a result of `{command}` with the keys {', '.join(fields)}; cannot read it ({error}). "
            f"Create a new one with: {command} --out {path}"
        ) from error
