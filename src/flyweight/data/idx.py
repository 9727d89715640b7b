"""IDX, the file format of MNIST: a magic number with type and rank, big-endian sizes, then the values.

Goes in: a path, plain or gzipped, or an open stream. Comes out: an array, in memory or mapped, or a DataError. The
sizes in the header are compared with the size of the file.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.data.imageset import check_size, mapped
from flyweight.errors import DataError

TYPES: Final = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK: Final = 2**20


def read_idx(path: Path) -> NDArray[Any]:
    """The array of an IDX file; a name that ends in .gz is unpacked.

    Raises:
        DataError: no IDX file, or its length differs from its header.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return read_idx_stream(stream, str(path))  # type: ignore[arg-type]  # GzipFile reads as BinaryIO does
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error


def map_idx(path: Path) -> NDArray[Any]:
    """The array of `read_idx`, mapped: its values stay in the file until they are used.

    A file that is packed, damaged or has more than a byte per value is passed to `read_idx`.
    """
    size = mappable_bytes(path)
    if size:
        # read_idx raises the error of a file that cannot be opened.
        with contextlib.suppress(OSError), path.open("rb") as stream:
            kind, shape = _header(stream, str(path))
            start, n_bytes = stream.tell(), math.prod(shape)
            if kind == "u1" and start + n_bytes == size:
                check_size(str(path), n_bytes)
                return mapped(stream, offset=start, shape=shape)
    return read_idx(path)


def mappable_bytes(path: Path) -> int:
    """The size of a file that is not packed; 0 if it is packed or missing."""
    return path.stat().st_size if path.suffix != ".gz" and path.is_file() else 0


def read_idx_stream(stream: BinaryIO, what: str) -> NDArray[Any]:
    """The array of an open, unpacked IDX stream; `what` names it in errors."""
    try:
        kind, shape = _header(stream, what)
        expected = np.dtype(kind).itemsize * math.prod(shape)
        check_size(what, expected)
        # One byte more shows whether the file is longer than its header says.
        values = _read_up_to(stream, expected + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{what}: damaged gzip file ({error}); download or pack it again.") from error
    if len(values) != expected:
        found = "more" if len(values) > expected else f"{len(values):,} (cut off)"
        raise DataError(f"{what}: its header {shape} needs {expected:,} bytes of values, found {found}.")
    array = np.frombuffer(values, kind).reshape(shape)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _header(stream: BinaryIO, what: str) -> tuple[str, tuple[int, ...]]:
    magic = stream.read(4)
    is_idx = len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in TYPES and 1 <= magic[3] <= 4
    if not is_idx:
        raise DataError(
            f"{what}: an IDX file begins with 00 00, a type (08 for bytes) and 1 to 4 dimensions, "
            f"found {magic.hex(' ') or 'nothing'}."
        )
    sizes = stream.read(4 * magic[3])
    if len(sizes) != 4 * magic[3]:
        raise DataError(f"{what}: an IDX header of {magic[3]} dimensions has {4 + 4 * magic[3]} bytes, found fewer.")
    return TYPES[magic[2]], struct.unpack(f">{magic[3]}I", sizes)


def _read_up_to(stream: BinaryIO, n_bytes: int) -> bytearray:
    """In pieces, so that memory use follows the size of the file, not a wrong header."""
    values = bytearray()
    while len(values) < n_bytes and (piece := stream.read(min(_CHUNK, n_bytes - len(values)))):
        values += piece
    return values
