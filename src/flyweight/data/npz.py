"""Reads an .npz file as a set of images, in the layout of Keras's mnist.npz.

Keys x_train, y_train, x_test, y_test; optionally x_validation, y_validation and class_names. Sizes and types are read
from the headers before anything is unpacked, and nothing is ever unpickled. Large uncompressed images stay in the file,
mapped.
"""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.data.imageset import Images, ImageSet, check_size, image_set, is_large, mapped
from flyweight.errors import DataError

REQUIRED: Final = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL: Final = ("x_validation", "y_validation", "class_names")
_CHUNK: Final = 2**20
# The last two numbers of the zip format's local file header: the lengths of the name and of the extra field.
_LOCAL_HEADER: Final = struct.Struct("<26x2H")


def read_npz(path: Path, *, name: str, class_names: Iterable[str] | None = None) -> ImageSet:
    """The images of one .npz file.

    x_*: uint8 (N, H, W) grey, (N, H, W, 3) or (N, 3, H, W) colour. y_*: integers (N,) or (N, 1).
    class_names: text (K,), in the order of the labels; an argument of that name replaces it.

    Raises:
        DataError: no .npz file, keys missing, arrays of another type or shape, objects, a decompression bomb.
    """
    arrays = _read_arrays(path)
    if class_names is None and "class_names" in arrays:
        class_names = _names(path, arrays["class_names"])
    parts = {part: _pair(path, arrays, part) for part in ("train", "test", "validation") if f"x_{part}" in arrays}
    return image_set(name=name, parts=parts, class_names=class_names)


def channels_first(images: NDArray[Any], what: str) -> Images:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) uint8, C 1 or 3, as (N, C, H, W)."""
    if images.dtype != np.uint8:
        raise DataError(f"{what}: images must be uint8 (0 to 255), found {images.dtype}{_advice(images)}.")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    side = math.isqrt(images.shape[1]) if images.ndim == 2 else 0
    advice = f": save x.reshape(-1, {side}, {side})" if side > 1 and side * side == images.shape[1] else ""
    raise DataError(
        f"{what}: images must have the shape (N, H, W) or (N, H, W, C) with 1 or 3 channels, found "
        f"{images.shape}{advice}."
    )


def as_uint8(values: NDArray[np.float32], what: str) -> Images:
    """Whole numbers from 0 to 255 as uint8."""
    if not values.size or values.min() < 0 or values.max() > 255 or (values != np.round(values)).any():
        raise DataError(f"{what}: values must be whole numbers from 0 to 255, found{_advice(values)[1:]}.")
    return values.astype(np.uint8)


def _advice(values: NDArray[Any]) -> str:
    """The range of values that are not uint8, and what makes them so."""
    if values.dtype.kind not in "biuf" or not values.size:
        return ""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        return ", not all of them numbers: look for NaN and infinity"
    found = f", {low:g} to {high:g}: "
    if low < 0:
        return found + f"scale with x = (x - ({low:g})) * {255 / ((high - low) or 1):g}, then x.round().astype('uint8')"
    if high <= 1:
        return found + "save (x * 255.0).round().astype('uint8')"
    if high <= 255:
        return found + "save x.round().astype('uint8')"
    return found + f"save (x * {255 / high:g}).round().astype('uint8')"


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            _check_keys(path, members)
            wanted = [members[key] for key in (*REQUIRED, *OPTIONAL) if key in members]
            check_size(str(path), sum(info.file_size for info in wanted))
            to_map = _to_map(wanted)
            return {
                info.filename.removesuffix(".npy"): _map_array(archive, info, path, stream)
                if info in to_map
                else _read_array(archive, info, path)
                for info in wanted
            }
    # RuntimeError: a password, or (NotImplementedError) an unknown compression; TokenError: a header that is no Python.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, tokenize.TokenError) as error:
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


def _to_map(wanted: Iterable[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """The members with uncompressed images, if together they are large."""
    stored = [one for one in wanted if one.filename.startswith("x_") and one.compress_type == zipfile.ZIP_STORED]
    # The sizes differ with a password, or if the directory is wrong: reading the member then gives the error.
    stored = [one for one in stored if one.compress_size == one.file_size]
    return stored if is_large(sum(info.file_size for info in stored)) else []


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    with archive.open(info) as stream:
        _checked_header(stream, f"{path}: {info.filename}", info.file_size)
    with archive.open(info) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read()  # to the end, where zipfile compares the CRC
        return array


def _map_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, stream: BinaryIO) -> NDArray[Any]:
    """The array of `_read_array`, mapped in the open file `stream`; its checksum is compared as well."""
    with archive.open(info) as member:
        shape, is_fortran, dtype = _checked_header(member, f"{path}: {info.filename}", info.file_size)
        if dtype != np.uint8:
            return _read_array(archive, info, path)
        values = member.tell()
        while member.read(_CHUNK):  # to the end, where zipfile compares the CRC
            pass
    return mapped(stream, offset=_start(stream, info) + values, shape=shape, order="F" if is_fortran else "C")


def _start(stream: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin: after its own header, whose extra field may differ from the directory's."""
    stream.seek(info.header_offset)
    lengths: tuple[int, int] = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    return info.header_offset + _LOCAL_HEADER.size + sum(lengths)


def _checked_header(stream: IO[bytes], what: str, file_size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type; numpy would allocate any shape, so the size is checked first."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise DataError(f"{what}: must have .npy version 1 or 2, found {version[0]}.")
    shape, is_fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise DataError(
            f"{what}: contains Python objects, which are never unpickled; save plain uint8 and integer arrays."
        )
    needed = stream.tell() + math.prod(shape) * dtype.itemsize
    if needed != file_size:
        raise DataError(f"{what}: {dtype} of shape {shape} needs {needed:,} bytes, found {file_size:,}.")
    return shape, is_fortran, dtype


def _pair(path: Path, arrays: Mapping[str, NDArray[Any]], part: str) -> tuple[Images, NDArray[Any]]:
    labels = arrays[f"y_{part}"]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return channels_first(arrays[f"x_{part}"], f"{path}: x_{part}"), labels


def _names(path: Path, names: NDArray[Any]) -> tuple[str, ...]:
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(f"{path}: class_names must be text of shape (K,), found {names.dtype} of shape {names.shape}.")
    return tuple(str(name) for name in names)
