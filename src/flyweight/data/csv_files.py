"""Reads a .csv file as a set of images: pixels in columns, as Kaggle has MNIST, or names of picture files.

Goes in: a file with a column of labels. Comes out: an `ImageSet`. A sixth of each class is held out as test images,
unless a file with "test" for "train" in its name has labels too.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.data.folders import hold_out_test, natural, read_pictures
from flyweight.data.imageset import Images, ImageSet, Labels, check_size, image_set
from flyweight.data.npz import as_uint8, channels_first
from flyweight.data.pictures import BLACK, SUFFIXES, Fit, ground_for
from flyweight.errors import DataError

LABELS: Final = ("label", "labels", "class", "target", "category", "y")
NUMBERS_OF_ROWS: Final = ("id", "index", "", "unnamed: 0")
_NAMED: Final = 10


@dataclass(frozen=True, kw_only=True)
class _Table:
    """path: of the file. label: number of the column of labels. others: numbers of the columns of pixels or names."""

    path: Path
    delimiter: str
    has_header: bool
    label: int | None
    others: tuple[int, ...]

    def column(self, number: int) -> list[str]:
        return [row[number].strip() for row in self.rows()]

    def rows(self) -> list[list[str]]:
        with self.path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream, delimiter=self.delimiter) if row][self.has_header :]
        width = 1 + max((self.label or 0, *self.others))
        short = next((number for number, row in enumerate(rows, 1) if len(row) < width), None)
        if short is not None:
            raise DataError(f"{self.path}: each row must have {width} columns, found fewer in row {short}.")
        return rows


def read_csv(path: Path, *, resize: int | None = None, fit: Fit = "stretch") -> ImageSet:
    """The images of a .csv file.

    Raises:
        DataError: no labels, pixels that are no square of values 0 to 255, pictures that are not there.
    """
    try:
        return _read(path, resize, fit)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: must be a table of text in UTF-8 ({error}); save it as CSV.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _read(path: Path, resize: int | None, fit: Fit) -> ImageSet:
    tables, notes = {"train": _table(path)}, []
    if tables["train"].label is None:
        raise DataError(f"{path}: must have a column of labels ({', '.join(LABELS[:5])}), found none.")
    beside = path.with_name(path.name.replace("train", "test"))
    if beside != path and beside.is_file():
        test = _table(beside)
        if test.label is None:
            notes.append(f"left out: {beside.name} (it has no labels)")
        else:
            tables["test"] = test
    labels = {part: table.column(table.label) for part, table in tables.items() if table.label is not None}
    names = sorted(set(labels["train"]), key=natural)
    if len(names) == 1 and not tables["train"].has_header:
        raise DataError(
            f"{path}: without a first line of names the labels must be in the first column, found only {names[0]!r} "
            "there; move the column of labels to the front, or name it in a first line."
        )
    unknown = sorted(set().union(*labels.values()) - set(names), key=natural)
    if unknown:
        raise DataError(
            f"{beside}: label {unknown[0]!r} has no training images; the labels are {', '.join(names[:8])}."
        )
    numbers = {name: number for number, name in enumerate(names)}
    coded = {part: np.array([numbers[one] for one in those], np.int64) for part, those in labels.items()}
    is_pixels = len(tables["train"].others) > 2
    images, ground = _pixels(tables) if is_pixels else _pictures(tables, resize, fit)
    pairs: dict[str, tuple[Images, Labels]] = {part: (images[part], coded[part]) for part in tables}
    if "test" not in pairs:
        pairs["train"], pairs["test"] = hold_out_test(*pairs["train"])
    found = image_set(name=path.stem, parts=pairs, class_names=names)
    return replace(found, notes=tuple(notes), ground=ground)


def _table(path: Path) -> _Table:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        line = stream.readline()
    delimiter = max(",;\t", key=line.count)  # spreadsheets write what their language has
    first = [cell.strip().lower() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    has_header = not all(cell.lstrip("-").replace(".", "", 1).isdigit() for cell in first)
    label = next((first.index(word) for word in LABELS if word in first), None) if has_header else 0
    others = [number for number in range(len(first)) if number != label]
    if len(others) > 2:  # a column that numbers the rows beside pixels
        others = [number for number in others if first[number] not in NUMBERS_OF_ROWS]
    if not others:
        raise DataError(f"{path}: must have columns of pixels or of file names beside the labels, found none.")
    return _Table(path=path, delimiter=delimiter, has_header=has_header, label=label, others=tuple(others))


def _pixels(tables: Mapping[str, _Table]) -> tuple[dict[str, Images], None]:
    found = {}
    for part, table in tables.items():
        n = len(table.others)
        shape = next(((isqrt(n // c), isqrt(n // c), c) for c in (1, 3) if isqrt(n // c) ** 2 * c == n), None)
        if shape is None:
            raise DataError(f"{table.path}: pixels must make up a square, grey or colour, found {n:,} columns.")
        check_size(str(table.path), table.path.stat().st_size // 2)
        try:
            options: dict[str, Any] = {
                "delimiter": table.delimiter,
                "usecols": table.others,
                "ndmin": 2,
                "encoding": "utf-8-sig",
            }
            values = np.loadtxt(table.path, np.float32, skiprows=int(table.has_header), **options)
        except ValueError as error:
            raise DataError(f"{table.path}: pixels must be numbers from 0 to 255 ({error}).") from error
        found[part] = channels_first(as_uint8(values, str(table.path)).reshape(-1, *shape), str(table.path))
    return found, None


def _pictures(
    tables: Mapping[str, _Table], resize: int | None, fit: Fit
) -> tuple[dict[str, NDArray[np.uint8]], int | None]:
    """The pictures that the tables name: relative to the file, or anywhere below its folder if the name is unique."""
    folder = tables["train"].path.parent
    below: dict[str, set[Path]] = {}
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES:
            for name in (path.relative_to(folder).as_posix(), path.name, path.stem):
                below.setdefault(name, set()).add(path)
    named = {part: table.column(table.others[0]) for part, table in tables.items()}
    wrong = [name for names in named.values() for name in names if len(below.get(name, ())) != 1]
    if wrong:
        raise DataError(
            f"{tables['train'].path}: each row must name one picture below {folder}, found none or several for "
            f"{len(wrong):,}: {', '.join(wrong[:_NAMED])}."
        )
    paths = [next(iter(below[name])) for names in named.values() for name in names]
    ground, _ = ground_for(paths)
    images = read_pictures(paths, resize, fit=fit, ground=BLACK if ground is None else ground)
    ends = np.cumsum([len(names) for names in named.values()])[:-1]
    return dict(zip(named, np.split(images, ends), strict=True)), ground
