"""Runs as one table in a file, one row per run: columns of the record, derived columns, and keys of the recipe.

Each column has one type; missing values are empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from flyweight import files, tables
from flyweight.errors import MissingError, UsageError, in_one_line
from flyweight.records.record import RunRecord
from flyweight.trackers.content import flattened

DERIVED: Final = ("train_accuracy", "validation_accuracy", "test_accuracy")
# Values that decide the bits and the speed of a run; its folder has the rest of the environment.
ENVIRONMENT: Final[dict[str, type]] = {
    "flyweight": str,
    "code": str,
    "torch": str,
    "python": str,
    "system": str,
    "processor": str,
    "cpu_capability": str,
    "threads": int,
    "device": str,
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column; its cells are of type `kind` (str, int, float, bool, or datetime in UTC) or None."""

    name: str
    kind: type
    cells: tuple[Any, ...]


@in_one_line
def write_table(records: Iterable[RunRecord], path: Path) -> Path:
    """Write the runs to `path` as Parquet, CSV or JSON (by its suffix); returns the path.

    The file is written completely or not at all.

    Raises:
        UsageError: another suffix. MissingError: the path cannot be written, or Parquet's package is not installed.
    """
    if path.suffix.lower() not in WRITERS:
        raise UsageError(f"{path} must end in {', '.join(WRITERS)}, found {path.suffix or 'no suffix'!r}.")
    columns = table_of(tuple(records))
    try:
        with files.replacing(path) as unfinished:
            WRITERS[path.suffix.lower()](columns, unfinished)
    except OSError as error:
        raise MissingError(f"cannot write {path}: {error.strerror or error}; choose another path.") from error
    return path


def table_of(records: Sequence[RunRecord]) -> tuple[Column, ...]:
    """The runs as columns: those of the record in its order, derived ones, environment, recipe."""
    columns = [
        Column(name=name, kind=kind, cells=tuple(_as(kind, getattr(record, name)) for record in records))
        for name, kind in {**_record_kinds(), **dict.fromkeys(DERIVED, float)}.items()
    ]
    columns += [
        Column(
            name=f"environment.{name}",
            kind=kind,
            cells=tuple(_as(kind, record.environment.get(name)) for record in records),
        )
        for name, kind in ENVIRONMENT.items()
    ]
    recipes = [flattened(record.recipe) for record in records]
    for key in sorted({key for recipe in recipes for key in recipe}):
        values = [recipe.get(key) for recipe in recipes]
        kind = _common_kind(values)
        columns.append(Column(name=f"recipe.{key}", kind=kind, cells=tuple(_as(kind, value) for value in values)))
    return tuple(columns)


def _write_parquet(columns: Sequence[Column], path: Path) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingError(
            f"a .parquet file needs the pyarrow package ({error}): pip install 'flyweight[parquet]'"
        ) from error
    kinds = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
        datetime: pyarrow.timestamp("us", tz="UTC"),
    }
    schema = pyarrow.schema([(column.name, kinds[column.kind]) for column in columns])
    arrays = [pyarrow.array(column.cells, type=kinds[column.kind]) for column in columns]
    parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), path)


def _write_csv(columns: Sequence[Column], path: Path) -> None:
    table = tables.Table(
        columns=tuple(tables.Column(header=column.name) for column in columns),
        rows=tuple(tuple(map(_csv_word, row)) for row in _rows(columns)),
    )
    path.write_bytes(tables.as_csv(table).encode())


def _write_json(columns: Sequence[Column], path: Path) -> None:
    """A list of objects, one per line."""
    names = [column.name for column in columns]
    objects = [dict(zip(names, map(_json_value, row), strict=True)) for row in _rows(columns)]
    lines = [json.dumps(one, ensure_ascii=False, allow_nan=False) for one in objects]
    path.write_bytes("[\n{}\n]\n".format(",\n".join(lines)).encode() if lines else b"[]\n")


WRITERS: Final[dict[str, Callable[[Sequence[Column], Path], None]]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".json": _write_json,
}


def _rows(columns: Sequence[Column]) -> Iterable[tuple[Any, ...]]:
    return zip(*(column.cells for column in columns), strict=True)


def _record_kinds() -> dict[str, type]:
    """Columns of the record with their types, by its annotations."""
    kinds = {name: _kind(hint) for name, hint in get_type_hints(RunRecord).items()}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _kind(hint: Any) -> type | None:
    """`int` for an annotation such as `int | None`; None if it is not a plain value."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return next(_kind(part) for part in get_args(hint) if part is not NoneType)
    if origin is Literal:
        return str
    return hint if origin is None else None


def _common_kind(values: Iterable[Any]) -> type:
    """The common type of the values: float for int and float, str for other mixtures."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return float
    return kinds.pop() if len(kinds) == 1 and kinds <= {bool, int, float} else str


def _as(kind: type, value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if kind is str and not isinstance(value, str):
        return json.dumps(value)
    return value if isinstance(value, kind) else kind(value)


def _csv_word(cell: Any) -> object:
    if isinstance(cell, bool):
        return str(cell).lower()
    return _json_value(cell)


def _json_value(cell: Any) -> Any:
    return cell.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(cell, datetime) else cell
