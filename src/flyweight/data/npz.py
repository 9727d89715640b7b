"""One .npz file as a set of images: the layout of Keras's mnist.npz.

Keys x_train, y_train, x_test, y_test; optionally x_validation, y_validation and class_names. Sizes and types are read
from the headers before anything is unpacked, and nothing is ever unpickled.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.data.imageset import Images, ImageSet, check_size, image_set
from flyweight.errors import DataError

REQUIRED: Final = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL: Final = ("x_validation", "y_validation", "class_names")


def read_npz(path: Path, *, name: str, class_names: Iterable[str] | None = None) -> ImageSet:
    """The images of one .npz file.

    x_*: uint8 (N, H, W) grey, (N, H, W, 3) or (N, 3, H, W) colour. y_*: integers (N,) or (N, 1).
    class_names: text (K,), in the order of the labels; an argument of that name goes before it.

    Raises:
        DataError: no .npz file, keys missing, arrays of another type or shape, objects, a decompression bomb.
    """
    arrays = _read_arrays(path)
    if class_names is None and "class_names" in arrays:
        class_names = _names(path, arrays["class_names"])
    return image_set(
        name=name,
        train=_pair(path, arrays, "train"),
        test=_pair(path, arrays, "test"),
        validation=_pair(path, arrays, "validation") if "x_validation" in arrays else None,
        class_names=class_names,
    )


def channels_first(images: NDArray[Any], what: str) -> Images:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) uint8, C 1 or 3, as (N, C, H, W)."""
    if images.dtype != np.uint8:
        hint = " Multiply by 255 and round." if images.dtype.kind == "f" else ""
        raise DataError(f"{what}: images must be uint8 (0 to 255), found {images.dtype}.{hint}")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    raise DataError(
        f"{what}: images must have the shape (N, H, W) or (N, H, W, C) with 1 or 3 channels, found {images.shape}."
    )


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            _check_keys(path, members)
            wanted = [members[key] for key in (*REQUIRED, *OPTIONAL) if key in members]
            check_size(str(path), sum(info.file_size for info in wanted))
            return {info.filename.removesuffix(".npy"): _read_array(archive, info, path) for info in wanted}
    # RuntimeError: a password; NotImplementedError: an unknown way of packing; TokenError: a header that is no Python.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        NotImplementedError,
        ValueError,
        tokenize.TokenError,
    ) as error:
        raise DataError(
            f"{path}: not a whole .npz file ({' '.join(str(error).split())}); write it again with numpy.savez."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _check_keys(path: Path, members: Mapping[str, object]) -> None:
    required = REQUIRED + (("x_validation", "y_validation") if {"x_validation", "y_validation"} & set(members) else ())
    missing = [key for key in required if key not in members]
    if missing:
        found = ", ".join(sorted(members)[:8]) or "nothing"
        raise DataError(f"{path}: needs the arrays {', '.join(required)}; {', '.join(missing)} missing, found {found}.")


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    with archive.open(info) as stream:
        _check_header(stream, f"{path}: {info.filename}", info.file_size)
    with archive.open(info) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read()  # to the end, where zipfile compares the CRC
        return array


def _check_header(stream: IO[bytes], what: str, file_size: int) -> None:
    """A header may claim any shape and numpy would allocate it: the values must fit into the member."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise DataError(f"{what}: plain arrays are of .npy version 1 or 2, found {version[0]}.")
    if dtype.hasobject:
        raise DataError(
            f"{what}: holds Python objects, which are never unpickled; save plain uint8 and integer arrays."
        )
    needed = stream.tell() + math.prod(shape) * dtype.itemsize
    if needed != file_size:
        raise DataError(f"{what}: {dtype} of shape {shape} needs {needed:,} bytes, found {file_size:,}.")


def _pair(path: Path, arrays: Mapping[str, NDArray[Any]], part: str) -> tuple[Images, NDArray[Any]]:
    labels = arrays[f"y_{part}"]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return channels_first(arrays[f"x_{part}"], f"{path}: x_{part}"), labels


def _names(path: Path, names: NDArray[Any]) -> tuple[str, ...]:
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(f"{path}: class_names must be text of shape (K,), found {names.dtype} of shape {names.shape}.")
    return tuple(str(name) for name in names)
