"""IDX, the file format of MNIST: a magic number with type and rank, big-endian sizes, then the values.

Goes in: a path, plain or gzipped, or an open stream. Comes out: an array, in memory or mapped, or a DataError that says
what the file should have held and what it holds. The header is believed only as far as the file bears it out.
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
        DataError: no IDX file, or one that is shorter or longer than its header says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return read_idx_stream(stream, str(path))  # type: ignore[arg-type]  # GzipFile reads as BinaryIO does
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error


def map_idx(path: Path) -> NDArray[Any]:
    """The array that `read_idx` gives, its values left in the file until they are looked at.

    What is packed, has more than a byte a value or is not whole is read as ever, or refused in the same words.
    """
    size = mappable_bytes(path)
    if size:
        # A file that cannot be opened is told by read_idx.
        with contextlib.suppress(OSError), path.open("rb") as stream:
            kind, shape = _header(stream, str(path))
            start, n_bytes = stream.tell(), math.prod(shape)
            if kind == "u1" and start + n_bytes == size:
                check_size(str(path), n_bytes)
                return mapped(stream, offset=start, shape=shape)
    return read_idx(path)


def mappable_bytes(path: Path) -> int:
    """The size of a file that is not packed; 0 of one that is, or is not there."""
    return path.stat().st_size if path.suffix != ".gz" and path.is_file() else 0


def read_idx_stream(stream: BinaryIO, what: str) -> NDArray[Any]:
    """The array of an open, unpacked IDX stream; `what` names it in errors."""
    try:
        kind, shape = _header(stream, what)
        expected = np.dtype(kind).itemsize * math.prod(shape)
        check_size(what, expected)
        # One byte more is asked for, so that a file that goes on is noticed.
        values = _read_up_to(stream, expected + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{what}: not a whole gzip file ({error}); fetch or pack it again.") from error
    if len(values) != expected:
        found = "more" if len(values) > expected else f"{len(values):,} (cut off)"
        raise DataError(f"{what}: its header {shape} asks for {expected:,} bytes of values, found {found}.")
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
    """In pieces, so that memory follows what is really there and not what a header claims."""
    values = bytearray()
    while len(values) < n_bytes and (piece := stream.read(min(_CHUNK, n_bytes - len(values)))):
        values += piece
    return values
