"""Pictures of users: files, bytes, arrays and PIL images all become a PIL image with a name."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flyweight.data.folders import natural
from flyweight.data.pictures import SUFFIXES, opened
from flyweight.errors import DataError, UsageError

Given: TypeAlias = str | PathLike[str] | bytes | NDArray[np.uint8] | Image.Image

CHANNELS: Final = (1, 3, 4)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A loaded picture in upright orientation; `path` is None if it was not given as a file."""

    name: str
    path: Path | None
    image: Image.Image


def pictures(given: Given | Sequence[Given], shape: tuple[int, int, int]) -> tuple[Picture, ...]:
    """Read one or many pictures in order; an array can have several. shape: (C, H, W) of the net's input.

    An array is uint8: (H, W), (H, W, C), or a batch of either; channels can come first in a batch, and in a single
    picture with the shape of the net.

    Raises:
        DataError: a file is damaged or not a picture. UsageError: no picture, or an object of another type.
    """
    if isinstance(given, str | bytes | PathLike | np.ndarray | Image.Image):
        given = [given]
    found = tuple(_picture(one, number) for number, one in enumerate(_flat(given, shape), start=1))
    if not found:
        raise UsageError("no pictures given, expected at least one.")
    return found


def picture_files(given: Iterable[Path]) -> tuple[tuple[Path, ...], int]:
    """The files that are given and those in folders that are given, in order, and how many others were left out there.

    Raises:
        DataError: a folder without pictures.
    """
    found: list[Path] = []
    left_out = 0
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        files = [one for one in sorted(path.rglob("*"), key=lambda one: natural(str(one))) if one.is_file()]
        pictures_in = [one for one in files if one.suffix.lower() in SUFFIXES and not one.name.startswith(".")]
        if not pictures_in:
            raise DataError(f"{path} must have pictures ({', '.join(sorted(SUFFIXES))}), found none.")
        found += pictures_in
        left_out += len(files) - len(pictures_in)
    return tuple(found), left_out


def _flat(given: Iterable[Given], shape: tuple[int, int, int]) -> Iterator[Given]:
    for one in given:
        if isinstance(one, np.ndarray):
            yield from _in_array(one, shape)
        else:
            yield one


def _in_array(array: NDArray[Any], shape: tuple[int, int, int]) -> Iterable[NDArray[np.uint8]]:
    """The pictures of an array, each (H, W) or (H, W, C)."""
    if array.dtype != np.uint8:
        raise UsageError(f"an array of pictures must be uint8 (0 to 255), found {array.dtype}; convert it.")
    if array.shape == shape:
        return [array.transpose(1, 2, 0)]
    match array.ndim:
        case 2:
            return [array]
        case 3:
            return [array] if array.shape[2] in CHANNELS else array
        case 4 if array.shape[3] in CHANNELS:
            return array
        case 4 if array.shape[1] in CHANNELS:
            return array.transpose(0, 2, 3, 1)
    raise UsageError(
        f"an array of pictures must be (H, W), (H, W, C), (N, H, W), (N, H, W, C) or (N, C, H, W) with 1, 3 or 4 "
        f"channels, found {array.shape}."
    )


def _picture(given: Given, number: int) -> Picture:
    match given:
        case str() | PathLike():
            path = Path(fspath(given))
            return Picture(name=str(path), path=path, image=opened(path, str(path)))
        case bytes():
            return _unnamed(io.BytesIO(given), number)
        case np.ndarray():
            return _unnamed(Image.fromarray(given[:, :, 0] if given.shape[2:] == (1,) else given), number)
        case Image.Image():
            return _unnamed(given, number)
    raise UsageError(
        f"picture {number} must be a path, the bytes of a file, a numpy array or a PIL image, found a "
        f"{type(given).__name__}."
    )


def _unnamed(source: io.BytesIO | Image.Image, number: int) -> Picture:
    name = f"picture {number}"
    return Picture(name=name, path=None, image=opened(source, name))
